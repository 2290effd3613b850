// SPDX-License-Identifier: GPL-2.0
/*
 * bench - what pins cost, in guest instructions
 *
 *   bench DEVICE [packets] [reg NAME FILE LEN]... [revoke FILE] [report FILE]
 *
 * Runs in a guest whose clock advances by a nanosecond with each instruction
 * (QEMU's icount, one CPU).  So the CPU time that a thread takes is the number of
 * its instructions, on any machine.  What is counted is the CPU time of all threads
 * together, the kernel's own as well; a CPU with nothing to do does not count.
 *
 * Each result is a line: "value" WHAT SIZE VALUE, with the median of some rounds, in
 * instructions but for "bytes-of-pin".  What this kernel cannot do is left out, with a
 * line "no" that says why.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <infiniband/verbs.h>

#include "layout-lease.h"

#define KIB		1024UL
#define MIB		(1024 * KIB)
#define PMD		(2 * MIB)
#define PAGE		4096UL

#define ACCESS		(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ)

static void die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	fprintf(stderr, "bench: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(err));
	exit(1);
}

/* --- counting ----------------------------------------------------------------- */

#define MAX_PIDS	16384	/* a revoke of many regions makes many kworkers */

/* CPU time of all processes, ours is the last of them. */
struct count {
	int n;
	pid_t pid[MAX_PIDS];
	uint64_t ns[MAX_PIDS];
};

static struct count before;

static uint64_t cpu_time(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return 0;
	return ts.tv_sec * 1000000000UL + ts.tv_nsec;
}

static void count_others(struct count *c)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	clockid_t clock;
	pid_t pid;

	if (!dir)
		die("/proc");
	c->n = 0;
	while ((d = readdir(dir))) {
		pid = atoi(d->d_name);
		if (pid <= 0 || pid == getpid() || clock_getcpuclockid(pid, &clock))
			continue;
		if (c->n == MAX_PIDS)
			die("too many processes");
		c->pid[c->n] = pid;
		c->ns[c->n++] = cpu_time(clock);
	}
	closedir(dir);
}

static uint64_t own;

static void count_begin(void)
{
	count_others(&before);
	own = cpu_time(CLOCK_PROCESS_CPUTIME_ID);
}

static double count_end(void)
{
	static struct count after;
	uint64_t ns = cpu_time(CLOCK_PROCESS_CPUTIME_ID) - own;
	int i, j;

	count_others(&after);
	for (i = 0; i < after.n; i++) {
		ns += after.ns[i];
		for (j = 0; j < before.n; j++)
			if (before.pid[j] == after.pid[i])
				ns -= before.ns[j];
	}
	return ns;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, n, sizeof(*v), compare);
	return n & 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void result(const char *what, size_t size, double *v, int n)
{
	double m = median(v, n);

	printf("value %s %zu %.2f\n", what, size, m);
	fprintf(stderr, "   %-17s %10zu: %14.1f (%d rounds, %.1f to %.1f)\n",
		what, size, m, n, v[0], v[n - 1]);
	fflush(stdout);
}

static void skipped(const char *what, const char *why)
{
	printf("no %s: %s (%s)\n", what, why, strerror(errno));
}

/* --- the device ----------------------------------------------------------------- */

static struct ibv_context *ctx;
static struct ibv_pd *pd;

