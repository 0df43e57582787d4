/* rate.h -- so many a second, and a burst: a bucket in one number.
 *
 * The number is the moment at which the bucket would be full again; taking
 * from the bucket moves it on. So there is nothing to refill, and a bucket
 * that nobody has touched is 0. Any clock in milliseconds will do, as long as
 * it does not go back. */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include "base/base.h"

struct rate {
    uint32_t per_s; /* 0: no bound */
    uint32_t burst; /* at once, from a full bucket; at least 1 */
};

#define RATE_NS_PER_MS 1000000u
#define RATE_NS_PER_S  1000000000u

/* What taking `n` costs in time. n is at most 2^32. */
static inline uint64_t rate_cost_ns(const struct rate *r, uint64_t n)
{
    return n * RATE_NS_PER_S / r->per_s;
}

/* Milliseconds until there is something in the bucket; 0: there is. */
static inline uint32_t rate_wait_ms(
    const struct rate *r, uint64_t full_at_ns, uint64_t now_ms)
{
    if (r->per_s == 0) {
        return 0;
    }
    uint64_t depth = rate_cost_ns(r, r->burst);
    uint64_t now = now_ms * RATE_NS_PER_MS;
    if (full_at_ns < now + depth) {
        return 0;
    }
    uint64_t wait_ns = full_at_ns - now - depth;
    uint64_t ms = wait_ns / RATE_NS_PER_MS + 1;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

/* Takes n, whether they are there or not: what is owed is waited for. */
static inline void rate_take(
    const struct rate *r, uint64_t *full_at_ns, uint64_t now_ms, uint64_t n)
{
    if (r->per_s != 0) {
        uint64_t now = now_ms * RATE_NS_PER_MS;
        if (*full_at_ns < now) {
            *full_at_ns = now;
        }
        *full_at_ns += rate_cost_ns(r, n);
    }
}

#endif
