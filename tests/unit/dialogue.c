/* Dialogues through the gate, word by word: what each side sees, when a reply is held, and who gets
 * a message that some have already. A script in which C: and S: say bytes that come, c: and s:
 * those that must go out; other words say what the gate's owner does. */
#include "gate/dialogue.h"
#include "plugin/dovecot/kinds.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>

struct play {
    struct dialogue d;
    struct buf client, server; /* came in, not taken */
    struct buf to_client, to_server;
    struct buf content;
    size_t took;
    size_t piece; /* bytes that come at a time */
};

static void
take_out(struct play *p)
{
    struct dialogue *d = &p->d;
    buf_add(&p->to_client, d->to_client.ptr, d->to_client.len);
    buf_add(&p->to_server, d->to_backend.ptr, d->to_backend.len);
    buf_add(&p->content, d->content.ptr, d->content.len);
    buf_reset(&d->to_client);
    buf_reset(&d->to_backend);
    buf_reset(&d->content);
    p->took += d->took >= 0;
    d->took = -1;
}

static void
go_on(struct play *p)
{
    size_t used = 1;
    while (used > 0) {
        used = 0;
        enum dialogue_want want = dialogue_wants(&p->d);
        if (want == DIALOGUE_CLIENT && p->server.len > 0) {
            dialogue_stray(&p->d, buf_span(&p->server));
        } else if (want == DIALOGUE_CLIENT) {
            used = dialogue_client(&p->d, buf_span(&p->client));
            buf_consume(&p->client, used);
        } else if (want == DIALOGUE_BACKEND) {
            used = dialogue_backend(&p->d, buf_span(&p->server));
            buf_consume(&p->server, used);
            take_out(p);
            if (used == 0) {
                used = dialogue_ahead(&p->d, buf_span(&p->client));
                buf_consume(&p->client, used);
            }
        }
        take_out(p);
    }
}

static void
come(struct play *p, struct buf *in, const char *bytes)
{
    size_t len = strlen(bytes);
    for (size_t at = 0; at < len; at += p->piece) {
        buf_add(in, bytes + at, MIN(p->piece, len - at));
        go_on(p);
    }
}

static void
must_be(struct buf *out, const char *expected, const char *step)
{
    if (!span_equal(buf_span(out), span_str(expected)))
        fail_msg("at \"%s\": went out \"%.*s\"", step, (int)out->len, (const char *)out->ptr);
    buf_reset(out);
}

static void
decide(struct play *p, const char *known)
{
    CHECK_INT(dialogue_wants(&p->d), DIALOGUE_DECISION);
    for (size_t i = 0; i < p->d.count; i++)
        p->d.rcpts[i].known = known[i] == '+';
    dialogue_decide(&p->d, p->content.len);
}

static void
replay(struct play *p)
{
    CHECK_INT(dialogue_wants(&p->d), DIALOGUE_REPLAY);
    for (size_t at = 0; at < p->content.len; at += p->piece)
        dialogue_replay(&p->d,
                        span_from(buf_span(&p->content), at, MIN(p->piece, p->content.len - at)));
    dialogue_replay_end(&p->d);
}

static void
play_step(struct play *p, const char *step)
{
    if (strncmp(step, "C:", 2) == 0)
        come(p, &p->client, step + 2);
    else if (strncmp(step, "S:", 2) == 0)
        come(p, &p->server, step + 2);
    else if (strncmp(step, "c:", 2) == 0)
        must_be(&p->to_client, step + 2, step);
    else if (strncmp(step, "s:", 2) == 0)
        must_be(&p->to_server, step + 2, step);
    else if (strcmp(step, "open") == 0)
        dialogue_door(&p->d, NULL);
    else if (strcmp(step, "shut") == 0)
        dialogue_door(&p->d, "no standby");
    else if (strcmp(step, "through") == 0)
        dialogue_begin(&p->d, false);
    else if (strcmp(step, "spool") == 0)
        dialogue_begin(&p->d, true);
    else if (strncmp(step, "known", 5) == 0)
        decide(p, step + 5);
    else if (strcmp(step, "replay") == 0)
        replay(p);
    else if (strcmp(step, "safe") == 0)
        dialogue_barrier(&p->d, NULL);
    else if (strcmp(step, "late") == 0)
        dialogue_barrier(&p->d, "not yet");
    else if (strcmp(step, "full") == 0)
        dialogue_spool_failed(&p->d);
    else if (strncmp(step, "took", 4) == 0)
        CHECK_INT(p->took, step[4] - '0');
    else if (strcmp(step, "end") == 0)
        CHECK_INT(dialogue_wants(&p->d), DIALOGUE_END);
    else
        fail_msg("what is \"%s\"?", step);
    go_on(p);
}

