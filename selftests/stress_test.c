// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once, and allocations that fail: what must hold whatever
 * happens is that nothing hangs, that nobody is left with pins or without his
 * memory, and that the kernel's own checkers (KASAN, lockdep, kmemleak on a debug
 * kernel) find nothing.
 */
#include "verbs_util.h"

FIXTURE(stress)
{
	struct dax_file f;
};

FIXTURE_VARIANT(stress)
{
	enum fs fs;
	enum pages pages;
};

ADD_EACH_FS_PAGES(stress);

FIXTURE_SETUP(stress)
{
	use_fs(_metadata, variant->fs);
	set_grace(1);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : MIB, variant->pages);
}

FIXTURE_TEARDOWN_PARENT(stress)
{
	environment_clean();
}

#define WORKERS		4
#define STRESS_MS	8000

/* Life of a worker: the file, the device, and what it has right now. */
struct worker {
	const struct dax_file *f;
	unsigned int seed;
	struct verbs v;
	int fd;
	char *map;
	struct ibv_mr *mr;
};

static unsigned int dice(struct worker *w, unsigned int sides)
{
	return rand_r(&w->seed) / 16 % sides;
}

static bool one_of(int err, int a, int b, int c)
{
	return err == 0 || err == a || err == b || err == c;
}

/* One step: 0, or which kind of step failed how. */
static int work_step(struct worker *w)
{
	size_t pages = w->f->size / PAGE, first = dice(w, pages);
	size_t len = (1 + dice(w, pages - first)) * PAGE, at = first * PAGE;
	static char text[64 * KIB];
	char clone[300];
	int err = 0;

	switch (dice(w, 12)) {
	case 0:
	case 1:
		if (w->fd < 0)
			w->fd = open(w->f->path, O_RDWR | O_CLOEXEC);
		if (w->fd < 0)
			return 1000 + errno;
		if (set_lease(w->fd))
			return 2000 + errno;
		break;
	case 2:
		if (w->fd >= 0 && !w->map) {
			w->map = mmap(NULL, w->f->size, PROT_READ | PROT_WRITE,
				      MAP_SHARED, w->fd, 0);
			if (w->map == MAP_FAILED)
				return 3000 + errno;
		}
		break;
	case 3:
	case 4:
		if (!w->map || w->mr)
			break;
		w->mr = reg(&w->v, w->map + at, len,
			    dice(w, 2) ? ACCESS_RW : ACCESS_RO, &err);
		/* A break, the end of the lease, the end of the file. */
		if (!one_of(err, -EAGAIN, -EOPNOTSUPP, -EFAULT))
			return 4000 - err;
		break;
	case 5:
	case 6:
		if (w->mr && ibv_dereg_mr(w->mr))
			return 5000 + errno;
		w->mr = NULL;
		break;
	case 7:
		if (dice(w, 2)) {
			if (w->fd >= 0)
				close(w->fd);
			w->fd = -1;
		} else if (w->map) {
			munmap(w->map, w->f->size);
			w->map = NULL;
		}
		break;
	case 8:
		/* Not with pins of its own in the way. */
		if (dice(w, 2))
			err = op_punch(w->f->path, at, len);
		else
			err = op_truncate(w->f->path, at, 0);
		if (!one_of(err, -ETXTBSY, -ETXTBSY, -ETXTBSY))
			return 6000 - err;
		if (truncate(w->f->path, w->f->size))
			return 7000 + errno;
		break;
	case 9:
		read_text("/proc/self/file_pins", text, sizeof(text), 256);
		read_text("/proc/locks", text, sizeof(text), 4096);
		break;
	case 10:
		err = op_open_trunc_nonblock(w->f->path, 0, 0);
		if (!one_of(err, -EWOULDBLOCK, -ETXTBSY, -ETXTBSY))
			return 8000 - err;
		snprintf(clone, sizeof(clone), "%s.clone", w->f->path);
		err = clone_range(w->f->path, 0, 0, clone, 0);
		/* Not on ext4. */
		if (!one_of(err, -ETXTBSY, -EOPNOTSUPP, -ETXTBSY))
			return 9000 - err;
		break;
	default:
		if (w->map)
			madvise(w->map + at, len, MADV_POPULATE_WRITE);
		else
			op_punch(w->f->path, at, PAGE);
		break;
	}
	return 0;
}

