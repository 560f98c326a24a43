#include "replicator/restore.h"

#include "lib/base/escape.h"
#include "lib/os/attrs.h"
#include "lib/os/file.h"
#include "lib/store/keywords.h"
#include "lib/store/mailbox.h"
#include "lib/store/uidlist.h"
#include "replicator/give.h"
#include "replicator/intake.h"
#include "replicator/mass.h"
#include "replicator/roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD_MAX 4096               /* of a UID list: its first line */
#define LIST_MAX (64 * 1024 * 1024) /* a larger one is given as it is */

struct restore {
    struct give_order order;
    struct daemon *d;
    uint8_t role; /* of this node when it was ordered */
    struct control_call *call;
    const struct node_store *store;
    int retained_fd;
    bool replace;
    struct buf suffix;   /* taken off paths that end so */
    struct buf *objects; /* bytes of each */
    char **paths;        /* of each that was read */
    bool *told;          /* the guard was, of each, and its answer has not come */
    json_t *untaken;     /* what failed or was refused: path and why */
    char **versions;     /* NULL: texts of earlier versions, a line each */
    size_t count, next;
    uint64_t results[WIRE_GIVEN_REFUSED + 1], gone;
    char text[1024]; /* why the first of those that failed did */
    struct err e;    /* why it ended early */

    /* where this node is the primary */
    struct link_io *ends[2];
    struct peer queue; /* only its list of orders is used */
    pthread_t thread;
    atomic_bool stopped;
    bool ended;
};

/* --- names --- */

/* What an object's text says. Spans point into it or into the buffers. */
struct object {
    struct retained_name name;
    struct span file;   /* bucket and name */
    struct span member; /* "" none */
    struct buf path;    /* of the object in the store */
    struct buf full;    /* with the member */
    struct buf place;   /* below retained/: what is to be opened */
};

static void
object_free(struct object *o)
{
    buf_free(&o->path);
    buf_free(&o->full);
    buf_free(&o->place);
}
#define _cleanup_object_ _cleanup_(object_free)

/* Bucket and name, each one component; behind them the member. */
static bool
split(struct span text, struct object *o, struct span *ret_name)
{
    struct span rest = text, bucket;
    char hour_text[RETAINED_BUCKET_SIZE];
    uint64_t hour;
    if (!path_valid(text) || !path_next(&rest, &bucket) || !path_next(&rest, ret_name) ||
        bucket.len >= sizeof(hour_text))
        return false;
    memcpy(hour_text, bucket.ptr, bucket.len);
    hour_text[bucket.len] = '\0';
    o->file = span_of(text.ptr, (size_t)(ret_name->ptr - text.ptr) + ret_name->len);
    o->member = rest;
    return retained_bucket_hour(hour_text, &hour);
}

/* 1 read, 0 it is gone. */
static int
read_wrap_path(const struct restore *r, struct object *o, struct err *e)
{
    struct err why = { 0 };
    _cleanup_free_ char *path = NULL;
    size_t len;
    _cleanup_close_ int fd = file_open_beneath(r->retained_fd, o->file, O_RDONLY | O_DIRECTORY, 0,
                                               &why);
    if (fd < 0 && why.sys == ENOENT)
        return 0;
    if (fd < 0)
        return err_set(e, why.code, "%s", why.text);
    int got = file_read(fd, RETAINED_WRAP_PATH, PATH_STORE_MAX, &path, &len, e);
    if (got > 0)
        buf_add(&o->path, path, len);
    return got > 0 ? path_valid(buf_span(&o->path)) && len > 0 : got;
}

/* What an attacker put behind each name. */
static void
cut_suffix(const struct restore *r, struct buf *path)
{
    size_t len = r->suffix.len;
    if (len > 0 && path_name(buf_span(path)).len > len &&
        memcmp(path->ptr + path->len - len, r->suffix.ptr, len) == 0)
        path->len -= len;
}

/* 1 taken apart, 0 it is none, or gone. */
static int
parse(const struct restore *r, struct span text, struct object *o, struct err *e)
{
    struct span name;
    if (!split(text, o, &name) || retained_name_decode(name, &o->path, &o->name, NULL) < 0)
        return 0;
    buf_add(&o->place, o->file.ptr, o->file.len);
    if (o->name.wrapped) {
        int got = read_wrap_path(r, o, e);
        if (got <= 0)
            return got;
        buf_add(&o->place, "/" RETAINED_WRAP_OBJECT, sizeof(RETAINED_WRAP_OBJECT));
    }
    buf_add(&o->full, o->path.ptr, o->path.len);
    if (o->member.len > 0) {
        buf_add_u8(&o->full, '/');
        buf_add(&o->full, o->member.ptr, o->member.len);
        buf_add_u8(&o->place, '/');
        buf_add(&o->place, o->member.ptr, o->member.len);
    }
    cut_suffix(r, &o->full);
    return 1;
}

