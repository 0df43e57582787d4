/* sched.c -- who runs Lua next on this loop, and when it is somebody else's
 * turn (I9).
 *
 * Apps post their unit when they have something to run. It runs for a slice of
 * 1 ms times its weight: until it has nothing left, or the clock between two
 * of its jobs says so, or a job had to be stopped in its middle (preempt.c).
 * After a stop the turn is over, and the next poll does not block: so what
 * came in meanwhile for others waits for one slice, not for several. The tick
 * that stops has its own beat and may hit who has only just begun; what counts
 * is what was used, so he goes on as soon as the poll is over, or, where nobody
 * else is in sight, at once: with many short handlers on a loop of their own
 * every other tick is such a one, and what has been read would have to queue.
 *
 * Deficit round robin, in two queues. Each unit has a share of a round, what
 * it uses is taken off, and what it used too much is owed. Who becomes ready
 * with something left is *fresh* and runs before all *queued*, who have
 * used theirs up and take turns; with its turn comes the next share. A round
 * is over when all who were queued at its start have had their turn. So k
 * apps that never end cost an app that does little one slice, and an app
 * that does much no more than its part.
 *
 * Among the fresh, who usually takes least is first: ten apps that wake up
 * at the same moment and then take a full slice each would otherwise stand
 * before the one that only wants to answer. Who is not known yet is taken to
 * be in between. Nobody gains by seeming small for a while: what is fresh is
 * bounded by the share.
 *
 * The reading side may run a job at once if the app is fresh, which saves the
 * way through the queue. It draws on the same time: from the first such
 * question of a turn on, the clock runs. What it measures includes reading
 * and parsing, so it errs to the safe side. The clock is read for one question
 * in sixteen while they come quickly, for each one while handlers take long.
 *
 * Who shares the loop is charged in CPU time: on a busy machine the thread may
 * have been put aside for many slices, and that is nobody's doing. Asking for
 * it is a system call, so who is alone is not worth it.
 *
 * An app that is alone on its loop may use LIMIT_TURN_LUA_MS before the next
 * poll. As soon as there are two, a turn is one slice.
 *
 * On top of it a bank (token bucket) for those with a long-term share: an app
 * that lives on many short slices rests when it has overdrawn, until its
 * income has paid that back.
 *
 * Waits are told in CPU time of this thread: how much of its work was done
 * for others between ready and running. The machine's other work is not ours
 * to account for. */
#include "script/sched.h"
#include "base/limits.h"
#include "base/mem.h"
#include "loop/timers.h"
#include "script/preempt.h"
#include "script/reaper.h"

#define NS_PER_MS     UINT64_C(1000000)
#define SLICE_NS      (LIMIT_SLICE_US * UINT64_C(1000))
#define TURN_NS       (LIMIT_TURN_LUA_MS * NS_PER_MS)
#define ASK_CLOCK_MAX 16
/* Longer than this between two looks at the clock: look more often. */
#define ASK_SOON_NS (NS_PER_MS / 4)
/* A loop is shared for so long after somebody else has used time on it. */
#define SHARED_NS (128 * NS_PER_MS)
/* A bank holds this much of its share: a burst. */
#define BANK_NS (1000 * NS_PER_MS)
/* The place among the fresh is looked for so far from the end. */
#define LOOK_BACK 64

struct sched {
    struct loop *loop; /* borrowed */
    struct loop_hook hook;
    struct list fresh; /* units, who usually takes least first */
    struct list queue; /* units, next first */
    struct list resting;
    struct timer rest_timer;
    uint64_t round;
    uint32_t queued;            /* units in queue */
    uint32_t round_left;        /* of them, who have their turn in this round */
    uint64_t start_ns;          /* of this turn's Lua; 0: none yet */
    uint64_t looked_ns;         /* when may_run_now() last read the clock */
    uint64_t looked_cpu_ns;     /* CPU time then; 0: it was alone */
    uint32_t every;             /* it reads it every so many calls, ... */
    uint32_t calls_left;        /* ... next after so many */
    bool is_used_up;            /* this turn's time, as far as that side goes */
    bool is_gone;               /* the unit that runs was taken out meanwhile */
    struct sched_unit *running; /* NULL: none */
    uint64_t run_ns;            /* since when units have been run in this turn,
                                   or from the reading side */
    uint64_t job_ns;            /* since when the job of `running` runs */
    uint64_t stops;             /* preempt_count(), as far as stops that did
                                   not end the slice of `running` go */
    const void *last;         /* unit that used time last; a name, no pointer */
    uint64_t shared_until_ns; /* more than one has, not long ago */
    uint64_t stop_cpu_ns; /* the last turn ended with a stop, and what came in
                             since this CPU time had to wait; 0: it did not */
};

