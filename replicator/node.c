#include "replicator/node.h"

#include "lib/os/attrs.h"
#include "lib/os/file.h"
#include "replicator/listing.h"
#include "replicator/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define EVIDENCE_FILE "evidence"
#define PROBE_SIZE    (1024 * 1024)

static int
open_dir(const char *path, int *ret_fd, struct err *e)
{
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? err_sys(e, ERR_CONFIG, "open %s", path) : 0;
}

/* A spool is ours to make; the tree of an administrator that is missing is not mounted. */
static int
make_spool(const struct conf *conf, const struct conf_store *store, struct err *e)
{
    _cleanup_free_ char *spool = xasprintf("%s/" CONF_SPOOL_DIR, conf->state_dir);
    if ((mkdir(spool, 0711) < 0 && errno != EEXIST) ||
        (mkdir(store->path, 0700) < 0 && errno != EEXIST))
        return err_sys(e, ERR_CONFIG, "make %s", store->path);
    return 0;
}

static int
store_open(struct node_store *s, const struct conf_store *conf, uint16_t number, struct err *e)
{
    s->conf = conf;
    s->number = number;
    s->rules = (struct store_rules){ .kind = conf->kind,
                                     .exclude = (const char *const *)conf->exclude };
    struct stat st;
    if (open_dir(conf->path, &s->root_fd, e) < 0 || watch_fsid(s->root_fd, s->fsid, e) < 0)
        return err_wrap(e, "store %s", conf->name);
    if (fstat(s->root_fd, &st) < 0)
        return err_sys(e, ERR_IO, "store %s: look at %s", conf->name, conf->path);
    s->device = st.st_dev;
    return 0;
}

/* A queue empties as it works, and a dump has versions of its own. */
static bool
is_retained(const struct conf_store *conf)
{
    return conf->kind != STORE_QUEUE && conf->kind != STORE_DUMP;
}

static int
retain_store(struct node_store *s, struct err *e)
{
    const struct conf_store *conf = s->conf;
    struct retain_opts opts = { .path = conf->path,
                                .store = conf->name,
                                .kind = conf->kind,
                                .users = conf->users,
                                .keep_ms = conf->retain_ms,
                                .max_percent = conf->retain_max };
    return is_retained(conf) ? retain_open(&opts, &s->retain, e) : 0;
}

static int
open_state_dir(struct node *node, struct err *e)
{
    const char *path = node->conf->state_dir;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(e, ERR_CONFIG, "make the state directory %s", path);
    return open_dir(path, &node->state_dirfd, e);
}

int
node_open(const struct conf *conf, struct node **ret_node, struct err *e)
{
    struct timespec now;
    struct node *node = xcalloc(1, sizeof(*node));
    node->conf = conf;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    node->opened_ns = attrs_ns(&now);
    node->state_dirfd = -1;
    node->stores = xcalloc(conf->store_count, sizeof(*node->stores));
    for (size_t i = 0; i < conf->store_count; i++)
        node->stores[i].root_fd = -1;
    node->store_count = conf->store_count;
    int rc = open_state_dir(node, e);
    for (size_t i = 0; rc == 0 && i < conf->store_count; i++) {
        if (store_kind_is_spool(conf->stores[i].kind))
            rc = make_spool(conf, &conf->stores[i], e);
        if (rc == 0)
            rc = store_open(&node->stores[i], &conf->stores[i], (uint16_t)i, e);
        if (rc == 0)
            rc = retain_store(&node->stores[i], e);
    }
    struct state_opts opts = { .journal_max = conf->journal_max };
    if (rc < 0 || state_open(node->state_dirfd, &opts, &node->state, e) < 0) {
        node_free(&node);
        return -1;
    }
    *ret_node = node;
    return 0;
}

void
node_free(struct node **node)
{
    if (*node == NULL)
        return;
    state_free(&(*node)->state);
    for (size_t i = 0; i < (*node)->store_count; i++) {
        retain_free(&(*node)->stores[i].retain);
        file_closep(&(*node)->stores[i].root_fd);
    }
    file_closep(&(*node)->state_dirfd);
    free((*node)->stores);
    free(*node);
    *node = NULL;
}

static int
check_root(struct node_store *s, struct state_txn *txn, struct err *e)
{
    uint64_t root = state_root(txn, s->number);
    struct state_dir row;
    struct look look;
    if (root == 0)
        return 0;
    if (state_dir_get(txn, root, &row, e) <= 0 || look_at(s->root_fd, "", &look, e) < 0)
        return err_wrap(e, "check the root of store %s", s->conf->name);
    uint8_t handle[WATCH_HANDLE_MAX];
    if (span_equal(row.handle, node_handle(s, attrs_handle_span(&look.handle), handle)))
        return 0;
    return err_set(
        e, ERR_REFUSED,
        "store %s: %s is not the directory that was replicated so far; is its filesystem "
        "mounted? If it was replaced on purpose, remove the state directory and promote or "
        "resync this node",
        s->conf->name, s->conf->path);
}

