/* What `mailtwin check` makes of Dovecot's and Postfix's settings: one sentence each, the worst. */
#include "cli/mail_judge.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

#define ABI "2.3.ABIv19(2.3.19.1)"

static struct conf_store stores[1];
static struct conf conf;

static void
make_conf(void)
{
    static char name[] = "mail", run_dir[] = "/run/mailtwin";
    stores[0].name = name;
    conf = (struct conf){ .stores = stores, .store_count = 1, .run_dir = run_dir };
}

static const struct dovecot_facts fine = {
    .without = "",
    .loaded = true,
    .folder = "/m",
    .module = "/m/lib95_mailtwin_plugin.so",
    .readable = true,
    .abi = ABI,
    .its_abi = ABI,
    .kinds = "all",
    .store = "mail",
    .socket = "",
};

static void
check_dovecot(struct dovecot_facts facts, enum finding finding, const char *part)
{
    make_conf();
    struct judgement j = judge_dovecot(&conf, &facts);
    CHECK_CONTAINS(j.text, part);
    CHECK_INT(j.finding, finding);
}

#define FACTS(...)                     \
    ({                                 \
        struct dovecot_facts f = fine; \
        __VA_ARGS__;                   \
        f;                             \
    })

TEST(a_dovecot_that_would_not_wait_or_let_nobody_in_is_told_with_what_to_do)
{
    check_dovecot(fine, FINDING_OK, "which asks at /run/mailtwin/barrier.sock");
    check_dovecot(FACTS(f.loaded = false), FINDING_WARN, "copy deploy/dovecot/90-mailtwin.conf");
    check_dovecot(FACTS(f.without = "imap, pop3"), FINDING_WARN, "but not for imap, pop3");
    check_dovecot(FACTS(f.module = NULL), FINDING_FAIL, "make install puts it there");
    check_dovecot(FACTS(f.readable = false), FINDING_FAIL, "chmod 0644");
    check_dovecot(FACTS(f.its_abi = "2.4.ABIv1(2.4.1)"), FINDING_FAIL,
                  "was built for Dovecot " ABI ", and this one is 2.4.ABIv1(2.4.1)");
    check_dovecot(FACTS(f.its_abi = ""), FINDING_OK, "asks at");
    check_dovecot(FACTS(f.socket = "/run/other/barrier.sock"), FINDING_FAIL,
                  "set mailtwin_socket = /run/mailtwin/barrier.sock");
    check_dovecot(FACTS(f.store = "post"), FINDING_FAIL, "the store \"post\"");
    check_dovecot(FACTS(f.kinds = "none"), FINDING_WARN, "waits for nothing");
    check_dovecot(FACTS(f.without = "imap"; f.module = NULL), FINDING_FAIL, "has none");
}

TEST(a_dovecot_that_waits_behind_a_gate_that_waits_is_told)
{
    static char name[] = "lmtp";
    static struct conf_gate gate = { .name = name };
    static const struct {
        const char *kinds;
        size_t gates;
        enum finding finding;
    } rows[] = {
        { "all", 1, FINDING_WARN },
        { "", 1, FINDING_WARN },
        { "append,deliver", 1, FINDING_WARN },
        { "append", 1, FINDING_OK },
        { "none", 1, FINDING_OK },
        { NULL, 1, FINDING_OK },
        { "all", 0, FINDING_OK },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dovecot_facts facts = FACTS(f.lmtp_kinds = rows[i].kinds);
        make_conf();
        conf.gates = &gate;
        conf.gate_count = rows[i].gates;
        struct judgement j = judge_dovecot(&conf, &facts);
        CHECK_INT(j.finding, rows[i].finding);
        CHECK_CONTAINS(j.text, j.finding == FINDING_OK ? "which asks at"
                                                       : "waits twice, in Dovecot for one");
        facts.socket = "/run/other/barrier.sock";
        CHECK_CONTAINS(judge_dovecot(&conf, &facts).text, "set mailtwin_socket");
    }
}

TEST(which_dovecot_a_module_was_built_for_is_found_in_its_bytes)
{
    char abi[DOVECOT_ABI_MAX], longer[200];
    dovecot_abi_find(span_str("x\001" ABI "y"), abi);
    CHECK_STR(abi, ABI);
    dovecot_abi_find(span_str(".ABIv"), abi);
    CHECK_STR(abi, ".ABIv");
    dovecot_abi_find(span_str("2.3.ABI"), abi);
    CHECK_STR(abi, "");
    dovecot_abi_find(span_of(NULL, 0), abi);
    CHECK_STR(abi, "");
    memset(longer, '9', sizeof(longer));
    memcpy(longer + 100, ".ABIv", 5);
    dovecot_abi_find(span_of(longer, sizeof(longer)), abi);
    CHECK_INT(strlen(abi), DOVECOT_ABI_MAX - 1);
}

TEST(a_word_is_found_whole_however_a_version_writes_its_list)
{
    CHECK(has_word("quota acl mailtwin", "mailtwin"));
    CHECK(has_word("mail_plugins { mailtwin = yes }", "mailtwin"));
    CHECK(has_word("mailtwin", "mailtwin"));
    CHECK(!has_word("quota mailtwinx", "mailtwin"));
    CHECK(!has_word("", "mailtwin"));
}

