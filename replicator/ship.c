#include "replicator/ship.h"

#include "lib/base/path.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <sys/stat.h>
#include <time.h>

#define RUN_RECORDS_MAX 1000
#define RUN_BYTES_MAX   (16 * 1024 * 1024)
#define LATE_TRIES      5
#define GONE_MAX        256
#define DELTA_MIN       (64 * 1024) /* smaller files are cheaper to send whole */

struct flight {
    uint64_t run, seq, bytes, note, began_ns;
};

void
ship_free(struct ship *s)
{
    reclist_free(&s->list);
    reclist_free(&s->late);
    reclist_free(&s->gone);
    buf_free(&s->in_flight);
}

/* Copies records of (from, tail] out of the journal, up to the bounds of a run. */
static int
load_run(struct ship *s, uint64_t from, uint64_t tail, struct reclist *list, uint64_t *ret_last,
         uint64_t *ret_time_ns, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(s->node->state, false, &txn, e) < 0)
        return -1;
    if (from + 1 < state_meta(txn)->oldest)
        return err_set(e, ERR_PEER,
                       "the journal no longer reaches back to %llu: the peer needs a resync",
                       (unsigned long long)from);
    uint64_t bytes = 0;
    *ret_last = tail;
    for (uint64_t seq = from + 1; seq <= tail;) {
        struct record record;
        int found = state_record(txn, seq, &record, e);
        if (found < 0)
            return -1;
        if (found == 0 || record.seq > tail)
            return 0;
        if (reclist_count(list) >= RUN_RECORDS_MAX || bytes >= RUN_BYTES_MAX) {
            *ret_last = record.seq - 1;
            return 0;
        }
        reclist_add(list, &record);
        bytes += record_op_flags(record.op) & OP_F_CONTENT ? record.attr.size : 0;
        s->began_ns = s->began_ns == 0 ? record.time_ns : s->began_ns;
        *ret_time_ns = record.time_ns;
        seq = record.seq + 1;
    }
    return 0;
}

static bool
has_object(const struct record *r)
{
    return r->op == OP_PUT || r->op == OP_META || r->op == OP_MKDIR;
}

/* A large file that changes in place: ask what the peer has, send what differs. */
static int
maybe_signature(struct ship *s, const struct record *r, const struct content *content,
                struct buf *signature, struct err *e)
{
    if (r->op != OP_PUT || content->gone || content->now.size <= DELTA_MIN)
        return 0;
    const struct store_rules *rules = &s->node->stores[r->store].rules;
    if (!store_changes_in_place(rules, path_name(path_parent(r->path)), true))
        return 0;
    return s->signature(s->owner, r, signature, e) < 0 ? -1 : 0;
}

/* Opens it, and reads up to `max` bytes before anything is sent. One bad sector must not keep all
 * others from their standby: what the disk does not give is shipped as gone, and told. */
static int
read_object(struct ship *s, const struct record *r, size_t max, struct content *content,
            struct err *e)
{
    struct err why = { 0 };
    bool is_put = r->op == OP_PUT;
    if (content_open(s->node, r, content, &why) >= 0 &&
        (!is_put || content_load(content, max, &why) >= 0))
        return 0;
    if (!file_disk_failed(&why)) {
        if (e != NULL)
            *e = why;
        return -1;
    }
    event(EV_UNREADABLE, F_SPAN("path", r->path), F_ERR(&why));
    s->unreadable(s->owner, r);
    content->gone = true;
    return 0;
}

/* One whose name nobody has may have been renamed before it was replaced: a record of that may
 * follow. Of very many nobody asks which. */
static void
note_gone(struct ship *s, const struct record *r, bool replaced)
{
    bool full = reclist_count(&s->gone) >= GONE_MAX;
    s->replaced |= replaced || full;
    if (!replaced && !full)
        reclist_add(&s->gone, r);
}

/* A rename of what was sent as gone. */
static void
follow_gone(struct ship *s, const struct record *r)
{
    for (size_t i = 0; i < reclist_count(&s->gone); i++) {
        struct record gone;
        reclist_get(&s->gone, i, &gone);
        if (gone.store == r->store && span_equal(gone.path, r->other)) {
            note_gone(s, r, content_name_taken(s->node, r));
            return;
        }
    }
}

