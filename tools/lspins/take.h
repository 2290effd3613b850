/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TAKE_H
#define TAKE_H

#include <stdbool.h>

#include "pins.h"

/**
 * take_all - have the memory regions revoked that hold the pins of a report
 * @r: reduced to the pins that are meant, which have been shown
 * @dry_run: only say what would be done
 * @yes: do not ask
 *
 * Return: the exit status: EXIT_FOUND if all is done, or only was to be shown;
 * EXIT_NONE if the user said no; EXIT_ERROR if some memory stays pinned.
 */
int take_all(const struct report *r, bool dry_run, bool yes);

#endif /* TAKE_H */
