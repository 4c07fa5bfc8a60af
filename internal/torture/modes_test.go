package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// openToOthers begins what modes says of a file.
const openToOthers = "open to others: "

// modes tells of a file or a directory that others than its owner may use in
// some way, at any moment that something is done to it.
func modes(c durable.Change) {
	seen := func(name string, info os.FileInfo, err error) {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			fmt.Fprintf(os.Stderr, "%s%s, %s, at its %s\n", openToOthers, name, info.Mode(), c.Op)
		}
	}
	if c.File != nil && c.File.File != nil {
		info, err := c.File.Stat()
		seen(c.Path, info, err)
	}
	dir := filepath.Dir(c.Path)
	info, err := os.Stat(dir)
	seen(dir, info, err)
}

// neverOpen runs the operation for a user whose mask lets everybody in.
func (b *bed) neverOpen() {
	b.t.Helper()
	p := b.start("modes 0", maskVariable+"=0")
	p.wait()
	said := p.said.String()
	if p.code != 0 || strings.Contains(said, openToOthers) {
		b.t.Errorf("exit code %d, and said:\n%.2000s", p.code, said)
	}
	err := filepath.WalkDir(b.dir(), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&os.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
			b.t.Errorf("%s is %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// maskVariable sets the process's mask, so that no other test's is changed.
const maskVariable = "PGBRAID_TORTURE_MASK"

func setMask() {
	if os.Getenv(maskVariable) == "0" {
		syscall.Umask(0)
	}
}
