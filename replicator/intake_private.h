/* intake_private.h - what the files of the intake share: the folders of one batch.
 *
 *   intake.c         messages, the batch, answers      intake_folder.c  folders and what is in them
 *   intake_decide.c  what becomes of one object
 *   intake_make.c    directories that are missing      intake_letters.c dovecot-keywords
 *   intake_search.c  a message anywhere in a mailbox
 *   intake_list.c    files that carry identity    intake_lock.c    Dovecot's locks
 *   intake_move.c    other names                  intake_clear.c   directories that go */
#ifndef MAILTWIN_INTAKE_PRIVATE_H
#define MAILTWIN_INTAKE_PRIVATE_H

#include "lib/base/path.h"
#include "lib/os/file.h"
#include "lib/store/keywords.h"
#include "replicator/intake.h"
#include "replicator/intake_core.h"

struct intake_name {
    char *name; /* owned */
    bool is_new;
};

/* A folder of a Maildir store, for one batch: what is in it now. */
struct intake_folder {
    uint16_t store;
    struct buf path;
    struct buf asked, guid; /* what it is called by who gives */
    int fd, cur_fd, new_fd;
    uid_t uid;
    gid_t gid;
    struct intake_name *names; /* sorted; those that this batch adds behind `sorted` are not */
    size_t count, cap, sorted;
    struct buf keywords; /* the text of dovecot-keywords ... */
    bool keywords_read;
    struct err locked_out; /* its lock was not to be had in this batch */
};

/* The directories that hold the messages of one user, from the index. */
struct intake_home {
    uint16_t store;
    struct buf path;
    struct {
        uint64_t dir;
        struct buf path;
    } * dirs;
    size_t count, cap;
};

struct intake_places {
    struct node *node;
    struct state_txn *txn; /* a reading one, NULL until it is needed */
    struct intake_folder *folders;
    size_t folder_count, folder_cap;
    struct intake_home *homes;
    size_t home_count, home_cap;
};

void intake_places_free(struct intake_places *places);

/* One object. Directories that are named here are those of the batch's folders, or dir_fd. */
struct intake_item {
    struct wire_give give;
    struct buf bytes; /* what its spans point into */
    struct mailbox mailbox;
    int fd; /* the staged content */
    uint32_t crc;
    uint64_t received;

    bool settled;
    enum wire_given_result result;
    char text[1024];
    struct buf where;

    enum intake_act act;
    int dir_fd;          /* owned; of a file or directory */
    int from_fd, to_fd;  /* borrowed */
    struct buf from, to; /* names in them, NUL behind each */
};

void intake_item_settle(struct intake_item *item, enum wire_given_result result, const char *text);
void intake_item_failed(struct intake_item *item, const struct err *why);
void intake_mailbox(const struct node *node, uint16_t store, struct span path, struct mailbox *ret);
/* Does content come with it? */
bool intake_has_bytes(const struct wire_give *give);
/* What is to be done with it, where, and under which name; or it is settled. */
void intake_item_decide(struct intake_places *places, struct intake_item *item);
const char *intake_name_text(const struct buf *name);

/* The folder of a message, made when it is missing. *ret_folder is valid until the next one is
 * asked for. */
int intake_folder_get(struct intake_places *places, const struct wire_give *give,
                      const struct mailbox *mailbox, bool make, struct intake_folder **ret_folder,
                      struct err *e) _must_check_;
/* Which name has the base name; NULL none. */
const struct intake_name *intake_folder_find(const struct intake_folder *folder, struct span base);
void intake_folder_add(struct intake_folder *folder, struct span name, bool is_new);
/* Reads the names anew. */
int intake_folder_list(struct intake_folder *folder, struct err *e) _must_check_;

/* Opens the directory, made with all above it that is missing. home: what is below it belongs to
 * whom the directory above belongs to; what is not, to the owner given. */