/* --- one item --- */

/* The beginning of a file of the folder as it is here: it lives, or was deleted with the object. */
static void
read_beside(const struct restore *r, const struct object *o, const struct mailbox *m,
            const char *name, size_t max, struct buf *out)
{
    _cleanup_buf_ struct buf path = { 0 };
    path_join(&path, m->dir, span_str(name));
    int fd = file_open_beneath(r->store->root_fd, buf_span(&path), O_RDONLY, 0, NULL);
    if (fd < 0 && path_is_below(m->dir, buf_span(&o->path))) {
        _cleanup_buf_ struct buf here = { 0 };
        struct span tree = span_from(buf_span(&o->place), 0, o->place.len - o->member.len);
        size_t skip = MIN(o->path.len + 1, m->dir.len);
        buf_add(&here, tree.ptr, tree.len);
        buf_add(&here, m->dir.ptr + skip, m->dir.len - skip);
        buf_add(&here, m->dir.len > skip ? "/" : "", m->dir.len > skip);
        buf_add(&here, name, strlen(name));
        fd = file_open_beneath(r->retained_fd, buf_span(&here), O_RDONLY, 0, NULL);
    }
    buf_reset(out);
    buf_reserve(out, max);
    ssize_t got = fd < 0 ? 0 : file_pread_full(fd, out->ptr, max, 0, NULL);
    out->len = got > 0 ? (size_t)got : 0;
    file_closep(&fd);
}

static void
add_folder(const struct restore *r, const struct object *o, const struct mailbox *m,
           struct give_item *item)
{
    _cleanup_buf_ struct buf text = { 0 };
    struct uidlist list;
    read_beside(r, o, m, "dovecot-uidlist", HEAD_MAX, &text);
    const uint8_t *end = text.len > 0 ? memchr(text.ptr, '\n', text.len) : NULL;
    text.len = end != NULL ? (size_t)(end - text.ptr) + 1 : 0;
    if (text.len > 0 && uidlist_begin(&list, buf_span(&text), NULL) == 0)
        buf_add(&item->guid, list.guid.ptr, list.guid.len);
    read_beside(r, o, m, "dovecot-keywords", KEYWORDS_SIZE, &text);
    give_item_keywords(item, buf_span(&text), "");
}

