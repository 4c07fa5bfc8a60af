package combine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	controlFile = "global/pg_control"
	versionFile = "PG_VERSION"

	// oldestMajor is the first release with incremental backups.
	oldestMajor = 17
)

// input is one backup of the chain.
type input struct {
	dir     string
	major   int
	control controlfile.Control
	label   lineage.Label
	// manifest is nil if the backup has none.
	manifest *manifestIndex
}

func (i *input) path(name string) string { return filepath.Join(i.dir, filepath.FromSlash(name)) }

// chain are the backups, the full one first.
type chain struct {
	inputs []*input
}

func (c *chain) last() *input { return c.inputs[len(c.inputs)-1] }

// ChainError says that backups do not follow one another.
type ChainError = lineage.Error

// openChain reads what the inputs say of themselves and makes sure that they
// belong together.
func openChain(ctx context.Context, o *Options) (*chain, error) {
	c := &chain{}
	for _, dir := range o.Inputs {
		c.inputs = append(c.inputs, &input{dir: filepath.Clean(dir)})
	}
	for _, in := range slices.Backward(c.inputs) {
		if err := in.read(); err != nil {
			return nil, err
		}
	}
	if err := c.check(o.Logger); err != nil {
		return nil, err
	}
	if err := c.readManifests(ctx, o); err != nil {
		return nil, err
	}
	return c, nil
}

func (i *input) read() (err error) {
	if i.major, err = readMajor(i.path(versionFile)); err != nil {
		return err
	}
	if i.control, err = controlfile.Read(i.path(controlFile)); err != nil {
		return err
	}
	i.label, err = readLabel(i.path(labelFile))
	return err
}

// readMajor reads PG_VERSION, which holds such as 17 and a newline.
func readMajor(path string) (int, error) {
	text, err := readSmall(path, 128)
	if err != nil {
		return 0, err
	}
	digits, whole := strings.CutSuffix(string(text), "\n")
	major, err := strconv.Atoi(digits)
	if err != nil || !whole {
		return 0, fmt.Errorf("%s: could not parse version number", path)
	}
	if major < oldestMajor {
		return 0, fmt.Errorf("%s: server version too old", path)
	}
	return major, nil
}

// readSmall reads a file of not more than limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("file \"%s\" is too large", path)
	}
	return text, err
}

// check makes sure that all inputs are of one cluster and follow one another.
func (c *chain) check(log *slog.Logger) error {
	var links []lineage.Link
	for _, in := range c.inputs {
		links = append(links, lineage.Link{Directory: in.dir, Major: in.major, Control: in.control, Label: in.label})
	}
	if err := lineage.CheckCluster(links); err != nil {
		return err
	}
	control := c.last().control
	if size, blocks := control.BlockSize, control.SegmentBlocks; size < 1024 || size > 32768 || size&(size-1) != 0 || blocks == 0 || blocks > maxSegmentBlocks {
		return fmt.Errorf("%s: blocks of %d bytes and %d to a file cannot be", c.last().path(controlFile), size, blocks)
	}
	if lineage.MixedChecksums(links) {
		log.Warn("only some backups have checksums enabled",
			"hint", "Disable, and optionally reenable, checksums on the output directory to avoid failures.")
	}
	return lineage.CheckOrder(links)
}

// readManifests reads all manifests that there are.
func (c *chain) readManifests(ctx context.Context, o *Options) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.Jobs)
	for n, in := range c.inputs {
		isLast := n == len(c.inputs)-1
		group.Go(func() (err error) {
			in.manifest, err = readManifest(ctx, in.path(manifestFile), isLast)
			if errors.Is(err, fs.ErrNotExist) {
				o.Logger.Warn(fmt.Sprintf("file \"%s\" does not exist", in.path(manifestFile)))
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, in := range c.inputs {
		if m := in.manifest; m != nil && m.summary.SystemIdentifier != c.last().control.SystemIdentifier {
			return fmt.Errorf("%s: manifest system identifier is %d, but control file has %d",
				in.path(controlFile), m.summary.SystemIdentifier, c.last().control.SystemIdentifier)
		}
	}
	if !o.NoManifest && !o.DryRun && c.last().manifest == nil {
		return errors.New("cannot generate a manifest because no manifest is available for the final input backup")
	}
	return nil
}
