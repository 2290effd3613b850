// SPDX-License-Identifier: GPL-2.0
/*
 * Operations on two files, or two ranges of one: clone, exchange range, commit
 * range, swap extents, and those that recall nobody, dedupe and copy_file_range
 * (B1, B2, B8, B9); and online repair, which remaps the blocks of one file.
 */
#include <stddef.h>

/* Exchange range works with the reverse map, repair needs it. */
#define MKFS_OPTIONS	"-m rmapbt=1"

#include "verbs_util.h"

/* From <xfs/xfs_fs.h>, which is not everywhere, or old. */
struct exchange_range {
	__s32 file1_fd;
	__u32 pad;
	__u64 file1_offset, file2_offset, length, flags;
};

struct commit_range {
	struct exchange_range range;
	__u64 file2_freshness[6];
};

#define IOC_EXCHANGE_RANGE	_IOW('X', 129, struct exchange_range)
#define IOC_START_COMMIT	_IOR('X', 130, struct commit_range)
#define IOC_COMMIT_RANGE	_IOW('X', 131, struct commit_range)
#define EXCHANGE_TO_EOF		(1ULL << 0)
#define EXCHANGE_DRY_RUN	(1ULL << 2)

struct bstime {
	long tv_sec;
	__s32 tv_nsec;
};

struct bstat {
	__u64 ino;
	__u16 mode, nlink;
	__u32 uid, gid, rdev;
	__s32 blksize;
	__s64 size;
	struct bstime atime, mtime, ctime;
	__s64 blocks;
	__u32 xflags;
	__s32 extsize, extents;
	__u32 gen;
	__u16 projid_lo, forkoff, projid_hi, sick, checked;
	unsigned char pad[2];
	__u32 cowextsize, dmevmask;
	__u16 dmstate, aextents;
};

struct swapext {
	__s64 version, fdtarget, fdtmp, offset, length;
	char pad[16];
	struct bstat stat;
};

#define IOC_SWAPEXT		_IOWR('X', 109, struct swapext)

struct scrub_metadata {
	__u32 type, flags;
	__u64 ino;
	__u32 gen, agno;
	__u64 reserved[5];
};

#define IOC_SCRUB_METADATA	_IOWR('X', 60, struct scrub_metadata)
#define SCRUB_BMBTD		12
#define SCRUB_REPAIR		(1U << 0)
#define SCRUB_NO_REPAIR_NEEDED	(1U << 7)
#define SCRUB_FORCE_REBUILD	(1U << 8)

/* --- operations ------------------------------------------------------------------- */

/* A is the source of a clone; else the two are equal. */
struct two {
	int (*fn)(const struct two *t);
	char a[256], b[256];
	off_t a_off, b_off, len;
	uid_t uid;
	int a_mode;			/* how A is opened, if not for writing too */
};

static int run_two(const void *arg)
{
	const struct two *t = arg;

	/* Descriptors that were inherited are none of this process's business. */
	close_range(3, ~0U, 0);
	if (t->uid && setresuid(t->uid, t->uid, t->uid))
		return -errno;
	return t->fn(t);
}

static int open_two(const struct two *t, int *a, int *b)
{
	*a = open(t->a, (t->a_mode ? t->a_mode - 1 : O_RDWR) | O_CLOEXEC);
	*b = open(t->b, O_RDWR | O_CLOEXEC);
	return *a < 0 || *b < 0 ? -errno : 0;
}

static int two_clone(const struct two *t)
{
	struct file_clone_range arg = {
		.src_offset = t->a_off,
		.src_length = t->len,
		.dest_offset = t->b_off,
	};
	int a, b, ret = open_two(t, &a, &b);

	arg.src_fd = a;
	if (!ret)
		ret = ioctl(b, FICLONERANGE, &arg) ? -errno : 0;
	close(a);
	close(b);
	return ret;
}

static int exchange(const struct two *t, __u64 flags)
{
	struct exchange_range arg = {
		.file1_offset = t->a_off,
		.file2_offset = t->b_off,
		.length = t->len,
		.flags = flags,
	};
	int a, b, ret = open_two(t, &a, &b);

	arg.file1_fd = a;
	if (!ret)
		ret = ioctl(b, IOC_EXCHANGE_RANGE, &arg) ? -errno : 0;
	close(a);
	close(b);
	return ret;
}

static int two_exchange(const struct two *t)
{
	return exchange(t, 0);
}

static int two_exchange_to_eof(const struct two *t)
{
	return exchange(t, EXCHANGE_TO_EOF);
}

static int two_dry_run(const struct two *t)
{
	return exchange(t, EXCHANGE_DRY_RUN);
}

static int commit(const struct two *t, bool stale)
{
	struct commit_range arg = { };
	int a, b, ret = open_two(t, &a, &b);

	if (!ret)
		ret = ioctl(b, IOC_START_COMMIT, &arg) ? -errno : 0;
	if (!ret && stale)
		ret = fchmod(b, 0640) ? -errno : 0;
	arg.range = (struct exchange_range) {
		.file1_fd = a,
		.file1_offset = t->a_off,
		.file2_offset = t->b_off,
		.length = t->len,
	};
	if (!ret)
		ret = ioctl(b, IOC_COMMIT_RANGE, &arg) ? -errno : 0;
	close(a);
	close(b);
	return ret;
}

static int two_commit(const struct two *t)
{
	return commit(t, false);
}

static int two_stale_commit(const struct two *t)
{
	return commit(t, true);
}

