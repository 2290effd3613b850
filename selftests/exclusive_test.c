// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive layout leases (L3): to whom they are granted, what they shut out, and
 * how a lease becomes exclusive or plain.  What they are good for, pins that
 * cannot be revoked, is in uring_test.
 */
#include "verbs_util.h"

#define EXCLUSIVE	(F_LAYOUT | F_EXCLUSIVE)

static int lease(int fd, int arg)
{
	return fcntl(fd, F_SETLEASE, arg) ? -errno : 0;
}

static int consent(int fd)
{
	return fcntl(fd, F_SETSIG, SIGKILL) ? -errno : 0;
}

struct lease_arg {
	int fd, arg;
	uid_t uid;
	bool consent;
};

static int lease_in_child(const void *arg)
{
	const struct lease_arg *l = arg;

	if (l->uid && setresuid(l->uid, l->uid, l->uid))
		return -EPROTO;
	if (l->consent && consent(l->fd))
		return -EPROTO;
	return lease(l->fd, l->arg);
}

FIXTURE(excl)
{
	struct dax_file f;
	int fd2;		/* another open file description */
};

FIXTURE_VARIANT(excl)
{
	enum fs fs;
};

ADD_EACH_FS(excl);

FIXTURE_SETUP(excl)
{
	use_fs(_metadata, variant->fs);
	make_file(_metadata, &self->f, "f", 64 * KIB, BASE_PAGES);
	self->fd2 = open(self->f.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd2);
}

FIXTURE_TEARDOWN_PARENT(excl)
{
	environment_clean();
}

/* Breaks if somebody can come to be killed who never agreed to it. */
/* Rules: L3 L4 */
TEST_F(excl, L3_no_consent_is_eperm)
{
	EXPECT_EQ(-EPERM, lease(self->f.fd, EXCLUSIVE));
	ASSERT_EQ(0, fcntl(self->f.fd, F_SETSIG, LEASE_SIGNAL));
	EXPECT_EQ(-EPERM, lease(self->f.fd, EXCLUSIVE));
	/* That of another open file is none. */
	ASSERT_EQ(0, consent(self->fd2));
	EXPECT_EQ(-EPERM, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	/* A plain lease needs none, and does not stand in for it. */
	ASSERT_EQ(0, lease(self->f.fd, F_LAYOUT));
	EXPECT_EQ(-EPERM, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
}

/* Rules: L3 L4 L5 */
TEST_F(excl, L3_granted_with_consent)
{
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(F_UNLCK, fcntl(self->fd2, F_GETLEASE));
	/* The same again changes nothing. */
	EXPECT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, lease(self->f.fd, F_UNLCK));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	/* With the lease the consent is gone, as is the signal. */
	EXPECT_EQ(0, fcntl(self->f.fd, F_GETSIG));
	EXPECT_EQ(-EPERM, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(0, lease(self->fd2, F_LAYOUT));
}

/* Breaks if the signal of recalls and the consent are one thing. */
/* Rules: L3 */
TEST_F(excl, L3_consent_is_latched)
{
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	ASSERT_EQ(0, fcntl(self->f.fd, F_SETSIG, LEASE_SIGNAL));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(LEASE_SIGNAL, fcntl(self->f.fd, F_GETSIG));
	/* A plain lease has no consent; it takes a new one. */
	EXPECT_EQ(0, lease(self->f.fd, F_LAYOUT));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(-EPERM, lease(self->f.fd, EXCLUSIVE));
	ASSERT_EQ(0, consent(self->f.fd));
	EXPECT_EQ(0, lease(self->f.fd, EXCLUSIVE));
}

/* Breaks if two holders can both believe to be alone. */
/* Rules: L2 L3 */
TEST_F(excl, L3_shuts_out_other_layout_leases)
{
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, consent(self->fd2));
	ASSERT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(-EAGAIN, lease(self->fd2, F_LAYOUT));
	EXPECT_EQ(-EAGAIN, lease(self->fd2, EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, fcntl(self->fd2, F_GETLEASE));

	/* The other way round. */
	ASSERT_EQ(0, lease(self->f.fd, F_UNLCK));
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, lease(self->fd2, F_LAYOUT));
	EXPECT_EQ(-EAGAIN, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	ASSERT_EQ(0, lease(self->f.fd, F_LAYOUT));
	/* Upgrades are no way around it, and change nothing if they fail. */
	EXPECT_EQ(-EAGAIN, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->fd2, F_GETLEASE));
	ASSERT_EQ(0, lease(self->fd2, F_UNLCK));
	EXPECT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(-EAGAIN, lease(self->fd2, F_LAYOUT));
	/* A downgrade lets others in. */
	EXPECT_EQ(0, lease(self->f.fd, F_LAYOUT));
	EXPECT_EQ(0, lease(self->fd2, F_LAYOUT));
}

/* Another file is none of its business. */
/* Rules: L3 */
TEST_F(excl, L3_is_about_one_file)
{
	struct dax_file g;

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, consent(g.fd));
	EXPECT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(0, lease(g.fd, EXCLUSIVE));
}

