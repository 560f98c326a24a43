#include "replicator/intake_private.h"

#include "lib/os/dir.h"

#include <stdlib.h>
#include <unistd.h>

static void
names_free(struct intake_folder *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->names[i].name);
    f->count = f->sorted = 0;
}

static void
folder_free(struct intake_folder *f)
{
    names_free(f);
    free(f->names);
    file_closep(&f->fd);
    file_closep(&f->cur_fd);
    file_closep(&f->new_fd);
    buf_free(&f->path);
    buf_free(&f->asked);
    buf_free(&f->guid);
    buf_free(&f->keywords);
}

static void
home_free(struct intake_home *home)
{
    for (size_t i = 0; i < home->count; i++)
        buf_free(&home->dirs[i].path);
    free(home->dirs);
    buf_free(&home->path);
}

void
intake_places_free(struct intake_places *places)
{
    for (size_t i = 0; i < places->folder_count; i++)
        folder_free(&places->folders[i]);
    for (size_t i = 0; i < places->home_count; i++)
        home_free(&places->homes[i]);
    free(places->folders);
    free(places->homes);
    state_abort(&places->txn);
    *places = (struct intake_places){ .node = places->node };
}

/* --- what is in it --- */

static int
name_compare(const void *a, const void *b)
{
    const struct intake_name *left = a, *right = b;
    return strcmp(left->name, right->name);
}

void
intake_folder_add(struct intake_folder *f, struct span name, bool is_new)
{
    if (f->count == f->cap) {
        f->cap = MAX(f->cap * 2, (size_t)64);
        f->names = xrealloc(f->names, f->cap * sizeof(*f->names));
    }
    f->names[f->count++] = (struct intake_name){
        xasprintf("%.*s", (int)name.len, (const char *)name.ptr), is_new
    };
}

static int
list_part(struct intake_folder *f, int part_fd, bool is_new, struct err *e)
{
    _cleanup_dir_ DIR *dir = dir_open(part_fd, ".", e);
    const struct dirent *item;
    int more = dir == NULL ? -1 : 0;
    while (dir != NULL && (more = dir_next(dir, &item, e)) > 0) {
        if (item->d_name[0] != '.')
            intake_folder_add(f, span_str(item->d_name), is_new);
    }
    return more;
}

/* new before cur: what is moved on meanwhile is seen in one of them. */
int
intake_folder_list(struct intake_folder *f, struct err *e)
{
    names_free(f);
    if (list_part(f, f->new_fd, true, e) < 0 || list_part(f, f->cur_fd, false, e) < 0)
        return -1;
    if (f->count > 0)
        qsort(f->names, f->count, sizeof(*f->names), name_compare);
    f->sorted = f->count;
    return 0;
}

/* Is it the base name, alone or with flags? */
static bool
has_base(const char *name, const char *base, size_t len)
{
    return strncmp(name, base, len) == 0 &&
           (name[len] == '\0' || strncmp(name + len, ":2,", 3) == 0);
}

