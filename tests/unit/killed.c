/* A daemon that is killed loses what it had not written down, and nothing else: random work on the
 * stores while primary and standby are killed at any moment and started again. In the end the
 * standby's stores are the primary's: names, bytes, attributes, and which names are one file. */
#include "replicator/receiver.h"
#include "tests/unit/kill_kit.h"

/* --- what a mail server does --- */

#define FOLDERS 4

static void
folder_path(const struct kill_pair *k, uint64_t folder, const char *part, char path[160])
{
    char dir[16] = "";
    if (folder > 0)
        snprintf(dir, sizeof(dir), ".F%u/", (unsigned)folder);
    snprintf(path, 160, "%s/s/mail/ann/%s%s", k->primary.c->base, dir, part);
}

static int
make_folder(const struct kill_pair *k, uint64_t folder)
{
    char path[160];
    static const char *const parts[] = { "", "tmp", "new", "cur" };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        folder_path(k, folder, parts[i], path);
        rc = mkdir(path, 0700);
    }
    return rc;
}

/* A name of the directory, any. */
static bool
draw_name(struct kill_pair *k, const char *dir, char name[256])
{
    DIR *stream = opendir(dir);
    uint64_t seen = 0;
    if (stream == NULL)
        return false;
    for (const struct dirent *d; (d = readdir(stream)) != NULL;) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            draw(&k->work, ++seen) == 0)
            snprintf(name, 256, "%s", d->d_name);
    }
    closedir(stream);
    return seen > 0;
}

struct mail {
    char dir[160];
    char name[256];
    char path[420];
};

static bool
draw_mail(struct kill_pair *k, struct mail *m)
{
    folder_path(k, draw(&k->work, FOLDERS), draw(&k->work, 3) == 0 ? "new" : "cur", m->dir);
    if (!draw_name(k, m->dir, m->name))
        return false;
    snprintf(m->path, sizeof(m->path), "%s/%s", m->dir, m->name);
    return true;
}

/* By way of tmp, as everything that comes into a Maildir. */
static int
mail_arrive(struct kill_pair *k, const char *from)
{
    static unsigned number;
    uint64_t folder = draw(&k->work, FOLDERS);
    char dir[160];
    char part[200];
    char path[200];
    folder_path(k, folder, "tmp", dir);
    snprintf(part, sizeof(part), "%s/m%u", dir, ++number);
    if (from != NULL ? link(from, part) < 0 : do_write(&k->work, part, 0) < 0)
        return -1;
    folder_path(k, folder, draw(&k->work, 2) == 0 ? "new" : "cur", dir);
    snprintf(path, sizeof(path), "%s/m%u", dir, number);
    return rename(part, path);
}

static int
mail_flag(struct kill_pair *k, const struct mail *m)
{
    char path[460];
    size_t base = strcspn(m->name, ":");
    char flags[5];
    size_t count = 0;
    for (const char *all = "FRST"; *all != '\0'; all++) {
        flags[count] = *all;
        count += draw(&k->work, 2);
    }
    flags[count] = '\0';
    size_t dir = strlen(m->dir) - 3; /* new or cur */
    snprintf(path, sizeof(path), "%.*scur/%.*s:2,%s", (int)dir, m->dir, (int)base, m->name, flags);
    return rename(m->path, path);
}

static int
mail_move(struct kill_pair *k, const struct mail *m)
{
    char dir[160];
    char path[420];
    folder_path(k, draw(&k->work, FOLDERS), "cur", dir);
    snprintf(path, sizeof(path), "%s/%s", dir, m->name);
    return rename(m->path, path);
}

