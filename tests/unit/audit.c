/* The audit trail: what is in it, whatever is in the names, the disk does or the process dies of.
 */
#include "tests/unit/control_kit.h"

#include "lib/os/audit.h"
#include "lib/os/event.h"
#include "lib/os/fault.h"

#include <fcntl.h>

static int state_fd = -1;
static char lost[4096]; /* the last AUDIT_LOST */

static void
hear_lost(enum event_id id, const char *line, void *arg)
{
    (void)arg;
    if (id == EV_AUDIT_LOST)
        snprintf(lost, sizeof(lost), "%s", line);
}

static void
begin_trail(void)
{
    char path[] = "/tmp/mailtwin-audit-XXXXXX";
    CHECK(mkdtemp(path) != NULL);
    test_scratch(path);
    if (state_fd >= 0)
        close(state_fd);
    state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(state_fd >= 0);
    lost[0] = '\0';
    event_init("tester", EVENT_CRIT);
    event_tap(hear_lost, NULL);
    audit_begin(state_fd);
}

static void
end_trail(void)
{
    char command[64], path[64] = "";
    snprintf(command, sizeof(command), "/proc/self/fd/%d", state_fd);
    CHECK(readlink(command, path, sizeof(path) - 1) > 0);
    event_keep_acts(NULL, NULL);
    event_tap(NULL, NULL);
    snprintf(command, sizeof(command), "rm -r '%.50s'", path);
    CHECK_INT(system(command), 0);
}

struct seen {
    json_t *lines;
    size_t unreadable;
};

static void
see(json_t *fields, void *arg)
{
    struct seen *seen = arg;
    json_array_append(seen->lines, fields);
}

static struct seen
read_trail(void)
{
    struct err e = { 0 };
    struct seen seen = { .lines = json_array() };
    CHECK_INT(audit_read(state_fd, see, &seen, &seen.unreadable, &e), 0);
    return seen;
}

static const char *
field(const struct seen *seen, size_t line, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(seen->lines, line), key));
    return text != NULL ? text : "(none)";
}

TEST(an_act_is_in_the_trail_whatever_the_level_of_the_log_and_nothing_else_is)
{
    struct stat st;
    begin_trail();
    struct seen none = read_trail();
    CHECK_INT(json_array_size(none.lines), 0);
    json_decref(none.lines);
    event(EV_ROLE, F_STR("role", "primary"), F_U64("epoch", 7));
    event(EV_LINK_UP, F_STR("peer", "mx2"));
    event(EV_DEGRADED, F_STR("since", "now"));
    struct seen seen = read_trail();
    CHECK_INT(json_array_size(seen.lines), 1);
    CHECK_INT(seen.unreadable, 0);
    CHECK_STR(field(&seen, 0, "event"), "ROLE");
    CHECK_STR(field(&seen, 0, "role"), "primary");
    CHECK_STR(field(&seen, 0, "epoch"), "7");
    CHECK_STR(field(&seen, 0, "program"), "tester");
    json_decref(seen.lines);
    CHECK_INT(fstatat(state_fd, AUDIT_FILE, &st, AT_SYMLINK_NOFOLLOW), 0);
    CHECK_INT(st.st_mode & 07777, 0600);
    end_trail();
}

TEST(no_name_can_forge_a_line_of_the_trail)
{
    static const char *const names[] = {
        "a\ntime=2026-01-01T00:00:00.000Z level=info event=ROLE role=primary",
        "\" event=ROLE by=root \"",
        "back\\slash\\",
        "",
        "\x01\x7f",
        "caf\xc3\xa9",
    };
    begin_trail();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        event(EV_TAKEN, F_STR("path", names[i]), F_STR("what", "removed"));
    event(EV_TAKEN, F_STR("path", "caf\xe9"), F_STR("what", "removed"));
    struct seen seen = read_trail();
    CHECK_INT(json_array_size(seen.lines), ARRAY_LEN(names) + 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CHECK_STR(field(&seen, i, "event"), "TAKEN");
        CHECK_STR(field(&seen, i, "path"), names[i]);
        CHECK_STR(field(&seen, i, "what"), "removed");
    }
    CHECK_STR(field(&seen, ARRAY_LEN(names), "path"), "caf?"); /* no UTF-8 */
    json_decref(seen.lines);
    end_trail();
}

