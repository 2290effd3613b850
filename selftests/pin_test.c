// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory may be pinned under a layout lease, by whom, and what is left
 * over when it may not (P1, P2, P3, P6 - P9).
 */
#include <linux/io_uring.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include "../../../../mm/gup_test.h"
#include "verbs_util.h"

/* --- P1, P3, P6 for each way to hold a lease and each size of page ------------ */

FIXTURE(pin)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
};

FIXTURE_VARIANT(pin)
{
	enum fs fs;
	enum pages pages;
	bool other;		/* the lease is not on the mapped open file */
};

FIXTURE_VARIANT_ADD(pin, xfs_base_mapped_fd) { XFS, BASE_PAGES, false };
FIXTURE_VARIANT_ADD(pin, xfs_pmd_other_fd) { XFS, PMD_PAGES, true };
FIXTURE_VARIANT_ADD(pin, ext4_base_other_fd) { EXT4, BASE_PAGES, true };
FIXTURE_VARIANT_ADD(pin, ext4_pmd_mapped_fd) { EXT4, PMD_PAGES, false };

FIXTURE_SETUP(pin)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : MIB, variant->pages);
}

FIXTURE_TEARDOWN_PARENT(pin)
{
	environment_clean();
}

/*
 * Breaks if DAX memory can be pinned by whoever likes, or if the errno is not
 * that of a stock kernel, on which libraries fall back to ODP.
 */
/* Rules: P1 */
TEST_F(pin, P1_no_lease_is_eopnotsupp)
{
	long before = vm_pin_kb();

	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, self->f.map, self->f.size,
					 ACCESS_RW));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, self->f.map, PAGE,
					 ACCESS_RO));
	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/*
 * The whole path: what a remote peer writes is in the file, what is in the file
 * is what it reads.  rxe is revocable, so a plain lease is enough (P3).
 */
/* Rules: P1 */
TEST_F(pin, P1_lease_allows)
{
	size_t len = 64 * KIB, at = self->f.size - len;
	struct ibv_mr *mr;

	take_lease(_metadata, &self->f, variant->other);
	ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, mr,
					       self->f.map + at, len, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, at, len, 1));
	ASSERT_EQ(0, write_pattern(self->f.fd, at, len, 2));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_read(&self->v, &self->p, mr,
					      self->f.map + at, len));
	set_pattern(self->v.buf + len, len, 2);
	EXPECT_EQ(0, memcmp(self->v.buf, self->v.buf + len, len));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unlock_lease(self->f.lease_fd));
}

/* Breaks if memory is charged for the DAX entry, or twice given back. */
/* Rules: P6 */
TEST_F(pin, P6_vm_pin_is_exact)
{
	long before = vm_pin_kb();
	struct ibv_mr *all, *one, *again;

	take_lease(_metadata, &self->f, variant->other);
	ASSERT_REG(one, &self->v, self->f.map + PAGE, PAGE, ACCESS_RW);
	EXPECT_EQ(before + 4, vm_pin_kb());
	/* The same page once more, and not from its start. */
	ASSERT_REG(again, &self->v, self->f.map + PAGE + 100, 200, ACCESS_RO);
	EXPECT_EQ(before + 8, vm_pin_kb());
	ASSERT_REG(all, &self->v, self->f.map, self->f.size, ACCESS_RW);
	EXPECT_EQ(before + 8 + (long)(self->f.size / KIB), vm_pin_kb());
	EXPECT_EQ(0, ibv_dereg_mr(all));
	EXPECT_EQ(before + 8, vm_pin_kb());
	EXPECT_EQ(0, ibv_dereg_mr(one));
	EXPECT_EQ(0, ibv_dereg_mr(again));
	EXPECT_EQ(before, vm_pin_kb());
}

/* Breaks if munmap unpins: the pin belongs to the file, not to the mapping. */
/* Rules: P10 */
TEST_F(pin, P10_munmap_and_mprotect_leave_it_alone)
{
	struct ibv_mr *mr;

	take_lease(_metadata, &self->f, variant->other);
	ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	ASSERT_EQ(0, mprotect(self->f.map, self->f.size, PROT_READ));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, mr,
					       self->f.map, PAGE, 1));
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, mr,
					       self->f.map + PAGE, PAGE, 2));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, PAGE, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, PAGE, PAGE, 2));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* Breaks if ODP, which needs no pin, is asked for a lease or gets recalled. */
