/* ldapsync.h - the controls and messages of LDAP content synchronization (RFC 4533). Pure: the BER
 * of one value in, what it says out.
 *
 * Values come from a server over the network: a length beyond the value, an id that has not 16
 * bytes, a number that means nothing and bytes behind the end are ERR_PROTOCOL. */
#ifndef MAILTWIN_LDAPSYNC_H
#define MAILTWIN_LDAPSYNC_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define LDAPSYNC_UUID_SIZE  16
#define LDAPSYNC_UUID_TEXT  36 /* 8-4-4-4-12, without the NUL */
#define LDAPSYNC_COOKIE_MAX 8192
#define LDAPSYNC_IDS_MAX    (1u << 20) /* entries named in one message */

enum ldapsync_state {
    LDAPSYNC_PRESENT = 0,
    LDAPSYNC_ADD = 1,
    LDAPSYNC_MODIFY = 2,
    LDAPSYNC_DELETE = 3
};

/* Sync State: what an entry that comes with it means. Spans point into the value. */
struct ldapsync_entry {
    enum ldapsync_state state;
    uint8_t uuid[LDAPSYNC_UUID_SIZE];
    struct span cookie; /* empty: none came */
};

/* Sync Done: the end of a search that does not stay open. */
struct ldapsync_done {
    struct span cookie;
    bool refresh_deletes; /* what went was named; else what was not named is gone */
};

enum ldapsync_info_kind {
    LDAPSYNC_NEW_COOKIE,
    LDAPSYNC_REFRESH_DELETE,  /* the phase ends that named what went */
    LDAPSYNC_REFRESH_PRESENT, /* the phase ends that named what is there */
    LDAPSYNC_ID_SET
};

struct ldapsync_info {
    enum ldapsync_info_kind kind;
    struct span cookie;
    bool refresh_done;    /* of the two ends: changes follow as they happen */
    bool refresh_deletes; /* of an id set: the ids went; else they are there */
    size_t id_count;
};

int ldapsync_entry_read(struct span value, struct ldapsync_entry *ret_entry,
                        struct err *e) _must_check_;
int ldapsync_done_read(struct span value, struct ldapsync_done *ret_done,
                       struct err *e) _must_check_;
/* ret_ids: the ids of a set, 16 bytes each, one behind the other. */
int ldapsync_info_read(struct span value, struct ldapsync_info *ret_info, struct buf *ret_ids,
                       struct err *e) _must_check_;
/* The value of the Sync Request control; an empty cookie asks for everything. */
void ldapsync_request_write(bool persist, struct span cookie, struct buf *out);

/* --- what OpenLDAP puts into cookies: "rid=…,sid=…,csn=CSN;CSN" --- */

/* Does the cookie say that all up to this change number was sent? Numbers count for their own
 * server (the third part between '#'). */
bool ldapsync_covers(struct span cookie, struct span csn);
/* The time a change number begins with, in seconds since 1970; false: it is none. */
bool ldapsync_csn_time(struct span csn, double *ret_seconds);

/* --- ids as text --- */

void ldapsync_uuid_write(const uint8_t uuid[LDAPSYNC_UUID_SIZE],
                         char ret_text[LDAPSYNC_UUID_TEXT + 1]);
/* false: it is none, in small letters. */
bool ldapsync_uuid_read(struct span text, uint8_t ret_uuid[LDAPSYNC_UUID_SIZE]);

#endif
