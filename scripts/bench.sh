#!/usr/bin/env bash
# Measures bin/pgbraid beside PostgreSQL's own tools: internal/bench tells how.
#
#   ROW=plain       only this row (bin/bench -h lists them)
#   SCALE=270       of the pgbench cluster that is copied: about 4 GB
#   TABLES=100000   in the cluster of many files
#   WAL=2048        MB of log to catch up with
#   SECONDS_EACH=20 how long commits are counted
#   PAIRS=5         how often each tool is run
#   PG_BIN=...      PostgreSQL 15 or later, server and client programs
#   BENCH_DIR=...   where clusters are kept and backups go: .cache/bench
#
# The result is in bench.json and bench.svg there. That of a whole run of the
# full size becomes docs/bench.svg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${PG_BIN:-/usr/lib/postgresql/15/bin}
dir=${BENCH_DIR:-.cache/bench}
[[ -x $bin/pg_basebackup && -x $bin/pgbench ]] || {
	echo "bench.sh: no PostgreSQL programs in $bin: set PG_BIN, or run scripts/postgres.sh debian" >&2
	exit 1
}
svg=$dir/bench.svg
[[ -n ${ROW-}${SCALE-}${TABLES-}${WAL-}${SECONDS_EACH-}${PAIRS-} ]] || svg=docs/bench.svg
mkdir -p "$dir"

# Built and not "go run": the program itself must get the signals, and its exit
# code must be ours.
"${GO:-go}" build -buildvcs=false -trimpath -o bin/bench ./internal/bench
exec bin/bench -dir "$dir" -json "$dir/bench.json" -svg "$svg" -row "${ROW-}" \
	-scale "${SCALE:-270}" -tables "${TABLES:-100000}" -wal "${WAL:-2048}" \
	-seconds "${SECONDS_EACH:-20}" -pairs "${PAIRS:-5}" bin/pgbraid "$bin"
