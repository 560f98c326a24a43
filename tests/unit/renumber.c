/* What becomes of the mailboxes of a node that is promoted. */
#include "lib/os/attrs.h"
#include "tests/unit/renumber_kit.h"
#include "tests/unit/stuck_kit.h"

static struct cap *
begin(void)
{
    struct cap *c = renumber_mailboxes();
    atomic_store(&stuck, 0);
    event_init("test", EVENT_CRIT);
    event_tap(count_stuck, NULL);
    return c;
}

static void
carry_out(struct cap *c)
{
    struct renumber_done done;
    CHECK_INT(renumber_begin(c->node, NULL, renumber_alive, &done, &c->e), 0);
    CHECK_INT(done.failed, atomic_load(&stuck));
}

TEST(a_promotion_raises_every_number_that_may_have_been_given_out)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    renumber_set(c, R_GAP);
    carry_out(c);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + R_GAP);
    CHECK_INT(renumber_next(c, "ada/.Sent/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "bob/courierimapuiddb"), 9 + R_GAP);
    cap_sh(c, "grep -qx '/3 1009 1763800000' mail/bob/courierpop3dsizelist");
    cap_sh(c, "test $(cat mail/ada/dovecot-uidvalidity) = 6b039e4b"); /* 10000 more */
    cap_sh(c, "test \"$(ls mail/ada/dovecot-uidvalidity.*)\" = "
              "mail/ada/dovecot-uidvalidity.6b039e4b");
    cap_sh(c, "test -z \"$(find mail -name '*.lock')\"");
    CHECK_INT(atomic_load(&stuck), 0);
    cap_free(c);
}

TEST(a_promotion_leaves_no_index_of_an_earlier_time_and_begins_above_all_sequences)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    renumber_set(c,
                 0); /* all was handed over: no UID is missing, the caches are old all the same */
    carry_out(c);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8);
    cap_sh(c, "test $(cat mail/ada/dovecot-uidvalidity) = 6b03773b");
    cap_sh(c, "test \"$(cd mail && find . -name 'dovecot.*' -o -name maildirsize | sort | xargs)\" "
              "= './ada/.Sent/dovecot.index.log ./ada/dovecot.index.log ./bob/dovecot.index.log "
              "./carl/dovecot.index.log'");
    cap_sh(c,
           "for d in ada ada/.Sent bob carl; do "
           "test $(od -An -j24 -N8 -tu8 mail/$d/dovecot.index.log) = %llu && "
           "test $(wc -c <mail/$d/dovecot.index.log) = 40 || exit 1; done",
           (unsigned long long)R_MODSEQ);
    cap_sh(c, "test \"$(stat -c '%%u %%g %%a %%s' mail/ada/dovecot.index.log)\" = "
              "'65534 65534 640 40'");
    cap_free(c);
}

TEST(no_time_of_access_is_written)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    renumber_set(c, R_GAP);
    cap_sh(c, "touch -a -d 2001-01-01 mail/ada mail/ada/dovecot-uidlist");
    carry_out(c);
    cap_sh(c, "test \"$(stat -c '%%x' mail/ada mail/ada/dovecot-uidlist | cut -c1-4 | xargs)\" = "
              "'2001 2001'");
    cap_free(c);
}

TEST(what_was_carried_out_is_not_carried_out_again_in_this_boot)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    renumber_set(c, R_GAP);
    carry_out(c);
    cap_sh(c, "echo live >mail/ada/dovecot.index");
    carry_out(c);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + R_GAP);
    cap_sh(c, "test -f mail/ada/dovecot.index");
    cap_free(c);
}

/* Another boot, in which no checkpoint had what was carried out. The row: docs/formats/journal.md.
 */
static void
lose_power(struct cap *c)
{
    uint8_t bytes[50];
    struct state_txn *txn;
    struct span row = { 0 };
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    CHECK_INT(state_get(txn, RENUMBER_KEY, &row, &c->e), 1);
    assert_int_equal(row.len, sizeof(bytes));
    memcpy(bytes, row.ptr, sizeof(bytes));
    memset(bytes + 28, 7, 16);
    CHECK_INT(state_put(txn, RENUMBER_KEY, span_of(bytes, sizeof(bytes)), &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
}

/* From the first time on a mail server gave out sequences, and clients know them. */
TEST(what_is_carried_out_again_after_a_power_loss_begins_above_the_first_time)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    renumber_set(c, R_GAP);
    carry_out(c);
    uint64_t then = identity_modseq_again(R_MODSEQ, (uint64_t)time(NULL));
    CHECK(then > R_MODSEQ);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + R_GAP); /* and on from there */
    cap_sh(c, "printf '" R_HEADER "1 :a\\n7 S1 :b\\n' >mail/ada/dovecot-uidlist");
    lose_power(c);
    carry_out(c);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + 2 * R_GAP);
    cap_sh(c,
           "for d in ada ada/.Sent bob carl; do "
           "test $(od -An -j24 -N8 -tu8 mail/$d/dovecot.index.log) -ge %llu || exit 1; done",
           (unsigned long long)then);
    cap_free(c);
}

