/* fanout.h -- frames for connections of another loop.
 *
 * One letter carries a range of frames that lie encoded in a blob, and the
 * slots it is for: a list that other letters may share, or a single one. The
 * loop over there queues it for each of them as net_send() does here, in the
 * order in which letters were posted; who has gone meanwhile is passed over.
 *
 * What is under way to a loop is bounded by a meter, the window (I2): letters
 * and the bytes of their frames are charged to it until they are opened. One
 * that is larger than the whole window goes when nothing else is under way. */
#ifndef NET_FANOUT_H
#define NET_FANOUT_H

#include "net/net.h"

struct fanout_target {
    uint32_t slot;
    uint32_t generation;
};

/* Targets that are collected one by one, in pieces of at most FANOUT_PIECE: so
 * adding one never copies the others, nor does handing them over. */
struct fanout_piece {
    struct fanout_piece *next;
    uint32_t count;
    uint32_t cap;
    struct fanout_target targets[];
};

struct fanout_pieces {
    struct fanout_piece *first; /* NULL: nobody */
    struct fanout_piece *last;
    uint32_t count; /* of targets */
};

#ifdef MOONWIRE_TINY
#    define FANOUT_PIECE 4u
#else
#    define FANOUT_PIECE 1024u
#endif

/* False: there is no memory for it. */
bool fanout_add(
    struct fanout_pieces *p, const struct fanout_target *t) NODISCARD;
/* Frees the first piece, whose targets are not counted any more. */
void fanout_drop_piece(struct fanout_pieces *p);
void fanout_drop_all(struct fanout_pieces *p);

struct fanout {
    const struct range *range;
    /* Level 0: the range goes out as it is. Else it is a plain frame alone, and
     * those who agreed get it compressed: in the usual form, if it has been
     * made (else NULL), or in one that is made over there. */
    struct pack_settings how;
    const struct range *packed;
    enum outbox_policy policy;
    const char *key; /* NULL: none */
    size_t key_len;  /* <= LIMIT_KEY_BYTES */
    /* `count` targets, each once, in the order in which they are best walked:
     * in a blob that does not change any more (a reference is taken), or, list
     * NULL, the one in `to`. */
    struct blob *list;
    struct fanout_target to;
    uint32_t count;
    /* Targets of the list that are passed over. They are the letter's from
     * fanout_post() on, whatever it returns. */
    struct fanout_pieces except;
};

/* From the loop of `n` to clients on `loop`, another one. 0; ERR_FULL: the
 * window has no room, or there is no memory; nothing was sent (counted:
 * DROPPED_WINDOW). */
int fanout_post(struct net *n, uint32_t loop, struct meter *window,
    const struct fanout *f) NODISCARD;

#endif
