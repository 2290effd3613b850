// SPDX-License-Identifier: GPL-2.0
/*
 * Pins belong to a range of a file: what a process does to its mappings and to
 * itself leaves them alone (P10).  And which uses of a file exclude pins.
 */
#include <linux/fsverity.h>
#include <sys/swap.h>

#include "verbs_util.h"

FIXTURE(mm)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
};

FIXTURE_VARIANT(mm)
{
	enum fs fs;
	enum pages pages;
};

ADD_FS_PAGES_VARIANTS(mm, );

FIXTURE_SETUP(mm)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, true);
}

FIXTURE_TEARDOWN_PARENT(mm)
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

#define pin_all(access)							\
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, access)

/* Breaks if zapping, aging or populating page tables touches pins. */
/* Rules: P10 */
TEST_F(mm, P10_madvise_leaves_it_alone)
{
	static const struct {
		int advice;
		int error;
	} a[] = {
		{ MADV_DONTNEED, 0 },
		{ MADV_DONTNEED_LOCKED, 0 },
		{ MADV_FREE, EINVAL },
		{ MADV_COLD, 0 },
		{ MADV_PAGEOUT, 0 },
		{ MADV_POPULATE_READ, 0 },
		{ MADV_POPULATE_WRITE, 0 },
		{ MADV_DONTFORK, 0 },
	};
	long before = vm_pin_kb();
	size_t i;

	pin_all(ACCESS_RW);
	for (i = 0; i < ARRAY_SIZE(a); i++) {
		errno = 0;
		EXPECT_EQ(a[i].error ? -1 : 0,
			  madvise(self->f.map, self->f.size, a[i].advice)) {
			TH_LOG("advice %d: %m", a[i].advice);
		}
		EXPECT_EQ(a[i].error, errno);
		still_works(i);
	}
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(before, vm_pin_kb());
}

/* The one that takes the blocks: those of the caller (B8). */
/* Rules: P10 B8 */
TEST_F(mm, B8_own_madv_remove_is_etxtbsy)
{
	pin_all(ACCESS_RW);
	EXPECT_EQ(-1, madvise(self->f.map + PAGE, PAGE, MADV_REMOVE));
	EXPECT_EQ(ETXTBSY, errno);
	EXPECT_EQ(-1, next_signal(NULL, 0));
	still_works(1);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, madvise(self->f.map + PAGE, PAGE, MADV_REMOVE));
}

/* Breaks if the pin is looked for where it was mapped when it was made. */
/* Rules: P10 */
TEST_F(mm, P10_mremap_leaves_it_alone)
{
	char *to = map_at(NULL, self->f.fd, self->f.size, PROT_NONE, 0);
	char *from = self->f.map;
	struct ibv_mr *again;

	ASSERT_NE(MAP_FAILED, (void *)to);
	pin_all(ACCESS_RW);
	ASSERT_EQ((void *)to, mremap(from, self->f.size, self->f.size,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	self->f.map = to;
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr,
					       from, PAGE, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 1));
	set_pattern(self->v.buf, PAGE, 1);
	EXPECT_EQ(0, memcmp(to, self->v.buf, PAGE));
	/* The new place can be pinned, too, and shrinking it takes nothing. */
	ASSERT_REG(again, &self->v, to, self->f.size, ACCESS_RW);
	ASSERT_EQ((void *)to, mremap(to, self->f.size, PAGE, 0));
	EXPECT_EQ(2, count_pins(getpid(), "active"));
	EXPECT_EQ(0, ibv_dereg_mr(again));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

static int nothing(const void *arg)
{
	(void)arg;
	return 0;
}

/* Breaks if a child that comes and goes, or writes, redirects the parent's pages. */
/* Rules: P10 */
TEST_F(mm, P10_fork_leaves_it_alone)
{
	pin_all(ACCESS_RW);
	EXPECT_EQ(0, in_child(_metadata, nothing, NULL));
	self->f.map[PAGE - 1] = 1;
	still_works(1);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/*
 * A process that pins and becomes another program, with its descriptors.
 * Returns in the child only on failure.
 */
static int pin_and_exec(const void *arg)
{
	const struct dax_file *f = arg;
	struct verbs v;
	struct ibv_mr *mr;
	char *p;
	int fd, err;

	close_range(3, ~0U, 0);
	unmap_queues();
	if (!verbs_find(&v))
		return -ENODEV;
	v.pd = ibv_alloc_pd(v.ctx);
	fd = open(f->path, O_RDWR);
	p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED || set_lease(fd))
		return -errno;
	mr = reg(&v, p, f->size, ACCESS_RW, &err);
	if (!mr)
		return err;
	/* The RDMA context is a descriptor like others. */
	for (fd = 3; fd < 64; fd++)
		fcntl(fd, F_SETFD, 0);
	execlp("sleep", "sleep", "1000", NULL);
	return -errno;
}

/* What the kernel calls a process is the program that it runs. */
static bool runs(pid_t pid, const char *name)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return read_text(path, text, sizeof(text), sizeof(text)) > 0 &&
	       !strncmp(text, name, strlen(name));
}

