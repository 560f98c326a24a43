#include "replicator/retain_private.h"

#include "lib/os/attrs.h"
#include "lib/os/fault.h"
#include "lib/store/mailbox.h"
#include "lib/store/maildir.h"
#include "lib/store/parked.h"

#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HEAD_SIZE 4 /* bytes that tell what kind of file it is: "3 V1", "0 Ju", "requ" */

#define NS_PER_MS 1000000

static uint64_t
wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- opening --- */

/* Where it stood; without a note of it, where it stood at least when the newest object came. */
static int
read_clock(struct retain *r, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    uint64_t hour;
    int got = file_read(r->fd, RETAIN_CLOCK, 32, &text, &len, e);
    if (got < 0)
        return -1;
    uint64_t then = got > 0 ? strtoull(text, NULL, 10) : 0;
    got = retained_bucket_next(r->fd, UINT64_MAX, false, &hour, e);
    if (got < 0)
        return -1;
    if (got > 0)
        then = MAX(then, hour * RETAINED_BUCKET_MS);
    uint64_t wall = wall_us() / 1000;
    r->clock_ms = then == 0 ? wall : MIN(wall, then);
    r->clock_saved_ms = then;
    return 0;
}

static int
open_folders(struct retain *r, struct err *e)
{
    _cleanup_close_ int private_fd = -1;
    if (folder_open(r->root_fd, STORE_PRIVATE_DIR, &private_fd, e) < 0 ||
        folder_open(private_fd, RETAINED_DIR, &r->fd, e) < 0 ||
        folder_open(r->fd, "gone", &r->gone_fd, e) < 0 ||
        folder_open(r->fd, "was", &r->was_fd, e) < 0)
        return -1;
    trash_init(&r->gone, r->gone_fd, &r->stop);
    return read_clock(r, e);
}

static void
close_folders(struct retain *r)
{
    file_closep(&r->bucket_fd);
    file_closep(&r->was_fd);
    file_closep(&r->gone_fd);
    file_closep(&r->fd);
}

int
retain_folders(struct retain *r, bool make, struct err *e)
{
    struct stat st;
    if (r->was_fd >= 0)
        return 1;
    if (!make &&
        fstatat(r->root_fd, STORE_PRIVATE_DIR "/" RETAINED_DIR, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look for retained objects");
    if (open_folders(r, e) == 0)
        return 1;
    close_folders(r);
    return -1;
}

int
retain_open(const struct retain_opts *opts, struct retain **ret_retain, struct err *e)
{
    struct retain *r = xcalloc(1, sizeof(*r));
    r->fd = r->gone_fd = r->was_fd = r->bucket_fd = -1;
    r->path = xstrdup(opts->path);
    r->store = xstrdup(opts->store);
    r->users = xstrdup(opts->users != NULL ? opts->users : "");
    r->kind = opts->kind;
    r->keep_ms = opts->keep_ms;
    r->max_percent = opts->max_percent;
    r->next_id = wall_us(); /* ids of earlier runs are below */
    r->clock_ms = r->next_id / 1000;
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->clearing, NULL);
    r->root_fd = open(opts->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->root_fd < 0)
        err_sys(e, ERR_IO, "open the store %s", opts->path);
    if (r->root_fd < 0 || retain_folders(r, false, e) < 0) {
        retain_free(&r);
        return err_wrap(e, "store %s: retained objects", opts->store);
    }
    *ret_retain = r;
    return 0;
}

void
retain_free(struct retain **retain)
{
    struct retain *r = *retain;
    *retain = NULL;
    if (r == NULL)
        return;
    close_folders(r);
    file_closep(&r->root_fd);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->clearing);
    free(r->buckets);
    free(r->path);
    free(r->store);
    free(r->users);
    free(r);
}

void
retain_pin(struct retain *retain, bool pinned)
{
    atomic_store(&retain->pinned, pinned);
}

/* --- names that the user did not know --- */

static bool
is_hidden(struct span name)
{
    return maildir_is_trash(name) || parked_is_name(name);
}

/* The head of the path up to its first hidden component; "" none. */
static struct span
hidden_head(struct span path)
{
    struct span rest = path;
    struct span name;
    while (path_next(&rest, &name)) {
        if (is_hidden(name))
            return span_of(path.ptr, (size_t)(name.ptr - path.ptr) + name.len);
    }
    return span_of(path.ptr, 0);
}

/* The path by which the user knew what is under this one. */
static int
known_path(struct retain *r, struct span path, struct buf *ret_path, struct err *e)
{
    char key[PATH_NAME_MAX + 1];
    char was[PATH_MAX];
    struct span head = hidden_head(path);
    ssize_t len = 0;
    if (head.len > 0 && retained_path_text(head, key))
        len = readlinkat(r->was_fd, key, was, sizeof(was));
    if (len < 0 && errno != ENOENT)
        return err_sys(e, ERR_IO, "read what a folder was called");
    buf_reset(ret_path);
    buf_add(ret_path, path.ptr, path.len);
    if (len > 0 && (size_t)len < sizeof(was) && path_valid(span_of(was, (size_t)len)))
        path_move(ret_path, head, span_of(was, (size_t)len));
    return 0;
}

