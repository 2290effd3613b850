#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# matrix.sh [--check [RAN]]: which test checks which rule. A test says so itself, in a
# line of its own directly above it:
#
#   /* Rules: B3 B4 */
#   TEST_F(brk, B3_one_signal_for_one_recall)
#
# and in the scripts of tools/tests, where what has no such line checks the "Rules of
# the others" (and is counted in the table, not named):
#
#   # Rules: R1 R2
#   name='recall: the state shows'
#
# Writes the table to MAINTAINERS-notes.md and prints the totals. Which rules
# there are is written there, too. With --check nothing is written; whatever is
# missing is said, and the exit status is 1: a rule without a test, a test
# without rules or with unknown ones, a table that is not up to date, a line of
# siw-cannot that names no test or gives no reason. With RAN, a file of lines
# "program fixture.test" (of a script: "script name of the test"), also a rule of
# which no test is in there, unless only scripts test it and none of them is.

# shellcheck source=tools/harness/lib.sh
. "$(dirname -- "$0")/lib.sh"

check='' ran=${2:-}
case ${1:-} in
--check) check=y ;;
'') ;;
*) die "usage: matrix.sh [--check [RAN]]" ;;
esac

notes=$top/MAINTAINERS-notes.md
cannot=$top/tools/harness/siw-cannot
begin='<!-- matrix: made by "make matrix" -->'
end='<!-- end of the matrix -->'
for mark in "$begin" "$end"; do
	[ "$(grep -cxF -e "$mark" "$notes")" -eq 1 ] ||
		die "$notes has no line '$mark', or two"
done
rules=$(sed -n 's/^Rules in the matrix: //p' "$notes")
later=$(sed -n 's/^Rules of later parts: //p' "$notes")
[ -n "$rules" ] || die "$notes has no line 'Rules in the matrix: ...'"
# what make builds and check.sh runs
programs=$(sed -e :a -e '/\\$/N; s/\\\n//; ta' "$top/selftests/Makefile" |
	sed -n 's/^TEST_GEN_PROGS[ \t]*[:+]*=//p' | tr '\n' ' ')

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# Macros that add variants are in the headers: those first.
awk -v rules="$rules" -v later="$later" -v programs="$programs" -v ran="$ran" \
	-v cannot="$cannot" -v table="$tmp/table" -v totals="$tmp/totals" '
# "L1-L3 B12" -> known["L1"] ..., and in order if they are to be in the table
function expand(text, in_table,		word, part, n, i, j, letter)
{
	n = split(text, word, /[ ,]+/)
	for (i = 1; i <= n; i++) {
		if (word[i] !~ /^[A-Z][0-9]+(-[A-Z][0-9]+)?$/) {
			problem("MAINTAINERS-notes.md: \"" word[i] "\" is no rule")
			continue
		}
		letter = substr(word[i], 1, 1)
		if (split(word[i], part, "-") == 1)
			part[2] = part[1]
		for (j = substr(part[1], 2) + 0; j <= substr(part[2], 2) + 0; j++) {
			known[letter j] = 1
			if (!in_table)
				continue
			order[++n_rules] = letter j
			if (!(letter in n_letter))
				letters[++n_letters] = letter
			n_letter[letter]++
		}
	}
}

function problem(what) { print what; problems = 1 }

# "NAME(first, second...": NAME, and its arguments as far as the line has them
function parse(line,	open)
{
	open = index(line, "(")
	name = substr(line, 1, open - 1)
	n_args = split(substr(line, open + 1), args, /[,) ]+/)
}

# the place for messages
function here() { return file ":" FNR }

function one_test(what, fixture,	id)
{
	if (!(prog in runs))
		problem(here() ": " prog " is not in TEST_GEN_PROGS: it is never run")
	id = prog SUBSEP fixture "." what
	fixture_of[id] = prog SUBSEP fixture
	name_of[id] = fixture "." what
	is_test[prog, what] = 1
	if (rules_at != FNR - 1) {
		problem(here() ": " name_of[id] " does not say which rules it checks (/* Rules: ... */ in the line above)")
		return
	}
	all[++n_all] = id
	note(id, rules_text)
}

# of a script; those without rules of their own are one line of the table together
function shell_test(what,	id)
{
	if (rules_at == FNR - 1) {
		id = prog SUBSEP what
		name_of[id] = "\"" what "\""
	} else if (prog in others) {
		id = prog SUBSEP "*"
		name_of[id] = "others"
		if (cases_of[id]++)
			return
	} else {
		problem(here() ": \"" what "\" does not say which rules it checks, and there are no \"Rules of the others\"")
		return
	}
	fixture_of[id] = id
	all[++n_all] = id
	note(id, rules_at == FNR - 1 ? rules_text : others[prog])
}

# the test checks these rules
function note(id, rules,	word, n, i, letter)
{
	n = split(rules, word, " ")
	for (i = 1; i <= n; i++) {
		if (!(word[i] in known)) {
			problem(here() ": " name_of[id] " checks a rule that is not known: " word[i])
			continue
		}
		if ((word[i], id) in checks)
			continue
		checks[word[i], id] = 1
		letter = substr(word[i], 1, 1)
		checks_letter[letter, id] = 1
	}
}

