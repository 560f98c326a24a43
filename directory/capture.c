#include "directory/capture.h"

#include "directory/guard.h"
#include "directory/kept.h"
#include "directory/withhold.h"
#include "lib/os/event.h"
#include "lib/store/dn.h"

#include <stdio.h>
#include <stdlib.h>

#define MESSAGES_A_STEP 1000
#define SAVE_EVERY_MS   1000
#define COOKIE_HEAD     "mailtwin cookie 1\n"
#define COOKIE_FILE_MAX (LDAPSYNC_COOKIE_MAX + 64 * 1024)

/* --- the cookie, which counts for one server, subtree and filter only --- */

static char *
cookie_head(const struct dir_store *s)
{
    return xasprintf(COOKIE_HEAD "%s\n%s\n%s\n", s->conf->ldap.uri, s->conf->ldap.base,
                     s->conf->ldap.filter);
}

static void
load_cookie(struct dir_store *s)
{
    _cleanup_free_ char *head = cookie_head(s);
    _cleanup_free_ char *text = dir_state_read(s, "cookie", COOKIE_FILE_MAX);
    buf_reset(&s->capture.cookie);
    if (text == NULL || strncmp(text, head, strlen(head)) != 0)
        return;
    const char *cookie = text + strlen(head);
    size_t len = strcspn(cookie, "\n");
    if (len <= LDAPSYNC_COOKIE_MAX && cookie[len] == '\n')
        buf_add(&s->capture.cookie, cookie, len);
}

static int
save_cookie(struct dir_store *s, struct err *e)
{
    _cleanup_free_ char *head = cookie_head(s);
    _cleanup_buf_ struct buf text = { 0 };
    struct span cookie = buf_span(&s->capture.cookie);
    if (spool_sync(s->spool, e) < 0)
        return -1;
    buf_add(&text, head, strlen(head));
    buf_add(&text, cookie.ptr, cookie.len);
    buf_add_u8(&text, '\n');
    return dir_state_write(s, "cookie", buf_span(&text), e);
}

static void
set_cookie(struct dir_store *s, const struct buf *cookie)
{
    struct capture *c = &s->capture;
    if (cookie->len == 0 || cookie->len > LDAPSYNC_COOKIE_MAX ||
        memchr(cookie->ptr, '\n', cookie->len) != NULL)
        return;
    buf_reset(&c->cookie);
    buf_add(&c->cookie, cookie->ptr, cookie->len);
    if (!c->dirty)
        c->dirty_ms = dir_now_ms();
    c->dirty = true;
}

/* --- files --- */

struct move {
    struct dir_store *s;
    struct span from, to;
    struct ldif_entry entry;
    struct buf text, dn;
};

static int
move_one(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e)
{
    struct move *m = arg;
    int got = spool_read(m->s->spool, uuid, &m->text, e);
    if (got <= 0)
        return got;
    if (ldif_read(buf_span(&m->text), &m->entry, NULL) < 0 ||
        !dn_move(ldif_dn(&m->entry), m->from, m->to, &m->dn))
        return 0;
    _cleanup_ldif_ struct ldif_entry moved = { 0 };
    ldif_begin(&moved, buf_span(&m->dn));
    for (size_t i = 0; i < m->entry.count; i++)
        ldif_add(&moved, ldif_name(&m->entry, i), ldif_value(&m->entry, i));
    if (ldif_end(&moved, e) < 0)
        return -1;
    buf_reset(&m->text);
    ldif_write(&moved, &m->text);
    return spool_write(m->s->spool, uuid, buf_span(&m->text), e) < 0 ? -1 : 0;
}

/* A server tells of a renamed entry, not of what is below it. */
static int
move_below(struct dir_store *s, struct span from, struct span to, struct err *e)
{
    struct move move = { .s = s, .from = from, .to = to };
    int r = spool_each(s->spool, -1, move_one, &move, e);
    ldif_free(&move.entry);
    buf_free(&move.text);
    buf_free(&move.dn);
    return r;
}

/* What is below goes first: after a crash in between the server tells of the entry again, and its
 * file still has the old name. */
static int
follow_rename(struct dir_store *s, const struct buf *old_text, const struct ldif_entry *entry,
              struct err *e)
{
    _cleanup_ldif_ struct ldif_entry old = { 0 };
    if (ldif_read(buf_span(old_text), &old, NULL) < 0 || span_equal(ldif_dn(&old), ldif_dn(entry)))
        return 0;
    return move_below(s, ldif_dn(&old), ldif_dn(entry), e);
}