static int
fill_item(struct restore *r, const struct object *o, struct give_item *item, struct err *e)
{
    struct stat st;
    struct mailbox m = { .kind = MAILBOX_OTHER };
    if (fstat(item->fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at a retained object");
    buf_add(&item->path, o->full.ptr, o->full.len);
    item->store = r->store->number;
    item->attr = (struct attr){ .mode = st.st_mode,
                                .uid = st.st_uid,
                                .gid = st.st_gid,
                                .size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0,
                                .mtime_ns = attrs_ns(&st.st_mtim) };
    if (r->store->conf->kind == STORE_MAILDIR)
        mailbox_of(r->store->conf->users, buf_span(&item->path), &m);
    item->kind = S_ISDIR(st.st_mode)         ? WIRE_GIVE_DIR
                 : m.kind == MAILBOX_MESSAGE ? WIRE_GIVE_MESSAGE
                                             : WIRE_GIVE_FILE;
    if (item->kind == WIRE_GIVE_MESSAGE)
        add_folder(r, o, &m, item);
    item->mode = item->kind == WIRE_GIVE_DIR       ? WIRE_GIVE_PUT
                 : r->replace                      ? WIRE_GIVE_REPLACE
                 : item->kind == WIRE_GIVE_MESSAGE ? WIRE_GIVE_DELIVER
                                                   : WIRE_GIVE_PUT;
    if (item->kind == WIRE_GIVE_DIR)
        file_closep(&item->fd);
    return 0;
}

/* Its record comes here as one that overwrites, which the guard is not to count. */
static void
tell_guard(struct restore *r, const struct give_item *item)
{
    bool counted = item->kind == WIRE_GIVE_MESSAGE || r->store->conf->kind != STORE_MAILDIR;
    r->told[item->tag] = item->mode == WIRE_GIVE_REPLACE && counted && r->ends[0] == NULL;
    if (r->told[item->tag])
        mass_put_back(r->d->mass, r->store->number, true);
}

/* 1 in the item, 0 it is gone or cannot be given. */
static int
open_object(struct restore *r, struct span text, struct give_item *item, struct err *e)
{
    _cleanup_object_ struct object o = { .path = { 0 } };
    struct err why = { 0 };
    int got = parse(r, text, &o, e);
    if (got <= 0)
        return got;
    item->fd = file_open_beneath(r->retained_fd, buf_span(&o.place), O_RDONLY | O_NONBLOCK, 0,
                                 &why);
    if (item->fd < 0)
        return 0;
    if (fill_item(r, &o, item, e) < 0)
        return -1;
    r->paths[item->tag] = escape_text(buf_span(&item->path));
    tell_guard(r, item);
    return 1;
}

/* --- lists of UIDs --- */

static bool
read_list(int fd, struct buf *out)
{
    struct stat st;
    buf_reset(out);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > LIST_MAX)
        return false;
    buf_reserve(out, (size_t)st.st_size + 1);
    ssize_t got = file_pread_full(fd, out->ptr, (size_t)st.st_size, 0, NULL);
    out->len = got > 0 ? (size_t)got : 0;
    return got > 0;
}

static int
open_version(const struct restore *r, const char *text)
{
    _cleanup_buf_ struct buf bytes = { 0 };
    _cleanup_object_ struct object o = { .path = { 0 } };
    if (!escape_read(text, &bytes) || parse(r, buf_span(&bytes), &o, NULL) <= 0)
        return -1;
    return file_open_beneath(r->retained_fd, buf_span(&o.place), O_RDONLY | O_NONBLOCK, 0, NULL);
}

/* A version that cannot be read (encrypted, cut off), or is of another UIDVALIDITY, is passed over.
 */
static void
merge_version(const struct restore *r, const char *text, struct buf *list)
{
    _cleanup_buf_ struct buf earlier = { 0 };
    _cleanup_buf_ struct buf merged = { 0 };
    _cleanup_close_ int fd = open_version(r, text);
    if (!read_list(fd, &earlier) || !uidlist_is_whole(buf_span(&earlier)))
        return;
    if (!uidlist_is_whole(buf_span(list)))
        buf_add(&merged, earlier.ptr, earlier.len);
    else if (uidlist_merge(buf_span(list), buf_span(&earlier), &merged, NULL) < 0)
        return;
    buf_reset(list);
    buf_add(list, merged.ptr, merged.len);
}

/* The item gets the merged list in a file without a name. */
static int
merge_versions(struct restore *r, size_t at, struct give_item *item, struct err *e)
{
    _cleanup_buf_ struct buf list = { 0 };
    char *save = NULL;
    if (item->kind != WIRE_GIVE_FILE || !read_list(item->fd, &list))
        return 0;
    for (char *text = strtok_r(r->versions[at], "\n", &save); text != NULL;
         text = strtok_r(NULL, "\n", &save))
        merge_version(r, text, &list);
    struct err why = { 0 };
    int fd = file_open_unnamed(r->retained_fd, 0600, &why);
    if (fd < 0) /* the newest version alone, then */
        return why.sys == EOPNOTSUPP ? 0 : err_set(e, why.code, "%s", why.text);
    file_closep(&item->fd);
    item->fd = fd;
    item->attr.size = list.len;
    return file_pwrite_full(fd, buf_span(&list), 0, e);
}

static int
next(struct give_order *order, struct give_item *ret_item, struct err *e)
{
    struct restore *r = order->arg;
    while (r->next < r->count) {
        *ret_item = (struct give_item){ .fd = -1 };
        ret_item->tag = r->next;
        size_t at = r->next++;
        int got = open_object(r, buf_span(&r->objects[at]), ret_item, e);
        if (got > 0 && r->versions[at] != NULL && merge_versions(r, at, ret_item, e) < 0)
            got = -1;
        if (got != 0)
            return got;
        give_item_free(ret_item);
        r->gone++;
    }
    return 0;
}

static int
answered(struct give_order *order, const struct given *given, struct err *e)
{
    struct restore *r = order->arg;
    (void)e;
    r->results[MIN((size_t)given->result, ARRAY_LEN(r->results) - 1)]++;
    bool bad = given->result == WIRE_GIVEN_FAILED || given->result == WIRE_GIVEN_REFUSED;
    if (given->tag >= r->count)
        return 0;
    if (r->told[given->tag] && given->result != WIRE_GIVEN_CREATED)
        mass_put_back(r->d->mass, r->store->number, false);
    r->told[given->tag] = false;
    if (!bad)
        return 0;
    _cleanup_free_ char *why = escape_text(given->text);
    if (r->text[0] == '\0')
        snprintf(r->text, sizeof(r->text), "%s", why);
    json_array_append_new(r->untaken,
                          json_pack("{s:s, s:s}", "path", r->paths[given->tag], "why", why));
    return 0;
}

/* --- the order --- */

static void
restore_free(struct restore *r)
{
    for (size_t i = 0; i < r->count; i++) {
        buf_free(&r->objects[i]);
        free(r->versions[i]);
        free(r->paths[i]);
    }
    free(r->objects);
    free(r->versions);
    free(r->paths);
    free(r->told);
    buf_free(&r->suffix);
    json_decref(r->untaken);
    file_closep(&r->retained_fd);
    link_io_free(&r->ends[0]);
    link_io_free(&r->ends[1]);
    free(r);
}

/* Why it ended is told as what the user did or saw, not as what became of a link. */
static void
say_role(struct restore *r)
{
    uint64_t there = r->results[WIRE_GIVEN_CREATED] + r->results[WIRE_GIVEN_EXISTS];
    if (r->e.code == ERR_NONE || (!atomic_load(&r->stopped) && r->d->role == r->role))
        return;
    err_set(&r->e, ERR_PEER,
            "the role of this node changed, or it ends: %llu of %zu objects are known to be there, "
            "the others were given up; give the order again",
            (unsigned long long)there, r->count);
}

static void
reply_main(void *arg)
{
    struct restore *r = arg;
    say_role(r);
    if (r->d->restore == r) {
        pthread_join(r->thread, NULL);
        r->d->restore = NULL;
    }
    if (r->e.code != ERR_NONE)
        control_fail(r->call, &r->e);
    else
        control_reply(r->call,
                      json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:O}", "created",
                                (json_int_t)r->results[WIRE_GIVEN_CREATED], "exists",
                                (json_int_t)r->results[WIRE_GIVEN_EXISTS], "failed",
                                (json_int_t)r->results[WIRE_GIVEN_FAILED], "refused",
                                (json_int_t)r->results[WIRE_GIVEN_REFUSED], "gone",
                                (json_int_t)r->gone, "why", r->text, "untaken", r->untaken));
    restore_free(r);
}

