/* What the gate remembers: over its own death, over a torn or full disk, and not for ever. */
#include "gate/memory.h"
#include "lib/os/file.h"
#include "tests/unit/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define DAY 86400

static struct err e;

struct place {
    char path[64];
    int dirfd;
    struct memory *m;
};

static void
again(struct place *p, uint64_t now_s)
{
    memory_free(&p->m);
    CHECK_INT(memory_open(p->dirfd, 5 * DAY, now_s, &p->m, &e), 0);
}

static struct place
begin(void)
{
    struct place p = { .path = "/tmp/mailtwin-gate-XXXXXX" };
    CHECK(mkdtemp(p.path) != NULL);
    test_scratch(p.path);
    p.dirfd = open(p.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(p.dirfd >= 0);
    again(&p, 0);
    return p;
}

static void
end(struct place *p)
{
    memory_free(&p->m);
    unlinkat(p->dirfd, MEMORY_FILE, 0);
    unlinkat(p->dirfd, "lock", 0);
    close(p->dirfd);
    rmdir(p->path);
}

static const struct memory_key *
key(unsigned envelope, unsigned content)
{
    static struct memory_key k;
    memset(&k, 0, sizeof(k));
    put_le32(k.envelope, envelope);
    put_le32(k.content, content);
    return &k;
}

static void
take(struct place *p, unsigned envelope, unsigned content, uint64_t now_s)
{
    CHECK_INT(memory_take(p->m, key(envelope, content), now_s, &e), 0);
}

TEST(what_was_taken_is_known_to_the_next_gate)
{
    struct place p = begin();
    take(&p, 1, 1, 0);
    take(&p, 1, 2, 0);
    take(&p, 2, 1, 0);
    memory_forget(p.m, key(1, 2), 0);
    CHECK_INT(memory_flush(p.m, &e), 0);
    again(&p, 0);
    CHECK_INT(memory_count(p.m), 2);
    CHECK(memory_knows_envelope(p.m, key(1, 0)->envelope));
    CHECK(!memory_knows_envelope(p.m, key(3, 0)->envelope));
    CHECK(!memory_claim(p.m, key(1, 2)));
    CHECK(memory_claim(p.m, key(1, 1)));
    CHECK(!memory_claim(p.m, key(1, 1)));
    CHECK(memory_claim(p.m, key(2, 1)));
    end(&p);
}

TEST(a_mail_that_waits_for_its_own_barrier_confirms_no_other_one)
{
    struct place p = begin();
    take(&p, 1, 1, 0);
    CHECK(!memory_knows_envelope(p.m, key(1, 1)->envelope));
    CHECK(!memory_claim(p.m, key(1, 1)));
    take(&p, 1, 1, 0); /* the same mail once more, wanted twice */
    memory_unclaim(p.m, key(1, 1));
    CHECK(memory_claim(p.m, key(1, 1)));
    CHECK(!memory_claim(p.m, key(1, 1)));
    memory_forget(p.m, key(1, 1), 0);
    memory_forget(p.m, key(1, 1), 0);
    CHECK_INT(memory_count(p.m), 0);
    end(&p);
}

TEST(what_is_too_old_is_forgotten_but_not_what_somebody_waits_for)
{
    struct place p = begin();
    take(&p, 1, 1, 1000);
    take(&p, 2, 2, 1000);
    memory_unclaim(p.m, key(1, 1));
    CHECK_INT(memory_tidy(p.m, 1000 + 5 * DAY, &e), 0);
    CHECK_INT(memory_count(p.m), 2);
    CHECK_INT(memory_tidy(p.m, 1001 + 5 * DAY, &e), 0);
    CHECK_INT(memory_count(p.m), 1);
    CHECK_INT(memory_tidy(p.m, 0, &e), 0); /* a clock that was set back */
    CHECK_INT(memory_count(p.m), 1);
    again(&p, 1001 + 5 * DAY);
    CHECK_INT(memory_count(p.m), 0);
    end(&p);
}

TEST(a_file_cut_anywhere_keeps_the_rows_before_the_cut)
{
    struct place p = begin();
    for (unsigned i = 0; i < 5; i++)
        take(&p, i, i, 0);
    _cleanup_free_ char *data = NULL;
    size_t len = 0;
    CHECK_INT(file_read(p.dirfd, MEMORY_FILE, 4096, &data, &len, &e), 1);
    CHECK_INT(len, 8 + 5 * 80);
    for (size_t cut = 0; cut <= len; cut++) {
        CHECK_INT(file_replace(p.dirfd, MEMORY_FILE, span_of(data, cut), 0600, &e), 0);
        again(&p, 0);
        CHECK_INT(memory_count(p.m), cut < 8 ? 0 : (cut - 8) / 80);
    }
    for (size_t at = 8; at < len; at++) { /* a byte that is wrong ends it there */
        data[at] = (char)(data[at] ^ 1);
        CHECK_INT(file_replace(p.dirfd, MEMORY_FILE, span_of(data, len), 0600, &e), 0);
        again(&p, 0);
        data[at] = (char)(data[at] ^ 1);
        size_t row = (at - 8) / 80, in_row = (at - 8) % 80;
        bool padding = in_row >= 1 && in_row < 4;
        CHECK_INT(memory_count(p.m), padding ? 5 : row);
    }
    end(&p);
}

TEST(a_file_of_another_program_is_not_overwritten)
{
    struct place p = begin();
    memory_free(&p.m);
    CHECK_INT(file_replace(p.dirfd, MEMORY_FILE, span_str("something else"), 0600, &e), 0);
    CHECK_INT(memory_open(p.dirfd, DAY, 0, &p.m, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
    CHECK_CONTAINS(e.text, "move it away");
    end(&p);
}

TEST(two_gates_do_not_share_a_memory)
{
    struct place p = begin();
    struct memory *other = NULL;
    CHECK_INT(memory_open(p.dirfd, DAY, 0, &other, &e), -1);
    CHECK_INT(e.code, ERR_BUSY);
    CHECK(other == NULL);
    end(&p);
}

/* A disk that takes no more bytes. */
static void
limit_files(rlim_t size)
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size == 0 ? limit.rlim_max : size;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(a_full_disk_is_told_and_what_came_meanwhile_is_written_when_there_is_room)
{
    struct place p = begin();
    signal(SIGXFSZ, SIG_IGN);
    take(&p, 1, 1, 0);
    limit_files(8 + 80 + 30);
    for (unsigned i = 2; i < 20000; i++) /* more than waits in memory */
        CHECK_INT(memory_take(p.m, key(i, i), 0, &e), -1);
    CHECK_INT(memory_sync(p.m, &e), -1);
    limit_files(0);
    CHECK_INT(memory_sync(p.m, &e), 0);
    again(&p, 0);
    CHECK_INT(memory_count(p.m), 19999);
    end(&p);
}

TEST(a_file_that_says_nothing_any_more_is_written_anew)
{
    struct place p = begin();
    struct stat st;
    take(&p, 0, 7, 0);
    for (unsigned i = 1; i < 120000; i++) {
        take(&p, i, i, 0);
        memory_forget(p.m, key(i, i), 0);
    }
    CHECK_INT(memory_tidy(p.m, 0, &e), 0);
    CHECK_INT(fstatat(p.dirfd, MEMORY_FILE, &st, 0), 0);
    CHECK_INT(st.st_size, 8 + 80);
    again(&p, 0);
    CHECK(memory_claim(p.m, key(0, 7)));
    end(&p);
}

TEST(a_gate_that_remembers_too_much_says_so)
{
    struct place p = begin();
    for (unsigned i = 0; i < MEMORY_MAX; i++) {
        CHECK(!memory_full(p.m));
        take(&p, i, 0, 0);
    }
    CHECK(memory_full(p.m));
    memory_forget(p.m, key(5, 0), 0);
    CHECK(!memory_full(p.m));
    end(&p);
}
