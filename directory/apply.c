#include "directory/apply.h"

#include "directory/kept.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#define FILE_EVENTS   (IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)
#define ROOT_EVENTS   (IN_CREATE | IN_MOVED_TO | IN_ONLYDIR)
#define EVENTS_SIZE   (64 * 1024)
#define COMPARE_AGAIN 10000
#define DECIDE_AGAIN  500

void
apply_mark(struct dir_store *s, const uint8_t uuid[LDAPSYNC_UUID_SIZE])
{
    rows_set_pending(&s->table, rows_get(&s->table, uuid), true);
}

static int
mark_one(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e)
{
    (void)e;
    apply_mark(arg, uuid);
    return 0;
}

/* --- what replication changes in the spool --- */

/* The watch is there before the folder is read: nothing falls between. */
static int
watch_folder(struct dir_store *s, int folder, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%02x", spool_path(s->spool), (unsigned)folder);
    int watch = inotify_add_watch(s->apply.inotify_fd, path,
                                  FILE_EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK);
    if (watch < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (watch < 0)
        return err_sys(e, ERR_IO, "watch %s", path);
    bool fresh = s->apply.watches[folder] != watch;
    s->apply.watches[folder] = watch;
    return fresh ? spool_each(s->spool, folder, mark_one, s, e) : 0;
}

static int
watch_all(struct dir_store *s, struct err *e)
{
    struct apply *a = &s->apply;
    a->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (a->inotify_fd < 0)
        return err_sys(e, ERR_IO, "watch the spool");
    a->root_watch = inotify_add_watch(a->inotify_fd, spool_path(s->spool), ROOT_EVENTS);
    if (a->root_watch < 0)
        return err_sys(e, ERR_IO, "watch %s", spool_path(s->spool));
    for (int i = 0; i < SPOOL_FOLDERS; i++)
        if (watch_folder(s, i, e) < 0)
            return -1;
    return 0;
}

static int
on_event(struct dir_store *s, const struct inotify_event *event, struct err *e)
{
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    int folder;
    if (event->mask & IN_Q_OVERFLOW) {
        s->apply.compare = true;
    } else if (event->wd == s->apply.root_watch) {
        if (event->len > 0 && spool_folder_read(event->name, &folder))
            return watch_folder(s, folder, e);
    } else if (event->mask & IN_IGNORED) {
        for (folder = 0; folder < SPOOL_FOLDERS; folder++)
            if (s->apply.watches[folder] == event->wd)
                s->apply.watches[folder] = -1;
    } else if (event->len > 0 && spool_name_read(event->name, uuid)) {
        apply_mark(s, uuid);
    }
    return 0;
}

static int
read_events(struct dir_store *s, struct err *e)
{
    static _Thread_local char events[EVENTS_SIZE]
        __attribute__((aligned(__alignof__(struct inotify_event))));
    for (;;) {
        ssize_t len = read(s->apply.inotify_fd, events, sizeof(events));
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0 && errno == EAGAIN)
            return 0;
        if (len <= 0)
            return err_sys(e, ERR_IO, "read what changed in the spool");
        for (ssize_t at = 0; at < len;) {
            const void *here = events + at;
            const struct inotify_event *event = here;
            if (on_event(s, event, e) < 0)
                return -1;
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
}

/* --- the turn --- */

static void
retry_due(struct dir_store *s, uint64_t now)
{
    struct row *row;
    if (s->table.problems == 0)
        return;
    for (size_t at = 0; (row = rows_next(&s->table, &at)) != NULL;)
        if (row->problem != NULL && row->problem->retry_ms <= now)
            rows_set_pending(&s->table, row, true);
}

void
apply_retry(struct dir_store *s)
{
    retry_due(s, UINT64_MAX);
    s->apply.compare = true;
    s->apply.compare_ms = 0;
}

/* What this server alone has is judged before anything else can come of it: a node that is promoted
 * in the seconds until then would take it for its own. */
static bool
comparison_is_due(struct dir_store *s, uint64_t now)
{
    struct apply *a = &s->apply;
    if (!a->compare || now >= a->compare_ms)
        return a->compare;
    if (!a->undecided || now < a->decide_ms)
        return false;
    a->decide_ms = now + DECIDE_AGAIN; /* not for each file that a sync brings */
    return roles_complete(s->roles) > 0;
}

static int
next_retry_ms(const struct dir_store *s, uint64_t now)
{
    const struct row *row;
    uint64_t next = UINT64_MAX;
    if (s->apply.compare)
        next = s->apply.undecided ? now + DECIDE_AGAIN : MAX(s->apply.compare_ms, now + 1);
    for (size_t at = 0; s->table.problems > 0 && (row = rows_next(&s->table, &at)) != NULL;)
        if (row->problem != NULL)
            next = MIN(next, MAX(row->problem->retry_ms, now + 1));
    return next == UINT64_MAX ? -1 : (int)MIN(next - now, APPLY_RETRY_MS);
}

static int
turn(struct dir_store *s, struct err *e)
{
    uint64_t now = dir_now_ms();
    if (comparison_is_due(s, now)) {
        s->apply.compare = false;
        s->apply.compare_ms = now + COMPARE_AGAIN;
        if (compare(s, e) < 0) {
            s->apply.compare = true;
            s->apply.compare_ms = 0;
            return -1;
        }
    }
    retry_due(s, now);
    return settle(s, e);
}

int
apply_step(struct dir_store *s)
{
    struct err e = { 0 };
    if (read_events(s, &e) < 0) {
        dir_trouble(s, &e);
        s->apply.compare = true;
        return 1000;
    }
    bool fresh = s->server == NULL;
    if (dir_connect(s) < 0)
        return (int)(MAX(s->connect_ms, dir_now_ms()) - dir_now_ms()) + 1;
    if (fresh) { /* it may have been given another database meanwhile */
        s->apply.compare = true;
        s->apply.compare_ms = 0;
    }
    if (turn(s, &e) < 0) {
        dir_disconnect(s, &e);
        return 1;
    }
    dir_trouble(s, NULL);
    return next_retry_ms(s, dir_now_ms());
}

/* What the guard holds back and what was refused does not count: both are told and stay. */
bool
apply_level(const struct dir_store *s)
{
    bool compared = !s->apply.compare || s->apply.compare_ms != 0;
    if (s->apply.undecided && roles_complete(s->roles) != 0)
        return false; /* the next step decides */
    return s->server != NULL && s->trouble == NULL && compared && s->table.pending == NULL;
}

int
apply_begin(struct dir_store *s, struct err *e)
{
    struct apply *a = &s->apply;
    *a = (struct apply){ .inotify_fd = -1, .compare = true };
    for (int i = 0; i < SPOOL_FOLDERS; i++)
        a->watches[i] = -1;
    dir_state_remove(s, "cookie"); /* as primary again, this node asks for everything */
    return watch_all(s, e);
}

void
apply_end(struct dir_store *s)
{
    file_closep(&s->apply.inotify_fd);
    server_close(&s->server);
    rows_free(&s->table);
    s->guard = (struct dir_guard){ 0 };
}