/* What is to be written of the entry, when the spool has old of it (empty: nothing). */
static int
look_for_secrets(struct dir_store *s, struct row *row, const struct buf *old,
                 const struct ldif_entry *entry, struct buf *text, struct err *e)
{
    row->withheld = 0;
    withhold_note(s, entry, old->len == 0);
    if (old->len == 0 || span_equal(buf_span(old), buf_span(text)))
        return 0;
    return withhold_look(s, row, old, entry, text, e);
}

static int
put_entry(struct dir_store *s, struct row *row, const struct ldif_entry *entry, struct err *e)
{
    _cleanup_buf_ struct buf text = { 0 };
    _cleanup_buf_ struct buf old = { 0 };
    ldif_write(entry, &text);
    row->seen = s->seen;
    int got = spool_read(s->spool, row->uuid, &old, e);
    if (got < 0 || look_for_secrets(s, row, &old, entry, &text, e) < 0)
        return -1;
    bool same = got > 0 && span_equal(buf_span(&old), buf_span(&text));
    if (got > 0 && !same && follow_rename(s, &old, entry, e) < 0)
        return -1;
    if (got > 0 && !same && row->kept &&
        dir_save(s, row->uuid, buf_span(&old), "this server had refused it", e) < 0)
        return -1;
    if (!same && spool_write(s->spool, row->uuid, buf_span(&text), e) < 0)
        return -1;
    s->capture.changes += !same;
    row->in_spool = true;
    return row->kept ? kept_drop(s, row, e) : 0;
}

static int
remove_entry(struct dir_store *s, struct row *row, struct err *e)
{
    if (row == NULL)
        return 0;
    int r = spool_remove(s->spool, row->uuid, e);
    if (r < 0 || (row->kept && kept_drop(s, row, e) < 0))
        return -1;
    s->capture.changes += (unsigned)r;
    rows_forget(&s->table, row);
    return 0;
}

/* --- what is gone without having been named --- */

/* Where the server told only of what changed, the list from before that says what is there. */
static bool
is_gone(const struct dir_store *s, const struct row *row)
{
    const struct capture *c = &s->capture;
    bool listed = !c->present && !c->from_nothing && row->listed == s->seen;
    return row->in_spool && !row->kept && row->seen != s->seen && !listed;
}

static int
remove_gone(struct dir_store *s, struct err *e)
{
    struct row *row;
    size_t count = 0;
    uint8_t(*ids)[LDAPSYNC_UUID_SIZE] = xcalloc(s->table.count + 1, sizeof(*ids));
    for (size_t at = 0; (row = rows_next(&s->table, &at)) != NULL;)
        if (is_gone(s, row))
            memcpy(ids[count++], row->uuid, LDAPSYNC_UUID_SIZE);
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++)
        r = remove_entry(s, rows_find(&s->table, ids[i]), e);
    free(ids);
    if (r == 0 && count > 0)
        event(EV_DIR_REMOVED, F_STR("store", s->conf->name), F_U64("entries", count));
    return r;
}

static int
sweep(struct dir_store *s, struct err *e)
{
    struct row *row;
    size_t gone = 0, all = 0;
    for (size_t at = 0; (row = rows_next(&s->table, &at)) != NULL; all += row->in_spool)
        gone += is_gone(s, row);
    if (!s->guard.released && !guard_allows(gone, all, s->conf->mass_limit)) {
        s->guard = (struct dir_guard){ .gone = gone, .of = all };
        s->capture.keep_cookie = true;
        event(EV_DIR_GUARD, F_STR("store", s->conf->name), F_U64("missing", gone),
              F_U64("of", all));
        return 0;
    }
    s->guard = (struct dir_guard){ 0 };
    s->capture.keep_cookie = false;
    return remove_gone(s, e);
}

void
capture_release(struct dir_store *s)
{
    struct err e = { 0 };
    s->guard.released = s->guard.gone > 0;
    if (s->guard.released && sweep(s, &e) < 0)
        dir_disconnect(s, &e);
    s->withheld.released = s->withheld.blind;
    if (s->withheld.blind)
        capture_refresh(s);
}

void
capture_refresh(struct dir_store *s)
{
    dir_state_remove(s, "cookie");
    server_close(&s->server);
    s->connect_ms = 0;
}

