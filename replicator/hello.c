/* hello.c - what this node says of itself to each other one: HELLO, from state and configuration.
 */
#include "replicator/daemon.h"
#include "replicator/receiver.h"

#include <string.h>

static int
hello_epochs(struct state_txn *txn, struct wire_hello *hello, struct err *e)
{
    struct span row;
    int found = state_get(txn, LEDGER_EPOCHS, &row, e);
    if (found <= 0)
        return found;
    size_t count = row.len / LEDGER_EPOCH_ROW;
    size_t first = count > WIRE_EPOCHS_MAX ? count - WIRE_EPOCHS_MAX : 0;
    for (size_t i = first; i < count; i++) {
        hello->epochs[hello->epoch_count++] = (struct wire_epoch){
            .epoch = get_le64(row.ptr + i * LEDGER_EPOCH_ROW),
            .first_seq = get_le64(row.ptr + i * LEDGER_EPOCH_ROW + 8)
        };
    }
    return 0;
}

static int
hello_accept(struct daemon *d, struct state_txn *txn, struct wire_hello *hello, struct err *e)
{
    struct span row;
    int found = state_get(txn, LEDGER_ACCEPT_SYNC, &row, e);
    if (found < 0)
        return -1;
    hello->accept_sync = found > 0;
    if (found > 0 || !span_is_zero(span_of(hello->history, WIRE_HISTORY_SIZE)) ||
        d->role != WIRE_ROLE_STANDBY)
        return 0;
    bool empty;
    if (daemon_stores_empty(d, &empty, e) < 0)
        return -1;
    hello->accept_sync = empty;
    return 0;
}

static void
hello_conf(const struct daemon *d, struct wire_hello *hello)
{
    const struct conf *conf = d->conf;
    const struct conf_node *self = conf_node_find(conf, conf->self);
    hello->version_min = WIRE_VERSION;
    hello->version_max = WIRE_VERSION;
    hello->cluster = span_str(conf->cluster);
    hello->node = span_str(conf->self);
    hello->follow = span_str(self->follow == NULL ? "" : self->follow);
    hello->store_count = (uint16_t)conf->store_count;
    for (size_t i = 0; i < conf->store_count; i++) {
        hello->stores[i].name = span_str(conf->stores[i].name);
        hello->stores[i].kind = (uint8_t)conf->stores[i].kind;
    }
}

/* Until its START comes the node that resync named is followed, and no other: two may act as
 * primary, and the choice which one's data is kept was an operator's. When the configuration no
 * longer has that node, nobody else gets the permission. */
static int
hello_from(const struct daemon *d, struct state_txn *txn, struct wire_hello *hello, struct err *e)
{
    struct span row;
    int found = state_get(txn, LEDGER_SYNC_FROM, &row, e);
    if (found <= 0)
        return found;
    hello->accept_sync = 0;
    for (size_t i = 0; i < d->conf->node_count; i++) {
        struct span name = span_str(d->conf->nodes[i].name);
        if (!span_equal(name, row))
            continue;
        hello->follow = name;
        hello->accept_sync = 1;
    }
    return 0;
}

int
daemon_hello(struct daemon *d, struct wire_hello *ret_hello, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    memset(ret_hello, 0, sizeof(*ret_hello));
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    hello_conf(d, ret_hello);
    ret_hello->role = d->role;
    memcpy(ret_hello->history, meta->history, WIRE_HISTORY_SIZE);
    ret_hello->epoch = meta->epoch;
    ret_hello->tail = meta->tail;
    ret_hello->oldest = meta->oldest;
    ret_hello->sync_base = meta->sync_base;
    if (hello_epochs(txn, ret_hello, e) < 0 || hello_accept(d, txn, ret_hello, e) < 0)
        return -1;
    return hello_from(d, txn, ret_hello, e);
}

int
daemon_permission(struct daemon *d, struct salvage_permission *ret, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct span row;
    if (state_begin(d->node->state, false, &txn, e) < 0)
        return -1;
    int found = state_get(txn, LEDGER_ACCEPT_SYNC, &row, e);
    if (found < 0)
        return -1;
    *ret = (struct salvage_permission){ .bound = found > 0 && row.len == LEDGER_KEPT_ROW };
    if (ret->bound) {
        ret->fork = get_le64(row.ptr);
        ret->tail = get_le64(row.ptr + 8);
    }
    return 0;
}
