/* guard.c -- what an operator sets against rude peers.
 *
 * The struct is filled once, by the server, before the loops run; from then on
 * all loops read it (I4). Only its tally changes, which has a lock of its
 * own. Where nothing is to be counted there is no tally, and a connection
 * costs nothing here. */
#include "net/guard.h"
#include <stdio.h>

#define DEFAULTS                                                               \
    .head_bytes = LIMIT_HEAD_BYTES, .headers = LIMIT_HEADERS,                  \
    .handshake_ms = LIMIT_HANDSHAKE_MS, .keep_alive_ms = LIMIT_KEEP_ALIVE_MS,  \
    .body_bytes = LIMIT_DEFAULT_BODY_BYTES, .slow_bytes = LIMIT_SLOW_BYTES,    \
    .slow_ms = LIMIT_SLOW_MS, .rate_patience_ms = LIMIT_RATE_PATIENCE_MS

const struct guard guard_default = {DEFAULTS};

void guard_init(struct guard *g)
{
    *g = (struct guard){DEFAULTS};
}

void guard_start(struct guard *g)
{
    if (g->address_connections != 0 || g->address_rate.per_s != 0 ||
        g->address_messages.per_s != 0) {
        g->tally = tally_new(LIMIT_ADDRESSES);
    }
}

void guard_fini(struct guard *g)
{
    tally_free(g->tally);
    g->tally = NULL;
}

bool guard_admits(const struct guard *g, const struct ip *ip, uint64_t now_ms,
    char why[GUARD_WHY_BYTES])
{
    if (g->tally == NULL || guard_trusts(g, ip)) {
        return true;
    }
    struct ip owner = ip_owner(ip);
    struct tally_entry *e = tally_enter(g->tally, owner.b);
    if (e == NULL) {
        (void)snprintf(why, GUARD_WHY_BYTES, "too many addresses: %u are known",
            (unsigned)LIMIT_ADDRESSES);
        return false;
    }
    bool is_welcome = true;
    uint32_t count = tally_count(g->tally, owner.b) - 1;
    uint32_t wait =
        tally_wait_ms(g->tally, e, GUARD_CONNECTIONS, &g->address_rate, now_ms);
    if (g->address_connections != 0 && count >= g->address_connections) {
        (void)snprintf(why, GUARD_WHY_BYTES,
            "too many connections of one address: %u are there, "
            "address-connections is %u",
            count, g->address_connections);
        is_welcome = false;
    } else if (wait > 0) {
        (void)snprintf(why, GUARD_WHY_BYTES,
            "new connections of one address come too fast: address-rate is "
            "%u per second, %u at once",
            g->address_rate.per_s, g->address_rate.burst);
        is_welcome = false;
    } else {
        tally_take(g->tally, e, GUARD_CONNECTIONS, &g->address_rate, now_ms, 1);
    }
    tally_leave(g->tally, e);
    return is_welcome;
}
