#include "lib/os/conf.h"

#include "lib/base/buf.h"
#include "lib/os/conf_check.h"
#include "lib/os/conf_parse.h"
#include "lib/os/conf_table.h"
#include "lib/os/conf_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST_SIZE 256

/* The values of one section; a section that is not there has the defaults. */
struct values {
    cfg_t *section; /* NULL: not there */
    const char *word;
};

static const char *
text_of(struct values from, const char *key)
{
    if (from.section != NULL)
        return cfg_getstr(from.section, key);
    const struct conf_option *option = conf_option_find(from.word, key);
    ASSERT(option != NULL);
    return option->def;
}

static char *
copy_of(struct values from, const char *key)
{
    const char *text = text_of(from, key);
    return text != NULL ? xstrdup(text) : NULL;
}

/* Without the slashes at the end and the doubled ones. */
static char *
path_of(struct values from, const char *key)
{
    char *path = copy_of(from, key), *to = path;
    ASSERT(path != NULL); /* each path asked for has a default or is needed */
    for (const char *c = path; *c != '\0'; c++)
        if (*c != '/' || (c[1] != '/' && c[1] != '\0'))
            *to++ = *c;
    if (to == path)
        *to++ = '/';
    *to = '\0';
    return path;
}

/* The parser has checked the type, so a value that does not convert is a default in options.def. */
static uint64_t
number_of(struct values from, const char *key, bool (*convert)(const char *, uint64_t *))
{
    const char *text = text_of(from, key);
    uint64_t value = 0;
    ASSERT(text == NULL || convert(text, &value));
    return value;
}

/* Its place in the option's list of words. */
static unsigned
word_of(struct values from, const char *key)
{
    const struct conf_option *option = conf_option_find(from.word, key);
    const char *text = text_of(from, key), *word = option->from;
    size_t len = strlen(text);
    unsigned index = 0;
    for (; strncmp(word, text, len) != 0 || (word[len] != ' ' && word[len] != '\0'); index++) {
        word = strchr(word, ' ');
        ASSERT(word != NULL);
        word++;
    }
    return index;
}

static char **
list_of(struct values from, const char *key)
{
    unsigned count = cfg_size(from.section, key);
    char **list = xcalloc(count + 1, sizeof(char *));
    for (unsigned i = 0; i < count; i++)
        list[i] = xstrdup(cfg_getnstr(from.section, key, i));
    return list;
}

static void
fill_node(cfg_t *section, struct conf_node *node)
{
    struct values from = { section, "node" };
    *node = (struct conf_node){
        .name = xstrdup(section->title),
        .address = copy_of(from, "address"),
        .port = (unsigned)number_of(from, "port", conf_value_number),
        .durability = (enum conf_durability)word_of(from, "durability"),
        .bandwidth = number_of(from, "bandwidth", conf_value_size),
        .follow = copy_of(from, "follow"),
    };
}

/* conf_check() has seen that only trees have a path of their own. */
static char *
store_path(cfg_t *section, enum store_kind kind, const char *state_dir)
{
    if (store_kind_is_spool(kind))
        return xasprintf("%s/" CONF_SPOOL_DIR "/%s", state_dir, section->title);
    return path_of((struct values){ section, "store" }, "path");
}

static void
fill_dump(struct values from, struct conf_store *store)
{
    store->dump.command = copy_of(from, "command");
    store->dump.restore = copy_of(from, "restore");
    store->dump.user = copy_of(from, "user");
    store->dump.every_ms = number_of(from, "every", conf_value_time);
    store->dump.timeout_ms = number_of(from, "timeout", conf_value_time);
    store->dump.versions = (unsigned)number_of(from, "versions", conf_value_number);
}

static bool
bool_of(struct values from, const char *key)
{
    return strcmp(text_of(from, key), "true") == 0;
}

static void
fill_ldap(struct values from, struct conf_store *store)
{
    store->ldap.uri = copy_of(from, "uri");
    store->ldap.base = copy_of(from, "base");
    store->ldap.bind_dn = copy_of(from, "bind-dn");
    store->ldap.password_file = copy_of(from, "password-file");
    store->ldap.filter = copy_of(from, "filter");
    store->ldap.ca = copy_of(from, "ca");
    store->ldap.peer_uri = copy_of(from, "peer-uri");
    store->ldap.mailbox = copy_of(from, "mailbox");
    store->ldap.skip = list_of(from, "skip");
    store->ldap.starttls = bool_of(from, "starttls");
    store->ldap.native = bool_of(from, "native");
}