static void
play_free(struct play *p)
{
    dialogue_free(&p->d);
    struct buf *all[] = { &p->client, &p->server, &p->to_client, &p->to_server, &p->content };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_free(all[i]);
}

/* Once for each number of bytes that may come at a time. */
static void
play(const char *const *steps)
{
    for (size_t piece = 1; piece < 80; piece++) {
        struct play p = { .piece = piece };
        dialogue_init(&p.d);
        for (const char *const *step = steps; *step != NULL; step++)
            play_step(&p, *step);
        must_be(&p.to_client, "", "the end");
        must_be(&p.to_server, "", "the end");
        play_free(&p);
    }
}

#define PLAY(...) play((const char *const[]){ __VA_ARGS__, NULL })
#define HELLO     "S:220 hi\r\n", "c:220 hi\r\n"
#define MAIL      "C:MAIL FROM:<s>\r\n", "open", "s:MAIL FROM:<s>\r\n", "S:250 ok\r\n", "c:250 ok\r\n"
#define RCPT(who) \
    "C:RCPT TO:<" who ">\r\n", "s:RCPT TO:<" who ">\r\n", "S:250 " who "\r\n", "c:250 " who "\r\n"

TEST(a_250_is_held_until_the_barrier_opened)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:354 go\r\n",
         "c:354 go\r\n", "C:x\r\n..y\r\n.\r\nQUIT\r\n", "s:x\r\n..y\r\n.\r\n", "S:250 a\r\n",
         "c:", "safe", "c:250 a\r\n", "s:QUIT\r\n", "S:221 bye\r\n", "c:221 bye\r\n", "end");
}

TEST(refusals_pass_at_once_and_in_their_order)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), RCPT("c"), "C:DATA\r\n", "through", "s:DATA\r\n",
         "S:354 go\r\n", "c:354 go\r\n", "C:.\r\n", "s:.\r\n", "S:452 a\r\n", "c:452 a\r\n",
         "S:250 b\r\n", "c:", "S:550 c\r\n", "c:", "safe", "c:250 b\r\n550 c\r\n");
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:354 go\r\n",
         "c:354 go\r\n", "C:.\r\n", "s:.\r\n", "S:550 a\r\n", "c:550 a\r\n", MAIL);
}

TEST(what_is_not_safe_in_time_is_answered_with_451)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:354 go\r\n",
         "c:354 go\r\n", "C:.\r\n", "s:.\r\n", "S:250 a\r\n552 b\r\n", "late",
         "c:451 4.3.0 not yet\r\n552 b\r\n", MAIL);
}

#define UNSAFE "Done on this server, but no other machine protects it now" KINDS_STORED "\r\n"

TEST(what_the_plugin_calls_stored_but_not_safe_waits_like_what_was_taken)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:354 go\r\n",
         "c:354 go\r\n", "C:.\r\n", "s:.\r\n", "S:451 4.2.0 <a> " UNSAFE, "took1",
         "c:", "S:451 4.2.0 <b> full\r\n", "took1", "safe",
         "c:250 2.0.0 Delivered\r\n451 4.2.0 <b> full\r\n", MAIL);
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:354 go\r\n",
         "c:354 go\r\n", "C:.\r\n", "s:.\r\n", "S:451 4.2.0 <a> " UNSAFE, "late",
         "c:451 4.3.0 not yet\r\n", MAIL);
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), "C:DATA\r\n", "spool", "c:354 OK\r\n", "C:.\r\n",
         "known+-", "s:RSET\r\n", "S:250 r\r\n", "s:MAIL FROM:<s>\r\n", "S:250 s\r\n",
         "s:RCPT TO:<b>\r\n", "S:250 b\r\n", "s:DATA\r\n", "S:354 go\r\n", "replay", "s:.\r\n",
         "S:451 4.2.0 <b> " UNSAFE, "took1", "c:", "safe",
         "c:250 2.0.0 Delivered at an attempt before\r\n250 2.0.0 Delivered\r\n");
}

