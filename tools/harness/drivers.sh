#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# drivers.sh: compiles drivers/infiniband/ of build/tree, with the RDMA drivers
# that the series touches and no guest can run, in build/kernel-drivers. There is
# nothing to boot. Any warning is an error.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

tree=$BUILD/tree
out=$BUILD/kernel-drivers
fragment=$top/kernel-config/rdma-drivers.config

need make gcc git flex bison bc flock

kmake()
{
	make -C "$tree" O="$out" LOCALVERSION= \
		KBUILD_BUILD_USER=series KBUILD_BUILD_HOST=localhost \
		-j"${JOBS:-$(nproc)}" "$@"
}

configure()
{
	kmake tinyconfig || return 1
	"$tree/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" \
		"$top/kernel-config/base.config" "$fragment" || return 1
	kmake olddefconfig
}

# objects made so far
progress()
{
	printf '%s files done, now %s' "$(grep -cE '^  (CC|AS|LD|AR) ' "$1")" \
		"$(tail -n 1 "$1" | tr -d '\r' | cut -c 1-50)"
}

lock kernel-drivers
[ -d "$out" ] || need_space 1 "compiling the RDMA drivers"
mkdir -p "$out" || exit 1

log=$BUILD/logs/config-drivers.log
configure >"$log" 2>&1 </dev/null ||
	die_log "$log" "could not configure the RDMA drivers"
# base.config does without some of what they need, so only the last fragment
lost=$(grep -E '^CONFIG_' "$fragment" | grep -vxF -f "$out/.config")
[ -z "$lost" ] ||
	die "the configuration is not what $fragment asks for: $(echo "$lost" | tr '\n' ' ')"

log=$BUILD/logs/kernel-drivers.log
run_logged "$log" "compiling the RDMA drivers" kmake drivers/infiniband/ ||
	die_log "$log" "the RDMA drivers do not compile ($(grep -m 1 -E '(error|warning|\*\*\*)' "$log"))"
! grep -q 'warning:' "$log" ||
	die "the RDMA drivers compile with warnings: $(grep -m 1 'warning:' "$log")"
say "drivers/infiniband compiles without warnings in $out"
