#include "replicator/salvage_box.h"

#include "lib/base/path.h"
#include "lib/os/dir.h"
#include "lib/os/fault.h"
#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONTENT_DIGITS 8

static void
content_name(uint32_t number, char ret_name[16])
{
    snprintf(ret_name, 16, "%0*x", CONTENT_DIGITS, number);
}

void
salvage_box_close(struct salvage_box *box)
{
    file_closep(&box->all_fd);
    file_closep(&box->dirfd);
    file_closep(&box->marks_fd);
    free(box->text);
    free(box->bodies);
    free(box->states);
    free(box->wanted);
    free(box->kept);
    for (uint32_t i = 0; box->whys != NULL && i < box->head.count; i++)
        free(box->whys[i]);
    free(box->whys);
    *box = (struct salvage_box){ .all_fd = -1, .dirfd = -1, .marks_fd = -1 };
}

static int
open_all(const struct node_store *store, int *ret_fd, struct err *e)
{
    *ret_fd = file_open_beneath(store->root_fd, span_str(STORE_PRIVATE_DIR "/" SALVAGE_DIR),
                                O_RDONLY | O_DIRECTORY, 0, e);
    if (*ret_fd >= 0)
        return 1;
    return e->sys == ENOENT ? 0 : -1;
}

int
salvage_box_names(const struct node_store *store,
                  void (*each)(void *arg, const struct node_store *store, const char *name),
                  void *arg, struct err *e)
{
    _cleanup_close_ int fd = -1;
    int found = open_all(store, &fd, e);
    if (found <= 0)
        return found;
    _cleanup_dir_ DIR *dir = dir_open(fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        if (item->d_name[0] != '.')
            each(arg, store, item->d_name);
    }
    return more < 0 ? err_wrap(e, "read the salvages of store %s", store->conf->name) : 0;
}

/* All items, so that what is damaged is found before anything is done. */
static int
read_items(struct salvage_box *box, struct reader items, struct err *e)
{
    struct salvage_item item;
    box->bodies = xcalloc(MAX(box->head.count, 1u), sizeof(*box->bodies));
    for (uint32_t i = 0; i < box->head.count; i++) {
        box->bodies[i] = items.rest;
        int found = salvage_next(&items, i, &item, e);
        if (found == 0)
            return err_set(e, ERR_CORRUPT, "the manifest ends before item %u", i);
        if (found < 0)
            return -1;
    }
    return items.rest.len == 0 ? 0 : err_set(e, ERR_CORRUPT, "bytes behind the last item");
}

static int
read_marks(struct salvage_box *box, struct err *e)
{
    struct stat st;
    box->states = xcalloc(MAX(box->head.count, 1u), 1);
    box->wanted = xcalloc(MAX(box->head.count, 1u), sizeof(bool));
    box->whys = xcalloc(MAX(box->head.count, 1u), sizeof(*box->whys));
    int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    box->marks_fd = openat(box->dirfd, "marks", flags, 0600);
    if (box->marks_fd < 0 || fstat(box->marks_fd, &st) < 0)
        return err_sys(e, ERR_IO, "open the marks");
    if (st.st_size > SALVAGE_MAX)
        return err_set(e, ERR_CORRUPT, "the marks are larger than they can be");
    _cleanup_free_ uint8_t *marks = xmalloc((size_t)st.st_size + 1);
    ssize_t got = file_pread_full(box->marks_fd, marks, (size_t)st.st_size, 0, e);
    if (got < 0)
        return -1;
    size_t good = salvage_marks(span_of(marks, (size_t)got), box->states, box->head.count);
    if (ftruncate(box->marks_fd, (off_t)good) < 0 ||
        lseek(box->marks_fd, (off_t)good, SEEK_SET) < 0) /* behind a torn one none would count */
        return err_sys(e, ERR_IO, "cut off a torn mark");
    return 0;
}

static int
read_taker(struct salvage_box *box, struct err *e)
{
    _cleanup_free_ char *bytes = NULL;
    size_t len = 0;
    int found = file_read(box->dirfd, "taker", SALVAGE_TAKER_SIZE, &bytes, &len, e);
    if (found > 0)
        salvage_taker_read(span_of(bytes, len), &box->taker);
    return found < 0 ? -1 : 0;
}

/* Which contents are here, in one reading. */
static int
read_names(struct salvage_box *box, struct err *e)
{
    box->kept = xcalloc(MAX(box->head.count, 1u), sizeof(bool));
    _cleanup_dir_ DIR *dir = dir_open(box->dirfd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        char *end;
        unsigned long number = strtoul(item->d_name, &end, 16);
        if (end == item->d_name + CONTENT_DIGITS && *end == '\0' && number < box->head.count)
            box->kept[number] = true;
    }
    return more < 0 ? -1 : 0;
}

static int
open_box(struct salvage_box *box, struct err *e)
{
    size_t len = 0;
    struct reader items;
    box->dirfd = file_open_beneath(box->all_fd, span_str(box->id), O_RDONLY | O_DIRECTORY, 0, e);
    if (box->dirfd < 0)
        return e->sys == ENOENT || e->sys == ENOTDIR ? 0 : -1;
    int found = file_read(box->dirfd, "manifest", SALVAGE_MAX, &box->text, &len, e);
    if (found <= 0)
        return found;
    if (salvage_read(span_of(box->text, len), &box->head, &items, e) < 0 ||
        read_items(box, items, e) < 0 || read_marks(box, e) < 0 || read_taker(box, e) < 0 ||
        read_names(box, e) < 0)
        return -1;
    return 1;
}

