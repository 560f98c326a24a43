/* inspect_wire.h - a message of the link as one line for people. */
#ifndef MAILTWIN_CLI_INSPECT_WIRE_H
#define MAILTWIN_CLI_INSPECT_WIRE_H

#include "lib/data/wire.h"

#include <stdio.h>

void wire_print(const struct wire_msg *msg, FILE *out);
/* As printable ASCII, all else as \xNN: any byte may stand in a path, and none may steer the
 * terminal. */
void wire_text(struct span s, struct buf *out);
/* ` key="text"` */
void wire_print_bytes(const char *key, struct span s, FILE *out);

#endif
