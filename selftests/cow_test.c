// SPDX-License-Identifier: GPL-2.0
/*
 * A pinned block belongs to one file and stays where it is (P4): holes,
 * unwritten and shared blocks, and neighbours that are shared.
 */
#include "verbs_util.h"

FIXTURE(cow)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	char clone[256];
};

FIXTURE_VARIANT(cow)
{
	enum fs fs;
};

ADD_EACH_FS(cow);

FIXTURE_SETUP(cow)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f", 256 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(self->f.fd));
	snprintf(self->clone, sizeof(self->clone), "%s/clone", mnt);
}

FIXTURE_TEARDOWN_PARENT(cow)
{
	environment_clean();
}

/* Forget the file's contents and page table entries: all holes. */
static void make_holes(struct __test_metadata *const _metadata,
		       struct dax_file *f)
{
	ASSERT_EQ(0, ftruncate(f->fd, 0));
	ASSERT_EQ(0, ftruncate(f->fd, f->size));
	ASSERT_TRUE(extents_have(f->fd, 0, PAGE, 0));
}

static void make_unwritten(struct __test_metadata *const _metadata,
			   struct dax_file *f)
{
	make_holes(_metadata, f);
	ASSERT_EQ(0, fallocate(f->fd, 0, 0, f->size));
	ASSERT_TRUE(extents_have(f->fd, 0, PAGE, FIEMAP_EXTENT_UNWRITTEN));
}

/* Read all pages through the mapping: zero pages, or blocks mapped read-only. */
static void read_faults(const char *map, size_t size)
{
	volatile char sum = 0;
	size_t at;

	for (at = 0; at < size; at += PAGE)
		sum += map[at];
}

/* Does the file system share blocks?  If it is not to, it must say so. */
static bool can_clone(struct __test_metadata *const _metadata,
		      struct dax_file *f, const char *clone)
{
	if (fs_now == XFS)
		return true;
	EXPECT_EQ(-EOPNOTSUPP, clone_range(f->path, 0, 0, clone, 0));
	return false;
}

/* Share all blocks of the file; a descriptor of the other one. */
static int share_blocks(struct __test_metadata *const _metadata,
			const struct dax_file *f, const char *clone)
{
	int fd;

	ASSERT_EQ(0, clone_range(f->path, 0, 0, clone, 0));
	fd = open(clone, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	return fd;
}

/* What is pinned is allocated, written, of this file alone, and what it reads. */
static void check_pinned(struct __test_metadata *const _metadata,
			 struct verbs *v, struct pair *p, struct dax_file *f,
			 struct ibv_mr *mr, bool writable)
{
	EXPECT_FALSE(extents_have(f->fd, 0, f->size, FIEMAP_EXTENT_UNWRITTEN |
				  FIEMAP_EXTENT_SHARED));
	if (writable) {
		EXPECT_EQ(IBV_WC_SUCCESS, remote_write(v, p, mr, f->map,
						       f->size, 7));
		EXPECT_EQ(-1, file_differs(f->fd, 0, f->size, 7));
	}
	ASSERT_EQ(0, write_pattern(f->fd, 0, f->size, 8));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_read(v, p, mr, f->map, f->size));
	set_pattern(v->buf + f->size, f->size, 8);
	EXPECT_EQ(0, memcmp(v->buf, v->buf + f->size, f->size));
}

/*
 * Through a writable mapping.  Breaks without the write fault: a read fault of a
 * hole or an unwritten block shows the zero page, which all processes share and
 * which can be pinned for ever.
 */
FIXTURE(fault)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	char clone[256];
};

FIXTURE_VARIANT(fault)
{
	enum fs fs;
	int access;
	bool touched;	/* the pages have been read before */
};

FIXTURE_VARIANT_ADD(fault, xfs_writable) { XFS, ACCESS_RW, false };
FIXTURE_VARIANT_ADD(fault, xfs_writable_touched) { XFS, ACCESS_RW, true };
FIXTURE_VARIANT_ADD(fault, xfs_read_only) { XFS, ACCESS_RO, false };
FIXTURE_VARIANT_ADD(fault, xfs_read_only_touched) { XFS, ACCESS_RO, true };
FIXTURE_VARIANT_ADD(fault, ext4_writable) { EXT4, ACCESS_RW, false };
FIXTURE_VARIANT_ADD(fault, ext4_read_only_touched) { EXT4, ACCESS_RO, true };

