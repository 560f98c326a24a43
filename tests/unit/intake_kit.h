/* intake_kit.h - what one node gives another takes: both ends of a link, a primary's stores behind
 * one of them. */
#ifndef MAILTWIN_TEST_INTAKE_KIT_H
#define MAILTWIN_TEST_INTAKE_KIT_H

#include "tests/unit/capture_kit.h"

#include "replicator/give.h"
#include "replicator/intake.h"
#include "replicator/reach.h"

#include <sys/mman.h>
#include <sys/socket.h>

#define SOURCES 16

/* An object to be given, from a file of the test's. */
struct source {
    enum wire_give_kind kind;
    enum wire_give_mode mode;
    uint16_t store;
    const char *path, *bytes, *guid, *mark, *keywords;
    const char *before; /* of what is moved */
    uint64_t since;     /* of a directory that goes */
    uint64_t lie;       /* added to the size */
    const char *from;   /* a file of the store's filesystem that it is written to and given from */
    enum wire_given_result result;
    char where[300], text[300];
};

struct kit {
    struct cap *c;
    struct peer peer; /* its queue alone */
    struct link_io *ends[2];
    struct give *give;
    struct intake *intake;
    struct reach reach;
    struct give_order order;
    struct source sources[SOURCES];
    size_t count, next;
    bool ended;
    struct err why;
    atomic_bool stop;
    bool live;                /* else: not the primary */
    bool behind;              /* the index need not know what is there */
    bool give_up;             /* at the next answer */
    char *numbered, name[64]; /* all are one message under names of their own */
    size_t created;
};

static inline int
next(struct give_order *order, struct give_item *item, struct err *e)
{
    struct kit *k = order->arg;
    (void)e;
    if (k->next == k->count)
        return 0;
    struct source *s = &k->sources[MIN(k->next, (size_t)SOURCES - 1)];
    if (k->numbered != NULL)
        snprintf(k->numbered, sizeof(k->name), "d/ada/cur/1.M%zu,S=1000:2,S", k->next);
    *item = (struct give_item){ .tag = k->next++,
                                .store = s->store,
                                .kind = s->kind,
                                .mode = s->mode,
                                .fd = memfd_create("given", MFD_CLOEXEC) };
    if (s->from != NULL) {
        char path[300];
        snprintf(path, sizeof(path), "%s/s/out/%s", k->c->base, s->from);
        close(item->fd);
        item->fd = open(path, O_RDWR);
    }
    buf_add(&item->path, s->path, strlen(s->path));
    if (s->before != NULL)
        buf_add(&item->from, s->before, strlen(s->before));
    item->since = s->since;
    if (s->guid != NULL)
        buf_add(&item->guid, s->guid, strlen(s->guid));
    if (s->kind == WIRE_GIVE_MESSAGE)
        give_item_keywords(item, span_str(s->keywords == NULL ? "" : s->keywords),
                           s->mark == NULL ? "" : s->mark);
    size_t len = strlen(s->bytes == NULL ? "" : s->bytes);
    item->attr = (struct attr){ .mode = s->kind == WIRE_GIVE_DIR ? S_IFDIR | 0750 : S_IFREG | 0640,
                                .uid = 5000,
                                .gid = 5001,
                                .size = len + s->lie,
                                .mtime_ns = INT64_C(1700000000123456789) };
    CHECK_INT(write(item->fd, s->bytes == NULL ? "" : s->bytes, len), len);
    return 1;
}

static inline int
answered(struct give_order *order, const struct given *given, struct err *e)
{
    struct kit *k = order->arg;
    if (k->give_up)
        return err_set(e, ERR_PEER, "given up");
    struct source *s = &k->sources[MIN(given->tag, (uint64_t)SOURCES - 1)];
    k->created += given->result == WIRE_GIVEN_CREATED;
    s->result = given->result;
    snprintf(s->where, sizeof(s->where), "%.*s", (int)given->path.len, given->path.ptr);
    snprintf(s->text, sizeof(s->text), "%.*s", (int)given->text.len, given->text.ptr);
    return 0;
}

static inline void
done(struct give_order *order, const struct err *e)
{
    struct kit *k = order->arg;
    CHECK(!k->ended);
    k->ended = true;
    if (e != NULL)
        k->why = *e;
}

