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

# measure NAME KIND: what it finds goes to $out/NAME
measure()
{
	mark=$BUILD/logs/.bench-$1.$$
	rm -f "$out/$1"
	sh "$top/tools/harness/guest.sh" --icount --dir-file "$mark" --name "bench-$1" \
		--kernel "$BUILD/kernel-$2/arch/x86/boot/bzImage" --timeout 7200 \
		-- sh "$top/tools/bench/guest-bench.sh" "$bench" 9>&-
	status=$?
	dir=$(cat "$mark")
	rm -f "$mark"
	if [ $status -ne 0 ]; then
		echo "counting failed, see above (kernel log: $dir/console.log)"
	else
		cp "$dir/guest/results" "$out/$1"
	fi
}

# A guest has one CPU, and its clock does not care what else the machine does.
say "counting on both kernels, for 5 to 15 minutes"
measure stock stock 2>&1 | sed -u 's/^/[stock] /' &
measure patched base 2>&1 | sed -u 's/^/[patched] /'
wait
for kernel in stock patched; do
	[ -s "$out/$kernel" ] || die "no results of the $kernel kernel, see above"
done
awk -v json="$out/bench.json" -v svg="$out/bench.svg" -v table="$out/bench.txt" \
	-f "$top/tools/bench/bench.awk" "$out/stock" "$out/patched" ||
	die "no table can be made of the results in $out"
cat "$out/bench.txt"
say "$out/bench.json, $out/bench.svg"
