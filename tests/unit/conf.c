#include "tests/unit/test.h"

#include "lib/base/nearest.h"
#include "lib/os/conf.h"
#include "lib/os/conf_value.h"
#include "lib/os/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The configuration that the documentation shows, as it stands there. */
static const char documented[] =
    "cluster   = \"example\"\n"
    "state-dir = \"/var/lib/mailtwin\"                 # journal, positions, caches, audit trail\n"
    "run-dir   = \"/run/mailtwin\"                     # control and barrier sockets\n"
    "\n"
    "node \"mx1\" { address = \"10.9.0.1\"  port = 7411 }\n"
    "node \"mx2\" { address = \"10.9.0.2\"  port = 7411 }\n"
    "node \"dr\"  { address = \"192.0.2.7\" port = 7411  durability = async  bandwidth = \"20M\" } "
    "  # a remote follower\n"
    "\n"
    "tls { authority = \"/etc/mailtwin/pki/ca.pem\"  certificate = \"/etc/mailtwin/pki/node.pem\"  "
    "key = \"/etc/mailtwin/pki/node.key\" }\n"
    "\n"
    "store \"mail\" {\n"
    "  kind = maildir           path = \"/srv/vmail\"\n"
    "  durability = durable     # async | received | durable: what a barrier waits for\n"
    "  when-alone = continue    # continue (degraded, dated, alarmed) | refuse (the MTA keeps the "
    "mail and tries again)\n"
    "  retain-deleted = \"14d\"   mass-delete-limit = \"20%\"    exclude = { \"*.lock\", "
    "\"dovecot.index.cache\" }\n"
    "}\n"
    "store \"sieve\"     { kind = files  path = \"/srv/sieve\" }\n"
    "store \"queue\"     { kind = queue  path = \"/var/spool/postfix\" }\n"
    "store \"directory\" { kind = ldap   uri = \"ldapi:///\"  base = \"dc=example,dc=org\" }\n"
    "store \"webdb\"     { kind = dump   command = \"pg_dump -Fc web\"  restore = \"pg_restore "
    "--clean -d web\"  every = \"5m\" }\n"
    "\n"
    "gate \"lmtp\" { listen = \"inet:127.0.0.1:2424\"  backend = \"unix:/run/dovecot/lmtp\" }\n"
    "\n"
    "failover {\n"
    "  mode = automatic         # automatic | propose\n"
    "  detect = \"1s\"            # corosync token\n"
    "  fence \"ipmi-mx1\" { node = \"mx1\"  program = \"fence_ipmilan\"  options = { "
    "\"ip=10.8.0.1\", \"username=…\" } }\n"
    "  resource \"service-ip\" { kind = address  address = \"10.9.0.100/24\"  interface = \"eth0\" "
    "}\n"
    "  resource \"dovecot\"    { kind = service  unit = \"dovecot.service\" }\n"
    "  resource \"postfix\"    { kind = service  unit = \"postfix.service\" }\n"
    "  check \"imap\" { url = \"imap://10.9.0.100\"  every = \"2s\" }\n"
    "}\n"
    "\n"
    "destination \"nas\"     { kind = directory  path = \"/mnt/nas/mailtwin\" }\n"
    "destination \"offsite\" { kind = s3  url = \"https://s3.example.net/bucket/mail\"  region = "
    "\"eu-1\"  credentials = \"/etc/mailtwin/s3.conf\"  lock = \"30d\" }\n"
    "destination \"vault\"   { kind = sftp  url = \"sftp://backup@vault.example.net/mail\"  key = "
    "\"/etc/mailtwin/vault_ed25519\" }\n"
    "destination \"lto\"     { kind = tape  device = \"/dev/nst0\"  changer = \"/dev/sg3\" }\n"
    "\n"
    "backup \"nightly\" { stores = { \"mail\", \"sieve\", \"directory\", \"webdb\" }  form = "
    "snapshot  to = { \"nas\", \"offsite\" }\n"
    "                   schedule = \"*-*-* 02:15\"  keep = \"24h 14d 8w 12m 7y\" }\n"
    "backup \"system\"  { stores = { \"directory\", \"webdb\" }  system = true  form = tar  to = { "
    "\"lto\" }  schedule = \"*-*-* 01:00\"  keep = \"30d\" }\n"
    "\n"
    "monitor { listen = \"127.0.0.1:7412\" }\n"
    "notify \"ops\" { kind = mail  to = \"ops@example.org\"  on = { \"warning\", \"critical\" } "
    "}\n";

