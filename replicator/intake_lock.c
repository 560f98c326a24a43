/* intake_lock.c - a lock as Dovecot takes it: a file made exclusively that names process and host.
 */
#include "replicator/intake_private.h"

#include "lib/os/attrs.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOCK_MS       1000
#define LOCK_PAUSE_MS 5
#define LOCK_STALE_S  130 /* Dovecot itself takes one for stale after 120 s */

static void
pause_ms(long ms)
{
    struct timespec pause = { .tv_nsec = ms * 1000000 };
    nanosleep(&pause, NULL);
}

/* As Dovecot's: whose it is by process and host, so that one left by a crash goes at once; it
 * belongs to the folder's owner, who must be able to read it. */
static int
fill(int fd, const struct intake_lock *lock, struct err *e)
{
    char host[256] = "", text[300];
    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    int len = snprintf(text, sizeof(text), "%ld:%s", (long)getpid(), host);
    if (attrs_set_owner(fd, lock->uid, lock->gid, e) < 0)
        return -1;
    return file_write_full(fd, span_of(text, (size_t)len), e);
}

/* Who holds one writes to it now and then. */
static void
drop_stale(const struct intake_lock *lock)
{
    struct stat st;
    if (fstatat(lock->dirfd, lock->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        time(NULL) - st.st_mtime > LOCK_STALE_S)
        unlinkat(lock->dirfd, lock->name, 0);
}

int
intake_lock(const struct intake_lock *lock, struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    drop_stale(lock);
    for (int waited = 0;; waited += LOCK_PAUSE_MS) {
        _cleanup_close_ int fd = openat(lock->dirfd, lock->name, flags, 0600);
        if (fd < 0 && (errno != EEXIST || waited >= LOCK_MS))
            return err_sys(e, ERR_IO, "lock the folder (%s)", lock->name);
        if (fd >= 0 && fill(fd, lock, e) >= 0)
            return 0;
        if (fd >= 0) {
            unlinkat(lock->dirfd, lock->name, 0);
            return -1;
        }
        pause_ms(LOCK_PAUSE_MS);
    }
}

void
intake_unlock(const struct intake_lock *lock)
{
    unlinkat(lock->dirfd, lock->name, 0); /* one that stays is stale: its process is named in it */
}
