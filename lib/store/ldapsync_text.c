/* ldapsync_text.c - ids and change numbers as OpenLDAP writes them. */
#include "lib/store/ldapsync.h"

#include <stdlib.h>

#define CSN_KEY       "csn="
#define CSN_TIME_LEN  14 /* 20261122231622 */
#define DAYS_TO_1970  719468
#define DAYS_OF_ERA   146097
#define SECONDS_A_DAY 86400.0

/* Cuts off what stands before the next `end`. */
static struct span
take_until(struct span *rest, char end)
{
    const uint8_t *at = rest->len == 0 ? NULL : memchr(rest->ptr, end, rest->len);
    size_t len = at == NULL ? rest->len : (size_t)(at - rest->ptr);
    struct span taken = span_from(*rest, 0, len);
    *rest = at == NULL ? span_from(*rest, rest->len, 0)
                       : span_from(*rest, len + 1, rest->len - len - 1);
    return taken;
}

/* The number of the server that gave out the change number; empty: it is none. */
static struct span
server_of(struct span csn)
{
    take_until(&csn, '#');
    take_until(&csn, '#');
    return take_until(&csn, '#');
}

static bool
one_covers(struct span sent, struct span csn)
{
    struct span server = server_of(csn);
    return server.len > 0 && span_equal(server_of(sent), server) && span_compare(sent, csn) >= 0;
}

bool
ldapsync_covers(struct span cookie, struct span csn)
{
    while (cookie.len > 0) {
        struct span part = take_until(&cookie, ',');
        if (part.len < sizeof(CSN_KEY) - 1 || memcmp(part.ptr, CSN_KEY, sizeof(CSN_KEY) - 1) != 0)
            continue;
        part = span_from(part, sizeof(CSN_KEY) - 1, part.len - (sizeof(CSN_KEY) - 1));
        while (part.len > 0)
            if (one_covers(take_until(&part, ';'), csn))
                return true;
    }
    return false;
}

static int
number_at(struct span csn, size_t at, size_t len)
{
    int number = 0;
    for (size_t i = at; i < at + len; i++)
        number = number * 10 + (csn.ptr[i] - '0');
    return number;
}

/* Howard Hinnant's days_from_civil: no time zone, no leap second. */
static int
days_since_1970(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400;
    int year_of_era = year - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_OF_ERA + day_of_era - DAYS_TO_1970;
}

bool
ldapsync_csn_time(struct span csn, double *ret_seconds)
{
    if (csn.len < CSN_TIME_LEN)
        return false;
    for (size_t i = 0; i < CSN_TIME_LEN; i++)
        if (csn.ptr[i] < '0' || csn.ptr[i] > '9')
            return false;
    double fraction = 0, unit = 0.1;
    for (size_t i = CSN_TIME_LEN + 1; i < csn.len && csn.ptr[CSN_TIME_LEN] == '.'; i++) {
        if (csn.ptr[i] < '0' || csn.ptr[i] > '9')
            break;
        fraction += unit * (csn.ptr[i] - '0');
        unit /= 10;
    }
    int days = days_since_1970(number_at(csn, 0, 4), number_at(csn, 4, 2), number_at(csn, 6, 2));
    *ret_seconds = days * SECONDS_A_DAY + number_at(csn, 8, 2) * 3600.0 +
                   number_at(csn, 10, 2) * 60.0 + number_at(csn, 12, 2) + fraction;
    return true;
}

/* --- ids --- */

static bool
dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void
ldapsync_uuid_write(const uint8_t uuid[LDAPSYNC_UUID_SIZE], char ret_text[LDAPSYNC_UUID_TEXT + 1])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < LDAPSYNC_UUID_SIZE; i++) {
        if (dash_before(i))
            *ret_text++ = '-';
        *ret_text++ = hex[uuid[i] >> 4];
        *ret_text++ = hex[uuid[i] & 15];
    }
    *ret_text = '\0';
}

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
ldapsync_uuid_read(struct span text, uint8_t ret_uuid[LDAPSYNC_UUID_SIZE])
{
    if (text.len != LDAPSYNC_UUID_TEXT)
        return false;
    const uint8_t *at = text.ptr;
    for (size_t i = 0; i < LDAPSYNC_UUID_SIZE; i++, at += 2) {
        if (dash_before(i) && *at++ != '-')
            return false;
        int high = hex_digit(at[0]);
        int low = hex_digit(at[1]);
        if (high < 0 || low < 0)
            return false;
        ret_uuid[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
