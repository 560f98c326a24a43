#include "cli/generate.h"

#include "lib/os/file.h"

#include <stdlib.h>
#include <string.h>

static int
write_file(int dirfd, const char *name, void (*generate)(FILE *out), struct err *e)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    ASSERT(out != NULL);
    generate(out);
    fclose(out);
    int r = file_replace(dirfd, name, span_of(text, len), 0644, e);
    free(text);
    return r;
}

static const struct command *current; /* of generate_current(), which write_file() calls */

static void
generate_current(FILE *out)
{
    generate_man_command(current, out);
}

static int
write_man(int dirfd, struct err *e)
{
    if (write_file(dirfd, "mailtwin.1", generate_man_main, e) < 0 ||
        write_file(dirfd, "mailtwin.conf.5", generate_man_conf, e) < 0)
        return -1;
    for (size_t i = 0; i < command_count; i++) {
        current = &commands[i];
        _cleanup_free_ char *name = xasprintf("mailtwin-%s.%u", current->name, current->section);
        if (current->kind != HIDDEN && write_file(dirfd, name, generate_current, e) < 0)
            return -1;
    }
    return 0;
}

int
cmd_generate(const struct line *line, struct err *e)
{
    if (line->argument_count != 2)
        return err_set(e, ERR_USAGE, "usage: mailtwin generate man | completion | conf DIR");
    const char *what = line->arguments[0], *dir = line->arguments[1];
    _cleanup_close_ int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return err_sys(e, ERR_IO, "open the directory %s", dir);
    if (strcmp(what, "man") == 0)
        return write_man(dirfd, e);
    if (strcmp(what, "completion") == 0)
        return write_file(dirfd, "mailtwin.bash", generate_completion, e);
    if (strcmp(what, "conf") == 0)
        return write_file(dirfd, "mailtwin.conf.example", generate_conf, e);
    return err_set(e, ERR_USAGE, "mailtwin generate knows man, completion and conf");
}
