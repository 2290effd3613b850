// SPDX-License-Identifier: GPL-2.0
/*
 * A pin never outlives its lease: giving it back (L5), the end of the open file
 * description (L6), and sharing it (L7).
 */

#include "verbs_util.h"

FIXTURE(life)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	long vm_pin;
};

FIXTURE_VARIANT(life)
{
	enum fs fs;
	enum pages pages;
};

FIXTURE_VARIANT_ADD(life, xfs_pmd) { XFS, PMD_PAGES };
FIXTURE_VARIANT_ADD(life, ext4_base) { EXT4, BASE_PAGES };

/* The lease is on an open file description of its own: f.lease_fd. */
FIXTURE_SETUP(life)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, true);
	self->vm_pin = vm_pin_kb();
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	ASSERT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr,
					       self->f.map, PAGE, 1));
}

FIXTURE_TEARDOWN_PARENT(life)
{
	environment_clean();
}

#define still_works(seed)						\
do {									\
	EXPECT_EQ(1, count_pins(getpid(), "active"));			\
	EXPECT_EQ(IBV_WC_SUCCESS,					\
		  remote_write(&self->v, &self->p, self->mr, self->f.map, \
			       PAGE, seed));				\
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, seed));		\
} while (0)

/* All of the region is gone, without anybody asking, and the file is free. */
#define wait_revoked()							\
do {									\
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));	\
	EXPECT_EQ(self->vm_pin, vm_pin_kb());				\
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,				\
		  remote_write(&self->v, &self->p, self->mr, self->f.map, \
			       PAGE, 99));				\
	EXPECT_LE(0, file_differs(self->f.fd, 0, PAGE, 99));		\
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0)); \
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));				\
	EXPECT_EQ(0, count_pins(getpid(), NULL));			\
} while (0)

/* Breaks if a pin can be left without a lease by which to recall it. */
/* Rules: L5 */
TEST_F(life, L5_unlock_with_pins_is_ebusy)
{
	EXPECT_EQ(-EBUSY, unlock_lease(self->f.lease_fd));
	/* Nothing has changed. */
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(LEASE_SIGNAL, fcntl(self->f.lease_fd, F_GETSIG));
	EXPECT_EQ(getpid(), fcntl(self->f.lease_fd, F_GETOWN));
	still_works(2);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, unlock_lease(self->f.lease_fd));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(0, fcntl(self->f.lease_fd, F_GETSIG));
}

/* Breaks if the pins of a closed lease stay, or close() waits for them. */
/* Rules: L6 */
TEST_F(life, L6_last_close_ends_the_pins)
{
	long begin = now_ms();

	ASSERT_EQ(0, close(self->f.lease_fd));
	EXPECT_GT(LIMIT * 1000L, now_ms() - begin);
	wait_revoked();
	/* The holder closed it by himself: no recall. */
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/* Breaks if a close that is not the last one ends the pins. */
/* Rules: L7 */
TEST_F(life, L7_dup_keeps_the_pins)
{
	int fd = dup(self->f.lease_fd);

	ASSERT_EQ(0, close(self->f.lease_fd));
	still_works(2);
	ASSERT_EQ(0, close(fd));
	wait_revoked();
}

/* A mapping is a reference to the open file description like others. */
/* Rules: L6 */
TEST_F(life, L6_mapping_keeps_the_lease)
{
	char *p = map_at(NULL, self->f.lease_fd, self->f.size, PROT_READ, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, close(self->f.lease_fd));
	still_works(2);
	ASSERT_EQ(0, munmap(p, self->f.size));
	wait_revoked();
}

static int hold_fds(const void *arg)
{
	(void)arg;
	raise(SIGSTOP);
	return 0;
}

/* Another process that inherited the descriptor keeps it alive, and no longer. */
/* Rules: L7 */
TEST_F(life, L7_other_process_keeps_the_pins)
{
	struct call c;
	int status;

	call_start(_metadata, &c, hold_fds, NULL);
	ASSERT_EQ(c.pid, waitpid(c.pid, &status, WUNTRACED));
	ASSERT_EQ(0, close(self->f.lease_fd));
	still_works(2);
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));
	wait_revoked();
}

struct exec_arg {
	int lease_fd, gone;
	bool keep;
};

/* Become another program; @gone is closed by that. */
static int exec_sleep(const void *arg)
{
	const struct exec_arg *e = arg;

	fcntl(e->lease_fd, F_SETFD, e->keep ? 0 : FD_CLOEXEC);
	fcntl(e->gone, F_SETFD, FD_CLOEXEC);
	/* Up to here, too, it is shared. */
	raise(SIGSTOP);
	execlp("sleep", "sleep", "600", NULL);
	return -errno;
}

