/* renumber_index.c - which directories of the index are mailboxes, and the way to them. */
#include "replicator/renumber_private.h"

#include "lib/base/path.h"
#include "lib/os/attrs.h"
#include "lib/os/file.h"

#include <sys/stat.h>

/* Names in the order of the index; all that count lie between these two. */
#define FIRST_NAME "courierimapuidd"
#define LAST_NAME  "dovecot-uidvalidity."

void
renumber_note_file(struct renumber_folder *folder, struct span name)
{
    folder->uidlist |= span_equal(name, span_str("dovecot-uidlist"));
    folder->courier |= span_equal(name, span_str("courierimapuiddb"));
    folder->sizes |= span_equal(name, span_str("courierpop3dsizelist"));
    folder->marker = MAX(folder->marker, identity_marker(name));
    folder->validity |= span_equal(name, span_str(IDENTITY_VALIDITY_FILE)) ||
                        identity_marker(name) != 0;
}

static void
note_name(struct renumber_folder *folder, struct span name, const struct state_entry *entry)
{
    if (S_ISDIR(entry->attr.mode))
        folder->messages |= span_equal(name, span_str("cur"));
    if (!S_ISREG(entry->attr.mode))
        return;
    renumber_note_file(folder, name);
    if (span_equal(name, span_str("dovecot-uidlist")))
        folder->owner = entry->attr;
}

bool
renumber_is_mailbox(const struct renumber_folder *folder)
{
    return folder->messages || folder->uidlist || folder->courier || folder->sizes ||
           folder->validity;
}

int
renumber_names(struct state_txn *txn, const struct state_dir *dir,
               struct renumber_folder *ret_folder, struct err *e)
{
    char at[PATH_NAME_MAX + 1] = FIRST_NAME;
    *ret_folder = (struct renumber_folder){ .fd = -1, .owner = dir->attr };
    for (;;) {
        struct span name;
        struct state_entry entry;
        int found = state_entry_next(txn, dir->id, span_str(at), &name, &entry, e);
        if (found < 0)
            return -1;
        size_t len = MIN(name.len, sizeof(LAST_NAME) - 1);
        if (found == 0 || memcmp(name.ptr, LAST_NAME, len) > 0)
            break;
        note_name(ret_folder, name, &entry);
        memcpy(at, name.ptr, name.len);
        at[name.len] = '\0';
    }
    return renumber_is_mailbox(ret_folder);
}

int
renumber_open(struct node *node, struct state_txn *txn, const struct state_dir *dir, int flags,
              struct err *e)
{
    int root_fd = node->stores[dir->store].root_fd;
    struct err gone = { 0 };
    int fd = -1;
    if (dir->handle.len > WATCH_FSID_SIZE)
        fd = attrs_handle_open(
            root_fd, span_from(dir->handle, WATCH_FSID_SIZE, dir->handle.len - WATCH_FSID_SIZE),
            flags | O_DIRECTORY, &gone);
    if (fd >= 0)
        return fd;
    _cleanup_buf_ struct buf path = { 0 };
    if (state_dir_path(txn, dir->id, &path, e) < 0)
        return -1;
    return file_open_beneath(root_fd, buf_span(&path), (flags & ~O_NOATIME) | O_DIRECTORY, 0, e);
}

bool
renumber_is_maildir(const struct node *node, const struct state_dir *dir)
{
    return dir->store < node->store_count && node->stores[dir->store].conf->kind == STORE_MAILDIR;
}
