/* walk.h - brings a peer's directories level, or verifies them: digests are asked for directory by
 * directory. Belongs to a session thread.
 *
 * A sync compares by the index, and puts what differs into the stream when everything up to the
 * journal's tail has been shipped. A verify reads the disks, of both sides in threads of their own
 * (scrub.h), while records go on. It tells what differs and still does so in the last of several
 * readings, of names that no record came for from before the first side was read until after the
 * other was: all that happened up to then has been shipped. */
#ifndef MAILTWIN_WALK_H
#define MAILTWIN_WALK_H

#include "replicator/listing.h"
#include "replicator/place.h"
#include "replicator/ship.h"

#define WALK_EXAMPLES_MAX 10

enum walk_mode {
    WALK_SYNC,   /* fix what differs */
    WALK_VERIFY, /* count what differs, tell it, and on demand have it shipped again */
};

struct walk_opts {
    enum walk_mode mode;
    bool content;      /* VERIFY: compare the bytes too, */
    uint32_t parts;    /* of one directory in so many (0 and 1: of all): */
    uint32_t part;     /* those whose id leaves this over */
    uint64_t rate;     /* VERIFY: bytes a second read here at most, 0 no limit */
    int wake_fd;       /* VERIFY: an eventfd, written to when there is something to do */
    bool repair;       /* VERIFY */
    bool peer_empty;   /* SYNC: the peer has nothing: do not ask */
    uint64_t base;     /* SYNC: seq at which it began */
    uint64_t from;     /* first directory id, to go on with a sync that was broken off */
    uint64_t limit;    /* last directory id; 0 none: until it has caught up with the newest */
    uint64_t newest;   /* SYNC: the newest directory id as it begins, for the progress */
    int store;         /* only this store, -1 all */
    size_t listed_max; /* bytes that a peer may list of all directories under way; 0: 512 MiB */
};

struct walk_progress {
    uint64_t directories, total; /* looked at, and to be looked at (an estimate) */
    uint64_t differences;
    uint64_t repaired;
    /* All directories with a smaller id are level; where the walk began, while something that moved
     * is still to be fixed. */
    uint64_t next;
    bool done;
    size_t example_count;
    char examples[WALK_EXAMPLES_MAX][256];
};

/* What a walk has done by others. */
struct walk_orders {
    /* Has a name of a directory of the index shipped again: "" is the directory itself. is_dir:
     * what the peer has there. NULL: this node writes no records of its own, and what only the peer
     * has is removed there by a fix-up. */
    void (*force)(void *arg, uint64_t dir, struct span name, bool is_dir);
    /* VERIFY: all changes made before this call are in the journal when done() is called, from any
     * thread, with the seq they reach. */
    void (*barrier)(void *arg, void (*done)(void *arg, uint64_t seq), void *done_arg);
    void *arg;
};

struct walk;

struct walk *walk_new(const struct node *node, struct ship *ship, const struct walk_opts *opts);
void walk_free(struct walk **walk); /* NULL is fine */

/* Is there anything to do now besides waiting for answers? */
bool walk_can_step(const struct walk *walk);
bool walk_done(const struct walk *walk);
/* Are there questions that the peer has not answered to the end? A sync's fix-ups wait for that. */
bool walk_asked(const struct walk *walk);
/* One step: asks, compares, or fixes a bounded part. A sync's only when the ship's cursor is the
 * journal's tail. */
int walk_step(struct walk *walk, const struct walk_orders *orders, struct err *e) _must_check_;
/* An answer of the peer. What it lists is held up to a limit: a directory that does not fit beside
 * others is asked for again, one that alone does not fit ends the link. */
int walk_answer(struct walk *walk, const struct wire_digest_answer *answer,
                struct err *e) _must_check_;
/* A record goes out, or a fix-up: what the peer said of this name before does not count; nor does
 * anything it said of a directory that moves with it. */
void walk_touch(struct walk *walk, const struct record *record);
void walk_progress(const struct walk *walk, struct walk_progress *ret_progress);

#endif
