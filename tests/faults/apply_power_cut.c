/* Power cuts on real filesystems, before the n-th call that changes one, n rising.
 *
 * A child applies the history on an image and stops before its n-th call; the filesystem is shut
 * down there and then (what is not on the image now never gets there), the image is mounted again,
 * which replays its journal, and the history is received again from the last run that had been
 * acknowledged. Two kinds of cut: with the filesystem's log as it is on the disk, and with the log
 * written out first and the data not, as if its commit had just come: names without contents. */
#include "lib/os/fault.h"
#include "replicator/apply_private.h"
#include "tests/faults/apply_history.h"
#include "tests/faults/retained_kit.h"

#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef MAILTWIN_FAULTS

TEST(apply_survives_power_cuts)
{
    print_message("SKIP: built without fault points (asan, tsan and cover have them)\n");
    skip();
}

#else

/* ext4 and xfs have this in common */
#define IOC_SHUTDOWN     _IOR('X', 125, uint32_t)
#define SHUTDOWN_LOGGED  1u /* write the log first */
#define SHUTDOWN_AT_ONCE 2u

#define CUTS 36 /* for each filesystem and kind, unless MAILTWIN_LONG is set */

static char folder[] = "/tmp/mailtwin-power-XXXXXX";

struct place {
    const char *name, *make; /* make: the command that makes the filesystem */
    const char *size;
};

static const struct place ext4 = { "ext4",
                                   "mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0",
                                   "64M" };
static const struct place xfs = { "xfs", "mkfs.xfs -q -f", "320M" };

__attribute__((format(printf, 1, 2))) static void
run(const char *fmt, ...)
{
    char command[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* Everything is mounted in a namespace of our own, so that mounts and loop devices go with us. */
static void
set_up(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("SKIP: needs root\n");
        skip();
    }
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    test_scratch(folder);
    assert_int_equal(mount("none", folder, "tmpfs", 0, NULL), 0);
    run("mkdir %s/m", folder);
}

static void
tear_down(void)
{
    assert_int_equal(umount2(folder, 0), 0);
    assert_int_equal(rmdir(folder), 0);
}

static int
mount_image(void)
{
    /* noatime: looking must not make dirty what a sync then writes by luck */
    run("mount -o loop,noatime %s/image %s/m", folder, folder);
    char path[64];
    snprintf(path, sizeof(path), "%s/m", folder);
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    return root;
}

static void
unmount_image(int root)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/m", folder);
    close(root);
    assert_int_equal(umount2(path, 0), 0);
}

/* --- the one that loses its power --- */

static void
stop(const char *where)
{
    (void)where;
    raise(SIGSTOP);
}

static bool no_unnamed; /* as on a filesystem without O_TMPFILE */
static bool retaining;
static struct retain *retain; /* while an engine is open */

static int
open_engine(struct apply **ret_apply, struct err *e)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/m", folder);
    retain = retaining ? retain_all(path) : NULL;
    struct apply_store store = { .path = path, .retain = retain };
    int r = apply_open(&store, 1, 2, ret_apply, e);
    if (r == 0 && no_unnamed)
        (*ret_apply)->roots[0].unnamed_max = 0;
    return r;
}

static void
close_engine(struct apply **apply)
{
    apply_free(apply);
    retain_free(&retain);
}

/* Applies everything and writes one byte to ack for each run that is durable. */
static int
apply_all(int ack)
{
    struct apply *apply;
    struct err e;
    if (open_engine(&apply, &e) < 0)
        return 1;
    for (unsigned i = 1; i <= HISTORY_RUNS; i++) {
        if (send_run(apply, i, check_not_needed, NULL, &e) < 0 || write(ack, "a", 1) != 1)
            return 1;
    }
    close_engine(&apply);
    return 0;
}

static pid_t
start(uint64_t at, int (*body)(int ack), int ack)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct fault_plan plan = { .kind = FAULT_HOOK, .at = at, .hook = stop };
    fault_arm(&plan);
    _exit(body(ack));
}

/* Runs it until it stops, and cuts the power. Returns the runs acknowledged; *ret_through: it came
 * to its end before. */
