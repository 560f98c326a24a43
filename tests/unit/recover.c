/* After a power loss: the daemon dies, the tree is put back to what an older moment left on the
 * disk, and the host has another boot id. The sweep of the start records the attributes of each
 * directory whose times moved. */
#include "tests/unit/capture_kit.h"

#include <signal.h>
#include <sys/wait.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static struct cap *
begin(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c, "mkdir -p mail/ada/cur mail/ada/new && for i in a b c; do echo mail $i "
              ">mail/ada/cur/$i; ln mail/ada/cur/$i out/$i; done");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    return c;
}

/* Another boot id, as far as this mount namespace goes. */
static void
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

/* Does `what`, a step a line, under the eyes of a daemon that dies right after it has committed. */
static void
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
            cap_sh(c, "cd mail/ada/cur && %s", step);
            cap_barrier(c);
        }
        raise(SIGKILL);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The next start: what was done is known to the journal, and `left` is what the disk has of it. */
static void
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

static void
end(struct cap *c)
{
    cap_check_index(c);
    umount(BOOT_ID);
    cap_free(c);
}

static uint64_t
held(struct cap *c)
{
    struct capture_status status;
    capture_status(c->capture, &status);
    return status.held;
}

static void
check_held(struct cap *c, size_t index, const char *expected)
{
    _cleanup_buf_ struct buf path = { 0 };
    uint16_t store;
    CHECK_INT(capture_held(c->capture, index, &store, &path), 1);
    CHECK_INT(store, 0);
    CHECK(span_equal(buf_span(&path), span_str(expected)));
}

static void
check_none_held(struct cap *c)
{
    _cleanup_buf_ struct buf path = { 0 };
    uint16_t store;
    CHECK_INT(held(c), 0);
    CHECK_INT(capture_held(c->capture, 0, &store, &path), 0);
}

static void
check_there(struct cap *c, const char *there, const char *gone)
{
    cap_sh(c, "cd mail/ada/cur && for f in %s; do test -e $f; done", there);
    cap_sh(c, "cd mail/ada/cur && for f in %s; do test ! -e $f; done", gone);
}

/* --- names: done again from the journal --- */

TEST(a_lost_rename_is_done_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mv a a:2,S", "mv a:2,S a");
    check_there(c, "a:2,S", "a");
    check_none_held(c);
    cap_check_records(c, "meta ada/cur\n");
    end(c);
}

TEST(a_chain_of_lost_renames_is_done_again_in_order)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mv a x\nmv x ../new/y\nmv ../new/y z", "mv z a");
    check_there(c, "z", "a x");
    check_none_held(c);
    cap_check_records(c, "meta ada/new\nmeta ada/cur\n");
    end(c);
}

TEST(a_lost_deletion_is_done_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm a", "ln ../../../out/a a");
    check_there(c, "b c", "a");
    check_none_held(c);
    cap_check_records(c, "meta ada/cur\n");
    end(c);
}

TEST(a_deletion_that_was_taken_back_is_not_done_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm a\nln ../../../out/a a", "true");
    check_there(c, "a b c", "");
    check_none_held(c);
    end(c);
}

TEST(what_is_whole_on_the_disk_is_left_alone)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mv a x && rm b && echo new >n && echo more >>c", "true");
    check_there(c, "x c n", "a b");
    check_none_held(c);
    cap_check_records(c, "meta ada/cur\n");
    end(c);
}

/* --- contents: held until a standby gave them back --- */

TEST(a_lost_message_is_not_taken_for_deleted)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n && cp -p n ../../../out/n", "rm n");
    CHECK_INT(held(c), 1);
    check_held(c, 0, "ada/cur/n");
    cap_check_records(c, "meta ada/cur\n");
    cap_sh(c, "cp -p out/n mail/ada/cur/n"); /* brought back */
    capture_release(c->capture, 0, span_str("ada/cur/n"));
    cap_barrier(c);
    check_none_held(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "put ada/cur/n\n");
    CHECK(strstr((const char *)text.ptr, "unlink") == NULL);
    end(c);
}

TEST(a_lost_message_that_nobody_has_is_recorded_as_gone)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n", "rm n");
    capture_release(c->capture, 0, span_str("ada/cur/n"));
    cap_barrier(c);
    check_none_held(c);
    cap_check_records(c, "meta ada/cur\nunlink ada/cur/n\n");
    end(c);
}

