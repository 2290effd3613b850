// SPDX-License-Identifier: GPL-2.0
/*
 * pNFS layouts beside leased pins (B10): a process with a network namespace of its
 * own exports the file system by nfsd, and is the client, too, which takes block
 * layouts of a file and answers their recalls. It speaks just as much NFSv4.1 (RFC
 * 8881) as that takes, and needs no programs of NFS.
 */
#include "verbs_util.h"

#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>

#define NFS_PROGRAM		100003
#define NFS4_SESSION_SIZE	16
#define NFS4_STATEID_SIZE	16
#define LAYOUT_BLOCK_VOLUME	3
#define IOMODE_RW		2

enum nfs4_op {
	OP_CB_LAYOUTRECALL = 5,
	OP_CB_SEQUENCE = 11,
	OP_LOOKUP = 15,
	OP_OPEN = 18,
	OP_PUTROOTFH = 24,
	OP_EXCHANGE_ID = 42,
	OP_CREATE_SESSION = 43,
	OP_LAYOUTGET = 50,
	OP_SEQUENCE = 53,
	OP_RECLAIM_COMPLETE = 58,
};

enum nfs4_status {
	NFS4_OK = 0,
	NFS4ERR_DELAY = 10008,
	NFS4ERR_GRACE = 10013,
	NFS4ERR_LAYOUTUNAVAILABLE = 10059,
	NFS4ERR_NOMATCHING_LAYOUT = 10060,
	NFS4ERR_RECALLCONFLICT = 10061,
};

/* --- messages: everything is in words of four bytes, big endian ------------------------ */

struct message {
	char data[4096];
	size_t len, at;
};

static void put32(struct message *m, uint32_t value)
{
	value = htonl(value);
	memcpy(m->data + m->len, &value, 4);
	m->len += 4;
}

static void put64(struct message *m, uint64_t value)
{
	put32(m, value >> 32);
	put32(m, value);
}

/* @len is a multiple of four. */
static void put_bytes(struct message *m, const void *p, size_t len)
{
	memcpy(m->data + m->len, p, len);
	m->len += len;
}

static void put_string(struct message *m, const char *s)
{
	size_t len = strlen(s);

	put32(m, len);
	memset(m->data + m->len, 0, len + 3);
	memcpy(m->data + m->len, s, len);
	m->len += (len + 3) & ~3;
}

/* A message that is too short is nothing that this client could go on from. */
static const void *get_bytes(struct message *m, size_t len)
{
	const char *p = m->data + m->at;
	size_t words = (len + 3) & ~3UL;

	if (len > m->len || words > m->len - m->at) {
		fprintf(TH_LOG_STREAM, "# NFS: message of %zu bytes is too short\n",
			m->len);
		_exit(1);
	}
	m->at += words;
	return p;
}

static uint32_t get32(struct message *m)
{
	uint32_t value;

	memcpy(&value, get_bytes(m, 4), 4);
	return ntohl(value);
}

/* A record with a mark in front; false at the end of the connection. */
static bool send_message(int sock, const struct message *m)
{
	uint32_t mark = htonl(0x80000000 | m->len);

	return send(sock, &mark, 4, MSG_MORE | MSG_NOSIGNAL) == 4 &&
	       send(sock, m->data, m->len, MSG_NOSIGNAL) == (ssize_t)m->len;
}

static bool receive_message(int sock, struct message *m)
{
	uint32_t mark;

	if (recv(sock, &mark, 4, MSG_WAITALL) != 4)
		return false;
	m->at = 0;
	m->len = ntohl(mark) & 0x7fffffff;
	return m->len <= sizeof(m->data) && ntohl(mark) >> 31 &&
	       recv(sock, m->data, m->len, MSG_WAITALL) == (ssize_t)m->len;
}

/* --- the client -------------------------------------------------------------------------- */

/**
 * struct nfs_shared - what the test and the process of the client share
 * @keep: recalls are answered with "later"; the test's
 * @recalls: so many have come; the client's
 */
struct nfs_shared {
	bool keep;
	int recalls;
};

struct nfs_client {
	struct nfs_shared *shared;
	int sock;
	uint32_t xid, slot_seq;
	uint64_t id;
	char session[NFS4_SESSION_SIZE];
	char open[NFS4_STATEID_SIZE];
};

