/* renumber_kit.h - mailboxes of a node that is promoted: what a mail server left of them, and what
 * they have to be afterwards. */
#ifndef MAILTWIN_TEST_RENUMBER_KIT_H
#define MAILTWIN_TEST_RENUMBER_KIT_H

#include "lib/store/identity.h"
#include "lib/store/uidlist.h"
#include "replicator/renumber.h"
#include "tests/unit/capture_kit.h"

#define R_HEADER "3 V1763800000 N4 G0af1c21d2b3c4d5e6f70818283848586\\n"
#define R_GAP    1000
#define R_MODSEQ (UINT64_C(1795389243) << 20)

/* ada's INBOX and Sent, bob's with Courier; caches of a time when this node served. */
static inline struct cap *
renumber_mailboxes(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c, "mkdir -p mail/ada/cur mail/ada/new mail/ada/.Sent/cur mail/bob/cur mail/carl/cur");
    cap_sh(c, "printf '" R_HEADER "1 :a\\n7 S1 :b\\n' >mail/ada/dovecot-uidlist");
    cap_sh(
        c,
        "printf '" R_HEADER
        "1 :a\\n2 S4401 W4500 :1763800001.M1P1.mx1,S=4401,W=4500' >mail/ada/.Sent/dovecot-uidlist");
    cap_sh(c, "printf 6b03773b >mail/ada/dovecot-uidvalidity; "
              ": >mail/ada/dovecot-uidvalidity.6b03773b");
    cap_sh(c, "printf '1 1763800000 9\\n2 a.b\\n' >mail/bob/courierimapuiddb; "
              "printf '/3 9 1763800000\\na.b 1 2:1763800000\\n' >mail/bob/courierpop3dsizelist");
    cap_sh(c, "chown -R 65534:65534 mail; chmod 640 mail/ada/dovecot-uidlist");
    cap_sh(c, "for f in dovecot.index dovecot.index.log.2 dovecot.list.index.log "
              "maildirsize; do echo old >mail/ada/$f; done");
    cap_sh(c, "seq 100 >mail/ada/.Sent/dovecot.index.log; chown 65534 mail/ada/.Sent/*");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    return c;
}

static inline void
renumber_set(struct cap *c, uint32_t gap)
{
    struct renumber_order order = {
        .epoch = 2, .gap = gap, .validity_gap = IDENTITY_VALIDITY_GAP, .modseq = R_MODSEQ
    };
    struct state_txn *txn;
    if (c->node == NULL)
        cap_open(c);
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    order.seq = state_meta(txn)->tail + 1;
    CHECK_INT(renumber_order(txn, &order, &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
}

static inline void
renumber_alive(void)
{
}

/* The next UID that Dovecot or Courier would give. half: bytes behind the last whole line. */
static inline uint32_t
renumber_read(struct cap *c, const char *path, size_t *ret_half)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    uint32_t uid = 0;
    struct uidlist list;
    CHECK_INT(file_read(c->node->stores[0].root_fd, path, 1 << 20, &text, &len, &c->e), 1);
    CHECK_INT(uidlist_begin(&list, span_of(text, len), &c->e), 0);
    CHECK_INT(uidlist_free_uid(&list, &uid, &c->e), 0);
    *ret_half = list.rest.len;
    return uid;
}

static inline uint32_t
renumber_next(struct cap *c, const char *path)
{
    size_t half;
    uint32_t uid = renumber_read(c, path, &half);
    CHECK_INT(half, 0);
    return uid;
}

#endif
