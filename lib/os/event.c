#include "lib/os/event.h"

#include "lib/base/buf.h"
#include "lib/os/file.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static const struct {
    const char *name;
    unsigned number;
    enum event_level level;
    const char *runbook;
    const char *text;
} events[] = {
#define EVENT(name, number, level, runbook, text) \
    [EV_##name] = { #name, number, EVENT_##level, runbook, text },
#include "lib/os/events.def"
#undef EVENT
};

static const bool is_act[EV_COUNT] = {
#define ACT(name) [EV_##name] = true,
#include "lib/os/acts.def"
#undef ACT
};

static const struct {
    const char *word;
    int priority;
} levels[] = {
    [EVENT_DEBUG] = { "debug", LOG_DEBUG },
    [EVENT_INFO] = { "info", LOG_INFO },
    [EVENT_WARN] = { "warn", LOG_WARNING },
    [EVENT_CRIT] = { "crit", LOG_CRIT },
};

static struct {
    pthread_mutex_t mutex; /* keeps lines whole; guards all below */
    char program[64];
    enum event_level lowest;
    int journal_fd; /* -1: stderr only */
    ino_t journal_ino;
    void (*tap)(enum event_id id, const char *line, void *arg);
    void *tap_arg;
    int (*keep)(const char *line, void *arg, struct err *e);
    void *keep_arg;
} self = { .mutex = PTHREAD_MUTEX_INITIALIZER,
           .program = "mailtwin",
           .lowest = EVENT_INFO,
           .journal_fd = -1 };

const char *
event_name(enum event_id id)
{
    ASSERT((size_t)id < ARRAY_LEN(events));
    return events[id].name;
}

static void
add_text(struct buf *out, const char *text)
{
    buf_add(out, text, strlen(text));
}

static bool
needs_quotes(struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return true;
    }
    return value.len == 0;
}

/* Everything outside printable ASCII is escaped: a mailbox name must not be able to forge a line or
 * to steer the terminal of whoever reads the log. */
static void
add_quoted(struct buf *out, struct span value)
{
    buf_add_u8(out, '"');
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        char escape[8];
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof(escape), "\\%c", c);
        else if (c == '\n')
            snprintf(escape, sizeof(escape), "\\n");
        else if (c < ' ' || c >= 0x7f)
            snprintf(escape, sizeof(escape), "\\x%02x", c);
        else
            snprintf(escape, sizeof(escape), "%c", c);
        add_text(out, escape);
    }
    buf_add_u8(out, '"');
}

static void
add_value(struct buf *out, struct span value)
{
    if (needs_quotes(value))
        add_quoted(out, value);
    else
        buf_add(out, value.ptr, value.len);
}

static struct span
field_value(const struct event_field *field, char text[32])
{
    switch (field->type) {
    case FIELD_STR:
        return span_str(field->str != NULL ? field->str : "");
    case FIELD_SPAN:
        return field->span;
    case FIELD_U64:
        snprintf(text, 32, "%llu", (unsigned long long)field->u64);
        break;
    case FIELD_I64:
        snprintf(text, 32, "%lld", (long long)field->i64);
        break;
    case FIELD_SECONDS:
        snprintf(text, 32, "%.3f", field->seconds);
        break;
    case FIELD_END:
        ASSERT(field->type != FIELD_END);
    }
    return span_str(text);
}

static void
add_pair(struct buf *out, const char *key, struct span value)
{
    buf_add_u8(out, ' ');
    add_text(out, key);
    buf_add_u8(out, '=');
    add_value(out, value);
}

static void
add_fields(struct buf *out, const struct event_field *fields)
{
    for (; fields->type != FIELD_END; fields++) {
        char text[32];
        add_pair(out, fields->key, field_value(fields, text));
    }
}

static void
add_time(struct buf *out)
{
    struct timespec now;
    struct tm utc;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t len = strftime(text, sizeof(text), "time=%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + len, sizeof(text) - len, ".%03ldZ", now.tv_nsec / 1000000);
    add_text(out, text);
}

static void
add_line(struct buf *out, enum event_id id, const struct event_field *fields)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", events[id].number);
    add_time(out);
    add_pair(out, "level", span_str(levels[events[id].level].word));
    add_pair(out, "event", span_str(events[id].name));
    add_pair(out, "no", span_str(number));
    add_pair(out, "program", span_str(self.program));
    add_pair(out, "text", span_str(events[id].text));
    add_fields(out, fields);
    if (events[id].runbook[0] != '\0')
        add_pair(out, "runbook", span_str(events[id].runbook));
}

/* A write that fails is ignored on purpose: the log may be a full disk or a dead terminal, and the
 * mail must go on being replicated. */
