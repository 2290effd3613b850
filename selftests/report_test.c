// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/<pid>/file_pins (R1).
 */
#include "verbs_util.h"

FIXTURE(report)
{
	struct verbs v;
	struct dax_file f;
	pid_t stranger;		/* has neither lease nor context */
	struct pin_line pins[MAX_PINS];
};

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

	if (run("rdma -V >/dev/null 2>&1"))
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
	bool drop_after_open;
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

LAYOUT_LEASE_TEST_MAIN
