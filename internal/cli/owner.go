package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// giveAway tells root how to give directories to the user that the server runs
// as.
func giveAway(w io.Writer, dirs []string) {
	fmt.Fprintf(w, "pgbraid: its files belong to root, which no server runs as; first:  chown -R postgres: %s\n", quoteAll(dirs))
	if closed := closedAbove(dirs); len(closed) > 0 {
		fmt.Fprintf(w, "pgbraid: that user cannot reach them yet; also:  chmod o+x %s\n", quoteAll(closed))
	}
}

// closedAbove are the directories above others that belong to this user and that
// nobody else may pass through, the highest first.
func closedAbove(dirs []string) (list []string) {
	for _, dir := range dirs {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue // it has been removed meanwhile
		}
		for above := filepath.Dir(real); ; above = filepath.Dir(above) {
			info, err := os.Stat(above)
			if err == nil && info.Mode().Perm()&0o001 == 0 && !slices.Contains(list, above) && isOwn(info) {
				list = append(list, above)
			}
			if above == filepath.Dir(above) {
				break
			}
		}
	}
	slices.Sort(list)
	return list
}

func isOwn(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