static inline struct kit *
kit_new_on(const char *image_mb)
{
    struct cap *c = cap_new_on(image_mb);
    if (c == NULL)
        return NULL;
    struct kit *k = calloc(1, sizeof(*k));
    assert_non_null(k);
    k->c = c;
    k->live = true;
    cap_start(c);
    pthread_mutex_init(&k->peer.lock, NULL);
    return k;
}

static inline struct kit *
kit_new(void)
{
    return kit_new_on(NULL);
}

static inline void
kit_free(struct kit *k)
{
    cap_free(k->c);
    pthread_mutex_destroy(&k->peer.lock);
    free(k);
}

/* The primary's half: what has come is taken and answered. */
static inline void
take_all(struct kit *k)
{
    const struct wire_msg *msg;
    struct err e = { 0 };
    int got;
    while ((got = link_io_receive(k->ends[1], 0, -1, &msg, &e)) > 0) {
        if (msg->type == WIRE_BARRIER) {
            reach_ask(&k->reach, &msg->barrier);
            continue;
        }
        CHECK(intake_wants(k->intake, msg->type));
        if (intake_take(k->intake, msg, &e) < 0)
            break;
    }
    if (e.code != ERR_NONE || intake_settle(k->intake, &e) < 0)
        k->why = e;
}

static inline void
hear_all(struct kit *k)
{
    const struct wire_msg *msg;
    struct err e = { 0 };
    while (link_io_receive(k->ends[0], 0, -1, &msg, &e) > 0) {
        if (msg->type == WIRE_REACHED) {
            give_reached(k->give, &msg->reached);
            continue;
        }
        CHECK_INT(msg->type, WIRE_GIVEN);
        CHECK_INT(give_answer(k->give, &msg->given, &e), 0);
    }
}

static inline void
order_all(struct kit *k)
{
    k->order = (struct give_order){ .next = next, .answered = answered, .done = done, .arg = k };
    k->peer.gives = &k->order;
    k->next = 0;
    k->ended = false;
    k->why = (struct err){ 0 };
    for (size_t i = 0; i < MIN(k->count, (size_t)SOURCES); i++)
        k->sources[i].result = 0;
}

static inline void
connect_ends(struct kit *k)
{
    int fds[2];
    if (!k->behind)
        cap_barrier(k->c); /* the index knows what is there */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    static const int room = 16 * 1024 * 1024; /* one thread plays both ends */
    for (size_t i = 0; i < 2; i++) {
        CHECK_INT(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)), 0);
        k->ends[i] = link_io_new(fds[i]);
    }
    k->give = give_new(k->ends[0]);
    k->intake = intake_new(k->c->node, k->ends[1], k->live, &k->stop);
    order_all(k);
}

static inline void
work_all(struct kit *k)
{
    while (!k->ended && k->why.code == ERR_NONE) {
        struct err e = { 0 };
        int more;
        while ((more = give_work(k->give, &k->peer, 0, &e)) > 0)
            continue;
        CHECK_INT(more, 0);
        take_all(k);
        hear_all(k);
    }
}

static inline void
disconnect_ends(struct kit *k)
{
    struct err ended = { 0 };
    err_set(&ended, ERR_PEER, "the link ended");
    give_free(&k->give, &ended);
    intake_free(&k->intake);
    for (size_t i = 0; i < 2; i++)
        link_io_free(&k->ends[i]);
}

/* Gives all sources, and waits for the answers. */
static inline void
give_all(struct kit *k)
{
    connect_ends(k);
    work_all(k);
    disconnect_ends(k);
}

#define KIT_NEEDED(k)      \
    do {                   \
        if ((k) == NULL) { \
            skip();        \
            return;        \
        }                  \
    } while (0)

static inline struct source *
message(struct kit *k, const char *path, const char *bytes)
{
    struct source *s = &k->sources[k->count++];
    *s = (struct source){ WIRE_GIVE_MESSAGE, WIRE_GIVE_DELIVER, 0, .path = path, .bytes = bytes };
    return s;
}

static inline void
user(const struct kit *k)
{
    cap_sh(k->c, "cd mail && mkdir -p d/ada/cur d/ada/new d/ada/tmp && chown -R 5000:5001 d && "
                 "chmod 750 d/ada");
}

/* What a shell test says of the stores. */
static inline void
check_sh(const struct kit *k, const char *test)
{
    char command[1024];
    snprintf(command, sizeof(command), "cd '%s/s' && %s", k->c->base, test);
    if (system(command) != 0)
        fail_msg("not so: %s", test);
}

#endif
