// SPDX-License-Identifier: GPL-2.0
/*
 * What devices wrote to a DAX file is flushed to the storage like what the CPU
 * wrote, and times move (P5).
 *
 * Flushes are counted by the fs_dax tracepoints, in a trace buffer of our own.
 */
#include "verbs_util.h"

#ifndef MAP_SYNC
#define MAP_SYNC	0x80000
#endif

#define MAX_PAGES	(2 * PMD / PAGE)

/* The pinned part of the file: 16 pages of the first PMD. */
#define PIN_OFF		(64 * KIB)
#define PIN_LEN		(64 * KIB)
#define PIN_PAGES	((long)(PIN_LEN / PAGE))

/* --- counting flushes ------------------------------------------------------- */

static char trace_text[MIB];

#define EVENT		"fs_dax/dax_writeback_one"

/*
 * How often has each page of the file been flushed since trace_clear()?  The sum,
 * or -1.
 */
static long trace_count(int fd, int *times)
{
	char *line, *next;
	struct stat st;
	long sum = 0;

	memset(times, 0, MAX_PAGES * sizeof(*times));
	if (fstat(fd, &st) ||
	    read_text(TRACE "/trace", trace_text, sizeof(trace_text),
		      64 * KIB) < 0)
		return -1;
	for (line = trace_text; line; line = next) {
		unsigned long ino, page, count;
		unsigned int maj, min;

		next = strstr(line + 1, "dax_writeback_one: ");
		if (sscanf(line, "dax_writeback_one: dev %u:%u ino %lx pgoff %lx pglen %lx",
			   &maj, &min, &ino, &page, &count) != 5)
			continue;
		if (makedev(maj, min) != st.st_dev || ino != st.st_ino)
			continue;
		sum += count;
		for (; count; count--, page++)
			if (page < MAX_PAGES)
				times[page]++;
	}
	return sum;
}

/* --- fixture ------------------------------------------------------------------ */

FIXTURE(sync)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	int times[MAX_PAGES];
};

FIXTURE_VARIANT(sync)
{
	enum fs fs;
	enum pages pages;
};

ADD_FS_PAGES_VARIANTS(sync, );

/* The lease is on an open file description of its own: f.lease_fd. */
FIXTURE_SETUP(sync)
{
	VERBS_SETUP(&self->v);
	TRACE_BEGIN(EVENT);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, true);
}

FIXTURE_TEARDOWN_PARENT(sync)
{
	environment_clean();
}

enum how { FSYNC, FDATASYNC, MSYNC, SYNC, SYNCFS, RANGE, NR_HOW };

static const char * const how_name[] = {
	"fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range",
};

static int flush_how(struct dax_file *f, enum how how)
{
	switch (how) {
	case FSYNC:
		return fsync(f->fd);
	case FDATASYNC:
		return fdatasync(f->fd);
	case MSYNC:
		return msync(f->map, f->size, MS_SYNC);
	case SYNC:
		sync();
		return 0;
	case SYNCFS:
		return syncfs(f->fd);
	case RANGE:
		return sync_file_range(f->fd, 0, f->size,
				       SYNC_FILE_RANGE_WAIT_BEFORE |
				       SYNC_FILE_RANGE_WRITE |
				       SYNC_FILE_RANGE_WAIT_AFTER);
	default:
		return -1;
	}
}

/* Flush, and count: self->times, and the sum. */
#define flush(how)							\
({									\
	ASSERT_EQ(0, trace_clear());					\
	ASSERT_EQ(0, flush_how(&self->f, how));				\
	trace_count(self->f.fd, self->times);				\
})

/* The first page of the range that has not been flushed, or -1. */
static long not_flushed(const int *times, size_t off, size_t len)
{
	size_t at;

	for (at = off; at < off + len; at += PAGE)
		if (!times[at / PAGE])
			return at / PAGE;
	return -1;
}