static int swap_extents(const struct two *t, bool stale)
{
	struct swapext arg = { };
	struct stat st;
	int a, b, ret = open_two(t, &a, &b);

	if (!ret)
		ret = fstat(b, &st) ? -errno : 0;
	arg.fdtarget = b;
	arg.fdtmp = a;
	arg.length = st.st_size;
	arg.stat.mtime.tv_sec = st.st_mtim.tv_sec;
	arg.stat.mtime.tv_nsec = st.st_mtim.tv_nsec;
	arg.stat.ctime.tv_sec = st.st_ctim.tv_sec + stale;
	arg.stat.ctime.tv_nsec = st.st_ctim.tv_nsec;
	if (!ret)
		ret = ioctl(b, IOC_SWAPEXT, &arg) ? -errno : 0;
	close(a);
	close(b);
	return ret;
}

static int two_swap(const struct two *t)
{
	return swap_extents(t, false);
}

static int two_stale_swap(const struct two *t)
{
	return swap_extents(t, true);
}

static int two_dedupe(const struct two *t)
{
	union {
		struct file_dedupe_range range;
		char room[sizeof(struct file_dedupe_range) +
			  sizeof(struct file_dedupe_range_info)];
	} d = {
		.range = {
			.src_offset = t->a_off,
			.src_length = t->len,
			.dest_count = 1,
		},
	};
	int a, b, ret = open_two(t, &a, &b);

	d.range.info[0].dest_fd = b;
	d.range.info[0].dest_offset = t->b_off;
	if (!ret)
		ret = ioctl(a, FIDEDUPERANGE, &d) ? -errno :
		      d.range.info[0].status;
	close(a);
	close(b);
	return ret;
}

static int two_copy(const struct two *t)
{
	loff_t from = t->a_off, to = t->b_off;
	int a, b, ret = open_two(t, &a, &b);

	if (!ret && copy_file_range(a, &from, b, &to, t->len, 0) != t->len)
		ret = errno ? -errno : -EIO;
	close(a);
	close(b);
	return ret;
}

/* --- two files -------------------------------------------------------------------- */

/* Files of several units, each a DAX entry at least. */
#define UNIT		(variant->pages == PMD_PAGES ? PMD : 64 * KIB)
#define SIZE		(5 * UNIT)
/* What is pinned and what is operated on, in either file. */
#define A_AT		UNIT
#define B_AT		(2 * UNIT)
#define PIN_LEN		(variant->pages == PMD_PAGES ? PAGE : UNIT)
/* Elsewhere in both: an entry away, as XFS rounds out to nothing larger. */
#define ELSEWHERE	(4 * UNIT)

#define SEED_A		1
#define SEED_B		2

FIXTURE(two)
{
	struct verbs v;
	struct pair p;
	struct dax_file a, b;
	struct ibv_mr *mr;
	struct two op;
	struct call c;
};

FIXTURE_VARIANT(two)
{
	enum pages pages;
	int (*fn)(const struct two *t);
	bool whole;		/* takes the files as a whole */
	bool moves_a;		/* and A gets the blocks of B */
};

#define ADD_TWO_VARIANTS(name, ...)					\
	FIXTURE_VARIANT_ADD(two, base_##name) { BASE_PAGES, __VA_ARGS__ }; \
	FIXTURE_VARIANT_ADD(two, pmd_##name) { PMD_PAGES, __VA_ARGS__ }

ADD_TWO_VARIANTS(clone, two_clone, false, false);
ADD_TWO_VARIANTS(exchange, two_exchange, false, true);
ADD_TWO_VARIANTS(commit, two_commit, false, true);
ADD_TWO_VARIANTS(swap, two_swap, true, true);

/* Two files, each with a lease, nothing pinned yet. */
#define TWO_SETUP()							\
do {									\
	VERBS_SETUP(&self->v);						\
	use_fs(_metadata, XFS);						\
	pair_begin(_metadata, &self->v, &self->p);			\
	set_grace(GRACE_LONG);						\
	make_file(_metadata, &self->a, "a", SIZE, variant->pages);	\
	make_file(_metadata, &self->b, "b", SIZE, variant->pages);	\
	set_pattern(self->a.map, SIZE, SEED_A);				\
	set_pattern(self->b.map, SIZE, SEED_B);				\
	take_lease(_metadata, &self->a, false);				\
	take_lease(_metadata, &self->b, false);				\
	self->op = (struct two) {					\
		.a_off = A_AT,						\
		.b_off = B_AT,						\
		.len = UNIT,						\
	};								\
	strcpy(self->op.a, self->a.path);				\
	strcpy(self->op.b, self->b.path);				\
} while (0)

/* XFS can be made without it. */
#define NEED_EXCHANGE(a, b)						\
do {									\
	struct exchange_range _probe = {				\
		.file1_fd = (a)->fd,					\
		.flags = EXCHANGE_DRY_RUN,				\
	};								\
									\
	if (ioctl((b)->fd, IOC_EXCHANGE_RANGE, &_probe)) {		\
		ASSERT_EQ(EOPNOTSUPP, errno);				\
		SKIP(return, "no exchange range");			\
	}								\
} while (0)

FIXTURE_SETUP(two)
{
	TWO_SETUP();
	self->op.fn = variant->fn;
	if (variant->fn == two_exchange || variant->fn == two_commit)
		NEED_EXCHANGE(&self->a, &self->b);
}

FIXTURE_TEARDOWN_PARENT(two)
{
	environment_clean();
}

#define start_two()	call_start(_metadata, &self->c, run_two, &self->op)
#define do_two()	in_child(_metadata, run_two, &self->op)
/*
 * What a commit or a swap found changed meanwhile, it leaves alone: the end of a
 * writable pin is such a change.  Then the next one succeeds.
 */
#define wait_two()							\
({									\
	int _ret = call_wait(&self->c);					\
									\
	if (_ret == -EBUSY && (self->op.fn == two_commit ||		\
			       self->op.fn == two_swap))		\
		_ret = do_two();					\
	_ret;								\
})
#define leases_quiet()							\
do {									\
	EXPECT_EQ(-1, next_signal(NULL, 0));				\
	EXPECT_EQ(F_LAYOUT, fcntl(self->a.lease_fd, F_GETLEASE));	\
	EXPECT_EQ(F_LAYOUT, fcntl(self->b.lease_fd, F_GETLEASE));	\
} while (0)
/* Which file's data is in a unit of either?  The pattern runs on from 0. */
#define has_data(file, seed, from, to)					\
({									\
	char *_all = malloc(SIZE), *_have = malloc(UNIT);		\
	bool _same;							\
									\
	set_pattern(_all, SIZE, seed);					\
	_same = pread((file)->fd, _have, UNIT, to) == (ssize_t)UNIT &&	\
		!memcmp(_have, _all + (from), UNIT) &&			\
		!memcmp((file)->map + (to), _all + (from), UNIT);	\
	free(_all);							\
	free(_have);							\
	_same;								\
})
#define expect_undone()							\
do {									\
	EXPECT_TRUE(has_data(&self->a, SEED_A, A_AT, A_AT));		\
	EXPECT_TRUE(has_data(&self->b, SEED_B, B_AT, B_AT));		\
} while (0)
#define expect_done()							\
do {									\
	off_t _at = variant->whole ? A_AT : B_AT;			\
									\
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, _at));		\
	EXPECT_TRUE(variant->moves_a ?					\
		    has_data(&self->a, SEED_B, _at, A_AT) :		\
		    has_data(&self->a, SEED_A, A_AT, A_AT));		\
} while (0)

