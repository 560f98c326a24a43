#include "replicator/status_dump.h"

#include "lib/os/file.h"

#define NOTES_MAX   (256 * 1024)
#define LATE_TIMES  3
#define LATE_MIN_MS 60000

json_t *
status_dump(const struct node *node, const struct conf_store *store)
{
    _cleanup_free_ char *name = xasprintf("%s.json", store->name);
    _cleanup_free_ char *text = NULL;
    size_t len;
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    _cleanup_close_ int dirfd = openat(node->state_dirfd, "dumps", flags);
    if (dirfd < 0 || file_read(dirfd, name, NOTES_MAX, &text, &len, NULL) <= 0)
        return json_null();
    json_t *notes = json_loadb(text, len, 0, NULL);
    json_t *last = json_object_get(notes, "last");
    last = json_is_object(last) ? json_incref(last) : json_null();
    json_decref(notes);
    return last;
}

bool
status_dump_is_late(const struct conf_store *store, const json_t *last, uint64_t now_s)
{
    uint64_t began = (uint64_t)json_integer_value(json_object_get(last, "began_ms"));
    uint64_t most = MAX(LATE_TIMES * store->dump.every_ms, (uint64_t)LATE_MIN_MS);
    return now_s * 1000 > began + most + store->dump.timeout_ms;
}
