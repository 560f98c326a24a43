/* safety.h - is what is accepted now safe? Pure: configuration and facts in, decision out; used by
 * protection.c. */
#ifndef MAILTWIN_SAFETY_H
#define MAILTWIN_SAFETY_H

#include "lib/os/conf.h"

/* Of all changes up to some seq. In this order: of several standbys the best counts. */
enum protection {
    PROTECTED,          /* a standby has it as durably as is asked for */
    PROTECTION_PENDING, /* a standby is connected and will have it */
    PROTECTION_NONE,    /* no standby protects it */
};

/* Of a store; of the node as a whole it is the last that holds for one of its stores, so that
 * nothing is called refused or protected while something is let in as if it were. Async is no
 * weakness of durable mode, and hides none. */
enum safety {
    SAFETY_ASYNC,     /* nothing waits for a standby, as configured */
    SAFETY_PROTECTED, /* who waits at a barrier waits for a standby that is there */
    SAFETY_REFUSING,  /* no standby, and who waits is refused */
    SAFETY_DEGRADED,  /* no standby, and it is let in all the same */
};

/* What is known of another node. */
struct safety_peer {
    enum conf_durability durability; /* of its section: what a barrier waits for from it */
    bool follows;                    /* it is connected, level, and sent what changes here */
    bool paused;                     /* it applies nothing until an operator says so */
    uint64_t received, durable;
};

/* For a barrier of a store. wanted: the store's durability. A node marked async protects nothing.
 */
enum protection safety_reach(enum conf_durability wanted, const struct safety_peer *peer,
                             uint64_t seq);
/* For a change of roles: it is on that node's disk, whatever barriers wait for. A node marked async
 * counts only where there is no other: it is not the one that is to serve next. */
enum protection safety_handed_over(const struct safety_peer *peer, bool only_async, uint64_t seq);

/* alone: there is no standby that protects anything. */
enum safety safety_of_store(const struct conf_store *store, bool alone);
enum safety safety_of_node(const struct conf_store *stores, size_t count, bool alone);
/* As status says it: "async", "protected", "refusing", "degraded". */
const char *safety_word(enum safety safety);

#endif
