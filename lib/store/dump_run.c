#include "lib/store/dump_run.h"

#include "lib/base/words.h"
#include "lib/os/command.h"
#include "lib/os/control.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <string.h>
#include <time.h>

#define ROLE_MS 10000
#define BUSY_MS 60000 /* a run of the daemon ends, or is refused in a moment */

static uint64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int
dump_role_of_node(const struct conf *conf, struct dump_role *ret_role, struct err *e)
{
    json_t *reply;
    json_t *request = json_pack("{s:s}", "do", "role");
    int rc = control_ask(conf->run_dir, CONTROL_BARRIER, request, ROLE_MS, NULL, NULL, &reply, e);
    json_decref(request);
    if (rc < 0)
        return -1;
    const char *word = json_string_value(json_object_get(reply, "role"));
    ret_role->primary = word != NULL && strcmp(word, "primary") == 0;
    ret_role->epoch = (uint64_t)json_integer_value(json_object_get(reply, "epoch"));
    json_decref(reply);
    return 0;
}

/* --- take --- */

struct taking {
    const struct conf *conf;
    const struct conf_store *store;
    struct dump_spool spool;
    struct dump_draft draft;
    struct dump_role role;
    struct dump_facts facts;
    uint64_t began_ms;
    dump_ask_role *ask;
};

static int
sink(void *arg, struct span bytes, struct err *e)
{
    struct taking *t = arg;
    return dump_draft_add(&t->draft, bytes, e);
}

static int
check_primary(const struct taking *t, const struct dump_role *role, struct err *e)
{
    if (!role->primary)
        return err_set(e, ERR_REFUSED, "this node is not the primary: dumps are made there");
    if (role->epoch != t->role.epoch)
        return err_set(e, ERR_REFUSED, "the role moved while the dump was made");
    return 0;
}

static int
check_may_run(const struct taking *t, bool force, struct err *e)
{
    char newest[DUMP_NAME_SIZE];
    if (force || dump_may_run(&t->facts))
        return 0;
    dump_name_write(&t->facts.newest, newest);
    return err_set(
        e, ERR_REFUSED,
        "version %s came from another node and was not restored here since this node is "
        "the primary: a dump now would take its place. mailtwin dump restore %s gives it "
        "to the program; mailtwin dump run %s --force says that what is here counts",
        newest, t->store->name, t->store->name);
}

static int
run_command(struct taking *t, bool last, struct err *e)
{
    _cleanup_words_ char **words = NULL;
    _cleanup_free_ char *name = xasprintf("MAILTWIN_STORE=%s", t->store->name);
    const char *const env[] = { name, NULL };
    struct command_result result;
    if (words_split(t->store->dump.command, &words, e) < 0)
        return err_wrap(e, "command of store %s", t->store->name);
    struct command command = { .words = words,
                               .user = t->store->dump.user,
                               .env = env,
                               .last = last,
                               .timeout_ms = (unsigned)t->store->dump.timeout_ms,
                               .sink = sink,
                               .arg = t };
    return command_succeed(&command, &result, e);
}

/* 1: the newest version has the same bytes. A newest one that cannot be read is no reason not to
 * store this one. */
static bool
is_newest(const struct taking *t, const struct dump_trailer *trailer)
{
    struct dump_trailer newest;
    _cleanup_close_ int fd = -1;
    return t->facts.any &&
           dump_spool_read(&t->spool, &t->facts.newest, false, &fd, &newest, NULL) == 0 &&
           newest.size == trailer->size && memcmp(newest.hash, trailer->hash, DUMP_HASH_SIZE) == 0;
}

static int
store_draft(struct taking *t, struct dump_result *result, struct err *e)
{
    struct dump_role now;
    struct dump_version version = { t->began_ms / 1000, t->role.epoch,
                                    t->facts.any ? t->facts.newest.number + 1 : 1 };
    struct dump_trailer trailer = { .size = t->draft.size,
                                    .began_ms = t->began_ms,
                                    .ended_ms = now_ms(),
                                    .epoch = version.epoch,
                                    .number = version.number };
    dump_draft_hash(&t->draft, trailer.hash);
    result->size = trailer.size;
    if (t->ask(t->conf, &now, e) < 0 || check_primary(t, &now, e) < 0)
        return -1;
    if (is_newest(t, &trailer)) {
        result->outcome = DUMP_UNCHANGED;
        dump_name_write(&t->facts.newest, result->name);
        return 0;
    }
    dump_name_write(&version, result->name);
    /* Noted before it has its name: a crash in between leaves a note of a version that is not
     * there, not a version of our own that we would restore over newer data. */
    if (dump_spool_note(&t->spool, "made", json_string(result->name), e) < 0 ||
        dump_draft_keep(&t->spool, &t->draft, &trailer, &version, e) < 0)
        return -1;
    return dump_spool_prune(&t->spool, t->store->dump.versions, e);
}

static int
take(struct taking *t, bool force, bool last, struct dump_result *result, struct err *e)
{
    if (t->ask(t->conf, &t->role, e) < 0 || check_primary(t, &t->role, e) < 0 ||
        dump_spool_facts(&t->spool, t->role.epoch, &t->facts, e) < 0 ||
        check_may_run(t, force, e) < 0 || dump_draft_begin(&t->spool, &t->draft, e) < 0)
        return -1;
    if (run_command(t, last, e) < 0)
        return -1;
    return store_draft(t, result, e);
}

