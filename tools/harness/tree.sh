#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# tree.sh [--keep|--idle]: build/tree, a git tree with the pristine kernel source as
# tag base and the series on it as branch series. Does nothing when that is
# how it stands. Work in the tree that is not in patches/ is never thrown away:
# with --keep the tree is left as it is, else this fails, unless FORCE=1. --idle
# only asks whether there is such work.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tools/harness/git.sh
. "$(dirname -- "$0")/git.sh"

need git sha256sum

# --- the base -------------------------------------------------------------------
base_commit()
{
	cd "$tree.new" || return 1
	# Debian's .gitignore ends in lines that hide everything at the top
	# level, new files included. The base goes without them.
	sed -i '/^# Debian packaging: ignore everything/,$d' .gitignore
	git init -q -b series . || return 1
	# Some files of the source match its own .gitignore: -f.
	pgit add -A -f . &&
	GIT_COMMITTER_DATE='2000-01-01T00:00:00Z' pgit commit -q \
		--author='series <series@localhost>' \
		--date='2000-01-01T00:00:00Z' -m "$(cat "$tree.new.origin")" &&
	git tag base &&
	git config gc.auto 0 &&
	# where check.sh puts the selftests
	echo /tools/testing/selftests/layout_lease/ >>.git/info/exclude
}

make_base()
{
	rm -rf "$tree.new" "$tree.new.origin"
	need_space 8 "the kernel source and two builds of it"
	sh "$top/tools/harness/source.sh" "$tree.new" || exit 1
	log=$BUILD/logs/base.log
	run_logged "$log" "making the base commit of 96,000 files" base_commit ||
		die_log "$log" "could not make a git tree of the kernel source"
	rm -rf "$tree"
	mv "$tree.new" "$tree" && mv "$tree.new.origin" "$tree.origin" || exit 1
	# what KERNEL_TREE was, to see when it is another one
	echo "${KERNEL_TREE:-}" >"$tree.from"
	write_stamp_none
}

# laid out: nothing yet
write_stamp_none()
{
	{
		echo "series none"
		echo "head $(git -C "$tree" rev-parse HEAD)"
	} >"$stamp"
}

# --- does the tree have work of its own? --------------------------------------------
own_work()
{
	[ "$(git -C "$tree" rev-parse HEAD)" != "$(stamped head)" ] || dirty
}

lock tree
if [ "${1:-}" = --idle ]; then
	[ ! -d "$tree/.git" ] || [ -n "${FORCE:-}" ] || ! own_work ||
		die "$tree has work that is not in patches/: keep it with make refresh, or drop it with FORCE=1"
	exit 0
fi

if [ ! -d "$tree/.git" ]; then
	make_base
elif [ -n "${KERNEL_TREE:-}" ] && [ "$KERNEL_TREE" != "$(cat "$tree.from")" ]; then
	if own_work && [ -z "${FORCE:-}" ]; then
		die "$tree has work that is not in patches/: keep it with make refresh or drop it with FORCE=1 to change to another KERNEL_TREE"
	fi
	make_base
fi

if [ -z "${FORCE:-}" ]; then
	if own_work; then
		[ "${1:-}" = --keep ] ||
			die "$tree has work that is not in patches/: keep it with make refresh, or drop it with make tree FORCE=1"
		say "taking $tree as it is, with work that is not in patches/ (make refresh puts it there)"
		exit 0
	fi
	[ "$(series_sum)" != "$(stamped series)" ] || exit 0
fi

# --- the time of files that stay as they are ------------------------------------------
# Going by way of the base touches every file of the series, headers that all of
# the kernel includes among them. What comes out the same gets its time back,
# and make has that much less to do.
keep=$BUILD/tree.keep

keep_times()
{
	rm -rf "$keep" && mkdir "$keep" || exit 1
	(
		cd "$tree" || exit 1
		git diff --name-only --no-renames --diff-filter=d base HEAD |
			xargs -r -d '\n' cp -p --parents -t "$keep"
	)
}

restore_times()
{
	(
		cd "$keep" || exit 1
		find . -type f | while read -r f; do
			! cmp -s "$f" "$tree/$f" || touch -r "$f" "$tree/$f"
		done
	)
	rm -rf "$keep"
}

# --- the series ---------------------------------------------------------------------
[ ! -e "$tree/.git/rebase-apply" ] || pgit -C "$tree" am --abort >/dev/null 2>&1
[ -z "${FORCE:-}" ] || pgit -C "$tree" reset -q --hard
keep_times
pgit -C "$tree" checkout -q -B series base || die "cannot check out the base in $tree"
[ -z "${FORCE:-}" ] || pgit -C "$tree" clean -qfd
log=$BUILD/logs/am.log
if ! am "$log" "$tree"; then
	write_stamp_none
	die_log "$log" "patch $failed does not apply to $(cat "$tree.origin")"
fi
restore_times
write_stamp
say "$tree: $(cat "$tree.origin") and $(series | wc -l) patches"
