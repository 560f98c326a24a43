/* The sweep: what changed while nobody watched is found by comparing directories. Each test stops
 * the capture without evidence, changes the stores, and starts again. */
#include "tests/unit/capture_kit.h"

#include "replicator/scan.h"

static struct cap *
begin(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c,
           "mkdir -p mail/ada/cur mail/ada/new mail/ada/tmp mail/bob/cur mail/bob/new files/d && "
           "for i in 1 2 3 4 5 6 7 8; do echo $i >mail/ada/cur/c$i; echo $i >mail/ada/new/n$i; "
           "echo $i >files/d/f$i; done");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_stop(c); /* the times of directories and files are kept as old ones */
    return c;
}

struct row {
    const char *what; /* done in s/ while nobody watches */
    const char *records;
};

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Directories are read in the order of their discovery, which is the filesystem's: lines are
 * compared sorted. */
static void
check_lines(char *got, const char *expected)
{
    char *lines[64];
    size_t count = 0;
    for (char *line = strtok(got, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        assert_true(count < ARRAY_LEN(lines));
        lines[count++] = line;
    }
    qsort(lines, count, sizeof(*lines), by_text);
    char sorted[4096] = "";
    for (size_t i = 0; i < count; i++) {
        strcat(sorted, lines[i]);
        strcat(sorted, "\n");
    }
    assert_string_equal(sorted, expected);
}

TEST(a_sweep_finds_what_changed_while_nobody_watched)
{
    static const struct row rows[] = {
        { "true", "" },
        { "echo x >mail/ada/new/x", "put ada/new/x\n" },
        { "rm mail/ada/new/n1", "unlink ada/new/n1\n" },
        { "rm -r mail/bob", "rmtree bob\n" },
        { "mv mail/ada/new mail/bob/old", "rename ada/new > bob/old\n" },
        { "mv mail/ada mail/eve", "rename ada > eve\n" },
        { "mkdir -p mail/eve/cur; echo x >mail/eve/cur/1",
          "mkdir eve\nmkdir eve/cur\nput eve/cur/1\n" },
        { "mv mail/ada/new/n1 mail/ada/cur/n1; mv mail/ada/cur/c1 mail/ada/new/c1",
          "meta ada/cur/n1\nmeta ada/new/c1\n"
          "rename ada/cur/c1 > ada/new/c1\nrename ada/new/n1 > ada/cur/n1\n" },
        { "mv mail/ada/cur/c1 mail/ada/cur/0; mv mail/ada/cur/c2 mail/bob/cur/2",
          "meta ada/cur/0\nmeta bob/cur/2\n"
          "rename ada/cur/c1 > ada/cur/0\nrename ada/cur/c2 > bob/cur/2\n" },
        { "ln mail/ada/cur/c1 mail/bob/cur/1", "link ada/cur/c1 > bob/cur/1\nmeta bob/cur/1\n" },
        { "mv mail/ada/cur/c1 out/c1", "unlink ada/cur/c1\n" },
        { "echo more >>files/d/f1", "files: put d/f1\n" },
        { "chmod 640 files/d/f1", "files: meta d/f1\n" },
        { "setfattr -n user.a -v 1 files/d/f1", "files: meta d/f1\n" },
        { "mv mail/ada/cur/c1 mail/ada/cur/0; setfattr -n user.a -v 1 mail/ada/cur/0",
          "meta ada/cur/0\nrename ada/cur/c1 > ada/cur/0\n" },
        { "touch -d 2001-01-01 files/d/f1", "files: put d/f1\n" },
        { "rm files/d/f1; echo 1 >files/d/f1", "files: put d/f1\n" },
        { "chmod 750 mail/bob", "meta bob\n" },
        { "setfattr -n user.a -v 1 mail/bob", "meta bob\n" },
        { "setfacl -d -m u:1:r mail", "meta \n" },
        { "echo x >mail/ada/tmp/1.M1P1.mx1", "" },
        { "echo x >mail/ada/tmp/x", "put ada/tmp/x\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        _cleanup_buf_ struct buf text = { 0 };
        print_message("%s\n", rows[i].what);
        cap_sh(c, "%s", rows[i].what);
        cap_start(c);
        cap_barrier(c);
        cap_records(c, &text);
        check_lines((char *)text.ptr, rows[i].records);
        cap_check_index(c);
        cap_free(c);
    }
}

/* A domain with users called as a Maildir's folders are, and all of them neighbours. */
TEST(users_called_new_cur_and_tmp_lose_nothing_in_a_sweep)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    cap_sh(c, "for u in new cur tmp; do for f in cur new tmp; do mkdir -p mail/ex/$u/$f "
              "mail/home/$u/Maildir/$f; done; echo 3 >mail/ex/$u/dovecot-uidlist; "
              "echo i >mail/ex/$u/dovecot.index; "
              "echo s >mail/home/$u/sieve; done");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(cap_check_index(c), 1 + 3 * 5 + 1 + 3 * 6);
    cap_stop(c);
    cap_sh(c, "for u in new cur tmp; do echo 1 >>mail/ex/$u/dovecot-uidlist; "
              "echo m >mail/home/$u/Maildir/new/1.M1; "
              "echo t >mail/ex/$u/tmp/1.M1; done; mkdir mail/ex/tmp/.Sent");
    cap_start(c);
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    check_lines((char *)text.ptr,
                "late put ex/cur/dovecot-uidlist\nlate put ex/new/dovecot-uidlist\n"
                "late put ex/tmp/dovecot-uidlist\n"
                ""
                ""
                "mkdir ex/tmp/.Sent\n"
                "put home/cur/Maildir/new/1.M1\nput home/new/Maildir/new/1.M1\n"
                "put home/tmp/Maildir/new/1.M1\n");
    cap_sh(c, "mv mail/ex/tmp/tmp/1.M1 mail/ex/tmp/new/1.M1"); /* delivered */
    cap_barrier(c);
    cap_check_records(c, "put ex/tmp/new/1.M1\n");
    cap_check_index(c);
    cap_free(c);
}

/* A primary that comes back with nothing of its own must not have changes of its own. */
TEST(a_sweep_after_links_and_moves_that_were_recorded_is_silent)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_start(c);
    cap_barrier(c);
    cap_sh(c, "ln mail/ada/cur/c1 mail/bob/cur/1 && ln mail/ada/cur/c2 mail/bob/cur/2");
    cap_barrier(c);
    cap_sh(c, "mv mail/ada/cur/c1 mail/ada/cur/c1:2,S && mv mail/bob/cur/2 mail/ada/new/2");
    cap_sh(c, "setfattr -n user.a -v 1 mail/ada && rm mail/ada/new/n1");
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    cap_stop(c);
    cap_sh(c, "echo new >mail/bob/new/new"); /* so that there is something to sweep for */
    cap_start(c);
    cap_barrier(c);
    cap_check_records(c, "put bob/new/new\n");
    cap_free(c);
}

