// SPDX-License-Identifier: GPL-2.0
/*
 * Which operations break pins, and which do not (B1, B2), on each file system and
 * for each size of pages.  Operations on two files are in remap_test.
 */
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/xattr.h>

#include "verbs_util.h"

/*
 * A file of several units, each a DAX entry at least.  Of the second one, something
 * is pinned; if it is a PMD, only a page in its middle.
 */
#define UNIT		(variant->pages == PMD_PAGES ? PMD : 64 * KIB)
#define PIN_AT		(UNIT + (variant->pages == PMD_PAGES ? MIB : 0))
#define PIN_LEN		(variant->pages == PMD_PAGES ? PAGE : UNIT)

/* --- operations that break -------------------------------------------------------- */

FIXTURE(op)
{
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
};

/* From where and to where do blocks go? */
enum reach { RANGE, TO_EOF, WHOLE };

FIXTURE_VARIANT(op)
{
	enum fs fs;
	enum pages pages;
	op_fn op;
	enum reach reach;
};

ADD_FS_PAGES_VARIANTS(op, _truncate, op_truncate, TO_EOF);
ADD_FS_PAGES_VARIANTS(op, _ftruncate, op_ftruncate, TO_EOF);
ADD_FS_PAGES_VARIANTS(op, _open_trunc, op_open_trunc, WHOLE);
ADD_FS_PAGES_VARIANTS(op, _punch, op_punch, RANGE);
ADD_FS_PAGES_VARIANTS(op, _madv_remove, op_madv_remove, RANGE);
ADD_FS_PAGES_VARIANTS(op, _zero_range, op_zero, RANGE);
ADD_FS_PAGES_VARIANTS(op, _write_zeroes, op_write_zeroes, RANGE);
ADD_FS_PAGES_VARIANTS(op, _collapse, op_collapse, TO_EOF);
ADD_FS_PAGES_VARIANTS(op, _insert, op_insert, TO_EOF);
FIXTURE_VARIANT_ADD(op, ext4_base_swap_boot) { EXT4, BASE_PAGES, op_swap_boot, WHOLE };
FIXTURE_VARIANT_ADD(op, ext4_pmd_swap_boot) { EXT4, PMD_PAGES, op_swap_boot, WHOLE };

FIXTURE_SETUP(op)
{
	use_fs(_metadata, variant->fs);
	VERBS_SETUP(&self->v);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", 5 * UNIT, variant->pages);
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(op)
{
	environment_clean();
}

#define nobody_recalled()						\
do {									\
	EXPECT_EQ(-1, next_signal(NULL, 0));				\
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));	\
	EXPECT_EQ(1, count_pins(getpid(), "active"));			\
} while (0)

/* To be compared: all but the time of the last access. */
static struct stat stat_of(struct __test_metadata *const _metadata, int fd)
{
	struct stat st;

	ASSERT_EQ(0, fstat(fd, &st));
	st.st_atim = (struct timespec){ };
	return st;
}

/*
 * What a file system or a device cannot do without DAX pins, it goes on to
 * refuse, and recalls nobody for that.
 */
static bool is_refused(struct __test_metadata *const _metadata, op_fn op,
		       size_t unit)
{
	struct dax_file f;

	if (op != op_write_zeroes)
		return false;
	make_file(_metadata, &f, "refused", unit < PMD ? unit : 64 * KIB,
		  BASE_PAGES);
	return op(f.path, 0, PAGE) == -EOPNOTSUPP;
}

/*
 * Breaks if an operation reaches the block map without looking for pins, or if
 * its range is larger than what it takes: then pins elsewhere are recalled, or
 * short-term references elsewhere are waited for.
 */
