// SPDX-License-Identifier: GPL-2.0
/*
 * Users of pins that cannot be revoked: registered buffers of io_uring, and
 * gup_test. They need an exclusive lease, and its taker answers for them with
 * his life (L3, L5, L6, P1 - P3, P6 - P9, B3, B5, B8, R1).
 */
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "common.h"
#include "../../../../mm/gup_test.h"

/* --- io_uring without a library ------------------------------------------- */

#define ENTRIES		8

struct ring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void ring_begin(struct __test_metadata *const _metadata, struct ring *r)
{
	struct io_uring_params p = { };
	size_t size;
	char *ptr;

	r->fd = syscall(__NR_io_uring_setup, ENTRIES, &p);
	ASSERT_LE(0, r->fd);
	ASSERT_NE(0U, p.features & IORING_FEAT_SINGLE_MMAP);
	size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		   IORING_OFF_SQ_RING);
	ASSERT_NE(MAP_FAILED, (void *)ptr);
	r->sq_tail = (void *)(ptr + p.sq_off.tail);
	r->sq_mask = (void *)(ptr + p.sq_off.ring_mask);
	r->sq_array = (void *)(ptr + p.sq_off.array);
	r->cq_head = (void *)(ptr + p.cq_off.head);
	r->cq_tail = (void *)(ptr + p.cq_off.tail);
	r->cq_mask = (void *)(ptr + p.cq_off.ring_mask);
	r->cqes = (void *)(ptr + p.cq_off.cqes);
	r->sqes = mmap(NULL, p.sq_entries * sizeof(*r->sqes),
		       PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       IORING_OFF_SQES);
	ASSERT_NE(MAP_FAILED, (void *)r->sqes);
}

static int ring_submit(struct ring *r, const struct io_uring_sqe *sqe)
{
	unsigned int tail = *r->sq_tail, i = tail & *r->sq_mask;

	r->sqes[i] = *sqe;
	r->sq_array[i] = i;
	__atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
	return syscall(__NR_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) == 1 ?
		0 : -errno;
}

/* Run completions; is there one? */
static bool ring_ready(struct ring *r)
{
	syscall(__NR_io_uring_enter, r->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL,
		0);
	return __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) != *r->cq_head;
}

static int ring_result(struct ring *r)
{
	unsigned int head = *r->cq_head;
	int res;

	if (!wait_for(ring_ready(r)))
		return -ETIME;
	res = r->cqes[head & *r->cq_mask].res;
	__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
	return res;
}

static int ring_do(struct ring *r, const struct io_uring_sqe *sqe)
{
	int ret = ring_submit(r, sqe);

	return ret ?: ring_result(r);
}

static struct io_uring_sqe fixed(int op, int fd, off_t off, void *buf,
				 size_t len, unsigned int index)
{
	struct io_uring_sqe sqe = {
		.opcode = op,
		.fd = fd,
		.off = off,
		.addr = (uintptr_t)buf,
		.len = len,
		.buf_index = index,
	};

	return sqe;
}

/* @buf = @len bytes of @fd, and the other way round. */
static int read_fixed(struct ring *r, int fd, void *buf, size_t len,
		      unsigned int index)
{
	struct io_uring_sqe sqe = fixed(IORING_OP_READ_FIXED, fd, 0, buf, len,
					index);

	return ring_do(r, &sqe);
}

static int write_fixed(struct ring *r, int fd, void *buf, size_t len,
		       unsigned int index)
{
	struct io_uring_sqe sqe = fixed(IORING_OP_WRITE_FIXED, fd, 0, buf, len,
					index);

	return ring_do(r, &sqe);
}

static int ring_register(int ring, unsigned int op, const void *arg,
			 unsigned int nr)
{
	int ret = syscall(__NR_io_uring_register, ring, op, arg, nr);

	return ret < 0 ? -errno : ret;
}

static int reg_buffers(int ring, const struct iovec *iov, unsigned int nr)
{
	return ring_register(ring, IORING_REGISTER_BUFFERS, iov, nr);
}

static int reg_buffer(int ring, void *addr, size_t len)
{
	struct iovec iov = { addr, len };

	return reg_buffers(ring, &iov, 1);
}

