/* index_dirs.c - the tables dirs and handles of the state database: from a directory's number to
 * its row, and from an event's handle to the number. */
#include "lib/data/state_private.h"

#include <stdio.h>
#include <string.h>

static void
dir_encode(const struct state_dir *dir, struct buf *out)
{
    buf_add_le64(out, dir->parent);
    buf_add_le16(out, dir->store);
    buf_add_le64(out, (uint64_t)dir->mtime_ns);
    buf_add_le64(out, (uint64_t)dir->ctime_ns);
    buf_add_le64(out, dir->xattrs);
    buf_add_le32(out, dir->attr.mode);
    buf_add_le32(out, dir->attr.uid);
    buf_add_le32(out, dir->attr.gid);
    buf_add_span16(out, dir->name);
    buf_add_span16(out, dir->handle);
}

static int
dir_decode(uint64_t id, struct span row, struct state_dir *ret_dir, struct err *e)
{
    struct reader r = reader_of(row);
    *ret_dir = (struct state_dir){ .id = id };
    ret_dir->parent = reader_le64(&r);
    ret_dir->store = reader_le16(&r);
    ret_dir->mtime_ns = (int64_t)reader_le64(&r);
    ret_dir->ctime_ns = (int64_t)reader_le64(&r);
    ret_dir->xattrs = reader_le64(&r);
    ret_dir->attr.mode = reader_le32(&r);
    ret_dir->attr.uid = reader_le32(&r);
    ret_dir->attr.gid = reader_le32(&r);
    ret_dir->name = reader_span16(&r);
    ret_dir->handle = reader_span16(&r);
    if (!reader_done(&r))
        return err_set(e, ERR_CORRUPT, "the index row of directory %llu is malformed",
                       (unsigned long long)id);
    return 0;
}

int
state_dir_get(struct state_txn *txn, uint64_t id, struct state_dir *ret_dir, struct err *e)
{
    struct key64 key = key64_of(id);
    struct span row;
    int found = table_get(txn, TABLE_DIRS, span_of(key.raw, 8), &row, e);
    if (found <= 0)
        return found;
    return dir_decode(id, row, ret_dir, e) < 0 ? -1 : 1;
}

int
state_dir_find(struct state_txn *txn, struct span handle, uint64_t *ret_id, struct err *e)
{
    struct span row;
    int found = table_get(txn, TABLE_HANDLES, handle, &row, e);
    if (found <= 0)
        return found;
    if (row.len != 8)
        return err_set(e, ERR_CORRUPT, "an index row of a handle has %zu bytes", row.len);
    *ret_id = get_be64(row.ptr);
    return 1;
}

static int
put_root(struct state_txn *txn, const struct state_dir *dir, struct err *e)
{
    char key[32];
    snprintf(key, sizeof(key), "root/%u", dir->store);
    struct key64 id = key64_of(dir->id);
    return table_put(txn, TABLE_META, span_str(key), span_of(id.raw, 8), e);
}

uint64_t
state_root(struct state_txn *txn, uint16_t store)
{
    char key[32];
    snprintf(key, sizeof(key), "root/%u", store);
    struct span row;
    if (table_get(txn, TABLE_META, span_str(key), &row, NULL) <= 0 || row.len != 8)
        return 0;
    return get_be64(row.ptr);
}

/* The row of a directory's handle, unless it is another directory's by now: one that moved from
 * store to store has a row in both for a moment, and only one handle. */
static int
del_handle(struct state_txn *txn, const struct state_dir *dir, struct err *e)
{
    uint64_t owner;
    int found = dir->handle.len == 0 ? 0 : state_dir_find(txn, dir->handle, &owner, e);
    if (found <= 0 || owner != dir->id)
        return found < 0 ? -1 : 0;
    return table_del(txn, TABLE_HANDLES, dir->handle, e);
}

/* The handle's row, replacing the one of an earlier handle of the same directory. */
static int
put_handle(struct state_txn *txn, const struct state_dir *dir, struct err *e)
{
    struct state_dir old;
    int found = state_dir_get(txn, dir->id, &old, e);
    if (found < 0)
        return -1;
    if (found > 0 && span_equal(old.handle, dir->handle))
        return 0; /* or another directory's, which took it over */
    if (found > 0 && del_handle(txn, &old, e) < 0)
        return -1;
    if (dir->handle.len == 0)
        return 0;
    struct key64 id = key64_of(dir->id);
    return table_put(txn, TABLE_HANDLES, dir->handle, span_of(id.raw, 8), e);
}

