// SPDX-License-Identifier: GPL-2.0
/*
 * Layout leases without pins: who gets one (L1), what it conflicts with (L2),
 * how it is read (L4), given back (L5), shared (L7) and shown (L8).
 */
#include <linux/capability.h>
#include <sys/socket.h>

#include "common.h"

#ifndef F_GETDELEG
#define F_GETDELEG	(1024 + 15)
#define F_SETDELEG	(1024 + 16)
#endif

struct deleg {
	__u32 d_flags;
	__u16 d_type;
	__u16 pad;
};

/* Become another user, with one capability or none. */
static int become(uid_t uid, int cap)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { };

	if (prctl(PR_SET_KEEPCAPS, 1) || setresuid(uid, uid, uid))
		return -errno;
	if (cap >= 0) {
		data[CAP_TO_INDEX(cap)].permitted = CAP_TO_MASK(cap);
		data[CAP_TO_INDEX(cap)].effective = CAP_TO_MASK(cap);
	}
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

struct as_user {
	uid_t uid;
	int cap;
	int fd;
	int arg;
};

static int setlease_as(const void *arg)
{
	const struct as_user *a = arg;
	int ret = become(a->uid, a->cap);

	if (ret)
		return ret;
	return fcntl(a->fd, F_SETLEASE, a->arg) ? -errno : 0;
}

#define lease_as_nobody(fd_, arg_) \
	in_child(_metadata, setlease_as, \
		 &(struct as_user){ .uid = 1000, .cap = -1, .fd = fd_, .arg = arg_ })

/* --- L1: files without support ---------------------------------------------- */

FIXTURE(unsupported)
{
	char dir[64], lower[64];
	int fd;
};

FIXTURE_VARIANT(unsupported)
{
	const char *fs;
};

FIXTURE_VARIANT_ADD(unsupported, tmpfs) { .fs = "tmpfs" };
FIXTURE_VARIANT_ADD(unsupported, ext4_not_dax) { .fs = "ext4" };
FIXTURE_VARIANT_ADD(unsupported, xfs_not_dax) { .fs = "xfs" };
FIXTURE_VARIANT_ADD(unsupported, overlay) { .fs = "overlay" };

FIXTURE_SETUP(unsupported)
{
	char text[512];

	strcpy(self->dir, "/tmp/layout_lease.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	if (!strcmp(variant->fs, "tmpfs")) {
		ASSERT_EQ(0, mount_fs("tmpfs", self->dir, "tmpfs", NULL));
	} else if (strcmp(variant->fs, "overlay")) {
		strcpy(self->lower, "/tmp/layout_lease.XXXXXX");
		ASSERT_NE(NULL, mkdtemp(self->lower));
		ASSERT_EQ(0, mount_fs("tmpfs", self->lower, "tmpfs", NULL));
		ASSERT_EQ(0, run("truncate -s 400M %s/img && mkfs.%s -q %s/img && mount -o loop %s/img %s",
				 self->lower, variant->fs, self->lower,
				 self->lower, self->dir));
	} else {
		ASSERT_EQ(0, run("mkdir %s/lower %s/upper %s/work", mnt, mnt,
				 mnt));
		snprintf(text, sizeof(text),
			 "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
			 mnt, mnt, mnt);
		ASSERT_EQ(0, mount_fs("overlay", self->dir, "overlay", text));
	}
	snprintf(text, sizeof(text), "%s/f", self->dir);
	self->fd = open(text, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, PAGE));
}

FIXTURE_TEARDOWN_PARENT(unsupported)
{
	unmount_fs(self->dir);
	if (self->lower[0])
		unmount_fs(self->lower);
	run("rm -rf %s/lower %s/upper %s/work", mnt, mnt, mnt);
	environment_clean();
}

/*
 * Breaks if a file system without the operations, or a file that is not in DAX
 * mode, gets a lease; or if permission is checked first: the errno tells a
 * library to try something else than a lease, whoever it runs for.
 */
/* Rules: L1 */
TEST_F(unsupported, L1_no_support_is_eopnotsupp)
{
	EXPECT_EQ(-EOPNOTSUPP, set_lease(self->fd));
	EXPECT_EQ(-EOPNOTSUPP, lease_as_nobody(self->fd, F_LAYOUT));
	EXPECT_EQ(F_UNLCK, fcntl(self->fd, F_GETLEASE));
}

/* Breaks if the file is looked at before the argument. */
/* Rules: L1 */
TEST_F(unsupported, L1_bad_bits_come_before_support)
{
	EXPECT_EQ(-1, fcntl(self->fd, F_SETLEASE, F_LAYOUT | F_WRLCK));
	EXPECT_EQ(EINVAL, errno);
}

