#include "lib/os/fault.h"
#include "tests/unit/apply_kit.h"

static struct wire_rec
late(struct wire_rec rec)
{
    rec.record.late = true;
    return rec;
}

/* The run that destroys a message when it is carried out twice. */
static void
send_reuse(struct kit *kit)
{
    kit_do(kit, kit_seq(11, kit_of(kit_rec(OP_RENAME, "b", "a"), "first")));
    kit_put(kit, 12, "a", "2 two");
    kit_do(kit, kit_seq(13, kit_of(kit_rec(OP_RENAME, "c", "b"), "first")));
    kit_do(kit, kit_seq(14, kit_of(kit_rec(OP_LINK, "d", "a"), "2 two")));
    kit_do(kit, kit_seq(15, kit_rec(OP_UNLINK, "a", NULL)));
    struct wire_rec list = late(kit_seq(10, kit_rec(OP_PUT, "dovecot-uidlist", NULL)));
    kit_must(kit, kit_send(kit, list, span_str("3 V1 N3")));
}

static void
check_reuse(struct kit *kit)
{
    kit_check_file(kit, "c", "first");
    kit_check_file(kit, "d", "2 two");
    kit_check_file(kit, "dovecot-uidlist", "3 V1 N3");
    CHECK_INT(kit_count_names(kit, "."), 4);
}

TEST(apply_receives_a_run_again_and_changes_nothing)
{
    struct kit *kit = kit_new();
    kit_put(kit, 9, "a", "first");
    kit_commit(kit);
    send_reuse(kit);
    kit_commit(kit);
    check_reuse(kit);
    CHECK_INT(apply_marker(kit->apply, 0), 15);
    for (int again = 0; again < 2; again++) {
        kit_restart(kit);
        CHECK_INT(apply_marker(kit->apply, 0), 15);
        kit_put(kit, 9, "a", "first"); /* the ack of that run was lost too */
        send_reuse(kit);
        kit_commit(kit);
        for (size_t i = 0; i < kit->count; i++)
            CHECK_INT(kit->got[i].result, APPLY_SKIPPED);
        check_reuse(kit);
    }
    CHECK(kit->got[3].exists); /* c, from b */
    CHECK(!kit->got[2].exists);
    kit_free(kit);
}

TEST(apply_carries_out_only_what_is_new_in_a_run_that_grew)
{
    struct kit *kit = kit_new();
    kit_put(kit, 9, "a", "first");
    send_reuse(kit);
    kit_commit(kit);
    kit_restart(kit);
    send_reuse(kit);
    kit_put(kit, 16, "a", "third");
    struct wire_rec list = late(kit_seq(17, kit_rec(OP_PUT, "dovecot-uidlist", NULL)));
    kit_must(kit, kit_send(kit, list, span_str("3 V1 N4")));
    kit_commit(kit);
    CHECK_INT(kit->got[5].result, APPLY_SKIPPED);
    CHECK_INT(kit->got[6].result, APPLY_DONE);
    CHECK_INT(kit->got[7].result, APPLY_DONE);
    kit_check_file(kit, "a", "third");
    kit_check_file(kit, "d", "2 two");
    kit_check_file(kit, "dovecot-uidlist", "3 V1 N4");
    kit_free(kit);
}

/* A late rename whose source's name is used again: numbers below those of the others. */
static int
send_late(struct kit *kit)
{
    const struct wire_rec recs[] = {
        kit_seq(23, kit_rec(OP_PUT, "m", NULL)),
        late(kit_seq(21, kit_of(kit_rec(OP_RENAME, "list", "tmp"), "list"))),
        late(kit_seq(22, kit_rec(OP_PUT, "tmp", NULL))),
    };
    if (kit_send(kit, recs[0], span_str("mail")) < 0 ||
        apply_rec(kit->apply, &recs[1], &kit->e) < 0 ||
        kit_send(kit, recs[2], span_str("next")) < 0)
        return -1;
    return kit_try_commit(kit);
}

