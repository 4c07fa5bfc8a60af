#!/usr/bin/env bash
# Tells how much of the public packages the tests run, and what they do not.
#
#   scripts/coverage.sh [PROFILE]     with a profile of an earlier run: looks at that
set -euo pipefail
profile=${1:+$(realpath "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
public=./basebackup/...,./logstream/...,./tarx/...
if [ -z "$profile" ]; then
	profile=$(mktemp)
	trap 'rm -f "$profile"' EXIT
	go test -count=1 -timeout 20m -coverpkg="$public" -coverprofile="$profile" \
		./basebackup/... ./logstream/... ./tarx/... ./internal/cli/... >&2
fi
# A block is in the profile once for each test binary.
awk 'NR > 1 {
	split($1, at, ":"); dir = at[1]; sub("/[^/]*$", "", dir)
	if (!($1 in size)) { size[$1] = $2; of[$1] = dir }
	if ($3 > 0) ran[$1] = 1
}
END {
	for (b in size) { all[of[b]] += size[b]; if (b in ran) done[of[b]] += size[b] }
	for (d in all) { printf "%5.1f %%  %s\n", 100 * done[d] / all[d], d; a += all[d]; r += done[d] }
	printf "%5.1f %%  together\n", 100 * r / a
}' "$profile" | sort -k3
echo
echo "Functions of which less than half is run:"
go tool cover -func="$profile" | awk '$1 != "total:" { part = $NF; sub("%", "", part); if (part + 0 < 50) print "  " $0 }'
