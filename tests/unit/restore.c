/* A restore into the stores of this node, and a role that ends meanwhile. */
#include "tests/unit/session_kit.h"

#include "replicator/restore.h"

#define FOLDERS 20

/* In the loop: what a command asks for. */
static void
order(struct control_call *call, const json_t *request, const struct control_peer *peer, void *arg)
{
    struct session_kit *k = arg;
    (void)peer;
    restore_order(&k->d, 0, call, request);
}

struct asked {
    struct session_kit *k;
    json_t *request, *answer;
    struct err e;
};

static void *
ask(void *arg)
{
    struct asked *a = arg;
    if (control_ask(a->k->c->conf.run_dir, CONTROL_SOCKET, a->request, SESSION_WAIT_MS, NULL, NULL,
                    &a->answer, &a->e) < 0)
        a->answer = NULL;
    return NULL;
}

/* Folders that were removed as a whole, a mail with a keyword in each. The folders are there again,
 * and somebody keeps the lock that a keyword needs: each takes a second. */
static json_t *
make_objects(struct session_kit *k, bool locked)
{
    json_t *objects = json_array();
    cap_sh(k->c, "mkdir -p mail/.mailtwin/retained/0007349e mail/u");
    for (int i = 0; i < FOLDERS; i++) {
        char text[120];
        cap_sh(k->c,
               "cd mail; i=%d; f=u/.F$i; "
               "t=\".mailtwin/retained/0007349e/$i.1.1.18bcfe56800.t.u|.F$i\";"
               "mkdir -p \"$t/cur\" $f/cur $f/new $f/tmp; echo '0 Later' >\"$t/dovecot-keywords\";"
               "echo mail >\"$t/cur/1.M$i:2,a\"; %s",
               i, locked ? "touch $f/dovecot-uidlist.lock" : "true");
        snprintf(text, sizeof(text), "0007349e/%d.1.1.18bcfe56800.t.u|.F%d/cur/1.M%d:2,a", i, i, i);
        json_array_append_new(objects, json_string(text));
    }
    return objects;
}

static struct session_kit *
begin(bool locked, struct asked *ret_asked)
{
    struct session_kit *k = session_kit_new();
    struct err e = { 0 };
    if (k == NULL)
        return NULL;
    k->orders = order;
    session_start(k);
    session_must(session_promote(k, false, &e), &e);
    *ret_asked = (struct asked){ .k = k };
    ret_asked->request = json_pack("{s:s, s:o}", "do", "retained-give", "objects",
                                   make_objects(k, locked));
    session_settle(k); /* the index knows the folders */
    return k;
}

static void
end(struct session_kit *k, struct asked *a)
{
    json_decref(a->request);
    json_decref(a->answer);
    session_kit_free(k);
}

TEST(what_is_restored_on_the_primary_itself_is_there)
{
    struct asked a;
    struct session_kit *k = begin(false, &a);
    SESSION_NEEDED(k);
    ask(&a);
    if (a.answer == NULL)
        fail_msg("%s", a.e.text);
    CHECK_INT(json_integer_value(json_object_get(a.answer, "created")), FOLDERS);
    cap_sh(k->c, "test $(ls mail/u/.F*/cur/* | wc -l) = %d", FOLDERS);
    end(k, &a);
}

static void
runs_main(void *arg)
{
    struct session_call *call = arg;
    call->rc = call->d->restore != NULL;
    sem_post(&call->done);
}

static bool
restore_runs(struct session_kit *k)
{
    struct session_call call = { 0 };
    session_in_loop(k, runs_main, &call);
    return call.rc != 0;
}

TEST(a_restore_ends_before_the_role_does_and_says_so)
{
    struct asked a;
    struct err e = { 0 };
    pthread_t asker;
    struct session_kit *k = begin(true, &a);
    SESSION_NEEDED(k);
    CHECK_INT(pthread_create(&asker, NULL, ask, &a), 0);
    while (!restore_runs(k))
        sched_yield(); /* until the order is there */
    session_must(session_demote(k, &e), &e);
    CHECK(!restore_runs(k));
    cap_sh(k->c, "rm mail/u/.F*/dovecot-uidlist.lock; ls mail/u/.F*/cur >../then");
    CHECK_INT(pthread_join(asker, NULL), 0);
    CHECK(a.answer == NULL);
    CHECK_CONTAINS(a.e.text, "the role of this node changed");
    CHECK_CONTAINS(a.e.text, "0 of 20 objects are known to be there");
    cap_sh(k->c, "ls mail/u/.F*/cur | cmp - ../then"); /* nothing came after it */
    end(k, &a);
}
