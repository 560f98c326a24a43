/* accounts.h - mailboxes that no account of the directory has, and accounts without a mailbox: what
 * `mailtwin accounts` lists and `mailtwin promote` counts. */
#ifndef MAILTWIN_CLI_ACCOUNTS_H
#define MAILTWIN_CLI_ACCOUNTS_H

#include "lib/base/err.h"
#include "lib/os/conf.h"

#include <jansson.h>

#define ACCOUNTS_ORPHANS "mailboxes_without_account"
#define ACCOUNTS_EMPTY   "accounts_without_mailbox"

/* Does the configuration say where the mail of an account is? */
bool accounts_are_known(const struct conf *conf);
/* Only where it does. 1: *ret_found has both as arrays of names, the caller's; 0 it takes longer;
 * -1. */
int accounts_compare(const struct conf *conf, uint64_t within_ms, json_t **ret_found,
                     struct err *e) _must_check_;

#endif
