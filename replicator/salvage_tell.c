/* salvage_tell.c - the statement of what was lost, completed: the returned node counts what it had
 * alone, the primary writes it into the statement of the promotion that replaced that node. */
#include "lib/os/event.h"
#include "replicator/epochs.h"
#include "replicator/loss.h"
#include "replicator/receiver.h"
#include "replicator/salvage_box.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* --- the returned node --- */

/* One salvage: of all stores. */
struct alone {
    uint64_t epoch, time_s;
    uint64_t counts[LOSS_KINDS];
    struct tally *folders;
};

static enum loss_kind
kind_of(const struct salvage_item *item)
{
    if (item->kind == SALVAGE_MESSAGE || item->kind == SALVAGE_COPY)
        return LOSS_MESSAGES;
    if (item->kind == SALVAGE_FLAGS)
        return LOSS_FLAG_CHANGES;
    return item->kind == SALVAGE_EXPUNGE ? LOSS_EXPUNGES : LOSS_OTHERS;
}

static void
add_item(const struct salvage_box *box, const struct salvage_item *item, struct alone *alone)
{
    _cleanup_buf_ struct buf inside = { 0 };
    struct tally_row row = { 0 };
    enum loss_kind kind = kind_of(item);
    bool is_dir = S_ISDIR(item->attr.mode);
    if (is_dir) { /* the folder is this one, not the one that it lies in */
        buf_add(&inside, item->path.ptr, item->path.len);
        buf_add(&inside, "/-", 2);
    }
    loss_place(box->store->conf, is_dir ? buf_span(&inside) : item->path, &row);
    row.counts[kind] = 1;
    tally_add(alone->folders, &row);
    alone->counts[kind]++;
}

