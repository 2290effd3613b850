/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Have the kernel revoke a memory region, over RDMA netlink.
 *
 * Needs CAP_NET_ADMIN in the initial user namespace, and a device of the
 * caller's network namespace.
 */
#ifndef REVOKE_H
#define REVOKE_H

#include <stddef.h>
#include <stdint.h>

struct revoke;

/**
 * revoke_open - connect to the kernel
 *
 * Return: to be closed by revoke_close(); NULL with errno.
 */
struct revoke *revoke_open(void);

/**
 * revoke_close - end the connection
 * @r: from revoke_open(), or NULL
 */
void revoke_close(struct revoke *r);

/**
 * revoke_mr - make a device let go of the memory of an MR
 * @r: the connection
 * @dev: name of the RDMA device, "rxe0"
 * @mrn: number of the MR, as "rdma resource show mr" and the reports of pins tell
 * @pin: number of a leased pin that has to be one of the MR's, since MR numbers
 *	are used again; or NULL
 *
 * Comes back when the pages are unpinned.  If a signal interrupts it, the error
 * is EINTR and the revoke goes on.
 *
 * Return: 0 or an errno; revoke_reason() tells more.
 */
int revoke_mr(struct revoke *r, const char *dev, uint32_t mrn,
	      const uint32_t *pin);

/**
 * revoke_reason - why the last call failed, in words
 * @r: the connection
 *
 * Return: what the kernel said, or a text for the errno; until the next call.
 */
const char *revoke_reason(const struct revoke *r);

#endif /* REVOKE_H */
