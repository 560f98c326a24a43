#include "lib/store/retained_find.h"

#include "lib/base/path.h"
#include "lib/os/dir.h"
#include "lib/os/file.h"
#include "lib/store/retained_census.h"
#include "lib/store/store.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 64 /* of a directory whose files are looked at */

struct finding {
    struct retained_search *search;
    struct retained_found found;
    struct buf member, path, probe;
    struct retained_census *census;
    uint8_t *head; /* MAILHEAD_MAX */
};

/* --- what fits --- */

static bool
is_user(struct span user, const char *wanted)
{
    const char *at = strchr(wanted, '@');
    struct span name = at == NULL ? span_str(wanted) : span_of(wanted, (size_t)(at - wanted));
    struct span domain = at == NULL ? span_of(wanted, 0) : span_str(at + 1);
    struct span parent = path_name(path_parent(user));
    if (span_equal(user, span_str(wanted)))
        return true;
    return span_equal(path_name(user), name) && (domain.len == 0 || span_equal(parent, domain));
}

static bool
is_folder(struct span folder, const char *wanted)
{
    if (strcasecmp(wanted, "INBOX") == 0)
        return folder.len == 0;
    return span_equal(folder, span_str(wanted));
}

static bool
asks_for_files(const struct retained_filter *f)
{
    return f->members || f->folder != NULL || f->from != NULL || f->subject != NULL ||
           f->message_id != NULL;
}

static bool
asks_for_head(const struct retained_filter *f)
{
    return f->from != NULL || f->subject != NULL || f->message_id != NULL;
}

static bool
is_wanted(void *arg, const struct retained_name *name)
{
    const struct finding *x = arg;
    const struct retained_filter *f = x->search->filter;
    bool in_time = name->time_ms >= f->since_ms &&
                   (f->until_ms == 0 || name->time_ms < f->until_ms);
    bool id = f->id_count == 0;
    for (size_t i = 0; i < f->id_count; i++)
        id = id || f->ids[i] == name->id;
    return in_time && id;
}

/* A directory is somebody's as a message in it would be. */
static void
place(struct finding *x, bool is_dir)
{
    struct retained_found *found = &x->found;
    found->mailbox = (struct mailbox){ .kind = MAILBOX_OTHER };
    if (x->search->kind != STORE_MAILDIR)
        return;
    if (!is_dir) {
        mailbox_of(x->search->users, found->path, &found->mailbox);
        return;
    }
    struct span leaf = path_name(found->path);
    bool in_folder = span_equal(leaf, span_str("cur")) || span_equal(leaf, span_str("new")) ||
                     span_equal(leaf, span_str("tmp"));
    const char *message = in_folder ? "/1.x" : "/cur/1.x";
    buf_reset(&x->probe);
    buf_add(&x->probe, found->path.ptr, found->path.len);
    buf_add(&x->probe, message, strlen(message));
    mailbox_of(x->search->users, buf_span(&x->probe), &found->mailbox);
    found->mailbox.kind = MAILBOX_OTHER;
}

static bool
fits_place(const struct finding *x)
{
    const struct retained_filter *f = x->search->filter;
    const struct mailbox *m = &x->found.mailbox;
    if (f->user != NULL && !is_user(m->user, f->user))
        return false;
    return f->folder == NULL || is_folder(m->folder, f->folder);
}

/* What cannot be read has an empty header. */
static void
read_head(struct finding *x, int dirfd, const char *name)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    _cleanup_close_ int fd = openat(dirfd, name, flags);
    if (x->head == NULL)
        x->head = xmalloc(MAILHEAD_MAX);
    ssize_t got = fd < 0 ? 0 : file_pread_full(fd, x->head, MAILHEAD_MAX, 0, NULL);
    mailhead_read(span_of(x->head, got > 0 ? (size_t)got : 0), &x->found.head);
}

static bool
fits_head(const struct finding *x)
{
    const struct retained_filter *f = x->search->filter;
    const struct mailhead *h = &x->found.head;
    return (f->from == NULL || mailhead_contains(h->from, f->from)) &&
           (f->subject == NULL || mailhead_contains(h->subject, f->subject)) &&
           (f->message_id == NULL || mailhead_contains(h->message_id, f->message_id));
}

