#include "replicator/salvage_set.h"

#include "lib/base/crc.h"
#include "lib/base/path.h"
#include "lib/store/mailbox.h"
#include "lib/store/maildir.h"
#include "lib/store/parked.h"

#include <stdlib.h>
#include <sys/stat.h>

#define BUCKETS 65536

/* Something that the records touched. In the table while it lives, by store and path; in the list
 * for good. */
struct entry {
    uint16_t store;
    bool made, gone;
    struct buf path, from; /* from: its name before all records; "" when it was made in them */
    struct attr attr;
    int64_t time_ns;
    struct entry *source; /* what it is a further name of; NULL an object of its own */
    bool linked;          /* something is a further name of it */
    struct entry *next;   /* of its bucket */
    struct entry *later;  /* of the list */
};

struct salvage_set {
    struct entry *table[BUCKETS];
    struct entry *first, **end;
};

struct salvage_set *
salvage_set_new(void)
{
    struct salvage_set *set = xcalloc(1, sizeof(*set));
    set->end = &set->first;
    return set;
}

void
salvage_set_free(struct salvage_set **set)
{
    if (*set == NULL)
        return;
    for (struct entry *next, *x = (*set)->first; x != NULL; x = next) {
        next = x->later;
        buf_free(&x->path);
        buf_free(&x->from);
        free(x);
    }
    free(*set);
    *set = NULL;
}

static struct entry **
bucket(struct salvage_set *set, uint16_t store, struct span path)
{
    return &set->table[(crc32c(path) ^ store * 2654435761u) % BUCKETS];
}

static struct entry *
find(struct salvage_set *set, uint16_t store, struct span path)
{
    struct entry *x = *bucket(set, store, path);
    while (x != NULL && (x->store != store || !span_equal(buf_span(&x->path), path)))
        x = x->next;
    return x;
}

static void
link_in(struct salvage_set *set, struct entry *x)
{
    struct entry **at = bucket(set, x->store, buf_span(&x->path));
    x->next = *at;
    *at = x;
}

static void
take_out(struct salvage_set *set, struct entry *x)
{
    struct entry **at = bucket(set, x->store, buf_span(&x->path));
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
}

static void
set_path(struct buf *path, struct span s)
{
    buf_reset(path);
    buf_add(path, s.ptr, s.len);
}

static struct entry *
add(struct salvage_set *set, uint16_t store, struct span path)
{
    struct entry *x = xcalloc(1, sizeof(*x));
    x->store = store;
    set_path(&x->path, path);
    link_in(set, x);
    *set->end = x;
    set->end = &x->later;
    return x;
}

/* A further name, and then the first one goes: it was moved. Of what the records made itself the
 * further name is the one that is left. */
static void
hand_on(struct salvage_set *set, struct entry *x)
{
    for (struct entry *y = set->first; x->linked && y != NULL; y = y->later) {
        if (y->source != x || y->gone)
            continue;
        y->source = NULL;
        if (x->from.len == 0)
            continue;
        set_path(&y->from, buf_span(&x->from));
        y->made = false;
        buf_reset(&x->from);
    }
}

/* What the records made is as if it had never been; what was there before is gone. */
static void
remove_entry(struct salvage_set *set, struct entry *x)
{
    hand_on(set, x);
    take_out(set, x);
    x->gone = true;
    buf_reset(&x->path);
}

static void
remove_below(struct salvage_set *set, uint16_t store, struct span dir)
{
    for (struct entry *x = set->first; x != NULL; x = x->later) {
        if (!x->gone && x->store == store && path_is_below(buf_span(&x->path), dir))
            remove_entry(set, x);
    }
}

/* What goes below a folder that is being deleted, by the name that its user knew. */
static void
set_known(struct salvage_set *set, uint16_t store, struct span path, struct buf *ret_from)
{
    set_path(ret_from, path);
    for (struct span dir = path; dir.len > 0; dir = path_parent(dir)) {
        const struct entry *x = maildir_is_trash(path_name(dir)) ? find(set, store, dir) : NULL;
        if (x != NULL && x->from.len > 0 && path_move(ret_from, dir, buf_span(&x->from)))
            return;
    }
}

static void
removed(struct salvage_set *set, const struct record *r)
{
    struct entry *x = find(set, r->store, r->path);
    if (x == NULL) {
        x = add(set, r->store, r->path);
        set_known(set, r->store, r->path, &x->from);
    }
    if (x->attr.mode == 0)
        x->attr = r->attr;
    x->time_ns = (int64_t)r->time_ns;
    remove_entry(set, x);
    if (r->op == OP_RMTREE)
        remove_below(set, r->store, r->path);
}

static void
move(struct salvage_set *set, struct entry *x, struct span from, struct span to)
{
    take_out(set, x);
    if (!path_move(&x->path, from, to))
        set_path(&x->path, to);
    link_in(set, x);
}

static void
renamed(struct salvage_set *set, const struct record *r)
{
    struct entry *over = find(set, r->store, r->path);
    if (over != NULL)
        remove_entry(set, over);
    struct entry *x = find(set, r->store, r->other);
    if (x == NULL) {
        x = add(set, r->store, r->other);
        set_path(&x->from, r->other);
    }
    x->attr = r->attr;
    x->time_ns = (int64_t)r->time_ns;
    move(set, x, r->other, r->path);
    if (!S_ISDIR(r->attr.mode))
        return;
    for (struct entry *y = set->first; y != NULL; y = y->later) {
        if (!y->gone && y->store == r->store && path_is_below(buf_span(&y->path), r->other))
            move(set, y, r->other, r->path);
    }
}

