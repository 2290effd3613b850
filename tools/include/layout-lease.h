/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The layout lease's constants, for building against headers that do not have
 * them yet.  glibc's <fcntl.h> and the kernel's <linux/fcntl.h> cannot be
 * included together, so programs that use glibc take the constants from here;
 * check-uapi.c compares the two.
 */
#ifndef LAYOUT_LEASE_H
#define LAYOUT_LEASE_H

#include <fcntl.h>

#ifndef F_LAYOUT
#define F_LAYOUT	0x40	/* fcntl(fd, F_SETLEASE, F_LAYOUT) */
#endif
#ifndef F_EXCLUSIVE
#define F_EXCLUSIVE	0x80	/* with F_LAYOUT: the taker may be killed */
#endif
#ifndef F_BREAKING
#define F_BREAKING	0x100	/* F_GETLEASE only: a recall is pending */
#endif

#endif /* LAYOUT_LEASE_H */
