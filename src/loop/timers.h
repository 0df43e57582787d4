/* timers.h -- a hierarchical wheel of 1 ms ticks: start, stop and expiry are
 * O(1), so that every connection and every sleeping handler can have one. A
 * timer never fires early, and never from inside timer_start(). */
#ifndef LOOP_TIMERS_H
#define LOOP_TIMERS_H

#include "base/list.h"

struct loop;

struct timer {
    struct list node;
    uint64_t due_ms; /* loop_now_ms() clock */
    void (*fn)(struct timer *t);
};

void timer_init(struct timer *t, void (*fn)(struct timer *t));
/* (Re)starts: fires once, `ms` from now. */
void timer_start(struct loop *l, struct timer *t, uint64_t ms);
void timer_stop(struct timer *t); /* harmless if not started */
bool timer_is_started(const struct timer *t);

#endif
