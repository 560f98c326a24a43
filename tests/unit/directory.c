/* The parts of mailtwin-directoryd that need no server: the table of entries, the spool, the guard.
 */
#include "directory/guard.h"
#include "directory/lead.h"
#include "directory/secrets.h"
#include "directory/spool.h"
#include "directory/table.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err e;

static void
uuid_of(unsigned number, uint8_t ret_uuid[LDAPSYNC_UUID_SIZE])
{
    memset(ret_uuid, 7, LDAPSYNC_UUID_SIZE);
    put_le32(ret_uuid + 4, number);
    ret_uuid[0] = (uint8_t)(number % 3);
}

TEST(the_table_finds_every_entry_whatever_is_forgotten_in_between)
{
    enum {
        ENTRIES = 3000
    };
    struct table table = { 0 };
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    for (unsigned i = 0; i < ENTRIES; i++) {
        uuid_of(i, uuid);
        struct row *row = rows_get(&table, uuid);
        row->seen = i;
        rows_set_pending(&table, row, i % 5 == 0);
    }
    for (unsigned i = 0; i < ENTRIES; i += 2) {
        uuid_of(i, uuid);
        rows_forget(&table, rows_find(&table, uuid));
    }
    CHECK_INT(table.count, ENTRIES / 2);
    for (unsigned i = 0; i < ENTRIES; i++) {
        uuid_of(i, uuid);
        const struct row *row = rows_find(&table, uuid);
        CHECK((row == NULL) == (i % 2 == 0));
        CHECK(row == NULL || row->seen == i);
    }
    unsigned pending = 0;
    for (const struct row *row = table.pending; row != NULL; row = row->next, pending++)
        CHECK(row->pending && row->seen % 10 == 5);
    CHECK_INT(pending, ENTRIES / 10);
    rows_free(&table);
}

TEST(a_problem_is_the_same_one_until_its_reason_changes)
{
    struct table table = { 0 };
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    uuid_of(1, uuid);
    struct row *row = rows_get(&table, uuid);
    CHECK(rows_set_problem(&table, row, span_str("cn=a"), 65, "no", 100));
    row->problem->told = true;
    CHECK(!rows_set_problem(&table, row, span_str("cn=a"), 65, "no", 200));
    CHECK_INT(row->problem->since_ms, 100);
    CHECK(row->problem->told);
    CHECK(rows_set_problem(&table, row, span_str("cn=a"), 65, "another", 300));
    CHECK_INT(row->problem->since_ms, 300);
    CHECK(!row->problem->told);
    CHECK_INT(table.problems, 1);
    rows_forget(&table, row);
    CHECK_INT(table.problems, 0);
    rows_free(&table);
}

TEST(the_guard_lets_few_entries_go_and_no_more_than_the_limit)
{
    CHECK(guard_allows(10, 10, 0));
    CHECK(!guard_allows(11, 11, 20));
    CHECK(guard_allows(11, 55, 20));
    CHECK(!guard_allows(12, 55, 20));
    CHECK(!guard_allows(11, 1000000, 0));
    CHECK(guard_allows(1000, 1000, 100));
}

TEST(a_promoted_node_is_level_when_its_server_leads_and_not_before)
{
    const struct role_state standby = { .role = ROLE_STANDBY, .epoch = 3 };
    const struct role_state primary = { .role = ROLE_PRIMARY, .epoch = 4 };
    CHECK(!lead_is_level(DIR_APPLY, &standby, 4, 4, true)); /* the role is not known here yet */
    CHECK(!lead_is_level(DIR_APPLY, &primary, 4, 4, true));
    CHECK(!lead_is_level(DIR_IDLE, &primary, 4, 4, true));
    CHECK(!lead_is_level(DIR_CAPTURE, &standby, 3, 4, true)); /* it is about to end */
    CHECK(!lead_is_level(DIR_CAPTURE, &primary, 5, 4, true)); /* of an earlier promotion */
    CHECK(lead_is_level(DIR_CAPTURE, &primary, 4, 4, false));
    CHECK(!lead_is_level(DIR_CAPTURE, &primary, 4, 2, false)); /* it is to apply first */
    CHECK(lead_is_level(DIR_NATIVE, &standby, 4, 4, false));
    CHECK(lead_is_level(DIR_APPLY, &standby, 0, 4, true)); /* asked of a standby as such */
    CHECK(!lead_is_level(DIR_APPLY, &standby, 0, 4, false));
    CHECK(!lead_is_level(DIR_APPLY, &primary, 0, 4, true));
}