int
state_dir_put(struct state_txn *txn, struct state_dir *dir, struct err *e)
{
    if (dir->id == 0) {
        dir->id = txn->meta.next_dir++;
        if (dir->parent == 0 && put_root(txn, dir, e) < 0)
            return -1;
    }
    /* The spans may point into rows that the next write moves: encode first. */
    buf_reset(&txn->scratch);
    dir_encode(dir, &txn->scratch);
    uint8_t handle[256];
    ASSERT(dir->handle.len <= sizeof(handle));
    if (dir->handle.len > 0)
        memcpy(handle, dir->handle.ptr, dir->handle.len);
    struct state_dir copy = *dir;
    copy.handle = span_of(handle, dir->handle.len);
    if (put_handle(txn, &copy, e) < 0)
        return -1;
    struct key64 key = key64_of(dir->id);
    return table_put(txn, TABLE_DIRS, span_of(key.raw, 8), buf_span(&txn->scratch), e);
}

static int
give_handle(struct state_txn *txn, const struct state_dir *dir, struct err *e)
{
    uint8_t copy[256];
    ASSERT(dir->handle.len <= sizeof(copy));
    memcpy(copy, dir->handle.ptr, dir->handle.len);
    struct key64 id = key64_of(dir->id);
    return table_put(txn, TABLE_HANDLES, span_of(copy, dir->handle.len), span_of(id.raw, 8), e);
}

int
state_dir_claim(struct state_txn *txn, uint64_t id, struct err *e)
{
    struct state_dir dir;
    uint64_t owner;
    int found = state_dir_get(txn, id, &dir, e);
    if (found <= 0 || dir.handle.len == 0)
        return found < 0 ? -1 : 0;
    found = state_dir_find(txn, dir.handle, &owner, e);
    if (found < 0 || (found > 0 && owner == id))
        return found < 0 ? -1 : 0;
    return give_handle(txn, &dir, e) < 0 ? -1 : 1;
}

int
state_dir_next(struct state_txn *txn, uint64_t from, struct state_dir *ret_dir, struct err *e)
{
    struct key64 start = key64_of(from);
    struct span key;
    struct span row;
    int found = table_seek(txn, TABLE_DIRS, span_of(start.raw, 8), &key, &row, e);
    if (found <= 0)
        return found;
    return dir_decode(get_be64(key.ptr), row, ret_dir, e) < 0 ? -1 : 1;
}

/* The same directory in another store, as far as the index knows. */
static int
find_in_store(struct state_txn *txn, const struct state_dir *dir, uint16_t store, uint64_t ino,
              struct state_dir *ret_other, struct err *e)
{
    for (unsigned i = 0;; i++) {
        uint64_t parent;
        struct span name;
        struct state_entry entry = { 0 };
        int found = state_name_of(txn, store, ino, i, &parent, &name, e);
        if (found > 0)
            found = state_entry_get(txn, parent, name, &entry, e);
        if (found > 0)
            found = state_dir_get(txn, entry.dir, ret_other, e) < 0 ? -1 : 1;
        if (found <= 0)
            return found;
        if (entry.dir != 0 && span_equal(ret_other->handle, dir->handle))
            return 1;
    }
}

/* A directory's row goes; one of the same directory in another store gets its handle. What was told
 * of it until now was told of the wrong one: it must be read. */
static int
find_heir(struct state_txn *txn, const struct state_dir *dir, uint64_t ino, struct err *e)
{
    for (uint16_t store = 0; store < RECORD_STORE_MAX && state_root(txn, store) != 0; store++) {
        struct state_dir heir;
        int found = store == dir->store ? 0 : find_in_store(txn, dir, store, ino, &heir, e);
        if (found == 0)
            continue;
        if (found < 0 || give_handle(txn, &heir, e) < 0)
            return -1;
        buf_add_le64(&txn->heirs, heir.id);
        return 0;
    }
    return 0;
}

static bool
pop(struct buf *list, uint64_t *ret_number)
{
    if (list->len == 0)
        return false;
    list->len -= 8;
    *ret_number = get_le64(list->ptr + list->len);
    return true;
}

bool
state_heir(struct state_txn *txn, uint64_t *ret_id)
{
    return pop(&txn->heirs, ret_id);
}

bool
state_bereaved(struct state_txn *txn, uint64_t *ret_ino)
{
    return pop(&txn->bereaved, ret_ino);
}

int
index_dir_del(struct state_txn *txn, uint64_t id, uint64_t ino, struct err *e)
{
    struct state_dir dir;
    int found = state_dir_get(txn, id, &dir, e);
    if (found <= 0)
        return found;
    uint8_t handle[256];
    ASSERT(dir.handle.len <= sizeof(handle));
    memcpy(handle, dir.handle.ptr, dir.handle.len);
    dir.handle = span_of(handle, dir.handle.len);
    struct key64 key = key64_of(id);
    uint64_t owner = 0;
    found = dir.handle.len == 0 ? 0 : state_dir_find(txn, dir.handle, &owner, e);
    if (found < 0 || del_handle(txn, &dir, e) < 0 ||
        table_del(txn, TABLE_DIRS, span_of(key.raw, 8), e) < 0)
        return -1;
    return owner == id ? find_heir(txn, &dir, ino, e) : 0;
}
