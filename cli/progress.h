/* progress.h - one line on the terminal for what takes longer than two seconds. */
#ifndef MAILTWIN_CLI_PROGRESS_H
#define MAILTWIN_CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_TEXT_MAX 512

struct progress {
    bool terminal;
    bool shown;
    int64_t begun_ms;
    char noted[PROGRESS_TEXT_MAX];
};

void progress_begin(struct progress *progress);
/* For control_ask(): arg is the struct progress. */
void progress_show(const json_t *news, void *arg);
/* There is no progress now, and why: in the place of the line, or where there is no terminal as a
 * line of its own when it is another than before. */
void progress_note(struct progress *progress, const char *text);
void progress_end(struct progress *progress); /* wipes the line */
double progress_seconds(const struct progress *progress);

/* "31 s", "5 min", "3 h", "2 d"; "40.3 KiB". Into text, which is returned. */
#define HUMAN_MAX 32
const char *human_seconds(double seconds, char text[HUMAN_MAX]);
const char *human_bytes(double bytes, char text[HUMAN_MAX]);

#endif
