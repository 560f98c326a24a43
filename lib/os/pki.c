#include "lib/os/pki.h"

#include "lib/os/conf_value.h"
#include "lib/os/file.h"

#include <dirent.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERIAL_BITS     127       /* random; RFC 5280 allows 159 */
#define CLOCK_SLACK     (60 * 60) /* a node's clock may be behind the authority's */
#define SECONDS_OF_YEAR (365 * 24 * 60 * 60 + 6 * 60 * 60)
#define PEM_SIZE_MAX    (32 * 1024)

static void
x509_freep(X509 **cert)
{
    X509_free(*cert);
}

static void
key_freep(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void
bio_freep(BIO **bio)
{
    BIO_free_all(*bio);
}

#define _cleanup_x509_ _cleanup_(x509_freep)
#define _cleanup_key_  _cleanup_(key_freep)
#define _cleanup_bio_  _cleanup_(bio_freep)

/* OpenSSL's own reason behind ours. */
static int
fail_openssl(struct err *e, const char *what)
{
    char reason[128];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    return err_set(e, ERR_TLS, "%s: %s", what, reason);
}

static int
add_extension(X509 *cert, X509 *issuer, int nid, const char *value, struct err *e)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    int fine = extension != NULL && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return fine ? 0 : fail_openssl(e, value);
}

static int
set_serial(X509 *cert)
{
    BIGNUM *number = BN_new();
    int fine = number != NULL &&
               BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
               BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return fine;
}

static int
set_name(X509 *cert, const char *name)
{
    return X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                                      (const unsigned char *)name, -1, -1, 0);
}

/* A certificate without extensions and signature. */
static X509 *
new_cert(const char *name, EVP_PKEY *key, int years, struct err *e)
{
    X509 *cert = X509_new();
    if (cert != NULL && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
        set_name(cert, name) && X509_set_pubkey(cert, key) &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -CLOCK_SLACK) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(cert), (long)years * SECONDS_OF_YEAR) != NULL)
        return cert;
    X509_free(cert);
    fail_openssl(e, "make a certificate");
    return NULL;
}

struct extension {
    int nid;
    const char *value;
};

static int
finish_cert(X509 *cert, X509 *issuer, EVP_PKEY *issuer_key, const struct extension *extensions,
            size_t count, struct err *e)
{
    if (!X509_set_issuer_name(cert, X509_get_subject_name(issuer)))
        return fail_openssl(e, "name the issuer");
    for (size_t i = 0; i < count; i++)
        if (add_extension(cert, issuer, extensions[i].nid, extensions[i].value, e) < 0)
            return -1;
    if (X509_sign(cert, issuer_key, NULL) == 0)
        return fail_openssl(e, "sign the certificate");
    return 0;
}

static X509 *
authority_cert(const char *cluster, EVP_PKEY *key, struct err *e)
{
    static const struct extension extensions[] = {
        { NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
        { NID_key_usage, "critical,keyCertSign,cRLSign" },
        { NID_subject_key_identifier, "hash" },
    };
    _cleanup_free_ char *name = xasprintf("mailtwin %.50s", cluster);
    X509 *cert = new_cert(name, key, PKI_AUTHORITY_YEARS, e);
    if (cert == NULL || finish_cert(cert, cert, key, extensions, ARRAY_LEN(extensions), e) == 0)
        return cert;
    X509_free(cert);
    return NULL;
}

static X509 *
node_cert(const char *name, EVP_PKEY *key, X509 *authority, EVP_PKEY *authority_key, struct err *e)
{
    _cleanup_free_ char *alt_name = xasprintf("DNS:%s", name);
    const struct extension extensions[] = {
        { NID_basic_constraints, "critical,CA:FALSE" },
        { NID_key_usage, "critical,digitalSignature" },
        { NID_ext_key_usage, "serverAuth,clientAuth" },
        { NID_subject_key_identifier, "hash" },
        { NID_authority_key_identifier, "keyid:always" },
        { NID_subject_alt_name, alt_name },
    };
    X509 *cert = new_cert(name, key, PKI_NODE_YEARS, e);
    if (cert == NULL ||
        finish_cert(cert, authority, authority_key, extensions, ARRAY_LEN(extensions), e) == 0)
        return cert;
    X509_free(cert);
    return NULL;
}

static int
write_pem(int dirfd, const char *name, mode_t mode, BIO *bio, struct err *e)
{
    char *text;
    long len = BIO_get_mem_data(bio, &text);
    int r = file_replace(dirfd, name, span_of(text, (size_t)len), mode, e);
    OPENSSL_cleanse(text, (size_t)len);
    return r;
}

/* The key first: a certificate that exists has a key that works. */
static int
write_pair(int dirfd, const char *key_name, const char *cert_name, EVP_PKEY *key, X509 *cert,
           struct err *e)
{
    _cleanup_bio_ BIO *key_bio = BIO_new(BIO_s_secmem());
    _cleanup_bio_ BIO *cert_bio = BIO_new(BIO_s_mem());
    if (key_bio == NULL || cert_bio == NULL ||
        !PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) ||
        !PEM_write_bio_X509(cert_bio, cert))
        return fail_openssl(e, "write the certificate");
    if (write_pem(dirfd, key_name, 0600, key_bio, e) < 0)
        return -1;
    return write_pem(dirfd, cert_name, 0644, cert_bio, e);
}

