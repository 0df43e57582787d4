/* conn_clock.c -- a connection's one timer, which means what its state says:
 *
 *   HTTP      the head must be complete; the reply must make progress
 *   OPEN      pings and pongs; the soft bound of the outbox
 *   CLOSING, FLUSHING   the peer must come to an end too
 *
 * Input only notes the time; the timer finds that out when it fires and
 * starts itself again for the rest. So a message costs no timer call.
 *
 * Nobody is held silent who could not be heard: while reading is paused the
 * clock of the pings stands still. */
#include "base/limits.h"
#include "net/conn_priv.h"

void conn_start_timer(struct conn *c, uint32_t ms)
{
    timer_start(c->net->loop, &c->timer, ms);
}

/* Fires again when `limit_ms` will have passed since `since_ms`. False: they
 * have passed. */
static bool wait_rest(struct conn *c, uint32_t since_ms, uint32_t limit_ms)
{
    uint32_t passed = conn_now_ms(c) - since_ms;
    if (passed >= limit_ms) {
        return false;
    }
    conn_start_timer(c, limit_ms - passed);
    return true;
}

static void tick_http(struct conn *c)
{
    if (c->flags & CONN_REPLYING) {
        if (!wait_rest(c, c->heard_ms, LIMIT_KEEP_ALIVE_MS)) {
            conn_kill(c, true);
        }
    } else if (c->flags & CONN_HEAD_BEGUN) {
        conn_http_refuse(c, 408, "the request head took too long");
    } else if (!(c->flags & CONN_THINKING)) {
        conn_kill(c, false);
    }
}

/* Milliseconds to the next thing to look at; 0: the connection has ended. */
static uint32_t tick_pings(struct conn *c)
{
    const struct conn_settings *s = c->settings;
    if (!conn_is_reading(c)) {
        c->heard_ms = conn_now_ms(c);
        c->flags &= (uint16_t)~CONN_PINGED;
    }
    uint32_t silent = conn_now_ms(c) - c->heard_ms;
    if (c->flags & CONN_PINGED) {
        if (silent < s->pong_ms) {
            return s->pong_ms - silent;
        }
        metric_add(c->net->metrics, METRIC_PONG_TIMEOUTS, 1);
        conn_kill(c, true);
        return 0;
    }
    if (silent < s->ping_ms) {
        return s->ping_ms - silent;
    }
    conn_push_control(c, FRAME_PING, NULL, 0);
    c->heard_ms = conn_now_ms(c);
    c->flags |= CONN_PINGED;
    /* An answer comes before its time is up: then the next ping is due. */
    uint32_t next = s->ping_ms < s->pong_ms ? s->ping_ms : s->pong_ms;
    return next != 0 ? next : 1;
}

static void tick_open(struct conn *c)
{
    uint32_t next = UINT32_MAX;
    if (c->over_ms != 0 && (c->flags & CONN_OVER_CLOSES)) {
        if (conn_is_over_soft(c)) {
            conn_end_slow(c);
            return;
        }
        next = c->settings->outbox.soft_ms - (conn_now_ms(c) - c->over_ms);
    }
    if (c->settings->ping_ms != 0) {
        uint32_t ping = tick_pings(c);
        if (ping == 0) {
            return;
        }
        next = ping < next ? ping : next;
    }
    if (next != UINT32_MAX) {
        conn_start_timer(c, next);
    }
}

void conn_on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    CHECK(c, CONN_MAGIC);
    switch (c->state) {
    case CONN_HTTP:
    case CONN_UPGRADING: tick_http(c); break;
    case CONN_OPEN: tick_open(c); break;
    default: conn_kill(c, true); break;
    }
}
