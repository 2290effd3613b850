// SPDX-License-Identifier: GPL-2.0
/*
 * Revoking a memory region from outside (V5), what the application learns of it
 * (V4), and what the resource tracker shows (R3).
 */
#include <linux/netlink.h>
#include <poll.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/rdma_netlink.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <sys/timerfd.h>

#include "verbs_util.h"

#define LEN	(64 * KIB)

#ifndef SOL_NETLINK
#define SOL_NETLINK	270
#endif

/* --- RDMA netlink ----------------------------------------------------------------- */

/**
 * struct nl - a netlink socket and what was said last
 * @len: of @buf, the request being made, or the answer
 * @why: extended ack of the last answer, or ""
 */
struct nl {
	int fd;
	unsigned int seq;
	size_t len;
	char buf[65536] __attribute__((aligned(4)));
	char why[256];
};

static struct nlmsghdr *nl_hdr(struct nl *nl)
{
	return (struct nlmsghdr *)nl->buf;
}

static bool nl_open(struct nl *nl)
{
	struct timeval limit = { .tv_sec = LIMIT };
	int one = 1;

	nl->seq = 0;
	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA);
	setsockopt(nl->fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	setsockopt(nl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	setsockopt(nl->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return nl->fd >= 0;
}

static void nl_begin(struct nl *nl, int cmd, int flags)
{
	struct nlmsghdr *h = nl_hdr(nl);

	*h = (struct nlmsghdr) {
		.nlmsg_len = NLMSG_HDRLEN,
		.nlmsg_type = RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, cmd),
		.nlmsg_flags = NLM_F_REQUEST | flags,
		.nlmsg_seq = ++nl->seq,
	};
	nl->len = NLMSG_HDRLEN;
}

static void nl_put(struct nl *nl, int type, const void *data, size_t len)
{
	struct nlattr *a = (struct nlattr *)(nl->buf + nl->len);

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + len;
	memcpy((char *)a + NLA_HDRLEN, data, len);
	nl->len += NLA_ALIGN(a->nla_len);
}

static void nl_put_u32(struct nl *nl, int type, unsigned int value)
{
	nl_put(nl, type, &value, sizeof(value));
}

/* Goes through the attributes of @len bytes at @at. */
#define for_each_attr(a, at, len)					\
	for (a = (struct nlattr *)(at);					\
	     (char *)a + NLA_HDRLEN <= (char *)(at) + (len) &&		\
	     a->nla_len >= NLA_HDRLEN;					\
	     a = (struct nlattr *)((char *)a + NLA_ALIGN(a->nla_len)))

static int nla_kind(const struct nlattr *a)
{
	return a->nla_type & NLA_TYPE_MASK;
}

static void *nla_at(const struct nlattr *a)
{
	return (char *)a + NLA_HDRLEN;
}

static size_t nla_size(const struct nlattr *a)
{
	return a->nla_len - NLA_HDRLEN;
}

static struct nlattr *nl_find(void *at, size_t len, int type)
{
	struct nlattr *a;

	for_each_attr(a, at, len)
		if (nla_kind(a) == type)
			return a;
	return NULL;
}

static unsigned int nl_u32(void *at, size_t len, int type)
{
	struct nlattr *a = nl_find(at, len, type);

	return a ? *(unsigned int *)nla_at(a) : 0;
}

/* The error of an answer; says why in nl->why. */
static int nl_error(struct nl *nl, const struct nlmsghdr *h)
{
	const struct nlmsgerr *err = NLMSG_DATA(h);
	size_t off = NLMSG_HDRLEN + sizeof(*err);
	struct nlattr *a;

	if (h->nlmsg_flags & NLM_F_ACK_TLVS) {
		a = nl_find((char *)h + off, h->nlmsg_len - off,
			    NLMSGERR_ATTR_MSG);
		if (a)
			snprintf(nl->why, sizeof(nl->why), "%s",
				 (char *)nla_at(a));
	}
	return err->error;
}

/*
 * Send the request, have @fn look at the attributes of each answer, and return
 * the error that the kernel gave.
 */
static int nl_talk(struct nl *nl, void (*fn)(void *at, size_t len, void *arg),
		   void *arg)
{
	ssize_t n;

	nl->why[0] = '\0';
	nl_hdr(nl)->nlmsg_len = nl->len;
	if (send(nl->fd, nl->buf, nl->len, 0) < 0)
		return -errno;
	for (;;) {
		struct nlmsghdr *h = nl_hdr(nl);

		do {
			n = recv(nl->fd, nl->buf, sizeof(nl->buf), 0);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return -ETIME;
		for (; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_seq != nl->seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return nl_error(nl, h);
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (fn)
				fn(NLMSG_DATA(h), NLMSG_PAYLOAD(h, 0), arg);
			if (!(h->nlmsg_flags & NLM_F_MULTI))
				return 0;
		}
	}
}

struct find_dev {
	const char *name;
	int index;
};

static void find_dev(void *at, size_t len, void *arg)
{
	struct nlattr *a = nl_find(at, len, RDMA_NLDEV_ATTR_DEV_NAME);
	struct find_dev *f = arg;

	if (a && !strcmp(nla_at(a), f->name))
		f->index = nl_u32(at, len, RDMA_NLDEV_ATTR_DEV_INDEX);
}

static int dev_index(struct nl *nl, struct ibv_context *ctx)
{
	struct find_dev f = { ibv_get_device_name(ctx->device), -1 };

	nl_begin(nl, RDMA_NLDEV_CMD_GET, NLM_F_DUMP);
	nl_talk(nl, find_dev, &f);
	return f.index;
}

/**
 * struct mr_info - what the resource tracker says of an MR
 * @revoked: -1 if it does not say
 */
struct mr_info {
	unsigned int lkey;	/* to be looked for */
	int mrn;
	pid_t pid;
	int revoked;
	char pins[64];
	int tables;		/* of the driver's */
};

static void read_driver_table(struct mr_info *m, struct nlattr *table)
{
	struct nlattr *a;
	char *key = NULL;

	for_each_attr(a, nla_at(table), nla_size(table)) {
		switch (nla_kind(a)) {
		case RDMA_NLDEV_ATTR_DRIVER_STRING:
			if (key && !strcmp(key, "pins")) {
				snprintf(m->pins, sizeof(m->pins), "%s",
					 (char *)nla_at(a));
				key = NULL;
			} else {
				key = nla_at(a);
			}
			break;
		case RDMA_NLDEV_ATTR_DRIVER_U32:
			if (key && !strcmp(key, "revoked"))
				m->revoked = *(int *)nla_at(a);
			key = NULL;
			break;
		}
	}
}

static void read_mr(struct mr_info *m, void *at, size_t len)
{
	struct nlattr *a;

	m->mrn = nl_u32(at, len, RDMA_NLDEV_ATTR_RES_MRN);
	m->pid = nl_u32(at, len, RDMA_NLDEV_ATTR_RES_PID);
	for_each_attr(a, at, len) {
		if (nla_kind(a) != RDMA_NLDEV_ATTR_DRIVER)
			continue;
		m->tables++;
		read_driver_table(m, a);
	}
}

static void find_mr(void *at, size_t len, void *arg)
{
	struct nlattr *table = nl_find(at, len, RDMA_NLDEV_ATTR_RES_MR), *a;
	struct mr_info *m = arg;

	if (!table)
		return;
	for_each_attr(a, nla_at(table), nla_size(table))
		if (nl_u32(nla_at(a), nla_size(a),
			   RDMA_NLDEV_ATTR_RES_LKEY) == m->lkey)
			read_mr(m, nla_at(a), nla_size(a));
}

/* Look an MR up: false if it is not listed. */
static bool mr_info(struct nl *nl, int dev, const struct ibv_mr *mr,
		    struct mr_info *m)
{
	*m = (struct mr_info) { .lkey = mr->lkey, .mrn = -1, .revoked = -1 };
	nl_begin(nl, RDMA_NLDEV_CMD_RES_MR_GET, NLM_F_DUMP);
	nl_put_u32(nl, RDMA_NLDEV_ATTR_DEV_INDEX, dev);
	return !nl_talk(nl, find_mr, m) && m->mrn >= 0;
}

static int mr_number(struct nl *nl, int dev, const struct ibv_mr *mr)
{
	struct mr_info m;

	return mr_info(nl, dev, mr, &m) ? m.mrn : -1;
}

/* @pin: number of a pin that the MR has to have, or -1 */
static int revoke_number(struct nl *nl, int dev, int mrn, int pin)
{
	nl_begin(nl, RDMA_NLDEV_CMD_RES_MR_REVOKE, NLM_F_ACK);
	if (dev >= 0)
		nl_put_u32(nl, RDMA_NLDEV_ATTR_DEV_INDEX, dev);
	if (mrn >= 0)
		nl_put_u32(nl, RDMA_NLDEV_ATTR_RES_MRN, mrn);
	if (pin >= 0)
		nl_put_u32(nl, RDMA_NLDEV_ATTR_RES_PIN_ID, pin);
	return nl_talk(nl, NULL, NULL);
}

static int revoke_mr(struct nl *nl, int dev, const struct ibv_mr *mr)
{
	return revoke_number(nl, dev, mr_number(nl, dev, mr), -1);
}

/* --- events ------------------------------------------------------------------------- */

/* The next event: its type and element, -1 if there is none. */
static int next_event(int fd, unsigned long long *element)
{
	struct ib_uverbs_async_event_desc desc;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, 0) != 1 || read(fd, &desc, sizeof(desc)) != sizeof(desc))
		return -1;
	*element = desc.element;
	return desc.event_type;
}

