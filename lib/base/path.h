/* path.h - paths below a store's root, as they stand in records and on the wire.
 *
 * A store path is relative, has no empty, "." or ".." component, no component above 255 bytes and
 * no NUL; "" is the root itself. Any other byte is allowed: newline, non-UTF-8. */
#ifndef MAILTWIN_PATH_H
#define MAILTWIN_PATH_H

#include "lib/base/buf.h"

#define PATH_NAME_MAX  255
#define PATH_STORE_MAX 16384 /* deeper trees than PATH_MAX exist; they are walked by directory */

bool path_valid(struct span path);
/* One component: not empty, not "." or "..", without '/' and NUL, at most 255 bytes. */
bool path_name_valid(struct span name);
/* The part before the last '/', "" when there is none; the root's parent is the root. */
struct span path_parent(struct span path);
/* The part behind the last '/'. */
struct span path_name(struct span path);
/* As the C library wants it; of a name that is valid. Returns text. */
const char *path_name_text(struct span name, char text[PATH_NAME_MAX + 1]);
/* True for the directory itself and for all below it. */
bool path_is_below(struct span path, struct span dir);
/* out: the name in the directory ("" is the root). */
void path_join(struct buf *out, struct span dir, struct span name);
/* Of a path that is `from` or below it: as it is called when `from` is called `to`. false: it is
 * not, and stays. */
bool path_move(struct buf *path, struct span from, struct span to);
/* Cuts the first component off *rest; false when nothing is left. */
bool path_next(struct span *rest, struct span *ret_name);

#endif
