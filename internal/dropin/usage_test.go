package dropin

import (
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// sameBasebackup are command lines on which PostgreSQL's pg_basebackup of release
// 18 and of the distribution's agree with this one: exit code, standard output
// and standard error. What is right ends with a connection that cannot be made.
var sameBasebackup = []string{
	// The command line itself.
	"", "-x", "-vx", "-D", "--pgdata", "--bogus", "--bogus=1", "--verbose=1", "--no-s", "--no", "--c", "--che=bogus", "--verb",
	"-v --help", "-v -?", "-v -V", "-v --version", "x", "-D d x y", "-D d -- -v", "-D d -v x", "-D d --manifest",
	// One option.
	"-D d -F x", "-D d -F", "-D d -Fplain", "-D d -Ft", "-D d --format=tar", "-D d --format=", "-D d -F p -F z",
	"-D d -c quick", "-D d -c FAST", "-D d -cSpread", "-D d -c ",
	"-D d -X x", "-D d -X n", "-D d -Xf", "-D d -X stream", "-D d -X ",
	"-D d -r 0", "-D d -r -1", "-D d -r x", "-D d -r ", "-D d -r 31", "-D d -r 32", "-D d -r 32k", "-D d -r 1024M", "-D d -r 1025M",
	"-D d -r 32X", "-D d -r 32kk", "-D d -r 1e999", "-D d -r 99999999999", "-D d -r 1.5M", "-D d -r 40.9", "-D d -r .5M", "-D d -r 1e3",
	"-D d -s x", "-D d -s -1", "-D d -s 0", "-D d -s 2147483", "-D d -s 2147484", "-D d -s 99999999999999999999", "-D d -s ", "-D d -s 1x", "-D d -s +5",
	"-D d -T x", "-D d -T =", "-D d -T /a=", "-D d -T =/a", "-D d -T a=/b", "-D d -T /a=b", "-D d -T /a=/b=/c", "-D d -T /a==/b", `-D d -T /a\=b=/c`,
	"-D d -T /a=/b",
	"-D d -Ft -Z x", "-D d -Ft -Z gzip:x", "-D d -Ft -Z gzip:10", "-D d -Ft -Z gzip:0", "-D d -Ft -Z gzip:-1", "-D d -Ft -Z 10", "-D d -Ft -Z -1", "-D d -Ft -Z 5",
	"-D d -Ft -Z gzip:level=5", "-D d -Ft -Z gzip:level", "-D d -Ft -Z gzip:level=x", "-D d -Ft -Z gzip:level=", "-D d -Ft -Z gzip:", "-D d -Ft -Z gzip:,",
	"-D d -Ft -Z gzip:level=5,", "-D d -Ft -Z gzip:workers=2", "-D d -Ft -Z gzip:bogus=2", "-D d -Ft -Z lz4:13", "-D d -Ft -Z lz4:0", "-D d -Ft -Z lz4",
	"-D d -Ft -Z zstd", "-D d -Ft -Z zstd:workers=2", "-D d -Ft -Z zstd:workers=x", "-D d -Ft -Z zstd:level=23", "-D d -Ft -Z zstd:level=-5", "-D d -Ft -Z zstd:0",
	"-D d -Ft -Z none", "-D d -Ft -Z none:1", "-D d -Ft -Z none:0", "-D d -Ft -Z none:bogus", "-D d -Ft -Z client-gzip", "-D d -Ft -Z client-x",
	"-D d -Z server-gzip", "-D d -Z server-gzip:99", "-D d -Z gzip", "-D d -z", "-D d -Z none", "-D d -z -Z none", "-D d -Z 3", "-D d -Z GZIP",
	"-D d --compress",
	// One against another.
	"-t server:/x -Ft", "-t server:/x -Fp", "-t client", "-t client -D d", "-t client -D d -Ft", "-t server:/x -D d", "-t server:/x", "-t blackhole -X none -z",
	"-t blackhole -X none -Z client-gzip", "-t blackhole -X fetch", "-t blackhole -X fetch -Z lz4", "-t blackhole -X none --waldir /w", "-t blackhole -X none -S s",
	"-D - -Ft", "-D - -Ft -X fetch", "-D - -Ft -X none", "-D - -Ft -X stream -z",
	"-D d -X none -S s", "-D d -X fetch -S s", "-D d -S s", "-D d -S s --no-slot", "-D d -C", "-D d -C --no-slot", "-D d -C -S s", "-D d --create-slot --slot=s --no-slot",
	"-D d --no-slot", "-D d -X none --no-slot",
	"-D d --waldir w", "-D d --waldir /w", "-D d -Ft --waldir /w", "-D d --waldir ", "-D d --waldir",
	"-D d -P --no-estimate-size", "-D d --no-estimate-size", "-D d --no-manifest --manifest-checksums SHA256", "-D d --no-manifest --manifest-force-encode",
	"-D d --no-manifest", "-D d --manifest-force-encode", "-D d --manifest-checksums SHA256",
	// What the server judges, or what is looked at once it answers.
	"-D d -Ft -Z server-x", "-D d -Z server-gzip:", "-D d --manifest-checksums x", "-D d --manifest-checksums=", "-t blackhole -X none -R", "-D - -Ft -X none -Z server-gzip", "-D /dev/null",
	"-t  -X none", "-D d -t ", "-t : -X none", "-t blackhole: -X none", "-D d -Ft -Z none:level=1", "-D d -Ft -Z none:workers=1", "-D d -Ft -Z 99999999999999999999", "-D d -Ft -Z gzip:level=99999999999999999999",
	"-D d -Ft -Z :", "-D d -Ft -Z :x", "-D d -Ft -Z gzip:level=1=2", "-D d -Ft -Z zstd:workers=99999999999999999999",
	// The order of the checks.
	"-Ft -t server:/x x", "-Ft -t server:/x -Z x", "-Z x", "-D d -Z x -X none -S s", "-D d -Z gzip -X none -S s", "-D d -S s --no-slot -X none --waldir w",
	"-D d -C --no-slot --waldir w", "-D d --waldir w -P --no-estimate-size", "-D d -P --no-estimate-size --no-manifest --manifest-force-encode",
	"-r x -F x", "-F x -r x", "-D d -Z gzip:99 -c quick", "-t blackhole -Z client-gzip", "-t blackhole -z -Z client-x",
	// Connecting.
	"-D d -h 127.0.0.1 -p 1", "-D d -h /nonexistent -p 77", "-D d -d host=/nonexistent", "-D d -h 127.0.0.1,/nonexistent -p 1", "-D d -h localhost -p 1",
	"-D d -w -U someone", "-D d -R", "-v -P -D d -Ft -R -n -N -l label --no-verify-checksums",
}

// sameReceivewal are the same for pg_receivewal.
var sameReceivewal = []string{
	"", "-x", "-D", "--directory", "--bogus", "--no-", "--no", "--s", "--create=1", "-v --help", "-v -V", "x", "-D . x", "-D . -- -v", "-F p",
	"-D missing", "-D /dev/null", "-D ", "-D .", "-D . -v", "-D . -n", "-nD.", "--dir .", "--directory=.",
	"-D . -E x", "-D . -E 0", "-D . -E 0/", "-D . -E /0", "-D . -E 0/0", "-D . -E 0/1x", "-D . -E 1/ABCDEF01", "-D . -E ",
	"-D . -s x", "-D . -s -1", "-D . -s 0", "-D . -s 2147484", "-D . -s ",
	"--create-slot", "--drop-slot", "--create-slot --drop-slot", "--create-slot --drop-slot -S s", "--create-slot -S s", "--drop-slot -S s", "--if-not-exists",
	"--create-slot -S s --if-not-exists", "-D . --if-not-exists", "-D . -S s", "-D . -S s -n",
	"-D . --synchronous", "-D . --synchronous --no-sync", "--synchronous --no-sync", "-D . --no-sync",
	"-D . -Z x", "-D . -Z gzip", "-D . -Z gzip:10", "-D . -Z 0", "-D . -Z 9", "-D . -Z 10", "-D . -Z -1", "-D . -Z lz4", "-D . -Z lz4:13", "-D . -Z none", "-D . -Z none:1",
	"-D . -Z gzip:workers=2", "-D . -Z gzip:bogus", "-D . -Z gzip:", "-D . -Z client-gzip", "-D . -Z zstd:23", "-D . -Z zstd:level=x", "--create-slot -S s -Z x",
	"-D . -Z none:level=1", "-D . -Z none:workers=1", "-D . -Z 99999999999999999999", "-D . -Z :", "-D . -Z ",
	"-D missing -Z x", "-Z x", "-Z x --synchronous --no-sync", "-D . -h 127.0.0.1 -p 1", "-D . -h 127.0.0.1 -p 1 -n",
}

// since are those that the distribution's release 15 takes otherwise.
var since = []string{
	// New in 17.
	"-D d -i missing", "-D d -i ", "-D d -Ft -Z none:long", "-D d -Ft -Z gzip:long", "-D d -Ft -Z zstd:long=x", "-D d -Ft -Z zstd:long=ON",
	"-D d --sync-method=fsync", "-D d --sync-method syncfs", "-D d --sync-method=x", "-D d --sync-method=", "-D d --sync", "-D d --incremental=/dev/null", "-i",
	// New in 16: a bare level behind client- or server-, and nothing is none.
	"-D d -Z 0", "-D d -Ft -Z client-5", "-D d -Ft -Z client-", "-D d -Z server-5", "-D d -Z server-", "-D d -Ft -Z client-0", "-D d -Ft -Z client-10", "-D d -Z ",
}

func TestThatCommandLinesAreTakenAsTheToolTakesThem(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{"pg_basebackup": sameBasebackup, "pg_receivewal": sameReceivewal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newest := newBed(t, name)
			distributions := newBed(t, name)
			distributions.stock = pgtest.RequireTool(t, name)
			for _, line := range lines {
				newest.same(t, words(line)...)
				distributions.same(t, words(line)...)
			}
			if name == "pg_basebackup" {
				for _, line := range since {
					newest.same(t, words(line)...)
				}
			}
		})
	}
}

