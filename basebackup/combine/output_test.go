package combine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestSecondRunIntoTheSameDirectoryIsRefused starts one while another has
// claimed the directory and put nothing into it.
func TestSecondRunIntoTheSameDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	o := testOptions(t, root, dirs)
	second := make(chan error, 1)
	begun := false
	stop := durable.Watch(o.Output, func(c durable.Change) (int, error) {
		if c.Path != o.Output && !begun {
			begun = true // before others make anything
			_, err := Run(context.Background(), testOptions(t, root, dirs))
			second <- err
		}
		return len(c.Data), nil
	})
	mustRun(t, o)
	stop()
	var used *pgdata.InUseError
	if err := <-second; !errors.As(err, &used) || used.Path != o.Output {
		t.Errorf("the second run: %v", err)
	}
}

// TestFailedRunRemovesOnlyWhatItMade has somebody else put a file there.
func TestFailedRunRemovesOnlyWhatItMade(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	o := testOptions(t, root, dirs)
	theirs := filepath.Join(o.Output, "base", "theirs")
	stop := durable.Watch(o.Output, func(c durable.Change) (int, error) {
		if filepath.Base(c.Path) == filepath.Base(controlPartial) && c.Op == durable.OpOpen {
			if err := os.WriteFile(theirs, []byte("theirs"), 0o600); err != nil {
				t.Error(err)
			}
			return 0, errors.New("the end")
		}
		return len(c.Data), nil
	})
	defer stop()
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "the end") {
		t.Errorf("error is %v", err)
	}
	left := treeOf(t, o.Output)
	if len(left) != 1 || left["base/theirs"] == nil {
		t.Errorf("left: %v", left)
	}
}

func TestDanglingLinkIsNoOutput(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	o := testOptions(t, root, dirs)
	if err := os.Symlink(filepath.Join(root, "disk"), o.Output); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), o); !errors.As(err, new(*pgdata.DanglingError)) {
		t.Errorf("error is %v", err)
	}
	mustLeaveNothing(t, root, append(dirs, o.Output))
	if _, err := os.Readlink(o.Output); err != nil {
		t.Error(err)
	}
}

// TestOutputsWithinOneAnother is about tablespaces that hold the output, or one
// another.
func TestOutputsWithinOneAnother(t *testing.T) {
	t.Parallel()
	root, dirs := tablespaceBackups(t)
	o := testOptions(t, root, dirs)
	o.Output = filepath.Join(root, "ts", "out")
	o.Tablespaces = []TablespaceMapping{{dirs[1] + " space=x", filepath.Join(root, "ts")}}
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "lies in the tablespace directory") {
		t.Errorf("error is %v", err)
	}
	mustLeaveNothing(t, root, []string{dirs[0], dirs[1], dirs[0] + " space=x", dirs[1] + " space=x"})
}

// TestRestsOfACrashAreFilesLikeAnyOther has the source have had files under
// names that were temporary ones.
func TestRestsOfACrashAreFilesLikeAnyOther(t *testing.T) {
	t.Parallel()
	backups := threeBackups()
	for _, name := range []string{"backup_manifest.tmp", "global/pg_control.pgbraid"} {
		backups[2].files[name] = []byte("rest")
	}
	root, dirs := written(t, backups...)
	o := testOptions(t, root, dirs)
	mustRun(t, o)
	for _, name := range []string{"backup_manifest.tmp", "global/pg_control.pgbraid"} {
		if !bytes.Equal(read(t, filepath.Join(o.Output, name)), []byte("rest")) {
			t.Errorf("%s is not as in the backup", name)
		}
	}
}

// TestResultThatDoesNotFitIsRefusedBeforeItIsWritten has a small disk.
func TestResultThatDoesNotFitIsRefusedBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	backups := threeBackups()
	backups[2].files["base/5/16999"] = make([]byte, 3<<20)
	root, dirs := written(t, backups...)
	disk := filepath.Join(root, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	pgtest.Mount(t, disk, "-t", "tmpfs", "-o", "size=2m", "none")
	for _, dry := range []bool{true, false} {
		o := testOptions(t, root, dirs)
		o.Output, o.DryRun = filepath.Join(disk, "out"), dry
		stop := durable.Watch(disk, func(c durable.Change) (int, error) {
			t.Errorf("%s %s", c.Op, c.Path)
			return len(c.Data), nil
		})
		_, err := Run(context.Background(), o)
		stop()
		var space *pgdata.SpaceError
		if !errors.As(err, &space) || space.Need < 3<<20 || space.Free > 2<<20 || space.Path != o.Output {
			t.Errorf("dry %v: error is %v", dry, err)
		}
	}
}
