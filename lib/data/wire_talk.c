/* What two nodes tell each other about themselves: HELLO, START, REFUSE, STALL, PING, PONG, BYE. */
#include "lib/data/wire_codec.h"

enum {
    ERR_CODE_MAX = 0
#define ERR(name, exit_status, help) +1
#include "lib/base/errors.def"
#undef ERR
};

static void
put_epochs(const struct wire_epoch *epochs, uint16_t count, struct buf *out)
{
    buf_add_le16(out, count);
    for (size_t i = 0; i < count; i++) {
        buf_add_le64(out, epochs[i].epoch);
        buf_add_le64(out, epochs[i].first_seq);
    }
}

static void
get_epochs(struct reader *in, struct wire_epoch *epochs, uint16_t *ret_count)
{
    *ret_count = reader_le16(in);
    size_t count = MIN(*ret_count, WIRE_EPOCHS_MAX);
    for (size_t i = 0; i < count; i++) {
        epochs[i].epoch = reader_le64(in);
        epochs[i].first_seq = reader_le64(in);
    }
}

static int
check_epochs(const struct wire_epoch *epochs, uint16_t count, struct err *e)
{
    if (wire_check_range(count, 0, WIRE_EPOCHS_MAX, "the number of epochs", e) < 0)
        return -1;
    for (size_t i = 1; i < count; i++) {
        const struct wire_epoch *prev = &epochs[i - 1];
        if (epochs[i].epoch <= prev->epoch || epochs[i].first_seq < prev->first_seq)
            return err_set(e, ERR_PROTOCOL, "the epochs do not rise at place %zu", i);
    }
    return 0;
}

static void
hello_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_hello *hello = &msg->hello;
    buf_add_le16(out, hello->version_min);
    buf_add_le16(out, hello->version_max);
    wire_put_span8(out, hello->cluster);
    wire_put_span8(out, hello->node);
    wire_put_span8(out, hello->follow);
    buf_add_u8(out, hello->role);
    buf_add(out, hello->history, sizeof(hello->history));
    buf_add_le64(out, hello->epoch);
    buf_add_le64(out, hello->tail);
    buf_add_le64(out, hello->oldest);
    buf_add_le64(out, hello->sync_base);
    buf_add_u8(out, hello->accept_sync);
    put_epochs(hello->epochs, hello->epoch_count, out);
    buf_add_le16(out, hello->store_count);
    for (size_t i = 0; i < hello->store_count; i++) {
        wire_put_span8(out, hello->stores[i].name);
        buf_add_u8(out, hello->stores[i].kind);
    }
}

static void
hello_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_hello *hello = &msg->hello;
    hello->version_min = reader_le16(&in->r);
    hello->version_max = reader_le16(&in->r);
    hello->cluster = wire_get_span8(&in->r);
    hello->node = wire_get_span8(&in->r);
    hello->follow = wire_get_span8(&in->r);
    hello->role = reader_u8(&in->r);
    wire_get_copy(&in->r, hello->history, sizeof(hello->history));
    hello->epoch = reader_le64(&in->r);
    hello->tail = reader_le64(&in->r);
    hello->oldest = reader_le64(&in->r);
    hello->sync_base = reader_le64(&in->r);
    hello->accept_sync = reader_u8(&in->r);
    get_epochs(&in->r, hello->epochs, &hello->epoch_count);
    hello->store_count = reader_le16(&in->r);
    size_t count = MIN(hello->store_count, WIRE_STORES_MAX);
    for (size_t i = 0; i < count; i++) {
        hello->stores[i].name = wire_get_span8(&in->r);
        hello->stores[i].kind = reader_u8(&in->r);
    }
}

static int
check_hello_names(const struct wire_hello *hello, struct err *e)
{
    if (wire_check_name(hello->cluster, "cluster", e) < 0)
        return -1;
    if (wire_check_name(hello->node, "node", e) < 0)
        return -1;
    return hello->follow.len == 0 ? 0 : wire_check_name(hello->follow, "follow", e);
}

static int
check_hello_position(const struct wire_hello *hello, struct err *e)
{
    if (hello->oldest > hello->tail && hello->oldest - hello->tail > 1)
        return err_set(e, ERR_PROTOCOL, "oldest lies behind the tail");
    if (check_epochs(hello->epochs, hello->epoch_count, e) < 0)
        return -1;
    if (hello->epoch_count > 0 && hello->epochs[hello->epoch_count - 1].epoch > hello->epoch)
        return err_set(e, ERR_PROTOCOL, "epoch is older than the list of epochs");
    return 0;
}