/* --- a DAX file ----------------------------------------------------------------- */

FIXTURE(lease)
{
	struct dax_file f;
	int fd2, fd3;		/* open file descriptions of their own */
	int ro;			/* not open for writing */
};

FIXTURE_VARIANT(lease)
{
	enum fs fs;
};

ADD_EACH_FS(lease);

FIXTURE_SETUP(lease)
{
	use_fs(_metadata, variant->fs);
	make_file(_metadata, &self->f, "f", 64 * KIB, BASE_PAGES);
	self->fd2 = open(self->f.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd2);
	self->fd3 = open(self->f.path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd3);
	self->ro = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->ro);
}

FIXTURE_TEARDOWN_PARENT(lease)
{
	environment_clean();
}

/* Breaks if bits are ignored instead of refused: they could not get a meaning. */
/* Rules: L1 */
TEST_F(lease, L1_unknown_bits_are_einval)
{
	static const int bad[] = {
		F_LAYOUT | F_WRLCK, F_LAYOUT | F_UNLCK, F_LAYOUT | 4,
		F_LAYOUT | 8, F_LAYOUT | 16, F_LAYOUT | 32, F_LAYOUT | 0x200,
		F_LAYOUT | 0x10000, F_LAYOUT | F_BREAKING, F_BREAKING,
		F_LAYOUT | F_EXCLUSIVE | F_WRLCK, F_LAYOUT | F_EXCLUSIVE | 4,
		F_EXCLUSIVE, F_EXCLUSIVE | F_WRLCK, F_EXCLUSIVE | F_UNLCK,
		0x200,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, fcntl(self->f.fd, F_SETLEASE, bad[i])) {
			TH_LOG("argument %#x", bad[i]);
		}
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
}

/* Breaks if another kind of file gets as far as the file system's methods. */
/* Rules: L1 */
TEST_F(lease, L1_not_regular_is_einval)
{
	char path[300];
	int fd;

	fd = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, set_lease(fd));
	close(fd);

	snprintf(path, sizeof(path), "%s/fifo", mnt);
	ASSERT_EQ(0, mkfifo(path, 0666));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, set_lease(fd));
	close(fd);

	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, set_lease(fd));
	close(fd);

	fd = open(self->f.path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, set_lease(fd));
	close(fd);
}

/* Breaks if the owner is not asked for, or CAP_LEASE does not stand in for him. */
/* Rules: L1 */
TEST_F(lease, L1_only_owner_or_cap_lease)
{
	struct as_user a = { .uid = 1000, .fd = self->f.fd, .arg = F_LAYOUT };

	a.cap = -1;
	EXPECT_EQ(-EACCES, in_child(_metadata, setlease_as, &a));
	/* Bad bits come first. */
	a.arg = F_LAYOUT | F_WRLCK;
	EXPECT_EQ(-EINVAL, in_child(_metadata, setlease_as, &a));
	a.arg = F_LAYOUT;
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));

	a.cap = CAP_LEASE;
	EXPECT_EQ(0, in_child(_metadata, setlease_as, &a));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, unlock_lease(self->f.fd));

	a.cap = -1;
	ASSERT_EQ(0, fchown(self->f.fd, 1000, 1000));
	EXPECT_EQ(0, in_child(_metadata, setlease_as, &a));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
}

/* Breaks if the switch that turns leases off is not asked. */
/* Rules: L1 */
TEST_F(lease, L1_leases_disabled_is_einval)
{
	ASSERT_EQ(0, set_number(LEASES_ENABLE, 0));
	EXPECT_EQ(-EINVAL, set_lease(self->f.fd));
	ASSERT_EQ(0, set_number(LEASES_ENABLE, 1));
	EXPECT_EQ(0, set_lease(self->f.fd));
}

/* A descriptor that is only open for reading will do for read-only pins. */
/* Rules: L1 */
TEST_F(lease, L1_read_only_descriptor_gets_a_lease)
{
	EXPECT_EQ(0, set_lease(self->ro));
	EXPECT_EQ(F_LAYOUT, fcntl(self->ro, F_GETLEASE));
}

/* Breaks if a lease shuts others out, or is shared by more than one open file. */
/* Rules: L2 */
TEST_F(lease, L2_many_holders)
{
	EXPECT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(0, set_lease(self->fd2));
	EXPECT_EQ(0, set_lease(self->ro));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->fd2, F_GETLEASE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->ro, F_GETLEASE));
	EXPECT_EQ(F_UNLCK, fcntl(self->fd3, F_GETLEASE));

	/* The same again changes nothing. */
	EXPECT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));

	EXPECT_EQ(0, unlock_lease(self->f.fd));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->fd2, F_GETLEASE));
}

