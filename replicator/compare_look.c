/* compare_look.c - what counts as being there. */
#include "replicator/compare_private.h"

int
compare_look(const struct compare *c, const struct place *place, const char *name,
             struct look *ret_look, struct err *e)
{
    const struct store_rules *rules = &c->node->stores[place->store].rules;
    if (look_at(place->fd, name, ret_look, e) < 0)
        return -1;
    if (ret_look->exists && store_is_unfinished(rules, buf_span(&place->path), ret_look->attr.mode))
        ret_look->exists = false;
    return 0;
}
