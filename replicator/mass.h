/* mass.h - the mass-change guard of a node that applies: what each loss means to the store's
 * guard, and what it means that one is closed. Rules: guard.h.
 *
 * While it is closed nothing is applied and nothing that is retained expires, over restarts and
 * whatever the link does, until an operator releases it or the node is promoted. */
#ifndef MAILTWIN_MASS_H
#define MAILTWIN_MASS_H

#include "replicator/apply.h"
#include "replicator/node.h"

struct mass;

/* What is on record of a guard that closed; a row of the state, docs/formats/journal.md. */
#define MASS_ROW "mass_change"

enum mass_state {
    MASS_OPEN,
    MASS_CLOSED,
    MASS_DISCARD, /* open, and what it lets through is given back to the primary */
};

struct mass_facts {
    enum mass_state state;
    bool syncing;         /* the changes came of a sync, not of the primary's users */
    uint16_t store;       /* number of the store */
    uint64_t at_ms;       /* since 1970, when it closed */
    uint64_t began_ms;    /* time of the oldest record that may belong to it */
    uint64_t lost, of;    /* files, and how many there were, or more */
    uint64_t released_ms; /* records up to this time are let through; 0 none were */
    char path[256];       /* what the last of them would have taken; cut where it is too long */
};

void mass_encode(const struct mass_facts *facts, struct buf *out);
int mass_decode(struct span row, struct mass_facts *ret_facts, struct err *e) _must_check_;

/* Reads the row. */
int mass_new(struct node *node, struct mass **ret_mass, struct err *e) _must_check_;
void mass_free(struct mass **mass);

/* For apply_guard(). ERR_REFUSED: it is closed now, or was. */
int mass_ask(void *mass, const struct apply_loss *loss, struct err *e) _must_check_;
void mass_syncing(struct mass *mass, bool syncing);
/* Session, behind that: so many files of the store are kept elsewhere (salvage), and their loss in
 * this sync is none. */
void mass_allow(struct mass *mass, uint16_t store, uint64_t files);
/* From any thread: a file is given to the primary to replace what it has, and its record, made
 * within mass-change-window, will come here as a loss that is none; false: it did not replace
 * anything after all. */
void mass_put_back(struct mass *mass, uint16_t store, bool comes);
/* true and the sentence when applying must wait. From any thread. */
bool mass_closed(struct mass *mass, struct err *e);
void mass_facts(struct mass *mass, struct mass_facts *ret_facts);
/* What is not on record yet goes into the transaction. 1 something did, 0 nothing. */
int mass_save(struct mass *mass, struct state_txn *txn, struct err *e) _must_check_;

/* All that the primary had is carried out. Said of the time before mass_release() it means nothing.
 */
void mass_level(struct mass *mass);
/* Was it since the mass change was let through? */
bool mass_is_level(struct mass *mass);

/* The operator lets it through: all records up to now. ERR_REFUSED: it is not closed. */
int mass_release(struct mass *mass, enum mass_state state, struct err *e) _must_check_;
/* The node is no standby any more, or all that was discarded is given back. */
int mass_end(struct mass *mass, struct err *e) _must_check_;

#endif