/* Breaks if who shares the open file can answer for the taker. */
/* Rules: L3 L7 */
TEST_F(excl, L3_only_the_taker_changes_it)
{
	struct lease_arg up = { .fd = self->f.fd, .arg = EXCLUSIVE, .consent = true };
	struct lease_arg down = { .fd = self->f.fd, .arg = F_LAYOUT };

	ASSERT_EQ(0, lease(self->f.fd, F_LAYOUT));
	EXPECT_EQ(-EPERM, in_child(_metadata, lease_in_child, &up));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(-EPERM, in_child(_metadata, lease_in_child, &down));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	/* But anybody who has it may release it, as ever. */
	down.arg = F_UNLCK;
	EXPECT_EQ(0, in_child(_metadata, lease_in_child, &down));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
}

static void *upgrade_in_thread(void *arg)
{
	return (void *)(long)lease(*(int *)arg, EXCLUSIVE);
}

/* The taker is the thread group. */
/* Rules: L3 L7 */
TEST_F(excl, L7_another_thread_is_the_taker_too)
{
	pthread_t t;
	void *ret;

	ASSERT_EQ(0, lease(self->f.fd, F_LAYOUT));
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, pthread_create(&t, NULL, upgrade_in_thread, &self->f.fd));
	ASSERT_EQ(0, pthread_join(t, &ret));
	EXPECT_EQ(NULL, ret);
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, lease(self->f.fd, F_LAYOUT));
}

/* Breaks if the order of the checks depends on the flavour. */
/* Rules: L1 L3 */
TEST_F(excl, L1_order_of_the_checks)
{
	struct lease_arg l = { .fd = self->f.fd, .uid = 1000 };
	int dir = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int mem = memfd_create("not DAX", MFD_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, consent(mem));
	EXPECT_EQ(-EINVAL, lease(self->f.fd, F_EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease(self->f.fd, EXCLUSIVE | F_WRLCK));
	EXPECT_EQ(-EINVAL, lease(self->f.fd, EXCLUSIVE | F_UNLCK));
	EXPECT_EQ(-EINVAL, lease(self->f.fd, EXCLUSIVE | F_BREAKING));
	EXPECT_EQ(-EINVAL, lease(self->f.fd, EXCLUSIVE | 0x200));
	EXPECT_EQ(-EINVAL, lease(dir, EXCLUSIVE));
	EXPECT_EQ(-EINVAL, lease(null, EXCLUSIVE));
	EXPECT_EQ(-EOPNOTSUPP, lease(mem, EXCLUSIVE));
	/* Bits come before support, support before the owner ... */
	l.arg = EXCLUSIVE | F_WRLCK;
	EXPECT_EQ(-EINVAL, in_child(_metadata, lease_in_child, &l));
	l.arg = EXCLUSIVE;
	l.fd = mem;
	EXPECT_EQ(-EOPNOTSUPP, in_child(_metadata, lease_in_child, &l));
	/* ... and the owner before conflicts. */
	ASSERT_EQ(0, lease(self->fd2, F_LAYOUT));
	l.fd = self->f.fd;
	EXPECT_EQ(-EACCES, in_child(_metadata, lease_in_child, &l));
	EXPECT_EQ(-EAGAIN, lease(self->f.fd, EXCLUSIVE));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	/* The owner without any capability. */
	ASSERT_EQ(0, lease(self->fd2, F_UNLCK));
	ASSERT_EQ(0, fchown(self->f.fd, 1000, 1000));
	EXPECT_EQ(0, in_child(_metadata, lease_in_child, &l));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
}

/* Rules: L1 L3 */
TEST_F(excl, L1_leases_disabled_is_einval)
{
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, set_number(LEASES_ENABLE, 0));
	EXPECT_EQ(-EINVAL, lease(self->f.fd, EXCLUSIVE));
	ASSERT_EQ(0, set_number(LEASES_ENABLE, 1));
	EXPECT_EQ(0, lease(self->f.fd, EXCLUSIVE));
}

/* "Exclusive" is about layout leases: breaks if opens or other leases notice. */
/* Rules: L2 L3 */
TEST_F(excl, L2_ordinary_leases_and_opens_as_without)
{
	int ro, fd;

	munmap(self->f.map, self->f.size);
	close(self->f.fd);
	close(self->fd2);
	ro = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, consent(ro));
	ASSERT_EQ(0, lease(ro, EXCLUSIVE));
	EXPECT_EQ(-EBUSY, lease(ro, F_RDLCK));
	EXPECT_EQ(EXCLUSIVE, fcntl(ro, F_GETLEASE));

	fd = open(self->f.path, O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(0, lease(fd, F_RDLCK));
	EXPECT_EQ(F_RDLCK, fcntl(fd, F_GETLEASE));
	EXPECT_EQ(0, lease(fd, F_UNLCK));
	close(fd);
	fd = open(self->f.path, O_RDWR | O_TRUNC | O_NONBLOCK | O_CLOEXEC);
	EXPECT_LE(0, fd);
	EXPECT_EQ(1, write(fd, "x", 1));
	EXPECT_EQ(EXCLUSIVE, fcntl(ro, F_GETLEASE));
	close(fd);
	/* The other way round: an ordinary lease is no conflict either. */
	EXPECT_EQ(0, lease(ro, F_UNLCK));
	fd = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, lease(fd, F_RDLCK));
	ASSERT_EQ(0, consent(ro));
	EXPECT_EQ(0, lease(ro, EXCLUSIVE));
	EXPECT_EQ(F_RDLCK, fcntl(fd, F_GETLEASE));
}

