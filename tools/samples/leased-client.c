// SPDX-License-Identifier: GPL-2.0
/*
 * leased-client - use the window of a leased DAX file that leased-server lends
 *
 * A sample.  In a loop: RDMA WRITE a chunk of the window, RDMA READ it back,
 * compare.  When the server asks for a pause, finish the round, answer, and wait
 * for the next window; it may be smaller, and its contents gone.  All of it over
 * one connection and without a single failed completion.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "leased.h"

#define RESOLVE_MS	5000
#define REQUEST_MS	60000	/* for one message or transfer; emulators are slow */

/* Which of our requests a completion is for. */
enum { WR_RECV = 0, /* + index of the buffer */ WR_SEND = 100, WR_WRITE, WR_READ };

struct window {
	uint32_t generation;
	uint64_t addr;
	uint64_t len;
	uint32_t rkey;
};

struct conn {
	struct rdma_event_channel *cm;
	struct rdma_cm_id *id;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;

	struct ibv_mr *msg_mr;
	struct msg recv[MSG_DEPTH];
	struct msg send;

	size_t chunk;
	char *out, *in;			/* what we write, what we read back */
	struct ibv_mr *out_mr, *in_mr;

	struct window window;
	bool have_window;
	bool want_pause;
	unsigned int sending;		/* of our answers, not completed */
	unsigned int transfers;		/* RDMA requests, not completed */
};

static const char * const usage =
"Usage: leased-client [options] ADDRESS\n"
"\n"
"Connect to the leased-server at ADDRESS, write into the window of its file by\n"
"RDMA, read it back and compare, pausing whenever the server asks for it.\n"
"\n"
"Options:\n"
"  -p, --port=PORT      the server's port (default " LEASED_PORT ")\n"
"  -g, --generations=N  go on until N registrations of the file have been used\n"
"                       (default 1)\n"
"  -r, --rounds=N       and do at least N rounds in the last of them (default 100)\n"
"  -s, --size=SIZE      write this much a round (default 64K)\n"
"  -h, --help           this text\n"
"\n"
"Ends with status 0 if all that was asked for has been done, over one connection,\n"
"with no completion error, and every byte read back was the one written.\n";

/* --- requests ---------------------------------------------------------------- */

static void post_recv(struct conn *c, unsigned int i)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)&c->recv[i],
		.length = sizeof(c->recv[i]),
		.lkey = c->msg_mr->lkey,
	};
	struct ibv_recv_wr wr = {
		.wr_id = WR_RECV + i, .sg_list = &sge, .num_sge = 1,
	}, *bad;
	int err;

	err = ibv_post_recv(c->id->qp, &wr, &bad);
	if (err)
		die(err, "ibv_post_recv");
}

static void send_paused(struct conn *c)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)&c->send,
		.length = sizeof(c->send),
		.lkey = c->msg_mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = WR_SEND, .sg_list = &sge, .num_sge = 1,
		.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED,
	}, *bad;
	int err;

	msg_fill(&c->send, MSG_PAUSED, c->window.generation);
	err = ibv_post_send(c->id->qp, &wr, &bad);
	if (err)
		die(err, "ibv_post_send of an answer");
	c->sending++;
}

/* Write the chunk to @off in the window and read it back, in this order. */
static void post_round(struct conn *c, uint64_t off, uint32_t len)
{
	struct ibv_sge out = {
		.addr = (uintptr_t)c->out, .length = len,
		.lkey = c->out_mr->lkey,
	};
	struct ibv_sge in = {
		.addr = (uintptr_t)c->in, .length = len, .lkey = c->in_mr->lkey,
	};
	struct ibv_send_wr read = {
		.wr_id = WR_READ, .sg_list = &in, .num_sge = 1,
		.opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {
			.remote_addr = c->window.addr + off,
			.rkey = c->window.rkey,
		},
	};
	struct ibv_send_wr write = read, *bad;
	int err;

	write.wr_id = WR_WRITE;
	write.opcode = IBV_WR_RDMA_WRITE;
	write.sg_list = &out;
	write.next = &read;
	err = ibv_post_send(c->id->qp, &write, &bad);
	if (err)
		die(err, "ibv_post_send of a transfer");
	c->transfers += 2;
}

