/* loss.c - what a primary that died may have had alone. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "lib/os/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 60000

static const char *
text_or(const json_t *object, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? otherwise : text;
}

static double
number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void
print_line(const json_t *s)
{
    const json_t *known = json_object_get(s, "known");
    printf("epoch %.0f  %s  %s took over from %s: %.0f changes known to be missing, open from %s\n",
           number(s, "epoch"), text_or(s, "state", "?"), text_or(s, "node", "?"),
           text_or(s, "last_primary", "a node not named"), number(known, "changes"),
           text_or(s, "open_from", "the beginning"));
}

static void
print_place(const json_t *one)
{
    const char *folder = text_or(one, "folder", NULL), *user = text_or(one, "user", "");
    if (folder == NULL)
        puts(" in further folders");
    else if (user[0] == '\0') /* no mail: the folder is a directory, "" the store's own */
        printf(" in %s%s%s\n", text_or(one, "store", ""), folder[0] == '\0' ? "" : " ", folder);
    else
        printf(" in %s %s %s\n", text_or(one, "store", ""), user,
               folder[0] == '\0' ? "INBOX" : folder);
}

static void
print_known(const json_t *s)
{
    const json_t *known = json_object_get(s, "known");
    const json_t *folders = json_object_get(s, "received_in_part");
    if (number(known, "changes") > 0)
        printf("Known to be missing: at most %.0f changes, numbers %.0f to %.0f.\n",
               number(known, "changes"), number(known, "first"), number(known, "last"));
    else
        puts(json_is_object(json_object_get(s, "last_word"))
                 ? "Nothing is known to be missing: all that it told of is here."
                 : "Nothing is known to be missing, for it told this node nothing.");
    for (size_t i = 0; i < json_array_size(folders); i++) {
        const json_t *one = json_array_get(folders, i);
        printf("  %.0f of them", number(one, "changes"));
        print_place(one);
    }
}

/* "none" and "none-until-last-word" of older statements, which asked nobody whether he had waited,
 * read as "possible". */
static void
print_store(const json_t *store)
{
    const char *name = text_or(store, "name", "?"), *word = text_or(store, "acknowledged", "");
    bool always = strcmp(word, "none-that-waited") == 0;
    if (!always && strcmp(word, "none-while-protected") != 0) {
        printf("  %s: what was acknowledged may be among it\n", name);
        return;
    }
    printf("  %s: nothing that waited at a barrier and was then acknowledged is among it%s\n", name,
           always ? "" : ", but what was acknowledged while no standby protected it may be");
    printf(
        "  %*s  %s\n", (int)strlen(name), "",
        json_is_true(json_object_get(store, "gate"))
            ? "(at a barrier wait the gate, the Dovecot plugin and mailtwin barrier)"
            : "(no gate delivers to it: only what the Dovecot plugin or mailtwin barrier answered "
              "has waited)");
}

static void
print_stores(const json_t *s)
{
    const json_t *stores = json_object_get(s, "stores");
    for (size_t i = 0; i < json_array_size(stores); i++)
        print_store(json_array_get(stores, i));
}

static void
add_part(char *line, size_t size, double count, const char *one, const char *many)
{
    size_t len = strlen(line);
    if (count > 0)
        snprintf(line + len, size - len, "%s%.0f %s", len == 0 ? "" : ", ", count,
                 count < 2 ? one : many);
}

static void
print_found_in(const json_t *one)
{
    char line[200] = "";
    add_part(line, sizeof(line), number(one, "messages"), "message", "messages");
    add_part(line, sizeof(line), number(one, "flag_changes"), "change of flags",
             "changes of flags");
    add_part(line, sizeof(line), number(one, "expunges"), "expunge", "expunges");
    add_part(line, sizeof(line), number(one, "others"), "other change", "other changes");
    printf("  %s", line);
    print_place(one);
}

static void
print_found(const json_t *s)
{
    const json_t *found = json_object_get(s, "found");
    if (!json_is_object(found)) {
        puts("It is preliminary: what the last primary had alone is known when it has come back.");
        if (text_or(s, "last_primary", NULL) == NULL)
            puts("Which node that was is not known here. With two nodes it is the other one; with "
                 "more nobody is taken for it, and the statement stays as it is.");
        return;
    }
    printf(
        "It is final: %s came back (%s) with %.0f messages, %.0f changes of flags, %.0f expunges "
        "and %.0f other changes that only it had.\n",
        text_or(found, "node", "it"), text_or(found, "at", "?"), number(found, "messages"),
        number(found, "flag_changes"), number(found, "expunges"), number(found, "others"));
    const json_t *folders = json_object_get(found, "folders");
    for (size_t i = 0; i < json_array_size(folders); i++)
        print_found_in(json_array_get(folders, i));
}

static void
print_statement(const json_t *s)
{
    printf("Loss statement of epoch %.0f: %s took over from %s (epoch %.0f) at %s.\n",
           number(s, "epoch"), text_or(s, "node", "?"),
           text_or(s, "last_primary", "a node not named"), number(s, "last_epoch"),
           text_or(s, "open_until", "?"));
    printf("Here is everything up to number %.0f, of %s%s.\n", number(s, "have_up_to"),
           text_or(s, "have_up_to_time", "an unknown time"),
           json_is_true(json_object_get(s, "incomplete"))
               ? ", but for what lacks in a copy that was not complete"
               : "");
    print_known(s);
    printf("Open: what it did between %s, when it was last heard, and %s.%s\n",
           text_or(s, "open_from", "the beginning"), text_or(s, "open_until", "?"),
           json_is_object(json_object_get(s, "found")) ? "" : " Nobody knows that yet.");
    print_stores(s);
    print_found(s);
}

static int
parse_epoch(const char *word, json_int_t *ret_epoch, struct err *e)
{
    char *end;
    errno = 0;
    *ret_epoch = strtoll(word, &end, 10);
    if (errno != 0 || *end != '\0' || *ret_epoch <= 0)
        return err_set(e, ERR_USAGE, "\"%.64s\" is no epoch; mailtwin loss lists them", word);
    return 0;
}

static int
show(const struct line *line, const char *word, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    json_int_t epoch;
    if (parse_epoch(word, &epoch, e) < 0 ||
        line_ask(line, CONTROL_SOCKET, json_pack("{s:s, s:I}", "do", "loss", "epoch", epoch),
                 ANSWER_MS, &reply, e) < 0)
        return -1;
    const json_t *statement = json_object_get(reply, "statement");
    if (line_has(line, "json"))
        print_json(statement);
    else
        print_statement(statement);
    return 0;
}

static int
list(const struct line *line, struct err *e)
{
    _cleanup_json_ json_t *reply = NULL;
    if (line_ask(line, CONTROL_SOCKET, json_pack("{s:s}", "do", "loss"), ANSWER_MS, &reply, e) < 0)
        return -1;
    const json_t *all = json_object_get(reply, "statements");
    if (line_has(line, "json")) {
        print_json(all);
        return 0;
    }
    if (json_array_size(all) == 0)
        puts("there is no loss statement: no promotion of this node was unplanned");
    for (size_t i = 0; i < json_array_size(all); i++)
        print_line(json_array_get(all, i));
    return 0;
}

int
cmd_loss(const struct line *line, struct err *e)
{
    const char *word = line->argument_count == 0 ? "list" : line->arguments[0];
    if (strcmp(word, "list") == 0 && line->argument_count < 2)
        return list(line, e);
    if (strcmp(word, "show") == 0 && line->argument_count == 2)
        return show(line, line->arguments[1], e);
    return err_set(e, ERR_USAGE, "loss takes list, or show and an epoch");
}
