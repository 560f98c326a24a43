#include "lib/store/dump_spool.h"

#include "lib/os/dir.h"
#include "lib/os/file.h"
#include "lib/os/state_dir.h"
#include "lib/store/store.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define NOTES_DIR "dumps"
#define NOTES_MAX (256 * 1024)
#define DRAFT     STORE_SPOOL_TMP "draft"
#define CHUNK     65536

#define LOCK_STEP_MS 50
#define LOOK_EACH    (4u << 20) /* bytes written between two looks at the room on the disk */
#define SPARE_PART   20         /* of the disk, which is left to the journal */

/* --- open --- */

static int
open_notes(const struct conf *conf, struct err *e)
{
    _cleanup_close_ int state = state_dir_open(conf, e);
    return state < 0 ? -1 : state_dir_folder(state, NOTES_DIR, e);
}

static int
lock_spool(const struct dump_spool *spool, int wait_ms, struct err *e)
{
    int failed = flock(spool->dirfd, LOCK_EX | LOCK_NB);
    for (; failed < 0 && errno == EWOULDBLOCK && wait_ms > 0; wait_ms -= LOCK_STEP_MS) {
        poll(NULL, 0, LOCK_STEP_MS);
        failed = flock(spool->dirfd, LOCK_EX | LOCK_NB);
    }
    if (failed == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(e, ERR_BUSY, "another process makes or restores a dump of %s", spool->name);
    return err_sys(e, ERR_IO, "lock the spool of %s", spool->name);
}

/* Notes that cannot be read are begun anew: they say what need not be done again, and without them
 * it is asked for. */
static int
load_notes(struct dump_spool *spool, struct err *e)
{
    _cleanup_free_ char *file = xasprintf("%s.json", spool->name);
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int found = file_read(spool->notesfd, file, NOTES_MAX, &text, &len, e);
    if (found < 0)
        return -1;
    spool->notes = found > 0 ? json_loadb(text, len, 0, NULL) : NULL;
    if (!json_is_object(spool->notes)) {
        json_decref(spool->notes);
        spool->notes = json_object();
    }
    return 0;
}

int
dump_spool_open(const struct conf *conf, const struct conf_store *store, int wait_ms,
                struct dump_spool *ret_spool, struct err *e)
{
    struct dump_spool spool = { .dirfd = -1, .notesfd = -1, .name = xstrdup(store->name) };
    spool.dirfd = open(store->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = spool.dirfd < 0 ? err_sys(e, ERR_IO, "open the spool %s", store->path) : 0;
    if (rc == 0 && wait_ms != DUMP_SHARED)
        rc = lock_spool(&spool, wait_ms, e);
    if (rc == 0)
        spool.notesfd = open_notes(conf, e);
    if (rc == 0 && (spool.notesfd < 0 || load_notes(&spool, e) < 0))
        rc = -1;
    if (rc < 0)
        dump_spool_close(&spool);
    *ret_spool = spool;
    return rc;
}

void
dump_spool_close(struct dump_spool *spool)
{
    file_closep(&spool->dirfd);
    file_closep(&spool->notesfd);
    freep(&spool->name);
    json_decref(spool->notes);
    spool->notes = NULL;
}

/* --- versions --- */

void
dump_list_free(struct dump_list *list)
{
    freep(&list->versions);
    list->count = 0;
}

static int
by_age(const void *a, const void *b)
{
    return dump_compare(a, b);
}

static int
read_names(DIR *dir, struct dump_list *list, struct err *e)
{
    const struct dirent *item;
    int more;
    for (size_t room = 0; (more = dir_next(dir, &item, e)) > 0;) {
        struct dump_version version;
        if (!dump_name_parse(span_str(item->d_name), &version))
            continue;
        if (list->count == room) {
            room = MAX(room * 2, (size_t)16);
            list->versions = xrealloc(list->versions, room * sizeof(version));
        }
        list->versions[list->count++] = version;
    }
    return more;
}

int
dump_spool_list(const struct dump_spool *spool, struct dump_list *ret_list, struct err *e)
{
    _cleanup_dumps_ struct dump_list list = { 0 };
    _cleanup_dir_ DIR *dir = dir_open(spool->dirfd, ".", e);
    if (dir == NULL || read_names(dir, &list, e) < 0)
        return err_wrap(e, "read the spool of %s", spool->name);
    if (list.count > 0)
        qsort(list.versions, list.count, sizeof(list.versions[0]), by_age);
    *ret_list = list;
    list = (struct dump_list){ 0 };
    return 0;
}

static int
check_hash(int fd, const struct dump_trailer *trailer, struct err *e)
{
    struct dump_draft draft = { .fd = -1, .hash = EVP_MD_CTX_new() };
    _cleanup_free_ uint8_t *chunk = xmalloc(CHUNK);
    uint8_t hash[DUMP_HASH_SIZE];
    int rc = 0;
    ASSERT(draft.hash != NULL && EVP_DigestInit_ex(draft.hash, EVP_sha256(), NULL) == 1);
    for (uint64_t at = 0; rc == 0 && at < trailer->size;) {
        size_t want = (size_t)MIN(trailer->size - at, (uint64_t)CHUNK);
        ssize_t got = file_pread_full(fd, chunk, want, at, e);
        if (got <= 0)
            rc = got < 0 ? -1 : err_set(e, ERR_CORRUPT, "it ends early");
        else
            ASSERT(EVP_DigestUpdate(draft.hash, chunk, (size_t)got) == 1);
        at += got > 0 ? (uint64_t)got : 0;
    }
    dump_draft_hash(&draft, hash);
    if (rc == 0 && memcmp(hash, trailer->hash, sizeof(hash)) != 0)
        rc = err_set(e, ERR_CORRUPT, "its bytes do not have the SHA-256 that its trailer tells");
    return rc;
}

int
dump_spool_read(const struct dump_spool *spool, const struct dump_version *version, bool whole,
                int *ret_fd, struct dump_trailer *ret_trailer, struct err *e)
{
    char name[DUMP_NAME_SIZE];
    uint8_t bytes[DUMP_TRAILER_SIZE];
    struct stat st;
    dump_name_write(version, name);
    _cleanup_close_ int fd = openat(spool->dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "open the version %s", name);
    uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    uint64_t at = size - MIN(size, (uint64_t)DUMP_TRAILER_SIZE);
    ssize_t got = file_pread_full(fd, bytes, sizeof(bytes), at, e);
    if (got < 0 || dump_trailer_decode(span_of(bytes, (size_t)got), size, ret_trailer, e) < 0)
        return err_wrap(e, "version %s", name);
    if (ret_trailer->epoch != version->epoch || ret_trailer->number != version->number)
        return err_set(e, ERR_CORRUPT, "version %s has the trailer of another one", name);
    if (whole && check_hash(fd, ret_trailer, e) < 0)
        return err_wrap(e, "version %s", name);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* --- notes --- */

int
dump_spool_note(struct dump_spool *spool, const char *key, json_t *value, struct err *e)
{
    _cleanup_free_ char *file = xasprintf("%s.json", spool->name);
    json_object_set_new(spool->notes, key, value);
    char *text = json_dumps(spool->notes, JSON_INDENT(1));
    ASSERT(text != NULL);
    int rc = file_replace(spool->notesfd, file, span_str(text), 0600, e);
    free(text);
    return rc < 0 ? err_wrap(e, "note what was done for %s", spool->name) : 0;
}

int
dump_spool_facts(const struct dump_spool *spool, uint64_t epoch, struct dump_facts *ret_facts,
                 struct err *e)
{
    _cleanup_dumps_ struct dump_list list = { 0 };
    if (dump_spool_list(spool, &list, e) < 0)
        return -1;
    const char *made = json_string_value(json_object_get(spool->notes, "made"));
    const json_t *restored = json_object_get(spool->notes, "restored");
    *ret_facts = (struct dump_facts){ .epoch = epoch, .any = list.count > 0 };
    if (list.count > 0)
        ret_facts->newest = list.versions[list.count - 1];
    ret_facts->made_any = made != NULL && dump_name_parse(span_str(made), &ret_facts->made);
    ret_facts->restored_epoch = (uint64_t)json_integer_value(json_object_get(restored, "epoch"));
    return 0;
}

/* --- making one --- */

int
dump_draft_begin(const struct dump_spool *spool, struct dump_draft *ret_draft, struct err *e)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
    *ret_draft = (struct dump_draft){ .fd = openat(spool->dirfd, DRAFT, flags, 0600) };
    if (ret_draft->fd < 0)
        return err_sys(e, ERR_IO, "create " DRAFT " in the spool of %s", spool->name);
    ret_draft->hash = EVP_MD_CTX_new();
    ASSERT(ret_draft->hash != NULL && EVP_DigestInit_ex(ret_draft->hash, EVP_sha256(), NULL) == 1);
    return 0;
}

/* A dump that fills the journal's disk would cost the protection of all mail. */
static int
check_room(struct dump_draft *draft, struct err *e)
{
    struct statvfs fs;
    if (draft->looked != 0 && draft->size - draft->looked < LOOK_EACH)
        return 0;
    draft->looked = draft->size;
    if (fstatvfs(draft->fd, &fs) < 0)
        return err_sys(e, ERR_IO, "look at the room on the disk");
    if (fs.f_bavail >= fs.f_blocks / SPARE_PART)
        return 0;
    return err_set(
        e, ERR_NOSPACE,
        "less than a twentieth of the disk of the state directory is free, which is left "
        "to the journal");
}

int
dump_draft_add(struct dump_draft *draft, struct span bytes, struct err *e)
{
    if (check_room(draft, e) < 0)
        return -1;
    if (file_write_full(draft->fd, bytes, e) < 0)
        return -1;
    ASSERT(EVP_DigestUpdate(draft->hash, bytes.ptr, bytes.len) == 1);
    draft->size += bytes.len;
    return 0;
}

void
dump_draft_hash(struct dump_draft *draft, uint8_t ret_hash[DUMP_HASH_SIZE])
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    ASSERT(EVP_DigestFinal_ex(draft->hash, whole, NULL) == 1);
    memcpy(ret_hash, whole, DUMP_HASH_SIZE);
    EVP_MD_CTX_free(draft->hash);
    draft->hash = NULL;
}

int
dump_draft_keep(const struct dump_spool *spool, struct dump_draft *draft,
                const struct dump_trailer *trailer, const struct dump_version *version,
                struct err *e)
{
    char name[DUMP_NAME_SIZE];
    uint8_t bytes[DUMP_TRAILER_SIZE];
    dump_name_write(version, name);
    dump_trailer_encode(trailer, bytes);
    if (file_write_full(draft->fd, span_of(bytes, sizeof(bytes)), e) < 0 ||
        file_sync(draft->fd, e) < 0 ||
        file_rename(spool->dirfd, DRAFT, spool->dirfd, name, true, e) < 0)
        return -1;
    file_closep(&draft->fd); /* it is no draft any more */
    return file_sync(spool->dirfd, e);
}

void
dump_draft_end(const struct dump_spool *spool, struct dump_draft *draft)
{
    if (draft->fd >= 0)
        unlinkat(spool->dirfd, DRAFT, 0); /* best effort: the next one truncates it */
    file_closep(&draft->fd);
    EVP_MD_CTX_free(draft->hash);
    draft->hash = NULL;
}

int
dump_spool_prune(const struct dump_spool *spool, unsigned keep, struct err *e)
{
    _cleanup_dumps_ struct dump_list list = { 0 };
    if (dump_spool_list(spool, &list, e) < 0)
        return -1;
    for (size_t i = 0; i + MAX(keep, 1u) < list.count; i++) {
        char name[DUMP_NAME_SIZE];
        dump_name_write(&list.versions[i], name);
        if (unlinkat(spool->dirfd, name, 0) < 0 && errno != ENOENT)
            return err_sys(e, ERR_IO, "remove the old version %s", name);
    }
    return 0;
}
