/* mailbox.h - whose mail a path of a Maildir store is: user, folder, message. Pure.
 *
 * Nothing in a path says where the user's name ends. Either the configuration does (`users`, one
 * star for each component: two with a slash between them for DOMAIN/USER), or it is guessed: what
 * is above a component called Maildir, .maildir or mail; else what is above the folder, whose name
 * begins with a dot (Maildir++). */
#ifndef MAILTWIN_MAILBOX_H
#define MAILTWIN_MAILBOX_H

#include "lib/base/bytes.h"

enum mailbox_kind {
    MAILBOX_MESSAGE,  /* in a folder's cur or new */
    MAILBOX_DELIVERY, /* in a folder's tmp: nobody's yet */
    MAILBOX_CONTROL, /* what carries identity or settings of a folder: uidlist, subscriptions, … */
    MAILBOX_OTHER,   /* any other name, also of a directory */
};

/* Spans point into the path. */
struct mailbox {
    enum mailbox_kind kind;
    struct span user;   /* "example.org/ada", "" when the path is above all users */
    struct span home;   /* path of the user's mail: of the folder that is INBOX */
    struct span folder; /* as IMAP has it, "" for INBOX: "Sent", "A.B" (Maildir++), "A/B" */
    struct span dir;    /* path of the folder's directory */
    struct span base;   /* of a message: its name without flags; else the name below dir */
    struct span flags;  /* of a message: the letters behind ":2,", "" none */
    bool is_new;        /* a message in new */
};

/* users: of the store's configuration (checked by conf_load()), "" or NULL to guess. The path is a
 * valid one (path_valid()). */
void mailbox_of(const char *users, struct span path, struct mailbox *ret_mailbox);

#endif