/*
 * One file is pinned, the other is not.  Breaks if only one of them is looked at,
 * if the operation does not wait, or if it goes on before the device has stopped.
 */
static void one_pinned(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(two) *self,
		       const FIXTURE_VARIANT(two) *variant,
		       struct dax_file *f, off_t at)
{
	siginfo_t info;

	ASSERT_REG(self->mr, &self->v, f->map + at, PIN_LEN, ACCESS_RW);
	start_two();
	ASSERT_EQ(LEASE_SIGNAL, next_signal(&info, LIMIT * 1000L));
	EXPECT_EQ(f->lease_fd, info.si_fd);
	EXPECT_TRUE(breaking(f->lease_fd));
	EXPECT_EQ(F_LAYOUT, fcntl(f == &self->a ? self->b.lease_fd :
				  self->a.lease_fd, F_GETLEASE));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_read(&self->v, &self->p, self->mr,
					      f->map + at, PAGE));
	/* New pins are kept away from what is being broken only. */
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, f->map + at, PAGE, ACCESS_RW));
	EXPECT_EQ(variant->whole ? -EAGAIN : 0,
		  reg_error(&self->v, f->map + ELSEWHERE, PAGE, ACCESS_RW));
	expect_undone();
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, wait_two());
	expect_done();
	leases_quiet();

	/* Unanswered, it is taken; and both may be pinned once it is over. */
	ASSERT_REG(self->mr, &self->v, f->map + at, PIN_LEN, ACCESS_RW);
	EXPECT_EQ(0, reg_error(&self->v, self->a.map + A_AT, UNIT, ACCESS_RW));
	EXPECT_EQ(0, reg_error(&self->v, self->b.map + B_AT, UNIT, ACCESS_RW));
	set_grace(1);
	start_two();
	EXPECT_EQ(0, wait_two());
	EXPECT_LE(1000 - EARLY_MS, call_ms(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, self->mr, f->map + at, PAGE,
			       99));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/* Rules: I1 I2 B2 B3 P8 */
TEST_F(two, B2_first_file_pinned)
{
	one_pinned(_metadata, self, variant, &self->a, A_AT);
}

/* Rules: I1 I2 B2 B3 P8 */
TEST_F(two, B2_second_file_pinned)
{
	one_pinned(_metadata, self, variant, &self->b, B_AT);
}

/* A pin that only reads is in the way as well: it would read other data. */
/* Rules: I1 B2 */
TEST_F(two, B2_read_only_pins)
{
	struct ibv_mr *other;

	ASSERT_REG(self->mr, &self->v, self->a.map + A_AT, PIN_LEN, ACCESS_RO);
	ASSERT_REG(other, &self->v, self->b.map + B_AT, PIN_LEN, ACCESS_RO);
	set_grace(1);
	start_two();
	EXPECT_EQ(0, wait_two());
	EXPECT_EQ(2, count_pins(getpid(), "revoked"));
	expect_done();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, ibv_dereg_mr(other));
}

/*
 * Both pinned, by different holders, and nobody answers.  Breaks if the second
 * file's pins are recalled when the first ones have gone.
 */
