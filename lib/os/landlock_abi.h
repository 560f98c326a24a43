/* landlock_abi.h - what newer kernels added to <linux/landlock.h> and Debian 12's header lacks. */
#ifndef MAILTWIN_LANDLOCK_ABI_H
#define MAILTWIN_LANDLOCK_ABI_H

#include <linux/landlock.h>
#include <stdint.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define LANDLOCK_ABI_REFER    2 /* before it, names could not move between directories at all */
#define LANDLOCK_ABI_TRUNCATE 3
#define LANDLOCK_ABI_TCP      4

#define LANDLOCK_TCP_BIND    (1ULL << 0)
#define LANDLOCK_TCP_CONNECT (1ULL << 1)
#define LANDLOCK_TCP_RULE    2 /* the rule type of struct landlock_port */

/* struct landlock_ruleset_attr of ABI 4; older kernels take its first 8 bytes. */
struct landlock_ruleset {
    uint64_t fs;
    uint64_t tcp;
};

struct landlock_port {
    uint64_t access;
    uint64_t port;
};

#endif
