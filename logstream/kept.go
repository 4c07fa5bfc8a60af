package logstream

import (
	"bytes"
	"errors"
	"io"

	"github.com/pgbraid/pgbraid/internal/walread"
)

// kept is what a Store has of a segment, read from its start on. The methods
// take a nil one for one that is empty.
type kept struct {
	content  io.ReadCloser
	name     string // of the file
	timeline TimelineID
	number   SegmentNumber
	limit    LSN   // what lies after it does not count; 0: the segment's end
	left     int64 // bytes up to there
	buffer   []byte
}

// openKept opens a segment. The error is fs.ErrNotExist where there is none.
func openKept(store ReadableStore, size SegmentSize, t TimelineID, n SegmentNumber, limit LSN) (*kept, error) {
	content, name, err := store.ReadSegment(t, n)
	if err != nil {
		return nil, err
	}
	k := &kept{content: content, name: name, timeline: t, number: n, limit: limit, left: int64(size)}
	if limit != 0 {
		k.left = min(k.left, int64(limit-size.Start(n)))
	}
	return k, nil
}

func (k *kept) close() {
	if k != nil {
		_ = k.content.Close() // only read from
	}
}

// skip goes on n bytes.
func (k *kept) skip(n int64) error {
	n = min(n, k.left)
	k.left -= n
	if s, ok := k.content.(io.Seeker); ok {
		_, err := s.Seek(n, io.SeekCurrent)
		return err
	}
	_, err := io.CopyN(io.Discard, k.content, n)
	if k.ends(err) {
		return nil
	}
	return err
}

// ends tells whether err is the end of what is kept. A compressed file of
// another tool that was cut short ends so too.
func (k *kept) ends(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && torn(err)
}

// read reads up to len(p) bytes; fewer only at the end of what is kept.
func (k *kept) read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), k.left)]
	n, err := io.ReadFull(k.content, p)
	k.left -= int64(n)
	if k.ends(err) {
		k.left, err = 0, nil
	}
	return n, err
}

// compare reads as much as data has, and tells how many bytes are the same.
// Where these are not all, ended tells that it is because what is kept ends.
func (k *kept) compare(data []byte) (same int, ended bool, err error) {
	if k == nil {
		return len(data), false, nil
	}
	for same < len(data) {
		n, err := k.read(k.buffer[:min(len(k.buffer), len(data)-same)])
		if err != nil {
			return same, false, &StoreError{Err: err}
		}
		if n == 0 {
			return same, true, nil
		}
		if got, want := k.buffer[:n], data[same:same+n]; !bytes.Equal(got, want) {
			for i := range got {
				if got[i] != want[i] {
					return same + i, false, nil
				}
			}
		}
		same += n
	}
	return same, false, nil
}

// follow gives a chain the rest of what is kept, until it breaks. end is where
// the last complete record ends; zero tells that only zeros were left.
func (k *kept) follow(chain *walread.Chain) (end LSN, zero bool, err error) {
	zero, sound := true, true
	for {
		n, err := k.read(k.buffer)
		if err != nil {
			return 0, false, err
		}
		if n == 0 {
			return LSN(chain.End()), zero, nil
		}
		zero = zero && allZero(k.buffer[:n])
		sound = sound && chain.Feed(k.buffer[:n]) == nil
		if !sound && !zero {
			return LSN(chain.End()), false, nil
		}
	}
}

var zeros [64 << 10]byte

func allZero(p []byte) bool {
	for len(p) > len(zeros) {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
		p = p[len(zeros):]
	}
	return bytes.Equal(p, zeros[:len(p)])
}
