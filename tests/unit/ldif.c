/* An entry has one text, a text has one entry, and a difference leads from one to the other. */
#include "lib/store/ldif.h"
#include "lib/store/dn.h"
#include "tests/unit/test.h"

#include <stdio.h>

static struct err e;

static const char ann[] = "version: 1\n"
                          "dn: uid=ann,ou=people,dc=example,dc=org\n"
                          "cn: Ann\n"
                          "description: \n"
                          "description:: IGI=\n"
                          "description:: w6k=\n"
                          "entryUUID: 7996da7e-7b16-1041-907e-fda6c92c1195\n"
                          "mail: ann@example.org\n"
                          "mail: post@example.org\n"
                          "userPassword: {SSHA}abc\n"
                          "# end\n";

static void
add(struct ldif_entry *entry, const char *name, const char *value)
{
    ldif_add(entry, span_str(name), span_str(value));
}

static void
build_ann(struct ldif_entry *entry)
{
    ldif_begin(entry, span_str("uid=ann,ou=people,dc=example,dc=org"));
    add(entry, "userPassword", "{SSHA}abc");
    add(entry, "mail", "post@example.org");
    add(entry, "Mail", "ann@example.org");
    add(entry, "cn", "Ann");
    add(entry, "cn", "Ann");
    add(entry, "description", "\xc3\xa9");
    add(entry, "description", " b");
    add(entry, "description", "");
    add(entry, "entryUUID", "7996da7e-7b16-1041-907e-fda6c92c1195");
}

TEST(an_entry_has_one_text_whatever_the_order_of_its_values)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    _cleanup_buf_ struct buf text = { 0 };
    build_ann(&entry);
    CHECK_INT(ldif_end(&entry, &e), 0);

    ldif_write(&entry, &text);
    buf_add_u8(&text, 0);
    /* the first of two names that differ in case counts: "Mail" was sorted before by its value */
    _cleanup_ldif_ struct ldif_entry again = { 0 };
    char expected[sizeof(ann)];
    memcpy(expected, ann, sizeof(ann));
    for (char *at = expected; (at = strstr(at, "mail:")) != NULL; at++)
        *at = 'M';
    CHECK_STR((const char *)text.ptr, expected);
    CHECK_INT(ldif_read(span_str(expected), &again, &e), 0);
    struct span mail;
    CHECK(ldif_find(&again, "mail", &mail));
    CHECK(span_equal(mail, span_str("ann@example.org")));
}

TEST(every_text_that_is_cut_off_or_changed_is_refused)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    CHECK_INT(ldif_read(span_str(ann), &entry, &e), 0);
    for (size_t len = 0; len < sizeof(ann) - 1; len++) {
        CHECK_INT(ldif_read(span_of(ann, len), &entry, &e), -1);
        CHECK_INT(e.code, ERR_CORRUPT);
    }
    static const struct {
        const char *text, *told;
    } rows[] = {
        { "dn: a=b\n# end\n", "line 1" },
        { "version: 1\ncn: a\n# end\n", "line 2 of the entry: it is not the DN" },
        { "version: 1\ndn: a=b\ncn\n# end\n", "line 3 of the entry: there is no colon" },
        { "version: 1\ndn: a=b\ncn:x\n# end\n", "no space" },
        { "version: 1\ndn: a=b\ncn: \xc3\xa9\n# end\n", "should be in base64" },
        { "version: 1\ndn: a=b\ncn:: QQ==\n# end\n", "needs no base64" },
        { "version: 1\ndn: a=b\ncn:: IA=\n# end\n", "no base64" },
        { "version: 1\ndn: a=b\ncn:: IB==\n# end\n", "no base64" },
        { "version: 1\ndn: a=b\nc n: a\n# end\n", "not the name of an attribute" },
        { "version: 1\ndn: a=b\nsn: a\ncn: a\n# end\n", "not in their order" },
        { "version: 1\ndn: a=b\ncn: a\ncn: a\n# end\n", "not in their order" },
        { "version: 1\ndn: a=b\ndn: c=d\n# end\n", "not the name" },
        { "version: 1\ndn: \n# end\n", "the DN has 0 bytes" },
        { "version: 1\ndn: a=b\n# end\n\n", "more behind the end" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("%s\n", rows[i].text);
        CHECK_INT(ldif_read(span_str(rows[i].text), &entry, &e), -1);
        CHECK_CONTAINS(e.text, rows[i].told);
    }
}

