/* net.h -- what all connections of one loop share, and the hot path out.
 *
 * A connection's coming output lives in its *lane*: one entry of a dense
 * array that runs parallel to the table of connections. Most clients, most
 * of the time, have at most one contiguous stretch of bytes to send in a turn
 * (a broadcast, or the answers to what they sent), and the lane holds just
 * that: a fan-out to thousands of members walks 32 bytes each and touches no
 * connection. What does not fit there -- stretches from two places, a reader
 * that lags -- spills to the connection's outbox (net/outbox.h), in order.
 *
 * The flush at the end of the turn visits each dirty lane once and makes one
 * send for it (the cork), LIMIT_FLUSH_SLICE lanes at a time with a poll
 * between the slices; what comes meanwhile merges into lanes not yet served.
 *
 * Laws: I1 (lanes and connections belong to this loop), I2. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/blob.h"
#include "base/err.h"
#include "base/list.h"
#include "base/slots.h"
#include "loop/loop.h"
#include "net/tape.h"

struct conn;
struct conn_router;
struct conn_settings;
struct guard;
struct http_parser;
struct net;
struct packer;
struct tls;

/* What travels instead of a struct conn *: all one can do with it is ask the
 * loop that owns it. Generation 0 is nobody. */
struct conn_id {
    uint32_t loop;
    uint32_t slot;
    uint32_t generation;
};

enum outbox_policy {
    OUTBOX_CLOSE,       /* 1013 "slow" */
    OUTBOX_DROP_OLDEST, /* queued frames make room for new ones */
    OUTBOX_DROP_NEWEST  /* new frames are refused */
};

/* How an app compresses; see net/pack.h. */
struct pack_settings {
    uint8_t level; /* zlib's, 1 to 9; 0: not at all */
    uint8_t bits;  /* the window that most members have agreed to */
};

enum lane_flags {
    LANE_OPEN = 1,     /* takes data: a WebSocket that is not closing */
    LANE_SLOW = 2,     /* has an outbox: pushes go there */
    LANE_DIRTY = 4,    /* stands in the flush list */
    LANE_PLAIN = 8,    /* plain TCP: the flush may send() by itself */
    LANE_SKIP = 16,    /* left out of the fan-out under way */
    LANE_DEFLATE = 32, /* takes compressed frames: see net/pack.h */
    LANE_CONTEXT = 64  /* of its own: nobody else's are right for it */
};
/* Three bits above the flags: the window agreed on for what we compress, in
 * bits less 8. */
#define LANE_WINDOW_SHIFT  8
#define LANE_WINDOW(flags) ((flags) >> LANE_WINDOW_SHIFT & 7u)
/* Above that: the low bits of the connection's generation, so that a fan-out
 * from another loop tells whether a slot is still whose it was without touching
 * the connection. A letter would have to be under way while its slot is given
 * out a million times to mistake one for another. */
#define LANE_TAG_SHIFT 12

struct lane {
    struct blob *blob; /* ref; NULL: nothing pending here */
    uint32_t off;
    uint32_t len;
    uint32_t frames;
    int fd;
    uint32_t flags;
    uint32_t hard_bytes; /* len + frames * overhead beyond this: slow path */
};

struct net {
    struct loop *loop;
    struct net *const *peers; /* by loop index, ours among them; NULL: alone.
                                 Others' are only written into letters */
    uint32_t peer_count;
    const struct conn_router *router; /* for connections that move here */
    const struct conn_settings
        *defaults;           /* and theirs, until they are claimed */
    struct metrics *metrics; /* the loop's */
    struct slots conns;      /* slot -> struct conn * */
    struct lane *lanes;      /* parallel to conns */
    uint32_t lane_cap;
    uint32_t dirty_cap; /* a power of two, >= lane_cap */
    uint32_t *dirty;    /* ring of slots, each at most once */
    uint32_t dirty_head;
    uint32_t dirty_count;
    struct list todo;       /* conns to resume or to end at the next flush */
    struct buf *lent;       /* holds the message that a handler is lent */
    size_t inflated;        /* bytes, since the last flush */
    uint32_t deflate_steps; /* for parcels from other loops, since then */
    struct list tapes;      /* written to in this turn; see net/tape.h */
    struct tape controls;   /* pings and pongs of all connections */
    struct list spare_outboxes;
    uint32_t spare_outbox_count;
    uint32_t conn_count;
    struct http_parser *spare_parser; /* NULL: none */
    const struct guard *guard;
    size_t bodies_bytes;           /* of all bodies of requests under way */
    struct http_parser *answering; /* whose request the router has now */
    struct tls *tls;               /* ref; NULL: connections are plain TCP */
    struct packer *packer;         /* compression; NULL: nobody needed it yet */
    /* Set while somebody sends who can be asked to go on later: is it time?
     * NULL: a send is done at once. */
    bool (*is_due)(void);
    struct blob *read_buf; /* loop-wide; replaced while somebody borrows it */
    struct loop_hook flush_hook;
};

