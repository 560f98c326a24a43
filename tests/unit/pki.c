#include "tests/unit/test.h"

#include "lib/os/pki.h"
#include "lib/os/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define YEAR (365.25 * 24 * 3600)

static char dir[64];

static void
make_dir(void)
{
    snprintf(dir, sizeof(dir), "/tmp/mailtwin-pki-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    test_scratch(dir);
}

static void
remove_dir(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static const char *
at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static mode_t
mode_of(const char *path)
{
    struct stat st;
    CHECK_INT(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void
must(int r, const struct err *e)
{
    if (r < 0)
        fail_msg("%s", e->text);
}

TEST(a_node_gets_papers_that_the_authority_vouches_for)
{
    struct err e = { 0 };
    struct pki_paper paper;
    struct tls_ctx *ctx = NULL;
    make_dir();
    must(pki_init(at("pki"), "example", &e), &e);
    must(pki_node(at("pki"), "mx1", &e), &e);
    CHECK_INT(mode_of(at("pki")), 0700);
    CHECK_INT(mode_of(at("pki/ca.key")), 0600);
    CHECK_INT(mode_of(at("pki/mx1.key")), 0600);
    must(tls_ctx_new(at("pki/ca.pem"), at("pki/mx1.pem"), at("pki/mx1.key"), &ctx, &e), &e);
    must(tls_ctx_check_own(ctx, "mx1", &e), &e);
    CHECK_INT(tls_ctx_check_own(ctx, "mx2", &e), -1);
    tls_ctx_free(&ctx);
    must(pki_read(at("pki/mx1.pem"), &paper, &e), &e);
    CHECK_STR(paper.subject, "CN=mx1");
    CHECK_STR(paper.issuer, "CN=mailtwin example");
    CHECK_STR(paper.names, "mx1");
    CHECK(!paper.authority);
    CHECK_INT(strlen(paper.fingerprint), 32 * 3 - 1);
    double left = difftime(paper.valid_until, time(NULL));
    CHECK(left > 5 * YEAR - 7200 && left < 5 * YEAR + 7200);
    CHECK(paper.valid_from <= time(NULL) - 3000);
    must(pki_read(at("pki/ca.pem"), &paper, &e), &e);
    CHECK(paper.authority);
    CHECK_STR(paper.names, "");
    left = difftime(paper.valid_until, time(NULL));
    CHECK(left > 20 * YEAR - 7200 && left < 20 * YEAR + 7200);
    remove_dir();
}

TEST(openssl_itself_accepts_the_chain_for_both_purposes)
{
    struct err e = { 0 };
    char command[512];
    make_dir();
    must(pki_init(dir, "example", &e), &e);
    must(pki_node(dir, "mx_1.example-org", &e), &e);
    snprintf(command, sizeof(command), "openssl x509 -noout -text -in %s | grep -q CA:FALSE",
             at("mx_1.example-org.pem"));
    CHECK_INT(system(command), 0);
    static const char *const purposes[] = { "sslserver", "sslclient" };
    for (size_t i = 0; i < ARRAY_LEN(purposes); i++) {
        snprintf(command, sizeof(command),
                 "openssl verify -x509_strict -purpose %s -CAfile %s %s >/dev/null", purposes[i],
                 at("ca.pem"), at("mx_1.example-org.pem"));
        CHECK_INT(system(command), 0);
    }
    remove_dir();
}

TEST(another_clusters_authority_does_not_vouch_for_our_node)
{
    struct err e = { 0 };
    struct tls_ctx *ctx = NULL;
    make_dir();
    must(pki_init(at("a"), "same", &e), &e);
    must(pki_init(at("b"), "same", &e), &e);
    must(pki_node(at("a"), "mx1", &e), &e);
    must(tls_ctx_new(at("b/ca.pem"), at("a/mx1.pem"), at("a/mx1.key"), &ctx, &e), &e);
    CHECK_INT(tls_ctx_check_own(ctx, "mx1", &e), -1);
    tls_ctx_free(&ctx);
    remove_dir();
}

TEST(papers_are_never_overwritten)
{
    struct err e = { 0 };
    struct pki_paper before, after;
    make_dir();
    must(pki_init(dir, "example", &e), &e);
    must(pki_node(dir, "mx1", &e), &e);
    must(pki_read(at("mx1.pem"), &before, &e), &e);
    CHECK_INT(pki_init(dir, "example", &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_CONTAINS(e.text, "/ca.key exists and papers are never overwritten");
    CHECK_INT(pki_node(dir, "mx1", &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    CHECK_INT(unlink(at("mx1.key")), 0);
    CHECK_INT(pki_node(dir, "mx1", &e), -1);
    CHECK_INT(unlink(at("ca.key")), 0);
    CHECK_INT(pki_init(dir, "example", &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
    must(pki_read(at("mx1.pem"), &after, &e), &e);
    CHECK_STR(after.fingerprint, before.fingerprint);
    remove_dir();
}

TEST(what_is_missing_or_broken_is_named)
{
    struct err e = { 0 };
    struct pki_paper paper;
    make_dir();
    CHECK_INT(pki_node(dir, "mx1", &e), -1);
    CHECK_CONTAINS(e.text, "open ca.pem: No such file or directory");
    CHECK_INT(pki_node(dir, "../mx1", &e), -1);
    CHECK_STR(e.text, "\"../mx1\" cannot be the name of a node");
    CHECK_INT(pki_node(dir, "ca", &e), -1);
    CHECK_INT(e.code, ERR_USAGE);
    CHECK_INT(pki_init(at("none/pki"), "example", &e), -1);
    CHECK_CONTAINS(e.text, "make the directory ");
    must(pki_init(at("a"), "x", &e), &e);
    must(pki_init(at("b"), "x", &e), &e);
    CHECK_INT(rename(at("a/ca.key"), at("b/ca.key")), 0);
    CHECK_INT(pki_node(at("b"), "mx1", &e), -1);
    CHECK_CONTAINS(e.text, "ca.key is not the key of ca.pem");
    CHECK_INT(truncate(at("b/ca.pem"), 40), 0);
    CHECK_INT(pki_read(at("b/ca.pem"), &paper, &e), -1);
    CHECK_CONTAINS(e.text, "/b/ca.pem: it holds no certificate");
    CHECK_INT(e.code, ERR_TLS);
    remove_dir();
}

static void
add_name(const char *file, const struct pki_paper *paper, void *arg)
{
    char *all = arg;
    snprintf(all + strlen(all), 256 - strlen(all), "%s %s;", file, paper->subject);
}

TEST(show_lists_all_papers_by_name_and_follows_links)
{
    struct err e = { 0 };
    char all[256] = "";
    make_dir();
    must(pki_init(dir, "c", &e), &e);
    must(pki_node(dir, "mx2", &e), &e);
    must(pki_node(dir, "mx1", &e), &e);
    CHECK_INT(symlink("mx1.pem", at("node.pem")), 0);
    must(pki_show(dir, add_name, all, &e), &e);
    CHECK_STR(all, "ca.pem CN=mailtwin c;mx1.pem CN=mx1;mx2.pem CN=mx2;node.pem CN=mx1;");
    CHECK_INT(pki_show(at("none"), add_name, all, &e), -1);
    remove_dir();
}
