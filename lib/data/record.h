/* record.h - one change of one store, as it stands in the journal and on the wire.
 * Format: docs/formats/record.md; its last four bytes are a CRC-32C of the rest.
 *
 * A record names a change, not its content: the content is read when it is shipped, by handle. */
#ifndef MAILTWIN_RECORD_H
#define MAILTWIN_RECORD_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define RECORD_HANDLE_MAX    128
#define RECORD_STORE_MAX     64
#define RECORD_TARGET_MAX    4095 /* bytes of a symlink's target, as in Linux */
#define RECORD_VERSION       1
#define RECORD_DESTROY_MAGIC 0x4d4c5744u /* every destructive record carries it */

enum record_op {
#define OP(name, number, word, flags) OP_##name = number,
#include "lib/data/ops.def"
#undef OP
};

enum record_op_flag {
    OP_F_CONTENT = 1, /* ships the bytes of a file */
    OP_F_TWO = 2,     /* has a second path (or a symlink's target) in `other` */
    OP_F_DESTROY = 4, /* removes or replaces something: carries the magic */
};

/* What stat says of an object; times in ns since 1970 of the node that wrote the record. */
struct attr {
    uint32_t mode; /* type and permission bits, as st_mode */
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    int64_t mtime_ns;
};

struct record {
    uint64_t seq;
    uint64_t epoch;
    uint64_t time_ns; /* CLOCK_REALTIME when it was captured on the primary, for lag */
    uint16_t store;   /* index into the stores agreed on in HELLO */
    enum record_op op;
    bool late;        /* goes last in a run (keywords and uidlist; see lib/store) */
    struct attr attr; /* of the object as seen at capture; identifies the source of a RENAME */
    struct span
        path; /* the name that is made, changed or removed; for RENAME and LINK the new one */
    struct span other;  /* RENAME: the old name; LINK: an existing name; SYMLINK: the target */
    struct span handle; /* the object's file handle on this node; empty on the wire */
};

void attr_encode(const struct attr *attr, struct buf *out);
struct attr attr_decode(struct reader *in);
/* True for the types a store can hold (directory, file, symlink, fifo, socket) and for type 0, not
 * known; never for a device. */
bool attr_valid(const struct attr *attr);

const char *record_op_word(enum record_op op); /* "put", "rename", ... ; "?" for none of ours */
unsigned record_op_flags(enum record_op op);

/* Is it a record that can be written? Known op, store, valid paths, a type that fits the op. */
int record_check(const struct record *r, struct err *e) _must_check_;
void record_encode(const struct record *r, struct buf *out); /* asserts on an invalid record */
/* Checks every field: known op, valid paths, magic, lengths, checksum, nothing left over. The spans
 * of *ret_record point into in. ERR_CORRUPT otherwise. */
int record_decode(struct span in, struct record *ret_record, struct err *e) _must_check_;

#endif
