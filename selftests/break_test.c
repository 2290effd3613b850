// SPDX-License-Identifier: GPL-2.0
/*
 * Breaks: whose pins an operation recalls (B1), what the holder hears (B3),
 * deadlines (B4, B6, I2), who does not wait (B7, B8), and what everybody else
 * notices meanwhile (B9).  Which operations break (B2) is in op_test.
 */
#include "verbs_util.h"

/*
 * A file of 1 MiB or, in PMDs, of 6 MiB, of which this part is pinned, a page of
 * each entry at least; operations start there.  What is in front of it and
 * behind is in other entries.
 */
#define FILE_SIZE	(variant->pages == PMD_PAGES ? 3 * PMD : MIB)
#define PIN_AT		(variant->pages == PMD_PAGES ? PMD : 512 * KIB)
#define PIN_LEN		(variant->pages == PMD_PAGES ? PMD : 64 * KIB)
#define REST		(FILE_SIZE - PIN_AT)

FIXTURE(brk)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
};

FIXTURE_VARIANT(brk)
{
	enum fs fs;
	enum pages pages;
	op_fn op;
};

/* Each of them once, as waiting takes time; each with each other is in op_test. */
FIXTURE_VARIANT_ADD(brk, xfs_base_truncate) { XFS, BASE_PAGES, op_truncate };
FIXTURE_VARIANT_ADD(brk, ext4_pmd_punch) { EXT4, PMD_PAGES, op_punch };

FIXTURE_SETUP(brk)
{
	VERBS_SETUP(&self->v);
	pair_begin(_metadata, &self->v, &self->p);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", FILE_SIZE, variant->pages);
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(brk)
{
	environment_clean();
}

/* Bring the file back to its size, in pages of the same kind. */
#define refill()							\
do {									\
	ASSERT_EQ(0, ftruncate(self->f.fd, FILE_SIZE));			\
	if (variant->pages == PMD_PAGES)				\
		ASSERT_EQ(0, fallocate(self->f.fd, 0, 0, FILE_SIZE));	\
} while (0)

#define start_break() \
	start_op(_metadata, &self->c, variant->op, &self->f, PIN_AT, REST)
#define wait_breaking() \
	ASSERT_TRUE(wait_for(breaking(self->f.lease_fd)))
#define pin_works(seed)							\
	EXPECT_EQ(IBV_WC_SUCCESS,					\
		  remote_write(&self->v, &self->p, self->mr,		\
			       self->f.map + PIN_AT, PAGE, seed))
#define pin_is_gone()							\
do {									\
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));			\
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,				\
		  remote_write(&self->v, &self->p, self->mr,		\
			       self->f.map + PIN_AT, PAGE, 99));	\
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));				\
} while (0)

/*
 * Nobody answers.  Breaks if the operation waits for ever, if the region is
 * taken before its time, or if the file is changed while the device can write.
 */
