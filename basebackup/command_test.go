package basebackup

import (
	"io"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
)

// commandGolden is the text of BASE_BACKUP by release: without an option,
// then with one option at a time, then with all of them.
var commandGolden = map[string]string{
	"10 plain":       `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"10 label":       `BASE_BACKUP LABEL 'it''s \ a label' PROGRESS NOWAIT`,
	"10 fast":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS FAST NOWAIT`,
	"10 rate":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MAX_RATE 32`,
	"10 noverify":    `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"10 algorithm":   `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"10 noalgorithm": `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"10 all":         `BASE_BACKUP LABEL 'x' PROGRESS FAST NOWAIT MAX_RATE 1048576`,

	"11 plain":       `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"11 label":       `BASE_BACKUP LABEL 'it''s \ a label' PROGRESS NOWAIT`,
	"11 fast":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS FAST NOWAIT`,
	"11 rate":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MAX_RATE 32`,
	"11 noverify":    `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT NOVERIFY_CHECKSUMS`,
	"11 algorithm":   `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"11 noalgorithm": `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"11 all":         `BASE_BACKUP LABEL 'x' PROGRESS FAST NOWAIT MAX_RATE 1048576 NOVERIFY_CHECKSUMS`,

	"13 plain":       `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 label":       `BASE_BACKUP LABEL 'it''s \ a label' PROGRESS NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 fast":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS FAST NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 rate":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MAX_RATE 32 MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 noverify":    `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 algorithm":   `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'`,
	"13 noalgorithm": `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'NONE'`,
	"13 all":         `BASE_BACKUP LABEL 'x' PROGRESS FAST NOWAIT MAX_RATE 1048576 NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA512'`,

	"15 plain":       `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 label":       `BASE_BACKUP (LABEL 'it''s \ a label', PROGRESS, CHECKPOINT 'spread', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 fast":        `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'fast', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 rate":        `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, MAX_RATE 32, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 noverify":    `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, VERIFY_CHECKSUMS 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 algorithm":   `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256', TARGET 'client')`,
	"15 noalgorithm": `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'NONE', TARGET 'client')`,
	"15 all":         `BASE_BACKUP (LABEL 'x', PROGRESS, CHECKPOINT 'fast', WAIT 0, MAX_RATE 1048576, VERIFY_CHECKSUMS 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA512', TARGET 'client')`,

	"10 encode":     `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"10 fetch":      `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS WAL NOWAIT`,
	"10 noestimate": `BASE_BACKUP LABEL 'pgbraid base backup' NOWAIT`,
	"10 nomanifest": `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"10 nowal":      `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS`,
	"10 tar":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT TABLESPACE_MAP`,
	"11 encode":     `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"11 fetch":      `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS WAL NOWAIT`,
	"11 noestimate": `BASE_BACKUP LABEL 'pgbraid base backup' NOWAIT`,
	"11 nomanifest": `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"11 nowal":      `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS`,
	"11 tar":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT TABLESPACE_MAP`,
	"13 encode":     `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT MANIFEST 'force-encode' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 fetch":      `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS WAL NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 noestimate": `BASE_BACKUP LABEL 'pgbraid base backup' NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 nomanifest": `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT`,
	"13 nowal":      `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"13 tar":        `BASE_BACKUP LABEL 'pgbraid base backup' PROGRESS NOWAIT TABLESPACE_MAP MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'`,
	"15 encode":     `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, MANIFEST 'force-encode', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 fetch":      `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, WAL, CHECKPOINT 'spread', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 noestimate": `BASE_BACKUP (LABEL 'pgbraid base backup', CHECKPOINT 'spread', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 nomanifest": `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, MANIFEST 'no', TARGET 'client')`,
	"15 nowal":      `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
	"15 tar":        `BASE_BACKUP (LABEL 'pgbraid base backup', PROGRESS, CHECKPOINT 'spread', WAIT 0, TABLESPACE_MAP, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'client')`,
}

// The releases of one row speak one grammar.
var commandGrammars = map[string][]int{
	"10": {100000, 100023},
	"11": {110000, 110022, 120000, 120022},
	"13": {130000, 130023, 140000, 140020},
	"15": {150000, 150015, 160000, 160011, 170000, 170007, 180000, 180004, 190000},
}

func TestCommandOfEveryReleaseAndOption(t *testing.T) {
	t.Parallel()
	options := map[string]Options{
		"plain":       {},
		"label":       {Label: `it's \ a label`},
		"fast":        {FastCheckpoint: true},
		"rate":        {MaxRate: 32},
		"noverify":    {NoVerifyChecksums: true},
		"algorithm":   {ManifestChecksums: "sha256"},
		"noalgorithm": {ManifestChecksums: "none"},
		"fetch":       {WAL: FetchWAL},
		"nowal":       {WAL: NoWAL},
		"tar":         {Format: Tar},
		"noestimate":  {NoEstimateSize: true},
		"nomanifest":  {Manifest: WithoutManifest},
		"encode":      {Manifest: ForceEncodeManifest},
		"all":         {Label: "x", FastCheckpoint: true, MaxRate: 1 << 20, NoVerifyChecksums: true, ManifestChecksums: "SHA512"},
	}
	for name, want := range commandGolden {
		grammar, option, _ := strings.Cut(name, " ")
		o, ok := options[option]
		if !ok {
			t.Fatalf("no options for %q", name)
		}
		o.Directory = "/nowhere"
		if err := o.complete(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, version := range commandGrammars[grammar] {
			if got := command(version, &o); got != want {
				t.Errorf("%d, %s:\ngot  %s\nwant %s", version, option, got, want)
			}
		}
	}
	if want := len(options) * len(commandGrammars); len(commandGolden) != want {
		t.Errorf("%d texts, want %d", len(commandGolden), want)
	}
}

// What only newer servers can do is not asked of older ones: checkServer
// refuses it before.
func TestCommandOfNewerServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{Directory: "d", Incremental: "m"}, `(INCREMENTAL, LABEL`},
		{Options{Target: "server", TargetDetail: "/it's", WAL: FetchWAL}, `TABLESPACE_MAP, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', TARGET 'server', TARGET_DETAIL '/it''s')`},
		{Options{Target: "blackhole", WAL: NoWAL, Compress: "gzip:3"}, `TARGET 'blackhole', COMPRESSION 'gzip', COMPRESSION_DETAIL '3')`},
		{Options{Directory: "d", Compress: "server-zstd:level=3,workers=2"}, `TARGET 'client', COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=3,workers=2')`},
		{Options{Directory: "d", Format: Tar, Compress: "server-lz4"}, `TARGET 'client', COMPRESSION 'lz4')`},
		{Options{Directory: "d", Format: Tar, Compress: "zstd"}, `TARGET 'client')`},
		{Options{Directory: "d", Compress: "server-none"}, `TARGET 'client')`},
		{Options{Directory: "d", Compress: "server-gzip:"}, `COMPRESSION 'gzip', COMPRESSION_DETAIL '')`},
		// As it was written, where the server judges it.
		{Options{Directory: "d", Compress: "server-it's:,", ServerJudges: true, Target: "client"}, `TARGET 'client', COMPRESSION 'it''s', COMPRESSION_DETAIL ',')`},
		{Options{Directory: "d", Compress: "server-none", ServerJudges: true, Target: "client"}, `TARGET 'client', COMPRESSION 'none')`},
		{Options{Directory: "d", Compress: "server-:", ServerJudges: true, Target: "client"}, `COMPRESSION '', COMPRESSION_DETAIL '')`},
		{Options{Directory: "d", ManifestChecksums: "sha-3", ServerJudges: true, Target: "client"}, `MANIFEST_CHECKSUMS 'sha-3', TARGET`},
		{Options{Directory: "d", ServerJudges: true, Target: "client"}, `MANIFEST_CHECKSUMS '', TARGET`},
		{Options{Target: "blackhole", HasTargetDetail: true, WAL: NoWAL, ServerJudges: true}, `TARGET 'blackhole', TARGET_DETAIL '')`},
		{Options{WAL: NoWAL, ServerJudges: true, Standby: true}, `TARGET '')`},
	} {
		if err := test.options.complete(); err != nil {
			t.Errorf("%+v: %v", test.options, err)
		} else if got := command(170000, &test.options); !strings.Contains(got, test.want) {
			t.Errorf("got %s, want %s in it", got, test.want)
		}
	}
}

