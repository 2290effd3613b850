// SPDX-License-Identifier: GPL-2.0
/*
 * What is left of a memory region whose pins have been revoked (V1 - V3), and
 * that nothing of it reaches the blocks (I1).
 */
/* These keep space for themselves, and I1 is about who gets which blocks. */
#define MKFS_OPTIONS	"-m reflink=0,finobt=0"

#include "verbs_util.h"

#define LEN	(256 * KIB)

/* --- access to a revoked region ------------------------------------------------ */

FIXTURE(revoked)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	long vm_pin;
};

FIXTURE_VARIANT(revoked)
{
	enum rdma_kind rdma;
	bool deadline;		/* revoked by a break, or by the lease's end */
};

FIXTURE_VARIANT_ADD(revoked, rxe_by_break) { RXE, true };
FIXTURE_VARIANT_ADD(revoked, rxe_by_close) { RXE, false };
FIXTURE_VARIANT_ADD(revoked, siw_by_break) { SIW, true };
FIXTURE_VARIANT_ADD(revoked, siw_by_close) { SIW, false };

/* A leased file, registered and written to by the peer. */
static struct ibv_mr *make_region(struct __test_metadata *const _metadata,
				  struct verbs *v, struct pair *p,
				  struct dax_file *f, long *vm_pin)
{
	struct ibv_mr *mr;

	pair_begin(_metadata, v, p);
	make_file(_metadata, f, "f", MIB, BASE_PAGES);
	take_lease(_metadata, f, true);
	*vm_pin = vm_pin_kb();
	ASSERT_REG(mr, v, f->map, LEN, ACCESS_RW);
	ASSERT_EQ(IBV_WC_SUCCESS, remote_write(v, p, mr, f->map, LEN, 1));
	return mr;
}

/* Revoke it, and fill the file with what has to stay there. */
static void revoke_all(struct __test_metadata *const _metadata,
		       struct dax_file *f, bool deadline)
{
	if (deadline) {
		set_grace(1);
		ASSERT_EQ(0, other_does(_metadata, op_truncate, f, 0, 0));
		ASSERT_EQ(0, ftruncate(f->fd, MIB));
	} else {
		set_grace(GRACE_LONG);
		ASSERT_EQ(0, close(f->lease_fd));
	}
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	/* What the file has now has to stay. */
	ASSERT_EQ(0, write_pattern(f->fd, 0, LEN, 3));
}

FIXTURE_SETUP(revoked)
{
	VERBS_SETUP_KIND(&self->v, variant->rdma);
	self->mr = make_region(_metadata, &self->v, &self->p, &self->f,
			       &self->vm_pin);
	revoke_all(_metadata, &self->f, variant->deadline);
}

FIXTURE_TEARDOWN_PARENT(revoked)
{
	environment_clean();
}

/* Use the region from the remote side: never success, and the file is as it was. */
#define refused(status, opcode, len, key)				\
do {									\
	set_pattern(self->v.buf, BUF_SIZE, 4);				\
	EXPECT_EQ(status,						\
		  remote_status(&self->p, opcode,			\
				rdma(&self->p, opcode, self->v.buf_mr,	\
				     self->v.buf, len, self->f.map,	\
				     key)));				\
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));		\
} while (0)

/* Breaks if the driver goes by the key alone, or by a reference to the region. */
/* Rules: V2 */
TEST_F(revoked, V2_remote_write)
{
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, PAGE, self->mr->rkey);
}

/* Rules: V2 */
TEST_F(revoked, V2_remote_write_of_many_packets)
{
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, LEN, self->mr->rkey);
}

/* Rules: V2 */
TEST_F(revoked, V2_remote_read)
{
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, LEN, self->mr->rkey);
	/* Nothing of the file was read either. */
	set_pattern(self->v.buf + LEN, LEN, 4);
	EXPECT_EQ(0, memcmp(self->v.buf, self->v.buf + LEN, LEN));
}

/* A local key that cannot be sent from: what siw says of any. */
static int bad_source(const struct verbs *v)
{
	return v->iwarp ? IBV_WC_LOC_QP_OP_ERR : IBV_WC_LOC_PROT_ERR;
}

/* A receive buffer that cannot be used: the receiver's status. */
static int bad_buffer(const struct verbs *v)
{
	return v->iwarp ? IBV_WC_GENERAL_ERR : IBV_WC_LOC_PROT_ERR;
}

/* The region is used by its own side, as a source and as a sink. */
/* Rules: V2 */
TEST_F(revoked, V2_local_send)
{
	ASSERT_EQ(0, post_recv(self->p.qp[1], self->v.buf_mr, self->v.buf, LEN));
	EXPECT_EQ(bad_source(&self->v),
		  rdma(&self->p, IBV_WR_SEND, self->mr, self->f.map, LEN, NULL,
		       0));
}