static bool answer_recall(struct nfs_client *c, struct message *call, uint32_t xid)
{
	bool keep = __atomic_load_n(&c->shared->keep, __ATOMIC_ACQUIRE);
	int status = keep ? NFS4ERR_DELAY : NFS4ERR_NOMATCHING_LAYOUT;
	struct message m = { };
	const char *session;
	uint32_t seq, slot;

	get_bytes(call, 4 * 4);			/* RPC version, program, procedure */
	get32(call);				/* credentials, verifier */
	get_bytes(call, get32(call));
	get32(call);
	get_bytes(call, get32(call));
	get_bytes(call, get32(call));		/* tag, minor version, ident */
	get_bytes(call, 2 * 4);
	if (get32(call) != 2 || get32(call) != OP_CB_SEQUENCE)
		return false;
	session = get_bytes(call, NFS4_SESSION_SIZE);
	seq = get32(call);
	slot = get32(call);
	get_bytes(call, 2 * 4);			/* highest slot, cache this */
	if (get32(call) || get32(call) != OP_CB_LAYOUTRECALL)
		return false;

	put32(&m, xid);
	put32(&m, 1);				/* a reply, accepted */
	put32(&m, 0);
	put64(&m, 0);				/* no verifier */
	put32(&m, 0);
	put32(&m, status);
	put32(&m, 0);				/* no tag */
	put32(&m, 2);
	put32(&m, OP_CB_SEQUENCE);
	put32(&m, NFS4_OK);
	put_bytes(&m, session, NFS4_SESSION_SIZE);
	put32(&m, seq);
	put32(&m, slot);
	put64(&m, 0);				/* highest slots */
	put32(&m, OP_CB_LAYOUTRECALL);
	put32(&m, status);
	__atomic_add_fetch(&c->shared->recalls, 1, __ATOMIC_RELEASE);
	return send_message(c->sock, &m);
}

/* One message: a reply to @xid is left in @m, recalls are answered. */
static bool next_message(struct nfs_client *c, struct message *m, uint32_t xid,
			 bool *reply)
{
	uint32_t is;

	if (!receive_message(c->sock, m))
		return false;
	is = get32(m);
	*reply = get32(m) == 1;
	return *reply ? is == xid : answer_recall(c, m, is);
}

static void begin_call(struct nfs_client *c, struct message *m, bool sequence,
		       uint32_t ops)
{
	m->len = m->at = 0;
	put32(m, ++c->xid);
	put32(m, 0);				/* a call */
	put32(m, 2);
	put32(m, NFS_PROGRAM);
	put32(m, 4);
	put32(m, 1);				/* COMPOUND */
	put32(m, 1);				/* AUTH_SYS of 20 bytes: root */
	put32(m, 20);
	put64(m, 0);
	put64(m, 0);
	put32(m, 0);
	put64(m, 0);				/* no verifier */
	put32(m, 0);				/* no tag */
	put32(m, 1);				/* minor version */
	put32(m, ops);
	if (!sequence)
		return;
	put32(m, OP_SEQUENCE);
	put_bytes(m, c->session, NFS4_SESSION_SIZE);
	put32(m, ++c->slot_seq);
	put64(m, 0);				/* slot, highest slot */
	put32(m, 0);				/* cache this */
}

/* The status of the compound; its first result is next in @m. */
static int call(struct nfs_client *c, struct message *m)
{
	bool reply = false;
	int status;

	if (!send_message(c->sock, m))
		return -EPROTO;
	while (!reply)
		if (!next_message(c, m, c->xid, &reply))
			return -EPROTO;
	if (get32(m))				/* denied */
		return -EPROTO;
	get32(m);				/* verifier */
	get_bytes(m, get32(m));
	if (get32(m))				/* not executed */
		return -EPROTO;
	status = get32(m);
	get_bytes(m, get32(m));			/* tag */
	get32(m);				/* number of results */
	return status;
}

static void skip_sequence(struct message *m)
{
	get_bytes(m, 2 * 4 + NFS4_SESSION_SIZE + 5 * 4);
}

