/* Any text is a UID list or refused. Raised, it is one again: the same records, the header's number
 * beyond all of them, and raising it by nothing changes nothing more. A line behind its end, found
 * from its beginning and its end alone, raises it as far. */
#include "lib/store/uidlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_records(struct uidlist *was, struct uidlist *is)
{
    struct uidlist_record old;
    struct uidlist_record new;
    int got;
    do {
        got = uidlist_next(was, &old, NULL);
        ASSERT(got >= 0 && uidlist_next(is, &new, NULL) == got);
        ASSERT(got == 0 || (old.uid == new.uid &&span_equal(old.keys, new.keys) &&
                            span_equal(old.name, new.name)));
        ASSERT(got == 0 || new.uid < is->next);
    } while (got > 0);
}

static void
check_line(struct span text, uint32_t gap, uint32_t next)
{
    _cleanup_buf_ struct buf longer = { 0 };
    struct uidlist_gap line;
    struct uidlist is;
    uint32_t uid;
    size_t len = MIN(text.len, (size_t)UIDLIST_WINDOW);
    if (uidlist_gap(span_from(text, 0, len), span_from(text, text.len - len, len), gap, &line,
                    NULL) != 1)
        return; /* of version 1, or with a line longer than a window */
    buf_add(&longer, text.ptr, text.len - line.torn);
    buf_add(&longer, line.line, line.len);
    ASSERT(line.next == next);
    ASSERT(uidlist_begin(&is, buf_span(&longer), NULL) == 0);
    ASSERT(uidlist_free_uid(&is, &uid, NULL) == 0 && (uid == next || gap == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_buf_ struct buf raised = { 0 };
    _cleanup_buf_ struct buf again = { 0 };
    struct uidlist was;
    struct uidlist is;
    uint32_t next, same;
    if (size == 0 || uidlist_raise(span_of(data, size), data[0], &raised, &next, NULL) < 0)
        return 0;
    ASSERT(uidlist_begin(&was, span_of(data, size), NULL) == 0);
    ASSERT(uidlist_begin(&is, buf_span(&raised), NULL) == 0);
    ASSERT(is.next == next && is.uidvalidity == was.uidvalidity && span_equal(is.guid, was.guid));
    check_records(&was, &is);
    if (data[0] > 0)
        check_line(span_of(data, size), data[0], next);
    ASSERT(uidlist_raise(buf_span(&raised), 0, &again, &same, NULL) == 0);
    ASSERT(same == next && span_equal(buf_span(&raised), buf_span(&again)));
    return 0;
}
