/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UTIL_H
#define UTIL_H

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_FOUND = 0, EXIT_NONE = 1, EXIT_ERROR = 2 };

/* "lspins: ..." on standard error */
void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Allocation that ends the program where there is no memory. */
void *xrealloc(void *old, size_t nr, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/**
 * utf8_copy - copy a text with all that is not UTF-8 replaced
 * @s: the text, of any bytes
 *
 * Return: the copy, allocated, with U+FFFD for each byte that is of no character.
 */
char *utf8_copy(const char *s);

#endif /* UTIL_H */
