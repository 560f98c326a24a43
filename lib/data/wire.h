/* wire.h - the messages of the link, one struct each, all in one union. Format:
 * docs/formats/wire.md.
 *
 * wire_encode() appends a whole frame; wire_decode() checks a frame's body completely before it
 * hands anything out. Spans of a decoded message point into the frame. Messages: messages.def. */
#ifndef MAILTWIN_WIRE_H
#define MAILTWIN_WIRE_H

#include "lib/data/frame.h"
#include "lib/data/record.h"

#define WIRE_VERSION         1
#define WIRE_HISTORY_SIZE    16
#define WIRE_DIGEST_SIZE     16
#define WIRE_NAME_MAX        64   /* bytes of a node's, store's or cluster's name */
#define WIRE_TEXT_MAX        1000 /* bytes of a sentence for people */
#define WIRE_STORES_MAX      RECORD_STORE_MAX
#define WIRE_EPOCHS_MAX      256 /* newest promotions told in HELLO */
#define WIRE_XATTRS_MAX      64
#define WIRE_XATTR_NAME_MAX  255
#define WIRE_XATTR_VALUE_MAX 65536
#define WIRE_DATA_MAX        (256 * 1024) /* content bytes of one DATA, bytes of one SIG */
#define WIRE_DIRS_MAX        512          /* directories of one DIGEST_ASK */
#define WIRE_COUNT_MAX       INT64_MAX    /* of what SYNC_PROGRESS counts: JSON has no more */
#define WIRE_KEYWORDS_MAX    32           /* of a message: 26 letters, and marks */
#define WIRE_KEYWORD_SIZE    128          /* bytes of a keyword's name */
#define WIRE_GUID_SIZE       32           /* hex digits of a mailbox GUID */
/* Bytes of all xattrs of a REC (names and values), of all paths of a DIGEST_ASK, of the entries of
 * a DIGEST_ANSWER: each fits a frame then, whatever else the message holds. */
#define WIRE_BULK_MAX (384 * 1024)

enum wire_type {
#define MSG(name, number, from, help) WIRE_##name = number,
#include "lib/data/messages.def"
#undef MSG
};

enum wire_role {
    WIRE_ROLE_NONE = 0,
    WIRE_ROLE_PRIMARY = 1,
    WIRE_ROLE_STANDBY = 2
};

/* (epoch, the first seq of that epoch): a line of the history list */
struct wire_epoch {
    uint64_t epoch;
    uint64_t first_seq;
};

struct wire_store {
    struct span name; /* its index in HELLO is the number records use */
    uint8_t kind;     /* enum store_kind of lib/store/store.h */
};

/* First message of both sides. */
struct wire_hello {
    uint16_t version_min, version_max;
    struct span cluster, node;
    struct span follow; /* the node it wants to follow, "" for whoever is primary */
    uint8_t role;
    uint8_t history[WIRE_HISTORY_SIZE]; /* all zero: has no data of any history yet */
    uint64_t epoch;
    uint64_t tail;       /* newest seq durable here; what a standby has applied durably */
    uint64_t oldest;     /* oldest seq still in the journal; tail + 1 when it is empty */
    uint64_t sync_base;  /* not 0: an initial sync or resync begun at this seq is unfinished */
    uint8_t accept_sync; /* standby: 1 when it may be overwritten (empty, or told to resync) */
    uint16_t epoch_count, store_count;
    struct wire_epoch epochs[WIRE_EPOCHS_MAX]; /* rising */
    struct wire_store stores[WIRE_STORES_MAX];
};

enum wire_mode {
    WIRE_MODE_RESUME = 1,
    WIRE_MODE_SYNC = 2
};

/* Sender to receiver: what comes now. */
struct wire_start {
    uint8_t mode;
    uint8_t history[WIRE_HISTORY_SIZE];
    uint64_t epoch;
    uint64_t from;      /* records with a larger seq follow */
    uint64_t sync_base; /* SYNC: the seq at which this sync began */
    uint16_t epoch_count;
    struct wire_epoch
        epochs[WIRE_EPOCHS_MAX]; /* the sender's history list, for the receiver to keep */
};

enum wire_refusal {
    WIRE_REFUSE_VERSION = 1,
    WIRE_REFUSE_CLUSTER,
    WIRE_REFUSE_STORES,
    WIRE_REFUSE_OLD_EPOCH, /* you are older: node and epoch name the newer one */
    WIRE_REFUSE_DIVERGED,  /* your tail lies beyond the fork at seq fork */
    WIRE_REFUSE_FOREIGN,   /* you have data of another history */
    WIRE_REFUSE_NOT_EMPTY, /* you have data of no history and were not told to resync */
    WIRE_REFUSE_INTERNAL,
};

struct wire_refuse {
    uint8_t code;
    uint64_t epoch;
    uint64_t fork;
    struct span node;
    struct span text; /* one sentence for the other side's status */
};

