/* accounts.c - mailboxes that no account of the directory has, and accounts without a mailbox. Both
 * sides are of one position of the journal: the directory's spool and the mail beside it. */
#include "cli/accounts.h"

#include "cli/commands.h"
#include "lib/os/dir.h"
#include "lib/os/file.h"
#include "lib/store/ldif.h"
#include "lib/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SOME     4
#define MAILBOX_DEPTH 8
#define TEMPLATE_OPEN "%{"
#define ENTRY_SUFFIX  ".entry"

struct names {
    char **list;
    size_t count, cap;
    uint64_t until_ms; /* no more are looked for; 0: as long as it takes */
};

static uint64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool
is_late(const struct names *names)
{
    return names->until_ms != 0 && now_ms() >= names->until_ms;
}

static void
names_add(struct names *names, char *name)
{
    if (names->count == names->cap) {
        names->cap = MAX(names->cap * 2, (size_t)64);
        names->list = xrealloc(names->list, names->cap * sizeof(char *));
    }
    names->list[names->count++] = name;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
names_sort(struct names *names)
{
    if (names->count > 0)
        qsort(names->list, names->count, sizeof(char *), by_name);
}

static bool
names_have(const struct names *names, const char *name)
{
    return names->count > 0 &&
           bsearch(&name, names->list, names->count, sizeof(char *), by_name) != NULL;
}

static void
names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
}
#define _cleanup_names_ _cleanup_(names_free)

/* --- the accounts: what `mailbox` makes of each entry --- */

/* NULL: the entry has not all that the template names, so it is no account. */
static char *
mailbox_name(const char *template, const struct ldif_entry *entry)
{
    _cleanup_buf_ struct buf name = { 0 };
    while (*template != '\0') {
        struct span value;
        const char *end = strncmp(template, TEMPLATE_OPEN, 2) == 0 ? strchr(template, '}') : NULL;
        if (end == NULL) {
            buf_add_u8(&name, (uint8_t) * template ++);
            continue;
        }
        _cleanup_free_ char *attribute = xasprintf("%.*s", (int)(end - template - 2), template + 2);
        if (!ldif_find(entry, attribute, &value) || value.len == 0)
            return NULL;
        buf_add(&name, value.ptr, value.len);
        template = end + 1;
    }
    if (name.len == 0 || memchr(name.ptr, '\0', name.len) != NULL)
        return NULL;
    return xasprintf("%.*s", (int)name.len, (const char *)name.ptr);
}

static int
read_entry(int dirfd, const char *file, const char *template, struct names *names, struct err *e)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int got = file_read(dirfd, file, LDIF_TEXT_MAX, &text, &len, e);
    if (got <= 0)
        return got;
    if (ldif_read(span_of(text, len), &entry, e) < 0)
        return err_wrap(e, "%s", file);
    char *name = mailbox_name(template, &entry);
    if (name != NULL)
        names_add(names, name);
    return 0;
}

typedef int each_name(void *arg, int dirfd, const char *name, struct err *e);

/* Gives the names in a directory, without those that begin with a dot; what ends it is returned.
 * What is none has none; only a root (parent AT_FDCWD) must be there. */
static int
each_in(int parent, const char *path, each_name *give, void *arg, struct err *e)
{
    int follow = parent == AT_FDCWD ? 0 : O_NOFOLLOW;
    _cleanup_close_ int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    bool none = errno == ENOTDIR || errno == ENOENT || errno == ELOOP;
    if (fd < 0)
        return none && parent != AT_FDCWD ? 0 : err_sys(e, ERR_IO, "open %s", path);
    _cleanup_dir_ DIR *dir = dir_open(fd, ".", e);
    const struct dirent *item;
    int r = dir == NULL ? -1 : 0, more = 0;
    while (r == 0 && (more = dir_next(dir, &item, e)) > 0)
        if (item->d_name[0] != '.')
            r = give(arg, fd, item->d_name, e);
    return more < 0 || dir == NULL ? err_wrap(e, "read %s", path) : r;
}

struct accounts {
    const char *template;
    struct names names;
};

static int
on_file(void *arg, int dirfd, const char *name, struct err *e)
{
    struct accounts *accounts = arg;
    size_t len = strlen(name);
    if (is_late(&accounts->names))
        return 1;
    if (len < strlen(ENTRY_SUFFIX) || strcmp(name + len - strlen(ENTRY_SUFFIX), ENTRY_SUFFIX) != 0)
        return 0;
    return read_entry(dirfd, name, accounts->template, &accounts->names, e);
}

static int
on_folder(void *arg, int dirfd, const char *name, struct err *e)
{
    return each_in(dirfd, name, on_file, arg, e);
}

/* --- the mailboxes --- */

struct mailboxes {
    struct names names;
    struct buf path; /* of the directory being read, with a slash at the end */
    unsigned depth;
};

