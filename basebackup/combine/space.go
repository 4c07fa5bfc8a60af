package combine

import "github.com/pgbraid/pgbraid/internal/pgdata"

// checkSpace makes sure that the result finds room. Of a rebuilt file it is known
// how long it is at least. Files that are cloned or linked take none, and the
// kernel may share the blocks of those that it copies.
func (r *run) checkSpace() error {
	if r.options.Method != Copy {
		return nil
	}
	sizes := map[string]int64{}
	for _, f := range r.tree.files {
		sizes[f.dir.place] += f.size
	}
	var needs []pgdata.Need
	for _, p := range r.places() {
		needs = append(needs, pgdata.Need{Path: p.Path, Bytes: sizes[p.Path]})
	}
	rooms, err := pgdata.Rooms(needs)
	if err != nil {
		return err
	}
	for _, room := range rooms {
		switch {
		case !room.Short():
		case room.Certain:
			return room.Shortage()
		default:
			r.log.Warn("there may be too little room: its file system may compress", "directory", room.Path, "needed", room.Need, "free", room.Free)
		}
	}
	return nil
}
