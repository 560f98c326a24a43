/* What a standby asked for is settled, moved, asked for again and given up by the operations that
 * follow. */
#include "replicator/needs.h"

#include "lib/os/event.h"
#include "tests/unit/state_kit.h"
#include "tests/unit/test.h"

#include <sys/stat.h>

static struct needs needs;
static struct buf asked; /* a line each: path, seq, d for a directory */

static void
keep_asked(void *arg, const struct wire_need *need)
{
    char line[300];
    (void)arg;
    int len = snprintf(line, sizeof(line), "%.*s %llu%s\n", (int)need->path.len,
                       (const char *)need->path.ptr, (unsigned long long)need->seq,
                       need->is_dir ? " d" : "");
    buf_add(&asked, line, (size_t)len);
}

static void
check_asked(const char *lines)
{
    buf_add_u8(&asked, '\0');
    CHECK_STR((const char *)asked.ptr, lines);
    buf_reset(&asked);
}

static void
begin(void)
{
    event_init("test", EVENT_CRIT);
    needs = (struct needs){ .ask = keep_asked };
    needs_start(&needs, 100, true);
}

static void
end(void)
{
    needs_free(&needs);
    buf_free(&asked);
}

static struct record
record_of(enum record_op op, const char *path, const char *other)
{
    struct record r = { .op = op, .path = span_str(path) };
    if (other != NULL)
        r.other = span_str(other);
    return r;
}

static void
done(enum record_op op, uint64_t seq, const char *path, const char *other)
{
    struct record r = record_of(op, path, other);
    r.seq = seq;
    struct applied a = { .record = &r, .result = APPLY_DONE };
    a.attr.mode = op == OP_MKDIR ? S_IFDIR : S_IFREG;
    needs_note(&needs, &a, false);
}

static void
lacks(enum record_op op, uint64_t seq, const char *path, const char *blocked)
{
    struct record r = record_of(op, path, NULL);
    struct apply_need need = { .path = span_str(blocked) };
    r.seq = seq;
    struct applied a = { .record = &r, .result = APPLY_NEED, .needs = &need, .need_count = 1 };
    needs_note(&needs, &a, false);
}

TEST(a_name_is_asked_for_once_until_its_answer_does_not_fit)
{
    begin();
    lacks(OP_PUT, 101, "a/x", "a");
    lacks(OP_PUT, 102, "a/y", "a");
    check_asked("a 101\n");
    lacks(OP_MKDIR, 103, "a", "a");
    check_asked("a 103\n");
    CHECK_INT(needs.count, 1);
    done(OP_MKDIR, 104, "a", NULL);
    CHECK_INT(needs.count, 0);
    check_asked("");
    end();
}

TEST(what_failed_while_the_answer_was_on_its_way_has_a_second_answer)
{
    begin();
    lacks(OP_PUT, 101, "a/x", "a");
    lacks(OP_PUT, 102, "a/y", "a");
    check_asked("a 101\n");
    done(OP_MKDIR, 103, "a", NULL);
    check_asked("a 103 d\n");
    CHECK_INT(needs.count, 1);
    done(OP_MKDIR, 104, "a", NULL);
    CHECK_INT(needs.count, 0);
    end();
}

TEST(needs_are_settled_and_move_with_what_happens_to_their_names)
{
    begin();
    lacks(OP_PUT, 101, "d/a", "d/a");
    lacks(OP_PUT, 102, "d/b", "d/b");
    lacks(OP_PUT, 103, "e/c", "e/c");
    lacks(OP_PUT, 104, "f", "f");
    done(OP_PUT, 105, "d/a", NULL);
    done(OP_RENAME, 106, "g", "d");
    done(OP_RMTREE, 107, "e", NULL);
    done(OP_RENAME, 108, "h", "f");
    CHECK_INT(needs.count, 1);
    check_asked("d/a 101\nd/b 102\ne/c 103\nf 104\n");
    done(OP_PUT, 109, "d/b", NULL); /* not it */
    CHECK_INT(needs.count, 1);
    done(OP_PUT, 110, "g/b", NULL);
    CHECK_INT(needs.count, 0);
    end();
}

static bool
is_dir_a(void *arg, uint16_t store, struct span path)
{
    (void)arg;
    (void)store;
    return span_equal(path, span_str("a"));
}

/* A rename did not fit, and what still stands under its new name gets the attributes. */
TEST(attributes_settle_nothing)
{
    begin();
    lacks(OP_RENAME, 101, "a", "a");
    check_asked("a 101\n");
    done(OP_META, 102, "a", NULL);
    CHECK_INT(needs.count, 1);
    done(OP_SYMLINK, 103, "a", NULL);
    CHECK_INT(needs.count, 0);
    lacks(OP_META, 104, "", "");
    check_asked(" 104\n");
    done(OP_META, 105, "", NULL); /* a store's root has no other answer */
    CHECK_INT(needs.count, 0);
    end();
}

TEST(needs_outlive_link_and_daemon_and_are_given_up_in_the_end)
{
    begin();
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    lacks(OP_PUT, 101, "a", "a");
    lacks(OP_PUT, 102, "b", "b");
    check_asked("a 101\nb 102\n");
    CHECK_INT(needs_save(&needs, txn, NULL), 0);
    for (unsigned tries = 1; tries < NEEDS_TRIES; tries++) {
        CHECK_INT(needs_load(&needs, txn, NULL), 0);
        needs_start(&needs, 200, false);
        needs_ask_again(&needs, is_dir_a);
        check_asked("a 200 d\nb 200\n");
        CHECK_INT(needs_save(&needs, txn, NULL), 0);
    }
    needs_ask_again(&needs, is_dir_a);
    check_asked("");
    CHECK_INT(needs.count, 0);
    CHECK_INT(needs_save(&needs, txn, NULL), 0);
    CHECK_INT(needs_load(&needs, txn, NULL), 0);
    CHECK_INT(needs.count, 0);
    state_abort(&txn);
    db_free(db);
    end();
}
