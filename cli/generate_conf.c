#include "cli/generate.h"
#include "lib/os/conf_table.h"

#include <string.h>

#define COMMENT_WIDTH 100

/* --- the manual page --- */

static void
man_values(FILE *out, const struct conf_option *o)
{
    char text[256];
    if (o->type == CONF_WORD || (o->type == CONF_LIST && o->from != NULL))
        snprintf(text, sizeof(text), "%s of: %s.", o->type == CONF_WORD ? "One" : "Any", o->from);
    else if (o->type == CONF_REF || o->type == CONF_REFS)
        snprintf(text, sizeof(text), "The name%s of a %s section.", o->type == CONF_REF ? "" : "s",
                 o->from);
    else if (o->to != NULL)
        snprintf(text, sizeof(text), "From %s to %s.", o->from, o->to);
    else
        text[0] = '\0';
    man_text(out, text);
}

static void
man_needed(FILE *out, const struct conf_option *o)
{
    char text[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < conf_need_count; i++) {
        const struct conf_need *need = &conf_needs[i];
        if (strcmp(need->section, o->section) != 0 || strcmp(need->key, o->key) != 0)
            continue;
        if (need->kind[0] == '\0')
            len += (size_t)snprintf(text + len, sizeof(text) - len, "It must be given");
        else
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %s",
                                    len == 0 ? "It must be given for the kind" : " and",
                                    need->kind);
    }
    if (len > 0)
        snprintf(text + len, sizeof(text) - len, ".");
    man_text(out, text);
}

static void
man_keys(FILE *out, const char *section)
{
    bool first = true;
    for (size_t i = 0; i < conf_option_count; i++) {
        const struct conf_option *o = &conf_options[i];
        if (strcmp(o->section, section) != 0)
            continue;
        if (first)
            fputs(".Bl -tag -width Ds\n", out);
        first = false;
        fprintf(out, ".It Ic %s\n", o->key);
        man_text(out, o->help);
        man_values(out, o);
        man_needed(out, o);
        if (o->def != NULL)
            fprintf(out, "Default:\n.Cm %s .\n", o->def);
    }
    if (!first)
        fputs(".El\n", out);
}

static void
man_section(FILE *out, const struct conf_section *s)
{
    if (s->name[0] == '\0')
        fputs(".Ss Outside of any section\n", out);
    else if (s->inside[0] != '\0')
        fprintf(out, ".Ss %s \"NAME\" { ... } within %s\n", s->name, s->inside);
    else
        fprintf(out, ".Ss %s %s{ ... }\n", s->name, s->named ? "\"NAME\" " : "");
    man_text(out, s->help);
    man_keys(out, s->name);
}

void
generate_man_conf(FILE *out)
{
    man_head(out, "mailtwin.conf", 5, "configuration of mailtwin");
    fputs(".Sh DESCRIPTION\n", out);
    man_text(
        out,
        "One file describes the cluster; it is the same on every node. A line is KEY = VALUE; "
        "a section is a word, mostly a name in quotes, and keys in braces. Lists are in braces "
        "with commas. Comments begin with # or // or stand between /* and */. Values may be "
        "quoted; in double quotes ${NAME} is replaced from the environment. include(\"FILE\") "
        "reads another file in its place, relative to the file it stands in.");
    fputs(".Pp\n", out);
    man_text(out,
             "Sizes are numbers with K, M, G or T, powers of 1024. Times are numbers with ms, s, "
             "m, h, d, w or y. Names are up to 64 letters, digits, dots, dashes and "
             "underscores.");
    fputs(".Pp\n", out);
    man_text(out,
             "An unknown key, a value of the wrong type and anything else that is doubtful is an "
             "error with file and line; nothing starts. mailtwin check reads the file and "
             "looks at the host as well.");
    for (size_t i = 0; i < conf_section_count; i++)
        man_section(out, &conf_sections[i]);
    fputs(
        ".Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/mailtwin/mailtwin.conf\nRead when neither\n.Fl "
        "Fl config\nnor\n.Ev MAILTWIN_CONFIG\nnames another.\n.El\n.Sh SEE ALSO\n.Xr mailtwin 1 "
        ",\n.Xr mailtwin-check 1\n",
        out);
}