static char dir[] = "/tmp/mailtwin-conf-XXXXXX";

/* Writes dir/name and returns its path, valid until the next call. */
static const char *
put(const char *name, const char *text)
{
    static char path[128];
    if (strstr(dir, "XXXXXX") != NULL)
        CHECK(mkdtemp(dir) != NULL);
    test_scratch(dir);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    fputs(text, file);
    CHECK_INT(fclose(file), 0);
    return path;
}

__attribute__((destructor)) static void
clean_up(void)
{
    char command[128];
    if (strstr(dir, "XXXXXX") != NULL)
        return;
    snprintf(command, sizeof(command), "rm -r %s", dir);
    if (system(command) != 0)
        perror(command);
}

static struct conf *
load(const char *text, const char *self)
{
    struct conf *conf = NULL;
    struct err e = { 0 };
    if (conf_load(put("mailtwin.conf", text), self, &conf, &e) < 0)
        fail_msg("%s", e.text);
    return conf;
}

/* The sentence without the folder in front. */
static const char *
refusal(const char *file, const char *self)
{
    static struct err e;
    struct conf *conf = NULL;
    e = (struct err){ 0 };
    if (conf_load(file, self, &conf, &e) == 0) {
        conf_free(&conf);
        return "accepted";
    }
    CHECK(conf == NULL);
    CHECK_INT(e.code, ERR_CONFIG);
    size_t len = strlen(dir);
    return strncmp(e.text, dir, len) == 0 ? e.text + len + 1 : e.text;
}

TEST(the_documented_configuration_is_read_as_it_stands)
{
    struct conf *conf = load(documented, "mx1");
    CHECK_STR(conf->cluster, "example");
    CHECK_STR(conf->state_dir, "/var/lib/mailtwin");
    CHECK_STR(conf->run_dir, "/run/mailtwin");
    CHECK_STR(conf->user, "mailtwin");
    CHECK_STR(conf->self, "mx1");
    CHECK_INT(conf->journal_max, 256 * 1024 * 1024);
    CHECK_INT(conf->ack_late_ms, 10000);
    CHECK_INT(conf->node_count, 3);
    const struct conf_node *dr = conf_node_find(conf, "dr");
    CHECK_STR(dr->address, "192.0.2.7");
    CHECK_INT(dr->port, 7411);
    CHECK_INT(dr->durability, DURABILITY_ASYNC);
    CHECK_INT(dr->bandwidth, 20 * 1024 * 1024);
    CHECK(dr->follow == NULL);
    CHECK_INT(conf->nodes[0].durability, DURABILITY_DURABLE);
    CHECK_INT(conf->nodes[0].bandwidth, 0);
    CHECK_STR(conf->tls.authority, "/etc/mailtwin/pki/ca.pem");
    CHECK_STR(conf->tls.certificate, "/etc/mailtwin/pki/node.pem");
    CHECK_STR(conf->tls.key, "/etc/mailtwin/pki/node.key");
    CHECK_INT(conf->store_count, 5);
    CHECK_STR(conf->stores[0].name, "mail");
    CHECK_INT(conf->stores[0].kind, STORE_MAILDIR);
    CHECK_STR(conf->stores[0].path, "/srv/vmail");
    CHECK_INT(conf->stores[0].durability, DURABILITY_DURABLE);
    CHECK_INT(conf->stores[0].when_alone, ALONE_CONTINUE);
    CHECK_STR(conf->stores[0].exclude[0], "*.lock");
    CHECK_STR(conf->stores[0].exclude[1], "dovecot.index.cache");
    CHECK(conf->stores[0].exclude[2] == NULL);
    CHECK_STR(conf->stores[1].name, "sieve");
    CHECK_INT(conf->stores[1].kind, STORE_FILES);
    CHECK(conf->stores[1].exclude[0] == NULL);
    CHECK_INT(conf->stores[2].kind, STORE_QUEUE);
    CHECK_STR(conf->stores[2].path, "/var/spool/postfix");
    CHECK_INT(conf->stores[3].kind, STORE_LDAP);
    CHECK_STR(conf->stores[3].path, "/var/lib/mailtwin/spool/directory");
    CHECK_STR(conf->stores[3].users, "");
    CHECK_INT(conf->stores[4].kind, STORE_DUMP);
    CHECK_STR(conf->stores[4].path, "/var/lib/mailtwin/spool/webdb");
    CHECK_STR(conf->stores[4].dump.command, "pg_dump -Fc web");
    CHECK_STR(conf->stores[4].dump.restore, "pg_restore --clean -d web");
    CHECK_STR(conf->stores[4].dump.user, "root");
    CHECK_INT(conf->stores[4].dump.every_ms, 300000);
    CHECK_INT(conf->stores[4].dump.versions, 24);
    CHECK_CONTAINS(conf->not_built, "failover"); /* mailtwin check tells of it */
    conf_free(&conf);
    CHECK(conf == NULL);
}

