// Preloaded into the program by the tests of faults: counts what it does to files under $FAULT_UNDER, and
// breaks operation number $FAULT_AT in the way of $FAULT_KIND:
//   kill   the process dies there, in the middle of a write
//   eio    this one operation fails
//   full   from here on nothing can be written or made, as on a full disk; removing works
// At its end the process writes the number of operations to $FAULT_COUNT.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 4096 };
static atomic_char ours[FILES];
static atomic_long done;

// what an operation needs of the disk
enum need { SPACE, NONE };

static int is_ours(int folder, const char *path) {
    const char *under = getenv("FAULT_UNDER");
    if (!under) return 0;
    if (path[0] != '/') return folder == AT_FDCWD || (folder >= 0 && folder < FILES && ours[folder]);
    return strncmp(path, under, strlen(under)) == 0;
}

static int is_kind(const char *kind) {
    const char *wanted = getenv("FAULT_KIND");
    return wanted && strcmp(wanted, kind) == 0;
}

// 0: go on; otherwise the error to give
static int step(enum need need, int *dies) {
    const char *at = getenv("FAULT_AT");
    long number = atomic_fetch_add(&done, 1), broken = at ? atol(at) : -1;
    *dies = 0;
    if (broken < 0 || number < broken) return 0;
    if (is_kind("full")) return need == SPACE ? ENOSPC : 0;
    if (number > broken) return 0;
    if (is_kind("eio")) return EIO;
    *dies = 1;
    return 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define BREAK(need) \
    int dies, error = step(need, &dies); \
    if (dies) die(); \
    if (error) { errno = error; return -1; }

static int opened(int file) {
    if (file >= 0 && file < FILES) ours[file] = 1;
    return file;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        if (!is_ours(AT_FDCWD, path)) return real(path, flags, mode); \
        if (flags & (O_CREAT | O_TRUNC)) { BREAK(SPACE) } \
        return opened(real(path, flags, mode)); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        if (!is_ours(folder, path)) return real(folder, path, flags, mode); \
        if (flags & (O_CREAT | O_TRUNC)) { BREAK(SPACE) } \
        return opened(real(folder, path, flags, mode)); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int file) {
    REAL(int, close, int);
    if (file >= 0 && file < FILES) ours[file] = 0;
    return real(file);
}

static int has(int file) { return file >= 0 && file < FILES && ours[file]; }

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (has(file)) {
        int dies, error = step(SPACE, &dies);
        // a write breaks off in its middle
        if (dies || error) real(file, bytes, count / 2);
        if (dies) die();
        if (error) { errno = error; return -1; }
    }
    return real(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (has(file)) { BREAK(SPACE) }
    return real(file, parts, count);
}

#define ON_FILE(name) \
    int name(int file) { \
        REAL(int, name, int); \
        if (has(file)) { BREAK(SPACE) } \
        return real(file); \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

int ftruncate64(int file, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    if (has(file)) { BREAK(NONE) }
    return real(file, length);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    if (is_ours(AT_FDCWD, path)) { BREAK(SPACE) }
    return real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (is_ours(AT_FDCWD, to)) { BREAK(SPACE) }
    return real(from, to);
}

#define ON_PATH(name) \
    int name(const char *path) { \
        REAL(int, name, const char *); \
        if (is_ours(AT_FDCWD, path)) { BREAK(NONE) } \
        return real(path); \
    }
ON_PATH(unlink)
ON_PATH(rmdir)

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    if (is_ours(folder, path)) { BREAK(NONE) }
    return real(folder, path, flags);
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    if (!path) return;
    long count = done;
    unsetenv("FAULT_AT");
    FILE *file = fopen(path, "w");
    if (file) { fprintf(file, "%ld", count); fclose(file); }
}
