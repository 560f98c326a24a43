/* index_path.c - from a directory of the index to its path, and from a path to its directory. */
#include "lib/base/path.h"
#include "lib/data/state_private.h"

#include <string.h>

#define DIR_DEPTH_MAX 8192 /* a path of PATH_STORE_MAX has no more components */

/* Names from the directory up to the root, then written out in reverse. */
int
state_dir_path(struct state_txn *txn, uint64_t id, struct buf *ret_path, struct err *e)
{
    struct span names[64];
    size_t depth = 0;
    size_t len = 0;
    _cleanup_buf_ struct buf deep = { 0 }; /* beyond 64 levels */
    struct state_dir dir;
    for (uint64_t at = id;; at = dir.parent) {
        int found = state_dir_get(txn, at, &dir, e);
        if (found < 0)
            return -1;
        if (found == 0 || depth == DIR_DEPTH_MAX)
            return err_set(e, ERR_CORRUPT, "the index knows no way up from directory %llu",
                           (unsigned long long)id);
        if (dir.parent == 0)
            break;
        if (depth < ARRAY_LEN(names))
            names[depth] = dir.name;
        else
            buf_add(&deep, &dir.name, sizeof(dir.name));
        len += dir.name.len + 1;
        depth++;
    }
    buf_reset(ret_path);
    buf_reserve(ret_path, len + 1);
    while (depth-- > 0) {
        struct span name;
        if (depth < ARRAY_LEN(names))
            name = names[depth];
        else
            memcpy(&name, deep.ptr + (depth - ARRAY_LEN(names)) * sizeof(name), sizeof(name));
        if (ret_path->len > 0)
            buf_add_u8(ret_path, '/');
        buf_add(ret_path, name.ptr, name.len);
    }
    return 0;
}

int
state_resolve(struct state_txn *txn, uint16_t store, struct span path, uint64_t *ret_dir,
              struct span *ret_name, struct err *e)
{
    uint64_t dir = state_root(txn, store);
    struct span rest = path_parent(path);
    struct span name;
    while (dir != 0 && path_next(&rest, &name)) {
        struct state_entry entry;
        int found = state_entry_get(txn, dir, name, &entry, e);
        if (found < 0)
            return -1;
        dir = found > 0 ? entry.dir : 0;
    }
    *ret_dir = dir;
    *ret_name = path_name(path);
    return dir != 0;
}
