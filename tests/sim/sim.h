/* sim.h - what the parts of the simulator share: the world, its nodes, links and the truth about
 * them. How it works: docs/simulation.md.
 *
 * One step is one millisecond of virtual time. All chance comes from one generator, so a seed is a
 * history. What the nodes cannot know (the truth) is kept apart from what they can. */
#ifndef MAILTWIN_SIM_H
#define MAILTWIN_SIM_H

#include "lib/data/wire.h"
#include "replicator/salvage_core.h"

#define NODES_MAX    3
#define TREE_MAX     40 /* names in a store; clients make fewer */
#define CLIENT_MAX   14
#define JOURNAL_MAX  48 /* records a node keeps */
#define RUN_MAX      6  /* records of one run */
#define QUEUE_MAX    64 /* messages on the way, one direction of a connection */
#define CONNS_MAX    8
#define PENDING_MAX  64   /* changes seen and not yet in the journal */
#define TRUTH_MAX    4096 /* records of one simulated history */
#define EPOCHS_MAX   48
#define UNSYNCED_MAX 8
#define ASKS_MAX     2
#define NEEDS_MAX    16
#define WAITERS_MAX  16
#define TOUCHED_MAX  64
#define KEPT_MAX     64 /* files that a node keeps of what it had alone */

/* --- a store: a small map from path to object --- */

/* Up to three components of a byte each, the first one highest; 0 is the root. */
typedef uint32_t path_t;

struct ent {
    path_t path;
    uint32_t obj;     /* identity of a file's content over all nodes; 0 a directory */
    uint32_t ver;     /* of the content */
    uint32_t dir;     /* this node's directory id; 0 a file */
    unsigned changed; /* when its content or its name was made: its ctime */
};

struct tree {
    unsigned count;
    uint32_t next_dir;
    struct ent ents[TREE_MAX];
};

struct rec {
    uint64_t seq; /* 0: a fix-up */
    uint64_t epoch;
    enum record_op op;
    path_t path, other;
    uint32_t obj, ver;
    bool is_dir;
    unsigned when;  /* it was done */
    unsigned truth; /* its place in the truth, 0 none */
};

/* --- a node --- */

/* The place of an unfinished sync, as the sender keeps it for each peer. */
struct place_of_sync {
    uint64_t base, epoch;
    uint32_t next, limit;
};

/* What lies in LMDB: changed and lost as a whole. */
struct state_of_node {
    enum wire_role role;
    unsigned history; /* 0 none */
    uint64_t epoch, tail, oldest, sync_base;
    bool told_resync;
    struct salvage_permission kept; /* what stands behind told_resync */
    struct held {                   /* what a power loss took: not to be recorded as deleted */
        path_t path;
        uint64_t seq;     /* who has come so far may have some of it; 0 when that is not known */
        uint64_t newest;  /* who has come so far must have had all of it */
        uint32_t without; /* a bit for each node that was asked and has it not */
    } held[TREE_MAX];
    unsigned held_count;
    unsigned epoch_count;
    struct wire_epoch epochs[EPOCHS_MAX];
    struct rec journal[JOURNAL_MAX]; /* by seq % JOURNAL_MAX */
    struct tree index;
    struct place_of_sync places[NODES_MAX];
    unsigned truth; /* of the record at the tail */
};

/* What a node keeps of what it had alone, until another has it. On its disk. */
struct kept {
    path_t path;
    uint32_t obj;
    uint64_t epoch, fork; /* of the salvage */
};

struct waiter {
    uint32_t obj;
    uint64_t seq;
};

struct node {
    unsigned id;
    bool up, full;
    unsigned versions, cluster, stores; /* configuration; all nodes' is the same, or should be */
    int follow;                         /* node, -1 whoever is primary */
    unsigned journal_max;
    struct state_of_node mem, disk; /* as the running transaction sees it; as committed */

    struct tree live;   /* the store as the running kernel shows it */
    struct tree synced; /* what a power loss leaves */
    uint64_t synced_marker;
    unsigned synced_marker_truth;
    struct tree unsynced[UNSYNCED_MAX]; /* after each change since `synced`, in order */
    unsigned unsynced_count;
    uint64_t marker;               /* apply: operations up to this seq are done */
    uint64_t touched[TOUCHED_MAX]; /* by directory id: the newest record about a name in it */
    path_t asked[NEEDS_MAX]; /* names it sent NEED for, until an operation names them; durable */
    unsigned asked_count;
    unsigned marker_truth; /* the last operation of the journal that reached the store */

    struct rec pending[PENDING_MAX]; /* seen by the capture, not in the journal */
    unsigned pending_count;
    bool sweep;    /* the queue is not to be trusted: compare everything */
    bool finished; /* of a deposed primary: its journal has all that it did */
    struct kept kept[KEPT_MAX];
    unsigned kept_count;
    struct waiter waiters[WAITERS_MAX];
    unsigned waiter_count;
    bool heard[NODES_MAX]; /* since it started: the peer said how far it has come */
    uint64_t heard_tail[NODES_MAX];

