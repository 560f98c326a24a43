/* What a diverged tail amounts to, record by record. */
#include "replicator/salvage_set.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <sys/stat.h>

static char told[2000];
static const struct store_rules mail = { .kind = STORE_MAILDIR };

static void
tell(void *arg, const struct salvage_change *change)
{
    (void)arg;
    enum salvage_kind kind = salvage_kind_of(&mail, "", change);
    size_t len = strlen(told);
    if (kind != 0)
        snprintf(told + len, sizeof(told) - len, "%s %.*s<%.*s\n", salvage_kind_word(kind),
                 (int)change->path.len, (const char *)change->path.ptr, (int)change->from.len,
                 (const char *)change->from.ptr);
}

struct step {
    enum record_op op;
    const char *path, *other;
    uint32_t type;
};

static void
check(const struct step *steps, size_t count, const char *expected)
{
    struct salvage_set *set = salvage_set_new();
    for (size_t i = 0; i < count; i++) {
        struct record r = { .op = steps[i].op, .path = span_str(steps[i].path) };
        r.other = span_str(steps[i].other == NULL ? "" : steps[i].other);
        r.attr.mode = steps[i].type == 0 ? S_IFREG : steps[i].type;
        salvage_set_add(set, &r);
    }
    told[0] = '\0';
    salvage_set_each(set, tell, NULL);
    CHECK_STR(told, expected);
    salvage_set_free(&set);
}

#define CHECK_STEPS(expected, ...)                          \
    do {                                                    \
        static const struct step steps[] = { __VA_ARGS__ }; \
        check(steps, ARRAY_LEN(steps), expected);           \
    } while (0)

TEST(mail_that_came_is_kept_under_the_name_it_has_at_the_end)
{
    CHECK_STEPS("message a/cur/1.M1:2,S<\n", { OP_PUT, "a/new/1.M1", NULL, 0 },
                { OP_RENAME, "a/cur/1.M1:2,", "a/new/1.M1", 0 },
                { OP_RENAME, "a/cur/1.M1:2,S", "a/cur/1.M1:2,", 0 });
    CHECK_STEPS("copy a/.B/cur/2.M2:2,<\n", { OP_LINK, "a/.B/cur/2.M2:2,", "a/cur/1.M1:2,", 0 });
}

TEST(a_copy_is_told_apart_from_a_move_that_is_a_link_and_an_unlink)
{
    CHECK_STEPS("rename a/.B/cur/2.M2:2,<a/cur/2.M2:2,\n",
                { OP_LINK, "a/.B/cur/2.M2:2,", "a/cur/2.M2:2,", 0 },
                { OP_RENAME, "a/cur/2.M2:2,T", "a/cur/2.M2:2,", 0 },
                { OP_UNLINK, "a/cur/2.M2:2,T", NULL, 0 });
    CHECK_STEPS("message a/.B/cur/2.M2:2,<\n", { OP_PUT, "a/cur/2.M2:2,", NULL, 0 },
                { OP_LINK, "a/.B/cur/2.M2:2,", "a/cur/2.M2:2,", 0 },
                { OP_UNLINK, "a/cur/2.M2:2,", NULL, 0 });
}

TEST(mail_that_came_and_went_is_nothing)
{
    CHECK_STEPS("", { OP_PUT, "a/new/1.M1", NULL, 0 }, { OP_UNLINK, "a/new/1.M1", NULL, 0 });
    CHECK_STEPS("", { OP_MKDIR, "a/.B", NULL, S_IFDIR }, { OP_PUT, "a/.B/cur/1.M1", NULL, 0 },
                { OP_RMTREE, "a/.B", NULL, S_IFDIR });
}