/*
 * Breaks if the lease stands on the list of ordinary leases, where every open
 * for writing, truncate and write looks for somebody to recall.
 */
/* Rules: L2 */
TEST_F(lease, L2_opens_and_truncates_are_not_noticed)
{
	static const int flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_APPEND,
		O_RDWR | O_TRUNC,
	};
	unsigned int i;
	int fd;

	set_grace(GRACE_LONG);
	ASSERT_EQ(0, set_lease(self->f.fd));
	want_signal(_metadata, self->f.fd);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		fd = open(self->f.path, flags[i] | O_NONBLOCK | O_CLOEXEC);
		EXPECT_LE(0, fd) {
			TH_LOG("flags %#x: %m", flags[i]);
		}
		if ((flags[i] & O_ACCMODE) != O_RDONLY)
			EXPECT_EQ(1, write(fd, "x", 1));
		close(fd);
	}
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/*
 * What ordinary leases do with one reader and one writer, with and without a
 * layout lease of the reader.  Breaks if generic_add_lease() meets it.
 */
static void ordinary_leases(struct __test_metadata *const _metadata,
			    const char *path, bool layout, int *results)
{
	int reader = open(path, O_RDONLY | O_CLOEXEC), fd;

	ASSERT_LE(0, reader);
	if (layout)
		ASSERT_EQ(0, set_lease(reader));

	fd = open(path, O_RDONLY | O_CLOEXEC);
	*results++ = fcntl(fd, F_SETLEASE, F_RDLCK) ? -errno : 0;
	*results++ = fcntl(fd, F_GETLEASE);
	*results++ = fcntl(fd, F_SETLEASE, F_WRLCK) ? -errno : 0;
	*results++ = fcntl(fd, F_GETLEASE);
	*results++ = fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
	close(fd);

	fd = open(path, O_RDWR | O_CLOEXEC);
	*results++ = fcntl(fd, F_SETLEASE, F_RDLCK) ? -errno : 0;
	*results++ = fcntl(fd, F_SETLEASE, F_WRLCK) ? -errno : 0;
	*results++ = fcntl(fd, F_GETLEASE);
	*results++ = fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
	close(fd);

	if (layout)
		ASSERT_EQ(F_LAYOUT, fcntl(reader, F_GETLEASE));
	close(reader);
}

/* Rules: L2 */
TEST_F(lease, L2_ordinary_leases_as_without)
{
	int without[9], with[9];
	unsigned int i;

	munmap(self->f.map, self->f.size);
	close(self->f.fd);
	close(self->fd2);
	close(self->fd3);
	close(self->ro);
	ordinary_leases(_metadata, self->f.path, false, without);
	ordinary_leases(_metadata, self->f.path, true, with);
	for (i = 0; i < ARRAY_SIZE(with); i++)
		EXPECT_EQ(without[i], with[i]) {
			TH_LOG("step %u", i);
		}
	/* The comparison is worth something only if leases were granted. */
	EXPECT_EQ(0, without[0]);
	EXPECT_EQ(F_RDLCK, without[1]);
}

