/* tls.h - TLS 1.3 between the nodes of a cluster, over memory: bytes in, bytes out, no sockets.
 *
 * Both sides show a certificate of the cluster's authority whose DNS name is a node's. What a
 * stranger gets to see does not depend on what was wrong with him; the sentence for our own log
 * does. Files are read once, by tls_ctx_new(), so that a role can give up its files afterwards. */
#ifndef MAILTWIN_TLS_H
#define MAILTWIN_TLS_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#include <sys/types.h>

struct tls_ctx;
struct tls;

int tls_ctx_new(const char *authority, const char *certificate, const char *key,
                struct tls_ctx **ret_ctx, struct err *e) _must_check_;
void tls_ctx_free(struct tls_ctx **ctx);
/* Looks at our own certificate as a peer will: 0 it is good for node `name` now, -1 e says why
 * every peer is going to refuse it. */
int tls_ctx_check_own(const struct tls_ctx *ctx, const char *name, struct err *e) _must_check_;

/* Is the peer allowed to have this name? Asked for each DNS name of its certificate until one is
 * taken. */
typedef bool (*tls_name_ok)(const char *name, const void *arg);

/* One connection; `dials` takes the client's part. ctx outlives it. */
struct tls *tls_new(struct tls_ctx *ctx, bool dials, tls_name_ok name_ok, const void *arg);
void tls_free(struct tls **tls);

/* Hands over received bytes; they stay where they are until tls_unread() is 0. */
void tls_feed(struct tls *tls, struct span received);
size_t tls_unread(const struct tls *tls);
/* What is to be sent; the caller takes it out. */
struct buf *tls_output(struct tls *tls);

/* 1 done, 0 more bytes please, -1 failed. There may be output in each case. */
int tls_handshake(struct tls *tls, struct err *e) _must_check_;
/* The taken name, once the handshake is done. */
const char *tls_peer_name(const struct tls *tls);
/* Up to len bytes: their count, 0 more bytes please, -1 failed; ERR_PEER: a proper goodbye. */
ssize_t tls_read(struct tls *tls, void *ptr, size_t len, struct err *e) _must_check_;
int tls_write(struct tls *tls, struct span data, struct err *e) _must_check_;
/* Says goodbye: nothing is written afterwards. */
void tls_close(struct tls *tls);

#endif
