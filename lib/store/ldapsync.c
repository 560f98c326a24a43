#include "lib/store/ldapsync.h"

#include <lber.h>
#include <stdlib.h>

#define TAG_COOKIE       ((ber_tag_t)LBER_OCTETSTRING)
#define TAG_BOOLEAN      ((ber_tag_t)LBER_BOOLEAN)
#define TAG_NEW_COOKIE   ((ber_tag_t)0x80)
#define TAG_DELETE_PHASE ((ber_tag_t)0xa1)
#define TAG_PRESENT_DONE ((ber_tag_t)0xa2)
#define TAG_ID_SET       ((ber_tag_t)0xa3)

/* One value being read; ber_scanf() goes no further than its end. It reads a copy, for liblber puts
 * a NUL behind each string that it hands out. */
struct value {
    BerElement *ber;
    struct span span;
    char *copy;
};

static void
value_end(struct value *value)
{
    ber_free(value->ber, 0);
    free(value->copy);
}
#define _cleanup_value_ _cleanup_(value_end)

static struct value
value_of(struct span span)
{
    struct value value = { ber_alloc_t(LBER_USE_DER), span, xcalloc(span.len + 1, 1) };
    ASSERT(value.ber != NULL);
    if (span.len > 0)
        memcpy(value.copy, span.ptr, span.len);
    ber_init2(value.ber, &(struct berval){ span.len, value.copy }, LBER_USE_DER);
    return value;
}

static int
wrong(struct err *e, const char *what)
{
    return err_set(e, ERR_PROTOCOL, "the server's %s is not as RFC 4533 has it", what);
}

/* The end of what was entered with '{' is the end of the value as well. */
static bool
at_end(struct value *value)
{
    ber_len_t left = 0;
    return ber_get_option(value->ber, LBER_OPT_REMAINING_BYTES, &left) == LBER_OPT_SUCCESS &&
           left == 0;
}

static bool
next_is(struct value *value, ber_tag_t tag)
{
    ber_len_t len;
    return !at_end(value) && ber_peek_tag(value->ber, &len) == tag;
}

/* A constructed value as a whole: its length is exactly what is left. */
static bool
enter(struct value *value, ber_tag_t tag)
{
    ber_len_t len, left = 0;
    return ber_skip_tag(value->ber, &len) == tag &&
           ber_get_option(value->ber, LBER_OPT_REMAINING_BYTES, &left) == LBER_OPT_SUCCESS &&
           len == left;
}

static bool
read_bytes(struct value *value, size_t max, struct span *ret_span)
{
    struct berval bytes = { 0 };
    if (ber_scanf(value->ber, "m", &bytes) == LBER_ERROR || bytes.bv_len > max)
        return false;
    size_t at = bytes.bv_len == 0 ? 0 : (size_t)(bytes.bv_val - value->copy);
    *ret_span = span_from(value->span, at, bytes.bv_len);
    return true;
}

/* Optional; what is there is no longer than a cookie may be. */
static bool
read_cookie(struct value *value, struct span *ret_cookie)
{
    *ret_cookie = span_of("", 0);
    return !next_is(value, TAG_COOKIE) || read_bytes(value, LDAPSYNC_COOKIE_MAX, ret_cookie);
}

static bool
read_flag(struct value *value, bool def, bool *ret_flag)
{
    ber_int_t flag = def;
    if (next_is(value, TAG_BOOLEAN) && ber_scanf(value->ber, "b", &flag) == LBER_ERROR)
        return false;
    *ret_flag = flag != 0;
    return true;
}

static bool
read_state(struct value *value, struct ldapsync_entry *ret_entry)
{
    ber_int_t state = -1;
    struct span uuid;
    if (!enter(value, LBER_SEQUENCE) || ber_scanf(value->ber, "e", &state) == LBER_ERROR ||
        state < LDAPSYNC_PRESENT || state > LDAPSYNC_DELETE)
        return false;
    ret_entry->state = (enum ldapsync_state)state;
    if (!next_is(value, TAG_COOKIE) || !read_bytes(value, LDAPSYNC_UUID_SIZE, &uuid) ||
        uuid.len != LDAPSYNC_UUID_SIZE)
        return false;
    memcpy(ret_entry->uuid, uuid.ptr, uuid.len);
    return read_cookie(value, &ret_entry->cookie) && at_end(value);
}

