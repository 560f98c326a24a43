/* compare.c - spool and server from end to end: after a start, an overflow, and by order. */
#include "directory/apply.h"
#include "directory/guard.h"
#include "lib/os/event.h"

#include <stdlib.h>

struct comparison {
    struct dir_store *s;
    struct buf text, file;
    size_t entries, differing;
};

static bool
newer_here(const struct ldif_entry *here, const struct ldif_entry *there)
{
    struct span a, b;
    return ldif_find(here, "modifyTimestamp", &a) && ldif_find(there, "modifyTimestamp", &b) &&
           span_compare(a, b) > 0;
}

/* What was changed on this server later than the spool knows was never anywhere else: a primary
 * that died before it was captured. It is replaced, and a copy kept. */
static int
keep_newer(struct comparison *c, const struct row *row, const struct ldif_entry *here,
           struct err *e)
{
    _cleanup_ldif_ struct ldif_entry there = { 0 };
    if (ldif_read(buf_span(&c->file), &there, NULL) < 0 || !newer_here(here, &there))
        return 0;
    return dir_save(c->s, row->uuid, buf_span(&c->text), "it was newer on this server", e);
}

static int
look_at(struct comparison *c, struct row *row, const struct ldif_entry *entry, struct err *e)
{
    int got = spool_read(c->s->spool, row->uuid, &c->file, e);
    row->in_spool = got > 0;
    if (got <= 0)
        return got;
    buf_reset(&c->text);
    ldif_write(entry, &c->text);
    if (span_equal(buf_span(&c->text), buf_span(&c->file))) {
        rows_set_pending(&c->s->table, row, false);
        rows_clear_problem(&c->s->table, row);
        return 0;
    }
    c->differing++;
    rows_set_pending(&c->s->table, row, true);
    return keep_newer(c, row, entry, e);
}

static int
on_server_entry(void *arg, const struct ldif_entry *entry, struct err *e)
{
    struct comparison *c = arg;
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    struct span id;
    if (entry == NULL) {
        event(EV_DIR_REFUSED, F_STR("store", c->s->conf->name), F_ERR(e));
        return 0;
    }
    if (!ldif_find(entry, "entryUUID", &id) || !ldapsync_uuid_read(id, uuid)) {
        event(EV_DIR_REFUSED, F_STR("store", c->s->conf->name), F_SPAN("dn", ldif_dn(entry)),
              F_STR("error", "the server does not show its entryUUID"));
        return 0;
    }
    struct row *row = rows_get(&c->s->table, uuid);
    row->seen = c->s->seen;
    row_set_dn(row, ldif_dn(entry));
    c->entries++;
    return look_at(c, row, entry, e);
}

static int
on_spool_file(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e)
{
    struct comparison *c = arg;
    (void)e;
    struct row *row = rows_get(&c->s->table, uuid);
    row->in_spool = true;
    if (row->seen == c->s->seen)
        return 0;
    row_set_dn(row, span_of(NULL, 0));
    rows_set_pending(&c->s->table, row, true);
    c->differing++;
    return 0;
}

static bool
only_here(const struct dir_store *s, const struct row *row)
{
    return row->seen == s->seen && !row->in_spool;
}

static int
save_extra(struct dir_store *s, const struct row *row, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    _cleanup_buf_ struct buf text = { 0 };
    int r = server_read(s->server, span_str(row->dn), &entry, e);
    if (r != 0)
        return r < 0 ? -1 : 0;
    ldif_write(&entry, &text);
    return dir_save(s, row->uuid, buf_span(&text), "only this server had it", e);
}

static int
mark_extra(struct dir_store *s, struct err *e)
{
    struct row *row;
    for (size_t at = 0; (row = rows_next(&s->table, &at)) != NULL;) {
        if (!only_here(s, row))
            continue;
        if (save_extra(s, row, e) < 0)
            return -1;
        rows_set_pending(&s->table, row, true);
    }
    return 0;
}

/* Entries without a file are deleted when the spool is known to be complete and they are few. */
static int
judge_extra(struct dir_store *s, size_t entries, struct err *e)
{
    const struct row *row;
    size_t extra = 0;
    for (size_t at = 0; (row = rows_next(&s->table, &at)) != NULL;)
        extra += only_here(s, row);
    bool released = s->guard.released;
    size_t told = s->guard.gone;
    s->guard = (struct dir_guard){ 0 };
    if (extra == 0)
        return 0;
    s->apply.undecided = roles_complete(s->roles) <= 0;
    if (s->apply.undecided) {
        s->apply.compare = true;
        return 0;
    }
    if (released || guard_allows(extra, entries, s->conf->mass_limit))
        return mark_extra(s, e);
    s->guard = (struct dir_guard){ .gone = extra, .of = entries };
    if (told != extra)
        event(EV_DIR_GUARD, F_STR("store", s->conf->name), F_U64("missing", extra),
              F_U64("of", entries));
    return 0;
}

int
compare(struct dir_store *s, struct err *e)
{
    struct comparison c = { .s = s };
    s->apply.undecided = false;
    s->seen++;
    int r = server_each(s->server, on_server_entry, &c, e);
    if (r == SERVER_NO_SUCH_OBJECT) /* a server without any entry yet */
        r = 0;
    if (r == 0)
        r = spool_each(s->spool, -1, on_spool_file, &c, e);
    if (r == 0)
        r = judge_extra(s, c.entries, e);
    buf_free(&c.text);
    buf_free(&c.file);
    if (r != 0)
        return -1;
    event(EV_DIR_COMPARED, F_STR("store", s->conf->name), F_U64("entries", c.entries),
          F_U64("differ", c.differing), F_U64("only_here", s->guard.gone));
    return 0;
}
