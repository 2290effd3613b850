// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to the file system while something is pinned, and while somebody
 * waits for it: freeze, remount read-only (B9), umount (B12).
 */
#include "verbs_util.h"

FIXTURE(mount)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
	char dir[64];		/* a second mount of the file system */
};

FIXTURE_VARIANT(mount)
{
	enum fs fs;
	enum pages pages;
};

FIXTURE_VARIANT_ADD(mount, xfs_pmd) { XFS, PMD_PAGES };
FIXTURE_VARIANT_ADD(mount, ext4_base) { EXT4, BASE_PAGES };

FIXTURE_SETUP(mount)
{
	struct test_fs *t = &test_fs[variant->fs];

	VERBS_SETUP(&self->v);
	pair_begin(_metadata, &self->v, &self->p);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? PMD : 64 * KIB, variant->pages);
	strcpy(self->dir, "/tmp/layout_lease.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, mount_fs(t->dev, self->dir, t->type, "dax=always"));
}

/* What a test that fails may leave would hang all that follow. */
FIXTURE_TEARDOWN_PARENT(mount)
{
	struct test_fs *t = &test_fs[variant->fs];
	int fd = open(t->mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ioctl(fd, FITHAW, 0);
	close(fd);
	syscall(__NR_mount, NULL, t->mnt, NULL, MS_REMOUNT, NULL);
	if (self->dir[0])
		unmount_fs(self->dir);
	environment_clean();
}

#define pin_works(seed)							\
do {									\
	EXPECT_EQ(1, held_pins());					\
	EXPECT_EQ(IBV_WC_SUCCESS,					\
		  remote_write(&self->v, &self->p, self->mr, self->f.map, \
			       PAGE, seed));				\
} while (0)

static int umount_dir(const char *dir, int flags)
{
	return syscall(__NR_umount2, dir, flags) ? -errno : 0;
}

/* Have the file open, mapped and pinned by way of the second mount only. */
static void pin_on_second_mount(struct __test_metadata *const _metadata,
				struct verbs *v, struct dax_file *f,
				const char *dir, struct ibv_mr **mr)
{
	munmap(f->map, f->size);
	close(f->fd);
	snprintf(f->path, sizeof(f->path), "%s/f", dir);
	f->fd = open(f->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, f->fd);
	f->map = map_at(NULL, f->fd, f->size, PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(MAP_FAILED, (void *)f->map);
	take_lease(_metadata, f, false);
	ASSERT_REG(*mr, v, f->map, f->size, ACCESS_RW);
}

/* Breaks if pins are forgotten at umount, or if their end does not let it go. */
/* Rules: B12 */
TEST_F(mount, B12_umount_is_ebusy)
{
	struct pin_line pins[MAX_PINS];

	pin_on_second_mount(_metadata, &self->v, &self->f, self->dir,
			    &self->mr);
	EXPECT_EQ(-EBUSY, umount_dir(self->dir, 0));
	/* The report tells who is in the way, and where. */
	ASSERT_EQ(1, read_pins(getpid(), pins));
	EXPECT_STREQ(self->f.path, pins[0].path);
	EXPECT_STREQ("active", pins[0].state);
	EXPECT_EQ(-1, next_signal(NULL, 0));
	pin_works(1);
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 1));

	/* Neither descriptor nor mapping are left: the lease goes, then the pin. */
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	ASSERT_EQ(0, close(self->f.fd));
	EXPECT_TRUE(wait_for(!umount_dir(self->dir, 0)));
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/* Breaks if what is detached is taken, or can no longer be recalled. */
/* Rules: B12 B3 */
TEST_F(mount, B12_detached_pins_live_on)
{
	struct dax_file other = { };

	pin_on_second_mount(_metadata, &self->v, &self->f, self->dir,
			    &self->mr);
	EXPECT_EQ(0, umount_dir(self->dir, 2 /* MNT_DETACH */));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	pin_works(1);
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 1));

	/* It is the same file by way of the first mount. */
	snprintf(other.path, sizeof(other.path), "%s/f", mnt);
	start_op(_metadata, &self->c, op_truncate, &other, 0, 0);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
}

