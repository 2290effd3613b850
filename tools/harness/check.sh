#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# check.sh [base|debug] [TEST...]: builds selftests/ inside build/tree, as a
# maintainer would, and runs them (or those named) in a guest. The last line is
# "N passed, N failed, N skipped"; anything but passes and skips is a failure of
# the run, and so is no test at all, or a rule without one (matrix.sh). All of the
# tests on the plain kernel: also those that the features of siw allow, on siw.
# TEST is a program, or program@device.
#
# Environment: DURATION: seconds for canary_test, all of its variants together;
# LAYOUT_LEASE_RDMA: the RDMA device to be tested; GUESTS, TIMEOUT, TEST_TIMEOUT.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

kind=${1:-base}
[ $# -eq 0 ] || shift
tree=$BUILD/tree
out=$BUILD/kernel-$kind
inside=$tree/tools/testing/selftests/layout_lease
bin=$out/kselftest-install
# Seconds for a program, and for all of them: one that hangs shall not keep the
# others from running.
case $kind in
debug) limit=${TEST_TIMEOUT:-1500} total=${TIMEOUT:-3000} ;;
*) limit=${TEST_TIMEOUT:-600} total=${TIMEOUT:-1500} ;;
esac

case ${DURATION:-1} in
*[!0-9]*) die "DURATION is a number of seconds, not $DURATION" ;;
esac
# canary_test has four variants
canary=${DURATION:+$(((DURATION + 3) / 4))}

# --- is there a test for each rule? ------------------------------------------------
matrix=$(sh "$top/tools/harness/matrix.sh" --check 2>&1) && matrix_ok=y || matrix_ok=''
[ -z "$matrix" ] || echo "$matrix"

# --- build -----------------------------------------------------------------------
[ -r "$top/selftests/Makefile" ] || die "no selftests: $top/selftests/Makefile is missing"
lock "kernel-$kind"
mkdir -p "$inside" && rsync -a --delete "$top/selftests/" "$inside/" ||
	die "could not copy selftests/ to $inside"
log=$BUILD/logs/selftests-$kind.log
say "building the selftests (log: $log)"
make -C "$tree/tools/testing/selftests" TARGETS=layout_lease O="$out" \
	INSTALL_PATH="$bin" FORCE_TARGETS=1 install >"$log" 2>&1 </dev/null ||
	die_log "$log" "the selftests do not build"
grep 'warning:' "$log" | sort -u | head -n 20
all=$(sed -n 's/^layout_lease://p' "$bin/kselftest-list.txt")
[ -n "$all" ] || die_log "$log" "there are no selftests to run"
unlock

# --- choose ----------------------------------------------------------------------
tests=''
for t; do
	echo "$all" | grep -qx "${t%@*}" ||
		die "no test is called $t; there are: $(echo "$all" | tr '\n' ' ')"
	tests="$tests $t"
done
some=$tests
[ -n "$tests" ] || tests=$(echo "$all" | tr '\n' ' ')
# Those without RDMA, and those with variants for siw, have been there once.
if [ -z "$some" ] && [ "$kind" = base ] && [ -z "${LAYOUT_LEASE_RDMA:-}" ]; then
	tests="$tests $(echo "$all" |
		grep -vxE '(lease|uring|iwarp|revoke|canary)_test' | sed 's/$/@siw0/' |
		tr '\n' ' ')"
fi

# --- run ---------------------------------------------------------------------------
# A guest hardly uses more than one core: two guests share the programs, every
# other one each. On the debug kernel they wait longer, for grace periods to end, and
# the tests have more patience: three, if there is memory (of 4 GB each).
guests=${GUESTS:-}
if [ -z "$guests" ]; then
	guests=1
	[ "$(nproc)" -lt 2 ] || guests=2
	[ "$guests" -eq 1 ] || [ "$kind" != debug ] ||
		[ "$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)" -lt 12 ] ||
		guests=3
