/* retained_find.h - finds retained objects by what people know of them: user, folder, time, From,
 * Subject, Message-ID. Reads names first, and the header of a message only when all else fits. */
#ifndef MAILTWIN_RETAINED_FIND_H
#define MAILTWIN_RETAINED_FIND_H

#include "lib/base/kinds.h"
#include "lib/data/retained.h"
#include "lib/store/mailbox.h"
#include "lib/store/mailhead.h"

#define RETAINED_IDS_MAX 4

/* NULL and 0: whatever. */
struct retained_filter {
    const char *user;   /* "example.org/ann", "ann@example.org", "ann" */
    const char *folder; /* as IMAP has it; "INBOX" */
    const char *from, *subject, *message_id;
    uint64_t since_ms, until_ms;
    uint64_t ids[RETAINED_IDS_MAX];
    size_t id_count;
    bool members; /* each file of a directory for itself, and not the directory */
    bool heads;   /* the header of each message is wanted */
};

struct retained_found {
    const struct retained_object *object;
    struct span path;   /* in the store */
    struct span member; /* below the object, "" the object itself */
    struct stat st;
    struct mailbox mailbox; /* of a Maildir store; else empty, kind OTHER */
    struct mailhead head;   /* of a message, when it was read */
};

struct retained_search {
    enum store_kind kind; /* of the store */
    const char *users;    /* see mailbox.h */
    const struct retained_filter *filter;
    /* Until it returns something else than 0. */
    int (*each)(void *arg, const struct retained_found *found, struct err *e);
    void *arg;
    uint64_t strange; /* names that are none of ours, as far as it was read */
};

/* Directories that are read file by file when the filter asks for files. What lives under another
 * name is left out; a file whose names are all retained is told under each of them. Returns what
 * each() returned last, -1 failed. */
int retained_find(int retained_fd, struct retained_search *search, struct err *e) _must_check_;

#endif