static void open_device(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	int i;

	for (i = 0; list && list[i] && !ctx; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			ctx = ibv_open_device(list[i]);
	if (!ctx)
		die("no RDMA device %s", name);
	ibv_free_device_list(list);
	pd = ibv_alloc_pd(ctx);
	if (!pd)
		die("ibv_alloc_pd");
}

static char *map_at(char *p, int fd, size_t len)
{
	p = mmap(p, len, PROT_READ | PROT_WRITE, (p ? MAP_FIXED : 0) |
		 (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED), fd, 0);
	if (p == MAP_FAILED)
		die("mmap of %zu bytes", len);
	return p;
}

static void touch(char *p)
{
	__atomic_store_n(p, 1, __ATOMIC_RELAXED);
}

/* Memory at a PMD boundary; a mapping of @fd, or anonymous without one. */
static char *map(int fd, size_t len)
{
	char *room = mmap(NULL, len + PMD, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p, *spacer = fd < 0 ? map_at(NULL, -1, len) : NULL;
	size_t at;

	if (room == MAP_FAILED)
		die("mmap");
	p = (char *)(((uintptr_t)room + PMD - 1) & ~(PMD - 1));
	map_at(p, fd, len);
	/*
	 * No faults later on.  Anonymous pages are mostly in one piece, which is
	 * cheaper, and luck: every other page is not ours.
	 */
	for (at = 0; at < len; at += PAGE) {
		touch(p + at);
		if (spacer)
			touch(spacer + at);
	}
	return p;
}

/* --- packets -------------------------------------------------------------------- */

#define BATCH		32
#define ROUNDS		9
#define WARM_UP		2
#define MTU		1024UL

static struct ibv_comp_channel *channel;
static struct ibv_cq *cq[2];
static struct ibv_qp *qp[2];

static void connect_qp(struct ibv_qp *q, unsigned int dest, const union ibv_gid *gid,
		       int gid_index)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = ACCESS,
	};

	if (ibv_modify_qp(q, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
			  IBV_QP_ACCESS_FLAGS))
		die("INIT");
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = dest,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = { .dgid = *gid, .sgid_index = gid_index, .hop_limit = 1 },
		},
	};
	if (ibv_modify_qp(q, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
			  IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		die("RTR");
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		/* no retransmission: the clock is not that of the world */
		.timeout = 0,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 16,
	};
	if (ibv_modify_qp(q, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
			  IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		die("RTS");
}

static void make_pair(void)
{
	static const unsigned char ipv4[12] = { [10] = 0xff, [11] = 0xff };
	struct ibv_port_attr port;
	union ibv_gid gid;
	int i, index;

	if (ibv_query_port(ctx, 1, &port) || port.state != IBV_PORT_ACTIVE)
		die("the port is not active");
	if (port.active_mtu < IBV_MTU_1024)
		die("the MTU is less than %lu", MTU);
	for (index = 0; index < port.gid_tbl_len; index++)
		if (!ibv_query_gid(ctx, 1, index, &gid) &&
		    !memcmp(gid.raw, ipv4, sizeof(ipv4)))
			break;
	channel = ibv_create_comp_channel(ctx);
	if (!channel)
		die("ibv_create_comp_channel");
	for (i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = IBV_QPT_RC,
			.cap = {
				.max_send_wr = BATCH,
				.max_recv_wr = BATCH,
				.max_send_sge = 1,
				.max_recv_sge = 1,
			},
		};

		cq[i] = ibv_create_cq(ctx, 2 * BATCH, NULL, i ? NULL : channel, 0);
		attr.send_cq = cq[i];
		attr.recv_cq = cq[i];
		qp[i] = cq[i] ? ibv_create_qp(pd, &attr) : NULL;
		if (!qp[i])
			die("no queue pair");
	}
	connect_qp(qp[0], qp[1]->qp_num, &gid, index);
	connect_qp(qp[1], qp[0]->qp_num, &gid, index);
}

/* @depth messages; sleeps until the last one is done, so that nobody polls. */
static void batch(enum ibv_wr_opcode opcode, const struct ibv_mr *from,
		  const struct ibv_mr *to, unsigned int len, int depth)
{
	struct ibv_sge local = { (uintptr_t)from->addr, len, from->lkey };
	struct ibv_sge remote = { (uintptr_t)to->addr, len, to->lkey };
	struct ibv_wc wc[BATCH];
	struct ibv_cq *ev_cq;
	void *ev_ctx;
	int i, n;

	for (i = 0; opcode == IBV_WR_SEND && i < depth; i++) {
		struct ibv_recv_wr *bad, wr = { .sg_list = &remote, .num_sge = 1 };

		if (ibv_post_recv(qp[1], &wr, &bad))
			die("ibv_post_recv");
	}
	if (ibv_req_notify_cq(cq[0], 0))
		die("ibv_req_notify_cq");
	for (i = 0; i < depth; i++) {
		struct ibv_send_wr *bad, wr = {
			.opcode = opcode,
			.sg_list = &local,
			.num_sge = 1,
			.send_flags = i == depth - 1 ? IBV_SEND_SIGNALED : 0,
			.wr.rdma.remote_addr = remote.addr,
			.wr.rdma.rkey = to->rkey,
		};

		if (ibv_post_send(qp[0], &wr, &bad))
			die("ibv_post_send");
	}
	if (ibv_get_cq_event(channel, &ev_cq, &ev_ctx))
		die("ibv_get_cq_event");
	ibv_ack_cq_events(ev_cq, 1);
	n = ibv_poll_cq(cq[0], BATCH, wc);
	if (n != 1 || wc[0].status != IBV_WC_SUCCESS)
		die("completion: %d, %s", n, n == 1 ? ibv_wc_status_str(wc[0].status) : "");
	n = opcode == IBV_WR_SEND ? ibv_poll_cq(cq[1], BATCH, wc) : depth;
	if (n != depth)
		die("%d of %d messages received", n, depth);
}

static void stream(const char *what, enum ibv_wr_opcode opcode,
		   const struct ibv_mr *from, const struct ibv_mr *to,
		   unsigned int len, int depth, int batches)
{
	unsigned long packets = (len + MTU - 1) / MTU * depth * batches;
	double v[ROUNDS];
	int i, b;

	for (i = -WARM_UP; i < ROUNDS; i++) {
		count_begin();
		for (b = 0; b < batches; b++)
			batch(opcode, from, to, len, depth);
		if (i >= 0)
			v[i] = count_end() / packets;
	}
	result(what, len, v, ROUNDS);
}

static void packets(void)
{
	static const struct {
		const char *name;
		enum ibv_wr_opcode opcode;
	} kinds[] = {
		{ "write", IBV_WR_RDMA_WRITE },
		{ "read", IBV_WR_RDMA_READ },
		{ "send", IBV_WR_SEND },
	};
	char *buf = map(-1, 128 * KIB);
	struct ibv_mr *from, *to;
	int i;

	make_pair();
	from = ibv_reg_mr(pd, buf, 64 * KIB, ACCESS);
	to = ibv_reg_mr(pd, buf + 64 * KIB, 64 * KIB, ACCESS);
	if (!from || !to)
		die("ibv_reg_mr");
	for (i = 0; i < 3; i++)
		stream(kinds[i].name, kinds[i].opcode, from, to, 64 * KIB, BATCH, 1);
	/*
	 * As little as there can be beside the look at the region.  One at a time:
	 * how often the two sides take turns over many is a matter of luck.
	 */
	for (i = 0; i < 3; i++)
		stream(kinds[i].name, kinds[i].opcode, from, to, 64, 1, 1024);
}

/* --- reg + dereg ------------------------------------------------------------------ */

static bool lease(int fd)
{
	return !fcntl(fd, F_SETLEASE, F_LAYOUT);
}

/* Of the first 4 KiB, 64 KiB ... of a file, a device, or ("-") anonymous memory. */
static void reg_dereg(const char *what, const char *path, size_t len)
{
	int fd = strcmp(path, "-") ? open(path, O_RDWR) : -1;
	struct stat st = { };
	double v[ROUNDS];
	size_t size;
	char *p;
	int i;

	if (strcmp(path, "-") && fd < 0) {
		skipped(what, path);
		return;
	}
	if (fd >= 0 && fstat(fd, &st))
		die("%s", path);
	if (S_ISREG(st.st_mode) && !lease(fd)) {
		skipped(what, "no layout lease");
		return;
	}
	p = map(fd, len);
	for (size = PAGE; size <= len; size *= 16) {
		int rounds = size > 4 * MIB ? 5 : ROUNDS;

		for (i = -1; i < rounds; i++) {
			struct ibv_mr *mr;

			count_begin();
			mr = ibv_reg_mr(pd, p, size, ACCESS);
			if (!mr || ibv_dereg_mr(mr))
				die("%s, %zu bytes", what, size);
			if (i >= 0)
				v[i] = count_end();
		}
		result(what, size, v, rounds);
	}
	munmap(p, len);
	if (fd >= 0)
		close(fd);
}

/* --- revoke, dereg ------------------------------------------------------------------ */

#define MOST_MRS	10000

static struct ibv_mr *mr[MOST_MRS];

static void reg_all(char *p, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		mr[i] = ibv_reg_mr(pd, p + i * PAGE, PAGE, ACCESS);
		if (!mr[i])
			die("region %d of %d", i, n);
	}
}

