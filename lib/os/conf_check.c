#include "lib/os/conf_check.h"

#include "lib/base/kinds.h"
#include "lib/base/nearest.h"
#include "lib/os/conf_table.h"

#include <string.h>

#define USERS_DEPTH_MAX 8
#define NAMES_MAX       256 /* looked at for the nearest name */

typedef int section_check(const struct conf_tree *tree, cfg_t *section, struct err *e);

static int
each_section(const struct conf_tree *tree, cfg_t *section, section_check *check, struct err *e)
{
    if (check(tree, section, e) < 0)
        return -1;
    for (cfg_opt_t *opt = section->opts; opt->name != NULL; opt++) {
        if (opt->type != CFGT_SEC)
            continue;
        for (unsigned i = 0; i < cfg_opt_size(opt); i++)
            if (each_section(tree, cfg_opt_getnsec(opt, i), check, e) < 0)
                return -1;
    }
    return 0;
}

static int
check_need(const struct conf_tree *tree, cfg_t *section, const struct conf_need *need,
           struct err *e)
{
    const char *word = conf_section_word(section);
    if (strcmp(need->section, word) != 0 || conf_tree_has(tree, section, need->key))
        return 0;
    if (need->kind[0] == '\0')
        return conf_tree_fail(tree, section, NULL, e, "%s is missing", need->key);
    const char *kind = cfg_getstr(section, "kind");
    if (kind == NULL || strcmp(kind, need->kind) != 0)
        return 0;
    return conf_tree_fail(tree, section, NULL, e, "%s is missing, a %s of kind %s needs it",
                          need->key, word, kind);
}

static int
check_needs(const struct conf_tree *tree, cfg_t *section, struct err *e)
{
    for (size_t i = 0; i < conf_need_count; i++)
        if (check_need(tree, section, &conf_needs[i], e) < 0)
            return -1;
    return 0;
}

static int
fail_reference(const struct conf_tree *tree, cfg_t *section, const struct conf_option *option,
               const char *name, struct err *e)
{
    const char *names[NAMES_MAX];
    size_t count = 0;
    cfg_opt_t *targets = cfg_getopt(tree->root, option->from);
    for (unsigned i = 0; i < cfg_opt_size(targets) && count < NAMES_MAX; i++)
        names[count++] = cfg_opt_getnsec(targets, i)->title;
    const char *nearest = nearest_word(name, names, count);
    if (nearest == NULL)
        return conf_tree_fail(tree, section, option->key, e,
                              "%s names the %s \"%s\", there is none", option->key, option->from,
                              name);
    return conf_tree_fail(tree, section, option->key, e,
                          "%s names no %s \"%s\", the nearest known one is \"%s\"", option->key,
                          option->from, name, nearest);
}

static int
check_references(const struct conf_tree *tree, cfg_t *section, struct err *e)
{
    for (cfg_opt_t *opt = section->opts; opt->name != NULL; opt++) {
        const struct conf_option *option = conf_option_find(conf_section_word(section), opt->name);
        if (option == NULL || (option->type != CONF_REF && option->type != CONF_REFS))
            continue;
        for (unsigned i = 0; i < cfg_opt_size(opt); i++) {
            const char *name = cfg_opt_getnstr(opt, i);
            if (name != NULL && cfg_gettsec(tree->root, option->from, name) == NULL)
                return fail_reference(tree, section, option, name, e);
        }
    }
    return 0;
}

/* Equal, or the one below the other; slashes at the end and doubled ones do not count. */
static bool
path_contains(const char *dir, const char *path)
{
    for (;;) {
        dir += strspn(dir, "/");
        path += strspn(path, "/");
        size_t len = strcspn(dir, "/");
        if (len == 0)
            return true;
        if (strncmp(dir, path, len) != 0 || (path[len] != '/' && path[len] != '\0'))
            return false;
        dir += len;
        path += len;
    }
}

static int
check_store_pair(const struct conf_tree *tree, cfg_t *a, cfg_t *b, struct err *e)
{
    const char *a_path = cfg_getstr(a, "path"), *b_path = cfg_getstr(b, "path");
    if (a_path == NULL || b_path == NULL)
        return 0;
    if (path_contains(a_path, b_path))
        return conf_tree_fail(tree, b, "path", e, "%s lies in %s, the path of store \"%s\"", b_path,
                              a_path, a->title);
    if (path_contains(b_path, a_path))
        return conf_tree_fail(tree, b, "path", e, "%s has %s in it, the path of store \"%s\"",
                              b_path, a_path, a->title);
    return 0;
}

