#include "tests/unit/pki.h"
#include "tests/unit/test.h"

#include "lib/os/tls.h"

#include <string.h>

/* Two nodes of cluster "ca", and everything that must not get in. */
struct fixture {
    struct pki pki;
    struct tls_ctx *one, *two;
};

static struct tls_ctx *
load(const struct fixture *f, const char *authority, const char *name)
{
    char ca[160], pem[160], key[160];
    struct tls_ctx *ctx = NULL;
    struct err e = { 0 };
    if (tls_ctx_new(pki_path(&f->pki, authority, "pem", ca), pki_path(&f->pki, name, "pem", pem),
                    pki_path(&f->pki, name, "key", key), &ctx, &e) < 0)
        fail_msg("%s", e.text);
    return ctx;
}

static void
begin(struct fixture *f)
{
    pki_begin(&f->pki);
    struct pki_authority ca = pki_authority(&f->pki, "ca");
    struct pki_authority other = pki_authority(&f->pki, "other");
    pki_issue(&f->pki, &ca, "mx1", "DNS:mx1", -PKI_DAY, PKI_DAY);
    pki_issue(&f->pki, &ca, "mx2", "DNS:cluster.example,DNS:mx2", -PKI_DAY, PKI_DAY);
    pki_issue(&f->pki, &ca, "expired", "DNS:mx1", -2 * PKI_DAY, -PKI_DAY);
    pki_issue(&f->pki, &ca, "future", "DNS:mx1", PKI_DAY, 2 * PKI_DAY);
    pki_issue(&f->pki, &ca, "wild", "DNS:*", -PKI_DAY, PKI_DAY);
    pki_issue(&f->pki, &ca, "nameless", NULL, -PKI_DAY, PKI_DAY);
    pki_issue(&f->pki, &other, "foreign", "DNS:mx1", -PKI_DAY, PKI_DAY);
    pki_authority_free(&ca);
    pki_authority_free(&other);
    f->one = load(f, "ca", "mx1");
    f->two = load(f, "ca", "mx2");
}

static void
end(struct fixture *f)
{
    tls_ctx_free(&f->one);
    tls_ctx_free(&f->two);
    pki_end(&f->pki);
}

static bool
equals(const char *name, const void *arg)
{
    return strcmp(name, arg) == 0;
}

/* Carries what `from` wrote to `to`, which goes on with its handshake. */
static int
carry(struct tls *from, struct tls *to, struct err *e)
{
    struct buf sent = *tls_output(from);
    *tls_output(from) = (struct buf){ 0 };
    tls_feed(to, buf_span(&sent));
    int done = tls_handshake(to, e);
    if (done >= 0)
        CHECK_INT(tls_unread(to), 0);
    buf_free(&sent);
    return done;
}

struct pair {
    struct tls *client, *server;
    int client_done, server_done;
    struct err client_err, server_err;
};

/* Shakes hands; the client may only learn by reading that it was refused. */
static struct pair
shake(struct tls_ctx *client, struct tls_ctx *server, const char *want_server,
      const char *want_client)
{
    struct pair p = { .client = tls_new(client, true, equals, want_server),
                      .server = tls_new(server, false, equals, want_client) };
    p.client_done = tls_handshake(p.client, &p.client_err);
    CHECK_INT(p.client_done, 0);
    p.server_done = carry(p.client, p.server, &p.server_err);
    if (p.server_done == 0)
        p.client_done = carry(p.server, p.client, &p.client_err);
    if (p.client_done == 1)
        p.server_done = carry(p.client, p.server, &p.server_err);
    return p;
}

static void
part(struct pair *p)
{
    tls_free(&p->client);
    tls_free(&p->server);
}

TEST(two_nodes_of_a_cluster_learn_each_others_names)
{
    struct fixture f;
    begin(&f);
    struct pair p = shake(f.one, f.two, "mx2", "mx1");
    CHECK_INT(p.client_done, 1);
    CHECK_INT(p.server_done, 1);
    CHECK_STR(tls_peer_name(p.client), "mx2");
    CHECK_STR(tls_peer_name(p.server), "mx1");
    part(&p);
    end(&f);
}