int
salvage_box_open(const struct node_store *store, const char *id, struct salvage_box *ret_box,
                 struct err *e)
{
    struct salvage_box box = { .store = store, .all_fd = -1, .dirfd = -1, .marks_fd = -1 };
    if (strlen(id) >= sizeof(box.id))
        return 0;
    memcpy(box.id, id, strlen(id) + 1);
    int found = open_all(store, &box.all_fd, e);
    if (found > 0)
        found = open_box(&box, e);
    if (found > 0)
        *ret_box = box;
    else
        salvage_box_close(&box);
    if (found < 0)
        return err_wrap(e, "the salvage %s of store %s", id, store->conf->name);
    return found;
}

void
salvage_box_item(const struct salvage_box *box, uint32_t number, struct salvage_item *ret_item)
{
    struct reader r = reader_of(box->bodies[number]);
    struct err e = { 0 };
    int found = salvage_next(&r, number, ret_item, &e);
    ASSERT(found > 0); /* it was read when the box was opened */
}

int
salvage_box_content(const struct salvage_box *box, uint32_t number, struct err *e)
{
    char name[16];
    content_name(number, name);
    return file_open_beneath(box->dirfd, span_str(name), O_RDONLY, 0, e);
}

bool
salvage_box_same(const struct salvage_box *box, const struct salvage_item *item)
{
    _cleanup_close_ int kept = salvage_box_content(box, item->number, NULL);
    _cleanup_close_ int live = file_open_beneath(box->store->root_fd, item->path,
                                                 O_RDONLY | O_NONBLOCK, 0, NULL);
    return kept >= 0 && live >= 0 && file_same_bytes(kept, live, NULL) > 0;
}

int
salvage_box_mark(const struct salvage_box *box, uint32_t number, enum salvage_state state,
                 struct err *e)
{
    _cleanup_buf_ struct buf mark = { 0 };
    salvage_mark(number, state, &mark);
    if (file_write_full(box->marks_fd, buf_span(&mark), e) < 0)
        return err_wrap(e, "note what became of it");
    return 0;
}

void
salvage_box_set(struct salvage_box *box, uint32_t number, enum salvage_state state)
{
    box->states[number] = (uint8_t)state;
    box->wanted[number] = false;
}

void
salvage_box_tell(struct salvage_box *box, uint32_t number, struct span why)
{
    free(box->whys[number]);
    box->whys[number] = box->states[number] != SALVAGE_REFUSED
                            ? NULL
                            : xasprintf("%.*s", (int)why.len, (const char *)why.ptr);
}

bool
salvage_box_settled(const struct salvage_box *box, uint32_t number)
{
    struct salvage_item item;
    if (box->states[number] == SALVAGE_DELIVERED || box->states[number] == SALVAGE_DROPPED)
        return true;
    if (box->states[number] != SALVAGE_EXISTS)
        return false;
    salvage_box_item(box, number, &item);
    return item.kind != SALVAGE_FILE; /* another file is there: somebody must say which */
}

int
salvage_box_forget(const struct salvage_box *box, uint32_t number, struct err *e)
{
    char name[16];
    content_name(number, name);
    if ((fault("unlink") < 0 || unlinkat(box->dirfd, name, 0) < 0) && errno != ENOENT)
        return err_sys(e, ERR_IO, "remove %s", name);
    return 0;
}

int
salvage_box_sync(const struct salvage_box *box, struct err *e)
{
    return file_sync(box->marks_fd, e);
}

bool
salvage_box_is_out(const struct salvage_box *box, uint32_t number)
{
    return box->kept[number] && box->states[number] != SALVAGE_DROPPED &&
           salvage_box_settled(box, number);
}

/* First the marks: a crash in between opens them once more. */
int
salvage_box_meet(const struct salvage_box *box, const struct salvage_taker *taker,
                 enum salvage_state lost, struct err *e)
{
    _cleanup_buf_ struct buf bytes = { 0 };
    if (salvage_taker_same(&box->taker, taker))
        return 0;
    for (uint32_t i = 0; i < box->head.count; i++) {
        if (salvage_box_is_out(box, i) && salvage_box_mark(box, i, lost, e) < 0)
            return -1;
    }
    salvage_taker_put(taker, &bytes);
    if (file_sync(box->marks_fd, e) < 0 ||
        file_replace(box->dirfd, "taker", buf_span(&bytes), 0600, e) < 0)
        return err_wrap(e, "note who takes what is delivered");
    return 0;
}

void
salvage_box_met(struct salvage_box *box, const struct salvage_taker *taker, enum salvage_state lost)
{
    if (salvage_taker_same(&box->taker, taker))
        return;
    for (uint32_t i = 0; i < box->head.count; i++) {
        if (salvage_box_is_out(box, i))
            salvage_box_set(box, i, lost);
    }
    box->taker = *taker;
}

int
salvage_box_remove(const struct salvage_box *box, struct err *e)
{
    int rc = (fault("unlink") < 0 || unlinkat(box->dirfd, "manifest", 0) < 0) && errno != ENOENT
                 ? err_sys(e, ERR_IO, "remove the manifest")
                 : file_sync(box->dirfd, e);
    for (uint32_t i = 0; rc >= 0 && i < box->head.count; i++)
        rc = box->kept[i] ? salvage_box_forget(box, i, e) : 0;
    if (rc >= 0 && (fault("unlink") < 0 || unlinkat(box->dirfd, "taker", 0) < 0) && errno != ENOENT)
        rc = err_sys(e, ERR_IO, "remove who took it");
    unlinkat(box->dirfd, SALVAGE_LOG, 0); /* where there is one still */
    if (rc >= 0 && ((fault("unlink") < 0 || unlinkat(box->dirfd, "marks", 0) < 0) ||
                    unlinkat(box->all_fd, box->id, AT_REMOVEDIR) < 0))
        rc = err_sys(e, ERR_IO, "remove the directory");
    return rc;
}
