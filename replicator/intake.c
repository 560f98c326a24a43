#include "replicator/intake.h"

#include "lib/base/crc.h"
#include "lib/os/attrs.h"
#include "lib/os/event.h"
#include "lib/os/fault.h"
#include "replicator/intake_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_MAX       256
#define BATCH_BYTES     (64 * 1024 * 1024)
#define OBJECT_SIZE_MAX (UINT64_C(1) << 40)
#define OPEN_TO_COMPARE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* One object. Directories that are named here are those of the batch's folders, or dir_fd. */
struct item {
    struct wire_give give;
    struct buf bytes; /* what its spans point into */
    struct mailbox mailbox;
    int fd; /* the staged content */
    uint32_t crc;
    uint64_t received;

    bool settled;
    enum wire_given_result result;
    char text[1024];
    struct buf where;

    enum intake_act act;
    int dir_fd;          /* owned; of a file or directory */
    int from_fd, to_fd;  /* borrowed */
    struct buf from, to; /* names in them, NUL behind each */
};

struct intake {
    struct node *node;
    struct link_io *io;
    bool primary;
    const atomic_bool *stop;
    struct intake_places places;
    struct item items[BATCH_MAX];
    size_t count;
    bool open; /* the newest one's content is being received */
    uint64_t bytes;
    struct wire_msg out;
};

struct intake *
intake_new(struct node *node, struct link_io *io, bool primary, const atomic_bool *stop)
{
    struct intake *x = xcalloc(1, sizeof(*x));
    x->node = node;
    x->io = io;
    x->primary = primary;
    x->stop = stop;
    x->places.node = node;
    return x;
}

static void
item_free(struct item *item)
{
    file_closep(&item->fd);
    file_closep(&item->dir_fd);
    buf_free(&item->bytes);
    buf_free(&item->where);
    buf_free(&item->from);
    buf_free(&item->to);
}

static void
batch_free(struct intake *x)
{
    for (size_t i = 0; i < x->count; i++)
        item_free(&x->items[i]);
    x->count = 0;
    x->open = false;
    x->bytes = 0;
    intake_places_free(&x->places);
}

void
intake_free(struct intake **intake)
{
    if (*intake == NULL)
        return;
    batch_free(*intake);
    free(*intake);
    *intake = NULL;
}

static void
settle(struct item *item, enum wire_given_result result, const char *text)
{
    item->settled = true;
    item->result = result;
    snprintf(item->text, sizeof(item->text), "%s", text);
}

static void
settle_failed(struct item *item, const struct err *why)
{
    settle(item, WIRE_GIVEN_FAILED, why->text);
}

/* --- taking --- */

static struct span
keep(struct buf *bytes, struct span s)
{
    size_t at = bytes->len;
    buf_add(bytes, s.ptr, s.len);
    return span_of(bytes->ptr + at, s.len);
}

static struct item *
item_new(struct intake *x, const struct wire_give *give)
{
    struct item *item = &x->items[x->count++];
    *item = (struct item){ .give = *give, .fd = -1, .dir_fd = -1, .from_fd = -1, .to_fd = -1 };
    size_t need = give->path.len + give->guid.len + 1;
    for (size_t i = 0; i < give->keyword_count; i++)
        need += give->keywords[i].name.len;
    for (size_t i = 0; i < give->xattr_count; i++)
        need += give->xattrs[i].name.len + give->xattrs[i].value.len;
    buf_reserve(&item->bytes, need); /* so that nothing moves below */
    item->give.path = keep(&item->bytes, give->path);
    item->give.guid = keep(&item->bytes, give->guid);
    for (size_t i = 0; i < give->keyword_count; i++)
        item->give.keywords[i].name = keep(&item->bytes, give->keywords[i].name);
    for (size_t i = 0; i < give->xattr_count; i++) {
        item->give.xattrs[i].name = keep(&item->bytes, give->xattrs[i].name);
        item->give.xattrs[i].value = keep(&item->bytes, give->xattrs[i].value);
    }
    return item;
}

static bool
has_bytes(const struct wire_give *give)
{
    return give->kind != WIRE_GIVE_DIR && give->mode != WIRE_GIVE_FLAGS &&
           give->mode != WIRE_GIVE_REMOVE;
}

