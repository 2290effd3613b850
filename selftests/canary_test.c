// SPDX-License-Identifier: GPL-2.0
/*
 * The canary (I1): remote peers hammer a leased file through several queue pairs
 * and memory regions, again and again its blocks are taken from it by force, and
 * somebody else gets them, writes to them and looks whether what is there stays.
 * Not one byte of the peers may arrive there.
 *
 * Three processes take turns:
 *
 *   holder	writes the file, leases and registers it.  It never answers a recall.
 *		Its threads are the remote peers, who do not stop, whatever they are
 *		told; each has a pair of queue pairs, and connects anew when refused.
 *   breaker	truncates or punches.  The regions are revoked at the deadline, or
 *		because the lease is closed under them.
 *   owner	takes the blocks for a new file as soon as they can be had.
 *
 * The file system is full but for these blocks.  A driver that revokes and does
 * not wait for what it is just doing makes mistakes that last microseconds:
 * there are more peers than CPUs, so that they lose their CPU in the middle of
 * it, and breaker and owner do not wait for a CPU.
 *
 *   LAYOUT_LEASE_CANARY	seconds for each variant, 4 if not set
 */

/* These keep space for themselves, and the blocks have to get a new owner. */
#define MKFS_OPTIONS	"-m reflink=0,finobt=0"

#include "verbs_util.h"

#define NR_MRS		4
#define NR_PEERS	8
#define MR_LEN		(64 * KIB)
#define FILE_LEN	(NR_MRS * MR_LEN)
#define WRITE_LEN	(8 * KIB)
#define DEPTH		16		/* writes of a peer under way */
#define SPARE		(128 * KIB)	/* free space beside those blocks */
#define PEER_BYTE	0xca		/* what the peers write */
#define SHOW_MS		10000		/* how often to tell how far it has come */

/* In these rounds the regions go at the deadline, which takes a second. */
#define AT_DEADLINE(round)	((round) % 5 == 3)
#define MIN_ROUNDS	4

static int canary_seconds(void)
{
	const char *text = getenv("LAYOUT_LEASE_CANARY");

	return text && atoi(text) > 0 ? atoi(text) : 4;
}

/* Where the peers may write, once it is published; then it does not change. */
struct targets {
	struct {
		uint64_t addr;
		uint32_t rkey;
	} mr[NR_MRS];
};

/**
 * struct canary - what the processes share
 * @targets: those of round n are in n % 4
 * @round: the one whose targets are published, from 1
 * @taken: the last round whose blocks have been taken
 * @hits: writes that arrived in each region of this round
 * @was: the blocks the file had in this round
 * @refused: how often each peer was
 * @late: writes begun after the blocks were taken, and reported successful
 * @odd: a completion with another status than a peer has to get
 * @owned: blocks that the owners checked, of those that had been taken
 * @first_stray: when the first one was found, milliseconds after @begin
 */
struct canary {
	char path[256];
	struct targets targets[4];
	unsigned int round, taken;
	unsigned int hits[NR_MRS];
	uint64_t was[FILE_LEN / PAGE];
	unsigned long refused[NR_PEERS];
	unsigned long writes, late, revokes, breaks, deadlines;
	unsigned long blocks, owned, stray;
	unsigned int odd;
	long begin, first_stray, longest;
	bool stop;
	int to_holder[2], to_breaker[2], to_owner[2];
};

#define load(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, val)	__atomic_store_n(p, val, __ATOMIC_RELEASE)
#define count(p, n)	__atomic_fetch_add(p, n, __ATOMIC_RELAXED)

/* Each says with a line of its own where it failed; -1 ends the process. */
#define failed(what)							\
({									\
	fprintf(stderr, "# canary: %s: %m\n", what);			\
	-1;								\
})

static bool tell(const int *pipe, char command)
{
	return write(pipe[1], &command, 1) == 1;
}

/* The next command, 0 at the end. */
static char listen_to(const int *pipe)
{
	char command;

	return read(pipe[0], &command, 1) == 1 && command != 'q' ? command : 0;
}

/*
 * Breaker and owner have the first CPU, and run there as soon as they can.  The
 * peers have the others, if there are any: what siw does for them may be in a
 * softirq, which nobody interrupts.
 */
static void use_cpus(bool first)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	if (CPU_COUNT(&set) == 1 || !CPU_ISSET(0, &set))
		return;
	CPU_CLR(0, &set);
	if (first) {
		CPU_ZERO(&set);
		CPU_SET(0, &set);
	}
	sched_setaffinity(0, sizeof(set), &set);
}

