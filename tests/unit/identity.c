/* The numbers that a promoted node may give out, and the files that Dovecot and Courier read them
 * from. */
#include "lib/store/identity.h"
#include "tests/unit/test.h"

static struct err e;

static struct span
seqs(const uint64_t *list, size_t count)
{
    static uint8_t bytes[64];
    for (size_t i = 0; i < count; i++)
        put_le64(bytes + 8 * i, list[i]);
    return span_of(bytes, 8 * count);
}

TEST(a_gap_covers_what_is_known_to_be_missing_and_each_promotion_in_doubt)
{
    static const uint64_t first[] = { 1, 5000, 9000 };
    struct identity_facts facts = { .gap = 1000, .tail = 20000, .dirs = 10 };
    CHECK_INT(identity_gap(&facts), 1000);
    facts.first = seqs(first, 3);
    CHECK_INT(identity_gap(&facts), 1000); /* long ago: their raised lists are here */
    facts.dirs = 12000;
    CHECK_INT(identity_gap(&facts), 2000); /* perhaps not all of the last one's */
    facts.dirs = 16000;
    CHECK_INT(identity_gap(&facts), 3000); /* nor of the one before; the first raised nothing */
    facts.unseen = 1;
    CHECK_INT(identity_gap(&facts), 4000);
    CHECK_INT(identity_validity_gap(&facts), 4 * IDENTITY_VALIDITY_GAP);
    facts.tail = 8999; /* not even the record of the last one */
    facts.dirs = 10;
    CHECK_INT(identity_gap(&facts), 3000);
    facts = (struct identity_facts){ .gap = 1000, .lag = 4000 };
    CHECK_INT(identity_gap(&facts), 8000);
    facts.lag = UINT64_MAX;
    facts.unseen = UINT64_MAX;
    CHECK_INT(identity_gap(&facts), UINT32_C(1) << 30); /* four of them fit the number */
    facts = (struct identity_facts){ .gap = 1000, .unseen = 1000 };
    CHECK_INT(identity_gap(&facts), 16000);
}

TEST(a_modification_sequence_is_above_all_that_any_server_gave_out_before)
{
    uint64_t now = 1795389243;
    CHECK(identity_modseq(now, 0) == now << 20);
    CHECK(identity_modseq(now, now * 1000000000) == (now + 1) << 20); /* that moment is not over */
    CHECK(identity_modseq(now - 86400, now * 1000000000) == (now + 1) << 20); /* a slow clock */
    CHECK(identity_modseq(UINT64_C(8589934591), 0) < UINT64_C(1) << 53);
    CHECK(identity_modseq(now + 1, 0) - identity_modseq(now, 0) == 1 << 20);
}

TEST(a_sequence_that_was_made_beforehand_holds_for_as_long_as_it_lies_above_what_is_given_out)
{
    const uint64_t since = 1795389243;
    CHECK(!identity_seed_holds(since, since, since));     /* there is no room between the two */
    CHECK(!identity_seed_holds(since, since - 1, since)); /* a clock was set back */
    CHECK(!identity_seed_holds(since, since + 2, since + 1));
    CHECK(!identity_seed_holds(0, 0, since)); /* none was made */
    CHECK(identity_seed_holds(since, since + 2, since + 2));
    CHECK(identity_seed_holds(since, since + 2, since + 2 + 61));
    CHECK(!identity_seed_holds(since, since + 2, since + 2 + 62));
    for (uint64_t room = 1; room < 1000000; room *= 7) { /* 4,096 a second, all the time */
        uint64_t last = since + room + 31 * room - 1;
        CHECK(identity_seed_holds(since, since + room, last));
        uint64_t given = since << 20;
        for (int again = 0; again < 7; again++)
            given = identity_modseq_again(given, last);
        CHECK(given < identity_modseq(since + room, 0));
    }
}

TEST(a_sequence_that_a_power_loss_took_begins_again_above_what_was_given_out)
{
    const uint64_t then = 1795389243;
    uint64_t modseq = identity_modseq(then, 0);
    CHECK(identity_modseq_again(modseq, then) == modseq + 4096);
    CHECK(identity_modseq_again(modseq, then + 60) == modseq + 61 * 4096);
    CHECK(identity_modseq_again(modseq, then - 60) == modseq + 4096); /* a clock was set back */
    uint64_t twice = identity_modseq_again(identity_modseq_again(modseq, then + 60), then + 60);
    CHECK(twice >= modseq + 2 * 60 * 4096);
}

