/* What `mailtwin check` makes of a directory server: the first thing that has to be mended. */
#include "directory/probe.h"
#include "tests/unit/test.h"

#include <string.h>

static const struct probe fine = {
    .reached = true,
    .syncs = true,
    .has_base = true,
    .has_id = true,
    .has_csn = true,
    .entries = 12,
    .whole = true,
    .shows_passwords = true,
};

static void
check(struct probe probe, bool native, const char *state, const char *part)
{
    static char name[] = "directory", uri[] = "ldapi:///", base[] = "dc=x", who[] = "cn=twin";
    struct conf_store store = { .name = name };
    store.ldap.uri = uri;
    store.ldap.base = base;
    store.ldap.bind_dn = who;
    store.ldap.native = native;
    struct probe_word word = probe_judge(&store, &probe);
    CHECK_CONTAINS(word.text, part);
    CHECK_STR(word.state, state);
}

#define PROBE(...)             \
    ({                         \
        struct probe p = fine; \
        __VA_ARGS__;           \
        p;                     \
    })

TEST(what_a_directory_server_lacks_is_told_with_what_to_do)
{
    check(fine, false, "ok",
          "directory: ldapi:/// answers, with syncprov, entryUUID, userPassword and 12 entries");
    check(PROBE(p.whole = false), false, "ok", "more than 12 entries");
    check(PROBE(p.reached = false; strcpy(p.why_not, "no socket")), false, "fail",
          "directory: no socket; does the server run");
    check(PROBE(p.has_base = false), false, "warn", "shows no entry dc=x to cn=twin: a standby");
    check(PROBE(p.syncs = false), false, "fail", "add olcOverlay=syncprov to it");
    check(PROBE(p.has_id = false), false, "fail", "shows no entryUUID to cn=twin");
    check(PROBE(p.has_csn = false), false, "fail", "shows no entryCSN to cn=twin");
    check(PROBE(p.limited = true; p.entries = 500), false, "fail",
          "ends a search of cn=twin after 500 entries");
    check(PROBE(p.shows_passwords = false), false, "warn", "sees no userPassword below dc=x");
}

TEST(the_first_thing_to_mend_is_told_and_a_native_directory_is_only_to_answer)
{
    struct probe bad = { 0 };
    check(bad, true, "fail", "does the server run");
    check(PROBE(p = bad; p.reached = true), false, "warn", "shows no entry");
    check(PROBE(p = bad; p.reached = true), true, "ok", "replicates by itself");
    check(PROBE(p.syncs = p.has_id = p.shows_passwords = false), false, "fail", "syncprov");
    check(PROBE(p.limited = true; p.shows_passwords = false), false, "fail", "size=unlimited");
}
