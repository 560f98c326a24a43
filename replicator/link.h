/* link.h - the core of a link: what two nodes do with each other. Pure: facts in, decision out.
 *
 * Both sides run link_decide() on the two HELLOs and come to matching answers; rules: link.def,
 * numbered, read from the top, first fit wins. `link_next()` is the sender's schedule. Used by
 * session.c for real and by the simulator. */
#ifndef MAILTWIN_LINK_H
#define MAILTWIN_LINK_H

#include "lib/data/wire.h"

enum link_act {
    LINK_SEND,     /* START with mode RESUME from `from` */
    LINK_SYNC,     /* START with mode SYNC: walk all directories, then go on from `from` */
    LINK_RECEIVE,  /* wait for START */
    LINK_IDLE,     /* nothing to do for each other (both standby): keep the connection, wait */
    LINK_REFUSE,   /* say why with REFUSE, hold the peer as refused */
    LINK_STEP_DOWN /* the peer is newer: stop acting as primary, then behave as refused */
};

struct link_decision {
    enum link_act act;
    unsigned row;        /* the rule that fired */
    const char *because; /* its sentence */
    uint64_t from;
    bool again; /* SYNC: one that was interrupted goes on; else all directories, from the first */
    enum wire_refusal refusal; /* 0: none */
    uint64_t fork;             /* DIVERGED: the last seq both share */
};

/* ours, theirs: the HELLOs as sent and received. */
void link_decide(const struct wire_hello *ours, const struct wire_hello *theirs,
                 struct link_decision *ret_decision);
/* Shows once at start that every combination of facts has exactly one answer; aborts otherwise. */
void link_rules_check(void);

/* The last seq that two nodes of the same history share, from our history list and their newest
 * epoch and tail: their records up to it are ours too. */
uint64_t link_fork(const struct wire_hello *ours, const struct wire_hello *theirs);

/* The epoch a promotion takes: above all it has seen, and of no other node. Two nodes promoted
 * without knowing of each other must not share one: it is by epochs that their changes are told
 * apart. index: the node's place among node_count in the configuration, from 0. */
uint64_t link_next_epoch(uint64_t seen, size_t index, size_t node_count);
/* Whose promotion an epoch above 0 was: the same index. */
size_t link_epoch_index(uint64_t epoch, size_t node_count);

/* The sender's schedule: what to do next on a link that sends. */
enum link_work {
    LINK_WORK_RUN,
    LINK_WORK_SYNC,
    LINK_WORK_VERIFY,
    LINK_WORK_RECOVER,
    LINK_WORK_WAIT
};

struct link_view {
    uint64_t durable_tail;  /* newest seq that may be shipped */
    uint64_t cursor;        /* newest seq shipped */
    uint64_t acked_durable; /* newest seq the peer has durably */
    uint64_t window_bytes;  /* content bytes shipped and not acked */
    uint64_t window_max;
    bool sync_pending; /* directories left to walk, or answers to fix up */
    bool sync_waiting; /* as many questions are out as are allowed */
    bool verify_pending, verify_waiting;
    bool recover_pending; /* names to ask back after a power loss */
    bool answers_due;     /* the peer is answering, and reads nothing before it has */
};

enum link_work link_next(const struct link_view *view);

#endif
