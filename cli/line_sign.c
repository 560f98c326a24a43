/* line_sign.c - who gives an order, and why: for the audit trail. The daemon has the number of the
 * user from the kernel, which behind sudo is root's for everybody. */
#include "cli/line_sign.h"
#include "lib/os/audit.h"
#include "lib/os/event.h"
#include "lib/os/file.h"
#include "lib/os/state_dir.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REASON_MAX 1024 /* bytes */

/* The user number of the session, which sudo and su leave alone. */
static bool
login_uid(uid_t *ret_uid)
{
    char *text = NULL;
    size_t len;
    if (file_read(AT_FDCWD, "/proc/self/loginuid", 32, &text, &len, NULL) <= 0)
        return false;
    unsigned long uid = strtoul(text, NULL, 10);
    free(text);
    *ret_uid = (uid_t)uid;
    return uid < UINT32_MAX;
}

static const char *
who(void)
{
    uid_t uid;
    const char *behind_sudo = getenv("SUDO_USER");
    if (!login_uid(&uid) && behind_sudo != NULL && behind_sudo[0] != '\0')
        return behind_sudo;
    const struct passwd *account = getpwuid(login_uid(&uid) ? uid : getuid());
    return account != NULL ? account->pw_name : "";
}

/* NULL: none is given, or the command takes none. */
static const char *
reason_of(const struct line *line)
{
    const char *reason = NULL;
    for (size_t i = 0; i < line->switch_count; i++)
        if (strcmp(line->switches[i].name, "reason") == 0)
            reason = line->switches[i].value;
    return reason;
}

int
line_sign(const struct line *line, json_t *request, struct err *e)
{
    const char *reason = reason_of(line);
    if (reason != NULL && strlen(reason) > REASON_MAX)
        return err_set(e, ERR_USAGE, "--reason has %zu bytes, the limit is %d", strlen(reason),
                       REASON_MAX);
    if (reason != NULL && json_object_set_new(request, "reason", json_string(reason)) < 0)
        return err_set(e, ERR_USAGE, "--reason is not UTF-8");
    json_object_set_new(request, "by",
                        json_string(who())); /* a name that is no UTF-8 is left out */
    return 0;
}

void
line_note(const struct line *line, const char *what, const char *store)
{
    const char *reason = reason_of(line);
    event(EV_CONTROL, F_STR("order", what), F_STR("store", store), F_U64("uid", getuid()),
          F_U64("pid", (uint64_t)getpid()), F_STR("reason", reason != NULL ? reason : ""),
          F_STR("by", who()));
}

int
line_audit(const struct conf *conf, struct err *e)
{
    /* open until the end: acts may come until then */
    int state = state_dir_open(conf, e);
    if (state < 0)
        return -1;
    audit_begin(state);
    return 0;
}
