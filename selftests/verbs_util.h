/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers of the layout lease tests: an RDMA device, connected queue pairs that
 * lead back to the same device, work requests and their completions.
 */
#ifndef LAYOUT_LEASE_VERBS_UTIL_H
#define LAYOUT_LEASE_VERBS_UTIL_H

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <infiniband/verbs.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <rdma/ib_user_verbs.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common.h"

#define ACCESS_RW	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | \
			 IBV_ACCESS_MW_BIND)
#define ACCESS_RO	IBV_ACCESS_REMOTE_READ

#define BUF_SIZE	MIB

/*
 * Kinds of devices.  A test that cares names one; all others use the device of
 * the environment, or the first rxe.
 */
enum rdma_kind { ANY_RDMA, RXE, SIW };
static enum rdma_kind rdma_now = ANY_RDMA;

/**
 * struct verbs - an RDMA device
 * @iwarp: connections are made by address, not by queue pair and GID
 * @addr: address of an iWARP device
 * @buf: anonymous memory, @buf_mr is all of it
 */
struct verbs {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	bool iwarp;
	struct sockaddr_in addr;
	union ibv_gid gid;
	int gid_index;
	enum ibv_mtu mtu;
	char *buf;
	struct ibv_mr *buf_mr;
};

/**
 * struct pair - two queue pairs connected to each other
 * @qp: 0 posts the requests, 1 is the remote peer
 * @channel: iWARP: where the connections' events come
 * @id: iWARP: connections of the two, and the one that listens
 */
struct pair {
	struct ibv_cq *cq[2];
	struct ibv_qp *qp[2];
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id[3];
};

/* Have the providers' libraries loaded once, not by the process of each test. */
__attribute__((constructor)) static void verbs_load(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	if (list)
		ibv_free_device_list(list);
}

/*
 * The device to be tested: false if there is none.  Who names one that is not there
 * gets no other.
 */
static inline bool verbs_find(struct verbs *v)
{
	const char *named = getenv("LAYOUT_LEASE_RDMA");
	const char *kind = rdma_now == SIW ? "siw" : "rxe";
	size_t len = strlen(kind);
	struct ibv_device **list = ibv_get_device_list(NULL);
	bool use_named = named && rdma_now == ANY_RDMA;
	int i;

	v->ctx = NULL;
	/* It need not have the name of its kind. */
	for (i = 0; list && list[i] && named; i++)
		if (!strcmp(ibv_get_device_name(list[i]), named) &&
		    (rdma_now == SIW) ==
		     (list[i]->transport_type == IBV_TRANSPORT_IWARP))
			use_named = true;
	if (use_named)
		kind = named, len = strlen(named) + 1;
	for (i = 0; list && list[i] && !v->ctx; i++)
		if (!strncmp(ibv_get_device_name(list[i]), kind, len))
			v->ctx = ibv_open_device(list[i]);
	if (list)
		ibv_free_device_list(list);
	v->iwarp = v->ctx &&
		   v->ctx->device->transport_type == IBV_TRANSPORT_IWARP;
	return v->ctx;
}

/* An iWARP device has the MAC of its interface for a GID: that one's address. */
static inline bool find_address(struct verbs *v)
{
	struct ifaddrs *all, *i, *j;
	bool found = false;

	if (ibv_query_gid(v->ctx, 1, 0, &v->gid) || getifaddrs(&all))
		return false;
	for (i = all; i; i = i->ifa_next) {
		struct sockaddr_ll *mac = (struct sockaddr_ll *)i->ifa_addr;

		if (!mac || mac->sll_family != AF_PACKET ||
		    memcmp(mac->sll_addr, v->gid.raw, 6))
			continue;
		for (j = all; j && !found; j = j->ifa_next) {
			if (!j->ifa_addr || j->ifa_addr->sa_family != AF_INET ||
			    strcmp(i->ifa_name, j->ifa_name))
				continue;
			memcpy(&v->addr, j->ifa_addr, sizeof(v->addr));
			found = true;
		}
	}
	freeifaddrs(all);
	return found;
}

static inline void verbs_begin(struct __test_metadata *const _metadata,
			       struct verbs *v)
{
	static const unsigned char ipv4[12] = { [10] = 0xff, [11] = 0xff };
	struct ibv_port_attr port;

