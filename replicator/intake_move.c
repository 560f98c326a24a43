/* intake_move.c - what is called otherwise on the other node gets that name here: a directory with
 * all in it, a file, a message that goes into another folder. Decided when its turn comes, for
 * another of its batch may have moved what it lies in.
 *
 * A directory that is a folder of Dovecot's is renamed under the lock of its list of UIDs, so that
 * nobody is halfway through a delivery; list and messages come along, and no UID changes. A message
 * that comes into a folder without a line in its list gets a UID there, as any that is delivered.
 */
#include "replicator/intake_private.h"

#include "lib/os/attrs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
intake_none(struct err *e)
{
    if (e->sys != ENOENT)
        return -1;
    err_clear(e);
    return 0;
}

int
intake_stat(int root_fd, struct span path, struct stat *ret_st, struct err *e)
{
    char name[PATH_NAME_MAX + 1];
    path_name_text(path_name(path), name);
    _cleanup_close_ int dirfd = file_open_beneath(root_fd, path_parent(path), O_PATH | O_DIRECTORY,
                                                  0, e);
    if (dirfd < 0)
        return intake_none(e);
    if (fstatat(dirfd, name, ret_st, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at what has the name");
}

int
intake_lock_folder(int fd, struct intake_lock *ret_lock, bool *ret_locked, struct err *e)
{
    struct stat st, cur;
    *ret_locked = false;
    if (fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at a directory");
    if (fstatat(fd, "cur", &cur, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    *ret_lock = (struct intake_lock){ fd, INTAKE_UIDLIST_LOCK, st.st_uid, st.st_gid };
    if (intake_lock(ret_lock, e) < 0)
        return -1;
    *ret_locked = true;
    return 0;
}

/* 1 it is to be moved, 0 it is there, -1 with the reason. */
static int
decide(const struct intake_move *facts, struct err *e)
{
    const char *why;
    enum intake_act act = intake_decide_move(facts, &why);
    return act == INTAKE_ABSENT ? err_set(e, ERR_REFUSED, "%s", why) : act == INTAKE_MOVE;
}

static int
rename_beneath(int root_fd, struct span from, int to_dirfd, struct span to, struct err *e)
{
    char name[PATH_NAME_MAX + 1], other[PATH_NAME_MAX + 1];
    path_name_text(path_name(from), name);
    path_name_text(path_name(to), other);
    _cleanup_close_ int dirfd = file_open_beneath(root_fd, path_parent(from),
                                                  O_RDONLY | O_DIRECTORY, 0, e);
    return dirfd < 0 ? -1 : file_rename(dirfd, name, to_dirfd, other, true, e);
}

static int
rename_item(const struct intake_places *places, struct intake_item *item, struct span from,
            struct err *e)
{
    const struct wire_give *give = &item->give;
    int root_fd = places->node->stores[give->store].root_fd;
    if (path_is_below(give->path, from))
        return err_set(e, ERR_REFUSED, "it would lie within itself");
    if (intake_make_dir(root_fd, path_parent(give->path), item->mailbox.home, &give->attr,
                        &item->dir_fd, e) < 0 ||
        rename_beneath(root_fd, from, item->dir_fd, give->path, e) < 0)
        return -1;
    return 1;
}

/* --- directories --- */

/* By its GUID, if it has one: it may be called otherwise here by now. */
static int
find_dir(struct intake_places *places, const struct intake_item *item, struct buf *ret_from,
         struct intake_move *f, struct err *e)
{
    const struct wire_give *give = &item->give;
    int root_fd = places->node->stores[give->store].root_fd;
    bool known = give->guid.len > 0;
    struct stat st;
    struct mailbox before;
    int target = intake_stat(root_fd, give->path, &st, e);
    if (target < 0)
        return -1;
    f->target = target > 0;
    f->there = known ? intake_has_guid(root_fd, give->path, give->guid)
                     : f->target && S_ISDIR(st.st_mode);
    if (known && f->there)
        return 0;
    int source = intake_stat(root_fd, give->from, &st, e);
    f->source = source > 0;
    f->same = f->source && S_ISDIR(st.st_mode) &&
              (!known || intake_has_guid(root_fd, give->from, give->guid));
    buf_add(ret_from, give->from.ptr, give->from.len);
    intake_mailbox(places->node, give->store, give->from, &before);
    if (source < 0 || f->same || !known || before.home.len == 0)
        return MIN(source, 0);
    if (intake_search_begin(places, e) < 0)
        return -1;
    buf_reset(ret_from);
    int found = intake_search_guid(places, give->store, before.home, give->guid, ret_from, e);
    f->same = found > 0;
    f->source |= f->same;
    return MIN(found, 0);
}

static int
move_dir(struct intake_places *places, struct intake_item *item, struct err *e)
{
    struct intake_move facts = { 0 };
    _cleanup_buf_ struct buf from = { 0 };
    struct intake_lock lock;
    bool locked;
    int rc = find_dir(places, item, &from, &facts, e);
    if (rc >= 0)
        rc = decide(&facts, e);
    if (rc <= 0)
        return rc;
    _cleanup_close_ int fd = file_open_beneath(places->node->stores[item->give.store].root_fd,
                                               buf_span(&from), O_RDONLY | O_DIRECTORY, 0, e);
    if (fd < 0 || intake_lock_folder(fd, &lock, &locked, e) < 0)
        return -1;
    rc = rename_item(places, item, buf_span(&from), e);
    if (locked)
        intake_unlock(&lock);
    return rc;
}

/* --- files --- */

static bool
is_given_file(const struct wire_give *give, const struct stat *st)
{
    return S_ISREG(st->st_mode) && (uint64_t)st->st_size == give->attr.size &&
           attrs_ns(&st->st_mtim) == give->attr.mtime_ns;
}

static int
move_file(const struct intake_places *places, struct intake_item *item, struct err *e)
{
    struct stat before, after;
    const struct wire_give *give = &item->give;
    int root_fd = places->node->stores[give->store].root_fd;
    int source = intake_stat(root_fd, give->from, &before, e);
    int target = source < 0 ? -1 : intake_stat(root_fd, give->path, &after, e);
    if (target < 0)
        return -1;
    struct intake_move facts = { .source = source > 0,
                                 .same = source > 0 && is_given_file(give, &before),
                                 .target = target > 0,
                                 .there = target > 0 && is_given_file(give, &after) };
    int rc = decide(&facts, e);
    return rc <= 0 ? rc : rename_item(places, item, give->from, e);
}

/* --- messages --- */

struct source {
    int fd; /* the cur or new that it lies in */
    char *name;
    bool same;
    struct wire_give give; /* with the keywords that it has here, too */
    struct buf names;      /* of those */
};

static void
source_free(struct source *s)
{
    file_closep(&s->fd);
    free(s->name);
    buf_free(&s->names);
}

static bool
is_given_message(const struct wire_give *give, const struct stat *st)
{
    return S_ISREG(st->st_mode) && (uint64_t)st->st_size == give->attr.size;
}

static struct span
flags_of(const char *name)
{
    const char *flags = strstr(name, ":2,");
    return span_str(flags == NULL ? "" : flags + 3);
}

static int
set_source(struct source *s, struct intake_folder *f, const struct intake_name *name, struct err *e)
{
    struct stat st;
    s->fd = fcntl(name->is_new ? f->new_fd : f->cur_fd, F_DUPFD_CLOEXEC, 0);
    s->name = xasprintf("%s", name->name);
    if (s->fd < 0 || fstatat(s->fd, s->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(e, errno == ENOENT ? ERR_BUSY : ERR_IO, "look at a message");
    s->same = is_given_message(&s->give, &st);
    return intake_letter_names(f, flags_of(s->name), &s->give, &s->names, e) < 0 ? -1 : 1;
}

/* 1 in the folder, 0 not there; *ret_folder: there is such a folder. */
static int
source_in(struct intake_places *places, struct span path, struct source *s, bool *ret_folder,
          struct err *e)
{
    struct intake_folder *f;
    struct mailbox box;
    struct wire_give give = s->give;
    give.path = path;
    give.guid = (struct span){ 0 };
    intake_mailbox(places->node, give.store, path, &box);
    int got = intake_folder_get(places, &give, &box, false, &f, e);
    *ret_folder = got >= 0;
    if (got < 0)
        return intake_none(e);
    const struct intake_name *name = intake_folder_find(f, box.base);
    return name == NULL ? 0 : set_source(s, f, name, e);
}

/* No directory shows it under the name given. What the index has elsewhere is it when its folder is
 * called otherwise by now; what it has there is being renamed. 1, 0, -1. */
static int
source_by_index(struct intake_places *places, bool folder, struct source *s, struct err *e)
{
    struct mailbox before, at;
    struct stat st;
    bool unused;
    _cleanup_buf_ struct buf path = { 0 };
    intake_mailbox(places->node, s->give.store, s->give.from, &before);
    if (before.home.len == 0 || intake_search_begin(places, e) < 0)
        return before.home.len == 0 ? 0 : -1;
    int found = intake_search_home(places, s->give.store, before.home, before.base, &path, e);
    if (found <= 0)
        return found;
    intake_mailbox(places->node, s->give.store, buf_span(&path), &at);
    found = intake_stat(places->node->stores[s->give.store].root_fd, buf_span(&path), &st, e);
    if (found == 0 || (found > 0 && folder && span_equal(at.dir, before.dir)))
        return err_set(e, ERR_BUSY, "it is being renamed at this moment");
    if (found < 0 || folder)
        return MIN(found, 0);
    return source_in(places, buf_span(&path), s, &unused, e);
}

/* What its folder shows of it already. */
static int
find_target(struct intake_places *places, const struct intake_item *item, struct intake_move *facts,
            struct err *e)
{
    struct intake_folder *f;
    struct stat st;
    if (intake_folder_get(places, &item->give, &item->mailbox, false, &f, e) < 0)
        return intake_none(e);
    const struct intake_name *name = intake_folder_find(f, item->mailbox.base);
    facts->target = name != NULL;
    if (name == NULL)
        return 0;
    int fd = name->is_new ? f->new_fd : f->cur_fd;
    facts->there = fstatat(fd, name->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                   is_given_message(&item->give, &st);
    return 0;
}

static int
message_name(struct intake_folder *f, struct intake_item *item, const struct source *s,
             struct buf *name, struct err *e)
{
    struct mailbox before;
    bool full = false;
    _cleanup_buf_ struct buf letters = { 0 };
    _cleanup_buf_ struct buf flags = { 0 };
    if (intake_letters(f, &s->give, &letters, &full, e) < 0)
        return -1;
    if (full)
        snprintf(item->text, sizeof(item->text),
                 "without some of its keywords: the folder has no letter left for them");
    mailbox_of("", s->give.from, &before); /* its flags, whosever it is */
    intake_merge_flags(before.flags, item->mailbox.flags, flags_of(s->name), &flags);
    buf_add(name, item->mailbox.base.ptr, item->mailbox.base.len);
    buf_add(name, ":2,", 3);
    intake_flags(buf_span(&flags), buf_span(&letters), name);
    return path_name_valid(buf_span(name))
               ? 0
               : err_set(e, ERR_REFUSED, "its name would be longer than a name can be");
}

static int
bring_message(struct intake_places *places, struct intake_item *item, const struct source *s,
              struct err *e)
{
    struct intake_folder *f;
    char text[PATH_NAME_MAX + 1];
    _cleanup_buf_ struct buf name = { 0 };
    _cleanup_buf_ struct buf dir = { 0 };
    if (intake_folder_get(places, &item->give, &item->mailbox, true, &f, e) < 0 ||
        message_name(f, item, s, &name, e) < 0)
        return -1;
    if (file_rename(s->fd, s->name, f->cur_fd, path_name_text(buf_span(&name), text), true, e) < 0)
        return -1;
    intake_folder_add(f, buf_span(&name), false);
    path_join(&dir, buf_span(&f->path), span_str("cur"));
    buf_reset(&item->where);
    path_join(&item->where, buf_span(&dir), buf_span(&name));
    return 1;
}

static int
move_message(struct intake_places *places, struct intake_item *item, struct err *e)
{
    struct intake_move facts = { 0 };
    _cleanup_(source_free) struct source s = { .fd = -1, .give = item->give };
    bool folder;
    if (find_target(places, item, &facts, e) < 0)
        return -1;
    int found = source_in(places, item->give.from, &s, &folder, e);
    if (found == 0 && !facts.there)
        found = source_by_index(places, folder, &s, e);
    if (found < 0)
        return -1;
    facts.source = found > 0;
    facts.same = s.same;
    int rc = decide(&facts, e);
    return rc <= 0 ? rc : bring_message(places, item, &s, e);
}

int
intake_move(struct intake_places *places, struct intake_item *item, struct err *e)
{
    buf_reset(&item->where);
    buf_add(&item->where, item->give.path.ptr, item->give.path.len);
    switch ((enum wire_give_kind)item->give.kind) {
    case WIRE_GIVE_MESSAGE:
        return move_message(places, item, e);
    case WIRE_GIVE_FILE:
        return move_file(places, item, e);
    case WIRE_GIVE_DIR:
        break;
    }
    return move_dir(places, item, e);
}