/* Rules: B1 B2 B3 B6 B9 I2 */
TEST_F(op, B2_breaks_its_range_and_no_more)
{
	struct op again = { .fn = variant->op, .off = UNIT, .len = UNIT };
	struct stat before, after;
	siginfo_t info;
	int held;

	if (is_refused(_metadata, variant->op, UNIT)) {
		EXPECT_EQ(-EOPNOTSUPP, other_does(_metadata, variant->op,
						  &self->f, UNIT, UNIT));
		nobody_recalled();
		return;
	}

	/* Behind the pin, not next to it: XFS starts to shift a block before. */
	held = hold_pages(_metadata, self->f.map, PAGE);
	if (variant->reach != WHOLE) {
		EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f,
					3 * UNIT, UNIT));
		nobody_recalled();
	}
	close(held);
	/* And in front of it. */
	if (variant->reach == RANGE) {
		held = hold_pages(_metadata, self->f.map + 4 * UNIT, PAGE);
		EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f, 0,
					UNIT));
		nobody_recalled();
		close(held);
	}

	/* In it; or in front, if all that follows is moved. */
	before = stat_of(_metadata, self->f.fd);
	start_op(_metadata, &self->c, variant->op, &self->f,
		 variant->op == op_collapse || variant->op == op_insert ?
		 0 : UNIT, UNIT);
	ASSERT_EQ(LEASE_SIGNAL, next_signal(&info, LIMIT * 1000L));
	EXPECT_EQ(self->f.lease_fd, info.si_fd);
	EXPECT_EQ(POLL_MSG, info.si_code);
	EXPECT_TRUE(breaking(self->f.lease_fd));
	EXPECT_EQ(1, count_pins(getpid(), "recall"));
	EXPECT_FALSE(call_done(&self->c));
	after = stat_of(_metadata, self->f.fd);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	after = stat_of(_metadata, self->f.fd);
	EXPECT_NE(0, memcmp(&before, &after, sizeof(before)));

	/* Once more: without grace it fails, and has changed nothing. */
	ASSERT_EQ(0, ftruncate(self->f.fd, 5 * UNIT));
	ASSERT_EQ(0, fallocate(self->f.fd, 0, 0, 5 * UNIT));
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
	if (variant->op != op_swap_boot) {
		ASSERT_EQ(0, fchown(self->f.fd, 1000, 1000));
		ASSERT_EQ(0, fchmod(self->f.fd, 06777));
		again.uid = 1000;
	}
	ASSERT_EQ(0, fsync(self->f.fd));
	before = stat_of(_metadata, self->f.fd);
	strcpy(again.path, self->f.path);
	set_grace(0);
	EXPECT_EQ(-ETXTBSY, in_child(_metadata, run_op, &again));
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	after = stat_of(_metadata, self->f.fd);
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, in_child(_metadata, run_op, &again));
}

/* --- operations that do not ---------------------------------------------------------- */

FIXTURE(still)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
};

FIXTURE_VARIANT(still)
{
	enum fs fs;
	enum pages pages;
};

ADD_EACH_FS_PAGES(still);

