#include "replicator/intake_core.h"

#include "lib/base/path.h"
#include "lib/store/maildir.h"
#include "lib/store/parked.h"

#include <stdio.h>

bool
intake_brings_bytes(uint8_t mode)
{
    return mode == WIRE_GIVE_DELIVER || mode == WIRE_GIVE_PUT || mode == WIRE_GIVE_REPLACE;
}

/* Above it, too: what is below an excluded directory is nobody's business. */
static bool
is_ignored(const struct store_rules *rules, struct span path)
{
    for (struct span at = path; at.len > 0; at = path_parent(at)) {
        if (store_class_of(rules, path_parent(at), path_name(at), false) == CLASS_IGNORE)
            return true;
    }
    return path_is_below(path, span_str(STORE_PRIVATE_DIR)) || parked_is_path(path);
}

static const char *
forbids_message(const struct store_rules *rules, const struct mailbox *mailbox)
{
    if (rules->kind != STORE_MAILDIR)
        return "a store that is no Maildir takes no messages";
    return mailbox->kind == MAILBOX_MESSAGE && mailbox->base.len > 0
               ? NULL
               : "the path is not that of a message";
}

static const char *
forbids_file(const struct store_rules *rules, const struct wire_give *give,
             const struct mailbox *mailbox)
{
    if (rules->kind == STORE_MAILDIR &&
        (mailbox->kind == MAILBOX_MESSAGE || mailbox->kind == MAILBOX_DELIVERY))
        return "the path is that of a message";
    enum store_class class = store_class_of(rules, path_parent(give->path), path_name(give->path),
                                            false);
    return class == CLASS_NORMAL || intake_brings_bytes(give->mode)
               ? NULL
               : "what names messages is the mail server's alone";
}

/* A user or a domain may be called as a part of a folder is; that one is moved by hand. */
static const char *
forbids_dir(const struct store_rules *rules, const struct wire_give *give,
            const struct mailbox *mailbox)
{
    if (give->mode == WIRE_GIVE_PUT || rules->kind != STORE_MAILDIR)
        return NULL;
    if (mailbox->kind == MAILBOX_MESSAGE || mailbox->kind == MAILBOX_DELIVERY)
        return "the path is that of a message";
    if (maildir_is_trash(path_name(give->path)))
        return "the path is that of what the mail server deletes";
    return maildir_is_part(path_name(give->path)) ? "the path is that of a part of a folder" : NULL;
}

const char *
intake_forbids(const struct store_rules *rules, const struct wire_give *give,
               const struct mailbox *mailbox)
{
    if (rules->kind != STORE_MAILDIR && rules->kind != STORE_FILES)
        return "only stores of the kinds maildir and files take what is given";
    if (is_ignored(rules, give->path))
        return "the path is not one that the store replicates";
    switch ((enum wire_give_kind)give->kind) {
    case WIRE_GIVE_MESSAGE:
        return forbids_message(rules, mailbox);
    case WIRE_GIVE_FILE:
        return forbids_file(rules, give, mailbox);
    case WIRE_GIVE_DIR:
        return forbids_dir(rules, give, mailbox);
    }
    return NULL;
}

static enum intake_act
decide_delivery(const struct intake_found *here, const struct intake_found *elsewhere)
{
    if ((here->found && !here->certain) || (elsewhere->found && !elsewhere->certain))
        return INTAKE_AGAIN;
    if ((here->found && here->same) || (elsewhere->found && elsewhere->same))
        return INTAKE_EXISTS;
    return here->found ? INTAKE_MAKE_OTHER : INTAKE_MAKE;
}

enum intake_act
intake_decide_return(const struct intake_found *here, const struct intake_found *elsewhere)
{
    enum intake_act act = decide_delivery(here, elsewhere);
    return act == INTAKE_MAKE_OTHER ? INTAKE_REPLACE : act;
}