/* "*" for each component that names the user, with slashes between them. */
static bool
users_valid(const char *users)
{
    for (unsigned depth = 1; users[0] == '*' && depth <= USERS_DEPTH_MAX; depth++, users += 2) {
        if (users[1] == '\0')
            return true;
        if (users[1] != '/')
            return false;
    }
    return users[0] == '\0';
}

static int
check_store(const struct conf_tree *tree, cfg_t *store, struct err *e)
{
    const char *path = cfg_getstr(store, "path");
    const char *state_dir = cfg_getstr(tree->root, "state-dir");
    enum store_kind kind;
    bool is_spool = store_kind_parse(cfg_getstr(store, "kind"), &kind) && store_kind_is_spool(kind);
    if (path != NULL && is_spool)
        return conf_tree_fail(tree, store, "path", e, "a store of kind %s has no path of its own",
                              store_kind_word(kind));
    if (path != NULL && path_contains(path, state_dir))
        return conf_tree_fail(tree, store, "path", e, "the state-dir %s lies in %s", state_dir,
                              path);
    const char *users = cfg_getstr(store, "users");
    if (users != NULL && !users_valid(users))
        return conf_tree_fail(tree, store, "users", e,
                              "users is stars with slashes between them (\"*/*\"), at most %d",
                              USERS_DEPTH_MAX);
    return 0;
}

static int
check_stores(const struct conf_tree *tree, struct err *e)
{
    unsigned count = cfg_size(tree->root, "store");
    if (count > CONF_STORES_MAX)
        return conf_tree_fail(tree, tree->root, NULL, e, "there are %u stores, at most %d can be",
                              count, CONF_STORES_MAX);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *store = cfg_getnsec(tree->root, "store", i);
        if (check_store(tree, store, e) < 0)
            return -1;
        for (unsigned k = 0; k < i; k++)
            if (check_store_pair(tree, cfg_getnsec(tree->root, "store", k), store, e) < 0)
                return -1;
    }
    return 0;
}

static int
check_nodes(const struct conf_tree *tree, struct err *e)
{
    unsigned count = cfg_size(tree->root, "node");
    if (count == 0)
        return conf_tree_fail(tree, tree->root, NULL, e, "there is no node section");
    for (unsigned i = 0; i < count; i++) {
        cfg_t *node = cfg_getnsec(tree->root, "node", i);
        const char *follow = cfg_getstr(node, "follow");
        if (follow != NULL && strcmp(follow, node->title) == 0)
            return conf_tree_fail(tree, node, "follow", e, "a node cannot follow itself");
    }
    return 0;
}

/* A gate stands in front of the files of a store: its barrier means nothing for other kinds. */
static int
check_gates(const struct conf_tree *tree, struct err *e)
{
    for (unsigned i = 0; i < cfg_size(tree->root, "gate"); i++) {
        cfg_t *gate = cfg_getnsec(tree->root, "gate", i);
        const char *store = cfg_getstr(gate, "store"), *listen = cfg_getstr(gate, "listen");
        if (strcmp(listen, cfg_getstr(gate, "backend")) == 0)
            return conf_tree_fail(tree, gate, "backend", e, "backend is where the gate listens");
        for (unsigned k = 0; k < i; k++)
            if (strcmp(listen, cfg_getstr(cfg_getnsec(tree->root, "gate", k), "listen")) == 0)
                return conf_tree_fail(tree, gate, "listen", e, "another gate listens on %s",
                                      listen);
        if (store == NULL)
            continue;
        const char *kind = cfg_getstr(cfg_gettsec(tree->root, "store", store), "kind");
        if (strcmp(kind, "maildir") != 0 && strcmp(kind, "files") != 0)
            return conf_tree_fail(tree, gate, "store", e,
                                  "store = \"%s\" is of kind %s, a gate delivers to a maildir",
                                  store, kind);
    }
    return 0;
}

int
conf_check(const struct conf_tree *tree, struct err *e)
{
    if (each_section(tree, tree->root, check_needs, e) < 0 ||
        each_section(tree, tree->root, check_references, e) < 0)
        return -1;
    if (check_nodes(tree, e) < 0)
        return -1;
    if (check_gates(tree, e) < 0)
        return -1;
    return check_stores(tree, e);
}
