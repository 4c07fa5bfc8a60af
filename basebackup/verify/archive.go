package verify

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/tarx"
)

// readArchive reads one archive to its end, or to where it is damaged.
func (r *run) readArchive(ctx context.Context, a *archive) {
	var parser *tarx.Parser
	if a.log {
		m := &logMembers{archive: a}
		m.parser = tarx.NewParser(m)
		parser = m.parser
	} else {
		m := &memberCheck{run: r, archive: a}
		m.parser = tarx.NewParser(m)
		parser = m.parser
	}
	err := r.parseArchive(ctx, a, parser)
	if err == nil && !parser.Terminated() {
		err = errNoTrailer
	}
	if err == nil || ctx.Err() != nil || r.pages.again { // what is wrong was said
		return
	}
	var format *tarx.FormatError
	kind := DamagedArchive
	switch refused, ok := errors.AsType[*os.PathError](err); {
	case ok && refused.Op == "open":
		kind = Unreadable
	case err == errNoTrailer,
		errors.Is(err, io.ErrUnexpectedEOF) && parser.Close() == nil,
		parser.InTrailer() && (errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &format)):
		kind = ArchiveEnd
	}
	if kind != ArchiveEnd {
		a.damaged.Store(!parser.InTrailer() && (kind != Unreadable || !r.o.AsPgVerifybackup))
	} else if r.o.AsPgVerifybackup {
		return
	}
	r.problem(Problem{Kind: kind, Path: a.name, Err: err})
}

// errNoTrailer says that a tar file ends after a member. Whoever makes a tar
// file of a server's stream gives it the end that old servers leave out.
var errNoTrailer = errors.New("cut short: the zeros that end an archive are not there")

// parseArchive hands an archive to a parser.
func (r *run) parseArchive(ctx context.Context, a *archive, parser *tarx.Parser) error {
	f, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	readAhead(f)
	var in io.Reader = &counted{f, &r.done}
	if a.method != compress.None {
		z, err := a.method.NewReader(in)
		if err == io.EOF && a.size == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = z.Close() }() // what it read was checked
		in = z
	}
	if err := pump(ctx, parser, in); err != nil {
		return err
	}
	return parser.Close()
}
