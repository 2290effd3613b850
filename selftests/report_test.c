// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/<pid>/file_pins (R1), /proc/file_pins and fdinfo (R2), the leases in
 * /proc/locks of another pid namespace (L8), tracepoints and
 * counters (R4), and what the log says when pins make an operation fail (B5).
 *
 * Events go to a trace buffer of our own.
 */
#include <limits.h>
#include <linux/capability.h>

#include "verbs_util.h"

#define ALL_PINS	"/proc/file_pins"

static char text[MIB];		/* of one file or another */

static bool no_pins(void);

FIXTURE(report)
{
	struct verbs v;
	struct dax_file f;
	pid_t stranger;		/* has neither lease nor context */
	struct pin_line pins[MAX_PINS];
};

/* -ENOSYS: there are no such namespaces, or there may be none. */
static int unshare_if(int flags)
{
	if (!unshare(flags))
		return 0;
	return errno == EINVAL || errno == ENOSPC ? -ENOSYS : -errno;
}

static int wait_for_the_end(const void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return 0;
}

FIXTURE_SETUP(report)
{
	struct call c;

	call_start(_metadata, &c, wait_for_the_end, NULL);
	self->stranger = c.pid;
	VERBS_SETUP(&self->v);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", 256 * KIB, BASE_PAGES);
	take_lease(_metadata, &self->f, true);
}

FIXTURE_TEARDOWN_PARENT(report)
{
	environment_clean();
}

#define read_own() read_pins(getpid(), self->pins)

/* Breaks if a field is missing, in other units, or about the wrong thing. */
/* Rules: R1 */
TEST_F(report, R1_fields)
{
	struct pin_line *p = self->pins;
	struct ibv_mr *rw, *ro;
	char user[64], text[512];
	struct stat st;
	int used = 0;

	ASSERT_LT(0, read_text("/proc/self/file_pins", text, sizeof(text), 512));
	EXPECT_STREQ(PINS_HEADER, text);

	ASSERT_EQ(0, fstat(self->f.fd, &st));
	/* Half of two pages, but pages it is. */
	ASSERT_REG(rw, &self->v, self->f.map + 2 * PAGE + 2048, PAGE, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	EXPECT_LT(0ULL, p->id);
	EXPECT_EQ(major(st.st_dev), p->major);
	EXPECT_EQ(minor(st.st_dev), p->minor);
	EXPECT_EQ(st.st_ino, p->ino);
	EXPECT_EQ(2 * PAGE, p->first);
	EXPECT_EQ(4 * PAGE - 1, p->last);
	EXPECT_EQ(2ULL, p->pages);
	EXPECT_STREQ("rw", p->mode);
	EXPECT_STREQ("layout", p->lease);
	EXPECT_STREQ("active", p->state);
	snprintf(user, sizeof(user), "rdma:%s:mr:%%*u%%n",
		 ibv_get_device_name(self->v.ctx->device));
	EXPECT_EQ(0, sscanf(p->user, user, &used));
	EXPECT_EQ(strlen(p->user), (size_t)used) {
		TH_LOG("user is '%s'", p->user);
	}
	EXPECT_STREQ(self->f.path, p->path);

	ASSERT_REG(ro, &self->v, self->f.map, self->f.size, ACCESS_RO);
	ASSERT_EQ(2, read_own());
	/* In the order of their numbers, which are not used again at once. */
	EXPECT_LT(p[0].id, p[1].id);
	EXPECT_STREQ("ro", p[1].mode);
	EXPECT_EQ(0ULL, p[1].first);
	EXPECT_EQ(self->f.size - 1, p[1].last);
	EXPECT_EQ(self->f.size / PAGE, p[1].pages);
	EXPECT_STRNE(p[0].user, p[1].user);

	EXPECT_EQ(0, ibv_dereg_mr(rw));
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ("ro", p->mode);
	EXPECT_EQ(0, ibv_dereg_mr(ro));
	EXPECT_EQ(0, read_own());
}

/* The number is that under which `rdma resource` knows the region. */
/* Rules: R1 */
TEST_F(report, R1_number_of_the_region)
{
	char cmd[256], text[4096] = "", key[64];
	struct ibv_mr *mr;
	FILE *f;

	if (!have_program("rdma"))
		SKIP(return, "no rdma(8)");
	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	snprintf(cmd, sizeof(cmd), "rdma resource show mr mrn %s -dd",
		 strrchr(self->pins[0].user, ':') + 1);
	f = popen(cmd, "r");
	ASSERT_NE(NULL, f);
	EXPECT_LT(0UL, fread(text, 1, sizeof(text) - 1, f));
	pclose(f);
	snprintf(key, sizeof(key), "mrlen %lu ", PAGE);
	EXPECT_NE(NULL, strstr(text, key)) {
		TH_LOG("%s: %s", cmd, text);
	}
	snprintf(key, sizeof(key), "pid %d ", getpid());
	EXPECT_NE(NULL, strstr(text, key)) {
		TH_LOG("%s: %s", cmd, text);
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* Breaks if a file's name can look like the end of a line, or like more fields. */
/* Rules: R1 */
TEST_F(report, R1_odd_names)
{
	static const struct {
		const char *name, *shown;
	} odd[] = {
		{ "a b", "a\\040b" },
		{ "a\nb", "a\\012b" },
		{ "a\tb", "a\\011b" },
		{ "a\\b", "a\\134b" },
		{ "\n1 2:3 4 5-6 7 rw layout active x /y",
		  "\\0121\\0402:3\\0404\\0405-6\\0407\\040rw\\040layout\\040active\\040x\\040" },
		{ "\xff\x80", "\xff\x80" },
		/* As they are, as in /proc/mounts. */
		{ "a#b", "a#b" },
		{ "-", "-" },
		{ "a\\040b", "a\\134040b" },
	};
	char path[512];
	struct ibv_mr *mr;
	struct dax_file f;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(odd); i++) {
		char name[256];

		/* No slash in a name. */
		snprintf(name, sizeof(name), "%.*s",
			 (int)strcspn(odd[i].name, "/"), odd[i].name);
		make_file(_metadata, &f, name, PAGE, BASE_PAGES);
		ASSERT_EQ(0, set_lease(f.fd));
		ASSERT_REG(mr, &self->v, f.map, PAGE, ACCESS_RW);
		EXPECT_EQ(1, read_own());
		snprintf(path, sizeof(path), "%s/%s", mnt, odd[i].shown);
		EXPECT_STREQ(path, self->pins[0].path);
		EXPECT_EQ(0, ibv_dereg_mr(mr));
	}
}

/* Breaks if the line goes, or its reader falls, with the name. */
/* Rules: R1 */
TEST_F(report, R1_deleted_and_renamed_file)
{
	struct ibv_mr *mr;
	char path[300];

	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	snprintf(path, sizeof(path), "%s.2", self->f.path);
	ASSERT_EQ(0, rename(self->f.path, path));
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ(path, self->pins[0].path);
	ASSERT_EQ(0, unlink(path));
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ("active", self->pins[0].state);
	EXPECT_EQ(0, strncmp(path, self->pins[0].path, strlen(path)));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, read_own());
}

/* One line for each file of a region. */
/* Rules: R1 */
TEST_F(report, R1_line_for_each_file)
{
	struct pin_line *p = self->pins;
	struct dax_file g;
	struct ibv_mr *mr;
	char *area;

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, set_lease(g.fd));
	area = mmap(NULL, 128 * KIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)area);
	map_at(area, self->f.fd, 64 * KIB, PROT_READ | PROT_WRITE, 128 * KIB);
	map_at(area + 64 * KIB, g.fd, 64 * KIB, PROT_READ | PROT_WRITE, 0);
	ASSERT_REG(mr, &self->v, area, 128 * KIB, ACCESS_RW);
	ASSERT_EQ(2, read_own());
	EXPECT_STREQ(self->f.path, p[0].path);
	EXPECT_EQ(128 * KIB, p[0].first);
	EXPECT_EQ(192 * KIB - 1, p[0].last);
	EXPECT_STREQ(g.path, p[1].path);
	EXPECT_EQ(0ULL, p[1].first);
	EXPECT_EQ(64 * KIB - 1, p[1].last);
	EXPECT_EQ(16ULL, p[0].pages);
	EXPECT_EQ(16ULL, p[1].pages);
	EXPECT_STREQ(p[0].user, p[1].user);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* The states that a region goes through; registering is in pin_test. */
/* Rules: R1 */
TEST_F(report, R1_recall_and_revoked)
{
	struct ibv_mr *recalled, *active;
	struct pin_line *p = self->pins;
	struct call c;

	ASSERT_REG(active, &self->v, self->f.map, PAGE, ACCESS_RW);
	ASSERT_REG(recalled, &self->v, self->f.map + 64 * KIB, PAGE, ACCESS_RW);
	set_grace(GRACE_SEEN);
	start_op(_metadata, &c, op_truncate, &self->f, 64 * KIB, 0);
	ASSERT_TRUE(wait_for(breaking(self->f.lease_fd)));
	ASSERT_EQ(2, read_own());
	EXPECT_STREQ("active", p[0].state);
	EXPECT_STREQ("recall", p[1].state);
	EXPECT_STREQ(self->f.path, p[1].path);

	EXPECT_EQ(0, call_wait(&c));
	ASSERT_EQ(2, read_own());
	EXPECT_STREQ("active", p[0].state);
	EXPECT_STREQ(self->f.path, p[0].path);
	EXPECT_STREQ("revoked", p[1].state);
	EXPECT_STREQ("-", p[1].path);
	EXPECT_EQ(64 * KIB, p[1].first);

	EXPECT_EQ(0, ibv_dereg_mr(recalled));
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ("active", p[0].state);
	EXPECT_EQ(0, ibv_dereg_mr(active));
}

