/* bucket.h - the bandwidth limit of one peer: a token bucket over the bytes that go out. Time is
 * handed in. */
#ifndef MAILTWIN_BUCKET_H
#define MAILTWIN_BUCKET_H

#include "lib/base/base.h"

struct bucket {
    uint64_t rate;  /* bytes a second, 0 no limit */
    uint64_t depth; /* bytes that may go at once after a pause */
    uint64_t tokens;
    uint64_t filled_ns; /* when tokens were counted last */
};

void bucket_init(struct bucket *bucket, uint64_t rate, uint64_t now_ns);
/* How many of `want` bytes may go now. */
size_t bucket_allow(struct bucket *bucket, size_t want, uint64_t now_ns);
void bucket_spend(struct bucket *bucket, size_t spent);
/* After bucket_allow() said 0: when to ask again. */
uint64_t bucket_wait_ms(const struct bucket *bucket);

#endif