static void put_channel(struct message *m)
{
	put32(m, 0);				/* padding */
	put32(m, 4096);
	put32(m, 4096);
	put32(m, 4096);
	put32(m, 8);				/* operations */
	put32(m, 4);				/* slots */
	put32(m, 0);				/* no RDMA */
}

static int nfs_begin(struct nfs_client *c)
{
	struct message m = { };
	int status;

	begin_call(c, &m, false, 1);
	put32(&m, OP_EXCHANGE_ID);
	put64(&m, 1);				/* verifier */
	put_string(&m, "layout_lease pnfs_test");
	put32(&m, 0);				/* flags, no protection, no name */
	put32(&m, 0);
	put32(&m, 0);
	status = call(c, &m);
	if (status)
		return status;
	get_bytes(&m, 2 * 4);
	c->id = (uint64_t)get32(&m) << 32;
	c->id |= get32(&m);

	status = get32(&m);			/* sequence of CREATE_SESSION */
	begin_call(c, &m, false, 1);
	put32(&m, OP_CREATE_SESSION);
	put64(&m, c->id);
	put32(&m, status);
	put32(&m, 2);				/* callbacks come this way, too */
	put_channel(&m);
	put_channel(&m);
	put32(&m, 0x40000000);			/* program of callbacks */
	put32(&m, 1);				/* no authentication there */
	put32(&m, 0);
	status = call(c, &m);
	if (status)
		return status;
	get_bytes(&m, 2 * 4);
	memcpy(c->session, get_bytes(&m, NFS4_SESSION_SIZE), NFS4_SESSION_SIZE);

	begin_call(c, &m, true, 2);
	put32(&m, OP_RECLAIM_COMPLETE);
	put32(&m, 0);
	return call(c, &m);
}

static int nfs_open(struct nfs_client *c, const char *name)
{
	struct message m = { };
	int status;

	begin_call(c, &m, true, 3);
	put32(&m, OP_PUTROOTFH);
	put32(&m, OP_OPEN);
	put32(&m, 0);
	put32(&m, 0x400 | 3);			/* no delegation, to read and write */
	put32(&m, 0);
	put64(&m, c->id);
	put_string(&m, "owner");
	put32(&m, 0);				/* do not create, by name */
	put32(&m, 0);
	put_string(&m, name);
	status = call(c, &m);
	if (status)
		return status;
	skip_sequence(&m);
	get_bytes(&m, 2 * 4 + 2 * 4);
	memcpy(c->open, get_bytes(&m, NFS4_STATEID_SIZE), NFS4_STATEID_SIZE);
	return NFS4_OK;
}

/* A layout of the file's first block. */
static int nfs_layoutget(struct nfs_client *c, const char *name)
{
	struct message m = { };

	begin_call(c, &m, true, 4);
	put32(&m, OP_PUTROOTFH);
	put32(&m, OP_LOOKUP);
	put_string(&m, name);
	put32(&m, OP_LAYOUTGET);
	put32(&m, 0);
	put32(&m, LAYOUT_BLOCK_VOLUME);
	put32(&m, IOMODE_RW);
	put64(&m, 0);
	put64(&m, PAGE);
	put64(&m, PAGE);
	put_bytes(&m, c->open, NFS4_STATEID_SIZE);
	put32(&m, 2048);
	return call(c, &m);
}

/* --- the server --------------------------------------------------------------------------- */

static int nfsd_file(const char *dir, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return write_text(path, text);
}

/* Answer nfsd's questions before it asks them: there is no mountd. */
static int nfsd_export(const char *path)
{
	char text[512];
	int ret;

	ret = write_text("/proc/net/rpc/auth.unix.ip/channel",
			 "nfsd 127.0.0.1 2147483647 client\n");
	/* pnfs, fsid, no_subtree_check, insecure (any port) */
	snprintf(text, sizeof(text), "client %s 2147483647 %d 0 0 0\n", path,
		 0x20000 | 0x2000 | 0x400 | 0x2);
	if (!ret)
		ret = write_text("/proc/net/rpc/nfsd.export/channel", text);
	snprintf(text, sizeof(text), "client 1 \\x00000000 2147483647 %s\n", path);
	return ret ?: write_text("/proc/net/rpc/nfsd.fh/channel", text);
}