/* A revoked line holds neither the file nor the mount. */
/* Rules: R1 */
TEST_F(report, R1_revoked_line_holds_nothing)
{
	char dir[64] = "/tmp/layout_lease.XXXXXX", path[300];
	struct dax_file f;
	struct ibv_mr *mr;
	int fd;

	/* A second mount of the file system. */
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount_fs(test_fs[fs_now].dev, dir, test_fs[fs_now].type,
			      "dax=always"));
	make_file(_metadata, &f, "g", 64 * KIB, BASE_PAGES);
	snprintf(path, sizeof(path), "%s/g", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	f.map = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_EQ(0, set_lease(fd));
	ASSERT_REG(mr, &self->v, f.map, 64 * KIB, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ(path, self->pins[0].path);
	EXPECT_EQ(-1, syscall(__NR_umount2, dir, 0));
	EXPECT_EQ(EBUSY, errno);
	close(fd);
	ASSERT_EQ(0, munmap(f.map, 64 * KIB));
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_TRUE(wait_for(!syscall(__NR_umount2, dir, 0)));
	rmdir(dir);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* A path that the kernel cannot print into a page, and no call could take. */
#define DEEP	20

/* Breaks if a line that is too long for the buffer is cut, or is left out. */
/* Rules: R1 R2 */
TEST_F(report, R1_path_longer_than_a_page)
{
	static const char * const report[] = { "/proc/self/file_pins", ALL_PINS };
	static char pieces[256 * KIB];
	char name[251], *map, *path, *end;
	int dir[DEEP + 1], fd;
	struct ibv_mr *mr;
	unsigned int i;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	dir[0] = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (i = 0; i < DEEP; i++) {
		ASSERT_EQ(0, mkdirat(dir[i], name, 0700));
		dir[i + 1] = openat(dir[i], name,
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ASSERT_LE(0, dir[i + 1]);
	}
	fd = openat(dir[DEEP], "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, write_pattern(fd, 0, PAGE, 0));
	map = map_at(NULL, fd, PAGE, PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	ASSERT_EQ(0, set_lease(fd));
	ASSERT_REG(mr, &self->v, map, PAGE, ACCESS_RW);
	for (i = 0; i < ARRAY_SIZE(report); i++) {
		ASSERT_LT(0, read_text(report[i], text, sizeof(text),
				       sizeof(text)));
		ASSERT_LT(0, read_text(report[i], pieces, sizeof(pieces), 100));
		EXPECT_EQ(0, strcmp(text, pieces));
		path = strstr(text, " /tmp/layout_lease.");
		ASSERT_NE(NULL, path);
		end = strchr(++path, '\n');
		ASSERT_NE(NULL, end);
		EXPECT_EQ(strlen(mnt) + DEEP * sizeof(name) + 2,
			  (size_t)(end - path));
		EXPECT_EQ(0, strncmp("n/f\n", end - 3, 4));
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, unlinkat(dir[DEEP], "f", 0));
	for (i = DEEP; i; i--)
		EXPECT_EQ(0, unlinkat(dir[i - 1], name, AT_REMOVEDIR));
}

/* A second mount of the file system, a file on it, mapped, and its lease. */
struct second_mount {
	char dir[64], path[300], *map;
	int fd;
};

static void mount_again(struct __test_metadata *const _metadata,
			struct second_mount *s)
{
	struct dax_file f;

	strcpy(s->dir, "/tmp/layout_lease.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(s->dir));
	ASSERT_EQ(0, mount_fs(test_fs[fs_now].dev, s->dir, test_fs[fs_now].type,
			      "dax=always"));
	make_file(_metadata, &f, "second", PAGE, BASE_PAGES);
	snprintf(s->path, sizeof(s->path), "%s/second", s->dir);
	s->fd = open(s->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, s->fd);
	s->map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	ASSERT_NE(MAP_FAILED, (void *)s->map);
	ASSERT_EQ(0, set_lease(s->fd));
}

/* Breaks if a pin disappears from the report with its mount. */
/* Rules: R1 B12 */
TEST_F(report, R1_detached_mount)
{
	struct second_mount s;
	struct ibv_mr *mr;
	struct stat st;

	mount_again(_metadata, &s);
	ASSERT_EQ(0, fstat(s.fd, &st));
	ASSERT_REG(mr, &self->v, s.map, PAGE, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ(s.path, self->pins[0].path);
	ASSERT_EQ(0, syscall(__NR_umount2, s.dir, 2 /* MNT_DETACH */));
	ASSERT_EQ(1, read_own());
	EXPECT_STREQ("active", self->pins[0].state);
	EXPECT_EQ(st.st_ino, self->pins[0].ino);
	EXPECT_EQ('/', self->pins[0].path[0]);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, read_own());
	rmdir(s.dir);
}

/* --- who sees what ----------------------------------------------------------------------- */

/* Forget all that was inherited but the RDMA context. */
static int only_context(const void *arg)
{
	const struct dax_file *f = arg;

	close(f->lease_fd);
	close(f->fd);
	munmap(f->map, f->size);
	raise(SIGSTOP);
	return 0;
}

static void wait_stopped(struct __test_metadata *const _metadata, pid_t pid)
{
	int status;

	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
}

/* Breaks if it is always the process that registered who is blamed, or all are. */
/* Rules: R1 */
TEST_F(report, R1_who_has_the_context_sees_it)
{
	struct ibv_mr *mr;
	struct call c;

	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	call_start(_metadata, &c, only_context, &self->f);
	wait_stopped(_metadata, c.pid);
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(1, read_pins(c.pid, self->pins));
	EXPECT_STREQ(self->f.path, self->pins[0].path);
	EXPECT_EQ(0, count_pins(self->stranger, NULL));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, count_pins(c.pid, NULL));
}

static int only_mapping(const void *arg)
{
	const struct dax_file *f = arg;

	munmap(f->map, f->size);
	close_range(0, ~0U, 0);
	raise(SIGSTOP);
	return 0;
}

/* Breaks if a context that is mapped, but not open any more, is overlooked. */
/* Rules: R1 */
TEST_F(report, R1_who_has_mapped_the_context_sees_it)
{
	struct ibv_mr *mr;
	struct ibv_cq *cq;
	struct call c;

	/* Its ring is a mapping of the context, and is inherited. */
	cq = ibv_create_cq(self->v.ctx, 4, NULL, NULL, 0);
	ASSERT_NE(NULL, cq);
	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	call_start(_metadata, &c, only_mapping, &self->f);
	wait_stopped(_metadata, c.pid);
	EXPECT_EQ(1, read_pins(c.pid, self->pins));
	EXPECT_EQ(0, count_pins(self->stranger, NULL));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, ibv_destroy_cq(cq));
}

static int take_lease_and_stop(const void *arg)
{
	int ret = set_lease(*(const int *)arg);

	close_range(0, ~0U, 0);
	raise(SIGSTOP);
	return ret;
}

/* Who took the lease is in the way, even if somebody else registers under it. */
/* Rules: R1 */
TEST_F(report, R1_who_took_the_lease_sees_it)
{
	struct dax_file g;
	struct ibv_mr *mr;
	struct call c;

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	call_start(_metadata, &c, take_lease_and_stop, &g.fd);
	wait_stopped(_metadata, c.pid);
	ASSERT_EQ(F_LAYOUT, fcntl(g.fd, F_GETLEASE));
	ASSERT_REG(mr, &self->v, g.map, PAGE, ACCESS_RW);
	EXPECT_EQ(1, read_pins(c.pid, self->pins));
	EXPECT_STREQ(g.path, self->pins[0].path);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

struct reader {
	pid_t pid;		/* whose report */
	bool drop_after_open, read_before;
};

static int read_as_nobody(const void *arg)
{
	const struct reader *r = arg;
	char path[64], text[4096];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/file_pins", r->pid);
	if (!r->drop_after_open && setresuid(1000, 1000, 1000))
		return -errno;
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	if (r->read_before && read(fd, text, 1) != 1)
		return -EPROTO;
	if (r->drop_after_open && setresuid(1000, 1000, 1000))
		return -errno;
	return read(fd, text, sizeof(text)) < 0 ? -errno : 0;
}

/*
 * Names of files are nobody else's business.  Breaks if only the open is checked:
 * a descriptor that was opened by somebody else would tell them, or one that was
 * opened before the process became another program.
 */
/* Rules: R1 */
TEST_F(report, R1_other_user_is_eacces)
{
	struct reader r = { .pid = getpid() };
	struct ibv_mr *mr;

	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	EXPECT_EQ(-EACCES, in_child(_metadata, read_as_nobody, &r));
	r.drop_after_open = true;
	EXPECT_EQ(-EACCES, in_child(_metadata, read_as_nobody, &r));
	/* Nor what the first read has left in a buffer. */
	r.read_before = true;
	EXPECT_EQ(-EACCES, in_child(_metadata, read_as_nobody, &r));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

enum maps_reader { ROOT, OTHER_ROOT, ROOT_WITHOUT_CAPS, OTHER_USER, NR_MAPS_READERS };

static int set_caps(uint64_t caps);

struct maps_read {
	enum maps_reader kind;
	pid_t pid;
	const char *name;
};

static int open_and_read(const void *arg)
{
	const struct maps_read *r = arg;
	char path[64], c;
	int fd, ret;
	ssize_t n;

	switch (r->kind) {
	case OTHER_ROOT:
		ret = unshare_if(CLONE_NEWUSER);
		if (ret)
			return ret;
		break;
	case ROOT_WITHOUT_CAPS:
		if (set_caps(0))
			return -EPROTO;
		break;
	case OTHER_USER:
		if (setresuid(1000, 1000, 1000))
			return -EPROTO;
		break;
	default:
		break;
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", r->pid, r->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, &c, 1);
	/* More than that comes of handing it on. */
	return n < 0 ? 1000 + errno : n;
}

/*
 * Breaks if somebody can open what he may not read, and have it read by a program
 * that may: the standard input of one that is set-user-ID.
 */
/* Rules: R1 */
TEST_F(report, R1_readable_by_whom_maps_is)
{
	struct maps_read r = { .pid = getpid() };
	struct ibv_mr *mr;
	char name[64];
	int want, have;

	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	snprintf(name, sizeof(name), "fdinfo/%d", self->v.ctx->cmd_fd);
	for (r.kind = 0; r.kind < NR_MAPS_READERS; r.kind++) {
		r.name = "maps";
		want = in_child(_metadata, open_and_read, &r);
		EXPECT_EQ(r.kind == ROOT || want == -ENOSYS ? want : -EACCES,
			  want);
		r.name = "file_pins";
		have = in_child(_metadata, open_and_read, &r);
		EXPECT_EQ(want, have) {
			TH_LOG("reader %d", r.kind);
		}
		r.name = name;
		have = in_child(_metadata, open_and_read, &r);
		EXPECT_EQ(want, have) {
			TH_LOG("fdinfo, reader %d", r.kind);
		}
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* --- reading ------------------------------------------------------------------------------ */

/* Breaks if a read that begins in the middle repeats or forgets lines. */
/* Rules: R1 */
TEST_F(report, R1_many_lines_in_small_pieces)
{
	static char whole[64 * KIB], pieces[64 * KIB];
	struct ibv_mr *mr[200];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->f.map + i % 64 * PAGE, PAGE,
			   ACCESS_RO);
	ASSERT_EQ((int)ARRAY_SIZE(mr), read_own());
	for (i = 1; i < ARRAY_SIZE(mr); i++)
		ASSERT_LT(self->pins[i - 1].id, self->pins[i].id);
	ASSERT_LT(0, read_text("/proc/self/file_pins", whole, sizeof(whole),
			       sizeof(whole)));
	ASSERT_LT(0, read_text("/proc/self/file_pins", pieces, sizeof(pieces),
			       100));
	EXPECT_EQ(0, strcmp(whole, pieces));
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
	EXPECT_EQ(0, read_own());
}

/* Breaks if an open report holds up a deregistration, or is read after it. */
/* Rules: R1 */
TEST_F(report, R1_open_report_stalls_nobody)
{
	char text[100];
	struct ibv_mr *mr[20];
	unsigned int i;
	ssize_t n;
	int fd;

	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->f.map, PAGE, ACCESS_RO);
	fd = open("/proc/self/file_pins", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)sizeof(text), read(fd, text, sizeof(text)));
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	do {
		n = read(fd, text, sizeof(text));
		ASSERT_LE(0, n);
	} while (n);
	EXPECT_EQ(0, count_pins(getpid(), NULL));
}

/* --- /proc/file_pins ---------------------------------------------------------------------- */

/* All pins, as read_pins(), and the process of each in @pids; or -errno. */
static int read_all_from(const char *path, struct pin_line *pins, int *pids)
{
	ssize_t len = read_text(path, text, sizeof(text), sizeof(text));

	return len < 0 ? len : parse_pins(text, pins, pids);
}

static int read_all(struct pin_line *pins, int *pids)
{
	return read_all_from(ALL_PINS, pins, pids);
}

static const struct pin_line *find_path(const struct pin_line *pins, int n,
					const char *path)
{
	for (; n > 0; n--, pins++)
		if (!strcmp(pins->path, path))
			return pins;
	return NULL;
}

/* Breaks if the two reports differ in what they say of a pin. */
/* Rules: R2 */
TEST_F(report, R2_same_line_and_who)
{
	static struct pin_line all[MAX_PINS];
	static int pids[MAX_PINS];
	struct ibv_mr *rw, *ro;
	char line[1024];
	int i, j, n;

	ASSERT_REG(rw, &self->v, self->f.map, PAGE, ACCESS_RW);
	ASSERT_REG(ro, &self->v, self->f.map, self->f.size, ACCESS_RO);
	ASSERT_EQ(2, read_own());
	n = read_all(all, pids);
	ASSERT_LE(2, n);
	for (i = 0; i < 2; i++) {
		for (j = 0; j < n && all[j].id != self->pins[i].id; j++)
			;
		ASSERT_GT(n, j);
		EXPECT_EQ(getpid(), pids[j]);
		EXPECT_EQ(0, memcmp(&all[j], &self->pins[i],
				    offsetof(struct pin_line, mode)));
		EXPECT_STREQ(self->pins[i].mode, all[j].mode);
		EXPECT_STREQ(self->pins[i].lease, all[j].lease);
		EXPECT_STREQ(self->pins[i].state, all[j].state);
		EXPECT_STREQ(self->pins[i].user, all[j].user);
		EXPECT_STREQ(self->pins[i].path, all[j].path);
	}
	for (i = 1; i < n; i++)
		EXPECT_LT(all[i - 1].id, all[i].id);

	/* What awk sees. */
	ASSERT_EQ(0, run("awk 'NR > 1 && $2 == %d { print $5, $11 }' " ALL_PINS
			 " >/tmp/layout_lease.awk", getpid()));
	ASSERT_LT(0, read_text("/tmp/layout_lease.awk", text, sizeof(text),
			       sizeof(text)));
	unlink("/tmp/layout_lease.awk");
	snprintf(line, sizeof(line), "0-4095 %s\n0-%lu %s\n", self->f.path,
		 (unsigned long)self->f.size - 1, self->f.path);
	EXPECT_STREQ(line, text);

	EXPECT_EQ(0, ibv_dereg_mr(rw));
	EXPECT_EQ(0, ibv_dereg_mr(ro));
}

/* Breaks if a deleted file cannot be told, or a name looks like two lines. */
/* Rules: R2 */
TEST_F(report, R2_odd_and_deleted)
{
	static struct pin_line all[MAX_PINS];
	static int pids[MAX_PINS];
	struct dax_file g;
	char path[300];
	struct ibv_mr *mr;

	make_file(_metadata, &g, "a b\n1 2 3", PAGE, BASE_PAGES);
	ASSERT_EQ(0, set_lease(g.fd));
	ASSERT_REG(mr, &self->v, g.map, PAGE, ACCESS_RW);
	snprintf(path, sizeof(path), "%s/a\\040b\\0121\\0402\\0403", mnt);
	EXPECT_NE(NULL, find_path(all, read_all(all, pids), path));
	ASSERT_EQ(0, unlink(g.path));
	strcat(path, "\\040(deleted)");
	EXPECT_NE(NULL, find_path(all, read_all(all, pids), path));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(NULL, find_path(all, read_all(all, pids), path));
}

enum reader_kind { WITHOUT_CAP, ONLY_CAP, USER_NS, LOSES_CAP, NR_READERS };

static int set_caps(uint64_t caps)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = {
		{ .effective = caps, .permitted = caps },
		{ .effective = caps >> 32, .permitted = caps >> 32 },
	};

	return syscall(__NR_capset, &head, data) ? -errno : 0;
}

/* What the open gives, or a read if the open succeeds. */
static int read_all_as(const void *arg)
{
	enum reader_kind kind = *(const enum reader_kind *)arg;
	int fd = -1, ret = 0;
	char c[64];

	switch (kind) {
	case WITHOUT_CAP:
		/* Root, but for that. */
		ret = set_caps(~(1ULL << CAP_SYS_ADMIN) &
			       ((1ULL << (CAP_LAST_CAP + 1)) - 1));
		break;
	case ONLY_CAP:
		if (prctl(PR_SET_KEEPCAPS, 1) || setresuid(1000, 1000, 1000))
			return -EPROTO;
		ret = set_caps(1ULL << CAP_SYS_ADMIN);
		break;
	case USER_NS:
		ret = unshare_if(CLONE_NEWUSER);
		if (ret)
			return ret;
		break;
	case LOSES_CAP:
		fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setresuid(1000, 1000, 1000))
			return -EPROTO;
		break;
	default:
		return -EPROTO;
	}
	if (ret)
		return -EPROTO;
	if (fd < 0)
		fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return read(fd, c, sizeof(c)) < 0 ? -errno : 0;
}

/*
 * CAP_SYS_ADMIN in the initial user namespace, of whoever opens it.  Breaks if
 * uid 0 is enough, or not needed, or the root of a container sees other files.
 */
/* Rules: R2 */
TEST_F(report, R2_needs_the_capability)
{
	static const int want[NR_READERS] = {
		[WITHOUT_CAP] = -EPERM, [USER_NS] = -EPERM,
	};
	enum reader_kind kind;
	int ret;

	for (kind = 0; kind < NR_READERS; kind++) {
		ret = in_child(_metadata, read_all_as, &kind);
		if (kind == USER_NS && ret == -ENOSYS)
			continue;
		EXPECT_EQ(want[kind], ret) {
			TH_LOG("reader %d", kind);
		}
	}
}

/* What /proc/locks says of the layout lease on a file: its taker, or -1. */
static int lease_taker(const char *proc, ino_t ino)
{
	char path[128], *line, *save;

	snprintf(path, sizeof(path), "%s/locks", proc);
	if (read_text(path, text, sizeof(text), sizeof(text)) < 0)
		return -1;
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		unsigned long nr;
		int pid;

		if (sscanf(line, "%*d: LAYOUT %*s %*s %d %*x:%*x:%lu 0 EOF",
			   &pid, &nr) == 2 && nr == ino)
			return pid;
	}
	return -1;
}

/* --- whose pid, in which namespace -------------------------------------------------------- */

struct pid_seen {
	int mine, others;	/* PID of its own pin, and of one from outside */
};

struct pid_ns {
	int fd;			/* to take a lease by */
	int all_fd;		/* /proc/file_pins, opened outside */
	char file[300], first[300];	/* paths of that, and of another's */
	char proc[64];		/* where to mount a /proc */
	int outer;		/* number of the process outside */
	bool leased, pinned, done;
	ino_t ino, first_ino;
	struct pid_seen parents, own, handed;	/* by which /proc */
	int ret, lock, others_lock;
};

static int see_pids(const char *path, const struct pid_ns *s,
		    struct pid_seen *seen)
{
	static struct pin_line all[MAX_PINS];
	static int pids[MAX_PINS];
	const struct pin_line *p;
	int n = read_all_from(path, all, pids);

	if (n < 0)
		return n;
	p = find_path(all, n, s->file);
	seen->mine = p ? pids[p - all] : -1;
	p = find_path(all, n, s->first);
	seen->others = p ? pids[p - all] : -1;
	return 0;
}

/* The same, by a descriptor from outside, which has been read there. */
static int see_pids_handed(const struct pid_ns *s, struct pid_seen *seen)
{
	char copy[] = "/tmp/layout_lease.XXXXXX";
	ssize_t n, m;
	int fd, ret;

	if (lseek(s->all_fd, 0, SEEK_SET))
		return -errno;
	fd = mkstemp(copy);
	if (fd < 0)
		return -errno;
	do {
		n = read(s->all_fd, text, sizeof(text));
		m = n > 0 ? write(fd, text, n) : n;
	} while (n > 0 && m == n);
	close(fd);
	ret = n || m ? -EIO : see_pids(copy, s, seen);
	unlink(copy);
	return ret;
}

/*
 * Process 1 of a pid namespace, first with the /proc of the one that it comes
 * from, then with its own as well.
 */
static int in_pid_ns(struct pid_ns *s)
{
	char path[128], self[16] = "";
	int ret;

	/* The directories of this one have the numbers of outside. */
	if (getpid() != 1 || readlink("/proc/self", self, sizeof(self) - 1) < 1 ||
	    !strcmp(self, "1"))
		return -EPROTO;
	if (set_lease(s->fd))
		return -EPROTO;
	__atomic_store_n(&s->leased, true, __ATOMIC_RELEASE);
	if (!wait_for(__atomic_load_n(&s->pinned, __ATOMIC_ACQUIRE)))
		return -ETIME;
	ret = see_pids(ALL_PINS, s, &s->parents) ?:
	      see_pids_handed(s, &s->handed);
	if (ret)
		return ret;
	if (mount_fs("proc", s->proc, "proc", NULL))
		return -EPROTO;
	snprintf(path, sizeof(path), "%s/file_pins", s->proc);
	ret = see_pids(path, s, &s->own);
	if (ret)
		return ret;
	s->lock = lease_taker(s->proc, s->ino);
	s->others_lock = lease_taker(s->proc, s->first_ino);
	syscall(__NR_umount2, s->proc, 2 /* MNT_DETACH */);
	return 0;
}

static int make_pid_ns(const void *arg)
{
	struct pid_ns *s = *(struct pid_ns *const *)arg;
	int status, ret;
	pid_t pid;

	ret = unshare_if(CLONE_NEWPID);
	if (ret)
		return ret;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		s->ret = in_pid_ns(s);
		__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
		/* Alive, or there is no process to be shown. */
		for (;;)
			pause();
	}
	__atomic_store_n(&s->outer, pid, __ATOMIC_RELEASE);
	waitpid(pid, &status, 0);
	return 0;
}

/*
 * Breaks if the number is that of another namespace, of the one whose /proc it is
 * or where the report was opened: an administrator would end the wrong process;
 * or if a process keeps a number that is not its own any more.
 */
/* Rules: R2 L8 */
TEST_F(report, R2_pid_in_the_namespace_of_the_reader)
{
	static struct pin_line all[MAX_PINS];
	static int pids[MAX_PINS];
	const struct pin_line *p;
	struct ibv_mr *mr, *other;
	struct dax_file g;
	struct pid_ns *s;
	struct stat st;
	struct call c;
	char byte;
	int n;

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	s = shared_zalloc(sizeof(*s));
	ASSERT_NE(NULL, s);
	s->fd = g.fd;
	s->all_fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, s->all_fd);
	ASSERT_EQ(1, read(s->all_fd, &byte, 1));
	strcpy(s->file, g.path);
	strcpy(s->first, self->f.path);
	ASSERT_EQ(0, fstat(self->f.fd, &st));
	s->first_ino = st.st_ino;
	ASSERT_EQ(0, fstat(g.fd, &st));
	s->ino = st.st_ino;
	strcpy(s->proc, "/tmp/layout_lease.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(s->proc));
	ASSERT_REG(other, &self->v, self->f.map, PAGE, ACCESS_RW);
	call_start(_metadata, &c, make_pid_ns, &s);
	ASSERT_TRUE(wait_for(s->leased || s->done || call_done(&c)));
	if (call_done(&c) && c.res->ret == -ENOSYS)
		SKIP(return, "no pid namespaces");
	ASSERT_TRUE(s->leased);
	ASSERT_REG(mr, &self->v, g.map, PAGE, ACCESS_RW);
	__atomic_store_n(&s->pinned, true, __ATOMIC_RELEASE);
	ASSERT_TRUE(wait_for(s->done));
	EXPECT_EQ(0, s->ret);
	EXPECT_EQ(1, s->parents.mine);
	EXPECT_EQ(0, s->parents.others);
	EXPECT_EQ(1, s->handed.mine);
	EXPECT_EQ(0, s->handed.others);
	EXPECT_EQ(1, s->own.mine);
	EXPECT_EQ(0, s->own.others);
	EXPECT_EQ(1, s->lock);
	/* Locks of processes that are not visible are not shown, as ever. */
	EXPECT_EQ(-1, s->others_lock);
	EXPECT_EQ(s->outer, lease_taker("/proc", s->ino));
	EXPECT_EQ(getpid(), lease_taker("/proc", s->first_ino));

	n = read_all(all, pids);
	p = find_path(all, n, g.path);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(s->outer, pids[p - all]);
	p = find_path(all, n, self->f.path);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(getpid(), pids[p - all]);

	close(s->all_fd);
	/* Gone, with its number; we hold the descriptor and the pin. */
	kill(s->outer, SIGKILL);
	EXPECT_EQ(0, call_wait(&c));
	n = read_all(all, pids);
	p = find_path(all, n, g.path);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, pids[p - all]);
	EXPECT_STREQ("active", p->state);
	EXPECT_EQ(0, lease_taker("/proc", s->ino));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, ibv_dereg_mr(other));
	rmdir(s->proc);
}

