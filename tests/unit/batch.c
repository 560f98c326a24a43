/* What happens between the looks of one turn. */
#include "replicator/batch.h"
#include "replicator/scan.h"
#include "replicator/strays.h"
#include "tests/unit/hand_kit.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>

/* --- between the two readings of the queue --- */

/* The batch reads from a pipe. When it reads for the second time, something is done in the store,
 * and what the kernel told of it goes into the pipe. */
struct between {
    const struct cap *c;
    const char *what;
    pid_t reader;
    int out;
    struct watch *watch; /* reads from the pipe */
    pthread_t thread;
};

/* Does the thread sleep in read()? */
static bool
is_reading(pid_t thread)
{
    char path[64];
    char text[64] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    CHECK(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    char *end;
    long number = strtol(text, &end, 10);
    return end != text && number == SYS_read;
}

static void *
between_run(void *arg)
{
    static char events[64 * 1024];
    const struct between *b = arg;
    int queue = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME_TARGET | FAN_NONBLOCK,
                              O_RDONLY);
    assert_true(queue >= 0);
    CHECK_INT(fanotify_mark(queue, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
                            FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_MODIFY | FAN_CLOSE_WRITE |
                                FAN_ATTRIB | FAN_ONDIR,
                            AT_FDCWD, b->c->stores[0].path),
              0);
    while (!is_reading(b->reader))
        usleep(200);
    cap_sh(b->c, "cd mail && %s", b->what);
    ssize_t len = read(queue, events, sizeof(events));
    assert_true(len > 0);
    CHECK_INT(fcntl(watch_fd(b->watch), F_SETFL, O_NONBLOCK), 0);
    CHECK_INT(write(b->out, events, (size_t)len), len);
    close(queue);
    return NULL;
}

static void
between_begin(struct between *b, const struct cap *c, const char *what)
{
    int ends[2];
    CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
    *b = (struct between){ .c = c, .what = what, .reader = gettid(), .out = ends[1] };
    b->watch = watch_adopt(ends[0]);
    CHECK_INT(pthread_create(&b->thread, NULL, between_run, b), 0);
}

static void
between_end(struct between *b)
{
    pthread_join(b->thread, NULL);
    watch_free(&b->watch);
    close(b->out);
}

/* Control files in the root, one of them a directory; x is the uidlist, too. p has one, for which
 * the queue is read a second time. */
static struct cap *
begin(void)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_sh(c, "cd mail && echo list >dovecot-uidlist && ln dovecot-uidlist x && echo k >k && "
              "mkdir dovecot-keywords p && echo f >p/f && echo list >p/dovecot-uidlist");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    return c;
}

/* Turns driven by hand: what is told in which is the test's choice. */
struct turns {
    struct cap *c;
    struct by_hand h;
    struct batch batch;
    struct scan scan;
};

/* watch: NULL when the queue is never read. */
static void
turns_begin(struct turns *t, struct cap *c, struct watch *watch)
{
    t->c = c;
    by_hand_begin(&t->h, c);
    batch_init(&t->batch, &t->h.compare, watch);
    scan_init(&t->scan, &t->h.compare);
}

/* What is in the index then is what is on the disk. */
static void
turns_end(struct turns *t)
{
    CHECK_INT(state_commit(&t->h.txn, &t->c->e), 0);
    cap_check_index(t->c);
    scan_free(&t->scan);
    batch_free(&t->batch);
    compare_free(&t->h.compare);
    cap_free(t->c);
}

static void
turn(struct turns *t)
{
    compare_batch(&t->h.compare, t->h.txn, look_now_ns());
    t->batch.now_ms += 1000;
    batch_take_due(&t->batch, true);
    CHECK_INT(batch_process(&t->batch, true, &t->c->e), 0);
    CHECK(scan_step(&t->scan, 1000, &t->c->e) >= 0);
    batch_take_again(&t->batch);
    batch_turn_end(&t->batch, true);
}

/* Until nothing is put off any more. */
static void
turns_settle(struct turns *t)
{
    for (unsigned more = 0; hints_count(&t->batch.later) > 0; more++) {
        assert_true(more < 5);
        turn(t);
    }
}

/* Something happened to a name, nobody says to which object. */
static void
hint(struct turns *t, uint64_t dir, const char *name, unsigned what)
{
    hints_add(&t->batch.hints, dir, span_str(name), what);
}

/* An event: of the name, and of the object, which is at this path of the second store now. */
static void
tell(struct turns *t, uint64_t dir, const char *name, unsigned what, const char *path)
{
    struct look look;
    uint8_t handle[WATCH_HANDLE_MAX];
    hint(t, dir, name, what);
    CHECK_INT(look_at(t->c->node->stores[1].root_fd, path, &look, &t->c->e), 0);
    struct watch_event event = { .dir = span_str("d"), .name = span_str(name), .what = what };
    event.object = compare_event_handle(&t->h.compare, 1, &look, handle);
    strays_note(&t->batch.strays, &event);
}

