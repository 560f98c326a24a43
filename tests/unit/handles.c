/* Handles of files that are gone, on a filesystem that gives their numbers away again. */
#include "tests/unit/capture_kit.h"

#include "lib/os/attrs.h"

#define FILES 20000

static atomic_bool done;

static void *
make_and_remove(void *arg)
{
    int dir = *(const int *)arg;
    while (!atomic_load(&done)) {
        int fd = openat(dir, "new", O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(unlinkat(dir, "new", 0), 0);
    }
    return NULL;
}

static void
check_gone(int dir)
{
    struct err e = { 0 };
    struct attrs_handle handle;
    int fd = openat(dir, "old", O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    CHECK_INT(attrs_handle_get(dir, "old", &handle, &e), 0);
    CHECK_INT(unlinkat(dir, "old", 0), 0);
    CHECK_INT(attrs_handle_open(dir, attrs_handle_span(&handle), O_PATH, &e), -1);
    if (e.code != ERR_GONE)
        fail_msg("%s", e.text);
}

TEST(a_file_is_gone_also_while_its_number_is_given_to_another)
{
    struct cap *c = cap_new_on("30");
    CAP_NEEDED(c);
    char path[96];
    snprintf(path, sizeof(path), "%s/s/mail", c->base);
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(dir >= 0);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, make_and_remove, &dir), 0);
    for (unsigned i = 0; i < FILES; i++)
        check_gone(dir);
    atomic_store(&done, true);
    pthread_join(other, NULL);
    close(dir);
    cap_free(c);
}
