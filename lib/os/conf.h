/* conf.h - the configuration file as the programs see it. Keys: options.def; manner:
 * mailtwin.conf(5). */
#ifndef MAILTWIN_CONF_H
#define MAILTWIN_CONF_H

#include "lib/base/err.h"
#include "lib/base/kinds.h"

#define CONF_DEFAULT_PATH "/etc/mailtwin/mailtwin.conf"

enum conf_durability {
    DURABILITY_ASYNC,
    DURABILITY_RECEIVED,
    DURABILITY_DURABLE
};
enum conf_alone {
    ALONE_CONTINUE,
    ALONE_REFUSE
};

enum conf_salvage {
    SALVAGE_MODE_DELIVER,
    SALVAGE_MODE_KEEP,
};

struct conf_node {
    char *name;
    char *address;
    unsigned port;
    enum conf_durability durability;
    uint64_t bandwidth; /* bytes a second this node is sent at most; 0 no limit */
    char *follow;       /* the node it follows, NULL for whoever is primary */
};

struct conf_store {
    char *name;
    enum store_kind kind;
    char *path;       /* absolute; of a spool store <state-dir>/spool/<name> */
    char *config_dir; /* of kind queue: where main.cf is; NULL for Postfix's own */
    char *users; /* which components of a path name the user, "" to be guessed; see mailbox.h */
    enum conf_durability durability;
    enum conf_alone when_alone;
    enum conf_salvage salvage;
    char **exclude;      /* NULL-ended */
    uint64_t retain_ms;  /* what a standby deletes is kept for this long; 0 not */
    unsigned retain_max; /* percent of its filesystem */
    unsigned mass_limit; /* percent of the store's files; 100 no limit */
    uint64_t mass_window_ms;
    uint64_t verify_every_ms;    /* 0 never by itself */
    uint64_t verify_contents_ms; /* within this all contents are compared, part by part; 0 never */
    struct {
        char *command, *restore, *user;
        uint64_t every_ms, timeout_ms;
        unsigned versions;
    } dump; /* of kind dump; else NULL and 0 */
    struct {
        char *uri, *base, *bind_dn, *password_file, *filter, *ca, *peer_uri, *mailbox;
        char **skip; /* NULL-ended */
        bool starttls, native;
    } ldap; /* of kind ldap; else NULL and 0 */
};

struct conf_gate {
    char *name;
    char *listen, *backend; /* see endpoint.h */
    char *store;            /* its name; NULL all of kind maildir */
    uint64_t timeout_ms;
    uint64_t remember_ms;
};

struct conf {
    char *file; /* where it was read from */
    char *cluster;
    char *state_dir;
    char *run_dir;
    char *user;           /* the account of the network role */
    char *directory_user; /* the account of mailtwin-directoryd */
    uint64_t journal_max; /* bytes of records kept at most */
    uint64_t ack_late_ms;
    uint64_t verify_rate; /* bytes a second a comparison reads on a node at most */
    uint32_t uid_gap;     /* of an unplanned promotion; see replicator/renumber.h */
    char *self;           /* the node this is, see conf_load() */
    struct conf_node *nodes;
    size_t node_count;
    struct {
        char *authority, *certificate, *key;
    } tls;
    struct conf_store *stores; /* those that journal and link carry, in the file's order */
    size_t store_count;
    struct conf_gate *gates;
    size_t gate_count;
    char *gate_user; /* the account of mailtwin-gate */
    char *not_built; /* a list of what the file has and this version does not do; "" nothing */
};

#define CONF_SPOOL_DIR     "spool"     /* in the state directory */
#define CONF_DIRECTORY_DIR "directory" /* likewise: what mailtwin-directoryd notes */

/* Reads and checks file (NULL: $MAILTWIN_CONFIG, else the default path). `self` names this node;
 * NULL: $MAILTWIN_NODE, else the node whose name is the host's name. Each error names file, line,
 * key and the nearest known key. Does not look at the host: see `mailtwin check`. */
int conf_load(const char *file, const char *self, struct conf **ret_conf,
              struct err *e) _must_check_;
void conf_free(struct conf **conf);
/* Does a barrier wait for what this node has in its memory? */
bool conf_received_counts(const struct conf *conf);
const struct conf_node *conf_node_find(const struct conf *conf, const char *name); /* NULL: none */

#endif
