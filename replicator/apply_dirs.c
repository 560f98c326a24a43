#include "replicator/apply_private.h"

#include <unistd.h>

void
apply_dirs_init(struct apply_dirs *dirs)
{
    *dirs = (struct apply_dirs){ 0 };
    for (size_t i = 0; i < APPLY_DIR_SLOTS; i++)
        dirs->slots[i].fd = -1;
}

static void
empty_slot(struct apply_dir *dir)
{
    file_closep(&dir->fd);
    dir->used = 0;
}

static bool
holds(const struct apply_dir *dir, const struct apply_root *root, struct span path)
{
    return dir->fd >= 0 && dir->root == root && span_equal(buf_span(&dir->path), path);
}

/* The slot that has it, else the one to give up: unused, or used longest ago. */
static struct apply_dir *
find_slot(struct apply_dirs *dirs, const struct apply_root *root, struct span path)
{
    struct apply_dir *oldest = &dirs->slots[0];
    for (struct apply_dir *dir = dirs->slots; dir < dirs->slots + APPLY_DIR_SLOTS; dir++) {
        if (holds(dir, root, path))
            return dir;
        if (dir->used < oldest->used)
            oldest = dir;
    }
    return oldest;
}

int
apply_dir_get(struct apply_dirs *dirs, struct apply_root *root, struct span path,
              struct apply_dir **ret_dir, struct err *e)
{
    struct apply_dir *dir = find_slot(dirs, root, path);
    if (!holds(dir, root, path)) {
        struct err why = { 0 };
        int fd = file_open_beneath(root->fd, path, O_RDONLY | O_DIRECTORY, 0, &why);
        if (fd < 0 && (why.sys == ENOENT || why.sys == ENOTDIR || why.sys == ELOOP))
            return 0;
        if (fd < 0 && e != NULL)
            *e = why;
        if (fd < 0)
            return -1;
        empty_slot(dir);
        dir->fd = fd;
        dir->root = root;
        buf_reset(&dir->path);
        buf_add(&dir->path, path.ptr, path.len);
    }
    dir->used = ++dirs->clock;
    *ret_dir = dir;
    return 1;
}

/* Makes one directory whose parent is there; 0: it is not. Mode 0700, so that nobody sees into it
 * before its own record says who may. */
static int
make_one(struct apply_dirs *dirs, struct apply_root *root, struct span path, bool *ret_made,
         struct err *e)
{
    struct apply_dir *parent;
    *ret_made = false;
    int found = apply_dir_get(dirs, root, path_parent(path), &parent, e);
    if (found <= 0)
        return found;
    char text[PATH_NAME_MAX + 1];
    path_name_text(path_name(path), text);
    *ret_made = fault("mkdir") == 0 && mkdirat(parent->fd, text, 0700) == 0;
    if (!*ret_made && errno != EEXIST)
        return err_sys(e, ERR_IO, "make the directory %.*s", PATH_ARGS(path));
    return 1;
}

int
apply_dir_new(struct apply_dirs *dirs, struct apply_root *root, struct span path,
              struct apply_dir **ret_dir, bool *ret_made, struct err *e)
{
    *ret_made = false;
    if (path.len == 0)
        return 0;
    int found = make_one(dirs, root, path, ret_made, e);
    return found > 0 ? apply_dir_get(dirs, root, path, ret_dir, e) : found;
}

int
apply_dir_make(struct apply_dirs *dirs, struct apply_root *root, struct span path,
               struct apply_dir **ret_dir, struct err *e)
{
    int found = apply_dir_get(dirs, root, path, ret_dir, e);
    struct span rest = path;
    struct span name;
    bool made;
    while (found == 0 && path_next(&rest, &name)) { /* from the top, each missing one */
        struct span head = span_of(path.ptr, (size_t)(name.ptr - path.ptr) + name.len);
        found = apply_dir_get(dirs, root, head, ret_dir, e);
        if (found == 0)
            found = make_one(dirs, root, head, &made, e);
        if (found <= 0)
            return found;
        found = head.len < path.len ? 0 : apply_dir_get(dirs, root, path, ret_dir, e);
    }
    return found;
}

void
apply_dirs_drop(struct apply_dirs *dirs, struct apply_root *root, struct span path)
{
    for (struct apply_dir *dir = dirs->slots; dir < dirs->slots + APPLY_DIR_SLOTS; dir++) {
        if (dir->fd >= 0 && dir->root == root && path_is_below(buf_span(&dir->path), path))
            empty_slot(dir);
    }
}

/* Everything is closed: nobody promises that directories stay where they are until the next run. */
void
apply_dirs_clear(struct apply_dirs *dirs)
{
    for (struct apply_dir *dir = dirs->slots; dir < dirs->slots + APPLY_DIR_SLOTS; dir++) {
        file_closep(&dir->fd);
        buf_free(&dir->path);
        *dir = (struct apply_dir){ .fd = -1 };
    }
}