FIXTURE_SETUP(fault)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f", 256 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(self->f.fd));
	snprintf(self->clone, sizeof(self->clone), "%s/clone", mnt);
}

FIXTURE_TEARDOWN_PARENT(fault)
{
	environment_clean();
}

#define pin_and_check(access_)						\
do {									\
	struct ibv_mr *_mr;						\
									\
	if (variant->touched)						\
		read_faults(self->f.map, self->f.size);			\
	ASSERT_REG(_mr, &self->v, self->f.map, self->f.size, access_);	\
	check_pinned(_metadata, &self->v, &self->p, &self->f, _mr,	\
		     (access_) & IBV_ACCESS_LOCAL_WRITE);		\
	EXPECT_EQ(0, ibv_dereg_mr(_mr));				\
} while (0)

/* Rules: P4 */
TEST_F(fault, P4_hole_is_allocated)
{
	make_holes(_metadata, &self->f);
	pin_and_check(variant->access);
}

/* Rules: P4 */
TEST_F(fault, P4_unwritten_is_converted)
{
	make_unwritten(_metadata, &self->f);
	pin_and_check(variant->access);
}

/* Rules: P4 */
TEST_F(fault, P4_sharing_is_broken_first)
{
	int fd;

	/* Blocks are never shared on ext4. */
	if (!can_clone(_metadata, &self->f, self->clone))
		return;
	ASSERT_EQ(0, write_pattern(self->f.fd, 0, self->f.size, 3));
	ASSERT_EQ(0, clone_range(self->f.path, 0, 0, self->clone, 0));
	ASSERT_TRUE(extents_have(self->f.fd, 0, PAGE, FIEMAP_EXTENT_SHARED));
	pin_and_check(variant->access);
	/* The other file did not notice. */
	fd = open(self->clone, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, file_differs(fd, 0, self->f.size, 3));
}

/* As above with 2 MiB at a time, where the file system can. */
/* Rules: P4 */
TEST_F(cow, P4_pmd_hole_and_unwritten)
{
	struct dax_file f;
	struct ibv_mr *mr;

	make_file(_metadata, &f, "g", 2 * PMD, PMD_PAGES);
	ASSERT_EQ(0, set_lease(f.fd));
	ASSERT_EQ(0, ftruncate(f.fd, 0));
	ASSERT_EQ(0, fallocate(f.fd, 0, 0, PMD));
	ASSERT_EQ(0, ftruncate(f.fd, 2 * PMD));
	ASSERT_REG(mr, &self->v, f.map + PMD - 64 * KIB, 128 * KIB, ACCESS_RO);
	EXPECT_FALSE(extents_have(f.fd, PMD - 64 * KIB, 128 * KIB,
				  FIEMAP_EXTENT_UNWRITTEN));
	ASSERT_EQ(0, write_pattern(f.fd, PMD - 64 * KIB, 128 * KIB, 4));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_read(&self->v, &self->p, mr,
					      f.map + PMD - 64 * KIB,
					      128 * KIB));
	set_pattern(self->v.buf + 128 * KIB, 128 * KIB, 4);
	EXPECT_EQ(0, memcmp(self->v.buf, self->v.buf + 128 * KIB, 128 * KIB));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* --- through a mapping that cannot be written --------------------------------------- */

/* Breaks if the page is asked instead of the file system. */
/* Rules: P4 */
TEST_F(cow, P4_read_only_mapping_is_enxio)
{
	long before = vm_pin_kb();
	size_t size = self->f.size;
	char *p = map_at(NULL, self->f.fd, size, PROT_READ, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, munmap(self->f.map, size));
	self->f.map = p;

	/* All written and its own: fine. */
	EXPECT_EQ(0, reg_error(&self->v, p, size, ACCESS_RO));

	make_holes(_metadata, &self->f);
	EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));
	read_faults(p, size);
	EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));

	make_unwritten(_metadata, &self->f);
	EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));
	read_faults(p, size);
	EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));

	/* Nothing was allocated by the attempts. */
	EXPECT_TRUE(extents_have(self->f.fd, 0, PAGE, FIEMAP_EXTENT_UNWRITTEN));

	if (can_clone(_metadata, &self->f, self->clone)) {
		ASSERT_EQ(0, write_pattern(self->f.fd, 0, size, 3));
		ASSERT_EQ(0, clone_range(self->f.path, 0, 0, self->clone,
					 0));
		EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));
		read_faults(p, size);
		EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));
		EXPECT_TRUE(extents_have(self->f.fd, 0, PAGE,
					 FIEMAP_EXTENT_SHARED));
		ASSERT_EQ(0, unlink(self->clone));
	}

	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* Breaks if only the first block of a batch is checked, or is then kept. */
