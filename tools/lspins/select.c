// SPDX-License-Identifier: GPL-2.0
/*
 * Which pins are asked for: see select.h.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "select.h"
#include "util.h"

static const char * const states[] = {
	"registering", "active", "recall", "revoking", "revoked", "orphan",
	"held",		/* all of them but "revoked" */
};

static void add(struct selection *sel, const struct criterion *c)
{
	sel->all = xrealloc(sel->all, sel->nr + 1, sizeof(*c));
	sel->all[sel->nr++] = *c;
}

static bool parse_num(const char *s, uint64_t max, uint64_t *num)
{
	char *end;

	/* strtoull() takes a sign and blanks */
	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*num = strtoull(s, &end, 10);
	return !errno && !*end && *num <= max;
}

/* How the kernel shows the name of a file that has none any more. */
static bool names_deleted(const char *path)
{
	static const char mark[] = " (deleted)";
	size_t len = strlen(path), tail = sizeof(mark) - 1;

	return *path == '/' && len > tail && !strcmp(path + len - tail, mark);
}

static bool parse_file(struct criterion *c, const struct report *r,
		       const char *arg)
{
	struct stat st;

	if (r->recorded ||
	    (stat(arg, &st) && errno == ENOENT && names_deleted(arg))) {
		c->name = arg;
		return true;
	}
	if (stat(arg, &st)) {
		warn("%s: %s", arg, strerror(errno));
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		warn("%s: not a regular file%s", arg,
		     S_ISDIR(st.st_mode) ? "; --mount takes a file system" :
		     S_ISBLK(st.st_mode) ? "; --device takes a device" : "");
		return false;
	}
	c->has_dev = true;
	c->dev = st.st_dev;
	c->num = st.st_ino;
	return true;
}

static bool parse_mount(struct criterion *c, const struct report *r,
			const char *arg)
{
	c->has_dev = report_mount_device(r, arg, &c->dev);
	if (!c->has_dev)
		warn("%s: %s", arg, strerror(errno));
	return c->has_dev;
}

/* "259:0", "/dev/pmem0", or a name: of an RDMA device, or one in /dev. */
static bool parse_device(struct criterion *c, const struct report *r,
			 const char *arg)
{
	unsigned int major, minor;
	char path[PATH_MAX];
	struct stat st;
	int used = 0;

	if (sscanf(arg, "%u:%u%n", &major, &minor, &used) == 2 && !arg[used]) {
		c->has_dev = true;
		c->dev = makedev(major, minor);
		return true;
	}
	snprintf(path, sizeof(path), "%s%s", strchr(arg, '/') ? "" : "/dev/",
		 arg);
	if (!r->recorded && !stat(path, &st) && S_ISBLK(st.st_mode)) {
		c->has_dev = true;
		c->dev = st.st_rdev;
	} else if (strchr(arg, '/')) {
		warn("%s: not a block device", arg);
		return false;
	}
	if (!strchr(arg, '/'))
		c->name = arg;
	/* It may be out of sight, in another network namespace. */
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s", arg);
	c->unknown = !c->has_dev && !r->recorded && access(path, F_OK);
	return true;
}

static bool parse_pid(struct criterion *c, const struct report *r,
		      const char *arg)
{
	char path[PATH_MAX];

	if (!parse_num(arg, INT_MAX, &c->num) || !c->num) {
		warn("not a process number: %s", arg);
		return false;
	}
	snprintf(path, sizeof(path), "%s/%s", r->proc, arg);
	if (access(path, F_OK)) {
		warn("no process %s", arg);
		return false;
	}
	return true;
}

static bool parse_state(struct criterion *c, const char *arg)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
		if (!strcmp(states[i], arg)) {
			c->name = states[i];
			return true;
		}
	}
	fprintf(stderr, "lspins: unknown state: %s; known are:", arg);
	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
		fprintf(stderr, " %s", states[i]);
	fputc('\n', stderr);
	return false;
}

static bool parse(struct criterion *c, const struct report *r, const char *arg)
{
	switch (c->kind) {
	case BY_FILE:
		return parse_file(c, r, arg);
	case BY_MOUNT:
		return parse_mount(c, r, arg);
	case BY_DEVICE:
		return parse_device(c, r, arg);
	case BY_PID:
		return parse_pid(c, r, arg);
	case BY_STATE:
		return parse_state(c, arg);
	default:
		if (parse_num(arg, UINT32_MAX, &c->num))
			return true;
		warn("not the number of a pin: %s", arg);
		return false;
	}
}

