#include "tests/unit/index_kit.h"

TEST(names_come_in_the_order_of_their_bytes)
{
    static const char *const names[] = {
        "\1",  " ",  "1",    "10",   "1:2,",     "2",    "a",
        "a.b", "aa", "\x7f", "\x80", "\xc3\xa4", "\xff", "\xff\xff"
    };
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    uint64_t other = make_root(db, txn, 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t at = i * 5 % ARRAY_LEN(names);
        db_put_entry(db, txn, root, names[at], at + 1, 0);
    }
    db_put_entry(db, txn, other, "b", 100, 0);
    struct span after = span_str("");
    struct state_entry entry;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CHECK_INT(state_entry_next(txn, root, after, &after, &entry, &db->e), 1);
        CHECK(span_equal(after, span_str(names[i])));
        CHECK_INT(entry.ino, i + 1);
    }
    CHECK_INT(state_entry_next(txn, root, after, &after, &entry, &db->e), 0);
    CHECK_INT(state_entry_next(txn, other, span_str("b"), &after, &entry, &db->e), 0);
    CHECK_INT(state_entry_next(txn, root, span_str("1!"), &after, &entry, &db->e), 1);
    CHECK(span_equal(after, span_str("10")));
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(names_of_255_bytes_are_names_like_others)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    char names[3][256] = { 0 };
    for (size_t i = 0; i < 3; i++)
        memset(names[i], 0xff, 255);
    names[0][254] = 'a';
    names[2][254] = 'b';
    uint64_t dir = db_mkdir(db, txn, 0, root, names[0], 1);
    db_put_entry(db, txn, dir, names[1], 2, 0);
    db_put_entry(db, txn, dir, names[2], 2, 0);
    CHECK_INT(get(db, txn, dir, names[1]).nlink, 2);
    db_must(db, state_entry_move(txn, dir, span_str(names[1]), root, span_str(names[1]), &db->e));
    db_check_in_step(db, txn);
    struct span name;
    struct state_entry entry;
    CHECK_INT(state_entry_next(txn, root, span_str(names[0]), &name, &entry, &db->e), 1);
    CHECK(span_equal(name, span_str(names[1])));
    CHECK_INT(state_entry_next(txn, root, name, &name, &entry, &db->e), 0);
    _cleanup_buf_ struct buf path = { 0 };
    db_must(db, state_dir_path(txn, dir, &path, &db->e));
    CHECK(span_equal(buf_span(&path), span_str(names[0])));
    db_commit(db, txn);
    db_free(db);
}

TEST(paths_of_any_depth_are_found_both_ways)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    _cleanup_buf_ struct buf expected = { 0 };
    _cleanup_buf_ struct buf path = { 0 };
    uint64_t dir = make_root(db, txn, 0);
    for (uint64_t depth = 1; depth <= 200; depth++) {
        char name[16];
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)depth);
        uint64_t parent = dir;
        dir = db_mkdir(db, txn, 0, parent, name, depth);
        if (expected.len > 0)
            buf_add_u8(&expected, '/');
        buf_add(&expected, name, strlen(name));
        db_must(db, state_dir_path(txn, dir, &path, &db->e));
        CHECK(span_equal(buf_span(&path), buf_span(&expected)));
        uint64_t found;
        struct span last;
        CHECK_INT(state_resolve(txn, 0, buf_span(&path), &found, &last, &db->e), 1);
        CHECK_INT(found, parent);
        CHECK(span_equal(last, span_str(name)));
    }
    uint64_t found;
    struct span last;
    CHECK_INT(state_resolve(txn, 0, span_str("d1/none/x"), &found, &last, &db->e), 0);
    CHECK_INT(state_resolve(txn, 1, span_str("x"), &found, &last, &db->e), 0);
    CHECK_INT(state_resolve(txn, 0, span_str(""), &found, &last, &db->e), 1);
    CHECK_INT(last.len, 0);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_directory_without_a_way_up_is_corrupt)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    _cleanup_buf_ struct buf path = { 0 };
    uint64_t lost = db_make_dir(db, txn, 0, 77, "lost", "filesys:lost");
    uint64_t loop = db_make_dir(db, txn, 0, lost + 1, "loop", "filesys:loop");
    CHECK_INT(loop, lost + 1); /* its own parent */
    CHECK_INT(state_dir_path(txn, lost, &path, &db->e), -1);
    CHECK_INT(db->e.code, ERR_CORRUPT);
    CHECK_INT(state_dir_path(txn, loop, &path, &db->e), -1);
    CHECK_INT(db->e.code, ERR_CORRUPT);
    struct state_entry entry = { .ino = 1 };
    CHECK_INT(state_entry_put(txn, 78, span_str("x"), &entry, &db->e), -1);
    CHECK_INT(db->e.code, ERR_CORRUPT);
    state_abort(&txn);
    db_free(db);
}

