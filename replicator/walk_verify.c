#include "replicator/walk_private.h"

#include "lib/os/event.h"
#include "lib/os/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERIFY_TRIES 8  /* a difference is one when it stays */
#define REMADE_MAX   32 /* a directory whose mode changes all the time is left alone */

enum difference {
    DIFF_WITH_IT, /* shipped again with what else differs, not told by itself */
    DIFF_MISSING,
    DIFF_EXTRA,
    DIFF_TYPE,
    DIFF_SIZE,
    DIFF_UNREADABLE_THERE,
    DIFF_UNREADABLE_HERE,
    DIFF_XATTRS,
    DIFF_CONTENT,
    DIFF_OWNER,
    DIFF_LINKS,
    DIFF_TIME,
    DIFF_DIR_MISSING,
    DIFF_DIR_OWNER,
    DIFF_DIR_XATTRS,
};

static const char *const words[] = {
    [DIFF_WITH_IT] = "",
    [DIFF_MISSING] = "missing on the peer",
    [DIFF_EXTRA] = "only on the peer",
    [DIFF_TYPE] = "another type of object",
    [DIFF_SIZE] = "another size",
    [DIFF_UNREADABLE_THERE] = "the peer cannot read it",
    [DIFF_UNREADABLE_HERE] = "this node cannot read it",
    [DIFF_XATTRS] = "other extended attributes",
    [DIFF_CONTENT] = "another content",
    [DIFF_OWNER] = "another owner or mode",
    [DIFF_LINKS] = "other hard links",
    [DIFF_TIME] = "another modification time",
    [DIFF_DIR_MISSING] = "the directory is missing on the peer",
    [DIFF_DIR_OWNER] = "another owner or mode of the directory",
    [DIFF_DIR_XATTRS] = "other extended attributes of the directory",
};

/* --- comparing: ours as just read, theirs as answered --- */

/* name "": the directory itself. is_dir: what the peer has there. */
static void
differs(struct ask *a, struct span name, bool is_dir, enum difference what)
{
    buf_add_span16(&a->differs, name);
    buf_add_u8(&a->differs, is_dir);
    buf_add_u8(&a->differs, (uint8_t)what);
}

static bool
with_content(const struct walk *w, const struct ask *a)
{
    return w->opts.content && (w->opts.parts < 2 || a->dir % w->opts.parts == w->opts.part);
}

/* What a folder that was removed took along to where it is retained are further names of files that
 * live: a peer may have more of them, never fewer. */
static bool
lacks_links(const struct wire_entry *ours, const struct wire_entry *theirs)
{
    return theirs->nlink < ours->nlink;
}

/* content: that of files is in their hashes. */
static enum difference
what_differs(const struct wire_entry *ours, const struct wire_entry *theirs, bool content)
{
    bool bytes = content && S_ISREG(ours->attr.mode);
    if ((ours->attr.mode & S_IFMT) != (theirs->attr.mode & S_IFMT))
        return DIFF_TYPE;
    if (ours->attr.size != theirs->attr.size)
        return DIFF_SIZE;
    if (bytes && ours->has_hash != theirs->has_hash)
        return ours->has_hash ? DIFF_UNREADABLE_THERE : DIFF_UNREADABLE_HERE;
    if (ours->has_hash != theirs->has_hash ||
        (ours->has_hash && memcmp(ours->hash, theirs->hash, sizeof(ours->hash)) != 0))
        return bytes || S_ISLNK(ours->attr.mode) ? DIFF_CONTENT : DIFF_XATTRS;
    if (ours->attr.mode != theirs->attr.mode || ours->attr.uid != theirs->attr.uid ||
        ours->attr.gid != theirs->attr.gid)
        return DIFF_OWNER;
    if (lacks_links(ours, theirs))
        return DIFF_LINKS;
    return DIFF_TIME;
}

static bool
has_more_links(struct ask *a, const struct listing *ours)
{
    for (size_t i = 0; i < ours->count; i++) {
        const struct wire_entry *theirs = ask_find(a, ours->entries[i].name);
        bool file = S_ISREG(ours->entries[i].attr.mode);
        if (file && theirs != NULL && theirs->nlink > ours->entries[i].nlink)
            return true;
    }
    return false;
}

/* A root's extended attributes are in the digest and in no listing: when all else is equal and ours
 * are what they were when we asked, it is they that differ. Where more differs they may, too.
 * False: they changed meanwhile. */
static bool
compare_root(struct ask *a, const struct listing *ours)
{
    uint8_t digest[WIRE_DIGEST_SIZE];
    if (!ours->has_self_hash)
        return true;
    if (a->differs.len > 0) {
        differs(a, span_str(""), true, DIFF_WITH_IT);
        return true;
    }
    listing_digest(ours, digest);
    if (memcmp(digest, a->digest, sizeof(digest)) != 0)
        return false;
    if (has_more_links(a, ours))
        return true;
    differs(a, span_str(""), true, DIFF_DIR_XATTRS);
    return true;
}

