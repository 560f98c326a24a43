/* The samples of every format version in v1/ are read for ever: each decodes to what it says, and
 * encodes to the same bytes. They were written from docs/formats, not by this code. */
#include "tests/golden/sample.h"

#include "lib/data/wire.h"

#include <stdlib.h>
#include <sys/stat.h>

#define OWNER 5000, 5001
#define MAIL  "example.org/ada/cur/1700000000.M1P2.mx1,S=1234:2,"

static const struct attr file_attr = { S_IFREG | 0600, OWNER, 1234, 1700000000123456789 };
static const struct attr no_attr;
static const uint8_t history[] = { 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                                   0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };
static const uint8_t digest[] = { 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                  0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f };

static void
check_span(struct span got, const char *expected)
{
    CHECK(span_equal(got, span_str(expected)));
}

static void
check_attr(const struct attr *got, const struct attr *expected)
{
    CHECK_INT(got->mode, expected->mode);
    CHECK_INT(got->uid, expected->uid);
    CHECK_INT(got->gid, expected->gid);
    CHECK_INT(got->size, expected->size);
    CHECK_INT(got->mtime_ns, expected->mtime_ns);
}

/* Records. */

struct record_sample {
    const char *name;
    const char *path, *other;
    struct attr attr;
    enum record_op op;
    uint16_t store;
    bool late, has_handle;
};

#define FILE_ATTR                                        \
    {                                                    \
        S_IFREG | 0600, OWNER, 1234, 1700000000123456789 \
    }

/* In store 2, but for the promotion. */
static const struct record_sample record_samples[] = {
    { .name = "record-epoch", .op = OP_EPOCH, .path = "", .other = "" },
    { .name = "record-mkdir",
      .op = OP_MKDIR,
      .path = "example.org/ada/.Keys.lock",
      .other = "",
      .attr = { S_IFDIR | 0700, OWNER, 4096, 1700000000000000001 },
      .store = 2,
      .has_handle = true },
    { .name = "record-put",
      .op = OP_PUT,
      .path = "example.org/ada/new/\xff\n1.M1",
      .other = "",
      .attr = FILE_ATTR,
      .store = 2,
      .has_handle = true },
    { .name = "record-put-late",
      .op = OP_PUT,
      .path = "example.org/ada/dovecot-uidlist",
      .other = "",
      .attr = FILE_ATTR,
      .store = 2,
      .late = true,
      .has_handle = true },
    { .name = "record-meta",
      .op = OP_META,
      .path = "",
      .other = "",
      .attr = { S_IFDIR | 02750, OWNER, 0, -1500000000 },
      .store = 2,
      .has_handle = true },
    { .name = "record-symlink",
      .op = OP_SYMLINK,
      .path = "shared",
      .other = "../other//place",
      .attr = { S_IFLNK | 0777, 0, 0, 15, 1 },
      .store = 2 },
    { .name = "record-mknod",
      .op = OP_MKNOD,
      .path = "queue/pickup",
      .other = "",
      .attr = { S_IFIFO | 0622, 0, 103, 0, 2 },
      .store = 2 },
    { .name = "record-link",
      .op = OP_LINK,
      .path = "example.org/bob/new/1.M1",
      .other = "example.org/ada/new/1.M1",
      .attr = FILE_ATTR,
      .store = 2,
      .has_handle = true },
    { .name = "record-rename",
      .op = OP_RENAME,
      .path = MAIL "S",
      .other = MAIL,
      .attr = FILE_ATTR,
      .store = 2,
      .has_handle = true },
    { .name = "record-unlink",
      .op = OP_UNLINK,
      .path = MAIL "S",
      .other = "",
      .attr = FILE_ATTR,
      .store = 2,
      .has_handle = true },
    { .name = "record-rmtree",
      .op = OP_RMTREE,
      .path = "example.org/ada/.Trash",
      .other = "",
      .attr = { S_IFDIR | 0700, OWNER, 0, 3 },
      .store = 2 },
};

static void
check_record(const struct record *got, const struct record_sample *sample)
{
    static const uint8_t handle[] = { 1, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 7, 0, 0, 0 };
    CHECK_INT(got->seq, 258);
    CHECK_INT(got->epoch, 3);
    CHECK_INT(got->time_ns, 1700000001000000000);
    CHECK_INT(got->store, sample->store);
    CHECK_INT(got->op, sample->op);
    CHECK_INT(got->late, sample->late);
    check_attr(&got->attr, &sample->attr);
    check_span(got->path, sample->path);
    check_span(got->other, sample->other);
    CHECK(span_equal(got->handle, span_of(handle, sample->has_handle ? sizeof(handle) : 0)));
}

TEST(record_samples_decode_to_what_they_say_and_encode_to_the_same_bytes)
{
    for (size_t i = 0; i < ARRAY_LEN(record_samples); i++) {
        _cleanup_buf_ struct buf bytes = { 0 };
        _cleanup_buf_ struct buf again = { 0 };
        struct record record;
        struct err e = { 0 };
        print_message("%s\n", record_samples[i].name);
        sample_load(record_samples[i].name, &bytes);
        CHECK_INT(record_decode(buf_span(&bytes), &record, &e), 0);
        check_record(&record, &record_samples[i]);
        record_encode(&record, &again);
        CHECK(span_equal(buf_span(&again), buf_span(&bytes)));
    }
}

TEST(every_operation_has_a_sample)
{
    bool seen[256] = { false };
    for (size_t i = 0; i < ARRAY_LEN(record_samples); i++)
        seen[record_samples[i].op] = true;
#define OP(name, number, word, flags) CHECK(seen[number]);
#include "lib/data/ops.def"
#undef OP
}

/* Messages. */

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
