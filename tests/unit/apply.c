#include "tests/unit/apply_kit.h"

#include "lib/os/event.h"

#include <semaphore.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <time.h>

/* --- every operation --- */

TEST(apply_puts_a_file_whole_with_all_it_carries)
{
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_seq(1, kit_rec(OP_PUT, "mail", NULL));
    rec.now.mode = S_IFREG | 04751;
    rec.now.uid = geteuid() == 0 ? 12345 : geteuid();
    rec.now.gid = geteuid() == 0 ? 54321 : getegid();
    rec.xattr_count = 1;
    rec.xattrs[0] = (struct wire_xattr){ span_str("user.note"), span_of("a\0b", 3) };
    kit_must(kit, kit_send(kit, rec, span_str("From: a\n")));
    CHECK_INT(apply_pending(kit->apply), 1);
    CHECK_INT(apply_pending_bytes(kit->apply), 8);
    CHECK(!kit_exists(kit, "mail")); /* whole or absent: not before the commit */
    kit_commit(kit);
    kit_check_file(kit, "mail", "From: a\n");
    struct stat st = kit_stat(kit, "mail");
    CHECK_INT(st.st_mode, S_IFREG | 04751);
    CHECK_INT(st.st_uid, rec.now.uid);
    CHECK_INT(st.st_gid, rec.now.gid);
    CHECK(attrs_ns(&st.st_mtim) == KIT_MTIME);
    char path[256], value[8];
    snprintf(path, sizeof(path), "%s/mail", kit->path);
    CHECK_INT(getxattr(path, "user.note", value, sizeof(value)), 3);
    CHECK(memcmp(value, "a\0b", 3) == 0);
    CHECK_INT(apply_pending(kit->apply), 0);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    kit_free(kit);
}

TEST(apply_sets_an_acl_and_removes_one_that_is_not_meant)
{
    /* version 2; owner rw, uid 1000 r, group -, mask r, other - */
    static const uint8_t acl[] = { 2,   0,   0,   0,   1,  0, 6, 0, 255, 255, 255, 255, 2,  0, 4, 0,
                                   232, 3,   0,   0,   4,  0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0,
                                   255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_rec(OP_PUT, "mail", NULL);
    rec.now.mode = S_IFREG | 0640;
    rec.xattr_count = 1;
    rec.xattrs[0] = (struct wire_xattr){ span_str("system.posix_acl_access"),
                                         span_of(acl, sizeof(acl)) };
    kit_must(kit, kit_send(kit, rec, span_str("x")));
    kit_commit(kit);
    char path[256];
    uint8_t value[64];
    snprintf(path, sizeof(path), "%s/mail", kit->path);
    CHECK_INT(getxattr(path, "system.posix_acl_access", value, sizeof(value)), sizeof(acl));
    CHECK(memcmp(value, acl, sizeof(acl)) == 0);
    CHECK_INT(kit_stat(kit, "mail").st_mode, S_IFREG | 0640);

    rec = kit_rec(OP_META, "mail", NULL);
    rec.now.mode = S_IFREG | 0604;
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK_INT(getxattr(path, "system.posix_acl_access", value, sizeof(value)), -1);
    CHECK_INT(kit_stat(kit, "mail").st_mode, S_IFREG | 0604);
    kit_free(kit);
}

TEST(apply_refuses_an_extended_attribute_that_belongs_to_the_host)
{
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_rec(OP_PUT, "mail", NULL);
    rec.xattr_count = 1;
    rec.xattrs[0] = (struct wire_xattr){ span_str("security.capability"), span_str("x") };
    kit_must(kit, kit_send(kit, rec, span_str("x")));
    CHECK_INT(kit_try_commit(kit), -1);
    CHECK_INT(kit->e.code, ERR_PROTOCOL);
    CHECK(!kit_exists(kit, "mail"));
    kit_free(kit);
}

TEST(apply_makes_directories_and_missing_parents_that_nobody_else_sees)
{
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_rec(OP_MKDIR, "a/b/c", NULL);
    rec.now.mode = S_IFDIR | 02755;
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK_INT(kit_stat(kit, "a/b/c").st_mode, S_IFDIR | 02755);
    CHECK_INT(kit_stat(kit, "a/b").st_mode, S_IFDIR | 0700);
    rec = kit_rec(OP_MKDIR, "a/b", NULL); /* its own record comes */
    rec.now.mode = S_IFDIR | 0711;
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK_INT(kit_stat(kit, "a/b").st_mode, S_IFDIR | 0711);
    kit_put(kit, 0, "x/y/mail", "m");
    kit_commit(kit);
    kit_check_file(kit, "x/y/mail", "m");
    rec = kit_rec(OP_MKDIR, "", NULL); /* the root's own attributes */
    rec.now.mode = S_IFDIR | 0751;
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK(kit->got[0].exists);
    CHECK_INT(kit_stat(kit, ".").st_mode, S_IFDIR | 0751);
    kit_free(kit);
}

TEST(apply_moves_a_file_aside_that_a_directory_replaces)
{
    struct kit *kit = kit_new();
    kit_put(kit, 0, "a", "file");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_rec(OP_MKDIR, "a", NULL)), APPLY_DONE);
    CHECK(S_ISDIR(kit_stat(kit, "a").st_mode));
    kit_put(kit, 0, "f", "file");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_rec(OP_MKDIR, "f/below", NULL)), APPLY_NEED);
    kit_check_file(kit, "f", "file");
    kit_wait_empty(kit, ".mailtwin/aside");
    kit_free(kit);
}

