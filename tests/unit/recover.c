/* After a power loss: names are given and taken again as the journal says, and what is whole is
 * left alone. */
#include "tests/unit/recover_kit.h"

/* --- names: done again from the journal --- */

TEST(a_lost_rename_is_done_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mv a a:2,S", "mv a:2,S a");
    check_there(c, "a:2,S", "a");
    check_none_held(c);
    check_records(c, "");
    end(c);
}

TEST(a_chain_of_lost_renames_is_done_again_in_order)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mv a x\nmv x ../new/y\nmv ../new/y z", "mv z a");
    check_there(c, "z", "a x");
    check_none_held(c);
    check_records(c, "");
    end(c);
}

TEST(a_lost_deletion_is_done_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm a", "ln ../../../out/a a");
    check_there(c, "b c", "a");
    check_none_held(c);
    check_records(c, "");
    end(c);
}

TEST(a_deletion_that_was_taken_back_is_not_done_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm a\nln ../../../out/a a", "true");
    check_there(c, "a b c", "");
    check_none_held(c);
    end(c);
}

TEST(what_is_whole_on_the_disk_is_left_alone)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mv a x && rm b && echo new >n && echo more >>c", "true");
    check_there(c, "x c n", "a b");
    check_none_held(c);
    check_records(c, "");
    end(c);
}

TEST(a_lost_link_is_made_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "ln a x", "rm x");
    check_there(c, "a x", "");
    check_none_held(c);
    check_records(c, "");
    end(c);
}

/* Done once more on a disk that has it all, each of these would undo what came behind it. */
TEST(what_was_done_and_undone_is_left_as_it_is)
{
    static const char *const steps[][2] = {
        { "mv a x\nmv x a", "a b c" },
        { "ln a x\nmv x y", "a b c y" },
        { "mv a x\nln x a\nrm x", "a b c" },
        { "ln a x\nrm a\nmv x a", "a b c" },
        { "mv a x\nmv x y\nln y a", "a b c y" },
        { "mkdir ../d\nmv ../d ../e\nmv a ../e/a\nmv ../e/a a\nrmdir ../e", "a b c" },
        { "mkdir ../d\nrmdir ../d\nmkdir ../d", "a b c ../d" },
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        print_message("%s\n", steps[i][0]);
        start_after_loss(c, steps[i][0], "true");
        check_there(c, steps[i][1], "x ../e");
        check_none_held(c);
        check_records(c, "");
        end(c);
    }
}

TEST(the_last_name_of_a_mail_that_goes_on_is_not_taken)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "rm ../../../out/a\nln a x\nrm a\nmv x a\nmv a z", "mv z a");
    check_there(c, "z", "a x");
    check_none_held(c);
    end(c);
}

/* --- directories --- */

TEST(a_lost_directory_is_made_again_and_what_moved_into_it_moves_again)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir -m 751 ../d\nmkdir ../d/e\nmv a ../d/e/a\nmv ../d ../f",
                     "mv ../f/e/a a && rm -r ../f");
    check_there(c, "../f/e/a", "a ../d");
    check_held(c, "ada/f\nada/f/e\n"); /* for what a record does not say of a directory */
    check_records(c, "");
    cap_sh(c, "test $(stat -c %%a mail/ada/f) = 751");
    answer(c, "mx2", "ada/f", CAPTURE_HELD_BACK);
    answer(c, "mx2", "ada/f/e", CAPTURE_HELD_BACK);
    check_none_held(c);
    end(c);
}

TEST(a_lost_removal_of_a_directory_is_done_again)
{
    static const char *const trees[] = {
        "mkdir ../d",
        "mkdir -p ../d/e/f/g && echo 1 >../d/1 && echo 2 >../d/e/f/2 && ln -s x ../d/e/s",
        "mkdir -p ../d/tmp ../d/cur && echo 1 >../d/tmp/1 && echo 2 >../d/dovecot.index.log",
    };
    for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
        struct cap *c = begin();
        CAP_NEEDED(c);
        char steps[256];
        snprintf(steps, sizeof(steps), "%s\nmv ../d ../../../out/d", trees[i]);
        print_message("%s\n", steps);
        start_after_loss(c, steps, "mv ../../../out/d ../d");
        check_there(c, "a b c", "../d");
        check_none_held(c);
        check_records(c, "");
        end(c);
    }
}

TEST(what_was_moved_out_of_a_removed_directory_is_not_removed_with_it)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d && mv a ../d/a\nmv ../d/a x && mv ../d ../../../out/d",
                     "mv ../../../out/d ../d && mv x ../d/a");
    check_there(c, "x b c", "a ../d");
    check_none_held(c);
    check_records(c, "");
    end(c);
}

/* Not even when it could not be moved again, because its new name is taken. */
TEST(what_the_index_knows_elsewhere_stays_in_a_removed_directory)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d && mv a ../d/a\nmv ../d/a x && mv ../d ../../../out/d",
                     "mv ../../../out/d ../d && mv x ../d/a && touch -d @1900000000 x");
    check_there(c, "../d/a x", "");
    check_none_held(c);
    end(c);
}

TEST(a_directory_with_the_same_name_is_not_the_one_that_was_removed)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d && echo 1 >../d/1\nrm -r ../d", "mkdir ../d && echo 2 >../d/2");
    check_there(c, "../d/2", "../d/1");
    check_none_held(c);
    check_records(c, "mkdir ada/d\nput ada/d/2\n");
    end(c);
}

TEST(a_mail_in_a_directory_that_was_renamed_later_is_held)
{
    struct cap *c = begin();
    CAP_NEEDED(c);
    start_after_loss(c, "mkdir ../d\necho new >../d/n\nmv ../d ../e", "rm ../e/n");
    check_held(c, "ada/e/n\n");
    check_records(c, "");
    all_heard(c, 0);
    end(c);
}
