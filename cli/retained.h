/* retained.h - what the retained command finds: rows of what a filter fits, newest first. */
#ifndef MAILTWIN_CLI_RETAINED_H
#define MAILTWIN_CLI_RETAINED_H

#include "cli/line.h"
#include "lib/store/retained_find.h"

struct retained_row {
    unsigned store; /* in the configuration */
    enum retained_why why;
    uint64_t id, time_ms, seq, epoch, size;
    int64_t mtime_ns;
    uint32_t mode, uid, gid;
    bool last;    /* given behind the others: it names them */
    char *object; /* as the daemon wants it: "BUCKET/NAME/MEMBER", escaped */
    char *path;   /* escaped likewise */
    char *key;    /* the same for all versions of a message, whatever its flags; else the path */
    char *user, *folder;
    struct mailhead *head; /* of a message, NULL none */
};

struct retained_rows {
    struct retained_row *list;
    size_t count, cap, most;
    bool more;        /* than `most` */
    uint64_t strange; /* names in the folders that are none of ours */
};

void retained_row_free(struct retained_row *row);
void retained_rows_free(struct retained_rows *rows);
/* Off the paths of all rows that end in it. */
void retained_rows_cut(struct retained_rows *rows, const char *suffix);
/* What the line asks for: a filter whose texts belong to the line. */
int retained_filter_of(const struct line *line, struct retained_filter *ret_filter,
                       struct err *e) _must_check_;
/* Of the stores of this node (--store: of one), in the order of their times. */
int retained_rows_find(const struct line *line, const struct conf *conf,
                       const struct retained_filter *filter, size_t most,
                       struct retained_rows *ret_rows, struct err *e) _must_check_;
/* "2026-11-22T10:00:00Z" */
#define RETAINED_TIME_SIZE 24
const char *retained_time(uint64_t time_ms, char text[RETAINED_TIME_SIZE]);

#endif
