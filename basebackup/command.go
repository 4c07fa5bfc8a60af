package basebackup

import (
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// command is the text of BASE_BACKUP for a server version, as
// server_version_num has it: keywords up to release 14, a list in parentheses
// from 15 on (PostgreSQL manual, "Streaming Replication Protocol").
func command(version int, o *Options) string {
	if version >= 150000 {
		return parenthesesCommand(o)
	}
	return keywordCommand(version, o)
}

func parenthesesCommand(o *Options) string {
	var options []string
	add := func(wanted bool, text string) {
		if wanted {
			options = append(options, text)
		}
	}
	add(o.Incremental != "", "INCREMENTAL")
	add(true, "LABEL "+replconn.QuoteLiteral(o.label()))
	add(!o.NoEstimateSize, "PROGRESS")
	add(o.WAL == FetchWAL, "WAL")
	add(true, "CHECKPOINT "+replconn.QuoteLiteral(o.checkpoint()))
	add(o.WAL != NoWAL, "WAIT 0")
	add(o.MaxRate > 0, "MAX_RATE "+strconv.Itoa(o.MaxRate))
	add(o.tablespaceMap(), "TABLESPACE_MAP")
	add(o.NoVerifyChecksums, "VERIFY_CHECKSUMS 0")
	add(true, "MANIFEST "+replconn.QuoteLiteral(string(o.Manifest)))
	add(o.Manifest != WithoutManifest, "MANIFEST_CHECKSUMS "+replconn.QuoteLiteral(o.checksumsText()))
	add(true, "TARGET "+replconn.QuoteLiteral(o.Target))
	add(o.TargetDetail != "" || o.HasTargetDetail, "TARGET_DETAIL "+replconn.QuoteLiteral(o.TargetDetail))
	if z := o.serverCompression; o.asksCompression() {
		add(true, "COMPRESSION "+replconn.QuoteLiteral(z.Name))
		add(z.Detailed, "COMPRESSION_DETAIL "+replconn.QuoteLiteral(z.Detail))
	}
	return "BASE_BACKUP (" + strings.Join(options, ", ") + ")"
}

func keywordCommand(version int, o *Options) string {
	options := []string{"BASE_BACKUP LABEL " + replconn.QuoteLiteral(o.label())}
	add := func(wanted bool, text string) {
		if wanted {
			options = append(options, text)
		}
	}
	add(!o.NoEstimateSize, "PROGRESS")
	add(o.WAL == FetchWAL, "WAL")
	add(o.FastCheckpoint, "FAST")
	add(o.WAL != NoWAL, "NOWAIT")
	add(o.MaxRate > 0, "MAX_RATE "+strconv.Itoa(o.MaxRate))
	add(o.tablespaceMap(), "TABLESPACE_MAP")
	add(o.NoVerifyChecksums && version >= 110000, "NOVERIFY_CHECKSUMS")
	if hasManifest(version) && o.Manifest != WithoutManifest {
		add(true, "MANIFEST "+replconn.QuoteLiteral(string(o.Manifest)))
		add(true, "MANIFEST_CHECKSUMS "+replconn.QuoteLiteral(o.checksumsText()))
	}
	return strings.Join(options, " ")
}

// tablespaceMap tells whether the server is to write where its tablespaces lie
// into the backup, in the place of links to them.
func (o *Options) tablespaceMap() bool { return o.Format == Tar || o.toServer() }

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

// asksCompression tells whether the server is told how to compress. To compress
// nothing is what it does by default.
func (o *Options) asksCompression() bool {
	z := o.serverCompression
	return z.Place == compress.Server && (z.Method != compress.None || o.ServerJudges)
}

// checksumsText is the algorithm as it was written, where the server judges it.
func (o *Options) checksumsText() string {
	if o.ServerJudges {
		return o.ManifestChecksums
	}
	return o.checksums.String()
}

// defaultChecksums is what servers use when they are not told.
const defaultChecksums = manifest.CRC32C