/* Breaks if exec, which closes the last descriptor, is not the end of the lease. */
/* Rules: L6 L7 */
TEST_F(life, L7_exec_closes_the_lease)
{
	struct exec_arg e = { .lease_fd = self->f.lease_fd };
	int ends[2], status;
	struct call c;
	char byte;

	ASSERT_EQ(0, pipe(ends));
	e.gone = ends[1];
	call_start(_metadata, &c, exec_sleep, &e);
	close(ends[1]);
	ASSERT_EQ(c.pid, waitpid(c.pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, close(self->f.lease_fd));
	still_works(2);
	kill(c.pid, SIGCONT);
	ASSERT_EQ(0, read(ends[0], &byte, 1));
	wait_revoked();
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));
}

/* A program that inherited the lease by exec is its only holder. */
/* Rules: L6 L7 */
TEST_F(life, L7_exec_keeps_the_pins)
{
	struct exec_arg e = { .lease_fd = self->f.lease_fd, .keep = true };
	int ends[2], status;
	struct call c;
	char byte;

	ASSERT_EQ(0, pipe(ends));
	e.gone = ends[1];
	call_start(_metadata, &c, exec_sleep, &e);
	close(ends[1]);
	ASSERT_EQ(c.pid, waitpid(c.pid, &status, WUNTRACED));
	kill(c.pid, SIGCONT);
	ASSERT_EQ(0, read(ends[0], &byte, 1));
	ASSERT_EQ(0, close(self->f.lease_fd));
	still_works(2);
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));
	wait_revoked();
}

/* Breaks if a descriptor that nobody has, but somebody may yet get, does not count. */
/* Rules: L6 L7 */
TEST_F(life, L7_lease_in_a_socket)
{
	int pair[2], fd = -1;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, send_fds(pair[0], &self->f.lease_fd, 1));
	ASSERT_EQ(0, close(self->f.lease_fd));
	still_works(2);
	ASSERT_EQ(0, receive_fds(pair[1], &fd, 1));
	EXPECT_EQ(F_LAYOUT, fcntl(fd, F_GETLEASE));
	still_works(3);
	/* Once more, and then nobody gets it any more. */
	ASSERT_EQ(0, send_fds(pair[0], &fd, 1));
	ASSERT_EQ(0, close(fd));
	still_works(4);
	close(pair[0]);
	close(pair[1]);
	wait_revoked();
}

/* Breaks if pins belong to the mapping that they were made by. */
/* Rules: P10 L6 */
TEST_F(life, P10_mapping_moved_protected_and_gone)
{
	void *old = self->f.map;
	char *p;

	ASSERT_EQ(0, mprotect(old, self->f.size, PROT_NONE));
	still_works(2);
	/* To another place, with nothing left at the old one. */
	p = mmap(NULL, self->f.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(p, mremap(old, self->f.size, self->f.size,
			    MREMAP_MAYMOVE | MREMAP_FIXED, p));
	still_works(3);
	ASSERT_EQ(0, mprotect(p, self->f.size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, madvise(p, self->f.size, MADV_DONTNEED));
	still_works(4);
	EXPECT_EQ(0, munmap(p, self->f.size));
	still_works(5);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
}

static long free_blocks(void)
{
	struct statfs st;

	return statfs(mnt, &st) ? -1 : (long)st.f_bfree;
}

/*
 * Neither name nor mapping nor descriptor but that of the lease.  Breaks if the
 * blocks are given to others while they are pinned, or never.
 */
/* Rules: L6 P1 P4 I1 */
TEST_F(life, L6_file_closed_unmapped_and_unlinked)
{
	long before;

	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	ASSERT_EQ(0, close(self->f.fd));
	self->f.fd = self->f.lease_fd;
	ASSERT_EQ(0, unlink(self->f.path));
	sync();
	before = free_blocks();
	still_works(2);
	ASSERT_EQ(0, close(self->f.lease_fd));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_TRUE(wait_for(free_blocks() >=
			     before + (long)(self->f.size / PAGE)));
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, self->mr, self->f.map, PAGE,
			       99));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/*
 * Who has been recalled and closes the lease instead of deregistering has
 * answered, too.  Breaks if the pins then stay for the grace period.
 */
/* Rules: L6 */
TEST_F(life, L6_close_answers_a_recall)
{
	struct call c;

	start_op(_metadata, &c, op_truncate, &self->f, 0, 0);
	ASSERT_TRUE(wait_for(breaking(self->f.lease_fd)));
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_FALSE(call_done(&c));
	ASSERT_EQ(0, close(self->f.lease_fd));
	EXPECT_EQ(0, call_wait(&c));
	wait_revoked();
}

/* A region over two files ends with either lease; the other lease goes on. */
/* Rules: L6 */
TEST_F(life, L6_region_over_two_leases)
{
	struct ibv_mr *mr;
	struct dax_file g;
	char *p;

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(g.fd));
	p = mmap(NULL, 128 * KIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	map_at(p, self->f.fd, 64 * KIB, PROT_READ | PROT_WRITE, 0);
	map_at(p + 64 * KIB, g.fd, 64 * KIB, PROT_READ | PROT_WRITE, 0);
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	ASSERT_REG(mr, &self->v, p, 128 * KIB, ACCESS_RW);
	ASSERT_EQ(2, count_pins(getpid(), "active"));

	ASSERT_EQ(0, close(self->f.lease_fd));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 2));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(F_LAYOUT, fcntl(g.fd, F_GETLEASE));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &g, 0, 0));
	EXPECT_EQ(0, unlock_lease(g.fd));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* --- processes that end ------------------------------------------------------------------ */

