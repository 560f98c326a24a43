/* content.h - an object opened for shipping: its bytes, owner, mode, times and extended attributes,
 * found by handle under whatever name it has by now. */
#ifndef MAILTWIN_CONTENT_H
#define MAILTWIN_CONTENT_H

#include "lib/os/attrs.h"
#include "replicator/link_io.h"
#include "replicator/node.h"

#define CONTENT_LOAD_MAX (64 * 1024 * 1024) /* bytes held in memory at most */
#define CONTENT_SMALL    (256 * 1024)       /* worth reading in one go, as one moment's content */

struct content {
    int fd; /* -1: none needed */
    bool gone;
    bool replaced; /* gone, and something else has its name: a record of that is on its way */
    bool loaded;   /* bytes holds all of it */
    bool torn;     /* the disk failed while it was sent: END said that it does not count */
    struct attr now;
    struct attrs_xattrs xattrs;
    struct buf bytes;
};

void content_close(struct content *content);
#define _cleanup_content_ _cleanup_(content_close)

/* Opens by handle; by path when the record has no handle, and then a file counts only with the
 * record's size and time. What no longer exists, or is no longer of the record's type, is `gone`:
 * an answer. */
int content_open(const struct node *node, const struct record *record, struct content *ret_content,
                 struct err *e) _must_check_;
/* May its file be replaced by another one? Mail servers never put one message in the place of
 * another, nor one file of a queue. */
bool content_may_be_replaced(const struct node *node, const struct record *record);
/* Has something the record's name now, whatever it is? */
bool content_name_taken(const struct node *node, const struct record *record);
/* Reads a file of at most `max` bytes into memory, as it was at one moment: read again when it
 * changed meanwhile. */
int content_load(struct content *content, size_t max, struct err *e) _must_check_;

/* Sends REC, and DATA and END when the record has content. delta: the signature (librsync) of what
 * the peer has, NULL for the whole. seq 0 in the record: a fix-up. What is not loaded is read while
 * it is sent; a disk that fails then makes it `torn` and is no failure: its error is an event. */
int content_send(struct link_io *io, const struct record *record, struct content *content,
                 struct span signature, uint64_t *ret_bytes, struct err *e) _must_check_;
/* As many as fit into a message, by name; what does not is told (event SKIPPED). ret has room for
 * WIRE_XATTRS_MAX and points into xattrs. */
uint16_t content_xattrs(const struct attrs_xattrs *xattrs, struct span path,
                        struct wire_xattr *ret);
/* Sends REC alone, with the attributes of the record. */
int content_send_bare(struct link_io *io, const struct record *record, enum wire_content kind,
                      struct err *e) _must_check_;

#endif