/* Rules: V2 */
TEST_F(revoked, V2_local_source_of_a_write)
{
	set_pattern(self->v.buf, LEN, 4);
	EXPECT_EQ(bad_source(&self->v),
		  rdma(&self->p, IBV_WR_RDMA_WRITE, self->mr, self->f.map, LEN,
		       self->v.buf, self->v.buf_mr->rkey));
}

/* So short that it might be copied when it is posted. */
/* Rules: V2 */
TEST_F(revoked, V2_local_source_of_a_short_write)
{
	EXPECT_EQ(bad_source(&self->v),
		  rdma(&self->p, IBV_WR_RDMA_WRITE, self->mr,
		       self->f.map + PAGE - 8, 16, self->v.buf,
		       self->v.buf_mr->rkey));
}

/* Rules: V2 */
TEST_F(revoked, V2_local_sink_of_a_read)
{
	set_pattern(self->v.buf, LEN, 4);
	EXPECT_EQ(IBV_WC_LOC_PROT_ERR,
		  rdma(&self->p, IBV_WR_RDMA_READ, self->mr, self->f.map, LEN,
		       self->v.buf, self->v.buf_mr->rkey));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
}

/* Rules: V2 */
TEST_F(revoked, V2_receive_buffer)
{
	set_pattern(self->v.buf, LEN, 4);
	ASSERT_EQ(0, post_recv(self->p.qp[1], self->mr, self->f.map, LEN));
	EXPECT_EQ(IBV_WC_REM_OP_ERR,
		  remote_status(&self->p, IBV_WR_SEND,
				rdma(&self->p, IBV_WR_SEND, self->v.buf_mr,
				     self->v.buf, LEN, NULL, 0)));
	EXPECT_EQ(bad_buffer(&self->v), completion(self->p.cq[1]));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
}

/* The same with a buffer that any queue pair may take. */
/* Rules: V2 */
TEST_F(revoked, V2_shared_receive_buffer)
{
	struct ibv_srq_init_attr attr = {
		.attr = { .max_wr = 4, .max_sge = 1 },
	};
	struct ibv_sge sge = {
		.addr = (uintptr_t)self->f.map,
		.length = LEN,
		.lkey = self->mr->lkey,
	};
	struct ibv_recv_wr *bad, wr = { .sg_list = &sge, .num_sge = 1 };
	struct ibv_srq *srq = ibv_create_srq(self->v.pd, &attr);
	struct pair p;

	ASSERT_NE(NULL, srq);
	pair_begin_srq(_metadata, &self->v, &p, srq);
	ASSERT_EQ(0, ibv_post_srq_recv(srq, &wr, &bad));
	set_pattern(self->v.buf, LEN, 4);
	EXPECT_EQ(IBV_WC_REM_OP_ERR,
		  remote_status(&p, IBV_WR_SEND,
				rdma(&p, IBV_WR_SEND, self->v.buf_mr,
				     self->v.buf, LEN, NULL, 0)));
	EXPECT_EQ(bad_buffer(&self->v), completion(p.cq[1]));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
	pair_end(_metadata, &p);
	EXPECT_EQ(0, ibv_destroy_srq(srq));
}

/* Breaks if a revoke moves queue pairs, or anything but its region. */
/* Rules: V2 */
TEST_F(revoked, V2_others_go_on)
{
	struct dax_file g;
	struct ibv_mr *mr;

	/* The same queue pair, as long as it keeps off the region. */
	EXPECT_EQ(IBV_WC_SUCCESS,
		  rdma(&self->p, IBV_WR_RDMA_WRITE, self->v.buf_mr, self->v.buf,
		       LEN, self->v.buf + LEN, self->v.buf_mr->rkey));
	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(g.fd));
	ASSERT_REG(mr, &self->v, g.map, 64 * KIB, ACCESS_RW);
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, mr, g.map,
					       64 * KIB, 5));
	EXPECT_EQ(-1, file_differs(g.fd, 0, 64 * KIB, 5));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
}

/*
 * Breaks if keys are returned at the revoke: a peer that still has them would
 * write to somebody else's memory.
 */
/* Rules: V2 */
TEST_F(revoked, V2_keys_stay_taken)
{
	struct ibv_mr *more[300];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = ibv_reg_mr(self->v.pd, self->v.buf, PAGE, ACCESS_RW);
		ASSERT_NE(NULL, more[i]);
		/* The index is above the lowest byte, which is a version. */
		ASSERT_NE(self->mr->lkey >> 8, more[i]->lkey >> 8);
		ASSERT_NE(self->mr->rkey >> 8, more[i]->rkey >> 8);
	}
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, PAGE, self->mr->rkey);
	for (i = 0; i < ARRAY_SIZE(more); i++)
		ASSERT_EQ(0, ibv_dereg_mr(more[i]));
}

