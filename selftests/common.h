/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers of the layout lease tests: DAX file systems of one's own, files on
 * them, calls that other processes make, and what /proc tells.
 *
 * The tests need root and DAX capable block devices that nobody uses. They are
 * taken from the environment,
 *
 *   LAYOUT_LEASE_DEV	the first device, gets an XFS
 *   LAYOUT_LEASE_DEV2	the second one, gets an ext4
 *   LAYOUT_LEASE_RDMA	the RDMA device
 *
 * or else are the first two /dev/pmem* on which there is nothing at all, or a
 * file system that these tests made earlier.  With one device the file systems
 * take turns.
 *
 * Directly above each test stands a line with the rules that it checks, by their
 * numbers in the contract of the series: one letter for the lease (L), pins (P),
 * breaks (B), revoke (V), reports (R), or an invariant (I).
 */
#ifndef LAYOUT_LEASE_COMMON_H
#define LAYOUT_LEASE_COMMON_H

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>

#include "../kselftest_harness.h"

/* From <linux/fcntl.h>, which does not go together with <fcntl.h>. */
#ifndef F_LAYOUT
#define F_LAYOUT	0x40
#endif
#ifndef F_EXCLUSIVE
#define F_EXCLUSIVE	0x80
#endif
#ifndef F_BREAKING
#define F_BREAKING	0x100
#endif

/* A test may ask for another file system than mkfs.xfs makes by itself. */
#ifndef MKFS_OPTIONS
#define MKFS_OPTIONS	""
#endif
/*
 * Stripes make the allocators align what is large enough for a PMD.  Nothing is
 * kept for root: tests take all the space there is.
 */
#define MKFS_XFS	"mkfs.xfs -q -f -L " LABEL " -d su=2m,sw=1 -l su=32k " \
			MKFS_OPTIONS
#define MKFS_EXT4	"mkfs.ext4 -q -F -L " LABEL " -b 4096 -m 0 " \
			"-O verity -E stride=512,stripe_width=512,nodiscard"

/* A debug kernel in an emulator is slow; no test waits that long in vain. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240
/* Seconds after which an event that has to come is given up. */
#define LIMIT			60
/* A grace period which no test is ready to wait for. */
#define GRACE_LONG		600
/* A grace period before whose end a test sees or does something. */
#define GRACE_SEEN		(3 * slowness())
/*
 * So much earlier it may seem to end: if the host lets an emulator's processor stand
 * still, its ticks, by which the kernel waits, come late and then fast.
 */
#define EARLY_MS		100
/* What an operation may take beyond the grace period. */
#define SLACK_MS		(2000 * slowness())

#define KIB			1024UL
#define MIB			(1024 * KIB)
#define PMD			(2 * MIB)
#define PAGE			4096UL

#define LEASE_SIGNAL		SIGRTMIN
#define LABEL			"layoutlease"

enum fs { XFS, EXT4, NR_FS };

static struct test_fs {
	const char *type, *mkfs;
	char dev[256];		/* may be that of the other, too */
	char mnt[64];		/* where it is mounted */
} test_fs[NR_FS] = {
	[XFS] = { .type = "xfs", .mkfs = MKFS_XFS },
	[EXT4] = { .type = "ext4", .mkfs = MKFS_EXT4 },
};

/* The file system that this test uses, see use_fs(). */
static enum fs fs_now = XFS;
static const char *mnt = test_fs[XFS].mnt;

/* --- time ----------------------------------------------------------------- */

static inline long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Before looking again, the less often the longer it has taken already. */
static inline void pause_after(long ms)
{
	usleep(ms < 8 ? 1000 : ms > 160 ? 20000 : ms * 125);
}

/* Has @cond become true in time? */
#define wait_for(cond)							\
({									\
	long _begin = now_ms(), _waited = 0;				\
	bool _ok;							\
									\
	while (!(_ok = !!(cond)) && _waited < LIMIT * 1000L) {		\
		pause_after(_waited);					\
		_waited = now_ms() - _begin;				\
	}								\
	_ok;								\
})

/* --- small files ------------------------------------------------------------ */

static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Read all of a file of /proc in pieces of at most @chunk bytes. */
static inline ssize_t read_text(const char *path, char *text, size_t size,
				size_t chunk)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		size_t want = size - 1 - len;

		n = read(fd, text + len, want < chunk ? want : chunk);
		if (n > 0)
			len += n;
	} while (n > 0);
	if (n < 0)
		n = -errno;
	close(fd);
	text[len] = '\0';
	return n < 0 ? n : (ssize_t)len;
}

static inline int set_number(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return write_text(path, text);
}

static inline long get_number(const char *path)
{
	char text[64];

	if (read_text(path, text, sizeof(text), sizeof(text)) <= 0)
		return -1;
	return atol(text);
}

/* A kernel with lockdep is slow; on a busy host an emulator stands still for seconds. */
static inline int slowness(void)
{
	return access("/proc/lockdep", F_OK) ? 1 : 4;
}

