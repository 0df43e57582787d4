#include "base/metric.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void names_are_different_and_fit_prometheus(void **state)
{
    (void)state;
    for (int a = 0; a < METRIC_COUNT; a++) {
        const char *name = metric_name((enum metric)a);
        assert_true(islower((unsigned char)name[0]));
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"),
            strlen(name));
        for (int b = a + 1; b < METRIC_COUNT; b++) {
            assert_string_not_equal(name, metric_name((enum metric)b));
        }
    }
}

static void counters_and_only_they_end_in_total(void **state)
{
    (void)state;
    for (int i = 0; i < METRIC_COUNT; i++) {
        const char *name = metric_name((enum metric)i);
        const char *type = metric_type((enum metric)i);
        size_t len = strlen(name);
        bool is_total = len > 6 && strcmp(name + len - 6, "_total") == 0;
        assert_string_equal(type, is_total ? "counter" : "gauge");
        assert_string_not_equal(metric_help((enum metric)i), "");
        assert_null(strpbrk(metric_help((enum metric)i), "\\\n"));
    }
}

static void each_counter_counts_for_itself(void **state)
{
    (void)state;
    static struct metrics t;
    metric_add(&t, METRIC_CLIENTS, 5);
    metric_sub(&t, METRIC_CLIENTS, 2);
    metric_add(&t, METRIC_BYTES_IN, UINT64_C(1) << 40);
    for (int i = 0; i < METRIC_COUNT; i++) {
        uint64_t want = i == METRIC_CLIENTS    ? 3
                        : i == METRIC_BYTES_IN ? UINT64_C(1) << 40
                                               : 0;
        assert_int_equal(metric_get(&t, (enum metric)i), want);
    }
}

static void loops_are_summed_but_of_peaks_the_largest_counts(void **state)
{
    (void)state;
    static struct metrics t[3];
    const struct metrics *all[] = {&t[0], &t[1], &t[2]};
    metric_add(&t[0], METRIC_EVENTS, 5);
    metric_add(&t[2], METRIC_EVENTS, 7);
    metric_raise(&t[0], METRIC_HOLD_NS, 30);
    metric_raise(&t[1], METRIC_HOLD_NS, 50);
    metric_raise(&t[1], METRIC_HOLD_NS, 40);
    assert_int_equal(metric_total(all, 3, METRIC_EVENTS), 12);
    assert_int_equal(metric_total(all, 3, METRIC_HOLD_NS), 50);
    assert_int_equal(metric_total(all, 1, METRIC_HOLD_NS), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_different_and_fit_prometheus),
        cmocka_unit_test(counters_and_only_they_end_in_total),
        cmocka_unit_test(each_counter_counts_for_itself),
        cmocka_unit_test(loops_are_summed_but_of_peaks_the_largest_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
