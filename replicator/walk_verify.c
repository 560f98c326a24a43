#include "replicator/walk_private.h"

#include "lib/os/event.h"

#include <stdio.h>
#include <sys/stat.h>

#define VERIFY_TRIES 8 /* a difference is one when it stays */

static void
tell_difference(struct walk *w, const struct ask *a, struct span name, const char *what)
{
    w->progress.differences++;
    _cleanup_buf_ struct buf path = { 0 };
    path_join(&path, buf_span(&a->path), name);
    event(EV_VERIFY_DIFFERS, F_STR("store", w->node->stores[a->store].conf->name),
          F_SPAN("path", buf_span(&path)), F_STR("what", what));
    if (w->progress.example_count == WALK_EXAMPLES_MAX)
        return;
    char *example = w->progress.examples[w->progress.example_count++];
    snprintf(example, sizeof(w->progress.examples[0]), "%.60s: %.*s: %.60s",
             w->node->stores[a->store].conf->name, (int)MIN(path.len, (size_t)120),
             path.ptr == NULL ? "" : (const char *)path.ptr, what);
}

struct verifying {
    struct walk *w;
    struct ask *a;
    bool count; /* else only find out whether there is any */
    bool any;
    const struct walk_orders *orders;
};

/* "" is the directory itself. */
static void
repair(struct verifying *v, struct span name, bool is_dir)
{
    if (v->orders->force == NULL)
        return; /* nothing but the primary's word mends what its standby feeds */
    v->orders->force(v->orders->arg, v->a->dir, name, is_dir);
}

static void
differs(struct verifying *v, struct span name, bool is_dir, const char *what)
{
    if (ask_touched(v->a, name))
        return;
    v->any = true;
    if (!v->count)
        return;
    tell_difference(v->w, v->a, name, what);
    if (!v->w->opts.repair)
        return;
    repair(v, name, is_dir);
    v->w->progress.repaired += v->orders->force != NULL;
}

static const char *
what_differs(const struct wire_entry *ours, const struct wire_entry *theirs)
{
    if ((ours->attr.mode & S_IFMT) != (theirs->attr.mode & S_IFMT))
        return "another type of object";
    if (ours->attr.size != theirs->attr.size)
        return "another size";
    if (ours->has_hash != theirs->has_hash)
        return ours->has_hash ? "the peer cannot read it" : "this node cannot read it";
    if (ours->has_hash && theirs->has_hash &&
        memcmp(ours->hash, theirs->hash, sizeof(ours->hash)) != 0)
        return S_ISDIR(ours->attr.mode) ? "other extended attributes" : "another content";
    if (ours->attr.mode != theirs->attr.mode || ours->attr.uid != theirs->attr.uid ||
        ours->attr.gid != theirs->attr.gid)
        return "another owner or mode";
    if (ours->nlink != theirs->nlink)
        return "other hard links";
    return "another modification time";
}

/* A root's extended attributes are in the digest and in no listing: when all else is equal and ours
 * are what they were when we asked, it is they that differ. Where more differs they may, too. */
static void
verify_root(struct verifying *v, const struct listing *ours)
{
    uint8_t digest[WIRE_DIGEST_SIZE];
    if (!ours->has_self_hash)
        return;
    if (v->any && v->count && v->w->opts.repair)
        repair(v, span_str(""), true);
    if (v->any)
        return;
    listing_digest(ours, digest);
    bool as_asked = memcmp(digest, v->a->digest, sizeof(digest)) == 0;
    if (as_asked)
        differs(v, span_str(""), true, "other extended attributes of the directory");
    v->any |= !as_asked && !v->count; /* it is asked once more */
}

static void
verify_names(struct verifying *v, const struct listing *ours)
{
    struct ask *a = v->a;
    size_t matched = 0;
    for (size_t i = 0; i < ours->count; i++) {
        const struct wire_entry *entry = &ours->entries[i];
        const struct wire_entry *theirs = ask_find(a, entry->name);
        matched += theirs != NULL;
        if (theirs == NULL)
            differs(v, entry->name, false, "missing on the peer");
        else if (!listing_entry_equal(entry, theirs, true))
            differs(v, entry->name, S_ISDIR(theirs->attr.mode), what_differs(entry, theirs));
    }
    if (matched == a->theirs.count)
        return;
    struct ask mine = { .theirs = *ours, .sorted = true };
    for (size_t i = 0; i < a->theirs.count; i++) {
        const struct wire_entry *theirs = &a->theirs.entries[i];
        if (ask_find(&mine, theirs->name) == NULL)
            differs(v, theirs->name, S_ISDIR(theirs->attr.mode), "only on the peer");
    }
}

static void
verify_listings(struct verifying *v, const struct listing *ours)
{
    struct ask *a = v->a;
    if (a->verdict == WIRE_DIR_ABSENT) {
        differs(v, span_str(""), true, "the directory is missing on the peer");
        for (size_t i = 0; v->count && v->w->opts.repair && i < ours->count; i++)
            repair(v, ours->entries[i].name, false);
        return;
    }
    if (ours->self.mode != a->self.mode || ours->self.uid != a->self.uid ||
        ours->self.gid != a->self.gid)
        differs(v, span_str(""), true, "another owner or mode of the directory");
    verify_names(v, ours);
    verify_root(v, ours);
}

int
walk_verify(struct walk *w, struct ask *a, const struct walk_orders *orders, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    struct place *place;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    int found = places_get(w->places, txn, a->dir, &place, e);
    if (found <= 0)
        return found;
    _cleanup_listing_ struct listing ours = { 0 };
    if (walk_ours(w, txn, place, &ours, e) < 0)
        return -1;
    listing_sort(&ours);
    struct verifying v = { .w = w, .a = a, .orders = orders };
    v.count = ++a->tries >= VERIFY_TRIES;
    verify_listings(&v, &ours);
    return v.any && !v.count;
}
