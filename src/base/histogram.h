/* histogram.h -- how long something took, in buckets that double.
 *
 * One thread counts, any thread reads; as in metric.h the atomics are there
 * only so that this is no data race. Bucket i counts what was at most
 * 1 us << i, the last one the rest. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include "base/base.h"
#include <stdatomic.h>

#define HISTOGRAM_BUCKETS 22 /* 1 us to 1 s, and beyond */

struct histogram {
    _Atomic uint64_t count[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t max_ns;
};

/* The upper end of bucket i; the last has none. */
static inline uint64_t histogram_bound_ns(unsigned i)
{
    return UINT64_C(1000) << i;
}

static inline uint64_t histogram_get(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static inline void histogram_set(_Atomic uint64_t *v, uint64_t to)
{
    atomic_store_explicit(v, to, memory_order_relaxed);
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned i = 0;
    while (i + 1 < HISTOGRAM_BUCKETS && ns > histogram_bound_ns(i)) {
        i++;
    }
    histogram_set(&h->count[i], histogram_get(&h->count[i]) + 1);
    histogram_set(&h->sum_ns, histogram_get(&h->sum_ns) + ns);
    if (ns > histogram_get(&h->max_ns)) {
        histogram_set(&h->max_ns, ns);
    }
}

static inline uint64_t histogram_total(const struct histogram *h)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        n += histogram_get(&h->count[i]);
    }
    return n;
}

/* The upper end of the bucket that holds the given quantile, in parts of a
 * thousand (999: p99.9); 0 if nothing was counted. */
static inline uint64_t histogram_quantile_ns(
    const struct histogram *h, unsigned thousandths)
{
    uint64_t total = histogram_total(h);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram_get(&h->count[i]);
        if (total != 0 && seen * 1000 >= total * thousandths) {
            return histogram_bound_ns(i);
        }
    }
    return 0;
}

#endif
