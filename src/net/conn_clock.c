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
#include "base/log.h"
#include "net/conn_priv.h"

void conn_start_timer(struct conn *c, uint32_t ms)
{
    timer_start(c->net->loop, &c->timer, ms);
}

void conn_hurry_timer(struct conn *c, uint32_t ms)
{
    if (!timer_is_started(&c->timer) ||
        c->timer.due_ms > loop_now_ms(c->net->loop) + ms) {
        conn_start_timer(c, ms);
    }
}

bool conn_is_too_slow(struct conn *c, struct message_mark *mark, uint64_t bytes)
{
    const struct guard *g = c->net->guard;
    uint32_t now = conn_now_ms(c);
    if (mark->is_set && now - mark->ms >= g->slow_ms) {
        uint64_t came = bytes > mark->bytes ? bytes - mark->bytes : 0;
        if (came < g->slow_bytes) {
            return true;
        }
        mark->is_set = false;
    }
    if (!mark->is_set) {
        *mark = (struct message_mark){bytes, now, true};
    }
    conn_hurry_timer(c, g->slow_ms - (now - mark->ms));
    return false;
}

void conn_note_partial(struct conn *c)
{
    uint64_t bytes;
    struct message_mark *mark = message_mark(&c->p.ws.reader, &bytes);
    if (mark != NULL && !mark->is_set) {
        *mark = (struct message_mark){bytes, conn_now_ms(c), true};
        conn_hurry_timer(c, c->net->guard->slow_ms);
    }
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

static void cut_off(
    struct conn *c, const char *why, const char *limit, uint32_t ms, bool reset)
{
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    log_event(LOG_INFO, NULL, "connection of %s cut off: %s in %s (%u ms)", ip,
        why, limit, ms);
    conn_kill(c, reset);
}

static void tick_http(struct conn *c)
{
    const struct guard *g = c->net->guard;
    if (conn_has_incoming(c)) {
        (void)conn_body_tick(c);
    } else if (c->flags & CONN_REPLYING) {
        if (!wait_rest(c, c->heard_ms, g->keep_alive_ms)) {
            cut_off(c, "it took nothing of its answer", "idle-time",
                g->keep_alive_ms, true);
        }
    } else if (c->flags & CONN_HEAD_BEGUN) {
        conn_http_refuse(c, 408, "the request head took too long");
    } else if (c->flags & CONN_THINKING) {
        return; /* it is we who wait for somebody */
    } else if (c->flags & CONN_AGAIN) {
        conn_kill(c, false); /* the usual end of one that is kept */
    } else {
        /* Of TLS or a PROXY header it may have begun: nobody can be told. */
        cut_off(c, "no request came", "head-time", g->handshake_ms, false);
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
        char ip[CONN_IP_BYTES];
        conn_ip(c, ip);
        log_event(LOG_INFO, NULL,
            "client %s cut off: it said nothing for ping (%u ms) and pong "
            "(%u ms)",
            ip, s->ping_ms, s->pong_ms);
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

/* Milliseconds to the next look at a message under way; 0: it was too slow,
 * and the connection has ended. */
static uint32_t tick_partial(struct conn *c)
{
    uint64_t bytes;
    struct message_mark *mark = message_mark(&c->p.ws.reader, &bytes);
    uint32_t slow_ms = c->net->guard->slow_ms;
    if (mark == NULL || slow_ms == 0) {
        return UINT32_MAX;
    }
    if (!conn_is_reading(c)) {
        mark->is_set = false; /* it is we who wait */
        return slow_ms;
    }
    if (!conn_is_too_slow(c, mark, bytes)) {
        return slow_ms - (conn_now_ms(c) - mark->ms);
    }
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    metric_add(c->net->metrics, METRIC_SLOW_INPUT, 1);
    log_event(LOG_INFO, NULL,
        "client %s closed with 1008: less than slow-bytes (%u) of a message "
        "came in slow-time (%u ms)",
        ip, c->net->guard->slow_bytes, slow_ms);
    conn_fail(c, 1008, "a message came too slowly", false);
    return 0;
}

static void tick_open(struct conn *c)
{
    uint32_t next = conn_flood_tick(c);
    uint32_t partial = tick_partial(c);
    if (partial == 0) {
        return;
    }
    next = partial < next ? partial : next;
    if (c->over_ms != 0 && (c->flags & CONN_OVER_CLOSES)) {
        if (conn_is_over_soft(c)) {
            conn_end_slow(c);
            return;
        }
        uint32_t over =
            c->settings->outbox.soft_ms - (conn_now_ms(c) - c->over_ms);
        next = over < next ? over : next;
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

/* A client that has closed, or been closed, and does not end. */
static void tick_closing(struct conn *c)
{
    if (c->flags & CONN_IS_WS) {
        char ip[CONN_IP_BYTES];
        conn_ip(c, ip);
        log_event(LOG_INFO, NULL,
            "client %s cut off: its side of the close took longer than "
            "closing (%u ms)",
            ip, c->settings->close_ms);
    }
    conn_kill(c, true);
}

void conn_on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    CHECK(c, CONN_MAGIC);
    switch (c->state) {
    case CONN_HTTP:
    case CONN_UPGRADING: tick_http(c); break;
    case CONN_OPEN: tick_open(c); break;
    default: tick_closing(c); break;
    }
}
