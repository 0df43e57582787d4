/* conn_write.c -- a connection's output on its way to the socket, wherever the
 * flush's fast path is not enough.
 *
 * Bytes to send are in one of two places: in the lane, or, once the lane has
 * spilled (LANE_SLOW), all of them in the outbox, so that their order is
 * never in doubt. Two situations lead here: two stretches in one turn, which
 * the flush sends in one go and forgets; and a socket that is full, which is
 * then watched, and nobody tries to write before it says so.
 *
 * Every result of every write is handled here, and an error has one way: out.
 *
 * Laws: I2. How bytes get into lane and outbox is in conn_push.c. */
#include "base/err.h"
#include "base/limits.h"
#include "net/conn_priv.h"

#define IOVECS_MAX      64
#define WRITE_MAX_BYTES (256u * 1024u)
/* System calls for one client in one flush: a queue of many stretches that
 * the socket would take is done in these, or goes on when it is writable. */
#define WRITES_PER_FLUSH 8

static void unspill(struct conn *c)
{
    outbox_free(c->outbox, c->net);
    c->outbox = NULL;
    c->over_ms = 0;
    conn_lane(c)->flags &= ~(uint32_t)LANE_SLOW;
}

static ssize_t write_out(struct conn *c, const struct iovec *iov, int n)
{
    ssize_t k =
        c->transport->write(c->transport_state, conn_lane(c)->fd, iov, n);
    metric_add(c->net->metrics, METRIC_SENDS, 1);
    if (k > 0) {
        metric_add(c->net->metrics, METRIC_BYTES_OUT, (uint64_t)k);
    }
    return k;
}

/* Everything is with the transport; has it left? */
static int flush_transport(struct conn *c)
{
    if (c->transport->flush == NULL) {
        return CONN_WRITE_ALL;
    }
    int rc = c->transport->flush(c->transport_state, conn_lane(c)->fd);
    if (rc == 0) {
        return CONN_WRITE_ALL;
    }
    return rc == TRANSPORT_AGAIN ? CONN_WRITE_BLOCKED : rc;
}

/* The lane of a connection that the flush may not send for by itself. */
static int write_lane(struct conn *c)
{
    struct lane *l = conn_lane(c);
    struct iovec iov = {l->blob->data + l->off, l->len};
    ssize_t k = write_out(c, &iov, 1);
    if (k < 0 && k != TRANSPORT_AGAIN) {
        return (int)k;
    }
    if (k == (ssize_t)l->len) {
        metric_add(c->net->metrics, METRIC_FRAMES_OUT, l->frames);
        blob_unref(l->blob);
        l->blob = NULL;
        return flush_transport(c);
    }
    int rc = conn_spill(c);
    if (rc != 0) {
        return rc;
    }
    outbox_sent(c->outbox, k > 0 ? (size_t)k : 0);
    return CONN_WRITE_BLOCKED;
}

int conn_write_some(struct conn *c, size_t most)
{
    if (c->outbox == NULL) {
        return conn_lane(c)->blob != NULL ? write_lane(c) : flush_transport(c);
    }
    struct iovec iov[IOVECS_MAX];
    int count = outbox_peek(c->outbox, iov, IOVECS_MAX, most);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    ssize_t k = count > 0 ? write_out(c, iov, count) : 0;
    if (k < 0 && k != TRANSPORT_AGAIN) {
        return (int)k;
    }
    size_t sent = k > 0 ? (size_t)k : 0;
    outbox_sent(c->outbox, sent);
    if (outbox_is_empty(c->outbox)) {
        unspill(c);
        return flush_transport(c);
    }
    conn_note_soft_bound(c);
    return sent == total ? CONN_WRITE_MORE : CONN_WRITE_BLOCKED;
}

