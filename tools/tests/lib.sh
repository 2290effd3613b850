# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the tests of lspins share; each of them sources this file first. $name is the
# test that runs. Sets $tmp, a directory that is theirs.
# shellcheck disable=SC2034,SC2154 # used there, set there

tmp=$(mktemp -d) || exit 2
n=0 passed=0 failed=0 skipped=0

ok()
{
	n=$((n + 1))
	passed=$((passed + 1))
	echo "ok $n $name"
}

# not_ok TEXT...: and why
not_ok()
{
	n=$((n + 1))
	failed=$((failed + 1))
	printf '%s\n' "$@" | sed 's/^/# /'
	echo "not ok $n $name"
}

skip()
{
	n=$((n + 1))
	skipped=$((skipped + 1))
	echo "ok $n $name # SKIP $1"
}

have()
{
	command -v "$1" >/dev/null 2>&1
}

# the last lines, and the exit status of the script
finish()
{
	echo "1..$n"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
}
