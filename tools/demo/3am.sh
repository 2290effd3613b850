#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# 3am.sh - the file system is full and truncate says "Text file busy": what an
# administrator does who has never heard of pins
#
# Runs as root in the guest ("make 3am" brings it there), on the first /dev/pmem that
# can do DAX, with the RDMA device rxe0. All that the administrator types is either
# what anybody types (df, ls, truncate, dmesg), or what the system has just told: the
# script takes it from there. The first thing that is not as promised ends it with
# a diagnosis and status 1.
#
# LEASE_BUILD: where "make -C tools O=..." put the programs.

[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@"
set -u
export LC_ALL=C.UTF-8

: "${LEASE_BUILD:?the directory with lspins and leased-server}"
PATH=$LEASE_BUILD:$PATH
dev=rxe0
grace=5			# seconds; 45 if nobody sets it
demo=3am
# shellcheck source=tools/demo/lib.sh
. "$(dirname -- "$0")/lib.sh"

# --- looking --------------------------------------------------------------------------

# The same as show, on a terminal: for programs that tell a person more.
show_tty()
{
	printf '\n$ %s\n' "$1"
	script -qec "stty cols 150; $1" "$tmp/typescript" </dev/null >"$tmp/tty" 2>&1
	status=$?
	tr -d '\r' <"$tmp/tty" >"$tmp/out"
	[ ! -s "$tmp/out" ] || printf '%s\n' "$(<"$tmp/out")"
}

# Free MiB, in $free.
free_space()
{
	free=$(df --output=avail -BM $mnt | tail -n 1 | tr -dc 0-9)
}

frees()
{
	free_space
	[ "$free" -ge "$1" ]
}

# in_state STATE FILE: all of its pins
in_state()
{
	[ "$(lspins -rn -o STATE "$2" | sort -u)" = "$1" ]
}

# vmstat NAME: what the kernel has counted since boot
vmstat()
{
	awk -v name="leased_pin_$1" '$1 == name { print $2 }' /proc/vmstat
}

refused_lines()
{
	dmesg | grep -c 'fails with ETXTBSY'
}

since()
{
	ms=$(($(now_ms) - $1))
	printf '[ after %s ms ]\n' $ms
}

now_ms()
{
	echo $((${EPOCHREALTIME/./} / 1000))
}

# start_store FILE PORT: a process that has registered the file, and then hangs; $pid
start_store()
{
	leased-server -p "$2" "$addr" "$1" >"$tmp/store-$2.log" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
	disown "$pid"	# the shell has nothing to say if it is killed
	wait_for 60 grep -q registered "$tmp/store-$2.log" || fail 'the store serves'
	kill -STOP $pid
}

# --- how it came to this ----------------------------------------------------------------

step 'a full file system'
needs leased-server lspins mkfs.ext4 rdma script
{
	mkfs.ext4 -q -F -b 4096 -m 0 "/dev/$pmem" 96M && mkdir -p $mnt &&
		mount -o dax=always "/dev/$pmem" $mnt &&
		dd if=/dev/zero of=$mnt/ring bs=1M count=24 conv=fsync status=none &&
		dd if=/dev/zero of=$mnt/old-ring bs=1M count=24 conv=fsync status=none
} >"$tmp/out" 2>&1 || fail 'a small file system is made'
sysctl -q -w fs.lease-break-time=$grace fs.layout-break-enforce=0 || fail 'sysctl'
refuse=$(vmstat refuse) kill=$(vmstat kill) lines=$(refused_lines)
start_store $mnt/ring 7471
store=$pid
start_store $mnt/old-ring 7472
old_store=$pid
dd if=/dev/zero of=$mnt/data bs=1M status=none 2>"$tmp/out"

say '03:00. The application cannot write any more. Two processes have given files of' \
    'this file system to an RDMA device, and hang; nobody who is awake knows that.' \
    "fs.layout-break-enforce is 0 here, and the grace $grace s."
show "cp /etc/services $mnt/report"
check 'nothing can be written' [ $status != 0 ]
check 'the error says why' says out 'No space left on device'
show "df -h $mnt; ls -lhS $mnt"
check 'it is full' [ "$(df --output=avail $mnt | tail -n 1)" -lt 100 ]
rm -f $mnt/report

step 'Text file busy'
say 'The ring is only a cache, and 24 MiB.'
begin=$(now_ms)
show "truncate -s 0 $mnt/ring"
since "$begin"
check 'truncate failed' [ $status != 0 ]
check 'with "Text file busy"' says out 'Text file busy'
check "after the grace, not for ever" [ $ms -lt $((grace * 1000 + 5000)) ]
check 'nothing has happened to the file' [ "$(stat -c %s $mnt/ring)" = $((24 << 20)) ]

say '"Text file" means nothing here. So: the log.'
show 'dmesg | tail -n 1'
check 'it names the program that failed' says out 'truncate\[[0-9]+\] fails with ETXTBSY'
check 'and the memory region, and its process' \
	says out "pinned by rdma:$dev:mr:[0-9]+ of leased-server\[$store\]"
check 'and why nobody took it' says out 'fs.layout-break-enforce is 0'
check 'and what to do next' says out "run: lspins $mnt/ring\$"

step 'who is it?'
say 'What the log says, word by word:'
next=$(sed -n 's/.* run: //p' "$tmp/out")
show_tty "$next"
check 'it is there (exit status 0)' [ $status = 0 ]
check 'the process, its name, the state, the region and the file' says out \
	" $store leased-server +$store +24M rw +layout +recall +rdma:$dev:mr:[0-9]+ +$mnt/ring"
check 'and it tells what can be done' says out 'lspins: recall: .* --revoke'

mr=$(lspins -rn -o USER $mnt/ring)
show "rdma resource show mr dev $dev mrn ${mr##*:} -dd"
check 'rdma(8) knows the same region of the same process' \
	says out "mrn ${mr##*:} .*pid $store "
id=$(lspins -rn -o ID $mnt/ring)
check 'with the number of the pin, and not revoked' says out "revoked 0 .*pins $id( |\$)"

step 'what if it goes?'
say 'Only a look: there is no terminal, so --revoke does nothing yet.'
show "lspins --revoke $mnt/ring"
check 'it tells what it would do (exit status 0)' [ $status = 0 ]
check 'to this region' says out "$dev mr ${mr##*:} \(pin $id\): would be revoked"
check 'and nothing has been done' in_state recall $mnt/ring

step 'take it'
free_space
before=$free
show "lspins --revoke --yes $mnt/ring"
check 'it is done (exit status 0)' [ $status = 0 ]
check 'the device has let go' says out "mr ${mr##*:} \(pin $id\): revoked"
check 'the process lives' kill -0 "$store"
begin=$(now_ms)
show "truncate -s 0 $mnt/ring"
since "$begin"
check 'truncate works' [ $status = 0 ]
check 'at once' [ $ms -lt $((grace * 1000)) ]
show "df -h $mnt"
check 'the space is there' frees $((before + 24))
show "cp /etc/services $mnt/report"
check 'and can be used' [ $status = 0 ]
show "lspins -m $mnt -s held -o ID,PID,STATE,PATH"
check 'the other one has not been touched' \
	[ "$(lspins -rn -m $mnt -s held -o PID,STATE)" = "$old_store active" ]

step 'the same with the default'
say 'fs.layout-break-enforce is 1 unless somebody sets it. Then nobody has to be called.'
show 'sysctl fs.layout-break-enforce=1'
check 'it is set' [ $status = 0 ]
begin=$(now_ms)
show "truncate -s 0 $mnt/old-ring"
since "$begin"
check 'truncate works, though the process hangs' [ $status = 0 ]
check 'after the grace' [ $ms -ge $((grace * 1000 - 100)) ]
check 'and no later' [ $ms -lt $((grace * 1000 + 5000)) ]
check 'the process lives' kill -0 "$old_store"
show "df -h $mnt"
check 'the space is there' frees $((before + 48))

step 'rm, and no space'
say 'A file that is open keeps its blocks when it is removed, pinned or not.'
dd if=/dev/zero of=$mnt/third bs=1M count=24 conv=fsync status=none ||
	fail 'a third file is written'
start_store $mnt/third 7473
third=$pid
free_space
before=$free
show "rm $mnt/third; sync -f $mnt; df -h $mnt"
check 'rm works' [ $status = 0 ]
free_space
check 'the space is not there' [ "$free" -lt $((before + 20)) ]
show_tty "lspins -m $mnt -s held"
check 'lspins knows a removed file too, and who has it' says out \
	" $third leased-server .*$mnt/third \(deleted\)"
say 'Whoever has it open has to go: that is not about pins.'
show "kill -KILL $third"
check 'killed' [ $status = 0 ]
check 'nothing is pinned any more' wait_for 20 in_state '' "$mnt/third (deleted)"
check 'the space is there' wait_for 20 frees $((before + 24))
show "df -h $mnt"

step 'afterwards'
say 'What happened tonight, for the morning:'
show "grep leased_pin_ /proc/vmstat"
check 'one operation was refused' says out "leased_pin_refuse $((refuse + 1))"
check 'nobody was killed by the kernel' says out "leased_pin_kill $kill"
check 'one line of the log tells of it' [ "$(refused_lines)" = $((lines + 1)) ]
kill -CONT "$store" "$old_store"
kill "$store" "$old_store"
stores_gone() { gone "$store" && gone "$old_store"; }
wait_for 20 stores_gone || fail 'the stores end when they are told to'
show "umount $mnt"
check 'nothing holds the file system' [ $status = 0 ]

printf '\n3am: PASSED in %s s: from "Text file busy" to free space with what the system ' $SECONDS
printf 'itself tells\n'