#define LEASE_BREAK_TIME	"/proc/sys/fs/lease-break-time"
#define LEASES_ENABLE		"/proc/sys/fs/leases-enable"
#define BREAK_ENFORCE		"/proc/sys/fs/layout-break-enforce"

/* Grace period in seconds; every fixture's teardown puts the old one back. */
#define set_grace(seconds)						\
	ASSERT_EQ(0, set_number(LEASE_BREAK_TIME, seconds))

/* A line "Name:  123 kB" of /proc/self/status. */
static inline long vm_pin_kb(void)
{
	char text[8192], *line;

	if (read_text("/proc/self/status", text, sizeof(text), sizeof(text)) < 0)
		return -1;
	line = strstr(text, "\nVmPin:");
	return line ? atol(line + 7) : -1;
}

/* --- what the kernel tells of itself ------------------------------------------- */

#define TRACING		"/sys/kernel/tracing"
#define TRACE		TRACING "/instances/layout_lease"

static inline int mount_fs(const char *dev, const char *dir, const char *type,
			   const char *options)
{
	return syscall(__NR_mount, dev, dir, type, 0, options) ? -errno : 0;
}

/*
 * A trace buffer of our own, with these events in it; -ENODEV without tracefs.
 * Events stay enabled until the program ends, as they come and go by patching the
 * running kernel.
 */
static inline int trace_begin(const char *events)
{
	char path[128];

	if (access(TRACING "/instances", F_OK) &&
	    mount_fs("tracefs", TRACING, "tracefs", NULL))
		return -ENODEV;
	if (mkdir(TRACE, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), TRACE "/events/%s/enable", events);
	return write_text(path, "1");
}

#define TRACE_BEGIN(events)						\
do {									\
	int _ret = trace_begin(events);					\
									\
	if (_ret == -ENODEV)						\
		SKIP(return, "no tracefs");				\
	ASSERT_EQ(0, _ret) {						\
		TH_LOG("no events " events);				\
	}								\
} while (0)