#define LEAST "cluster = \"c\"\nnode \"a\" { address = \"10.0.0.1\" }\n"

TEST(what_is_left_out_has_its_default)
{
    struct conf *conf = load(LEAST, "a");
    CHECK_STR(conf->state_dir, "/var/lib/mailtwin");
    CHECK_STR(conf->tls.key, "/etc/mailtwin/pki/node.key");
    CHECK_INT(conf->nodes[0].port, 7411);
    CHECK_INT(conf->store_count, 0);
    conf_free(&conf);
    conf = load(LEAST "store \"s\" { path = \"/s\" }", "a");
    CHECK_INT(conf->stores[0].kind, STORE_MAILDIR);
    CHECK_INT(conf->stores[0].verify_every_ms, 7 * 24 * 3600 * 1000);
    conf_free(&conf);
}

TEST(values_of_the_later_keys_reach_the_programs)
{
    struct conf *conf = load(
        LEAST "user = nobody journal-max = 2G ack-late = 1500ms\n"
              "node \"b\" { address = \"fe80::1\" follow = \"a\" durability = received }\n"
              "store \"s\" { path = \"//srv//x///\" verify-every = 0s when-alone = refuse "
              "durability = async exclude = \"*.tmp\" }\n"
              "tls { key = \"/k\" }",
        "b");
    CHECK_STR(conf->user, "nobody");
    CHECK_INT(conf->journal_max, 2ull << 30);
    CHECK_INT(conf->ack_late_ms, 1500);
    CHECK_STR(conf->nodes[1].follow, "a");
    CHECK_INT(conf->nodes[1].durability, DURABILITY_RECEIVED);
    CHECK_STR(conf->stores[0].path, "/srv/x");
    CHECK_INT(conf->stores[0].verify_every_ms, 0);
    CHECK_INT(conf->stores[0].when_alone, ALONE_REFUSE);
    CHECK_INT(conf->stores[0].durability, DURABILITY_ASYNC);
    CHECK_STR(conf->stores[0].exclude[0], "*.tmp");
    CHECK_STR(conf->tls.key, "/k");
    CHECK_STR(conf->tls.certificate, "/etc/mailtwin/pki/node.pem");
    conf_free(&conf);
}

TEST(a_gate_knows_both_its_ends_and_its_store)
{
    struct conf *conf = load(
        LEAST
        "store \"s\" { path = \"/s\" } gate-user = nobody\n"
        "gate \"g\" { listen = \"unix:/run/g\" backend = \"inet:[::1]:24\" store = s timeout = 2s "
        "}\n"
        "gate \"h\" { listen = \"inet:localhost:25\" backend = \"unix:/run/d\" remember = 1d }",
        "a");
    CHECK_INT(conf->gate_count, 2);
    CHECK_STR(conf->gate_user, "nobody");
    CHECK_STR(conf->gates[0].name, "g");
    CHECK_STR(conf->gates[0].store, "s");
    CHECK_INT(conf->gates[0].timeout_ms, 2000);
    CHECK_INT(conf->gates[0].remember_ms, 5ull * 24 * 3600 * 1000);
    CHECK(conf->gates[1].store == NULL);
    CHECK_INT(conf->gates[1].timeout_ms, 30000);
    conf_free(&conf);
}

TEST(an_end_of_a_gate_is_an_address_or_a_path)
{
    struct endpoint end;
    CHECK(endpoint_parse("inet:[fe80::1]:65535", &end));
    CHECK_STR(end.text, "fe80::1");
    CHECK_INT(end.port, 65535);
    CHECK(endpoint_parse("unix:/run/x", &end) && end.unix_path);
    static const char *const bad[] = { "",          "inet:",        "inet:a",      "inet:a:0",
                                       "inet:a:x",  "inet:a:65536", "inet::24",    "inet:::1:24",
                                       "inet:[]:1", "unix:",        "unix:x",      "unix:/",
                                       "tcp:a:24",  "a:24",         "inet:a b:24", "/run/x" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!endpoint_parse(bad[i], &end));
    char path[128] = "unix:/";
    memset(path + 6, 'x', 107);
    CHECK(!endpoint_parse(path, &end));
    path[6 + 106] = '\0';
    CHECK(endpoint_parse(path, &end));
}

