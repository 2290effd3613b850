#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# demo.sh - leased pins, step by step, with the real commands and their output
#
# Runs as root in the guest ("make demo" brings it there): it makes a file system
# on the first /dev/pmem that can do DAX, sets fs.lease-break-time and uses the RDMA
# device rxe0. Every step is checked; the first that does not do what it says ends the demonstration with a
# diagnosis and status 1.
#
# LEASE_BUILD: where "make -C tools O=..." put the programs.

[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
set -u
shopt -s extglob
export LC_ALL=C.UTF-8

: "${LEASE_BUILD:?the directory with leaserun and the samples}"
PATH=$LEASE_BUILD:$PATH
dev=rxe0
grace=5			# seconds: long enough to look, short enough to wait
demo=demo
# shellcheck source=tools/demo/lib.sh
. "$(dirname -- "$0")/lib.sh"

# --- looking --------------------------------------------------------------------

listening()
{
	[ -n "$(ss -Hltn "sport = :$1")" ]
}

# pins PID FILE STATE: the process's report names its region over FILE, in this state
pins()
{
	local mode lease state user path found=1

	while read -r _ _ _ _ _ mode lease state user path; do
		[ "$mode $lease $state $path" = "rw layout $3 $2" ] &&
			[[ $user == rdma:"$dev":mr:+([0-9]) ]] && found=0
	done <"/proc/$1/file_pins"
	return $found
} 2>/dev/null

is_dax()
{
	[ $(($(sed -n 's/.*attributes = //p' "$tmp/out") & 0x200000)) != 0 ]
}

# first_block FILE: where its first block is on the device
first_block()
{
	filefrag -v "$1" | awk '$1 == "0:" { sub(/\.\..*/, "", $4); print $4 }'
}

# overlap START BLOCKS FILE: so many of these blocks belong to FILE now
overlap()
{
	filefrag -v "$3" | awk -v s="$1" -v n="$2" '
		$1 ~ /^[0-9]+:$/ {
			a = $4 + 0; b = $5 + 0
			if (a < s) a = s
			if (b > s + n - 1) b = s + n - 1
			if (a <= b) sum += b - a + 1
		}
		END { print sum + 0 }'
}

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

# How many packets the device has sent, into $packets.
count_packets()
{
	read -r packets <"/sys/class/infiniband/$dev/ports/1/hw_counters/sent_pkts"
}

sent_since()
{
	count_packets
	[ $((packets - $1)) -ge "$2" ]
}

# --- perftest ---------------------------------------------------------------------

# Two of them on one machine. The server's buffer is the target, and the file; the
# client writes into it.
write_bw="ib_write_bw -d $dev -x 1 -F"

start_server()	# name, port, what stands before, what behind
{
	show_bg "$1.log" "$3$write_bw -p $2 --mmap=$mnt/f$4"
	wait_for 30 listening "$2" || fail "the server listens"
}

# A pair in the background that runs for a minute; returns when there is traffic.
start_pair()	# name, port
{
	local before

	start_server "server-$1" "$2" 'leaserun ' ' -D 60'
	server=$pid
	count_packets
	before=$packets
	show_bg "client-$1.log" "$write_bw -p $2 -D 60 $addr"
	client=$pid
	wait_for 30 pins "$server" $mnt/f active || fail 'the server pins the file'
	wait_for 30 sent_since "$before" 500 || fail 'the client writes'
}

# --- what we need --------------------------------------------------------------------

step 'setup'
needs ib_write_bw leaserun leased-server leased-client lspins mkfs.xfs filefrag rdma \
	ss xfs_io

say "A file system in memory that is its own storage, and a file of 8 MiB with real" \
    "blocks. fs.lease-break-time is the grace: how long a holder may take to answer."
show "mkfs.xfs -q -f /dev/$pmem"
check 'the file system is made' [ $status = 0 ]
mkdir -p $mnt
show "mount -o dax=always /dev/$pmem $mnt"
check 'it is mounted' [ $status = 0 ]
show "dd if=/dev/zero of=$mnt/f bs=1M count=8 conv=fsync status=none"
check 'the file is written' [ $status = 0 ]
show "xfs_io -r -c 'statx -r' $mnt/f | grep 'attributes ='"
check 'the file is in DAX mode (STATX_ATTR_DAX, 0x200000)' is_dax
yes 'not yours any more' | head -c 8M >"$tmp/pattern"
show "sysctl -w fs.lease-break-time=$grace"
check "the grace is $grace s" [ $status = 0 ]

# --- (a) ------------------------------------------------------------------------------

step '(a) without a lease: refused'
say "ib_write_bw from Debian. Its buffer is our file, but nobody has promised to give" \
    "the blocks back, so the kernel does not let a device have them."
start_server refused 18510 '' ''
show "$write_bw -p 18510 -n 100 $addr >/dev/null"
status_of $pid 20
code=$?
show "grep -i -e couldn -e failed $tmp/refused.log"
check 'the server ended with an error' [ $code != 0 ]
check 'it could not register the file' says refused.log "Couldn't allocate MR"

show "leased-server --no-lease $addr $mnt/f"
check 'the error is EOPNOTSUPP' says out 'ibv_reg_mr.*Operation not supported'

# --- (b) ------------------------------------------------------------------------------

step '(b) under leaserun: bandwidth'
say "The same program, unmodified; leaserun takes the lease on what it maps."
start_server bw 18511 'leaserun --verbose ' ''
show "$write_bw -p 18511 -n 200 $addr"
check 'the client is content' [ $status = 0 ]
check 'it measured a bandwidth' says out '65536 +200 +[0-9.]*[1-9]'
status_of $pid 20
code=$?
show "grep leaserun $tmp/bw.log"
check 'the file was leased' says out "$mnt/f:.*: leased"
check 'the server ended well' [ $code = 0 ]

# --- (c) ------------------------------------------------------------------------------

step '(c) who pins the file?'
say "Two more pairs, for a minute. The client of one is put to sleep once it runs: it" \
    "will wake up later and go on with a key that is stale by then."
start_pair second 18513
second=$server client2=$client
show "kill -STOP $client2"
start_pair first 18512
first=$server client1=$client

show "cat /proc/$first/file_pins /proc/$second/file_pins"
check 'the report names file, state, and memory region' \
	pins "$first" $mnt/f active
check 'of both' pins "$second" $mnt/f active
show "lspins $mnt/f"
check 'lspins knows who they are' [ $status = 0 ]
for pid in $first $second; do
	check "process $pid" says out " $pid ib_write_bw +$pid .* active +rdma:$dev:mr:[0-9]+ +$mnt/f"
done
show "grep LAYOUT /proc/locks"
check 'the leases are among the locks' [ "$(grep -c LAYOUT "$tmp/out")" = 2 ]

# --- (d) ------------------------------------------------------------------------------

step '(d) somebody truncates the file'
# what the two regions lie over: two buffers of 64 KiB from the file's beginning
block=$(first_block $mnt/f)
blocks=32
show "filefrag -v $mnt/f"
say "The device writes to the $blocks blocks from block $block on. perftest knows" \
    "nothing of leases and will not answer; a cooperative holder would (see (e))."
printf '\n$ truncate -s 0 %s/f &\n' $mnt
(
	begin=$(now_ms)
	truncate -s 0 $mnt/f
	code=$?
	echo $(($(now_ms) - begin)) >"$tmp/truncate.ms"
	exit $code
) >"$tmp/truncate.log" 2>&1 </dev/null &
truncate=$!
started+=("$truncate")
wait_for 2 pins "$first" $mnt/f recall || fail 'the recall shows in the report'
show "cat /proc/$first/file_pins"
check 'the regions are recalled, the traffic goes on' pins "$second" $mnt/f recall
check 'truncate waits' [ ! -e "$tmp/truncate.ms" ]
status_of $truncate $((grace + 20))
code=$?
ms=$(cat "$tmp/truncate.ms")
printf '\n[ truncate returned %s after %s ms ]\n' $code "$ms"
check 'truncate returned 0' [ $code = 0 ]
check 'not before the grace was over' [ "$ms" -ge $((grace * 1000 - 100)) ]
check 'and soon after' [ "$ms" -le $((grace * 1000 + 5000)) ]

say "The blocks are free. The next file shall have them:"
for i in 1 2 3 4 5 6 7 8; do
	# sync: XFS does not hand out a freed block before the log has the news
	show "sync -f $mnt; cp $tmp/pattern $mnt/g$i; filefrag -v $mnt/g$i"
	check 'the new file is written' [ $status = 0 ]
	reused=$(overlap "$block" $blocks "$mnt/g$i")
	[ "$reused" = 0 ] || break
done
check "$reused of the $blocks blocks belong to $mnt/g$i now" [ "$reused" -gt 0 ]

status_of $client1 30
code=$?
show "grep -i -e error -e failed $tmp/client-first.log"
check 'the client that wrote all the time ended with an error' [ $code != 0 ]
check 'which is IBV_WC_REM_ACCESS_ERR (10)' says client-first.log 'Failed status 10'

show "cat /proc/$second/file_pins"
check 'the region of the second server is revoked, the process lives' \
	says out "rw layout revoked rdma:$dev:mr:"

say "And the client that slept over it writes on, into blocks of another file:"
show "kill -CONT $client2"
status_of $client2 30
code=$?
show "grep -i -e error -e failed $tmp/client-second.log"
check 'it ended with the same error' says client-second.log 'Failed status 10'
check 'and with a status that says so' [ $code != 0 ]

show "cmp $tmp/pattern $mnt/g$i && echo the same"
check "$mnt/g$i is clean" [ $status = 0 ]
show "sync -f $mnt; cat $mnt/f | wc -c"
check 'the old file is empty' says out '^0$'
for pid in $first $second; do
	wait_for 10 gone "$pid" || kill "$pid"
	wait "$pid"
	code=$?
	printf '\n[ server %s ended with status %s ]\n' "$pid" $code
	check 'nobody killed it' [ $code -lt 128 ]
done

# --- (e) ------------------------------------------------------------------------------

step '(e) a holder that cooperates'
say "leased-server lends windows of a leased file to clients. It answers a recall: asks" \
    "them to pause, deregisters, waits until the other side is done, registers what is" \
    "left and goes on, over the same connections."
show "dd if=/dev/zero of=$mnt/ring bs=1M count=16 conv=fsync status=none"
show_bg server.log "leased-server --truncate=1M $addr $mnt/ring"
server=$pid
wait_for 30 says server.log 'generation 1: registered' || fail 'the server serves'
show_bg client.log "leased-client --generations=3 $addr"
client=$pid
wait_for 30 says client.log 'generation 1:' || fail 'the client has a window'
show "cat /proc/$server/file_pins"
check 'the report names it' pins "$server" $mnt/ring active
sleep 0.3

say "Another process wants the upper 12 MiB:"
begin=$(now_ms)
show "truncate -s 4M $mnt/ring"
ms=$(($(now_ms) - begin))
printf '[ after %s ms ]\n' $ms
check 'truncate returned 0' [ $status = 0 ]
check 'well within the grace, nothing was taken by force' \
	[ $ms -lt $((grace * 1000 - 500)) ]
check 'what is left is registered again' \
	wait_for 20 says server.log 'generation 2: registered 4194304'
wait_for 20 says client.log 'generation 2:' || fail 'the client has the new window'
sleep 0.3

say "The server cuts the file itself, on SIGUSR1:"
show "kill -USR1 $server"
check 'it deregistered, cut the file and registered 1 MiB' \
	wait_for 20 says server.log 'generation 3: registered 1048576'
status_of $client 60
code=$?
show "kill $server"
status_of $server 20
scode=$?
tell server.log 'the server'
tell client.log 'the client'
check 'the client has seen three generations and no error' [ $code = 0 ]
check 'over one connection' [ "$(grep -c connected "$tmp/server.log")" = 1 ]
check 'the server answered a recall' says server.log 'generation 1: recalled'
check 'the server ended well' [ $scode = 0 ]
show "stat -c '%n: %s bytes' $mnt/ring; head -n 1 $mnt/ring"
check 'what the client sent is in the file' says out 'leased-client: generation 3'

current='the end'
show "umount $mnt"
check 'nothing holds the file system' [ $status = 0 ]

printf '\ndemo: PASSED in %s s: refused without a lease, leased traffic, reported, ' $SECONDS
printf 'blocks taken back in bounded time and clean, and given back by consent\n'