/* Pages come back at the revoke, the region itself at dereg, each of them once. */
/* Rules: V3 */
TEST_F(revoked, V3_dereg_succeeds)
{
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
}

/* A context that is closed with everything in it. */
/* Rules: V3 */
TEST_F(revoked, V3_close_of_the_context)
{
	close(self->v.ctx->cmd_fd);
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
}

/* --- the same, where siw has nothing to offer ------------------------------------ */

FIXTURE(revoked_more)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	struct ibv_mw *mw;	/* bound before the revoke, type 1 */
	struct ibv_mw *mw2;	/* type 2 */
	long vm_pin;
};

FIXTURE_VARIANT(revoked_more)
{
	bool deadline;
};

FIXTURE_VARIANT_ADD(revoked_more, by_break) { true };
FIXTURE_VARIANT_ADD(revoked_more, by_close) { false };

static struct ibv_mw_bind_info window(struct ibv_mr *mr, void *addr)
{
	return (struct ibv_mw_bind_info) {
		.mr = mr,
		.addr = (uintptr_t)addr,
		.length = PAGE,
		.mw_access_flags = IBV_ACCESS_REMOTE_WRITE |
				   IBV_ACCESS_REMOTE_READ,
	};
}

/* Bind a type 2 window through the responder's queue pair: the status. */
static int bind2(struct pair *p, struct ibv_mw *mw, struct ibv_mr *mr, void *addr)
{
	struct ibv_send_wr *bad, wr = {
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
		.bind_mw = {
			.mw = mw,
			.rkey = ibv_inc_rkey(mw->rkey),
			.bind_info = window(mr, addr),
		},
	};
	int status;

	if (ibv_post_send(p->qp[1], &wr, &bad))
		return -1;
	status = completion(p->cq[1]);
	if (status == IBV_WC_SUCCESS)
		mw->rkey = wr.bind_mw.rkey;
	return status;
}

static int bind1(struct pair *p, struct ibv_mw *mw, struct ibv_mr *mr, void *addr)
{
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = window(mr, addr),
	};

	if (ibv_bind_mw(p->qp[1], mw, &bind))
		return -1;
	return completion(p->cq[1]);
}

/* A window of either type over the region, and both of use. */
static void make_windows(struct __test_metadata *const _metadata,
			 struct verbs *v, struct pair *p, struct ibv_mr *mr,
			 void *addr, struct ibv_mw **mw, struct ibv_mw **mw2)
{
	*mw = ibv_alloc_mw(v->pd, IBV_MW_TYPE_1);
	ASSERT_NE(NULL, *mw);
	*mw2 = ibv_alloc_mw(v->pd, IBV_MW_TYPE_2);
	ASSERT_NE(NULL, *mw2);
	ASSERT_EQ(IBV_WC_SUCCESS, bind1(p, *mw, mr, addr));
	ASSERT_EQ(IBV_WC_SUCCESS, bind2(p, *mw2, mr, addr));
	set_pattern(v->buf, PAGE, 2);
	ASSERT_EQ(IBV_WC_SUCCESS, rdma(p, IBV_WR_RDMA_WRITE, v->buf_mr, v->buf,
				       PAGE, addr, (*mw)->rkey));
	ASSERT_EQ(IBV_WC_SUCCESS, rdma(p, IBV_WR_RDMA_WRITE, v->buf_mr, v->buf,
				       PAGE, addr, (*mw2)->rkey));
}

FIXTURE_SETUP(revoked_more)
{
	VERBS_SETUP_KIND(&self->v, RXE);
	self->mr = make_region(_metadata, &self->v, &self->p, &self->f,
			       &self->vm_pin);
	make_windows(_metadata, &self->v, &self->p, self->mr, self->f.map,
		     &self->mw, &self->mw2);
	revoke_all(_metadata, &self->f, variant->deadline);
}

FIXTURE_TEARDOWN_PARENT(revoked_more)
{
	environment_clean();
}

/* Rules: V2 */
TEST_F(revoked_more, V2_remote_atomic)
{
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_ATOMIC_FETCH_AND_ADD, 8,
		self->mr->rkey);
}

/* Breaks if a window is asked, and not the region behind it. */
/* Rules: V2 */
TEST_F(revoked_more, V2_window_bound_before)
{
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, PAGE, self->mw->rkey);
}

/* Rules: V2 */
TEST_F(revoked_more, V2_window_bound_before_type_2)
{
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_READ, PAGE, self->mw2->rkey);
}

/* Rules: V2 */
TEST_F(revoked_more, V2_bind_a_window)
{
	struct ibv_mw *mw = ibv_alloc_mw(self->v.pd, IBV_MW_TYPE_2);

	ASSERT_NE(NULL, mw);
	EXPECT_EQ(IBV_WC_MW_BIND_ERR, bind2(&self->p, mw, self->mr,
					    self->f.map));
	EXPECT_EQ(0, ibv_dealloc_mw(mw));
}

