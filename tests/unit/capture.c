#include "tests/unit/capture_kit.h"

#include "replicator/capture_private.h"

#include <signal.h>
#include <sys/resource.h>

/* Events of the program itself, by number of the table. */
static atomic_uint events[EV_COUNT];

static void
count_event(enum event_id id, const char *line, void *arg)
{
    (void)line;
    (void)arg;
    atomic_fetch_add(&events[id], 1);
}

static void
watch_events(void)
{
    for (size_t i = 0; i < EV_COUNT; i++)
        atomic_store(&events[i], 0);
    event_init("test", EVENT_INFO);
    event_tap(count_event, NULL);
}

static struct cap *
begin_on(const char *image_mb)
{
    struct cap *c = cap_new_on(image_mb);
    if (c == NULL)
        return NULL;
    watch_events();
    cap_sh(c, "mkdir -p mail/ada/cur mail/ada/new mail/ada/tmp && echo hello >mail/ada/cur/1");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    return c;
}

static struct cap *
begin(void)
{
    return begin_on(NULL);
}

static struct state_meta
meta_of(struct cap *c)
{
    struct state_txn *txn;
    assert_int_equal(state_begin(c->node->state, false, &txn, &c->e), 0);
    struct state_meta meta = *state_meta(txn);
    state_abort(&txn);
    return meta;
}

static enum capture_phase
phase(struct cap *c)
{
    struct capture_status status;
    capture_status(c->capture, &status);
    return status.phase;
}

/* --- reading, barriers --- */

TEST(the_first_reading_fills_the_index_and_records_nothing)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    cap_sh(c, "mkdir -p mail/a/b/c files/x && seq 5000 | (cd mail/a/b/c; xargs touch) && "
              "ln mail/a/b/c/1 mail/a/1 && ln -s x files/l && mkfifo files/x/p");
    cap_open(c);
    CHECK_INT(meta_of(c).indexed, 0);
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(phase(c), CAPTURE_LIVE);
    cap_check_records(c, "");
    CHECK_INT(cap_check_index(c), 5000 + 3 + 1 + 3);
    CHECK_INT(meta_of(c).indexed, 1);
    CHECK_INT(meta_of(c).tail, 0);
    cap_free(c);
}

TEST(a_first_reading_that_was_broken_off_is_completed)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    cap_sh(c, "mkdir -p mail/a/b mail/c && seq 9000 | (cd mail/a/b; xargs touch) && "
              "seq 3000 | (cd mail/c; xargs touch)");
    for (int i = 0; i < 4; i++) {
        cap_start(c);
        cap_stop(c); /* in the middle: it is far from through */
    }
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(cap_check_index(c), 12003);
    CHECK_INT(meta_of(c).indexed, 1);
    cap_free(c);
}

static void
note_tail(void *arg, uint64_t tail)
{
    atomic_store((atomic_uint_fast64_t *)arg, tail);
}

TEST(a_barrier_covers_all_that_happened_before_it)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_stop(c);
    cap_open(c);
    atomic_uint_fast64_t tail;
    atomic_init(&tail, 0);
    CHECK_INT(capture_start(c->node, -1, note_tail, &tail, &c->capture, &c->e), 0);
    char path[160];
    for (unsigned i = 1; i <= 300; i++) {
        snprintf(path, sizeof(path), "%s/ada/new/%u", c->stores[0].path, i);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        CHECK(fd >= 0);
        CHECK_INT(write(fd, "x", 1), 1);
        if (i % 3 != 0)
            close(fd);
        cap_barrier(c); /* what is still open counts too */
        CHECK(meta_of(c).tail >= i);
        CHECK_INT(capture_tail(c->capture), meta_of(c).tail);
        CHECK_INT(atomic_load(&tail), meta_of(c).tail);
        if (i % 3 == 0)
            close(fd);
    }
    cap_barrier(c);
    CHECK_INT(cap_check_index(c), 305);
    cap_free(c);
}

static void
count_commit(void *arg, uint64_t tail)
{
    (void)tail;
    atomic_fetch_add((atomic_uint *)arg, 1);
}

TEST(under_steady_load_changes_share_commits)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_stop(c);
    cap_open(c);
    atomic_uint commits;
    atomic_init(&commits, 0);
    CHECK_INT(capture_start(c->node, -1, count_commit, &commits, &c->capture, &c->e), 0);
    cap_barrier(c);
    char path[160];
    uint64_t begun_ms = capture_now_ms();
    uint64_t before = capture_tail(c->capture);
    atomic_store(&commits, 0);
    for (unsigned i = 1; i <= 300; i++) {
        snprintf(path, sizeof(path), "%s/ada/new/%u", c->stores[0].path, i);
        CHECK_INT(mkfifo(path, 0600), 0);
        nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL); /* the load: 3,000 a second */
    }
    cap_barrier(c);
    uint64_t passed_ms = capture_now_ms() - begun_ms + 1;
    CHECK_INT(capture_tail(c->capture) - before, 300);
    CHECK(atomic_load(&commits) <= passed_ms * 1000000 / PACE_GAP_NS + PACE_BURST + 2);
    cap_free(c);
}

