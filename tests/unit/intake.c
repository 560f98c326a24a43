/* What is given is taken as the rules of intake.h say. */
#include "tests/unit/intake_kit.h"

TEST(a_message_is_delivered_whole_with_flags_date_and_owner_of_the_folder)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    struct source *s = message(k, "d/ada/cur/1.M1,S=5:2,Sa", "hello");
    s->mark = "$Salvaged";
    s->keywords = "0 Later\n";
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_STR(s->where, "d/ada/cur/1.M1,S=5:2,Sab");
    check_sh(k, "grep -qx hello mail/d/ada/cur/1.M1,S=5:2,Sab");
    check_sh(k, "[ $(stat -c %u:%g:%a:%Y mail/d/ada/cur/1*) = 5000:5001:640:1700000000 ]");
    check_sh(k, "printf '0 $Salvaged\\n1 Later\\n' | cmp - mail/d/ada/dovecot-keywords");
    check_sh(k, "[ $(stat -c %u:%g mail/d/ada/dovecot-keywords) = 5000:5001 ]");
    check_sh(k, "[ ! -e mail/d/ada/dovecot-uidlist.lock ]");
    kit_free(k);
}

TEST(a_message_given_again_is_there_already_wherever_it_went_and_whatever_its_flags)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    struct source *s = message(k, "d/ada/new/1.M1", "hello");
    s->mark = "$Salvaged";
    struct source *twin = message(k, "d/ada/new/1.M1", "hello"); /* in the same batch */
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_INT(twin->result, WIRE_GIVEN_FAILED); /* another time */
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    CHECK_INT(twin->result, WIRE_GIVEN_EXISTS);
    cap_sh(k->c, "cd mail/d/ada && mkdir -p .Old/cur && mv cur/1.M1* .Old/cur/1.M1:2,RS");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    CHECK_STR(s->where, "d/ada/.Old/cur/1.M1:2,RS");
    check_sh(k, "[ $(find mail -name '1.M1*' | wc -l) = 1 ]");
    kit_free(k);
}

static void
check_another_message(const char *there)
{
    char still_there[64];
    snprintf(still_there, sizeof(still_there), "[ $(cat mail/d/ada/cur/1.M1,S=5:2,F) = %s ]",
             there);
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "printf %s >mail/d/ada/cur/1.M1,S=5:2,F", there);
    struct source *s = message(k, "d/ada/cur/1.M1,S=5:2,S", "hello");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    check_sh(k, still_there);
    check_sh(k, "[ $(cat mail/d/ada/cur/1.M1-????????,S=5:2,S) = hello ]");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    check_sh(k, "[ $(ls mail/d/ada/cur | wc -l) = 2 ]");
    kit_free(k);
}

TEST(another_message_of_the_same_name_costs_neither_its_bytes)
{
    check_another_message("other-bytes");
    check_another_message("HELLO"); /* as long as the one that is given */
}

TEST(a_folder_that_is_missing_is_made_like_the_one_above_it)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    struct source *s = message(k, "d/ada/.Work/cur/1.M1:2,", "hello");
    struct source *o = message(k, "d/bob/cur/1.M1:2,", "hello");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_INT(o->result, WIRE_GIVEN_CREATED);
    check_sh(k, "[ -f mail/d/ada/.Work/maildirfolder -a -d mail/d/ada/.Work/tmp -a -d "
                "mail/d/ada/.Work/new ]");
    check_sh(k, "[ $(stat -c %u:%g:%a mail/d/ada/.Work) = 5000:5001:750 ]");
    check_sh(k, "[ $(stat -c %u:%g:%a mail/d/bob/cur) = 5000:5001:700 ]");
    check_sh(k, "[ ! -e mail/d/bob/maildirfolder ]");
    kit_free(k);
}

TEST(a_message_follows_its_mailbox_when_that_was_renamed)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    static const char guid[] = "0123456789abcdef0123456789abcdef";
    cap_sh(k->c,
           "cd mail/d/ada && mkdir -p .New/cur .New/new .New/tmp .Work/cur .Work/new .Work/tmp && "
           "echo '3 V1 N1 G%s' >.New/dovecot-uidlist && chown -R 5000:5001 .",
           guid);
    struct source *s = message(k, "d/ada/.Work/cur/1.M1:2,", "hello");
    struct source *t = message(k, "d/ada/.Work/cur/2.M2:2,", "hello");
    s->guid = guid;
    give_all(k);
    CHECK_STR(s->where, "d/ada/.New/cur/1.M1:2,");
    CHECK_STR(t->where, "d/ada/.Work/cur/2.M2:2,");
    kit_free(k);
}

