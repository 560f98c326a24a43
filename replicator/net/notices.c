/* What the store role hears of us. The control channel may be full: notices wait in a queue, for
 * the loop must not. */
#include "replicator/net/notices.h"
#include "lib/os/file.h"
#include "lib/os/proc.h"

#include <stdio.h>
#include <stdlib.h>

#define TROUBLES_QUEUED 64 /* more of them are dropped; links are not */

static void
drop_first(struct role *role)
{
    struct notice_item *item = STAILQ_FIRST(&role->notices);
    STAILQ_REMOVE_HEAD(&role->notices, next);
    role->notice_count--;
    file_closep(&item->fd);
    free(item);
}

int
notices_flush(struct role *role, struct err *e)
{
    struct notice_item *item;
    while ((item = STAILQ_FIRST(&role->notices)) != NULL) {
        struct span packet = span_of(&item->notice, sizeof(item->notice));
        int sent = proc_send(role->control_fd, packet, item->fd, e);
        if (sent <= 0)
            return sent;
        drop_first(role);
    }
    return 0;
}

void
notices_free(struct role *role)
{
    while (!STAILQ_EMPTY(&role->notices))
        drop_first(role);
}

void
role_notice(struct role *role, enum net_notice_type type, const char *peer, const char *address,
            const char *text, int fd)
{
    struct notice_item *item = xcalloc(1, sizeof(*item));
    item->fd = fd;
    item->notice.type = type;
    snprintf(item->notice.peer, sizeof(item->notice.peer), "%s", peer);
    snprintf(item->notice.address, sizeof(item->notice.address), "%s", address);
    snprintf(item->notice.text, sizeof(item->notice.text), "%s", text);
    STAILQ_INSERT_TAIL(&role->notices, item, next);
    role->notice_count++;
    role_watch_control(role);
}

void
role_trouble(struct role *role, const char *peer, const char *address, const char *text)
{
    bool news = trouble_may_tell(&role->trouble, address, text, role_now_ms(role));
    if (news && role->notice_count < TROUBLES_QUEUED && role->stop_ms == 0)
        role_notice(role, NET_TROUBLE, peer, address, text, -1);
}