#define expect_event(fd, mr)						\
do {									\
	unsigned long long _element = ~0ULL;				\
									\
	EXPECT_EQ(IB_UVERBS_EVENT_MR_REVOKED, next_event(fd, &_element)); \
	EXPECT_EQ((mr)->handle, _element);				\
} while (0)

#define expect_no_event(fd)						\
do {									\
	unsigned long long _element;					\
									\
	EXPECT_EQ(-1, next_event(fd, &_element));			\
} while (0)

static int driver_id(struct ibv_context *ctx)
{
	return !strncmp(ibv_get_device_name(ctx->device), "siw", 3) ?
	       RDMA_DRIVER_SIW : RDMA_DRIVER_RXE;
}

/* Another async fd of the same context. */
static int open_async(struct ibv_context *ctx)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attr;
	} cmd = {
		.hdr = {
			.length = sizeof(cmd),
			.object_id = UVERBS_OBJECT_ASYNC_EVENT,
			.method_id = UVERBS_METHOD_ASYNC_EVENT_ALLOC,
			.num_attrs = 1,
			.driver_id = driver_id(ctx),
		},
		.attr = {
			.attr_id = UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE,
			.flags = UVERBS_ATTR_F_MANDATORY,
		},
	};

	if (ioctl(ctx->cmd_fd, RDMA_VERBS_IOCTL, &cmd))
		return -errno;
	return cmd.attr.data;
}

/* --- an MR of anonymous memory, and one of leased memory ----------------------------- */

FIXTURE(netlink)
{
	struct nl nl;
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;	/* of the file if leased, else of v.buf */
	char *mem;		/* what it covers */
	int dev;
	long vm_pin;		/* before it was registered */
};

FIXTURE_VARIANT(netlink)
{
	bool leased;
};

FIXTURE_VARIANT_ADD(netlink, anonymous) { false };
FIXTURE_VARIANT_ADD(netlink, leased) { true };

FIXTURE_SETUP(netlink)
{
	VERBS_SETUP(&self->v);
	ASSERT_TRUE(nl_open(&self->nl));
	self->dev = dev_index(&self->nl, self->v.ctx);
	ASSERT_LE(0, self->dev);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	take_lease(_metadata, &self->f, true);
	set_grace(GRACE_LONG);
	self->mem = variant->leased ? self->f.map : self->v.buf + BUF_SIZE / 2;
	self->vm_pin = vm_pin_kb();
	ASSERT_REG(self->mr, &self->v, self->mem, LEN, ACCESS_RW);
	ASSERT_EQ(self->vm_pin + (long)(LEN / KIB), vm_pin_kb());
}

FIXTURE_TEARDOWN_PARENT(netlink)
{
	environment_clean();
}

#define do_revoke(mr)							\
do {									\
	EXPECT_EQ(0, revoke_mr(&self->nl, self->dev, mr)) {		\
		TH_LOG("not revoked: %s", self->nl.why);		\
	}								\
} while (0)

/* A region that nobody has touched. */
#define expect_alive()							\
do {									\
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr, \
					       self->mem, LEN, 1));	\
	EXPECT_EQ(self->vm_pin + (long)(LEN / KIB), vm_pin_kb());	\
} while (0)

