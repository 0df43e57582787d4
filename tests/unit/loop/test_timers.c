/* test_timers.c -- the wheel against a plain array that is searched, in
 * virtual time; then timers on a real loop. */
#include "loop/loop_priv.h"
#include "loop/timers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define DAY_MS (24ull * 3600 * 1000)

static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

/* ---- the wheel in virtual time ---- */

#define MODEL_TIMERS 300

struct probe {
    struct timer t;
    bool is_started; /* the model's belief */
    uint64_t due_ms;
    uint64_t seq; /* of its start */
};

static struct timers wheel;
static struct probe probes[MODEL_TIMERS];
static uint64_t now_ms;
static uint64_t next_seq;
static uint64_t first_seq_of_advance;
static unsigned fired;
static bool callbacks_meddle;

static uint64_t random_delay(void)
{
    static const uint64_t spans[] = {1, 4, 70, 5000, 300000, 40 * DAY_MS};
    return rnd(spans[rnd(6)]);
}

static void start(struct probe *p, uint64_t ms)
{
    list_remove(&p->t.node);
    p->t.due_ms = now_ms + ms;
    p->due_ms = now_ms + ms;
    p->is_started = true;
    p->seq = next_seq++;
    uint64_t wake_ms = timers_file(&wheel, &p->t);
    assert_true(wake_ms <= p->due_ms);
}

static void stop(struct probe *p)
{
    timer_stop(&p->t);
    p->is_started = false;
}

static struct probe *find_earliest(void)
{
    struct probe *best = NULL;
    for (int i = 0; i < MODEL_TIMERS; i++) {
        struct probe *p = &probes[i];
        if (p->is_started &&
            (best == NULL || p->due_ms < best->due_ms ||
                (p->due_ms == best->due_ms && p->seq < best->seq))) {
            best = p;
        }
    }
    return best;
}

static void meddle(void)
{
    for (uint64_t n = rnd(4); n > 0; n--) {
        struct probe *p = &probes[rnd(MODEL_TIMERS)];
        if (rnd(2) == 0) {
            stop(p);
        } else {
            start(p, random_delay());
        }
    }
}

/* What was started during this advance is not to fire in it; the model leaves
 * it out by its number. */
static struct probe *find_next_to_fire(void)
{
    struct probe *best = NULL;
    for (int i = 0; i < MODEL_TIMERS; i++) {
        struct probe *p = &probes[i];
        if (p->is_started && p->due_ms <= now_ms &&
            p->seq < first_seq_of_advance &&
            (best == NULL || p->due_ms < best->due_ms ||
                (p->due_ms == best->due_ms && p->seq < best->seq))) {
            best = p;
        }
    }
    return best;
}

static void on_probe(struct timer *t)
{
    struct probe *p = container_of(t, struct probe, t);
    assert_ptr_equal(p, find_next_to_fire());
    assert_false(timer_is_started(t));
    p->is_started = false;
    fired++;
    if (callbacks_meddle) {
        meddle();
        if (rnd(3) == 0) {
            start(p, random_delay());
        }
    }
}

static void advance_to(uint64_t ms)
{
    now_ms = ms;
    first_seq_of_advance = next_seq;
    timers_advance(&wheel, ms);
    assert_null(find_next_to_fire());
}

static void reset_wheel(uint64_t at_ms)
{
    now_ms = at_ms;
    fired = 0;
    callbacks_meddle = false;
    timers_init(&wheel, at_ms);
    memset(probes, 0, sizeof(probes));
    for (int i = 0; i < MODEL_TIMERS; i++) {
        timer_init(&probes[i].t, on_probe);
    }
}

static void stop_all(void)
{
    for (int i = 0; i < MODEL_TIMERS; i++) {
        stop(&probes[i]);
    }
    assert_true(timers_is_empty(&wheel));
}

static void random_starts_and_stops_fire_as_the_model_says(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        reset_wheel(round == 0 ? 0 : rnd(1000 * DAY_MS));
        callbacks_meddle = true;
        for (int step = 0; step < 400; step++) {
            meddle();
            struct probe *p = find_earliest();
            uint64_t next_ms = timers_next(&wheel);
            if (p != NULL) {
                assert_true(next_ms <= p->due_ms);
            }
            switch (rnd(4)) {
            case 0: advance_to(now_ms + rnd(3)); break;
            case 1: advance_to(now_ms + random_delay()); break;
            default:
                /* As a loop does: sleep until the wheel wants a look. */
                if (next_ms != TIMERS_NEVER && next_ms > now_ms) {
                    advance_to(next_ms);
                } else {
                    advance_to(now_ms);
                }
            }
        }
        assert_true(fired > 100);
        stop_all();
    }
}