/* Rules: I2 B4 B9 */
TEST_F(two, B9_two_files_one_deadline)
{
	struct holder h;

	ASSERT_REG(self->mr, &self->v, self->a.map + A_AT, PIN_LEN, ACCESS_RW);
	holder_begin(_metadata, &h, self->b.path, B_AT, PIN_LEN);
	set_grace(2);
	start_two();
	EXPECT_EQ(0, wait_two());
	EXPECT_LE(2000 - EARLY_MS, call_ms(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 2000 + SLACK_MS);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(1, holder_ask(&h, 's'));
	EXPECT_EQ(1, count_pins(h.pid, "revoked"));
	EXPECT_EQ(0, holder_ask(&h, 'd'));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	expect_done();
}

/*
 * Breaks if a process waits for itself, or if others are recalled for an operation
 * that cannot succeed, in whichever order the files come.
 */
/* Rules: B8 */
TEST_F(two, B8_own_pin_recalls_nobody)
{
	struct dax_file *own[] = { &self->a, &self->b };
	off_t at[] = { A_AT, B_AT };
	struct two back = self->op;
	struct holder h;
	int i;

	strcpy(back.a, self->op.b);
	strcpy(back.b, self->op.a);
	back.a_off = self->op.b_off;
	back.b_off = self->op.a_off;
	for (i = 0; i < 2; i++) {
		ASSERT_REG(self->mr, &self->v, own[i]->map + at[i], PIN_LEN,
			   ACCESS_RW);
		holder_begin(_metadata, &h, own[!i]->path, at[!i], PIN_LEN);
		EXPECT_EQ(-ETXTBSY, self->op.fn(&self->op));
		EXPECT_EQ(-ETXTBSY, back.fn(&back));
		leases_quiet();
		EXPECT_EQ(0, holder_ask(&h, 's'));
		EXPECT_EQ(F_LAYOUT, holder_ask(&h, 'l'));
		EXPECT_EQ(1, count_pins(h.pid, "active"));
		EXPECT_EQ(1, count_pins(getpid(), "active"));
		/* No mark is left behind. */
		EXPECT_EQ(0, reg_error(&self->v, own[i]->map + at[i], PAGE,
				       ACCESS_RW));
		EXPECT_EQ(0, holder_ask(&h, 'd'));
		EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	}
	expect_undone();
}

/*
 * Breaks if the range of the operation is the whole of either file: then pins are
 * recalled, or short-term references waited for, that are not in its way.
 */
/* Rules: B1 I2 */
TEST_F(two, B1_elsewhere_is_left_alone)
{
	struct ibv_mr *other;
	int held[2];

	ASSERT_REG(self->mr, &self->v, self->a.map + ELSEWHERE, PIN_LEN,
		   ACCESS_RW);
	if (variant->whole) {
		/* Then nothing is elsewhere. */
		start_two();
		EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
		EXPECT_EQ(0, ibv_dereg_mr(self->mr));
		EXPECT_EQ(0, wait_two());
		expect_done();
		return;
	}
	/* Neighbours, too. */
	ASSERT_REG(other, &self->v, self->b.map + B_AT - UNIT, UNIT, ACCESS_RW);
	held[0] = hold_pages(_metadata, self->a.map, PAGE);
	held[1] = hold_pages(_metadata, self->b.map + B_AT + UNIT, PAGE);
	start_two();
	EXPECT_EQ(0, wait_two());
	EXPECT_BOUNDED(call_ms(&self->c), SLACK_MS);
	expect_done();
	leases_quiet();
	EXPECT_EQ(2, count_pins(getpid(), "active"));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr,
					       self->a.map + ELSEWHERE, PAGE,
					       7));
	EXPECT_EQ(-1, file_differs(self->a.fd, ELSEWHERE, PAGE, 7));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, other,
					       self->b.map + B_AT - UNIT, PAGE,
					       8));
	EXPECT_EQ(-1, file_differs(self->b.fd, B_AT - UNIT, PAGE, 8));
	close(held[0]);
	close(held[1]);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, ibv_dereg_mr(other));
}

/*
 * Short-term references in the way are waited for as ever, and found gone though a
 * fault comes in between.
 */
/* Rules: I2 B1 */
TEST_F(two, I2_short_term_references)
{
	int held[2], i;

	held[0] = hold_pages(_metadata, self->a.map + A_AT, PAGE);
	held[1] = hold_pages(_metadata, self->b.map + B_AT, PAGE);
	start_two();
	EXPECT_TRUE(stays_asleep(self->c.pid));
	for (i = 0; i < 50; i++) {
		usleep(2000);
		self->a.map[A_AT] = self->a.map[A_AT];
		self->b.map[B_AT] = self->b.map[B_AT];
	}
	EXPECT_FALSE(call_done(&self->c));
	close(held[0]);
	for (i = 0; i < 50; i++)
		self->b.map[B_AT] = self->b.map[B_AT];
	EXPECT_TRUE(stays_asleep(self->c.pid));
	close(held[1]);
	EXPECT_EQ(0, wait_two());
}

struct others {
	const char *a, *b;
	off_t at;
};

/* What everybody may do while an operation waits; the number of what fails. */
static int others_work(const void *arg)
{
	const struct others *o = arg;
	const char *path[] = { o->a, o->b };
	int fd, dir, i, step = 0;
	char byte, *p;

#define STEP(cond) do { step++; if (!(cond)) return step * 1000 + errno; } while (0)
	for (i = 0; i < 2; i++) {
		STEP((fd = open(path[i], O_RDWR)) >= 0);
		STEP(pread(fd, &byte, 1, o->at) == 1);
		STEP(pwrite(fd, &byte, 1, o->at) == 1);
		STEP(fsync(fd) == 0);
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 o->at);
		STEP(p != MAP_FAILED);
		*(volatile char *)p = byte;
		STEP(msync(p, PAGE, MS_SYNC) == 0);
	}
	STEP((dir = open(mnt, O_RDONLY | O_DIRECTORY)) >= 0);
	STEP(ioctl(dir, FIFREEZE, 0) == 0);
	STEP(ioctl(dir, FITHAW, 0) == 0);
