#include "plugin/dovecot/plugin.h"

#include <imap-common.h>

#include <imap-client.h>
#include <module-context.h>

#include <string.h>

/* Only the program imap has these; in every other one they are not there. */
#pragma weak imap_client_created_hook_set
#pragma weak imap_module_register

struct twin_client {
    union imap_module_context module_ctx;
};

static MODULE_CONTEXT_DEFINE_INIT(twin_client_module, &imap_module_register);
static imap_client_created_func_t *next_created;

bool
imap_there(void)
{
    return imap_client_created_hook_set != NULL;
}

/* Commands by what their OK states; any other, such as a FETCH that sets \Seen, by what it did. */
static const char *
wait_for(struct client_command_context *cmd)
{
    unsigned kinds = cmd->name != NULL ? kinds_of_command(cmd->name) : 0;
    if (kinds == 0)
        kinds = plugin_noted();
    return kinds != 0 ? plugin_wait(cmd->client->user, kinds) : NULL;
}

static void
send_tagline(struct client_command_context *cmd, const char *data)
{
    struct twin_client *twin = MODULE_CONTEXT_REQUIRE(cmd->client, twin_client_module);
    const char *unsafe = NULL;
    if (strncmp(data, "OK", 2) == 0)
        unsafe = wait_for(cmd);
    if (unsafe != NULL)
        data = t_strdup_printf("NO [UNAVAILABLE] %s.", unsafe);
    twin->module_ctx.super.send_tagline(cmd, data);
}

static void
client_created(struct client **client_p)
{
    struct client *client = *client_p;
    const struct waits *waits = plugin_waits(client->user);
    if (waits != NULL && waits->kinds != KINDS_NONE) {
        struct twin_client *twin = p_new(client->pool, struct twin_client, 1);
        twin->module_ctx.super = client->v;
        client->v.send_tagline = send_tagline;
        MODULE_CONTEXT_SET(client, twin_client_module, twin);
    }
    if (next_created != NULL)
        next_created(client_p);
}

void
imap_init(void)
{
    if (imap_there())
        next_created = imap_client_created_hook_set(client_created);
}

void
imap_deinit(void)
{
    if (imap_there())
        (void)imap_client_created_hook_set(next_created);
}