static int loopback_up(void)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	ret = ioctl(sock, SIOCSIFFLAGS, &req) ? -errno : 0;
	close(sock);
	return ret;
}

/* Start nfsd; a socket that is connected to it, or -errno. */
static int nfsd_begin(const char *dir, const char *path)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int sock, ret;
	char text[16];

	ret = loopback_up() ?: mount_fs("nfsd", dir, "nfsd", NULL) ?:
	      nfsd_export(path) ?: nfsd_file(dir, "versions", "-3 +4 +4.1\n");
	if (ret)
		return ret;
	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(sock, (void *)&addr, len) || listen(sock, 4) ||
	    getsockname(sock, (void *)&addr, &len))
		return -errno;
	snprintf(text, sizeof(text), "%d\n", sock);
	/* The grace period, in seconds, cannot be shorter. */
	ret = nfsd_file(dir, "nfsv4gracetime", "10\n") ?:
	      nfsd_file(dir, "portlist", text) ?: nfsd_file(dir, "threads", "2\n");
	close(sock);
	if (ret)
		return ret;
	sock = socket(AF_INET, SOCK_STREAM, 0);
	return connect(sock, (void *)&addr, len) ? -errno : sock;
}

/*
 * The process: serves the tests' wishes, to open the file or to get a layout, and
 * answers recalls, until the tests are gone.
 */
static void nfs_serve(struct nfs_client *c, int wishes, const char *name)
{
	struct pollfd fds[] = {
		{ .fd = c->sock, .events = POLLIN },
		{ .fd = wishes, .events = POLLIN },
	};
	struct message m;
	bool reply;
	int status;
	char wish;

	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents && (!next_message(c, &m, 0, &reply) || reply))
			return;
		if (!fds[1].revents)
			continue;
		if (read(wishes, &wish, 1) != 1)
			return;
		status = wish == 'O' ? nfs_open(c, name) : nfs_layoutget(c, name);
		if (write(wishes, &status, sizeof(status)) != sizeof(status))
			return;
	}
}

/* --- for all of the tests: nfsd begins with a grace period ------------------------------ */

static struct nfs_shared *shared;
static int wishes;
static pid_t client, starter;

static void client_end(void)
{
	int status;

	if (getpid() != starter)
		return;
	close(wishes);
	reap(client, &status);
	/* The last of nfsd goes a moment later. */
	syscall(__NR_umount2, test_fs[XFS].mnt, 0);
	if (!wait_for(device_is_ours(test_fs[XFS].dev)))
		fprintf(TH_LOG_STREAM, "# %s is still in use\n", test_fs[XFS].dev);
}