TEST(one_emptying_of_the_queue_serves_all_who_wait)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    sem_t answered;
    sem_init(&answered, 0, 0);
    cap_hold(c);
    cap_sh(c, "echo x >mail/ada/new/2");
    for (unsigned i = 0; i < 100; i++)
        capture_barrier(c->capture, cap_answered, &answered);
    sem_post(&c->go);
    for (unsigned i = 0; i < 100; i++)
        cap_wait(&answered);
    CHECK_INT(capture_settle(c->capture, false), 1);
    cap_check_records(c, "put ada/new/2\n");
    sem_destroy(&answered);
    cap_free(c);
}

TEST(a_name_is_recorded_again_on_demand)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    static const struct {
        const char *path;
        bool is_dir;
    } forced[] = { { "ada/cur/1", false },    { "ada/cur", true },
                   { "ada/none", false },     { "ada/nodir", true },
                   { "nowhere/none", false }, { "ada/tmp/1.x", false },
                   { "ada/x.lock", false },   { "", true } };
    cap_hold(c);
    for (size_t i = 0; i < ARRAY_LEN(forced); i++) {
        struct wire_need need = { .path = span_str(forced[i].path), .is_dir = forced[i].is_dir };
        need.seq = capture_tail(c->capture);
        CHECK_INT(capture_need(c->capture, &need, &c->e), 0);
    }
    cap_release(c);
    cap_check_records(c,
                      "meta \nput ada/cur/1\nmkdir ada/cur\nunlink ada/none\nrmtree ada/nodir\n");
    cap_free(c);
}

TEST(what_is_noted_of_a_peer_is_kept_with_the_journal)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    capture_note_peer(c->capture, "peer/mx2", span_str("here"));
    cap_barrier(c);
    struct state_txn *txn;
    struct span value;
    CHECK_INT(state_begin(c->node->state, false, &txn, &c->e), 0);
    CHECK_INT(state_get(txn, "peer/mx2", &value, &c->e), 1);
    CHECK(span_equal(value, span_str("here")));
    state_abort(&txn);
    cap_free(c);
}

/* --- events that are lost --- */

static unsigned
queue_max(void)
{
    unsigned max = 0;
    FILE *file = fopen("/proc/sys/fs/fanotify/max_queued_events", "r");
    assert_non_null(file);
    CHECK_INT(fscanf(file, "%u", &max), 1);
    fclose(file);
    return max;
}

TEST(what_the_kernel_dropped_is_found_by_a_sweep)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "mkdir mail/b mail/old && echo x >mail/b/gone && echo x >mail/b/changed && "
              "echo x >mail/old/kept && cp mail/b/gone mail/ada/new/2");
    cap_grow_old();
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    cap_hold(c);
    cap_sh(c, "mkdir mail/many && cd mail/many && seq %u | xargs touch", queue_max());
    cap_sh(c, "rm mail/b/gone && echo more >>mail/b/changed && mv mail/old mail/b/young && "
              "mv mail/ada/new/2 mail/ada/cur/2 && mkdir -p mail/d/e && echo x >mail/d/e/f");
    cap_release(c); /* the barrier waits for the sweep */
    CHECK(atomic_load(&events[EV_OVERFLOW]) >= 1);
    CHECK(cap_check_index(c) > queue_max());
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "rename old > b/young\n");
    CHECK_CONTAINS((const char *)text.ptr, "rename ada/new/2 > ada/cur/2\n");
    CHECK_CONTAINS((const char *)text.ptr, "put b/changed\n");
    CHECK_CONTAINS((const char *)text.ptr, "unlink b/gone\n");
    CHECK(strstr((const char *)text.ptr, "rmtree") == NULL);
    cap_free(c);
}

TEST(a_barrier_waits_for_a_sweep_that_has_not_begun)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_sh(c, "mkdir mail/b && touch mail/b/1");
    cap_grow_old();
    cap_barrier(c);
    cap_hold(c);
    /* A tree to be read, and while it is being read the queue runs over. */
    cap_sh(c, "mkdir out/t && cd out/t && seq 9000 | xargs touch && mv ../t ../../mail/t");
    cap_sh(c, "mkdir out/u && cd out/u && seq %u | xargs touch; rm ../../mail/b/1", queue_max());
    cap_release(c);
    cap_check_index(c);
    cap_free(c);
}

