/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What leased-server and leased-client say to each other.
 *
 * The server owns a DAX file and lends each client a window into it.  The client
 * writes and reads the window by RDMA, with no help from the server's processor;
 * messages pass only when the window changes.  They are SENDs of one struct msg:
 *
 *   server				client
 *   MSG_WINDOW generation 1   --->	uses the window
 *   (somebody wants the blocks)
 *   MSG_PAUSE  generation 1   --->	finishes what it has posted
 *			       <---	MSG_PAUSED generation 1
 *   (deregisters, waits until the break is over, registers what is left)
 *   MSG_WINDOW generation 2   --->	uses the new window
 *
 * The connection stays the same all the time.  A generation is one registration
 * of the file; its key is worth nothing in the next.
 */
#ifndef LEASED_H
#define LEASED_H

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASED_PORT	"7471"

enum msg_type {
	MSG_WINDOW = 1,
	MSG_PAUSE,
	MSG_PAUSED,
};

/* On the wire, all of it big endian. */
struct msg {
	uint32_t type;
	uint32_t generation;
	uint64_t addr;		/* the window, MSG_WINDOW only */
	uint64_t len;
	uint32_t rkey;
	uint32_t reserved;
};

/*
 * Messages in flight in one direction.  The server sends at most a window and a
 * pause before it hears from the client, the client answers one pause at a time.
 */
#define MSG_DEPTH	4

static inline void msg_fill(struct msg *m, enum msg_type type,
			    uint32_t generation)
{
	memset(m, 0, sizeof(*m));
	m->type = htobe32(type);
	m->generation = htobe32(generation);
}

/* Every error ends here or in warn(): what failed, and why. */
static inline void __attribute__((format(printf, 2, 0)))
vcomplain(int err, const char *fmt, va_list ap)
{
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	if (err)
		fprintf(stderr, ": %s", strerror(err));
	fputc('\n', stderr);
}

/* @err: an errno, or 0 if there is none to tell */
static inline void __attribute__((format(printf, 2, 3)))
warn(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(err, fmt, ap);
	va_end(ap);
}

static inline void __attribute__((format(printf, 2, 3), noreturn))
die(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(err, fmt, ap);
	va_end(ap);
	exit(1);
}

/* A size or count with an optional K, M or G; dies if it is not one. */
static inline uint64_t parse_size(const char *opt, const char *arg)
{
	unsigned long long val;
	char *end;
	int shift = 0;

	errno = 0;
	val = strtoull(arg, &end, 0);
	switch (*end) {
	case 'G': case 'g':
		shift += 10;
		/* fall through */
	case 'M': case 'm':
		shift += 10;
		/* fall through */
	case 'K': case 'k':
		shift += 10;
		end++;
	}
	if (end == arg || *end || errno || *arg == '-' ||
	    val > (uint64_t)INT64_MAX >> shift)
		die(0, "%s: not a size: %s", opt, arg);
	return val << shift;
}

#endif /* LEASED_H */