TEST(flags_and_expunges_are_told_by_the_name_before)
{
    CHECK_STEPS("flags a/cur/1.M1:2,FS<a/new/1.M1\n",
                { OP_RENAME, "a/cur/1.M1:2,F", "a/new/1.M1", 0 },
                { OP_RENAME, "a/cur/1.M1:2,FS", "a/cur/1.M1:2,F", 0 });
    CHECK_STEPS("", { OP_RENAME, "a/cur/1.M1:2,F", "a/cur/1.M1:2,", 0 },
                { OP_RENAME, "a/cur/1.M1:2,", "a/cur/1.M1:2,F", 0 });
    CHECK_STEPS("", { OP_RENAME, "a/cur/1.M1:2,", "a/new/1.M1", 0 });
    CHECK_STEPS("expunge <a/cur/1.M1:2,\n", { OP_RENAME, "a/cur/1.M1:2,T", "a/cur/1.M1:2,", 0 },
                { OP_UNLINK, "a/cur/1.M1:2,T", NULL, 0 });
    CHECK_STEPS("rename a/.B/cur/1.M1:2,<a/cur/1.M1:2,\n",
                { OP_RENAME, "a/.B/cur/1.M1:2,", "a/cur/1.M1:2,", 0 });
}

TEST(a_folder_takes_what_is_in_it_along)
{
    CHECK_STEPS("message a/.C/cur/1.M1<\nrename a/.C<a/.B\n", { OP_PUT, "a/.B/cur/1.M1", NULL, 0 },
                { OP_RENAME, "a/.C", "a/.B", S_IFDIR });
    CHECK_STEPS("folder a/.C<\nmessage a/.C/cur/1.M1<\n", { OP_MKDIR, "a/.B", NULL, S_IFDIR },
                { OP_MKDIR, "a/.B/cur", NULL, S_IFDIR }, { OP_PUT, "a/.B/maildirfolder", NULL, 0 },
                { OP_PUT, "a/.B/cur/1.M1", NULL, 0 }, { OP_RENAME, "a/.C", "a/.B", S_IFDIR });
    CHECK_STEPS("removal <a/.B\n", { OP_RENAME, "a/.C", "a/.B", S_IFDIR },
                { OP_RMTREE, "a/.C", NULL, S_IFDIR });
    CHECK_STEPS("expunge <a/cur/1.M1\nremoval <a/.B\n",
                { OP_RENAME, "a/.B/cur/1.M1", "a/cur/1.M1", 0 },
                { OP_RMTREE, "a/.B", NULL, S_IFDIR });
}

TEST(a_folder_that_dovecot_deletes_is_told_by_the_name_that_its_user_knew)
{
    CHECK_STEPS("removal <a/.B\nexpunge <a/.B/cur/1.M1\n",
                { OP_RENAME, "a/..DOVECOT-TRASHED", "a/.B", S_IFDIR },
                { OP_UNLINK, "a/..DOVECOT-TRASHED/cur/1.M1", NULL, 0 },
                { OP_RMTREE, "a/..DOVECOT-TRASHED", NULL, S_IFDIR });
    CHECK_STEPS("removal <a/.B\nexpunge <a/.B/cur/1.M1\n", /* a crash came in between */
                { OP_RENAME, "a/..DOVECOT-TRASHED", "a/.B", S_IFDIR },
                { OP_UNLINK, "a/..DOVECOT-TRASHED/cur/1.M1", NULL, 0 });
}

TEST(what_is_replaced_is_told_once_and_what_the_server_keeps_not_at_all)
{
    CHECK_STEPS("file a/subscriptions<\n", { OP_UNLINK, "a/subscriptions", NULL, 0 },
                { OP_PUT, "a/subscriptions", NULL, 0 });
    CHECK_STEPS("file a/subscriptions<\n", { OP_PUT, "a/x", NULL, 0 },
                { OP_RENAME, "a/subscriptions", "a/x", 0 });
    CHECK_STEPS("", { OP_PUT, "a/dovecot-uidlist", NULL, 0 },
                { OP_PUT, "a/dovecot-keywords", NULL, 0 },
                { OP_PUT, "a/dovecot-uidvalidity", NULL, 0 }, { OP_PUT, "a/tmp/1.M1", NULL, 0 },
                { OP_UNLINK, "a/dovecot-uidvalidity.1", NULL, 0 }, { OP_META, "a/b", NULL, 0 });
    CHECK_STEPS("other a/link<\n", { OP_SYMLINK, "a/link", "to", S_IFLNK });
}