TEST(stores_side_by_side_are_fine_when_their_names_only_begin_alike)
{
    struct conf *conf = load(LEAST "store \"s\" { path = \"/srv/vmail\" }\n"
                                   "store \"t\" { path = \"/srv/vmail2\" }\n"
                                   "store \"u\" { path = \"/srv/vmai\" }",
                             "a");
    CHECK_INT(conf->store_count, 3);
    conf_free(&conf);
}

/* Each broken in one way, on a known line, and the sentence it must give. */
static const struct {
    const char *text;
    const char *sentence;
} broken[] = {
    { LEAST "clustr = \"x\"",
      "mailtwin.conf:3: unknown key \"clustr\", the nearest known key is \"cluster\"" },
    { LEAST "stor \"mail\" { }",
      "mailtwin.conf:3: unknown key \"stor\", the nearest known key is \"store\"" },
    { LEAST "\n\nstore \"mail\" {\n  pth = \"/x\"\n}",
      "mailtwin.conf:6: store \"mail\": unknown key \"pth\", the nearest known key is \"path\"" },
    { LEAST "tls {\n  cert = \"/x\"\n}",
      "mailtwin.conf:4: tls: unknown key \"cert\", the nearest known key is \"key\"" },
    { LEAST "failover {\n fence \"f\" {\n nod = a\n} }",
      "mailtwin.conf:5: fence \"f\": unknown key \"nod\", the nearest known key is \"node\"" },
    { LEAST "journal-max = \"many\"",
      "mailtwin.conf:3: journal-max = \"many\" is not a size such as 64M or 1G" },
    { LEAST "journal-max = 64MB",
      "mailtwin.conf:3: journal-max = \"64MB\" is not a size such as 64M or 1G" },
    { LEAST "journal-max = 99999999999T",
      "mailtwin.conf:3: journal-max = \"99999999999T\" is not a size such as 64M or 1G" },
    { LEAST "journal-max = -1",
      "mailtwin.conf:3: journal-max = \"-1\" is not a size such as 64M or 1G" },
    { LEAST "journal-max = 1",
      "mailtwin.conf:3: journal-max = \"1\" is out of range, allowed is 1M to 1T" },
    { LEAST "ack-late = 10",
      "mailtwin.conf:3: ack-late = \"10\" is not a time such as 500ms, 5s, 10m or 14d" },
    { LEAST "ack-late = 2h",
      "mailtwin.conf:3: ack-late = \"2h\" is out of range, allowed is 100ms to 1h" },
    { LEAST "state-dir = \"var/lib\"",
      "mailtwin.conf:3: state-dir = \"var/lib\" is not an absolute path without . and .. in it" },
    { LEAST "store \"s\" {\n  path = \"srv/vmail\" }",
      "mailtwin.conf:4: store \"s\": path = \"srv/vmail\" is not an absolute path without . and .. "
      "in it" },
    { LEAST "store \"s\" { path = \"/srv/../etc\" }",
      "mailtwin.conf:3: store \"s\": path = \"/srv/../etc\" is not an absolute path without . and "
      ".. in it" },
    { LEAST "store \"s\" { path = \"\" }", "mailtwin.conf:3: store \"s\": path is empty" },
    { LEAST "store \"s\" { path = \"/s\" mass-delete-limit = \"101%\" }",
      "mailtwin.conf:3: store \"s\": mass-delete-limit = \"101%\" is out of range, allowed is 0% "
      "to 100%" },
    { LEAST "store \"s\" { path = \"/s\" mass-delete-limit = 20 }",
      "mailtwin.conf:3: store \"s\": mass-delete-limit = \"20\" is not a percentage such as 20%" },
    { LEAST "store \"s\" { path = \"/s\" durability = fast }",
      "mailtwin.conf:3: store \"s\": durability = \"fast\" is not one of: async received durable" },
    { LEAST "store \"s\" { path = \"/s\" durability = \"received durable\" }",
      "mailtwin.conf:3: store \"s\": durability = \"received durable\" is not one of: async "
      "received durable" },
    { LEAST "store \"s\" { path = \"/s\" durability = { a } }",
      "mailtwin.conf:3: store \"s\": durability needs a value, not {" },
    { LEAST "store \"s\" { path = \"/s\" exclude = { \"a\", { } }",
      "mailtwin.conf:3: store \"s\": { is not expected here" },
    { LEAST "store \"s\" { path = \"/s\" exclude = { \"\" } }",
      "mailtwin.conf:3: store \"s\": exclude is empty" },
    { LEAST "store \"s\" { path += \"/s\" }",
      "mailtwin.conf:3: store \"s\": += goes with lists only, not with path" },
    { "cluster = \"c\"\nnode \"a\" {\n  port = 7411\n}",
      "mailtwin.conf:2: node \"a\": address is missing" },
    { "node \"a\" { address = \"10.0.0.1\" }", "mailtwin.conf:1: cluster is missing" },
    { "cluster = \"c\"", "mailtwin.conf:1: there is no node section" },
    { LEAST "\nstore \"s\" {\n  kind = files\n}",
      "mailtwin.conf:4: store \"s\": path is missing, a store of kind files needs it" },
    { LEAST "store \"s\" { }",
      "mailtwin.conf:3: store \"s\": path is missing, a store of kind maildir needs it" },
    { LEAST "store \"s\" { kind = ldap uri = \"ldapi:///\" }",
      "mailtwin.conf:3: store \"s\": base is missing, a store of kind ldap needs it" },
    { LEAST "destination \"d\" { kind = s3 }",
      "mailtwin.conf:3: destination \"d\": url is missing, a destination of kind s3 needs it" },
    { LEAST "node \"b\" { address = \"10.0.0.300\" }",
      "mailtwin.conf:3: node \"b\": address = \"10.0.0.300\" is not an IP address or a host name" },
    { LEAST "node \"b\" { address = \"-x\" }",
      "mailtwin.conf:3: node \"b\": address = \"-x\" is not an IP address or a host name" },
    { LEAST "node \"b\" { address = b port = 65536 }",
      "mailtwin.conf:3: node \"b\": port = \"65536\" is out of range, allowed is 1 to 65535" },
    { LEAST "node \"b\" { address = b port = x }",
      "mailtwin.conf:3: node \"b\": port = \"x\" is not a whole number" },
    { LEAST "node \"b\" { address = b\n follow = mx1 }",
      "mailtwin.conf:4: node \"b\": follow names no node \"mx1\", the nearest known one is \"a\"" },
    { LEAST "node \"b\" { address = b follow = b }",
      "mailtwin.conf:3: node \"b\": a node cannot follow itself" },
    { LEAST "backup \"n\" { stores = { \"mail\" } to = { \"nas\" } }",
      "mailtwin.conf:3: backup \"n\": stores names the store \"mail\", there is none" },
    { LEAST "node \"a\" { address = b }", "mailtwin.conf:3: a second node is named \"a\"" },
    { LEAST "store \"a\" { path = \"/a\" }\nstore \"a\" { path = \"/b\" }",
      "mailtwin.conf:4: a second section of this kind is named \"a\"" },
    { LEAST "node \"b c\" {\n address = b\n }",
      "mailtwin.conf:3: node \"b c\": this is not a name of 1 to 64 letters, digits, dots, dashes "
      "and underscores" },
    { LEAST "node \"..\" { address = b }",
      "mailtwin.conf:3: node \"..\": this is not a name of 1 to 64 letters, digits, dots, dashes "
      "and underscores" },
    { "cluster = \"a/b\"\n", "mailtwin.conf:1: cluster = \"a/b\" is not a name of 1 to 64 letters, "
                             "digits, dots, dashes and underscores" },
    { LEAST "user = \"a b\"", "mailtwin.conf:3: user = \"a b\" is not the name of an account" },
    { LEAST "store \"s\" { path = \"/srv/vmail\" }\n\nstore \"t\" { path = \"/srv/vmail/x\" }",
      "mailtwin.conf:5: store \"t\": /srv/vmail/x lies in /srv/vmail, the path of store \"s\"" },
    { LEAST "store \"s\" { path = \"/srv/vmail/x\" }\nstore \"t\" { path = \"/srv//vmail/\" }",
      "mailtwin.conf:4: store \"t\": /srv//vmail/ has /srv/vmail/x in it, the path of store "
      "\"s\"" },
    { LEAST "store \"s\" { path = \"/srv\" }\nstore \"t\" { kind = files path = \"/srv\" }",
      "mailtwin.conf:4: store \"t\": /srv lies in /srv, the path of store \"s\"" },
    { LEAST "store \"s\" { path = \"/var\" }",
      "mailtwin.conf:3: store \"s\": the state-dir /var/lib/mailtwin lies in /var" },
    { LEAST "store \"s\" { kind = dump  path = \"/x\"  command = \"a\"  restore = \"b\" }",
      "mailtwin.conf:3: store \"s\": a store of kind dump has no path of its own" },
    { LEAST "store \"s\" { path = \"/x\"  users = \"*/u\" }",
      "mailtwin.conf:3: store \"s\": users is stars with slashes between them (\"*/*\"), at most "
      "8" },
    { LEAST "store \"s\" { path = \"/x\"  users = \"*/*/*/*/*/*/*/*/*\" }",
      "mailtwin.conf:3: store \"s\": users is stars with slashes between them (\"*/*\"), at most "
      "8" },
    { LEAST "\ncluster = \"d\"",
      "mailtwin.conf:4: cluster is set twice, first in DIR/mailtwin.conf:1" },
    { LEAST "tls { key = \"/k\" }\ntls { key = \"/l\" }",
      "mailtwin.conf:4: tls: the section is there twice" },
    { LEAST "backup \"n\" { system = maybe }",
      "mailtwin.conf:3: backup \"n\": system = \"maybe\" is not true or false" },
    { LEAST "backup \"n\" { keep = \"7q\" }",
      "mailtwin.conf:3: backup \"n\": keep = \"7q\" is not a time to keep such as 30d, or counts "
      "such as 24h 14d 8w 12m 7y" },
    { LEAST "notify \"n\" { on = { warning, loud } }",
      "mailtwin.conf:3: notify \"n\": on = \"loud\" is not one of: info warning critical" },
    { LEAST "monitor { listen = \"\" }", "mailtwin.conf:3: monitor: listen is empty" },
    { LEAST "store \"s\" { path = \"/s\"\n",
      "mailtwin.conf:3: store \"s\": the section is not closed" },
    { LEAST "}", "mailtwin.conf:3: there is one closing brace too many" },
    { LEAST "store { path = \"/s\" }",
      "mailtwin.conf:3: a name in quotes is missing after the section store" },
    { LEAST "store \"s\"\n path = \"/s\"",
      "mailtwin.conf:4: an opening brace is missing after the section store" },
    { LEAST "journal-max 64M",
      "mailtwin.conf:3: an equal sign and a value are missing after journal-max" },
    { LEAST "journal-max =",
      "mailtwin.conf:4: journal-max needs a value, not the end of the file" },
    { LEAST "store \"s\" { exclude = { \"a\"",
      "mailtwin.conf:4: store \"s\": the end of the file is not expected here" },
    { LEAST "user = \"x", "mailtwin.conf:3: the string is not closed" },
    { LEAST "/* a\n b */ user = \"x", "mailtwin.conf:4: the string is not closed" },
    { LEAST "user = \"x\ny\" state-dir = 'z", "mailtwin.conf:4: the string is not closed" },
    { LEAST "user = 'x", "mailtwin.conf:3: the string is not closed" },
    { LEAST "user = \"x\\", "mailtwin.conf:3: the string is not closed" },
    { LEAST "\n/* open", "mailtwin.conf:4: the comment is not closed" },
    { LEAST "user = \"\\777\"", "mailtwin.conf:3: \\777 is no octal number of a byte" },
    { LEAST "user = \"\\9\"", "mailtwin.conf:3: \\9 is no escape sequence" },
    { LEAST "user = \"\x01\"", "mailtwin.conf:3: the control character 0x01" },
    { LEAST "include(\"a\", \"b\")",
      "mailtwin.conf:3: include wants one file name in parentheses" },
    { LEAST "gate \"g\" {\n listen = \"inet:x\"\n}",
      "mailtwin.conf:4: gate \"g\": listen = \"inet:x\" is not inet:ADDRESS:PORT or unix:PATH" },
    { LEAST "gate \"g\" {\n listen = \"inet:x:1\"\n}",
      "mailtwin.conf:3: gate \"g\": backend is missing" },
    { LEAST "gate \"g\" {\n listen = \"inet:x:1\"\n backend = \"inet:x:1\"\n}",
      "mailtwin.conf:5: gate \"g\": backend is where the gate listens" },
    { LEAST "gate \"g\" { listen = \"inet:x:1\" backend = \"inet:x:2\" }\n"
            "gate \"h\" { listen = \"inet:x:1\" backend = \"inet:x:2\" }",
      "mailtwin.conf:4: gate \"h\": another gate listens on inet:x:1" },
    { LEAST "store \"q\" { kind = queue path = \"/q\" }\n"
            "gate \"g\" { listen = \"inet:x:1\" backend = \"inet:x:2\" store = q }",
      "mailtwin.conf:4: gate \"g\": store = \"q\" is of kind queue, a gate delivers to a maildir" },
    { LEAST "include \"a\"", "mailtwin.conf:3: an opening parenthesis is missing after include" },
    { LEAST "include(=)", "mailtwin.conf:3: include wants one file name in parentheses" },
};

