/* step_queue.c - a queue that came from another node: Postfix names files by inode, and here they
 * have others. postsuper -s renames them; two mails could get one name otherwise. */
#include "cli/steps.h"

#include "lib/base/buf.h"
#include "lib/os/command.h"
#include "lib/store/queue_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS           8
#define REPAIR_LIMIT_MS (10u * 60 * 1000) /* 100,000 files take seconds */
#define ASK_LIMIT_MS    10000u
#define ANSWER_MAX      65536

static int
take_answer(void *arg, struct span bytes, struct err *e)
{
    struct buf *answer = arg;
    if (bytes.len > ANSWER_MAX - answer->len)
        return err_set(e, ERR_IO, "it says more than %d bytes", ANSWER_MAX);
    buf_add(answer, bytes.ptr, bytes.len);
    return 0;
}

/* answer: what it writes to standard output; NULL: it goes to the tail, as its warnings do. */
static int
run_tool(const struct conf_store *store, const char *program, const char *word, const char *more,
         struct buf *answer, struct command_result *result, struct err *e)
{
    char *words[WORDS] = { xstrdup(program) };
    size_t count = 1;
    if (store->config_dir != NULL) {
        words[count++] = xstrdup("-c");
        words[count++] = xstrdup(store->config_dir);
    }
    words[count++] = xstrdup(word);
    if (more != NULL)
        words[count++] = xstrdup(more);
    struct command command = { .words = words,
                               .timeout_ms = more != NULL ? ASK_LIMIT_MS : REPAIR_LIMIT_MS,
                               .sink = answer != NULL ? take_answer : NULL,
                               .arg = answer };
    int rc = command_succeed(&command, result, e);
    for (size_t i = 0; i < count; i++)
        free(words[i]);
    return rc;
}

/* Does the Postfix of that config-dir use this very queue? Another one's would be repaired, and
 * this one left as it is. */
static int
check_place(const struct conf_store *store, struct err *e)
{
    struct command_result result;
    _cleanup_buf_ struct buf answer = { 0 };
    if (run_tool(store, "postconf", "-h", "queue_directory", &answer, &result, e) < 0)
        return err_wrap(e, "ask Postfix where its queue is");
    buf_add_u8(&answer, '\0');
    char *place = (char *)answer.ptr;
    place[strcspn(place, "\n")] = '\0';
    char *told = realpath(place, NULL);
    char *ours = realpath(store->path, NULL);
    bool same = told != NULL && ours != NULL && strcmp(told, ours) == 0;
    free(told);
    free(ours);
    if (same)
        return 0;
    return err_set(e, ERR_CONFIG,
                   "Postfix has its queue in %.300s and the store %s is %s; set config-dir of the "
                   "store to the directory of that Postfix's main.cf",
                   place, store->name, store->path);
}

static int
check_stopped(const struct conf_store *store, struct err *e)
{
    int used = queue_in_use(store->path, e);
    if (used <= 0)
        return used;
    return err_set(e, ERR_REFUSED,
                   "Postfix runs on %s; stop it (postfix stop), give the order again, and start it "
                   "behind that",
                   store->path);
}

static int
check_result(const struct conf_store *store, const struct queue_count *before,
             const struct queue_count *after, const char *said, struct err *e)
{
    if (after->messages != before->messages)
        return err_set(e, ERR_IO, "%s had %llu mails before the repair and has %llu: %s",
                       store->path, (unsigned long long)before->messages,
                       (unsigned long long)after->messages, said);
    if (after->foreign > 0)
        return err_set(e, ERR_IO, "%llu mails in %s still have the name of another inode: %s",
                       (unsigned long long)after->foreign, store->path, said);
    return 0;
}

int
step_queue(const struct conf *conf, const struct conf_store *store, uint64_t epoch, char **ret_text,
           struct err *e)
{
    (void)conf;
    (void)epoch;
    struct command_result result;
    struct queue_count before, after;
    if (check_stopped(store, e) < 0 || check_place(store, e) < 0 ||
        queue_count(store->path, &before, e) < 0 ||
        run_tool(store, "postsuper", "-s", NULL, NULL, &result, e) < 0 ||
        queue_count(store->path, &after, e) < 0 ||
        check_result(store, &before, &after, result.tail, e) < 0)
        return -1;
    *ret_text = xasprintf("%llu mails are in the queue, %llu were renamed",
                          (unsigned long long)after.messages, (unsigned long long)before.foreign);
    return 0;
}
