#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# each.sh: does every patch of the series stand alone? For each commit of build/tree
# on tag base, in order: checkpatch --strict, build without warnings, boot,
# guest-smoke.sh. It has a checkout of its own, build/tree-each, and leaves that of
# build/tree alone; work there that is not committed is not looked at. A patch
# that fails does not keep the next ones from being tried.
#
# Environment: FROM, TO: the first and the last patch, by number (all).

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tools/harness/git.sh
. "$(dirname -- "$0")/git.sh"

need git perl
lock each
here=$BUILD/tree-each
logs=$BUILD/logs/each
mkdir -p "$logs" || exit 1

commits=$(git -C "$tree" rev-list --reverse base..HEAD) && [ -n "$commits" ] ||
	die "$tree has no patches: make tree lays them out"
last=$(echo "$commits" | wc -l)
from=${FROM:-1} to=${TO:-$last}
case $from$to in
*[!0-9]*) die "FROM and TO are numbers of patches, 1 to $last" ;;
esac
[ "$from" -ge 1 ] && [ "$from" -le "$to" ] && [ "$to" -le "$last" ] ||
	die "FROM and TO are numbers of patches, 1 to $last"
! dirty || say "what is not committed in $tree is not looked at"

# --- a checkout of our own ---------------------------------------------------------
# It is lost when build/tree is made anew.
is_ours()
{
	[ "$(git -C "$here" rev-parse --show-toplevel 2>/dev/null)" = \
		"$(cd "$here" 2>/dev/null && pwd -P)" ] &&
		git -C "$here" cat-file -e "$(git -C "$tree" rev-parse HEAD)" 2>/dev/null
}

if ! is_ours; then
	need_space 5 "a second checkout of the kernel and a build of it"
	rm -rf "$here"
	git -C "$tree" worktree prune
	log=$logs/checkout.log
	run_logged "$log" "checking the kernel out to $here" \
		git -C "$tree" worktree add -q -f --detach "$here" base ||
		die_log "$log" "could not make $here"
fi

# --- one patch -----------------------------------------------------------------------
# Each step leaves its log as $logs/NUMBER-STEP.log; what failed is in $bad.
fail()
{
	bad="$bad $1"
	echo "   $1 failed, log: $2"
}

one_patch()
{
	bad=''
	log=$logs/$1-checkout.log
	pgit -C "$here" checkout -q --force --detach "$2" >"$log" 2>&1 || {
		fail checkout "$log"
		return
	}
	log=$logs/$1-checkpatch.log
	(cd "$here" && scripts/checkpatch.pl --strict -g HEAD) >"$log" 2>&1 </dev/null ||
		fail checkpatch "$log"
	log=$logs/$1-build.log
	rm -f "$BUILD/logs/kernel-each.log"
	sh "$top/tools/harness/kernel.sh" each 2>&1 </dev/null 9>&-
	# none if this very commit has been built before
	cp "$BUILD/logs/kernel-each.log" "$log" 2>/dev/null
	if [ ! -r "$BUILD/kernel-each/stamp" ]; then
		fail build "$log"
		return
	fi
	! grep -q 'warning:' "$log" 2>/dev/null || fail warnings "$log"
	log=$logs/$1-boot.log
	if sh "$top/tools/harness/guest.sh" --name each --timeout 300 \
		--kernel "$BUILD/kernel-each/arch/x86/boot/bzImage" \
		-- sh "$top/tools/harness/guest-smoke.sh" >"$log" 2>&1 </dev/null 9>&-; then
		return
	fi
	fail boot "$log"
	tail -n 5 "$log" | sed 's/^/  | /'
}

n=0 failures='' start=$(date +%s)
for c in $commits; do
	n=$((n + 1))
	[ $n -ge "$from" ] && [ $n -le "$to" ] || continue
	number=$(printf '%04d' $n)
	subject=$(git -C "$tree" log -1 --format=%s "$c")
	say "patch $n of $last, after $((($(date +%s) - start) / 60)) min: $subject"
	one_patch "$number" "$c"
	[ -z "$bad" ] || failures="$failures
  $number $subject:$bad (logs: $logs/$number-*.log)"
done

n=$((to - from + 1))
if [ -n "$failures" ]; then
	echo "of $n patches these failed:$failures"
	exit 1
fi
echo "$n patches: each builds without a warning, boots, and passes checkpatch --strict"