TEST(nothing_reaches_the_server_while_mail_cannot_be_made_safe)
{
    PLAY(HELLO, "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "shut",
         "c:451 4.3.0 no standby\r\n451 4.3.0 no standby\r\n451 4.3.0 no standby\r\n",
         "s:", "C:BDAT 5 LAST\r\nQUIT\n", "c:451 4.3.0 no standby\r\n", "s:", MAIL);
}

TEST(a_refusal_at_mail_is_over_with_the_next_mail)
{
    PLAY(HELLO, "C:MAIL FROM:<s>\r\n", "shut", "c:451 4.3.0 no standby\r\n", "C:BDAT 1\r\nx",
         "c:451 4.3.0 no standby\r\n", "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "open",
         "through", "s:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n",
         "c:", "S:250 s\r\n250 a\r\n354 go\r\n", "c:250 s\r\n250 a\r\n354 go\r\n", "C:x\r\n.\r\n",
         "s:x\r\n.\r\n", "S:250 a\r\n", "safe", "c:250 a\r\n");
}

TEST(commands_that_come_together_go_on_together)
{
    PLAY(HELLO, "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n", "open", "through",
         "s:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n",
         "S:250 s\r\n250 a\r\n550 b\r\n354 go\r\n", "c:250 s\r\n250 a\r\n550 b\r\n354 go\r\n",
         "C:x\r\n.\r\n", "s:x\r\n.\r\n", "S:250 a\r\n", "safe", "c:250 a\r\n");
}

TEST(nobody_is_delivered_to_when_all_were_refused_after_data_was_sent)
{
    PLAY(HELLO, "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "open", "through",
         "s:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "S:250 s\r\n550 a\r\n503 none\r\n",
         "c:250 s\r\n550 a\r\n503 none\r\n", "C:RSET\r\n", "s:RSET\r\n", "S:250 r\r\n",
         "c:250 r\r\n", MAIL);
    PLAY(HELLO, "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "open", "spool",
         "s:MAIL FROM:<s>\r\nRCPT TO:<a>\r\n", "S:250 s\r\n550 a\r\n",
         "c:250 s\r\n550 a\r\n503 5.5.1 No valid recipients\r\n");
}

TEST(what_the_server_has_is_confirmed_and_not_delivered_again)
{
    PLAY(HELLO, "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "open", "spool",
         "s:MAIL FROM:<s>\r\nRCPT TO:<a>\r\n", "S:250 s\r\n250 a\r\n",
         "c:250 s\r\n250 a\r\n354 OK\r\n", "C:x\r\n.\r\n", "s:", "known+", "s:RSET\r\n",
         "S:250 r\r\n", "c:", "safe", "c:250 2.0.0 Delivered at an attempt before\r\n", MAIL);
}

TEST(a_message_that_some_have_goes_to_the_others)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), RCPT("c"), "C:DATA\r\n", "spool", "c:354 OK\r\n",
         "C:x\r\n..\r\n.\r\n", "known-+-", "s:RSET\r\n", "S:250 r\r\n", "s:MAIL FROM:<s>\r\n",
         "S:250 s\r\n", "s:RCPT TO:<a>\r\n", "S:250 a\r\n", "s:RCPT TO:<c>\r\n", "S:450 c\r\n",
         "s:DATA\r\n", "S:354 go\r\n", "replay", "s:x\r\n..\r\n.\r\n", "S:250 a\r\n", "safe",
         "c:250 a\r\n250 2.0.0 Delivered at an attempt before\r\n450 c\r\n", MAIL);
}

