package basebackup

import (
	"fmt"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// archiveSink takes what BASE_BACKUP sends, whatever form it has on the wire.
// Slices are valid only during the call.
type archiveSink interface {
	beginArchive(t *Tablespace) error
	archiveData(p []byte) error
	endArchive() error
	manifestData(p []byte) error
	// serverProgress tells how many bytes of archives, before they were
	// compressed, the server has dealt with so far. Releases up to 14 do not
	// tell.
	serverProgress(done int64)
	// lastFile is the name of the member that came last. It may be called
	// from any goroutine.
	lastFile() string
}

// announced is what is known of the stream before it begins.
type announced struct {
	version     int // the one that the command was made for
	tablespaces []*Tablespace
	suffix      string // of the archives' names, where the server compresses
	manifest    bool   // one was asked for
	// ended is called with true when the server may have ended the last
	// archive and ends the backup, before it sends more, and with false when
	// more comes. It may be called with the same again.
	ended func(bool)
}

// receiveArchives hands the archives and the manifest to the sink. Behind it
// the end position comes next on the connection.
func receiveArchives(c *replconn.Conn, a announced, sink archiveSink) error {
	if a.version >= 150000 {
		return receiveFramed(c, a, sink)
	}
	return receiveLegacy(c, a, sink)
}

// expectCopyOut reads the beginning of a COPY.
func expectCopyOut(c *replconn.Conn) error {
	kind, _, err := c.Receive()
	if err != nil {
		return fmt.Errorf("start of the data: %w", err)
	}
	if kind != replconn.CopyOutResponse {
		return replconn.Unexpected(kind, "waiting for an archive")
	}
	return nil
}

// receiveLegacy reads the form that servers up to release 14 send: a COPY of
// bare tar data for each tablespace in the order of the list, then one for the
// manifest where there is one (PostgreSQL manual, "Streaming Replication Protocol").
func receiveLegacy(c *replconn.Conn, a announced, sink archiveSink) error {
	for _, t := range a.tablespaces {
		if err := sink.beginArchive(t); err != nil {
			return err
		}
		data := sink.archiveData
		if t.base() {
			// The end of the archive, at most 8191 bytes, waits in the
			// server's buffer until it sends more (pq_putmessage in
			// src/backend/libpq/pqcomm.c). pg_control with its 8192 bytes is
			// the last file of the archive (perform_base_backup in
			// src/backend/replication/basebackup.c).
			data = func(p []byte) error {
				err := sink.archiveData(p)
				a.ended(sink.lastFile() == controlFile)
				return err
			}
		}
		if err := receiveCopy(c, data); err != nil {
			return err
		}
		if err := sink.endArchive(); err != nil {
			return err
		}
	}
	a.ended(true)
	if !a.manifest {
		return nil
	}
	if err := expectCopyOut(c); err != nil {
		return err
	}
	a.ended(false)
	return receiveCopyData(c, sink.manifestData)
}

func receiveCopy(c *replconn.Conn, data func([]byte) error) error {
	if err := expectCopyOut(c); err != nil {
		return err
	}
	return receiveCopyData(c, data)
}

// receiveCopyData reads a COPY whose beginning was read.
func receiveCopyData(c *replconn.Conn, data func([]byte) error) error {
	for {
		kind, body, err := c.Receive()
		if err != nil {
			return err
		}
		switch kind {
		case replconn.CopyData:
			if err := data(body); err != nil {
				return err
			}
		case replconn.CopyDone:
			return nil
		default:
			return replconn.Unexpected(kind, "receiving an archive")
		}
	}
}
