/* test_tally.c -- counts and buckets of keys, by many threads. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/mem.h"
#include "base/tally.h"
#include <pthread.h>
#include <string.h>

static const uint8_t *key_of(unsigned n)
{
    static _Thread_local uint8_t key[TALLY_KEY_BYTES];
    memset(key, 0, sizeof(key));
    memcpy(key, &n, sizeof(n));
    return key;
}

static void who_enters_is_counted_until_they_leave(void **s)
{
    (void)s;
    struct tally *t = tally_new(10);
    assert_int_equal(tally_count(t, key_of(1)), 0);
    struct tally_entry *a = tally_enter(t, key_of(1));
    struct tally_entry *b = tally_enter(t, key_of(1));
    struct tally_entry *c = tally_enter(t, key_of(2));
    assert_ptr_equal(a, b);
    assert_int_equal(tally_count(t, key_of(1)), 2);
    assert_int_equal(tally_count(t, key_of(2)), 1);
    tally_leave(t, a);
    tally_leave(t, c);
    tally_leave(t, NULL);
    assert_int_equal(tally_count(t, key_of(1)), 1);
    assert_int_equal(tally_count(t, key_of(2)), 0);
    tally_leave(t, b);
    tally_free(t);
    tally_free(NULL);
}

static void a_bucket_outlives_the_last_who_left(void **s)
{
    (void)s;
    const struct rate r = {.per_s = 1, .burst = 2};
    struct tally *t = tally_new(10);
    for (int i = 0; i < 2; i++) {
        struct tally_entry *e = tally_enter(t, key_of(1));
        assert_int_equal(tally_wait_ms(t, e, 0, &r, 1000), 0);
        tally_take(t, e, 0, &r, 1000, 1);
        tally_leave(t, e);
    }
    struct tally_entry *e = tally_enter(t, key_of(1));
    assert_in_range(tally_wait_ms(t, e, 0, &r, 1000), 1, 1001);
    assert_int_equal(tally_wait_ms(t, e, 1, &r, 1000), 0);
    assert_int_equal(tally_wait_ms(t, e, 0, &r, 2001), 0);
    tally_leave(t, e);
    tally_free(t);
}

static void the_number_of_keys_is_bounded_and_idle_ones_make_room(void **s)
{
    (void)s;
    const struct rate r = {.per_s = 1, .burst = 2};
    struct tally *t = tally_new(3);
    struct tally_entry *e[3];
    for (unsigned i = 0; i < 3; i++) {
        e[i] = tally_enter(t, key_of(i));
        assert_non_null(e[i]);
        tally_take(t, e[i], 0, &r, 1000, 1);
    }
    assert_null(tally_enter(t, key_of(3)));
    tally_leave(t, e[1]);
    e[1] = tally_enter(t, key_of(3));
    assert_non_null(e[1]);
    assert_int_equal(tally_count(t, key_of(1)), 0);
    for (unsigned i = 0; i < 3; i++) {
        tally_leave(t, e[i]);
    }
    tally_free(t);
}

static void without_memory_nobody_is_counted(void **s)
{
    (void)s;
    struct tally *t = tally_new(10);
    for (int n = 1; n <= 2; n++) {
        mem_fail_at((uint64_t)n);
        struct tally_entry *e = tally_enter(t, key_of(7));
        mem_fail_at(0);
        assert_int_equal(tally_count(t, key_of(7)), e != NULL);
        tally_leave(t, e);
    }
    tally_free(t);
}

static void a_rate_lets_through_its_burst_and_then_so_many_a_second(void **s)
{
    (void)s;
    const struct rate r = {.per_s = 10, .burst = 5};
    uint64_t full = 0;
    int passed = 0;
    for (uint64_t ms = 1000; ms < 11000; ms++) {
        while (rate_wait_ms(&r, full, ms) == 0) {
            rate_take(&r, &full, ms, 1);
            passed++;
        }
    }
    assert_in_range(passed, 5 + 99, 5 + 101);
    /* What is owed is waited for, and the wait is what it says. */
    rate_take(&r, &full, 11000, 100);
    uint32_t wait = rate_wait_ms(&r, full, 11000);
    assert_in_range(wait, 9800, 10200);
    assert_int_not_equal(rate_wait_ms(&r, full, 11000 + wait - 2), 0);
    assert_int_equal(rate_wait_ms(&r, full, 11000 + wait), 0);
    const struct rate none = {0};
    assert_int_equal(rate_wait_ms(&none, UINT64_MAX, 1), 0);
}

#define ROUNDS 20000

static void *come_and_go(void *arg)
{
    const struct rate r = {.per_s = 1000, .burst = 1000};
    struct tally *t = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct tally_entry *e = tally_enter(t, key_of(i % 7));
        assert_non_null(e);
        tally_take(t, e, 0, &r, i, 1);
        tally_leave(t, e);
    }
    return NULL;
}

static void many_threads_count_without_losing_anybody(void **s)
{
    (void)s;
    struct tally *t = tally_new(7);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, t), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(tally_count(t, key_of(i)), 0);
    }
    tally_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_enters_is_counted_until_they_leave),
        cmocka_unit_test(a_bucket_outlives_the_last_who_left),
        cmocka_unit_test(the_number_of_keys_is_bounded_and_idle_ones_make_room),
        cmocka_unit_test(without_memory_nobody_is_counted),
        cmocka_unit_test(
            a_rate_lets_through_its_burst_and_then_so_many_a_second),
        cmocka_unit_test(many_threads_count_without_losing_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
