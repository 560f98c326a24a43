/* What happens between the looks of one turn. */
#include "replicator/batch.h"
#include "replicator/scan.h"
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

static void
turn(struct by_hand *h, struct cap *c, struct batch *batch, struct scan *scan)
{
    compare_batch(&h->compare, h->txn, look_now_ns());
    batch->now_ms += 1000;
    batch_take_due(batch, true);
    CHECK_INT(batch_process(batch, true, &c->e), 0);
    CHECK(scan_step(scan, 1000, &c->e) >= 0);
    batch_take_again(batch);
    batch_turn_end(batch, true);
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
    struct by_hand h;
    struct batch batch;
    struct scan scan;
    struct between between;
    print_message("%s; %s\n", row->before, row->between);
    cap_sh(c, "cd mail && %s", row->before);
    by_hand_begin(&h, c);
    between_begin(&between, c, row->between);
    batch_init(&batch, &h.compare, between.watch);
    scan_init(&scan, &h.compare);
    hints_add(&batch.hints, h.root->dir, span_str(row->name), row->told);
    hints_add(&batch.hints, by_hand_dir(&h, c, "p"), span_str("dovecot-uidlist"), WATCH_CLOSED);
    turn(&h, c, &batch, &scan);
    for (unsigned more = 0; hints_count(&batch.later) > 0; more++) {
        assert_true(more < 5);
        turn(&h, c, &batch, &scan);
    }
    between_end(&between);
    CHECK_INT(state_commit(&h.txn, &c->e), 0);
    cap_check_index(c);
    scan_free(&scan);
    batch_free(&batch);
    compare_free(&h.compare);
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
        cap_free(c);
    }
}

/* --- a turn that comes to nothing --- */

TEST(what_a_turn_was_told_has_its_turn_again_when_it_could_not_be_committed)
{
    struct cap *c = begin();
    struct by_hand h;
    struct batch batch;
    CAP_NEEDED(c);
    by_hand_begin(&h, c);
    batch_init(&batch, &h.compare, NULL);
    hints_add(&batch.hints, h.root->dir, span_str("k"), WATCH_ATTRIB);
    CHECK_INT(batch_process(&batch, true, &c->e), 0);
    hints_add(&batch.hints, h.root->dir, span_str("x"), WATCH_CLOSED); /* for the next one */
    batch_turn_end(&batch, false);
    CHECK_INT(hints_what(&batch.hints, h.root->dir, span_str("x")), WATCH_CLOSED);
    batch_take_due(&batch, false);
    CHECK_INT(hints_what(&batch.hints, h.root->dir, span_str("k")), WATCH_ATTRIB);
    CHECK_INT(batch_process(&batch, true, &c->e), 0);
    batch_turn_end(&batch, true);
    CHECK_INT(hints_count(&batch.hints), 0);
    CHECK_INT(hints_count(&batch.later), 0);
    batch_free(&batch);
    by_hand_end(&h, c);
    cap_free(c);
}

/* --- what was told of an object under a name that it has no more --- */

/* The directory went after the file in it, and the file's new name comes out of the queue later. */
TEST(what_was_told_in_a_directory_that_is_gone_is_not_forgotten)
{
    struct cap *c = begin();
    struct by_hand h;
    struct batch batch;
    struct scan scan;
    CAP_NEEDED(c);
    cap_sh(c, "cd mail && setfattr -n user.a -v 1 p/f && mv p/f q && rm -r p");
    by_hand_begin(&h, c);
    batch_init(&batch, &h.compare, NULL);
    scan_init(&scan, &h.compare);
    hints_add(&batch.hints, by_hand_dir(&h, c, "p"), span_str("f"), WATCH_ATTRIB);
    turn(&h, c, &batch, &scan);
    CHECK_INT(h.compare.emitted, 0);
    hints_add(&batch.hints, h.root->dir, span_str("q"), WATCH_ARRIVED);
    turn(&h, c, &batch, &scan);
    CHECK_INT(h.compare.emitted, 2); /* rename, meta */
    batch.drained = true;
    turn(&h, c, &batch, &scan);
    CHECK_INT(hints_count(&batch.later), 0); /* and not for ever */
    scan_free(&scan);
    batch_free(&batch);
    by_hand_end(&h, c);
    cap_free(c);
}

/* --- a directory that went to another store and came back --- */

/* Its attributes change while it is there, and the event finds the row that it has there. here:
 * what is told of the name that it came back to. */
static void
check_came_back(unsigned here)
{
    struct cap *c = begin();
    struct by_hand h;
    struct batch batch;
    struct scan scan;
    CAP_NEEDED(c);
    cap_sh(c, "mv mail/p files/p");
    by_hand_begin(&h, c);
    uint64_t mail = state_root(h.txn, 0);
    uint64_t files = state_root(h.txn, 1);
    batch_init(&batch, &h.compare, NULL);
    scan_init(&scan, &h.compare);
    hints_add(&batch.hints, files, span_str("p"), WATCH_ARRIVED | WATCH_IS_DIR);
    turn(&h, c, &batch, &scan);
    CHECK_INT(h.compare.emitted, 3); /* it is made there, with two files */
    cap_sh(c, "setfattr -n user.a -v 1 files/p && mv files/p mail/p");
    hints_add(&batch.hints, files, span_str("p"), WATCH_ATTRIB | WATCH_MOVED | WATCH_IS_DIR);
    if (here != 0)
        hints_add(&batch.hints, mail, span_str("p"), here | WATCH_IS_DIR);
    turn(&h, c, &batch, &scan);
    turn(&h, c, &batch, &scan);
    CHECK_INT(h.compare.emitted, 5); /* rmtree, and meta */
    CHECK_INT(state_commit(&h.txn, &c->e), 0);
    cap_check_index(c);
    scan_free(&scan);
    batch_free(&batch);
    compare_free(&h.compare);
    cap_free(c);
}

TEST(what_was_told_of_a_directory_while_it_was_in_another_store_counts)
{
    check_came_back(WATCH_ARRIVED);
    check_came_back(0);
}
