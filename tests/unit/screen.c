/* The status as one screen: what it calls safe. */
#include "cli/screen.h"
#include "lib/base/base.h"
#include "tests/unit/test.h"

#include <stdlib.h>
#include <string.h>

static void
check_screen(const char *status, const char *says)
{
    char *said = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&said, &len);
    json_t *json = json_loads(status, 0, NULL);
    CHECK(out != NULL && json != NULL);
    screen_print(json, out);
    fclose(out);
    CHECK_CONTAINS(said, says);
    json_decref(json);
    free(said);
}

#define STORE(name, protection) \
    "{\"name\":\"" name "\",\"kind\":\"files\",\"protection\":\"" protection "\"}"
#define PRIMARY(state, since, more)                                                          \
    "{\"role\":\"primary\",\"state\":\"" state "\",\"degraded_since\":" since                \
    ",\"at_risk\":{\"messages\":2,\"changes\":3,\"since\":\"R\",\"user_count\":1,\"users\":" \
    "[{\"user\":\"ada\",\"messages\":2}]}" more "}"
#define AT_RISK "at risk    2 messages and 1 other changes since R\n           ada 2\n"
#define FOLLOWS(node, lacks, more)                                                \
    "{\"node\":\"" node                                                           \
    "\",\"state\":\"connected\",\"direction\":\"sends to it\",\"durable_seq\":9," \
    "\"lag_records\":" lacks more "}"

TEST(the_status_calls_nothing_safe_that_waits_for_no_standby)
{
    static const struct {
        const char *status, *says;
    } rows[] = {
        { PRIMARY("async", "null",
                  ",\"no_standby_since\":\"A\",\"stores\":[" STORE("m", "async") "]"),
          "mail       NOT SAFE since A: async, and no standby follows\n" AT_RISK },
        { PRIMARY("sweeping", "null",
                  ",\"no_standby_since\":\"A\",\"stores\":[" STORE("m", "async") "]"),
          "mail       NOT SAFE since A: async, and no standby follows\n" AT_RISK },
        { PRIMARY("async", "null",
                  ",\"stores\":[" STORE("m", "async") "],\"peers\":[" FOLLOWS(
                      "far", "7",
                      ",\"lag_messages\":4,\"lag_seconds\":60,\"lag_"
                      "bytes\":2048") "," FOLLOWS("near", "3",
                                                  ",\"lag_messages\":"
                                                  "2,\"lag_seconds\":"
                                                  "12,\"lag_bytes\":"
                                                  "1024") "]"),
          "mail       ASYNC, no standby is waited for; near lacks 2 messages, 1.0 KiB, of the last "
          "12 s\n" AT_RISK },
        { PRIMARY("async", "null",
                  ",\"stores\":[" STORE("m", "async") "],\"peers\":[" FOLLOWS("near", "0", "") "]"),
          "mail       ASYNC, no standby is waited for; near has everything up to 9\n" },
        { PRIMARY("async", "null", ",\"stores\":[" STORE("m", "async") "]"),
          "mail       ASYNC, no standby is waited for\n" AT_RISK },
        { PRIMARY("protected", "null",
                  ",\"stores\":[" STORE("m", "protected") "," STORE("w", "async") "]"),
          "mail       safe in part: a standby protects it\n"
          "           waits for no standby: w\n"
          "           waits for a standby: m\n" AT_RISK },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_screen(rows[i].status, rows[i].says);
    }
}

TEST(the_status_says_of_which_stores_mail_is_let_in_and_of_which_it_is_refused)
{
    static const struct {
        const char *status, *says;
    } rows[] = {
        { PRIMARY("degraded", "\"A\"",
                  ",\"stores\":[" STORE("m", "degraded") "," STORE("w", "async") "," STORE(
                      "f", "refusing") "," STORE("g", "refusing") "]"),
          "mail       NOT SAFE since A: it is accepted with no standby protecting it\n"
          "           NOT SAFE: m\n"
          "           REFUSED: f g\n"
          "           waits for no standby: w\n" AT_RISK },
        { PRIMARY("refusing", "\"A\"",
                  ",\"stores\":[" STORE("m", "refusing") "," STORE("w", "async") "]"),
          "mail       REFUSED in part since A: no standby protects it\n"
          "           REFUSED: m\n"
          "           waits for no standby: w\n" AT_RISK },
        { PRIMARY("refusing", "\"A\"", ",\"stores\":[" STORE("m", "refusing") "]"),
          "mail       REFUSED since A: no standby protects it\n" AT_RISK },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_screen(rows[i].status, rows[i].says);
    }
}
