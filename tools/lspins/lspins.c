// SPDX-License-Identifier: GPL-2.0
/*
 * lspins - who keeps a file system from its blocks
 *
 * Lists the leased pins of DAX files, with the processes behind them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <libsmartcols/libsmartcols.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "pins.h"
#include "prometheus.h"
#include "select.h"
#include "take.h"
#include "util.h"

#define VERSION "0.1"
#define MAX_COLUMNS 64

enum format { TABLE, RAW, JSON, PROMETHEUS };

struct options {
	enum format format;
	bool noheadings, bytes;
	bool revoke, yes, dry_run;
	double watch;			/* seconds; 0: once */
	size_t columns[MAX_COLUMNS];	/* indices of the table below */
	size_t nr_columns;
};

/* --- columns ---------------------------------------------------------------- */

/* What the cells of a row are made from. */
struct row {
	const struct pin *pin;
	struct report *report;
	const struct options *opts;
};

/* JSON is UTF-8, whatever names are. */
static char *cell_text(const struct row *row, const char *text)
{
	return row->opts->format == JSON ? utf8_copy(text) : xstrdup(text);
}

/* Each returns an allocated text; NULL if there is nothing to tell. */
static char *cell_id(const struct row *row)
{
	return xasprintf("%u", row->pin->id);
}

static char *cell_pid(const struct row *row)
{
	return xasprintf("%d", row->pin->pid);
}

static char *cell_command(const struct row *row)
{
	const struct pin *p = row->pin;
	const char *command;
	pid_t pid = p->pid;

	/* Who took the lease is gone: tell of who is there. */
	if (!pid && p->nr_pids)
		pid = p->pids[0];
	command = pid ? report_command(row->report, pid) : NULL;
	return command ? cell_text(row, command) : NULL;
}

static char *cell_pids(const struct row *row)
{
	const struct pin *p = row->pin;
	char *text = NULL, *longer;

	/* libsmartcols takes the lines of a cell for the elements of an array */
	for (size_t i = 0; i < p->nr_pids; i++) {
		longer = xasprintf("%s%s%d", text ? text : "", !text ? "" :
				   row->opts->format == JSON ? "\n" : ",",
				   p->pids[i]);
		free(text);
		text = longer;
	}
	return text;
}

static char *cell_dev(const struct row *row)
{
	return xasprintf("%u:%u", major(row->pin->dev), minor(row->pin->dev));
}

static char *cell_u64(uint64_t val)
{
	return xasprintf("%llu", (unsigned long long)val);
}

static char *cell_ino(const struct row *row)
{
	return cell_u64(row->pin->ino);
}

static char *cell_start(const struct row *row)
{
	return cell_u64(row->pin->start);
}

static char *cell_end(const struct row *row)
{
	return cell_u64(row->pin->end);
}

static char *cell_size(const struct row *row)
{
	const struct pin *p = row->pin;
	uint64_t size = p->pages ? p->end - p->start + 1 : 0;
	const char *unit = "BKMGTPE";
	double val = size;

	if (row->opts->bytes || row->opts->format == JSON)
		return cell_u64(size);
	for (; val >= 1024; val /= 1024)
		unit++;
	return xasprintf("%.*f%c", fmod(val, 1) ? 1 : 0, val, *unit);
}

static char *cell_pages(const struct row *row)
{
	return cell_u64(row->pin->pages);
}

static char *cell_mode(const struct row *row)
{
	return xstrdup(row->pin->mode);
}

static char *cell_lease(const struct row *row)
{
	return xstrdup(row->pin->lease);
}

static char *cell_state(const struct row *row)
{
	return xstrdup(row->pin->state);
}

static char *cell_user(const struct row *row)
{
	return cell_text(row, row->pin->user);
}

static char *cell_path(const struct row *row)
{
	return row->pin->path ? cell_text(row, row->pin->path) : NULL;
}