static void add(_Atomic uint64_t *v, uint64_t n)
{
    histogram_set(v, histogram_get(v) + n);
}

static int64_t share_of_round(const struct sched_unit *u)
{
    return (int64_t)(SLICE_NS * u->weight / 100);
}

/* ---- what was used ---- */

static void fill_bank(struct sched_unit *u, uint64_t now)
{
    int64_t most = (int64_t)(BANK_NS * u->share / 100);
    uint64_t passed = now - u->bank_at_ns;
    u->bank_at_ns = now;
    if (passed > 100 * BANK_NS) {
        passed = 100 * BANK_NS;
    }
    u->bank_ns += (int64_t)(passed * u->share / 100);
    if (u->bank_ns > most) {
        u->bank_ns = most;
    }
}

/* Has it as much of its long-term share left? */
static bool has_bank(struct sched_unit *u, uint64_t ns, uint64_t now)
{
    if (u->share >= 100) {
        return true;
    }
    fill_bank(u, now);
    return u->bank_ns > (int64_t)ns;
}

static void charge(
    struct sched *s, struct sched_unit *u, uint64_t used_ns, uint64_t now)
{
    if (s->last != u) {
        if (s->last != NULL) {
            s->shared_until_ns = now + SHARED_NS;
        }
        s->last = u;
    }
    u->usual_ns = (u->usual_ns + used_ns) / 2;
    u->left_ns -= (int64_t)used_ns;
    add(&u->stats.cpu_ns, used_ns);
    if (u->share < 100) {
        fill_bank(u, now);
        u->bank_ns -= (int64_t)used_ns;
    }
}

static void give_share(struct sched_unit *u)
{
    u->left_ns = share_of_round(u) + (u->left_ns < 0 ? u->left_ns : 0);
}

static bool has_share(struct sched *s, struct sched_unit *u)
{
    if (u->round != s->round) {
        u->round = s->round;
        give_share(u);
    }
    return u->left_ns > 0;
}

/* Lua's part of a turn. */
static uint64_t turn_ns(const struct sched *s, uint64_t now)
{
    return now < s->shared_until_ns ? SLICE_NS : TURN_NS;
}

/* ---- places ---- */

static void take_out(struct sched_unit *u)
{
    list_remove(&u->node);
    if (u->place == SCHED_QUEUED) {
        u->sched->queued--;
        if (u->sched->round_left > u->sched->queued) {
            u->sched->round_left = u->sched->queued;
        }
    }
    u->place = SCHED_NOWHERE;
}

static void put_fresh(struct sched *s, struct sched_unit *u)
{
    struct list *at = s->fresh.prev;
    for (int i = 0; i < LOOK_BACK && at != &s->fresh; i++) {
        const struct sched_unit *before =
            container_of(at, struct sched_unit, node);
        if (before->usual_ns <= u->usual_ns) {
            break;
        }
        at = at->prev;
    }
    list_push_head(at, &u->node);
    u->place = SCHED_FRESH;
}

static void put_queued(struct sched *s, struct sched_unit *u)
{
    list_push_tail(&s->queue, &u->node);
    u->place = SCHED_QUEUED;
    s->queued++;
}

/* True: it has to, and does. */
static bool rest(struct sched *s, struct sched_unit *u, uint64_t now)
{
    if (has_bank(u, 0, now)) {
        return false;
    }
    uint64_t ns = (uint64_t)-u->bank_ns * 100 / u->share;
    uint32_t ms = (uint32_t)(ns / NS_PER_MS) + 1;
    list_push_tail(&s->resting, &u->node);
    u->place = SCHED_RESTING;
    add(&u->stats.rests, 1);
    if (!timer_is_started(&s->rest_timer) ||
        s->rest_timer.due_ms > loop_now_ms(s->loop) + ms) {
        timer_start(s->loop, &s->rest_timer, ms);
    }
    if (u->on_rest != NULL) {
        u->on_rest(u, ms);
    }
    return true;
}

/* Where it belongs. */
static void put(struct sched *s, struct sched_unit *u)
{
    uint64_t now = loop_clock_ns();
    if (rest(s, u, now)) {
        return;
    }
    u->ready_ns = preempt_cpu_ns();
    if (has_share(s, u)) {
        put_fresh(s, u);
    } else {
        put_queued(s, u);
    }
    /* It may be too late for this turn (a flush hook, a deferred free): then
     * the next one must not wait. */
    loop_keep_polling(s->loop);
}