TEST(a_folder_that_is_locked_is_given_to_another_time)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "echo 1:elsewhere >mail/d/ada/dovecot-uidlist.lock");
    struct source *s = message(k, "d/ada/cur/1.M1:2,", "hello");
    struct source *plain = message(k, "d/ada/cur/2.M2:2,", "hello"); /* needs no new keyword */
    s->mark = "$Salvaged";
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_FAILED);
    CHECK_INT(plain->result, WIRE_GIVEN_CREATED);
    cap_sh(k->c, "rm mail/d/ada/dovecot-uidlist.lock");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_INT(plain->result, WIRE_GIVEN_EXISTS);
    kit_free(k);
}

TEST(a_keyword_beyond_the_last_letter_is_told_and_the_message_delivered)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "for i in $(seq 0 25); do echo \"$i k$i\"; done >mail/d/ada/dovecot-keywords");
    struct source *s = message(k, "d/ada/cur/1.M1:2,S", "hello");
    s->mark = "$Salvaged";
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_CONTAINS(s->text, "no letter left");
    CHECK_STR(s->where, "d/ada/cur/1.M1:2,S");
    kit_free(k);
}

static struct source *
other(struct kit *k, enum wire_give_kind kind, enum wire_give_mode mode, uint16_t store,
      const char *path)
{
    struct source *s = &k->sources[k->count++];
    *s = (struct source){ kind, mode, store, .path = path, .bytes = "given" };
    return s;
}

TEST(a_file_is_put_only_where_nothing_is_and_replaced_on_an_operators_word)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    cap_sh(k->c, "echo mine >files/a; ln -s /etc/passwd files/link; mkdir files/dir");
    struct source *s = other(k, WIRE_GIVE_FILE, WIRE_GIVE_PUT, 1, "a");
    struct source *b = other(k, WIRE_GIVE_FILE, WIRE_GIVE_PUT, 1, "x/y/b");
    struct source *link = other(k, WIRE_GIVE_FILE, WIRE_GIVE_REPLACE, 1, "link");
    struct source *dir = other(k, WIRE_GIVE_FILE, WIRE_GIVE_REPLACE, 1, "dir");
    struct source *made = other(k, WIRE_GIVE_DIR, WIRE_GIVE_PUT, 1, "m/n");
    struct source *gone = other(k, WIRE_GIVE_FILE, WIRE_GIVE_REMOVE, 1, "gone/with/all");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_EXISTS);
    CHECK_INT(b->result, WIRE_GIVEN_CREATED);
    CHECK_INT(link->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(dir->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(made->result, WIRE_GIVEN_CREATED);
    CHECK_INT(gone->result, WIRE_GIVEN_EXISTS);
    check_sh(k, "grep -qx mine files/a && [ $(cat files/x/y/b) = given ] && [ -d files/m/n ]");
    k->count = 0;
    s = other(k, WIRE_GIVE_FILE, WIRE_GIVE_REPLACE, 1, "a");
    b = other(k, WIRE_GIVE_FILE, WIRE_GIVE_REMOVE, 1, "x/y/b");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_CREATED);
    CHECK_INT(b->result, WIRE_GIVEN_CREATED);
    check_sh(k, "[ $(cat files/a) = given -a ! -e files/x/y/b ]");
    check_sh(k, "[ $(find files/.mailtwin -type f | wc -l) = 0 ]");
    kit_free(k);
}

