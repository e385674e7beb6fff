/* Counts the calls of one process that change the disk, and kills it (SIGKILL) just before the one asked for, or
   suspends it there (SIGSTOP).

   Preloaded (LD_PRELOAD) into a Python interpreter, it stands before the C library for whatever writes: Python, numpy,
   torch, Pillow, SQLite. Not seen: system calls that do not go through the library's public functions (buffered C
   streams flush through internal ones), and what is written to memory that is mapped from a file (the index of SQLite's
   write-ahead log). Only regular files and folders count, no pipes, sockets, devices. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long armed_at = -1; /* -1: nothing is counted; 0: only counted */
static long count = 0;
static int word = SIGKILL;
static int torn = 0; /* the fatal call, where it writes, writes half of its bytes first */

#define MOST 65536
static char kinds[MOST + 1]; /* a letter for each call: w writes bytes, . does something else */

const char *kills_kinds(void) { return kinds; }

void kills_arm(long at, int half, int with) {
    count = 0;
    word = with;
    memset(kinds, 0, sizeof kinds);
    torn = half;
    armed_at = at;
}

static void die(void) {
    kill(getpid(), word);
    while (word == SIGKILL) pause();
}

/* Whether this is the fatal call. */
static int fatal(char kind) {
    if (armed_at < 0) return 0;
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (number <= MOST) kinds[number - 1] = kind;
    return number == armed_at;
}

static int on_disk(int fd) {
    struct stat found;
    return armed_at >= 0 && fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
}

static int elsewhere(const char *path) { return strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0; }

#define REAL(name) \
    static __typeof__(&name) real = NULL; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define CALL(result, name, parameters, arguments) \
    result name parameters { \
        REAL(name); \
        if (fatal('.')) die(); \
        return real arguments; \
    }

/* The same for a call on an open file. */
#define ON_FILE(result, name, parameters, fd, arguments) \
    result name parameters { \
        REAL(name); \
        if (on_disk(fd) && fatal('.')) die(); \
        return real arguments; \
    }

CALL(int, rename, (const char *from, const char *to), (from, to))
CALL(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
CALL(int, renameat2, (int a, const char *from, int b, const char *to, unsigned int f), (a, from, b, to, f))
CALL(int, link, (const char *from, const char *to), (from, to))
CALL(int, linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f))
CALL(int, symlink, (const char *to, const char *path), (to, path))
CALL(int, symlinkat, (const char *to, int at, const char *path), (to, at, path))
CALL(int, unlink, (const char *path), (path))
CALL(int, unlinkat, (int at, const char *path, int f), (at, path, f))
CALL(int, rmdir, (const char *path), (path))
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
CALL(int, truncate, (const char *path, off_t size), (path, size))
CALL(int, chmod, (const char *path, mode_t mode), (path, mode))
CALL(int, utimensat, (int at, const char *path, const struct timespec t[2], int f), (at, path, t, f))
ON_FILE(int, fchmod, (int fd, mode_t mode), fd, (fd, mode))
ON_FILE(int, futimens, (int fd, const struct timespec t[2]), fd, (fd, t))
ON_FILE(int, ftruncate, (int fd, off_t size), fd, (fd, size))
ON_FILE(int, ftruncate64, (int fd, off64_t size), fd, (fd, size))
ON_FILE(int, posix_fallocate, (int fd, off_t at, off_t size), fd, (fd, at, size))
ON_FILE(int, fsync, (int fd), fd, (fd))
ON_FILE(int, fdatasync, (int fd), fd, (fd))
ON_FILE(ssize_t, writev, (int fd, const struct iovec *parts, int n), fd, (fd, parts, n))
ON_FILE(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), to, (to, from, at, n))
ON_FILE(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t n), to, (to, from, at, n))
ON_FILE(ssize_t, copy_file_range, (int from, off64_t *a, int to, off64_t *b, size_t n, unsigned int f), to,
        (from, a, to, b, n, f))

#define WRITES(name, parameters, whole, half) \
    ssize_t name parameters { \
        REAL(name); \
        if (on_disk(fd) && fatal('w')) { \
            if (torn && n > 1) real half; \
            die(); \
        } \
        return real whole; \
    }

WRITES(write, (int fd, const void *bytes, size_t n), (fd, bytes, n), (fd, bytes, n / 2))
WRITES(pwrite, (int fd, const void *bytes, size_t n, off_t at), (fd, bytes, n, at), (fd, bytes, n / 2, at))
WRITES(pwrite64, (int fd, const void *bytes, size_t n, off64_t at), (fd, bytes, n, at), (fd, bytes, n / 2, at))

static int opens(const char *path, int flags) {
    return ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC))) && !elsewhere(path);
}

static mode_t mode_of(int flags, va_list rest) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        if (opens(path, flags) && fatal('.')) die(); \
        return real(path, flags, mode); \
    }

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        if (opens(path, flags) && fatal('.')) die(); \
        return real(at, path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *how) { \
        REAL(name); \
        if (strpbrk(how, "wa+") != NULL && !elsewhere(path) && fatal('.')) die(); \
        return real(path, how); \
    }

FOPEN(fopen)
FOPEN(fopen64)
