#include "replicator/roles.h"

#include "lib/os/dir.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "replicator/barrier.h"
#include "replicator/epochs.h"
#include "replicator/handover.h"
#include "replicator/link.h"
#include "replicator/mass.h"
#include "replicator/prepare.h"
#include "replicator/protection.h"
#include "replicator/receiver.h"
#include "replicator/recover.h"
#include "replicator/renumber.h"
#include "replicator/restore.h"
#include "replicator/salvage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

/* What was prepared counts so long after the last word of the primary. */
#define PREPARED_COUNTS_S 60

/* Before a change of role: what was known of the peers was so for the role before. */
static void
detach_all(struct daemon *d)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        peer_detach(&d->peers[i]);
        peer_forget(&d->peers[i]);
    }
}

static int
dir_is_empty(int root_fd, bool *ret_empty, struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(root_fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    *ret_empty = true;
    while (dir != NULL && *ret_empty && (more = dir_next(dir, &item, e)) > 0)
        *ret_empty = strcmp(item->d_name, STORE_PRIVATE_DIR) == 0 ||
                     strcmp(item->d_name, "lost+found") == 0;
    return more < 0 ? -1 : 0; /* one whose names cannot be read is not empty */
}

int
daemon_stores_empty(const struct daemon *d, bool *ret_empty, struct err *e)
{
    *ret_empty = true;
    for (size_t i = 0; *ret_empty && i < d->node->store_count; i++) {
        if (dir_is_empty(d->node->stores[i].root_fd, ret_empty, e) < 0)
            return err_wrap(e, "store %s", d->conf->stores[i].name);
    }
    return 0;
}

/* --- the role in the state --- */

static const char *
role_word(uint8_t role)
{
    return role == WIRE_ROLE_PRIMARY ? "primary" : role == WIRE_ROLE_STANDBY ? "standby" : "none";
}

static void
tell_role(struct daemon *d, const struct state_meta *meta)
{
    event(EV_ROLE, F_STR("role", role_word(d->role)), F_U64("epoch", meta->epoch),
          F_U64("tail", meta->tail));
}

/* A power loss may have taken names that no standby has given back. A node that lacks some follows
 * only by a sync, and is neither promoted nor fed from before that. heard: the epoch that ends the
 * role, 0 none: it is not forgotten where the role is not. */
static int
set_role(struct daemon *d, uint8_t role, uint64_t heard, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, true, &txn, e) < 0 ||
        (heard > 0 && state_epoch_hear(txn, heard, e) < 0))
        return -1;
    struct state_meta *meta = state_meta(txn);
    meta->role = role;
    if (recover_pending(txn) > 0)
        meta->sync_base = MAX(meta->tail, (uint64_t)1);
    struct state_meta copy = *meta;
    if (state_commit(&txn, e) < 0)
        return -1;
    d->role = role;
    tell_role(d, &copy);
    return 0;
}

/* Of a node without a role. */
static void
say_why_held(struct daemon *d, bool deposed)
{
    snprintf(d->why_not_serving, sizeof(d->why_not_serving), "%s",
             deposed ? "deposed by a node that was promoted later; follows it when its data allows "
                       "that"
                     : "demoted before it knew all that it has; looks at its stores before it "
                       "follows");
}

static void
on_tail(void *arg, uint64_t tail)
{
    struct daemon *d = arg;
    atomic_store(&d->tail, tail);
    daemon_wake_sessions(d);
}

/* The fanotify queue outlives a restart of this process in the service manager's store. */
static void
leave_queue(const struct daemon *d)
{
    int fd = capture_watch_fd(d->capture);
    sd_pid_notify_with_fds(0, 0, "FDSTORE=1\nFDNAME=fanotify", &fd, 1);
}

static void
still_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}

/* What is in the state is not lost when its file cannot be written: it is with the next start. */
static void
publish_losses(struct daemon *d)
{
    struct err e = { 0 };
    if (loss_publish(d->node->state, d->node->state_dirfd, 0, &e) < 0)
        event(EV_FAILED, F_STR("while", "writing a loss statement"), F_ERR(&e));
}