static void
check_item(const struct intake *x, struct item *item)
{
    if (!x->primary) {
        settle(item, WIRE_GIVEN_FAILED, "this node is not the primary");
        return;
    }
    if (item->give.store >= x->node->store_count) {
        settle(item, WIRE_GIVEN_REFUSED, "there is no store of this number");
        return;
    }
    const struct node_store *store = &x->node->stores[item->give.store];
    const char *users = store->conf->users == NULL ? "" : store->conf->users;
    mailbox_of(users, item->give.path, &item->mailbox);
    const char *why = intake_forbids(&store->rules, &item->give, &item->mailbox);
    if (why == NULL && item->give.attr.size > OBJECT_SIZE_MAX)
        why = "it is larger than any object that is given";
    if (why != NULL)
        settle(item, WIRE_GIVEN_REFUSED, why);
}

static void
stage(const struct intake *x, struct item *item)
{
    struct err why = { 0 };
    item->fd = file_open_unnamed(x->node->stores[item->give.store].root_fd, 0600, &why);
    if (item->fd < 0)
        settle_failed(item, &why);
}

static int
take_give(struct intake *x, const struct wire_give *give, struct err *e)
{
    if (x->open)
        return err_set(e, ERR_PROTOCOL, "a GIVE within the content of another");
    if ((x->count == BATCH_MAX || x->bytes > BATCH_BYTES) && intake_settle(x, e) < 0)
        return -1;
    struct item *item = item_new(x, give);
    check_item(x, item);
    x->open = has_bytes(give);
    if (x->open && !item->settled)
        stage(x, item);
    return 0;
}

static int
take_data(struct intake *x, const struct wire_data *data, struct err *e)
{
    struct item *item = &x->items[x->count - 1];
    struct err why = { 0 };
    if (data->offset != item->received ||
        data->bytes.len > item->give.attr.size - MIN(item->received, item->give.attr.size))
        return err_set(e, ERR_PROTOCOL, "bytes beyond the size of what is given");
    item->crc = crc32c_more(item->crc, data->bytes);
    item->received += data->bytes.len;
    x->bytes += data->bytes.len;
    if (!item->settled && file_pwrite_full(item->fd, data->bytes, data->offset, &why) < 0)
        settle_failed(item, &why);
    return 0;
}

static int
take_end(struct intake *x, const struct wire_end *end, struct err *e)
{
    struct item *item = &x->items[x->count - 1];
    x->open = false;
    if (end->size != item->received || end->crc != item->crc)
        return err_set(e, ERR_PROTOCOL, "what was given is not what was announced");
    if (!item->settled && (!end->ok || item->received != item->give.attr.size))
        settle(item, WIRE_GIVEN_FAILED, "it could not be read where it is");
    return 0;
}

bool
intake_wants(const struct intake *x, enum wire_type type)
{
    return type == WIRE_GIVE || (x->open && (type == WIRE_DATA || type == WIRE_END));
}

int
intake_take(struct intake *x, const struct wire_msg *msg, struct err *e)
{
    if (msg->type == WIRE_GIVE)
        return take_give(x, &msg->give, e);
    return msg->type == WIRE_DATA ? take_data(x, &msg->data, e) : take_end(x, &msg->end, e);
}

/* --- deciding --- */

static void
set_name(struct buf *name, struct span s)
{
    buf_reset(name);
    buf_add(name, s.ptr, s.len);
    buf_add_u8(name, 0);
    name->len--;
}

static const char *
text_of(const struct buf *name)
{
    return (const char *)name->ptr;
}

static bool
may_be_same(const struct item *item, const struct stat *st)
{
    return S_ISREG(st->st_mode) &&
           (item->give.mode == WIRE_GIVE_FLAGS || (uint64_t)st->st_size == item->give.attr.size);
}

/* A message is known by its name and its bytes; where no bytes came with it, by its size. fd, of
 * what has the name here, is closed. 1, 0, -1. */
static int
is_same(const struct item *item, const struct stat *st, int fd, struct err *e)
{
    _cleanup_close_ int here = fd;
    if (!may_be_same(item, st) || !has_bytes(&item->give))
        return may_be_same(item, st);
    if (here < 0)
        return err_sys(e, ERR_IO, "open a message to compare it");
    return file_same_bytes(here, item->fd, e);
}

static void
set_where(struct item *item, const struct intake_folder *f, bool is_new, struct span name)
{
    _cleanup_buf_ struct buf dir = { 0 };
    path_join(&dir, buf_span(&f->path), span_str(is_new ? "new" : "cur"));
    buf_reset(&item->where);
    path_join(&item->where, buf_span(&dir), name);
}

