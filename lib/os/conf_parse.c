#include "lib/os/conf_parse.h"

#include "lib/os/conf_table.h"
#include "lib/os/conf_text.h"
#include "lib/os/conf_value.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INCLUDES_MAX 8           /* files within files */
#define BEGIN_KEY    "\001begin" /* see add_hidden() */

/* libconfuse's callbacks carry no argument of ours, and its scanner is global anyway. */
static pthread_mutex_t parse_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct parse {
    struct conf_tree *tree;
    struct err *e;
    bool failed;
    bool ended;            /* the end of the current file was reached */
    const cfg_t *end_with; /* the section in which it has to be reached */
    unsigned depth;
} * parse;

const char *
conf_section_word(const cfg_t *section)
{
    return strcmp(section->name, "root") == 0 ? "" : section->name;
}

/* The first error is the cause; libconfuse may report consequences after it. */
static bool
first_failure(void)
{
    bool first = !parse->failed;
    parse->failed = true;
    return first;
}

static void
describe(const cfg_t *section, const char *file, int line, struct err *e)
{
    if (conf_section_word(section)[0] == '\0')
        err_wrap(e, "%s:%d", file, line);
    else if (section->title == NULL)
        err_wrap(e, "%s:%d: %s", file, line, section->name);
    else
        err_wrap(e, "%s:%d: %s \"%.64s\"", file, line, section->name, section->title);
}

static void
fail_here(const cfg_t *section)
{
    describe(section, section->filename, section->line, parse->e);
}

static const struct conf_mark *
find_mark(const struct conf_tree *tree, const cfg_t *section, const char *key)
{
    for (size_t i = 0; i < tree->mark_count; i++) {
        const struct conf_mark *m = &tree->marks[i];
        bool same_key = key == NULL ? m->key == NULL : m->key != NULL && strcmp(m->key, key) == 0;
        if (m->section == section && same_key)
            return m;
    }
    return NULL;
}

static void
add_mark(const cfg_t *section, const char *key)
{
    struct conf_tree *tree = parse->tree;
    tree->marks = xrealloc(tree->marks, (tree->mark_count + 1) * sizeof(tree->marks[0]));
    tree->marks[tree->mark_count++] = (struct conf_mark){
        .section = section,
        .key = key,
        .file = xstrdup(section->filename != NULL ? section->filename : tree->file),
        .line = section->line,
    };
}

static int
on_begin(cfg_t *section, cfg_opt_t *opt)
{
    (void)opt;
    if (find_mark(parse->tree, section, NULL) == NULL)
        add_mark(section, NULL);
    return 0;
}

static int
fail_twice(const cfg_t *section, const struct conf_option *option)
{
    const struct conf_mark *first = find_mark(parse->tree, section, option->key);
    if (first_failure()) {
        err_set(parse->e, ERR_CONFIG, "%s is set twice, first in %s:%d", option->key, first->file,
                first->line);
        fail_here(section);
    }
    return -1;
}

static int
on_value(cfg_t *section, cfg_opt_t *opt)
{
    const struct conf_option *option = conf_option_find(conf_section_word(section), opt->name);
    ASSERT(option != NULL);
    bool seen = find_mark(parse->tree, section, option->key) != NULL;
    if (seen && !conf_type_is_list(option->type))
        return fail_twice(section, option);
    if (!seen)
        add_mark(section, option->key);
    const char *value = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    if (strcmp(value, CONF_TEXT_END) == 0)
        err_set(parse->e, ERR_CONFIG, "%s needs a value, not the end of the file", option->key);
    else if (conf_value_check(option, value, parse->e) == 0)
        return 0;
    if (first_failure())
        fail_here(section);
    return -1;
}

static int
on_section(cfg_t *inside, cfg_opt_t *opt)
{
    (void)inside;
    const cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
    if (section->title == NULL ? cfg_opt_size(opt) == 1 : conf_value_name(section->title))
        return 0;
    parse->failed = true;
    if (section->title == NULL)
        return conf_tree_fail(parse->tree, section, NULL, parse->e, "the section is there twice");
    return conf_tree_fail(parse->tree, section, NULL, parse->e, "this is not %s",
                          conf_type_what(CONF_NAME));
}

static int
on_end(cfg_t *section, cfg_opt_t *opt, int argc, const char **argv)
{
    (void)opt;
    (void)argc;
    (void)argv;
    parse->ended = section == parse->end_with;
    if (parse->ended)
        return 0;
    if (!first_failure())
        return -1;
    return conf_tree_fail(parse->tree, section, NULL, parse->e, "the section is not closed");
}

/* The key whose value libconfuse was about to read: begun by '=' and not set. */
static const char *
pending_key(const cfg_t *section)
{
    for (const cfg_opt_t *opt = section->opts; opt->name != NULL; opt++)
        if (opt->type == CFGT_STR && (opt->flags & CFGF_RESET) && (opt->flags & CFGF_MODIFIED))
            return opt->name;
    return NULL;
}