static int
start_capture(struct daemon *d, const struct renumber_prepared *prepared, struct err *e)
{
    int adopt = d->adopt_fd;
    struct renumber_done numbers;
    atomic_store(&d->journal_finished, false);
    prepare_end(&d->prepare, NULL);
    publish_losses(d);
    if (renumber_begin(d->node, prepared, still_alive, &numbers, e) < 0)
        return -1;
    d->folders_failed = MAX(d->folders_failed, numbers.failed); /* an order that was repeated */
    d->adopt_fd = -1;
    /* on_tail() may run before this has returned: the tail is set from the capture below, too */
    if (capture_start(d->node, adopt, on_tail, d, &d->capture, e) < 0)
        return -1;
    if (adopt < 0) /* else it is there already */
        leave_queue(d);
    return 0;
}

/* true: the journal has all that happened here. */
static bool
stop_capture(struct daemon *d, const char *why)
{
    if (d->capture == NULL)
        return false;
    struct err e = { 0 };
    err_set(&e, ERR_REFUSED, "%s", why);
    barriers_fail(d->barriers, &e);
    protection_end(d);
    bool complete = capture_stop(&d->capture);
    sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=fanotify");
    return complete;
}

/* A standby may be promoted at any moment: what cannot be watched then is refused now. */
static int
check_watchable(const struct daemon *d, struct err *e)
{
    struct watch *watch;
    if (watch_new(&watch, e) < 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < d->node->store_count; i++) {
        const struct node_store *s = &d->node->stores[i];
        if (watch_add(watch, s->root_fd, s->conf->path, e) < 0)
            rc = err_wrap(e, "store %s", s->conf->name);
    }
    watch_free(&watch);
    return rc;
}

/* What the stores have may be ahead of what the state got to know before a crash. */
static int
read_marker(struct daemon *d, struct err *e)
{
    struct apply_store stores[RECORD_STORE_MAX] = { 0 };
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct span row;
    uint64_t newest;
    for (size_t i = 0; i < d->node->store_count; i++)
        stores[i].path = d->node->stores[i].conf->path;
    if (apply_newest_marker(stores, d->node->store_count, &newest, e) < 0 ||
        state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    int is_void = state_get(txn, LEDGER_MARKER_VOID, &row, e);
    atomic_store(&d->applied, is_void > 0 ? 0 : newest);
    return is_void < 0 ? -1 : 0;
}

int
roles_begin(struct daemon *d, struct err *e)
{
    if (check_watchable(d, e) < 0)
        return -1;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    struct state_meta meta = *state_meta(txn);
    uint64_t heard;
    d->loss = loss_watch_new();
    if (state_epoch_heard(txn, &heard, e) < 0 || node_check_roots(d->node, txn, e) < 0 ||
        loss_watch_load(d->loss, txn, e) < 0)
        return -1;
    state_abort(&txn);
    d->role = meta.role;
    if (meta.role == WIRE_ROLE_NONE && span_is_zero(span_of(meta.history, sizeof(meta.history))))
        d->role = WIRE_ROLE_STANDBY; /* a new node waits for a primary */
    if (d->role == WIRE_ROLE_NONE)
        say_why_held(d, heard > meta.epoch);
    atomic_store(&d->tail, meta.tail);
    if (d->role != WIRE_ROLE_PRIMARY && read_marker(d, e) < 0)
        return -1;
    tell_role(d, &meta);
    if (d->role == WIRE_ROLE_PRIMARY &&
        (start_capture(d, NULL, e) < 0 || protection_begin(d, e) < 0))
        return -1;
    if (d->role != WIRE_ROLE_PRIMARY)
        d->prepare = prepare_begin(d->node);
    protection_update(d); /* nobody protects a primary before a standby has come */
    return 0;
}

/* --- promote --- */

/* What was done behind a promotion that this node has heard of and not followed is not here. */
static int
may_replace_newest(const struct daemon *d, struct state_txn *txn, struct err *e)
{
    uint64_t heard;
    uint64_t epoch = state_meta(txn)->epoch;
    if (state_epoch_heard(txn, &heard, e) < 0)
        return -1;
    if (heard <= epoch)
        return 0;
    if (d->role == WIRE_ROLE_NONE)
        return err_set(e, ERR_REFUSED,
                       "this node was deposed by a newer primary: see `mailtwin status`, or use "
                       "--force to take over against it");
    return err_set(e, ERR_REFUSED,
                   "a node was promoted later (epoch %llu), and this one (epoch %llu) has not "
                   "followed it: see `mailtwin status`, or use --force to take over against it",
                   (unsigned long long)heard, (unsigned long long)epoch);
}

static int
may_promote(struct daemon *d, bool force, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (force)
        return 0;
    const struct peer *from = peer_receives_from(d);
    if (from != NULL)
        return err_set(e, ERR_REFUSED,
                       "a primary serves (its changes come from %s): run `mailtwin demote` there "
                       "first, or use --force to take over against it",
                       from->conf->name);
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    if (may_replace_newest(d, txn, e) < 0)
        return -1;
    if (meta->sync_base != 0)
        return err_set(
            e, ERR_REFUSED,
            "this node's copy is not complete (a sync was not finished, or a power loss took names "
            "that did not come back): promote another node, or use --force to go on with what is "
            "here");
    return 0;
}

int
roles_promote_plan(struct daemon *d, uint64_t *ret_epoch, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, e) < 0 || epochs_next(d, txn, ret_epoch, e) < 0)
        return -1;
    state_abort(&txn);
    return may_promote(d, false, e);
}