TEST(apply_makes_and_replaces_symlinks_and_fifos)
{
    struct kit *kit = kit_new();
    CHECK_INT(kit_run(kit, kit_rec(OP_SYMLINK, "l", "/etc/passwd")), APPLY_DONE);
    CHECK_INT(kit_run(kit, kit_rec(OP_SYMLINK, "l", "there")), APPLY_DONE);
    char target[16] = { 0 };
    CHECK_INT(readlinkat(kit->root, "l", target, sizeof(target)), 5);
    CHECK_STR(target, "there");
    struct stat st = kit_stat(kit, "l");
    CHECK(attrs_ns(&st.st_mtim) == KIT_MTIME);

    struct wire_rec rec = kit_rec(OP_MKNOD, "p", NULL);
    rec.now.mode = S_IFIFO | 0622;
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK_INT(kit_stat(kit, "p").st_mode, S_IFIFO | 0622);
    rec.record.attr.mode = rec.now.mode = S_IFSOCK | 0600;
    rec.record.path = span_str("s");
    CHECK_INT(kit_run(kit, rec), APPLY_SKIPPED);
    CHECK(!kit_exists(kit, "s"));
    kit_free(kit);
}

TEST(apply_sets_attributes_of_each_type)
{
    struct kit *kit = kit_new();
    kit_put(kit, 0, "f", "x");
    kit_do(kit, kit_rec(OP_SYMLINK, "l", "f"));
    kit_do(kit, kit_rec(OP_MKNOD, "p", NULL));
    kit_do(kit, kit_rec(OP_MKDIR, "d", NULL));
    kit_commit(kit);
    static const struct {
        const char *path;
        mode_t mode;
    } cases[] = { { "f", S_IFREG | 0444 },
                  { "l", S_IFLNK | 0777 },
                  { "p", S_IFIFO | 0640 },
                  { "d", S_IFDIR | 0750 } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire_rec rec = kit_rec(OP_META, cases[i].path, NULL);
        rec.now.mode = cases[i].mode;
        rec.now.mtime_ns = -1500000000; /* 1969 */
        rec.now.uid = geteuid() == 0 ? 77 : geteuid();
        CHECK_INT(kit_run(kit, rec), APPLY_DONE);
        struct stat st = kit_stat(kit, cases[i].path);
        CHECK_INT(st.st_mode, cases[i].mode);
        CHECK_INT(st.st_uid, rec.now.uid);
        CHECK(S_ISDIR(st.st_mode) || attrs_ns(&st.st_mtim) == -1500000000);
    }
    kit_free(kit);
}