/* As Dovecot 2.3.19 on amd64 writes it, but for the id. */
TEST(the_log_that_a_folder_begins_with_is_one_of_dovecots)
{
    static const uint8_t want[IDENTITY_SEED_SIZE] = {
        0x01, 0x03, 0x28, 0x00, 0xf3, 0x77, 0x03, 0x6b, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf3, 0x77, 0x03, 0x6b, 0x00, 0x00, 0xb0, 0x73,
        0x37, 0xb0, 0x06, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    uint8_t got[IDENTITY_SEED_SIZE];
    identity_seed(identity_modseq(1795389243, 0), 1795389427, got);
    CHECK_INT(memcmp(got, want, sizeof(want)), 0);
    identity_seed(1, 0, got);
    CHECK_INT(get_le32(got + 4), 1); /* 0 would mean that it is damaged */
}

TEST(only_what_dovecot_makes_anew_is_stale)
{
    static const char *const stale[] = { "dovecot.index",       "dovecot.index.log",
                                         "dovecot.index.log.2", "dovecot.index.cache",
                                         "dovecot.list.index",  "dovecot.list.index.log",
                                         "maildirsize" };
    static const char *const kept[] = { "dovecot-uidlist",     "dovecot-keywords",
                                        "dovecot.indexes",     "dovecot.mailbox.log",
                                        "dovecot-uidvalidity", "",
                                        "maildirsizes",        "subscriptions",
                                        "dovecot-acl" };
    for (size_t i = 0; i < ARRAY_LEN(stale); i++)
        CHECK(identity_is_stale(stale[i]));
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        CHECK(!identity_is_stale(kept[i]));
}

TEST(the_next_uidvalidity_is_above_file_and_marker)
{
    uint32_t next = 0;
    CHECK_INT(identity_marker(span_str("dovecot-uidvalidity.6b03773b")), 0x6b03773b);
    CHECK_INT(identity_marker(span_str("dovecot-uidvalidity.6b03773")), 0);
    CHECK_INT(identity_marker(span_str("dovecot-uidvalidity.6b03773bb")), 0);
    CHECK_INT(identity_marker(span_str("dovecot-uidvalidity.6b0377xx")), 0);
    CHECK_INT(identity_marker(span_str("dovecot-uidvalidity")), 0);
    CHECK_INT(identity_validity(span_str("6b03773b\n")), 0x6b03773b);
    CHECK_INT(identity_validity(span_str("6b0377")), 0);
    CHECK_INT(identity_validity(span_str("")), 0);
    CHECK_INT(identity_next_validity(5, 7, 10000, &next, &e), 0);
    CHECK_INT(next, 7 + 10000);
    CHECK_INT(identity_next_validity(9, 7, 30000, &next, &e), 0);
    CHECK_INT(next, 9 + 30000);
    CHECK_INT(identity_next_validity(0, UINT32_MAX - 5, 10000, &next, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
}

TEST(a_lock_says_which_process_of_this_host_has_it)
{
    CHECK_INT(identity_lock_pid(span_str("4711:mx1"), "mx1"), 4711);
    static const char *const none[] = {
        "",        "4711",   "4711:", "4711:mx2", "4711:mx1\n",     ":mx1",
        "4711:mx", "-1:mx1", "x:mx1", "4711 mx1", "4294967296:mx1", "2147483648:mx1"
    };
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        CHECK_INT(identity_lock_pid(span_str(none[i]), "mx1"), 0);
    CHECK_INT(identity_lock_pid(span_str("4711:"), ""), 0);
}

TEST(couriers_list_of_sizes_is_raised_in_its_first_line_alone)
{
    _cleanup_buf_ struct buf raised = { 0 };
    static const char *const bad[] = { "",
                                       "3 4 5\n",
                                       "/3 4 5",
                                       "/9 4 5\n",
                                       "/3 x\n",
                                       "/3\n",
                                       "/3 99999999999 1\n",
                                       "/99999999999 1\n" };
    CHECK_INT(
        identity_raise_sizes(span_str("/3 9 1763800000\na.b 12 8:1763800000\n"), 1000, &raised, &e),
        0);
    CHECK(span_equal(buf_span(&raised), span_str("/3 1009 1763800000\na.b 12 8:1763800000\n")));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_INT(identity_raise_sizes(span_str(bad[i]), 1000, &raised, &e), -1);
        CHECK_INT(e.code, ERR_CORRUPT);
    }
    CHECK_INT(identity_raise_sizes(span_str("/3 4294967000 1\n"), 1000, &raised, &e), -1);
    CHECK_INT(e.code, ERR_REFUSED);
}

TEST(a_gap_that_is_made_again_is_larger_and_stays_bounded)
{
    CHECK_INT(identity_gap_again(0), 0); /* nothing was missing */
    CHECK_INT(identity_gap_again(1000), 2000);
    CHECK_INT(identity_gap_again(UINT32_C(3) << 28), UINT32_C(1) << 30);
    CHECK_INT(identity_gap_again(UINT32_C(1) << 30), UINT32_C(1) << 30);
}
