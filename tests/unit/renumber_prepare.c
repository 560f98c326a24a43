/* What a standby does beforehand, and when a promotion leaves it as it is. */
#include "tests/unit/renumber_kit.h"

#include "replicator/handover.h"

#define DORA "mail/dora"

static const atomic_bool never = false;

struct prep {
    struct cap *c;
    struct renumber_prepared prepared;
};

static void
follow(struct cap *c, uint8_t role, uint64_t served)
{
    uint8_t epoch[8];
    struct state_txn *txn;
    put_le64(epoch, served);
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    state_meta(txn)->role = role;
    state_meta(txn)->epoch = 5;
    CHECK_INT(state_put(txn, HANDOVER_SERVED, span_of(epoch, sizeof(epoch)), &c->e), 0);
    CHECK_INT(state_commit(&txn, &c->e), 0);
}

/* Beside the kit's folders, of which none can be prepared but carl's: dora's and emil's, where
 * nothing is to be removed; emil's list has to be written anew. */
static bool
begin(struct prep *p)
{
    *p = (struct prep){ .c = renumber_mailboxes() };
    if (p->c == NULL)
        return false;
    cap_sh(p->c,
           "mkdir -p " DORA "/cur && printf '" R_HEADER "1 :a\\n' >" DORA "/dovecot-uidlist && "
           "printf 6b03773b >" DORA "/dovecot-uidvalidity && "
           ": >" DORA "/dovecot-uidvalidity.6b03773b && "
           "mkdir -p mail/emil/cur && printf '1 1763800000 9\\n2 a.b\\n' "
           ">mail/emil/dovecot-uidlist && "
           "chown -R 65534:65534 mail/emil " DORA " && chmod 640 " DORA "/dovecot-uidlist");
    cap_start(p->c);
    cap_barrier(p->c);
    cap_stop(p->c);
    cap_open(p->c);
    follow(p->c, WIRE_ROLE_STANDBY, 4);
    return true;
}

#define PREP_NEEDED(p)      \
    do {                    \
        if (!begin(&(p))) { \
            skip();         \
            return;         \
        }                   \
    } while (0)

static uint64_t
pass(struct prep *p)
{
    uint64_t made;
    CHECK_INT(renumber_prepare(p->c->node, &p->prepared, &never, &made, &p->c->e), 0);
    return made;
}

/* What changes from here on is younger than what the next look sees. */
static void
wait_for_times(void)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_REALTIME, &begin);
    do {
        usleep(20000);
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
    } while (now.tv_sec - begin.tv_sec < 1 ||
             (now.tv_sec - begin.tv_sec == 1 && now.tv_nsec <= begin.tv_nsec));
}

/* The primary has been one for a while, and the look behind the one that made files is over. */
static void
prepare(struct prep *p)
{
    CHECK_INT(pass(p), 0); /* too early */
    cap_sh(p->c, "test ! -e " DORA "/dovecot.index.log");
    p->prepared.since_s -= 100;
    CHECK_INT(pass(p), 5); /* of six: Sent's is a mail server's */
    wait_for_times();
    CHECK_INT(pass(p), 0);
    CHECK(renumber_prepared_holds(p->c->node, &p->prepared));
}

static void
promote(struct prep *p, uint64_t prepared)
{
    struct renumber_done done;
    renumber_set(p->c, R_GAP);
    CHECK_INT(renumber_begin(p->c->node, &p->prepared, renumber_alive, &done, &p->c->e), 0);
    CHECK_INT(done.failed, 0);
    CHECK_INT(done.prepared, prepared);
    CHECK_INT(renumber_next(p->c, "dora/dovecot-uidlist"), 4 + R_GAP);
    CHECK_INT(renumber_next(p->c, "ada/dovecot-uidlist"), 8 + R_GAP);
    CHECK_INT(renumber_next(p->c, "emil/dovecot-uidlist"), 9 + R_GAP);
    cap_sh(p->c,
           "test $(cat " DORA "/dovecot-uidvalidity) = 6b039e4b && "
           "test \"$(ls " DORA "/dovecot-uidvalidity.*)\" = " DORA "/dovecot-uidvalidity.6b039e4b");
}

