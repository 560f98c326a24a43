#include "lib/base/nearest.h"

#include <string.h>

unsigned
nearest_distance(const char *a, const char *b)
{
    size_t a_len = strnlen(a, NEAREST_MAX), b_len = strnlen(b, NEAREST_MAX);
    unsigned row[NEAREST_MAX + 1];
    for (unsigned k = 0; k <= b_len; k++)
        row[k] = k;
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= b_len; k++) {
            unsigned change = diagonal + (a[i - 1] != b[k - 1]);
            diagonal = row[k];
            row[k] = MIN(change, MIN(row[k], row[k - 1]) + 1);
        }
    }
    return row[b_len];
}

const char *
nearest_word(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned distance = nearest_distance(word, words[i]);
        if (best != NULL && distance >= best_distance)
            continue;
        best = words[i];
        best_distance = distance;
    }
    return best;
}