/* Was refused with @error, for a reason that is told. */
#define expect_refused(error, call)					\
do {									\
	EXPECT_EQ(error, call);						\
	EXPECT_NE('\0', self->nl.why[0]);				\
	TH_LOG("%s: %s", #error, self->nl.why);				\
} while (0)

/* Breaks if only leased memory can be revoked, or if its pages stay pinned. */
/* Rules: V5 V3 */
TEST_F(netlink, V5_revoked)
{
	expect_alive();
	do_revoke(self->mr);
	/* It has happened when the command returns. */
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	memset(self->mem, 0x77, LEN);
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, self->mr, self->mem, LEN, 2));
	EXPECT_EQ(0x77, self->mem[0]);
	EXPECT_EQ(0x77, self->mem[LEN - 1]);
	/* Once more changes nothing. */
	do_revoke(self->mr);
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(-EINVAL, rereg_access(self->mr, ACCESS_RO));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
}

/* Breaks if the lease goes with the region, or with what it allows. */
/* Rules: V5 */
TEST_F(netlink, V5_lease_stays)
{
	struct ibv_mr *mr;

	do_revoke(self->mr);
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_TRUE(wait_for(held_pins() == 0));
	/* Nothing is in the way any more, not even a recall. */
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 2 * LEN, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RW);
	EXPECT_EQ(1, held_pins());
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* Breaks if the keys are free while the MR is there. */
/* Rules: V2 V5 */
TEST_F(netlink, V2_keys_stay_taken)
{
	struct ibv_mr *more[300];
	unsigned int i;

	do_revoke(self->mr);
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = ibv_reg_mr(self->v.pd, self->v.buf, PAGE, ACCESS_RW);
		ASSERT_NE(NULL, more[i]);
		/* rxe: the index is above the lowest byte, which is a version. */
		ASSERT_NE(self->mr->lkey >> 8, more[i]->lkey >> 8);
	}
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, self->mr, self->mem, LEN, 2));
	for (i = 0; i < ARRAY_SIZE(more); i++)
		ASSERT_EQ(0, ibv_dereg_mr(more[i]));
}

/* --- who may, and what ----------------------------------------------------------------- */

struct revoke_arg {
	int dev, mrn;
	int unshare;		/* namespaces to leave first: -ECHILD if not */
	uid_t uid;
};

/* In a child: the error, or -EPROTO if there is no reason told. */
static int revoke_elsewhere(const void *p)
{
	const struct revoke_arg *arg = p;
	static struct nl nl;
	int ret;

	if (unshare(arg->unshare) || setuid(arg->uid))
		return -ECHILD;
	if (!nl_open(&nl))
		return -EBADF;
	ret = revoke_number(&nl, arg->dev, arg->mrn, -1);
	if (ret && !nl.why[0])
		return -EPROTO;
	return ret;
}

/* Breaks without RDMA_NL_ADMIN_PERM. */
/* Rules: V5 */
TEST_F(netlink, V5_needs_privilege)
{
	struct revoke_arg arg = {
		self->dev, mr_number(&self->nl, self->dev, self->mr), 0, 65534,
	};
	int ret;

	EXPECT_EQ(-EPERM, in_child(_metadata, revoke_elsewhere, &arg));
	/* To be privileged in a user namespace of one's own does not help. */
	arg.unshare = CLONE_NEWUSER;
	arg.uid = getuid();
	ret = in_child(_metadata, revoke_elsewhere, &arg);
	EXPECT_TRUE(ret == -EPERM || ret == -ECHILD);
	expect_alive();
	expect_no_event(self->v.ctx->async_fd);
}

static int set_netns_mode(struct nl *nl, unsigned char shared)
{
	nl_begin(nl, RDMA_NLDEV_CMD_SYS_SET, NLM_F_ACK);
	nl_put(nl, RDMA_NLDEV_SYS_ATTR_NETNS_MODE, &shared, 1);
	return nl_talk(nl, NULL, NULL);
}

/* Devices that another network namespace does not have, it cannot name either. */
/* Rules: V5 */
TEST_F(netlink, V5_other_network_namespace)
{
	struct revoke_arg arg = {
		self->dev, mr_number(&self->nl, self->dev, self->mr),
		CLONE_NEWNET, 0,
	};
	int ret;

	ret = set_netns_mode(&self->nl, 0);
	if (ret == -EBUSY)
		SKIP(return, "there are other network namespaces");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(-ENODEV, in_child(_metadata, revoke_elsewhere, &arg));
	EXPECT_TRUE(wait_for(!set_netns_mode(&self->nl, 1)));
	expect_alive();
	do_revoke(self->mr);
}

/* A pid namespace hides the owner's number, as it does when MRs are shown. */
/* Rules: V5 */
TEST_F(netlink, V5_other_pid_namespace)
{
	struct mr_info m;
	pid_t pid;
	int status;

	ASSERT_TRUE(mr_info(&self->nl, self->dev, self->mr, &m));
	EXPECT_EQ(getpid(), m.pid);
	ASSERT_EQ(0, unshare(CLONE_NEWPID));
	pid = fork();
	if (!pid) {
		static struct nl nl;

		if (!nl_open(&nl) || !mr_info(&nl, self->dev, self->mr, &m) ||
		    m.pid)
			_exit(1);
		_exit(-revoke_number(&nl, self->dev, m.mrn, -1));
	}
	ASSERT_LT(0, pid);
	ASSERT_TRUE(reap(pid, &status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
}

/* Rules: V5 */
TEST_F(netlink, V5_wrong_numbers)
{
	int mrn = mr_number(&self->nl, self->dev, self->mr);

	expect_refused(-EINVAL, revoke_number(&self->nl, -1, mrn, -1));
	expect_refused(-EINVAL, revoke_number(&self->nl, self->dev, -1, -1));
	expect_refused(-ENODEV, revoke_number(&self->nl, self->dev + 1000, mrn,
					      -1));
	expect_refused(-ENOENT, revoke_number(&self->nl, self->dev, mrn + 1000,
					      -1));
	expect_alive();
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	expect_refused(-ENOENT, revoke_number(&self->nl, self->dev, mrn, -1));
}

/* The number of the one pin of a region. */
static int pin_number(struct nl *nl, int dev, const struct ibv_mr *mr)
{
	struct mr_info m;

	return mr_info(nl, dev, mr, &m) && m.pins[0] ? atoi(m.pins) : -1;
}

/* Breaks if the number of a pin is not looked at, or looked for elsewhere. */
/* Rules: V5 */
TEST_F(netlink, V5_wrong_pin_is_estale)
{
	int mrn = mr_number(&self->nl, self->dev, self->mr), pin;
	struct ibv_mr *other;

	ASSERT_REG(other, &self->v, self->f.map + LEN, LEN, ACCESS_RW);
	pin = pin_number(&self->nl, self->dev, other);
	ASSERT_LT(0, pin);
	/* A pin of another region, and one that is not there. */
	expect_refused(-ESTALE, revoke_number(&self->nl, self->dev, mrn, pin));
	expect_refused(-ESTALE, revoke_number(&self->nl, self->dev, mrn,
					      pin + 1000));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr,
					       self->mem, LEN, 1));

	pin = pin_number(&self->nl, self->dev, self->mr);
	if (!variant->leased) {
		EXPECT_EQ(-1, pin);
	} else {
		ASSERT_LT(0, pin);
		EXPECT_EQ(0, revoke_number(&self->nl, self->dev, mrn, pin));
		/* It has been this one's. */
		EXPECT_EQ(0, revoke_number(&self->nl, self->dev, mrn, pin));
	}
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, other,
					       self->f.map + LEN, LEN, 1));
}

