#include "replicator/delta.h"
#include "tests/unit/test.h"

#include "lib/base/buf.h"
#include "lib/os/file.h"

#include <librsync.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *
file_of(struct span bytes)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, file), bytes.len);
    rewind(file);
    return file;
}

static void
read_all(FILE *file, struct buf *out)
{
    char chunk[65536];
    rewind(file);
    for (size_t got; (got = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        buf_add(out, chunk, got);
}

static void
noise(struct buf *out, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf_add_u8(out, (uint8_t)(seed >> 16));
    }
}

static int
keep(void *arg, struct span bytes, struct err *e)
{
    (void)e;
    buf_add(arg, bytes.ptr, bytes.len);
    return 0;
}

/* The peer's side, with librsync's own calls. */
static void
signature_of(const struct buf *old, struct buf *ret)
{
    FILE *in = file_of(buf_span(old));
    FILE *out = tmpfile();
    assert_int_equal(rs_sig_file(in, out, 2048, 16, RS_BLAKE2_SIG_MAGIC, NULL), RS_DONE);
    read_all(out, ret);
    fclose(in);
    fclose(out);
}

static void
patch(const struct buf *old, const struct buf *delta, struct buf *ret)
{
    FILE *base = file_of(buf_span(old));
    FILE *in = file_of(buf_span(delta));
    FILE *out = tmpfile();
    assert_int_equal(rs_patch_file(base, in, out, NULL), RS_DONE);
    read_all(out, ret);
    fclose(base);
    fclose(in);
    fclose(out);
}

/* Returns the size of the delta. */
static size_t
check_delta(const struct buf *old, const struct buf *new)
{
    _cleanup_buf_ struct buf signature = { 0 };
    _cleanup_buf_ struct buf delta = { 0 };
    _cleanup_buf_ struct buf got = { 0 };
    struct err e = { 0 };
    signature_of(old, &signature);
    FILE *file = file_of(buf_span(new));
    fflush(file);
    if (delta_make(buf_span(&signature), fileno(file), keep, &delta, &e) < 0)
        fail_msg("%s", e.text);
    fclose(file);
    patch(old, &delta, &got);
    CHECK(span_equal(buf_span(&got), buf_span(new)));
    return delta.len;
}

TEST(a_delta_makes_the_new_file_of_the_old_one)
{
    static const size_t sizes[] = { 0, 1, 2047, 2048, 262143, 262144, 262145, 1000003 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
            _cleanup_buf_ struct buf old = { 0 };
            _cleanup_buf_ struct buf new = { 0 };
            noise(&old, sizes[i], 1);
            noise(&new, sizes[j], j % 2 == 0 ? 1 : 2);
            check_delta(&old, &new);
        }
    }
}

TEST(a_delta_of_a_small_change_is_small)
{
    _cleanup_buf_ struct buf old = { 0 };
    _cleanup_buf_ struct buf new = { 0 };
    noise(&old, 2 << 20, 7);
    buf_add(&new, old.ptr, 1000000);
    buf_add(&new, "inserted", 8);
    buf_add(&new, old.ptr + 1000000, old.len - 1000000);
    noise(&new, 5000, 9);
    CHECK(check_delta(&old, &new) < 20000);
}

static int
refuse(void *arg, struct span bytes, struct err *e)
{
    (void)arg;
    (void)bytes;
    return err_set(e, ERR_PEER, "the link is down");
}

TEST(a_signature_of_noise_and_a_link_that_breaks_are_errors)
{
    _cleanup_buf_ struct buf old = { 0 };
    _cleanup_buf_ struct buf signature = { 0 };
    struct err e = { 0 };
    noise(&old, 100000, 3);
    FILE *file = file_of(buf_span(&old));
    fflush(file);
    CHECK_INT(delta_make(buf_span(&old), fileno(file), keep, &signature, &e), -1);
    CHECK_CONTAINS(e.text, "read the peer's signature");
    signature_of(&old, &signature);
    CHECK_INT(
        delta_make(span_of(signature.ptr, signature.len / 2 + 1), fileno(file), refuse, NULL, &e),
        -1);
    CHECK_INT(delta_make(buf_span(&signature), fileno(file), refuse, NULL, &e), -1);
    CHECK_STR(e.text, "the link is down");
    fclose(file);
    CHECK_INT(delta_make(buf_span(&signature), -1, keep, &old, &e), -1);
}