/* Windows are in nobody's way: not in that of dereg either, once they have gone. */
/* Rules: V3 P6 */
TEST_F(revoked_more, V3_dereg_after_windows)
{
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	ASSERT_EQ(0, ibv_dealloc_mw(self->mw));
	ASSERT_EQ(0, ibv_dealloc_mw(self->mw2));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* Breaks if a rereg brings the keys back to life over pages that are gone. */
/* Rules: V3 */
TEST_F(revoked_more, V3_rereg_is_einval)
{
	EXPECT_EQ(-EINVAL, rereg_access(self->mr, ACCESS_RO));
	EXPECT_EQ(-EINVAL, rereg_access(self->mr, ACCESS_RW));
	/* It is the revoke that is to blame. */
	EXPECT_EQ(0, rereg_access(self->v.buf_mr, ACCESS_RW));
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, PAGE, self->mr->rkey);
}

/*
 * rxe gives out the indices of its keys in turn: once around, past the revoked one.
 * Half a million registrations; a slow kernel has to do with some.
 */
/* Rules: V2 */
TEST_F(revoked_more, V2_key_space_exhausted)
{
	unsigned int own = self->mr->lkey >> 8, last = own, index, n = 0;
	bool all = slowness() == 1 && !variant->deadline, around = false;
	struct ibv_mr *mr;

	while (all ? !around || last < own : n < 4096) {
		mr = ibv_reg_mr(self->v.pd, self->v.buf, PAGE, ACCESS_RW);
		ASSERT_NE(NULL, mr);
		index = mr->lkey >> 8;
		ASSERT_NE(own, index);
		ASSERT_NE(own, mr->rkey >> 8);
		ASSERT_EQ(0, ibv_dereg_mr(mr));
		around |= index < last;
		last = index;
		n++;
	}
	TH_LOG("%u registrations", n);
	refused(IBV_WC_REM_ACCESS_ERR, IBV_WR_RDMA_WRITE, PAGE, self->mr->rkey);
}

/* How a key is used over a transport that acknowledges nothing. */
enum use { SOURCE, BUFFER, REMOTE };

struct verdict {
	int sender, receiver;
};

#define QKEY	0x1ea5e

/* Bring a queue pair of type UC or UD up. */
static void qp_up(struct __test_metadata *const _metadata, struct verbs *v,
		  struct ibv_qp *qp, unsigned int dest)
{
	bool ud = qp->qp_type == IBV_QPT_UD;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qkey = QKEY,
		.qp_access_flags = IBV_ACCESS_LOCAL_WRITE |
				   IBV_ACCESS_REMOTE_WRITE,
	};

	ASSERT_EQ(0, ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
				   IBV_QP_PORT | (ud ? IBV_QP_QKEY :
						       IBV_QP_ACCESS_FLAGS)));
	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = v->mtu,
		.dest_qp_num = dest,
		.ah_attr = loopback(v),
	};
	ASSERT_EQ(0, ibv_modify_qp(qp, &attr, IBV_QP_STATE |
				   (ud ? 0 : IBV_QP_AV | IBV_QP_PATH_MTU |
				    IBV_QP_DEST_QPN | IBV_QP_RQ_PSN)));
	attr.qp_state = IBV_QPS_RTS;
	ASSERT_EQ(0, ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN));
}

/* What becomes of @use of @mr, which may be a stale one with an address lent to it. */
static struct verdict try_key(struct __test_metadata *const _metadata,
			      struct verbs *v, enum ibv_qp_type type,
			      enum use use, const struct ibv_mr *mr)
{
	const struct ibv_mr *source = use == SOURCE ? mr : v->buf_mr;
	const struct ibv_mr *buffer = use == BUFFER ? mr : v->buf_mr;
	struct ibv_ah_attr to = loopback(v);
	struct ibv_sge sge = {
		.addr = (uintptr_t)source->addr,
		.length = 1024,
		.lkey = source->lkey,
	};
	struct ibv_send_wr *bad, send = {
		.opcode = IBV_WR_SEND,
		.sg_list = &sge,
		.num_sge = 1,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct verdict verdict = { -1, -1 };
	struct ibv_ah *ah = NULL;
	struct ibv_qp *qp[2];
	struct ibv_cq *cq[2];
	int i;

	for (i = 0; i < 2; i++) {
		struct ibv_qp_init_attr attr = {
			.qp_type = type,
			.cap = { 4, 4, 1, 1, 0 },
		};

		cq[i] = ibv_create_cq(v->ctx, 8, NULL, NULL, 0);
		ASSERT_NE(NULL, cq[i]);
		attr.send_cq = cq[i];
		attr.recv_cq = cq[i];
		qp[i] = ibv_create_qp(v->pd, &attr);
		ASSERT_NE(NULL, qp[i]);
	}
	qp_up(_metadata, v, qp[0], qp[1]->qp_num);
	qp_up(_metadata, v, qp[1], qp[0]->qp_num);
	if (type == IBV_QPT_UD) {
		ah = ibv_create_ah(v->pd, &to);
		ASSERT_NE(NULL, ah);
		send.wr.ud.ah = ah;
		send.wr.ud.remote_qpn = qp[1]->qp_num;
		send.wr.ud.remote_qkey = QKEY;
	}

