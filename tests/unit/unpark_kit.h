/* unpark_kit.h - a node on whose disk a primary that died left something hidden. */
#ifndef MAILTWIN_TEST_UNPARK_KIT_H
#define MAILTWIN_TEST_UNPARK_KIT_H

#include "lib/store/parked.h"
#include "tests/unit/capture_kit.h"

#define P1 PARKED_PREFIX "00000000000000a1"
#define P2 PARKED_PREFIX "00000000000000b2"

static atomic_uint unparked, stuck;

static inline void
count_events(enum event_id id, const char *line, void *arg)
{
    (void)line;
    (void)arg;
    if (id == EV_UNPARKED)
        atomic_fetch_add(&unparked, 1);
    if (id == EV_PARKED_STUCK)
        atomic_fetch_add(&stuck, 1);
}

static inline void
count_from_now(void)
{
    atomic_store(&unparked, 0);
    atomic_store(&stuck, 0);
    event_init("test", EVENT_WARN);
    event_tap(count_events, NULL);
}

/* ada and bob have a mailbox each; the capture has stopped. */
static inline struct cap *
begin(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c, "for u in ada bob; do mkdir -p mail/$u/cur mail/$u/new; echo $u >mail/$u/cur/1:2,S; "
              "done; mkdir files/d && echo f >files/d/f");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    count_from_now();
    return c;
}

static inline void
resolve(struct cap *c, struct state_txn *txn, uint16_t store, const char *path, uint64_t *ret_dir,
        struct span *ret_name)
{
    CHECK_INT(state_resolve(txn, store, span_str(path), ret_dir, ret_name, &c->e), 1);
}

/* What a standby does for a RENAME: journal (told), index and disk. */
static inline void
applied_rename(struct cap *c, uint16_t store, const char *from, const char *to, bool told)
{
    struct state_txn *txn;
    uint64_t from_dir, to_dir;
    struct span from_name, to_name;
    struct known known;
    cap_open(c);
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    resolve(c, txn, store, from, &from_dir, &from_name);
    resolve(c, txn, store, to, &to_dir, &to_name);
    CHECK_INT(known_get(txn, from_dir, from_name, &known, &c->e), 1);
    struct record r = { .op = OP_RENAME, .store = store, .attr = known.entry.attr };
    r.handle = known.entry.handle;
    r.path = span_str(to);
    r.other = span_str(from);
    if (told)
        CHECK_INT(state_append(txn, &r, &c->e), 0);
    CHECK_INT(state_entry_move(txn, from_dir, from_name, to_dir, to_name, &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
    cap_stop(c);
    cap_sh(c, "cd %s && mv -T '%s' '%s'", c->stores[store].name, from, to);
}

static inline void
check_visible(const struct cap *c)
{
    cap_sh(c, "test -z \"$(find mail files -maxdepth 1 -name '.mailtwin-parked-*')\"");
}

/* The records but for META: a sweep tells the attributes of what has other times. */
static inline void
check_records(struct cap *c, const char *expected)
{
    _cleanup_buf_ struct buf all = { 0 };
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &all);
    for (char *line = strtok((char *)all.ptr, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "meta ", 5) == 0)
            continue;
        buf_add(&text, line, strlen(line));
        buf_add_u8(&text, '\n');
    }
    buf_add_u8(&text, 0);
    CHECK_STR((const char *)text.ptr, expected);
}

#endif
