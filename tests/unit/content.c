#include "replicator/content.h"
#include "tests/unit/capture_kit.h"
#include "tests/unit/link_kit.h"

static struct cap *
begin(struct link_ends *link)
{
    struct cap *c = cap_new();
    if (c == NULL)
        return NULL;
    cap_open(c);
    link_ends_open(link);
    return c;
}

static void
end(struct cap *c, struct link_ends *link)
{
    link_ends_close(link);
    cap_free(c);
}

/* The record that capture writes of a name of the first store. */
static struct record
record_of(struct cap *c, enum record_op op, const char *path, struct look *look)
{
    assert_int_equal(look_at(c->node->stores[0].root_fd, path, look, &c->e), 0);
    assert_true(look->exists);
    return (struct record){ .op = op,
                            .path = span_str(path),
                            .attr = look->attr,
                            .handle = attrs_handle_span(&look->handle) };
}

static void
ship(struct cap *c, struct link_ends *link, const struct record *r, struct arrival *a)
{
    _cleanup_content_ struct content content = { .fd = -1 };
    uint64_t bytes = 0;
    if (content_open(c->node, r, &content, &c->e) < 0 ||
        content_load(&content, CONTENT_SMALL, &c->e) < 0)
        fail_msg("%s", c->e.text);
    pthread_t thread = arrival_begin(a, link);
    int rc = content_send(link->to, r, &content, (struct span){ 0 }, &bytes, &c->e);
    if (rc < 0 || link_io_flush(link->to, &c->e) < 0)
        fail_msg("%s", c->e.text);
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK_INT(bytes, a->sent);
}

static void
check_arrived(struct cap *c, const struct arrival *a, const char *path)
{
    char *text = NULL;
    size_t len;
    CHECK_INT(file_read(c->node->stores[0].root_fd, path, 64 << 20, &text, &len, &c->e), 1);
    CHECK_INT(a->content, WIRE_CONTENT_DATA);
    CHECK(a->ok && a->crc_right);
    CHECK_INT(a->size, len);
    size_t tail = len - a->bytes.len; /* a hole at the end is told by the size */
    CHECK(a->bytes.len <= len);
    CHECK(a->bytes.len == 0 || memcmp(a->bytes.ptr, text, a->bytes.len) == 0);
    for (size_t i = 0; i < tail; i++)
        CHECK_INT(text[a->bytes.len + i], 0);
    free(text);
}

TEST(a_message_is_found_under_whatever_name_it_has_by_now)
{
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct arrival a = { 0 };
    struct look look;
    cap_sh(c, "mkdir mail/new mail/cur && echo hello >mail/new/1 && setfattr -n user.x -v 1 "
              "mail/new/1");
    struct record r = record_of(c, OP_PUT, "new/1", &look);
    cap_sh(c, "mv mail/new/1 mail/cur/1:2,S && echo other >mail/new/1");
    ship(c, &link, &r, &a);
    check_arrived(c, &a, "cur/1:2,S");
    CHECK_INT(a.xattrs, 1);
    CHECK_INT(a.now.size, 6);
    cap_sh(c, "rm mail/cur/*");
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_GONE);
    r.handle = (struct span){ 0 }; /* then by its name, and another has it */
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_GONE);
    r = record_of(c, OP_PUT, "new/1", &look);
    r.handle = (struct span){ 0 };
    ship(c, &link, &r, &a);
    check_arrived(c, &a, "new/1");
    buf_free(&a.bytes);
    end(c, &link);
}

TEST(files_of_all_sizes_arrive_byte_for_byte)
{
    static const char *const makes[] = {
        "truncate -s 0 f",
        "echo x >f",
        "head -c 262143 /dev/urandom >f",
        "head -c 262144 /dev/urandom >f",
        "head -c 262145 /dev/urandom >f",
        "head -c 3000001 /dev/urandom >f",
        "truncate -s 5000000 f && echo end | dd of=f bs=1 seek=2000000 conv=notrunc 2>/dev/null",
        "(head -c 70000 /dev/urandom; echo) >f; truncate -s 4000000 f; echo end >>f",
        "truncate -s 1000000 f",
    };
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct arrival a = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(makes); i++) {
        struct look look;
        print_message("%s\n", makes[i]);
        cap_sh(c, "cd mail && rm -f f && %s", makes[i]);
        struct record r = record_of(c, OP_PUT, "f", &look);
        ship(c, &link, &r, &a);
        check_arrived(c, &a, "f");
    }
    CHECK(a.sent < 500000); /* of nothing but a hole nothing travels, or little */
    buf_free(&a.bytes);
    end(c, &link);
}