/* --- completions -------------------------------------------------------------- */

static const char *wr_name(uint64_t wr_id)
{
	switch (wr_id) {
	case WR_SEND:
		return "SEND";
	case WR_WRITE:
		return "RDMA WRITE";
	case WR_READ:
		return "RDMA READ";
	default:
		return "RECV";
	}
}

static void on_message(struct conn *c, const struct msg *m)
{
	uint32_t generation = be32toh(m->generation);

	switch (be32toh(m->type)) {
	case MSG_WINDOW:
		c->window = (struct window) {
			.generation = generation,
			.addr = be64toh(m->addr),
			.len = be64toh(m->len),
			.rkey = be32toh(m->rkey),
		};
		c->have_window = true;
		/* we were slow, and the server did not wait for our answer */
		c->want_pause = false;
		printf("generation %u: %" PRIu64 " bytes, rkey 0x%x\n",
		       generation, c->window.len, c->window.rkey);
		break;
	case MSG_PAUSE:
		if (!c->have_window || generation != c->window.generation)
			die(0, "asked to pause generation %u, which we do not use",
			    generation);
		c->want_pause = true;
		break;
	default:
		die(0, "unknown message %u", be32toh(m->type));
	}
}

static void on_completion(struct conn *c, const struct ibv_wc *wc)
{
	if (wc->status != IBV_WC_SUCCESS)
		die(0, "%s: %s (%d)", wr_name(wc->wr_id),
		    ibv_wc_status_str(wc->status), wc->status);

	switch (wc->wr_id) {
	case WR_SEND:
		c->sending--;
		break;
	case WR_WRITE:
	case WR_READ:
		c->transfers--;
		break;
	default:
		on_message(c, &c->recv[wc->wr_id - WR_RECV]);
		post_recv(c, wc->wr_id - WR_RECV);
	}
}

/* Handle the completions that are there. */
static bool poll_cq(struct conn *c)
{
	struct ibv_wc wc;
	bool any = false;
	int n;

	while ((n = ibv_poll_cq(c->cq, 1, &wc)) > 0) {
		on_completion(c, &wc);
		any = true;
	}
	if (n < 0)
		die(0, "ibv_poll_cq failed");
	return any;
}

/* Sleep until there is a completion, and handle it. @ms: -1 is for ever */
static void wait_completion(struct conn *c, int ms)
{
	struct pollfd fds[] = {
		{ .fd = c->channel->fd, .events = POLLIN },
		{ .fd = c->cm->fd, .events = POLLIN },
	};
	struct rdma_cm_event *ev;
	struct ibv_cq *cq;
	void *arg;
	int n;

	if (poll_cq(c))
		return;
	/* arm first, then look again: what came in between makes no event */
	if (ibv_req_notify_cq(c->cq, 0))
		die(errno, "ibv_req_notify_cq");
	if (poll_cq(c))
		return;

	n = poll(fds, 2, ms);
	if (n < 0)
		die(errno, "poll");
	if (!n)
		die(0, "no answer for %d seconds", ms / 1000);
	if (fds[0].revents) {
		if (ibv_get_cq_event(c->channel, &cq, &arg))
			die(errno, "ibv_get_cq_event");
		ibv_ack_cq_events(cq, 1);
		poll_cq(c);
	} else {
		/* completions tell better what went wrong, if there are any */
		poll_cq(c);
		if (rdma_get_cm_event(c->cm, &ev))
			die(errno, "rdma_get_cm_event");
		die(0, "the connection ended: %s", rdma_event_str(ev->event));
	}
}

/* --- the work ------------------------------------------------------------------ */