/* The end of the open file is that of the lease, whoever else has the file open. */
/* Rules: L3 L6 L7 */
TEST_F(excl, L6_last_close_lets_others_in)
{
	int fd = dup(self->fd2);

	ASSERT_EQ(0, consent(self->fd2));
	ASSERT_EQ(0, lease(self->fd2, EXCLUSIVE));
	close(self->fd2);
	EXPECT_EQ(EXCLUSIVE, fcntl(fd, F_GETLEASE));
	EXPECT_EQ(-EAGAIN, lease(self->f.fd, F_LAYOUT));
	close(fd);
	EXPECT_TRUE(wait_for(lease(self->f.fd, F_LAYOUT) == 0));
}

/* Where a lease can be told from an exclusive one, and nothing else changes. */
/* Rules: L3 L8 */
TEST_F(excl, L8_proc_locks_and_fdinfo)
{
	char plain[4096], exclusive[4096], path[64], kind[16], type[16];
	int pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->f.fd);
	ASSERT_EQ(0, lease(self->f.fd, F_LAYOUT));
	ASSERT_LT(0, read_text(path, plain, sizeof(plain), sizeof(plain)));
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	ASSERT_LT(0, read_text(path, exclusive, sizeof(exclusive), 4096));
	EXPECT_STRNE(plain, exclusive);
	ASSERT_NE(NULL, strstr(exclusive, "lock:\t"));
	ASSERT_EQ(3, sscanf(strstr(exclusive, "lock:\t"),
			    "lock:\t%*u: %15s ACTIVE %15s %d %*x:%*x:%*u 0 EOF",
			    kind, type, &pid));
	EXPECT_STREQ("LAYOUT", kind);
	EXPECT_STREQ("WRITE", type);
	EXPECT_EQ(getpid(), pid);
	ASSERT_EQ(3, sscanf(strstr(plain, "lock:\t"),
			    "lock:\t%*u: %15s ACTIVE %15s %d %*x:%*x:%*u 0 EOF",
			    kind, type, &pid));
	EXPECT_STREQ("LAYOUT", kind);
	EXPECT_STREQ("READ", type);
}

/* --- pins that can be revoked, under an exclusive lease ---------------------------- */

FIXTURE(pins)
{
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
};

FIXTURE_VARIANT(pins)
{
	enum fs fs;
	enum pages pages;
};

FIXTURE_VARIANT_ADD(pins, xfs_pmd) { XFS, PMD_PAGES };
FIXTURE_VARIANT_ADD(pins, ext4_base) { EXT4, BASE_PAGES };

FIXTURE_SETUP(pins)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? PMD : 64 * KIB, variant->pages);
	ASSERT_EQ(0, consent(self->f.fd));
	ASSERT_EQ(0, lease(self->f.fd, EXCLUSIVE));
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(pins)
{
	environment_clean();
}

/*
 * The region can be revoked, so nobody needs to be killed.  Breaks if the consent
 * is used for the recall, or in place of a revoke.
 */
/* Rules: B3 B5 P3 L3 L4 I2 */
TEST_F(pins, B5_revocable_region_costs_nobody_his_life)
{
	struct pin_line pins[MAX_PINS];

	ASSERT_EQ(1, read_pins(getpid(), pins));
	EXPECT_STREQ("exclusive", pins[0].lease);
	/* SIGKILL is still what F_SETSIG says. */
	ASSERT_EQ(SIGKILL, fcntl(self->f.fd, F_GETSIG));
	set_grace(GRACE_SEEN);
	start_op(_metadata, &self->c, op_punch, &self->f, 0, self->f.size);
	ASSERT_TRUE(wait_for(fcntl(self->f.fd, F_GETLEASE) ==
			     (EXCLUSIVE | F_BREAKING)));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), GRACE_SEEN * 1000 + SLACK_MS);
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));

	/* With a signal of its own it hears of it. */
	want_signal(_metadata, self->f.fd);
	set_grace(GRACE_LONG);
	ASSERT_REG(self->mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	start_op(_metadata, &self->c, op_punch, &self->f, 0, self->f.size);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
}

/* Pins that can be revoked are as good under a plain lease. */
/* Rules: L3 L5 P3 */
TEST_F(pins, L3_downgrade_with_revocable_pins)
{
	EXPECT_EQ(-EBUSY, lease(self->f.fd, F_UNLCK));
	EXPECT_EQ(EXCLUSIVE, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, lease(self->f.fd, F_LAYOUT));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, lease(self->f.fd, F_UNLCK));
}

LAYOUT_LEASE_TEST_MAIN
