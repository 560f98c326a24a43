/* scrub.h - reads directories for a comparison in a thread of its own, at a bounded rate and behind
 * everybody else: records go on meanwhile, however large a file is that it hashes. (Scrubbing: what
 * ZFS and md call reading all there is to find what is wrong.)
 *
 * One thread asks and takes; the reading thread starts with the first question. */
#ifndef MAILTWIN_SCRUB_H
#define MAILTWIN_SCRUB_H

#include "replicator/listing.h"
#include "replicator/node.h"

struct scrub;

/* A directory to read, and what was found there. */
struct scrub_item {
    struct scrub_item *next; /* of the queue it is in */
    uint64_t dir;            /* the asker's own words: */
    uint32_t id;
    uint8_t digest[WIRE_DIGEST_SIZE];
    uint16_t store;
    struct buf path; /* in the store, owned */
    int fd;          /* owned; -1: opened below the store's root by its path */
    bool content;    /* hash contents and extended attributes */

    enum {
        SCRUB_READ,
        SCRUB_ABSENT, /* no such directory */
        SCRUB_FAILED, /* see why */
    } result;
    struct listing listing; /* sorted */
    struct err why;
};

struct scrub_item *scrub_item_new(uint16_t store, struct span path);
void scrub_item_free(struct scrub_item **item);
#define _cleanup_scrub_item_ _cleanup_(scrub_item_free)

/* Reads it here and now. pace: NULL as fast as it goes. Its descriptor stays open. */
void scrub_read(const struct node *node, struct scrub_item *item, const struct listing_pace *pace);

/* rate: bytes a second it reads at most (names count, see listing.h), 0 no limit. wake_fd: an
 * eventfd that is written to when an item is done. */
struct scrub *scrub_new(const struct node *node, uint64_t rate, int wake_fd);
/* Within one piece of a file: what is being read is given up. NULL is fine. */
void scrub_free(struct scrub **scrub);

/* How many were asked for and not taken. */
size_t scrub_open_count(const struct scrub *scrub);
/* Takes the item over. -1: no thread could be started, the item is freed. */
int scrub_ask(struct scrub *scrub, struct scrub_item *item, struct err *e) _must_check_;
/* The next one that is done, in the order they were asked for; the caller frees it. NULL: none. */
struct scrub_item *scrub_take(struct scrub *scrub);
bool scrub_has_done(struct scrub *scrub);

#endif
