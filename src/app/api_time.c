/* api_time.c -- sleep, timer, time.
 *
 * A timer belongs to a state and dies with it. While the app loads, timers are
 * noted and start at the switch; there may be a hundred thousand, so they start
 * a few in a turn. For the same reason those of a state that was taken over
 * from are not looked at one by one: the state says that their time is over,
 * and they go when it goes, in steps. A repeating timer keeps its beat: a tick
 * that finds the last call still under way is left out, never queued up, so a
 * timer has at most one call waiting (I2). */
#include "app/api_priv.h"
#include "base/civil.h"
#include "base/mem.h"
#include <string.h>
#include <time.h>

#ifdef MOONWIRE_TINY
#    define START_STEP 2
#else
#    define START_STEP 256 /* timers that are started in one turn */
#endif

struct app_timer {
    struct timer timer;
    struct list node; /* in state->timers or ->noted_timers; or, while it is
                         dropped, alone */
    struct state *state;
    int ref; /* {n, fn, args...} */
    uint32_t slot;
    uint32_t generation;
    uint64_t delay_ms;
    uint64_t period_ms; /* 0: once */
    struct call *call;  /* queued or under way; NULL: none */
    bool is_cancelled;  /* goes when the call is over */
};

struct timer_ref {
    uint32_t slot;
    uint32_t generation;
};

/* ---- sleep ---- */

struct sleeper {
    struct wait wait;
    struct timer timer;
};

static void on_wake_up(struct timer *t)
{
    task_wake(container_of(t, struct sleeper, timer)->wait.task);
}

static void cancel_sleep(struct wait *w)
{
    timer_stop(&container_of(w, struct sleeper, wait)->timer);
}

static int sleep_for(lua_State *L)
{
    struct sleeper s = {.wait.cancel = cancel_sleep};
    uint64_t ms = api_check_ms(L, 1, "seconds");

    /* task_park() may refuse, and a raised error would leave the timer in
     * the wheel: refuse first. */
    task_check_park(L);
    preempt_hold();
    timer_init(&s.timer, on_wake_up);
    timer_start(state_from(L)->app->loop, &s.timer, ms);
    task_park(L, &s.wait);
    preempt_release();
    return 0;
}

/* ---- timers ---- */

static void free_timer(struct app_timer *t)
{
    struct state *s = t->state;

    timer_stop(&t->timer);
    if (!s->timers_are_over) {
        state_unref(s, t->ref); /* else it goes with the vm */
    }
    list_remove(&t->node);
    slots_retire(&s->timer_slots, t->slot);
    s->timer_count--;
    mem_free(t);
}

static void on_call_finished(void *owner)
{
    struct app_timer *t = owner;

    t->call = NULL;
    if (t->is_cancelled || t->period_ms == 0) {
        free_timer(t);
    }
}

static void on_timer(struct timer *timer)
{
    struct app_timer *t = container_of(timer, struct app_timer, timer);

    if (t->state->timers_are_over) {
        return;
    }
    if (t->period_ms != 0) {
        /* From the time it was due, not from now: the beat does not drift.
         * After a long stall it starts anew rather than catching up. */
        struct loop *l = t->state->app->loop;
        uint64_t late = loop_now_ms(l) - t->timer.due_ms;
        timer_start(l, &t->timer,
            late < t->period_ms ? t->period_ms - late : t->period_ms);
    }
    if (t->call == NULL) {
        t->call = call_queue(t->state, t->ref, true, on_call_finished, t);
    }
}

/* Nothing of it begins any more. */
static void cancel_timer(struct app_timer *t)
{
    timer_stop(&t->timer);
    t->is_cancelled = true;
    if (t->call != NULL) {
        t->call->is_cancelled = true;
    } else {
        free_timer(t);
    }
}

static void make_meta(lua_State *L);

/* (seconds, fn, args...) */
static int new_timer(lua_State *L, bool repeats)
{
    struct state *s = state_from(L);
    uint64_t ms = api_check_ms(L, 1, "seconds");

    if (!lua_isfunction(L, 2)) {
        return api_bad_argument(L, 2, "fn", "function");
    }
    if (s->is_draining) {
        return api_fail(L, ERR_CLOSED, "a newer generation has taken over");
    }
    if (s->timer_count >= s->settings.timers) {
        return api_fail_limit(L, s, APP_TIMERS);
    }
    struct timer_ref *handle = lua_newuserdatauv(L, sizeof(*handle), 0);
    api_push_meta(L, &s->timer_meta, make_meta);
    lua_setmetatable(L, -2);
    lua_replace(L, 1);
    int ref = call_pack(L, 2); /* the last that may raise */

    preempt_hold();
    struct app_timer *t = mem_zalloc(sizeof(*t));
    t->state = s;
    t->ref = ref;
    t->delay_ms = ms > LIMIT_TIMER_MIN_MS ? ms : LIMIT_TIMER_MIN_MS;
    t->period_ms = repeats ? t->delay_ms : 0;
    t->slot = slots_add(&s->timer_slots, t, &t->generation);
    s->timer_count++;
    timer_init(&t->timer, on_timer);
    if (s->is_loading) {
        list_push_tail(&s->noted_timers, &t->node);
    } else {
        list_push_tail(&s->timers, &t->node);
        timer_start(s->app->loop, &t->timer, t->delay_ms);
    }
    handle->slot = t->slot;
    handle->generation = t->generation;
    preempt_release();
    lua_settop(L, 1);
    return 1;
}

