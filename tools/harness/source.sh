#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# source.sh DIR: puts the pristine kernel source into DIR (which must not be
# there yet) and leaves one line about its origin in DIR.origin.
#
# It comes from $KERNEL_TREE if that is set (a git tree, whose HEAD is taken, or
# an unpacked source), else as a package of Debian's. Debian 12 does not have
# the package in its own suites, so apt is pointed at the suite below on the mirror
# this machine uses already, with a list and a state of its own. Nothing in the
# machine's apt set-up changes, and the signatures are checked as always.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

version=7.3
package=linux-source-$version
suite=trixie-backports
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

[ $# -eq 1 ] || die "usage: source.sh DIR"
dir=$1
src=$BUILD/src

version_of()
{
	# shellcheck disable=SC2016 # awk's, not ours
	awk '$2 == "=" && /^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) / { v[$1] = $3 }
		END { print v["VERSION"] "." v["PATCHLEVEL"] "." v["SUBLEVEL"] v["EXTRAVERSION"] }'
}

check_version()
{
	case $1 in
	$version.*) ;;
	*) die "wrong base version: $2 is $1, the series is for $version" ;;
	esac
}

# --- the user's own ----------------------------------------------------------------
from_tree()
{
	[ -r "$KERNEL_TREE/Makefile" ] && [ -d "$KERNEL_TREE/mm" ] ||
		die "KERNEL_TREE=$KERNEL_TREE is not a kernel source"
	mkdir -p "$dir" || exit 1
	if [ -e "$KERNEL_TREE/.git" ]; then
		v=$(git -C "$KERNEL_TREE" show HEAD:Makefile | version_of)
		check_version "$v" "KERNEL_TREE=$KERNEL_TREE"
		commit=$(git -C "$KERNEL_TREE" rev-parse HEAD) || exit 1
		say "kernel source: Linux $v, commit $commit of $KERNEL_TREE"
		git -C "$KERNEL_TREE" archive HEAD >"$src/tree.tar" &&
		tar -xf "$src/tree.tar" -C "$dir" ||
			die "could not copy $KERNEL_TREE"
		rm -f "$src/tree.tar"
		echo "Linux $v, git commit $commit" >"$dir.origin"
	else
		v=$(version_of <"$KERNEL_TREE/Makefile")
		check_version "$v" "KERNEL_TREE=$KERNEL_TREE"
		say "kernel source: Linux $v, a copy of $KERNEL_TREE"
		cp -a "$KERNEL_TREE/." "$dir/" || die "could not copy $KERNEL_TREE"
		# it may have been built in
		[ ! -e "$dir/.config" ] || make -s -C "$dir" mrproper ||
			die "could not clean the copy of $KERNEL_TREE"
		echo "Linux $v, an unpacked source" >"$dir.origin"
	fi
}

# --- Debian's ----------------------------------------------------------------------
# Where this machine's packages come from: not the security archive, which has
# no backports.
sites()
{
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# shellcheck disable=SC2016 # apt's, not ours
	apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' |
	awk -v r="$codename" '$2 == r && $3 == "main" && !seen[$1]++ { print $1 }'
}

# apt-get with a state of its own
apt()
{
	apt-get -q -o Dir::Etc::sourcelist="$src/apt/sources.list" \
		-o Dir::Etc::sourceparts=- \
		-o Dir::State::lists="$src/apt/lists" \
		-o Dir::Cache="$src/apt/cache" \
		-o APT::Sandbox::User="$(id -un)" "$@"
}

fetch()
{
	mkdir -p "$src/apt/lists/partial" "$src/apt/cache/archives/partial" || return 1
	cd "$src/apt" || return 1
	rm -f ./*.deb
	for site in $(sites); do
		echo "deb [signed-by=$keyring] $site $suite main" >sources.list
		apt update && apt download "$package" && mv ./*.deb .. && return 0
	done
	return 1
}

deb_file()
{
	find "$src" -maxdepth 1 -name "${package}_*_all.deb" | sort -V | tail -n 1
}

unpack()
{
	dpkg-deb --fsys-tarfile "$deb" |
		tar -xO "./usr/src/$package.tar.xz" | tar -xJ --strip-components=1 -C "$dir"
	[ -r "$dir/Makefile" ]
}

from_debian()
{
	deb=$(deb_file)
	if [ -z "$deb" ]; then
		log=$BUILD/logs/source.log
		[ -r $keyring ] || die "no Debian archive keyring at $keyring"
		run_logged "$log" "downloading $package from $suite, 160 MB" fetch ||
			die_log "$log" "no package $package on this mirror: give your own Linux $version by KERNEL_TREE=path"
		deb=$(deb_file)
	fi
	v=$(dpkg-deb -f "$deb" Version) || die "broken package: remove $deb"
	mkdir -p "$dir" || exit 1
	run_logged "$BUILD/logs/unpack.log" "unpacking $package $v" unpack ||
		die_log "$BUILD/logs/unpack.log" "could not unpack $deb; remove it if it is broken"
	check_version "$(version_of <"$dir/Makefile")" "$package"
	say "kernel source: $package $v"
	echo "$package $v" >"$dir.origin"
}

mkdir -p "$src" || exit 1
if [ -n "${KERNEL_TREE:-}" ]; then
	from_tree
else
	from_debian
fi
