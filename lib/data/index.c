/* index.c - the tables entries and inodes of the state database: names, and which names an object
 * has. */
#include "lib/base/path.h"
#include "lib/data/state_private.h"

#include <string.h>

/* --- inodes: which names has an object --- */

struct inode_key {
    uint8_t raw[10];
};

static struct inode_key
inode_key(uint16_t store, uint64_t ino)
{
    struct inode_key key;
    key.raw[0] = (uint8_t)(store >> 8);
    key.raw[1] = (uint8_t)store;
    put_be64(key.raw + 2, ino);
    return key;
}

static int
inode_name_put(struct state_txn *txn, uint16_t store, uint64_t ino, struct span name_key,
               struct err *e)
{
    struct inode_key key = inode_key(store, ino);
    MDB_val k = val_of(span_of(key.raw, sizeof(key.raw)));
    MDB_val v = val_of(name_key);
    int rc = mdb_put(txn->mdb, txn->state->tables[TABLE_INODES], &k, &v, MDB_NODUPDATA);
    return rc == 0 || rc == MDB_KEYEXIST ? 0
                                         : state_failed(e, txn->state, rc, "write an inode's name");
}

static int
inode_name_del(struct state_txn *txn, uint16_t store, uint64_t ino, struct span name_key,
               struct err *e)
{
    struct inode_key key = inode_key(store, ino);
    MDB_val k = val_of(span_of(key.raw, sizeof(key.raw)));
    MDB_val v = val_of(name_key);
    int rc = mdb_del(txn->mdb, txn->state->tables[TABLE_INODES], &k, &v);
    return rc == 0 || rc == MDB_NOTFOUND
               ? 0
               : state_failed(e, txn->state, rc, "delete an inode's name");
}

static int
inode_nth(MDB_cursor *cursor, MDB_val *k, MDB_val *v, unsigned index)
{
    int rc = mdb_cursor_get(cursor, k, v, MDB_SET_KEY);
    for (; rc == 0 && index > 0; index--)
        rc = mdb_cursor_get(cursor, k, v, MDB_NEXT_DUP);
    return rc;
}

int
state_name_of(struct state_txn *txn, uint16_t store, uint64_t ino, unsigned index,
              uint64_t *ret_dir, struct span *ret_name, struct err *e)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn->mdb, txn->state->tables[TABLE_INODES], &cursor);
    if (rc != 0)
        return state_failed(e, txn->state, rc, "open a cursor");
    struct inode_key key = inode_key(store, ino);
    MDB_val k = val_of(span_of(key.raw, sizeof(key.raw)));
    MDB_val v;
    rc = inode_nth(cursor, &k, &v, index);
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return state_failed(e, txn->state, rc, "read an inode's name");
    if (v.mv_size < 8)
        return err_set(e, ERR_CORRUPT, "a name of inode %llu is malformed",
                       (unsigned long long)ino);
    struct span name_key = span_of_val(v);
    *ret_dir = get_be64(name_key.ptr);
    *ret_name = span_from(name_key, 8, name_key.len - 8);
    return 1;
}

/* All of its names, as keys behind a 16-bit length each. */
static int
inode_names(struct state_txn *txn, uint16_t store, uint64_t ino, struct buf *ret_names,
            uint32_t *ret_count, struct err *e)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn->mdb, txn->state->tables[TABLE_INODES], &cursor);
    if (rc != 0)
        return state_failed(e, txn->state, rc, "open a cursor");
    struct inode_key key = inode_key(store, ino);
    MDB_val k = val_of(span_of(key.raw, sizeof(key.raw)));
    MDB_val v;
    *ret_count = 0;
    buf_reset(ret_names);
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_KEY);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT_DUP)) {
        buf_add_span16(ret_names, span_of_val(v));
        ++*ret_count;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : state_failed(e, txn->state, rc, "read an inode's names");
}

/* --- entries --- */

#define ENTRY_OFF_NLINK 44