/* A short symlink costs an inode and no block; it is made and removed in the order of names. */
static int
note_was(struct retain *r, const char *key, struct span was, struct err *e)
{
    char target[PATH_MAX];
    if (was.len == 0 || was.len >= sizeof(target))
        return 0;
    memcpy(target, was.ptr, was.len);
    target[was.len] = '\0';
    if ((fault("unlink") < 0 || unlinkat(r->was_fd, key, 0) < 0) && errno != ENOENT)
        return err_sys(e, ERR_IO, "forget what a folder was called");
    if (fault("symlink") < 0 || symlinkat(target, r->was_fd, key) < 0)
        return err_sys(e, ERR_IO, "note what a folder was called");
    return 0;
}

int
retain_moves(struct retain *retain, const struct record *rename, struct err *e)
{
    struct retain *r = retain;
    char key[PATH_NAME_MAX + 1];
    if (!is_hidden(path_name(rename->path)) || !retained_path_text(rename->path, key))
        return 0;
    _cleanup_buf_ struct buf was = { 0 };
    pthread_mutex_lock(&r->lock);
    int rc = retain_folders(r, true, e);
    if (rc > 0)
        rc = known_path(r, rename->other, &was, e);
    if (rc >= 0 && !path_is_below(buf_span(&was), rename->path))
        rc = note_was(r, key, buf_span(&was), e);
    pthread_mutex_unlock(&r->lock);
    return rc < 0 ? -1 : 0;
}

/* --- what is worth keeping --- */

