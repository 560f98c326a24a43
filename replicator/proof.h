/* proof.h - when a store was last compared with its standby, and what a comparison by schedule does
 * next. Pure. Row `verify/STORE` of the state: docs/formats/journal.md.
 *
 * Every scheduled comparison looks at all names, and at the contents of one part of the
 * directories: after as many as there are parts all contents have been compared. Times are seconds
 * since 1970, intervals milliseconds. */
#ifndef MAILTWIN_PROOF_H
#define MAILTWIN_PROOF_H

#include "lib/base/buf.h"

struct proof {
    uint64_t at; /* of the last comparison; 0 never */
    uint64_t differences;
    uint32_t part, parts;    /* whose contents are next, of how many; 0 of 0: none was compared */
    uint64_t turn_began;     /* when part 0 of the turn under way began */
    uint64_t contents_since; /* all contents were compared at this time or later; 0 never */
};

/* A comparison. */
struct proof_plan {
    bool content;
    uint32_t parts, part; /* of directories, by id; 0 parts: all of them */
};

void proof_encode(const struct proof *proof, struct buf *out);
/* A row that is no row of ours is none: the store counts as never compared. */
void proof_decode(struct span row, struct proof *ret_proof);

/* Is it time? A clock that was set back makes it so; up_ms: a store that was never compared has its
 * turn soon after the start. every_ms 0: never by itself. */
bool proof_is_due(const struct proof *proof, uint64_t every_ms, uint64_t now, uint64_t up_ms);
/* The next one by schedule. contents_ms: how soon all contents have been compared, 0 never. */
void proof_next(const struct proof *proof, uint64_t every_ms, uint64_t contents_ms,
                struct proof_plan *ret_plan);
/* One came to its end. */
void proof_done(struct proof *proof, const struct proof_plan *plan, uint64_t began, uint64_t ended,
                uint64_t differences);

#endif