/* An open breaks somebody's ordinary lease as ever, and not the layout lease. */
/* Rules: L2 */
TEST_F(lease, L2_break_of_an_ordinary_lease)
{
	int other;

	munmap(self->f.map, self->f.size);
	close(self->f.fd);
	close(self->fd2);
	close(self->fd3);
	set_grace(GRACE_LONG);
	ASSERT_EQ(0, set_lease(self->ro));
	want_signal(_metadata, self->ro);
	other = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, fcntl(other, F_SETLEASE, F_RDLCK));
	ASSERT_EQ(0, fcntl(other, F_SETSIG, SIGWINCH));

	EXPECT_EQ(-1, open(self->f.path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
	EXPECT_EQ(EWOULDBLOCK, errno);
	EXPECT_EQ(F_UNLCK, fcntl(other, F_GETLEASE));
	EXPECT_EQ(F_LAYOUT, fcntl(self->ro, F_GETLEASE));
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/* One open file description, one flavour. */
/* Rules: L2 */
TEST_F(lease, L2_other_flavour_is_ebusy)
{
	munmap(self->f.map, self->f.size);
	close(self->f.fd);
	close(self->fd2);
	close(self->fd3);

	ASSERT_EQ(0, set_lease(self->ro));
	EXPECT_EQ(-1, fcntl(self->ro, F_SETLEASE, F_RDLCK));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(F_LAYOUT, fcntl(self->ro, F_GETLEASE));
	ASSERT_EQ(0, unlock_lease(self->ro));

	ASSERT_EQ(0, fcntl(self->ro, F_SETLEASE, F_RDLCK));
	EXPECT_EQ(-EBUSY, set_lease(self->ro));
	EXPECT_EQ(F_RDLCK, fcntl(self->ro, F_GETLEASE));
	ASSERT_EQ(0, unlock_lease(self->ro));
	EXPECT_EQ(0, set_lease(self->ro));
}

/* Breaks if delegations find the lease, give it back or count it as their own. */
/* Rules: L2 */
TEST_F(lease, L2_delegations_do_not_touch_it)
{
	struct deleg deleg = { .d_type = F_RDLCK };
	int other;

	munmap(self->f.map, self->f.size);
	close(self->f.fd);
	close(self->fd2);
	close(self->fd3);
	ASSERT_EQ(0, set_lease(self->ro));

	/* On another open file: granted and given back. */
	other = open(self->f.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, fcntl(other, F_SETDELEG, &deleg));
	ASSERT_EQ(0, fcntl(other, F_GETDELEG, &deleg));
	EXPECT_EQ(F_RDLCK, deleg.d_type);
	EXPECT_EQ(-EBUSY, set_lease(other));
	deleg.d_type = F_UNLCK;
	ASSERT_EQ(0, fcntl(other, F_SETDELEG, &deleg));
	EXPECT_EQ(0, set_lease(other));

	/* On the same: there is none, and none can be had. */
	ASSERT_EQ(0, fcntl(self->ro, F_GETDELEG, &deleg));
	EXPECT_EQ(F_UNLCK, deleg.d_type);
	deleg.d_type = F_UNLCK;
	EXPECT_EQ(-1, fcntl(self->ro, F_SETDELEG, &deleg));
	EXPECT_EQ(F_LAYOUT, fcntl(self->ro, F_GETLEASE));
	deleg.d_type = F_RDLCK;
	EXPECT_EQ(-1, fcntl(self->ro, F_SETDELEG, &deleg));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(F_LAYOUT, fcntl(self->ro, F_GETLEASE));
}

/* Ordinary leases read as before, layout leases as what was asked for. */
/* Rules: L4 */
TEST_F(lease, L4_getlease)
{
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	ASSERT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(F_UNLCK, fcntl(self->fd2, F_GETLEASE));
	ASSERT_EQ(0, unlock_lease(self->f.fd));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
}

/* Breaks if the next user of the descriptor inherits a signal or its receiver. */
/* Rules: L5 */
TEST_F(lease, L5_unlock_clears_signal_and_owner)
{
	ASSERT_EQ(0, set_lease(self->f.fd));
	ASSERT_EQ(0, fcntl(self->f.fd, F_SETSIG, LEASE_SIGNAL));
	EXPECT_EQ(getpid(), fcntl(self->f.fd, F_GETOWN));
	EXPECT_EQ(0, unlock_lease(self->f.fd));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, fcntl(self->f.fd, F_GETOWN));
	EXPECT_EQ(0, fcntl(self->f.fd, F_GETSIG));
	/* No lease: as for ordinary ones. */
	EXPECT_EQ(-EAGAIN, unlock_lease(self->f.fd));
}

/* An owner chosen by F_SETOWN stays. */
/* Rules: L7 */
TEST_F(lease, L7_owner_set_before_stays)
{
	ASSERT_EQ(0, fcntl(self->f.fd, F_SETOWN, getppid()));
	ASSERT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(getppid(), fcntl(self->f.fd, F_GETOWN));
}

static int unlock_in_child(const void *arg)
{
	return unlock_lease(*(const int *)arg);
}

/* One lease, however many descriptors and processes share the open file. */
/* Rules: L7 */
TEST_F(lease, L7_dup_and_fork_share_it)
{
	int fd = dup(self->f.fd);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_lease(self->f.fd));
	EXPECT_EQ(F_LAYOUT, fcntl(fd, F_GETLEASE));
	close(fd);
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	EXPECT_EQ(0, in_child(_metadata, unlock_in_child, &self->f.fd));
	EXPECT_EQ(F_UNLCK, fcntl(self->f.fd, F_GETLEASE));
}

