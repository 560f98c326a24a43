#include "replicator/seq_mark.h"

#include "lib/base/base.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct seq_mark {
    atomic_uint refs;
    atomic_uint_fast64_t seq; /* UINT64_MAX until it is set */
    int wake_fd;
};

struct seq_mark *
seq_mark_new(int wake_fd)
{
    struct seq_mark *mark = xcalloc(1, sizeof(*mark));
    atomic_init(&mark->refs, 1);
    atomic_init(&mark->seq, UINT64_MAX);
    mark->wake_fd = wake_fd;
    return mark;
}

struct seq_mark *
seq_mark_ref(struct seq_mark *mark)
{
    atomic_fetch_add(&mark->refs, 1);
    return mark;
}

void
seq_mark_unref(struct seq_mark **mark)
{
    if (*mark != NULL && atomic_fetch_sub(&(*mark)->refs, 1) == 1)
        free(*mark);
    *mark = NULL;
}

void
seq_mark_set(void *mark, uint64_t seq)
{
    static const uint64_t one = 1;
    struct seq_mark *m = mark;
    atomic_store(&m->seq, seq);
    ssize_t wrote = write(m->wake_fd, &one, sizeof(one));
    ASSERT(wrote == sizeof(one) || errno == EAGAIN); /* full: it is readable already */
    seq_mark_unref(&m);
}

uint64_t
seq_mark_get(struct seq_mark *mark)
{
    return atomic_load(&mark->seq);
}
