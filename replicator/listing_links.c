/* listing_links.c - how many names of a file there are that a peer can have. */
#include "lib/data/state.h"
#include "replicator/listing.h"

int
listing_count_links(struct listing *l, struct state_txn *txn, uint64_t dir, struct err *e)
{
    for (size_t i = 0; i < l->count; i++) {
        struct wire_entry *entry = &l->entries[i];
        struct state_entry known;
        int found = entry->nlink < 2 ? 0 : state_entry_get(txn, dir, entry->name, &known, e);
        if (found < 0)
            return -1;
        if (found > 0 && known.ino == entry->ino)
            entry->nlink = known.nlink;
    }
    return 0;
}