int conn_write_now(struct conn *c)
{
    int rc = CONN_WRITE_MORE;
    for (int i = 0; i < WRITES_PER_FLUSH && rc == CONN_WRITE_MORE; i++) {
        rc = conn_write_some(c, WRITE_MAX_BYTES);
    }
    return rc;
}

static bool is_over_high(const struct conn *c)
{
    const struct outbox_limits *m = &c->settings->outbox;
    return outbox_bytes(c->outbox) > m->hard_bytes / 2 ||
           outbox_messages(c->outbox) > m->soft_messages / 2;
}

static bool is_under_low(const struct conn *c)
{
    const struct outbox_limits *m = &c->settings->outbox;
    return c->outbox == NULL ||
           (outbox_bytes(c->outbox) < m->hard_bytes / 8 &&
               outbox_messages(c->outbox) <= m->soft_messages / 8);
}

/* Tells the handler about the high mark. May end the connection. */
static void tell_slow(struct conn *c)
{
    if (c->state == CONN_OPEN && c->doom == CONN_DOOM_NONE &&
        !(c->flags & CONN_TOLD_SLOW) && c->outbox != NULL && is_over_high(c)) {
        c->flags |= CONN_TOLD_SLOW;
        c->p.ws.handler->on_slow(c->p.ws.user);
    }
}

static void tell_drain(struct conn *c)
{
    if (c->state == CONN_OPEN && (c->flags & CONN_TOLD_SLOW) &&
        is_under_low(c)) {
        c->flags &= (uint16_t)~CONN_TOLD_SLOW;
        c->p.ws.handler->on_drain(c->p.ws.user);
    }
}

/* The socket is full: what stays beyond the turn must not hold on to the
 * chunks of the turn. */
static void settle(struct conn *c)
{
    if (c->outbox != NULL && outbox_detach(c->outbox) != 0) {
        if (c->state == CONN_OPEN) {
            c->doom = CONN_DOOM_APP;
            conn_end_slow(c);
        } else {
            conn_drop_queue(c);
        }
        return;
    }
    tell_slow(c);
}

/* Everything has left; who waited for that? */
static void all_left(struct conn *c)
{
    if (c->flags & CONN_REPLYING) {
        conn_http_left(c);
    } else if (c->state == CONN_FLUSHING) {
        conn_finish(c);
    } else {
        tell_drain(c);
    }
}

static void after_flush(struct conn *c, int rc)
{
    if (rc < 0) {
        conn_kill(c, false);
    } else if (rc == CONN_WRITE_ALL) {
        all_left(c);
    } else {
        conn_watch(c, c->watch.events | IO_WRITE);
        settle(c);
    }
}

void conn_flush(struct conn *c)
{
    if (conn_awaits_write(c)) {
        settle(c);
        return;
    }
    after_flush(c, conn_write_now(c));
}

void conn_flush_partial(struct conn *c, ssize_t sent)
{
    if (sent < 0 && sent != TRANSPORT_AGAIN) {
        conn_kill(c, false);
        return;
    }
    int rc = conn_spill(c);
    if (rc == 0) {
        size_t k = sent > 0 ? (size_t)sent : 0;
        metric_add(c->net->metrics, METRIC_BYTES_OUT, k);
        outbox_sent(c->outbox, k);
        conn_note_soft_bound(c);
        rc = CONN_WRITE_BLOCKED;
    }
    after_flush(c, rc);
}

void conn_on_writable(struct conn *c)
{
    int rc = conn_write_some(c, WRITE_MAX_BYTES);
    if (rc < 0) {
        conn_kill(c, false);
        return;
    }
    if (c->flags & CONN_REPLYING) {
        c->heard_ms = conn_now_ms(c);
    }
    if (rc != CONN_WRITE_ALL) {
        tell_drain(c);
        return;
    }
    /* A body's next part would only have us watch again. */
    if (!(c->flags & CONN_REPLYING) || c->p.http.body == NULL) {
        conn_watch(c, c->watch.events & ~IO_WRITE);
    }
    all_left(c);
}
