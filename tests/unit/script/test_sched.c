/* Whose turn it is: fairness, slices, the turn's time, and units that vanish
 * while they run. */
#include "base/limits.h"
#include "script/preempt_priv.h"
#include "script/reaper.h"
#include "script/sched.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants these before it. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct unit {
    struct sched_unit unit;
    char name;
    int jobs;        /* left to run */
    int ran;         /* times */
    uint64_t job_ns; /* how long one takes */
    void (*inside)(struct unit *u);
};

static struct loop *loop;
static struct sched *sched;
static char order[64]; /* names; a unit's jobs in one go give one letter */
static struct unit units[3];

static void spin(uint64_t ns)
{
    uint64_t end = preempt_cpu_ns() + ns;
    while (ns != 0 && preempt_cpu_ns() < end) {
    }
}

static bool run(struct sched_unit *su)
{
    struct unit *u = container_of(su, struct unit, unit);
    size_t n = strlen(order);
    if (n == 0 || (order[n - 1] != u->name && n + 1 < sizeof(order))) {
        order[n] = u->name;
    }
    u->ran++;
    u->jobs--;
    spin(u->job_ns);
    bool has_more = u->jobs > 0;
    if (u->inside != NULL) {
        u->inside(u); /* may free it */
    }
    return has_more;
}

static void init_unit(struct unit *u, char name, int jobs, uint64_t job_ns)
{
    *u = (struct unit){.name = name, .jobs = jobs, .job_ns = job_ns};
    sched_unit_init(&u->unit, run);
}