/* The client's view of being refused: it reads the alert. */
static void
check_alert(struct pair *p, const char *sentence)
{
    char byte;
    struct buf sent = *tls_output(p->server);
    *tls_output(p->server) = (struct buf){ 0 };
    CHECK(sent.len > 0);
    tls_feed(p->client, buf_span(&sent));
    CHECK_INT(tls_read(p->client, &byte, 1, &p->client_err), -1);
    CHECK_INT(p->client_err.code, ERR_TLS);
    CHECK_CONTAINS(p->client_err.text, sentence);
    buf_free(&sent);
}

static void
check_refused(const struct fixture *f, const char *name, const char *why)
{
    struct tls_ctx *ctx = load(f, "ca", name);
    struct pair p = shake(ctx, f->two, "mx2", "mx1");
    CHECK_INT(p.server_done, -1);
    CHECK_INT(p.server_err.code, ERR_TLS);
    CHECK_CONTAINS(p.server_err.text, why);
    check_alert(&p, "the peer refused our certificate");
    part(&p);
    p = shake(f->two, ctx, "mx1", "mx2"); /* and the other way round */
    CHECK_INT(p.client_done, -1);
    CHECK_CONTAINS(p.client_err.text, why);
    part(&p);
    tls_ctx_free(&ctx);
}

TEST(every_wrong_certificate_is_refused_with_its_reason_and_one_answer)
{
    struct fixture f;
    begin(&f);
    check_refused(&f, "expired", "the certificate expired on 2");
    check_refused(&f, "future", "valid from 2");
    check_refused(&f, "foreign", "not from this cluster's authority");
    check_refused(&f, "wild", "is for \"*\", which is not expected here");
    check_refused(&f, "nameless", "names no node");
    end(&f);
}

TEST(node_under_another_name_is_refused)
{
    struct fixture f;
    begin(&f);
    struct pair p = shake(f.one, f.two, "mx3", "mx1");
    CHECK_INT(p.client_done, -1);
    CHECK_CONTAINS(p.client_err.text, "is for \"mx2\", which is not expected here");
    part(&p);
    end(&f);
}

static void
check_stranger(struct fixture *f, const char *bytes, size_t len, const char *why)
{
    struct err e = { 0 };
    struct tls *tls = tls_new(f->one, false, equals, "mx2");
    tls_feed(tls, span_of(bytes, len));
    CHECK_INT(tls_handshake(tls, &e), -1);
    CHECK_STR(e.text, why);
    tls_free(&tls);
}

TEST(what_is_not_tls_is_called_so)
{
    struct fixture f;
    begin(&f);
    static const char http[] = "GET / HTTP/1.1\r\nHost: mx1\r\n\r\n";
    static const char smtp[] = "EHLO mx2.example.org\r\n";
    static const char zeros[64] = { 0 };
    check_stranger(&f, http, sizeof(http) - 1, "not TLS at all: an HTTP request");
    check_stranger(&f, smtp, sizeof(smtp) - 1, "not TLS at all");
    check_stranger(&f, zeros, sizeof(zeros), "not TLS at all");
    end(&f);
}

TEST(client_without_certificate_or_with_old_tls_is_refused)
{
    struct fixture f;
    begin(&f);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (int old = 0; old < 2; old++) {
        SSL_CTX_set_max_proto_version(ctx, old ? TLS1_2_VERSION : TLS1_3_VERSION);
        SSL *ssl = SSL_new(ctx);
        BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
        SSL_set_bio(ssl, in, out);
        struct tls *tls = tls_new(f.one, false, equals, "mx2");
        struct err e = { 0 };
        int done = 0;
        for (int turns = 0; done == 0 && turns < 4; turns++) {
            char *ptr;
            SSL_connect(ssl);
            long len = BIO_get_mem_data(out, &ptr);
            tls_feed(tls, span_of(ptr, (size_t)len));
            done = tls_handshake(tls, &e);
            BIO_reset(out);
            BIO_write(in, tls_output(tls)->ptr, (int)tls_output(tls)->len);
            buf_reset(tls_output(tls));
        }
        CHECK_INT(done, -1);
        CHECK_STR(e.text,
                  old ? "the peer does not speak TLS 1.3" : "the peer showed no certificate");
        tls_free(&tls);
        SSL_free(ssl);
    }
    SSL_CTX_free(ctx);
    end(&f);
}

