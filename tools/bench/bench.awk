# SPDX-License-Identifier: GPL-2.0
#
# awk -v table=FILE -v json=FILE -v svg=FILE -f bench.awk STOCK PATCHED: the ratios
# of what bench.c printed on the two kernels, as a table, as JSON and as a plot.

FNR == 1 { kernel = kernel == "" ? "stock" : "patched" }
$1 == "value" {
	value[kernel, $2, $3] = $4
	if (!(($2, $3) in known)) {
		known[$2, $3] = 1
		sizes[$2] = sizes[$2] " " $3
	}
}

function ratio(a, b) { return b + 0 ? a / b : 0 }

function human(size)
{
	if (size >= 1048576)
		return size / 1048576 " MiB"
	return size >= 1024 ? size / 1024 " KiB" : size " B"
}

# One row: an object of JSON, a line of the table, a point of the plot in panel and series
function row(panel, series, label, x, a, b, a_name, b_name,	r)
{
	r = ratio(a, b)
	printf "%-17s %10s %16.1f %16.1f %8.4f\n", series, label, b, a, r >table
	printf "%s\n    {\"what\": \"%s\", \"size\": %.0f, \"%s\": %.2f, \"%s\": %.2f, \"ratio\": %.5f}",
		comma, series, x, b_name, b, a_name, a, r >json
	comma = ","
	n_points[panel]++
	point_series[panel, n_points[panel]] = series
	point_label[panel, n_points[panel]] = label
	point_x[panel, n_points[panel]] = x
	point_y[panel, n_points[panel]] = r
}

function section(title, key, a_name, b_name)
{
	printf "%s%s\n%-17s %10s %16s %16s %8s\n", (n_sections++ ? "\n" : ""), title,
		"", "", b_name, a_name, "ratio" >table
	printf "%s\n  \"%s\": [", (n_sections == 1 ? "{" : "\n  ],"), key >json
	comma = ""
	titles[n_sections] = title
}

function list(what,	n, i)
{
	n = split(sizes[what], now)
	return n
}

# --- the plot: a panel for each section, ratios upwards on a logarithmic scale -----
function esc(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); return s }

function text(x, y, s, style)
{
	printf "<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, style, esc(s) >svg
}

function panel(p, top, height,	lo, hi, i, n, x, y, left, width, series, color, v, k, last, last_x, last_y)
{
	left = 90
	width = 640
	lo = hi = 1
	for (i = 1; i <= n_points[p]; i++) {
		v = point_y[p, i]
		if (v > 0 && v < lo)
			lo = v
		if (v > hi)
			hi = v
	}
	lo *= 1 - (hi - lo) * 0.05 - 0.002
	hi *= 1 + (hi - lo) * 0.05 + 0.002
	text(left, top - 12, titles[p], "font-weight=\"bold\"")
	printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n",
		left, top, width, height >svg
	# four marks, and one at 1
	for (k = 0; k <= 4; k++) {
		v = lo * exp(log(hi / lo) * k / 4)
		y = top + height - height * k / 4
		printf "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n",
			left, left + width, y, y >svg
		text(left - 8, y + 4, sprintf((hi < lo * 1.5 ? "%.4f" : "%.2f"), v),
			"text-anchor=\"end\" fill=\"#666\"")
	}
	y = top + height - height * log(1 / lo) / log(hi / lo)
	printf "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#000\" stroke-dasharray=\"4 3\"/>\n",
		left, left + width, y, y >svg
	text(left + width + 6, y + 4, "1", "")
	# one column for each size, in the order of their coming
	n = 0
	for (i = 1; i <= n_points[p]; i++)
		if (!((p, point_label[p, i]) in column)) {
			column[p, point_label[p, i]] = ++n
			name[p, n] = point_label[p, i]
		}
	for (i = 1; i <= n; i++)
		text(left + width * (i - 0.5) / n, top + height + 18, name[p, i],
			"text-anchor=\"middle\"")
	k = 0
	last = ""
	for (i = 1; i <= n_points[p]; i++) {
		series = point_series[p, i]
		if (!((p, series) in shade)) {
			shade[p, series] = colors[1 + k % 6]
			text(left + width + 24, top + 14 + 18 * k, series,
				"fill=\"" shade[p, series] "\"")
			k++
		}
		color = shade[p, series]
		x = left + width * (column[p, point_label[p, i]] - 0.5) / n
		v = point_y[p, i] > 0 ? point_y[p, i] : lo
		y = top + height - height * log(v / lo) / log(hi / lo)
		if (series == last)
			printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
				last_x, last_y, x, y, color >svg
		printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x, y, color >svg
		last = series
		last_x = x
		last_y = y
	}
}

END {
	if (!(("patched", "write", 64) in value) || !(("stock", "write", 64) in value)) {
		print "bench: a kernel has no results" >"/dev/stderr"
		exit 1
	}
	section("Instructions per packet: RDMA on rxe, messages of that size, patched / stock",
		"packets", "patched", "stock")
	split("write read send", kinds)
	for (k = 1; k <= 3; k++)
		for (i = 1; i <= list(kinds[k]); i++)
			row(n_sections, kinds[k], human(now[i]), now[i],
				value["patched", kinds[k], now[i]],
				value["stock", kinds[k], now[i]], "patched", "stock")
	section("Registration and deregistration: patched / stock", "registration",
		"patched", "stock")
	split("anonymous device-dax", kinds)
	for (k = 1; k <= 2; k++)
		for (i = 1; i <= list(kinds[k]); i++)
			row(n_sections, kinds[k], human(now[i]), now[i],
				value["patched", kinds[k], now[i]],
				value["stock", kinds[k], now[i]], "patched", "stock")
	section("Registration and deregistration: leased file / device-DAX", "leased",
		"leased", "device-dax")
	split("leased-xfs leased-ext4", kinds)
	for (k = 1; k <= 2; k++)
		for (i = 1; i <= list(kinds[k]); i++)
			row(n_sections, kinds[k], human(now[i]), now[i],
				value["patched", kinds[k], now[i]],
				value["patched", "device-dax", now[i]], "leased", "device-dax")
	section("Revoke of n regions / deregistration of n regions", "revoke", "revoke",
		"dereg")
	split("revoke revoke-by-close", kinds)
	for (k = 1; k <= 2; k++)
		for (i = 1; i <= list(kinds[k]); i++)
			row(n_sections, kinds[k], now[i], now[i],
				value["patched", kinds[k], now[i]],
				value["patched", "dereg", now[i]], "revoke", "dereg")
	section("The report: instructions per line at that many pins / at 1000", "report",
		"line", "line_at_1000")
	split("report report-of-process", kinds)
	for (k = 1; k <= 2; k++)
		for (i = 1; i <= list(kinds[k]); i++)
			row(n_sections, kinds[k], now[i], now[i],
				value["patched", kinds[k], now[i]],
				value["patched", kinds[k], 1000], "line", "line_at_1000")
	list("bytes-of-pin")
	bytes = value["patched", "bytes-of-pin", now[1]]
	printf "\nKernel memory of a pin, with its place in the table by number: %.1f bytes\n",
		bytes >table
	printf "\n  ],\n  \"bytes_of_pin\": %.1f\n}\n", bytes >json

	split("#1b6ca8 #c0392b #1e8449 #7d3c98 #b9770e #34495e", colors)
	height = 190
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"920\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n",
		n_sections * (height + 80) + 20 >svg
	print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>" >svg
	for (p = 1; p <= n_sections; p++)
		panel(p, 40 + (p - 1) * (height + 80), height)
	print "</svg>" >svg
}