static int unreg_buffers(int ring)
{
	return ring_register(ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

/* As buffer 0 of a table of one; what it fails with, or 0 and given back. */
static int reg_error(int ring, void *addr, size_t len)
{
	int ret = reg_buffer(ring, addr, len);

	return ret ?: unreg_buffers(ring);
}

static int reg_sparse(int ring, unsigned int nr)
{
	struct io_uring_rsrc_register reg = {
		.nr = nr,
		.flags = IORING_RSRC_REGISTER_SPARSE,
	};

	return ring_register(ring, IORING_REGISTER_BUFFERS2, &reg, sizeof(reg));
}

static int reg_update(int ring, unsigned int index, void *addr, size_t len)
{
	struct iovec iov = { addr, len };
	struct io_uring_rsrc_update2 up = {
		.offset = index,
		.data = (uintptr_t)&iov,
		.nr = 1,
	};

	return ring_register(ring, IORING_REGISTER_BUFFERS_UPDATE, &up,
			     sizeof(up));
}

static int clone_buffers(int from, int to, unsigned int flags)
{
	struct io_uring_clone_buffers arg = {
		.src_fd = from,
		.flags = flags,
	};

	return ring_register(to, IORING_REGISTER_CLONE_BUFFERS, &arg, 1);
}

/* A file in memory with a pattern. */
static int source_file(size_t len, unsigned int seed)
{
	int fd = memfd_create("source", MFD_CLOEXEC);

	if (fd >= 0 && write_pattern(fd, 0, len, seed)) {
		close(fd);
		return -1;
	}
	return fd;
}

static char *anon(size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* --- exclusive leases ----------------------------------------------------- */

static bool being_broken(int fd)
{
	int ret = fcntl(fd, F_GETLEASE);

	return ret > 0 && (ret & F_BREAKING);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { };

	return syscall(SYS_capset, &header, data);
}

/* --- P1, P2, P3: who may -------------------------------------------------- */

FIXTURE(buffer)
{
	struct ring r;
	struct dax_file f;
	struct pin_line pins[MAX_PINS];
};

FIXTURE_VARIANT(buffer)
{
	enum pages pages;
};

FIXTURE_VARIANT_ADD(buffer, base) { BASE_PAGES };
FIXTURE_VARIANT_ADD(buffer, pmd) { PMD_PAGES };

FIXTURE_SETUP(buffer)
{
	NEED_URING();
	ring_begin(_metadata, &self->r);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : MIB, variant->pages);
}

FIXTURE_TEARDOWN_PARENT(buffer)
{
	environment_clean();
}

/* Each way to register @addr as a buffer fails with @error, and leaves nothing. */
#define EXPECT_REFUSED(ring, addr, len, error)				\
do {									\
	EXPECT_EQ(error, reg_buffer(ring, addr, len));			\
	ASSERT_EQ(0, reg_sparse(ring, 2));				\
	EXPECT_EQ(error, reg_update(ring, 1, addr, len));		\
	EXPECT_EQ(0, unreg_buffers(ring));				\
	EXPECT_EQ(0, held_pins());					\
} while (0)

/* Breaks if memory of a DAX file becomes pinnable by itself. */
/* Rules: P1 */
TEST_F(buffer, P1_no_lease_is_eopnotsupp)
{
	EXPECT_REFUSED(self->r.fd, self->f.map, self->f.size, -EOPNOTSUPP);
	EXPECT_REFUSED(self->r.fd, self->f.map, PAGE, -EOPNOTSUPP);
}

/* Breaks if a plain lease, which promises nobody's life, will do. */
/* Rules: P3 */
TEST_F(buffer, P3_plain_lease_is_eopnotsupp)
{
	ASSERT_EQ(0, set_lease(self->f.fd));
	EXPECT_REFUSED(self->r.fd, self->f.map, self->f.size, -EOPNOTSUPP);
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* The whole path: what is read into the buffer is in the file's blocks. */
/* Rules: P3 */
TEST_F(buffer, P3_exclusive_lease_allows)
{
	size_t len = 256 * KIB, at = self->f.size - len;
	uint64_t block = block_of(self->f.fd, at, NULL);
	int in = source_file(len, 7), out = source_file(len, 8);
	char *all = malloc(len);

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	EXPECT_EQ((int)len, read_fixed(&self->r, in, self->f.map + at, len, 0));
	EXPECT_EQ(-1, file_differs(self->f.fd, at, len, 7));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, at, 0));
	EXPECT_EQ(block, block_of(self->f.fd, at, NULL));

	ASSERT_EQ(0, write_pattern(self->f.fd, at, len, 9));
	EXPECT_EQ((int)len, write_fixed(&self->r, out, self->f.map + at, len, 0));
	EXPECT_EQ(-1, file_differs(out, 0, len, 9));

	/* An offset within a page, over its end. */
	EXPECT_EQ((int)PAGE, read_fixed(&self->r, in, self->f.map + 100, PAGE, 0));
	set_pattern(all, PAGE, 7);
	EXPECT_EQ(0, memcmp(all, self->f.map + 100, PAGE));

	EXPECT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* The lease may be on an open file that is not the mapped one. */
/* Rules: P1 */
TEST_F(buffer, P1_lease_of_another_open_file)
{
	take_exclusive(_metadata, &self->f, true);
	EXPECT_EQ(0, reg_error(self->r.fd, self->f.map, self->f.size));
	EXPECT_EQ(0, close(self->f.lease_fd));
	EXPECT_REFUSED(self->r.fd, self->f.map, self->f.size, -EOPNOTSUPP);
}

struct registration {
	int ring;
	void *addr;
	size_t len;
};

static int register_here(const void *arg)
{
	const struct registration *reg = arg;

	return reg_error(reg->ring, reg->addr, reg->len);
}

static void *register_in_thread(void *arg)
{
	return (void *)(long)register_here(arg);
}

/*
 * Breaks if somebody else can register in the taker's name: it is the taker who
 * gets killed. It is no matter who made the ring.
 */
/* Rules: P3 */
TEST_F(buffer, P3_other_thread_group_than_the_taker)
{
	struct registration reg = { self->r.fd, self->f.map, self->f.size };
	pthread_t t;
	void *ret;

	take_exclusive(_metadata, &self->f, false);
	EXPECT_EQ(-EOPNOTSUPP, in_child(_metadata, register_here, &reg));
	EXPECT_EQ(0, held_pins());
	ASSERT_EQ(0, pthread_create(&t, NULL, register_in_thread, &reg));
	ASSERT_EQ(0, pthread_join(t, &ret));
	EXPECT_EQ(NULL, ret);
}

/*
 * Breaks if a ring hands pins on that were never asked for: clones are made
 * without a look at mappings or leases.
 */
/* Rules: P3 */
TEST_F(buffer, P3_clone_is_refused)
{
	char *other = anon(PAGE);
	struct iovec iov[2] = {
		{ other, PAGE },
		{ self->f.map, self->f.size },
	};
	int in = source_file(PAGE, 5);
	struct ring to;

	ring_begin(_metadata, &to);
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffers(self->r.fd, iov, 2));
	EXPECT_EQ(-EOPNOTSUPP, clone_buffers(self->r.fd, to.fd, 0));
	/* Neither ring has changed: nothing there, and what was there. */
	EXPECT_EQ(-ENXIO, unreg_buffers(to.fd));
	ASSERT_EQ(0, reg_buffer(to.fd, other, PAGE));
	EXPECT_EQ(-EOPNOTSUPP, clone_buffers(self->r.fd, to.fd,
					     IORING_REGISTER_DST_REPLACE));
	EXPECT_EQ((int)PAGE, read_fixed(&to, in, other, PAGE, 0));
	EXPECT_EQ(-EFAULT, read_fixed(&to, in, self->f.map, PAGE, 1));
	EXPECT_EQ((int)PAGE, read_fixed(&self->r, in, self->f.map, PAGE, 1));
	EXPECT_EQ((int)PAGE, read_fixed(&self->r, in, other, PAGE, 0));
	EXPECT_EQ(1, count_pins(getpid(), NULL));

	EXPECT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	/* Other memory is cloned as ever. */
	ASSERT_EQ(0, reg_buffers(self->r.fd, iov, 1));
	EXPECT_EQ(0, clone_buffers(self->r.fd, to.fd,
				   IORING_REGISTER_DST_REPLACE));
	EXPECT_EQ((int)PAGE, read_fixed(&to, in, other, PAGE, 0));
}

/* --- the life of a buffer ------------------------------------------------- */

/* Breaks if a slot that is used again, or emptied, keeps its pages. */
/* Rules: P3 */
TEST_F(buffer, P3_update_releases)
{
	char *other = anon(PAGE);

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_sparse(self->r.fd, 2));
	ASSERT_EQ(1, reg_update(self->r.fd, 0, self->f.map, PAGE));
	ASSERT_EQ(1, reg_update(self->r.fd, 1, self->f.map, self->f.size));
	EXPECT_EQ(2, count_pins(getpid(), "active"));
	/* By other memory, by the same again, by nothing. */
	EXPECT_EQ(1, reg_update(self->r.fd, 0, other, PAGE));
	EXPECT_EQ(1, count_pins(getpid(), NULL));
	EXPECT_EQ(1, reg_update(self->r.fd, 1, self->f.map, PAGE));
	ASSERT_EQ(1, read_pins(getpid(), self->pins));
	EXPECT_EQ(1ULL, self->pins->pages);
	EXPECT_EQ(1, reg_update(self->r.fd, 1, NULL, 0));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
	/* What fails changes nothing. */
	EXPECT_EQ(-EOPNOTSUPP, reg_update(self->r.fd, 0, self->f.map, PAGE));
	EXPECT_EQ((int)PAGE, read_fixed(&self->r, source_file(PAGE, 1), other,
					PAGE, 0));
}

