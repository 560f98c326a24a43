/* Any bytes are a trail: each of its lines is read or counted as unreadable. What is read means the
 * same when it is written again, and what an event writes is read as what it was given, whatever
 * bytes that has. */
#include "lib/os/audit.h"
#include "lib/base/buf.h"
#include "lib/os/event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct found {
    size_t count;
    json_t *last;
};

static void
keep_last(json_t *fields, void *arg)
{
    struct found *found = arg;
    ASSERT(json_object_get(fields, "time") != NULL && json_object_get(fields, "event") != NULL);
    json_decref(found->last);
    found->last = json_incref(fields);
    found->count++;
}

static size_t
read_trail(struct span trail, void (*line)(json_t *fields, void *arg), void *arg)
{
    union {
        const uint8_t *in;
        void *out; /* a stream to read changes nothing */
    } bytes = { .in = trail.ptr };
    struct err e;
    size_t unreadable;
    FILE *stream = fmemopen(bytes.out, trail.len, "r");
    ASSERT(stream != NULL);
    int rc = audit_read_stream(stream, line, arg, &unreadable, &e);
    ASSERT(rc == 0);
    fclose(stream);
    return unreadable;
}

/* --- written again --- */

static void
add(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

static void
add_field(struct buf *out, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    add(out, out->len == 0 ? "" : " ");
    add(out, key);
    add(out, "=\"");
    for (size_t i = 0; i < json_string_length(value); i++) {
        char escaped[8];
        snprintf(escaped, sizeof(escaped), "\\x%02x", (uint8_t)text[i]);
        add(out, escaped);
    }
    add(out, "\"");
}

static void
write_again(json_t *fields, void *arg)
{
    size_t *count = arg;
    _cleanup_buf_ struct buf line = { 0 };
    struct found found = { 0 };
    const char *key;
    json_t *value;
    json_object_foreach(fields, key, value)
    {
        add_field(&line, key, value);
    }
    add(&line, "\n");
    size_t unreadable = read_trail(buf_span(&line), keep_last, &found);
    ASSERT(unreadable == 0 && found.count == 1 && json_equal(found.last, fields));
    json_decref(found.last);
    ++*count;
}

static size_t
lines_of(struct span trail)
{
    size_t lines = trail.ptr[trail.len - 1] != '\n';
    for (size_t i = 0; i < trail.len; i++)
        lines += trail.ptr[i] == '\n';
    return lines;
}

/* --- of an event --- */

static int
take(const char *line, void *arg, struct err *e)
{
    struct buf *out = arg;
    (void)e;
    add(out, line);
    add(out, "\n");
    return 0;
}

/* Bytes that are no UTF-8 are shown as far as they can be. */
static bool
is_same(const json_t *fields, const char *key, struct span value)
{
    const json_t *text = json_object_get(fields, key);
    json_t *want = json_stringn(value.len > 0 ? (const char *)value.ptr : "", value.len);
    bool same = json_is_string(text) && (want == NULL || json_equal(text, want));
    json_decref(want);
    return same;
}

static void
try_event(struct span in)
{
    _cleanup_buf_ struct buf line = { 0 };
    struct found found = { 0 };
    struct span first = span_from(in, 0, in.len / 2);
    struct span rest = span_from(in, first.len, in.len - first.len);
    event_keep_acts(take, &line);
    event(EV_TAKEN, F_SPAN("path", first), F_SPAN("what", rest));
    event_keep_acts(NULL, NULL);
    size_t unreadable = read_trail(buf_span(&line), keep_last, &found);
    ASSERT(unreadable == 0 && found.count == 1);
    ASSERT(is_same(found.last, "path", first) && is_same(found.last, "what", rest));
    ASSERT(strcmp(json_string_value(json_object_get(found.last, "event")), "TAKEN") == 0);
    json_decref(found.last);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size);
    size_t count = 0;
    if (size == 0)
        return 0;
    event_init("fuzz", EVENT_CRIT); /* nothing of it goes to the log */
    size_t unreadable = read_trail(in, write_again, &count);
    ASSERT(count + unreadable == lines_of(in));
    try_event(in);
    return 0;
}
