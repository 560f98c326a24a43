/* What a power loss took is held until it came back or no node can have it, and nothing is recorded
 * meanwhile that would cost the standby its copy. */
#include "tests/unit/recover_kit.h"

/* --- contents: held until a standby gave them back --- */

TEST(a_lost_message_is_not_taken_for_deleted)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n && cp -p n ../../../out/n", "rm n");
    check_counted(c, 1);
    check_held(c, "ada/cur/n\n");
    check_records(c, "");
    cap_sh(c, "mv out/n mail/ada/cur/n"); /* brought back */
    answer(c, "mx2", "ada/cur/n", CAPTURE_HELD_BACK);
    check_none_held(c);
    check_records(c, "put ada/cur/n\n");
    end(c);
}

TEST(what_a_power_loss_left_of_a_content_is_not_recorded)
{
    static const char *const left[] = {
        ": >a; touch -d @1700000000 a",           /* shorter, of the same time */
        "echo mail a >a; touch -d @1600000000 a", /* older */
        "rm a; ln -s x a",
    };
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        print_message("%s\n", left[i]);
        start_after_loss(c,
                         "rm ../../../out/a\necho written again >a; touch -d @1700000000 a; "
                         "cp -p a ../../../out/n",
                         left[i]);
        check_held(c, "ada/cur/a\n");
        check_records(c, "");
        cap_sh(c, "cp -p out/n out/m && mv out/m mail/ada/cur/a");
        answer(c, "mx2", "ada/cur/a", CAPTURE_HELD_BACK);
        check_none_held(c);
        end(c);
    }
}

TEST(what_is_written_after_the_loss_wins)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo written again >a; touch -d @1700000000 a",
                     ": >a; touch -d @1600000000 a");
    check_held(c, "ada/cur/a\n");
    cap_hold(c);
    cap_sh(c, "echo newer >mail/ada/cur/a");
    cap_release(c);
    check_none_held(c); /* and it is not asked back */
    check_records(c, "put ada/cur/a\n");
    end(c);
}

TEST(a_lost_tree_is_brought_back_name_by_name)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c,
                     "mkdir ../d && echo 1 >../d/1 && echo 2 >../d/2 && cp -pr ../d ../../../out/d",
                     "rm -r ../d");
    check_held(c, "ada/d\nada/d/1\nada/d/2\n");
    cap_sh(c, "mv out/d/1 mail/ada/d/1");
    cap_barrier(c);
    check_records(c, "put ada/d/1\n"); /* and nothing is removed: the standby has the rest */
    check_held(c, "ada/d\nada/d/2\n");
    answer(c, "mx2", "ada/d", CAPTURE_HELD_BACK);
    all_heard(c, 0);
    check_none_held(c);
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "unlink ada/d/2\n");
    CHECK(strstr((const char *)text.ptr, "rmtree") == NULL);
    end(c);
}

/* The disk went on, and lost the directory as a whole: nothing tells whether somebody deleted it.
 */
TEST(a_directory_that_holds_lost_names_comes_back_before_them)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n", "cd .. && rm -r cur");
    check_held(c, "ada/cur\nada/cur/n\n");
    check_records(c, "");
    cap_hold(c);
    cap_sh(c, "mkdir mail/ada/cur");
    cap_release(c);
    check_records(c, "mkdir ada/cur\nunlink ada/cur/c\nunlink ada/cur/b\nunlink ada/cur/a\n");
    check_held(c, "ada/cur/n\n");
    all_heard(c, 0);
    end(c);
}

TEST(a_directory_deleted_while_names_in_it_are_held_is_not_recorded)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d && echo 0 >../d/0\nmkdir ../d/e\necho 1 >../d/e/1",
                     "rm ../d/e/1");
    check_held(c, "ada/d/e/1\n");
    cap_hold(c);
    cap_sh(c, "rm -r mail/ada/d");
    cap_release(c);
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    CHECK(strstr((const char *)text.ptr, "rmtree") == NULL);
    check_held(c, "ada/d\nada/d/e\nada/d/e/1\n");
    all_heard(c, 0);
    check_none_held(c);
    check_records(
        c, "unlink ada/d/e/1\nrmtree ada/d\n"); /* nobody told of the directory: it comes last */
    end(c);
}

