/* inspect.c - tells what a file is by its content, and prints it. */
#include "cli/commands.h"
#include "cli/inspect_journal.h"
#include "cli/inspect_wire.h"
#include "cli/papers.h"
#include "lib/data/journal_read.h"
#include "lib/os/file.h"
#include "lib/store/dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PEM_MARK "-----BEGIN CERTIFICATE-----"

static int
print_frames(struct span in, struct err *e)
{
    _cleanup_free_ struct wire_msg *msg = xmalloc(sizeof(*msg));
    uint64_t offset = 0;
    while (in.len > 0) {
        struct frame frame;
        int r = frame_decode(in, &frame, e);
        if (r == 0)
            return err_set(e, ERR_CORRUPT, "the file ends within a frame, at byte %" PRIu64,
                           offset);
        if (r < 0 || wire_decode(&frame, msg, e) < 0)
            return err_wrap(e, "byte %" PRIu64, offset);
        printf("%10" PRIu64 " %-13s", offset, wire_type_word(msg->type));
        wire_print(msg, stdout);
        putchar('\n');
        offset += frame.size;
        in = span_from(in, frame.size, in.len - frame.size);
    }
    return 0;
}

static int
print_certificate(const char *path, struct err *e)
{
    struct pki_paper paper;
    if (pki_read(path, &paper, e) < 0)
        return -1;
    paper_print(path, &paper);
    return 0;
}

/* Its trailer; the bytes before it are the program's. */
static void
print_dump(const struct dump_trailer *trailer)
{
    printf("dump %llu of epoch %llu: %llu bytes, made in %.1f s, SHA-256 ",
           (unsigned long long)trailer->number, (unsigned long long)trailer->epoch,
           (unsigned long long)trailer->size,
           (double)(trailer->ended_ms - MIN(trailer->began_ms, trailer->ended_ms)) / 1000);
    for (size_t i = 0; i < sizeof(trailer->hash); i++)
        printf("%02x", trailer->hash[i]);
    putchar('\n');
}

static bool
is_dump(struct span in, struct dump_trailer *ret_trailer)
{
    size_t len = MIN(in.len, (size_t)DUMP_TRAILER_SIZE);
    return dump_trailer_decode(span_from(in, in.len - len, len), in.len, ret_trailer, NULL) == 0;
}

static int
print_file(const char *path, struct span in, struct err *e)
{
    struct frame frame;
    struct err unknown = { 0 };
    struct dump_trailer trailer;
    if (is_dump(in, &trailer)) {
        print_dump(&trailer);
        return 0;
    }
    if (memmem(in.ptr, in.len, PEM_MARK, strlen(PEM_MARK)) != NULL)
        return print_certificate(path, e);
    if (in.len < FRAME_HEADER_SIZE || frame_decode(in, &frame, &unknown) < 0)
        return err_set(e, ERR_CORRUPT, "this is in none of mailtwin's formats");
    return print_frames(in, e);
}

int
cmd_inspect(const struct line *line, struct err *e)
{
    struct stat st;
    if (line->argument_count == 0)
        return err_set(e, ERR_USAGE, "usage: mailtwin inspect FILE");
    const char *path = line->arguments[0];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(e, ERR_IO, "open %s", path);
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return err_set(e, ERR_CORRUPT, "%s: it is empty or not a regular file", path);
    size_t size = (size_t)st.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return err_sys(e, ERR_IO, "map %s", path);
    bool json = line_has(line, "json"), journal = journal_read_knows(span_of(map, size));
    int r = journal ? 0
            : json  ? err_set(e, ERR_USAGE, "only a journal is printed as JSON")
                    : print_file(path, span_of(map, size), e);
    munmap(map, size);
    if (journal)
        r = journal_print(path, json, e);
    return r < 0 ? err_wrap(e, "%s", path) : r;
}
