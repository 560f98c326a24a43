/* mail_judge.h - is the mail server of this node set up so that mail is safe? What `mailtwin check`
 * found out about Dovecot and Postfix, and what it means. Pure. */
#ifndef MAILTWIN_CLI_MAIL_JUDGE_H
#define MAILTWIN_CLI_MAIL_JUDGE_H

#include "cli/check.h"
#include "lib/base/bytes.h"

/* A sentence that says what is wrong and what to do, or what is fine. */
struct judgement {
    enum finding finding;
    char text[ERR_TEXT_MAX];
};

/* What doveconf and the module folder say. */
struct dovecot_facts {
    const char *without; /* protocols in use whose mail_plugins lack the plugin, "" none */
    bool loaded;         /* some have it */
    const char *folder;  /* mail_plugin_dir */
    const char *module;  /* the plugin's file there, NULL none */
    bool readable;       /* for everybody */
    const char *abi;     /* which Dovecot the module was built for, "" it does not say */
    const char *its_abi; /* which Dovecot this is, "" not known */
    const char *kinds, *store, *socket; /* settings of the plugin, "" where they are not set */
    const char *lmtp_kinds;             /* for LMTP; NULL where that is not served with it */
};

struct judgement judge_dovecot(const struct conf *conf, const struct dovecot_facts *facts);

/* mail_location, "maildir:PATH:INDEX=PATH:CONTROL=PATH": do indexes or control files lie outside of
 * every Maildir store? Only an absolute path can be told; one below a user's home is fine. */
struct judgement judge_location(const struct conf *conf, const char *location);

/* "2.3.ABIv19(2.3.19.1)" of a module: the first of the kind in its bytes, copied to ret_abi; ""
 * there is none. */
#define DOVECOT_ABI_MAX 64
void dovecot_abi_find(struct span module, char ret_abi[DOVECOT_ABI_MAX]);

/* Is `word` one of those in text, which stand apart by blanks, commas and braces? */
bool has_word(const char *text, const char *word);

/* What postconf says of one parameter. */
struct postfix_transport {
    const char *name, *value; /* "virtual_transport", "lmtp:inet:127.0.0.1:2424" */
};

/* Of one gate; queue: queue_directory, where Postfix's own sockets lie. */
struct judgement judge_postfix(const struct conf_gate *gate,
                               const struct postfix_transport *transports, size_t count,
                               const char *queue);

#endif