/* The first sorted name that does not stand before `key`. */
static size_t
lower_bound(const struct intake_folder *f, const char *key)
{
    size_t from = 0, to = f->sorted;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(f->names[middle].name, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

const struct intake_name *
intake_folder_find(const struct intake_folder *f, struct span base)
{
    _cleanup_free_ char *alone = xasprintf("%.*s", (int)base.len, (const char *)base.ptr);
    _cleanup_free_ char *flagged = xasprintf("%s:2,", alone);
    const char *const keys[] = { alone, flagged };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        size_t at = lower_bound(f, keys[i]);
        if (at < f->sorted && has_base(f->names[at].name, alone, base.len))
            return &f->names[at];
    }
    for (size_t i = f->sorted; i < f->count; i++) {
        if (has_base(f->names[i].name, alone, base.len))
            return &f->names[i];
    }
    return NULL;
}

/* --- opening --- */

/* By what was asked for: two mailboxes of one name have each their own place here. */
static struct intake_folder *
folder_known(struct intake_places *places, uint16_t store, struct span asked, struct span guid)
{
    for (size_t i = 0; i < places->folder_count; i++) {
        struct intake_folder *f = &places->folders[i];
        if (f->store == store && span_equal(buf_span(&f->asked), asked) &&
            span_equal(buf_span(&f->guid), guid))
            return f;
    }
    return NULL;
}

static struct intake_folder *
folder_new(struct intake_places *places, uint16_t store, struct span path)
{
    if (places->folder_count == places->folder_cap) {
        places->folder_cap = MAX(places->folder_cap * 2, (size_t)8);
        places->folders = xrealloc(places->folders, places->folder_cap * sizeof(*places->folders));
    }
    struct intake_folder *f = &places->folders[places->folder_count];
    *f = (struct intake_folder){ .store = store, .fd = -1, .cur_fd = -1, .new_fd = -1 };
    buf_add(&f->path, path.ptr, path.len);
    return f;
}

static int
folder_open(struct intake_folder *f, struct err *e)
{
    struct stat st;
    const int flags = O_RDONLY | O_DIRECTORY;
    f->cur_fd = file_open_beneath(f->fd, span_str("cur"), flags, 0, e);
    f->new_fd = f->cur_fd < 0 ? -1 : file_open_beneath(f->fd, span_str("new"), flags, 0, e);
    if (f->new_fd < 0)
        return -1;
    if (fstat(f->cur_fd, &st) < 0)
        return err_sys(e, ERR_IO, "look at a folder");
    f->uid = st.st_uid;
    f->gid = st.st_gid;
    return intake_folder_list(f, e);
}

static int
open_or_make(struct intake_places *places, struct intake_folder *f, const struct wire_give *give,
             struct span home, bool make, struct err *e)
{
    int root_fd = places->node->stores[f->store].root_fd;
    struct span path = buf_span(&f->path);
    if (!make)
        f->fd = file_open_beneath(root_fd, path, O_RDONLY | O_DIRECTORY, 0, e);
    else if (intake_make_dir(root_fd, path, home, &give->attr, &f->fd, e) < 0 ||
             intake_make_folder(f->fd, path, home, e) < 0)
        return -1;
    return f->fd < 0 ? -1 : folder_open(f, e);
}

/* The mailbox of that GUID may be called otherwise by now, and another one as it was. */
static int
folder_path(struct intake_places *places, const struct wire_give *give,
            const struct mailbox *mailbox, struct buf *ret_path, struct err *e)
{
    int root_fd = places->node->stores[give->store].root_fd;
    int found = 0;
    if (give->guid.len > 0 && mailbox->home.len > 0 &&
        !intake_has_guid(root_fd, mailbox->dir, give->guid)) {
        if (intake_search_begin(places, e) < 0)
            return -1;
        found = intake_search_guid(places, give->store, mailbox->home, give->guid, ret_path, e);
    }
    if (found == 0)
        buf_add(ret_path, mailbox->dir.ptr, mailbox->dir.len);
    return found < 0 ? -1 : 0;
}

/* asked: what it is called by who gives. */
static int
folder_take(struct intake_places *places, const struct wire_give *give,
            const struct mailbox *mailbox, bool make, struct span path,
            struct intake_folder **ret_folder, struct err *e)
{
    struct intake_folder *f = folder_new(places, give->store, path);
    buf_add(&f->asked, mailbox->dir.ptr, mailbox->dir.len);
    buf_add(&f->guid, give->guid.ptr, give->guid.len);
    if (open_or_make(places, f, give, mailbox->home, make, e) < 0) {
        folder_free(f);
        return -1;
    }
    places->folder_count++;
    *ret_folder = f;
    return 0;
}

int
intake_folder_get(struct intake_places *places, const struct wire_give *give,
                  const struct mailbox *mailbox, bool make, struct intake_folder **ret_folder,
                  struct err *e)
{
    *ret_folder = folder_known(places, give->store, mailbox->dir, give->guid);
    if (*ret_folder != NULL)
        return 0;
    _cleanup_buf_ struct buf path = { 0 };
    if (folder_path(places, give, mailbox, &path, e) < 0)
        return -1;
    return folder_take(places, give, mailbox, make, buf_span(&path), ret_folder, e);
}