	ASSERT_EQ(0, ibv_query_port(v->ctx, 1, &port));
	ASSERT_EQ((int)IBV_PORT_ACTIVE, (int)port.state);
	v->mtu = port.active_mtu;
	/* Any address will do; an IPv4 address is there from the start. */
	for (v->gid_index = 0; v->gid_index < port.gid_tbl_len; v->gid_index++)
		if (v->iwarp ? find_address(v) :
		    !ibv_query_gid(v->ctx, 1, v->gid_index, &v->gid) &&
		    !memcmp(v->gid.raw, ipv4, sizeof(ipv4)))
			break;
	ASSERT_GT(port.gid_tbl_len, v->gid_index);

	v->pd = ibv_alloc_pd(v->ctx);
	ASSERT_NE(NULL, v->pd);
	v->buf = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)v->buf);
	v->buf_mr = ibv_reg_mr(v->pd, v->buf, BUF_SIZE, ACCESS_RW);
	ASSERT_NE(NULL, v->buf_mr);
}

/* Has it on-demand paging? */
static inline bool can_fault(const struct verbs *v)
{
	struct ibv_device_attr_ex attr;

	return !ibv_query_device_ex(v->ctx, NULL, &attr) &&
	       (attr.odp_caps.general_caps & IBV_ODP_SUPPORT);
}

/* Open it, or skip the test. */
#define NEED_VERBS(v)							\
do {									\
	if (!verbs_find(v)) {						\
		ASSERT_EQ(NULL, getenv("LAYOUT_LEASE_RDMA"));		\
		SKIP(return, "no RDMA device");				\
	}								\
} while (0)

/* In a FIXTURE_SETUP. */
#define VERBS_SETUP(v)							\
do {									\
	NEED_VERBS(v);							\
	verbs_begin(_metadata, v);					\
} while (0)

/* The same, with a device of that kind. */
#define VERBS_SETUP_KIND(v, kind)					\
do {									\
	rdma_now = (kind);						\
	VERBS_SETUP(v);							\
} while (0)

/* To the port itself. */
static inline struct ibv_ah_attr loopback(const struct verbs *v)
{
	return (struct ibv_ah_attr) {
		.is_global = 1,
		.port_num = 1,
		.grh = {
			.dgid = v->gid,
			.sgid_index = v->gid_index,
			.hop_limit = 1,
		},
	};
}

static inline void qp_connect(struct __test_metadata *const _metadata,
			      struct verbs *v, struct ibv_qp *qp,
			      unsigned int dest)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = ACCESS_RW & ~IBV_ACCESS_MW_BIND,
	};

	ASSERT_EQ(0, ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
				   IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = v->mtu,
		.dest_qp_num = dest,
		.max_dest_rd_atomic = 1,
		.min_rnr_timer = 12,
		.ah_attr = loopback(v),
	};
	ASSERT_EQ(0, ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV |
				   IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				   IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				   IBV_QP_MIN_RNR_TIMER));
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		.timeout = 17,		/* half a second: emulators are slow */
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 1,
	};
	ASSERT_EQ(0, ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
				   IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				   IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC));
}

/* The next event of a connection manager has to be this one: its connection. */
static inline struct rdma_cm_id *
cm_event(struct __test_metadata *const _metadata,
	 struct rdma_event_channel *channel, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;

	ASSERT_EQ(0, rdma_get_cm_event(channel, &event));
	ASSERT_EQ((int)type, (int)event->event) {
		TH_LOG("%s: %d", rdma_event_str(event->event), event->status);
	}
	id = event->id;
	ASSERT_EQ(0, rdma_ack_cm_event(event));
	return id;
}

static inline struct rdma_cm_id *
cm_listen(struct __test_metadata *const _metadata, struct verbs *v,
	  struct rdma_event_channel **channel)
{
	struct sockaddr_in any_port = v->addr;
	struct rdma_cm_id *id;

	*channel = rdma_create_event_channel();
	ASSERT_NE(NULL, *channel);
	ASSERT_EQ(0, rdma_create_id(*channel, &id, NULL, RDMA_PS_TCP));
	any_port.sin_port = 0;
	ASSERT_EQ(0, rdma_bind_addr(id, (struct sockaddr *)&any_port));
	ASSERT_EQ(0, rdma_listen(id, 1));
	return id;
}

static inline struct rdma_conn_param cm_param(const struct ibv_qp *qp)
{
	return (struct rdma_conn_param) {
		.responder_resources = 1,
		.initiator_depth = 1,
		.qp_num = qp->qp_num,
	};
}

/*
 * The device brings the queue pairs into their states.  They are ours, not of
 * librdmacm, which would have them in a context of its own.
 */