static int
send_object(struct ship *s, const struct record *r, struct content *content, struct span signature,
            struct err *e)
{
    uint64_t bytes = 0;
    if (content_send(s->io, r, content, signature, &bytes, e) < 0)
        return -1;
    if (content->gone && content_may_be_replaced(s->node, r))
        note_gone(s, r, content->replaced);
    s->bytes += bytes;
    s->window_bytes += bytes;
    if (content->torn)
        s->unreadable(s->owner, r);
    return 0;
}

static int
ship_one(struct ship *s, const struct record *r, struct err *e)
{
    s->touched(s->owner, r);
    s->records++;
    if (r->op == OP_RENAME)
        follow_gone(s, r);
    if (!has_object(r))
        return content_send_bare(s->io, r, WIRE_CONTENT_NONE, e);
    _cleanup_content_ struct content content = { .fd = -1 };
    _cleanup_buf_ struct buf signature = { 0 };
    if (read_object(s, r, CONTENT_SMALL, &content, e) < 0 ||
        maybe_signature(s, r, &content, &signature, e) < 0)
        return -1;
    return send_object(s, r, &content, buf_span(&signature), e);
}

int
ship_fixups(struct ship *s, const struct reclist *list, struct err *e)
{
    for (size_t i = 0; i < reclist_count(list); i++) {
        struct record record;
        reclist_get(list, i, &record);
        record.seq = 0;
        if (ship_one(s, &record, e) < 0)
            return -1;
    }
    return 0;
}

/* The late list's newest record of each path. */
static bool
is_superseded(const struct reclist *late, size_t index, const struct record *r)
{
    for (size_t i = index + 1; i < reclist_count(late); i++) {
        struct record other;
        reclist_get(late, i, &other);
        if (other.store == r->store && span_equal(other.path, r->path))
            return true;
    }
    return false;
}

static bool
moved_on(const struct record *r, const struct content *content)
{
    if (content->gone)
        return content->replaced;
    return content->now.size != r->attr.size || content->now.mtime_ns != r->attr.mtime_ns;
}

struct late_file {
    struct record record;
    struct content content;
};

static void
late_files_free(struct late_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++)
        content_close(&files[i].content);
    freep(&files);
}

/* Reads the late files, newest record of each. *ret_moved: one of them is newer than its record. */
static int
late_read(struct ship *s, struct late_file *files, size_t *ret_count, bool *ret_moved,
          struct err *e)
{
    *ret_moved = false;
    for (size_t i = 0; i < reclist_count(&s->late); i++) {
        struct late_file *file = &files[*ret_count];
        reclist_get(&s->late, i, &file->record);
        if (is_superseded(&s->late, i, &file->record))
            continue;
        (*ret_count)++;
        if (read_object(s, &file->record, CONTENT_LOAD_MAX, &file->content, e) < 0)
            return -1;
        *ret_moved |= moved_on(&file->record, &file->content);
    }
    return 0;
}

static int
late_send(struct ship *s, struct late_file *files, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        s->touched(s->owner, &files[i].record);
        if (send_object(s, &files[i].record, &files[i].content, (struct span){ 0 }, e) < 0)
            return -1;
    }
    return 0;
}

/* Sends the late files that were put back. *ret_moved: one of them is newer than its record, and
 * may name messages whose records come behind; with `wait` nothing is sent then. */
static int
ship_late(struct ship *s, bool wait, bool *ret_moved, struct err *e)
{
    size_t max = reclist_count(&s->late);
    *ret_moved = false;
    if (max == 0)
        return 0;
    struct late_file *files = xcalloc(max, sizeof(*files));
    for (size_t i = 0; i < max; i++)
        files[i].content.fd = -1;
    size_t count = 0;
    int rc = late_read(s, files, &count, ret_moved, e);
    bool send = !(wait && *ret_moved);
    if (rc >= 0 && send)
        rc = late_send(s, files, count, e);
    late_files_free(files, max);
    if (send)
        reclist_clear(&s->late);
    return rc;
}

/* Behind it, paths mean other objects: what waits for the end of the run must go first. */
static bool
is_fence(const struct record *r)
{
    return r->op == OP_RMTREE || (r->op == OP_RENAME && S_ISDIR(r->attr.mode));
}

