#include "replicator/listing.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/dir.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#define HASH_CHUNK (128 * 1024)

void
listing_free(struct listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        freep(&l->entries[i].name.ptr);
    free(l->entries);
    *l = (struct listing){ 0 };
}

void
listing_add(struct listing *l, const struct wire_entry *entry)
{
    if (l->count == l->cap) {
        l->cap = MAX(l->cap * 2, (size_t)16);
        l->entries = xrealloc(l->entries, l->cap * sizeof(l->entries[0]));
    }
    uint8_t *name = xmalloc(entry->name.len);
    memcpy(name, entry->name.ptr, entry->name.len);
    struct wire_entry *slot = &l->entries[l->count++];
    *slot = *entry;
    slot->name.ptr = name;
}

static int
entry_compare(const void *a, const void *b)
{
    const struct wire_entry *left = a;
    const struct wire_entry *right = b;
    return span_compare(left->name, right->name);
}

static void
drop_doubles(struct listing *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (kept > 0 && span_equal(l->entries[kept - 1].name, l->entries[i].name))
            freep(&l->entries[i].name.ptr);
        else
            l->entries[kept++] = l->entries[i];
    }
    l->count = kept;
}

void
listing_sort(struct listing *l)
{
    if (l->count == 0)
        return;
    qsort(l->entries, l->count, sizeof(l->entries[0]), entry_compare);
    drop_doubles(l);
}

static int
name_compare(const void *name, const void *entry)
{
    return span_compare(*(const struct span *)name, ((const struct wire_entry *)entry)->name);
}

const struct wire_entry *
listing_find(const struct listing *l, struct span name)
{
    if (l->count == 0)
        return NULL;
    return bsearch(&name, l->entries, l->count, sizeof(l->entries[0]), name_compare);
}

static void
hash_freep(EVP_MD_CTX **hash)
{
    EVP_MD_CTX_free(*hash);
}

static EVP_MD_CTX *
hash_new(void)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    ASSERT(hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1);
    return hash;
}

static void
hash_add(EVP_MD_CTX *hash, struct span bytes)
{
    ASSERT(EVP_DigestUpdate(hash, bytes.ptr, bytes.len) == 1);
}

static void
hash_end(EVP_MD_CTX *hash, uint8_t ret_digest[WIRE_DIGEST_SIZE])
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    ASSERT(EVP_DigestFinal_ex(hash, whole, NULL) == 1);
    memcpy(ret_digest, whole, WIRE_DIGEST_SIZE);
}

struct scan {
    const struct store_rules *rules;
    int dirfd;
    dev_t device;
    struct span dir;
    bool dir_is_tmp;
    bool content;
    const struct listing_pace *pace;
    uint8_t *chunk; /* HASH_CHUNK bytes, made for the first file that is read */
};

static struct attr
attr_of(const struct stat *st)
{
    return (struct attr){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = (uint64_t)st->st_size,
        .mtime_ns = attrs_ns(&st->st_mtim),
    };
}

static void
entry_see(struct wire_entry *entry, const struct stat *st)
{
    entry->attr = attr_of(st);
    entry->ino = st->st_ino;
    entry->nlink = (uint32_t)st->st_nlink;
}

/* The names under which an object is no longer what it was a moment ago. */
static bool
vanished(int errnum)
{
    return errnum == ENOENT || errnum == ELOOP || errnum == EINVAL || errnum == ESTALE ||
           errnum == ENXIO;
}

void
listing_hash(struct span bytes, uint8_t ret_digest[WIRE_DIGEST_SIZE])
{
    _cleanup_(hash_freep) EVP_MD_CTX *hash = hash_new();
    hash_add(hash, bytes);
    hash_end(hash, ret_digest);
}

int
listing_symlink(int dirfd, const char *name, struct buf *ret_target, struct err *e)
{
    buf_reset(ret_target);
    buf_reserve(ret_target, RECORD_TARGET_MAX + 1);
    ssize_t len = readlinkat(dirfd, name, (char *)ret_target->ptr, RECORD_TARGET_MAX + 1);
    if (len < 0 && vanished(errno))
        return 0;
    if (len < 0)
        return err_sys(e, ERR_IO, "read the symlink %s", name);
    ret_target->len = (size_t)len;
    return 1;
}

