/* control_refusal.c - an error as the answer to a request. */
#include "lib/os/control_private.h"

static json_t *
refusal(const struct err *e)
{
    return json_pack("{s:b, s:s, s:s+}", "ok", 0, "code", err_name(e->code), "error", e->text, "");
}

/* A sentence may quote a file name of any bytes, JSON is UTF-8 only: what is not becomes '?'. */
json_t *
control_refusal(const struct err *e)
{
    json_t *json = refusal(e);
    if (json != NULL)
        return json;
    struct err plain = *e;
    for (char *c = plain.text; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return refusal(&plain);
}
