// SPDX-License-Identifier: GPL-2.0
/*
 * Read the report of leased pins: see pins.h.
 *
 * /proc/file_pins has all pins, with the process that took the lease.  Who else
 * keeps a pin alive is in /proc/<pid>/file_pins, which lists the pins of one
 * process under the same numbers.  The kernel goes through all pins for each of
 * those files.  So if there are very many pins, only those processes are asked that
 * have something open or mapped whose name is that of an owner of pins.  A device
 * node can have any name: with fewer pins than that everybody is asked.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pins.h"
#include "util.h"

#define MAX_FIELDS	32
/* So many pins cost the kernel about what it costs us to look at what is open. */
#define ASK_ALL		1024

/* Columns of the report, found by their names, wherever they stand. */
enum field {
	F_ID, F_PID, F_DEV, F_INODE, F_RANGE, F_PAGES, F_MODE, F_LEASE, F_STATE,
	F_USER, F_PATH, NR_FIELDS
};

static const char * const field_names[NR_FIELDS] = {
	"ID", "PID", "DEV", "INODE", "RANGE", "PAGES", "MODE", "LEASE", "STATE",
	"USER", "PATH",
};

/* "\040" and its like, in place, as the kernel escapes in /proc. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (s[1] - '0') << 6 | (s[2] - '0') << 3 |
				(s[3] - '0');
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Decimal digits and nothing else, up to @end; strtoull() takes signs and blanks. */
static bool number(const char *s, char end, uint64_t *val, const char **rest)
{
	char *e;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*val = strtoull(s, &e, 10);
	if (errno || *e != end)
		return false;
	if (rest)
		*rest = e + 1;
	return true;
}

static int split(char *line, char **fields)
{
	char *save, *word;
	int n = 0;

	for (word = strtok_r(line, " \n", &save); word && n < MAX_FIELDS;
	     word = strtok_r(NULL, " \n", &save))
		fields[n++] = word;
	return n;
}

/* Where is which column?  False if one is missing that we cannot do without. */
static bool parse_header(char *line, int *where)
{
	char *fields[MAX_FIELDS];
	int n = split(line, fields);

	for (int f = 0; f < NR_FIELDS; f++) {
		where[f] = -1;
		for (int i = 0; i < n; i++)
			if (!strcmp(fields[i], field_names[f]))
				where[f] = i;
		if (where[f] < 0 && f != F_PID)
			return false;
	}
	return true;
}

/* Takes over @line, the allocated copy of a line, if it is one of the report. */
static bool parse_line(struct pin *p, char *line, const int *where)
{
	char *fields[MAX_FIELDS], *field[NR_FIELDS];
	uint64_t id, major, minor, pid = 0;
	const char *rest;
	int n = split(line, fields);

	for (int f = 0; f < NR_FIELDS; f++) {
		if (where[f] >= n)
			return false;
		field[f] = where[f] < 0 ? NULL : fields[where[f]];
	}
	if (!number(field[F_ID], '\0', &id, NULL) || id > UINT32_MAX ||
	    (field[F_PID] && !number(field[F_PID], '\0', &pid, NULL)) ||
	    pid > INT_MAX ||
	    !number(field[F_DEV], ':', &major, &rest) ||
	    !number(rest, '\0', &minor, NULL) ||
	    !number(field[F_INODE], '\0', &p->ino, NULL) ||
	    !number(field[F_RANGE], '-', &p->start, &rest) ||
	    !number(rest, '\0', &p->end, NULL) ||
	    !number(field[F_PAGES], '\0', &p->pages, NULL))
		return false;
	p->id = id;
	p->pid = pid;
	p->dev = makedev(major, minor);
	p->mode = field[F_MODE];
	p->lease = field[F_LEASE];
	p->state = field[F_STATE];
	unescape(field[F_USER]);
	p->user = field[F_USER];
	p->path = NULL;
	if (strcmp(field[F_PATH], "-")) {
		unescape(field[F_PATH]);
		p->path = field[F_PATH];
	}
	p->line = line;
	p->pids = NULL;
	p->nr_pids = 0;
	return true;
}

static void add_pid(struct pin *p, pid_t pid)
{
	size_t i = p->nr_pids;

	while (i && p->pids[i - 1] >= pid)
		i--;
	if (i < p->nr_pids && p->pids[i] == pid)
		return;
	p->pids = xrealloc(p->pids, p->nr_pids + 1, sizeof(*p->pids));
	memmove(p->pids + i + 1, p->pids + i,
		(p->nr_pids - i) * sizeof(*p->pids));
	p->pids[i] = pid;
	p->nr_pids++;
}

static int by_id(const void *a, const void *b)
{
	const struct pin *p = a, *q = b;

	return p->id < q->id ? -1 : p->id > q->id;
}

static struct pin *add_pin(struct report *r, const struct pin *p)
{
	if (r->nr_pins == r->max_pins) {
		r->max_pins *= 2;
		r->pins = xrealloc(r->pins, r->max_pins, sizeof(*r->pins));
	}
	r->pins[r->nr_pins] = *p;
	return &r->pins[r->nr_pins++];
}