static void
check_log(struct prep *p, const char *folder, uint64_t modseq)
{
    cap_sh(p->c,
           "test $(od -An -j24 -N8 -tu8 mail/%s/dovecot.index.log) = %llu && "
           "test $(wc -c <mail/%s/dovecot.index.log) = 40",
           folder, (unsigned long long)modseq, folder);
}

TEST(what_was_prepared_is_not_written_again)
{
    struct prep p;
    PREP_NEEDED(p);
    prepare(&p);
    cap_sh(p.c,
           "stat -c '%%i %%y' mail/dora/dovecot.index.log mail/carl/dovecot.index.log >made; "
           "test \"$(stat -c '%%u %%g %%a' mail/dora/dovecot.index.log)\" = '65534 65534 640'");
    promote(&p, 3);
    cap_sh(p.c,
           "stat -c '%%i %%y' mail/dora/dovecot.index.log mail/carl/dovecot.index.log | cmp made");
    check_log(&p, "dora", p.prepared.base_s << 20);
    check_log(&p, "carl", p.prepared.base_s << 20);
    const char *const others[] = { "ada", "ada/.Sent",
                                   "bob" }; /* something was to be removed, or raised */
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        check_log(&p, others[i], R_MODSEQ);
    cap_sh(p.c, "test ! -e mail/ada/dovecot.index; test ! -e mail/ada/maildirsize; "
                "test $(cat mail/ada/dovecot-uidvalidity) = 6b039e4b");
    cap_free(p.c);
}

TEST(what_changed_since_it_was_looked_at_is_made_anew)
{
    static const char *const changes[] = {
        "echo old >" DORA "/dovecot.index",
        ": >" DORA "/dovecot-uidlist.lock; touch -d '-1 hour' " DORA "/dovecot-uidlist.lock",
        "cp -p " DORA "/dovecot-uidlist " DORA "/new; mv " DORA "/new " DORA "/dovecot-uidlist",
        "rm " DORA "/dovecot.index.log",
        "seq 100 >" DORA "/dovecot.index.log",
        "touch -d '-1 day' " DORA "/dovecot.index.log",
        "ln " DORA "/dovecot.index.log out/log",
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct prep p;
        PREP_NEEDED(p);
        prepare(&p);
        cap_sh(p.c, "%s", changes[i]);
        promote(&p, 2);
        check_log(&p, "dora", R_MODSEQ);
        check_log(&p, "carl", p.prepared.base_s << 20);
        cap_sh(p.c, "test ! -e " DORA "/dovecot.index; test ! -e " DORA "/dovecot-uidlist.lock");
        cap_free(p.c);
    }
}

TEST(a_look_makes_what_is_new_and_leaves_what_a_mail_server_wrote)
{
    struct prep p;
    PREP_NEEDED(p);
    prepare(&p);
    cap_sh(p.c, "rm mail/carl/dovecot.index.log; seq 100 >" DORA "/dovecot.index.log; cp " DORA
                "/dovecot.index.log kept");
    CHECK_INT(pass(&p), 1);
    check_log(&p, "carl", p.prepared.base_s << 20);
    cap_sh(p.c, "cmp kept " DORA "/dovecot.index.log");
    cap_sh(p.c, "rm " DORA "/dovecot.index.log");
    CHECK_INT(pass(&p), 1);
    cap_sh(p.c, "echo old >" DORA "/dovecot.index.cache"); /* what was prepared counts no more */
    CHECK_INT(pass(&p), 0);
    cap_sh(p.c, "test ! -s " DORA "/dovecot.index.log; test -e " DORA "/dovecot.index.cache");
    cap_free(p.c);
}