TEST(every_wrong_configuration_gives_one_exact_sentence)
{
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        char want[1024];
        const char *at = strstr(broken[i].sentence, "DIR");
        const char *got = refusal(put("mailtwin.conf", broken[i].text), "a");
        if (at == NULL)
            snprintf(want, sizeof(want), "%s", broken[i].sentence);
        else
            snprintf(want, sizeof(want), "%.*s%s%s", (int)(at - broken[i].sentence),
                     broken[i].sentence, dir, at + 3);
        CHECK_STR(got, want);
    }
}

TEST(comments_stand_anywhere_and_do_not_move_the_lines)
{
    static const char text[] = "# a\n// b\n/* c\n d */ cluster = \"c\" // e\n"
                               "node \"a\" { address = \"10.0.0.1\" # f\n}\n"
                               "store \"s#/*\" { path = /srv//a#g\nexclude = { \"x#//\", # h\n "
                               "'/*y', /* i */ z } }\n";
    char fixed[sizeof(text)];
    CHECK_STR(refusal(put("mailtwin.conf", text), "a"),
              "mailtwin.conf:7: store \"s#/*\": this is not a name of 1 to 64 letters, digits, "
              "dots, dashes and underscores");
    memcpy(fixed, text, sizeof(text));
    memcpy(strstr(fixed, "s#/*"), "s---", 4);
    struct conf *conf = load(fixed, "a");
    CHECK_STR(conf->stores[0].path, "/srv/a");
    CHECK_STR(conf->stores[0].exclude[0], "x#//");
    CHECK_STR(conf->stores[0].exclude[1], "/*y");
    CHECK_STR(conf->stores[0].exclude[2], "z");
    conf_free(&conf);
}

