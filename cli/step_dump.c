/* step_dump.c - the program of a dump store is given the newest version, unless its data here is
 * what that was made of. */
#include "cli/steps.h"

#include "lib/store/dump_run.h"

static int
must_restore(const struct conf *conf, const struct conf_store *store, uint64_t epoch, bool *ret_any,
             bool *ret_must, struct err *e)
{
    _cleanup_spool_ struct dump_spool spool = { .dirfd = -1, .notesfd = -1 };
    struct dump_facts facts;
    if (dump_spool_open(conf, store, DUMP_SHARED, &spool, e) < 0 ||
        dump_spool_facts(&spool, epoch, &facts, e) < 0)
        return -1;
    *ret_any = facts.any;
    *ret_must = dump_must_restore(&facts);
    return 0;
}

int
step_dump(const struct conf *conf, const struct conf_store *store, uint64_t epoch, char **ret_text,
          struct err *e)
{
    bool any, must;
    struct dump_result result;
    if (must_restore(conf, store, epoch, &any, &must, e) < 0)
        return -1;
    if (!must) {
        *ret_text = xstrdup(
            any ? "nothing to restore: the program here has what the newest version "
                  "was made of, or later"
                : "nothing to restore: there is no version");
        return 0;
    }
    if (dump_restore(conf, store, NULL, epoch, &result, e) < 0)
        return -1;
    *ret_text = xasprintf("restored %s, %llu bytes", result.name, (unsigned long long)result.size);
    return 0;
}
