#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tests of lspins on a kernel with leased pins, as root, with a /dev/pmem that can do
# DAX and is not in use (its content is lost), and the RDMA device rxe0. Under
# "make check"'s guest:
#
#   tools/harness/guest.sh --kernel ... -- env LEASE_BUILD=build/tools \
#	sh tools/tests/lspins-guest.sh
#
# leased-server is the process in the way. It is stopped when it should answer, so
# that what has been asked for stays so for as long as it takes to look.
#
# Which rules of the contract a test checks stands above its name, for
# tools/harness/matrix.sh. Where nothing stands:
# Rules of the others: R5

cd "$(dirname -- "$0")" || exit 2
PATH=${LEASE_BUILD:?the directory with lspins and leased-server}:$PATH
export PATH LC_ALL=C.UTF-8
# shellcheck source=tools/tests/lib.sh
. ./lib.sh
mnt=$tmp/mnt
server='' holder='' sharer=''

result()
{
	if [ "$1" -eq 0 ]; then ok; else not_ok "$(cat "$tmp/out" "$tmp/err")"; fi
}

clean_up()
{
	for node in /dev/infiniband/renamed*; do
		[ ! -e "$node" ] || mv "$node" "/dev/infiniband/uverbs${node##*renamed}"
	done
	[ -z "$server" ] || kill -KILL "$server"
	[ -z "$sharer" ] || kill -KILL "$sharer"
	[ -z "$holder" ] || kill -KILL "$holder"
	wait
	umount "$mnt"
	rm -rf "$tmp"
} 2>/dev/null
trap clean_up EXIT
trap 'exit 2' HUP INT TERM

bail_out()
{
	echo "Bail out! $1"
	cat "$tmp"/*.log 2>/dev/null
	exit 2
}

run()
{
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# shows STATUS [PINS]: exit status, and number of lines
shows()
{
	[ "$status" -eq "$1" ] &&
		{ [ $# -eq 1 ] || [ "$(wc -l <"$tmp/out")" -eq "$2" ]; }
	result $?
}

# until_true COMMAND...: waits, not for ever
until_true()
{
	for _ in $(seq 600); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	return 1
}

# --- a process that holds pins ----------------------------------------------------------

[ -e /proc/file_pins ] || bail_out 'this kernel has no report of leased pins'
pmem=$(grep -l -x 1 /sys/block/pmem*/queue/dax | head -n 1 | cut -d / -f 4)
[ -b "/dev/$pmem" ] || bail_out 'no /dev/pmem that can do DAX'
mkfs.xfs -q -f "/dev/$pmem" || bail_out 'mkfs.xfs'
mkdir "$mnt" || bail_out mkdir
mount -o dax=always "/dev/$pmem" "$mnt" || bail_out mount
# where a user without rights can run them
cp "$(command -v lspins)" "$(command -v leased-server)" "$tmp" || bail_out cp
chmod -R a+rX "$tmp"
file="$mnt/the ring"
dd if=/dev/zero of="$file" bs=1M count=8 conv=fsync status=none || bail_out dd
chown 65534 "$file"
echo x >"$mnt/other"
# nobody waits for it
sysctl -q -w fs.lease-break-time=1000

echo 'KTAP version 1'
echo '# tests: lspins-guest'

# Rules: R5
name='no pins: exit status 1, and nothing said'
run lspins
shows 1 0

# Rules: R2
name='no pins: the report of all is a line of headings'
run cat /proc/file_pins
[ "$(cat "$tmp/out")" = \
  'ID PID DEV INODE RANGE PAGES MODE LEASE STATE USER PATH' ]
result $?

as()
{
	user=$1
	shift
	setpriv "--reuid=$user" "--regid=$user" --clear-groups "$@"
}

# exec: $! shall be the server itself
(
	exec prlimit --memlock=unlimited setpriv --reuid=65534 --regid=65534 \
		--clear-groups "$tmp/leased-server" 192.0.2.1 "$file"
) >"$tmp/server.log" 2>&1 &
server=$!
until_true grep -q registered "$tmp/server.log" || bail_out 'leased-server'
# has the file open, and nothing else to do with it
tail -f "$file" >/dev/null 2>&1 &
holder=$!

