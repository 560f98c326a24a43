/* index_kit.h - an index in a folder of its own, and what the tests of the index ask of it. */
#ifndef MAILTWIN_TEST_INDEX_KIT_H
#define MAILTWIN_TEST_INDEX_KIT_H

#include "tests/unit/state_kit.h"

#define STORES 2

static uint64_t
make_root(struct db *db, struct state_txn *txn, uint16_t store)
{
    char handle[32];
    snprintf(handle, sizeof(handle), "filesys:root%u", store);
    return db_make_dir(db, txn, store, 0, "", handle);
}

static struct state_entry
get(struct db *db, struct state_txn *txn, uint64_t dir, const char *name)
{
    struct state_entry entry = { 0 };
    if (state_entry_get(txn, dir, span_str(name), &entry, &db->e) != 1)
        fail_msg("no %s in %llu", name, (unsigned long long)dir);
    return entry;
}

/* --- names --- */

#endif