static inline int trace_clear(void)
{
	int fd = open(TRACE "/trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* The kernel log from now on; lines that were lost are none. */
static inline int log_begin(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	lseek(kmsg, 0, SEEK_END);
	return kmsg;
}

/* Is there a line, of those not read yet, with all of these words? */
static inline bool log_has(int kmsg, const char *const *parts, unsigned int nr)
{
	char line[2048];
	unsigned int i;
	ssize_t n;

	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		line[n] = '\0';
		for (i = 0; i < nr && strstr(line, parts[i]); i++)
			;
		if (i == nr)
			return true;
	}
	return false;
}

/* --- the file system ---------------------------------------------------------- */

static long saved_grace, saved_enable, saved_enforce;
static pid_t main_pid;

static inline int run(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Is this program there? */
static inline bool have_program(const char *name)
{
	return !run("command -v %s >/dev/null", name);
}

/* Is it free, with nothing on it or what an earlier test left? */
static inline bool device_is_ours(const char *dev)
{
	static const char zero[8192];
	char head[8192];
	int fd = open(dev, O_RDONLY | O_CLOEXEC | O_EXCL);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, head, sizeof(head));
	close(fd);
	if (n != sizeof(head))
		return false;
	if (!memcmp(head, zero, sizeof(head)))
		return true;
	if (!memcmp(head, "XFSB", 4))
		return !strncmp(head + 108, LABEL, 12);
	if (!memcmp(head + 1080, "\x53\xef", 2))
		return !strncmp(head + 1144, LABEL, 16);
	return false;
}

/* The first device that may be used; one that is mounted is not among them. */
static inline bool find_device(const char *env, char *dev, size_t size)
{
	const char *named = getenv(env);
	char queue[300];
	struct dirent *d;
	DIR *dir;
	int i;

	if (named) {
		snprintf(dev, size, "%s", named);
		return true;
	}
	/* In the order of their names, whatever that of the directory. */
	for (i = 0; i < 16; i++) {
		char name[16];

		snprintf(name, sizeof(name), "pmem%d", i);
		dir = opendir("/sys/block");
		if (!dir)
			return false;
		while ((d = readdir(dir)))
			if (!strcmp(d->d_name, name))
				break;
		closedir(dir);
		if (!d)
			continue;
		snprintf(queue, sizeof(queue), "/sys/block/%s/queue/dax", name);
		if (get_number(queue) != 1)
			continue;
		snprintf(dev, size, "/dev/%s", name);
		if (device_is_ours(dev))
			return true;
	}
	return false;
}

static inline void unmount_fs(const char *dir)
{
	syscall(__NR_umount2, dir, 2 /* MNT_DETACH */);
	rmdir(dir);
}

/* Make the file system and mount it. */
static inline int make_fs(enum fs fs)
{
	struct test_fs *t = &test_fs[fs];
	int ret;

	if (run("%s %s </dev/null >/dev/null", t->mkfs, t->dev))
		return -EIO;
	ret = mount_fs(t->dev, t->mnt, t->type, "dax=always");
	if (!ret)
		chmod(t->mnt, 0777);
	return ret;
}

static inline bool is_mounted(enum fs fs)
{
	struct stat dir, parent;

	return !stat(test_fs[fs].mnt, &dir) && !stat("/tmp", &parent) &&
	       dir.st_dev != parent.st_dev;
}

static inline bool one_device(void)
{
	return !strcmp(test_fs[XFS].dev, test_fs[EXT4].dev);
}

#define ND_PMEM		"/sys/bus/nd/drivers/nd_pmem/"

/* The bound namespace of libnvdimm that the device is, or an empty name. */
static inline void find_namespace(enum fs fs, char *name, size_t size)
{
	char link[300], path[600];
	ssize_t n;

	name[0] = '\0';
	snprintf(path, sizeof(path), "/sys/block/%s/device",
		 strrchr(test_fs[fs].dev, '/') + 1);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return;
	link[n] = '\0';
	snprintf(path, sizeof(path), ND_PMEM "%s", strrchr(link, '/') + 1);
	if (!access(path, F_OK))
		snprintf(name, size, "%s", strrchr(link, '/') + 1);
}

/* Bind it, and wait for the device. */
static inline int bind_namespace(enum fs fs, const char *name)
{
	int ret = write_text(ND_PMEM "bind", name);

	if (!ret && !wait_for(!access(test_fs[fs].dev, F_OK)))
		ret = -ETIME;
	return ret;
}

/* In a FIXTURE_SETUP, or later: make_file() and mnt mean this one from now on. */
static inline void use_fs(struct __test_metadata *const _metadata, enum fs fs)
{
	fs_now = fs;
	mnt = test_fs[fs].mnt;
	if (is_mounted(fs))
		return;
	/* The other one's turn is over, once the last revoke has let go. */
	ASSERT_TRUE(wait_for(!is_mounted(!fs) ||
			     !syscall(__NR_umount2, test_fs[!fs].mnt, 0)));
	ASSERT_EQ(0, make_fs(fs));
}

static inline void environment_end(void)
{
	int i;

	if (getpid() != main_pid)
		return;
	set_number(LEASE_BREAK_TIME, saved_grace);
	set_number(LEASES_ENABLE, saved_enable);
	set_number(BREAK_ENFORCE, saved_enforce);
	for (i = 0; i < NR_FS; i++)
		unmount_fs(test_fs[i].mnt);
	rmdir(TRACE);
}

#define environment_skip(...)						\
do {									\
	ksft_print_header();						\
	ksft_exit_skip(__VA_ARGS__);					\
} while (0)

static inline void environment_begin(int argc, char **argv)
{
	struct test_fs *xfs = &test_fs[XFS], *ext4 = &test_fs[EXT4];
	int i;

	if (argc > 1 && (!strcmp(argv[1], "-l") || !strcmp(argv[1], "-h")))
		return;
	if (geteuid())
		environment_skip("needs root\n");
	if (!find_device("LAYOUT_LEASE_DEV", xfs->dev, sizeof(xfs->dev)))
		environment_skip("no unused DAX device\n");

	/* Mounts end with us. */
	if (unshare(CLONE_NEWNS) ||
	    syscall(__NR_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		ksft_exit_fail_msg("no mount namespace: %m\n");
	for (i = 0; i < NR_FS; i++) {
		strcpy(test_fs[i].mnt, "/tmp/layout_lease.XXXXXX");
		if (!mkdtemp(test_fs[i].mnt))
			ksft_exit_fail_msg("mkdtemp: %m\n");
	}
	if (make_fs(XFS))
		ksft_exit_fail_msg("no XFS on %s: %m\n", xfs->dev);
	/* Who names one device means that one. */
	if ((getenv("LAYOUT_LEASE_DEV") && !getenv("LAYOUT_LEASE_DEV2")) ||
	    !find_device("LAYOUT_LEASE_DEV2", ext4->dev, sizeof(ext4->dev)))
		strcpy(ext4->dev, xfs->dev);
	else if (make_fs(EXT4))
		ksft_exit_fail_msg("no ext4 on %s: %m\n", ext4->dev);

	main_pid = getpid();
	saved_grace = get_number(LEASE_BREAK_TIME);
	saved_enable = get_number(LEASES_ENABLE);
	saved_enforce = get_number(BREAK_ENFORCE);
	atexit(environment_end);
}

/* After each test, in the process that started it: the test's files are closed. */
static inline void environment_clean(void)
{
	struct dirent *d;
	DIR *dir;
	int i;

	set_number(LEASE_BREAK_TIME, saved_grace);
	set_number(LEASES_ENABLE, saved_enable);
	set_number(BREAK_ENFORCE, saved_enforce);
	for (i = 0; i < NR_FS; i++) {
		dir = opendir(test_fs[i].mnt);
		while (dir && (d = readdir(dir)))
			unlinkat(dirfd(dir), d->d_name, 0);
		if (dir)
			closedir(dir);
	}
}

#define LAYOUT_LEASE_TEST_MAIN						\
	int main(int argc, char **argv)					\
	{								\
		environment_begin(argc, argv);				\
		return test_harness_run(argc, argv);			\
	}

/* --- files -------------------------------------------------------------------- */

enum pages { BASE_PAGES, PMD_PAGES };

/* A variant for each file system. */
#define ADD_EACH_FS(fixture)						\
	FIXTURE_VARIANT_ADD(fixture, xfs) { XFS };			\
	FIXTURE_VARIANT_ADD(fixture, ext4) { EXT4 }

/* And one for each size of pages. */
#define ADD_EACH_FS_PAGES(fixture)					\
	FIXTURE_VARIANT_ADD(fixture, xfs_base) { XFS, BASE_PAGES };	\
	FIXTURE_VARIANT_ADD(fixture, xfs_pmd) { XFS, PMD_PAGES };	\
	FIXTURE_VARIANT_ADD(fixture, ext4_base) { EXT4, BASE_PAGES };	\
	FIXTURE_VARIANT_ADD(fixture, ext4_pmd) { EXT4, PMD_PAGES }

/* The same with more to the name, and further fields. */
#define ADD_FS_VARIANTS(fixture, name, ...)				\
	FIXTURE_VARIANT_ADD(fixture, xfs##name) { XFS, ##__VA_ARGS__ };	\
	FIXTURE_VARIANT_ADD(fixture, ext4##name) { EXT4, ##__VA_ARGS__ }

#define ADD_FS_PAGES_VARIANTS(fixture, name, ...)			\
	ADD_FS_VARIANTS(fixture, _base##name, BASE_PAGES, ##__VA_ARGS__); \
	ADD_FS_VARIANTS(fixture, _pmd##name, PMD_PAGES, ##__VA_ARGS__)

/**
 * struct dax_file - a file on the file system of use_fs()
 * @fd: open for reading and writing
 * @lease_fd: holds the layout lease, if taken by take_lease()
 * @map: all of it, shared, or NULL
 */
struct dax_file {
	char path[256];
	int fd;
	int lease_fd;
	char *map;
	size_t size;
};

static inline void set_pattern(void *p, size_t len, unsigned int seed)
{
	unsigned int *word = p;
	size_t i;

	for (i = 0; i < len / sizeof(*word); i++)
		word[i] = seed * 0x01000193u + i;
}

/* Where does the file differ from set_pattern()?  -1: nowhere. */
static inline long file_differs(int fd, off_t off, size_t len, unsigned int seed)
{
	unsigned int want[PAGE / sizeof(int)], have[PAGE / sizeof(int)];
	char *all = malloc(len);
	long at = -1;
	size_t done;

	if (!all)
		return 0;
	set_pattern(all, len, seed);
	for (done = 0; done < len && at < 0; done += sizeof(have)) {
		size_t n = len - done < sizeof(have) ? len - done : sizeof(have);

		memcpy(want, all + done, n);
		if (pread(fd, have, n, off + done) != (ssize_t)n ||
		    memcmp(want, have, n))
			at = off + done;
	}
	free(all);
	return at;
}

static inline int write_pattern(int fd, off_t off, size_t len, unsigned int seed)
{
	char *all = malloc(len);
	ssize_t n = -1;

	if (all) {
		set_pattern(all, len, seed);
		n = pwrite(fd, all, len, off);
	}
	free(all);
	return n == (ssize_t)len ? 0 : -1;
}

/* Map a file so that its PMDs are ours; without MAP_FIXED neighbours are lost. */
static inline char *map_at(void *addr, int fd, size_t size, int prot, off_t off)
{
	char *room, *p;

	if (addr)
		return mmap(addr, size, prot, MAP_SHARED | MAP_FIXED, fd, off);
	room = mmap(NULL, size + PMD, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return room;
	p = (char *)(((uintptr_t)room + PMD - 1) & ~(PMD - 1));
	p = mmap(p, size, prot, MAP_SHARED | MAP_FIXED, fd, off);
	return p;
}

/* Is the page at @addr mapped by a PMD? */
static inline bool mapped_by_pmd(void *addr)
{
	struct page_region region;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)addr & ~(PAGE - 1),
		.end = ((uintptr_t)addr & ~(PAGE - 1)) + PAGE,
		.vec = (uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_HUGE,
		.return_mask = PAGE_IS_HUGE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int n = ioctl(fd, PAGEMAP_SCAN, &arg);

	close(fd);
	return n == 1;
}

/* Make and map a file of @size bytes, all of it written. */
static inline void make_file(struct __test_metadata *const _metadata,
			     struct dax_file *f, const char *name, size_t size,
			     enum pages pages)
{
	size_t at;

	snprintf(f->path, sizeof(f->path), "%s/%s", mnt, name);
	f->fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	ASSERT_LE(0, f->fd);
	f->lease_fd = -1;
	f->size = size;
	if (pages == PMD_PAGES) {
		struct fsxattr attr = { };

		/* ext4 has no such hint, and aligns by the stripe alone. */
		if (fs_now == XFS) {
			ASSERT_EQ(0, ioctl(f->fd, FS_IOC_FSGETXATTR, &attr));
			attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
			attr.fsx_extsize = PMD;
			ASSERT_EQ(0, ioctl(f->fd, FS_IOC_FSSETXATTR, &attr));
		}
		ASSERT_EQ(0, fallocate(f->fd, 0, 0, size));
	} else {
		/* Too small for a PMD. */
		ASSERT_GT(PMD, size);
		ASSERT_EQ(0, write_pattern(f->fd, 0, size, 0));
	}
	f->map = map_at(NULL, f->fd, size, PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(MAP_FAILED, (void *)f->map);
	if (pages == PMD_PAGES) {
		for (at = 0; at < size; at += PMD) {
			f->map[at] = 0;
			ASSERT_TRUE(mapped_by_pmd(f->map + at)) {
				TH_LOG("the file system gave no aligned blocks");
			}
		}
		set_pattern(f->map, size, 0);
	}
	ASSERT_EQ(0, fsync(f->fd));
}

static inline int set_lease(int fd)
{
	return fcntl(fd, F_SETLEASE, F_LAYOUT) ? -errno : 0;
}

static inline int unlock_lease(int fd)
{
	return fcntl(fd, F_SETLEASE, F_UNLCK) ? -errno : 0;
}

/* Recalls arrive as LEASE_SIGNAL, blocked: see next_signal(). */
static inline void want_signal(struct __test_metadata *const _metadata, int fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, fcntl(fd, F_SETSIG, LEASE_SIGNAL));
}

/* The next recall within @ms, its signal number or -1. */
static inline int next_signal(siginfo_t *info, long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	do {
		sig = sigtimedwait(&set, info, &ts);
	} while (sig < 0 && errno == EINTR);
	return sig;
}

static inline void take_lease_by(struct __test_metadata *const _metadata,
				 struct dax_file *f, bool other, int (*set)(int fd))
{
	f->lease_fd = f->fd;
	if (other)
		f->lease_fd = open(f->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, f->lease_fd);
	ASSERT_EQ(0, set(f->lease_fd)) {
		TH_LOG("no layout lease: %m");
	}
	want_signal(_metadata, f->lease_fd);
}

/*
 * Take a layout lease for a file, by the descriptor that is mapped or by one of
 * another open file description.
 */
static inline void take_lease(struct __test_metadata *const _metadata,
			      struct dax_file *f, bool other)
{
	take_lease_by(_metadata, f, other, set_lease);
}

/* An exclusive one, whose consent is given before. */
static inline int set_exclusive(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGKILL) ||
	    fcntl(fd, F_SETLEASE, F_LAYOUT | F_EXCLUSIVE))
		return -errno;
	/* The consent is latched: recalls come as something else. */
	return fcntl(fd, F_SETSIG, LEASE_SIGNAL) ? -errno : 0;
}

static inline void take_exclusive(struct __test_metadata *const _metadata,
				  struct dax_file *f, bool other)
{
	take_lease_by(_metadata, f, other, set_exclusive);
}

static inline bool breaking(int fd)
{
	return fcntl(fd, F_GETLEASE) == (F_LAYOUT | F_BREAKING);
}

/* Physical place of a block, and the flags of its extent; 0 for a hole. */
static inline uint64_t block_of(int fd, off_t off, unsigned int *flags)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} f = {
		.map = {
			.fm_start = off,
			.fm_length = PAGE,
			.fm_flags = FIEMAP_FLAG_SYNC,
			.fm_extent_count = 1,
		},
	};

	if (flags)
		*flags = 0;
	if (ioctl(fd, FS_IOC_FIEMAP, &f.map) || !f.map.fm_mapped_extents)
		return 0;
	if (flags)
		*flags = f.extent.fe_flags;
	return f.extent.fe_physical + off - f.extent.fe_logical;
}

/* Does any block of the range have one of the flags, or is one a hole? */
static inline bool extents_have(int fd, off_t off, size_t len, unsigned int flags)
{
	unsigned int have;
	off_t at;

	for (at = off; at < off + (off_t)len; at += PAGE)
		if (!block_of(fd, at, &have) || (have & flags))
			return true;
	return false;
}

static inline int clone_range(const char *from, off_t src, off_t len,
			      const char *to, off_t dst)
{
	struct file_clone_range arg = {
		.src_offset = src,
		.src_length = len,
		.dest_offset = dst,
	};
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	int ret;

	arg.src_fd = in;
	ret = ioctl(out, FICLONERANGE, &arg) ? -errno : 0;
	close(in);
	close(out);
	return ret;
}

/*
 * Space that file systems keep for hard times, for XFS from <xfs/xfs_fs.h>; ext4
 * has a file in /sys.
 */
struct fsop_resblks {
	__u64 resblks;
	__u64 avail;
};
#define IOC_SET_RESBLKS		_IOWR('X', 114, struct fsop_resblks)

/* A new file of all the space that can be had; its size, and a descriptor. */
static inline int take_all_space(off_t *size, const char *name)
{
	struct fsop_resblks none = { };
	off_t more = 64 * MIB;
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", mnt, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return -1;
	if (fs_now == XFS && ioctl(fd, IOC_SET_RESBLKS, &none))
		return -1;
	snprintf(path, sizeof(path), "/sys/fs/ext4/%s/reserved_clusters",
		 strrchr(test_fs[EXT4].dev, '/') + 1);
	if (fs_now == EXT4 && set_number(path, 0))
		return -1;
	for (*size = 0; more >= (off_t)PAGE; )
		if (fallocate(fd, 0, *size, more))
			more /= 2;
		else
			*size += more;
	return fd;
}

/* --- descriptors on their way -------------------------------------------------------- */

/* Send up to four descriptors. */
static inline int send_fds(int sock, const int *fds, int nr)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = { }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(nr * sizeof(int)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(nr * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, nr * sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static inline int receive_fds(int sock, int *fds, int nr)
{
	char control[CMSG_SPACE(4 * sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_len != CMSG_LEN(nr * sizeof(int)))
		return -EPROTO;
	memcpy(fds, CMSG_DATA(cmsg), nr * sizeof(int));
	return 0;
}

/* --- page faults that sleep ------------------------------------------------------- */

/* Anonymous memory that faults to user space: whoever touches it sleeps. */
struct faulting {
	int fd;
	char *mem;
};

/* Map it at @at, in the place of what is there, or anywhere if that is NULL. */
static inline int map_faulting(struct faulting *u, char *at, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	u->fd = -1;
	u->mem = mmap(at, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);
	if (u->mem == MAP_FAILED)
		return -errno;
	u->fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (u->fd < 0)
		return -errno;
	reg.range.start = (uintptr_t)u->mem;
	reg.range.len = len;
	if (ioctl(u->fd, UFFDIO_API, &api) ||
	    ioctl(u->fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return 0;
}

/* Wait until somebody sleeps there. */
static inline bool is_touched(const struct faulting *u)
{
	struct uffd_msg msg = { };

	return wait_for(read(u->fd, &msg, sizeof(msg)) == sizeof(msg)) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

/* Let those go on who sleep at this page. */
static inline int fill_page(const struct faulting *u, void *page)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
	};

	return ioctl(u->fd, UFFDIO_ZEROPAGE, &zero) ? -errno : 0;
}

/* --- calls made by another process ------------------------------------------------ */

struct call_result {
	long begin, end;	/* now_ms() */
	int ret;		/* what the function returned */
	bool done;
};

struct call {
	pid_t pid;
	struct call_result *res;
};

typedef int (*call_fn)(const void *arg);

static inline void *shared_zalloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Fork a process that does not outlive this one. */
static inline pid_t fork_child(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

/* Where does a process hang that should have come to an end? */
static inline void tell_stack(pid_t pid)
{
	char path[64], text[4096], *line, *save;

	snprintf(path, sizeof(path), "/proc/%d/stack", pid);
	if (read_text(path, text, sizeof(text), sizeof(text)) < 0)
		return;
	fprintf(TH_LOG_STREAM, "# process %d hangs:\n", pid);
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		fprintf(TH_LOG_STREAM, "#  %s\n", line);
}

static inline bool reap(pid_t pid, int *status)
{
	bool ok = wait_for(waitpid(pid, status, WNOHANG) == pid);

	if (!ok)
		tell_stack(pid);
	return ok;
}

/* What is a process doing?  A letter, as ps has it; 0 if it has ended. */
static inline char state_of(pid_t pid)
{
	char path[64], text[4096], *state;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_text(path, text, sizeof(text), sizeof(text)) < 0)
		return 0;
	state = strstr(text, "\nState:\t");
	return !state || strchr("ZX", state[8]) ? 0 : state[8];
}

/*
 * Does the process wait, for what does not come?  That is: for a while it is asleep
 * whenever one looks, though it may get up now and then to look, too.  False if it
 * comes to its end instead.
 */
static inline bool stays_asleep(pid_t pid)
{
	long begin = now_ms(), since = begin;
	char state;

	while (now_ms() - begin < LIMIT * 1000L) {
		state = state_of(pid);
		if (!state)
			return false;
		if (!strchr("SD", state))
			since = now_ms();
		else if (now_ms() - since >= 100 * slowness())
			return true;
		usleep(5000);
	}
	return false;
}

static inline void call_start(struct __test_metadata *const _metadata,
			      struct call *c, call_fn fn, const void *arg)
{
	pid_t pid;

	c->res = shared_zalloc(sizeof(*c->res));
	ASSERT_NE(NULL, c->res);
	c->res->begin = now_ms();
	/* @c may be in memory that is shared with the child. */
	pid = fork_child();
	ASSERT_LE(0, pid);
	if (pid == 0) {
		c->res->begin = now_ms();
		c->res->ret = fn(arg);
		c->res->end = now_ms();
		__atomic_store_n(&c->res->done, true, __ATOMIC_RELEASE);
		_exit(0);
	}
	c->pid = pid;
}

static inline bool call_done(const struct call *c)
{
	return __atomic_load_n(&c->res->done, __ATOMIC_ACQUIRE);
}

/* Wait for the end of the call: what it returned, or -ETIME. */
static inline int call_wait(const struct call *c)
{
	int status;

	if (!wait_for(call_done(c))) {
		tell_stack(c->pid);
		kill(c->pid, SIGKILL);
		return -ETIME;
	}
	reap(c->pid, &status);
	return c->res->ret;
}

/* Kill the caller: does it die of that, without an end of its call? */
static inline bool call_kill(const struct call *c)
{
	int status;

	kill(c->pid, SIGKILL);
	return reap(c->pid, &status) && WIFSIGNALED(status) && !call_done(c);
}

static inline long call_ms(const struct call *c)
{
	return c->res->end - c->res->begin;
}

/* Nobody waits for a pin longer than that, nor in vain (I2). */
#define EXPECT_BOUNDED(ms, bound)					\
do {									\
	long _ms = (ms), _bound = (bound);				\
									\
	fprintf(TH_LOG_STREAM,						\
		"# longest wait of a breaker: %ld ms, bound %ld ms\n",	\
		_ms, _bound);						\
	EXPECT_GE(_bound, _ms);						\
} while (0)

/* Let another process call @fn, and return what that returns. */
static inline int in_child(struct __test_metadata *const _metadata, call_fn fn,
			   const void *arg)
{
	struct call c;

	call_start(_metadata, &c, fn, arg);
	return call_wait(&c);
}

/* --- operations that take blocks ---------------------------------------------------- */

typedef int (*op_fn)(const char *path, off_t off, off_t len);

static inline int op_truncate(const char *path, off_t off, off_t len)
{
	(void)len;
	return truncate(path, off) ? -errno : 0;
}

static inline int with_file(const char *path, int flags,
			    int (*fn)(int fd, off_t off, off_t len),
			    off_t off, off_t len)
{
	int fd = open(path, flags | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = fn(fd, off, len) ? -errno : 0;
	close(fd);
	return ret;
}

static inline int fd_ftruncate(int fd, off_t off, off_t len)
{
	(void)len;
	return ftruncate(fd, off);
}

static inline int op_ftruncate(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_ftruncate, off, len);
}

static inline int fd_nothing(int fd, off_t off, off_t len)
{
	(void)fd;
	(void)off;
	(void)len;
	return 0;
}

static inline int op_open_trunc(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR | O_TRUNC, fd_nothing, off, len);
}

static inline int op_open_trunc_nonblock(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR | O_TRUNC | O_NONBLOCK, fd_nothing, off,
			 len);
}

static inline int fd_punch(int fd, off_t off, off_t len)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			 len);
}

static inline int op_punch(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_punch, off, len);
}

static inline int fd_zero(int fd, off_t off, off_t len)
{
	return fallocate(fd, FALLOC_FL_ZERO_RANGE, off, len);
}

static inline int op_zero(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_zero, off, len);
}

static inline int fd_collapse(int fd, off_t off, off_t len)
{
	return fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, off, len);
}

static inline int op_collapse(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_collapse, off, len);
}