TEST(a_sweep_reads_only_directories_whose_times_moved)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "rm mail/ada/new/n1");
    cap_start(c);
    cap_barrier(c);
    struct capture_status status;
    capture_status(c->capture, &status);
    CHECK_INT(status.dirs_seen, 2 + 2 + 3 + 2 + 1 + 1); /* ten looked at, one of them read */
    cap_check_records(c, "unlink ada/new/n1\n");
    cap_free(c);
}

/* Looked at before its change time was old enough to prove anything. */
TEST(attributes_of_a_file_seen_young_are_found_by_a_sweep)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_start(c);
    cap_sh(c, "echo y >files/d/y");
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    cap_stop(c);
    cap_grow_old();
    cap_sh(c, "setfattr -n user.a -v 1 files/d/y");
    cap_start(c);
    cap_barrier(c);
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "files: meta d/y\n");
    cap_free(c);
}

TEST(a_clock_set_back_hides_nothing)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "echo x >mail/bob/new/x; touch -d 1999-01-01 mail/bob/new; "
              "echo longer >files/d/f1; touch -d 1999-01-01 files/d/f1");
    cap_start(c);
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    check_lines((char *)text.ptr, "files: put d/f1\nput bob/new/x\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(a_sweep_and_changes_meanwhile_end_with_the_tree)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "cd mail/ada/new && seq -f m%%g 4000 | xargs touch");
    for (unsigned i = 0; i < 10; i++) {
        cap_start(c);
        cap_sh(c,
               "cd mail/ada && mv new/m%u cur/m%u && rm new/m1%u00 && mv cur/c%u bob 2>/dev/null; "
               "mv new/m2%u00 cur/; mkdir -p ../x%u/y && mv ../x%u ../bob/z%u",
               i + 1, i + 1, i, i, i, i, i, i);
        cap_barrier(c);
        cap_check_index(c);
        cap_stop(c);
    }
    cap_free(c);
}

/* --- the machine itself, a step at a time --- */

TEST(a_sweep_in_the_smallest_steps_comes_to_the_same)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "mv mail/ada/new/n1 mail/ada/cur/n1 && mv mail/bob mail/eve && rm files/d/f1 && "
              "mkdir -p mail/q/r/s && touch mail/q/r/s/t && mv mail/ada/cur/c3 mail/ada/new/c3");
    cap_open(c);
    struct compare compare;
    struct scan scan;
    compare_init(&compare, c->node);
    scan_init(&scan, &compare);
    scan_sweep(&scan);
    for (unsigned steps = 0; !scan_idle(&scan); steps++) {
        struct state_txn *txn;
        CHECK(steps < 500);
        CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
        compare_batch(&compare, txn, look_now_ns());
        if (scan_step(&scan, 1, &c->e) < 0)
            fail_msg("%s", c->e.text);
        CHECK_INT(compare_settle_parked(&compare, &c->e), 0);
        CHECK_INT(state_commit(&txn, &c->e), 0);
    }
    scan_free(&scan);
    compare_free(&compare);
    cap_check_index(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    check_lines((char *)text.ptr, "files: unlink d/f1\n"
                                  "mkdir q\nmkdir q/r\nmkdir q/r/s\nput q/r/s/t\n"
                                  "rename ada/cur/c3 > ada/new/c3\nrename ada/new/n1 > ada/cur/n1\n"
                                  "rename bob > eve\n");
    cap_free(c);
}
