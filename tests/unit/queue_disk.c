#include "tests/unit/scratch_kit.h"
#include "tests/unit/test.h"

#include "lib/store/queue_disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *
at(const char *name)
{
    static char paths[2][256];
    static unsigned next;
    char *path = paths[next++ % 2];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void
begin(void)
{
    char text[256];
    snprintf(text, sizeof(text),
             "rm -rf %s && mkdir -p %s/pid %s/incoming %s/deferred/A/B %s/defer/A", dir, dir, dir,
             dir, dir);
    CHECK_INT(system(text), 0);
}

/* In the part, with a name that tells its inode, or the one behind it. */
static void
put(const char *part, const char *name, mode_t mode, bool fits)
{
    struct stat st;
    char from[256], to[256], base[64];
    snprintf(from, sizeof(from), "%s", at(part));
    snprintf(from + strlen(from), sizeof(from) - strlen(from), "/x");
    int fd = open(from, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && fchmod(fd, mode) == 0 && fstat(fd, &st) == 0);
    close(fd);
    snprintf(base, sizeof(base), "0A1B2%lX", (unsigned long)st.st_ino + (fits ? 0 : 1));
    snprintf(to, sizeof(to), "%s/%s", at(part), name != NULL ? name : base);
    CHECK_INT(rename(from, to), 0);
}

static struct queue_count
counted(void)
{
    struct queue_count count;
    struct err e = { 0 };
    if (queue_count(dir, &count, &e) < 0)
        fail_msg("%s", e.text);
    return count;
}

TEST(complete_mails_are_counted_in_every_depth_and_those_with_another_inodes_name)
{
    begin();
    CHECK_INT(counted().messages, 0);
    put("incoming", NULL, 0700, true);
    put("incoming", NULL, 0600, false); /* being written */
    put("deferred/A", NULL, 0700, false);
    put("deferred/A/B", NULL, 0700, false);
    put("deferred/A", "4XyB1T2zvJz1Rf", 0700, true);
    put("defer/A", NULL, 0700, false); /* a log */
    CHECK_INT(counted().messages, 4);
    CHECK_INT(counted().foreign, 2);
}

TEST(a_queue_that_is_not_there_is_an_error_and_no_empty_one)
{
    struct queue_count count;
    struct err e = { 0 };
    CHECK_INT(queue_count("/no/such/queue", &count, &e), -1);
    CHECK_CONTAINS(e.text, "/no/such/queue");
    CHECK_INT(queue_in_use("/no/such/queue", &e), -1);
}

TEST(a_master_that_holds_its_lock_uses_the_queue)
{
    struct err e = { 0 };
    begin();
    CHECK_INT(queue_in_use(dir, &e), 0);
    int fd = open(at("pid/master.pid"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK_INT(queue_in_use(dir, &e), 0); /* of one that died */
    CHECK_INT(flock(fd, LOCK_EX), 0);
    CHECK_INT(queue_in_use(dir, &e), 1);
    close(fd);
    CHECK_INT(queue_in_use(dir, &e), 0);
}