    /* the truth, for checks */
    uint64_t epoch_seen[8]; /* by history: the highest this disk ever held */
    unsigned acked_truth;   /* newest record it told to have durably */
    bool consent;           /* the operator allowed it to be overwritten */
    bool doomed;            /* and so what it has counts no more, until it is level */
};

/* --- a connection --- */

enum msg_type {
    M_HELLO,
    M_START,
    M_REC,
    M_COMMIT,
    M_ACK,
    M_ASK,
    M_ANSWER,
    M_SYNC_DONE,
    M_NEED,
    M_FETCH,
    M_FETCHED,
    M_GIVE,
    M_GIVEN
};

struct msg {
    enum msg_type type;
    struct rec rec; /* REC, NEED (path), FETCH, FETCHED, GIVE, GIVEN */
    bool gone;      /* GIVEN: it was not taken */
    uint32_t now_ver;
    uint64_t at;       /* REC: the seq it stands at in the stream */
    uint64_t run, seq; /* COMMIT, ACK; START: from */
    uint64_t base;     /* START: 0 resume */
    bool again;
    uint64_t epoch; /* START */
    unsigned truth; /* START: of `from` at the sender */
    uint32_t dir;   /* ASK, ANSWER */
    path_t path;
    uint64_t digest;
    enum wire_verdict verdict;
    struct tree list;
};

struct queue {
    unsigned first, count;
    struct msg msgs[QUEUE_MAX];
};

enum sess_state {
    SESS_HELLO,
    SESS_SEND,
    SESS_RECEIVE,
    SESS_HOLD
};

enum ask_state {
    ASK_FREE,
    ASK_SENT,
    ASK_ANSWERED
};

struct ask {
    enum ask_state state;
    uint32_t dir;
    uint64_t seq; /* the sender's cursor when it asked */
    enum wire_verdict verdict;
    struct tree theirs;
};

struct keeping {
    bool begun;
    unsigned next, count;
    struct kept items[TREE_MAX];
};

struct sess {
    enum sess_state state;
    struct link_decision decision;
    /* sending */
    struct tree snapshot; /* the index at snapshot_tail */
    uint64_t snapshot_tail;
    uint64_t cursor, acked, run;
    unsigned unacked;
    bool syncing;
    struct place_of_sync walk;
    uint64_t walk_run; /* the run with its newest fix-ups */
    struct ask asks[ASKS_MAX];
    struct rec needs[NEEDS_MAX];
    unsigned need_count;
    bool fetching;
    bool fresh;             /* the snapshot was not used for anything but runs */
    struct keeping keeping; /* refused */
    /* receiving */
    bool started, sync_done, giving;
    uint64_t epoch;
    unsigned op_count;
    struct msg ops[QUEUE_MAX];
};

struct conn {
    bool used;
    unsigned node[2];
    bool open[2]; /* as each end sees it */
    bool cut[2];  /* nothing from this end arrives */
    unsigned slow;
    struct wire_hello hello[2];
    struct queue from[2];
    struct sess sess[2];
};

/* --- the world --- */

struct truth {
    unsigned parent;
    uint64_t seq, epoch;
    unsigned history;
    struct tree tree; /* the index after the record */
};

enum fault_kind {
#define FAULT(name, weight, help) FAULT_##name,
#include "tests/sim/faults.def"
#undef FAULT
    FAULT_COUNT
};

/* What is broken on purpose, to see that it is noticed. */
enum broken {
    BROKEN_NOTHING,
#define BROKEN(name, row, seed, caught_by, help) BROKEN_##name,
#include "tests/sim/broken.def"
#undef BROKEN
    BROKEN_COUNT
};

struct run_opts {
    uint64_t seed;
    unsigned nodes, steps;
    uint32_t without; /* faults that are left out, a bit each */
    enum broken broken;
    bool trace;
};

struct world {
    struct run_opts opts;
    uint64_t random;
    unsigned now; /* ms */
    bool calm;    /* faults and clients have stopped */
    bool drift;   /* nodes were promoted with different lists of nodes */
    struct node nodes[NODES_MAX];
    struct conn conns[CONNS_MAX];
    struct truth *truth;
    unsigned truth_count;
    unsigned history_count;
    uint32_t obj_count;
    uint32_t ver_of[TRUTH_MAX]; /* newest content of an object */
    bool dead[TRUTH_MAX];       /* a client deleted it */
    bool gone[TRUTH_MAX];       /* it was shipped as gone */
    bool journalled[TRUTH_MAX];
    bool confirmed[TRUTH_MAX]; /* a barrier said that it is safe */
    bool owed[TRUTH_MAX];      /* a primary, or one that was, has or had it */
    bool given_up[TRUTH_MAX];  /* an operator gave a node free that had it */
    bool given[TRUTH_MAX];     /* and its last keeper was told that another has it */
    char failed[256];          /* the invariant that broke, "" none */
    const char *invariant;
};

__attribute__((format(printf, 3, 4))) void sim_fail(struct world *w, const char *invariant,
                                                    const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void sim_trace(struct world *w, const char *fmt, ...);
extern bool sim_rows[1000]; /* rules that fired */

#endif
