/* gate_report.h - what a gate tells mailtwin-replicatord of its work, once a second, for the
 * status: {"do":"gate","gates":[{...}]} at barrier.sock. The counts are in gate_counts.def. */
#ifndef MAILTWIN_GATE_REPORT_H
#define MAILTWIN_GATE_REPORT_H

#include "lib/base/err.h"

#include <jansson.h>

#define GATE_REPORT_EVERY_MS   1000
#define GATE_COUNT(name, help) uint64_t name;

struct gate_counts {
#include "lib/os/gate_counts.def"
};
#undef GATE_COUNT

/* How long barriers took, in seconds; 0 none was waited for. p50 and p99 are of the last ones. */
struct gate_waits {
    double last, p50, p99, longest;
};

struct gate_report {
    uint64_t since; /* seconds since 1970: when it was started */
    struct gate_counts counts;
    struct gate_waits waits;
};

/* Without a name; the caller's. */
json_t *gate_report_json(const struct gate_report *report);
/* Numbers that are missing or no counts are refused, with what is wrong in e. */
int gate_report_read(const json_t *json, struct gate_report *ret_report,
                     struct err *e) _must_check_;

#endif