static int timer_after(lua_State *L)
{
    return new_timer(L, false);
}

static int timer_every(lua_State *L)
{
    return new_timer(L, true);
}

/* True if it was still to fire. */
static int timer_cancel(lua_State *L)
{
    struct state *s = state_from(L);
    const struct timer_ref *ref = api_userdata(L, 1, &s->timer_meta);

    if (ref == NULL) {
        return api_bad_self(L, 1, "timer");
    }
    preempt_hold();
    struct app_timer *t =
        slots_get(&s->timer_slots, ref->slot, ref->generation);
    bool was_due =
        t != NULL && !t->is_cancelled && !s->timers_are_over &&
        (t->period_ms != 0 || t->call == NULL || !t->call->has_begun);
    if (t != NULL) {
        cancel_timer(t);
    }
    preempt_release();
    lua_pushboolean(L, was_due);
    return 1;
}

static void start_some(struct timer *starter)
{
    struct state *s = container_of(starter, struct state, starter);
    struct list *node;

    for (int i = 0; i < START_STEP; i++) {
        node = list_pop_head(&s->noted_timers);
        if (node == NULL) {
            return;
        }
        struct app_timer *t = container_of(node, struct app_timer, node);
        list_push_tail(&s->timers, &t->node);
        timer_start(s->app->loop, &t->timer, t->delay_ms);
    }
    timer_start(s->app->loop, &s->starter, 0);
}

void api_time_start(struct state *s)
{
    timer_init(&s->starter, start_some);
    start_some(&s->starter);
}

void api_time_stop(struct state *s)
{
    s->timers_are_over = true;
    timer_stop(&s->starter);
}

bool api_time_drop_some(struct state *s, uint32_t most)
{
    struct list *node;

    ASSERT(s->timers_are_over, "timers end before they are dropped");
    list_append_all(&s->timers, &s->noted_timers);
    while (most > 0 && (node = list_pop_head(&s->timers)) != NULL) {
        cancel_timer(container_of(node, struct app_timer, node));
        most--;
    }
    return !list_is_empty(&s->timers);
}

/* ---- time ---- */

static int64_t wall_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int time_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)wall_ms() / 1000);
    return 1;
}

/* Milliseconds are fine enough for an app; finer clocks help to spy on
 * neighbours. */
static int time_monotonic(lua_State *L)
{
    uint64_t ms = loop_clock_ns() / 1000000;

    lua_pushnumber(L, (lua_Number)ms / 1000);
    return 1;
}

static int time_iso(lua_State *L)
{
    int64_t ms = wall_ms();
    char text[CIVIL_ISO_BYTES];

    if (!lua_isnoneornil(L, 1)) {
        lua_Number t = lua_tonumber(L, 1);
        if (lua_type(L, 1) != LUA_TNUMBER ||
            !(t >= 0 && t < CIVIL_MAX_SECONDS)) {
            return api_bad_argument(
                L, 1, "t", "seconds since 1970, before the year 10000");
        }
        /* Rounding must not reach the year 10000. */
        int64_t last = CIVIL_MAX_SECONDS * INT64_C(1000) - 1;
        ms = (int64_t)(t * 1000 + 0.5);
        ms = ms < last ? ms : last;
    }
    civil_iso(ms, text);
    lua_pushstring(L, text);
    return 1;
}

static void make_meta(lua_State *L)
{
    lua_createtable(L, 0, 3);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, timer_cancel);
    lua_setfield(L, -2, "cancel");
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "timer");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void api_time(lua_State *L, const struct words *w)
{
    static const luaL_Reg timer_functions[] = {
        {"after", timer_after},
        {"every", timer_every},
        {NULL, NULL},
    };
    static const luaL_Reg time_functions[] = {
        {"now", time_now},
        {"monotonic", time_monotonic},
        {"iso", time_iso},
        {NULL, NULL},
    };

    api_set_function(L, w, "sleep", sleep_for);
    api_set_library(L, w, "timer", timer_functions);
    api_set_library(L, w, "time", time_functions);
}
