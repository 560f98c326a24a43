/* The marker and the notes (why they exist: docs/decisions/0002-applied-marker.md). */
#include "lib/store/store.h"
#include "replicator/apply_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAGIC_EXT4       0xEF53
#define MAGIC_XFS        0x58465342
#define MARKER_NAME_SIZE 34 /* two numbers, the dot between them, NUL */

static void
note_name(uint64_t seq, enum apply_note note, char ret_name[FOLDER_NUMBER_SIZE])
{
    const char *word = note == NOTE_LATE ? "late" : "need";
    snprintf(ret_name, FOLDER_NUMBER_SIZE, "%016" PRIx64 ".%s", seq, word);
}

static void
marker_name(uint64_t seq, uint64_t complete, char ret_name[MARKER_NAME_SIZE])
{
    snprintf(ret_name, MARKER_NAME_SIZE, "%016" PRIx64 ".%016" PRIx64, seq, complete);
}

/* Exactly what folder_number_name() wrote, and behind it `suffix`. */
static bool
parse_number(const char *name, const char *suffix, uint64_t *ret_number)
{
    if (strlen(name) != 16 + strlen(suffix) || strspn(name, "0123456789abcdef") != 16 ||
        strcmp(name + 16, suffix) != 0)
        return false;
    *ret_number = strtoull(name, NULL, 16);
    return true;
}

static int
clear_stage(void *arg, const char *name, struct err *e)
{
    const struct apply_root *root = arg;
    if (fault("unlink") < 0 || unlinkat(root->stage_fd, name, 0) < 0)
        return err_sys(e, ERR_IO, "clear stage/%s", name);
    return 0;
}

static int
read_marker(void *arg, const char *name, struct err *e)
{
    struct apply_root *root = arg;
    char seq[17];
    snprintf(seq, sizeof(seq), "%s", name);
    if (root->marker != UINT64_MAX)
        return err_set(e, ERR_CORRUPT, "more than one marker in applied/");
    if (strlen(name) != MARKER_NAME_SIZE - 1 || !parse_number(seq, "", &root->marker) ||
        name[16] != '.' || !parse_number(name + 17, "", &root->complete) ||
        root->complete > root->marker || root->marker == UINT64_MAX)
        return err_set(e, ERR_CORRUPT, "applied/%s is not a marker", name);
    return 0;
}

static int
peek_marker(const char *store, uint64_t *ret_seq, struct err *e)
{
    struct apply_root root = { 0 };
    _cleanup_free_ char *path = xasprintf("%s/" STORE_PRIVATE_DIR "/applied", store);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *ret_seq = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "open %s", path);
    root.marker = UINT64_MAX;
    if (folder_each(fd, read_marker, &root, e) < 0)
        return err_wrap(e, "%s", path);
    if (root.marker != UINT64_MAX)
        *ret_seq = root.marker;
    return 0;
}

int
apply_newest_marker(const struct apply_store *stores, size_t store_count, uint64_t *ret_seq,
                    struct err *e)
{
    *ret_seq = 0;
    for (size_t i = 0; i < store_count; i++) {
        uint64_t seq;
        if (peek_marker(stores[i].path, &seq, e) < 0)
            return -1;
        *ret_seq = MAX(*ret_seq, seq);
    }
    return 0;
}

static void
keep_note(struct apply_notes *notes, uint64_t seq, enum apply_note note)
{
    if (notes->count == notes->cap) {
        notes->cap = MAX(notes->cap * 2, (size_t)16);
        notes->list = xrealloc(notes->list, notes->cap * sizeof(notes->list[0]));
    }
    notes->list[notes->count].seq = seq;
    notes->list[notes->count++].note = note;
}

static int
read_note(void *arg, const char *name, struct err *e)
{
    struct apply_root *root = arg;
    uint64_t seq;
    if (parse_number(name, ".late", &seq))
        keep_note(&root->notes, seq, NOTE_LATE);
    else if (parse_number(name, ".need", &seq))
        keep_note(&root->notes, seq, NOTE_NEED);
    else
        return err_set(e, ERR_CORRUPT, "notes/%s is not a note", name);
    return 0;
}

static int
first_marker(struct apply_root *root, struct err *e)
{
    char name[MARKER_NAME_SIZE];
    marker_name(0, 0, name);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = fault("open") < 0 ? -1 : openat(root->applied_fd, name, flags, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "make the marker");
    if (file_sync(root->applied_fd, e) < 0)
        return err_wrap(e, "make the marker durable");
    root->marker = root->complete = 0;
    return 0;
}

/* Two engines on one store would give each other's staged contents a name. */
static int
take_lock(int fd, struct err *e)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return err_sys(e, errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO, "held by another engine or daemon");
}

static int
open_private(struct apply_root *root, struct err *e)
{
    if (folder_open(root->fd, STORE_PRIVATE_DIR, &root->private_fd, e) < 0 ||
        take_lock(root->private_fd, e) < 0 ||
        folder_open(root->private_fd, "stage", &root->stage_fd, e) < 0 ||
        folder_open(root->private_fd, "aside", &root->aside_fd, e) < 0 ||
        folder_open(root->private_fd, "applied", &root->applied_fd, e) < 0 ||
        folder_open(root->private_fd, "notes", &root->notes_fd, e) < 0)
        return -1;
    root->marker = UINT64_MAX; /* none seen yet */
    if (folder_each(root->stage_fd, clear_stage, root, e) < 0 ||
        folder_each(root->notes_fd, read_note, root, e) < 0 ||
        folder_each(root->applied_fd, read_marker, root, e) < 0)
        return -1;
    return root->marker == UINT64_MAX ? first_marker(root, e) : 0;
}