static void
fill_store(cfg_t *section, enum store_kind kind, const char *state_dir, struct conf_store *store)
{
    struct values from = { section, "store" };
    *store = (struct conf_store){
        .name = xstrdup(section->title),
        .kind = kind,
        .path = store_path(section, kind, state_dir),
        .config_dir = copy_of(from, "config-dir"),
        .users = xstrdup(text_of(from, "users") != NULL ? text_of(from, "users") : ""),
        .durability = (enum conf_durability)word_of(from, "durability"),
        .when_alone = (enum conf_alone)word_of(from, "when-alone"),
        .salvage = (enum conf_salvage)word_of(from, "salvage"),
        .exclude = list_of(from, "exclude"),
        .retain_ms = number_of(from, "retain-deleted", conf_value_time),
        .retain_max = (unsigned)number_of(from, "retain-max", conf_value_percent),
        .mass_limit = (unsigned)number_of(from, "mass-delete-limit", conf_value_percent),
        .mass_window_ms = number_of(from, "mass-change-window", conf_value_time),
        .verify_every_ms = number_of(from, "verify-every", conf_value_time),
        .verify_contents_ms = number_of(from, "verify-contents", conf_value_time),
    };
    if (kind == STORE_DUMP)
        fill_dump(from, store);
    if (kind == STORE_LDAP)
        fill_ldap(from, store);
}

static void
fill_nodes(cfg_t *root, struct conf *conf)
{
    conf->node_count = cfg_size(root, "node");
    conf->nodes = xcalloc(conf->node_count, sizeof(conf->nodes[0]));
    for (unsigned i = 0; i < conf->node_count; i++)
        fill_node(cfg_getnsec(root, "node", i), &conf->nodes[i]);
}

static void
add_word(struct buf *list, const char *word)
{
    if (list->len > 0)
        buf_add(list, ", ", 2);
    buf_add(list, word, strlen(word));
}

/* Sections and kinds of store that are designed, but that no program reads yet. */
static char *
not_built(cfg_t *root)
{
    _cleanup_buf_ struct buf list = { 0 };
    for (size_t i = 0; i < conf_section_count; i++) {
        const struct conf_section *section = &conf_sections[i];
        bool planned = strncmp(section->help, CONF_NOT_BUILT, strlen(CONF_NOT_BUILT)) == 0;
        if (planned && section->inside[0] == '\0' && cfg_size(root, section->name) > 0)
            add_word(&list, section->name);
    }
    for (unsigned i = 0; i < cfg_size(root, "store"); i++) {
        cfg_t *section = cfg_getnsec(root, "store", i);
        enum store_kind kind;
        if (store_kind_parse(cfg_getstr(section, "kind"), &kind))
            continue;
        _cleanup_free_ char *word = xasprintf("store \"%s\" (%s)", section->title,
                                              cfg_getstr(section, "kind"));
        add_word(&list, word);
    }
    return xasprintf("%.*s", (int)list.len, list.len > 0 ? (const char *)list.ptr : "");
}

static void
fill_stores(cfg_t *root, struct conf *conf)
{
    unsigned count = cfg_size(root, "store");
    conf->stores = xcalloc(count, sizeof(conf->stores[0]));
    for (unsigned i = 0; i < count; i++) {
        cfg_t *section = cfg_getnsec(root, "store", i);
        enum store_kind kind;
        if (store_kind_parse(cfg_getstr(section, "kind"), &kind))
            fill_store(section, kind, conf->state_dir, &conf->stores[conf->store_count++]);
    }
}

static void
fill_gates(cfg_t *root, struct conf *conf)
{
    conf->gate_count = cfg_size(root, "gate");
    conf->gates = xcalloc(conf->gate_count, sizeof(conf->gates[0]));
    for (unsigned i = 0; i < conf->gate_count; i++) {
        cfg_t *section = cfg_getnsec(root, "gate", i);
        struct values from = { section, "gate" };
        conf->gates[i] = (struct conf_gate){
            .name = xstrdup(section->title),
            .listen = copy_of(from, "listen"),
            .backend = copy_of(from, "backend"),
            .store = copy_of(from, "store"),
            .timeout_ms = number_of(from, "timeout", conf_value_time),
            .remember_ms = number_of(from, "remember", conf_value_time),
        };
    }
}

static void
free_gate(struct conf_gate *gate)
{
    free(gate->name);
    free(gate->listen);
    free(gate->backend);
    free(gate->store);
}

static void
fill_tls(cfg_t *root, struct conf *conf)
{
    cfg_t *section = cfg_size(root, "tls") > 0 ? cfg_getsec(root, "tls") : NULL;
    struct values from = { section, "tls" };
    conf->tls.authority = path_of(from, "authority");
    conf->tls.certificate = path_of(from, "certificate");
    conf->tls.key = path_of(from, "key");
}