FIXTURE_SETUP(still)
{
	use_fs(_metadata, variant->fs);
	VERBS_SETUP(&self->v);
	pair_begin(_metadata, &self->v, &self->p);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", 4 * UNIT, variant->pages);
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(still)
{
	environment_clean();
}

/* All with the file's name, where the pin is, and the unit. */
static int do_read(const char *path, off_t at, off_t len)
{
	char byte;
	int fd = open(path, O_RDONLY);

	(void)len;
	return pread(fd, &byte, 1, at) == 1 ? 0 : -errno;
}

static int do_overwrite(const char *path, off_t at, off_t len)
{
	(void)len;
	return write_pattern(open(path, O_WRONLY), at, PAGE, 9) ? -errno : 0;
}

static int do_overwrite_sync(const char *path, off_t at, off_t len)
{
	(void)len;
	return write_pattern(open(path, O_WRONLY | O_DSYNC), at, PAGE, 9) ?
	       -errno : 0;
}

static int do_direct_io(const char *path, off_t at, off_t len)
{
	int fd = open(path, O_RDWR | O_DIRECT);
	void *page;

	(void)len;
	if (fd < 0 || posix_memalign(&page, PAGE, PAGE))
		return -errno;
	if (pread(fd, page, PAGE, at) != (ssize_t)PAGE ||
	    pwrite(fd, page, PAGE, at) != (ssize_t)PAGE)
		return -errno;
	return 0;
}

static int do_store(const char *path, off_t at, off_t len)
{
	int fd = open(path, O_RDWR);
	char *p;

	p = mmap(NULL, at + len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	p[at]++;
	if (msync(p, at + len, MS_SYNC) || madvise(p, at + len, MADV_DONTNEED))
		return -errno;
	p[at]--;
	return munmap(p, at + len) ? -errno : 0;
}

static int do_append(const char *path, off_t at, off_t len)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	(void)at;
	(void)len;
	return write(fd, "x", 1) == 1 ? 0 : -errno;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : st.st_size;
}

static int do_truncate_up(const char *path, off_t at, off_t len)
{
	(void)at;
	return op_truncate(path, size_of(path) + len + 1, 0);
}

static int do_ftruncate_up(const char *path, off_t at, off_t len)
{
	(void)at;
	return op_ftruncate(path, size_of(path) + len + 1, 0);
}

static int do_truncate_same(const char *path, off_t at, off_t len)
{
	(void)at;
	(void)len;
	return op_truncate(path, size_of(path), 0);
}

static int do_ftruncate_same(const char *path, off_t at, off_t len)
{
	(void)at;
	(void)len;
	return op_ftruncate(path, size_of(path), 0);
}

static int do_allocate(const char *path, off_t at, off_t len)
{
	return fallocate(open(path, O_RDWR), 0, at, len) ? -errno : 0;
}

static int do_allocate_keep_size(const char *path, off_t at, off_t len)
{
	return fallocate(open(path, O_RDWR), FALLOC_FL_KEEP_SIZE, at,
			 size_of(path) + len) ? -errno : 0;
}

static int do_unshare(const char *path, off_t at, off_t len)
{
	int ret = fallocate(open(path, O_RDWR), FALLOC_FL_UNSHARE_RANGE, at, len);

	/* ext4 has none. */
	return ret && errno != EOPNOTSUPP ? -errno : 0;
}

static int do_sync(const char *path, off_t at, off_t len)
{
	int fd = open(path, O_RDWR);

	if (fsync(fd) || fdatasync(fd) || syncfs(fd) ||
	    sync_file_range(fd, at, len, SYNC_FILE_RANGE_WRITE))
		return -errno;
	return 0;
}

static int do_freeze(const char *path, off_t at, off_t len)
{
	int fd = open(path, O_RDONLY);

	(void)at;
	(void)len;
	if (ioctl(fd, FIFREEZE, 0) || ioctl(fd, FITHAW, 0))
		return -errno;
	return 0;
}

static int do_inode(const char *path, off_t at, off_t len)
{
	struct timeval times[2] = { };
	unsigned int flags;
	int fd = open(path, O_RDWR);

	(void)at;
	(void)len;
	if (chmod(path, 0640) || chown(path, 1, 1) || utimes(path, times) ||
	    setxattr(path, "user.a", "b", 1, 0) ||
	    removexattr(path, "user.a") ||
	    ioctl(fd, FS_IOC_GETFLAGS, &flags))
		return -errno;
	flags |= FS_NODUMP_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) ? -errno : 0;
}

static int do_names(const char *path, off_t at, off_t len)
{
	char second[300], third[300];

	(void)at;
	(void)len;
	snprintf(second, sizeof(second), "%s.2", path);
	snprintf(third, sizeof(third), "%s.3", path);
	if (link(path, second) || rename(second, third) || unlink(path) ||
	    rename(third, path))
		return -errno;
	return 0;
}

static int do_look(const char *path, off_t at, off_t len)
{
	int fd = open(path, O_RDONLY);

	if (lseek(fd, at, SEEK_HOLE) < 0 || lseek(fd, at, SEEK_DATA) < 0 ||
	    !block_of(fd, at, NULL))
		return -errno;
	return readahead(fd, at, len) && errno != EINVAL ? -errno : 0;
}

