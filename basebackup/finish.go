package basebackup

import (
	"fmt"
	"os"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
)

// checkManifest compares what was received with what the server says it sent.
func (b *backup) checkManifest() error {
	if b.members == nil {
		return nil
	}
	b.setPhase(phaseManifest)
	f, err := os.Open(b.sink.manifestPath())
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	b.members.checker.Rescan = b.sink.walkFiles
	_, err = b.members.checker.Check(f, manifest.Expect{
		SystemIdentifier: b.server.SystemIdentifier,
		Timeline:         b.start.Timeline,
		Start:            b.start.LSN,
		EndTimeline:      b.end.Timeline,
		End:              b.end.LSN,
	})
	if err != nil {
		return fmt.Errorf("backup manifest: %w", err)
	}
	return nil
}