/* Moves, replaces or removes what waits for the end of the run. */
static bool
concerns_late(const struct ship *s, const struct record *r)
{
    for (size_t i = 0; i < reclist_count(&s->late); i++) {
        struct record late;
        reclist_get(&s->late, i, &late);
        if (late.store == r->store &&
            (span_equal(late.path, r->path) || span_equal(late.path, r->other)))
            return true;
    }
    return false;
}

static int
ship_record(struct ship *s, const struct record *r, struct err *e)
{
    bool moved;
    bool waits = r->late && r->op == OP_PUT;
    if ((is_fence(r) || (!waits && concerns_late(s, r))) && ship_late(s, false, &moved, e) < 0)
        return -1;
    if (!waits)
        return ship_one(s, r, e);
    reclist_add(&s->late, r); /* at the end of the run, with its own number */
    return 0;
}

/* Records of (from, tail]; *ret_last is where the bounds of a run ended it. */
static int
ship_stretch(struct ship *s, uint64_t from, uint64_t tail, uint64_t *ret_last,
             uint64_t *ret_time_ns, struct err *e)
{
    reclist_clear(&s->list);
    if (load_run(s, from, tail, &s->list, ret_last, ret_time_ns, e) < 0)
        return -1;
    for (size_t i = 0; i < reclist_count(&s->list); i++) {
        struct record record;
        reclist_get(&s->list, i, &record);
        if (ship_record(s, &record, e) < 0)
            return err_wrap(e, "ship record %llu", (unsigned long long)record.seq);
    }
    return 0;
}

/* A late file that is newer than its record may name messages whose records come behind it: the run
 * is lengthened until it holds them. So it is where a file was replaced before it was read: who
 * waits for the first change at a barrier gets it with the second. A file that is written all the
 * time is sent in the end as it is; its next record mends the order. */
int
ship_run(struct ship *s, uint64_t tail, struct err *e)
{
    uint64_t last = s->cursor;
    uint64_t time_ns = 0;
    bool moved = true;
    reclist_clear(&s->late);
    reclist_clear(&s->gone);
    for (int try = 0; moved && try < LATE_TRIES; try++) {
        s->replaced = false;
        if (ship_stretch(s, last, tail, &last, &time_ns, e) < 0 ||
            ship_late(s, try + 1 < LATE_TRIES, &moved, e) < 0)
            return -1;
        moved |= s->replaced;
        if (moved)
            tail = MAX(tail, s->settle(s->owner));
    }
    s->cursor = last;
    return ship_commit(s, time_ns, tail, e);
}

int
ship_commit(struct ship *s, uint64_t time_ns, uint64_t tail, struct err *e)
{
    static _Thread_local struct wire_msg msg;
    msg.type = WIRE_COMMIT;
    msg.commit = (struct wire_commit){ ++s->run, s->cursor, time_ns, MAX(tail, s->cursor) };
    uint64_t earlier = 0;
    for (size_t at = 0; at < s->in_flight.len; at += sizeof(struct flight)) {
        struct flight flight;
        memcpy(&flight, s->in_flight.ptr + at, sizeof(flight));
        earlier += flight.bytes;
    }
    struct flight flight = { s->run, s->cursor, s->window_bytes - MIN(earlier, s->window_bytes),
                             s->note, s->began_ns };
    s->began_ns = 0;
    buf_add(&s->in_flight, &flight, sizeof(flight));
    if (link_io_send(s->io, &msg, e) < 0)
        return -1;
    return link_io_flush(s->io, e);
}

static double
seconds_since(uint64_t began_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return MAX((double)now.tv_sec + ((double)now.tv_nsec - (double)began_ns) / 1e9, 1e-6);
}

void
ship_acked(struct ship *s, const struct wire_ack *ack)
{
    while (s->in_flight.len > 0) {
        struct flight flight;
        memcpy(&flight, s->in_flight.ptr, sizeof(flight));
        if (flight.run > ack->run || flight.seq > ack->durable_seq)
            return;
        s->window_bytes -= MIN(flight.bytes, s->window_bytes);
        s->acked_note = flight.note;
        s->acked_run = flight.run;
        if (flight.began_ns != 0 && flight.began_ns >= s->start_ns)
            s->acked_seconds = seconds_since(flight.began_ns);
        buf_consume(&s->in_flight, sizeof(flight));
    }
}
