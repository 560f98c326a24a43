/* The samples of every format version in v1/ are read for ever: each decodes to what it says, and
 * encodes to the same bytes. They were written from docs/formats, not by this code. */
#include "tests/golden/record_sample.h"

#include "lib/data/wire.h"

#include <stdlib.h>

static const struct attr file_attr = { S_IFREG | 0600, OWNER, 1234, 1700000000123456789 };
static const struct attr no_attr;
static const uint8_t history[] = { 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                                   0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };
static const uint8_t digest[] = { 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                  0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f };

static void
check_epochs(const struct wire_epoch *epochs, unsigned count)
{
    static const struct wire_epoch expected[] = { { 1, 1 }, { 2, 700 }, { 5, 900 } };
    CHECK_INT(count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        CHECK_INT(epochs[i].epoch, expected[i].epoch);
        CHECK_INT(epochs[i].first_seq, expected[i].first_seq);
    }
}

static void
check_hello(const struct wire_msg *msg)
{
    const struct wire_hello *hello = &msg->hello;
    CHECK_INT(hello->version_min, 1);
    CHECK_INT(hello->version_max, 1);
    check_span(hello->cluster, "example");
    check_span(hello->node, "mx2.example.org");
    check_span(hello->follow, "mx1");
    CHECK_INT(hello->role, WIRE_ROLE_STANDBY);
    assert_memory_equal(hello->history, history, sizeof(history));
    CHECK_INT(hello->epoch, 5);
    CHECK_INT(hello->tail, 1200);
    CHECK_INT(hello->oldest, 1000);
    CHECK_INT(hello->sync_base, 1100);
    CHECK_INT(hello->accept_sync, 1);
    check_epochs(hello->epochs, hello->epoch_count);
    CHECK_INT(hello->store_count, 2);
    check_span(hello->stores[0].name, "mail");
    CHECK_INT(hello->stores[0].kind, 1);
    check_span(hello->stores[1].name, "sieve_1-x");
    CHECK_INT(hello->stores[1].kind, 2);
}

static void
check_hello_empty(const struct wire_msg *msg)
{
    static const uint8_t nothing[WIRE_HISTORY_SIZE];
    CHECK_INT(msg->hello.version_max, 3);
    check_span(msg->hello.follow, "");
    CHECK_INT(msg->hello.role, WIRE_ROLE_NONE);
    assert_memory_equal(msg->hello.history, nothing, sizeof(nothing));
    CHECK_INT(msg->hello.tail, 0);
    CHECK_INT(msg->hello.oldest, 1);
    CHECK_INT(msg->hello.accept_sync, 0);
    CHECK_INT(msg->hello.epoch_count, 0);
    CHECK_INT(msg->hello.store_count, 0);
}

static void
check_start(const struct wire_msg *msg)
{
    CHECK_INT(msg->start.mode, WIRE_MODE_SYNC);
    assert_memory_equal(msg->start.history, history, sizeof(history));
    CHECK_INT(msg->start.epoch, 5);
    CHECK_INT(msg->start.from, 1199);
    CHECK_INT(msg->start.sync_base, 1100);
    check_epochs(msg->start.epochs, msg->start.epoch_count);
}

static void
check_refuse(const struct wire_msg *msg)
{
    CHECK_INT(msg->refuse.code, WIRE_REFUSE_DIVERGED);
    CHECK_INT(msg->refuse.epoch, 5);
    CHECK_INT(msg->refuse.fork, 899);
    check_span(msg->refuse.node, "mx1");
    check_span(msg->refuse.text, "Your tail lies behind the fork \xe2\x80\x94 resync.");
}

static void
check_rec(const struct wire_msg *msg)
{
    static const struct attr now = { S_IFREG | 0640, 5000, 5002, 1300, 1700000000123456790 };
    static const struct record_sample expected = {
        .op = OP_PUT,
        .path = "example.org/ada/new/1.M1",
        .other = "",
        .attr = FILE_ATTR,
        .store = 2,
    };
    const struct wire_rec *rec = &msg->rec;
    check_record(&rec->record, &expected);
    CHECK_INT(rec->content, WIRE_CONTENT_DATA);
    check_attr(&rec->now, &now);
    CHECK_INT(rec->xattr_count, 3);
    check_span(rec->xattrs[0].name, "user.a");
    check_span(rec->xattrs[0].value, "");
    check_span(rec->xattrs[1].name, "user.b");
    CHECK(span_equal(rec->xattrs[1].value, span_of("\0\1", 2)));
    check_span(rec->xattrs[2].name, "user.b.c");
    check_span(rec->xattrs[2].value, "x");
}

