/* capture.h - the thread that keeps journal and index in step with the stores of a primary.
 *
 * It is the only writer of the state while it runs. Other threads ask it by the calls below; all
 * are safe from any thread. */
#ifndef MAILTWIN_CAPTURE_H
#define MAILTWIN_CAPTURE_H

#include "replicator/node.h"

struct capture;

#define CAPTURE_NEEDS_MAX 100000

enum capture_phase {
    CAPTURE_INITIAL,  /* the first reading of the stores: no peer can be sent anything yet */
    CAPTURE_SWEEPING, /* looking for what changed while nobody watched */
    CAPTURE_LIVE,
    CAPTURE_STALLED, /* the journal cannot be written; see the text */
};

struct capture_status {
    enum capture_phase phase;
    uint64_t tail;       /* newest durable seq */
    uint64_t tail_ns;    /* when its change was captured */
    uint64_t held;       /* names that a power loss took, and that are not back */
    uint64_t unreadable; /* names whose objects the disk does not give */
    uint64_t dirs_seen;
    char text[256];
};

/* adopt_fd: a fanotify queue left by an earlier instance, -1 none. on_tail is called from the
 * capture thread after each commit that moved the tail. */
int capture_start(struct node *node, int adopt_fd, void (*on_tail)(void *arg, uint64_t tail),
                  void *arg, struct capture **ret_capture, struct err *e) _must_check_;
/* Drains, syncs, notes the evidence for a start without a scan; the queue's descriptor goes on
 * living where the service manager has it. true: all that happened up to now is in the journal;
 * false: a sweep has not come to its end, or the journal could not be written. NULL is fine. */
bool capture_stop(struct capture **capture);
/* The descriptor to be left with the service manager. */
int capture_watch_fd(const struct capture *capture);

void capture_status(struct capture *capture, struct capture_status *ret_status);
uint64_t capture_tail(const struct capture *capture); /* newest durable seq */

/* All changes made before this call are in the journal when done() is called (from the capture
 * thread) with the seq they reach. One look at the queue serves everyone who waits. */
void capture_barrier(struct capture *capture, void (*done)(void *arg, uint64_t seq), void *arg);
/* The same for the calling thread, without waiting for sweeps or for files still being written.
 * Returns the tail. hurry: somebody waits for the caller; else it waits for the journal's pace. */
uint64_t capture_settle(struct capture *capture, bool hurry);

/* Compare this name of a directory of the index again and record it whatever the index says, under
 * the path that the directory has then. is_dir: what the peer has there. */
void capture_force(struct capture *capture, uint64_t dir, struct span name, bool is_dir);
/* The same for what a peer lacks or has in its way, and for all that is below it. The path is that
 * of the tree at seq. ERR_PROTOCOL: more is asked for at once than is kept (CAPTURE_NEEDS_MAX). */
int capture_need(struct capture *capture, const struct wire_need *need, struct err *e) _must_check_;

/* The disk did not give the object that has this path in the tree at seq: it is recorded again
 * after a while, so that it is shipped once it can be read. */
void capture_unreadable(struct capture *capture, uint16_t store, struct span path, uint64_t seq);

/* --- names that a power loss took: docs/power-loss.md --- */

struct capture_held {
    uint64_t dir; /* with name: its place in the list; 0, "" is before the first */
    struct buf name;
    bool doubt; /* it is there, its bytes may be wrong */
    uint16_t store;
    struct buf path;
};

/* From a session: a node has said how far it has come in this node's history, as a whole; 0 when it
 * has nothing of it, or not all. */
void capture_heard(struct capture *capture, const char *node, uint64_t tail);
/* This node is about to be overwritten by that one, which has come as far as `tail`: no other
 * counts as one that may have a name, and what stands under one and is newer, or in the place of a
 * directory above it, is recorded, too. capture_settle() waits for it, but for the sweep. */
void capture_yield(struct capture *capture, const char *node, uint64_t tail);
/* The next name behind *held that this node may have and can be asked for; NULL: any name. 1 found,
 * 0 none. */
int capture_held_next(struct capture *capture, const char *node, struct capture_held *held,
                      struct err *e) _must_check_;
/* May that node have it, as far as is known? */
bool capture_held_may_be_on(struct capture *capture, const struct capture_held *held,
                            const char *node);
/* Must the node be sent nothing, because it may lack a held name that another one may have? It
 * could be promoted without it. */
bool capture_held_waits(struct capture *capture, const char *node);
/* Is what is there still what the power loss left? Else it is newer than what a node would give. */
bool capture_held_still(struct capture *capture, const struct capture_held *held);
enum capture_held_answer {
    CAPTURE_HELD_BACK,    /* it was brought back, or is right */
    CAPTURE_HELD_SPOILT,  /* its bytes are wrong: it is lost */
    CAPTURE_HELD_WITHOUT, /* the node has it not */
};
void capture_held_answer(struct capture *capture, const struct capture_held *held, const char *node,
                         enum capture_held_answer answer);
/* An operator: what nobody gave back is given up now. */
void capture_held_give_up(struct capture *capture);

uint64_t capture_now_ms(void); /* monotonic */

/* A peer's position, kept with the next commit, which does not hurry for it. */
void capture_note_peer(struct capture *capture, const char *key, struct span value);

#endif
