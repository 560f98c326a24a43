/* Keeping what a returned node has alone may take hours: it answers meanwhile, ends when it is told
 * to, and goes on where it was. Whole daemons, linked, on a disk that takes its time. */
#include "tests/unit/daemon_kit.h"

#include <glob.h>
#include <sys/syscall.h>

#define CHUNK  (256 * 1024)
#define CHUNKS 128 /* of the large message */

static atomic_uint chunk_ms; /* what a piece of it takes */
static atomic_uint chunks;   /* that were read */
static atomic_uint stuck;

/* In the place of the C library's. */
ssize_t
pread(int fd, void *bytes, size_t len, off_t at)
{
    char link[64], path[256] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (len == CHUNK && readlink(link, path, sizeof(path) - 1) > 0 &&
        strstr(path, "/new/2.M2") != NULL) {
        atomic_fetch_add(&chunks, 1);
        usleep(atomic_load(&chunk_ms) * 1000);
    }
    return syscall(SYS_pread64, fd, bytes, len, at);
}

static void
count_stuck(enum event_id id, const char *line, void *arg)
{
    (void)arg;
    (void)line;
    if (id == EV_SALVAGE_STUCK)
        atomic_fetch_add(&stuck, 1);
}

/* mx1 was replaced by mx2 and keeps what it took alone: a small message and a large one. */
static struct daemons *
keeping(uint64_t seed)
{
    struct daemons *n = daemons_new(2, seed);
    if (n == NULL)
        return NULL;
    atomic_store(&chunks, 0);
    atomic_store(&stuck, 0);
    atomic_store(&chunk_ms, 20);
    event_tap(count_stuck, NULL);
    daemons_part(n);
    cap_sh(n->hosts[0].c, "echo alone >mail/ada/new/1.M1");
    json_decref(host_must(&n->hosts[0], "barrier", NULL, NULL)); /* it is the first of them */
    cap_sh(n->hosts[0].c, "truncate -s %d mail/ada/tmp/2.M2 && mv mail/ada/tmp/2.M2 mail/ada/new",
           CHUNKS * CHUNK);
    json_decref(host_must(&n->hosts[1], "promote", "force", json_true()));
    daemons_link(n, 0, 1);
    while (atomic_load(&chunks) < 5)
        usleep(1000);
    return n;
}

static void
end(struct daemons *n)
{
    event_tap(NULL, NULL);
    daemons_free(n);
}

/* The small one, as it is kept. */
static ino_t
first_kept(struct host *h)
{
    char pattern[160];
    glob_t found;
    struct stat st = { 0 };
    snprintf(pattern, sizeof(pattern), "%s/.mailtwin/salvage/*/00000000", h->c->paths[2]);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    CHECK_INT(stat(found.gl_pathv[0], &st), 0);
    globfree(&found);
    return st.st_ino;
}

/* It ended, and not by coming to its end. */
static void
check_ended(void)
{
    CHECK(atomic_load(&chunks) < CHUNKS);
    CHECK_INT(atomic_load(&stuck), 0);
}

TEST(the_status_says_how_far_the_keeping_is)
{
    struct daemons *n = keeping(81);
    DAEMONS_NEEDED(n);
    json_t *status = host_must(&n->hosts[0], "status", NULL, NULL);
    const json_t *keeps = json_object_get(json_object_get(status, "salvage"), "keeping");
    CHECK_INT(json_integer_value(json_object_get(keeps, "items_total")), 2);
    CHECK_INT(json_integer_value(json_object_get(keeps, "bytes_total")), 6 + CHUNKS * CHUNK);
    json_int_t bytes = json_integer_value(json_object_get(keeps, "bytes"));
    CHECK(bytes > CHUNK && bytes < CHUNKS * CHUNK);
    json_decref(status);
    check_ended(); /* nor does the status wait for it */
    atomic_store(&chunk_ms, 0);
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    status = host_must(&n->hosts[0], "status", NULL, NULL);
    CHECK(json_is_null(json_object_get(json_object_get(status, "salvage"), "keeping")));
    json_decref(status);
    end(n);
}

TEST(a_link_that_breaks_ends_the_keeping_and_the_next_one_goes_on_with_it)
{
    struct daemons *n = keeping(82);
    DAEMONS_NEEDED(n);
    ino_t first = first_kept(&n->hosts[0]);
    daemons_cut(n, 0, 1);
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[1], "mx1", "refused");
    json_decref(host_must(&n->hosts[0], "status", NULL, NULL));
    check_ended();
    atomic_store(&chunk_ms, 0);
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    CHECK(first_kept(&n->hosts[0]) == first); /* it was not copied again */
    cap_sh(n->hosts[0].c,
           "cd mail/.mailtwin/salvage/* && grep -q alone 00000000 && "
           "test $(stat -c %%s 00000001) = %d && test ! -e copied",
           CHUNKS * CHUNK);
    CHECK_INT(atomic_load(&stuck), 0);
    end(n);
}

TEST(a_daemon_that_is_stopped_does_not_wait_until_all_is_kept)
{
    struct daemons *n = keeping(83);
    DAEMONS_NEEDED(n);
    ino_t first = first_kept(&n->hosts[0]);
    host_stop(&n->hosts[0]);
    check_ended();
    atomic_store(&chunk_ms, 0);
    host_start(&n->hosts[0]);
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    CHECK(first_kept(&n->hosts[0]) == first);
    end(n);
}

TEST(an_order_ends_the_keeping_and_nothing_is_stuck)
{
    struct daemons *n = keeping(84);
    DAEMONS_NEEDED(n);
    json_decref(host_must(&n->hosts[0], "resync", "from", json_string("mx2")));
    check_ended();
    host_wait_peer(&n->hosts[1], "mx1", "connected");
    check_ended(); /* an operator has given it up */
    end(n);
}
