// SPDX-License-Identifier: GPL-2.0
/*
 * leased-server - lend windows of a leased DAX file to clients over RDMA
 *
 * A sample: how an application keeps a DAX file registered for remote access
 * without standing in the way of whoever wants to truncate it.
 *
 *   SERVING	the file is mapped and registered, clients use their windows
 *	| the recall signal arrives
 *   PAUSING	clients have been asked to finish what they have posted
 *	| all have answered, or their time is up
 *   WAITING	nothing is registered; the other side does what it wanted
 *	| the lease is not being broken any more
 *   SERVING	what is left of the file, as a new generation
 *
 * Who is too slow for a recall, or stands in an administrator's way, has the
 * region revoked.  The device's asynchronous events tell; the answer is the same.
 *
 * To deregister is the whole answer to a recall: the lease stays, and so do the
 * connections.  One thread does everything, from one poll() loop; that makes
 * "no client uses the region" a plain variable instead of a lock.
 *
 * All windows are of one memory region with one key, so clients are trusted not
 * to touch each other's.  A broker that does not trust them registers each window
 * by itself; the recall then still comes once, and /proc/self/file_pins tells
 * which of the regions are wanted.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "layout-lease.h"
#include "leased.h"
#include "rdma-revoke.h"

#define MAX_CLIENTS	64
#define PAGE		4096UL		/* windows are aligned to this */
#define RETRY_MIN_MS	10
#define RETRY_MAX_MS	1000
#define DEFAULT_GRACE	45		/* seconds, the kernel's own default */

enum state { SERVING, PAUSING, WAITING };

/* A connection, and the place of the client's window in the file. */
struct client {
	struct rdma_cm_id *id;		/* NULL: free */
	bool established;
	bool has_window;		/* it may be using the region */
	struct ibv_mr *mr;		/* of the messages */
	unsigned int next_send;
	struct msg send[MSG_DEPTH];
	struct msg recv[MSG_DEPTH];
};

struct server {
	/* options */
	const char *path;
	unsigned int slots;
	int64_t cut;			/* SIGUSR1 cuts the file to this; -1 */
	bool no_lease;

	/* the file */
	int fd;
	int recall_sig;
	enum state state;
	uint32_t generation;
	void *map;
	size_t len;
	struct ibv_mr *mr;		/* NULL unless SERVING or PAUSING */
	bool want_cut;
	unsigned int retry_ms;

	/* the network */
	struct rdma_event_channel *cm;
	struct rdma_cm_id *listener;
	struct ibv_pd *pd;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq;
	struct client clients[MAX_CLIENTS];

	/* events */
	int sigfd;
	int timer;
	bool quit;
};

static const char * const usage =
"Usage: leased-server [options] ADDRESS FILE\n"
"\n"
"Map FILE, which must be in DAX mode, take a layout lease on it, register it for\n"
"remote access on the RDMA device that has ADDRESS, and lend windows of it to\n"
"leased-clients.  When the lease is recalled, because somebody truncates FILE\n"
"say, stop the clients, deregister, and start again with what is left.\n"
"\n"
"Options:\n"
"  -p, --port=PORT     listen on this port (default " LEASED_PORT ")\n"
"  -c, --clients=N     into how many windows to divide the file (default 4)\n"
"  -t, --truncate=SIZE on SIGUSR1, cut FILE to SIZE ourselves\n"
"      --no-lease      take no lease, to see what the kernel says\n"
"  -h, --help          this text\n"
"\n"
"Ends on SIGINT or SIGTERM, with status 0.\n";

static void set_timer(struct server *s, unsigned int ms)
{
	struct itimerspec its = {
		.it_value.tv_sec = ms / 1000,
		.it_value.tv_nsec = ms % 1000 * 1000000L,
	};

	if (timerfd_settime(s->timer, 0, &its, NULL))
		die(errno, "timerfd_settime");
}

/*
 * How long clients may take to answer, in ms: half of the grace, so that one
 * that hangs loses its own connection and not everybody's region.
 */
