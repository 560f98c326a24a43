#include "replicator/batch.h"

#include "lib/os/event.h"
#include "replicator/scan.h"
#include "replicator/strays.h"

#include <errno.h>

#define HINTS_MAX   20000        /* of one turn: bounds transaction and memory */
#define TOUCHED_MAX 200000       /* beyond it directories just stay marked for the next sweep */
#define OPEN_MS     50           /* a file still open for writing is looked at after this */
#define OPEN_PER_MS (100 * 1024) /* and later the larger it is: it is read as a whole each time */
#define OPEN_MAX_MS (10 * 60 * 1000)

struct late {
    size_t hint;
    unsigned what; /* told before the look */
    struct look look;
};

void
batch_init(struct batch *b, struct compare *compare, struct watch *watch)
{
    *b = (struct batch){ .compare = compare, .watch = watch };
    hints_init(&b->hints);
    hints_init(&b->done);
    hints_init(&b->later);
    hints_init(&b->touched);
    hints_init(&b->strays);
    compare_heeds(compare, &b->hints);
    compare_heeds(compare, &b->later);
    compare->strays = &b->strays;
}

void
batch_free(struct batch *b)
{
    hints_free(&b->hints);
    hints_free(&b->done);
    hints_free(&b->later);
    hints_free(&b->touched);
    hints_free(&b->strays);
    buf_free(&b->late);
    buf_free(&b->times);
}

/* --- reading the queue --- */

struct reading {
    struct batch *batch;
    struct err *e;
    bool failed;
};

/* "." is the directory itself: a look at its name in its parent. */
static int
hint_self(struct batch *b, uint64_t dir, unsigned what, struct err *e)
{
    struct state_dir row;
    int found = state_dir_get(b->compare->txn, dir, &row, e);
    if (found <= 0)
        return found;
    if (row.parent == 0 && compare_root_attr(b->compare, dir, what, e) < 0)
        return compare_unknown(b->compare, dir, "", 0, e);
    if (row.parent == 0)
        return 0;
    hints_add(&b->hints, row.parent, row.name, what);
    return 0;
}

static int
take(struct batch *b, const struct watch_event *event, struct err *e)
{
    struct state_txn *txn = b->compare->txn;
    uint64_t dir = 0;
    int found = event->dir.len == 0 ? 0 : state_dir_find(txn, event->dir, &dir, e);
    if (found < 0)
        return -1;
    if (found > 0 && span_equal(event->name, span_str(".")))
        return hint_self(b, dir, event->what, e);
    if (found > 0 && path_name_valid(event->name))
        hints_add(&b->hints, dir, event->name, event->what);
    strays_note(&b->strays, event);
    return 0;
}

static void
take_event(void *arg, const struct watch_event *event)
{
    struct reading *r = arg;
    r->failed = r->failed || take(r->batch, event, r->e) < 0;
}

int
batch_read(struct batch *b, struct err *e)
{
    struct reading reading = { .batch = b, .e = e };
    b->drained = false;
    /* what waits counts, too: while nothing can be committed the kernel's queue is the bound */
    while (hints_count(&b->hints) + hints_count(&b->later) < HINTS_MAX &&
           hints_count(&b->strays) < HINTS_MAX) {
        bool overflow;
        int count = watch_read(b->watch, take_event, &reading, &overflow, e);
        if (count < 0 || reading.failed)
            return -1;
        b->overflow |= overflow;
        b->compare->blind |= overflow;
        if (count == 0) {
            b->drained = true;
            return 0;
        }
    }
    return 0;
}

/* --- putting off --- */

void
batch_take_due(struct batch *b, bool flush)
{
    struct hints keep;
    if (hints_count(&b->later) == 0)
        return;
    hints_init(&keep);
    for (size_t i = 0; i < hints_count(&b->later); i++) {
        struct hint *hint = hints_at(&b->later, i);
        bool due = flush || hint->due_ms <= b->now_ms;
        struct span name = span_str(hints_name(&b->later, hint));
        struct hint *to = hints_add(due ? &b->hints : &keep, hint->dir, name, hint->what);
        to->due_ms = hint->due_ms;
    }
    hints_free(&b->later);
    b->later = keep;
}

int
batch_due_in(const struct batch *b, uint64_t now_ms)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 1; i < b->later.count; i++)
        first = MIN(first, b->later.list[i].due_ms);
    if (first == UINT64_MAX)
        return -1;
    return first <= now_ms ? 0 : (int)MIN(first - now_ms, (uint64_t)60000);
}

