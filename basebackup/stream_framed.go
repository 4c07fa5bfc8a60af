package basebackup

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/tarx"
)

// Servers from release 15 on send one COPY, in which the first byte of each
// CopyData message tells what it is (PostgreSQL manual, "Streaming Replication Protocol"):
//
//	'n'  archive name, zero byte, tablespace location, zero byte
//	'd'  bytes of the archive, or of the manifest once that began
//	'p'  int64 bytes done so far over all archives
//	'm'  the manifest begins; no archive may follow
const (
	frameNewArchive = 'n'
	frameData       = 'd'
	frameProgress   = 'p'
	frameManifest   = 'm'
)

// framed is where in that COPY the stream is.
type framed struct {
	sink     archiveSink
	waiting  map[string]*Tablespace // archives that have not come yet, by name
	open     bool                   // an archive is being received
	manifest bool                   // the manifest is
	ended    func(bool)             // see announced

	compressed bool // what ends a tar archive cannot be seen
	trailer    bool // the last data ended as a tar archive does
}

func receiveFramed(c *replconn.Conn, a announced, sink archiveSink) error {
	f := &framed{sink: sink, waiting: map[string]*Tablespace{}, ended: a.ended, compressed: a.suffix != ""}
	for _, t := range a.tablespaces {
		f.waiting[t.archive()+a.suffix] = t
	}
	if err := receiveCopy(c, f.message); err != nil {
		return err
	}
	a.ended(!f.manifest)
	if err := f.end(); err != nil {
		return err
	}
	for name := range f.waiting {
		return fmt.Errorf("%w: archive %s did not come", replconn.ErrMalformed, name)
	}
	if f.manifest != a.manifest {
		if f.manifest {
			return fmt.Errorf("%w: a manifest came that was not asked for", replconn.ErrMalformed)
		}
		return fmt.Errorf("%w: the manifest did not come", replconn.ErrMalformed)
	}
	return nil
}

func (f *framed) message(body []byte) error {
	if len(body) == 0 {
		return fmt.Errorf("%w: empty COPY message", replconn.ErrMalformed)
	}
	payload := body[1:]
	last := f.open && len(f.waiting) == 0
	if last {
		f.ended(body[0] == frameProgress && (f.compressed || f.trailer))
	}
	switch body[0] {
	case frameData:
		switch {
		case f.manifest:
			return f.sink.manifestData(payload)
		case f.open:
			f.trailer = last && bytes.HasSuffix(payload, tarx.Trailer)
			return f.sink.archiveData(payload)
		}
		return fmt.Errorf("%w: archive data before any archive", replconn.ErrMalformed)
	case frameNewArchive:
		return f.begin(payload)
	case frameProgress:
		if len(payload) != 8 {
			return malformedFrame(body)
		}
		done := int64(binary.BigEndian.Uint64(payload))
		if done < 0 {
			return malformedFrame(body)
		}
		f.sink.serverProgress(done)
	case frameManifest:
		if len(payload) != 0 || f.manifest {
			return malformedFrame(body)
		}
		f.manifest = true
		return f.end()
	default:
		return malformedFrame(body)
	}
	return nil
}

// begin ends the archive before and begins another.
func (f *framed) begin(payload []byte) error {
	if f.manifest {
		return fmt.Errorf("%w: archives must precede the manifest", replconn.ErrMalformed)
	}
	if err := f.end(); err != nil {
		return err
	}
	name, rest, ok := bytes.Cut(payload, []byte{0})
	if !ok || bytes.IndexByte(rest, 0) != len(rest)-1 {
		return malformedFrame(append([]byte{frameNewArchive}, payload...))
	}
	// A name that stands in the list is a safe one. The location is known
	// from there as well.
	t := f.waiting[string(name)]
	if t == nil {
		return fmt.Errorf("%w: unexpected archive %q", replconn.ErrMalformed, name)
	}
	delete(f.waiting, string(name))
	f.open = true
	return f.sink.beginArchive(t)
}

func (f *framed) end() error {
	if !f.open {
		return nil
	}
	f.open = false
	return f.sink.endArchive()
}

func malformedFrame(body []byte) error {
	return fmt.Errorf("%w: COPY message of type %q, length %d", replconn.ErrMalformed, body[0], len(body))
}
