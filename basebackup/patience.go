package basebackup

// limitSilence takes the connection for lost when the server sends nothing for
// Options.SilenceLimit, from now on. The function returned ends that.
//
// There are times when a server that is well has nothing to say for as long as
// it likes. Then only the kernel tells whether its machine is still there, by
// the keepalives of the connection (package conninfo: a dead peer is noticed
// within 3 minutes unless other values were asked for):
//
//   - until it answers BASE_BACKUP with the list of tablespaces: it makes a
//     checkpoint and adds up the sizes of all files. The limit begins later;
//   - while it keeps the backup on its side, or has an extension of its own
//     keep it: it syncs each archive before it goes on
//     (src/backend/backup/basebackup_server.c);
//   - while its archiver is behind: see awaitArchiver.
func (b *backup) limitSilence() (stop func()) {
	limit := b.options.SilenceLimit
	if limit == 0 {
		limit = defaultSilenceLimit
	}
	b.conn.ExcuseSilence(b.options.toServer())
	return b.conn.LimitSilence(limit)
}

// awaitArchiver is told when the server has come to the end of the backup and
// when that is over. If no WAL goes into the backup, the command asks the server
// to wait there until its archiver has stored all WAL of it
// (do_pg_backup_stop in src/backend/access/transam/xlog.c). Otherwise it does
// not wait. It sends a notice after 5 s and warnings after 60, 120, 240 s and
// so on.
func (b *backup) awaitArchiver(is bool) {
	b.conn.ExcuseSilence(b.options.toServer() || is && b.options.WAL == NoWAL)
}
