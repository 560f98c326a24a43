/* The guard over real trees: what of a loss counts, and what outlives a restart. */
#include "replicator/mass.h"

#include "tests/unit/capture_kit.h"

#include "replicator/apply.h"

#include <sys/stat.h>
#include <time.h>

static const struct mass_facts some = { .state = MASS_CLOSED,
                                        .syncing = true,
                                        .store = 1,
                                        .at_ms = 11,
                                        .began_ms = 7,
                                        .lost = 300,
                                        .of = 1000,
                                        .released_ms = 5,
                                        .path = "a/cur/1" };

TEST(the_row_of_a_mass_change_is_read_as_it_was_written_and_refused_when_it_is_not)
{
    _cleanup_buf_ struct buf row = { 0 };
    struct mass_facts got;
    struct err e = { 0 };
    mass_encode(&some, &row);
    CHECK_INT(mass_decode(buf_span(&row), &got, &e), 0);
    CHECK(got.state == some.state && got.syncing && got.store == 1 && got.at_ms == 11 &&
          got.began_ms == 7 && got.lost == 300 && got.of == 1000 && got.released_ms == 5);
    CHECK_STR(got.path, some.path);
    for (size_t len = 0; len < row.len; len++)
        CHECK_INT(mass_decode(span_from(buf_span(&row), 0, len), &got, &e), -1);
    row.ptr[0] = MASS_DISCARD + 1;
    CHECK_INT(mass_decode(buf_span(&row), &got, &e), -1);
    row.ptr[0] = MASS_OPEN;
    row.ptr[row.len - 1] = '\0';
    CHECK_INT(mass_decode(buf_span(&row), &got, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
}

/* --- losses --- */

struct fixture {
    struct cap *c;
    struct mass *mass;
    int root;
    struct err e;
};

static bool
begin(struct fixture *f)
{
    *f = (struct fixture){ .c = cap_new() };
    if (f->c == NULL)
        return false;
    for (size_t i = 0; i < CAP_STORES; i++) {
        f->c->stores[i].retain_ms = 1000000;
        f->c->stores[i].retain_max = 50;
        f->c->stores[i].mass_limit = 20;
        f->c->stores[i].mass_window_ms = 600000;
    }
    cap_open(f->c);
    f->root = open(f->c->stores[0].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(f->root >= 0);
    CHECK_INT(mass_new(f->c->node, &f->mass, &f->e), 0);
    return true;
}

static void
end(struct fixture *f)
{
    mass_free(&f->mass);
    close(f->root);
    cap_stop(f->c);
    cap_free(f->c);
}

/* A new start of the daemon. */
static void
restart(struct fixture *f)
{
    mass_free(&f->mass);
    CHECK_INT(mass_new(f->c->node, &f->mass, &f->e), 0);
}

static int
lose(struct fixture *f, const char *path, bool replaced, uint64_t time_ms)
{
    struct stat st;
    struct record record = { .op = replaced ? OP_PUT : OP_UNLINK,
                             .time_ns = time_ms * 1000000,
                             .path = span_str(path) };
    CHECK_INT(fstatat(f->root, path, &st, AT_SYMLINK_NOFOLLOW), 0);
    struct apply_loss loss = { &record, span_str(path), f->root, path, &st, replaced };
    return mass_ask(f->mass, &loss, &f->e);
}

#define T0 UINT64_C(1700000000000)

/* How many of 400 messages, one after the other. */
static unsigned
lose_each(struct fixture *f, bool replaced, uint64_t time_ms)
{
    for (unsigned i = 0; i < 400; i++) {
        char path[64];
        snprintf(path, sizeof(path), "ann/cur/%u.x:2,", 1000 + i);
        if (lose(f, path, replaced, time_ms + i) < 0)
            return i;
        if (!replaced)
            CHECK_INT(unlinkat(f->root, path, 0), 0);
    }
    return 400;
}

#define MESSAGES "for i in $(seq 1000 1399); do echo $i > \"mail/ann/cur/$i.x:2,\"; done"

TEST(deleted_and_overwritten_messages_close_it_and_it_stays_closed)
{
    for (int replaced = 0; replaced < 2; replaced++) {
        struct fixture f;
        if (!begin(&f))
            skip();
        cap_sh(f.c, "mkdir -p mail/ann/cur && " MESSAGES);
        /* a fifth of 400, but never fewer than the floor */
        CHECK_INT(lose_each(&f, replaced == 1, T0), 99);
        CHECK_INT(f.e.code, ERR_REFUSED);
        CHECK_CONTAINS(f.e.text, "retained release");
        _cleanup_txn_ struct state_txn *txn = NULL;
        CHECK_INT(state_begin(f.c->node->state, true, &txn, &f.e), 0);
        CHECK_INT(mass_save(f.mass, txn, &f.e), 1);
        CHECK_INT(state_commit(&txn, &f.e), 0);
        restart(&f);
        struct err why = { 0 };
        CHECK(mass_closed(f.mass, &why));
        CHECK_INT(mass_release(f.mass, MASS_OPEN, &f.e), 0);
        CHECK(!mass_closed(f.mass, NULL));
        CHECK_INT(mass_release(f.mass, MASS_OPEN, &f.e), -1);
        restart(&f);
        CHECK(!mass_closed(f.mass, NULL));
        end(&f);
    }
}

TEST(what_is_put_back_does_not_count_and_an_attack_that_goes_on_does)
{
    struct fixture f;
    if (!begin(&f))
        skip();
    cap_sh(f.c, "mkdir -p mail/ann/cur && " MESSAGES);
    for (unsigned i = 0; i < 202; i++)
        mass_put_back(f.mass, 0, true);
    mass_put_back(f.mass, 0, false);
    mass_put_back(f.mass, 0, false);
    CHECK_INT(lose_each(&f, true, T0), 200 + 99);
    restart(&f);
    CHECK_INT(mass_release(f.mass, MASS_OPEN, &f.e), -1); /* it was not on record yet */
    mass_put_back(f.mass, 0, false);                      /* below nothing */
    for (unsigned i = 0; i < 50; i++)
        mass_put_back(f.mass, 0, true);
    CHECK_INT(lose_each(&f, false, T0), 99); /* deleted is not overwritten */
    end(&f);
}

TEST(what_was_put_back_where_nothing_was_is_no_licence_for_later)
{
    struct fixture f;
    if (!begin(&f))
        skip();
    cap_sh(f.c, "mkdir -p mail/ann/cur && " MESSAGES);
    for (unsigned i = 0; i < 400; i++)
        mass_put_back(f.mass, 0, true);
    uint64_t later_ms = (uint64_t)time(NULL) * 1000 + 2 * f.c->node->stores[0].conf->mass_window_ms;
    CHECK_INT(lose_each(&f, true, later_ms), 99);
    end(&f);
}

TEST(a_directory_counts_with_all_its_messages)
{
    struct fixture f;
    if (!begin(&f))
        skip();
    cap_sh(f.c, "mkdir -p mail/ann/cur mail/bob/cur && " MESSAGES " && touch mail/ann/x && "
                "for i in $(seq 50); do echo $i > mail/bob/cur/$i.x; done");
    CHECK_INT(lose(&f, "bob", false, T0), 0); /* 50 of 450 */
    CHECK_INT(lose(&f, "ann", false, T0), -1);
    struct mass_facts facts;
    mass_facts(f.mass, &facts);
    CHECK_INT(facts.lost, 450);
    CHECK_STR(facts.path, "ann");
    end(&f);
}

TEST(what_lives_elsewhere_and_what_is_no_message_does_not_count)
{
    struct fixture f;
    if (!begin(&f))
        skip();
    cap_sh(f.c, "mkdir -p mail/ann/cur mail/ann/.Old/cur && " MESSAGES " && "
                "cp -l mail/ann/cur/* mail/ann/.Old/cur/ && echo > mail/ann/dovecot-uidlist");
    CHECK_INT(lose_each(&f, false, T0), 400); /* each has another name */
    for (unsigned i = 0; i < 400; i++)
        CHECK_INT(lose(&f, "ann/dovecot-uidlist", true, T0 + i), 0);
    end(&f);
}

TEST(what_was_released_does_not_count_again)
{
    struct fixture f;
    if (!begin(&f))
        skip();
    cap_sh(f.c, "mkdir -p mail/ann/cur && " MESSAGES);
    CHECK_INT(lose_each(&f, true, T0), 99);
    CHECK_INT(mass_release(f.mass, MASS_DISCARD, &f.e), 0);
    CHECK(!mass_is_level(f.mass));
    mass_level(f.mass);
    CHECK(mass_is_level(f.mass));
    CHECK_INT(lose_each(&f, true, T0), 400); /* from before it was released */
    uint64_t later = (uint64_t)time(NULL) * 1000 + 3600000;
    CHECK_INT(lose_each(&f, true, later), 99);
    CHECK_INT(mass_end(f.mass, &f.e), 0);
    CHECK(!mass_closed(f.mass, NULL));
    end(&f);
}
