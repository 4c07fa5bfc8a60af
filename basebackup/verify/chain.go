package verify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
)

// maxVersion is how much of a PG_VERSION is read, in bytes.
const maxVersion = 128

// readIdentity reads what a data directory says of itself. What cannot be read
// is left out: the manifest says whether it should be there.
func (r *run) readIdentity() {
	for name, take := range map[string]func([]byte){lineage.LabelFile: r.takeLabel, versionName: r.takeVersion} {
		if text, err := readHead(filepath.Join(r.o.Directory, name), lineage.MaxLabel+1); err == nil {
			take(text)
		}
	}
}

// readHead reads not more than limit bytes of a file.
func readHead(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.ErrUnsupported // a pipe would be waited for
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return io.ReadAll(io.LimitReader(f, limit))
}

// takeLabel reads the text of a backup_label.
func (r *run) takeLabel(text []byte) {
	if label, err := lineage.ParseLabel(text); err == nil && len(text) <= lineage.MaxLabel {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.report.Label = &label
	}
}

// takeVersion reads the text of a PG_VERSION.
func (r *run) takeVersion(text []byte) {
	if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.report.Major = n
	}
}

// Incremental tells whether a backup has only what changed since another one,
// so that it cannot be restored without that.
func (r *Report) Incremental() bool { return r.Label != nil && r.Label.Incremental() }

// maxAbsent is how many files without an earlier version CheckChain names.
const maxAbsent = 20

// CheckChain tells whether backups make a chain, from which one can be
// combined: a full one, then each incremental one on top of the one before.
// All that does not fit is in the list, which is empty for a chain. A full
// backup alone is one.
func CheckChain(reports []*Report) (faults []error) {
	var links []lineage.Link
	for _, r := range reports {
		switch {
		case r.Label == nil:
			faults = append(faults, fmt.Errorf("backup at \"%s\": its %s cannot be read", r.Directory, lineage.LabelFile))
		case r.control == nil:
			faults = append(faults, fmt.Errorf("backup at \"%s\": its pg_control cannot be read", r.Directory))
		default:
			links = append(links, lineage.Link{Directory: r.Directory, Major: r.Major, Control: *r.control, Label: *r.Label})
		}
	}
	if len(links) == len(reports) && len(links) > 0 {
		for _, check := range []func([]lineage.Link) error{lineage.CheckCluster, lineage.CheckOrder} {
			if err := check(links); err != nil {
				faults = append(faults, err)
			}
		}
	}
	for i := 1; i < len(reports); i++ {
		faults = append(faults, absentIn(reports[i-1], reports[i])...)
	}
	return faults
}

// absentIn tells of incremental files whose earlier version the backup before
// has not, whole or as changes. A server makes an incremental file only of one
// that the manifest of the backup before lists
// (src/backend/backup/basebackup_incremental.c).
func absentIn(before, r *Report) (faults []error) {
	if before.files == nil || r.files == nil {
		return nil
	}
	more := 0
	for i := range r.files.entries {
		name := r.files.entries[i].path()
		of, incremental := lineage.CutIncremental(name)
		if !incremental || before.files.find(of) != nil {
			continue
		}
		dir, base := filepath.Split(of)
		if before.files.find(dir+lineage.IncrementalPrefix+base) != nil {
			continue
		}
		if len(faults) == maxAbsent {
			more++
			continue
		}
		faults = append(faults, fmt.Errorf("backup at \"%s\": %s is on top of a file that the backup at \"%s\" does not have", r.Directory, name, before.Directory))
	}
	if more > 0 {
		faults = append(faults, fmt.Errorf("backup at \"%s\": %d more such files", r.Directory, more))
	}
	return faults
}