fi
# shellcheck disable=SC2086 # a list
set -- $tests
[ "$guests" -le $# ] || guests=$#
run=$(mktemp -d "$BUILD/logs/run.XXXXXX") || exit 1
n=0
for t; do
	echo "$t" >>"$run/tests.$((n % guests + 1))"
	n=$((n + 1))
done

# start_guest NUMBER: its directory and its status are in $run.
start_guest()
{
	list=$(tr '\n' ' ' <"$run/tests.$1")
	say "running in guest $1 with the $kind kernel: $list"
	# shellcheck disable=SC2086 # a list
	{
		sh "$top/tools/harness/guest.sh" --dir-file "$run/dir.$1" \
			--kernel "$out/arch/x86/boot/bzImage" \
			--timeout "$total" --name "check-$kind" \
			-- env LEASE_KERNEL="$kind" \
			${canary:+"LAYOUT_LEASE_CANARY=$canary"} \
			${LAYOUT_LEASE_RDMA:+"LAYOUT_LEASE_RDMA=$LAYOUT_LEASE_RDMA"} \
			sh "$top/tools/harness/guest-tests.sh" \
			"$bin/layout_lease" "$limit" $list
		echo $? >"$run/status.$1"
	} 2>&1 | if [ "$guests" -gt 1 ]; then sed -u "s/^/[$1] /"; else cat; fi
}

for g in $(seq "$guests"); do
	start_guest "$g" &
	# The first one finds out whether KVM works.
	while [ "$g" -eq 1 ] && [ "$guests" -gt 1 ] && [ -z "${ACCEL:-}" ] &&
	      [ ! -r "$BUILD/accel" ] && [ ! -e "$run/status.1" ]; do
		sleep 1
	done
done
wait

# --- the tools -----------------------------------------------------------------------
# On the host against recorded reports, and in a guest; once is enough.
tools_log=''
if [ -z "$some" ] && [ "$kind" = base ]; then
	say "testing the tools"
	tools_log=$run/tools.log
	O=$(realpath "$BUILD")/tools
	{
		make -s -C "$top/tools" O="$O" HDR="$out/usr/include" all check
		sh "$top/tools/harness/guest.sh" --kernel "$out/arch/x86/boot/bzImage" \
			--name check-tools --timeout 600 \
			-- env LEASE_BUILD="$O" sh "$top/tools/tests/lspins-guest.sh" ||
			echo "not ok lspins in the guest: status $?"
	} >"$tools_log" 2>&1 </dev/null
	grep -vE '^ok |^[0-9]+ passed, ' "$tools_log"
fi

# --- count -------------------------------------------------------------------------
passed=0 failed=0 skipped=0 failures=''
for g in $(seq "$guests"); do
	dir=$(cat "$run/dir.$g" 2>/dev/null) guest=$(cat "$run/status.$g" 2>/dev/null)
	[ -d "$dir" ] || die "guest $g did not start, see above"
	while read -r t; do
		[ -e "$dir/guest/$t.out" ] || : >"$dir/guest/$t.out"
		result=$(awk -v prog="$t" -v limit="$limit" \
			-v status="$(cat "$dir/guest/$t.exit" 2>/dev/null)" \
			-f "$top/tools/harness/ktap.awk" "$dir/guest/$t.out")
		# shellcheck disable=SC2046 # count and three numbers
		set -- $(echo "$result" | head -n 1)
		passed=$((passed + $2)) failed=$((failed + $3))
		skipped=$((skipped + $4))
		failures="$failures$(echo "$result" | sed 1d | sed 's/^/failed: /')
"
		awk -v prog="${t%@*}" '/^(not )?ok [0-9]+/ && !/# *SKIP/ {
			sub(/^(not )?ok [0-9]+ *(- )?/, "")
			n = split($1, part, ".")
			print prog, part[1] "." part[n]
		}' "$dir/guest/$t.out" >>"$run/ran"
	done <"$run/tests.$g"
	[ "$guest" != 0 ] || continue
	failed=$((failed + 1))
	case $guest in
	124) what="guest $g hung, or all its programs together took more than $total s (TIMEOUT=)" ;;
	125) what="guest $g panicked or ended early" ;;
	126) what="the kernel of guest $g reported trouble" ;;
	*) what="the test runner of guest $g ended with status $guest" ;;
	esac
	# in short, for whoever sees only the end of all this
	cause=$(sh "$top/tools/harness/logscan.sh" "$dir/console.log" | tr -d '\r' |
		awk '/ RIP: / && rip++ || NR > 1 && !/ RIP: / { next } { print "        " $0 }')
	failures="${failures}failed: $what, see above
$cause
"
done
if [ -n "$tools_log" ]; then
	passed=$((passed + $(grep '^ok ' "$tools_log" | grep -vc ' # SKIP')))
	n=$(grep -c '^not ok ' "$tools_log")
	# it ends with the numbers of the guest's
	if [ "$(grep -cE '^[0-9]+ passed, ' "$tools_log")" -ne 2 ]; then
		n=$((n + 1))
		failures="${failures}failed: the tests of the tools did not end, see above
"
	fi
	failed=$((failed + n))
	skipped=$((skipped + $(grep -c '^ok .* # SKIP' "$tools_log")))
	failures="$failures$(sed -n 's/^not ok /failed: tools: /p' "$tools_log")
"
	awk '/^# tests: / { prog = $3 }
		prog && /^(not )?ok [0-9]+ / && !/# *SKIP/ {
			sub(/^(not )?ok [0-9]+ /, "")
			print prog, $0
		}' "$tools_log" >>"$run/ran"
fi
# Which rules have been tested? A test whose variants were all skipped tells nothing.
if [ -z "$some" ]; then
	sort -u -o "$run/ran" "$run/ran"
	matrix=$(sh "$top/tools/harness/matrix.sh" --check "$run/ran" 2>&1) || matrix_ok=''
fi
if [ -z "$matrix_ok" ]; then
	failed=$((failed + 1))
	failures="${failures}failed: the matrix of rules and tests:
$(echo "$matrix" | sed 's/^/        /')
"
fi
echo "$failures" | sed '/^$/d'
for g in $(seq "$guests"); do
	dir=$(cat "$run/dir.$g")
	echo "output of each test: $dir/guest/*.out, kernel log: $dir/console.log"
done
rm -rf "$run"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
