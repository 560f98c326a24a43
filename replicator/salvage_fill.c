/* salvage_fill.c - what the primary is asked to do with one item. */
#include "lib/store/mailbox.h"
#include "replicator/salvage_box.h"

#include <stdio.h>

bool
salvages_can_give(const struct salvage_item *item)
{
    bool named = S_ISREG(item->attr.mode) || S_ISDIR(item->attr.mode); /* not a symlink, a fifo */
    return salvage_has_content(item->kind) || item->kind == SALVAGE_FOLDER ||
           item->kind == SALVAGE_FLAGS || item->kind == SALVAGE_EXPUNGE ||
           ((item->kind == SALVAGE_REMOVAL || item->kind == SALVAGE_RENAME) && named);
}

static void
fill_keywords(struct give_item *give, const struct salvage_item *item, const char *mark)
{
    if (mark != NULL) {
        snprintf(give->keywords[0].name, sizeof(give->keywords[0].name), "%s", mark);
        give->keyword_count = 1;
    }
    for (size_t i = 0; i < item->keyword_count && give->keyword_count < WIRE_KEYWORDS_MAX; i++) {
        struct span name = item->keywords[i].name;
        give->keywords[give->keyword_count].letter = item->keywords[i].letter;
        memcpy(give->keywords[give->keyword_count].name, name.ptr, name.len);
        give->keywords[give->keyword_count++].name[name.len] = '\0';
    }
}

static bool
is_path_of_message(const struct salvage_box *box, struct span path)
{
    struct mailbox m;
    const struct conf_store *conf = box->store->conf;
    mailbox_of(conf->users == NULL ? "" : conf->users, path, &m);
    return conf->kind == STORE_MAILDIR && m.kind == MAILBOX_MESSAGE;
}

static bool
is_message(const struct salvage_box *box, const struct salvage_item *item)
{
    if (item->kind == SALVAGE_RENAME)
        return !S_ISDIR(item->attr.mode) && is_path_of_message(box, item->path);
    return item->kind == SALVAGE_MESSAGE || item->kind == SALVAGE_COPY ||
           item->kind == SALVAGE_FLAGS || item->kind == SALVAGE_EXPUNGE;
}

static enum wire_give_kind
kind_of(const struct salvage_box *box, const struct salvage_item *item)
{
    if (is_message(box, item))
        return WIRE_GIVE_MESSAGE;
    bool dir = item->kind == SALVAGE_FOLDER || S_ISDIR(item->attr.mode);
    return dir ? WIRE_GIVE_DIR : WIRE_GIVE_FILE;
}

static enum wire_give_mode
mode_of(const struct salvage_box *box, const struct salvage_item *item)
{
    switch (item->kind) {
    case SALVAGE_MESSAGE:
        return WIRE_GIVE_DELIVER;
    case SALVAGE_FILE: /* in the place of another one only when somebody said so */
        return box->wanted[item->number] ? WIRE_GIVE_REPLACE : WIRE_GIVE_PUT;
    case SALVAGE_FLAGS:
        return WIRE_GIVE_FLAGS;
    case SALVAGE_EXPUNGE:
    case SALVAGE_REMOVAL:
        return WIRE_GIVE_REMOVE;
    case SALVAGE_RENAME:
        return WIRE_GIVE_MOVE;
    case SALVAGE_FOLDER:
    case SALVAGE_COPY: /* what has its base name in other folders is not it */
    case SALVAGE_OTHER:
        break;
    }
    return WIRE_GIVE_PUT;
}

void
salvage_fill(struct give_item *give, const struct salvage_box *box, const struct salvage_item *item,
             uint64_t since)
{
    give->store = box->store->number;
    give->kind = kind_of(box, item);
    give->mode = mode_of(box, item);
    give->attr = item->attr;
    if ((give->attr.mode & S_IFMT) == 0) /* the record did not tell */
        give->attr.mode |= give->kind == WIRE_GIVE_DIR ? S_IFDIR : S_IFREG;
    give->since = since;
    buf_add(&give->path, item->path.ptr, item->path.len);
    if (give->mode == WIRE_GIVE_MOVE)
        buf_add(&give->from, item->other.ptr, item->other.len);
    bool message = give->kind == WIRE_GIVE_MESSAGE;
    if (message || (give->kind == WIRE_GIVE_DIR && give->mode == WIRE_GIVE_MOVE))
        buf_add(&give->guid, item->guid.ptr, item->guid.len);
    if (message)
        fill_keywords(give, item, salvage_has_content(item->kind) ? SALVAGE_MARK : NULL);
}
