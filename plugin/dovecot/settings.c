#include "plugin/dovecot/plugin.h"

#include <mail-user.h>
#include <settings-parser.h>

#if DOVECOT_PREREQ(2, 4, 0)
#include <settings.h>
#endif

#define TIMEOUT_DEFAULT "30s"
#define TIMEOUT_MS_MAX  (10 * 60 * 1000)

/* As Dovecot's configuration has them; NULL or "" is the default. */
struct texts {
    const char *kinds;
    const char *store;
    const char *socket;
};

static int
check(struct mail_user *user, const struct texts *texts, struct waits *waits,
      const char **ret_error)
{
    const char *kinds = texts->kinds != NULL ? texts->kinds : "all";
    struct kinds_word bad;
    if (kinds_parse(kinds, &waits->kinds, &bad) < 0) {
        *ret_error = p_strdup_printf(
            user->pool,
            "mailtwin = %s: %s; it takes append, copy, flags, expunge, deliver and "
            "folders, or all, or none",
            kinds,
            bad.len == 0 ? "no word in it"
                         : t_strdup_printf("\"%.*s\" is not known", (int)bad.len, bad.at));
        return -1;
    }
    waits->store = texts->store != NULL && *texts->store != '\0' ? texts->store : NULL;
    if (waits->store != NULL && !kinds_store_fine(waits->store)) {
        *ret_error = p_strdup_printf(user->pool, "mailtwin_store = %s: not the name of a store",
                                     waits->store);
        return -1;
    }
    waits->socket = texts->socket != NULL && *texts->socket != '\0' ? texts->socket
                                                                    : MAILTWIN_BARRIER_SOCKET;
    if (waits->timeout_ms == 0 || waits->timeout_ms > TIMEOUT_MS_MAX) {
        *ret_error = "mailtwin_timeout: it takes 1ms to 10min";
        return -1;
    }
    return 0;
}

#if DOVECOT_PREREQ(2, 4, 0)

/* Written from 2.4's plugins and documentation; Debian 12 has 2.3 and compiles the other half. */
struct twin_settings {
    pool_t pool;
    const char *mailtwin;
    const char *mailtwin_store;
    const char *mailtwin_socket;
    unsigned int mailtwin_timeout;
};

static const struct setting_define twin_defines[] = {
    SETTING_DEFINE_STRUCT_STR("mailtwin", mailtwin, struct twin_settings),
    SETTING_DEFINE_STRUCT_STR("mailtwin_store", mailtwin_store, struct twin_settings),
    SETTING_DEFINE_STRUCT_STR("mailtwin_socket", mailtwin_socket, struct twin_settings),
    SETTING_DEFINE_STRUCT_TIME_MSECS("mailtwin_timeout", mailtwin_timeout, struct twin_settings),
    SETTING_DEFINE_LIST_END
};

static const struct twin_settings twin_defaults = {
    .mailtwin = "all",
    .mailtwin_store = "",
    .mailtwin_socket = MAILTWIN_BARRIER_SOCKET,
    .mailtwin_timeout = 30 * 1000,
};

const struct setting_parser_info mailtwin_setting_parser_info = {
    .name = "mailtwin",
    .plugin_dependency = "lib95_mailtwin_plugin",
    .defines = twin_defines,
    .defaults = &twin_defaults,
    .struct_size = sizeof(struct twin_settings),
    .pool_offset1 = 1 + offsetof(struct twin_settings, pool),
};

int
settings_read(struct mail_user *user, struct waits *ret_waits, const char **ret_error)
{
    const struct twin_settings *set;
    if (settings_get(user->event, &mailtwin_setting_parser_info, 0, &set, ret_error) < 0)
        return -1;
    const struct texts texts = {
        .kinds = p_strdup(user->pool, set->mailtwin),
        .store = p_strdup(user->pool, set->mailtwin_store),
        .socket = p_strdup(user->pool, set->mailtwin_socket),
    };
    ret_waits->timeout_ms = set->mailtwin_timeout;
    settings_free(set);
    return check(user, &texts, ret_waits, ret_error);
}

#else

int
settings_read(struct mail_user *user, struct waits *ret_waits, const char **ret_error)
{
    const struct texts texts = {
        .kinds = mail_user_plugin_getenv(user, "mailtwin"),
        .store = mail_user_plugin_getenv(user, "mailtwin_store"),
        .socket = mail_user_plugin_getenv(user, "mailtwin_socket"),
    };
    const char *timeout = mail_user_plugin_getenv(user, "mailtwin_timeout");
    const char *why;
    if (settings_get_time_msecs(timeout != NULL ? timeout : TIMEOUT_DEFAULT, &ret_waits->timeout_ms,
                                &why) < 0) {
        *ret_error = p_strdup_printf(user->pool, "mailtwin_timeout = %s: %s", timeout, why);
        return -1;
    }
    return check(user, &texts, ret_waits, ret_error);
}

#endif
