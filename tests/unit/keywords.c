#include "lib/store/keywords.h"
#include "tests/unit/test.h"

#include <stdio.h>

static void
check_written(const struct keywords *k, const char *text)
{
    _cleanup_buf_ struct buf out = { 0 };
    keywords_write(k, &out);
    CHECK(span_equal(buf_span(&out), span_str(text)));
}

TEST(a_list_is_read_and_written_as_dovecot_does)
{
    struct keywords k;
    keywords_read(span_str("0 Later\n25 $Forwarded\n"), &k);
    CHECK_INT(keywords_find(&k, span_str("later")), 0);
    CHECK_INT(keywords_find(&k, span_str("$Forwarded")), 25);
    CHECK_INT(keywords_find(&k, span_str("Late")), -1);
    CHECK_INT(keywords_add(&k, span_str("New")), 1);
    check_written(&k, "0 Later\n1 New\n25 $Forwarded\n");
}

TEST(a_line_that_dovecot_passes_over_is_passed_over)
{
    static const char *const lines[] = { "",     "\n\n",   "26 a\n", "x a\n",   "1\n",
                                         "1 \n", "1a b\n", " 1 a\n", "0001 a\n" };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct keywords k;
        keywords_read(span_str(lines[i]), &k);
        check_written(&k, "");
    }
    struct keywords k;
    keywords_read(span_str("bad\n2 a b"), &k); /* no end: it counts, as it does there */
    check_written(&k, "2 a b\n");
}

TEST(there_are_as_many_keywords_as_letters)
{
    struct keywords k = { 0 };
    char names[KEYWORDS_MAX][8];
    for (int i = 0; i < KEYWORDS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "k%d", i);
        CHECK_INT(keywords_add(&k, span_str(names[i])), i);
    }
    CHECK_INT(keywords_add(&k, span_str("more")), -1);
}
