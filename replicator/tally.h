/* tally.h - changes counted for each folder, in the order in which the folders came. So many
 * folders are named; what comes in further ones is one number. A count costs the same however many
 * there are: it is made for each change that a standby receives. Pure; one thread at a time. */
#ifndef MAILTWIN_TALLY_H
#define MAILTWIN_TALLY_H

#include "lib/base/bytes.h"

#include <jansson.h>

struct tally;

struct tally *tally_new(uint32_t folders_max);
void tally_free(struct tally **tally); /* NULL is fine; leaves NULL behind */
/* store: outlives the tally. */
void tally_add(struct tally *tally, const char *store, struct span user, struct span folder);
void tally_clear(struct tally *tally);
/* An array of store, user, folder and changes; last, with null for their names, the further ones.
 * The caller's. */
json_t *tally_json(const struct tally *tally);

#endif
