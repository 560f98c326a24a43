/* tally.h - changes counted for each folder, in the order in which the folders came, by kind. So
 * many folders are named; what comes in further ones is one row. A count costs the same however
 * many there are: it is made for each change that a standby receives. Pure; one thread at a time.
 */
#ifndef MAILTWIN_TALLY_H
#define MAILTWIN_TALLY_H

#include "lib/base/bytes.h"

#include <jansson.h>

#define TALLY_KINDS_MAX 4

struct tally;

struct tally_row {
    const char *store; /* NULL: the further folders */
    struct span user, folder;
    uint64_t counts[TALLY_KINDS_MAX]; /* none above INT64_MAX: JSON has no more */
};

/* kinds: what is counted, NULL-ended; outlives the tally. */
struct tally *tally_new(uint32_t folders_max, const char *const *kinds);
void tally_free(struct tally **tally); /* NULL is fine; leaves NULL behind */
/* Adds the counts of a row. Its store outlives the tally; user and folder are copied. */
void tally_add(struct tally *tally, const struct tally_row *row);
void tally_clear(struct tally *tally);
/* false: there are not so many. The further folders come last. */
bool tally_row(const struct tally *tally, uint32_t at, struct tally_row *ret_row);
/* An array of store, user, folder and what was counted; null for names of the further ones. The
 * caller's. */
json_t *tally_json(const struct tally *tally);

#endif