TEST(apply_keeps_hard_links)
{
    struct kit *kit = kit_new();
    kit_put(kit, 1, "a", "one");
    kit_put(kit, 2, "b", "other");
    kit_do(kit, kit_seq(3, kit_of(kit_rec(OP_LINK, "b", "a"), "one"))); /* replaces b */
    kit_do(kit, kit_seq(4, kit_of(kit_rec(OP_LINK, "d/c", "b"), "one")));
    kit_commit(kit);
    CHECK_INT(kit->got[2].nlink, 2); /* as it was then */
    CHECK_INT(kit->got[3].nlink, 3);
    CHECK(kit_stat(kit, "a").st_ino == kit_stat(kit, "d/c").st_ino);
    kit_check_file(kit, "b", "one");
    /* again: nothing to do */
    CHECK_INT(kit_run(kit, kit_of(kit_rec(OP_LINK, "b", "a"), "one")), APPLY_DONE);
    /* rename() between two names of one file does nothing; the name must go nevertheless */
    CHECK_INT(kit_run(kit, kit_of(kit_rec(OP_RENAME, "b", "a"), "one")), APPLY_DONE);
    CHECK(!kit_exists(kit, "a"));
    CHECK_INT(kit_stat(kit, "b").st_nlink, 2);
    kit_free(kit);
}

TEST(apply_renames_files_and_directories_and_clears_the_way)
{
    struct kit *kit = kit_new();
    kit_put(kit, 0, "new/m", "mail");
    kit_put(kit, 0, "cur/m:2,S", "older");
    kit_put(kit, 0, "full/deep/x", "x");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_of(kit_rec(OP_RENAME, "cur/m:2,S", "new/m"), "mail")), APPLY_DONE);
    kit_check_file(kit, "cur/m:2,S", "mail");
    CHECK_INT(kit_run(kit, kit_dir(kit_rec(OP_RENAME, "full/deep", "cur"))), APPLY_DONE);
    kit_check_file(kit, "full/deep/m:2,S", "mail");
    CHECK(!kit_exists(kit, "full/deep/x"));
    kit_put(kit, 0, "f", "file");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_of(kit_rec(OP_RENAME, "full", "f"), "file")), APPLY_DONE);
    kit_check_file(kit, "full", "file");
    CHECK_INT(kit_run(kit, kit_dir(kit_rec(OP_RENAME, "full", "new"))), APPLY_DONE);
    CHECK(S_ISDIR(kit_stat(kit, "full").st_mode));
    kit_wait_empty(kit, ".mailtwin/aside");
    kit_free(kit);
}

TEST(apply_follows_a_directory_that_is_renamed_within_the_run)
{
    struct kit *kit = kit_new();
    kit_put(kit, 1, "a/d/m1", "1");
    kit_do(kit, kit_seq(2, kit_dir(kit_rec(OP_RENAME, "b", "a"))));
    kit_put(kit, 3, "a/d/m2", "2"); /* another a */
    kit_put(kit, 4, "b/d/m3", "3");
    kit_do(kit, kit_seq(5, kit_rec(OP_RMTREE, "b/d", NULL)));
    kit_put(kit, 6, "b/d/m4", "4");
    kit_commit(kit);
    kit_check_file(kit, "a/d/m2", "2");
    kit_check_file(kit, "b/d/m4", "4");
    CHECK_INT(kit_count_names(kit, "a/d"), 1);
    CHECK_INT(kit_count_names(kit, "b/d"), 1);
    CHECK(kit->got[0].exists); /* before a later record took it away */
    CHECK(!kit->got[4].exists);
    CHECK(kit->got[5].exists);
    kit_free(kit);
}

