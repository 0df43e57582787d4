/* test_placement.c -- on which loop a connection is to live. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "server/placement.h"

#define LOOPS 4

static uint32_t choose(enum placement how, const struct placement_loop *loops,
    uint32_t home, uint32_t here)
{
    return placement_choose(how, loops, LOOPS, home, here);
}

static void home_is_home_however_busy(void **state)
{
    (void)state;
    static const struct placement_loop loops[LOOPS] = {
        {0, 0}, {0, 0}, {1000, 50000}, {0, 1}};
    for (uint32_t here = 0; here < LOOPS; here++) {
        assert_int_equal(choose(PLACEMENT_HOME, loops, 2, here), 2);
    }
}

static void one_loop_is_the_loop(void **state)
{
    (void)state;
    static const struct placement_loop one = {1000, 1};
    static const enum placement all[] = {
        PLACEMENT_HOME, PLACEMENT_SPREAD, PLACEMENT_AUTO};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_int_equal(placement_choose(all[i], &one, 1, 0, 0), 0);
    }
}

/* ---- spread ---- */

static void spread_takes_the_loop_with_the_fewest(void **state)
{
    (void)state;
    static const struct placement_loop loops[LOOPS] = {
        {0, 100}, {900, 80}, {0, 40}, {0, 90}};
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 0, 0), 2);
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 0, 3), 2);
    /* Not where home is, and not where the load is: it counts heads. */
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 1, 1), 2);
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 1, 2), 2);
}

static void spread_does_not_count_the_one_in_question(void **state)
{
    (void)state;
    static const struct placement_loop loops[LOOPS] = {
        {0, 1}, {0, 0}, {0, 0}, {0, 0}};
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 1, 0), 0);
    static const struct placement_loop even[LOOPS] = {
        {0, 11}, {0, 10}, {0, 10}, {0, 10}};
    assert_int_equal(choose(PLACEMENT_SPREAD, even, 1, 0), 0);
    static const struct placement_loop one_more[LOOPS] = {
        {0, 12}, {0, 11}, {0, 10}, {0, 10}};
    assert_int_equal(choose(PLACEMENT_SPREAD, one_more, 1, 0), 2);
}

/* A thirty-second more is hardly more. */
static void spread_leaves_it_where_there_is_hardly_a_difference(void **state)
{
    (void)state;
    struct placement_loop loops[LOOPS] = {
        {0, 3300}, {0, 3200}, {0, 3250}, {0, 3300}};
    loops[0].connections = 3301;
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 1, 0), 0);
    loops[0].connections = 3302;
    assert_int_equal(choose(PLACEMENT_SPREAD, loops, 1, 0), 1);
}

/* Many that come to one loop end up evenly. */
static void spread_evens_out_what_comes_to_one_loop(void **state)
{
    (void)state;
    struct placement_loop loops[LOOPS] = {{0}};
    for (int i = 0; i < 4000; i++) {
        loops[0].connections++;
        uint32_t to = choose(PLACEMENT_SPREAD, loops, 0, 0);
        loops[0].connections--;
        loops[to].connections++;
    }
    for (uint32_t i = 0; i < LOOPS; i++) {
        assert_in_range(loops[i].connections, 960, 1040);
    }
}

/* ---- auto ---- */

static void auto_is_home_until_home_is_busy(void **state)
{
    (void)state;
    struct placement_loop loops[LOOPS] = {
        {0, 0}, {800, 1000}, {300, 0}, {100, 0}};
    for (uint32_t here = 0; here < LOOPS; here++) {
        assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, here), 1);
    }
    loops[1].load = 801;
    loops[0].load = 200;
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 1), 3);
}

static void auto_takes_the_least_loaded_of_the_others(void **state)
{
    (void)state;
    static const struct placement_loop loops[LOOPS] = {
        {700, 1}, {1000, 1}, {200, 90}, {500, 1}};
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 0), 2);
}

static void auto_leaves_it_here_where_others_have_hardly_less_to_do(
    void **state)
{
    (void)state;
    static const struct placement_loop loops[LOOPS] = {
        {200, 1}, {1000, 1}, {180, 1}, {210, 1}};
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 0), 0);
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 2), 2);
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 3), 3);
}

static void auto_stays_home_where_others_are_as_busy(void **state)
{
    (void)state;
    struct placement_loop loops[LOOPS] = {
        {900, 0}, {950, 0}, {800, 0}, {1000, 0}};
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 1), 1);
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 3), 1);
    loops[2].load = 799; /* now it is worth it */
    assert_int_equal(choose(PLACEMENT_AUTO, loops, 1, 1), 2);
    /* Home is the least loaded itself. */
    static const struct placement_loop all_busy[LOOPS] = {
        {1000, 0}, {900, 0}, {1000, 0}, {1000, 0}};
    assert_int_equal(choose(PLACEMENT_AUTO, all_busy, 1, 3), 1);
}

static void the_answer_is_a_loop_whatever_the_figures_say(void **state)
{
    (void)state;
    static const struct placement_loop odd[] = {
        {0, 0}, {1000, UINT64_MAX}, {UINT32_MAX, 1}, {999, UINT32_MAX}};
    static const enum placement all[] = {
        PLACEMENT_HOME, PLACEMENT_SPREAD, PLACEMENT_AUTO};
    struct placement_loop loops[LOOPS];
    for (uint32_t mix = 0; mix < 256 * LOOPS * LOOPS * 3; mix++) {
        uint32_t home = mix / 256 % LOOPS;
        uint32_t here = mix / 256 / LOOPS % LOOPS;
        enum placement how = all[mix / 256 / LOOPS / LOOPS];
        for (uint32_t i = 0; i < LOOPS; i++) {
            loops[i] = odd[mix >> (2 * i) & 3];
        }
        assert_in_range(choose(how, loops, home, here), 0, LOOPS - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(home_is_home_however_busy),
        cmocka_unit_test(one_loop_is_the_loop),
        cmocka_unit_test(spread_takes_the_loop_with_the_fewest),
        cmocka_unit_test(spread_does_not_count_the_one_in_question),
        cmocka_unit_test(spread_leaves_it_where_there_is_hardly_a_difference),
        cmocka_unit_test(spread_evens_out_what_comes_to_one_loop),
        cmocka_unit_test(auto_is_home_until_home_is_busy),
        cmocka_unit_test(auto_takes_the_least_loaded_of_the_others),
        cmocka_unit_test(
            auto_leaves_it_here_where_others_have_hardly_less_to_do),
        cmocka_unit_test(auto_stays_home_where_others_are_as_busy),
        cmocka_unit_test(the_answer_is_a_loop_whatever_the_figures_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
