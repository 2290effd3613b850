// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is known to be broken cannot be pinned (P10), and what is pinned when
 * it breaks is revoked (B11).
 *
 * Poison stays until the device is bound anew, which is done after each test: the
 * next one may get the same blocks.
 */
/* XFS looks for the files itself if it can; ext4 leaves that to the kernel. */
#define MKFS_OPTIONS	"-m rmapbt=1"
#include "verbs_util.h"

FIXTURE(poison)
{
	struct verbs v;
	struct dax_file f;
	size_t bad;
};

FIXTURE_VARIANT(poison)
{
	enum fs fs;
	enum pages pages;
};

ADD_FS_PAGES_VARIANTS(poison, );

FIXTURE_SETUP(poison)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, false);
	self->bad = 16 * PAGE;
}

/* Unbind the device and bind it again: new page structures, no bad blocks. */
static void renew_device(enum fs fs)
{
	const struct test_fs *t = &test_fs[fs];
	char name[64];

	find_namespace(fs, name, sizeof(name));
	if (!is_mounted(fs) || !name[0])
		return;
	/* Not before the last revoke has let go. */
	if (!wait_for(!syscall(__NR_umount2, t->mnt, 0)) ||
	    write_text(ND_PMEM "unbind", name) || bind_namespace(fs, name))
		ksft_print_msg("%s is left with poison\n", t->dev);
	/* With one device that is done when its turn has come. */
	if (!one_device() && !is_mounted(fs) && make_fs(fs))
		ksft_print_msg("no %s\n", t->type);
}

FIXTURE_TEARDOWN_PARENT(poison)
{
	renew_device(variant->fs);
	environment_clean();
}

static int poison_page(const void *arg)
{
	const struct dax_file *f = arg;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	char *p = map_at(NULL, fd, f->size, PROT_READ | PROT_WRITE, 0);

	if (p == MAP_FAILED)
		return -errno;
	p[16 * PAGE] = 1;
	/* Who has it mapped gets a SIGBUS. */
	signal(SIGBUS, SIG_IGN);
	return madvise(p + 16 * PAGE, PAGE, MADV_HWPOISON) ? -errno : 0;
}

#define NEED_POISON()							\
do {									\
	char _info[8192];						\
									\
	ASSERT_LT(0, read_text("/proc/meminfo", _info, sizeof(_info),	\
			       sizeof(_info)));				\
	/* Without CONFIG_MEMORY_FAILURE. */				\
	if (!strstr(_info, "\nHardwareCorrupted:"))			\
		SKIP(return, "no memory failure");			\
} while (0)

/* Another process finds the bad page; it may die of that. */
static void poison(struct __test_metadata *const _metadata,
		     const struct dax_file *f)
{
	struct call c;
	int status;

	call_start(_metadata, &c, poison_page, f);
	ASSERT_TRUE(reap(c.pid, &status));
	if (WIFSIGNALED(status)) {
		EXPECT_EQ(SIGBUS, WTERMSIG(status));
		return;
	}
	ASSERT_TRUE(call_done(&c));
	ASSERT_EQ(0, c.res->ret);
}

#define EXPECT_POISON()							\
do {									\
	size_t _bad = self->bad;					\
									\
	EXPECT_EQ(-EHWPOISON, reg_error(&self->v, self->f.map + _bad, PAGE, \
					ACCESS_RW));			\
	EXPECT_EQ(-EHWPOISON, reg_error(&self->v, self->f.map + _bad, PAGE, \
					ACCESS_RO));			\
	EXPECT_EQ(-EHWPOISON, reg_error(&self->v, self->f.map,		\
					self->f.size, ACCESS_RW));	\
	EXPECT_EQ(0, count_pins(getpid(), NULL));			\
} while (0)

/* The page that failed, mapped again or not. */
/* Rules: P10 */
TEST_F(poison, P10_poisoned_page)
{
	long before = vm_pin_kb();
	struct ibv_mr *mr;

	NEED_POISON();
	/* Not mapped here: nobody is killed. */
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	poison(_metadata, &self->f);
	self->f.map = map_at(NULL, self->f.fd, self->f.size,
			     PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->f.map);

	EXPECT_POISON();
	/* Through a page table entry that is there. */
	self->f.map[self->bad + 1] = 1;
	EXPECT_POISON();
	EXPECT_EQ(before, vm_pin_kb());

	/* The others are as good as ever, but for those of the same PMD. */
	ASSERT_REG(mr, &self->v, self->f.map + self->f.size / 2,
		   self->f.size / 2, ACCESS_RW);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	if (variant->pages == BASE_PAGES)
		EXPECT_EQ(0, reg_error(&self->v, self->f.map, self->bad,
				       ACCESS_RW));
}