/* --- many of them ------------------------------------------------------------------------- */

static long cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int compare_long(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return x < y ? -1 : x > y;
}

/*
 * Median of some times that it takes to read all lines; how many, in @lines.  On a
 * busy host an emulator's processors stand still now and then, and their clocks are
 * not quite the same.
 */
static long time_to_list(int *lines)
{
	long start, took[21];
	ssize_t len;
	size_t i;
	char *p;

	for (i = 0; i < ARRAY_SIZE(took); i++) {
		start = cpu_us();
		len = read_text(ALL_PINS, text, sizeof(text), 4096);
		took[i] = cpu_us() - start;
		if (len < 0)
			return len;
	}
	qsort(took, ARRAY_SIZE(took), sizeof(took[0]), compare_long);
	*lines = 0;
	for (p = text; (p = strchr(p, '\n')); p++)
		(*lines)++;
	return took[ARRAY_SIZE(took) / 2];
}

#define FEW	250
#define MANY	2000

/* Breaks if the way to a line grows with the lines before it: 64 times as long. */
/* Rules: R2 */
TEST_F(report, R2_linear_in_the_number_of_pins)
{
	static struct ibv_mr *mr[MANY];
	int few_lines, many_lines;
	long few, many;
	int i;

	for (i = 0; i < FEW; i++)
		ASSERT_REG(mr[i], &self->v, self->f.map + i % 64 * PAGE, PAGE,
			   ACCESS_RO);
	few = time_to_list(&few_lines);
	ASSERT_LT(0, few);
	EXPECT_LE(FEW + 1, few_lines);
	for (; i < MANY; i++)
		ASSERT_REG(mr[i], &self->v, self->f.map + i % 64 * PAGE, PAGE,
			   ACCESS_RO);
	many = time_to_list(&many_lines);
	ASSERT_LT(0, many);
	EXPECT_LE(MANY + 1, many_lines);
	fprintf(TH_LOG_STREAM, "# %d lines: %ld us, %d lines: %ld us\n",
		few_lines, few, many_lines, many);
	EXPECT_GT(3 * few * MANY / FEW, many);
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
}

