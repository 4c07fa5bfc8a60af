package cli

import "github.com/pgbraid/pgbraid/internal/clidoc"

// manualEnvironment is by the group of options that the variables stand in
// for.
var manualEnvironment = map[string][]clidoc.Item{
	"connection": {
		{Term: "PGHOST, PGHOSTADDR, PGPORT, PGUSER, PGDATABASE", Meaning: "Where to and as whom to connect, where neither an option nor the connection string says so."},
		{Term: "PGPASSWORD, PGPASSFILE", Meaning: "The password, or the file to look it up in. The default is ~/.pgpass."},
		{Term: "PGSERVICE, PGSERVICEFILE, PGSYSCONFDIR", Meaning: "A named set of connection parameters, and where to look it up."},
		{Term: "PGSSLMODE, PGREQUIRESSL, PGSSLNEGOTIATION, PGSSLCOMPRESSION, PGSSLCERT, PGSSLKEY, PGSSLCERTMODE, PGSSLROOTCERT, PGSSLCRL, PGSSLCRLDIR, PGSSLSNI, PGSSLMINPROTOCOLVERSION, PGSSLMAXPROTOCOLVERSION", Meaning: "TLS: whether and how. The meaning is that of libpq; what is not supported is refused."},
		{Term: "PGCHANNELBINDING, PGREQUIREAUTH, PGREQUIREPEER, PGGSSENCMODE, PGKRBSRVNAME, PGGSSLIB, PGGSSDELEGATION", Meaning: "How the two sides make sure of each other. The meaning is that of libpq; what is not supported is refused."},
		{Term: "PGCONNECT_TIMEOUT, PGTARGETSESSIONATTRS, PGLOADBALANCEHOSTS, PGMINPROTOCOLVERSION, PGMAXPROTOCOLVERSION", Meaning: "How long to try, and which of several servers to take, as in libpq."},
		{Term: "PGAPPNAME, PGOPTIONS, PGCLIENTENCODING, PGDATESTYLE, PGTZ, PGGEQO", Meaning: "What the session on the server begins with."},
	},
}

// manualNotes are what a page has beside the command's own description. Each
// command line is one that the program takes: a test holds that.
var manualNotes = map[string]clidoc.Notes{
	"": {Examples: []clidoc.Example{
		{What: "Make a standby of a server, and start it:",
			Line: "pgbraid clone -h primary -U replicator -D /var/lib/postgresql/standby\npg_ctl -D /var/lib/postgresql/standby start"},
		{What: "Keep its log, for recovery to any point in time:",
			Line: "pgbraid receive -h primary -U replicator -S archive -D /srv/wal"},
		{What: "What a command takes:",
			Line: "pgbraid backup --help"},
	}},
	"clone": {Examples: []clidoc.Example{
		{What: "A standby with a slot of its own, from a checkpoint made at once:",
			Line: "pgbraid clone -h primary -U replicator -c fast -C -S standby1 -D /var/lib/postgresql/standby"},
		{What: "A tablespace that goes elsewhere:",
			Line: "pgbraid clone -h primary -T /mnt/fast=/mnt/ssd -D /var/lib/postgresql/standby"},
	}},
	"backup": {Examples: []clidoc.Example{
		{What: "Files as the server has them:",
			Line: "pgbraid backup -h primary -U replicator -D /srv/backup/monday"},
		{What: "Archives, compressed here:",
			Line: "pgbraid backup -h primary -U replicator -F tar -Z zstd:level=3 -D /srv/backup/monday"},
		{What: "One archive to another program:",
			Line: "pgbraid backup -h primary -U replicator -F tar -X fetch -D - | store-it"},
		{What: "What has changed since another backup (PostgreSQL 17 and later):",
			Line: "pgbraid backup -h primary -i /srv/backup/monday/backup_manifest -D /srv/backup/tuesday"},
	}},
	"combine": {Examples: []clidoc.Example{
		{What: "A full backup as of Wednesday:",
			Line: "pgbraid combine -o /srv/restore /srv/backup/monday /srv/backup/tuesday /srv/backup/wednesday"},
	}},
	"verify": {Examples: []clidoc.Example{
		{What: "See whether a backup is what the server sent, and its log whole:",
			Line: "pgbraid verify /srv/backup/monday"},
		{What: "See whether incremental backups are on top of one another, and of a full one:",
			Line: "pgbraid verify /srv/backup/monday /srv/backup/tuesday /srv/backup/wednesday"},
	}},
	"receive": {
		Environment: []clidoc.Item{
			{Term: "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID", Meaning: "Set by systemd: where to tell that the stream runs and goes on, and how often."},
		},
		Examples: []clidoc.Example{
			{What: "Create a slot, then keep the log compressed, and serve metrics on port 9187 of loopback:",
				Line: "pgbraid receive -h primary -U replicator -S archive --create-slot --if-not-exists\npgbraid receive -h primary -U replicator -S archive -Z zstd --metrics :9187 -D /srv/wal"},
			{What: "Lose no commit: name this receiver in synchronous_standby_names on the server.",
				Line: "pgbraid receive -d \"host=primary application_name=archive\" -S archive --synchronous -D /srv/wal"},
		},
	},
	"restore-wal": {Examples: []clidoc.Example{
		{What: "In postgresql.conf of a standby:",
			Line: "restore_command = 'pgbraid restore-wal -D /srv/wal \"%f\" \"%p\"'"},
		{What: "In that of a server that is to recover to the end of the archive:",
			Line: "restore_command = 'pgbraid restore-wal --partial -D /srv/wal \"%f\" \"%p\"'"},
	}},
	"status": {Examples: []clidoc.Example{
		{What: "Read every segment, and fail if anything is missing:",
			Line: "pgbraid status --check -D /srv/wal"},
	}},
}