/* Rules: I2 */
TEST_F(brk, I2_unresponsive_holder)
{
	set_grace(1);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	/* A tick may be missing: deadlines are in jiffies. */
	EXPECT_LE(1000 - EARLY_MS, call_ms(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	/* The lease survives, and is not being broken any more. */
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	pin_is_gone();
}

/*
 * The holder deregisters.  Breaks if the operation waits for the deadline all
 * the same, if the signal does not say which lease, or if the lease is lost.
 */
/* Rules: B3 */
TEST_F(brk, B3_dereg_is_the_whole_answer)
{
	siginfo_t info;

	start_break();
	ASSERT_EQ(LEASE_SIGNAL, next_signal(&info, LIMIT * 1000L));
	EXPECT_EQ(self->f.lease_fd, info.si_fd);
	EXPECT_EQ(POLL_MSG, info.si_code);
	EXPECT_TRUE(breaking(self->f.lease_fd));
	EXPECT_EQ(1, count_pins(getpid(), "recall"));
	/* Up to the answer the device works as ever. */
	pin_works(1);
	EXPECT_FALSE(call_done(&self->c));

	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(-1, next_signal(NULL, 0));

	/* And again from the start. */
	refill();
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
	pin_works(2);
	EXPECT_EQ(-1, file_differs(self->f.fd, PIN_AT, PAGE, 2));
	start_break();
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
}

/* Breaks if each pin, or each operation that comes along, signals once more. */
/* Rules: B3 */
TEST_F(brk, B3_one_signal_for_one_recall)
{
	struct ibv_mr *more[3];
	struct call second;
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_REG(more[i], &self->v, self->f.map + PIN_AT + i * PAGE,
			   PAGE, ACCESS_RW);
	start_break();
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	start_op(_metadata, &second, op_open_trunc_nonblock, &self->f, 0, 0);
	EXPECT_EQ(-EWOULDBLOCK, call_wait(&second));
	EXPECT_EQ(4, count_pins(getpid(), "recall"));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, ibv_dereg_mr(more[i]));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_TRUE(breaking(self->f.lease_fd));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/*
 * Without a signal of its own, the holder must survive: SIGIO would end it, and
 * SIGKILL is not for recalls.  It sees F_BREAKING.
 */
/* Rules: B3 */
TEST_F(brk, B3_no_default_signal)
{
	struct sigaction act;

	ASSERT_EQ(0, sigaction(SIGIO, NULL, &act));
	ASSERT_EQ(SIG_DFL, act.sa_handler);
	ASSERT_EQ(0, fcntl(self->f.lease_fd, F_SETSIG, 0));
	start_break();
	wait_breaking();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));

	refill();
	ASSERT_EQ(0, fcntl(self->f.lease_fd, F_SETSIG, SIGKILL));
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
	start_break();
	wait_breaking();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/*
 * A full queue of signals is the other way to SIGIO.  The holder does not hear
 * of the recall, but lives.
 */
/* Rules: B3 */
TEST_F(brk, B3_full_signal_queue_is_no_sigio)
{
	union sigval value = { };
	int i;

	for (i = 0; i < 1000000; i++)
		if (sigqueue(getpid(), LEASE_SIGNAL, value))
			break;
	ASSERT_EQ(EAGAIN, errno);
	start_break();
	wait_breaking();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
}

/*
 * The operation is killed, the recall stands.  Breaks if the deadline or the
 * mark belongs to whoever waits.
 */
/* Rules: B4 */
TEST_F(brk, B4_deadline_stands_without_a_waiter)
{
	struct stat before, after;

	ASSERT_EQ(0, fstat(self->f.fd, &before));
	set_grace(GRACE_SEEN);
	start_break();
	wait_breaking();
	set_grace(GRACE_LONG);
	ASSERT_TRUE(call_kill(&self->c));
	/* Until the pins are gone, new ones would undo the recall. */
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map + PIN_AT, PAGE,
				     ACCESS_RW));
	EXPECT_TRUE(breaking(self->f.lease_fd));

	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(0, reg_error(&self->v, self->f.map + PIN_AT, PAGE, ACCESS_RW));
	pin_is_gone();
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(before.st_size, after.st_size);
	EXPECT_EQ(before.st_blocks, after.st_blocks);
}

/* Answered after the operation gave up: the mark goes with the recalled pins. */
/* Rules: B4 */
TEST_F(brk, B4_mark_stays_until_the_pins_are_gone)
{
	struct ibv_mr *more;

	ASSERT_REG(more, &self->v, self->f.map + PIN_AT, PAGE, ACCESS_RW);
	start_break();
	wait_breaking();
	ASSERT_TRUE(call_kill(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(more));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map + PIN_AT + PIN_LEN,
				     PAGE, ACCESS_RW));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, reg_error(&self->v, self->f.map + PIN_AT, PIN_LEN,
			       ACCESS_RW));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
}

/*
 * A retry gets what is left of the first grace period.  The second one comes
 * when a new grace period would be one that no test survives.
 */
/* Rules: B4 */
TEST_F(brk, B4_retry_inherits_the_deadline)
{
	long begin;

	set_grace(GRACE_SEEN);
	begin = now_ms();
	start_break();
	wait_breaking();
	ASSERT_TRUE(call_kill(&self->c));
	set_grace(GRACE_LONG);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_LE(GRACE_SEEN * 1000 - EARLY_MS, self->c.res->end - begin);
	EXPECT_BOUNDED(self->c.res->end - begin, GRACE_SEEN * 1000 + SLACK_MS);
	/* One recall, one signal. */
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	pin_is_gone();
}

/* No grace, no force: the recall is sent, the operation fails. */
/* Rules: B6 */
TEST_F(brk, B6_no_grace_is_etxtbsy)
{
	int grace;

	for (grace = 0; grace >= -1; grace--) {
		set_grace(grace);
		start_break();
		EXPECT_EQ(-ETXTBSY, call_wait(&self->c));
		EXPECT_EQ(grace ? -1 : LEASE_SIGNAL, next_signal(NULL, 0));
		EXPECT_TRUE(breaking(self->f.lease_fd));
		EXPECT_EQ(1, count_pins(getpid(), "recall"));
		pin_works(1);
	}
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f, PIN_AT, REST));
}

/*
 * Two operations wait for one pin.  Breaks if the second one's recall begins
 * another grace period, here one that no test survives, or signals again.
 */
/* Rules: B3 B4 I2 */
TEST_F(brk, B4_two_breakers_at_once)
{
	struct call second;
	long begin;

	set_grace(GRACE_SEEN);
	begin = now_ms();
	start_break();
	wait_breaking();
	set_grace(GRACE_LONG);
	start_op(_metadata, &second, op_zero, &self->f, PIN_AT, PAGE);
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(0, call_wait(&second));
	EXPECT_LE(GRACE_SEEN * 1000 - EARLY_MS, self->c.res->end - begin);
	EXPECT_LE(GRACE_SEEN * 1000 - EARLY_MS, second.res->end - begin);
	EXPECT_BOUNDED(self->c.res->end - begin, GRACE_SEEN * 1000 + SLACK_MS);
	EXPECT_BOUNDED(second.res->end - begin, GRACE_SEEN * 1000 + SLACK_MS);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	pin_is_gone();
}