static int
write_promotion(struct daemon *d, const struct handover *handover, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    bool first = span_is_zero(span_of(meta->history, sizeof(meta->history)));
    if (first && getrandom(meta->history, sizeof(meta->history), 0) != sizeof(meta->history))
        return err_sys(e, ERR_IO, "get random bytes for the history's id");
    if (!first)
        meta->tail = MAX(meta->tail, atomic_load(&d->applied));
    if (epochs_next(d, txn, &meta->epoch, e) < 0 || state_epoch_forget(txn, e) < 0)
        return -1;
    meta->role = WIRE_ROLE_PRIMARY;
    bool whole = meta->sync_base == 0;
    meta->sync_base = 0;
    meta->clean = 0;
    meta->checkpoint = meta->tail;
    node_boot_id(meta->boot_id);
    if (epochs_append(txn, whole, e) < 0 || state_del(txn, LEDGER_ACCEPT_SYNC, e) < 0 ||
        state_del(txn, LEDGER_SYNC_FROM, e) < 0 || handover_order(d, txn, handover, e) < 0 ||
        state_del(txn, LEDGER_BEHIND, e) < 0) /* the capture looks at everything */
        return -1;
    struct state_meta copy = *meta;
    if (state_commit(&txn, e) < 0)
        return -1;
    d->role = WIRE_ROLE_PRIMARY;
    d->folders_failed = 0;
    d->why_not_serving[0] = '\0';
    atomic_store(&d->tail, copy.tail); /* the record of the promotion is to be shipped */
    tell_role(d, &copy);
    return 0;
}

/* What follows from a promotion that is written. Where it failed it is done by the next order, or
 * by the next start; the capture comes last: where there is one, all of it is done. */
static int
begin_primary(struct daemon *d, const struct renumber_prepared *prepared, struct err *e)
{
    if (d->mass != NULL && mass_end(d->mass, e) < 0) /* what it held back is this node's now */
        return err_wrap(e, "this node is promoted, but still holds changes back");
    if (protection_begin(d, e) < 0)
        return err_wrap(e, "this node is promoted, but its state cannot be read");
    if (start_capture(d, prepared, e) < 0)
        return err_wrap(e, "this node is promoted, but cannot serve yet; mend that and repeat the "
                           "order, or restart its daemon");
    protection_update(d); /* nobody protects it before a standby has come */
    return 0;
}

