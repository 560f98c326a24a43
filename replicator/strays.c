#include "replicator/strays.h"

#include "lib/base/path.h"
#include "lib/os/file.h"

#define CHANGED (WATCH_MODIFIED | WATCH_CLOSED | WATCH_ATTRIB)

int
strays_note(struct hints *strays, struct state_txn *txn, uint64_t dir,
            const struct watch_event *event, struct err *e)
{
    unsigned what = event->what & CHANGED;
    if (event->dir.len == 0)
        what &= ~(unsigned)WATCH_ATTRIB; /* its link count: each unlink says so */
    if (what == 0 || (event->what & WATCH_IS_DIR) != 0 || event->object.len <= WATCH_FSID_SIZE)
        return 0;
    struct state_entry entry;
    struct span handle = span_from(event->object, WATCH_FSID_SIZE,
                                   event->object.len - WATCH_FSID_SIZE);
    int found = dir == 0 ? 0 : state_entry_get(txn, dir, event->name, &entry, e);
    if (found < 0)
        return -1;
    if (found == 0 || !span_equal(entry.handle, handle))
        hints_add(strays, 0, event->object, what);
    return 0;
}

/* Was it looked at in this turn, or is it still what it was when it was? */
static bool
is_told(const struct hints *looked, uint64_t dir, struct span name, const struct known *known,
        const struct look *look)
{
    return hints_what(looked, dir, name) != 0 || known->entry.ctime_ns == look->ctime_ns;
}

/* The first of its names stands for all: the others follow it. */
static int
settle_in(struct compare *c, uint16_t store, const struct look *look, unsigned what,
          const struct hints *looked, struct err *e)
{
    struct known known;
    bool ask = false;
    uint64_t ask_dir = 0;
    uint8_t copy[PATH_NAME_MAX];
    struct span ask_name = { 0 };
    for (unsigned i = 0;; i++) {
        uint64_t dir;
        struct span name;
        int found = state_name_of(c->txn, store, look->ino, i, &dir, &name, e);
        if (found > 0)
            found = known_get(c->txn, dir, name, &known, e);
        if (found < 0)
            return -1;
        if (found == 0)
            break;
        if (!look_same_object(look, &known.entry))
            continue;
        if (is_told(looked, dir, name, &known, look))
            return 0;
        ask_name = ask ? ask_name : span_of(memcpy(copy, name.ptr, name.len), name.len);
        ask_dir = ask ? ask_dir : dir;
        ask = true;
    }
    if (!ask)
        return 0;
    hints_add(&c->again, ask_dir, ask_name, what | HINT_AGAIN);
    return compare_unread(c, ask_dir, e); /* the hint dies with the daemon */
}

static int
settle_one(struct compare *c, struct span object, unsigned what, const struct hints *looked,
           struct err *e)
{
    struct span handle = span_from(object, WATCH_FSID_SIZE, object.len - WATCH_FSID_SIZE);
    for (size_t i = 0; i < c->node->store_count; i++) {
        const struct node_store *s = &c->node->stores[i];
        struct look look;
        struct err why = { 0 };
        if (memcmp(s->fsid, object.ptr, WATCH_FSID_SIZE) != 0)
            continue;
        _cleanup_close_ int fd = attrs_handle_open(s->root_fd, handle, O_PATH, &why);
        if (fd < 0 && why.code == ERR_GONE)
            return 0;
        if (fd < 0) {
            *e = why;
            return err_wrap(e, "open what changed");
        }
        if (look_at(fd, "", &look, e) < 0)
            return -1;
        if (look.exists && settle_in(c, (uint16_t)i, &look, what, looked, e) < 0)
            return -1;
    }
    return 0;
}

int
strays_settle(struct hints *strays, struct compare *c, const struct hints *looked, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < hints_count(strays); i++) {
        const struct hint *hint = hints_at(strays, i);
        struct span object = span_of(hints_name(strays, hint), hint->name_len);
        rc = settle_one(c, object, hint->what, looked, e);
    }
    hints_clear(strays);
    return rc;
}