static int set_up(void **state)
{
    (void)state;
    loop = loop_new(0);
    sched = sched_new(loop);
    memset(order, 0, sizeof(order));
    for (int i = 0; i < 3; i++) {
        init_unit(&units[i], (char)('a' + i), 1, 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sched_free(sched);
    loop_free(loop);
    return 0;
}

static void post_all(void)
{
    for (int i = 0; i < 3; i++) {
        sched_post(sched, &units[i].unit);
    }
}

/* A busy machine may take the processor away for longer than a slice, or than
 * a turn has for Lua, at any moment. So who runs when is told by who is first
 * to run, over as many turns as it takes. */
static void run_turns(void)
{
    for (int i = 0; i < 50; i++) {
        loop_turn(loop, 0);
    }
}

static void expect_first(const char *names)
{
    char first[sizeof(order)] = "";
    for (const char *p = order; *p != '\0'; p++) {
        if (strchr(first, *p) == NULL) {
            first[strlen(first)] = *p;
        }
    }
    assert_string_equal(first, names);
}

static void units_run_in_the_order_of_posting(void **state)
{
    (void)state;
    units[0].jobs = 3;
    post_all();
    post_all(); /* queued already */
    assert_int_equal(units[0].ran, 0);
    run_turns();
    expect_first("abc");
    assert_int_equal(units[0].ran, 3);
    assert_int_equal(units[1].ran, 1);
}

static void a_unit_gives_way_after_its_slice(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        init_unit(&units[i], (char)('a' + i), 1000000, 50 * 1000);
    }
    post_all();
    for (int i = 0; i < 3; i++) {
        loop_turn(loop, 0);
    }
    /* Everybody in turn, about five slices a turn (fewer when the machine
     * is busy, but one at least). */
    expect_first("abc");
#ifndef MOONWIRE_TINY
    assert_in_range(strlen(order), 3, 3 * (LIMIT_TURN_LUA_MS + 1));
#endif
    /* Whose slice the machine has cut short goes on before it is somebody
     * else's turn: what counts is the time that was used. */
    for (int i = 0; i < 3; i++) {
        uint64_t used = units[i].unit.stats.cpu_ns;
        uint64_t other = units[(i + 1) % 3].unit.stats.cpu_ns;
        assert_true(used > 0);
        assert_true(used < other + 2500000);
    }
}

static void a_turn_spends_its_time_on_lua_and_no_more(void **state)
{
    (void)state;
    init_unit(&units[0], 'a', 1000000, 100 * 1000);
    sched_post(sched, &units[0].unit);
    loop_turn(loop, 0);
    assert_in_range(units[0].ran, 1, LIMIT_TURN_LUA_MS * 10 + 1);
    int before = units[0].ran;
    /* Waiting for ever would hang here: there is more to run. */
    loop_turn(loop, -1);
    assert_true(units[0].ran > before);
}

static void a_late_post(struct loop_hook *h)
{
    sched_post(sched, &units[0].unit);
    loop_hook_remove(h);
}

static void a_post_after_the_run_phase_keeps_the_loop_awake(void **state)
{
    (void)state;
    struct loop_hook hook;
    loop_hook_add(loop, LOOP_END, &hook, a_late_post);
    loop_turn(loop, 0);
    assert_int_equal(units[0].ran, 0);
    loop_turn(loop, -1);
    assert_int_equal(units[0].ran, 1);
}

static void post_itself(struct unit *u)
{
    if (u->ran < 3) {
        sched_post(sched, &u->unit);
    }
}

static void a_unit_that_posts_itself_runs_again(void **state)
{
    (void)state;
    units[0].inside = post_itself;
    post_all();
    run_turns();
    assert_int_equal(units[0].ran, 3);
    expect_first("abc");
}

static void remove_next(struct unit *u)
{
    (void)u;
    sched_remove(&units[1].unit);
}

static void a_unit_can_remove_another_one(void **state)
{
    (void)state;
    units[0].inside = remove_next;
    post_all();
    run_turns();
    assert_string_equal(order, "ac");
    sched_remove(&units[1].unit); /* harmless */
    sched_post(sched, &units[1].unit);
    run_turns();
    assert_string_equal(order, "acb");
}

static void free_itself(struct unit *u)
{
    sched_remove(&u->unit);
    free(u);
}

static void a_unit_may_be_freed_while_it_runs(void **state)
{
    (void)state;
    struct unit *u = malloc(sizeof(*u));
    init_unit(u, 'x', 100, 0);
    u->inside = free_itself;
    sched_post(sched, &u->unit);
    post_all();
    run_turns();
    assert_string_equal(order, "xabc");
}

static void remove_and_post(struct unit *u)
{
    u->inside = NULL;
    sched_remove(&u->unit);
    sched_post(sched, &u->unit);
}

static void a_unit_removed_and_posted_again_keeps_its_new_place(void **state)
{
    (void)state;
    units[0].jobs = 2;
    units[0].inside = remove_and_post;
    post_all();
    run_turns();
    assert_string_equal(order, "abca");
    assert_int_equal(units[0].ran, 2);
}

static void a_job_may_run_at_once_while_nobody_is_queued(void **state)
{
    (void)state;
    assert_true(sched_may_run_now(sched, &units[1].unit));
    sched_post(sched, &units[0].unit);
    assert_false(sched_may_run_now(sched, &units[1].unit));
    loop_turn(loop, 0);
    assert_true(sched_may_run_now(sched, &units[1].unit));
}

static void the_turn_s_time_bounds_what_runs_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        int n = 0;
        while (sched_may_run_now(sched, &units[0].unit)) {
            spin(500 * 1000);
            n++;
        }
        assert_in_range(n, 1, LIMIT_TURN_LUA_MS * 2 + 2);
        assert_false(sched_may_run_now(sched, &units[0].unit));
        /* What is queued meanwhile gets its slice all the same. */
        units[0].jobs = 1;
        sched_post(sched, &units[0].unit);
        loop_turn(loop, 0);
        assert_int_equal(units[0].ran, round + 1);
    }
}

static void slow_handlers_among_quick_ones_are_noticed(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        (void)sched_may_run_now(sched, &units[1].unit);
    }
    int n = 0;
    while (sched_may_run_now(sched, &units[1].unit)) {
        spin(1000 * 1000);
        n++;
    }
    assert_true(n <= LIMIT_TURN_LUA_MS + 16 + 1);
}