/* Breaks if the pages go while a request still writes to them. */
/* Rules: I1 */
TEST_F(buffer, I1_request_in_flight_holds_it)
{
	struct io_uring_sqe sqe;
	char *text = "0123456789abcdef";
	int p[2];

	ASSERT_EQ(0, pipe2(p, O_CLOEXEC));
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	sqe = fixed(IORING_OP_READ_FIXED, p[0], -1, self->f.map + PAGE, 16, 0);
	ASSERT_EQ(0, ring_submit(&self->r, &sqe));
	EXPECT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(-EBUSY, unlock_lease(self->f.fd));

	ASSERT_EQ(16, write(p[1], text, 16));
	EXPECT_EQ(16, ring_result(&self->r));
	EXPECT_EQ(0, memcmp(text, self->f.map + PAGE, 16));
	EXPECT_TRUE(wait_for(!count_pins(getpid(), NULL)));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* The ring's last descriptor gives everything back, without a call for it. */
/* Rules: P3 */
TEST_F(buffer, P3_close_of_the_ring_releases)
{
	struct ring r;

	ring_begin(_metadata, &r);
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(r.fd, self->f.map, self->f.size));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	/* The rings are still mapped: that is a reference as well. */
	ASSERT_EQ(0, close(r.fd));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	ASSERT_EQ(0, munmap(r.sqes, ENTRIES * sizeof(*r.sqes)));
	ASSERT_EQ(0, munmap((void *)((uintptr_t)r.cq_head & ~(PAGE - 1)), PAGE));
	EXPECT_TRUE(wait_for(!count_pins(getpid(), NULL)));
}

/* Breaks if munmap unpins: the pin belongs to the file, not to the mapping. */
/* Rules: P10 */
TEST_F(buffer, P10_munmap_leaves_it_alone)
{
	int in = source_file(PAGE, 3);

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	EXPECT_EQ((int)PAGE, read_fixed(&self->r, in, self->f.map, PAGE, 0));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 3));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
}

/* --- L3, L5: the lease meanwhile ------------------------------------------ */

/* Breaks if a pin can lose the lease that it needs. */
/* Rules: L3 L5 */
TEST_F(buffer, L3_L5_no_unlock_and_no_downgrade_with_pins)
{
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, PAGE));
	EXPECT_EQ(-EBUSY, unlock_lease(self->f.fd));
	EXPECT_EQ(-EBUSY, set_lease(self->f.fd));
	EXPECT_EQ(F_LAYOUT | F_EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	/* Neither has made a hole for somebody else. */
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	ASSERT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(0, set_lease(self->f.fd));
	EXPECT_REFUSED(self->r.fd, self->f.map, PAGE, -EOPNOTSUPP);
	EXPECT_EQ(0, set_exclusive(self->f.fd));
	EXPECT_EQ(0, reg_error(self->r.fd, self->f.map, PAGE));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* --- R1: the report ------------------------------------------------------- */

static int only_the_ring(const void *arg)
{
	const struct dax_file *f = arg;

	close(f->fd);
	munmap(f->map, f->size);
	raise(SIGSTOP);
	return 0;
}

/* Breaks if an admin cannot tell which ring, or the wrong process is blamed. */
/* Rules: R1 */
TEST_F(buffer, R1_names_the_ring_and_the_buffer)
{
	struct pin_line *p = self->pins;
	char user[64], path[64], text[1024], *ino;
	struct call c;
	int status;

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_sparse(self->r.fd, 4));
	ASSERT_EQ(1, reg_update(self->r.fd, 3, self->f.map + PAGE + 100, PAGE));
	ASSERT_EQ(1, read_pins(getpid(), p));
	EXPECT_STREQ("exclusive", p->lease);
	EXPECT_STREQ("active", p->state);
	EXPECT_STREQ("rw", p->mode);
	EXPECT_STREQ(self->f.path, p->path);
	EXPECT_EQ(PAGE, p->first);
	EXPECT_EQ(3 * PAGE - 1, p->last);
	EXPECT_EQ(2ULL, p->pages);

	/* The number that /proc/<pid>/fdinfo tells of the ring. */
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->r.fd);
	ASSERT_LT(0, read_text(path, text, sizeof(text), sizeof(text)));
	ino = strstr(text, "\nino:");
	ASSERT_NE(NULL, ino);
	snprintf(user, sizeof(user), "io_uring:%lu:buf:3",
		 strtoul(ino + 5, NULL, 10));
	EXPECT_STREQ(user, p->user);

	/* Somebody who has nothing but the ring sees it. */
	call_start(_metadata, &c, only_the_ring, &self->f);
	ASSERT_EQ(c.pid, waitpid(c.pid, &status, WUNTRACED));
	EXPECT_EQ(1, read_pins(c.pid, p));
	EXPECT_STREQ(user, p->user);
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));
}

/* --- P6: limits ----------------------------------------------------------- */

/*
 * Breaks if a DAX entry is charged where a page was asked for, or a failure
 * leaves a charge. Who may lock as he likes is not charged: as ever.
 */