// What concerns only this side must not change what the server is asked.
func TestCommandLeavesOutLocalOptions(t *testing.T) {
	t.Parallel()
	plain := Options{Directory: "/nowhere", checksums: manifest.CRC32C}
	plain.setDefaults()
	local := plain
	local.Standby, local.SyncMethod = true, Syncfs
	local.WALDirectory, local.Slot, local.CreateSlot = "/elsewhere", "s", true
	local.NoSync, local.NoClean, local.PrimaryConnInfo = true, true, "host=x"
	local.Tablespaces = []TablespaceMapping{{"/a", "/b"}}
	for _, version := range []int{100000, 130000, 150000, 180000} {
		if got, want := command(version, &local), command(version, &plain); got != want {
			t.Errorf("%d:\ngot  %s\nwant %s", version, got, want)
		}
	}
}

func TestOptionsRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"no directory":           {Options{}, "no directory"},
		"relative WAL directory": {Options{Directory: "d", WALDirectory: "wal"}, "not an absolute path"},
		"WAL directory is it":    {Options{Directory: "/d", WALDirectory: "/d/./"}, "WAL directory is the data directory"},
		"slot without a name":    {Options{Directory: "d", CreateSlot: true}, "needs a name"},
		"slot and none":          {Options{Directory: "d", Slot: "s", NoSlot: true}, "both used and not used"},
		"create and none":        {Options{Directory: "d", Slot: "s", CreateSlot: true, NoSlot: true}, "both used and not used"},
		"rate too low":           {Options{Directory: "d", MaxRate: 31}, "out of range"},
		"rate too high":          {Options{Directory: "d", MaxRate: 1<<20 + 1}, "out of range"},
		"rate negative":          {Options{Directory: "d", MaxRate: -1}, "out of range"},
		"label too long":         {Options{Directory: "d", Label: strings.Repeat("x", 1025)}, "too long"},
		"unknown algorithm":      {Options{Directory: "d", ManifestChecksums: "MD5"}, "MD5"},
		"unknown format":         {Options{Directory: "d", Format: "zip"}, "output format"},
		"unknown WAL method":     {Options{Directory: "d", WAL: "x"}, "WAL method"},
		"unknown manifest mode":  {Options{Directory: "d", Manifest: "x"}, "manifest mode"},
		"unknown sync method":    {Options{Directory: "d", SyncMethod: "x"}, "sync method"},
		"unknown compression":    {Options{Directory: "d", Compress: "bzip2"}, "bzip2"},
		"checksums of nothing":   {Options{Directory: "d", Manifest: WithoutManifest, ManifestChecksums: "NONE"}, "need a manifest"},
		"two places":             {Options{Directory: "d", Target: "blackhole", WAL: NoWAL}, "one place"},
		"three places":           {Options{Directory: "d", Target: "blackhole", Output: io.Discard, WAL: NoWAL}, "one place"},
		"target, client packs":   {Options{Target: "blackhole", Compress: "client-gzip", WAL: NoWAL}, "cannot be compressed by the client"},
		"target, standby":        {Options{Target: "blackhole", Standby: true, WAL: NoWAL}, "recovery configuration"},
		"target, streamed log":   {Options{Target: "blackhole"}, "cannot be streamed"},
		"target, WAL directory":  {Options{Target: "blackhole", WAL: NoWAL, WALDirectory: "/w"}, "plain backup"},
		"output of files":        {Options{Output: io.Discard, WAL: NoWAL}, "only a tar backup"},
		"output, streamed log":   {Options{Output: io.Discard, Format: Tar}, "cannot be streamed"},
		"output, server packs":   {Options{Output: io.Discard, Format: Tar, WAL: NoWAL, Compress: "server-gzip"}, "manifest cannot be put"},
		"packed files":           {Options{Directory: "d", Compress: "gzip"}, "only tar backups"},
		"tar, WAL directory":     {Options{Directory: "d", Format: Tar, WALDirectory: "/w"}, "plain backup"},
		"slot, fetched log":      {Options{Directory: "d", Slot: "s", WAL: FetchWAL}, "when the log is streamed"},
	} {
		if err := test.options.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, test.want)
		}
	}
	for name, o := range map[string]Options{
		"lowest rate":   {Directory: "d", MaxRate: 32},
		"highest rate":  {Directory: "d", MaxRate: 1 << 20},
		"longest label": {Directory: "d", Label: strings.Repeat("x", 1024)},
		"slot made":     {Directory: "d", Slot: "s", CreateSlot: true},
	} {
		if err := o.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