static int
folder_act(struct kill_pair *k)
{
    char a[160];
    char b[160];
    uint64_t folder = 1 + draw(&k->work, FOLDERS - 1);
    folder_path(k, folder, "", a);
    if (draw(&k->work, 2) == 0)
        return make_folder(k, folder);
    if (draw(&k->work, 2) == 0) {
        folder_path(k, 1 + draw(&k->work, FOLDERS - 1), "", b);
        a[strlen(a) - 1] = b[strlen(b) - 1] = '\0';
        return rename(a, b);
    }
    snprintf(b, sizeof(b), "%s/s/mail/ann/trash", k->primary.c->base);
    a[strlen(a) - 1] = '\0';
    return rename(a, b) < 0 ? -1 : nftw(b, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void
mail_work(struct kill_pair *k, unsigned steps)
{
    for (; steps > 0; steps--) {
        struct mail m;
        uint64_t act = draw(&k->work, 20);
        if (act < 5 || !draw_mail(k, &m))
            mail_arrive(k, NULL);
        else if (act < 10)
            mail_arrive(k, m.path);
        else if (act < 15)
            mail_flag(k, &m);
        else if (act < 17)
            mail_move(k, &m);
        else if (act < 19)
            unlink(m.path);
        else
            folder_act(k);
    }
}

/* --- does the node that was killed know what it may not know? --- */

static struct kill_pair *asked;
static unsigned unknown;

static int
is_in_index(const char *path, const struct stat *st, int type, struct FTW *at)
{
    struct cap *c = asked->standby.c;
    size_t root = strlen(c->stores[0].path);
    struct state_entry entry;
    struct state_txn *txn;
    struct span name;
    uint64_t dir;
    (void)st;
    if (type != FTW_D || at->level == 0 || strstr(path, "/" STORE_PRIVATE_DIR) != NULL ||
        strstr(path + root, "/tmp/") != NULL)
        return 0;
    assert_int_equal(state_begin(c->node->state, false, &txn, &c->e), 0);
    int found = state_resolve(txn, 0, span_str(path + root + 1), &dir, &name, &c->e);
    if (found > 0)
        found = state_entry_get(txn, dir, name, &entry, &c->e);
    assert_true(found >= 0);
    unknown += found == 0;
    state_abort(&txn);
    return 0;
}

/* A directory that is in no index is what a promotion has to look for: it has to be told. */
static void
check_doubt(struct kill_pair *k)
{
    struct cap *c = k->standby.c;
    struct state_txn *txn;
    asked = k;
    cap_open(c);
    unsigned before = unknown;
    assert_int_equal(nftw(c->stores[0].path, is_in_index, 8, FTW_PHYS), 0);
    assert_int_equal(state_begin(c->node->state, false, &txn, &c->e), 0);
    if (unknown > before)
        CHECK_INT(ledger_is_behind(txn, &c->e), 1);
    state_abort(&txn);
    cap_stop(c);
}

/* --- histories --- */

static void
some_work(struct kill_pair *k)
{
    mail_work(k, (unsigned)draw(&k->work, 40));
    work(&k->work, (unsigned)draw(&k->work, 20));
}

static void
kill_one(struct kill_pair *k)
{
    struct life *victim = draw(&k->work, 2) == 0 ? &k->primary : &k->standby;
    life_end(victim);
    k->kills++;
    if (victim == &k->standby)
        check_doubt(k);
    some_work(k);
    life_begin(k, victim);
}

static bool
play(uint64_t seed, unsigned rounds, const char *image_mb)
{
    struct kill_pair k;
    if (!kill_pair_begin(&k, seed, image_mb))
        return false;
    print_message("seed %llu\n", (unsigned long long)seed);
    k.work.mails_stay = true;
    cap_sh(k.primary.c, "mkdir mail/ann");
    make_folder(&k, 0);
    for (unsigned i = 0; i < rounds; i++) {
        for (uint64_t kills = draw(&k.work, 6); kills > 0; kills--) {
            some_work(&k);
            kill_one(&k);
        }
        some_work(&k);
        kill_pair_level(&k);
        check_same(&k.work);
    }
    kill_pair_end(&k);
    print_message("directories that a killed standby did not know of: %u\n", unknown);
    return true;
}

TEST(what_was_killed_comes_back_to_the_same_stores)
{
    bool long_run = getenv("MAILTWIN_LONG") != NULL;
    const char *only = getenv("MAILTWIN_SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only != NULL ? first : long_run ? 200 : 4;
    for (uint64_t seed = first; seed <= last; seed++) {
        if (!play(seed, 10, getenv("MAILTWIN_IMAGE"))) {
            skip();
            return;
        }
    }
}