static inline int fd_insert(int fd, off_t off, off_t len)
{
	return fallocate(fd, FALLOC_FL_INSERT_RANGE, off, len);
}

static inline int op_insert(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_insert, off, len);
}

static inline int fd_remove(int fd, off_t off, off_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off);

	if (p == MAP_FAILED)
		return -1;
	return madvise(p, len, MADV_REMOVE);
}

static inline int op_madv_remove(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_remove, off, len);
}

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES	0x80
#endif

static inline int fd_write_zeroes(int fd, off_t off, off_t len)
{
	return fallocate(fd, FALLOC_FL_WRITE_ZEROES, off, len);
}

static inline int op_write_zeroes(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_write_zeroes, off, len);
}

/* From <linux/ext4.h>: exchange all blocks with those of the boot loader. */
#define IOC_SWAP_BOOT		_IO('f', 17)

static inline int fd_swap_boot(int fd, off_t off, off_t len)
{
	(void)off;
	(void)len;
	return ioctl(fd, IOC_SWAP_BOOT);
}

static inline int op_swap_boot(const char *path, off_t off, off_t len)
{
	return with_file(path, O_RDWR, fd_swap_boot, off, len);
}

static inline bool have_uring(void)
{
	struct io_uring_params params = { };
	int ring = syscall(__NR_io_uring_setup, 1, &params);
	bool have = ring >= 0 || errno != ENOSYS;

	close(ring);
	return have;
}

