#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# refresh.sh: the commits of build/tree on tag base -> patches/. The same commits
# give the same bytes. Before anything is written the patches are put on the base
# again and must give the same trees and messages.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tools/harness/git.sh
. "$(dirname -- "$0")/git.sh"

need git
lock tree
[ -d "$tree/.git" ] || die "there is no $tree yet: make tree lays it out"
[ ! -d "$tree/.git/rebase-merge" ] && [ ! -d "$tree/.git/rebase-apply" ] ||
	die "a rebase or git am is under way in $tree: end it first"
! dirty || die "$tree has changes that are not committed: commit or stash them first"
git -C "$tree" merge-base --is-ancestor base HEAD ||
	die "HEAD of $tree does not descend from tag base"
[ -z "$(git -C "$tree" rev-list --merges base..HEAD)" ] ||
	die "$tree has merges between base and HEAD; a series has none"
left=$(git -C "$tree" log --format=%s base..HEAD | grep -E -m 1 '^(fixup|squash|amend)! ')
[ -z "$left" ] ||
	die "commit \"$left\" waits to be squashed: git rebase -i --autosquash base"

new=$BUILD/patches.new
rm -rf "$new" && mkdir -p "$new" "$patches" || exit 1
format_patches "$tree" base..HEAD "$new" || die "git format-patch failed"
log=$BUILD/logs/refresh.log
round_trip "$tree" base..HEAD "$new" >"$log" 2>&1 ||
	die_log "$log" "the patches do not give back the tree they were made from; nothing was changed"
[ ! -e "$cover" ] || cover_letter "$tree" base..HEAD >"$new/0000-cover-letter.patch" ||
	die "could not make the cover letter"

changed=0
for p in "$patches"/[0-9][0-9][0-9][0-9]-*.patch; do
	[ -e "$p" ] && [ ! -e "$new/${p##*/}" ] || continue
	rm "$p"
	changed=$((changed + 1))
done
for p in "$new"/*.patch; do
	[ -e "$p" ] || continue
	cmp -s "$p" "$patches/${p##*/}" && continue
	cp "$p" "$patches/" || die "could not write $patches/${p##*/}"
	changed=$((changed + 1))
done
rm -rf "$new"
write_stamp
say "patches/: $(series | wc -l) patches, $changed files changed"