/* Nothing is sent meanwhile: sessions read the capture. */
static int
begin_again(struct daemon *d, struct err *e)
{
    detach_all(d);
    return begin_primary(d, NULL, e);
}

/* What was prepared lies above all that the primary gave out that was followed. It is believed as
 * long as no other can have served since. */
static void
take_prepared(struct daemon *d, const struct handover *handover,
              struct renumber_prepared *ret_prepared)
{
    struct loss_heard heard;
    struct timespec now;
    loss_watch_heard(d->loss, &heard);
    clock_gettime(CLOCK_REALTIME, &now);
    prepare_end(&d->prepare, ret_prepared);
    if (handover->unseen > 0 || heard.epoch != ret_prepared->epoch ||
        heard.our_ns / 1000000000 + PREPARED_COUNTS_S < (uint64_t)now.tv_sec ||
        !renumber_prepared_holds(d->node, ret_prepared))
        *ret_prepared = (struct renumber_prepared){ 0 };
}

int
roles_promote(struct daemon *d, bool force, struct err *e)
{
    if (d->role == WIRE_ROLE_PRIMARY)
        return d->capture != NULL ? 0 : begin_again(d, e);
    struct handover handover;
    if (may_promote(d, force, e) < 0 || handover_look(d, &handover, e) < 0)
        return -1;
    detach_all(d);
    struct renumber_prepared prepared;
    take_prepared(d, &handover, &prepared);
    if (write_promotion(d, &handover, e) < 0) {
        d->prepare = prepare_begin(d->node);
        return err_wrap(e, "promote this node");
    }
    return begin_primary(d, prepared.seen_ns != 0 ? &prepared : NULL, e);
}

/* Sessions and capture end with the role. One whose sweep was in hand does not know yet what it
 * has, and is no standby before it does: without a role it looks before it follows (salvage_look),
 * also after a restart. */
static int
end_primary(struct daemon *d, uint8_t role, uint64_t heard, const char *why, struct err *e)
{
    restore_stop(d); /* what it has put there is recorded yet */
    detach_all(d);
    if (!stop_capture(d, why) && role == WIRE_ROLE_STANDBY) {
        role = WIRE_ROLE_NONE;
        say_why_held(d, false);
    }
    int rc = set_role(d, role, heard, e);
    d->prepare = prepare_begin(d->node);
    protection_update(d); /* of a standby nobody asks whether it is protected */
    return rc;
}

int
roles_demote(struct daemon *d, struct err *e)
{
    if (d->role != WIRE_ROLE_PRIMARY)
        return err_set(e, ERR_REFUSED, "this node is not the primary");
    return end_primary(d, WIRE_ROLE_STANDBY, 0, "this node was demoted", e);
}

/* Can this node follow that one at all? */
static int
check_from(const struct conf *conf, const char *from, struct err *e)
{
    const struct conf_node *node = conf_node_find(conf, from);
    if (node == NULL)
        return err_set(e, ERR_USAGE, "the configuration has no node \"%.64s\"", from);
    if (strcmp(from, conf->self) == 0)
        return err_set(e, ERR_USAGE, "%s cannot be brought level with itself", from);
    if (node->follow != NULL && strcmp(node->follow, conf->self) == 0)
        return err_set(e, ERR_REFUSED,
                       "%s is configured to follow %s; change follow in the configuration first",
                       from, conf->self);
    return 0;
}

int
roles_resync(struct daemon *d, const char *from, struct err *e)
{
    if (d->role == WIRE_ROLE_PRIMARY)
        return err_set(e, ERR_REFUSED, "this node is the primary: run resync on the standby");
    if (from != NULL && check_from(d->conf, from, e) < 0)
        return -1;
    detach_all(d);
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, true, &txn, e) < 0)
        return -1;
    struct state_meta *meta = state_meta(txn);
    meta->sync_base = MAX(meta->tail, (uint64_t)1);
    int rc = from == NULL ? state_del(txn, LEDGER_SYNC_FROM, e)
                          : state_put(txn, LEDGER_SYNC_FROM, span_str(from), e);
    if (rc < 0 || state_put(txn, LEDGER_ACCEPT_SYNC, span_str("1"), e) < 0 ||
        state_del(txn, SALVAGE_NOTHING, e) < 0) /* what is thrown away was not looked at */
        return -1;
    return state_commit(&txn, e);
}