/* All there is to know about a column; everything else goes by this table. */
static const struct column {
	const char *name;
	double whint;		/* hint for its width, as libsmartcols has it */
	int flags;
	int json;
	bool by_default;
	bool who;		/* needs a look at every process */
	const char *help;
	char *(*cell)(const struct row *row);
} columns[] = {
	{ "ID", 4, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true, false,
	  "number of the pin", cell_id },
	{ "PID", 5, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true, false,
	  "process that took the lease; 0 if it is gone or out of sight",
	  cell_pid },
	{ "COMMAND", 15, 0, SCOLS_JSON_STRING, true, true,
	  "command of that process, else of the first of PIDS", cell_command },
	{ "PIDS", 10, 0, SCOLS_JSON_ARRAY_NUMBER, true, true,
	  "all processes that share the pin", cell_pids },
	{ "DEV", 7, 0, SCOLS_JSON_STRING, false, false,
	  "device of the file, major:minor", cell_dev },
	{ "INO", 9, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false, false,
	  "inode number of the file", cell_ino },
	{ "START", 10, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false, false,
	  "first byte of the range", cell_start },
	{ "END", 10, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false, false,
	  "last byte of the range", cell_end },
	{ "SIZE", 4, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, true, false,
	  "size of the range", cell_size },
	{ "PAGES", 4, SCOLS_FL_RIGHT, SCOLS_JSON_NUMBER, false, false,
	  "number of pages", cell_pages },
	{ "MODE", 4, 0, SCOLS_JSON_STRING, true, false,
	  "rw if the device may write, else ro", cell_mode },
	{ "LEASE", 6, 0, SCOLS_JSON_STRING, true, false,
	  "layout or exclusive", cell_lease },
	{ "STATE", 6, 0, SCOLS_JSON_STRING, true, false,
	  "registering, active, recall, revoking, revoked, orphan",
	  cell_state },
	{ "USER", 15, 0, SCOLS_JSON_STRING, true, false,
	  "who uses the pages: memory region or registered buffer", cell_user },
	{ "PATH", 20, 0, SCOLS_JSON_STRING, true, false,
	  "path of the file; none if the pin holds nothing any more",
	  cell_path },
};

#define NR_COLUMNS (sizeof(columns) / sizeof(*columns))

static bool add_column(struct options *o, size_t col)
{
	if (o->nr_columns == MAX_COLUMNS) {
		warn("too many columns");
		return false;
	}
	o->columns[o->nr_columns++] = col;
	return true;
}

static bool default_columns(struct options *o, bool all)
{
	for (size_t i = 0; i < NR_COLUMNS; i++)
		if ((all || columns[i].by_default) && !add_column(o, i))
			return false;
	return true;
}

