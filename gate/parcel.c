#include "gate/parcel.h"

#include "lib/os/file.h"

#include <stdlib.h>
#include <string.h>

void
parcel_init(struct parcel *p)
{
    *p = (struct parcel){ .hash = EVP_MD_CTX_new(), .spool_fd = -1 };
    ASSERT(p->hash != NULL);
}

static void
drop_spool(struct parcel *p)
{
    file_closep(&p->spool_fd);
    buf_free(&p->small);
    p->spool_size = p->replayed = 0;
}

void
parcel_free(struct parcel *p)
{
    ASSERT(p->claim_count == 0);
    EVP_MD_CTX_free(p->hash);
    freep(&p->claims);
    drop_spool(p);
}

static void
hash_begin(struct parcel *p)
{
    int ok = EVP_DigestInit_ex(p->hash, EVP_sha256(), NULL);
    ASSERT(ok == 1);
    p->hashed = false;
}

static void
hash_add(struct parcel *p, struct span bytes)
{
    int ok = EVP_DigestUpdate(p->hash, bytes.ptr, bytes.len);
    ASSERT(ok == 1);
}

static void
hash_end(struct parcel *p)
{
    if (p->hashed)
        return;
    int ok = EVP_DigestFinal_ex(p->hash, p->content, NULL);
    ASSERT(ok == 1);
    p->hashed = true;
}

/* A NUL between them, which no command has: no other pair gives these bytes. */
static void
hash_envelope(const struct dialogue *d, size_t i, uint8_t out[MEMORY_HASH])
{
    _cleanup_buf_ struct buf both = { 0 };
    struct span sender = dialogue_sender(d), recipient = dialogue_recipient(d, i);
    buf_add(&both, sender.ptr, sender.len);
    buf_add_u8(&both, '\0');
    buf_add(&both, recipient.ptr, recipient.len);
    int ok = EVP_Digest(both.ptr, both.len, out, NULL, EVP_sha256(), NULL);
    ASSERT(ok == 1);
}

bool
parcel_begin(struct parcel *p, const struct dialogue *d, const struct memory *m)
{
    drop_spool(p);
    hash_begin(p);
    if (memory_count(m) == 0)
        return false;
    for (size_t i = 0; i < dialogue_named(d); i++) {
        uint8_t envelope[MEMORY_HASH];
        hash_envelope(d, i, envelope);
        if (memory_knows_envelope(m, envelope))
            return true;
    }
    return false;
}

static int
spool_to_file(struct parcel *p, int dirfd, struct err *e)
{
    p->spool_fd = file_open_unnamed(dirfd, 0600, e);
    if (p->spool_fd < 0)
        return err_wrap(e, "make the spool of a message");
    if (file_pwrite_full(p->spool_fd, buf_span(&p->small), 0, e) < 0)
        return err_wrap(e, "write the spool of a message");
    buf_free(&p->small);
    return 0;
}

static int
spool_add(struct parcel *p, int dirfd, struct span content, struct err *e)
{
    if (p->spool_size + content.len > PARCEL_SPOOL_MAX)
        return err_set(e, ERR_NOSPACE, "a message is larger than the spool may become");
    if (p->spool_fd < 0 && p->spool_size + content.len <= PARCEL_SMALL) {
        buf_add(&p->small, content.ptr, content.len);
        return 0;
    }
    if (p->spool_fd < 0 && spool_to_file(p, dirfd, e) < 0)
        return -1;
    if (file_pwrite_full(p->spool_fd, content, p->spool_size, e) < 0)
        return err_wrap(e, "write the spool of a message");
    return 0;
}

int
parcel_add(struct parcel *p, int dirfd, bool spool, struct span content, struct err *e)
{
    if (content.len == 0)
        return 0;
    hash_add(p, content);
    if (!spool)
        return 0;
    if (spool_add(p, dirfd, content, e) < 0)
        return -1;
    p->spool_size += content.len;
    return 0;
}

static void
add_claim(struct parcel *p, const struct memory_key *key)
{
    p->claims = xrealloc(p->claims, (p->claim_count + 1) * sizeof(p->claims[0]));
    p->claims[p->claim_count++] = *key;
}

static struct memory_key
key_of(struct parcel *p, const struct dialogue *d, size_t i)
{
    struct memory_key key;
    hash_end(p);
    hash_envelope(d, i, key.envelope);
    memcpy(key.content, p->content, MEMORY_HASH);
    return key;
}

size_t
parcel_recall(struct parcel *p, struct dialogue *d, struct memory *m)
{
    size_t known = 0;
    for (size_t i = 0; i < d->count; i++) {
        struct memory_key key = key_of(p, d, i);
        d->rcpts[i].known = memory_claim(m, &key);
        if (d->rcpts[i].known)
            add_claim(p, &key);
        known += d->rcpts[i].known;
    }
    p->recalled = known;
    return known;
}

ssize_t
parcel_replay(struct parcel *p, void *ptr, size_t len, struct err *e)
{
    if (p->replayed == p->spool_size)
        return 0;
    size_t wanted = (size_t)MIN(len, p->spool_size - p->replayed);
    if (p->spool_fd < 0) {
        memcpy(ptr, p->small.ptr + p->replayed, wanted);
        p->replayed += wanted;
        return (ssize_t)wanted;
    }
    ssize_t got = file_pread_full(p->spool_fd, ptr, wanted, p->replayed, e);
    if (got == 0)
        return err_set(e, ERR_CORRUPT, "the spool of a message is shorter than it was");
    if (got > 0)
        p->replayed += (uint64_t)got;
    return got;
}

int
parcel_taken(struct parcel *p, const struct dialogue *d, size_t i, struct memory *m, uint64_t now_s,
             struct err *e)
{
    struct memory_key key = key_of(p, d, i);
    add_claim(p, &key);
    p->unsynced = true;
    return memory_take(m, &key, now_s, e);
}

void
parcel_confirmed(struct parcel *p, struct memory *m, uint64_t now_s)
{
    for (size_t i = 0; i < p->claim_count; i++)
        memory_forget(m, &p->claims[i], now_s);
    p->claim_count = p->recalled = 0;
    p->unsynced = false;
    drop_spool(p);
}

void
parcel_given_back(struct parcel *p, struct memory *m)
{
    for (size_t i = 0; i < p->claim_count; i++)
        memory_unclaim(m, &p->claims[i]);
    p->claim_count = p->recalled = 0;
    drop_spool(p);
}
