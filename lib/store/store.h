/* store.h - what a kind of store means for the file engine. Pure: names in, decisions out. */
#ifndef MAILTWIN_STORE_H
#define MAILTWIN_STORE_H

#include "lib/base/bytes.h"
#include "lib/base/kinds.h"

/* How a name is treated. */
enum store_class {
    CLASS_IGNORE,   /* never captured, shipped or compared: locks, caches, what is rebuilt */
    CLASS_NORMAL,   /* a message, or any other file */
    CLASS_KEYWORDS, /* late: after the messages of its run */
    CLASS_UIDLIST,  /* last: names messages, so it must not arrive before them */
};

/* The mailtwin folder in a store's root; ignored in every kind. */
#define STORE_PRIVATE_DIR ".mailtwin"

/* What the daemon of a spool store is writing has a name that begins so, until it is renamed. */
#define STORE_SPOOL_TMP ".tmp-"

struct store_rules {
    enum store_kind kind;
    const char *const
        *exclude; /* fnmatch patterns on the name, from the configuration; NULL-ended */
};

/* The class of `name` in directory `dir` (store path, "" for the root). `dir_is_tmp` is
 * store_dir_is_tmp() of the directory. */
enum store_class store_class_of(const struct store_rules *rules, struct span dir, struct span name,
                                bool dir_is_tmp);
/* Does the mode of a file in the directory say that it is being written and nobody's yet? It is
 * then as if it were not there; a change of its mode makes it a new file. */
bool store_is_unfinished(const struct store_rules *rules, struct span dir, uint32_t mode);
/* Can a file of the store be so, and of this directory? One that was finished meanwhile does not
 * show in its times. */
bool store_has_unfinished(const struct store_rules *rules);
bool store_may_be_unfinished(const struct store_rules *rules, struct span dir);
/* Is the directory called `name`, beside which `has_cur_or_new` exists, a Maildir's tmp? Deliveries
 * in it are being written and are nobody's yet; a rename out of it is a new message. All else in it
 * counts: it may be the home of a user called tmp, and his neighbour may be called new. */
bool store_dir_is_tmp(const struct store_rules *rules, struct span name, bool has_cur_or_new);
/* Does a directory called `name` tell, by being there, what its neighbours and the one above are?
 */
bool store_tells_kinds(const struct store_rules *rules, struct span name);
/* Do files in the directory called `name` change in place, so that a sweep must look at each file's
 * own times? Not in a Maildir's cur and new, where a directory's times tell all. in_maildir: the
 * directory above holds directories cur and new, this one does not. */
bool store_changes_in_place(const struct store_rules *rules, struct span name, bool in_maildir);

#endif