static int
hash_symlink(const struct scan *scan, const char *name, struct wire_entry *entry, struct err *e)
{
    _cleanup_buf_ struct buf target = { 0 };
    int found = listing_symlink(scan->dirfd, name, &target, e);
    if (found <= 0)
        return found;
    listing_hash(buf_span(&target), entry->hash);
    entry->has_hash = 1;
    return 0;
}

static int
tick(const struct scan *scan, uint64_t bytes, struct err *e)
{
    return scan->pace == NULL ? 0 : scan->pace->tick(scan->pace->arg, bytes, e);
}

/* Reads at most the size the file had when it was opened: one that grows comes to an end too. */
static int
hash_content(struct scan *scan, int fd, uint64_t size, EVP_MD_CTX *hash, struct err *e)
{
    if (scan->chunk == NULL)
        scan->chunk = xmalloc(HASH_CHUNK);
    for (uint64_t at = 0; at < size;) {
        size_t want = MIN(size - at, (uint64_t)HASH_CHUNK);
        ssize_t got = file_pread_full(fd, scan->chunk, want, at, e);
        if (got < 0)
            return -1;
        if (got == 0)
            return 0;
        hash_add(hash, span_of(scan->chunk, (size_t)got));
        at += (uint64_t)got;
        if (tick(scan, (uint64_t)got, e) < 0)
            return -1;
    }
    return 0;
}

/* Extended attributes count as content: a comparison of bytes must see them too. */
static int
hash_xattrs(int fd, EVP_MD_CTX *hash, size_t *ret_count, struct err *e)
{
    _cleanup_xattrs_ struct attrs_xattrs xattrs = { 0 };
    if (attrs_xattrs_read(fd, &xattrs, e) < 0)
        return -1;
    *ret_count = xattrs.count;
    for (size_t i = 0; i < xattrs.count; i++) {
        uint8_t sizes[8];
        put_le32(sizes, (uint32_t)xattrs.list[i].name.len);
        put_le32(sizes + 4, (uint32_t)xattrs.list[i].value.len);
        hash_add(hash, span_of(sizes, sizeof(sizes)));
        hash_add(hash, xattrs.list[i].name);
        hash_add(hash, xattrs.list[i].value);
    }
    return 0;
}

static int
hash_alone(int fd, uint8_t ret_digest[WIRE_DIGEST_SIZE], size_t *ret_count, struct err *e)
{
    _cleanup_(hash_freep) EVP_MD_CTX *hash = hash_new();
    if (hash_xattrs(fd, hash, ret_count, e) < 0)
        return -1;
    hash_end(hash, ret_digest);
    return 0;
}

/* The caller's descriptor may be O_PATH. */
static int
hash_self(int dirfd, uint8_t ret_digest[WIRE_DIGEST_SIZE], size_t *ret_count, struct err *e)
{
    _cleanup_close_ int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(e, ERR_IO, "open the directory")
                  : hash_alone(fd, ret_digest, ret_count, e);
}

int
listing_root(int dirfd, struct listing *l, struct err *e)
{
    size_t count;
    l->has_self_hash = true;
    return hash_self(dirfd, l->self_hash, &count, e);
}

int
listing_dir_xattrs(int dirfd, uint64_t *ret_xattrs, struct err *e)
{
    uint8_t digest[WIRE_DIGEST_SIZE];
    size_t count;
    if (hash_self(dirfd, digest, &count, e) < 0)
        return -1;
    *ret_xattrs = count == 0 ? 0 : get_le64(digest);
    return 0;
}

/* A file that the disk does not give is listed without a hash: it differs from one that has it, and
 * does not end the comparison of all others. */
static int
no_hash(struct span dir, const char *name, const struct err *why, struct err *e)
{
    if (file_disk_failed(why)) {
        event(EV_UNREADABLE, F_SPAN("directory", dir), F_STR("name", name), F_ERR(why));
        return 0;
    }
    if (e != NULL)
        *e = *why;
    return err_wrap(e, "read %s", name);
}