#undef STEP
	return 0;
}

/*
 * Breaks if the operation waits with a lock or with protection against freezing
 * held, or uninterruptibly, or if it has begun by then.
 */
/* Rules: B9 B4 */
TEST_F(two, B9_others_go_on_meanwhile)
{
	struct others o = { self->a.path, self->b.path, B_AT };
	struct stat before[2], after[2];

	ASSERT_EQ(0, fchmod(self->a.fd, 06777));
	ASSERT_EQ(0, fchmod(self->b.fd, 06777));
	ASSERT_REG(self->mr, &self->v, self->b.map + B_AT, PIN_LEN, ACCESS_RW);
	start_two();
	ASSERT_TRUE(wait_for(breaking(self->b.lease_fd)));
	EXPECT_EQ(0, in_child(_metadata, others_work, &o));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_TRUE(call_kill(&self->c));

	/* Killed, it leaves no trace but the recall. */
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	ASSERT_REG(self->mr, &self->v, self->b.map + B_AT, PIN_LEN, ACCESS_RW);
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	ASSERT_EQ(0, fsync(self->a.fd));
	ASSERT_EQ(0, fsync(self->b.fd));
	ASSERT_EQ(0, fchmod(self->a.fd, 06777));
	ASSERT_EQ(0, fchmod(self->b.fd, 06777));
	ASSERT_EQ(0, fstat(self->a.fd, &before[0]));
	ASSERT_EQ(0, fstat(self->b.fd, &before[1]));
	start_two();
	ASSERT_TRUE(wait_for(breaking(self->b.lease_fd)));
	EXPECT_TRUE(call_kill(&self->c));
	set_grace(0);
	EXPECT_EQ(-ETXTBSY, do_two());
	ASSERT_EQ(0, fstat(self->a.fd, &after[0]));
	ASSERT_EQ(0, fstat(self->b.fd, &after[1]));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	expect_undone();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, do_two());
	expect_done();
}

/* --- two ranges of one file --------------------------------------------------------- */

FIXTURE(one)
{
	struct verbs v;
	struct pair p;
	struct dax_file a, b;
	struct two op;
	struct call c;
};

FIXTURE_VARIANT(one)
{
	enum pages pages;
	int (*fn)(const struct two *t);
};

FIXTURE_VARIANT_ADD(one, base_clone) { BASE_PAGES, two_clone };
FIXTURE_VARIANT_ADD(one, pmd_clone) { PMD_PAGES, two_clone };
FIXTURE_VARIANT_ADD(one, base_exchange) { BASE_PAGES, two_exchange };
FIXTURE_VARIANT_ADD(one, pmd_exchange) { PMD_PAGES, two_exchange };

FIXTURE_SETUP(one)
{
	TWO_SETUP();
	self->op.fn = variant->fn;
	strcpy(self->op.b, self->a.path);
	self->op.b_off = A_AT + 2 * UNIT;
	if (variant->fn == two_exchange)
		NEED_EXCHANGE(&self->a, &self->b);
}

FIXTURE_TEARDOWN_PARENT(one)
{
	environment_clean();
}

/*
 * Source and target are in one file, with something pinned between them.  Breaks
 * if the two ranges are made one, or if one of them is forgotten.
 */
/* Rules: B1 B2 B8 */
TEST_F(one, B1_two_ranges_of_one_file)
{
	off_t at[] = { A_AT, A_AT + 2 * UNIT };
	struct ibv_mr *mr, *between;
	int i;

	ASSERT_REG(between, &self->v, self->a.map + A_AT + UNIT, PIN_LEN,
		   ACCESS_RW);
	for (i = 0; i < 2; i++) {
		ASSERT_REG(mr, &self->v, self->a.map + at[i], PIN_LEN,
			   ACCESS_RW);
		EXPECT_EQ(-ETXTBSY, self->op.fn(&self->op));
		EXPECT_EQ(-1, next_signal(NULL, 0));
		start_two();
		ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
		EXPECT_EQ(1, count_pins(getpid(), "recall"));
		EXPECT_EQ(1, count_pins(getpid(), "active"));
		EXPECT_EQ(0, reg_error(&self->v, self->a.map + A_AT + UNIT,
				       PAGE, ACCESS_RW));
		EXPECT_EQ(0, ibv_dereg_mr(mr));
		EXPECT_EQ(0, call_wait(&self->c));
	}
	/* With both pinned it is one recall. */
	for (i = 0; i < 2; i++)
		ASSERT_REG(mr, &self->v, self->a.map + at[i], PIN_LEN,
			   ACCESS_RW);
	set_grace(1);
	start_two();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
	EXPECT_EQ(2, count_pins(getpid(), "revoked"));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, between,
					       self->a.map + A_AT + UNIT, PAGE,
					       9));
	EXPECT_EQ(-1, file_differs(self->a.fd, A_AT + UNIT, PAGE, 9));
}

/* --- who recalls nobody ------------------------------------------------------------- */

FIXTURE(quiet)
{
	struct verbs v;
	struct pair p;
	struct dax_file a, b;
	struct ibv_mr *mr[2];
	struct two op;
	struct call c;
};