static void
compare_names(struct ask *a, const struct listing *ours, bool content)
{
    size_t matched = 0;
    for (size_t i = 0; i < ours->count; i++) {
        const struct wire_entry *entry = &ours->entries[i];
        const struct wire_entry *theirs = ask_find(a, entry->name);
        matched += theirs != NULL;
        if (theirs == NULL)
            differs(a, entry->name, false, DIFF_MISSING);
        else if (!listing_entry_equal(entry, theirs, lacks_links(entry, theirs)))
            differs(a, entry->name, S_ISDIR(theirs->attr.mode),
                    what_differs(entry, theirs, content));
    }
    for (size_t i = 0; matched < a->theirs.count && i < a->theirs.count; i++) {
        const struct wire_entry *theirs = &a->theirs.entries[i];
        if (listing_find(ours, theirs->name) == NULL)
            differs(a, theirs->name, S_ISDIR(theirs->attr.mode), DIFF_EXTRA);
    }
}

static void
compare_absent(struct ask *a, const struct listing *ours)
{
    differs(a, span_str(""), true, DIFF_DIR_MISSING);
    for (size_t i = 0; i < ours->count; i++)
        differs(a, ours->entries[i].name, false, DIFF_WITH_IT);
}

/* False: what can only be compared as a whole changed meanwhile. */
static bool
compare(struct ask *a, const struct listing *ours, bool content)
{
    if (a->verdict == WIRE_DIR_ABSENT) {
        compare_absent(a, ours);
        return true;
    }
    if (ours->self.mode != a->self.mode || ours->self.uid != a->self.uid ||
        ours->self.gid != a->self.gid)
        differs(a, span_str(""), true, DIFF_DIR_OWNER);
    compare_names(a, ours, content);
    return compare_root(a, ours);
}

/* --- what stays is told --- */

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

/* Nothing but the primary's word mends what its standby feeds. */
static void
settle_difference(struct walk *w, struct ask *a, struct span name, bool is_dir,
                  enum difference what, const struct walk_orders *orders)
{
    bool mend = w->opts.repair && orders->force != NULL;
    if (what != DIFF_WITH_IT)
        tell_difference(w, a, name, words[what]);
    if (mend)
        orders->force(orders->arg, a->dir, name, is_dir);
    w->progress.repaired += mend && what != DIFF_WITH_IT;
}

/* Of what a record came for meanwhile the comparison says nothing; and a name that did not differ
 * in an earlier round differs in this one because of something that passes: links of a file are
 * counted by the records of its other names. True: one is left. */
static bool
sift(struct ask *a)
{
    struct hints before = a->suspects;
    bool first = !a->sifted;
    a->sifted = true;
    a->suspects = (struct hints){ 0 };
    struct reader r = reader_of(buf_span(&a->differs));
    while (r.rest.len > 0) {
        struct span name = reader_span16(&r);
        reader_u8(&r);
        bool told = reader_u8(&r) != DIFF_WITH_IT;
        if (told && !ask_touched(a, name) && (first || ask_has(&before, name)))
            ask_mark(&a->suspects, name);
    }
    hints_free(&before);
    return a->suspects.slot_count != 0;
}

static void
tell_suspects(struct walk *w, struct ask *a, const struct walk_orders *orders)
{
    struct reader r = reader_of(buf_span(&a->differs));
    while (r.rest.len > 0) {
        struct span name = reader_span16(&r);
        bool is_dir = reader_u8(&r) != 0;
        enum difference what = (enum difference)reader_u8(&r);
        if (what == DIFF_WITH_IT ? !ask_touched(a, name) : ask_has(&a->suspects, name))
            settle_difference(w, a, name, is_dir, what, orders);
    }
}

/* A directory that was just made there may lack what is in it: it is compared anew. */
static void
confirm_anew(struct ask *a)
{
    a->tries = 0;
    a->sifted = false;
    hints_free(&a->suspects);
    if (++a->remade < REMADE_MAX)
        a->state = ASK_WANTED;
    else
        ask_clear(a);
}

static void
confirm(struct walk *w, struct ask *a, const struct walk_orders *orders)
{
    if (ask_touched(a, span_str(""))) {
        confirm_anew(a);
        return;
    }
    bool stays = sift(a);
    if (stays && ++a->tries < VERIFY_TRIES) {
        a->state = ASK_WANTED;
        return;
    }
    if (stays)
        tell_suspects(w, a, orders);
    ask_clear(a);
}

static bool
can_confirm(const struct walk *w, const struct ask *a)
{
    return a->state == ASK_CONFIRM && a->mark != NULL && w->ship->cursor >= seq_mark_get(a->mark);
}

/* --- readings --- */

static int
read_dir(struct walk *w, const struct ask *a, const struct place *place, struct err *e)
{
    _cleanup_scrub_item_ struct scrub_item *item = scrub_item_new(a->store, buf_span(&place->path));
    item->dir = a->dir;
    item->content = with_content(w, a);
    item->fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
    if (item->fd < 0)
        return err_sys(e, ERR_IO, "keep a directory open");
    struct scrub_item *given = item;
    item = NULL;
    w->reading++;
    return scrub_ask(w->scrub, given, e);
}

