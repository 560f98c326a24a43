/* secrets.h - an entry is told without the password it had: was it taken away, or may the account
 * of mailtwin-directoryd not see it any more? Pure.
 *
 * A server says nothing of what it does not show, so the two look the same in one entry. They
 * differ in those beside it: whoever may read passwords there sees some. */
#ifndef MAILTWIN_DIRECTORY_SECRETS_H
#define MAILTWIN_DIRECTORY_SECRETS_H

#include "lib/base/err.h"
#include "lib/store/ldif.h"

/* A secret that the entry has, NULL none. */
const char *secrets_any(const struct ldif_entry *entry, char *const *skip);
/* The first secret (userPassword and its like) that `old` has and `now` has no value of, but those
 * of `skip` (NULL-ended); NULL: none. */
const char *secrets_lost(const struct ldif_entry *old, const struct ldif_entry *now,
                         char *const *skip);
/* `now` with the secrets of `old` that it lacks. */
int secrets_keep(const struct ldif_entry *old, const struct ldif_entry *now,
                 struct ldif_entry *ret_entry, struct err *e) _must_check_;

/* What the server shows behind that change. */
struct secrets_view {
    bool beside_shows; /* some entry beside it shows its secret */
    bool own_shows;    /* the entry itself does by now; looked at after those beside it */
    size_t gone, of;   /* entries whose secrets went lately, of how many */
    unsigned percent;  /* that may go, as in guard.h */
};

/* true: it was taken away. false: it is kept, until the server shows more or a human decides. */
bool secrets_gone(const struct secrets_view *view);

#endif
