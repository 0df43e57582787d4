/* conn_flood.c -- rates of messages: first the brake, then the end.
 *
 * A client may be held to so many messages and so many bytes in a second (its
 * app's settings), an address to so many messages over all its connections
 * (the operator's). Every frame counts, pings and fragments too, so that a
 * flood of tiny ones is a flood.
 *
 * Who has used up what they may is not read from until there is some again:
 * TCP tells the sender, nothing is lost, and a client that sends a burst never
 * learns that there is a limit. Who goes on exceeding it for rate_patience_ms,
 * without the bucket being half full in between, is closed with 1008.
 *
 * Connections without any such limit have no `extra` and never come here.
 * Laws: I2. */
#include "base/err.h"
#include "base/log.h"
#include "net/conn_priv.h"

void conn_flood_init(struct conn *c)
{
    const struct conn_settings *s = c->settings;
    if (s->rate_messages.per_s != 0 || s->rate_bytes.per_s != 0 ||
        c->net->guard->address_messages.per_s != 0) {
        /* Without memory there is no limit; there is no message either. */
        (void)conn_extra_get(c);
    }
}

struct excess {
    uint32_t wait_ms;
    const char *limit; /* its name */
    const struct rate *rate;
};

static void look_at(struct excess *x, uint32_t wait_ms, const char *limit,
    const struct rate *rate)
{
    if (wait_ms > x->wait_ms) {
        *x = (struct excess){wait_ms, limit, rate};
    }
}

static struct excess find_excess(const struct conn *c, uint64_t now_ms)
{
    const struct conn_settings *s = c->settings;
    const struct guard *g = c->net->guard;
    const struct conn_extra *e = c->extra;
    struct excess x = {0};
    look_at(&x, rate_wait_ms(&s->rate_messages, e->messages_ns, now_ms),
        "rate.messages", &s->rate_messages);
    look_at(&x, rate_wait_ms(&s->rate_bytes, e->bytes_ns, now_ms), "rate.bytes",
        &s->rate_bytes);
    if (e->counted != NULL && g->address_messages.per_s != 0) {
        look_at(&x,
            tally_wait_ms(g->tally, e->counted, GUARD_MESSAGES,
                &g->address_messages, now_ms),
            "address-messages", &g->address_messages);
    }
    return x;
}

/* A bucket of half the depth has something in it while the whole one is half
 * full. */
static struct rate half(const struct rate *r)
{
    return (struct rate){r->per_s, (r->burst + 1) / 2};
}

static bool is_half_full(
    const struct rate *r, uint64_t full_at_ns, uint64_t now)
{
    struct rate h = half(r);
    return rate_wait_ms(&h, full_at_ns, now) == 0;
}

static bool is_address_half_full(const struct conn *c, uint64_t now)
{
    const struct guard *g = c->net->guard;
    struct tally_entry *counted = c->extra->counted;
    if (counted == NULL || g->address_messages.per_s == 0) {
        return true;
    }
    struct rate h = half(&g->address_messages);
    return tally_wait_ms(g->tally, counted, GUARD_MESSAGES, &h, now) == 0;
}

/* It has kept to its rates for long enough to begin anew. */
static void forgive(struct conn *c, uint64_t now_ms)
{
    const struct conn_settings *s = c->settings;
    struct conn_extra *e = c->extra;
    if (is_half_full(&s->rate_messages, e->messages_ns, now_ms) &&
        is_half_full(&s->rate_bytes, e->bytes_ns, now_ms) &&
        is_address_half_full(c, now_ms)) {
        e->over_since_ms = 0;
    }
}

static void end_flood(struct conn *c, const struct excess *x, uint64_t for_ms)
{
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    metric_add(c->net->metrics, METRIC_FLOODS, 1);
    log_event(LOG_WARN, NULL,
        "client %s closed with 1008: %s of %u per second (%u at once) "
        "exceeded for %llu ms",
        ip, x->limit, x->rate->per_s, x->rate->burst,
        (unsigned long long)for_ms);
    conn_fail(c, 1008, "rate limit", true);
}

bool conn_flood_admits(struct conn *c)
{
    struct conn_extra *e = c->extra;
    uint64_t now = loop_now_ms(c->net->loop);
    struct excess x = find_excess(c, now);
    if (x.wait_ms == 0) {
        if (e->over_since_ms != 0) {
            forgive(c, now);
        }
        return true;
    }
    if (e->over_since_ms == 0) {
        e->over_since_ms = now;
    }
    uint64_t for_ms = now - e->over_since_ms;
    if (for_ms >= c->net->guard->rate_patience_ms) {
        end_flood(c, &x, for_ms);
        return false;
    }
    c->flags |= CONN_PAUSED;
    e->resume_at_ms = now + x.wait_ms;
    metric_add(c->net->metrics, METRIC_RATE_PAUSES, 1);
    conn_hurry_timer(c, x.wait_ms);
    return false;
}

void conn_flood_count(struct conn *c, uint32_t frames, uint64_t bytes)
{
    const struct conn_settings *s = c->settings;
    const struct guard *g = c->net->guard;
    struct conn_extra *e = c->extra;
    uint64_t now = loop_now_ms(c->net->loop);
    rate_take(&s->rate_messages, &e->messages_ns, now, frames);
    rate_take(&s->rate_bytes, &e->bytes_ns, now, bytes);
    if (e->counted != NULL && frames > 0 && g->address_messages.per_s != 0) {
        tally_take(g->tally, e->counted, GUARD_MESSAGES, &g->address_messages,
            now, frames);
    }
}

uint32_t conn_flood_tick(struct conn *c)
{
    struct conn_extra *e = c->extra;
    if (e == NULL || e->resume_at_ms == 0) {
        return UINT32_MAX;
    }
    uint64_t now = loop_now_ms(c->net->loop);
    if (now < e->resume_at_ms) {
        return (uint32_t)(e->resume_at_ms - now);
    }
    e->resume_at_ms = 0;
    conn_resume(c);
    return UINT32_MAX;
}
