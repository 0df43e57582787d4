/* timers.c -- a hierarchical wheel of 1 ms ticks, and the one uv_timer that
 * ends the loop's wait for it.
 *
 * Every connection has a timer or two that are nearly always stopped or
 * pushed on before they fire, so starting and stopping must cost a few
 * stores. The wheel does no I/O and reads no clock; the loop advances it once
 * in every turn, which also keeps its `now_ms` near, so that short timers land
 * on the low levels.
 *
 * The levels cover all 64 bits, so there is no longest timer and no overflow
 * list. A timer is moved down at most once per level on its way; with six
 * bits a level that is five moves for a deadline some months away.
 *
 * The alarm is only pulled forward, never back: a stopped timer leaves at
 * worst one wake-up for nothing. */
#include "loop/loop_priv.h"

#define NS_PER_MS 1000000u
/* Sums of times stay far from wrapping round. */
#define FOREVER_MS (UINT64_MAX / 2)

void timers_init(struct timers *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    list_init(&w->due);
    for (int level = 0; level < TIMERS_LEVELS; level++) {
        w->occupied[level] = 0;
        for (int slot = 0; slot < TIMERS_SLOTS; slot++) {
            list_init(&w->slots[level][slot]);
        }
    }
}

bool timers_is_empty(const struct timers *w)
{
    for (int level = 0; level < TIMERS_LEVELS; level++) {
        for (int slot = 0; slot < TIMERS_SLOTS; slot++) {
            if (!list_is_empty(&w->slots[level][slot])) {
                return false;
            }
        }
    }
    return list_is_empty(&w->due);
}

/* The first tick of a slot, given that it lies ahead of now_ms. */
static uint64_t slot_start(const struct timers *w, int level, int slot)
{
    int shift = level * TIMERS_BITS;
    int above = shift + TIMERS_BITS;
    uint64_t start = above < 64 ? w->now_ms >> above << above : 0;
    return start | (uint64_t)slot << shift;
}

uint64_t timers_file(struct timers *w, struct timer *t)
{
    if (t->due_ms <= w->now_ms) {
        list_push_tail(&w->due, &t->node);
        return w->now_ms;
    }
    int top_bit = 63 - __builtin_clzll(t->due_ms ^ w->now_ms);
    int level = top_bit / TIMERS_BITS;
    int slot = (int)(t->due_ms >> (level * TIMERS_BITS) & (TIMERS_SLOTS - 1));
    list_push_tail(&w->slots[level][slot], &t->node);
    w->occupied[level] |= (uint64_t)1 << slot;
    return slot_start(w, level, slot);
}

/* The earliest slot that may hold a timer. False: there is none. */
static bool find_slot(const struct timers *w, int *level, int *slot)
{
    for (int i = 0; i < TIMERS_LEVELS; i++) {
        if (w->occupied[i] != 0) {
            *level = i;
            *slot = __builtin_ctzll(w->occupied[i]);
            return true;
        }
    }
    return false;
}

uint64_t timers_next(const struct timers *w)
{
    int level;
    int slot;
    if (!list_is_empty(&w->due)) {
        return w->now_ms;
    }
    return find_slot(w, &level, &slot) ? slot_start(w, level, slot)
                                       : TIMERS_NEVER;
}

/* The clock stands at the slot's first tick: each of its timers is due now or
 * belongs on a lower level. Order within the slot is kept, and nothing can
 * have been filed down there before, hence timers that are due together fire
 * in the order in which they were started. */
static void empty_slot(struct timers *w, int level, int slot)
{
    struct list moving;
    list_init(&moving);
    list_append_all(&moving, &w->slots[level][slot]);
    w->occupied[level] &= ~((uint64_t)1 << slot);

    struct list *node;
    while ((node = list_pop_head(&moving)) != NULL) {
        timers_file(w, container_of(node, struct timer, node));
    }
}

void timers_advance(struct timers *w, uint64_t now_ms)
{
    int level;
    int slot;
    while (find_slot(w, &level, &slot)) {
        uint64_t start = slot_start(w, level, slot);
        if (start > now_ms) {
            break;
        }
        w->now_ms = start;
        empty_slot(w, level, slot);
    }
    if (w->now_ms < now_ms) {
        w->now_ms = now_ms;
    }

    /* The callbacks see the wheel at rest, and what they start anew with 0 ms
     * waits in w->due for the next time. */
    struct list firing;
    list_init(&firing);
    list_append_all(&firing, &w->due);
    struct list *node;
    while ((node = list_pop_head(&firing)) != NULL) {
        struct timer *t = container_of(node, struct timer, node);
        t->fn(t);
    }
}

static void on_alarm(uv_timer_t *alarm)
{
    /* It only ended the wait: the turn advances the wheel by itself. */
    struct loop *l = container_of(alarm, struct loop, alarm);
    l->alarm_ms = TIMERS_NEVER;
}

static void set_alarm(struct loop *l, uint64_t at_ms)
{
    if (at_ms >= l->alarm_ms) {
        return;
    }
    l->alarm_ms = at_ms;
    uint64_t now_ms = uv_now(&l->uv);
    int rc = uv_timer_start(
        &l->alarm, on_alarm, at_ms > now_ms ? at_ms - now_ms : 0, 0);
    ASSERT(rc == 0, "the alarm lives as long as its loop");
}

void timers_open(struct loop *l)
{
    int rc = uv_timer_init(&l->uv, &l->alarm);
    ASSERT(rc == 0, "uv_timer_init does not fail");
    l->alarm_ms = TIMERS_NEVER;
    timers_init(&l->timers, uv_now(&l->uv));
}

void timers_close(struct loop *l)
{
    ASSERT(timers_is_empty(&l->timers), "timers die before their loop");
    uv_close((uv_handle_t *)&l->alarm, NULL);
}

void timers_turn(struct loop *l)
{
    timers_advance(&l->timers, uv_now(&l->uv));
    set_alarm(l, timers_next(&l->timers));
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
    list_init(&t->node);
    t->due_ms = 0;
    t->fn = fn;
}

void timer_start(struct loop *l, struct timer *t, uint64_t ms)
{
    list_remove(&t->node);
    if (ms == 0) {
        t->due_ms = l->timers.now_ms;
    } else {
        /* The clock is read anew and rounded up: loop_now_ms() is as old as
         * the turn, and a handler that worked for 50 ms and then sleeps for
         * 20 must not find the time already past. */
        uint64_t now_ms = (loop_clock_ns() + NS_PER_MS - 1) / NS_PER_MS;
        t->due_ms = ms < FOREVER_MS ? now_ms + ms : FOREVER_MS;
    }
    set_alarm(l, timers_file(&l->timers, t));
}

void timer_stop(struct timer *t)
{
    list_remove(&t->node);
}

bool timer_is_started(const struct timer *t)
{
    return !list_is_empty(&t->node);
}
