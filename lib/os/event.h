/* event.h - what the operator hears: one line an event, logfmt on stderr, or journald when it runs
 * under systemd. Events, levels and runbooks: events.def. Safe to call from any thread. */
#ifndef MAILTWIN_EVENT_H
#define MAILTWIN_EVENT_H

#include "lib/base/bytes.h"
#include "lib/base/err.h"

enum event_level {
    EVENT_DEBUG,
    EVENT_INFO,
    EVENT_WARN,
    EVENT_CRIT
};

enum event_id {
#define EVENT(name, number, level, runbook, text) EV_##name,
#include "lib/os/events.def"
#undef EVENT
    EV_COUNT
};

enum event_field_type {
    FIELD_END,
    FIELD_STR,
    FIELD_SPAN,
    FIELD_U64,
    FIELD_I64,
    FIELD_SECONDS
};

struct event_field {
    enum event_field_type type;
    const char *key;
    union {
        const char *str;
        struct span span; /* bytes of any kind: written quoted and escaped */
        uint64_t u64;
        int64_t i64;
        double seconds;
    };
};

#define F_STR(k, v)     ((struct event_field){ .type = FIELD_STR, .key = (k), .str = (v) })
#define F_SPAN(k, v)    ((struct event_field){ .type = FIELD_SPAN, .key = (k), .span = (v) })
#define F_U64(k, v)     ((struct event_field){ .type = FIELD_U64, .key = (k), .u64 = (v) })
#define F_I64(k, v)     ((struct event_field){ .type = FIELD_I64, .key = (k), .i64 = (v) })
#define F_SECONDS(k, v) ((struct event_field){ .type = FIELD_SECONDS, .key = (k), .seconds = (v) })
#define F_ERR(err)      F_STR("error", (err)->text)

/* event(EV_ACK_LATE, F_STR("peer", name), F_U64("seq", seq)) */
#define event(id, ...) \
    event_write((id),  \
                (const struct event_field[]){ __VA_ARGS__ __VA_OPT__(, ){ .type = FIELD_END } })
void event_write(enum event_id id, const struct event_field *fields);

/* Who speaks ("replicatord", "replicatord/net"); call once, early. */
void event_init(const char *program, enum event_level lowest);
/* For tests: sees each line (without newline) before it is written; NULL ends it. */
void event_tap(void (*tap)(enum event_id id, const char *line, void *arg), void *arg);

/* The acts among the events (acts.def) are given to keep() as well, whatever their level; a line
 * without newline. Where that fails the log has AUDIT_LOST with the line. keep() is called from any
 * thread, several at a time, and tells no act. */
void event_keep_acts(int (*keep)(const char *line, void *arg, struct err *e), void *arg);

const char *event_name(enum event_id id);

#endif
