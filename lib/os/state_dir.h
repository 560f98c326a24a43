/* state_dir.h - the state directory of the configuration, and the folders that single modules have
 * in it. Both return a descriptor, the caller's, or -1. */
#ifndef MAILTWIN_STATE_DIR_H
#define MAILTWIN_STATE_DIR_H

#include "lib/os/conf.h"

int state_dir_open(const struct conf *conf, struct err *e) _must_check_;
/* Made when it is missing (mode 0700); its name is durable then. */
int state_dir_folder(int state_dirfd, const char *name, struct err *e) _must_check_;

#endif