enum intake_act
intake_decide(enum wire_give_mode mode, const struct intake_found *here,
              const struct intake_found *elsewhere)
{
    if (mode == WIRE_GIVE_DELIVER)
        return decide_delivery(here, elsewhere);
    if (here->found && !here->certain)
        return INTAKE_AGAIN;
    switch (mode) {
    case WIRE_GIVE_REPLACE:
        return here->found ? INTAKE_REPLACE : INTAKE_MAKE;
    case WIRE_GIVE_FLAGS:
        return here->found && here->same ? INTAKE_REFLAG : INTAKE_ABSENT;
    case WIRE_GIVE_REMOVE:
        return !here->found ? INTAKE_EXISTS : here->same ? INTAKE_REMOVE : INTAKE_ABSENT;
    case WIRE_GIVE_DELIVER:
    case WIRE_GIVE_PUT:
    case WIRE_GIVE_MOVE:
        break;
    }
    return here->found ? INTAKE_EXISTS : INTAKE_MAKE;
}

enum intake_act
intake_decide_move(const struct intake_move *f, const char **ret_why)
{
    *ret_why = NULL;
    if (f->there && !f->source)
        return INTAKE_EXISTS;
    if (!f->source)
        *ret_why = "it is not where it was any more";
    else if (!f->same)
        *ret_why = "what has the name that it had is another one by now, or was changed";
    else if (f->target)
        *ret_why = "something else has the name that it would get";
    return *ret_why == NULL ? INTAKE_MOVE : INTAKE_ABSENT;
}

/* --- what a journal says of a directory --- */

static bool
is_in(struct span path, struct span dir)
{
    return path.len > dir.len && path_is_below(path, dir);
}

/* What the mail server makes for itself, and what is being written, is nothing that came. */
static bool
counts(const struct store_rules *rules, const struct record *r)
{
    struct span parent = path_parent(r->path), name = path_name(r->path);
    bool maildir = rules->kind == STORE_MAILDIR;
    if (r->op == OP_MKDIR && maildir && maildir_is_part(name))
        return false;
    bool in_tmp = maildir && span_equal(path_name(parent), span_str("tmp"));
    return store_class_of(rules, parent, name, in_tmp) == CLASS_NORMAL;
}

const char *
intake_came(const struct store_rules *rules, struct span dir, const struct record *r)
{
    switch (r->op) {
    case OP_EPOCH:
    case OP_META:
    case OP_UNLINK:
    case OP_RMTREE:
        return NULL;
    case OP_RENAME:
        if (path_is_below(dir, r->other))
            return "it was renamed since the two nodes parted";
        if (is_in(r->other, dir) && is_in(r->path, dir))
            return NULL;
        break;
    case OP_MKDIR:
    case OP_PUT:
    case OP_LINK:
    case OP_SYMLINK:
    case OP_MKNOD:
        break;
    }
    if (path_is_below(dir, r->path))
        return "what has its name was made since the two nodes parted";
    return is_in(r->path, dir) && counts(rules, r)
               ? "something has come into it since the two nodes parted"
               : NULL;
}

/* Sizes (",S=", ",W=") stay where Dovecot looks for them. */
void
intake_other_base(struct span base, uint32_t crc, struct buf *out)
{
    char mark[16];
    const uint8_t *comma = memchr(base.ptr, ',', base.len);
    size_t head = comma == NULL ? base.len : (size_t)(comma - base.ptr);
    int len = snprintf(mark, sizeof(mark), "-%08x", crc);
    buf_add(out, base.ptr, head);
    buf_add(out, mark, (size_t)len);
    buf_add(out, base.ptr + head, base.len - head);
}

void
intake_flags(struct span flags, struct span letters, struct buf *out)
{
    for (int letter = 'A'; letter <= 'z'; letter++) {
        bool keyword = letter >= 'a';
        struct span from = keyword ? letters : flags;
        bool has = from.len > 0 && memchr(from.ptr, letter, from.len) != NULL;
        if (has && (keyword || letter <= 'Z'))
            buf_add_u8(out, (uint8_t)letter);
    }
}

void
intake_merge_flags(struct span was, struct span is, struct span here, struct buf *out)
{
    for (int letter = 'A'; letter <= 'Z'; letter++) {
        bool before = was.len > 0 && memchr(was.ptr, letter, was.len) != NULL;
        bool after = is.len > 0 && memchr(is.ptr, letter, is.len) != NULL;
        bool now = here.len > 0 && memchr(here.ptr, letter, here.len) != NULL;
        if (before == after ? now : after)
            buf_add_u8(out, (uint8_t)letter);
    }
}
