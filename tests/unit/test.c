#include "tests/unit/test.h"

#include <dirent.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TESTS_MAX    512
#define SCRATCH_SIZE 64
#define ABANDONED_S  (6 * 3600) /* no program runs that long */

static struct CMUnitTest tests[TESTS_MAX];
static size_t test_count;

void
test_register(const char *name, CMUnitTestFunction body)
{
    if (test_count == TESTS_MAX)
        abort();
    tests[test_count++] = (struct CMUnitTest){ .name = name, .test_func = body };
}

/* --- folders in /tmp --- */

static char (*scratch)[SCRATCH_SIZE];
static size_t scratch_count;
static pid_t scratch_owner;

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    if (remove(path) < 0)
        perror(path);
    return 0; /* the rest all the same */
}

/* With what is mounted in it by this program. */
static void
remove_folder(const char *path)
{
    char inner[SCRATCH_SIZE + 3];
    struct stat st;
    if (lstat(path, &st) < 0)
        return;
    snprintf(inner, sizeof(inner), "%s/s", path);
    umount2(inner, MNT_DETACH | UMOUNT_NOFOLLOW);
    umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Not in a child that ends by exit(). */
static void
remove_all(void)
{
    for (size_t i = 0; getpid() == scratch_owner && i < scratch_count; i++)
        remove_folder(scratch[i]);
}

void
test_scratch(const char *path)
{
    if (scratch_count == 0) {
        scratch_owner = getpid();
        atexit(remove_all);
    }
    scratch = realloc(scratch, (scratch_count + 1) * sizeof(*scratch));
    if (scratch == NULL || strlen(path) >= SCRATCH_SIZE)
        abort();
    strcpy(scratch[scratch_count++], path);
}

/* Made by mkdtemp() for a test, by this user, long ago. */
static bool
is_abandoned(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           st.st_mtime < time(NULL) - ABANDONED_S;
}

static void
remove_abandoned(void)
{
    DIR *tmp = opendir("/tmp");
    for (struct dirent *entry; tmp != NULL && (entry = readdir(tmp)) != NULL;) {
        char path[SCRATCH_SIZE];
        size_t len = strlen(entry->d_name);
        bool ours = strncmp(entry->d_name, "mailtwin-", 9) == 0 && len > 16 && len < 40 &&
                    entry->d_name[len - 7] == '-';
        if (!ours)
            continue;
        snprintf(path, sizeof(path), "/tmp/%.40s", entry->d_name);
        if (is_abandoned(path))
            remove_folder(path);
    }
    if (tmp != NULL)
        closedir(tmp);
}

int
main(int argc, char **argv)
{
    remove_abandoned();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return _cmocka_run_group_tests("mailtwin", tests, test_count, NULL, NULL) == 0 ? 0 : 1;
}
