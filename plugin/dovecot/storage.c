#include "plugin/dovecot/plugin.h"

#include <array.h>
#include <mail-index-private.h>
#include <mail-index-transaction-private.h>
#include <mail-storage-private.h>

struct twin_mailbox {
    union mailbox_module_context module_ctx;
    unsigned unsynced; /* kinds that are committed, and on the disk after the folder's next sync */
};

static MODULE_CONTEXT_DEFINE_INIT(twin_mailbox_module, &mail_storage_module_register);

static struct twin_mailbox *
twin_of(struct mailbox *box)
{
    return MODULE_CONTEXT_REQUIRE(box, twin_mailbox_module);
}

static struct mailbox_vfuncs *
super_of(struct mailbox *box)
{
    return &twin_of(box)->module_ctx.super;
}

/* IMAP answers later, sieve is not done yet: there the wait comes once for all of it. */
static bool
answers_here(void)
{
    return plugin_program() == PROGRAM_OTHER ||
           (plugin_program() == PROGRAM_DELIVERY && !deliver_running());
}

/* 0, or -1 with an error in the storage that reads as a temporary failure. */
static int
wait_here(struct mailbox *box, unsigned kinds)
{
    const bool delivery = plugin_program() == PROGRAM_DELIVERY;
    if (!answers_here())
        return 0;
    const char *unsafe = plugin_wait(box->storage->user, delivery ? KIND_DELIVER : kinds);
    if (unsafe == NULL)
        return 0;
    if (delivery && kinds == KIND_APPEND)
        unsafe = t_strconcat(unsafe, KINDS_STORED, NULL);
    mail_storage_set_error(box->storage, MAIL_ERROR_TEMP, unsafe);
    return -1;
}

static unsigned
kinds_of_changes(enum mail_index_transaction_change changes)
{
    const enum mail_index_transaction_change flags = MAIL_INDEX_TRANSACTION_CHANGE_FLAGS |
                                                     MAIL_INDEX_TRANSACTION_CHANGE_KEYWORDS;
    unsigned kinds = 0;
    if ((changes & flags) != 0)
        kinds |= KIND_FLAGS;
    if ((changes & MAIL_INDEX_TRANSACTION_CHANGE_ATTRIBUTE) != 0)
        kinds |= KIND_FOLDERS;
    return kinds;
}

/* To the changes it is one of "others" until a sync carries it out. */
static bool
expunges(const struct mail_index_transaction *itrans)
{
    return array_is_created(&itrans->expunges) && array_count(&itrans->expunges) > 0;
}

/* A saved mail is in its folder when the transaction is committed. Flags and expunges are only in
 * the index's log: the next sync of the folder carries them out, and waits. */
static int
transaction_commit(struct mailbox_transaction_context *t,
                   struct mail_transaction_commit_changes *changes_r)
{
    struct mailbox *box = t->box;
    const bool saved = t->save_count > 0;
    unsigned kinds = expunges(t->itrans) ? KIND_EXPUNGE : 0;
    if (super_of(box)->transaction_commit(t, changes_r) < 0)
        return -1;
    kinds |= kinds_of_changes(changes_r->changes_mask);
    twin_of(box)->unsynced |= kinds;
    plugin_note(kinds | (saved ? KIND_APPEND : 0));
    return saved ? wait_here(box, KIND_APPEND) : 0;
}

static int
sync_deinit(struct mailbox_sync_context *ctx, struct mailbox_sync_status *status_r)
{
    struct mailbox *box = ctx->box;
    if (super_of(box)->sync_deinit(ctx, status_r) < 0)
        return -1;
    const unsigned kinds = twin_of(box)->unsynced;
    twin_of(box)->unsynced = 0;
    plugin_note(kinds); /* again: what was waited for since was not this */
    return kinds != 0 ? wait_here(box, kinds) : 0;
}

static int
folder_done(struct mailbox *box, int ret)
{
    if (ret < 0)
        return ret;
    plugin_note(KIND_FOLDERS);
    return wait_here(box, KIND_FOLDERS);
}

static int
create_box(struct mailbox *box, const struct mailbox_update *update, bool directory)
{
    return folder_done(box, super_of(box)->create_box(box, update, directory));
}

static int
update_box(struct mailbox *box, const struct mailbox_update *update)
{
    return folder_done(box, super_of(box)->update_box(box, update));
}

static int
delete_box(struct mailbox *box)
{
    return folder_done(box, super_of(box)->delete_box(box));
}

static int
rename_box(struct mailbox *src, struct mailbox *dest)
{
    return folder_done(src, super_of(src)->rename_box(src, dest));
}

static int
set_subscribed(struct mailbox *box, bool set)
{
    return folder_done(box, super_of(box)->set_subscribed(box, set));
}

void
storage_hook(struct mailbox *box)
{
    struct mailbox_vfuncs *v = box->vlast;
    struct twin_mailbox *twin = p_new(box->pool, struct twin_mailbox, 1);
    twin->module_ctx.super = *v;
    box->vlast = &twin->module_ctx.super;
    v->transaction_commit = transaction_commit;
    v->sync_deinit = sync_deinit;
    v->create_box = create_box;
    v->update_box = update_box;
    v->delete_box = delete_box;
    v->rename_box = rename_box;
    v->set_subscribed = set_subscribed;
    MODULE_CONTEXT_SET(box, twin_mailbox_module, twin);
}
