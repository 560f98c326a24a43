#include "replicator/handover.h"

#include "lib/os/attrs.h"
#include "lib/store/identity.h"
#include "replicator/receiver.h"
#include "replicator/renumber.h"

#include <time.h>

bool
handover_is_complete(const struct handover_peer *peer, uint64_t epoch, uint64_t tail)
{
    return peer->told && peer->whole && peer->role == WIRE_ROLE_STANDBY && peer->epoch == epoch &&
           peer->served_epoch == epoch && peer->tail <= tail;
}

bool
handover_knows_no_newer(const struct handover_peer *peer, uint64_t epoch)
{
    return peer->told && peer->whole && peer->epoch <= epoch;
}

static bool
nobody_knows_newer(struct daemon *d, uint64_t epoch)
{
    bool none = true;
    for (size_t i = 0; none && i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        none = handover_knows_no_newer(&facts.handover, epoch);
    }
    return none;
}

static bool
any_handed_over(struct daemon *d, uint64_t epoch, uint64_t tail)
{
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        if (handover_is_complete(&facts.handover, epoch, tail))
            return true;
    }
    return false;
}

struct peer *
handover_awaited(struct daemon *d)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(d->node->state, false, &txn, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < d->peer_count; i++) {
        struct peer_facts facts;
        peer_facts(&d->peers[i], &facts);
        if (!facts.handover.told && facts.handover.served_epoch != 0 &&
            facts.handover.served_epoch == state_meta(txn)->epoch)
            return &d->peers[i];
    }
    return NULL;
}

/* Was this node itself the last primary, and demoted in good order? That it heard of nobody says
 * nothing: it may have been off, and so may the one that served meanwhile be now. */
static int
served_last(struct daemon *d, struct state_txn *txn, uint64_t epoch, struct err *e)
{
    struct span row;
    uint64_t heard;
    int found = state_get(txn, HANDOVER_SERVED, &row, e);
    if (found < 0 || state_epoch_heard(txn, &heard, e) < 0)
        return -1;
    return found > 0 && row.len == 8 && get_le64(row.ptr) == epoch && heard <= epoch &&
           d->role != WIRE_ROLE_PRIMARY && nobody_knows_newer(d, epoch);
}

int
handover_look(struct daemon *d, struct handover *ret_handover, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    *ret_handover = (struct handover){ .kind = HANDOVER_FIRST };
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    if (span_is_zero(span_of(meta->history, sizeof(meta->history))))
        return 0;
    uint64_t heard = 0;
    int own = state_epoch_heard(txn, &heard, e) < 0 ? -1 : served_last(d, txn, meta->epoch, e);
    uint64_t tail = MAX(meta->tail, atomic_load(&d->applied));
    bool whole = meta->sync_base == 0 && heard <= meta->epoch &&
                 any_handed_over(d, meta->epoch, tail);
    ret_handover->kind = own > 0 ? HANDOVER_OWN : whole ? HANDOVER_PLANNED : HANDOVER_NONE;
    ret_handover->incomplete = meta->sync_base != 0;
    ret_handover->unseen = heard > meta->epoch ? heard - meta->epoch : 0;
    return own < 0 ? -1 : 0;
}

static uint64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* First seqs of the promotions before this one. */
static int
earlier_promotions(struct state_txn *txn, struct buf *ret_first, struct err *e)
{
    struct span row;
    int found = state_get(txn, LEDGER_EPOCHS, &row, e);
    for (size_t at = 0; found > 0 && at + 2 * LEDGER_EPOCH_ROW <= row.len; at += LEDGER_EPOCH_ROW)
        buf_add_le64(ret_first, get_le64(row.ptr + at + 8));
    return found < 0 ? -1 : 0;
}

/* Of the newest record that another node wrote: this node's clock may be behind. */
static int
newest_time(struct state_txn *txn, uint64_t *ret_ns, struct err *e)
{
    struct record r;
    uint64_t tail = state_meta(txn)->tail;
    *ret_ns = 0;
    int found = tail < 2 ? 0 : state_record(txn, tail - 1, &r, e);
    if (found > 0 && r.seq < tail)
        *ret_ns = r.time_ns;
    return found < 0 ? -1 : 0;
}