#define NEED_URING()							\
do {									\
	if (!have_uring())						\
		SKIP(return, "no io_uring");				\
} while (0)

/* Punch by a worker of io_uring. */
static inline int op_uring_punch(const char *path, off_t off, off_t len)
{
	struct io_uring_params params = { };
	unsigned int *head, *tail, *array;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	char *rings;
	int ring;

	ring = syscall(__NR_io_uring_setup, 1, &params);
	if (ring < 0)
		return -errno;
	if (!(params.features & IORING_FEAT_SINGLE_MMAP))
		return -EPROTO;
	rings = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		     IORING_OFF_SQ_RING);
	sqe = mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		   IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqe == MAP_FAILED)
		return -errno;
	*sqe = (struct io_uring_sqe) {
		.opcode = IORING_OP_FALLOCATE,
		.flags = IOSQE_ASYNC,
		.fd = open(path, O_RDWR | O_CLOEXEC),
		.off = off,
		.addr = len,
		.len = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	};
	array = (unsigned int *)(rings + params.sq_off.array);
	tail = (unsigned int *)(rings + params.sq_off.tail);
	array[0] = 0;
	__atomic_store_n(tail, 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) < 0)
		return -errno;
	head = (unsigned int *)(rings + params.cq_off.head);
	tail = (unsigned int *)(rings + params.cq_off.tail);
	if (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == *head)
		return -EINTR;
	cqe = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	close(sqe->fd);
	close(ring);
	return cqe->res;
}