static uint64_t
hash_of(struct span path)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < path.len; i++)
        h = (h ^ path.ptr[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t
loss_time_ms(const struct retain *r, const struct retain_loss *loss)
{
    uint64_t ms = loss->record->time_ns / NS_PER_MS;
    return ms != 0 ? ms : r->clock_ms;
}

static bool
is_message(const struct retain *r, struct span path)
{
    struct mailbox m;
    if (r->kind != STORE_MAILDIR)
        return false;
    mailbox_of(r->users, path, &m);
    return m.kind == MAILBOX_MESSAGE;
}

/* Of a file that is written again and again one version in ten minutes is kept. A path that shares
 * the slot of another only costs a version more. */
static bool
is_due(const struct retain *r, const struct retain_loss *loss)
{
    uint64_t path = hash_of(loss->path), now = loss_time_ms(r, loss);
    size_t slot = path % RETAIN_VERSIONS;
    uint64_t last = r->versions[slot].time_ms;
    return r->versions[slot].path != path || now < last || now - last >= RETAIN_VERSION_MS;
}

/* A list of UIDs that is emptied before its folder is deleted, a file that is cut off: what it was
 * is worth keeping, however young the last version is. */
static bool
is_cut(const struct retain_loss *loss)
{
    return loss->record->op == OP_PUT && loss->record->attr.size < (uint64_t)loss->st->st_size / 2;
}

/* It begins with other bytes than before: a program that writes its file anew begins it as it did,
 * who encrypts it does not. The last good version is the one to keep. */
static bool
begins_anew(const struct retain_loss *loss)
{
    uint8_t was[HEAD_SIZE], is[HEAD_SIZE];
    _cleanup_close_ int fd = loss->new_fd < 0
                                 ? -1
                                 : openat(loss->dirfd, loss->name,
                                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : file_pread_full(fd, was, sizeof(was), 0, NULL);
    return len > 0 && (file_pread_full(loss->new_fd, is, sizeof(is), 0, NULL) < len ||
                       memcmp(was, is, (size_t)len) != 0);
}

static void
note_version(struct retain *r, const struct retain_loss *loss)
{
    uint64_t path = hash_of(loss->path);
    r->versions[path % RETAIN_VERSIONS].path = path;
    r->versions[path % RETAIN_VERSIONS].time_ms = loss_time_ms(r, loss);
}

static bool
is_kept_type(const struct stat *st)
{
    return S_ISDIR(st->st_mode) || S_ISLNK(st->st_mode) ||
           (S_ISREG(st->st_mode) && st->st_nlink == 1);
}

/* --- keeping --- */

static int
open_bucket(struct retain *r, struct err *e)
{
    uint64_t hour = r->clock_ms / RETAINED_BUCKET_MS;
    char name[RETAINED_BUCKET_SIZE];
    if (r->bucket_fd >= 0 && r->bucket_hour == hour)
        return 0;
    file_closep(&r->bucket_fd);
    retained_bucket_name(hour, name);
    if ((fault("mkdir") < 0 || mkdirat(r->fd, name, 0700) < 0) && errno != EEXIST)
        return err_sys(e, ERR_IO, "make retained/%s", name);
    r->bucket_fd = openat(r->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (r->bucket_fd < 0)
        return err_sys(e, ERR_IO, "open retained/%s", name);
    r->bucket_hour = hour;
    return 0;
}

/* Where the object goes: the bucket, or a directory in it that has the path beside it. */
struct target {
    int fd; /* borrowed, or wrap_fd */
    int wrap_fd;
    char file[PATH_NAME_MAX + 1];
    const char *entry;
};

static int
make_wrap(struct retain *r, struct target *to, struct span path, struct err *e)
{
    if (fault("mkdir") < 0 || mkdirat(r->bucket_fd, to->file, 0700) < 0)
        return err_sys(e, ERR_IO, "make retained/%s", to->file);
    to->wrap_fd = openat(r->bucket_fd, to->file, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to->wrap_fd < 0)
        return err_sys(e, ERR_IO, "open retained/%s", to->file);
    to->fd = to->wrap_fd;
    to->entry = RETAINED_WRAP_OBJECT;
    return file_replace(to->wrap_fd, RETAINED_WRAP_PATH, path, 0600, e);
}

static int
make_target(struct retain *r, const struct retain_loss *loss, enum retained_why why,
            struct target *to, struct err *e)
{
    _cleanup_buf_ struct buf path = { 0 };
    if (open_bucket(r, e) < 0 || known_path(r, loss->path, &path, e) < 0)
        return -1;
    struct retained_name name = {
        .why = S_ISDIR(loss->st->st_mode) ? RETAINED_TREE : why,
        .seq = loss->record->seq,
        .epoch = loss->record->epoch,
        .time_ms = loss_time_ms(r, loss),
        .id = r->next_id++,
        .path = buf_span(&path),
    };
    *to = (struct target){ .fd = r->bucket_fd, .wrap_fd = -1 };
    to->entry = to->file;
    retained_name_encode(&name, to->file);
    return name.wrapped ? make_wrap(r, to, name.path, e) : 0;
}

static int
put_object(struct retain *r, const struct retain_loss *loss, enum retained_why why, struct err *e)
{
    struct target to = { .wrap_fd = -1 };
    bool moves = why != RETAINED_OVERWRITTEN;
    int rc = make_target(r, loss, why, &to, e);
    if (rc == 0 && moves)
        rc = file_rename(loss->dirfd, loss->name, to.fd, to.entry, true, e);
    else if (rc == 0)
        rc = file_link(loss->dirfd, loss->name, to.fd, to.entry, e);
    file_closep(&to.wrap_fd);
    return rc;
}

/* There is no room for it, not even for its name, or this filesystem has no further one: what is
 * kept must never hold up what is replicated. */
static bool
is_no_room(const struct err *e)
{
    return e->code == ERR_NOSPACE || e->sys == EMLINK;
}

static void
account(struct retain *r, const struct stat *st)
{
    struct retain_bucket *bucket = retain_bucket(r, r->bucket_hour);
    if (S_ISDIR(st->st_mode))
        bucket->counted = false; /* the thread looks how large it is */
    else
        bucket->bytes += (uint64_t)st->st_blocks * 512;
}

static int
keep(struct retain *r, const struct retain_loss *loss, enum retained_why why, struct err *e)
{
    struct err first = { 0 };
    int rc = retain_folders(r, true, &first) < 0 ? -1 : put_object(r, loss, why, &first);
    if (rc < 0 && (first.sys == EEXIST || first.sys == ENOENT)) {
        file_closep(&r->bucket_fd); /* a clock that was set back; a bucket that somebody deleted */
        first = (struct err){ 0 };
        rc = put_object(r, loss, why, &first);
    }
    if (rc == 0)
        account(r, loss->st);
    if (rc == 0)
        return 1;
    if (is_no_room(&first)) {
        r->unkept++;
        return 0;
    }
    if (e != NULL)
        *e = first;
    return err_wrap(e, "retain");
}

/* What a folder was called is of no use when nothing is left of it. */
static void
forget_was(struct retain *r, struct span path)
{
    char key[PATH_NAME_MAX + 1];
    if (r->was_fd >= 0 && is_hidden(path_name(path)) && retained_path_text(path, key))
        unlinkat(r->was_fd, key, 0); /* if it stays, the next folder takes its place */
}

int
retain_take(struct retain *retain, const struct retain_loss *loss, struct err *e)
{
    if (retain->keep_ms == 0 || !is_kept_type(loss->st))
        return 0;
    pthread_mutex_lock(&retain->lock);
    int rc = keep(retain, loss, RETAINED_DELETED, e);
    if (rc >= 0 && S_ISDIR(loss->st->st_mode))
        forget_was(retain, loss->path);
    pthread_mutex_unlock(&retain->lock);
    return rc;
}

int
retain_replaced(struct retain *retain, const struct retain_loss *loss, struct err *e)
{
    const struct stat *st = loss->st;
    if (retain->keep_ms == 0 || !S_ISREG(st->st_mode) || st->st_nlink > 1 || st->st_size == 0)
        return 0;
    pthread_mutex_lock(&retain->lock);
    int rc = 0;
    if (is_message(retain, loss->path) || is_due(retain, loss) || is_cut(loss) || begins_anew(loss))
        rc = keep(retain, loss, RETAINED_OVERWRITTEN, e);
    if (rc > 0)
        note_version(retain, loss);
    pthread_mutex_unlock(&retain->lock);
    return rc;
}
