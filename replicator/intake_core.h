/* intake_core.h - what the primary does with an object that it is given. Pure: facts in, act out.
 */
#ifndef MAILTWIN_INTAKE_CORE_H
#define MAILTWIN_INTAKE_CORE_H

#include "lib/data/record.h"
#include "lib/data/wire.h"
#include "lib/store/mailbox.h"
#include "lib/store/store.h"

/* NULL: the store may hold it there. Else why it is refused, one sentence. mailbox: that of the
 * path, in a Maildir store. */
const char *intake_forbids(const struct store_rules *rules, const struct wire_give *give,
                           const struct mailbox *mailbox);

/* Does the mode bring content? */
bool intake_brings_bytes(uint8_t mode);

/* What has the name already; for a message its base name, whatever its flags. */
struct intake_found {
    bool found;
    bool certain; /* else it is being renamed at this moment */
    bool same;    /* a file of the size given */
};

enum intake_act {
    INTAKE_MAKE,
    INTAKE_MAKE_OTHER, /* under a base name of its own */
    INTAKE_REPLACE,    /* a message: under the name that it is given with */
    INTAKE_LIST,       /* of UIDs and the like: put back as listback.h says */
    INTAKE_REFLAG,
    INTAKE_REMOVE,
    INTAKE_MOVE,   /* decided when its turn comes: intake_decide_move() */
    INTAKE_CLEAR,  /* of a directory, likewise, unless intake_came() forbids it */
    INTAKE_EXISTS, /* nothing is to be done */
    INTAKE_AGAIN,  /* not now */
    INTAKE_ABSENT, /* what it speaks of is not there, or is another one */
};

/* here: in its folder; elsewhere: in another folder of the user's mailbox. */
enum intake_act intake_decide(enum wire_give_mode mode, const struct intake_found *here,
                              const struct intake_found *elsewhere);
/* Of a message whose place an operator wants for it: no two ever have one base name, so what has it
 * with other bytes is what became of it. */
enum intake_act intake_decide_return(const struct intake_found *here,
                                     const struct intake_found *elsewhere);

/* What is to get another name. */
struct intake_move {
    bool source, same;  /* something has the name before; it is what is meant */
    bool target, there; /* something has the new name; that is what is meant */
};

/* INTAKE_MOVE; INTAKE_EXISTS; or INTAKE_ABSENT, with a sentence. */
enum intake_act intake_decide_move(const struct intake_move *facts, const char **ret_why);
/* Does the record speak against the removal of a directory that was there before it, by who had all
 * up to there? Then one sentence, else NULL: what came into it since nobody decided about. */
const char *intake_came(const struct store_rules *rules, struct span dir,
                        const struct record *record);

/* The base name that a message gets instead of its own: the same for the same bytes. */
void intake_other_base(struct span base, uint32_t crc, struct buf *out);
/* The letters that a message has here: those of `flags` that mean the same everywhere, and
 * `letters`, all once and in order. */
void intake_flags(struct span flags, struct span letters, struct buf *out);
/* The flags of a message that was changed on two nodes: it was `was` on both, `is` on one, and is
 * `here` on this one. */
void intake_merge_flags(struct span was, struct span is, struct span here, struct buf *out);

#endif