# vmstat NAME: what the kernel has counted
vmstat()
{
	awk -v name="leased_pin_$1" '$1 == name { print $2 }' /proc/vmstat
}

# --- the kernel's own words -------------------------------------------------------------

# without its PID, so that it can be compared
all_pins()
{
	awk '{ $2 = ""; sub("  ", " "); print }' /proc/file_pins | sort
}

# Rules: R2 R1
name='the report of all is that of each process, and a PID'
cat /proc/[0-9]*/file_pins 2>/dev/null | sort -u >"$tmp/each"
all_pins >"$tmp/all"
run cmp "$tmp/all" "$tmp/each"
[ "$status" -eq 0 ] && [ "$(wc -l <"$tmp/all")" -eq 2 ] &&
	[ "$(awk 'NR == 2 { print $2 }' /proc/file_pins)" = "$server" ]
result $?

# Rules: R2
name='the report of all needs CAP_SYS_ADMIN'
run setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin cat /proc/file_pins
[ "$status" -ne 0 ] && [ ! -s "$tmp/out" ] &&
	grep -q 'Operation not permitted' "$tmp/err"
result $?

# Rules: R2
name='that of a user namespace is not enough'
if unshare -Ur true 2>/dev/null; then
	run unshare -Ur cat /proc/file_pins
	[ "$status" -ne 0 ] && [ ! -s "$tmp/out" ]
	result $?
else
	skip 'no user namespaces'
fi

# Rules: R2
name='in a pid namespace that does not see the process, PID is 0'
run unshare --pid --fork --mount-proc cat /proc/file_pins
[ "$(awk 'NR == 2 { print $2 }' "$tmp/out")" = 0 ]
result $?

# Rules: R2 R5
name='there, with the /proc of here, lspins goes by the numbers of that'
run unshare --pid --fork lspins -rn -o PID,PIDS,COMMAND
[ "$(cat "$tmp/out")" = "0 $server $(cat "/proc/$server/comm")" ]
result $?

# Rules: R1
name='another user may not read that of the process'
run as 65533 cat "/proc/$server/file_pins"
[ "$status" -ne 0 ] && [ ! -s "$tmp/out" ]
result $?

