/* Any text is a retained name or refused; one that is taken is written again as it was. */
#include "lib/data/retained.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_buf_ struct buf path = { 0 };
    struct retained_name name;
    char text[PATH_NAME_MAX + 1];
    if (retained_name_decode(span_of(data, size), &path, &name, NULL) < 0 || name.wrapped)
        return 0;
    ASSERT(path_valid(name.path) && name.path.len > 0);
    retained_name_encode(&name, text);
    ASSERT(!name.wrapped && span_equal(span_str(text), span_of(data, size)));
    return 0;
}
