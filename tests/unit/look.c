#include "replicator/look.h"
#include "tests/unit/state_kit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static char folder[64];

static int
new_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/mailtwin-look-XXXXXX");
    assert_non_null(mkdtemp(folder));
    test_scratch(folder);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void
remove_folder(int fd)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    close(fd);
}

static void
put(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) >= 0);
    close(fd);
}

static struct look
at(int dir, const char *name)
{
    struct look look;
    struct err e = { 0 };
    if (look_at(dir, name, &look, &e) < 0)
        fail_msg("%s", e.text);
    return look;
}

TEST(a_look_tells_what_stat_tells_and_follows_no_symlink)
{
    int dir = new_folder();
    struct stat st;
    put(dir, "f", "hello");
    CHECK_INT(linkat(dir, "f", dir, "g", 0), 0);
    CHECK_INT(symlinkat("f", dir, "l"), 0);
    CHECK_INT(mkdirat(dir, "d", 0700), 0);
    CHECK_INT(fstatat(dir, "f", &st, 0), 0);
    struct look look = at(dir, "f");
    CHECK(look.exists);
    CHECK_INT(look.attr.mode, st.st_mode);
    CHECK_INT(look.attr.size, 5);
    CHECK_INT(look.attr.mtime_ns, attrs_ns(&st.st_mtim));
    CHECK_INT(look.ctime_ns, attrs_ns(&st.st_ctim));
    CHECK_INT(look.ino, st.st_ino);
    CHECK_INT(look.device, st.st_dev);
    CHECK_INT(look.nlink, 2);
    CHECK(look.handle.len > 4);
    CHECK(S_ISLNK(at(dir, "l").attr.mode));
    CHECK_INT(at(dir, "l").attr.size, 0); /* only of files */
    CHECK_INT(at(dir, "d").attr.size, 0);
    CHECK_INT(fstat(dir, &st), 0);
    CHECK_INT(at(dir, "").ino, st.st_ino);
    CHECK(!at(dir, "none").exists);
    CHECK(!at(dir, "f/none").exists);
    remove_folder(dir);
}

TEST(what_cannot_be_looked_at_is_a_failure_and_not_gone)
{
    struct look look;
    struct err e = { 0 };
    CHECK_INT(look_at(-1, "x", &look, &e), -1);
    CHECK_INT(e.code, ERR_IO);
    CHECK(!look.exists);
}

TEST(an_object_is_known_by_inode_type_and_handle)
{
    int dir = new_folder();
    struct state_entry entry;
    put(dir, "f", "hello");
    struct look look = at(dir, "f");
    look_to_entry(&look, look.ctime_ns, 7, &entry);
    CHECK_INT(entry.dir, 7);
    CHECK_INT(entry.nlink, 1);
    CHECK(look_same_object(&look, &entry));
    CHECK_INT(renameat(dir, "f", dir, "g"), 0);
    struct look moved = at(dir, "g");
    CHECK(look_same_object(&moved, &entry));
    put(dir, "f", "hello");
    struct look other = at(dir, "f");
    CHECK(!look_same_object(&other, &entry));
    entry.ino = other.ino; /* a number used again */
    CHECK(!look_same_object(&other, &entry));
    look_to_entry(&look, look.ctime_ns, 0, &entry);
    entry.attr.mode = S_IFDIR | 0700;
    CHECK(!look_same_object(&look, &entry));
    struct look none = { 0 };
    CHECK(!look_same_object(&none, &entry));
    remove_folder(dir);
}

TEST(times_as_young_as_the_clock_s_grain_or_from_the_future_prove_nothing)
{
    const int64_t now = 1700000000000000000;
    const int64_t ms = 1000000;
    CHECK(look_time_is_young(now, now));
    CHECK(look_time_is_young(now - 39 * ms, now));
    CHECK(!look_time_is_young(now - 41 * ms, now));
    CHECK(look_time_is_young(now + 5000 * ms, now)); /* now is when the batch began */
    CHECK(!look_time_is_young(0, now));
    struct look look = { .exists = true, .ctime_ns = now - 41 * ms };
    struct state_entry entry;
    look_to_entry(&look, now, 0, &entry);
    CHECK_INT(entry.ctime_ns, now - 41 * ms);
    look.ctime_ns = now + 1;
    look_to_entry(&look, now, 0, &entry);
    CHECK_INT(entry.ctime_ns, -(now + 1));
}

