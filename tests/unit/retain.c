/* What the apply engine deletes and overwrites is kept, found, and goes in time. */
#include "replicator/retain.h"

#include "tests/unit/apply_kit.h"

#include <time.h>

#define DAY_MS (24ull * 60 * 60 * 1000)
#define FOLDER "example.org/ann/Maildir/"

static uint64_t
wall_ms(void)
{
    return (uint64_t)time(NULL) * 1000;
}

static void
open_retain(struct kit *kit, uint64_t keep_ms, unsigned percent)
{
    struct retain_opts opts = { .path = kit->path,
                                .store = "mail",
                                .kind = STORE_MAILDIR,
                                .keep_ms = keep_ms,
                                .max_percent = percent };
    apply_free(&kit->apply);
    retain_free(&kit->retain);
    kit_must(kit, retain_open(&opts, &kit->retain, &kit->e));
    kit_start(kit);
}

static struct kit *
retaining(void)
{
    struct kit *kit = kit_new();
    open_retain(kit, 14 * DAY_MS, 50);
    return kit;
}

/* One line for each: why, path, size; "(lives)" behind what has another name. */
struct listing {
    char lines[40][320];
    size_t count;
};

static int
list_one(void *arg, const struct retained_object *object, struct err *e)
{
    struct listing *list = arg;
    (void)e;
    assert_true(list->count < ARRAY_LEN(list->lines));
    snprintf(list->lines[list->count++], sizeof(list->lines[0]), "%c %.*s%s", (int)object->name.why,
             (int)object->name.path.len, (const char *)object->name.path.ptr,
             S_ISREG(object->st.st_mode) && object->st.st_nlink > 1 ? " (lives)" : "");
    return 0;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct listing
list(struct kit *kit)
{
    struct listing got = { 0 };
    struct retained_read read = { .each = list_one, .arg = &got };
    uint64_t strange = 0;
    int fd = openat(kit->root, ".mailtwin/retained", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return got;
    kit_must(kit, retained_read(fd, &read, &strange, &kit->e));
    CHECK_INT(strange, 0);
    close(fd);
    qsort(got.lines, got.count, sizeof(got.lines[0]), by_text);
    return got;
}

#define CHECK_LIST(kit, ...)                                                                     \
    do {                                                                                         \
        const char *const want[] = { __VA_ARGS__ };                                              \
        struct listing check_got = list(kit);                                                    \
        for (size_t check_i = 0; check_i < check_got.count; check_i++)                           \
            CHECK_STR(check_got.lines[check_i], check_i < ARRAY_LEN(want) ? want[check_i] : ""); \
        CHECK_INT(check_got.count, ARRAY_LEN(want));                                             \
    } while (0)

static int
system_in(const struct kit *kit, const char *test)
{
    char command[512];
    snprintf(command, sizeof(command), "cd '%s' && %s", kit->path, test);
    return system(command);
}

TEST(what_is_deleted_is_kept_with_path_owner_and_time)
{
    struct kit *kit = retaining();
    kit_put(kit, 1, FOLDER "cur/1.a:2,S", "From: a\n");
    kit_commit(kit);
    struct stat before = kit_stat(kit, FOLDER "cur/1.a:2,S");
    struct wire_rec rec = kit_seq(2, kit_rec(OP_UNLINK, FOLDER "cur/1.a:2,S", NULL));
    rec.record.time_ns = UINT64_C(1700000000) * 1000000000;
    rec.record.epoch = 5;
    CHECK_INT(kit_run(kit, rec), APPLY_DONE);
    CHECK(!kit_exists(kit, FOLDER "cur/1.a:2,S"));
    CHECK_LIST(kit, "d " FOLDER "cur/1.a:2,S");
    char command[256];
    snprintf(command, sizeof(command),
             "cd '%s/.mailtwin/retained' && test $(stat -c %%i */*.2.5.18bcfe56800.d.*) = %ju",
             kit->path, (uintmax_t)before.st_ino);
    CHECK_INT(system(command), 0);
    kit_free(kit);
}

TEST(a_message_that_lives_under_another_name_is_not_kept)
{
    struct kit *kit = retaining();
    kit_put(kit, 1, FOLDER "cur/1.a", "x");
    kit_do(kit, kit_seq(2, kit_of(kit_rec(OP_LINK, FOLDER ".Old/cur/1.a", FOLDER "cur/1.a"), "x")));
    kit_do(kit, kit_seq(3, kit_rec(OP_UNLINK, FOLDER "cur/1.a", NULL)));
    kit_do(kit,
           kit_seq(4, kit_of(kit_rec(OP_RENAME, FOLDER ".Old/cur/1.a:2,S", FOLDER ".Old/cur/1.a"),
                             "x")));
    kit_commit(kit);
    CHECK_INT(list(kit).count, 0);
    kit_do(kit, kit_seq(5, kit_rec(OP_UNLINK, FOLDER ".Old/cur/1.a:2,S", NULL)));
    kit_commit(kit);
    CHECK_LIST(kit, "d " FOLDER ".Old/cur/1.a:2,S");
    kit_free(kit);
}

TEST(what_is_overwritten_is_kept_whatever_replaces_it)
{
    struct kit *kit = retaining();
    kit_put(kit, 1, FOLDER "cur/1.a", "by put");
    kit_put(kit, 2, FOLDER "cur/2.a", "by rename");
    kit_put(kit, 3, FOLDER "cur/3.a", "new");
    kit_put(kit, 4, FOLDER "cur/4.a", "by link");
    kit_put(kit, 5, FOLDER "cur/5.a", "");
    kit_commit(kit);
    kit_put(kit, 6, FOLDER "cur/1.a", "encrypted");
    kit_do(kit, kit_seq(7, kit_of(kit_rec(OP_RENAME, FOLDER "cur/2.a", FOLDER "cur/3.a"), "new")));
    kit_do(kit, kit_seq(8, kit_of(kit_rec(OP_LINK, FOLDER "cur/4.a", FOLDER "cur/2.a"), "new")));
    kit_put(kit, 9, FOLDER "cur/5.a", "of nothing nothing is kept");
    kit_commit(kit);
    kit_check_file(kit, FOLDER "cur/1.a", "encrypted");
    CHECK_LIST(kit, "o " FOLDER "cur/1.a", "o " FOLDER "cur/2.a", "o " FOLDER "cur/4.a");
    kit_free(kit);
}

TEST(of_a_control_file_one_version_in_ten_minutes_is_kept_and_the_last)
{
    struct kit *kit = retaining();
    const char *path = FOLDER "dovecot-uidlist";
    for (uint64_t i = 1; i <= 30; i++) { /* one a minute */
        char text[32];
        snprintf(text, sizeof(text), "version %ju", (uintmax_t)i);
        struct wire_rec rec = kit_seq(i, kit_rec(OP_PUT, path, NULL));
        rec.record.time_ns = (UINT64_C(1700000000) + i * 60) * 1000000000;
        rec.now.mtime_ns += (int64_t)i;
        kit_must(kit, kit_send(kit, rec, span_str(text)));
        kit_commit(kit);
    }
    CHECK_INT(list(kit).count, 3);
    kit_put(kit, 31, path, "ver"); /* at once: it is less than half of what it was */
    kit_commit(kit);
    CHECK_INT(list(kit).count, 4);
    CHECK_INT(kit_run(kit, kit_seq(32, kit_rec(OP_UNLINK, path, NULL))), APPLY_DONE);
    CHECK_LIST(kit, "d " FOLDER "dovecot-uidlist", "o " FOLDER "dovecot-uidlist",
               "o " FOLDER "dovecot-uidlist", "o " FOLDER "dovecot-uidlist",
               "o " FOLDER "dovecot-uidlist");
    kit_free(kit);
}

TEST(the_last_good_version_of_a_control_file_that_is_encrypted_is_kept_however_young_the_one_before)
{
    struct kit *kit = retaining();
    kit_put(kit, 1, FOLDER "dovecot-uidlist", "3 V7 N2\n1 :a\n");
    kit_put(kit, 2, FOLDER "dovecot-uidlist", "3 V7 N3\n1 :a\n2 :b\n");
    kit_put(kit, 3, FOLDER "dovecot-uidlist", "3 V7 N4\n1 :a\n2 :b\n3 :c\n");
    kit_commit(kit);
    CHECK_INT(list(kit).count, 1);
    kit_put(kit, 4, FOLDER "dovecot-uidlist", "\xd1\x07 encrypted, as long as it was");
    kit_commit(kit);
    CHECK_INT(list(kit).count, 2);
    CHECK_INT(system_in(kit, "grep -q '^3 :c' .mailtwin/retained/*/*.4.*dovecot-uidlist"), 0);
    kit_free(kit);
}

TEST(a_directory_is_kept_as_one_object_and_an_empty_one_not)
{
    struct kit *kit = retaining();
    kit_put(kit, 1, FOLDER ".Old/cur/1.a", "x");
    kit_put(kit, 2, FOLDER ".Old/cur/2.a", "x");
    kit_do(kit, kit_seq(3, kit_rec(OP_MKDIR, FOLDER ".Old/tmp", NULL)));
    kit_commit(kit);
    kit_do(kit, kit_seq(4, kit_rec(OP_RMTREE, FOLDER ".Old/tmp", NULL)));
    kit_do(kit, kit_seq(5, kit_rec(OP_RMTREE, FOLDER ".Old", NULL)));
    kit_commit(kit);
    CHECK(!kit_exists(kit, FOLDER ".Old"));
    CHECK_LIST(kit, "t " FOLDER ".Old");
    kit_free(kit);
}

TEST(a_folder_that_dovecot_renames_before_it_deletes_it_is_kept_under_the_name_that_the_user_knew)
{
    struct kit *kit = retaining();
    const char *trash = FOLDER "..DOVECOT-TRASHED";
    for (uint64_t seq = 1, turn = 0; turn < 2; turn++) {
        kit_put(kit, seq++, turn == 0 ? FOLDER ".Old/cur/1.a" : FOLDER ".New/cur/1.a", "x");
        kit_do(kit, kit_seq(seq++, kit_dir(kit_rec(OP_RENAME, trash,
                                                   turn == 0 ? FOLDER ".Old" : FOLDER ".New"))));
        kit_do(kit, kit_seq(seq++, kit_rec(OP_UNLINK, FOLDER "..DOVECOT-TRASHED/cur/1.a", NULL)));
        kit_commit(kit);
        open_retain(kit, DAY_MS, 50); /* the name is on the disk */
        kit_do(kit, kit_seq(seq++, kit_rec(OP_RMTREE, trash, NULL)));
        kit_commit(kit);
        CHECK(!kit_exists(kit, trash));
    }
    CHECK_LIST(kit, "d " FOLDER ".New/cur/1.a", "d " FOLDER ".Old/cur/1.a", "t " FOLDER ".New",
               "t " FOLDER ".Old");
    CHECK_INT(kit_count_names(kit, ".mailtwin/retained/was"), 0);
    kit_free(kit);
}

TEST(a_path_that_is_longer_than_a_name_is_kept_beside_the_object)
{
    struct kit *kit = retaining();
    char path[400] = "a/";
    memset(path + 2, 'b', 250);
    strcat(path, "/1.a");
    kit_put(kit, 1, path, "x");
    kit_commit(kit);
    kit_do(kit, kit_seq(2, kit_rec(OP_UNLINK, path, NULL)));
    kit_commit(kit);
    char line[420];
    snprintf(line, sizeof(line), "d %s", path);
    CHECK_LIST(kit, line);
    kit_free(kit);
}

TEST(without_retention_what_is_deleted_is_gone)
{
    struct kit *kit = kit_new();
    open_retain(kit, 0, 50);
    kit_put(kit, 1, "a", "x");
    kit_put(kit, 2, "d/b", "x");
    kit_commit(kit);
    kit_put(kit, 3, "a", "y");
    kit_do(kit, kit_seq(4, kit_rec(OP_UNLINK, "a", NULL)));
    kit_do(kit, kit_seq(5, kit_rec(OP_RMTREE, "d", NULL)));
    kit_commit(kit);
    CHECK_INT(list(kit).count, 0);
    kit_wait_empty(kit, ".mailtwin/aside");
    kit_free(kit);
}

/* --- the end of it --- */

static void
delete_some(struct kit *kit, uint64_t seq)
{
    kit_put(kit, seq, "cur/1.a", "x");
    kit_put(kit, seq + 1, "d/e/f", "x");
    kit_do(kit, kit_seq(seq + 2, kit_rec(OP_UNLINK, "cur/1.a", NULL)));
    kit_do(kit, kit_seq(seq + 3, kit_rec(OP_RMTREE, "d", NULL)));
    kit_commit(kit);
}

static void
tend(struct kit *kit, uint64_t wall, uint64_t passed)
{
    kit_must(kit, retain_tend(kit->retain, wall, passed, &kit->e));
}

TEST(what_is_retained_goes_when_its_time_is_over)
{
    struct kit *kit = retaining();
    uint64_t now = wall_ms();
    delete_some(kit, 1);
    tend(kit, now + 13 * DAY_MS, 13 * DAY_MS);
    CHECK_INT(list(kit).count, 2);
    tend(kit, now + 15 * DAY_MS, 2 * DAY_MS);
    CHECK_INT(list(kit).count, 0);
    CHECK_INT(kit_count_names(kit, ".mailtwin/retained/gone"), 0);
    delete_some(kit, 5); /* and it goes on */
    CHECK_INT(list(kit).count, 2);
    kit_free(kit);
}

TEST(a_clock_that_jumps_takes_nothing_with_it)
{
    struct kit *kit = retaining();
    uint64_t now = wall_ms();
    delete_some(kit, 1);
    for (uint64_t hour = 0; hour < 6 * 24; hour++) /* a year ahead, for six days */
        tend(kit, now + 365 * DAY_MS + hour * 3600000, 3600000);
    CHECK_INT(list(kit).count, 2);
    open_retain(kit, 14 * DAY_MS, 50); /* a restart knows how far it was */
    tend(kit, now + 371 * DAY_MS, 60000);
    CHECK_INT(list(kit).count, 2);
    tend(kit, now + 6 * DAY_MS, 60000); /* set right again */
    tend(kit, now + 13 * DAY_MS, 7 * DAY_MS);
    CHECK_INT(list(kit).count, 2);
    tend(kit, now + 15 * DAY_MS, 2 * DAY_MS);
    CHECK_INT(list(kit).count, 0);
    CHECK(retain_clock_next(1000, 500, 0) == 500);
    CHECK(retain_clock_next(1000, 99000, 10) == 1020);
    CHECK(retain_clock_next(1000, 1005, 10) == 1005);
    kit_free(kit);
}

TEST(what_is_pinned_stays_and_what_is_in_the_way_goes)
{
    struct kit *kit = retaining();
    uint64_t now = wall_ms();
    delete_some(kit, 1);
    retain_pin(kit->retain, true);
    tend(kit, now + 30 * DAY_MS, 30 * DAY_MS);
    CHECK_INT(retain_yield(kit->retain, &kit->e), 0);
    CHECK_INT(list(kit).count, 2);
    retain_pin(kit->retain, false);
    CHECK_INT(retain_yield(kit->retain, &kit->e), 1);
    CHECK_INT(list(kit).count, 0);
    CHECK_INT(retain_yield(kit->retain, &kit->e), 0);
    delete_some(kit, 5);
    CHECK_INT(list(kit).count, 2);
    open_retain(kit, 14 * DAY_MS, 0); /* no room at all */
    tend(kit, now, 0);
    CHECK_INT(list(kit).count, 0);
    open_retain(kit, 14 * DAY_MS, 50);
    delete_some(kit, 9);
    struct retain_usage usage;
    tend(kit, now, 0);
    retain_usage(kit->retain, &usage);
    CHECK(usage.bytes > 0 && usage.oldest_ms > 0);
    open_retain(kit, 0, 50); /* turned off */
    tend(kit, now, 0);
    CHECK_INT(list(kit).count, 0);
    kit_free(kit);
}

TEST(a_bucket_that_somebody_deletes_is_made_anew)
{
    struct kit *kit = retaining();
    delete_some(kit, 1);
    char command[256];
    snprintf(command, sizeof(command), "rm -rf '%s'/.mailtwin/retained/0*", kit->path);
    CHECK_INT(system(command), 0);
    delete_some(kit, 5);
    CHECK_INT(list(kit).count, 2);
    kit_free(kit);
}

static int
refuse(void *arg, const struct apply_loss *loss, struct err *e)
{
    unsigned *left = arg;
    if ((*left)-- > 0)
        return 0;
    return err_set(e, ERR_REFUSED, "%.*s", (int)loss->path.len, (const char *)loss->path.ptr);
}

TEST(a_guard_stops_a_run_before_what_is_lost_and_the_run_can_come_again)
{
    struct kit *kit = retaining();
    unsigned left = 1;
    kit_put(kit, 1, "cur/1.a", "one");
    kit_put(kit, 2, "cur/2.a", "two");
    kit_put(kit, 3, "cur/3.a", "three");
    kit_commit(kit);
    for (int turn = 0; turn < 2; turn++) {
        apply_guard(kit->apply, turn == 0 ? refuse : NULL, &left);
        kit_do(kit, kit_seq(4, kit_rec(OP_UNLINK, "cur/1.a", NULL)));
        kit_put(kit, 5, "cur/2.a", "overwritten");
        kit_do(kit, kit_seq(6, kit_rec(OP_RMTREE, "cur", NULL)));
        CHECK_INT(kit_try_commit(kit), turn == 0 ? -1 : 0);
        if (turn == 0) {
            CHECK_INT(kit->e.code, ERR_REFUSED);
            CHECK(!kit_exists(kit, "cur/1.a"));
            kit_check_file(kit, "cur/2.a", "two");
        }
    }
    CHECK_LIST(kit, "d cur/1.a", "o cur/2.a", "t cur");
    kit_free(kit);
}
