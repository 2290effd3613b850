// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

void warn(const char *fmt, ...)
{
	va_list ap;

	fputs("lspins: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void *checked(void *p)
{
	if (p)
		return p;
	warn("out of memory");
	exit(EXIT_ERROR);
}

void *xrealloc(void *old, size_t nr, size_t size)
{
	return checked(reallocarray(old, nr ? nr : 1, size));
}

char *xstrdup(const char *s)
{
	return checked(strdup(s));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return checked(s);
}

/* Bytes of the character that @s begins with; 0 if that is none. */
static size_t utf8_len(const char *s)
{
	/* the least that each length is for: longer than needed is not valid */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char lead = *s;
	size_t len = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 :
		     lead < 0xf0 ? 3 : lead < 0xf8 ? 4 : 0;
	uint32_t c;

	if (len < 2)
		return len;
	c = lead & (0x7f >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	return len;
}

char *utf8_copy(const char *s)
{
	char *copy = xrealloc(NULL, strlen(s) + 1, 3), *to = copy;
	size_t len;

	while (*s) {
		len = utf8_len(s);
		if (len) {
			to = mempcpy(to, s, len);
			s += len;
		} else {
			to = mempcpy(to, "\xef\xbf\xbd", 3);
			s++;
		}
	}
	*to = '\0';
	return copy;
}
