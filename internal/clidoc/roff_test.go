package clidoc

import (
	"os/exec"
	"strings"
	"testing"
)

// Whatever stands in a help text, roff must show it and obey none of it.
func TestTextIsShownAsItIs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`.profile is read`:      `\&.profile is read`,
		`'quoted' and "doubly"`: `\(aqquoted\(aq and \(dqdoubly\(dq`,
		`C:\new --no-slot`:      `C:\enew \-\-no\-slot`,
		"a  b\n   c":            `a b c`,
	} {
		r := &roff{}
		r.text(text)
		if got := strings.TrimSuffix(r.String(), "\n"); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestFormatterShowsAnExampleUnchanged(t *testing.T) {
	t.Parallel()
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Log("there is no groff to ask")
		return
	}
	const example = "restore_command = 'pgbraid restore-wal -D ~/wal \"%f\" \"%p\"'\n.hidden \\n(.s `date` ^\n  indented"
	r := &roff{}
	r.macro("TH", "TEST", "1", "", "", "")
	r.macro("SH", "EXAMPLES")
	r.paragraphs("  "+strings.ReplaceAll(example, "\n", "\n  "), true)
	cmd := exec.Command(groff, "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=120n")
	cmd.Stdin = strings.NewReader(r.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.SplitSeq(example, "\n") {
		if !strings.Contains(string(out), " "+line+"\n") {
			t.Errorf("%q is not in\n%s", line, out)
		}
	}
}

func TestExitCodesOfAHelpTextBecomeATable(t *testing.T) {
	t.Parallel()
	rest, codes := splitExitCodes("What it does.\n\nExit codes: 0 done, 1 there is none, or it is bad,\n130/143 ended by SIGINT/SIGTERM.")
	want := []Item{{"0", "Done."}, {"1", "There is none, or it is bad."}, {"130, 143", "Ended by SIGINT/SIGTERM."}}
	if rest != "What it does." || len(codes) != len(want) {
		t.Fatalf("%q, %q", rest, codes)
	}
	for i := range want {
		if codes[i] != want[i] {
			t.Errorf("%q, want %q", codes[i], want[i])
		}
	}
}