/* Rules: P6 */
TEST_F(buffer, P6_accounting_is_exact)
{
	long used = vm_pin_kb();
	char *huge = anon(2 * PMD), *p;
	struct rlimit limit;
	struct ring r;

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	EXPECT_EQ(used, vm_pin_kb());
	EXPECT_EQ(0, unreg_buffers(self->r.fd));

	limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, drop_capabilities());
	ring_begin(_metadata, &r);
	used = vm_pin_kb();
	ASSERT_EQ(0, reg_sparse(r.fd, 4));
	ASSERT_EQ(1, reg_update(r.fd, 0, self->f.map + PAGE, PAGE));
	EXPECT_EQ(used + 4, vm_pin_kb());
	/* The same page once more, and not from its start. */
	ASSERT_EQ(1, reg_update(r.fd, 1, self->f.map + PAGE + 100, 200));
	EXPECT_EQ(used + 8, vm_pin_kb());
	ASSERT_EQ(1, reg_update(r.fd, 2, self->f.map, 256 * KIB));
	EXPECT_EQ(used + 264, vm_pin_kb());
	ASSERT_EQ(1, reg_update(r.fd, 2, NULL, 0));
	EXPECT_EQ(used + 8, vm_pin_kb());
	EXPECT_EQ(0, unreg_buffers(r.fd));
	EXPECT_EQ(used, vm_pin_kb());

	/* With anonymous huge pages around it, charged alike. */
	p = (char *)(((uintptr_t)huge + PMD - 1) & ~(PMD - 1));
	madvise(p, PMD, MADV_HUGEPAGE);
	memset(p, 1, PMD);
	ASSERT_NE(MAP_FAILED,
		  (void *)map_at(p + 64 * KIB, self->f.fd, 64 * KIB,
				 PROT_READ | PROT_WRITE, 0));
	ASSERT_EQ(0, reg_buffer(r.fd, p, 192 * KIB));
	EXPECT_EQ(used + 192, vm_pin_kb());
	EXPECT_EQ(0, unreg_buffers(r.fd));
	EXPECT_EQ(used, vm_pin_kb());
}

/* RLIMIT_MEMLOCK is the user's: a user of its own for exact numbers. */
static int limited(const void *arg)
{
	const struct dax_file *f = arg;
	struct rlimit limit = { };
	long used;
	int fd, ring;

	/* And still somebody who may read his own /proc. */
	if (setresuid(54321, 54321, 54321) || prctl(PR_SET_DUMPABLE, 1))
		return 1;
	/* The ring itself is charged, too. */
	ring = syscall(__NR_io_uring_setup, ENTRIES,
		       &(struct io_uring_params) { });
	fd = open(f->path, O_RDWR);
	if (ring < 0 || fd < 0 || set_exclusive(fd))
		return 2;
	used = vm_pin_kb();
	limit.rlim_cur = limit.rlim_max = 64 * KIB;
	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		return 3;
	if (reg_error(ring, f->map, 256 * KIB) != -ENOMEM)
		return 4;
	if (vm_pin_kb() != used || held_pins())
		return 5;
	if (unlock_lease(fd) || set_exclusive(fd))
		return 6;
	if (reg_buffer(ring, f->map, 16 * KIB))
		return 7;
	if (vm_pin_kb() != used + 16 || held_pins() != 1)
		return 8;
	if (unreg_buffers(ring) || vm_pin_kb() != used || held_pins())
		return 9;
	return 0;
}

/* Breaks if leased pins go past the limit, or a refused one is left. */
/* Rules: P6 */
TEST_F(buffer, P6_rlimit_memlock)
{
	chmod(self->f.path, 0666);
	ASSERT_EQ(0, chown(self->f.path, 54321, 54321));
	EXPECT_EQ(0, in_child(_metadata, limited, &self->f));
}

/* --- P7: several mappings ------------------------------------------------- */

FIXTURE(mixed)
{
	struct ring r;
	struct dax_file a, b;
	char *area;
};

FIXTURE_SETUP(mixed)
{
	NEED_URING();
	ring_begin(_metadata, &self->r);
	make_file(_metadata, &self->a, "a", 64 * KIB, BASE_PAGES);
	make_file(_metadata, &self->b, "b", 2 * PMD, PMD_PAGES);
	/* anonymous | a | b from its last 64 KiB before 2 MiB, 128 KiB | anonymous */
	self->area = anon(320 * KIB);
	ASSERT_NE(MAP_FAILED, (void *)self->area);
	ASSERT_NE(MAP_FAILED,
		  (void *)map_at(self->area + 64 * KIB, self->a.fd, 64 * KIB,
				 PROT_READ | PROT_WRITE, 0));
	ASSERT_NE(MAP_FAILED,
		  (void *)map_at(self->area + 128 * KIB, self->b.fd, 128 * KIB,
				 PROT_READ | PROT_WRITE, PMD - 64 * KIB));
}

FIXTURE_TEARDOWN_PARENT(mixed)
{
	environment_clean();
}

/*
 * Breaks if it matters what comes first, if a batch of pages runs over the end of
 * a mapping, or if the segments of a request do not all have the same size.
 */