/* Not by fork_child(): this one has to stop nfsd when we are gone. */
static int client_begin(void)
{
	struct nfs_client c = { };
	char dir[] = "/tmp/nfsd.XXXXXX";
	int ends[2], status = -EPROTO;

	shared = shared_zalloc(sizeof(*shared));
	if (!shared || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	starter = getpid();
	client = fork();
	if (client < 0)
		return -errno;
	if (client) {
		close(ends[1]);
		wishes = ends[0];
		atexit(client_end);
		return read(wishes, &status, sizeof(status)) < 0 ? -errno : status;
	}

	setsid();
	close(ends[0]);
	if (!mkdtemp(dir) || unshare(CLONE_NEWNET | CLONE_NEWNS))
		_exit(1);
	c.shared = shared;
	c.sock = nfsd_begin(dir, mnt);
	status = c.sock < 0 ? c.sock : nfs_begin(&c);
	if (write(ends[1], &status, sizeof(status)) == sizeof(status) && !status)
		nfs_serve(&c, ends[1], "f");
	close(c.sock);
	nfsd_file(dir, "threads", "0\n");
	unmount_fs(dir);
	_exit(0);
}

/* --- the tests ------------------------------------------------------------------------------ */

/* Have the client do something; what that says. */
static void ask(struct __test_metadata *const _metadata, char wish)
{
	ASSERT_EQ(1, write(wishes, &wish, 1));
}

static int answer(struct __test_metadata *const _metadata)
{
	int status;

	ASSERT_EQ((ssize_t)sizeof(status), read(wishes, &status, sizeof(status)));
	return status;
}

static int ask_and_wait(struct __test_metadata *const _metadata, char wish)
{
	ask(_metadata, wish);
	return answer(_metadata);
}

/* What a recall leaves behind is gone soon. */
static int get_layout(struct __test_metadata *const _metadata)
{
	int status;

	ASSERT_TRUE(wait_for((status = ask_and_wait(_metadata, 'L'),
			      status != NFS4ERR_RECALLCONFLICT &&
			      status != NFS4ERR_DELAY)));
	return status;
}

static int recalls(void)
{
	return __atomic_load_n(&shared->recalls, __ATOMIC_ACQUIRE);
}

/* Recalls are answered with "later" from now on, or with "have none". */
static void keep_layouts(bool keep)
{
	__atomic_store_n(&shared->keep, keep, __ATOMIC_RELEASE);
}

FIXTURE(pnfs)
{
	struct verbs v;
	struct dax_file f;
};

FIXTURE_SETUP(pnfs)
{
	int status;

	use_fs(_metadata, XFS);
	VERBS_SETUP(&self->v);
	make_file(_metadata, &self->f, "f", 256 * KIB, BASE_PAGES);
	keep_layouts(false);
	ASSERT_TRUE(wait_for((status = ask_and_wait(_metadata, 'O'),
			      status != NFS4ERR_GRACE)));
	ASSERT_EQ(0, status);
}

FIXTURE_TEARDOWN_PARENT(pnfs)
{
	environment_clean();
}

static int fd_write_page(int fd, off_t off, off_t len)
{
	(void)len;
	return pwrite(fd, "12345678", 8, off) == 8 ? 0 : -1;
}

static int op_write_page(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_write_page, off, len);
}

/*
 * Breaks if an operation does not recall a layout, does not wait for it, or waits
 * for more, or if a lease without pins is disturbed by that.
 */
/* Rules: B10 B1 */
TEST_F(pnfs, B10_layouts_are_recalled_as_before)
{
	static const op_fn ops[] = { op_write_page, op_punch, op_truncate };
	struct call c;
	size_t i;

	for (i = 0; i < 2 * ARRAY_SIZE(ops); i++) {
		bool lease = i % 2;
		int before;

		if (lease)
			take_lease(_metadata, &self->f, false);
		ASSERT_EQ(NFS4_OK, get_layout(_metadata));
		before = recalls();
		keep_layouts(true);
		start_op(_metadata, &c, ops[i / 2], &self->f, PAGE, PAGE);
		EXPECT_TRUE(wait_for(recalls() > before));
		EXPECT_FALSE(call_done(&c));
		keep_layouts(false);
		EXPECT_EQ(0, call_wait(&c));
		if (!lease)
			continue;
		EXPECT_EQ(-1, next_signal(NULL, 0));
		EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
		EXPECT_EQ(0, unlock_lease(self->f.fd));
	}
}

/* Breaks if a client gets a layout of a file with pins, or a pin suffers from it. */
/* Rules: B10 */
TEST_F(pnfs, B10_no_layout_of_a_file_with_pins)
{
	struct ibv_mr *mr;

	take_lease(_metadata, &self->f, false);
	/* Pinned is another block than the client wants. */
	ASSERT_REG(mr, &self->v, self->f.map + 64 * KIB, PAGE, ACCESS_RW);
	EXPECT_EQ(NFS4ERR_LAYOUTUNAVAILABLE, get_layout(_metadata));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	ASSERT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(NFS4_OK, get_layout(_metadata));
}

/* Breaks if layouts and an exclusive lease do not shut each other out. */
/* Rules: B10 L1 */
TEST_F(pnfs, B10_no_layout_beside_an_exclusive_lease)
{
	int exclusive = F_LAYOUT | F_EXCLUSIVE, fd = self->f.fd;

	take_exclusive(_metadata, &self->f, false);
	EXPECT_EQ(NFS4ERR_LAYOUTUNAVAILABLE, get_layout(_metadata));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(exclusive, fcntl(fd, F_GETLEASE));
	ASSERT_EQ(0, unlock_lease(fd));

	ASSERT_EQ(NFS4_OK, get_layout(_metadata));
	EXPECT_EQ(-EAGAIN, set_exclusive(fd));
}