static void
done(struct give_order *order, const struct err *e)
{
    struct restore *r = order->arg;
    for (size_t i = 0; i < r->count; i++) { /* whether they are there nobody said: they count */
        if (r->told[i])
            mass_put_back(r->d->mass, r->store->number, false);
    }
    if (e != NULL)
        r->e = *e;
    r->ended = true;
    if (r->ends[0] == NULL)
        control_post(r->d->control, reply_main, r);
}

static int
take_objects(struct restore *r, const json_t *objects, struct err *e)
{
    size_t count = json_array_size(objects);
    if (count == 0 || count > RESTORE_MAX)
        return err_set(e, ERR_USAGE, "1 to %d objects are given at once, not %zu", RESTORE_MAX,
                       count);
    r->objects = xcalloc(count, sizeof(r->objects[0]));
    r->versions = xcalloc(count, sizeof(char *));
    r->paths = xcalloc(count, sizeof(char *));
    r->told = xcalloc(count, sizeof(bool));
    for (; r->count < count; r->count++) {
        const char *text = json_string_value(json_array_get(objects, r->count));
        _cleanup_free_ char *first = text == NULL ? NULL : xstrdup(text);
        char *more = first == NULL ? NULL : strchr(first, '\n');
        if (more != NULL) {
            *more = '\0';
            r->versions[r->count] = xstrdup(more + 1);
        }
        if (first == NULL || !escape_read(first, &r->objects[r->count])) {
            free(r->versions[r->count]);
            buf_free(&r->objects[r->count]);
            return err_set(e, ERR_USAGE, "object %zu is not written as one", r->count + 1);
        }
    }
    return 0;
}

/* --- on the primary: both halves are here --- */

static int
give_here(struct restore *r, struct err *e)
{
    struct give *give = give_new(r->ends[0]);
    int rc = 0;
    while (rc >= 0 && !r->ended && !atomic_load(&r->stopped)) {
        const struct wire_msg *msg = NULL;
        int gives = give_work(give, &r->queue, 0, e);
        if (gives < 0 || r->ended) {
            rc = MIN(gives, 0);
            break;
        }
        rc = link_io_receive(r->ends[0], gives > 0 ? 0 : -1, -1, &msg, e);
        if (rc > 0)
            rc = msg->type == WIRE_GIVEN ? give_answer(give, &msg->given, e)
                                         : err_set(e, ERR_PROTOCOL, "not an answer");
    }
    struct err why = { 0 };
    err_set(&why, ERR_PEER, "it was given up");
    give_free(&give, rc < 0 ? e : &why);
    return rc;
}