FIXTURE(process)
{
	struct verbs v;
	char path[256];
};

FIXTURE_VARIANT(process)
{
	enum fs fs;
};

ADD_EACH_FS(process);

FIXTURE_SETUP(process)
{
	struct dax_file f;

	use_fs(_metadata, variant->fs);
	/* Opened here and used by the children, but without any memory. */
	NEED_VERBS(&self->v);
	set_grace(GRACE_LONG);
	make_file(_metadata, &f, "f", 256 * KIB, BASE_PAGES);
	munmap(f.map, f.size);
	close(f.fd);
	strcpy(self->path, f.path);
}

FIXTURE_TEARDOWN_PARENT(process)
{
	environment_clean();
}

/* Lease, map and register a file with the given context, and wait. */
struct own {
	struct ibv_context *ctx;	/* NULL: one of its own */
	const char *path;
};

static int lease_and_register(const void *arg)
{
	const struct own *own = arg;
	struct verbs v = { .ctx = own->ctx };
	struct dax_file f;

	if (!v.ctx && !verbs_find(&v))
		return -ENODEV;
	v.pd = ibv_alloc_pd(v.ctx);
	f.fd = open(own->path, O_RDWR);
	f.map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd,
		     0);
	if (!v.pd || f.map == MAP_FAILED || set_lease(f.fd) ||
	    !ibv_reg_mr(v.pd, f.map, 64 * KIB, ACCESS_RW))
		return -errno;
	raise(SIGSTOP);
	return 0;
}

#define start_owner(c, ctx_)						\
do {									\
	struct own _own = { ctx_, self->path };				\
	int _status;							\
									\
	call_start(_metadata, c, lease_and_register, &_own);		\
	ASSERT_EQ((c)->pid, waitpid((c)->pid, &_status, WUNTRACED));	\
	ASSERT_TRUE(WIFSTOPPED(_status)) {				\
		TH_LOG("lease_and_register: %d", (c)->res->ret);	\
	}								\
	ASSERT_EQ(1, count_pins((c)->pid, "active"));			\
} while (0)

/* Breaks if the end of a process, however sudden, leaves pins behind. */
/* Rules: L6 */
TEST_F(process, L6_killed_process_leaves_no_pins)
{
	struct op op = { .fn = op_truncate };
	struct call c;
	int status;

	strcpy(op.path, self->path);
	start_owner(&c, NULL);
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));
	EXPECT_EQ(0, in_child(_metadata, run_op, &op));
}

/*
 * The lease goes with its process, the RDMA context lives on with us: nobody
 * deregisters, so the pins must be taken.  Breaks if L6 relies on the context.
 */
/* Rules: L6 */
TEST_F(process, L6_killed_taker_with_a_context_that_lives)
{
	struct op op = { .fn = op_truncate };
	struct call c;
	int status;

	strcpy(op.path, self->path);
	start_owner(&c, self->v.ctx);
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));
	EXPECT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_EQ(0, in_child(_metadata, run_op, &op));
}

/* Registers, and hands everything over. */
struct giver {
	const char *path;
	int sock;
};

