/* load.c -- how busy a loop is, for the others to see.
 *
 * The share of the last tenth of a second that its thread was on a processor.
 * The owner looks once in a while, when a turn comes by anyway: an idle loop
 * must not wake up to say that it is idle. So the readers know two cases
 * themselves: a figure that is old while the loop sleeps means idle, one that
 * is old while it does not sleep means stuck. */
#include "loop/loop_priv.h"
#include <time.h>

#define SAMPLE_MS   100
#define STALE_MS    (3 * SAMPLE_MS)
#define NS_PER_MS   UINT64_C(1000000)
#define STAMP_SHIFT 10 /* below it the permille, above it milliseconds */

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) != 0) {
        return 0;
    }
    return (uint64_t)ts.tv_sec * 1000 * NS_PER_MS + (uint64_t)ts.tv_nsec;
}

void load_sleep(struct loop *l)
{
    word_set(&l->load.is_asleep, 1);
}

void load_wake(struct loop *l)
{
    word_set(&l->load.is_asleep, 0);
}

void load_turn(struct loop *l)
{
    struct load *a = &l->load;
    uint64_t now_ms = loop_now_ms(l);
    if (now_ms - a->sampled_ms < SAMPLE_MS) {
        return;
    }
    uint64_t cpu_ns = thread_cpu_ns();
    uint64_t passed_ms = now_ms - a->sampled_ms;
    uint64_t permille = (cpu_ns - a->cpu_ns) * 1000 / (passed_ms * NS_PER_MS);
    a->sampled_ms = now_ms;
    a->cpu_ns = cpu_ns;
    word_set(&a->figure,
        now_ms << STAMP_SHIFT | (permille > 1000 ? 1000 : permille));
}

uint32_t loop_load(const struct loop *l)
{
    uint64_t figure = word_get(&l->load.figure);
    uint64_t now_ms = loop_clock_ns() / NS_PER_MS;
    uint64_t stamp_ms = figure >> STAMP_SHIFT;
    if (now_ms > stamp_ms + STALE_MS) {
        return word_get(&l->load.is_asleep) != 0 ? 0 : 1000;
    }
    return (uint32_t)(figure & ((1u << STAMP_SHIFT) - 1));
}
