/* scratch_kit.h - a directory of the test program's own, for as long as it runs: `dir`. */
#ifndef MAILTWIN_TEST_SCRATCH_KIT_H
#define MAILTWIN_TEST_SCRATCH_KIT_H

#include <stdio.h>
#include <stdlib.h>

static char dir[] = "/tmp/mailtwin-test-XXXXXX";

__attribute__((constructor)) static void
make_scratch(void)
{
    if (mkdtemp(dir) == NULL)
        abort();
}

__attribute__((destructor)) static void
remove_scratch(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    if (system(command) != 0)
        perror(command);
}

#endif
