/* intake_decide.c - what becomes of one object that is given: what is there already, and under
 * which name it is made. Nothing is visible yet, but the directories that it needs. */
#include "lib/store/listback.h"
#include "replicator/intake_private.h"

#include <stdio.h>
#include <unistd.h>

#define OPEN_TO_COMPARE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

void
intake_item_settle(struct intake_item *item, enum wire_given_result result, const char *text)
{
    item->settled = true;
    item->result = result;
    snprintf(item->text, sizeof(item->text), "%s", text);
}

void
intake_item_failed(struct intake_item *item, const struct err *why)
{
    bool never = why->code == ERR_REFUSED || why->code == ERR_PROTOCOL || why->sys == ELOOP ||
                 why->sys == ENOTDIR || why->sys == EXDEV;
    intake_item_settle(item, never ? WIRE_GIVEN_REFUSED : WIRE_GIVEN_FAILED, why->text);
}

bool
intake_has_bytes(const struct wire_give *give)
{
    return give->kind != WIRE_GIVE_DIR && intake_brings_bytes(give->mode);
}

void
intake_mailbox(const struct node *node, uint16_t store, struct span path, struct mailbox *ret)
{
    const char *users = node->stores[store].conf->users;
    mailbox_of(users == NULL ? "" : users, path, ret);
}

static void
set_name(struct buf *name, struct span s)
{
    buf_reset(name);
    buf_add(name, s.ptr, s.len);
    buf_add_u8(name, 0);
    name->len--;
}

const char *
intake_name_text(const struct buf *name)
{
    return (const char *)name->ptr;
}

static bool
may_be_same(const struct intake_item *item, const struct stat *st)
{
    return S_ISREG(st->st_mode) &&
           (item->give.mode == WIRE_GIVE_FLAGS || (uint64_t)st->st_size == item->give.attr.size);
}

/* A message is known by its name and its bytes; where no bytes came with it, by its size. fd, of
 * what has the name here, is closed. 1, 0, -1. */
static int
is_same(const struct intake_item *item, const struct stat *st, int fd, struct err *e)
{
    _cleanup_close_ int here = fd;
    if (!may_be_same(item, st) || !intake_has_bytes(&item->give))
        return may_be_same(item, st);
    if (here < 0)
        return err_sys(e, ERR_IO, "open a message to compare it");
    return file_same_bytes(here, item->fd, e);
}

static void
set_where(struct intake_item *item, const struct intake_folder *f, bool is_new, struct span name)
{
    _cleanup_buf_ struct buf dir = { 0 };
    path_join(&dir, buf_span(&f->path), span_str(is_new ? "new" : "cur"));
    buf_reset(&item->where);
    path_join(&item->where, buf_span(&dir), name);
}