TEST(what_a_power_loss_left_of_a_content_is_not_recorded)
{
    static const char *const left[] = {
        ": >a; touch -d @1700000000 a",           /* shorter, of the same time */
        "echo mail a >a; touch -d @1600000000 a", /* older */
        "rm a; ln -s x a",
    };
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        print_message("%s\n", left[i]);
        start_after_loss(c, "echo written again >a; touch -d @1700000000 a; cp -p a ../../../out/n",
                         left[i]);
        CHECK_INT(held(c), 1);
        check_held(c, 0, "ada/cur/a");
        cap_check_records(c, "meta ada/cur\n");
        cap_sh(c, "cp -p out/n out/m && mv out/m mail/ada/cur/a");
        capture_release(c->capture, 0, span_str("ada/cur/a"));
        cap_barrier(c);
        check_none_held(c);
        end(c);
    }
}

TEST(what_is_written_after_the_loss_wins)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo written again >a; touch -d @1700000000 a",
                     ": >a; touch -d @1600000000 a");
    CHECK_INT(held(c), 1);
    cap_hold(c);
    cap_sh(c, "echo newer >mail/ada/cur/a");
    cap_release(c);
    check_none_held(c); /* and it is not asked back */
    cap_check_records(c, "meta ada/cur\nput ada/cur/a\n");
    end(c);
}

TEST(a_lost_directory_is_brought_back_name_by_name)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c,
                     "mkdir ../d && echo 1 >../d/1 && echo 2 >../d/2 && cp -pr ../d ../../../out/d",
                     "rm -r ../d");
    CHECK_INT(held(c), 3);
    check_held(c, 0, "ada/d");
    cap_hold(c);
    cap_sh(c, "mkdir mail/ada/d");
    cap_release(c);
    cap_check_records(
        c, "meta ada\nmkdir ada/d\n"); /* and nothing is removed: the standby has the rest */
    CHECK_INT(held(c), 2);
    cap_hold(c);
    cap_sh(c, "cp -p out/d/1 mail/ada/d/1");
    cap_release(c);
    cap_check_records(c, "put ada/d/1\n");
    check_held(c, 0, "ada/d/2");
    capture_release(c->capture, 0, span_str("ada/d"));
    capture_release(c->capture, 0, span_str("ada/d/2"));
    cap_barrier(c);
    check_none_held(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "unlink ada/d/2\n");
    CHECK(strstr((const char *)text.ptr, "rmtree") == NULL);
    end(c);
}

/* --- when it is none --- */

/* However often: as long as its times are young a directory is looked at by each start. */
static void
check_only_attributes(struct cap *c, const char *line)
{
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    const char *at = (const char *)text.ptr;
    while (strncmp(at, line, strlen(line)) == 0)
        at += strlen(line);
    CHECK_STR(at, "");
}

TEST(names_still_held_are_held_again_by_the_next_start)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n", "rm n");
    for (unsigned i = 0; i < 3; i++) {
        cap_stop(c);
        cap_start(c);
        cap_barrier(c);
        CHECK_INT(held(c), 1);
        check_held(c, 0, "ada/cur/n");
        check_only_attributes(c, "meta ada/cur\n");
    }
    capture_release(c->capture, 0, span_str("ada/cur/n"));
    cap_barrier(c);
    cap_stop(c);
    cap_start(c);
    cap_barrier(c);
    check_none_held(c);
    end(c);
}

TEST(where_only_the_daemon_died_what_is_gone_was_deleted)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    die_after(c, "echo new >n");
    cap_sh(c, "rm mail/ada/cur/n");
    cap_open(c);
    _cleanup_buf_ struct buf before = { 0 };
    cap_records(c, &before);
    cap_start(c);
    cap_barrier(c);
    check_none_held(c);
    cap_check_records(c, "meta ada/cur\nunlink ada/cur/n\n");
    end(c);
}

TEST(after_a_clean_stop_nothing_is_suspect)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_start(c);
    cap_sh(c, "echo new >mail/ada/cur/n");
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "rm mail/ada/cur/n");
    cap_open(c);
    _cleanup_buf_ struct buf before = { 0 };
    cap_records(c, &before);
    reboot(c, 2);
    cap_start(c);
    cap_barrier(c);
    check_none_held(c);
    cap_check_records(c, "meta ada/cur\nunlink ada/cur/n\n");
    end(c);
}