	/* Room for the header of a datagram, too. */
	ASSERT_EQ(0, post_recv(qp[1], buffer, buffer->addr, 2048));
	if (use == REMOTE) {
		ASSERT_EQ(0, post(qp[0], IBV_WR_RDMA_WRITE, source,
				  source->addr, 1024, mr->addr, mr->rkey));
		verdict.sender = completion(cq[0]);
	}
	/* A write is dropped silently. What comes behind it tells that it has been. */
	ASSERT_EQ(0, ibv_post_send(qp[0], &send, &bad));
	i = completion(cq[0]);
	if (use != REMOTE)
		verdict.sender = i;
	if (use != SOURCE)
		verdict.receiver = completion(cq[1]);

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, ibv_destroy_qp(qp[i]));
		ASSERT_EQ(0, ibv_destroy_cq(cq[i]));
	}
	if (ah)
		ASSERT_EQ(0, ibv_destroy_ah(ah));
	return verdict;
}

/*
 * Breaks if the region can be reached over UC or UD, or if its keys are treated
 * in another way than ones that have never been any good.
 */
/* Rules: V2 */
TEST_F(revoked_more, V2_unreliable_transports)
{
	static const struct {
		enum ibv_qp_type type;
		enum use use;
		struct verdict want;
	} all[] = {
		{ IBV_QPT_UC, SOURCE, { IBV_WC_LOC_PROT_ERR, -1 } },
		{ IBV_QPT_UD, SOURCE, { IBV_WC_LOC_PROT_ERR, -1 } },
		{ IBV_QPT_UC, BUFFER, { IBV_WC_SUCCESS, IBV_WC_LOC_PROT_ERR } },
		{ IBV_QPT_UD, BUFFER, { IBV_WC_SUCCESS, IBV_WC_LOC_PROT_ERR } },
		{ IBV_QPT_UC, REMOTE, { IBV_WC_SUCCESS, IBV_WC_SUCCESS } },
	};
	struct verdict revoked, stale;
	struct ibv_mr *mr, old;
	unsigned int i;

	ASSERT_REG(mr, &self->v, self->v.buf, PAGE, ACCESS_RW);
	old = *mr;
	old.addr = self->mr->addr;
	ASSERT_EQ(0, ibv_dereg_mr(mr));
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		set_pattern(self->v.buf, BUF_SIZE, 4);
		revoked = try_key(_metadata, &self->v, all[i].type, all[i].use,
				  self->mr);
		stale = try_key(_metadata, &self->v, all[i].type, all[i].use,
				&old);
		EXPECT_EQ(all[i].want.sender, revoked.sender) {
			TH_LOG("case %u", i);
		}
		EXPECT_EQ(all[i].want.receiver, revoked.receiver) {
			TH_LOG("case %u", i);
		}
		EXPECT_EQ(stale.sender, revoked.sender);
		EXPECT_EQ(stale.receiver, revoked.receiver);
		EXPECT_EQ(-1, file_differs(self->f.fd, 0, LEN, 3));
	}
}

/* --- in flight ---------------------------------------------------------------------- */

FIXTURE(flight)
{
	struct verbs v;
	struct dax_file f;
};

FIXTURE_VARIANT(flight)
{
	enum rdma_kind rdma;
};

FIXTURE_VARIANT_ADD(flight, rxe) { RXE };
FIXTURE_VARIANT_ADD(flight, siw) { SIW };

FIXTURE_SETUP(flight)
{
	VERBS_SETUP_KIND(&self->v, variant->rdma);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
}

FIXTURE_TEARDOWN_PARENT(flight)
{
	environment_clean();
}

/* Rounds of a race: as many as fit in, but some on the slowest machine, too. */
#define RACE_MS		2000
#define RACE_ROUNDS	5
#define for_race(i, begin) \
	for (i = 0; i < RACE_ROUNDS || now_ms() - (begin) < RACE_MS; i++)

#define start_post(...)							\
do {									\
	t = (struct post_thread) { 0, __VA_ARGS__, -1 };		\
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, post_thread_fn, &t)); \
} while (0)

static int take_other(struct __test_metadata *const _metadata,
		      struct dax_file *f)
{
	int fd = open(f->path, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_lease(fd));
	return fd;
}

/*
 * A message of hundreds of packets is under way when the region is revoked.
 * Breaks if the driver looks at the region once per message: then packets reach
 * the file after the revoke, or the message is reported complete although the
 * rest was dropped.
 */