/* Memory that the device faults in has MMU notifiers. */
/* Rules: V5 V7 */
TEST_F(netlink, V5_on_demand_paging_is_refused)
{
	struct ibv_mr *odp;

	if (!can_fault(&self->v))
		SKIP(return, "the RDMA device cannot fault");
	ASSERT_REG(odp, &self->v, self->v.buf, LEN,
		   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
		   IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND);
	expect_refused(-EOPNOTSUPP, revoke_mr(&self->nl, self->dev, odp));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, odp,
					       self->v.buf, PAGE, 1));
	expect_no_event(self->v.ctx->async_fd);
}

/*
 * rxe does not let go of a region with a window bound to it.  Breaks if that
 * leaves the region where no administrator finds it, or where it is not armed.
 */
/* Rules: V5 V1 */
TEST_F(netlink, V5_after_a_dereg_that_failed)
{
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = {
			.mr = self->mr,
			.addr = (uintptr_t)self->mem,
			.length = PAGE,
			.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
		},
	};
	int mrn = mr_number(&self->nl, self->dev, self->mr);
	struct ibv_mw *mw = ibv_alloc_mw(self->v.pd, IBV_MW_TYPE_1);
	struct mr_info m;

	ASSERT_NE(NULL, mw);
	ASSERT_EQ(0, ibv_bind_mw(self->p.qp[1], mw, &bind));
	ASSERT_EQ(IBV_WC_SUCCESS, completion(self->p.cq[1]));
	if (!ibv_dereg_mr(self->mr))
		SKIP(return, "the driver does not mind memory windows");

	ASSERT_TRUE(mr_info(&self->nl, self->dev, self->mr, &m));
	EXPECT_EQ(mrn, m.mrn);
	EXPECT_EQ(getpid(), m.pid);
	expect_alive();
	do_revoke(self->mr);
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	expect_event(self->v.ctx->async_fd, self->mr);
	EXPECT_NE(0, ibv_dereg_mr(self->mr));
	ASSERT_TRUE(mr_info(&self->nl, self->dev, self->mr, &m));
	EXPECT_EQ(1, m.revoked);

	ASSERT_EQ(0, ibv_dealloc_mw(mw));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(-1, mr_number(&self->nl, self->dev, self->mr));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
}

static void nothing(int sig)
{
	(void)sig;
}

/*
 * A signal arrives while the command waits: it is answered, and what it has begun
 * happens all the same.
 */
/* Rules: V5 */
TEST_F(netlink, V5_interrupted)
{
	struct sigaction sa = { .sa_handler = nothing };
	struct sigevent ev = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
	};
	long end = now_ms() + LIMIT * 1000L;
	int i, ret = 0, interrupted = 0;
	timer_t timer;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &ev, &timer));
	for (i = 0; interrupted < 3 && now_ms() < end; i++) {
		struct itimerspec after = {
			.it_value.tv_nsec = 1000 + i % 512 * 4000,
		};
		int mrn = mr_number(&self->nl, self->dev, self->mr);

		ASSERT_EQ(0, timer_settime(timer, 0, &after, NULL));
		ret = revoke_number(&self->nl, self->dev, mrn, -1);
		if (ret == -EINTR) {
			interrupted++;
			EXPECT_NE('\0', self->nl.why[0]);
		} else {
			ASSERT_EQ(0, ret);
			ASSERT_EQ(self->vm_pin, vm_pin_kb());
		}
		ASSERT_TRUE(wait_for(vm_pin_kb() == self->vm_pin));
		ASSERT_EQ(0, ibv_dereg_mr(self->mr));
		ASSERT_REG(self->mr, &self->v, self->mem, LEN, ACCESS_RW);
	}
	TH_LOG("%d of %d interrupted", interrupted, i);
	EXPECT_LT(0, interrupted);
}

/* --- races ------------------------------------------------------------------------------ */

#define RACE_MS		2000
#define RACE_ROUNDS	5
#define for_race(i, begin) \
	for (i = 0; i < RACE_ROUNDS || now_ms() - (begin) < RACE_MS; i++)

struct revoker {
	pthread_barrier_t barrier;
	struct nl nl;
	int dev, mrn, ret;
	long delay;		/* microseconds */
};

static void *revoke_at_barrier(void *arg)
{
	struct revoker *r = arg;
	struct timespec ts;
	long end;

	pthread_barrier_wait(&r->barrier);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	end = ts.tv_sec * 1000000 + ts.tv_nsec / 1000 + r->delay;
	do {
		clock_gettime(CLOCK_MONOTONIC, &ts);
	} while (ts.tv_sec * 1000000 + ts.tv_nsec / 1000 < end);
	r->ret = revoke_number(&r->nl, r->dev, r->mrn, -1);
	return NULL;
}

