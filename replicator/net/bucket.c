#include "replicator/net/bucket.h"

#define NS        1000000000ULL
#define BURSTS    20       /* a full bucket is a 20th of a second's worth ... */
#define DEPTH_MIN 16384ULL /* ... but not less than one TLS record */
#define CRUMB     4096ULL  /* less is not worth a packet ... */

void
bucket_init(struct bucket *bucket, uint64_t rate, uint64_t now_ns)
{
    uint64_t depth = MAX(rate / BURSTS, DEPTH_MIN);
    *bucket = (struct bucket){ .rate = rate, .depth = depth, .tokens = depth, .filled_ns = now_ns };
}

static void
fill(struct bucket *bucket, uint64_t now_ns)
{
    uint64_t passed = MIN(now_ns - bucket->filled_ns, NS); /* one second fills any bucket */
    uint64_t earned = (uint64_t)((__uint128_t)bucket->rate * passed / NS);
    if (earned == 0)
        return; /* the time is kept until it is worth a byte */
    bucket->tokens = MIN(bucket->tokens + earned, bucket->depth);
    bucket->filled_ns = now_ns;
}

static uint64_t
worth_sending(const struct bucket *bucket)
{
    return MIN(CRUMB, bucket->rate / 4 + 1); /* ... unless it takes too long to save up */
}

size_t
bucket_allow(struct bucket *bucket, size_t want, uint64_t now_ns)
{
    if (bucket->rate == 0)
        return want;
    fill(bucket, now_ns);
    return bucket->tokens >= MIN(want, worth_sending(bucket)) ? MIN(want, bucket->tokens) : 0;
}

void
bucket_spend(struct bucket *bucket, size_t spent)
{
    if (bucket->rate == 0)
        return;
    ASSERT(spent <= bucket->tokens);
    bucket->tokens -= spent;
}

uint64_t
bucket_wait_ms(const struct bucket *bucket)
{
    uint64_t missing = worth_sending(bucket) - MIN(bucket->tokens, worth_sending(bucket));
    return missing * 1000 / bucket->rate + 1;
}