static void *
take_here(void *arg)
{
    struct restore *r = arg;
    struct intake *intake = intake_new(r->d->node, r->ends[1], true, &r->stopped);
    const struct wire_msg *msg;
    struct err e = { 0 };
    int got = 0;
    while (got >= 0 && !atomic_load(&r->stopped)) {
        got = link_io_receive(r->ends[1], 0, -1, &msg, &e);
        if (got == 0 && (intake_settle(intake, &e) < 0 || link_io_flush(r->ends[1], &e) < 0))
            got = -1;
        if (got == 0)
            got = link_io_receive(r->ends[1], -1, -1, &msg, &e);
        if (got > 0 && (!intake_wants(intake, msg->type) || intake_take(intake, msg, &e) < 0))
            got = -1;
    }
    shutdown(link_io_fd(r->ends[1]), SHUT_RDWR); /* the giver waits no more */
    intake_free(&intake);
    return NULL;
}

static void *
run_here(void *arg)
{
    struct restore *r = arg;
    pthread_t taker;
    struct err e = { 0 };
    int failed = pthread_create(&taker, NULL, take_here, r);
    if (failed != 0) {
        err_errnum(&r->e, ERR_NOMEM, failed, "start a thread");
    } else {
        if (give_here(r, &e) < 0 && r->e.code == ERR_NONE)
            r->e = e;
        if (!r->ended && r->e.code == ERR_NONE)
            err_set(&r->e, ERR_PEER, "it was stopped before it began");
        shutdown(link_io_fd(r->ends[0]), SHUT_RDWR);
        pthread_join(taker, NULL);
    }
    pthread_mutex_destroy(&r->queue.lock);
    control_post(r->d->control, reply_main, r);
    return NULL;
}

static int
start_here(struct restore *r, struct err *e)
{
    int fds[2];
    if (r->d->restore != NULL)
        return err_set(e, ERR_BUSY, "another restore on this node is not done yet");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_sys(e, ERR_IO, "make a pair of sockets");
    r->ends[0] = link_io_new(fds[0]);
    r->ends[1] = link_io_new(fds[1]);
    pthread_mutex_init(&r->queue.lock, NULL);
    r->queue.gives = &r->order;
    int failed = pthread_create(&r->thread, NULL, run_here, r);
    if (failed != 0)
        return err_errnum(e, ERR_NOMEM, failed, "start a thread");
    r->d->restore = r; /* until reply_main(), in this thread */
    return 0;
}

void
restore_stop(struct daemon *d)
{
    struct restore *r = d->restore;
    if (r == NULL)
        return;
    atomic_store(&r->stopped, true);
    shutdown(link_io_fd(r->ends[0]), SHUT_RDWR);
    pthread_join(r->thread, NULL);
    d->restore = NULL; /* its answer is on the way */
}

static int
start(struct restore *r, struct err *e)
{
    if (r->d->capture != NULL)
        return start_here(r, e);
    struct peer *peer = peer_receives_from(r->d);
    if (peer != NULL && peer_give(peer, &r->order))
        return 0;
    return err_set(e, ERR_PEER, "no primary is connected that could take it");
}

void
restore_order(struct daemon *d, int store, struct control_call *call, const json_t *request)
{
    struct err e = { 0 };
    struct restore *r = xcalloc(1, sizeof(*r));
    r->d = d;
    r->role = d->role;
    r->call = call;
    r->store = &d->node->stores[store];
    r->replace = json_is_true(json_object_get(request, "replace"));
    r->untaken = json_array();
    const char *suffix = json_string_value(json_object_get(request, "suffix"));
    buf_add(&r->suffix, suffix, suffix == NULL ? 0 : strlen(suffix));
    r->order = (struct give_order){ .next = next, .answered = answered, .done = done, .arg = r };
    r->retained_fd = file_open_beneath(r->store->root_fd,
                                       span_str(STORE_PRIVATE_DIR "/" RETAINED_DIR),
                                       O_RDONLY | O_DIRECTORY, 0, &e);
    if (r->retained_fd >= 0 && take_objects(r, json_object_get(request, "objects"), &e) >= 0 &&
        start(r, &e) >= 0)
        return;
    restore_free(r);
    control_fail(call, &e);
}