static void
check_rec_plain(const struct wire_msg *msg, enum record_op op, enum wire_content content,
                const struct attr *now)
{
    CHECK_INT(msg->rec.record.op, op);
    CHECK_INT(msg->rec.record.handle.len, 0);
    CHECK_INT(msg->rec.content, content);
    check_attr(&msg->rec.now, now);
    CHECK_INT(msg->rec.xattr_count, 0);
}

static void
check_rec_rename(const struct wire_msg *msg)
{
    check_rec_plain(msg, OP_RENAME, WIRE_CONTENT_NONE, &file_attr);
    check_span(msg->rec.record.path, MAIL "S");
    check_span(msg->rec.record.other, MAIL);
}

static void
check_rec_delta(const struct wire_msg *msg)
{
    check_rec_plain(msg, OP_PUT, WIRE_CONTENT_DELTA, &file_attr);
}

static void
check_rec_gone(const struct wire_msg *msg)
{
    check_rec_plain(msg, OP_PUT, WIRE_CONTENT_GONE, &no_attr);
}

static void
check_data(const struct wire_msg *msg)
{
    CHECK_INT(msg->data.offset, 1LL << 33);
    CHECK(span_equal(msg->data.bytes, span_of("From: ada\r\n", 12)));
}

static void
check_end(const struct wire_msg *msg)
{
    CHECK_INT(msg->end.size, (1LL << 33) + 12);
    CHECK_INT(msg->end.crc, 0xcafe1234);
    CHECK_INT(msg->end.ok, 1);
}

static void
check_end_failed(const struct wire_msg *msg)
{
    CHECK_INT(msg->end.size, 0);
    CHECK_INT(msg->end.ok, 0);
}

static void
check_commit(const struct wire_msg *msg)
{
    CHECK_INT(msg->commit.run, 77);
    CHECK_INT(msg->commit.seq, 1198);
    CHECK_INT(msg->commit.time_ns, 1700000001000000000);
    CHECK_INT(msg->commit.tail, 1200);
}

static void
check_tail(const struct wire_msg *msg)
{
    CHECK_INT(msg->tail.seq, 1200);
    CHECK_INT(msg->tail.time_ns, 1700000001000000000);
}

static void
check_ack(const struct wire_msg *msg)
{
    CHECK_INT(msg->ack.run, 77);
    CHECK_INT(msg->ack.received_seq, 1198);
    CHECK_INT(msg->ack.durable_seq, 1190);
}

static void
check_digest_ask(const struct wire_msg *msg)
{
    const struct wire_digest_ask *ask = &msg->digest_ask;
    CHECK_INT(ask->id, 9);
    CHECK_INT(ask->store, 2);
    CHECK_INT(ask->flags, WIRE_DIGEST_CONTENT);
    CHECK_INT(ask->count, 2);
    CHECK_INT(ask->dirs[0].dir, 1);
    check_span(ask->dirs[0].path, "");
    assert_memory_equal(ask->dirs[0].digest, digest, sizeof(digest));
    CHECK_INT(ask->dirs[1].dir, 1LL << 40);
    check_span(ask->dirs[1].path, "example.org/ada/cur");
    assert_memory_equal(ask->dirs[1].digest, history, sizeof(history));
}

static void
check_entries(struct span entries)
{
    static const struct attr link_attr = { S_IFLNK | 0777, 0, 0, 3, 4 };
    struct reader in = reader_of(entries);
    struct wire_entry entry;
    CHECK_INT(wire_entry_next(&in, &entry, NULL), 1);
    check_span(entry.name, "1.M1");
    check_attr(&entry.attr, &file_attr);
    CHECK_INT(entry.ino, 1LL << 35);
    CHECK_INT(entry.nlink, 2);
    CHECK_INT(entry.has_hash, 0);
    CHECK_INT(wire_entry_next(&in, &entry, NULL), 1);
    check_span(entry.name, "1.M1\n");
    check_attr(&entry.attr, &link_attr);
    CHECK_INT(entry.ino, 12);
    CHECK_INT(entry.nlink, 1);
    CHECK_INT(entry.has_hash, 1);
    assert_memory_equal(entry.hash, digest, sizeof(digest));
    CHECK_INT(wire_entry_next(&in, &entry, NULL), 0);
}