static json_t *
last_of(const struct taking *t, int rc, const struct dump_result *result, const struct err *e)
{
    static const char *const outcomes[] = {
        [DUMP_STORED] = "stored", [DUMP_UNCHANGED] = "unchanged"
    };
    json_t *last = json_pack("{s:s, s:I, s:I}", "result",
                             rc < 0 ? "failed" : outcomes[result->outcome], "began_ms",
                             (json_int_t)t->began_ms, "ended_ms", (json_int_t)now_ms());
    if (rc < 0) {
        json_object_set_new(last, "error", json_string(e->text));
    } else {
        json_object_set_new(last, "version", json_string(result->name));
        json_object_set_new(last, "size", json_integer((json_int_t)result->size));
    }
    return last;
}

int
dump_take(const struct conf *conf, const struct conf_store *store, bool force, bool last,
          dump_ask_role *ask, struct dump_result *ret_result, struct err *e)
{
    struct taking t = { .conf = conf, .store = store, .ask = ask, .began_ms = now_ms() };
    struct err noting = { 0 };
    *ret_result = (struct dump_result){ .outcome = DUMP_STORED };
    t.draft.fd = -1;
    if (dump_spool_open(conf, store, last ? 0 : BUSY_MS, &t.spool, e) < 0)
        return -1;
    int rc = take(&t, force, last, ret_result, e);
    dump_draft_end(&t.spool, &t.draft);
    ret_result->milliseconds = now_ms() - MIN(now_ms(), t.began_ms);
    if (dump_spool_note(&t.spool, "last", last_of(&t, rc, ret_result, e), &noting) < 0 && rc == 0) {
        *e = noting;
        rc = -1;
    }
    dump_spool_close(&t.spool);
    return rc < 0 ? err_wrap(e, "dump of %s", store->name) : 0;
}

/* --- restore --- */

struct giving {
    int fd;
    uint64_t at, size;
};

static int
source(void *arg, void *ptr, size_t size, size_t *ret_len, struct err *e)
{
    struct giving *g = arg;
    size_t want = (size_t)MIN((uint64_t)size, g->size - g->at);
    ssize_t got = file_pread_full(g->fd, ptr, want, g->at, e);
    if (got < 0)
        return -1;
    if ((size_t)got != want)
        return err_set(e, ERR_CORRUPT, "the version became shorter while it was read");
    g->at += want;
    *ret_len = want;
    return 0;
}

static int
run_restore(const struct conf_store *store, struct giving *giving, struct err *e)
{
    _cleanup_words_ char **words = NULL;
    _cleanup_free_ char *name = xasprintf("MAILTWIN_STORE=%s", store->name);
    const char *const env[] = { name, NULL };
    struct command_result result;
    if (words_split(store->dump.restore, &words, e) < 0)
        return err_wrap(e, "restore of store %s", store->name);
    struct command command = { .words = words,
                               .user = store->dump.user,
                               .env = env,
                               .timeout_ms = (unsigned)store->dump.timeout_ms,
                               .source = source,
                               .arg = giving };
    return command_succeed(&command, &result, e);
}

static int
pick(const struct dump_spool *spool, const struct dump_version *wanted,
     struct dump_version *ret_version, struct err *e)
{
    struct dump_facts facts;
    if (wanted != NULL) {
        *ret_version = *wanted;
        return 0;
    }
    if (dump_spool_facts(spool, 0, &facts, e) < 0)
        return -1;
    if (!facts.any)
        return err_set(e, ERR_GONE, "there is no version of %s here", spool->name);
    *ret_version = facts.newest;
    return 0;
}

int
dump_restore(const struct conf *conf, const struct conf_store *store,
             const struct dump_version *version, uint64_t epoch, struct dump_result *ret_result,
             struct err *e)
{
    _cleanup_spool_ struct dump_spool spool = { .dirfd = -1, .notesfd = -1 };
    _cleanup_close_ int fd = -1;
    struct dump_version picked;
    struct dump_trailer trailer;
    uint64_t began_ms = now_ms();
    *ret_result = (struct dump_result){ .outcome = DUMP_STORED };
    if (dump_spool_open(conf, store, BUSY_MS, &spool, e) < 0 ||
        pick(&spool, version, &picked, e) < 0 ||
        dump_spool_read(&spool, &picked, true, &fd, &trailer, e) < 0)
        return -1;
    struct giving giving = { .fd = fd, .size = trailer.size };
    dump_name_write(&picked, ret_result->name);
    int rc = run_restore(store, &giving, e);
    event(EV_DUMP_RESTORED, F_STR("store", store->name), F_STR("version", ret_result->name),
          F_U64("epoch", epoch), F_STR("result", rc < 0 ? "failed" : "done"),
          F_STR("error", rc < 0 ? e->text : ""));
    if (rc < 0)
        return err_wrap(e, "restore %s", ret_result->name);
    ret_result->size = trailer.size;
    ret_result->milliseconds = now_ms() - MIN(now_ms(), began_ms);
    return dump_spool_note(
        &spool, "restored",
        json_pack("{s:I, s:s}", "epoch", (json_int_t)epoch, "version", ret_result->name), e);
}
