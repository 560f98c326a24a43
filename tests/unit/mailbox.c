#include "tests/unit/test.h"

#include "lib/store/mailbox.h"

static void
check_place(const char *users, const char *path, const char *user, const char *folder)
{
    struct mailbox m;
    mailbox_of(users, span_str(path), &m);
    if (!span_equal(m.user, span_str(user)) || !span_equal(m.folder, span_str(folder)))
        fail_msg("%s: user \"%.*s\", folder \"%.*s\"", path, (int)m.user.len,
                 (const char *)m.user.ptr, (int)m.folder.len, (const char *)m.folder.ptr);
}

TEST(a_user_and_a_folder_are_told_by_the_configured_depth)
{
    check_place("*", "ada/cur/1.a.h:2,S", "ada", "");
    check_place("*", "ada/.Sent.2024/new/1.a.h", "ada", "Sent.2024");
    check_place("*/*", "example.org/ada/Maildir/cur/1.a.h", "example.org/ada", "");
    check_place("*/*", "example.org/ada/Maildir/.Sent/cur/1.a.h", "example.org/ada", "Sent");
    check_place("*/*", "example.org/ada/Maildir/Sent/2024/cur/1.a.h", "example.org/ada",
                "Sent/2024");
    check_place("*/*", "example.org/ada/dovecot-uidlist", "example.org/ada", "");
    check_place("*/*", "example.org/ada/.Sent/dovecot-uidlist", "example.org/ada", "Sent");
    check_place("*/*", "example.org/aliases", "", "example.org");
    check_place("*/*/*", "a/b/cur/1.a.h", "", "a/b");
    check_place("*", "file", "", "");
}

TEST(a_user_and_a_folder_are_guessed_where_nothing_is_configured)
{
    check_place("", "ada/cur/1.a.h:2,S", "ada", "");
    check_place("", "ada/.Sent/cur/1.a.h:2,S", "ada", "Sent");
    check_place("", "example.org/ada/new/1.a.h", "example.org/ada", "");
    check_place("", "example.org/ada/Maildir/.A.B/new/1.a.h", "example.org/ada", "A.B");
    check_place("", "example.org/ada/mail/A/B/cur/1.a.h", "example.org/ada", "A/B");
    check_place("", "mail/cur/1.a.h", "mail", ""); /* a user called so */
    check_place("", ".hidden/cur/1.a.h", ".hidden", "");
    check_place("", "cur/1.a.h", "", ""); /* the store is one mailbox */
    check_place("", "x", "", "");
}

static enum mailbox_kind
kind_of(const char *path)
{
    struct mailbox m;
    mailbox_of("", span_str(path), &m);
    return m.kind;
}

TEST(messages_deliveries_and_control_files_are_kept_apart)
{
    CHECK_INT(kind_of("ada/cur/1.a.h:2,S"), MAILBOX_MESSAGE);
    CHECK_INT(kind_of("ada/new/1.a.h"), MAILBOX_MESSAGE);
    CHECK_INT(kind_of("ada/tmp/1.a.h"), MAILBOX_DELIVERY);
    CHECK_INT(kind_of("ada/tmp/notes"), MAILBOX_OTHER);
    CHECK_INT(kind_of("ada/dovecot-uidlist"), MAILBOX_CONTROL);
    CHECK_INT(kind_of("ada/.Sent/courierimapuiddb"), MAILBOX_CONTROL);
    CHECK_INT(kind_of("ada/subscriptions"), MAILBOX_CONTROL);
    CHECK_INT(kind_of("cur/dovecot-uidlist"), MAILBOX_CONTROL); /* a user called cur */
    CHECK_INT(kind_of("ada/sieve"), MAILBOX_OTHER);
}

TEST(a_message_has_base_name_and_flags)
{
    struct mailbox m;
    mailbox_of("", span_str("ada/.Sent/cur/1.a.h,S=3,W=4:2,FSab"), &m);
    CHECK(span_equal(m.base, span_str("1.a.h,S=3,W=4")));
    CHECK(span_equal(m.flags, span_str("FSab")));
    CHECK(span_equal(m.dir, span_str("ada/.Sent")));
    CHECK(span_equal(m.home, span_str("ada")));
    CHECK(!m.is_new);
    mailbox_of("", span_str("ada/new/1.a.h"), &m);
    CHECK(span_equal(m.base, span_str("1.a.h")) && m.flags.len == 0 && m.is_new);
    mailbox_of("", span_str("ada/dovecot-uidlist"), &m);
    CHECK(span_equal(m.base, span_str("dovecot-uidlist")));
}
