#include "replicator/safety.h"

static enum protection
has(const struct safety_peer *peer, uint64_t up_to, uint64_t seq)
{
    if (!peer->follows)
        return PROTECTION_NONE;
    if (up_to >= seq)
        return PROTECTED;
    return peer->paused ? PROTECTION_NONE : PROTECTION_PENDING;
}

enum protection
safety_reach(enum conf_durability wanted, const struct safety_peer *peer, uint64_t seq)
{
    if (wanted == DURABILITY_ASYNC)
        return PROTECTED; /* nothing more was asked for than the journal */
    if (peer->durability == DURABILITY_ASYNC)
        return PROTECTION_NONE;
    bool memory = MIN(wanted, peer->durability) == DURABILITY_RECEIVED;
    return has(peer, memory ? peer->received : peer->durable, seq);
}

enum protection
safety_handed_over(const struct safety_peer *peer, bool only_async, uint64_t seq)
{
    if (peer->durability == DURABILITY_ASYNC && !only_async)
        return PROTECTION_NONE;
    return has(peer, peer->durable, seq);
}

enum safety
safety_of_store(const struct conf_store *store, bool alone)
{
    if (store->durability == DURABILITY_ASYNC)
        return SAFETY_ASYNC;
    if (!alone)
        return SAFETY_PROTECTED;
    return store->when_alone == ALONE_REFUSE ? SAFETY_REFUSING : SAFETY_DEGRADED;
}

enum safety
safety_of_node(const struct conf_store *stores, size_t count, bool alone)
{
    enum safety last = SAFETY_ASYNC;
    for (size_t i = 0; i < count; i++)
        last = MAX(last, safety_of_store(&stores[i], alone));
    return last;
}

const char *
safety_word(enum safety safety)
{
    static const char *const words[] = {
        [SAFETY_ASYNC] = "async",
        [SAFETY_PROTECTED] = "protected",
        [SAFETY_REFUSING] = "refusing",
        [SAFETY_DEGRADED] = "degraded",
    };
    return words[safety];
}