TEST(apply_tells_of_each_operation_what_its_name_had_then)
{
    struct kit *kit = kit_new();
    kit_put(kit, 1, "a", "first");
    kit_do(kit, kit_seq(2, kit_of(kit_rec(OP_RENAME, "b", "a"), "first")));
    kit_put(kit, 3, "a", "second");
    kit_commit(kit);
    uint64_t first = kit_stat(kit, "b").st_ino;
    uint64_t second = kit_stat(kit, "a").st_ino;
    CHECK(kit->got[0].certain && kit->got[1].certain && kit->got[2].certain);
    CHECK(kit->got[0].ino == first && kit->got[1].ino == first && kit->got[2].ino == second);
    /* Received again after a crash, the name alone does not say which of the two is meant. */
    kit_restart(kit);
    kit_put(kit, 1, "a", "first");
    kit_do(kit, kit_seq(2, kit_of(kit_rec(OP_RENAME, "b", "a"), "first")));
    kit_put(kit, 3, "a", "second");
    kit_commit(kit);
    CHECK(!kit->got[0].certain && kit->got[1].certain && kit->got[2].certain);
    kit_free(kit);
}

TEST(apply_removes_and_finds_removed_what_is_gone)
{
    struct kit *kit = kit_new();
    kit_put(kit, 0, "f", "x");
    kit_put(kit, 0, "d/1/2/3/m", "x");
    kit_put(kit, 0, "d/m", "x");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_rec(OP_UNLINK, "f", NULL)), APPLY_DONE);
    CHECK_INT(kit_run(kit, kit_rec(OP_UNLINK, "f", NULL)), APPLY_DONE);
    CHECK(!kit->got[0].exists);
    CHECK_INT(kit_run(kit, kit_rec(OP_UNLINK, "no/such/parent", NULL)), APPLY_DONE);
    CHECK_INT(kit_run(kit, kit_rec(OP_RMTREE, "d", NULL)), APPLY_DONE);
    CHECK(!kit_exists(kit, "d"));
    CHECK_INT(kit_run(kit, kit_rec(OP_RMTREE, "d", NULL)), APPLY_DONE);
    kit_wait_empty(kit, ".mailtwin/aside");
    kit_free(kit);
}

TEST(apply_deletes_what_an_earlier_run_left_aside)
{
    struct kit *kit = kit_new();
    apply_free(&kit->apply);
    CHECK_INT(mkdirat(kit->root, ".mailtwin/aside/00000000000000ff", 0700), 0);
    CHECK_INT(mkdirat(kit->root, ".mailtwin/aside/00000000000000ff/sub", 0700), 0);
    CHECK_INT(symlinkat(kit->path, kit->root, ".mailtwin/aside/00000000000000ff/sub/l"), 0);
    CHECK_INT(symlinkat("x", kit->root, ".mailtwin/stage/0000000000000001"), 0);
    kit_start(kit);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    kit_wait_empty(kit, ".mailtwin/aside");
    CHECK(kit_exists(kit, ".")); /* the symlink was not followed */
    kit_free(kit);
}

static sem_t stuck;

static void
note_stuck(enum event_id id, _unused_ const char *line, _unused_ void *arg)
{
    if (id == EV_ASIDE_STUCK)
        sem_post(&stuck);
}

/* A mount point is not deleted by anybody. */
TEST(apply_says_what_it_cannot_delete_and_tries_again)
{
    char path[256];
    struct kit *kit = kit_new();
    if (geteuid() != 0) {
        kit_free(kit);
        skip();
    }
    apply_free(&kit->apply);
    sem_init(&stuck, 0, 0);
    event_init("test", EVENT_WARN);
    event_tap(note_stuck, NULL);
    snprintf(path, sizeof(path), "%s/.mailtwin/aside/00000000000000ff", kit->path);
    CHECK_INT(mkdir(path, 0700), 0);
    CHECK_INT(mount("none", path, "tmpfs", 0, "size=64k"), 0);
    kit_start(kit);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    int told = sem_timedwait(&stuck, &until);
    CHECK_INT(umount(path), 0);
    CHECK_INT(told, 0);
    kit_put(kit, 0, "f", "x");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_rec(OP_UNLINK, "f", NULL)), APPLY_DONE); /* applying goes on */
    kit_put(kit, 0, "d/m", "x");
    kit_commit(kit);
    CHECK_INT(kit_run(kit, kit_rec(OP_RMTREE, "d", NULL)), APPLY_DONE);
    kit_wait_empty(kit, ".mailtwin/aside");
    event_tap(NULL, NULL);
    kit_free(kit);
}

