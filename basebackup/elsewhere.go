package basebackup

import (
	"context"
	"errors"

	"github.com/pgbraid/pgbraid/logstream"
)

// elsewhere is a backup target: the server keeps the archives, or throws them
// away, and tells only how far it is.
type elsewhere struct{ *backup }

func (e *elsewhere) check() error                    { return nil }
func (e *elsewhere) prepare() error                  { return nil }
func (e *elsewhere) store() (logstream.Store, error) { return nil, errors.ErrUnsupported }
func (e *elsewhere) place() error                    { return nil }
func (e *elsewhere) open() (sink, error)             { return noSink{}, nil }
func (e *elsewhere) finish(context.Context) error    { return nil }
func (e *elsewhere) close() error                    { return nil }

// noSink takes the names of archives that stay on the server's side, and none
// of their bytes.
type noSink struct{}

var errUnasked = errors.New("the server sends data of a backup that was to stay on its side")

func (noSink) beginArchive(*Tablespace) error { return nil }
func (noSink) archiveData([]byte) error       { return errUnasked }
func (noSink) endArchive() error              { return nil }
func (noSink) manifestData([]byte) error      { return errUnasked }
func (noSink) serverProgress(int64)           {}
func (noSink) end() error                     { return nil }
func (noSink) close() error                   { return nil }
func (noSink) manifestPath() string           { return "" }
func (noSink) walkFiles(func(string) bool)    {}
func (noSink) lastFile() string               { return "" }
