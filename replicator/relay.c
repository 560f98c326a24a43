#include "replicator/relay.h"

#include "lib/base/path.h"
#include "replicator/fixups.h"
#include "replicator/look.h"
#include "replicator/renames.h"

#include <sys/stat.h>

void
relay_init(struct relay *relay, struct ship *ship)
{
    *relay = (struct relay){ .ship = ship, .places = places_new(ship->node) };
}

void
relay_free(struct relay *relay)
{
    places_free(&relay->places);
    buf_free(&relay->needs);
    buf_free(&relay->dirs);
}

int
relay_add(struct relay *relay, const struct wire_need *need, struct err *e)
{
    if (relay->needs.len >= RELAY_BYTES_MAX)
        return err_set(e, ERR_PROTOCOL, "the peer asks for more names at once than are answered");
    buf_add_le16(&relay->needs, need->store);
    buf_add_le64(&relay->needs, need->seq);
    buf_add_u8(&relay->needs, need->is_dir);
    buf_add_span16(&relay->needs, need->path);
    return 0;
}

bool
relay_pending(const struct relay *relay)
{
    return relay->needs.len > 0 || relay->dirs.len > 0;
}

/* The index has no such name. What the tree has all the same, a record on its way brings. */
static int
remove_there(struct fixups *f, struct span name, bool is_dir, struct err *e)
{
    char text[PATH_NAME_MAX + 1];
    struct look look;
    if (look_at(f->place->fd, path_name_text(name, text), &look, e) < 0)
        return -1;
    if (!look.exists)
        fixups_remove(f, name, is_dir);
    return 0;
}

static int
answer_name(struct relay *relay, struct fixups *f, uint64_t dir, struct span name, bool is_dir,
            struct err *e)
{
    struct state_entry entry;
    int found = places_get(relay->places, f->txn, dir, &f->place, e);
    if (found <= 0)
        return found;
    found = state_entry_get(f->txn, dir, name, &entry, e);
    if (found <= 0)
        return found < 0 ? -1 : remove_there(f, name, is_dir, e);
    if (is_dir && entry.dir == 0)
        fixups_remove(f, name, true);
    if (entry.dir != 0)
        buf_add_le64(&relay->dirs, entry.dir);
    return fixups_make(f, name, &entry, e);
}

static int
answer_need(struct relay *relay, struct fixups *f, struct err *e)
{
    struct reader r = reader_of(buf_span(&relay->needs));
    uint16_t store = reader_le16(&r);
    uint64_t seq = reader_le64(&r);
    bool is_dir = reader_u8(&r) != 0;
    struct span then = reader_span16(&r);
    _cleanup_buf_ struct buf path = { 0 };
    buf_add(&path, then.ptr, then.len);
    buf_consume(&relay->needs, relay->needs.len - r.rest.len);
    uint64_t dir;
    struct span name;
    if (renames_since(f->txn, store, seq, &path, e) < 0)
        return -1;
    int found = state_resolve(f->txn, store, buf_span(&path), &dir, &name, e);
    if (found <= 0 || name.len == 0)
        return found; /* its directory is gone: so says a record on its way */
    return answer_name(relay, f, dir, name, is_dir, e);
}

static int
answer_dir(struct relay *relay, struct fixups *f, struct err *e)
{
    uint64_t dir = get_le64(relay->dirs.ptr);
    uint8_t after[PATH_NAME_MAX];
    size_t after_len = 0;
    buf_consume(&relay->dirs, 8);
    int found = places_get(relay->places, f->txn, dir, &f->place, e);
    while (found > 0) {
        struct span name;
        struct state_entry entry;
        found = state_entry_next(f->txn, dir, span_of(after, after_len), &name, &entry, e);
        if (found <= 0)
            break;
        memcpy(after, name.ptr, name.len);
        after_len = name.len;
        if (entry.dir != 0)
            buf_add_le64(&relay->dirs, entry.dir);
        if (fixups_make(f, span_of(after, after_len), &entry, e) < 0)
            return -1;
    }
    return found;
}

static int
collect(struct relay *relay, struct reclist *out, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(relay->ship->node->state, false, &txn, e) < 0)
        return -1;
    if (state_meta(txn)->tail != relay->ship->cursor)
        return 0; /* records came in: they are shipped first */
    places_forget(relay->places);
    struct fixups f = { .txn = txn, .out = out };
    int rc = relay->dirs.len > 0 ? answer_dir(relay, &f, e) : answer_need(relay, &f, e);
    fixups_free(&f);
    return rc;
}

int
relay_step(struct relay *relay, struct err *e)
{
    _cleanup_reclist_ struct reclist list = { 0 };
    if (collect(relay, &list, e) < 0)
        return -1;
    if (reclist_count(&list) == 0)
        return 0;
    if (ship_fixups(relay->ship, &list, e) < 0)
        return -1;
    return ship_commit(relay->ship, 0, relay->ship->cursor, e);
}
