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
unreadable_count(const struct capture *c)
{
    const struct unreadable *u = &c->unreadable;
    return MAX(hints_count(&u->told), hints_count(&u->tried)) + hints_count(&c->compare.deferred) +
           c->compare.left_aside;
}

static void
note(struct capture *c, uint64_t dir, struct span name, unsigned what)
{
    struct unreadable *u = &c->unreadable;
    if (hints_count(&u->told) >= NAMES_MAX)
        name = span_str(""); /* the directory as a whole: those are fewer */
    if (hints_count(&u->told) < 2 * NAMES_MAX)
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
    if (hints_count(&c->compare.deferred) > 0 && c->unreadable.due_ms == 0)
        c->unreadable.due_ms = c->batch.now_ms + TRY_AGAIN_MS;
}

static void
look_again(struct capture *c, struct hints *names)
{
    for (size_t i = 0; i < hints_count(names); i++) {
        const struct hint *hint = hints_at(names, i);
        struct span name = span_str(hints_name(names, hint));
        if (name.len == 0)
            buf_add_le64(&c->compare.to_read, hint->dir);
        else
            hints_add(&c->batch.hints, hint->dir, name, hint->what);
    }
}

/* What was tried stays counted until it had its time to fail again. What may be where nobody could
 * look has its turn when nothing failed at the last try. */
void
capture_try_unreadable(struct capture *c)
{
    struct unreadable *u = &c->unreadable;
    struct compare *compare = &c->compare;
    if (u->due_ms == 0 || c->batch.now_ms < u->due_ms)
        return;
    if (hints_count(&compare->gaps) == 0) {
        look_again(c, &compare->deferred);
        hints_clear(&compare->deferred);
        compare->parked |= compare->left_aside;
    }
    hints_clear(&compare->gaps);
    struct hints due = u->told;
    u->told = u->tried;
    hints_clear(&u->told);
    u->tried = due;
    look_again(c, &u->tried);
    bool more = hints_count(&u->tried) + hints_count(&compare->deferred) > 0 || compare->left_aside;
    u->due_ms = more ? c->batch.now_ms + TRY_AGAIN_MS : 0;
}