static struct conf *
conf_fill(const struct conf_tree *tree)
{
    struct values from = { tree->root, "" };
    struct conf *conf = xcalloc(1, sizeof(*conf));
    conf->file = xstrdup(tree->file);
    conf->cluster = copy_of(from, "cluster");
    conf->state_dir = path_of(from, "state-dir");
    conf->run_dir = path_of(from, "run-dir");
    conf->user = copy_of(from, "user");
    conf->gate_user = copy_of(from, "gate-user");
    conf->directory_user = copy_of(from, "directory-user");
    conf->journal_max = number_of(from, "journal-max", conf_value_size);
    conf->ack_late_ms = number_of(from, "ack-late", conf_value_time);
    conf->verify_rate = number_of(from, "verify-rate", conf_value_size);
    conf->uid_gap = (uint32_t)number_of(from, "uid-gap", conf_value_number);
    fill_nodes(tree->root, conf);
    fill_stores(tree->root, conf);
    fill_gates(tree->root, conf);
    fill_tls(tree->root, conf);
    conf->not_built = not_built(tree->root);
    return conf;
}

/* The host's name, whole or up to its first dot; NULL when no node is named so. */
static const char *
node_of_host(const struct conf *conf, char host[HOST_SIZE])
{
    if (gethostname(host, HOST_SIZE - 1) < 0)
        host[0] = '\0';
    host[HOST_SIZE - 1] = '\0';
    const struct conf_node *node = conf_node_find(conf, host);
    char *dot = strchr(host, '.');
    if (node == NULL && dot != NULL) {
        *dot = '\0';
        node = conf_node_find(conf, host);
    }
    return node != NULL ? node->name : NULL;
}

static int
choose_self(struct conf *conf, const char *self, struct err *e)
{
    char host[HOST_SIZE];
    const char *origin = "--node";
    if (self == NULL) {
        self = getenv("MAILTWIN_NODE");
        origin = "MAILTWIN_NODE";
    }
    if (self == NULL) {
        self = node_of_host(conf, host);
        if (self == NULL)
            return err_set(e, ERR_CONFIG,
                           "%s: no node is named as this host, \"%s\"; name it with --node or "
                           "MAILTWIN_NODE",
                           conf->file, host);
    }
    if (conf_node_find(conf, self) == NULL)
        return err_set(e, ERR_CONFIG, "%s: there is no node \"%.64s\" as %s says", conf->file, self,
                       origin);
    conf->self = xstrdup(self);
    return 0;
}

int
conf_load(const char *file, const char *self, struct conf **ret_conf, struct err *e)
{
    if (file == NULL)
        file = getenv("MAILTWIN_CONFIG");
    if (file == NULL)
        file = CONF_DEFAULT_PATH;
    struct conf_tree tree;
    if (conf_parse(file, &tree, e) < 0)
        return -1;
    struct conf *conf = NULL;
    int r = conf_check(&tree, e);
    if (r == 0) {
        conf = conf_fill(&tree);
        r = choose_self(conf, self, e);
    }
    conf_tree_free(&tree);
    if (r < 0)
        conf_free(&conf);
    else
        *ret_conf = conf;
    return r;
}

static void
free_node(struct conf_node *node)
{
    free(node->name);
    free(node->address);
    free(node->follow);
}

static void
free_list(char **list)
{
    for (char **one = list; one != NULL && *one != NULL; one++)
        free(*one);
    free(list);
}

static void
free_ldap(struct conf_store *store)
{
    free(store->ldap.uri);
    free(store->ldap.base);
    free(store->ldap.bind_dn);
    free(store->ldap.password_file);
    free(store->ldap.filter);
    free(store->ldap.ca);
    free(store->ldap.peer_uri);
    free(store->ldap.mailbox);
    free_list(store->ldap.skip);
}

static void
free_store(struct conf_store *store)
{
    free(store->name);
    free(store->path);
    free(store->config_dir);
    free(store->users);
    free(store->dump.command);
    free(store->dump.restore);
    free(store->dump.user);
    free_ldap(store);
    free_list(store->exclude);
}

void
conf_free(struct conf **conf)
{
    struct conf *c = *conf;
    *conf = NULL;
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->node_count; i++)
        free_node(&c->nodes[i]);
    for (size_t i = 0; i < c->store_count; i++)
        free_store(&c->stores[i]);
    free(c->nodes);
    for (size_t i = 0; i < c->gate_count; i++)
        free_gate(&c->gates[i]);
    free(c->stores);
    free(c->gates);
    free(c->gate_user);
    free(c->file);
    free(c->cluster);
    free(c->state_dir);
    free(c->run_dir);
    free(c->user);
    free(c->directory_user);
    free(c->self);
    free(c->not_built);
    free(c->tls.authority);
    free(c->tls.certificate);
    free(c->tls.key);
    free(c);
}

const struct conf_node *
conf_node_find(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->node_count; i++)
        if (strcmp(conf->nodes[i].name, name) == 0)
            return &conf->nodes[i];
    return NULL;
}

bool
conf_received_counts(const struct conf *conf)
{
    const struct conf_node *self = conf_node_find(conf, conf->self);
    bool counts = self != NULL && self->durability == DURABILITY_RECEIVED;
    for (size_t i = 0; i < conf->store_count; i++)
        counts |= conf->stores[i].durability == DURABILITY_RECEIVED;
    return counts;
}
