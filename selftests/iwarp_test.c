// SPDX-License-Identifier: GPL-2.0
/*
 * Revokes while siw is amidst a message (V1).  The remote peer is a plain TCP
 * socket that speaks iWARP as far as is needed, and so can stop in the middle of
 * a frame, or not take what it is sent, for as long as a test likes.
 */
#include <endian.h>

#include "verbs_util.h"

/* More than a socket takes without a reader. */
#define LEN	(8 * MIB)
/* Payload of a frame of ours, and where it is cut in two. */
#define FRAME	(32 * KIB)
#define CUT	(16 * KIB)

/* What siw copies together with the header. */
#define SHORT	16

/* --- frames --------------------------------------------------------------------- */

/* MPA (RFC 5044): a connection starts with these, before the first frame. */
struct mpa_start {
	char key[16];
	__be16 flags;		/* the revision; no markers, no CRC */
	__be16 private;
} __attribute__((packed));

/* A frame: a header of these, payload, and four bytes for a CRC. */
struct frame {
	__be16 length;		/* all but itself and the CRC */
	__be16 control;
	union {
		struct {	/* into memory that the frame names */
			__be32 stag;
			__be64 to;
		} __attribute__((packed)) tagged;
		struct {	/* into what the receiver has ready */
			__be32 reserved;
			__be32 queue, number, offset;
			/* only if it is a request to read */
			__be32 sink_stag;
			__be64 sink_to;
			__be32 size, source_stag;
			__be64 source_to;
		} __attribute__((packed)) untagged;
	};
} __attribute__((packed));

enum { OP_WRITE, OP_READ_REQUEST, OP_READ_RESPONSE, OP_SEND };

#define TAGGED_SIZE	16
#define SEND_SIZE	20
#define REQUEST_SIZE	48

