#include "tests/unit/wire_kit.h"

#include "lib/base/path.h"
#include "tests/unit/dies.h"

#include <sys/stat.h>

TEST(a_question_names_directories)
{
    make(WIRE_DIGEST_ASK);
    msg.digest_ask.flags = 2;
    check_refused("malformed DIGEST_ASK: flags is 2, allowed are 0 to 1");
    make(WIRE_DIGEST_ASK);
    msg.digest_ask.count = 0;
    check_refused("malformed DIGEST_ASK: the number of directories is 0, allowed are 1 to 512");
    make(WIRE_DIGEST_ASK);
    msg.digest_ask.store = WIRE_STORES_MAX;
    check_refused("malformed DIGEST_ASK: store is 64, allowed are 0 to 63");
    make(WIRE_DIGEST_ASK);
    msg.digest_ask.dirs[1].path = span_str("/etc");
    check_refused("malformed DIGEST_ASK: path is not a store path");
}

TEST(a_question_is_not_longer_than_its_limits)
{
    static char longest[PATH_STORE_MAX];
    for (size_t i = 0; i < sizeof(longest); i++)
        longest[i] = i % 128 == 127 ? '/' : 'x';
    longest[sizeof(longest) - 1] = 'x';
    make(WIRE_DIGEST_ASK);
    msg.digest_ask.count = WIRE_DIRS_MAX;
    check_accepted();
    for (size_t i = 0; i < 24; i++)
        msg.digest_ask.dirs[i].path = span_of(longest, sizeof(longest));
    check_accepted();
    msg.digest_ask.dirs[24].path = span_str("a");
    check_refused("malformed DIGEST_ASK: the size of all paths is 393217, "
                  "allowed are 0 to 393216");
    _cleanup_buf_ struct buf body = { 0 };
    make(WIRE_DIGEST_ASK);
    msg.digest_ask.count = WIRE_DIRS_MAX;
    put_body(&body);
    put_le16(body.ptr + 7, WIRE_DIRS_MAX + 1);
    for (size_t i = 0; i < 26; i++)
        buf_add_u8(&body, 0);
    struct err e;
    CHECK_INT(decode(WIRE_DIGEST_ASK, buf_span(&body), &e), -1);
    CHECK_STR(e.text,
              "malformed DIGEST_ASK: the number of directories is 513, allowed are 1 to 512");
}

TEST(an_answer_has_entries_only_where_directories_differ)
{
    static const uint8_t verdicts[] = { WIRE_DIR_SAME, WIRE_DIR_ABSENT, WIRE_DIR_FAILED };
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++) {
        make(WIRE_DIGEST_ANSWER);
        msg.digest_answer.verdict = verdicts[i];
        _cleanup_buf_ struct buf body = { 0 };
        put_body(&body);
        struct err e;
        CHECK_INT(decode(WIRE_DIGEST_ANSWER, buf_span(&body), &e), -1);
        CHECK_CONTAINS(e.text, "malformed DIGEST_ANSWER: entries with verdict ");
        msg.digest_answer.entries.len = 0;
        msg.digest_answer.entry_count = 0;
        check_accepted();
        msg.digest_answer.more = 1;
        buf_reset(&body);
        put_body(&body);
        CHECK_INT(decode(WIRE_DIGEST_ANSWER, buf_span(&body), NULL), -1);
    }
    make(WIRE_DIGEST_ANSWER);
    msg.digest_answer.more = 1;
    check_accepted();
}

TEST(an_answer_checks_its_fields)
{
    make(WIRE_DIGEST_ANSWER);
    msg.digest_answer.verdict = 5;
    check_refused("malformed DIGEST_ANSWER: verdict is 5, allowed are 1 to 4");
    make(WIRE_DIGEST_ANSWER);
    msg.digest_answer.verdict = 0;
    check_refused("malformed DIGEST_ANSWER: verdict is 0, allowed are 1 to 4");
    make(WIRE_DIGEST_ANSWER);
    msg.digest_answer.more = 2;
    check_refused("malformed DIGEST_ANSWER: more is 2, allowed are 0 to 1");
    make(WIRE_DIGEST_ANSWER);
    msg.digest_answer.self.mode = S_IFCHR;
    check_refused("malformed DIGEST_ANSWER: self has mode 020000, which no store holds");
    make(WIRE_DIGEST_ANSWER);
    msg.digest_answer.entry_count = 4;
    check_refused("malformed DIGEST_ANSWER: 3 entries, announced were 4");
    static uint8_t many[WIRE_BULK_MAX + 1];
    msg.digest_answer.entries = span_of(many, sizeof(many));
    check_refused("malformed DIGEST_ANSWER: the size of entries is 393217, "
                  "allowed are 0 to 393216");
}

/* An answer with two entries of which the second is the given one, byte by byte. */
static void
check_entry_refused(const char *name, uint32_t mode, uint8_t has_hash, const char *text)
{
    struct wire_entry first = { .name = span_str("b") };
    struct attr attr = { .mode = mode };
    make(WIRE_DIGEST_ANSWER);
    buf_reset(&entries);
    wire_entry_add(&entries, &first);
    wire_put_span8(&entries, span_str(name));
    attr_encode(&attr, &entries);
    buf_add_le64(&entries, 0);
    buf_add_le32(&entries, 0);
    buf_add_u8(&entries, has_hash);
    msg.digest_answer.entries = buf_span(&entries);
    msg.digest_answer.entry_count = 2;
    check_refused(text);
}

