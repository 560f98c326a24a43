#include "replicator/proof.h"

#define ROW_SIZE  40
#define ROW_SHORT 16               /* as written before contents were compared by schedule */
#define FIRST_MS  (60 * 60 * 1000) /* a store that was never compared, after the start */
#define PARTS_MAX 10000

void
proof_encode(const struct proof *proof, struct buf *out)
{
    buf_add_le64(out, proof->at);
    buf_add_le64(out, proof->differences);
    buf_add_le32(out, proof->part);
    buf_add_le32(out, proof->parts);
    buf_add_le64(out, proof->turn_began);
    buf_add_le64(out, proof->contents_since);
}

void
proof_decode(struct span row, struct proof *ret_proof)
{
    struct reader r = reader_of(row);
    *ret_proof = (struct proof){ 0 };
    if (row.len != ROW_SIZE && row.len != ROW_SHORT)
        return;
    ret_proof->at = reader_le64(&r);
    ret_proof->differences = reader_le64(&r);
    if (row.len == ROW_SHORT)
        return;
    ret_proof->part = reader_le32(&r);
    ret_proof->parts = reader_le32(&r);
    ret_proof->turn_began = reader_le64(&r);
    ret_proof->contents_since = reader_le64(&r);
}

bool
proof_is_due(const struct proof *proof, uint64_t every_ms, uint64_t now, uint64_t up_ms)
{
    if (every_ms == 0)
        return false;
    if (proof->at == 0)
        return up_ms >= MIN(every_ms, (uint64_t)FIRST_MS);
    return proof->at > now || (now - proof->at) * 1000 >= every_ms;
}

/* A turn that was begun with another number of parts begins anew. */
void
proof_next(const struct proof *proof, uint64_t every_ms, uint64_t contents_ms,
           struct proof_plan *ret_plan)
{
    *ret_plan = (struct proof_plan){ 0 };
    if (every_ms == 0 || contents_ms == 0)
        return;
    uint64_t parts = (contents_ms + every_ms - 1) / every_ms;
    ret_plan->content = true;
    ret_plan->parts = (uint32_t)MIN(parts, (uint64_t)PARTS_MAX);
    ret_plan->part = proof->parts == ret_plan->parts && proof->part < proof->parts ? proof->part
                                                                                   : 0;
}

void
proof_done(struct proof *proof, const struct proof_plan *plan, uint64_t began, uint64_t ended,
           uint64_t differences)
{
    proof->at = ended;
    proof->differences = differences;
    if (!plan->content)
        return;
    if (plan->parts == 0) {
        proof->contents_since = began;
        return;
    }
    proof->turn_began = plan->part == 0 ? began : proof->turn_began;
    proof->parts = plan->parts;
    proof->part = (plan->part + 1) % plan->parts;
    if (proof->part == 0)
        proof->contents_since = proof->turn_began;
}