/* --- the example --- */

static const char *
example_of(const char *section, const char *name, const char *key)
{
    for (size_t i = 0; i < conf_example_count; i++) {
        const struct conf_example *x = &conf_examples[i];
        if (strcmp(x->section, section) == 0 && strcmp(x->name, name) == 0 &&
            strcmp(x->key, key) == 0)
            return x->value;
    }
    return NULL;
}

/* The next name in the examples of a section, behind `after` (NULL: the first). */
static const char *
example_next(const char *section, const char *after)
{
    bool found = after == NULL;
    for (size_t i = 0; i < conf_example_count; i++) {
        const struct conf_example *x = &conf_examples[i];
        if (strcmp(x->section, section) != 0)
            continue;
        bool same = after != NULL && strcmp(x->name, after) == 0;
        if (found && !same)
            return x->name;
        found = found || same;
    }
    return NULL;
}

static void
conf_comment(FILE *out, const char *indent, const char *text)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (column > 0 && column + len + 1 > COMMENT_WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        column += len + (size_t)fprintf(out, column == 0 ? "%s# " : " ", indent);
        fwrite(text, 1, len, out);
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* What stands for a value that has no default, so that the line can be read. */
static const char *
placeholder(const struct conf_option *o)
{
    if (conf_type_is_list(o->type))
        return "{ ... }";
    return "...";
}

static void
conf_key(FILE *out, const char *mark, const char *indent, const struct conf_option *o,
         const char *value)
{
    bool plain = value != NULL ? value[0] == '{' : o->def == NULL;
    const char *text = value != NULL ? value : o->def != NULL ? o->def : placeholder(o);
    fprintf(out, "%s%s%s = %s%s%s\n", mark, indent, o->key, plain ? "" : "\"", text,
            plain ? "" : "\"");
}

static void
conf_keys(FILE *out, const char *indent, const char *section, const char *name, bool explain)
{
    for (size_t i = 0; i < conf_option_count; i++) {
        const struct conf_option *o = &conf_options[i];
        if (strcmp(o->section, section) != 0)
            continue;
        const char *value = name != NULL ? example_of(section, name, o->key) : NULL;
        if (!explain && value == NULL)
            continue;
        if (explain)
            conf_comment(out, indent, o->help);
        conf_key(out, value != NULL ? "" : "#", indent, o, value);
    }
}

static void
conf_section(FILE *out, const struct conf_section *s)
{
    const char *indent = s->inside[0] != '\0' ? "        " : "    ";
    const char *outer = s->inside[0] != '\0' ? "    " : "";
    const char *name = example_next(s->name, NULL);
    const char *mark = name == NULL ? "#" : "";
    fputc('\n', out);
    conf_comment(out, outer, s->help);
    for (bool explain = true; explain || name != NULL; explain = false) {
        const char *title = name != NULL ? name : "NAME";
        fprintf(out, "%s%s%s %s%s%s{\n", mark, outer, s->name, s->named ? "\"" : "",
                s->named ? title : "", s->named ? "\" " : "");
        conf_keys(out, indent, s->name, name, explain);
        fprintf(out, "%s%s}\n", mark, outer);
        name = name != NULL ? example_next(s->name, name) : NULL;
    }
}

void
generate_conf(FILE *out)
{
    fputs("# mailtwin.conf: the example. Made by \"mailtwin generate conf\" from the tables.\n"
          "# The same file goes to every node. What is commented out shows the default; \"...\"\n"
          "# stands where there is none. See mailtwin.conf(5); mailtwin check reads it.\n\n",
          out);
    conf_keys(out, "", "", "", true);
    for (size_t i = 0; i < conf_section_count; i++)
        if (conf_sections[i].name[0] != '\0')
            conf_section(out, &conf_sections[i]);
}
