/* step_directory.c - the directory server of this node gets what its spool has: mailtwin-directoryd
 * does it, this waits for it. */
#include "cli/steps.h"

#include "cli/line.h"
#include "lib/os/control.h"

#define SILENCE_MS (10 * 60 * 1000)

int
step_directory(const struct conf *conf, const struct conf_store *store, uint64_t epoch,
               char **ret_text, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    _cleanup_json_ json_t *request = json_pack("{s:s, s:s, s:I}", "do", "level", "store",
                                               store->name, "epoch", (json_int_t)epoch);
    struct err why = { 0 };
    int rc = control_ask(conf->run_dir, CONTROL_DIRECTORY, request, SILENCE_MS, NULL, NULL, &reply,
                         &why);
    if (rc < 0 && why.code == ERR_PEER)
        return err_set(e, ERR_PEER,
                       "mailtwin-directoryd does not answer at %s/" CONTROL_DIRECTORY
                       "; start it and give the order again",
                       conf->run_dir);
    if (rc < 0)
        return err_set(e, why.code, "%s", why.text);
    const char *text = json_text(reply, "text");
    *ret_text = xstrdup(text[0] != '\0' ? text : "the directory server has what the spool has");
    return 0;
}
