#include "replicator/renames.h"

#include "lib/base/path.h"

#include <sys/stat.h>

int
renames_since(struct state_txn *txn, uint16_t store, uint64_t seq, struct buf *path, struct err *e)
{
    for (uint64_t next = seq + 1; next <= state_meta(txn)->tail;) {
        struct record r;
        int found = state_record(txn, next, &r, e);
        if (found <= 0)
            return found;
        if (r.op == OP_RENAME && r.store == store && S_ISDIR(r.attr.mode))
            path_move(path, r.other, r.path);
        next = r.seq + 1;
    }
    return 0;
}