/* Copies from where the pin is, and back. */
static int do_copy(const char *path, off_t at, off_t len)
{
	loff_t off = at, start = 0;
	char second[300];
	int fd, other;

	snprintf(second, sizeof(second), "%s.copy", path);
	fd = open(path, O_RDWR);
	other = open(second, O_RDWR | O_CREAT, 0600);
	if (copy_file_range(fd, &off, other, NULL, len, 0) != len)
		return errno ? -errno : -EIO;
	fsync(other);
	if (extents_have(other, 0, len, FIEMAP_EXTENT_SHARED))
		return -EMLINK;
	off = at;
	if (copy_file_range(other, &start, fd, &off, len, 0) != len)
		return errno ? -errno : -EIO;
	fsync(fd);
	if (extents_have(fd, at, len, FIEMAP_EXTENT_SHARED))
		return -EMLINK;
	off = at;
	if (lseek(other, 0, SEEK_SET) || sendfile(other, fd, &off, len) != len)
		return errno ? -errno : -EIO;
	return unlink(second) ? -errno : 0;
}

/* Operations that break, but fail before they take anything. */
static int do_fail(const char *path, off_t at, off_t len)
{
	int ro = open(path, O_RDONLY), rw = open(path, O_RDWR), pipe_fd[2];

	if (!fallocate(ro, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
		       len) || errno != EBADF)
		return -1000;
	if (!fallocate(rw, FALLOC_FL_PUNCH_HOLE, at, len) ||
	    errno != EOPNOTSUPP)
		return -1001;
	if (!fallocate(rw, FALLOC_FL_COLLAPSE_RANGE, at + 1, len) ||
	    errno != EINVAL)
		return -1002;
	if (!fallocate(rw, FALLOC_FL_INSERT_RANGE, size_of(path) + 1, len) ||
	    errno != EINVAL)
		return -1003;
	if (!ftruncate(ro, at) || errno != EINVAL)
		return -1004;
	if (pipe(pipe_fd) || !ftruncate(pipe_fd[1], 0) || errno != EINVAL)
		return -1005;
	/* Not his. */
	if (chown(path, 0, 0) || chmod(path, 0644) || setresuid(1000, 1000, 1000))
		return -1006;
	if (!truncate(path, at) || errno != EACCES)
		return -1007;
	if (open(path, O_RDONLY | O_TRUNC) >= 0 || errno != EACCES)
		return -1008;
	return 0;
}

static int do_zero_behind_eof(const char *path, off_t at, off_t len)
{
	off_t size = size_of(path);

	(void)at;
	/* The last entry is not the pinned one. */
	return op_punch(path, size + len, len) ?: op_zero(path, size + len, len);
}

static const struct {
	const char *name;
	op_fn fn;
} harmless[] = {
	{ "read", do_read },
	{ "overwrite", do_overwrite },
	{ "overwrite with O_DSYNC", do_overwrite_sync },
	{ "O_DIRECT", do_direct_io },
	{ "store through a mapping", do_store },
	{ "append", do_append },
	{ "truncate up", do_truncate_up },
	{ "ftruncate up", do_ftruncate_up },
	{ "truncate to the same size", do_truncate_same },
	{ "ftruncate to the same size", do_ftruncate_same },
	{ "allocate", do_allocate },
	{ "allocate, keeping the size", do_allocate_keep_size },
	{ "unshare", do_unshare },
	{ "fsync", do_sync },
	{ "freeze", do_freeze },
	{ "chmod and more", do_inode },
	{ "rename, link, unlink", do_names },
	{ "fiemap and more", do_look },
	{ "copy_file_range", do_copy },
	{ "what is refused", do_fail },
	{ "behind the end", do_zero_behind_eof },
};

/*
 * Breaks if an operation that takes no block recalls anybody, waits, or moves
 * what is pinned.
 */
