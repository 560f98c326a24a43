/* retained_census.h - which files with several names live, and which have all their names among
 * what is retained: a copy made by Dovecot is a second name, and the folders of both may be gone.
 */
#ifndef MAILTWIN_RETAINED_CENSUS_H
#define MAILTWIN_RETAINED_CENSUS_H

#include "lib/data/retained.h"

struct retained_census;

/* retained_fd is the caller's and outlives it. Nothing is read before the first question about a
 * file with several names; then all directories that are retained are, once. */
struct retained_census *retained_census_new(int retained_fd);
void retained_census_free(struct retained_census **census); /* NULL is fine */

/* Has the file that was looked at here a name where nothing is retained? 1, 0, -1. */
int retained_census_lives(struct retained_census *census, const struct stat *st,
                          struct err *e) _must_check_;

#endif
