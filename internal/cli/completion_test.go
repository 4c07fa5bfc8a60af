package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// completions are command lines up to the cursor, and what is to be offered
// there in any order: all that matters to the test, with "…" for others, too.
var completions = []struct {
	line []string
	want []string
}{
	{[]string{""}, []string{"backup", "clone", "receive", "…"}},
	{[]string{"cl"}, []string{"clone"}},
	{[]string{"generat"}, nil},
	{[]string{"clone", "--tablesp"}, []string{"--tablespace-mapping"}},
	{[]string{"backup", "-F", ""}, []string{"plain", "tar"}},
	{[]string{"backup", "-X", "s"}, []string{"stream"}},
	{[]string{"backup", "--checkpoint", ""}, []string{"fast", "spread"}},
	{[]string{"backup", "-Z", "client-"}, []string{"client-gzip", "client-lz4", "client-zstd"}},
	{[]string{"receive", "-Z", "z"}, []string{"zstd"}},
	{[]string{"clone", "--manifest-checksums", "SHA2"}, []string{"SHA224", "SHA256"}},
	{[]string{"clone", "-D", "d"}, []string{"data"}},
	{[]string{"backup", "-i", "f"}, []string{"file"}},
	{[]string{"combine", "-o", "new", "d"}, []string{"data"}},
	{[]string{"clone", "-U", ""}, nil},
	{[]string{"--ver"}, []string{"--version"}},
}

// completionDir is where the files and directories are that are offered.
func completionDir(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "dull"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func offers(got, want []string) bool {
	if len(want) == 0 || want[len(want)-1] != "…" {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
		return slices.Equal(got, want)
	}
	for _, w := range want[:len(want)-1] {
		if !slices.Contains(got, w) {
			return false
		}
	}
	return true
}

func TestBashCompletes(t *testing.T) {
	t.Parallel()
	dir := completionDir(t)
	script := filepath.Join(t.TempDir(), "pgbraid")
	if err := os.WriteFile(script, []byte(generate(t, "completion", "bash")), 0o644); err != nil {
		t.Fatal(err)
	}
	const ask = `
		set -u
		source "$0"
		[[ $(complete -p pgbraid) == "complete -F _pgbraid pgbraid" ]] || exit 3
		COMP_WORDS=(pgbraid "$@") COMP_CWORD=$#
		_pgbraid
		printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}`
	cases := append(slices.Clone(completions), []struct{ line, want []string }{
		// The words that bash makes of --format=t, and of --format= alone.
		{[]string{"backup", "--format", "=", "t"}, []string{"tar"}},
		{[]string{"backup", "--format", "="}, []string{"plain", "tar"}},
		{[]string{"clone", "--pgdata", "=", "da"}, []string{"data"}},
	}...)
	for _, c := range cases {
		cmd := exec.Command("bash", append([]string{"--norc", "-c", ask, script}, c.line...)...)
		cmd.Dir = dir
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil || complaints.Len() > 0 {
			t.Errorf("%q: %v\n%s", c.line, err, complaints.String())
		}
		if got := strings.Fields(string(out)); !offers(got, c.want) {
			t.Errorf("%q: offers %q, want %q", c.line, got, c.want)
		}
	}
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Log("there is no fish to ask")
		return
	}
	dir := completionDir(t)
	script := filepath.Join(t.TempDir(), "pgbraid.fish")
	if err := os.WriteFile(script, []byte(generate(t, "completion", "fish")), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range completions {
		line := "pgbraid " + strings.Join(c.line, " ")
		cmd := exec.Command(fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, script, line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v\n%s", c.line, err, out)
		}
		var got []string
		for offer := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(offer), "\t")
			got = append(got, strings.TrimSuffix(word, "/"))
		}
		if !offers(got, c.want) {
			t.Errorf("%q: offers %q, want %q", c.line, got, c.want)
		}
	}
}

// askZsh types each line and a Tab into a zsh of its own, whose pgbraid only
// tells what it was called with.
const askZsh = `
zmodload zsh/zpty || exit 3
dir=$1 out=$2
shift 2
zpty z zsh -f -i
zpty -w z "PROMPT= fpath=($dir \$fpath) TERM=dumb; autoload -Uz compinit; compinit -u -D"
zpty -w z "cd $dir; pgbraid() { print -r -- \"\$*\" >>$out }; setopt no_beep; : >$dir/ready"
while [[ ! -e $dir/ready ]]; do zpty -r -t z chunk; sleep 0.05; done
for line; do zpty -w z "pgbraid $line"$'\t'; done
zpty -w z exit
while zpty -r z chunk; do :; done
`

func TestZshCompletes(t *testing.T) {
	t.Parallel()
	zsh, err := exec.LookPath("zsh")
	if err != nil {
		t.Log("there is no zsh to ask")
		return
	}
	dir := completionDir(t)
	if err := os.WriteFile(filepath.Join(dir, "_pgbraid"), []byte(generate(t, "completion", "zsh")), 0o644); err != nil {
		t.Fatal(err)
	}
	// What it is called with where there is only one way to go on. The suffix
	// that zsh adds goes away again at the end of the line.
	cases := []struct{ line, want string }{
		{"cl", "clone"},
		{"clone --tablesp", "clone --tablespace-mapping"},
		{"backup -X s", "backup -X stream"},
		{"backup --format=t", "backup --format=tar"},
		{"receive -Z z", "receive -Z zstd"},
		{"clone --manifest-checksums=SHA5", "clone --manifest-checksums=SHA512"},
		{"clone -D da", "clone -D data"},
		{"combine -o new da", "combine -o new data"},
		{"backup -i fi", "backup -i file"},
		{"generat", "generat"},
	}
	out := filepath.Join(dir, "called")
	args := []string{"-f", "-c", askZsh, "zsh", dir, out}
	for _, c := range cases {
		args = append(args, c.line)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, zsh, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "ZDOTDIR="+dir)
	if said, err := cmd.CombinedOutput(); err != nil && ctx.Err() != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	called, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(called)), "\n")
	for i, c := range cases {
		if i >= len(got) || strings.TrimSpace(got[i]) != c.want {
			t.Errorf("%q becomes %q, want %q", c.line, got[min(i, len(got)-1)], c.want)
		}
	}
}