/* Breaks if a registration waits for a layout, or gets blocks that are handed out. */
/* Rules: P8 B10 */
TEST_F(pnfs, P8_pin_recalls_a_layout)
{
	struct ibv_mr *mr;
	int err, before;

	take_lease(_metadata, &self->f, false);
	ASSERT_EQ(NFS4_OK, get_layout(_metadata));
	before = recalls();
	keep_layouts(true);
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map, PAGE, ACCESS_RW));
	EXPECT_TRUE(wait_for(recalls() > before));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map, PAGE, ACCESS_RW));
	EXPECT_EQ(0, count_pins(getpid(), NULL));

	keep_layouts(false);
	EXPECT_TRUE(wait_for((mr = reg(&self->v, self->f.map, PAGE, ACCESS_RW, &err),
			      mr || err != -EAGAIN)));
	ASSERT_EQ(0, err);
	EXPECT_EQ(NFS4ERR_LAYOUTUNAVAILABLE, get_layout(_metadata));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/*
 * A registration and LAYOUTGET at the same time: one of them may succeed, or none.
 * Breaks if both do, each before it sees the other, and nothing is recalled.
 */
/* Rules: B10 P8 I1 */
TEST_F(pnfs, B10_layoutget_against_registration)
{
	long end = now_ms() + 2000;
	int pinned = 0, given = 0, rounds = 0, err, before;
	struct ibv_mr *mr;
	int status;

	take_lease(_metadata, &self->f, false);
	for (; now_ms() < end || rounds < 8; rounds++) {
		before = recalls();
		ask(_metadata, 'L');
		mr = reg(&self->v, self->f.map, PAGE, ACCESS_RW, &err);
		status = answer(_metadata);
		pinned += !!mr;
		given += !status;
		if (!mr)
			ASSERT_EQ(-EAGAIN, err);
		if (mr && !status)
			EXPECT_LT(before, recalls());
		if (mr)
			ASSERT_EQ(0, ibv_dereg_mr(mr));
		/* Nothing is left that decides the next round. */
		ASSERT_TRUE(wait_for(reg_error(&self->v, self->f.map, PAGE,
					       ACCESS_RW) != -EAGAIN));
	}
	TH_LOG("%d rounds: %d pins, %d layouts", rounds, pinned, given);
	EXPECT_LT(0, pinned + given);
}

struct storing {
	struct dax_file *f;
	bool stop;
};

static void *store_pages(void *arg)
{
	struct storing *s = arg;
	size_t at = 0;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		*(volatile char *)(s->f->map + at) = 1;
		at = (at + PAGE) % s->f->size;
	}
	return NULL;
}

/*
 * The server flushes all pages and then drops them: it cannot if one has been written to
 * meanwhile. Breaks if the kernel warns of that, or if the client is told anything else
 * than to go on without a layout.
 */
/* Rules: B10 */
TEST_F(pnfs, B10_layoutget_beside_stores)
{
	struct storing s = { .f = &self->f };
	int status = NFS4_OK;
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, store_pages, &s));
	/* A recall by the test before may still be in its way. */
	EXPECT_TRUE(wait_for((status = ask_and_wait(_metadata, 'L'),
			      status != NFS4_OK &&
			      status != NFS4ERR_RECALLCONFLICT)));
	EXPECT_EQ(NFS4ERR_LAYOUTUNAVAILABLE, status);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	EXPECT_EQ(NFS4_OK, get_layout(_metadata));
}

static bool has_nfsd(void)
{
	char text[4096];

	return read_text("/proc/filesystems", text, sizeof(text), sizeof(text)) > 0 &&
	       strstr(text, "\tnfsd\n");
}

int main(int argc, char **argv)
{
	int err;

	environment_begin(argc, argv);
	if (!main_pid)
		return test_harness_run(argc, argv);	/* only a list is wanted */
	if (!has_nfsd())
		environment_skip("no nfsd in this kernel\n");
	err = client_begin();
	if (err)
		ksft_exit_fail_msg("nfsd or its client does not start: %d\n", err);
	return test_harness_run(argc, argv);
}