TEST(indexes_and_control_files_that_lie_outside_of_every_store_are_told)
{
    static const struct {
        const char *location;
        enum finding finding;
        const char *part;
    } rows[] = {
        { "maildir:/srv/vmail/%d/%n", FINDING_OK, "leads no index" },
        { "maildir:/srv/vmail/%d/%n:INDEX=/var/indexes/%d/%n", FINDING_WARN,
          "INDEX=/var/indexes/%d/%n in mail_location), so a promotion does not drop them" },
        { "maildir:/srv/vmail/%d/%n:LAYOUT=fs:INDEX=/var/indexes/%u", FINDING_WARN,
          "INDEX=/var/indexes/%u" },
        { "maildir:/srv/vmail/%u:INDEX=/srv/vmail-index/%u", FINDING_WARN, "/srv/vmail-index/%u" },
        { "maildir:/srv/vmail/%u:INDEX=/srv", FINDING_WARN, "INDEX=/srv" },
        { "maildir:/srv/vmail/%u:INDEX=/srv/files/%u", FINDING_WARN, "of kind maildir" },
        { "maildir:/srv/vmail/%u:CONTROL=/var/control/%u", FINDING_FAIL,
          "CONTROL=/var/control/%u in mail_location), so UIDs" },
        { "maildir:/srv/vmail/%u:INDEX=/var/i/%u:CONTROL=/var/c/%u", FINDING_FAIL,
          "CONTROL=/var/c/" },
        { "maildir:/srv/vmail/%u:INDEX=/srv/vmail/index/%u:CONTROL=/srv/vmail/c/%u", FINDING_OK,
          "" },
        { "maildir:/srv/vmail/%u:INDEX=MEMORY", FINDING_OK, "" },
        { "maildir:~/Maildir:INDEX=~/index:CONTROL=%h/control", FINDING_OK, "" },
        { "maildir:/srv/vmail/%u:INDEX=/%{home}/index", FINDING_OK, "" },
        { "maildir:/srv/vmail/%u:INDEX=/srv/vmail", FINDING_OK, "" },
        { "maildir:/srv/vmail/%u:INDEX=", FINDING_OK, "" },
        { "", FINDING_OK, "" },
    };
    char mail[] = "/srv/vmail", files[] = "/srv/files";
    struct conf_store two[] = { { .kind = STORE_FILES, .path = files },
                                { .kind = STORE_MAILDIR, .path = mail } };
    const struct conf of_two = { .stores = two, .store_count = ARRAY_LEN(two) };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct judgement j = judge_location(&of_two, rows[i].location);
        CHECK_CONTAINS(j.text, rows[i].part);
        CHECK_INT(j.finding, rows[i].finding);
    }
}

/* --- Postfix --- */

static void
check_postfix(const char *listen, const char *backend, const char *transport, enum finding finding,
              const char *part)
{
    struct conf_gate gate = { .name = xstrdup("lmtp"),
                              .listen = xstrdup(listen),
                              .backend = xstrdup(backend) };
    const struct postfix_transport transports[] = {
        { "virtual_transport", transport },
        { "mailbox_transport", "" },
        { "local_transport", "local:$myhostname" },
        { "relay_transport", "relay" },
    };
    struct judgement j = judge_postfix(&gate, transports, ARRAY_LEN(transports),
                                       "/var/spool/postfix");
    CHECK_CONTAINS(j.text, part);
    CHECK_INT(j.finding, finding);
    free(gate.name);
    free(gate.listen);
    free(gate.backend);
}

#define GATE   "inet:127.0.0.1:2424"
#define SERVER "unix:/run/dovecot/lmtp"

TEST(a_postfix_that_delivers_past_the_gate_is_told)
{
    static const struct {
        const char *listen, *backend, *transport;
        enum finding finding;
        const char *part;
    } rows[] = {
        { GATE, SERVER, "lmtp:inet:127.0.0.1:2424", FINDING_OK, "(virtual_transport = lmtp:inet:" },
        { GATE, SERVER, "lmtp:[127.0.0.1]:2424", FINDING_OK, "delivers to the gate" },
        { GATE, SERVER, "lmtp:localhost:2424", FINDING_OK, "delivers to the gate" },
        { "inet:0.0.0.0:2424", SERVER, "lmtp:inet:10.9.0.1:2424", FINDING_OK, "delivers" },
        { "inet:[::1]:2424", SERVER, "lmtp:inet:[::1]:2424", FINDING_OK, "delivers" },
        { "unix:/var/spool/postfix/private/twin", SERVER, "lmtp:unix:private/twin", FINDING_OK,
          "delivers" },
        { GATE, SERVER, "lmtp:unix:/run/dovecot/lmtp", FINDING_FAIL,
          "delivers past the gate \"lmtp\" (virtual_transport = lmtp:unix:/run/dovecot/lmtp is the "
          "server behind it)" },
        { GATE, SERVER, "lmtp:unix:/run/dovecot/lmtp", FINDING_FAIL,
          "postconf -e 'virtual_transport = lmtp:inet:127.0.0.1:2424'" },
        { GATE, "inet:127.0.0.1:24", "lmtp:inet:localhost:24", FINDING_FAIL, "past the gate" },
        { GATE, SERVER, "virtual", FINDING_WARN, "does not deliver to the gate \"lmtp\"" },
        { GATE, SERVER, "lmtp:inet:127.0.0.1:25", FINDING_WARN, "does not deliver" },
        { GATE, SERVER, "lmtp:inet:10.9.0.7:2424", FINDING_WARN, "does not deliver" },
        { GATE, SERVER, "lmtp:", FINDING_WARN, "does not deliver" },
        { GATE, SERVER, "", FINDING_WARN, "does not deliver" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_postfix(rows[i].listen, rows[i].backend, rows[i].transport, rows[i].finding,
                      rows[i].part);
}