/* --- messages --- */

/* The server says that the entry is there and was told of; without a file it was lost here. */
static void
is_present(struct dir_store *s, struct row *row)
{
    if (row != NULL)
        row->seen = s->seen;
    s->capture.missing |= row == NULL || !row->in_spool;
}

static int
on_entry(struct dir_store *s, const struct server_message *m, struct err *e)
{
    if (m->sync.state == LDAPSYNC_DELETE)
        return remove_entry(s, rows_find(&s->table, m->sync.uuid), e);
    if (m->sync.state == LDAPSYNC_PRESENT) {
        is_present(s, rows_find(&s->table, m->sync.uuid));
        return 0;
    }
    struct row *row = rows_get(&s->table, m->sync.uuid);
    row->seen = s->seen;
    if (m->unreadable) {
        if (rows_set_problem(&s->table, row, ldif_dn(&m->entry), 0, e->text, dir_now_ms()))
            event(EV_DIR_REFUSED, F_STR("store", s->conf->name), F_ERR(e));
        return 0;
    }
    rows_clear_problem(&s->table, row);
    return put_entry(s, row, &m->entry, e);
}

static int
on_ids(struct dir_store *s, const struct server_message *m, struct err *e)
{
    for (size_t i = 0; i < m->info.id_count; i++) {
        const uint8_t *uuid = m->ids.ptr + i * LDAPSYNC_UUID_SIZE;
        struct row *row = rows_find(&s->table, uuid);
        if (m->info.refresh_deletes && remove_entry(s, row, e) < 0)
            return -1;
        if (!m->info.refresh_deletes)
            is_present(s, row);
    }
    return 0;
}

static int
on_phase_end(struct dir_store *s, const struct server_message *m, struct err *e)
{
    struct capture *c = &s->capture;
    c->present |= m->info.kind == LDAPSYNC_REFRESH_PRESENT;
    if (!m->info.refresh_done)
        return 0;
    if (c->missing)
        return err_set(e, ERR_CORRUPT, "the spool lacks entries that the server had told of");
    if (sweep(s, e) < 0)
        return -1;
    c->refreshing = false;
    c->from_nothing = c->present = false;
    withhold_refreshed(s);
    dir_trouble(s, NULL);
    event(EV_DIR_REFRESHED, F_STR("store", s->conf->name), F_U64("entries", s->table.count),
          F_U64("changes", c->changes));
    return 0;
}

/* A cookie that the server does not take: everything is asked for anew. */
static void
on_end(struct dir_store *s, int code, const struct err *e)
{
    bool refused = code == SERVER_REFRESH_REQUIRED || code == SERVER_UNWILLING;
    if (!refused || s->capture.cookie.len == 0) {
        dir_disconnect(s, e);
        return;
    }
    dir_state_remove(s, "cookie");
    dir_disconnect(s, e);
    s->connect_ms = 0;
}

static int
on_message(struct dir_store *s, const struct server_message *m, struct err *e)
{
    int r = 0;
    if (m->news == SERVER_ENTRY)
        r = on_entry(s, m, e);
    else if (m->news == SERVER_INFO && m->info.kind == LDAPSYNC_ID_SET)
        r = on_ids(s, m, e);
    else if (m->news == SERVER_INFO && m->info.kind != LDAPSYNC_NEW_COOKIE)
        r = on_phase_end(s, m, e);
    if (r == 0)
        set_cookie(s, &m->cookie);
    return r;
}

/* --- the turn --- */

static int
note_listed(void *arg, const struct ldif_entry *entry, struct err *e)
{
    struct dir_store *s = arg;
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    struct span id;
    if (entry == NULL)
        return 0; /* what cannot be written as text has no file */
    if (!ldif_find(entry, "entryUUID", &id) || !ldapsync_uuid_read(id, uuid))
        return err_set(e, ERR_PEER, "the server does not show the entryUUID of its entries");
    struct row *row = rows_find(&s->table, uuid);
    if (row != NULL)
        row->listed = s->seen;
    return 0;
}

/* A server that was killed right behind a deletion has told nobody of it and has no change number
 * of it, so that by the cookie nothing was missed. Read before the refresh: what is deleted from
 * here on it does tell. */
static int
list_what_is_there(struct dir_store *s, struct err *e)
{
    return server_each_id(s->server, note_listed, s, e) == 0 ? 0 : -1;
}

