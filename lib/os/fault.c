#include "lib/os/fault.h"

#ifdef MAILTWIN_FAULTS

#include <errno.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault_plan armed;
static bool is_armed;
static uint64_t passed;
static const char *hit;

void
fault_arm(const struct fault_plan *plan)
{
    pthread_mutex_lock(&lock);
    armed = *plan;
    is_armed = true;
    passed = 0;
    hit = NULL;
    pthread_mutex_unlock(&lock);
}

uint64_t
fault_disarm(const char **ret_where)
{
    pthread_mutex_lock(&lock);
    is_armed = false;
    uint64_t count = passed;
    if (ret_where != NULL)
        *ret_where = hit;
    pthread_mutex_unlock(&lock);
    return count;
}

static enum fault_kind
fault_pass(const char *where, struct fault_plan *ret_plan)
{
    pthread_mutex_lock(&lock);
    bool now = is_armed && ++passed == armed.at;
    *ret_plan = armed;
    if (now)
        hit = where;
    pthread_mutex_unlock(&lock);
    return now ? ret_plan->kind : FAULT_COUNT;
}

int
fault_write(const char *where, size_t len, size_t *ret_len)
{
    struct fault_plan plan;
    enum fault_kind kind = fault_pass(where, &plan);
    *ret_len = kind == FAULT_SHORT && len > 1 ? len / 2 : len;
    if (kind == FAULT_HOOK)
        plan.hook(where);
    if (kind != FAULT_ERRNO)
        return 0;
    errno = plan.errnum;
    return -1;
}

int
fault(const char *where)
{
    size_t len;
    return fault_write(where, 0, &len);
}

#endif