TEST(what_was_prepared_counts_for_one_primary_and_a_while)
{
    struct prep p;
    PREP_NEEDED(p);
    prepare(&p);
    const struct renumber_prepared good = p.prepared;
    struct renumber_prepared bad[] = { good, good, good, good, good };
    memset(&bad[0], 0, sizeof(bad[0]));
    bad[1].epoch++;
    bad[2].base_s = good.since_s;
    bad[3].seen_ns = 0;
    bad[4].clock_ns += 3600 * INT64_C(1000000000);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!renumber_prepared_holds(p.c->node, &bad[i]));
    p.prepared.history[0] ^= 1;
    CHECK(!renumber_prepared_holds(p.c->node, &p.prepared));
    CHECK_INT(pass(&p), 0); /* another history: all begins anew */
    CHECK_INT(p.prepared.seen_ns, 0);
    CHECK(p.prepared.since_s >= good.base_s);
    p.prepared = good;
    CHECK(renumber_prepared_holds(p.c->node, &p.prepared));
    cap_free(p.c);
}

TEST(a_sequence_is_made_anew_before_it_no_longer_holds)
{
    struct prep p;
    PREP_NEEDED(p);
    prepare(&p);
    uint64_t base_s = p.prepared.base_s;
    p.prepared.base_s = base_s - 200;
    p.prepared.since_s = p.prepared.base_s - 10; /* holds for 310 seconds */
    CHECK(renumber_prepared_holds(p.c->node, &p.prepared));
    CHECK_INT(pass(&p), 4);
    CHECK(p.prepared.base_s >= base_s);
    check_log(&p, "dora", p.prepared.base_s << 20);
    cap_free(p.c);
}

TEST(where_a_mail_server_may_run_nothing_is_written)
{
    struct prep p;
    PREP_NEEDED(p);
    follow(p.c, WIRE_ROLE_STANDBY, 5); /* it was demoted, and nobody was promoted since */
    CHECK_INT(pass(&p), 0);
    CHECK_INT(p.prepared.since_s, 0);
    follow(p.c, WIRE_ROLE_NONE, 4); /* it was deposed */
    CHECK_INT(pass(&p), 0);
    CHECK_INT(p.prepared.since_s, 0);
    follow(p.c, WIRE_ROLE_STANDBY, 4);
    CHECK_INT(pass(&p), 0);
    CHECK(p.prepared.since_s != 0);
    cap_free(p.c);
}

TEST(a_look_that_is_stopped_has_seen_nothing)
{
    static const atomic_bool stop = true;
    struct prep p;
    uint64_t made;
    PREP_NEEDED(p);
    CHECK_INT(pass(&p), 0);
    p.prepared.since_s -= 100;
    CHECK_INT(renumber_prepare(p.c->node, &p.prepared, &stop, &made, &p.c->e), 0);
    CHECK_INT(p.prepared.seen_ns, 0);
    CHECK(!renumber_prepared_holds(p.c->node, &p.prepared));
    cap_free(p.c);
}

/* What was put into the folder meanwhile would be taken for seen. */
TEST(a_look_that_a_folder_kept_out_has_not_seen_it)
{
    struct prep p;
    uint64_t made;
    PREP_NEEDED(p);
    prepare(&p);
    int64_t seen_ns = p.prepared.seen_ns;
    cap_sh(p.c, "cp -p " DORA "/dovecot.index.log kept; rm " DORA "/dovecot.index.log; "
                "ln -s ../../out/log " DORA "/dovecot.index.log; echo old >" DORA "/dovecot.index");
    wait_for_times();
    CHECK_INT(renumber_prepare(p.c->node, &p.prepared, &never, &made, &p.c->e), -1);
    CHECK_CONTAINS(p.c->e.text, "prepare 1 folders");
    CHECK_INT(p.prepared.seen_ns, seen_ns);
    cap_sh(p.c, "test ! -e out/log; rm " DORA "/dovecot.index.log; cp -p kept " DORA
                "/dovecot.index.log");
    promote(&p, 2);
    check_log(&p, "dora", R_MODSEQ);
    cap_sh(p.c, "test ! -e " DORA "/dovecot.index");
    cap_free(p.c);
}