/* Breaks if both unpin the pages, or if the command waits for an MR that is gone. */
/* Rules: V1 V5 */
TEST_F(netlink, V1_dereg_against_revoke)
{
	static struct revoker r;
	long begin = now_ms();
	int i, revoked = 0;

	ASSERT_EQ(0, pthread_barrier_init(&r.barrier, NULL, 2));
	ASSERT_TRUE(nl_open(&r.nl));
	r.dev = self->dev;
	for_race(i, begin) {
		pthread_t t;

		r.delay = i % 16 * 20;
		r.mrn = mr_number(&self->nl, self->dev, self->mr);
		ASSERT_EQ(0, pthread_create(&t, NULL, revoke_at_barrier, &r));
		pthread_barrier_wait(&r.barrier);
		ASSERT_EQ(0, ibv_dereg_mr(self->mr));
		ASSERT_EQ(0, pthread_join(t, NULL));
		if (!r.ret)
			revoked++;
		else
			ASSERT_EQ(-ENOENT, r.ret);
		ASSERT_EQ(self->vm_pin, vm_pin_kb());
		expect_no_event(self->v.ctx->async_fd);
		ASSERT_REG(self->mr, &self->v, self->mem, LEN, ACCESS_RW);
	}
	TH_LOG("%d rounds, revoke came first in %d", i, revoked);
	expect_alive();
}

/* Breaks if a revoke that finds the region in rereg is forgotten. */
/* Rules: V1 V3 V5 */
TEST_F(netlink, V1_rereg_against_revoke)
{
	static struct revoker r;
	long begin = now_ms();
	int i, ret, after = 0;

	ASSERT_EQ(0, pthread_barrier_init(&r.barrier, NULL, 2));
	ASSERT_TRUE(nl_open(&r.nl));
	r.dev = self->dev;
	for_race(i, begin) {
		pthread_t t;

		r.delay = i % 16 * 10;
		r.mrn = mr_number(&self->nl, self->dev, self->mr);
		ASSERT_EQ(0, pthread_create(&t, NULL, revoke_at_barrier, &r));
		pthread_barrier_wait(&r.barrier);
		do {
			ret = rereg_access(self->mr, ACCESS_RW);
			after += !ret;
		} while (!ret);
		ASSERT_EQ(-EINVAL, ret);
		ASSERT_EQ(0, pthread_join(t, NULL));
		ASSERT_EQ(0, r.ret);
		ASSERT_EQ(self->vm_pin, vm_pin_kb());
		expect_event(self->v.ctx->async_fd, self->mr);
		ASSERT_EQ(0, ibv_dereg_mr(self->mr));
		ASSERT_REG(self->mr, &self->v, self->mem, LEN, ACCESS_RW);
	}
	TH_LOG("%d rounds, %d reregs before the revoke", i, after);
}

/* Rules: V1 V4 V5 */
TEST_F(netlink, V1_close_of_the_context_against_revoke)
{
	static struct revoker r;
	long begin = now_ms();
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&r.barrier, NULL, 2));
	ASSERT_TRUE(nl_open(&r.nl));
	r.dev = self->dev;
	for_race(i, begin) {
		struct ibv_mr *mr;
		struct verbs v;
		pthread_t t;

		ASSERT_TRUE(verbs_find(&v));
		v.pd = ibv_alloc_pd(v.ctx);
		ASSERT_NE(NULL, v.pd);
		ASSERT_REG(mr, &v, self->mem, LEN, ACCESS_RW);
		r.delay = i % 16 * 40;
		r.mrn = mr_number(&self->nl, self->dev, mr);
		ASSERT_EQ(0, pthread_create(&t, NULL, revoke_at_barrier, &r));
		pthread_barrier_wait(&r.barrier);
		/* The async fd stays open for a while. */
		close(v.ctx->cmd_fd);
		ASSERT_EQ(0, pthread_join(t, NULL));
		ASSERT_TRUE(!r.ret || r.ret == -ENOENT || r.ret == -EINTR) {
			TH_LOG("%d %s", r.ret, r.nl.why);
		}
		expect_no_event(v.ctx->async_fd);
		close(v.ctx->async_fd);
		ASSERT_EQ(self->vm_pin + (long)(LEN / KIB), vm_pin_kb());
	}
	expect_alive();
}

/* --- the device goes ------------------------------------------------------------------ */

#define OWN_DEV		"rxe_lease"
#define OWN_NETDEV	"lease_dum"

static int make_device(void)
{
	return run("ip link add " OWN_NETDEV " type dummy && "
		   "ip addr add 203.0.113.1/24 dev " OWN_NETDEV " && "
		   "ip link set " OWN_NETDEV " up && "
		   "rdma link add " OWN_DEV " type rxe netdev " OWN_NETDEV);
}

static int remove_device(void)
{
	return run("rdma link del " OWN_DEV);
}

static void remove_netdev(void)
{
	run("ip link del " OWN_NETDEV " 2>/dev/null");
}

FIXTURE(removal)
{
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	long vm_pin;
};

FIXTURE_VARIANT(removal)
{
	enum fs fs;
};

ADD_EACH_FS(removal);