struct work {
	const struct dax_file *f;
	unsigned int seed;
	long end;
};

static int work(const void *arg)
{
	const struct work *work = arg;
	struct worker w = { .f = work->f, .seed = work->seed, .fd = -1 };
	long vm_pin = vm_pin_kb();
	int ret = 0;

	if (!verbs_find(&w.v))
		return -ENODEV;
	w.v.pd = ibv_alloc_pd(w.v.ctx);
	while (!ret && now_ms() < work->end)
		ret = work_step(&w);
	if (!ret && w.mr && ibv_dereg_mr(w.mr))
		ret = -EPROTO;
	if (!ret && vm_pin_kb() != vm_pin)
		ret = -EOVERFLOW;
	return ret;
}

/*
 * Processes that lease, map, register, truncate, clone and look, in random order,
 * and that get killed now and then.  Breaks with about anything.
 */
/* Rules: I2 */
TEST_F(stress, I2_everything_at_once)
{
	struct work w = { .f = &self->f, .end = now_ms() + STRESS_MS };
	struct call c[WORKERS];
	unsigned int i, killed = 0, seed = time(NULL);
	struct verbs v;
	int status;

	NEED_VERBS(&v);
	ibv_close_device(v.ctx);
	TH_LOG("seed %u", seed);
	/* Workers have open files of their own. */
	close(self->f.fd);
	munmap(self->f.map, self->f.size);
	for (i = 0; i < WORKERS; i++) {
		w.seed = seed + i;
		call_start(_metadata, &c[i], work, &w);
	}
	while (now_ms() < w.end) {
		usleep(STRESS_MS / 16 * 1000);
		i = killed++ % WORKERS;
		kill(c[i].pid, SIGKILL);
		ASSERT_TRUE(reap(c[i].pid, &status)) {
			TH_LOG("worker %u cannot be killed", i);
		}
		if (call_done(&c[i]))
			EXPECT_EQ(0, c[i].res->ret);
		w.seed = seed + WORKERS + killed;
		call_start(_metadata, &c[i], work, &w);
	}
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, call_wait(&c[i])) {
			TH_LOG("worker %u", i);
		}
	/* Nobody is left whom an operation would have to wait for. */
	set_grace(GRACE_LONG);
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
}

/* --- allocations that fail ------------------------------------------------------------ */

#define FAULTS	"/sys/kernel/debug/"

FIXTURE(nth)
{
	struct verbs v;
	struct dax_file f;
	int nth;
};

FIXTURE_VARIANT(nth)
{
	enum fs fs;
};

ADD_EACH_FS(nth);

FIXTURE_SETUP(nth)
{
	use_fs(_metadata, variant->fs);
	VERBS_SETUP(&self->v);
	if (access("/proc/thread-self/fail-nth", F_OK) ||
	    access(FAULTS "failslab", F_OK) ||
	    access(FAULTS "fail_page_alloc", F_OK))
		SKIP(return, "the kernel cannot fail allocations on demand");
	self->nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->nth);
	ASSERT_EQ(0, write_text(FAULTS "failslab/ignore-gfp-wait", "N"));
	ASSERT_EQ(0, write_text(FAULTS "fail_page_alloc/ignore-gfp-wait", "N"));
	write_text(FAULTS "failslab/verbose", "0");
	write_text(FAULTS "fail_page_alloc/verbose", "0");
	set_grace(1);
	make_file(_metadata, &self->f, "f", 64 * KIB, BASE_PAGES);
}

FIXTURE_TEARDOWN_PARENT(nth)
{
	environment_clean();
}

static void fail_nth(struct __test_metadata *const _metadata, int fd, int n)
{
	char text[16];

	ASSERT_LT(0, snprintf(text, sizeof(text), "%d", n));
	ASSERT_LT(0, pwrite(fd, text, strlen(text), 0));
}

/* Stop to fail allocations: has one failed? */
static bool has_failed(struct __test_metadata *const _metadata, int fd)
{
	char text[16] = "";

	ASSERT_LT(0, pread(fd, text, sizeof(text) - 1, 0));
	ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
	return atoi(text) == 0;
}

#define MOST_ALLOCATIONS	1000

