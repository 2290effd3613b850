// SPDX-License-Identifier: GPL-2.0
/*
 * lspins --revoke: have memory regions revoked, over RDMA netlink.
 *
 * The unit is the memory region, whatever number of pins it has.  The kernel is
 * told one of these pins too: it refuses if the number of the region has come to
 * be another one's since the report was read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "revoke.h"
#include "take.h"
#include "util.h"

struct region {
	const struct pin *pin;	/* the first of its pins */
	char *dev;
	uint32_t mrn;
};

struct regions {
	struct region *all;
	size_t nr;
	size_t others;		/* pins that cannot be taken this way */
};

/* Which region, if the kernel tells a number by which it can be revoked? */
static bool parse_user(const struct pin *p, char **dev, uint32_t *mrn)
{
	unsigned long val;
	const char *num;
	size_t len;
	char *end;

	if (!pin_rdma(p, &len, &num) || !num || *num == '-')
		return false;
	errno = 0;
	val = strtoul(num, &end, 10);
	if (errno || *end || val > UINT32_MAX)
		return false;
	*mrn = val;
	*dev = xasprintf("%.*s", (int)len, p->user + strlen("rdma:"));
	return true;
}

static int by_user(const void *a, const void *b)
{
	const struct region *p = a, *q = b;
	int order = strcmp(p->pin->user, q->pin->user);

	if (order)
		return order;
	return p->pin->id < q->pin->id ? -1 : p->pin->id > q->pin->id;
}

static void find_regions(struct regions *rs, const struct report *r)
{
	size_t kept = 0;

	rs->all = xrealloc(NULL, r->nr_pins, sizeof(*rs->all));
	for (size_t i = 0; i < r->nr_pins; i++) {
		struct region *reg = &rs->all[rs->nr];

		reg->pin = &r->pins[i];
		if (!pin_held(reg->pin))
			continue;
		if (parse_user(reg->pin, &reg->dev, &reg->mrn))
			rs->nr++;
		else
			rs->others++;
	}
	qsort(rs->all, rs->nr, sizeof(*rs->all), by_user);
	for (size_t i = 0; i < rs->nr; i++) {
		if (kept && !strcmp(rs->all[kept - 1].pin->user,
				    rs->all[i].pin->user))
			free(rs->all[i].dev);
		else
			rs->all[kept++] = rs->all[i];
	}
	rs->nr = kept;
}

static void free_regions(struct regions *rs)
{
	for (size_t i = 0; i < rs->nr; i++)
		free(rs->all[i].dev);
	free(rs->all);
}

static void print_region(const struct region *reg, const char *what)
{
	printf("%s mr %u (pin %u): %s\n", reg->dev, reg->mrn, reg->pin->id,
	       what);
	fflush(stdout);
}

static bool ask(const struct regions *rs)
{
	char answer[16] = "";

	printf("The device lets go of %zu memory region%s; work that uses %s fails.\n"
	       "Processes, connections and leases stay.  Revoke? [y/N] ", rs->nr,
	       rs->nr == 1 ? "" : "s", rs->nr == 1 ? "it" : "them");
	fflush(stdout);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	return !strcasecmp(answer, "y\n") || !strcasecmp(answer, "yes\n");
}

/* Returns false if the memory stays pinned. */
static bool take(struct revoke *conn, const struct region *reg)
{
	int err = revoke_mr(conn, reg->dev, reg->mrn, &reg->pin->id);

	switch (err) {
	case 0:
		print_region(reg, "revoked");
		return true;
	case ENOENT:	/* deregistered meanwhile */
	case ESTALE:	/* and its number is used again */
		print_region(reg, "gone already");
		return true;
	default:
		warn("%s mr %u: %s", reg->dev, reg->mrn, revoke_reason(conn));
		return false;
	}
}

static bool take_regions(const struct regions *rs)
{
	struct revoke *conn = revoke_open();
	bool ok = true;

	if (!conn) {
		warn("no RDMA netlink: %s", strerror(errno));
		return false;
	}
	for (size_t i = 0; i < rs->nr; i++)
		ok = take(conn, &rs->all[i]) && ok;
	revoke_close(conn);
	return ok;
}

int take_all(const struct report *r, bool dry_run, bool yes)
{
	struct regions rs = { };
	int status = EXIT_FOUND;

	find_regions(&rs, r);
	putchar('\n');
	if (!rs.nr && !rs.others) {
		puts("They hold nothing any more: nothing to revoke.");
		status = EXIT_NONE;
	} else if (dry_run) {
		for (size_t i = 0; i < rs.nr; i++)
			print_region(&rs.all[i], "would be revoked");
		printf("Dry run: nothing has been revoked.%s\n",
		       rs.nr ? "  --yes does it." : "");
	} else if (rs.nr && !yes && !ask(&rs)) {
		puts("Nothing has been revoked.");
		status = EXIT_NONE;
	} else if (rs.nr && r->recorded) {
		warn("this report is a recorded one: there is nothing to revoke");
		status = EXIT_ERROR;
	} else if (rs.nr && !take_regions(&rs)) {
		status = EXIT_ERROR;
	}
	if (rs.others) {
		warn("%zu pin%s cannot be revoked from here (a buffer, a region whose driver cannot do it, or not registered yet): end the processes in PIDS",
		     rs.others, rs.others == 1 ? "" : "s");
		status = EXIT_ERROR;
	}
	free_regions(&rs);
	return status;
}
