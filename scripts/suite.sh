# Sourced by clients.sh and postgres.sh: programs from a later suite of Debian
# than the machine's, with the libraries that they were built with, so that
# they run here. apt-get takes them from the mirror that this machine uses,
# checks their signatures, and installs nothing: it works in a directory of its
# own. The caller defines die.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# mirror is where this machine's apt has Debian's main archive from.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | sed -n 1p
}

# private_apt DIR SUITE has later calls of apt know nothing but that suite. It
# may be several, as in forky+experimental: the latter builds upon the former.
private_apt() {
	local dir=$1 suite
	rm -rf "$dir/apt"
	mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
	: >"$dir/apt/status"
	for suite in ${2//+/ }; do
		echo "deb [signed-by=$keyring] $base $suite main"
	done >"$dir/apt/sources.list"
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

# find_suite DIR PACKAGE SUITE... leaves apt knowing the first suite that has
# the package.
find_suite() {
	local dir=$1 package=$2 suite
	shift 2
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [[ -e $keyring ]] ||
		die "this is no Debian: install PostgreSQL ${package##*-}, server and client programs, and name their directory in PGBRAID_PG_BIN"
	base=$(mirror)
	if [[ -z $base && $(id -u) == 0 ]]; then
		apt-get -qq update
		base=$(mirror)
	fi
	[[ -n $base ]] || die "apt knows no archive of Debian's: run apt-get update as root"
	for suite in "$@"; do
		private_apt "$dir" "$suite"
		apt-get -qq -c "$dir/apt.conf" update || die "apt-get update for $suite failed"
		if apt-cache -c "$dir/apt.conf" show "$package" >/dev/null 2>&1; then
			return
		fi
	done
	die "none of the suites $* has $package"
}

# libraries DIR MAJOR PACKAGE... lists the libraries that these packages of a
# release depend on, with all that those need. libpq is the release's own,
# where the suite has it.
libraries() {
	local dir=$1 major=$2 version depends
	shift 2
	version=$(apt-cache -c "$dir/apt.conf" madison libpq5 | awk -v major="$major" '$3 ~ "^" major "[^0-9]" { print $3; exit }')
	mapfile -t depends < <(apt-cache -c "$dir/apt.conf" show "$@" | sed -n 's/^Depends: //p' | tr ',' '\n' |
		awk '$1 ~ /^(lib|zlib)/ && $1 !~ /^(libperl|libpq5)/ { print $1 }' | sort -u)
	apt-get -c "$dir/apt.conf" install --simulate --no-install-recommends "${depends[@]}" "libpq5${version:+=$version}" |
		awk '$1 == "Inst" && $2 ~ /^(lib|zlib)/ { gsub(/[(]/, "", $3); print $2 "=" $3 }'
}

# unpack DIR SPEC... downloads packages and unpacks them to DIR/root.
unpack() {
	local dir=$1 package
	shift
	mkdir "$dir/debs" "$dir/root"
	(cd "$dir/debs" && apt-get -qq -c "$dir/apt.conf" download "$@") || die "apt-get download of $* failed"
	for package in "$dir"/debs/*.deb; do
		dpkg-deb -x "$package" "$dir/root"
	done
}

# copy_libraries DIR TO FILE... copies the loader of programs, as ld.so, and
# the libraries that these files load, all of them unpacked ones.
copy_libraries() {
	local dir=$1 to=$2 loader path file paths
	shift 2
	loader=$(find "$dir/root" -name 'ld-linux*.so.*' | sed -n 1p)
	[[ -n $loader ]] || die "the packages have no loader of programs"
	paths=$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
	mkdir -p "$to"
	cp -L "$loader" "$to/ld.so"
	for file in "$@"; do
		"$loader" --library-path "$paths" --list "$file" || die "$file lacks libraries"
	done | sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p' | grep -v '/ld-linux[^/]*$' | sort -u >"$dir/needed"
	while read -r path; do
		[[ $path == "$dir/root"/* ]] || die "a program would load $path, which is not of its suite"
		cp -Lu "$path" "$to/"
	done <"$dir/needed"
}

# write_wrapper FILE TOP makes a program in FILE that runs the one of that name
# in libexec with its own libraries. TOP is how the shell gets from the
# program's own path, in self, to the directory that holds lib and libexec. The
# name that the program is told is the wrapper's: it looks for others beside
# itself.
write_wrapper() {
	cat >"$1" <<-end
		#!/bin/sh
		self=\$(readlink -f "\$0")
		dir=$2
		exec "\$dir/lib/ld.so" --library-path "\$dir/lib" --argv0 "\$self" "\$dir/libexec/\${self##*/}" "\$@"
	end
	chmod a+x "$1"
}
