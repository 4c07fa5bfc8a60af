package basebackup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
)

// standbyFile is a file that makes a backup one of a standby.
type standbyFile struct {
	name, content string
	append        bool // the content goes behind what is there
}

// standbyFiles are what makes a data directory one of a standby that streams
// from the server it was copied from, as pg_basebackup --write-recovery-conf
// has it (src/fe_utils/recovery_gen.c): settings are appended to postgresql.auto.conf beside
// standby.signal, or make up recovery.conf before release 12. There following
// later promotions has to be asked for; it is the default since.
func standbyFiles(version int, settings string) []standbyFile {
	if version < 120000 {
		settings = "standby_mode = 'on'\nrecovery_target_timeline = 'latest'\n" + settings
		return []standbyFile{{name: "recovery.conf", content: settings}}
	}
	return []standbyFile{
		{name: "postgresql.auto.conf", content: settings, append: true},
		// The source has one itself if it is a standby.
		{name: "standby.signal"},
	}
}

// writeStandbyFiles puts the standbyFiles into a data directory.
func writeStandbyFiles(root *os.Root, version int, mode fs.FileMode, settings string, sync bool) error {
	for _, f := range standbyFiles(version, settings) {
		if err := f.write(root, mode, sync); err != nil {
			return err
		}
	}
	return nil
}

// write makes the file anew: the source's may be read-only. That one's mode is
// kept; a new one gets the given mode.
func (f *standbyFile) write(root *os.Root, mode fs.FileMode, sync bool) error {
	text := []byte(f.content)
	switch info, err := root.Lstat(f.name); {
	case err == nil:
		mode = info.Mode().Perm()
		if f.append {
			former, err := root.ReadFile(f.name)
			if err != nil {
				return err
			}
			text = append(former, text...)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	temporary := pgdata.Temporary + f.name
	if err := writeNew(root, temporary, text, mode, sync); err != nil {
		return err
	}
	// The name becomes durable with the directory.
	return durable.RenameIn(root, temporary, f.name)
}

// standbySettings are those that the standby needs.
func (b *backup) standbySettings() string {
	return standbySettings(b.server.Version, b.primary, b.options.Slot)
}

// choosePrimaryConnInfo decides how the standby is to connect. A server looks
// for its primary with the libpq of its own release, and does not connect at all
// if primary_conninfo has a parameter that this does not know: such ones are
// left out. It is told before anything is copied.
func (b *backup) choosePrimaryConnInfo() {
	if !b.options.Standby {
		return
	}
	text := b.options.PrimaryConnInfo
	if text == "" {
		text = connInfo(b.config)
	}
	release := b.server.Version / 10000
	var left []conninfo.LeftOut
	b.primary, left = conninfo.ForRelease(text, release)
	for _, l := range left {
		message := fmt.Sprintf("left %s out of primary_conninfo: PostgreSQL %d does not know it, only %d and later do", l, release, l.Since)
		if l.Protects() {
			message += "; the standby's connection is guarded less without it"
		}
		b.log.Warn(message)
	}
}

func writeNew(root *os.Root, name string, text []byte, mode fs.FileMode, sync bool) error {
	f, err := durable.OpenFileIn(root, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// standbySettings is the text of the settings, for a connection string and the
// name of a permanent slot or "". The slot is set also where there is none: the
// source may have been a standby itself, and a standby that asks its primary for
// the slot which that used never streams. Only in a recovery.conf, which is
// written anew, nothing has to be overridden, and an empty name is an error.
func standbySettings(version int, primary, slot string) string {
	text := "primary_conninfo = " + conninfo.QuoteConfigValue(primary) + "\n"
	if slot != "" || version >= 120000 {
		text += "primary_slot_name = " + conninfo.QuoteConfigValue(slot) + "\n"
	}
	return text
}

// connInfo describes where config leads to as libpq wants it: hosts, ports and
// user. The password stays out, and so does what a pgconn.Config cannot tell
// of the text that it was made from, such as sslmode: who needs these gives
// Options.PrimaryConnInfo.
func connInfo(config *pgconn.Config) string {
	hosts, ports := []string{config.Host}, []string{strconv.Itoa(int(config.Port))}
	for _, f := range config.Fallbacks {
		port := strconv.Itoa(int(f.Port))
		// Each host stands there once for every way TLS may be used.
		if last := len(hosts) - 1; f.Host != hosts[last] || port != ports[last] {
			hosts, ports = append(hosts, f.Host), append(ports, port)
		}
	}
	return fmt.Sprintf("user=%s host=%s port=%s", conninfo.QuoteValue(config.User),
		conninfo.QuoteValue(strings.Join(hosts, ",")), strings.Join(ports, ","))
}