/* ---- shares ---- */

/* Uses CPU time as a script would that is stopped at its slice's end. */
static void be_stopped(struct unit *u)
{
    (void)u;
    preempt_self.count++;
}

static void a_stop_ends_the_turn(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        init_unit(&units[i], (char)('a' + i), 100, 1100 * 1000);
        units[i].inside = be_stopped;
    }
    post_all();
    for (int i = 0; i < 6; i++) {
        loop_turn(loop, -1);
    }
    assert_string_equal(order, "abcabc");
    assert_int_equal(units[0].unit.stats.stops, 2);
}

/* The tick has its own beat: it can hit who has only just begun. */
static void who_is_stopped_early_goes_on_next(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        init_unit(&units[i], (char)('a' + i), 100, i == 0 ? 0 : 1100 * 1000);
        units[i].inside = be_stopped;
    }
    units[0].jobs = 3;
    post_all();
    for (int i = 0; i < 6; i++) {
        loop_turn(loop, -1);
    }
    assert_int_equal(units[0].ran, 3);
    assert_memory_equal(order, "abc", 3);
    /* The reading side's, too: what was used is charged, not a slice. */
    init_unit(&units[0], 'a', 1, 0);
    sched_remove(&units[1].unit);
    sched_remove(&units[2].unit);
    loop_turn(loop, 0);
    assert_true(sched_may_run_now(sched, &units[0].unit));
    sched_stopped_now(sched, &units[0].unit);
    assert_int_equal(units[0].unit.place, SCHED_FRESH);
}

/* Stopped when it has used `job_ns`; asks whether it goes on. */
static int went_on;

static void be_stopped_and_ask(struct unit *u)
{
    preempt_self.count++;
    went_on += sched_goes_on(sched, &u->unit);
}

/* A busy machine can make any job look as if it had taken long: then it is
 * tried once more. */
static void who_is_alone_and_has_only_just_begun_goes_on(void **state)
{
    (void)state;
    went_on = 0;
    for (int i = 0; i < 100 && went_on != 3; i++) {
        went_on = 0;
        init_unit(&units[0], 'a', 3, 0);
        units[0].inside = be_stopped_and_ask;
        sched_post(sched, &units[0].unit);
        loop_turn(loop, -1);
        sched_remove(&units[0].unit);
    }
    assert_int_equal(went_on, 3);
    assert_int_equal(units[0].ran, 3); /* in one turn */
    assert_int_equal(units[0].unit.stats.stops, 0);
    /* The reading side's, too. */
    bool goes_on = false;
    for (int i = 0; i < 100 && !goes_on; i++) {
        loop_turn(loop, 0);
        assert_true(sched_may_run_now(sched, &units[0].unit));
        goes_on = sched_goes_on(sched, &units[0].unit);
    }
    assert_true(goes_on);
    assert_true(sched_may_run_now(sched, &units[0].unit));
}

static void who_has_used_its_time_does_not_go_on(void **state)
{
    (void)state;
    went_on = 0;
    init_unit(&units[0], 'a', 3, 600 * 1000);
    units[0].inside = be_stopped_and_ask;
    sched_post(sched, &units[0].unit);
    for (int i = 0; i < 3; i++) {
        loop_turn(loop, -1);
    }
    assert_int_equal(went_on, 0);
    assert_int_equal(units[0].unit.stats.stops, 3);
}

static void a_turn_s_time_bounds_how_often_one_goes_on(void **state)
{
    (void)state;
    loop_turn(loop, 0);
    assert_true(sched_may_run_now(sched, &units[0].unit));
    uint64_t end = loop_clock_ns() + LIMIT_TURN_LUA_MS * UINT64_C(1000000);
    while (loop_clock_ns() < end) {
        (void)sched_goes_on(sched, &units[0].unit);
    }
    assert_false(sched_goes_on(sched, &units[0].unit));
}