static void
check_digest_answer(const struct wire_msg *msg)
{
    static const struct attr self = { S_IFDIR | 0700, OWNER, 4096, 17 };
    CHECK_INT(msg->digest_answer.id, 9);
    CHECK_INT(msg->digest_answer.dir, 1LL << 40);
    CHECK_INT(msg->digest_answer.verdict, WIRE_DIR_DIFFERENT);
    CHECK_INT(msg->digest_answer.more, 1);
    check_attr(&msg->digest_answer.self, &self);
    CHECK_INT(msg->digest_answer.entry_count, 2);
    check_entries(msg->digest_answer.entries);
}

static void
check_digest_answer_same(const struct wire_msg *msg)
{
    static const struct attr self = { .mode = S_IFDIR | 0755 };
    CHECK_INT(msg->digest_answer.id, 10);
    CHECK_INT(msg->digest_answer.dir, 1);
    CHECK_INT(msg->digest_answer.verdict, WIRE_DIR_SAME);
    CHECK_INT(msg->digest_answer.more, 0);
    check_attr(&msg->digest_answer.self, &self);
    CHECK_INT(msg->digest_answer.entry_count, 0);
    CHECK_INT(msg->digest_answer.entries.len, 0);
}

static void
check_sync_done(const struct wire_msg *msg)
{
    CHECK_INT(msg->sync_done.sync_base, 1100);
    CHECK_INT(msg->sync_done.differences, 3);
}

static void
check_sync_progress(const struct wire_msg *msg)
{
    CHECK_INT(msg->sync_progress.done, 8400);
    CHECK_INT(msg->sync_progress.total, 20000);
    CHECK_INT(msg->sync_progress.from, 1200);
    CHECK_INT(msg->sync_progress.directories, 7328);
    CHECK_INT(msg->sync_progress.spent_ms, 31500);
}

static void
check_sig_ask(const struct wire_msg *msg)
{
    CHECK_INT(msg->sig_ask.store, 1);
    check_span(msg->sig_ask.path, "box");
}

static void
check_sig(const struct wire_msg *msg)
{
    CHECK_INT(msg->sig.ok, 1);
    CHECK_INT(msg->sig.last, 1);
    check_span(msg->sig.bytes, "rs\0016");
}

static void
check_sig_none(const struct wire_msg *msg)
{
    CHECK_INT(msg->sig.ok, 0);
    CHECK_INT(msg->sig.last, 1);
    CHECK_INT(msg->sig.bytes.len, 0);
}

static void
check_need(const struct wire_msg *msg)
{
    CHECK_INT(msg->need.store, 2);
    CHECK_INT(msg->need.seq, 1150);
    CHECK_INT(msg->need.is_dir, 1);
    check_span(msg->need.path, "example.org/ada/cur/1.M1:2,");
}

static void
check_fetch(const struct wire_msg *msg)
{
    CHECK_INT(msg->fetch.store, 2);
    check_span(msg->fetch.path, "example.org/ada/new/2.M2");
}

static void
check_give(const struct wire_msg *msg)
{
    const struct wire_give *give = &msg->give;
    CHECK_INT(give->id, 77);
    CHECK_INT(give->store, 2);
    CHECK_INT(give->kind, WIRE_GIVE_MESSAGE);
    CHECK_INT(give->mode, WIRE_GIVE_DELIVER);
    CHECK_INT(give->attr.mode, 0100600);
    CHECK_INT(give->attr.size, 1234);
    CHECK_INT(give->attr.mtime_ns, 1700000000123456789);
    check_span(give->path, "example.org/ada/.Work/cur/1.M1,S=1234:2,Sa");
    check_span(give->guid, "9f86d081884c7d659a2feaa0c55ad015");
    CHECK_INT(give->keyword_count, 2);
    CHECK_INT(give->keywords[0].letter, 0);
    check_span(give->keywords[0].name, "$Salvaged");
    CHECK_INT(give->keywords[1].letter, 'a');
    check_span(give->keywords[1].name, "Later");
}