TEST(apply_does_not_repeat_late_records_of_a_run_before_the_last)
{
    struct kit *kit = kit_new();
    kit_put(kit, 20, "tmp", "list");
    kit_commit(kit);
    kit_must(kit, send_late(kit));
    CHECK_INT(kit_run(kit, kit_seq(24, kit_rec(OP_UNLINK, "tmp", NULL))), APPLY_DONE);
    for (int again = 0; again < 2; again++) {
        kit_restart(kit);
        kit_must(kit, send_late(kit));
        CHECK_INT(kit->got[1].result, APPLY_SKIPPED);
        CHECK_INT(kit->got[2].result, APPLY_SKIPPED);
        CHECK_INT(kit_run(kit, kit_seq(24, kit_rec(OP_UNLINK, "tmp", NULL))), APPLY_SKIPPED);
        kit_check_file(kit, "list", "list");
        CHECK(!kit_exists(kit, "tmp"));
    }
    kit_free(kit);
}

#ifdef MAILTWIN_FAULTS

/* Fails at the at-th call; false when there was none. */
static bool
break_off(struct kit *kit, uint64_t at)
{
    struct fault_plan plan = { .kind = FAULT_ERRNO, .at = at, .errnum = EIO };
    const char *hit;
    fault_arm(&plan);
    int r = send_late(kit);
    fault_disarm(&hit);
    CHECK(r < 0 || hit == NULL);
    return hit != NULL;
}

TEST(apply_carries_out_each_late_record_once_wherever_the_run_breaks_off)
{
    bool more = true;
    for (uint64_t at = 1; more; at++) {
        for (uint64_t again = 1; again <= 3; again++) { /* and soon after it began once more */
            struct kit *kit = kit_new();
            kit_put(kit, 20, "tmp", "list");
            kit_commit(kit);
            more = break_off(kit, at);
            kit_restart(kit);
            break_off(kit, again);
            kit_restart(kit);
            kit_must(kit, send_late(kit));
            kit_check_file(kit, "m", "mail");
            kit_check_file(kit, "list", "list");
            kit_check_file(kit, "tmp", "next");
            kit_free(kit);
        }
    }
}

#endif

TEST(apply_asks_again_for_what_it_lacked_before_a_crash)
{
    struct kit *kit = kit_new();
    CHECK_INT(kit_run(kit, kit_seq(1, kit_of(kit_rec(OP_RENAME, "b", "a"), "x"))), APPLY_NEED);
    kit_restart(kit); /* before anybody was told */
    CHECK_INT(kit_run(kit, kit_seq(1, kit_of(kit_rec(OP_RENAME, "b", "a"), "x"))), APPLY_NEED);
    kit_put(kit, 4, "c", "x"); /* runs go on before anybody has written it down */
    kit_commit(kit);
    kit_restart(kit);
    CHECK_INT(kit_run(kit, kit_seq(1, kit_of(kit_rec(OP_RENAME, "b", "a"), "x"))), APPLY_NEED);
    apply_confirmed(kit->apply, 1);
    kit_put(kit, 5, "c", "y");
    kit_commit(kit);
    CHECK_INT(kit_count_names(kit, ".mailtwin/notes"), 0);
    kit_free(kit);
}

TEST(apply_forgets_what_it_lacked_when_the_sender_begins_behind_it)
{
    struct kit *kit = kit_new();
    CHECK_INT(kit_run(kit, kit_seq(3, kit_of(kit_rec(OP_RENAME, "b", "a"), "x"))), APPLY_NEED);
    kit_restart(kit);
    CHECK_INT(kit_count_names(kit, ".mailtwin/notes"), 1);
    kit_put(kit, 4, "c", "x");
    kit_commit(kit);
    CHECK_INT(kit_count_names(kit, ".mailtwin/notes"), 0);
    kit_free(kit);
}

/* What a PUT should have replaced stands there still: its content was gone. The destination has an
 * older file of the same type. */
TEST(a_rename_whose_source_is_another_object_is_no_rename_that_was_done)
{
    static const struct {
        const char *source, *moved;
        enum apply_result result;
    } cases[] = {
        { "f", "moved here", APPLY_NEED },
        { "f", "older", APPLY_NEED },
        { "none", "moved here", APPLY_NEED },
        { "none", "older", APPLY_DONE },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kit *kit = kit_new();
        kit_do(kit, kit_seq(1, kit_rec(OP_MKNOD, "f", NULL)));
        kit_put(kit, 2, "a", "older");
        kit_commit(kit);
        struct wire_rec rename = kit_of(kit_rec(OP_RENAME, "a", cases[i].source), cases[i].moved);
        CHECK_INT(kit_run(kit, kit_seq(3, rename)), cases[i].result);
        kit_free(kit);
    }
}