# Rules: R1
name='the descriptor of the context tells in fdinfo'
id=$(awk 'NR == 2 { print $1 }' /proc/file_pins)
run grep -lsE "^leased-pin:.$id 2048 rw active rdma:rxe0:mr:[0-9]+\$" \
	/proc/[0-9]*/fdinfo/*
uverbs=$(sed "s,^/proc/$server/fdinfo/,," "$tmp/out")
readlink "/proc/$server/fd/$uverbs" 2>"$tmp/err" | grep -q /uverbs
result $?

# Rules: L8
name='the lease is among the locks, and in fdinfo'
run grep -h LAYOUT /proc/locks "/proc/$server"/fdinfo/*
[ "$(grep -cE ": LAYOUT +ACTIVE +READ $server [0-9a-f:]+:$(stat -c %i "$file") " \
	"$tmp/out")" -eq 2 ]
result $?

# Rules: R4
name='lease and pin have been counted'
echo "grant $(vmstat grant) pin $(vmstat pin) unpin $(vmstat unpin)" >"$tmp/out"
[ "$(vmstat grant)" -ge 1 ] && [ $(($(vmstat pin) - $(vmstat unpin))) -eq 1 ]
result $?

# --- looking ----------------------------------------------------------------------------

# Rules: R5
name='the pin, with its process'
run lspins -rn -o PID,COMMAND,PIDS,SIZE,MODE,LEASE,STATE,PATH
[ "$(cat "$tmp/out")" = "$server leased-server $server 8M rw layout active $(
	echo "$file" | sed 's/ /\\x20/')" ]
result $?

# Rules: R5
name='as JSON, for a parser'
run lspins -J --output-all
if have jq; then
	jq -e --arg file "$file" --argjson pid "$server" '(.pins | length) == 1 and
		(.pins[0] | .pid == $pid and .pids == [$pid] and .size == 8388608 and
		.start == 0 and .end == 8388607 and .pages == 2048 and
		.command == "leased-server" and .path == $file and
		.state == "active" and .mode == "rw" and .lease == "layout" and
		(.user | test("^rdma:rxe0:mr:[0-9]+$")))' "$tmp/out" >>"$tmp/err" 2>&1
	result $?
else
	skip 'no jq'
fi

# Rules: R5
name='what is pinned by nobody is none, what does not exist is an error'
lspins -d "${pmem%?}9" >"$tmp/out" 2>"$tmp/err"
[ $? -eq 2 ] && lspins -d nosuch0 >>"$tmp/out" 2>>"$tmp/err"
[ $? -eq 2 ] && [ ! -s "$tmp/out" ] && grep -q 'no device nosuch0' "$tmp/err"
result $?

# Whoever may not look at the process: the report of all tells, that is read first.
# Rules: R2 R5
name='the report of all is preferred'
run setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace lspins -rn -o PID,PIDS
[ "$(cat "$tmp/out")" = "$server $server" ]
result $?

# Rules: R1 R5
name='without it, the processes are asked'
run setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin lspins -rn -o PID,PIDS
[ "$(cat "$tmp/out")" = "$server $server" ]
result $?

# Gets the context by pidfd_getfd(2), and does nothing with it.
# shellcheck disable=SC2016 # of perl
if have perl; then
	perl -e '$p = syscall(434, $ARGV[0] + 0, 0); $p >= 0 or die "$!";
		$f = syscall(438, $p, $ARGV[1] + 0, 0); $f >= 0 or die "$!";
		$0 = "sharer"; $| = 1; print "shared\n"; sleep(600)' \
		"$server" "$uverbs" >"$tmp/sharer.log" 2>&1 &
	sharer=$!
	until_true grep -q shared "$tmp/sharer.log" || bail_out 'pidfd_getfd'
fi
both="$server,$sharer"
[ -z "$sharer" ] || [ "$server" -lt "$sharer" ] || both="$sharer,$server"

# Rules: R1 R5
name='every process that shares the context'
if [ -n "$sharer" ]; then
	run lspins -rn -o PID,PIDS
	[ "$(cat "$tmp/out")" = "$server $both" ] &&
		[ "$(wc -l <"/proc/$sharer/file_pins")" -eq 2 ] &&
		grep -qs "^leased-pin:.$id " "/proc/$sharer"/fdinfo/*
	result $?
else
	skip 'no perl'
fi

# Rules: R5
name='whatever name its device node has'
if [ -n "$sharer" ]; then
	node=$(readlink "/proc/$server/fd/$uverbs")
	mv "$node" "/dev/infiniband/renamed${node##*uverbs}"
	run lspins -rn -o PIDS
	mv "/dev/infiniband/renamed${node##*uverbs}" "$node"
	[ "$(cat "$tmp/out")" = "$both" ]
	result $?
	kill "$sharer"
	wait "$sharer" 2>/dev/null
	sharer=''
else
	skip 'no perl'
fi

# Rules: R5
name='by file'
run lspins -n "$file"
shows 0 1
name='by another file'
run lspins -n "$mnt/other"
shows 1 0
name='by mount'
run lspins -n -m "$mnt"
shows 0 1
name='by another mount'
run lspins -n -m /
shows 1 0
name='by block device'
run lspins -n -d "$pmem"
shows 0 1
name='by RDMA device'
run lspins -n -d rxe0
shows 0 1
name='by process'
run lspins -n -p "$server"
shows 0 1
name='by a process that has only the file open'
run lspins -n -p "$holder"
shows 1 0

# Rules: R1 R5
name='another user sees nothing'
run as 65533 "$tmp/lspins" -n
shows 1 0

# Rules: R1 R5
name='the user whose process it is sees it'
run as 65534 "$tmp/lspins" -rn -o PID,PIDS
[ "$(cat "$tmp/out")" = "$server $server" ]
result $?

name='again and again'
# shellcheck disable=SC2016 # of the inner shell
run timeout 20 sh -c 'lspins --watch=0.2 -rn -o PID | head -n 3'
[ "$(sort -u "$tmp/out")" = "$server" ] && [ "$(wc -l <"$tmp/out")" -eq 3 ]
result $?

# Rules: R4 R5
name='metrics'
run lspins --prometheus
awk -f promlint.awk "$tmp/out" >>"$tmp/err" &&
	[ "$(grep -c '^lspins_events_total{' "$tmp/out")" -eq 8 ] &&
	grep -q '^lspins_complete 1$' "$tmp/out" &&
	grep -qx 'lspins_processes 1' "$tmp/out" &&
	grep -q "^lspins_pins{.*mountpoint=\"$mnt\",user=\"rdma:rxe0\".*} 1\$" "$tmp/out"
result $?

# --- the number is the one that rdma(8) knows ---------------------------------------------

# Rules: R3 R5
name='USER is a region of rdma(8)'
mr=$(lspins -rno USER)
run rdma resource show mr dev rxe0 mrn "${mr##*:}" -dd
grep -q "mrn ${mr##*:} .*pid $server " "$tmp/out" &&
	grep -qE "revoked 0 .*pins $id( |\$)" "$tmp/out"
result $?

# --- an operation that fails ----------------------------------------------------------------

sysctl -q -w fs.lease-break-time=1 fs.layout-break-enforce=0
kill -STOP "$server"
refused=$(vmstat refuse)
# Rules: B6
name='not enforced: the operation fails, with ETXTBSY'
run truncate -s 1M "$file"
[ "$status" -ne 0 ] && grep -q 'Text file busy' "$tmp/err" &&
	[ "$(stat -c %s "$file")" -eq 8388608 ]
result $?

# Rules: B5 B6
name='the log names file, who failed, holder and reason'
run sh -c 'dmesg | grep "fails with ETXTBSY" | tail -n 1'
grep -qE "$pmem: inode $(stat -c %i "$file"): truncate\[[0-9]+\] fails with ETXTBSY for blocks pinned by $mr of leased-server\[$server\]: fs.layout-break-enforce is 0" \
	"$tmp/out"
result $?

# Rules: B5 R5
name='and the next step, which shows the holder'
# a name with a blank is no part of a command
next=$(sed -n 's/.* or lspins(8), file "\(.*\)"$/\1/p' "$tmp/out")
run lspins -rn -o PID,STATE "$next"
[ "$(cat "$tmp/out")" = "$server recall" ]
result $?

# Rules: R4
name='the refusal has been counted'
echo "$refused then, $(vmstat refuse) now" >"$tmp/out"
[ "$(vmstat refuse)" -eq $((refused + 1)) ]
result $?

name='a person is told what can be done'
if have script; then
	run script -qec "stty cols 200; lspins -s recall" /dev/null
	[ "$status" -eq 0 ] && grep -q 'layout-break-enforce is 0.*--revoke' "$tmp/out"
	result $?
else
	skip 'no script(1)'
fi

# He answers; all begins anew.
sysctl -q -w fs.lease-break-time=1000 fs.layout-break-enforce=1
kill -CONT "$server"
again() { lspins -s active "$file"; }
until_true again || bail_out 'leased-server does not register again'
id=$(lspins -rno ID -s active "$file")
mr=$(lspins -rno USER -s active "$file")

# --- a recall, and the end of it ----------------------------------------------------------

# sets what an open report must not hold up
exec 5</proc/file_pins
read -r _ <&5

# Rules: R1 R2
name='recall: the state shows'
kill -STOP "$server"
truncate -s 1M "$file" 2>"$tmp/truncate.log" &
truncate=$!
until_true lspins -s recall "$file"
run lspins -rn -s recall -o STATE,PIDS "$file"
[ "$(cat "$tmp/out")" = "recall $server" ]
result $?

name='revoke: a dry run changes nothing'
run lspins --revoke -s recall "$file"
[ "$status" -eq 0 ] && grep -q 'would be revoked' "$tmp/out" &&
	lspins -s recall "$file" >/dev/null
result $?

# Rules: L8
name='recall: the lease is breaking'
run grep -E "LAYOUT +BREAKING .* $server " /proc/locks
[ "$status" -eq 0 ]
result $?

# Rules: V5
name='revoke: needs privilege'
run as 65534 "$tmp/lspins" --revoke --yes -p "$server"
[ "$status" -eq 2 ] && [ -s "$tmp/err" ] && lspins -s recall "$file" >/dev/null
result $?

name='revoke: asks on a terminal, and takes a no'
if have script; then
	echo n | script -qec "lspins --revoke -s recall" /dev/null >"$tmp/out" 2>"$tmp/err"
	[ $? -eq 1 ] && grep -q 'Revoke? \[y/N\]' "$tmp/out" &&
		lspins -s recall "$file" >/dev/null
	result $?
else
	skip 'no script(1)'
fi

unpinned=$(vmstat unpin) revoked=$(vmstat revoke)
tracing=/sys/kernel/tracing
for event in grant pin recall revoke kill refuse unpin freeze; do
	[ -d $tracing/events/leased_pin/leased_pin_$event ] || echo $event
done >"$tmp/missing" 2>/dev/null
echo 1 2>/dev/null >$tracing/events/leased_pin/enable

# Rules: V5 V1 R5
name='revoke: comes back when it is done'
run lspins --revoke --yes -s recall "$file"
[ "$status" -eq 0 ] && grep -q "^rxe0 mr ${mr##*:} (pin $id): revoked" "$tmp/out" &&
	[ "$(vmstat unpin)" -eq $((unpinned + 1)) ]
result $?

# Rules: R4
name='revoke: has been counted, and traced'
# The worker counts when it has let go of the pages, which is what lspins waits for.
counted() { [ "$(vmstat revoke)" -eq $((revoked + 1)) ]; }
until_true counted
cp $tracing/trace "$tmp/out" 2>"$tmp/err"
[ ! -s "$tmp/missing" ] && counted &&
	grep -q "leased_pin_revoke: .* id $id .*pid $server rw user $mr error 0" "$tmp/out" &&
	grep -q "leased_pin_unpin: .* id $id " "$tmp/out"
result $?
echo 0 2>/dev/null >$tracing/events/leased_pin/enable

# Rules: V5 B3
name='revoke: the operation that waited goes on, and succeeds'
wait "$truncate"
result $?

# Rules: R3 V5
name='revoked: rdma(8) tells'
run rdma resource show mr dev rxe0 mrn "${mr##*:}" -dd
grep -q 'revoked 1' "$tmp/out"
result $?

# Rules: R2
name='a report that is being read has held up none of this'
cat <&5 >"$tmp/out"
[ "$(wc -l <"$tmp/out")" -ge 1 ]
result $?
exec 5<&-

# Rules: R1 R2
name='revoked: the line stays, and holds nothing'
run lspins -rn -o STATE,PATH "$file"
[ "$(cat "$tmp/out")" = 'revoked -' ]
result $?

name='revoked: not among those held'
run lspins -m "$mnt" -s held
shows 1 0

name='revoke: nothing left to revoke'
run lspins --revoke --yes "$file"
[ "$status" -eq 1 ] && grep -q 'nothing to revoke' "$tmp/out"
result $?

# --- and the application ------------------------------------------------------------------

name='who answers late registers again'
kill -CONT "$server"
registered() { lspins -s active "$file" >/dev/null; }
until_true registered
result $?

# Rules: V4 V5
name='who is revoked out of the blue is told, and registers again'
: >"$tmp/out"
lspins -rno ID -s active "$file" >"$tmp/id"
run lspins --revoke --yes "$file"
[ "$status" -eq 0 ] && until_true grep -q ': revoked' "$tmp/server.log" &&
	until_true registered && [ "$(lspins -rno ID -s active "$file")" != "$(cat "$tmp/id")" ]
result $?

# --- the end -----------------------------------------------------------------------------

# Rules: B12 R5
name='what keeps the file system from being unmounted'
run umount "$mnt"
[ "$status" -ne 0 ] && lspins -rn -m "$mnt" -s held -o PID >"$tmp/out" &&
	[ "$(cat "$tmp/out")" = "$server" ]
result $?

# Rules: B12 R5
name='detached, and still found by its device'
umount -l "$mnt"
run lspins -rn -d "$pmem" -o PID,STATE,PATH
[ "$(cat "$tmp/out")" = "$server active /the\\x20ring" ]
result $?


# Rules: L6 R2
name='the process is gone, and its pins'
kill -KILL "$server"
wait "$server" 2>/dev/null
server=''
gone() { lspins; [ $? -eq 1 ]; }
until_true gone
result $?

# Rules: R4
name='all that was pinned has been unpinned'
echo "pin $(vmstat pin) unpin $(vmstat unpin)" >"$tmp/out"
[ "$(vmstat pin)" -eq "$(vmstat unpin)" ]
result $?

finish