int
listing_xattrs(int dirfd, struct span dir, const char *name, struct wire_entry *entry,
               struct err *e)
{
    struct err why = { 0 };
    size_t count = 0;
    if (!attrs_xattrs_any(dirfd, name))
        return 0;
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && vanished(errno))
        return 0;
    if (fd < 0)
        err_sys(&why, ERR_IO, "open %s", name);
    if (fd < 0 || hash_alone(fd, entry->hash, &count, &why) < 0)
        return no_hash(dir, name, &why, e);
    entry->has_hash = count > 0;
    return 0;
}

static int
hash_file(struct scan *scan, const char *name, struct wire_entry *entry, struct err *e)
{
    /* O_NONBLOCK: a fifo that took the file's place must not hold us up. */
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    _cleanup_close_ int fd = openat(scan->dirfd, name, flags);
    if (fd < 0 && vanished(errno))
        return 0;
    struct stat st;
    size_t count;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "open %s", name);
    if (!S_ISREG(st.st_mode)) /* it took the file's place a moment ago */
        return 0;
    entry_see(entry, &st);
    struct err why = { 0 };
    _cleanup_(hash_freep) EVP_MD_CTX *hash = hash_new();
    if (hash_content(scan, fd, (uint64_t)st.st_size, hash, &why) < 0 ||
        hash_xattrs(fd, hash, &count, &why) < 0)
        return no_hash(scan->dir, name, &why, e);
    hash_end(hash, entry->hash);
    entry->has_hash = 1;
    return 0;
}

/* Sockets live with their daemon, devices with their host, and what is mounted here elsewhere: the
 * index of a primary has none of them either. */
static bool
can_be_replicated(const struct scan *scan, uint32_t mode, dev_t device)
{
    return device == scan->device && !S_ISSOCK(mode) && !S_ISBLK(mode) && !S_ISCHR(mode);
}

/* What the disk does not give is not in the listing. On the primary that removes nothing: names are
 * removed by what the capture sees of each, and it sees the same. */
static int
not_listed(const struct scan *scan, struct listing *l, const char *name, int errnum, struct err *e)
{
    struct err why = { 0 };
    l->partial = true;
    err_errnum(&why, ERR_IO, errnum, "%s", name[0] == '\0' ? "list the names" : "look at the name");
    return no_hash(scan->dir, name, &why, e);
}

static int
hash_of(struct scan *scan, const char *name, struct wire_entry *entry, struct err *e)
{
    switch (entry->attr.mode & S_IFMT) {
    case S_IFLNK:
        return hash_symlink(scan, name, entry, e);
    case S_IFREG:
        if (scan->content)
            return hash_file(scan, name, entry, e);
        return listing_xattrs(scan->dirfd, scan->dir, name, entry, e);
    case S_IFDIR:
        return listing_xattrs(scan->dirfd, scan->dir, name, entry, e);
    default:
        return 0;
    }
}

