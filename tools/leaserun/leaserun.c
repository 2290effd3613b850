// SPDX-License-Identifier: GPL-2.0
/*
 * leaserun - run a program with layout leases on the DAX files that it maps
 *
 * The work is done by libleaserun.so, which this program preloads.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION "0.1"

/* as env(1) and nohup(1) have them */
enum { EXIT_TROUBLE = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

static const char help[] =
"Usage: leaserun [options] [--] program [arguments]\n"
"\n"
"Run a program so that what it maps shared from DAX files is leased: it can then\n"
"register that memory for RDMA.  Whoever wants to truncate such a file recalls\n"
"the lease.  The program is not told of that, and not killed; after the grace\n"
"(sysctl fs.lease-break-time) it loses the memory region.\n"
"\n"
"Options:\n"
"  -s, --signal=NAME  send the program this signal at a recall (USR1, RTMIN+2, a\n"
"                     number).  For programs that handle it: most signals kill\n"
"                     a program that does not\n"
"  -r, --require      a shared mapping of a DAX file that cannot be leased fails\n"
"                     (without this the program runs, and registering fails)\n"
"  -v, --verbose      say on standard error what is leased, and what is not\n"
"  -h, --help         this text\n"
"  -V, --version      the version\n"
"\n"
"Children of the program are treated alike.  The program must be dynamically\n"
"linked and must call mmap() in the C library; set-user-ID programs and programs\n"
"with file capabilities ignore preloaded libraries.  A lease needs a patched\n"
"kernel, a file in DAX mode on XFS or ext4, and its owner or CAP_LEASE.\n"
"\n"
"Exit status: that of the program; 125 if leaserun itself fails, 126 if the\n"
"program cannot be run, 127 if it is not found.\n";

static void __attribute__((format(printf, 1, 2))) warn(const char *fmt, ...)
{
	va_list ap;

	fputs("leaserun: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* "10", "USR1", "SIGUSR1", "RTMIN+3", "RTMAX-1"; -1 if it is none of these */
static int parse_signal(const char *name)
{
	const char *num = name;
	char *end;
	long val;
	int sig;

	if (!strncasecmp(name, "SIG", 3))
		name = num = name + 3;
	if (!strncasecmp(name, "RTMIN", 5) || !strncasecmp(name, "RTMAX", 5)) {
		bool min = !strncasecmp(name, "RTMIN", 5);

		sig = min ? SIGRTMIN : SIGRTMAX;
		num = name + 5;
		if (!*num)
			return sig;
		if (*num != (min ? '+' : '-'))
			return -1;
		val = strtol(num, &end, 10);
		if (end == num || *end || sig + val < SIGRTMIN ||
		    sig + val > SIGRTMAX)
			return -1;
		return sig + val;
	}
	for (sig = 1; sig < SIGRTMIN; sig++) {
		const char *abbrev = sigabbrev_np(sig);

		if (abbrev && !strcasecmp(name, abbrev))
			return sig;
	}
	val = strtol(num, &end, 10);
	if (end == num || *end || val < 1 || val > SIGRTMAX)
		return -1;
	return val;
}

/* The library stands beside us in a build directory, under ../lib installed. */
static bool find_library(char *path, size_t size)
{
	static const char * const places[] = {
		"libleaserun.so", "../lib/leaserun/libleaserun.so",
	};
	char self[PATH_MAX];
	char *slash;
	ssize_t n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0) {
		warn("/proc/self/exe: %s", strerror(errno));
		return false;
	}
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		if (snprintf(path, size, "%s/%s", self, places[i]) >= (int)size)
			continue;
		if (!access(path, R_OK))
			return true;
	}
	warn("libleaserun.so is neither in %s nor in %s/../lib/leaserun", self,
	     self);
	return false;
}

/* Where execvp() would find the program; false if nowhere. */
static bool find_program(const char *name, char *path, size_t size)
{
	const char *dir = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return snprintf(path, size, "%s", name) < (int)size;
	if (!dir)
		dir = "/bin:/usr/bin";
	for (;; dir = end + 1) {
		end = strchrnul(dir, ':');
		if (snprintf(path, size, "%.*s%s%s", (int)(end - dir), dir,
			     end > dir ? "/" : "", name) < (int)size &&
		    !access(path, X_OK))
			return true;
		if (!*end)
			return false;
	}
}

/*
 * Why the dynamic loader would not load our library into this program, or NULL.
 * A hint for people, so what cannot be read or understood is taken as fine.
 */
static const char *cannot_preload(const char *path)
{
	const char *why = NULL;
	struct stat st;
	Elf64_Ehdr eh;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) &&
	    (((st.st_mode & S_ISUID) && st.st_uid != getuid()) ||
	     ((st.st_mode & S_ISGID) && st.st_gid != getgid())))
		why = "it is set-user-ID or set-group-ID";
	/* programs of our own word size; the loader tells about the others */
	if (!why && sizeof(long) == 8 &&
	    pread(fd, &eh, sizeof(eh), 0) == sizeof(eh) &&
	    !memcmp(eh.e_ident, ELFMAG, SELFMAG) &&
	    eh.e_ident[EI_CLASS] == ELFCLASS64 &&
	    eh.e_phentsize == sizeof(Elf64_Phdr)) {
		why = "it is statically linked";
		for (int i = 0; i < eh.e_phnum; i++) {
			Elf64_Phdr ph;

			if (pread(fd, &ph, sizeof(ph), eh.e_phoff +
				  i * sizeof(ph)) != sizeof(ph) ||
			    ph.p_type == PT_INTERP) {
				why = NULL;
				break;
			}
		}
	}
	close(fd);
	return why;
}