TEST(apply_asks_for_what_it_lacks)
{
    struct kit *kit = kit_new();
    kit_put(kit, 0, "f", "file");
    kit_do(kit, kit_rec(OP_MKDIR, "d", NULL));
    kit_do(kit, kit_rec(OP_SYMLINK, "l", "d"));
    kit_commit(kit);
    struct wire_rec older = kit_of(kit_rec(OP_RENAME, "t", "f"), "file");
    older.record.attr.mtime_ns--;
    older.now.mtime_ns--;
    const struct wire_rec cases[] = {
        kit_of(kit_rec(OP_RENAME, "t", "none"), "file"),
        kit_of(kit_rec(OP_RENAME, "t", "f"), "another size"),
        older,
        kit_dir(kit_rec(OP_RENAME, "t", "f")),          /* f is no directory */
        kit_of(kit_rec(OP_RENAME, "t", "l/x"), "file"), /* through a symlink */
        kit_of(kit_rec(OP_RENAME, "l/x", "f"), "file"),
        kit_of(kit_rec(OP_LINK, "t", "none"), "file"),
        kit_of(kit_rec(OP_LINK, "t", "f"), "another size"),
        kit_of(kit_rec(OP_LINK, "t", "d"), "file"),
        kit_of(kit_rec(OP_LINK, "d", "f"), "file"), /* a directory has the name */
        kit_rec(OP_META, "none", NULL),
        kit_rec(OP_META, "d", NULL),          /* not a file */
        kit_dir(kit_rec(OP_META, "f", NULL)), /* not a directory */
        kit_rec(OP_UNLINK, "d", NULL),
        kit_rec(OP_RMTREE, "f", NULL),
        kit_rec(OP_SYMLINK, "d", "x"),
        kit_rec(OP_MKNOD, "d", NULL),
        kit_rec(OP_SYMLINK, "f/x", "x"),
        kit_rec(OP_MKNOD, "f/x", NULL),
        kit_rec(OP_MKDIR, "l/x", NULL),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (kit_run(kit, cases[i]) != APPLY_NEED)
            fail_msg("case %zu", i);
    }
    kit_put(kit, 0, "d", "x");
    kit_put(kit, 0, "l/x", "x");
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_NEED);
    CHECK_INT(kit->got[1].result, APPLY_NEED);
    CHECK_INT(kit_count_names(kit, "."), 4); /* with .mailtwin: nothing came, nothing went */
    CHECK_INT(kit_count_names(kit, "d"), 0);
    CHECK_INT(kit_count_names(kit, ".mailtwin/stage"), 0);
    kit_check_file(kit, "f", "file");
    kit_free(kit);
}

TEST(apply_skips_a_content_that_is_gone_or_could_not_be_read)
{
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_seq(5, kit_rec(OP_PUT, "f", NULL));
    rec.content = WIRE_CONTENT_GONE;
    rec.now = (struct attr){ 0 };
    CHECK_INT(kit_run(kit, rec), APPLY_SKIPPED);
    CHECK_INT(apply_marker(kit->apply, 0), 5);
    rec = kit_seq(6, kit_rec(OP_PUT, "f", NULL));
    rec.content = WIRE_CONTENT_DATA;
    rec.now.size = 100;
    kit_do(kit, rec);
    struct wire_data data = { .bytes = span_str("half a ma") };
    kit_must(kit, apply_data(kit->apply, &data, &kit->e));
    struct wire_end end = { .size = 100, .ok = 0 };
    kit_must(kit, apply_end(kit->apply, &end, &kit->e));
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_SKIPPED);
    CHECK(!kit_exists(kit, "f"));
    kit_free(kit);
}