TEST(a_folder_that_fails_is_told_and_keeps_no_other_from_being_done)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "echo garbage >mail/ada/dovecot-uidlist; : >mail/bob/courierimapuiddb.lock");
    renumber_set(c, R_GAP);
    carry_out(c);
    CHECK_INT(atomic_load(&stuck), 2);
    cap_sh(c, "test \"$(cat mail/ada/dovecot-uidlist)\" = garbage");
    CHECK_INT(renumber_next(c, "bob/courierimapuiddb"), 9); /* a mail server has it in hand */
    CHECK_INT(renumber_next(c, "ada/.Sent/dovecot-uidlist"), 4 + R_GAP);
    cap_sh(c,
           "test $(cat mail/ada/dovecot-uidvalidity) = 6b039e4b; test ! -e mail/ada/maildirsize");
    cap_free(c);
}

TEST(a_lock_that_a_killed_mail_server_left_is_nobodys)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t before_ns = attrs_ns(&now) - 20000000; /* a machine may be back within a second */
    cap_sh(c,
           "cd mail; touch -d '-30 seconds' bob/courierimapuiddb.lock; "
           "touch -d @%jd.%09jd ada/dovecot-uidlist.lock; "
           "mkdir ada/x.lock; touch -d '-30 seconds' ada/x.lock",
           (intmax_t)(before_ns / 1000000000), (intmax_t)(before_ns % 1000000000));
    renumber_set(c, R_GAP);
    carry_out(c);
    CHECK_INT(atomic_load(&stuck), 0);
    CHECK_INT(renumber_next(c, "bob/courierimapuiddb"), 9 + R_GAP);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + R_GAP);
    cap_sh(c, "cd mail; test ! -e bob/courierimapuiddb.lock; test ! -e ada/dovecot-uidlist.lock; "
              "test -d ada/x.lock");
    cap_free(c);
}

/* Younger than the daemon; 4194305 is more than there are processes. */
TEST(a_lock_of_no_living_process_is_nobodys)
{
    for (unsigned again = 0; again < 2; again++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        renumber_set(c, R_GAP);
        if (again > 0) { /* a mail server may be running: locks are taken */
            carry_out(c);
            lose_power(c);
        }
        uint32_t gap = again > 0 ? 3 * R_GAP : R_GAP;
        cap_sh(c, "printf 4194305:$(hostname) >mail/ada/dovecot-uidlist.lock; "
                  "printf 4194305:$(hostname) >mail/bob/courierimapuiddb.lock; "
                  "printf 1:$(hostname) >mail/bob/courierpop3dsizelist.lock");
        if (again == 0)
            cap_sh(c, "touch -d '+1 hour' mail/bob/courierpop3dsizelist.lock");
        carry_out(c);
        CHECK_INT(atomic_load(&stuck), again); /* that process lives */
        CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + gap);
        CHECK_INT(renumber_next(c, "bob/courierimapuiddb"), 9 + gap);
        cap_sh(c, "grep -qx '/3 1009 1763800000' mail/bob/courierpop3dsizelist");
        cap_free(c);
    }
}

static struct cap *served;

/* Called while a folder that is locked is waited for, and not before all others are done. */
static void
server_ends(void)
{
    cap_sh(served, "rm -f mail/bob/courierimapuiddb.lock");
}

/* What is done already is not done a second time. */
TEST(a_folder_that_is_locked_for_a_moment_is_tried_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    struct renumber_done done;
    renumber_set(c, R_GAP);
    served = c;
    cap_sh(c, ": >mail/bob/courierimapuiddb.lock");
    CHECK_INT(renumber_begin(c->node, NULL, server_ends, &done, &c->e), 0);
    CHECK_INT(done.failed, 0);
    CHECK_INT(done.raised, 4);
    CHECK_INT(atomic_load(&stuck), 0);
    CHECK_INT(renumber_next(c, "bob/courierimapuiddb"), 9 + R_GAP);
    cap_sh(c, "grep -qx '/3 1009 1763800000' mail/bob/courierpop3dsizelist");
    cap_free(c);
}

TEST(a_folder_that_has_no_uids_left_says_so)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "printf '" R_HEADER "4294967000 :z\\n' >mail/ada/dovecot-uidlist");
    renumber_set(c, R_GAP);
    carry_out(c);
    CHECK_INT(atomic_load(&stuck), 1);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), UINT32_C(4294967001));
    cap_free(c);
}

/* Links that lead out of the store must not have others' files written. */
TEST(nothing_outside_of_the_store_is_reached)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c,
           "cp mail/ada/dovecot-uidlist out/list; ln -sf ../../out/list mail/ada/dovecot-uidlist;"
           "ln -s ../../out/log mail/bob/dovecot.index.log; "
           "ln -s ../../out/temp mail/bob/mailtwin-identity.lock");
    renumber_set(c, R_GAP);
    carry_out(c);
    cap_sh(c, "test $(wc -l <out/list) = 3; test ! -e out/log; test ! -e out/temp");
    cap_sh(c, "test -f mail/bob/dovecot.index.log");
    CHECK_INT(renumber_next(c, "bob/courierimapuiddb"), 9 + R_GAP);
    cap_free(c);
}

/* What the promotion wrote to the lists the standbys get: the sweep finds it. */
TEST(the_capture_records_the_raised_lists)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    renumber_set(c, R_GAP);
    carry_out(c);
    cap_stop(c);
    cap_start(c);
    cap_barrier(c);
    cap_check_index(c);
    struct state_txn *txn;
    bool found = false;
    CHECK_INT(state_begin(c->node->state, false, &txn, &c->e), 0);
    struct record r;
    for (uint64_t seq = 0; state_record(txn, seq, &r, &c->e) > 0; seq = r.seq + 1)
        found |= r.op == OP_PUT && span_equal(r.path, span_str("ada/dovecot-uidlist"));
    state_abort(&txn);
    CHECK(found);
    cap_free(c);
}