/* Rules: V7 */
TEST_F(pin, V7_odp_needs_no_lease)
{
	struct ibv_mr *mr;

	if (!can_fault(&self->v))
		SKIP(return, "the RDMA device cannot fault");
	set_grace(GRACE_LONG);
	ASSERT_REG(mr, &self->v, self->f.map, self->f.size,
		   IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
		   IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND);
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	/* One packet: rxe's ODP cannot do the second of a page (as of 7.3). */
	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, mr,
					       self->f.map, 256, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, 256, 1));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* --- P1: whose lease counts ------------------------------------------------------ */

FIXTURE(whose)
{
	struct verbs v;
	struct dax_file f;
	int other;		/* another open file description, read-write */
	int ro;			/* and one for reading only */
};

FIXTURE_VARIANT(whose)
{
	enum fs fs;
};

ADD_EACH_FS(whose);

FIXTURE_SETUP(whose)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	make_file(_metadata, &self->f, "f", 256 * KIB, BASE_PAGES);
	self->other = open(self->f.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->other);
	self->ro = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->ro);
}

FIXTURE_TEARDOWN_PARENT(whose)
{
	environment_clean();
}

#define reg_file(access) \
	reg_error(&self->v, self->f.map, self->f.size, access)

/* libpmem closes the descriptor after mmap: the mapping keeps the lease alive. */
/* Rules: P1 */
TEST_F(whose, P1_lease_fd_closed_after_mmap)
{
	ASSERT_EQ(0, set_lease(self->f.fd));
	ASSERT_EQ(0, close(self->f.fd));
	EXPECT_EQ(0, reg_file(ACCESS_RW));
}

static int lease_own_fd(const void *arg)
{
	int fd = open(arg, O_RDWR);

	if (fd < 0 || set_lease(fd))
		return -errno;
	/* Holds it to the end. */
	raise(SIGSTOP);
	return 0;
}

static int lease_inherited_fd(const void *arg)
{
	return set_lease(*(const int *)arg);
}

/*
 * Breaks if any lease on the inode counts: then somebody else's promise to
 * answer would allow my pin.
 */
