#include "gate/memory.h"

#include "lib/base/buf.h"
#include "lib/base/crc.h"
#include "lib/os/file.h"

#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define MAGIC        "mtgate1\n"
#define HEAD_SIZE    8
#define ROW_SIZE     80
#define ROW_TAKEN    'T'
#define ROW_DONE     'D'
#define OFF_CRC      4
#define OFF_TIME     8
#define OFF_KEY      16
#define BUCKETS      32768
#define TIDY_SIZE    (16u << 20) /* the file is written anew beyond this */
#define FILE_MAX     (64u << 20)
#define ROWS_WAITING (1u << 20) /* bytes for a disk that takes none */

struct entry {
    struct entry *next;
    struct memory_key key;
    uint64_t time_s;         /* of the newest */
    unsigned count, claimed; /* messages of this key; how many of them are claimed */
};

struct memory {
    int dirfd, fd, lock_fd;
    uint64_t size; /* of the file, up to its last whole row */
    uint64_t remember_s;
    size_t count;    /* messages */
    bool dirty;      /* written since the last sync */
    bool stale;      /* rows were given up: the file has to be written anew */
    struct buf rows; /* to be written */
    struct entry *buckets[BUCKETS];
};

/* --- the table --- */

static struct entry **
bucket_of(struct memory *m, const uint8_t envelope[MEMORY_HASH])
{
    return &m->buckets[get_le32(envelope) % BUCKETS];
}

static struct entry **
find(struct memory *m, const struct memory_key *key)
{
    struct entry **at = bucket_of(m, key->envelope);
    while (*at != NULL && memcmp(&(*at)->key, key, sizeof(*key)) != 0)
        at = &(*at)->next;
    return at;
}

static struct entry *
add_one(struct memory *m, const struct memory_key *key, uint64_t time_s)
{
    struct entry **at = find(m, key);
    if (*at == NULL) {
        *at = xcalloc(1, sizeof(**at));
        (*at)->key = *key;
    }
    (*at)->time_s = MAX((*at)->time_s, time_s);
    (*at)->count++;
    m->count++;
    return *at;
}

static void
drop_one(struct memory *m, struct entry **at)
{
    struct entry *entry = *at;
    m->count--;
    if (--entry->count > 0)
        return;
    *at = entry->next;
    free(entry);
}

bool
memory_knows_envelope(const struct memory *m, const uint8_t envelope[MEMORY_HASH])
{
    const struct entry *entry = m->buckets[get_le32(envelope) % BUCKETS];
    for (; entry != NULL; entry = entry->next)
        if (entry->count > entry->claimed &&
            memcmp(entry->key.envelope, envelope, MEMORY_HASH) == 0)
            return true;
    return false;
}

bool
memory_claim(struct memory *m, const struct memory_key *key)
{
    struct entry *entry = *find(m, key);
    if (entry == NULL || entry->claimed == entry->count)
        return false;
    entry->claimed++;
    return true;
}

void
memory_unclaim(struct memory *m, const struct memory_key *key)
{
    struct entry *entry = *find(m, key);
    ASSERT(entry != NULL && entry->claimed > 0);
    entry->claimed--;
}

size_t
memory_count(const struct memory *m)
{
    return m->count;
}

bool
memory_full(const struct memory *m)
{
    return m->count >= MEMORY_MAX;
}

/* --- rows --- */

static void
put_row(struct buf *out, uint8_t what, const struct memory_key *key, uint64_t time_s)
{
    uint8_t row[ROW_SIZE] = { what };
    put_le64(row + OFF_TIME, time_s);
    memcpy(row + OFF_KEY, key, sizeof(*key));
    put_le32(row + OFF_CRC, crc32c(span_of(row + OFF_TIME, ROW_SIZE - OFF_TIME)) ^ what);
    buf_add(out, row, sizeof(row));
}

/* false: this is no row. */
static bool
take_row(struct memory *m, const uint8_t *row)
{
    struct memory_key key;
    uint32_t crc = crc32c(span_of(row + OFF_TIME, ROW_SIZE - OFF_TIME)) ^ row[0];
    if ((row[0] != ROW_TAKEN && row[0] != ROW_DONE) || get_le32(row + OFF_CRC) != crc)
        return false;
    memcpy(&key, row + OFF_KEY, sizeof(key));
    struct entry **at = find(m, &key);
    if (row[0] == ROW_TAKEN && m->count < 2 * MEMORY_MAX)
        add_one(m, &key, get_le64(row + OFF_TIME));
    else if (row[0] == ROW_DONE && *at != NULL)
        drop_one(m, at);
    return true;
}

/* Everything up to the first row that is none: behind it nothing was ever synced in order. */
static int
read_rows(struct memory *m, struct err *e)
{
    _cleanup_free_ char *data = NULL;
    size_t len = 0;
    int found = file_read(m->dirfd, MEMORY_FILE, FILE_MAX, &data, &len, e);
    if (found < 0)
        return err_wrap(e, "read what the gate remembers");
    if (len >= HEAD_SIZE && memcmp(data, MAGIC, HEAD_SIZE) != 0)
        return err_set(e, ERR_CORRUPT,
                       "the file gate/" MEMORY_FILE " in state-dir is not of this program: move it "
                       "away, mail that was deferred may then be delivered twice");
    const uint8_t *bytes = (const uint8_t *)data;
    size_t at = HEAD_SIZE;
    while (len >= at + ROW_SIZE && take_row(m, bytes + at))
        at += ROW_SIZE;
    return 0;
}