void pin_free(struct pin *p)
{
	free(p->line);
	free(p->pids);
}

/*
 * The PID column has the numbers of our own pid namespace, the directories those of
 * the one whose /proc this is: that of the host, say, mounted in a container.  It
 * tells all numbers that we have, from its own namespace on.
 */
static bool is_foreign(const struct report *r)
{
	size_t size = 0, numbers = 0;
	char *line = NULL, *save;
	FILE *f;

	if (r->recorded)
		return false;
	f = report_open(r, "self/status");
	if (!f)
		return true;	/* it does not know us at all */
	while (!numbers && getline(&line, &size, f) > 0) {
		if (strncmp(line, "NSpid:", 6))
			continue;
		for (char *s = strtok_r(line + 6, " \t\n", &save); s;
		     s = strtok_r(NULL, " \t\n", &save))
			numbers++;
	}
	free(line);
	fclose(f);
	return numbers > 1;
}

/*
 * Read one report.  @pid is whose it is, 0 for that of all.  Pins that are not
 * known yet are added if @add.
 *
 * Return: 0, or an errno; EBADMSG if it is not understood, which has been said.
 */
static int read_file(struct report *r, const char *name, pid_t pid, bool add)
{
	size_t size = 0, known = r->nr_pins, lines = 0;
	int where[NR_FIELDS], err = 0;
	struct pin p, *pin;
	char *line = NULL;
	FILE *f;

	f = report_open(r, name);
	if (!f)
		return errno;
	r->found = true;
	while (errno = 0, getline(&line, &size, f) > 0) {
		if (!lines++ ? !parse_header(line, where) :
			       !parse_line(&p, line, where)) {
			warn("%s/%s: line %zu is not understood", r->proc, name,
			     lines);
			err = EBADMSG;
			break;
		}
		if (lines == 1)
			continue;
		line = NULL;		/* p has it now */
		size = 0;
		if (r->foreign)
			p.pid = 0;
		pin = bsearch(&p, r->pins, known, sizeof(p), by_id);
		if (pin || !add)
			pin_free(&p);
		else
			pin = add_pin(r, &p);
		if (pin && (pid || pin->pid))
			add_pid(pin, pid ? pid : pin->pid);
	}
	if (!err && ferror(f))
		err = errno ? errno : EIO;
	free(line);
	fclose(f);
	if (r->nr_pins > known)
		qsort(r->pins, r->nr_pins, sizeof(p), by_id);
	return err;
}

/* What can own pins, as its name is in /proc/<pid>/fd and in /proc/<pid>/maps. */
static bool names_owner(const char *name)
{
	return strstr(name, "/uverbs") || strstr(name, "[io_uring]");
}

static bool has_owner_open(const struct report *r, pid_t pid)
{
	char path[PATH_MAX], target[PATH_MAX];
	bool found = false;
	struct dirent *d;
	ssize_t n;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%d/fd", r->proc, pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (d = readdir(dir))) {
		n = readlinkat(dirfd(dir), d->d_name, target,
			       sizeof(target) - 1);
		if (n < 0)
			continue;	/* not a link, or closed meanwhile */
		target[n] = '\0';
		found = names_owner(target);
	}
	closedir(dir);
	return found;
}

static bool has_owner_mapped(const struct report *r, pid_t pid)
{
	char *line = NULL, name[32];
	bool found = false;
	size_t size = 0;
	FILE *f;

	snprintf(name, sizeof(name), "%d/maps", pid);
	f = report_open(r, name);
	if (!f)
		return false;
	while (!found && getline(&line, &size, f) > 0)
		found = names_owner(line);
	free(line);
	fclose(f);
	return found;
}

/*
 * Ask the processes themselves.  With the whole report at hand they only add to
 * who shares what is known from there.
 */
static bool read_processes(struct report *r)
{
	struct dirent *d;
	char name[32];
	uint64_t pid;
	int err = 0;
	DIR *dir;

	dir = opendir(r->proc);
	if (!dir) {
		warn("%s: %s", r->proc, strerror(errno));
		return false;
	}
	while (!err && (d = readdir(dir))) {
		if (!number(d->d_name, '\0', &pid, NULL) || pid > INT_MAX)
			continue;
		if (r->whole && r->nr_pins > ASK_ALL &&
		    !has_owner_open(r, pid) && !has_owner_mapped(r, pid))
			continue;
		snprintf(name, sizeof(name), "%d/file_pins", (int)pid);
		err = read_file(r, name, pid, !r->whole);
		if (err == EACCES || err == EPERM) {
			r->hidden++;
			err = 0;
		}
		if (err == ENOENT || err == ESRCH)
			err = 0;	/* it has gone, or there is no report */
		if (err && err != EBADMSG)
			warn("%s/%s: %s", r->proc, name, strerror(err));
	}
	closedir(dir);
	return !err;
}