static inline void cm_connect(struct __test_metadata *const _metadata,
			      struct verbs *v, struct pair *p)
{
	struct rdma_conn_param param = cm_param(p->qp[0]);
	struct sockaddr_in to = v->addr;

	p->id[2] = cm_listen(_metadata, v, &p->channel);
	to.sin_port = rdma_get_src_port(p->id[2]);
	ASSERT_EQ(0, rdma_create_id(p->channel, &p->id[0], NULL, RDMA_PS_TCP));
	ASSERT_EQ(0, rdma_resolve_addr(p->id[0], NULL, (struct sockaddr *)&to,
				       LIMIT * 1000));
	cm_event(_metadata, p->channel, RDMA_CM_EVENT_ADDR_RESOLVED);
	ASSERT_EQ(0, rdma_resolve_route(p->id[0], LIMIT * 1000));
	cm_event(_metadata, p->channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
	ASSERT_EQ(0, rdma_connect(p->id[0], &param));
	p->id[1] = cm_event(_metadata, p->channel,
			    RDMA_CM_EVENT_CONNECT_REQUEST);
	param = cm_param(p->qp[1]);
	ASSERT_EQ(0, rdma_accept(p->id[1], &param));
	/* On both sides, in any order. */
	cm_event(_metadata, p->channel, RDMA_CM_EVENT_ESTABLISHED);
	cm_event(_metadata, p->channel, RDMA_CM_EVENT_ESTABLISHED);
}

/* Connect a pair.  The remote peer has its receive buffers in @srq, if any. */
static inline void pair_begin_srq(struct __test_metadata *const _metadata,
				  struct verbs *v, struct pair *p,
				  struct ibv_srq *srq)
{
	int i;

	p->channel = NULL;
	for (i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = IBV_QPT_RC,
			.cap = {
				.max_send_wr = 16,
				.max_recv_wr = 16,
				.max_send_sge = 1,
				.max_recv_sge = 1,
			},
		};

		p->cq[i] = ibv_create_cq(v->ctx, 64, NULL, NULL, 0);
		ASSERT_NE(NULL, p->cq[i]);
		attr.send_cq = p->cq[i];
		attr.recv_cq = p->cq[i];
		attr.srq = i ? srq : NULL;
		p->qp[i] = ibv_create_qp(v->pd, &attr);
		ASSERT_NE(NULL, p->qp[i]);
	}
	if (v->iwarp) {
		cm_connect(_metadata, v, p);
		return;
	}
	qp_connect(_metadata, v, p->qp[0], p->qp[1]->qp_num);
	qp_connect(_metadata, v, p->qp[1], p->qp[0]->qp_num);
}

static inline void pair_begin(struct __test_metadata *const _metadata,
			      struct verbs *v, struct pair *p)
{
	pair_begin_srq(_metadata, v, p, NULL);
}

static inline void pair_end(struct __test_metadata *const _metadata,
			    struct pair *p)
{
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, ibv_destroy_qp(p->qp[i]));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, ibv_destroy_cq(p->cq[i]));
	if (!p->channel)
		return;
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, rdma_destroy_id(p->id[i]));
	rdma_destroy_event_channel(p->channel);
}

/* Post a request; @remote and @rkey are for RDMA and atomics. */
static inline int post(struct ibv_qp *qp, enum ibv_wr_opcode opcode,
		       const struct ibv_mr *mr, void *addr, unsigned int len,
		       const void *remote, unsigned int rkey)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)addr,
		.length = len,
		.lkey = mr->lkey,
	};
	struct ibv_send_wr *bad, wr = {
		.opcode = opcode,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};

	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = (uintptr_t)remote;
		wr.wr.atomic.rkey = rkey;
		wr.wr.atomic.compare_add = 1;
	} else {
		wr.wr.rdma.remote_addr = (uintptr_t)remote;
		wr.wr.rdma.rkey = rkey;
	}
	return ibv_post_send(qp, &wr, &bad);
}

/* Posts in a thread of its own: siw may send all of it within the call. */
struct post_thread {
	pthread_t thread;
	struct pair *p;
	enum ibv_wr_opcode opcode;
	const struct ibv_mr *mr;
	void *addr;
	unsigned int len;
	const void *remote;
	unsigned int rkey;
	int ret;
};

static inline void *post_thread_fn(void *arg)
{
	struct post_thread *t = arg;

	t->ret = post(t->p->qp[0], t->opcode, t->mr, t->addr, t->len, t->remote,
		      t->rkey);
	return NULL;
}