struct row {
    const char *before;  /* done before the first look */
    const char *name;    /* told, */
    unsigned told;       /* so */
    const char *between; /* done between the two readings */
};

static void
check_row(struct cap *c, const struct row *row)
{
    struct turns t;
    struct between between;
    print_message("%s; %s\n", row->before, row->between);
    cap_sh(c, "cd mail && %s", row->before);
    between_begin(&between, c, row->between);
    turns_begin(&t, c, between.watch);
    hint(&t, t.h.root->dir, row->name, row->told);
    hint(&t, by_hand_dir(&t.h, c, "p"), "dovecot-uidlist", WATCH_CLOSED);
    turn(&t);
    turns_settle(&t);
    between_end(&between);
    turns_end(&t);
}

TEST(what_happens_between_the_two_readings_is_recorded)
{
    static const struct row rows[] = {
        { "echo more >>dovecot-uidlist", "dovecot-uidlist", WATCH_MODIFIED, "chmod 640 x" },
        { "echo more >>dovecot-uidlist", "dovecot-uidlist", WATCH_MODIFIED, "echo more >>x" },
        { "echo more >>dovecot-uidlist", "dovecot-uidlist", WATCH_MODIFIED,
          "mv k dovecot-uidlist; chmod 640 x" },
        { "chmod 750 dovecot-keywords", "dovecot-keywords", WATCH_ATTRIB | WATCH_IS_DIR,
          "mv dovecot-keywords d; mv k dovecot-keywords" },
        { "rm dovecot-uidlist; mkdir dovecot-uidlist", "dovecot-uidlist",
          WATCH_MADE | WATCH_GONE | WATCH_IS_DIR, "chmod 750 dovecot-uidlist" },
        { "rm dovecot-uidlist; mkdir dovecot-uidlist", "dovecot-uidlist",
          WATCH_MADE | WATCH_GONE | WATCH_IS_DIR, "echo 1 >dovecot-uidlist/1" },
        { "rmdir dovecot-keywords; echo w >dovecot-keywords", "dovecot-keywords",
          WATCH_MADE | WATCH_GONE, "rm dovecot-keywords; mkdir dovecot-keywords" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        check_row(c, &rows[i]);
    }
}

/* --- a turn that comes to nothing --- */

TEST(what_a_turn_was_told_has_its_turn_again_when_it_could_not_be_committed)
{
    struct cap *c = begin();
    struct turns t;
    CAP_NEEDED(c);
    turns_begin(&t, c, NULL);
    uint64_t mail = t.h.root->dir;
    hint(&t, mail, "k", WATCH_ATTRIB);
    CHECK_INT(batch_process(&t.batch, true, &c->e), 0);
    hint(&t, mail, "x", WATCH_CLOSED); /* for the next one */
    batch_turn_end(&t.batch, false);
    CHECK_INT(hints_what(&t.batch.hints, mail, span_str("x")), WATCH_CLOSED);
    batch_take_due(&t.batch, false);
    CHECK_INT(hints_what(&t.batch.hints, mail, span_str("k")), WATCH_ATTRIB);
    CHECK_INT(batch_process(&t.batch, true, &c->e), 0);
    batch_turn_end(&t.batch, true);
    CHECK_INT(hints_count(&t.batch.hints), 0);
    CHECK_INT(hints_count(&t.batch.later), 0);
    turns_end(&t);
}

/* --- what was told of an object under a name that it has no more --- */

/* The directory went after the file in it, and the file's new name comes out of the queue later. */
TEST(what_was_told_in_a_directory_that_is_gone_is_not_forgotten)
{
    struct cap *c = begin();
    struct turns t;
    CAP_NEEDED(c);
    cap_sh(c, "cd mail && setfattr -n user.a -v 1 p/f && mv p/f q && rm -r p");
    turns_begin(&t, c, NULL);
    hint(&t, by_hand_dir(&t.h, c, "p"), "f", WATCH_ATTRIB);
    turn(&t);
    CHECK_INT(t.h.compare.emitted, 0);
    hint(&t, t.h.root->dir, "q", WATCH_ARRIVED);
    turn(&t);
    CHECK_INT(t.h.compare.emitted, 2); /* rename, meta */
    t.batch.drained = true;
    hint(&t, t.h.root->dir, "p", WATCH_GONE | WATCH_IS_DIR);
    turn(&t);
    CHECK_INT(hints_count(&t.batch.later), 0); /* and not for ever */
    turns_end(&t);
}

/* The queue is read in between, and nothing is young when it is looked at. */
TEST(what_is_told_of_a_file_behind_the_look_at_its_new_name_counts)
{
    struct cap *c = begin();
    struct turns t;
    CAP_NEEDED(c);
    cap_sh(c, "cd mail && setfattr -n user.a -v 1 p/f && mv p/f q");
    cap_grow_old();
    turns_begin(&t, c, NULL);
    hint(&t, t.h.root->dir, "q", WATCH_ARRIVED);
    turn(&t);
    CHECK_INT(t.h.compare.emitted, 1); /* rename */
    tell(&t, by_hand_dir(&t.h, c, "p"), "f", WATCH_ATTRIB | WATCH_MOVED, "../mail/q");
    turn(&t);
    turn(&t);
    CHECK_INT(t.h.compare.emitted, 2); /* meta */
    turns_end(&t);
}

/* --- a directory that went to another store and came back --- */

/* Its attributes change while it is there, and the event finds the row that it has there. here:
 * what is told of the name that it came back to. */
static void
check_came_back(unsigned here)
{
    struct cap *c = begin();
    struct turns t;
    CAP_NEEDED(c);
    cap_sh(c, "mv mail/p files/p");
    turns_begin(&t, c, NULL);
    uint64_t mail = state_root(t.h.txn, 0);
    uint64_t files = state_root(t.h.txn, 1);
    hint(&t, files, "p", WATCH_ARRIVED | WATCH_IS_DIR);
    turn(&t);
    CHECK_INT(t.h.compare.emitted, 3); /* it is made there, with two files */
    cap_sh(c, "setfattr -n user.a -v 1 files/p && mv files/p mail/p");
    hint(&t, files, "p", WATCH_ATTRIB | WATCH_MOVED | WATCH_IS_DIR);
    if (here != 0)
        hint(&t, mail, "p", here | WATCH_IS_DIR);
    turn(&t);
    turn(&t);
    CHECK_INT(t.h.compare.emitted, 5); /* rmtree, and meta */
    turns_end(&t);
}

TEST(what_was_told_of_a_directory_while_it_was_in_another_store_counts)
{
    check_came_back(WATCH_ARRIVED);
    check_came_back(0);
}

/* --- an object that two stores have a name of --- */

/* files/g goes to p/n in mail, which is looked at; files puts off the look at g. */
static void
go_to_mail(struct turns *t, uint64_t files, uint64_t p, bool changes)
{
    cap_sh(t->c, "echo g >files/g");
    cap_grow_old();
    hint(t, files, "g", WATCH_MADE | WATCH_CLOSED);
    turn(t);
    cap_sh(t->c, "mv files/g mail/p/n");
    if (changes)
        cap_sh(t->c, "setfattr -n user.a -v 1 mail/p/n");
    tell(t, p, "n", WATCH_ARRIVED | (changes ? WATCH_ATTRIB : 0u), "../mail/p/n");
    hint(t, files, "g", WATCH_MOVED);
    turn(t);
}

/* p itself goes to files, and the file comes out of it there. */
static void
come_back(struct turns *t, uint64_t files, uint64_t p, bool changes)
{
    cap_sh(t->c, "mv mail/p files/d");
    if (changes) {
        cap_sh(t->c, "setfattr -n user.a -v 1 files/d/n");
        tell(t, p, "n", WATCH_ATTRIB, "d/n");
    }
    cap_sh(t->c, "mv files/d/n files/u");
    tell(t, p, "n", WATCH_MOVED, "u");
    tell(t, files, "u", WATCH_ARRIVED, "u");
    hint(t, state_root(t->h.txn, 0), "p", WATCH_MOVED | WATCH_IS_DIR);
    hint(t, files, "d", WATCH_ARRIVED | WATCH_IS_DIR);
    turn(t);
}

/* What the journal tells of files/u. */
static unsigned
count_told(struct turns *t, enum record_op op)
{
    struct record r;
    unsigned count = 0;
    for (uint64_t seq = 1; state_record(t->h.txn, seq, &r, &t->c->e) > 0; seq = r.seq + 1)
        count += r.op == op && r.store == 1 && span_equal(r.path, span_str("u"));
    return count;
}

/* first: its attributes change in mail, before the look there; else behind it, on the way back. */
static void
check_moved_about(bool first)
{
    struct cap *c = begin();
    struct turns t;
    CAP_NEEDED(c);
    turns_begin(&t, c, NULL);
    uint64_t files = state_root(t.h.txn, 1);
    uint64_t p = by_hand_dir(&t.h, c, "p");
    go_to_mail(&t, files, p, first);
    come_back(&t, files, p, !first);
    turns_settle(&t);
    CHECK_INT(count_told(&t, OP_RENAME), 1);
    CHECK_INT(count_told(&t, OP_META), 1);
    turns_end(&t);
}

TEST(what_was_told_of_a_file_while_it_was_in_another_store_counts)
{
    check_moved_about(false);
    check_moved_about(true);
}
