/* proc.h - processes of our own: a role forked with a control channel, descriptors passed between
 * roles, and the end of a process told in words.
 *
 * A role is forked before there are threads, keeps standard input, output and error and its end of
 * the channel, and ends when the process that started it ends. */
#ifndef MAILTWIN_PROC_H
#define MAILTWIN_PROC_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#include <sys/types.h>

struct proc {
    pid_t pid;
    int control_fd; /* SOCK_SEQPACKET, close-on-exec; the role's end came to its body */
};

/* Forks; the child runs body(control_fd, arg) and exits with what it returns. `name` is what ps
 * shows, up to 15 bytes. */
int proc_spawn(const char *name, int (*body)(int control_fd, const void *arg), const void *arg,
               struct proc *ret_proc, struct err *e) _must_check_;
/* Asks for SIGKILL when the parent ends. The kernel forgets it at a change of user: ask again. */
int proc_die_with_parent(struct err *e) _must_check_;
/* Closes every descriptor above standard error but keep (-1: none is kept). */
int proc_close_others(int keep, struct err *e) _must_check_;

/* Closes the control channel, waits up to timeout_ms for the role to end by itself, then kills it.
 * The role is gone and reaped afterwards; *ret_status as from waitpid(). */
int proc_stop(struct proc *proc, int timeout_ms, int *ret_status, struct err *e) _must_check_;
/* 1 ended and reaped, 0 still running after timeout_ms, -1 failed. */
int proc_wait(pid_t pid, int timeout_ms, int *ret_status, struct err *e) _must_check_;
/* "ended with status 2", "killed by signal 31 (Bad system call)" */
void proc_status_text(int status, char *ret_text, size_t size);

/* The calling thread gets processor and disk when nobody else wants them. Where this is refused it
 * goes on as it was. */
void proc_be_last(void);

/* Sends one packet, with pass_fd attached unless it is -1; the caller keeps pass_fd. 1 sent, 0 the
 * channel is full, -1 failed. */
int proc_send(int fd, struct span packet, int pass_fd, struct err *e) _must_check_;
/* Receives one packet of exactly size bytes; *ret_fd is -1 or a descriptor, close-on-exec, that now
 * belongs to the caller. 1 a packet, 0 none now, -1 failed; ERR_PEER: the other end is closed. */
int proc_receive(int fd, void *packet, size_t size, int *ret_fd, struct err *e) _must_check_;

#endif
