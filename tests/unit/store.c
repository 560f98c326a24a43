#include "tests/unit/test.h"

#include "lib/base/path.h"
#include "lib/store/store.h"
#include "tests/unit/dies.h"

static const struct store_rules maildir = { .kind = STORE_MAILDIR };
static const struct store_rules files = { .kind = STORE_FILES };

static enum store_class
class_in(const struct store_rules *rules, const char *dir, const char *name)
{
    return store_class_of(rules, span_str(dir), span_str(name), false);
}

static void
check_class(const char *dir, const char *name, enum store_class expected)
{
    if (class_in(&maildir, dir, name) != expected)
        fail_msg("%s in \"%s\": class %d", name, dir, (int)class_in(&maildir, dir, name));
}

TEST(kinds_have_words)
{
    enum store_kind kind;
#define KIND(name, number, word, help)              \
    CHECK_STR(store_kind_word(STORE_##name), word); \
    CHECK(store_kind_parse(word, &kind));           \
    CHECK_INT(kind, STORE_##name);
#include "lib/base/kinds.def"
#undef KIND
    CHECK_STR(store_kind_word((enum store_kind)0), "?");
    CHECK_STR(store_kind_word((enum store_kind)100), "?");
    CHECK_STR(store_kind_word((enum store_kind)(STORE_DUMP + 1)), "?");
    CHECK(!store_kind_parse("maildirs", &kind));
    CHECK(!store_kind_parse("", &kind));
}

TEST(what_is_rebuilt_or_half_written_is_left_out)
{
    static const char *const names[] = {
        "dovecot.index",
        "dovecot.index.log",
        "dovecot.index.log.2",
        "dovecot.index.cache",
        "dovecot.index.tmp",
        "dovecot.list.index",
        "dovecot.mailbox.log",
        "dovecot.list.index.log",
        "dovecot.mailbox.log.2",
        "maildirsize",
        "dovecot-acl-list",
        "dovecot-uidlist.tmp",
        "dovecot-uidlist.lock",
        "subscriptions.lock",
        "x.lock",
        ".dovecot.lda-dupes.lock",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        check_class("example.org/ada", names[i], CLASS_IGNORE);
        check_class("", names[i], CLASS_IGNORE);
    }
}

TEST(what_carries_identity_is_kept)
{
    static const char *const names[] = {
        "subscriptions",
        "maildirfolder",
        "dovecot-uidvalidity",
        "dovecot-uidvalidity.5f0c",
        "dovecot-acl",
        "dovecot-attributes",
        ".dovecot.sieve",
        ".dovecot.lda-dupes",
        "dovecot-shared",
        "courierimapsubscribed",
        "dovecot.indexes",
        "dovecot-acl-lists",
        "maildirsizes",
        "dovecot-uidlist2",
        ".lock",
        "lock",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        check_class("example.org/ada", names[i], CLASS_NORMAL);
}

TEST(the_uidlist_goes_after_what_it_names)
{
    static const char *const names[] = { "dovecot-uidlist", "courierimapuiddb",
                                         "courierpop3dsizelist" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        check_class("example.org/ada/.Sent", names[i], CLASS_UIDLIST);
    check_class("ada", "dovecot-keywords", CLASS_KEYWORDS);
    check_class("ada/courierimapkeywords", ":list", CLASS_KEYWORDS);
    check_class("ada/courierimapkeywords", ".1.1700000000.M1", CLASS_KEYWORDS);
    check_class("ada", "courierimapkeywords", CLASS_NORMAL);
    check_class("example.org/new", "dovecot-uidlist", CLASS_UIDLIST); /* a user called new */
}

TEST(a_message_is_a_message_whatever_it_is_called)
{
    static const char *const excluded[] = { "*", NULL };
    static const struct store_rules rules = { STORE_MAILDIR, excluded };
    static const char *const names[] = { "1700000000.M1P2.lock", "1.lock",   ".mailtwin", "msg:2,",
                                         "0123456789abcdef",     "1.M1:2,S", "a.lock:2,S" };
    static const char *const dirs[] = { "cur", "new", "ada/cur", "ada/.Sent/new" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (size_t j = 0; j < ARRAY_LEN(dirs); j++) {
            check_class(dirs[j], names[i], CLASS_NORMAL);
            CHECK_INT(class_in(&rules, dirs[j], names[i]), CLASS_NORMAL);
        }
    }
}

TEST(a_user_called_new_cur_or_tmp_is_a_user)
{
    static const char *const homes[] = { "example.org/new", "example.org/cur", "example.org/tmp" };
    static const char *const kept[] = { "cur",
                                        "new",
                                        "tmp",
                                        ".Sent",
                                        "Maildir",
                                        "subscriptions",
                                        ".dovecot.sieve",
                                        "maildirfolder",
                                        "2020-archive" };
    static const char *const left_out[] = { "dovecot.index",       "dovecot.index.log",
                                            "maildirsize",         "dovecot-uidlist.lock",
                                            "dovecot-uidlist.tmp", ".dovecot.lda-dupes.lock" };
    for (size_t i = 0; i < ARRAY_LEN(homes); i++) {
        struct span home = span_str(homes[i]);
        bool tmp = store_dir_is_tmp(&maildir, path_name(home), true); /* beside the others */
        CHECK_INT(tmp, i == 2);
        for (size_t j = 0; j < ARRAY_LEN(kept); j++)
            CHECK_INT(store_class_of(&maildir, home, span_str(kept[j]), tmp), CLASS_NORMAL);
        for (size_t j = 0; j < ARRAY_LEN(left_out); j++)
            CHECK_INT(store_class_of(&maildir, home, span_str(left_out[j]), tmp), CLASS_IGNORE);
        CHECK_INT(store_class_of(&maildir, home, span_str("dovecot-uidlist"), tmp), CLASS_UIDLIST);
        CHECK(store_changes_in_place(&maildir, path_name(home), false));
    }
}

TEST(a_folder_whose_name_ends_in_lock_is_a_folder)
{
    check_class("example.org/ada", ".Keys.lock", CLASS_NORMAL);
    check_class("example.org/ada", ".dovecot.lock", CLASS_NORMAL);
}

TEST(what_is_in_a_tmp_is_nobody_s_yet)
{
    CHECK(store_dir_is_tmp(&maildir, span_str("tmp"), true));
    CHECK(!store_dir_is_tmp(&maildir, span_str("tmp"), false)); /* a user called tmp */
    CHECK(!store_dir_is_tmp(&maildir, span_str("tmp2"), true));
    CHECK(!store_dir_is_tmp(&files, span_str("tmp"), true));
    static const char *const deliveries[] = { "1700000000.M1P2.mx1", "1.M1", "1700000000_0.7.mx1" };
    for (size_t i = 0; i < ARRAY_LEN(deliveries); i++)
        CHECK_INT(store_class_of(&maildir, span_str("ada/tmp"), span_str(deliveries[i]), true),
                  CLASS_IGNORE);
    check_class("example.org/tmp", "subscriptions", CLASS_NORMAL);
}

TEST(our_own_folder_is_never_shipped)
{
    static const struct store_rules *const all[] = { &maildir, &files };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        CHECK_INT(class_in(all[i], "", ".mailtwin"), CLASS_IGNORE);
        CHECK_INT(class_in(all[i], ".mailtwin", "stage"), CLASS_IGNORE);
        CHECK_INT(class_in(all[i], ".mailtwin/stage", "1"), CLASS_IGNORE);
        CHECK_INT(class_in(all[i], "a", ".mailtwin"), CLASS_NORMAL);
        CHECK_INT(class_in(all[i], ".mailtwin2", "a"), CLASS_NORMAL);
        CHECK_INT(class_in(all[i], "", ".mailtwin2"), CLASS_NORMAL);
    }
}

TEST(a_tree_of_files_keeps_every_name)
{
    static const char *const names[] = { "x.lock", "dovecot.index", "dovecot-uidlist",
                                         "maildirsize", "dovecot-keywords" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        CHECK_INT(class_in(&files, "a", names[i]), CLASS_NORMAL);
    CHECK_INT(class_in(&files, "courierimapkeywords", ":list"), CLASS_NORMAL);
}

TEST(an_administrator_excludes_by_pattern)
{
    static const char *const patterns[] = { "*.svbin", "cache-?", NULL };
    static const struct store_rules both[] = { { STORE_MAILDIR, patterns },
                                               { STORE_FILES, patterns } };
    char longest[PATH_NAME_MAX + 1];
    memset(longest, 'x', PATH_NAME_MAX);
    memcpy(longest + PATH_NAME_MAX - 6, ".svbin", 7);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        CHECK_INT(class_in(&both[i], "ada", ".dovecot.svbin"), CLASS_IGNORE);
        CHECK_INT(class_in(&both[i], "ada", "\xff\n.svbin"), CLASS_IGNORE);
        CHECK_INT(class_in(&both[i], "ada", "cache-1"), CLASS_IGNORE);
        CHECK_INT(class_in(&both[i], "ada", longest), CLASS_IGNORE);
        CHECK_INT(class_in(&both[i], "ada", "cache-12"), CLASS_NORMAL);
    }
    CHECK_INT(class_in(&both[0], "ada/cur", "1.svbin"), CLASS_NORMAL);
    CHECK_INT(class_in(&both[1], "ada/cur", "1.svbin"), CLASS_IGNORE);
}

static void
class_of_no_name(void)
{
    static const char *const patterns[] = { "*", NULL };
    static const struct store_rules rules = { STORE_FILES, patterns };
    static const char name[PATH_NAME_MAX + 1];
    (void)store_class_of(&rules, span_str(""), span_of(name, sizeof(name)), false);
}

TEST(a_name_that_cannot_be_is_a_bug)
{
    CHECK(dies(class_of_no_name));
}

TEST(a_directory_s_times_tell_all_only_of_cur_and_new)
{
    CHECK(!store_changes_in_place(&maildir, span_str("cur"), true));
    CHECK(!store_changes_in_place(&maildir, span_str("new"), true));
    CHECK(store_changes_in_place(&maildir, span_str("ada"), true));
    CHECK(store_changes_in_place(&maildir, span_str("tmp"), true));
    CHECK(store_changes_in_place(&maildir, span_str(""), true));
    CHECK(store_changes_in_place(&files, span_str("cur"), true));
    CHECK(store_tells_kinds(&maildir, span_str("cur")) &&
          !store_tells_kinds(&files, span_str("cur")));
}

TEST(what_a_spool_is_being_given_does_not_count_yet)
{
    static const struct store_rules ldap = { .kind = STORE_LDAP }, dump = { .kind = STORE_DUMP };
    CHECK_INT(class_in(&ldap, "3f", ".tmp-1"), CLASS_IGNORE);
    CHECK_INT(class_in(&dump, "", ".tmp-1"), CLASS_IGNORE);
    CHECK_INT(class_in(&dump, "", ".tmp"), CLASS_NORMAL);
    CHECK_INT(class_in(&ldap, "3f", "3f.entry"), CLASS_NORMAL);
    CHECK_INT(class_in(&files, "", ".tmp-1"), CLASS_NORMAL);
}
