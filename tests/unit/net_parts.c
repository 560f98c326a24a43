/* The parts of the network role that need no process. */
#include "tests/unit/test.h"

#include "replicator/net/bucket.h"
#include "replicator/net/inbox.h"
#include "replicator/net/preface.h"
#include "replicator/net/squeeze.h"
#include "replicator/net/trouble.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS 1000000ULL

/* Sends as much as it may in a span of virtual time, looking every `step_ms`. */
static uint64_t
send_for(struct bucket *bucket, uint64_t *now_ns, uint64_t duration_ms, uint64_t step_ms)
{
    uint64_t sent = 0;
    for (uint64_t t = 0; t < duration_ms; t += step_ms, *now_ns += step_ms * MS) {
        size_t may = bucket_allow(bucket, 1 << 20, *now_ns);
        bucket_spend(bucket, may);
        sent += may;
    }
    return sent;
}

TEST(bucket_keeps_any_rate_whenever_it_is_asked)
{
    const uint64_t rates[] = { 300, 9600, 100000, 1 << 20, 1000000000 };
    const uint64_t steps[] = { 1, 7, 50 };
    for (size_t r = 0; r < ARRAY_LEN(rates); r++)
        for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
            struct bucket bucket;
            uint64_t now_ns = 5000 * MS;
            bucket_init(&bucket, rates[r], now_ns);
            uint64_t sent = send_for(&bucket, &now_ns, 60000, steps[s]);
            CHECK(sent <= rates[r] * 60 + bucket.depth);
            if (rates[r] <= 1 << 20)
                CHECK(sent >= rates[r] * 57);
        }
}

TEST(bucket_without_rate_holds_nothing_back)
{
    struct bucket bucket;
    bucket_init(&bucket, 0, 0);
    CHECK_INT(bucket_allow(&bucket, SIZE_MAX, 1), SIZE_MAX);
    bucket_spend(&bucket, SIZE_MAX);
    CHECK_INT(bucket_allow(&bucket, 5, 2), 5);
}

TEST(bucket_is_worth_asking_after_the_time_it_names)
{
    const uint64_t rates[] = { 300, 9600, 100000, 1 << 20 };
    for (size_t r = 0; r < ARRAY_LEN(rates); r++) {
        struct bucket bucket;
        uint64_t now_ns = 1;
        bucket_init(&bucket, rates[r], now_ns);
        for (int turn = 0; turn < 100; turn++) {
            size_t may = bucket_allow(&bucket, 1 << 20, now_ns);
            CHECK(may > 0);
            bucket_spend(&bucket, may);
            CHECK_INT(bucket_allow(&bucket, 1 << 20, now_ns), 0);
            CHECK(bucket_wait_ms(&bucket) <= 1000); /* a sign of life each second */
            now_ns += bucket_wait_ms(&bucket) * MS;
        }
    }
}

TEST(trouble_is_told_once_a_minute_and_at_once_when_it_changes)
{
    struct trouble t = { 0 };
    CHECK(trouble_may_tell(&t, "10.0.0.1", "refused", 1000));
    CHECK(!trouble_may_tell(&t, "10.0.0.1", "refused", 1000 + TROUBLE_REPEAT_MS - 1));
    CHECK(trouble_may_tell(&t, "10.0.0.1", "refused", 1000 + TROUBLE_REPEAT_MS));
    uint64_t now_ms = 200000;
    CHECK(trouble_may_tell(&t, "10.0.0.1", "refused", now_ms));
    CHECK(!trouble_may_tell(&t, "10.0.0.1", "expired", now_ms + TROUBLE_CHANGE_MS - 1));
    CHECK(trouble_may_tell(&t, "10.0.0.1", "expired", now_ms + TROUBLE_CHANGE_MS));
    CHECK(trouble_may_tell(&t, "10.0.0.2", "expired", now_ms + TROUBLE_CHANGE_MS));
}

TEST(trouble_from_a_thousand_addresses_is_ten_a_second)
{
    struct trouble t = { 0 };
    unsigned told = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char address[32];
        snprintf(address, sizeof(address), "10.0.%u.%u", i / 256, i % 256);
        told += trouble_may_tell(&t, address, "not TLS", 5000 + i);
    }
    CHECK_INT(told, TROUBLE_PER_SECOND);
}

