# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # $top is of lib.sh, $cover for others
#
# What tree.sh, refresh.sh, apply.sh and mbox.sh share. build/tree is a git tree:
#   tag base         the pristine source
#   branch series    the patches on it, laid out by tree.sh
# build/tree.stamp says what was laid out last, or refreshed from:
#   series <checksum of patches/>
#   head <commit>

tree=$BUILD/tree
stamp=$BUILD/tree.stamp
patches=$top/patches
cover=$patches/0000-cover-letter.patch

# Nobody's configuration shall change what comes out; commits made here have
# a fixed committer, so that the same patches give the same commit names.
pgit()
{
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
	GIT_COMMITTER_NAME=series GIT_COMMITTER_EMAIL=series@localhost \
		git -c core.autocrlf=false -c gc.auto=0 "$@"
}

# The patches in order, without the cover letter; nothing if there are none.
series()
{
	find "$patches" -maxdepth 1 -name '[0-9][0-9][0-9][0-9]-*.patch' \
		! -name '0000-*' 2>/dev/null | LC_ALL=C sort
}

series_sum()
{
	series | while read -r p; do
		sha256sum <"$p"
	done | sha256sum | cut -d ' ' -f 1
}

stamped()
{
	sed -n "s/^$1 //p" "$stamp" 2>/dev/null
}

write_stamp()
{
	{
		echo "series $(series_sum)"
		echo "head $(git -C "$tree" rev-parse HEAD)"
	} >"$stamp.new" && mv "$stamp.new" "$stamp"
}

# Is there anything in the tree that is not in its HEAD?
dirty()
{
	[ -n "$(git -C "$tree" status --porcelain 2>/dev/null | head -n 1)" ]
}

# am LOG TREE: puts the series on TREE's HEAD, or leaves TREE as it was and
# fails, with the file name of the patch that does not apply in $failed.
am()
{
	_log=$1 _tree=$2 failed=''
	: >"$_log"
	[ -n "$(series)" ] || return 0
	# shellcheck disable=SC2046 # names without blanks
	pgit -C "$_tree" am --committer-date-is-author-date --keep-non-patch \
		$(series) >>"$_log" 2>&1 </dev/null && return 0
	_n=$(cat "$(cd "$_tree" && pwd)/$(cd "$_tree" &&
		git rev-parse --git-path rebase-apply/next)" 2>/dev/null)
	failed=$(series | sed -n "${_n:-1}s,.*/,,p")
	pgit -C "$_tree" am --abort >>"$_log" 2>&1
	return 1
}

# The whole range as patches into DIR, the same bytes whoever does it. Blank lines of
# context are blank, or checkpatch, which takes files of a git tree for sources, finds
# trailing whitespace in the patches of this repository.
# format_patches TREE RANGE DIR
format_patches()
{
	pgit -C "$1" -c core.abbrev=12 -c diff.algorithm=myers \
		-c diff.suppressBlankEmpty=true \
		format-patch -q --numbered --zero-commit --no-signature \
		--no-cover-letter --no-thread --no-base --no-attach --no-color \
		--no-ext-diff --no-textconv --filename-max-length=64 --stat=72 \
		-M -o "$3" "$2"
}

# The cover letter for a range: prose kept by hand in patches/, number of
# patches, shortlog and diffstat made anew. The latter begin at the first line
# like "Name (3):" that has an indented line after it.
# cover_letter TREE RANGE
cover_letter()
{
	_n=$(git -C "$1" rev-list --count "$2")
	_zero=$(printf "%0${#_n}d" 0)
	awk -v number="$_zero/$_n" '
	!subject && /^Subject: \[PATCH/ { sub(/ [0-9]+\/[0-9]+\]/, " " number "]"); subject = 1 }
	held != "" && /^  / { exit }
	held != "" { print held; held = "" }
	/^[^ ].* \([0-9]+\):$/ { held = $0; next }
	{ print }' "$cover" |
	# blank lines at the end are ours
	sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
	echo
	pgit -C "$1" shortlog -w72,2,4 "$2"
	pgit -C "$1" -c core.abbrev=12 diff --no-ext-diff --no-color -M \
		--stat=72 --summary "${2%..*}" "${2#*..}"
}

# Do the patches in DIR, put on the base one by one, give the commits of RANGE,
# tree and message? Works on an index of its own and touches no file.
# round_trip TREE RANGE DIR
round_trip()
{
	_tmp=$(mktemp -d) || return 1
	(
		GIT_INDEX_FILE=$_tmp/index
		export GIT_INDEX_FILE
		cd "$1" || exit 1
		pgit read-tree "${2%..*}" || exit 1
		for _c in $(git rev-list --reverse "$2"); do
			_p=$(find "$3" -name '[0-9]*.patch' ! -name '0000-*' |
				LC_ALL=C sort | sed -n "$(cat "$_tmp/n" 2>/dev/null || echo 1)p")
			echo $(($(cat "$_tmp/n" 2>/dev/null || echo 1) + 1)) >"$_tmp/n.new"
			mv "$_tmp/n.new" "$_tmp/n"
			pgit mailinfo -b "$_tmp/msg" "$_tmp/diff" <"$_p" >"$_tmp/info" &&
			pgit apply --cached "$_tmp/diff" || exit 1
			[ "$(pgit write-tree)" = "$(git rev-parse "$_c^{tree}")" ] ||
				{ echo "$_p gives another tree than commit $_c"; exit 1; }
			{ sed -n 's/^Subject: //p' "$_tmp/info"; echo; cat "$_tmp/msg"; } |
				sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$_tmp/want"
			git log -1 --format=%B "$_c" |
				sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >"$_tmp/is"
			cmp -s "$_tmp/want" "$_tmp/is" ||
				{ echo "$_p gives another message than commit $_c"; exit 1; }
		done
	)
	_r=$?
	rm -rf "$_tmp"
	return $_r
}