/* What the slab caches charge to the memory cgroup, in bytes. */
static long charged(const char *cgroup)
{
	char path[128], *p;

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	if (read_text(path, text, sizeof(text), sizeof(text)) < 0)
		return -1;
	p = strstr(text, "\nslab ");
	return p ? atol(p + 6) : -1;
}

static int join_cgroup(const char *cgroup)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	return set_number(path, getpid());
}

#define PINS_EACH	1024
#define REGIONS		8

/* What some large regions of that memory cost the cgroup, and what is left then. */
static void charge_of(struct __test_metadata *const _metadata,
		      const char *cgroup, struct verbs *v, char *addr,
		      long *with, long *after)
{
	struct ibv_mr *mr[REGIONS];
	long before;
	int i;

	before = charged(cgroup);
	for (i = 0; i < REGIONS; i++)
		ASSERT_REG(mr[i], v, addr, PINS_EACH * PAGE, ACCESS_RO);
	*with = charged(cgroup) - before;
	for (i = 0; i < REGIONS; i++) {
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
	}
	/* Records are freed some time after they have gone. */
	wait_for(charged(cgroup) - before < *with / 32);
	*after = charged(cgroup) - before;
}

/*
 * Breaks if who has a million pins pays for none, or for those that are gone.  A
 * pin is a record and its place in the table of numbers.
 */