TEST(what_replaces_a_directory_while_names_in_it_are_held_does_not_remove_them)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d\necho 1 >../d/1", "rm ../d/1");
    cap_hold(c);
    cap_sh(c, "rmdir mail/ada/d && mkdir mail/ada/d");
    cap_release(c);
    check_records(c, "mkdir ada/d\n");
    check_held(c, "ada/d/1\n");
    cap_hold(c);
    cap_sh(c, "rmdir mail/ada/d && mkfifo mail/ada/d");
    cap_release(c);
    check_records(c, "");
    check_held(c, "ada/d/1\n");
    all_heard(c, 0);
    check_none_held(c);
    cap_barrier(c);
    check_records(c, "unlink ada/d/1\nrmtree ada/d\nmknod ada/d\n");
    end(c);
}

/* Of two names that were exchanged the disk has one step: what stands under a held name is not
 * gone because its own name is. Where the journal has all of it in one turn, the object gets its
 * own name again, but for what took that. */
TEST(what_stands_under_a_held_name_is_not_recorded_as_gone)
{
    static const char *const steps[] = { "mv b x\nmv a b\ntouch b && cp -p b ../../../out/m",
                                         "mv b x && mv a b && touch b && cp -p b ../../../out/m" };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        char what[200];
        struct cap *c = begin();
        CAP_NEEDED(c);
        snprintf(what, sizeof(what), "touch -d @1500000000 b\n%s", steps[i]);
        start_after_loss(c, what, "ln b ../../../out/a2 && mv x b && touch -d @1900000000 x");
        check_held(c, "ada/cur/b\n");
        _cleanup_buf_ struct buf text = { 0 };
        records(c, &text);
        CHECK(strstr((const char *)text.ptr, "unlink") == NULL);
        CHECK_INT(strstr((const char *)text.ptr, "x-aside") != NULL, i);
        all_heard(c, 0);
        check_none_held(c);
        end(c);
    }
}

/* The nodes may have c, and parted before n was recorded. */
TEST(what_a_name_hid_that_is_given_up_is_recorded_although_others_are_held)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo more >>c\necho new >n", "mv n m");
    check_held(c, "ada/cur/n\n");
    check_doubt(c, "ada/cur/c\n");
    check_records(c, "");
    all_heard(c, capture_tail(c->capture) - 1);
    cap_barrier(c);
    check_held(c, "");
    check_doubt(c, "ada/cur/c\n");
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    CHECK(strstr((const char *)text.ptr, "ada/cur/m") != NULL);
    end(c);
}

/* --- bytes: what looks right may be wrong --- */

TEST(what_was_written_since_the_checkpoint_is_in_doubt)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n\nmv n m\n: >empty\necho more >>c\nmv b x\nchmod 600 a",
                     "true");
    check_none_held(c);
    check_doubt(c, "ada/cur/c\nada/cur/m\n");
    check_records(c, "");
    cap_sh(c, "mv mail/ada/cur/m mail/ada/cur/y"); /* the doubt goes along */
    cap_barrier(c);
    check_doubt(c, "ada/cur/c\nada/cur/y\n");
    cap_sh(c, "echo again >>mail/ada/cur/c");
    cap_barrier(c);
    check_doubt(c, "ada/cur/y\n");
    cap_sh(c, "rm mail/ada/cur/y");
    cap_barrier(c);
    check_doubt(c, "");
    check_counted(c, 0);
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "rename ada/cur/m > ada/cur/y\nput ada/cur/c\n");
    CHECK_CONTAINS((const char *)text.ptr, "unlink ada/cur/y\n");
    end(c);
}

