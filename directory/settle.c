/* settle.c - carries out what is pending, in passes: entries from the top of the tree to its
 * leaves, then deletions from the leaves to the top, again while that brings anything. */
#include "directory/apply.h"
#include "lib/os/event.h"
#include "lib/store/dn.h"

#include <stdlib.h>

#define UNDERWAY 4 /* new entries sent before the first answer: a server writes one at a time */
#define WAIT_MS  UINT64_C(3000) /* for a parent that is on its way, before it is told */

struct job {
    struct row *row;
    unsigned depth;
};

struct jobs {
    struct job *list;
    size_t count;
};

/* An outcome that another entry's may change. */
static bool
may_pass(int code)
{
    return code == SERVER_NO_SUCH_OBJECT || code == SERVER_ALREADY_EXISTS ||
           code == SERVER_NOT_ON_NON_LEAF;
}

static void
done(struct dir_store *s, struct row *row)
{
    rows_set_pending(&s->table, row, false);
    s->apply.progress = true;
    s->apply.changes++;
    if (row->problem == NULL)
        return;
    if (row->problem->told)
        event(EV_DIR_ACCEPTED, F_STR("store", s->conf->name), F_STR("dn", row->problem->dn));
    rows_clear_problem(&s->table, row);
}

static void
refused(struct dir_store *s, struct row *row, struct span dn, int code, const struct err *e)
{
    uint64_t now = dir_now_ms();
    rows_set_pending(&s->table, row, false);
    rows_set_problem(&s->table, row, dn, code, e->text, now);
    struct problem *problem = row->problem;
    bool early = may_pass(code) && now - problem->since_ms < WAIT_MS;
    problem->retry_ms = early ? problem->since_ms + WAIT_MS : now + APPLY_RETRY_MS;
    if (early || problem->told)
        return;
    problem->told = true;
    event(EV_DIR_REFUSED, F_STR("store", s->conf->name), F_STR("dn", problem->dn),
          F_I64("code", code), F_STR("error", problem->why));
}

/* The DNs of all that is below change with it. */
static void
renamed(struct dir_store *s, struct row *row, struct span to)
{
    struct row *other;
    _cleanup_free_ char *from = xstrdup(row->dn);
    _cleanup_buf_ struct buf moved = { 0 };
    for (size_t at = 0; (other = rows_next(&s->table, &at)) != NULL;)
        if (other->dn != NULL && dn_move(span_str(other->dn), span_str(from), to, &moved))
            row_set_dn(other, buf_span(&moved));
    row_set_dn(row, to);
}

/* --- one entry --- */

/* What the server has of it: 0 found (row->dn is right), SERVER_NO_SUCH_OBJECT it has it not. */
static int
find_here(struct dir_store *s, struct row *row, struct ldif_entry *ret_here, struct err *e)
{
    struct span id;
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    if (row->dn == NULL)
        return SERVER_NO_SUCH_OBJECT;
    int r = server_read(s->server, span_str(row->dn), ret_here, e);
    if (r == 0 && ldif_find(ret_here, "entryUUID", &id) && ldapsync_uuid_read(id, uuid) &&
        memcmp(uuid, row->uuid, sizeof(uuid)) == 0)
        return 0;
    if (r != 0 && r != SERVER_NO_SUCH_OBJECT)
        return r;
    r = server_find(s->server, row->uuid, ret_here, e); /* somebody else moved it */
    row_set_dn(row, r == 0 ? ldif_dn(ret_here) : span_of(NULL, 0));
    return r;
}

/* Another entry stands at the name and is to be called otherwise, too: it goes aside, so that two
 * that change names find room. */
static int
make_room(struct dir_store *s, struct span dn, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry there = { 0 };
    _cleanup_buf_ struct buf aside = { 0 };
    struct span id;
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    struct row *row = NULL;
    int r = server_read(s->server, dn, &there, e);
    if (r == 0 && ldif_find(&there, "entryUUID", &id) && ldapsync_uuid_read(id, uuid))
        row = rows_find(&s->table, uuid);
    if (r < 0 || row == NULL || !row->in_spool || (!row->pending && row->problem == NULL))
        return r < 0 ? -1 : SERVER_ALREADY_EXISTS;
    struct span rdn = dn_rdn(dn), parent = dn_parent(dn);
    const uint8_t *equals = memchr(rdn.ptr, '=', rdn.len);
    if (equals == NULL)
        return SERVER_ALREADY_EXISTS;
    buf_add(&aside, rdn.ptr, (size_t)(equals - rdn.ptr) + 1);
    buf_add(&aside, "mailtwin-", 9);
    buf_add(&aside, id.ptr, id.len);
    if (parent.len > 0)
        buf_add_u8(&aside, ',');
    buf_add(&aside, parent.ptr, parent.len);
    r = server_rename(s->server, dn, buf_span(&aside), e);
    if (r == 0) {
        row_set_dn(row, dn);
        renamed(s, row, buf_span(&aside));
    }
    return r;
}

