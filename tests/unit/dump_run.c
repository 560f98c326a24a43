/* Dumps as they are made and given back, without a daemon: the role is what a test says. */
#include "tests/unit/scratch_kit.h"
#include "tests/unit/test.h"

#include "lib/store/dump_run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char store_name[] = "web";
static char path[128], command[256], restore[256];
static struct conf_store store;
static struct conf conf;
static struct dump_role roles[2]; /* as it is asked for the first and the second time */
static unsigned asked;

static int
say_role(const struct conf *c, struct dump_role *ret_role, struct err *e)
{
    (void)c;
    (void)e;
    *ret_role = roles[asked++ % 2];
    return 0;
}

static void
set(const char *make, const char *give)
{
    snprintf(command, sizeof(command), "%s", make);
    snprintf(restore, sizeof(restore), "%s", give);
    store.dump.command = command;
    store.dump.restore = restore;
}

static void
begin(void)
{
    char text[256];
    snprintf(text, sizeof(text), "rm -rf %s && mkdir -p %s/spool/web", dir, dir);
    CHECK_INT(system(text), 0);
    signal(SIGPIPE, SIG_IGN);
    snprintf(path, sizeof(path), "%s/spool/web", dir);
    conf = (struct conf){ .state_dir = dir };
    store = (struct conf_store){ .name = store_name, .kind = STORE_DUMP, .path = path };
    store.dump.timeout_ms = 20000;
    store.dump.versions = 3;
    roles[0] = roles[1] = (struct dump_role){ true, 3 };
    asked = 0;
}

static struct dump_result
must_take(void)
{
    struct dump_result result;
    struct err e = { 0 };
    if (dump_take(&conf, &store, false, false, say_role, &result, &e) < 0)
        fail_msg("%s", e.text);
    return result;
}

static struct err
must_not_take(void)
{
    struct dump_result result;
    struct err e = { 0 };
    CHECK_INT(dump_take(&conf, &store, false, true, say_role, &result, &e), -1);
    return e;
}

static struct dump_list
versions(void)
{
    struct dump_spool spool;
    struct dump_list list;
    CHECK_INT(dump_spool_open(&conf, &store, DUMP_SHARED, &spool, NULL), 0);
    CHECK_INT(dump_spool_list(&spool, &list, NULL), 0);
    dump_spool_close(&spool);
    return list;
}

static size_t
count(void)
{
    _cleanup_dumps_ struct dump_list list = versions();
    char draft[256];
    snprintf(draft, sizeof(draft), "%s/.tmp-draft", path);
    CHECK(access(draft, F_OK) < 0); /* in no case anything is left over */
    return list.count;
}

TEST(what_the_command_writes_is_a_version_and_comes_back)
{
    struct dump_result result;
    struct err e = { 0 };
    char give[256], file[160], got[16] = "";
    begin();
    snprintf(file, sizeof(file), "%s/given", dir);
    snprintf(give, sizeof(give), "sh -c 'cat >%s'", file);
    set("printf one", give);
    struct dump_result made = must_take();
    CHECK_INT(made.outcome, DUMP_STORED);
    CHECK_INT(made.size, 3);
    CHECK_INT(count(), 1);
    CHECK_INT(dump_restore(&conf, &store, NULL, 4, &result, &e), 0);
    CHECK_STR(result.name, made.name);
    FILE *in = fopen(file, "re");
    CHECK(in != NULL && fgets(got, sizeof(got), in) != NULL);
    fclose(in);
    CHECK_STR(got, "one");
}

TEST(the_same_bytes_are_no_new_version)
{
    begin();
    set("printf one", "true");
    struct dump_result first = must_take(), second = must_take();
    CHECK_INT(second.outcome, DUMP_UNCHANGED);
    CHECK_STR(second.name, first.name);
    CHECK_INT(count(), 1);
    set("printf two", "true");
    CHECK_INT(must_take().outcome, DUMP_STORED);
    CHECK_INT(count(), 2);
}