TEST(what_a_node_has_with_other_bytes_is_lost)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n\nln n m", "true");
    check_doubt(c, "ada/cur/m\nada/cur/n\n"); /* each comes back by itself */
    answer(c, "mx2", "ada/cur/m", CAPTURE_HELD_BACK);
    answer(c, "mx2", "ada/cur/n", CAPTURE_HELD_SPOILT);
    check_doubt(c, "");
    check_held(c, "ada/cur/n\n");
    cap_sh(c, "cp -p mail/ada/cur/n out/n && mv out/n mail/ada/cur/n");
    answer(c, "mx2", "ada/cur/n", CAPTURE_HELD_BACK);
    check_none_held(c);
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "put ada/cur/n\n");
    end(c);
}

/* --- who may have it --- */

TEST(a_lost_name_is_given_up_only_when_no_node_can_have_it)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n", "rm n");
    capture_heard(c->capture, "mx2", tail(c));
    answer(c, "mx2", "ada/cur/n", CAPTURE_HELD_WITHOUT);
    check_held(c, "ada/cur/n\n"); /* dr was not heard of */
    capture_heard(c->capture, "dr", tail(c));
    cap_barrier(c);
    check_held(c, "ada/cur/n\n");
    check_records(c, "");
    answer(c, "dr", "ada/cur/n", CAPTURE_HELD_WITHOUT);
    check_none_held(c);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}

TEST(who_has_not_come_as_far_cannot_have_it)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm b\necho new >n", "rm n");
    capture_heard(c->capture, "mx2", 1);
    capture_heard(c->capture, "dr", 0);
    cap_barrier(c);
    check_none_held(c);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}

TEST(an_operator_gives_up_what_nobody_gave_back)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n\necho more >>c", "rm n");
    check_counted(c, 2);
    capture_held_give_up(c->capture);
    cap_barrier(c);
    check_counted(c, 0);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}

TEST(who_lacks_a_held_name_is_sent_nothing_while_another_may_have_it)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm b\necho new >n", "rm n");
    CHECK(capture_held_waits(c->capture, "mx2")); /* nobody was heard of */
    capture_heard(c->capture, "dr", tail(c));
    capture_heard(c->capture, "mx2", 1);
    cap_barrier(c);
    CHECK(capture_held_waits(c->capture, "mx2"));
    CHECK(!capture_held_waits(c->capture, "dr"));
    struct capture_held one = { 0 };
    CHECK_INT(capture_held_next(c->capture, "mx2", &one, &c->e), 0);
    CHECK_INT(capture_held_next(c->capture, "dr", &one, &c->e), 1);
    buf_free(&one.name);
    buf_free(&one.path);
    answer(c, "dr", "ada/cur/n", CAPTURE_HELD_WITHOUT);
    check_none_held(c);
    CHECK(!capture_held_waits(c->capture, "mx2"));
    end(c);
}

/* The one that it yields to has all of them: the lost bytes come from there. */
TEST(a_node_that_is_overwritten_records_what_stands_in_the_place_of_a_held_name)
{
    static const struct {
        const char *left, *records, *held;
    } cases[] = {
        { "rm a; echo other >a; touch -d @1600000000 a",
          "rename ada/cur/a > .mailtwin-parked-N\nput ada/cur/a\nunlink .mailtwin-parked-N\n", "" },
        { "rm a; mv b a; touch -d @1600000000 a",
          "rename ada/cur/a > .mailtwin-parked-N\nrename ada/cur/b > ada/cur/a\nput "
          "ada/cur/a\nunlink .mailtwin-parked-N\n",
          "" },
        { "rm a; mkdir a; echo 1 >a/1",
          "rename ada/cur/a > .mailtwin-parked-N\nmkdir ada/cur/a\nunlink "
          ".mailtwin-parked-N\nput ada/cur/a/1\n",
          "" },
        { "echo mail a >a; touch -d @1600000000 a", "", "ada/cur/a\n" }, /* less of it */
        { "rm a", "", "ada/cur/a\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        print_message("%s\n", cases[i].left);
        start_after_loss(c, "echo written again >a; touch -d @1700000000 a", cases[i].left);
        check_held(c, "ada/cur/a\n");
        check_records(c, "");
        capture_yield(c->capture, "mx2", tail(c));
        cap_barrier(c);
        check_held(c, cases[i].held);
        check_records(c, cases[i].records);
        capture_held_give_up(c->capture);
        cap_barrier(c);
        end(c);
    }
}

TEST(a_node_that_is_overwritten_records_what_stands_in_the_place_of_a_directory_with_held_names)
{
    static const char *const made[] = { "echo other >d", "ln -s a d", "mkfifo d" };
    static const char *const record[] = { "put ada/d\n", "symlink a > ada/d\n", "mknod ada/d\n" };
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        start_after_loss(c, "mkdir ../d\necho 1 >../d/1", "rm ../d/1");
        cap_hold(c);
        cap_sh(c, "cd mail/ada && rmdir d && %s", made[i]);
        cap_release(c);
        check_records(c, "");
        check_held(c, "ada/d/1\n");
        capture_yield(c->capture, "mx2", tail(c));
        cap_barrier(c);
        check_none_held(c);
        cap_barrier(c);
        _cleanup_buf_ struct buf text = { 0 };
        records(c, &text);
        CHECK_CONTAINS((const char *)text.ptr, "rmtree ada/d\n");
        CHECK_CONTAINS((const char *)text.ptr, record[i]);
        end(c);
    }
}