static unsigned int pause_limit(void)
{
	FILE *f = fopen("/proc/sys/fs/lease-break-time", "r");
	int grace = DEFAULT_GRACE;

	if (f) {
		if (fscanf(f, "%d", &grace) != 1)
			grace = DEFAULT_GRACE;
		fclose(f);
	}
	return grace > 0 ? grace * 500U : 1;
}

/* --- messages ------------------------------------------------------------- */

static void drop_client(struct server *s, struct client *c)
{
	struct rdma_cm_id *id = c->id;

	printf("client %td: gone\n", c - s->clients);
	if (c->established)
		rdma_disconnect(id);
	if (id->qp)
		rdma_destroy_qp(id);
	if (c->mr)
		ibv_dereg_mr(c->mr);
	rdma_destroy_id(id);
	/* what is left of it in the CQ is told by its QP number: client_of_qp() */
	memset(c, 0, sizeof(*c));
}

static int post_recv(struct client *c, unsigned int i)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)&c->recv[i],
		.length = sizeof(c->recv[i]),
		.lkey = c->mr->lkey,
	};
	struct ibv_recv_wr wr = {
		.wr_id = i, .sg_list = &sge, .num_sge = 1,
	}, *bad;

	return ibv_post_recv(c->id->qp, &wr, &bad);
}

static bool send_msg(struct server *s, struct client *c, enum msg_type type)
{
	struct msg *m = &c->send[c->next_send++ % MSG_DEPTH];
	struct ibv_sge sge = {
		.addr = (uintptr_t)m,
		.length = sizeof(*m),
		.lkey = c->mr->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1,
		.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED,
	}, *bad;
	size_t slot = s->len / s->slots / PAGE * PAGE;
	int err;

	msg_fill(m, type, s->generation);
	if (type == MSG_WINDOW) {
		m->addr = htobe64((uintptr_t)s->map + (c - s->clients) * slot);
		m->len = htobe64(slot);
		m->rkey = htobe32(s->mr->rkey);
	}
	err = ibv_post_send(c->id->qp, &wr, &bad);
	if (err)
		warn(err, "client %td: cannot send", c - s->clients);
	return !err;
}

static void send_window(struct server *s, struct client *c)
{
	c->has_window = true;
	if (!send_msg(s, c, MSG_WINDOW))
		drop_client(s, c);
}

/* --- the region ------------------------------------------------------------ */

/* Is somebody breaking our lease? */
static bool breaking(struct server *s)
{
	int lease;

	if (s->no_lease)
		return false;
	lease = fcntl(s->fd, F_GETLEASE);
	if (lease < 0)
		die(errno, "%s: F_GETLEASE", s->path);
	return lease & F_BREAKING;
}

static size_t file_size(struct server *s)
{
	struct stat st;

	if (fstat(s->fd, &st))
		die(errno, "%s: fstat", s->path);
	return st.st_size;
}

/*
 * Map and register the file as it is now.  0, or the error: EAGAIN when a break
 * still has its mark on the file, ENODATA when the file is too short to share.
 */
