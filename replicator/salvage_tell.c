/* salvage_tell.c - the statement of what was lost, completed: the returned node counts what it had
 * alone, the primary writes it into the statement of the promotion that replaced that node. */
#include "lib/os/event.h"
#include "replicator/loss.h"
#include "replicator/receiver.h"
#include "replicator/salvage_box.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- the returned node --- */

static void
add_item(const struct salvage_item *item, struct wire_found *found)
{
    if (item->kind == SALVAGE_MESSAGE || item->kind == SALVAGE_COPY)
        found->messages++;
    else if (item->kind == SALVAGE_FLAGS)
        found->flag_changes++;
    else if (item->kind == SALVAGE_EXPUNGE)
        found->expunges++;
    else
        found->others++;
}

static void
add_box(const struct salvage_box *box, struct wire_found *found)
{
    struct salvage_item item;
    found->epoch = box->head.epoch;
    found->time_s = box->head.time_s;
    for (uint32_t i = 0; i < box->head.count; i++) {
        salvage_box_item(box, i, &item);
        add_item(&item, found);
    }
}

/* One salvage has a box in each store that has something. */
static bool
is_first_of_its_id(const struct salvages *x, size_t place)
{
    for (size_t i = 0; i < place; i++) {
        if (strcmp(x->boxes[i].id, x->boxes[place].id) == 0)
            return false;
    }
    return true;
}

static void
count_one(const struct salvages *x, size_t place, struct wire_found *found)
{
    for (size_t i = place; i < x->count; i++) {
        if (strcmp(x->boxes[i].id, x->boxes[place].id) == 0)
            add_box(&x->boxes[i], found);
    }
}

/* A deposed primary that is followed on from where it ended, and that has looked, had nothing. */
static int
tell_nothing(struct session *s, struct err *e)
{
    if (s->ours->role != WIRE_ROLE_NONE || MAX(s->ours->tail, s->applied) > s->decision.fork)
        return 0;
    _cleanup_free_ struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_FOUND;
    msg->found = (struct wire_found){ .epoch = s->ours->epoch, .time_s = (uint64_t)time(NULL) };
    return link_io_send(s->io, msg, e);
}

int
salvages_tell(struct session *s, struct err *e)
{
    struct salvages *x = s->daemon->salvages;
    _cleanup_free_ struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    if (x == NULL || s->theirs->role != WIRE_ROLE_PRIMARY)
        return 0;
    salvages_refresh(x, true);
    size_t count = 0;
    pthread_mutex_lock(&x->lock);
    _cleanup_free_ struct wire_found *found = xcalloc(x->count + 1, sizeof(*found));
    for (size_t i = 0; i < x->count; i++) {
        if (is_first_of_its_id(x, i))
            count_one(x, i, &found[count++]);
    }
    pthread_mutex_unlock(&x->lock);
    msg->type = WIRE_FOUND;
    for (size_t i = 0; i < count; i++) {
        msg->found = found[i];
        if (link_io_send(s->io, msg, e) < 0)
            return -1;
    }
    return tell_nothing(s, e);
}

/* --- the primary --- */

struct told {
    struct daemon *daemon;
    struct wire_found found;
    char node[WIRE_NAME_MAX + 1];
};

/* The promotion that replaced a primary of that epoch: the next one of the list. 0 none. */
static int
replaced_by(struct state_txn *txn, uint64_t epoch, uint64_t *ret_epoch, struct err *e)
{
    struct span row;
    *ret_epoch = 0;
    int found = state_get(txn, LEDGER_EPOCHS, &row, e);
    for (size_t i = 0; found > 0 && i + LEDGER_EPOCH_ROW <= row.len; i += LEDGER_EPOCH_ROW) {
        uint64_t next = get_le64(row.ptr + i);
        if (next > epoch && (*ret_epoch == 0 || next < *ret_epoch))
            *ret_epoch = next;
    }
    return found < 0 ? -1 : 0;
}

/* 1 there is a statement of that promotion, and it is open. */
static int
is_open(struct state_txn *txn, uint64_t epoch, struct err *e)
{
    json_t *statement = NULL;
    int found = epoch == 0 ? 0 : loss_get(txn, epoch, &statement, e);
    const char *state = json_string_value(json_object_get(statement, "state"));
    bool final = state != NULL && strcmp(state, "final") == 0;
    json_decref(statement);
    return found > 0 ? !final : found;
}

static int
complete(const struct told *told, struct err *e)
{
    struct node *node = told->daemon->node;
    const struct wire_found *f = &told->found;
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t epoch;
    if (state_begin(node->state, false, &txn, e) < 0 || replaced_by(txn, f->epoch, &epoch, e) < 0)
        return -1;
    int open = is_open(txn, epoch, e);
    state_abort(&txn);
    if (open <= 0)
        return open;
    struct loss_found found = { .node = told->node,
                                .at = f->time_s,
                                .messages = f->messages,
                                .flag_changes = f->flag_changes,
                                .expunges = f->expunges,
                                .others = f->others };
    return loss_complete(node->state, node->state_dirfd, epoch, &found, e);
}

static void
found_main(void *arg)
{
    struct told *told = arg;
    struct err e = { 0 };
    if (told->daemon->role == WIRE_ROLE_PRIMARY && complete(told, &e) < 0)
        event(EV_FAILED, F_STR("while", "completing the statement of what was lost"), F_ERR(&e));
    free(told);
}

int
salvages_found(struct session *s, const struct wire_found *found, struct err *e)
{
    (void)e;
    struct told *told = xcalloc(1, sizeof(*told));
    told->daemon = s->daemon;
    told->found = *found;
    memcpy(told->node, s->peer->conf->name,
           MIN(strlen(s->peer->conf->name), sizeof(told->node) - 1));
    control_post(s->daemon->control, found_main, told);
    return 0;
}
