package walsender

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

const (
	oldBackup = "BASE_BACKUP LABEL 'x' PROGRESS NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'sha256'"
	newBackup = "BASE_BACKUP ( LABEL 'x',  PROGRESS,  WAIT 0,  MANIFEST 'yes',  TARGET 'client')"
)

func sampleWithTablespace() *Backup {
	b := SampleBackup()
	b.AddTablespace(16385, "/srv/space")
	return b
}

// archives joins the data of a COPY from release 15 on.
func archives(t *testing.T, data [][]byte) (names []string, content map[string][]byte, progress []int64) {
	t.Helper()
	content = map[string][]byte{}
	for _, d := range data {
		switch d[0] {
		case 'n':
			names = append(names, strings.ReplaceAll(string(d[1:]), "\x00", "|"))
		case 'm':
			names = append(names, "manifest")
		case 'd':
			last := names[len(names)-1]
			content[last] = append(content[last], d[1:]...)
		case 'p':
			progress = append(progress, int64(binary.BigEndian.Uint64(d[1:])))
		}
	}
	return names, content, progress
}

func TestBackupInOneCOPY(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Version: "18.4", SystemID: "77"})
	b := sampleWithTablespace()
	s.ServeBackup(b)
	w := hijack(t, s)
	w.query(newBackup)
	r := w.read(nil)
	want := "T D:0/2000028:1 C:SELECT T D:16385:/srv/space:6 D:NULL:NULL:54 C:SELECT H c T D:0/2000100:1 C:SELECT C:BASE_BACKUP Z"
	if got := strings.Join(r.messages, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	names, content, progress := archives(t, r.data)
	if !slices.Equal(names, []string{"16385.tar|/srv/space|", "base.tar||", "manifest"}) {
		t.Errorf("archives are %q", names)
	}
	space, base := content[names[0]], content[names[1]]
	if !slices.Equal(progress, []int64{int64(len(space)), int64(len(space) + len(base))}) {
		t.Errorf("progress is %d for archives of %d and %d bytes", progress, len(space), len(base))
	}
	if !bytes.HasSuffix(base, make([]byte, 1024)) {
		t.Error("no trailer")
	}
	checkTar(t, base, b.Tablespaces[1].Members)
	checkTar(t, space, b.Tablespaces[0].Members)
	checkManifest(t, content["manifest"], 2, "CRC32C", 11)
	// The checksum of an empty file is the same in any order of bytes; this
	// one is not. It was computed by another program.
	if got, _ := fileChecksum("CRC32C", []byte("123456789")); got != "839206e3" {
		t.Errorf("CRC-32C is %s", got)
	}
}

func TestBackupInCOPYsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"12.22": "H c H c", "14.20": "H c H c H c"} {
		s := New(t, Options{Version: version})
		b := sampleWithTablespace()
		s.ServeBackup(b)
		w := hijack(t, s)
		w.query(oldBackup)
		r := w.read(nil)
		if got := strings.Join(r.messages, " "); !strings.Contains(got, "C:SELECT "+want+" T") {
			t.Errorf("%s: got %s", version, got)
		}
		all := bytes.Join(r.data, nil)
		space, base := b.Tablespaces[0].Tar(14), b.Tablespaces[1].Tar(14)
		if !bytes.HasPrefix(all, append(slices.Clone(space), base...)) {
			t.Errorf("%s: archives differ", version)
		}
		if len(b.Tablespaces[1].Tar(15))-len(base) != 1024 {
			t.Error("trailer before release 15")
		}
		checkTar(t, base, b.Tablespaces[1].Members)
		manifest := all[len(space)+len(base):]
		if version == "14.20" {
			checkManifest(t, manifest, 1, "SHA256", 11)
		} else if len(manifest) != 0 {
			t.Error("manifest before release 13")
		}
	}
}

// checkTar reads an archive with the standard library.
func checkTar(t *testing.T, archive []byte, members []Member) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(archive))
	for i := range members {
		m := &members[i]
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		content, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(content, m.Content) {
			t.Errorf("%s: content differs, %v", m.Name, err)
		}
		if strings.TrimSuffix(h.Name, "/") != strings.TrimSuffix(m.Name, "/") || h.Typeflag != m.kind() || h.Linkname != m.Linkname {
			t.Errorf("got %q, type %c, link %q for %+v", h.Name, h.Typeflag, h.Linkname, m.Name)
		}
		if slash := strings.HasSuffix(h.Name, "/"); slash != (m.kind() != TypeFile) {
			t.Errorf("name is %q", h.Name)
		}
		if h.Uname != "postgres" || h.ModTime.Unix() != memberTime {
			t.Errorf("%s: header is %+v", m.Name, h)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("archive goes on: %v", err)
	}
}