/*
 * Breaks if the pins end with the address space, or if they cannot be taken
 * without it.
 */
/* Rules: P10 */
TEST_F(mm, P10_exec_with_the_descriptors)
{
	struct call c, op;
	int status;

	call_start(_metadata, &c, pin_and_exec, &self->f);
	ASSERT_TRUE(wait_for(call_done(&c) || runs(c.pid, "sleep")));
	ASSERT_FALSE(call_done(&c)) {
		TH_LOG("%s", strerror(-c.res->ret));
	}
	EXPECT_EQ(1, count_pins(c.pid, "active"));
	set_grace(GRACE_SEEN);
	start_op(_metadata, &op, op_truncate, &self->f, 0, 0);
	EXPECT_TRUE(wait_for(count_pins(c.pid, "recall") == 1));
	EXPECT_FALSE(call_done(&op));
	EXPECT_EQ(0, call_wait(&op));
	EXPECT_EQ(1, count_pins(c.pid, "revoked"));
	kill(c.pid, SIGKILL);
	EXPECT_TRUE(reap(c.pid, &status));
}

static int swap_on(const char *path)
{
	if (swapon(path, 0))
		return -errno;
	swapoff(path);
	return 0;
}

/* Breaks if the kernel swaps to blocks that a device writes. */
/* Rules: P10 */
TEST_F(mm, P10_swapon_is_etxtbsy)
{
	int without;

	if (!have_program("mkswap"))
		SKIP(return, "no mkswap");
	ASSERT_EQ(0, run("mkswap %s >/dev/null 2>&1", self->f.path));
	/* As of 7.3, DAX files are no good for that anyway. */
	without = swap_on(self->f.path);
	EXPECT_NE(-ETXTBSY, without);
	pin_all(ACCESS_RO);
	EXPECT_EQ(without, swap_on(self->f.path));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	pin_all(ACCESS_RW);
	EXPECT_EQ(-ETXTBSY, swap_on(self->f.path));
	still_works(1);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(without, swap_on(self->f.path));
	pin_all(ACCESS_RW);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

static int enable_verity(const char *path)
{
	struct fsverity_enable_arg arg = {
		.version = 1,
		.hash_algorithm = FS_VERITY_HASH_ALG_SHA256,
		.block_size = PAGE,
	};
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	ret = ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) ? -errno : 0;
	close(fd);
	return ret;
}

/* Breaks if a file is sealed that a device writes. */
/* Rules: P10 */
TEST_F(mm, P10_verity_is_etxtbsy)
{
	int without = enable_verity(self->f.path);

	/* DAX rules it out on ext4, and XFS does not know it. */
	EXPECT_GT(0, without);
	pin_all(ACCESS_RO);
	EXPECT_EQ(without, enable_verity(self->f.path));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	pin_all(ACCESS_RW);
	EXPECT_EQ(without == -EINVAL ? -ETXTBSY : without,
		  enable_verity(self->f.path));
	still_works(1);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

LAYOUT_LEASE_TEST_MAIN