/* Rules: L7 */
TEST_F(lease, L7_scm_rights_shares_it)
{
	char control[CMSG_SPACE(sizeof(int))] = { }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int pair[2], fd;

	ASSERT_EQ(0, set_lease(self->fd2));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &self->fd2, sizeof(int));
	ASSERT_EQ(1, sendmsg(pair[0], &msg, 0));
	/* The message in flight is the only reference. */
	close(self->fd2);
	ASSERT_EQ(1, recvmsg(pair[1], &msg, 0));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	EXPECT_EQ(F_LAYOUT, fcntl(fd, F_GETLEASE));
}

/* The last close ends a lease: the next owner of the inode starts afresh. */
/* Rules: L6 */
TEST_F(lease, L6_close_ends_it)
{
	char text[64 * KIB], key[64];
	struct stat st;

	ASSERT_EQ(0, fstat(self->f.fd, &st));
	snprintf(key, sizeof(key), ":%lu ", (unsigned long)st.st_ino);
	ASSERT_EQ(0, set_lease(self->fd2));
	ASSERT_LT(0, read_text("/proc/locks", text, sizeof(text), 4096));
	ASSERT_NE(NULL, strstr(text, key));
	close(self->fd2);
	EXPECT_TRUE(wait_for(read_text("/proc/locks", text, sizeof(text),
				       4096) >= 0 && !strstr(text, key)));
}

struct lock_line {
	char kind[16], state[16], mode[16], dev[32], start[16], end[32];
	int pid;
};

/* The line of /proc/locks or of fdinfo that is about an inode. */
static bool find_lock(const char *path, ino_t ino, struct lock_line *l)
{
	char text[64 * KIB], *line, *next, *colon;
	unsigned long have;
	char rest[16];

	if (read_text(path, text, sizeof(text), 4096) < 0)
		return false;
	for (line = text; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		if (!strncmp(line, "lock:\t", 6))
			line += 6;
		if (sscanf(line, "%*u: %15s %15s %15s %d %31s %15s %31s %15s",
			   l->kind, l->state, l->mode, &l->pid, l->dev,
			   l->start, l->end, rest) != 7)
			continue;
		colon = strrchr(l->dev, ':');
		if (!colon || sscanf(colon + 1, "%lu", &have) != 1)
			continue;
		if (have == ino)
			return true;
	}
	return false;
}

/* Breaks if lslocks could not read the line, or could not tell what it is. */
/* Rules: L8 */
TEST_F(lease, L8_proc_locks)
{
	struct lock_line l;
	char dev[32], fdinfo[64];
	struct stat st;

	ASSERT_EQ(0, fstat(self->f.fd, &st));
	EXPECT_FALSE(find_lock("/proc/locks", st.st_ino, &l));
	ASSERT_EQ(0, set_lease(self->f.fd));

	ASSERT_TRUE(find_lock("/proc/locks", st.st_ino, &l));
	EXPECT_STREQ("LAYOUT", l.kind);
	EXPECT_STREQ("ACTIVE", l.state);
	EXPECT_EQ(getpid(), l.pid);
	snprintf(dev, sizeof(dev), "%02x:%02x:%lu", major(st.st_dev),
		 minor(st.st_dev), (unsigned long)st.st_ino);
	EXPECT_STREQ(dev, l.dev);
	EXPECT_STREQ("0", l.start);
	EXPECT_STREQ("EOF", l.end);

	/* fdinfo: of the descriptor that holds it, and of no other. */
	snprintf(fdinfo, sizeof(fdinfo), "/proc/self/fdinfo/%d", self->f.fd);
	ASSERT_TRUE(find_lock(fdinfo, st.st_ino, &l));
	EXPECT_STREQ("LAYOUT", l.kind);
	EXPECT_EQ(getpid(), l.pid);
	snprintf(fdinfo, sizeof(fdinfo), "/proc/self/fdinfo/%d", self->fd2);
	EXPECT_FALSE(find_lock(fdinfo, st.st_ino, &l));

	ASSERT_EQ(0, unlock_lease(self->f.fd));
	EXPECT_FALSE(find_lock("/proc/locks", st.st_ino, &l));
}

static int lease_in_child(const void *arg)
{
	return set_lease(*(const int *)arg);
}

/* Breaks if the taker is a number: the next process of that number gets blamed. */
/* Rules: L8 */
TEST_F(lease, L8_dead_taker_is_0)
{
	struct lock_line l;
	struct stat st;

	ASSERT_EQ(0, fstat(self->f.fd, &st));
	ASSERT_EQ(0, in_child(_metadata, lease_in_child, &self->f.fd));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.fd, F_GETLEASE));
	ASSERT_TRUE(find_lock("/proc/locks", st.st_ino, &l));
	EXPECT_EQ(0, l.pid);
}

LAYOUT_LEASE_TEST_MAIN