/* Rules: P6 */
TEST_F(report, P6_records_are_charged)
{
	char root[64] = "/tmp/layout_lease.XXXXXX", cgroup[80], path[128];
	const long nr = REGIONS * PINS_EACH;
	long anonymous, leased, after;
	char *plain, *area;
	unsigned int i;
	int ret;

	ASSERT_NE(NULL, mkdtemp(root));
	ret = mount_fs("cgroup", root, "cgroup2", NULL);
	if (ret) {
		rmdir(root);
		ASSERT_EQ(-ENODEV, ret);
		SKIP(return, "no cgroup2");
	}
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	snprintf(cgroup, sizeof(cgroup), "%s/layout_lease", root);
	ret = write_text(path, "+memory");
	if (ret) {
		unmount_fs(root);
		/* Not built, or in use by cgroup v1. */
		ASSERT_EQ(-EINVAL, ret);
		SKIP(return, "no memory cgroup");
	}
	ASSERT_TRUE(!mkdir(cgroup, 0700) || errno == EEXIST);
	ASSERT_EQ(0, join_cgroup(cgroup));
	plain = mmap(NULL, PINS_EACH * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)plain);
	/* Backwards, so that no page goes on with the pin of the one before. */
	area = mmap(NULL, PINS_EACH * PAGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)area);
	for (i = 0; i < PINS_EACH; i++) {
		ASSERT_NE(MAP_FAILED,
			  (void *)map_at(area + i * PAGE, self->f.fd, PAGE,
					 PROT_READ | PROT_WRITE,
					 (63 - i % 64) * PAGE));
	}
	/* The first time there is more that is new. */
	for (i = 0; i < 2; i++) {
		charge_of(_metadata, cgroup, &self->v, plain, &anonymous,
			  &after);
		charge_of(_metadata, cgroup, &self->v, area, &leased, &after);
	}
	fprintf(TH_LOG_STREAM, "# bytes charged: a page %ld, a pin %ld, then %ld in all\n",
		anonymous / nr, leased / nr, after);
	EXPECT_LT(anonymous + 128 * nr, leased);
	EXPECT_GT(leased / 8, after);
	EXPECT_EQ(0, join_cgroup(root));
	EXPECT_TRUE(wait_for(!rmdir(cgroup)));
	unmount_fs(root);
}

/* Breaks if an open report holds anything: a file, a mount, or a region. */
/* Rules: R2 */
TEST_F(report, R2_open_report_stalls_nobody)
{
	struct ibv_mr *mr[20];
	unsigned int i;
	char part[100];
	ssize_t n;
	int fd;

	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->f.map, PAGE, ACCESS_RO);
	fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)sizeof(part), read(fd, part, sizeof(part)));
	/* As many new ones as went: none of them twice. */
	for (i = 0; i < ARRAY_SIZE(mr); i++) {
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
		ASSERT_REG(mr[i], &self->v, self->f.map, PAGE, ACCESS_RO);
	}
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));
	do {
		n = read(fd, part, sizeof(part));
		ASSERT_LE(0, n);
	} while (n);
}

/* Breaks if an offset is not that of the same byte whoever reads how much of it. */
/* Rules: R2 */
TEST_F(report, R2_offsets)
{
	static char piece[8 * KIB];
	struct ibv_mr *mr[100];
	ssize_t len, n;
	unsigned int i;
	off_t at;
	int fd;

	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->f.map, PAGE, ACCESS_RO);
	len = read_text(ALL_PINS, text, sizeof(text), sizeof(text));
	ASSERT_LT((ssize_t)ARRAY_SIZE(mr) * 40, len);
	fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	/* Back and forth, over the ends of lines and of pages. */
	for (i = 0; i < 300; i++) {
		size_t want = 1 + i * 37 % sizeof(piece);

		at = i * 7919L % (len + 10);
		if (i % 2) {
			n = pread(fd, piece, want, at);
		} else {
			/* Beyond the end it goes back to the start. */
			if (at > len)
				continue;
			ASSERT_EQ(at, lseek(fd, at, SEEK_SET));
			n = read(fd, piece, want);
		}
		if (at >= len) {
			EXPECT_EQ(0, n);
			continue;
		}
		ASSERT_LT(0, n);
		ASSERT_GE(len - at, n);
		ASSERT_EQ(0, memcmp(text + at, piece, n)) {
			TH_LOG("%zd bytes at %ld of %zd", n, (long)at, len);
		}
	}
	/* All of it once more by the same descriptor, byte by byte. */
	ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
	for (at = 0; (n = read(fd, piece, 1)) == 1; at++)
		if (*piece != text[at])
			break;
	EXPECT_EQ(0, n);
	EXPECT_EQ(len, at);
	close(fd);
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_EQ(0, ibv_dereg_mr(mr[i]));
}

/*
 * Pins come and go while one reads, in front of him and behind.  Breaks if one
 * that stays is left out or told twice, or a line is half of one and half of
 * another.
 */
/* Rules: R2 */
TEST_F(report, R2_what_stays_is_told_once)
{
	static struct pin_line lines[MAX_PINS];
	unsigned int i, next = 0, times;
	struct ibv_mr *mr[120], *new;
	char *line, *end;
	size_t len = 0;
	ssize_t n;
	int fd, all = 0;

	for (i = 0; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->f.map, PAGE, ACCESS_RO);
	ASSERT_EQ((int)ARRAY_SIZE(mr), read_own());
	fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	/* Every other one goes, from both ends; new ones come. */
	while ((n = read(fd, text + len, 97)) > 0) {
		len += n;
		for (i = 0; i < 2 && next < ARRAY_SIZE(mr) / 2; i++) {
			unsigned int at = i ? ARRAY_SIZE(mr) - 1 - next :
					      next;

			ASSERT_EQ(0, ibv_dereg_mr(mr[at]));
			mr[at] = NULL;
			next += i * 2;
		}
		ASSERT_REG(new, &self->v, self->f.map, PAGE, ACCESS_RO);
		ASSERT_EQ(0, ibv_dereg_mr(new));
	}
	ASSERT_EQ(0, n);
	close(fd);
	text[len] = '\0';
	ASSERT_EQ(0, strncmp(text, ALL_HEADER, strlen(ALL_HEADER)));
	for (line = text + strlen(ALL_HEADER); *line; line = end + 1) {
		int pid, used = 0;
		struct pin_line *p = &lines[all];

		end = strchr(line, '\n');
		ASSERT_NE(NULL, end);
		*end = '\0';
		ASSERT_GT(MAX_PINS, all);
		ASSERT_EQ(13, sscanf(line, "%llu %d %u:%u %llu %llu-%llu %llu %7s %15s %15s %127s %511s%n",
				     &p->id, &pid, &p->major, &p->minor, &p->ino,
				     &p->first, &p->last, &p->pages, p->mode,
				     p->lease, p->state, p->user, p->path,
				     &used)) {
			TH_LOG("%s", line);
		}
		EXPECT_EQ('\0', line[used]);
		if (all) {
			EXPECT_LT(lines[all - 1].id, p->id);
		}
		all++;
	}
	for (i = 0; i < ARRAY_SIZE(mr); i++) {
		int j;

		if (!mr[i])
			continue;
		for (j = 0, times = 0; j < all; j++)
			if (lines[j].id == self->pins[i].id)
				times++;
		EXPECT_EQ(1U, times);
		EXPECT_EQ(0, ibv_dereg_mr(mr[i]));
	}
}

