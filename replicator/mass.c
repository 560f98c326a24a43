#include "replicator/mass.h"

#include "lib/os/dir.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/store/mailbox.h"
#include "replicator/guard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS 1000000
#define DEPTH_MAX 64 /* of directories whose files are counted */

struct mass {
    struct node *node;
    struct guard *guards; /* of each store; the session's thread alone uses them */
    bool syncing;
    uint64_t *allowed; /* files of each store whose loss does not count; the session's too */
    atomic_uint_fast64_t *put_back; /* files of each store that come back from the primary ... */
    atomic_uint_fast64_t put_back_until_ms; /* ... in records made until then */

    pthread_mutex_t lock; /* of what follows */
    struct mass_facts facts;
    bool unsaved, forget; /* forget: the counts */
    bool level;
};

static uint64_t
wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

/* --- the row --- */

void
mass_encode(const struct mass_facts *f, struct buf *out)
{
    buf_add_u8(out, (uint8_t)f->state);
    buf_add_u8(out, f->syncing);
    buf_add_le16(out, f->store);
    buf_add_le64(out, f->at_ms);
    buf_add_le64(out, f->began_ms);
    buf_add_le64(out, f->lost);
    buf_add_le64(out, f->of);
    buf_add_le64(out, f->released_ms);
    buf_add_span16(out, span_str(f->path));
}

int
mass_decode(struct span row, struct mass_facts *ret_facts, struct err *e)
{
    struct reader r = reader_of(row);
    struct mass_facts f = { 0 };
    unsigned state = reader_u8(&r), syncing = reader_u8(&r);
    f.store = reader_le16(&r);
    f.at_ms = reader_le64(&r);
    f.began_ms = reader_le64(&r);
    f.lost = reader_le64(&r);
    f.of = reader_le64(&r);
    f.released_ms = reader_le64(&r);
    struct span path = reader_span16(&r);
    bool fits = path.len < sizeof(f.path) &&
                (path.len == 0 || memchr(path.ptr, '\0', path.len) == NULL);
    if (!reader_done(&r) || state > MASS_DISCARD || syncing > 1 || !fits)
        return err_set(e, ERR_CORRUPT, "the row " MASS_ROW " of %zu bytes is none of ours",
                       row.len);
    f.state = (enum mass_state)state;
    f.syncing = syncing == 1;
    if (path.len > 0)
        memcpy(f.path, path.ptr, path.len);
    *ret_facts = f;
    return 0;
}

static void
pin(struct mass *m)
{
    for (size_t i = 0; i < m->node->store_count; i++) {
        if (m->node->stores[i].retain != NULL)
            retain_pin(m->node->stores[i].retain, m->facts.state != MASS_OPEN);
    }
}

static int
load(struct mass *m, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct span row;
    if (state_begin(m->node->state, false, &txn, e) < 0)
        return -1;
    int found = state_get(txn, MASS_ROW, &row, e);
    if (found <= 0)
        return found;
    if (mass_decode(row, &m->facts, e) < 0)
        return -1;
    if (m->facts.store >= m->node->store_count)
        m->facts.store = 0; /* of a configuration that is no more */
    return 0;
}

int
mass_new(struct node *node, struct mass **ret_mass, struct err *e)
{
    struct mass *m = xcalloc(1, sizeof(*m));
    m->node = node;
    m->guards = xcalloc(node->store_count, sizeof(*m->guards));
    m->allowed = xcalloc(node->store_count, sizeof(*m->allowed));
    m->put_back = xcalloc(node->store_count, sizeof(*m->put_back));
    for (size_t i = 0; i < node->store_count; i++) {
        const struct conf_store *conf = node->stores[i].conf;
        guard_init(&m->guards[i], &(struct guard_limits){ conf->mass_limit, conf->mass_window_ms });
    }
    pthread_mutex_init(&m->lock, NULL);
    if (load(m, e) < 0) {
        mass_free(&m);
        return -1;
    }
    pin(m);
    *ret_mass = m;
    return 0;
}