/*
 * A line for people, who find it in the file, then bytes that differ from round
 * to round.
 */
static void fill(char *buf, size_t len, uint32_t generation, uint64_t round)
{
	uint64_t x = round * 0x9e3779b97f4a7c15ULL + generation + 1;
	size_t n;

	n = snprintf(buf, len, "leased-client: generation %u, round %" PRIu64
		     "\n", generation, round);
	for (size_t i = n; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[i] = x;
	}
}

/* Returns how many bytes went there and back. */
static size_t do_round(struct conn *c, uint64_t round)
{
	uint64_t chunks = c->window.len / c->chunk;
	/* a window may have become smaller than what we like to write */
	uint64_t off = chunks ? round % chunks * c->chunk : 0;
	size_t len = chunks ? c->chunk : c->window.len;

	fill(c->out, len, c->window.generation, round);
	memset(c->in, 0, len);
	post_round(c, off, len);
	while (c->transfers)
		wait_completion(c, REQUEST_MS);
	if (memcmp(c->in, c->out, len))
		die(0, "round %" PRIu64 ": not what was written", round);
	return len;
}

static void work(struct conn *c, uint64_t rounds, uint64_t generations)
{
	uint64_t done = 0, used = 0, in_this = 0, bytes = 0;
	uint32_t generation = 0;

	while (used < generations || in_this < rounds) {
		/* at our ease: the file is somebody else's for the moment */
		while (!c->have_window)
			wait_completion(c, -1);

		if (c->window.generation != generation) {
			generation = c->window.generation;
			used++;
			in_this = 0;
		}
		bytes += do_round(c, done++);
		in_this++;
		poll_cq(c);

		if (c->want_pause) {
			/* do_round() left nothing posted, so this is true: */
			send_paused(c);
			c->have_window = false;
			c->want_pause = false;
			while (c->sending)
				wait_completion(c, REQUEST_MS);
			printf("generation %u: paused after %" PRIu64
			       " rounds\n", generation, in_this);
		}
	}
	printf("done: %" PRIu64 " rounds, %" PRIu64
	       " bytes written, read back and compared, %" PRIu64
	       " generations, one connection (qp %u), no errors\n", done,
	       bytes, used, c->id->qp->qp_num);
}

/* --- start and end ------------------------------------------------------------- */

static void expect(struct conn *c, enum rdma_cm_event_type type)
{
	struct rdma_cm_event *ev;

	if (rdma_get_cm_event(c->cm, &ev))
		die(errno, "rdma_get_cm_event");
	if (ev->event != type)
		die(ev->status < 0 ? -ev->status : 0, "cannot connect: %s",
		    rdma_event_str(ev->event));
	rdma_ack_cm_event(ev);
}

static struct ibv_mr *reg(struct conn *c, void *buf, size_t len)
{
	struct ibv_mr *mr = ibv_reg_mr(c->pd, buf, len, IBV_ACCESS_LOCAL_WRITE);

	if (!mr)
		die(errno, "ibv_reg_mr of %zu bytes", len);
	return mr;
}