static bool send_all(int sock, const void *p, size_t len)
{
	return send(sock, p, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool receive_all(int sock, void *p, size_t len)
{
	return recv(sock, p, len, MSG_WAITALL) == (ssize_t)len;
}

/* Does all of it have this value? */
static bool all_is(const char *p, size_t len, char value)
{
	return p[0] == value && !memcmp(p, p + 1, len - 1);
}

/* A header with the versions of DDP and RDMAP, both 1. */
static struct frame frame(int op, size_t header, size_t payload, bool last)
{
	return (struct frame) {
		.length = htobe16(header - 2 + payload),
		.control = htobe16((header == TAGGED_SIZE ? 0x8000 : 0) |
				   (last ? 0x4000 : 0) | 0x0140 | op),
	};
}

/* --- the peer ------------------------------------------------------------------- */

/**
 * struct wire - a queue pair of the device, connected to a socket of ours
 * @mr: region over all of the leased file @f
 * @sink_stag: where the peer is to send what the device has asked to read
 */
struct wire {
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id, *listen;
	int sock;
	__be32 sink_stag;
	long vm_pin;
};

static void wire_connect(struct __test_metadata *const _metadata, struct wire *w)
{
	struct mpa_start start = {
		.key = "MPA ID Req Frame",
		.flags = htobe16(1),
	};
	struct timeval limit = { .tv_sec = LIMIT };
	struct rdma_conn_param param = cm_param(w->qp);
	struct sockaddr_in to = w->v.addr;
	int little = 16 * KIB;

	w->listen = cm_listen(_metadata, &w->v, &w->channel);
	to.sin_port = rdma_get_src_port(w->listen);
	w->sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT_LE(0, w->sock);
	setsockopt(w->sock, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
	setsockopt(w->sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ASSERT_EQ(0, connect(w->sock, (struct sockaddr *)&to, sizeof(to)));
	ASSERT_TRUE(send_all(w->sock, &start, sizeof(start)));
	w->id = cm_event(_metadata, w->channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	ASSERT_EQ(0, rdma_accept(w->id, &param));
	ASSERT_TRUE(receive_all(w->sock, &start, sizeof(start)));
	ASSERT_EQ(0, memcmp(start.key, "MPA ID Rep Frame", 16));
	ASSERT_EQ(0, start.private);
	cm_event(_metadata, w->channel, RDMA_CM_EVENT_ESTABLISHED);
}

static void wire_begin(struct __test_metadata *const _metadata, struct wire *w)
{
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = 4,
			.max_recv_wr = 4,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
	};

	make_file(_metadata, &w->f, "f", LEN, PMD_PAGES);
	memset(w->f.map, 0x11, LEN);
	take_lease(_metadata, &w->f, true);
	w->vm_pin = vm_pin_kb();
	ASSERT_REG(w->mr, &w->v, w->f.map, LEN, ACCESS_RW);
	w->cq = ibv_create_cq(w->v.ctx, 16, NULL, NULL, 0);
	ASSERT_NE(NULL, w->cq);
	attr.send_cq = w->cq;
	attr.recv_cq = w->cq;
	w->qp = ibv_create_qp(w->v.pd, &attr);
	ASSERT_NE(NULL, w->qp);
	wire_connect(_metadata, w);
}

/* In a FIXTURE_SETUP. */
#define WIRE_SETUP(w)							\
do {									\
	VERBS_SETUP_KIND(&(w)->v, SIW);					\
	set_grace(GRACE_LONG);						\
	wire_begin(_metadata, w);					\
} while (0)

/* The lease ends, and with it the pins; what the file gets then has to stay. */
static void take_region(struct __test_metadata *const _metadata, struct wire *w)
{
	ASSERT_EQ(0, close(w->f.lease_fd));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	memset(w->f.map, 0xaa, LEN);
}

/* --- the device places ------------------------------------------------------------ */

/*
 * The peer sends a message up to its middle, the region goes, the rest follows.
 * Breaks if the region is looked at only when the message, or the frame, begins.
 */
FIXTURE(half)
{
	struct wire w;
};

FIXTURE_VARIANT(half)
{
	bool within;		/* a frame, or between two of a message */
};

FIXTURE_VARIANT_ADD(half, within_a_frame) { true };
FIXTURE_VARIANT_ADD(half, between_frames) { false };

FIXTURE_SETUP(half)
{
	WIRE_SETUP(&self->w);
}

FIXTURE_TEARDOWN_PARENT(half)
{
	environment_clean();
}

/* A kind of message, and what its frames say of @at, where they belong. */
struct message {
	int op;
	size_t header;
	void (*place)(struct wire *w, struct frame *f, size_t at);
};

static void place_write(struct wire *w, struct frame *f, size_t at)
{
	f->tagged.stag = htobe32(w->mr->rkey);
	f->tagged.to = htobe64((uintptr_t)w->f.map + at);
}

static void place_response(struct wire *w, struct frame *f, size_t at)
{
	f->tagged.stag = w->sink_stag;
	f->tagged.to = htobe64((uintptr_t)w->f.map + at);
}

static void place_send(struct wire *, struct frame *f, size_t at)
{
	f->untagged.number = htobe32(1);
	f->untagged.offset = htobe32(at);
}

static const struct message a_write = { OP_WRITE, TAGGED_SIZE, place_write };
static const struct message a_response = {
	OP_READ_RESPONSE, TAGGED_SIZE, place_response
};
static const struct message a_send = { OP_SEND, SEND_SIZE, place_send };

static bool send_frame(struct wire *w, const struct message *m, size_t at,
		       size_t payload, bool last)
{
	struct frame f = frame(m->op, m->header, payload, last);

	m->place(w, &f, at);
	return send_all(w->sock, &f, m->header);
}

static void in_two_halves(struct __test_metadata *const _metadata,
			  struct wire *w, bool within, const struct message *m)
{
	static const char no_crc[4];
	static char payload[FRAME];

	memset(payload, 0x55, FRAME);
	ASSERT_TRUE(send_frame(w, m, 0, within ? FRAME : CUT, within));
	ASSERT_TRUE(send_all(w->sock, payload, CUT));
	if (!within)
		ASSERT_TRUE(send_all(w->sock, no_crc, sizeof(no_crc)));
	ASSERT_TRUE(wait_for(((volatile char *)w->f.map)[CUT - 1] == 0x55));

	take_region(_metadata, w);
	/* The device may hang up at any time now. */
	if (!within)
		send_frame(w, m, CUT, CUT, true);
	send_all(w->sock, payload, CUT);
	send_all(w->sock, no_crc, sizeof(no_crc));
	ASSERT_TRUE(wait_for(qp_is_broken(w->qp) || w->f.map[FRAME - 1] == 0x55));
	EXPECT_TRUE(all_is(w->f.map, LEN, 0xaa)) {
		TH_LOG("written to after the revoke");
	}
}

/* Rules: V1 V2 */
TEST_F(half, V1_write)
{
	in_two_halves(_metadata, &self->w, variant->within, &a_write);
}

/* Rules: V1 V2 */
TEST_F(half, V1_response_to_a_read)
{
	struct wire *w = &self->w;
	char request[REQUEST_SIZE + 4];
	struct frame *f = (struct frame *)request;

	ASSERT_EQ(0, post(w->qp, IBV_WR_RDMA_READ, w->mr, w->f.map, FRAME, NULL,
			  1));
	ASSERT_TRUE(receive_all(w->sock, request, sizeof(request)));
	ASSERT_EQ(FRAME, be32toh(f->untagged.size));
	ASSERT_EQ((uintptr_t)w->f.map, be64toh(f->untagged.sink_to));
	w->sink_stag = f->untagged.sink_stag;
	in_two_halves(_metadata, w, variant->within, &a_response);
	EXPECT_EQ(IBV_WC_LOC_PROT_ERR, completion(w->cq));
}

/* Rules: V1 V2 */
TEST_F(half, V1_send)
{
	struct wire *w = &self->w;

	ASSERT_EQ(0, post_recv(w->qp, w->mr, w->f.map, LEN));
	in_two_halves(_metadata, w, variant->within, &a_send);
	EXPECT_EQ(IBV_WC_GENERAL_ERR, completion(w->cq));
}

/* --- the device sends -------------------------------------------------------------- */

/*
 * The peer takes nothing of what it is sent.  Breaks if pages of the region have
 * been lent to the socket: they would be sent with what is in them by then, and
 * nobody would get them before the peer wants it.
 */
FIXTURE(stalled)
{
	struct wire w;
};

FIXTURE_VARIANT(stalled)
{
	bool asked;		/* by the peer, to be read; or written to it */
};

FIXTURE_VARIANT_ADD(stalled, write) { false };
FIXTURE_VARIANT_ADD(stalled, response_to_a_read) { true };

/* Nothing more goes into the socket: what is there to be read does not grow. */
static bool has_stalled(int sock)
{
	int was = -1, is = 0;

	while (!ioctl(sock, FIONREAD, &is) && (is != was || !is)) {
		was = is;
		usleep(300000);
	}
	return is;
}

/* Not signalled: then siw would lend the pages. */
static int post_write(struct wire *w)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)w->f.map,
		.length = LEN,
		.lkey = w->mr->lkey,
	};
	struct ibv_send_wr *bad, wr = {
		.opcode = IBV_WR_RDMA_WRITE,
		.sg_list = &sge,
		.num_sge = 1,
		.wr.rdma.rkey = 1,
	};

	return ibv_post_send(w->qp, &wr, &bad);
}

static bool ask_to_read(struct wire *w)
{
	struct {
		struct frame f;
		char no_crc[4];
	} __attribute__((packed)) request = {
		.f = frame(OP_READ_REQUEST, REQUEST_SIZE, 0, true),
	};

	request.f.untagged.queue = htobe32(1);
	request.f.untagged.number = htobe32(1);
	request.f.untagged.sink_stag = htobe32(1);
	request.f.untagged.size = htobe32(LEN);
	request.f.untagged.source_stag = htobe32(w->mr->rkey);
	request.f.untagged.source_to = htobe64((uintptr_t)w->f.map);
	return send_all(w->sock, &request, sizeof(request));
}

FIXTURE_SETUP(stalled)
{
	WIRE_SETUP(&self->w);
	ASSERT_TRUE(variant->asked ? ask_to_read(&self->w) :
				     !post_write(&self->w));
	ASSERT_TRUE(has_stalled(self->w.sock));
}

FIXTURE_TEARDOWN_PARENT(stalled)
{
	environment_clean();
}

/*
 * Take it now: how much of the file it is, at most; -1 if there is something that
 * the file got later, -2 if the device does not hang up.
 */
static long take(struct wire *w)
{
	static char stream[2 * LEN], later[64];
	size_t got = 0;
	ssize_t n;

	memset(later, 0xaa, sizeof(later));
	while (got < sizeof(stream)) {
		n = recv(w->sock, stream + got, sizeof(stream) - got, 0);
		if (n < 0 && errno == EAGAIN)
			return -2;
		if (n <= 0)
			break;
		got += n;
	}
	return memmem(stream, got, later, sizeof(later)) ? -1 : (long)got;
}

/* Rules: V1 V2 V6 */
TEST_F(stalled, V1_nothing_is_sent_of_what_comes_later)
{
	long got;

	take_region(_metadata, &self->w);
	got = take(&self->w);
	EXPECT_LT(0, got) {
		TH_LOG("read after the revoke");
	}
	EXPECT_GT((long)LEN, got);
	TH_LOG("%ld of %lu KiB were under way", got / KIB, LEN / KIB);
	/* A read by the peer is none of the application's requests. */
	if (!variant->asked)
		EXPECT_EQ(IBV_WC_LOC_QP_OP_ERR, completion(self->w.cq));
	EXPECT_EQ(0, ibv_dereg_mr(self->w.mr));
}

/* Rules: I2 V1 V6 */
TEST_F(stalled, I2_peer_does_not_hold_up_the_operation)
{
	struct call c;

	set_grace(1);
	start_op(_metadata, &c, op_truncate, &self->w.f, 0, 0);
	EXPECT_EQ(0, call_wait(&c));
	EXPECT_BOUNDED(call_ms(&c), 1000 + SLACK_MS);
	EXPECT_LT(0, take(&self->w));
}

/* A request that still names the region is no reason to keep its pages. */
/* Rules: V1 V6 */
TEST_F(stalled, V1_dereg_with_a_request_under_way)
{
	struct wire *w = &self->w;

	EXPECT_EQ(0, ibv_dereg_mr(w->mr));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(w->vm_pin, vm_pin_kb());
	memset(w->f.map, 0xaa, LEN);
	EXPECT_LT(0, take(w));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &w->f, 0, 0));
}

