/* Any bytes are a version's name, a trailer, a command line, or refused. What is a name or a
 * trailer is written again as the same bytes; the words of a line, each quoted, are the same words.
 */
#include "lib/store/dump.h"
#include "lib/base/buf.h"
#include "lib/base/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_name(struct span name)
{
    struct dump_version version;
    char again[DUMP_NAME_SIZE];
    if (!dump_name_parse(name, &version))
        return;
    dump_name_write(&version, again);
    ASSERT(span_equal(name, span_str(again)));
}

static void
check_trailer(struct span bytes)
{
    struct dump_trailer trailer;
    uint8_t again[DUMP_TRAILER_SIZE];
    if (bytes.len < DUMP_TRAILER_SIZE)
        return;
    uint64_t told = get_le64(bytes.ptr + 16);
    if (told > UINT64_MAX - DUMP_TRAILER_SIZE ||
        dump_trailer_decode(bytes, told + DUMP_TRAILER_SIZE, &trailer, NULL) < 0)
        return;
    dump_trailer_encode(&trailer, again);
    ASSERT(trailer.size == told && memcmp(again + 16, bytes.ptr + 16, 72) == 0);
}

static void
add_quoted(struct buf *line, const char *word)
{
    buf_add_u8(line, '"');
    for (; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\')
            buf_add_u8(line, '\\');
        buf_add_u8(line, (uint8_t)*word);
    }
    buf_add(line, "\" ", 2);
}

static void
check_words(const char *text)
{
    _cleanup_words_ char **words = NULL;
    _cleanup_words_ char **again = NULL;
    _cleanup_buf_ struct buf line = { 0 };
    size_t i = 0;
    if (words_split(text, &words, NULL) < 0)
        return;
    for (; words[i] != NULL; i++)
        add_quoted(&line, words[i]);
    buf_add_u8(&line, 0);
    ASSERT(words_split((const char *)line.ptr, &again, NULL) == 0);
    for (i = 0; words[i] != NULL; i++)
        ASSERT(again[i] != NULL && strcmp(words[i], again[i]) == 0);
    ASSERT(again[i] == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xmalloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    check_name(span_of(data, size));
    check_trailer(span_of(data, size));
    check_words(text);
    return 0;
}
