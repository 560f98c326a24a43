/* A disk that does not give a file: all others go on, the name is told, counted and tried again.
 * The disk is an image on which blocks of the files' extent trees were overwritten. */
#include "tests/unit/pair_kit.h"

#include "replicator/capture_private.h"

static atomic_uint told; /* events UNREADABLE */

static void
count_told(enum event_id id, const char *line, void *arg)
{
    (void)line;
    (void)arg;
    atomic_fetch_add(&told, id == EV_UNREADABLE);
}

/* Ten pieces with holes between them: more than an inode can describe by itself. */
static void
make(const struct cap *c, const char *path, unsigned stride)
{
    cap_sh(c,
           "for i in $(seq 0 9); do dd if=/dev/urandom of=%s bs=4096 seek=$((i * %u)) count=1 "
           "conv=notrunc status=none; done",
           path, stride);
}

static void
damage(const struct cap *c, const char *paths)
{
    cap_sh(c,
           "cd .. && umount s && for path in %s; do "
           "block=$(debugfs -R \"ex /$path\" image 2>/dev/null | "
           "awk '$1 == \"0/\" { print $(NF - 1) }') && test -n \"$block\" && "
           "debugfs -w -R \"zap_block -p 1 $block\" image 2>/dev/null || exit 1; done; "
           "mount -o loop,noatime image s",
           paths);
}

static struct pair *
begin(void)
{
    atomic_store(&told, 0);
    event_tap(count_told, NULL);
    return pair_new_on(1, "64");
}

static void
unreadable(void *owner, const struct record *record)
{
    struct pair *r = owner;
    capture_unreadable(r->c->capture, record->store, record->path, record->seq);
}

static uint64_t
counted(struct pair *r)
{
    struct capture_status status;
    cap_barrier(r->c);
    capture_status(r->c->capture, &status);
    return status.unreadable;
}

static void
try_again(struct pair *r)
{
    cap_hold(r->c);
    r->c->capture->unreadable.due_ms = 1;
    cap_release(r->c);
    pair_ship_all(r);
}

TEST(what_the_disk_does_not_give_holds_up_nothing_else_and_is_tried_again)
{
    struct pair *r = begin();
    CAP_NEEDED(r);
    make(r->c, "out/small", 2);  /* read before it is sent */
    make(r->c, "out/large", 30); /* while it is sent */
    make(r->c, "out/list", 2);   /* at the end of the run */
    damage(r->c, "out/small out/large out/list");
    pair_start(r);
    r->ship.unreadable = unreadable;
    cap_sh(r->c, "mkdir mail/a && echo 1 >mail/a/before && mv out/small out/large mail/a && "
                 "mv out/list mail/a/dovecot-uidlist && echo 2 >mail/a/behind");
    cap_barrier(r->c);
    pair_ship_all(r);
    cap_sh(r->peer, "test -f mail/a/before -a -f mail/a/behind && test $(ls mail/a | wc -l) = 2");
    CHECK_INT(atomic_load(&told), 3);
    CHECK_INT(counted(r), 3);

    cap_sh(r->c, "rm mail/a/small mail/a/dovecot-uidlist && cp mail/a/behind mail/a/small");
    cap_barrier(r->c);
    pair_ship_all(r);
    try_again(r);
    CHECK_INT(atomic_load(&told), 4); /* the large one again */
    CHECK_INT(counted(r), 3);         /* until those tried had time to fail */
    try_again(r);
    CHECK_INT(counted(r), 1);
    cap_sh(r->c, "rm mail/a/large");
    cap_barrier(r->c);
    pair_ship_all(r);
    try_again(r);
    try_again(r);
    CHECK_INT(counted(r), 0);
    CHECK_INT(r->c->capture->unreadable.due_ms, 0);
    check_same(r);
    pair_free(r);
}

/* --- what cannot even be looked at --- */

/* Bytes of the image that hold the inode; where: a file on the host's side of the test. */
static void
damage_inode(const struct cap *c, const char *path)
{
    cap_sh(
        c,
        "cd .. && umount s && set -- $(debugfs -R 'imap /%s' image 2>/dev/null | "
        "sed -n 's/.*block \\([0-9]*\\), offset \\(0x[0-9a-f]*\\).*/\\1 \\2/p') && "
        "size=$(dumpe2fs -h image 2>/dev/null | awk '/^Block size/ { print $3 }') && "
        "printf XXXX | dd of=image bs=1 seek=$(($1 * size + $2 + 4)) conv=notrunc status=none && "
        "mount -o loop,noatime image s",
        path);
}

/* The directory's only block. */
static void
damage_dir(const struct cap *c, const char *path)
{
    cap_sh(c,
           "cd .. && umount s && cp image good && "
           "block=$(debugfs -R 'blocks /%s' image 2>/dev/null) && "
           "debugfs -w -R \"zap_block -p 1 $block\" image 2>/dev/null; "
           "mount -o loop,noatime image s",
           path);
}

/* The disk is as it was before damage_dir(). */
static void
repair(const struct cap *c)
{
    cap_sh(c, "cd .. && umount s && mv good image && mount -o loop,noatime image s");
}

static uint64_t
unreadable_now(struct cap *c)
{
    struct capture_status status;
    cap_barrier(c);
    capture_status(c->capture, &status);
    CHECK(status.phase == CAPTURE_LIVE);
    return status.unreadable;
}

static struct cap *
begin_alone(void)
{
    atomic_store(&told, 0);
    struct cap *c = cap_new_on("64");
    if (c == NULL)
        return NULL;
    event_tap(count_told, NULL);
    cap_sh(c, "cd mail && mkdir a b && echo 1 >a/bad && echo 1 >a/good && echo 1 >b/x");
    return c;
}

