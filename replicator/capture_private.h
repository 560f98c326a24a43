/* capture_private.h - what the files of the capture share: capture.c (the thread and its turns),
 * capture_start.c, capture_orders.c and capture_held.c (what other threads ask). */
#ifndef MAILTWIN_CAPTURE_PRIVATE_H
#define MAILTWIN_CAPTURE_PRIVATE_H

#include "replicator/batch.h"
#include "replicator/capture.h"
#include "replicator/pace.h"
#include "replicator/scan.h"

#include <pthread.h>
#include <stdatomic.h>

#define CHECKPOINT_MS  30000
#define CAPTURE_FORCED (HINT_FORCE | WATCH_ATTRIB) /* record it, whatever the index says */

enum request_kind {
    REQ_BARRIER,
    REQ_SETTLE,
    REQ_FORCE,
    REQ_NEED,
    REQ_UNREADABLE,
    REQ_BACK,    /* a held name was brought back, or was right */
    REQ_SPOILT,  /* one in doubt is wrong */
    REQ_WITHOUT, /* a node has it not */
    REQ_HEARD,   /* a node told how far it has come */
    REQ_YIELD,   /* the node is about to be overwritten */
    REQ_GIVE_UP,
    REQ_PEER,
    REQ_CHECKPOINT
};

struct request {
    struct request *next;
    enum request_kind kind;
    void (*done)(void *arg, uint64_t seq);
    void *arg;
    uint16_t store;
    bool is_dir;
    bool hurry; /* of a REQ_SETTLE: not at the journal's pace */
    uint64_t seq;
    uint64_t dir;
    char *key;        /* or a node's name */
    struct buf bytes; /* path, name or value */
};

/* A node of the configuration, since this capture began. */
struct heard {
    bool heard;
    uint64_t tail; /* how far it has come in this history, as a whole; 0 it has nothing of it */
};

struct unreadable {
    struct hints told;  /* since the last try */
    struct hints tried; /* at the last try */
    uint64_t due_ms;    /* the next one, 0 none */
};

struct capture {
    struct node *node;
    struct watch *watch;
    struct compare compare;
    struct scan scan;
    struct batch batch;
    void (*on_tail)(void *arg, uint64_t tail);
    void *on_tail_arg;
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;     /* end after this turn */
    atomic_bool stopping; /* a clean stop waits for its barrier; a stall ends it at once */
    atomic_uint_fast64_t tail;
    atomic_uint_fast64_t held; /* names held; 0 saves everybody a look */

    pthread_mutex_t lock; /* of what follows */
    struct request *queue, **queue_end;
    size_t needs; /* of the queue */
    struct capture_status status;
    struct heard *heard; /* one for each node of the configuration */

    /* the thread's own */
    struct request *waiting; /* barriers not answered yet */
    struct unreadable unreadable;
    bool need_sweep, initial, stalled;
    bool unpark_due; /* behind the sweep: what the index did not know at the start */
    struct pace pace;
    uint64_t checkpoint_due_ms;
    uint64_t checkpoint_seq; /* 0: none under way */
    pthread_t checkpoint_thread;
};

/* Nothing is being looked for, nor must be. */
bool capture_settled(const struct capture *c);
void *capture_run(void *arg); /* the thread */
void capture_checkpoint_join(struct capture *c);

/* Orders. */
void capture_post(struct capture *c, struct request *r);
void capture_wake(struct capture *c);
void request_free(struct request *r);
struct request *capture_take(struct capture *c);
/* Carries orders out; those who wait are kept. On failure what is left is kept for the next turn.
 */
int capture_obey(struct capture *c, struct request **list, struct err *e) _must_check_;
bool capture_barrier_waits(const struct capture *c);
/* Somebody waits for the next turn, and for more than to have a run complete or a note kept. */
bool capture_is_urgent(struct capture *c);
/* One who waits was not to wait for the journal's pace. */
bool capture_hurries(const struct capture *c);
/* Answers those whose condition holds. drained: the queue was empty at the end of the turn. */
void capture_answer(struct capture *c, bool drained);
/* A sender that asked must not hang while the journal cannot be written. */
void capture_answer_settles(struct capture *c);
/* Held names: capture_held.c. */
int capture_obey_held(struct capture *c, const struct request *r, struct err *e) _must_check_;
/* Gives up those that no node can have. */
int capture_held_review(struct capture *c, struct err *e) _must_check_;
/* Nothing is held any more: what was left out meanwhile is looked at. */
void capture_held_end(struct capture *c);
/* What the disk does not give: capture_unreadable.c. */
void unreadable_init(struct unreadable *u);
void unreadable_free(struct unreadable *u);
uint64_t unreadable_count(const struct capture *c);
int capture_obey_unreadable(struct capture *c, struct request *r, struct err *e) _must_check_;
void capture_note_unknown(struct capture *c);   /* what the compare could not look at */
void capture_try_unreadable(struct capture *c); /* when it is time */
/* Nobody is left waiting at the end of the thread. */
void capture_give_up(struct capture *c, struct request *orders);

#endif
