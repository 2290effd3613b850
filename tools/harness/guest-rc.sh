#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Process 1 of the guest, in the overlay over the host's root. guest.sh copies
# this to the directory of the run (/run/guest in here), beside the command.
#
# /dev/ttyS0 is the kernel log and has our output too, /dev/ttyS1 is the
# command's. Whatever happens, the guest goes off at the end; that the command
# ended and how is told by the file `status`.

run=/run/guest
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
timeout=600 tty=''
# shellcheck source=/dev/null
. "$run/settings"	# sets the two

end()
{
	sync
	busybox poweroff -f
	# not reached
	sleep 60
}

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
# To name tasks in traces, the scheduler is patched while it runs whenever an event
# is enabled. QEMU 7.2 under TCG may go on executing the INT3 of such a patch after
# it is over: "Oops: int3" in __schedule, on any kernel.
echo 0 >/sys/kernel/tracing/options/record-cmd
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
hostname guest

# memmap='s region is ready for DAX; the nvdimm comes raw and has its page
# structures made by this, which takes a while.
for disk in /sys/block/pmem*; do
	[ "$(cat "$disk/queue/dax")" = 1 ] && continue
	namespace=$(readlink -f "$disk/device")
	ndctl create-namespace --force --mode=fsdax --map=mem \
		--reconfig="${namespace##*/}" || echo "guest-rc: no fsdax on $disk"
done &
nvdimm=$!

ip link set lo up
ip link add dum0 type dummy
# rxe takes its GIDs from the addresses; link-local IPv6 waits for no one here
echo 0 >/proc/sys/net/ipv6/conf/dum0/accept_dad
ip addr add 192.0.2.1/24 dev dum0
ip link set dum0 up
rdma link add rxe0 type rxe netdev dum0 || echo "guest-rc: no rxe0"
# The connection manager finds the device by the address: siw has its own. What
# one sends to oneself goes by lo, and would be in one packet with lo's MTU.
ip link add dum1 type dummy
ip addr add 198.51.100.1/24 dev dum1
ip link set dum1 up
ip link set lo mtu 1500
rdma link add siw0 type siw netdev dum1 || echo "guest-rc: no siw0"
wait $nvdimm

# libibverbs loads all providers there are, which takes as long as all else that a
# process needs to open a device. Of the host's, here we need these.
for provider in /etc/libibverbs.d/*; do
	case $provider in
	*/rxe.* | */siw.*) ;;
	*) rm "$provider" ;;
	esac
done

kmemleak=/sys/kernel/debug/kmemleak
if [ -e $kmemleak ]; then
	echo scan=off >$kmemleak	# only when asked
fi

echo "guest-rc: up after $(cut -d ' ' -f 1 /proc/uptime) s"

# A command that hangs is shown to the log before the guest is taken down.
(
	sleep "$timeout"
	echo hung >"$run/hung"
	echo "guest-rc: still running after $timeout s:"
	ps --ppid 2 -p 2 --deselect -o pid,ppid,stat,wchan:24,args
	echo 1 >/proc/sys/kernel/sysrq
	echo w >/proc/sysrq-trigger
	sleep 2
	end
) </dev/null >/dev/console 2>&1 &
watchdog=$!

if [ -n "$tty" ]; then
	# shellcheck disable=SC2086 # "rows N cols N" are four words
	stty -F /dev/ttyS1 sane $tty
	setsid -c -w /bin/sh "$run/command" </dev/ttyS1 >/dev/ttyS1 2>&1
else
	stty -F /dev/ttyS1 raw -echo
	setsid -w /bin/sh "$run/command" </dev/null >/dev/ttyS1 2>&1
fi
status=$?
kill $watchdog

if [ -e $kmemleak ] && [ -z "$tty" ]; then
	# An object is reported when two scans find it unreferenced and
	# unchanged, and no sooner than five seconds after its allocation.
	sleep 6
	echo scan >$kmemleak
	echo scan >$kmemleak
	cat $kmemleak >"$run/kmemleak"
	echo "guest-rc: kmemleak scanned, up $(cut -d ' ' -f 1 /proc/uptime) s"
fi

echo $status >"$run/status.new"
mv "$run/status.new" "$run/status"
end
