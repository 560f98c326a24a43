/* dir.h - one store of kind ldap and the thread that serves it.
 *
 *   primary: capture.c    the server's changes -> spool        (RFC 4533, refreshAndPersist)
 *   standby: apply.c      spool -> the server's changes        (inotify; compare.c after a start)
 *   native:  native.c     nothing is moved, the lag is watched
 *
 * worker.c runs one of them, by the node's role. Everything here belongs to that thread, but what
 * `shared` has. Files of the state directory (directory/STORE.*): docs/directory.md. */
#ifndef MAILTWIN_DIRECTORY_DIR_H
#define MAILTWIN_DIRECTORY_DIR_H

#include "directory/role.h"
#include "directory/server.h"
#include "directory/spool.h"
#include "directory/table.h"

#include <jansson.h>
#include <pthread.h>

enum dir_mode {
    DIR_IDLE,    /* the role is not known yet */
    DIR_CAPTURE, /* primary */
    DIR_APPLY,   /* standby; a promoted node stays in it until its server is level */
    DIR_NATIVE
};

struct capture {
    bool refreshing;   /* the first half of the search: what is there now */
    bool from_nothing; /* asked without a cookie: what is not told of is gone */
    bool present;      /* the phase that names what is there has ended */
    bool missing;      /* something that is there has no file: all of it is to be asked for */
    bool keep_cookie;  /* a refresh was stopped by the guard: the old cookie is to ask again */
    struct buf cookie; /* newest received */
    bool dirty;        /* cookie or files are newer than the saved cookie */
    uint64_t dirty_ms;
    uint64_t changes; /* entries written and removed since the start */
};

struct apply {
    int inotify_fd; /* -1 none */
    int root_watch;
    int watches[SPOOL_FOLDERS]; /* -1 none */
    bool compare;               /* spool and server are to be compared from end to end */
    uint64_t compare_ms;        /* not before */
    bool undecided;             /* ... but as soon as the spool is complete: this server alone has
                                   something, which an incomplete one cannot judge */
    uint64_t decide_ms;         /* the daemon is asked whether it is, not before */
    bool progress;              /* something was carried out in this pass */
    uint64_t changes;
};

struct native {
    struct server *peer;
    double lag_seconds;
    bool level;
};

/* What the guard holds back; see guard.h. */
struct dir_guard {
    size_t gone, of; /* 0: nothing is held back */
    bool released;   /* an administrator said so */
};

/* Passwords that the server does not show any more; see withhold.h. */
struct withheld {
    bool blind;       /* some were kept since the last refresh: no cookie is saved */
    bool released;    /* an administrator said that they are gone: up to the next refresh's end */
    char *dn;         /* the first of them ... */
    const char *name; /* ... and its attribute */
    uint64_t look_ms; /* when it is looked at again */
    char *parent;     /* beside which none was shown; NULL not known */
    uint64_t believed_ms; /* until then */
    bool news;        /* a new entry came without a secret: one of the spool is to be looked at */
    uint64_t news_ms; /* not before */
    bool has_witness; /* the spool has an entry with a secret, it is this one */
    bool none_has;    /* it was looked through, and no entry had one; none came since */
    uint8_t witness[LDAPSYNC_UUID_SIZE];
    size_t gone;      /* secrets that were taken away, so it was judged */
    uint64_t gone_ms; /* when the first of them was */
};

struct dir_store {
    const struct conf_store *conf;
    const struct roles *roles;
    const char *state_dir, *run_dir;
    char *password; /* NULL none */
    int state_fd;   /* the directory for STORE.* */
    struct spool *spool;
    struct server *server; /* NULL: not connected */
    uint64_t connect_ms;   /* the next try */
    char *trouble;         /* why nothing goes on; NULL it does */
    struct table table;
    uint32_t seen; /* number of the comparison or refresh going on */
    enum dir_mode mode;
    uint64_t held_ms; /* the node is being demoted: nothing is captured before; 0 it is not */
    uint64_t epoch;   /* in which the capture began */
    struct capture capture;
    struct apply apply;
    struct native native;
    struct dir_guard guard;
    struct withheld withheld;
    char *level; /* JSON of the last promotion's position; NULL none */
};

uint64_t dir_now_ms(void); /* of the clock that nobody sets */
/* Connects unless it is connected; 0 it is, -1 not now (trouble says why). */
int dir_connect(struct dir_store *s) _must_check_;
void dir_disconnect(struct dir_store *s, const struct err *e);
/* Remembers what keeps it from going on, tells it once; NULL: nothing does. */
void dir_trouble(struct dir_store *s, const struct err *e);
/* A file directory/STORE.SUFFIX of the state directory: its text for free(), NULL none. */
char *dir_state_read(struct dir_store *s, const char *suffix, size_t max);
int dir_state_write(struct dir_store *s, const char *suffix, struct span text,
                    struct err *e) _must_check_;
void dir_state_remove(struct dir_store *s, const char *suffix);
/* Keeps a text that is about to be replaced in directory/STORE.saved/ID.CRC.entry, beside
 * what was kept of it before. */
int dir_save(struct dir_store *s, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct span text,
             const char *why, struct err *e) _must_check_;

#endif
