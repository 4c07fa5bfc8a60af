package basebackup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestStandbySettingsAreQuoted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version              int
		conninfo, slot, want string
	}{
		{120000, "host=a", "", "primary_conninfo = 'host=a'\nprimary_slot_name = ''\n"},
		{120000, "host=a", "s_1", "primary_conninfo = 'host=a'\nprimary_slot_name = 's_1'\n"},
		{180004, `password='it\'s \\ x'`, "", `primary_conninfo = 'password=''it\\''s \\\\ x'''` + "\nprimary_slot_name = ''\n"},
		{180004, "", "", "primary_conninfo = ''\nprimary_slot_name = ''\n"},
		{110022, "host=a", "s_1", "primary_conninfo = 'host=a'\nprimary_slot_name = 's_1'\n"},
		{110022, "host=a", "", "primary_conninfo = 'host=a'\n"},
	} {
		if got := standbySettings(test.version, test.conninfo, test.slot); got != test.want {
			t.Errorf("%d, %q, %q:\ngot  %q\nwant %q", test.version, test.conninfo, test.slot, got, test.want)
		}
	}
}

func TestStandbyFilesOfEachRelease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version int
		before  map[string]string // as copied from the source
		want    map[string]string // afterwards
	}{
		{100023, nil, map[string]string{"recovery.conf": "standby_mode = 'on'\nrecovery_target_timeline = 'latest'\nx\n"}},
		{110022, map[string]string{"recovery.conf": "of the source, and longer than what is written\n", "postgresql.auto.conf": "a\n"},
			map[string]string{"recovery.conf": "standby_mode = 'on'\nrecovery_target_timeline = 'latest'\nx\n", "postgresql.auto.conf": "a\n"}},
		{120000, map[string]string{"postgresql.auto.conf": "a\n"},
			map[string]string{"postgresql.auto.conf": "a\nx\n", "standby.signal": ""}},
		{180004, nil, map[string]string{"postgresql.auto.conf": "x\n", "standby.signal": ""}},
		{180004, map[string]string{"standby.signal": "", "postgresql.auto.conf": ""},
			map[string]string{"postgresql.auto.conf": "x\n", "standby.signal": ""}},
	} {
		dir := t.TempDir()
		for name, text := range test.before {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if err := writeStandbyFiles(root, test.version, 0o600, "x\n", true); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != len(test.want) {
			t.Errorf("%d: %d files, want %d", test.version, len(entries), len(test.want))
		}
		for name, want := range test.want {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(got) != want {
				t.Errorf("%d: %s holds %q, %v, want %q", test.version, name, got, err, want)
			}
			// primary_conninfo may hold a password.
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("%d: %s has mode %o", test.version, name, info.Mode().Perm())
			}
		}
	}
}

func TestConnInfoNamesEachServerOnceAndNoPassword(t *testing.T) {
	t.Setenv("PGPASSWORD", "sesame-secret")
	config, err := pgconn.ParseConfig(`user=me host=a,a,b port=5432,5433,5433 sslmode=prefer dbname=x`)
	if err != nil {
		t.Fatal(err)
	}
	if config.Password == "" {
		t.Fatal("no password to leave out")
	}
	config.User = `it's \ me`
	want := `user='it\'s \\ me' host='a,a,b' port=5432,5433,5433`
	if got := connInfo(config); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
