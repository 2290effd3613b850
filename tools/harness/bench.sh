#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# bench.sh BENCH: what the series costs, in guest instructions: the kernel of
# build/tree and one of its base, tag base, in one boot each. Prints a table and
# leaves it in build/bench/, with bench.json and bench.svg.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

bench=$1
out=$BUILD/bench
mkdir -p "$out" || exit 1
lock bench
sh "$top/tools/harness/variant.sh" stock 9>&- || exit 1

# measure NAME KIND
measure()
{
	say "counting on the $1 kernel, for 5 to 15 minutes"
	mark=$BUILD/logs/.bench.$$
	sh "$top/tools/harness/guest.sh" --icount --dir-file "$mark" --name "bench-$1" \
		--kernel "$BUILD/kernel-$2/arch/x86/boot/bzImage" --timeout 7200 \
		-- sh "$top/tools/bench/guest-bench.sh" "$bench" 9>&-
	status=$?
	dir=$(cat "$mark")
	rm -f "$mark"
	[ $status -eq 0 ] ||
		die "counting on the $1 kernel failed, see above (kernel log: $dir/console.log)"
	cp "$dir/guest/results" "$out/$1" ||
		die "no results from the $1 kernel in $dir/guest"
}

measure stock stock
measure patched base
awk -v json="$out/bench.json" -v svg="$out/bench.svg" -v table="$out/bench.txt" \
	-f "$top/tools/bench/bench.awk" "$out/stock" "$out/patched" ||
	die "no table can be made of the results in $out"
cat "$out/bench.txt"
say "$out/bench.json, $out/bench.svg"