static void each_look_brings_a_far_deadline_nearer(void **state)
{
    (void)state;
    static const uint64_t delays[] = {1, 63, 64, 65, 4095, 4096, DAY_MS,
        30 * DAY_MS, 400 * DAY_MS, (uint64_t)1 << 45, UINT64_MAX / 4};
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        reset_wheel(123456789);
        start(&probes[0], delays[i]);
        int looks = 0;
        while (fired == 0) {
            uint64_t next_ms = timers_next(&wheel);
            assert_true(next_ms > now_ms);
            assert_true(next_ms <= probes[0].due_ms);
            advance_to(next_ms);
            looks++;
        }
        assert_int_equal(now_ms, probes[0].due_ms);
        assert_true(looks <= TIMERS_LEVELS);
        assert_true(timers_next(&wheel) == TIMERS_NEVER);
    }
}

static void a_deadline_on_a_boundary_of_levels_is_kept_to_the_tick(void **state)
{
    (void)state;
    for (int bit = 1; bit < 50; bit++) {
        uint64_t edge_ms = (uint64_t)1 << bit;
        for (int delta = -1; delta <= 1; delta++) {
            reset_wheel(edge_ms - 1 - rnd(edge_ms < 5 ? 1 : 5));
            uint64_t due_ms = edge_ms + (uint64_t)(delta + 1);
            start(&probes[0], due_ms - now_ms);
            advance_to(due_ms - 1);
            assert_int_equal(fired, 0);
            advance_to(due_ms);
            assert_int_equal(fired, 1);
        }
    }
}

static void a_stopped_timer_never_fires_and_costs_one_empty_look(void **state)
{
    (void)state;
    reset_wheel(1000);
    start(&probes[0], 50);
    stop(&probes[0]);
    stop(&probes[0]);
    int looks = 0;
    while (timers_next(&wheel) != TIMERS_NEVER) {
        advance_to(timers_next(&wheel));
        looks++;
    }
    assert_int_equal(fired, 0);
    assert_true(looks <= 1);
}

static void zero_started_from_a_callback(struct timer *t)
{
    fired++;
    t->due_ms = now_ms;
    timers_file(&wheel, t);
}

static void a_timer_that_restarts_itself_at_once_does_not_hang(void **state)
{
    (void)state;
    reset_wheel(1000);
    timer_init(&probes[0].t, zero_started_from_a_callback);
    probes[0].t.due_ms = 1000;
    timers_file(&wheel, &probes[0].t);
    assert_int_equal(timers_next(&wheel), 1000);
    timers_advance(&wheel, 1000);
    assert_int_equal(fired, 1);
    timers_advance(&wheel, 1000);
    assert_int_equal(fired, 2);
    stop(&probes[0]);
}

static void a_clock_that_stands_or_steps_back_does_no_harm(void **state)
{
    (void)state;
    reset_wheel(1000);
    start(&probes[0], 10);
    timers_advance(&wheel, 1000);
    timers_advance(&wheel, 900);
    assert_int_equal(fired, 0);
    advance_to(1010);
    assert_int_equal(fired, 1);
}

/* ---- on a loop ---- */

static struct loop *loop;
static uint64_t fired_at_ns;
static struct timer *victim;

static void note_time(struct timer *t)
{
    (void)t;
    fired++;
    fired_at_ns = loop_clock_ns();
}

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new(0);
    fired = 0;
    fired_at_ns = 0;
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void burn_ms(uint64_t ms)
{
    uint64_t end_ns = loop_clock_ns() + ms * 1000000;
    while (loop_clock_ns() < end_ns) {
    }
}

static void a_timer_is_not_early_and_hardly_late(void **state)
{
    (void)state;
    struct timer t;
    timer_init(&t, note_time);
    for (uint64_t ms = 1; ms < 40; ms += 7) {
        fired = 0;
        uint64_t start_ns = loop_clock_ns();
        timer_start(loop, &t, ms);
        assert_true(timer_is_started(&t));
        while (fired == 0) {
            loop_turn(loop, -1);
        }
        assert_true(fired_at_ns - start_ns >= ms * 1000000);
        /* Generous: the machine may be busy. */
        assert_true(fired_at_ns - start_ns < (ms + 500) * 1000000);
    }
}

static void start_after_work(struct timer *t)
{
    burn_ms(30);
    t->fn = note_time;
    fired_at_ns = loop_clock_ns();
    timer_start(loop, t, 10);
}