static double dereg_all(int n)
{
	int i;

	count_begin();
	for (i = 0; i < n; i++)
		if (ibv_dereg_mr(mr[i]))
			die("ibv_dereg_mr");
	return count_end();
}

/*
 * Another process waits for @seconds and truncates: one that shares our memory would
 * not wait for our pins.  Before that we close @lease_fd, if there is one.
 */
static double truncate_by_other(const char *path, int seconds, int lease_fd)
{
	struct timespec ts = { .tv_sec = seconds };
	int go[2], done[2];
	char byte = 0;
	pid_t pid;
	double v;

	if (pipe(go) || pipe(done))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		/* nothing of ours: the lease, the device */
		dup2(go[0], 3);
		dup2(done[1], 4);
		close_range(5, ~0U, 0);
		if (read(3, &byte, 1) != 1)
			_exit(1);
		if (seconds)
			nanosleep(&ts, NULL);
		if (truncate(path, 0))
			die("truncate");
		/* stay until we have been counted */
		_exit(write(4, &byte, 1) != 1 || read(3, &byte, 1) < 0);
	}
	close(go[0]);
	close(done[1]);
	count_begin();
	if (lease_fd >= 0)
		close(lease_fd);
	if (write(go[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
		die("the truncate failed");
	v = count_end();
	close(go[1]);
	close(done[0]);
	waitpid(pid, NULL, 0);
	return v;
}

/* @n pages, all of them there. */
static void new_blocks(int fd, char *p, int n)
{
	int i;

	if (ftruncate(fd, n * PAGE) || posix_fallocate(fd, 0, n * PAGE))
		die("no blocks");
	for (i = 0; i < n; i++)
		touch(p + i * PAGE);
}

#define MOST_ROUNDS	101

struct revokes {
	double dereg[MOST_ROUNDS], plain[MOST_ROUNDS], slept[MOST_ROUNDS],
	       broken[MOST_ROUNDS], closed[MOST_ROUNDS];
};

static void revoke_round(struct revokes *r, int i, const char *path, int fd, char *p,
			 int n)
{
	int lease_fd = open(path, O_RDWR);

	if (lease_fd < 0 || !lease(lease_fd))
		die("no lease");
	new_blocks(fd, p, n);
	reg_all(p, n);
	r->dereg[i] = dereg_all(n);

	/* nothing in its way; with the second that a recall takes, and without */
	r->plain[i] = truncate_by_other(path, 0, -1);
	new_blocks(fd, p, n);
	r->slept[i] = truncate_by_other(path, 1, -1);

	/* at the deadline: fs.lease-break-time is a second */
	new_blocks(fd, p, n);
	reg_all(p, n);
	r->broken[i] = truncate_by_other(path, 0, -1);
	dereg_all(n);

	/* because the lease is closed */
	new_blocks(fd, p, n);
	reg_all(p, n);
	r->closed[i] = truncate_by_other(path, 0, lease_fd);
	dereg_all(n);
}

/* What pins add to a truncate that takes them, beside what dereg of them costs. */
static void revokes_of(const char *path)
{
	/* What else goes on in a second is not little, compared with few regions. */
	static const struct {
		int n, rounds;
	} counts[] = { { 1, MOST_ROUNDS }, { 100, 21 }, { MOST_MRS, 1 } };
	int fd = open(path, O_RDWR | O_CREAT, 0666), k, i;
	static struct revokes r;
	char *p;

	if (fd < 0)
		die("%s", path);
	if (!lease(fd)) {
		skipped("revoke", "no layout lease");
		return;
	}
	fcntl(fd, F_SETLEASE, F_UNLCK);
	if (posix_fallocate(fd, 0, MOST_MRS * PAGE))
		die("no space");
	p = map(fd, MOST_MRS * PAGE);
	for (k = 0; k < 3; k++) {
		int n = counts[k].n, rounds = counts[k].rounds;
		double plain, slept;

		/* The first one is to warm up. */
		for (i = -1; i < rounds; i++) {
			if (i % 20 == 0 || n == MOST_MRS)
				fprintf(stderr, "   ... revoke of %d: round %d of %d\n",
					n, i + 2, rounds + 1);
			revoke_round(&r, i < 0 ? 0 : i, path, fd, p,
				     i < 0 && n == MOST_MRS ? 100 : n);
		}
		plain = median(r.plain, rounds);
		slept = median(r.slept, rounds);
		for (i = 0; i < rounds; i++) {
			r.broken[i] -= slept;
			r.closed[i] -= plain;
		}
		result("dereg", n, r.dereg, rounds);
		result("truncate", n, r.plain, rounds);
		result("revoke", n, r.broken, rounds);
		result("revoke-by-close", n, r.closed, rounds);
	}
}

/* --- the report ------------------------------------------------------------------- */

#define FEW_PINS	1000
#define MANY_PINS	1000000

/* Memory of two slab caches: the records, and the table of pins by number. */
static double slab_bytes(void)
{
	static const char * const caches[] = { "leased_pin", "radix_tree_node" };
	FILE *f = fopen("/proc/slabinfo", "r");
	unsigned long per_slab, slabs;
	double bytes = 0;
	char line[512], name[64];
	unsigned int i;

	if (!f)
		die("/proc/slabinfo");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %*u %*u %*u %*u %lu : tunables %*u %*u %*u : slabdata %*u %lu",
			   name, &per_slab, &slabs) != 3)
			continue;
		for (i = 0; i < sizeof(caches) / sizeof(*caches); i++)
			if (!strcmp(name, caches[i]))
				bytes += (double)slabs * per_slab * PAGE;
	}
	fclose(f);
	return bytes;
}