struct report_thread {
	pthread_t thread;
	const char *path;
	char *to;
	ssize_t ret;
};

static void *report_thread_fn(void *arg)
{
	struct report_thread *t = arg;
	int fd = open(t->path, O_RDONLY | O_CLOEXEC);

	t->ret = read(fd, t->to, PAGE);
	close(fd);
	return NULL;
}

/*
 * Breaks if a reader who is asleep in the middle of a read, as the memory that he
 * reads to has to come from somewhere, holds a lock, a file or a mount.
 */
/* Rules: R1 R2 */
TEST_F(report, R2_reader_asleep_stalls_nobody)
{
	static const char * const report[] = { "/proc/self/file_pins", ALL_PINS };
	struct report_thread t[ARRAY_SIZE(report)];
	struct second_mount s;
	struct faulting area;
	struct ibv_mr *mr;
	unsigned int i;

	mount_again(_metadata, &s);
	ASSERT_REG(mr, &self->v, s.map, PAGE, ACCESS_RW);
	ASSERT_EQ(0, map_faulting(&area, NULL, ARRAY_SIZE(t) * PAGE));
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		t[i] = (struct report_thread) {
			.path = report[i], .to = area.mem + i * PAGE,
		};
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL,
					    report_thread_fn, &t[i]));
		ASSERT_TRUE(is_touched(&area));
	}

	EXPECT_EQ(1, read_own());
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EQ(0, read_own());
	EXPECT_EQ(0, munmap(s.map, PAGE));
	close(s.fd);
	EXPECT_EQ(0, syscall(__NR_umount2, s.dir, 0)) {
		TH_LOG("%m");
	}
	EXPECT_EQ(0, other_does(_metadata, op_truncate, &self->f, 0, 0));

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		ASSERT_EQ(0, fill_page(&area, t[i].to));
		ASSERT_EQ(0, pthread_join(t[i].thread, NULL));
		EXPECT_LT(0, t[i].ret);
	}
	close(area.fd);
	rmdir(s.dir);
}

/* What the namespaces of the reader change: nothing. */
static int read_in_namespaces(const void *arg)
{
	char *to = *(char *const *)arg;
	int ret;

	ret = unshare_if(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS |
			 CLONE_NEWIPC);
	return ret ? ret : read_text(ALL_PINS, to, MIB, MIB);
}

struct chroot_read {
	const char *root;
	char *to;
};

static int read_in_chroot(const void *arg)
{
	const struct chroot_read *r = arg;
	int fd = open(ALL_PINS, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0 || chroot(r->root) || chdir("/"))
		return -errno;
	n = read(fd, r->to, MIB - 1);
	if (n > 0)
		r->to[n] = '\0';
	return n;
}