/* Breaks if a change of the grace period reaches recalls that are under way. */
/* Rules: B4 I2 */
TEST_F(brk, B4_grace_changed_during_a_break)
{
	struct call second;
	long begin;

	set_grace(GRACE_SEEN);
	begin = now_ms();
	start_break();
	wait_breaking();
	set_grace(1);
	start_op(_metadata, &second, op_zero, &self->f, PIN_AT, PAGE);
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(0, call_wait(&second));
	EXPECT_LE(GRACE_SEEN * 1000 - EARLY_MS, self->c.res->end - begin);
	EXPECT_LE(GRACE_SEEN * 1000 - EARLY_MS, second.res->end - begin);
	EXPECT_BOUNDED(self->c.res->end - begin, GRACE_SEEN * 1000 + SLACK_MS);
	EXPECT_BOUNDED(second.res->end - begin, GRACE_SEEN * 1000 + SLACK_MS);
	pin_is_gone();

	/* And to no grace at all: who waits goes on to wait, others do not. */
	refill();
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
	set_grace(GRACE_SEEN);
	begin = now_ms();
	start_break();
	wait_breaking();
	set_grace(0);
	EXPECT_EQ(-ETXTBSY, other_does(_metadata, op_zero, &self->f, PIN_AT,
				       PAGE));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_LE(GRACE_SEEN * 1000 - EARLY_MS, self->c.res->end - begin);
	EXPECT_BOUNDED(self->c.res->end - begin, GRACE_SEEN * 1000 + SLACK_MS);
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/* The default grace period; an answer ends the wait at once. */
/* Rules: B3 I2 */
TEST_F(brk, B3_answer_within_the_default_grace)
{
	long answered;

	set_grace(saved_grace);
	start_break();
	wait_breaking();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	answered = now_ms();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(self->c.res->end - answered, SLACK_MS);
}

/*
 * Breaks if a lease that is taken while an operation waits gets past its mark,
 * is recalled, or makes it wait longer.
 */
/* Rules: L1 L4 P8 B4 */
TEST_F(brk, B4_lease_taken_during_a_break)
{
	int fd = open(self->f.path, O_RDWR | O_CLOEXEC);
	char *p = map_at(NULL, fd, FILE_SIZE, PROT_READ | PROT_WRITE, 0);

	ASSERT_LE(0, fd);
	ASSERT_NE(MAP_FAILED, (void *)p);
	start_break();
	wait_breaking();
	EXPECT_EQ(0, set_lease(fd));
	EXPECT_EQ(F_LAYOUT, fcntl(fd, F_GETLEASE));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, p + PIN_AT, PAGE, ACCESS_RW));
	EXPECT_EQ(0, reg_error(&self->v, p, PAGE, ACCESS_RW));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(F_LAYOUT, fcntl(fd, F_GETLEASE));
	EXPECT_EQ(0, unlock_lease(fd));
}

/* Breaks if the end of a holder is no answer, and his grace goes on. */
/* Rules: B3 L6 I2 */
TEST_F(brk, I2_holder_killed_during_a_break)
{
	struct holder h;
	long begin;
	int status;

	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	holder_begin(_metadata, &h, self->f.path, PIN_AT, PIN_LEN);
	start_break();
	ASSERT_TRUE(wait_for(holder_ask(&h, 'l') == (F_LAYOUT | F_BREAKING)));
	EXPECT_FALSE(call_done(&self->c));
	begin = now_ms();
	kill(h.pid, SIGKILL);
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(self->c.res->end - begin, SLACK_MS);
	EXPECT_TRUE(reap(h.pid, &status));
}

/*
 * Two holders, one of them stopped.  Breaks if one that cannot run is waited for,
 * or if each gets a grace period of his own.
 */