TEST(apply_carries_out_a_run_of_many_files_in_many_directories)
{
    struct kit *kit = kit_new();
    char path[64];
    for (unsigned i = 0; i < 250; i++) { /* more than have a sync of their own */
        snprintf(path, sizeof(path), "user%u/cur/mail", i);
        kit_put(kit, i + 1, path, path);
    }
    kit_commit(kit);
    for (unsigned i = 0; i < 250; i++) {
        snprintf(path, sizeof(path), "user%u/cur/mail", i);
        CHECK_INT(kit->got[i].result, APPLY_DONE);
        CHECK(kit->got[i].exists);
        kit_check_file(kit, path, path);
    }
    CHECK_INT(apply_marker(kit->apply, 0), 250);
    kit_free(kit);
}

TEST(apply_reports_what_can_be_found_again_by_its_handle)
{
    if (geteuid() != 0)
        skip();
    struct kit *kit = kit_new();
    kit_put(kit, 1, "a", "x");
    kit_commit(kit);
    struct stat st = kit_stat(kit, "a");
    CHECK(kit->got[0].ino == st.st_ino);
    CHECK_INT(kit->got[0].attr.size, 1);
    CHECK_INT(kit->got[0].attr.mode, S_IFREG | 0600);
    CHECK(kit->got[0].attr.mtime_ns == KIT_MTIME);
    struct span handle = attrs_handle_span(&kit->got[0].handle);
    _cleanup_close_ int fd = attrs_handle_open(kit->root, handle, O_RDONLY, &kit->e);
    kit_must(kit, fd);
    struct stat found;
    CHECK_INT(fstat(fd, &found), 0);
    CHECK(found.st_ino == st.st_ino);
    kit_free(kit);
}

TEST(apply_orders_an_epoch_like_any_record)
{
    struct kit *kit = kit_new();
    struct wire_rec rec = kit_seq(8, kit_rec(OP_EPOCH, "", NULL));
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK(!kit->got[0].exists);
    CHECK_INT(apply_marker(kit->apply, 0), 8);
    CHECK_INT(kit_run(kit, rec), APPLY_SKIPPED);
    kit_free(kit);
}

/* --- hostile records --- */

TEST(apply_refuses_records_that_leave_the_store_or_touch_its_own_folder)
{
    static char long_name[257];
    memset(long_name, 'n', 256);
    struct kit *kit = kit_new();
    struct wire_rec no_content = kit_rec(OP_PUT, "f", NULL);
    struct wire_rec content = kit_rec(OP_UNLINK, "f", NULL);
    content.content = WIRE_CONTENT_DATA;
    struct wire_rec device = kit_rec(OP_MKNOD, "f", NULL);
    device.now.mode = S_IFBLK | 0600;
    struct wire_rec store = kit_rec(OP_UNLINK, "f", NULL);
    store.record.store = 1;
    struct wire_rec nul = kit_rec(OP_UNLINK, "f", NULL);
    nul.record.path = span_of("a\0b", 3);
    const struct wire_rec cases[] = {
        no_content,
        content,
        device,
        store,
        nul,
        kit_rec(OP_UNLINK, "..", NULL),
        kit_rec(OP_UNLINK, "a/../../x", NULL),
        kit_rec(OP_UNLINK, "/etc/x", NULL),
        kit_rec(OP_UNLINK, "a//b", NULL),
        kit_rec(OP_UNLINK, "", NULL),
        kit_rec(OP_UNLINK, long_name, NULL),
        kit_rec(OP_RMTREE, ".mailtwin", NULL),
        kit_rec(OP_RMTREE, ".mailtwin/applied", NULL),
        kit_rec(OP_MKDIR, ".mailtwin/x", NULL),
        kit_dir(kit_rec(OP_RENAME, "x", ".mailtwin")),
        kit_dir(kit_rec(OP_RENAME, ".mailtwin/stage/x", "x")),
        kit_rec(OP_LINK, "x", ".mailtwin/applied/0000000000000000"),
        kit_rec(OP_RENAME, "x", "../x"),
        kit_rec(OP_RENAME, "x", ""),
        kit_dir(kit_rec(OP_RENAME, "a/b", "a")),
        kit_dir(kit_rec(OP_RENAME, "a", "a/b")),
        kit_rec(OP_RENAME, "a", "a"),
        kit_rec(OP_SYMLINK, "l", ""),
        kit_rec(OP_META, "", NULL), /* the root is no file */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (apply_rec(kit->apply, &cases[i], &kit->e) == 0 || kit->e.code != ERR_PROTOCOL)
            fail_msg("case %zu: %s", i, kit->e.text);
        CHECK_INT(kit_try_commit(kit), -1); /* a spoiled run is never carried out */
    }
    kit_put(kit, 1, "f", "the engine stays usable");
    kit_commit(kit);
    kit_free(kit);
}

