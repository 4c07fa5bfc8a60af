package basebackup

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// connect makes the connection for the base backup and asks what is to be
// known.
func (b *backup) connect(ctx context.Context) error {
	b.setPhase(phaseConnecting)
	limit := b.options.SilenceLimit
	if limit == 0 {
		limit = defaultSilenceLimit
	}
	b.config = replconn.LimitConnect(b.config, limit)
	c, err := replconn.Connect(ctx, b.config)
	if err != nil {
		return err
	}
	b.conn = c
	defer c.LimitSilence(limit)() // the copy has one of its own
	c.OnNotice = func(n *pgconn.Notice) { b.log.Warn("server: "+n.Message, noticeAttrs(n)...) }
	// The log has to come from this very server.
	b.config = c.Pin(b.config)

	if b.server, err = logstream.Describe(ctx, c); err != nil {
		return err
	}
	b.choosePrimaryConnInfo()
	return nil
}

// noticeAttrs is what the server says beside a notice's message.
func noticeAttrs(n *pgconn.Notice) []any {
	attrs := []any{"severity", n.Severity}
	if n.Detail != "" {
		attrs = append(attrs, "detail", n.Detail)
	}
	if n.Hint != "" {
		attrs = append(attrs, "hint", n.Hint)
	}
	return attrs
}

// checkServer refuses what this server's release cannot do.
func (b *backup) checkServer() error {
	o, version := &b.options, b.server.Version
	if !hasManifest(version) {
		o.Manifest = WithoutManifest
	}
	switch {
	case o.Incremental != "" && version < 170000:
		return errors.New("server does not support incremental backup")
	case o.toServer() && version < 150000:
		return errors.New("backup targets are not supported by this server version")
	case o.toServer() && o.Standby:
		return errStandbyElsewhere
	case o.asksCompression() && version < 150000:
		return errors.New("server does not support server-side compression")
	}
	return nil
}

// prepareLog makes the second connection and the slot before the backup
// begins: a server that has no room for them says so now, and not after its
// checkpoint.
func (b *backup) prepareLog(ctx context.Context) error {
	o := &b.options
	if o.WAL != StreamWAL {
		return nil
	}
	store, err := b.destination.store()
	if err != nil {
		return err
	}
	slot := logstream.Slot{Name: o.Slot, Create: o.CreateSlot, Temporary: o.Slot == "" && !o.NoSlot}
	b.receiver = logstream.NewReceiver(b.config, logstream.Options{
		SystemIdentifier: b.server.SystemIdentifier,
		SegmentSize:      b.server.SegmentSize,
		Store:            store,
		Slot:             slot,
		StatusInterval:   o.StatusInterval,
		GiveUpAfter:      o.Patience,
		SilenceLimit:     o.SilenceLimit,
		Logger:           o.Logger,
	})
	b.follower.Store(b.receiver)
	if err := b.receiver.Prepare(ctx); err != nil {
		return fmt.Errorf("log stream: %w", err)
	}
	return nil
}

// uploadManifest gives the server the manifest of the backup that this one is
// to be the difference to.
func (b *backup) uploadManifest(ctx context.Context) error {
	if b.options.Incremental == "" {
		return nil
	}
	f, err := os.Open(b.options.Incremental)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	if err := b.conn.CopyIn(ctx, "UPLOAD_MANIFEST", f); err != nil {
		return fmt.Errorf("uploading manifest: %w", err)
	}
	return nil
}