TEST(a_server_that_captured_gets_what_the_spool_has_when_another_node_led_in_between)
{
    CHECK(lead_applies_first("apply\n", 7));
    CHECK(!lead_applies_first(NULL, 7));
    CHECK(!lead_applies_first("capture 7\n", 7));
    CHECK(!lead_applies_first("capture 6\n", 7)); /* this node's own, twice in a row */
    CHECK(lead_applies_first("capture 5\n", 7));
    CHECK(!lead_applies_first("capture 9\n", 7)); /* of another history */
    CHECK(!lead_applies_first("capture\n", 7));   /* of an earlier version, which knew no epoch */
    CHECK(!lead_applies_first("something\n", 7));
}

/* "name: value" each, NULL-ended. */
static void
entry_of(struct ldif_entry *entry, const char *const *lines)
{
    ldif_begin(entry, span_str("uid=ann,dc=org"));
    for (; *lines != NULL; lines++) {
        const char *colon = strchr(*lines, ':');
        ldif_add(entry, span_of(*lines, (size_t)(colon - *lines)), span_str(colon + 2));
    }
    CHECK_INT(ldif_end(entry, &e), 0);
}
#define ENTRY(entry, ...) entry_of(entry, (const char *const[]){ __VA_ARGS__, NULL })

TEST(an_entry_loses_a_secret_when_none_of_its_values_is_left_and_nobody_asked_for_that)
{
    _cleanup_ldif_ struct ldif_entry old = { 0 };
    _cleanup_ldif_ struct ldif_entry now = { 0 };
    _cleanup_ldif_ struct ldif_entry kept = { 0 };
    char name[] = "userpassword";
    char *const none[] = { NULL }, *const skip[] = { name, NULL };
    struct span value;
    ENTRY(&old, "cn: Ann", "title: x", "userPassword: a", "userPassword: b", "sambaNTPassword: n");
    ENTRY(&now, "cn: Ann", "userPassword: c", "sambaNTPassword: n");
    CHECK(secrets_lost(&old, &now, none) == NULL);
    ENTRY(&now, "cn: Eve", "sambaNTPassword: o");
    CHECK_STR(secrets_lost(&old, &now, none), "userPassword");
    CHECK(secrets_lost(&old, &now, skip) == NULL);
    CHECK(secrets_lost(&now, &old, none) == NULL);
    CHECK_STR(secrets_any(&now, skip), "sambaNTPassword");
    CHECK_INT(secrets_keep(&old, &now, &kept, &e), 0);
    CHECK_INT(kept.count, 4);
    CHECK(ldif_find(&kept, "cn", &value) && span_equal(value, span_str("Eve")));
    CHECK(ldif_find(&kept, "userPassword", &value) && span_equal(value, span_str("a")));
    CHECK(ldif_find(&kept, "sambaNTPassword", &value) && span_equal(value, span_str("o")));
    CHECK(secrets_lost(&old, &kept, none) == NULL);
}

TEST(a_secret_is_gone_only_where_others_are_shown_and_few_go)
{
    for (unsigned i = 0; i < 4; i++) {
        struct secrets_view view = {
            .beside_shows = i & 1, .own_shows = i & 2, .gone = 9, .of = 30, .percent = 20
        };
        CHECK(secrets_gone(&view) == (i == 1));
        view.gone = 10;
        CHECK(!secrets_gone(&view));
        view.percent = 40;
        CHECK(secrets_gone(&view) == (i == 1));
    }
}