enum wire_content {
    WIRE_CONTENT_NONE = 0, /* the operation has none */
    WIRE_CONTENT_DATA = 1, /* DATA and END follow */
    WIRE_CONTENT_DELTA =
        2, /* DATA (a librsync delta against what the receiver has) and END follow */
    WIRE_CONTENT_GONE = 3, /* the object no longer exists; nothing follows, nothing is to be done */
};

struct wire_xattr {
    struct span name;
    struct span value;
};

/* One operation. seq 0: a fix-up of a sync, not from the journal. The record's handle is empty. */
struct wire_rec {
    struct record record;
    uint8_t content;
    struct attr now; /* as read when it was shipped; what the receiver gives the object */
    uint16_t xattr_count;
    struct wire_xattr xattrs[WIRE_XATTRS_MAX];
};

struct wire_data {
    uint64_t offset; /* in the file; what is left out between two is a hole. DELTA: in the delta */
    struct span bytes;
};

struct wire_end {
    uint64_t size; /* of the whole file after this */
    uint32_t crc;  /* CRC-32C over the bytes of all DATA in order */
    uint8_t ok;    /* 0: reading failed half-way; drop what was staged, nothing is to be done */
};

/* Ends a run: all records up to seq have been sent and are durable at the sender. */
struct wire_commit {
    uint64_t run;
    uint64_t seq;
    uint64_t time_ns; /* capture time of the newest record in it */
    uint64_t tail;    /* the sender's newest seq, for the receiver's lag */
};

struct wire_ack {
    uint64_t run; /* newest run that is durable, 0 none yet */
    uint64_t received_seq;
    uint64_t durable_seq;
};

enum wire_digest_flag {
    WIRE_DIGEST_CONTENT = 1 /* covers the bytes of files too */
};

struct wire_dir {
    uint64_t dir; /* the asker's directory id; comes back in the answer */
    struct span path;
    uint8_t digest[WIRE_DIGEST_SIZE];
};

struct wire_digest_ask {
    uint32_t id;
    uint16_t store;
    uint8_t flags;
    uint16_t count;
    struct wire_dir dirs[WIRE_DIRS_MAX];
};

enum wire_verdict {
    WIRE_DIR_SAME = 1,
    WIRE_DIR_ABSENT,
    WIRE_DIR_DIFFERENT,
    WIRE_DIR_FAILED
};

/* About one directory; a long listing comes in several, `more` set on all but the last.
 * `entries` is a packed list: walk it with wire_entry_next(). */
struct wire_digest_answer {
    uint32_t id;
    uint64_t dir;
    uint8_t verdict;
    uint8_t more;
    struct attr self; /* the directory's own mode, owner and times, when it exists */
    uint32_t entry_count;
    struct span entries;
};

struct wire_entry {
    struct span name;
    struct attr attr;
    uint64_t ino;
    uint32_t nlink;
    uint8_t has_hash;
    uint8_t hash[WIRE_DIGEST_SIZE]; /* of the content or of the symlink's target */
};

struct wire_sig_ask {
    uint16_t store;
    struct span path;
};

/* The librsync signature of what the receiver has, in pieces. ok 0: has no such file. */
struct wire_sig {
    uint8_t ok;
    uint8_t last;
    struct span bytes;
};

/* Receiver to sender: ship this name as it is now, and all below it. It is missing here, or stands
 * in the way. */
struct wire_need {
    uint16_t store;
    uint64_t seq;   /* the path is that of the tree at this record */
    uint8_t is_dir; /* a directory has the name here: it goes when the sender has none there */
    struct span path;
};

/* Primary to standby after a power loss: give me what you have under this name. Answered by REC,
 * DATA, END with the same path, or by REC with content GONE when the standby has none. */
struct wire_fetch {
    uint16_t store;
    struct span path;
};

/* Receiver to sender: applying pauses and why; code 0: it goes on. */
struct wire_stall {
    uint16_t code; /* enum err_code */
    struct span text;
};

struct wire_sync_done {
    uint64_t sync_base;
    uint64_t differences;
};

/* Sender to receiver, about once a second while a sync runs: how far it is. For people: nothing
 * follows from it. */
struct wire_sync_progress {
    uint64_t done, total; /* directory ids that are level, of how many (an estimate, not 0): not
                             each id has a directory any more */
    uint64_t from; /* ids that were level when this session began: it may go on with a sync */
    uint64_t directories; /* looked at in this session */
    uint64_t spent_ms;    /* since the session's sync began */
};

/* Receiver to the primary: take this. DATA and END follow what has bytes; one GIVEN answers each,
 * in any order. What the primary does with it: replicator/intake.h. */
enum wire_give_kind {
    WIRE_GIVE_MESSAGE = 1, /* of a Maildir store: path is folder/cur/name or folder/new/name */
    WIRE_GIVE_FILE,        /* any other file */
    WIRE_GIVE_DIR,         /* a directory, with all above it; in a Maildir store a folder */
};

