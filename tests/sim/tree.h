/* tree.h - the simulated store: paths, names, moves, comparisons. */
#ifndef MAILTWIN_SIM_TREE_H
#define MAILTWIN_SIM_TREE_H

#include "tests/sim/sim.h"

#define ROOT_DIR 1

static inline unsigned
path_depth(path_t p)
{
    return (p & 0xff0000) == 0 ? 0u : (p & 0xff00) == 0 ? 1u : (p & 0xff) == 0 ? 2u : 3u;
}

static inline path_t
path_up(path_t p)
{
    unsigned depth = path_depth(p);
    return depth <= 1 ? 0 : depth == 2 ? p & 0xff0000 : p & 0xffff00;
}

static inline path_t
path_join(path_t dir, unsigned name)
{
    return dir | name << (16 - 8 * path_depth(dir));
}

/* Is it the directory itself, or below it? */
static inline bool
path_in(path_t p, path_t dir)
{
    for (; p != dir; p = path_up(p))
        if (p == 0)
            return false;
    return true;
}

/* p, which is in `from`, as it is called when `from` is called `to`; 0: it would be too deep. */
static inline path_t
path_moved(path_t p, path_t from, path_t to)
{
    if (p == from)
        return to;
    path_t up = path_moved(path_up(p), from, to);
    if (up == 0 || path_depth(up) == 3)
        return 0;
    unsigned depth = path_depth(p);
    return path_join(up, p >> (24 - 8 * depth) & 0xff);
}

static inline struct ent *
tree_find(struct tree *t, path_t path)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->ents[i].path == path)
            return &t->ents[i];
    return NULL;
}

static inline struct ent *
tree_find_obj(struct tree *t, uint32_t obj)
{
    for (unsigned i = 0; obj != 0 && i < t->count; i++)
        if (t->ents[i].obj == obj)
            return &t->ents[i];
    return NULL;
}

static inline bool
tree_is_dir(struct tree *t, path_t path)
{
    if (path == 0)
        return true;
    const struct ent *e = tree_find(t, path);
    return e != NULL && e->dir != 0;
}

static inline path_t
tree_dir_path(const struct tree *t, uint32_t dir)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->ents[i].dir == dir)
            return t->ents[i].path;
    return 0;
}

/* Puts a file (obj not 0) or a directory; false: no room. */
static inline bool
tree_put(struct tree *t, path_t path, uint32_t obj, uint32_t ver)
{
    struct ent *e = tree_find(t, path);
    if (e == NULL) {
        if (t->count == TREE_MAX)
            return false;
        e = &t->ents[t->count++];
        *e = (struct ent){ .path = path };
    }
    e->obj = obj;
    e->ver = ver;
    if (obj != 0)
        e->dir = 0;
    else if (e->dir == 0)
        e->dir = t->next_dir++;
    return true;
}

static inline void
tree_remove(struct tree *t, path_t path)
{
    for (unsigned i = 0; i < t->count;) {
        if (path_in(t->ents[i].path, path))
            t->ents[i] = t->ents[--t->count];
        else
            i++;
    }
}

static inline void
tree_move(struct tree *t, path_t from, path_t to)
{
    tree_remove(t, to);
    for (unsigned i = 0; i < t->count; i++)
        if (path_in(t->ents[i].path, from))
            t->ents[i].path = path_moved(t->ents[i].path, from, to);
}

/* Would all below `from` still have room in depth? */
static inline bool
tree_can_move(const struct tree *t, path_t from, path_t to)
{
    for (unsigned i = 0; i < t->count; i++)
        if (path_in(t->ents[i].path, from) && path_moved(t->ents[i].path, from, to) == 0)
            return false;
    return true;
}

static inline void
tree_clear(struct tree *t)
{
    *t = (struct tree){ .next_dir = ROOT_DIR + 1 };
}

static inline bool
ent_same(const struct ent *a, const struct ent *b)
{
    return a->obj == b->obj && a->ver == b->ver && (a->dir != 0) == (b->dir != 0);
}

static inline bool
tree_same(struct tree *a, struct tree *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++) {
        const struct ent *other = tree_find(b, a->ents[i].path);
        if (other == NULL || !ent_same(&a->ents[i], other))
            return false;
    }
    return true;
}

/* The directory with this path alone: its names, without what is below them. */
static inline void
tree_list(const struct tree *t, path_t dir, struct tree *ret_list)
{
    tree_clear(ret_list);
    for (unsigned i = 0; i < t->count; i++)
        if (path_up(t->ents[i].path) == dir)
            ret_list->ents[ret_list->count++] = t->ents[i];
}

static inline unsigned
path_last(path_t p)
{
    return p >> (24 - 8 * path_depth(p)) & 0xff;
}

/* Of names, types and contents in a listing, whatever the directory's own path is. */
static inline uint64_t
list_digest(const struct tree *list)
{
    uint64_t sum = 1;
    for (unsigned i = 0; i < list->count; i++) {
        const struct ent *e = &list->ents[i];
        uint64_t h = path_last(e->path) | (uint64_t)e->obj << 8 | (uint64_t)e->ver << 32;
        h = (h ^ (e->dir != 0 ? 0x5bd1e995u : 0)) * 0x9e3779b97f4a7c15u;
        sum += h ^ h >> 29;
    }
    return sum;
}

/* Directories of `t` get the ids they have in `known`, others new ones. */
static inline void
tree_adopt_dirs(struct tree *t, struct tree *known)
{
    t->next_dir = known->next_dir > t->next_dir ? known->next_dir : t->next_dir;
    for (unsigned i = 0; i < t->count; i++) {
        const struct ent *k = tree_find(known, t->ents[i].path);
        if (t->ents[i].dir != 0)
            t->ents[i].dir = k != NULL && k->dir != 0 ? k->dir : t->next_dir++;
    }
}

#endif
