# SPDX-License-Identifier: GPL-2.0
#
# awk -v prog=NAME -v status=EXIT -v limit=S -f ktap.awk OUTPUT: counts the test
# cases in the KTAP of one kselftest program. Prints "count PASSED FAILED SKIPPED",
# then one line for each failure. A program that did not come to its end, or that
# failed without saying which test did, is a failure more.

function failure(what) { failed++; why[failed] = prog ": " what }
function where() { return running == "" ? "" : ", in " running }

/^1\.\.[0-9]+/ && plan == "" {
	plan = substr($1, 4) + 0
	if (match($0, /# *SKIP/))
		reason = ":" substr($0, RSTART + RLENGTH)
}
/^# +RUN / { running = $3 }
/^(not )?ok [0-9]+/ { running = "" }
/^ok [0-9]+/ { n++; if (/# *SKIP/) skipped++; else passed++ }
/^not ok [0-9]+/ { n++; sub(/^not ok [0-9]+ *-? */, ""); failure($0) }

END {
	# all that the programs need is in the guest
	if (plan == 0 && plan != "" && n == 0 || n == 0 && status == 4)
		failure("was skipped as a whole" reason)
	else if (status == "")
		failure("did not run to its end" where())
	else if (status == 124 || status == 137)
		failure("took more than " limit " s (TEST_TIMEOUT=) and was killed after " \
			n + 0 " of " plan + 0 " tests" where())
	else if (status > 128)
		failure("killed by signal " status - 128 where())
	else if (n < plan)
		failure("ended after " n + 0 " of " plan " tests" where() ", exit status " status)
	else if (n == 0)
		failure("ran no test, exit status " status)
	else if (status != 0 && status != 4 && failed == 0)
		failure("exit status " status)
	printf "count %d %d %d\n", passed, failed, skipped
	for (i = 1; i <= failed; i++)
		print why[i]
}