FIXTURE_VARIANT(quiet)
{
	enum pages pages;
};

FIXTURE_VARIANT_ADD(quiet, base) { BASE_PAGES };
FIXTURE_VARIANT_ADD(quiet, pmd) { PMD_PAGES };

FIXTURE_SETUP(quiet)
{
	TWO_SETUP();
	ASSERT_REG(self->mr[0], &self->v, self->a.map + A_AT, PIN_LEN,
		   ACCESS_RW);
	ASSERT_REG(self->mr[1], &self->v, self->b.map + B_AT, PIN_LEN,
		   ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(quiet)
{
	environment_clean();
}

#define expect_quiet()							\
do {									\
	leases_quiet();							\
	EXPECT_EQ(2, count_pins(getpid(), "active"));			\
} while (0)

/* Breaks if pins are recalled before it is known that the request makes sense. */
/* Rules: B2 */
TEST_F(quiet, B2_what_must_fail_or_changes_nothing)
{
	struct exchange_range probe = {
		.file1_fd = self->a.fd,
		.flags = EXCHANGE_DRY_RUN,
	};
	bool can_exchange = !ioctl(self->b.fd, IOC_EXCHANGE_RANGE, &probe);

	self->op.fn = two_clone;
	/* Not aligned; behind the end; nowhere. */
	self->op.len = UNIT - 1;
	EXPECT_EQ(-EINVAL, do_two());
	self->op.len = UNIT;
	self->op.b_off = B_AT + 512;
	EXPECT_EQ(-EINVAL, do_two());
	self->op.b_off = B_AT;
	self->op.len = SIZE;
	EXPECT_EQ(-EINVAL, do_two());
	self->op.len = UNIT;
	self->op.a_off = SIZE + UNIT;
	EXPECT_EQ(-EINVAL, do_two());
	self->op.a_off = SIZE;
	self->op.len = 0;
	EXPECT_EQ(0, do_two());
	self->op.a_off = A_AT;
	self->op.len = UNIT;
	/* Ranges of one file that overlap. */
	strcpy(self->op.b, self->a.path);
	self->op.b_off = A_AT + PAGE;
	EXPECT_EQ(-EINVAL, do_two());
	strcpy(self->op.b, self->b.path);
	self->op.b_off = B_AT;
	expect_quiet();

	self->op.fn = two_stale_swap;
	EXPECT_EQ(-EBUSY, do_two());
	expect_quiet();
	if (can_exchange) {
		self->op.fn = two_dry_run;
		EXPECT_EQ(0, do_two());
		self->op.fn = two_stale_commit;
		EXPECT_EQ(-EBUSY, do_two());
		self->op.fn = two_exchange;
		self->op.b_off = B_AT + 512;
		EXPECT_EQ(-EINVAL, do_two());
		self->op.b_off = SIZE - PAGE;
		EXPECT_EQ(-EINVAL, do_two());
		expect_quiet();
	}
}

/* Breaks if deduplication breaks before it compares, or at all. */
/* Rules: B2 */
TEST_F(quiet, B2_dedupe)
{
	struct two back;

	self->op.fn = two_dedupe;
	back = self->op;
	strcpy(back.a, self->op.b);
	strcpy(back.b, self->op.a);
	back.a_off = B_AT;
	back.b_off = A_AT;
	/* Different data, and the same. */
	EXPECT_EQ(-ETXTBSY, do_two());
	EXPECT_EQ(-ETXTBSY, in_child(_metadata, run_two, &back));
	expect_quiet();
	memcpy(self->b.map + B_AT, self->a.map + A_AT, UNIT);
	EXPECT_EQ(-ETXTBSY, do_two());
	EXPECT_EQ(-ETXTBSY, in_child(_metadata, run_two, &back));
	/* One's own pins are nothing special. */
	EXPECT_EQ(-ETXTBSY, self->op.fn(&self->op));
	expect_quiet();
	/* Elsewhere, it works. */
	self->op.a_off = 0;
	self->op.b_off = ELSEWHERE;
	memcpy(self->b.map + ELSEWHERE, self->a.map, UNIT);
	EXPECT_EQ(0, do_two());
	EXPECT_TRUE(extents_have(self->a.fd, 0, UNIT, FIEMAP_EXTENT_SHARED));
	expect_quiet();
	/* And here, once nothing is pinned. */
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[0]));
	self->op.a_off = A_AT;
	self->op.b_off = B_AT;
	EXPECT_EQ(-ETXTBSY, do_two());
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[1]));
	EXPECT_EQ(0, do_two());
	leases_quiet();
}

/*
 * Breaks if copy_file_range() recalls anybody, fails because of pins, or moves
 * blocks: the data is copied, as by writing.
 */
