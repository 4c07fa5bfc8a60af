package basebackup_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/tarx"
)

// trapHeader changes a field of a member's header.
func trapHeader(at int, field string) func([]byte) {
	return func(h []byte) { copy(h[at:], field) }
}

func TestMembersThatNoServerSends(t *testing.T) {
	t.Parallel()
	x := []byte("evil")
	file := func(name string) []walsender.Member {
		return []walsender.Member{{Name: name, Content: x}}
	}
	kind := func(flag byte) []walsender.Member {
		return []walsender.Member{{Name: "base/1/special", Type: flag, Linkname: "PG_VERSION"}}
	}
	for name, test := range map[string]struct {
		members []walsender.Member
		want    string
	}{
		"dots":                   {file("../evil"), "../evil"},
		"dots inside":            {file("base/../../../evil"), "base/../../../evil"},
		"dots that stay inside":  {file("base/../evil"), "base/../evil"},
		"only dots":              {file(".."), `".."`},
		"absolute":               {file("/tmp/evil"), "/tmp/evil"},
		"empty name":             {file(""), "empty name"},
		"the directory itself":   {file("."), "unsafe name"},
		"dot slash":              {[]walsender.Member{{Name: "./"}}, ""},
		"directory with dots":    {[]walsender.Member{{Name: "../evil.d/"}}, "../evil.d"},
		"absolute directory":     {[]walsender.Member{{Name: "/tmp/evil.d/"}}, "/tmp/evil.d"},
		"file with a slash":      {[]walsender.Member{{Name: "base/1/", Type: walsender.TypeFile}}, "slash"},
		"NUL in the name":        {[]walsender.Member{{Name: "base/1/16400\x00evil", Content: x, Unlisted: true}}, "16400"},
		"NUL first":              {[]walsender.Member{{Name: "\x00evil", Content: x, Unlisted: true}}, "empty name"},
		"link elsewhere":         {[]walsender.Member{{Name: "base/link", Linkname: "/tmp"}}, `unexpected symbolic link "base/link"`},
		"link at the top":        {[]walsender.Member{{Name: "pg_xact", Linkname: "/tmp"}}, `unexpected symbolic link "pg_xact"`},
		"link in place of WAL":   {[]walsender.Member{{Name: "pg_wal", Linkname: "/tmp"}}, `unexpected symbolic link "pg_wal"`},
		"link below pg_tblspc":   {[]walsender.Member{{Name: "pg_tblspc/16385/link", Linkname: "/tmp"}}, "unexpected symbolic link"},
		"link with dots":         {[]walsender.Member{{Name: "pg_tblspc/../link", Linkname: "/tmp"}}, "pg_tblspc/../link"},
		"link twice":             {[]walsender.Member{{Name: "pg_tblspc/16385", Linkname: "/tmp"}}, "exists"},
		"through the link":       {file("pg_tblspc/16385/evil"), `member below "pg_tblspc/16385", which is not a directory`},
		"deep through the link":  {file("pg_tblspc/16385/PG_18_202506291/5/evil"), "pg_tblspc/16385"},
		"directory through it":   {[]walsender.Member{{Name: "pg_tblspc/16385/evil/"}}, "not a directory"},
		"over the link":          {file("pg_tblspc/16385"), "exists"},
		"through a file":         {file("PG_VERSION/evil"), "not a directory"},
		"no such directory":      {file("base/7/evil"), "base/7"},
		"link left out, through": {[]walsender.Member{{Name: "pg_tblspc/999", Linkname: "/tmp"}, {Name: "pg_tblspc/999/evil", Content: x}}, "pg_tblspc/999"},
		"file twice":             {file("PG_VERSION"), "exists"},
		"directory twice":        {[]walsender.Member{{Name: "base/1/"}}, "exists"},
		"WAL directory twice":    {[]walsender.Member{{Name: "pg_wal/"}}, "exists"},
		"directory over a file":  {[]walsender.Member{{Name: "PG_VERSION/"}}, "exists"},
		"file over a directory":  {file("base/1"), "exists"},
		"the manifest":           {file("backup_manifest"), `unexpected member "backup_manifest"`},
		"the interim manifest":   {file("pgsql_tmp.pgbraid.backup_manifest"), "unexpected member"},
		"dotted manifest":        {file("./backup_manifest"), "unexpected member"},
		"interim pg_control":     {file("global/pgsql_tmp.pgbraid.pg_control"), "unexpected member"},
		"pg_control twice":       {file("global/pg_control"), "exists"},
		"hard link":              {kind('1'), "hard link"},
		"character device":       {kind('3'), "device"},
		"block device":           {kind('4'), "device"},
		"fifo":                   {kind('6'), "fifo"},
		"pax header":             {kind('x'), "pax"},
		"global pax header":      {kind('g'), "pax"},
		"GNU long name":          {kind('L'), "GNU"},
		"sparse file":            {kind('S'), "'S'"},
		"unknown type":           {kind('!'), "type"},
		"bad header checksum":    {[]walsender.Member{{Name: "x", BadChecksum: true}}, "checksum"},
		"size below 0":           {[]walsender.Member{{Name: "x", EditHeader: trapHeader(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")}}, "size"},
		"size no number":         {[]walsender.Member{{Name: "x", EditHeader: trapHeader(124, "big")}}, "size"},
		"size of 8 EiB":          {[]walsender.Member{{Name: "x", EditHeader: trapHeader(124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")}}, ""},
		"size of a directory":    {[]walsender.Member{{Name: "x/", EditHeader: trapHeader(124, "00000000010 ")}}, "size"},
		"GNU format":             {[]walsender.Member{{Name: "x", EditHeader: trapHeader(257, "ustar  \x00")}}, "GNU"},
		"mode with type bits":    {[]walsender.Member{{Name: "x", EditHeader: trapHeader(100, "mode")}}, "mode"},
		"segment of the log":     {[]walsender.Member{{Name: "pg_wal/000000010000000000000009", Content: x, Unlisted: true}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRelease(t, 0, func(p *trap) {
				if p.server.Major() < 13 && (strings.HasPrefix(name, "NUL in") || name == "segment of the log") {
					return // only a manifest can tell that this file is none of the cluster's
				}
				p.add(test.members...)
				err := p.fails(test.want)
				if _, e := os.Lstat("/tmp/evil"); !errors.Is(e, fs.ErrNotExist) {
					t.Errorf("written outside: %v", e)
				}
				var mismatch *manifest.MismatchError
				if err != nil && !errors.As(err, &mismatch) && strings.Count(err.Error(), "base.tar") != 1 {
					t.Errorf("error does not name the archive once: %v", err)
				}
			})
		})
	}
}

// What a link leads to is this side's to say, not the server's.
func TestLinkOfATablespaceLeadsWhereItWasPut(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/etc", "../../../beside", "."} {
		eachRelease(t, 0, func(p *trap) {
			p.backup.Replace(walsender.Member{Name: "pg_tblspc/16385", Linkname: target})
			p.succeeds()
			if to, err := os.Readlink(filepath.Join(p.options.Directory, "pg_tblspc/16385")); err != nil || to != p.space {
				t.Errorf("link leads to %q: %v", to, err)
			}
		})
	}
}

func TestLinkOfANewerTablespaceIsLeftOut(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.add(walsender.Member{Name: "pg_tblspc/77777", Linkname: "/srv/newer"})
		if err := p.run(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(p.options.Directory, "pg_tblspc/77777")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the link is there: %v", err)
		}
		if !strings.Contains(p.log.String(), "pg_tblspc/77777") {
			t.Error("nobody was told")
		}
	})
}

func TestMembersOfATablespaceStayInIt(t *testing.T) {
	t.Parallel()
	for _, m := range []walsender.Member{
		{Name: "../evil", Content: []byte("x")},
		{Name: "/evil", Content: []byte("x")},
		{Name: "link", Linkname: "/tmp"},
		{Name: "pg_tblspc/16385", Linkname: "/tmp"},
		{Name: "pg_wal/x", Content: []byte("x")},
	} {
		eachRelease(t, 0, func(p *trap) {
			p.backup.Tablespaces[0].Members = append(p.backup.Tablespaces[0].Members, m)
			p.fails("16385")
		})
	}
}

// A tablespace that is dropped while the backup runs has an archive without
// members; and a file of no bytes has no blocks of its own.
func TestEmptyArchivesAndFiles(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.backup.Tablespaces[0].Members = nil
		p.backup.Replace(walsender.Member{Name: "postgresql.auto.conf"})
		p.backup.Replace(walsender.Member{Name: "base/1/1", Content: nil})
		p.succeeds()
		if entries, err := os.ReadDir(p.space); err != nil || len(entries) != 0 {
			t.Errorf("directory of the tablespace holds %v: %v", entries, err)
		}
	})
	eachRelease(t, 15, func(p *trap) {
		p.backup.Tablespaces[0].Members = nil
		p.backup.EditArchive = func(name string, archive []byte) []byte {
			if name == "base.tar" {
				return archive
			}
			return nil // without the two blocks of zeros
		}
		p.succeeds()
	})
}

// Files of 8 GiB and more have their size in base 256 (trap 7).
func TestSizeInBase256(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.add(walsender.Member{Name: "base/1/16384", Content: bytes.Repeat([]byte("x"), 3000),
			EditHeader: trapHeader(124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b\xb8")})
		p.succeeds()
	})
}

func TestArchiveThatEndsWithinAMember(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]func(whole int) int{
		"in a header":             func(int) int { return 100 },
		"behind a header":         func(int) int { return 512 },
		"in content":              func(int) int { return 520 },
		"in the last one":         func(whole int) int { return whole - 3000 },
		"one byte short of a one": func(int) int { return 1023 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRelease(t, 0, func(p *trap) {
				p.backup.EditArchive = func(archive string, content []byte) []byte {
					if archive == "base.tar" {
						return content[:length(len(content))]
					}
					return content
				}
				if err := p.fails("base.tar"); !errors.Is(err, tarx.ErrTruncated) {
					t.Errorf("error is %v", err)
				}
			})
		})
	}
	// One that ends between two members is found out by the manifest.
	eachRelease(t, 13, func(p *trap) {
		p.backup.EditArchive = func(archive string, content []byte) []byte {
			if archive == "base.tar" {
				return content[:1024]
			}
			return content
		}
		p.fails("not received")
	})
}

func TestArchiveWithMoreBehindItsEnd(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.backup.EditArchive = func(_ string, content []byte) []byte {
			return append(bytes.Clone(content), bytes.Repeat([]byte("evil"), 1000)...)
		}
		p.fails("tar stream")
	})
}