static int
check_stores(const struct wire_hello *hello, struct err *e)
{
    if (wire_check_range(hello->store_count, 0, WIRE_STORES_MAX, "the number of stores", e) < 0)
        return -1;
    for (size_t i = 0; i < hello->store_count; i++) {
        const struct wire_store *store = &hello->stores[i];
        if (wire_check_name(store->name, "store", e) < 0)
            return -1;
        /* A kind that only the other side knows is no malformed message: the link refuses it. */
        if (wire_check_range(store->kind, 1, UINT8_MAX, "the kind of a store", e) < 0)
            return -1;
        for (size_t j = 0; j < i; j++) {
            if (span_equal(store->name, hello->stores[j].name))
                return err_set(e, ERR_PROTOCOL, "two stores have the same name");
        }
    }
    return 0;
}

static int
hello_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_hello *hello = &msg->hello;
    if (hello->version_min > hello->version_max)
        return err_set(e, ERR_PROTOCOL, "version_min %u is above version_max %u",
                       (unsigned)hello->version_min, (unsigned)hello->version_max);
    if (check_hello_names(hello, e) < 0)
        return -1;
    if (wire_check_range(hello->role, WIRE_ROLE_NONE, WIRE_ROLE_STANDBY, "role", e) < 0)
        return -1;
    if (check_hello_position(hello, e) < 0)
        return -1;
    if (wire_check_range(hello->accept_sync, 0, 1, "accept_sync", e) < 0)
        return -1;
    return check_stores(hello, e);
}

const struct wire_codec wire_hello_codec = { hello_put, hello_get, hello_check };

static void
start_put(const struct wire_msg *msg, struct buf *out)
{
    const struct wire_start *start = &msg->start;
    buf_add_u8(out, start->mode);
    buf_add(out, start->history, sizeof(start->history));
    buf_add_le64(out, start->epoch);
    buf_add_le64(out, start->from);
    buf_add_le64(out, start->sync_base);
    put_epochs(start->epochs, start->epoch_count, out);
}

static void
start_get(struct wire_in *in, struct wire_msg *msg)
{
    struct wire_start *start = &msg->start;
    start->mode = reader_u8(&in->r);
    wire_get_copy(&in->r, start->history, sizeof(start->history));
    start->epoch = reader_le64(&in->r);
    start->from = reader_le64(&in->r);
    start->sync_base = reader_le64(&in->r);
    get_epochs(&in->r, start->epochs, &start->epoch_count);
}

static int
start_check(const struct wire_msg *msg, struct err *e)
{
    if (wire_check_range(msg->start.mode, WIRE_MODE_RESUME, WIRE_MODE_SYNC, "mode", e) < 0)
        return -1;
    return check_epochs(msg->start.epochs, msg->start.epoch_count, e);
}

const struct wire_codec wire_start_codec = { start_put, start_get, start_check };

static void
refuse_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_u8(out, msg->refuse.code);
    buf_add_le64(out, msg->refuse.epoch);
    buf_add_le64(out, msg->refuse.fork);
    wire_put_span8(out, msg->refuse.node);
    wire_put_text(out, msg->refuse.text);
}

static void
refuse_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->refuse.code = reader_u8(&in->r);
    msg->refuse.epoch = reader_le64(&in->r);
    msg->refuse.fork = reader_le64(&in->r);
    msg->refuse.node = wire_get_span8(&in->r);
    msg->refuse.text = wire_get_text(in);
}

static int
refuse_check(const struct wire_msg *msg, struct err *e)
{
    const struct wire_refuse *refuse = &msg->refuse;
    if (wire_check_range(refuse->code, WIRE_REFUSE_VERSION, WIRE_REFUSE_INTERNAL, "code", e) < 0)
        return -1;
    return refuse->node.len == 0 ? 0 : wire_check_name(refuse->node, "node", e);
}

const struct wire_codec wire_refuse_codec = { refuse_put, refuse_get, refuse_check };

static void
stall_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le16(out, msg->stall.code);
    wire_put_text(out, msg->stall.text);
}

static void
stall_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->stall.code = reader_le16(&in->r);
    msg->stall.text = wire_get_text(in);
}

static int
stall_check(const struct wire_msg *msg, struct err *e)
{
    return wire_check_range(msg->stall.code, ERR_NONE, ERR_CODE_MAX, "code", e);
}

const struct wire_codec wire_stall_codec = { stall_put, stall_get, stall_check };

static void
ping_put(const struct wire_msg *msg, struct buf *out)
{
    buf_add_le64(out, msg->ping.stamp_ns);
}

static void
ping_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->ping.stamp_ns = reader_le64(&in->r);
}

const struct wire_codec wire_ping_codec = { ping_put, ping_get, NULL };

static void
bye_put(const struct wire_msg *msg, struct buf *out)
{
    wire_put_text(out, msg->bye.text);
}

static void
bye_get(struct wire_in *in, struct wire_msg *msg)
{
    msg->bye.text = wire_get_text(in);
}

const struct wire_codec wire_bye_codec = { bye_put, bye_get, NULL };