struct net *net_new(struct loop *l) NODISCARD;
/* Before its first connection: limits other than the defaults. */
void net_guard(struct net *n, const struct guard *g);
/* Every connection must be gone. */
void net_free(struct net *n);
/* Before the loops run: who the others are, by loop index (it outlives the
 * net), and who answers requests of connections that move here. */
void net_meet(struct net *n, struct net *const *peers, uint32_t count,
    const struct conn_router *router, const struct conn_settings *defaults);
/* conn_kill() for all that are left (shutdown). */
void net_kill_all(struct net *n, bool reset);
/* The same, with a FIN, for those that wait for a request, or whose answer
 * still has to be made as they take it. */
void net_kill_idle(struct net *n);

/* Connections that are accepted from now on speak TLS with these certificates
 * (takes a reference); those that are there keep theirs. NULL: plain. */
void net_set_tls(struct net *n, struct tls *t);

/* Does it lie in what was read last? Then it stays there until the loop reads
 * on, or for as long as somebody keeps that (net_keep_read: a reference). */
static inline bool net_has_read(const struct net *n, const void *p)
{
    const struct blob *b = n->read_buf;
    return b != NULL && (const uint8_t *)p >= b->data &&
           (const uint8_t *)p < b->data + b->size;
}
static inline struct blob *net_keep_read(const struct net *n)
{
    return blob_ref(n->read_buf);
}

/* For a handler that is lent a message, or who it calls: a long one that was
 * put together out of several reads lies in memory of its own, which can be
 * kept instead of a copy. It is the caller's then, for late_free(). NULL: it
 * cannot. */
uint8_t *net_take_lent(struct net *n, const void *p, size_t len);

/* NULL for an id that is stale, or whose connection is past OPEN. */
struct conn *net_find(const struct net *n, struct conn_id id);
void net_mark_dirty(struct net *n, uint32_t slot);
/* Writes everything that is pending now, without slicing (shutdown, tests). */
void net_flush_all(struct net *n);

#define NET_MORE 1

/* Would the hard bound act on an open connection that is not known to lag, if
 * it were sent a frame of so many bytes? Then a send may have to write first,
 * more than once: for whoever can go on with it later. */
bool net_must_write(const struct net *n, uint32_t slot, size_t len);

/* The way around the fast path below: opens an outbox, applies the policy. */
int net_send_slow(struct net *n, uint32_t slot, const struct range *r,
    enum outbox_policy policy, const char *key, size_t key_len) NODISCARD;

/* Queues a range of whole frames for the open connection in `slot`. Takes a
 * reference of its own. Calls nobody back, so it can be called for any number
 * of members in a row; it writes to the socket only where the hard bound would
 * act on a client that is not known to lag.
 *   0           queued
 *   ERR_CLOSED  not open any more
 *   ERR_FULL    refused or closed by `policy` (counted)
 *   NET_MORE    call it again (only where n->is_due is set): to make room, some
 *               of what waits has been written
 * `key`: a frame with the same key that waits in the outbox and has not begun
 * to leave is replaced (removed; the new one goes to the tail). A lane is not
 * searched: a client that keeps up gets all of a turn. NULL: no key. */
static inline int net_send(struct net *n, uint32_t slot, const struct range *r,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    struct lane *l = &n->lanes[slot];
    if (LIKELY((l->flags & (LANE_OPEN | LANE_SLOW)) == LANE_OPEN &&
               (uint64_t)r->len + 64u * (uint64_t)r->frames <= l->hard_bytes)) {
        if (l->blob == NULL) {
            l->blob = blob_ref(r->blob);
            l->off = r->off;
            l->len = r->len;
            l->frames = r->frames;
            if (!(l->flags & LANE_DIRTY)) {
                net_mark_dirty(n, slot);
            }
            return 0;
        }
        if (l->blob == r->blob && l->off + l->len == r->off &&
            (uint64_t)l->len + r->len +
                    64u * ((uint64_t)l->frames + r->frames) <=
                l->hard_bytes) {
            l->len += r->len;
            l->frames += r->frames;
            return 0;
        }
    }
    return net_send_slow(n, slot, r, policy, key, key_len);
}

#endif
