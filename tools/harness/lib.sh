# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# What the harness's scripts share; each of them sources this file first.

# $top and $BUILD are for the scripts that source this
# shellcheck disable=SC2034
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
BUILD=${BUILD:-$top/build}
case $BUILD in
/*) ;;
*) BUILD=$PWD/$BUILD ;;
esac
export BUILD
mkdir -p "$BUILD/logs" || exit 1
# variables given to our make are none of the kernel's
unset MAKEFLAGS MFLAGS MAKEOVERRIDES

# What goes on, for the person who waits.
say()
{
	printf '== %s\n' "$*"
}

# One clear sentence, then the end.
die()
{
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# die_log LOG SENTENCE: the same with the end of the log that tells more.
die_log()
{
	_log=$1
	shift
	printf 'error: %s\n' "$*" >&2
	if [ -s "$_log" ]; then
		printf 'last lines of %s:\n' "$_log" >&2
		tail -n 15 "$_log" | sed 's/^/  | /' >&2
	fi
	exit 1
}

need()
{
	for _tool; do
		command -v "$_tool" >/dev/null 2>&1 ||
			die "missing tool: $_tool (sh tools/harness/packages.sh installs everything)"
	done
}

# lock WHAT: one at a time works on it; until unlock, or the end of the script.
lock()
{
	exec 9>"$BUILD/lock-$1"
	flock -n 9 && return
	say "waiting for another make to finish with $BUILD/$1"
	flock 9
}

unlock()
{
	exec 9>&-
}

# need_space GB WHAT-FOR
need_space()
{
	_free=$(df -Pk "$BUILD" | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$_free" -ge "$1" ] ||
		die "too little disk: $2 needs $1 GB in $BUILD, $_free GB are free (BUILD= moves it)"
}

# run_logged LOG DESCRIPTION COMMAND...: runs the command with its output in
# LOG and shows every ten seconds that it is alive.
run_logged()
{
	_log=$1 _what=$2
	shift 2
	say "$_what (log: $_log)"
	"$@" >"$_log" 2>&1 </dev/null &
	_pid=$!
	_start=$(date +%s)
	_shown=0
	while kill -0 "$_pid" 2>/dev/null; do
		sleep 1
		_t=$(($(date +%s) - _start))
		[ $((_t - _shown)) -ge 10 ] || continue
		_shown=$_t
		printf '   ... %d s %s\n' "$_t" "$(progress "$_log")"
	done
	wait "$_pid"
}

# One line that tells how far LOG has come; a script may redefine it.
progress()
{
	tail -n 1 "$1" | tr -d '\r' | cut -c 1-60
}
