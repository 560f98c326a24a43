/* capture_unreadable.c - names whose objects the disk did not give to a sender, and names that
 * could not even be looked at: they are tried again from time to time, until they are shipped or
 * gone. Kept in memory; what a restart forgets is missing on the standby, and a verify finds it. */
#include "replicator/capture_private.h"
#include "replicator/renames.h"

#define TRY_AGAIN_MS 60000
#define NAMES_MAX    10000

void
unreadable_init(struct unreadable *u)
{
    hints_init(&u->told);
    hints_init(&u->tried);
}

void
unreadable_free(struct unreadable *u)
{
    hints_free(&u->told);
    hints_free(&u->tried);
}

uint64_t
unreadable_count(const struct unreadable *u)
{
    return MAX(hints_count(&u->told), hints_count(&u->tried));
}

static void
note(struct capture *c, uint64_t dir, struct span name, unsigned what)
{
    struct unreadable *u = &c->unreadable;
    if (hints_count(&u->told) >= NAMES_MAX)
        return;
    hints_add(&u->told, dir, name, what);
    if (u->due_ms == 0)
        u->due_ms = c->batch.now_ms + TRY_AGAIN_MS;
}

int
capture_obey_unreadable(struct capture *c, struct request *r, struct err *e)
{
    uint64_t dir;
    struct span name;
    if (renames_since(c->compare.txn, r->store, r->seq, &r->bytes, e) < 0)
        return -1;
    int found = state_resolve(c->compare.txn, r->store, buf_span(&r->bytes), &dir, &name, e);
    if (found > 0 && name.len > 0)
        note(c, dir, name, CAPTURE_FORCED);
    return found < 0 ? -1 : 0;
}

void
capture_note_unknown(struct capture *c)
{
    struct hints *unknown = &c->compare.unknown;
    for (size_t i = 0; i < hints_count(unknown); i++) {
        const struct hint *hint = hints_at(unknown, i);
        note(c, hint->dir, span_str(hints_name(unknown, hint)), hint->what | HINT_AGAIN);
    }
    if (hints_count(unknown) > 0)
        hints_clear(unknown);
}

/* What was tried stays counted until it had its time to fail again. */
void
capture_try_unreadable(struct capture *c)
{
    struct unreadable *u = &c->unreadable;
    if (u->due_ms == 0 || c->batch.now_ms < u->due_ms)
        return;
    struct hints due = u->told;
    u->told = u->tried;
    hints_clear(&u->told);
    u->tried = due;
    for (size_t i = 0; i < hints_count(&due); i++) {
        const struct hint *hint = hints_at(&due, i);
        hints_add(&c->batch.hints, hint->dir, span_str(hints_name(&due, hint)), hint->what);
    }
    u->due_ms = hints_count(&due) > 0 ? c->batch.now_ms + TRY_AGAIN_MS : 0;
}