BEGIN {
	expand(rules, 1)
	expand(later, 0)
	n = split(programs, word, " ")
	for (i = 1; i <= n; i++)
		runs[word[i]] = 1
	while (ran != "" && (getline line <ran) > 0) {
		prog = line
		sub(/ .*/, "", prog)
		sub(/^[^ ]* /, "", line)
		has_run[prog, line] = has_run[prog, "*"] = 1
	}
}
FNR == 1 {
	file = prog = FILENAME
	sub(/.*\//, "", file)
	sub(/.*\//, "", prog)
	is_shell = sub(/\.sh$/, "", prog)
	sub(/\.c$/, "", prog)
	if (prog ~ /_test$/)
		progs[++n_progs] = prog
	rules_at = -1
	pending = 0
	macro = ""
}
is_shell && sub(/^# Rules of the others: */, "") { others[prog] = $0; next }
is_shell && sub(/^# Rules: */, "") {
	if (pending)
		problem(file ":" rules_at ": a Rules line that is not directly above a test")
	rules_at = FNR
	rules_text = $0
	pending = 1
	next
}
is_shell && sub(/^[ \t]*name=/, "") {
	gsub(/^.|.$/, "")
	shell_test($0)
	pending = 0
	next
}
# a macro that adds variants
/^#[ \t]*define[ \t]+[A-Za-z_0-9]+\(/ {
	macro = $0
	sub(/^#[ \t]*define[ \t]+/, "", macro)
	sub(/\(.*/, "", macro)
}
macro != "" {
	line = $0
	while (match(line, /[A-Z_]*VARIANTS?(_ADD)?\(/)) {
		name = substr(line, RSTART, RLENGTH - 1)
		line = substr(line, RSTART + RLENGTH)
		if (name == "FIXTURE_VARIANT_ADD")
			adds[macro]++
		else if (name in adds && name != macro)
			adds[macro] += adds[name]
	}
	if ($0 !~ /\\$/)
		macro = ""
	next
}
/^\/\* Rules: .*\*\/[ \t]*$/ {
	if (pending)
		problem(file ":" rules_at ": a Rules line that is not directly above a test")
	rules_at = FNR
	rules_text = $0
	sub(/^\/\* Rules: */, "", rules_text)
	sub(/ *\*\/[ \t]*$/, "", rules_text)
	gsub(/,/, " ", rules_text)
	pending = 1
	next
}
/^FIXTURE_VARIANT_ADD\(/ { parse($0); variants[prog, args[1]]++ }
/^[A-Z_]+\(/ {
	parse($0)
	if (name in adds)
		variants[prog, args[1]] += adds[name]
}
/^TEST(_SIGNAL)?\(/ { parse($0); one_test(args[1], "global"); pending = 0 }
/^TEST_F(_SIGNAL|_TIMEOUT)?\(/ { parse($0); one_test(args[2], args[1]); pending = 0 }
pending && FNR > rules_at {
	problem(file ":" rules_at ": a Rules line that is not directly above a test")
	pending = 0
}

function times(id,	n)
{
	if (id in cases_of)
		return cases_of[id]
	n = variants[fixture_of[id]] + 0
	return n ? n : 1
}

END {
	print "| rule | tests (program: fixture.test ×variants) |" >table
	print "| --- | --- |" >table
	for (r = 1; r <= n_rules; r++) {
		text = last = ""
		any = due = 0
		for (t = 1; t <= n_all; t++) {
			id = all[t]
			if (!((order[r], id) in checks))
				continue
			if (id in has_run)
				any = 1
			split(id, part, SUBSEP)
			# the tools are tested once, not on every kernel
			if (part[1] in runs || (part[1], "*") in has_run)
				due = 1
			if (part[1] == last)
				text = text ", "
			else
				text = text (last == "" ? "" : "; ") part[1] ": "
			last = part[1]
			text = text name_of[id] (times(id) > 1 ? " ×" times(id) : "")
		}
		if (text == "")
			problem("rule " order[r] " has no test")
		else if (ran != "" && due && !any)
			problem("rule " order[r] ": none of its tests has run; all were skipped, or never begun")
		print "| " order[r] " | " text " |" >table
	}
	file = cannot
	sub(/.*\//, "", file)
	for (n = 0; (getline <cannot) > 0; ) {
		n++
		if (/^#/ || NF == 0)
			continue
		if (!(($1, $2) in is_test))
			problem(file ":" n ": " $1 " has no test " $2)
		else if (NF < 3)
			problem(file ":" n ": does not say why " $2 " cannot")
	}
	if (!n)
		problem(file " is missing, or empty")
	printf "" >totals
	for (l = 1; l <= n_letters; l++) {
		tests = cases = 0
		for (t = 1; t <= n_all; t++) {
			if ((letters[l], all[t]) in checks_letter) {
				tests++
				cases += times(all[t])
			}
		}
		printf "%s: %d rules, %d tests, %d cases with variants\n", letters[l],
			n_letter[letters[l]], tests, cases >totals
	}
	cases = 0
	for (t = 1; t <= n_all; t++)
		cases += times(all[t])
	printf "together: %d rules, %d tests, %d cases (a test may check several rules)\n",
		n_rules, n_all, cases >totals
	close(table)
	close(totals)
	exit problems
}' "$top"/selftests/*.h "$top"/selftests/*.c "$top"/tools/tests/*.sh >"$tmp/problems"
status=$?
if [ $status -ne 0 ] && [ ! -s "$tmp/problems" ]; then
	die "could not read the selftests"
fi

awk -v begin="$begin" -v end="$end" -v table="$tmp/table" '
$0 == begin {
	print; print ""
	while ((getline line <table) > 0)
		print line
	print ""
	skip = 1
}
$0 == end { skip = 0 }
!skip { print }' "$notes" >"$tmp/notes" || exit 1
if ! cmp -s "$tmp/notes" "$notes"; then
	if [ -n "$check" ]; then
		echo "the table in MAINTAINERS-notes.md is not up to date: run make matrix" \
			>>"$tmp/problems"
		status=1
	else
		cat "$tmp/notes" >"$notes" || die "could not write $notes"
		say "$notes: written anew"
	fi
fi
sed 's/^/matrix: /' "$tmp/problems"
[ -z "$check" ] || exit $status
cat "$tmp/totals"