/* Rules: P1 */
TEST_F(whose, P1_lease_of_another_process_does_not_count)
{
	struct call c;
	int status;

	call_start(_metadata, &c, lease_own_fd, self->f.path);
	ASSERT_EQ(c.pid, waitpid(c.pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(-EOPNOTSUPP, reg_file(ACCESS_RW));
	EXPECT_EQ(0, held_pins());
	kill(c.pid, SIGKILL);
	ASSERT_TRUE(reap(c.pid, &status));

	/* Nor one that it took on an open file of mine that is not mapped. */
	ASSERT_EQ(0, in_child(_metadata, lease_inherited_fd, &self->other));
	ASSERT_EQ(F_LAYOUT, fcntl(self->other, F_GETLEASE));
	EXPECT_EQ(-EOPNOTSUPP, reg_file(ACCESS_RW));

	/* But the mapping's own open file counts, whoever took it. */
	ASSERT_EQ(0, in_child(_metadata, lease_inherited_fd, &self->f.fd));
	EXPECT_EQ(0, reg_file(ACCESS_RW));
}

static void *thread_takes_lease(void *arg)
{
	return (void *)(long)set_lease(*(int *)arg);
}

/* Breaks if the taker is a thread: who registers later is another one. */
/* Rules: P1 */
TEST_F(whose, P1_lease_of_a_thread_that_is_gone)
{
	pthread_t t;
	void *ret;

	ASSERT_EQ(0, pthread_create(&t, NULL, thread_takes_lease, &self->other));
	ASSERT_EQ(0, pthread_join(t, &ret));
	ASSERT_EQ(NULL, ret);
	EXPECT_EQ(0, reg_file(ACCESS_RW));
}

struct shares_mm {
	int fd;
	volatile int done;
};

static int shares_mm_fn(void *arg)
{
	struct shares_mm *s = arg;
	int ret;

	/* Not for ever, if the test ends before it says so. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ret = set_lease(s->fd);
	__atomic_store_n(&s->done, 1 + ret, __ATOMIC_RELEASE);
	while (__atomic_load_n(&s->done, __ATOMIC_ACQUIRE))
		usleep(2000);
	return 0;
}

/* A process of its own that shares the address space shares the promise. */
/* Rules: P1 */
TEST_F(whose, P1_lease_of_a_process_that_shares_the_mm)
{
	struct shares_mm s = { .fd = self->other };
	char *stack = malloc(256 * KIB);
	int pid, status;

	ASSERT_NE(NULL, stack);
	pid = clone(shares_mm_fn, stack + 256 * KIB, CLONE_VM | SIGCHLD, &s);
	ASSERT_LE(0, pid);
	ASSERT_TRUE(wait_for(__atomic_load_n(&s.done, __ATOMIC_ACQUIRE)));
	ASSERT_EQ(1, s.done);
	EXPECT_EQ(0, reg_file(ACCESS_RW));
	__atomic_store_n(&s.done, 0, __ATOMIC_RELEASE);
	ASSERT_TRUE(reap(pid, &status));
	/* The taker is gone, and with it the promise. */
	EXPECT_EQ(-EOPNOTSUPP, reg_file(ACCESS_RW));
}

/* Breaks if leases are looked for by file system, or by anything but the inode. */
/* Rules: P1 */
TEST_F(whose, P1_lease_on_another_file_does_not_count)
{
	struct dax_file g;

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(g.fd));
	EXPECT_EQ(-EOPNOTSUPP, reg_file(ACCESS_RW));
}

/* Who may only read the file must not get a device to write to it. */
/* Rules: P1 */
TEST_F(whose, P1_writable_pin_needs_a_writable_lease)
{
	ASSERT_EQ(0, set_lease(self->ro));
	EXPECT_EQ(-EACCES, reg_file(ACCESS_RW));
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, reg_file(ACCESS_RO));
	/* One of two leases will do. */
	ASSERT_EQ(0, set_lease(self->other));
	EXPECT_EQ(0, reg_file(ACCESS_RW));
}

/* The same, where the mapping is of the read-only descriptor itself. */
/* Rules: P1 */
TEST_F(whose, P1_read_only_mapping_of_a_read_only_lease)
{
	char *p = map_at(NULL, self->ro, self->f.size, PROT_READ, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, set_lease(self->ro));
	EXPECT_EQ(-EACCES, reg_error(&self->v, p, self->f.size, ACCESS_RW));
	EXPECT_EQ(0, reg_error(&self->v, p, self->f.size, ACCESS_RO));
}

/* --- P2: who else pins for long stays refused ------------------------------------- */

/* Breaks if the check is lifted for DAX memory and not for the user of the pin. */
/* Rules: P2 */
TEST_F(whose, P2_io_uring_buffers_stay_refused)
{
	struct iovec iov = { self->f.map, self->f.size };
	struct io_uring_params params = { };
	int ring = syscall(__NR_io_uring_setup, 4, &params);

	ASSERT_LE(0, ring);
	ASSERT_EQ(0, set_lease(self->f.fd));
	ASSERT_EQ(0, reg_file(ACCESS_RW));
	EXPECT_EQ(-1, syscall(__NR_io_uring_register, ring,
			      IORING_REGISTER_BUFFERS, &iov, 1));
	EXPECT_EQ(EOPNOTSUPP, errno);
	/* It is the memory that is refused. */
	iov.iov_base = self->v.buf;
	EXPECT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_REGISTER_BUFFERS, &iov, 1));
}

