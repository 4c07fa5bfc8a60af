package logstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
)

// WAL that a failover lost: what this side received of a timeline behind the
// point where the server that was promoted left it. It is kept, since it may be
// all that is left of the last commits, in files such as
//
//	000000010000000000000007.lost-0-70001A0-0-70002D0
//
// which no tool takes for a segment: the name of the segment, the first LSN
// that was lost, and the end of the last record in it, as PostgreSQL writes LSNs
// in names of files. Where that name is taken by other bytes, -2 follows, and so
// on. Such a file begins with the whole segment up to there, so that pg_waldump
// reads it under the segment's name.

// errKept says that WAL cannot be set aside, since it is in complete segments,
// which others may have used.
var errKept = errors.New("it is in a complete segment")

const lostMark = ".lost-"

// SetAside implements LostStore.
func (d *DirStore) SetAside(t TimelineID, from, to LSN) (files []string, err error) {
	if d.options.DataDirectory {
		return nil, errKept // the copy may hold changes that were lost
	}
	list, err := ListSegments(d.dir, d.size)
	if err != nil {
		return nil, err
	}
	var partial []SegmentFile
	for _, f := range list {
		switch {
		case f.Timeline != t || f.Number < d.size.Segment(from):
		case !f.Partial:
			return nil, fmt.Errorf("%s: %w", f.Name, errKept)
		default:
			partial = append(partial, f)
		}
	}
	// The newest first: as long as the oldest is as it was, a run that comes
	// after a crash sees that there is something to set aside.
	for _, f := range partial {
		name, err := d.setAside(f, from, to)
		if err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

// setAside keeps what one partial segment has of the LSNs between.
func (d *DirStore) setAside(f SegmentFile, from, to LSN) (name string, err error) {
	start := d.size.Start(f.Number)
	first := max(from, start)
	last := max(first, min(to, d.size.Start(f.Number+1)))
	name = d.size.FileName(f.Timeline, f.Number) + lostMark + lsnInName(first) + "-" + lsnInName(last)
	name, there, err := d.lostName(f, name)
	if err != nil {
		return "", err
	}
	path, lost := filepath.Join(d.dir, f.Name), filepath.Join(d.dir, name)
	if first == start || f.Method != compress.None {
		return name, d.rename(path, lost) // nothing before it, or nothing that is gone on from
	}
	if !there {
		if err := d.copyFile(path, lost); err != nil {
			return "", err
		}
	}
	return name, d.clearFrom(path, int64(d.size.Offset(first)))
}

// lostName finds a name of which no other bytes are there. there tells that
// the same ones are, as a run that was killed leaves them.
func (d *DirStore) lostName(f SegmentFile, name string) (free string, there bool, err error) {
	for n := 1; ; n++ {
		free = name
		if n > 1 {
			free += "-" + strconv.Itoa(n)
		}
		free += f.Method.Suffix()
		same, err := sameContent(filepath.Join(d.dir, f.Name), filepath.Join(d.dir, free))
		if errors.Is(err, fs.ErrNotExist) {
			return free, false, nil
		}
		if same || err != nil {
			return free, same, err
		}
	}
}

// sameContent compares two files. The error is fs.ErrNotExist where the second
// is not there.
func sameContent(path, other string) (bool, error) {
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer func() { _ = b.Close() }() // only read from
	a, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = a.Close() }() // only read from
	inA, inB := make([]byte, packBuffer), make([]byte, packBuffer)
	for {
		n, errA := io.ReadFull(a, inA)
		m, errB := io.ReadFull(b, inB)
		switch {
		case !atEnd(errA) || !atEnd(errB):
			return false, errors.Join(errA, errB)
		case !bytes.Equal(inA[:n], inB[:m]):
			return false, nil
		case n < len(inA):
			return true, nil
		}
	}
}

// atEnd tells whether io.ReadFull ended without a failure.
func atEnd(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// copyFile makes a durable copy, there with all its bytes or not at all.
func (d *DirStore) copyFile(path, to string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read from
	temporary := to + temporarySuffix
	out, err := durable.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, d.options.Mode)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, packBuffer))
	if err == nil && !d.options.NoSync {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		_ = durable.Remove(temporary) // the error says more
		return err
	}
	return d.rename(temporary, to)
}

// clearFrom makes zeros of what a file has from an offset on.
func (d *DirStore) clearFrom(path string, offset int64) (err error) {
	f, err := durable.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, packBuffer)
	for offset < info.Size() {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-offset)], offset)
		if err != nil {
			return err
		}
		offset += int64(n)
	}
	if d.options.NoSync {
		return nil
	}
	return f.Sync()
}

// lsnInName is an LSN as it stands in the names of PostgreSQL's files, such as
// 0-70001A0 (src/backend/replication/logical/snapbuild.c).
func lsnInName(l LSN) string { return strings.Replace(l.String(), "/", "-", 1) }

// LostFile is a file of WAL that a failover lost: it was received, and the
// server that was promoted never had it.
type LostFile struct {
	Name     string
	Timeline TimelineID
	From, To LSN   // of the WAL that was lost; equal where no record of it ends here
	Bytes    int64 // of the disk
}

// parseLostFile reads the name of such a file.
func parseLostFile(name string) (f LostFile, ok bool) {
	_, base := compress.BySuffix(name)
	segment, rest, ok := strings.Cut(base, lostMark)
	if !ok {
		return f, false
	}
	f.Name = name
	if f.Timeline, _, ok = MinSegmentSize.ParseFileName(segment); !ok {
		return f, false
	}
	parts := strings.Split(rest, "-")
	if len(parts) != 4 && len(parts) != 5 {
		return f, false
	}
	var err, err2 error
	f.From, err = ParseLSN(parts[0] + "/" + parts[1])
	f.To, err2 = ParseLSN(parts[2] + "/" + parts[3])
	return f, err == nil && err2 == nil && f.From <= f.To
}