void
mass_free(struct mass **mass)
{
    struct mass *m = *mass;
    *mass = NULL;
    if (m == NULL)
        return;
    pthread_mutex_destroy(&m->lock);
    free(m->guards);
    free(m->allowed);
    free(m->put_back);
    free(m);
}

static int
put_row(struct mass *m, struct state_txn *txn, struct err *e)
{
    _cleanup_buf_ struct buf row = { 0 };
    mass_encode(&m->facts, &row);
    if (state_put(txn, MASS_ROW, buf_span(&row), e) < 0)
        return -1;
    m->unsaved = false;
    return 1;
}

int
mass_save(struct mass *mass, struct state_txn *txn, struct err *e)
{
    pthread_mutex_lock(&mass->lock);
    int rc = mass->unsaved ? put_row(mass, txn, e) : 0;
    pthread_mutex_unlock(&mass->lock);
    return rc;
}

/* --- how many files --- */

/* Of a Maildir only messages count: what else is there is rebuilt, or tells of them. */
static bool
is_counted_dir(const char *name, bool messages)
{
    return !messages || strcmp(name, "cur") == 0 || strcmp(name, "new") == 0;
}

/* What cannot be read has none: the guard counts on what it sees. */
static uint64_t
count_dir(int at, const char *name, bool messages, uint64_t most, unsigned depth)
{
    _cleanup_dir_ DIR *dir = depth >= DEPTH_MAX ? NULL : dir_open(at, name, NULL);
    const struct dirent *item;
    uint64_t count = 0;
    while (dir != NULL && count < most && dir_next(dir, &item, NULL) > 0) {
        if (strcmp(item->d_name, STORE_PRIVATE_DIR) == 0)
            continue;
        if (dir_item_is_dir(dir, item))
            count += count_dir(dirfd(dir), item->d_name, messages, most - count, depth + 1);
        else
            count += is_counted_dir(name, messages);
    }
    return count;
}

/* What cannot be read counts as nothing: the guard closes rather too early. */
static uint64_t
count_below(const struct node_store *s, struct span path, uint64_t most)
{
    _cleanup_close_ int fd = file_open_beneath(s->root_fd, path, O_PATH | O_DIRECTORY, 0, NULL);
    return fd < 0 ? 0 : count_dir(fd, ".", s->conf->kind == STORE_MAILDIR, most, 0);
}

/* --- one loss --- */

struct loss {
    const struct node_store *store;
    struct guard *guard;
    uint64_t files, time_ms;
    bool gone;
    struct mailbox mailbox;
};

static void
mailbox_of_dir(const char *users, struct span path, struct buf *text, struct mailbox *ret_mailbox)
{
    struct span leaf = path_name(path);
    bool in_folder = span_equal(leaf, span_str("cur")) || span_equal(leaf, span_str("new"));
    const char *message = in_folder ? "/1.x" : "/cur/1.x";
    buf_add(text, path.ptr, path.len);
    buf_add(text, message, strlen(message));
    mailbox_of(users, buf_span(text), ret_mailbox);
}

static uint64_t
files_of(const struct loss *x, const struct apply_loss *loss)
{
    bool messages = x->store->conf->kind == STORE_MAILDIR;
    if (S_ISDIR(loss->st->st_mode))
        return count_dir(loss->dirfd, loss->name, messages, UINT64_MAX, 0);
    bool counts = S_ISREG(loss->st->st_mode) && loss->st->st_nlink == 1;
    return counts && (!messages || x->mailbox.kind == MAILBOX_MESSAGE);
}

/* A warning: what is one user's is retained, and no reason to leave all others unprotected. */
static void
judge_user(struct loss *x)
{
    uint64_t most;
    if (x->store->conf->kind != STORE_MAILDIR || x->mailbox.user.len == 0)
        return;
    struct guard_user *u = guard_user_of(x->guard, x->mailbox.user, x->time_ms);
    struct span user = x->mailbox.user;
    if (!u->told && guard_over(x->guard, &u->count, x->files, x->time_ms, &most)) {
        guard_found(&u->count, count_below(x->store, user, most));
        u->told = guard_over(x->guard, &u->count, x->files, x->time_ms, &most);
        if (u->told)
            event(EV_MASS_CHANGE_OF_USER, F_STR("store", x->store->conf->name),
                  F_SPAN("user", user),
                  F_U64("files", guard_sum(x->guard, &u->count, x->time_ms).lost + x->files));
    }
    guard_lose(x->guard, &u->count, x->files, x->time_ms, x->gone);
}

