/* Any bytes from a server are a message of RFC 4533 or refused; what is read lies within them, and
 * the text of an entry is read into exactly that text again. */
#include "lib/store/ldapsync.h"
#include "lib/store/dn.h"
#include "lib/store/ldif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_inside(struct span part, struct span all)
{
    ASSERT(part.len <= LDAPSYNC_COOKIE_MAX);
    ASSERT(part.len == 0 || (part.ptr >= all.ptr && part.ptr + part.len <= all.ptr + all.len));
    static const char csn[] = "20261122231625.626581Z#000000#001#000000";
    (void)ldapsync_covers(part, span_str(csn));
    double seconds;
    (void)ldapsync_csn_time(part, &seconds);
}

static void
read_messages(struct span all)
{
    _cleanup_buf_ struct buf ids = { 0 };
    struct ldapsync_entry entry;
    struct ldapsync_done done;
    struct ldapsync_info info;
    if (ldapsync_entry_read(all, &entry, NULL) == 0)
        check_inside(entry.cookie, all);
    if (ldapsync_done_read(all, &done, NULL) == 0)
        check_inside(done.cookie, all);
    if (ldapsync_info_read(all, &info, &ids, NULL) == 0) {
        check_inside(info.cookie, all);
        ASSERT(ids.len == info.id_count * LDAPSYNC_UUID_SIZE);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_ldif_ struct ldif_entry entry = { 0 };
    _cleanup_buf_ struct buf text = { 0 };
    struct span all = span_of(data, size);
    read_messages(all);
    if (ldif_read(all, &entry, NULL) < 0)
        return 0;
    ldif_write(&entry, &text);
    ASSERT(span_equal(buf_span(&text), all));
    for (struct span dn = ldif_dn(&entry); dn.len > 0; dn = dn_parent(dn))
        ASSERT(dn_depth(dn) > 0);
    return 0;
}