/* gup_test is "every other user", and has GUP-fast, too. */
/* Rules: P2 */
TEST_F(whose, P2_gup_test_stays_refused)
{
	struct pin_longterm_test test = {
		.addr = (uintptr_t)self->f.map,
		.size = self->f.size,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	struct ibv_mr *mr;

	if (fd < 0 && errno == ENOENT)
		SKIP(return, "no gup_test in debugfs");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_lease(self->f.fd));
	ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	for (test.flags = 0; test.flags < 4; test.flags++) {
		EXPECT_EQ(-1, ioctl(fd, PIN_LONGTERM_TEST_START, &test)) {
			TH_LOG("flags %u", test.flags);
			ioctl(fd, PIN_LONGTERM_TEST_STOP);
		}
		EXPECT_EQ(EOPNOTSUPP, errno);
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* --- P6: limits -------------------------------------------------------------------- */

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { };

	return syscall(SYS_capset, &header, data);
}

/* Breaks if leased pins go past RLIMIT_MEMLOCK, or failures leave a charge. */
/* Rules: P6 */
TEST_F(whose, P6_rlimit_memlock)
{
	long used = vm_pin_kb();
	struct rlimit limit;
	struct ibv_mr *mr;

	ASSERT_EQ(0, set_lease(self->f.fd));
	limit.rlim_cur = limit.rlim_max = (used + 64) * KIB;
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, drop_capabilities());

	EXPECT_EQ(-ENOMEM, reg_error(&self->v, self->f.map, 128 * KIB,
				     ACCESS_RW));
	EXPECT_EQ(used, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	ASSERT_REG(mr, &self->v, self->f.map, 64 * KIB, ACCESS_RW);
	EXPECT_EQ(used + 64, vm_pin_kb());
	EXPECT_EQ(-ENOMEM, reg_error(&self->v, self->f.map + 64 * KIB, PAGE,
				     ACCESS_RW));
	EXPECT_EQ(used + 64, vm_pin_kb());
	ASSERT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(used, vm_pin_kb());
	EXPECT_EQ(0, reg_error(&self->v, self->f.map + 64 * KIB, 64 * KIB,
			       ACCESS_RW));
}

/* --- P7: one region over several mappings ------------------------------------------- */

FIXTURE(mixed)
{
	struct verbs v;
	struct pair p;
	struct dax_file a, b;
	char *area;
};

FIXTURE_VARIANT(mixed)
{
	enum fs a, b;
};

FIXTURE_VARIANT_ADD(mixed, xfs) { XFS, XFS };
FIXTURE_VARIANT_ADD(mixed, ext4) { EXT4, EXT4 };
FIXTURE_VARIANT_ADD(mixed, xfs_and_ext4) { XFS, EXT4 };

FIXTURE_SETUP(mixed)
{
	if (variant->a != variant->b && one_device())
		SKIP(return, "two file systems need two DAX devices");
	VERBS_SETUP(&self->v);
	pair_begin(_metadata, &self->v, &self->p);
	use_fs(_metadata, variant->a);
	make_file(_metadata, &self->a, "a", 64 * KIB, BASE_PAGES);
	use_fs(_metadata, variant->b);
	make_file(_metadata, &self->b, "b", 2 * PMD, PMD_PAGES);
	/* anonymous | a | b from its last 64 KiB before 2 MiB, 128 KiB | anonymous */
	self->area = mmap(NULL, 320 * KIB, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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

/* Breaks if a batch of pages runs over the end of a mapping. */
/* Rules: P7 */
TEST_F(mixed, P7_several_mappings_and_files)
{
	struct pin_line pins[MAX_PINS];
	long before = vm_pin_kb();
	char *all = malloc(320 * KIB);
	struct ibv_mr *mr;
	int fd;

	/* One lease on the mapped open file, the other on one beside it. */
	ASSERT_EQ(0, set_lease(self->a.fd));
	fd = open(self->b.path, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, set_lease(fd));
	ASSERT_REG(mr, &self->v, self->area, 320 * KIB, ACCESS_RW);
	EXPECT_EQ(before + 320, vm_pin_kb());
	EXPECT_EQ(2, read_pins(getpid(), pins));
	EXPECT_STREQ(pins[0].user, pins[1].user);

	EXPECT_EQ(IBV_WC_SUCCESS, remote_write(&self->v, &self->p, mr,
					       self->area, 320 * KIB, 1));
	set_pattern(all, 320 * KIB, 1);
	EXPECT_EQ(0, memcmp(all, self->area, 320 * KIB));
	/* In the files, not only in the mappings. */
	ASSERT_EQ((ssize_t)(64 * KIB), pread(self->a.fd, self->v.buf, 64 * KIB, 0));
	EXPECT_EQ(0, memcmp(all + 64 * KIB, self->v.buf, 64 * KIB));
	ASSERT_EQ((ssize_t)(128 * KIB), pread(fd, self->v.buf, 128 * KIB,
					      PMD - 64 * KIB));
	EXPECT_EQ(0, memcmp(all + 128 * KIB, self->v.buf, 128 * KIB));

	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/*
 * Breaks if what was pinned before the mapping that fails is not given back: the
 * lease would be busy for ever.  Either file may be the one without a lease,
 * so that the failure comes first, in the middle, and after memory of each kind.
 */
/* Rules: P7 */
TEST_F(mixed, P7_all_or_nothing)
{
	long before = vm_pin_kb();

	ASSERT_EQ(0, set_lease(self->a.fd));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, self->area, 320 * KIB,
					 ACCESS_RW));
	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->a.fd));

	ASSERT_EQ(0, set_lease(self->b.fd));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, self->area, 320 * KIB,
					 ACCESS_RW));
	/* Between the two mappings of it. */
	ASSERT_NE(MAP_FAILED,
		  (void *)map_at(self->area, self->b.fd, 64 * KIB,
				 PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, self->area, 320 * KIB,
					 ACCESS_RW));
	/* And with no mapping at all. */
	ASSERT_EQ(0, munmap(self->area + 64 * KIB, 64 * KIB));
	EXPECT_EQ(-EFAULT, reg_error(&self->v, self->area, 320 * KIB,
				     ACCESS_RW));
	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->b.fd));

	/* Nobody has to wait for what is not there. */
	set_grace(GRACE_LONG);
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->a, 0, 0));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->b, 0, 0));
}