#define EXPECT_FLUSHED(off, len)					\
	EXPECT_EQ(-1, not_flushed(self->times, off, len))

#define device_writes(seed)						\
	ASSERT_EQ(IBV_WC_SUCCESS,					\
		  remote_write(&self->v, &self->p, self->mr,		\
			       self->f.map + PIN_OFF, PIN_LEN, seed))

#define pin_part(access)						\
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_OFF, PIN_LEN, access)

/* Time stamps are as coarse as the timer tick: what comes later shall differ. */
static bool clock_is_past(const struct timespec *stamp)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec > stamp->tv_sec ||
	       (now.tv_sec == stamp->tv_sec && now.tv_nsec > stamp->tv_nsec);
}

static bool times_moved(int fd, struct stat *st)
{
	struct stat old = *st;

	if (fstat(fd, st) || !wait_for(clock_is_past(&st->st_ctim)))
		return false;
	return (st->st_mtim.tv_sec != old.st_mtim.tv_sec ||
		st->st_mtim.tv_nsec != old.st_mtim.tv_nsec) &&
	       (st->st_ctim.tv_sec != old.st_ctim.tv_sec ||
		st->st_ctim.tv_nsec != old.st_ctim.tv_nsec);
}

/* --- while pins live ------------------------------------------------------------ */

/*
 * Breaks if the first flush makes the entries clean for good, or if it flushes
 * more than what is pinned: that would be all of a PMD.
 */
/* Rules: P5 */
TEST_F(sync, P5_each_flush_covers_writable_pins)
{
	enum how how;
	int i;

	set_grace(GRACE_LONG);
	pin_part(ACCESS_RW);
	/* What the fault of the pin made dirty. */
	EXPECT_LE(PIN_PAGES, flush(FSYNC));
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);

	for (how = 0; how < NR_HOW; how++) {
		for (i = 0; i < 3; i++) {
			device_writes(how * 3 + i);
			EXPECT_EQ(PIN_PAGES, flush(how)) {
				TH_LOG("%s", how_name[how]);
			}
			EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
		}
	}
}

/* Breaks if the cost of a flush is that of all pins of the file. */
/* Rules: P5 */
TEST_F(sync, P5_flush_of_a_range)
{
	long entry = variant->pages == PMD_PAGES ? PIN_PAGES : 1;

	pin_part(ACCESS_RW);
	flush(FSYNC);

	ASSERT_EQ(0, trace_clear());
	ASSERT_EQ(0, msync(self->f.map + PIN_OFF + PAGE, PAGE, MS_SYNC));
	EXPECT_EQ(entry, trace_count(self->f.fd, self->times));
	EXPECT_FLUSHED(PIN_OFF + PAGE, PAGE);

	/* In a PMD, everything is near. */
	if (variant->pages == PMD_PAGES)
		return;
	ASSERT_EQ(0, trace_clear());
	ASSERT_EQ(0, msync(self->f.map, PIN_OFF, MS_SYNC));
	ASSERT_EQ(0, msync(self->f.map + PIN_OFF + PIN_LEN, PAGE, MS_SYNC));
	EXPECT_EQ(0, trace_count(self->f.fd, self->times));
}

/* Breaks if what the CPU writes beside a pin is taken for flushed. */
/* Rules: P5 */
TEST_F(sync, P5_cpu_writes_beside_a_pin)
{
	char byte = 1;

	pin_part(ACCESS_RW);
	flush(FSYNC);

	self->f.map[0] = 1;
	device_writes(1);
	EXPECT_LE(PIN_PAGES + 1, flush(FSYNC));
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
	EXPECT_FLUSHED(0, PAGE);
	EXPECT_EQ(PIN_PAGES, flush(FSYNC));
	/* In the pinned part, too; write(2) flushes by itself. */
	self->f.map[PIN_OFF] = 2;
	ASSERT_EQ(1, pwrite(self->f.fd, &byte, 1, PAGE));
	flush(MSYNC);
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
	EXPECT_EQ(PIN_PAGES, flush(FSYNC));
}