static void end_rest(struct timer *t)
{
    struct sched *s = container_of(t, struct sched, rest_timer);
    struct list rested;
    list_init(&rested);
    list_append_all(&rested, &s->resting);
    struct list *node;
    while ((node = list_pop_head(&rested)) != NULL) {
        struct sched_unit *u = container_of(node, struct sched_unit, node);
        u->place = SCHED_NOWHERE;
        put(s, u);
    }
}

/* NULL: nobody waits. */
static struct sched_unit *take_next(struct sched *s)
{
    if (list_is_empty(&s->fresh) && list_is_empty(&s->queue)) {
        return NULL;
    }
    struct list *from = list_is_empty(&s->fresh) ? &s->queue : &s->fresh;
    struct sched_unit *u = container_of(from->next, struct sched_unit, node);
    if (u->place == SCHED_QUEUED) {
        if (s->round_left == 0) {
            s->round++;
            s->round_left = s->queued;
        }
        s->round_left--;
        if (!has_share(s, u)) {
            give_share(u);
        }
    }
    take_out(u);
    return u;
}

/* ---- running ---- */

static void count_stop(struct sched *s, struct sched_unit *u)
{
    add(&u->stats.stops, 1);
    metric_add(loop_metrics(s->loop), METRIC_STOPS, 1);
}

/* One slice. Says whether it ended with a stop. The unit may be gone. */
static bool run_slice(struct sched *s, struct sched_unit *u)
{
    uint64_t now = loop_clock_ns();
    uint64_t end = now + SLICE_NS * u->weight / 100;
    uint64_t cpu = preempt_cpu_ns();
    bool has_more;
    bool was_stopped;
    histogram_add(&u->stats.wait, cpu - u->ready_ns);
    add(&u->stats.slices, 1);
    s->is_gone = false;
    s->running = u;
    s->stops = preempt_count();
    u->gone = &s->is_gone;
    do {
        u->is_posted = false;
        s->job_ns = now;
        has_more = u->run(u);
        now = loop_clock_ns();
        was_stopped = preempt_count() != s->stops;
        if (s->is_gone) {
            s->running = NULL;
            return was_stopped;
        }
        /* What it posted about itself meanwhile counts as more. */
        has_more = has_more || u->is_posted;
    } while (has_more && !was_stopped && now < end);
    s->running = NULL;
    u->gone = NULL;
    charge(s, u, preempt_cpu_ns() - cpu, now);
    if (was_stopped) {
        count_stop(s, u);
    }
    if (has_more) {
        put(s, u);
    }
    return was_stopped;
}

static void run_queue(struct loop_hook *h)
{
    struct sched *s = container_of(h, struct sched, hook);
    struct sched_unit *u;
    uint64_t now = 0;
    s->run_ns = s->start_ns;
    s->stop_cpu_ns = 0;
    (void)reaper_work();
    /* As of the last turn: who ran may have come from the reading side. */
    metric_raise(
        loop_metrics(s->loop), METRIC_HOLD_NS, preempt_longest_hold_ns());
    while ((u = take_next(s)) != NULL) {
        uint64_t cpu = preempt_cpu_ns();
        s->run_ns = s->run_ns != 0 ? s->run_ns : loop_clock_ns();
        if (run_slice(s, u)) {
            s->stop_cpu_ns = cpu;
            break;
        }
        now = loop_clock_ns();
        if (now - s->run_ns >= turn_ns(s, now)) {
            break;
        }
    }
    s->start_ns = 0;
    s->is_used_up = false;
    /* Who has just run may have let memory go. */
    if (!list_is_empty(&s->fresh) || !list_is_empty(&s->queue) ||
        reaper_has_work()) {
        loop_keep_polling(s->loop);
    }
}

struct sched *sched_new(struct loop *l)
{
    struct sched *s = mem_zalloc(sizeof(*s));
    s->loop = l;
    s->every = 1;
    s->round = 1;
    list_init(&s->fresh);
    list_init(&s->queue);
    list_init(&s->resting);
    timer_init(&s->rest_timer, end_rest);
    loop_hook_add(l, LOOP_RUN, &s->hook, run_queue);
    return s;
}

/* Alone from now on, so that a late sched_remove() is harmless. */
static void empty(struct list *l)
{
    struct list *node;
    while ((node = list_pop_head(l)) != NULL) {
        struct sched_unit *u = container_of(node, struct sched_unit, node);
        u->place = SCHED_NOWHERE;
    }
}

void sched_free(struct sched *s)
{
    if (s == NULL) {
        return;
    }
    loop_hook_remove(&s->hook);
    timer_stop(&s->rest_timer);
    empty(&s->fresh);
    empty(&s->queue);
    empty(&s->resting);
    mem_free(s);
    reaper_finish();
    preempt_fini();
}