func TestManifestThatTheFilesDoNotAgreeWith(t *testing.T) {
	t.Parallel()
	edit := func(from, to string, seal bool) func(p *trap) {
		return func(p *trap) {
			p.backup.EditManifest = func(m []byte) []byte {
				end := bytes.Index(m, []byte(`"Manifest-Checksum"`))
				if !bytes.Contains(m, []byte(from)) {
					p.t.Errorf("no %q in the manifest", from)
				}
				if seal {
					return walsender.SealManifest(bytes.Replace(m[:end], []byte(from), []byte(to), 1))
				}
				return bytes.Replace(m, []byte(from), []byte(to), 1)
			}
		}
	}
	for name, test := range map[string]struct {
		edit     func(p *trap)
		want     string
		oldest   int
		mismatch bool
	}{
		"byte of a file": {func(p *trap) {
			p.backup.EditArchive = func(_ string, a []byte) []byte {
				return bytes.Replace(bytes.Clone(a), []byte("# a comment"), []byte("# A comment"), 1)
			}
		}, `"postgresql.conf"`, 13, true},
		"byte of a tablespace's file": {func(p *trap) {
			p.backup.EditArchive = func(name string, a []byte) []byte {
				if name != "base.tar" {
					a[len(a)-3000] ^= 1
				}
				return a
			}
		}, `"pg_tblspc/16385/PG_18_202506291/5/16390"`, 13, true},
		"file that is not listed":   {func(p *trap) { p.add(walsender.Member{Name: "base/1/evil", Content: []byte("x"), Unlisted: true}) }, `"base/1/evil"`, 13, true},
		"pg_control not listed":     {func(p *trap) { p.base().Members[len(p.base().Members)-1].Unlisted = true }, `"global/pg_control"`, 13, true},
		"file that did not come":    {edit(`"Files": [`, `"Files": [{ "Path": "base/1/gone", "Size": 1, "Last-Modified": "2026-01-01 00:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" },`, true), `"base/1/gone"`, 13, true},
		"size":                      {edit(`"Size": 3`, `"Size": 4`, true), "size mismatch", 13, true},
		"another cluster":           {edit(`"System-Identifier": `, `"System-Identifier": 1`, true), "system identifier", 17, false},
		"start of the log":          {edit(`"Start-LSN": "0/2000028"`, `"Start-LSN": "0/1000028"`, true), "WAL range", 13, true},
		"end of the log":            {edit(`"End-LSN": "0/2000100"`, `"End-LSN": "0/2000108"`, true), "WAL range", 13, true},
		"its own checksum":          {edit(`a`, `b`, false), "manifest", 13, false},
		"path that leads out":       {edit(`"Path": "PG_VERSION"`, `"Path": "../PG_VERSION"`, true), "manifest", 13, false},
		"cut off":                   {func(p *trap) { p.backup.EditManifest = func(m []byte) []byte { return m[:len(m)/2] } }, "manifest", 13, false},
		"no JSON":                   {func(p *trap) { p.backup.Manifest = []byte("evil\x1b[31m") }, "manifest", 13, false},
		"nested without end":        {func(p *trap) { p.backup.Manifest = bytes.Repeat([]byte("["), 1<<20) }, "manifest", 13, false},
		"version of the far future": {edit(`Version": `, `Version": 9`, true), "version", 13, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRelease(t, test.oldest, func(p *trap) {
				test.edit(p)
				err := p.fails(test.want)
				var mismatch *manifest.MismatchError
				if test.mismatch && !errors.As(err, &mismatch) {
					t.Errorf("error is %T: %v", err, err)
				}
			})
		})
	}
}