TEST(a_file_comes_with_its_extended_attributes_and_no_others)
{
    struct kit *k = kit_new_on("32");
    KIT_NEEDED(k);
    cap_sh(k->c,
           "setfacl -d -m u:7:rwx files; echo mine >files/a; setfattr -n user.old -v 1 files/a;"
           "touch out/x; setfattr -n user.tag -v t out/x; setfattr -n trusted.x -v 1 out/x;"
           "setfacl -m u:9:r out/x");
    struct source *a = other(k, WIRE_GIVE_FILE, WIRE_GIVE_REPLACE, 1, "a");
    struct source *b = other(k, WIRE_GIVE_FILE, WIRE_GIVE_PUT, 1, "b");
    a->from = b->from = "x";
    give_all(k);
    CHECK_INT(a->result, WIRE_GIVEN_CREATED);
    CHECK_INT(b->result, WIRE_GIVEN_CREATED);
    for (int i = 0; i < 2; i++) {
        check_sh(k, i == 0 ? "cp -a files/a c" : "cp -a files/b c");
        check_sh(k, "[ $(getfattr --only-values -n user.tag c) = t ]");
        check_sh(k, "! getfattr -d -m - c | grep -q 'old\\|trusted'");
        check_sh(k, "getfacl -ncp c | grep -qx user:9:r-- && ! getfacl -ncp c | grep -q user:7");
    }
    kit_free(k);
}

static struct source *
back(struct kit *k, const char *path)
{
    return other(k, WIRE_GIVE_MESSAGE, WIRE_GIVE_REPLACE, 0, path);
}

TEST(a_message_that_was_overwritten_is_put_back_with_its_flags_and_never_made_a_second_time)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "cd mail/d/ada && echo encrypted >cur/1.M1:2,Sb && echo mine >cur/2.M2:2,FS && "
                 "echo encrypted >new/3.M3 && chown -R 5000:5001 .");
    struct source *all[] = { back(k, "d/ada/cur/1.M1:2,Sb"), back(k, "d/ada/cur/2.M2:2,S"),
                             back(k, "d/ada/new/3.M3"), back(k, "d/ada/cur/4.M4:2,S") };
    give_all(k);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        CHECK_INT(all[i]->result, WIRE_GIVEN_CREATED);
    check_sh(k, "cd mail/d/ada && [ $(find cur new -type f | wc -l) = 4 ] && "
                "[ $(cat cur/1.M1:2,Sb cur/2.M2:2,S new/3.M3 cur/4.M4:2,S) = "
                "givengivengivengiven ]");
    give_all(k);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        CHECK_INT(all[i]->result, WIRE_GIVEN_EXISTS);
    kit_free(k);
}

static struct source *
list(struct kit *k, enum wire_give_mode mode, const char *path, const char *bytes)
{
    struct source *s = other(k, WIRE_GIVE_FILE, mode, 0, path);
    s->bytes = bytes;
    return s;
}

TEST(a_list_that_was_encrypted_is_put_back_and_one_that_is_good_keeps_what_it_says)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c,
           "cd mail/d/ada && mkdir .A .B .C && echo encrypted >.A/dovecot-uidlist && "
           "touch -d @2000000000 .A/dovecot-keywords && echo '3 V7 N9' >.B/dovecot-uidlist && "
           "echo '3 V8 N1' >.C/dovecot-uidlist && chown -R 5000:5001 .");
    k->c->conf.uid_gap = 100;
    static const char good[] = "3 V7 N3\n1 :a\n2 :b\n";
    struct source *bad = list(k, WIRE_GIVE_PUT, "d/ada/.A/dovecot-uidlist", good);
    struct source *words = list(k, WIRE_GIVE_PUT, "d/ada/.A/dovecot-keywords", "0 Later\n");
    struct source *kept = list(k, WIRE_GIVE_PUT, "d/ada/.B/dovecot-uidlist", good);
    struct source *merged = list(k, WIRE_GIVE_REPLACE, "d/ada/.B/dovecot-uidlist", good);
    struct source *differs = list(k, WIRE_GIVE_REPLACE, "d/ada/.C/dovecot-uidlist", good);
    struct source *gone = list(k, WIRE_GIVE_PUT, "d/ada/.D/dovecot-uidlist", good);
    give_all(k);
    CHECK_INT(bad->result, WIRE_GIVEN_CREATED);
    CHECK_INT(words->result, WIRE_GIVEN_CREATED);
    CHECK_INT(kept->result, WIRE_GIVEN_EXISTS);
    CHECK_INT(merged->result, WIRE_GIVEN_CREATED);
    CHECK_INT(differs->result, WIRE_GIVEN_REFUSED);
    CHECK_CONTAINS(differs->text, "UIDVALIDITY 8");
    CHECK_INT(gone->result, WIRE_GIVEN_CREATED);
    check_sh(k, "cd mail/d/ada && printf '3 V7 N103\n1 :a\n2 :b\n' | cmp - .A/dovecot-uidlist");
    check_sh(k, "cd mail/d/ada && printf '3 V7 N9\n1 :a\n2 :b\n' | cmp - .B/dovecot-uidlist");
    check_sh(k, "cd mail/d/ada && printf '3 V7 N3\n1 :a\n2 :b\n' | cmp - .D/dovecot-uidlist");
    check_sh(k, "cd mail/d/ada && grep -qx '0 Later' .A/dovecot-keywords && "
                "[ $(stat -c %Y .A/dovecot-keywords) -gt 2000000000 ]"); /* read anew */
    check_sh(k, "[ $(stat -c %u:%g:%a mail/d/ada/.A/dovecot-uidlist) = 5000:5001:640 ]");
    check_sh(k, "[ $(find mail -name '*.lock' | wc -l) = 0 ]");
    kit_free(k);
}