/* Only written to so far: closing it will tell again, and soon. */
static bool
still_open(const struct hint *hint, const struct look *look)
{
    unsigned settled = WATCH_CLOSED | WATCH_ARRIVED | WATCH_ATTRIB | HINT_FORCE | HINT_AGAIN;
    return S_ISREG(look->attr.mode) && look->nlink == 1 && !(hint->what & settled) &&
           (hint->what & (WATCH_MADE | WATCH_MODIFIED)) != 0;
}

/* Not when the index has the object under another name: it is a link or a rename, and what is
 * written to it will be told. */
static int
may_wait(const struct batch *b, const struct place *place, const char *name,
         const struct look *look, struct err *e)
{
    struct state_txn *txn = b->compare->txn;
    for (unsigned i = 0;; i++) {
        uint64_t dir;
        struct span at;
        struct known known;
        int found = state_name_of(txn, place->store, look->ino, i, &dir, &at, e);
        if (found <= 0)
            return found < 0 ? -1 : 1;
        if (dir == place->dir && span_equal(at, span_str(name)))
            continue;
        if (known_get(txn, dir, at, &known, e) < 0)
            return -1;
        if (look_same_object(look, &known.entry))
            return 0;
    }
}

static void
put_off(struct batch *b, const struct hint *hint, const char *name, uint64_t ms)
{
    unsigned what = (hint->what & ~(unsigned)(HINT_LATE | HINT_MISSED)) | HINT_AGAIN;
    struct hint *to = hints_add(&b->later, hint->dir, span_str(name), what);
    to->due_ms = b->now_ms + ms;
}

/* --- looking --- */

static int
touch(struct batch *b, uint64_t dir, struct err *e)
{
    if (hints_count(&b->touched) >= TOUCHED_MAX)
        return 0;
    size_t before = hints_count(&b->touched);
    hints_add(&b->touched, dir, span_str(""), 1);
    return hints_count(&b->touched) == before ? 0 : compare_unread(b->compare, dir, e);
}

/* A name that cannot be looked at, or compared, must not stop all others. */
static int
tolerate(struct batch *b, int rc, const struct hint *hint, struct err *e)
{
    return rc >= 0
               ? rc
               : compare_unknown(b->compare, hint->dir, hints_name(&b->hints, hint), hint->what, e);
}

/* 1 looked, 0 the system could not say, -1. */
static int
look_hint(struct batch *b, const struct hint *hint, const struct place *place,
          struct look *ret_look, struct err *e)
{
    if (compare_look(b->compare, place, hints_name(&b->hints, hint), ret_look, e) == 0)
        return 1;
    return tolerate(b, -1, hint, e);
}

/* The directory is gone. The object may have left it before, and then what was told of it here must
 * be known when its new name comes out of the queue. */
static int
unplaced(struct batch *b, const struct hint *hint, const char *name, struct err *e)
{
    int told = compare_unreachable(b->compare, hint->dir, name, hint->what, e);
    if (told > 0 && !((hint->what & HINT_AGAIN) != 0 && b->drained))
        put_off(b, hint, name, 0);
    return told < 0 ? -1 : 0;
}

/* 1 with an open place for a hint that counts, 0 for one that does not, -1. */
static int
hint_place(struct batch *b, const struct hint *hint, struct place **ret_place,
           enum store_class *ret_class, struct err *e)
{
    struct compare *c = b->compare;
    const char *name = hints_name(&b->hints, hint);
    *ret_class = CLASS_IGNORE;
    int found = places_get(c->places, c->txn, hint->dir, ret_place, e);
    if (found < 0)
        return tolerate(b, -1, hint, e);
    if (found == 0)
        return unplaced(b, hint, name, e);
    *ret_class = compare_class(c, *ret_place, span_str(name));
    return *ret_class != CLASS_IGNORE;
}

static bool is_late(enum store_class class)
{
    return class == CLASS_KEYWORDS || class == CLASS_UIDLIST;
}

/* What is noted of the object from here on is not told by this look any more. counts: the look is
 * compared; one that is not tells nothing. Returns what was noted until now. */
static unsigned
seen(struct batch *b, const struct place *place, const struct look *look, bool counts)
{
    uint8_t bytes[WATCH_HANDLE_MAX];
    if (!look->exists)
        return 0;
    struct span handle = compare_event_handle(b->compare, place->store, look, bytes);
    strays_seen(&b->strays, handle, counts);
    return strays_what(&b->strays, handle);
}

static int
collect_late(struct batch *b, enum store_class wanted, struct err *e)
{
    for (size_t i = 0; i < hints_count(&b->hints); i++) {
        struct hint *hint = hints_at(&b->hints, i);
        struct place *place;
        enum store_class class;
        int found = hint_place(b, hint, &place, &class, e);
        if (found < 0)
            return -1;
        if (found == 0 || class != wanted)
            continue;
        struct late late = { .hint = i, .what = hint->what };
        found = look_hint(b, hint, place, &late.look, e);
        if (found < 0)
            return -1;
        if (found == 0)
            continue;
        if (late.look.exists && S_ISDIR(late.look.attr.mode))
            continue; /* what is told of it behind a look would be lost while it is new */
        seen(b, place, &late.look, true);
        buf_add(&b->late, &late, sizeof(late));
        hint->what = HINT_LATE; /* and from here on: told behind the look */
    }
    return 0;
}

