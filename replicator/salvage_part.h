/* salvage_part.h - what one store has of a salvage, while it is written: contents, then the
 * manifest that speaks of them. Format: docs/formats/salvage.md.
 *
 * An attempt that ended before its manifest was there leaves a log of what it had copied. The next
 * one of the same boot goes on behind that, as far as it comes to the same items; after a power
 * loss all is copied anew. */
#ifndef MAILTWIN_SALVAGE_PART_H
#define MAILTWIN_SALVAGE_PART_H

#include "lib/data/salvage.h"
#include "replicator/node.h"

#define SALVAGE_DIR "salvage" /* below .mailtwin */
#define SALVAGE_LOG "copied"  /* there while it is written */

/* Called before each file and each piece of one, with the bytes that were copied since: -1 ends the
 * work with e. */
struct salvage_watch {
    int (*go_on)(void *arg, uint64_t bytes, struct err *e);
    void *arg;
};

struct salvage_part {
    int dirfd; /* -1: nothing was found in the store yet */
    int log_fd;
    struct buf manifest;
    size_t head_len; /* before its items */
    uint32_t count, messages;
    struct buf before; /* items that an earlier attempt had copied, as in the manifest */
    size_t same;       /* bytes of this attempt's items; while there is `before`, of both */
    uint64_t unsynced; /* bytes that were copied since the filesystem was synced */
    struct salvage_watch watch;
};

/* head: without the store's name. */
int salvage_part_open(struct salvage_part *part, const struct node_store *store, const char *id,
                      const struct salvage_head *head, struct err *e) _must_check_;
/* The next item, whose number is set here. fd: its bytes, of the size that its attributes say; -1
 * it has none. */
int salvage_part_add(struct salvage_part *part, struct salvage_item *item, int fd,
                     struct err *e) _must_check_;
/* All of it is on the disk, and then the manifest. */
int salvage_part_finish(struct salvage_part *part, struct err *e) _must_check_;
/* No other attempt will come: its log goes. */
void salvage_part_forget(struct salvage_part *part);
void salvage_part_free(struct salvage_part *part);

#endif
