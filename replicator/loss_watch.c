/* loss_watch.c - what a standby remembers of its primary for the day when that one is gone. */
#include "replicator/loss.h"

#include "lib/base/path.h"
#include "lib/store/mailbox.h"
#include "replicator/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEARD_SIZE 32 /* and the name behind it */

static const char *const kinds[] = { "changes", NULL };

struct loss_watch {
    pthread_mutex_t lock;
    struct loss_heard heard;
    bool changed; /* since it was saved */
    struct tally *folders;
};

struct loss_watch *
loss_watch_new(void)
{
    struct loss_watch *w = xcalloc(1, sizeof(*w));
    pthread_mutex_init(&w->lock, NULL);
    w->folders = tally_new(LOSS_FOLDERS_MAX, kinds);
    return w;
}

void
loss_watch_free(struct loss_watch **watch)
{
    struct loss_watch *w = *watch;
    *watch = NULL;
    if (w == NULL)
        return;
    tally_free(&w->folders);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static uint64_t
realtime_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void
loss_watch_start(struct loss_watch *w, uint64_t epoch, const char *node)
{
    pthread_mutex_lock(&w->lock);
    if (w->heard.epoch != epoch)
        w->heard = (struct loss_heard){ .epoch = epoch };
    w->heard.our_ns = realtime_ns();
    if (node != NULL)
        snprintf(w->heard.node, sizeof(w->heard.node), "%s", node);
    w->changed = true;
    tally_clear(w->folders);
    pthread_mutex_unlock(&w->lock);
}

void
loss_watch_hear(struct loss_watch *w, uint64_t tail, uint64_t its_ns)
{
    pthread_mutex_lock(&w->lock);
    w->heard.tail = MAX(w->heard.tail, tail);
    w->heard.its_ns = MAX(w->heard.its_ns, its_ns);
    w->heard.our_ns = realtime_ns();
    w->changed = true;
    pthread_mutex_unlock(&w->lock);
}

void
loss_place(const struct conf_store *store, struct span path, struct tally_row *ret_row)
{
    struct mailbox at = { 0 };
    if (store->kind == STORE_MAILDIR)
        mailbox_of(store->users == NULL ? "" : store->users, path, &at);
    else
        at.folder = path_parent(path);
    ret_row->store = store->name;
    ret_row->user = at.user;
    ret_row->folder = at.folder;
}

void
loss_watch_received(struct loss_watch *w, const struct conf *conf, const struct record *r)
{
    if (r->op == OP_EPOCH || r->store >= conf->store_count)
        return;
    struct tally_row row = { .counts = { 1 } };
    loss_place(&conf->stores[r->store], r->path, &row);
    pthread_mutex_lock(&w->lock);
    tally_add(w->folders, &row);
    pthread_mutex_unlock(&w->lock);
}

void
loss_watch_carried_out(struct loss_watch *w)
{
    pthread_mutex_lock(&w->lock);
    tally_clear(w->folders);
    pthread_mutex_unlock(&w->lock);
}

int
loss_watch_save(struct loss_watch *w, struct state_txn *txn, struct err *e)
{
    uint8_t row[HEARD_SIZE + WIRE_NAME_MAX];
    pthread_mutex_lock(&w->lock);
    struct loss_heard heard = w->heard;
    bool changed = w->changed;
    w->changed = false;
    pthread_mutex_unlock(&w->lock);
    if (!changed)
        return 0;
    put_le64(row, heard.epoch);
    put_le64(row + 8, heard.tail);
    put_le64(row + 16, heard.its_ns);
    put_le64(row + 24, heard.our_ns);
    size_t len = strlen(heard.node);
    memcpy(row + HEARD_SIZE, heard.node, len);
    return state_put(txn, LOSS_HEARD_KEY, span_of(row, HEARD_SIZE + len), e);
}

int
loss_watch_load(struct loss_watch *w, struct state_txn *txn, struct err *e)
{
    struct span row;
    int found = state_get(txn, LOSS_HEARD_KEY, &row, e);
    if (found <= 0)
        return found;
    if (row.len < HEARD_SIZE || row.len > HEARD_SIZE + WIRE_NAME_MAX)
        return err_set(e, ERR_CORRUPT, "the row \"%s\" of the state has %zu bytes", LOSS_HEARD_KEY,
                       row.len);
    w->heard = (struct loss_heard){ get_le64(row.ptr), get_le64(row.ptr + 8),
                                    get_le64(row.ptr + 16), get_le64(row.ptr + 24), "" };
    memcpy(w->heard.node, row.ptr + HEARD_SIZE, row.len - HEARD_SIZE);
    return 0;
}

void
loss_watch_heard(struct loss_watch *w, struct loss_heard *ret_heard)
{
    pthread_mutex_lock(&w->lock);
    *ret_heard = w->heard;
    pthread_mutex_unlock(&w->lock);
}

json_t *
loss_watch_folders(struct loss_watch *w)
{
    pthread_mutex_lock(&w->lock);
    json_t *folders = tally_json(w->folders);
    pthread_mutex_unlock(&w->lock);
    return folders;
}
