#include "cli/inspect_wire.h"

#include <inttypes.h>

void
wire_text(struct span s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        char escaped[5];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\') {
            buf_add_u8(out, c);
            continue;
        }
        snprintf(escaped, sizeof(escaped), "\\x%02x", c);
        buf_add(out, escaped, 4);
    }
}

void
wire_print_bytes(const char *key, struct span s, FILE *out)
{
    _cleanup_buf_ struct buf text = { 0 };
    wire_text(s, &text);
    fprintf(out, " %s=\"%.*s\"", key, (int)text.len, (const char *)text.ptr);
}

static void
print_u64(const char *key, uint64_t value, FILE *out)
{
    fprintf(out, " %s=%" PRIu64, key, value);
}

static void
print_hex(const char *key, const uint8_t *bytes, size_t len, FILE *out)
{
    fprintf(out, " %s=", key);
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%02x", bytes[i]);
}

static void
print_epochs(const struct wire_epoch *epochs, size_t count, FILE *out)
{
    fputs(" epochs=", out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%" PRIu64 "@%" PRIu64, i > 0 ? "," : "", epochs[i].epoch,
                epochs[i].first_seq);
}

static void
print_hello(const struct wire_hello *m, FILE *out)
{
    fprintf(out, " version=%u-%u", m->version_min, m->version_max);
    wire_print_bytes("cluster", m->cluster, out);
    wire_print_bytes("node", m->node, out);
    wire_print_bytes("follow", m->follow, out);
    print_u64("role", m->role, out);
    print_hex("history", m->history, sizeof(m->history), out);
    print_u64("epoch", m->epoch, out);
    print_u64("tail", m->tail, out);
    print_u64("oldest", m->oldest, out);
    print_u64("sync_base", m->sync_base, out);
    print_u64("accept_sync", m->accept_sync, out);
    print_epochs(m->epochs, m->epoch_count, out);
    for (size_t i = 0; i < m->store_count; i++)
        wire_print_bytes("store", m->stores[i].name, out);
}

static void
print_start(const struct wire_start *m, FILE *out)
{
    print_u64("mode", m->mode, out);
    print_hex("history", m->history, sizeof(m->history), out);
    print_u64("epoch", m->epoch, out);
    print_u64("from", m->from, out);
    print_u64("sync_base", m->sync_base, out);
    print_epochs(m->epochs, m->epoch_count, out);
}

static void
print_refuse(const struct wire_refuse *m, FILE *out)
{
    print_u64("code", m->code, out);
    print_u64("epoch", m->epoch, out);
    print_u64("fork", m->fork, out);
    wire_print_bytes("node", m->node, out);
    wire_print_bytes("text", m->text, out);
}

static void
print_rec(const struct wire_rec *m, FILE *out)
{
    const struct record *r = &m->record;
    fprintf(out, " %s", record_op_word(r->op));
    print_u64("seq", r->seq, out);
    print_u64("epoch", r->epoch, out);
    print_u64("store", r->store, out);
    wire_print_bytes("path", r->path, out);
    if (record_op_flags(r->op) & OP_F_TWO)
        wire_print_bytes("other", r->other, out);
    fprintf(out, " mode=%o", m->now.mode);
    print_u64("uid", m->now.uid, out);
    print_u64("gid", m->now.gid, out);
    print_u64("size", m->now.size, out);
    fprintf(out, " mtime_ns=%" PRId64, m->now.mtime_ns);
    print_u64("content", m->content, out);
    print_u64("xattrs", m->xattr_count, out);
    if (r->late)
        fputs(" late", out);
}

static void
print_data(const struct wire_data *m, FILE *out)
{
    print_u64("offset", m->offset, out);
    print_u64("bytes", m->bytes.len, out);
}

static void
print_end(const struct wire_end *m, FILE *out)
{
    print_u64("size", m->size, out);
    fprintf(out, " crc=%08x", m->crc);
    print_u64("ok", m->ok, out);
}

static void
print_commit(const struct wire_commit *m, FILE *out)
{
    print_u64("run", m->run, out);
    print_u64("seq", m->seq, out);
    print_u64("time_ns", m->time_ns, out);
    print_u64("tail", m->tail, out);
}

static void
print_tail(const struct wire_tail *m, FILE *out)
{
    print_u64("seq", m->seq, out);
    print_u64("time_ns", m->time_ns, out);
}

static void
print_ack(const struct wire_ack *m, FILE *out)
{
    print_u64("run", m->run, out);
    print_u64("received", m->received_seq, out);
    print_u64("durable", m->durable_seq, out);
}

static void
print_digest_ask(const struct wire_digest_ask *m, FILE *out)
{
    print_u64("id", m->id, out);
    print_u64("store", m->store, out);
    print_u64("flags", m->flags, out);
    print_u64("directories", m->count, out);
    if (m->count > 0)
        wire_print_bytes("first", m->dirs[0].path, out);
}

static void
print_digest_answer(const struct wire_digest_answer *m, FILE *out)
{
    print_u64("id", m->id, out);
    print_u64("dir", m->dir, out);
    print_u64("verdict", m->verdict, out);
    print_u64("more", m->more, out);
    print_u64("entries", m->entry_count, out);
}