TEST(apply_refuses_messages_out_of_order)
{
    struct kit *kit = kit_new();
    struct wire_data data = { .bytes = span_str("x") };
    struct wire_end end = { .ok = 1 };
    CHECK_INT(apply_data(kit->apply, &data, &kit->e), -1);
    CHECK_INT(apply_end(kit->apply, &end, &kit->e), -1);
    struct wire_rec rec = kit_rec(OP_PUT, "f", NULL);
    rec.content = WIRE_CONTENT_DATA;
    kit_do(kit, rec);
    CHECK_INT(apply_rec(kit->apply, &rec, &kit->e), -1);
    CHECK_INT(kit->e.code, ERR_PROTOCOL);
    apply_abort(kit->apply);
    kit_do(kit, rec);
    CHECK_INT(kit_try_commit(kit), -1);
    CHECK_INT(kit->e.code, ERR_PROTOCOL);
    kit_put(kit, 5, "a", "x");
    rec = kit_seq(5, kit_rec(OP_UNLINK, "a", NULL)); /* the marker counts on order */
    CHECK_INT(apply_rec(kit->apply, &rec, &kit->e), -1);
    CHECK_INT(kit->e.code, ERR_PROTOCOL);
    kit_free(kit);
}

TEST(apply_does_not_follow_symlinks_out_of_the_store)
{
    struct kit *kit = kit_new();
    struct kit *other = kit_new();
    kit_put(other, 0, "secret", "s");
    kit_commit(other);
    CHECK_INT(symlinkat(other->path, kit->root, "out"), 0);
    kit_put(kit, 0, "out/x", "x");
    kit_do(kit, kit_rec(OP_UNLINK, "out/secret", NULL));
    kit_do(kit, kit_of(kit_rec(OP_RENAME, "y", "out/secret"), "s"));
    kit_do(kit, kit_of(kit_rec(OP_LINK, "z", "out/secret"), "s"));
    struct wire_rec meta = kit_rec(OP_META, "out/secret", NULL);
    meta.now.mode = S_IFREG | 0777;
    kit_do(kit, meta);
    kit_commit(kit);
    CHECK_INT(kit_count_names(other, "."), 2);
    CHECK_INT(kit_stat(other, "secret").st_mode, S_IFREG | 0600);
    CHECK_INT(kit_count_names(kit, "."), 2);
    CHECK_INT(apply_signature(kit->apply, 0, span_str("out/secret"), NULL, NULL, &kit->e), 1);
    kit_free(other);
    kit_free(kit);
}

TEST(apply_takes_any_name_and_paths_beyond_path_max)
{
    struct kit *kit = kit_new();
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    name[3] = '\n';
    name[4] = (char)0xff;
    kit_put(kit, 0, name, "odd");
    kit_commit(kit);
    kit_check_file(kit, name, "odd");

    static char deep[PATH_STORE_MAX + 1];
    memset(deep, 'd', sizeof(deep) - 1);
    for (size_t i = 200; i < sizeof(deep) - 1; i += 201)
        deep[i] = '/';
    CHECK(path_valid(span_str(deep)));
    kit_put(kit, 0, deep, "down there");
    kit_commit(kit);
    CHECK_INT(kit->got[0].result, APPLY_DONE);
    CHECK(kit->got[0].exists);
    _cleanup_close_ int fd = file_open_beneath(kit->root, span_str(deep), O_RDONLY, 0, &kit->e);
    CHECK(fd >= 0);
    deep[200] = '\0';
    CHECK_INT(kit_run(kit, kit_rec(OP_RMTREE, deep, NULL)), APPLY_DONE);
    kit_wait_empty(kit, ".mailtwin/aside");
    kit_free(kit);
}
