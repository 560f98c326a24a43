/* identity.h - which numbers a promoted node may give out so that no client ever sees one of them
 * twice: UIDs, UIDVALIDITY, modification sequences. Pure: what is on the disk comes in, what is to
 * be written there goes out. Files: docs/identity.md. */
#ifndef MAILTWIN_IDENTITY_H
#define MAILTWIN_IDENTITY_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

/* Folders that a user could have made in what was lost. */
#define IDENTITY_VALIDITY_GAP  10000
#define IDENTITY_VALIDITY_FILE "dovecot-uidvalidity"
#define IDENTITY_VALIDITY_SIZE 8  /* bytes of that file: hex digits */
#define IDENTITY_SEED_SIZE     40 /* bytes of an empty dovecot.index.log */

struct identity_facts {
    uint32_t gap;      /* of the configuration */
    uint64_t lag;      /* records that the last primary told of and that are not here */
    uint64_t tail;     /* newest seq here */
    uint64_t dirs;     /* directories of the stores, at most: each may have a list of UIDs */
    struct span first; /* first seq of each promotion of this history, oldest first: u64 each */
    uint64_t unseen;   /* promotions that were heard of and not followed, at most */
};

/* By how much the next UID of each folder is raised. The configured gap; more, when more records
 * than that are known to be missing; and once more for each promotion whose own raised lists may
 * not all have come here: its UIDs lie beyond the first gap. */
uint32_t identity_gap(const struct identity_facts *facts);
/* By how much the UIDVALIDITY of folders to be made is: once more for each such promotion as well.
 */
uint32_t identity_validity_gap(const struct identity_facts *facts);

/* When it is raised again, as a power loss may have taken the raised list: a server gave out UIDs
 * from behind the first gap on. Never less than the gap. */
uint32_t identity_gap_again(uint32_t gap);

/* What a folder's modification sequence begins at: above all that any server gave out before,
 * without knowing any of it, for it is made of the time: seconds since 1970, and 20 bits for what
 * is given out in each (2^53 in the year 2242; what clients keep in a double holds it until then).
 * newest_ns: of the newest record here, in case this node's clock is behind that of the last
 * primary. */
uint64_t identity_modseq(uint64_t now_s, uint64_t newest_ns);
/* The seconds that it is made of. */
uint64_t identity_clock(uint64_t now_s, uint64_t newest_ns);
/* What it begins at when a power loss took it: above what was given out since, and no higher than
 * that, for another node may have written one beforehand that has to be above it. */
uint64_t identity_modseq_again(uint64_t modseq, uint64_t clock_s);
/* A sequence that was written beforehand, made of base_s: is it, now, still above all that the
 * primary gave out, which has been one since since_s or longer? So it is unless it gave out 4,000 a
 * second in one folder, ever since, or lost power seven times in a row and began again. All of
 * identity_clock(). */
bool identity_seed_holds(uint64_t since_s, uint64_t base_s, uint64_t now_s);

/* An empty transaction log of Dovecot that begins at this modseq; from it Dovecot makes the index
 * anew. stamp: seconds since 1970. */
void identity_seed(uint64_t modseq, uint32_t stamp, uint8_t ret_seed[IDENTITY_SEED_SIZE]);

/* Is the name that of a file of Dovecot's that a node which was not the last to serve must not
 * keep: indexes, caches, counted quotas? */
bool identity_is_stale(const char *name);

/* The process that a lock of Dovecot's names ("4711:mx1"); 0: it names none, or not of this host.
 */
uint32_t identity_lock_pid(struct span text, const char *host);

/* The value in the name of a marker "dovecot-uidvalidity.6b03773b"; 0: it is none. */
uint32_t identity_marker(struct span name);
/* Of the file's content; 0: it has none. */
uint32_t identity_validity(struct span text);
/* Above both, and above what may have been given out. ERR_REFUSED: there is no such number. */
int identity_next_validity(uint32_t file, uint32_t marker, uint32_t gap, uint32_t *ret_value,
                           struct err *e) _must_check_;

/* Courier's courierpop3dsizelist ("/3 NEXT UIDVALIDITY", then a line for each message) with its
 * next UID raised. ERR_CORRUPT, ERR_REFUSED. */
int identity_raise_sizes(struct span text, uint32_t gap, struct buf *ret_text,
                         struct err *e) _must_check_;

#endif
