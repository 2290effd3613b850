// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that goes while it is pinned (B11): the namespace of the DAX device is
 * unbound under a mounted file system.
 *
 * Whatever is pinned is unmapped before.  What page tables and the cache of the
 * file system refer to is not waited for, with leases or without; therefore the
 * device is bound again, with new page structures, before the file system is
 * unmounted.
 */
#include <sys/uio.h>

/* So that the file system can take the memory out of page tables. */
#ifndef MKFS_OPTIONS
#define MKFS_OPTIONS	"-m rmapbt=1"
#endif
#include "verbs_util.h"

/* The namespaces, by the names of their devices; empty if there is none. */
static char namespaces[NR_FS][64];

static bool is_bound(enum fs fs)
{
	char path[128];

	snprintf(path, sizeof(path), ND_PMEM "%s", namespaces[fs]);
	return !access(path, F_OK);
}

/* By a process that has nothing of what it would wait for. */
static int unbind(const void *fs)
{
	close_range(3, ~0U, 0);
	return write_text(ND_PMEM "unbind", namespaces[*(const enum fs *)fs]);
}

#define REMOVAL_SETUP()							\
do {									\
	use_fs(_metadata, variant->fs);					\
	if (!namespaces[variant->fs][0])				\
		SKIP(return, "not a namespace of libnvdimm");		\
	set_grace(GRACE_LONG);						\
} while (0)

/* In the process that started the test, which has ended: as it was before. */
static void bind_again(enum fs fs)
{
	if (namespaces[fs][0] && !is_bound(fs)) {
		if (bind_namespace(fs, namespaces[fs]))
			ksft_print_msg("%s is lost\n", test_fs[fs].dev);
		syscall(__NR_umount2, test_fs[fs].mnt, 2 /* MNT_DETACH */);
		/* With one device that is done when its turn has come. */
		if (!one_device() && make_fs(fs))
			ksft_print_msg("no %s\n", test_fs[fs].type);
	}
	environment_clean();
}

/* --- regions that can be revoked -------------------------------------------------- */

FIXTURE(removal)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct call c;
	long vm_pin;
};

FIXTURE_VARIANT(removal)
{
	enum fs fs;
	enum pages pages;
};

ADD_FS_PAGES_VARIANTS(removal, );

FIXTURE_SETUP(removal)
{
	VERBS_SETUP(&self->v);
	REMOVAL_SETUP();
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, true);
	self->vm_pin = vm_pin_kb();
	pair_begin(_metadata, &self->v, &self->p);
}

FIXTURE_TEARDOWN_PARENT(removal)
{
	bind_again(variant->fs);
}

/*
 * Breaks if removal waits for an answer, or goes on while a device may access the
 * memory, or takes what is pinned elsewhere.
 */
/* Rules: B11 V2 V3 I2 */
TEST_F(removal, B11_regions_are_revoked_at_once)
{
	struct ibv_mr *mr, *ro, *other = NULL;
	struct dax_file f = self->f, g;

	/* On the other device, if there is one. */
	if (!one_device()) {
		use_fs(_metadata, !variant->fs);
		make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
		take_lease(_metadata, &g, false);
		ASSERT_REG(other, &self->v, g.map, g.size, ACCESS_RW);
	}
	ASSERT_REG(mr, &self->v, f.map, f.size, ACCESS_RW);
	ASSERT_REG(ro, &self->v, f.map + f.size / 2, PAGE, ACCESS_RO);
	EXPECT_EQ((int)IBV_WC_SUCCESS,
		  remote_write(&self->v, &self->p, mr, f.map, PAGE, 1));
	ASSERT_EQ(0, munmap(f.map, f.size));

	call_start(_metadata, &self->c, unbind, &variant->fs);
	ASSERT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), SLACK_MS);

	EXPECT_EQ(2, count_pins(getpid(), "revoked"));
	EXPECT_EQ(other ? 1 : 0, held_pins());
	EXPECT_EQ(-1, next_signal(NULL, 0));
	if (other) {
		EXPECT_EQ((int)IBV_WC_SUCCESS,
			  remote_write(&self->v, &self->p, other, g.map,
				       g.size, 2));
		EXPECT_EQ(-1, file_differs(g.fd, 0, g.size, 2));
		EXPECT_EQ(0, ibv_dereg_mr(other));
	}
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ((int)IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, mr, f.map, PAGE, 3));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, ibv_dereg_mr(ro));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unlock_lease(f.lease_fd));
}

static int punch(const void *arg)
{
	const struct dax_file *f = arg;

	return op_punch(f->path, 0, PAGE);
}