static void
check_give_dir(const struct wire_msg *msg)
{
    const struct wire_give *give = &msg->give;
    CHECK_INT(give->id, 78);
    CHECK_INT(give->store, 0);
    CHECK_INT(give->kind, WIRE_GIVE_DIR);
    CHECK_INT(give->mode, WIRE_GIVE_PUT);
    CHECK_INT(give->attr.mtime_ns, -1);
    check_span(give->path, "example.org/ada/.Work");
    check_span(give->guid, "");
    CHECK_INT(give->keyword_count, 0);
}

static void
check_give_file(const struct wire_msg *msg)
{
    const struct wire_give *give = &msg->give;
    CHECK_INT(give->id, 79);
    CHECK_INT(give->kind, WIRE_GIVE_FILE);
    CHECK_INT(give->mode, WIRE_GIVE_REPLACE);
    check_span(give->path, "ada/vacation.sieve");
    CHECK_INT(give->xattr_count, 2);
    check_span(give->xattrs[0].name, "user.author");
    check_span(give->xattrs[0].value, "ada");
    check_span(give->xattrs[1].name, "user.empty");
    check_span(give->xattrs[1].value, "");
}

static void
check_give_move(const struct wire_msg *msg)
{
    const struct wire_give *give = &msg->give;
    CHECK_INT(give->id, 80);
    CHECK_INT(give->kind, WIRE_GIVE_DIR);
    CHECK_INT(give->mode, WIRE_GIVE_MOVE);
    check_span(give->path, "example.org/ada/.Job");
    check_span(give->from, "example.org/ada/.Work");
    check_span(give->guid, "9f86d081884c7d659a2feaa0c55ad015");
}

static void
check_give_clear(const struct wire_msg *msg)
{
    const struct wire_give *give = &msg->give;
    CHECK_INT(give->id, 81);
    CHECK_INT(give->kind, WIRE_GIVE_DIR);
    CHECK_INT(give->mode, WIRE_GIVE_REMOVE);
    check_span(give->path, "example.org/ada/.Work");
    check_span(give->from, "");
    CHECK_INT(give->since, 1150);
}

static void
check_given(const struct wire_msg *msg)
{
    CHECK_INT(msg->given.id, 77);
    CHECK_INT(msg->given.result, WIRE_GIVEN_EXISTS);
    check_span(msg->given.path, "example.org/ada/.Work/cur/1.M1,S=1234:2,S");
    check_span(msg->given.text, "the mailbox has it");
}

static void
check_found(const struct wire_msg *msg)
{
    CHECK_INT(msg->found.epoch, 3);
    CHECK_INT(msg->found.time_s, 1700000000);
    CHECK_INT(msg->found.messages, 12);
    CHECK_INT(msg->found.flag_changes, 4);
    CHECK_INT(msg->found.expunges, 2);
    CHECK_INT(msg->found.others, 1);
}

static void
check_found_in(const struct wire_msg *msg)
{
    CHECK_INT(msg->found_in.store, 1);
    CHECK_INT(msg->found_in.further, 0);
    check_span(msg->found_in.user, "example.org/ada");
    check_span(msg->found_in.folder, "Work");
    CHECK_INT(msg->found_in.messages, 12);
    CHECK_INT(msg->found_in.flag_changes, 4);
    CHECK_INT(msg->found_in.expunges, 2);
    CHECK_INT(msg->found_in.others, 1);
}

static void
check_barrier(const struct wire_msg *msg)
{
    CHECK_INT(msg->barrier.id, 5);
}

static void
check_reached(const struct wire_msg *msg)
{
    CHECK_INT(msg->reached.id, 5);
    CHECK_INT(msg->reached.seq, 812734);
}

static void
check_stall(const struct wire_msg *msg)
{
    CHECK_INT(msg->stall.code, ERR_NOSPACE);
    check_span(msg->stall.text, "/srv/vmail is full");
}

static void
check_stall_over(const struct wire_msg *msg)
{
    CHECK_INT(msg->stall.code, ERR_NONE);
    check_span(msg->stall.text, "");
}