static int register_file(struct server *s)
{
	int err;

	s->len = file_size(s);
	if (s->len / s->slots < PAGE)
		return ENODATA;

	s->map = mmap(NULL, s->len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd,
		      0);
	if (s->map == MAP_FAILED)
		die(errno, "%s: mmap", s->path);
	s->mr = ibv_reg_mr(s->pd, s->map, s->len, IBV_ACCESS_LOCAL_WRITE |
			   IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	if (s->mr) {
		s->generation++;
		return 0;
	}
	err = errno;
	munmap(s->map, s->len);
	/* the end of the file was cut off since we looked at its size */
	if (err == EFAULT && file_size(s) < s->len)
		err = EAGAIN;
	return err;
}

static void start_serving(struct server *s)
{
	int err;

	err = breaking(s) ? EAGAIN : register_file(s);
	switch (err) {
	case 0:
		break;
	case EAGAIN:	/* the other side has not finished */
	case ENODATA:	/* it left us too little; it may grow again */
		set_timer(s, s->retry_ms);
		s->retry_ms = s->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS :
							       s->retry_ms * 2;
		return;
	case EOPNOTSUPP:
		die(err, "%s: ibv_reg_mr (%s)", s->path, s->no_lease ?
		    "DAX memory is registered only under a lease" :
		    "is the file in DAX mode?");
	default:
		die(err, "%s: ibv_reg_mr", s->path);
	}

	s->state = SERVING;
	s->retry_ms = RETRY_MIN_MS;
	printf("generation %u: registered %zu bytes, rkey 0x%x\n",
	       s->generation, s->len, s->mr->rkey);
	for (struct client *c = s->clients; c < s->clients + s->slots; c++)
		if (c->established)
			send_window(s, c);
}

/*
 * No client uses the region any more, or those that do have had their time: they
 * get a protection error, and nobody else does.
 */
static void stop_serving(struct server *s)
{
	int err;

	err = ibv_dereg_mr(s->mr);
	if (err)
		die(err, "ibv_dereg_mr");
	s->mr = NULL;
	munmap(s->map, s->len);
	printf("generation %u: deregistered\n", s->generation);

	/*
	 * Only now: as long as a region of our own lies over what we cut off,
	 * the kernel answers ETXTBSY.  It does not recall us to ourselves.  (A
	 * broker with others on the file lets a helper thread wait for them.)
	 */
	if (s->want_cut) {
		s->want_cut = false;
		if (ftruncate(s->fd, s->cut))
			warn(errno, "%s: ftruncate", s->path);
		else
			printf("truncated to %" PRId64 " bytes\n", s->cut);
	}

	s->state = WAITING;
	s->retry_ms = RETRY_MIN_MS;
	start_serving(s);
}

static void stop_if_paused(struct server *s)
{
	if (s->state != PAUSING)
		return;
	for (struct client *c = s->clients; c < s->clients + s->slots; c++)
		if (c->id && c->has_window)
			return;
	set_timer(s, 0);
	stop_serving(s);
}

static void pause_clients(struct server *s)
{
	if (s->state != SERVING)
		return;
	s->state = PAUSING;
	set_timer(s, pause_limit());
	for (struct client *c = s->clients; c < s->clients + s->slots; c++)
		if (c->id && c->has_window && !send_msg(s, c, MSG_PAUSE))
			drop_client(s, c);
	stop_if_paused(s);
}

/* Does nothing that pause_clients() has not done if a recall came first. */
static void cut_file(struct server *s)
{
	if (s->state == WAITING) {
		warn(0, "%s: not now, it is being truncated", s->path);
		return;
	}
	s->want_cut = true;
	pause_clients(s);
}

static void on_timer(struct server *s)
{
	uint64_t ticks;

	/* it may have been set anew since poll() saw it expire */
	if (read(s->timer, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	if (s->state == WAITING) {
		start_serving(s);
	} else if (s->state == PAUSING) {
		for (struct client *c = s->clients; c < s->clients + s->slots;
		     c++)
			if (c->id && c->has_window)
				warn(0, "client %td does not pause",
				     c - s->clients);
		stop_serving(s);
	}
}

static void on_signal(struct server *s)
{
	struct signalfd_siginfo si;

	if (read(s->sigfd, &si, sizeof(si)) != sizeof(si))
		die(errno, "signalfd");
	switch (si.ssi_signo) {
	case SIGINT:
	case SIGTERM:
		s->quit = true;
		break;
	case SIGUSR1:
		if (s->cut < 0)
			warn(0, "SIGUSR1, but no --truncate given");
		else
			cut_file(s);
		break;
	default:
		/*
		 * The recall.  We do not ask whether it is still pending: had we
		 * slept over it, the region would be revoked by now, and
		 * registering again is the answer to that.  When the queue of
		 * realtime signals is full, none is sent: then on_async_event()
		 * tells that the region has gone.
		 */
		if (s->state == SERVING) {
			printf("generation %u: recalled\n", s->generation);
			pause_clients(s);
		}
	}
}

/*
 * Libraries that do not know the event tell its element as the number of a port;
 * it is the handle of an MR.  Its keys are worth nothing any more, and clients
 * that use them lose their connections.
 */
static void on_async_event(struct server *s)
{
	struct ibv_async_event ev;
	bool revoked;

	if (ibv_get_async_event(s->pd->context, &ev)) {
		/* deregistering has discarded it since poll() saw it */
		if (errno == EAGAIN)
			return;
		die(errno, "ibv_get_async_event");
	}
	revoked = (int)ev.event_type == UVERBS_EVENT_MR_REVOKED && s->mr &&
		  (uint32_t)ev.element.port_num == s->mr->handle;
	ibv_ack_async_event(&ev);
	if (!revoked)
		return;
	printf("generation %u: revoked\n", s->generation);
	if (s->state == PAUSING) {
		set_timer(s, 0);
		stop_serving(s);	/* no point in waiting for the others */
	} else {
		pause_clients(s);
	}
}

/* --- connections ------------------------------------------------------------ */

static struct client *client_of_qp(struct server *s, uint32_t qp_num)
{
	for (struct client *c = s->clients; c < s->clients + s->slots; c++)
		if (c->id && c->id->qp && c->id->qp->qp_num == qp_num)
			return c;
	return NULL;
}

static void on_message(struct server *s, struct client *c, struct msg *m)
{
	if (m->type != htobe32(MSG_PAUSED)) {
		warn(0, "client %td: unknown message %u", c - s->clients,
		     be32toh(m->type));
		return;
	}
	/* a late answer may be about a generation that we took away ourselves */
	if (m->generation == htobe32(s->generation))
		c->has_window = false;
}

static void on_completions(struct server *s)
{
	struct client *c;
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *arg;
	int n;

	if (ibv_get_cq_event(s->channel, &cq, &arg))
		die(errno, "ibv_get_cq_event");
	ibv_ack_cq_events(cq, 1);
	/* arm first, then poll: what arrives in between makes a new event */
	if (ibv_req_notify_cq(cq, 0))
		die(errno, "ibv_req_notify_cq");

	while ((n = ibv_poll_cq(cq, 1, &wc)) > 0) {
		c = client_of_qp(s, wc.qp_num);
		if (!c)
			continue;	/* of one that is gone */
		if (wc.status != IBV_WC_SUCCESS) {
			if (wc.status != IBV_WC_WR_FLUSH_ERR)
				warn(0, "client %td: %s", c - s->clients,
				     ibv_wc_status_str(wc.status));
			drop_client(s, c);
			continue;
		}
		if (wc.opcode == IBV_WC_RECV) {
			on_message(s, c, &c->recv[wc.wr_id]);
			if (post_recv(c, wc.wr_id))
				drop_client(s, c);
		}
	}
	if (n < 0)
		die(0, "ibv_poll_cq failed");
	stop_if_paused(s);
}

static bool accept_client(struct server *s, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = s->cq, .recv_cq = s->cq, .qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = MSG_DEPTH, .max_recv_wr = MSG_DEPTH,
			.max_send_sge = 1, .max_recv_sge = 1,
		},
	};
	struct rdma_conn_param param = {
		/* its RDMA READs */
		.responder_resources = 1, .rnr_retry_count = 7,
	};
	struct client *c = s->clients;

	while (c < s->clients + s->slots && c->id)
		c++;
	if (c == s->clients + s->slots) {
		warn(0, "no window free for another client");
		return false;
	}
	if (rdma_create_qp(id, s->pd, &attr)) {
		warn(errno, "rdma_create_qp");
		return false;
	}
	/* from here on drop_client() does the cleaning up, the id's too */
	memset(c, 0, sizeof(*c));
	c->id = id;
	id->context = c;
	c->mr = ibv_reg_mr(s->pd, c, sizeof(*c), IBV_ACCESS_LOCAL_WRITE);
	if (!c->mr) {
		warn(errno, "ibv_reg_mr of message buffers");
		goto drop;
	}
	for (unsigned int i = 0; i < MSG_DEPTH; i++) {
		int err = post_recv(c, i);

		if (err) {
			warn(err, "ibv_post_recv");
			goto drop;
		}
	}
	if (rdma_accept(id, &param)) {
		warn(errno, "rdma_accept");
		goto drop;
	}
	return true;
drop:
	drop_client(s, c);
	return true;
}

static void on_cm_event(struct server *s)
{
	struct rdma_cm_event *ev;
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	struct client *c;
	int status;

	if (rdma_get_cm_event(s->cm, &ev))
		die(errno, "rdma_get_cm_event");
	type = ev->event;
	id = ev->id;
	status = ev->status;
	/* an id cannot be destroyed before its events are acknowledged */
	rdma_ack_cm_event(ev);
	c = id->context;

	switch (type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		if (!accept_client(s, id)) {
			rdma_reject(id, NULL, 0);
			rdma_destroy_id(id);
		}
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		printf("client %td: connected, qp %u\n", c - s->clients,
		       id->qp->qp_num);
		c->established = true;
		if (s->state == SERVING)
			send_window(s, c);
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		die(0, "the RDMA device was removed");
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		warn(0, "%s (%d)", rdma_event_str(type), status);
		/* fall through */
	case RDMA_CM_EVENT_DISCONNECTED:
		if (c)
			drop_client(s, c);
		stop_if_paused(s);
		break;
	default:	/* TIMEWAIT_EXIT and the like */
		break;
	}
}

/* --- start and end ----------------------------------------------------------- */

/*
 * Take the lease.  The signal is set first, so that there is no recall which
 * we are not told of.
 */
static void open_leased(struct server *s)
{
	s->fd = open(s->path, O_RDWR | O_CLOEXEC);
	if (s->fd < 0)
		die(errno, "%s", s->path);
	if (s->no_lease)
		return;
	if (fcntl(s->fd, F_SETSIG, s->recall_sig))
		die(errno, "%s: F_SETSIG", s->path);
	if (fcntl(s->fd, F_SETLEASE, F_LAYOUT))
		die(errno, "%s: F_SETLEASE, F_LAYOUT%s", s->path,
		    errno == EINVAL ? " (kernel without layout leases?)" :
		    errno == EOPNOTSUPP ? " (is the file in DAX mode?)" : "");
}

static void listen_at(struct server *s, const char *addr, const char *port)
{
	struct rdma_addrinfo hints = {
		.ai_flags = RAI_PASSIVE, .ai_port_space = RDMA_PS_TCP,
	}, *ai;

	if (rdma_getaddrinfo(addr, port, &hints, &ai))
		die(errno, "%s: rdma_getaddrinfo", addr);
	s->cm = rdma_create_event_channel();
	if (!s->cm)
		die(errno, "rdma_create_event_channel");
	if (rdma_create_id(s->cm, &s->listener, NULL, RDMA_PS_TCP))
		die(errno, "rdma_create_id");
	if (rdma_bind_addr(s->listener, ai->ai_src_addr))
		die(errno, "%s: rdma_bind_addr", addr);
	rdma_freeaddrinfo(ai);
	/* the memory is registered once, so all clients come by one device */
	if (!s->listener->verbs)
		die(0, "%s: not the address of an RDMA device", addr);

	s->pd = ibv_alloc_pd(s->listener->verbs);
	if (!s->pd)
		die(errno, "ibv_alloc_pd");
	/* an event that poll() has seen may not be there any more */
	if (fcntl(s->pd->context->async_fd, F_SETFL, O_NONBLOCK))
		die(errno, "O_NONBLOCK");
	s->channel = ibv_create_comp_channel(s->listener->verbs);
	if (!s->channel)
		die(errno, "ibv_create_comp_channel");
	/* room for the flushed requests of clients that are gone already */
	s->cq = ibv_create_cq(s->listener->verbs, s->slots * MSG_DEPTH * 4,
			      NULL, s->channel, 0);
	if (!s->cq)
		die(errno, "ibv_create_cq");
	if (ibv_req_notify_cq(s->cq, 0))
		die(errno, "ibv_req_notify_cq");
	if (rdma_listen(s->listener, s->slots))
		die(errno, "%s: rdma_listen", addr);
}

static void create_fds(struct server *s)
{
	sigset_t set;

	/*
	 * Recalls are read, not caught: a handler could do none of what is to be
	 * done.  Blocked before anything is started, so in every thread there is.
	 */
	s->recall_sig = SIGRTMIN;
	sigemptyset(&set);
	sigaddset(&set, s->recall_sig);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		die(errno, "sigprocmask");
	s->sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	if (s->sigfd < 0)
		die(errno, "signalfd");
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->timer < 0)
		die(errno, "timerfd_create");
}