/* Rules: V1 V6 */
TEST_F(flight, V1_write_in_flight)
{
	long begin = now_ms();
	char *after = malloc(LEN);
	int i, success = 0, cut = 0;

	ASSERT_NE(NULL, after);
	for_race(i, begin) {
		int lease = take_other(_metadata, &self->f), status;
		struct post_thread t;
		struct ibv_mr *mr;
		struct pair p;

		pair_begin(_metadata, &self->v, &p);
		ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RW);
		memset(self->f.map, 0, LEN);
		memset(self->v.buf, 0x55, LEN);
		start_post(&p, IBV_WR_RDMA_WRITE, self->v.buf_mr, self->v.buf,
			   LEN, self->f.map, mr->rkey);
		/* At least one packet has arrived; more from round to round. */
		ASSERT_TRUE(wait_for(((volatile char *)
				self->f.map)[(i * 7 * PAGE) % LEN]));
		ASSERT_EQ(0, close(lease));
		ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
		memcpy(after, self->f.map, LEN);

		status = post_thread_outcome(&t);
		EXPECT_EQ(0, memcmp(after, self->f.map, LEN)) {
			TH_LOG("written to after the revoke, round %d", i);
		}
		if (status == IBV_WC_SUCCESS) {
			success++;
			EXPECT_EQ(0, memcmp(after, self->v.buf, LEN)) {
				TH_LOG("success of what did not arrive");
			}
		} else {
			cut++;
			EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
				  remote_status(&p, t.opcode, status));
		}
		EXPECT_EQ(0, ibv_dereg_mr(mr));
		pair_end(_metadata, &p);
	}
	TH_LOG("%d rounds: %d before, %d during the revoke", i, success, cut);
	EXPECT_LT(0, cut);
}

/* The same for reading: what the file gets after the revoke is not for the peer. */
/* Rules: V1 V6 */
TEST_F(flight, V1_read_in_flight)
{
	long begin = now_ms();
	int i, success = 0, cut = 0;
	size_t at;

	for_race(i, begin) {
		int lease = take_other(_metadata, &self->f), status;
		struct post_thread t;
		struct ibv_mr *mr;
		struct pair p;

		pair_begin(_metadata, &self->v, &p);
		memset(self->f.map, 0x55, LEN);
		ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RO);
		memset(self->v.buf, 0, LEN);
		start_post(&p, IBV_WR_RDMA_READ, self->v.buf_mr, self->v.buf,
			   LEN, self->f.map, mr->rkey);
		ASSERT_TRUE(wait_for(((volatile char *)
				self->v.buf)[(i * 7 * PAGE) % LEN]));
		ASSERT_EQ(0, close(lease));
		ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
		memset(self->f.map, 0xaa, LEN);

		status = post_thread_outcome(&t);
		for (at = 0; at < LEN; at++)
			if (self->v.buf[at] == (char)0xaa)
				break;
		EXPECT_EQ(LEN, at) {
			TH_LOG("read after the revoke, round %d", i);
		}
		if (status == IBV_WC_SUCCESS) {
			success++;
		} else {
			cut++;
			EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
				  remote_status(&p, t.opcode, status));
		}
		EXPECT_EQ(0, ibv_dereg_mr(mr));
		pair_end(_metadata, &p);
	}
	TH_LOG("%d rounds: %d before, %d during the revoke", i, success, cut);
	EXPECT_LT(0, cut);
}

/* The revoked region is on the requester's own side. */
/* Rules: V1 V6 */
TEST_F(flight, V1_local_source_in_flight)
{
	long begin = now_ms();
	int i, success = 0, cut = 0;
	size_t at;

	for_race(i, begin) {
		int lease = take_other(_metadata, &self->f), status;
		struct post_thread t;
		struct ibv_mr *mr;
		struct pair p;

		pair_begin(_metadata, &self->v, &p);
		memset(self->f.map, 0x55, LEN);
		ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RW);
		memset(self->v.buf, 0, LEN);
		start_post(&p, IBV_WR_RDMA_WRITE, mr, self->f.map, LEN,
			   self->v.buf, self->v.buf_mr->rkey);
		ASSERT_TRUE(wait_for(((volatile char *)
				self->v.buf)[(i * 7 * PAGE) % LEN]));
		ASSERT_EQ(0, close(lease));
		ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
		memset(self->f.map, 0xaa, LEN);

		status = post_thread_outcome(&t);
		for (at = 0; at < LEN; at++)
			if (self->v.buf[at] == (char)0xaa)
				break;
		EXPECT_EQ(LEN, at) {
			TH_LOG("sent after the revoke, round %d", i);
		}
		if (status == IBV_WC_SUCCESS) {
			success++;
		} else {
			cut++;
			EXPECT_EQ(bad_source(&self->v), status);
		}
		EXPECT_EQ(0, ibv_dereg_mr(mr));
		pair_end(_metadata, &p);
	}
	TH_LOG("%d rounds: %d before, %d during the revoke", i, success, cut);
	EXPECT_LT(0, cut);
}