static void
entry_encode(const struct state_entry *entry, struct buf *out)
{
    buf_add_le32(out, entry->attr.mode);
    buf_add_le32(out, entry->attr.uid);
    buf_add_le32(out, entry->attr.gid);
    buf_add_le64(out, entry->attr.size);
    buf_add_le64(out, (uint64_t)entry->attr.mtime_ns);
    buf_add_le64(out, (uint64_t)entry->ctime_ns);
    buf_add_le64(out, entry->ino);
    buf_add_le32(out, entry->nlink);
    buf_add_le64(out, entry->dir);
    buf_add_span16(out, entry->handle);
}

static int
entry_decode(struct span row, struct state_entry *ret_entry, struct err *e)
{
    struct reader r = reader_of(row);
    ret_entry->attr.mode = reader_le32(&r);
    ret_entry->attr.uid = reader_le32(&r);
    ret_entry->attr.gid = reader_le32(&r);
    ret_entry->attr.size = reader_le64(&r);
    ret_entry->attr.mtime_ns = (int64_t)reader_le64(&r);
    ret_entry->ctime_ns = (int64_t)reader_le64(&r);
    ret_entry->ino = reader_le64(&r);
    ret_entry->nlink = reader_le32(&r);
    ret_entry->dir = reader_le64(&r);
    ret_entry->handle = reader_span16(&r);
    return reader_done(&r) ? 0 : err_set(e, ERR_CORRUPT, "an index row of a name is malformed");
}

int
state_entry_get(struct state_txn *txn, uint64_t dir, struct span name,
                struct state_entry *ret_entry, struct err *e)
{
    struct entry_key key;
    struct span row;
    int found = table_get(txn, TABLE_ENTRIES, entry_key(&key, dir, name), &row, e);
    if (found <= 0)
        return found;
    return entry_decode(row, ret_entry, e) < 0 ? -1 : 1;
}

int
state_object_name(struct state_txn *txn, uint16_t store, const struct state_entry *object,
                  unsigned *index, uint64_t *ret_dir, struct span *ret_name,
                  struct state_entry *ret_entry, struct err *e)
{
    for (;;) {
        int found = state_name_of(txn, store, object->ino, (*index)++, ret_dir, ret_name, e);
        if (found > 0)
            found = state_entry_get(txn, *ret_dir, *ret_name, ret_entry, e);
        if (found <= 0)
            return found;
        if (span_equal(ret_entry->handle, object->handle))
            return 1;
    }
}

static int
entry_set_nlink(struct state_txn *txn, struct span key, uint32_t nlink, struct err *e)
{
    struct span row;
    int found = table_get(txn, TABLE_ENTRIES, key, &row, e);
    if (found <= 0 || row.len < ENTRY_OFF_NLINK + 4 || get_le32(row.ptr + ENTRY_OFF_NLINK) == nlink)
        return found < 0 ? -1 : 0;
    buf_reset(&txn->scratch);
    buf_add(&txn->scratch, row.ptr, row.len);
    put_le32(txn->scratch.ptr + ENTRY_OFF_NLINK, nlink);
    return table_put(txn, TABLE_ENTRIES, key, buf_span(&txn->scratch), e);
}

/* nlink in the index is the number of names inside the store: what a standby can and must have. */
static int
inode_recount(struct state_txn *txn, uint16_t store, uint64_t ino, struct err *e)
{
    _cleanup_buf_ struct buf names = { 0 };
    uint32_t count = 0;
    if (inode_names(txn, store, ino, &names, &count, e) < 0)
        return -1;
    struct reader r = reader_of(buf_span(&names));
    for (uint32_t i = 0; i < count; i++) {
        if (entry_set_nlink(txn, reader_span16(&r), count, e) < 0)
            return -1;
    }
    return 0;
}

static int
entry_store_of(struct state_txn *txn, uint64_t dir, uint16_t *ret_store, struct err *e)
{
    struct state_dir parent;
    int found = state_dir_get(txn, dir, &parent, e);
    if (found == 0)
        return err_set(e, ERR_CORRUPT, "the index knows no directory %llu",
                       (unsigned long long)dir);
    if (found > 0)
        *ret_store = parent.store;
    return found < 0 ? -1 : 0;
}

