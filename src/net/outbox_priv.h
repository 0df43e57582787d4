/* outbox_priv.h -- what outbox.c (life), outbox_push.c (in) and
 * outbox_leave.c (out) share.
 *
 * The queue leaves in this order:
 *   a control frame that has begun, or the data frame that has begun;
 *   raw bytes (an HTTP response: a 101 must stand before everything);
 *   control frames that wait;
 *   data frames;
 *   the Close; once it has begun, it comes before a pong that came later.
 * A data frame that begins to leave moves out of the entries to `begun`, so
 * that entries hold whole frames only and any of them may be dropped. */
#ifndef NET_OUTBOX_PRIV_H
#define NET_OUTBOX_PRIV_H

#include "base/limits.h"
#include "net/outbox.h"

#define OUTBOX_INLINE_ENTRIES 4
#define OUTBOX_CONTROL_BYTES  127 /* 2 of header, 125 of payload */
#define OUTBOX_CONTROLS       3   /* one begun, a pong and a ping that wait */
#define OUTBOX_CONTROLS_MAX   64  /* the pongs of one turn */

struct outbox_key {
    uint32_t len;
    char bytes[];
};

struct outbox_entry {
    struct blob *blob; /* ref; NULL: dropped from the midst */
    uint32_t off;
    uint32_t len;
    uint32_t frames; /* whole ones; 0: raw bytes, never walked nor dropped */
    uint32_t key_hash;
    struct outbox_key *key; /* owned; NULL: none */
};

struct outbox_begun {
    struct blob *blob; /* ref; NULL: no frame has begun */
    uint32_t off;
    uint32_t left;
    uint32_t total; /* of the frame: it counts in full until it has left */
};

struct outbox_control {
    uint8_t len;
    uint8_t sent;
    bool is_pong;
    uint8_t bytes[OUTBOX_CONTROL_BYTES];
};

struct outbox {
    struct list node;             /* in net->spare_outboxes */
    struct outbox_entry *entries; /* `first`, or from quota_* */
    uint32_t capacity;
    uint32_t
        head; /* entries[head .. tail) are queued; neither end is dropped */
    uint32_t tail;
    uint32_t settled;  /* entries before this one lie in no scratch blob */
    uint32_t keyed;    /* entries with a key */
    uint32_t messages; /* data frames, the begun one too */
    size_t bytes;      /* their cost */
    struct outbox_begun begun;
    struct outbox_control *controls; /* in order; or from quota_* */
    uint32_t control_count;
    uint32_t control_capacity;
    struct outbox_control close; /* len 0: none */
    struct outbox_entry first[OUTBOX_INLINE_ENTRIES];
    struct outbox_control first_controls[OUTBOX_CONTROLS];
};

static inline size_t outbox_cost(size_t len, uint32_t frames)
{
    return len + (size_t)frames * LIMIT_FRAME_OVERHEAD_BYTES;
}

/* Lets go of an entry; its place stays, empty, unless it is at an end. */
void outbox_clear_entry(struct outbox *o, struct outbox_entry *e);
/* The same, for data that will never leave: it counts no more. */
void outbox_forget(struct outbox *o, struct outbox_entry *e);
/* Gives back the empty places at both ends. */
void outbox_trim(struct outbox *o);
/* For net_free(). */
void outbox_free_spares(struct net *n);

#endif
