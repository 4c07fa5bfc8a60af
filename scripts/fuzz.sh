#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another.
#
#   scripts/fuzz.sh [TIME]     for each target, 20s without it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-20s}
count=0
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# fuzz TARGET DIR. Go's fuzzer sometimes reports its own deadline as a failure,
# without an input: then the target is tried again, twice at most.
fuzz() {
	local try
	for try in 1 2 3; do
		go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 20x "$2" 2>&1 | tee "$output" && return
		grep -q '^ *context deadline exceeded$' "$output" && ! grep -q 'Failing input' "$output" || return 1
		echo "the fuzzer's own deadline, try $try"
	done
	return 1
}

while IFS=: read -r file line; do
	target=$(sed 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/' <<<"$line")
	echo "== ./$(dirname "$file") $target"
	fuzz "$target" "./$(dirname "$file")"
	count=$((count + 1))
done < <(git grep -E '^func Fuzz[A-Za-z0-9_]*\(' -- '*_test.go')
# A run that finds no target proves nothing.
((count > 0)) || { echo "fuzz.sh: no fuzz target found" >&2; exit 1; }
echo "$count fuzz targets, $time each"