/* Rules: B4 B5 I2 */
TEST_F(brk, I2_holder_stopped_during_a_break)
{
	struct holder h, stopped;
	int status;

	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	holder_begin(_metadata, &h, self->f.path, PIN_AT, PAGE);
	holder_begin(_metadata, &stopped, self->f.path, PIN_AT, PIN_LEN);
	kill(stopped.pid, SIGSTOP);
	ASSERT_EQ(stopped.pid, waitpid(stopped.pid, &status, WUNTRACED));
	set_grace(1);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_LE(1000 - EARLY_MS, call_ms(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
	EXPECT_EQ(1, count_pins(stopped.pid, "revoked"));
	EXPECT_EQ(1, count_pins(h.pid, "revoked"));
	kill(stopped.pid, SIGCONT);
	EXPECT_EQ(1, holder_ask(&stopped, 's'));
	EXPECT_EQ(F_LAYOUT, holder_ask(&stopped, 'l'));
	EXPECT_EQ(0, holder_ask(&stopped, 'd'));
	EXPECT_EQ(0, holder_ask(&h, 'd'));
}

/* The answer and the deadline come together.  Breaks if both or none unpin. */
/* Rules: B4 B5 V1 I2 */
TEST_F(brk, B4_dereg_at_the_deadline)
{
	long vm_pin = vm_pin_kb(), deadline;
	int i;

	set_grace(1);
	for (i = -4; i <= 4; i += 4) {
		start_break();
		wait_breaking();
		deadline = self->c.res->begin + 1000 + i;
		while (now_ms() < deadline)
			sched_yield();
		EXPECT_EQ(0, ibv_dereg_mr(self->mr));
		EXPECT_EQ(0, call_wait(&self->c));
		EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
		EXPECT_EQ(0, count_pins(getpid(), NULL));
		refill();
		ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN,
			   ACCESS_RW);
		EXPECT_EQ(vm_pin, vm_pin_kb());
	}
	/* Each time one signal. */
	for (i = 0; i < 3; i++)
		EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/* Where nobody is to be touched, it is the operation that fails. */
/* Rules: B6 B9 I2 */
TEST_F(brk, B6_not_enforced_is_etxtbsy_at_the_deadline)
{
	struct stat before, after;

	ASSERT_EQ(1, saved_enforce);
	ASSERT_EQ(0, set_number(BREAK_ENFORCE, 0));
	ASSERT_EQ(0, fstat(self->f.fd, &before));
	set_grace(1);
	start_break();
	EXPECT_EQ(-ETXTBSY, call_wait(&self->c));
	EXPECT_LE(1000 - EARLY_MS, call_ms(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), 1000 + SLACK_MS);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_TRUE(breaking(self->f.lease_fd));
	pin_works(1);
	/* The deadline has passed for others, too. */
	EXPECT_EQ(-ETXTBSY, other_does(_metadata, variant->op, &self->f, PIN_AT,
				       REST));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(1, count_pins(getpid(), "recall"));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map + PIN_AT, PAGE,
				     ACCESS_RW));
	pin_works(2);
	EXPECT_EQ(-1, file_differs(self->f.fd, PIN_AT, PAGE, 2));
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(before.st_size, after.st_size);
	EXPECT_EQ(before.st_blocks, after.st_blocks);

	/* An answer is as good as ever. */
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f, PIN_AT, REST));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));

	/* Enforced again, with the deadline in the past: taken at once. */
	refill();
	ASSERT_REG(self->mr, &self->v, self->f.map + PIN_AT, PIN_LEN, ACCESS_RW);
	EXPECT_EQ(-ETXTBSY, other_does(_metadata, variant->op, &self->f, PIN_AT,
				       REST));
	ASSERT_EQ(0, set_number(BREAK_ENFORCE, 1));
	set_grace(GRACE_LONG);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_BOUNDED(call_ms(&self->c), SLACK_MS);
	pin_is_gone();
}

struct thread_op {
	op_fn op;
	const char *path;
	off_t off, len;
	int ret;
};

static void *op_in_thread(void *arg)
{
	struct thread_op *t = arg;

	t->ret = t->op(t->path, t->off, t->len);
	return NULL;
}

struct shares_mm {
	void *(*fn)(void *arg);
	void *arg;
};

static int shares_mm_fn(void *arg)
{
	struct shares_mm *s = arg;

	s->fn(s->arg);
	return 0;
}

/* Another process, but with our memory: 0 if it came to its end. */
static int shares_mm_does(struct __test_metadata *const _metadata,
			  void *(*fn)(void *arg), void *arg)
{
	struct shares_mm s = { fn, arg };
	char *stack = malloc(256 * KIB);
	int pid, status;

	ASSERT_NE(NULL, stack);
	pid = clone(shares_mm_fn, stack + 256 * KIB, CLONE_VM | SIGCHLD, &s);
	ASSERT_LE(0, pid);
	if (!reap(pid, &status))
		return -ETIME;
	free(stack);
	return status;
}

/*
 * Breaks if a process waits for itself, or if others lose their pins for an
 * operation that cannot succeed.
 */