// words are the arguments of a line. A blank at its end is an empty one.
func words(line string) []string {
	if line == "" {
		return nil
	}
	return strings.Split(line, " ")
}

const unreachable = `connection to server on socket "/nonexistent/.s.PGSQL.5432" failed: No such file or directory
	Is the server running locally and accepting connections on that socket?
`

// TestWhatIsTakenOtherwise lists command lines that the tools take otherwise.
func TestWhatIsTakenOtherwise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, line, errors string }{
		// An empty name is told of before connecting.
		{"pg_basebackup", "-D ", "pg_basebackup: error: could not create directory \"\": No such file or directory\n"},
		{"pg_basebackup", "-D d -C --slot=", "pg_basebackup: error: could not send replication command \"CREATE_REPLICATION_SLOT \"\" PHYSICAL ( RESERVE_WAL)\": ERROR:  replication slot name \"\" is too short\n"},
		{"pg_basebackup", "-D d --slot=", "pg_basebackup: error: could not send replication command \"START_REPLICATION\": ERROR:  replication slot \"\" does not exist\n" +
			"pg_basebackup: error: background process terminated unexpectedly\n"},
		{"pg_receivewal", "-D . --slot= -n", "pg_receivewal: error: replication slot \"\" does not exist\npg_receivewal: error: disconnected\n"},
		// It is there.
		{"pg_receivewal", "-D . -Z zstd", "pg_receivewal: error: " + unreachable},
	} {
		b := newBed(t, c.name)
		got := b.run(t, b.ours, t.TempDir(), words(c.line)...)
		if got.code != 1 || got.out != "" || got.errors != c.errors {
			t.Errorf("%s %s: exit code %d, %q\n%swant\n%s", c.name, c.line, got.code, got.out, got.errors, c.errors)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"pg_basebackup", "pg_receivewal", "pg_verifybackup", "pg_combinebackup"} {
		b := newBed(t, name)
		b.same(t, "--help", "--bogus")
		b.same(t, "-?")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"pg_basebackup", "pg_receivewal", "pg_verifybackup", "pg_combinebackup"} {
		b := newBed(t, name)
		for _, option := range []string{"--version", "-V"} {
			got := b.run(t, b.ours, t.TempDir(), option, "--bogus")
			want := name + " (PostgreSQL) " + release + " (pgbraid "
			if got.code != 0 || !strings.HasPrefix(got.out, want) || strings.Count(got.out, "\n") != 1 || got.errors != "" {
				t.Errorf("%s %s: exit code %d, %q, %q", name, option, got.code, got.out, got.errors)
			}
		}
	}
}

func TestThatOtherNamesAreNoTool(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{{}, {""}, {"pgbraid"}, {"/usr/bin/pg_basebackup2"}} {
		if code, ok := Main(argv); ok || code != 0 {
			t.Errorf("%q: %d, %t", argv, code, ok)
		}
	}
}