TEST(what_has_no_content_travels_with_its_attributes)
{
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct arrival a = { 0 };
    struct look look;
    cap_sh(c, "mkdir -m 750 mail/d && mkfifo mail/p && echo x >mail/f && ln -s x mail/l");
    struct record r = record_of(c, OP_MKDIR, "d", &look);
    cap_sh(c, "chmod 700 mail/d");
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_NONE);
    CHECK_INT(a.now.mode, S_IFDIR | 0700); /* as it is now */
    r = record_of(c, OP_META, "f", &look);
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_NONE);
    r = record_of(c, OP_META, "l", &look);
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_NONE);
    r = record_of(c, OP_MKDIR, "d", &look);
    cap_sh(c, "rmdir mail/d && echo x >mail/d");
    ship(c, &link, &r, &a); /* what came into it has records that build on it */
    CHECK_INT(a.content, WIRE_CONTENT_NONE);
    CHECK(S_ISDIR(a.now.mode));
    r = record_of(c, OP_PUT, "f", &look);
    r.handle = (struct span){ 0 };
    cap_sh(c, "rm mail/f && mkfifo mail/f");
    ship(c, &link, &r, &a); /* of another type by now, and opening it must not wait */
    CHECK_INT(a.content, WIRE_CONTENT_GONE);
    cap_sh(c, "rm mail/f && ln -s /etc/passwd mail/f");
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_GONE);
    buf_free(&a.bytes);
    end(c, &link);
}

TEST(what_was_read_ahead_is_sent_in_pieces)
{
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct look look;
    struct arrival a = { 0 };
    cap_sh(c, "head -c 3000001 /dev/urandom >mail/dovecot-uidlist");
    struct record r = record_of(c, OP_PUT, "dovecot-uidlist", &look);
    struct content content;
    uint64_t bytes = 0;
    CHECK_INT(content_open(c->node, &r, &content, &c->e), 0);
    CHECK_INT(content_load(&content, CONTENT_LOAD_MAX, &c->e), 0);
    pthread_t thread = arrival_begin(&a, &link);
    CHECK_INT(content_send(link.to, &r, &content, (struct span){ 0 }, &bytes, &c->e), 0);
    CHECK_INT(link_io_flush(link.to, &c->e), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    check_arrived(c, &a, "dovecot-uidlist");
    content_close(&content);
    buf_free(&a.bytes);
    end(c, &link);
}

TEST(a_file_without_a_name_is_gone_while_somebody_has_it_open)
{
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct look look;
    struct arrival a = { 0 };
    cap_sh(c, "echo x >mail/f");
    struct record r = record_of(c, OP_PUT, "f", &look);
    int fd = openat(c->node->stores[0].root_fd, "f", O_RDONLY);
    CHECK(fd >= 0);
    cap_sh(c, "rm mail/f");
    ship(c, &link, &r, &a);
    CHECK_INT(a.content, WIRE_CONTENT_GONE);
    close(fd);
    end(c, &link);
}

TEST(a_small_file_is_sent_as_it_was_at_one_moment)
{
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct look look;
    cap_sh(c, "echo first >mail/f");
    struct record r = record_of(c, OP_PUT, "f", &look);
    struct content content;
    CHECK_INT(content_open(c->node, &r, &content, &c->e), 0);
    cap_sh(c, "echo the second one is longer >mail/f"); /* between opening and reading */
    CHECK_INT(content_load(&content, CONTENT_LOAD_MAX, &c->e), 0);
    CHECK(content.loaded);
    CHECK(span_equal(buf_span(&content.bytes), span_str("the second one is longer\n")));
    CHECK_INT(content.now.size, content.bytes.len);
    content_close(&content);
    end(c, &link);
}

TEST(a_file_that_shrank_while_it_was_sent_is_marked)
{
    struct link_ends link;
    struct cap *c = begin(&link);
    CAP_NEEDED(c);
    struct look look;
    struct arrival a = { 0 };
    cap_sh(c, "head -c 1000000 /dev/urandom >mail/f");
    struct record r = record_of(c, OP_PUT, "f", &look);
    struct content content;
    uint64_t bytes = 0;
    CHECK_INT(content_open(c->node, &r, &content, &c->e), 0);
    cap_sh(c, "truncate -s 400000 mail/f");
    pthread_t thread = arrival_begin(&a, &link);
    CHECK_INT(content_send(link.to, &r, &content, (struct span){ 0 }, &bytes, &c->e), 0);
    CHECK_INT(link_io_flush(link.to, &c->e), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK(!a.ok);
    CHECK_INT(bytes, 400000);
    content_close(&content);
    buf_free(&a.bytes);
    end(c, &link);
}
