#include "directory/kept.h"

#include <stdlib.h>

#define LIST_SUFFIX "refused"
#define LIST_MAX    (64u << 20)

void
kept_load(struct dir_store *s)
{
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    _cleanup_free_ char *text = dir_state_read(s, LIST_SUFFIX, LIST_MAX);
    for (const char *line = text; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        struct row *row = NULL;
        if (ldapsync_uuid_read(span_of(line, len), uuid))
            row = rows_find(&s->table, uuid);
        if (row != NULL)
            row->kept = row->in_spool;
        line += len + (line[len] == '\n');
    }
}

static int
write_list(struct dir_store *s, bool (*wanted)(const struct row *row), struct err *e)
{
    _cleanup_buf_ struct buf list = { 0 };
    const struct row *row;
    for (size_t at = 0; (row = rows_next(&s->table, &at)) != NULL;) {
        char id[LDAPSYNC_UUID_TEXT + 1];
        if (!wanted(row))
            continue;
        ldapsync_uuid_write(row->uuid, id);
        buf_add(&list, id, LDAPSYNC_UUID_TEXT);
        buf_add_u8(&list, '\n');
    }
    if (list.len > 0)
        return dir_state_write(s, LIST_SUFFIX, buf_span(&list), e);
    dir_state_remove(s, LIST_SUFFIX);
    return 0;
}

static bool
has_problem(const struct row *row)
{
    return row->problem != NULL && row->in_spool;
}

static bool
is_kept(const struct row *row)
{
    return row->kept;
}

int
kept_save(struct dir_store *s, struct err *e)
{
    return write_list(s, has_problem, e);
}

int
kept_drop(struct dir_store *s, struct row *row, struct err *e)
{
    row->kept = false;
    return write_list(s, is_kept, e);
}
