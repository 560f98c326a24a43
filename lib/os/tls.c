#include "lib/os/tls.h"

#include "lib/os/file.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
/* RFC 8446, 5.5: AES-GCM allows 2^24.5 full records with one key, some 380 GiB. */
#define REKEY_BYTES  (64ULL << 30)
#define NAME_MAX_LEN 255

struct tls_ctx {
    SSL_CTX *ssl;
    BIO_METHOD *memory;
    char *certificate; /* its path, for messages */
};

struct tls {
    SSL *ssl;
    struct span in; /* the caller's bytes, not read yet */
    struct buf out;
    uint64_t written; /* with the current key */
    tls_name_ok name_ok;
    const void *name_arg;
    char name[NAME_MAX_LEN + 1];
    struct err refused; /* what our own verification did not like; code 0: nothing */
};

static int
memory_read(BIO *bio, char *ptr, size_t len, size_t *ret_len)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *ret_len = MIN(len, tls->in.len);
    if (*ret_len == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(ptr, tls->in.ptr, *ret_len);
    tls->in = span_from(tls->in, *ret_len, tls->in.len - *ret_len);
    return 1;
}

static int
memory_write(BIO *bio, const char *ptr, size_t len, size_t *ret_len)
{
    struct tls *tls = BIO_get_data(bio);
    buf_add(&tls->out, ptr, len);
    *ret_len = len;
    return 1;
}

static long
memory_control(BIO *bio, int command, long number, void *ptr)
{
    (void)bio, (void)number, (void)ptr;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *
memory_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory");
    ASSERT(method != NULL);
    BIO_meth_set_read_ex(method, memory_read);
    BIO_meth_set_write_ex(method, memory_write);
    BIO_meth_set_ctrl(method, memory_control);
    return method;
}

/* The oldest error OpenSSL has queued, in words; empties the queue. */
static const char *
ssl_words(char *text, size_t size)
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    if (ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    snprintf(text, size, "%s", reason != NULL ? reason : "no reason given");
    ERR_clear_error();
    return text;
}

static int
err_ssl(struct err *e, enum err_code code, const char *what, const char *name)
{
    char words[256];
    return err_set(e, code, "%s %s: %s", what, name, ssl_words(words, sizeof(words)));
}

/* What a stranger does on our port, and what a peer says of us, in an operator's words. */
static int
describe_failure(const struct tls *tls, struct err *e)
{
    if (tls->refused.code != ERR_NONE) {
        *e = tls->refused;
        ERR_clear_error();
        return -1;
    }
    char words[256];
    int reason = ERR_GET_REASON(ERR_peek_error());
    ssl_words(words, sizeof(words));
    switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return err_set(e, ERR_TLS, "not TLS at all: an HTTP request");
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_BAD_RECORD_TYPE:
        return err_set(e, ERR_TLS, "not TLS at all");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return err_set(e, ERR_TLS, "the peer does not speak TLS 1.3");
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return err_set(e, ERR_TLS, "the peer showed no certificate");
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        return err_set(e, ERR_TLS, "the peer refused our certificate; its own log says why");
    default:
        return err_set(e, ERR_TLS, "TLS failed: %s", words);
    }
}

static void
time_text(const ASN1_TIME *when, char *text, size_t size)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(when, &tm) != 1 || strftime(text, size, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        snprintf(text, size, "an unreadable date");
}

static int
describe_chain(X509_STORE_CTX *store, struct err *e)
{
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    int problem = X509_STORE_CTX_get_error(store);
    char when[64] = "an unknown date";
    switch (problem) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        time_text(X509_get0_notAfter(cert), when, sizeof(when));
        return err_set(e, ERR_TLS, "the certificate expired on %s", when);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        time_text(X509_get0_notBefore(cert), when, sizeof(when));
        return err_set(e, ERR_TLS, "the certificate is valid from %s on; are the clocks right?",
                       when);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return err_set(e, ERR_TLS, "the certificate is not from this cluster's authority");
    default:
        return err_set(e, ERR_TLS, "the certificate is not valid: %s",
                       X509_verify_cert_error_string(problem));
    }
}

