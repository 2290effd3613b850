/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PROMETHEUS_H
#define PROMETHEUS_H

#include "pins.h"

/**
 * print_prometheus - write what is in a report as metrics
 * @r: read with @who
 */
void print_prometheus(const struct report *r);

#endif /* PROMETHEUS_H */