TEST(an_included_file_is_read_in_its_place_and_named_in_errors)
{
    put("nodes.conf", "node \"b\" {\n address = \"10.0.0.2\"\n include(\"port.conf\") }");
    put("port.conf", "port = 77\n");
    struct conf *conf = load(LEAST "include(\"nodes.conf\")\nuser = \"u\"", "b");
    CHECK_INT(conf_node_find(conf, "b")->port, 77);
    CHECK_STR(conf->user, "u");
    conf_free(&conf);
    CHECK_STR(refusal(put("mailtwin.conf", LEAST "include(\"nodes.conf\")\n\nusr = \"u\""), "a"),
              "mailtwin.conf:5: unknown key \"usr\", the nearest known key is \"user\"");
    put("port.conf", "\nprt = 77\n");
    CHECK_STR(refusal(put("mailtwin.conf", LEAST "include(\"nodes.conf\")"), "a"),
              "port.conf:2: node \"b\": unknown key \"prt\", the nearest known key is \"port\"");
    put("port.conf", "}\n");
    CHECK_STR(refusal(put("mailtwin.conf", LEAST "include(\"nodes.conf\")"), "a"),
              "port.conf:1: node \"b\": there is one closing brace too many");
    put("port.conf", "port = 77 }\n node \"c\" { ");
    CHECK_STR(refusal(put("mailtwin.conf", LEAST "include(\"nodes.conf\")"), "a"),
              "port.conf:1: node \"b\": there is one closing brace too many");
    put("nodes.conf", "node \"b\" {");
    CHECK_STR(refusal(put("mailtwin.conf", LEAST "include(\"nodes.conf\")\n}"), "a"),
              "nodes.conf:1: node \"b\": the section is not closed");
    put("nodes.conf", "include(\"nodes.conf\")");
    CHECK_STR(refusal(put("mailtwin.conf", LEAST "include(\"nodes.conf\")"), "a"),
              "nodes.conf:1: files include each other more than 8 deep");
    CHECK_CONTAINS(refusal(put("mailtwin.conf", LEAST "\ninclude(\"none.conf\")"), "a"),
                   "mailtwin.conf:4: there is no configuration file ");
}