TEST(messages_that_got_other_uids_meanwhile_keep_them_and_it_is_told)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "cd mail/d/ada && printf '3 V7 N9\n8 :a\n' >dovecot-uidlist");
    struct source *s = list(k, WIRE_GIVE_REPLACE, "d/ada/dovecot-uidlist", "3 V7 N3\n1 :a\n2 :b\n");
    for (int i = 0; i < 2; i++) {
        give_all(k);
        CHECK_INT(s->result, WIRE_GIVEN_REFUSED);
        CHECK_CONTAINS(s->text, "1 messages have got other UIDs");
        check_sh(k, "printf '3 V7 N9\n2 :b\n8 :a\n' | cmp - mail/d/ada/dovecot-uidlist");
    }
    kit_free(k);
}

TEST(a_list_that_the_mail_server_has_locked_is_left_alone)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "cd mail/d/ada && echo encrypted >dovecot-uidlist && "
                 "echo 1:elsewhere >dovecot-uidlist.lock");
    struct source *s = list(k, WIRE_GIVE_REPLACE, "d/ada/dovecot-uidlist", "3 V7 N3\n");
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_FAILED);
    check_sh(k, "grep -qx encrypted mail/d/ada/dovecot-uidlist");
    kit_free(k);
}

TEST(flags_and_an_expunge_reach_the_message_whatever_it_is_called_by_now)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "cd mail/d/ada && printf given >cur/1.M1:2,F && printf given >new/2.M2 && "
                 "printf other >cur/3.M3:2, && chown -R 5000:5001 .");
    struct source *flags = other(k, WIRE_GIVE_MESSAGE, WIRE_GIVE_FLAGS, 0, "d/ada/cur/1.M1:2,Sa");
    struct source *gone = other(k, WIRE_GIVE_MESSAGE, WIRE_GIVE_REMOVE, 0, "d/ada/cur/2.M2:2,S");
    struct source *differs = other(k, WIRE_GIVE_MESSAGE, WIRE_GIVE_REMOVE, 0, "d/ada/cur/3.M3:2,");
    struct source *none = other(k, WIRE_GIVE_MESSAGE, WIRE_GIVE_FLAGS, 0, "d/ada/cur/4.M4:2,S");
    struct source *nowhere = other(k, WIRE_GIVE_MESSAGE, WIRE_GIVE_FLAGS, 0, "d/x/cur/4.M4:2,S");
    flags->keywords = "0 Later\n";
    differs->bytes = "longer than it is";
    give_all(k);
    CHECK_INT(flags->result, WIRE_GIVEN_CREATED);
    CHECK_STR(flags->where, "d/ada/cur/1.M1:2,Sa");
    CHECK_INT(gone->result, WIRE_GIVEN_CREATED);
    CHECK_INT(differs->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(none->result, WIRE_GIVEN_REFUSED);
    CHECK_INT(nowhere->result, WIRE_GIVEN_REFUSED);
    check_sh(k, "cd mail/d/ada && [ -e cur/1.M1:2,Sa -a ! -e new/2.M2 -a -e cur/3.M3:2, ]");
    check_sh(k, "[ ! -e mail/d/x ]");
    kit_free(k);
}

