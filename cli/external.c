#include "cli/external.h"

#include "cli/commands.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-"
#define NAME_MAX_LEN    32

/* Where this program lies, without the slash. */
static void
own_directory(char dir[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", dir, PATH_MAX - 1);
    dir[MAX(len, 0)] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash != NULL)
        *slash = '\0';
}

/* Tries to become dir/mailtwin-NAME; returns when there is none. */
static int
try_directory(const char *dir, const char *name, char **arguments, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/mailtwin-%s", dir, name);
    execv(path, arguments);
    if (errno == ENOENT || errno == ENOTDIR)
        return 0;
    return err_errnum(e, ERR_IO, errno, "run %s", path);
}

static char **
program_arguments(const struct line *line, const char *program)
{
    size_t count = 0;
    while (line->rest[count] != NULL)
        count++;
    char **arguments = xcalloc(count + 2, sizeof(char *));
    arguments[0] = xstrdup(program);
    memcpy(arguments + 1, line->rest, count * sizeof(char *));
    return arguments;
}

static int
fail_unknown(const struct line *line, struct err *e)
{
    if (line->command != NULL)
        return err_set(e, ERR_GONE, "the program mailtwin-%s is not installed", line->word);
    return err_set(e, ERR_USAGE, "unknown command \"%.64s\", the nearest known one is \"%s\"",
                   line->word, command_nearest(line->word));
}

static const char *const places[] = { "/usr/libexec/mailtwin", "/usr/sbin", "/usr/bin" };

static char *
find_in(const char *dir, const char *name)
{
    char *path = xasprintf("%s/mailtwin-%s", dir, name);
    if (access(path, X_OK) != 0)
        freep(&path);
    return path;
}

char *
external_find(const char *name)
{
    char own[PATH_MAX];
    own_directory(own);
    char *path = find_in(own, name);
    for (size_t i = 0; path == NULL && i < ARRAY_LEN(places); i++)
        path = find_in(places[i], name);
    return path;
}

int
external_run(const struct line *line, struct err *e)
{
    char own[PATH_MAX];
    if (strspn(line->word, NAME_CHARACTERS) != strlen(line->word) ||
        strlen(line->word) > NAME_MAX_LEN)
        return fail_unknown(line, e);
    own_directory(own);
    if (line_has(line, "config"))
        setenv("MAILTWIN_CONFIG", line_value(line, "config"), 1);
    if (line_has(line, "node"))
        setenv("MAILTWIN_NODE", line_value(line, "node"), 1);
    _cleanup_free_ char *program = xasprintf("mailtwin-%s", line->word);
    _cleanup_free_ char **arguments = program_arguments(line, program);
    _cleanup_free_ char *name = arguments[0];
    if (try_directory(own, line->word, arguments, e) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (try_directory(places[i], line->word, arguments, e) < 0)
            return -1;
    (void)name;
    return fail_unknown(line, e);
}
