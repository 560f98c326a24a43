#include "replicator/risk.h"

#include "lib/store/mailbox.h"

#include <stdlib.h>

/* Whose record it is. */
static struct risk_user
user_of(const struct conf *conf, const struct record *r)
{
    struct risk_user user = { .store = r->store, .changes = 1 };
    bool brings = r->op == OP_PUT || r->op == OP_LINK;
    if (r->store >= conf->store_count || conf->stores[r->store].kind != STORE_MAILDIR)
        return user;
    struct mailbox m;
    mailbox_of(conf->stores[r->store].users, r->path, &m);
    user.user = m.user;
    user.messages = brings && m.kind == MAILBOX_MESSAGE;
    return user;
}

static int
by_user(const void *x, const void *y)
{
    const struct risk_user *a = x, *b = y;
    if (a->store != b->store)
        return a->store < b->store ? -1 : 1;
    return span_compare(a->user, b->user);
}

static int
by_messages(const void *x, const void *y)
{
    const struct risk_user *a = x, *b = y;
    if (a->messages != b->messages)
        return a->messages > b->messages ? -1 : 1;
    if (a->changes != b->changes)
        return a->changes > b->changes ? -1 : 1;
    return by_user(x, y);
}

/* From one row a record to one row a user. */
static void
add_up(struct risk *risk)
{
    size_t count = 0;
    qsort(risk->users, risk->user_count, sizeof(risk->users[0]), by_user);
    for (size_t i = 0; i < risk->user_count; i++) {
        const struct risk_user *u = &risk->users[i];
        if (count > 0 && by_user(u, &risk->users[count - 1]) == 0) {
            risk->users[count - 1].messages += u->messages;
            risk->users[count - 1].changes += u->changes;
        } else {
            risk->users[count++] = *u;
        }
    }
    risk->user_count = count;
    qsort(risk->users, count, sizeof(risk->users[0]), by_messages);
}

static void
add(struct risk *risk, const struct conf *conf, const struct record *r)
{
    if (risk->since_ns == 0)
        risk->since_ns = r->time_ns;
    struct risk_user user = user_of(conf, r);
    risk->messages += user.messages;
    risk->changes++;
    risk->users[risk->user_count++] = user;
}

int
risk_count(const struct conf *conf, struct state_txn *txn, uint64_t safe, struct risk *ret_risk,
           struct err *e)
{
    const struct state_meta *meta = state_meta(txn);
    uint64_t count = meta->tail > safe ? MIN(meta->tail - safe, (uint64_t)RISK_RECORDS_MAX) : 0;
    struct risk risk = { .complete = meta->oldest <= safe + 1 };
    risk.users = xcalloc(MAX(count, (uint64_t)1), sizeof(risk.users[0]));
    uint64_t seq = safe + 1;
    struct record r;
    int found = 0;
    for (uint64_t i = 0; i < count; i++, seq = r.seq + 1) {
        found = state_record(txn, seq, &r, e);
        if (found <= 0)
            break;
        if (r.op != OP_EPOCH)
            add(&risk, conf, &r);
    }
    if (found < 0) {
        risk_free(&risk);
        return -1;
    }
    risk.complete &= seq > meta->tail;
    add_up(&risk);
    *ret_risk = risk;
    return 0;
}

void
risk_free(struct risk *risk)
{
    free(risk->users);
    *risk = (struct risk){ 0 };
}