struct closer {
	pthread_barrier_t *barrier;
	int fd;
	long delay;		/* microseconds */
};

static long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void *close_at_barrier(void *arg)
{
	struct closer *c = arg;
	long end;

	pthread_barrier_wait(c->barrier);
	end = now_us() + c->delay;
	while (now_us() < end)
		;
	close(c->fd);
	return NULL;
}

/* Breaks if both the revoke and the dereg, or neither, unpin the pages. */
/* Rules: V1 V6 */
TEST_F(flight, V1_dereg_against_revoke)
{
	long begin = now_ms(), vm_pin = vm_pin_kb();
	pthread_barrier_t barrier;
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, 2));
	for_race(i, begin) {
		struct closer c = { &barrier, .delay = i % 16 * 10 };
		struct ibv_mr *mr;
		pthread_t t;

		c.fd = take_other(_metadata, &self->f);
		ASSERT_REG(mr, &self->v, self->f.map, LEN, ACCESS_RW);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_at_barrier, &c));
		pthread_barrier_wait(&barrier);
		ASSERT_EQ(0, ibv_dereg_mr(mr));
		ASSERT_EQ(0, pthread_join(t, NULL));
		ASSERT_TRUE(wait_for(count_pins(getpid(), NULL) == 0));
		ASSERT_EQ(vm_pin, vm_pin_kb());
	}
	TH_LOG("%d rounds", i);
}

/* And the registration against the revoke: all of the region, or none. */
/* Rules: V1 V6 */
TEST_F(flight, V1_reg_against_revoke)
{
	long begin = now_ms(), vm_pin = vm_pin_kb();
	int i, refused = 0, revoked = 0;
	pthread_barrier_t barrier;

	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, 2));
	for_race(i, begin) {
		struct closer c = { &barrier, .delay = i % 64 * 50 };
		struct ibv_mr *mr;
		pthread_t t;
		int err;

		c.fd = take_other(_metadata, &self->f);
		ASSERT_EQ(0, pthread_create(&t, NULL, close_at_barrier, &c));
		pthread_barrier_wait(&barrier);
		mr = reg(&self->v, self->f.map, MIB, ACCESS_RW, &err);
		ASSERT_EQ(0, pthread_join(t, NULL));
		if (mr) {
			revoked++;
			ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") ==
					     1));
			ASSERT_EQ(0, ibv_dereg_mr(mr));
		} else {
			refused++;
			ASSERT_EQ(-EOPNOTSUPP, err);
		}
		ASSERT_TRUE(wait_for(count_pins(getpid(), NULL) == 0));
		ASSERT_EQ(vm_pin, vm_pin_kb());
	}
	TH_LOG("%d rounds: %d refused, %d revoked", i, refused, revoked);
}

/* --- I1: the blocks ------------------------------------------------------------------ */

FIXTURE(reuse)
{
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	uint64_t block;
};

FIXTURE_VARIANT(reuse)
{
	enum fs fs;
	enum pages pages;
	op_fn op;
	enum rdma_kind rdma;
};

ADD_FS_PAGES_VARIANTS(reuse, _truncate, op_truncate, RXE);
ADD_FS_PAGES_VARIANTS(reuse, _truncate_siw, op_truncate, SIW);
ADD_FS_VARIANTS(reuse, _base_punch, BASE_PAGES, op_punch, RXE);
ADD_FS_VARIANTS(reuse, _base_punch_siw, BASE_PAGES, op_punch, SIW);

FIXTURE_SETUP(reuse)
{
	off_t size;
	int fd;

	VERBS_SETUP_KIND(&self->v, variant->rdma);
	use_fs(_metadata, variant->fs);
	set_grace(1);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? PMD : LEN, variant->pages);
	take_lease(_metadata, &self->f, false);
	self->block = block_of(self->f.fd, 0, NULL);
	ASSERT_NE(0UL, self->block);
	/* A file that small is in one piece. */
	ASSERT_EQ(self->block + LEN - PAGE,
		  block_of(self->f.fd, LEN - PAGE, NULL));
	ASSERT_REG(self->mr, &self->v, self->f.map, LEN, ACCESS_RW);
	/* Leave no other blocks to be given away. */
	fd = take_all_space(&size, "most");
	ASSERT_LE(0, fd);
	close(fd);
}

FIXTURE_TEARDOWN_PARENT(reuse)
{
	environment_clean();
}

struct peer {
	struct __test_metadata *metadata;
	struct verbs *v;
	struct ibv_mr *mr;
	void *remote;
	int writes, refused;
	bool stop;
};

