#include "lib/base/words.h"

#include "lib/base/buf.h"

#include <stdlib.h>
#include <string.h>

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* What stands behind an opening quote, up to its end; NULL: there is none. */
static const char *
take_quoted(const char *at, char quote, struct buf *word)
{
    for (; *at != quote; at++) {
        if (*at == '\0')
            return NULL;
        if (quote == '"' && at[0] == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        buf_add(word, at, 1);
    }
    return at + 1;
}

/* One word; NULL: its end is missing. */
static const char *
take_word(const char *at, struct buf *word)
{
    while (at != NULL && *at != '\0' && !is_space(*at)) {
        if (*at == '\'' || *at == '"') {
            at = take_quoted(at + 1, *at, word);
            continue;
        }
        if (*at == '\\' && *++at == '\0')
            return NULL;
        buf_add(word, at++, 1);
    }
    return at;
}

int
words_split(const char *text, char ***ret_words, struct err *e)
{
    _cleanup_words_ char **words = xcalloc(WORDS_MAX + 1, sizeof(char *));
    size_t count = 0;
    for (const char *at = text;;) {
        _cleanup_buf_ struct buf word = { 0 };
        while (is_space(*at))
            at++;
        if (*at == '\0')
            break;
        at = take_word(at, &word);
        if (at == NULL)
            return err_set(e, ERR_CONFIG, "a quote or a backslash in \"%.200s\" has no end", text);
        if (count == WORDS_MAX)
            return err_set(e, ERR_CONFIG, "\"%.64s...\" has more than %d words", text, WORDS_MAX);
        words[count++] = xasprintf("%.*s", (int)word.len,
                                   word.len > 0 ? (const char *)word.ptr : "");
    }
    if (count == 0 || words[0][0] == '\0')
        return err_set(e, ERR_CONFIG, "\"%.200s\" names no program", text);
    *ret_words = words;
    words = NULL;
    return 0;
}

void
words_free(char ***words)
{
    for (char **word = *words; word != NULL && *word != NULL; word++)
        free(*word);
    free(*words);
    *words = NULL;
}
