/* A standby that feeds another answers what its follower asks for from its index and its tree: by
 * fix-ups, a name or a directory at a time, and only what both say. The follower is the test's end
 * of the link, or an engine that carries out what it hears. */
#include "replicator/relay.h"

#include "lib/data/state_private.h"
#include "tests/unit/pair_kit.h"

struct feed {
    struct cap *c; /* the feeding standby */
    struct link_ends link;
    struct ship ship;
    struct relay relay;
    unsigned touched;
};

static void
count_touched(void *owner, const struct record *record)
{
    struct feed *f = owner;
    (void)record;
    f->touched++;
}

static uint64_t
tail_of(const struct cap *c)
{
    struct state_txn *txn;
    struct err e = { 0 };
    pair_must(state_begin(c->node->state, false, &txn, &e), &e);
    uint64_t tail = state_meta(txn)->tail;
    state_abort(&txn);
    return tail;
}

/* Index and journal are what `make` and then `change` leave; nothing is recorded any more. NULL
 * without the rights. */
static struct feed *
feed_new(const char *make, const char *change)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    struct feed *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->c = c;
    cap_sh(c, "%s", make);
    cap_start(c);
    cap_barrier(c);
    f->ship = (struct ship){ .node = c->node, .owner = f, .touched = count_touched };
    f->ship.signature = pair_no_signature;
    f->ship.cursor = tail_of(c); /* what a test takes for the record that its question names */
    cap_sh(c, "%s", change);
    cap_barrier(c);
    capture_stop(&c->capture);
    link_ends_open(&f->link);
    f->ship.io = f->link.to;
    relay_init(&f->relay, &f->ship);
    return f;
}

static void
feed_free(struct feed *f)
{
    relay_free(&f->relay);
    ship_free(&f->ship);
    link_ends_close(&f->link);
    cap_free(f->c);
    free(f);
}

static void
ask_at(struct feed *f, uint16_t store, uint64_t seq, const char *path, bool is_dir)
{
    struct wire_need need = { .store = store, .seq = seq, .is_dir = is_dir };
    need.path = span_str(path);
    struct err e = { 0 };
    CHECK_INT(relay_add(&f->relay, &need, &e), 0);
}

/* Of the tree as it is now. */
static void
ask(struct feed *f, const char *path, bool is_dir)
{
    ask_at(f, 0, tail_of(f->c), path, is_dir);
}