/* Each costs a descriptor until the end of its run; of all stores together. */
static unsigned
max_unnamed(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return 0;
    return (unsigned)MIN(files.rlim_cur / 8, (rlim_t)APPLY_UNNAMED_MAX);
}

int
apply_root_open(struct apply_root *root, const char *path, struct err *e)
{
    *root = (struct apply_root){ .fd = -1,
                                 .private_fd = -1,
                                 .stage_fd = -1,
                                 .aside_fd = -1,
                                 .applied_fd = -1,
                                 .notes_fd = -1,
                                 .unsynced = true,
                                 .unnamed_max = max_unnamed() };
    root->path = xstrdup(path);
    root->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root->fd < 0)
        return err_sys(e, ERR_IO, "open the store %s", path);
    struct statfs fs;
    if (fstatfs(root->fd, &fs) < 0)
        return err_sys(e, ERR_IO, "look at the filesystem of the store %s", path);
    root->ordered = fs.f_type == MAGIC_EXT4 || fs.f_type == MAGIC_XFS;
    struct attrs_handle handle;
    if (attrs_handle_get(root->fd, "", &handle, e) < 0 || open_private(root, e) < 0)
        return err_wrap(e, "store %s: %s", path, STORE_PRIVATE_DIR);
    return 0;
}

void
apply_root_close(struct apply_root *root)
{
    file_closep(&root->notes_fd);
    file_closep(&root->applied_fd);
    file_closep(&root->aside_fd);
    file_closep(&root->stage_fd);
    file_closep(&root->private_fd);
    file_closep(&root->fd);
    free(root->notes.list);
    free(root->path);
    root->notes = (struct apply_notes){ 0 };
    root->path = NULL;
}

int
apply_root_mark(struct apply_root *root, uint64_t seq, uint64_t complete, struct err *e)
{
    if (seq == root->marker && complete == root->complete)
        return 0;
    char from[MARKER_NAME_SIZE], to[MARKER_NAME_SIZE];
    marker_name(root->marker, root->complete, from);
    marker_name(seq, complete, to);
    if (file_rename(root->applied_fd, from, root->applied_fd, to, false, e) < 0)
        return err_wrap(e, "move the marker");
    root->marker = seq;
    root->complete = complete;
    return 0;
}

int
apply_root_note(struct apply_root *root, uint64_t seq, enum apply_note note, struct err *e)
{
    char name[FOLDER_NUMBER_SIZE];
    note_name(seq, note, name);
    int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int fd = fault("open") < 0 ? -1 : openat(root->notes_fd, name, flags, 0600);
    if (fd < 0)
        return err_sys(e, ERR_IO, "make the note %s", name);
    keep_note(&root->notes, seq, note);
    return 0;
}

bool
apply_root_noted(const struct apply_root *root, uint64_t seq, enum apply_note note)
{
    for (size_t i = 0; i < root->notes.count; i++) {
        if (root->notes.list[i].seq == seq && root->notes.list[i].note == note)
            return true;
    }
    return false;
}

static bool
has_served(const struct apply_root *root, uint64_t seq, enum apply_note note, uint64_t confirmed)
{
    return seq <= (note == NOTE_LATE ? root->complete : confirmed);
}

static int
remove_note(const struct apply_root *root, uint64_t seq, enum apply_note note, struct err *e)
{
    char name[FOLDER_NUMBER_SIZE];
    note_name(seq, note, name);
    if ((fault("unlink") < 0 || unlinkat(root->notes_fd, name, 0) < 0) && errno != ENOENT)
        return err_sys(e, ERR_IO, "remove the note %s", name);
    return 0;
}

int
apply_root_forget(struct apply_root *root, uint64_t confirmed, struct err *e)
{
    struct apply_notes *notes = &root->notes;
    for (size_t i = 0; i < notes->count;) {
        uint64_t seq = notes->list[i].seq;
        enum apply_note note = notes->list[i].note;
        if (!has_served(root, seq, note, confirmed)) {
            i++;
            continue;
        }
        if (remove_note(root, seq, note, e) < 0)
            return -1;
        notes->list[i] = notes->list[--notes->count];
    }
    return 0;
}

/* Another history: nothing noted about this one may outlive its marker. */
static int
forget_all(struct apply_root *root, struct err *e)
{
    struct apply_notes *notes = &root->notes;
    for (; notes->count > 0; notes->count--) {
        size_t last = notes->count - 1;
        if (remove_note(root, notes->list[last].seq, notes->list[last].note, e) < 0)
            return -1;
    }
    return file_sync(root->notes_fd, e);
}

int
apply_root_reset(struct apply_root *root, uint64_t seq, struct err *e)
{
    if (forget_all(root, e) < 0 || apply_root_mark(root, seq, seq, e) < 0 ||
        file_sync(root->applied_fd, e) < 0)
        return err_wrap(e, "store %s: forget the marker", root->path);
    return 0;
}