/* --- P8: no new pins where a break is pending ----------------------------------------- */

FIXTURE(pending)
{
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
};

FIXTURE_VARIANT(pending)
{
	enum fs fs;
	op_fn op;
};

ADD_FS_VARIANTS(pending, _truncate, op_truncate);
ADD_FS_VARIANTS(pending, _punch, op_punch);

FIXTURE_SETUP(pending)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", MIB, BASE_PAGES);
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map + 512 * KIB, 64 * KIB,
		   ACCESS_RW);
	start_op(_metadata, &self->c, variant->op, &self->f, 512 * KIB,
		 512 * KIB);
	ASSERT_TRUE(wait_for(breaking(self->f.fd)));
}

FIXTURE_TEARDOWN_PARENT(pending)
{
	environment_clean();
}

/*
 * Breaks if a pinner does not look for marks: the operation would never see the
 * end of those who come in behind it.
 */
/* Rules: P8 */
TEST_F(pending, P8_new_pins_in_the_range_get_eagain)
{
	long before = vm_pin_kb();

	/* In the pin, elsewhere in the range, across its edge. */
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map + 512 * KIB, PAGE,
				     ACCESS_RW));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map + 768 * KIB, PAGE,
				     ACCESS_RO));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map, MIB, ACCESS_RW));
	EXPECT_EQ(before, vm_pin_kb());
	EXPECT_EQ(1, held_pins());
	/* Outside of it. */
	EXPECT_EQ(0, reg_error(&self->v, self->f.map, 512 * KIB, ACCESS_RW));

	EXPECT_FALSE(call_done(&self->c));
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	/* The mark goes with the operation. */
	ASSERT_EQ(0, ftruncate(self->f.fd, MIB));
	EXPECT_EQ(0, reg_error(&self->v, self->f.map, MIB, ACCESS_RW));
}

/* --- P9: nothing else changes ----------------------------------------------------------- */

