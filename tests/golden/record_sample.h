/* record_sample.h - what samples of records and of the messages that carry them have in common. */
#ifndef MAILTWIN_TEST_RECORD_SAMPLE_H
#define MAILTWIN_TEST_RECORD_SAMPLE_H

#include "lib/data/record.h"
#include "tests/golden/sample.h"

#include <sys/stat.h>

#define OWNER 5000, 5001
#define MAIL  "example.org/ada/cur/1700000000.M1P2.mx1,S=1234:2,"

static inline void
check_span(struct span got, const char *expected)
{
    CHECK(span_equal(got, span_str(expected)));
}

static inline void
check_attr(const struct attr *got, const struct attr *expected)
{
    CHECK_INT(got->mode, expected->mode);
    CHECK_INT(got->uid, expected->uid);
    CHECK_INT(got->gid, expected->gid);
    CHECK_INT(got->size, expected->size);
    CHECK_INT(got->mtime_ns, expected->mtime_ns);
}

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

static inline void
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

#endif