/* Breaks if pins that only read keep entries dirty. */
/* Rules: P5 */
TEST_F(sync, P5_read_only_pins_cost_nothing)
{
	int i;

	pin_part(ACCESS_RO);
	/* What the fault of the pin made dirty. */
	flush(FSYNC);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(IBV_WC_SUCCESS,
			  remote_read(&self->v, &self->p, self->mr,
				      self->f.map + PIN_OFF, PIN_LEN));
		EXPECT_EQ(0, flush(FSYNC));
		EXPECT_EQ(0, flush(SYNC));
	}
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, flush(FSYNC));
	EXPECT_EQ(0, flush(SYNC));
}

/*
 * Breaks if only a page fault tells sync(2) about the inode: with MAP_SYNC, user
 * space flushes by itself, and faults leave the inode clean.
 */
/* Rules: P5 */
TEST_F(sync, P5_map_sync)
{
	char *map = mmap(NULL, self->f.size, PROT_READ | PROT_WRITE,
			 MAP_SHARED_VALIDATE | MAP_SYNC, self->f.fd, 0);
	int i;

	ASSERT_NE(MAP_FAILED, (void *)map);
	sync();
	ASSERT_REG(self->mr, &self->v, map + PIN_OFF, PIN_LEN, ACCESS_RW);
	flush(SYNC);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(IBV_WC_SUCCESS,
			  remote_write(&self->v, &self->p, self->mr,
				       map + PIN_OFF, PIN_LEN, i));
		EXPECT_EQ(PIN_PAGES, flush(SYNC));
	}
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_LE(PIN_PAGES, flush(SYNC));
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
	EXPECT_EQ(0, flush(SYNC));
}

/* --- when pins end ---------------------------------------------------------------- */

/* Breaks if what was written after the last flush goes unnoticed with the pin. */
/* Rules: P5 */
TEST_F(sync, P5_dereg_leaves_it_to_the_next_flush)
{
	enum how how;

	for (how = 0; how < NR_HOW; how++) {
		pin_part(ACCESS_RW);
		flush(FSYNC);
		flush(SYNC);
		device_writes(how);
		ASSERT_EQ(0, ibv_dereg_mr(self->mr));
		EXPECT_LE(PIN_PAGES, flush(how)) {
			TH_LOG("%s", how_name[how]);
		}
		EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
		/* Once. */
		EXPECT_EQ(0, flush(how)) {
			TH_LOG("%s", how_name[how]);
		}
		EXPECT_EQ(0, flush(SYNC));
	}
}

/* The same when the region is taken: the lease has gone. */
/* Rules: P5 */
TEST_F(sync, P5_revoke_leaves_it_to_the_next_flush)
{
	pin_part(ACCESS_RW);
	flush(FSYNC);
	device_writes(1);
	ASSERT_EQ(0, close(self->f.lease_fd));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_LE(PIN_PAGES, flush(FSYNC));
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
	EXPECT_EQ(0, flush(FSYNC));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, flush(SYNC));
}

/*
 * Breaks if the operation that takes one page forgets about the others of the
 * region, or of the PMD.
 */
/* Rules: P5 */
TEST_F(sync, P5_punch_in_a_pin)
{
	char byte;

	pin_part(ACCESS_RW);
	flush(FSYNC);
	device_writes(1);
	set_grace(1);
	ASSERT_EQ(0, trace_clear());
	EXPECT_EQ(0, other_does(_metadata, op_punch, &self->f, PIN_OFF + PAGE,
				PAGE));
	ASSERT_EQ(0, fsync(self->f.fd));
	trace_count(self->f.fd, self->times);
	EXPECT_FLUSHED(PIN_OFF, PAGE);
	EXPECT_FLUSHED(PIN_OFF + 2 * PAGE, PIN_LEN - 2 * PAGE);
	/* It was the one. */
	ASSERT_EQ(1, pread(self->f.fd, &byte, 1, PIN_OFF + PAGE + 1));
	EXPECT_EQ(0, byte);
	EXPECT_EQ(0, flush(FSYNC));
}

