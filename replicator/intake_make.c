#include "replicator/intake_private.h"

#include "lib/os/attrs.h"
#include "lib/os/fault.h"

#include <pthread.h>
#include <unistd.h>

#define REPLACEMENT "intake" /* the one name that a replacement has before its own */

struct owner {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

static int
owner_of(int fd, struct owner *ret_owner, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at a directory");
    *ret_owner = (struct owner){ st.st_uid, st.st_gid, st.st_mode & 07777 };
    return 0;
}

static int
give_owner(int fd, const struct owner *owner, struct err *e)
{
    if (attrs_set_owner(fd, owner->uid, owner->gid, e) < 0)
        return -1;
    return attrs_set_mode(fd, owner->mode, e);
}

/* One that somebody else makes at the same moment is as good. Its owner is right before anybody
 * can have put something into it, or the next attempt makes it so. */
static int
make_one(int parent, struct span name, const struct owner *owner, int *ret_fd, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    bool made = fault("mkdir") == 0 && mkdirat(parent, path_name_text(name, text), 0700) == 0;
    if (!made && errno != EEXIST)
        return err_sys(e, ERR_IO, "make the directory %s", text);
    _cleanup_close_ int fd = file_open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0, e);
    if (fd < 0 || (made && give_owner(fd, owner, e) < 0))
        return -1;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int
intake_make_dir(int root_fd, struct span path, struct span home, const struct attr *attr,
                int *ret_fd, struct err *e)
{
    *ret_fd = file_open_beneath(root_fd, path, O_RDONLY | O_DIRECTORY, 0, e);
    if (*ret_fd >= 0)
        return 0;
    if (e->sys != ENOENT || path.len == 0)
        return -1;
    _cleanup_close_ int parent = -1;
    struct owner owner;
    if (intake_make_dir(root_fd, path_parent(path), home, attr, &parent, e) < 0 ||
        owner_of(parent, &owner, e) < 0)
        return -1;
    if (!path_is_below(path_parent(path), home))
        owner = (struct owner){ attr->uid, attr->gid, 0700 };
    return make_one(parent, path_name(path), &owner, ret_fd, e);
}

static int
mark_folder(int fd, const struct owner *owner, struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int mark = openat(fd, "maildirfolder", flags, 0600);
    if (mark < 0)
        return errno == EEXIST ? 0 : err_sys(e, ERR_IO, "mark the folder");
    struct owner as_file = { owner->uid, owner->gid, owner->mode & 0666 };
    return give_owner(mark, &as_file, e);
}

int
intake_make_folder(int fd, struct span path, struct span home, struct err *e)
{
    static const char *const parts[] = { "tmp", "new", "cur" };
    struct owner owner;
    if (owner_of(fd, &owner, e) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        _cleanup_close_ int part = -1;
        if (make_one(fd, span_str(parts[i]), &owner, &part, e) < 0)
            return -1;
    }
    bool dotted = path_name(path).len > 0 && path_name(path).ptr[0] == '.';
    return dotted && path.len > home.len ? mark_folder(fd, &owner, e) : 0;
}

static int
link_and_rename(int private_fd, int fd, int dirfd, const char *name, struct err *e)
{
    unlinkat(private_fd, REPLACEMENT, 0); /* left by a crash */
    if (file_link_unnamed(fd, private_fd, REPLACEMENT, e) < 0)
        return -1;
    return file_rename(private_fd, REPLACEMENT, dirfd, name, false, e);
}

int
intake_replace(int root_fd, int fd, int dirfd, const char *name, struct err *e)
{
    /* of sessions of several peers, and of a restore on this node */
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    if ((fault("mkdir") < 0 || mkdirat(root_fd, STORE_PRIVATE_DIR, 0700) < 0) && errno != EEXIST)
        return err_sys(e, ERR_IO, "make %s", STORE_PRIVATE_DIR);
    _cleanup_close_ int private_fd = file_open_beneath(root_fd, span_str(STORE_PRIVATE_DIR),
                                                       O_RDONLY | O_DIRECTORY, 0, e);
    if (private_fd < 0)
        return -1;
    pthread_mutex_lock(&one);
    int rc = link_and_rename(private_fd, fd, dirfd, name, e);
    pthread_mutex_unlock(&one);
    return rc;
}

int
intake_set_attrs(int fd, const struct wire_give *give, struct err *e)
{
    const struct attr *attr = &give->attr;
    bool file = give->kind == WIRE_GIVE_FILE;
    struct attrs_xattr list[WIRE_XATTRS_MAX];
    for (size_t i = 0; i < give->xattr_count; i++)
        list[i] = (struct attrs_xattr){ give->xattrs[i].name, give->xattrs[i].value };
    if (attrs_set_owner(fd, attr->uid, attr->gid, e) < 0 || /* the order: apply_give_attrs() */
        (file && attrs_xattrs_prune(fd, list, give->xattr_count, e) < 0) ||
        attrs_set_mode(fd, attr->mode & 0777, e) < 0 ||
        (file && attrs_xattrs_write(fd, list, give->xattr_count, e) < 0))
        return -1;
    return attrs_set_mtime(fd, attr->mtime_ns, e);
}
