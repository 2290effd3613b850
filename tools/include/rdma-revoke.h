/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the series adds to the kernel's RDMA headers, for building against
 * headers that do not have it yet; check-uapi.c compares the two.
 */
#ifndef RDMA_REVOKE_H
#define RDMA_REVOKE_H

enum {
	NLDEV_CMD_RES_MR_REVOKE = 31,	/* RDMA_NLDEV_CMD_RES_MR_REVOKE */
	NLDEV_ATTR_RES_PIN_ID = 119,	/* RDMA_NLDEV_ATTR_RES_PIN_ID */
	/* an asynchronous event: IB_UVERBS_EVENT_MR_REVOKED */
	UVERBS_EVENT_MR_REVOKED = 21,
};

#endif /* RDMA_REVOKE_H */