#define freeze(cmd)							\
do {									\
	int _dir = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);	\
									\
	ASSERT_LE(0, _dir);						\
	ASSERT_EQ(0, ioctl(_dir, cmd, 0));				\
	close(_dir);							\
} while (0)

/*
 * The file system is frozen while an operation waits.  Breaks if that waits with
 * protection against freezing, if a revoke needs what is frozen, or if freezing
 * stops devices.
 */
/* Rules: B9 B12 I2 */
TEST_F(mount, B9_freeze_while_somebody_waits)
{
	struct stat before, after;
	long begin;

	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	ASSERT_EQ(0, fstat(self->f.fd, &before));
	set_grace(2 * GRACE_SEEN);
	begin = now_ms();
	start_op(_metadata, &self->c, op_punch, &self->f, 0, PAGE);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	freeze(FIFREEZE);
	EXPECT_GT(2 * GRACE_SEEN * 1000, now_ms() - begin) {
		TH_LOG("the freeze waited for the pin");
	}
	EXPECT_FALSE(call_done(&self->c));
	pin_works(1);
	/* The deadline comes, whatever is frozen. */
	EXPECT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_BOUNDED(now_ms() - begin, 2 * GRACE_SEEN * 1000 + SLACK_MS);
	/* But nothing changes before the thaw. */
	EXPECT_FALSE(call_done(&self->c));
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(before.st_blocks, after.st_blocks);
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 1));
	freeze(FITHAW);
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_LE(0, file_differs(self->f.fd, 0, PAGE, 1));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/* Nobody waits: a pin alone is no reason not to freeze, nor to recall it. */
/* Rules: B12 B2 */
TEST_F(mount, B12_freeze_does_not_wait_for_pins)
{
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	freeze(FIFREEZE);
	EXPECT_EQ(-1, next_signal(NULL, 0));
	pin_works(1);
	/* An answer does not need the file system either. */
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	freeze(FITHAW);
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 1));
}

static int remount(const char *dir, unsigned long flags)
{
	return syscall(__NR_mount, NULL, dir, NULL, MS_REMOUNT | flags, NULL) ?
	       -errno : 0;
}

/*
 * Who truncates by name has nothing open.  Breaks if he waits with write access
 * to the mount, so that it cannot become read-only, or does not look again.
 */
/* Rules: B9 L1 P1 */
TEST_F(mount, B9_remount_read_only_while_somebody_waits)
{
	struct stat before, after;

	/* The holder reads only: an open for writing would be in the way. */
	munmap(self->f.map, self->f.size);
	close(self->f.fd);
	self->f.fd = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->f.fd);
	self->f.map = map_at(NULL, self->f.fd, self->f.size, PROT_READ, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->f.map);
	ASSERT_EQ(0, set_lease(self->f.fd));
	want_signal(_metadata, self->f.fd);
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RO);
	ASSERT_EQ(0, fstat(self->f.fd, &before));

	start_op(_metadata, &self->c, op_truncate, &self->f, 0, 0);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, remount(mnt, MS_RDONLY));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(-EROFS, call_wait(&self->c));
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	/* Pins for reading are still possible, and recall nobody's patience. */
	EXPECT_EQ(0, reg_error(&self->v, self->f.map, self->f.size, ACCESS_RO));
	EXPECT_EQ(-EROFS, other_does(_metadata, op_truncate, &self->f, 0, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(0, remount(mnt, 0));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
}

/* With something open for writing it is refused as ever, and at once. */
/* Rules: B9 B12 */
TEST_F(mount, B9_remount_read_only_with_writable_pins_is_ebusy)
{
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	EXPECT_EQ(-EBUSY, remount(mnt, MS_RDONLY));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	pin_works(1);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

LAYOUT_LEASE_TEST_MAIN