/* Rules: P7 */
TEST_F(mixed, P7_one_buffer_over_several_mappings)
{
	char *all = malloc(320 * KIB), *have = malloc(320 * KIB);
	struct pin_line pins[MAX_PINS];
	int in = source_file(320 * KIB, 4), fd;
	size_t at;

	take_exclusive(_metadata, &self->a, false);
	take_exclusive(_metadata, &self->b, false);
	set_pattern(all, 320 * KIB, 4);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->area, 320 * KIB));
	EXPECT_EQ(2, read_pins(getpid(), pins));
	EXPECT_STREQ(pins[0].user, pins[1].user);
	EXPECT_EQ((int)(320 * KIB), read_fixed(&self->r, in, self->area,
					       320 * KIB, 0));
	EXPECT_EQ(0, memcmp(all, self->area, 320 * KIB));
	/* In the files, not only in the mappings. */
	ASSERT_EQ((ssize_t)(64 * KIB), pread(self->a.fd, have, 64 * KIB, 0));
	EXPECT_EQ(0, memcmp(all + 64 * KIB, have, 64 * KIB));
	fd = open(self->b.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ((ssize_t)(128 * KIB), pread(fd, have, 128 * KIB,
					      PMD - 64 * KIB));
	EXPECT_EQ(0, memcmp(all + 128 * KIB, have, 128 * KIB));
	/* Pieces of it, over each of the borders. */
	for (at = 60 * KIB; at < 300 * KIB; at += 64 * KIB) {
		memset(self->area + at, 0, 8 * KIB);
		EXPECT_EQ((int)(8 * KIB), read_fixed(&self->r, in,
						     self->area + at, 8 * KIB,
						     0));
		EXPECT_EQ(0, memcmp(all, self->area + at, 8 * KIB));
	}
	EXPECT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* Several buffers in a call: of a file, of anonymous memory, of both. */
/* Rules: P7 */
TEST_F(mixed, P7_several_buffers_in_a_call)
{
	struct iovec iov[4] = {
		{ self->a.map, 64 * KIB },
		{ self->area, 64 * KIB },
		{ self->b.map + PMD - PAGE, 2 * PAGE },
		{ self->area + 60 * KIB, 8 * KIB },
	};
	int in = source_file(64 * KIB, 6);
	unsigned int i;

	take_exclusive(_metadata, &self->a, false);
	EXPECT_EQ(-EOPNOTSUPP, reg_buffers(self->r.fd, iov, 4));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	take_exclusive(_metadata, &self->b, false);
	ASSERT_EQ(0, reg_buffers(self->r.fd, iov, 4));
	EXPECT_EQ(3, count_pins(getpid(), "active"));
	for (i = 0; i < 4; i++)
		EXPECT_EQ((int)iov[i].iov_len,
			  read_fixed(&self->r, in, iov[i].iov_base,
				     iov[i].iov_len, i));
	EXPECT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/*
 * Breaks if what was pinned before the mapping that fails is not given back, or
 * if the error is that of io_pin_pages() for all that is incomplete.
 */
/* Rules: P7 */
TEST_F(mixed, P7_all_or_nothing)
{
	take_exclusive(_metadata, &self->a, false);
	EXPECT_EQ(-EOPNOTSUPP, reg_error(self->r.fd, self->area, 320 * KIB));
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->a.fd));

	take_exclusive(_metadata, &self->b, false);
	EXPECT_EQ(-EOPNOTSUPP, reg_error(self->r.fd, self->area, 320 * KIB));
	/* Between the two mappings of it. */
	ASSERT_NE(MAP_FAILED,
		  (void *)map_at(self->area, self->b.fd, 64 * KIB,
				 PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(self->r.fd, self->area, 320 * KIB));
	/* And with no mapping at all. */
	ASSERT_EQ(0, munmap(self->area + 64 * KIB, 64 * KIB));
	EXPECT_EQ(-EFAULT, reg_error(self->r.fd, self->area, 320 * KIB));
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->b.fd));

	set_grace(GRACE_LONG);
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->a, 0, 0));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->b, 0, 0));
}

/* --- P1, P4, P8: the other errors ----------------------------------------- */

FIXTURE(file)
{
	struct ring r;
	struct dax_file f;
	char *anon;
};

FIXTURE_SETUP(file)
{
	NEED_URING();
	ring_begin(_metadata, &self->r);
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	self->anon = anon(64 * KIB);
	ASSERT_NE(MAP_FAILED, (void *)self->anon);
}

FIXTURE_TEARDOWN_PARENT(file)
{
	environment_clean();
}

/* Buffers are always for writing: neither a lease nor a mapping for reading do. */
/* Rules: P1 */
TEST_F(file, P1_read_only_is_refused)
{
	int ro = open(self->f.path, O_RDONLY | O_CLOEXEC);
	char *p = map_at(NULL, self->f.fd, self->f.size, PROT_READ, 0);

	ASSERT_EQ(0, set_exclusive(ro));
	EXPECT_REFUSED(self->r.fd, self->f.map, PAGE, -EACCES);
	ASSERT_EQ(0, unlock_lease(ro));
	take_exclusive(_metadata, &self->f, false);
	EXPECT_REFUSED(self->r.fd, p, PAGE, -EFAULT);
	EXPECT_EQ(0, reg_error(self->r.fd, self->f.map, PAGE));
}

/* A hole gets its block by the pin. */
/* Rules: P4 */
TEST_F(file, P4_hole_is_allocated)
{
	ASSERT_EQ(0, op_punch(self->f.path, 64 * KIB, 64 * KIB));
	ASSERT_EQ(0ULL, block_of(self->f.fd, 64 * KIB, NULL));
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	EXPECT_FALSE(extents_have(self->f.fd, 0, self->f.size,
				  FIEMAP_EXTENT_UNWRITTEN |
				  FIEMAP_EXTENT_SHARED));
}

/* Breaks if a new buffer can join what somebody is waiting to get rid of. */
/* Rules: P8 */
TEST_F(file, P8_new_buffers_in_the_range_get_eagain)
{
	struct call c;

	set_grace(GRACE_LONG);
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_sparse(self->r.fd, 3));
	ASSERT_EQ(1, reg_update(self->r.fd, 0, self->f.map + 512 * KIB, PAGE));
	start_op(_metadata, &c, op_punch, &self->f, 512 * KIB, 512 * KIB);
	ASSERT_TRUE(wait_for(being_broken(self->f.fd)));
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000));
	EXPECT_EQ(-EAGAIN, reg_update(self->r.fd, 1, self->f.map + 512 * KIB,
				      PAGE));
	EXPECT_EQ(-EAGAIN, reg_update(self->r.fd, 1, self->f.map, self->f.size));
	EXPECT_EQ(1, reg_update(self->r.fd, 1, self->f.map, 512 * KIB));
	EXPECT_FALSE(call_done(&c));
	ASSERT_EQ(1, reg_update(self->r.fd, 0, NULL, 0));
	EXPECT_EQ(0, call_wait(&c));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(1, reg_update(self->r.fd, 2, self->f.map, self->f.size));
}

struct puncher {
	struct dax_file f;
	volatile int *stop;
};

static int punch_often(const void *arg)
{
	const struct puncher *p = arg;
	int ret, n = 0;

	while (!*p->stop) {
		ret = op_punch(p->f.path, 0, p->f.size);
		if (ret)
			return ret;
		/* From back to back to what lets a registration by, also slowly. */
		usleep(n++ % 16 * 16000);
	}
	return n;
}

/*
 * Registrations and breaks in each other's way, at every point of both. Breaks if
 * either waits for the other, or if a pin or a mark is lost.
 */
