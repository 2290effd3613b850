// SPDX-License-Identifier: GPL-2.0
/*
 * lspins --prometheus: the textfile format of Prometheus' node exporter.
 *
 * Labels are what there are few of: file systems, RDMA devices, modes, leases and
 * states.  Processes and files come and go, and would each leave a time series
 * behind, so they are counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "prometheus.h"
#include "util.h"

/* Pins that have all labels in common. */
struct series {
	const struct pin *one;
	size_t user_len;	/* of one->user, up to the number */
	uint64_t pins, bytes;
};

struct metrics {
	struct series *series;
	size_t nr;
};

/* "rdma:rxe0:mr:12" is of "rdma:rxe0", "io_uring:4711:buf:0" of "io_uring". */
static size_t user_len(const struct pin *p)
{
	const char *mrn;
	size_t len;

	if (pin_rdma(p, &len, &mrn))
		return strlen("rdma:") + len;
	return strcspn(p->user, ":");
}

static bool same_series(const struct series *s, const struct pin *p)
{
	const struct pin *q = s->one;

	return q->dev == p->dev && user_len(p) == s->user_len &&
	       !strncmp(q->user, p->user, s->user_len) &&
	       !strcmp(q->mode, p->mode) && !strcmp(q->lease, p->lease) &&
	       !strcmp(q->state, p->state);
}

static void collect(struct metrics *m, const struct pin *p)
{
	struct series *s = m->series;

	while (s < m->series + m->nr && !same_series(s, p))
		s++;
	if (s == m->series + m->nr) {
		m->series = xrealloc(m->series, m->nr + 1, sizeof(*s));
		s = &m->series[m->nr++];
		*s = (struct series) { .one = p, .user_len = user_len(p) };
	}
	s->pins++;
	s->bytes += p->pages ? p->end - p->start + 1 : 0;
}

static int by_file(const void *a, const void *b)
{
	const struct pin *p = *(const struct pin * const *)a;
	const struct pin *q = *(const struct pin * const *)b;

	if (p->dev != q->dev)
		return p->dev < q->dev ? -1 : 1;
	return p->ino < q->ino ? -1 : p->ino > q->ino;
}

static int by_user(const void *a, const void *b)
{
	const struct pin *p = *(const struct pin * const *)a;
	const struct pin *q = *(const struct pin * const *)b;

	int order = strcmp(p->user, q->user);
	const char *mrn;
	size_t len;

	/* What has no number cannot be told from others of the device. */
	if (!order && pin_rdma(p, &len, &mrn) && (!mrn || *mrn == '-'))
		return p->id < q->id ? -1 : p->id > q->id;
	return order;
}

static int by_number(const void *a, const void *b)
{
	pid_t p = *(const pid_t *)a, q = *(const pid_t *)b;

	return p < q ? -1 : p > q;
}

static size_t distinct(void *base, size_t nr, size_t size,
		       int (*cmp)(const void *a, const void *b))
{
	size_t n = 0;

	qsort(base, nr, size, cmp);
	for (size_t i = 0; i < nr; i++)
		n += !i || cmp((char *)base + (i - 1) * size,
			       (char *)base + i * size);
	return n;
}

/* A label's value: backslash, quote and line end are escaped. */
static void label(const char *name, const char *val, size_t len)
{
	printf("%s=\"", name);
	for (; len && *val; val++, len--) {
		if (*val == '\n')
			fputs("\\n", stdout);
		else if (*val == '\\' || *val == '"')
			printf("\\%c", *val);
		else
			putchar(*val);
	}
	putchar('"');
}

static void labels(const struct report *r, const struct series *s)
{
	const struct pin *p = s->one;
	char *mount = report_mount_point(r, p->dev);
	char *text = mount ? utf8_copy(mount) : xstrdup("");
	char *user = xasprintf("%.*s", (int)s->user_len, p->user);
	char *user_text = utf8_copy(user);
	char dev[32];

	snprintf(dev, sizeof(dev), "%u:%u", major(p->dev), minor(p->dev));
	putchar('{');
	label("device", dev, sizeof(dev));
	/* what is not UTF-8 would make the whole file invalid */
	label(",mountpoint", text, -1);
	label(",user", user_text, -1);
	label(",mode", p->mode, -1);
	label(",lease", p->lease, -1);
	label(",state", p->state, -1);
	putchar('}');
	free(user_text);
	free(user);
	free(mount);
	free(text);
}

static void about(const char *name, const char *type, const char *help)
{
	printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(const char *name, const char *help, size_t val)
{
	about(name, "gauge", help);
	printf("%s %zu\n", name, val);
}

/* What the kernel has counted since it was booted, by the names it gives them. */
static void print_events(const struct report *r)
{
	static const char prefix[] = "leased_pin_";
	char name[64], val[32];
	bool first = true;
	FILE *f;

	f = report_open(r, "vmstat");
	if (!f)
		return;
	while (fscanf(f, "%63s %31s", name, val) == 2) {
		if (strncmp(name, prefix, sizeof(prefix) - 1))
			continue;
		if (first)
			about("lspins_events_total", "counter",
			      "Events since boot, from /proc/vmstat without the prefix leased_pin_.");
		first = false;
		printf("lspins_events_total{");
		label("event", name + sizeof(prefix) - 1, -1);
		printf("} %s\n", val);
	}
	fclose(f);
}

void print_prometheus(const struct report *r)
{
	size_t nr_held = 0, nr_pids = 0, most = r->nr_pins;
	const struct pin **held = xrealloc(NULL, most, sizeof(*held));
	struct metrics m = { };
	pid_t *pids = NULL;

	for (size_t i = 0; i < r->nr_pins; i++) {
		const struct pin *p = &r->pins[i];

		collect(&m, p);
		if (!pin_held(p))
			continue;
		held[nr_held++] = p;
		if (!p->nr_pids)
			continue;
		pids = xrealloc(pids, nr_pids + p->nr_pids, sizeof(*pids));
		memcpy(pids + nr_pids, p->pids, p->nr_pids * sizeof(*pids));
		nr_pids += p->nr_pids;
	}

	about("lspins_pins", "gauge", "Leased pins of DAX files.");
	for (size_t i = 0; i < m.nr; i++) {
		fputs("lspins_pins", stdout);
		labels(r, &m.series[i]);
		printf(" %llu\n", (unsigned long long)m.series[i].pins);
	}
	about("lspins_pinned_bytes", "gauge",
	      "Bytes of DAX files under leased pins; what is pinned twice counts twice.");
	for (size_t i = 0; i < m.nr; i++) {
		fputs("lspins_pinned_bytes", stdout);
		labels(r, &m.series[i]);
		printf(" %llu\n", (unsigned long long)m.series[i].bytes);
	}
	gauge("lspins_files", "Files with pins that are not revoked.",
	      distinct(held, nr_held, sizeof(*held), by_file));
	gauge("lspins_regions", "Memory regions and buffers with pins that are not revoked.",
	      distinct(held, nr_held, sizeof(*held), by_user));
	gauge("lspins_processes", "Processes that share pins that are not revoked.",
	      nr_pids ? distinct(pids, nr_pids, sizeof(*pids), by_number) : 0);
	gauge("lspins_complete", "1 if the pins of all processes could be seen.",
	      r->whole);
	print_events(r);

	free(m.series);
	free(held);
	free(pids);
}
