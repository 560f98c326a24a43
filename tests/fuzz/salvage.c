/* Any bytes are a manifest or refused; what is accepted is written again as the same bytes. Marks
 * never reach beyond the items. */
#include "lib/data/salvage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
write_again(struct span manifest)
{
    struct salvage_head head = { 0 };
    struct salvage_item item;
    struct reader items;
    struct err e;
    _cleanup_buf_ struct buf again = { 0 };
    if (salvage_read(manifest, &head, &items, &e) < 0)
        return;
    salvage_begin(&head, &again);
    uint32_t count = 0;
    int found;
    while ((found = salvage_next(&items, count, &item, &e)) > 0) {
        salvage_add(&item, &again);
        count++;
    }
    salvage_end(&again, head.count);
    ASSERT(found < 0 || span_equal(buf_span(&again), manifest));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t states[16] = { 0 };
    struct span in = span_of(data, size);
    write_again(in);
    ASSERT(salvage_marks(in, states, sizeof(states)) <= size);
    return 0;
}
