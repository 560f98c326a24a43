#include "replicator/relay.h"

#include <sys/stat.h>

/* 1 the record is in the list, 0 the index has no such name. */
static int
collect(const struct ship *ship, uint16_t store, struct span path, struct reclist *out,
        struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    uint64_t dir;
    struct span name;
    struct state_entry entry;
    if (state_begin(ship->node->state, false, &txn, e) < 0)
        return -1;
    int found = state_resolve(txn, store, path, &dir, &name, e);
    if (found > 0 && name.len > 0)
        found = state_entry_get(txn, dir, name, &entry, e);
    if (found <= 0 || name.len == 0)
        return found < 0 ? -1 : 0;
    struct record r = { .store = store, .path = path, .attr = entry.attr, .handle = entry.handle };
    if (S_ISREG(entry.attr.mode))
        r.op = OP_PUT;
    else if (S_ISDIR(entry.attr.mode))
        r.op = OP_MKDIR;
    else if (S_ISFIFO(entry.attr.mode))
        r.op = OP_MKNOD;
    else
        return 0; /* a symlink's target is not in the index: the next comparison brings it */
    reclist_add(out, &r);
    return 1;
}

int
relay_need(struct ship *ship, uint16_t store, struct span path, struct err *e)
{
    _cleanup_reclist_ struct reclist list = { 0 };
    int found = collect(ship, store, path, &list, e);
    if (found <= 0)
        return found;
    if (ship_fixups(ship, &list, e) < 0)
        return -1;
    return ship_commit(ship, 0, ship->cursor, e);
}