static int
tell(struct finding *x, int dirfd, const char *name, struct err *e)
{
    const struct retained_filter *f = x->search->filter;
    bool message = x->found.mailbox.kind == MAILBOX_MESSAGE && S_ISREG(x->found.st.st_mode);
    if (x->found.mailbox.kind == MAILBOX_DELIVERY)
        return 0; /* cut off by the death of a mail server; it was nobody's yet, and goes nowhere */
    x->found.head = (struct mailhead){ 0 };
    if (asks_for_head(f) && !message)
        return 0;
    if (message && (f->heads || asks_for_head(f)))
        read_head(x, dirfd, name);
    return fits_head(x) ? x->search->each(x->search->arg, &x->found, e) : 0;
}

/* --- files of a directory --- */

/* A directory that was removed as a whole took along what no store replicates: caches, locks. */
static bool
is_replicated(const struct finding *x, const char *name)
{
    const struct store_rules rules = { .kind = x->search->kind };
    struct span dir = path_parent(buf_span(&x->path));
    return store_class_of(&rules, dir, span_str(name), false) != CLASS_IGNORE;
}

static int find_below(struct finding *x, int at, const char *name, unsigned depth, struct err *e);

/* What lives under another name was not lost. That is asked last: it may take all that is retained
 * to answer. */
static int
tell_lost(struct finding *x, int dirfd, const char *name, struct err *e)
{
    int lives = fits_place(x) ? retained_census_lives(x->census, &x->found.st, e) : 1;
    return lives == 0 ? tell(x, dirfd, name, e) : MIN(lives, 0);
}

static int
find_file(struct finding *x, int dirfd, const char *name, struct err *e)
{
    x->found.path = buf_span(&x->path);
    x->found.member = buf_span(&x->member);
    place(x, false);
    return tell_lost(x, dirfd, name, e);
}

static int
find_name(struct finding *x, int dirfd, const char *name, unsigned depth, struct err *e)
{
    size_t member = x->member.len, path = x->path.len;
    struct retained_found *found = &x->found;
    if (fstatat(dirfd, name, &found->st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at a retained file");
    if (member > 0)
        buf_add_u8(&x->member, '/');
    buf_add(&x->member, name, strlen(name));
    buf_add_u8(&x->path, '/');
    buf_add(&x->path, name, strlen(name));
    int r = 0;
    if (!is_replicated(x, name)) {
        r = 0;
    } else if (S_ISDIR(found->st.st_mode)) {
        r = find_below(x, dirfd, name, depth + 1, e);
    } else {
        r = find_file(x, dirfd, name, e);
    }
    x->member.len = member;
    x->path.len = path;
    return r;
}

static int
find_below(struct finding *x, int at, const char *name, unsigned depth, struct err *e)
{
    if (depth > DEPTH_MAX)
        return 0;
    _cleanup_dir_ DIR *dir = NULL;
    int found = dir_find(at, name, &dir, e);
    if (found <= 0)
        return found < 0 ? err_wrap(e, "read what is retained") : 0;
    const struct dirent *item;
    int r = 0, more = 0;
    while (r == 0 && (more = dir_next(dir, &item, e)) > 0)
        r = find_name(x, dirfd(dir), item->d_name, depth, e);
    return more < 0 ? err_wrap(e, "read what is retained") : r;
}

static int
find_in(void *arg, const struct retained_object *object, struct err *e)
{
    struct finding *x = arg;
    struct retained_found *found = &x->found;
    bool is_dir = S_ISDIR(object->st.st_mode);
    buf_reset(&x->member);
    buf_reset(&x->path);
    buf_add(&x->path, object->name.path.ptr, object->name.path.len);
    found->object = object;
    found->path = buf_span(&x->path);
    found->member = (struct span){ 0 };
    found->st = object->st;
    place(x, is_dir);
    bool others = x->search->filter->user != NULL &&
                  !fits_place(x); /* of a directory above users */
    if (is_dir && (others || asks_for_files(x->search->filter)))
        return find_below(x, object->dirfd, object->entry, 0, e);
    return tell_lost(x, object->dirfd, object->entry, e);
}

int
retained_find(int retained_fd, struct retained_search *search, struct err *e)
{
    struct finding x = { .search = search, .census = retained_census_new(retained_fd) };
    struct retained_read read = { .wanted = is_wanted, .each = find_in, .arg = &x };
    int r = retained_read(retained_fd, &read, &search->strange, e);
    retained_census_free(&x.census);
    buf_free(&x.member);
    buf_free(&x.path);
    buf_free(&x.probe);
    free(x.head);
    return r;
}