/* Copies the n-th DNS name; false when it is none, or longer than a name, or hides a NUL. */
static bool
dns_name(const GENERAL_NAMES *names, int n, char text[NAME_MAX_LEN + 1])
{
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, n);
    if (name->type != GEN_DNS)
        return false;
    int len = ASN1_STRING_length(name->d.dNSName);
    const unsigned char *bytes = ASN1_STRING_get0_data(name->d.dNSName);
    if (len <= 0 || len > NAME_MAX_LEN || memchr(bytes, 0, (size_t)len) != NULL)
        return false;
    for (int i = 0; i < len; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return false;
    memcpy(text, bytes, (size_t)len);
    text[len] = 0;
    return true;
}

static void
names_free(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

/* Finds the first name that is taken. On failure ret_name holds one that was not, or "". */
static bool
find_name(const X509 *cert, tls_name_ok ok, const void *arg, char ret_name[NAME_MAX_LEN + 1])
{
    _cleanup_(names_free)
        GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    char text[NAME_MAX_LEN + 1];
    ret_name[0] = 0;
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        if (!dns_name(names, i, text))
            continue;
        memcpy(ret_name, text, sizeof(text));
        if (ok(text, arg))
            return true;
    }
    return false;
}

static int
check_name(struct tls *tls, const X509 *cert)
{
    char name[NAME_MAX_LEN + 1];
    if (find_name(cert, tls->name_ok, tls->name_arg, name)) {
        memcpy(tls->name, name, sizeof(name));
        return 0;
    }
    if (name[0] == 0)
        return err_set(&tls->refused, ERR_TLS, "the certificate names no node");
    return err_set(&tls->refused, ERR_TLS,
                   "the certificate is for \"%s\", which is not expected here", name);
}

/* Called for each certificate of the chain, the peer's own last. */
static int
verify(int fine, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = SSL_get_app_data(ssl);
    if (fine == 0)
        describe_chain(store, &tls->refused);
    else if (X509_STORE_CTX_get_error_depth(store) == 0 &&
             check_name(tls, X509_STORE_CTX_get_current_cert(store)) < 0)
        fine = 0;
    if (fine == 0) /* one alert for every reason */
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return fine;
}

static int
load_files(SSL_CTX *ssl, const char *authority, const char *certificate, const char *key,
           struct err *e)
{
    ERR_clear_error();
    if (SSL_CTX_load_verify_file(ssl, authority) != 1)
        return err_ssl(e, ERR_CONFIG, "read the authority", authority);
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1)
        return err_ssl(e, ERR_CONFIG, "read the certificate", certificate);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        return err_ssl(e, ERR_CONFIG, "read the key", key);
    if (SSL_CTX_check_private_key(ssl) != 1)
        return err_set(e, ERR_CONFIG, "the key %s does not belong to the certificate %s", key,
                       certificate);
    return 0;
}

/* A key with a passphrase has nobody to ask. */
static int
no_passphrase(char *text, int size, int writing, void *arg)
{
    (void)text, (void)size, (void)writing, (void)arg;
    return -1;
}

static void
configure(SSL_CTX *ssl)
{
    ASSERT(SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1);
    ASSERT(SSL_CTX_set_ciphersuites(ssl, CIPHERS) == 1);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify);
    SSL_CTX_set_verify_depth(ssl, 4);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
}

int
tls_ctx_new(const char *authority, const char *certificate, const char *key,
            struct tls_ctx **ret_ctx, struct err *e)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_method());
    ASSERT(ssl != NULL);
    configure(ssl);
    if (load_files(ssl, authority, certificate, key, e) < 0) {
        SSL_CTX_free(ssl);
        return -1;
    }
    *ret_ctx = xcalloc(1, sizeof(**ret_ctx));
    **ret_ctx = (struct tls_ctx){ .ssl = ssl,
                                  .memory = memory_method(),
                                  .certificate = xstrdup(certificate) };
    return 0;
}