static void
check_ping(const struct wire_msg *msg)
{
    CHECK_INT(msg->ping.stamp_ns, 0x0102030405060708);
}

static void
check_bye(const struct wire_msg *msg)
{
    check_span(msg->bye.text, "the daemon stops");
}

static const struct {
    const char *name;
    enum wire_type type;
    void (*check)(const struct wire_msg *msg);
} message_samples[] = {
    { "hello", WIRE_HELLO, check_hello },
    { "hello-empty", WIRE_HELLO, check_hello_empty },
    { "start", WIRE_START, check_start },
    { "refuse", WIRE_REFUSE, check_refuse },
    { "rec", WIRE_REC, check_rec },
    { "rec-rename", WIRE_REC, check_rec_rename },
    { "rec-delta", WIRE_REC, check_rec_delta },
    { "rec-gone", WIRE_REC, check_rec_gone },
    { "data", WIRE_DATA, check_data },
    { "end", WIRE_END, check_end },
    { "end-failed", WIRE_END, check_end_failed },
    { "commit", WIRE_COMMIT, check_commit },
    { "tail", WIRE_TAIL, check_tail },
    { "ack", WIRE_ACK, check_ack },
    { "digest-ask", WIRE_DIGEST_ASK, check_digest_ask },
    { "digest-answer", WIRE_DIGEST_ANSWER, check_digest_answer },
    { "digest-answer-same", WIRE_DIGEST_ANSWER, check_digest_answer_same },
    { "sync-done", WIRE_SYNC_DONE, check_sync_done },
    { "sync-progress", WIRE_SYNC_PROGRESS, check_sync_progress },
    { "sig-ask", WIRE_SIG_ASK, check_sig_ask },
    { "sig", WIRE_SIG, check_sig },
    { "sig-none", WIRE_SIG, check_sig_none },
    { "need", WIRE_NEED, check_need },
    { "fetch", WIRE_FETCH, check_fetch },
    { "stall", WIRE_STALL, check_stall },
    { "stall-over", WIRE_STALL, check_stall_over },
    { "give", WIRE_GIVE, check_give },
    { "give-dir", WIRE_GIVE, check_give_dir },
    { "give-file", WIRE_GIVE, check_give_file },
    { "give-move", WIRE_GIVE, check_give_move },
    { "give-clear", WIRE_GIVE, check_give_clear },
    { "given", WIRE_GIVEN, check_given },
    { "found", WIRE_FOUND, check_found },
    { "found-in", WIRE_FOUND_IN, check_found_in },
    { "barrier", WIRE_BARRIER, check_barrier },
    { "reached", WIRE_REACHED, check_reached },
    { "ping", WIRE_PING, check_ping },
    { "pong", WIRE_PONG, check_ping },
    { "bye", WIRE_BYE, check_bye },
};

TEST(message_samples_decode_to_what_they_say_and_encode_to_the_same_bytes)
{
    static struct wire_msg msg;
    for (size_t i = 0; i < ARRAY_LEN(message_samples); i++) {
        _cleanup_buf_ struct buf bytes = { 0 };
        _cleanup_buf_ struct buf again = { 0 };
        struct frame frame;
        struct err e = { 0 };
        print_message("%s\n", message_samples[i].name);
        sample_load(message_samples[i].name, &bytes);
        CHECK_INT(frame_decode(buf_span(&bytes), &frame, &e), 1);
        CHECK_INT(frame.size, bytes.len);
        memset(&msg, 0xee, sizeof(msg)); /* what the decoder leaves out must show */
        CHECK_INT(wire_decode(&frame, &msg, &e), 0);
        CHECK_INT(msg.type, message_samples[i].type);
        message_samples[i].check(&msg);
        wire_encode(&msg, &again);
        CHECK(span_equal(buf_span(&again), buf_span(&bytes)));
    }
}

TEST(every_message_has_a_sample)
{
    bool seen[256] = { false };
    for (size_t i = 0; i < ARRAY_LEN(message_samples); i++)
        seen[message_samples[i].type] = true;
#define MSG(name, number, from, help) CHECK(seen[number]);
#include "lib/data/messages.def"
#undef MSG
}
