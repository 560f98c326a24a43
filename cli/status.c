#include "cli/commands.h"
#include "cli/screen.h"
#include "lib/os/control.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 10000

static void
show(const struct line *line, const json_t *status)
{
    if (line_has(line, "json"))
        print_json(status);
    else
        screen_print(status, stdout);
}

static int
status_once(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *status = NULL;
    if (line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "status"), ANSWER_MS, &status, e) <
        0)
        return -1;
    show(line, status);
    return 0;
}

/* Until it is interrupted or nobody reads any more; a daemon that restarts is waited for. */
static int
status_watch(const struct line *line, struct err *e)
{
    bool terminal = isatty(STDOUT_FILENO) == 1 && !line_has(line, "json");
    const struct timespec pause = { .tv_sec = 1 };
    do {
        if (terminal)
            fputs("\033[H\033[2J", stdout);
        if (status_once(line, e) < 0) {
            if (e->code != ERR_PEER)
                return -1;
            printf("%s\n", e->text);
        }
    } while (fflush(stdout) == 0 && nanosleep(&pause, NULL) == 0);
    return 0;
}

int
cmd_status(const struct line *line, struct err *e)
{
    return line_has(line, "watch") ? status_watch(line, e) : status_once(line, e);
}