/* A private mapping has pages of its own; a lease is no reason to pin the others. */
/* Rules: P9 */
TEST_F(whose, P9_private_mapping_stays_refused)
{
	char *p = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		       self->f.fd, 0);

	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, p, 64 * KIB, ACCESS_RW));
	EXPECT_EQ(-EOPNOTSUPP, reg_error(&self->v, p, 64 * KIB, ACCESS_RO));
	EXPECT_EQ(0, held_pins());
}

/* Rules: P9 */
TEST_F(whose, P9_other_memory_as_ever)
{
	long before = vm_pin_kb(), huge;
	struct ibv_mr *mr;
	char *p;
	int fd;

	/* Page cache that is not dirty-tracked. */
	fd = memfd_create("page cache", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(fd, 64 * KIB));
	p = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	ASSERT_REG(mr, &self->v, p, 64 * KIB, ACCESS_RW);
	EXPECT_EQ(before + 64, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, ibv_dereg_mr(mr));

	/* A private mapping of a file in the page cache. */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	EXPECT_EQ(0, reg_error(&self->v, p, PAGE, ACCESS_RW));

	huge = get_number("/proc/sys/vm/nr_hugepages");
	if (huge >= 0 && !set_number("/proc/sys/vm/nr_hugepages", huge + 1)) {
		p = mmap(NULL, PMD, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_HUGETLB | (21 << 26), -1, 0);
		if (p != MAP_FAILED) {
			EXPECT_EQ(0, reg_error(&self->v, p, PMD, ACCESS_RW));
			munmap(p, PMD);
		}
		set_number("/proc/sys/vm/nr_hugepages", huge);
	}
	EXPECT_EQ(before, vm_pin_kb());
}

/* --- P1: a registration that is overtaken ------------------------------------------------ */

/*
 * A region over a DAX file and anonymous memory behind it that faults to user
 * space: the registration sleeps there, with the file pinned already.
 */
FIXTURE(asleep)
{
	struct verbs v;
	struct dax_file f;
	struct reg_thread r;
	long vm_pin;
	struct faulting behind;
};

FIXTURE_VARIANT(asleep)
{
	enum fs fs;
	enum pages pages;
	op_fn op;
};

ADD_FS_PAGES_VARIANTS(asleep, _truncate, op_truncate);

FIXTURE_SETUP(asleep)
{
	size_t size = variant->pages == PMD_PAGES ? PMD : MIB;

	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", size, variant->pages);
	/* Not the mapped one, so that it can be closed. */
	take_lease(_metadata, &self->f, true);

	ASSERT_EQ(0, map_faulting(&self->behind, self->f.map + size, PAGE));

	self->vm_pin = vm_pin_kb();
	self->r = (struct reg_thread) {
		.v = &self->v,
		.addr = self->f.map,
		.len = size + PAGE,
		.access = ACCESS_RW,
	};
	ASSERT_EQ(0, pthread_create(&self->r.thread, NULL, reg_thread_fn,
				    &self->r));
	/* The fault tells that all of the file is pinned. */
	ASSERT_TRUE(is_touched(&self->behind));
}

FIXTURE_TEARDOWN_PARENT(asleep)
{
	environment_clean();
}

/* Let the registration go on: what it returned. */
static int wake_up(struct __test_metadata *const _metadata,
		   const struct faulting *at, struct reg_thread *r)
{
	ASSERT_EQ(0, fill_page(at, at->mem));
	ASSERT_EQ(0, pthread_join(r->thread, NULL));
	return r->err;
}

/* Undisturbed it succeeds; meanwhile it is a pin like others (L5, R1). */
/* Rules: P1 */
TEST_F(asleep, P1_registration_in_progress_counts_as_a_pin)
{
	EXPECT_EQ(1, count_pins(getpid(), "registering"));
	EXPECT_EQ(-EBUSY, unlock_lease(self->f.lease_fd));
	EXPECT_EQ(0, wake_up(_metadata, &self->behind, &self->r));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, ibv_dereg_mr(self->r.mr));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
}

/*
 * Breaks if a break waits for a registration (there is nobody who could answer,
 * and it may sleep for ever), or if what it pinned survives.
 */