static void be_quick(void)
{
	struct sched_param param = { .sched_priority = 1 };

	use_cpus(true);
	sched_setscheduler(0, SCHED_FIFO, &param);
}

/* --- the peers ------------------------------------------------------------------ */

struct peer {
	struct canary *c;
	struct verbs *v;
	struct __test_metadata *metadata;
	unsigned int seed;
	int nr;
};

/* Begin one write; what it was, is in its number. */
static int peer_writes(struct peer *peer, struct pair *p)
{
	struct canary *c = peer->c;
	unsigned int round = load(&c->round), mr = rand_r(&peer->seed) % NR_MRS;
	const struct targets *t = &c->targets[round % 4];
	unsigned int page = rand_r(&peer->seed) / 16 %
			    ((MR_LEN - WRITE_LEN) / PAGE + 1);
	struct ibv_sge sge = {
		.addr = (uintptr_t)peer->v->buf,
		.length = WRITE_LEN,
		.lkey = peer->v->buf_mr->lkey,
	};
	struct ibv_send_wr *bad, wr = {
		.wr_id = (uint64_t)round << 16 | mr,
		.opcode = IBV_WR_RDMA_WRITE,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma.remote_addr = t->mr[mr].addr + page * PAGE,
		.wr.rdma.rkey = t->mr[mr].rkey,
	};

	if (load(&c->taken) >= round)
		wr.wr_id |= 1 << 8;
	return ibv_post_send(p->qp[0], &wr, &bad);
}

/*
 * False if the queue pair is of no use any more.  Over iWARP, success means that
 * TCP has it, and who is refused loses the connection.
 */
static bool peer_is_told(struct peer *peer, const struct ibv_wc *wc)
{
	struct canary *c = peer->c;

	switch (wc->status) {
	case IBV_WC_SUCCESS:
		if (wc->wr_id & 1 << 8 && !peer->v->iwarp)
			count(&c->late, 1);
		else if (wc->wr_id >> 16 == load(&c->round))
			count(&c->hits[wc->wr_id % NR_MRS], 1);
		count(&c->writes, 1);
		return true;
	case IBV_WC_WR_FLUSH_ERR:
		return false;
	case IBV_WC_REM_ACCESS_ERR:
		if (!peer->v->iwarp)
			count(&c->refused[peer->nr], 1);
		return false;
	case IBV_WC_LOC_QP_OP_ERR:
		/* The connection ended while this was being sent. */
		if (peer->v->iwarp)
			return false;
		break;
	default:
		break;
	}
	store(&c->odd, wc->status);
	return false;
}

/* siw does not flush what is posted after the connection has ended. */
static bool is_connected(struct ibv_qp *qp)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	return !ibv_query_qp(qp, &attr, IBV_QP_STATE, &init) &&
	       attr.qp_state == IBV_QPS_RTS;
}

static void *peer_hammers(void *arg)
{
	struct peer *peer = arg;
	struct canary *c = peer->c;
	struct __test_metadata *const _metadata = peer->metadata;
	struct ibv_wc wc[DEPTH];
	struct pair p;

	use_cpus(false);
	while (!load(&c->stop)) {
		int under_way = 0, n, i;
		bool usable = true;

		pair_begin(_metadata, peer->v, &p);
		while (usable && !load(&c->stop)) {
			for (; under_way < DEPTH; under_way++)
				if (peer_writes(peer, &p))
					break;
			n = ibv_poll_cq(p.cq[0], DEPTH, wc);
			for (i = 0; i < n; i++, under_way--)
				usable &= peer_is_told(peer, &wc[i]);
			if (n == 0 && peer->v->iwarp)
				usable = is_connected(p.qp[0]);
			if (n == 0 && usable)
				usleep(500);
		}
		if (peer->v->iwarp && !usable)
			count(&c->refused[peer->nr], 1);
		pair_end(_metadata, &p);
	}
	return NULL;
}

/* --- the holder ----------------------------------------------------------------- */

struct holding {
	int fd, lease_fd;
	char *map;
	struct ibv_mr *mr[NR_MRS];
};

static int holder_takes(struct canary *c, struct verbs *v, struct holding *h)
{
	unsigned int round = c->round + 1, i;
	struct targets *t = &c->targets[round % 4];
	int err;

	h->fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (h->fd < 0 || write_pattern(h->fd, 0, FILE_LEN, 1))
		return failed("cannot write the file");
	for (i = 0; i < FILE_LEN / PAGE; i++)
		c->was[i] = block_of(h->fd, i * PAGE, NULL);
	h->map = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0);
	if (h->map == MAP_FAILED)
		return failed("mmap");
	/* Not the one that is mapped: a close of this is its end. */
	h->lease_fd = open(c->path, O_RDWR | O_CLOEXEC);
	if (h->lease_fd < 0 || set_lease(h->lease_fd))
		return failed("no lease");
	for (i = 0; i < NR_MRS; i++) {
		h->mr[i] = reg(v, h->map + i * MR_LEN, MR_LEN, ACCESS_RW, &err);
		if (!h->mr[i])
			return failed("ibv_reg_mr");
		t->mr[i].addr = (uintptr_t)h->mr[i]->addr;
		t->mr[i].rkey = h->mr[i]->rkey;
		store(&c->hits[i], 0);
	}
	store(&c->round, round);
	return 0;
}