TEST(malformed_rows_are_refused)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    db_put_entry(db, txn, root, "a", 7, 0);
    uint8_t key[9] = { 0, 0, 0, 0, 0, 0, 0, (uint8_t)root, 'a' };
    struct span row;
    uint8_t copy[256];
    CHECK_INT(table_get(txn, TABLE_ENTRIES, span_of(key, 9), &row, &db->e), 1);
    size_t len = row.len;
    memcpy(copy, row.ptr, len);
    for (size_t cut = 0; cut < len; cut++) {
        struct state_entry entry;
        db_must(db, table_put(txn, TABLE_ENTRIES, span_of(key, 9), span_of(copy, cut), &db->e));
        CHECK_INT(state_entry_get(txn, root, span_str("a"), &entry, &db->e), -1);
        CHECK_INT(db->e.code, ERR_CORRUPT);
    }
    CHECK_INT(table_get(txn, TABLE_DIRS, span_of(key, 8), &row, &db->e), 1);
    len = row.len;
    memcpy(copy, row.ptr, len);
    copy[len] = 0;
    for (size_t cut = 0; cut <= len + 1; cut++) {
        struct state_dir dir;
        db_must(db, table_put(txn, TABLE_DIRS, span_of(key, 8), span_of(copy, cut), &db->e));
        CHECK_INT(state_dir_get(txn, root, &dir, &db->e), cut == len ? 1 : -1);
    }
    state_abort(&txn);
    db_free(db);
}

TEST(every_name_of_an_object_knows_how_many_there_are)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    uint64_t other = make_root(db, txn, 1);
    uint64_t sub = db_mkdir(db, txn, 0, root, "sub", 1);
    db_put_entry(db, txn, root, "a", 50, 0);
    db_put_entry(db, txn, sub, "b", 50, 0);
    db_put_entry(db, txn, sub, "c", 50, 0);
    db_put_entry(db, txn, other, "d", 50, 0); /* the same number in another store */
    CHECK_INT(get(db, txn, root, "a").nlink, 3);
    CHECK_INT(get(db, txn, other, "d").nlink, 1);
    db_must(db, state_entry_move(txn, sub, span_str("b"), sub, span_str("c"), &db->e));
    CHECK(!db_has(db, txn, sub, "b"));
    CHECK_INT(get(db, txn, root, "a").nlink, 2);
    CHECK_INT(get(db, txn, sub, "c").nlink, 2);
    db_put_entry(db, txn, sub, "c", 60, 0); /* replaced by another object */
    CHECK_INT(get(db, txn, root, "a").nlink, 1);
    db_put_entry(db, txn, sub, "e", 50, 0);
    db_must(db, state_entry_del(txn, root, span_str("sub"), &db->e));
    CHECK_INT(get(db, txn, root, "a").nlink, 1);
    db_check_in_step(db, txn);
    db_must(db, state_entry_del(txn, root, span_str("none"), &db->e));
    CHECK_INT(state_entry_move(txn, root, span_str("none"), root, span_str("x"), &db->e), -1);
    CHECK_INT(db->e.code, ERR_GONE);
    db_commit(db, txn);
    db_free(db);
}

