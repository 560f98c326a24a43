/* renumber_private.h - what renumber.c (the order, and which folders there are) and
 * renumber_folder.c (what is done to one) share. */
#ifndef MAILTWIN_RENUMBER_PRIVATE_H
#define MAILTWIN_RENUMBER_PRIVATE_H

#include "lib/store/identity.h"
#include "replicator/renumber.h"

#define RENUMBER_LOG "dovecot.index.log"

/* A directory that has something of a mailbox in it, as the index has it. */
struct renumber_folder {
    int fd;
    bool messages; /* it has a cur: a folder */
    bool uidlist, courier, sizes, validity;
    uint32_t marker;   /* the largest in the name of a marker of UIDVALIDITY, 0 none */
    struct attr owner; /* of its list of UIDs, else of the directory */
    int64_t
        locks_since_ns; /* one from before then, of a mail server that was killed, is nobody's */
};

enum renumber_lists {
    RENUMBER_UIDLIST = 1,
    RENUMBER_COURIER = 2,
    RENUMBER_SIZES = 4
};

struct renumber_result {
    unsigned raised; /* lists whose next UID was raised */
    unsigned busy;   /* lists that somebody has locked: enum renumber_lists */
};

/* identity_clock() by what this node has. */
int renumber_clock(struct state_txn *txn, uint64_t *ret_s, struct err *e) _must_check_;

/* 1 the directory has something of a mailbox, 0 not, -1. */
int renumber_names(struct state_txn *txn, const struct state_dir *dir,
                   struct renumber_folder *ret_folder, struct err *e) _must_check_;
void renumber_note_file(struct renumber_folder *folder, struct span name); /* that it has */
bool renumber_is_mailbox(const struct renumber_folder *folder);
/* By handle, which costs no walk; by its path where the filesystem gives no such. */
int renumber_open(struct node *node, struct state_txn *txn, const struct state_dir *dir, int flags,
                  struct err *e) _must_check_;
bool renumber_is_maildir(const struct node *node, const struct state_dir *dir);

/* --- renumber_look.c: as the disk has it --- */

/* What the directory folder->fd (store path `path`) has of a mailbox, and the directories in it
 * that may be or hold others: inode number u64, name span16. */
int renumber_look(const struct node_store *store, struct span path, struct renumber_folder *folder,
                  struct buf *ret_dirs, struct err *e) _must_check_;
/* 1 it is the cur, new or tmp of a folder, which holds no others; 0 not, -1. */
int renumber_holds_messages(struct state_txn *txn, const struct state_dir *dir,
                            struct err *e) _must_check_;
/* Of those directories the ones that the index may not have: store u16, path span16. dir->id 0: it
 * has not even the one above. */
int renumber_add_strays(struct state_txn *txn, const struct state_dir *dir, struct span path,
                        struct span dirs, struct buf *strays, struct err *e) _must_check_;
/* 1 open; 0 it is gone, or another filesystem; -1. *ret_known: its row, under another name; 0 it is
 * in no index. */
int renumber_open_stray(const struct node_store *store, struct state_txn *txn, struct span path,
                        struct renumber_folder *ret_folder, uint64_t *ret_known,
                        struct err *e) _must_check_;

/* Nothing was made, removed or renamed in it since it was looked at, and its log is as it was
 * written beforehand. The directory may be open for its path alone. */
bool renumber_is_prepared(const struct renumber_folder *folder,
                          const struct renumber_prepared *prepared);
/* What is done with it. prepared: it is, and nothing but the numbers is left to do. The first thing
 * that fails is in *e; the rest is done all the same. ERR_BUSY: it was nothing but locks. */
int renumber_folder(const struct renumber_folder *folder, const struct renumber_order *order,
                    bool prepared, bool live, struct renumber_result *ret_result,
                    struct err *e) _must_check_;
/* A moment later, of these lists alone; no mail server is expected to run. */
int renumber_again(const struct renumber_folder *folder, const struct renumber_order *order,
                   unsigned lists, struct renumber_result *ret_result, struct err *e) _must_check_;

/* On a standby: writes the image to its log, which is open, but for one that a mail server has
 * written to: that is left to the promotion. 1 written, 0 it stays, -1. */
int renumber_write_log(int fd, const struct renumber_prepared *prepared, struct span image,
                       struct err *e) _must_check_;
/* On a standby. *ret_made: its log was made or written. */
int renumber_prepare_folder(const struct renumber_folder *folder,
                            const struct renumber_prepared *prepared, bool *ret_made,
                            struct err *e) _must_check_;

#endif
