#!/usr/bin/env bash
# Brings the client programs of newer PostgreSQL releases than the
# distribution's to .cache/clients/<major>/bin for the tests.
#
#   scripts/clients.sh         those of the releases 17 to 19
#   scripts/clients.sh 18      those of this release
#   scripts/clients.sh -c ...  only check: change nothing, exit 1 if something is missing
#
# They are Debian's programs of a later suite (scripts/suite.sh). The machine's
# own packages of a release, if they are all there, are good as well.
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache/clients

tools='pg_amcheck pg_basebackup pg_combinebackup pg_receivewal pg_verifybackup pg_waldump pg_walsummary'

# Release, suites of Debian that may have it, the most settled first.
table='
17 trixie
18 forky sid
19 forky sid forky+experimental
'

die() {
	echo "clients.sh: $*" >&2
	exit 1
}

. "$root/scripts/suite.sh"

# suites_of MAJOR
suites_of() { awk -v major="$1" '$1 == major { $1 = ""; print }' <<<"$table"; }

# installed DIR tells whether all the programs are in a directory.
installed() {
	local tool
	for tool in $tools; do
		[[ -x $1/$tool ]] || return 1
	done
}

# collect FROM TO MAJOR copies the programs, the libraries that they load and
# the loader out of the unpacked packages in FROM/root.
collect() {
	local dir=$1 to=$2 bin=$1/root/usr/lib/postgresql/$3/bin tool
	mkdir -p "$to/bin" "$to/libexec"
	for tool in $tools; do
		cp "$bin/$tool" "$to/libexec/"
		write_wrapper "$to/bin/$tool" '${self%/bin/*}'
	done
	copy_libraries "$dir" "$to/lib" "$to"/libexec/*
	chmod -R u+rwX,go=rX "$to"
	chmod a+x "$to"/bin/* "$to"/libexec/* "$to/lib/ld.so"
}

# install_clients MAJOR
install_clients() {
	local major=$1 tool tmp
	[[ -n $(suites_of "$major") ]] || die "release $major is not in the table: it holds $(awk 'NF { printf "%s ", $1 }' <<<"$table")"

	# The stamp is written last, into a directory that then gets its name in one step.
	[[ -e $cache/$major/.stamp && $(<"$cache/$major/.stamp") == "$tools" ]] && return
	installed "/usr/lib/postgresql/$major/bin" && return
	[[ -z $check ]] || die "the client programs of release $major are missing: run scripts/clients.sh $major"

	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	# shellcheck disable=SC2046 # a list of suites, and one of packages
	find_suite "$tmp" "postgresql-client-$major" $(suites_of "$major")
	# pg_waldump comes with the server.
	unpack "$tmp" "postgresql-client-$major" "postgresql-$major" $(libraries "$tmp" "$major" "postgresql-client-$major")
	collect "$tmp" "$tmp/new" "$major"
	for tool in $tools; do
		"$tmp/new/bin/$tool" --version | grep -q "(PostgreSQL) $major" || die "$tool of release $major does not run on this machine"
	done
	echo "$tools" >"$tmp/new/.stamp"
	rm -rf "${cache:?}/$major"
	mv -T "$tmp/new" "$cache/$major"
	rm -rf "$tmp"
	trap - EXIT
	echo "PostgreSQL $("$cache/$major/bin/pg_basebackup" --version | awk '{ print $3 }'), client programs: .cache/clients/$major"
}

check=
if [[ ${1-} == -c ]]; then
	check=yes
	shift
fi
if [[ $# == 0 ]]; then
	set -- 17 18 19
fi
for argument in "$@"; do
	case $argument in
	*[!0-9]* | '') sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
	esac
done

# Two runs at a time take turns.
if [[ -z $check ]] && command -v flock >/dev/null; then
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
fi

for argument in "$@"; do
	install_clients "$argument"
done