static int
scan_name(struct scan *scan, const char *text, struct listing *l, struct err *e)
{
    struct span name = span_str(text);
    if (!path_name_valid(name)) /* "." and ".." */
        return 0;
    if (store_class_of(scan->rules, scan->dir, name, scan->dir_is_tmp) == CLASS_IGNORE)
        return 0;
    struct stat st;
    if (fstatat(scan->dirfd, text, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return vanished(errno) ? 0 : not_listed(scan, l, text, errno, e);
    if (!can_be_replicated(scan, st.st_mode, st.st_dev) ||
        store_is_unfinished(scan->rules, scan->dir, st.st_mode))
        return 0;
    struct wire_entry entry = { .name = name };
    entry_see(&entry, &st);
    if (hash_of(scan, text, &entry, e) < 0)
        return -1;
    listing_add(l, &entry);
    return tick(scan, LISTING_NAME_BYTES, e);
}

static int
scan_names(struct scan *scan, struct listing *l, struct err *e)
{
    const struct dirent *item;
    struct err why = { 0 };
    _cleanup_dir_ DIR *dir = dir_open(scan->dirfd, ".", e);
    if (dir == NULL)
        return -1;
    for (int more; (more = dir_next(dir, &item, &why)) != 0;) {
        if (more < 0)
            return not_listed(scan, l, "", why.sys, e);
        if (scan_name(scan, item->d_name, l, e) < 0)
            return -1;
    }
    return 0;
}

static bool
has_sibling(int dirfd, const char *path)
{
    struct stat st;
    return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static bool
is_tmp(const struct store_rules *rules, int dirfd, struct span dir)
{
    if (!store_dir_is_tmp(rules, path_name(dir), true)) /* the name alone says no */
        return false;
    return has_sibling(dirfd, "../cur") || has_sibling(dirfd, "../new");
}

int
listing_read(const struct store_rules *rules, int dirfd, struct span dir, bool content,
             const struct listing_pace *pace, struct listing *ret_listing, struct err *e)
{
    struct stat st;
    if (fstat(dirfd, &st) < 0)
        return err_sys(e, ERR_IO, "look at the directory");
    struct scan scan = { .rules = rules,
                         .dirfd = dirfd,
                         .device = st.st_dev,
                         .dir = dir,
                         .dir_is_tmp = is_tmp(rules, dirfd, dir),
                         .content = content,
                         .pace = pace };
    _cleanup_listing_ struct listing l = { 0 };
    l.self = attr_of(&st);
    int done = dir.len == 0 ? listing_root(dirfd, &l, e) : 0;
    if (done == 0)
        done = scan_names(&scan, &l, e);
    free(scan.chunk);
    if (done < 0)
        return -1;
    listing_sort(&l);
    *ret_listing = l;
    l = (struct listing){ 0 };
    return 0;
}

/* The facts of an entry that a comparison looks at; the others are zero. */
static struct wire_entry
entry_facts(const struct wire_entry *entry)
{
    struct wire_entry facts = *entry;
    uint32_t type = entry->attr.mode & S_IFMT;
    facts.ino = 0;
    if (type != S_IFREG)
        facts.attr.size = 0;
    if (type == S_IFDIR)
        facts.attr.mtime_ns = 0;
    if (type != S_IFREG || entry->nlink <= 1)
        facts.nlink = 1;
    return facts;
}

static void
digest_self(const struct attr *self, struct buf *out)
{
    buf_add_le32(out, self->mode);
    buf_add_le32(out, self->uid);
    buf_add_le32(out, self->gid);
}

void
listing_digest(const struct listing *l, uint8_t ret_digest[WIRE_DIGEST_SIZE])
{
    _cleanup_(hash_freep) EVP_MD_CTX *hash = hash_new();
    _cleanup_buf_ struct buf packed = { 0 };
    digest_self(&l->self, &packed);
    if (l->has_self_hash)
        buf_add(&packed, l->self_hash, sizeof(l->self_hash));
    for (size_t i = 0; i < l->count; i++) {
        struct wire_entry facts = entry_facts(&l->entries[i]);
        wire_entry_add(&packed, &facts);
        hash_add(hash, buf_span(&packed));
        buf_reset(&packed);
    }
    hash_add(hash, buf_span(&packed));
    hash_end(hash, ret_digest);
}

static bool
attr_equal(const struct attr *a, const struct attr *b)
{
    return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->size == b->size &&
           a->mtime_ns == b->mtime_ns;
}

bool
listing_hash_equal(const struct wire_entry *a, const struct wire_entry *b)
{
    if (a->has_hash != b->has_hash)
        return false;
    return !a->has_hash || memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

bool
listing_entry_equal(const struct wire_entry *a, const struct wire_entry *b, bool with_nlink)
{
    struct wire_entry left = entry_facts(a);
    struct wire_entry right = entry_facts(b);
    if (with_nlink && left.nlink != right.nlink)
        return false;
    return span_equal(left.name, right.name) && attr_equal(&left.attr, &right.attr) &&
           listing_hash_equal(&left, &right);
}

void
listing_pack(const struct listing *l, size_t first, size_t max_bytes, struct buf *out,
             size_t *ret_next)
{
    size_t max = MIN(max_bytes, (size_t)WIRE_BULK_MAX);
    size_t start = out->len;
    size_t next = first;
    while (next < l->count) {
        size_t before = out->len;
        wire_entry_add(out, &l->entries[next]);
        if (out->len - start > max && next > first) { /* at least one, so that it goes on */
            out->len = before;
            break;
        }
        next++;
    }
    *ret_next = next;
}

int
listing_unpack(struct span entries, struct listing *into, struct err *e)
{
    struct reader in = reader_of(entries);
    struct wire_entry entry;
    int got;
    while ((got = wire_entry_next(&in, &entry, e)) > 0)
        listing_add(into, &entry);
    return got;
}
