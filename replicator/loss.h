/* loss.h - what the last primary may have had that this node has not: the loss statement of an
 * unplanned promotion. At most these changes, in these folders, between these times; what is not
 * known is said to be open. Format: docs/formats/loss.md. */
#ifndef MAILTWIN_LOSS_H
#define MAILTWIN_LOSS_H

#include "lib/data/state.h"
#include "lib/data/wire.h"
#include "lib/os/conf.h"
#include "replicator/tally.h"

#include <jansson.h>
#include <pthread.h>

#define LOSS_DIR         "loss"  /* in the state directory: EPOCH.json each */
#define LOSS_KEY         "loss/" /* and the epoch in decimal: the same as a row of the state */
#define LOSS_HEARD_KEY   "heard" /* row of the state: struct loss_heard */
#define LOSS_FOLDERS_MAX 1000    /* named; more are counted */

/* The last word of the node that this one receives from. */
struct loss_heard {
    uint64_t epoch;               /* in which it sent; 0: nothing was ever heard */
    uint64_t tail;                /* newest seq it told of */
    uint64_t its_ns, our_ns;      /* when, by each clock */
    char node[WIRE_NAME_MAX + 1]; /* "": not known; a standby passed it on */
};

/* Store, user and folder of a path that is not a directory; points into both. */
void loss_place(const struct conf_store *store, struct span path, struct tally_row *ret_row);

/* --- while it receives: from the session's thread, read by the main thread --- */

struct loss_watch;

struct loss_watch *loss_watch_new(void);
void loss_watch_free(struct loss_watch **watch);
/* START has come: what was received before and not carried out comes again. node: the primary, when
 * it is who sends, else NULL. */
void loss_watch_start(struct loss_watch *watch, uint64_t epoch, const char *node);
/* its_ns: 0 it did not say. */
void loss_watch_hear(struct loss_watch *watch, uint64_t tail, uint64_t its_ns);
void loss_watch_received(struct loss_watch *watch, const struct conf *conf,
                         const struct record *record);
void loss_watch_carried_out(struct loss_watch *watch);
/* Into the state, when there is anything new. */
int loss_watch_save(struct loss_watch *watch, struct state_txn *txn, struct err *e) _must_check_;
/* What the state has, at start. */
int loss_watch_load(struct loss_watch *watch, struct state_txn *txn, struct err *e) _must_check_;
void loss_watch_heard(struct loss_watch *watch, struct loss_heard *ret_heard);
/* Changes that came whole or in part and were not carried out: an array of store, user, folder and
 * changes. The caller's. */
json_t *loss_watch_folders(struct loss_watch *watch);

/* --- the statement --- */

struct loss_facts {
    uint64_t epoch, last_epoch; /* of this promotion, of the primary before */
    uint64_t tail;              /* newest seq of the last primary that is here */
    uint64_t tail_ns;           /* when that change was captured, by its clock; 0 not known */
    uint64_t now_ns;            /* of the promotion */
    uint64_t unseen;            /* promotions that were heard of and not followed, at most */
    bool incomplete;            /* a sync was not finished: older changes may lack as well */
    struct loss_heard heard;
};

/* Pure: its name; NULL not known. */
const char *loss_last_primary(const struct loss_facts *facts);
/* Pure: records that it told of and that are not here, 0 none known. */
uint64_t loss_known(const struct loss_facts *facts);
/* folders: loss_watch_folders(), taken over. The caller's. */
json_t *loss_statement(const struct conf *conf, const struct loss_facts *facts, json_t *folders);

/* In the promotion's transaction. */
int loss_keep(struct state_txn *txn, uint64_t epoch, const json_t *statement,
              struct err *e) _must_check_;
/* 1 the statement of that promotion (the caller's), 0 there is none: it was planned, or long ago.
 */
int loss_get(struct state_txn *txn, uint64_t epoch, json_t **ret_statement,
             struct err *e) _must_check_;
/* Statements of this history, oldest first: an array. The caller's. */
int loss_list(struct state_txn *txn, json_t **ret_list, struct err *e) _must_check_;
/* Writes the file of each statement that has none, and of this one in any case (0: no other). Tells
 * each that is new by an event. Main thread. */
int loss_publish(struct state *state, int state_dirfd, uint64_t epoch, struct err *e) _must_check_;

/* What is counted of it in each folder: the kinds of a tally. */
enum loss_kind {
    LOSS_MESSAGES,
    LOSS_FLAG_CHANGES,
    LOSS_EXPUNGES,
    LOSS_OTHERS,
    LOSS_KINDS
};

extern const char *const loss_kinds[LOSS_KINDS + 1];

/* What a last primary had alone, counted where it came back. */
struct loss_found {
    const char *node;
    uint64_t at; /* seconds since 1970 */
    uint64_t messages, flag_changes, expunges, others;
    json_t *folders; /* of a tally of loss_kinds; NULL: it did not say; stays the caller's */
};

/* The last primary has returned and all that it had alone is known: the statement is final. 1, 0
 * there is no statement of that epoch. Durable when it returns. */
int loss_complete(struct state *state, int state_dirfd, uint64_t epoch,
                  const struct loss_found *found, struct err *e) _must_check_;

#endif