/* Control files that the second reading told of once more are not what was looked at any longer:
 * they have their turn next time, too. */
static void
postpone_changed(struct batch *b)
{
    for (size_t at = 0; at < b->late.len; at += sizeof(struct late)) {
        struct late late;
        memcpy(&late, b->late.ptr + at, sizeof(late));
        struct hint *hint = hints_at(&b->hints, late.hint);
        struct span name = span_str(hints_name(&b->hints, hint));
        unsigned told = hint->what & ~(unsigned)HINT_LATE;
        if (told != 0)
            hints_add(&b->later, hint->dir, name, told)->due_ms = b->now_ms;
        hint->what |= late.what;
    }
}

static int
look_normal(struct batch *b, struct hint *hint, bool flush, struct err *e)
{
    struct place *place;
    enum store_class class;
    const char *name = hints_name(&b->hints, hint);
    int found = (hint->what & HINT_LATE) != 0 ? 0 : hint_place(b, hint, &place, &class, e);
    if (found <= 0)
        return found;
    struct look look = { 0 };
    found = look_hint(b, hint, place, &look, e);
    if (found <= 0)
        return found;
    if (!look.exists) {
        hint->what |= HINT_MISSED;
        return 0;
    }
    if (is_late(class) && !S_ISDIR(look.attr.mode)) { /* here since the first reading */
        put_off(b, hint, name, 0);
        return 0;
    }
    hint->what |= seen(b, place, &look, true);
    int waits = flush || !still_open(hint, &look) ? 0 : may_wait(b, place, name, &look, e);
    if (waits < 0)
        return -1;
    if (waits > 0) {
        put_off(b, hint, name, MIN(OPEN_MS + look.attr.size / OPEN_PER_MS, (uint64_t)OPEN_MAX_MS));
        return 0;
    }
    return tolerate(b, compare_present(b->compare, place, name, &look, hint->what, e), hint, e);
}

/* arrived: names that something was renamed to come first, so that a rename is seen as one. */
static int
pass_present(struct batch *b, bool arrived, bool flush, struct err *e)
{
    for (size_t i = 0; i < hints_count(&b->hints); i++) {
        struct hint *hint = hints_at(&b->hints, i);
        if (((hint->what & WATCH_ARRIVED) != 0) == arrived && look_normal(b, hint, flush, e) < 0)
            return -1;
    }
    return 0;
}

/* What was seen before the second reading counts as long as the name has that object. It may have
 * changed under another of its names, of which somebody has told by now: then it is looked at once
 * more. */
static int
look_late(struct batch *b, const struct late *late, struct err *e)
{
    struct hint *hint = hints_at(&b->hints, late->hint);
    struct place *place;
    struct look now = { 0 };
    enum store_class class;
    const char *name = hints_name(&b->hints, hint);
    int found = hint_place(b, hint, &place, &class, e);
    if (found <= 0)
        return found;
    if (!late->look.exists) {
        hint->what |= HINT_MISSED;
        return 0;
    }
    found = look_hint(b, hint, place, &now, e);
    if (found <= 0)
        return found;
    if (!now.exists ||
        !span_equal(attrs_handle_span(&now.handle), attrs_handle_span(&late->look.handle))) {
        seen(b, place, &late->look, false);
        put_off(b, hint, name, 0);
        return 0;
    }
    if (now.ctime_ns != late->look.ctime_ns)
        put_off(b, hint, name, 0);
    return tolerate(b, compare_present(b->compare, place, name, &late->look, hint->what, e), hint,
                    e);
}

static int
pass_late(struct batch *b, struct err *e)
{
    for (size_t at = 0; at < b->late.len; at += sizeof(struct late)) {
        struct late late;
        memcpy(&late, b->late.ptr + at, sizeof(late));
        if (look_late(b, &late, e) < 0)
            return -1;
    }
    return 0;
}

static int
pass_absent(struct batch *b, struct err *e)
{
    for (size_t i = 0; i < hints_count(&b->hints); i++) {
        struct hint *hint = hints_at(&b->hints, i);
        struct place *place;
        enum store_class class;
        struct look look = { 0 };
        const char *name = hints_name(&b->hints, hint);
        int found = hint_place(b, hint, &place, &class, e);
        if (found > 0)
            found = look_hint(b, hint, place, &look, e);
        if (found < 0)
            return -1;
        if (found > 0 && look.exists && (hint->what & HINT_MISSED) != 0)
            put_off(b, hint, name, 0); /* what was told is not forgotten */
        if (found == 0 || look.exists)
            continue;
        int rc = tolerate(b, compare_absent(b->compare, place, name, hint->what, e), hint, e);
        if (rc < 0)
            return -1;
        if (rc == 1) /* its new name is still in the queue */
            put_off(b, hint, name, 0);
    }
    return 0;
}

