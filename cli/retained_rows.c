#include "cli/retained.h"

#include "lib/base/escape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PRIVATE_DIR ".mailtwin"

void
retained_row_free(struct retained_row *row)
{
    free(row->object);
    free(row->path);
    free(row->key);
    free(row->user);
    free(row->folder);
    free(row->head);
}

void
retained_rows_free(struct retained_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        retained_row_free(&rows->list[i]);
    free(rows->list);
    *rows = (struct retained_rows){ 0 };
}

static void
cut(char *text, const char *suffix)
{
    size_t len = strlen(text), cut = strlen(suffix);
    if (len > cut && strcmp(text + len - cut, suffix) == 0 && text[len - cut - 1] != '/')
        text[len - cut] = '\0';
}

void
retained_rows_cut(struct retained_rows *rows, const char *suffix)
{
    _cleanup_free_ char *text = escape_text(span_str(suffix)); /* as the paths are written */
    for (size_t i = 0; i < rows->count; i++) {
        cut(rows->list[i].path, text);
        cut(rows->list[i].key, text);
    }
}

const char *
retained_time(uint64_t time_ms, char text[RETAINED_TIME_SIZE])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, RETAINED_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(text, RETAINED_TIME_SIZE, "?");
    return text;
}

/* --- the filter --- */

static int
ids_of(const struct line *line, struct retained_filter *f, struct err *e)
{
    for (size_t i = 1; i < line->argument_count; i++) {
        char *end;
        const char *text = line->arguments[i];
        uint64_t id = strtoull(text, &end, 16);
        if (*end != '\0' || end == text || strlen(text) > 16)
            return err_set(e, ERR_USAGE, "\"%.64s\" is no id of a retained object", text);
        f->ids[f->id_count++] = id;
    }
    return 0;
}

int
retained_filter_of(const struct line *line, struct retained_filter *ret_filter, struct err *e)
{
    *ret_filter = (struct retained_filter){ .user = line_value(line, "user"),
                                            .folder = line_value(line, "folder"),
                                            .from = line_value(line, "from"),
                                            .subject = line_value(line, "subject"),
                                            .message_id = line_value(line, "message-id") };
    if (ids_of(line, ret_filter, e) < 0 || line_time(line, "since", &ret_filter->since_ms, e) < 0)
        return -1;
    return line_time(line, "until", &ret_filter->until_ms, e);
}

/* --- rows --- */

struct finding {
    struct retained_rows *rows;
    unsigned store;
};

static char *
object_text(const struct retained_found *found)
{
    char bucket[RETAINED_BUCKET_SIZE];
    _cleanup_buf_ struct buf text = { 0 };
    retained_bucket_name(found->object->hour, bucket);
    buf_add(&text, bucket, strlen(bucket));
    buf_add_u8(&text, '/');
    buf_add(&text, found->object->file, strlen(found->object->file));
    if (found->member.len > 0)
        buf_add_u8(&text, '/');
    buf_add(&text, found->member.ptr, found->member.len);
    return escape_text(buf_span(&text));
}

/* What names messages is given behind them: or the mail server would drop what is not there yet. */
static bool
names_others(const struct retained_found *found)
{
    return found->mailbox.kind != MAILBOX_MESSAGE && !S_ISDIR(found->st.st_mode);
}

static char *
key_of(const struct retained_found *found)
{
    _cleanup_buf_ struct buf key = { 0 };
    if (found->mailbox.kind != MAILBOX_MESSAGE)
        return escape_text(found->path);
    path_join(&key, found->mailbox.dir, found->mailbox.base);
    return escape_text(buf_span(&key));
}

static int
add_row(void *arg, const struct retained_found *found, struct err *e)
{
    struct finding *x = arg;
    struct retained_rows *rows = x->rows;
    (void)e;
    if (rows->count == rows->most) {
        rows->more = true;
        return 1;
    }
    if (rows->count == rows->cap) {
        rows->cap = MAX(rows->cap * 2, (size_t)64);
        rows->list = xrealloc(rows->list, rows->cap * sizeof(rows->list[0]));
    }
    const struct retained_name *name = &found->object->name;
    struct retained_row *row = &rows->list[rows->count++];
    *row = (struct retained_row){
        .store = x->store,
        .why = name->why,
        .id = name->id,
        .time_ms = name->time_ms,
        .seq = name->seq,
        .epoch = name->epoch,
        .size = (uint64_t)found->st.st_size,
        .mtime_ns = (int64_t)found->st.st_mtim.tv_sec * 1000000000 + found->st.st_mtim.tv_nsec,
        .mode = found->st.st_mode,
        .uid = found->st.st_uid,
        .gid = found->st.st_gid,
        .last = names_others(found),
        .object = object_text(found),
        .path = escape_text(found->path),
        .key = key_of(found),
        .user = escape_text(found->mailbox.user),
        .folder = escape_text(found->mailbox.folder),
    };
    if (found->mailbox.kind == MAILBOX_MESSAGE) {
        row->head = xmalloc(sizeof(*row->head));
        *row->head = found->head;
    }
    return 0;
}

static int
by_time(const void *a, const void *b)
{
    const struct retained_row *x = a;
    const struct retained_row *y = b;
    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? 1 : -1;
    if (x->id != y->id)
        return x->id < y->id ? 1 : -1;
    return strcmp(x->path, y->path);
}

static int
find_in_store(const struct conf_store *store, const struct retained_filter *filter,
              struct finding *x, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/" PRIVATE_DIR "/" RETAINED_DIR, store->path);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct retained_search search = {
        .kind = store->kind, .users = store->users, .filter = filter, .each = add_row, .arg = x
    };
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return err_sys(e, ERR_IO, "read %s (as root)", path);
    if (retained_find(fd, &search, e) < 0)
        return err_wrap(e, "store %s", store->name);
    x->rows->strange += search.strange;
    return 0;
}

int
retained_rows_find(const struct line *line, const struct conf *conf,
                   const struct retained_filter *filter, size_t most,
                   struct retained_rows *ret_rows, struct err *e)
{
    const char *wanted = line_value(line, "store");
    bool any = false;
    *ret_rows = (struct retained_rows){ .most = most };
    for (unsigned i = 0; i < conf->store_count; i++) {
        struct finding x = { ret_rows, i };
        if (wanted != NULL && strcmp(conf->stores[i].name, wanted) != 0)
            continue;
        any = true;
        if (find_in_store(&conf->stores[i], filter, &x, e) < 0) {
            retained_rows_free(ret_rows);
            return -1;
        }
    }
    if (!any)
        return err_set(e, ERR_USAGE, "the configuration has no store \"%.64s\"",
                       wanted == NULL ? "" : wanted);
    if (ret_rows->count > 0)
        qsort(ret_rows->list, ret_rows->count, sizeof(ret_rows->list[0]), by_time);
    return 0;
}