static inline int post_recv(struct ibv_qp *qp, const struct ibv_mr *mr,
			    void *addr, unsigned int len)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)addr,
		.length = len,
		.lkey = mr->lkey,
	};
	struct ibv_recv_wr *bad, wr = { .sg_list = &sge, .num_sge = 1 };

	return ibv_post_recv(qp, &wr, &bad);
}

/* The status of the next completion, -1 if none comes. */
static inline int completion(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	if (!wait_for(ibv_poll_cq(cq, 1, &wc) > 0))
		return -1;
	return wc.status;
}

static inline bool qp_is_broken(struct ibv_qp *qp)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	return ibv_query_qp(qp, &attr, IBV_QP_STATE, &init) ||
	       attr.qp_state == IBV_QPS_ERR;
}

/*
 * What becomes of a request over iWARP.  A write or a send is complete when TCP
 * has got it; one that the peer has refused shows by the end of the connection.
 * Tell that by a read of nothing, which comes after it.
 */
static inline int iwarp_outcome(struct pair *p, enum ibv_wr_opcode opcode)
{
	struct ibv_send_wr *bad, after = {
		.opcode = IBV_WR_RDMA_READ,
		.sg_list = &(struct ibv_sge) { },
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};
	int status = completion(p->cq[0]);
	struct ibv_wc wc;

	if (status == IBV_WC_SUCCESS && opcode != IBV_WR_RDMA_READ) {
		wc.status = IBV_WC_WR_FLUSH_ERR;
		/* siw does not flush what comes when the connection has ended. */
		if (!ibv_post_send(p->qp[0], &after, &bad) &&
		    !wait_for(ibv_poll_cq(p->cq[0], 1, &wc) > 0 ||
			      qp_is_broken(p->qp[0])))
			return -1;
		status = wc.status;
	}
	return status;
}

/*
 * If it is the peer that has refused a request: its status over RC.  Over iWARP
 * it is flushed, or, while it is being sent still, found to be impossible.
 */
static inline int remote_status(const struct pair *p, enum ibv_wr_opcode opcode,
				int status)
{
	if (!p->channel || (status != IBV_WC_WR_FLUSH_ERR &&
			    status != IBV_WC_LOC_QP_OP_ERR))
		return status;
	return opcode == IBV_WR_SEND ? IBV_WC_REM_OP_ERR :
				       IBV_WC_REM_ACCESS_ERR;
}

/* The outcome of a request that has been posted: the status. */
static inline int outcome(struct pair *p, enum ibv_wr_opcode opcode)
{
	return p->channel ? iwarp_outcome(p, opcode) : completion(p->cq[0]);
}

static inline int post_thread_outcome(struct post_thread *t)
{
	pthread_join(t->thread, NULL);
	return t->ret ? -1 : outcome(t->p, t->opcode);
}

/* Do one request, and return the status of its completion. */
static inline int rdma(struct pair *p, enum ibv_wr_opcode opcode,
		       const struct ibv_mr *mr, void *addr, unsigned int len,
		       const void *remote, unsigned int rkey)
{
	if (post(p->qp[0], opcode, mr, addr, len, remote, rkey))
		return -1;
	return outcome(p, opcode);
}

/* The remote peer writes a pattern to @mr at @remote; status. */
static inline int remote_write(struct verbs *v, struct pair *p,
			       const struct ibv_mr *mr, void *remote,
			       unsigned int len, unsigned int seed)
{
	set_pattern(v->buf, len, seed);
	return remote_status(p, IBV_WR_RDMA_WRITE,
			     rdma(p, IBV_WR_RDMA_WRITE, v->buf_mr, v->buf, len,
				  remote, mr->rkey));
}

static inline int remote_read(struct verbs *v, struct pair *p,
			      const struct ibv_mr *mr, void *remote,
			      unsigned int len)
{
	return remote_status(p, IBV_WR_RDMA_READ,
			     rdma(p, IBV_WR_RDMA_READ, v->buf_mr, v->buf, len,
				  remote, mr->rkey));
}

/* Register memory: the MR, or NULL with -errno in @err. */
static inline struct ibv_mr *reg(struct verbs *v, void *addr, size_t len,
				 int access, int *err)
{
	struct ibv_mr *mr = ibv_reg_mr(v->pd, addr, len, access);

	*err = mr ? 0 : -errno;
	return mr;
}

/* Why can this memory not be registered?  0 if it can. */
static inline int reg_error(struct verbs *v, void *addr, size_t len, int access)
{
	struct ibv_mr *mr;
	int err;

	mr = reg(v, addr, len, access, &err);
	if (mr && ibv_dereg_mr(mr))
		return -EPROTO;
	return err;
}