/* Rules: P4 */
TEST_F(cow, P4_last_block_is_checked_too)
{
	size_t size = self->f.size;
	char *p = map_at(NULL, self->f.fd, size, PROT_READ, 0);
	long before = vm_pin_kb();

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, op_punch(self->f.path, size - PAGE, PAGE));
	EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));
	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, reg_error(&self->v, p, size - PAGE, ACCESS_RO));

	ASSERT_EQ(0, write_pattern(self->f.fd, 0, size, 3));
	if (!can_clone(_metadata, &self->f, self->clone))
		return;
	ASSERT_EQ(0, clone_range(self->f.path, size - PAGE, PAGE, self->clone,
				 0));
	EXPECT_EQ(-ENXIO, reg_error(&self->v, p, size, ACCESS_RO));
	EXPECT_EQ(0, reg_error(&self->v, p, size - PAGE, ACCESS_RO));
}

/* --- neighbours that are shared --------------------------------------------------------- */

/*
 * Blocks 0 to 7 are shared with a clone, 8 to 15 are not, 8 and 9 are pinned.
 * A write to block 7 makes XFS reserve blocks around it for the copy, and any
 * write to a block that such a reservation covers goes to the reservation.
 */
#define PIN_AT		(8 * PAGE)
#define PIN_LEN		(2 * PAGE)

/* XFS alone: ext4 does not share blocks. */

FIXTURE(neighbour)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	char clone[256];
	struct ibv_mr *mr;
	uint64_t block;
};

FIXTURE_VARIANT(neighbour)
{
	bool before;	/* the neighbour is written before the pin, too */
	bool mmapped;	/* by the mapping, else by pwrite() */
	int access;
};

FIXTURE_VARIANT_ADD(neighbour, write_after_pin) { false, false, ACCESS_RW };
FIXTURE_VARIANT_ADD(neighbour, write_before_pin) { true, false, ACCESS_RW };
FIXTURE_VARIANT_ADD(neighbour, store_after_pin) { false, true, ACCESS_RW };
FIXTURE_VARIANT_ADD(neighbour, store_before_pin) { true, true, ACCESS_RW };
FIXTURE_VARIANT_ADD(neighbour, read_only_pin) { true, false, ACCESS_RO };

static void write_block(struct __test_metadata *const _metadata,
			struct dax_file *f, off_t at, size_t len,
			unsigned int seed, bool mmapped)
{
	if (mmapped)
		set_pattern(f->map + at, len, seed);
	else
		ASSERT_EQ(0, write_pattern(f->fd, at, len, seed));
}

FIXTURE_SETUP(neighbour)
{
	VERBS_SETUP(&self->v);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(self->f.fd));
	snprintf(self->clone, sizeof(self->clone), "%s/clone", mnt);
	ASSERT_EQ(0, write_pattern(self->f.fd, 0, self->f.size, 3));
	ASSERT_EQ(0, clone_range(self->f.path, 0, 8 * PAGE, self->clone, 0));
	ASSERT_TRUE(extents_have(self->f.fd, 0, PAGE, FIEMAP_EXTENT_SHARED));
	ASSERT_FALSE(extents_have(self->f.fd, PIN_AT, PIN_LEN,
				  FIEMAP_EXTENT_SHARED));
	if (variant->before)
		write_block(_metadata, &self->f, 6 * PAGE, PAGE, 4,
			    variant->mmapped);
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN,
		   variant->access);
	self->block = block_of(self->f.fd, PIN_AT, NULL);
	ASSERT_NE(0UL, self->block);
	write_block(_metadata, &self->f, 7 * PAGE, PAGE, 5, variant->mmapped);
}

