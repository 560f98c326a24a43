#include "replicator/net/trouble.h"

#include "lib/base/crc.h"

#include <stdio.h>

static size_t
find_slot(const struct trouble *trouble, const char *address)
{
    size_t oldest = 0;
    for (size_t i = 0; i < TROUBLE_ADDRESSES; i++) {
        if (strcmp(trouble->seen[i].address, address) == 0)
            return i;
        if (trouble->seen[i].told_ms < trouble->seen[oldest].told_ms)
            oldest = i;
    }
    return oldest;
}

static bool
second_is_full(struct trouble *trouble, uint64_t now_ms)
{
    if (trouble->second != now_ms / 1000)
        trouble->in_second = 0;
    trouble->second = now_ms / 1000;
    return trouble->in_second >= TROUBLE_PER_SECOND;
}

bool
trouble_may_tell(struct trouble *trouble, const char *address, const char *text, uint64_t now_ms)
{
    size_t slot = find_slot(trouble, address);
    uint32_t crc = crc32c(span_str(text));
    bool known = trouble->seen[slot].told_ms != 0 &&
                 strcmp(trouble->seen[slot].address, address) == 0;
    if (known) {
        bool same = trouble->seen[slot].text_crc == crc;
        uint64_t silence = same ? TROUBLE_REPEAT_MS : TROUBLE_CHANGE_MS;
        if (now_ms - trouble->seen[slot].told_ms < silence)
            return false;
    }
    if (second_is_full(trouble, now_ms))
        return false;
    trouble->in_second++;
    snprintf(trouble->seen[slot].address, sizeof(trouble->seen[slot].address), "%s", address);
    trouble->seen[slot].text_crc = crc;
    trouble->seen[slot].told_ms = now_ms;
    return true;
}
