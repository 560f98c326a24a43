/* renumber_look.c - folders as the disk has them, for a promotion behind a standby that was ended
 * while it carried something out: the index may not have it, and who sent it does not come again.
 */
#include "replicator/renumber_private.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/dir.h"
#include "lib/os/file.h"
#include "lib/store/maildir.h"

#include <sys/stat.h>

struct reading {
    const struct node_store *store;
    struct span path;
    struct renumber_folder *folder;
    struct buf dirs; /* in it: inode number u64, name span16 */
    bool has_new;    /* beside a cur: the two are a folder's */
};

static void
note_dir(struct reading *r, struct span name, uint64_t ino)
{
    r->folder->messages |= span_equal(name, span_str("cur"));
    r->has_new |= span_equal(name, span_str("new"));
    buf_add_le64(&r->dirs, ino);
    buf_add_span16(&r->dirs, name);
}

static int
read_names(struct reading *r, struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(r->folder->fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        struct span name = span_str(item->d_name);
        if (!path_name_valid(name) ||
            store_class_of(&r->store->rules, r->path, name, false) == CLASS_IGNORE)
            continue;
        if (dir_item_is_dir(dir, item))
            note_dir(r, name, item->d_ino);
        else if (item->d_type == DT_REG || item->d_type == DT_UNKNOWN)
            renumber_note_file(r->folder, name);
    }
    return more;
}

static int
take_owner(struct renumber_folder *folder, struct err *e)
{
    struct stat st;
    if (fstatat(folder->fd, "dovecot-uidlist", &st, AT_SYMLINK_NOFOLLOW) < 0 &&
        fstat(folder->fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the folder");
    folder->owner = (struct attr){ .mode = st.st_mode, .uid = st.st_uid, .gid = st.st_gid };
    return 0;
}

static void
keep_dirs(const struct reading *r, struct buf *ret_dirs)
{
    struct reader dirs = reader_of(buf_span(&r->dirs));
    bool is_folder = r->folder->messages && r->has_new;
    while (dirs.rest.len > 0) {
        uint64_t ino = reader_le64(&dirs);
        struct span name = reader_span16(&dirs);
        if (is_folder && maildir_is_part(name))
            continue;
        buf_add_le64(ret_dirs, ino);
        buf_add_span16(ret_dirs, name);
    }
}

int
renumber_look(const struct node_store *store, struct span path, struct renumber_folder *folder,
              struct buf *ret_dirs, struct err *e)
{
    struct reading r = { .store = store, .path = path, .folder = folder };
    *folder = (struct renumber_folder){ .fd = folder->fd };
    int rc = read_names(&r, e) < 0 || take_owner(folder, e) < 0 ? -1 : 0;
    if (rc == 0)
        keep_dirs(&r, ret_dirs);
    buf_free(&r.dirs);
    return rc;
}

/* 1 yes, 0 no, -1. */
static int
has_dir(struct state_txn *txn, uint64_t dir, const char *name, struct err *e)
{
    struct state_entry entry;
    int found = state_entry_get(txn, dir, span_str(name), &entry, e);
    return found <= 0 ? found : entry.dir != 0;
}

int
renumber_holds_messages(struct state_txn *txn, const struct state_dir *dir, struct err *e)
{
    if (dir->parent == 0 || !maildir_is_part(dir->name))
        return 0;
    int found = has_dir(txn, dir->parent, "cur", e);
    return found <= 0 ? found : has_dir(txn, dir->parent, "new", e);
}

/* --- what the index has not --- */

int
renumber_add_strays(struct state_txn *txn, const struct state_dir *dir, struct span path,
                    struct span dirs, struct buf *strays, struct err *e)
{
    struct reader r = reader_of(dirs);
    while (r.rest.len > 0) {
        _cleanup_buf_ struct buf whole = { 0 };
        struct state_entry entry;
        uint64_t ino = reader_le64(&r);
        struct span name = reader_span16(&r);
        int found = dir->id == 0 ? 0 : state_entry_get(txn, dir->id, name, &entry, e);
        if (found < 0)
            return -1;
        if (found > 0 && entry.dir != 0 && entry.ino == ino)
            continue;
        path_join(&whole, path, name);
        if (!path_valid(buf_span(&whole))) /* too long to be replicated */
            continue;
        buf_add_le16(strays, dir->store);
        buf_add_span16(strays, buf_span(&whole));
    }
    return 0;
}

/* Its row: it was renamed, and has another name in the index. 1, 0 there is none, -1. */
static int
find_known(const struct node_store *store, struct state_txn *txn, int fd, uint64_t *ret_id,
           struct err *e)
{
    struct attrs_handle handle;
    uint8_t bytes[WATCH_HANDLE_MAX];
    *ret_id = 0;
    if (attrs_handle_get(fd, "", &handle, e) < 0)
        return -1;
    if (handle.len == 0)
        return 0;
    return state_dir_find(txn, node_handle(store, attrs_handle_span(&handle), bytes), ret_id, e);
}

int
renumber_open_stray(const struct node_store *store, struct state_txn *txn, struct span path,
                    struct renumber_folder *ret_folder, uint64_t *ret_known, struct err *e)
{
    struct stat st;
    *ret_folder = (struct renumber_folder){ .fd = -1 };
    _cleanup_close_ int fd = file_open_beneath(store->root_fd, path, O_RDONLY | O_DIRECTORY, 0, e);
    if (fd < 0)
        return e->sys == ENOENT || e->sys == ENOTDIR ? 0 : -1;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the directory");
    if (st.st_dev != store->device)
        return 0;
    if (find_known(store, txn, fd, ret_known, e) < 0)
        return -1;
    ret_folder->fd = fd;
    fd = -1;
    return 1;
}