FIXTURE_TEARDOWN_PARENT(neighbour)
{
	environment_clean();
}

/* The device, the file and the mapping mean the same block. */
static void same_block(struct __test_metadata *const _metadata,
		       struct verbs *v, struct pair *p, struct dax_file *f,
		       struct ibv_mr *mr, uint64_t block, unsigned int seed)
{
	char *at = f->map + PIN_AT;

	EXPECT_EQ(IBV_WC_SUCCESS, remote_read(v, p, mr, at, PIN_LEN));
	set_pattern(v->buf + PIN_LEN, PIN_LEN, seed);
	EXPECT_EQ(0, memcmp(v->buf, v->buf + PIN_LEN, PIN_LEN)) {
		TH_LOG("the device reads another block than was written");
	}
	EXPECT_EQ(0, memcmp(at, v->buf + PIN_LEN, PIN_LEN));
	EXPECT_EQ(-1, file_differs(f->fd, PIN_AT, PIN_LEN, seed));
	EXPECT_EQ(block, block_of(f->fd, PIN_AT, NULL));
}

/*
 * Breaks if reservations over the pin are not cancelled, or are made again:
 * the device goes on with a block that has been freed.
 */
/* Rules: P4 */
TEST_F(neighbour, P4_pinned_block_stays)
{
	/* Written by each way after the neighbour. */
	ASSERT_EQ(0, write_pattern(self->f.fd, PIN_AT, PIN_LEN, 6));
	same_block(_metadata, &self->v, &self->p, &self->f, self->mr,
		   self->block, 6);
	set_pattern(self->f.map + PIN_AT, PIN_LEN, 7);
	same_block(_metadata, &self->v, &self->p, &self->f, self->mr,
		   self->block, 7);
	/* And once what was reserved is in place. */
	ASSERT_EQ(0, fsync(self->f.fd));
	write_block(_metadata, &self->f, 0, PIN_AT, 9, variant->mmapped);
	ASSERT_EQ(0, write_pattern(self->f.fd, PIN_AT, PIN_LEN, 10));
	ASSERT_EQ(0, fsync(self->f.fd));
	same_block(_metadata, &self->v, &self->p, &self->f, self->mr,
		   self->block, 10);
	/* Not mapped any more: a fault finds the block again. */
	ASSERT_EQ(0, madvise(self->f.map, self->f.size, MADV_DONTNEED));
	set_pattern(self->f.map + PIN_AT, PIN_LEN, 11);
	same_block(_metadata, &self->v, &self->p, &self->f, self->mr,
		   self->block, 11);
	if (variant->access == ACCESS_RW) {
		EXPECT_EQ(IBV_WC_SUCCESS,
			  remote_write(&self->v, &self->p, self->mr,
				       self->f.map + PIN_AT, PIN_LEN, 12));
		same_block(_metadata, &self->v, &self->p, &self->f, self->mr,
			   self->block, 12);
	}
	/* fallocate and unshare do not move it either. */
	ASSERT_EQ(0, fallocate(self->f.fd, FALLOC_FL_UNSHARE_RANGE, 0,
			       self->f.size));
	ASSERT_EQ(0, fallocate(self->f.fd, 0, 0, self->f.size));
	EXPECT_EQ(self->block, block_of(self->f.fd, PIN_AT, NULL));
}

/* The neighbour's copy on write works as ever, and the clone is left alone. */
/* Rules: P4 */
TEST_F(neighbour, P4_neighbours_are_copied)
{
	int fd = open(self->clone, O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, file_differs(self->f.fd, 7 * PAGE, PAGE, 5));
	set_pattern(self->v.buf, 8 * PAGE, 3);
	ASSERT_EQ((ssize_t)(8 * PAGE), pread(fd, self->v.buf + 8 * PAGE,
					     8 * PAGE, 0));
	EXPECT_EQ(0, memcmp(self->v.buf, self->v.buf + 8 * PAGE, 8 * PAGE));
	EXPECT_NE(block_of(self->f.fd, 7 * PAGE, NULL),
		  block_of(fd, 7 * PAGE, NULL));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	/* Without the pin the block is like others. */
	ASSERT_EQ(0, clone_range(self->f.path, 0, 0, self->clone, 0));
	ASSERT_EQ(0, write_pattern(self->f.fd, PIN_AT, PAGE, 8));
	EXPECT_EQ(-1, file_differs(self->f.fd, PIN_AT, PAGE, 8));
}

