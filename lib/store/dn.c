#include "lib/store/dn.h"

#include <ctype.h>

/* Length up to the next comma that separates components. */
static size_t
component_len(struct span dn)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < dn.len; i++) {
        if (dn.ptr[i] == '\\' && i + 1 < dn.len)
            i++;
        else if (dn.ptr[i] == '"')
            quoted = !quoted;
        else if (dn.ptr[i] == ',' && !quoted)
            break;
    }
    return i;
}

struct span
dn_rdn(struct span dn)
{
    return span_from(dn, 0, component_len(dn));
}

struct span
dn_parent(struct span dn)
{
    size_t len = component_len(dn);
    if (len == dn.len)
        return span_from(dn, dn.len, 0);
    struct span parent = span_from(dn, len + 1, dn.len - len - 1);
    while (parent.len > 0 && parent.ptr[0] == ' ')
        parent = span_from(parent, 1, parent.len - 1);
    return parent;
}

unsigned
dn_depth(struct span dn)
{
    unsigned depth = 0;
    for (; dn.len > 0; dn = dn_parent(dn))
        depth++;
    return depth;
}

bool
dn_same(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (tolower(a.ptr[i]) != tolower(b.ptr[i]))
            return false;
    return true;
}

bool
dn_is_below(struct span dn, struct span above)
{
    for (struct span parent = dn_parent(dn); dn.len > 0 && parent.len >= above.len;
         parent = dn_parent(parent)) {
        if (dn_same(parent, above))
            return true;
        if (parent.len == 0)
            break;
    }
    return false;
}

bool
dn_move(struct span dn, struct span from, struct span to, struct buf *out)
{
    if (!dn_is_below(dn, from))
        return false;
    buf_reset(out);
    buf_add(out, dn.ptr, dn.len - from.len);
    buf_add(out, to.ptr, to.len);
    return true;
}