static void
print_need(const struct wire_need *m, FILE *out)
{
    print_u64("store", m->store, out);
    print_u64("seq", m->seq, out);
    print_u64("is_dir", m->is_dir, out);
    wire_print_bytes("path", m->path, out);
}

static void
print_place(uint16_t store, struct span path, FILE *out)
{
    print_u64("store", store, out);
    wire_print_bytes("path", path, out);
}

static void
print_sig(const struct wire_sig *m, FILE *out)
{
    print_u64("ok", m->ok, out);
    print_u64("last", m->last, out);
    print_u64("bytes", m->bytes.len, out);
}

static void
print_found(const struct wire_found *found, FILE *out)
{
    print_u64("epoch", found->epoch, out);
    print_u64("messages", found->messages, out);
    print_u64("flag_changes", found->flag_changes, out);
    print_u64("expunges", found->expunges, out);
    print_u64("others", found->others, out);
}

static void
print_found_in(const struct wire_found_in *found, FILE *out)
{
    print_u64("store", found->store, out);
    print_u64("further", found->further, out);
    wire_print_bytes("user", found->user, out);
    wire_print_bytes("folder", found->folder, out);
    print_u64("messages", found->messages, out);
    print_u64("flag_changes", found->flag_changes, out);
    print_u64("expunges", found->expunges, out);
    print_u64("others", found->others, out);
}

static void
print_stall(const struct wire_stall *m, FILE *out)
{
    print_u64("code", m->code, out);
    wire_print_bytes("text", m->text, out);
}

static void
print_sync_done(const struct wire_sync_done *m, FILE *out)
{
    print_u64("sync_base", m->sync_base, out);
    print_u64("differences", m->differences, out);
}

static void
print_sync_progress(const struct wire_sync_progress *m, FILE *out)
{
    print_u64("done", m->done, out);
    print_u64("total", m->total, out);
    print_u64("from", m->from, out);
    print_u64("directories", m->directories, out);
    print_u64("spent_ms", m->spent_ms, out);
}

static void
print_give(const struct wire_give *m, FILE *out)
{
    print_u64("id", m->id, out);
    print_u64("kind", m->kind, out);
    print_u64("mode", m->mode, out);
    print_u64("keywords", m->keyword_count, out);
    print_u64("xattrs", m->xattr_count, out);
    print_place(m->store, m->path, out);
    if (m->mode == WIRE_GIVE_MOVE)
        wire_print_bytes("from", m->from, out);
    if (m->kind == WIRE_GIVE_DIR && m->mode == WIRE_GIVE_REMOVE)
        print_u64("since", m->since, out);
}

static void
print_given(const struct wire_given *m, FILE *out)
{
    print_u64("id", m->id, out);
    print_u64("result", m->result, out);
    wire_print_bytes("path", m->path, out);
    wire_print_bytes("text", m->text, out);
}

void
wire_print(const struct wire_msg *msg, FILE *out)
{
    switch (msg->type) {
    case WIRE_HELLO:
        print_hello(&msg->hello, out);
        break;
    case WIRE_START:
        print_start(&msg->start, out);
        break;
    case WIRE_REFUSE:
        print_refuse(&msg->refuse, out);
        break;
    case WIRE_REC:
        print_rec(&msg->rec, out);
        break;
    case WIRE_DATA:
        print_data(&msg->data, out);
        break;
    case WIRE_END:
        print_end(&msg->end, out);
        break;
    case WIRE_TAIL:
        print_tail(&msg->tail, out);
        break;
    case WIRE_COMMIT:
        print_commit(&msg->commit, out);
        break;
    case WIRE_ACK:
        print_ack(&msg->ack, out);
        break;
    case WIRE_DIGEST_ASK:
        print_digest_ask(&msg->digest_ask, out);
        break;
    case WIRE_DIGEST_ANSWER:
        print_digest_answer(&msg->digest_answer, out);
        break;
    case WIRE_SYNC_DONE:
        print_sync_done(&msg->sync_done, out);
        break;
    case WIRE_SYNC_PROGRESS:
        print_sync_progress(&msg->sync_progress, out);
        break;
    case WIRE_SIG_ASK:
        print_place(msg->sig_ask.store, msg->sig_ask.path, out);
        break;
    case WIRE_SIG:
        print_sig(&msg->sig, out);
        break;
    case WIRE_NEED:
        print_need(&msg->need, out);
        break;
    case WIRE_FETCH:
        print_place(msg->fetch.store, msg->fetch.path, out);
        break;
    case WIRE_GIVE:
        print_give(&msg->give, out);
        break;
    case WIRE_GIVEN:
        print_given(&msg->given, out);
        break;
    case WIRE_FOUND:
        print_found(&msg->found, out);
        break;
    case WIRE_FOUND_IN:
        print_found_in(&msg->found_in, out);
        break;
    case WIRE_BARRIER:
        print_u64("id", msg->barrier.id, out);
        break;
    case WIRE_REACHED:
        print_u64("id", msg->reached.id, out);
        print_u64("seq", msg->reached.seq, out);
        break;
    case WIRE_STALL:
        print_stall(&msg->stall, out);
        break;
    case WIRE_PING:
    case WIRE_PONG:
        print_u64("stamp_ns", msg->ping.stamp_ns, out);
        break;
    case WIRE_BYE:
        wire_print_bytes("text", msg->bye.text, out);
        break;
    }
}
