#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh [base|debug]: configures and builds build/tree in
# build/kernel-{base,debug}, headers for user space included. Does nothing when
# tree and configuration are those of the last build. Others have a tree of their
# own, build/tree-KIND, and the configuration of base: "each" is of each.sh;
# "sabotage" and "stock", which may lack what is configured, are of variant.sh.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

kind=${1:-base}
tree=$BUILD/tree cc=''
out=$BUILD/kernel-$kind
case $kind in
base) fragments=$top/kernel-config/base.config ;;
debug) fragments="$top/kernel-config/base.config $top/kernel-config/debug.config" ;;
each)
	fragments=$top/kernel-config/base.config
	tree=$BUILD/tree-each
	# what a patch to a header touches comes back with the patch after it
	! command -v ccache >/dev/null || cc='CC=ccache gcc'
	;;
sabotage | stock)
	fragments=$top/kernel-config/base.config
	tree=$BUILD/tree-$kind
	;;
*) die "KERNEL is base or debug, not $kind" ;;
esac

need make gcc git flex bison bc rsync flock

# What the build is made from. Untracked files count, too; the selftests are
# hidden from git and do not.
state()
{
	{
		cd "$tree" || exit 1
		if [ -r "$tree.made-from" ]; then
			cat "$tree.made-from"
		else
			git rev-parse HEAD
			git diff --no-ext-diff HEAD
			git ls-files -o --exclude-standard |
				xargs -r -d '\n' sha256sum
		fi
		# shellcheck disable=SC2086 # one or two names
		cat $fragments "$top/tools/harness/kernel.sh"
		gcc --version
	} | sha256sum | cut -d ' ' -f 1
}

kmake()
{
	# LOCALVERSION= keeps the release string from changing with each commit
	make -C "$tree" O="$out" LOCALVERSION= \
		KBUILD_BUILD_USER=series KBUILD_BUILD_HOST=localhost ${cc:+"$cc"} \
		-j"${JOBS:-$(nproc)}" "$@"
}

# Tiny, the fragments over it, and what follows from them.
configure()
{
	kmake tinyconfig || return 1
	# shellcheck disable=SC2086 # one or two names
	"$tree/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" $fragments || return 1
	kmake olddefconfig
}

# Every symbol that the last fragment to name it asks for, and that did not
# come out so.
lost_symbols()
{
	# shellcheck disable=SC2086 # one or two names
	awk '
	function set(sym, val) { if (FILENAME == ARGV[ARGC - 1]) got[sym] = val; else want[sym] = val }
	/^CONFIG_[A-Za-z0-9_]+=/ { i = index($0, "="); set(substr($0, 1, i - 1), substr($0, i + 1)) }
	/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { set($2, "n") }
	END {
		for (sym in want) {
			g = sym in got ? got[sym] : "n"
			if (g != want[sym])
				print sym "=" want[sym] " (is " g ")"
		}
	}' $fragments "$out/.config" | LC_ALL=C sort | known_symbols
}

# A stock kernel need not have what only the series brings.
known_symbols()
{
	if [ "$kind" != stock ]; then
		cat
		return
	fi
	while read -r lost; do
		symbol=${lost%%=*}
		! grep -rqE --include='Kconfig*' "^(menu)?config ${symbol#CONFIG_}\$" "$tree" ||
			echo "$lost"
	done
}

# objects made so far
progress()
{
	printf '%s files done, now %s' "$(grep -cE '^  (CC|AS|LD|AR) ' "$1")" \
		"$(tail -n 1 "$1" | tr -d '\r' | cut -c 1-50)"
}

lock "kernel-$kind"
now=$(state)
if [ -r "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$now" ]; then
	exit 0
fi
[ -d "$out" ] || need_space 3 "a kernel build"
mkdir -p "$out" || exit 1
rm -f "$out/stamp"

log=$BUILD/logs/config-$kind.log
configure >"$log" 2>&1 </dev/null ||
	die_log "$log" "could not configure the $kind kernel"
lost=$(lost_symbols)
[ -z "$lost" ] ||
	die "the configuration of the $kind kernel is not what kernel-config/ asks for: $(echo "$lost" | tr '\n' ' ')"

log=$BUILD/logs/kernel-$kind.log
run_logged "$log" "building the $kind kernel" kmake bzImage headers ||
	die_log "$log" "the $kind kernel does not build ($(grep -m 1 -E '(error|undefined reference|\*\*\*)' "$log"))"
grep -E 'warning:' "$log" | sort -u | head -n 20
echo "$now" >"$out/stamp"
say "the $kind kernel is $out/arch/x86/boot/bzImage"