static int holder_gives_up(struct canary *c, struct holding *h)
{
	int i, revoked = count_pins(getpid(), "revoked");

	/* All of them, by force. */
	if (revoked != NR_MRS) {
		fprintf(stderr, "# canary: %d of %d regions are revoked\n",
			revoked, NR_MRS);
		return -1;
	}
	c->revokes += NR_MRS;
	for (i = 0; i < NR_MRS; i++)
		if (ibv_dereg_mr(h->mr[i]))
			return failed("ibv_dereg_mr");
	munmap(h->map, FILE_LEN);
	if (h->lease_fd >= 0)
		close(h->lease_fd);
	close(h->fd);
	return 0;
}

static int holder(struct __test_metadata *const _metadata, struct canary *c)
{
	pthread_t thread[NR_PEERS];
	struct peer peer[NR_PEERS];
	struct holding h = { };
	struct verbs v;
	int peers = 0, ret = 0;
	char command;

	if (!verbs_find(&v))
		return failed("no RDMA device");
	verbs_begin(_metadata, &v);
	memset(v.buf, PEER_BYTE, BUF_SIZE);
	while (!ret && (command = listen_to(c->to_holder))) {
		switch (command) {
		case 'c':
			close(h.lease_fd);
			h.lease_fd = -1;
			break;
		case 'd':
			ret = holder_gives_up(c, &h);
			if (!ret && load(&c->stop))
				goto end;
			break;
		}
		if (ret || command == 'c')
			continue;
		ret = holder_takes(c, &v, &h);
		if (ret)
			break;
		tell(c->to_breaker, 'g');
		for (; peers < NR_PEERS; peers++) {
			peer[peers] = (struct peer) {
				.c = c, .v = &v, .metadata = _metadata,
				.seed = peers, .nr = peers,
			};
			if (pthread_create(&thread[peers], NULL, peer_hammers,
					   &peer[peers]))
				return failed("no thread");
		}
	}
end:
	store(&c->stop, true);
	while (peers)
		pthread_join(thread[--peers], NULL);
	tell(c->to_breaker, 'q');
	tell(c->to_owner, 'q');
	return ret;
}

/* --- the breaker ----------------------------------------------------------------- */

static bool all_are_hit(const struct canary *c)
{
	int i;

	for (i = 0; i < NR_MRS; i++)
		if (!load(&c->hits[i]))
			return false;
	return true;
}

static int breaker(struct __test_metadata *const _metadata, struct canary *c)
{
	(void)_metadata;
	be_quick();
	while (listen_to(c->to_breaker)) {
		bool deadline = AT_DEADLINE(c->round);
		long begin;
		int ret;

		if (!wait_for(all_are_hit(c) || load(&c->stop)))
			return failed("the peers do not get through");
		if (!deadline)
			tell(c->to_holder, 'c');
		begin = now_ms();
		if (c->round & 1)
			ret = op_truncate(c->path, 0, 0);
		else
			ret = op_punch(c->path, 0, FILE_LEN);
		if (ret) {
			errno = -ret;
			return failed("the blocks cannot be taken");
		}
		store(&c->taken, c->round);
		tell(c->to_owner, 't');
		if (c->longest < now_ms() - begin)
			c->longest = now_ms() - begin;
		c->breaks++;
		c->deadlines += deadline;
	}
	return 0;
}

/* --- the owner ------------------------------------------------------------------- */

#define OWNED_LEN	(FILE_LEN + SPARE)

/* Has every peer heard that it may not, since then? */
static bool all_refused(const struct canary *c, const unsigned long *since)
{
	int i;

	for (i = 0; i < NR_PEERS; i++)
		if (load(&c->refused[i]) == since[i])
			return false;
	return true;
}

/* As much of the file as there is space for. */
static size_t owner_writes(int fd, const char *data)
{
	size_t done = 0;
	ssize_t n;

	while (done < OWNED_LEN) {
		n = pwrite(fd, data + done, OWNED_LEN - done, done);
		if (n <= 0)
			break;
		done += n;
	}
	return done / PAGE * PAGE;
}

