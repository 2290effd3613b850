#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tests of lspins against a recorded /proc (the directory proc beside this file), of
# the manual pages and of the completion. Needs neither root nor a patched kernel.
#
#   LSPINS=program [O=build directory] sh tests/lspins.sh
#
# With O, "make install" is tested too.
#
# Which rules of the contract a test checks stands above its name, for
# tools/harness/matrix.sh. Where nothing stands:
# Rules of the others: R5

cd "$(dirname -- "$0")" || exit 2
: "${LSPINS:?the program to be tested}"
export LC_ALL=C.UTF-8
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL
# shellcheck source=tools/tests/lib.sh
. ./lib.sh
trap 'rm -rf "$tmp"' EXIT
trap 'exit 2' HUP INT TERM
# where others than us can run it
cp "$LSPINS" "$tmp/lspins" || exit 2
cp -R proc "$tmp/proc" || exit 2
chmod -R a+rX "$tmp"
lspins=$tmp/lspins
proc=$tmp/proc

# run ARGUMENTS: lspins on the recorded /proc; sets $status, fills out and err
run()
{
	"$lspins" --proc "$proc" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# gives STATUS [TEXT]: was that what the last run gave, on standard output?
gives()
{
	if [ "$status" -ne "$1" ]; then
		not_ok "exit status $status, not $1" "$(cat "$tmp/out" "$tmp/err")"
	elif [ $# -gt 1 ] && [ "$(cat "$tmp/out")" != "$2" ]; then
		not_ok "output is:" "$(cat "$tmp/out")" "and not:" "$2"
	else
		ok
	fi
}

# ids STATUS LIST: are these the pins that the last run showed, first column?
ids()
{
	got=$(cut -d ' ' -f 1 "$tmp/out" | tr '\n' ' ')
	if [ "$status" -eq "$1" ] && [ "$got" = "$2" ]; then
		ok
	else
		not_ok "exit status $status, pins $got, not $2" "$(cat "$tmp/err")"
	fi
}

# fails TEXT: an error of one sentence with these words, and nothing else?
fails()
{
	if [ "$status" -ne 2 ]; then
		not_ok "exit status $status, not 2"
	elif [ -s "$tmp/out" ] || ! grep -q -- "$1" "$tmp/err"; then
		not_ok "said:" "$(cat "$tmp/out" "$tmp/err")"
	else
		ok
	fi
}

# has TEXT: the last run succeeded, and said this
has()
{
	if [ "$status" -eq 0 ] && grep -qF -- "$1" "$tmp/out"; then
		ok
	else
		not_ok "exit status $status, no \"$1\" in:" \
			"$(cat "$tmp/out" "$tmp/err")"
	fi
}

echo 'KTAP version 1'
echo '# tests: lspins'

# --- the table ---------------------------------------------------------------------

name='the usual columns'
run -r
if [ "$(head -n 1 "$tmp/out")" = \
     'ID PID COMMAND PIDS SIZE MODE LEASE STATE USER PATH' ]; then
	ok
else
	not_ok "$(head -n 1 "$tmp/out")"
fi

name='one line for each pin, with as many fields'
run -rn
if [ "$status" -eq 0 ] && [ "$(awk 'NF == 10' "$tmp/out" | wc -l)" -eq 12 ]; then
	ok
else
	not_ok "exit status $status" "$(cat "$tmp/out" "$tmp/err")"
fi

name='all columns, and their number'
run -r --output-all
if [ "$(head -n 1 "$tmp/out" | wc -w)" -eq "$("$lspins" -H | wc -l)" ] &&
   ! awk 'NF != 15' "$tmp/out" | grep -q .; then
	ok
else
	not_ok "$(cat "$tmp/out")"
fi

name='the help has every column'
missing=$("$lspins" -H | while read -r col _; do
	"$lspins" --help | grep -q "^  $col " || echo "$col"
done)
if [ -z "$missing" ]; then ok; else not_ok "missing: $missing"; fi

name='columns by name, in the order given'
run -rn -i 7 -o path,ID,End
gives 0 '/mnt/p/f 7 1048575'

name='columns beside the usual ones'
run -r -i 7 -o +ino,DEV
has 'USER PATH INO DEV'

name='every value of a line'
run -rn -i 10 --output-all
gives 0 '10 812 store 812 259:1 131 0 6442450943 6G 1572864 rw layout active rdma:siw0:mr:3 /mnt/q/back\x5cslash"quote"'

name='sizes in bytes'
run -rnb -i 10 -o SIZE
gives 0 6442450944

name='sizes for people'
run -rn -i 7,8,14,15 -o SIZE
gives 0 '1M
4K
1.6M
0B'

name='headings'
run -i 7 -o ID,MODE
gives 0 'ID MODE
 7 rw'

name='no headings'
run -n -i 7 -o ID,MODE
gives 0 ' 7 rw'

# --- names ------------------------------------------------------------------------

name='blanks, line ends and bytes that are not UTF-8 make no fields or lines'
run -rn -o PATH -i 8,9,17
gives 0 '/mnt/p/with\x20a\x20space
/mnt/p/two\x0alines\x09and\x20a\x20tab
/mnt/p/not-utf8-\xff\xfe'

name='the same in the table'
run -n -o PATH -i 8,9
gives 0 '/mnt/p/with a space
/mnt/p/two\x0alines\x09and a tab'

name='a deleted file'
run -rn -o PATH -i 11
gives 0 '/mnt/q/gone\x20(deleted)'

name='a revoked pin has no path'
run -rn -o STATE,PATH -i 12
gives 0 'revoked -'

# --- who --------------------------------------------------------------------------

name='every process that shares the context'
run -rn -o PID,PIDS -i 7
gives 0 '1234 1234,1240'

name='who took the lease is gone: the command of who is there'
run -rn -o PID,COMMAND,PIDS -i 13
gives 0 '0 worker 1240'

name='who has the context only mapped'
run -rn -o PIDS -i 16
gives 0 1300

cp -R "$proc" "$tmp/node"
rm "$tmp/node/1240/fd"/*
ln -s /tmp/any/name "$tmp/node/1240/fd/3"
name='who has the context open by a node of any name'
"$lspins" --proc "$tmp/node" -rn -o PIDS -i 7 >"$tmp/out" 2>"$tmp/err"
status=$?
gives 0 1234,1240

name='very many pins, and whose they are'
awk '{ print } END { for (i = 100; i < 1300; i++)
	print i, 4000, "259:0", i, "0-4095 1 rw layout active rdma:rxe0:mr:" i, "/mnt/p/" i
	}' "$proc/file_pins" >"$tmp/node/file_pins"
cp -R "$proc/1240/fd/." "$tmp/node/1240/fd"
"$lspins" --proc "$tmp/node" -rn -o PIDS -i 7,13,16,1299 >"$tmp/out" 2>"$tmp/err"
status=$?
gives 0 '1234,1240
1240
1300
4000'

# One that hangs shall not keep anybody from knowing.
name='without COMMAND and PIDS no process is asked'
echo garbage >"$tmp/node/1240/file_pins"
"$lspins" --proc "$tmp/node" -rn -i 7 -o ID,PID,STATE,USER,PATH >"$tmp/out" 2>"$tmp/err"
status=$?
gives 0 '7 1234 active rdma:rxe0:mr:12 /mnt/p/f'

# Whatever the processes tell that is not in it came later.
# Rules: R2 R5
name='the report of all is preferred'
cp -R "$proc" "$tmp/newer"
echo '99 259:0 99 0-4095 1 rw layout active rdma:rxe0:mr:99 /mnt/p/newer' \
	>>"$tmp/newer/1234/file_pins"
sed -i 's/^\(7 .*\) active /\1 recall /' "$tmp/newer/1234/file_pins"
"$lspins" --proc "$tmp/newer" -rn -o ID,STATE -i 7,99 >"$tmp/out" 2>"$tmp/err"
status=$?
gives 0 '7 active'

# --- which ------------------------------------------------------------------------

name='by file'
run -rn /mnt/p/f
ids 0 '7 18 '

name='by files, one with an odd name'
run -rn /mnt/p/f '/mnt/p/two
lines	and a tab'
ids 0 '7 9 18 '

name='by the name of a deleted file'
run -rn '/mnt/q/gone (deleted)'
ids 0 '11 '

name='by mount point'
run -rn -m /mnt/again
ids 0 '7 8 9 13 14 15 16 17 18 '

name='by a mount point with an odd name'
run -rn --mount '/mnt/q "x"'
ids 0 '10 11 12 '

name='by RDMA device'
run -rn --device siw0
ids 0 '10 11 12 '

name='by the beginning of a name of a device: none'
run -rn -d siw
ids 1 ''

name='by block device'
run -rn -d 259:1
ids 0 '10 11 12 '

name='by process that took the lease'
run -rn -p 1234
ids 0 '7 8 9 15 17 18 '

name='by processes, also those that share'
run -rn -o ID --pid 812,1240
ids 0 '7 8 9 10 11 12 13 17 18 '

name='by state'
run -rn -s recall,orphan
ids 0 '8 13 '

name='by state held: not what is revoked'
run -rn --state held -d siw0
ids 0 '10 11 '

name='kinds are combined, elements of one kind add up'
run -rn -p 1240 -s active,orphan -m /mnt/p -i 7 -i 13
ids 0 '7 13 '

# A driver that cannot revoke has no number; names of devices may be anything.
mkdir "$tmp/users"
cat >"$tmp/users/file_pins" <<'END'
ID PID DEV INODE RANGE PAGES MODE LEASE STATE USER PATH
1 5 259:0 131 0-4095 1 rw exclusive active rdma:mlx4_0:mr /mnt/p/a
2 5 259:0 132 0-4095 1 rw exclusive active rdma:mlx4_0:mr /mnt/p/b
3 5 259:0 133 0-4095 1 rw layout active rdma:a\040b:mr:7 /mnt/p/c
4 5 259:0 134 0-4095 1 rw layout active rdma:a:mr:3:mr:8 /mnt/p/d
5 5 259:0 135 0-4095 1 rw layout active gup_test:1:buf:0 /mnt/p/e
END
users()
{
	"$lspins" --proc "$tmp/users" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}
name='by a device whose driver cannot revoke'
users -rn -d mlx4_0
ids 0 '1 2 '
name='by a device with a blank in its name'
users -rn -d 'a b' -o ID,USER
gives 0 '3 rdma:a\x20b:mr:7'
name='by a device whose name looks like a user'
users -rn -d a
ids 1 ''
name='by that device itself'
users -rn -d a:mr:3
ids 0 '4 '
name='revoke: not what has no number, and no others of the device'
users --revoke -i 1
if [ "$status" -eq 2 ] && grep -q '1 pin cannot be revoked' "$tmp/err" &&
   ! grep -q /mnt/p/b "$tmp/out"; then
	ok
else
	not_ok "exit status $status" "$(cat "$tmp/out" "$tmp/err")"
fi
name='revoke: a device with a blank in its name'
users --revoke -i 3
has 'a b mr 7 (pin 3): would be revoked'
name='metrics: devices with odd names, and regions without number'
users --prometheus
if awk -f promlint.awk "$tmp/out" >"$tmp/lint" &&
   grep -q 'user="rdma:mlx4_0",.*} 2$' "$tmp/out" &&
   grep -q 'user="rdma:a b",' "$tmp/out" && grep -q 'user="gup_test",' "$tmp/out"; then
	has 'lspins_regions 5'
else
	not_ok "$(cat "$tmp/lint" "$tmp/out")"
fi

name='none: exit status 1, and nothing said'
run -p 1
gives 1 ''

# --- errors -----------------------------------------------------------------------

name='unknown column'
run -o ID,NOPE
fails 'unknown column: NOPE'

name='unknown state'
run -s active,dead
fails 'unknown state: dead'

name='no such process'
run -p 999
fails 'no process 999'

name='not a process'
run -p 12x
fails 'not a process number'

name='no such mount'
run -m /mnt/none
fails '/mnt/none: No such file'

name='no such file'
"$lspins" "$tmp/none" >"$tmp/out" 2>"$tmp/err"
status=$?
fails 'none: No such file'

name='not a regular file'
"$lspins" "$tmp" >"$tmp/out" 2>"$tmp/err"
status=$?
fails 'not a regular file; --mount takes'

name='unknown option'
run --nope
fails "Try 'lspins --help'"

name='formats exclude each other'
run -J -r
fails 'exclude each other'

name='an interval that is none'
run --watch=soon
fails -- '--watch: 0.1 to'

name='an empty list'
run -i ,
fails 'selects nothing'

name='a line that is not understood'
cp -R "$proc" "$tmp/broken"
echo '19 1234 259:0 cut off' >>"$tmp/broken/file_pins"
"$lspins" --proc "$tmp/broken" >"$tmp/out" 2>"$tmp/err"
status=$?
fails 'file_pins: line 14 is not understood'

name='headings that lack a column'
sed '1s/ STATE//' "$proc/file_pins" >"$tmp/broken/file_pins"
"$lspins" --proc "$tmp/broken" >"$tmp/out" 2>"$tmp/err"
status=$?
fails 'line 1 is not understood'

name='a report that cannot be read'
rm "$tmp/broken/file_pins"
mkdir "$tmp/broken/file_pins"
"$lspins" --proc "$tmp/broken" >"$tmp/out" 2>"$tmp/err"
status=$?
fails 'Is a directory'

name='output that cannot be written'
if [ -c /dev/full ]; then
	"$lspins" --proc "$proc" >/dev/full 2>"$tmp/err"
	status=$?
	: >"$tmp/out"
	fails 'No space left'
else
	skip 'no /dev/full'
fi

name='a kernel without the report: one sentence'
mkdir -p "$tmp/stock/1" "$tmp/stock/self"
"$lspins" --proc "$tmp/stock" >"$tmp/out" 2>"$tmp/err"
status=$?
if [ "$(wc -l <"$tmp/err")" -ne 1 ]; then
	not_ok "$(cat "$tmp/err")"
else
	fails 'this kernel has no leased pins'
fi

name='this kernel'
if [ -e /proc/self/file_pins ]; then
	"$lspins" >"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ "$status" -lt 2 ]; then ok; else not_ok "$(cat "$tmp/err")"; fi
else
	"$lspins" >"$tmp/out" 2>"$tmp/err"
	status=$?
	fails 'this kernel has no leased pins'
fi

# --- without rights ----------------------------------------------------------------

# As somebody who is not root, and may not read all.
mkdir "$tmp/mine"
cp -R "$proc/." "$tmp/mine"
chmod 000 "$tmp/mine/file_pins" "$tmp/mine/812/file_pins"
as_user()
{
	if [ "$(id -u)" -ne 0 ]; then
		"$@"
	else
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	fi
}

name='who may not read all sees what he may'
if as_user true 2>/dev/null; then
	as_user "$lspins" --proc "$tmp/mine" -rn -o ID,PID,PIDS >"$tmp/out" \
		2>"$tmp/err"
	status=$?
	gives 0 '7 1234 1234,1240
8 1234 1234,1240
9 1234 1234,1240
13 1240 1240
14 2000 2000
15 1234 1234
16 1300 1300
17 1234 1234,1240
18 1234 1234,1240'
else
	skip 'cannot become another user'
fi

name='a kernel with reports of processes only'
rm -f "$tmp/mine/file_pins"
chmod 644 "$tmp/mine/812/file_pins"
"$lspins" --proc "$tmp/mine" -rn >"$tmp/out" 2>"$tmp/err"
status=$?
ids 0 '7 8 9 10 11 12 13 14 15 16 17 18 '

name='headings may be in any order, with more of them'
mkdir "$tmp/order"
cp -R "$proc/." "$tmp/order"
awk '{ $1 = $1 " X"; print $0, $2 }' "$proc/file_pins" |
	sed 's/ PID/ TAKER/; s/PID$/PID/' >"$tmp/order/file_pins"
"$lspins" --proc "$tmp/order" -rn -i 10 >"$tmp/out" 2>"$tmp/err"
status=$?
gives 0 '10 812 store 812 6G rw layout active rdma:siw0:mr:3 /mnt/q/back\x5cslash"quote"'

# --- JSON -------------------------------------------------------------------------

if have jq; then
	is_json() { jq -e '.pins | type == "array"' >/dev/null; }
elif have python3; then
	is_json() { python3 -m json.tool >/dev/null; }
elif have node; then
	is_json() { node -e 'JSON.parse(require("fs").readFileSync(0, "utf8"))'; }
else
	is_json() { return 127; }
fi

# json STATUS ARGUMENTS: does a parser take it, and is it UTF-8?
json()
{
	want=$1
	shift
	run -J "$@"
	is_json <"$tmp/out" 2>"$tmp/err2"
	parsed=$?
	if [ "$parsed" -eq 127 ]; then
		skip 'no parser of JSON'
	elif [ "$parsed" -ne 0 ] || [ "$status" -ne "$want" ]; then
		not_ok "exit status $status" "$(cat "$tmp/err2" "$tmp/out")"
	elif have iconv && ! iconv -f utf-8 -t utf-8 "$tmp/out" >/dev/null; then
		not_ok 'not UTF-8'
	else
		ok
	fi
}

# The last run's output without blanks between values has this.
json_has()
{
	if sed 's/^ *//' "$tmp/out" | tr -d '\n' | sed 's/: /:/g; s/, /,/g' |
	   grep -qF -- "$1"; then
		ok
	else
		not_ok "no $1 in:" "$(cat "$tmp/out")"
	fi
}

name='JSON, all columns and odd names'
json 0 --output-all
name='JSON: processes are an array of numbers'
json_has '"pids":[1234,1240]'
name='JSON: sizes are in bytes'
json_has '"size":6442450944'
name='JSON: what there is not is null'
json_has '"user":"rdma:siw0:mr:5","path":null'
name='JSON: quotes and backslashes'
json_has '"path":"/mnt/q/back\\slash\"quote\""'
name='JSON: a command with a quote'
json_has '"command":"gone\"by"'
name='JSON: numbers are numbers, and names are texts'
run -J --output-all
if ! have jq; then
	skip 'no jq'
elif jq -e '.pins | length == 12 and all(
	([.id, .pid, .ino, .start, .end, .size, .pages] | all(type == "number")) and
	([.mode, .lease, .state, .user, .dev] | all(type == "string")) and
	(.pids | type == "array"))' "$tmp/out" >/dev/null 2>"$tmp/err"; then
	ok