static void
write_trail(const char *text)
{
    int fd = openat(state_fd, AUDIT_FILE, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

TEST(a_line_that_was_cut_off_spoils_no_other)
{
    begin_trail();
    event(EV_ROLE, F_STR("role", "primary"));
    write_trail("time=2026-11-23T00:00:00.000Z event=CONTR");
    event(EV_ROLE, F_STR("role", "standby"));
    write_trail("time=x event=\"unended\n"
                "no field at all\n"
                "event=NO_TIME\n"
                "time=x event=\"\\z\"\n");
    struct seen seen = read_trail();
    CHECK_INT(json_array_size(seen.lines), 3); /* a cut line that still reads is one */
    CHECK_STR(field(&seen, 1, "event"), "CONTR");
    CHECK_STR(field(&seen, 2, "role"), "standby");
    CHECK_INT(seen.unreadable, 4);
    json_decref(seen.lines);
    end_trail();
}

/* Whoever has the account of a program with a trail of its own must not fill root's memory. */
TEST(a_line_without_end_takes_no_memory_and_spoils_no_other)
{
    const size_t size = 3 << 20;
    char *text = malloc(size + 2);
    CHECK(text != NULL);
    memset(text, 'a', size);
    memcpy(text + size, "\n", 2);
    begin_trail();
    event(EV_ROLE, F_STR("role", "primary"));
    write_trail("time=2026-11-23T00:00:00.000Z event=X what=");
    write_trail(text);
    event(EV_ROLE, F_STR("role", "standby"));
    text[size] = '\0';
    write_trail(text);
    struct seen seen = read_trail();
    CHECK_INT(json_array_size(seen.lines), 2);
    CHECK_STR(field(&seen, 1, "role"), "standby");
    CHECK_INT(seen.unreadable, 2);
    json_decref(seen.lines);
    free(text);
    end_trail();
}

#ifdef MAILTWIN_FAULTS
TEST(what_cannot_be_written_to_the_trail_is_told_by_the_log)
{
    begin_trail();
    for (unsigned nth = 1;; nth++) {
        lost[0] = '\0';
        fault_arm(&(struct fault_plan){ .kind = FAULT_ERRNO, .at = nth, .errnum = ENOSPC });
        event(EV_ROLE, F_STR("role", "primary"), F_U64("nth", nth));
        if (fault_disarm(NULL) < nth)
            break;
        CHECK_CONTAINS(lost, "event=AUDIT_LOST");
        CHECK_CONTAINS(lost, "role=primary");
        CHECK(nth < 20);
    }
    CHECK_STR(lost, "");
    struct seen seen = read_trail();
    CHECK(json_array_size(seen.lines) > 0);
    CHECK_STR(field(&seen, json_array_size(seen.lines) - 1, "role"), "primary");
    json_decref(seen.lines);
    end_trail();
}

#endif

TEST(a_trail_that_is_moved_away_begins_anew)
{
    begin_trail();
    event(EV_ROLE, F_STR("role", "primary"));
    CHECK_INT(renameat(state_fd, AUDIT_FILE, state_fd, "audit.log.1"), 0);
    event(EV_ROLE, F_STR("role", "standby"));
    struct seen seen = read_trail();
    CHECK_INT(json_array_size(seen.lines), 1);
    CHECK_STR(field(&seen, 0, "role"), "standby");
    json_decref(seen.lines);
    end_trail();
}

TEST(a_process_that_closed_what_it_inherited_has_no_trail)
{
    begin_trail();
    int other = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int keep = dup(state_fd);
    CHECK(other >= 0 && keep >= 0);
    CHECK_INT(dup3(other, state_fd, O_CLOEXEC), state_fd);
    event(EV_ROLE, F_STR("role", "primary"));
    CHECK_INT(access("/" AUDIT_FILE, F_OK), -1);
    CHECK_STR(lost, "");
    CHECK_INT(dup3(keep, state_fd, O_CLOEXEC), state_fd);
    close(keep);
    close(other);
    end_trail();
}

static void
order(const char *request)
{
    struct err e = { 0 };
    json_t *reply = NULL;
    json_t *json = json_loads(request, 0, NULL);
    CHECK(json != NULL);
    if (control_ask(d.dir, CONTROL_SOCKET, json, 10000, NULL, NULL, &reply, &e) == 0)
        json_decref(reply);
    json_decref(json);
}

TEST(an_order_is_on_record_with_who_gave_it_why_and_what_came_of_it)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", getpid());
    begin_trail();
    make_dir();
    start_daemon();
    order("{\"do\":\"verify\",\"noted\":true,\"store\":\"mail\",\"force\":true,\"end\":false,"
          "\"epoch\":7,\"reason\":\"ticket 12\",\"by\":\"ann\",\"other\":\"x\","
          "\"objects\":[1,2,3]}");
    order("{\"do\":\"refuse\",\"noted\":true}");
    order("{\"do\":\"status\"}");
    stop_daemon();
    remove_dir();
    struct seen seen = read_trail();
    CHECK_INT(json_array_size(seen.lines), 4);
    CHECK_STR(field(&seen, 0, "event"), "CONTROL");
    CHECK_STR(field(&seen, 0, "order"), "verify");
    CHECK_STR(field(&seen, 0, "pid"), pid);
    CHECK_STR(field(&seen, 0, "store"), "mail");
    CHECK_STR(field(&seen, 0, "force"), "yes");
    CHECK_STR(field(&seen, 0, "end"), "(none)");
    CHECK_STR(field(&seen, 0, "epoch"), "7");
    CHECK_STR(field(&seen, 0, "reason"), "ticket 12");
    CHECK_STR(field(&seen, 0, "by"), "ann");
    CHECK_STR(field(&seen, 0, "other"), "(none)");
    CHECK_STR(field(&seen, 0, "objects"), "3");
    CHECK_STR(field(&seen, 1, "event"), "ORDER_END");
    CHECK_STR(field(&seen, 1, "result"), "done");
    CHECK_STR(field(&seen, 1, "differences"), "2");
    CHECK_STR(field(&seen, 3, "order"), "refuse");
    CHECK_STR(field(&seen, 3, "result"), "REFUSED");
    CHECK_CONTAINS(field(&seen, 3, "error"), "the journal of");
    json_decref(seen.lines);
    end_trail();
}