TEST(entries_are_names_of_what_a_store_holds_in_their_order)
{
    check_entry_refused("a", 0, 0,
                        "malformed DIGEST_ANSWER: the entries are not in the order of their names");
    check_entry_refused("b", 0, 0,
                        "malformed DIGEST_ANSWER: the entries are not in the order of their names");
    check_entry_refused("c/d", 0, 0, "malformed DIGEST_ANSWER: an entry's name is malformed");
    check_entry_refused("..", 0, 0, "malformed DIGEST_ANSWER: an entry's name is malformed");
    check_entry_refused("", 0, 0, "malformed DIGEST_ANSWER: an entry's name is malformed");
    check_entry_refused("c", S_IFBLK, 0,
                        "malformed DIGEST_ANSWER: an entry has mode 060000, which no store holds");
    check_entry_refused("c", 0, 2, "malformed DIGEST_ANSWER: has_hash is 2, allowed are 0 to 1");
    check_entry_refused("c", 0, 1, "malformed DIGEST_ANSWER: an entry ends too early");
}

TEST(a_signature_has_bytes_only_where_there_is_a_file)
{
    static char bytes[WIRE_DATA_MAX + 1];
    make(WIRE_SIG);
    msg.sig.ok = 0;
    check_refused("malformed SIG: the number of bytes is 3, allowed are 0 to 0");
    msg.sig.bytes.len = 0;
    check_accepted();
    make(WIRE_SIG);
    msg.sig.ok = 2;
    check_refused("malformed SIG: ok is 2, allowed are 0 to 1");
    make(WIRE_SIG);
    msg.sig.last = 2;
    check_refused("malformed SIG: last is 2, allowed are 0 to 1");
    make(WIRE_SIG);
    msg.sig.bytes = span_of(bytes, WIRE_DATA_MAX);
    check_accepted();
    msg.sig.bytes.len++;
    check_refused("malformed SIG: the number of bytes is 262145, allowed are 0 to 262144");
}

TEST(how_far_a_sync_is_never_says_more_than_all)
{
    make(WIRE_SYNC_PROGRESS);
    msg.sync_progress = (struct wire_sync_progress){ .total = 1 };
    check_accepted();
    msg.sync_progress.total = 0;
    check_refused("malformed SYNC_PROGRESS: total is 0, allowed are 1 to 9223372036854775807");
    msg.sync_progress = (struct wire_sync_progress){ INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
                                                     INT64_MAX };
    check_accepted();
    msg.sync_progress.total++;
    check_refused("malformed SYNC_PROGRESS: total is 9223372036854775808, allowed are 1 to "
                  "9223372036854775807");
    make(WIRE_SYNC_PROGRESS);
    msg.sync_progress.done = 21;
    check_refused("malformed SYNC_PROGRESS: done is 21, allowed are 0 to 20");
    make(WIRE_SYNC_PROGRESS);
    msg.sync_progress.from = 21;
    check_refused("malformed SYNC_PROGRESS: from is 21, allowed are 0 to 20");
    make(WIRE_SYNC_PROGRESS);
    msg.sync_progress.directories = 1ull << 63;
    check_refused("malformed SYNC_PROGRESS: directories is 9223372036854775808, allowed are 0 to "
                  "9223372036854775807");
    make(WIRE_SYNC_PROGRESS);
    msg.sync_progress.spent_ms = 1ull << 63;
    check_refused("malformed SYNC_PROGRESS: spent_ms is 9223372036854775808, allowed are 0 to "
                  "9223372036854775807");
}

TEST(what_names_a_place_names_one_inside_a_store)
{
    make(WIRE_SIG_ASK);
    msg.sig_ask.path = span_str("a/../b");
    check_refused("malformed SIG_ASK: path is not a store path");
    msg.sig_ask.path = span_str("");
    check_refused("malformed SIG_ASK: path is the store's root");
    make(WIRE_FETCH);
    msg.fetch.path = span_str("");
    check_refused("malformed FETCH: path is the store's root");
    make(WIRE_NEED);
    msg.need.path = span_str("");
    check_accepted();
    msg.need.store = 64;
    check_refused("malformed NEED: store is 64, allowed are 0 to 63");
    make(WIRE_NEED);
    msg.need.path = span_str("/");
    check_refused("malformed NEED: path is not a store path");
    make(WIRE_NEED);
    msg.need.is_dir = 2;
    check_refused("malformed NEED: is_dir is 2, allowed are 0 to 1");
    make(WIRE_FETCH);
    msg.fetch.path = span_str("a//b");
    check_refused("malformed FETCH: path is not a store path");
}

static void
add_no_entry(void)
{
    struct buf out = { 0 };
    struct wire_entry entry = { .name = span_str("..") };
    wire_entry_add(&out, &entry);
}

TEST(an_entry_that_cannot_be_is_a_bug)
{
    CHECK(dies(add_no_entry));
}
