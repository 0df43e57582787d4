/* conn_push.c -- what is put into a connection's lane and outbox, and what
 * happens to a client that cannot take it.
 *
 * net_send() may be called from the midst of a handler, so nothing in its
 * way calls anybody back: a client that has to go is doomed here (it takes
 * nothing more from that moment) and ended at the start of the next flush.
 *
 * A hard bound is for clients that do not read. Before it acts on one whose
 * socket is not known to be full, we write: so a burst in one handler is only
 * held against those who are slow.
 *
 * Laws: I2 (bounds and policies), I6. */
#include "base/err.h"
#include "base/limits.h"
#include "net/conn_priv.h"
#include "net/outbox_priv.h"
#include <string.h>

/* What is written before a hard bound acts: so many times so much, where it
 * cannot be left off. */
#define EARLY_WRITES 32
#define EARLY_BYTES  (64u * 1024u)

static const struct outbox_limits no_limits = {UINT32_MAX, UINT32_MAX, 0};

/* What goes to an outbox that was judged before, or needs no judging. */
static int push_unjudged(struct outbox *o, const struct range *r)
{
    struct outbox_drops drops = {0};
    return outbox_push(o, r, &no_limits, OUTBOX_CLOSE, false, NULL, 0, &drops);
}

/* From now on the outbox is where output goes; what the lane holds moves. */
int conn_spill(struct conn *c)
{
    struct lane *l = conn_lane(c);
    if (c->outbox != NULL) {
        return 0;
    }
    struct outbox *o = outbox_new(c->net);
    if (o == NULL) {
        return ERR_NOMEM;
    }
    if (l->blob != NULL) {
        struct range r = {l->blob, l->off, l->len, l->frames};
        int rc = push_unjudged(o, &r);
        if (rc != 0) {
            outbox_free(o, c->net);
            return rc;
        }
        metric_add(c->net->metrics, METRIC_FRAMES_OUT, l->frames);
        blob_unref(l->blob);
        l->blob = NULL;
    }
    c->outbox = o;
    l->flags |= LANE_SLOW;
    return 0;
}

void conn_note_soft_bound(struct conn *c)
{
    uint32_t messages = outbox_messages(c->outbox);
    if (messages <= c->settings->outbox.soft_messages) {
        c->over_ms = 0;
    } else if (c->over_ms == 0 && c->state == CONN_OPEN) {
        uint32_t now = conn_now_ms(c);
        c->over_ms = now != 0 ? now : 1;
        uint64_t soft_ms = c->settings->outbox.soft_ms;
        if (!timer_is_started(&c->timer) ||
            c->timer.due_ms > loop_now_ms(c->net->loop) + soft_ms) {
            timer_start(c->net->loop, &c->timer, soft_ms);
        }
    }
}

/* The lane, if what it holds may be added to without an outbox. */
static bool put_in_lane(struct conn *c, const struct range *r)
{
    struct lane *l = conn_lane(c);
    if (c->outbox != NULL) {
        return false;
    }
    if (l->blob == NULL) {
        l->blob = blob_ref(r->blob);
        l->off = r->off;
        l->len = r->len;
        l->frames = r->frames;
        return true;
    }
    if (l->frames == 0 && l->blob == r->blob && l->off + l->len == r->off) {
        l->len += r->len;
        return true;
    }
    return false;
}

int conn_push_raw(struct conn *c, const struct range *r)
{
    net_mark_dirty(c->net, c->slot);
    if (put_in_lane(c, r)) {
        return 0;
    }
    int rc = conn_spill(c);
    return rc != 0 ? rc : push_unjudged(c->outbox, r);
}

int conn_push_bytes(struct conn *c, const void *p, size_t n)
{
    struct blob *b = blob_new(NULL, n);
    if (b == NULL) {
        return ERR_NOMEM;
    }
    memcpy(b->data, p, n);
    struct range r = {b, 0, (uint32_t)n, 0};
    int rc = conn_push_raw(c, &r);
    blob_unref(b);
    return rc;
}

/* A client that keeps up has a pong for each of its pings, in their order: in
 * the lane, or, where there were answers to something else in this turn, ahead
 * of these. Once its socket is full, and where they are too many, the newest is
 * enough (RFC 6455 5.5.3). */
void conn_push_control(
    struct conn *c, enum frame_opcode op, const uint8_t *p, size_t n)
{
    struct net *net = c->net;
    struct range r;
    net_mark_dirty(net, c->slot);
    if (c->outbox == NULL &&
        tape_frame(&net->controls, net, NULL, op, false, p, n, &r) == 0) {
        r.frames = 0;
        if (put_in_lane(c, &r)) {
            return;
        }
    }
    if (conn_spill(c) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
        return;
    }
    uint8_t frame[2 + LIMIT_CONTROL_BYTES];
    size_t at = frame_encode(frame, op, true, false, n);
    if (n > 0) {
        memcpy(frame + at, p, n);
    }
    bool is_pong = op == FRAME_PONG;
    outbox_push_control(
        c->outbox, frame, at + n, is_pong, !is_pong || conn_awaits_write(c));
}

int conn_push_close(
    struct conn *c, uint16_t code, const char *reason, size_t len)
{
    int rc = conn_spill(c);
    if (rc != 0) {
        return rc;
    }
    uint8_t frame[2 + LIMIT_CONTROL_BYTES];
    size_t n = code != 1005 ? 2 + len : 0;
    size_t at = frame_encode(frame, FRAME_CLOSE, true, false, n);
    if (n > 0) {
        frame[at++] = (uint8_t)(code >> 8);
        frame[at++] = (uint8_t)code;
        if (len > 0) {
            memcpy(frame + at, reason, len);
            at += len;
        }
    }
    outbox_push_close(c->outbox, frame, at);
    net_mark_dirty(c->net, c->slot);
    return 0;
}

