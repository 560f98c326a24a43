/* plugin.h - the Dovecot plugin "mailtwin": a client hears OK when what it asked for is safe.
 *
 * Three places, each where an answer is about to be given:
 *
 *   imap.c     IMAP: before a tagged OK. The flags and expunges of a command are on the disk by
 * then, for Dovecot syncs the folder first; one wait for a command, however many mails. deliver.c
 * LMTP, dovecot-lda: behind sieve; one wait for a recipient, however many folders. storage.c
 * everything else (POP3's QUIT, doveadm, dsync, a delivery without sieve): at the end of the
 * transaction or the sync that wrote it.
 *
 * storage.c also notes what was done (plugin_note), for the first two to know that there is
 * something to wait for. One process serves one client at a time in Dovecot's default setup; with
 * more (client_limit) they wait for each other, and never too little.
 *
 * docs/dovecot-plugin.md says what clients see. */
#ifndef MAILTWIN_PLUGIN_PLUGIN_H
#define MAILTWIN_PLUGIN_PLUGIN_H

#include <lib.h> /* first: it has a bool of its own, which <stdbool.h> may follow but not precede */

#include "plugin/dovecot/kinds.h"
#include "plugin/dovecot/wait.h"

struct mail_storage_hooks;
struct mail_user;
struct module;

/* Which answers this program gives. */
enum program {
    PROGRAM_IMAP,     /* tagged */
    PROGRAM_DELIVERY, /* for each recipient */
    PROGRAM_OTHER     /* as the storage does */
};
enum program plugin_program(void);

/* What this user's configuration asks for; NULL for a user without the plugin. */
struct waits {
    unsigned kinds;
    const char *store; /* NULL: all */
    const char *socket;
    unsigned timeout_ms;
};
const struct waits *plugin_waits(struct mail_user *user);

/* Fills *ret_waits, in the user's pool, from Dovecot's configuration. -1: *ret_error is the
 * sentence with which the user's login fails. */
int settings_read(struct mail_user *user, struct waits *ret_waits, const char **ret_error);

/* Something of these kinds was done and not waited for yet. */
void plugin_note(unsigned kinds);
unsigned plugin_noted(void);

/* Waits if the user's configuration wants one of kinds; all that was noted is settled then. NULL:
 * go on; else the sentence for the client, and the log has told the cause. */
const char *plugin_wait(struct mail_user *user, unsigned kinds);

/* The three places. A hook that the program does not have is not set. */
void imap_init(void);
void imap_deinit(void);
bool imap_there(void);
void deliver_init(void);
void deliver_deinit(void);
bool deliver_there(void);
bool deliver_running(void);
struct mailbox;
void storage_hook(struct mailbox *box);

/* What Dovecot looks for in a plugin of this name. */
extern const char *mailtwin_plugin_version;
extern const char *mailtwin_plugin_dependencies[];
void mailtwin_plugin_init(struct module *module);
void mailtwin_plugin_deinit(void);

#endif
