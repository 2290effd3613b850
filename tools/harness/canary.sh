#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# canary.sh [base|debug]: selftests/canary_test, for DURATION seconds (60), and the sum
# of what was done.
#
# canary.sh sabotage [NAME...]: the same on kernels that are broken on purpose by
# tools/canary/*-NAME.patch, one for each driver. Succeeds if each of them is caught, on
# each driver and file system, and if a kernel that is only slow is not:
#
#   no-quiesce	a revoke leaves the device as it is
#   no-wait	it stops what comes, and does not wait for what is under way; with "slow"
#   slow	copies that take long, and are waited for: nothing to be found
#   lend	pages are lent to a socket; iwarp_test has to find it
#
# Environment: DURATION (sabotage: how long to wait for a stray byte, 120),
# LAYOUT_LEASE_RDMA.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

mode=${1:-base}
[ $# -eq 0 ] || shift
if [ "$mode" = sabotage ]; then
	DURATION=${DURATION:-120}
else
	DURATION=${DURATION:-60}
fi
case $DURATION in
*[!0-9]*) die "DURATION is a number of seconds, not $DURATION" ;;
esac
# what a slow machine takes beside
TEST_TIMEOUT=${TEST_TIMEOUT:-$((2 * DURATION + 900))}
TIMEOUT=${TIMEOUT:-$((TEST_TIMEOUT + 300))}
export DURATION TEST_TIMEOUT TIMEOUT

# run KIND PROGRAM LOG: check.sh, its output in LOG and its status in LOG.status.
# LOG.seconds has the seconds that the first failure took.
run()
{
	rm -f "$3.seconds"
	{
		sh "$top/tools/harness/check.sh" "$1" "$2" 2>&1
		echo $? >"$3.status"
	} | while IFS= read -r _line; do
		case $_line in
		'TAP version'*) _start=$(date +%s) ;;
		'not ok'*)
			[ -e "$3.seconds" ] ||
				echo $(($(date +%s) - _start)) >"$3.seconds" ;;
		esac
		printf '%s\n' "$_line"
	done | tee "$3"
	return "$(cat "$3.status")"
}

# The last line of each variant in LOG, added up.
sum()
{
	awk '
	/^# canary: .* stray bytes/ {
		split($0, part, ": ")
		last[part[2]] = part[3]
	}
	function number(text, what) {
		return match(text, "[0-9]+ " what) ? substr(text, RSTART) + 0 : 0
	}
	END {
		for (v in last) {
			n++
			writes += number(last[v], "writes,")
			revokes += number(last[v], "revokes")
			breaks += number(last[v], "breaks")
			late += number(last[v], "late writes")
			stray += number(last[v], "stray bytes")
		}
		printf "canary: %d variants, %.0f writes, %.0f revokes, %.0f breaks, %.0f late writes, %.0f stray bytes\n",
			n, writes, revokes, breaks, late, stray
	}' "$1"
}

if [ "$mode" != sabotage ]; then
	log=$BUILD/logs/canary.log
	run "$mode" canary_test "$log"
	status=$?
	sum "$log"
	exit $status
fi

# --- sabotage -----------------------------------------------------------------------
# What is worth telling of a run that is meant to fail.
headlines()
{
	grep --line-buffered -E '^(== |# canary: |   \.\.\. |error: |  \| )'
}

# In which variants was a stray byte found, and when?
caught()
{
	sed -n 's/^# canary: \(.*\): the first stray byte was found after \(.*\)/  \1: after \2/p' "$1"
}

# All that canary_test has, and has not skipped.
variants()
{
	sed -n 's/^# canary: \([^:]*\): .* stray bytes$/\1/p' "$1" | sort -u | wc -l
}

# try NAME: adds to $summary, and sets $bad if it is not as it has to be
try()
{
	log=$BUILD/logs/sabotage-$1.log
	set -- "$1" "$top"/tools/canary/*-"$1".patch
	[ -r "$2" ] || die "no sabotage is called $1: there is no $2"
	name=$1
	shift
	program=$(sed -n 's/^Caught by: //p' "$1")
	program=${program:-canary_test}
	[ "$name" != no-wait ] || set -- "$top"/tools/canary/*-slow.patch "$@"
	say "sabotage: $name, of $*"
	sh "$top/tools/harness/variant.sh" sabotage "$@" || exit 1
	# where nothing is to be found, there is no end before its time
	if [ "$name" = slow ]; then
		DURATION=$(((DURATION + 2) / 3)) run sabotage "$program" "$log"
	else
		run sabotage "$program" "$log"
	fi | headlines
	grep -q '^1\.\.' "$log" ||
		die "$program did not run on the kernel with $name, see above (output: $log)"
	status=$(cat "$log.status")
	found=$(caught "$log")
	case $name in
	slow)
		if [ "$status" -eq 0 ]; then
			summary="$summary
not caught, as it has to be: $name"
		else
			bad=y
			summary="$summary
FAILED: $name: nothing is wrong with this kernel but that it is slow (output: $log)
$found"
		fi
		return ;;
	esac
	if [ "$program" != canary_test ]; then
		found=$(sed -n 's/^not ok [0-9]* *-* */  /p' "$log")
		[ -z "$found" ] || program="$program after $(cat "$log.seconds") s"
		all=1 n=$(echo "$found" | grep -c .)
	else
		all=$(variants "$log") n=$(echo "$found" | grep -c .)
	fi
	if [ "$n" -gt 0 ] && [ "$n" -ge "$all" ]; then
		summary="$summary
caught: $name, by $program:
$found"
	else
		bad=y
		summary="$summary
NOT CAUGHT: $name: $program found it in $n of $all variants (output: $log; try a longer DURATION=)
$found"
	fi
}

lock canary
[ $# -gt 0 ] || set -- no-quiesce no-wait slow lend
bad='' summary=''
for sabotage; do
	try "$sabotage"
done
echo "$summary" | sed '/^$/d'
[ -z "$bad" ]
