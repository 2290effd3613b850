/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which pins are asked for.
 */
#ifndef SELECT_H
#define SELECT_H

#include <stdbool.h>

#include "pins.h"

enum kind { BY_FILE, BY_MOUNT, BY_DEVICE, BY_PID, BY_STATE, BY_ID, NR_KINDS };

/* One thing that was asked for; a pin has to match one of each kind there is. */
struct criterion {
	enum kind kind;
	const char *name;	/* path, RDMA device, state; NULL if it does not count */
	bool unknown;		/* a device's name that only a pin could tell of */
	bool has_dev;		/* then @dev counts, and for BY_FILE @num, the inode */
	dev_t dev;
	uint64_t num;		/* process, pin, inode */
};

struct selection {
	struct criterion *all;
	size_t nr;
};

/**
 * select_add - ask for more
 * @sel: what is asked for
 * @r: tells where /proc is
 * @kind: what @arg is; a list for BY_PID, BY_STATE and BY_ID
 * @arg: as the user wrote it; is taken apart, and has to stay
 *
 * Return: false if there is no such thing, which has been said.
 */
bool select_add(struct selection *sel, const struct report *r, enum kind kind,
		char *arg);

/**
 * select_has - is anything of a kind asked for?
 * @sel: what is asked for
 * @kind: the kind
 */
bool select_has(const struct selection *sel, enum kind kind);

/**
 * select_check - is there what was asked for by a name that select_add() did not know?
 * @sel: what is asked for
 * @r: read, and not yet reduced by select_apply()
 *
 * Return: false if there is no such thing, which has been said.
 */
bool select_check(const struct selection *sel, const struct report *r);

/**
 * select_apply - drop from a report what is not asked for
 * @sel: what is asked for
 * @r: read with @who if select_has(@sel, BY_PID)
 * @regions: keep with each pin all others of the same memory region
 */
void select_apply(const struct selection *sel, struct report *r, bool regions);

#endif /* SELECT_H */
