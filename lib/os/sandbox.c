#include "lib/os/sandbox.h"

#include "lib/os/file.h"
#include "lib/os/landlock_abi.h"

#include <cap-ng.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int
sandbox_user_find(const char *name, struct sandbox_user *ret_user, struct err *e)
{
    errno = 0;
    const struct passwd *entry = getpwnam(name);
    if (entry == NULL && errno != 0)
        return err_sys(e, ERR_IO, "look up user %s", name);
    if (entry == NULL)
        return err_set(e, ERR_CONFIG, "there is no user %s on this host", name);
    if (entry->pw_uid == 0 || entry->pw_gid == 0)
        return err_set(e, ERR_CONFIG, "user %s is root or in root's group", name);
    *ret_user = (struct sandbox_user){ .uid = entry->pw_uid, .gid = entry->pw_gid };
    return 0;
}

int
sandbox_chroot_empty(const char *parent, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/empty.XXXXXX", parent);
    if (mkdtemp(path) == NULL)
        return err_sys(e, ERR_IO, "make an empty directory in %s", parent);
    _cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", path);
    if (rmdir(path) < 0)
        return err_sys(e, ERR_IO, "remove %s", path);
    if (fchdir(fd) < 0 || chroot(".") < 0)
        return err_sys(e, ERR_IO, "make the removed directory %s the root", path);
    return 0;
}

static int
no_new_privileges(struct err *e)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(e, ERR_IO, "set no-new-privileges");
    return 0;
}

static void
add_caps(unsigned sets, const int *caps, size_t count)
{
    for (size_t i = 0; i < count; i++)
        capng_update(CAPNG_ADD, sets, (unsigned)caps[i]);
}

/* Makes what was selected with libcap-ng true. */
static int
apply_caps(struct err *e)
{
    /* Only root may touch the bounding set; for others no-new-privileges covers it. */
    capng_select_t sets = geteuid() == 0 ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS;
    int failed = capng_apply(sets);
    if (failed < 0)
        return err_set(e, ERR_IO, "the kernel refused to change the capabilities (step %d)",
                       -failed);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_sys(e, ERR_IO, "clear the ambient capabilities");
    return no_new_privileges(e);
}

static int
need_caps(const int *caps, size_t count, struct err *e)
{
    capng_get_caps_process();
    for (size_t i = 0; i < count; i++)
        if (capng_have_capability(CAPNG_PERMITTED, (unsigned)caps[i]) == 0)
            return err_set(e, ERR_UNSUITABLE, "capability %s is needed and missing",
                           capng_capability_to_name((unsigned)caps[i]));
    return 0;
}

int
sandbox_keep_caps(const int *caps, size_t count, struct err *e)
{
    if (need_caps(caps, count, e) < 0)
        return -1;
    capng_clear(CAPNG_SELECT_ALL);
    add_caps(CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET, caps, count);
    return apply_caps(e);
}

int
sandbox_drop_user(const struct sandbox_user *user, struct err *e)
{
    return sandbox_become(user, NULL, 0, e);
}

int
sandbox_become(const struct sandbox_user *user, const int *caps, size_t count, struct err *e)
{
    /* The bounding set goes first: afterwards there is no right to shrink it. */
    const int needed[] = { CAP_SETUID, CAP_SETGID };
    if (need_caps(needed, ARRAY_LEN(needed), e) < 0 || need_caps(caps, count, e) < 0)
        return -1;
    capng_clear(CAPNG_SELECT_ALL);
    add_caps(CAPNG_EFFECTIVE | CAPNG_PERMITTED, needed, ARRAY_LEN(needed));
    add_caps(CAPNG_EFFECTIVE | CAPNG_PERMITTED, caps, count);
    if (apply_caps(e) < 0)
        return -1;
    if (count > 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return err_sys(e, ERR_IO, "keep capabilities beyond the change of user");
    if (setgroups(0, NULL) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
        setresuid(user->uid, user->uid, user->uid) < 0)
        return err_sys(e, ERR_IO, "become user %u", (unsigned)user->uid);
    if (sandbox_keep_caps(caps, count, e) < 0)
        return -1;
    if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setresgid((gid_t)-1, 0, (gid_t)-1) == 0)
        return err_set(e, ERR_IO, "root was given up and could be taken back");
    return 0;
}

int
sandbox_hide_memory(struct err *e)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_sys(e, ERR_IO, "forbid to look into the memory");
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 }) < 0)
        return err_sys(e, ERR_IO, "forbid core dumps");
    return 0;
}