/* A device that can go, as it is not the one that other tests use. */
FIXTURE_SETUP(removal)
{
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	take_lease(_metadata, &self->f, false);
	self->vm_pin = vm_pin_kb();
	ASSERT_EQ(0, make_device());
	setenv("LAYOUT_LEASE_RDMA", OWN_DEV, 1);
	VERBS_SETUP(&self->v);
	ASSERT_STREQ(OWN_DEV, ibv_get_device_name(self->v.ctx->device));
	ASSERT_REG(self->mr, &self->v, self->f.map, LEN, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(removal)
{
	run("rdma link del " OWN_DEV " 2>/dev/null");
	remove_netdev();
	environment_clean();
}

/* Breaks if pins survive the device that made them, or keep it. */
/* Rules: V1 P6 */
TEST_F(removal, V1_takes_the_pins_along)
{
	ASSERT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, remove_device());
	EXPECT_TRUE(wait_for(count_pins(getpid(), NULL) == 0));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	EXPECT_EQ(0, unlock_lease(self->f.lease_fd));
}

/* The end of the device is as good an answer to a recall as any other. */
/* Rules: V1 B3 */
TEST_F(removal, V1_during_a_break)
{
	struct call c;

	start_op(_metadata, &c, op_truncate, &self->f, 0, 0);
	ASSERT_TRUE(wait_for(fcntl(self->f.lease_fd, F_GETLEASE) ==
			     (F_LAYOUT | F_BREAKING)));
	EXPECT_EQ(0, remove_device());
	EXPECT_EQ(0, call_wait(&c));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* Breaks if the two wait for each other, or touch what the other one has freed. */
/* Rules: V1 V5 */
TEST_F(removal, V1_against_revoke)
{
	int i, revoked = 0;
	long took = 0;

	for (i = 0; i < 12; i++) {
		static struct revoker r;
		pthread_t t;

		ASSERT_TRUE(nl_open(&r.nl));
		r.dev = dev_index(&r.nl, self->v.ctx);
		ASSERT_LE(0, r.dev);
		r.mrn = mr_number(&r.nl, r.dev, self->mr);
		/* From before the removal to its end. */
		r.delay = took * 1000 * (i % 6) / 4;
		ASSERT_EQ(0, pthread_barrier_init(&r.barrier, NULL, 2));
		ASSERT_EQ(0, pthread_create(&t, NULL, revoke_at_barrier, &r));
		pthread_barrier_wait(&r.barrier);
		took = now_ms();
		ASSERT_EQ(0, remove_device());
		took = now_ms() - took;
		ASSERT_EQ(0, pthread_join(t, NULL));
		revoked += !r.ret;
		ASSERT_TRUE(!r.ret || r.ret == -ENOENT || r.ret == -ENODEV) {
			TH_LOG("%d %s", r.ret, r.nl.why);
		}
		close(r.nl.fd);
		ASSERT_TRUE(wait_for(count_pins(getpid(), NULL) == 0));
		ASSERT_EQ(self->vm_pin, vm_pin_kb());
		remove_netdev();
		ASSERT_EQ(0, make_device());
		ASSERT_TRUE(verbs_find(&self->v));
		self->v.pd = ibv_alloc_pd(self->v.ctx);
		ASSERT_NE(NULL, self->v.pd);
		ASSERT_REG(self->mr, &self->v, self->f.map, LEN, ACCESS_RW);
	}
	TH_LOG("%d rounds, revoke came first in %d", i, revoked);
}

/* --- the event -------------------------------------------------------------------------- */

/* Rules: V4 */
TEST_F(netlink, V4_once_with_the_handle)
{
	struct ibv_mr *other;

	ASSERT_REG(other, &self->v, self->mem, LEN, ACCESS_RW);
	expect_no_event(self->v.ctx->async_fd);
	do_revoke(self->mr);
	expect_event(self->v.ctx->async_fd, self->mr);
	expect_no_event(self->v.ctx->async_fd);
	do_revoke(self->mr);
	expect_no_event(self->v.ctx->async_fd);
	do_revoke(other);
	expect_event(self->v.ctx->async_fd, other);
	expect_no_event(self->v.ctx->async_fd);
}

/* A break and the end of the lease revoke, too. */
/* Rules: V4 */
TEST_F(netlink, V4_whoever_revokes)
{
	struct ibv_mr *mr;

	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RW);
	set_grace(1);
	ASSERT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	expect_event(self->v.ctx->async_fd, mr);
	ASSERT_EQ(0, ibv_dereg_mr(mr));

	ASSERT_EQ(0, ftruncate(self->f.fd, MIB));
	ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RW);
	ASSERT_EQ(0, close(self->f.lease_fd));
	ASSERT_TRUE(wait_for(held_pins() == 0));
	expect_event(self->v.ctx->async_fd, mr);
	expect_no_event(self->v.ctx->async_fd);
}

/* Breaks if only the default async fd is told, or if one takes it from the other. */
/* Rules: V4 */
TEST_F(netlink, V4_every_async_fd)
{
	int before = open_async(self->v.ctx), between, after;
	struct ibv_mr *other;

	ASSERT_LE(0, before);
	ASSERT_REG(other, &self->v, self->mem, LEN, ACCESS_RW);
	/* Opened after the registration. */
	between = open_async(self->v.ctx);
	ASSERT_LE(0, between);
	do_revoke(self->mr);
	do_revoke(other);
	after = open_async(self->v.ctx);
	ASSERT_LE(0, after);

	expect_event(self->v.ctx->async_fd, self->mr);
	expect_event(before, self->mr);
	expect_event(before, other);
	/* One that is closed with events unread is nobody else's business. */
	ASSERT_EQ(0, close(before));
	expect_event(between, self->mr);
	expect_event(between, other);
	expect_event(self->v.ctx->async_fd, other);
	expect_no_event(between);
	expect_no_event(after);
	expect_no_event(self->v.ctx->async_fd);
}

/* Who sleeps in read() wakes up. */
static int wait_event(const void *arg)
{
	unsigned long long element = 0;
	struct pollfd p = { .fd = *(const int *)arg, .events = POLLIN };

	if (poll(&p, 1, LIMIT * 1000) != 1)
		return -ETIME;
	next_event(p.fd, &element);
	return element;
}

static int wait_read(const void *arg)
{
	struct ib_uverbs_async_event_desc desc;

	if (read(*(const int *)arg, &desc, sizeof(desc)) != sizeof(desc))
		return -errno;
	return desc.element;
}

/* Rules: V4 */
TEST_F(netlink, V4_wakes_who_waits)
{
	int fd[2] = { self->v.ctx->async_fd, open_async(self->v.ctx) };
	struct call c[2];

	ASSERT_LE(0, fd[1]);
	call_start(_metadata, &c[0], wait_event, &fd[0]);
	call_start(_metadata, &c[1], wait_read, &fd[1]);
	EXPECT_TRUE(stays_asleep(c[0].pid));
	EXPECT_TRUE(stays_asleep(c[1].pid));
	do_revoke(self->mr);
	EXPECT_EQ((int)self->mr->handle, call_wait(&c[0]));
	EXPECT_EQ((int)self->mr->handle, call_wait(&c[1]));
}

/*
 * Handles are used again at once: an event that is read after the dereg would be
 * about somebody else.
 */
/* Rules: V4 */
TEST_F(netlink, V4_discarded_at_dereg)
{
	int fd = open_async(self->v.ctx);
	struct ibv_mr *mr[3];
	unsigned int i;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(mr); i++) {
		ASSERT_REG(mr[i], &self->v, self->mem, LEN, ACCESS_RW);
		do_revoke(mr[i]);
	}
	/* One fd has read one of them, the other one none. */
	expect_event(fd, mr[0]);
	for (i = 0; i < ARRAY_SIZE(mr); i += 2)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
	expect_event(self->v.ctx->async_fd, mr[1]);
	expect_no_event(self->v.ctx->async_fd);
	ASSERT_EQ(0, ibv_dereg_mr(mr[1]));
	expect_no_event(fd);
	/* The next one with the handle has not been revoked. */
	ASSERT_REG(mr[0], &self->v, self->mem, LEN, ACCESS_RW);
	expect_no_event(fd);
	do_revoke(mr[0]);
	expect_event(fd, mr[0]);
}

