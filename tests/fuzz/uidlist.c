/* Any text is a UID list or refused. Raised, it is one again: the same records, the header's number
 * beyond all of them, and raising it by nothing changes nothing more. */
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
    ASSERT(uidlist_raise(buf_span(&raised), 0, &again, &same, NULL) == 0);
    ASSERT(same == next && span_equal(buf_span(&raised), buf_span(&again)));
    return 0;
}
