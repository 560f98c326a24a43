/* salvage.h - what a returning node has alone: kept before anything of it is overwritten, then
 * given to the primary, listed, applied or dropped. docs/salvage.md tells the whole story.
 *
 * Keeping is done by the session that was refused as diverged, in its thread. The rest belongs to
 * the main thread, but for the order by which things are given, which runs in a session's. */
#ifndef MAILTWIN_SALVAGE_RUN_H
#define MAILTWIN_SALVAGE_RUN_H

#include "replicator/daemon.h"
#include "replicator/salvage_part.h"
#include "replicator/session.h"

#define SALVAGE_MARK    "$Salvaged"
#define SALVAGE_ID_SIZE 40 /* "EPOCH-FORK", in hex */

struct salvages;

/* --- salvage_keep.c --- */

/* Of a session that decided REFUSE, DIVERGED. The journal is completed (a sweep that a crash or a
 * deposition broke off runs to its end), what lies behind the fork is copied and listed in each
 * store, durably, and only then may the peer overwrite this node. A crash on the way leaves it as
 * it was. 1 done: the two greet again, 0 none of this node's business, -1. */
int salvage_keep(struct session *s, struct err *e) _must_check_;

/* Of a session that is about to receive. A primary that was deposed before its sweep behind a crash
 * came to its end does not know yet what it has alone, nor one that was demoted or deposed while
 * names were held: its journal is completed. 1 there was something: the two greet again; 0 there
 * was nothing, -1. */
int salvage_look(struct session *s, struct err *e) _must_check_;

/* --- salvage.c --- */

struct salvages *salvages_new(struct daemon *d);
void salvages_free(struct salvages **salvages); /* no session runs; NULL is fine */
/* Something was kept: look again. From any thread. */
void salvages_changed(struct salvages *x);
/* How far the keeping is. */
struct salvage_progress {
    uint64_t items, items_total;
    uint64_t bytes, bytes_total; /* as the journal has them: they may turn out other */
};
/* NULL: none is under way. From any thread; x may be NULL. */
void salvages_progress(struct salvages *x, const struct salvage_progress *progress);
/* Session, before what START says is done: the loss of what is kept is none to the guard against
 * mass changes; and a deposed primary that has nothing alone puts that on record. */
int salvages_begin(struct session *s, struct err *e) _must_check_;
/* Session that receives, behind every START: the primary hears what this node had alone, or that it
 * had nothing. */
int salvages_tell(struct session *s, struct err *e) _must_check_;
/* The loss of what is kept is none to the guard. */
void salvages_allow(struct daemon *d);
/* Row of the state, see docs/formats/journal.md: it stays, for a link may end before the primary
 * has heard it. */
#define SALVAGE_NOTHING     "nothing_alone"
#define SALVAGE_NOTHING_ROW 24
/* Of this node, which was a primary, against the peer of the session. */
int salvage_put_nothing(const struct session *s, struct state_txn *txn, struct err *e) _must_check_;
/* Session that sends: what a node says of one folder, before it tells of all. */
int salvages_found_in(struct session *s, const struct wire_found_in *in,
                      struct err *e) _must_check_;
/* Session that sends: a node told that; the statement of what was lost is completed. */
int salvages_found(struct session *s, const struct wire_found *found, struct err *e) _must_check_;
/* Once a second: gives what is to be given, when this node follows a primary. */
void salvages_tick(struct salvages *x);
/* Main thread. {"delivered", "waiting", "listed", "unconfirmed"}: items that the primary has, that
 * it will be given, and that wait for a person; and those of the delivered that have not come back
 * by replication: their bytes are kept here. "keeping": how far that is, or null. */
json_t *salvages_counts(struct salvages *x);
/* The orders "salvage", "salvage-give" and "salvage-drop"; see cli/salvage.c. A list comes in
 * pages: "limit" items (1000 at most) behind the item "after", and how many `more` there are: at
 * least, where it begins behind an item. */
void salvages_list(struct salvages *x, struct control_call *call, const json_t *request);
void salvages_give(struct salvages *x, struct control_call *call, const json_t *request);
void salvages_drop(struct salvages *x, struct control_call *call, const json_t *request);

#endif
