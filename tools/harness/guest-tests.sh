#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-tests.sh DIR SECONDS PROGRAM[@DEVICE]...: in the guest, runs each kselftest
# program of DIR with a time limit; with an RDMA device other than the first one,
# without the tests that siw-cannot names. Output goes to the terminal and to
# /run/guest/PROGRAM.out, the exit status to /run/guest/PROGRAM.exit, where
# check.sh counts, whatever becomes of this guest.

cannot=$(dirname -- "$0")/siw-cannot
dir=$1 limit=$2
shift 2
cd "$dir" || exit 1

# What tests turn, as they found it: one that gets killed leaves it as it is.
knobs()
{
	(cd /proc/sys/fs && grep -s . lease-break-time leases-enable layout-break-enforce)
}
knobs >/run/knobs
restore_knobs()
{
	while IFS=: read -r knob value; do
		echo "$value" >"/proc/sys/fs/$knob"
	done </run/knobs
}

for prog; do
	echo "# selftests: layout_lease: $prog"
	echo "selftests: layout_lease: $prog" >/dev/kmsg
	out=/run/$prog.out name=${prog%@*}
	: >"$out"
	env='' without=''
	if [ "$name" != "$prog" ]; then
		env=LAYOUT_LEASE_RDMA=${prog#*@}
		without=$(awk -v prog="$name" '$1 == prog { print "-T " $2 }' "$cannot")
	fi
	# Not through a pipe, which a child left behind would keep open; and in a
	# session of its own, so that such children can be found.
	# shellcheck disable=SC2016,SC2086 # of the inner shell; a list of words
	setsid -w sh -c 'echo $$ >/run/session; exec timeout -k 10 "$@"' \
		sh "$limit" env $env "./$name" $without >"$out" 2>&1 &
	pid=$!
	# The directory of the run is on 9p, where reading what grows may fail.
	tail -n +1 -s 0.2 -f --pid=$pid "$out" | tee "/run/guest/$prog.out"
	wait $pid
	echo $? >"/run/guest/$prog.exit"
	pkill -KILL -s "$(cat /run/session)"
	restore_knobs
done
# That pkill finds nothing to kill is the rule.
exit 0