/* Returns the number of lines, its header not counted. */
static unsigned long read_lines(const char *path)
{
	static char buf[64 * KIB];
	int fd = open(path, O_RDONLY);
	unsigned long lines = 0;
	ssize_t n;
	char *p;

	if (fd < 0)
		die("%s", path);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (p = buf; (p = memchr(p, '\n', buf + n - p)); p++)
			lines++;
	if (n < 0 || !lines)
		die("reading %s", path);
	close(fd);
	return lines - 1;
}

static void report(const char *what, const char *path, unsigned long pins)
{
	int rounds = pins > FEW_PINS ? 3 : ROUNDS, i;
	double v[ROUNDS];

	for (i = -1; i < rounds; i++) {
		unsigned long lines;

		count_begin();
		lines = read_lines(path);
		if (i >= 0)
			v[i] = count_end() / pins;
		if (lines != pins)
			die("%lu lines in %s, not %lu", lines, path, pins);
	}
	result(what, pins, v, rounds);
}

/*
 * What a line of the report costs, and a pin.  A pin is a range of a file in one
 * mapping: FEW_PINS mappings of a page each, in an order in which none can join its
 * neighbour, make so many pins of each region.
 */
static void reports_of(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0666);
	char *p = map(-1, FEW_PINS * PAGE);
	unsigned long pins;
	double bytes;
	int i;

	if (fd < 0 || ftruncate(fd, FEW_PINS * PAGE) ||
	    posix_fallocate(fd, 0, FEW_PINS * PAGE))
		die("%s", path);
	if (!lease(fd)) {
		skipped("report", "no layout lease");
		return;
	}
	for (i = 0; i < FEW_PINS; i++) {
		if (mmap(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd,
			 (FEW_PINS - 1 - i) * PAGE) == MAP_FAILED)
			die("mapping %d", i);
		touch(p + i * PAGE);
	}
	bytes = slab_bytes();
	for (pins = 0; pins < MANY_PINS; pins += FEW_PINS) {
		if (pins % (MANY_PINS / 10) == 0)
			fprintf(stderr, "   ... %lu of %d pins\n", pins, MANY_PINS);
		if (pins == FEW_PINS) {
			report("report", "/proc/file_pins", pins);
			report("report-of-process", "/proc/self/file_pins", pins);
		}
		mr[pins / FEW_PINS] = ibv_reg_mr(pd, p, FEW_PINS * PAGE, ACCESS);
		if (!mr[pins / FEW_PINS])
			die("region %lu", pins / FEW_PINS);
	}
	bytes = (slab_bytes() - bytes) / pins;
	result("bytes-of-pin", pins, &bytes, 1);
	report("report", "/proc/file_pins", pins);
	report("report-of-process", "/proc/self/file_pins", pins);
	dereg_all(pins / FEW_PINS);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 2)
		die("usage: bench DEVICE [packets] [reg NAME FILE LEN]... [revoke FILE] [report FILE]");
	open_device(argv[1]);
	mlockall(MCL_CURRENT);
	for (i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "packets")) {
			packets();
		} else if (!strcmp(argv[i], "reg") && i + 3 < argc) {
			reg_dereg(argv[i + 1], argv[i + 2], strtoul(argv[i + 3], NULL, 0));
			i += 3;
		} else if (!strcmp(argv[i], "revoke") && i + 1 < argc) {
			revokes_of(argv[++i]);
		} else if (!strcmp(argv[i], "report") && i + 1 < argc) {
			reports_of(argv[++i]);
		} else {
			die("what is \"%s\"?", argv[i]);
		}
	}
	return 0;
}
