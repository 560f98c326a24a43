/* dialogue.h - one client's dialogue through the gate, decided without I/O.
 *
 * Bytes of the client and of the server behind are handed in, bytes for both come out; in between
 * the session says what it waits for, and its owner does that. One command is under way at a time:
 * the next is read when the reply to the one before is here, so no reply can belong to another
 * command, whatever is pipelined. Passed on is everything but
 *
 * - MAIL while the owner says that mail cannot be made safe now: 451, nothing reaches the server;
 * - a reply 2xx to a message, or one that says that it is stored (lmtp_is_stored()): it is held,
 *   and what follows it, until dialogue_barrier();
 * - a message for recipients of whom the owner remembers something: it is kept by the owner (the
 *   spool) until its end, then given to the server for those recipients alone that have not got it;
 * - commands that would take the message out of the gate's sight (STARTTLS, BURL), and lines on
 *   whose meaning servers disagree (lmtp.h): refused here. */
#ifndef MAILTWIN_GATE_DIALOGUE_H
#define MAILTWIN_GATE_DIALOGUE_H

#include "gate/lmtp.h"

#define DIALOGUE_RCPTS_MAX 1000
#define DIALOGUE_LINES_MAX (256 * 1024) /* of MAIL and RCPT commands of one message */
#define DIALOGUE_WHY_MAX   256
#define DIALOGUE_AHEAD_MAX 64 /* commands passed on whose replies are not here */

enum dialogue_want {
    DIALOGUE_CLIENT,   /* dialogue_client(): bytes of the client */
    DIALOGUE_BACKEND,  /* dialogue_backend(): bytes of the server */
    DIALOGUE_DOOR,     /* dialogue_door(): may a message begin? */
    DIALOGUE_BEGIN,    /* dialogue_begin(): its recipients are complete */
    DIALOGUE_DECISION, /* rcpts[].known, then dialogue_decide(): the spool is complete */
    DIALOGUE_REPLAY,   /* dialogue_replay(): what is in the spool */
    DIALOGUE_BARRIER,  /* dialogue_barrier(): is what the server took safe? */
    DIALOGUE_END,      /* close both, when what is for the client is written */
};

enum dialogue_state {
    STATE_GREETING,
    STATE_READY,
    STATE_REPLY,
    STATE_DOOR,
    STATE_BEGIN,
    STATE_CONTENT, /* behind DATA */
    STATE_CHUNK,   /* behind BDAT */
    STATE_FINAL,   /* one reply for each recipient */
    STATE_DECISION,
    STATE_AGAIN_RSET, /* from here to AGAIN_CLEAN: the message of the spool is delivered */
    STATE_AGAIN_MAIL,
    STATE_AGAIN_RCPT,
    STATE_AGAIN_DATA,
    STATE_AGAIN_CONTENT,
    STATE_AGAIN_CLEAN,
    STATE_BARRIER,
    STATE_END,
    STATE_COUNT
};

enum dialogue_mode {
    MODE_NONE,    /* no content yet */
    MODE_THROUGH, /* to the server as it comes */
    MODE_SPOOL,   /* to the owner */
    MODE_DISCARD, /* of a message that was refused */
};

struct dialogue_text { /* bytes of a buffer by their place in it */
    size_t at, len;
};

struct dialogue_rcpt {
    struct dialogue_text line, path; /* in lines */
    struct dialogue_text reply;      /* in replies; empty: none yet */
    bool known; /* set by the owner before dialogue_decide(): the server has it already */
};

struct dialogue_asked {
    enum lmtp_verb verb;
    struct dialogue_text line, path; /* in asked_lines */
};

struct dialogue {
    /* What comes out; the owner takes it after each call. */
    struct buf to_client, to_backend;
    struct buf content; /* of the message, as it is hashed: dots and chunks undone */
    int took;           /* the recipient whose message the server has just taken, else -1 */

    /* The message under way. */
    struct buf lines, replies;
    struct dialogue_text mail, sender; /* in lines */
    struct dialogue_rcpt *rcpts;
    size_t count;
    bool chunking;

    /* The session's own. */
    enum dialogue_state state;
    enum dialogue_mode mode;
    struct dialogue_asked asked[DIALOGUE_AHEAD_MAX]; /* commands whose replies are waited for */
    size_t asked_count, asked_at;
    struct buf asked_lines;
    bool then_spool; /* behind these replies the message begins, into the spool */
    struct buf line; /* that command, with CRLF */
    struct lmtp_command command;
    struct dialogue_text path; /* of that command, in line */
    bool opaque;               /* the client's next line is a part of AUTH */
    bool refused;              /* MAIL was, and what belongs to it is */
    char why[DIALOGUE_WHY_MAX];
    enum lmtp_place place;
    bool at_start;
    uint64_t chunk_left;
    size_t at, told; /* the recipient whose turn it is; how many have their reply */
    bool released, spool_failed;
    size_t room; /* of rcpts */
};

void dialogue_init(struct dialogue *d);
void dialogue_free(struct dialogue *d);
enum dialogue_want dialogue_wants(const struct dialogue *d);
/* Between two messages, nothing under way. */
bool dialogue_idle(const struct dialogue *d);

/* Each is called when it is wanted. Those that are handed bytes return how many they took; 0 means
 * that more are needed. */
size_t dialogue_client(struct dialogue *d, struct span in);
size_t dialogue_backend(struct dialogue *d, struct span in);
/* While replies are waited for: bytes of the client's next command, when it may go on before them
 * (MAIL, RCPT and DATA in one packet are one packet for the server, too). */
size_t dialogue_ahead(struct dialogue *d, struct span in);
/* why NULL: yes. Else one line for the client, who is told to try again. */
void dialogue_door(struct dialogue *d, const char *why);
void dialogue_begin(struct dialogue *d, bool spool);
void dialogue_decide(struct dialogue *d, uint64_t spool_size);
void dialogue_replay(struct dialogue *d, struct span piece);
void dialogue_replay_end(struct dialogue *d);
/* why NULL: safe. Each recipient whose reply was held gets it, or 451 and why. */
void dialogue_barrier(struct dialogue *d, const char *why);

/* Bytes of the server while the client is waited for: nobody asked, so nobody knows what it
 * believes. A goodbye is passed on. */
void dialogue_stray(struct dialogue *d, struct span in);
/* At any time: the spool cannot be written; its recipients are told to try again. */
void dialogue_spool_failed(struct dialogue *d);
/* At any time: says goodbye with 421. */
void dialogue_gone(struct dialogue *d, const char *why);

/* Waits recipient i for the barrier? */
bool dialogue_holds(const struct dialogue *d, size_t i);
struct span dialogue_sender(const struct dialogue *d);
struct span dialogue_recipient(const struct dialogue *d, size_t i);
/* At dialogue_begin(): who was named, accepted by the server or not known yet. */
size_t dialogue_named(const struct dialogue *d);

#endif
