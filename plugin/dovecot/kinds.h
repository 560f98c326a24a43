/* kinds.h - which acts of a mail server wait for the barrier, and what is said when they may not.
 *
 * Pure, and without a word of Dovecot: the setting's words, the commands of IMAP, the sentences. */
#ifndef MAILTWIN_PLUGIN_KINDS_H
#define MAILTWIN_PLUGIN_KINDS_H

#include <stdbool.h>
#include <stddef.h>

enum kinds {
    KIND_APPEND = 1 << 0,  /* a mail put into a folder by a user: IMAP APPEND, doveadm save */
    KIND_COPY = 1 << 1,    /* IMAP COPY and MOVE */
    KIND_FLAGS = 1 << 2,   /* flags and keywords: STORE, the \Seen of a FETCH or a RETR */
    KIND_EXPUNGE = 1 << 3, /* EXPUNGE, CLOSE, MOVE, what POP3's QUIT deletes */
    KIND_DELIVER = 1 << 4, /* LMTP and dovecot-lda, with all that sieve makes of a mail */
    KIND_FOLDERS = 1 << 5, /* create, delete, rename, subscribe, rights, metadata */
    KINDS_NONE = 0,
    KINDS_ALL = (1 << 6) - 1
};

struct kinds_word {
    const char *at;
    size_t len;
};

/* words: names of kinds, or "all" or "none" alone, with blanks or commas between them. -1: *ret_bad
 * is the word that does not fit, of length 0 when there is none at all. */
int kinds_parse(const char *words, unsigned *ret_kinds, struct kinds_word *ret_bad);

/* What an IMAP command's OK states, whoever made it true: a STORE of a flag that another session
 * has set a moment before is not safe either. 0: a command that only reads, or does nothing to
 * mail. */
unsigned kinds_of_command(const char *name);

/* What the barrier came to. Degraded, as "when-alone = continue" configures it, is safe: the daemon
 * keeps the date and raises the alarm. */
enum verdict {
    VERDICT_SAFE,
    VERDICT_LATE,    /* not in the time allowed */
    VERDICT_REFUSED, /* the daemon answers that nothing is safe now */
    VERDICT_DOWN     /* no answer from the daemon */
};

/* For the client: it is done here and cannot be undone, and why it is not called safe. */
const char *kinds_sentence(enum verdict verdict);

/* Ends the sentence of a delivery whose mail is stored: what Dovecot had answered 250 without the
 * wait. mailtwin-gate knows it by this (gate/lmtp.h) and does not deliver the retry again; so
 * nothing else may say it, not the folder that was made and whose mail is not there yet. */
#define KINDS_STORED " [mailtwin: stored]"

/* A name that a store may have in mailtwin.conf. */
bool kinds_store_fine(const char *store);

#endif
