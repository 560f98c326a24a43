#include "tests/unit/test.h"

#include "lib/store/queue.h"
#include "lib/store/store.h"

#include <sys/stat.h>

static const struct store_rules rules = { .kind = STORE_QUEUE };

static const char *const parts[] = { "incoming", "active", "deferred", "hold",  "corrupt", "defer",
                                     "bounce",   "trace",  "flush",    "saved", "maildrop" };

static enum store_class
class_in(const struct store_rules *r, const char *dir, const char *name)
{
    return store_class_of(r, span_str(dir), span_str(name), false);
}

TEST(each_part_that_holds_accepted_mail_is_replicated)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        CHECK_INT(class_in(&rules, "", parts[i]), CLASS_NORMAL);
        CHECK_INT(class_in(&rules, parts[i], "4XxYz123"), CLASS_NORMAL);
        CHECK_INT(class_in(&rules, parts[i], "A"), CLASS_NORMAL); /* a hashed directory */
    }
    CHECK_INT(class_in(&rules, "deferred/A", "A1B2C3D4"), CLASS_NORMAL);
    CHECK_INT(class_in(&rules, "active", "pid"), CLASS_NORMAL);
}

TEST(what_belongs_to_one_host_is_left_out)
{
    static const char *const names[] = { "pid",    "private", "public",    "dev",     "etc",
                                         "lib",    "usr",     "restart",   "incomin", "incoming2",
                                         "Active", "",        ".mailtwin", "defer.d" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        CHECK_INT(class_in(&rules, "", names[i]), CLASS_IGNORE);
}

TEST(what_waits_under_a_private_name_is_followed)
{
    CHECK_INT(class_in(&rules, "", ".mailtwin-parked-0000000000001234"), CLASS_NORMAL);
    CHECK_INT(class_in(&rules, "", ".mailtwin-parked-1234"), CLASS_IGNORE);
}

TEST(patterns_leave_out_a_part_and_never_a_mail)
{
    static const char *const exclude[] = { "trace", "A*", NULL };
    const struct store_rules some = { .kind = STORE_QUEUE, .exclude = exclude };
    CHECK_INT(class_in(&some, "", "trace"), CLASS_IGNORE);
    CHECK_INT(class_in(&some, "", "bounce"), CLASS_NORMAL);
    CHECK_INT(class_in(&some, "active", "A1B2C3D4"), CLASS_NORMAL);
    CHECK_INT(class_in(&some, "deferred", "A"), CLASS_NORMAL);
}

TEST(a_file_counts_once_postfix_has_marked_it_complete)
{
    static const char *const dirs[] = { "incoming", "maildrop", "incoming/A", "incoming/A/B" };
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        struct span dir = span_str(dirs[i]);
        CHECK(store_is_unfinished(&rules, dir, S_IFREG | 0600));
        CHECK(store_is_unfinished(&rules, dir, S_IFREG | 0644));
        CHECK(store_is_unfinished(&rules, dir, S_IFREG | 0677));
        CHECK(!store_is_unfinished(&rules, dir, S_IFREG | 0700));
        CHECK(!store_is_unfinished(&rules, dir, S_IFREG | 0744));
        CHECK(!store_is_unfinished(&rules, dir, S_IFDIR | 0600));
        CHECK(!store_is_unfinished(&rules, dir, S_IFLNK | 0600));
        CHECK(store_may_be_unfinished(&rules, dir));
    }
}

TEST(logs_and_what_was_complete_once_count_whatever_their_mode)
{
    static const char *const dirs[] = { "",        "defer",      "bounce/A", "active",   "hold",
                                        "corrupt", "deferred/A", "flush",    "incoming2" };
    const struct store_rules files = { .kind = STORE_FILES };
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        CHECK(!store_is_unfinished(&rules, span_str(dirs[i]), S_IFREG | 0600));
        CHECK(!store_may_be_unfinished(&rules, span_str(dirs[i])));
    }
    CHECK(!store_is_unfinished(&files, span_str("incoming"), S_IFREG | 0600));
    CHECK(!store_may_be_unfinished(&files, span_str("incoming")));
}

TEST(the_directories_of_messages_are_told_from_those_of_logs)
{
    CHECK(queue_has_messages(span_str("incoming")) && queue_has_messages(span_str("active")));
    CHECK(queue_has_messages(span_str("deferred")) && queue_has_messages(span_str("hold")));
    CHECK(!queue_has_messages(span_str("maildrop")) && !queue_has_messages(span_str("defer")));
    CHECK(!queue_has_messages(span_str("pid")) && !queue_has_messages(span_str("")));
}

static bool
has_ino(const char *name, uint64_t expected)
{
    uint64_t ino = 0;
    return queue_name_ino(span_str(name), &ino) && ino == expected;
}

TEST(a_short_name_tells_its_inode)
{
    CHECK(has_ino("0A1B2C3D4", 0xC3D4));
    CHECK(has_ino("FFFFF1", 1));
    CHECK(has_ino("00000FFFFFFFFFFFFFFFF", UINT64_MAX));
    CHECK(!has_ino("0A1B2", 0)); /* nothing behind the time */
    CHECK(!has_ino("00000FFFFFFFFFFFFFFFFF", UINT64_MAX));
    CHECK(!has_ino("", 0));
}

TEST(a_long_name_does_not)
{
    uint64_t ino;
    CHECK(!queue_name_ino(span_str("4XyB1T2zvJz1Rf"), &ino));
    CHECK(!queue_name_ino(span_str("0a1b2c3d4"), &ino));
    CHECK(!queue_name_ino(span_str("0A1B2C3D4#"), &ino));
    CHECK(!queue_name_ino(span_str("0A1B2G3D4"), &ino));
    CHECK(!queue_name_ino(span_str("0A1B2.3D4"), &ino));
}
