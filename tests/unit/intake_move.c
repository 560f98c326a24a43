/* What is given another name, and directories that go: with no others in their place, and nothing
 * that nobody decided about. */
#include "tests/unit/intake_kit.h"

static const char guid[] = "0123456789abcdef0123456789abcdef";
static const char other_guid[] = "fedcba9876543210fedcba9876543210";

static struct source *
ask(struct kit *k, enum wire_give_kind kind, const char *path, const char *before)
{
    struct source *s = &k->sources[k->count++];
    *s = (struct source){ kind, WIRE_GIVE_MOVE, 0, .path = path, .before = before };
    return s;
}

/* A folder of ada's with its list. */
static void
folder(struct kit *k, const char *name, const char *its_guid)
{
    cap_sh(k->c,
           "cd mail/d/ada && mkdir -p %s/cur %s/new %s/tmp && echo '3 V7 N3 G%s' "
           ">%s/dovecot-uidlist && chown -R 5000:5001 .",
           name, name, name, its_guid, name);
}

static uint64_t
tail(struct kit *k)
{
    struct state_txn *txn;
    struct err e = { 0 };
    cap_barrier(k->c);
    CHECK_INT(state_begin(k->c->node->state, false, &txn, &e), 0);
    uint64_t seq = state_meta(txn)->tail;
    state_abort(&txn);
    return seq;
}

static struct kit *
begin(void)
{
    struct kit *k = kit_new();
    if (k != NULL)
        user(k);
    return k;
}

TEST(a_folder_is_renamed_as_one_with_its_list_and_its_mail)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    folder(k, ".Work.Sub", other_guid);
    cap_sh(k->c,
           "cd mail/d/ada && echo x >.Work/cur/1.M1:2,S && stat -c %%i .Work >../../../out/was");
    struct source *s = ask(k, WIRE_GIVE_DIR, "d/ada/.Job", "d/ada/.Work");
    struct source *sub = ask(k, WIRE_GIVE_DIR, "d/ada/.Job.Sub", "d/ada/.Work.Sub");
    s->guid = guid;
    sub->guid = other_guid;
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_INT(sub->result, WIRE_GIVEN_CREATED);
    CHECK_STR(s->where, "d/ada/.Job");
    check_sh(k, "cd mail/d/ada && [ ! -e .Work -a ! -e .Work.Sub -a -e .Job.Sub/cur -a "
                "-e .Job/cur/1.M1:2,S ] && grep -q 'V7 N3' .Job/dovecot-uidlist");
    check_sh(k, "stat -c %i mail/d/ada/.Job | cmp - out/was && [ ! -e mail/d/ada/.Job/*.lock ]");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    CHECK_INT(sub->result, WIRE_GIVEN_EXISTS);
    kit_free(k);
}

TEST(a_folder_is_found_by_its_guid_and_renames_follow_each_other)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".There", guid); /* it was called Work when they parted */
    folder(k, ".Next", other_guid);
    struct source *first = ask(k, WIRE_GIVE_DIR, "d/ada/.Last", "d/ada/.Next");
    struct source *second = ask(k, WIRE_GIVE_DIR, "d/ada/.Next", "d/ada/.Work");
    first->guid = other_guid;
    second->guid = guid;
    give_all(k);
    CHECK_INT(first->result, WIRE_GIVEN_CREATED);
    CHECK_INT(second->result, WIRE_GIVEN_CREATED);
    check_sh(k, "cd mail/d/ada && [ ! -e .There ] && grep -q G0123 .Next/dovecot-uidlist && "
                "grep -q Gfedc .Last/dovecot-uidlist");
    kit_free(k);
}

TEST(a_folder_whose_new_name_is_taken_that_is_gone_or_is_another_stays_as_it_is)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    folder(k, ".Job", other_guid);
    struct source *taken = ask(k, WIRE_GIVE_DIR, "d/ada/.Job", "d/ada/.Work");
    struct source *gone = ask(k, WIRE_GIVE_DIR, "d/ada/.New", "d/ada/.Gone");
    struct source *differs = ask(k, WIRE_GIVE_DIR, "d/ada/.New", "d/ada/.Work");
    struct source *unknown = ask(k, WIRE_GIVE_DIR, "d/ada/.New", "d/ada/.Gone");
    struct source *part = ask(k, WIRE_GIVE_DIR, "d/ada/.New", "d/ada/.Work/cur");
    struct source *trash = ask(k, WIRE_GIVE_DIR, "d/ada/..DOVECOT-TRASHED", "d/ada/.Work");
    taken->guid = guid;
    gone->guid = differs->guid = "00000000000000000000000000000000";
    give_all(k);
    struct source *all[] = { taken, gone, differs, unknown, part, trash };
    static const char *const why[] = { "something else has the name",
                                       "not where it was",
                                       "is another one by now",
                                       "not where it was",
                                       "part of a folder",
                                       "mail server deletes" };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        CHECK_INT(all[i]->result, WIRE_GIVEN_REFUSED);
        CHECK_CONTAINS(all[i]->text, why[i]);
    }
    check_sh(
        k, "cd mail/d/ada && grep -q G0123 .Work/dovecot-uidlist && [ ! -e .New -a -e .Work/cur ]");
    kit_free(k);
}