bool select_add(struct selection *sel, const struct report *r, enum kind kind,
		char *arg)
{
	bool list = kind == BY_PID || kind == BY_STATE || kind == BY_ID;
	char *save, *word;

	for (word = list ? strtok_r(arg, ",", &save) : arg; word;
	     word = list ? strtok_r(NULL, ",", &save) : NULL) {
		struct criterion c = { .kind = kind };

		if (!parse(&c, r, word))
			return false;
		add(sel, &c);
	}
	if (select_has(sel, kind))
		return true;
	warn("an empty list selects nothing");
	return false;
}

bool select_has(const struct selection *sel, enum kind kind)
{
	for (size_t i = 0; i < sel->nr; i++)
		if (sel->all[i].kind == kind)
			return true;
	return false;
}

static bool uses_rdma_device(const struct pin *p, const char *name)
{
	const char *mrn;
	size_t len;

	return pin_rdma(p, &len, &mrn) && len == strlen(name) &&
	       !strncmp(p->user + strlen("rdma:"), name, len);
}

bool select_check(const struct selection *sel, const struct report *r)
{
	for (size_t i = 0; i < sel->nr; i++) {
		bool known = !sel->all[i].unknown;

		for (size_t k = 0; !known && k < r->nr_pins; k++)
			known = uses_rdma_device(&r->pins[k], sel->all[i].name);
		if (!known) {
			warn("no device %s", sel->all[i].name);
			return false;
		}
	}
	return true;
}

static bool matches(const struct criterion *c, const struct pin *p)
{
	switch (c->kind) {
	case BY_FILE:
		if (c->has_dev)
			return c->dev == p->dev && c->num == p->ino;
		return p->path && !strcmp(c->name, p->path);
	case BY_MOUNT:
		return c->dev == p->dev;
	case BY_DEVICE:
		return (c->has_dev && c->dev == p->dev) ||
		       (c->name && uses_rdma_device(p, c->name));
	case BY_PID:
		return pin_shared_by(p, c->num);
	case BY_STATE:
		return strcmp(c->name, "held") ? !strcmp(c->name, p->state) :
						 pin_held(p);
	default:
		return c->num == p->id;
	}
}

static bool selected(const struct selection *sel, const struct pin *p)
{
	bool asked[NR_KINDS] = { }, met[NR_KINDS] = { };

	for (size_t i = 0; i < sel->nr; i++) {
		enum kind kind = sel->all[i].kind;

		asked[kind] = true;
		met[kind] = met[kind] || matches(&sel->all[i], p);
	}
	return !memcmp(asked, met, sizeof(met));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char * const *)a, *(const char * const *)b);
}

/* "-", or no number at all, is what all such regions of a device are called. */
static bool names_region(const struct pin *p)
{
	const char *mrn;
	size_t len;

	return !pin_rdma(p, &len, &mrn) || (mrn && *mrn != '-');
}

void select_apply(const struct selection *sel, struct report *r, bool regions)
{
	bool *keep = xrealloc(NULL, r->nr_pins, sizeof(*keep));
	const char **users = xrealloc(NULL, r->nr_pins, sizeof(*users));
	size_t kept = 0, nr_users = 0;

	for (size_t i = 0; i < r->nr_pins; i++) {
		keep[i] = selected(sel, &r->pins[i]);
		if (keep[i] && regions && pin_held(&r->pins[i]) &&
		    names_region(&r->pins[i]))
			users[nr_users++] = r->pins[i].user;
	}
	qsort(users, nr_users, sizeof(*users), by_name);
	for (size_t i = 0; i < r->nr_pins; i++)
		keep[i] = keep[i] || bsearch(&r->pins[i].user, users, nr_users,
					     sizeof(*users), by_name);
	for (size_t i = 0; i < r->nr_pins; i++) {
		if (keep[i])
			r->pins[kept++] = r->pins[i];
		else
			pin_free(&r->pins[i]);
	}
	r->nr_pins = kept;
	free(users);
	free(keep);
}
