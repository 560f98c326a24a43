/* preface.h - the first 16 bytes each side sends inside TLS. Format: docs/formats/link.md. */
#ifndef MAILTWIN_PREFACE_H
#define MAILTWIN_PREFACE_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define PREFACE_SIZE        16
#define PREFACE_OFF_MAGIC   0  /* "MAILTWIN" */
#define PREFACE_OFF_MIN     8  /* u16 oldest link version spoken */
#define PREFACE_OFF_MAX     10 /* u16 newest */
#define PREFACE_OFF_FLAGS   12 /* u32; unknown bits are ignored */
#define PREFACE_MAGIC       "MAILTWIN"
#define PREFACE_VERSION_MIN 1
#define PREFACE_VERSION_MAX 1
#define PREFACE_F_ZSTD      1u /* both directions are one zstd stream each, if both sides set it */

struct preface {
    unsigned version; /* the newest both speak */
    bool zstd;
};

void preface_encode(uint8_t out[PREFACE_SIZE]);
/* Reads the peer's preface and agrees with ours. */
int preface_decode(const uint8_t in[PREFACE_SIZE], struct preface *ret_preface,
                   struct err *e) _must_check_;

#endif
