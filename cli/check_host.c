/* check_host.c - the machine, apart from its filesystems. */
#include "cli/check.h"
#include "lib/os/pki.h"
#include "lib/os/tls.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <sys/utsname.h>

#define KERNEL_MAJOR   5 /* FAN_RENAME came with 5.17 */
#define KERNEL_MINOR   17
#define QUEUE_MIN      16384
#define DAYS_WARN      30
#define SECONDS_OF_DAY 86400
#define QUEUE_FILE     "/proc/sys/fs/fanotify/max_queued_events"

static void
check_queue(struct check *check)
{
    unsigned long events = 0;
    FILE *file = fopen(QUEUE_FILE, "re");
    bool known = file != NULL && fscanf(file, "%lu", &events) == 1;
    if (file != NULL)
        fclose(file);
    if (!known)
        check_found(check, FINDING_WARN, "fanotify", "%s cannot be read: %s", QUEUE_FILE,
                    strerror(errno));
    else if (events < QUEUE_MIN)
        check_found(check, FINDING_WARN, "fanotify",
                    "fs.fanotify.max_queued_events is %lu; with less than %d a burst of changes "
                    "costs a sweep; deploy/sysctl.d raises it",
                    events, QUEUE_MIN);
    else
        check_found(check, FINDING_OK, "fanotify", "fs.fanotify.max_queued_events is %lu", events);
}

void
check_kernel(struct check *check)
{
    struct utsname host;
    int major = 0, minor = 0;
    if (uname(&host) < 0 || sscanf(host.release, "%d.%d", &major, &minor) != 2)
        check_found(check, FINDING_WARN, "kernel", "its version cannot be told");
    else if (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR))
        check_found(check, FINDING_FAIL, "kernel",
                    "Linux %s is too old: changes can be followed from %d.%d on", host.release,
                    KERNEL_MAJOR, KERNEL_MINOR);
    else
        check_found(check, FINDING_OK, "kernel", "Linux %s", host.release);
    check_queue(check);
}

void
check_clock(struct check *check)
{
    struct timex clock = { .modes = 0 };
    int state = adjtimex(&clock);
    if (state < 0)
        check_found(check, FINDING_WARN, "clock", "whether it is synchronised cannot be told: %s",
                    strerror(errno));
    else if (state == TIME_ERROR || (clock.status & STA_UNSYNC))
        check_found(check, FINDING_WARN, "clock",
                    "it is not synchronised: lag and certificates are judged by it");
    else
        check_found(check, FINDING_OK, "clock", "synchronised, within %.3f s",
                    (double)clock.maxerror / 1e6);
}

static void
look_at_account(struct check *check, const char *user, const char *what)
{
    const struct passwd *account = getpwnam(user);
    if (account == NULL)
        check_found(check, FINDING_FAIL, "account",
                    "there is no account \"%s\" for %s; adduser --system --group %s", user, what,
                    user);
    else if (account->pw_uid == 0)
        check_found(check, FINDING_FAIL, "account", "%s must not be root, as the account \"%s\" is",
                    what, user);
    else
        check_found(check, FINDING_OK, "account", "%s is %s, number %u", what, user,
                    account->pw_uid);
}

void
check_account(struct check *check)
{
    look_at_account(check, check->conf->user, "the network role");
    if (check->conf->gate_count > 0)
        look_at_account(check, check->conf->gate_user, "the gate");
}

static void
check_validity(struct check *check)
{
    struct pki_paper paper;
    struct err e = { 0 };
    if (pki_read(check->conf->tls.certificate, &paper, &e) < 0) {
        check_found(check, FINDING_FAIL, "certificate", "%s", e.text);
        return;
    }
    double days = difftime(paper.valid_until, time(NULL)) / SECONDS_OF_DAY;
    if (days < DAYS_WARN)
        check_found(check, FINDING_WARN, "certificate",
                    "%s is valid for %.0f days only; mailtwin pki node makes a new one",
                    check->conf->tls.certificate, days);
    else
        check_found(check, FINDING_OK, "certificate", "for %s, valid for %.0f days", paper.names,
                    days);
}

void
check_papers(struct check *check)
{
    const struct conf *conf = check->conf;
    struct tls_ctx *ctx = NULL;
    struct err e = { 0 };
    if (tls_ctx_new(conf->tls.authority, conf->tls.certificate, conf->tls.key, &ctx, &e) < 0 ||
        tls_ctx_check_own(ctx, conf->self, &e) < 0)
        check_found(check, FINDING_FAIL, "certificate", "%s", e.text);
    else
        check_validity(check);
    tls_ctx_free(&ctx);
}
