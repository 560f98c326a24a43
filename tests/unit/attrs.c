#include "lib/os/attrs.h"

#include "lib/os/file.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char path[] = "/tmp/mailtwin-attrs-XXXXXX";
static struct err e;

static int
new_file(void)
{
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    return fd;
}

TEST(attrs_times_go_both_ways)
{
    static const struct {
        int64_t ns;
        struct timespec ts;
    } cases[] = { { 0, { 0, 0 } },
                  { 1700000000123456789, { 1700000000, 123456789 } },
                  { -1, { -1, 999999999 } },
                  { -1000000000, { -1, 0 } },
                  { -1500000000, { -2, 500000000 } } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct timespec ts = attrs_timespec(cases[i].ns);
        CHECK_INT(ts.tv_sec, cases[i].ts.tv_sec);
        CHECK_INT(ts.tv_nsec, cases[i].ts.tv_nsec);
        CHECK(attrs_ns(&cases[i].ts) == cases[i].ns);
    }
}

TEST(attrs_times_that_no_number_holds_become_the_nearest_that_one_does)
{
    static const struct {
        struct timespec ts;
        int64_t ns;
    } cases[] = { { { 9223372036, 854775807 }, INT64_MAX },
                  { { 9223372036, 854775808 }, INT64_MAX },
                  { { 18446744074, 0 }, INT64_MAX }, /* 2554 */
                  { { INT64_MAX, 999999999 }, INT64_MAX },
                  { { -2147483648, 1 }, ATTRS_NS_MIN + 1 },
                  { { -2147483648, 0 }, ATTRS_NS_MIN },
                  { { -2147483649, 999999999 }, ATTRS_NS_MIN },
                  { { -9223372037, 145224191 }, ATTRS_NS_MIN },
                  { { INT64_MIN, 0 }, ATTRS_NS_MIN } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK(attrs_ns(&cases[i].ts) == cases[i].ns);
        struct timespec back = attrs_timespec(cases[i].ns);
        CHECK(attrs_ns(&back) == cases[i].ns);
    }
    struct timespec oldest = attrs_timespec(INT64_MIN); /* a peer may send it */
    CHECK_INT(oldest.tv_sec, -9223372037);
    CHECK_INT(oldest.tv_nsec, 145224192);
}

TEST(attrs_change_owner_mode_and_time_and_only_those)
{
    if (geteuid() != 0)
        skip();
    _cleanup_close_ int fd = new_file();
    struct stat before, st;
    CHECK_INT(fstat(fd, &before), 0);
    CHECK_INT(attrs_set_owner(fd, 1234, 4321, &e), 0);
    CHECK_INT(attrs_set_mode(fd, S_IFREG | 06711, &e), 0);
    CHECK_INT(attrs_set_mtime(fd, 123456789012, &e), 0);
    CHECK_INT(fstat(fd, &st), 0);
    CHECK_INT(st.st_uid, 1234);
    CHECK_INT(st.st_gid, 4321);
    CHECK_INT(st.st_mode, S_IFREG | 06711);
    CHECK(attrs_ns(&st.st_mtim) == 123456789012);
    CHECK(attrs_ns(&st.st_atim) == attrs_ns(&before.st_atim));
    int64_t ctime = attrs_ns(&st.st_ctim);
    CHECK_INT(attrs_set_owner(fd, 1234, 4321, &e), 0); /* right already: nothing is touched */
    CHECK_INT(attrs_set_mode(fd, 06711, &e), 0);
    CHECK_INT(attrs_set_mtime(fd, 123456789012, &e), 0);
    CHECK_INT(fstat(fd, &st), 0);
    CHECK(attrs_ns(&st.st_ctim) == ctime);
    unlink(path);
}

/* The child's answer: 0 when `check` held as uid 65534. */
static int
as_nobody(int fd, int (*check)(int fd))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(setgid(65534) == 0 && setuid(65534) == 0 ? check(fd) : 99);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int
may_only_keep(int fd)
{
    if (attrs_set_owner(fd, 65534, 65534, &e) != 0)
        return 1;
    if (attrs_set_owner(fd, 1000, 65534, &e) == 0)
        return 2;
    return e.sys == EPERM ? 0 : 3;
}

TEST(attrs_do_not_drop_an_owner_silently)
{
    if (geteuid() != 0)
        skip();
    _cleanup_close_ int fd = new_file();
    CHECK_INT(fchown(fd, 65534, 65534), 0);
    CHECK_INT(as_nobody(fd, may_only_keep), 0);
    unlink(path);
}

TEST(attrs_read_and_write_extended_attributes)
{
    _cleanup_close_ int fd = new_file();
    static uint8_t large[2000];
    memset(large, 0xee, sizeof(large));
    const struct attrs_xattr list[] = { { span_str("user.a"), span_of(large, sizeof(large)) },
                                        { span_str("user.b"), span_str("") },
                                        { span_str("user.c"), span_of("\0x", 2) } };
    CHECK_INT(attrs_xattrs_write(fd, list, 3, &e), 0);
    if (geteuid() == 0)
        CHECK_INT(fsetxattr(fd, "trusted.host", "1", 1, 0), 0);
    _cleanup_xattrs_ struct attrs_xattrs got = { 0 };
    CHECK_INT(attrs_xattrs_read(fd, &got, &e), 0);
    CHECK_INT(got.count, 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK(span_equal(got.list[i].name, list[i].name));
        CHECK(span_equal(got.list[i].value, list[i].value));
    }
    CHECK_INT(attrs_xattrs_prune(fd, list + 1, 1, &e), 0);
    attrs_xattrs_free(&got);
    CHECK_INT(attrs_xattrs_read(fd, &got, &e), 0);
    CHECK_INT(got.count, 1);
    CHECK(span_equal(got.list[0].name, span_str("user.b")));
    char value[4];
    if (geteuid() == 0) /* what is not replicated is not pruned either */
        CHECK_INT(fgetxattr(fd, "trusted.host", value, sizeof(value)), 1);
    unlink(path);
}

