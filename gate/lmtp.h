/* lmtp.h - LMTP (RFC 2033) as bytes: command lines, replies, and where a message ends.
 *
 * Pure, and strict where programs are known to disagree, so that the server behind a gate never
 * sees a command or an end of a message where the gate saw none:
 *
 * - A command ends with CRLF or LF and is passed on with CRLF. A line with another control
 *   character in it is no command.
 * - A message ends with CRLF "." CRLF and nothing else. An LF without CR before it is passed on
 *   as CRLF, and a dot that follows one as content (what Postfix calls "normalize"): no server
 *   finds LF "." LF, LF "." CRLF or CRLF "." LF in what it gets.
 * - What BDAT carries is counted and never looked at. */
#ifndef MAILTWIN_LMTP_H
#define MAILTWIN_LMTP_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define LMTP_LINE_MAX  16384                 /* bytes of a command; RFC 5321 asks for 512 */
#define LMTP_REPLY_MAX 65536                 /* bytes of a reply with all its lines */
#define LMTP_STORED    " [mailtwin: stored]" /* ends it; plugin/dovecot/kinds.h */

enum lmtp_verb {
    LMTP_OTHER, /* one reply, nothing that the gate must know */
    LMTP_HELLO, /* LHLO, and EHLO, HELO which a server refuses */
    LMTP_MAIL,
    LMTP_RCPT,
    LMTP_DATA,
    LMTP_BDAT,
    LMTP_RSET,
    LMTP_QUIT,
    LMTP_XCLIENT,
    LMTP_AUTH,   /* may be followed by a dialogue of lines that are no commands */
    LMTP_HIDDEN, /* STARTTLS, BURL: with them the gate would no longer see the message */
};

struct lmtp_command {
    enum lmtp_verb verb;
    struct span path; /* MAIL, RCPT: the address without its brackets */
    uint64_t size;    /* BDAT */
    bool last;        /* BDAT */
};

/* The first line of `in`: 1 it is in *ret_line without its end and takes *ret_used bytes, 0 more
 * bytes please, -1 it is longer than LMTP_LINE_MAX. */
int lmtp_line(struct span in, struct span *ret_line, size_t *ret_used, struct err *e) _must_check_;
/* What the line asks for. -1: a line that must not be passed on. The spans lie in the line. */
int lmtp_command(struct span line, struct lmtp_command *ret_command, struct err *e) _must_check_;

struct lmtp_reply {
    unsigned code;    /* 200 to 599 */
    struct span text; /* all lines with their CRLFs */
};

/* The first whole reply of `in`: 1, it takes ret_reply->text.len bytes; 0 more bytes please; -1
 * this is no reply. */
int lmtp_reply(struct span in, struct lmtp_reply *ret_reply, struct err *e) _must_check_;
/* Is it the refusal of Dovecot's mailtwin plugin to call a mail safe that is stored? Then the
 * recipient has the mail, and a retry would be a second copy. */
bool lmtp_is_stored(const struct lmtp_reply *reply);
/* Appends the reply to LHLO without the extensions that a gate cannot pass. */
void lmtp_hide(struct span reply, struct buf *out);

/* What follows DATA, to content and back. */
enum lmtp_place {
    LMTP_LINE_START, /* behind CRLF, or at the beginning */
    LMTP_IN_LINE,
    LMTP_CR,     /* behind a CR in a line */
    LMTP_DOT,    /* behind a dot at the start of a line */
    LMTP_DOT_CR, /* behind such a dot and a CR */
};

/* Takes bytes off `in` up to the end of the message, appends the content to out; returns how many
 * it took: all, or those up to and with the end, and then *ret_end is set. */
size_t lmtp_decode(enum lmtp_place *place, struct span in, struct buf *out, bool *ret_end);
/* Content as it follows DATA, dots doubled; *at_start is true before its first byte. */
void lmtp_encode(bool *at_start, struct span content, struct buf *out);
void lmtp_encode_end(bool at_start, struct buf *out);

#endif
