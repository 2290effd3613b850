// SPDX-License-Identifier: GPL-2.0
/*
 * Have the kernel revoke a memory region, over RDMA netlink: see revoke.h.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <rdma/rdma_netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdma-revoke.h"
#include "revoke.h"

struct revoke {
	struct mnl_socket *nl;
	unsigned int seq;
	char reason[256];
};

struct revoke *revoke_open(void)
{
	struct revoke *r = calloc(1, sizeof(*r));
	int one = 1;

	if (!r)
		return NULL;
	r->nl = mnl_socket_open2(NETLINK_RDMA, SOCK_CLOEXEC);
	if (!r->nl) {
		free(r);
		return NULL;
	}
	/* without them there are fewer words, that is all */
	mnl_socket_setsockopt(r->nl, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(r->nl, NETLINK_CAP_ACK, &one, sizeof(one));
	if (mnl_socket_bind(r->nl, 0, MNL_SOCKET_AUTOPID)) {
		revoke_close(r);
		return NULL;
	}
	return r;
}

void revoke_close(struct revoke *r)
{
	if (!r)
		return;
	mnl_socket_close(r->nl);
	free(r);
}

const char *revoke_reason(const struct revoke *r)
{
	return r->reason;
}

static struct nlmsghdr *begin(struct revoke *r, char *buf, int cmd, int flags)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, cmd);
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_seq = ++r->seq;
	return h;
}

static int find_message(const struct nlattr *attr, void *data)
{
	struct revoke *r = data;

	if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
	    !mnl_attr_validate(attr, MNL_TYPE_NUL_STRING))
		snprintf(r->reason, sizeof(r->reason), "%s",
			 mnl_attr_get_str(attr));
	return MNL_CB_OK;
}

/* the error, positive; notes what the kernel says about it */
static int error_of(struct revoke *r, const struct nlmsghdr *h)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(h);
	size_t len = sizeof(*err);

	if (mnl_nlmsg_get_payload_len(h) < len)
		return EBADMSG;
	/* our request comes back before the words, unless NETLINK_CAP_ACK is set */
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		len += mnl_nlmsg_get_payload_len(&err->msg);
	if (err->error && (h->nlmsg_flags & NLM_F_ACK_TLVS) &&
	    mnl_nlmsg_get_payload_len(h) > len)
		mnl_attr_parse(h, len, find_message, r);
	return -err->error;
}

/* A dump that fails on its way says so at its end. */
static int done_error(const struct nlmsghdr *h)
{
	const int *err = mnl_nlmsg_get_payload(h);

	return mnl_nlmsg_get_payload_len(h) >= sizeof(*err) ? -*err : 0;
}

/*
 * Send a request and look at what comes back, until its end.
 *
 * Return: 0 or an errno.
 */
static int talk(struct revoke *r, struct nlmsghdr *h, mnl_attr_cb_t cb,
		void *data)
{
	char buf[32768];
	ssize_t n;
	int left;

	r->reason[0] = '\0';
	if (mnl_socket_sendto(r->nl, h, h->nlmsg_len) < 0)
		return errno;
	for (;;) {
		n = mnl_socket_recvfrom(r->nl, buf, sizeof(buf));
		/* what was begun is answered, signal or not */
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		left = n;
		for (h = (struct nlmsghdr *)buf; mnl_nlmsg_ok(h, left);
		     h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != r->seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return error_of(r, h);
			if (h->nlmsg_type == NLMSG_DONE)
				return done_error(h);
			if (cb)
				mnl_attr_parse(h, 0, cb, data);
		}
	}
}

/* "GET" of all devices tells index and name, in this order */
struct find_dev {
	const char *name;
	uint32_t last, index;
	bool found;
};

static int find_dev(const struct nlattr *attr, void *data)
{
	struct find_dev *f = data;

	switch (mnl_attr_get_type(attr)) {
	case RDMA_NLDEV_ATTR_DEV_INDEX:
		if (mnl_attr_validate(attr, MNL_TYPE_U32))
			break;
		f->last = mnl_attr_get_u32(attr);
		break;
	case RDMA_NLDEV_ATTR_DEV_NAME:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) ||
		    strcmp(mnl_attr_get_str(attr), f->name))
			break;
		f->index = f->last;
		f->found = true;
	}
	return MNL_CB_OK;
}

static int dev_index(struct revoke *r, const char *name, uint32_t *index)
{
	struct find_dev f = { .name = name };
	char buf[MNL_NLMSG_HDRLEN];
	int err;

	err = talk(r, begin(r, buf, RDMA_NLDEV_CMD_GET, NLM_F_DUMP), find_dev,
		   &f);
	if (err)
		return err;
	*index = f.index;
	if (f.found)
		return 0;
	snprintf(r->reason, sizeof(r->reason), "No RDMA device %s", name);
	return ENODEV;
}

int revoke_mr(struct revoke *r, const char *dev, uint32_t mrn,
	      const uint32_t *pin)
{
	char buf[256];
	struct nlmsghdr *h;
	uint32_t index;
	int err;

	err = dev_index(r, dev, &index);
	if (!err) {
		h = begin(r, buf, NLDEV_CMD_RES_MR_REVOKE, NLM_F_ACK);
		mnl_attr_put_u32(h, RDMA_NLDEV_ATTR_DEV_INDEX, index);
		mnl_attr_put_u32(h, RDMA_NLDEV_ATTR_RES_MRN, mrn);
		if (pin)
			mnl_attr_put_u32(h, NLDEV_ATTR_RES_PIN_ID, *pin);
		err = talk(r, h, NULL, NULL);
		/* what a kernel says that does not know the command */
		if (err == EINVAL && !r->reason[0])
			snprintf(r->reason, sizeof(r->reason),
				 "Kernel cannot revoke memory regions");
	}
	if (err && !r->reason[0])
		snprintf(r->reason, sizeof(r->reason), "%s", strerror(err));
	return err;
}
