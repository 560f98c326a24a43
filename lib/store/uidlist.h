/* uidlist.h - which UID each message of a folder has: Dovecot's dovecot-uidlist (version 3), and
 * version 1, which Courier's courierimapuiddb is as well. Pure: text in, text out.
 *
 *   3 V<uidvalidity> N<next uid> G<mailbox guid>[ <K><value>...]      1 <uidvalidity> <next uid>
 *   <uid>[ <K><value>...] :<name without flags>                       <uid> <name>
 *
 * Dovecot deletes a list that it cannot read, and all clients download the folder again. So what is
 * not understood here is never written again, and nothing is changed but what has to. A last line
 * without its end is an append that a crash cut off: it does not count, and is not written again.
 */
#ifndef MAILTWIN_UIDLIST_H
#define MAILTWIN_UIDLIST_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define UIDLIST_UID_MAX   UINT32_C(0xfffffffe)
#define UIDLIST_GUID_SIZE 32 /* hex digits */

struct uidlist {
    unsigned version; /* 1 or 3 */
    uint32_t uidvalidity;
    uint32_t next;    /* as the header has it: records may be beyond, appends leave it alone */
    struct span guid; /* the mailbox's, empty when there is none */
    uint32_t last;    /* UID of the record read last, 0 none yet */
    /* for uidlist.c: */
    struct span rest, number; /* what is unread, where `next` stands */
    unsigned line;
};

/* Spans point into the text. */
struct uidlist_record {
    uint32_t uid;
    struct span keys; /* "S4401 W4500", as they are; empty in version 1 */
    struct span name; /* base name of the message's file */
};

/* Reads the header. ERR_CORRUPT tells the line and what is wrong with it. */
int uidlist_begin(struct uidlist *list, struct span text, struct err *e) _must_check_;
/* 1 a record, 0 no more, -1 ERR_CORRUPT. UIDs rise. */
int uidlist_next(struct uidlist *list, struct uidlist_record *ret_record,
                 struct err *e) _must_check_;
/* Reads to the end. The first UID that nobody can have been given according to this list: neither
 * the header nor the last record alone says it. */
int uidlist_free_uid(struct uidlist *list, uint32_t *ret_uid, struct err *e) _must_check_;

/* The list with its next UID `gap` beyond uidlist_free_uid(): what a server that died gave out and
 * told nobody of but its clients lies below. ERR_REFUSED: the folder has no UIDs left for that. */
int uidlist_raise(struct span text, uint32_t gap, struct buf *ret_text, uint32_t *ret_next,
                  struct err *e) _must_check_;

/* The same of a version 3 list by a line behind its end, of a file that does not exist: Dovecot
 * takes the next UID to be above it, keeps that in the header when it writes the list anew, and
 * then leaves the line out. So a list of any length costs its beginning, its end and one write. */
struct uidlist_gap {
    uint32_t next;
    size_t torn; /* bytes at the end to be cut off first: an append that a crash cut off */
    size_t len;
    char line[64];
};
#define UIDLIST_WINDOW 4096 /* bytes of the beginning and of the end that tell all */

/* head, tail: the first and the last UIDLIST_WINDOW bytes, or all. 1 the line, 0 it is a list of
 * version 1: uidlist_raise() it, -1: ERR_CORRUPT, ERR_REFUSED. */
int uidlist_gap(struct span head, struct span tail, uint32_t gap, struct uidlist_gap *ret_gap,
                struct err *e) _must_check_;

/* Can all of it be read? */
bool uidlist_is_whole(struct span text);

/* A later version of a folder's list with the records that only an earlier one has: a mail server
 * that deletes a folder empties the list first. The next UID is beyond all that either gave out. A
 * message that both name has the UID of the later one. Lists that are not of one UIDVALIDITY, or
 * not of version 3, are not merged: the later one as it is. */
int uidlist_merge(struct span later, struct span earlier, struct buf *ret_text,
                  struct err *e) _must_check_;
/* How many messages of the earlier list have another UID in the later one. */
int uidlist_moved(struct span later, struct span earlier, size_t *ret_count,
                  struct err *e) _must_check_;

#endif