else
	not_ok "$(cat "$tmp/err" "$tmp/out")"
fi

name='JSON: UTF-8 in any locale'
LC_ALL=C "$lspins" --proc "$proc" -J -i 15 -o PATH >"$tmp/out"
json_has '"path":"/mnt/p/größe"'

name='JSON without pins'
json 1 -p 1
name='JSON without pins is an empty array'
json_has '"pins":['

mkdir "$tmp/alone"
sed -n '1p; s/^13 0 /13 0 /p' "$proc/file_pins" >"$tmp/alone/file_pins"
name='JSON: no process in sight'
"$lspins" --proc "$tmp/alone" -J -o PID,PIDS,COMMAND >"$tmp/out"
json_has '"pid":0,"pids":[null],"command":null'
name='no process in sight, in the table'
"$lspins" --proc "$tmp/alone" -rn -o PID,COMMAND,PIDS >"$tmp/out"
status=$?
gives 0 '0 - -'

# --- metrics ----------------------------------------------------------------------

name='metrics are in the format'
run --prometheus
if [ "$status" -ne 0 ]; then
	not_ok "exit status $status" "$(cat "$tmp/err")"
elif awk -f promlint.awk "$tmp/out" >"$tmp/lint"; then
	ok
else
	not_ok "$(cat "$tmp/lint")"
