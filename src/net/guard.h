/* guard.h -- what an operator sets against rude peers, and whom they trust:
 * one frozen struct for all loops, and the counts for each address.
 *
 * An app's own limits (message, rates of a client) are in conn_settings. */
#ifndef NET_GUARD_H
#define NET_GUARD_H

#include "base/limits.h"
#include "base/tally.h"
#include "proto/ip.h"

/* Buckets of an address in the tally. */
enum guard_bucket { GUARD_CONNECTIONS, GUARD_MESSAGES };

struct guard {
    /* Of requests. */
    uint32_t head_bytes;
    uint32_t headers;
    uint32_t handshake_ms;
    uint32_t keep_alive_ms;
    uint32_t body_bytes;
    /* Of messages and bodies: fewer than slow_bytes in slow_ms is too slow; 0
     * ms: nothing is. */
    uint32_t slow_bytes;
    uint32_t slow_ms;
    uint32_t rate_patience_ms;
    /* Of one address. */
    uint32_t address_connections; /* 0: no bound */
    struct rate address_rate;     /* of new connections */
    struct rate address_messages; /* of all its connections together */
    /* Who may speak for others. */
    struct cidr proxies[LIMIT_PROXIES];
    uint32_t proxy_count;
    bool proxy_protocol; /* they begin with a PROXY header */

    struct tally *tally; /* NULL: no address is counted */
};

/* The defaults of base/limits.h: nobody is trusted, no address counted. */
void guard_init(struct guard *g);
/* After all settings: makes the tally if there is anything to count. */
void guard_start(struct guard *g);
/* No connection may be left. */
void guard_fini(struct guard *g);
/* What a net has until net_guard(). */
extern const struct guard guard_default;

static inline bool guard_trusts(const struct guard *g, const struct ip *ip)
{
    return g->proxy_count > 0 && cidr_has(g->proxies, g->proxy_count, ip);
}

/* May another connection come from there? Takes from its rate. If not, *why
 * says which limit it met, for the log and for the peer. A trusted proxy may
 * always: those behind it are judged when they are known. */
#define GUARD_WHY_BYTES 128
bool guard_admits(const struct guard *g, const struct ip *ip, uint64_t now_ms,
    char why[GUARD_WHY_BYTES]) NODISCARD;

#endif
