#include "cli/inspect_journal.h"

#include "cli/inspect_wire.h"
#include "lib/data/journal_read.h"
#include "lib/os/when.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define EXIT_IN_PART 4

static void
print_record(const struct record *r)
{
    char when[WHEN_SIZE];
    printf("%10" PRIu64 " epoch=%" PRIu64 " %s %s store=%u", r->seq, r->epoch,
           when_text(r->time_ns / 1000000000, when), record_op_word(r->op), r->store);
    wire_print_bytes("path", r->path, stdout);
    if (record_op_flags(r->op) & OP_F_TWO)
        wire_print_bytes("other", r->other, stdout);
    printf(" mode=%o uid=%u gid=%u size=%" PRIu64 " mtime_ns=%" PRId64 "%s\n", r->attr.mode,
           r->attr.uid, r->attr.gid, r->attr.size, r->attr.mtime_ns, r->late ? " late" : "");
}

/* As the line for people has it, so that one can be found by the other. */
static json_t *
text_json(struct span s)
{
    _cleanup_buf_ struct buf text = { 0 };
    wire_text(s, &text);
    return json_stringn(text.len == 0 ? "" : (const char *)text.ptr, text.len);
}

static json_t *
record_json(const struct record *r)
{
    char when[WHEN_SIZE], mode[16];
    snprintf(mode, sizeof(mode), "%o", r->attr.mode);
    json_t *json = json_pack(
        "{s:I, s:I, s:s, s:I, s:s, s:i, s:o, s:s, s:I, s:I, s:I, s:I, s:b}", "seq",
        (json_int_t)r->seq, "epoch", (json_int_t)r->epoch, "time",
        when_text(r->time_ns / 1000000000, when), "time_ns", (json_int_t)r->time_ns, "op",
        record_op_word(r->op), "store", (int)r->store, "path", text_json(r->path), "mode", mode,
        "uid", (json_int_t)r->attr.uid, "gid", (json_int_t)r->attr.gid, "size",
        (json_int_t)r->attr.size, "mtime_ns", (json_int_t)r->attr.mtime_ns, "late", (int)r->late);
    if (record_op_flags(r->op) & OP_F_TWO)
        json_object_set_new(json, "other", text_json(r->other));
    return json;
}

static void
put_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

static void
put_damage(uint64_t seq, const struct err *why, bool json)
{
    if (json)
        put_json(json_pack("{s:I, s:s}", "seq", (json_int_t)seq, "damaged", why->text));
    else
        printf("%10" PRIu64 " damaged: %s\n", seq, why->text);
}

int
journal_print(const char *path, bool json, struct err *e)
{
    struct journal_read *read;
    struct record r;
    uint64_t seq, damaged = 0;
    int found;
    if (journal_read_open(path, &read, e) < 0)
        return -1;
    while ((found = journal_read_next(read, &seq, &r, e)) > 0) {
        damaged += found == JOURNAL_READ_DAMAGED;
        if (found == JOURNAL_READ_DAMAGED)
            put_damage(seq, e, json);
        else if (json)
            put_json(record_json(&r));
        else
            print_record(&r);
        if (ferror(stdout))
            break; /* nobody reads on */
    }
    journal_read_free(&read);
    return found < 0 ? -1 : damaged > 0 ? EXIT_IN_PART : 0;
}