static unsigned long blocks_owned(const struct canary *c, int fd, size_t len)
{
	unsigned long n = 0;
	unsigned int i;
	size_t at;

	for (at = 0; at < len; at += PAGE) {
		uint64_t block = block_of(fd, at, NULL);

		for (i = 0; i < FILE_LEN / PAGE; i++)
			n += block && c->was[i] == block;
	}
	return n;
}

static unsigned long stray_bytes(const char *map, const char *data, size_t len)
{
	unsigned long n = 0;
	size_t i;

	if (!memcmp(map, data, len))
		return 0;
	for (i = 0; i < len; i++)
		n += load(map + i) != data[i];
	return n;
}

static bool is_spoilt(const char *map, const char *data, size_t len,
		      unsigned long *stray)
{
	*stray = stray_bytes(map, data, len);
	return *stray;
}

static int owner_checks(struct canary *c, const char *name, char *data)
{
	unsigned long since[NR_PEERS], stray;
	int i, fd;
	size_t len;
	char *map;

	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return failed("no new file");
	len = owner_writes(fd, data);
	for (i = 0; i < NR_PEERS; i++)
		since[i] = load(&c->refused[i]);
	map = mmap(NULL, OWNED_LEN, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return failed("mmap");
	if (!wait_for(is_spoilt(map, data, len, &stray) ||
		      all_refused(c, since) || load(&c->stop)))
		return failed("a peer is not refused");
	if ((stray || is_spoilt(map, data, len, &stray)) && !c->stray) {
		c->first_stray = now_ms() - c->begin;
		store(&c->stray, stray);
		store(&c->stop, true);
	}
	c->blocks += FILE_LEN / PAGE;
	c->owned += blocks_owned(c, fd, len);
	munmap(map, OWNED_LEN);
	/* To give the space back at once, not when the inode goes. */
	if (ftruncate(fd, 0) || close(fd) || unlink(name))
		return failed("cannot remove the new file");
	return 0;
}

static int owner(struct __test_metadata *const _metadata, struct canary *c)
{
	char *data = malloc(OWNED_LEN), name[300];

	(void)_metadata;
	be_quick();
	while (data && listen_to(c->to_owner)) {
		set_pattern(data, OWNED_LEN, c->round);
		snprintf(name, sizeof(name), "%s.%u", c->path, c->round);
		if (owner_checks(c, name, data))
			return -1;
		tell(c->to_holder, 'd');
	}
	return 0;
}

/*
 * Packets as large as they can be make copies that take as long as they can.
 * The interface's name is left in @path; returns the MTU there was.
 */
static long set_mtu(const char *device, long mtu, char *path, size_t size)
{
	char name[64] = "";
	long was;

	snprintf(path, size, "/sys/class/infiniband/%s/parent", device);
	if (read_text(path, name, sizeof(name), sizeof(name)) <= 0)
		return -1;
	name[strcspn(name, "\n")] = '\0';
	snprintf(path, size, "/sys/class/net/%s/mtu", name);
	was = get_number(path);
	set_number(path, mtu);
	return was;
}

/* --- the test -------------------------------------------------------------------- */

FIXTURE(canary)
{
	struct canary *c;
	char name[64];		/* of the variant, with its device */
	long mtu;		/* what it was */
	char mtu_path[128];
};

FIXTURE_VARIANT(canary)
{
	enum rdma_kind rdma;
	enum fs fs;
};

FIXTURE_VARIANT_ADD(canary, rxe_xfs) { RXE, XFS };
FIXTURE_VARIANT_ADD(canary, rxe_ext4) { RXE, EXT4 };
FIXTURE_VARIANT_ADD(canary, siw_xfs) { SIW, XFS };
FIXTURE_VARIANT_ADD(canary, siw_ext4) { SIW, EXT4 };

FIXTURE_SETUP(canary)
{
	struct canary *c = shared_zalloc(sizeof(*c));
	const char *device;
	struct verbs v;
	off_t size;
	int fd;

	ASSERT_NE(NULL, c);
	self->c = c;
	rdma_now = variant->rdma;
	NEED_VERBS(&v);
	device = ibv_get_device_name(v.ctx->device);
	snprintf(self->name, sizeof(self->name), "%s, %s",
		 test_fs[variant->fs].type, device);
	self->mtu = set_mtu(device, 9000, self->mtu_path, sizeof(self->mtu_path));
	ibv_close_device(v.ctx);
	use_fs(_metadata, variant->fs);
	if (variant->fs == EXT4) {
		/* So that freed blocks need not wait for the journal. */
		ASSERT_EQ(0, syscall(__NR_umount2, mnt, 0));
		ASSERT_EQ(0, mount_fs(test_fs[EXT4].dev, mnt, "ext4",
				      "dax=always,data=writeback"));
	}
	set_grace(1);
	snprintf(c->path, sizeof(c->path), "%s/f", mnt);
	fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fallocate(fd, 0, 0, FILE_LEN + SPARE));
	close(fd);
	fd = take_all_space(&size, "most");
	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, truncate(c->path, 0));
	ASSERT_EQ(0, pipe2(c->to_holder, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(c->to_breaker, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(c->to_owner, O_CLOEXEC));
}

FIXTURE_TEARDOWN_PARENT(canary)
{
	if (self->mtu > 0)
		set_number(self->mtu_path, self->mtu);
	environment_clean();
}

static pid_t start(struct __test_metadata *const _metadata, struct canary *c,
		   int (*fn)(struct __test_metadata *const _metadata,
			     struct canary *c), const int *pipe)
{
	const int *all[] = { c->to_holder, c->to_breaker, c->to_owner };
	pid_t pid = fork_child();
	unsigned int i;

	ASSERT_LE(0, pid);
	if (pid)
		return pid;
	/* Whose pipe ends when nobody is left who writes. */
	for (i = 0; i < 3; i++)
		if (all[i] == pipe)
			close(pipe[1]);
		else
			close(all[i][0]);
	_exit(fn(_metadata, c) ? 1 : 0);
}

static void show(const struct canary *c, const char *what)
{
	printf("# canary: %s: %.1f s, %lu writes, %lu revokes, %lu breaks (%lu at the deadline), %lu of %lu blocks checked by new owners, longest wait %ld ms, %lu late writes, %lu stray bytes\n",
	       what, (now_ms() - c->begin) / 1000.0, c->writes, c->revokes,
	       c->breaks, c->deadlines, c->owned, c->blocks, c->longest,
	       c->late, c->stray);
	fflush(stdout);
}

/* Rules: I1 V1 V2 */
TEST_F_TIMEOUT(canary, I1_not_one_stray_byte,
	       canary_seconds() + TEST_TIMEOUT_DEFAULT)
{
	struct canary *c = self->c;
	long end = now_ms() + canary_seconds() * 1000L, shown = now_ms();
	int i, status, alive = 3;
	pid_t pid[3], dead;

	c->begin = now_ms();
	/* Takes the first turn, and the last. */
	pid[0] = start(_metadata, c, holder, c->to_holder);
	pid[1] = start(_metadata, c, breaker, c->to_breaker);
	pid[2] = start(_metadata, c, owner, c->to_owner);
	ASSERT_TRUE(tell(c->to_holder, 'b'));
	for (i = 0; i < 2; i++) {
		close(c->to_holder[i]);
		close(c->to_breaker[i]);
		close(c->to_owner[i]);
	}
	while (alive && now_ms() < end + 2 * LIMIT * 1000L) {
		/* A slow machine gets the time for the least there has to be. */
		if (now_ms() >= end && (c->breaks >= MIN_ROUNDS ||
					now_ms() >= end + LIMIT * 1000L))
			store(&c->stop, true);
		if (now_ms() >= shown + SHOW_MS) {
			shown = now_ms();
			show(c, self->name);
		}
		dead = waitpid(-1, &status, WNOHANG);
		if (dead <= 0) {
			usleep(10000);
			continue;
		}
		alive--;
		EXPECT_EQ(0, status) {
			TH_LOG("%s failed", dead == pid[0] ? "the holder" :
			       dead == pid[1] ? "the breaker" : "the owner");
			/* The others would wait for it. */
			for (i = 0; i < 3; i++)
				kill(pid[i], SIGKILL);
		}
	}
	EXPECT_EQ(0, alive) {
		for (i = 0; i < 3; i++)
			tell_stack(pid[i]);
	}
	show(c, self->name);
	if (c->stray)
		printf("# canary: %s: the first stray byte was found after %ld ms\n",
		       self->name, c->first_stray);
	EXPECT_EQ(0UL, c->stray);
	EXPECT_EQ(0UL, c->late);
	EXPECT_EQ(0U, c->odd);
	EXPECT_LE(MIN_ROUNDS + 0UL, c->breaks);
	EXPECT_LT(0UL, c->deadlines);
	/* It would be a poor canary that never gets there. */
	EXPECT_LT(c->blocks / 4, c->owned);
	/* All CPUs are busy, that of the revoke, too. */
	EXPECT_GE(1000 + 5 * SLACK_MS, c->longest);
}

LAYOUT_LEASE_TEST_MAIN