struct op {
	op_fn fn;
	char path[256];
	off_t off, len;
	uid_t uid;		/* as whom, 0 for root */
};

static inline int run_op(const void *arg)
{
	const struct op *op = arg;

	/* Descriptors that were inherited are none of this process's business. */
	close_range(3, ~0U, 0);
	if (op->uid && setresuid(op->uid, op->uid, op->uid))
		return -errno;
	return op->fn(op->path, op->off, op->len);
}

/* Another process starts to do @fn to the file. */
static inline void start_op(struct __test_metadata *const _metadata,
			    struct call *c, op_fn fn, const struct dax_file *f,
			    off_t off, off_t len)
{
	struct op op = { .fn = fn, .off = off, .len = len };

	strcpy(op.path, f->path);
	call_start(_metadata, c, run_op, &op);
}

/* Another process does @fn to the file; what it returned. */
static inline int other_does(struct __test_metadata *const _metadata, op_fn fn,
			     const struct dax_file *f, off_t off, off_t len)
{
	struct call c;

	start_op(_metadata, &c, fn, f, off, len);
	return call_wait(&c);
}

/*
 * Take short-term references to pages, and keep them until somebody reads or
 * closes the pipe; its reading end.
 */
static inline int hold_pages(struct __test_metadata *const _metadata, void *addr,
			     size_t len)
{
	struct iovec iov = { addr, len };
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	ASSERT_EQ((ssize_t)len, vmsplice(ends[1], &iov, 1, 0));
	close(ends[1]);
	return ends[0];
}

