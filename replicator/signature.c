#include "replicator/signature.h"

#include <stdlib.h>

#define SIGNATURE_MAX (512 * 1024 * 1024)

void
signature_free(struct signature *s)
{
    buf_free(&s->bytes);
}

int
signature_ask(struct signature *s, struct link_io *io, const struct record *record, struct err *e)
{
    struct wire_msg *msg = xcalloc(1, sizeof(*msg));
    msg->type = WIRE_SIG_ASK;
    msg->sig_ask = (struct wire_sig_ask){ .store = record->store, .path = record->path };
    int rc = link_io_send(io, msg, e);
    free(msg);
    buf_reset(&s->bytes);
    s->max = (size_t)MIN(record->attr.size, (uint64_t)SIGNATURE_MAX);
    s->awaited = s->ok = true;
    return rc < 0 ? -1 : link_io_flush(io, e);
}

int
signature_take(struct signature *s, const struct wire_sig *sig, struct err *e)
{
    if (!s->awaited)
        return err_set(e, ERR_PROTOCOL, "a signature that was not asked for");
    s->awaited = sig->last == 0;
    s->ok = s->ok && sig->ok != 0 && sig->bytes.len <= s->max - s->bytes.len;
    if (s->ok)
        buf_add(&s->bytes, sig->bytes.ptr, sig->bytes.len);
    else
        buf_free(&s->bytes);
    return 0;
}