/* The disk had it before the daemon looked: the directory itself is held. */
TEST(a_node_that_is_overwritten_records_what_stands_in_the_place_of_a_held_directory)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d\necho 1 >../d/1", "rm -r ../d && echo other >../d");
    check_records(c, "");
    capture_yield(c->capture, "mx2", tail(c));
    cap_barrier(c);
    check_none_held(c);
    cap_barrier(c);
    _cleanup_buf_ struct buf text = { 0 };
    records(c, &text);
    CHECK_CONTAINS((const char *)text.ptr, "rmtree ada/d\n");
    CHECK_CONTAINS((const char *)text.ptr, "put ada/d\n");
    end(c);
}

TEST(of_a_node_that_is_overwritten_only_who_overwrites_it_may_have_a_name)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm b\necho new >n", "rm n");
    capture_yield(c->capture, "mx2", 1);
    cap_barrier(c);
    check_none_held(c);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}

/* --- when it is none, and when it was one before --- */

TEST(names_still_held_are_held_after_any_end_of_the_daemon)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "echo new >n", "rm n");
    for (unsigned i = 0; i < 3; i++) {
        cap_stop(c); /* cleanly, in the same boot */
        cap_start(c);
        cap_barrier(c);
        check_held(c, "ada/cur/n\n");
        check_records(c, "");
    }
    cap_stop(c);
    die_after(c, "mkdir ../x"); /* not cleanly, in the same boot */
    cap_start(c);
    cap_barrier(c);
    check_held(c, "ada/cur/n\n");
    check_records(c, "mkdir ada/x\n");
    cap_stop(c);
    cap_open(c);
    reboot(c, 2); /* and once more with the power */
    cap_start(c);
    cap_barrier(c);
    check_held(c, "ada/cur/n\n");
    check_records(c, "");
    all_heard(c, 0);
    cap_stop(c);
    cap_start(c);
    cap_barrier(c);
    check_none_held(c);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}

TEST(where_only_the_daemon_died_what_is_gone_was_deleted)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    die_after(c, "echo new >n");
    cap_sh(c, "rm mail/ada/cur/n");
    cap_open(c);
    _cleanup_buf_ struct buf before = { 0 };
    cap_records(c, &before);
    cap_start(c);
    cap_barrier(c);
    check_none_held(c);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}

TEST(after_a_clean_stop_nothing_is_suspect)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    cap_start(c);
    cap_sh(c, "echo new >mail/ada/cur/n");
    cap_barrier(c);
    cap_stop(c);
    cap_sh(c, "rm mail/ada/cur/n");
    cap_open(c);
    _cleanup_buf_ struct buf before = { 0 };
    cap_records(c, &before);
    reboot(c, 2);
    cap_start(c);
    cap_barrier(c);
    check_none_held(c);
    check_records(c, "unlink ada/cur/n\n");
    end(c);
}