/* --- sharing a pinned block ------------------------------------------------------------- */

struct clone_arg {
	const char *from, *to;
	off_t off, len;
	uid_t uid;
};

static int clone_in_child(const void *arg)
{
	const struct clone_arg *c = arg;

	if (c->uid && setresuid(c->uid, c->uid, c->uid))
		return -EPERM;
	return clone_range(c->from, c->off, c->len, c->to, c->off);
}

static int dedupe_in_child(const void *arg)
{
	const struct clone_arg *c = arg;
	union {
		struct file_dedupe_range range;
		char room[sizeof(struct file_dedupe_range) +
			  sizeof(struct file_dedupe_range_info)];
	} d = {
		.range = {
			.src_offset = c->off,
			.src_length = c->len,
			.dest_count = 1,
		},
	};
	int from = open(c->from, O_RDWR), to = open(c->to, O_RDWR);

	d.range.info[0].dest_fd = to;
	d.range.info[0].dest_offset = c->off;
	if (ioctl(from, FIDEDUPERANGE, &d))
		return -errno;
	return d.range.info[0].status;
}

static int fd_write_pages(int fd, off_t off, off_t len)
{
	char byte = 7;
	off_t at;

	for (at = off; at < off + len; at += PAGE)
		if (pwrite(fd, &byte, 1, at) != 1)
			return -1;
	return 0;
}

static int op_write_pages(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_write_pages, off, len);
}

static int fd_store_pages(int fd, off_t off, off_t len)
{
	char *p = map_at(NULL, fd, len, PROT_READ | PROT_WRITE, off);
	off_t at;

	if (p == MAP_FAILED)
		return -1;
	for (at = 0; at < len; at += PAGE)
		p[at] = 8;
	return munmap(p, len);
}

static int op_store_pages(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_store_pages, off, len);
}

/* Read the file into itself: page faults with the file's lock held. */
static int fd_read_pages(int fd, off_t off, off_t len)
{
	char *p = map_at(NULL, fd, len, PROT_READ | PROT_WRITE, off);
	off_t at;

	if (p == MAP_FAILED)
		return -1;
	for (at = 0; at < len; at += PAGE)
		if (pread(fd, p + at, 1, off + at) != 1)
			return -1;
	return munmap(p, len);
}

static int op_read_pages(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_read_pages, off, len);
}

/*
 * Shared blocks are pinned for a moment by registrations that are going to fail.
 * Breaks if whoever writes there meanwhile gets an error, or waits for ever for a
 * registration that waits for the writer's lock.
 */
