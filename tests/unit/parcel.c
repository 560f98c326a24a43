/* A message that is kept until its end: small ones in memory, others in a file without a name. */
#include "gate/parcel.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct err e;

struct kept {
    char path[64];
    int dirfd;
    struct memory *memory;
    struct dialogue dialogue;
    struct parcel parcel;
};

static void
begin(struct kept *k)
{
    *k = (struct kept){ .path = "/tmp/mailtwin-parcel-XXXXXX" };
    CHECK(mkdtemp(k->path) != NULL);
    test_scratch(k->path);
    k->dirfd = open(k->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(k->dirfd >= 0);
    CHECK_INT(memory_open(k->dirfd, 86400, 0, &k->memory, &e), 0);
    dialogue_init(&k->dialogue);
    parcel_init(&k->parcel);
    CHECK(!parcel_begin(&k->parcel, &k->dialogue, k->memory)); /* nothing is remembered */
}

/* A directory without a name takes no file at all. */
static void
take_directory(struct kept *k)
{
    memory_free(&k->memory);
    unlinkat(k->dirfd, MEMORY_FILE, 0);
    unlinkat(k->dirfd, "lock", 0);
    CHECK_INT(rmdir(k->path), 0);
}

static void
end(struct kept *k)
{
    parcel_free(&k->parcel);
    dialogue_free(&k->dialogue);
    if (k->memory != NULL)
        take_directory(k);
    close(k->dirfd);
}

static void
check_replay(struct kept *k, const struct buf *all, size_t piece)
{
    _cleanup_buf_ struct buf got = { 0 };
    uint8_t bytes[4096];
    ssize_t len;
    CHECK(piece <= sizeof(bytes));
    while ((len = parcel_replay(&k->parcel, bytes, piece, &e)) > 0)
        buf_add(&got, bytes, (size_t)len);
    CHECK_INT(len, 0);
    CHECK(span_equal(buf_span(&got), buf_span(all)));
}

/* Adds a message in pieces that are all different. */
static int
add_message(struct kept *k, size_t size, size_t piece, struct buf *ret_all)
{
    while (ret_all->len < size) {
        uint8_t bytes[4096];
        size_t len = MIN(piece, size - ret_all->len);
        memset(bytes, (int)(ret_all->len / piece * 7 + 1), len);
        buf_add(ret_all, bytes, len);
        if (parcel_add(&k->parcel, k->dirfd, true, span_of(bytes, len), &e) < 0)
            return -1;
    }
    return 0;
}

TEST(a_message_comes_back_byte_by_byte_wherever_it_was_kept)
{
    const size_t sizes[] = { 1, 4096, PARCEL_SMALL - 1, PARCEL_SMALL, PARCEL_SMALL + 1, 300000 };
    const size_t pieces[] = { 1000, 4096 };
    for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(pieces); i++) {
        size_t size = sizes[i % ARRAY_LEN(sizes)], piece = pieces[i / ARRAY_LEN(sizes)];
        struct kept k;
        _cleanup_buf_ struct buf all = { 0 };
        begin(&k);
        CHECK_INT(add_message(&k, size, piece, &all), 0);
        CHECK_INT(k.parcel.spool_size, size);
        CHECK_INT(k.parcel.spool_fd >= 0, size > PARCEL_SMALL);
        check_replay(&k, &all, piece);
        end(&k);
    }
}

TEST(a_small_message_needs_no_file_and_a_large_one_says_that_it_got_none)
{
    struct kept k;
    _cleanup_buf_ struct buf all = { 0 };
    begin(&k);
    take_directory(&k);
    CHECK_INT(add_message(&k, PARCEL_SMALL, 4096, &all), 0);
    check_replay(&k, &all, 4096);
    CHECK_INT(parcel_add(&k.parcel, k.dirfd, true, span_of("x", 1), &e), -1);
    CHECK_CONTAINS(e.text, "make the spool of a message");
    end(&k);
}
