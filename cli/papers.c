/* papers.c - mailtwin pki. */
#include "cli/papers.h"

#include "cli/commands.h"
#include "lib/os/pki.h"
#include "lib/os/when.h"

#include <stdio.h>
#include <string.h>

void
paper_print(const char *file, const struct pki_paper *paper)
{
    char until[32];
    struct tm utc;
    double left = difftime(paper->valid_until, time(NULL));
    strftime(until, sizeof(until), "%Y-%m-%d", gmtime_r(&paper->valid_until, &utc));
    printf("%s: %s%s\n", file, paper->subject, paper->authority ? ", an authority" : "");
    printf("  issued by    %s\n", paper->issuer);
    if (paper->names[0] != '\0')
        printf("  for          %s\n", paper->names);
    printf("  valid until  %s, %s%.0f days\n", until, left < 0 ? "expired since " : "",
           (left < 0 ? -left : left) / 86400);
    printf("  fingerprint  %s\n", paper->fingerprint);
}

static void
show_text(const char *file, const struct pki_paper *paper, void *arg)
{
    (void)arg;
    paper_print(file, paper);
}

static void
show_json(const char *file, const struct pki_paper *paper, void *arg)
{
    char until[WHEN_SIZE];
    when_text((uint64_t)paper->valid_until, until);
    json_array_append_new(arg, json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "file", file,
                                         "subject", paper->subject, "issuer", paper->issuer,
                                         "names", paper->names, "authority", paper->authority,
                                         "valid_until", until, "fingerprint", paper->fingerprint));
}

static int
show_papers(const struct line *line, const char *dir, struct err *e)
{
    _cleanup_json_ json_t *list = json_array();
    if (!line_has(line, "json"))
        return pki_show(dir, show_text, NULL, e);
    if (pki_show(dir, show_json, list, e) < 0)
        return -1;
    print_json(list);
    return 0;
}

static int
make_authority(const struct line *line, const char *dir, struct err *e)
{
    _cleanup_conf_ struct conf *conf = NULL;
    struct err no_conf = { 0 };
    /* The name is for people only, so an authority can be made before there is a configuration. */
    bool known = line_conf(line, &conf, &no_conf) == 0;
    if (pki_init(dir, known ? conf->cluster : "cluster", e) < 0)
        return -1;
    printf("%s/" PKI_AUTHORITY " goes to every node. Keep %s/" PKI_AUTHORITY_KEY
           " where no node is.\n",
           dir, dir);
    return 0;
}

static int
make_node(const char *dir, const char *name, struct err *e)
{
    if (pki_node(dir, name, e) < 0)
        return -1;
    printf("%s/%s.pem and %s/%s.key go to %s, as node.pem and node.key.\n", dir, name, dir, name,
           name);
    return 0;
}

int
cmd_pki(const struct line *line, struct err *e)
{
    const char *what = line->argument_count > 0 ? line->arguments[0] : "";
    const char *dir = line_value(line, "dir");
    if (dir == NULL)
        dir = PKI_DEFAULT_DIR;
    if (strcmp(what, "init") == 0 && line->argument_count == 1)
        return make_authority(line, dir, e);
    if (strcmp(what, "node") == 0 && line->argument_count == 2)
        return make_node(dir, line->arguments[1], e);
    if (strcmp(what, "show") == 0 && line->argument_count == 1)
        return show_papers(line, dir, e);
    return err_set(e, ERR_USAGE, "usage: mailtwin pki init | node NAME | show");
}