/* Rules: B2 P4 */
TEST_F(quiet, B2_copy_file_range_copies)
{
	uint64_t block = block_of(self->b.fd, B_AT, NULL);

	/* From what is pinned to what is pinned. */
	self->op.fn = two_copy;
	EXPECT_EQ(0, do_two());
	expect_quiet();
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, B_AT));
	EXPECT_EQ(block, block_of(self->b.fd, B_AT, NULL));
	EXPECT_FALSE(extents_have(self->b.fd, B_AT, UNIT,
				  FIEMAP_EXTENT_SHARED));
	EXPECT_FALSE(extents_have(self->a.fd, A_AT, UNIT,
				  FIEMAP_EXTENT_SHARED));
	/* The device goes on where the file is. */
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr[1],
					       self->b.map + B_AT, PAGE, 5));
	EXPECT_EQ(-1, file_differs(self->b.fd, B_AT, PAGE, 5));
	/* One's own pins are no obstacle. */
	EXPECT_EQ(0, self->op.fn(&self->op));
	/* From what is pinned to what is not, and back. */
	self->op.b_off = 0;
	EXPECT_EQ(0, do_two());
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, 0));
	self->op.a_off = 0;
	self->op.b_off = B_AT;
	EXPECT_EQ(0, do_two());
	EXPECT_TRUE(has_data(&self->b, SEED_A, 0, B_AT));
	EXPECT_EQ(block, block_of(self->b.fd, B_AT, NULL));
	expect_quiet();
}

/*
 * Breaks if somebody who may only read a file takes its pins away by cloning it,
 * or if somebody who may write it cannot clone it.
 */
/* Rules: B2 */
TEST_F(quiet, B2_source_of_a_clone)
{
	self->op.fn = two_clone;
	self->op.b_off = 0;
	self->op.uid = 1000;
	ASSERT_EQ(0, fchown(self->b.fd, 1000, 1000));

	/* May read, not write. */
	ASSERT_EQ(0, fchmod(self->a.fd, 0644));
	self->op.a_mode = O_RDONLY + 1;
	EXPECT_EQ(-ETXTBSY, do_two());
	expect_quiet();
	/* Nor do they get at it while the target is pinned as well. */
	self->op.b_off = B_AT;
	EXPECT_EQ(-ETXTBSY, do_two());
	expect_quiet();
	self->op.b_off = 0;
	/* What is not pinned they may clone. */
	self->op.a_off = 0;
	EXPECT_EQ(0, do_two());
	self->op.a_off = A_AT;
	expect_quiet();

	/* May write, though the descriptor is for reading. */
	ASSERT_EQ(0, fchmod(self->a.fd, 0666));
	start_two();
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_TRUE(breaking(self->a.lease_fd));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[0]));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, 0));
	EXPECT_TRUE(extents_have(self->a.fd, A_AT, UNIT, FIEMAP_EXTENT_SHARED));
	leases_quiet();

	/*
	 * The mapping was there all the time, and so was what it could write
	 * to.  Neither the CPU nor a new pin reaches the clone.
	 */
	self->a.map[A_AT]++;
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, 0));
	ASSERT_REG(self->mr[0], &self->v, self->a.map + A_AT, UNIT, ACCESS_RW);
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, self->mr[0],
					       self->a.map + A_AT, PAGE, 6));
	EXPECT_EQ(-1, file_differs(self->a.fd, A_AT, PAGE, 6));
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, 0));
	EXPECT_FALSE(extents_have(self->a.fd, A_AT, UNIT,
				  FIEMAP_EXTENT_SHARED));
	EXPECT_EQ(2, count_pins(getpid(), "active"));
}

/* A length of 0 means all to the end: of the source, whatever the target. */
/* Rules: B1 B2 */
TEST_F(quiet, B2_clone_to_the_end)
{
	self->op.fn = two_clone;
	/* From behind the source's pin to behind the target's. */
	self->op.a_off = B_AT + UNIT;
	self->op.b_off = B_AT + UNIT;
	self->op.len = 0;
	EXPECT_EQ(0, do_two());
	expect_quiet();
	/* And from its beginning. */
	self->op.a_off = A_AT;
	self->op.b_off = A_AT;
	start_two();
	ASSERT_TRUE(wait_for(breaking(self->a.lease_fd) &&
			     breaking(self->b.lease_fd)));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[0]));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[1]));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_TRUE(has_data(&self->b, SEED_A, B_AT, B_AT));
}

/* Sizes change hands as well: all from the offset is taken. */
/* Rules: B1 B2 */
TEST_F(quiet, B2_exchange_to_the_end)
{
	NEED_EXCHANGE(&self->a, &self->b);
	self->op.fn = two_exchange_to_eof;
	self->op.a_off = B_AT + UNIT;
	self->op.b_off = B_AT + UNIT;
	self->op.len = 0;
	EXPECT_EQ(0, do_two());
	expect_quiet();
	self->op.b_off = B_AT;
	set_grace(1);
	EXPECT_EQ(0, do_two());
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(F_LAYOUT, fcntl(self->a.lease_fd, F_GETLEASE));
}

/* --- online repair -------------------------------------------------------------------- */

struct scrub {
	char path[256];		/* whom to ask, or the file itself */
	__u64 ino;
	__u32 gen, flags;
};

static int scrub(const struct scrub *s)
{
	struct scrub_metadata sm = {
		.type = SCRUB_BMBTD,
		.flags = s->flags,
		.ino = s->ino,
		.gen = s->gen,
	};
	int fd = open(s->path, O_RDONLY | O_CLOEXEC);
	int ret;

	ret = ioctl(fd, IOC_SCRUB_METADATA, &sm) ? -errno :
	      (int)(sm.flags & ~(SCRUB_REPAIR | SCRUB_FORCE_REBUILD));
	close(fd);
	return ret;
}

static int run_scrub(const void *arg)
{
	close_range(3, ~0U, 0);
	return scrub(arg);
}

/*
 * Breaks if a repair drops pages under pins, or waits with locks held; and if what
 * needs no repair loses its pins.
 */
