#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# apply.sh TREE: the series onto the current branch of somebody's git tree, or
# nothing at all.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tools/harness/git.sh
. "$(dirname -- "$0")/git.sh"

need git
[ -n "${1:-}" ] || die "which tree? make apply KDIR=path"
tree=$1
git -C "$tree" rev-parse -q --verify HEAD >/dev/null 2>&1 ||
	die "$tree is not a git tree"
[ -z "$(git -C "$tree" status --porcelain -uno | head -n 1)" ] ||
	die "$tree has changes that are not committed"
[ -n "$(series)" ] || die "there are no patches in $patches"
log=$BUILD/logs/apply.log
am "$log" "$tree" ||
	die_log "$log" "patch $failed does not apply to $tree, which is as it was (the series is for Linux 7.3)"
say "$(series | wc -l) patches applied to $tree"
