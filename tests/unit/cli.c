/* What the program does without a daemon. */
#include "lib/data/state_private.h"
#include "tests/unit/cli_kit.h"

#include "lib/data/wire.h"

#include <dirent.h>
#include <jansson.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* --- the command line --- */

TEST(what_is_mistyped_is_answered_with_the_nearest_known)
{
    put_conf("");
    CHECK_INT(run("statsu"), 2);
    CHECK_STR(said, "mailtwin: unknown command \"statsu\", the nearest known one is \"status\"\n");
    CHECK_INT(run("../../bin/sh"), 2);
    CHECK_CONTAINS(said, "unknown command \"../../bin/sh\"");
    CHECK_INT(run("status --jsno"), 2);
    CHECK_STR(said, "mailtwin: unknown option --jsno, the nearest known one is --json\n");
    CHECK_INT(run("status --json=yes"), 2);
    CHECK_STR(said, "mailtwin: --json takes no value\n");
    CHECK_INT(run("barrier --timeout"), 2);
    CHECK_STR(said, "mailtwin: --timeout wants a value: --timeout TIME\n");
    CHECK_INT(run("barrier --timeout="), 2);
    CHECK_INT(run("barrier --timeout soon"), 2);
    CHECK_CONTAINS(said, "--timeout soon is not a time");
    CHECK_INT(run("barrier a b"), 2);
    CHECK_STR(said, "mailtwin: barrier takes no further argument \"b\"\n");
    CHECK_INT(run("demote now"), 2);
    CHECK_STR(said, "mailtwin: demote takes no argument \"now\"\n");
    CHECK_INT(run("barrier -- --json"), 1);
    CHECK_CONTAINS(said, "does not run here");
    CHECK_INT(run("help stauts"), 2);
    CHECK_INT(run(""), 2);
    CHECK_CONTAINS(said, "no command is given");
    CHECK_INT(run("--json --json --json"), 2);
    CHECK_INT(run("status -h -h -h -h -h -h -h -h -h -h -h -h -h -h -h"), 0);
}

TEST(every_command_tells_how_it_is_used)
{
    static const char *const names[] = {
#define COMMAND(name, kind, section, arguments, most, help) name,
#define SWITCH(...)
#define PARA(...)
#define SAMPLE(...)
#include "cli/commands.def"
#undef COMMAND
    };
    char words[64];
    CHECK_INT(run("help"), 0);
    CHECK_CONTAINS(said, "  status       shows role, protection, stores and peers\n");
    CHECK(strstr(said, "generate") == NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(words, sizeof(words), "help %s", names[i]);
        CHECK_INT(run(words), 0);
        snprintf(words, sizeof(words), "mailtwin %s: ", names[i]);
        CHECK_CONTAINS(said, words);
        CHECK_CONTAINS(said, "--config FILE");
    }
    CHECK_INT(run("barrier --help"), 0);
    CHECK_CONTAINS(said, "--timeout TIME");
    CHECK_INT(run("version"), 0);
    CHECK_INT(run("--version"), 0);
    CHECK_CONTAINS(said, "mailtwin 0.");
}

TEST(a_program_of_its_own_is_found_beside_mailtwin)
{
    static const char script[] =
        "#!/bin/sh\necho \"$0|$*|$MAILTWIN_CONFIG|$MAILTWIN_NODE\"\nexit 3\n";
    char copy[PATH_MAX], keep[PATH_MAX], command[3 * PATH_MAX];
    put("mailtwin-hello", script, sizeof(script) - 1);
    CHECK_INT(chmod(at("mailtwin-hello"), 0755), 0);
    snprintf(copy, sizeof(copy), "%s", at("mailtwin"));
    snprintf(command, sizeof(command), "cp %s %s", program, copy);
    CHECK_INT(system(command), 0);
    memcpy(keep, program, sizeof(keep));
    memcpy(program, copy, sizeof(copy));
    CHECK_INT(run("--config /x.conf --node n1 hello --config y z"), 3);
    CHECK_CONTAINS(said, "/mailtwin-hello|--config y z|/x.conf|n1\n");
    CHECK_INT(run("failoverd"), 2);
    CHECK_INT(run("replicatord"), 1);
    CHECK_CONTAINS(said, "the program mailtwin-replicatord is not installed");
    memcpy(program, keep, sizeof(keep));
}

