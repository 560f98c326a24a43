#include "directory/dir.h"

#include "lib/base/crc.h"
#include "lib/os/event.h"
#include "lib/os/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_EVERY_MS 1000

uint64_t
dir_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void
dir_trouble(struct dir_store *s, const struct err *e)
{
    bool same = e != NULL && s->trouble != NULL && strcmp(s->trouble, e->text) == 0;
    if (e != NULL && !same)
        event(EV_DIR_DOWN, F_STR("store", s->conf->name), F_ERR(e));
    if (same)
        return;
    free(s->trouble);
    s->trouble = e == NULL ? NULL : xstrdup(e->text);
}

int
dir_connect(struct dir_store *s)
{
    struct err e = { 0 };
    if (s->server != NULL)
        return 0;
    if (dir_now_ms() < s->connect_ms)
        return -1;
    if (server_open(s->conf, NULL, s->password, &s->server, &e) < 0) {
        dir_disconnect(s, &e);
        return -1;
    }
    event(EV_DIR_UP, F_STR("store", s->conf->name), F_STR("server", s->conf->ldap.uri));
    return 0;
}

void
dir_disconnect(struct dir_store *s, const struct err *e)
{
    dir_trouble(s, e);
    server_close(&s->server);
    s->connect_ms = dir_now_ms() + CONNECT_EVERY_MS;
}

/* --- files of the state directory --- */

static char *
state_name(const struct dir_store *s, const char *suffix)
{
    return xasprintf("%s.%s", s->conf->name, suffix);
}

char *
dir_state_read(struct dir_store *s, const char *suffix, size_t max)
{
    _cleanup_free_ char *name = state_name(s, suffix);
    struct err e = { 0 };
    char *text = NULL;
    size_t len = 0;
    int got = file_read(s->state_fd, name, max, &text, &len, &e);
    if (got < 0)
        dir_trouble(s, &e);
    return got > 0 ? text : NULL;
}

int
dir_state_write(struct dir_store *s, const char *suffix, struct span text, struct err *e)
{
    _cleanup_free_ char *name = state_name(s, suffix);
    return file_replace(s->state_fd, name, text, 0600, e);
}

void
dir_state_remove(struct dir_store *s, const char *suffix)
{
    _cleanup_free_ char *name = state_name(s, suffix);
    unlinkat(s->state_fd, name, 0); /* a leftover is overwritten or asked again */
}

int
dir_save(struct dir_store *s, const uint8_t uuid[LDAPSYNC_UUID_SIZE], struct span text,
         const char *why, struct err *e)
{
    char id[LDAPSYNC_UUID_TEXT + 1];
    char file[LDAPSYNC_UUID_TEXT + sizeof(".01234567" SPOOL_SUFFIX)];
    _cleanup_free_ char *folder = state_name(s, "saved");
    ldapsync_uuid_write(uuid, id);
    /* another text of the entry, saved before, stays: nobody else may have it */
    snprintf(file, sizeof(file), "%s.%08x" SPOOL_SUFFIX, id, crc32c(text));
    if (mkdirat(s->state_fd, folder, 0700) < 0 && errno != EEXIST)
        return err_sys(e, ERR_IO, "make %s", folder);
    _cleanup_close_ int fd = openat(s->state_fd, folder,
                                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_IO, "open %s", folder);
    if (file_replace(fd, file, text, 0600, e) < 0)
        return -1;
    event(EV_DIR_SAVED, F_STR("store", s->conf->name), F_STR("id", id), F_STR("why", why),
          F_STR("file", file));
    return 0;
}
