/* A primary that is demoted while its sweep is in hand does not know all that it has: it looks
 * before anything of it is overwritten. Whole daemons, linked. */
#include "replicator/capture_private.h"
#include "tests/unit/daemon_kit.h"

#include <sys/syscall.h>

#define NAMES 2500 /* more than a sweep looks at in one turn */

static atomic_bool slow, stands;

/* In the place of the C library's, by which a sweep looks at names. */
int
name_to_handle_at(int fd, const char *name, struct file_handle *handle, int *mount_id, int flags)
{
    if (atomic_load(&slow) && strncmp(name, "slow-", 5) == 0) {
        atomic_store(&stands, true);
        while (atomic_load(&slow))
            usleep(1000);
    }
    return (int)syscall(SYS_name_to_handle_at, fd, name, handle, mount_id, flags);
}

static void *
demote(void *arg)
{
    host_order(arg, "demote");
    return NULL;
}

/* mx1 was off while a mail came; it is demoted in the first turn of its sweep, which comes to the
 * directory of the mail in a later one. */
static struct daemons *
demoted_amid_its_sweep(uint64_t seed)
{
    struct daemons *n = daemons_new(2, seed);
    pthread_t thread;
    if (n == NULL)
        return NULL;
    struct host *old = &n->hosts[0];
    cap_sh(old->c,
           "mkdir -p mail/a mail/z/cur mail/z/new mail/z/tmp && cd mail/a && "
           "seq -f slow-%%.0f 1 %d | xargs touch",
           NAMES);
    for (size_t i = 0; i < 2; i++)
        host_start(&n->hosts[i]);
    host_order(old, "promote");
    daemons_link(n, 0, 1);
    host_wait_peer(old, "mx2", "connected");
    host_safe_again(old);
    daemons_cut(n, 0, 1);
    host_stop(old);
    cap_sh(old->c, "touch mail/a/more && echo alone >mail/z/new/1.M1");
    atomic_store(&slow, true);
    host_start(old);
    while (!atomic_load(&stands))
        usleep(1000);
    CHECK_INT(pthread_create(&thread, NULL, demote, old), 0);
    while (!atomic_load(&old->d.capture->stop))
        usleep(1000);
    atomic_store(&slow, false);
    atomic_store(&stands, false);
    pthread_join(thread, NULL);
    return n;
}

static void
check_role(struct host *h, const char *role, const char *why)
{
    json_t *status = host_must(h, "status", NULL, NULL);
    CHECK_STR(json_string_value(json_object_get(status, "role")), role);
    if (why != NULL)
        CHECK_CONTAINS(json_string_value(json_object_get(status, "why")), why);
    json_decref(status);
}

TEST(what_a_sweep_had_not_come_to_is_kept_when_its_node_was_demoted)
{
    for (int restarted = 0; restarted < 2; restarted++) {
        struct daemons *n = demoted_amid_its_sweep(91);
        DAEMONS_NEEDED(n);
        struct host *old = &n->hosts[0], *new = &n->hosts[1];
        check_role(old, "none", "demoted before it knew");
        if (restarted != 0) {
            host_stop(old);
            host_start(old);
            check_role(old, "none", "demoted before it knew");
        }
        json_decref(host_must(new, "promote", "force", json_true()));
        daemons_link(n, 0, 1);
        host_wait_peer(new, "mx1", "connected");
        check_role(old, "standby", NULL);
        host_wait_salvage(old, "delivered", 2);
        cap_sh(new->c, "grep -q alone mail/z/*/1.M1*");
        host_safe_again(new);
        daemons_free(n);
    }
}

/* Nobody else took over: all that it has is its own. */
TEST(a_node_that_was_demoted_amid_its_sweep_is_promoted_again_without_force)
{
    struct daemons *n = demoted_amid_its_sweep(92);
    DAEMONS_NEEDED(n);
    host_order(&n->hosts[0], "promote");
    check_role(&n->hosts[0], "primary", NULL);
    daemons_link(n, 0, 1);
    host_wait_peer(&n->hosts[0], "mx2", "connected");
    host_safe_again(&n->hosts[0]);
    cap_sh(n->hosts[1].c, "grep -q alone mail/z/new/1.M1");
    daemons_free(n);
}
