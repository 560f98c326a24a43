/* risk.h - what would be lost with this machine now: the changes that no other node has on its
 * disk, and whose mail they are. */
#ifndef MAILTWIN_RISK_H
#define MAILTWIN_RISK_H

#include "lib/data/state.h"
#include "lib/os/conf.h"

#define RISK_RECORDS_MAX 100000 /* looked at, at most: somebody waits for the answer */

struct risk_user {
    uint16_t store;
    struct span user; /* as long as the transaction lives; "" of nobody in particular */
    uint64_t messages, changes;
};

struct risk {
    uint64_t messages; /* new ones, and copies */
    uint64_t changes;  /* all of them, the messages among them */
    uint64_t since_ns; /* when the oldest was captured, 0 there is none */
    bool complete; /* else there are more: the journal was cut, or RISK_RECORDS_MAX is reached */
    struct risk_user *users; /* who has most messages first */
    size_t user_count;
};

/* Counts the records behind seq `safe`. Pure but for the reading of the journal in txn. */
int risk_count(const struct conf *conf, struct state_txn *txn, uint64_t safe, struct risk *ret_risk,
               struct err *e) _must_check_;
void risk_free(struct risk *risk);

#endif
