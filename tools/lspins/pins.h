/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The report of leased pins, as the kernel tells it in /proc.
 */
#ifndef PINS_H
#define PINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* A line of the report, and who shares what it tells of. */
struct pin {
	uint32_t id;
	pid_t pid;		/* took the lease; 0 if gone or out of sight */
	dev_t dev;
	uint64_t ino;
	uint64_t start, end;	/* bytes; the last is in it */
	uint64_t pages;
	const char *mode, *lease, *state, *user;
	const char *path;	/* NULL if the pin holds nothing any more */
	char *line;		/* where these strings are */
	pid_t *pids;		/* ascending: took the lease, or has its user open */
	size_t nr_pids;
};

struct report {
	const char *proc;	/* "/proc", or a copy of one */
	bool recorded;		/* such a copy: nothing else of this machine counts */
	bool whole;		/* /proc/file_pins could be read */
	bool foreign;		/* @proc is that of another pid namespace */
	bool found;		/* there is a report, if of one process only */
	size_t hidden;		/* processes that may not be looked at */
	struct pin *pins;	/* by id */
	size_t nr_pins, max_pins;
	pid_t command_of;	/* pins of one process mostly stand together */
	char *command;
};

/**
 * report_read - read the report anew
 * @r: with @proc and @recorded set, else zero or from an earlier call
 * @who: also find every process that shares a pin, which costs a look at each
 *
 * /proc/file_pins is asked first.  Without the right to read it, or on a kernel that
 * has none, the report is put together from those of the processes that may be
 * looked at.
 *
 * Return: false if the report cannot be read or understood, which has then been
 * said; a kernel without one is no such failure (@found).
 */
bool report_read(struct report *r, bool who);

/**
 * report_free - free what report_read() has allocated
 * @r: stays usable for another report_read()
 */
void report_free(struct report *r);

/**
 * report_command - name of a process
 * @r: the report
 * @pid: its number
 *
 * Return: its name, until the next call; NULL if it is gone.
 */
const char *report_command(struct report *r, pid_t pid);

/**
 * report_open - open a file of /proc for reading
 * @r: the report
 * @name: "locks", "self/mountinfo"
 *
 * Return: as fopen().
 */
FILE *report_open(const struct report *r, const char *name);

/**
 * report_mount_device - the file system mounted somewhere
 * @r: the report
 * @dir: where it is mounted
 * @dev: is set
 *
 * Return: false if there is no such mount in a recorded /proc, or @dir cannot be
 * looked at in the real one, with errno.
 */
bool report_mount_device(const struct report *r, const char *dir, dev_t *dev);

/**
 * report_mount_point - where a file system is mounted
 * @r: the report
 * @dev: the file system
 *
 * Return: the first place, allocated; NULL if it is not mounted here.
 */
char *report_mount_point(const struct report *r, dev_t dev);

/**
 * pin_held - does the pin hold pages?
 * @p: the pin
 */
bool pin_held(const struct pin *p);

/**
 * pin_rdma - is the user of the pin a memory region, and of which device?
 * @p: the pin
 * @len: set to the length of the device's name, which begins behind "rdma:"
 * @mrn: set to the number of the region as the kernel tells it, NULL if it does not:
 *	"-" while it is being registered, nothing if the driver cannot revoke
 *
 * Return: false if it is something else.
 */
bool pin_rdma(const struct pin *p, size_t *len, const char **mrn);

/**
 * pin_shared_by - is a process among those that share the pin?
 * @p: the pin
 * @pid: its number
 */
bool pin_shared_by(const struct pin *p, pid_t pid);

/**
 * pin_free - free what belongs to a pin
 * @p: itself part of the report
 */
void pin_free(struct pin *p);

#endif /* PINS_H */
