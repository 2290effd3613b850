// SPDX-License-Identifier: GPL-2.0
/*
 * libleaserun.so - lease what an unmodified program maps shared from DAX files
 *
 * Preloaded by leaserun.  After a successful shared mapping of a file the
 * library asks for a layout lease on the descriptor that was mapped.  The lease
 * belongs to the open file description, and the mapping keeps that alive after
 * the program has closed the descriptor, as perftest does at once; it is also
 * the one that the kernel looks for first when memory of this mapping is
 * registered.  The kernel decides whether the file can be leased; a file that
 * cannot (not DAX, not ours, or a kernel without layout leases) is mapped as it
 * always was.
 *
 * No recall signal is set unless asked for: without one the kernel sends
 * nothing at a recall, so the program cannot be killed by a signal that it does
 * not know.  It loses its memory region at the end of the grace instead.
 *
 * Options arrive in the environment, set by leaserun:
 *   LEASERUN_VERBOSE=1	say on standard error what was leased
 *   LEASERUN_REQUIRE=1	a shared mapping of a DAX file fails without a lease
 *   LEASERUN_SIGNAL=N	F_SETSIG before the lease is taken
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layout-lease.h"

#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX	0x00200000
#endif

#define EXPORT __attribute__((visibility("default")))

/*
 * The next mmap in line (libc's, or that of another preloaded library).  NULL
 * until our constructor has run: looking it up from within mmap() could recurse
 * when a preloaded malloc() maps memory inside dlsym().  Until then, the system
 * call itself does.
 */
typedef void *(*mmap_fn)(void *, size_t, int, int, int, off_t);
typedef void *(*mmap64_fn)(void *, size_t, int, int, int, off64_t);
static _Atomic(mmap_fn) next_mmap;
static _Atomic(mmap64_fn) next_mmap64;

__attribute__((constructor))
static void find_next(void)
{
	atomic_store(&next_mmap64, (mmap64_fn)dlsym(RTLD_NEXT, "mmap64"));
	atomic_store(&next_mmap, (mmap_fn)dlsym(RTLD_NEXT, "mmap"));
}

static void *sys_mmap(void *addr, size_t len, int prot, int flags, int fd,
		      off64_t off)
{
#ifdef SYS_mmap2
	/* counts the offset in units of 4 KiB on every architecture we know */
	if (off & 0xfff) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap2, addr, len, prot, flags, fd,
			       (unsigned long)(off >> 12));
#else
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
#endif
}

/*
 * Read at each use, not in the constructor: other constructors may map files
 * before ours runs.  Shared mappings of files are rare enough.
 */
static bool opt(const char *name)
{
	const char *val = getenv(name);

	return val && *val && strcmp(val, "0");
}

static int opt_signal(void)
{
	const char *val = getenv("LEASERUN_SIGNAL");

	return val ? atoi(val) : 0;
}

static void say(int fd, const char *verdict, size_t len, off64_t off)
{
	char link[32], path[PATH_MAX], line[PATH_MAX + 160];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';

	n = snprintf(line, sizeof(line),
		     "leaserun[%d]: %s: %zu bytes at %lld: %s\n", getpid(),
		     n > 0 ? path : link, len, (long long)off, verdict);
	if (n >= (ssize_t)sizeof(line))
		n = sizeof(line) - 1;
	/* one write, so that lines of threads do not mix; nothing if it fails */
	n = write(STDERR_FILENO, line, n);
}

/* A regular file whose pages are its storage?  Only for what we say and demand. */
static bool is_dax(int fd, bool *regular)
{
	struct statx stx;

	*regular = false;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &stx))
		return false;
	*regular = S_ISREG(stx.stx_mode);
	return *regular && (stx.stx_attributes & STATX_ATTR_DAX);
}

/* Returns 0, or the error that the program's mmap() shall fail with. */
static int lease(int fd, size_t len, off64_t off, bool require)
{
	bool verbose = opt("LEASERUN_VERBOSE"), dax, regular;
	int sig = opt_signal(), ret;
	char verdict[96];

	/*
	 * Asking again for what the descriptor has already is fine.  A signal
	 * that the program chose for itself stays.
	 */
	if (sig && fcntl(fd, F_GETSIG) == 0)
		fcntl(fd, F_SETSIG, sig);
	ret = fcntl(fd, F_SETLEASE, F_LAYOUT) ? errno : 0;

	if (!ret) {
		if (verbose)
			say(fd, "leased", len, off);
		return 0;
	}
	if (!verbose && !require)
		return 0;
	dax = is_dax(fd, &regular);
	if (verbose && regular) {
		if (dax)
			snprintf(verdict, sizeof(verdict), "not leased: %s%s",
				 strerror(ret), ret == EINVAL ?
				 " (kernel without layout leases?)" : "");
		else
			snprintf(verdict, sizeof(verdict),
				 "not leased: not a DAX file");
		say(fd, verdict, len, off);
	}
	if (!require || !dax)
		return 0;
	/* EINVAL would tell the program that it had got mmap() wrong */
	return ret == EINVAL ? EOPNOTSUPP : ret;
}

static bool wanted(int flags)
{
	int type = flags & MAP_TYPE;

	return !(flags & MAP_ANONYMOUS) &&
	       (type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
}

/*
 * Nothing to undo in either order: when a lease is required it is taken before
 * the mapping, since unmapping would not bring back what MAP_FIXED replaced; else
 * after it, so that a mapping that fails leaves nothing behind.
 */
static bool refused(int flags, int fd, size_t len, off64_t off)
{
	int saved = errno, err;

	if (!wanted(flags) || !opt("LEASERUN_REQUIRE"))
		return false;
	err = lease(fd, len, off, true);
	errno = err ? err : saved;
	return err;
}

static void mapped(void *p, int flags, int fd, size_t len, off64_t off)
{
	int saved = errno;

	if (p != MAP_FAILED && wanted(flags) && !opt("LEASERUN_REQUIRE"))
		lease(fd, len, off, false);
	errno = saved;
}

/*
 * mmap() and mmap64() differ in off_t on 32-bit systems, where this file must not
 * be built with _FILE_OFFSET_BITS=64: that would make them one function.
 */
EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
		    off64_t off)
{
	mmap64_fn next = atomic_load(&next_mmap64);
	void *p;

	if (refused(flags, fd, len, off))
		return MAP_FAILED;
	p = next ? next(addr, len, prot, flags, fd, off) :
		   sys_mmap(addr, len, prot, flags, fd, off);
	mapped(p, flags, fd, len, off);
	return p;
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd,
		  off_t off)
{
	mmap_fn next = atomic_load(&next_mmap);
	void *p;

	if (refused(flags, fd, len, off))
		return MAP_FAILED;
	p = next ? next(addr, len, prot, flags, fd, off) :
		   sys_mmap(addr, len, prot, flags, fd, off);
	mapped(p, flags, fd, len, off);
	return p;
}
