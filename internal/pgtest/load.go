package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Databases that Load makes.
const (
	// MainDatabase has most of the data.
	MainDatabase = "shop"
	// OddDatabase has a name that must be quoted everywhere.
	OddDatabase = `odd "näme' \db`
	// EmptyDatabase has no tables.
	EmptyDatabase = "empty"
)

// Load fills the cluster with one of everything that a copy could get wrong:
// several databases, large and small tables, indexes of several kinds, TOAST
// values, an unlogged table, partitions, a materialized view, sequences, and
// large objects. It comes to about 15 MB.
func (c *Cluster) Load(t testing.TB) {
	t.Helper()
	for _, name := range []string{MainDatabase, OddDatabase, EmptyDatabase} {
		c.SQL(t, "CREATE DATABASE "+quoteIdent(name))
	}
	c.SQL(t, "CREATE ROLE clerk LOGIN")
	c.SQLIn(t, MainDatabase, loadMain)
	c.SQLIn(t, OddDatabase, `
		CREATE TABLE "odd table" ("odd column" text PRIMARY KEY, n int);
		INSERT INTO "odd table" SELECT 'täxt ' || i, i FROM generate_series(1, 500) AS i`)
	c.SQL(t, `
		CREATE TABLE plain (id int PRIMARY KEY, t text);
		INSERT INTO plain SELECT i, md5(i::text) FROM generate_series(1, 2000) AS i`)
}

const loadMain = `
	CREATE SCHEMA stock;
	CREATE TABLE stock.item (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2), added timestamptz);
	INSERT INTO stock.item
		SELECT i, 'item ' || i, i * 0.01, timestamptz '2020-01-01 00:00:00Z' + i * interval '1 minute'
		FROM generate_series(1, 1000) AS i;
	CREATE INDEX item_name ON stock.item USING hash (name);
	CREATE INDEX item_words ON stock.item USING gin (to_tsvector('simple', name));
	CREATE VIEW stock.cheap AS SELECT * FROM stock.item WHERE price < 1;
	CREATE MATERIALIZED VIEW stock.prices AS SELECT price, count(*) FROM stock.item GROUP BY price;

	CREATE TABLE big (id bigint PRIMARY KEY, a text, b text);
	INSERT INTO big
		SELECT i, md5(i::text), repeat(md5((i * 7)::text), 2)
		FROM generate_series(1, 40000) AS i;
	CREATE INDEX big_a ON big (a);

	CREATE TABLE toasted (id int PRIMARY KEY, body text);
	ALTER TABLE toasted ALTER body SET STORAGE EXTERNAL;
	INSERT INTO toasted
		SELECT n, (SELECT string_agg(md5((n * 100000 + i)::text), '') FROM generate_series(1, 5000) AS i)
		FROM generate_series(1, 6) AS n;

	CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY, t text);
	INSERT INTO scratch SELECT i, md5(i::text) FROM generate_series(1, 1000) AS i;

	CREATE TABLE sale (day date NOT NULL, amount int) PARTITION BY RANGE (day);
	CREATE TABLE sale_2023 PARTITION OF sale FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
	CREATE TABLE sale_2024 PARTITION OF sale FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
	INSERT INTO sale SELECT date '2023-01-01' + i, i FROM generate_series(0, 700) AS i;

	CREATE TABLE deleted (id int PRIMARY KEY, t text);
	INSERT INTO deleted SELECT i, md5(i::text) FROM generate_series(1, 5000) AS i;
	DELETE FROM deleted WHERE id % 3 <> 0;

	CREATE TABLE nothing (id int);

	CREATE SEQUENCE counter INCREMENT 3;
	SELECT setval('counter', 300);
	CREATE SEQUENCE used;
	SELECT nextval('used');
	CREATE SEQUENCE unused;

	SELECT lo_from_bytea(0, decode(repeat(md5(i::text), 500 * i), 'hex')) FROM generate_series(1, 5) AS i`

// CreateTablespace makes a tablespace in a directory outside the data
// directory, and in the database postgres a table in it, in_ and the name, of
// 1000 rows. It gives the directory.
func (c *Cluster) CreateTablespace(t testing.TB, name string) (dir string) {
	t.Helper()
	dir = filepath.Join(c.dir, "tablespace "+name)
	if err := errors.Join(os.Mkdir(dir, 0o700), serverAccount().give(dir)); err != nil {
		t.Fatal(err)
	}
	c.SQL(t, "CREATE TABLESPACE "+quoteIdent(name)+" LOCATION '"+strings.ReplaceAll(dir, "'", "''")+"'")
	c.fillTablespace(t, name)
	return dir
}

// CreateInPlaceTablespace is CreateTablespace for one that is a directory in
// pg_tblspc and not a link. It needs release 15. The setting
// allow_in_place_tablespaces goes into postgresql.conf, because recovery, also
// that of a copy, refuses such a tablespace without it.
func (c *Cluster) CreateInPlaceTablespace(t testing.TB, name string) {
	t.Helper()
	c.Configure(t, "allow_in_place_tablespaces = on")
	c.SQL(t, "SELECT pg_reload_conf()")
	c.WaitFor(t, "SHOW allow_in_place_tablespaces", "on", 10*time.Second)
	c.SQL(t, "CREATE TABLESPACE "+quoteIdent(name)+" LOCATION ''")
	c.fillTablespace(t, name)
}

func (c *Cluster) fillTablespace(t testing.TB, name string) {
	t.Helper()
	table := quoteIdent("in_" + name)
	c.SQL(t, "CREATE TABLE "+table+" (id int PRIMARY KEY USING INDEX TABLESPACE "+quoteIdent(name)+", t text) TABLESPACE "+quoteIdent(name)+
		"; INSERT INTO "+table+" SELECT i, md5(i::text) FROM generate_series(1, 1000) AS i")
}

// CreateTemporaryTable makes a temporary table in the database postgres. Its
// session, and so its files, stay until the test ends or the server stops.
func (c *Cluster) CreateTemporaryTable(t testing.TB) {
	t.Helper()
	conn := c.Connect(t, "postgres")
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	if _, err := execute(ctx, conn, "CREATE TEMPORARY TABLE passing AS SELECT i, md5(i::text) FROM generate_series(1, 1000) AS i"); err != nil {
		t.Fatalf("temporary table: %v", err)
	}
}

// Fill makes a table in the database postgres with about that many MiB of
// data that compresses badly, for tests that need a backup to take a while.
func (c *Cluster) Fill(t testing.TB, table string, mib int) {
	t.Helper()
	name := quoteIdent(table)
	c.SQL(t, "CREATE TABLE "+name+" (id bigint, t text)")
	// A row is about 1 KiB: 31 hashes of 32 digits, and the headers.
	for done := 0; done < mib; done += 16 {
		part := min(16, mib-done)
		c.SQL(t, fmt.Sprintf(`INSERT INTO %s SELECT i, (SELECT string_agg(md5((i * 31 + j)::text), '') FROM generate_series(1, 31) AS j)
			FROM generate_series(%d, %d) AS i`, name, done*1024, (done+part)*1024-1))
	}
}

func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