static int
touch_all(struct batch *b, struct err *e)
{
    for (size_t i = 0; i < hints_count(&b->hints); i++) {
        if (touch(b, hints_at(&b->hints, i)->dir, e) < 0)
            return -1;
    }
    return 0;
}

static int
process(struct batch *b, bool flush, struct err *e)
{
    buf_reset(&b->late);
    int rc = collect_late(b, CLASS_KEYWORDS, e);
    if (rc >= 0)
        rc = collect_late(b, CLASS_UIDLIST, e);
    if (rc >= 0 && b->late.len > 0)
        rc = batch_read(b, e);
    postpone_changed(b); /* also when it failed: what was told comes back with it */
    if (rc < 0)
        return -1;
    if (touch_all(b, e) < 0 || pass_present(b, true, flush, e) < 0 ||
        pass_present(b, false, flush, e) < 0 || pass_late(b, e) < 0 || pass_absent(b, e) < 0)
        return -1;
    return compare_settle_parked(b->compare, e);
}

void
batch_take_again(struct batch *b)
{
    struct hints *again = &b->compare->again;
    for (size_t i = 0; i < hints_count(again); i++) {
        const struct hint *hint = hints_at(again, i);
        struct span name = span_str(hints_name(again, hint));
        hints_add(&b->later, hint->dir, name, hint->what)->due_ms = b->now_ms;
    }
    hints_clear(again);
}

int
batch_process(struct batch *b, bool flush, struct err *e)
{
    int rc = hints_count(&b->hints) == 0 ? 0 : process(b, flush, e);
    if (rc >= 0)
        rc = strays_settle(&b->strays, b->compare, e);
    struct hints looked_at = b->hints;
    b->hints = b->done;
    b->done = looked_at;
    batch_take_again(b);
    return rc;
}

void
batch_turn_end(struct batch *b, bool committed)
{
    for (size_t i = 0; !committed && i < hints_count(&b->done); i++) {
        const struct hint *hint = hints_at(&b->done, i);
        unsigned what = hint->what & ~(unsigned)(HINT_LATE | HINT_MISSED);
        struct span name = span_str(hints_name(&b->done, hint));
        hints_add(&b->later, hint->dir, name, what)->due_ms = b->now_ms;
    }
    hints_clear(&b->done);
    if (committed) {
        hints_clear(&b->strays);
        return;
    }
    strays_again(&b->strays);
    hints_clear(&b->touched); /* their marks are not in the index */
}

struct dir_times {
    uint64_t dir;
    struct look look;
};

int
batch_times_begin(struct batch *b, struct err *e)
{
    struct compare *c = b->compare;
    buf_reset(&b->times);
    for (size_t i = 0; i < hints_count(&b->touched); i++) {
        struct dir_times times = { .dir = hints_at(&b->touched, i)->dir };
        struct place *place;
        int found = places_get(c->places, c->txn, times.dir, &place, e);
        if (found > 0)
            found = look_at(place->fd, "", &times.look, e) < 0 ? -1 : 1;
        if (found < 0 && e->code != ERR_IO)
            return -1;
        err_clear(e); /* it stays as one to be read */
        if (found > 0)
            buf_add(&b->times, &times, sizeof(times));
    }
    hints_clear(&b->touched); /* what the queue tells of now comes back; what was put off, too */
    for (size_t i = 0; i < hints_count(&b->later); i++)
        hints_add(&b->touched, hints_at(&b->later, i)->dir, span_str(""), 1);
    return 0;
}

int
batch_times_end(struct batch *b, struct err *e)
{
    struct compare *c = b->compare;
    int rc = 0;
    for (size_t at = 0; rc >= 0 && at < b->times.len; at += sizeof(struct dir_times)) {
        struct dir_times times;
        memcpy(&times, b->times.ptr + at, sizeof(times));
        size_t before = hints_count(&b->touched);
        bool young = look_time_is_young(times.look.ctime_ns, c->now_ns);
        if (b->drained && !young && hints_what(&b->touched, times.dir, span_str("")) == 0)
            rc = scan_keep_times(c, times.dir, &times.look, e);
        else if (before < TOUCHED_MAX)
            hints_add(&b->touched, times.dir, span_str(""), 1);
    }
    buf_reset(&b->times);
    return rc;
}