static void a_delay_counts_from_the_call_not_from_the_turn(void **state)
{
    (void)state;
    struct timer t;
    timer_init(&t, start_after_work);
    timer_start(loop, &t, 0);
    loop_turn(loop, -1);
    while (fired_at_ns == 0) {
        loop_turn(loop, -1);
    }
    uint64_t start_ns = fired_at_ns;
    while (fired == 0) {
        loop_turn(loop, -1);
    }
    assert_true(fired_at_ns - start_ns >= 10 * 1000000);
}

static void zero_fires_in_the_next_turn_and_not_in_the_call(void **state)
{
    (void)state;
    struct timer t;
    timer_init(&t, note_time);
    timer_start(loop, &t, 0);
    assert_int_equal(fired, 0);
    loop_turn(loop, -1);
    assert_int_equal(fired, 1);
    assert_false(timer_is_started(&t));
}

static void stop_the_victim(struct timer *t)
{
    (void)t;
    fired++;
    timer_stop(victim);
}

static void a_callback_stops_another_that_is_due_too(void **state)
{
    (void)state;
    struct timer first;
    struct timer second;
    timer_init(&first, stop_the_victim);
    timer_init(&second, note_time);
    victim = &second;
    timer_start(loop, &first, 2);
    timer_start(loop, &second, 2);
    burn_ms(6);
    loop_turn(loop, -1);
    loop_turn(loop, 5);
    assert_int_equal(fired, 1);
    assert_false(timer_is_started(&second));
}

static void an_earlier_timer_shortens_the_wait(void **state)
{
    (void)state;
    struct timer late;
    struct timer early;
    timer_init(&late, note_time);
    timer_init(&early, note_time);
    timer_start(loop, &late, DAY_MS * 20);
    loop_turn(loop, 0);
    timer_start(loop, &early, 5);
    uint64_t start_ns = loop_clock_ns();
    while (fired == 0) {
        loop_turn(loop, 10000);
    }
    assert_true(loop_clock_ns() - start_ns < 5000000000ull);
    assert_true(timer_is_started(&late));
    timer_stop(&late);
}

static void a_restart_moves_the_deadline(void **state)
{
    (void)state;
    struct timer t;
    timer_init(&t, note_time);
    timer_start(loop, &t, 1);
    timer_start(loop, &t, 40);
    uint64_t start_ns = loop_clock_ns();
    while (fired == 0) {
        loop_turn(loop, -1);
    }
    assert_true(fired_at_ns - start_ns > 35 * 1000000);
    assert_int_equal(fired, 1);
}

static void the_longest_delay_does_not_wrap_round(void **state)
{
    (void)state;
    struct timer t;
    timer_init(&t, note_time);
    timer_start(loop, &t, UINT64_MAX);
    loop_turn(loop, 0);
    loop_turn(loop, 2);
    assert_int_equal(fired, 0);
    assert_true(timer_is_started(&t));
    timer_stop(&t);
}

/* Timers go on while a socket or a hook keeps the loop from ever waiting. */
static void keep_polling(struct loop_hook *h)
{
    (void)h;
    loop_keep_polling(loop);
}

static void timers_do_not_starve_in_a_busy_loop(void **state)
{
    (void)state;
    struct timer t;
    struct loop_hook busy;
    timer_init(&t, note_time);
    loop_hook_add(loop, LOOP_RUN, &busy, keep_polling);
    timer_start(loop, &t, 10);
    uint64_t start_ns = loop_clock_ns();
    while (fired == 0 && loop_clock_ns() - start_ns < 5000000000ull) {
        loop_turn(loop, -1);
    }
    assert_int_equal(fired, 1);
    loop_hook_remove(&busy);
}

#define ON_LOOP(test)                                                          \
    cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_starts_and_stops_fire_as_the_model_says),
        cmocka_unit_test(each_look_brings_a_far_deadline_nearer),
        cmocka_unit_test(
            a_deadline_on_a_boundary_of_levels_is_kept_to_the_tick),
        cmocka_unit_test(a_stopped_timer_never_fires_and_costs_one_empty_look),
        cmocka_unit_test(a_timer_that_restarts_itself_at_once_does_not_hang),
        cmocka_unit_test(a_clock_that_stands_or_steps_back_does_no_harm),
        ON_LOOP(a_timer_is_not_early_and_hardly_late),
        ON_LOOP(a_delay_counts_from_the_call_not_from_the_turn),
        ON_LOOP(zero_fires_in_the_next_turn_and_not_in_the_call),
        ON_LOOP(a_callback_stops_another_that_is_due_too),
        ON_LOOP(an_earlier_timer_shortens_the_wait),
        ON_LOOP(a_restart_moves_the_deadline),
        ON_LOOP(the_longest_delay_does_not_wrap_round),
        ON_LOOP(timers_do_not_starve_in_a_busy_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