#define ASSERT_REG(mr, v, addr, len, access)				\
do {									\
	int _err;							\
									\
	(mr) = reg(v, addr, len, access, &_err);			\
	ASSERT_EQ(0, _err) {						\
		TH_LOG("ibv_reg_mr: %s", strerror(-_err));		\
	}								\
} while (0)

/* Registers in a thread of its own: a registration that sleeps. */
struct reg_thread {
	pthread_t thread;
	struct verbs *v;
	void *addr;
	size_t len;
	int access;
	struct ibv_mr *mr;
	int err;
};

static inline void *reg_thread_fn(void *arg)
{
	struct reg_thread *r = arg;

	r->mr = reg(r->v, r->addr, r->len, r->access, &r->err);
	return NULL;
}

/*
 * Change the access rights of an MR.  By the command itself: not every provider
 * library knows it.
 */
static inline int rereg_access(struct ibv_mr *mr, int access)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_rereg_mr cmd;
	} __attribute__((packed)) req = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(req) / 4,
			.out_words = sizeof(struct ib_uverbs_rereg_mr_resp) / 4,
		},
		.cmd = {
			.mr_handle = mr->handle,
			.flags = IBV_REREG_MR_CHANGE_ACCESS,
			.access_flags = access,
			.pd_handle = mr->pd->handle,
		},
	};
	struct ib_uverbs_rereg_mr_resp resp;

	req.cmd.response = (uintptr_t)&resp;
	if (write(mr->context->cmd_fd, &req, sizeof(req)) != sizeof(req))
		return -errno;
	return 0;
}

/* --- a holder in another process --------------------------------------------- */

/**
 * struct holder - a process with a lease, a mapping and an MR of its own
 * @sock: takes the commands of holder_ask()
 */
struct holder {
	pid_t pid;
	int sock;
};

static inline int holder_do(char command, struct dax_file *f,
			    struct ibv_mr *mr)
{
	int n = 0;

	switch (command) {
	case 'd':	/* deregister */
		return -ibv_dereg_mr(mr);
	case 's':	/* how many recalls since the last time? */
		while (next_signal(NULL, 0) == LEASE_SIGNAL)
			n++;
		return n;
	case 'l':	/* the lease */
		return fcntl(f->fd, F_GETLEASE);
	default:
		return -EINVAL;
	}
}

/* A queue that is still mapped is a share in the RDMA context that made it. */
static inline void unmap_queues(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "/uverbs") &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2)
			munmap((void *)start, end - start);
	if (maps)
		fclose(maps);
}

/* Start a process that leases and registers a part of a file. */
static inline void holder_begin(struct __test_metadata *const _metadata,
				struct holder *h, const char *path, off_t off,
				size_t len)
{
	struct timeval limit = { .tv_sec = LIMIT };
	struct dax_file f = { };
	struct verbs v;
	struct ibv_mr *mr;
	int pair[2], ret;
	char command;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (pid) {
		h->pid = pid;
		close(pair[1]);
		h->sock = pair[0];
		setsockopt(h->sock, SOL_SOCKET, SO_RCVTIMEO, &limit,
			   sizeof(limit));
		ASSERT_EQ((ssize_t)sizeof(ret), read(h->sock, &ret, sizeof(ret)));
		ASSERT_EQ(0, ret);
		return;
	}

	/* Keep nothing of the parent's. */
	dup2(pair[1], 3);
	close_range(4, ~0U, 0);
	unmap_queues();
	strcpy(f.path, path);
	ret = verbs_find(&v) ? 0 : -ENODEV;
	if (!ret) {
		v.pd = ibv_alloc_pd(v.ctx);
		f.fd = open(path, O_RDWR);
		f.map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED,
			     f.fd, off);
		ret = set_lease(f.fd);
		want_signal(_metadata, f.fd);
	}
	mr = ret ? NULL : reg(&v, f.map, len, ACCESS_RW, &ret);
	do {
		if (write(3, &ret, sizeof(ret)) != sizeof(ret) ||
		    read(3, &command, 1) != 1)
			_exit(0);
		ret = holder_do(command, &f, mr);
	} while (1);
}

/* Have the holder do something: the answer. */
static inline int holder_ask(struct holder *h, char command)
{
	int ret;

	if (write(h->sock, &command, 1) != 1 ||
	    read(h->sock, &ret, sizeof(ret)) != sizeof(ret))
		return -EPIPE;
	return ret;
}

#endif /* LAYOUT_LEASE_VERBS_UTIL_H */