static int
refuse_existing(int dirfd, const char *dir, const char *name, struct err *e)
{
    if (faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return err_set(e, ERR_REFUSED,
                       "%s/%s exists and papers are never overwritten; move it away first", dir,
                       name);
    return errno == ENOENT ? 0 : err_sys(e, ERR_IO, "look for %s/%s", dir, name);
}

static int
open_dir(const char *dir, struct err *e)
{
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dirfd < 0 ? err_sys(e, ERR_IO, "open the directory %s", dir) : dirfd;
}

int
pki_init(const char *dir, const char *cluster, struct err *e)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_sys(e, ERR_IO, "make the directory %s", dir);
    _cleanup_close_ int dirfd = open_dir(dir, e);
    if (dirfd < 0 || refuse_existing(dirfd, dir, PKI_AUTHORITY_KEY, e) < 0 ||
        refuse_existing(dirfd, dir, PKI_AUTHORITY, e) < 0)
        return -1;
    _cleanup_key_ EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (key == NULL)
        return fail_openssl(e, "make a key");
    _cleanup_x509_ X509 *cert = authority_cert(cluster, key, e);
    if (cert == NULL)
        return -1;
    return write_pair(dirfd, PKI_AUTHORITY_KEY, PKI_AUTHORITY, key, cert, e);
}

/* Unlike file_read() it follows a symbolic link: node.pem may lead to mx1.pem. */
static BIO *
read_pem(int dirfd, const char *name, struct err *e)
{
    char text[PEM_SIZE_MAX];
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        err_sys(e, ERR_IO, "open %s", name);
        return NULL;
    }
    ssize_t len = file_pread_full(fd, text, sizeof(text), 0, e);
    if (len < 0)
        return NULL;
    BIO *bio = BIO_new(BIO_s_secmem());
    ASSERT(bio != NULL && BIO_write(bio, text, (int)len) == (int)len);
    OPENSSL_cleanse(text, sizeof(text));
    return bio;
}

static int
read_authority(int dirfd, X509 **ret_cert, EVP_PKEY **ret_key, struct err *e)
{
    _cleanup_bio_ BIO *cert_bio = read_pem(dirfd, PKI_AUTHORITY, e);
    if (cert_bio == NULL)
        return -1;
    _cleanup_bio_ BIO *key_bio = read_pem(dirfd, PKI_AUTHORITY_KEY, e);
    if (key_bio == NULL)
        return -1;
    *ret_cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
    *ret_key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    if (*ret_cert == NULL || *ret_key == NULL)
        return fail_openssl(e, "read the authority");
    if (!X509_check_private_key(*ret_cert, *ret_key))
        return err_set(e, ERR_TLS, PKI_AUTHORITY_KEY " is not the key of " PKI_AUTHORITY);
    return 0;
}

