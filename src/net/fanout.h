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

struct fanout {
    const struct range *range;
    enum outbox_policy policy;
    const char *key; /* NULL: none */
    size_t key_len;  /* <= LIMIT_KEY_BYTES */
    /* `count` targets, each once, in the order in which they are best walked:
     * in a blob that does not change any more (a reference is taken), or, list
     * NULL, the one in `to`. */
    struct blob *list;
    struct fanout_target to;
    uint32_t count;
    /* Targets of the list that are passed over. */
    const struct fanout_target *except;
    uint32_t except_count;
};

/* From the loop of `n` to clients on `loop`, another one. 0; ERR_FULL: the
 * window has no room, or there is no memory; nothing was sent (counted:
 * DROPPED_WINDOW). */
int fanout_post(struct net *n, uint32_t loop, struct meter *window,
    const struct fanout *f) NODISCARD;

#endif