/* --- a journal that cannot be written --- */

static void
fill_state(const struct cap *c)
{
    cap_sh(c, "cat /dev/zero >../state/filler 2>/dev/null; test -s ../state/filler");
}

static void
wait_phase(struct cap *c, enum capture_phase wanted)
{
    for (unsigned turns = 0; phase(c) != wanted; turns++) {
        CHECK(turns < 6000);
        usleep(10000);
    }
}

TEST(a_full_journal_stops_nothing_and_catches_up)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    watch_events();
    CHECK_INT(mount("none", c->paths[0], "tmpfs", 0, "size=2m"), 0);
    cap_sh(c, "mkdir -p mail/ada/cur && echo hello >mail/ada/cur/1 && echo x >mail/ada/cur/2");
    cap_start(c);
    cap_barrier(c);
    cap_sh(c, "echo x >mail/ada/cur/before");
    cap_barrier(c);
    fill_state(c);
    cap_sh(c, "cd mail/ada/cur && seq -f m%%g 2000 | xargs touch && mv 1 one && rm 2");
    wait_phase(c, CAPTURE_STALLED);
    struct capture_status status;
    capture_status(c->capture, &status);
    CHECK_CONTAINS(status.text, "No space left on device");
    CHECK_INT(status.tail, capture_settle(c->capture, false)); /* nobody hangs who only asks */
    cap_sh(c, "mkdir mail/ada/new && mv mail/ada/cur/m1 mail/ada/new/m1");
    CHECK_INT(atomic_load(&events[EV_JOURNAL_STALLED]), 1);
    cap_sh(c, "rm ../state/filler");
    cap_barrier(c);
    CHECK_INT(phase(c), CAPTURE_LIVE);
    CHECK_INT(atomic_load(&events[EV_JOURNAL_RESUMED]), 1);
    CHECK_INT(cap_check_index(c), 2000 + 5);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "rename ada/cur/1 > ada/cur/one\n");
    CHECK_CONTAINS((const char *)text.ptr, "unlink ada/cur/2\n");
    capture_stop(&c->capture);
    node_free(&c->node);
    CHECK_INT(umount2(c->paths[0], MNT_DETACH), 0);
    cap_free(c);
}

/* The turn that ends the first reading is too large for the disk, and is made up for by a sweep. */
TEST(a_first_reading_whose_end_could_not_be_written_is_not_repeated)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    watch_events();
    CHECK_INT(mount("none", c->paths[0], "tmpfs", 0, "size=2m"), 0);
    cap_sh(c, "mkdir mail/d && cd mail/d && seq -f m%%g 1500 | xargs touch");
    cap_open(c);
    node_free(&c->node); /* there is a state now */
    fill_state(c);
    cap_sh(c, "truncate -s -64K ../state/filler");
    cap_start(c);
    wait_phase(c, CAPTURE_STALLED);
    cap_sh(c, "rm ../state/filler");
    cap_barrier(c);
    CHECK_INT(cap_check_index(c), 1500 + 1);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    cap_stop(c);
    cap_sh(c, "echo x >mail/d/while-it-was-down");
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(atomic_load(&events[EV_JOURNAL_STALLED]), 1);
    cap_check_records(c, "put d/while-it-was-down\n");
    capture_stop(&c->capture);
    node_free(&c->node);
    CHECK_INT(umount2(c->paths[0], MNT_DETACH), 0);
    cap_free(c);
}

static void
let_write(rlim_t bytes)
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* No directory's time tells of it. */
TEST(what_was_told_while_the_journal_could_not_be_written_is_recorded_when_it_can)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    signal(SIGXFSZ, SIG_IGN);
    cap_sh(c, "cd mail && mkdir d && echo x >d/1 && echo x >d/2 && ln d/2 d/3");
    cap_grow_old();
    cap_start(c);
    cap_barrier(c);
    let_write(1);
    cap_sh(c, "chmod 640 mail/d/1 && ln mail/d/2 out/x && setfattr -n user.a -v 1 out/x");
    wait_phase(c, CAPTURE_STALLED);
    let_write(RLIM_INFINITY);
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "meta d/1\n");
    CHECK_CONTAINS((const char *)text.ptr, "meta d/3\n"); /* one of its two names */
    cap_free(c);
}

