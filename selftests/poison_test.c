// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is known to be broken cannot be pinned (P10).
 *
 * Poison stays until the device is bound anew, which is done at the end.
 */
#include "verbs_util.h"

FIXTURE(poison)
{
	struct verbs v;
	struct dax_file f;
	size_t bad;
};

FIXTURE_VARIANT(poison)
{
	enum fs fs;
	enum pages pages;
};

ADD_FS_PAGES_VARIANTS(poison, );

FIXTURE_SETUP(poison)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	make_file(_metadata, &self->f, "f",
		  variant->pages == PMD_PAGES ? 2 * PMD : 256 * KIB,
		  variant->pages);
	take_lease(_metadata, &self->f, false);
	self->bad = 16 * PAGE;
}

FIXTURE_TEARDOWN_PARENT(poison)
{
	environment_clean();
}

static int poison_page(const void *arg)
{
	const struct dax_file *f = arg;
	int fd = open(f->path, O_RDWR | O_CLOEXEC);
	char *p = map_at(NULL, fd, f->size, PROT_READ | PROT_WRITE, 0);

	p[16 * PAGE] = 1;
	/* Who has it mapped gets a SIGBUS. */
	signal(SIGBUS, SIG_IGN);
	return madvise(p + 16 * PAGE, PAGE, MADV_HWPOISON) ? -errno : 0;
}

/* Another process finds the bad page; it may die of that. */
static bool poisoned(struct __test_metadata *const _metadata,
		     const struct dax_file *f)
{
	struct call c;
	int status;

	call_start(_metadata, &c, poison_page, f);
	if (!reap(c.pid, &status))
		return false;
	return WIFSIGNALED(status) || (call_done(&c) && !c.res->ret);
}

#define EXPECT_POISON()							\
do {									\
	size_t _bad = self->bad;					\
									\
	EXPECT_EQ(-EHWPOISON, reg_error(&self->v, self->f.map + _bad, PAGE, \
					ACCESS_RW));			\
	EXPECT_EQ(-EHWPOISON, reg_error(&self->v, self->f.map + _bad, PAGE, \
					ACCESS_RO));			\
	EXPECT_EQ(-EHWPOISON, reg_error(&self->v, self->f.map,		\
					self->f.size, ACCESS_RW));	\
	EXPECT_EQ(0, count_pins(getpid(), NULL));			\
} while (0)

/* The page that failed, mapped again or not. */
/* Rules: P10 */
TEST_F(poison, P10_poisoned_page)
{
	long before = vm_pin_kb();
	struct ibv_mr *mr;

	/* Not mapped here: nobody is killed. */
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	if (!poisoned(_metadata, &self->f))
		SKIP(return, "no MADV_HWPOISON of DAX pages");
	self->f.map = map_at(NULL, self->f.fd, self->f.size,
			     PROT_READ | PROT_WRITE, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->f.map);

	EXPECT_POISON();
	/* Through a page table entry that is there. */
	self->f.map[self->bad + 1] = 1;
	EXPECT_POISON();
	EXPECT_EQ(before, vm_pin_kb());

	/* The others are as good as ever, but for those of the same PMD. */
	ASSERT_REG(mr, &self->v, self->f.map + self->f.size / 2,
		   self->f.size / 2, ACCESS_RW);
	EXPECT_EQ(0, ibv_dereg_mr(mr));
	if (variant->pages == BASE_PAGES)
		EXPECT_EQ(0, reg_error(&self->v, self->f.map, self->bad,
				       ACCESS_RW));
}

/* A block that the driver knows as bad: no fault succeeds. */
/* Rules: P10 */
TEST_F(poison, P10_bad_block)
{
	char path[512], text[64];
	const char *dev = strrchr(test_fs[variant->fs].dev, '/') + 1;
	uint64_t at = block_of(self->f.fd, self->bad, NULL);

	ASSERT_LT(0U, at);
	snprintf(path, sizeof(path), "/sys/block/%s/badblocks", dev);
	snprintf(text, sizeof(text), "%llu 8", (unsigned long long)at / 512);
	if (write_text(path, text))
		SKIP(return, "no badblocks");
	ASSERT_EQ(0, munmap(self->f.map, self->f.size));
	self->f.map = map_at(NULL, self->f.fd, self->f.size,
			     PROT_READ | PROT_WRITE, 0);
	/* Gone with the file system, if it was in the page table. */
	ASSERT_EQ(0, madvise(self->f.map, self->f.size, MADV_DONTNEED));
	EXPECT_POISON();
}

/* Unbind the devices and bind them again: new page structures. */
static void renew_devices(void)
{
	char link[300], path[512], *name;
	ssize_t n;
	int i;

	if (getpid() != main_pid)
		return;
	for (i = 0; i < NR_FS; i++) {
		unmount_fs(test_fs[i].mnt);
		snprintf(path, sizeof(path), "/sys/block/%s/device",
			 strrchr(test_fs[i].dev, '/') + 1);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		name = strrchr(link, '/') + 1;
		if (!wait_for(!write_text("/sys/bus/nd/drivers/nd_pmem/unbind",
					  name)) ||
		    write_text("/sys/bus/nd/drivers/nd_pmem/bind", name))
			ksft_print_msg("%s is left with poison\n", name);
	}
}

int main(int argc, char **argv)
{
	environment_begin(argc, argv);
	atexit(renew_devices);
	return test_harness_run(argc, argv);
}
