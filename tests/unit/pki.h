/* pki.h - certificates made on the spot, for tests that speak TLS. Files in a directory of their
 * own: NAME.pem and NAME.key; an authority's certificate is NAME.pem too. */
#ifndef MAILTWIN_TEST_PKI_H
#define MAILTWIN_TEST_PKI_H

#include "tests/unit/test.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PKI_DAY (24L * 60 * 60)

struct pki {
    char dir[64];
};

struct pki_authority {
    X509 *cert;
    EVP_PKEY *key;
};

static inline const char *
pki_path(const struct pki *pki, const char *name, const char *ending, char path[160])
{
    snprintf(path, 160, "%s/%s.%s", pki->dir, name, ending);
    return path;
}

static inline void
pki_write(const struct pki *pki, const char *name, X509 *cert, EVP_PKEY *key)
{
    char path[160];
    FILE *file = fopen(pki_path(pki, name, "pem", path), "we");
    CHECK(file != NULL && PEM_write_X509(file, cert) == 1);
    fclose(file);
    file = fopen(pki_path(pki, name, "key", path), "we");
    CHECK(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
}

static inline void
pki_extend(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    CHECK(extension != NULL && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

/* From and to: seconds from now. */
static inline X509 *
pki_blank(const char *name, EVP_PKEY *key, long from, long to)
{
    X509 *cert = X509_new();
    CHECK(cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), random());
    X509_gmtime_adj(X509_getm_notBefore(cert), from);
    X509_gmtime_adj(X509_getm_notAfter(cert), to);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    CHECK(X509_set_pubkey(cert, key) == 1);
    return cert;
}

static inline struct pki_authority
pki_authority(const struct pki *pki, const char *name)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *cert = pki_blank(name, key, -PKI_DAY, 10 * PKI_DAY);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    pki_extend(cert, NID_basic_constraints, "critical,CA:TRUE");
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
    pki_write(pki, name, cert, key);
    return (struct pki_authority){ .cert = cert, .key = key };
}

/* dns: as in "DNS:mx1"; the files are named `file`. */
static inline void
pki_issue(const struct pki *pki, const struct pki_authority *by, const char *file, const char *dns,
          long from, long to)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *cert = pki_blank(file, key, from, to);
    X509_set_issuer_name(cert, X509_get_subject_name(by->cert));
    if (dns != NULL)
        pki_extend(cert, NID_subject_alt_name, dns);
    CHECK(X509_sign(cert, by->key, EVP_sha256()) > 0);
    pki_write(pki, file, cert, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void
pki_authority_free(struct pki_authority *authority)
{
    X509_free(authority->cert);
    EVP_PKEY_free(authority->key);
}

static inline void
pki_begin(struct pki *pki)
{
    snprintf(pki->dir, sizeof(pki->dir), "/tmp/mailtwin-pki.XXXXXX");
    CHECK(mkdtemp(pki->dir) != NULL);
    test_scratch(pki->dir);
}

static inline void
pki_end(const struct pki *pki)
{
    char command[96];
    snprintf(command, sizeof(command), "rm -rf %s", pki->dir);
    CHECK_INT(system(command), 0);
}

#endif