/* A directory whose row is to go. */
struct doomed {
    uint64_t dir; /* 0 none */
    uint64_t ino;
    uint32_t nlink; /* of a name that is no directory: names of its object, with itself */
};

/* Removes one row and its inode's name; *ret_dir is the directory it was. */
static int
entry_del_one(struct state_txn *txn, uint16_t store, struct span key, struct doomed *ret_dir,
              struct err *e)
{
    *ret_dir = (struct doomed){ 0 };
    struct span row;
    int found = table_get(txn, TABLE_ENTRIES, key, &row, e);
    if (found <= 0)
        return found;
    struct state_entry entry;
    if (entry_decode(row, &entry, e) < 0)
        return -1;
    *ret_dir = (struct doomed){ .dir = entry.dir, .ino = entry.ino, .nlink = entry.nlink };
    if (inode_name_del(txn, store, entry.ino, key, e) < 0 ||
        table_del(txn, TABLE_ENTRIES, key, e) < 0 ||
        held_follow(txn, key, (struct span){ 0 }, e) < 0)
        return -1;
    return entry.nlink > 1 ? inode_recount(txn, store, entry.ino, e) : 0;
}

/* Removes what is below a directory; directories found on the way are put on the stack. */
static int
dir_empty(struct state_txn *txn, uint16_t store, uint64_t dir, struct buf *stack, struct err *e)
{
    for (;;) {
        struct key64 prefix = key64_of(dir);
        struct span key;
        struct span row;
        int found = table_seek(txn, TABLE_ENTRIES, span_of(prefix.raw, 8), &key, &row, e);
        if (found < 0)
            return -1;
        if (found == 0 || key.len < 8 || get_be64(key.ptr) != dir)
            return 0;
        struct entry_key copy;
        struct doomed child;
        entry_key(&copy, dir, span_from(key, 8, key.len - 8));
        if (entry_del_one(txn, store, span_of(copy.raw, copy.len), &child, e) < 0)
            return -1;
        if (child.dir != 0)
            buf_add(stack, &child, sizeof(child));
        else if (child.nlink > 1)
            buf_add_le64(&txn->bereaved, child.ino);
    }
}

int
state_entry_del(struct state_txn *txn, uint64_t dir, struct span name, struct err *e)
{
    uint16_t store;
    struct entry_key key;
    struct doomed next;
    if (entry_store_of(txn, dir, &store, e) < 0 ||
        entry_del_one(txn, store, entry_key(&key, dir, name), &next, e) < 0)
        return -1;
    _cleanup_buf_ struct buf stack = { 0 };
    if (next.dir != 0)
        buf_add(&stack, &next, sizeof(next));
    while (stack.len > 0) {
        stack.len -= sizeof(next);
        memcpy(&next, stack.ptr + stack.len, sizeof(next));
        if (dir_empty(txn, store, next.dir, &stack, e) < 0 ||
            index_dir_del(txn, next.dir, next.ino, e) < 0)
            return -1;
    }
    return 0;
}

/* Removes what stands in the way of putting another object under this name. A directory that was
 * made anew on the disk may stay the same one here. */
static int
entry_make_room(struct state_txn *txn, uint16_t store, uint64_t dir, struct span key,
                const struct state_entry *entry, struct err *e)
{
    struct state_entry old;
    struct span name = span_from(key, 8, key.len - 8);
    int found = state_entry_get(txn, dir, name, &old, e);
    if (found <= 0)
        return found;
    if (old.ino == entry->ino && old.dir == entry->dir)
        return 0;
    if (old.dir != 0 && old.dir == entry->dir)
        return inode_name_del(txn, store, old.ino, key, e);
    return state_entry_del(txn, dir, name, e);
}

