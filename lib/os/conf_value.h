/* conf_value.h - one value of the configuration: its type, its range, its number. */
#ifndef MAILTWIN_CONF_VALUE_H
#define MAILTWIN_CONF_VALUE_H

#include "lib/base/err.h"
#include "lib/os/conf_table.h"

/* false: not of this type. Sizes are powers of 1024, times come in milliseconds. */
bool conf_value_size(const char *text, uint64_t *ret_bytes);
bool conf_value_time(const char *text, uint64_t *ret_ms);
bool conf_value_percent(const char *text, uint64_t *ret_percent);
bool conf_value_number(const char *text, uint64_t *ret_number);
bool conf_value_name(const char *text);
bool conf_value_address(const char *text); /* an IP address or a host name */

/* Is it what the option wants? The sentence has the key, not the place. For a list, one element. */
int conf_value_check(const struct conf_option *option, const char *value,
                     struct err *e) _must_check_;

#endif
