/* outbox.h -- what a connection still has to send when its lane is not
 * enough: a bounded queue of ranges, control frames ahead of it.
 *
 * Bounds (I2): `hard_bytes` acts at once, `soft_messages` when it has been
 * exceeded for soft_ms. A frame counts its bytes plus
 * LIMIT_FRAME_OVERHEAD_BYTES, in full until its last byte has left: admission
 * judges by cost. A frame whose first byte has left is never dropped, a
 * control frame never at all.
 *
 * The outbox does no I/O and knows no connection: net/conn owns it, asks it
 * what to write and tells it what has left. An idle connection has none. */
#ifndef NET_OUTBOX_H
#define NET_OUTBOX_H

#include "net/net.h"
#include <sys/uio.h>

struct outbox;

struct outbox_limits {
    uint32_t hard_bytes;
    uint32_t soft_messages;
    uint32_t soft_ms;
};

/* What a push did besides queueing. */
struct outbox_drops {
    uint32_t oldest;
    uint32_t newest;
    uint32_t key;
};

/* From the net's spares; NULL: no memory. */
struct outbox *outbox_new(struct net *n) NODISCARD;
void outbox_free(struct outbox *o, struct net *n);

/* Queues a range (takes a reference of its own). 0; ERR_FULL: over the hard
 * bound and `policy` does not make room (the caller closes for OUTBOX_CLOSE);
 * ERR_NOMEM. A queue without data takes a range of any size. A range with
 * frames == 0 is raw bytes (an HTTP response, pongs of a lane): not judged, not
 * counted, never dropped. `is_over` makes the drop policies hold the queue to
 * soft_messages as well: the soft bound was exceeded for too long. */
int outbox_push(struct outbox *o, const struct range *r,
    const struct outbox_limits *limits, enum outbox_policy policy, bool is_over,
    const char *key, size_t key_len, struct outbox_drops *drops) NODISCARD;
/* Queues a control frame (encoded, <= 127 bytes) ahead of all data that has
 * not begun to leave. `replaces`: it takes the place of the last of its kind
 * that waits (5.5.3), as it does where there are too many. */
void outbox_push_control(struct outbox *o, const uint8_t *frame, size_t len,
    bool is_pong, bool replaces);
/* The close frame: behind all data, once. What comes after it can only be a
 * pong: that goes ahead of it, unless it has begun to leave. */
void outbox_push_close(struct outbox *o, const uint8_t *frame, size_t len);
/* Drops all data that has not begun to leave; returns the frames dropped. */
uint32_t outbox_drop_all(struct outbox *o);

/* Up to `max` iovecs of what goes out next, at most max_bytes. */
int outbox_peek(
    const struct outbox *o, struct iovec *iov, int max, size_t max_bytes);
/* So many bytes have left. */
void outbox_sent(struct outbox *o, size_t n);
/* Copies what lies in scratch blobs to blobs of the queue's own, charged to
 * their meter: called when the turn's flush could not send everything. 0 or
 * ERR_FULL/ERR_NOMEM (the queue is as before). */
int outbox_detach(struct outbox *o) NODISCARD;

/* Would the range be over the hard bound? */
bool outbox_is_full(const struct outbox *o, const struct range *r,
    const struct outbox_limits *limits);
bool outbox_is_empty(const struct outbox *o);
/* Data frames queued, and their cost in bytes (control frames left out). */
uint32_t outbox_messages(const struct outbox *o);
size_t outbox_bytes(const struct outbox *o);

#endif
