package basebackup

import (
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// command is the text of BASE_BACKUP for a server version, as
// server_version_num has it: keywords up to release 14, a list in parentheses
// from 15 on (PROTOCOL.md 2.1). The WAL is left out of it, since it is
// streamed beside, and so is the wait for its archiving.
func command(version int, o *Options) string {
	if version >= 150000 {
		return parenthesesCommand(o)
	}
	return keywordCommand(version, o)
}

func parenthesesCommand(o *Options) string {
	options := []string{
		"LABEL " + replconn.QuoteLiteral(o.label()),
		"PROGRESS",
		"CHECKPOINT " + replconn.QuoteLiteral(o.checkpoint()),
		"WAIT 0",
	}
	if o.MaxRate > 0 {
		options = append(options, "MAX_RATE "+strconv.Itoa(o.MaxRate))
	}
	if o.NoVerifyChecksums {
		options = append(options, "VERIFY_CHECKSUMS 0")
	}
	options = append(options,
		"MANIFEST 'yes'",
		"MANIFEST_CHECKSUMS "+replconn.QuoteLiteral(o.checksums.String()),
		"TARGET 'client'")
	return "BASE_BACKUP (" + strings.Join(options, ", ") + ")"
}

func keywordCommand(version int, o *Options) string {
	options := []string{"BASE_BACKUP LABEL " + replconn.QuoteLiteral(o.label()), "PROGRESS"}
	if o.FastCheckpoint {
		options = append(options, "FAST")
	}
	options = append(options, "NOWAIT")
	if o.MaxRate > 0 {
		options = append(options, "MAX_RATE "+strconv.Itoa(o.MaxRate))
	}
	if o.NoVerifyChecksums && version >= 110000 {
		options = append(options, "NOVERIFY_CHECKSUMS")
	}
	if hasManifest(version) {
		options = append(options, "MANIFEST 'yes'",
			"MANIFEST_CHECKSUMS "+replconn.QuoteLiteral(o.checksums.String()))
	}
	return strings.Join(options, " ")
}

// hasManifest tells whether a server can send a backup manifest.
func hasManifest(version int) bool { return version >= 130000 }

func (o *Options) label() string {
	if o.Label == "" {
		return "pgbraid base backup"
	}
	return o.Label
}

func (o *Options) checkpoint() string {
	if o.FastCheckpoint {
		return "fast"
	}
	return "spread"
}

// defaultChecksums is what servers use when they are not told.
const defaultChecksums = manifest.CRC32C
