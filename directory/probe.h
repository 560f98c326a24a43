/* probe.h - is a directory server fit to be replicated? For `mailtwin check`: looks, changes
 * nothing. probe_judge() is pure. */
#ifndef MAILTWIN_DIRECTORY_PROBE_H
#define MAILTWIN_DIRECTORY_PROBE_H

#include "lib/base/err.h"
#include "lib/os/conf.h"

#define PROBE_SECONDS 15 /* for counting the entries; what is not counted by then is not */

/* What the server said to the account that mailtwin-directoryd is there. */
struct probe {
    bool reached; /* connected and logged in; else why_not says why */
    char why_not[ERR_TEXT_MAX];
    bool syncs;           /* the database of base knows content synchronization */
    bool has_base;        /* the entry at base is there, to this account */
    bool has_id, has_csn; /* and shows entryUUID and entryCSN */
    bool limited;         /* a search ended at a limit of the server's */
    uint64_t entries;     /* that were seen before that */
    bool whole;           /* all were counted in time */
    bool shows_passwords; /* some entry shows its userPassword */
};

void probe_ask(const struct conf_store *store, const char *password, struct probe *ret_probe);

/* "ok", "warn" or "fail" as check has it, and a sentence that says what to do. */
struct probe_word {
    const char *state;
    char text[ERR_TEXT_MAX];
};

struct probe_word probe_judge(const struct conf_store *store, const struct probe *probe);

#endif
