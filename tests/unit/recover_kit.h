/* recover_kit.h - a power loss for tests: the daemon dies, the tree is put back to what an older
 * moment left on the disk, and the host has another boot id. */
#ifndef MAILTWIN_TEST_RECOVER_KIT_H
#define MAILTWIN_TEST_RECOVER_KIT_H

#include "tests/unit/capture_kit.h"

#include <signal.h>
#include <sys/wait.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static inline struct cap *
begin(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    while (umount(BOOT_ID) == 0) /* of a test that failed */
        continue;
    cap_sh(c, "mkdir -p mail/ada/cur mail/ada/new && for i in a b c; do echo mail $i "
              ">mail/ada/cur/$i; ln mail/ada/cur/$i out/$i; done");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    return c;
}

/* Another boot id, as far as this mount namespace goes. */
static inline void
reboot(const struct cap *c, unsigned boot)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/boot-%u", c->base, boot);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "00000000-0000-0000-0000-%012u\n", boot);
    fclose(file);
    umount(BOOT_ID);
    CHECK_INT(mount(path, BOOT_ID, NULL, MS_BIND, NULL), 0);
}

/* Does `what`, a step a line, under the eyes of a daemon that dies right after it has committed.
 * All of a step is looked at in one turn, and nothing of two. */
static inline void
die_after(struct cap *c, const char *what)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char steps[512];
        snprintf(steps, sizeof(steps), "%s", what);
        cap_start(c);
        cap_barrier(c);
        for (char *step = strtok(steps, "\n"); step != NULL; step = strtok(NULL, "\n")) {
            cap_hold(c);
            cap_sh(c, "cd mail/ada/cur && %s", step);
            cap_release(c);
        }
        raise(SIGKILL);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The next start: what was done is known to the journal, and `left` is what the disk has of it. */
static inline void
start_after_loss(struct cap *c, const char *what, const char *left)
{
    die_after(c, what);
    cap_sh(c, "cd mail/ada/cur && %s", left);
    cap_open(c);
    _cleanup_buf_ struct buf before = { 0 };
    cap_records(c, &before);
    reboot(c, 1);
    cap_start(c);
    cap_barrier(c);
}

static inline void
end(struct cap *c)
{
    cap_check_index(c);
    umount(BOOT_ID);
    cap_free(c);
}

/* --- what is held --- */

/* The names that are lost, a line each, in the order of the list; doubt: those in doubt. */
static inline size_t
list_held(struct cap *c, bool doubt, struct buf *ret_lines)
{
    struct capture_held one = { 0 };
    size_t count = 0;
    int found;
    buf_reset(ret_lines);
    while ((found = capture_held_next(c->capture, NULL, &one, &c->e)) > 0) {
        if (one.doubt != doubt)
            continue;
        count++;
        buf_add(ret_lines, one.path.ptr, one.path.len);
        buf_add_u8(ret_lines, '\n');
    }
    CHECK_INT(found, 0);
    buf_add_u8(ret_lines, 0);
    buf_free(&one.name);
    buf_free(&one.path);
    return count;
}

static inline void
check_held(struct cap *c, const char *expected)
{
    _cleanup_buf_ struct buf lines = { 0 };
    list_held(c, false, &lines);
    assert_string_equal((const char *)lines.ptr, expected);
}

static inline void
check_doubt(struct cap *c, const char *expected)
{
    _cleanup_buf_ struct buf lines = { 0 };
    list_held(c, true, &lines);
    assert_string_equal((const char *)lines.ptr, expected);
}

static inline void
check_none_held(struct cap *c)
{
    check_held(c, "");
}

static inline void
check_counted(struct cap *c, uint64_t count)
{
    struct capture_status status;
    capture_status(c->capture, &status);
    CHECK_INT(status.held, count);
}

/* What a node answered when it was asked for the name. */
static inline void
answer(struct cap *c, const char *node, const char *path, enum capture_held_answer what)
{
    struct capture_held one = { 0 };
    int found;
    while ((found = capture_held_next(c->capture, NULL, &one, &c->e)) > 0 &&
           !span_equal(buf_span(&one.path), span_str(path)))
        continue;
    if (found > 0)
        capture_held_answer(c->capture, &one, node, what);
    buf_free(&one.name);
    buf_free(&one.path);
    cap_barrier(c);
}

static inline uint64_t
tail(struct cap *c)
{
    return capture_tail(c->capture);
}

/* Each node has come that far. */
static inline void
all_heard(struct cap *c, uint64_t seq)
{
    capture_heard(c->capture, "mx2", seq);
    capture_heard(c->capture, "dr", seq);
    cap_barrier(c);
}

static inline void
check_there(struct cap *c, const char *there, const char *gone)
{
    cap_sh(c, "cd mail/ada/cur && for f in %s; do test -e $f || exit 1; done", there);
    cap_sh(c, "cd mail/ada/cur && for f in %s; do test ! -e $f || exit 1; done", gone);
}

/* The records since the last call, but for META: a sweep tells the attributes of whatever has other
 * times. */
static inline void
records(struct cap *c, struct buf *ret_text)
{
    _cleanup_buf_ struct buf all = { 0 };
    cap_records(c, &all);
    buf_reset(ret_text);
    for (char *line = strtok((char *)all.ptr, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "meta ", 5) == 0)
            continue;
        buf_add(ret_text, line, strlen(line));
        buf_add_u8(ret_text, '\n');
    }
    buf_add_u8(ret_text, 0);
}

static inline void
check_records(struct cap *c, const char *expected)
{
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    assert_string_equal((const char *)text.ptr, expected);
}

#endif
