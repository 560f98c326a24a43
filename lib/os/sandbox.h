/* sandbox.h - what a role gives up: its user, its capabilities, its files, its system calls.
 *
 * Each step is one way and is checked after it was made. A role opens what it needs, then calls
 * them in the order they stand here, before it has threads. */
#ifndef MAILTWIN_SANDBOX_H
#define MAILTWIN_SANDBOX_H

#include "lib/base/err.h"

#include <sys/types.h>

struct sandbox_user {
    uid_t uid;
    gid_t gid;
};

/* Looks the account up, while /etc is within reach. root is refused. */
int sandbox_user_find(const char *name, struct sandbox_user *ret_user, struct err *e) _must_check_;
/* Makes an empty directory, made below `parent` and removed at once, the root: nobody can ever put
 * anything there. Needs CAP_SYS_CHROOT. */
int sandbox_chroot_empty(const char *parent, struct err *e) _must_check_;
/* Becomes the user with no other group, no capability and no way to get one. */
int sandbox_drop_user(const struct sandbox_user *user, struct err *e) _must_check_;
/* Becomes the user with no other group, and with exactly these capabilities. */
int sandbox_become(const struct sandbox_user *user, const int *caps, size_t count,
                   struct err *e) _must_check_;
/* Stays root with exactly these capabilities (CAP_*); a capability the process does not have is an
 * error that names it. Sets no-new-privileges. */
int sandbox_keep_caps(const int *caps, size_t count, struct err *e) _must_check_;
/* No core dump, no ptrace: for a role whose memory holds a key. */
int sandbox_hide_memory(struct err *e) _must_check_;

/* Landlock: forbids the kinds of access in `handled` everywhere except where a rule allows them.
 * Reading by file handle (open_by_handle_at) is refused wherever reading is handled, because such a
 * file has no path. Devices are never made, anywhere, once writing is handled. */
enum sandbox_access {
    SANDBOX_READ = 1,
    SANDBOX_WRITE = 2, /* all that changes files, directories and names */
    SANDBOX_EXECUTE = 4,
    SANDBOX_TCP = 8, /* bind and connect; kernels from 6.7 on, older ones leave it free */
};

struct sandbox_files;

/* 1 ready, 0 this kernel cannot do it and e says why (the role goes on without), -1 failed. On 0
 * *ret_files is NULL, which the calls below take as nothing to do. */
int sandbox_landlock_new(unsigned handled, struct sandbox_files **ret_files,
                         struct err *e) _must_check_;
/* Allows the kinds of access at path and below it. */
int sandbox_landlock_allow(struct sandbox_files *files, const char *path, unsigned access,
                           struct err *e) _must_check_;
int sandbox_landlock_allow_connect(struct sandbox_files *files, unsigned port,
                                   struct err *e) _must_check_;
/* From here on, for this thread and all it will start. Frees the handle. */
int sandbox_landlock_enter(struct sandbox_files **files, struct err *e) _must_check_;
void sandbox_landlock_free(struct sandbox_files **files);

/* The system calls of seccomp.def, for all threads. A call outside the list ends the network role
 * and the gate at once; to the store role it looks like one the kernel does not have. */
enum sandbox_profile {
    SANDBOX_NET = 1,
    SANDBOX_STORE = 2,
    SANDBOX_GATE = 4,
    SANDBOX_DIRECTORY = 8
};
int sandbox_seccomp(enum sandbox_profile profile, struct err *e) _must_check_;

#endif