static void open_connection(struct conn *c, const char *addr, const char *port)
{
	struct ibv_qp_init_attr attr = {
		.qp_type = IBV_QPT_RC,
		.cap = {
			/* a round's two, and an answer */
			.max_send_wr = 4, .max_recv_wr = MSG_DEPTH,
			.max_send_sge = 1, .max_recv_sge = 1,
		},
	};
	struct rdma_conn_param param = {
		/* our RDMA READs */
		.initiator_depth = 1, .retry_count = 7, .rnr_retry_count = 7,
	};
	struct rdma_addrinfo hints = { .ai_port_space = RDMA_PS_TCP }, *ai;

	if (rdma_getaddrinfo(addr, port, &hints, &ai))
		die(errno, "%s: rdma_getaddrinfo", addr);
	c->cm = rdma_create_event_channel();
	if (!c->cm)
		die(errno, "rdma_create_event_channel");
	if (rdma_create_id(c->cm, &c->id, NULL, RDMA_PS_TCP))
		die(errno, "rdma_create_id");
	if (rdma_resolve_addr(c->id, NULL, ai->ai_dst_addr, RESOLVE_MS))
		die(errno, "%s: rdma_resolve_addr", addr);
	expect(c, RDMA_CM_EVENT_ADDR_RESOLVED);
	rdma_freeaddrinfo(ai);
	if (rdma_resolve_route(c->id, RESOLVE_MS))
		die(errno, "%s: rdma_resolve_route", addr);
	expect(c, RDMA_CM_EVENT_ROUTE_RESOLVED);

	c->pd = ibv_alloc_pd(c->id->verbs);
	if (!c->pd)
		die(errno, "ibv_alloc_pd");
	c->channel = ibv_create_comp_channel(c->id->verbs);
	if (!c->channel)
		die(errno, "ibv_create_comp_channel");
	c->cq = ibv_create_cq(c->id->verbs, 4 + MSG_DEPTH, NULL, c->channel, 0);
	if (!c->cq)
		die(errno, "ibv_create_cq");
	attr.send_cq = attr.recv_cq = c->cq;
	if (rdma_create_qp(c->id, c->pd, &attr))
		die(errno, "rdma_create_qp");

	c->msg_mr = reg(c, c, sizeof(*c));
	c->out = malloc(c->chunk);
	c->in = malloc(c->chunk);
	if (!c->out || !c->in)
		die(ENOMEM, "two buffers of %zu bytes", c->chunk);
	c->out_mr = reg(c, c->out, c->chunk);
	c->in_mr = reg(c, c->in, c->chunk);

	/* before the server can send anything */
	for (unsigned int i = 0; i < MSG_DEPTH; i++)
		post_recv(c, i);
	if (rdma_connect(c->id, &param))
		die(errno, "%s: rdma_connect", addr);
	expect(c, RDMA_CM_EVENT_ESTABLISHED);
	printf("connected to %s port %s, qp %u\n", addr, port,
	       c->id->qp->qp_num);
}

static void close_connection(struct conn *c)
{
	rdma_disconnect(c->id);
	rdma_destroy_qp(c->id);
	ibv_dereg_mr(c->in_mr);
	ibv_dereg_mr(c->out_mr);
	ibv_dereg_mr(c->msg_mr);
	free(c->in);
	free(c->out);
	ibv_destroy_cq(c->cq);
	ibv_destroy_comp_channel(c->channel);
	ibv_dealloc_pd(c->pd);
	rdma_destroy_id(c->id);
	rdma_destroy_event_channel(c->cm);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port",	 required_argument,	NULL, 'p' },
		{ "generations", required_argument,	NULL, 'g' },
		{ "rounds",	 required_argument,	NULL, 'r' },
		{ "size",	 required_argument,	NULL, 's' },
		{ "help",	 no_argument,		NULL, 'h' },
		{ }
	};
	static struct conn conn = { .chunk = 64 << 10 };
	uint64_t rounds = 100, generations = 1, size;
	const char *port = LEASED_PORT;
	int c;

	while ((c = getopt_long(argc, argv, "p:r:g:s:h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			port = optarg;
			break;
		case 'r':
			rounds = parse_size("--rounds", optarg);
			break;
		case 'g':
			generations = parse_size("--generations", optarg);
			break;
		case 's':
			size = parse_size("--size", optarg);
			if (!size || size > 1 << 30)
				die(0, "--size: 1 byte to 1G");
			conn.chunk = size;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs("Try 'leased-client --help'.\n", stderr);
			return 1;
		}
	}
	if (argc - optind != 1) {
		fputs(usage, stderr);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	open_connection(&conn, argv[optind], port);
	work(&conn, rounds, generations);
	close_connection(&conn);
	return 0;
}