TEST(a_folder_that_the_mail_server_has_locked_is_renamed_or_removed_another_time)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    cap_sh(k->c, "echo 1:elsewhere >mail/d/ada/.Work/dovecot-uidlist.lock");
    struct source *s = ask(k, WIRE_GIVE_DIR, "d/ada/.Job", "d/ada/.Work");
    struct source *r = &k->sources[k->count++];
    *r = (struct source){ WIRE_GIVE_DIR, WIRE_GIVE_REMOVE, 0, .path = "d/ada/.Work" };
    r->since = tail(k);
    s->guid = guid;
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_FAILED);
    CHECK_INT(r->result, WIRE_GIVEN_FAILED);
    check_sh(k, "[ -e mail/d/ada/.Work/cur -a -e mail/d/ada/.Work/dovecot-uidlist.lock ]");
    kit_free(k);
}

TEST(a_message_is_moved_with_its_flags_and_its_keywords_by_name)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Box", guid);
    folder(k, ".Renamed", other_guid);
    cap_sh(k->c, "cd mail/d/ada && printf hello >cur/1.M1:2,Fb && printf '0 None\n1 Mine\n' "
                 ">dovecot-keywords && chown -R 5000:5001 .");
    struct source *s = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Old/cur/1.M1:2,Sa", "d/ada/new/1.M1");
    s->bytes = "hello";
    s->guid = other_guid;
    s->keywords = "0 Later\n";
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_STR(s->where, "d/ada/.Renamed/cur/1.M1:2,FSab");
    check_sh(k,
             "cd mail/d/ada && [ $(cat .Renamed/cur/1.M1:2,FSab) = hello -a ! -e cur/1.M1:2,Fb ] "
             "&& printf '0 Later\\n1 Mine\\n' | cmp - .Renamed/dovecot-keywords");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    check_sh(k, "[ $(find mail -name '1.M1*' | wc -l) = 1 ]");
    kit_free(k);
}

TEST(a_message_goes_with_the_folder_that_it_was_in_and_not_after_a_user_who_moved_it)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Box", guid);
    folder(k, ".Here", other_guid);
    cap_sh(k->c,
           "cd mail/d/ada && printf hello >.Here/cur/1.M1:2, && printf hello >.Here/cur/2.M2:2, "
           "&& printf hello >.Here/cur/3.M3:2, && printf longer >cur/4.M4:2, && "
           "printf hello >cur/5.M5:2, && printf hello >.Box/cur/5.M5:2,");
    struct source *follows = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Box/cur/1.M1:2,",
                                 "d/ada/.Was/cur/1.M1:2,");
    struct source *moved = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Box/cur/2.M2:2,", "d/ada/cur/2.M2:2,");
    struct source *there = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Here/cur/3.M3:2,",
                               "d/ada/cur/3.M3:2,");
    struct source *differs = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Box/cur/4.M4:2,",
                                 "d/ada/cur/4.M4:2,");
    struct source *copied = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Box/cur/5.M5:2,",
                                "d/ada/cur/5.M5:2,");
    struct source *gone = ask(k, WIRE_GIVE_MESSAGE, "d/ada/.Box/cur/6.M6:2,", "d/ada/cur/6.M6:2,");
    for (size_t i = 0; i < k->count; i++)
        k->sources[i].bytes = "hello";
    give_all(k);
    CHECK_INT(follows->result, WIRE_GIVEN_CREATED);
    CHECK_INT(moved->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(there->result, WIRE_GIVEN_EXISTS);
    CHECK_INT(differs->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(copied->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(gone->result, WIRE_GIVEN_REFUSED);
    check_sh(k, "cd mail/d/ada && [ -e .Box/cur/1.M1:2, -a ! -e .Here/cur/1.M1:2, -a -e "
                ".Here/cur/2.M2:2, -a -e .Here/cur/3.M3:2, -a -e cur/4.M4:2, -a -e cur/5.M5:2, ]");
    kit_free(k);
}

TEST(a_file_is_renamed_when_it_is_the_same_still)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    static const char *const names[] = { "a", "b", "c", "d", "e" };
    cap_sh(k->c, "cd files && for i in a b c x.c d y.e; do printf given >$i; done && "
                 "touch -d @1700000000.123456789 a c y.e && printf longer >d && "
                 "touch -d @1700000000.123456789 d");
    char to[5][8];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(to[i], sizeof(to[i]), "%s%s", i == 4 ? "y." : i == 0 ? "n/" : "x.", names[i]);
        struct source *s = ask(k, WIRE_GIVE_FILE, to[i], names[i]);
        s->store = 1;
        s->bytes = "given";
    }
    give_all(k);
    CHECK_INT(k->sources[0].result, WIRE_GIVEN_CREATED);
    CHECK_INT(k->sources[1].result, WIRE_GIVEN_REFUSED); /* its time */
    CHECK_INT(k->sources[2].result, WIRE_GIVEN_REFUSED); /* the name is taken */
    CHECK_INT(k->sources[3].result, WIRE_GIVEN_REFUSED); /* its size */
    CHECK_INT(k->sources[4].result, WIRE_GIVEN_EXISTS);
    check_sh(k, "cd files && [ ! -e a -a -e n/a -a -e b -a -e c -a -e d -a -e y.e ]");
    kit_free(k);
}