TEST(a_stop_while_the_journal_is_full_is_not_clean)
{
    struct cap *c = cap_new();
    CAP_NEEDED(c);
    CHECK_INT(mount("none", c->paths[0], "tmpfs", 0, "size=2m"), 0);
    cap_sh(c, "mkdir -p mail/ada/cur");
    cap_start(c);
    cap_barrier(c);
    fill_state(c);
    cap_sh(c, "cd mail/ada/cur && seq 3000 | xargs touch");
    wait_phase(c, CAPTURE_STALLED);
    cap_stop(c);
    cap_sh(c, "rm ../state/filler");
    cap_open(c);
    CHECK_INT(meta_of(c).clean, 0);
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(cap_check_index(c), 3002);
    cap_stop(c);
    CHECK_INT(umount2(c->paths[0], MNT_DETACH), 0);
    cap_free(c);
}

/* --- stop and start --- */

static unsigned
sweeps(void)
{
    return atomic_load(&events[EV_SWEEP_BEGIN]);
}

TEST(a_clean_stop_with_evidence_needs_no_sweep)
{
    struct cap *c = begin_on("32");
    CAP_NEEDED(c);
    cap_hold(c);
    cap_sh(c, "echo x >mail/ada/new/2");
    sem_post(&c->go); /* the stop itself must see it */
    cap_stop(c);
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(sweeps(), 0);
    cap_check_records(c, "put ada/new/2\n");

    cap_stop(c);
    cap_sh(c, "mv mail/ada/new/2 mail/ada/cur/2");
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(sweeps(), 1);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "rename ada/new/2 > ada/cur/2\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(evidence_counts_once_and_only_where_a_device_gives_it)
{
    struct cap *c = begin_on("32");
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "rm ../run/evidence");
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(sweeps(), 1);
    cap_stop(c);
    cap_start(c);
    CHECK(access(c->paths[1], F_OK) == 0);
    cap_sh(c, "test ! -e ../run/evidence"); /* used up */
    CHECK_INT(sweeps(), 1);
    cap_free(c);

    c = begin(); /* tmpfs: no device */
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "test ! -e ../run/evidence");
    cap_start(c);
    cap_barrier(c);
    CHECK_INT(sweeps(), 1);
    cap_free(c);
}

static void *
stop_it(void *arg)
{
    struct cap *c = arg;
    capture_stop(&c->capture);
    return NULL;
}

static size_t
orders_waiting(struct capture *capture)
{
    size_t count = 0;
    pthread_mutex_lock(&capture->lock);
    for (const struct request *r = capture->queue; r != NULL; r = r->next)
        count++;
    pthread_mutex_unlock(&capture->lock);
    return count;
}

TEST(what_happens_behind_the_last_look_of_a_clean_stop_is_found_by_the_next_start)
{
    struct cap *c = begin_on("32");
    CAP_NEEDED(c);
    pthread_t thread;
    struct capture *capture = c->capture;
    cap_hold(c);
    capture_barrier(c->capture, cap_stand, c);
    CHECK_INT(pthread_create(&thread, NULL, stop_it, c), 0);
    while (orders_waiting(capture) < 2) /* both are answered in one turn, the stop's first */
        usleep(1000);
    sem_post(&c->go);
    cap_wait(&c->held);
    cap_sh(c, "echo x >mail/ada/new/late");
    sem_post(&c->go);
    CHECK_INT(pthread_join(thread, NULL), 0);
    node_free(&c->node);
    cap_start(c);
    cap_barrier(c);
    cap_check_records(c, "put ada/new/late\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(a_queue_that_outlived_the_daemon_is_gone_on_with)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    int fd = fcntl(capture_watch_fd(c->capture), F_DUPFD_CLOEXEC, 0);
    CHECK(fd >= 0);
    cap_stop(c);
    cap_sh(c, "mv mail/ada/cur/1 mail/ada/cur/1:2,S && mkdir mail/d && echo x >mail/d/f");
    cap_open(c);
    CHECK_INT(capture_start(c->node, fd, NULL, NULL, &c->capture, &c->e), 0);
    CHECK_INT(phase(c), CAPTURE_LIVE);
    cap_barrier(c);
    CHECK_INT(sweeps(), 0);
    cap_check_records(c, "rename ada/cur/1 > ada/cur/1:2,S\nmkdir d\nput d/f\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(another_directory_in_the_place_of_a_store_is_refused)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_stop(c);
    cap_sh(c, "mv mail elsewhere && mkdir mail");
    cap_open(c);
    CHECK_INT(capture_start(c->node, -1, NULL, NULL, &c->capture, &c->e), -1);
    CHECK_INT(c->e.code, ERR_REFUSED);
    CHECK_CONTAINS(c->e.text, "is not the directory that was replicated so far");
    node_free(&c->node);
    cap_sh(c, "rmdir mail && mv elsewhere mail");
    cap_start(c);
    cap_barrier(c);
    cap_check_records(c, "");
    cap_free(c);
}
