#!/usr/bin/env bash
# Brings the programs that "make test-tools" runs on pgbraid: barman and repmgr,
# the distribution's.
#
#   scripts/tools.sh
#
# Run by root on Debian, it installs what is missing. Run by anybody else, it
# says what to install. It starts nothing.
set -euo pipefail

die() {
	echo "tools.sh: $*" >&2
	exit 1
}

missing=()
for program in barman repmgr; do
	command -v "$program" >/dev/null || missing+=("$program")
done
[[ ${#missing[@]} != 0 ]] || exit 0
[[ $(id -u) == 0 && -e /etc/debian_version ]] && command -v apt-get >/dev/null ||
	die "${missing[*]} missing: install them (Debian: apt-get install ${missing[*]})"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
for program in "${missing[@]}"; do
	command -v "$program" >/dev/null || die "$program is still missing after apt-get install $program"
done
