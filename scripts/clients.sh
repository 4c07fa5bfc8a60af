#!/usr/bin/env bash
# Brings the client programs of newer PostgreSQL releases than the
# distribution's to .cache/clients/<major>/bin for the tests.
#
#   scripts/clients.sh         those of the releases 17 and 18
#   scripts/clients.sh 18      those of this release
#   scripts/clients.sh -c ...  only check: change nothing, exit 1 if something is missing
#
# They are Debian's programs, with the libraries that they were built with, so
# that they run on an older Debian. apt-get takes them from a later suite on
# the mirror that this machine uses, checks their signatures, and installs
# nothing: it works in a directory of its own. The machine's own packages of a
# release, if they are all there, are good as well.
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache/clients
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

tools='pg_amcheck pg_basebackup pg_combinebackup pg_receivewal pg_verifybackup pg_waldump pg_walsummary'

# Release, suites of Debian that may have it, the most settled first.
table='
17 trixie
18 forky sid
'

die() {
	echo "clients.sh: $*" >&2
	exit 1
}

# suites_of MAJOR
suites_of() { awk -v major="$1" '$1 == major { $1 = ""; print }' <<<"$table"; }

# installed DIR tells whether all the programs are in a directory.
installed() {
	local tool
	for tool in $tools; do
		[[ -x $1/$tool ]] || return 1
	done
}

# mirror is where this machine's apt has Debian's main archive from.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | sed -n 1p
}

# private_apt DIR SUITE has later calls of apt know nothing but that suite.
private_apt() {
	local dir=$1 suite=$2
	rm -rf "$dir/apt"
	mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
	: >"$dir/apt/status"
	echo "deb [signed-by=$keyring] $base $suite main" >"$dir/apt/sources.list"
	cat >"$dir/apt.conf" <<-end
		Dir::State "$dir/apt";
		Dir::State::status "$dir/apt/status";
		Dir::Cache "$dir/apt";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
		Dir::Etc::sourcelist "$dir/apt/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear Acquire::IndexTargets::deb::DEP-11;
		Acquire::Languages "none";
		Acquire::Retries "3";
		APT::Sandbox::User "$(id -un)";
	end
}

# packages DIR MAJOR lists what to unpack: of the packages that the client
# programs need only libraries, and the server's for pg_waldump alone.
packages() {
	apt-get -c "$1/apt.conf" install --simulate --no-install-recommends "postgresql-client-$2" |
		awk '$1 == "Inst" && $2 ~ /^(lib|zlib)/ && $2 !~ /^libperl/ { gsub(/[(]/, "", $3); print $2 "=" $3 }'
	echo "postgresql-client-$2"
	echo "postgresql-$2"
}

# collect FROM TO MAJOR copies the programs, the libraries that they load and
# the loader out of the unpacked packages.
collect() {
	local from=$1 to=$2 major=$3 loader tool libraries path
	loader=$(find "$from" -name 'ld-linux*.so.*' | sed -n 1p)
	[[ -n $loader ]] || die "the packages have no loader of programs"
	libraries=$(find "$from" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
	mkdir -p "$to/bin" "$to/lib" "$to/libexec"
	cp -L "$loader" "$to/lib/ld.so"
	for tool in $tools; do
		cp "$from/usr/lib/postgresql/$major/bin/$tool" "$to/libexec/"
		"$loader" --library-path "$libraries" --list "$to/libexec/$tool" >"$to/needed" || die "$tool of release $major lacks libraries"
		while read -r path; do
			[[ $path == "$from"/* ]] || die "$tool of release $major would load $path, which is not of its suite"
			cp -Lu "$path" "$to/lib/"
		done < <(sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p' "$to/needed" | grep -v '/ld-linux[^/]*$')
		cat >"$to/bin/$tool" <<-'end'
			#!/bin/sh
			# Runs the program with its own libraries. The name that it is told is
			# this file's: a program looks for others beside itself.
			self=$(readlink -f "$0")
			dir=${self%/bin/*}
			exec "$dir/lib/ld.so" --library-path "$dir/lib" --argv0 "$self" "$dir/libexec/${self##*/}" "$@"
		end
	done
	rm "$to/needed"
	chmod -R u+rwX,go=rX "$to"
	chmod a+x "$to"/bin/* "$to"/libexec/* "$to/lib/ld.so"
}

# install_clients MAJOR
install_clients() {
	local major=$1 suite found= tmp
	[[ -n $(suites_of "$major") ]] || die "release $major is not in the table: it holds $(awk 'NF { printf "%s ", $1 }' <<<"$table")"

	# The stamp is written last, into a directory that then gets its name in one step.
	[[ -e $cache/$major/.stamp && $(<"$cache/$major/.stamp") == "$tools" ]] && return
	installed "/usr/lib/postgresql/$major/bin" && return
	[[ -z $check ]] || die "the client programs of release $major are missing: run scripts/clients.sh $major"

	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [[ -e $keyring ]] ||
		die "this is no Debian: install PostgreSQL $major, server and client programs, and name their directory in PGBRAID_PG_BIN"
	base=$(mirror)
	if [[ -z $base && $(id -u) == 0 ]]; then
		apt-get -qq update
		base=$(mirror)
	fi
	[[ -n $base ]] || die "apt knows no archive of Debian's: run apt-get update as root"

	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	for suite in $(suites_of "$major"); do
		private_apt "$tmp" "$suite"
		apt-get -qq -c "$tmp/apt.conf" update || die "apt-get update for the suite $suite failed"
		if apt-cache -c "$tmp/apt.conf" show "postgresql-client-$major" >/dev/null 2>&1; then
			found=$suite
			break
		fi
	done
	[[ -n $found ]] || die "none of the suites$(suites_of "$major") has postgresql-client-$major"
	mkdir "$tmp/debs" "$tmp/root"
	packages "$tmp" "$major" >"$tmp/packages"
	(cd "$tmp/debs" && xargs apt-get -qq -c "$tmp/apt.conf" download <"$tmp/packages") || die "apt-get download from the suite $found failed"
	for package in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$package" "$tmp/root"
	done
	collect "$tmp/root" "$tmp/new" "$major"
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
	set -- 17 18
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
