/* trouble.h - says everything once: a stranger who knocks a thousand times is one notice. */
#ifndef MAILTWIN_TROUBLE_H
#define MAILTWIN_TROUBLE_H

#include "lib/base/bytes.h"

#define TROUBLE_ADDRESSES  64          /* remembered; the one silent for longest is forgotten */
#define TROUBLE_REPEAT_MS  (60 * 1000) /* the same sentence about the same address */
#define TROUBLE_CHANGE_MS  1000        /* another sentence about the same address */
#define TROUBLE_PER_SECOND 10          /* about all addresses together */

struct trouble {
    struct {
        char address[64];
        uint32_t text_crc;
        uint64_t told_ms; /* 0: never used */
    } seen[TROUBLE_ADDRESSES];
    uint64_t second;
    unsigned in_second;
};

/* May this be told now? now_ms above 0. */
bool trouble_may_tell(struct trouble *trouble, const char *address, const char *text,
                      uint64_t now_ms);

#endif