/* What the folder's directories show. */
static int
find_here(struct intake_folder *f, struct item *item, struct intake_found *ret_found, struct err *e)
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
find_elsewhere(struct intake *x, struct item *item, struct intake_found *ret_found, struct err *e)
{
    const struct mailbox *m = &item->mailbox;
    uint16_t store = item->give.store;
    struct stat st;
    *ret_found = (struct intake_found){ 0 };
    if (m->home.len == 0 || intake_search_begin(&x->places, e) < 0)
        return m->home.len == 0 ? 0 : -1;
    int found = intake_search_home(&x->places, store, m->home, m->base, &item->where, e);
    if (found <= 0)
        return found;
    struct span path = buf_span(&item->where);
    int fd = file_open_beneath(x->node->stores[store].root_fd, path, OPEN_TO_COMPARE, 0, e);
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

static int
set_target(struct item *item, struct intake_folder *f, struct err *e)
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
        intake_flags(item->mailbox.flags, buf_span(&letters), &name);
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
look_for_other(const struct intake_folder *f, struct item *item)
{
    _cleanup_buf_ struct buf base = { 0 };
    intake_other_base(item->mailbox.base, item->crc, &base);
    if (intake_folder_find(f, buf_span(&base)) != NULL)
        item->act = INTAKE_EXISTS;
}

static int
prepare_message(struct intake *x, struct item *item, struct err *e)
{
    struct intake_folder *f;
    struct intake_found here, elsewhere = { 0 };
    enum wire_give_mode mode = (enum wire_give_mode)item->give.mode;
    bool make = has_bytes(&item->give);
    if (intake_folder_get(&x->places, &item->give, &item->mailbox, make, &f, e) < 0 ||
        find_here(f, item, &here, e) < 0)
        return -1;
    if (mode == WIRE_GIVE_DELIVER && !here.found && find_elsewhere(x, item, &elsewhere, e) < 0)
        return -1;
    item->act = intake_decide(mode, &here, &elsewhere);
    if (item->act == INTAKE_MAKE_OTHER)
        look_for_other(f, item);
    bool named = item->act == INTAKE_MAKE || item->act == INTAKE_MAKE_OTHER ||
                 item->act == INTAKE_REFLAG;
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
prepare_file(struct intake *x, struct item *item, struct err *e)
{
    struct stat st;
    struct intake_found here = { 0 }, none = { 0 };
    int root_fd = x->node->stores[item->give.store].root_fd;
    struct span path = item->give.path, parent = path_parent(path);
    if (has_bytes(&item->give)) {
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
    if (fstatat(item->dir_fd, text_of(&item->to), &st, AT_SYMLINK_NOFOLLOW) == 0)
        here = (struct intake_found){ true, true, may_be_same(item, &st) };
    else if (errno != ENOENT)
        return err_sys(e, ERR_IO, "look at a file");
    if (here.found && item->give.mode == WIRE_GIVE_REPLACE && !S_ISREG(st.st_mode))
        return err_set(e, ERR_REFUSED, "what has the name there is no file");
    item->act = intake_decide((enum wire_give_mode)item->give.mode, &here, &none);
    if (item->act == INTAKE_MAKE && item->mailbox.kind == MAILBOX_MESSAGE)
        item->act = INTAKE_ABSENT; /* it has other flags by now, or is gone: never a second one */
    buf_add(&item->where, path.ptr, path.len);
    return 0;
}

static int
prepare_dir(struct intake *x, struct item *item, struct err *e)
{
    const struct node_store *store = &x->node->stores[item->give.store];
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
    settle(item, WIRE_GIVEN_CREATED, "");
    return 0;
}

static bool
is_made(const struct item *item)
{
    return item->act == INTAKE_MAKE || item->act == INTAKE_MAKE_OTHER ||
           item->act == INTAKE_REPLACE;
}

static void
prepare(struct intake *x, struct item *item)
{
    struct err e = { 0 };
    int rc = item->give.kind == WIRE_GIVE_MESSAGE ? prepare_message(x, item, &e)
             : item->give.kind == WIRE_GIVE_FILE  ? prepare_file(x, item, &e)
                                                  : prepare_dir(x, item, &e);
    if (rc >= 0 && !item->settled && is_made(item))
        rc = intake_set_attrs(item->fd, &item->give, &e);
    if (rc >= 0)
        return;
    if (!has_bytes(&item->give) && e.sys == ENOENT) { /* its directory is not there */
        bool gone = item->give.mode == WIRE_GIVE_REMOVE;
        item->act = gone ? INTAKE_EXISTS : INTAKE_ABSENT;
        return;
    }
    bool never = e.code == ERR_REFUSED || e.code == ERR_PROTOCOL || e.sys == ELOOP ||
                 e.sys == ENOTDIR || e.sys == EXDEV;
    settle(item, never ? WIRE_GIVEN_REFUSED : WIRE_GIVEN_FAILED, e.text);
}

/* --- carrying out --- */

static int
do_act(struct intake *x, struct item *item, struct err *e)
{
    switch (item->act) {
    case INTAKE_MAKE:
    case INTAKE_MAKE_OTHER:
        return file_link_unnamed(item->fd, item->to_fd, text_of(&item->to), e);
    case INTAKE_REPLACE:
        return intake_replace(x->node->stores[item->give.store].root_fd, item->fd, item->to_fd,
                              text_of(&item->to), e);
    case INTAKE_REFLAG:
        if (item->from_fd == item->to_fd && strcmp(text_of(&item->from), text_of(&item->to)) == 0)
            return 0;
        return file_rename(item->from_fd, text_of(&item->from), item->to_fd, text_of(&item->to),
                           true, e);
    case INTAKE_REMOVE:
        if ((fault("unlink") < 0 || unlinkat(item->from_fd, text_of(&item->from), 0) < 0))
            return err_sys(e, ERR_IO, "remove it");
        return 0;
    case INTAKE_EXISTS:
    case INTAKE_AGAIN:
    case INTAKE_ABSENT:
        break;
    }
    return 0;
}

/* What an operator elsewhere ordered is on record here, too. */
static void
tell_taken(const struct intake *x, struct item *item)
{
    item->result = WIRE_GIVEN_CREATED;
    if (item->act == INTAKE_REPLACE || item->act == INTAKE_REFLAG || item->act == INTAKE_REMOVE)
        event(EV_TAKEN, F_STR("store", x->node->stores[item->give.store].conf->name),
              F_SPAN("path", item->give.path),
              F_STR("what", item->act == INTAKE_REPLACE  ? "replaced"
                            : item->act == INTAKE_REFLAG ? "flags"
                                                         : "removed"));
}

static void
carry_out(struct intake *x, struct item *item)
{
    struct err e = { 0 };
    if (item->act == INTAKE_EXISTS)
        settle(item, WIRE_GIVEN_EXISTS, "");
    else if (item->act == INTAKE_AGAIN)
        settle(item, WIRE_GIVEN_FAILED, "it is being renamed at this moment");
    else if (item->act == INTAKE_ABSENT)
        settle(item, WIRE_GIVEN_REFUSED, "what it speaks of is not there, or is another one");
    else if (do_act(x, item, &e) < 0)
        settle_failed(item, &e);
    else
        tell_taken(x, item);
}

static bool
changes(const struct item *item)
{
    return !item->settled ||
           (item->give.kind == WIRE_GIVE_DIR && item->result == WIRE_GIVEN_CREATED);
}

/* Of each store that the batch touches. */
static void
sync_stores(struct intake *x)
{
    bool touched[RECORD_STORE_MAX] = { false };
    for (size_t i = 0; i < x->count; i++) {
        if (changes(&x->items[i]))
            touched[x->items[i].give.store] = true;
    }
    for (size_t s = 0; s < x->node->store_count; s++) {
        struct err e = { 0 };
        if (!touched[s] || file_sync_fs(x->node->stores[s].root_fd, &e) >= 0)
            continue;
        for (size_t i = 0; i < x->count; i++) {
            if (x->items[i].give.store == s && changes(&x->items[i]))
                settle_failed(&x->items[i], &e);
        }
    }
}

static int
answer(struct intake *x, struct item *item, struct err *e)
{
    x->out.type = WIRE_GIVEN;
    x->out.given = (struct wire_given){ .id = item->give.id,
                                        .result = (uint8_t)item->result,
                                        .path = buf_span(&item->where),
                                        .text = span_str(item->text) };
    if (item->result == WIRE_GIVEN_FAILED || item->result == WIRE_GIVEN_REFUSED)
        x->out.given.path = (struct span){ 0 };
    return link_io_send(x->io, &x->out, e);
}

int
intake_settle(struct intake *x, struct err *e)
{
    if (x->count == 0 || x->open)
        return 0;
    for (size_t i = 0; i < x->count; i++) {
        if (atomic_load(x->stop))
            settle(&x->items[i], WIRE_GIVEN_FAILED, "the role of the node there ends");
        else if (!x->items[i].settled)
            prepare(x, &x->items[i]);
    }
    sync_stores(x); /* the bytes, before anybody sees their names */
    for (size_t i = 0; i < x->count; i++) {
        if (!x->items[i].settled)
            carry_out(x, &x->items[i]);
    }
    sync_stores(x); /* the names */
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < x->count; i++)
        rc = answer(x, &x->items[i], e);
    batch_free(x);
    return rc < 0 ? -1 : link_io_flush(x->io, e);
}