/* --- short messages ------------------------------------------------------------------ */

FIXTURE(brief)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
};

FIXTURE_SETUP(brief)
{
	VERBS_SETUP_KIND(&self->v, SIW);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f", 64 * KIB, BASE_PAGES);
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map, 64 * KIB, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(brief)
{
	environment_clean();
}

/* Breaks if what is behind a page in memory is taken for what is behind it in the file. */
/* Rules: I1 */
TEST_F(brief, I1_payload_across_two_pages)
{
	char *p = self->f.map, *buf = self->v.buf;
	unsigned int i;

	set_pattern(p, 64 * KIB, 1);
	for (i = PAGE - SHORT; i <= PAGE; i++) {
		memset(buf, 0, SHORT);
		EXPECT_EQ(IBV_WC_SUCCESS,
			  rdma(&self->p, IBV_WR_RDMA_READ, self->v.buf_mr, buf,
			       SHORT, p + i, self->mr->rkey));
		EXPECT_EQ(0, memcmp(p + i, buf, SHORT));
		memset(buf, 0, SHORT);
		EXPECT_EQ(IBV_WC_SUCCESS,
			  rdma(&self->p, IBV_WR_RDMA_WRITE, self->mr, p + i,
			       SHORT, buf, self->v.buf_mr->rkey));
		EXPECT_EQ(0, memcmp(p + i, buf, SHORT));
	}
}

/* Breaks if the caller's memory is read instead of the region's. */
/* Rules: V1 */
TEST_F(brief, V1_mapping_replaced)
{
	char *p = self->f.map, *buf = self->v.buf;

	memset(p, 0x55, PAGE);
	ASSERT_EQ(p, mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED |
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memset(p, 0xaa, PAGE);
	EXPECT_EQ(IBV_WC_SUCCESS,
		  rdma(&self->p, IBV_WR_RDMA_WRITE, self->mr, p, SHORT, buf,
		       self->v.buf_mr->rkey));
	EXPECT_TRUE(all_is(buf, SHORT, 0x55));
}

LAYOUT_LEASE_TEST_MAIN
