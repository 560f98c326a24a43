/* dn.h - distinguished names as text (RFC 4514): where one ends and the next begins. Pure.
 *
 * Two DNs are the same here when their letters are, case aside: what a server tells it tells in one
 * form always. */
#ifndef MAILTWIN_DN_H
#define MAILTWIN_DN_H

#include "lib/base/buf.h"

/* How many components it has; 0 for the empty one. */
unsigned dn_depth(struct span dn);
/* The first component, and what is above: "" of a DN of one. */
struct span dn_rdn(struct span dn);
struct span dn_parent(struct span dn);
bool dn_same(struct span a, struct span b);
/* Below `above`, not it itself. */
bool dn_is_below(struct span dn, struct span above);
/* out: the DN with its end `from` replaced by `to`; false: it is not below `from`. */
bool dn_move(struct span dn, struct span from, struct span to, struct buf *out);

#endif
