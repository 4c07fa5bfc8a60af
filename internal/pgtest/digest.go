package pgtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Digest sums up the content of all databases: for each table and
// materialized view the number of rows and a sum over hashes of their text,
// for each sequence its position, for each database its relations and large
// objects, and for the cluster its roles, databases and tablespaces. Keys read
// such as "shop: table public.big". Unlogged and temporary tables are left
// out: a copy has them empty or not at all.
//
// Digests of a cluster and of a copy are equal only when nobody writes.
func Digest(t testing.TB, c *Cluster) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*sqlTimeout)
	defer cancel()
	digest := map[string]string{}
	for line := range strings.Lines(c.Query(t, digestCluster)) {
		what, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
		digest["cluster: "+what] = value
	}
	for database := range strings.SplitSeq(c.Query(t, "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1"), "\n") {
		conn, err := c.connect(ctx, database)
		if err != nil {
			t.Fatalf("digest of database %s: %v", database, err)
		}
		err = digestOf(ctx, conn, database, digest)
		_ = conn.Close(ctx)
		if err != nil {
			t.Fatalf("digest of database %s: %v", database, err)
		}
	}
	return digest
}

const digestCluster = `
	SELECT 'databases', string_agg(datname, ', ' ORDER BY datname) FROM pg_database
	UNION ALL SELECT 'roles', string_agg(rolname, ', ' ORDER BY rolname) FROM pg_roles
	UNION ALL SELECT 'tablespaces', string_agg(spcname, ', ' ORDER BY spcname) FROM pg_tablespace`

// digestObjects gives, for one database, what each digest is called and the
// query that computes it. The sum of hashes does not depend on the order of
// the rows. Of a sequence the server logs a position up to 32 values ahead;
// last_value and log_cnt together are the same before and after recovery.
const digestObjects = `
	SELECT 'table ' || n.nspname || '.' || c.relname,
		format('SELECT count(*) || '' rows '' || coalesce(sum((''x'' || left(md5(r::text), 15))::bit(60)::bigint), 0) FROM %I.%I AS r', n.nspname, c.relname)
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	UNION ALL
	SELECT 'sequence ' || n.nspname || '.' || c.relname,
		format('SELECT last_value + log_cnt * %s || '' '' || is_called FROM %I.%I', s.seqincrement, n.nspname, c.relname)
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_sequence AS s ON s.seqrelid = c.oid
	WHERE c.relpersistence = 'p'
	UNION ALL
	SELECT 'relations', 'SELECT count(*) || '' '' || coalesce(md5(string_agg(concat_ws('' '', c.oid, c.relname, c.relkind, c.relnatts, c.relpersistence), '','' ORDER BY c.oid)), '''')
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname !~ ''^pg_(toast_)?temp_'''
	UNION ALL
	SELECT 'large objects', 'SELECT count(DISTINCT loid) || '' '' || coalesce(md5(string_agg(loid || '' '' || pageno || '' '' || md5(data), '','' ORDER BY loid, pageno)), '''')
		FROM pg_largeobject'`

func digestOf(ctx context.Context, conn *pgconn.PgConn, database string, digest map[string]string) error {
	if _, err := execute(ctx, conn, "SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'"); err != nil {
		return err
	}
	results, err := conn.Exec(ctx, digestObjects).ReadAll()
	if err != nil {
		return err
	}
	for _, row := range results[0].Rows {
		name, query := string(row[0]), string(row[1])
		value, err := execute(ctx, conn, query)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		digest[database+": "+name] = value
	}
	return nil
}

// AssertSameDigests compares two results of Digest, and names what differs.
func AssertSameDigests(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, difference := range compareDigests(got, want) {
		t.Error(difference)
	}
}

func compareDigests(got, want map[string]string) []string {
	var differences []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[key]; !ok {
			differences = append(differences, key+": missing")
		} else if value != want[key] {
			differences = append(differences, fmt.Sprintf("%s: got %s, want %s", key, value, want[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			differences = append(differences, key+": not in the original")
		}
	}
	return differences
}
