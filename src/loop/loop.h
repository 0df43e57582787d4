/* loop.h -- one thread, one turn at a time.
 *
 * A turn: poll, dispatch what is ready, open letters (loop/mailbox.h), then the
 * hooks, in the order of enum loop_phase. libuv owns timers, signals, file
 * watching, worker threads and wake-ups; sockets go through loop/io (see there
 * for why). What is here belongs to the thread that runs the loop, but for
 * what says otherwise. */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/list.h"
#include "base/metric.h"

struct loop;
struct uv_loop_s;

struct loop *loop_new(uint32_t index) NODISCARD;
/* Runs what is deferred, closes libuv's loop, frees. Every handle, watch and
 * timer must be gone (ASSERT). */
void loop_free(struct loop *l);
/* Runs turns until loop_stop(). */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* One turn, for tests: waits at most wait_ms (-1: as long as it takes). */
void loop_turn(struct loop *l, int wait_ms);

uint32_t loop_index(const struct loop *l);
struct uv_loop_s *loop_uv(struct loop *l);
struct metrics *loop_metrics(struct loop *l);
/* Monotonic milliseconds, cached: read after this turn's poll (and brought up
 * to date once more when libuv runs). */
uint64_t loop_now_ms(const struct loop *l);
/* Any thread: how busy the loop's thread was lately, 0 to 1000. */
uint32_t loop_load(const struct loop *l);
/* Monotonic nanoseconds, read now. */
uint64_t loop_clock_ns(void);

enum loop_phase {
    LOOP_RUN,   /* run queued Lua */
    LOOP_FLUSH, /* write what the turn produced */
    LOOP_END,   /* letters, accounting */
    LOOP_PHASES
};

struct loop_hook {
    struct list node;
    void (*fn)(struct loop_hook *h);
};

/* The hook runs once each turn, in the order of adding, until removed. */
void loop_hook_add(struct loop *l, enum loop_phase phase, struct loop_hook *h,
    void (*fn)(struct loop_hook *h));
void loop_hook_remove(struct loop_hook *h);
/* From a hook: there is more to do, so the next poll must not wait. */
void loop_keep_polling(struct loop *l);

/* Memory that dispatch code may still hold a pointer to is freed at the end
 * of the turn, after all hooks. Deferred things may defer again; those run
 * at the end of the next turn. */
struct loop_deferred {
    struct list node;
    void (*fn)(struct loop_deferred *d);
};
void loop_defer(struct loop *l, struct loop_deferred *d,
    void (*fn)(struct loop_deferred *d));

#endif
