/* salvage.h - what a returning node has alone, kept in its stores until it is delivered, applied or
 * dropped. Format: docs/formats/salvage.md.
 *
 * A manifest is written once, whole, before anything of the node is overwritten. Marks say what
 * became of its items; they are appended, and the last one of an item counts. Pure: bytes in and
 * out. */
#ifndef MAILTWIN_SALVAGE_H
#define MAILTWIN_SALVAGE_H

#include "lib/data/record.h"
#include "lib/data/wire.h"

#define SALVAGE_MAX        (256 * 1024 * 1024) /* bytes of a manifest */
#define SALVAGE_MARK_SIZE  12
#define SALVAGE_TAKER_SIZE 28

enum salvage_kind {
    SALVAGE_MESSAGE = 1, /* a message that the primary did not get */
    SALVAGE_FOLDER,      /* a directory that was made */
    SALVAGE_FILE,        /* any other file that was made or changed */
    SALVAGE_FLAGS,       /* a message that has other flags: path with the new ones, other the old */
    SALVAGE_EXPUNGE,     /* a message that was removed: path */
    SALVAGE_RENAME,      /* other is called path now */
    SALVAGE_REMOVAL,     /* a file or directory that was removed */
    SALVAGE_OTHER,       /* a symlink, a fifo */
    SALVAGE_COPY,        /* a message that was copied into another folder, under its base name */
};

enum salvage_state {
    SALVAGE_OPEN = 0,  /* nothing happened to it yet */
    SALVAGE_DELIVERED, /* the primary has it, by our hand */
    SALVAGE_EXISTS,    /* the primary had it, or has something else in its place */
    SALVAGE_REFUSED,   /* the primary will not take it */
    SALVAGE_DROPPED,   /* an operator decided against it */
    /* A primary had it that is none any more, this node was one since, and whether it came here
     * before nobody noted: given again it might bring back what a user removed. A person decides.
     */
    SALVAGE_UNSURE,
};

struct salvage_head {
    uint8_t history[WIRE_HISTORY_SIZE];
    uint64_t epoch; /* of the node when it was the primary */
    uint64_t fork;  /* the last seq that it shares with the new primary */
    uint64_t tail;  /* its own newest: what it had alone is fork + 1 to tail */
    uint64_t time_s;
    uint32_t count; /* items */
    struct span store;
};

/* Spans point into what was decoded. */
struct salvage_item {
    uint32_t number; /* from 0, in order; the name of its content's file */
    enum salvage_kind kind;
    struct attr attr;
    int64_t changed_ns; /* when it was captured, by the node's clock */
    struct span path, other, guid;
    uint16_t keyword_count; /* of a message, and of flags */
    struct wire_keyword keywords[WIRE_KEYWORDS_MAX];
};

const char *salvage_kind_word(enum salvage_kind kind);
const char *salvage_state_word(enum salvage_state state);
/* Does the item have bytes of its own beside the manifest? */
bool salvage_has_content(enum salvage_kind kind);

/* A manifest: begin, each item, end (which writes the count and the checksum of the head). */
void salvage_begin(const struct salvage_head *head, struct buf *out);
void salvage_add(const struct salvage_item *item, struct buf *out);
void salvage_end(struct buf *out, uint32_t count);

/* Reads the head; *ret_items is walked with salvage_next(). ERR_CORRUPT says what is wrong. */
int salvage_read(struct span manifest, struct salvage_head *ret_head, struct reader *ret_items,
                 struct err *e) _must_check_;
/* 1 an item, 0 no more, -1 ERR_CORRUPT. number: the one it must have. */
int salvage_next(struct reader *items, uint32_t number, struct salvage_item *ret_item,
                 struct err *e) _must_check_;

/* Whom the delivered items were given to: while their bytes are kept here, that primary alone is
 * known to have them. */
struct salvage_taker {
    uint8_t history[WIRE_HISTORY_SIZE];
    uint64_t epoch; /* of the primary; 0 nobody yet */
};

void salvage_taker_put(const struct salvage_taker *taker, struct buf *out);
/* What is damaged names nobody. */
void salvage_taker_read(struct span bytes, struct salvage_taker *ret_taker);
bool salvage_taker_same(const struct salvage_taker *a, const struct salvage_taker *b);

void salvage_mark(uint32_t number, enum salvage_state state, struct buf *out);
/* What became of `count` items; a mark that is torn or damaged, and all behind it, does not count.
 * Returns the bytes that do. */
size_t salvage_marks(struct span marks, uint8_t *states, uint32_t count);

#endif
