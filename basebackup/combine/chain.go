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
	"sync/atomic"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	controlFile = "global/pg_control"
	versionFile = "PG_VERSION"

	// maxControlFile is more than the size of a pg_control, in bytes.
	maxControlFile = 64 << 10

	// oldestMajor is the first release with incremental backups.
	oldestMajor = 17
)

// input is one backup of the chain.
type input struct {
	dir     string
	major   int
	control controlfile.Control
	label   lineage.Label
	// own are the files that say this, by name, as they were read.
	own map[string][]byte
	// manifest is nil if the backup has none.
	manifest *manifestIndex

	// unchecked is how many of the files that were used the manifest has no
	// checksum of; onlyPages of how many of these the pages were checked.
	unchecked, onlyPages atomic.Int64
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
	i.own = map[string][]byte{}
	for _, part := range []struct {
		name  string
		limit int64
		parse func(text []byte) error
	}{
		{versionFile, 128, func(text []byte) (err error) {
			i.major, err = parseMajor(text)
			return err
		}},
		{controlFile, maxControlFile, func(text []byte) (err error) {
			i.control, err = controlfile.Parse(text)
			return err
		}},
		{labelFile, lineage.MaxLabel, func(text []byte) (err error) {
			i.label, err = lineage.ParseLabel(text)
			return err
		}},
	} {
		path := i.path(part.name)
		if i.own[part.name], err = readSmall(path, part.limit); err != nil {
			return err
		}
		if err := part.parse(i.own[part.name]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// parseMajor reads PG_VERSION, which holds such as 17 and a newline.
func parseMajor(text []byte) (int, error) {
	digits, whole := strings.CutSuffix(string(text), "\n")
	major, err := strconv.Atoi(digits)
	if err != nil || !whole {
		return 0, errors.New("could not parse version number")
	}
	if major < oldestMajor {
		return 0, errors.New("server version too old")
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
	for _, in := range c.inputs {
		group.Go(func() (err error) {
			in.manifest, err = readManifest(ctx, in.path(manifestFile))
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