TEST(an_object_with_a_thousand_names_is_counted)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    char name[16];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        db_put_entry(db, txn, root, name, 9, 0);
    }
    CHECK_INT(get(db, txn, root, "n0").nlink, 1000);
    CHECK_INT(get(db, txn, root, "n999").nlink, 1000);
    for (unsigned i = 0; i < 999; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        db_must(db, state_entry_del(txn, root, span_str(name), &db->e));
    }
    CHECK_INT(get(db, txn, root, "n999").nlink, 1);
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_moved_directory_keeps_its_number_and_all_below_it)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    _cleanup_buf_ struct buf path = { 0 };
    uint64_t root = make_root(db, txn, 0);
    uint64_t a = db_mkdir(db, txn, 0, root, "a", 1);
    uint64_t b = db_mkdir(db, txn, 0, root, "b", 2);
    uint64_t deep = db_mkdir(db, txn, 0, a, "deep", 3);
    db_put_entry(db, txn, deep, "mail", 4, 0);
    db_put_entry(db, txn, b, "in the way", 5, 0);
    db_must(db, state_entry_move(txn, root, span_str("a"), root, span_str("b"), &db->e));
    CHECK_INT(get(db, txn, root, "b").dir, a);
    CHECK(!db_has(db, txn, root, "a"));
    db_must(db, state_dir_path(txn, deep, &path, &db->e));
    CHECK(span_equal(buf_span(&path), span_str("b/deep")));
    struct state_dir gone;
    CHECK_INT(state_dir_get(txn, b, &gone, &db->e), 0);
    CHECK_INT(state_dir_find(txn, span_str("filesys:2"), &b, &db->e), 0);
    db_check_in_step(db, txn);
    db_must(db, state_entry_move(txn, root, span_str("b"), root, span_str("b"), &db->e));
    CHECK(db_has(db, txn, deep, "mail"));
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_name_seen_again_keeps_what_is_below)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    uint64_t box = db_mkdir(db, txn, 0, root, "box", 1);
    db_put_entry(db, txn, box, "mail", 2, 0);
    struct state_entry entry = get(db, txn, root, "box");
    entry.attr.mode = S_IFDIR | 0755; /* its handle still points into the row that goes */
    db_must(db, state_entry_put(txn, root, span_str("box"), &entry, &db->e));
    entry = get(db, txn, root, "box");
    CHECK_INT(entry.attr.mode, S_IFDIR | 0755);
    CHECK(span_equal(entry.handle, span_str("object")));
    CHECK(db_has(db, txn, box, "mail"));
    db_check_in_step(db, txn);
    db_put_entry(db, txn, root, "box", 3, 0); /* another object: it goes with all below */
    CHECK(!db_has(db, txn, box, "mail"));
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_directory_made_anew_may_stay_the_same_one)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    uint64_t box = db_mkdir(db, txn, 0, root, "box", 1);
    db_put_entry(db, txn, box, "mail", 2, 0);
    db_put_entry(db, txn, root, "box", 3, box);
    CHECK_INT(get(db, txn, root, "box").ino, 3);
    CHECK(db_has(db, txn, box, "mail"));
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_directory_s_new_handle_replaces_the_old_one)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    uint64_t id = db_mkdir(db, txn, 0, root, "a", 1);
    struct state_dir dir;
    CHECK_INT(state_dir_get(txn, id, &dir, &db->e), 1);
    dir.handle = span_str("filesys:new");
    dir.ctime_ns = 5;
    db_must(db, state_dir_put(txn, &dir, &db->e));
    uint64_t found;
    CHECK_INT(state_dir_find(txn, span_str("filesys:1"), &found, &db->e), 0);
    CHECK_INT(state_dir_find(txn, span_str("filesys:new"), &found, &db->e), 1);
    CHECK_INT(found, id);
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_directory_that_moved_to_another_store_keeps_its_handle_there)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t from = make_root(db, txn, 0);
    uint64_t to = make_root(db, txn, 1);
    db_mkdir(db, txn, 0, from, "box", 7);
    uint64_t here = db_mkdir(db, txn, 1, to, "box", 7); /* seen there first */
    db_must(db, state_entry_move(txn, from, span_str("box"), from, span_str("aside"), &db->e));
    db_must(db, state_entry_del(txn, from, span_str("aside"), &db->e));
    uint64_t found;
    CHECK_INT(state_dir_find(txn, span_str("filesys:7"), &found, &db->e), 1);
    CHECK_INT(found, here);
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_tree_that_came_back_from_another_store_gets_its_handles_back)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t home = make_root(db, txn, 0);
    uint64_t away = make_root(db, txn, 1);
    uint64_t box = db_mkdir(db, txn, 0, home, "box", 7);
    uint64_t deep = db_mkdir(db, txn, 0, box, "deep", 8);
    uint64_t guest = db_mkdir(db, txn, 1, away, "box", 7);
    db_mkdir(db, txn, 1, guest, "deep", 8);
    CHECK_INT(state_dir_claim(txn, box, &db->e), 1);
    CHECK_INT(state_dir_claim(txn, box, &db->e), 0);
    db_must(db, state_entry_del(txn, away, span_str("box"), &db->e));
    uint64_t id;
    CHECK(state_heir(txn, &id));
    CHECK_INT(id, deep);
    CHECK(!state_heir(txn, &id));
    CHECK_INT(state_dir_find(txn, span_str("filesys:7"), &id, &db->e), 1);
    CHECK_INT(id, box);
    CHECK_INT(state_dir_find(txn, span_str("filesys:8"), &id, &db->e), 1);
    CHECK_INT(id, deep);
    db_check_in_step(db, txn);
    CHECK_INT(state_dir_claim(txn, 4711, &db->e), 0); /* none of ours */
    db_must(db, state_entry_del(txn, home, span_str("box"), &db->e));
    CHECK(!state_heir(txn, &id));
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_directory_number_is_never_given_again)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    CHECK_INT(root, STATE_ROOT_DIR);
    uint64_t last = db_mkdir(db, txn, 0, root, "a", 1);
    db_must(db, state_entry_del(txn, root, span_str("a"), &db->e));
    db_commit(db, txn);
    db_reopen(db);
    txn = db_begin(db, true);
    CHECK_INT(db_mkdir(db, txn, 0, root, "a", 1), last + 1);
    struct state_dir dir;
    CHECK_INT(state_dir_next(txn, last, &dir, &db->e), 1);
    CHECK_INT(dir.id, last + 1);
    CHECK_INT(state_dir_next(txn, dir.id + 1, &dir, &db->e), 0);
    CHECK_INT(state_root(txn, 0), root);
    CHECK_INT(state_root(txn, 1), 0);
    db_commit(db, txn);
    db_free(db);
}

