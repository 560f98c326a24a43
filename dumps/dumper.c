#include "dumps/dumper.h"

#include "dumps/schedule.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/proc.h"
#include "lib/store/dump_run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HELD_STATUS 3

struct job {
    const struct conf *conf;
    const struct conf_store *store;
    struct schedule schedule;
    struct proc proc; /* pid 0: none runs */
    int64_t began_ms;
    bool held_told;
};

struct dumper {
    const struct conf *conf;
    struct job *jobs;
    size_t count;
};

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* By the notes of the store; where they cannot be read it is due now. */
static uint64_t
last_began(const struct conf *conf, const struct conf_store *store)
{
    struct dump_spool spool;
    if (dump_spool_open(conf, store, DUMP_SHARED, &spool, NULL) < 0)
        return 0;
    const json_t *last = json_object_get(spool.notes, "last");
    uint64_t began = (uint64_t)json_integer_value(json_object_get(last, "began_ms"));
    dump_spool_close(&spool);
    return began;
}

struct dumper *
dumper_new(const struct conf *conf)
{
    struct dumper *dumper = xcalloc(1, sizeof(*dumper));
    dumper->conf = conf;
    dumper->jobs = xcalloc(conf->store_count + 1, sizeof(dumper->jobs[0]));
    for (size_t i = 0; i < conf->store_count; i++) {
        const struct conf_store *store = &conf->stores[i];
        if (store->kind != STORE_DUMP)
            continue;
        struct job *job = &dumper->jobs[dumper->count++];
        *job = (struct job){ .conf = conf, .store = store };
        job->proc.control_fd = -1;
        schedule_begin(&job->schedule, store->dump.every_ms, last_began(conf, store),
                       (uint64_t)time(NULL) * 1000, now_ms());
    }
    return dumper;
}

size_t
dumper_count(const struct dumper *dumper)
{
    return dumper->count;
}

/* --- a run --- */

static int
run_dump(int control_fd, const void *arg)
{
    const struct job *job = arg;
    struct dump_result result;
    struct err e = { 0 };
    close(control_fd);
    signal(SIGPIPE, SIG_IGN);
    if (dump_take(job->conf, job->store, false, true, dump_role_of_node, &result, &e) == 0) {
        event(EV_DUMP_STORED, F_STR("store", job->store->name), F_STR("version", result.name),
              F_STR("outcome", result.outcome == DUMP_STORED ? "stored" : "unchanged"),
              F_U64("bytes", result.size), F_U64("ms", result.milliseconds));
        return 0;
    }
    if (e.code == ERR_BUSY)
        return 0; /* somebody makes one by hand right now */
    if (e.code == ERR_REFUSED && !job->held_told)
        event(EV_DUMP_HELD, F_STR("store", job->store->name), F_ERR(&e));
    else if (e.code != ERR_REFUSED)
        event(EV_DUMP_FAILED, F_STR("store", job->store->name), F_ERR(&e));
    return err_exit_status(e.code);
}

static void
begin_run(struct job *job)
{
    struct err e = { 0 };
    job->began_ms = now_ms();
    if (proc_spawn("dump", run_dump, job, &job->proc, &e) == 0)
        return;
    event(EV_DUMP_FAILED, F_STR("store", job->store->name), F_ERR(&e));
    job->proc = (struct proc){ .control_fd = -1 };
    schedule_ended(&job->schedule, SCHEDULE_FAILED, job->began_ms, now_ms());
}

static void
collect_run(struct job *job)
{
    int status;
    struct err e = { 0 };
    if (job->proc.pid == 0)
        return;
    int ended = proc_wait(job->proc.pid, 0, &status, &e);
    if (ended == 0)
        return;
    file_closep(&job->proc.control_fd);
    job->proc.pid = 0;
    bool done = ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    job->held_told = ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == HELD_STATUS;
    if (ended > 0 && WIFSIGNALED(status))
        event(EV_DUMP_FAILED, F_STR("store", job->store->name),
              F_U64("signal", (uint64_t)WTERMSIG(status)));
    schedule_ended(&job->schedule,
                   done             ? SCHEDULE_DONE
                   : job->held_told ? SCHEDULE_HELD
                                    : SCHEDULE_FAILED,
                   job->began_ms, now_ms());
}

/* --- the loop's turn --- */

static bool
any_due(const struct dumper *dumper)
{
    for (size_t i = 0; i < dumper->count; i++)
        if (dumper->jobs[i].proc.pid == 0 && schedule_is_due(&dumper->jobs[i].schedule, now_ms()))
            return true;
    return false;
}

void
dumper_tick(struct dumper *dumper)
{
    struct dump_role role;
    for (size_t i = 0; i < dumper->count; i++)
        collect_run(&dumper->jobs[i]);
    /* A daemon that does not answer has no role to go by: it is asked again. */
    if (!any_due(dumper) || dump_role_of_node(dumper->conf, &role, NULL) < 0 || !role.primary)
        return;
    for (size_t i = 0; i < dumper->count; i++) {
        struct job *job = &dumper->jobs[i];
        if (job->proc.pid == 0 && schedule_is_due(&job->schedule, now_ms()))
            begin_run(job);
    }
}

void
dumper_free(struct dumper **dumper)
{
    if (*dumper == NULL)
        return;
    for (size_t i = 0; i < (*dumper)->count; i++) {
        struct proc *proc = &(*dumper)->jobs[i].proc;
        int status;
        if (proc->pid != 0 && proc_stop(proc, 0, &status, NULL) < 0)
            continue; /* it dies with us */
    }
    free((*dumper)->jobs);
    free(*dumper);
    *dumper = NULL;
}