/* Rules: P4 B2 I2 */
TEST_F(cow, P4_writers_do_not_notice_registrations)
{
	static const op_fn ops[] = {
		op_write_pages, op_store_pages, op_read_pages,
	};
	long end = now_ms() + 2000;
	int i, err, refused = 0;
	struct call c;
	size_t at;
	char *p;

	if (!can_clone(_metadata, &self->f, self->clone))
		return;
	p = map_at(NULL, self->f.fd, self->f.size, PROT_READ, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	for (i = 0; now_ms() < end || i < 6; i++) {
		ASSERT_EQ(0, clone_range(self->f.path, 0, 0, self->clone, 0));
		start_op(_metadata, &c, ops[i % 3], &self->f, 0, self->f.size);
		do {
			err = reg_error(&self->v, p, self->f.size, ACCESS_RO);
			if (err == -ENXIO)
				refused++;
			else
				ASSERT_EQ(0, err);
		} while (!call_done(&c));
		ASSERT_EQ(0, call_wait(&c));
		for (at = 0; at < self->f.size; at += PAGE)
			ASSERT_EQ(i % 3 ? 8 : 7, self->f.map[at]);
	}
	TH_LOG("%d rounds, %d registrations refused", i, refused);
	EXPECT_LT(0, refused);
	EXPECT_EQ(0, held_pins());
}

/*
 * Breaks if somebody who may only read the file can take memory regions by
 * cloning it, or if deduplication recalls anybody.  Who may write: remap_test.
 */
/* Rules: B2 P4 */
TEST_F(cow, B2_reader_cannot_clone_and_dedupe_does_not_break)
{
	struct clone_arg c = {
		.from = self->f.path,
		.to = self->clone,
		.len = self->f.size,
		.uid = 1000,
	};
	struct ibv_mr *mr;
	int fd;

	if (!can_clone(_metadata, &self->f, self->clone))
		return;
	fd = open(self->clone, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	ASSERT_EQ(0, fchmod(fd, 0666));
	ASSERT_EQ(0, fchmod(self->f.fd, 0644));
	ASSERT_EQ(0, write_pattern(fd, 0, self->f.size, 0));
	ASSERT_EQ(0, fsync(fd));
	set_grace(GRACE_LONG);
	want_signal(_metadata, self->f.fd);
	ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);

	EXPECT_EQ(-ETXTBSY, in_child(_metadata, clone_in_child, &c));
	c.uid = 0;
	EXPECT_EQ(-ETXTBSY, in_child(_metadata, dedupe_in_child, &c));
	c.from = self->clone;
	c.to = self->f.path;
	EXPECT_EQ(-ETXTBSY, in_child(_metadata, dedupe_in_child, &c));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_FALSE(extents_have(self->f.fd, 0, self->f.size,
				  FIEMAP_EXTENT_SHARED));

	ASSERT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, in_child(_metadata, dedupe_in_child, &c));
	EXPECT_EQ(0, in_child(_metadata, clone_in_child, &c));
}

/*
 * A shared block under somebody's short reference, of which the mapping is gone:
 * read it again, let the reference go; have the file get another block under one;
 * and take the blocks.
 */
static void read_under_reference(struct __test_metadata *const _metadata,
				 struct dax_file *f, const char *clone)
{
	static char data[PAGE], shared[PAGE];
	size_t at = f->size / 2 + PAGE;
	int pipe, fd;

	ASSERT_EQ(0, write_pattern(f->fd, 0, f->size, 1));
	fd = share_blocks(_metadata, f, clone);
	read_faults(f->map, f->size);

	pipe = hold_pages(_metadata, f->map + at, PAGE);
	ASSERT_EQ(0, madvise(f->map, f->size, MADV_DONTNEED));
	read_faults(f->map, f->size);
	ASSERT_EQ((ssize_t)PAGE, read(pipe, data, PAGE));
	EXPECT_EQ(0, memcmp(data, f->map + at, PAGE));
	ASSERT_EQ(0, close(pipe));
	EXPECT_EQ(-1, file_differs(f->fd, 0, f->size, 1));

	ASSERT_EQ((ssize_t)PAGE, pread(fd, shared, PAGE, at));
	pipe = hold_pages(_metadata, f->map + at, PAGE);
	ASSERT_EQ(0, write_pattern(f->fd, at, PAGE, 2));
	EXPECT_EQ(-1, file_differs(f->fd, at, PAGE, 2));
	ASSERT_EQ((ssize_t)PAGE, read(pipe, data, PAGE));
	EXPECT_EQ(0, memcmp(data, shared, PAGE));
	ASSERT_EQ(0, close(pipe));

	EXPECT_EQ(0, ftruncate(f->fd, 0));
	EXPECT_EQ(-1, file_differs(fd, 0, f->size, 1));
	EXPECT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, close(fd));
}

/*
 * Breaks if a fault that only reads replaces the entry of a shared page, or if one that
 * writes looks at who else has that page: the kernel warns of the reference.
 */
/* Rules: P9 */
TEST_F(cow, P9_short_pin_of_a_shared_page)
{
	if (can_clone(_metadata, &self->f, self->clone))
		read_under_reference(_metadata, &self->f, self->clone);
}

/*
 * The page of a shared block is in a pipe, and is registered, and written to. Breaks if
 * somebody waits for the pipe: a registration cannot tell whose references there are.
 */