TEST(a_subtree_of_100000_names_goes_at_once)
{
    struct db *db = db_new(NULL);
    struct state_txn *txn = db_begin(db, true);
    uint64_t root = make_root(db, txn, 0);
    uint64_t top = db_mkdir(db, txn, 0, root, "top", 1);
    uint64_t ino = 2;
    db_put_entry(db, txn, root, "linked", 4000000, 0);
    for (unsigned d = 0; d < 100; d++) {
        char name[32];
        snprintf(name, sizeof(name), "d%u", d);
        uint64_t dir = db_mkdir(db, txn, 0, top, name, ino++);
        for (unsigned f = 0; f < 999; f++) {
            snprintf(name, sizeof(name), "f%u", f);
            db_put_entry(db, txn, dir, name, ino++, 0);
        }
        db_put_entry(db, txn, dir, "linked", 4000000, 0);
    }
    db_commit(db, txn);
    txn = db_begin(db, true);
    CHECK_INT(db_count(txn, TABLE_ENTRIES), 2 + 100 * 1001);
    CHECK_INT(get(db, txn, root, "linked").nlink, 101);
    db_must(db, state_entry_del(txn, root, span_str("top"), &db->e));
    CHECK_INT(db_count(txn, TABLE_ENTRIES), 1);
    CHECK_INT(get(db, txn, root, "linked").nlink, 1);
    db_check_in_step(db, txn);
    db_commit(db, txn);
    db_free(db);
}

#define MODEL_MAX 400

struct model_name {
    bool used;
    uint16_t store;
    uint64_t parent; /* directory id */
    char name[8];
    uint64_t ino;
    uint64_t self; /* directory id, 0 for a file */
};

struct model {
    struct db *db;
    struct state_txn *txn;
    uint64_t roots[STORES];
    struct model_name names[MODEL_MAX];
    uint64_t next_ino;
    uint64_t seed;
    unsigned replaced, moved_dirs, links, removed; /* that it did all of it */
};

static uint64_t
draw(struct model *m, uint64_t below)
{
    m->seed = m->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (m->seed >> 33) % below;
}

static struct model_name *
model_find(struct model *m, uint64_t parent, const char *name)
{
    for (size_t i = 0; i < MODEL_MAX; i++) {
        struct model_name *n = &m->names[i];
        if (n->used && n->parent == parent && strcmp(n->name, name) == 0)
            return n;
    }
    return NULL;
}

static void
model_remove(struct model *m, struct model_name *n)
{
    n->used = false;
    for (size_t i = 0; n->self != 0 && i < MODEL_MAX; i++) {
        if (m->names[i].used && m->names[i].parent == n->self)
            model_remove(m, &m->names[i]);
    }
}

static struct model_name *
model_any(struct model *m, bool want_dir)
{
    size_t from = draw(m, MODEL_MAX);
    for (size_t i = 0; i < MODEL_MAX; i++) {
        struct model_name *n = &m->names[(from + i) % MODEL_MAX];
        if (n->used && (n->self != 0) == want_dir)
            return n;
    }
    return NULL;
}

/* A directory and a name for something new or moved; the store is the directory's. */
static uint64_t
model_place(struct model *m, uint16_t *ret_store, char name[8])
{
    struct model_name *dir = draw(m, 4) == 0 ? NULL : model_any(m, true);
    *ret_store = dir != NULL ? dir->store : (uint16_t)draw(m, STORES);
    snprintf(name, 8, "n%u", (unsigned)draw(m, 12));
    return dir != NULL ? dir->self : m->roots[*ret_store];
}