TEST(a_wrong_configuration_is_status_2_with_its_sentence)
{
    put_conf("prot = 1\n");
    CHECK_INT(run("status"), 2);
    CHECK_CONTAINS(said, "/mailtwin.conf:6: unknown key \"prot\", the nearest known key is ");
    CHECK_INT(run("--config /none/such.conf status"), 2);
    CHECK_STR(said, "mailtwin: there is no configuration file /none/such.conf\n");
}

TEST(output_that_cannot_be_written_is_an_error)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        become("help", NULL);
    }
    CHECK_INT(finish(pid), 1);
    close(fd);
}

/* --- papers, files, check --- */

TEST(papers_are_made_shown_and_never_overwritten)
{
    char words[256];
    put_conf("");
    snprintf(words, sizeof(words), "pki init --dir %s", at("pki"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "Keep ");
    CHECK_INT(run(words), 3);
    snprintf(words, sizeof(words), "pki node a --dir %s", at("pki"));
    CHECK_INT(run(words), 0);
    CHECK_INT(run(words), 3);
    CHECK_CONTAINS(said, "papers are never overwritten");
    snprintf(words, sizeof(words), "pki show --dir %s", at("pki"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "ca.pem: CN=mailtwin c, an authority\n");
    CHECK_CONTAINS(said, "a.pem: CN=a\n  issued by    CN=mailtwin c\n  for          a\n");
    strcat(words, " --json");
    CHECK_INT(run(words), 0);
    json_t *list = json_loads(said, 0, NULL);
    CHECK_INT(json_array_size(list), 2);
    CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "file")), "a.pem");
    json_decref(list);
    snprintf(words, sizeof(words), "inspect %s", at("pki/a.pem"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "fingerprint  ");
    CHECK_INT(run("pki"), 2);
    CHECK_INT(run("pki node"), 2);
    CHECK_INT(run("pki init x"), 2);
}

