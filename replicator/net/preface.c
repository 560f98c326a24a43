#include "replicator/net/preface.h"

void
preface_encode(uint8_t out[PREFACE_SIZE])
{
    memcpy(out + PREFACE_OFF_MAGIC, PREFACE_MAGIC, strlen(PREFACE_MAGIC));
    put_le16(out + PREFACE_OFF_MIN, PREFACE_VERSION_MIN);
    put_le16(out + PREFACE_OFF_MAX, PREFACE_VERSION_MAX);
    put_le32(out + PREFACE_OFF_FLAGS, PREFACE_F_ZSTD);
}

int
preface_decode(const uint8_t in[PREFACE_SIZE], struct preface *ret_preface, struct err *e)
{
    if (memcmp(in + PREFACE_OFF_MAGIC, PREFACE_MAGIC, strlen(PREFACE_MAGIC)) != 0)
        return err_set(e, ERR_PROTOCOL, "the peer speaks TLS but not mailtwin's protocol");
    unsigned min = get_le16(in + PREFACE_OFF_MIN);
    unsigned max = get_le16(in + PREFACE_OFF_MAX);
    if (min > max || min > PREFACE_VERSION_MAX || max < PREFACE_VERSION_MIN)
        return err_set(e, ERR_PROTOCOL,
                       "the peer speaks link versions %u to %u, this node %d to %d", min, max,
                       PREFACE_VERSION_MIN, PREFACE_VERSION_MAX);
    *ret_preface = (struct preface){
        .version = MIN(max, (unsigned)PREFACE_VERSION_MAX),
        .zstd = (get_le32(in + PREFACE_OFF_FLAGS) & PREFACE_F_ZSTD) != 0,
    };
    return 0;
}
