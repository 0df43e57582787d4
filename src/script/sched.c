/* sched.c -- who runs Lua next on this loop, and when it is somebody else's
 * turn.
 *
 * Apps post their unit when they have something to run. Once a turn the units
 * are run one after the other: each for a slice of 1 ms, as far as that can
 * be told from outside (a job is not stopped in its middle here), then it
 * goes to the tail. When the turn's time for Lua is over the rest waits for
 * the next turn, with a poll between that does not block (I9). At least one
 * slice is given in every turn, however much time was spent before.
 *
 * The reading side may run a job at once, which saves the way through the
 * queue. It draws on the same time: from the first such question of a turn
 * on, the clock runs. What it measures includes reading and parsing, so it
 * errs to the safe side. The clock is read for one question in sixteen while
 * they come quickly, for each one while handlers take long. */
#include "script/sched.h"
#include "base/limits.h"
#include "base/mem.h"

#define NS_PER_MS UINT64_C(1000000)
#ifdef MOONWIRE_TINY
#    define SLICE_NS (20 * UINT64_C(1000))
#else
#    define SLICE_NS (1 * NS_PER_MS)
#endif
#define TURN_NS       (LIMIT_TURN_LUA_MS * NS_PER_MS)
#define ASK_CLOCK_MAX 16
/* Longer than this between two looks at the clock: look more often. */
#define ASK_SOON_NS (NS_PER_MS / 4)

struct sched {
    struct loop *loop; /* borrowed */
    struct loop_hook hook;
    struct list queue;   /* units, next first */
    uint64_t start_ns;   /* of this turn's Lua; 0: none yet */
    uint64_t looked_ns;  /* when may_run_now() last read the clock */
    uint32_t every;      /* it reads it every so many calls, ... */
    uint32_t calls_left; /* ... next after so many */
    bool is_used_up;     /* this turn's time, as far as that side goes */
    bool is_gone;        /* the unit that runs was taken out meanwhile */
};

/* One slice. True: the unit has more to run and is still there. */
static bool run_slice(struct sched *s, struct sched_unit *u, uint64_t *now)
{
    uint64_t end = *now + SLICE_NS;
    bool has_more;
    s->is_gone = false;
    u->gone = &s->is_gone;
    do {
        has_more = u->run(u);
        *now = loop_clock_ns();
        if (s->is_gone) {
            return false;
        }
        /* What it posted about itself meanwhile counts as more. */
        has_more = has_more || !list_is_empty(&u->node);
        list_remove(&u->node);
    } while (has_more && *now < end);
    u->gone = NULL;
    return has_more;
}

static void run_queue(struct loop_hook *h)
{
    struct sched *s = container_of(h, struct sched, hook);
    if (!list_is_empty(&s->queue)) {
        uint64_t now = loop_clock_ns();
        uint64_t end = (s->start_ns != 0 ? s->start_ns : now) + TURN_NS;
        struct list *node;
        do {
            node = list_pop_head(&s->queue);
            struct sched_unit *u = container_of(node, struct sched_unit, node);
            if (run_slice(s, u, &now)) {
                list_push_tail(&s->queue, &u->node);
            }
        } while (now < end && !list_is_empty(&s->queue));
    }
    s->start_ns = 0;
    s->is_used_up = false;
    if (!list_is_empty(&s->queue)) {
        loop_keep_polling(s->loop);
    }
}

struct sched *sched_new(struct loop *l)
{
    struct sched *s = mem_zalloc(sizeof(*s));
    s->loop = l;
    s->every = 1;
    list_init(&s->queue);
    loop_hook_add(l, LOOP_RUN, &s->hook, run_queue);
    return s;
}

void sched_free(struct sched *s)
{
    if (s == NULL) {
        return;
    }
    loop_hook_remove(&s->hook);
    while (list_pop_head(&s->queue) != NULL) {
        /* Alone from now on, so that a late sched_remove() is harmless. */
    }
    mem_free(s);
}

void sched_unit_init(struct sched_unit *u, bool (*run)(struct sched_unit *u))
{
    list_init(&u->node);
    u->run = run;
    u->gone = NULL;
}

void sched_post(struct sched *s, struct sched_unit *u)
{
    if (list_is_empty(&u->node)) {
        list_push_tail(&s->queue, &u->node);
        /* It may be too late for this turn (a flush hook, a deferred free):
         * then the next one must not wait. */
        loop_keep_polling(s->loop);
    }
}

void sched_remove(struct sched_unit *u)
{
    list_remove(&u->node);
    if (u->gone != NULL) {
        *u->gone = true;
        u->gone = NULL;
    }
}

bool sched_may_run_now(struct sched *s)
{
    if (!list_is_empty(&s->queue) || s->is_used_up) {
        return false;
    }
    if (s->start_ns != 0 && --s->calls_left > 0) {
        return true;
    }
    uint64_t now = loop_clock_ns();
    if (s->start_ns == 0) {
        s->start_ns = now;
        s->every = 1;
    } else if (now - s->looked_ns > ASK_SOON_NS) {
        s->every = 1;
    } else if (s->every < ASK_CLOCK_MAX) {
        s->every *= 2;
    }
    s->looked_ns = now;
    s->calls_left = s->every;
    s->is_used_up = now - s->start_ns >= TURN_NS;
    return !s->is_used_up;
}
