/* resync.c - orders that this node is brought level, and follows that to its end. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "lib/os/control.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ANSWER_MS 60000
#define STATUS_MS 2000
#define LOOK_NS   500000000L /* between two looks at the status */
#define GOES_ON   "mailtwin status --watch follows it"

struct follow {
    const struct conf *conf;
    const char *from; /* NULL: whoever is primary */
    struct progress progress;
};

static volatile sig_atomic_t interrupted; /* by this signal */

static void
print_store_names(const struct conf *conf)
{
    for (size_t i = 0; i < conf->store_count; i++)
        printf("  %-12s %s\n", conf->stores[i].name, conf->stores[i].path);
}

static int
plan_resync(const struct conf *conf, const char *from, const json_t *status, struct err *e)
{
    if (strcmp(json_text(status, "role"), "primary") == 0)
        return err_set(e, ERR_REFUSED, "%s is the primary: run resync on the standby", conf->self);
    printf("%s, now %s of epoch %.0f, would be brought level with %s. Stores:\n", conf->self,
           json_string_value(json_object_get(status, "role")),
           json_number_value(json_object_get(status, "epoch")),
           from != NULL ? from : "the primary");
    print_store_names(conf);
    if (from != NULL)
        printf("Until that begins no other node is followed.\n");
    puts("Every directory is compared; what differs is taken from there. Names and contents that\n"
         "only this node has are replaced. Nothing has been changed.");
    return 0;
}

static int
confirm_resync(const struct line *line, const struct conf *conf, const char *from, struct err *e)
{
    _cleanup_free_ char *what = xasprintf("a resync replaces what only %s has", conf->self);
    _cleanup_free_ char *question = xasprintf(
        "What only %s has in its stores is replaced by the data of %s.", conf->self,
        from != NULL ? from : "the primary");
    return line_confirm(line, what, question, e);
}

/* --- to its end --- */

/* The peer that a sync comes from now; NULL: none does. */
static const json_t *
sync_of(const json_t *status)
{
    const json_t *peers = json_object_get(status, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *resync = json_object_get(json_array_get(peers, i), "resync");
        if (json_is_object(resync))
            return resync;
    }
    return NULL;
}

/* What the status says of the nodes it could come from. */
static void
show_waiting(struct follow *f, const json_t *status)
{
    const json_t *peers = json_object_get(status, "peers");
    char text[PROGRESS_TEXT_MAX] = "waiting";
    for (size_t i = 0; i < json_array_size(peers); i++) {
        const json_t *peer = json_array_get(peers, i);
        const char *why = json_text(peer, "why");
        size_t at = strlen(text);
        if (strcmp(json_text(peer, "state"), "resync") == 0)
            return; /* how far it is comes in a moment */
        if (f->from == NULL || strcmp(f->from, json_text(peer, "node")) == 0)
            snprintf(text + at, sizeof(text) - at, "; %s %s%s%s", json_text(peer, "node"),
                     json_text(peer, "state"), why[0] != '\0' ? ": " : "", why);
    }
    progress_note(&f->progress, text);
}

/* 1 level, 0 not yet. */
static int
judge(struct follow *f, const json_t *status, struct err *e)
{
    const json_t *sync = sync_of(status);
    const char *word = json_text(status, "sync");
    if (strcmp(json_text(status, "role"), "primary") == 0)
        return err_set(e, ERR_GONE, "the resync was given up: this node was made the primary");
    if (word[0] == '\0')
        return err_set(e, ERR_PROTOCOL,
                       "the resync runs, but the daemon does not tell when it is complete: it is "
                       "older than this program; " GOES_ON);
    if (strcmp(word, "none") == 0)
        return 1;
    if (sync != NULL)
        progress_show(sync, &f->progress);
    else
        show_waiting(f, status);
    return 0;
}

/* A daemon that restarts goes on with the sync. */
static int
look(struct follow *f, struct err *e)
{
    _cleanup_json_ json_t *request = json_pack("{s:s}", "do", "status");
    _cleanup_json_ json_t *status = NULL;
    struct err why = { 0 };
    if (control_ask(f->conf->run_dir, CONTROL_SOCKET, request, STATUS_MS, NULL, NULL, &status,
                    &why) >= 0)
        return judge(f, status, e);
    if (why.code != ERR_PEER && why.code != ERR_TIMEOUT && why.code != ERR_BUSY) {
        *e = why;
        return err_wrap(e, "the resync goes on; " GOES_ON);
    }
    progress_note(&f->progress, why.text);
    return 0;
}

static void
note_signal(int number)
{
    interrupted = number;
}

/* Who has a signal ignored goes on without it. */
static void
catch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct sigaction before;
        const struct sigaction noted = { .sa_handler = note_signal };
        sigaction(numbers[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &noted, NULL);
    }
}

/* Ends as the signal would have ended it: a script stops here, too. */
static void
leave(struct follow *f)
{
    progress_end(&f->progress);
    fputs("mailtwin: the resync goes on; " GOES_ON "\n", stderr);
    signal(interrupted, SIG_DFL);
    raise(interrupted);
}

static int
follow(struct follow *f, struct err *e)
{
    const struct timespec pause = { .tv_nsec = LOOK_NS };
    char took[HUMAN_MAX];
    int level;
    while ((level = look(f, e)) == 0) {
        if (interrupted == 0)
            nanosleep(&pause, NULL);
        if (interrupted != 0)
            leave(f);
    }
    progress_end(&f->progress);
    if (level < 0)
        return -1;
    printf("%s is level with %s after %s\n", f->conf->self,
           f->from != NULL ? f->from : "the primary",
           human_seconds(progress_seconds(&f->progress), took));
    return 0;
}

static int
order(const struct line *line, const char *from, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    json_t *request = json_pack("{s:s}", "do", "resync");
    if (from != NULL)
        json_object_set_new(request, "from", json_string(from));
    return line_ask(line, CONTROL_SOCKET, request, ANSWER_MS, &reply, e);
}

static int
order_and_follow(const struct line *line, const struct conf *conf, const char *from, struct err *e)
{
    struct follow f = { .conf = conf, .from = from };
    if (order(line, from, e) < 0)
        return -1;
    progress_begin(&f.progress);
    catch_signals(); /* now the order stands */
    return follow(&f, e);
}

int
cmd_resync(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    _cleanup_json_ json_t *status = NULL;
    const char *from = line_value(line, "from");
    if (line_conf(line, &conf, e) < 0)
        return -1;
    if (from != NULL && conf_node_find(conf, from) == NULL)
        return err_set(e, ERR_USAGE, "the configuration has no node \"%.64s\"", from);
    if (from != NULL && strcmp(from, conf->self) == 0)
        return err_set(e, ERR_USAGE, "%s cannot be brought level with itself", from);
    if (line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "status"), ANSWER_MS, &status, e) <
        0)
        return -1;
    if (line_has(line, "plan"))
        return plan_resync(conf, from, status, e);
    if (confirm_resync(line, conf, from, e) < 0)
        return -1;
    if (!line_has(line, "no-wait"))
        return order_and_follow(line, conf, from, e);
    if (order(line, from, e) < 0)
        return -1;
    puts("the resync runs; " GOES_ON);
    return 0;
}
