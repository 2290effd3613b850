#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-smoke.sh: in the guest, the least that any patch of the series must leave
# working: DAX files of XFS and ext4 that keep what was written, and an RDMA
# device.

die()
{
	echo "guest-smoke: $*"
	exit 1
}

# smoke TYPE DEVICE
smoke()
{
	dir=/run/smoke-$1
	mkdir "$dir" || exit 1
	"mkfs.$1" -q "$2" || die "mkfs.$1 failed"
	mount -t "$1" -o dax=always "$2" "$dir" || die "$1 does not mount with dax=always"
	head -c 5000000 /dev/urandom >/run/data
	dd if=/run/data of="$dir/f" bs=64k conv=fsync status=none || die "no write to $1"
	cmp /run/data "$dir/f" || die "$1 reads something else than was written"
	truncate -s 3000000 "$dir/f" && fallocate -p -o 0 -l 1000000 "$dir/f" ||
		die "$1 cannot truncate or punch"
	umount "$dir" && mount -t "$1" -o dax=always "$2" "$dir" ||
		die "$1 does not mount again"
	[ "$(stat -c %s "$dir/f")" -eq 3000000 ] &&
		cmp -i 1000000 -n 2000000 /run/data "$dir/f" || die "$1 lost data"
	umount "$dir" || die "$1 cannot be unmounted"
}

smoke xfs /dev/pmem0
smoke ext4 /dev/pmem1
rdma link show rxe0/1 | grep 'state ACTIVE' || die "no rxe0"
echo "guest-smoke: fine"