static int
read_for(struct walk *w, struct state_txn *txn, struct ask *a, struct err *e)
{
    struct place *place;
    int found = walk_place(w, txn, a, &place, e);
    if (found <= 0)
        return found;
    if (a->state == ASK_WANTED)
        ask_begin(a, buf_span(&place->path));
    a->state = a->state == ASK_WANTED ? ASK_READING : ASK_REREADING;
    return read_dir(w, a, place, e);
}

/* What is under way ends before something new begins. */
static int
read_more(struct walk *w, struct state_txn *txn, struct err *e)
{
    static const enum ask_state order[] = { ASK_ANSWERED, ASK_WANTED };
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct ask *a;
        while (w->reading < READING_MAX && (a = walk_first(w, order[i])) != NULL) {
            if (read_for(w, txn, a, e) < 0)
                return -1;
        }
    }
    return 0;
}

static struct ask *
find_reading(struct walk *w, uint64_t dir)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if ((a->state == ASK_READING || a->state == ASK_REREADING) && a->dir == dir)
            return a;
    }
    return NULL;
}

static void
compare_again(const struct walk *w, struct ask *a, const struct listing *ours)
{
    bool comparable = compare(a, ours, with_content(w, a));
    listing_free(&a->theirs); /* makes room for others */
    a->theirs_bytes = 0;
    if (!comparable && ++a->tries < VERIFY_TRIES)
        a->state = ASK_WANTED;
    else if (a->differs.len > 0)
        a->state = ASK_CONFIRM;
    else
        ask_clear(a);
}

static int
take_reading(struct walk *w, struct state_txn *txn, struct scrub_item *item, struct err *e)
{
    struct ask *a = find_reading(w, item->dir);
    ASSERT(a != NULL);
    w->reading--;
    if (item->result != SCRUB_READ && file_disk_failed(&item->why)) {
        tell_difference(w, a, span_str(""), words[DIFF_UNREADABLE_HERE]);
        ask_clear(a);
        return 0;
    }
    if (item->result != SCRUB_READ) {
        if (e != NULL)
            *e = item->why;
        return err_wrap(e, "read %.*s", (int)item->path.len, (const char *)item->path.ptr);
    }
    if (listing_count_links(&item->listing, txn, a->dir, e) < 0)
        return -1;
    if (a->moved) {
        a->state = ASK_WANTED;
        return 0;
    }
    if (a->state == ASK_REREADING) {
        compare_again(w, a, &item->listing);
        return 0;
    }
    listing_digest(&item->listing, a->digest);
    return walk_question(w, a, item->content ? WIRE_DIGEST_CONTENT : 0, e);
}

static int
take_readings(struct walk *w, struct state_txn *txn, struct err *e)
{
    struct scrub_item *next;
    while ((next = scrub_take(w->scrub)) != NULL) {
        _cleanup_scrub_item_ struct scrub_item *item = next;
        if (take_reading(w, txn, item, e) < 0)
            return -1;
    }
    return walk_flush(w, e);
}

/* --- steps --- */

void
walk_verify_failed(struct walk *w, struct ask *a)
{
    tell_difference(w, a, span_str(""), words[DIFF_UNREADABLE_THERE]);
    ask_clear(a);
}

/* All that happened until both sides had been read is in the journal when the barrier opens, files
 * that were still being written then as well; what of it is about a name that differs has been
 * shipped when the cursor is there. */
static void
await_records(struct walk *w, const struct walk_orders *orders)
{
    struct seq_mark *mark = NULL;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *a = &w->asks[i];
        if (a->state != ASK_CONFIRM || a->mark != NULL)
            continue;
        if (mark == NULL)
            mark = seq_mark_new(w->opts.wake_fd);
        a->mark = seq_mark_ref(mark);
    }
    if (mark != NULL)
        orders->barrier(orders->arg, seq_mark_set, mark);
}

static int
read_on(struct walk *w, struct err *e)
{
    _cleanup_txn_ struct state_txn *txn = NULL;
    if (state_begin(w->node->state, false, &txn, e) < 0)
        return -1;
    w->all_asked = w->complete = false;
    if (take_readings(w, txn, e) < 0 || walk_choose(w, txn, e) < 0)
        return -1;
    return read_more(w, txn, e);
}

bool
walk_verify_can_step(const struct walk *w)
{
    if (scrub_has_done(w->scrub))
        return true;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        const struct ask *a = &w->asks[i];
        bool wants = a->state == ASK_WANTED || a->state == ASK_ANSWERED;
        if ((wants && w->reading < READING_MAX) || can_confirm(w, a))
            return true;
    }
    return false;
}

int
walk_verify_step(struct walk *w, const struct walk_orders *orders, struct err *e)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (can_confirm(w, &w->asks[i]))
            confirm(w, &w->asks[i], orders);
    }
    if (read_on(w, e) < 0)
        return -1;
    await_records(w, orders);
    return 0;
}
