# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the demonstrations share: commands are shown with their output, each claim is
# checked, and the first that does not hold ends it all with a diagnosis and status 1.
# Sourced by a script that has set $demo, its name, and $dev, the RDMA device. Makes
# $tmp, and unmounts $mnt at the end.

: "${demo:?the name of the demonstration}" "${dev:?the RDMA device}"
mnt=/mnt/p
tmp=$(mktemp -d "/tmp/$demo.XXXXXX") || exit 1
mkfifo "$tmp/never" || exit 1
started=()		# our background processes
current='the start'	# the step that runs
# shellcheck disable=SC2034 # of those that source this
status=0		# of the last command shown

# --- telling --------------------------------------------------------------------

step()
{
	current=$1
	touch "$tmp/step"
	printf '\n== %s\n' "$1"
}

# Each argument is a line.
say()
{
	printf '\n'
	printf '%s\n' "$@"
}

# A command as a person would type it, then what it says. The output is also in
# $tmp/out for checks, and the status in $status.
show()
{
	printf '\n$ %s\n' "$1"
	eval "$1" >"$tmp/out" 2>&1
	status=$?
	[ ! -s "$tmp/out" ] || printf '%s\n' "$(<"$tmp/out")"
}

# The same in the background, with output to $tmp/$1. Sets $pid.
show_bg()
{
	local log=$tmp/$1

	printf '\n$ %s &\n' "$2"
	: >"$log"
	eval "exec $2" >"$log" 2>&1 </dev/null &
	pid=$!
	started+=("$pid")
}

# What a background command has said, empty lines left out.
tell()
{
	printf '\n[ %s says: ]\n' "$2"
	grep -v -e '^[[:space:]]*$' "$tmp/$1"
}

diagnose()
{
	local log pid

	printf '\n--- what there was to see -----------------------------------\n'
	for log in "$tmp"/*.log "$tmp/out"; do
		# of this step
		[ -s "$log" ] && [ ! "$log" -ot "$tmp/step" ] || continue
		printf -- '--- %s\n' "${log##*/}"
		tail -n 25 "$log"
	done
	for pid in "${started[@]}"; do
		[ -d "/proc/$pid" ] || continue
		printf -- '--- process %s: %s\n' "$pid" \
			"$(tr '\0' ' ' <"/proc/$pid/cmdline")"
		grep '^State:' "/proc/$pid/status"
		cat "/proc/$pid/file_pins" 2>&1
	done
	printf -- '--- /proc/locks\n'
	cat /proc/locks
	printf -- '--- the end of the kernel log\n'
	dmesg | tail -n 20
	printf -- '--------------------------------------------------------------\n'
}

fail()
{
	printf '\n   NOT SO: %s\n' "$1"
	diagnose
	printf '\n%s: FAILED in step %s\n' "$demo" "$current"
	exit 1
}

# check "what is claimed" command...
check()
{
	local claim=$1

	shift
	"$@" || fail "$claim"
	printf '   ok: %s\n' "$claim"
}

clean_up()
{
	local pid

	for pid in "${started[@]}"; do
		kill -CONT "$pid"
		kill "$pid"
	done 2>/dev/null
	wait
	umount "$mnt" && rmdir "$mnt"
	rm -rf "$tmp"
} 2>/dev/null
trap clean_up EXIT

# --- looking --------------------------------------------------------------------

# wait_for SECONDS command...: until it succeeds; every wait has an end
wait_for()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		nap
	done
	return 0
}

# The checks that run beside the traffic start no process: under an emulator with
# two busy processors each would take the better part of a second.
nap()
{
	read -r -t 0.1 _ <>"$tmp/never"
}

# Files of processes that may go are read to the end: bash gives back what it has read
# too much by lseek(), which fails then, and the next read(1) finds it, of any file.
gone()
{
	local text=''

	[ -d "/proc/$1" ] || return 0
	read -r -d '' text <"/proc/$1/status"
	[[ $text != *State:$'\t'[!Z]* ]]
} 2>/dev/null

# The exit status of a background process, which must end within $2 seconds.
status_of()
{
	wait_for "$2" gone "$1" || return 99
	wait "$1"
}

# says LOG REGEX: somewhere in what a command has said
says()
{
	local text

	text=$(<"$tmp/$1")
	[[ $text =~ $2 ]]
}

# --- what we need -------------------------------------------------------------------

# needs PROGRAM...: and sets $addr, the address of $dev, and $pmem
needs()
{
	local tool netdev

	for tool; do
		command -v "$tool" >"$tmp/out" || fail "$tool can be found"
	done
	netdev=$(rdma link show "$dev/1" | sed -n 's/.* netdev \([^ ]*\).*/\1/p')
	addr=$(ip -4 -o addr show dev "$netdev" |
		awk '{ sub("/.*", "", $4); print $4; exit }')
	[ -n "$addr" ] || fail "$dev has an IPv4 address"
	pmem=$(grep -l -x 1 /sys/block/pmem*/queue/dax | head -n 1 | cut -d / -f 4)
	[ -b "/dev/$pmem" ] || fail 'there is a /dev/pmem that can do DAX'
}