static void nobody_goes_on_beside_others(void **state)
{
    (void)state;
    went_on = 0;
    /* Somebody waits. */
    for (int i = 0; i < 3; i++) {
        units[i].inside = be_stopped_and_ask;
    }
    post_all();
    run_turns();
    assert_int_equal(went_on, 0);
    /* Nobody waits, but somebody has been here lately. */
    sched_post(sched, &units[0].unit);
    loop_turn(loop, -1);
    assert_true(sched_may_run_now(sched, &units[1].unit));
    assert_false(sched_goes_on(sched, &units[1].unit));
}

static void who_has_overdrawn_its_share_does_not_go_on(void **state)
{
    (void)state;
    struct sched_unit *u = &units[0].unit;
    u->share = 50;
    sched_post(sched, u);
    loop_turn(loop, -1);
    assert_true(sched_may_run_now(sched, u));
    u->bank_ns = -1000 * INT64_C(1000000);
    assert_false(sched_goes_on(sched, u));
}

static void who_has_something_left_goes_first(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        init_unit(&units[i], (char)('a' + i), 1000, 1000 * 1000);
        units[i].inside = be_stopped;
        sched_post(sched, &units[i].unit);
    }
    run_turns();
    for (int i = 0; i < 20; i++) {
        /* One quick job now and then: always next. */
        memset(order, 0, sizeof(order));
        units[2].jobs = 1;
        sched_post(sched, &units[2].unit);
        loop_turn(loop, 0);
        assert_int_equal(order[0], 'c');
    }
    /* One that uses its slices up has no such right. */
    init_unit(&units[2], 'c', 1000, 1000 * 1000);
    units[2].inside = be_stopped;
    sched_post(sched, &units[2].unit);
    memset(order, 0, sizeof(order));
    for (int i = 0; i < 9; i++) {
        loop_turn(loop, 0);
    }
    int c = 0;
    for (const char *p = order; *p != '\0'; p++) {
        c += *p == 'c';
    }
    assert_in_range(c, 3, 4);
}

static void of_the_fresh_who_usually_takes_least_goes_first(void **state)
{
    (void)state;
    init_unit(&units[0], 'a', 1, 300 * 1000);
    sched_post(sched, &units[0].unit);
    loop_turn(loop, 0);
    init_unit(&units[1], 'b', 1, 100 * 1000);
    sched_post(sched, &units[1].unit);
    loop_turn(loop, 0);
    memset(order, 0, sizeof(order));
    for (int i = 0; i < 3; i++) {
        units[i].jobs = 1;
    }
    post_all();
    run_turns();
    assert_string_equal(order, "bac"); /* of c nothing is known */
}

static void a_weight_is_a_longer_slice(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        init_unit(&units[i], (char)('a' + i), 1000000, 20 * 1000);
    }
    units[1].unit.weight = 400;
    sched_post(sched, &units[0].unit);
    sched_post(sched, &units[1].unit);
    for (int i = 0; i < 40; i++) {
        loop_turn(loop, 0);
    }
#ifndef MOONWIRE_TINY
    assert_true(units[1].ran > 2 * units[0].ran);
#endif
}

static uint32_t rest_ms;

static void note_rest(struct sched_unit *u, uint32_t ms)
{
    (void)u;
    rest_ms = ms;
}

static void who_overdraws_its_share_rests(void **state)
{
    (void)state;
    init_unit(&units[0], 'a', 1000000, 100 * 1000);
    units[0].unit.share = 10;
    units[0].unit.on_rest = note_rest;
    rest_ms = 0;
    uint64_t start = loop_clock_ns();
    uint64_t passed_ms = 0;
    sched_post(sched, &units[0].unit);
    /* At once, if the machine leaves us more than that tenth. */
    while ((passed_ms < 600 || rest_ms == 0) && passed_ms < 20000) {
        loop_turn(loop, 5);
        passed_ms = (loop_clock_ns() - start) / 1000000;
    }
    /* A tenth of the time, the burst of 100 ms, and a turn. */
    uint64_t used_ms = units[0].unit.stats.cpu_ns / 1000000;
    assert_true(rest_ms > 0);
    assert_true(units[0].unit.stats.rests > 0);
    assert_in_range(used_ms, 20, passed_ms / 10 + 100 + 40);
    if (units[0].unit.place == SCHED_RESTING) {
        assert_false(sched_may_run_now(sched, &units[0].unit));
    }
    sched_remove(&units[0].unit);
}