static int
rename_entry(struct dir_store *s, struct row *row, const struct ldif_entry *want,
             struct ldif_entry *here, struct err *e)
{
    struct span dn = ldif_dn(want);
    int r = server_rename(s->server, span_str(row->dn), dn, e);
    if (r == SERVER_ALREADY_EXISTS) {
        r = make_room(s, dn, e);
        r = r == 0 ? server_rename(s->server, span_str(row->dn), dn, e) : r;
    }
    if (r != 0)
        return r;
    renamed(s, row, dn);
    return server_read(s->server, dn, here, e);
}

static int
add_entry(struct dir_store *s, struct row *row, const struct ldif_entry *want, struct err *e)
{
    struct span dn = ldif_dn(want);
    int r = server_add(s->server, want, e);
    if (r == SERVER_ALREADY_EXISTS) {
        struct err ignored = { 0 };
        r = make_room(s, dn, &ignored);
        if (r == 0)
            r = server_add(s->server, want, e);
    }
    if (r == 0)
        row_set_dn(row, dn);
    return r;
}

/* As the spool has it; 0 it is so, else as server.h says. */
static int
make_equal(struct dir_store *s, struct row *row, const struct ldif_entry *want, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry here = { 0 };
    int r = find_here(s, row, &here, e);
    if (r == SERVER_NO_SUCH_OBJECT)
        return add_entry(s, row, want, e);
    if (r == 0 && !span_equal(ldif_dn(&here), ldif_dn(want)))
        r = rename_entry(s, row, want, &here, e);
    if (r != 0)
        return r;
    r = server_modify(s->server, &here, want, false, e);
    return r > 0 ? server_modify(s->server, &here, want, true, e) : r;
}

/* The text of the spool as an entry: 1, 0 there is none, -1 (told). */
static int
read_wanted(struct dir_store *s, struct row *row, struct ldif_entry *ret_want)
{
    _cleanup_buf_ struct buf text = { 0 };
    struct err e = { 0 };
    int got = spool_read(s->spool, row->uuid, &text, &e);
    row->in_spool = got != 0;
    if (got > 0 && ldif_read(buf_span(&text), ret_want, &e) < 0)
        got = -1;
    if (got < 0)
        refused(s, row, span_str(row->dn != NULL ? row->dn : "(unknown)"), 0, &e);
    return got;
}

static int
carry_out(struct dir_store *s, struct row *row, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry want = { 0 };
    int got = read_wanted(s, row, &want);
    if (got <= 0) /* gone meanwhile: a deletion of the next pass */
        return 0;
    int r = make_equal(s, row, &want, e);
    if (r < 0)
        return -1;
    if (r == 0)
        done(s, row);
    else
        refused(s, row, ldif_dn(&want), r, e);
    return 0;
}

static int
carry_out_deletion(struct dir_store *s, struct row *row, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry here = { 0 };
    if (read_wanted(s, row, &here) != 0) /* it is there again: an entry of the next pass */
        return 0;
    int r = find_here(s, row, &here, e);
    if (r == 0)
        r = server_delete(s->server, ldif_dn(&here), e);
    if (r < 0)
        return -1;
    if (r == 0 || r == SERVER_NO_SUCH_OBJECT) {
        done(s, row);
        rows_forget(&s->table, row);
        return 0;
    }
    refused(s, row, ldif_dn(&here), r, e);
    return 0;
}

/* --- new entries, many underway: the server writes while the next are read --- */

struct flight {
    struct row *row;
    char *dn;
    int id;
};

/* Of one depth, so that none waits for another. */
struct flights {
    struct flight list[UNDERWAY];
    size_t first, count;
    unsigned depth;
};

static void
flights_free(struct flights *flights)
{
    for (size_t i = 0; i < flights->count; i++)
        free(flights->list[(flights->first + i) % UNDERWAY].dn);
}
#define _cleanup_flights_ _cleanup_(flights_free)

/* The answer of the eldest. What is refused is tried once more by itself, which makes room for it
 * or tells why. */