fi

# Debian has it in a package with all of prometheus
if have promtool; then
	name='metrics: promtool agrees'
	if promtool check metrics <"$tmp/out" >"$tmp/lint" 2>&1; then
		ok
	else
		not_ok "$(cat "$tmp/lint")"
	fi
fi

name='metrics: labels are escaped'
has 'mountpoint="/mnt/q \"x\""'
name='metrics: a process is no label'
if grep -q '1234\|/mnt/p/f' "$tmp/out"; then not_ok 'it is'; else ok; fi
name='metrics: pins'
has 'user="rdma:rxe0",mode="rw",lease="layout",state="active"} 4'
name='metrics: files, without the revoked one'
has 'lspins_files 10'
name='metrics: events of the kernel'
has 'lspins_events_total{event="recall"} 41'
name='metrics without pins: exit status 0, and still in the format'
run --prometheus -p 1
if [ "$status" -eq 0 ] && awk -f promlint.awk "$tmp/out" >"$tmp/lint"; then
	has 'lspins_files 0'
else
	not_ok "exit status $status" "$(cat "$tmp/lint")"
fi

# --- watching ---------------------------------------------------------------------

name='watching reads the report anew'
cp -R "$proc" "$tmp/watch"
seen=$(timeout 60 "$lspins" --proc "$tmp/watch" --watch=0.1 -i 7 -rn -o ID,STATE |
	while read -r line; do
		case $line in
		'7 active')
			sed 's/^\(7 .*\) active /\1 recall /' "$proc/file_pins" \
				>"$tmp/watch/new"
			mv "$tmp/watch/new" "$tmp/watch/file_pins"
			;;
		'7 recall')
			echo "$line"
			break
			;;
		esac
	done)
