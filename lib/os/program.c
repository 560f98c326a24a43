#include "lib/os/program.h"

#include "lib/base/version.h"
#include "lib/os/event.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX "mailtwin-" /* of a program's name; events are told without */

struct options {
    const char *file, *node;
    bool check;
};

static void
usage(const struct program *program, FILE *out)
{
    fprintf(out, "usage: %s [--foreground]%s [--config FILE] [--node NAME]\n%s; see %s(8).\n",
            program->name, program->check != NULL ? " [--check]" : "", program->does,
            program->name);
}

/* -1: go on; else the exit status. */
static int
read_options(const struct program *program, int argc, char **argv, struct options *ret_options)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "node", required_argument, NULL, 'n' },
        { "foreground", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        { "check", no_argument, NULL, 'k' },
        { NULL, 0, NULL, 0 },
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c == 'c')
            ret_options->file = optarg;
        else if (c == 'n')
            ret_options->node = optarg;
        else if (c == 'k' && program->check != NULL)
            ret_options->check = true;
        else if (c == 'v')
            printf("%s %s\n", program->name, MAILTWIN_VERSION);
        else if (c != 'f')
            usage(program, c == 'h' ? stdout : stderr);
        if (c == 'h' || c == 'v')
            return 0;
        if (c == '?' || (c == 'k' && program->check == NULL))
            return 2;
    }
    return -1;
}

int
program_main(const struct program *program, int argc, char **argv)
{
    struct options options = { 0 };
    struct conf *conf = NULL;
    struct err e = { 0 };
    int status = read_options(program, argc, argv, &options);
    if (status >= 0)
        return status;
    event_init(program->name + strlen(PREFIX), EVENT_INFO);
    int rc = optind < argc ? err_set(&e, ERR_USAGE, "%s takes no argument \"%s\"", program->name,
                                     argv[optind])
                           : conf_load(options.file, options.node, &conf, &e);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", program->name, e.text);
        return err_exit_status(e.code);
    }
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    status = options.check ? program->check(conf) : program->run(conf);
    conf_free(&conf);
    return status;
}
