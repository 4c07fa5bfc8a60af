package logstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/internal/walread"
)

// RestoreWAL brings a file from a directory of WAL to path, as a
// restore_command does for %f and %p (PostgreSQL manual, "Archive Recovery").
// name is that of a segment or of a timeline's history file; every other name
// is one that is not there. from is the name of the file that it was taken
// from, "" if it is not there. An error means that recovery must not go on as
// if the file did not exist: the directory or the file cannot be read, or the
// file is not the segment that its name says.
//
// A partial segment whose WAL reaches to its end, such as a receiver that was
// killed leaves, is given as the complete one that it is. Another one that is the
// last of its timeline is given, filled up with zeros, where o asks for that; else
// the error is a *PartialError.
//
// path appears whole or not at all. It is not made durable: the server fsyncs
// what it keeps of it, and asks again after a crash.
func RestoreWAL(ctx context.Context, dir, name, path string, o RestoreOptions) (from string, err error) {
	if name == "" || name != filepath.Base(name) || strings.ContainsAny(name, "/\\\x00") {
		return "", fmt.Errorf("file name %q: want a name without a path", name)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s: not a directory", dir)
	}
	r := restorer{ctx: ctx, dir: dir, name: name, path: path, options: o}
	restore := r.segment
	switch _, history := parseHistoryName(name); {
	case history:
		restore = r.history
	case !IsSegmentName(name):
		return "", nil
	}
	// A file that was sealed or compressed between the looks at its names was
	// under none of them when they were looked at: hence once more.
	for range 2 {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		r.withheld = ""
		if from, err := restore(); from != "" || err != nil {
			return from, err
		}
	}
	if r.withheld != "" {
		return "", &PartialError{Name: name, File: r.withheld}
	}
	return "", nil
}

// RestoreOptions of RestoreWAL.
type RestoreOptions struct {
	// Partial gives out the last segment of a timeline as far as it was
	// received: for a recovery to the end of the archive, after which nothing
	// more comes. A running standby must not get it: where it archives what it
	// restores (archive_mode = always), the part would be kept under the name of
	// the whole.
	Partial bool
}

// PartialError says that a segment is there only in part, which was not asked
// for. To a server in recovery it is not there.
type PartialError struct{ Name, File string }

func (e *PartialError) Error() string {
	return fmt.Sprintf("%s is there only in part, in %s", e.Name, e.File)
}

// IsSegmentName tells whether a name can be that of a segment of some size.
func IsSegmentName(name string) bool {
	_, _, ok := MinSegmentSize.ParseFileName(name)
	return ok
}

// IsHistoryName tells whether a file of this name is a timeline's history.
func IsHistoryName(name string) bool {
	_, ok := parseHistoryName(name)
	return ok
}

// parseHistoryName reads the name of a history file.
func parseHistoryName(name string) (TimelineID, bool) {
	digits, ok := strings.CutSuffix(name, ".history")
	if !ok || len(digits) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	t := TimelineID(n)
	return t, err == nil && t != 0 && t.HistoryFileName() == name
}

// restorer is one run of RestoreWAL.
type restorer struct {
	ctx             context.Context
	dir, name, path string
	options         RestoreOptions
	withheld        string // a partial segment that was not asked for
}

func (r *restorer) history() (string, error) {
	for _, f := range forms(r.name) {
		if f.Partial {
			continue
		}
		content, err := readAll(r.dir, f, maxHistory+1)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = checkHistory(r.name, content)
		}
		if err != nil {
			return "", inFile(f.Name, err)
		}
		return f.Name, r.write(func(w *os.File) error {
			_, err := w.Write(content)
			return err
		})
	}
	return "", nil
}

// checkHistory makes sure that the content is that of the history file of
// this name.
func checkHistory(name string, content []byte) error {
	h, err := ParseHistory(content)
	if err != nil {
		return err
	}
	t, _ := parseHistoryName(name)
	if n := len(h); n == 0 || h[n-1].Timeline >= t {
		return errNoParent
	}
	return nil
}

func readAll(dir string, f SegmentFile, limit int64) ([]byte, error) {
	r, err := f.Open(dir)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, limit))
	return content, errors.Join(err, r.Close())
}

func (r *restorer) segment() (string, error) {
	for _, f := range forms(r.name) {
		ok, err := r.form(f)
		if err != nil {
			return "", inFile(f.Name, err)
		}
		if ok {
			return f.Name, nil
		}
	}
	return "", nil
}

