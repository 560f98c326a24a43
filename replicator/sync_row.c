#include "replicator/sync_row.h"

#include <stdio.h>
#include <string.h>

#define ROW_SIZE (WIRE_HISTORY_SIZE + 3 * 8)

static void
row_key(const struct session *s, char key[96])
{
    snprintf(key, 96, "peer/%s", s->peer->conf->name);
}

static void
row_fill(const struct session *s, const struct sync_row *row, uint8_t bytes[ROW_SIZE])
{
    memcpy(bytes, s->ours->history, WIRE_HISTORY_SIZE);
    put_le64(bytes + 16, row->base);
    put_le64(bytes + 24, row->place);
    put_le64(bytes + 32, s->ours->epoch);
}

/* Told to be compared as a whole, the peer is in no sync yet, whatever its base says. */
static bool
row_fits(const struct session *s, struct span row)
{
    return s->decision.again && s->theirs->accept_sync == 0 && row.len == ROW_SIZE &&
           memcmp(row.ptr, s->ours->history, WIRE_HISTORY_SIZE) == 0 &&
           get_le64(row.ptr + 16) == s->theirs->sync_base &&
           get_le64(row.ptr + 32) == s->ours->epoch;
}

int
sync_row_find(const struct session *s, struct state_txn *txn, struct sync_row *row, struct err *e)
{
    const struct state_meta *meta = state_meta(txn);
    char key[96];
    struct span kept;
    row_key(s, key);
    int found = state_get(txn, key, &kept, e);
    if (found <= 0 || s->daemon->capture == NULL)
        return found < 0 ? -1 : 0;
    if (!row_fits(s, kept) || s->theirs->tail + 1 < meta->oldest || s->theirs->tail > meta->tail)
        return 0;
    row->base = get_le64(kept.ptr + 16);
    row->place = get_le64(kept.ptr + 24);
    return 1;
}

void
sync_row_note(const struct session *s, const struct sync_row *row)
{
    uint8_t bytes[ROW_SIZE];
    char key[96];
    if (s->daemon->capture == NULL)
        return;
    row_key(s, key);
    row_fill(s, row, bytes);
    capture_note_peer(s->daemon->capture, key, span_of(bytes, sizeof(bytes)));
}

/* Through the capture's queue, which may still hold the place of an earlier sync. */
int
sync_row_reset(const struct session *s, const struct sync_row *row, struct err *e)
{
    uint8_t bytes[ROW_SIZE];
    char key[96];
    struct span kept;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (s->daemon->capture == NULL)
        return 0;
    sync_row_note(s, row);
    (void)capture_settle(s->daemon->capture, true); /* also answered when the commit failed */
    if (state_begin(s->daemon->node->state, false, &txn, e) < 0)
        return -1;
    row_key(s, key);
    row_fill(s, row, bytes);
    int found = state_get(txn, key, &kept, e);
    if (found < 0)
        return -1;
    if (found == 0 || !span_equal(kept, span_of(bytes, sizeof(bytes))))
        return err_set(e, ERR_IO, "the place of a new sync cannot be kept: the journal is stalled");
    return 0;
}

int
sync_row_opts(const struct session *s, struct walk_opts *ret_opts, uint64_t *ret_cursor,
              struct err *e)
{
    const struct wire_hello *theirs = s->theirs;
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(s->daemon->node->state, false, &txn, e) < 0)
        return -1;
    const struct state_meta *meta = state_meta(txn);
    struct sync_row row = { .base = MAX(meta->tail, (uint64_t)1), .place = 1 };
    uint64_t newest = meta->next_dir - 1;
    *ret_cursor = meta->tail;
    int found = sync_row_find(s, txn, &row, e);
    if (found < 0)
        return -1;
    if (found > 0)
        *ret_cursor = theirs->tail;
    state_abort(&txn);
    bool empty = span_is_zero(span_of(theirs->history, WIRE_HISTORY_SIZE)) &&
                 theirs->accept_sync == 1;
    *ret_opts = (struct walk_opts){ .mode = WALK_SYNC,
                                    .store = -1,
                                    .from = row.place,
                                    .limit = empty ? newest : 0, /* nothing stale is there */
                                    .newest = newest,
                                    .base = row.base,
                                    .peer_empty = empty };
    return sync_row_reset(s, &row, e);
}