/* --- /proc/<pid>/file_pins -------------------------------------------------------- */

#define PINS_HEADER	"ID DEV INODE RANGE PAGES MODE LEASE STATE USER PATH\n"
#define ALL_HEADER	"ID PID DEV INODE RANGE PAGES MODE LEASE STATE USER PATH\n"

struct pin_line {
	unsigned long long id, ino, first, last, pages;
	unsigned int major, minor;
	char mode[8], lease[16], state[16], user[128], path[512];
};

#define MAX_PINS	256

/* The pins in a report; with @pids it is that of all, and says of each whose. */
static inline int parse_pins(char *text, struct pin_line *pins, int *pids)
{
	const char *header = pids ? ALL_HEADER : PINS_HEADER;
	char *line, *end;
	int n = 0;

	if (strncmp(text, header, strlen(header)))
		return -EPROTO;
	for (line = text + strlen(header); *line; line = end + 1) {
		struct pin_line *p = &pins[n];
		int used = 0;

		end = strchr(line, '\n');
		if (!end || n == MAX_PINS)
			return -EPROTO;
		*end = '\0';
		if (sscanf(line, "%llu%n", &p->id, &used) != 1)
			return -EPROTO;
		line += used;
		if (pids) {
			if (sscanf(line, "%d%n", &pids[n], &used) != 1)
				return -EPROTO;
			line += used;
		}
		used = 0;
		if (sscanf(line, "%u:%u %llu %llu-%llu %llu %7s %15s %15s %127s %511s%n",
			   &p->major, &p->minor, &p->ino, &p->first, &p->last,
			   &p->pages, p->mode, p->lease, p->state, p->user,
			   p->path, &used) != 11 || line[used])
			return -EPROTO;
		n++;
	}
	return n;
}

/* All pins that the report of a process shows, or -errno. */
static inline int read_pins(pid_t pid, struct pin_line *pins)
{
	static char text[256 * KIB];
	char path[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/file_pins", pid);
	len = read_text(path, text, sizeof(text), sizeof(text));
	return len < 0 ? len : parse_pins(text, pins, NULL);
}

/* How many pins of a process are in @state, or in any if that is NULL? */
static inline int count_pins(pid_t pid, const char *state)
{
	static struct pin_line pins[MAX_PINS];
	int i, n = read_pins(pid, pins), count = 0;

	if (n < 0)
		return n;
	for (i = 0; i < n; i++)
		if (!state || !strcmp(pins[i].state, state))
			count++;
	return count;
}

/* Pins of this process that are, or may be, in a device's reach. */
static inline int held_pins(void)
{
	int all = count_pins(getpid(), NULL);

	return all < 0 ? all : all - count_pins(getpid(), "revoked");
}

#endif /* LAYOUT_LEASE_COMMON_H */