/* Rules: B4 */
TEST_F(file, B4_registrations_race_with_breaks)
{
	struct puncher p = { .f = self->f, .stop = shared_zalloc(PAGE) };
	int in = source_file(64 * KIB, 1), ret, ok = 0, again = 0;
	long end = now_ms() + 5000, limit = now_ms() + LIMIT * 1000L;
	struct call c;

	set_grace(GRACE_LONG);
	take_exclusive(_metadata, &self->f, false);
	call_start(_metadata, &c, punch_often, &p);
	while (now_ms() < end || (!(ok && again) && now_ms() < limit)) {
		ret = reg_buffer(self->r.fd, self->f.map, 64 * KIB);
		if (ret == -EAGAIN) {
			again++;
			continue;
		}
		ASSERT_EQ(0, ret);
		ok++;
		ASSERT_EQ((int)(64 * KIB), read_fixed(&self->r, in, self->f.map,
						      64 * KIB, 0));
		/* No hole has got into it. */
		ASSERT_EQ(-1, file_differs(self->f.fd, 0, 64 * KIB, 1));
		ASSERT_EQ(0, unreg_buffers(self->r.fd));
	}
	*p.stop = 1;
	EXPECT_LT(0, call_wait(&c));
	EXPECT_LT(0, ok);
	EXPECT_LT(0, again);
	TH_LOG("%d registrations, %d refused, %d holes", ok, again, c.res->ret);
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
	EXPECT_EQ(0, op_punch(self->f.path, 0, self->f.size));
}

/* Breaks if a process waits for itself, be it in a worker of its ring. */
/* Rules: B8 */
TEST_F(file, B8_own_buffer_is_etxtbsy)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_FTRUNCATE,
		.fd = self->f.fd,
	};

	set_grace(GRACE_LONG);
	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	EXPECT_EQ(-1, ftruncate(self->f.fd, 0));
	EXPECT_EQ(ETXTBSY, errno);
	EXPECT_EQ(-ETXTBSY, ring_do(&self->r, &sqe));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
}

/* --- P2: other memory of a ring ------------------------------------------- */

/* Breaks if the check is lifted for io_uring and not for its buffers. */
/* Rules: P2 */
TEST_F(file, P2_rings_stay_refused)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_NO_MMAP,
		.cq_off.user_addr = (uintptr_t)self->f.map,
		.sq_off.user_addr = (uintptr_t)self->f.map + 64 * KIB,
	};
	struct io_uring_buf_reg buf_ring = {
		.ring_addr = (uintptr_t)self->f.map,
		.ring_entries = 4,
	};
	struct io_uring_region_desc region = {
		.user_addr = (uintptr_t)self->f.map,
		.size = PAGE,
		.flags = IORING_MEM_REGION_TYPE_USER,
	};
	struct io_uring_mem_region_reg mem = {
		.region_uptr = (uintptr_t)&region,
	};

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, reg_buffer(self->r.fd, self->f.map, self->f.size));
	EXPECT_EQ(-1, syscall(__NR_io_uring_setup, ENTRIES, &params));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-EOPNOTSUPP, ring_register(self->r.fd,
					     IORING_REGISTER_PBUF_RING,
					     &buf_ring, 1));
	EXPECT_EQ(-EOPNOTSUPP, ring_register(self->r.fd,
					     IORING_REGISTER_MEM_REGION,
					     &mem, 1));
	/* It is the memory that is refused. */
	buf_ring.ring_addr = (uintptr_t)self->anon;
	EXPECT_EQ(0, ring_register(self->r.fd, IORING_REGISTER_PBUF_RING,
				   &buf_ring, 1));
	EXPECT_EQ(1, count_pins(getpid(), NULL));
}

/* --- P9: nothing else changes --------------------------------------------- */

/* Breaks if a lease is a reason to pin the pages of a private mapping. */
/* Rules: P9 */
TEST_F(file, P9_private_mapping_stays_refused)
{
	char *p = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		       self->f.fd, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	take_exclusive(_metadata, &self->f, false);
	EXPECT_REFUSED(self->r.fd, p, 64 * KIB, -EOPNOTSUPP);
}

/* Rules: P9 */
TEST_F(file, P9_other_memory_as_ever)
{
	char *p, *exe;
	int fd;

	take_exclusive(_metadata, &self->f, false);
	EXPECT_EQ(0, reg_error(self->r.fd, self->anon, 64 * KIB));
	fd = memfd_create("page cache", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(fd, 64 * KIB));
	p = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, reg_buffer(self->r.fd, p, 64 * KIB));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unreg_buffers(self->r.fd));

	/* What is refused is refused with the same error. */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	exe = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	EXPECT_EQ(-EFAULT, reg_error(self->r.fd, exe, PAGE));
	ASSERT_EQ(0, munmap(self->anon + 32 * KIB, 32 * KIB));
	EXPECT_EQ(-EFAULT, reg_error(self->r.fd, self->anon, 64 * KIB));
	EXPECT_EQ(-EFAULT, reg_error(self->r.fd, NULL, PAGE));
}

/* --- P1: a registration that is overtaken --------------------------------- */

struct reg_thread {
	pthread_t thread;
	struct registration reg;
	int ret;
};

static void *reg_thread_fn(void *arg)
{
	struct reg_thread *r = arg;

	r->ret = reg_buffer(r->reg.ring, r->reg.addr, r->reg.len);
	return NULL;
}

/*
 * A buffer over a DAX file and anonymous memory behind it that faults to user
 * space: the registration sleeps there, with the file pinned already.
 */
FIXTURE(asleep)
{
	struct ring r;
	struct dax_file f;
	struct reg_thread t;
	struct faulting behind;
};

FIXTURE_VARIANT(asleep)
{
	enum pages pages;
};

FIXTURE_VARIANT_ADD(asleep, base) { BASE_PAGES };
FIXTURE_VARIANT_ADD(asleep, pmd) { PMD_PAGES };

FIXTURE_SETUP(asleep)
{
	size_t size = variant->pages == PMD_PAGES ? PMD : MIB;

	NEED_URING();
	ring_begin(_metadata, &self->r);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", size, variant->pages);
	/* Not the mapped one, so that it can be closed. */
	take_exclusive(_metadata, &self->f, true);

	ASSERT_EQ(0, map_faulting(&self->behind, self->f.map + size, PAGE));

	self->t.reg = (struct registration) { self->r.fd, self->f.map,
					      size + PAGE };
	ASSERT_EQ(0, pthread_create(&self->t.thread, NULL, reg_thread_fn,
				    &self->t));
	/* The fault tells that all of the file is pinned. */
	ASSERT_TRUE(is_touched(&self->behind));
}

FIXTURE_TEARDOWN_PARENT(asleep)
{
	environment_clean();
}

/* Let the registration go on: what it returned. */
static int wake_up(struct __test_metadata *const _metadata,
		   const struct faulting *at, struct reg_thread *t)
{
	ASSERT_EQ(0, fill_page(at, at->mem));
	ASSERT_EQ(0, pthread_join(t->thread, NULL));
	return t->ret;
}