/* The state of a daemon that is not running, with one record that is damaged. */
static void
put_state(void)
{
    struct state *state;
    struct state_txn *txn;
    struct err e = { 0 };
    CHECK_INT(mkdir(at("journal"), 0700), 0);
    int dirfd = open(at("journal"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct state_opts opts = { .map_size = 16 << 20, .no_sync = true };
    CHECK_INT(state_open(dirfd, &opts, &state, &e), 0);
    CHECK_INT(state_begin(state, true, &txn, &e), 0);
    state_meta(txn)->epoch = 3;
    struct record r = { .op = OP_UNLINK, .time_ns = UINT64_C(1700000000000000000) };
    r.attr.mode = 0100600;
    r.path = span_str("u1/cur/a\nb\x1b");
    CHECK_INT(state_append(txn, &r, &e), 0);
    struct record moved = { .op = OP_RENAME, .path = span_str("b"), .other = span_str("a\\") };
    moved.attr.mode = 040700;
    CHECK_INT(state_append(txn, &moved, &e), 0);
    CHECK_INT(table_put(txn, TABLE_RECORDS, KEY64(9), span_str("nothing"), &e), 0);
    CHECK_INT(state_commit(&txn, &e), 0);
    state_free(&state);
    close(dirfd);
}

TEST(a_journal_is_printed_one_line_a_record)
{
    char words[128];
    put_state();
    snprintf(words, sizeof(words), "inspect %s", at("journal/state"));
    CHECK_INT(run(words), 4);
    CHECK_CONTAINS(said, "         1 epoch=3 2023-11-14T22:13:20Z unlink store=0 "
                         "path=\"u1/cur/a\\x0ab\\x1b\" mode=100600 ");
    CHECK_CONTAINS(said, "         2 epoch=3 ");
    CHECK_CONTAINS(said, " rename store=0 path=\"b\" other=\"a\\x5c\" ");
    CHECK_CONTAINS(said, "         9 damaged: ");
    strcat(words, " --json");
    CHECK_INT(run(words), 4);
    json_t *first = json_loads(said, JSON_DISABLE_EOF_CHECK, NULL);
    CHECK_INT(json_integer_value(json_object_get(first, "seq")), 1);
    CHECK_STR(json_string_value(json_object_get(first, "path")), "u1/cur/a\\x0ab\\x1b");
    json_decref(first);
    CHECK_CONTAINS(said, "{\"seq\":9,\"damaged\":");
    put("link", "no frames at all", 16);
    snprintf(words, sizeof(words), "inspect --json %s", at("link"));
    CHECK_INT(run(words), 2);
}

TEST(a_captured_link_is_printed_one_line_a_frame)
{
    static struct wire_msg hello, rec, bye;
    char words[128];
    _cleanup_buf_ struct buf out = { 0 };
    hello = (struct wire_msg){ .type = WIRE_HELLO };
    hello.hello = (struct wire_hello){ .version_min = 1,
                                       .version_max = 1,
                                       .cluster = span_str("c"),
                                       .node = span_str("a"),
                                       .role = WIRE_ROLE_PRIMARY,
                                       .oldest = 1 };
    rec = (struct wire_msg){ .type = WIRE_REC };
    rec.rec.record = (struct record){ .seq = 7,
                                      .epoch = 1,
                                      .op = OP_UNLINK,
                                      .path = span_str("u1/cur/a\nb\x1b"),
                                      .attr.mode = 0100600 };
    bye = (struct wire_msg){ .type = WIRE_BYE };
    bye.bye.text = span_str("enough");
    wire_encode(&hello, &out);
    wire_encode(&rec, &out);
    wire_encode(&bye, &out);
    put("link", out.ptr, out.len);
    snprintf(words, sizeof(words), "inspect %s", at("link"));
    CHECK_INT(run(words), 0);
    CHECK_CONTAINS(said, "         0 ");
    CHECK_CONTAINS(said, " cluster=\"c\" node=\"a\"");
    CHECK_CONTAINS(said, " unlink seq=7 epoch=1 store=0 path=\"u1/cur/a\\x0ab\\x1b\"");
    CHECK_CONTAINS(said, " text=\"enough\"\n");
    out.ptr[out.len - 1] ^= 1;
    put("link", out.ptr, out.len);
    CHECK_INT(run(words), 1);
    CHECK_CONTAINS(said, " unlink seq=7");
    CHECK_CONTAINS(said, "frame checksum");
    put("link", out.ptr, out.len - 1);
    CHECK_INT(run(words), 1);
    CHECK_CONTAINS(said, "the file ends within a frame, at byte ");
    put("link", "no frames at all", 16);
    CHECK_INT(run(words), 1);
    CHECK_CONTAINS(said, "this is in none of mailtwin's formats");
    put("link", "", 0);
    CHECK_INT(run(words), 1);
    CHECK_INT(run("inspect /none"), 1);
    CHECK_INT(run("inspect"), 2);
}

/* The finding of this name in the last `check --json`, and what it says. */
static const char *
finding(const json_t *all, const char *name, const char **ret_text)
{
    size_t i;
    const json_t *check;
    json_array_foreach(json_object_get(all, "checks"), i, check)
    {
        if (strcmp(json_string_value(json_object_get(check, "name")), name) != 0)
            continue;
        *ret_text = json_string_value(json_object_get(check, "text"));
        return json_string_value(json_object_get(check, "state"));
    }
    fail_msg("there is no finding %s in %s", name, said);
    return NULL;
}

static json_t *
check_host(int expected)
{
    if (run("check --json") != expected)
        fail_msg("%s", said);
    json_t *all = json_loads(said, 0, NULL);
    CHECK(all != NULL);
    CHECK_INT(json_is_true(json_object_get(all, "ok")), expected == 0);
    return all;
}

static void
put_check_conf(const char *user, const char *store, const char *node)
{
    char more[1024];
    snprintf(
        more, sizeof(more),
        "user = \"%s\"\nstore \"mail\" { path = \"%s\" }\n"
        "tls { authority = \"%s/p/ca.pem\" certificate = \"%s/p/%s.pem\" key = \"%s/p/%s.key\" }\n",
        user, store, dir, dir, node, dir, node);
    put_conf(more);
}

TEST(check_finds_what_must_be_changed_before_anything_starts)
{
    const char *text;
    char words[256];
    CHECK_INT(mkdir(at("store"), 0700), 0);
    CHECK_INT(mkdir(at("state"), 0700), 0);
    put_conf("");
    snprintf(words, sizeof(words), "pki init --dir %s", at("p"));
    CHECK_INT(run(words), 0);
    snprintf(words, sizeof(words), "pki node a --dir %s", at("p"));
    CHECK_INT(run(words), 0);
    snprintf(words, sizeof(words), "pki node b --dir %s", at("p"));
    CHECK_INT(run(words), 0);
    put_check_conf("nobody", at("store"), "a");
    json_t *all = check_host(0);
    CHECK_STR(finding(all, "kernel", &text), "ok");
    CHECK_STR(finding(all, "configuration", &text), "ok");
    CHECK_STR(finding(all, "store", &text), "ok");
    CHECK_STR(finding(all, "account", &text), "ok");
    CHECK_STR(finding(all, "state-dir", &text), "ok");
    CHECK_STR(finding(all, "certificate", &text), "ok");
    CHECK_CONTAINS(text, "for a, valid for ");
    finding(all, "storage", &text);
    CHECK_CONTAINS(text, "a durable write takes ");
    json_decref(all);

    put_check_conf("no-such-user", "/proc", "b");
    all = check_host(2);
    CHECK_STR(finding(all, "account", &text), "fail");
    CHECK_CONTAINS(text, "there is no account \"no-such-user\"");
    CHECK_STR(finding(all, "store", &text), "fail");
    CHECK_STR(finding(all, "certificate", &text), "fail");
    json_decref(all);

    put_check_conf("root", at("none"), "c");
    CHECK_INT(chmod(at("state"), 0777), 0);
    all = check_host(2);
    finding(all, "account", &text);
    CHECK_CONTAINS(text, "must not be root");
    CHECK_STR(finding(all, "store", &text), "fail");
    CHECK_CONTAINS(text, "No such file or directory");
    CHECK_STR(finding(all, "state-dir", &text), "fail");
    CHECK_CONTAINS(text, "may be written by everybody");
    json_decref(all);

    put_conf("prot = 1\n");
    CHECK_INT(run("check"), 2);
    CHECK_CONTAINS(said, "fail  configuration  ");
    CHECK_CONTAINS(said, "unknown key \"prot\"");
}

/* Runs `mailtwin check` where /mnt is an overlay of its own; 77 without the right to mount. */
static int
check_on_overlay(void)
{
    char options[512];
    int fds[2];
    snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", at("low"), at("up"),
             at("work"));
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("overlay", "/mnt", "overlay", 0, options) < 0)
            _exit(77);
        become("check", at("mailtwin.conf"));
    }
    close(fds[1]);
    read_all(fds[0]);
    close(fds[0]);
    return finish(pid);
}

