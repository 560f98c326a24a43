/* counters.c - in every program of build/cover: the counters of gcov lie in a file beside the
 * program, PROGRAM.counters, which all its processes share.
 *
 * By itself gcov writes what a process counted when that process ends by exit(). A role that was
 * forked, that may open no file any more or that is killed would count for nothing. Here nobody
 * writes at the end; a process started with MAILTWIN_COLLECT in its environment hands the file's
 * counters to gcov and does nothing else. tests/tools/cover starts it. */
#include <fcntl.h>
#include <gcov.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* counters.ld; whole pages with nothing else in them */
extern char counters_begin[], counters_end[];

void __wrap___gcov_exit(void);

/* Called in place of gcov's own, which would write and add what is in the files to what it finds
 * in memory: to what all processes count in. */
void
__wrap___gcov_exit(void)
{
}

static int
open_counters(void)
{
    static const char suffix[] = ".counters";
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(suffix));
    if (len < 0)
        return -1;
    snprintf(path + len, sizeof(suffix), "%s", suffix);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* The file's counters in place of the program's. */
static int
map_counters(int fd, int how)
{
    size_t size = (uintptr_t)counters_end - (uintptr_t)counters_begin;
    if (ftruncate(fd, (off_t)size) < 0)
        return -1;
    void *got = mmap(counters_begin, size, PROT_READ | PROT_WRITE, how | MAP_FIXED, fd, 0);
    return got == MAP_FAILED ? -1 : 0;
}

static int
share(int how)
{
    int fd = open_counters();
    int failed = fd < 0 ? -1 : map_counters(fd, how);
    if (fd >= 0)
        close(fd);
    return failed;
}

/* Follows gcov's constructors, which make its list of counters, and precedes all others. A user
 * without rights to the file counts for nobody. */
__attribute__((constructor(101))) static void
share_counters(void)
{
    if (getenv("MAILTWIN_COLLECT") == NULL) {
        (void)share(MAP_SHARED);
        return;
    }
    if (share(MAP_PRIVATE) < 0)
        _exit(1);
    __gcov_dump();
    _exit(0);
}