/* --- a newer promotion is heard of --- */

struct heard {
    struct daemon *daemon;
    uint64_t epoch;
    uint8_t history[WIRE_HISTORY_SIZE];
};

/* A session that receives has the state for itself for as long as it likes: the epoch is told again
 * when it has ended. */
static int
hear_epoch(const struct heard *h, struct err *e)
{
    struct daemon *d = h->daemon;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (d->role == WIRE_ROLE_PRIMARY || peer_receives_from(d) != NULL)
        return 0;
    if (state_begin(d->node->state, true, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    if (h->epoch <= meta->epoch || memcmp(h->history, meta->history, sizeof(h->history)) != 0)
        return 0;
    return state_epoch_hear(txn, h->epoch, e) < 0 ? -1 : state_commit(&txn, e);
}

static void
hear_epoch_main(void *arg)
{
    struct err e = { 0 };
    if (hear_epoch(arg, &e) < 0)
        event(EV_FAILED, F_STR("while", "noting a newer epoch"), F_ERR(&e));
    free(arg);
}

void
daemon_hear_epoch(struct daemon *d, const struct wire_hello *hello)
{
    struct heard *h = xcalloc(1, sizeof(*h));
    h->daemon = d;
    h->epoch = hello->epoch;
    memcpy(h->history, hello->history, sizeof(h->history));
    control_post(d->control, hear_epoch_main, h);
}

/* --- stepping down, asked for by a session --- */

struct step_down {
    struct daemon *daemon;
    uint64_t epoch;
    char node[WIRE_NAME_MAX + 1];
};

static void
step_down_main(void *arg)
{
    struct step_down *s = arg;
    struct daemon *d = s->daemon;
    if (d->role == WIRE_ROLE_PRIMARY) {
        struct err e = { 0 };
        event(EV_DEPOSED, F_STR("by", s->node), F_U64("epoch", s->epoch));
        snprintf(d->why_not_serving, sizeof(d->why_not_serving),
                 "deposed by %s, which has epoch %llu", s->node, (unsigned long long)s->epoch);
        if (end_primary(d, WIRE_ROLE_NONE, s->epoch, d->why_not_serving, &e) < 0)
            event(EV_FAILED, F_STR("while", "stepping down"), F_ERR(&e));
    }
    free(s);
}

void
daemon_step_down(struct daemon *d, const char *node, uint64_t epoch)
{
    struct step_down *s = xcalloc(1, sizeof(*s));
    s->daemon = d;
    s->epoch = epoch;
    snprintf(s->node, sizeof(s->node), "%s", node);
    control_post(d->control, step_down_main, s);
}

static void
follows_main(void *arg)
{
    struct daemon *d = arg;
    struct err e = { 0 };
    if (d->role != WIRE_ROLE_NONE)
        return;
    d->why_not_serving[0] = '\0';
    d->role = WIRE_ROLE_STANDBY; /* the state has it already, with START */
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, &e) >= 0)
        tell_role(d, state_meta(txn));
}

void
daemon_follows(struct daemon *d)
{
    control_post(d->control, follows_main, d);
}

void
roles_end(struct daemon *d)
{
    detach_all(d);
    control_run_posts(d->control); /* a session may have said last that this node is deposed */
    prepare_end(&d->prepare, NULL);
    loss_watch_free(&d->loss);
    if (d->capture == NULL)
        return;
    struct err e = { 0 };
    err_set(&e, ERR_PEER, "the daemon stops");
    barriers_fail(d->barriers, &e);
    protection_end(d);
    capture_stop(&d->capture); /* its queue stays with the service manager for the next start */
}
