/* crc.h - CRC-32C (Castagnoli), the checksum of every format of ours. */
#ifndef MAILTWIN_CRC_H
#define MAILTWIN_CRC_H

#include "lib/base/bytes.h"

uint32_t crc32c(struct span data);
/* Goes on from the checksum of what came before; crc32c(s) is crc32c_more(0, s). */
uint32_t crc32c_more(uint32_t crc, struct span data);

#endif