static int
follow(struct dir_store *s, struct err *e)
{
    struct capture *c = &s->capture;
    load_cookie(s);
    c->refreshing = true;
    c->from_nothing = c->cookie.len == 0;
    c->present = c->dirty = c->keep_cookie = c->missing = false;
    s->guard = (struct dir_guard){ 0 };
    withhold_begin(s);
    s->seen++;
    if (!c->from_nothing && list_what_is_there(s, e) < 0)
        return -1;
    return server_follow(s->server, buf_span(&c->cookie), e) == 0 ? 0 : -1;
}

/* 1 there may be more, 0 nothing more now, -1. */
static int
take_message(struct dir_store *s, struct server_message *message, struct err *e)
{
    if (server_next(s->server, message, e) < 0)
        return -1;
    if (message->news == SERVER_END)
        on_end(s, message->code, e);
    if (message->news == SERVER_END || message->news == SERVER_NOTHING)
        return 0;
    return on_message(s, message, e) < 0 ? -1 : 1;
}

static int
take_messages(struct dir_store *s, struct err *e)
{
    struct server_message message = { 0 };
    int r = 1;
    for (int i = 0; r == 1 && i < MESSAGES_A_STEP; i++)
        r = take_message(s, &message, e);
    server_message_free(&message);
    return r;
}

static bool
may_save(const struct dir_store *s)
{
    const struct capture *c = &s->capture;
    return c->dirty && !c->refreshing && !c->keep_cookie && !s->withheld.blind;
}

static int
save_when_due(struct dir_store *s, int *ret_wait_ms, struct err *e)
{
    struct capture *c = &s->capture;
    *ret_wait_ms = -1;
    if (!may_save(s))
        return 0;
    uint64_t due = c->dirty_ms + SAVE_EVERY_MS;
    uint64_t now = dir_now_ms();
    if (now < due) {
        *ret_wait_ms = (int)(due - now);
        return 0;
    }
    if (save_cookie(s, e) < 0)
        return -1;
    c->dirty = false;
    return 0;
}

int
capture_step(struct dir_store *s)
{
    struct err e = { 0 };
    int wait_ms = -1;
    bool fresh = s->server == NULL;
    if (dir_connect(s) < 0)
        return (int)(MAX(s->connect_ms, dir_now_ms()) - dir_now_ms()) + 1;
    int more = fresh ? follow(s, &e) : 0;
    if (more == 0)
        more = take_messages(s, &e);
    if (s->server == NULL) /* the search ended */
        return 1;
    if (more < 0 || save_when_due(s, &wait_ms, &e) < 0) {
        dir_disconnect(s, &e);
        if (s->capture.missing)
            capture_refresh(s);
        return 1;
    }
    if (more > 0)
        return 0;
    int look_ms = withhold_wait(s);
    if (look_ms == 0) {
        capture_refresh(s);
        return 0;
    }
    return look_ms > 0 && wait_ms > 0 ? MIN(look_ms, wait_ms) : MAX(look_ms, wait_ms);
}

bool
capture_reached(const struct dir_store *s, struct span csns)
{
    if (s->server == NULL || s->capture.refreshing)
        return false;
    while (csns.len > 0) {
        const uint8_t *end = memchr(csns.ptr, ';', csns.len);
        size_t len = end == NULL ? csns.len : (size_t)(end - csns.ptr);
        if (!ldapsync_covers(buf_span(&s->capture.cookie), span_from(csns, 0, len)))
            return false;
        len += end != NULL;
        csns = span_from(csns, len, csns.len - len);
    }
    return true;
}

static int
load_row(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e)
{
    struct dir_store *s = arg;
    (void)e;
    rows_get(&s->table, uuid)->in_spool = true;
    return 0;
}

int
capture_begin(struct dir_store *s, struct err *e)
{
    s->seen = 0;
    s->capture.changes = 0;
    if (spool_each(s->spool, -1, load_row, s, e) < 0)
        return -1;
    kept_load(s);
    return 0;
}

void
capture_end(struct dir_store *s)
{
    struct err e = { 0 };
    struct capture *c = &s->capture;
    if (s->server != NULL && may_save(s) && save_cookie(s, &e) < 0)
        dir_trouble(s, &e);
    server_close(&s->server);
    rows_free(&s->table);
    buf_free(&c->cookie);
    *c = (struct capture){ 0 };
    s->guard = (struct dir_guard){ 0 };
    withhold_end(s);
}
