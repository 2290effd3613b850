#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# logscan.sh LOG: prints the trouble reports in a kernel log, each with the
# lines that follow it; exit status 1 if there are any, 0 if none.

if [ $# -ne 1 ] || [ ! -r "$1" ]; then
	echo "usage: logscan.sh LOG" >&2
	exit 2
fi

# No trouble, since tests provoke them: a "Call Trace:" by itself (fault injection
# prints one), "Memory failure: ", pins that could not be revoked, warnings that
# something is experimental. What ends a checker for good is trouble, and so is a gap
# in the log: nobody knows what was in there.
exec awk '
function trouble(l) {
	return l ~ /WARNING: / ||
	       l ~ /(^|[^A-Z])BUG: / || l ~ /kernel BUG at / ||
	       l ~ /KASAN: / || l ~ /UBSAN: / || l ~ /KFENCE: / ||
	       l ~ /possible (recursive|circular) locking/ ||
	       l ~ /inconsistent lock state/ || l ~ /INFO: lockdep is turned off/ ||
	       l ~ /INFO: trying to register non-static key/ ||
	       l ~ /turning off the locking correctness validator/ ||
	       l ~ /kmemleak: Kernel memory leak detector disabled/ ||
	       l ~ /printk messages dropped/ ||
	       l ~ /bad unlock balance/ || l ~ /held lock freed/ ||
	       l ~ /lock held when returning/ || l ~ /locks? still held/ ||
	       l ~ /[Ss]uspicious RCU usage/ || l ~ /stack backtrace:/ ||
	       l ~ /ODEBUG: / || l ~ /Object (already free|padding)/ ||
	       l ~ /INFO: task .* blocked for more than/ ||
	       l ~ /INFO: task .* is blocked on a/ ||
	       l ~ /rcu: INFO: .*stall/ || l ~ /soft lockup/ ||
	       l ~ /kmemleak: [0-9]+ new suspected/ ||
	       l ~ /refcount_t: / || l ~ /list_(add|del) corruption/ ||
	       l ~ /Oops[: ]/ || l ~ /general protection fault/ ||
	       l ~ /Kernel panic/ || l ~ /Bad page state/ ||
	       l ~ /Busy inodes after unmount/ || l ~ /XFS: Assertion failed/ ||
	       l ~ /XFS \(.*\): (Internal error|Metadata [Cc]orruption|Corruption )/ ||
	       l ~ /EXT4-fs error/ || l ~ /JBD2: .*[Aa]bort/
}
trouble($0) { n++; left = 25; if (n > 1) print "  --" }
left > 0 { if (n <= 20) print "  | " $0; left-- }
END { exit n > 0 }
' "$1"