TEST(what_is_larger_than_a_server_takes_is_refused)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    _cleanup_buf_ struct buf dn = { 0 };
    buf_reserve(&dn, LDIF_DN_MAX + 1);
    memset(dn.ptr, 'a', LDIF_DN_MAX + 1);
    ldif_begin(&entry, span_of(dn.ptr, LDIF_DN_MAX + 1));
    CHECK_INT(ldif_end(&entry, &e), -1);
    ldif_begin(&entry, span_str("a=b"));
    for (size_t i = 0; i <= LDIF_TEXT_MAX / LDIF_DN_MAX; i++)
        ldif_add(&entry, span_str("a"), span_of(dn.ptr, LDIF_DN_MAX));
    CHECK_INT(ldif_end(&entry, &e), -1);
    CHECK_INT(e.code, ERR_CORRUPT);
}

/* --- differences --- */

static char seen[1024];

static void
note(void *arg, enum ldif_op op, struct span name, const struct span *values, size_t count)
{
    (void)arg;
    static const char *const words[] = { "add", "delete", "replace" };
    size_t len = strlen(seen);
    len += (size_t)snprintf(seen + len, sizeof(seen) - len, "%s %.*s", words[op], (int)name.len,
                            name.ptr);
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(seen + len, sizeof(seen) - len, " %.*s", (int)values[i].len,
                                values[i].ptr);
    snprintf(seen + len, sizeof(seen) - len, "; ");
}

static void
member(struct ldif_entry *entry, unsigned from, unsigned to, unsigned but)
{
    for (unsigned i = from; i < to; i++) {
        char value[16];
        snprintf(value, sizeof(value), "m%02u", i);
        if (i != but)
            add(entry, "member", value);
    }
}

TEST(a_difference_names_only_what_differs)
{
    _cleanup_ldif_ struct ldif_entry from = { 0 };
    _cleanup_ldif_ struct ldif_entry to = { 0 };
    ldif_begin(&from, span_str("a=b"));
    add(&from, "cn", "x");
    add(&from, "gone", "1");
    add(&from, "SN", "same");
    member(&from, 0, 30, 99);
    ldif_begin(&to, span_str("a=b"));
    add(&to, "CN", "y");
    add(&to, "fresh", "1");
    add(&to, "fresh", "2");
    add(&to, "sn", "same");
    member(&to, 1, 31, 7);
    CHECK_INT(ldif_end(&from, &e), 0);
    CHECK_INT(ldif_end(&to, &e), 0);
    seen[0] = '\0';
    ldif_diff(&from, &to, false, note, NULL);
    CHECK_STR(seen, "replace CN y; add fresh 1 2; delete gone; delete member m00 m07; "
                    "add member m30; ");
    seen[0] = '\0';
    ldif_diff(&to, &to, false, note, NULL);
    CHECK_STR(seen, "");
    ldif_diff(&from, &to, true, note, NULL);
    CHECK_CONTAINS(seen, "replace member m01 m02");
}

/* --- names --- */

static void
check_dn(const char *dn, unsigned depth, const char *rdn, const char *parent)
{
    CHECK_INT(dn_depth(span_str(dn)), depth);
    CHECK(span_equal(dn_rdn(span_str(dn)), span_str(rdn)));
    CHECK(span_equal(dn_parent(span_str(dn)), span_str(parent)));
}

TEST(a_dn_ends_where_a_comma_separates)
{
    check_dn("", 0, "", "");
    check_dn("dc=org", 1, "dc=org", "");
    check_dn("cn=a\\, b+sn=c,dc=org", 2, "cn=a\\, b+sn=c", "dc=org");
    check_dn("cn=\"a, b\",dc=x,dc=org", 3, "cn=\"a, b\"", "dc=x,dc=org");
    check_dn("cn=a\\\\, dc=org", 2, "cn=a\\\\", "dc=org");
    CHECK(dn_is_below(span_str("uid=a,ou=P,dc=org"), span_str("ou=p,DC=org")));
    CHECK(!dn_is_below(span_str("ou=p,dc=org"), span_str("ou=p,dc=org")));
    CHECK(!dn_is_below(span_str("cn=a\\,dc=org"), span_str("dc=org")));
    CHECK(dn_is_below(span_str("dc=org"), span_str("")));
    _cleanup_buf_ struct buf out = { 0 };
    CHECK(dn_move(span_str("uid=a,ou=p,dc=org"), span_str("ou=P,dc=org"), span_str("ou=q"), &out));
    CHECK(span_equal(buf_span(&out), span_str("uid=a,ou=q")));
    CHECK(!dn_move(span_str("uid=a,ou=p"), span_str("uid=a,ou=p"), span_str("ou=q"), &out));
}