int
pki_node(const char *dir, const char *name, struct err *e)
{
    if (!conf_value_name(name) || strcmp(name, "ca") == 0)
        return err_set(e, ERR_USAGE, "\"%.64s\" cannot be the name of a node", name);
    _cleanup_free_ char *key_name = xasprintf("%s.key", name);
    _cleanup_free_ char *cert_name = xasprintf("%s.pem", name);
    _cleanup_close_ int dirfd = open_dir(dir, e);
    if (dirfd < 0 || refuse_existing(dirfd, dir, key_name, e) < 0 ||
        refuse_existing(dirfd, dir, cert_name, e) < 0)
        return -1;
    _cleanup_x509_ X509 *authority = NULL;
    _cleanup_key_ EVP_PKEY *authority_key = NULL;
    if (read_authority(dirfd, &authority, &authority_key, e) < 0)
        return err_wrap(e, "%s", dir);
    _cleanup_key_ EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (key == NULL)
        return fail_openssl(e, "make a key");
    _cleanup_x509_ X509 *cert = node_cert(name, key, authority, authority_key, e);
    if (cert == NULL)
        return -1;
    return write_pair(dirfd, key_name, cert_name, key, cert, e);
}

static void
describe_names(X509 *cert, char *to, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t len = 0;
    to[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && len < size; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        len += (size_t)snprintf(to + len, size - len, "%s%.*s", len > 0 ? "," : "",
                                ASN1_STRING_length(name->d.dNSName),
                                (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    }
    for (char *c = to; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            *c = '?'; /* bytes of whoever made the certificate */
    GENERAL_NAMES_free(names);
}

static void
describe_fingerprint(X509 *cert, char to[32 * 3])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int fine = X509_digest(cert, EVP_sha256(), digest, &len);
    ASSERT(fine && len == 32);
    for (unsigned i = 0; i < len; i++)
        snprintf(to + (size_t)i * 3, i + 1 < len ? 4 : 3, i + 1 < len ? "%02X:" : "%02X",
                 digest[i]);
}

static time_t
time_of(const ASN1_TIME *time)
{
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) ? timegm(&tm) : 0;
}

static void
describe_name(const X509_NAME *name, char *to, int size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    ASSERT(bio != NULL);
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    int len = BIO_read(bio, to, size - 1);
    to[MAX(len, 0)] = '\0';
    BIO_free(bio);
}

static int
read_at(int dirfd, const char *name, struct pki_paper *ret_paper, struct err *e)
{
    _cleanup_bio_ BIO *bio = read_pem(dirfd, name, e);
    if (bio == NULL)
        return -1;
    _cleanup_x509_ X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (cert == NULL) {
        fail_openssl(e, "it holds no certificate");
        return err_wrap(e, "%s", name);
    }
    *ret_paper = (struct pki_paper){
        .authority = X509_check_ca(cert) == 1,
        .valid_from = time_of(X509_get0_notBefore(cert)),
        .valid_until = time_of(X509_get0_notAfter(cert)),
    };
    describe_name(X509_get_subject_name(cert), ret_paper->subject, PKI_TEXT_MAX);
    describe_name(X509_get_issuer_name(cert), ret_paper->issuer, PKI_TEXT_MAX);
    describe_names(cert, ret_paper->names, PKI_TEXT_MAX);
    describe_fingerprint(cert, ret_paper->fingerprint);
    return 0;
}

int
pki_read(const char *path, struct pki_paper *ret_paper, struct err *e)
{
    return read_at(AT_FDCWD, path, ret_paper, e);
}

static int
is_pem(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && strcmp(entry->d_name + len - 4, ".pem") == 0;
}

int
pki_show(const char *dir, void (*show)(const char *file, const struct pki_paper *paper, void *arg),
         void *arg, struct err *e)
{
    struct dirent **entries;
    _cleanup_close_ int dirfd = open_dir(dir, e);
    if (dirfd < 0)
        return -1;
    int count = scandirat(dirfd, ".", &entries, is_pem, alphasort);
    if (count < 0)
        return err_sys(e, ERR_IO, "list %s", dir);
    int r = 0;
    for (int i = 0; i < count; i++) {
        struct pki_paper paper;
        if (r == 0)
            r = read_at(dirfd, entries[i]->d_name, &paper, e);
        if (r == 0)
            show(entries[i]->d_name, &paper, arg);
        free(entries[i]);
    }
    free(entries);
    return r < 0 ? err_wrap(e, "%s", dir) : 0;
}
