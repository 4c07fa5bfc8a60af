package pgdata

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// Claim is a directory that is this run's to fill.
type Claim struct {
	Directory
	// Existed says that the directory was there before.
	Existed bool
	// Made are the directories that were made for it, those above it first.
	Made []string

	dir   *os.File // holds the lock
	root  *os.Root
	names *durable.Names

	mode    fs.FileMode // of a directory that was there, before
	changed bool        // it has another one now
}

// errMoved says that the directory is another one than a moment ago.
var errMoved = errors.New("it was removed or exchanged meanwhile")

// Check tells whether the directory could be claimed, and changes nothing. One
// that another run has not put anything into yet passes.
//
// Errors: *NotEmptyError, *InUseError, *DanglingError, and what the system says.
func (d Directory) Check() error {
	if _, err := d.missing(); err != nil {
		return err
	}
	dir, err := os.Open(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.What, err)
	}
	defer func() { _ = dir.Close() }() // only read from
	err = d.checkEmpty(dir)
	var occupied *NotEmptyError
	if errors.As(err, &occupied) && errors.Is(durable.LockDir(dir), durable.ErrLocked) {
		// That it should be emptied is no advice to give.
		return &InUseError{d.What, d.Path}
	}
	return err
}

// checkEmpty looks into the directory.
func (d Directory) checkEmpty(dir *os.File) error {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", d.What, err)
	}
	switch names, err := dir.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", d.What, err)
	default:
		return &NotEmptyError{d.What, d.Path, names[0]}
	}
}

// missing are the directories that are not there: the directory itself first,
// then those above it.
func (d Directory) missing() (list []string, err error) {
	for dir := d.Path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			return list, nil
		} else if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return nil, fmt.Errorf("%s: %w", d.What, err)
		}
		if to, err := os.Readlink(dir); err == nil {
			return nil, &DanglingError{d.What, d.Path, dir, to}
		}
		list = append(list, dir)
	}
}

// Claim makes the directory, with those above it, or takes an empty one. From
// then on it is locked, and what is made in it is noted. When Claim fails
// everything is as it was.
//
// Errors: *NotEmptyError, *InUseError, *DanglingError, and what the system says.
func (d Directory) Claim() (*Claim, error) {
	const tries = 100
	for n := 0; ; n++ {
		c := &Claim{Directory: d}
		err := c.take()
		if err == nil {
			return c, nil
		}
		c.giveUp()
		if !errors.Is(err, errMoved) || n == tries {
			return nil, err
		}
	}
}

func (c *Claim) take() error {
	if err := c.make(); err != nil {
		return err
	}
	if err := c.lock(); err != nil {
		return err
	}
	// Whoever had it before may have finished meanwhile.
	if err := c.checkEmpty(c.dir); err != nil {
		return err
	}
	var err error
	if c.root, err = os.OpenRoot(c.Path); err != nil {
		return fmt.Errorf("%s: %w", c.What, err)
	}
	if info, err := c.root.Stat("."); err != nil || !c.is(info) {
		return c.moved(err)
	}
	if err := c.setMode(); err != nil {
		return err
	}
	c.names = durable.Record(c.Path)
	return nil
}

// make makes what is missing. Another run may do so at the same moment.
func (c *Claim) make() error {
	missing, err := c.missing()
	if err != nil {
		return err
	}
	for i := len(missing) - 1; i >= 0; i-- {
		dir := missing[i]
		mode := c.Mode
		if i > 0 {
			mode = parentMode
		}
		switch err := durable.Mkdir(dir, mode); {
		case err == nil:
			c.Made = append(c.Made, dir)
		case errors.Is(err, fs.ErrExist):
			continue
		case errors.Is(err, fs.ErrNotExist):
			return c.moved(err)
		default:
			return fmt.Errorf("%s: %w", c.What, err)
		}
		if i == 0 {
			continue // once it is open
		}
		if err := c.openParent(dir); err != nil {
			return err
		}
	}
	c.Existed = len(c.Made) == 0 || c.Made[len(c.Made)-1] != c.Path
	return nil
}

// parentMode is that of directories above, as far as the user's mask lets it.
const parentMode = 0o755

// userMask is the mask that the process had from its user, -1 if it has not
// changed it.
var userMask atomic.Int64

func init() { userMask.Store(-1) }

// KeepMask tells the mask that the process had from its user. A program that
// narrows it for what it writes must say so, for the sake of directories above:
// whoever a backup is given to must be able to reach it.
func KeepMask(mask int) { userMask.Store(int64(mask)) }

// openParent gives a directory above the mode that the user would get.
func (c *Claim) openParent(dir string) error {
	mask := userMask.Load()
	if mask < 0 {
		return nil // the system has done so
	}
	info, err := os.Lstat(dir)
	if err == nil {
		err = os.Chmod(dir, special(info)|parentMode&^fs.FileMode(mask)|ownerRights)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.What, err)
	}
	return nil
}

// special are the bits of a mode besides the rights. A directory may inherit
// that of the group.
func special(info fs.FileInfo) fs.FileMode {
	return info.Mode() & (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

// lock opens the directory and takes the lock on it.
func (c *Claim) lock() error {
	dir, err := os.Open(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return c.moved(err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.What, err)
	}
	c.dir = dir
	switch err := durable.LockDir(dir); {
	case errors.Is(err, durable.ErrLocked):
		return &InUseError{c.What, c.Path}
	case errors.Is(err, errors.ErrUnsupported):
		c.log().Warn("its file system has no locks: that another run fills the same directory would not be noticed at once", "directory", c.Path)
	case err != nil:
		return fmt.Errorf("%s: %w", c.What, err)
	}
	// Whoever had it may have removed it before letting go.
	if info, err := os.Stat(c.Path); err != nil || !c.is(info) {
		return c.moved(err)
	}
	return nil
}

// is tells whether info is that of the claimed directory.
func (c *Claim) is(info fs.FileInfo) bool {
	own, err := c.dir.Stat()
	return err == nil && os.SameFile(info, own)
}

func (c *Claim) moved(err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", c.What, err)
	}
	return fmt.Errorf("%s %q: %w", c.What, c.Path, errMoved)
}

// setMode gives a directory that was made its mode, whatever the mask of this
// process, and closes one that was there if need be.
func (c *Claim) setMode() error {
	info, err := c.dir.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", c.What, err)
	}
	c.mode = special(info) | info.Mode().Perm()
	open := c.mode&notAccepted != 0 || c.mode&ownerRights != ownerRights
	if c.Existed && !(c.Private && open) {
		return nil
	}
	switch err := c.dir.Chmod(special(info) | c.Mode); {
	case err == nil:
		c.changed = c.Existed
	case c.Existed && errors.Is(err, fs.ErrPermission):
		c.log().Warn("it is somebody else's and open to others: no server starts in it as it is", "directory", c.Path, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	default:
		return fmt.Errorf("%s: %w", c.What, err)
	}
	return nil
}
