#include "plugin/dovecot/plugin.h"

#include <mail-deliver.h>
#include <mail-storage.h>

/* Only lmtp and dovecot-lda have it. */
#pragma weak mail_deliver_hook_set

static deliver_mail_func_t *next_deliver;
static bool running;

bool
deliver_there(void)
{
    return mail_deliver_hook_set != NULL;
}

bool
deliver_running(void)
{
    return running;
}

/* A temporary failure, and no second try at a default folder: the mail is here, the sender keeps it
 * as well and comes again. */
static int
fail(struct mail_deliver_context *ctx, const char *unsafe)
{
    ctx->tempfail_error = p_strconcat(ctx->pool, unsafe, KINDS_STORED, NULL);
    ctx->tried_default_save = TRUE;
    ctx->saved_mail = FALSE;
    return -1;
}

/* Around sieve: whatever it stores in however many folders, the wait is one. What it leaves to the
 * default delivery waits when that is committed (storage.c). */
static int
deliver(struct mail_deliver_context *ctx, struct mail_storage **storage_r)
{
    if (next_deliver == NULL)
        return 0;
    running = true;
    int ret = next_deliver(ctx, storage_r);
    running = false;
    if (plugin_noted() == 0 || (ret <= 0 && !ctx->saved_mail))
        return ret;
    const char *unsafe = plugin_wait(ctx->rcpt_user, KIND_DELIVER);
    return unsafe != NULL ? fail(ctx, unsafe) : ret;
}

void
deliver_init(void)
{
    if (deliver_there())
        next_deliver = mail_deliver_hook_set(deliver);
}

void
deliver_deinit(void)
{
    if (deliver_there())
        (void)mail_deliver_hook_set(next_deliver);
}