static int
land(struct dir_store *s, struct flights *flights, struct err *e)
{
    struct flight flight = flights->list[flights->first];
    _cleanup_free_ char *dn = flight.dn;
    flights->first = (flights->first + 1) % UNDERWAY;
    flights->count--;
    int r = server_add_end(s->server, flight.id, e);
    if (r != 0)
        return r < 0 ? -1 : carry_out(s, flight.row, e);
    row_set_dn(flight.row, span_str(dn));
    done(s, flight.row);
    return 0;
}

static int
land_all(struct dir_store *s, struct flights *flights, struct err *e)
{
    while (flights->count > 0)
        if (land(s, flights, e) < 0)
            return -1;
    return 0;
}

static int
take_off(struct dir_store *s, struct flights *flights, const struct job *job, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry want = { 0 };
    struct flight flight = { .row = job->row };
    if (read_wanted(s, job->row, &want) <= 0) /* gone meanwhile: a deletion of the next pass */
        return 0;
    if (server_add_begin(s->server, &want, &flight.id, e) < 0)
        return -1;
    struct span dn = ldif_dn(&want);
    flight.dn = xasprintf("%.*s", (int)dn.len, dn.ptr);
    flights->list[(flights->first + flights->count++) % UNDERWAY] = flight;
    flights->depth = job->depth;
    return 0;
}

/* --- passes --- */

static int
by_depth(const void *a, const void *b)
{
    const struct job *x = a;
    const struct job *y = b;
    int order = (x->depth > y->depth) - (x->depth < y->depth);
    return order != 0 ? order : memcmp(x->row->uuid, y->row->uuid, LDAPSYNC_UUID_SIZE);
}

static void
collect(struct dir_store *s, bool deletions, struct jobs *ret_jobs)
{
    size_t cap = 0;
    *ret_jobs = (struct jobs){ 0 };
    for (struct row *row = s->table.pending, *next; row != NULL; row = next) {
        _cleanup_ldif_ struct ldif_entry want = { 0 };
        next = row->next;
        int got = read_wanted(s, row, &want);
        if (got < 0 || (got == 0) != deletions)
            continue;
        struct span dn = got > 0 ? ldif_dn(&want) : span_str(row->dn != NULL ? row->dn : "");
        if (ret_jobs->count == cap) {
            cap = MAX(cap * 2, (size_t)16);
            ret_jobs->list = xrealloc(ret_jobs->list, cap * sizeof(struct job));
        }
        ret_jobs->list[ret_jobs->count++] = (struct job){ row, dn_depth(dn) };
    }
    if (ret_jobs->count > 0)
        qsort(ret_jobs->list, ret_jobs->count, sizeof(struct job), by_depth);
}

static int
carry_out_job(struct dir_store *s, struct flights *flights, const struct job *job, struct err *e)
{
    bool is_new = job->row->dn == NULL;
    if ((!is_new || job->depth != flights->depth) && land_all(s, flights, e) < 0)
        return -1;
    if (!is_new)
        return carry_out(s, job->row, e);
    if (flights->count == UNDERWAY && land(s, flights, e) < 0)
        return -1;
    return take_off(s, flights, job, e);
}

static int
pass_of_entries(struct dir_store *s, struct err *e)
{
    _cleanup_flights_ struct flights flights = { 0 };
    struct jobs jobs;
    collect(s, false, &jobs);
    int r = 0;
    for (size_t i = 0; i < jobs.count && r == 0; i++)
        r = carry_out_job(s, &flights, &jobs.list[i], e);
    if (r == 0)
        r = land_all(s, &flights, e);
    free(jobs.list);
    return r;
}

static int
pass_of_deletions(struct dir_store *s, struct err *e)
{
    struct jobs jobs;
    collect(s, true, &jobs);
    int r = 0;
    for (size_t i = jobs.count; i > 0 && r == 0; i--)
        r = carry_out_deletion(s, jobs.list[i - 1].row, e);
    free(jobs.list);
    return r;
}

/* Their parent may be there now, or their name free. */
static void
wake_waiting(struct dir_store *s)
{
    struct row *row;
    for (size_t at = 0; s->table.problems > 0 && (row = rows_next(&s->table, &at)) != NULL;)
        if (row->problem != NULL && may_pass(row->problem->code))
            rows_set_pending(&s->table, row, true);
}

int
settle(struct dir_store *s, struct err *e)
{
    while (s->table.pending != NULL) {
        s->apply.progress = false;
        if (pass_of_entries(s, e) < 0 || pass_of_deletions(s, e) < 0)
            return -1;
        if (!s->apply.progress)
            return 0;
        wake_waiting(s);
    }
    return 0;
}