static void
write_stderr(struct span line)
{
    while (line.len > 0) {
        ssize_t n = write(STDERR_FILENO, line.ptr, line.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        line = span_from(line, (size_t)n, line.len - (size_t)n);
    }
}

/* A field of the journal's native protocol: the name, a newline, the length and the bytes, so that
 * any byte may stand in a value. */
static void
add_entry(struct buf *out, const char *prefix, const char *key, struct span value)
{
    add_text(out, prefix);
    for (; *key != '\0'; key++)
        buf_add_u8(out, isalnum((unsigned char)*key) ? (uint8_t)toupper(*key) : '_');
    buf_add_u8(out, '\n');
    buf_add_le64(out, value.len);
    buf_add(out, value.ptr, value.len);
    buf_add_u8(out, '\n');
}

static void
add_journal_entry(struct buf *out, enum event_id id, const struct event_field *fields)
{
    char number[16], priority[16];
    _cleanup_buf_ struct buf message = { 0 };
    add_text(&message, events[id].text);
    add_fields(&message, fields);
    snprintf(priority, sizeof(priority), "%d", levels[events[id].level].priority);
    snprintf(number, sizeof(number), "%u", events[id].number);
    add_entry(out, "", "MESSAGE", buf_span(&message));
    add_entry(out, "", "PRIORITY", span_str(priority));
    add_entry(out, "", "SYSLOG_IDENTIFIER", span_str(self.program));
    add_entry(out, "MAILTWIN_", "EVENT", span_str(events[id].name));
    add_entry(out, "MAILTWIN_", "NO", span_str(number));
    if (events[id].runbook[0] != '\0')
        add_entry(out, "MAILTWIN_", "RUNBOOK", span_str(events[id].runbook));
    for (; fields->type != FIELD_END; fields++) {
        char text[32];
        add_entry(out, "MAILTWIN_", fields->key, field_value(fields, text));
    }
}

/* A new role closes what it inherited, and the number may be a peer's socket by now. */
static bool
journal_is_ours(void)
{
    struct stat st;
    return self.journal_fd >= 0 && fstat(self.journal_fd, &st) == 0 &&
           st.st_ino == self.journal_ino;
}

/* Not sd_journal_sendv(): it looks the socket up by path for each entry and reports success when it
 * is not there, so a role in a chroot would fall silent. A connected socket works there too. */
static bool
write_journal(enum event_id id, const struct event_field *fields)
{
    _cleanup_buf_ struct buf entry = { 0 };
    add_journal_entry(&entry, id, fields);
    return send(self.journal_fd, entry.ptr, entry.len, MSG_NOSIGNAL) == (ssize_t)entry.len;
}

static void
write_event(enum event_id id, const struct event_field *fields)
{
    _cleanup_buf_ struct buf line = { 0 };
    add_line(&line, id, fields);
    buf_add_u8(&line, '\0');
    if (self.tap != NULL)
        self.tap(id, (const char *)line.ptr, self.tap_arg);
    /* When the socket fails (journald restarts, a huge entry) stderr still leads to the journal. */
    if (journal_is_ours() && write_journal(id, fields))
        return;
    line.ptr[line.len - 1] = '\n';
    write_stderr(buf_span(&line));
}

/* Before the log has it: who reads the log and looks at the trail finds it there. Other threads'
 * events do not wait for the disk. */
static void
keep_act(enum event_id id, const struct event_field *fields)
{
    struct err e = { 0 };
    _cleanup_buf_ struct buf line = { 0 };
    pthread_mutex_lock(&self.mutex);
    int (*keep)(const char *line, void *arg, struct err *e) = self.keep;
    void *arg = self.keep_arg;
    add_line(&line, id, fields);
    pthread_mutex_unlock(&self.mutex);
    buf_add_u8(&line, '\0');
    if (keep != NULL && keep((const char *)line.ptr, arg, &e) < 0)
        event(EV_AUDIT_LOST, F_ERR(&e), F_STR("act", (const char *)line.ptr));
}

void
event_write(enum event_id id, const struct event_field *fields)
{
    ASSERT((size_t)id < ARRAY_LEN(events));
    int saved = errno;
    if (is_act[id])
        keep_act(id, fields);
    pthread_mutex_lock(&self.mutex);
    if (events[id].level >= self.lowest)
        write_event(id, fields);
    pthread_mutex_unlock(&self.mutex);
    errno = saved;
}

/* systemd tells in JOURNAL_STREAM which file stderr is when it leads to the journal. A program
 * started from there with stderr elsewhere inherits the variable, so the numbers must match. */
static bool
stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;
    if (stream == NULL || sscanf(stream, "%llu:%llu", &dev, &ino) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void
journal_connect(void)
{
    const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
    struct stat st;
    self.journal_fd = -1;
    if (!stderr_is_journal())
        return;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        fstat(fd, &st) < 0)
        return;
    self.journal_fd = fd;
    self.journal_ino = st.st_ino;
    fd = -1;
}

void
event_init(const char *program, enum event_level lowest)
{
    pthread_mutex_lock(&self.mutex);
    snprintf(self.program, sizeof(self.program), "%s", program);
    self.lowest = lowest;
    if (journal_is_ours())
        file_closep(&self.journal_fd);
    journal_connect();
    pthread_mutex_unlock(&self.mutex);
}

void
event_keep_acts(int (*keep)(const char *line, void *arg, struct err *e), void *arg)
{
    pthread_mutex_lock(&self.mutex);
    self.keep = keep;
    self.keep_arg = arg;
    pthread_mutex_unlock(&self.mutex);
}

void
event_tap(void (*tap)(enum event_id id, const char *line, void *arg), void *arg)
{
    pthread_mutex_lock(&self.mutex);
    self.tap = tap;
    self.tap_arg = arg;
    pthread_mutex_unlock(&self.mutex);
}