TEST(squeezed_bytes_come_back_whatever_the_pieces)
{
    struct squeeze *squeeze = squeeze_new();
    struct unsqueeze *unsqueeze = unsqueeze_new();
    static uint8_t plain[300000], back[300000];
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i % 3 ? i / 1000 : (size_t)random());
    _cleanup_buf_ struct buf packed = { 0 };
    size_t have = 0;
    for (size_t done = 0, len = 1; done < sizeof(plain); done += len) {
        struct err e;
        len = MIN(len * 3 % 50021 + 1, sizeof(plain) - done);
        squeeze_write(squeeze, span_of(plain + done, len), true, &packed);
        struct span rest = buf_span(&packed);
        for (ssize_t got = 1; got > 0; have += (size_t)got)
            got = unsqueeze_read(unsqueeze, &rest, back + have, MIN(len, 1000U), &e);
        CHECK_INT(rest.len, 0);
        CHECK_INT(have, done + len); /* flushed is flushed */
        buf_reset(&packed);
    }
    CHECK(memcmp(plain, back, sizeof(plain)) == 0);
    squeeze_free(&squeeze);
    unsqueeze_free(&unsqueeze);
}

TEST(unsqueeze_may_be_asked_in_vain_any_number_of_times)
{
    struct squeeze *squeeze = squeeze_new();
    struct unsqueeze *unsqueeze = unsqueeze_new();
    struct span nothing = { 0 };
    struct err e;
    char got[100];
    _cleanup_buf_ struct buf packed = { 0 };
    squeeze_write(squeeze, span_str("a word"), true, &packed);
    struct span rest = buf_span(&packed);
    CHECK_INT(unsqueeze_read(unsqueeze, &rest, got, sizeof(got), &e), 6);
    for (int i = 0; i < 100; i++)
        CHECK_INT(unsqueeze_read(unsqueeze, &nothing, got, sizeof(got), &e), 0);
    squeeze_free(&squeeze);
    unsqueeze_free(&unsqueeze);
}

TEST(preface_of_this_version_reads_as_documented)
{
    static const uint8_t expected[PREFACE_SIZE] = "MAILTWIN\x01\x00\x01\x00\x01\x00\x00";
    uint8_t ours[PREFACE_SIZE];
    struct preface agreed;
    struct err e;
    preface_encode(ours);
    CHECK(memcmp(ours, expected, PREFACE_SIZE) == 0);
    CHECK_INT(preface_decode(ours, &agreed, &e), 0);
    CHECK(agreed.version == 1 && agreed.zstd);
    put_le16(ours + PREFACE_OFF_MAX, 9); /* a newer peer that still speaks ours */
    put_le32(ours + PREFACE_OFF_FLAGS, 0xfffffffe);
    CHECK_INT(preface_decode(ours, &agreed, &e), 0);
    CHECK(agreed.version == 1 && !agreed.zstd);
    put_le16(ours + PREFACE_OFF_MIN, 2);
    CHECK_INT(preface_decode(ours, &agreed, &e), -1);
    put_le16(ours + PREFACE_OFF_MIN, 1);
    put_le16(ours + PREFACE_OFF_MAX, 0);
    CHECK_INT(preface_decode(ours, &agreed, &e), -1);
}

/* A frame of a body of this size, filled with its number. */
static void
add_frame(struct buf *out, uint8_t number, size_t size)
{
    size_t mark = frame_begin(out, 11);
    buf_reserve(out, size);
    memset(out->ptr + out->len, number, size);
    out->len += size;
    frame_end(out, mark);
}

/* Puts bytes in as far as there is room. */
static struct span
pour(struct inbox *inbox, struct span from)
{
    size_t room, len;
    uint8_t *to = inbox_room(inbox, &room);
    len = MIN(room, from.len);
    if (len > 0)
        memcpy(to, from.ptr, len);
    inbox_added(inbox, len);
    return span_from(from, len, from.len - len);
}

TEST(inbox_passes_frames_on_in_order_through_a_full_socket)
{
    int pair[2];
    struct err e;
    struct inbox inbox;
    struct frame frame;
    _cleanup_buf_ struct buf in = { 0 };
    _cleanup_buf_ struct buf out = { 0 };
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    for (uint8_t i = 0; i < 20; i++)
        add_frame(&in, i, i % 5 == 4 ? FRAME_BODY_MAX : i * 10007U);
    inbox_init(&inbox);
    struct span rest = buf_span(&in);
    while (out.len < in.len) {
        rest = pour(&inbox, rest);
        while (inbox_peek(&inbox, &frame, &e) == 1)
            inbox_accept(&inbox, &frame);
        CHECK(inbox_forward(&inbox, pair[0]) >= 0);
        buf_reserve(&out, 100000);
        ssize_t got = recv(pair[1], out.ptr + out.len, 100000, MSG_DONTWAIT);
        CHECK(got > 0);
        out.len += (size_t)got;
    }
    CHECK(span_equal(buf_span(&in), buf_span(&out)));
    close(pair[1]);
    rest = pour(&inbox, buf_span(&in));
    CHECK_INT(inbox_peek(&inbox, &frame, &e), 1);
    inbox_accept(&inbox, &frame);
    CHECK_INT(inbox_forward(&inbox, pair[0]), -1);
    inbox_free(&inbox);
    close(pair[0]);
}