int
node_check_roots(struct node *node, struct state_txn *txn, struct err *e)
{
    for (size_t i = 0; i < node->store_count; i++) {
        if (check_root(&node->stores[i], txn, e) < 0)
            return -1;
    }
    return 0;
}

struct span
node_handle(const struct node_store *store, struct span handle, uint8_t ret_bytes[WATCH_HANDLE_MAX])
{
    memcpy(ret_bytes, store->fsid, WATCH_FSID_SIZE);
    memcpy(ret_bytes + WATCH_FSID_SIZE, handle.ptr, handle.len);
    return span_of(ret_bytes, WATCH_FSID_SIZE + handle.len);
}

int
node_root_row(const struct node *node, struct state_dir *dir, struct state_txn *txn, struct err *e)
{
    const struct node_store *s = &node->stores[dir->store];
    struct look look;
    if (look_at(s->root_fd, "", &look, e) < 0)
        return err_wrap(e, "store %s", s->conf->name);
    uint8_t handle[WATCH_HANDLE_MAX];
    if (listing_dir_xattrs(s->root_fd, &dir->xattrs, e) < 0)
        return err_wrap(e, "store %s", s->conf->name);
    dir->attr = look.attr;
    dir->handle = node_handle(s, attrs_handle_span(&look.handle), handle);
    return state_dir_put(txn, dir, e);
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void
node_boot_id(uint8_t ret_id[16])
{
    memset(ret_id, 0, 16);
    _cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    char text[64];
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
    size_t nibble = 0;
    for (ssize_t i = 0; i < len && nibble < 32; i++) {
        int digit = hex_digit(text[i]);
        if (digit >= 0) {
            ret_id[nibble / 2] = (uint8_t)(ret_id[nibble / 2] << 4 | digit);
            nibble++;
        }
    }
}

/* From the line of counters of the block device its seventh: sectors written. The number of writes
 * will not do: a sync that had nothing to write counts as one on some devices. */
static bool
device_evidence(uint64_t device, struct buf *out)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(device), minor(device));
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char line[512];
    ssize_t len = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    if (len <= 0)
        return false;
    line[len] = '\0';
    unsigned long long sectors;
    if (sscanf(line, "%*u %*u %*u %*u %*u %*u %llu", &sectors) != 1)
        return false;
    buf_add_le64(out, device);
    buf_add_le64(out, sectors);
    return true;
}

bool
node_evidence(const struct node *node, struct buf *ret_evidence)
{
    buf_reset(ret_evidence);
    for (size_t i = 0; i < node->store_count; i++) {
        if (!device_evidence(node->stores[i].device, ret_evidence))
            return false;
    }
    return true;
}

int
node_sync(const struct node *node, struct err *e)
{
    for (size_t i = 0; i < node->store_count; i++) {
        if (file_sync_fs(node->stores[i].root_fd, e) < 0)
            return -1;
    }
    return 0;
}

int
node_evidence_save(const struct node *node, struct err *e)
{
    _cleanup_buf_ struct buf evidence = { 0 };
    if (node_sync(node, e) < 0) /* nothing of the past may be written later */
        return -1;
    if (!node_evidence(node, &evidence))
        return 0;
    _cleanup_close_ int dirfd = -1;
    if (open_dir(node->conf->run_dir, &dirfd, e) < 0)
        return -1;
    return file_replace(dirfd, EVIDENCE_FILE, buf_span(&evidence), 0600, e);
}

void
node_evidence_drop(const struct node *node)
{
    _cleanup_close_ int dirfd = open(node->conf->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd >= 0)
        unlinkat(dirfd, EVIDENCE_FILE, 0);
}

bool
node_evidence_holds(const struct node *node)
{
    _cleanup_close_ int dirfd = open(node->conf->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_free_ char *then = NULL;
    size_t len;
    if (dirfd < 0 || file_read(dirfd, EVIDENCE_FILE, 4096, &then, &len, NULL) <= 0)
        return false;
    unlinkat(dirfd, EVIDENCE_FILE, 0);
    _cleanup_buf_ struct buf now = { 0 };
    return node_sync(node, NULL) == 0 && node_evidence(node, &now) &&
           span_equal(buf_span(&now), span_of(then, len));
}

static int
probe_store(const struct node_store *s, struct err *e)
{
    _cleanup_close_ int fd = file_open_beneath(s->root_fd, span_str(STORE_PRIVATE_DIR),
                                               O_TMPFILE | O_RDWR, 0600, e);
    if (fd < 0)
        return -1;
    int rc = posix_fallocate(fd, 0, PROBE_SIZE);
    return rc == 0 ? 0 : err_errnum(e, file_err_code(rc, ERR_IO), rc, "store %s", s->conf->name);
}

int
node_probe(const struct node *node, struct err *e)
{
    for (size_t i = 0; i < node->store_count; i++) {
        if (probe_store(&node->stores[i], e) < 0)
            return -1;
    }
    return 0;
}