/* The promotion before this one; 0 none. */
static int
last_epoch(struct state_txn *txn, uint64_t *ret_epoch, struct err *e)
{
    struct span row = { 0 };
    int found = state_get(txn, LEDGER_EPOCHS, &row, e);
    *ret_epoch = found > 0 && row.len >= 2 * LEDGER_EPOCH_ROW
                     ? get_le64(row.ptr + row.len - 2 * LEDGER_EPOCH_ROW)
                     : 0;
    return found < 0 ? -1 : 0;
}

static int
loss_facts(struct daemon *d, struct state_txn *txn, const struct handover *handover,
           struct loss_facts *ret_facts, struct err *e)
{
    *ret_facts = (struct loss_facts){ .epoch = state_meta(txn)->epoch,
                                      .tail = state_meta(txn)->tail - 1,
                                      .now_ns = now_ns(),
                                      .unseen = handover->unseen,
                                      .incomplete = handover->incomplete };
    loss_watch_heard(d->loss, &ret_facts->heard);
    return last_epoch(txn, &ret_facts->last_epoch, e) < 0 ||
                   newest_time(txn, &ret_facts->tail_ns, e) < 0
               ? -1
               : 0;
}

static int
gap_of(struct daemon *d, struct state_txn *txn, const struct loss_facts *loss, uint64_t unseen,
       struct renumber_order *order, struct err *e)
{
    _cleanup_buf_ struct buf first = { 0 };
    const struct state_meta *meta = state_meta(txn);
    if (earlier_promotions(txn, &first, e) < 0)
        return -1;
    struct identity_facts facts = { .gap = d->conf->uid_gap,
                                    .lag = loss_known(loss),
                                    .tail = meta->tail - 1,
                                    .dirs = meta->next_dir,
                                    .first = buf_span(&first),
                                    .unseen = unseen };
    order->gap = identity_gap(&facts);
    order->validity_gap = identity_validity_gap(&facts);
    return 0;
}

static int
order_numbers(struct daemon *d, struct state_txn *txn, const struct loss_facts *loss,
              const struct handover *handover, struct err *e)
{
    const struct state_meta *meta = state_meta(txn);
    struct renumber_order order = { .epoch = meta->epoch,
                                    .seq = meta->tail,
                                    .modseq = identity_modseq(loss->now_ns / 1000000000u,
                                                              loss->tail_ns) };
    int behind = ledger_is_behind(txn, e);
    if (behind < 0)
        return -1;
    order.look = behind > 0 || handover->incomplete;
    if (handover->kind == HANDOVER_NONE && gap_of(d, txn, loss, handover->unseen, &order, e) < 0)
        return -1;
    return renumber_order(txn, &order, e);
}

static int
keep_statement(struct daemon *d, struct state_txn *txn, const struct loss_facts *facts,
               struct err *e)
{
    json_t *statement = loss_statement(d->conf, facts, loss_watch_folders(d->loss));
    int rc = loss_keep(txn, facts->epoch, statement, e);
    json_decref(statement);
    return rc;
}

int
handover_order(struct daemon *d, struct state_txn *txn, const struct handover *handover,
               struct err *e)
{
    uint8_t epoch[8];
    struct loss_facts facts;
    put_le64(epoch, state_meta(txn)->epoch);
    if (state_put(txn, HANDOVER_SERVED, span_of(epoch, sizeof(epoch)), e) < 0)
        return -1;
    if (handover->kind == HANDOVER_FIRST || handover->kind == HANDOVER_OWN)
        return renumber_order(txn, NULL, e);
    bool lost = handover->kind == HANDOVER_NONE;
    if (loss_facts(d, txn, handover, &facts, e) < 0 ||
        order_numbers(d, txn, &facts, handover, e) < 0)
        return -1;
    return lost ? keep_statement(d, txn, &facts, e) : 0;
}