TEST(a_giver_that_lies_reaches_nothing_outside_the_store)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    cap_sh(k->c, "ln -s ../../../out mail/d/ada/.Out; mkdir -p out/cur out/new out/tmp");
    static const struct {
        enum wire_give_kind kind;
        enum wire_give_mode mode;
        uint16_t store;
        const char *path;
    } lies[] = {
        { WIRE_GIVE_MESSAGE, WIRE_GIVE_DELIVER, 0, "d/ada/.Out/cur/1.M1" },
        { WIRE_GIVE_MESSAGE, WIRE_GIVE_DELIVER, 0, ".mailtwin/cur/1.M1" },
        { WIRE_GIVE_MESSAGE, WIRE_GIVE_DELIVER, 0, "d/ada/passwd" },
        { WIRE_GIVE_MESSAGE, WIRE_GIVE_DELIVER, 1, "d/ada/cur/1.M1" },
        { WIRE_GIVE_FILE, WIRE_GIVE_PUT, 0, "d/ada/cur/1.M1" },
        { WIRE_GIVE_FILE, WIRE_GIVE_PUT, 0, "d/ada/tmp/1.M1" },
        { WIRE_GIVE_FILE, WIRE_GIVE_PUT, 0, "d/ada/dovecot.index" },
        { WIRE_GIVE_FILE, WIRE_GIVE_REPLACE, 0, "d/ada/dovecot-uidlist" },
        { WIRE_GIVE_FILE, WIRE_GIVE_REPLACE, 0, "d/ada/cur/1.M1" },
        { WIRE_GIVE_FILE, WIRE_GIVE_REMOVE, 0, "d/ada/dovecot-uidlist" },
        { WIRE_GIVE_FILE, WIRE_GIVE_PUT, 1, ".mailtwin/state" },
        { WIRE_GIVE_FILE, WIRE_GIVE_PUT, 7, "a" },
        { WIRE_GIVE_DIR, WIRE_GIVE_PUT, 1, ".mailtwin" },
        { WIRE_GIVE_DIR, WIRE_GIVE_PUT, 0, "d/ada/.Out/x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(lies); i++)
        other(k, lies[i].kind, lies[i].mode, lies[i].store, lies[i].path);
    give_all(k);
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        if (k->sources[i].result != WIRE_GIVEN_REFUSED)
            fail_msg("%s: %d %s", lies[i].path, k->sources[i].result, k->sources[i].text);
    }
    check_sh(k, "[ $(find out mail files -type f | wc -l) = 0 ]");
    kit_free(k);
}

TEST(what_cannot_be_read_is_not_given_and_a_node_that_is_no_primary_takes_nothing)
{
    struct kit *k = kit_new();
    KIT_NEEDED(k);
    user(k);
    struct source *s = message(k, "d/ada/cur/1.M1:2,", "hello");
    s->lie = 1;
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_FAILED);
    s->lie = 0;
    k->live = false;
    give_all(k);
    CHECK_INT(s->result, WIRE_GIVEN_FAILED);
    CHECK_STR(s->text, "this node is not the primary");
    check_sh(k, "[ $(find mail -type f | wc -l) = 0 ]");
    kit_free(k);
}

TEST(ten_thousand_messages_of_one_folder_are_delivered_in_batches)
{
    enum {
        MANY = 10000
    };
    static char bytes[1001];
    memset(bytes, 'x', 1000);
    struct kit *k = kit_new_on("256");
    KIT_NEEDED(k);
    user(k);
    k->numbered = k->name;
    for (size_t i = 0; i < SOURCES; i++)
        message(k, k->name, bytes)->mark = "$Salvaged";
    k->count = MANY;
    uint64_t begun = capture_now_ms();
    give_all(k);
    print_message("%d messages: %llu ms\n", MANY, (unsigned long long)(capture_now_ms() - begun));
    CHECK_INT(k->created, MANY);
    check_sh(k, "[ $(ls mail/d/ada/cur | grep -c ':2,Sa$') = 10000 ]");
    kit_free(k);
}