void sched_unit_init(struct sched_unit *u, bool (*run)(struct sched_unit *u))
{
    *u = (struct sched_unit){
        .run = run, .weight = 100, .share = 100, .usual_ns = SLICE_NS / 2};
    list_init(&u->node);
}

void sched_post(struct sched *s, struct sched_unit *u)
{
    if (u->place != SCHED_NOWHERE) {
        return;
    }
    if (s->running == u) {
        u->is_posted = true;
        return;
    }
    u->sched = s;
    put(s, u);
}

void sched_remove(struct sched_unit *u)
{
    if (u->place != SCHED_NOWHERE) {
        take_out(u);
    }
    u->is_posted = false;
    if (u->gone != NULL) {
        *u->gone = true;
        u->sched->running = NULL;
        u->gone = NULL;
    }
}

/* ---- from the reading side ---- */

/* The first that runs after a stop has waited for that slice. */
static void note_wait(struct sched *s, struct sched_unit *u)
{
    if (UNLIKELY(s->stop_cpu_ns != 0)) {
        histogram_add(&u->stats.wait, preempt_cpu_ns() - s->stop_cpu_ns);
    }
}

/* Since the clock was looked at. */
static uint64_t used_since(struct sched *s, uint64_t now, uint64_t cpu)
{
    return cpu != 0 && s->looked_cpu_ns != 0 ? cpu - s->looked_cpu_ns
                                             : now - s->looked_ns;
}

static bool is_alone(
    const struct sched *s, const struct sched_unit *u, uint64_t now)
{
    return s->last == u && now >= s->shared_until_ns;
}

static bool look_at_clock(struct sched *s, struct sched_unit *u)
{
    uint64_t now = loop_clock_ns();
    uint64_t cpu = is_alone(s, u, now) ? 0 : preempt_cpu_ns();
    if (s->start_ns == 0) {
        s->start_ns = now;
        s->every = 1;
    } else {
        charge(s, u, used_since(s, now, cpu), now);
        if (now - s->looked_ns > ASK_SOON_NS) {
            s->every = 1;
        } else if (s->every < ASK_CLOCK_MAX) {
            s->every *= 2;
        }
    }
    s->looked_ns = now;
    s->looked_cpu_ns = cpu;
    s->calls_left = s->every;
    s->is_used_up = now - s->start_ns >= turn_ns(s, now);
    return !s->is_used_up;
}

/* With nobody else in sight there is nothing to be fair about. */
static bool has_share_or_is_alone(struct sched *s, struct sched_unit *u)
{
    if (has_share(s, u)) {
        return true;
    }
    if (!list_is_empty(&s->queue) || s->last != u ||
        s->looked_ns < s->shared_until_ns) {
        return false;
    }
    s->round++;
    u->left_ns = 0;
    return has_share(s, u);
}

bool sched_may_run_now(struct sched *s, struct sched_unit *u)
{
    if (!list_is_empty(&s->fresh) || s->is_used_up ||
        u->place != SCHED_NOWHERE || !has_share_or_is_alone(s, u)) {
        return false;
    }
    if (u->share < 100 && !has_bank(u, 0, loop_clock_ns())) {
        return false;
    }
    if ((s->start_ns != 0 && --s->calls_left > 0) || look_at_clock(s, u)) {
        note_wait(s, u);
        return true;
    }
    return false;
}

bool sched_goes_on(struct sched *s, struct sched_unit *u)
{
    bool is_running = s->running == u; /* else from the reading side */
    uint64_t now = loop_clock_ns();
    uint64_t used = now - (is_running ? s->job_ns : s->looked_ns);
    uint64_t turn = now - (is_running ? s->run_ns : s->start_ns);
    if (!is_alone(s, u, now) || !list_is_empty(&s->fresh) ||
        !list_is_empty(&s->queue) || used >= preempt_slice_ns() / 2 ||
        turn >= TURN_NS || !has_bank(u, used, now)) {
        return false;
    }
    if (is_running) {
        s->job_ns = now;
        s->stops = preempt_count();
    } else {
        s->looked_ns = now;
        charge(s, u, used, now);
    }
    return true;
}

void sched_stopped_now(struct sched *s, struct sched_unit *u)
{
    if (s->running == u) {
        return; /* run_slice() sees to it */
    }
    uint64_t now = loop_clock_ns();
    uint64_t used = used_since(s, now, preempt_cpu_ns());
    u->sched = s;
    add(&u->stats.slices, 1);
    count_stop(s, u);
    charge(s, u, used < SLICE_NS ? used : SLICE_NS, now);
    s->is_used_up = true;
    if (u->place == SCHED_NOWHERE) {
        put(s, u);
    }
}