static void
close_guard(struct mass *m, const struct loss *x, struct span path)
{
    struct guard_sum sum = guard_sum(x->guard, &x->guard->store, x->time_ms);
    uint64_t window = x->guard->limits.window_ms;
    pthread_mutex_lock(&m->lock);
    m->facts = (struct mass_facts){
        .state = MASS_CLOSED,
        .syncing = m->syncing,
        .store = x->store->number,
        .at_ms = wall_ms(),
        .began_ms = x->time_ms - MIN(x->time_ms, window),
        .lost = sum.lost + x->files,
        .of = x->guard->store.at_least + sum.gone,
        .released_ms = m->facts.released_ms,
    };
    snprintf(m->facts.path, sizeof(m->facts.path), "%.*s", (int)MIN(path.len, (size_t)255),
             (const char *)path.ptr);
    m->unsaved = true;
    pin(m);
    pthread_mutex_unlock(&m->lock);
    event(EV_MASS_CHANGE, F_STR("store", x->store->conf->name), F_U64("files", m->facts.lost),
          F_U64("of", m->facts.of), F_STR("during", m->syncing ? "a resync" : "replication"),
          F_SPAN("next", path));
}

/* true: it is over the limit, by all files that there are. */
static bool
is_over(struct loss *x)
{
    uint64_t most;
    struct guard_count *count = &x->guard->store;
    if (!guard_over(x->guard, count, x->files, x->time_ms, &most))
        return false;
    if (most > 0)
        guard_found(count, count_below(x->store, (struct span){ 0 }, most));
    return guard_over(x->guard, count, x->files, x->time_ms, &most);
}

static bool
is_guarded(const struct node_store *s)
{
    return s->retain != NULL && s->conf->mass_limit < 100;
}

/* Records that an operator has let through do not count again. */
static bool
is_released(struct mass *m, uint64_t time_ms)
{
    pthread_mutex_lock(&m->lock);
    bool released = time_ms <= m->facts.released_ms;
    bool forget = m->forget;
    m->forget = false;
    pthread_mutex_unlock(&m->lock);
    for (size_t i = 0; forget && i < m->node->store_count; i++)
        guard_reset(&m->guards[i]);
    return released;
}

/* What was encrypted and is overwritten by what this node gave to the primary. What came into a
 * place that was empty overwrites nothing: of it nothing stays for whoever attacks next. */
static bool
is_put_back(struct mass *m, const struct loss *x)
{
    atomic_uint_fast64_t *count = &m->put_back[x->store->number];
    if (x->time_ms > atomic_load(&m->put_back_until_ms))
        atomic_store(count, 0);
    uint_fast64_t have = atomic_load(count);
    while (!x->gone && have >= x->files) {
        if (atomic_compare_exchange_weak(count, &have, have - x->files))
            return true;
    }
    return false;
}

static bool
is_allowed(struct mass *m, const struct loss *x)
{
    uint64_t *allowed = &m->allowed[x->store->number];
    bool enough = m->syncing && *allowed >= x->files;
    *allowed -= enough ? x->files : 0;
    return enough;
}

int
mass_ask(void *mass, const struct apply_loss *loss, struct err *e)
{
    struct mass *m = mass;
    _cleanup_buf_ struct buf text = { 0 };
    struct loss x = { .store = &m->node->stores[loss->record->store],
                      .guard = &m->guards[loss->record->store],
                      .gone = !loss->replaced };
    const char *users = x.store->conf->users != NULL ? x.store->conf->users : "";
    if (mass_closed(m, e))
        return -1;
    if (!is_guarded(x.store))
        return 0;
    x.time_ms = loss->record->time_ns != 0 ? loss->record->time_ns / NS_PER_MS : wall_ms();
    if (S_ISDIR(loss->st->st_mode))
        mailbox_of_dir(users, loss->path, &text, &x.mailbox);
    else
        mailbox_of(users, loss->path, &x.mailbox);
    if (is_released(m, x.time_ms))
        return 0;
    x.files = files_of(&x, loss);
    if (x.files == 0 || is_allowed(m, &x) || is_put_back(m, &x))
        return 0;
    judge_user(&x);
    if (is_over(&x)) {
        close_guard(m, &x, loss->path);
        mass_closed(m, e);
        return -1;
    }
    guard_lose(x.guard, &x.guard->store, x.files, x.time_ms, x.gone);
    return 0;
}

