/* The place of a sync, as the session of a primary keeps it: of one sync and no other. */
#include "tests/unit/session_kit.h"

#define ROW_SIZE 40

static struct session_kit *
begin(void)
{
    struct session_kit *k = session_kit_new();
    struct err e = { 0 };
    if (k == NULL)
        return NULL;
    cap_sh(k->c, "mkdir -p mail/a mail/b mail/c mail/d");
    session_start(k);
    session_must(session_promote(k, false, &e), &e);
    session_settle(k);
    return k;
}

/* What the state has of mx1's sync: base, place, epoch. */
static void
row_now(struct session_kit *k, uint64_t *ret_base, uint64_t *ret_place, uint64_t *ret_epoch)
{
    struct state_txn *txn;
    struct span row;
    struct err e = { 0 };
    session_must(state_begin(k->c->node->state, false, &txn, &e), &e);
    CHECK_INT(state_get(txn, "peer/mx1", &row, &e), 1);
    CHECK_INT(row.len, ROW_SIZE);
    *ret_base = get_le64(row.ptr + 16);
    *ret_place = get_le64(row.ptr + 24);
    *ret_epoch = get_le64(row.ptr + 32);
    state_abort(&txn);
}

/* As an earlier session left it: on its way through the capture. */
static void
leave_row(struct session_kit *k, uint64_t base, uint64_t place, uint64_t epoch)
{
    struct state_meta meta = meta_now(k);
    uint8_t row[ROW_SIZE];
    memcpy(row, meta.history, 16);
    put_le64(row + 16, base);
    put_le64(row + 24, place);
    put_le64(row + 32, epoch);
    capture_note_peer(k->d.capture, "peer/mx1", span_of(row, sizeof(row)));
}

/* mx1 greets as a standby, at the primary's tail or without data (base 0); START comes. */
static struct wire_start
greet_as_standby(struct session_kit *k, uint64_t sync_base, bool accepts, struct link_io **ret_io)
{
    struct state_meta meta = meta_now(k);
    struct wire_hello *h = primary_hello(k, 0, sync_base == 0 ? 0 : meta.epoch, 0);
    h->role = WIRE_ROLE_STANDBY;
    h->accept_sync = accepts;
    h->sync_base = sync_base;
    h->epochs[0].epoch = meta.epoch;
    h->epoch_count = sync_base == 0 ? 0 : 1;
    h->tail = sync_base == 0 ? 0 : meta.tail;
    memcpy(h->history, meta.history, sync_base == 0 ? 0 : sizeof(meta.history));
    if (sync_base == 0)
        memset(h->history, 0, sizeof(h->history));
    *ret_io = session_link(k, 0);
    say(*ret_io, WIRE_HELLO);
    hear_type(*ret_io, WIRE_HELLO);
    return hear_type(*ret_io, WIRE_START)->start;
}

static void
check_begins_anew(struct session_kit *k, uint64_t sync_base, bool accepts)
{
    struct link_io *io;
    uint64_t base, place, epoch;
    struct wire_start start = greet_as_standby(k, sync_base, accepts, &io);
    CHECK_INT(start.mode, WIRE_MODE_SYNC);
    row_now(k, &base, &place, &epoch);
    CHECK_INT(base, start.sync_base);
    CHECK_INT(place, 1);
    CHECK_INT(epoch, meta_now(k).epoch);
    link_io_free(&io);
}

/* The first question of the walk names its first directory: the first of all, or the place. */
static uint64_t
first_asked(struct link_io *io)
{
    return hear_type(io, WIRE_DIGEST_ASK)->digest_ask.dirs[0].dir;
}

TEST(a_new_sync_has_its_row_before_the_peer_hears_of_it)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    check_begins_anew(k, 0, true);
    session_kit_free(k);
}

TEST(the_place_of_another_epoch_or_sync_is_not_taken_for_this_ones)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct state_meta meta = meta_now(k);
    leave_row(k, meta.tail, 4, meta.epoch - 1);
    check_begins_anew(k, meta.tail, false);
    leave_row(k, meta.tail, 4, meta.epoch);
    check_begins_anew(k, meta.tail + 7, false);
    leave_row(k, meta.tail, 4, meta.epoch); /* of the same base, and told to compare all again */
    check_begins_anew(k, meta.tail, true);
    session_kit_free(k);
}

TEST(an_interrupted_sync_goes_on_at_its_place)
{
    struct session_kit *k = begin();
    SESSION_NEEDED(k);
    struct state_meta meta = meta_now(k);
    struct link_io *io;
    uint64_t base, place, epoch;
    leave_row(k, meta.tail, 4, meta.epoch);
    capture_settle(k->d.capture, true);
    struct wire_start start = greet_as_standby(k, meta.tail, false, &io);
    CHECK_INT(start.sync_base, meta.tail);
    CHECK_INT(first_asked(io), 4);
    row_now(k, &base, &place, &epoch);
    CHECK_INT(place, 4);
    link_io_free(&io);
    session_kit_free(k);
}
