/* parked.h - names of ours for what waits for its own. Pure.
 *
 * An object that is in the way of another waits under a private name in its store's root, in
 * journal and index, until a later record moves it on; on the disk of the node that wrote the
 * journal it has its real name all the time. A standby that has carried out the first record alone
 * has it on its disk under the private one. */
#ifndef MAILTWIN_PARKED_H
#define MAILTWIN_PARKED_H

#include "lib/base/path.h"
#include "lib/store/store.h"

#define PARKED_PREFIX STORE_PRIVATE_DIR "-parked-"
#define PARKED_DIGITS 16 /* of the inode number behind it, in hex */
#define PARKED_SIZE   (sizeof(PARKED_PREFIX) + PARKED_DIGITS)

void parked_name(uint64_t ino, char ret_name[PARKED_SIZE]);
/* Those stand together in the order of names. */
bool parked_has_prefix(struct span name);
/* Exactly what parked_name() wrote. */
bool parked_is_name(struct span name);
/* Does the path begin with such a name? */
bool parked_is_path(struct span path);
/* A visible name for it where `origin`, the one that it had, is taken: "ORIGIN-aside-HEX", before
 * the flags of a message, cut where that is too long. origin "": "aside-HEX". again > 0: another
 * one each. */
void parked_aside_name(struct span parked, struct span origin, unsigned again,
                       char ret_name[PATH_NAME_MAX + 1]);

#endif