enum wire_give_mode {
    WIRE_GIVE_DELIVER = 1, /* a message, unless the mailbox has it; under a new name if needed */
    WIRE_GIVE_PUT,         /* only where nothing is */
    WIRE_GIVE_REPLACE,     /* in the place of the file, or of the message of this base name */
    WIRE_GIVE_FLAGS,       /* the message of this base name gets these flags; no bytes follow */
    WIRE_GIVE_REMOVE, /* the message of this base name, the file, or the directory with all in it,
                         goes; no bytes follow */
    WIRE_GIVE_MOVE,   /* what is called `from` gets this name, a directory with all in it, a message
                         another folder; no bytes follow */
};

/* A keyword that the message is to have. Letters mean something in one folder of one node alone:
 * those in the message's name are told by name, what no letter here names is dropped there. */
struct wire_keyword {
    uint8_t letter; /* 'a' to 'z' in the name given, 0: not in it, a mark to be set */
    struct span name;
};

struct wire_give {
    uint64_t id;
    uint16_t store;
    uint8_t kind, mode;
    struct attr attr; /* size is that of the bytes that follow; where none do, of what is meant */
    struct span path;
    struct span
        guid; /* the folder's mailbox GUID, where it may be called otherwise by now; or "" */
    struct span from; /* of a MOVE: the name before */
    uint64_t since;   /* of a directory's REMOVE: the last record that both nodes know */
    uint16_t keyword_count;
    struct wire_keyword keywords[WIRE_KEYWORDS_MAX];
    uint16_t xattr_count; /* of a file */
    struct wire_xattr xattrs[WIRE_XATTRS_MAX];
};

enum wire_given_result {
    WIRE_GIVEN_CREATED = 1, /* done, durably */
    WIRE_GIVEN_EXISTS,      /* it was so already, or something else is in its place; see text */
    WIRE_GIVEN_FAILED,      /* not now: it may be given again */
    WIRE_GIVEN_REFUSED,     /* never */
};

struct wire_given {
    uint64_t id;
    uint8_t result;
    struct span path; /* where it is by now, "" nowhere */
    struct span text; /* why, when there is something to say */
};

/* Sender to receiver, about once a second and before a run: what a receiver that hears no more
 * knows to be missing. For people: nothing that is applied follows from it. */
struct wire_tail {
    uint64_t seq;     /* newest durable one */
    uint64_t time_ns; /* the sender's CLOCK_REALTIME */
};

/* Receiver to the primary: what a node that was the primary had alone, for the statement of what
 * was lost. All of it is known and kept. */
struct wire_found {
    uint64_t epoch; /* of the node when it was the primary */
    uint64_t time_s;
    uint64_t messages, flag_changes, expunges, others;
};

/* Before the FOUND that it is a part of: what there was in one folder, or in all the further ones.
 * For people: nothing that is applied follows from it. */
struct wire_found_in {
    uint16_t store;
    uint8_t further;          /* 1: in all folders that are not named */
    struct span user, folder; /* as in struct mailbox, without a NUL */
    uint64_t messages, flag_changes, expunges, others;
};

/* Receiver to the primary, behind the answers to what it gave: where is your journal when it has
 * all of that? Who has applied so much has it on its own disk. A newer question takes the place of
 * one that is not answered yet. */
struct wire_barrier {
    uint64_t id;
};

struct wire_reached {
    uint64_t id;
    uint64_t seq;
};

struct wire_ping {
    uint64_t stamp_ns;
};

struct wire_bye {
    struct span text;
};

struct wire_msg {
    enum wire_type type;
    union {
        struct wire_hello hello;
        struct wire_start start;
        struct wire_refuse refuse;
        struct wire_rec rec;
        struct wire_data data;
        struct wire_end end;
        struct wire_commit commit;
        struct wire_ack ack;
        struct wire_digest_ask digest_ask;
        struct wire_digest_answer digest_answer;
        struct wire_sig_ask sig_ask;
        struct wire_sig sig;
        struct wire_need need;
        struct wire_fetch fetch;
        struct wire_stall stall;
        struct wire_sync_done sync_done;
        struct wire_sync_progress sync_progress;
        struct wire_tail tail;
        struct wire_give give;
        struct wire_given given;
        struct wire_found found;
        struct wire_found_in found_in;
        struct wire_barrier barrier;
        struct wire_reached reached;
        struct wire_ping ping; /* PING and PONG */
        struct wire_bye bye;
    };
};

/* Appends the message as one frame. What does not fit its limits is a bug of the caller, but for
 * sentences for people: they are cut to WIRE_TEXT_MAX, and control bytes in them become '?'. The
 * xattrs of a REC or GIVE may come in any order. */
void wire_encode(const struct wire_msg *msg, struct buf *out);
/* Decodes and checks the body of a frame. *ret_msg is large: keep one per connection. */
int wire_decode(const struct frame *frame, struct wire_msg *ret_msg, struct err *e) _must_check_;
const char *wire_type_word(enum wire_type type);

void wire_entry_add(struct buf *entries, const struct wire_entry *entry);
/* 1 an entry, 0 no more, -1 malformed. Decoding an answer has walked the list once already and has
 * seen that the names rise. */
int wire_entry_next(struct reader *entries, struct wire_entry *ret_entry,
                    struct err *e) _must_check_;

#endif