TEST(a_name_that_cannot_be_looked_at_is_not_gone_and_ends_no_sweep)
{
    struct cap *c = begin_alone();
    CAP_NEEDED(c);
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    damage_inode(c, "mail/a/bad");
    cap_sh(c, "! stat mail/a/bad 2>/dev/null && echo 2 >mail/a/new");
    cap_start(c);
    CHECK_INT(unreadable_now(c), 1);
    cap_check_records(c, "put a/new\n");
    CHECK(atomic_load(&told) > 0);
    cap_hold(c);
    unsigned before = atomic_load(&told);
    c->capture->unreadable.due_ms = 1; /* it is time to try again */
    cap_release(c);
    CHECK_INT(unreadable_now(c), 1);
    CHECK(atomic_load(&told) > before);
    cap_check_records(c, "");
    cap_free(c);
}

TEST(a_directory_that_cannot_be_read_ends_no_sweep_and_nothing_in_it_is_gone)
{
    struct cap *c = begin_alone();
    CAP_NEEDED(c);
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "chmod 750 mail/a"); /* its times moved: it is read */
    damage_dir(c, "mail/a");
    cap_sh(c, "! ls mail/a 2>/dev/null >&2 && echo 2 >mail/b/new");
    cap_start(c);
    unreadable_now(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "put b/new\n");
    CHECK(strstr((const char *)text.ptr, "unlink") == NULL);
    CHECK(strstr((const char *)text.ptr, "rmtree") == NULL);
    CHECK(atomic_load(&told) > 0);
    cap_free(c);
}

TEST(what_moved_to_where_nobody_can_look_is_not_gone)
{
    struct cap *c = begin_alone();
    CAP_NEEDED(c);
    cap_sh(c, "mkdir mail/a/sub");
    cap_start(c);
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "mv mail/a/good mail/a/sub mail/b");
    damage_dir(c, "mail/b");
    cap_start(c);
    CHECK_INT(unreadable_now(c), 2 + 2); /* b, b/x; and those two */
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    CHECK(strstr((const char *)text.ptr, "unlink") == NULL);
    CHECK(strstr((const char *)text.ptr, "rmtree") == NULL);
    cap_stop(c); /* which is not a clean one */
    repair(c);
    cap_start(c);
    CHECK_INT(unreadable_now(c), 0);
    cap_check_index(c);
    cap_records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "rename a/good > b/good\n");
    CHECK_CONTAINS((const char *)text.ptr, "rename a/sub > b/sub\n");
    cap_free(c);
}

TEST(a_first_scan_goes_on_behind_what_it_cannot_look_at)
{
    struct cap *c = begin_alone();
    CAP_NEEDED(c);
    damage_inode(c, "mail/a/bad");
    cap_start(c);
    CHECK_INT(unreadable_now(c), 1);
    cap_sh(c, "echo 2 >out/y; mv out/y mail/b");
    cap_barrier(c);
    cap_check_records(c, "put b/y\n");
    cap_free(c);
}

TEST(a_listing_goes_on_behind_a_name_that_cannot_be_looked_at)
{
    struct cap *c = begin_alone();
    CAP_NEEDED(c);
    damage_inode(c, "mail/a/bad");
    _cleanup_listing_ struct listing l = { 0 };
    cap_open(c);
    const struct node_store *store = &c->node->stores[0];
    _cleanup_close_ int fd = openat(store->root_fd, "a", O_RDONLY | O_DIRECTORY);
    CHECK_INT(listing_read(&store->rules, fd, span_str("a"), true, NULL, &l, &c->e), 0);
    listing_sort(&l);
    CHECK(listing_find(&l, span_str("good")) != NULL);
    CHECK(listing_find(&l, span_str("bad")) == NULL);
    CHECK_INT(atomic_load(&told), 1);
    close(fd);
    fd = -1;
    cap_free(c);
}

TEST(a_comparison_of_contents_goes_on_behind_a_file_that_cannot_be_read)
{
    struct pair *r = begin();
    CAP_NEEDED(r);
    make(r->c, "mail/bad", 2);
    cap_sh(r->c, "echo good >mail/good");
    damage(r->c, "mail/bad");
    cap_open(r->c);
    _cleanup_listing_ struct listing l = { 0 };
    const struct node_store *store = &r->c->node->stores[0];
    CHECK_INT(listing_read(&store->rules, store->root_fd, span_str(""), true, NULL, &l, &r->c->e),
              0);
    listing_sort(&l);
    CHECK_INT(listing_find(&l, span_str("good"))->has_hash, 1);
    CHECK_INT(listing_find(&l, span_str("bad"))->has_hash, 0);
    CHECK_INT(atomic_load(&told), 1);
    cap_free(r->c);
    cap_free(r->peer);
    free(r);
}

static int
drop_signature(void *arg, struct span bytes, struct err *e)
{
    (void)arg;
    (void)bytes;
    (void)e;
    return 0;
}

TEST(a_copy_that_cannot_be_read_has_no_signature_and_is_replaced)
{
    struct pair *r = begin();
    CAP_NEEDED(r);
    make(r->c, "files/bad", 30);
    damage(r->c, "files/bad");
    struct apply *apply;
    struct apply_store stores[CAP_STORES] = { 0 };
    for (size_t i = 0; i < CAP_STORES; i++)
        stores[i].path = r->c->stores[i].path;
    CHECK_INT(apply_open(stores, CAP_STORES, 1, &apply, &r->c->e), 0);
    CHECK_INT(apply_signature(apply, 1, span_str("bad"), drop_signature, NULL, &r->c->e), 1);
    CHECK_INT(atomic_load(&told), 1);
    apply_free(&apply);
    cap_free(r->c);
    cap_free(r->peer);
    free(r);
}