/* Rules: B8 */
TEST_F(brk, B8_own_pin_is_etxtbsy_and_recalls_nobody)
{
	struct thread_op t = {
		.op = variant->op,
		.path = self->f.path,
		.off = PIN_AT,
		.len = REST,
	};
	struct holder h;
	pthread_t thread;

	holder_begin(_metadata, &h, self->f.path, PIN_AT, PIN_LEN);
	EXPECT_EQ(-ETXTBSY, variant->op(self->f.path, PIN_AT, REST));
	/* A thread of the same group, too. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, op_in_thread, &t));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(-ETXTBSY, t.ret);
	/* A process that shares the address space. */
	t.ret = 0;
	ASSERT_EQ(0, shares_mm_does(_metadata, op_in_thread, &t));
	EXPECT_EQ(-ETXTBSY, t.ret);
	/* And a worker of io_uring. */
	EXPECT_EQ(-ETXTBSY, op_uring_punch(self->f.path, PIN_AT, PIN_LEN));

	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	EXPECT_EQ(0, holder_ask(&h, 's'));
	EXPECT_EQ(F_LAYOUT, holder_ask(&h, 'l'));
	EXPECT_EQ(1, count_pins(h.pid, "active"));
	/* No mark is left behind either. */
	EXPECT_EQ(0, reg_error(&self->v, self->f.map + PIN_AT, PAGE, ACCESS_RW));

	/* Without a pin of its own in the way, it is an operation like others. */
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	set_grace(1);
	EXPECT_EQ(0, variant->op(self->f.path, PIN_AT, REST));
	EXPECT_EQ(1, holder_ask(&h, 's'));
	EXPECT_EQ(0, holder_ask(&h, 'd'));
}

/* What everybody may do while an operation waits; the number of what fails. */
struct others {
	const struct dax_file *f;
	off_t pin, behind;
};

static int others_work(const void *arg)
{
	const struct others *o = arg;
	const struct dax_file *f = o->f;
	char path[300], byte = 1;
	int fd, dir, step = 0;
	char *p;

#define STEP(cond) do { step++; if (!(cond)) return step * 1000 + errno; } while (0)
	STEP((fd = open(f->path, O_RDWR)) >= 0);
	STEP(pread(fd, &byte, 1, o->pin) == 1);
	STEP(pwrite(fd, &byte, 1, o->pin) == 1);
	STEP(pwrite(fd, &byte, 1, 0) == 1);
	STEP(fsync(fd) == 0);
	p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	STEP(p != MAP_FAILED);
	/* Faults where the pin is, where the operation wants to, and before. */
	p[o->pin]++;
	p[o->behind]++;
	p[PAGE]++;
	STEP(msync(p, f->size, MS_SYNC) == 0);
	STEP(fallocate(fd, 0, 0, f->size) == 0);
	STEP(fchmod(fd, 0600) == 0);
	snprintf(path, sizeof(path), "%s.renamed", f->path);
	STEP(rename(f->path, path) == 0);
	STEP(rename(path, f->path) == 0);
	snprintf(path, sizeof(path), "%s/new", mnt);
	STEP(creat(path, 0600) >= 0);
	/* The whole file system holds still for a moment. */
	STEP((dir = open(mnt, O_RDONLY | O_DIRECTORY)) >= 0);
	STEP(ioctl(dir, FIFREEZE, 0) == 0);
	STEP(ioctl(dir, FITHAW, 0) == 0);
	STEP(pwrite(fd, &byte, 1, o->pin) == 1);
#undef STEP
	return 0;
}

/*
 * Breaks if the operation waits with a lock, with write access, or with
 * protection against freezing held, or uninterruptibly.
 */
/* Rules: B9 */
TEST_F(brk, B9_others_go_on_meanwhile)
{
	struct others o = { &self->f, PIN_AT, PIN_AT + PIN_LEN };

	start_break();
	wait_breaking();
	EXPECT_EQ(0, in_child(_metadata, others_work, &o));
	EXPECT_FALSE(call_done(&self->c));
	pin_works(1);
	/* It is killable, and then leaves no trace. */
	EXPECT_TRUE(call_kill(&self->c));
	EXPECT_EQ(0, in_child(_metadata, others_work, &o));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f, PIN_AT, REST));
}

/* Breaks if io_uring's workers give up where a process would wait, or cannot die. */
/* Rules: B7 B9 */
TEST_F(brk, B7_io_uring_worker_waits_killably)
{
	start_op(_metadata, &self->c, op_uring_punch, &self->f, PIN_AT, PIN_LEN);
	wait_breaking();
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_TRUE(call_kill(&self->c));
	start_op(_metadata, &self->c, op_uring_punch, &self->f, PIN_AT, PIN_LEN);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(-1, next_signal(NULL, 0));
}

