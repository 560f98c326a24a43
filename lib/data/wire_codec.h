/* wire_codec.h - what the files that make up the wire format share; for lib/data/wire*.c alone.
 *
 * Each message has three functions. check() knows what a message may hold and is asked on both
 * sides: by the encoder, where a failure is a bug, and by the decoder. get() stores what it reads
 * and never more than the message has room for; what only bytes can get wrong it reports itself. */
#ifndef MAILTWIN_WIRE_CODEC_H
#define MAILTWIN_WIRE_CODEC_H

#include "lib/data/wire.h"

struct wire_in {
    struct reader r;
    struct err *e;
    bool bad; /* e has the sentence */
};

struct wire_codec {
    void (*put)(const struct wire_msg *msg, struct buf *out);
    void (*get)(struct wire_in *in, struct wire_msg *msg);
    int (*check)(const struct wire_msg *msg, struct err *e); /* NULL: any value is fine */
};

extern const struct wire_codec wire_hello_codec, wire_start_codec, wire_refuse_codec;
extern const struct wire_codec wire_stall_codec, wire_ping_codec, wire_bye_codec;
extern const struct wire_codec wire_rec_codec, wire_data_codec, wire_end_codec;
extern const struct wire_codec wire_commit_codec, wire_ack_codec, wire_tail_codec;
extern const struct wire_codec wire_digest_ask_codec, wire_digest_answer_codec;
extern const struct wire_codec wire_sync_done_codec, wire_sig_ask_codec, wire_sig_codec;
extern const struct wire_codec wire_need_codec, wire_fetch_codec, wire_sync_progress_codec;
extern const struct wire_codec wire_give_codec, wire_given_codec, wire_found_codec;
extern const struct wire_codec wire_found_in_codec, wire_barrier_codec, wire_reached_codec;

/* Names: an 8-bit length, then the bytes. */
void wire_put_span8(struct buf *out, struct span s);
struct span wire_get_span8(struct reader *in);
/* A sentence for people: cut and cleaned when it is written, refused when it comes otherwise. */
void wire_put_text(struct buf *out, struct span text);
struct span wire_get_text(struct wire_in *in);
/* All that is left of the body. */
struct span wire_get_rest(struct reader *in);
void wire_get_copy(struct reader *in, void *ret_bytes, size_t len);

/* Extended attributes: written sorted, so that the same object always gives the same bytes. list
 * has room for WIRE_XATTRS_MAX; the number that was told comes back. */
void wire_put_xattrs(const struct wire_xattr *list, uint16_t count, struct buf *out);
uint16_t wire_get_xattrs(struct wire_in *in, struct wire_xattr *list);
int wire_check_xattrs(const struct wire_xattr *list, uint16_t count, struct err *e) _must_check_;

int wire_check_name(struct span name, const char *field, struct err *e) _must_check_;
int wire_check_range(uint64_t value, uint64_t min, uint64_t max, const char *field,
                     struct err *e) _must_check_;
int wire_check_place(uint16_t store, struct span path, struct err *e) _must_check_;
int wire_check_attr(const struct attr *attr, const char *field, struct err *e) _must_check_;

#endif