int
ldapsync_entry_read(struct span value, struct ldapsync_entry *ret_entry, struct err *e)
{
    _cleanup_value_ struct value v = value_of(value);
    return read_state(&v, ret_entry) ? 0 : wrong(e, "Sync State control");
}

int
ldapsync_done_read(struct span value, struct ldapsync_done *ret_done, struct err *e)
{
    _cleanup_value_ struct value v = value_of(value);
    if (!enter(&v, LBER_SEQUENCE) || !read_cookie(&v, &ret_done->cookie) ||
        !read_flag(&v, false, &ret_done->refresh_deletes) || !at_end(&v))
        return wrong(e, "Sync Done control");
    return 0;
}

static bool
read_phase_end(struct value *value, ber_tag_t tag, struct ldapsync_info *ret_info)
{
    return enter(value, tag) && read_cookie(value, &ret_info->cookie) &&
           read_flag(value, true, &ret_info->refresh_done) && at_end(value);
}

static bool
read_id_set(struct value *value, struct ldapsync_info *ret_info, struct buf *ret_ids)
{
    struct span uuid;
    if (!enter(value, TAG_ID_SET) || !read_cookie(value, &ret_info->cookie) ||
        !read_flag(value, false, &ret_info->refresh_deletes) || !enter(value, LBER_SET))
        return false;
    for (; !at_end(value); ret_info->id_count++) {
        if (ret_info->id_count == LDAPSYNC_IDS_MAX || !next_is(value, TAG_COOKIE) ||
            !read_bytes(value, LDAPSYNC_UUID_SIZE, &uuid) || uuid.len != LDAPSYNC_UUID_SIZE)
            return false;
        buf_add(ret_ids, uuid.ptr, uuid.len);
    }
    return true;
}

int
ldapsync_info_read(struct span value, struct ldapsync_info *ret_info, struct buf *ret_ids,
                   struct err *e)
{
    _cleanup_value_ struct value v = value_of(value);
    ber_len_t len;
    bool good = false;
    *ret_info = (struct ldapsync_info){ .cookie = span_of("", 0) };
    buf_reset(ret_ids);
    ber_tag_t tag = at_end(&v) ? LBER_ERROR : ber_peek_tag(v.ber, &len);
    if (tag == TAG_NEW_COOKIE) {
        ret_info->kind = LDAPSYNC_NEW_COOKIE;
        good = read_bytes(&v, LDAPSYNC_COOKIE_MAX, &ret_info->cookie) && at_end(&v);
    } else if (tag == TAG_DELETE_PHASE || tag == TAG_PRESENT_DONE) {
        ret_info->kind = tag == TAG_PRESENT_DONE ? LDAPSYNC_REFRESH_PRESENT
                                                 : LDAPSYNC_REFRESH_DELETE;
        good = read_phase_end(&v, tag, ret_info);
    } else if (tag == TAG_ID_SET) {
        ret_info->kind = LDAPSYNC_ID_SET;
        good = read_id_set(&v, ret_info, ret_ids);
    }
    return good ? 0 : wrong(e, "Sync Info message");
}

/* --- the request: short enough to be written by hand --- */

static void
add_head(struct buf *out, uint8_t tag, size_t len)
{
    buf_add_u8(out, tag);
    if (len >= 0x100) {
        buf_add_u8(out, 0x82);
        buf_add_u8(out, (uint8_t)(len >> 8));
    } else if (len >= 0x80) {
        buf_add_u8(out, 0x81);
    }
    buf_add_u8(out, (uint8_t)len);
}

void
ldapsync_request_write(bool persist, struct span cookie, struct buf *out)
{
    _cleanup_buf_ struct buf body = { 0 };
    const uint8_t mode[] = { LBER_ENUMERATED, 1, persist ? 3 : 1 };
    ASSERT(cookie.len <= LDAPSYNC_COOKIE_MAX);
    buf_add(&body, mode, sizeof(mode));
    if (cookie.len > 0) {
        add_head(&body, LBER_OCTETSTRING, cookie.len);
        buf_add(&body, cookie.ptr, cookie.len);
    }
    add_head(out, (uint8_t)LBER_SEQUENCE, body.len);
    buf_add(out, body.ptr, body.len);
}
