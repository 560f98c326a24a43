/* node.h - what the parts of the store role share: configuration, stores, state.
 *
 * Built once by main.c, then read by all threads; what changes is behind its own lock or atomic. */
#ifndef MAILTWIN_NODE_H
#define MAILTWIN_NODE_H

#include "lib/data/state.h"
#include "lib/os/conf.h"
#include "lib/os/watch.h"
#include "lib/store/store.h"
#include "replicator/retain.h"

struct node_store {
    const struct conf_store *conf;
    uint16_t number;
    int root_fd; /* the root directory; also the mount descriptor for handles */
    uint64_t device;
    uint8_t fsid[WATCH_FSID_SIZE];
    struct store_rules rules;
    struct retain *retain; /* NULL: of this kind nothing is retained */
};

struct node {
    const struct conf *conf;
    struct state *state;
    struct node_store *stores;
    size_t store_count;
    int state_dirfd;
    int64_t opened_ns; /* when this process opened it, by the clock that dates files */
};

/* Opens state and stores. What is missing or unusable is one sentence. */
int node_open(const struct conf *conf, struct node **ret_node, struct err *e) _must_check_;
void node_free(struct node **node);

/* What all stores' index holds of the store's root must be the directory that is there now: another
 * one, or an unmounted filesystem, would read as "everything was deleted". */
int node_check_roots(struct node *node, struct state_txn *txn, struct err *e) _must_check_;

/* By what the index knows an object of the store: its handle, with the filesystem's id in front. */
struct span node_handle(const struct node_store *store, struct span handle,
                        uint8_t ret_bytes[WATCH_HANDLE_MAX]);

/* Stores the index row of a store's root, as the directory is now; dir->store says which. */
int node_root_row(const struct node *node, struct state_dir *dir, struct state_txn *txn,
                  struct err *e) _must_check_;

/* Makes all that was changed in the stores so far durable, with the buffers of their devices. */
int node_sync(const struct node *node, struct err *e) _must_check_;

/* Does every store take writes? -1: one is full or read-only, and which. */
int node_probe(const struct node *node, struct err *e) _must_check_;

/* This boot's id, all zero when the kernel does not tell. */
void node_boot_id(uint8_t ret_id[16]);

/* Evidence: what the block devices below the stores count as written. Saved in run-dir (which a
 * reboot empties) as the last act of a clean stop; the same at the next start means that nothing
 * was written in between. */
bool node_evidence(const struct node *node,
                   struct buf *ret_evidence); /* false: a device cannot tell */
int node_evidence_save(const struct node *node, struct err *e) _must_check_;
void node_evidence_drop(const struct node *node);
/* true: the evidence saved last still holds. Reading it uses it up. */
bool node_evidence_holds(const struct node *node);

#endif
