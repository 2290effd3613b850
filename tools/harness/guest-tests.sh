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
	{
		timeout -k 10 "$limit" "./$prog" 2>&1
		echo $? >"/run/guest/$prog.exit"
	} | tee "/run/guest/$prog.out"
done