bool report_read(struct report *r, bool who)
{
	int err;

	report_free(r);
	r->max_pins = 64;
	r->pins = xrealloc(NULL, r->max_pins, sizeof(*r->pins));
	r->found = false;
	r->hidden = 0;
	r->foreign = is_foreign(r);
	err = read_file(r, "file_pins", 0, true);
	r->whole = !err;
	if (!err)
		return (who || r->foreign) && r->nr_pins ? read_processes(r) : true;
	if (err != ENOENT && err != EACCES && err != EPERM) {
		if (err != EBADMSG)
			warn("%s/file_pins: %s", r->proc, strerror(err));
		return false;
	}
	if (!read_processes(r))
		return false;
	for (size_t i = 0; i < r->nr_pins; i++)
		r->pins[i].pid = r->pins[i].pids[0];
	return true;
}

void report_free(struct report *r)
{
	for (size_t i = 0; i < r->nr_pins; i++)
		pin_free(&r->pins[i]);
	free(r->pins);
	free(r->command);
	r->pins = NULL;
	r->command = NULL;
	r->command_of = 0;
	r->nr_pins = 0;
}

FILE *report_open(const struct report *r, const char *name)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", r->proc, name) >=
	    (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return fopen(path, "re");
}

static char *read_command(const struct report *r, pid_t pid)
{
	char name[32], *line = NULL;
	size_t size = 0;
	ssize_t n;
	FILE *f;

	snprintf(name, sizeof(name), "%d/comm", pid);
	f = report_open(r, name);
	if (!f)
		return NULL;
	/* it may have line ends in it, beside the one at the end */
	n = getdelim(&line, &size, '\0', f);
	fclose(f);
	if (n <= 0) {
		free(line);
		return NULL;
	}
	if (line[n - 1] == '\n')
		line[n - 1] = '\0';
	return line;
}

const char *report_command(struct report *r, pid_t pid)
{
	if (r->command_of != pid) {
		free(r->command);
		r->command = read_command(r, pid);
		r->command_of = pid;
	}
	return r->command;
}

/* The next line of mountinfo: its device, and where, in @line. */
static char *next_mount(FILE *f, char **line, size_t *size, dev_t *dev)
{
	char *fields[MAX_FIELDS];
	uint64_t major, minor;
	const char *rest;

	while (getline(line, size, f) > 0) {
		if (split(*line, fields) < 5 ||
		    !number(fields[2], ':', &major, &rest) ||
		    !number(rest, '\0', &minor, NULL))
			continue;
		*dev = makedev(major, minor);
		unescape(fields[4]);
		return fields[4];
	}
	return NULL;
}

bool report_mount_device(const struct report *r, const char *dir, dev_t *dev)
{
	char *line = NULL, *where;
	bool found = false;
	struct stat st;
	size_t size = 0;
	dev_t d;
	FILE *f;

	if (!r->recorded) {
		if (stat(dir, &st))
			return false;
		*dev = st.st_dev;
		return true;
	}
	f = report_open(r, "self/mountinfo");
	if (!f)
		return false;
	/* the last one covers those before it */
	while ((where = next_mount(f, &line, &size, &d))) {
		if (strcmp(where, dir))
			continue;
		*dev = d;
		found = true;
	}
	free(line);
	fclose(f);
	errno = ENOENT;
	return found;
}

char *report_mount_point(const struct report *r, dev_t dev)
{
	char *line = NULL, *where, *found = NULL;
	size_t size = 0;
	dev_t d;
	FILE *f;

	f = report_open(r, "self/mountinfo");
	if (!f)
		return NULL;
	while (!found && (where = next_mount(f, &line, &size, &d)))
		if (d == dev)
			found = xstrdup(where);
	free(line);
	fclose(f);
	return found;
}

bool pin_held(const struct pin *p)
{
	return strcmp(p->state, "revoked");
}

bool pin_rdma(const struct pin *p, size_t *len, const char **mrn)
{
	static const char prefix[] = "rdma:";
	const char *dev = p->user + sizeof(prefix) - 1, *end;

	if (strncmp(p->user, prefix, sizeof(prefix) - 1))
		return false;
	/* A device's name may have colons in it: from the end. */
	end = strrchr(dev, ':');
	*mrn = NULL;
	if (end && strcmp(end, ":mr")) {
		*mrn = end + 1;
		if (strcmp(*mrn, "-") &&
		    (!**mrn || (*mrn)[strspn(*mrn, "0123456789")]))
			return false;
		end = memrchr(dev, ':', end - dev);
		if (end && strncmp(end, ":mr:", 4))
			return false;
	}
	if (!end || end == dev)
		return false;
	*len = end - dev;
	return true;
}

bool pin_shared_by(const struct pin *p, pid_t pid)
{
	for (size_t i = 0; i < p->nr_pids; i++)
		if (p->pids[i] == pid)
			return true;
	return false;
}
