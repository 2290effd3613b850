# SPDX-License-Identifier: GPL-2.0
#
# awk -f promlint.awk FILE: is this what Prometheus' textfile collector takes? Says
# what is not; exit status 1 then. Checks what lspins needs of the format: HELP and
# TYPE once, before their samples, which stand together; names, labels, escapes,
# values; no series twice.

function bad(what) { printf "line %d: %s: %s\n", NR, what, $0; wrong = 1 }

/^# (HELP|TYPE) / {
	if ($3 !~ /^[a-zA-Z_:][a-zA-Z0-9_:]*$/)
		bad("name")
	if (seen[$2, $3]++)
		bad($2 " twice")
	if (sampled[$3])
		bad($2 " after samples")
	if ($2 == "HELP" && NF < 4)
		bad("no help")
	if ($2 == "TYPE" && $4 !~ /^(counter|gauge)$/)
		bad("type")
	if ($2 == "TYPE")
		type[$3] = $4
	next
}
/^#/ { next }
/^$/ { next }
{
	if (!match($0, /^[a-zA-Z_:][a-zA-Z0-9_:]*/)) {
		bad("no name")
		next
	}
	name = substr($0, 1, RLENGTH)
	rest = substr($0, RLENGTH + 1)
	if (!seen["HELP", name] || !seen["TYPE", name])
		bad("no HELP or TYPE before it")
	if (name != last && sampled[name])
		bad("samples of a metric apart from each other")
	sampled[name] = 1
	last = name
	if (type[name] == "counter" && name !~ /_total$/)
		bad("a counter's name ends in _total")
	series = name
	if (sub(/^\{/, "", rest)) {
		while (match(rest, /^[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*",?/)) {
			series = series SUBSEP substr(rest, 1, RLENGTH)
			rest = substr(rest, RLENGTH + 1)
		}
		if (!sub(/^\}/, "", rest))
			bad("labels")
	}
	if (rest !~ /^ -?[0-9]+(\.[0-9]+)?$/)
		bad("value")
	if (all[series]++)
		bad("series twice")
	n++
}
END {
	if (!n) {
		print "no samples"
		wrong = 1
	}
	exit wrong
}