void conn_drop_queue(struct conn *c)
{
    struct lane *l = conn_lane(c);
    uint32_t dropped = 0;
    if (l->blob != NULL && l->frames > 0) {
        dropped = l->frames;
        blob_unref(l->blob);
        l->blob = NULL;
    }
    if (c->outbox != NULL) {
        dropped += outbox_drop_all(c->outbox);
    }
    metric_add(c->net->metrics, METRIC_DROPPED_CLOSE, dropped);
}

static void count_drops(struct conn *c, const struct outbox_drops *d)
{
    struct metrics *m = c->net->metrics;
    uint64_t dropped = (uint64_t)d->oldest + d->newest + d->key;
    if (dropped > 0) {
        conn_pack_cut(c);
        if (conn_extra_get(c) != NULL) {
            c->extra->dropped += dropped;
        }
    }
    metric_add(m, METRIC_DROPPED_OLDEST, d->oldest);
    metric_add(m, METRIC_DROPPED_NEWEST, d->newest);
    metric_add(m, METRIC_DROPPED_KEY, d->key);
}

/* The range does not come in. */
static int refuse(
    struct conn *c, const struct range *r, enum outbox_policy policy, int why)
{
    struct outbox_drops drops = {0};
    if (policy == OUTBOX_CLOSE) {
        metric_add(c->net->metrics, METRIC_DROPPED_CLOSE, r->frames);
        conn_doom(c, CONN_DOOM_SLOW);
    } else if (why == ERR_NOMEM) {
        drops.newest = r->frames;
        count_drops(c, &drops);
    }
    return ERR_FULL;
}

static bool is_full(const struct conn *c, const struct range *r)
{
    return c->outbox != NULL &&
           outbox_is_full(c->outbox, r, &c->settings->outbox);
}

bool net_must_write(const struct net *n, uint32_t slot, size_t len)
{
    const struct lane *l = &n->lanes[slot];
    const struct range r = {.len = (uint32_t)len, .frames = 1};
    if (l->blob != NULL) {
        return (l->flags & LANE_OPEN) != 0 &&
               (uint64_t)outbox_cost(l->len, l->frames) + outbox_cost(len, 1) >
                   l->hard_bytes;
    }
    if ((l->flags & (LANE_OPEN | LANE_SLOW)) != (LANE_OPEN | LANE_SLOW)) {
        return false;
    }
    const struct conn *c = slots_at(&n->conns, slot);
    return !conn_awaits_write(c) && is_full(c, &r);
}

/* Writes in the midst of the turn, until there is room for the range. 0,
 * ERR_CLOSED or NET_MORE. */
static int write_early(struct conn *c, const struct range *r)
{
    int rc = CONN_WRITE_MORE;
    for (int i = 0; i < EARLY_WRITES && rc == CONN_WRITE_MORE && is_full(c, r);
         i++) {
        if (i > 0 && c->net->is_due != NULL && c->net->is_due()) {
            return NET_MORE;
        }
        rc = conn_write_some(c, EARLY_BYTES);
    }
    if (rc < 0) {
        conn_doom(c, CONN_DOOM_ERROR);
        return ERR_CLOSED;
    }
    if (rc == CONN_WRITE_BLOCKED) {
        conn_watch(c, c->watch.events | IO_WRITE);
    }
    return 0;
}

bool conn_is_over_soft(const struct conn *c)
{
    return c->over_ms != 0 &&
           conn_now_ms(c) - c->over_ms >= c->settings->outbox.soft_ms;
}

int conn_send_data(struct conn *c, const struct range *r,
    enum outbox_policy policy, const char *key, size_t key_len)
{
    const struct outbox_limits *limits = &c->settings->outbox;
    net_mark_dirty(c->net, c->slot);
    int rc = conn_spill(c);
    if (rc == 0 && !conn_awaits_write(c) && is_full(c, r)) {
        rc = write_early(c, r);
        if (rc != 0) {
            return rc;
        }
        rc = conn_spill(c);
    }
    bool is_over = conn_is_over_soft(c);
    if (is_over && policy == OUTBOX_CLOSE) {
        rc = ERR_FULL;
    }
    if (rc != 0) {
        return refuse(c, r, policy, rc);
    }
    struct outbox_drops drops = {0};
    rc = outbox_push(
        c->outbox, r, limits, policy, is_over, key, key_len, &drops);
    count_drops(c, &drops);
    if (rc != 0) {
        return refuse(c, r, policy, rc);
    }
    metric_add(c->net->metrics, METRIC_FRAMES_OUT, r->frames);
    if (policy == OUTBOX_CLOSE) {
        c->flags |= CONN_OVER_CLOSES;
    } else {
        c->flags &= (uint16_t)~CONN_OVER_CLOSES;
    }
    /* What is dropped to hold the queue down is no sign of catching up: the
     * clock goes back only when enough has left. */
    if (!is_over) {
        conn_note_soft_bound(c);
    }
    return 0;
}

void conn_queue(const struct conn *c, struct conn_queue *out)
{
    *out = (struct conn_queue){
        .dropped = c->extra != NULL ? c->extra->dropped : 0};
    if (c->state == CONN_DEAD) {
        return;
    }
    const struct lane *l = conn_lane(c);
    if (c->outbox != NULL) {
        out->messages = outbox_messages(c->outbox);
        out->bytes = outbox_bytes(c->outbox);
    } else if (l->blob != NULL && l->frames > 0) {
        out->messages = l->frames;
        out->bytes = l->len + (uint64_t)l->frames * LIMIT_FRAME_OVERHEAD_BYTES;
    }
}
