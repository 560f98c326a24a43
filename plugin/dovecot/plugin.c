#include "plugin/dovecot/plugin.h"

#include <mail-storage-hooks.h>
#include <mail-storage-private.h>
#include <mail-user.h>

#include <errno.h>
#include <string.h>

const char *mailtwin_plugin_version = DOVECOT_ABI_VERSION;
const char *mailtwin_plugin_dependencies[] = { NULL };

struct twin_user {
    union mail_user_module_context module_ctx;
    struct waits waits;
};

static MODULE_CONTEXT_DEFINE_INIT(twin_user_module, &mail_user_module_register);

static unsigned noted;
/* One for the process: it keeps its connection from one user to the next. */
static struct mailtwin_barrier *barrier;
static char *barrier_socket;

enum program
plugin_program(void)
{
    if (imap_there())
        return PROGRAM_IMAP;
    return deliver_there() ? PROGRAM_DELIVERY : PROGRAM_OTHER;
}

const struct waits *
plugin_waits(struct mail_user *user)
{
    const struct twin_user *twin = MODULE_CONTEXT(user, twin_user_module);
    return twin != NULL ? &twin->waits : NULL;
}

void
plugin_note(unsigned kinds)
{
    noted |= kinds;
}

unsigned
plugin_noted(void)
{
    return noted;
}

static void
close_barrier(void)
{
    mailtwin_barrier_close(barrier);
    barrier = NULL;
    i_free_and_null(barrier_socket);
}

static struct mailtwin_barrier *
barrier_of(const struct waits *waits)
{
    if (barrier != NULL && strcmp(barrier_socket, waits->socket) == 0)
        return barrier;
    close_barrier();
    if (mailtwin_barrier_open(waits->socket, &barrier) < 0)
        return NULL;
    barrier_socket = i_strdup(waits->socket);
    return barrier;
}

static void
tell(struct mail_user *user, const struct waits *waits, enum verdict verdict, int error)
{
    switch (verdict) {
    case VERDICT_SAFE:
        break;
    case VERDICT_LATE:
        e_error(user->event, "mailtwin: done, but not safe within %u ms; the client was told so",
                waits->timeout_ms);
        break;
    case VERDICT_REFUSED:
        e_error(user->event,
                "mailtwin: done, but %s refuses to call it safe (mailtwin status says "
                "why); the client was told so",
                waits->socket);
        break;
    case VERDICT_DOWN:
        e_error(user->event,
                "mailtwin: done, but no answer from %s within %u ms: %s; the client "
                "was told so",
                waits->socket, waits->timeout_ms, strerror(error));
        break;
    }
}

const char *
plugin_wait(struct mail_user *user, unsigned kinds)
{
    const struct waits *waits = plugin_waits(user);
    noted = 0;
    if (waits == NULL || (waits->kinds & kinds) == 0)
        return NULL;
    int error = 0;
    enum verdict verdict = VERDICT_DOWN;
    struct mailtwin_barrier *at = barrier_of(waits);
    if (at != NULL)
        verdict = wait_until_safe(at, waits->store, waits->timeout_ms, &error);
    else
        error = errno;
    tell(user, waits, verdict, error);
    return verdict == VERDICT_SAFE ? NULL : kinds_sentence(verdict);
}

/* Where lmtp and dovecot-lda keep a mail until they know where it goes. */
static bool
is_raw(const struct mail_user *user)
{
    return user->autocreated && user->creator == NULL;
}

/* A doubtful configuration lets nobody in: a typing error must not switch the waiting off. */
static void
user_created(struct mail_user *user)
{
    if (is_raw(user))
        return;
    struct twin_user *twin = p_new(user->pool, struct twin_user, 1);
    const char *error;
    if (settings_read(user, &twin->waits, &error) < 0) {
        user->error = p_strdup_printf(user->pool, "mailtwin plugin: %s", error);
        return;
    }
    MODULE_CONTEXT_SET(user, twin_user_module, twin);
}

static void
mailbox_allocated(struct mailbox *box)
{
    const struct waits *waits = plugin_waits(box->storage->user);
    if (waits != NULL && waits->kinds != KINDS_NONE)
        storage_hook(box);
}

static struct mail_storage_hooks hooks = {
    .mail_user_created = user_created,
    .mailbox_allocated = mailbox_allocated,
};

void
mailtwin_plugin_init(struct module *module)
{
    mail_storage_hooks_add(module, &hooks);
    imap_init();
    deliver_init();
}

void
mailtwin_plugin_deinit(void)
{
    deliver_deinit();
    imap_deinit();
    mail_storage_hooks_remove(&hooks);
    close_barrier();
}