/* Breaks if the end of one pin hides that another one still writes. */
/* Rules: P5 */
TEST_F(sync, P5_one_of_two_pins_ends)
{
	struct ibv_mr *other;

	pin_part(ACCESS_RW);
	ASSERT_REG(other, &self->v, self->f.map + PIN_OFF, 2 * PIN_LEN,
		   ACCESS_RW);
	flush(FSYNC);
	EXPECT_EQ(2 * PIN_PAGES, flush(FSYNC));
	ASSERT_EQ(0, ibv_dereg_mr(other));
	/* Once more all of it, then what is still pinned. */
	EXPECT_LE(2 * PIN_PAGES, flush(FSYNC));
	EXPECT_FLUSHED(PIN_OFF, 2 * PIN_LEN);
	device_writes(1);
	EXPECT_EQ(PIN_PAGES, flush(FSYNC));
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
}

/* --- entries that are deleted -------------------------------------------------------- */

static int op_truncate_odd(const char *path, off_t off, off_t len)
{
	return op_truncate(path, off + len / 2, len);
}

/*
 * Breaks if an operation drops the dirty tags of more than it discards: of the
 * rest of the file, of a PMD, of a page.
 */
/* Rules: P5 */
TEST_F(sync, P5_operation_elsewhere_keeps_dirty_data)
{
	static const struct {
		const char *name;
		op_fn fn;
		size_t len;
	} op[] = {
		{ "punch", op_punch, PAGE },
		{ "punch of half a page", op_punch, PAGE / 2 },
		{ "zero", op_zero, PAGE },
		{ "truncate", op_truncate, PAGE },
		{ "truncate within a page", op_truncate_odd, PAGE },
	};
	size_t base = variant->pages == PMD_PAGES ? PMD : 192 * KIB;
	/* Where a PMD begins, within, and where it ends. */
	const size_t offs[] = { base, base + PAGE, self->f.size - PAGE };
	size_t off, i, j, at;

	pin_part(ACCESS_RW);
	for (i = 0; i < ARRAY_SIZE(op); i++) {
		for (j = 0; j < ARRAY_SIZE(offs); j++) {
			off = offs[j];
			ASSERT_EQ(0, ftruncate(self->f.fd, self->f.size));
			ASSERT_EQ(0, fsync(self->f.fd));
			/* In the page itself what is not discarded. */
			at = op[i].fn == op_truncate_odd ? off :
			     op[i].len < PAGE ? off + PAGE - 1 : off - 1;
			self->f.map[at] = 1;
			self->f.map[0] = 1;
			device_writes(i);

			ASSERT_EQ(0, trace_clear());
			ASSERT_EQ(0, other_does(_metadata, op[i].fn, &self->f,
						off, op[i].len));
			ASSERT_EQ(0, fsync(self->f.fd));
			trace_count(self->f.fd, self->times);
			EXPECT_FLUSHED(at & ~(PAGE - 1), PAGE);
			EXPECT_FLUSHED(0, PAGE);
			EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
			EXPECT_EQ(1, self->f.map[at]);
			EXPECT_EQ(PIN_PAGES, flush(FSYNC)) {
				TH_LOG("%s at %zu", op[i].name, off);
			}
		}
	}
}

/* --- times -------------------------------------------------------------------------- */

