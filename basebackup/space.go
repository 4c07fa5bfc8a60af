package basebackup

import (
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgdata"
)

// usualFactor is how many times smaller compression makes a cluster at the
// most, as far as one would expect it.
const usualFactor = 4

// checkSpace holds the server's estimate of the sizes against what the file
// systems have free, before anything is copied. What is needed at least is the
// estimate, and of the log one segment. It is an error where it certainly does
// not fit. It is a warning where the file system may compress, where only
// changes are going to come (the estimate is of all), and, if the archives are
// compressed, where they would have to become unusually small.
func (b *backup) checkSpace() error {
	if b.options.NoEstimateSize {
		b.log.Info("free space is not looked at: no estimate of the size was asked for")
		return nil
	}
	rooms, err := pgdata.Rooms(b.needs())
	if err != nil {
		// The backup may fit all the same.
		b.log.Warn("free space is not known", "error", err)
		return nil
	}
	for _, room := range rooms {
		b.log.Debug("free space", "directory", room.Path, "needed", room.Need, "free", room.Free)
		compressed := b.options.Format == Tar && b.compressed()
		if compressed && room.Need/usualFactor <= room.Free || !room.Short() {
			continue
		}
		why := ""
		switch {
		case compressed:
			why = "its archives would have to become unusually small"
		case b.options.Incremental != "":
			why = "the estimate is that of a full backup"
		case !room.Certain:
			why = "its file system may compress"
		default:
			return room.Shortage()
		}
		b.log.Warn("there may be too little room: "+why, "directory", room.Path, "needed", room.Need, "free", room.Free)
	}
	return nil
}

func (b *backup) compressed() bool {
	return b.options.clientCompression.Method != compress.None || b.options.serverCompression.Method != compress.None
}

// needs is what is going to be written to each directory, at least.
func (b *backup) needs() (list []pgdata.Need) {
	archives := b.options.Format == Tar
	for _, t := range b.tablespaces {
		need := pgdata.Need{Path: b.options.Directory, Bytes: t.Size}
		if !archives {
			// The estimate counts the headers and the padding of archives.
			need.Bytes -= need.Bytes / 16
			if !t.base() && !t.inPlace() {
				need.Path = t.Path
			}
		}
		list = append(list, need)
	}
	if b.options.WAL == StreamWAL {
		path := b.walDir
		if archives {
			path = b.options.Directory
		}
		list = append(list, pgdata.Need{Path: path, Bytes: int64(b.server.SegmentSize)})
	}
	return list
}
