/* dump_run.h - makes a version of a dump store by its command, or gives one back to its restore
 * command. */
#ifndef MAILTWIN_DUMP_RUN_H
#define MAILTWIN_DUMP_RUN_H

#include "lib/store/dump_spool.h"

enum dump_outcome {
    DUMP_STORED,
    DUMP_UNCHANGED, /* the same bytes as the newest version: nothing was added */
};

struct dump_result {
    enum dump_outcome outcome;
    char name[DUMP_NAME_SIZE]; /* the version that has those bytes */
    uint64_t size, milliseconds;
};

/* What a node may do now. For a dump it is asked before and once more when the bytes are there:
 * the role may have moved. */
struct dump_role {
    bool primary;
    uint64_t epoch;
};
typedef int dump_ask_role(const struct conf *conf, struct dump_role *ret_role, struct err *e);
/* By the daemon's barrier socket. */
dump_ask_role dump_role_of_node;

/* With `last` it does not wait for another run. force: although this node's program was not given
 * the newest version (dump_may_run()). `last`: with the lowest priority. The outcome, a failure as
 * well, is in the notes under "last". */
int dump_take(const struct conf *conf, const struct conf_store *store, bool force, bool last,
              dump_ask_role *ask, struct dump_result *ret_result, struct err *e) _must_check_;

/* Feeds the version (NULL: the newest) to the restore command once its hash was found right, and
 * notes that this was done in this epoch. */
int dump_restore(const struct conf *conf, const struct conf_store *store,
                 const struct dump_version *version, uint64_t epoch, struct dump_result *ret_result,
                 struct err *e) _must_check_;

#endif
