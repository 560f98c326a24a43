/* give.h - a node that is not the primary hands objects over to it: what salvage and the restore of
 * retained objects have in common. What the primary does with each: intake.h.
 *
 * An order is a source of objects. The session that receives from the primary takes them one by one
 * as its window allows (many are under way), and tells what became of each. Giving the same object
 * twice makes no second one: an order whose link ended is simply given again.
 *
 * What the primary has taken is on its disk, and on no other. An order may wait until it has come
 * back: then this node asks (BARRIER) where the primary's journal is when it has all of it, and the
 * order is confirmed when so much is durable here. */
#ifndef MAILTWIN_GIVE_H
#define MAILTWIN_GIVE_H

#include "lib/base/buf.h"
#include "lib/data/wire.h"
#include "replicator/link_io.h"
#include "replicator/peer.h"

/* One object; empty with fd -1 when the source is asked to fill it, with its own copies. */
struct give_item {
    uint64_t tag;   /* the source's; comes back with the answer */
    uint16_t store; /* number of the store */
    enum wire_give_kind kind;
    enum wire_give_mode mode;
    struct attr attr; /* type and permission bits, owner, mtime (INTERNALDATE), size of the bytes */
    struct buf path;
    struct buf guid; /* of the message's folder, "" when it is not known */
    struct buf from; /* as in wire_give */
    uint64_t since;
    uint16_t keyword_count;
    struct {
        uint8_t letter; /* as in wire_keyword */
        char name[WIRE_KEYWORD_SIZE + 1];
    } keywords[WIRE_KEYWORDS_MAX];
    int fd; /* of what has bytes; closed by who has the item. -1 none */
};

void give_item_free(struct give_item *item);
#define _cleanup_give_item_ _cleanup_(give_item_free)
/* Sets the keywords of a message: those that its letters stand for in `keywords`, the text of the
 * dovecot-keywords of its folder here, and a mark ("" none). Names that cannot be told are left
 * out. The path is set. */
void give_item_keywords(struct give_item *item, struct span keywords, const char *mark);

struct given {
    uint64_t tag;
    enum wire_given_result result;
    struct span path; /* where it is at the primary, "" nowhere */
    struct span text;
};

/* All are called from the session's thread but for done(), which may be called by who gave the
 * order or ended the session. After done() the order belongs to its owner again. */
struct give_order {
    /* The next object: 1 in *ret_item, 0 no more, -1 the order ends with e. An object that cannot
     * be read is the source's business: it passes it over. */
    int (*next)(struct give_order *order, struct give_item *ret_item, struct err *e);
    /* Once for each object that was answered; an order that ended may have objects without. -1: the
     * order ends with e. */
    int (*answered)(struct give_order *order, const struct given *given, struct err *e);
    /* NULL: the order does not wait. All that the primary had taken when the order began to wait is
     * on this node's disk, too. 1 call again soon, 0 done. */
    int (*confirmed)(struct give_order *order);
    /* Once. e is NULL when all were answered; and confirmed, unless another order waited. */
    void (*done)(struct give_order *order, const struct err *e);
    void *arg;
    atomic_bool hurry;        /* set by its owner: it is not to wait any longer */
    struct give_order *later; /* the next in the peer's queue */
};

/* --- the engine of one session --- */

struct give;

struct give *give_new(struct link_io *io);
/* What is under way ends with `why`. NULL is fine. */
void give_free(struct give **give, const struct err *why);
/* Takes the peer's next order when it has none, and sends an object, or the next piece of the one
 * in hand, when there is one and room in the window. 1 there may be more to send, 0 not before an
 * answer or an order comes, -1 the link. Not to be called while the primary sends a run: it does
 * not read meanwhile, or keeps what it reads in its memory. durable: up to where this node has all
 * of the primary's journal on its disk; 0 nobody can say. */
int give_work(struct give *give, struct peer *peer, uint64_t durable, struct err *e) _must_check_;
/* Sends the rest of the object in hand: before other bytes go to the primary on this link. */
int give_end_item(struct give *give, struct err *e) _must_check_;
int give_answer(struct give *give, const struct wire_given *given, struct err *e) _must_check_;
void give_reached(struct give *give, const struct wire_reached *reached);

#endif