/* Rules: V4 */
TEST_F(netlink, V4_many_in_order)
{
	struct ibv_mr *mr[200];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->mem, PAGE, ACCESS_RW);
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		do_revoke(mr[(i * 7) % ARRAY_SIZE(mr)]);
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		expect_event(self->v.ctx->async_fd,
			     mr[(i * 7) % ARRAY_SIZE(mr)]);
	expect_no_event(self->v.ctx->async_fd);
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
}

#define FAULTS	"/sys/kernel/debug/failslab/"

static bool fail_atomic(bool fail)
{
	return !write_text(FAULTS "verbose", "0") &&
	       !write_text(FAULTS "ignore-gfp-wait", "Y") &&
	       !write_text(FAULTS "times", "-1") &&
	       !write_text(FAULTS "interval", "1") &&
	       !write_text(FAULTS "probability", fail ? "100" : "0");
}

/* Breaks if the event is allocated when it happens. */
/* Rules: V4 */
TEST_F(netlink, V4_without_memory)
{
	if (access(FAULTS, F_OK))
		SKIP(return, "the kernel cannot fail allocations on demand");
	ASSERT_TRUE(fail_atomic(false));
	/* Whoever can wait for memory gets some: netlink does. */
	ASSERT_TRUE(fail_atomic(true));
	do_revoke(self->mr);
	ASSERT_TRUE(fail_atomic(false));
	expect_event(self->v.ctx->async_fd, self->mr);
}

/* An application that has not heard of it, by a library that has not either. */
/* Rules: V4 */
TEST_F(netlink, V4_old_library_survives)
{
	struct ibv_async_event event;

	do_revoke(self->mr);
	ASSERT_EQ(0, ibv_get_async_event(self->v.ctx, &event));
	EXPECT_EQ(IB_UVERBS_EVENT_MR_REVOKED, (int)event.event_type);
	/* What it does not know, it takes for an event of a port. */
	EXPECT_EQ(self->mr->handle, (unsigned int)event.element.port_num);
	ibv_ack_async_event(&event);
	EXPECT_NE(NULL, ibv_event_type_str(event.event_type));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/* A command of the context that @fd belongs to, also if that is another process's. */
static int invoke(int fd, int driver, int command, void *in, size_t in_len,
		  void *out, size_t out_len)
{
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attr[3];
	} cmd = {
		.hdr = {
			.length = sizeof(cmd),
			.object_id = UVERBS_OBJECT_DEVICE,
			.method_id = UVERBS_METHOD_INVOKE_WRITE,
			.num_attrs = 3,
			.driver_id = driver,
		},
		.attr = {
			{
				.attr_id = UVERBS_ATTR_CORE_IN,
				.len = in_len,
				.flags = UVERBS_ATTR_F_MANDATORY,
				.data = (uintptr_t)in,
			}, {
				.attr_id = UVERBS_ATTR_CORE_OUT,
				.len = out_len,
				.flags = UVERBS_ATTR_F_MANDATORY,
				.data = (uintptr_t)out,
			}, {
				.attr_id = UVERBS_ATTR_WRITE_CMD,
				.len = sizeof(unsigned long long),
				.flags = UVERBS_ATTR_F_MANDATORY,
				.data = command,
			},
		},
	};

	/* What fits into eight bytes is there itself. */
	if (in_len <= sizeof(cmd.attr[0].data))
		memcpy(&cmd.attr[0].data, in, in_len);
	return ioctl(fd, RDMA_VERBS_IOCTL, &cmd) ? -errno : 0;
}

/* The descriptor of a process's RDMA context, as one of ours. */
static int steal_context(pid_t pid)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0), fd = -1, i;
	char path[64], target[64] = "";

	for (i = 3; fd < 0 && i < 64; i++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, i);
		memset(target, 0, sizeof(target));
		if (readlink(path, target, sizeof(target) - 1) > 0 &&
		    strstr(target, "/uverbs"))
			fd = syscall(__NR_pidfd_getfd, pidfd, i, 0);
	}
	close(pidfd);
	return fd;
}

/* A line that a program says, one at a time. */
static bool next_line(FILE *said, char *line, int size)
{
	struct pollfd p = { .fd = fileno(said), .events = POLLIN };

	return poll(&p, 1, LIMIT * 1000) == 1 && fgets(line, size, said);
}

/*
 * ibv_asyncwatch, as released, has no MRs: we register some in its context.  It
 * must tell of an event that it does not know, and go on.
 */
/* Rules: V4 */
TEST_F(netlink, V4_unmodified_asyncwatch_survives)
{
	const char *name = ibv_get_device_name(self->v.ctx->device);
	struct ib_uverbs_alloc_pd pd = { };
	struct ib_uverbs_alloc_pd_resp pd_resp;
	int out[2], context, driver, i;
	char line[128];
	FILE *said;
	pid_t pid;

	if (!have_program("ibv_asyncwatch") || !have_program("stdbuf"))
		SKIP(return, "no ibv_asyncwatch");
	ASSERT_EQ(0, pipe(out));
	pid = fork_child();
	if (!pid) {
		dup2(out[1], 1);
		close(out[1]);
		execlp("stdbuf", "stdbuf", "-oL", "ibv_asyncwatch", "-d", name,
		       NULL);
		_exit(1);
	}
	ASSERT_LT(0, pid);
	close(out[1]);
	said = fdopen(out[0], "r");
	ASSERT_NE(NULL, said);
	ASSERT_TRUE(next_line(said, line, sizeof(line)));
	ASSERT_NE(NULL, strstr(line, "async event FD"));

	context = steal_context(pid);
	ASSERT_LE(0, context);
	driver = driver_id(self->v.ctx);
	ASSERT_EQ(0, invoke(context, driver, IB_USER_VERBS_CMD_ALLOC_PD, &pd,
			    sizeof(pd), &pd_resp, sizeof(pd_resp)));
	for (i = 0; i < 2; i++) {
		struct ib_uverbs_reg_mr reg = {
			.start = (uintptr_t)self->v.buf,
			.hca_va = (uintptr_t)self->v.buf,
			.length = PAGE,
			.pd_handle = pd_resp.pd_handle,
			.access_flags = IBV_ACCESS_LOCAL_WRITE,
		};
		struct ib_uverbs_reg_mr_resp resp;
		struct ibv_mr mr;

		ASSERT_EQ(0, invoke(context, driver, IB_USER_VERBS_CMD_REG_MR,
				    &reg, sizeof(reg), &resp, sizeof(resp)));
		mr.lkey = resp.lkey;
		do_revoke(&mr);
		ASSERT_TRUE(next_line(said, line, sizeof(line)));
		TH_LOG("%.*s", (int)strcspn(line, "\n"), line);
		EXPECT_NE(NULL, strstr(line, "(21)"));
	}
	EXPECT_EQ(0, kill(pid, 0));
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	expect_no_event(self->v.ctx->async_fd);
	kill(pid, SIGKILL);
	reap(pid, &i);
}

