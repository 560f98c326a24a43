/* memory.h - what the server behind the gate has taken and the client was not told: its retry is
 * confirmed, not delivered again. Format: docs/formats/gate.md.
 *
 * One writer, in state-dir/gate. A row is in the system's memory when memory_take() returns: it
 * outlives the gate. It outlives the machine after memory_sync(). What cannot be remembered is
 * delivered twice at worst; nothing here makes a message count as delivered that was not. */
#ifndef MAILTWIN_GATE_MEMORY_H
#define MAILTWIN_GATE_MEMORY_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define MEMORY_HASH 32
#define MEMORY_MAX  100000 /* messages remembered; a gate that has that many takes no more */
#define MEMORY_FILE "memory"

struct memory;

/* SHA-256 each: of sender, NUL, recipient; and of the content. */
struct memory_key {
    uint8_t envelope[MEMORY_HASH], content[MEMORY_HASH];
};

/* Opens the file in dirfd (borrowed) and drops a torn end and rows older than remember_s. ERR_BUSY:
 * another gate has it. */
int memory_open(int dirfd, uint64_t remember_s, uint64_t now_s, struct memory **ret_memory,
                struct err *e) _must_check_;
void memory_free(struct memory **memory);

/* Each remembered message is free (its client has been told to try again, or is gone) or claimed
 * by the session that will tell its client. */
bool memory_knows_envelope(const struct memory *m, const uint8_t envelope[MEMORY_HASH]);
/* Claims a free one: false, there is none. */
bool memory_claim(struct memory *m, const struct memory_key *key);
/* Frees a claimed one. */
void memory_unclaim(struct memory *m, const struct memory_key *key);
/* The server has taken it: one more, claimed. -1: the row is not in the file, it is remembered
 * until the gate ends. */
int memory_take(struct memory *m, const struct memory_key *key, uint64_t now_s,
                struct err *e) _must_check_;
/* Its client was told that it is delivered: a claimed one is forgotten. The rows of several go to
 * the file with the next row that is taken, or memory_flush(). */
void memory_forget(struct memory *m, const struct memory_key *key, uint64_t now_s);
int memory_flush(struct memory *m, struct err *e) _must_check_;
/* After a full disk, this and memory_tidy() write the file anew; the others fail until then. */
int memory_sync(struct memory *m, struct err *e) _must_check_;
/* Drops what is too old, and writes the file anew when most of it says nothing any more. */
int memory_tidy(struct memory *m, uint64_t now_s, struct err *e) _must_check_;
size_t memory_count(const struct memory *m);
bool memory_full(const struct memory *m);

#endif
