/* guard.h - how much of a directory may go at once without a human's word. Pure.
 *
 * What changes one by one is carried on one by one; this is for what a comparison finds missing,
 * which may as well be a server that came up empty. */
#ifndef MAILTWIN_DIRECTORY_GUARD_H
#define MAILTWIN_DIRECTORY_GUARD_H

#include "lib/base/base.h"

#define GUARD_FEW 10 /* a small directory has no meaningful percentage */

static inline bool
guard_allows(size_t gone, size_t of, unsigned percent)
{
    return gone <= GUARD_FEW || gone * 100 <= of * (size_t)percent;
}

#endif