TEST(attrs_refuse_names_that_are_not_replicated)
{
    _cleanup_close_ int fd = new_file();
    const struct span names[] = { span_str("trusted.x"), span_str("security.selinux"),
                                  span_str("user."), span_str("system.other"),
                                  span_of("user.a\0b", 8) };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct attrs_xattr xattr = { names[i], span_str("x") };
        CHECK_INT(attrs_xattrs_write(fd, &xattr, 1, &e), -1);
        CHECK_INT(e.code, ERR_PROTOCOL);
    }
    char name[300] = "user.";
    memset(name + 5, 'n', sizeof(name) - 6);
    const struct attrs_xattr xattr = { span_str(name), span_str("x") };
    CHECK_INT(attrs_xattrs_write(fd, &xattr, 1, &e), -1);
    unlink(path);
}

TEST(attrs_leave_the_last_ones_out_when_there_are_too_many)
{
    _cleanup_close_ int fd = new_file();
    for (int i = 0; i <= ATTRS_XATTRS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "user.%d", i);
        CHECK_INT(fsetxattr(fd, name, "x", 1, 0), 0);
    }
    struct attrs_xattrs got;
    CHECK_INT(attrs_xattrs_read(fd, &got, &e), 0);
    CHECK_INT(got.count, ATTRS_XATTRS_MAX);
    CHECK_INT(got.left_out, 1);
    CHECK(span_equal(got.list[0].name, span_str("user.0")));
    CHECK(span_equal(got.list[ATTRS_XATTRS_MAX - 1].name, span_str("user.8")));
    attrs_xattrs_free(&got);
    CHECK_INT(fremovexattr(fd, "user.0"), 0);
    CHECK_INT(attrs_xattrs_read(fd, &got, &e), 0);
    CHECK_INT(got.count, ATTRS_XATTRS_MAX);
    CHECK_INT(got.left_out, 0);
    attrs_xattrs_free(&got);
    unlink(path);
}

TEST(attrs_tell_without_opening_whether_there_are_extended_attributes)
{
    _cleanup_close_ int fd = new_file();
    _cleanup_close_ int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(!attrs_xattrs_any(dir, path + 1));
    CHECK(!attrs_xattrs_any(dir, "no/such/file"));
    CHECK(!attrs_xattrs_any(dir, "proc/self/status")); /* there is no such thing there */
    CHECK(attrs_xattrs_any(fd, "x"));                  /* nobody can say: it is no directory */
    CHECK_INT(fsetxattr(fd, "user.a", "1", 1, 0), 0);
    CHECK(attrs_xattrs_any(dir, path + 1));
    unlink(path);
}

TEST(attrs_have_no_extended_attributes_where_there_are_none)
{
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    struct attrs_xattrs got;
    CHECK_INT(attrs_xattrs_read(fds[0], &got, &e), 0);
    CHECK_INT(got.count, 0);
    CHECK_INT(attrs_xattrs_prune(fds[0], NULL, 0, &e), 0);
    const struct attrs_xattr xattr = { span_str("user.x"), span_str("x") };
    CHECK_INT(attrs_xattrs_write(fds[0], &xattr, 1, &e), -1);
    CHECK_INT(attrs_set_owner(-1, 0, 0, &e), -1);
    CHECK_INT(attrs_set_mode(-1, 0, &e), -1);
    CHECK_INT(attrs_set_mtime(-1, 0, &e), -1);
    CHECK_INT(attrs_xattrs_read(-1, &got, &e), -1);
    close(fds[0]);
    close(fds[1]);
}

TEST(attrs_find_an_object_by_handle_under_whatever_name)
{
    if (geteuid() != 0)
        skip();
    int made = new_file();
    CHECK_INT(file_write_full(made, span_str("mail"), &e), 0);
    close(made);
    _cleanup_close_ int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
    struct attrs_handle handle, other;
    CHECK_INT(attrs_handle_get(dir, path + 5, &handle, &e), 0);
    char moved[64];
    snprintf(moved, sizeof(moved), "%s:2,S", path);
    CHECK_INT(rename(path, moved), 0);
    CHECK_INT(attrs_handle_get(dir, path + 5, &other, &e), -1);
    CHECK_INT(e.sys, ENOENT);
    int fd = attrs_handle_open(dir, attrs_handle_span(&handle), O_RDONLY, &e);
    CHECK(fd >= 0);
    char text[4];
    CHECK_INT(file_pread_full(fd, text, 4, 0, &e), 4);
    CHECK(memcmp(text, "mail", 4) == 0);
    CHECK_INT(attrs_handle_get(fd, "", &other, &e), 0); /* by descriptor: the same */
    CHECK(span_equal(attrs_handle_span(&handle), attrs_handle_span(&other)));
    close(fd);
    CHECK_INT(unlink(moved), 0);
    CHECK_INT(attrs_handle_open(dir, attrs_handle_span(&handle), O_RDONLY, &e), -1);
    CHECK_INT(e.code, ERR_GONE);
    CHECK_INT(e.sys, ESTALE);
    CHECK_INT(attrs_handle_open(dir, span_of("abc", 3), O_RDONLY, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
}