static struct entry *
source_of(struct salvage_set *set, const struct record *r)
{
    struct entry *x = find(set, r->store, r->other);
    if (x == NULL) {
        x = add(set, r->store, r->other);
        set_path(&x->from, r->other);
    }
    x->linked = true;
    return x;
}

static void
made(struct salvage_set *set, const struct record *r)
{
    struct entry *source = r->op == OP_LINK ? source_of(set, r) : NULL;
    struct entry *x = find(set, r->store, r->path);
    if (x == NULL)
        x = add(set, r->store, r->path);
    x->made = true;
    x->source = source;
    x->attr = r->attr;
    x->time_ns = (int64_t)r->time_ns;
}

void
salvage_set_add(struct salvage_set *set, const struct record *r)
{
    switch (r->op) {
    case OP_EPOCH:
    case OP_META: /* owner and mode alone: of no content, and shown by verify */
        return;
    case OP_RENAME:
        renamed(set, r);
        return;
    case OP_UNLINK:
    case OP_RMTREE:
        removed(set, r);
        return;
    case OP_MKDIR:
    case OP_PUT:
    case OP_LINK:
    case OP_SYMLINK:
    case OP_MKNOD:
        made(set, r);
        return;
    }
}

static void
tell(const struct entry *x, void (*each)(void *arg, const struct salvage_change *change), void *arg)
{
    struct salvage_change change = { x->store, buf_span(&x->path), buf_span(&x->from),
                                     x->attr,  x->time_ns,         x->source != NULL };
    if (x->made && !x->gone) /* its content is new, whatever it was called */
        change.from = (struct span){ 0 };
    else if (change.from.len > 0 && maildir_is_trash(path_name(change.path)))
        change.path = (struct span){ 0 }; /* its deletion had not come to its end */
    each(arg, &change);
}

static bool
is_something(struct salvage_set *set, const struct entry *x, bool gone)
{
    if (x->gone != gone)
        return false;
    if (!gone)
        return x->made || !span_equal(buf_span(&x->path), buf_span(&x->from));
    /* made again under its name: that one tells of it */
    return x->from.len > 0 && find(set, x->store, buf_span(&x->from)) == NULL;
}

void
salvage_set_each(struct salvage_set *set,
                 void (*each)(void *arg, const struct salvage_change *change), void *arg)
{
    for (int gone = 0; gone <= 1; gone++) {
        for (const struct entry *x = set->first; x != NULL; x = x->later) {
            if (is_something(set, x, gone != 0))
                tell(x, each, arg);
        }
    }
}

/* --- what it is --- */

static bool
is_private(const struct store_rules *rules, struct span path)
{
    return parked_is_path(path) ||
           store_class_of(rules, path_parent(path), path_name(path), false) != CLASS_NORMAL;
}

/* What the mail server keeps beside the messages and makes by itself. */
static bool
is_servers(const struct store_rules *rules, const struct mailbox *m, struct span name)
{
    static const char *const words[] = { "maildirfolder", "maildirsize", "dovecot-uidvalidity" };
    if (rules->kind != STORE_MAILDIR)
        return false;
    if (m->kind == MAILBOX_DELIVERY)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t len = strlen(words[i]);
        if (name.len >= len && memcmp(name.ptr, words[i], len) == 0)
            return true;
    }
    return false;
}

static enum salvage_kind
message_kind(const char *users, const struct salvage_change *change, const struct mailbox *m)
{
    struct mailbox before;
    if (change->path.len == 0)
        return SALVAGE_EXPUNGE;
    if (change->from.len == 0)
        return change->copy ? SALVAGE_COPY : SALVAGE_MESSAGE;
    mailbox_of(users, change->from, &before);
    bool same = span_equal(before.dir, m->dir) && span_equal(before.base, m->base);
    if (same && span_equal(before.flags, m->flags)) /* from new to cur: it was seen to be there */
        return (enum salvage_kind)0;
    return same ? SALVAGE_FLAGS : SALVAGE_RENAME;
}

static enum salvage_kind
other_kind(const struct store_rules *rules, const struct salvage_change *change)
{
    uint32_t mode = change->attr.mode;
    struct span name = path_name(change->path.len > 0 ? change->path : change->from);
    if (rules->kind == STORE_MAILDIR && S_ISDIR(mode) && maildir_is_part(name))
        return (enum salvage_kind)0; /* comes with its folder */
    if (change->path.len == 0)
        return SALVAGE_REMOVAL;
    if (change->from.len > 0)
        return SALVAGE_RENAME;
    return S_ISDIR(mode) ? SALVAGE_FOLDER : S_ISREG(mode) ? SALVAGE_FILE : SALVAGE_OTHER;
}

enum salvage_kind
salvage_kind_of(const struct store_rules *rules, const char *users,
                const struct salvage_change *change)
{
    struct mailbox m;
    struct span path = change->path.len > 0 ? change->path : change->from;
    mailbox_of(users, path, &m);
    if (is_private(rules, path) || is_servers(rules, &m, path_name(path)))
        return (enum salvage_kind)0;
    if (rules->kind == STORE_MAILDIR && m.kind == MAILBOX_MESSAGE && !S_ISDIR(change->attr.mode))
        return message_kind(users, change, &m);
    return other_kind(rules, change);
}
