package basebackup

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"testing"

	"github.com/pgbraid/pgbraid/tarx"
)

// editedArchive is what an archive with the files has become, as another tar
// reader sees it.
func editedArchive(t *testing.T, e *tarEdit, files ...addedFile) map[string]string {
	t.Helper()
	var in, out bytes.Buffer
	w := tarx.NewWriter(&in)
	for _, f := range files {
		if err := w.WriteFile(memberHeader(f.name, 0o600, int64(len(f.content))), []byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRewriter(&out, e)
	p := tarx.NewParser(r)
	if _, err := p.Write(in.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Close(), r.addMissing(), r.Close()); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for reader := tar.NewReader(&out); ; {
		h, err := reader.Next()
		if err == io.EOF {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(content)
	}
}

func TestStandbyFilesArePutIntoAnArchive(t *testing.T) {
	t.Parallel()
	const settings = "primary_conninfo = 'x'\n"
	label := addedFile{"backup_label", "label"}
	for name, test := range map[string]struct {
		version int
		files   []addedFile
		want    map[string]string
	}{
		"settings of its own": {180000,
			[]addedFile{label, {"postgresql.auto.conf", "a = 1\n"}},
			map[string]string{"backup_label": "label", "postgresql.auto.conf": "a = 1\n" + settings, "standby.signal": ""}},
		"empty settings": {150000,
			[]addedFile{{"postgresql.auto.conf", ""}},
			map[string]string{"postgresql.auto.conf": settings, "standby.signal": ""}},
		"no settings, was a standby": {120000,
			[]addedFile{{"standby.signal", "old"}, label},
			map[string]string{"backup_label": "label", "postgresql.auto.conf": settings, "standby.signal": ""}},
		"recovery.conf of its own": {110000,
			[]addedFile{{"recovery.conf", "old"}, {"postgresql.auto.conf", "a = 1\n"}},
			map[string]string{"postgresql.auto.conf": "a = 1\n",
				"recovery.conf": "standby_mode = 'on'\nrecovery_target_timeline = 'latest'\n" + settings}},
	} {
		if got := editedArchive(t, standbyEdit(test.version, 0o600, settings), test.files...); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