/* "PID,path", or "+dev,ino" for these beside the usual ones. */
static bool parse_columns(struct options *o, char *list)
{
	char *save, *word;

	o->nr_columns = 0;
	if (*list == '+') {
		default_columns(o, false);
		list++;
	}
	for (word = strtok_r(list, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		size_t i = 0;

		while (i < NR_COLUMNS && strcasecmp(columns[i].name, word))
			i++;
		if (i == NR_COLUMNS) {
			warn("unknown column: %s", word);
			return false;
		}
		if (!add_column(o, i))
			return false;
	}
	if (o->nr_columns)
		return true;
	warn("no columns given");
	return false;
}

static void list_columns(FILE *f, const char *indent)
{
	for (size_t i = 0; i < NR_COLUMNS; i++)
		fprintf(f, "%s%-8s %s\n", indent, columns[i].name,
			columns[i].help);
}

/* --- output ----------------------------------------------------------------- */

static struct libscols_table *new_table(const struct options *o)
{
	struct libscols_table *t = scols_new_table();

	if (!t)
		return NULL;
	scols_table_enable_raw(t, o->format == RAW);
	scols_table_enable_json(t, o->format == JSON);
	scols_table_enable_noheadings(t, o->noheadings);
	scols_table_set_name(t, "pins");
	for (size_t i = 0; i < o->nr_columns; i++) {
		const struct column *col = &columns[o->columns[i]];
		int flags = col->flags;
		struct libscols_column *c;

		if (o->format == JSON && col->json == SCOLS_JSON_ARRAY_NUMBER)
			flags |= SCOLS_FL_WRAP;
		c = scols_table_new_column(t, col->name, col->whint, flags);
		if (!c)
			goto fail;
		scols_column_set_json_type(c, col->json);
		if (flags & SCOLS_FL_WRAP)
			scols_column_set_wrapfunc(c, scols_wrapnl_chunksize,
						  scols_wrapnl_nextchunk, NULL);
	}
	return t;
fail:
	scols_unref_table(t);
	return NULL;
}

static bool add_row(struct libscols_table *t, const struct row *row)
{
	const struct options *o = row->opts;
	struct libscols_line *line = scols_table_new_line(t, NULL);

	for (size_t i = 0; line && i < o->nr_columns; i++) {
		char *text = columns[o->columns[i]].cell(row);

		/* an empty cell would shift the others for who counts fields */
		if (!text && o->format != JSON)
			text = xstrdup("-");
		if (text && scols_line_refer_data(line, i, text)) {
			free(text);
			return false;
		}
	}
	return line;
}

static bool print_table(struct report *r, const struct options *o)
{
	struct libscols_table *t = new_table(o);
	bool ok = t;

	for (size_t i = 0; ok && i < r->nr_pins; i++) {
		struct row row = {
			.pin = &r->pins[i], .report = r, .opts = o,
		};

		ok = add_row(t, &row);
	}
	ok = ok && !scols_print_table(t);
	if (!ok)
		warn("cannot print: %s", strerror(errno ? errno : ENOMEM));
	scols_unref_table(t);
	return ok;
}

static bool has_state(const struct report *r, const char *state)
{
	for (size_t i = 0; i < r->nr_pins; i++)
		if (!strcmp(r->pins[i].state, state))
			return true;
	return false;
}

/* Does the file system take what is not given back? */
static bool is_enforced(const struct report *r)
{
	FILE *f = report_open(r, "sys/fs/layout-break-enforce");
	int val = 1;

	if (!f)
		return true;
	if (fscanf(f, "%d", &val) != 1)
		val = 1;
	fclose(f);
	return val;
}

/* Hints for a person: why the list is short, and what to do next. */
static void explain(const struct report *r, const struct options *o)
{
	if (o->format != TABLE || o->noheadings || !isatty(STDOUT_FILENO))
		return;
	if (!r->nr_pins)
		warn("no pins");
	if (has_state(r, "recall") && !o->revoke)
		warn("recall: somebody needs these blocks, and %s; the same command with --revoke takes them now",
		     is_enforced(r) ?
		     "gets them when fs.lease-break-time is over" :
		     "does not get them by force, as fs.layout-break-enforce is 0");
	if (has_state(r, "orphan"))
		warn("orphan: cannot be taken; end the processes in PIDS");
	if (!r->whole && r->hidden)
		warn("%zu processes are not yours to look at; root sees them",
		     r->hidden);
}

/* --- doing it ---------------------------------------------------------------- */

static bool needs_who(const struct options *o, const struct selection *sel)
{
	if (o->format == PROMETHEUS || select_has(sel, BY_PID))
		return true;
	for (size_t i = 0; i < o->nr_columns; i++)
		if (columns[o->columns[i]].who)
			return true;
	return false;
}

static int flush_stdout(int status)
{
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	warn("write error: %s", strerror(errno ? errno : EIO));
	return EXIT_ERROR;
}

/* One look at the pins; returns the exit status. */
static int look(struct report *r, const struct selection *sel,
		const struct options *o)
{
	if (!report_read(r, needs_who(o, sel)))
		return EXIT_ERROR;
	if (!r->found) {
		warn("this kernel has no leased pins (there is no %s/self/file_pins)",
		     r->proc);
		return EXIT_ERROR;
	}
	if (!select_check(sel, r))
		return EXIT_ERROR;
	select_apply(sel, r, o->revoke);
	if (o->format == PROMETHEUS) {
		print_prometheus(r);
		return flush_stdout(EXIT_FOUND);
	}
	if (!print_table(r, o))
		return EXIT_ERROR;
	explain(r, o);
	return flush_stdout(r->nr_pins ? EXIT_FOUND : EXIT_NONE);
}

static int watch(struct report *r, const struct selection *sel,
		 const struct options *o)
{
	struct timespec delay = {
		.tv_sec = o->watch, .tv_nsec = fmod(o->watch, 1) * 1e9,
	};
	bool terminal = isatty(STDOUT_FILENO);
	char now[64];
	int status;
	time_t t;

	for (;;) {
		t = time(NULL);
		strftime(now, sizeof(now), "%F %T", localtime(&t));
		if (terminal)	/* home, and clear what is below */
			fputs("\033[H\033[J", stdout);
		if (o->format == TABLE)
			printf("%s\n", now);
		status = look(r, sel, o);
		if (status == EXIT_ERROR)
			return status;
		if (!terminal && o->format == TABLE)
			putchar('\n');
		if (flush_stdout(status) == EXIT_ERROR)
			return EXIT_ERROR;
		nanosleep(&delay, NULL);
	}
}

static int look_and_take(struct report *r, const struct selection *sel,
			 const struct options *o)
{
	bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	int status = look(r, sel, o);

	if (status != EXIT_FOUND)
		return status;
	status = take_all(r, o->dry_run || (!o->yes && !terminal), o->yes);
	return flush_stdout(status);
}

/* --- options ----------------------------------------------------------------- */

static void print_help(void)
{
	fputs("Usage: lspins [options] [FILE...]\n"
	      "\n"
	      "List the leased pins of DAX files: which process has given which range of\n"
	      "which file to a device, so that the file system has to ask to get it back.\n"
	      "\n"
	      "Which pins (several of a kind: any of them; several kinds: all of them):\n"
	      "  FILE                   of this file\n"
	      "  -m, --mount DIR        of the file system that DIR is on\n"
	      "  -d, --device DEVICE    of this RDMA device (rxe0), or of files on this block\n"
	      "                         device (/dev/pmem0, pmem0, 259:0)\n"
	      "  -p, --pid PID[,PID]    that these processes share\n"
	      "  -s, --state STATE[,..] in these states; held: all but revoked\n"
	      "  -i, --id ID[,ID]       with these numbers\n"
	      "\n"
	      "How to show them:\n"
	      "  -b, --bytes            sizes in bytes\n"
	      "  -J, --json             as JSON, with sizes in bytes\n"
	      "  -n, --noheadings       without a line of headings\n"
	      "  -o, --output LIST      these columns; with a + before them, beside the usual\n"
	      "      --output-all       all columns\n"
	      "  -r, --raw              columns separated by one space\n"
	      "      --prometheus       as metrics for node_exporter's textfile collector\n"
	      "  -w, --watch[=SECONDS]  again and again, every 2 seconds\n"
	      "\n"
	      "What to do with them:\n"
	      "      --revoke           make the RDMA device let go of them; asks, and only\n"
	      "                         tells what it would do if there is nobody to ask\n"
	      "      --dry-run          with --revoke, only tell\n"
	      "  -y, --yes              with --revoke, do not ask\n"
	      "\n"
	      "      --proc DIR         read DIR, a copy of /proc, instead (for tests)\n"
	      "  -H, --list-columns     the columns\n"
	      "  -h, --help             this text\n"
	      "  -V, --version          the version\n"
	      "\n"
	      "Columns:\n", stdout);
	list_columns(stdout, "  ");
	fputs("\n"
	      "Root sees all pins, others those of their own processes.\n"
	      "\n"
	      "Exit status: 0 if there are pins, 1 if there are none, 2 after an error.\n"
	      "See lspins(8).\n", stdout);
}

static int usage_error(void)
{
	fputs("Try 'lspins --help'.\n", stderr);
	return EXIT_ERROR;
}

static bool parse_seconds(struct options *o, const char *arg)
{
	char *end;

	o->watch = 2;
	if (!arg)
		return true;
	errno = 0;
	o->watch = strtod(arg, &end);
	if (!errno && end != arg && !*end && o->watch >= 0.1 &&
	    o->watch <= 86400)
		return true;
	warn("--watch: 0.1 to 86400 seconds, not %s", arg);
	return false;
}

static bool set_format(struct options *o, enum format format)
{
	if (o->format == TABLE || o->format == format) {
		o->format = format;
		return true;
	}
	warn("--json, --raw and --prometheus exclude each other");
	return false;
}

/* Options that make no sense together. */
static bool check_options(const struct options *o, const struct selection *sel)
{
	const char *why = NULL;

	if (o->watch && o->format == PROMETHEUS)
		why = "--prometheus cannot be watched: let a timer run it";
	else if (!o->revoke && (o->yes || o->dry_run))
		why = "--yes and --dry-run go with --revoke";
	else if (o->yes && o->dry_run)
		why = "--yes and --dry-run exclude each other";
	else if (o->revoke && (o->watch || o->format != TABLE))
		why = "--revoke goes with no other output than the table";
	else if (o->revoke && !sel->nr)
		why = "--revoke needs to be told which pins";
	if (why)
		warn("%s", why);
	return !why;
}

enum {
	OPT_OUTPUT_ALL = 256, OPT_PROMETHEUS, OPT_REVOKE, OPT_DRY_RUN, OPT_PROC
};

static const struct option long_options[] = {
	{ "bytes",	  no_argument,	     NULL, 'b' },
	{ "device",	  required_argument, NULL, 'd' },
	{ "dry-run",	  no_argument,	     NULL, OPT_DRY_RUN },
	{ "help",	  no_argument,	     NULL, 'h' },
	{ "id",		  required_argument, NULL, 'i' },
	{ "json",	  no_argument,	     NULL, 'J' },
	{ "list-columns", no_argument,	     NULL, 'H' },
	{ "mount",	  required_argument, NULL, 'm' },
	{ "noheadings",	  no_argument,	     NULL, 'n' },
	{ "output",	  required_argument, NULL, 'o' },
	{ "output-all",	  no_argument,	     NULL, OPT_OUTPUT_ALL },
	{ "pid",	  required_argument, NULL, 'p' },
	{ "proc",	  required_argument, NULL, OPT_PROC },
	{ "prometheus",	  no_argument,	     NULL, OPT_PROMETHEUS },
	{ "raw",	  no_argument,	     NULL, 'r' },
	{ "revoke",	  no_argument,	     NULL, OPT_REVOKE },
	{ "state",	  required_argument, NULL, 's' },
	{ "version",	  no_argument,	     NULL, 'V' },
	{ "watch",	  optional_argument, NULL, 'w' },
	{ "yes",	  no_argument,	     NULL, 'y' },
	{ }
};

/* What is asked for can only be looked up when all options are known. */
struct wish {
	enum kind kind;
	char *arg;
};

struct wishes {
	struct wish *all;
	size_t nr;
};

static bool add_wish(struct wishes *w, enum kind kind, char *arg)
{
	w->all = xrealloc(w->all, w->nr + 1, sizeof(*w->all));
	w->all[w->nr++] = (struct wish) { kind, arg };
	return true;
}

/* Returns false after an error, which has been said. */
static bool parse_option(struct options *o, struct report *r, struct wishes *w,
			 int c)
{
	switch (c) {
	case 'b':
		o->bytes = true;
		return true;
	case 'd':
		return add_wish(w, BY_DEVICE, optarg);
	case 'i':
		return add_wish(w, BY_ID, optarg);
	case 'J':
		return set_format(o, JSON);
	case 'm':
		return add_wish(w, BY_MOUNT, optarg);
	case 'n':
		o->noheadings = true;
		return true;
	case 'o':
		return parse_columns(o, optarg);
	case 'p':
		return add_wish(w, BY_PID, optarg);
	case 'r':
		return set_format(o, RAW);
	case 's':
		return add_wish(w, BY_STATE, optarg);
	case 'w':
		return parse_seconds(o, optarg);
	case 'y':
		o->yes = true;
		return true;
	case OPT_OUTPUT_ALL:
		o->nr_columns = 0;
		return default_columns(o, true);
	case OPT_PROMETHEUS:
		return set_format(o, PROMETHEUS);
	case OPT_REVOKE:
		o->revoke = true;
		return true;
	case OPT_DRY_RUN:
		o->dry_run = true;
		return true;
	case OPT_PROC:
		r->proc = optarg;
		r->recorded = true;
		return true;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	struct report report = { .proc = "/proc" };
	struct selection sel = { };
	struct options opts = { };
	struct wishes wishes = { };
	int c, status = EXIT_FOUND;

	setlocale(LC_CTYPE, "");
	while ((c = getopt_long(argc, argv, "bd:Hhi:Jm:no:p:rs:Vw::y",
				long_options, NULL)) != -1) {
		if (c == 'h') {
			print_help();
			return flush_stdout(EXIT_FOUND);
		}
		if (c == 'H') {
			list_columns(stdout, "");
			return flush_stdout(EXIT_FOUND);
		}
		if (c == 'V') {
			puts("lspins " VERSION);
			return flush_stdout(EXIT_FOUND);
		}
		if (!parse_option(&opts, &report, &wishes, c))
			return usage_error();
	}
	for (; optind < argc; optind++)
		add_wish(&wishes, BY_FILE, argv[optind]);
	for (size_t i = 0; i < wishes.nr && status == EXIT_FOUND; i++)
		if (!select_add(&sel, &report, wishes.all[i].kind,
				wishes.all[i].arg))
			status = EXIT_ERROR;
	if (!opts.nr_columns)
		default_columns(&opts, false);
	if (status == EXIT_FOUND && !check_options(&opts, &sel))
		status = usage_error();

	if (status != EXIT_FOUND)
		;	/* has been said */
	else if (opts.revoke)
		status = look_and_take(&report, &sel, &opts);
	else if (opts.watch)
		status = watch(&report, &sel, &opts);
	else
		status = look(&report, &sel, &opts);
	report_free(&report);
	free(wishes.all);
	free(sel.all);
	return status;
}