TEST(the_environment_is_put_into_strings)
{
    setenv("MAILTWIN_TEST_DIR", "/srv/env", 1);
    struct conf *conf = load(LEAST "store \"s\" { path = \"${MAILTWIN_TEST_DIR}/x\" }\n"
                                   "user = \"${MAILTWIN_TEST_NONE:-other}\"",
                             "a");
    CHECK_STR(conf->stores[0].path, "/srv/env/x");
    CHECK_STR(conf->user, "other");
    conf_free(&conf);
}

TEST(a_file_that_cannot_be_read_is_named)
{
    put("x", "");
    char path[128], want[256];
    snprintf(path, sizeof(path), "%s/none", dir);
    snprintf(want, sizeof(want), "there is no configuration file %s", path);
    CHECK_STR(refusal(path, "a"), want);
    struct err e;
    struct conf *conf;
    CHECK_INT(conf_load(dir, "a", &conf, &e), -1);
    CHECK_CONTAINS(e.text, ": it is not a regular file");
    setenv("MAILTWIN_CONFIG", path, 1);
    CHECK_STR(refusal(NULL, "a"), want);
    unsetenv("MAILTWIN_CONFIG");
}

TEST(the_node_is_the_one_named_then_the_environments_then_the_hosts)
{
    char host[256], text[1024];
    CHECK_INT(gethostname(host, sizeof(host)), 0);
    snprintf(text, sizeof(text), LEAST "node \"b\" { address = b }\nnode \"%s\" { address = c }",
             host);
    setenv("MAILTWIN_NODE", "b", 1);
    struct conf *conf = load(text, "a");
    CHECK_STR(conf->self, "a");
    conf_free(&conf);
    conf = load(text, NULL);
    CHECK_STR(conf->self, "b");
    conf_free(&conf);
    unsetenv("MAILTWIN_NODE");
    conf = load(text, NULL);
    CHECK_STR(conf->self, host);
    conf_free(&conf);
    CHECK_CONTAINS(refusal(put("mailtwin.conf", LEAST), "z"),
                   ": there is no node \"z\" as --node says");
    CHECK_CONTAINS(refusal(put("mailtwin.conf", LEAST), NULL),
                   ": no node is named as this host, \"");
}