/* Breaks if who has been given time, for something else, is left it. */
/* Rules: B4 B11 I2 */
TEST_F(removal, B11_recalled_region_is_taken_at_once)
{
	struct ibv_mr *mr;
	struct call op;

	ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	/* Nobody is spared, either. */
	ASSERT_EQ(0, set_number(BREAK_ENFORCE, 0));
	call_start(_metadata, &op, punch, &self->f);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000));
	EXPECT_EQ(1, count_pins(getpid(), "recall"));

	call_start(_metadata, &self->c, unbind, &variant->fs);
	ASSERT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), SLACK_MS);
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(0, held_pins());
	/* It goes on, with the memory or without. */
	EXPECT_NE(-ETIME, call_wait(&op));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* --- those who try again and again ------------------------------------------------ */

/* XFS only: ext4 leaves in page tables what is gone. */
FIXTURE(storm)
{
	struct verbs v;
	struct dax_file f;
	struct call c;
	pid_t pid[4];
	int *tries;
};

FIXTURE_VARIANT(storm)
{
	enum fs fs;
};

FIXTURE_VARIANT_ADD(storm, xfs) { XFS };

/* A process with a lease and an RDMA context of its own, until it is killed. */
static void storm(const char *path, int *tries)
{
	struct dax_file f = { };
	struct verbs v;
	int err;

	close_range(4, ~0U, 0);
	unmap_queues();
	if (!verbs_find(&v))
		_exit(1);
	v.pd = ibv_alloc_pd(v.ctx);
	f.fd = open(path, O_RDWR | O_CLOEXEC);
	f.map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd,
		     0);
	if (set_lease(f.fd) || f.map == MAP_FAILED)
		_exit(1);
	for (;;) {
		err = reg_error(&v, f.map, 64 * KIB, ACCESS_RW);
		if (err && err != -ENODEV)
			_exit(1);
		__atomic_add_fetch(tries, 1, __ATOMIC_RELAXED);
	}
}

FIXTURE_SETUP(storm)
{
	size_t i;
	pid_t pid;

	VERBS_SETUP(&self->v);
	REMOVAL_SETUP();
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	self->tries = shared_zalloc(sizeof(self->pid));
	ASSERT_NE(NULL, self->tries);
	for (i = 0; i < ARRAY_SIZE(self->pid); i++) {
		/* @self is shared with the child. */
		pid = fork_child();
		ASSERT_LE(0, pid);
		if (!pid)
			storm(self->f.path, &self->tries[i]);
		self->pid[i] = pid;
	}
	for (i = 0; i < ARRAY_SIZE(self->pid); i++)
		ASSERT_TRUE(wait_for(__atomic_load_n(&self->tries[i],
						     __ATOMIC_RELAXED) > 2));
}

FIXTURE_TEARDOWN_PARENT(storm)
{
	bind_again(variant->fs);
}

/* Breaks if removal waits for a moment when nobody tries to pin. */
/* Rules: B11 I2 */
TEST_F(storm, B11_new_attempts_do_not_keep_memory)
{
	size_t i;
	int status;

	call_start(_metadata, &self->c, unbind, &variant->fs);
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 5 * SLACK_MS);
	/* Or dead already: what they have mapped is gone. */
	for (i = 0; i < ARRAY_SIZE(self->pid); i++) {
		kill(self->pid[i], SIGKILL);
		EXPECT_TRUE(reap(self->pid[i], &status));
	}
}

/* --- a registration in progress --------------------------------------------------- */

/* A DAX file, and behind it anonymous memory that faults to user space. */
FIXTURE(asleep)
{
	struct verbs v;
	struct dax_file f;
	struct call c;
	struct reg_thread r;
	struct faulting behind;
	long vm_pin;
};

FIXTURE_VARIANT(asleep)
{
	enum fs fs;
};

ADD_EACH_FS(asleep);

FIXTURE_SETUP(asleep)
{
	VERBS_SETUP(&self->v);
	REMOVAL_SETUP();
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	take_lease(_metadata, &self->f, true);
	ASSERT_EQ(0, map_faulting(&self->behind, self->f.map + MIB, PAGE));

	self->vm_pin = vm_pin_kb();
	self->r = (struct reg_thread) {
		.v = &self->v,
		.addr = self->f.map,
		.len = MIB + PAGE,
		.access = ACCESS_RW,
	};
	ASSERT_EQ(0, pthread_create(&self->r.thread, NULL, reg_thread_fn,
				    &self->r));
	/* The fault tells that all of the file is pinned. */
	ASSERT_TRUE(is_touched(&self->behind));
	ASSERT_EQ(1, count_pins(getpid(), "registering"));
}

FIXTURE_TEARDOWN_PARENT(asleep)
{
	bind_again(variant->fs);
}

