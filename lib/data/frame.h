/* frame.h - the outermost unit of the link: length, type, checksum, body. Format:
 * docs/formats/wire.md. The same frames travel over TLS between nodes and over the socketpair
 * between the two roles. */
#ifndef MAILTWIN_FRAME_H
#define MAILTWIN_FRAME_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define FRAME_HEADER_SIZE 12
#define FRAME_BODY_MAX    (512 * 1024)
#define FRAME_OFF_LEN     0 /* u32 bytes of body */
#define FRAME_OFF_TYPE    4 /* u8 enum wire_type */
#define FRAME_OFF_FLAGS   5 /* u8, must be 0 */
#define FRAME_OFF_SPARE   6 /* u16, must be 0 */
#define FRAME_OFF_CRC     8 /* u32 CRC-32C of the first 8 bytes of the header and the body */

struct frame {
    uint8_t type;
    struct span body; /* points into what was decoded */
    size_t size;      /* header and body */
};

/* 1 a frame, 0 more bytes please, -1 the peer is broken. */
int frame_decode(struct span in, struct frame *ret_frame, struct err *e) _must_check_;

/* Appends a frame in two steps: the body is written into out between them. */
size_t frame_begin(struct buf *out, uint8_t type); /* returns the mark for frame_end() */
void frame_end(struct buf *out, size_t mark);      /* fills in length and checksum */

#endif
