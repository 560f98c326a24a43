/* native.h - a directory that replicates by itself: its change numbers on both nodes are compared
 * once a second, nothing else is done. */
#ifndef MAILTWIN_DIRECTORY_NATIVE_H
#define MAILTWIN_DIRECTORY_NATIVE_H

#include "directory/dir.h"

int native_step(struct dir_store *s); /* as capture_step() */
void native_end(struct dir_store *s);

#endif
