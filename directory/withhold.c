#include "directory/withhold.h"

#include "directory/secrets.h"
#include "lib/os/event.h"
#include "lib/store/dn.h"

#include <stdlib.h>

#define BELIEVED_MS UINT64_C(1000) /* how long a "none beside it" counts */
#define AGAIN_MS    UINT64_C(2000) /* between two looks whether the right is back */
#define AGAIN_PART  20             /* ... at most a twentieth of the time is spent on them */
#define NEWS_MS     UINT64_C(1000)
#define LATELY_MS   (UINT64_C(60) * 60 * 1000)

void
withhold_end(struct dir_store *s)
{
    free(s->withheld.dn);
    free(s->withheld.parent);
    s->withheld = (struct withheld){ 0 };
}

void
withhold_begin(struct dir_store *s)
{
    struct withheld *w = &s->withheld;
    freep(&w->dn);
    freep(&w->parent);
    w->blind = false;
}

void
withhold_refreshed(struct dir_store *s)
{
    if (s->withheld.released)
        s->withheld.gone = 0;
    s->withheld.released = false;
}

size_t
withhold_count(const struct dir_store *s)
{
    const struct row *row;
    size_t count = 0;
    for (size_t at = 0; s->withheld.blind && (row = rows_next(&s->table, &at)) != NULL;)
        count += row->withheld == s->seen;
    return count;
}

/* --- what the server shows --- */

static char *
text_of(struct span span)
{
    return xasprintf("%.*s", (int)span.len, span.ptr);
}

/* Nobody asks the same of a large folder for each of its entries. */
static bool
is_known_blind(const struct withheld *w, const char *parent)
{
    return w->parent != NULL && strcmp(w->parent, parent) == 0 && dir_now_ms() < w->believed_ms;
}

static void
note_blind(struct withheld *w, const char *parent)
{
    free(w->parent);
    w->parent = xstrdup(parent);
    w->believed_ms = dir_now_ms() + BELIEVED_MS;
}

/* Those beside it, which is all for the base, then itself: a right that comes back in between is
 * seen in the entry. */
static int
look(struct dir_store *s, struct span dn, const char *name, struct secrets_view *view,
     struct err *e)
{
    struct span base = span_str(s->conf->ldap.base);
    bool below = dn_is_below(dn, base);
    _cleanup_free_ char *parent = text_of(below ? dn_parent(dn) : base);
    _cleanup_free_ char *own = text_of(dn);
    *view = (struct secrets_view){ .gone = s->withheld.gone,
                                   .of = s->table.count,
                                   .percent = s->conf->mass_limit };
    if (is_known_blind(&s->withheld, parent))
        return 0;
    if (server_shows(s->server, parent, below ? SERVER_BELOW : SERVER_SUBTREE, name,
                     &view->beside_shows, e) < 0 ||
        server_shows(s->server, own, SERVER_ITSELF, name, &view->own_shows, e) < 0)
        return -1;
    if (!view->beside_shows)
        note_blind(&s->withheld, parent);
    return 0;
}

/* --- an entry --- */

static void
note_gone(struct withheld *w)
{
    uint64_t now = dir_now_ms();
    if (w->gone == 0)
        w->gone_ms = now;
    w->gone++;
}

/* Not while some are withheld: an hour's wait is no reason to let ten more go. */
static void
forget_gone(struct withheld *w)
{
    if (!w->blind && dir_now_ms() - w->gone_ms > LATELY_MS)
        w->gone = 0;
}

/* From here on a restart is to ask for everything. */
static void
begin_blind(struct dir_store *s, struct span dn, const char *name)
{
    struct withheld *w = &s->withheld;
    if (w->blind)
        return;
    w->blind = true;
    w->dn = text_of(dn);
    w->name = name;
    w->look_ms = dir_now_ms() + AGAIN_MS;
    dir_state_remove(s, "cookie");
    event(EV_DIR_HIDDEN, F_STR("store", s->conf->name), F_STR("dn", w->dn),
          F_STR("attribute", name));
}

static int
withhold(struct dir_store *s, struct row *row, const struct ldif_entry *old,
         const struct ldif_entry *entry, struct buf *text, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry whole = { 0 };
    if (secrets_keep(old, entry, &whole, e) < 0)
        return -1;
    buf_reset(text);
    ldif_write(&whole, text);
    row->withheld = s->seen;
    return 0;
}