/* Rules: P4 B1 I2 */
TEST_F(cow, P4_page_in_a_pipe)
{
	struct dax_file *f = &self->f;
	size_t at = f->size / 2 + PAGE;
	static char data[PAGE], shared[PAGE];
	struct ibv_mr *mr;
	int pipe, clone;

	if (!can_clone(_metadata, f, self->clone))
		return;
	ASSERT_EQ(0, write_pattern(f->fd, 0, f->size, 1));
	clone = share_blocks(_metadata, f, self->clone);
	ASSERT_EQ((ssize_t)PAGE, pread(clone, shared, PAGE, at));
	read_faults(f->map, f->size);
	pipe = hold_pages(_metadata, f->map + at, PAGE);

	take_lease(_metadata, f, false);
	ASSERT_REG(mr, &self->v, f->map + at - PAGE, 3 * PAGE, ACCESS_RW);
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, other_does(_metadata, op_write_pages, f, at - PAGE, 3 * PAGE));
	EXPECT_EQ(7, f->map[at]);
	ASSERT_EQ((ssize_t)PAGE, read(pipe, data, PAGE));
	EXPECT_EQ(0, memcmp(data, shared, PAGE));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	ASSERT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(-1, file_differs(clone, 0, f->size, 1));
	ASSERT_EQ(0, close(pipe));
	ASSERT_EQ(0, close(clone));
}

/* --- entries of 2 MiB --------------------------------------------------------------- */

/* ext4 shares no blocks. */
FIXTURE(huge)
{
	struct verbs v;
	struct dax_file f;
	char clone[256];
	char *room, *pages;
};

FIXTURE_SETUP(huge)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, XFS);
	make_file(_metadata, &self->f, "f", 2 * PMD, PMD_PAGES);
	snprintf(self->clone, sizeof(self->clone), "%s/clone", mnt);
	/* The same file where no PMD can map it: faults of single pages. */
	self->room = mmap(NULL, 4 * PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->room);
	self->pages = (char *)(((uintptr_t)self->room + PMD - 1) & ~(PMD - 1)) +
		      PAGE;
	ASSERT_EQ(self->pages, mmap(self->pages, 2 * PMD, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, self->f.fd, 0));
}

FIXTURE_TEARDOWN_PARENT(huge)
{
	environment_clean();
}

/*
 * Breaks if faults of pages on shared blocks put entries of pages where there is one
 * of 2 MiB, made before or in between: whoever waits for that one hangs, and the count
 * of pages is wrong, which is a BUG when the inode goes.
 */
/* Rules: P4 P5 */
TEST_F(huge, P4_pages_of_a_shared_entry)
{
	struct dax_file *f = &self->f;
	char *page = self->pages + 17 * PAGE;
	int clone;

	ASSERT_EQ(0, write_pattern(f->fd, 0, f->size, 1));
	read_faults(f->map, f->size);
	ASSERT_TRUE(mapped_by_pmd(f->map));
	ASSERT_TRUE(mapped_by_pmd(f->map + PMD));
	clone = share_blocks(_metadata, f, self->clone);
	read_faults(f->map, f->size);
	read_faults(self->pages, f->size);
	EXPECT_EQ(0, memcmp(self->pages, f->map, f->size));
	EXPECT_EQ(-1, file_differs(f->fd, 0, f->size, 1));

	/* A page gets a block of its own, in both of the entries. */
	set_pattern(page, PAGE, 2);
	set_pattern(page + PMD, PAGE, 3);
	EXPECT_EQ(0, memcmp(page, f->map + 17 * PAGE, PAGE));
	EXPECT_EQ(0, memcmp(page + PMD, f->map + PMD + 17 * PAGE, PAGE));
	EXPECT_EQ(-1, file_differs(f->fd, 0, 17 * PAGE, 1));
	EXPECT_EQ(-1, file_differs(f->fd, 17 * PAGE, PAGE, 2));
	EXPECT_EQ(-1, file_differs(f->fd, PMD + 17 * PAGE, PAGE, 3));
	EXPECT_EQ(-1, file_differs(clone, 0, f->size, 1));
	EXPECT_EQ(0, fsync(f->fd));

	/* And the inode goes. */
	ASSERT_EQ(0, munmap(self->room, 4 * PMD));
	ASSERT_EQ(0, munmap(f->map, f->size));
	ASSERT_EQ(0, close(f->fd));
	ASSERT_EQ(0, unlink(f->path));
	EXPECT_EQ(-1, file_differs(clone, 0, PMD, 1));
	ASSERT_EQ(0, close(clone));
}