/* --- the report --------------------------------------------------------------------------- */

/* Rules: R3 */
TEST_F(netlink, R3_resource_tracker)
{
	struct mr_info m;
	char id[16] = "";

	if (variant->leased) {
		static struct pin_line pins[MAX_PINS];

		ASSERT_EQ(1, read_pins(getpid(), pins));
		snprintf(id, sizeof(id), "%llu", (unsigned long long)pins[0].id);
	}
	ASSERT_TRUE(mr_info(&self->nl, self->dev, self->mr, &m));
	EXPECT_EQ(1, m.tables);
	EXPECT_EQ(0, m.revoked);
	EXPECT_STREQ(id, m.pins);
	do_revoke(self->mr);
	ASSERT_TRUE(mr_info(&self->nl, self->dev, self->mr, &m));
	EXPECT_EQ(1, m.tables);
	EXPECT_EQ(1, m.revoked);
	EXPECT_STREQ(id, m.pins);
}

struct lister {
	struct nl nl;
	int dev, ret;
	long listed;
	bool stop;
};

static void count_mrs(void *at, size_t len, void *arg)
{
	struct nlattr *table = nl_find(at, len, RDMA_NLDEV_ATTR_RES_MR), *a;
	struct lister *l = arg;

	if (table)
		for_each_attr(a, nla_at(table), nla_size(table))
			l->listed++;
}

static void *list_mrs(void *arg)
{
	struct lister *l = arg;

	while (!l->ret && !__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		nl_begin(&l->nl, RDMA_NLDEV_CMD_RES_MR_GET, NLM_F_DUMP);
		nl_put_u32(&l->nl, RDMA_NLDEV_ATTR_DEV_INDEX, l->dev);
		l->ret = nl_talk(&l->nl, count_mrs, l);
	}
	return NULL;
}

/* Breaks if who lists regions uses what a deregistration has given back. */
/* Rules: R3 */
TEST_F(netlink, R3_list_against_dereg)
{
	static struct lister l;
	long begin = now_ms();
	pthread_t t;
	int i;

	ASSERT_TRUE(nl_open(&l.nl));
	l.dev = self->dev;
	ASSERT_EQ(0, pthread_create(&t, NULL, list_mrs, &l));
	for_race(i, begin) {
		ASSERT_EQ(0, ibv_dereg_mr(self->mr));
		ASSERT_REG(self->mr, &self->v, self->mem, LEN, ACCESS_RW);
	}
	__atomic_store_n(&l.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(t, NULL));
	EXPECT_EQ(0, l.ret);
	/* The test's buffer, if no other. */
	EXPECT_LT(0, l.listed);
	TH_LOG("%d rounds, %ld regions listed", i, l.listed);
}

/* Several pins have several numbers, and more than that end in dots. */
/* Rules: R3 */
TEST_F(netlink, R3_many_pins)
{
	struct mr_info m;
	struct ibv_mr *mr;
	char *room, want[32];
	int i, first;

	room = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	ASSERT_NE(MAP_FAILED, (void *)room);
	/* Every other page of the file: no two pages are one pin. */
	for (i = 0; i < 64; i++)
		ASSERT_NE(MAP_FAILED,
			  mmap(room + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, self->f.fd,
			       LEN + 2 * i * PAGE));
	ASSERT_REG(mr, &self->v, room, 3 * PAGE, ACCESS_RW);
	ASSERT_TRUE(mr_info(&self->nl, self->dev, mr, &m));
	first = atoi(m.pins);
	snprintf(want, sizeof(want), "%d-%d", first, first + 2);
	EXPECT_STREQ(want, m.pins);
	ASSERT_EQ(0, ibv_dereg_mr(mr));

	ASSERT_REG(mr, &self->v, room, 64 * PAGE, ACCESS_RW);
	ASSERT_TRUE(mr_info(&self->nl, self->dev, mr, &m));
	EXPECT_NE(NULL, strstr(m.pins, ",..."));
	/* Any of them will do, told or not. */
	EXPECT_EQ(0, revoke_number(&self->nl, self->dev, m.mrn,
				   atoi(m.pins) + 63));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* The tool as it is released, without a word about leases in it. */
/* Rules: R3 */
TEST_F(netlink, R3_unmodified_rdma_tool)
{
	int mrn = mr_number(&self->nl, self->dev, self->mr);
	char text[256], *pins;
	struct mr_info m;
	int revoked;
	FILE *tool;

	if (!have_program("rdma"))
		SKIP(return, "no rdma tool");
	for (revoked = 0; revoked < 2; revoked++) {
		if (revoked)
			do_revoke(self->mr);
		ASSERT_TRUE(mr_info(&self->nl, self->dev, self->mr, &m));
		snprintf(text, sizeof(text), "rdma resource show mr mrn %d -dd",
			 mrn);
		tool = popen(text, "r");
		ASSERT_NE(NULL, tool);
		ASSERT_NE(NULL, fgets(text, sizeof(text), tool));
		ASSERT_EQ(0, pclose(tool));
		TH_LOG("%.*s", (int)strcspn(text, "\n"), text);
		EXPECT_NE(NULL, strstr(text, revoked ? "revoked 1" :
						       "revoked 0"));
		pins = strstr(text, "pins ");
		EXPECT_EQ(variant->leased, pins && atoi(pins + 5) > 0);
		EXPECT_TRUE(!pins || atoi(pins + 5) == atoi(m.pins));
	}
}

LAYOUT_LEASE_TEST_MAIN
