/* table.h - what is known of each entry of a store, by its id. In memory only: it is read from the
 * spool and the server at each start. Used by one thread. */
#ifndef MAILTWIN_DIRECTORY_TABLE_H
#define MAILTWIN_DIRECTORY_TABLE_H

#include "lib/base/bytes.h"
#include "lib/store/ldapsync.h"

/* Why an entry could not be carried out here. */
struct problem {
    char *dn, *why;
    int code; /* of the server; 0: the file itself */
    uint64_t since_ms, retry_ms;
    bool told; /* the event went out */
};

struct row {
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    char *dn;        /* under which the server has it; NULL: it has it not, or that is not known */
    bool in_spool;   /* the spool has a file of it */
    bool pending;    /* to be carried out on the server: see rows_set_pending() */
    bool kept;       /* the server refused it before this node was promoted: its file stays */
    uint32_t seen;   /* the comparison or refresh that saw it last on the server */
    uint32_t listed; /* the refresh before which the server still had it */
    uint32_t
        withheld; /* the refresh since which its file has a secret that is not shown any more */
    struct problem *problem;     /* NULL none */
    struct row *next, *previous; /* of those pending */
};

struct table {
    struct row **slots;
    size_t slot_count, count, problems;
    struct row *pending; /* the first of a list */
};

void rows_free(struct table *table); /* leaves an empty one behind */
struct row *rows_find(const struct table *table, const uint8_t uuid[LDAPSYNC_UUID_SIZE]);
struct row *rows_get(struct table *table, const uint8_t uuid[LDAPSYNC_UUID_SIZE]); /* makes it */
/* The row that is about to be forgotten must not be used any more. */
void rows_forget(struct table *table, struct row *row);
/* All rows, in no order: begin with 0; NULL at the end. Nothing may be made or forgotten meanwhile.
 */
struct row *rows_next(const struct table *table, size_t *at);
void rows_set_pending(struct table *table, struct row *row, bool pending);
void row_set_dn(struct row *row, struct span dn); /* an empty one: NULL */
/* Remembers the reason; true: it is another than before. */
bool rows_set_problem(struct table *table, struct row *row, struct span dn, int code,
                      const char *why, uint64_t now_ms);
void rows_clear_problem(struct table *table, struct row *row);

#endif