if [ "$seen" = '7 recall' ]; then ok; else not_ok "saw: $seen"; fi

name='watching says when'
first=$(timeout 60 "$lspins" --proc "$proc" -w0.1 -i 7 -o ID | head -n 1)
case $first in
20[0-9][0-9]-[01][0-9]-[0-3][0-9]\ *:*:*) ok ;;
*) not_ok "$first" ;;
esac

# --- telling a person --------------------------------------------------------------

# tells ARGUMENTS: what lspins says on a terminal
tells()
{
	script -qec "stty cols 200; $lspins $*" "$tmp/typescript" \
		>"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

cp -R "$proc" "$tmp/spared"
mkdir -p "$tmp/spared/sys/fs"
echo 0 >"$tmp/spared/sys/fs/layout-break-enforce"
for hint in "$proc recall gets them when fs.lease-break-time is over" \
	    "$tmp/spared recall fs.layout-break-enforce is 0" \
	    "$proc orphan end the processes in PIDS"; do
	dir=${hint%% *} hint=${hint#* }
	name="on a terminal: what can be done about ${hint%% *}"
	if have script; then
		tells --proc "$dir" -s "${hint%% *}"
		has "${hint#* }"
	else
		skip 'no script(1)'
	fi
done
name='on a terminal: nothing about what is active'
if have script; then
	tells --proc "$proc" -s active
	if grep -q 'lspins:' "$tmp/out"; then not_ok "$(cat "$tmp/out")"; else ok; fi
else
	skip 'no script(1)'
fi

# --- revoking ---------------------------------------------------------------------

name='revoke: a dry run where there is nobody to ask'
run --revoke -i 8
has 'rxe0 mr 13 (pin 8): would be revoked'

name='revoke: all pins of the region are shown'
run --revoke -i 18
has '   7  1234 rdma srv'

name='revoke: a region is taken once'
if [ "$(grep -c 'would be revoked' "$tmp/out")" -eq 1 ]; then
	ok
else
	not_ok "$(cat "$tmp/out")"
fi

name='revoke: none: exit status 1'
run --revoke -p 1
gives 1 ''

name='revoke: what holds nothing is not revoked'
run --revoke -i 12
if [ "$status" -eq 1 ] && grep -q 'nothing to revoke' "$tmp/out"; then
	ok
else
	not_ok "exit status $status" "$(cat "$tmp/out" "$tmp/err")"
fi

name='revoke: a ring cannot be revoked'
run --revoke -i 14
if [ "$status" -eq 2 ] && grep -q '1 pin cannot be revoked' "$tmp/err"; then
	ok
else
	not_ok "exit status $status" "$(cat "$tmp/out" "$tmp/err")"
fi

name='revoke: needs to be told which'
run --revoke --yes
fails 'needs to be told which pins'

name='revoke: not with JSON'
run --revoke -J -i 7
fails 'no other output than the table'

name='revoke: --yes alone'
run --yes
fails 'go with --revoke'

name='revoke: a recorded report is none to act on'
run --revoke --yes -i 7
if [ "$status" -eq 2 ] && grep -q 'recorded' "$tmp/err"; then
	ok
else
	not_ok "exit status $status" "$(cat "$tmp/out" "$tmp/err")"
fi

# answer TEXT: what it says on a terminal, and its exit status
answer()
{
	printf '%s\n' "$1" |
		script -qec "$lspins --proc $proc --revoke -i 7" "$tmp/typescript" \
			>"$tmp/out" 2>"$tmp/err"
	status=$?
}

name='revoke: asks on a terminal, and takes a no'
if have script; then
	answer n
	if [ "$status" -eq 1 ] && grep -q 'Revoke? \[y/N\]' "$tmp/out" &&
	   grep -q 'Nothing has been revoked' "$tmp/out"; then
		ok
	else
		not_ok "exit status $status" "$(cat "$tmp/out")"
	fi
else
	skip 'no script(1)'
fi

name='revoke: no answer is no'
if have script; then
	answer ''
	if [ "$status" -eq 1 ]; then ok; else not_ok "$(cat "$tmp/out")"; fi
else
	skip 'no script(1)'
fi

name='revoke: takes a yes'
if have script; then
	answer y
	if [ "$status" -eq 2 ] && grep -q 'recorded' "$tmp/out"; then
		ok
	else
		not_ok "exit status $status" "$(cat "$tmp/out")"
	fi
else
	skip 'no script(1)'
fi

# --- manual pages -------------------------------------------------------------------

for page in ../man/*.[1-8]; do
	name="${page##*/}: no warnings"
	if have mandoc; then
		lint=$(mandoc -Tlint -Wwarning "$page" 2>&1)
	elif have groff && [ -n "$(groff -man -Tutf8 "$page" 2>/dev/null)" ]; then
		lint=$(groff -ww -man -z "$page" 2>&1)
	else
		skip 'neither mandoc nor groff'
		continue
	fi
	if [ -z "$lint" ]; then ok; else not_ok "$lint"; fi
done

# in_page PAGE WORDS: the words that the page does not have in bold
in_page()
{
	page=$1
	shift
	for word; do
		sed 's/\\-/-/g' "$page" | grep -qE -- "^\.(B|BR|BI|TP).*$word" ||
			echo "$word"
	done
}

name='lspins.8 has every option'
# shellcheck disable=SC2046 # words
missing=$(in_page ../man/lspins.8 $("$lspins" --help |
	grep -o -- ' --[a-z][-a-z]*' | sort -u))
if [ -z "$missing" ]; then ok; else not_ok "missing: $missing"; fi

name='lspins.8 has every column'
# shellcheck disable=SC2046 # words
missing=$(in_page ../man/lspins.8 $("$lspins" -H | cut -d ' ' -f 1))
if [ -z "$missing" ]; then ok; else not_ok "missing: $missing"; fi

# --- completion ---------------------------------------------------------------------

# complete_it FUNCTION WORD...: what is offered for the last word, sorted
complete_it()
{
	PATH=$tmp:$PATH bash -c '
		compopt() { :; }
		. "../completion/$1"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		"_$1"
		printf "%s\n" "${COMPREPLY[@]}"' _ "$1" "$@" | sort | tr '\n' ' '
}

# offers WANTED FUNCTION WORD...
offers()
{
	wanted=$1
	shift
	if ! have bash; then
		skip 'no bash'
		return
	fi
	got=$(complete_it "$@")
	if [ "$got" = "$wanted" ]; then
		ok
	else
		not_ok "offers $got, not $wanted"
	fi
}

name='completion: options'
offers '--pid --proc --prometheus ' lspins --p
name='completion: columns, the last of a list'
offers 'ID,PAGES ID,PATH ID,PID ID,PIDS ' lspins -o id,p
name='completion: columns beside the usual ones'
offers '+DEV ' lspins --output = +d
name='completion: states'
offers 'active,recall active,registering active,revoked active,revoking ' \
	lspins --state active,re
name='completion: every option of the help'
missing=$("$lspins" --help | grep -o -- ' --[a-z][-a-z]*' | sort -u |
	while read -r opt; do
		grep -qw -- "$opt" ../completion/lspins || echo "$opt"
	done)
if [ -z "$missing" ]; then ok; else not_ok "missing: $missing"; fi
name='completion: leaserun'
offers '--require ' leaserun --r
name='completion: signals of leaserun'
offers 'USR1 USR2 ' leaserun --signal = US
name='completion: the program that leaserun runs'
offers 'lspins ' leaserun -s USR1 -- lspin

# --- installing ---------------------------------------------------------------------

name='make install, and what is installed runs'
if [ -n "${O-}" ] && have make; then
	if make -C .. --no-print-directory O="$O" PREFIX=/usr DESTDIR="$tmp/root" \
		install >"$tmp/out" 2>&1 &&
	   [ "$("$tmp/root/usr/bin/lspins" -V)" = "$("$lspins" -V)" ] &&
	   "$tmp/root/usr/bin/leaserun" true 2>"$tmp/err"; then
		ok
	else
		not_ok "$(cat "$tmp/out" "$tmp/err")"
	fi

	name='make install: the files'
	got=$(cd "$tmp/root" && find . -type f | sort)
	want='./usr/bin/leaserun
./usr/bin/lspins
./usr/lib/leaserun/libleaserun.so
./usr/share/bash-completion/completions/leaserun
./usr/share/bash-completion/completions/lspins
./usr/share/man/man1/leaserun.1
./usr/share/man/man2/fcntl_layout.2
./usr/share/man/man3/ibv_reg_mr_leased.3
./usr/share/man/man5/proc_file_pins.5
./usr/share/man/man8/lspins.8'
	if [ "$got" = "$want" ]; then ok; else not_ok "$got"; fi

	name='make uninstall leaves nothing'
	make -C .. --no-print-directory O="$O" PREFIX=/usr DESTDIR="$tmp/root" \
		uninstall >"$tmp/out" 2>&1
	if [ -z "$(find "$tmp/root" -type f)" ]; then ok; else not_ok "$(cat "$tmp/out")"; fi
else
	skip 'no O='
fi

finish