TEST(numbers_with_units_are_exact_and_never_wrap)
{
    uint64_t v;
    CHECK(conf_value_size("0", &v) && v == 0);
    CHECK(conf_value_size("20K", &v) && v == 20480);
    CHECK(conf_value_size("8388607T", &v) && v == 8388607ull << 40);
    CHECK(!conf_value_size("8388608T", &v));
    CHECK(!conf_value_size("99999999999999999999", &v));
    CHECK(!conf_value_size("", &v) && !conf_value_size("K", &v) && !conf_value_size("1 K", &v));
    CHECK(conf_value_time("500ms", &v) && v == 500);
    CHECK(conf_value_time("2w", &v) && v == 14ull * 24 * 3600 * 1000);
    CHECK(!conf_value_time("5", &v) && !conf_value_time("5S", &v) && !conf_value_time("1.5s", &v));
    CHECK(conf_value_percent("20%", &v) && v == 20);
    CHECK(!conf_value_percent("20", &v));
}

TEST(every_row_of_the_table_is_well_formed)
{
    for (size_t i = 0; i < conf_option_count; i++) {
        const struct conf_option *o = &conf_options[i];
        struct err e = { 0 };
        CHECK(conf_section_find(o->section) != NULL);
        CHECK(conf_option_find(o->section, o->key) == o);
        if (o->def != NULL && conf_value_check(o, o->def, &e) < 0)
            fail_msg("the default of %s: %s", o->key, e.text);
        if (o->to != NULL &&
            (conf_value_check(o, o->from, &e) < 0 || conf_value_check(o, o->to, &e) < 0))
            fail_msg("the range of %s: %s", o->key, e.text);
        CHECK(o->help[0] != '\0' && o->help[strlen(o->help) - 1] == '.');
    }
    for (size_t i = 0; i < conf_need_count; i++)
        CHECK(conf_option_find(conf_needs[i].section, conf_needs[i].key) != NULL);
    for (size_t i = 0; i < conf_example_count; i++)
        CHECK(conf_option_find(conf_examples[i].section, conf_examples[i].key) != NULL);
}

TEST(the_nearest_word_is_the_one_with_the_fewest_changes)
{
    CHECK_INT(nearest_distance("kitten", "sitting"), 3);
    CHECK_INT(nearest_distance("", "abc"), 3);
    CHECK_INT(nearest_distance("same", "same"), 0);
    static const char *const words[] = { "path", "port", "part" };
    CHECK_STR(nearest_word("pth", words, 3), "path");
    CHECK_STR(nearest_word("prt", words, 3), "port");
    CHECK(nearest_word("x", words, 0) == NULL);
}