TEST(a_message_that_nobody_has_after_all_is_delivered)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "spool", "c:354 OK\r\n", "C:.\r\n", "known-",
         "s:RSET\r\n", "S:250 r\r\n", "s:MAIL FROM:<s>\r\n", "S:451 full\r\n", "s:RSET\r\n",
         "c:", "S:250 r\r\n", "c:451 full\r\n", MAIL);
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "spool", "c:354 OK\r\n", "C:.\r\n", "known-",
         "s:RSET\r\n", "S:250 r\r\n", "s:MAIL FROM:<s>\r\n", "S:250 s\r\n", "s:RCPT TO:<a>\r\n",
         "S:550 gone\r\n", "s:RSET\r\n", "S:250 r\r\n", "c:550 gone\r\n");
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "spool", "c:354 OK\r\n", "C:.\r\n", "known-",
         "s:RSET\r\n", "S:250 r\r\n", "s:MAIL FROM:<s>\r\n", "S:250 s\r\n", "s:RCPT TO:<a>\r\n",
         "S:250 a\r\n", "s:DATA\r\n", "S:452 full\r\n", "s:RSET\r\n", "S:250 r\r\n",
         "c:452 full\r\n");
}

TEST(a_spool_that_cannot_be_written_loses_nothing)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), "C:DATA\r\n", "spool", "c:354 OK\r\n", "full",
         "C:.\r\n", "known+-", "s:RSET\r\n", "S:250 r\r\n", "c:", "safe",
         "c:250 2.0.0 Delivered at an attempt before\r\n"
         "452 4.3.1 The gate has no space to keep the message\r\n");
}

TEST(chunks_are_counted_and_their_bytes_are_never_commands)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:BDAT 8\r\nQUIT\r\n.\r", "through", "s:BDAT 8\r\nQUIT\r\n.\r",
         "S:250 c\r\n", "c:250 c\r\n", "C:BDAT 3 LAST\r\n\n.\nNOOP\r\n", "s:BDAT 3 LAST\r\n\n.\n",
         "S:250 a\r\n", "c:", "safe", "c:250 a\r\n", "s:NOOP\r\n", "S:250 n\r\n", "c:250 n\r\n");
    PLAY(HELLO, MAIL, RCPT("a"), "C:BDAT 2\r\nxx", "through", "s:BDAT 2\r\nxx", "S:250 c\r\n",
         "c:250 c\r\n", "C:BDAT 0 LAST\r\n", "s:BDAT 0 LAST\r\n", "S:250 a\r\n", "safe",
         "c:250 a\r\n");
}

TEST(chunks_behind_one_that_was_refused_do_not_reach_the_server)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), "C:BDAT 2\r\nxx", "through", "s:BDAT 2\r\nxx",
         "S:552 big\r\n", "c:552 big\r\n", "C:BDAT 4 LAST\r\nRSETRSET\r\n",
         "c:503 5.5.1 A chunk before this one was refused\r\n", "s:RSET\r\n", "S:250 r\r\n",
         "c:250 r\r\n", MAIL);
}

TEST(chunks_are_kept_and_delivered_as_one)
{
    PLAY(HELLO, MAIL, RCPT("a"), RCPT("b"), "C:BDAT 2\r\n\n.", "spool",
         "c:250 2.0.0 Chunk taken\r\n", "C:BDAT 1 LAST\r\n\n", "known+-", "s:RSET\r\n",
         "S:250 r\r\n", "s:MAIL FROM:<s>\r\n", "S:250 s\r\n", "s:RCPT TO:<b>\r\n", "S:250 b\r\n",
         "replay", "s:BDAT 3 LAST\r\n\n.\n", "S:250 b\r\n", "late",
         "c:451 4.3.0 not yet\r\n451 4.3.0 not yet\r\n");
}

TEST(what_follows_a_chunk_of_unknown_size_is_not_read)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:BDAT 07x LAST\r\n",
         "c:501 5.5.4 BDAT takes a number of bytes, and LAST behind it\r\n"
         "421 4.3.2 What follows is not understood\r\n",
         "end");
}

TEST(starttls_is_refused_and_not_announced)
{
    PLAY(HELLO, "C:LHLO x\r\n", "s:LHLO x\r\n", "S:250-x\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
         "c:250-x\r\n250 8BITMIME\r\n", "C:STARTTLS\r\n",
         "c:502 5.5.1 Not through this gate, which has to see the message\r\n", "s:", MAIL);
}