/* The remote peer: writes, and connects again whenever it is refused. */
static void *peer_hammers(void *arg)
{
	struct peer *peer = arg;
	struct __test_metadata *const _metadata = peer->metadata;
	struct pair p;
	int status;

	while (!__atomic_load_n(&peer->stop, __ATOMIC_ACQUIRE)) {
		pair_begin(_metadata, peer->v, &p);
		do {
			status = rdma(&p, IBV_WR_RDMA_WRITE, peer->v->buf_mr,
				      peer->v->buf, LEN, peer->remote,
				      peer->mr->rkey);
			if (status == IBV_WC_SUCCESS)
				__atomic_fetch_add(&peer->writes, 1,
						   __ATOMIC_RELEASE);
			else
				__atomic_fetch_add(&peer->refused, 1,
						   __ATOMIC_RELEASE);
		} while (status == IBV_WC_SUCCESS &&
			 !__atomic_load_n(&peer->stop, __ATOMIC_ACQUIRE));
		pair_end(_metadata, &p);
	}
	return NULL;
}

/* The blocks of @was that are in another file now: where each is, or -1. */
static int find_blocks(int fd, off_t size, uint64_t was, off_t *now)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent[64];
	} f;
	unsigned int i, b;
	int found = 0;
	off_t at = 0;

	for (b = 0; b < LEN / PAGE; b++)
		now[b] = -1;
	while (at < size) {
		memset(&f, 0, sizeof(f));
		f.map.fm_start = at;
		f.map.fm_length = size - at;
		f.map.fm_flags = FIEMAP_FLAG_SYNC;
		f.map.fm_extent_count = 64;
		if (ioctl(fd, FS_IOC_FIEMAP, &f.map) || !f.map.fm_mapped_extents)
			break;
		for (i = 0; i < f.map.fm_mapped_extents; i++) {
			struct fiemap_extent *e = &f.extent[i];

			for (b = 0; b < LEN / PAGE; b++) {
				uint64_t block = was + b * PAGE;

				if (block < e->fe_physical ||
				    block >= e->fe_physical + e->fe_length)
					continue;
				now[b] = e->fe_logical + block - e->fe_physical;
				found++;
			}
			at = e->fe_logical + e->fe_length;
		}
	}
	return found;
}

/* Does the new owner find there what it wrote? */
static bool blocks_clean(int fd, const off_t *now)
{
	unsigned int b;

	for (b = 0; b < LEN / PAGE; b++)
		if (now[b] >= 0 && file_differs(fd, now[b], PAGE, 2) >= 0)
			return false;
	return true;
}

/*
 * The device's peer goes on writing while the file loses its blocks, and while
 * somebody else gets them.  Breaks if the operation returns before the device
 * has let go, or if anything later reaches the blocks.
 */
/* Rules: I1 */
TEST_F(reuse, I1_new_owner_of_the_blocks_is_safe)
{
	struct peer peer = {
		.metadata = _metadata,
		.v = &self->v,
		.mr = self->mr,
		.remote = self->f.map,
	};
	pthread_t t;
	int other, found, writes, refused;
	char path[300];
	off_t size, now[LEN / PAGE];
	unsigned int b;

	set_pattern(self->v.buf, LEN, 1);
	ASSERT_EQ(0, pthread_create(&t, NULL, peer_hammers, &peer));
	ASSERT_TRUE(wait_for(__atomic_load_n(&peer.writes, __ATOMIC_ACQUIRE)));
	ASSERT_EQ(0, other_does(_metadata, variant->op, &self->f, 0,
				self->f.size));
	writes = __atomic_load_n(&peer.writes, __ATOMIC_ACQUIRE);

	/* Somebody gets all the space there is, and so these blocks. */
	other = take_all_space(&size, "other");
	ASSERT_LE(0, other);
	found = find_blocks(other, size, self->block, now);
	TH_LOG("%d of %lu blocks have a new owner", found, LEN / PAGE);
	ASSERT_LT(0, found);
	/* To write needs some space more. */
	snprintf(path, sizeof(path), "%s/most", mnt);
	ASSERT_EQ(0, unlink(path));
	for (b = 0; b < LEN / PAGE; b++)
		if (now[b] >= 0)
			ASSERT_EQ(0, write_pattern(other, now[b], PAGE, 2));

	refused = __atomic_load_n(&peer.refused, __ATOMIC_ACQUIRE);
	ASSERT_TRUE(wait_for(__atomic_load_n(&peer.refused, __ATOMIC_ACQUIRE) >=
			     refused + 3));
	EXPECT_TRUE(blocks_clean(other, now));
	/* The one that was complete by then may have been counted later. */
	EXPECT_GE(writes + 1, peer.writes) {
		TH_LOG("a write succeeded after the blocks were taken");
	}
	__atomic_store_n(&peer.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(t, NULL));
	EXPECT_TRUE(blocks_clean(other, now));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_TRUE(blocks_clean(other, now));
}

LAYOUT_LEASE_TEST_MAIN
