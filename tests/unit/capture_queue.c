/* A mail's way through an MTA's queue, as records. */
#include "tests/unit/capture_kit.h"

#include "lib/os/file.h"
#include "replicator/listing.h"

static struct cap *
begin(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    c->stores[1].kind = STORE_QUEUE;
    cap_sh(c, "mkdir -p files/incoming files/active files/deferred files/private files/maildrop");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_check_records(c, "");
    return c;
}

TEST(a_mail_is_recorded_once_it_is_complete_and_followed_from_then_on)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "cd files; umask 077; echo half >incoming/12.34; mv incoming/12.34 incoming/A1");
    cap_barrier(c);
    cap_check_records(c, "");
    cap_sh(c, "cd files; echo whole >>incoming/A1; chmod 700 incoming/A1");
    cap_barrier(c);
    cap_check_records(c, "files: put incoming/A1\n");
    cap_sh(c, "cd files; mv incoming/A1 active/A1; mkdir -m 700 deferred/A");
    cap_barrier(c);
    cap_sh(c, "cd files; mv active/A1 deferred/A/A1");
    cap_barrier(c);
    cap_check_records(c, "files: rename incoming/A1 > active/A1\nfiles: mkdir deferred/A\n"
                         "files: rename active/A1 > deferred/A/A1\n");
    cap_sh(c, "rm files/deferred/A/A1");
    cap_barrier(c);
    cap_check_records(c, "files: unlink deferred/A/A1\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(a_mail_that_is_complete_and_moved_before_anybody_looked_is_new_where_it_is)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_hold(c);
    cap_sh(
        c,
        "cd files; umask 077; echo x >incoming/A1; chmod 700 incoming/A1; mv incoming/A1 active");
    cap_release(c);
    cap_check_records(c, "files: put active/A1\n");
    cap_check_index(c);
    cap_free(c);
}

/* Short names are given again: the standby must not keep the delivered mail under the new one's. */
TEST(a_delivered_mail_is_gone_although_another_is_being_written_under_its_name)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "cd files; umask 077; echo one >incoming/A1; chmod 700 incoming/A1");
    cap_barrier(c);
    cap_check_records(c, "files: put incoming/A1\n");
    cap_hold(c);
    cap_sh(c, "cd files; umask 077; rm incoming/A1; echo half >incoming/A1");
    cap_release(c);
    cap_check_records(c, "files: unlink incoming/A1\n");
    cap_sh(c, "chmod 700 files/incoming/A1");
    cap_barrier(c);
    cap_check_records(c, "files: put incoming/A1\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(a_sweep_finds_what_was_completed_while_nobody_watched)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "cd files; umask 077; echo x >incoming/A1; echo y >maildrop/B1");
    cap_barrier(c);
    cap_grow_old();
    capture_stop(&c->capture);
    cap_sh(c, "chmod 700 files/incoming/A1"); /* no directory's time moves with it */
    cap_start(c);
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "files: put incoming/A1\n");
    CHECK(strstr((const char *)text.ptr, "B1") == NULL);
    cap_free(c);
}

/* The directory's times were noted meanwhile: they are those of the file's first byte. */
TEST(a_sweep_finds_what_was_completed_long_after_it_was_begun)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "cd files; umask 077; echo x >incoming/A1; echo y >maildrop/B1; mkdir incoming/A;"
              "echo z >incoming/A/C1");
    for (unsigned turn = 0; turn < 3; turn++) {
        cap_barrier(c);
        cap_grow_old();
    }
    for (unsigned start = 0; start < 2; start++) { /* the second sweep notes them as well */
        capture_stop(&c->capture);
        if (start == 1)
            cap_sh(c, "chmod 700 files/incoming/A1 files/maildrop/B1 files/incoming/A/C1");
        cap_start(c);
        cap_barrier(c);
    }
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "files: put incoming/A1\n");
    CHECK_CONTAINS((const char *)text.ptr, "files: put maildrop/B1\n");
    CHECK_CONTAINS((const char *)text.ptr, "files: put incoming/A/C1\n");
    cap_free(c);
}

TEST(what_is_of_one_host_is_not_recorded)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "cd files; echo 1 >private/x; mkdir pid; echo 2 >pid/master.pid; touch restart");
    cap_barrier(c);
    cap_check_records(c, "");
    cap_free(c);
}

/* What two nodes compare: else a mail that is being written would be a difference each time. */
TEST(a_queue_lists_what_is_complete)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    struct err e = { 0 };
    _cleanup_listing_ struct listing l = { 0 };
    cap_sh(c, "cd files/incoming; echo half >A1; echo whole >B1; chmod 600 A1; chmod 700 B1");
    _cleanup_close_ int fd = file_open_beneath(c->node->stores[1].root_fd, span_str("incoming"),
                                               O_RDONLY | O_DIRECTORY, 0, &e);
    CHECK_INT(
        listing_read(&c->node->stores[1].rules, fd, span_str("incoming"), false, NULL, &l, &e), 0);
    CHECK_INT(l.count, 1);
    CHECK(span_equal(l.entries[0].name, span_str("B1")));
    file_closep(&fd);
    cap_free(c);
}
