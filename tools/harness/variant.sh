#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# variant.sh sabotage PATCH...: the kernel of build/tree as it stands, with patches
# that are not of the series. variant.sh stock: the kernel without the series, as tag
# base has it. They are built in build/kernel-{sabotage,stock}, of copies of the tree in
# build/tree-{sabotage,stock}, and need build/kernel-base: they start from a copy of
# its objects, so that only what differs is compiled. PATCHes are absolute paths.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tools/harness/git.sh
. "$(dirname -- "$0")/git.sh"

kind=$1
shift
case $kind in
sabotage | stock) ;;
*) die "usage: variant.sh sabotage PATCH... | variant.sh stock" ;;
esac
copy=$BUILD/tree-$kind
out=$BUILD/kernel-$kind
log=$BUILD/logs/tree-$kind.log
need rsync patch

# Everything that makes the copy what it is.
made_from()
{
	cd "$tree" || exit 1
	if [ "$kind" = stock ]; then
		git rev-parse 'base^{tree}'
		return
	fi
	git rev-parse HEAD
	git diff --no-ext-diff --binary HEAD
	git ls-files -o --exclude-standard | xargs -r -d '\n' sha256sum
	cat "$@"
}

# The first time, files keep their times: what was compiled from them is good still.
# Later, what is not as it is in the tree becomes new.
copy_tree()
{
	if [ -d "$copy" ]; then
		rsync -rlp --checksum --delete --exclude=/.git "$tree/" "$copy/"
		return
	fi
	rm -rf "$copy.new"
	rsync -a --exclude=/.git "$tree/" "$copy.new/" && mv "$copy.new" "$copy"
}

# Whatever the series has changed, as it was.
restore_base()
{
	{
		git -C "$tree" diff --name-only --no-renames base
		git -C "$tree" ls-files -o --exclude-standard
	} | LC_ALL=C sort -u >"$log.list" &&
	(cd "$copy" && xargs -r -d '\n' rm -f) <"$log.list" &&
	git -C "$tree" ls-tree -r --name-only base | LC_ALL=C sort |
		LC_ALL=C comm -12 - "$log.list" |
		(cd "$tree" && xargs -r -d '\n' git archive --format=tar base --) |
		tar -x -m -C "$copy"
}

apply_patches()
{
	for _p; do
		patch -p1 -s -f -F 0 --no-backup-if-mismatch -d "$copy" <"$_p" || {
			echo "$_p does not apply"
			return 1
		}
	done
}

make_copy()
{
	copy_tree || return 1
	if [ "$kind" = stock ]; then
		restore_base
	else
		apply_patches "$@"
	fi
}

# kbuild compiles what has another command line, and paths are in there.
copy_objects()
{
	_was=$(sed -n 's,^include \(/.*\)/Makefile$,\1,p' "$BUILD/kernel-base/Makefile")
	_is=$(cd "$copy" && pwd -P)
	_out_was=$(cd "$BUILD/kernel-base" && pwd -P)
	rm -rf "$out.new"
	cp -a --reflink=auto "$BUILD/kernel-base" "$out.new" || return 1
	rm -rf "$out.new/kselftest" "$out.new/kselftest-install" "$out.new/stamp"
	[ -z "$_was" ] ||
		find "$out.new" -name '*.cmd' -type f -print0 | xargs -0 \
			sed -i "s,$_was/,$_is/,g; s,$_out_was/,$(dirname "$_out_was")/kernel-$kind/,g" ||
		return 1
	mv "$out.new" "$out"
}

for p; do
	[ -r "$p" ] || die "there is no patch $p"
done
lock "$kind"
made_from "$@" >"$copy.to-make"
if ! cmp -s "$copy.to-make" "$copy.made-from"; then
	rm -f "$copy.made-from"
	[ -d "$copy" ] || need_space 5 "a second copy of the kernel source and a build of it"
	run_logged "$log" "copying the kernel source to $copy" make_copy "$@" ||
		die_log "$log" "could not make $copy from $tree"
	mv "$copy.to-make" "$copy.made-from"
fi
rm -f "$copy.to-make" "$log.list"
if [ ! -d "$out" ]; then
	run_logged "$log" "copying what is compiled already to $out" copy_objects ||
		die_log "$log" "could not make $out from $BUILD/kernel-base"
fi
sh "$top/tools/harness/kernel.sh" "$kind" 9>&-
