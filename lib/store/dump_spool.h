/* dump_spool.h - the versions of one dump store on the disk: <state-dir>/spool/NAME, and what this
 * node alone knows of them: <state-dir>/dumps/NAME.json. Format: docs/formats/dump.md.
 *
 * Whoever opens a spool to write has it alone (flock). Nothing here looks at roles. */
#ifndef MAILTWIN_DUMP_SPOOL_H
#define MAILTWIN_DUMP_SPOOL_H

#include "lib/os/conf.h"
#include "lib/store/dump.h"

#include <jansson.h>
#include <openssl/evp.h>

struct dump_spool {
    int dirfd;     /* the spool */
    int notesfd;   /* <state-dir>/dumps */
    char *name;    /* of the store */
    json_t *notes; /* "made", "restored": {"epoch","version"}, "last": the last run */
};

#define DUMP_SHARED (-1)

/* wait_ms: for another process that has it alone, then ERR_BUSY; DUMP_SHARED: to read only. */
int dump_spool_open(const struct conf *conf, const struct conf_store *store, int wait_ms,
                    struct dump_spool *ret_spool, struct err *e) _must_check_;
void dump_spool_close(struct dump_spool *spool);
#define _cleanup_spool_ _cleanup_(dump_spool_close)

struct dump_list {
    struct dump_version *versions; /* the oldest first; owned */
    size_t count;
};

/* Names that are no version's are left out. */
int dump_spool_list(const struct dump_spool *spool, struct dump_list *ret_list,
                    struct err *e) _must_check_;
void dump_list_free(struct dump_list *list);
#define _cleanup_dumps_ _cleanup_(dump_list_free)

/* Opens a version to read: *ret_fd at its first byte, its trailer checked. With `whole` its hash,
 * too. */
int dump_spool_read(const struct dump_spool *spool, const struct dump_version *version, bool whole,
                    int *ret_fd, struct dump_trailer *ret_trailer, struct err *e) _must_check_;
/* What dump_may_run() and dump_must_restore() go by. */
int dump_spool_facts(const struct dump_spool *spool, uint64_t epoch, struct dump_facts *ret_facts,
                     struct err *e) _must_check_;
/* The notes get value (the reference is taken) under key, durably. */
int dump_spool_note(struct dump_spool *spool, const char *key, json_t *value,
                    struct err *e) _must_check_;

/* A version that is being written: a file that has no name that counts. */
struct dump_draft {
    int fd;
    EVP_MD_CTX *hash;
    uint64_t size;
    uint64_t looked; /* at the room on the disk, when it had this size */
};

int dump_draft_begin(const struct dump_spool *spool, struct dump_draft *ret_draft,
                     struct err *e) _must_check_;
/* ERR_NOSPACE: before the disk is full, which is the journal's as well. */
int dump_draft_add(struct dump_draft *draft, struct span bytes, struct err *e) _must_check_;
void dump_draft_hash(struct dump_draft *draft, uint8_t ret_hash[DUMP_HASH_SIZE]); /* once */
/* Trailer, sync, name, sync of the directory. */
int dump_draft_keep(const struct dump_spool *spool, struct dump_draft *draft,
                    const struct dump_trailer *trailer, const struct dump_version *version,
                    struct err *e) _must_check_;
/* Removes it unless it was kept. */
void dump_draft_end(const struct dump_spool *spool, struct dump_draft *draft);
/* Removes all versions but the newest `keep`. */
int dump_spool_prune(const struct dump_spool *spool, unsigned keep, struct err *e) _must_check_;

#endif