TEST(apply_lets_only_one_engine_have_a_store)
{
    struct kit *kit = kit_new();
    struct apply_store store = { .path = kit->path };
    struct apply *second = NULL;
    kit_must(kit, kit_send(kit, kit_rec(OP_PUT, "a", NULL), span_str("x")));
    CHECK_INT(apply_open(&store, 1, 1, &second, &kit->e), -1);
    CHECK_INT(kit->e.code, ERR_BUSY);
    CHECK_CONTAINS(kit->e.text, kit->path);
    kit_commit(kit); /* its stage was left alone */
    kit_check_file(kit, "a", "x");
    kit_free(kit);
}

TEST(apply_does_a_fix_up_each_time_it_comes)
{
    struct kit *kit = kit_new();
    kit_put(kit, 7, "a", "x");
    kit_commit(kit);
    kit_put(kit, 0, "a", "y");
    kit_commit(kit);
    kit_check_file(kit, "a", "y");
    CHECK_INT(apply_marker(kit->apply, 0), 7);
    kit_free(kit);
}

TEST(apply_forgets_its_marker_for_another_history)
{
    struct kit *kit = kit_new();
    CHECK_INT(kit_run(kit, late(kit_seq(90, kit_rec(OP_RENAME, "b", "a")))), APPLY_NEED);
    CHECK_INT(kit_count_names(kit, ".mailtwin/notes"), 2);
    CHECK_INT(apply_marker(kit->apply, 0), 90);
    kit_put(kit, 91, "a", "of the old history");
    kit_must(kit, apply_reset(kit->apply, 5, &kit->e));
    CHECK_INT(apply_pending(kit->apply), 0);
    CHECK_INT(apply_marker(kit->apply, 0), 5);
    CHECK_INT(kit_count_names(kit, ".mailtwin/notes"), 0);
    kit_restart(kit);
    CHECK_INT(apply_marker(kit->apply, 0), 5);
    CHECK_INT(kit_count_names(kit, ".mailtwin/applied"), 1);
    kit_put(kit, 6, "a", "x");
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_DONE);
    kit_free(kit);
}

TEST(apply_refuses_to_start_on_a_marker_it_cannot_read)
{
    struct kit *kit = kit_new();
    apply_free(&kit->apply);
    struct apply_store store = { .path = kit->path };
    int fd = openat(kit->root, ".mailtwin/applied/00000000000000fF.0000000000000000",
                    O_CREAT | O_WRONLY, 0600);
    close(fd);
    CHECK_INT(apply_open(&store, 1, 1, &kit->apply, &kit->e), -1);
    CHECK_INT(kit->e.code, ERR_CORRUPT);
    CHECK_CONTAINS(kit->e.text, kit->path);
    CHECK_INT(renameat(kit->root, ".mailtwin/applied/00000000000000fF.0000000000000000", kit->root,
                       ".mailtwin/applied/00000000000000ff.000000000000000f"),
              0);
    CHECK_INT(apply_open(&store, 1, 1, &kit->apply, &kit->e), -1);
    CHECK_CONTAINS(kit->e.text, "more than one marker");
    CHECK_INT(unlinkat(kit->root, ".mailtwin/applied/0000000000000000.0000000000000000", 0), 0);
    kit_must(kit, apply_open(&store, 1, 1, &kit->apply, &kit->e));
    CHECK_INT(apply_marker(kit->apply, 0), 255);
    kit_free(kit);
}

TEST(apply_refuses_a_private_folder_of_somebody_else)
{
    if (geteuid() != 0)
        skip();
    struct kit *kit = kit_new();
    apply_free(&kit->apply);
    struct apply_store store = { .path = kit->path };
    CHECK_INT(fchownat(kit->root, ".mailtwin", 1000, 1000, 0), 0);
    CHECK_INT(apply_open(&store, 1, 1, &kit->apply, &kit->e), -1);
    CHECK_INT(kit->e.code, ERR_UNSUITABLE);
    CHECK_INT(fchownat(kit->root, ".mailtwin", 0, 0, 0), 0);
    CHECK_INT(fchmodat(kit->root, ".mailtwin", 0777, 0), 0);
    kit_start(kit);
    CHECK_INT(kit_stat(kit, ".mailtwin").st_mode, S_IFDIR | 0700);
    kit_free(kit);
}