static void
model_set(struct model *m, const struct model_name *set)
{
    struct model_name *there = model_find(m, set->parent, set->name);
    if (there != NULL) {
        m->replaced++;
        model_remove(m, there);
    }
    for (size_t i = 0; i < MODEL_MAX; i++) {
        if (!m->names[i].used) {
            m->names[i] = *set;
            return;
        }
    }
    fail_msg("the model is full");
}

static void
do_make(struct model *m)
{
    struct model_name n = { .used = true };
    n.parent = model_place(m, &n.store, n.name);
    struct model_name *there = model_find(m, n.parent, n.name);
    n.ino = m->next_ino++;
    if (draw(m, 3) == 0) {
        if (there != NULL)
            return; /* compare clears a name before a directory is made there */
        n.self = db_mkdir(m->db, m->txn, n.store, n.parent, n.name, n.ino);
    } else {
        db_put_entry(m->db, m->txn, n.parent, n.name, n.ino, 0);
    }
    model_set(m, &n);
}

static void
do_link(struct model *m)
{
    struct model_name *of = model_any(m, false);
    struct model_name n = { .used = true };
    n.parent = model_place(m, &n.store, n.name);
    if (of == NULL || of->store != n.store)
        return;
    n.ino = of->ino;
    m->links++;
    db_put_entry(m->db, m->txn, n.parent, n.name, n.ino, 0);
    model_set(m, &n);
}

static void
do_remove(struct model *m)
{
    struct model_name *n = model_any(m, draw(m, 4) == 0);
    if (n == NULL)
        return;
    m->removed++;
    db_must(m->db, state_entry_del(m->txn, n->parent, span_str(n->name), &m->db->e));
    model_remove(m, n);
}

static bool
model_is_below(struct model *m, uint64_t dir, uint64_t top)
{
    for (size_t i = 0; dir != top && i < MODEL_MAX; i++) {
        if (m->names[i].used && m->names[i].self == dir)
            return model_is_below(m, m->names[i].parent, top);
    }
    return dir == top;
}

static void
do_move(struct model *m)
{
    struct model_name *from = model_any(m, draw(m, 2) == 0);
    struct model_name n = { .used = true };
    n.parent = model_place(m, &n.store, n.name);
    if (from == NULL || from->store != n.store)
        return;
    struct model_name *there = model_find(m, n.parent, n.name);
    if (from->self != 0 && model_is_below(m, n.parent, from->self))
        return;
    if (there != NULL && there->self != 0 && model_is_below(m, from->parent, there->self))
        return;
    m->moved_dirs += from->self != 0;
    db_must(m->db, state_entry_move(m->txn, from->parent, span_str(from->name), n.parent,
                                    span_str(n.name), &m->db->e));
    n.ino = from->ino;
    n.self = from->self;
    from->used = false;
    model_set(m, &n);
}

static uint32_t
model_nlink(struct model *m, const struct model_name *n)
{
    uint32_t count = 0;
    for (size_t i = 0; i < MODEL_MAX; i++)
        count += m->names[i].used && m->names[i].store == n->store && m->names[i].ino == n->ino;
    return count;
}

static void
model_check(struct model *m)
{
    size_t count = 0;
    for (size_t i = 0; i < MODEL_MAX; i++) {
        struct model_name *n = &m->names[i];
        if (!n->used)
            continue;
        struct state_entry entry = get(m->db, m->txn, n->parent, n->name);
        CHECK_INT(entry.ino, n->ino);
        CHECK_INT(entry.dir, n->self);
        CHECK_INT(entry.nlink, model_nlink(m, n));
        count++;
    }
    CHECK_INT(db_count(m->txn, TABLE_ENTRIES), count);
    db_check_in_step(m->db, m->txn);
}

TEST(random_histories_end_as_in_a_simple_model)
{
    static void (*const acts[])(struct model * m) = { do_make, do_make,   do_make, do_link,
                                                      do_move, do_remove, do_move };
    struct model *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->db = db_new(NULL);
    m->seed = 20231114;
    m->next_ino = 1;
    m->txn = db_begin(m->db, true);
    for (uint16_t i = 0; i < STORES; i++)
        m->roots[i] = make_root(m->db, m->txn, i);
    unsigned steps = getenv("MAILTWIN_LONG") != NULL ? 400000 : 8000;
    for (unsigned i = 0; i < steps; i++) {
        acts[draw(m, ARRAY_LEN(acts))](m);
        if (i % 40 != 39)
            continue;
        model_check(m);
        db_commit(m->db, m->txn);
        m->txn = db_begin(m->db, true);
    }
    CHECK(m->replaced > 50 && m->moved_dirs > 50 && m->links > 50 && m->removed > 50);
    state_abort(&m->txn);
    db_free(m->db);
    free(m);
}
