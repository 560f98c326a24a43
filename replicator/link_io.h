/* link_io.h - the seam between the network role and the store role.
 *
 * The network role has authenticated a peer and hands over one end of a socketpair; frames travel
 * over it both ways, checked with wire_decode() by the network role before they get here. PING and
 * PONG stay with the network role. End of file means that the link is down. Blocking; used by one
 * session thread. */
#ifndef MAILTWIN_LINK_IO_H
#define MAILTWIN_LINK_IO_H

#include "lib/data/wire.h"

struct link_io;

/* Takes fd over. */
struct link_io *link_io_new(int fd);
void link_io_free(struct link_io **io);

/* From here on up to max bytes (8 MiB without this) are read and kept while we wait to send: two
 * sides that both send much and read no more would wait for each other for ever. Beyond that
 * nothing is read, and a peer that itself reads nothing for patience_ms then (-1: it may take as
 * long as it likes) breaks the protocol: sending fails with ERR_PROTOCOL. */
void link_io_expects(struct link_io *io, size_t max, int patience_ms);

/* Queues a message; sent when 256 KiB are together or at link_io_flush(). */
int link_io_send(struct link_io *io, const struct wire_msg *msg, struct err *e) _must_check_;
int link_io_flush(struct link_io *io, struct err *e) _must_check_;

/* Waits up to timeout_ms (-1 for ever, 0 looks only) for a message or for wake_fd (an eventfd, -1
 * none) to become readable. 1 a message in *ret_msg (valid until the next call), 0 no message, -1
 * failed; ERR_PEER when the other side closed. */
int link_io_receive(struct link_io *io, int timeout_ms, int wake_fd,
                    const struct wire_msg **ret_msg, struct err *e) _must_check_;

int link_io_fd(const struct link_io *io);
/* From any thread: the numbers stand alone, nothing is ordered by them. */
uint64_t link_io_bytes_sent(const struct link_io *io);
uint64_t link_io_bytes_received(const struct link_io *io);

#endif