static int set_env(const char *name, const char *value)
{
	/* an option of an outer leaserun that we were not given ends here */
	return value ? setenv(name, value, 1) : unsetenv(name);
}

static bool preload(const char *lib)
{
	const char *old = getenv("LD_PRELOAD");
	char *val = NULL;
	bool ok;

	/* both separate the entries of LD_PRELOAD, and nothing quotes them */
	if (strpbrk(lib, ": \t\n")) {
		warn("cannot preload %s: its path has a space or a colon", lib);
		return false;
	}
	if (old && *old) {
		if (asprintf(&val, "%s:%s", lib, old) < 0)
			val = NULL;
	} else {
		val = strdup(lib);
	}
	ok = val && !setenv("LD_PRELOAD", val, 1);
	if (!ok)
		warn("LD_PRELOAD: %s", strerror(errno));
	free(val);
	return ok;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "signal",	required_argument,	NULL, 's' },
		{ "require",	no_argument,		NULL, 'r' },
		{ "verbose",	no_argument,		NULL, 'v' },
		{ "help",	no_argument,		NULL, 'h' },
		{ "version",	no_argument,		NULL, 'V' },
		{ }
	};
	bool verbose = false, require = false;
	char lib[PATH_MAX + 64], program[PATH_MAX], num[16];
	const char *why;
	int sig = 0, c;

	/* '+': options end at the program's name */
	while ((c = getopt_long(argc, argv, "+s:rvhV", options, NULL)) != -1) {
		switch (c) {
		case 's':
			sig = parse_signal(optarg);
			if (sig == SIGKILL || sig == SIGSTOP) {
				warn("--signal: a program cannot handle %s",
				     optarg);
				return EXIT_TROUBLE;
			}
			if (sig < 0) {
				warn("--signal: no such signal: %s", optarg);
				return EXIT_TROUBLE;
			}
			break;
		case 'r':
			require = true;
			break;
		case 'v':
			verbose = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'V':
			puts("leaserun " VERSION);
			return 0;
		default:
			fputs("Try 'leaserun --help'.\n", stderr);
			return EXIT_TROUBLE;
		}
	}
	if (optind == argc) {
		warn("no program given");
		fputs("Try 'leaserun --help'.\n", stderr);
		return EXIT_TROUBLE;
	}
	argv += optind;

	if (!find_library(lib, sizeof(lib)))
		return EXIT_TROUBLE;
	if (find_program(argv[0], program, sizeof(program))) {
		why = cannot_preload(program);
		if (why)
			warn("%s: nothing will be leased for it: %s", program,
			     why);
		if (why && require)
			return EXIT_TROUBLE;
	}
	snprintf(num, sizeof(num), "%d", sig);
	if (set_env("LEASERUN_VERBOSE", verbose ? "1" : NULL) ||
	    set_env("LEASERUN_REQUIRE", require ? "1" : NULL) ||
	    set_env("LEASERUN_SIGNAL", sig ? num : NULL)) {
		warn("environment: %s", strerror(errno));
		return EXIT_TROUBLE;
	}
	if (!preload(lib))
		return EXIT_TROUBLE;

	execvp(argv[0], argv);
	c = errno;
	warn("%s: %s", argv[0], strerror(c));
	return c == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
