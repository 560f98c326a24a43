/* `mailtwin audit`: the node's trail and that of mailtwin-directoryd as one, from a time on. */
#include "tests/unit/cli_kit.h"

#include <sys/stat.h>

TEST(the_audit_trail_is_shown_from_a_time_on_and_what_is_cut_off_is_counted)
{
    static const char trail[] =
        "time=2026-11-20T10:00:00.000Z level=info event=CONTROL no=1250 program=replicatord "
        "text=\"an order\" order=promote uid=0 pid=7 reason=\"ticket 12\" by=ann\n"
        "time=2026-11-22T10:00:00.000Z level=info event=ROLE no=1010 text=x role=\"st\\x1b[2J\"\n";
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n");
    CHECK_INT(run("audit"), 1); /* no state-dir */
    CHECK(mkdir(at("state"), 0700) == 0 || errno == EEXIST);
    CHECK_INT(run("audit"), 0);
    CHECK_STR(said, "");
    put("state/audit.log", trail, sizeof(trail) - 1);
    CHECK_INT(run("audit"), 0);
    CHECK_CONTAINS(said,
                   "2026-11-20T10:00:00.000Z  CONTROL          order: promote; uid: 0; pid: 7; "
                   "reason: ticket 12; by: ann;\n");
    CHECK_CONTAINS(said, "role: st?[2J;\n");
    CHECK_INT(run("audit --json --since 2026-11-21 --until 2026-11-23"), 0);
    CHECK_CONTAINS(said, "{\"time\":\"2026-11-22T10:00:00.000Z\"");
    CHECK(strstr(said, "CONTROL") == NULL);
    CHECK_INT(run("audit --until 2026-11-19"), 0);
    CHECK_STR(said, "");
    CHECK_INT(run("audit --since never"), 2);
    put("state/audit.log", trail, sizeof(trail) - 9);
    CHECK_INT(run("audit"), 4);
    CHECK_CONTAINS(said, "1 lines of");
}

static void
put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

/* Each line's event and program, in their order. */
static void
check_shown(const char *const *parts)
{
    const char *from = said;
    for (; *parts != NULL; parts++) {
        const char *found = strstr(from, *parts);
        if (found == NULL)
            fail_msg("\"%s\" is not there, or not in its place: %s", *parts, said);
        else
            from = found + strlen(*parts);
    }
}

#define LINE(second, event, program)                                                         \
    "time=2026-11-20T10:00:" second ".000Z level=info event=" event " no=1 program=" program \
    " text=x\n"

TEST(acts_of_the_directory_stand_among_the_nodes_by_their_time)
{
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n");
    CHECK(mkdir(at("state"), 0700) == 0 || errno == EEXIST);
    CHECK(mkdir(at("state/directory"), 0700) == 0 || errno == EEXIST);
    put_text("state/audit.log",
             LINE("02", "ROLE", "replicatord") LINE("04", "TAKEN", "replicatord"));
    put_text("state/directory/audit.log",
             LINE("01", "DIR_MODE", "directoryd") LINE("03", "DIR_SAVED", "replicatord")
                 LINE("05", "DIR_REMOVED", "directoryd"));
    CHECK_INT(run("audit"), 0);
    check_shown(
        (const char *const[]){ "DIR_MODE         program: directoryd;\n", "ROLE            \n",
                               "DIR_SAVED        program: directoryd;\n", "TAKEN           \n",
                               "DIR_REMOVED      program: directoryd;\n", NULL });
    CHECK_INT(run("audit --json"), 0);
    check_shown((const char *const[]){ "DIR_SAVED", "\"program\":\"directoryd\"", "TAKEN", NULL });
    put_text("state/audit.log", "torn");
    put_text("state/directory/audit.log", LINE("01", "DIR_MODE", "directoryd") "torn");
    CHECK_INT(run("audit"), 4);
    CHECK_CONTAINS(said, "DIR_MODE ");
    CHECK_CONTAINS(said, "2 lines of the trail in ");
}

/* An account without rights could put anything there: root must not hang on it. */
TEST(what_is_no_file_in_the_place_of_a_trail_is_an_error_and_holds_up_nobody)
{
    put_conf("store \"mail\" { path = \"/srv/vmail\" }\n");
    CHECK(mkdir(at("state"), 0700) == 0 || errno == EEXIST);
    CHECK(mkdir(at("state/directory"), 0700) == 0 || errno == EEXIST);
    unlink(at("state/directory/audit.log"));
    CHECK_INT(mkfifo(at("state/directory/audit.log"), 0600), 0);
    CHECK_INT(run("audit"), 1);
    CHECK_CONTAINS(said, "directory: audit.log is no file");
    CHECK_INT(unlink(at("state/directory/audit.log")), 0);
    CHECK_INT(symlink("/etc/passwd", at("state/directory/audit.log")), 0);
    CHECK_INT(run("audit"), 1);
    CHECK_INT(unlink(at("state/directory/audit.log")), 0);
}
