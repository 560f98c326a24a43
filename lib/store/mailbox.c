#include "lib/store/mailbox.h"

#include "lib/base/path.h"
#include "lib/store/maildir.h"

#include <string.h>

static bool
is_one_of(struct span name, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (span_equal(name, span_str(words[i])))
            return true;
    }
    return false;
}

static bool
begins_with(struct span name, const char *prefix)
{
    size_t len = strlen(prefix);
    return name.len >= len && memcmp(name.ptr, prefix, len) == 0;
}

static bool
is_container(struct span name)
{
    static const char *const words[] = { "Maildir", ".maildir", "maildir", "mail", "Mail" };
    return is_one_of(name, words, ARRAY_LEN(words));
}

static bool
is_control(struct span name)
{
    static const char *const words[] = { "subscriptions", "maildirsize", "maildirfolder" };
    return begins_with(name, "dovecot") || begins_with(name, "courier") ||
           is_one_of(name, words, ARRAY_LEN(words));
}

/* The first `depth` components; all of them when there are no more. */
static struct span
head_of(struct span path, size_t depth)
{
    size_t len = 0;
    for (; len < path.len; len++) {
        if (path.ptr[len] == '/' && --depth == 0)
            break;
    }
    return span_from(path, 0, len);
}

/* What is left of path behind head and a slash. */
static struct span
behind(struct span path, struct span head)
{
    size_t from = head.len == 0 ? 0 : MIN(head.len + 1, path.len);
    return span_from(path, from, path.len - from);
}

static size_t
depth_of(struct span path)
{
    size_t depth = 1;
    for (size_t i = 0; i < path.len; i++)
        depth += path.ptr[i] == '/';
    return depth;
}

/* The path up to and with its first component of that kind that is not the first; "" none. */
static struct span
up_to_container(struct span dir)
{
    for (size_t depth = 2;; depth++) {
        struct span head = head_of(dir, depth);
        if (is_container(path_name(head)) && head.len > path_name(head).len)
            return head;
        if (head.len == dir.len)
            return (struct span){ .ptr = dir.ptr };
    }
}

static void
guess_user(struct span dir, struct mailbox *m)
{
    m->home = up_to_container(dir);
    if (m->home.len > 0) {
        m->user = path_parent(m->home);
        return;
    }
    bool in_folder = begins_with(path_name(dir), ".") && path_parent(dir).len > 0;
    m->home = in_folder ? path_parent(dir) : dir;
    m->user = m->home;
}

static void
configured_user(const char *users, struct span dir, struct mailbox *m)
{
    size_t depth = depth_of(span_str(users));
    if (dir.len == 0 || depth_of(dir) < depth)
        return; /* above all users */
    m->user = head_of(dir, depth);
    struct span rest = behind(dir, m->user);
    struct span first = head_of(rest, 1);
    size_t container = is_container(first) ? first.len + 1 : 0;
    m->home = span_from(dir, 0, m->user.len + container);
}

/* Without the dot that Maildir++ puts before the name of each folder. */
static struct span
folder_name(struct span name)
{
    bool dotted = name.len > 1 && name.ptr[0] == '.' && memchr(name.ptr, '/', name.len) == NULL;
    return dotted ? span_from(name, 1, name.len - 1) : name;
}

static void
place_in(const char *users, struct span dir, struct mailbox *m)
{
    m->dir = dir;
    if (users == NULL || users[0] == '\0')
        guess_user(dir, m);
    else
        configured_user(users, dir, m);
    m->folder = folder_name(behind(dir, m->home));
}

static void
fill_message(struct span name, struct mailbox *m)
{
    size_t base = maildir_base_len(name);
    size_t flags = base < name.len ? base + 3 : name.len; /* ":2," */
    m->base = span_from(name, 0, base);
    m->flags = span_from(name, flags, name.len - flags);
}

void
mailbox_of(const char *users, struct span path, struct mailbox *ret_mailbox)
{
    struct mailbox m = { .kind = MAILBOX_OTHER };
    struct span above = path_parent(path), name = path_name(path);
    struct span leaf = path_name(above);
    bool in_tmp = span_equal(leaf, span_str("tmp")) && maildir_is_delivery(name);
    if (in_tmp || (maildir_is_messages(above) && !is_control(name))) {
        m.kind = in_tmp ? MAILBOX_DELIVERY : MAILBOX_MESSAGE;
        m.is_new = span_equal(leaf, span_str("new"));
        place_in(users, path_parent(above), &m);
        fill_message(name, &m);
    } else {
        m.kind = is_control(name) ? MAILBOX_CONTROL : MAILBOX_OTHER;
        place_in(users, above, &m);
        m.base = name;
    }
    *ret_mailbox = m;
}