/* Breaks if times, size or set-user-ID are touched before the wait is over. */
/* Rules: B9 */
TEST_F(brk, B9_failed_operation_changes_nothing)
{
	struct op op = {
		.fn = variant->op,
		.off = PIN_AT,
		.len = REST,
		.uid = 1000,
	};
	struct stat before, after;
	struct call c;

	strcpy(op.path, self->f.path);
	ASSERT_EQ(0, fchown(self->f.fd, 1000, 1000));
	ASSERT_EQ(0, fchmod(self->f.fd, 06777));
	ASSERT_EQ(0, fsync(self->f.fd));
	ASSERT_EQ(0, fstat(self->f.fd, &before));

	/* It fails ... */
	set_grace(0);
	ASSERT_EQ(-ETXTBSY, in_child(_metadata, run_op, &op));
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	/* ... or is killed. */
	set_grace(GRACE_LONG);
	call_start(_metadata, &c, run_op, &op);
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	ASSERT_TRUE(call_kill(&c));
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	/* But not if it succeeds. */
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	ASSERT_EQ(0, in_child(_metadata, run_op, &op));
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_NE(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(0U, after.st_mode & 06000);
}

/* Breaks if the range of an operation is the whole file. */
/* Rules: B1 */
TEST_F(brk, B1_operation_elsewhere_disturbs_nobody)
{
	/* From the first byte behind the pin to the end, and all before it. */
	EXPECT_EQ(0, other_does(_metadata, variant->op, &self->f,
				PIN_AT + PIN_LEN, REST - PIN_LEN));
	EXPECT_EQ(0, other_does(_metadata, op_punch, &self->f, 0, PIN_AT));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
	EXPECT_EQ(1, count_pins(getpid(), "active"));
	pin_works(1);
	EXPECT_EQ(-1, file_differs(self->f.fd, PIN_AT, PAGE, 1));
}

/* What is not aligned touches the block in which it begins. */
/* Rules: B1 */
TEST_F(brk, B1_range_is_rounded_out_to_blocks)
{
	start_op(_metadata, &self->c, variant->op, &self->f,
		 PIN_AT + PIN_LEN - 100, PAGE);
	wait_breaking();
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
}

/* Two holders, one is in the way. */
/* Rules: B1 */
TEST_F(brk, B1_only_who_overlaps_is_recalled)
{
	struct holder h;

	holder_begin(_metadata, &h, self->f.path, 0, PIN_LEN);
	start_break();
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(0, holder_ask(&h, 's'));
	EXPECT_EQ(F_LAYOUT, holder_ask(&h, 'l'));
	EXPECT_EQ(1, count_pins(h.pid, "active"));

	/* And two who are. */
	ASSERT_REG(self->mr, &self->v, self->f.map, PAGE, ACCESS_RW);
	start_op(_metadata, &self->c, variant->op, &self->f, 0, FILE_SIZE);
	ASSERT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(F_LAYOUT | F_BREAKING, holder_ask(&h, 'l'));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(1, holder_ask(&h, 's'));
	EXPECT_EQ(0, holder_ask(&h, 'd'));
	EXPECT_EQ(0, call_wait(&self->c));
}

/* The unit is the region: what it pins in another file goes, too. */
/* Rules: B1 */
TEST_F(brk, B1_region_ends_as_a_whole)
{
	long vm_pin = vm_pin_kb();
	struct dax_file g;
	struct ibv_mr *mr;
	char *p;

	make_file(_metadata, &g, "g", PIN_LEN, variant->pages);
	ASSERT_EQ(0, set_lease(g.fd));
	ASSERT_EQ(0, fcntl(g.fd, F_SETSIG, LEASE_SIGNAL));
	p = mmap(NULL, 2 * PIN_LEN + PMD, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)p);
	p = (char *)(((uintptr_t)p + PMD - 1) & ~(PMD - 1));
	map_at(p, self->f.fd, PIN_LEN, PROT_READ | PROT_WRITE, PIN_AT);
	map_at(p + PIN_LEN, g.fd, PIN_LEN, PROT_READ | PROT_WRITE, 0);
	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	ASSERT_REG(mr, &self->v, p, 2 * PIN_LEN, ACCESS_RW);

	set_grace(1);
	start_break();
	EXPECT_EQ(0, call_wait(&self->c));
	EXPECT_EQ(2, count_pins(getpid(), "revoked"));
	EXPECT_EQ(vm_pin - (long)(PIN_LEN / KIB), vm_pin_kb());
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, mr, p + PIN_LEN, PAGE, 99));
	set_grace(GRACE_LONG);
	EXPECT_EQ(0, other_does(_metadata, variant->op, &g, 0, PIN_LEN));
	EXPECT_EQ(F_LAYOUT, fcntl(g.fd, F_GETLEASE));
	EXPECT_EQ(0, ibv_dereg_mr(mr));
}

/*
 * One process registers and deregisters as fast as it can, another truncates.
 * Breaks if a pin and a mark can miss each other: the truncate then frees blocks
 * of a pin, or never comes to an end.
 */
