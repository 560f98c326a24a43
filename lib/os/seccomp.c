#include "lib/os/file.h"
#include "lib/os/sandbox.h"

#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define N SANDBOX_NET
#define S SANDBOX_STORE
#define G SANDBOX_GATE
#define D SANDBOX_DIRECTORY

#define ALWAYS UINT32_MAX /* no argument decides */

static const struct rule {
    int call;
    unsigned roles;
    unsigned argument;
    uint64_t mask, value;
} rules[] = {
#define CALL(name, roles) { SCMP_SYS(name), (roles), ALWAYS, 0, 0 },
#define CALL_IF(name, roles, argument, mask, value) \
    { SCMP_SYS(name), (roles), (argument), (mask), (value) },
#ifdef MAILTWIN_FAULTS
#define INSTRUMENTED(name) { SCMP_SYS(name), N | S | G | D, ALWAYS, 0, 0 },
#else
#define INSTRUMENTED(name)
#endif
#include "lib/os/seccomp.def"
};

static void
filter_free(scmp_filter_ctx *filter)
{
    seccomp_release(*filter); /* NULL is fine */
}

static int
add_rule(scmp_filter_ctx filter, const struct rule *rule)
{
    if (rule->argument == ALWAYS)
        return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rule->call, 0, NULL);
    struct scmp_arg_cmp cmp = { .arg = rule->argument,
                                .op = SCMP_CMP_MASKED_EQ,
                                .datum_a = rule->mask,
                                .datum_b = rule->value };
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rule->call, 1, &cmp);
}

static int
configure(scmp_filter_ctx filter)
{
    int failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (failed == 0)
        failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
    if (failed == 0) /* a search tree: a long list costs every call */
        failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    return failed;
}

int
sandbox_seccomp(enum sandbox_profile profile, struct err *e)
{
    uint32_t otherwise = profile == SANDBOX_STORE ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_KILL_PROCESS;
    _cleanup_(filter_free) scmp_filter_ctx filter = seccomp_init(otherwise);
    if (filter == NULL)
        return err_set(e, ERR_UNSUITABLE, "the system call filter cannot be made");
    int failed = configure(filter);
    for (size_t i = 0; failed == 0 && i < ARRAY_LEN(rules); i++)
        if (rules[i].roles & (unsigned)profile)
            failed = add_rule(filter, &rules[i]);
    if (failed == 0)
        failed = seccomp_load(filter);
    if (failed < 0)
        return err_errnum(e, ERR_UNSUITABLE, -failed, "load the system call filter");
    return 0;
}