/*
 * The blocks of two files, of which one is mapped where a PMD can do it and the other
 * where only pages can, in either order. Breaks if they are in a folio of 2 MiB for one
 * and of a page for the other: the kernel warns, and counts references at wrong pages.
 */
/* Rules: P4 I2 */
TEST_F(huge, P4_other_file_is_mapped_by_pages)
{
	struct dax_file *f = &self->f;
	char *at = f->map + 17 * PAGE;
	int clone;

	ASSERT_EQ(0, write_pattern(f->fd, 0, f->size, 1));
	read_faults(f->map, f->size);
	ASSERT_TRUE(mapped_by_pmd(f->map));
	clone = share_blocks(_metadata, f, self->clone);
	ASSERT_EQ(self->pages, mmap(self->pages, 2 * PMD, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, clone, 0));

	read_faults(f->map, PMD);
	read_faults(self->pages, 2 * PMD);
	read_faults(f->map + PMD, PMD);
	EXPECT_FALSE(mapped_by_pmd(f->map));
	EXPECT_FALSE(mapped_by_pmd(f->map + PMD));
	EXPECT_EQ(0, memcmp(self->pages, f->map, f->size));

	/* Blocks that only the clone has now, and does not have any more. */
	set_pattern(at, PAGE, 2);
	set_pattern(at + PMD, PAGE, 3);
	ASSERT_EQ(0, ftruncate(clone, 0));
	ASSERT_EQ(0, ftruncate(clone, f->size));
	EXPECT_EQ(0, self->pages[17 * PAGE]);
	EXPECT_EQ(-1, file_differs(f->fd, 0, 17 * PAGE, 1));
	EXPECT_EQ(-1, file_differs(f->fd, 17 * PAGE, PAGE, 2));
	EXPECT_EQ(-1, file_differs(f->fd, PMD + 17 * PAGE, PAGE, 3));
	ASSERT_EQ(0, close(clone));
}

/*
 * All blocks of 2 MiB were shared and have been read, and one of them is not shared any
 * more. Breaks if a pin of that one keeps more than it, so that nobody can write to the
 * others as long as it lives.
 */
/* Rules: P4 B2 */
TEST_F(huge, P4_pin_beside_shared_blocks)
{
	const off_t at = 17 * PAGE, others = 18 * PAGE;
	struct dax_file *f = &self->f;
	static char before[4 * PAGE], after[4 * PAGE];
	struct ibv_mr *mr;
	uint64_t block;
	int clone;

	ASSERT_EQ(0, write_pattern(f->fd, 0, f->size, 1));
	clone = share_blocks(_metadata, f, self->clone);
	ASSERT_EQ((ssize_t)sizeof(before),
		  pread(clone, before, sizeof(before), others));
	read_faults(f->map, f->size);
	ASSERT_EQ(0, write_pattern(clone, at, PAGE, 2));

	take_lease(_metadata, f, false);
	ASSERT_REG(mr, &self->v, f->map + at, PAGE, ACCESS_RW);
	block = block_of(f->fd, at, NULL);
	EXPECT_EQ(0, other_does(_metadata, op_store_pages, f, others, 2 * PAGE));
	EXPECT_EQ(0, other_does(_metadata, op_write_pages, f, others + 2 * PAGE,
				2 * PAGE));
	EXPECT_EQ(block, block_of(f->fd, at, NULL));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(8, f->map[others + PAGE]);
	EXPECT_EQ(7, f->map[others + 3 * PAGE]);
	ASSERT_EQ((ssize_t)sizeof(after),
		  pread(clone, after, sizeof(after), others));
	EXPECT_EQ(0, memcmp(before, after, sizeof(after)));
	EXPECT_EQ(-1, file_differs(clone, at, PAGE, 2));
	ASSERT_EQ(0, ibv_dereg_mr(mr));
	ASSERT_EQ(0, close(clone));
}

LAYOUT_LEASE_TEST_MAIN