/* Rules: B4 */
TEST_F(brk, B4_pins_and_breaks_race)
{
	long end = now_ms() + 2000;
	int err, pinned = 0, busy = 0, ops = 0, absent = 0;
	long vm_pin;

	ASSERT_EQ(0, ibv_dereg_mr(self->mr));
	vm_pin = vm_pin_kb();
	while (now_ms() < end || !ops || !pinned) {
		start_break();
		do {
			err = reg_error(&self->v, self->f.map + PIN_AT, PIN_LEN,
					ACCESS_RW);
			if (!err)
				pinned++;
			else if (err == -EAGAIN)
				busy++;
			else if (err == -EFAULT)
				absent++;	/* behind the end of the file */
			else
				ASSERT_EQ(0, err);
		} while (!call_done(&self->c));
		ASSERT_EQ(0, call_wait(&self->c));
		refill();
		ASSERT_EQ(0, reg_error(&self->v, self->f.map + PIN_AT, PIN_LEN,
				       ACCESS_RW));
		ops++;
		if (now_ms() > end + LIMIT * 1000L)
			break;
	}
	TH_LOG("%d operations, %d registrations, %d EAGAIN, %d EFAULT", ops,
	       pinned, busy, absent);
	EXPECT_LT(0, ops);
	EXPECT_LT(0, pinned);
	EXPECT_EQ(vm_pin, vm_pin_kb());
	EXPECT_EQ(0, count_pins(getpid(), NULL));
	EXPECT_EQ(F_LAYOUT, fcntl(self->f.lease_fd, F_GETLEASE));
}

/* --- PMDs of which a part is pinned ------------------------------------------------------ */

FIXTURE(pmd)
{
	struct verbs v;
	struct pair p;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
};

FIXTURE_VARIANT(pmd)
{
	enum fs fs;
};

ADD_EACH_FS(pmd);

/* One page is pinned, in the middle of the second of two PMDs. */
FIXTURE_SETUP(pmd)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	pair_begin(_metadata, &self->v, &self->p);
	set_grace(GRACE_LONG);
	make_file(_metadata, &self->f, "f", 2 * PMD, PMD_PAGES);
	take_lease(_metadata, &self->f, true);
	ASSERT_REG(self->mr, &self->v, self->f.map + PMD + MIB, PAGE, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(pmd)
{
	environment_clean();
}

/*
 * Breaks if the range of the pin is that of the registration: the operation
 * would unmap and dissolve the entry under it, or wait for it unannounced.
 */
/* Rules: B1 */
TEST_F(pmd, B1_pin_holds_the_whole_entry)
{
	start_op(_metadata, &self->c, op_punch, &self->f, PMD + 64 * KIB, PAGE);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_FALSE(call_done(&self->c));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));

	ASSERT_REG(self->mr, &self->v, self->f.map + MIB, PAGE, ACCESS_RW);
	start_op(_metadata, &self->c, op_truncate, &self->f, PMD - PAGE, 0);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, LIMIT * 1000L));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, call_wait(&self->c));
}

/* Rules: B1 */
TEST_F(pmd, B1_other_entries_are_free)
{
	EXPECT_EQ(0, other_does(_metadata, op_punch, &self->f, PMD - PAGE,
				PAGE));
	EXPECT_EQ(0, other_does(_metadata, op_punch, &self->f, 0, PMD));
	EXPECT_EQ(-1, next_signal(NULL, 0));
	EXPECT_EQ(IBV_WC_SUCCESS,
		  remote_write(&self->v, &self->p, self->mr,
			       self->f.map + PMD + MIB, PAGE, 1));
	EXPECT_EQ(-1, file_differs(self->f.fd, PMD + MIB, PAGE, 1));
}

/* A forced revoke leaves the rest of the entry in order. */
/* Rules: I2 */
TEST_F(pmd, I2_unresponsive_holder)
{
	set_grace(1);
	EXPECT_EQ(0, other_does(_metadata, op_punch, &self->f, PMD + 64 * KIB,
				PAGE));
	EXPECT_EQ(1, count_pins(getpid(), "revoked"));
	EXPECT_EQ(IBV_WC_REM_ACCESS_ERR,
		  remote_write(&self->v, &self->p, self->mr,
			       self->f.map + PMD + MIB, PAGE, 1));
	set_pattern(self->v.buf, PMD / 2, 0);
	EXPECT_EQ(0, self->f.map[PMD + 64 * KIB]);
	self->f.map[PMD + MIB] = 42;
	ASSERT_EQ(1, pread(self->f.fd, self->v.buf, 1, PMD + MIB));
	EXPECT_EQ(42, self->v.buf[0]);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
}

/* --- B7: who does not wait --------------------------------------------------------- */