/* Breaks if a reader cannot find the file under the path that he is told. */
/* Rules: R2 */
TEST_F(report, R2_reader_in_other_namespaces)
{
	struct chroot_read r;
	struct ibv_mr *mr;
	char line[300], *to;
	ssize_t len;
	int ret;

	ASSERT_TRUE(wait_for(no_pins()));
	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	to = shared_zalloc(MIB);
	ASSERT_NE(NULL, to);
	len = read_text(ALL_PINS, text, sizeof(text), sizeof(text));
	ASSERT_LT((ssize_t)strlen(ALL_HEADER), len);
	ret = in_child(_metadata, read_in_namespaces, &to);
	if (ret != -ENOSYS) {
		EXPECT_EQ(len, ret);
		EXPECT_STREQ(text, to);
	}
	/* Relative to his root. */
	r = (struct chroot_read) { mnt, to };
	EXPECT_LT(0, in_child(_metadata, read_in_chroot, &r));
	EXPECT_NE(NULL, strstr(to, " /f\n")) {
		TH_LOG("%s", to);
	}
	/* As good as it gets where there is none: all of it. */
	r.root = "/proc/self/task";
	EXPECT_LT(0, in_child(_metadata, read_in_chroot, &r));
	snprintf(line, sizeof(line), " %s\n", self->f.path);
	EXPECT_NE(NULL, strstr(to, line)) {
		TH_LOG("%s", to);
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* A counter, or -1. */
static long vmstat(const char *event)
{
	char name[64], *p;

	if (read_text("/proc/vmstat", text, sizeof(text), sizeof(text)) < 0)
		return -1;
	snprintf(name, sizeof(name), "\nleased_pin_%s ", event);
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) : -1;
}

/* Pins and gives back, by a context of its own, until it is killed. */
static int pin_for_ever(const void *arg)
{
	const struct dax_file *f = arg;
	struct ibv_mr *mr[8] = { };
	struct verbs v = { };
	unsigned int i;
	char *map;
	int fd;

	close_range(3, ~0U, 0);
	if (!verbs_find(&v))
		return -ENODEV;
	v.pd = ibv_alloc_pd(v.ctx);
	fd = open(f->path, O_RDWR | O_CLOEXEC);
	if (!v.pd || fd < 0 || set_lease(fd))
		return -errno;
	map = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	for (i = 0;; i++) {
		struct ibv_mr **p = &mr[i % ARRAY_SIZE(mr)];

		if (*p && ibv_dereg_mr(*p))
			return -errno;
		*p = ibv_reg_mr(v.pd, map + i % 16 * PAGE, 2 * PAGE, ACCESS_RW);
		if (!*p && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

/* With gaps that let regions come, which the next one takes. */
static int punch_for_ever(const void *arg)
{
	const struct dax_file *f = arg;
	int ret;

	close_range(3, ~0U, 0);
	for (;;) {
		ret = op_punch(f->path, 0, 8 * PAGE);
		if (ret)
			return ret;
		usleep(20000);
	}
}

/* Breaks if a reader meets a record, a path or a process that is gone. */
/* Rules: R1 R2 */
TEST_F(report, R2_everything_at_once)
{
	static struct pin_line all[MAX_PINS];
	static int pids[MAX_PINS];
	static const char * const bad[] = { "BUG", "WARNING:", "KASAN", "UAF" };
	long end, lines = 0, rounds = 0, recalls = vmstat("recall");
	int kmsg[ARRAY_SIZE(bad)], i, j, n;
	struct call holder[2], breaker;
	char path[64];

	for (i = 0; i < (int)ARRAY_SIZE(bad); i++) {
		kmsg[i] = log_begin();
		ASSERT_LE(0, kmsg[i]);
	}
	set_grace(1);
	for (i = 0; i < 2; i++)
		call_start(_metadata, &holder[i], pin_for_ever, &self->f);
	call_start(_metadata, &breaker, punch_for_ever, &self->f);
	for (end = now_ms() + 6000 * slowness(); now_ms() < end; rounds++) {
		i = rounds % 2;
		n = read_all(all, pids);
		ASSERT_LE(0, n);
		for (j = 0; j < n; j++) {
			ASSERT_LT(j ? all[j - 1].id : 0, all[j].id);
			/* A line without a path, and no other, holds nothing. */
			ASSERT_EQ(!strcmp(all[j].state, "revoked"),
				  !strcmp(all[j].path, "-")) {
				TH_LOG("%s %s", all[j].state, all[j].path);
			}
		}
		lines += n;
		n = read_pins(holder[i].pid, self->pins);
		ASSERT_LE(0, n);
		for (j = 3; j < 6; j++) {
			snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d",
				 holder[i].pid, j);
			read_text(path, text, sizeof(text), 64);
		}
		if (rounds % 16 == 15) {
			ASSERT_FALSE(call_done(&holder[i])) {
				TH_LOG("%s", strerror(-holder[i].res->ret));
			}
			/* Killed, and read while it goes. */
			kill(holder[i].pid, SIGKILL);
			while (waitpid(holder[i].pid, NULL, WNOHANG) !=
			       holder[i].pid) {
				n = read_pins(holder[i].pid, self->pins);
				ASSERT_EQ(true, n >= 0 || n == -ESRCH ||
					  n == -EACCES || n == -ENOENT) {
					TH_LOG("%s", strerror(-n));
				}
				read_text(ALL_PINS, text, sizeof(text), 100);
			}
			call_start(_metadata, &holder[i], pin_for_ever,
				   &self->f);
		}
	}
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(call_kill(&holder[i]));
	EXPECT_TRUE(call_kill(&breaker)) {
		TH_LOG("punch: %d", breaker.res->ret);
	}
	EXPECT_TRUE(wait_for(no_pins()));
	EXPECT_LT(0, lines);
	EXPECT_LT(recalls, vmstat("recall"));
	fprintf(TH_LOG_STREAM, "# %ld rounds, %ld lines\n", rounds, lines);
	for (i = 0; i < (int)ARRAY_SIZE(bad); i++) {
		EXPECT_FALSE(log_has(kmsg[i], &bad[i], 1)) {
			TH_LOG("the log says %s", bad[i]);
		}
		close(kmsg[i]);
	}
}

/* --- fdinfo ------------------------------------------------------------------------------- */

/* Lines of the pins in the fdinfo of a descriptor, the first one in @line. */
static int fdinfo_pins(int fd, char *line, size_t size)
{
	char path[64], *p;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (read_text(path, text, sizeof(text), sizeof(text)) < 0)
		return -1;
	line[0] = '\0';
	for (p = text; (p = strstr(p, "\nleased-pin:\t")); p++)
		if (!n++)
			snprintf(line, size, "%.*s",
				 (int)strcspn(p + 13, "\n"), p + 13);
	return n;
}

/* Breaks if a context shows the pins of another one. */
/* Rules: R2 */
TEST_F(report, R2_fdinfo_of_the_context)
{
	char want[512], have[512];
	struct ibv_mr *mr[3], *second;
	struct verbs other;
	unsigned int i;

	ASSERT_TRUE(verbs_find(&other));
	verbs_begin(_metadata, &other);
	EXPECT_EQ(0, fdinfo_pins(self->v.ctx->cmd_fd, have, sizeof(have)));
	ASSERT_REG(mr[0], &self->v, self->f.map, 2 * PAGE, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	snprintf(want, sizeof(want), "%llu 2 rw active %s", self->pins[0].id,
		 self->pins[0].user);
	ASSERT_REG(second, &other, self->f.map, PAGE, ACCESS_RO);
	EXPECT_EQ(1, fdinfo_pins(self->v.ctx->cmd_fd, have, sizeof(have)));
	EXPECT_STREQ(want, have);
	ASSERT_EQ(2, read_own());
	snprintf(want, sizeof(want), "%llu 1 ro active %s", self->pins[1].id,
		 self->pins[1].user);
	EXPECT_EQ(1, fdinfo_pins(other.ctx->cmd_fd, have, sizeof(have)));
	EXPECT_STREQ(want, have);
	for (i = 1; i < ARRAY_SIZE(mr); i++)
		ASSERT_REG(mr[i], &self->v, self->f.map, PAGE, ACCESS_RO);
	EXPECT_EQ(3, fdinfo_pins(self->v.ctx->cmd_fd, have, sizeof(have)));
	/* And the lease, in that of its own descriptor. */
	EXPECT_EQ(0, fdinfo_pins(self->f.lease_fd, have, sizeof(have)));
	EXPECT_NE(NULL, strstr(text, "\nlock:\t1: LAYOUT ACTIVE"));

	/* One that holds nothing any more is told as such. */
	set_grace(1);
	EXPECT_EQ(0, other_does(_metadata, op_punch, &self->f, PAGE, PAGE));
	EXPECT_EQ(3, fdinfo_pins(self->v.ctx->cmd_fd, have, sizeof(have)));
	EXPECT_NE(NULL, strstr(have, " revoked rdma:"));
	for (i = 0; i < ARRAY_SIZE(mr); i++)
		EXPECT_EQ(0, ibv_dereg_mr(mr[i]));
	EXPECT_EQ(0, ibv_dereg_mr(second));
	EXPECT_EQ(0, fdinfo_pins(self->v.ctx->cmd_fd, have, sizeof(have)));
}

/* --- tracepoints and counters ------------------------------------------------------------- */

enum event { GRANT, PIN, RECALL, REVOKE, KILL, REFUSE, UNPIN, FREEZE, NR_EVENTS };

static const char * const event_name[NR_EVENTS] = {
	[GRANT] = "grant", [PIN] = "pin", [RECALL] = "recall",
	[REVOKE] = "revoke", [KILL] = "kill", [REFUSE] = "refuse",
	[UNPIN] = "unpin", [FREEZE] = "freeze",
};

static int read_counters(long *count)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		count[i] = vmstat(event_name[i]);
		if (count[i] < 0)
			return -ENOENT;
	}
	return 0;
}

struct events {
	long before[NR_EVENTS];		/* counters */
	int times[NR_EVENTS];		/* in the trace */
	char fields[NR_EVENTS][512];	/* of the last one */
	int task[NR_EVENTS];		/* where that came from */
};

/* Nothing is left of earlier tests that could still end. */
static bool no_pins(void)
{
	return read_text(ALL_PINS, text, sizeof(text), sizeof(text)) ==
	       strlen(ALL_HEADER);
}

static int events_begin(struct events *e)
{
	int ret;

	memset(e, 0, sizeof(*e));
	ret = trace_clear();
	return ret ? ret : read_counters(e->before);
}

static int events_read(struct events *e)
{
	char *line, *p, *save;
	int i;

	if (read_text(TRACE "/trace", text, sizeof(text), 64 * KIB) < 0)
		return -errno;
	memset(e->times, 0, sizeof(e->times));
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (line[0] == '#')
			continue;
		for (i = 0; i < NR_EVENTS; i++) {
			char name[64];

			snprintf(name, sizeof(name), " leased_pin_%s: ",
				 event_name[i]);
			p = strstr(line, name);
			if (!p)
				continue;
			e->times[i]++;
			snprintf(e->fields[i], sizeof(e->fields[i]), "%s",
				 p + strlen(name));
			p = strchr(line, '-');
			e->task[i] = p ? atoi(p + 1) : -1;
		}
	}
	return 0;
}

/* Each event @times as in the list, in the trace and in the counters. */
#define EXPECT_EVENTS(e, ...)						\
do {									\
	const int _want[NR_EVENTS] = { __VA_ARGS__ };			\
	long _now[NR_EVENTS];						\
	int _i;								\
									\
	ASSERT_EQ(0, events_read(e));					\
	ASSERT_EQ(0, read_counters(_now));				\
	for (_i = 0; _i < NR_EVENTS; _i++) {				\
		EXPECT_EQ(_want[_i], (e)->times[_i]) {			\
			TH_LOG("leased_pin_%s", event_name[_i]);	\
		}							\
		EXPECT_EQ(_want[_i], _now[_i] - (e)->before[_i]) {	\
			TH_LOG("counter leased_pin_%s", event_name[_i]);\
		}							\
	}								\
} while (0)

/* The fields that all events of a pin have. */
static void pin_fields(const struct pin_line *p, pid_t pid, char *fields,
		       size_t size)
{
	snprintf(fields, size,
		 "dev %u:%u ino %llu range %llu-%llu id %llu pid %d %s user %s",
		 p->major, p->minor, p->ino, p->first, p->last, p->id, pid,
		 p->mode, p->user);
}

#define TRACE_SETUP()							\
do {									\
	ASSERT_TRUE(wait_for(no_pins()));				\
	TRACE_BEGIN("leased_pin");					\
} while (0)

/* Breaks if pins of a registration are counted before they are all there. */
/* Rules: R4 */
TEST_F(report, R4_grant_pin_unpin)
{
	struct ibv_mr *mr;
	struct events e;
	struct dax_file g;
	struct stat st;
	char want[512];

	make_file(_metadata, &g, "g", 64 * KIB, BASE_PAGES);
	ASSERT_EQ(0, fstat(g.fd, &st));
	TRACE_SETUP();
	ASSERT_EQ(0, events_begin(&e));
	ASSERT_EQ(0, set_lease(g.fd));
	/* Again is not another one. */
	ASSERT_EQ(0, set_lease(g.fd));
	EXPECT_EVENTS(&e, [GRANT] = 1);
	snprintf(want, sizeof(want), "dev %u:%u ino %lu pid %d fd %d rw layout",
		 major(st.st_dev), minor(st.st_dev), (long)st.st_ino, getpid(),
		 g.fd);
	EXPECT_STREQ(want, e.fields[GRANT]);

	/* In two batches. */
	ASSERT_EQ(0, events_begin(&e));
	ASSERT_REG(mr, &self->v, self->f.map, self->f.size, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	EXPECT_EVENTS(&e, [PIN] = 1);
	pin_fields(self->pins, getpid(), want, sizeof(want));
	EXPECT_STREQ(want, e.fields[PIN]);
	EXPECT_EQ(getpid(), e.task[PIN]);

	ASSERT_EQ(0, events_begin(&e));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EVENTS(&e, [UNPIN] = 1);
	EXPECT_STREQ(want, e.fields[UNPIN]);

	/* A registration that fails is none. */
	ASSERT_EQ(0, events_begin(&e));
	ASSERT_EQ(0, mprotect(g.map + PAGE, PAGE, PROT_NONE));
	EXPECT_EQ(NULL, ibv_reg_mr(self->v.pd, g.map, 2 * PAGE, ACCESS_RW));
	EXPECT_EVENTS(&e, 0);

	/* The other kind is a grant. */
	ASSERT_EQ(0, fcntl(g.fd, F_SETSIG, SIGKILL));
	ASSERT_EQ(0, fcntl(g.fd, F_SETLEASE, F_LAYOUT | F_EXCLUSIVE));
	EXPECT_EVENTS(&e, [GRANT] = 1);
	EXPECT_NE(NULL, strstr(e.fields[GRANT], " rw exclusive"));
}

/* Breaks if one cannot learn who wanted what from whom. */
/* Rules: R4 */
TEST_F(report, R4_recall_revoke)
{
	char want[600], fields[512];
	struct ibv_mr *mr, *kept;
	struct events e;
	struct call c;

	TRACE_SETUP();
	ASSERT_REG(mr, &self->v, self->f.map + 64 * KIB, 2 * PAGE, ACCESS_RO);
	ASSERT_EQ(1, read_own());
	ASSERT_REG(kept, &self->v, self->f.map, PAGE, ACCESS_RW);
	pin_fields(self->pins, getpid(), fields, sizeof(fields));
	set_grace(1);
	ASSERT_EQ(0, events_begin(&e));
	start_op(_metadata, &c, op_punch, &self->f, 68 * KIB, 64 * KIB);
	EXPECT_EQ(0, call_wait(&c));
	EXPECT_EVENTS(&e, [RECALL] = 1, [REVOKE] = 1, [UNPIN] = 1);
	snprintf(want, sizeof(want), "%s for %lu-%lu grace 1", fields,
		 68 * KIB, 132 * KIB - 1);
	EXPECT_STREQ(want, e.fields[RECALL]);
	EXPECT_EQ(c.pid, e.task[RECALL]);
	snprintf(want, sizeof(want), "%s error 0", fields);
	EXPECT_STREQ(want, e.fields[REVOKE]);
	EXPECT_STREQ(fields, e.fields[UNPIN]);

	/* What is gone is not unpinned once more. */
	ASSERT_EQ(0, events_begin(&e));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	EXPECT_EVENTS(&e, 0);
	EXPECT_EQ(0, ibv_dereg_mr(kept));
	EXPECT_EVENTS(&e, [UNPIN] = 1);
}

/*
 * Breaks if "Text file busy" is all that there is: neither who, nor why, nor what
 * to do.
 */
/* Rules: R4 B5 B6 B8 */
TEST_F(report, R4_refuse_and_log)
{
	static const struct {
		const char *why, *log;
	} cases[] = {
		{ "own", "would wait for itself" },
		{ "no-grace", "fs.lease-break-time" },
		{ "not-enforced", "fs.layout-break-enforce is 0" },
	};
	char fields[512], want[600], caller[64], holder[64], next[300], ino[64];
	struct events e;
	struct ibv_mr *mr;
	struct call c;
	unsigned int i;
	int kmsg;

	TRACE_SETUP();
	ASSERT_REG(mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	ASSERT_EQ(1, read_own());
	pin_fields(self->pins, getpid(), fields, sizeof(fields));
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *parts[] = {
			caller, holder, self->pins[0].user, cases[i].log,
			ALL_PINS, next, ino,
		};

		kmsg = log_begin();
		ASSERT_LE(0, kmsg);
		ASSERT_EQ(0, events_begin(&e));
		set_grace(i != 1);
		ASSERT_EQ(0, set_number(BREAK_ENFORCE, i != 2));
		if (i == 0) {
			EXPECT_EQ(-ETXTBSY, op_truncate(self->f.path, 0, 0));
			c.pid = getpid();
		} else {
			start_op(_metadata, &c, op_truncate, &self->f, 0, 0);
			EXPECT_EQ(-ETXTBSY, call_wait(&c));
		}
		/* Once asked, it is not asked again. */
		EXPECT_EVENTS(&e, [REFUSE] = 1, [RECALL] = i == 1);
		EXPECT_EQ(c.pid, e.task[REFUSE]);
		EXPECT_EQ(0, strncmp(fields, e.fields[REFUSE], strlen(fields)));
		snprintf(want, sizeof(want), " why %s", cases[i].why);
		EXPECT_NE(NULL, strstr(e.fields[REFUSE], want)) {
			TH_LOG("%s", e.fields[REFUSE]);
		}
		snprintf(caller, sizeof(caller), "report_test[%d] fails",
			 c.pid);
		snprintf(holder, sizeof(holder), "of report_test[%d]",
			 getpid());
		snprintf(next, sizeof(next), ", or run: lspins %s\n",
			 self->f.path);
		snprintf(ino, sizeof(ino), "inode %llu:", self->pins[0].ino);
		EXPECT_TRUE(log_has(kmsg, parts, ARRAY_SIZE(parts))) {
			TH_LOG("no log line of '%s'", cases[i].why);
		}
		close(kmsg);
	}
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/*
 * Breaks if the name of a file or of a process can write lines of its own to the
 * log, or stands in a command that somebody copies.
 */
/* Rules: B5 */
TEST_F(report, B5_log_of_odd_names)
{
	/* The log escapes the backslash once more when it is read. */
	const char *parts[] = {
		": x\\x5cny[", " of x\\x5cny[",
		", file \"/tmp/layout_lease.", "/a\\x5cx0ab $(c)\\x5cx22;d\"\n",
	};
	struct dax_file g;
	struct ibv_mr *mr;
	int kmsg;

	make_file(_metadata, &g, "a\nb $(c)\";d", PAGE, BASE_PAGES);
	ASSERT_EQ(0, set_lease(g.fd));
	ASSERT_EQ(0, prctl(PR_SET_NAME, "x\ny"));
	ASSERT_REG(mr, &self->v, g.map, PAGE, ACCESS_RW);
	kmsg = log_begin();
	ASSERT_LE(0, kmsg);
	EXPECT_EQ(-ETXTBSY, op_truncate(g.path, 0, 0));
	EXPECT_TRUE(log_has(kmsg, parts, ARRAY_SIZE(parts)));
	close(kmsg);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/* Pin under an exclusive lease what cannot be revoked, and never let go. */
static int register_buffer(const void *arg)
{
	const struct dax_file *f = arg;
	int fd = open(f->path, O_RDWR | O_CLOEXEC), ring;
	struct io_uring_params params = { };
	struct iovec iov = { .iov_len = PAGE };

	if (fd < 0 || fcntl(fd, F_SETSIG, SIGKILL) ||
	    fcntl(fd, F_SETLEASE, F_LAYOUT | F_EXCLUSIVE))
		return -errno;
	iov.iov_base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
	ring = syscall(__NR_io_uring_setup, 1, &params);
	if (iov.iov_base == MAP_FAILED || ring < 0)
		return -errno;
	if (syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov,
		    1))
		return -errno;
	for (;;)
		pause();
	return 0;
}

/* Breaks if nobody can tell afterwards why a process has died. */
/* Rules: R4 B5 */
TEST_F(report, R4_kill)
{
	static struct pin_line all[MAX_PINS];
	static int pids[MAX_PINS];
	const char *parts[] = { "/k\\x5cnl): killed process ", "io_uring:" };
	char fields[512], want[600];
	struct call holder, c;
	struct dax_file g;
	struct events e;
	int status, kmsg;

	make_file(_metadata, &g, "k\nl", 64 * KIB, BASE_PAGES);
	kmsg = log_begin();
	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, munmap(g.map, g.size));
	TRACE_SETUP();
	ASSERT_EQ(0, events_begin(&e));
	call_start(_metadata, &holder, register_buffer, &g);
	ASSERT_TRUE(wait_for(read_all(all, pids) == 1 || call_done(&holder)));
	ASSERT_FALSE(call_done(&holder)) {
		TH_LOG("%s", strerror(-holder.res->ret));
	}
	ASSERT_TRUE(wait_for(read_all(all, pids) == 1 &&
			     !strcmp(all[0].state, "active")));
	EXPECT_EVENTS(&e, [GRANT] = 1, [PIN] = 1);
	EXPECT_EQ(holder.pid, pids[0]);
	pin_fields(all, holder.pid, fields, sizeof(fields));
	EXPECT_STREQ(fields, e.fields[PIN]);

	ASSERT_EQ(0, events_begin(&e));
	/* That long, too, it may take to die. */
	set_grace(GRACE_SEEN);
	start_op(_metadata, &c, op_truncate, &g, 0, 0);
	EXPECT_EQ(0, call_wait(&c));
	ASSERT_TRUE(reap(holder.pid, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EVENTS(&e, [RECALL] = 1, [KILL] = 1, [UNPIN] = 1);
	EXPECT_STREQ(fields, e.fields[KILL]);
	snprintf(want, sizeof(want), "%s for 0-", fields);
	EXPECT_EQ(0, strncmp(want, e.fields[RECALL], strlen(want)));
	EXPECT_EQ(c.pid, e.task[RECALL]);
	EXPECT_TRUE(log_has(kmsg, parts, ARRAY_SIZE(parts)));
	close(kmsg);
}

/* Breaks if a snapshot over devices that write goes unnoticed. */
/* Rules: R4 B12 */
TEST_F(report, R4_freeze)
{
	struct ibv_mr *rw, *ro;
	struct events e;
	struct stat st;
	char want[64];
	int fd;

	TRACE_SETUP();
	fd = open(mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	ASSERT_REG(ro, &self->v, self->f.map, PAGE, ACCESS_RO);
	ASSERT_EQ(0, events_begin(&e));
	ASSERT_EQ(0, ioctl(fd, FIFREEZE, 0));
	ASSERT_EQ(0, ioctl(fd, FITHAW, 0));
	EXPECT_EVENTS(&e, 0);
	ASSERT_REG(rw, &self->v, self->f.map, PAGE, ACCESS_RW);
	ASSERT_EQ(0, events_begin(&e));
	ASSERT_EQ(0, ioctl(fd, FIFREEZE, 0));
	ASSERT_EQ(0, ioctl(fd, FITHAW, 0));
	EXPECT_EVENTS(&e, [FREEZE] = 1);
	snprintf(want, sizeof(want), "dev %u:%u pins 1", major(st.st_dev),
		 minor(st.st_dev));
	EXPECT_STREQ(want, e.fields[FREEZE]);
	close(fd);
	EXPECT_EQ(0, ibv_dereg_mr(rw));
	EXPECT_EQ(0, ibv_dereg_mr(ro));
}

LAYOUT_LEASE_TEST_MAIN