TEST(check_refuses_a_store_on_an_overlay)
{
    CHECK_INT(mkdir(at("low"), 0755), 0);
    CHECK_INT(mkdir(at("up"), 0755), 0);
    CHECK_INT(mkdir(at("work"), 0755), 0);
    put_conf("store \"mail\" { path = \"/mnt\" }\n");
    int status = check_on_overlay();
    if (status == 77)
        skip();
    CHECK_INT(status, 2);
    CHECK_CONTAINS(
        said, "fail  store          mail: /mnt lies on overlayfs, which cannot be watched: its "
              "directories have no lasting handles");
}

/* --- what is made from the tables --- */

static void
compare_generated(const char *what, const char *committed)
{
    char words[256], command[3 * PATH_MAX];
    CHECK_INT(mkdir(at(what), 0700), 0);
    snprintf(words, sizeof(words), "generate %s %s", what, at(what));
    CHECK_INT(run(words), 0);
    DIR *made = opendir(at(what));
    CHECK(made != NULL);
    unsigned files = 0;
    for (const struct dirent *entry; (entry = readdir(made)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(command, sizeof(command), "diff -u %s/%s/%s %s/%s >&2", source, committed,
                 entry->d_name, at(what), entry->d_name);
        if (system(command) != 0)
            fail_msg("%s/%s is old: run mailtwin generate %s %s", committed, entry->d_name, what,
                     committed);
        files++;
    }
    closedir(made);
    CHECK(files > 0);
}

TEST(manual_pages_completion_and_example_are_what_the_tables_give)
{
    compare_generated("man", "docs/man");
    compare_generated("completion", "deploy/completion");
    compare_generated("conf", "deploy");
    CHECK_INT(run("generate man"), 2);
    CHECK_INT(run("generate poems /tmp"), 2);
}

TEST(the_example_configuration_is_read_as_it_stands)
{
    char words[PATH_MAX + 64];
    snprintf(words, sizeof(words), "--config %s/deploy/mailtwin.conf.example --node mx1 status",
             source);
    CHECK_INT(run(words), 1); /* no daemon, but nothing wrong with the file */
    CHECK_CONTAINS(said, "does not run here");
}

TEST(the_manual_pages_have_no_fault_that_mandoc_knows)
{
    char command[2 * PATH_MAX];
    if (system("command -v mandoc >/dev/null") != 0)
        skip();
    /* A reference to another page of ours is fine when that page is there. */
    snprintf(
        command, sizeof(command),
        "cd %s/docs/man && mandoc -Tlint *.[158] | while read -r line; do\n"
        "page=${line##*Xr }; page=${page%% *}.${page##* }\n"
        "case $line in *'referenced manual not found'*) [ -e \"$page\" ] || echo \"$line\" ;;\n"
        "*) echo \"$line\" ;; esac; done >%s; cat %s >&2; ! [ -s %s ]",
        source, at("lint"), at("lint"), at("lint"));
    CHECK_INT(system(command), 0);
}

TEST(the_completion_offers_commands_options_and_files)
{
    char command[2 * PATH_MAX];
    static const char *const cases[][2] = {
        { "'mailtwin' 'stat'", "status" },
        { "'mailtwin' 'status' '--w'", "--watch" },
        { "'mailtwin' '--config' 'x' 'verify' '--rep'", "--repair" },
        { "'mailtwin' 'pki' 'no'", "node" },
        { "'mailtwin' 'help' 'barr'", "barrier" },
        { "'mailtwin' 'inspect' '/etc/os-releas'", "/etc/os-release" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(command, sizeof(command),
                 "bash -c '. %s/deploy/completion/mailtwin.bash; COMP_WORDS=(\"$@\"); "
                 "COMP_CWORD=$(($#-1)); _mailtwin; [ \"${COMPREPLY[0]}\" = \"%s\" ]' x %s",
                 source, cases[i][1], cases[i][0]);
        if (system(command) != 0)
            fail_msg("%s does not give %s", cases[i][0], cases[i][1]);
    }
}