TEST(the_newest_versions_are_kept)
{
    begin();
    for (int i = 0; i < 6; i++) {
        char text[32];
        snprintf(text, sizeof(text), "printf %d", i);
        set(text, "true");
        must_take();
    }
    _cleanup_dumps_ struct dump_list list = versions();
    CHECK_INT(list.count, 3);
    CHECK_INT(list.versions[0].number, 4);
    CHECK_INT(list.versions[2].number, 6);
}

TEST(a_command_that_fails_makes_no_version)
{
    begin();
    set("sh -c 'printf half; echo sorry >&2; exit 3'", "true");
    struct err e = must_not_take();
    CHECK_INT(e.code, ERR_IO);
    CHECK_CONTAINS(e.text, "dump of web: sh ended with status 3: sorry");
    CHECK_INT(count(), 0);
    store.dump.timeout_ms = 200;
    set("sleep 1000", "true");
    CHECK_INT(must_not_take().code, ERR_TIMEOUT);
    CHECK_INT(count(), 0);
}

TEST(a_role_that_moves_meanwhile_makes_no_version)
{
    begin();
    set("printf one", "true");
    roles[1].primary = false;
    CHECK_INT(must_not_take().code, ERR_REFUSED);
    roles[1] = (struct dump_role){ true, 4 };
    CHECK_INT(must_not_take().code, ERR_REFUSED);
    roles[0].primary = roles[1].primary = false;
    CHECK_INT(must_not_take().code, ERR_REFUSED);
    CHECK_INT(count(), 0);
}

TEST(a_node_that_did_not_restore_what_another_made_does_not_dump)
{
    struct dump_result result;
    struct err e = { 0 };
    char text[256];
    begin();
    set("printf one", "true");
    must_take();
    snprintf(text, sizeof(text), "%s/dumps/web.json", dir);
    CHECK_INT(unlink(text), 0); /* as on the other node */
    roles[0] = roles[1] = (struct dump_role){ true, 4 };
    set("printf empty", "true");
    e = must_not_take();
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_CONTAINS(e.text, "mailtwin dump restore web");
    CHECK_INT(count(), 1);
    CHECK_INT(dump_restore(&conf, &store, NULL, 4, &result, &e), 0);
    must_take();
    CHECK_INT(count(), 2);
}

static void
damage(const char *name)
{
    char file[256];
    snprintf(file, sizeof(file), "%s/%s", path, name);
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    CHECK_INT(pwrite(fd, "X", 1, 1), 1);
    close(fd);
}

TEST(a_version_whose_bytes_changed_is_given_to_nobody)
{
    struct dump_result result;
    struct err e = { 0 };
    char give[256], file[160];
    begin();
    snprintf(file, sizeof(file), "%s/given", dir);
    snprintf(give, sizeof(give), "touch %s", file);
    set("printf one", give);
    damage(must_take().name);
    CHECK_INT(dump_restore(&conf, &store, NULL, 4, &result, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
    CHECK_CONTAINS(e.text, "SHA-256");
    CHECK(access(file, F_OK) < 0);
}

TEST(a_restore_that_fails_is_not_noted_as_done)
{
    struct dump_result result;
    struct err e = { 0 };
    struct dump_spool spool;
    struct dump_facts facts;
    begin();
    set("printf one", "sh -c 'echo no such database >&2; exit 1'");
    must_take();
    CHECK_INT(dump_restore(&conf, &store, NULL, 4, &result, &e), -1);
    CHECK_CONTAINS(e.text, "no such database");
    CHECK_INT(dump_spool_open(&conf, &store, 0, &spool, &e), 0);
    CHECK_INT(dump_spool_facts(&spool, 4, &facts, &e), 0);
    dump_spool_close(&spool);
    CHECK_INT(facts.restored_epoch, 0);
}

TEST(two_at_a_time_are_refused)
{
    begin();
    set("printf one", "true");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_INT(flock(fd, LOCK_EX), 0);
    CHECK_INT(must_not_take().code, ERR_BUSY);
    close(fd);
    must_take();
}
