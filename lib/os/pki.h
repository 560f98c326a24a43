/* pki.h - the cluster's papers: an authority of its own and a certificate for each node.
 *
 * Ed25519 throughout. The authority's key never leaves the directory it was made in; a node gets
 * its own certificate and key and the authority's certificate. Nothing is ever overwritten. */
#ifndef MAILTWIN_PKI_H
#define MAILTWIN_PKI_H

#include "lib/base/err.h"

#include <time.h>

#define PKI_DEFAULT_DIR     "/etc/mailtwin/pki"
#define PKI_AUTHORITY       "ca.pem"
#define PKI_AUTHORITY_KEY   "ca.key"
#define PKI_AUTHORITY_YEARS 20
#define PKI_NODE_YEARS      5
#define PKI_TEXT_MAX        256

/* What a certificate says, as text. */
struct pki_paper {
    char subject[PKI_TEXT_MAX];
    char issuer[PKI_TEXT_MAX];
    char names[PKI_TEXT_MAX]; /* DNS names, with commas between them */
    char fingerprint[32 * 3]; /* SHA-256, "AB:CD:..." */
    bool authority;
    time_t valid_from, valid_until;
};

/* Makes dir when it is missing (0700) and in it ca.key (0600) and ca.pem. ERR_REFUSED: there is an
 * authority already. */
int pki_init(const char *dir, const char *cluster, struct err *e) _must_check_;
/* Makes NAME.key (0600) and NAME.pem, signed by the authority in dir. ERR_REFUSED: the node has
 * papers already. */
int pki_node(const char *dir, const char *name, struct err *e) _must_check_;

/* Reads one certificate in PEM. */
int pki_read(const char *path, struct pki_paper *ret_paper, struct err *e) _must_check_;
/* Every *.pem of dir, by name. */
int pki_show(const char *dir,
             void (*show)(const char *file, const struct pki_paper *paper, void *arg), void *arg,
             struct err *e) _must_check_;

#endif