/* Rules: P1 */
TEST_F(asleep, P1_registration_in_progress_counts_as_a_pin)
{
	EXPECT_EQ(1, count_pins(getpid(), "registering"));
	EXPECT_EQ(-EBUSY, unlock_lease(self->f.lease_fd));
	EXPECT_EQ(-EBUSY, set_lease(self->f.lease_fd));
	EXPECT_EQ(0, wake_up(_metadata, &self->behind, &self->t));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, unreg_buffers(self->r.fd));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/*
 * Breaks if a break waits for a registration, which may sleep for ever, or if
 * somebody is killed for one.
 */
/* Rules: P1 */
TEST_F(asleep, P1_overtaken_by_a_break)
{
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(-EAGAIN, wake_up(_metadata, &self->behind, &self->t));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(F_LAYOUT | F_EXCLUSIVE, fcntl(self->f.lease_fd, F_GETLEASE));

	/* And it can be done again. */
	ASSERT_EQ(0, ftruncate(self->f.fd, self->f.size));
	EXPECT_EQ(0, reg_error(self->r.fd, self->f.map, self->f.size + PAGE));
}

/* The same, when the lease goes. */
/* Rules: P1 */
TEST_F(asleep, P1_overtaken_by_the_end_of_the_lease)
{
	ASSERT_EQ(0, close(self->f.lease_fd));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	EXPECT_EQ(-EOPNOTSUPP, wake_up(_metadata, &self->behind, &self->t));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* --- B5: the ladder ------------------------------------------------------- */

#define GRACE	(slowness() > 1 ? 4 : 2)

enum when_recalled { IGNORES, ANSWERS, DIES };

struct holder {
	char path[256];
	int ring;		/* inherited, or -1 for one of its own */
	enum when_recalled when_recalled;
	bool leave;		/* gives up the lease with the pin alive */
	struct holder_state {
		volatile int ready;
		volatile int recalls;
	} *state;
	struct call c;
};

/* Takes the lease, registers a buffer, and waits for what comes. */
static int hold(const void *arg)
{
	const struct holder *h = arg;
	int fd = open(h->path, O_RDWR), ring = h->ring;
	siginfo_t info;
	sigset_t set;
	char *p;

	if (ring < 0) {
		struct io_uring_params params = { };

		ring = syscall(__NR_io_uring_setup, ENTRIES, &params);
	}
	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	if (fd < 0 || ring < 0 || sigprocmask(SIG_BLOCK, &set, NULL) ||
	    set_exclusive(fd))
		return -errno;
	p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED || reg_buffer(ring, p, MIB))
		return -errno;
	if (h->leave) {
		munmap(p, MIB);
		close(fd);
	}
	h->state->ready = 1;
	while (sigwaitinfo(&set, &info) >= 0) {
		h->state->recalls++;
		if (h->when_recalled == ANSWERS)
			unreg_buffers(ring);
	}
	return -errno;
}

static void holder_start(struct __test_metadata *const _metadata,
			 struct holder *h, const struct dax_file *f)
{
	strcpy(h->path, f->path);
	h->state = shared_zalloc(sizeof(*h->state));
	ASSERT_NE(NULL, h->state);
	call_start(_metadata, &h->c, hold, h);
	ASSERT_TRUE(wait_for(h->state->ready || call_done(&h->c)));
	ASSERT_TRUE(h->state->ready) {
		TH_LOG("holder failed: %d", h->c.res->ret);
	}
}

/* How did it end? */
static bool holder_killed(const struct holder *h)
{
	int status;

	return reap(h->c.pid, &status) && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGKILL;
}

static bool holder_alive(const struct holder *h)
{
	return waitpid(h->c.pid, NULL, WNOHANG) == 0;
}

FIXTURE(ladder)
{
	struct dax_file f;
	struct holder h;
	struct call c;
};

FIXTURE_VARIANT(ladder)
{
	op_fn op;
};

FIXTURE_VARIANT_ADD(ladder, truncate) { op_truncate };
FIXTURE_VARIANT_ADD(ladder, punch) { op_punch };

FIXTURE_SETUP(ladder)
{
	NEED_URING();
	set_grace(GRACE);
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	/* Nothing of it stays with us. */
	munmap(self->f.map, self->f.size);
	self->h.ring = -1;
}

FIXTURE_TEARDOWN_PARENT(ladder)
{
	environment_clean();
}

#define start_break() \
	start_op(_metadata, &self->c, variant->op, &self->f, 0, self->f.size)

/* Breaks if he is killed who does what he is asked for. */
/* Rules: B5 */
TEST_F(ladder, B5_who_answers_lives)
{
	self->h.when_recalled = ANSWERS;
	holder_start(_metadata, &self->h, &self->f);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_GT(GRACE * 1000 / 2, call_ms(&self->c));
	EXPECT_EQ(1, self->h.state->recalls);
	sleep(GRACE + 1);
	EXPECT_TRUE(holder_alive(&self->h));
	EXPECT_EQ(0, count_pins(self->h.c.pid, NULL));
}

/*
 * Breaks if the operation waits for him for ever, or does not ask first. He sees
 * the recall, once, and it is not what kills him.
 */
/* Rules: B5 */
TEST_F(ladder, B5_who_does_not_is_killed)
{
	holder_start(_metadata, &self->h, &self->f);
	EXPECT_EQ(1, count_pins(self->h.c.pid, "active"));
	start_break();
	ASSERT_TRUE(wait_for(self->h.state->recalls));
	EXPECT_EQ(1, count_pins(self->h.c.pid, "recall"));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_LE(GRACE * 1000 - 100, call_ms(&self->c));
	EXPECT_GE(2 * GRACE * 1000 + SLACK_MS, call_ms(&self->c));
	EXPECT_TRUE(holder_killed(&self->h));
	EXPECT_EQ(1, self->h.state->recalls);
}

/* The unit is the range: nobody is killed for blocks that he does not hold. */
/* Rules: B1 */
TEST_F(ladder, B1_other_ranges_do_not_disturb_him)
{
	holder_start(_metadata, &self->h, &self->f);
	ASSERT_EQ(0, ftruncate(self->f.fd, 2 * MIB));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, MIB, 0));
	sleep(GRACE + 1);
	EXPECT_EQ(0, self->h.state->recalls);
	EXPECT_TRUE(holder_alive(&self->h));
}