static unsigned
cut(int (*body)(int ack), uint64_t at, uint32_t kind, bool *ret_through)
{
    int root = mount_image();
    int acks[2];
    assert_int_equal(pipe2(acks, O_CLOEXEC), 0);
    pid_t pid = start(at, body, acks[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    *ret_through = !WIFSTOPPED(status);
    if (*ret_through)
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(ioctl(root, IOC_SHUTDOWN, &kind), 0);
    if (!*ret_through) {
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    close(acks[1]);
    char bytes[HISTORY_RUNS + 1];
    ssize_t acked = read(acks[0], bytes, sizeof(bytes));
    assert_true(acked >= 0);
    close(acks[0]);
    unmount_image(root);
    return (unsigned)acked;
}

/* --- what is left --- */

static size_t
steps_of(unsigned runs)
{
    size_t steps = 0;
    while (steps < HISTORY_STEPS && history[steps].run <= runs)
        steps++;
    return steps;
}

/* Is it the tree after so many steps, or on the way to the next? A folder in the way of a rename
 * goes aside first. */
static bool
is_after(struct tree *got, size_t steps)
{
    struct tree want = tree_after(steps);
    if (tree_same(&want, got, false))
        return true;
    if (steps == HISTORY_STEPS || history[steps].op != OP_RENAME)
        return false;
    tree_remove(&want, history[steps].path);
    return tree_same(&want, got, false);
}

static void
check_survivor(int root, unsigned acked, const char *where)
{
    struct tree got = { .count = 0 };
    tree_read(root, "", &got); /* fails on a partial message */
    for (size_t steps = steps_of(acked); steps <= HISTORY_STEPS; steps++) {
        if (is_after(&got, steps))
            return;
    }
    tree_print("found", &got);
    fail_msg("%s: what %u acknowledged runs made is not there", where, acked);
}

static void
receive_again(unsigned first, const char *where)
{
    struct apply *apply;
    struct err e;
    if (open_engine(&apply, &e) < 0)
        fail_msg("%s: %s", where, e.text);
    for (unsigned i = first; i <= HISTORY_RUNS; i++) {
        if (send_run(apply, i, check_not_needed, NULL, &e) < 0)
            fail_msg("%s: run %u: %s", where, i, e.text);
    }
    close_engine(&apply);
}

/* One cut; false when the history was through before it. */
static bool
cut_and_check(const struct place *fs, uint64_t at, uint32_t kind)
{
    run("cp --sparse=always %s/%s %s/image", folder, fs->name, folder);
    bool through;
    unsigned acked = cut(apply_all, at, kind, &through);
    char where[64];
    snprintf(where, sizeof(where), "%s, call %ju, %s", fs->name, (uintmax_t)at,
             kind == SHUTDOWN_LOGGED ? "log written" : "at once");
    int root = mount_image();
    check_survivor(root, acked, where);
    /* every other time the last ack is lost too: that run comes once more */
    receive_again(at % 2 == 0 && acked > 0 ? acked : acked + 1, where);
    tree_check_end(root, where);
    if (retaining)
        check_retained(root, false, where);
    unmount_image(root);
    return !through;
}

static uint64_t
count_calls(const struct place *fs, int (*body)(int ack))
{
    run("cp --sparse=always %s/%s %s/image", folder, fs->name, folder);
    int root = mount_image();
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct fault_plan plan = { .kind = FAULT_COUNT };
    fault_arm(&plan);
    assert_int_equal(body(null), 0);
    uint64_t calls = fault_disarm(NULL);
    if (retaining)
        check_retained(root, false, "no cut");
    close(null);
    unmount_image(root);
    return calls;
}

static void
make_filesystem(const struct place *fs)
{
    set_up();
    run("truncate -s %s %s/%s && %s %s/%s", fs->size, folder, fs->name, fs->make, folder, fs->name);
}

static void
cut_everywhere(const struct place *fs)
{
    make_filesystem(fs);
    uint64_t calls = count_calls(fs, apply_all);
    assert_true(calls > 2 * (uint64_t)HISTORY_STEPS);
    uint64_t step = getenv("MAILTWIN_LONG") != NULL ? 1 : calls / CUTS;
    for (uint64_t at = 1; cut_and_check(fs, at, SHUTDOWN_AT_ONCE); at += step)
        continue;
    for (uint64_t at = 1 + step / 2; cut_and_check(fs, at, SHUTDOWN_LOGGED); at += step)
        continue;
    tear_down();
}

/* --- a sync's run: more contents than are waited for one by one --- */

#define MANY 130

static const char *
name_of_many(unsigned i)
{
    static char name[16];
    snprintf(name, sizeof(name), "many%u", i);
    return name;
}

static int
put_fix_up(struct apply *apply, unsigned i, struct err *e)
{
    static uint8_t bytes[9000];
    memset(bytes, (int)(i + 1), sizeof(bytes));
    struct attr now = { .mode = S_IFREG | 0600, .size = sizeof(bytes), .mtime_ns = HISTORY_MTIME };
    struct wire_rec rec = { .record = { .op = OP_PUT, .path = span_str(name_of_many(i)) } };
    rec.content = WIRE_CONTENT_DATA;
    rec.record.attr = rec.now = now;
    struct wire_data data = { .bytes = span_of(bytes, sizeof(bytes)) };
    struct wire_end end = { .size = sizeof(bytes), .crc = crc32c(data.bytes), .ok = 1 };
    if (apply_rec(apply, &rec, e) < 0 || apply_data(apply, &data, e) < 0)
        return -1;
    return apply_end(apply, &end, e);
}

static int
fix_up_many(int ack)
{
    struct apply *apply;
    struct err e;
    if (open_engine(&apply, &e) < 0)
        return 1;
    for (unsigned i = 0; i < MANY; i++) {
        if (put_fix_up(apply, i, &e) < 0)
            return 1;
    }
    if (apply_commit(apply, check_not_needed, NULL, &e) < 0 || write(ack, "a", 1) != 1)
        return 1;
    close_engine(&apply);
    return 0;
}

static void
check_many(int root, bool acked, const char *where)
{
    for (unsigned i = 0; i < MANY; i++) {
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        struct err e;
        int found = file_read(root, name_of_many(i), 1 << 20, &text, &len, &e);
        if (found == 0 && !acked)
            continue;
        if (found <= 0 || len != 9000)
            fail_msg("%s: %s is %s", where, name_of_many(i), found == 1 ? "not whole" : "missing");
        for (size_t at = 0; at < len; at++)
            assert_int_equal((uint8_t)text[at], i + 1);
    }
}

static bool
cut_many(const struct place *fs, uint64_t at, uint32_t kind)
{
    run("cp --sparse=always %s/%s %s/image", folder, fs->name, folder);
    bool through;
    unsigned acked = cut(fix_up_many, at, kind, &through);
    char where[64];
    snprintf(where, sizeof(where), "%s, call %ju, %s", fs->name, (uintmax_t)at,
             kind == SHUTDOWN_LOGGED ? "log written" : "at once");
    int root = mount_image();
    check_many(root, acked > 0, where);
    unmount_image(root);
    return !through;
}

static void
cut_many_everywhere(const struct place *fs)
{
    make_filesystem(fs);
    uint64_t calls = count_calls(fs, fix_up_many);
    assert_true(calls > 4 * (uint64_t)MANY);
    uint64_t first = calls - 3 * MANY / 2; /* about when the first gets its name */
    uint64_t step = getenv("MAILTWIN_LONG") != NULL ? 1 : MANY / 6;
    for (uint64_t at = first; cut_many(fs, at, SHUTDOWN_AT_ONCE); at += step)
        continue;
    for (uint64_t at = first + step / 2; cut_many(fs, at, SHUTDOWN_LOGGED); at += step)
        continue;
    tear_down();
}

TEST(many_contents_of_one_run_are_whole_or_absent_after_power_cuts)
{
    cut_many_everywhere(&ext4);
    cut_many_everywhere(&xfs);
}

/* --- the daemon dies first, and the power goes after it has acknowledged --- */

/* A fix-up: no marker says whether it was done. Writes one byte when it is durable. */
static int
fix_up(int ack)
{
    struct apply *apply;
    struct err e;
    struct wire_rec rec = { .record = { .op = OP_UNLINK, .path = span_str("a") } };
    if (open_engine(&apply, &e) < 0 || apply_rec(apply, &rec, &e) < 0 ||
        apply_commit(apply, check_not_needed, NULL, &e) < 0 || write(ack, "a", 1) != 1)
        return 1;
    close_engine(&apply);
    return 0;
}

/* Kills it before its at-th call, does it again and cuts the power; false when it was through. */
static bool
die_and_cut(const struct place *fs, uint64_t at)
{
    run("cp --sparse=always %s/%s %s/image", folder, fs->name, folder);
    int root = mount_image();
    run("touch %s/m/a && sync -f %s/m", folder, folder);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t pid = start(at, fix_up, null);
    int status;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    bool stopped = WIFSTOPPED(status);
    if (stopped) {
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    assert_int_equal(fix_up(null), 0);
    uint32_t kind = SHUTDOWN_AT_ONCE;
    assert_int_equal(ioctl(root, IOC_SHUTDOWN, &kind), 0);
    unmount_image(root);
    root = mount_image();
    if (faccessat(root, "a", F_OK, 0) == 0)
        fail_msg("%s, call %ju: what was acknowledged is not there", fs->name, (uintmax_t)at);
    unmount_image(root);
    close(null);
    return stopped;
}

static void
die_everywhere(const struct place *fs)
{
    make_filesystem(fs);
    uint64_t at = 1;
    while (die_and_cut(fs, at))
        at++;
    assert_true(at > 3);
    tear_down();
}

TEST(apply_makes_durable_what_a_dead_daemon_had_done_before_it_acknowledges_it)
{
    die_everywhere(&ext4);
    die_everywhere(&xfs);
}

/* --- each operation alone, without the marker whose sync covers much --- */

static const struct step base[] = {
    { 1, OP_MKDIR, "d", NULL, 0, false }, { 1, OP_PUT, "d/x", NULL, 1, false },
    { 1, OP_PUT, "a", NULL, 2, false },   { 1, OP_SYMLINK, "s", "a", 3, false },
    { 1, OP_PUT, "h", NULL, 4, false },   { 1, OP_LINK, "d/k", "h", 0, false },
};
static const struct step fix_ups[] = {
    { 2, OP_PUT, "d/new", NULL, 5, false },  { 2, OP_PUT, "a", NULL, 6, false },
    { 2, OP_META, "a", NULL, 7, false },     { 2, OP_META, "d", NULL, 7, false },
    { 2, OP_META, "s", NULL, 7, false },     { 2, OP_MKDIR, "d/d", NULL, 0, false },
    { 2, OP_SYMLINK, "d/s", "x", 7, false }, { 2, OP_LINK, "d/l", "a", 0, false },
    { 2, OP_RENAME, "d/b", "a", 0, false },  { 2, OP_RENAME, "e", "d", 0, false },
    { 2, OP_RENAME, "d/k", "h", 0, false }, /* two names of one file */
    { 2, OP_UNLINK, "d/x", NULL, 0, false }, { 2, OP_RMTREE, "d", NULL, 0, false },
};

static void
send_fix_up(struct apply *apply, const struct step *step, struct tree *tree)
{
    struct err e;
    struct tree before = *tree;
    tree_step(tree, step);
    if (send_step(apply, step, 0, &before, tree, &e) < 0)
        fail_msg("%s", e.text);
}

static void
fix_up_and_cut(const struct place *fs, size_t which)
{
    run("cp --sparse=always %s/%s %s/image", folder, fs->name, folder);
    int root = mount_image();
    char path[64];
    snprintf(path, sizeof(path), "%s/m", folder);
    struct apply_store store = { .path = path };
    struct apply *apply;
    struct err e;
    struct tree want = { .count = 0 };
    assert_int_equal(apply_open(&store, 1, 2, &apply, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(base); i++)
        send_fix_up(apply, &base[i], &want);
    assert_int_equal(apply_commit(apply, check_not_needed, NULL, &e), 0);
    send_fix_up(apply, &fix_ups[which], &want);
    assert_int_equal(apply_commit(apply, check_not_needed, NULL, &e), 0);
    uint32_t kind = SHUTDOWN_AT_ONCE;
    assert_int_equal(ioctl(root, IOC_SHUTDOWN, &kind), 0);
    close_engine(&apply);
    unmount_image(root);
    root = mount_image();
    struct tree got = { .count = 0 };
    tree_read(root, "", &got);
    if (!tree_same(&want, &got, true)) {
        tree_print("expected", &want);
        tree_print("found", &got);
        fail_msg("%s: fix-up %zu was acknowledged and is not there", fs->name, which);
    }
    unmount_image(root);
}

static void
fix_up_everything(const struct place *fs)
{
    make_filesystem(fs);
    for (size_t i = 0; i < ARRAY_LEN(fix_ups); i++)
        fix_up_and_cut(fs, i);
    tear_down();
}

TEST(apply_makes_each_fix_up_durable_before_it_acknowledges_it)
{
    fix_up_everything(&ext4);
    fix_up_everything(&xfs);
}

TEST(apply_survives_power_cuts_on_ext4)
{
    cut_everywhere(&ext4);
}

TEST(apply_survives_power_cuts_where_each_staged_file_has_a_name)
{
    no_unnamed = true;
    cut_everywhere(&ext4);
    no_unnamed = false;
}

TEST(what_is_deleted_stays_retained_wherever_the_power_is_cut)
{
    retaining = true;
    retained_count = 0;
    cut_everywhere(&ext4);
    retaining = false;
}

TEST(apply_survives_power_cuts_on_xfs)
{
    cut_everywhere(&xfs);
}

#endif