/* --- what is told of it, and its end --- */

void
mass_syncing(struct mass *mass, bool syncing)
{
    mass->syncing = syncing;
}

void
mass_level(struct mass *mass)
{
    pthread_mutex_lock(&mass->lock);
    mass->level = mass->facts.state != MASS_CLOSED;
    pthread_mutex_unlock(&mass->lock);
}

bool
mass_is_level(struct mass *mass)
{
    pthread_mutex_lock(&mass->lock);
    bool level = mass->level;
    pthread_mutex_unlock(&mass->lock);
    return level;
}

void
mass_allow(struct mass *mass, uint16_t store, uint64_t files)
{
    mass->allowed[store] = files;
}

void
mass_put_back(struct mass *mass, uint16_t store, bool comes)
{
    atomic_uint_fast64_t *count = &mass->put_back[store];
    uint_fast64_t have = atomic_load(count);
    if (comes) {
        uint64_t window = mass->node->stores[store].conf->mass_window_ms;
        atomic_store(&mass->put_back_until_ms, wall_ms() + window);
        atomic_fetch_add(count, 1);
        return;
    }
    while (have > 0 && !atomic_compare_exchange_weak(count, &have, have - 1))
        continue;
}

void
mass_facts(struct mass *mass, struct mass_facts *ret_facts)
{
    pthread_mutex_lock(&mass->lock);
    *ret_facts = mass->facts;
    pthread_mutex_unlock(&mass->lock);
}

bool
mass_closed(struct mass *mass, struct err *e)
{
    struct mass_facts f;
    mass_facts(mass, &f);
    if (f.state != MASS_CLOSED)
        return false;
    const struct conf_store *store = mass->node->stores[f.store].conf;
    err_set(
        e, ERR_REFUSED,
        "store %s: %ju of %ju files were deleted or overwritten within %ju s%s, more than %u%%; "
        "mailtwin retained release lets it go on, discard takes it back",
        store->name, (uintmax_t)f.lost, (uintmax_t)MAX(f.of, f.lost),
        (uintmax_t)store->mass_window_ms / 1000, f.syncing ? " by a resync" : "",
        store->mass_limit);
    return true;
}

static int
write_facts(struct mass *m, const struct mass_facts *facts, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    _cleanup_buf_ struct buf row = { 0 };
    mass_encode(facts, &row);
    if (state_begin(m->node->state, true, &txn, e) < 0 ||
        state_put(txn, MASS_ROW, buf_span(&row), e) < 0 || state_commit(&txn, e) < 0)
        return -1;
    pthread_mutex_lock(&m->lock);
    m->facts = *facts;
    m->unsaved = false;
    m->forget = true;
    m->level = false;
    pin(m);
    pthread_mutex_unlock(&m->lock);
    return 0;
}

int
mass_release(struct mass *mass, enum mass_state state, struct err *e)
{
    struct mass_facts f;
    mass_facts(mass, &f);
    if (f.state != MASS_CLOSED)
        return err_set(e, ERR_REFUSED, "applying is not paused by a mass change on this node");
    f.state = state;
    f.released_ms = MAX(f.released_ms, wall_ms());
    if (write_facts(mass, &f, e) < 0)
        return err_wrap(e, "let the mass change through");
    event(EV_MASS_CHANGE_END, F_STR("by", state == MASS_DISCARD ? "discard" : "release"));
    return 0;
}

int
mass_end(struct mass *mass, struct err *e)
{
    struct mass_facts f;
    mass_facts(mass, &f);
    if (f.state == MASS_OPEN)
        return 0;
    f.state = MASS_OPEN;
    return write_facts(mass, &f, e);
}