static void serve(struct server *s)
{
	struct pollfd fds[] = {
		{ .fd = s->sigfd, .events = POLLIN },
		{ .fd = s->timer, .events = POLLIN },
		{ .fd = s->channel->fd, .events = POLLIN },
		{ .fd = s->cm->fd, .events = POLLIN },
		{ .fd = s->pd->context->async_fd, .events = POLLIN },
	};

	while (!s->quit) {
		if (poll(fds, 5, -1) < 0)
			die(errno, "poll");
		if (fds[0].revents)
			on_signal(s);
		if (fds[1].revents)
			on_timer(s);
		if (fds[2].revents)
			on_completions(s);
		if (fds[3].revents)
			on_cm_event(s);
		if (fds[4].revents)
			on_async_event(s);
	}
}

static void shut_down(struct server *s)
{
	for (struct client *c = s->clients; c < s->clients + s->slots; c++)
		if (c->id)
			drop_client(s, c);
	if (s->mr) {
		ibv_dereg_mr(s->mr);
		munmap(s->map, s->len);
	}
	ibv_destroy_cq(s->cq);
	ibv_destroy_comp_channel(s->channel);
	ibv_dealloc_pd(s->pd);
	rdma_destroy_id(s->listener);
	rdma_destroy_event_channel(s->cm);
	close(s->fd);		/* and with it the lease */
}