static void
say_unexpected(const cfg_t *section, const char *token)
{
    const char *key = pending_key(section);
    if (strcmp(token, CONF_TEXT_END) == 0)
        token = "the end of the file";
    if (key == NULL)
        err_set(parse->e, ERR_CONFIG, "%s is not expected here", token);
    else
        err_set(parse->e, ERR_CONFIG, "%s needs a value, not %s", key, token);
}

static void
say_unknown(const cfg_t *section, const char *key)
{
    err_set(parse->e, ERR_CONFIG, "unknown key \"%.64s\", the nearest known key is \"%s\"", key,
            conf_nearest_key(conf_section_word(section), key));
}

/* Which sections of `inside` have this name already? */
static void
say_duplicate(const cfg_t *inside, const char *name)
{
    const char *kind = NULL;
    unsigned kinds = 0;
    for (cfg_opt_t *opt = inside->opts; opt->name != NULL; opt++) {
        if (opt->type != CFGT_SEC || !(opt->flags & CFGF_TITLE) ||
            cfg_opt_gettsec(opt, name) == NULL)
            continue;
        kind = opt->name;
        kinds++;
    }
    err_set(parse->e, ERR_CONFIG, "a second %s is named \"%.64s\"",
            kinds == 1 ? kind : "section of this kind", name);
}

/* libconfuse's own messages, and ours instead; %s of theirs stands between before and after. */
static const struct {
    const char *theirs;
    const char *before;
    const char *after;
} messages[] = {
    { "unexpected closing brace", "there is one closing brace too many", NULL },
    { "premature end of file", "the file ends in the middle of a section or value", NULL },
    { "missing equal sign after option '%s'", "an equal sign and a value are missing after ", "" },
    { "attempt to append to non-list option '%s'", "+= goes with lists only, not with ", "" },
    { "missing opening brace for section '%s'", "an opening brace is missing after the section ",
      "" },
    { "missing title for section '%s'", "a name in quotes is missing after the section ", "" },
    { "missing parenthesis for function '%s'", "an opening parenthesis is missing after ", "" },
    { "syntax error in call of function '%s'", "", " wants one file name in parentheses" },
    { "bad escape sequence '%s'", "", " is no escape sequence" },
    { "invalid octal number '%s'", "", " is no octal number of a byte" },
};

static void
say_message(const char *theirs, const char *detail)
{
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        if (strcmp(theirs, messages[i].theirs) != 0)
            continue;
        bool with = messages[i].after != NULL;
        err_set(parse->e, ERR_CONFIG, "%s%.64s%s", messages[i].before, with ? detail : "",
                with ? messages[i].after : "");
        return;
    }
    err_set(parse->e, ERR_CONFIG, "this is not understood");
}

static void
on_error(cfg_t *section, const char *theirs, va_list args)
{
    if (!first_failure())
        return;
    const char *detail = strstr(theirs, "%s") != NULL ? va_arg(args, const char *) : "";
    if (strncmp(theirs, "no such option", 14) == 0)
        say_unknown(section, detail);
    else if (strncmp(theirs, "unexpected token", 16) == 0)
        say_unexpected(section, detail);
    else if (strncmp(theirs, "found duplicate title", 21) == 0)
        say_duplicate(section, detail);
    else
        say_message(theirs, detail);
    fail_here(section);
}

static int
parse_text(cfg_t *section, const char *file)
{
    _cleanup_free_ char *text = NULL;
    if (conf_text_read(file, &text, parse->e) < 0)
        return -1;
    FILE *in = fmemopen(text, strlen(text), "r");
    ASSERT(in != NULL);
    free(section->filename);
    section->filename = xstrdup(file);
    const cfg_t *outer = parse->end_with;
    parse->end_with = section;
    parse->ended = false;
    int r = cfg_parse_fp(section, in);
    fclose(in);
    parse->end_with = outer;
    if (r == CFG_SUCCESS && parse->ended)
        return 0;
    if (first_failure())
        err_set(parse->e, ERR_CONFIG, "%s: the file is not understood", file);
    return -1;
}

/* Relative to the file that includes it. */
static char *
include_path(const char *from, const char *file)
{
    const char *slash = strrchr(from, '/');
    if (file[0] == '/' || slash == NULL)
        return xstrdup(file);
    return xasprintf("%.*s/%s", (int)(slash - from), from, file);
}