/* Rules: B1 B2 P4 */
TEST_F(still, B2_does_not_break)
{
	uint64_t block = block_of(self->f.fd, PIN_AT, NULL);
	unsigned int i;
	int ret;

	ASSERT_NE(0UL, block);
	for (i = 0; i < ARRAY_SIZE(harmless); i++) {
		ret = other_does(_metadata, harmless[i].fn, &self->f, PIN_AT,
				 PIN_LEN);
		EXPECT_EQ(0, ret) {
			TH_LOG("%s by another process", harmless[i].name);
		}
		EXPECT_EQ(-1, next_signal(NULL, 0)) {
			TH_LOG("%s recalls", harmless[i].name);
		}
		nobody_recalled();
		EXPECT_EQ(block, block_of(self->f.fd, PIN_AT, NULL)) {
			TH_LOG("%s moves the block", harmless[i].name);
		}
	}
	EXPECT_EQ(IBV_WC_SUCCESS,
		  remote_write(&self->v, &self->p, self->mr,
			       self->f.map + PIN_AT, PAGE, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, PIN_AT, PAGE, 1));
}

/* Own pins are not in the way either; nor is it when the last name goes. */
/* Rules: B2 B8 L6 */
TEST_F(still, B2_does_not_break_by_the_holder_himself)
{
	struct stat st;
	char path[300];

	EXPECT_EQ(0, do_overwrite(self->f.path, PIN_AT, PIN_LEN));
	EXPECT_EQ(0, do_direct_io(self->f.path, PIN_AT, PIN_LEN));
	EXPECT_EQ(0, do_append(self->f.path, PIN_AT, PIN_LEN));
	EXPECT_EQ(0, do_truncate_up(self->f.path, PIN_AT, PIN_LEN));
	EXPECT_EQ(0, do_ftruncate_same(self->f.path, PIN_AT, PIN_LEN));
	/* Down, but not as far as the pin. */
	EXPECT_EQ(0, op_truncate(self->f.path, 2 * UNIT, 0));
	EXPECT_EQ(0, do_allocate(self->f.path, 0, 2 * UNIT));
	EXPECT_EQ(0, do_unshare(self->f.path, 0, 2 * UNIT));
	EXPECT_EQ(0, do_inode(self->f.path, PIN_AT, PIN_LEN));
	EXPECT_EQ(0, fsync(self->f.fd));
	EXPECT_EQ(0, msync(self->f.map, self->f.size, MS_SYNC));
	EXPECT_EQ(0, madvise(self->f.map, self->f.size, MADV_DONTNEED));
	EXPECT_EQ(0, munmap(self->f.map, self->f.size));
	/* Another file takes its name. */
	snprintf(path, sizeof(path), "%s.2", self->f.path);
	ASSERT_LE(0, creat(path, 0600));
	EXPECT_EQ(0, rename(path, self->f.path));
	EXPECT_EQ(0, unlink(self->f.path));

	nobody_recalled();
	ASSERT_EQ(0, fstat(self->f.fd, &st));
	EXPECT_EQ((off_t)(2 * UNIT), st.st_size);
	EXPECT_EQ(0UL, st.st_nlink);
	EXPECT_EQ(IBV_WC_SUCCESS,
		  remote_write(&self->v, &self->p, self->mr,
			       self->f.map + PIN_AT, PAGE, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, PIN_AT, PAGE, 1));
}

/* --- short-term references ------------------------------------------------------------ */

/*
 * Those in the range are waited for as ever, and by who can be interrupted.
 * Breaks if the wait for leased pins has replaced the other one.
 */
/* Rules: I2 P9 */
TEST_F(still, I2_short_term_references_are_waited_for)
{
	char page[PAGE];
	struct call c;
	int held;

	held = hold_pages(_metadata, self->f.map + 3 * UNIT, PAGE);
	start_op(_metadata, &c, op_punch, &self->f, 3 * UNIT, UNIT);
	EXPECT_TRUE(stays_asleep(c.pid));
	EXPECT_TRUE(call_kill(&c));

	start_op(_metadata, &c, op_truncate, &self->f, 3 * UNIT, UNIT);
	EXPECT_TRUE(stays_asleep(c.pid));
	ASSERT_EQ((ssize_t)PAGE, read(held, page, PAGE));
	close(held);
	EXPECT_EQ(0, call_wait(&c));
	nobody_recalled();
}

LAYOUT_LEASE_TEST_MAIN
