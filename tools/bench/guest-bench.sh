#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-bench.sh BENCH: in a guest that counts instructions, all that BENCH can
# measure. The results go to the directory of the run.

bench=$1
out=/run/guest/results
mnt=/run/bench
dax=/dev/dax0.0
len=$((256 << 20))

die()
{
	echo "guest-bench: $*"
	exit 1
}

run()
{
	"$bench" rxe0 "$@" >>$out || die "bench failed"
}

# fresh TYPE MKFS-OPTION...: a file system that gives aligned blocks, and a file
fresh()
{
	type=$1
	shift
	! mountpoint -q $mnt || umount $mnt || die "$mnt is busy"
	"mkfs.$type" -q "$@" /dev/pmem1 && mount -t "$type" -o dax=always /dev/pmem1 $mnt ||
		die "no $type"
	touch $mnt/f
	[ "$type" != xfs ] || xfs_io -c 'extsize 2m' $mnt/f
	fallocate -l $len $mnt/f || die "no space on $type"
}

mkdir $mnt
echo "clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo 1 >/proc/sys/fs/lease-break-time
ndctl create-namespace --force --mode=devdax --map=mem \
	--reconfig="$(cat /sys/block/pmem0/device/namespace)" >/dev/null &&
	[ -c $dax ] || die "no device-DAX"

: >$out
echo "== instructions per packet"
run packets
echo "== registration and deregistration"
run reg anonymous - $len
run reg device-dax $dax $len
fresh xfs -f -d su=2m,sw=1 -l su=32k
run reg leased-xfs $mnt/f $len
fresh ext4 -F -b 4096 -m 0 -E stride=512,stripe_width=512,nodiscard
run reg leased-ext4 $mnt/f $len
echo "== revoke"
fresh xfs -f
rm $mnt/f
run revoke $mnt/f
echo "== the report"
run report $mnt/pins
umount $mnt
