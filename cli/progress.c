#include "cli/progress.h"

#include "lib/base/base.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define QUIET_SECONDS 2

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *
human_seconds(double seconds, char text[HUMAN_MAX])
{
    if (seconds < 0.01)
        snprintf(text, HUMAN_MAX, "%.1f ms", seconds * 1000);
    else if (seconds < 1)
        snprintf(text, HUMAN_MAX, "%.0f ms", seconds * 1000);
    else if (seconds < 100)
        snprintf(text, HUMAN_MAX, "%.0f s", seconds);
    else if (seconds < 100 * 60)
        snprintf(text, HUMAN_MAX, "%.0f min", seconds / 60);
    else if (seconds < 48 * 3600)
        snprintf(text, HUMAN_MAX, "%.0f h", seconds / 3600);
    else
        snprintf(text, HUMAN_MAX, "%.0f d", seconds / 86400);
    return text;
}

const char *
human_bytes(double bytes, char text[HUMAN_MAX])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        bytes /= 1024;
    snprintf(text, HUMAN_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}

void
progress_begin(struct progress *progress)
{
    *progress = (struct progress){ .terminal = isatty(STDERR_FILENO) == 1, .begun_ms = now_ms() };
}

double
progress_seconds(const struct progress *progress)
{
    return (double)(now_ms() - progress->begun_ms) / 1000;
}

/* What the daemon does not say is worked out from what is done and the time it took; null: it does
 * not know. */
static double
seconds_left(const json_t *news, double done, double spent)
{
    const json_t *left = json_object_get(news, "seconds_left");
    if (left != NULL)
        return json_is_number(left) ? json_number_value(left) : -1;
    return done > 0.001 ? spent / done - spent : -1;
}

static void
show_rate(const json_t *news, double spent)
{
    const json_t *rate = json_object_get(news, "rate");
    const json_t *per_second = json_object_get(news, "per_second");
    const json_t *directories = json_object_get(news, "directories");
    if (json_is_number(rate))
        fprintf(stderr, "  %.0f/s", json_number_value(rate));
    else if (json_is_number(per_second))
        fprintf(stderr, "  %.0f directories/s", json_number_value(per_second));
    else if (json_is_number(directories))
        fprintf(stderr, "  %.0f directories/s", json_number_value(directories) / spent);
}

void
progress_show(const json_t *news, void *arg)
{
    struct progress *progress = arg;
    char text[HUMAN_MAX];
    const char *what = json_string_value(json_object_get(news, "text"));
    double done = json_number_value(json_object_get(news, "done"));
    double spent = progress_seconds(progress);
    if (!progress->terminal || spent < QUIET_SECONDS)
        return;
    fprintf(stderr, "\r\033[K%s  %.0f %%", what != NULL ? what : "comparing directories",
            done * 100);
    show_rate(news, spent);
    double left = seconds_left(news, done, spent);
    if (left >= 0)
        fprintf(stderr, "  %s left", human_seconds(left, text));
    fflush(stderr);
    progress->shown = true;
    progress->noted[0] = '\0';
}

/* How many bytes of it are one line: what wraps could not be wiped. */
static int
fits(const char *text)
{
    struct winsize size = { 0 };
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2)
        size.ws_col = 80;
    size_t len = MIN(strlen(text), (size_t)size.ws_col - 1);
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--; /* within a character */
    return (int)len;
}

void
progress_note(struct progress *progress, const char *text)
{
    if (progress_seconds(progress) < QUIET_SECONDS || strcmp(text, progress->noted) == 0)
        return;
    snprintf(progress->noted, sizeof(progress->noted), "%s", text);
    if (progress->terminal)
        fprintf(stderr, "\r\033[K%.*s", fits(text), text);
    else
        fprintf(stderr, "mailtwin: %s\n", text);
    fflush(stderr);
    progress->shown = progress->terminal;
}

void
progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
