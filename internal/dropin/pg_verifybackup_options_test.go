package dropin

import "testing"

// TestThatReleases19NameOfTheWALIsKnown shows that it changes nothing of release
// 18's command lines.
func TestThatReleases19NameOfTheWALIsKnown(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_verifybackup")
	for _, line := range []string{"--wal", "--wal x", "--wal=x", "--w", "--wal-p x", "--wal-pat=x", "--wal- x", "--wal-directory", "--help", "-?", "x --help", "x -V", "x --version"} {
		b.same(t, words(line)...)
	}
	dir := t.TempDir()
	for _, line := range []string{"-w x", "--wal-directory x", "--wal-directory=x y z", "--wal-directory x missing -n", "--wal-directory"} {
		stock := b.run(t, b.stock, dir, words(line)...)
		args := words(line)
		for i, a := range args {
			switch {
			case a == "-w", a == "--wal-directory":
				args[i] = "--wal-path"
			case a == "--wal-directory=x":
				args[i] = "--wal-path=x"
			}
		}
		if line == "--wal-directory" {
			stock.errors = "pg_verifybackup: option '--wal-path' requires an argument\npg_verifybackup: hint: Try \"pg_verifybackup --help\" for more information.\n"
		}
		if ours := b.run(t, b.ours, dir, args...); ours != stock {
			t.Errorf("%q: %+v, want %+v", args, ours, stock)
		}
	}
}