static int register_and_give_away(const void *arg)
{
	const struct giver *g = arg;
	struct verbs v;
	int fds[2];
	char *map;

	if (!verbs_find(&v))
		return -ENODEV;
	v.pd = ibv_alloc_pd(v.ctx);
	fds[0] = open(g->path, O_RDWR);
	fds[1] = v.ctx->cmd_fd;
	map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
		   0);
	if (!v.pd || map == MAP_FAILED || set_lease(fds[0]) ||
	    !ibv_reg_mr(v.pd, map, 64 * KIB, ACCESS_RW))
		return -errno;
	return send_fds(g->sock, fds, 2);
}

/*
 * Taker and registrant are gone, lease and region have been passed on.  Breaks if
 * the region can only be taken while its process lives.
 */
/* Rules: L6 L7 B5 I2 */
TEST_F(process, L7_lease_and_context_passed_on)
{
	struct op op = { .fn = op_truncate };
	struct giver g = { .path = self->path };
	int pair[2], fds[2], i;
	struct call c;

	strcpy(op.path, self->path);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	for (i = 0; i < 2; i++) {
		g.sock = pair[0];
		ASSERT_EQ(0, in_child(_metadata, register_and_give_away, &g));
		ASSERT_EQ(0, receive_fds(pair[1], fds, 2));
		EXPECT_EQ(F_LAYOUT, fcntl(fds[0], F_GETLEASE));
		EXPECT_EQ(1, count_pins(getpid(), "active"));
		if (i) {
			/* The lease goes first: no grace for who has gone. */
			close(fds[0]);
			set_grace(GRACE_LONG);
		} else {
			set_grace(1);
		}
		call_start(_metadata, &c, run_op, &op);
		EXPECT_EQ(0, call_wait(&c));
		EXPECT_BOUNDED(call_ms(&c), i ? SLACK_MS : 1000 + SLACK_MS);
		EXPECT_EQ(1, count_pins(getpid(), "revoked"));
		if (!i)
			close(fds[0]);
		close(fds[1]);
		EXPECT_TRUE(wait_for(count_pins(getpid(), NULL) == 0));
		ASSERT_EQ(0, truncate(self->path, 256 * KIB));
	}
}

/* Registers over a file and memory that nobody ever fills. */
static int register_asleep(const void *arg)
{
	struct faulting behind;
	struct dax_file f;
	struct verbs v;

	f.fd = open(arg, O_RDWR);
	f.map = mmap(NULL, 64 * KIB + PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!verbs_find(&v) || f.map == MAP_FAILED || set_lease(f.fd) ||
	    map_at(f.map, f.fd, 64 * KIB, PROT_READ | PROT_WRITE, 0) ==
	    MAP_FAILED)
		return -errno;
	v.pd = ibv_alloc_pd(v.ctx);
	if (!v.pd || map_faulting(&behind, f.map + 64 * KIB, PAGE))
		return -errno;
	ibv_reg_mr(v.pd, f.map, 64 * KIB + PAGE, ACCESS_RW);
	return -EPROTO;
}

/* Breaks if a registration that never ends survives its process. */
/* Rules: L6 */
TEST_F(process, L6_killed_while_registering)
{
	struct op op = { .fn = op_truncate };
	struct call c;

	strcpy(op.path, self->path);
	call_start(_metadata, &c, register_asleep, self->path);
	ASSERT_TRUE(wait_for(call_done(&c) ||
			     count_pins(c.pid, "registering") == 1));
	EXPECT_TRUE(call_kill(&c)) {
		TH_LOG("register_asleep: %d", c.res->ret);
	}
	EXPECT_EQ(0, in_child(_metadata, run_op, &op));
}

/* --- who is told -------------------------------------------------------------------- */

static void *take_and_exit(void *arg)
{
	return (void *)(long)set_lease(*(int *)arg);
}

/*
 * Breaks if the owner is the thread's number: once the thread has exited,
 * nobody gets the signal (or somebody else does).
 */
/* Rules: L7 */
TEST_F(life, L7_recall_reaches_the_group_of_a_dead_thread)
{
	siginfo_t info;
	pthread_t t;
	struct call c;
	void *ret;

	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	ASSERT_EQ(0, unlock_lease(self->f.lease_fd));
	ASSERT_EQ(0, pthread_create(&t, NULL, take_and_exit, &self->f.lease_fd));
	ASSERT_EQ(0, pthread_join(t, &ret));
	ASSERT_EQ(NULL, ret);
	want_signal(_metadata, self->f.lease_fd);
	ASSERT_REG(self->mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	start_op(_metadata, &c, op_truncate, &self->f, 0, 0);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(&info, LIMIT * 1000L));
	EXPECT_EQ(self->f.lease_fd, info.si_fd);
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&c));
}

LAYOUT_LEASE_TEST_MAIN