/* Breaks if only page faults move times. */
/* Rules: P5 */
TEST_F(sync, P5_times_move)
{
	struct stat st = { };

	/* Nothing faults any more. */
	memset(self->f.map, 1, self->f.size);
	times_moved(self->f.fd, &st);
	ASSERT_FALSE(times_moved(self->f.fd, &st));

	pin_part(ACCESS_RW);
	EXPECT_TRUE(times_moved(self->f.fd, &st));
	device_writes(1);
	EXPECT_FALSE(times_moved(self->f.fd, &st));
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_TRUE(times_moved(self->f.fd, &st));

	pin_part(ACCESS_RO);
	times_moved(self->f.fd, &st);
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_FALSE(times_moved(self->f.fd, &st));

	pin_part(ACCESS_RW);
	EXPECT_TRUE(times_moved(self->f.fd, &st));
	ASSERT_EQ(0, close(self->f.lease_fd));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_TRUE(times_moved(self->f.fd, &st));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_FALSE(times_moved(self->f.fd, &st));
}

static int freeze(int fd, bool on)
{
	return ioctl(fd, on ? FIFREEZE : FITHAW, 0);
}

/* Breaks if a pin ends no sooner than its file system is thawed. */
/* Rules: P5 I2 */
TEST_F(sync, P5_frozen_file_system)
{
	long begin;

	pin_part(ACCESS_RW);
	flush(FSYNC);
	ASSERT_EQ(0, freeze(self->f.fd, true));
	device_writes(1);
	begin = now_ms();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_GT(SLACK_MS, now_ms() - begin);
	ASSERT_EQ(0, freeze(self->f.fd, false));
	EXPECT_LE(PIN_PAGES, flush(SYNC));
	EXPECT_FLUSHED(PIN_OFF, PIN_LEN);
}

/* --- copy on write, of PMDs ---------------------------------------------------------- */

FIXTURE(redirect)
{
	struct dax_file f;
	int times[MAX_PAGES];
};

FIXTURE_SETUP(redirect)
{
	TRACE_BEGIN(EVENT);
	use_fs(_metadata, XFS);
	make_file(_metadata, &self->f, "f", 2 * PMD, PMD_PAGES);
}

FIXTURE_TEARDOWN_PARENT(redirect)
{
	environment_clean();
}

/*
 * Breaks if a write that is redirected, as a reservation made for a shared
 * neighbour covers it, drops what else is in the PMD.
 */
/* Rules: P5 */
TEST_F(redirect, P5_redirected_write_keeps_dirty_data)
{
	struct fsxattr attr = { };
	char other[300], byte = 3;
	uint64_t before;

	ASSERT_EQ(0, ioctl(self->f.fd, FS_IOC_FSGETXATTR, &attr));
	attr.fsx_xflags |= FS_XFLAG_COWEXTSIZE;
	attr.fsx_cowextsize = 2 * PMD;
	ASSERT_EQ(0, ioctl(self->f.fd, FS_IOC_FSSETXATTR, &attr));
	snprintf(other, sizeof(other), "%s/clone", mnt);
	ASSERT_EQ(0, clone_range(self->f.path, PMD, PAGE, other, 0));

	/* This one flushes. */
	before = block_of(self->f.fd, 0, NULL);
	self->f.map[PMD / 2] = 2;
	ASSERT_TRUE(mapped_by_pmd(self->f.map));
	/* Reserves as much as it can. */
	ASSERT_EQ(1, pwrite(self->f.fd, &byte, 1, PMD));
	ASSERT_EQ(0, trace_clear());
	ASSERT_EQ(1, pwrite(self->f.fd, &byte, 1, 0));
	ASSERT_EQ(0, fsync(self->f.fd));
	trace_count(self->f.fd, self->times);
	EXPECT_FLUSHED(PMD / 2, PAGE);
	EXPECT_NE(before, block_of(self->f.fd, 0, NULL)) {
		TH_LOG("it was not redirected");
	}
	EXPECT_EQ(3, self->f.map[0]);
	EXPECT_EQ(2, self->f.map[PMD / 2]);
}

LAYOUT_LEASE_TEST_MAIN
