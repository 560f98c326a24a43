/* program.h - how each daemon begins: options, configuration, what every process of ours sets. */
#ifndef MAILTWIN_PROGRAM_H
#define MAILTWIN_PROGRAM_H

#include "lib/os/conf.h"

struct program {
    const char *name; /* "mailtwin-gate": of the file, the manual page in section 8, and messages */
    const char *does; /* a sentence for --help, without its end */
    int (*run)(const struct conf *conf); /* the exit status */
    /* For --check, which `mailtwin check` gives: looks, prints what it found, changes nothing; NULL
     * there is none. The exit status. */
    int (*check)(const struct conf *conf);
};

/* For main(): reads --config, --node, --foreground (which changes nothing), --help and --version,
 * loads the configuration, and runs the program with SIGPIPE ignored and a umask of 077. What is
 * wrong is one sentence on stderr. Returns the exit status. */
int program_main(const struct program *program, int argc, char **argv);

#endif