static void
expire(struct memory *m, uint64_t now_s)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct entry **at = &m->buckets[i];
        while (*at != NULL) {
            struct entry *entry = *at;
            bool old = entry->claimed == 0 && now_s > entry->time_s + m->remember_s;
            if (!old)
                at = &entry->next;
            for (unsigned left = old ? entry->count : 0; left > 0; left--)
                drop_one(m, at); /* the last one takes the entry out of the list */
        }
    }
}

static void
put_all(const struct memory *m, struct buf *out)
{
    buf_add(out, MAGIC, HEAD_SIZE);
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct entry *entry = m->buckets[i]; entry != NULL; entry = entry->next)
            for (unsigned k = 0; k < entry->count; k++)
                put_row(out, ROW_TAKEN, &entry->key, entry->time_s);
}

/* The file with nothing in it but what is remembered; durable. */
static int
rewrite(struct memory *m, struct err *e)
{
    _cleanup_buf_ struct buf all = { 0 };
    put_all(m, &all);
    if (file_replace(m->dirfd, MEMORY_FILE, buf_span(&all), 0600, e) < 0)
        return err_wrap(e, "write what the gate remembers");
    int fd = openat(m->dirfd, MEMORY_FILE, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open what the gate remembers");
    file_closep(&m->fd);
    m->fd = fd;
    m->size = all.len;
    buf_reset(&m->rows);
    m->stale = m->dirty = false;
    return 0;
}

/* --- life --- */

static int
take_lock(struct memory *m, struct err *e)
{
    m->lock_fd = openat(m->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (m->lock_fd < 0)
        return err_sys(e, ERR_IO, "open the lock of the gate");
    if (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? err_set(e, ERR_BUSY, "another mailtwin-gate runs")
                                    : err_sys(e, ERR_IO, "lock");
    return 0;
}

int
memory_open(int dirfd, uint64_t remember_s, uint64_t now_s, struct memory **ret_memory,
            struct err *e)
{
    struct memory *m = xcalloc(1, sizeof(*m));
    *m = (struct memory){ .dirfd = dirfd, .fd = -1, .lock_fd = -1, .remember_s = remember_s };
    int r = take_lock(m, e);
    if (r == 0)
        r = read_rows(m, e);
    if (r == 0) {
        expire(m, now_s);
        r = rewrite(m, e);
    }
    if (r < 0)
        memory_free(&m);
    *ret_memory = m;
    return r;
}

void
memory_free(struct memory **memory)
{
    struct memory *m = *memory;
    *memory = NULL;
    if (m == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (m->buckets[i] != NULL) {
            struct entry *next = m->buckets[i]->next;
            free(m->buckets[i]);
            m->buckets[i] = next;
        }
    }
    buf_free(&m->rows);
    file_closep(&m->fd);
    file_closep(&m->lock_fd);
    free(m);
}

/* A row that got in by half (a full disk) is written over by the next one. Where more was lost than
 * waits in memory the file is to be written anew: not for each mail, the disk is full. */
int
memory_flush(struct memory *m, struct err *e)
{
    if (m->stale) {
        buf_reset(&m->rows);
        return err_set(e, ERR_NOSPACE, "what the gate remembers was not written for want of space");
    }
    if (m->rows.len == 0)
        return 0;
    if (file_pwrite_full(m->fd, buf_span(&m->rows), m->size, e) < 0) {
        m->stale = m->rows.len > ROWS_WAITING;
        if (m->stale)
            buf_reset(&m->rows);
        return err_wrap(e, "write what the gate remembers");
    }
    m->size += m->rows.len;
    m->dirty = true;
    buf_reset(&m->rows);
    return 0;
}

int
memory_take(struct memory *m, const struct memory_key *key, uint64_t now_s, struct err *e)
{
    add_one(m, key, now_s)->claimed++;
    put_row(&m->rows, ROW_TAKEN, key, now_s);
    return memory_flush(m, e);
}

void
memory_forget(struct memory *m, const struct memory_key *key, uint64_t now_s)
{
    struct entry **at = find(m, key);
    ASSERT(*at != NULL && (*at)->claimed > 0);
    (*at)->claimed--;
    drop_one(m, at);
    put_row(&m->rows, ROW_DONE, key, now_s);
}

int
memory_sync(struct memory *m, struct err *e)
{
    if (m->stale)
        return rewrite(m, e);
    if (memory_flush(m, e) < 0 || (m->dirty && file_sync(m->fd, e) < 0))
        return err_wrap(e, "make durable what the gate remembers");
    m->dirty = false;
    return 0;
}

int
memory_tidy(struct memory *m, uint64_t now_s, struct err *e)
{
    expire(m, now_s);
    bool large = m->size > TIDY_SIZE && m->size > 4 * ROW_SIZE * m->count;
    return large || m->stale ? rewrite(m, e) : memory_flush(m, e);
}
