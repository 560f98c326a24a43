/* A promotion behind a standby that was ended while it carried something out: folders that are on
 * the disk and in no index have given out UIDs as well. */
#include "tests/unit/renumber_kit.h"
#include "tests/unit/stuck_kit.h"

#define LIST "printf '" R_HEADER "1 :a\\n' >mail/"

/* In no index: a folder of ada's, one of a new user and one below that, carl's first list, what
 * took the place of bob's mailbox when that was renamed. */
static struct cap *
begin(void)
{
    struct cap *c = renumber_mailboxes();
    if (c == NULL)
        return NULL;
    cap_sh(c, "mkdir -p mail/ada/.New/cur mail/ada/.New/new mail/ada/.New/tmp mail/dom/dave/cur "
              "mail/dom/dave/.Deep/cur");
    cap_sh(c, LIST "ada/.New/dovecot-uidlist; " LIST "dom/dave/dovecot-uidlist; " LIST
                   "dom/dave/.Deep/dovecot-uidlist; " LIST "carl/dovecot-uidlist");
    cap_sh(c, "mv mail/bob mail/robert; mkdir -p mail/bob/cur; " LIST "bob/dovecot-uidlist");
    cap_sh(c, "mkdir -p mail/robert/.Fresh/cur; " LIST "robert/.Fresh/dovecot-uidlist");
    cap_sh(c, "chown -R 65534:65534 mail; chmod 640 mail/ada/.New/dovecot-uidlist");
    cap_open(c); /* a lock that is older than this is nobody's */
    atomic_store(&stuck, 0);
    event_init("test", EVENT_CRIT);
    event_tap(count_stuck, NULL);
    return c;
}

static void
carry_out(struct cap *c, bool look, void (*alive)(void), struct renumber_done *ret_done)
{
    struct renumber_order order = {
        .epoch = 2, .gap = R_GAP, .validity_gap = R_GAP, .modseq = R_MODSEQ, .look = look
    };
    struct state_txn *txn;
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    CHECK_INT(renumber_order(txn, &order, &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
    /* That it was prepared by the index says nothing here. */
    struct renumber_prepared prepared = { .since_s = 1, .base_s = 1, .seen_ns = INT64_MAX };
    CHECK_INT(renumber_begin(c->node, look ? &prepared : NULL, alive, ret_done, &c->e), 0);
}

TEST(folders_that_no_index_has_have_their_uids_raised_where_it_may_lack_some)
{
    struct cap *c = begin();
    struct renumber_done done;
    CAP_NEEDED(c);
    carry_out(c, true, renumber_alive, &done);
    CHECK_INT(renumber_next(c, "ada/dovecot-uidlist"), 8 + R_GAP);
    CHECK_INT(renumber_next(c, "ada/.New/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "dom/dave/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "dom/dave/.Deep/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "carl/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "bob/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "robert/courierimapuiddb"), 9 + R_GAP); /* once */
    CHECK_INT(renumber_next(c, "robert/.Fresh/dovecot-uidlist"), 4 + R_GAP);
    cap_sh(c, "test \"$(stat -c '%%u %%g %%a %%s' mail/ada/.New/dovecot.index.log)\" = "
              "'65534 65534 640 40'");
    cap_sh(c, "test -f mail/dom/dave/.Deep/dovecot.index.log");
    CHECK_INT(done.folders, 9);
    CHECK_INT(done.prepared, 0);
    CHECK_INT(atomic_load(&stuck), 0);
    cap_free(c);
}

/* What it costs is not paid without need. */
TEST(the_index_is_believed_where_it_has_all)
{
    struct cap *c = begin();
    struct renumber_done done;
    CAP_NEEDED(c);
    carry_out(c, false, renumber_alive, &done);
    CHECK_INT(renumber_next(c, "ada/.New/dovecot-uidlist"), 4);
    CHECK_INT(done.folders, 4);
    cap_free(c);
}

TEST(what_is_no_folder_of_the_store_is_not_reached_by_looking_either)
{
    struct cap *c = begin();
    struct renumber_done done;
    CAP_NEEDED(c);
    cap_sh(c, "mkdir -p mail/.mailtwin/x/cur mail/ada/new mail/ada/cur/y/cur out/z/cur; "
              "ln -s ../out mail/way; ln -s ../../../out/z mail/ada/.New/.Out");
    cap_sh(c, LIST ".mailtwin/x/dovecot-uidlist; " LIST "ada/cur/y/dovecot-uidlist; " LIST
                   "../out/z/dovecot-uidlist");
    carry_out(c, true, renumber_alive, &done);
    cap_sh(c, "test \"$(cat mail/.mailtwin/x/dovecot-uidlist mail/ada/cur/y/dovecot-uidlist "
              "out/z/dovecot-uidlist | grep -c gap)\" = 0");
    CHECK_INT(renumber_next(c, "ada/.New/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(done.folders, 9);
    CHECK_INT(atomic_load(&stuck), 0);
    cap_free(c);
}

static struct cap *served;

static void
server_ends(void)
{
    cap_sh(served, "rm -f mail/carl/dovecot-uidlist.lock");
}

TEST(a_list_that_only_the_disk_has_is_tried_again_while_it_is_locked)
{
    struct cap *c = begin();
    struct renumber_done done;
    CAP_NEEDED(c);
    served = c;
    cap_sh(c, ": >mail/carl/dovecot-uidlist.lock");
    carry_out(c, true, server_ends, &done);
    CHECK_INT(done.failed, 0);
    CHECK_INT(renumber_next(c, "carl/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "ada/.New/dovecot-uidlist"), 4 + R_GAP);
    cap_free(c);
}

static unsigned calls;

/* More often than there are folders that no index has: one of them is waited for. */
static void
server_ends_late(void)
{
    if (++calls == 10)
        cap_sh(served, "rm -f mail/dom/dave/dovecot-uidlist.lock");
}

TEST(a_folder_without_a_row_is_tried_again_while_it_is_locked)
{
    struct cap *c = begin();
    struct renumber_done done;
    CAP_NEEDED(c);
    served = c;
    calls = 0;
    cap_sh(c, ": >mail/dom/dave/dovecot-uidlist.lock");
    carry_out(c, true, server_ends_late, &done);
    CHECK_INT(done.failed, 0);
    CHECK_INT(atomic_load(&stuck), 0);
    CHECK_INT(renumber_next(c, "dom/dave/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(c, "dom/dave/.Deep/dovecot-uidlist"), 4 + R_GAP);
    cap_free(c);
}

TEST(a_folder_without_a_row_that_fails_is_told_by_its_path_and_keeps_no_other_from_being_done)
{
    struct cap *c = begin();
    struct renumber_done done;
    CAP_NEEDED(c);
    cap_sh(c, "printf 'no list\\n' >mail/ada/.New/dovecot-uidlist");
    cap_sh(c, ": >mail/dom/dave/dovecot-uidlist.lock");
    carry_out(c, true, renumber_alive, &done);
    CHECK_INT(done.failed, 2);
    CHECK_INT(atomic_load(&stuck), 2);
    CHECK_INT(renumber_next(c, "dom/dave/.Deep/dovecot-uidlist"), 4 + R_GAP);
    cap_free(c);
}