/* name and entry->handle may point into rows: the writes below would move them. */
static int
entry_put_copied(struct state_txn *txn, uint64_t dir, struct span name,
                 const struct state_entry *entry, struct err *e)
{
    uint16_t store;
    struct entry_key key;
    struct span k = entry_key(&key, dir, name);
    if (entry_store_of(txn, dir, &store, e) < 0 ||
        entry_make_room(txn, store, dir, k, entry, e) < 0)
        return -1;
    buf_reset(&txn->scratch);
    entry_encode(entry, &txn->scratch);
    if (table_put(txn, TABLE_ENTRIES, k, buf_span(&txn->scratch), e) < 0 ||
        inode_name_put(txn, store, entry->ino, k, e) < 0)
        return -1;
    return inode_recount(txn, store, entry->ino, e);
}

int
state_entry_put(struct state_txn *txn, uint64_t dir, struct span name,
                const struct state_entry *entry, struct err *e)
{
    struct entry_key name_copy;
    uint8_t handle[RECORD_HANDLE_MAX];
    struct state_entry copy = *entry;
    ASSERT(entry->handle.len <= sizeof(handle));
    if (entry->handle.len > 0)
        memcpy(handle, entry->handle.ptr, entry->handle.len);
    copy.handle = span_of(handle, entry->handle.len);
    entry_key(&name_copy, dir, name);
    return entry_put_copied(txn, dir, span_of(name_copy.raw + 8, name.len), &copy, e);
}

/* A moved directory's row follows its name. */
static int
dir_follow(struct state_txn *txn, uint64_t id, uint64_t parent, struct span name, struct err *e)
{
    struct state_dir dir;
    int found = state_dir_get(txn, id, &dir, e);
    if (found <= 0)
        return found;
    dir.parent = parent;
    dir.name = name;
    return state_dir_put(txn, &dir, e);
}

int
state_entry_move(struct state_txn *txn, uint64_t dir, struct span name, uint64_t new_dir,
                 struct span new_name, struct err *e)
{
    struct entry_key old_key;
    struct entry_key new_key;
    entry_key(&old_key, dir, name);
    entry_key(&new_key, new_dir, new_name);
    struct span from = span_of(old_key.raw + 8, old_key.len - 8);
    struct span to = span_of(new_key.raw + 8, new_key.len - 8);

    struct state_entry entry;
    int found = state_entry_get(txn, dir, from, &entry, e);
    if (found <= 0)
        return found < 0 ? -1 : err_set(e, ERR_GONE, "the index has no such name to move");
    uint8_t handle[RECORD_HANDLE_MAX];
    memcpy(handle, entry.handle.ptr, MIN(entry.handle.len, sizeof(handle)));
    entry.handle = span_of(handle, MIN(entry.handle.len, sizeof(handle)));
    uint16_t store;
    if (entry_store_of(txn, dir, &store, e) < 0 ||
        inode_name_del(txn, store, entry.ino, span_of(old_key.raw, old_key.len), e) < 0 ||
        table_del(txn, TABLE_ENTRIES, span_of(old_key.raw, old_key.len), e) < 0)
        return -1;
    if (entry_put_copied(txn, new_dir, to, &entry, e) < 0 ||
        held_follow(txn, span_of(old_key.raw, old_key.len), span_of(new_key.raw, new_key.len), e) <
            0)
        return -1;
    return entry.dir != 0 ? dir_follow(txn, entry.dir, new_dir, to, e) : 0;
}

int
state_entry_next(struct state_txn *txn, uint64_t dir, struct span after, struct span *ret_name,
                 struct state_entry *ret_entry, struct err *e)
{
    uint8_t from[ENTRY_KEY_MAX + 1];
    struct span found_key;
    struct span row;
    int found = table_seek(txn, TABLE_ENTRIES, entry_key_above(from, dir, after), &found_key, &row,
                           e);
    if (found <= 0 || found_key.len <= 8 || get_be64(found_key.ptr) != dir)
        return found < 0 ? -1 : 0;
    *ret_name = span_from(found_key, 8, found_key.len - 8);
    return entry_decode(row, ret_entry, e) < 0 ? -1 : 1;
}
