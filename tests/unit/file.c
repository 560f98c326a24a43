#include "lib/os/file.h"

#include "lib/base/path.h"
#include "lib/os/fault.h"
#include "tests/unit/test.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

static char folder[] = "/tmp/mailtwin-file-XXXXXX";
static struct err e;

/* A new empty folder; *ret_fd belongs to the caller. */
static int
new_folder(void)
{
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    test_scratch(folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void
remove_folder(int fd)
{
    close(fd);
    char command[64];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void
check_content(int dirfd, const char *name, const char *content)
{
    char *data = NULL;
    size_t len = 0;
    CHECK_INT(file_read(dirfd, name, 1 << 20, &data, &len, &e), 1);
    CHECK_INT(len, strlen(content));
    CHECK_STR(data, content);
    free(data);
}

TEST(file_replaces_a_file_with_the_mode_it_was_told)
{
    int dir = new_folder();
    mode_t before = umask(077);
    CHECK_INT(file_replace(dir, "state", span_str("old and longer"), 0600, &e), 0);
    CHECK_INT(file_replace(dir, "state", span_str("new"), 0664, &e), 0);
    umask(before);
    check_content(dir, "state", "new");
    struct stat st;
    CHECK_INT(fstatat(dir, "state", &st, 0), 0);
    CHECK_INT(st.st_mode, S_IFREG | 0664);
    CHECK_INT(faccessat(dir, "state.new", F_OK, 0), -1);
    remove_folder(dir);
}

TEST(file_replaces_over_what_a_crash_left_beside_it)
{
    int dir = new_folder();
    CHECK_INT(file_replace(dir, "state.new", span_str("left over from a crash"), 0600, &e), 0);
    CHECK_INT(file_replace(dir, "state", span_str("x"), 0600, &e), 0);
    check_content(dir, "state", "x");
    CHECK_INT(unlinkat(dir, "state", 0), 0);
    CHECK_INT(symlinkat("elsewhere", dir, "state.new"), 0); /* somebody wants us to write there */
    CHECK_INT(file_replace(dir, "state", span_str("x"), 0600, &e), -1);
    CHECK_CONTAINS(e.text, "replace state");
    CHECK_INT(faccessat(dir, "elsewhere", F_OK, 0), -1);
    remove_folder(dir);
}

TEST(file_read_tells_missing_from_failed)
{
    int dir = new_folder();
    char *data = NULL;
    size_t len = 0;
    CHECK_INT(file_read(dir, "none", 10, &data, &len, &e), 0);
    CHECK_INT(file_replace(dir, "f", span_str("0123456789"), 0600, &e), 0);
    CHECK_INT(file_read(dir, "f", 9, &data, &len, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
    CHECK_INT(file_read(dir, "f", 10, &data, &len, &e), 1);
    free(data);
    CHECK_INT(mkfifoat(dir, "p", 0600), 0);
    CHECK_INT(file_read(dir, "p", 10, &data, &len, &e), -1); /* and does not wait for a writer */
    CHECK_INT(symlinkat("f", dir, "l"), 0);
    CHECK_INT(file_read(dir, "l", 10, &data, &len, &e), -1);
    CHECK_INT(e.sys, ELOOP);
    remove_folder(dir);
}

TEST(file_names_the_system_s_reason)
{
    int dir = new_folder();
    CHECK_INT(file_rename(dir, "a", dir, "b", false, &e), -1);
    CHECK_INT(e.sys, ENOENT);
    CHECK_INT(e.code, ERR_IO);
    CHECK_CONTAINS(e.text, "rename a to b: No such file");
    CHECK_INT(file_replace(dir, "a", span_str("a"), 0600, &e), 0);
    CHECK_INT(file_link(dir, "a", dir, "b", &e), 0);
    CHECK_INT(file_rename(dir, "a", dir, "b", true, &e), -1);
    CHECK_INT(e.sys, EEXIST);
    CHECK_INT(file_link(dir, "a", dir, "b", &e), -1);
    CHECK_INT(e.sys, EEXIST);
    CHECK_INT(file_sync(-1, &e), -1);
    CHECK_INT(file_sync_fs(-1, &e), -1);
    CHECK_INT(e.sys, EBADF);
    CHECK_INT(file_write_out_begin(-1, &e), -1);
    CHECK_INT(file_write_out(-1, &e), -1);
    CHECK_INT(e.sys, EBADF);
    CHECK_INT(file_sync_fs(dir, &e), 0);
    CHECK_INT(file_err_code(ENOSPC, ERR_IO), ERR_NOSPACE);
    CHECK_INT(file_err_code(EDQUOT, ERR_IO), ERR_NOSPACE);
    CHECK_INT(file_err_code(EIO, ERR_CORRUPT), ERR_CORRUPT);
    remove_folder(dir);
}

TEST(file_writes_and_reads_at_offsets)
{
    int dir = new_folder();
    _cleanup_close_ int fd = openat(dir, "f", O_RDWR | O_CREAT, 0600);
    CHECK_INT(file_pwrite_full(fd, span_str("tail"), 8, &e), 0);
    CHECK_INT(file_write_full(fd, span_str("head"), &e), 0);
    char text[16] = { 0 };
    CHECK_INT(file_pread_full(fd, text, sizeof(text), 0, &e), 12);
    CHECK(memcmp(text, "head\0\0\0\0tail", 12) == 0);
    CHECK_INT(file_pread_full(fd, text, 4, 100, &e), 0);
    CHECK_INT(file_pwrite_full(fd, span_str("x"), UINT64_MAX, &e), -1);
    CHECK_INT(file_pwrite_full(-1, span_str("x"), 0, &e), -1);
    CHECK_INT(file_write_full(-1, span_str("x"), &e), -1);
    CHECK_INT(file_pread_full(-1, text, 1, 0, &e), -1);
    remove_folder(dir);
}

TEST(file_opens_only_what_lies_beneath)
{
    int dir = new_folder();
    CHECK_INT(mkdirat(dir, "d", 0700), 0);
    CHECK_INT(symlinkat("/etc", dir, "abs"), 0);
    CHECK_INT(symlinkat("d", dir, "rel"), 0);
    CHECK_INT(file_replace(dir, "f", span_str("x"), 0600, &e), 0);
    static const struct {
        const char *path;
        int sys;
    } cases[] = { { "abs/passwd", ELOOP },
                  { "rel", ELOOP },
                  { "rel/x", ELOOP },
                  { "none", ENOENT },
                  { "f/x", ENOTDIR } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_INT(file_open_beneath(dir, span_str(cases[i].path), O_RDONLY, 0, &e), -1);
        CHECK_INT(e.sys, cases[i].sys);
    }
    static const char *const invalid[] = { "../x", "d/../..", "/etc", "d//x", ".", "d/" };
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++) {
        CHECK_INT(file_open_beneath(dir, span_str(invalid[i]), O_RDONLY, 0, &e), -1);
        CHECK_INT(e.code, ERR_PROTOCOL);
    }
    int fd = file_open_beneath(dir, span_str("d/new"), O_WRONLY | O_CREAT, 0640, &e);
    CHECK(fd >= 0);
    CHECK_INT(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
    fd = file_open_beneath(dir, span_str(""), O_RDONLY | O_DIRECTORY, 0, &e);
    CHECK(fd >= 0);
    close(fd);
    fd = file_open_beneath(dir, span_str("rel"), O_PATH | O_NOFOLLOW, 0, &e); /* the link itself */
    CHECK(fd >= 0);
    close(fd);
    remove_folder(dir);
}

TEST(file_does_not_cross_a_mount)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        skip(); /* needs root */
    int dir = new_folder();
    char path[64];
    snprintf(path, sizeof(path), "%s/m", folder);
    CHECK_INT(mkdirat(dir, "m", 0700), 0);
    CHECK_INT(mount("none", path, "tmpfs", 0, NULL), 0);
    int fd = file_open_beneath(dir, span_str("m"), O_RDONLY, 0, &e);
    CHECK_INT(umount(path), 0);
    CHECK_INT(fd, -1);
    CHECK_INT(e.sys, EXDEV);
    remove_folder(dir);
}

/* Makes the directories of a path of this many names of 100 bytes each; returns the path. */
static char *
make_deep(int dir, size_t names)
{
    char *path = calloc(names, 101);
    assert_non_null(path);
    int at = dup(dir);
    for (size_t i = 0; i < names; i++) {
        char *name = path + 101 * i;
        memset(name, 'a' + (int)(i % 26), 100);
        assert_int_equal(mkdirat(at, name, 0700), 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
        if (i + 1 < names)
            name[100] = '/';
    }
    close(at);
    return path;
}

TEST(file_walks_paths_of_any_length)
{
    int dir = new_folder();
    char *path = make_deep(dir, 160);
    CHECK(strlen(path) > 3 * (size_t)PATH_MAX);
    /* each length around the places where a path is cut into pieces */
    for (size_t len = 1; len < strlen(path);
         len += len % 4096 < 4000 && len % 101 != 99 ? 101 : 1) {
        if (path[len] != '/')
            continue;
        int fd = file_open_beneath(dir, span_of(path, len), O_RDONLY | O_DIRECTORY, 0, &e);
        if (fd < 0)
            fail_msg("length %zu: %s", len, e.text);
        close(fd);
    }
    int fd = file_open_beneath(dir, span_str(path), O_RDONLY | O_DIRECTORY, 0, &e);
    CHECK(fd >= 0);
    CHECK_INT(symlinkat("..", fd, "l"), 0);
    close(fd);
    char *link = xasprintf("%s/l/x", path);
    CHECK_INT(file_open_beneath(dir, span_str(link), O_RDONLY, 0, &e), -1);
    CHECK_INT(e.sys, ELOOP);
    link[50] = '!'; /* the first piece is missing */
    CHECK_INT(file_open_beneath(dir, span_str(link), O_RDONLY, 0, &e), -1);
    CHECK_INT(e.sys, ENOENT);
    free(link);
    free(path);
    remove_folder(dir);
}

TEST(file_cuts_a_long_path_right_at_the_limit)
{
    for (size_t slash = PATH_MAX - 6; slash <= PATH_MAX + 1; slash++) {
        int dir = new_folder();
        char path[PATH_MAX + 8];
        memset(path, 'p', sizeof(path));
        for (size_t at = 100; at < slash - 1; at += 101)
            path[at] = '/';
        memcpy(path + slash, "/end", 5);
        int at = dup(dir);
        struct span rest = span_str(path);
        struct span name;
        while (path_next(&rest, &name)) {
            _cleanup_free_ char *text = strndup((const char *)name.ptr, name.len);
            CHECK_INT(mkdirat(at, text, 0700), 0);
            int next = openat(at, text, O_RDONLY | O_DIRECTORY);
            close(at);
            at = next;
        }
        close(at);
        int fd = file_open_beneath(dir, span_str(path), O_RDONLY | O_DIRECTORY, 0, &e);
        if (fd < 0)
            fail_msg("slash at %zu: %s", slash, e.text);
        close(fd);
        remove_folder(dir);
    }
}

#ifdef MAILTWIN_FAULTS

TEST(file_replace_leaves_the_old_content_or_the_new_one_at_every_failure)
{
    static const struct fault_plan plans[] = { { .kind = FAULT_ERRNO, .errnum = EIO },
                                               { .kind = FAULT_ERRNO, .errnum = ENOSPC },
                                               { .kind = FAULT_ERRNO, .errnum = EINTR },
                                               { .kind = FAULT_SHORT } };
    int dir = new_folder();
    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        const char *hit = "";
        unsigned late = 0; /* the name is there, but not known to be durable */
        for (uint64_t at = 1; hit != NULL; at++) {
            CHECK_INT(file_replace(dir, "f", span_str("old one"), 0600, &e), 0);
            struct fault_plan plan = plans[i];
            plan.at = at;
            fault_arm(&plan);
            int r = file_replace(dir, "f", span_str("new one, longer"), 0600, &e);
            fault_disarm(&hit);
            CHECK(r == 0 || plan.kind == FAULT_ERRNO);
            CHECK(r == 0 || e.sys == plan.errnum);
            CHECK(r == 0 || (e.code == ERR_NOSPACE) == (plan.errnum == ENOSPC));
            char *data = NULL;
            size_t len;
            CHECK_INT(file_read(dir, "f", 100, &data, &len, &e), 1);
            bool is_new = strcmp(data, "new one, longer") == 0;
            CHECK(is_new || strcmp(data, "old one") == 0);
            CHECK(is_new || r < 0);
            late += is_new && r < 0;
            free(data);
        }
        CHECK_INT(late, plans[i].errnum == EIO || plans[i].errnum == ENOSPC);
    }
    remove_folder(dir);
}

TEST(file_goes_on_after_an_interruption_and_a_short_write)
{
    int dir = new_folder();
    _cleanup_close_ int fd = openat(dir, "f", O_RDWR | O_CREAT, 0600);
    struct fault_plan plan = { .kind = FAULT_SHORT, .at = 1 };
    fault_arm(&plan);
    CHECK_INT(file_pwrite_full(fd, span_str("0123456789"), 0, &e), 0);
    CHECK_INT(fault_disarm(NULL), 2);
    char text[11] = { 0 };
    fault_arm(&plan);
    CHECK_INT(file_pread_full(fd, text, 10, 0, &e), 10);
    CHECK_INT(fault_disarm(NULL), 2);
    CHECK_STR(text, "0123456789");
    plan = (struct fault_plan){ .kind = FAULT_ERRNO, .at = 1, .errnum = EINTR };
    fault_arm(&plan);
    CHECK_INT(file_sync(fd, &e), 0);
    CHECK_INT(fault_disarm(NULL), 2);
    fault_arm(&plan);
    CHECK_INT(file_sync_fs(fd, &e), 0);
    CHECK_INT(fault_disarm(NULL), 2);
    fault_arm(&plan);
    CHECK_INT(file_write_out_begin(fd, &e), 0);
    CHECK_INT(file_write_out(fd, &e), 0);
    CHECK_INT(fault_disarm(NULL), 3);
    remove_folder(dir);
}

#endif