int
withhold_look(struct dir_store *s, struct row *row, const struct buf *old_text,
              const struct ldif_entry *entry, struct buf *text, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry old = { 0 };
    struct secrets_view view;
    if (s->withheld.released || ldif_read(buf_span(old_text), &old, NULL) < 0)
        return 0;
    const char *name = secrets_lost(&old, entry, s->conf->ldap.skip);
    if (name == NULL)
        return 0;
    forget_gone(&s->withheld);
    if (look(s, ldif_dn(entry), name, &view, e) < 0)
        return -1;
    if (secrets_gone(&view)) {
        note_gone(&s->withheld);
        return 0;
    }
    begin_blind(s, ldif_dn(entry), name);
    return withhold(s, row, &old, entry, text, e);
}

/* --- a new entry, and one of the spool that had a secret --- */

/* 1 the file has one, 0 not or it is gone, -1. */
static int
read_witness(struct dir_store *s, const uint8_t uuid[LDAPSYNC_UUID_SIZE],
             struct ldif_entry *ret_entry, struct err *e)
{
    _cleanup_buf_ struct buf text = { 0 };
    int got = spool_read(s->spool, uuid, &text, e);
    if (got <= 0)
        return got;
    return ldif_read(buf_span(&text), ret_entry, NULL) == 0 &&
           secrets_any(ret_entry, s->conf->ldap.skip) != NULL;
}

struct hunt {
    struct dir_store *s;
    struct ldif_entry *entry;
};

static int
try_witness(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *e)
{
    const struct hunt *hunt = arg;
    struct withheld *w = &hunt->s->withheld;
    int found = read_witness(hunt->s, uuid, hunt->entry, e);
    if (found <= 0)
        return found;
    w->has_witness = true;
    memcpy(w->witness, uuid, LDAPSYNC_UUID_SIZE);
    return -1; /* enough */
}

static int
find_witness(struct dir_store *s, struct ldif_entry *ret_entry, struct err *e)
{
    struct withheld *w = &s->withheld;
    struct hunt hunt = { s, ret_entry };
    int found = w->has_witness ? read_witness(s, w->witness, ret_entry, e) : 0;
    if (found != 0)
        return found;
    w->has_witness = false;
    if (w->none_has)
        return 0;
    int r = spool_each(s->spool, -1, try_witness, &hunt, e);
    w->none_has = r == 0;
    return w->has_witness ? 1 : r;
}

static int
look_at_witness(struct dir_store *s, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry witness = { 0 };
    struct secrets_view view;
    int found = find_witness(s, &witness, e);
    if (found <= 0)
        return found;
    const char *name = secrets_any(&witness, s->conf->ldap.skip);
    if (look(s, ldif_dn(&witness), name, &view, e) < 0)
        return -1;
    if (!view.beside_shows && !view.own_shows)
        begin_blind(s, ldif_dn(&witness), name);
    return 0;
}

void
withhold_note(struct dir_store *s, const struct ldif_entry *entry, bool is_new)
{
    bool has = secrets_any(entry, s->conf->ldap.skip) != NULL;
    s->withheld.none_has &= !has;
    s->withheld.news |= is_new && !has;
}

/* --- afterwards --- */

/* How long to wait for what is not to cost more than a part of the time. */
static uint64_t
next_ms(uint64_t begun, uint64_t least)
{
    uint64_t now = dir_now_ms();
    return now + MAX(least, (now - begun) * AGAIN_PART);
}

static int
wait_for_news(struct dir_store *s, uint64_t now)
{
    struct withheld *w = &s->withheld;
    struct err ignored = { 0 }; /* a lost connection is seen by whoever reads from it next */
    if (!w->news)
        return -1;
    if (now < w->news_ms)
        return (int)(w->news_ms - now);
    w->news = look_at_witness(s, &ignored) < 0;
    w->news_ms = next_ms(now, NEWS_MS);
    return w->news || w->blind ? (int)NEWS_MS : -1;
}

int
withhold_wait(struct dir_store *s)
{
    struct withheld *w = &s->withheld;
    struct secrets_view view;
    struct err ignored = { 0 };
    uint64_t now = dir_now_ms();
    if (s->capture.refreshing)
        return -1;
    if (!w->blind)
        return wait_for_news(s, now);
    if (now < w->look_ms)
        return (int)(w->look_ms - now);
    w->believed_ms = 0;
    if (look(s, span_str(w->dn), w->name, &view, &ignored) == 0 &&
        (view.own_shows || secrets_gone(&view)))
        return 0;
    w->look_ms = next_ms(now, AGAIN_MS);
    return (int)(w->look_ms - now);
}
