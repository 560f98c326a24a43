/* Each row of the table in docs/replication.md, "Watch": what is seen, and the records it makes. */
#include "tests/unit/hand_kit.h"

#include <sys/socket.h>
#include <sys/un.h>

struct row {
    const char *what; /* done in mail/ while the capture stands still */
    const char *records;
};

static void
check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cap *c = begin_mailboxes();
        CAP_NEEDED(c);
        print_message("%s\n", rows[i].what);
        cap_hold(c);
        cap_sh(c, "cd mail && %s", rows[i].what);
        cap_release(c);
        cap_check_records(c, rows[i].records);
        cap_check_index(c);
        cap_free(c);
    }
}

TEST(a_new_name_of_an_unknown_object_is_made)
{
    static const struct row rows[] = {
        { "echo x >ada/new/2", "put ada/new/2\n" },
        { "echo x >ada/tmp/2.M", "" },
        { "echo x >ada/tmp/2.M; mv ada/tmp/2.M ada/new/2", "put ada/new/2\n" },
        { "echo x >ada/tmp/2.M; ln ada/tmp/2.M ada/new/2; rm ada/tmp/2.M", "put ada/new/2\n" },
        { "echo x >ada/new/2; rm ada/new/2", "" },
        { "mkdir eve", "mkdir eve\n" },
        { "mkdir -p eve/cur; echo x >eve/cur/1", "mkdir eve\nmkdir eve/cur\nput eve/cur/1\n" },
        { "ln -s ../ada/cur bob/l", "symlink ../ada/cur > bob/l\n" },
        { "mkfifo bob/p", "mknod bob/p\n" },
        { "echo x >\"ada/new/$(printf 'a\\nb')\"", "put ada/new/a\nb\n" },
        { "echo x >ada/new/$(printf %0255d 7)",
          "put ada/new/000000000000000000000000000000000000000000000000000000000000000000000000000"
          "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
          "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
          "0007\n" },
        { "cd ../out; mkdir -p d/e; echo x >d/e/f; mv d ../mail/bob/d",
          "mkdir bob/d\nmkdir bob/d/e\nput bob/d/e/f\n" },
        { "echo x >../out/f; mv ../out/f bob/f", "put bob/f\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(a_new_name_of_a_known_object_is_a_rename)
{
    static const struct row rows[] = {
        { "mv ada/cur/1 ada/cur/1:2,S", "rename ada/cur/1 > ada/cur/1:2,S\n" },
        { "mv ada/cur/1 bob/new/1", "rename ada/cur/1 > bob/new/1\n" },
        { "mv ada/cur/1 ada/cur/2; mv ada/cur/2 ada/cur/3", "rename ada/cur/1 > ada/cur/3\n" },
        { "mv ada/cur/1 ada/cur/2; mv ada/cur/2 ada/cur/1", "" },
        { "mv ada/cur/1 ada/tmp/1.M; mv ada/tmp/1.M ada/cur/2", "rename ada/cur/1 > ada/cur/2\n" },
        { "ln ada/cur/1 ada/cur/2; rm ada/cur/1", "rename ada/cur/1 > ada/cur/2\n" },
        { "mv ada eve", "rename ada > eve\n" },
        { "mv ada eve; mv eve zoe", "rename ada > zoe\n" },
        { "mv ada bob/cur/ada; mv bob/cur/ada/cur cur",
          "rename ada > bob/cur/ada\nrename bob/cur/ada/cur > cur\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

/* Nothing of what stands in the way for a moment is deleted and shipped again. */
TEST(names_that_change_hands_cost_renames_only)
{
    static const struct row rows[] = {
        { "echo 2 >f; mv f ada/cur/2; mv ada/cur/1 ada/cur/0; mv ada/cur/2 ada/cur/1",
          "rename ada/cur/1 > .mailtwin-parked-N\nput ada/cur/1\n"
          "rename .mailtwin-parked-N > ada/cur/0\n" },
        { "mv ada t; mv bob ada; mv t bob", "rename ada > .mailtwin-parked-N\nrename bob > ada\n"
                                            "rename .mailtwin-parked-N > bob\n" },
        { "mv bob/cur t; mv ada/cur bob/cur; mv t ada/cur",
          "rename bob/cur > .mailtwin-parked-N\nrename ada/cur > bob/cur\n"
          "rename .mailtwin-parked-N > ada/cur\n" },
        { "mv ada/cur/1 ada/cur/0; mv ada/dovecot-uidlist ada/cur/1",
          "rename ada/cur/1 > .mailtwin-parked-N\nrename ada/dovecot-uidlist > ada/cur/1\n"
          "rename .mailtwin-parked-N > ada/cur/0\n" },
        { "mv ada/cur/1 ../out/1; mv ada/dovecot-uidlist ada/cur/1",
          "rename ada/cur/1 > .mailtwin-parked-N\nrename ada/dovecot-uidlist > ada/cur/1\n"
          "unlink .mailtwin-parked-N\n" },
        { "mv ada ../out/ada; mv bob ada",
          "rename ada > .mailtwin-parked-N\nrename bob > ada\nrmtree .mailtwin-parked-N\n" },
        { "mv ada/cur/1 bob/1; mkdir ada/cur/1", "rename ada/cur/1 > bob/1\nmkdir ada/cur/1\n" },
        { "mkdir ada/sub; mv ada/sub x; mv ada x/ada", "mkdir x\nrename ada > x/ada\n" },
        /* bob goes into what came out of him, and is looked at first */
        { "echo >bob/new/bob; rm bob/new/bob; mv bob/new new; mv bob new/bob",
          "rename bob/new > .mailtwin-parked-N\nrename bob > .mailtwin-parked-N/bob\n"
          "rename .mailtwin-parked-N > new\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(an_exchange_is_seen_as_one_whatever_is_exchanged)
{
    static const struct {
        const char *a, *b, *records;
    } pairs[] = {
        { "ada", "bob",
          "rename ada > .mailtwin-parked-N\nrename bob > ada\nrename .mailtwin-parked-N > bob\n" },
        { "ada/cur/1", "ada/dovecot-uidlist",
          "rename ada/cur/1 > .mailtwin-parked-N\nrename ada/dovecot-uidlist > ada/cur/1\n"
          "late rename .mailtwin-parked-N > ada/dovecot-uidlist\n" },
        { "ada/cur/1", "bob",
          "rename ada/cur/1 > .mailtwin-parked-N\nrename bob > ada/cur/1\n"
          "rename .mailtwin-parked-N > bob\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct cap *c = begin_mailboxes();
        CAP_NEEDED(c);
        cap_hold(c);
        cap_exchange(c, pairs[i].a, pairs[i].b);
        cap_release(c);
        cap_check_records(c, pairs[i].records);
        cap_check_index(c);
        cap_free(c);
    }
}

TEST(a_directory_with_10000_files_is_renamed_with_one_record)
{
    struct cap *c = begin_mailboxes();
    CAP_NEEDED(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_sh(c, "cd mail && mkdir big && cd big && seq 10000 | xargs touch");
    cap_barrier(c);
    cap_records(c, &text);
    cap_sh(c, "mv mail/big mail/ada/huge");
    cap_barrier(c);
    cap_check_records(c, "rename big > ada/huge\n");
    cap_hold(c);
    cap_sh(c, "echo x >mail/ada/huge/77"); /* and it is still watched */
    cap_release(c);
    cap_check_records(c, "put ada/huge/77\n");
    CHECK(cap_check_index(c) > 10000);
    cap_free(c);
}

TEST(a_tree_moved_from_store_to_store_is_made_there_and_removed_here)
{
    struct cap *c = begin_mailboxes();
    CAP_NEEDED(c);
    cap_hold(c);
    cap_sh(c, "mv mail/ada/cur files/box");
    cap_release(c);
    cap_check_records(c, "files: mkdir box\nrmtree ada/cur\nfiles: put box/1\n");
    cap_hold(c);
    cap_sh(c, "echo x >files/box/2"); /* and it is watched there */
    cap_release(c);
    cap_check_records(c, "files: put box/2\n");
    cap_check_index(c);
    cap_free(c);
}

TEST(what_changed_beside_the_name_follows_the_rename)
{
    static const struct row rows[] = {
        { "echo x >>ada/cur/1; mv ada/cur/1 ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nput ada/cur/2\n" },
        { "mv ada/cur/1 ada/cur/2; echo x >>ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nput ada/cur/2\n" },
        { "chmod 640 ada/cur/1; mv ada/cur/1 ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nmeta ada/cur/2\n" },
        { "setfattr -n user.a -v 1 ada/cur/1; mv ada/cur/1 ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nmeta ada/cur/2\n" },
        { "mv ada/cur/1 ada/cur/2; setfattr -n user.a -v 1 ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nmeta ada/cur/2\n" },
        { "chmod 750 ada; mv ada eve", "rename ada > eve\nmeta eve\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(a_second_name_is_a_link)
{
    static const struct row rows[] = {
        { "ln ada/cur/1 bob/new/1", "link ada/cur/1 > bob/new/1\n" },
        { "ln ada/cur/1 bob/new/1; ln bob/new/1 bob/new/2",
          "link ada/cur/1 > bob/new/1\nlink bob/new/1 > bob/new/2\n" },
        { "ln ada/cur/1 bob/new/1; mv ada/cur/1 ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nlink ada/cur/2 > bob/new/1\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(a_change_in_place_is_content_or_attributes)
{
    static const struct row rows[] = {
        { "echo x >>ada/cur/1", "put ada/cur/1\n" },
        { "touch -d 2001-01-01 ada/cur/1", "put ada/cur/1\n" },
        { "chmod 640 ada/cur/1", "meta ada/cur/1\n" },
        { "chown 5000:5001 ada/cur/1", "meta ada/cur/1\n" },
        { "setfattr -n user.a -v 1 ada/cur/1", "meta ada/cur/1\n" },
        { "chmod 640 ada/cur/1; echo x >>ada/cur/1", "put ada/cur/1\n" },
        { "chmod 750 ada", "meta ada\n" },
        { "setfattr -n user.a -v 1 ada", "meta ada\n" },
        { "touch -d 2001-01-01 ada", "" },
        { "cat ada/cur/1 >../out/copy; ls ada/cur", "" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(a_name_that_is_gone_is_unlinked)
{
    static const struct row rows[] = {
        { "rm ada/cur/1", "unlink ada/cur/1\n" },
        { "mv ada/cur/1 ../out/1", "unlink ada/cur/1\n" },
        { "mv ada/cur/1 ada/tmp/1.M", "unlink ada/cur/1\n" },
        { "mv ada ../out/ada", "rmtree ada\n" },
        { "rmdir bob/new", "rmtree bob/new\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

/* What is below it may be told of as well, as far as it was still to be seen. */
TEST(a_removed_tree_ends_with_one_record)
{
    struct cap *c = begin_mailboxes();
    CAP_NEEDED(c);
    cap_hold(c);
    cap_sh(c, "rm -r mail/ada");
    cap_release(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    static const char end[] = "rmtree ada\n";
    CHECK(text.len >= sizeof(end));
    CHECK_STR((const char *)text.ptr + text.len - sizeof(end), end);
    CHECK(strstr((const char *)text.ptr, "bob") == NULL);
    cap_check_index(c);
    cap_free(c);
}

TEST(another_object_under_the_name_replaces_it)
{
    static const struct row rows[] = {
        { "echo new >bob/t; mv bob/t ada/dovecot-uidlist", "late put ada/dovecot-uidlist\n" },
        { "rm ada/cur/1; echo other >ada/cur/1", "put ada/cur/1\n" },
        { "rm ada/cur/1; mkdir ada/cur/1", "unlink ada/cur/1\nmkdir ada/cur/1\n" },
        { "rmdir bob/new; echo x >bob/new", "rmtree bob/new\nput bob/new\n" },
        { "rmdir bob/new; ln -s cur bob/new", "rmtree bob/new\nsymlink cur > bob/new\n" },
        { "rm -r bob; mkdir bob", "rmtree bob\nmkdir bob\n" },
        { "rm ada/cur/1; ln -s x ada/cur/1", "symlink x > ada/cur/1\n" },
        { "echo x >ada/cur/2; mv ada/cur/2 ada/cur/1", "put ada/cur/1\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(noise_is_not_recorded)
{
    static const struct row rows[] = {
        { "echo x >ada/dovecot.index.log; echo x >ada/x.lock; echo x >ada/maildirsize", "" },
        { "mkdir .mailtwin; echo x >.mailtwin/x", "" },
        { "echo x >ada/x.lock; mv ada/x.lock ada/dovecot-keywords",
          "late put ada/dovecot-keywords\n" },
        { "echo x >../files/a; echo x >../files/a.lck", "files: put a\n" },
        { "mkdir ../files/tmp ../files/cur; echo x >../files/tmp/a",
          "files: mkdir tmp\nfiles: mkdir cur\nfiles: put tmp/a\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

TEST(sockets_and_devices_are_left_alone)
{
    struct cap *c = begin_mailboxes();
    CAP_NEEDED(c);
    cap_hold(c);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/ada/socket", c->stores[0].path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cap_sh(c, "mknod mail/ada/null c 1 3");
    cap_release(c);
    cap_check_records(c, "");
    close(fd);
    cap_free(c);
}

TEST(messages_come_before_keywords_and_those_before_the_uidlist)
{
    static const struct row rows[] = {
        { "echo 1 >ada/dovecot-uidlist; echo k >ada/dovecot-keywords; echo x >ada/new/2",
          "put ada/new/2\nlate put ada/dovecot-keywords\nlate put ada/dovecot-uidlist\n" },
        { "echo 1 >bob/dovecot-uidlist; mv ada/cur/1 ada/cur/1:2,S; rm ada/dovecot-uidlist; "
          "echo 1 >>ada/dovecot-keywords",
          "rename ada/cur/1 > ada/cur/1:2,S\nlate put ada/dovecot-keywords\n"
          "late put bob/dovecot-uidlist\nlate unlink ada/dovecot-uidlist\n" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

/* --- several names --- */

/* Two names of one object, and what is not in the rows above. */
static struct cap *
begin_linked(void)
{
    struct cap *c = begin_mailboxes();
    if (c == NULL)
        return NULL;
    cap_sh(c, "cd mail && echo linked >a && ln a b && mkdir d && ln a d/c && mkfifo p && "
              "echo z >z && ln z ../files/z");
    cap_grow_old();
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    cap_records(c, &text);
    cap_stop(c); /* with nothing young in the index */
    cap_start(c);
    cap_barrier(c);
    cap_records(c, &text);
    return c;
}

static void
check_linked(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cap *c = begin_linked();
        CAP_NEEDED(c);
        print_message("%s\n", rows[i].what);
        cap_hold(c);
        cap_sh(c, "cd mail && %s", rows[i].what);
        cap_release(c);
        cap_check_records(c, rows[i].records);
        cap_check_index(c);
        cap_free(c);
    }
}

TEST(an_object_with_names_in_two_stores_changes_in_both)
{
    static const struct row rows[] = {
        { "ln a ../files/a", "files: put a\nmeta a\n" },
        { "ln a ../files/a; echo more >>../files/a",
          "files: put a\nput a\nlink a > b\nlink a > d/c\n" },
        { "ln a ../files/a; echo more >>../files/a; rm ../files/a",
          "put a\nlink a > b\nlink a > d/c\n" },
        { "echo more >>../files/z; rm ../files/z", "files: unlink z\nput z\n" },
        { "chmod 640 ../files/z", "files: meta z\nmeta z\n" },
        { "echo more >>z", "put z\nfiles: put z\n" },
        { "exec 3>>z; rm z; echo more >&3", "unlink z\nfiles: put z\n" },
    };
    check_linked(rows, ARRAY_LEN(rows));
}

TEST(what_was_done_through_a_name_that_is_not_replicated_is_seen)
{
    static const struct row rows[] = {
        { "ln a x; rm x", "" },
        { "ln a ada/tmp/2.M; ln a ../out/x", "" },
        { "ln a x; echo more >>x; rm x", "put a\nlink a > b\nlink a > d/c\n" },
        { "ln a x; touch -d @1600000000 x; rm x", "put a\nlink a > b\nlink a > d/c\n" },
        { "ln ada/cur/1 x; chmod 600 x; rm x", "meta ada/cur/1\n" },
        { "ln ada/cur/1 x; setfattr -n user.a -v b x; rm x", "meta ada/cur/1\n" },
        { "ln ada/cur/1 x; echo more >>x; echo y >y; mv y x", "put x\nput ada/cur/1\n" },
        { "mv ada/cur/1 x; setfattr -n user.a -v b x; mv x ada/cur/2",
          "rename ada/cur/1 > ada/cur/2\nmeta ada/cur/2\n" },
        { "ln ada/cur/1 ada/tmp/2.M; echo more >>ada/tmp/2.M", "put ada/cur/1\n" },
        { "ln ada/cur/1 ../out/x; echo more >>../out/x", "put ada/cur/1\n" },
        { "exec 3>>ada/cur/1; mv ada/cur/1 ../out/1; ln ../out/1 ada/cur/1; rm ../out/1; "
          "echo more >&3",
          "put ada/cur/1\n" },
    };
    check_linked(rows, ARRAY_LEN(rows));
}

/* Nothing is young when it is looked at. */
TEST(what_was_done_through_one_name_is_seen_by_a_look_at_another)
{
    static const struct row rows[] = {
        { "setfattr -n user.a -v 1 d/c; mv a e; rm b d/c; sleep 0.1",
          "rename a > e\nmeta e\nunlink d/c\nunlink b\n" },
        { "setfattr -n user.a -v 1 d/c; : >>a; rm d/c; sleep 0.1", "meta a\nunlink d/c\n" },
        { "setfattr -n user.a -v 1 z; mv ../files/z ../files/y; sleep 0.1",
          "files: rename z > y\nfiles: meta y\nmeta z\n" },
        { "setfattr -n user.a -v 1 z; mv ../files/z ../files/y; rm z; sleep 0.1",
          "files: rename z > y\nfiles: meta y\nunlink z\n" },
    };
    check_linked(rows, ARRAY_LEN(rows));
}

TEST(all_names_of_an_object_follow_what_happens_through_one)
{
    static const struct row rows[] = {
        { "echo more >>a", "put a\nlink a > b\nlink a > d/c\n" },
        { "chmod 640 a", "meta a\n" },
        { "echo new >t; mv t a", "put a\nmeta b\n" },
        { ": >a; rm a", "unlink a\nput b\nlink b > d/c\n" },
        { "chmod 640 a; rm a", "unlink a\nmeta b\n" },
        { "rm b", "unlink b\nmeta a\n" },
        { "chmod 640 d/c; rm -r d; mkdir e; mv e d", "rmtree d\nmkdir d\nmeta a\n" },
        { "ln p q", "mknod q\n" },
        { "ln p q; chmod 640 q", "mknod q\nmeta p\n" },
        { "mv a ../out/a", "unlink a\nmeta b\n" },
        { "mv a e", "rename a > e\n" },
        { "mv a e; mv b f; mv d/c g", "rename a > e\nrename b > f\nrename d/c > g\n" },
    };
    check_linked(rows, ARRAY_LEN(rows));
}

/* As Dovecot moves mail; looked at soon, and some time, after each step. */
TEST(a_mail_that_is_moved_by_link_and_unlink_is_not_shipped_again)
{
    static const useconds_t waits[] = { 0, 10000, 100000 };
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        struct cap *c = begin_mailboxes();
        CAP_NEEDED(c);
        cap_sh(c, "cd mail && touch -d '1 minute ago' ada/cur/1");
        cap_barrier(c);
        cap_sh(c, "cd mail && ln ada/cur/1 bob/cur/9");
        cap_barrier(c);
        usleep(waits[i]);
        cap_sh(c, "cd mail && rm ada/cur/1");
        cap_barrier(c);
        _cleanup_buf_ struct buf text = { 0 };
        cap_records(c, &text);
        CHECK_CONTAINS((const char *)text.ptr, "unlink ada/cur/1");
        assert_null(strstr((const char *)text.ptr, "put bob/cur/9"));
        cap_free(c);
    }
}
