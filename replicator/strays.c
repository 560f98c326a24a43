#include "replicator/strays.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#define CHANGED (WATCH_MODIFIED | WATCH_CLOSED | WATCH_ATTRIB)

void
strays_note(struct hints *strays, const struct watch_event *event)
{
    unsigned what = event->what & CHANGED;
    if (event->dir.len == 0)
        what &= ~(unsigned)WATCH_ATTRIB; /* its link count: each unlink says so */
    if (what == 0 || (event->what & WATCH_IS_DIR) != 0 || event->object.len <= WATCH_FSID_SIZE)
        return;
    struct hint *hint = hints_add(strays, 0, event->object, what);
    hint->what &= ~(unsigned)HINT_SEEN;
}

unsigned
strays_what(const struct hints *strays, struct span object)
{
    return hints_count(strays) == 0 ? 0 : hints_what(strays, 0, object) & CHANGED;
}

void
strays_seen(struct hints *strays, struct span object, bool told)
{
    if (strays_what(strays, object) == 0)
        return;
    struct hint *hint = hints_add(strays, 0, object, HINT_SEEN);
    if (!told)
        hint->what &= ~(unsigned)HINT_SEEN;
}

/* Most strays are index files, locks and deliveries in tmp, of which the index has no name: those
 * need not be opened. */
static int
has_names(struct compare *c, uint16_t store, struct span handle, struct err *e)
{
    uint64_t ino = attrs_handle_ino(handle);
    uint64_t dir;
    struct span name;
    return ino == 0 ? 1 : state_name_of(c->txn, store, ino, 0, &dir, &name, e);
}

/* 1 looked, 0 it is gone. */
static int
look_by_handle(const struct node_store *s, struct span handle, struct look *ret_look, struct err *e)
{
    struct err why = { 0 };
    _cleanup_close_ int fd = attrs_handle_open(s->root_fd, handle, O_PATH, &why);
    if (fd < 0 && why.code == ERR_GONE)
        return 0;
    if (fd < 0) {
        *e = why;
        return err_wrap(e, "open what changed");
    }
    return look_at(fd, "", ret_look, e) < 0 ? -1 : ret_look->exists;
}

/* It cannot be opened, as it could not be looked at by its name: like that, it is tried again
 * later, and holds up nothing else. */
static int
cannot_look(struct compare *c, uint16_t store, struct span handle, unsigned what, struct err *e)
{
    uint64_t dir;
    struct span name;
    struct err why = *e;
    char text[PATH_NAME_MAX + 1];
    if (!compare_is_at_fault(&why))
        return -1;
    uint64_t ino = attrs_handle_ino(handle);
    int found = ino == 0 ? 0 : state_name_of(c->txn, store, ino, 0, &dir, &name, e);
    if (found > 0) {
        memcpy(text, name.ptr, name.len);
        text[name.len] = '\0';
        *e = why;
        return compare_unknown(c, dir, text, what, e);
    }
    if (found == 0) {
        event(EV_UNREADABLE, F_STR("store", c->node->stores[store].conf->name), F_ERR(&why));
        err_clear(e);
    }
    return found;
}

static int
settle_one(struct compare *c, struct span object, unsigned what, struct err *e)
{
    struct span handle = span_from(object, WATCH_FSID_SIZE, object.len - WATCH_FSID_SIZE);
    for (size_t i = 0; i < c->node->store_count; i++) {
        const struct node_store *s = &c->node->stores[i];
        struct look look;
        if (memcmp(s->fsid, object.ptr, WATCH_FSID_SIZE) != 0)
            continue;
        int found = has_names(c, (uint16_t)i, handle, e);
        if (found < 0)
            return -1;
        if (found > 0)
            found = look_by_handle(s, handle, &look, e);
        if (found < 0 && cannot_look(c, (uint16_t)i, handle, what, e) < 0)
            return -1;
        if (found > 0 && compare_look_again(c, (uint16_t)i, &look, what, e) < 0)
            return -1;
    }
    return 0;
}

int
strays_settle(struct hints *strays, struct compare *c, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < hints_count(strays); i++) {
        const struct hint *hint = hints_at(strays, i);
        struct span object = span_of(hints_name(strays, hint), hint->name_len);
        if ((hint->what & HINT_SEEN) == 0)
            rc = settle_one(c, object, hint->what, e);
    }
    return rc;
}

void
strays_again(struct hints *strays)
{
    for (size_t i = 0; i < hints_count(strays); i++)
        hints_at(strays, i)->what &= ~(unsigned)HINT_SEEN;
}
