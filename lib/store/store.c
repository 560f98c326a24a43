#include "lib/store/store.h"

#include "lib/base/path.h"
#include "lib/store/maildir.h"
#include "lib/store/parked.h"
#include "lib/store/queue.h"

#include <fnmatch.h>

static bool
is_private(struct span dir, struct span name)
{
    struct span private = span_str(STORE_PRIVATE_DIR);
    return dir.len == 0 ? span_equal(name, private) : path_is_below(dir, private);
}

static bool
is_excluded(const struct store_rules *rules, struct span name)
{
    if (rules->exclude == NULL)
        return false;
    char text[PATH_NAME_MAX + 1];
    ASSERT(name.len < sizeof(text));
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    for (const char *const *pattern = rules->exclude; *pattern != NULL; pattern++) {
        if (fnmatch(*pattern, text, 0) == 0)
            return true;
    }
    return false;
}

static bool
is_being_spooled(const struct store_rules *rules, struct span name)
{
    struct span prefix = span_str(STORE_SPOOL_TMP);
    return store_kind_is_spool(rules->kind) && name.len >= prefix.len &&
           memcmp(name.ptr, prefix.ptr, prefix.len) == 0;
}

/* Patterns leave out a part as a whole: no mail of one is left out by its name. What waits under a
 * private name came from a part. */
static enum store_class
queue_class_of(const struct store_rules *rules, struct span dir, struct span name)
{
    if (dir.len > 0 || parked_is_name(name))
        return CLASS_NORMAL;
    return queue_is_part(name) && !is_excluded(rules, name) ? CLASS_NORMAL : CLASS_IGNORE;
}

enum store_class
store_class_of(const struct store_rules *rules, struct span dir, struct span name, bool dir_is_tmp)
{
    if (is_private(dir, name) || (dir_is_tmp && maildir_is_delivery(name)) ||
        is_being_spooled(rules, name))
        return CLASS_IGNORE;
    if (rules->kind == STORE_QUEUE)
        return queue_class_of(rules, dir, name);
    bool maildir = rules->kind == STORE_MAILDIR;
    /* A message is never left out by accident: patterns are for what lies beside cur and new. */
    if (!(maildir && maildir_is_messages(dir)) && is_excluded(rules, name))
        return CLASS_IGNORE;
    return maildir ? maildir_class_of(dir, name) : CLASS_NORMAL;
}

bool
store_dir_is_tmp(const struct store_rules *rules, struct span name, bool has_cur_or_new)
{
    return rules->kind == STORE_MAILDIR && has_cur_or_new && span_equal(name, span_str("tmp"));
}

bool
store_tells_kinds(const struct store_rules *rules, struct span name)
{
    return rules->kind == STORE_MAILDIR && maildir_is_messages(name);
}

bool
store_changes_in_place(const struct store_rules *rules, struct span name, bool in_maildir)
{
    return !in_maildir || !store_tells_kinds(rules, name);
}

bool
store_is_unfinished(const struct store_rules *rules, struct span dir, uint32_t mode)
{
    return rules->kind == STORE_QUEUE && queue_is_unfinished(dir, mode);
}

bool
store_has_unfinished(const struct store_rules *rules)
{
    return rules->kind == STORE_QUEUE;
}

bool
store_may_be_unfinished(const struct store_rules *rules, struct span dir)
{
    return rules->kind == STORE_QUEUE && queue_is_taken_into(dir);
}