static bool
is_maildir(int dirfd, const char *name)
{
    _cleanup_free_ char *cur = xasprintf("%s/cur", name);
    _cleanup_free_ char *fresh = xasprintf("%s/new", name);
    return faccessat(dirfd, cur, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
           faccessat(dirfd, fresh, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The user's folder is the mailbox: a Maildir itself, or one that has its Maildir in it. */
static bool
is_mailbox(int dirfd, const char *name)
{
    static const char *const inside[] = { "Maildir", ".maildir", "mail" };
    if (is_maildir(dirfd, name))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(inside); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", name, inside[i]);
        if (is_maildir(dirfd, path))
            return true;
    }
    return false;
}

static int
on_mail_folder(void *arg, int dirfd, const char *name, struct err *e)
{
    struct mailboxes *m = arg;
    if (is_late(&m->names))
        return 1;
    if (is_mailbox(dirfd, name)) {
        names_add(&m->names, xasprintf("%.*s%s", (int)m->path.len,
                                       m->path.len > 0 ? (const char *)m->path.ptr : "", name));
        return 0;
    }
    if (m->depth == MAILBOX_DEPTH)
        return 0;
    size_t len = m->path.len;
    buf_add(&m->path, name, strlen(name));
    buf_add_u8(&m->path, '/');
    m->depth++;
    int r = each_in(dirfd, name, on_mail_folder, m, e);
    m->depth--;
    m->path.len = len;
    return r;
}

/* --- both --- */

static json_t *
only_in(const struct names *these, const struct names *those)
{
    json_t *list = json_array();
    for (size_t i = 0; i < these->count; i++) {
        if (names_have(those, these->list[i]))
            continue;
        json_t *name = json_string(these->list[i]);
        json_array_append_new(list, name != NULL ? name : json_string("(not UTF-8)"));
    }
    return list;
}

static void
print_list(const char *head, const json_t *list)
{
    if (json_array_size(list) == 0)
        return;
    printf("%s (%zu):\n", head, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++)
        printf("  %s\n", json_string_value(json_array_get(list, i)));
}

static const struct conf_store *
find_directory(const struct conf *conf)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_LDAP && conf->stores[i].ldap.mailbox != NULL)
            return &conf->stores[i];
    return NULL;
}

static const struct conf_store *
find_mail(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->store_count; i++)
        if (conf->stores[i].kind == STORE_MAILDIR &&
            (name == NULL || strcmp(name, conf->stores[i].name) == 0))
            return &conf->stores[i];
    return NULL;
}

/* {"accounts", "mailboxes", "mailboxes_without_account", "accounts_without_mailbox"} */
static json_t *
compare(const struct names *accounts, const struct names *mailboxes)
{
    return json_pack("{s:I, s:I, s:o, s:o}", "accounts", (json_int_t)accounts->count, "mailboxes",
                     (json_int_t)mailboxes->count, ACCOUNTS_ORPHANS, only_in(mailboxes, accounts),
                     ACCOUNTS_EMPTY, only_in(accounts, mailboxes));
}

/* until_ms: 0 as long as it takes. 1 compared, 0 not in time, -1. */
static int
compare_stores(const struct conf_store *directory, const struct conf_store *mail, uint64_t until_ms,
               json_t **ret_found, struct err *e)
{
    struct accounts accounts = { .template = directory->ldap.mailbox,
                                 .names = { .until_ms = until_ms } };
    struct mailboxes mailboxes = { .names = { .until_ms = until_ms } };
    int r = each_in(AT_FDCWD, directory->path, on_folder, &accounts, e);
    if (r == 0)
        r = each_in(AT_FDCWD, mail->path, on_mail_folder, &mailboxes, e);
    names_sort(&accounts.names);
    names_sort(&mailboxes.names);
    if (r == 0)
        *ret_found = compare(&accounts.names, &mailboxes.names);
    names_free(&accounts.names);
    names_free(&mailboxes.names);
    buf_free(&mailboxes.path);
    return r < 0 ? -1 : r == 0;
}

bool
accounts_are_known(const struct conf *conf)
{
    return find_directory(conf) != NULL && find_mail(conf, NULL) != NULL;
}

int
accounts_compare(const struct conf *conf, uint64_t within_ms, json_t **ret_found, struct err *e)
{
    const struct conf_store *directory = find_directory(conf);
    const struct conf_store *mail = find_mail(conf, NULL);
    ASSERT(directory != NULL && mail != NULL);
    return compare_stores(directory, mail, now_ms() + within_ms, ret_found, e);
}

static int
report(const struct line *line, const json_t *found)
{
    const json_t *orphans = json_object_get(found, ACCOUNTS_ORPHANS);
    const json_t *empty = json_object_get(found, ACCOUNTS_EMPTY);
    bool some = json_array_size(orphans) + json_array_size(empty) > 0;
    if (line_has(line, "json")) {
        print_json(found);
        return some ? EXIT_SOME : 0;
    }
    printf("%lld accounts, %lld mailboxes\n",
           (long long)json_integer_value(json_object_get(found, "accounts")),
           (long long)json_integer_value(json_object_get(found, "mailboxes")));
    print_list("mailboxes without an account", orphans);
    print_list("accounts without a mailbox", empty);
    return some ? EXIT_SOME : 0;
}

int
cmd_accounts(const struct line *line, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    _cleanup_json_ json_t *found = NULL;
    if (line_conf(line, &conf, e) < 0)
        return -1;
    const struct conf_store *directory = find_directory(conf);
    const struct conf_store *mail = find_mail(conf,
                                              line->argument_count > 0 ? line->arguments[0] : NULL);
    if (directory == NULL)
        return err_set(e, ERR_CONFIG, "no store of kind ldap says where mail is: mailbox = \"…\"");
    if (mail == NULL)
        return err_set(e, ERR_USAGE, "the configuration has no such store of kind maildir");
    return compare_stores(directory, mail, 0, &found, e) < 0 ? -1 : report(line, found);
}
