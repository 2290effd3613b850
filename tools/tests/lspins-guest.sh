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

cd "$(dirname -- "$0")" || exit 2
PATH=${LEASE_BUILD:?the directory with lspins and leased-server}:$PATH
export PATH LC_ALL=C.UTF-8
tmp=$(mktemp -d) || exit 2
mnt=$tmp/mnt
n=0 passed=0 failed=0 server='' holder=''

result()
{
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok $n $name"
	else
		failed=$((failed + 1))
		sed 's/^/# /' "$tmp/out" "$tmp/err"
		echo "not ok $n $name"
	fi
}

clean_up()
{
	[ -z "$server" ] || kill -KILL "$server"
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

# until COMMAND...: waits, not for ever
until_true()
{
	for _ in $(seq 600); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	return 1
}

# --- a process that holds pins ----------------------------------------------------------

[ -e /proc/self/file_pins ] || bail_out 'this kernel has no leased pins'
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

name='no pins: exit status 1, and nothing said'
run lspins
shows 1 0

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

# --- looking ----------------------------------------------------------------------------

name='the pin, with its process'
run lspins -rn -o PID,COMMAND,PIDS,SIZE,MODE,LEASE,STATE,PATH
[ "$(cat "$tmp/out")" = "$server leased-server $server 8M rw layout active $(
	echo "$file" | sed 's/ /\\x20/')" ]
result $?

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

name='another user sees nothing'
run as 65533 "$tmp/lspins" -n
shows 1 0

name='the user whose process it is sees it'
run as 65534 "$tmp/lspins" -rn -o PID,PIDS
[ "$(cat "$tmp/out")" = "$server $server" ]
result $?

name='metrics'
run lspins --prometheus
awk -f promlint.awk "$tmp/out" >>"$tmp/err" &&
	grep -q "^lspins_pins{.*mountpoint=\"$mnt\",user=\"rdma:rxe0\".*} 1\$" "$tmp/out"
result $?

# --- the number is the one that rdma(8) knows ---------------------------------------------

name='USER is a region of rdma(8)'
mr=$(lspins -rno USER)
run rdma resource show mr mrn "${mr##*:}" -dd
grep -q "pid $server " "$tmp/out"
result $?

# --- a recall, and the end of it ----------------------------------------------------------

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

name='revoke: needs privilege'
run as 65534 "$tmp/lspins" --revoke --yes -p "$server"
[ "$status" -eq 2 ] && [ -s "$tmp/err" ] && lspins -s recall "$file" >/dev/null
result $?

name='revoke: comes back when it is done'
run lspins --revoke --yes -s recall "$file"
[ "$status" -eq 0 ] && grep -q ': revoked' "$tmp/out"
result $?

name='revoke: the operation that waited goes on, and succeeds'
wait "$truncate"
result $?

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

name='who is revoked out of the blue is told, and registers again'
: >"$tmp/out"
lspins -rno ID -s active "$file" >"$tmp/id"
run lspins --revoke --yes "$file"
[ "$status" -eq 0 ] && until_true grep -q ': revoked' "$tmp/server.log" &&
	until_true registered && [ "$(lspins -rno ID -s active "$file")" != "$(cat "$tmp/id")" ]
result $?

# --- the end -----------------------------------------------------------------------------

name='the process is gone, and its pins'
kill -KILL "$server"
wait "$server" 2>/dev/null
server=''
gone() { lspins; [ $? -eq 1 ]; }
until_true gone
result $?

echo "1..$n"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