/* --- directories that go --- */

static struct source *
clear(struct kit *k, uint16_t store, const char *path)
{
    struct source *s = &k->sources[k->count++];
    *s = (struct source){ WIRE_GIVE_DIR, WIRE_GIVE_REMOVE, store, .path = path };
    s->since = tail(k);
    return s;
}

TEST(a_folder_goes_with_what_was_in_it_when_the_two_parted)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    cap_sh(k->c,
           "cd mail/d/ada && touch .Work/maildirfolder .Work/tmp/9.M9 && "
           "for i in 1 2 3; do echo x >.Work/cur/$i.M$i:2,; done && mkdir -p ../../../files/p/q "
           "&& echo x >../../../files/p/q/f && ln -s q/f ../../../files/p/way");
    struct source *s = clear(k, 0, "d/ada/.Work");
    struct source *p = clear(k, 1, "p");
    struct source *gone = clear(k, 0, "d/ada/.Gone");
    cap_sh(k->c, "cd mail/d/ada/.Work && mv cur/1.M1:2, cur/1.M1:2,S && mv cur/2.M2:2, ../cur && "
                 "rm cur/3.M3:2, && echo 2 >>dovecot-uidlist && touch dovecot.index.log");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_INT(p->result, WIRE_GIVEN_CREATED);
    CHECK_INT(gone->result, WIRE_GIVEN_EXISTS);
    check_sh(k, "[ ! -e mail/d/ada/.Work -a ! -e files/p -a -e mail/d/ada/cur/2.M2:2, ]");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    kit_free(k);
}

static void
check_stays(const char *meanwhile, const char *why)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    cap_sh(k->c, "echo x >mail/d/ada/.Work/cur/1.M1:2,");
    struct source *s = clear(k, 0, "d/ada/.Work");
    cap_sh(k->c, "cd mail/d/ada && %s", meanwhile);
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_REFUSED);
    CHECK_CONTAINS(s->text, why);
    check_sh(k, "[ $(find mail -name 1.M1:2,) ]");
    kit_free(k);
}

TEST(a_folder_that_got_mail_or_is_another_one_by_now_stays)
{
    check_stays("echo y >.Work/new/2.M2", "something has come into it");
    check_stays("echo y >cur/3.M3:2, && mv cur/3.M3:2, .Work/cur", "something has come into it");
    check_stays("mv .Work .Job", "it was renamed");
    check_stays("mv .Work .Job && mkdir .Work", "it was renamed");
}

/* Not in the journal yet: the capture stands. */
TEST(mail_that_comes_this_moment_stays_and_its_folder)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    cap_sh(k->c, "echo x >mail/d/ada/.Work/cur/1.M1:2, && mkdir files/p && echo x >files/p/f");
    struct source *s = clear(k, 0, "d/ada/.Work");
    struct source *p = clear(k, 1, "p");
    cap_hold(k->c);
    k->behind = true;
    cap_sh(k->c, "echo y >mail/d/ada/.Work/new/2.M2 && echo other >files/p/f");
    give_all(k);
    cap_release(k->c);
    CHECK_INT(s->result, WIRE_GIVEN_FAILED);
    CHECK_CONTAINS(s->text, "at this moment");
    CHECK_INT(p->result, WIRE_GIVEN_FAILED);
    check_sh(k, "cd mail/d/ada/.Work && [ -e cur/1.M1:2, -a -e new/2.M2 -a ! -e *.lock ]");
    kit_free(k);
}

static void
check_unknown(struct kit *k, struct source *s, uint64_t since)
{
    s->since = since;
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_REFUSED);
    CHECK_CONTAINS(s->text, "does not tell any more");
    check_sh(k, "[ -e mail/d/ada/.Work/cur ]");
}

static void
trim_journal(struct kit *k, uint64_t seq)
{
    struct state_txn *txn;
    struct err e = { 0 };
    CHECK_INT(state_begin(k->c->node->state, true, &txn, &e), 0);
    CHECK_INT(state_log_reset(txn, seq, &e), 0);
    CHECK_INT(state_commit(&txn, &e), 0);
}

TEST(a_journal_that_does_not_reach_back_forbids_a_removal)
{
    struct kit *k = begin();
    KIT_NEEDED(k);
    folder(k, ".Work", guid);
    struct source *s = clear(k, 0, "d/ada/.Work");
    uint64_t end = s->since;
    check_unknown(k, s, end + 1000);
    trim_journal(k, end + 1);
    check_unknown(k, s, end);
    s->since = end + 1;
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    kit_free(k);
}