static void
add_box(const struct salvage_box *box, struct alone *alone)
{
    struct salvage_item item;
    alone->epoch = box->head.epoch;
    alone->time_s = box->head.time_s;
    for (uint32_t i = 0; i < box->head.count; i++) {
        salvage_box_item(box, i, &item);
        add_item(box, &item, alone);
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
count_one(const struct salvages *x, size_t place, struct alone *alone)
{
    alone->folders = tally_new(LOSS_FOLDERS_MAX, loss_kinds);
    for (size_t i = place; i < x->count; i++) {
        if (strcmp(x->boxes[i].id, x->boxes[place].id) == 0)
            add_box(&x->boxes[i], alone);
    }
}

static uint16_t
store_number(const struct conf *conf, const char *name)
{
    uint16_t number = 0;
    while (strcmp(conf->stores[number].name, name) != 0)
        number++;
    return number;
}

static int
tell_folders(struct session *s, const struct alone *alone, struct wire_msg *msg, struct err *e)
{
    struct tally_row row;
    msg->type = WIRE_FOUND_IN;
    for (uint32_t i = 0; tally_row(alone->folders, i, &row); i++) {
        msg->found_in = (struct wire_found_in){ .further = row.store == NULL,
                                                .user = row.user,
                                                .folder = row.folder,
                                                .messages = row.counts[LOSS_MESSAGES],
                                                .flag_changes = row.counts[LOSS_FLAG_CHANGES],
                                                .expunges = row.counts[LOSS_EXPUNGES],
                                                .others = row.counts[LOSS_OTHERS] };
        if (row.store != NULL)
            msg->found_in.store = store_number(s->daemon->conf, row.store);
        if (link_io_send(s->io, msg, e) < 0)
            return -1;
    }
    return 0;
}

static int
tell_one(struct session *s, const struct alone *alone, struct wire_msg *msg, struct err *e)
{
    if (tell_folders(s, alone, msg, e) < 0)
        return -1;
    msg->type = WIRE_FOUND;
    msg->found = (struct wire_found){ .epoch = alone->epoch,
                                      .time_s = alone->time_s,
                                      .messages = alone->counts[LOSS_MESSAGES],
                                      .flag_changes = alone->counts[LOSS_FLAG_CHANGES],
                                      .expunges = alone->counts[LOSS_EXPUNGES],
                                      .others = alone->counts[LOSS_OTHERS] };
    return link_io_send(s->io, msg, e);
}

int
salvage_put_nothing(const struct session *s, struct state_txn *txn, struct err *e)
{
    uint8_t row[SALVAGE_NOTHING_ROW];
    put_le64(row, s->ours->epoch);
    put_le64(row + 8, (uint64_t)time(NULL));
    put_le64(row + 16, s->theirs->epoch);
    return state_put(txn, SALVAGE_NOTHING, span_of(row, sizeof(row)), e);
}

/* A deposed primary that has looked, and is followed on from where it ended. */
static int
note_nothing(struct session *s, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (s->ours->role != WIRE_ROLE_NONE || MAX(s->ours->tail, s->applied) > s->decision.fork)
        return 0;
    if (state_begin(s->daemon->node->state, true, &txn, e) < 0 ||
        salvage_put_nothing(s, txn, e) < 0)
        return -1;
    return state_commit(&txn, e);
}

int
salvages_begin(struct session *s, struct err *e)
{
    salvages_allow(s->daemon);
    return s->theirs->role == WIRE_ROLE_PRIMARY ? note_nothing(s, e) : 0;
}

/* Against another primary nobody has looked. */
static int
tell_nothing(struct session *s, struct wire_msg *msg, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct span row;
    if (state_begin(s->daemon->node->state, false, &txn, e) < 0)
        return -1;
    int found = state_get(txn, SALVAGE_NOTHING, &row, e);
    if (found <= 0 || row.len != SALVAGE_NOTHING_ROW || get_le64(row.ptr + 16) != s->theirs->epoch)
        return MIN(found, 0);
    msg->type = WIRE_FOUND;
    msg->found = (struct wire_found){ .epoch = get_le64(row.ptr), .time_s = get_le64(row.ptr + 8) };
    return link_io_send(s->io, msg, e);
}

/* *ret_alone has room for each box; returns how many salvages there are. */
static size_t
count_all(struct salvages *x, struct alone **ret_alone)
{
    size_t count = 0;
    pthread_mutex_lock(&x->lock);
    *ret_alone = xcalloc(x->count + 1, sizeof(**ret_alone));
    for (size_t i = 0; i < x->count; i++) {
        if (is_first_of_its_id(x, i))
            count_one(x, i, &(*ret_alone)[count++]);
    }
    pthread_mutex_unlock(&x->lock);
    return count;
}

int
salvages_tell(struct session *s, struct err *e)
{
    struct salvages *x = s->daemon->salvages;
    _cleanup_free_ struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    _cleanup_free_ struct alone *alone = NULL;
    if (x == NULL || s->theirs->role != WIRE_ROLE_PRIMARY)
        return 0;
    salvages_refresh(x, true);
    size_t count = count_all(x, &alone);
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        if (rc == 0)
            rc = tell_one(s, &alone[i], msg, e);
        tally_free(&alone[i].folders);
    }
    return rc < 0 ? -1 : tell_nothing(s, msg, e);
}

/* --- the primary --- */

struct told {
    struct daemon *daemon;
    struct wire_found found;
    json_t *folders;
    char node[WIRE_NAME_MAX + 1];
};

/* What another than the one that died had alone says nothing of that one. Where its name is not
 * known and there are more than two nodes, nobody is believed to be it. */
static bool
is_of_another(const struct told *told, const json_t *statement)
{
    const char *last = json_string_value(json_object_get(statement, "last_primary"));
    return last == NULL ? told->daemon->conf->node_count > 2 : strcmp(last, told->node) != 0;
}

/* 1 there is a statement of that promotion, it is open, and the node can close it. */
static int
is_open(const struct told *told, struct state_txn *txn, uint64_t epoch, struct err *e)
{
    json_t *statement = NULL;
    int found = loss_get(txn, epoch, &statement, e);
    const char *state = json_string_value(json_object_get(statement, "state"));
    bool open = state == NULL || strcmp(state, "final") != 0;
    open = open && !is_of_another(told, statement);
    json_decref(statement);
    return found > 0 ? open : found;
}

static int
complete(const struct told *told, struct err *e)
{
    struct node *node = told->daemon->node;
    const struct wire_found *f = &told->found;
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t epoch, first;
    if (state_begin(node->state, false, &txn, e) < 0)
        return -1;
    int open = epochs_after(txn, f->epoch, &epoch, &first, e);
    if (open > 0)
        open = is_open(told, txn, epoch, e);
    state_abort(&txn);
    if (open <= 0)
        return open;
    struct loss_found found = { .node = told->node,
                                .at = f->time_s,
                                .messages = f->messages,
                                .flag_changes = f->flag_changes,
                                .expunges = f->expunges,
                                .others = f->others,
                                .folders = told->folders };
    return loss_complete(node->state, node->state_dirfd, epoch, &found, e);
}

static void
found_main(void *arg)
{
    struct told *told = arg;
    struct err e = { 0 };
    if (told->daemon->role == WIRE_ROLE_PRIMARY && complete(told, &e) < 0)
        event(EV_FAILED, F_STR("while", "completing the statement of what was lost"), F_ERR(&e));
    json_decref(told->folders);
    free(told);
}

int
salvages_found_in(struct session *s, const struct wire_found_in *in, struct err *e)
{
    const struct conf *conf = s->daemon->conf;
    if (in->store >= conf->store_count)
        return err_set(e, ERR_PROTOCOL, "FOUND_IN for store %u, there are %zu", in->store,
                       conf->store_count);
    if (s->found == NULL)
        s->found = tally_new(LOSS_FOLDERS_MAX, loss_kinds);
    tally_add(s->found, &(struct tally_row){ in->further ? NULL : conf->stores[in->store].name,
                                             in->user,
                                             in->folder,
                                             { [LOSS_MESSAGES] = in->messages,
                                               [LOSS_FLAG_CHANGES] = in->flag_changes,
                                               [LOSS_EXPUNGES] = in->expunges,
                                               [LOSS_OTHERS] = in->others } });
    return 0;
}

int
salvages_found(struct session *s, const struct wire_found *found, struct err *e)
{
    (void)e;
    struct told *told = xcalloc(1, sizeof(*told));
    told->daemon = s->daemon;
    told->found = *found;
    told->folders = s->found == NULL ? json_array() : tally_json(s->found);
    tally_free(&s->found);
    memcpy(told->node, s->peer->conf->name,
           MIN(strlen(s->peer->conf->name), sizeof(told->node) - 1));
    control_post(s->daemon->control, found_main, told);
    return 0;
}