/* Rules: P1 */
TEST_F(asleep, P1_overtaken_by_a_break)
{
	EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f, 0,
				self->f.size));
	/* Nobody was recalled. */
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(-EAGAIN, wake_up(_metadata, &self->behind, &self->r));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));

	/* And it can be done again. */
	ASSERT_EQ(0, ftruncate(self->f.fd, self->f.size));
	EXPECT_EQ(0, reg_error(&self->v, self->f.map, self->f.size + PAGE,
			       ACCESS_RW));
}

/* The same, when the lease goes. */
/* Rules: P1 */
TEST_F(asleep, P1_overtaken_by_the_end_of_the_lease)
{
	ASSERT_EQ(0, close(self->f.lease_fd));
	EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f, 0,
				self->f.size));
	EXPECT_EQ(-EOPNOTSUPP, wake_up(_metadata, &self->behind, &self->r));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* --- P1: what changes while a registration sleeps before it gets to the file ---------- */

/* Anonymous memory that faults to user space, and behind it a DAX file. */
FIXTURE(late)
{
	struct verbs v;
	struct dax_file f;
	struct reg_thread r;
	long vm_pin;
	struct faulting before;
};

FIXTURE_VARIANT(late)
{
	enum fs fs;
	enum pages pages;
};

FIXTURE_VARIANT_ADD(late, xfs_base) { XFS, BASE_PAGES };
FIXTURE_VARIANT_ADD(late, ext4_pmd) { EXT4, PMD_PAGES };

FIXTURE_SETUP(late)
{
	size_t size = variant->pages == PMD_PAGES ? PMD : 64 * KIB;

	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", size, variant->pages);
	take_lease(_metadata, &self->f, true);
	ASSERT_EQ(0, map_faulting(&self->before, self->f.map - PAGE, PAGE));
	self->vm_pin = vm_pin_kb();
	self->r = (struct reg_thread) {
		.v = &self->v,
		.addr = self->before.mem,
		.len = PAGE + size,
		.access = ACCESS_RW,
	};
	ASSERT_EQ(0, pthread_create(&self->r.thread, NULL, reg_thread_fn,
				    &self->r));
	ASSERT_TRUE(is_touched(&self->before));
}

FIXTURE_TEARDOWN_PARENT(late)
{
	environment_clean();
}

#define late_result() \
	wake_up(_metadata, &self->before, &self->r)

/* Breaks if the lease is looked for once, at the beginning. */
/* Rules: P1 L5 P6 */
TEST_F(late, P1_lease_given_back_meanwhile)
{
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(0, unlock_lease(self->f.lease_fd));
	EXPECT_EQ(-EOPNOTSUPP, late_result());
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, set_lease(self->f.lease_fd));
	EXPECT_EQ(0, unlock_lease(self->f.lease_fd));
}

/* Breaks if what was mapped at the beginning is pinned, or is thought to be. */
/* Rules: P1 P6 */
TEST_F(late, P1_other_file_mapped_meanwhile)
{
	struct dax_file g;

	make_file(_metadata, &g, "g", self->f.size, variant->pages);
	ASSERT_NE(MAP_FAILED,
		  (void *)map_at(self->f.map, g.fd, g.size,
				 PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(-EOPNOTSUPP, late_result());
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
	EXPECT_EQ(0, unlock_lease(self->f.lease_fd));
}

/* Rules: P1 P6 */
TEST_F(late, P1_unmapped_meanwhile)
{
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	EXPECT_EQ(-EFAULT, late_result());
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, held_pins());
}

/* Breaks if a registration that began before the break gets past its mark. */
/* Rules: P1 P8 B4 */
TEST_F(late, P8_marked_meanwhile)
{
	struct ibv_mr *mr;
	struct call c;

	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	start_op(_metadata, &c, op_truncate, &self->f, 0, 0);
	ASSERT_TRUE(wait_for(breaking(self->f.lease_fd)));
	EXPECT_EQ(-EAGAIN, late_result());
	EXPECT_FALSE(call_done(&c));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, call_wait(&c));
	EXPECT_EQ(self->vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

LAYOUT_LEASE_TEST_MAIN
