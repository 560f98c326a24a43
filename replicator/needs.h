/* needs.h - the names a standby asked its sender for and has not got yet. They are part of its
 * state (docs/formats/journal.md): a question that goes down with its link is asked again. Belongs
 * to the receiving session. */
#ifndef MAILTWIN_NEEDS_H
#define MAILTWIN_NEEDS_H

#include "lib/data/state.h"
#include "replicator/apply.h"

#define NEEDS_TRIES 8    /* times a name is asked for; then it is left to verify */
#define NEEDS_MAX   1000 /* kept; more are asked for once */

struct needs {
    struct buf list; /* per name: store u16, tries u8, more u8, path span16 */
    size_t count;
    uint64_t position; /* newest record carried out: paths are those of the tree there */
    bool changed;      /* since they were loaded or saved */
    void (*ask)(void *arg, const struct wire_need *need);
    void *arg;
};

void needs_free(struct needs *needs);
int needs_load(struct needs *needs, struct state_txn *txn, struct err *e) _must_check_;
int needs_open(struct needs *needs, struct state *state, struct err *e) _must_check_;
int needs_save(struct needs *needs, struct state_txn *txn, struct err *e) _must_check_;
/* The stream goes on behind seq; anew: everything is compared, and nothing is waited for. */
void needs_start(struct needs *needs, uint64_t seq, bool anew);
/* Asks for all of them again. is_dir() says whether a directory has the name here. */
void needs_ask_again(struct needs *needs,
                     bool (*is_dir)(void *arg, uint16_t store, struct span path));
/* What an operation settles, moves or lacks, right behind it. syncing: directories that are missing
 * are brought by the walk. */
void needs_note(struct needs *needs, const struct applied *applied, bool syncing);

#endif