/* Not cfg_include(): it leaves the scanner in the middle of the file after an error. */
static int
on_include(cfg_t *section, cfg_opt_t *opt, int argc, const char **argv)
{
    (void)opt;
    if (argc != 1 || parse->depth == INCLUDES_MAX) {
        err_set(parse->e, ERR_CONFIG,
                argc != 1 ? "include wants one file name in parentheses"
                          : "files include each other more than %d deep",
                INCLUDES_MAX);
        if (first_failure())
            fail_here(section);
        return -1;
    }
    _cleanup_free_ char *from = xstrdup(section->filename);
    _cleanup_free_ char *file = include_path(from, argv[0]);
    int line = section->line;
    bool was_failed = parse->failed;
    parse->depth++;
    int r = parse_text(section, file);
    parse->depth--;
    free(section->filename);
    section->filename = from;
    section->line = line;
    from = NULL;
    if (r < 0 && !was_failed && !parse->failed && first_failure())
        fail_here(section);
    return r;
}

/* Two names that nobody can type. The list with a default calls on_begin() when a section is made,
 * the only moment at which libconfuse tells where it begins. */
static cfg_opt_t *
add_hidden(cfg_opt_t *opt)
{
    static char some_list[] = "{x}";
    *opt = (cfg_opt_t)CFG_STR_LIST(BEGIN_KEY, some_list, CFGF_NONE);
    opt->validcb = on_begin;
    opt++;
    *opt++ = (cfg_opt_t)CFG_FUNC(CONF_TEXT_END, on_end);
    *opt++ = (cfg_opt_t)CFG_FUNC("include", on_include);
    return opt;
}

static cfg_opt_t *
add_options(cfg_opt_t *opt, const char *section)
{
    for (size_t i = 0; i < conf_option_count; i++) {
        const struct conf_option *o = &conf_options[i];
        if (strcmp(o->section, section) != 0)
            continue;
        if (conf_type_is_list(o->type))
            *opt = (cfg_opt_t)CFG_STR_LIST(o->key, NULL, CFGF_NONE);
        else
            *opt = (cfg_opt_t)CFG_STR(o->key, o->def, CFGF_NONE);
        opt->validcb = on_value;
        opt++;
    }
    return opt;
}

static void
free_options(cfg_opt_t *options)
{
    for (cfg_opt_t *opt = options; opt->name != NULL; opt++)
        if (opt->subopts != NULL)
            free_options(opt->subopts);
    free(options);
}

static cfg_opt_t *
make_options(const char *section)
{
    size_t most = conf_option_count + conf_section_count + 4;
    cfg_opt_t *options = xcalloc(most, sizeof(*options));
    cfg_opt_t *opt = add_options(add_hidden(options), section);
    for (size_t i = 0; i < conf_section_count; i++) {
        const struct conf_section *s = &conf_sections[i];
        if (s->name[0] == '\0' || strcmp(s->inside, section) != 0)
            continue;
        /* MULTI also for what is there once: else libconfuse makes it before it knows the file. */
        cfg_flag_t flags = s->named ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : CFGF_MULTI;
        *opt = (cfg_opt_t)CFG_SEC(s->name, make_options(s->name), flags);
        opt->validcb = on_section;
        opt++;
    }
    *opt = (cfg_opt_t)CFG_END();
    return options;
}

static int
parse_root(const char *file, struct conf_tree *tree)
{
    cfg_opt_t *options = make_options("");
    tree->root = cfg_init(options, CFGF_NONE);
    free_options(options);
    ASSERT(tree->root != NULL);
    cfg_set_error_function(tree->root, on_error);
    return parse_text(tree->root, file);
}

int
conf_parse(const char *file, struct conf_tree *ret_tree, struct err *e)
{
    struct err ignored;
    struct parse now = { .tree = ret_tree, .e = e != NULL ? e : &ignored };
    *ret_tree = (struct conf_tree){ .file = xstrdup(file) };
    pthread_mutex_lock(&parse_mutex);
    parse = &now;
    int r = parse_root(file, ret_tree);
    parse = NULL;
    if (r < 0)
        conf_tree_free(ret_tree);
    pthread_mutex_unlock(&parse_mutex);
    return r;
}

void
conf_tree_free(struct conf_tree *tree)
{
    if (tree->root != NULL)
        cfg_free(tree->root);
    for (size_t i = 0; i < tree->mark_count; i++)
        free(tree->marks[i].file);
    free(tree->marks);
    free(tree->file);
    *tree = (struct conf_tree){ 0 };
}

bool
conf_tree_has(const struct conf_tree *tree, const cfg_t *section, const char *key)
{
    return find_mark(tree, section, key) != NULL;
}

int
conf_tree_fail(const struct conf_tree *tree, const cfg_t *section, const char *key, struct err *e,
               const char *fmt, ...)
{
    char sentence[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof(sentence), fmt, args);
    va_end(args);
    err_set(e, ERR_CONFIG, "%s", sentence);
    const struct conf_mark *mark = find_mark(tree, section, key);
    if (e != NULL)
        describe(section, mark != NULL ? mark->file : tree->file,
                 mark != NULL ? MAX(mark->line, 1) : 1, e);
    return -1;
}