void
tls_ctx_free(struct tls_ctx **ctx)
{
    if (*ctx == NULL)
        return;
    SSL_CTX_free((*ctx)->ssl);
    BIO_meth_free((*ctx)->memory);
    freep(&(*ctx)->certificate);
    freep(ctx);
}

static bool
is_name(const char *name, const void *arg)
{
    return strcmp(name, arg) == 0;
}

static void
store_ctx_free(X509_STORE_CTX **store)
{
    X509_STORE_CTX_free(*store);
}

int
tls_ctx_check_own(const struct tls_ctx *ctx, const char *name, struct err *e)
{
    X509 *cert = SSL_CTX_get0_certificate(ctx->ssl);
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx->ssl, &chain);
    char found[NAME_MAX_LEN + 1];
    if (!find_name(cert, is_name, name, found))
        return err_set(e, ERR_CONFIG, "our certificate %s is for \"%s\" and this node is %s",
                       ctx->certificate, found, name);
    _cleanup_(store_ctx_free) X509_STORE_CTX *store = X509_STORE_CTX_new();
    ASSERT(store != NULL);
    if (X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(ctx->ssl), cert, chain) != 1)
        return err_ssl(e, ERR_TLS, "check", ctx->certificate);
    if (X509_verify_cert(store) != 1) {
        describe_chain(store, e);
        ERR_clear_error();
        return err_wrap(e, "our own %s", ctx->certificate);
    }
    return 0;
}

struct tls *
tls_new(struct tls_ctx *ctx, bool dials, tls_name_ok name_ok, const void *arg)
{
    struct tls *tls = xcalloc(1, sizeof(*tls));
    tls->name_ok = name_ok;
    tls->name_arg = arg;
    tls->ssl = SSL_new(ctx->ssl);
    BIO *bio = BIO_new(ctx->memory);
    ASSERT(tls->ssl != NULL && bio != NULL);
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    if (dials)
        SSL_set_connect_state(tls->ssl);
    else
        SSL_set_accept_state(tls->ssl);
    return tls;
}

void
tls_free(struct tls **tls)
{
    if (*tls == NULL)
        return;
    SSL_free((*tls)->ssl);
    buf_free(&(*tls)->out);
    freep(tls);
}

void
tls_feed(struct tls *tls, struct span received)
{
    ASSERT(tls->in.len == 0);
    tls->in = received;
}

size_t
tls_unread(const struct tls *tls)
{
    return tls->in.len;
}

struct buf *
tls_output(struct tls *tls)
{
    return &tls->out;
}

int
tls_handshake(struct tls *tls, struct err *e)
{
    ERR_clear_error();
    int done = SSL_do_handshake(tls->ssl);
    if (done == 1)
        return 1;
    int why = SSL_get_error(tls->ssl, done);
    return why == SSL_ERROR_WANT_READ ? 0 : describe_failure(tls, e);
}

const char *
tls_peer_name(const struct tls *tls)
{
    return tls->name;
}

ssize_t
tls_read(struct tls *tls, void *ptr, size_t len, struct err *e)
{
    size_t got = 0;
    ERR_clear_error();
    int done = SSL_read_ex(tls->ssl, ptr, len, &got);
    if (done == 1)
        return (ssize_t)got;
    switch (SSL_get_error(tls->ssl, done)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return err_set(e, ERR_PEER, "the peer closed the connection");
    default:
        return describe_failure(tls, e);
    }
}

int
tls_write(struct tls *tls, struct span data, struct err *e)
{
    size_t written = 0;
    if (data.len == 0)
        return 0;
    ERR_clear_error();
    if (tls->written > REKEY_BYTES) {
        tls->written = 0;
        if (SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
            return describe_failure(tls, e);
    }
    if (SSL_write_ex(tls->ssl, data.ptr, data.len, &written) != 1)
        return describe_failure(tls, e);
    ASSERT(written == data.len); /* memory takes everything */
    tls->written += written;
    return 0;
}

void
tls_close(struct tls *tls)
{
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}