/* Breaks if a failure half way leaves a lease on one of its lists. */
/* Rules: L1 */
TEST_F(nth, L1_lease)
{
	bool failed = true;
	int n, err, errors = 0;

	for (n = 1; failed && n < MOST_ALLOCATIONS; n++) {
		int fd = open(self->f.path, O_RDWR | O_CLOEXEC);

		ASSERT_LE(0, fd);
		fail_nth(_metadata, self->nth, n);
		err = set_lease(fd);
		failed = has_failed(_metadata, self->nth);
		if (err) {
			errors++;
			ASSERT_EQ(-ENOMEM, err);
			ASSERT_EQ(F_UNLCK, fcntl(fd, F_GETLEASE));
		} else {
			ASSERT_EQ(F_LAYOUT, fcntl(fd, F_GETLEASE));
			ASSERT_EQ(0, unlock_lease(fd));
		}
		close(fd);
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, errors);
}

/* Breaks if a failure half way leaves pages pinned, charged or recorded. */
/* Rules: P7 */
TEST_F(nth, P7_registration)
{
	long vm_pin = vm_pin_kb();
	bool failed = true;
	int n, err, errors = 0;
	struct ibv_mr *mr;

	for (n = 1; failed && n < MOST_ALLOCATIONS; n++) {
		ASSERT_EQ(0, set_lease(self->f.fd));
		/* Faults, too. */
		ASSERT_EQ(0, madvise(self->f.map, self->f.size, MADV_DONTNEED));
		fail_nth(_metadata, self->nth, n);
		mr = reg(&self->v, self->f.map, self->f.size, ACCESS_RW, &err);
		failed = has_failed(_metadata, self->nth);
		if (mr) {
			/* Gives back under the same conditions. */
			fail_nth(_metadata, self->nth, n);
			ASSERT_EQ(0, ibv_dereg_mr(mr));
			has_failed(_metadata, self->nth);
		} else {
			errors++;
		}
		ASSERT_EQ(vm_pin, vm_pin_kb());
		ASSERT_EQ(0, count_pins(getpid(), NULL));
		ASSERT_EQ(0, unlock_lease(self->f.fd));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, errors);
}

struct nth_op {
	struct op op;
	int n;
};

static int op_nth(const void *arg)
{
	const struct nth_op *o = arg;
	char text[16] = "";
	int fd;

	close_range(3, ~0U, 0);
	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	snprintf(text, sizeof(text), "%d", o->n);
	if (write(fd, text, strlen(text)) < 0)
		return -errno;
	return o->op.fn(o->op.path, o->op.off, o->op.len);
}

/*
 * Stop to fail allocations of a process that waits: has one failed?  What comes
 * after that is the file system's own business, and ext4 takes it for an error
 * of the disk.
 */
static bool stop_failing(struct __test_metadata *const _metadata, pid_t pid)
{
	char path[64];
	bool failed;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fail-nth", pid, pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	failed = has_failed(_metadata, fd);
	close(fd);
	return failed;
}

/* Breaks if an operation goes on without having recalled, or leaves a mark. */
/* Rules: B4 */
TEST_F(nth, B4_break)
{
	struct nth_op o = { .op = { .fn = op_ftruncate } };
	int n, errors = 0;
	bool failed = true;
	struct ibv_mr *mr;

	strcpy(o.op.path, self->f.path);
	set_grace(GRACE_LONG);
	ASSERT_EQ(0, set_lease(self->f.fd));
	for (n = 1; failed && n < MOST_ALLOCATIONS; n++) {
		struct call c;

		ASSERT_EQ(0, ftruncate(self->f.fd, self->f.size));
		ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
		o.n = n;
		call_start(_metadata, &c, op_nth, &o);
		/* It fails before it has recalled anybody, or it waits. */
		ASSERT_TRUE(wait_for(call_done(&c) || breaking(self->f.fd)));
		if (call_done(&c)) {
			errors++;
			ASSERT_GT(0, c.res->ret);
			ASSERT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
			ASSERT_EQ(1, count_pins(getpid(), "active"));
			ASSERT_EQ(0, reg_error(&self->v, self->f.map, PAGE,
					       ACCESS_RW));
			ASSERT_EQ(0, ibv_dereg_mr(mr));
			call_wait(&c);
		} else {
			failed = stop_failing(_metadata, c.pid);
			ASSERT_EQ(0, ibv_dereg_mr(mr));
			ASSERT_EQ(0, call_wait(&c));
		}
		ASSERT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, errors);
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

LAYOUT_LEASE_TEST_MAIN