/* Breaks if open(O_NONBLOCK) waits, or gives up without a recall. */
/* Rules: B7 */
TEST_F(pmd, B7_nowait_open_trunc_gets_ewouldblock)
{
	struct stat st;

	set_grace(GRACE_SEEN);
	start_op(_metadata, &self->c, op_open_trunc_nonblock, &self->f, 0, 0);
	EXPECT_EQ(-EWOULDBLOCK, call_wait(&self->c));
	EXPECT_GT(GRACE_SEEN * 1000, call_ms(&self->c));
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_EQ(-EAGAIN, reg_error(&self->v, self->f.map, PAGE, ACCESS_RW));
	ASSERT_EQ(0, fstat(self->f.fd, &st));
	EXPECT_EQ((off_t)(2 * PMD), st.st_size);
	/* The recall runs. */
	ASSERT_TRUE(wait_for(count_pins(getpid(), "revoked") == 1));
	EXPECT_EQ(0, other_does(_metadata, op_open_trunc_nonblock, &self->f, 0,
				0));
	ASSERT_EQ(0, fstat(self->f.fd, &st));
	EXPECT_EQ(0, st.st_size);
}

/* --- B7: stacked file systems and kernel threads ------------------------------------- */

FIXTURE(stack)
{
	struct verbs v;
	struct dax_file f;
	struct ibv_mr *mr;
	struct call c;
	struct dax_file top;	/* the same file, by way of the upper layer */
	char dir[64], loop[64];
};

FIXTURE_VARIANT(stack)
{
	enum fs fs;
};

ADD_EACH_FS(stack);

FIXTURE_SETUP(stack)
{
	VERBS_SETUP(&self->v);
	use_fs(_metadata, variant->fs);
	set_grace(GRACE_LONG);
	ASSERT_EQ(0, run("mkdir %s/lower %s/upper %s/work", mnt, mnt, mnt));
	make_file(_metadata, &self->f, "upper/f", MIB, BASE_PAGES);
	take_lease(_metadata, &self->f, false);
	ASSERT_REG(self->mr, &self->v, self->f.map, MIB, ACCESS_RW);
}

FIXTURE_TEARDOWN_PARENT(stack)
{
	if (self->dir[0])
		unmount_fs(self->dir);
	if (self->loop[0])
		run("losetup -d %s", self->loop);
	run("rm -rf %s/lower %s/upper %s/work", test_fs[variant->fs].mnt,
	    test_fs[variant->fs].mnt, test_fs[variant->fs].mnt);
	environment_clean();
}

/*
 * Breaks if an operation waits while the layer above holds its locks, or if it
 * fails without a recall, so that it would fail for ever.
 */
/* Rules: B7 */
TEST_F(stack, B7_overlay_gets_an_error_at_once)
{
	static const op_fn ops[] = {
		op_truncate, op_ftruncate, op_open_trunc, op_punch,
	};
	struct stat before, after;
	char text[512];
	unsigned int i;
	int ret;

	strcpy(self->dir, "/tmp/layout_lease.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(text, sizeof(text), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
		 mnt, mnt, mnt);
	ASSERT_EQ(0, mount_fs("overlay", self->dir, "overlay", text));
	snprintf(self->top.path, sizeof(self->top.path), "%s/f", self->dir);

	ASSERT_EQ(0, fstat(self->f.fd, &before));
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		ret = other_does(_metadata, ops[i], &self->top, 0, PAGE);
		EXPECT_TRUE(ret == -EWOULDBLOCK || ret == -ETXTBSY) {
			TH_LOG("operation %u: %d", i, ret);
		}
		/* One recall for all of them. */
		EXPECT_EQ(i ? -1 : LEASE_SIGNAL, next_signal(NULL, 0));
		EXPECT_TRUE(breaking(self->f.lease_fd));
	}
	ASSERT_EQ(0, fstat(self->f.fd, &after));
	EXPECT_EQ(before.st_size, after.st_size);
	EXPECT_EQ(before.st_blocks, after.st_blocks);
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		EXPECT_EQ(0, other_does(_metadata, ops[i], &self->top, 0, PAGE));
}

/* A kernel thread that waited would hold up all that goes to the device. */
/* Rules: B7 */
TEST_F(stack, B7_loop_device_gets_an_error_at_once)
{
	__u64 range[2] = { 0, 64 * KIB };
	char cmd[300], byte = 1;
	FILE *f;
	int fd;

	snprintf(cmd, sizeof(cmd), "losetup -f --show %s", self->f.path);
	f = popen(cmd, "r");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%63s", self->loop));
	pclose(f);
	fd = open(self->loop, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, ioctl(fd, BLKDISCARD, range));
	EXPECT_NE(EOPNOTSUPP, errno);
	EXPECT_EQ(LEASE_SIGNAL, next_signal(NULL, 0));
	EXPECT_TRUE(breaking(self->f.lease_fd));
	EXPECT_EQ(-1, file_differs(self->f.fd, 0, MIB, 0));
	EXPECT_EQ(1, pread(fd, &byte, 1, 0));
	EXPECT_EQ(0, ibv_dereg_mr(self->mr));
	EXPECT_EQ(0, ioctl(fd, BLKDISCARD, range));
	EXPECT_LE(0, file_differs(self->f.fd, 0, PAGE, 0));
	close(fd);
}

LAYOUT_LEASE_TEST_MAIN