int intake_make_dir(int root_fd, struct span path, struct span home, const struct attr *attr,
                    int *ret_fd, struct err *e) _must_check_;
/* cur, new and tmp; and the mark of a Maildir++ folder. */
int intake_make_folder(int fd, struct span path, struct span home, struct err *e) _must_check_;

/* The letters of the message's keywords in this folder, new names written to its dovecot-keywords.
 * *ret_full: there is no letter left for one. */
int intake_letters(struct intake_folder *folder, const struct wire_give *give,
                   struct buf *ret_letters, bool *ret_full, struct err *e) _must_check_;

/* Adds to give's keywords those that the letters stand for in this folder; `names` holds them. */
int intake_letter_names(struct intake_folder *folder, struct span flags, struct wire_give *give,
                        struct buf *names, struct err *e) _must_check_;

/* While Dovecot holds it, it changes a folder's list of UIDs and its keywords. */
#define INTAKE_UIDLIST_LOCK "dovecot-uidlist.lock"

/* Waits a second for it. The name has its ".lock". */
struct intake_lock {
    int dirfd;
    char name[64];
    uid_t uid; /* whose it is to be */
    gid_t gid;
};
int intake_lock(const struct intake_lock *lock, struct err *e) _must_check_;
void intake_unlock(const struct intake_lock *lock);

/* 1 what was given, or what it has of it, is there; 0 it was; -1 ERR_REFUSED: never. */
int intake_list(const struct intake_places *places, const struct intake_item *item,
                struct err *e) _must_check_;

/* A file, a directory or a message gets another name; as intake_list(). */
int intake_move(struct intake_places *places, struct intake_item *item, struct err *e) _must_check_;
/* After a failure: 0 nothing has the name, else -1. */
int intake_none(struct err *e) _must_check_;
/* 1 what is below the root has that name, 0 nothing has. */
int intake_stat(int root_fd, struct span path, struct stat *ret_st, struct err *e) _must_check_;
/* The lock of a folder of Dovecot's; has_lock: it is one, and was locked. */
int intake_lock_folder(int fd, struct intake_lock *ret_lock, bool *ret_locked,
                       struct err *e) _must_check_;

/* Settles each directory that is to be removed, and that something came into since. */
void intake_since(struct intake_places *places, struct intake_item *items, size_t count,
                  const atomic_bool *stop);
/* It goes with all that was seen in it by then, and with nothing else; as intake_list(). */
int intake_clear(struct intake_places *places, struct intake_item *item,
                 struct err *e) _must_check_;

/* --- from the index --- */

/* 1 found, 0 no such directory. */
int intake_search_id(struct intake_places *places, uint16_t store, struct span path,
                     uint64_t *ret_dir, struct err *e) _must_check_;

int intake_search_begin(struct intake_places *places, struct err *e) _must_check_;
/* The path that a message of the base name has in the directory (cur or new) of that path, by the
 * index. 1 found, 0 not. */
int intake_search_dir(struct intake_places *places, uint16_t store, struct span dir,
                      struct span base, struct buf *ret_path, struct err *e) _must_check_;
/* The same in all folders of the user whose mail is below path. */
int intake_search_home(struct intake_places *places, uint16_t store, struct span path,
                       struct span base, struct buf *ret_path, struct err *e) _must_check_;
/* The folder below home whose uidlist has the GUID. 1 found, 0 none has. */
int intake_search_guid(struct intake_places *places, uint16_t store, struct span path,
                       struct span guid, struct buf *ret_path, struct err *e) _must_check_;

bool intake_has_guid(int root_fd, struct span folder, struct span guid);

/* Gives the file without a name the name that another one has. From any thread. */
int intake_replace(int root_fd, int fd, int dirfd, const char *name, struct err *e) _must_check_;

/* Owner, mode and time of what is staged; extended attributes of a file. */
int intake_set_attrs(int fd, const struct wire_give *give, struct err *e) _must_check_;

#endif