/* Breaks if removal waits for who may sleep for ever. */
/* Rules: B11 P1 P6 */
TEST_F(asleep, B11_registration_is_overtaken)
{
	ASSERT_EQ(0, munmap(self->f.map, MIB));
	call_start(_metadata, &self->c, unbind, &variant->fs);
	ASSERT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(0, held_pins());

	ASSERT_EQ(0, fill_page(&self->behind, self->behind.mem));
	ASSERT_EQ(0, pthread_join(self->r.thread, NULL));
	EXPECT_EQ(NULL, self->r.mr);
	EXPECT_EQ(-ENODEV, self->r.err);
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* --- what cannot be revoked ------------------------------------------------------- */

/* A process that has agreed to be killed has a part of @f as a buffer of @ring. */
FIXTURE(bound)
{
	struct verbs v;
	struct dax_file f, g;
	struct call holder, c;
	int ring;
	int *ready;
};

FIXTURE_VARIANT(bound)
{
	enum fs fs;
};

ADD_EACH_FS(bound);

static int hold_buffer(const void *arg)
{
	const FIXTURE_DATA(bound) *self = arg;
	struct iovec iov = { NULL, MIB };
	int fd = open(self->f.path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fcntl(fd, F_SETSIG, SIGKILL) ||
	    fcntl(fd, F_SETLEASE, F_LAYOUT | F_EXCLUSIVE))
		return -errno;
	iov.iov_base = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
	if (iov.iov_base == MAP_FAILED ||
	    syscall(__NR_io_uring_register, self->ring,
		    IORING_REGISTER_BUFFERS, &iov, 1))
		return -errno;
	if (munmap(iov.iov_base, MIB))
		return -errno;
	__atomic_store_n(self->ready, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

FIXTURE_SETUP(bound)
{
	struct io_uring_params params = { };

	NEED_URING();
	VERBS_SETUP(&self->v);
	REMOVAL_SETUP();
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	make_file(_metadata, &self->g, "g", 64 * KIB, BASE_PAGES);
	take_lease(_metadata, &self->g, false);

	self->ready = shared_zalloc(sizeof(*self->ready));
	ASSERT_NE(NULL, self->ready);
	self->ring = syscall(__NR_io_uring_setup, 1, &params);
	ASSERT_LE(0, self->ring);
	call_start(_metadata, &self->holder, hold_buffer, self);
	ASSERT_TRUE(wait_for(__atomic_load_n(self->ready, __ATOMIC_ACQUIRE) ||
			     call_done(&self->holder)));
	ASSERT_FALSE(call_done(&self->holder)) {
		TH_LOG("no buffer: %d", self->holder.res->ret);
	}
}

FIXTURE_TEARDOWN_PARENT(bound)
{
	bind_again(variant->fs);
}

static bool is_killed(pid_t pid)
{
	int status;

	return reap(pid, &status) && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

/* Breaks if the holder is given the grace, or is spared. */
/* Rules: B11 */
TEST_F(bound, B11_holder_is_killed_at_once)
{
	/* Nobody can be, as the page structures go. */
	ASSERT_EQ(0, set_number(BREAK_ENFORCE, 0));
	ASSERT_EQ(0, munmap(self->g.map, self->g.size));
	ASSERT_EQ(0, close(self->ring));
	call_start(_metadata, &self->c, unbind, &variant->fs);
	EXPECT_TRUE(is_killed(self->holder.pid));
	ASSERT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), SLACK_MS);
}

/*
 * The ring has another owner: removal waits for him, killed or not.  Breaks if
 * page structures go that are in use, or if that can be kept up by new pins.
 */
/* Rules: B11 */
TEST_F(bound, B11_waits_until_no_pin_is_left)
{
	struct ibv_mr *mr;

	ASSERT_REG(mr, &self->v, self->g.map, PAGE, ACCESS_RW);
	call_start(_metadata, &self->c, unbind, &variant->fs);
	EXPECT_TRUE(is_killed(self->holder.pid));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(-ENODEV, reg_error(&self->v, self->g.map, PAGE, ACCESS_RW));
	EXPECT_EQ(-ENODEV, reg_error(&self->v, self->g.map + PAGE, 2 * PAGE,
				     ACCESS_RO));
	/* The file system does not know yet. */
	EXPECT_EQ(0, write_pattern(self->g.fd, 0, self->g.size, 4));
	EXPECT_EQ(-1, file_differs(self->g.fd, 0, self->g.size, 4));

	EXPECT_TRUE(stays_asleep(self->c.pid));
	/* There is nothing that the driver could tell its caller. */
	EXPECT_EQ(0, kill(self->c.pid, SIGKILL));
	EXPECT_TRUE(stays_asleep(self->c.pid));
	EXPECT_EQ(0, access(test_fs[variant->fs].dev, F_OK));

	ASSERT_EQ(0, munmap(self->g.map, self->g.size));
	ASSERT_EQ(0, close(self->ring));
	EXPECT_TRUE(is_killed(self->c.pid));
	EXPECT_TRUE(wait_for(access(test_fs[variant->fs].dev, F_OK)));
}

int main(int argc, char **argv)
{
	int i;

	environment_begin(argc, argv);
	for (i = 0; i < NR_FS; i++)
		find_namespace(i, namespaces[i], sizeof(namespaces[i]));
	return test_harness_run(argc, argv);
}