/*
 * The ring outlives the taker, here: the operation fails, in time, and the log
 * tells. Breaks if it waits for what cannot come, or takes the blocks all the
 * same.
 */
/* Rules: B5 */
TEST_F(ladder, B5_ring_passed_on_is_etxtbsy)
{
	char ino[64];
	const char *parts[] = { ino, "fails with ETXTBSY", "/proc/file_pins" };
	int kmsg = log_begin();
	struct stat st;
	struct ring r;

	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, fstat(self->f.fd, &st));
	snprintf(ino, sizeof(ino), "inode %lu:", (unsigned long)st.st_ino);
	ring_begin(_metadata, &r);
	self->h.ring = r.fd;
	holder_start(_metadata, &self->h, &self->f);
	start_break();
	EXPECT_EQ(-ETXTBSY, call_wait(&self->c));
	EXPECT_LE(2 * GRACE * 1000 - 100, call_ms(&self->c));
	EXPECT_GE(2 * GRACE * 1000 + SLACK_MS, call_ms(&self->c));
	EXPECT_TRUE(holder_killed(&self->h));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, self->f.size, 0));
	/* We have the ring, so we see it. */
	EXPECT_EQ(1, count_pins(getpid(), "orphan"));
	EXPECT_TRUE(log_has(kmsg, parts, ARRAY_SIZE(parts)));

	/* Once more, and at once: nobody is left to be asked. */
	start_break();
	EXPECT_EQ(-ETXTBSY, call_wait(&self->c));
	EXPECT_GE(SLACK_MS, call_ms(&self->c));

	/* Until we give it back. */
	EXPECT_EQ(0, unreg_buffers(r.fd));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
}

/*
 * Breaks if a pin survives its lease: who closes that keeps what cannot be
 * revoked, and is killed after the grace period, operation or not.
 */
/* Rules: L6 */
TEST_F(ladder, L6_who_leaves_pins_behind_is_killed)
{
	long begin = now_ms();

	self->h.leave = true;
	holder_start(_metadata, &self->h, &self->f);
	EXPECT_TRUE(wait_for(count_pins(self->h.c.pid, "orphan") == 1));
	EXPECT_TRUE(holder_killed(&self->h));
	EXPECT_LE(GRACE * 1000 - 100, now_ms() - begin);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_GE(GRACE * 1000 + SLACK_MS, call_ms(&self->c));
}

/* --- gup_test ------------------------------------------------------------- */

FIXTURE(gup)
{
	struct dax_file f;
	struct pin_longterm_test test;
	int fd;
};

FIXTURE_VARIANT(gup)
{
	enum pages pages;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(gup, base_read) { BASE_PAGES, 0 };
FIXTURE_VARIANT_ADD(gup, base_write) {
	BASE_PAGES, PIN_LONGTERM_TEST_FLAG_USE_WRITE
};
FIXTURE_VARIANT_ADD(gup, base_fast_write) {
	BASE_PAGES,
	PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST
};
FIXTURE_VARIANT_ADD(gup, pmd_fast_read) {
	PMD_PAGES, PIN_LONGTERM_TEST_FLAG_USE_FAST
};
FIXTURE_VARIANT_ADD(gup, pmd_write) {
	PMD_PAGES, PIN_LONGTERM_TEST_FLAG_USE_WRITE
};

FIXTURE_SETUP(gup)
{
	self->fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	if (self->fd < 0 && errno == ENOENT)
		SKIP(return, "no gup_test in debugfs");
	ASSERT_LE(0, self->fd);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? PMD : MIB, variant->pages);
	self->test = (struct pin_longterm_test) {
		.addr = (uintptr_t)self->f.map,
		.size = self->f.size,
		.flags = variant->flags,
	};
}

FIXTURE_TEARDOWN_PARENT(gup)
{
	environment_clean();
}

static int gup_start(int fd, struct pin_longterm_test *test)
{
	return ioctl(fd, PIN_LONGTERM_TEST_START, test) ? -errno : 0;
}

/* Rules: P3 */
TEST_F(gup, P3_needs_an_exclusive_lease)
{
	EXPECT_EQ(-EOPNOTSUPP, gup_start(self->fd, &self->test));
	ASSERT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(-EOPNOTSUPP, gup_start(self->fd, &self->test));
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* Rules: P3 */
TEST_F(gup, P3_exclusive_lease_allows)
{
	bool write = variant->flags & PIN_LONGTERM_TEST_FLAG_USE_WRITE;
	char *copy = anon(self->f.size);
	uint64_t addr = (uintptr_t)copy;
	struct pin_line pins[MAX_PINS];

	take_exclusive(_metadata, &self->f, false);
	ASSERT_EQ(0, gup_start(self->fd, &self->test));
	EXPECT_EQ(-EINVAL, gup_start(self->fd, &self->test));
	ASSERT_EQ(1, read_pins(getpid(), pins));
	EXPECT_STREQ("gup_test", pins->user);
	EXPECT_STREQ("exclusive", pins->lease);
	EXPECT_STREQ(write ? "rw" : "ro", pins->mode);
	EXPECT_EQ(self->f.size / PAGE, pins->pages);
	EXPECT_EQ(-EBUSY, unlock_lease(self->f.fd));
	ASSERT_EQ(0, write_pattern(self->f.fd, 0, self->f.size, 2));
	ASSERT_EQ(0, ioctl(self->fd, PIN_LONGTERM_TEST_READ, &addr));
	EXPECT_EQ(0, memcmp(copy, self->f.map, self->f.size));
	ASSERT_EQ(0, ioctl(self->fd, PIN_LONGTERM_TEST_STOP));
	EXPECT_EQ(0, count_pins(getpid(), NULL));

	/* And by the last close. */
	ASSERT_EQ(0, gup_start(self->fd, &self->test));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_TRUE(wait_for(!count_pins(getpid(), NULL)));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
}

/* Its other commands are no users that anybody could name. */
/* Rules: P2 */
TEST_F(gup, P2_other_commands_stay_refused)
{
	struct gup_test test = {
		.addr = (uintptr_t)self->f.map,
		.size = self->f.size,
		.nr_pages_per_call = self->f.size / PAGE,
		.gup_flags = 1,		/* FOLL_WRITE */
	};

	take_exclusive(_metadata, &self->f, false);
	/* It tells how much it pinned, not why that was not all. */
	ASSERT_EQ(0, ioctl(self->fd, PIN_LONGTERM_BENCHMARK, &test));
	EXPECT_EQ(0ULL, test.size);
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

LAYOUT_LEASE_TEST_MAIN