func checkManifest(t *testing.T, text []byte, version int, algorithm string, files int) {
	t.Helper()
	var m struct {
		Version  int    `json:"PostgreSQL-Backup-Manifest-Version"`
		SystemID uint64 `json:"System-Identifier"`
		Files    []struct {
			Path      string
			Size      int
			Algorithm string `json:"Checksum-Algorithm"`
		}
		Ranges   []map[string]any `json:"WAL-Ranges"`
		Checksum string           `json:"Manifest-Checksum"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if m.Version != version || (m.SystemID != 0) != (version == 2) || len(m.Files) != files || len(m.Ranges) != 1 {
		t.Errorf("manifest is\n%s", text)
	}
	for _, f := range m.Files {
		if f.Algorithm != algorithm {
			t.Errorf("%s has algorithm %s", f.Path, f.Algorithm)
		}
	}
	if !slices.ContainsFunc(m.Files, func(f struct {
		Path      string
		Size      int
		Algorithm string `json:"Checksum-Algorithm"`
	}) bool {
		return f.Path == "pg_tblspc/16385/PG_18_202506291/5/16390"
	}) {
		t.Error("no file of the tablespace")
	}
	end := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	if want := fmt.Sprintf("%x", sha256.Sum256(text[:end])); m.Checksum != want {
		t.Errorf("manifest's checksum is %s, want %s", m.Checksum, want)
	}
}

func TestSyntaxOfTheOtherReleasesIsRefused(t *testing.T) {
	t.Parallel()
	for version, text := range map[string]string{"14.1": newBackup, "15.1": oldBackup} {
		s := New(t, Options{Version: version})
		s.ServeBackup(SampleBackup())
		_, err := query(t, connect(t, s), text)
		wantState(t, err, "42601")
	}
}

func TestBackupHooks(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	b := SampleBackup()
	b.EditArchive = func(name string, archive []byte) []byte { return archive[:1000] }
	b.MessageSize = 300
	b.Before = map[Step]Hook{Archive("base.tar"): func(c *Conn) error { c.Notice("NOTICE", "00000", "x"); return nil }}
	b.After = map[Step]Hook{StepManifest: func(c *Conn) error { c.Notice("WARNING", "01000", "x"); return nil }}
	b.EditManifest = func(m []byte) []byte { return m[:5] }
	b.Instead = map[Step]Hook{StepComplete: Failing("XX001", "checksum verification failure during base backup")}
	s.ServeBackup(b)
	w := hijack(t, s)
	w.query(newBackup)
	r := w.read(nil)
	if got := strings.Join(r.messages, " "); !strings.HasSuffix(got, "H N:NOTICE N:WARNING c T D:0/2000100:1 C:SELECT E:XX001 Z") {
		t.Errorf("got %s", got)
	}
	_, content, _ := archives(t, r.data)
	if len(content["base.tar||"]) != 1000 || string(content["manifest"]) != "{ \"Po" {
		t.Errorf("archive of %d bytes, manifest %q", len(content["base.tar||"]), content["manifest"])
	}
	// 1000 bytes are four messages, the manifest one; besides n, p and m.
	if len(r.data) != 8 {
		t.Errorf("%d messages, want 8", len(r.data))
	}
	// The session goes on.
	w.query("IDENTIFY_SYSTEM")
	if r := w.read(nil); r.err != nil {
		t.Error(r.err)
	}
}

func TestBackupStopsInTheMiddle(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	b := SampleBackup()
	b.Before = map[Step]Hook{StepManifest: Cut}
	s.ServeBackup(b)
	w := hijack(t, s)
	w.query(newBackup)
	r := w.read(nil)
	if !isEnd(r.err) || r.messages[len(r.messages)-1] != "H" || len(r.data) == 0 {
		t.Errorf("got %q, %v", r.messages, r.err)
	}
}

func TestHeaderFieldsCanBeWrong(t *testing.T) {
	t.Parallel()
	m := Member{Name: "x", EditHeader: func(h []byte) { TarNumber(h[124:136], 9<<30) }}
	h, err := tar.NewReader(bytes.NewReader(m.header())).Next()
	if err != nil || h.Size != 9<<30 {
		t.Errorf("got %+v, %v, want 9 GiB in base 256", h, err)
	}
	m = Member{Name: "x", BadChecksum: true}
	if _, err := tar.NewReader(bytes.NewReader(m.header())).Next(); err == nil {
		t.Error("checksum is right")
	}
}