static void waits_are_counted(void **state)
{
    (void)state;
    init_unit(&units[0], 'a', 1, 3 * 1000 * 1000);
    init_unit(&units[1], 'b', 1, 0);
    sched_post(sched, &units[0].unit);
    sched_post(sched, &units[1].unit);
    run_turns();
    assert_int_equal(histogram_total(&units[1].unit.stats.wait), 1);
    assert_true(units[1].unit.stats.wait.max_ns > 1000000);
    assert_true(
        histogram_quantile_ns(&units[1].unit.stats.wait, 999) >= 2000000);
    assert_int_equal(histogram_quantile_ns(&units[2].unit.stats.wait, 999), 0);
}

static void let_memory_go(struct unit *u)
{
    size_t bytes = 4 * (size_t)LIMIT_TURN_UNMAP_BYTES;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    (void)u;
    assert_true(p != MAP_FAILED);
    reaper_take(p, bytes, bytes);
}

/* A load that fails, say, in an app that nobody asks for anything. */
static void what_a_job_has_let_go_does_not_wait_for_another_event(void **state)
{
    (void)state;
    units[0].inside = let_memory_go;
    sched_post(sched, &units[0].unit);
    loop_turn(loop, 0);
    assert_true(reaper_has_work());
    uint64_t start = loop_clock_ns();
    for (int i = 0; i < 10 && reaper_has_work(); i++) {
        loop_turn(loop, 1000);
    }
    assert_false(reaper_has_work());
    assert_true(loop_clock_ns() - start < UINT64_C(900000000));
}

static void a_scheduler_may_go_before_its_units(void **state)
{
    (void)state;
    post_all();
    sched_free(sched);
    sched_remove(&units[0].unit);
    sched = sched_new(loop);
    loop_turn(loop, 0);
    assert_string_equal(order, "");
    sched_free(NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(units_run_in_the_order_of_posting),
        TEST(a_unit_gives_way_after_its_slice),
        TEST(a_turn_spends_its_time_on_lua_and_no_more),
        TEST(a_post_after_the_run_phase_keeps_the_loop_awake),
        TEST(a_unit_that_posts_itself_runs_again),
        TEST(a_unit_can_remove_another_one),
        TEST(a_unit_may_be_freed_while_it_runs),
        TEST(a_unit_removed_and_posted_again_keeps_its_new_place),
        TEST(a_job_may_run_at_once_while_nobody_is_queued),
        TEST(the_turn_s_time_bounds_what_runs_at_once),
        TEST(slow_handlers_among_quick_ones_are_noticed),
        TEST(a_stop_ends_the_turn),
        TEST(who_is_stopped_early_goes_on_next),
        TEST(who_is_alone_and_has_only_just_begun_goes_on),
        TEST(who_has_used_its_time_does_not_go_on),
        TEST(a_turn_s_time_bounds_how_often_one_goes_on),
        TEST(nobody_goes_on_beside_others),
        TEST(who_has_overdrawn_its_share_does_not_go_on),
        TEST(who_has_something_left_goes_first),
        TEST(of_the_fresh_who_usually_takes_least_goes_first),
        TEST(a_weight_is_a_longer_slice),
        TEST(who_overdraws_its_share_rests),
        TEST(waits_are_counted),
        TEST(what_a_job_has_let_go_does_not_wait_for_another_event),
        TEST(a_scheduler_may_go_before_its_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