/* A block that the driver knows as bad: no fault succeeds. */
/* Rules: P10 */
TEST_F(poison, P10_bad_block)
{
	char path[512], text[64];
	const char *dev = strrchr(test_fs[variant->fs].dev, '/') + 1;
	uint64_t at = block_of(self->f.fd, self->bad, NULL);

	ASSERT_LT(0U, at);
	snprintf(path, sizeof(path), "/sys/block/%s/badblocks", dev);
	snprintf(text, sizeof(text), "%llu 8", (unsigned long long)at / 512);
	if (access(path, F_OK))
		SKIP(return, "no badblocks");
	ASSERT_EQ(0, write_text(path, text));
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	self->f.map = map_at(NULL, self->f.fd, self->f.size,
			     PROT_READ | PROT_WRITE, 0);
	/* Gone with the file system, if it was in the page table. */
	ASSERT_EQ(0, madvise(self->f.map, self->f.size, MADV_DONTNEED));
	EXPECT_POISON();
}

/* Breaks if a device goes on using broken memory, or if more than that is taken. */
/* Rules: B11 V2 */
TEST_F(poison, B11_regions_over_the_page_are_revoked)
{
	struct ibv_mr *bad, *all, *next, *rest;
	struct pair p, q;
	char *map = self->f.map;
	size_t half = self->f.size / 2;

	NEED_POISON();
	set_grace(GRACE_LONG);
	ASSERT_REG(bad, &self->v, map + self->bad, PAGE, ACCESS_RO);
	ASSERT_REG(all, &self->v, map, self->f.size, ACCESS_RW);
	/* In the same PMD, if there are any. */
	ASSERT_REG(next, &self->v, map + self->bad + PAGE, PAGE, ACCESS_RW);
	ASSERT_REG(rest, &self->v, map + half, half, ACCESS_RW);
	pair_begin(_metadata, &self->v, &p);
	pair_begin(_metadata, &self->v, &q);
	/* Not mapped here: nobody is killed. */
	ASSERT_EQ(0, munmap(map, self->f.size));
	poison(_metadata, &self->f);

	EXPECT_TRUE(wait_for(count_pins(getpid(), "revoked") == 2));
	EXPECT_EQ(2, count_pins(getpid(), "active"));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ((int)IBV_WC_SUCCESS,
		  remote_write(&self->v, &p, next, map + self->bad + PAGE, PAGE,
			       1));
	EXPECT_EQ((int)IBV_WC_SUCCESS,
		  remote_write(&self->v, &p, rest, map + half, PAGE, 1));
	EXPECT_EQ((int)IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &p, all, map, PAGE, 2));
	EXPECT_EQ((int)IBV_WC_REM_ACCESS_ERR,
		  remote_read(&self->v, &q, bad, map + self->bad, PAGE));
	EXPECT_EQ(0, ibv_dereg_mr(bad));
	EXPECT_EQ(0, ibv_dereg_mr(all));
	EXPECT_EQ(0, ibv_dereg_mr(next));
	EXPECT_EQ(0, ibv_dereg_mr(rest));
}

/* What cannot be revoked is recalled. */
/* Rules: B3 B11 */
TEST_F(poison, B11_buffer_is_recalled)
{
	struct io_uring_params params = { };
	struct iovec iov = { self->f.map, self->f.size };
	int ring;

	NEED_POISON();
	NEED_URING();
	ring = syscall(__NR_io_uring_setup, 1, &params);
	ASSERT_LE(0, ring);
	set_grace(GRACE_LONG);
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_REGISTER_BUFFERS, &iov, 1));
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	poison(_metadata, &self->f);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000));
	EXPECT_EQ(1, count_pins(getpid(), "recall"));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	ASSERT_EQ(0, close(ring));
	EXPECT_TRUE(wait_for(count_pins(getpid(), NULL) == 0));
}

/* ext4 shares no blocks. */
FIXTURE(shared)
{
	struct verbs v;
	struct dax_file f;
};

FIXTURE_VARIANT(shared)
{
	enum pages pages;
};

FIXTURE_VARIANT_ADD(shared, xfs_base) { BASE_PAGES };
FIXTURE_VARIANT_ADD(shared, xfs_pmd) { PMD_PAGES };

FIXTURE_SETUP(shared)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, XFS);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, false);
}

FIXTURE_TEARDOWN_PARENT(shared)
{
	renew_device(XFS);
	environment_clean();
}

/*
 * The block was shared, and another file had it mapped, too, which is gone. Breaks
 * if pins are looked for by what the page once was.
 */
/* Rules: B11 P4 */
TEST_F(shared, B11_page_that_was_shared)
{
	struct dax_file *f = &self->f;
	char path[300], *other;
	struct ibv_mr *mr;
	int fd;

	NEED_POISON();
	set_grace(GRACE_LONG);
	snprintf(path, sizeof(path), "%s/g", mnt);
	ASSERT_EQ(0, clone_range(f->path, 0, f->size, path, 0));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	other = map_at(NULL, fd, f->size, PROT_READ, 0);
	ASSERT_NE(MAP_FAILED, (void *)other);
	EXPECT_EQ(f->map[16 * PAGE], other[16 * PAGE]);
	ASSERT_EQ(0, munmap(other, f->size));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, unlink(path));
	ASSERT_TRUE(wait_for(!extents_have(f->fd, 0, f->size,
					   FIEMAP_EXTENT_SHARED)));

	ASSERT_REG(mr, &self->v, f->map, f->size, ACCESS_RW);
	ASSERT_EQ(0, munmap(f->map, f->size));
	poison(_metadata, f);
	EXPECT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

LAYOUT_LEASE_TEST_MAIN