TEST(what_came_later_is_another_object_that_changed_since)
{
    uint8_t ours[] = { 1, 2, 3 };
    struct state_entry entry = { .attr = { S_IFREG | 0600, 1, 2, 100, 50 },
                                 .ctime_ns = 70,
                                 .ino = 5,
                                 .handle = span_of(ours, sizeof(ours)) };
    struct look look = {
        .exists = true, .attr = { S_IFREG | 0644, 3, 4, 100, 40 }, .ctime_ns = 71, .ino = 6
    };
    CHECK(look_came_later(&look, &entry));
    look.ctime_ns = 70; /* within the clock's grain */
    CHECK(look_came_later(&look, &entry));
    look.ctime_ns = 69;
    CHECK(!look_came_later(&look, &entry));
    entry.ctime_ns = -69; /* young when it was seen */
    CHECK(look_came_later(&look, &entry));
    entry.ctime_ns = 0; /* not known */
    CHECK(!look_came_later(&look, &entry));
    entry.ctime_ns = 1;
    look.attr.mode = S_IFDIR | 0700;
    CHECK(look_came_later(&look, &entry));
    entry.attr.mode = S_IFDIR | 0700; /* names in it change its ctime */
    CHECK(!look_came_later(&look, &entry));
    look.attr.mode = S_IFREG | 0600;
    look.ctime_ns = 0;
    CHECK(look_came_later(&look, &entry));
    look.attr.mode = S_IFDIR | 0700;
    CHECK(!look_came_later(&look, &entry));
    entry.attr.mode = S_IFREG | 0600;
    look.exists = false;
    CHECK(!look_came_later(&look, &entry));
}

TEST(less_is_what_is_missing_older_shorter_or_of_another_type)
{
    struct state_entry entry = { .attr = { S_IFREG | 0600, 1, 2, 100, 50 } };
    struct look look = { .exists = true, .attr = { S_IFREG | 0644, 3, 4, 100, 50 } };
    CHECK(!look_is_less(&look, &entry));
    look.attr.size = 99;
    CHECK(look_is_less(&look, &entry));
    look.attr.mtime_ns = 51; /* written since */
    CHECK(!look_is_less(&look, &entry));
    look.attr = (struct attr){ S_IFREG | 0600, 1, 2, 200, 49 };
    CHECK(look_is_less(&look, &entry));
    look.attr = (struct attr){ S_IFDIR | 0700, 1, 2, 0, 99 };
    CHECK(look_is_less(&look, &entry));
    entry.attr.mode = S_IFDIR | 0700;
    look.attr.mtime_ns = 0;
    CHECK(!look_is_less(&look, &entry)); /* a directory has no content of its own */
    look.exists = false;
    CHECK(look_is_less(&look, &entry));
}

TEST(a_known_row_outlives_the_next_write)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    struct known known;
    uint64_t root = db_make_dir(db, txn, 0, 0, "", "filesys:root");
    db_put_entry(db, txn, root, "a", 5, 0);
    CHECK_INT(known_get(txn, root, span_str("b"), &known, &db->e), 0);
    CHECK_INT(known_get(txn, root, span_str("a"), &known, &db->e), 1);
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%u", i);
        db_put_entry(db, txn, root, name, 100 + i, 0);
    }
    db_must(db, state_entry_del(txn, root, span_str("a"), &db->e));
    CHECK_INT(known.entry.ino, 5);
    CHECK(span_equal(known.entry.handle, span_str("object")));
    CHECK(known.entry.handle.ptr == known.handle);
    db_commit(db, txn);
    db_free(db);
}

/* --- a name that goes from object to object --- */

static atomic_bool done;

static void *
exchange(void *arg)
{
    const int *dir = arg;
    while (!atomic_load(&done))
        renameat2(*dir, "a", *dir, "b", RENAME_EXCHANGE);
    return NULL;
}

TEST(a_look_is_at_one_object)
{
    /* tmpfs, whose handles tell no number */
    bool shm = access("/dev/shm", W_OK) == 0;
    snprintf(folder, sizeof(folder), "%s/mailtwin-look-XXXXXX", shm ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(folder));
    test_scratch(folder);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(dir, "a", "x");
    CHECK_INT(mkdirat(dir, "b", 0700), 0);
    pthread_t thread;
    atomic_store(&done, false);
    CHECK_INT(pthread_create(&thread, NULL, exchange, &dir), 0);
    struct attrs_handle handles[2] = { 0 }; /* of the file, of the directory */
    for (int i = 0; i < 100000; i++) {
        struct look look;
        struct err e;
        if (look_at(dir, "a", &look, &e) < 0) /* another one each time */
            continue;
        struct attrs_handle *of = &handles[S_ISDIR(look.attr.mode)];
        if (of->len == 0)
            *of = look.handle;
        CHECK(span_equal(attrs_handle_span(of), attrs_handle_span(&look.handle)));
    }
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    remove_folder(dir);
}