// inFile names the file that an error is about, save where it is not.
func inFile(name string, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	if errors.As(err, &path) || errors.As(err, &link) || strings.HasPrefix(err.Error(), name) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// form restores the segment from one of the files that it may lie in.
func (r *restorer) form(f SegmentFile) (found bool, err error) {
	in, err := f.Open(r.dir)
	if errors.Is(err, fs.ErrNotExist) || f.Partial && torn(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = in.Close() }() // only read from
	header, page, err := readSegmentHeader(in)
	if f.Partial && (torn(err) || errors.Is(err, errNoWAL)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	size := SegmentSize(header.SegmentSize)
	t, n, ok := size.ParseFileName(r.name)
	if !ok || header.Address != uint64(size.Start(n)) || header.Timeline > uint32(t) {
		return false, fmt.Errorf("it begins at %s", Position{TimelineID(header.Timeline), LSN(header.Address)})
	}
	if f.Partial {
		if ok, err := r.partialCounts(f, size, t, n); !ok || err != nil {
			return false, err
		}
	}
	return true, r.write(func(w *os.File) error {
		length, err := r.copy(w, io.MultiReader(bytes.NewReader(page), in), int64(size)+1)
		switch {
		case err != nil && (!f.Partial || !torn(err) || r.ctx.Err() != nil):
			return err
		case length > int64(size):
			return fmt.Errorf("it holds more than %d bytes", size)
		case length < int64(size) && !f.Partial:
			return fmt.Errorf("it holds %d bytes, want %d", length, size)
		}
		return w.Truncate(int64(size))
	})
}

// errNoWAL says that a file has zeros where WAL should begin, or fewer bytes
// than a header.
var errNoWAL = errors.New("no WAL in it")

// readSegmentHeader reads the long header at the start of a segment, and gives
// also its bytes.
func readSegmentHeader(r io.Reader) (walread.PageHeader, []byte, error) {
	page := make([]byte, 40)
	n, err := io.ReadFull(r, page)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return walread.PageHeader{}, nil, errNoWAL
	}
	if err != nil {
		return walread.PageHeader{}, nil, err
	}
	if len(bytes.Trim(page[:n], "\x00")) == 0 {
		return walread.PageHeader{}, nil, errNoWAL
	}
	h, err := walread.ParsePageHeader(page)
	if err == nil && (!h.Long() || !SegmentSize(h.SegmentSize).Valid()) {
		err = errors.New("its first page has no segment header")
	}
	return h, page, err
}

// torn tells whether reading a compressed file failed because of what is in
// it: one that was cut ends so. A failure of the disk or of rights is none.
func torn(err error) bool {
	var path *fs.PathError
	return err != nil && !errors.As(err, &path)
}

// copy is io.Copy of at most limit bytes, until the run is ended.
func (r *restorer) copy(w io.Writer, in io.Reader, limit int64) (length int64, err error) {
	buffer := make([]byte, packBuffer)
	for length < limit {
		if r.ctx.Err() != nil {
			return length, context.Cause(r.ctx)
		}
		n, err := in.Read(buffer[:min(int64(len(buffer)), limit-length)])
		if _, err := w.Write(buffer[:n]); err != nil {
			return length, err
		}
		length += int64(n)
		if errors.Is(err, io.EOF) {
			return length, nil
		}
		if err != nil {
			return length, err
		}
	}
	return length, nil
}

// write makes the file that was asked for.
func (r *restorer) write(fill func(*os.File) error) (err error) {
	temporary := r.path + temporarySuffix
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	if err := errors.Join(fill(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, r.path)
}

// partialCounts tells whether a partial segment may stand for the segment: its
// WAL reaches to its end, or it is the last of its timeline in the directory and
// asked for.
func (r *restorer) partialCounts(f SegmentFile, size SegmentSize, t TimelineID, n SegmentNumber) (bool, error) {
	list, err := ListSegments(r.dir, size)
	if err != nil {
		return false, err
	}
	last := !slices.ContainsFunc(list, func(f SegmentFile) bool { return f.Timeline == t && f.Number > n })
	if last && r.options.Partial {
		return true, nil
	}
	full, err := walReachesEnd(r.dir, size, t, n)
	if last && !full && err == nil {
		r.withheld = f.Name
	}
	return full, err
}

// walReachesEnd tells whether the valid WAL of a segment in a directory goes up
// to its end.
func walReachesEnd(dir string, size SegmentSize, t TimelineID, n SegmentNumber) (bool, error) {
	return reachesEnd(size, t, n, func(number SegmentNumber) (walread.SegmentFile, error) {
		if number > n+1 {
			return nil, fs.ErrNotExist
		}
		return OpenSegmentFile(dir, size, t, number)
	})
}

// reachesEnd is walReachesEnd for segments that open opens.
func reachesEnd(size SegmentSize, t TimelineID, n SegmentNumber, open func(SegmentNumber) (walread.SegmentFile, error)) (bool, error) {
	source, err := walread.NewSegments(uint32(size), func(number uint64) (walread.SegmentFile, error) {
		return open(SegmentNumber(number))
	})
	if err != nil {
		return false, err
	}
	reach, err := walread.EndOfWAL(source, uint64(size.Start(n)), walread.Options{SegmentSize: uint32(size), Timeline: uint32(t)})
	if err := errors.Join(err, source.Close()); err != nil {
		return false, err
	}
	// A record that goes on behind the segment is whole as far as the segment
	// is concerned if it is only there that its rest is not found.
	next := uint64(size.Start(n + 1))
	return reach.End >= next || reach.Stop.At >= next, nil
}
