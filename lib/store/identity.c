#include "lib/store/identity.h"

#include <stdio.h>
#include <string.h>

#define MODSEQ_BITS 20
/* A second between the two sequences is room for 2^20 changes, and has to last for so many. */
#define SEED_HOLDS_FOR 31
#define GIVEN_A_SECOND 4096 /* in one folder; more than any server can sync */
#define GAPS_MAX       16
#define GAP_MAX        (UINT32_C(1) << 30)

/* Promotions whose changes to the lists of UIDs may not all be among the records up to the tail.
 * The first of a history raised nothing. */
static uint64_t
promotions_in_doubt(const struct identity_facts *facts)
{
    uint64_t count = MIN(facts->unseen, (uint64_t)GAPS_MAX);
    for (size_t at = 8; at + 8 <= facts->first.len; at += 8) {
        uint64_t first = get_le64(facts->first.ptr + at);
        count += facts->tail < first || facts->tail - first < facts->dirs;
    }
    return count;
}

static uint64_t
gaps_of(const struct identity_facts *facts)
{
    return MIN(promotions_in_doubt(facts) + 1, (uint64_t)GAPS_MAX);
}

uint32_t
identity_gap(const struct identity_facts *facts)
{
    uint64_t one = MAX((uint64_t)facts->gap, MIN(facts->lag, (uint64_t)GAP_MAX) * 2);
    return (uint32_t)MIN(one * gaps_of(facts), (uint64_t)GAP_MAX);
}

uint32_t
identity_validity_gap(const struct identity_facts *facts)
{
    return (uint32_t)(IDENTITY_VALIDITY_GAP * gaps_of(facts));
}

uint32_t
identity_gap_again(uint32_t gap)
{
    return MAX(gap, (uint32_t)MIN((uint64_t)gap * 2, (uint64_t)GAP_MAX));
}

uint64_t
identity_clock(uint64_t now_s, uint64_t newest_ns)
{
    return MAX(now_s, newest_ns / 1000000000 + 1);
}

uint64_t
identity_modseq(uint64_t now_s, uint64_t newest_ns)
{
    return identity_clock(now_s, newest_ns) << MODSEQ_BITS;
}

uint64_t
identity_modseq_again(uint64_t modseq, uint64_t clock_s)
{
    uint64_t since_s = modseq >> MODSEQ_BITS;
    return modseq + (clock_s - MIN(clock_s, since_s) + 1) * GIVEN_A_SECOND;
}

bool
identity_seed_holds(uint64_t since_s, uint64_t base_s, uint64_t now_s)
{
    return base_s > since_s && now_s >= base_s &&
           (now_s - base_s) / SEED_HOLDS_FOR < base_s - since_s;
}

void
identity_seed(uint64_t modseq, uint32_t stamp, uint8_t ret_seed[IDENTITY_SEED_SIZE])
{
    enum {
        MAJOR = 0,
        MINOR = 1,
        SIZE = 2,
        INDEX_ID = 4,
        FILE_SEQ = 8,
        CREATED = 20,
        MODSEQ = 24,
        COMPAT = 32,
        LITTLE_ENDIAN_FILE = 1
    };
    memset(ret_seed, 0, IDENTITY_SEED_SIZE);
    ret_seed[MAJOR] = 1;
    ret_seed[MINOR] = 3;
    put_le16(ret_seed + SIZE, IDENTITY_SEED_SIZE);
    put_le32(ret_seed + INDEX_ID, MAX(stamp, UINT32_C(1)));
    put_le32(ret_seed + FILE_SEQ, 1);
    put_le32(ret_seed + CREATED, stamp);
    put_le64(ret_seed + MODSEQ, modseq);
    ret_seed[COMPAT] = LITTLE_ENDIAN_FILE;
}

