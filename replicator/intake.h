/* intake.h - the primary takes what another node gives: into the live stores, by the rules of a
 * Maildir. The capture journals it like any other change. Session thread.
 *
 * Objects are staged without a name, made durable together, and then linked to their names: none is
 * ever overwritten by that, and a crash leaves nothing behind. An answer goes out when the name is
 * durable too. Whoever gives may lie: nothing outside the store, below .mailtwin or through a
 * symlink is reached, no size or path is believed. Decisions: intake_core.h.
 *
 * - deliver: the message goes into the folder of its path, which is made when it is missing (under
 *   the name that the mailbox with its GUID has by now, if one of the user's has it). It is there
 *   already when the user's mailbox has a message of the same base name and size, in whatever
 *   folder, with whatever flags. Another one of that base name there: it gets a base name of its
 *   own, which follows from its content, so that it is found again.
 * - put: only where nothing has the name.
 * - replace, flags, remove: an operator decided that what the other node has is right. A message
 *   takes the place of what has its base name in its folder, with its own flags.
 * - move: it gets another name; a directory is found by its GUID, a message by its base name in the
 *   folder it was in. remove, of a directory: only when nothing came into it since the record that
 *   is named. Both are decided in their turn, and refused with a sentence when what they speak of
 *   is gone, is another one, or has no free name to go to.
 * - A list of UIDs or keywords (listback.h) is put in the place of one that nobody can read, and
 *   with replace merged with one that somebody can.
 *
 * Failures: no space, a locked folder: "failed", it may be given again. A path that the store does
 * not hold, a kind that does not fit: "refused". Nothing here ends the link but a peer that breaks
 * the protocol. */
#ifndef MAILTWIN_INTAKE_H
#define MAILTWIN_INTAKE_H

#include "replicator/link_io.h"
#include "replicator/node.h"

#include <stdatomic.h>

struct intake;

/* primary: else each object is answered with "failed". stop: set from another thread, what is taken
 * and not there yet is answered so, too. */
struct intake *intake_new(struct node *node, struct link_io *io, bool primary,
                          const atomic_bool *stop);
void intake_free(struct intake **intake); /* gives up what is staged; NULL is fine */
/* GIVE; or DATA and END, while it waits for those of a GIVE. */
bool intake_wants(const struct intake *x, enum wire_type type);
int intake_take(struct intake *x, const struct wire_msg *msg, struct err *e) _must_check_;
/* Nothing more has come for a moment: makes durable what was taken, and answers. */
int intake_settle(struct intake *x, struct err *e) _must_check_;

#endif
