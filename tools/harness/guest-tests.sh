#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest-tests.sh DIR SECONDS PROGRAM...: in the guest, runs each kselftest
# program of DIR with a time limit. Output goes to the terminal and to
# /run/guest/PROGRAM.out, the exit status to /run/guest/PROGRAM.exit, where
# check.sh counts, whatever becomes of this guest.

dir=$1 limit=$2
shift 2
cd "$dir" || exit 1
for prog; do
	echo "# selftests: layout_lease: $prog"
	echo "selftests: layout_lease: $prog" >/dev/kmsg
	out=/run/$prog.out
	: >"$out"
	# Not through a pipe, which a child left behind would keep open; and in a
	# session of its own, so that such children can be found.
	# shellcheck disable=SC2016 # of the inner shell
	setsid -w sh -c 'echo $$ >/run/session; exec timeout -k 10 "$@"' \
		sh "$limit" "./$prog" >"$out" 2>&1 &
	pid=$!
	# The directory of the run is on 9p, where reading what grows may fail.
	tail -n +1 -s 0.2 -f --pid=$pid "$out" | tee "/run/guest/$prog.out"
	wait $pid
	echo $? >"/run/guest/$prog.exit"
	pkill -KILL -s "$(cat /run/session)"
done
# That pkill finds nothing to kill is the rule.
exit 0