int main(int argc, char **argv)
{
	enum { OPT_NO_LEASE = 256 };
	static const struct option options[] = {
		{ "port",	required_argument,	NULL, 'p' },
		{ "clients",	required_argument,	NULL, 'c' },
		{ "truncate",	required_argument,	NULL, 't' },
		{ "no-lease",	no_argument,		NULL, OPT_NO_LEASE },
		{ "help",	no_argument,		NULL, 'h' },
		{ }
	};
	static struct server server = {
		.slots = 4, .cut = -1, .state = WAITING,
		.retry_ms = RETRY_MIN_MS,
	};
	struct server *s = &server;
	const char *port = LEASED_PORT;
	uint64_t val;
	int c;

	while ((c = getopt_long(argc, argv, "p:c:t:h", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			port = optarg;
			break;
		case 'c':
			val = parse_size("--clients", optarg);
			if (val < 1 || val > MAX_CLIENTS)
				die(0, "--clients: 1 to %d", MAX_CLIENTS);
			s->slots = val;
			break;
		case 't':
			s->cut = parse_size("--truncate", optarg);
			break;
		case OPT_NO_LEASE:
			s->no_lease = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs("Try 'leased-server --help'.\n", stderr);
			return 1;
		}
	}
	if (argc - optind != 2) {
		fputs(usage, stderr);
		return 1;
	}
	s->path = argv[optind + 1];
	setvbuf(stdout, NULL, _IOLBF, 0);

	create_fds(s);
	open_leased(s);
	listen_at(s, argv[optind], port);
	start_serving(s);
	if (s->state == WAITING)
		printf("nothing to serve yet\n");
	serve(s);
	shut_down(s);
	return 0;
}
