#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# mbox.sh: the series as it goes to the lists, with selftests/ as its last patch:
# build/series.mbox (for git am and for readers) and build/series/ (for git
# send-email, one file a mail). The last patch is made without touching
# build/tree's branch or files.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tools/harness/git.sh
. "$(dirname -- "$0")/git.sh"

need git
where=tools/testing/selftests
name=layout_lease

index=$(mktemp -d) || exit 1
trap 'rm -rf "$index"' EXIT
tgit()
{
	GIT_INDEX_FILE=$index/index pgit -C "$tree" "$@"
}

# add PATH MODE <CONTENT
add()
{
	_blob=$(tgit hash-object -w --stdin) &&
	tgit update-index --add --cacheinfo "$2,$_blob,$1"
}

# One line more among the sorted TARGETS.
with_target()
{
	awk -v new="$name" '
	!done && /^TARGETS \+= / && $3 > new { print "TARGETS += " new; done = 1 }
	{ print }'
}

message()
{
	cat <<END
selftests: add tests of layout leases and the pins under them

One program for each chapter of the contract; the name of a test says which
rule it checks. They need a DAX capable block device of their own, and soft-RoCE
where memory regions are concerned, and skip what the machine does not have.

  make -C tools/testing/selftests TARGETS=$name

Signed-off-by: $author
END
}

lock tree
[ -r "$top/selftests/Makefile" ] || die "no selftests: $top/selftests/Makefile is missing"
tgit read-tree HEAD || die "cannot read $tree"
git -C "$top" ls-files -co --exclude-standard selftests | LC_ALL=C sort >"$index/files"
while read -r f; do
	mode=100644
	[ ! -x "$top/$f" ] || mode=100755
	add "$where/$name/${f#selftests/}" $mode <"$top/$f" || die "cannot add $f"
done <"$index/files"
tgit show "HEAD:$where/Makefile" | with_target >"$index/Makefile"
grep -qx "TARGETS += $name" "$index/Makefile" ||
	die "cannot add $name to the TARGETS of $where/Makefile"
add "$where/Makefile" 100644 <"$index/Makefile" || die "cannot add $where/Makefile"

# by whom the last patch of the series is, or who makes this one
if [ "$(git -C "$tree" rev-parse HEAD)" != "$(git -C "$tree" rev-parse base)" ]; then
	author=$(git -C "$tree" log -1 --format='%an <%ae>')
	date=$(git -C "$tree" log -1 --format=%aI)
else
	author=$(git -C "$top" var GIT_AUTHOR_IDENT | sed 's/>.*/>/')
	date=$(date -Iseconds)
fi
commit=$(message | GIT_AUTHOR_NAME=${author% <*} \
	GIT_AUTHOR_EMAIL=$(echo "$author" | sed 's/.*<\(.*\)>/\1/') \
	GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date \
	tgit commit-tree -p HEAD "$(tgit write-tree)") || die "cannot commit the selftests"

dir=$BUILD/series
rm -rf "$dir" && mkdir "$dir" || exit 1
format_patches "$tree" "base..$commit" "$dir" || die "git format-patch failed"
log=$BUILD/logs/mbox.log
round_trip "$tree" "base..$commit" "$dir" >"$log" 2>&1 ||
	die_log "$log" "the patches do not give back the tree they were made from"
if [ -e "$cover" ]; then
	cover_letter "$tree" "base..$commit" >"$dir/0000-cover-letter.patch"
fi
# mails end in an empty line in an mbox
for p in "$dir"/*.patch; do
	cat "$p"
	echo
done >"$BUILD/series.mbox"
say "$BUILD/series.mbox: $(find "$dir" -name '*.patch' | wc -l) mails"
echo "   to send: git send-email --to=... $dir/*.patch"