TEST(a_dialogue_of_auth_is_no_command)
{
    PLAY(HELLO, "C:AUTH LOGIN\r\n", "s:AUTH LOGIN\r\n", "S:334 x\r\n", "c:334 x\r\n", "C:DATA\r\n",
         "s:DATA\r\n", "S:235 in\r\n", "c:235 in\r\n", MAIL);
}

TEST(an_answer_that_does_not_fit_ends_the_session)
{
    PLAY(HELLO, "C:NOOP\r\n", "s:NOOP\r\n", "S:354 go\r\n",
         "c:421 4.3.2 The server behind the gate gave an answer that is not understood\r\n", "end");
    PLAY(HELLO, MAIL, "S:250 nobody asked\r\n",
         "c:421 4.3.2 The server behind the gate gave an answer that is not understood\r\n", "end");
    PLAY(HELLO, MAIL, "S:421 too long\r\n", "c:421 too long\r\n", "end");
    PLAY(HELLO, "C:NOOP\r\n", "s:NOOP\r\n", "S:hello\r\n",
         "c:421 4.3.2 The server behind the gate gave an answer that is not understood\r\n", "end");
    PLAY(HELLO, MAIL, RCPT("a"), "C:NOOP\r\n", "s:NOOP\r\n", "S:421 stop\r\n", "c:421 stop\r\n",
         "end");
    PLAY("S:554 no\r\n", "c:554 no\r\n", "end");
}

#define ODD                                                         \
    "451 4.3.0 The server behind the gate cannot be understood\r\n" \
    "421 4.3.2 The server behind the gate gave an answer that is not understood\r\n"

TEST(a_server_that_takes_a_message_before_it_was_given_is_not_believed)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:250 taken\r\n", "c:" ODD,
         "end", "C:x\r\n.\r\n", "s:");
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:355 go\r\n", "c:" ODD,
         "end");
    PLAY(HELLO, MAIL, "C:DATA\r\n", "s:DATA\r\n", "S:250 nobody\r\n", "c:" ODD, "end");
    PLAY(HELLO, "C:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "open", "through",
         "s:MAIL FROM:<s>\r\nRCPT TO:<a>\r\nDATA\r\n", "S:250 s\r\n250 a\r\n250 taken\r\n",
         "c:250 s\r\n250 a\r\n" ODD, "end");
}

TEST(nobody_is_confirmed_who_was_given_no_content)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:DATA\r\n", "spool", "c:354 OK\r\n", "C:.\r\n", "known-",
         "s:RSET\r\n", "S:250 flushed\r\n", "s:MAIL FROM:<s>\r\n", "S:250 ok\r\n",
         "s:RCPT TO:<a>\r\n", "S:250 ok\r\n", "s:DATA\r\n", "S:250 taken\r\n",
         "c:421 4.3.2 The server behind the gate gave an answer that is not understood\r\n", "end");
}

TEST(a_message_begins_anew_after_rset_and_lhlo)
{
    PLAY(HELLO, MAIL, RCPT("a"), "C:RSET\r\n", "s:RSET\r\n", "S:250 r\r\n", "c:250 r\r\n", MAIL,
         RCPT("b"), "C:DATA\r\n", "through", "s:DATA\r\n", "S:354 go\r\n", "c:354 go\r\n",
         "C:.\r\n", "s:.\r\n", "S:250 b\r\n", "safe", "c:250 b\r\n");
}

TEST(the_number_of_recipients_has_a_limit)
{
    struct play p = { .piece = 4096 };
    char line[64];
    dialogue_init(&p.d);
    play_step(&p, "S:220 hi\r\n");
    play_step(&p, "C:MAIL FROM:<s>\r\n");
    play_step(&p, "open");
    play_step(&p, "S:250 ok\r\n");
    for (unsigned i = 0; i < DIALOGUE_RCPTS_MAX; i++) {
        snprintf(line, sizeof(line), "C:RCPT TO:<u%u>\r\n", i);
        play_step(&p, line);
        play_step(&p, "S:250 ok\r\n");
    }
    buf_reset(&p.to_client);
    buf_reset(&p.to_server);
    play_step(&p, "C:RCPT TO:<more>\r\n");
    play_step(&p, "c:452 4.5.3 Too many recipients\r\n");
    play_step(&p, "s:");
    play_free(&p);
}