static unsigned
names_in(const char *path)
{
    char command[256];
    snprintf(command, sizeof(command), "ls -A %s | wc -l", path);
    FILE *out = popen(command, "r"); /* NOLINT: a path of our own */
    unsigned count = 0;
    CHECK(out != NULL && fscanf(out, "%u", &count) == 1);
    pclose(out);
    return count;
}

static int
count_one(void *arg, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct err *error)
{
    (void)uuid;
    (void)error;
    ++*(unsigned *)arg;
    return 0;
}

TEST(the_spool_has_one_file_an_entry_and_writes_only_what_differs)
{
    char path[] = "/tmp/mailtwin-spool.XXXXXX";
    struct spool *spool = NULL;
    _cleanup_buf_ struct buf text = { 0 };
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    unsigned count = 0;
    CHECK(mkdtemp(path) != NULL);
    test_scratch(path);
    CHECK_INT(spool_open(path, &spool, &e), 0);
    CHECK(ldapsync_uuid_read(span_str("7996da7e-7b16-1041-907e-fda6c92c1195"), uuid));
    CHECK_INT(spool_read(spool, uuid, &text, &e), 0);
    CHECK_INT(spool_remove(spool, uuid, &e), 0);
    CHECK_INT(spool_write(spool, uuid, span_str("one"), &e), 1);
    char file[128];
    struct stat before, after;
    snprintf(file, sizeof(file), "%s/79/7996da7e-7b16-1041-907e-fda6c92c1195.entry", path);
    CHECK_INT(stat(file, &before), 0);
    CHECK_INT(before.st_mode & 0777, 0600);
    CHECK_INT(spool_write(spool, uuid, span_str("one"), &e), 0);
    CHECK_INT(stat(file, &after), 0);
    CHECK_INT(after.st_ino, before.st_ino);
    CHECK_INT(spool_write(spool, uuid, span_str("two"), &e), 1);
    CHECK_INT(spool_read(spool, uuid, &text, &e), 1);
    CHECK(span_equal(buf_span(&text), span_str("two")));
    CHECK_INT(spool_sync(spool, &e), 0);
    snprintf(file, sizeof(file), "%s/79", path);
    CHECK_INT(names_in(file), 1);
    snprintf(file, sizeof(file), "%s/79/.tmp-other", path);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    CHECK_INT(spool_each(spool, -1, count_one, &count, &e), 0);
    CHECK_INT(count, 1);
    CHECK_INT(unlink(file), 0);
    CHECK_INT(spool_remove(spool, uuid, &e), 1);
    CHECK_INT(spool_read(spool, uuid, &text, &e), 0);
    snprintf(file, sizeof(file), "%s/79", path);
    CHECK_INT(rmdir(file), 0);
    CHECK_INT(rmdir(path), 0);
    spool_close(&spool);
}

TEST(only_names_of_entries_are_entries)
{
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    int folder;
    CHECK(spool_name_read("7996da7e-7b16-1041-907e-fda6c92c1195.entry", uuid));
    CHECK(!spool_name_read("7996da7e-7b16-1041-907e-fda6c92c1195.entr", uuid));
    CHECK(!spool_name_read(".tmp-7996da7e-7b16-1041-907e-fda6c92c1195", uuid));
    CHECK(!spool_name_read("x996da7e-7b16-1041-907e-fda6c92c1195.entry", uuid));
    CHECK(spool_folder_read("0f", &folder));
    CHECK_INT(folder, 15);
    CHECK(!spool_folder_read("0F", &folder));
    CHECK(!spool_folder_read("0", &folder));
    CHECK(!spool_folder_read("000", &folder));
}