static void
add_text(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

static void
hear_one(const struct feed *f, const struct wire_msg *msg, struct buf *out)
{
    switch (msg->type) {
    case WIRE_REC:
        CHECK_INT(msg->rec.record.seq, 0);
        cap_add_record(f->c, &msg->rec.record, out);
        if (msg->rec.content == WIRE_CONTENT_GONE)
            add_text(out, "  gone\n");
        break;
    case WIRE_DATA:
        add_text(out, "  = ");
        buf_add(out, msg->data.bytes.ptr, msg->data.bytes.len);
        break;
    case WIRE_END:
        CHECK(msg->end.ok);
        break;
    case WIRE_COMMIT:
        CHECK_INT(msg->commit.seq, f->ship.cursor);
        add_text(out, "commit\n");
        break;
    default:
        fail_msg("%s", wire_type_word(msg->type));
    }
}

/* What has been sent, a line each. */
static void
check_heard(struct feed *f, const char *lines)
{
    _cleanup_buf_ struct buf heard = { 0 };
    const struct wire_msg *msg;
    struct err e = { 0 };
    int got;
    while ((got = link_io_receive(f->link.from, 0, -1, &msg, &e)) > 0)
        hear_one(f, msg, &heard);
    pair_must(got, &e);
    buf_add_u8(&heard, '\0');
    CHECK_STR((const char *)heard.ptr, lines);
}

static void
step(struct feed *f, const char *lines)
{
    struct err e = { 0 };
    pair_must(relay_step(&f->relay, &e), &e);
    check_heard(f, lines);
}

static void
step_fails(struct feed *f, enum err_code code)
{
    struct err e = { 0 };
    CHECK_INT(relay_step(&f->relay, &e), -1);
    CHECK_INT(e.code, code);
}

/* Everything up to the tail has been shipped. */
static struct feed *
level(const char *make, const char *change)
{
    struct feed *f = feed_new(make, change);
    if (f != NULL)
        f->ship.cursor = tail_of(f->c);
    return f;
}

/* --- what the follower lacks --- */

TEST(a_name_is_sent_as_it_is)
{
    struct feed *f = level("cd mail && echo one >f && ln -s to s && mkfifo p && echo two >a && "
                           "ln a b",
                           "echo more >>mail/f");
    CAP_NEEDED(f);
    static const struct {
        const char *name, *lines;
    } rows[] = {
        { "f", "put f\n  = one\nmore\ncommit\n" },
        { "s", "symlink to > s\ncommit\n" },
        { "p", "mknod p\ncommit\n" },
        { "a", "put a\n  = two\nlink a > b\ncommit\n" },
        { "b", "link a > b\ncommit\n" },
    };
    CHECK(!relay_pending(&f->relay));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        ask(f, rows[i].name, false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK(relay_pending(&f->relay));
        step(f, rows[i].lines);
    }
    CHECK(!relay_pending(&f->relay));
    CHECK_INT(f->touched, 6);
    feed_free(f);
}

TEST(a_directory_comes_with_all_below_it_a_directory_a_step)
{
    struct feed *f = level("mkdir -p mail/d/cur mail/d/new/deep && echo 1 >mail/d/cur/1 && "
                           "echo 2 >mail/d/new/deep/2 && echo 3 >mail/x",
                           "true");
    CAP_NEEDED(f);
    ask(f, "d", false);
    ask(f, "x", false);
    step(f, "mkdir d\ncommit\n");
    step(f, "mkdir d/cur\nmkdir d/new\ncommit\n");
    step(f, "put d/cur/1\n  = 1\ncommit\n");
    step(f, "mkdir d/new/deep\ncommit\n");
    step(f, "put d/new/deep/2\n  = 2\ncommit\n");
    CHECK(relay_pending(&f->relay)); /* the next question waited for all of it */
    step(f, "put x\n  = 3\ncommit\n");
    CHECK(!relay_pending(&f->relay));
    feed_free(f);
}

TEST(another_store_is_another_tree)
{
    struct feed *f = level("echo mail >mail/a && echo files >files/a && mkdir mail/d && "
                           "echo x >mail/d/x && mkdir files/d && echo y >files/d/y",
                           "mv mail/d mail/e");
    CAP_NEEDED(f);
    ask_at(f, 1, tail_of(f->c), "a", false);
    step(f, "files: put a\n  = files\ncommit\n");
    ask_at(f, 1, 0, "d/y", false); /* mail's directory of that name was moved since */
    step(f, "files: put d/y\n  = y\ncommit\n");
    feed_free(f);
}

/* --- what stands in the way there --- */

TEST(a_directory_in_the_way_of_a_file_goes_first)
{
    struct feed *f = level("echo a >mail/a && mkdir mail/d", "true");
    CAP_NEEDED(f);
    ask(f, "a", true);
    step(f, "rmtree a\nput a\n  = a\ncommit\n");
    ask(f, "d", true); /* a directory here as well: what is in it may be the same */
    step(f, "mkdir d\ncommit\n");
    CHECK(relay_pending(&f->relay));
    step(f, "");
    CHECK(!relay_pending(&f->relay));
    feed_free(f);
}

TEST(what_neither_index_nor_tree_has_is_removed_there)
{
    struct feed *f = level("mkdir mail/d", "true");
    CAP_NEEDED(f);
    ask(f, "d/file", false);
    ask(f, "d/dir", true);
    step(f, "unlink d/file\ncommit\n");
    step(f, "rmtree d/dir\ncommit\n");
    CHECK(!relay_pending(&f->relay));
    feed_free(f);
}

TEST(what_the_tree_has_and_the_index_not_yet_is_not_removed)
{
    struct feed *f = level("mkdir mail/d", "true");
    CAP_NEEDED(f);
    cap_sh(f->c, "echo came >mail/d/file && mkdir mail/d/dir"); /* its record is on its way */
    ask(f, "d/file", false);
    ask(f, "d/dir", true);
    step(f, "");
    step(f, "");
    CHECK(!relay_pending(&f->relay));
    feed_free(f);
}

/* --- which tree the question is about --- */

TEST(a_question_is_answered_under_the_path_of_the_day)
{
    struct feed *f = feed_new("mkdir mail/a mail/z && echo 1 >mail/a/x",
                              "mv mail/a mail/b && mkdir mail/a && mv mail/b mail/z/c");
    CAP_NEEDED(f);
    uint64_t then = f->ship.cursor;
    f->ship.cursor = tail_of(f->c);
    ask_at(f, 0, then, "a/x", false);
    step(f, "put z/c/x\n  = 1\ncommit\n");
    ask(f, "a/x", false); /* asked now it is another directory, which has none */
    step(f, "unlink a/x\ncommit\n");
    feed_free(f);
}

TEST(nothing_is_answered_before_the_records_went_out)
{
    struct feed *f = feed_new("mkdir mail/d && echo 1 >mail/d/x", "rm -r mail/d");
    CAP_NEEDED(f);
    ask_at(f, 0, f->ship.cursor, "d", false);
    step(f, "");
    CHECK(relay_pending(&f->relay));
    f->ship.cursor = tail_of(f->c);
    step(f, "unlink d\ncommit\n");
    CHECK(!relay_pending(&f->relay));
    feed_free(f);
}

TEST(what_a_record_on_its_way_tells_is_not_answered)
{
    struct feed *f = level("mkdir -p mail/d/sub && echo 1 >mail/d/sub/x", "true");
    CAP_NEEDED(f);
    ask(f, "gone/x", false); /* its directory is not in the index */
    ask(f, "", true);        /* the root of a store cannot be missing */
    ask(f, "d/sub", false);
    step(f, "");
    step(f, "");
    step(f, "mkdir d/sub\ncommit\n");
    cap_sh(f->c, "rm -r mail/d"); /* the index does not know yet */
    ask(f, "d/sub", false);
    step(f, ""); /* all that is in d/sub */
    step(f, ""); /* d is nowhere */
    CHECK(!relay_pending(&f->relay));
    feed_free(f);
}

TEST(a_name_that_vanishes_before_it_is_read_is_told_as_gone)
{
    struct feed *f = level("echo 1 >mail/x && ln -s to mail/s", "true");
    CAP_NEEDED(f);
    cap_sh(f->c, "rm mail/x mail/s");
    ask(f, "x", false);
    ask(f, "s", false);
    step(f, "put x\n  gone\ncommit\n");
    step(f, ""); /* its target is in the record: nothing can be said without it */
    feed_free(f);
}

/* --- what fails is told and not taken for an answer --- */

static void
change_state(struct feed *f, void (*change)(struct feed *f, struct state_txn *txn, struct err *e))
{
    struct state_txn *txn;
    struct err e = { 0 };
    pair_must(state_begin(f->c->node->state, true, &txn, &e), &e);
    change(f, txn, &e);
    pair_must(state_commit(&txn, &e), &e);
}

/* The directory of the first name of d/f is in no other. */
static void
lose_the_way_up(struct feed *f, struct state_txn *txn, struct err *e)
{
    uint64_t dir;
    struct span name;
    (void)f;
    CHECK_INT(state_resolve(txn, 0, span_str("c/f"), &dir, &name, e), 1);
    CHECK_INT(table_del(txn, TABLE_DIRS, KEY64(dir), e), 0);
}

TEST(an_index_that_contradicts_itself_is_an_error)
{
    struct feed *f = level("mkdir mail/c && echo 1 >mail/c/f",
                           "mkdir mail/d && ln mail/c/f mail/d/f");
    CAP_NEEDED(f);
    ask(f, "d/f", false);
    ask(f, "d", false);
    change_state(f, lose_the_way_up);
    step_fails(f, ERR_CORRUPT);
    step(f, "mkdir d\ncommit\n");
    step_fails(f, ERR_CORRUPT); /* what is in it */
    feed_free(f);
}

static void
spoil_entry(struct feed *f, struct state_txn *txn, struct err *e)
{
    struct entry_key key;
    struct span row = entry_key(&key, state_root(txn, 0), span_str("x"));
    (void)f;
    pair_must(table_put(txn, TABLE_ENTRIES, row, span_str("no entry"), e), e);
}

TEST(an_index_that_cannot_be_read_is_an_error)
{
    struct feed *f = level("echo 1 >mail/x", "true");
    CAP_NEEDED(f);
    change_state(f, spoil_entry);
    ask(f, "x", false);
    step_fails(f, ERR_CORRUPT);
    check_heard(f, "");
    feed_free(f);
}

static void
spoil_last_record(struct feed *f, struct state_txn *txn, struct err *e)
{
    (void)f;
    pair_must(table_put(txn, TABLE_RECORDS, KEY64(state_meta(txn)->tail), span_str("no record"), e),
              e);
}

TEST(a_journal_that_cannot_be_read_is_an_error)
{
    struct feed *f = level("echo 1 >mail/x", "echo 2 >mail/y");
    CAP_NEEDED(f);
    change_state(f, spoil_last_record);
    ask_at(f, 0, tail_of(f->c) - 1, "x", false);
    step_fails(f, ERR_CORRUPT);
    feed_free(f);
}

/* A name that cannot be looked at is not one that is not there. */
TEST(a_name_that_cannot_be_looked_at_is_not_removed)
{
    struct feed *f = level("mkdir mail/d", "true");
    CAP_NEEDED(f);
    cap_sh(f->c, "mkdir mail/d/x && mount -t proc none mail/d/x"); /* it has no file handles */
    ask(f, "d/x", true);
    step_fails(f, ERR_UNSUITABLE);
    check_heard(f, "");
    cap_sh(f->c, "umount mail/d/x");
    feed_free(f);
}

TEST(a_state_that_cannot_be_read_is_an_error)
{
    struct feed *f = level("echo 1 >mail/x", "true");
    CAP_NEEDED(f);
    struct state_txn *readers[1000];
    struct err e = { 0 };
    size_t count = 0;
    ask(f, "x", false);
    while (count < ARRAY_LEN(readers) &&
           state_begin(f->c->node->state, false, &readers[count], &e) == 0)
        count++;
    step_fails(f, ERR_IO);
    CHECK(relay_pending(&f->relay));
    while (count > 0)
        state_abort(&readers[--count]);
    step(f, "put x\n  = 1\ncommit\n");
    feed_free(f);
}

TEST(a_link_that_ended_is_an_error)
{
    struct feed *f = level("echo 1 >mail/small && head -c 3000000 /dev/urandom >mail/large",
                           "true");
    CAP_NEEDED(f);
    ask(f, "large", false); /* more than is sent together: ends within it */
    ask(f, "small", false); /* ends with its COMMIT */
    CHECK_INT(shutdown(link_io_fd(f->link.from), SHUT_RDWR), 0);
    step_fails(f, ERR_PEER);
    step_fails(f, ERR_PEER);
    feed_free(f);
}

/* --- a follower that carries it out --- */

/* Records go out, and what the follower lacks for them it asks for; all of it is answered. */
static void
answer_all(struct pair *r)
{
    struct err e = { 0 };
    cap_barrier(r->c);
    pair_ship_tail(r);
    CHECK(relay_pending(r->relay));
    for (unsigned steps = 0; relay_pending(r->relay); steps++) {
        assert_true(steps < 1000);
        pair_must(relay_step(r->relay, &e), &e);
        pair_wait_acks(r);
    }
}

TEST(a_follower_that_lost_names_has_them_again)
{
    struct pair *r = pair_new(1);
    CAP_NEEDED(r);
    pair_start(r);
    struct relay relay;
    relay_init(&relay, &r->ship);
    r->relay = &relay;
    cap_sh(r->c, "mkdir -p mail/d/cur mail/d/new mail/e && echo 1 >mail/d/cur/1 && "
                 "echo 2 >mail/d/new/2 && ln mail/d/new/2 mail/e/2 && echo 3 >mail/e/3 && "
                 "ln -s to mail/e/s");
    cap_barrier(r->c);
    pair_ship_all(r);
    check_same(r);
    uint64_t tail = capture_tail(r->c->capture);
    cap_sh(r->peer, "rm -r mail/d mail/e/3 && mkdir mail/e/3 && echo x >mail/e/3/x");
    cap_sh(r->c, "mv mail/d mail/f && chmod 640 mail/e/3");
    answer_all(r);
    CHECK_INT(capture_tail(r->c->capture), tail + 2); /* no record tells of it */
    check_same(r);
    cap_check_index(r->peer);
    relay_free(&relay);
    pair_free(r);
}

/* A follower that asks without end must not use up this node's memory. */
TEST(who_asks_for_more_than_can_be_kept_is_told_so)
{
    struct relay relay = { 0 };
    struct err e = { 0 };
    char path[4096];
    memset(path, 'x', sizeof(path));
    struct wire_need need = { .path = span_of(path, sizeof(path)) };
    size_t kept = 0;
    while (kept < RELAY_BYTES_MAX && relay_add(&relay, &need, &e) == 0)
        kept++;
    CHECK_INT(e.code, ERR_PROTOCOL);
    CHECK(kept > 1000); /* what an honest one asks for again and again */
    CHECK(relay.needs.len < RELAY_BYTES_MAX + 2 * sizeof(path));
    buf_free(&relay.needs);
}
