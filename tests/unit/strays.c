/* What is told of an object under whatever name, and what a look at it settles. The rows of
 * compare.c show it with events. */
#include "replicator/strays.h"
#include "tests/unit/capture_kit.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static atomic_bool denied;

/* In the place of the C library's: as where a security module says no. */
int
open_by_handle_at(int mount_fd, struct file_handle *handle, int flags)
{
    if (atomic_load(&denied)) {
        errno = EACCES;
        return -1;
    }
    return (int)syscall(SYS_open_by_handle_at, mount_fd, handle, flags);
}

/* Whether an object that an event told of is to be looked at again. n: one more event, s: seen
 * under some name, u: that look came to nothing, f: the turn failed. */
static void
check_stray(struct cap *c, const char *steps, size_t again)
{
    struct compare compare;
    struct state_txn *txn;
    struct look look;
    struct hints strays;
    uint8_t handle[WATCH_HANDLE_MAX];
    cap_open(c);
    compare_init(&compare, c->node);
    CHECK_INT(state_begin(c->node->state, true, &txn, &c->e), 0);
    compare_batch(&compare, txn, look_now_ns());
    hints_init(&strays);
    CHECK_INT(look_at(c->node->stores[0].root_fd, "f", &look, &c->e), 0);
    struct watch_event event = { .dir = span_str("a"),
                                 .name = span_str("x"),
                                 .what = WATCH_ATTRIB };
    event.object = compare_event_handle(&compare, 0, &look, handle);
    for (const char *step = steps; *step != '\0'; step++) {
        if (*step == 'n')
            strays_note(&strays, &event);
        else if (*step == 'f')
            strays_again(&strays);
        else
            strays_seen(&strays, event.object, *step == 's');
    }
    CHECK_INT(strays_settle(&strays, &compare, &c->e), 0);
    CHECK_INT(hints_count(&compare.again), again);
    if (atomic_load(&denied) && attrs_handle_ino(attrs_handle_span(&look.handle)) != 0)
        CHECK_INT(hints_what(&compare.unknown, state_root(txn, 0), span_str("f")),
                  WATCH_ATTRIB | WATCH_MODIFIED);
    hints_free(&strays);
    compare_free(&compare);
    state_abort(&txn);
    cap_stop(c);
}

/* image_mb: on ext4, whose handles tell the inode number. */
static void
check_strays_on(const char *image_mb)
{
    struct cap *c = cap_new_on(image_mb);
    CAP_NEEDED(c);
    cap_sh(c, "echo x >mail/f");
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "chmod 640 mail/f");
    check_stray(c, "", 0);
    check_stray(c, "n", 1);
    check_stray(c, "s", 0);
    check_stray(c, "ns", 0);
    check_stray(c, "nsn", 1);
    check_stray(c, "nsns", 0);
    check_stray(c, "nsu", 1);
    check_stray(c, "u", 0);
    check_stray(c, "nsf", 1);
    atomic_store(&denied, true); /* holds up nothing else */
    check_stray(c, "n", 0);
    atomic_store(&denied, false);
    cap_free(c);
}

TEST(an_object_is_looked_at_again_for_what_was_told_since_the_look)
{
    check_strays_on(NULL);
    check_strays_on("64");
}

static void
check_number(struct cap *c, const char *name, bool tells)
{
    struct look look;
    cap_sh(c, "touch %s", name);
    cap_open(c);
    CHECK_INT(look_at(c->node->stores[0].root_fd, "f", &look, &c->e), 0);
    CHECK_INT(attrs_handle_ino(attrs_handle_span(&look.handle)), tells ? look.ino : 0);
    cap_free(c);
}

TEST(the_number_in_a_handle_is_the_objects_or_not_told)
{
    struct cap *c = cap_new_on("64");
    CAP_NEEDED(c);
    check_number(c, "mail/f", true);
    check_number(cap_new(), "mail/f", false); /* tmpfs keeps it elsewhere */
    CHECK_INT(attrs_handle_ino(span_str("")), 0);
    CHECK_INT(attrs_handle_ino(span_of("\1\0\0\0\5\0\0\0", 8)), 0); /* cut short */
}