/* What the folder's directories show. */
static int
find_here(struct intake_folder *f, struct intake_item *item, struct intake_found *ret_found,
          struct err *e)
{
    struct stat st;
    const struct intake_name *name = intake_folder_find(f, item->mailbox.base);
    *ret_found = (struct intake_found){ .found = name != NULL };
    if (name == NULL)
        return 0;
    item->from_fd = name->is_new ? f->new_fd : f->cur_fd;
    set_name(&item->from, span_str(name->name));
    set_where(item, f, name->is_new, span_str(name->name));
    if (fstatat(item->from_fd, name->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look at a message");
    int same = is_same(item, &st, openat(item->from_fd, name->name, OPEN_TO_COMPARE), e);
    if (same < 0)
        return -1;
    ret_found->certain = true;
    ret_found->same = same > 0;
    return 0;
}

/* What the index tells: also of this folder, for a directory that is read while names move in it
 * may not show one that is there. */
static int
find_elsewhere(struct intake_places *places, struct intake_item *item,
               struct intake_found *ret_found, struct err *e)
{
    const struct mailbox *m = &item->mailbox;
    uint16_t store = item->give.store;
    struct stat st;
    *ret_found = (struct intake_found){ 0 };
    if (m->home.len == 0 || intake_search_begin(places, e) < 0)
        return m->home.len == 0 ? 0 : -1;
    int found = intake_search_home(places, store, m->home, m->base, &item->where, e);
    if (found <= 0)
        return found;
    struct span path = buf_span(&item->where);
    int fd = file_open_beneath(places->node->stores[store].root_fd, path, OPEN_TO_COMPARE, 0, e);
    if (fd < 0 && e->sys != ENOENT)
        return -1;
    ret_found->found = true;
    if (fd < 0 || fstat(fd, &st) < 0) {
        file_closep(&fd);
        return 0;
    }
    int same = is_same(item, &st, fd, e);
    ret_found->certain = true;
    ret_found->same = same > 0;
    return same < 0 ? -1 : 0;
}

/* A message that comes back to its own folder has the letters that it had, where nobody could tell
 * what they stand for: the folder's list of keywords comes back as well. */
static void
add_letters(const struct intake_item *item, struct span letters, struct buf *name)
{
    bool own = item->give.mode == WIRE_GIVE_REPLACE && item->give.keyword_count == 0;
    intake_flags(item->mailbox.flags, own ? item->mailbox.flags : letters, name);
}

static int
set_target(struct intake_item *item, struct intake_folder *f, struct err *e)
{
    _cleanup_buf_ struct buf letters = { 0 };
    _cleanup_buf_ struct buf name = { 0 };
    bool full = false;
    if (intake_letters(f, &item->give, &letters, &full, e) < 0)
        return -1;
    if (full)
        snprintf(item->text, sizeof(item->text),
                 "without some of its keywords: the folder has no letter left for them");
    if (item->act == INTAKE_MAKE_OTHER)
        intake_other_base(item->mailbox.base, item->crc, &name);
    else
        buf_add(&name, item->mailbox.base.ptr, item->mailbox.base.len);
    bool stays_new = item->mailbox.is_new && item->mailbox.flags.len == 0 && letters.len == 0;
    if (!stays_new) {
        buf_add(&name, ":2,", 3);
        add_letters(item, buf_span(&letters), &name);
    }
    if (!path_name_valid(buf_span(&name)))
        return err_set(e, ERR_REFUSED, "its name would be longer than a name can be");
    item->to_fd = stays_new ? f->new_fd : f->cur_fd;
    set_name(&item->to, buf_span(&name));
    set_where(item, f, stays_new, buf_span(&name));
    return 0;
}

/* A message of that name with other bytes is there, and the name that this one gets from its bytes:
 * is it there already? */
static void
look_for_other(const struct intake_folder *f, struct intake_item *item)
{
    _cleanup_buf_ struct buf base = { 0 };
    intake_other_base(item->mailbox.base, item->crc, &base);
    if (intake_folder_find(f, buf_span(&base)) != NULL)
        item->act = INTAKE_EXISTS;
}

static int
decide_message(struct intake_places *places, struct intake_item *item, struct err *e)
{
    struct intake_folder *f;
    struct intake_found here, elsewhere = { 0 };
    enum wire_give_mode mode = (enum wire_give_mode)item->give.mode;
    bool make = intake_has_bytes(&item->give);
    if (intake_folder_get(places, &item->give, &item->mailbox, make, &f, e) < 0 ||
        find_here(f, item, &here, e) < 0)
        return -1;
    bool comes = mode == WIRE_GIVE_DELIVER || mode == WIRE_GIVE_REPLACE;
    if (comes && !here.found && find_elsewhere(places, item, &elsewhere, e) < 0)
        return -1;
    item->act = mode == WIRE_GIVE_REPLACE ? intake_decide_return(&here, &elsewhere)
                                          : intake_decide(mode, &here, &elsewhere);
    if (item->act == INTAKE_MAKE_OTHER)
        look_for_other(f, item);
    bool named = item->act == INTAKE_MAKE || item->act == INTAKE_MAKE_OTHER ||
                 item->act == INTAKE_REPLACE || item->act == INTAKE_REFLAG;
    if (!named)
        return 0;
    if (set_target(item, f, e) < 0)
        return -1;
    intake_folder_add(f, buf_span(&item->to), item->to_fd == f->new_fd);
    struct attr owned = item->give.attr;
    owned.uid = f->uid;
    owned.gid = f->gid;
    item->give.attr = owned;
    return 0;
}

static int
decide_file(struct intake_places *places, struct intake_item *item, struct err *e)
{
    struct stat st;
    struct intake_found here = { 0 }, none = { 0 };
    int root_fd = places->node->stores[item->give.store].root_fd;
    struct span path = item->give.path, parent = path_parent(path);
    if (intake_has_bytes(&item->give)) {
        if (intake_make_dir(root_fd, parent, item->mailbox.home, &item->give.attr, &item->dir_fd,
                            e) < 0)
            return -1;
    } else {
        item->dir_fd = file_open_beneath(root_fd, parent, O_RDONLY | O_DIRECTORY, 0, e);
    }
    if (item->dir_fd < 0)
        return -1;
    set_name(&item->to, path_name(path));
    set_name(&item->from, path_name(path));
    item->from_fd = item->to_fd = item->dir_fd;
    if (fstatat(item->dir_fd, intake_name_text(&item->to), &st, AT_SYMLINK_NOFOLLOW) == 0)
        here = (struct intake_found){ true, true, may_be_same(item, &st) };
    else if (errno != ENOENT)
        return err_sys(e, ERR_IO, "look at a file");
    if (here.found && item->give.mode == WIRE_GIVE_REPLACE && !S_ISREG(st.st_mode))
        return err_set(e, ERR_REFUSED, "what has the name there is no file");
    bool list = places->node->stores[item->give.store].rules.kind == STORE_MAILDIR &&
                intake_has_bytes(&item->give) && listback_kind_of(path_name(path)) != LISTBACK_NONE;
    item->act = list ? INTAKE_LIST
                     : intake_decide((enum wire_give_mode)item->give.mode, &here, &none);
    buf_add(&item->where, path.ptr, path.len);
    return 0;
}

static int
decide_dir(struct intake_places *places, struct intake_item *item, struct err *e)
{
    const struct node_store *store = &places->node->stores[item->give.store];
    struct span path = item->give.path, home = item->mailbox.home;
    _cleanup_close_ int there = file_open_beneath(store->root_fd, path, O_PATH | O_DIRECTORY, 0,
                                                  NULL);
    item->act = INTAKE_EXISTS;
    buf_add(&item->where, path.ptr, path.len);
    if (there >= 0)
        return 0;
    if (intake_make_dir(store->root_fd, path, home, &item->give.attr, &item->dir_fd, e) < 0)
        return -1;
    bool folder = store->rules.kind == STORE_MAILDIR && path_name(path).ptr[0] == '.';
    if (folder && intake_make_folder(item->dir_fd, path, home, e) < 0)
        return -1;
    intake_item_settle(item, WIRE_GIVEN_CREATED, "");
    return 0;
}

static bool
is_made(const struct intake_item *item)
{
    return item->act == INTAKE_MAKE || item->act == INTAKE_MAKE_OTHER ||
           item->act == INTAKE_REPLACE;
}

void
intake_item_decide(struct intake_places *places, struct intake_item *item)
{
    struct err e = { 0 };
    bool clear = item->give.kind == WIRE_GIVE_DIR && item->give.mode == WIRE_GIVE_REMOVE;
    if (clear || item->give.mode == WIRE_GIVE_MOVE) {
        item->act = clear ? INTAKE_CLEAR : INTAKE_MOVE;
        return;
    }
    int rc = item->give.kind == WIRE_GIVE_MESSAGE ? decide_message(places, item, &e)
             : item->give.kind == WIRE_GIVE_FILE  ? decide_file(places, item, &e)
                                                  : decide_dir(places, item, &e);
    if (rc >= 0 && !item->settled && is_made(item))
        rc = intake_set_attrs(item->fd, &item->give, &e);
    if (rc >= 0)
        return;
    if (!intake_has_bytes(&item->give) && e.sys == ENOENT) { /* its directory is not there */
        bool gone = item->give.mode == WIRE_GIVE_REMOVE;
        item->act = gone ? INTAKE_EXISTS : INTAKE_ABSENT;
        return;
    }
    intake_item_failed(item, &e);
}
