/* dump.h - versions of a dump store: their names, their trailer, which are kept, and whether a node
 * may make one. Pure. Format: docs/formats/dump.md.
 *
 * A version is one file: the bytes that the command wrote, and a trailer of fixed size behind them.
 * It gets its name, by a rename, once all of it is on the disk and the command ended with status 0;
 * so a file with such a name is complete. Versions are ordered by epoch and number, never by time:
 * clocks jump. */
#ifndef MAILTWIN_DUMP_H
#define MAILTWIN_DUMP_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define DUMP_NAME_SIZE    64 /* "20261122T231500Z-3-17.dump" and its NUL */
#define DUMP_HASH_SIZE    32 /* SHA-256 */
#define DUMP_TRAILER_SIZE 96

struct dump_version {
    uint64_t time_s; /* UTC, when the command was started; for people */
    uint64_t epoch;  /* of the primary that made it */
    uint64_t number; /* rises over all versions of a store */
};

/* false: it is no name of a version, for any reason. */
bool dump_name_parse(struct span name, struct dump_version *ret_version);
void dump_name_write(const struct dump_version *version, char ret_name[DUMP_NAME_SIZE]);
/* The older first. */
int dump_compare(const struct dump_version *a, const struct dump_version *b);

struct dump_trailer {
    uint64_t size; /* of what stands before it */
    uint64_t began_ms, ended_ms;
    uint64_t epoch, number; /* as in the name */
    uint8_t hash[DUMP_HASH_SIZE];
};

void dump_trailer_encode(const struct dump_trailer *trailer, uint8_t ret_bytes[DUMP_TRAILER_SIZE]);
/* file_size: of the whole file. ERR_CORRUPT says what is wrong. */
int dump_trailer_decode(struct span bytes, uint64_t file_size, struct dump_trailer *ret_trailer,
                        struct err *e) _must_check_;

/* What a node knows of a store besides the versions in it. */
struct dump_facts {
    uint64_t epoch;             /* the primary's, now */
    bool any;                   /* there are versions */
    struct dump_version newest; /* of these */
    bool made_any;              /* this node made one, some time */
    struct dump_version made;   /* the last of those */
    uint64_t restored_epoch;    /* in which a version was restored here; 0 never */
};

/* Does the program's data here come from what the newest version was made of, or later? Only then a
 * dump is one: that of a program that was not given the newest version yet would take its place. */
bool dump_may_run(const struct dump_facts *facts);
/* Is there a version that this node's program lacks? Not when this node made the newest itself: its
 * program has that, and what came later. */
bool dump_must_restore(const struct dump_facts *facts);

#endif
