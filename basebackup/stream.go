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
}

// announced is what is known of the stream before it begins.
type announced struct {
	version     int // the one that the command was made for
	tablespaces []*Tablespace
	suffix      string // of the archives' names, where the server compresses
	manifest    bool   // one was asked for
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
		if err := receiveCopy(c, sink.archiveData); err != nil {
			return err
		}
		if err := sink.endArchive(); err != nil {
			return err
		}
	}
	if !a.manifest {
		return nil
	}
	return receiveCopy(c, sink.manifestData)
}

func receiveCopy(c *replconn.Conn, data func([]byte) error) error {
	if err := expectCopyOut(c); err != nil {
		return err
	}
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
