/* The samples of records in v1/, of every version, are read for ever: see golden.c. */
#include "tests/golden/record_sample.h"

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