TEST(data_arrives_whole_in_pieces_of_any_size_and_goodbye_is_seen)
{
    struct fixture f;
    begin(&f);
    struct pair p = shake(f.one, f.two, "mx2", "mx1");
    static uint8_t data[300000], got[300000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    CHECK_INT(tls_write(p.client, span_of(data, sizeof(data)), &p.client_err), 0);
    tls_close(p.client);
    struct span rest = buf_span(tls_output(p.client));
    size_t have = 0;
    ssize_t n = 0;
    for (size_t piece = 1; n >= 0; piece = piece * 3 % 20011) {
        size_t len = MIN(piece, rest.len);
        tls_feed(p.server, span_from(rest, 0, len));
        rest = span_from(rest, len, rest.len - len);
        while ((n = tls_read(p.server, got + have, MIN(sizeof(got) - have + 1, 5000U),
                             &p.server_err)) > 0)
            have += (size_t)n;
        CHECK(n < 0 || len > 0);
    }
    CHECK_INT(p.server_err.code, ERR_PEER);
    CHECK(have == sizeof(data) && memcmp(data, got, sizeof(data)) == 0);
    part(&p);
    end(&f);
}

TEST(changed_byte_ends_the_connection)
{
    struct fixture f;
    begin(&f);
    struct pair p = shake(f.one, f.two, "mx2", "mx1");
    char got[100];
    CHECK_INT(tls_write(p.client, span_str("a message"), &p.client_err), 0);
    tls_output(p.client)->ptr[8] ^= 1;
    tls_feed(p.server, buf_span(tls_output(p.client)));
    CHECK_INT(tls_read(p.server, got, sizeof(got), &p.server_err), -1);
    CHECK_INT(p.server_err.code, ERR_TLS);
    part(&p);
    end(&f);
}

static void
check_load_fails(const struct fixture *f, const char *ca_name, const char *pem_name,
                 const char *key_name, const char *why)
{
    char ca[160], pem[160], key[160];
    struct tls_ctx *ctx = NULL;
    struct err e = { 0 };
    CHECK_INT(tls_ctx_new(pki_path(&f->pki, ca_name, "pem", ca),
                          pki_path(&f->pki, pem_name, "pem", pem),
                          pki_path(&f->pki, key_name, "key", key), &ctx, &e),
              -1);
    CHECK_INT(e.code, ERR_CONFIG);
    CHECK_CONTAINS(e.text, why);
    CHECK(ctx == NULL);
}

TEST(unusable_files_are_named_at_the_start)
{
    struct fixture f;
    begin(&f);
    check_load_fails(&f, "absent", "mx1", "mx1", "absent.pem: No such file");
    check_load_fails(&f, "ca", "absent", "mx1", "absent.pem: No such file");
    check_load_fails(&f, "ca", "mx1", "absent", "absent.key: No such file");
    check_load_fails(&f, "ca", "mx1", "mx2", "key");
    end(&f);
}

static void
check_own(const struct fixture *f, const char *name, const char *why)
{
    struct err e = { 0 };
    struct tls_ctx *ctx = load(f, "ca", name);
    CHECK_INT(tls_ctx_check_own(ctx, "mx1", &e), why == NULL ? 0 : -1);
    if (why != NULL)
        CHECK_CONTAINS(e.text, why);
    tls_ctx_free(&ctx);
}

TEST(our_own_certificate_is_judged_as_a_peer_would)
{
    struct fixture f;
    begin(&f);
    check_own(&f, "mx1", NULL);
    check_own(&f, "mx2", "is for \"mx2\" and this node is mx1");
    check_own(&f, "expired", "expired on");
    check_own(&f, "foreign", "authority");
    end(&f);
}
