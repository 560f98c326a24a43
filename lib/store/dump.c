#include "lib/store/dump.h"

#include "lib/base/crc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SUFFIX ".dump"
#define FORMAT 1

enum {
    OFF_MAGIC = 0,
    OFF_FORMAT = 8,
    OFF_SIZE = 16,
    OFF_BEGAN = 24,
    OFF_ENDED = 32,
    OFF_EPOCH = 40,
    OFF_NUMBER = 48,
    OFF_HASH = 56,
    OFF_CRC = 92,
};

static const char magic[8] = "MTWDUMP\n";

/* A number of that many digits (0: as many as there are, no zero in front). */
static bool
take_number(struct span *rest, size_t digits, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t len = 0;
    for (; len < rest->len && (digits == 0 || len < digits); len++) {
        uint8_t c = rest->ptr[len];
        if (c < '0' || c > '9')
            break;
        if (number > (UINT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(c - '0');
    }
    if (len == 0 || (digits > 0 && len != digits) ||
        (digits == 0 && len > 1 && rest->ptr[0] == '0'))
        return false;
    *rest = span_from(*rest, len, rest->len - len);
    *ret_number = number;
    return true;
}

static bool
take_char(struct span *rest, char c)
{
    if (rest->len == 0 || rest->ptr[0] != (uint8_t)c)
        return false;
    *rest = span_from(*rest, 1, rest->len - 1);
    return true;
}

static bool
take_time(struct span *rest, uint64_t *ret_time)
{
    uint64_t year, month, day, hour, minute, second;
    if (!take_number(rest, 4, &year) || !take_number(rest, 2, &month) ||
        !take_number(rest, 2, &day) || !take_char(rest, 'T') || !take_number(rest, 2, &hour) ||
        !take_number(rest, 2, &minute) || !take_number(rest, 2, &second) || !take_char(rest, 'Z'))
        return false;
    struct tm tm = { .tm_year = (int)year - 1900,
                     .tm_mon = (int)month - 1,
                     .tm_mday = (int)day,
                     .tm_hour = (int)hour,
                     .tm_min = (int)minute,
                     .tm_sec = (int)second };
    time_t t = timegm(&tm);
    *ret_time = (uint64_t)t;
    return t >= 0;
}

/* Only what dump_name_write() writes: one version has one name. */
bool
dump_name_parse(struct span name, struct dump_version *ret_version)
{
    struct span rest = name;
    struct dump_version v;
    char again[DUMP_NAME_SIZE];
    if (!take_time(&rest, &v.time_s) || !take_char(&rest, '-') ||
        !take_number(&rest, 0, &v.epoch) || !take_char(&rest, '-') ||
        !take_number(&rest, 0, &v.number) || !span_equal(rest, span_str(SUFFIX)))
        return false;
    dump_name_write(&v, again);
    if (!span_equal(name, span_str(again)))
        return false;
    *ret_version = v;
    return true;
}

void
dump_name_write(const struct dump_version *version, char ret_name[DUMP_NAME_SIZE])
{
    struct tm tm = { 0 };
    char when[32];
    time_t t = (time_t)MIN(version->time_s, UINT64_C(253402300799)); /* the year 9999 */
    gmtime_r(&t, &tm);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
    snprintf(ret_name, DUMP_NAME_SIZE, "%.16s-%llu-%llu" SUFFIX, when,
             (unsigned long long)version->epoch, (unsigned long long)version->number);
}

int
dump_compare(const struct dump_version *a, const struct dump_version *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    return a->number == b->number ? 0 : a->number < b->number ? -1 : 1;
}

void
dump_trailer_encode(const struct dump_trailer *trailer, uint8_t ret_bytes[DUMP_TRAILER_SIZE])
{
    memset(ret_bytes, 0, DUMP_TRAILER_SIZE);
    memcpy(ret_bytes + OFF_MAGIC, magic, sizeof(magic));
    put_le32(ret_bytes + OFF_FORMAT, FORMAT);
    put_le64(ret_bytes + OFF_SIZE, trailer->size);
    put_le64(ret_bytes + OFF_BEGAN, trailer->began_ms);
    put_le64(ret_bytes + OFF_ENDED, trailer->ended_ms);
    put_le64(ret_bytes + OFF_EPOCH, trailer->epoch);
    put_le64(ret_bytes + OFF_NUMBER, trailer->number);
    memcpy(ret_bytes + OFF_HASH, trailer->hash, DUMP_HASH_SIZE);
    put_le32(ret_bytes + OFF_CRC, crc32c(span_of(ret_bytes, OFF_CRC)));
}

int
dump_trailer_decode(struct span bytes, uint64_t file_size, struct dump_trailer *ret_trailer,
                    struct err *e)
{
    const uint8_t *p = bytes.ptr;
    if (bytes.len != DUMP_TRAILER_SIZE || file_size < DUMP_TRAILER_SIZE)
        return err_set(e, ERR_CORRUPT, "it is too short for a dump");
    if (memcmp(p + OFF_MAGIC, magic, sizeof(magic)) != 0)
        return err_set(e, ERR_CORRUPT, "it does not end as a dump does");
    if (get_le32(p + OFF_CRC) != crc32c(span_of(p, OFF_CRC)))
        return err_set(e, ERR_CORRUPT, "the checksum of its trailer is wrong");
    if (get_le32(p + OFF_FORMAT) != FORMAT)
        return err_set(e, ERR_CORRUPT, "its format is %u, this version knows %d",
                       get_le32(p + OFF_FORMAT), FORMAT);
    if (get_le64(p + OFF_SIZE) != file_size - DUMP_TRAILER_SIZE)
        return err_set(e, ERR_CORRUPT, "it has %llu bytes, its trailer says %llu",
                       (unsigned long long)(file_size - DUMP_TRAILER_SIZE),
                       (unsigned long long)get_le64(p + OFF_SIZE));
    *ret_trailer = (struct dump_trailer){
        .size = get_le64(p + OFF_SIZE),
        .began_ms = get_le64(p + OFF_BEGAN),
        .ended_ms = get_le64(p + OFF_ENDED),
        .epoch = get_le64(p + OFF_EPOCH),
        .number = get_le64(p + OFF_NUMBER),
    };
    memcpy(ret_trailer->hash, p + OFF_HASH, DUMP_HASH_SIZE);
    return 0;
}

/* Whoever made a version, in an epoch of his own, had the program's data of all before it. */
static bool
newest_is_own(const struct dump_facts *f)
{
    return f->made_any && dump_compare(&f->newest, &f->made) <= 0;
}

bool
dump_may_run(const struct dump_facts *facts)
{
    return !facts->any || newest_is_own(facts) || facts->newest.epoch == facts->epoch ||
           facts->restored_epoch == facts->epoch;
}

bool
dump_must_restore(const struct dump_facts *facts)
{
    return facts->any && !newest_is_own(facts) && facts->restored_epoch != facts->epoch;
}
