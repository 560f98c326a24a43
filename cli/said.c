#include "cli/said.h"

#include "lib/base/buf.h"
#include "lib/os/command.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SAID_MAX  (64 * 1024)
#define NOT_THERE 127 /* as command.h ends what cannot be run */

static int
keep(void *arg, struct span bytes, struct err *e)
{
    struct buf *said = arg;
    if (said->len + bytes.len > SAID_MAX)
        return err_set(e, ERR_PROTOCOL, "it says more than %d bytes", SAID_MAX);
    buf_add(said, bytes.ptr, bytes.len);
    return 0;
}

static int
run(const char *const *words, unsigned timeout_ms, struct buf *said,
    struct command_result *ret_result, struct err *e)
{
    char *copy[SAID_WORDS_MAX + 1] = { NULL };
    for (size_t i = 0; words[i] != NULL; i++) {
        ASSERT(i < SAID_WORDS_MAX);
        copy[i] = xstrdup(words[i]);
    }
    const struct command command = {
        .words = copy, .timeout_ms = timeout_ms, .sink = keep, .arg = said
    };
    int rc = command_run(&command, ret_result, e);
    for (size_t i = 0; copy[i] != NULL; i++)
        free(copy[i]);
    return rc < 0 ? err_wrap(e, "%s", words[0]) : 0;
}

int
said_line(const char *const *words, unsigned timeout_ms, char **ret_line, struct err *e)
{
    _cleanup_buf_ struct buf said = { 0 };
    struct command_result result;
    if (run(words, timeout_ms, &said, &result, e) < 0)
        return -1;
    if (WIFEXITED(result.status) && WEXITSTATUS(result.status) == NOT_THERE)
        return 0;
    if (result.status != 0)
        return err_set(e, ERR_IO, "%s does not tell its settings: %s", words[0], result.tail);
    buf_add_u8(&said, '\0');
    *ret_line = xstrdup((const char *)said.ptr);
    (*ret_line)[strcspn(*ret_line, "\r\n")] = '\0';
    return 1;
}
