#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another.
#
#   scripts/fuzz.sh [TIME]     for each target, 20s without it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-20s}
count=0
while IFS=: read -r file line; do
	target=$(sed 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/' <<<"$line")
	echo "== ./$(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x "./$(dirname "$file")"
	count=$((count + 1))
done < <(git grep -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go')
# A run that finds no target proves nothing.
((count > 0)) || { echo "fuzz.sh: no fuzz target found" >&2; exit 1; }
echo "$count fuzz targets, $time each"