bool
identity_is_stale(const char *name)
{
    static const char *const families[] = { "dovecot.index", "dovecot.list.index" };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        size_t len = strlen(families[i]);
        if (strncmp(name, families[i], len) == 0 && (name[len] == '\0' || name[len] == '.'))
            return true;
    }
    return strcmp(name, "maildirsize") == 0;
}

static bool
read_hex(struct span text, uint32_t *ret_value)
{
    static const char digits[] = "0123456789abcdef";
    *ret_value = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *digit = text.ptr[i] == '\0' ? NULL : strchr(digits, text.ptr[i]);
        if (digit == NULL)
            return false;
        *ret_value = *ret_value << 4 | (uint32_t)(digit - digits);
    }
    return text.len == IDENTITY_VALIDITY_SIZE;
}

uint32_t
identity_marker(struct span name)
{
    static const char prefix[] = IDENTITY_VALIDITY_FILE ".";
    size_t len = sizeof(prefix) - 1;
    uint32_t value;
    if (name.len <= len || memcmp(name.ptr, prefix, len) != 0)
        return 0;
    return read_hex(span_from(name, len, name.len - len), &value) ? value : 0;
}

uint32_t
identity_validity(struct span text)
{
    uint32_t value;
    struct span number = span_from(text, 0, MIN(text.len, (size_t)IDENTITY_VALIDITY_SIZE));
    return read_hex(number, &value) ? value : 0;
}

int
identity_next_validity(uint32_t file, uint32_t marker, uint32_t gap, uint32_t *ret_value,
                       struct err *e)
{
    uint32_t last = MAX(file, marker);
    if (last > UINT32_MAX - gap)
        return err_set(e, ERR_REFUSED, "a UIDVALIDITY %u behind %u is more than there is", gap,
                       last);
    *ret_value = last + gap;
    return 0;
}

/* --- numbers in text --- */

/* *at: behind the number. */
static bool
take_number(struct span line, size_t *at, uint64_t *ret_number)
{
    size_t begin = *at;
    *ret_number = 0;
    while (*at < line.len && line.ptr[*at] >= '0' && line.ptr[*at] <= '9' &&
           *ret_number <= UINT32_MAX)
        *ret_number = *ret_number * 10 + (uint64_t)(line.ptr[(*at)++] - '0');
    return *at > begin && *ret_number <= UINT32_MAX;
}

uint32_t
identity_lock_pid(struct span text, const char *host)
{
    uint64_t pid;
    size_t at = 0;
    if (host[0] == '\0' || !take_number(text, &at, &pid) || pid > INT32_MAX || at >= text.len ||
        text.ptr[at] != ':')
        return 0;
    at++;
    return span_equal(span_from(text, at, text.len - at), span_str(host)) ? (uint32_t)pid : 0;
}

/* --- Courier --- */

int
identity_raise_sizes(struct span text, uint32_t gap, struct buf *ret_text, struct err *e)
{
    const uint8_t *end = text.len == 0 ? NULL : memchr(text.ptr, '\n', text.len);
    struct span line = span_from(text, 0, end == NULL ? 0 : (size_t)(end - text.ptr));
    uint64_t version, next;
    size_t at = 1;
    if (line.len == 0 || line.ptr[0] != '/' || !take_number(line, &at, &version) ||
        (version != 2 && version != 3) || at >= line.len || line.ptr[at] != ' ')
        return err_set(e, ERR_CORRUPT, "line 1 of the list of sizes is not \"/3 NEXT ...\"");
    size_t number = ++at;
    if (!take_number(line, &at, &next))
        return err_set(e, ERR_CORRUPT, "line 1 of the list of sizes has no next UID");
    if (next + gap > UINT32_MAX)
        return err_set(e, ERR_REFUSED, "%u UIDs behind %llu are more than there are", gap,
                       (unsigned long long)next);
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)next + gap);
    buf_reset(ret_text);
    buf_add(ret_text, text.ptr, number);
    buf_add(ret_text, digits, (size_t)len);
    buf_add(ret_text, text.ptr + at, text.len - at);
    return 0;
}