/* Rules: B2 B8 B9 I2 */
TEST_F(quiet, B2_online_repair)
{
	struct others o = { self->a.path, self->b.path, A_AT };
	struct scrub s = { };
	struct stat st;
	__u32 gen;
	int ret;

	strcpy(s.path, self->a.path);
	ret = in_child(_metadata, run_scrub, &s);
	if (ret == -ENOTTY || ret == -EOPNOTSUPP)
		SKIP(return, "no online check");
	ASSERT_EQ(0, ret);
	expect_quiet();
	/* Nothing is wrong: nothing is done. */
	s.flags = SCRUB_REPAIR;
	EXPECT_EQ((int)SCRUB_NO_REPAIR_NEEDED, in_child(_metadata, run_scrub, &s));
	expect_quiet();

	/* Rebuild the map all the same. */
	s.flags |= SCRUB_FORCE_REBUILD;
	EXPECT_EQ(-ETXTBSY, scrub(&s));
	expect_quiet();
	call_start(_metadata, &self->c, run_scrub, &s);
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_TRUE(breaking(self->a.lease_fd));
	EXPECT_EQ(0, in_child(_metadata, others_work, &o));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[0]));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_TRUE(has_data(&self->a, SEED_A, A_AT, A_AT));

	/* And by handle, unanswered. */
	ASSERT_REG(self->mr[0], &self->v, self->a.map + A_AT, PIN_LEN,
		   ACCESS_RW);
	ASSERT_EQ(0, fstat(self->a.fd, &st));
	ASSERT_EQ(0, ioctl(self->a.fd, FS_IOC_GETVERSION, &gen));
	strcpy(s.path, mnt);
	s.ino = st.st_ino;
	s.gen = gen;
	set_grace(1);
	call_start(_metadata, &self->c, run_scrub, &s);
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(F_LAYOUT, fcntl(self->b.lease_fd, F_GETLEASE));
}

/* --- through a stacked file system ----------------------------------------------------- */

static int op_open_rw(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_nothing, off, len);
}

/*
 * Breaks if overlayfs waits with its locks held, or if opening a file of the lower
 * layer for writing takes the pins from those who use that layer.
 */
/* Rules: B2 B7 */
TEST_F(quiet, B7_overlayfs)
{
	char path[300], layers[300];
	struct dax_file f = { };
	int fd, ret;

	ASSERT_EQ(0, run("cd %s && mkdir l u w m && mv a l && mv b u", mnt));
	snprintf(path, sizeof(path), "%s/m", mnt);
	snprintf(layers, sizeof(layers),
		 "lowerdir=%s/l,upperdir=%s/u,workdir=%s/w", mnt, mnt, mnt);
	ret = mount_fs("overlay", path, "overlay", layers);
	if (ret == -ENODEV) {
		run("cd %s && rm -rf l u w m", mnt);
		SKIP(return, "no overlayfs");
	}
	ASSERT_EQ(0, ret);

	snprintf(f.path, sizeof(f.path), "%s/m/a", mnt);
	EXPECT_EQ(0, other_does(_metadata, op_open_rw, &f, 0, 0));
	expect_quiet();
	snprintf(path, sizeof(path), "%s/u/a", mnt);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-1, file_differs(fd, 0, SIZE, SEED_A));
	close(fd);
	EXPECT_FALSE(extents_have(self->a.fd, 0, SIZE, FIEMAP_EXTENT_SHARED));

	/* Clone to the file that is pinned below: the recall is sent. */
	strcpy(self->op.a, f.path);
	snprintf(self->op.b, sizeof(self->op.b), "%s/m/b", mnt);
	self->op.fn = two_clone;
	start_two();
	EXPECT_EQ(-EWOULDBLOCK, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), SLACK_MS);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_TRUE(breaking(self->b.lease_fd));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr[1]));
	EXPECT_EQ(0, do_two());
	EXPECT_TRUE(has_data(&self->b, SEED_A, A_AT, B_AT));
	EXPECT_EQ(0, run("cd %s && umount m && rm -rf l u w m", mnt));
}

/* --- file systems that mkfs cannot make yet ------------------------------------------- */

static uint32_t crc32c(const unsigned char *p, size_t len)
{
	uint32_t crc = ~0U;
	int bit;

	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/*
 * Exchange range is a feature bit in the superblock.  Where mkfs.xfs knows nothing
 * of it, set it: it says no more than that the log may have records of that kind.
 */
static void add_exchange_range(void)
{
	unsigned char sb[4096];
	unsigned int sector;
	uint32_t crc;
	int fd;

	if (!is_mounted(XFS) || syscall(__NR_umount2, test_fs[XFS].mnt, 0))
		return;
	fd = open(test_fs[XFS].dev, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && pread(fd, sb, sizeof(sb), 0) == sizeof(sb)) {
		sector = sb[102] << 8 | sb[103];
		sb[219] |= 1 << 6;
		memset(sb + 224, 0, 4);
		crc = crc32c(sb, sector);
		memcpy(sb + 224, &crc, 4);
		if (pwrite(fd, sb, sector, 0) != (ssize_t)sector || fsync(fd))
			perror(test_fs[XFS].dev);
	}
	close(fd);
	if (mount_fs(test_fs[XFS].dev, test_fs[XFS].mnt, "xfs", "dax=always") &&
	    make_fs(XFS))
		ksft_exit_fail_msg("no XFS on %s: %m\n", test_fs[XFS].dev);
}

int main(int argc, char **argv)
{
	environment_begin(argc, argv);
	add_exchange_range();
	return test_harness_run(argc, argv);
}
