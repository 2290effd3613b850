// SPDX-License-Identifier: GPL-2.0
/*
 * Compiled, never linked: do the installed kernel headers (HDR=) agree with
 * layout-lease.h and rdma-revoke.h?
 */
#include <linux/fcntl.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_netlink.h>

#ifndef F_LAYOUT
#error "HDR= has no F_LAYOUT: headers of a kernel without the series?"
#endif

enum {
	UAPI_LAYOUT = F_LAYOUT,
	UAPI_EXCLUSIVE = F_EXCLUSIVE,
	UAPI_BREAKING = F_BREAKING,
};

#undef F_LAYOUT
#undef F_EXCLUSIVE
#undef F_BREAKING
/* only the fallbacks of our header, not glibc's <fcntl.h> */
#define _FCNTL_H
#include "layout-lease.h"
#include "rdma-revoke.h"

_Static_assert(UAPI_LAYOUT == F_LAYOUT, "F_LAYOUT");
_Static_assert(UAPI_EXCLUSIVE == F_EXCLUSIVE, "F_EXCLUSIVE");
_Static_assert(UAPI_BREAKING == F_BREAKING, "F_BREAKING");
_Static_assert(RDMA_NLDEV_CMD_RES_MR_REVOKE ==
	       (int)NLDEV_CMD_RES_MR_REVOKE, "RDMA_NLDEV_CMD_RES_MR_REVOKE");
_Static_assert(RDMA_NLDEV_ATTR_RES_PIN_ID == (int)NLDEV_ATTR_RES_PIN_ID,
	       "RDMA_NLDEV_ATTR_RES_PIN_ID");
_Static_assert(IB_UVERBS_EVENT_MR_REVOKED == UVERBS_EVENT_MR_REVOKED,
	       "IB_UVERBS_EVENT_MR_REVOKED");
