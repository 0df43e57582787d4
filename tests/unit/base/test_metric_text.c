/* test_metric_text.c -- figures as Prometheus reads them, to the byte. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/err.h"
#include "base/metric_text.h"
#include <math.h>
#include <string.h>

static struct buf out;

static int setup(void **state)
{
    (void)state;
    buf_init(&out, 64 * 1024);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static void assert_text(const char *wanted)
{
    assert_int_equal(buf_add(&out, "", 1), 0);
    assert_string_equal((const char *)out.p, wanted);
    out.len = 0;
}

static void a_family_is_two_lines_and_a_value_one(void **state)
{
    (void)state;
    assert_int_equal(metric_text_family(&out, "x_total", "counter", "an x"), 0);
    assert_int_equal(
        metric_text_value(&out, "x_total", NULL, 0, UINT64_MAX), 0);
    assert_text("# HELP moonwire_x_total an x\n"
                "# TYPE moonwire_x_total counter\n"
                "moonwire_x_total 18446744073709551615\n");
}

static void labels_are_escaped(void **state)
{
    (void)state;
    const struct metric_label labels[] = {
        {"app", "a\"b\\c\nd\x1b[2J"}, {"why", ""}};
    assert_int_equal(metric_text_value(&out, "n", labels, 2, 1), 0);
    assert_text("moonwire_n{app=\"a\\\"b\\\\c\\nd?[2J\",why=\"\"} 1\n");
}

static void numbers_are_written_as_the_format_wants_them(void **state)
{
    (void)state;
    assert_int_equal(metric_text_number(&out, "n", NULL, 0, 0.25), 0);
    assert_text("moonwire_n 0.25\n");
    assert_int_equal(metric_text_number(&out, "n", NULL, 0, INFINITY), 0);
    assert_text("moonwire_n +Inf\n");
    assert_int_equal(metric_text_number(&out, "n", NULL, 0, -INFINITY), 0);
    assert_text("moonwire_n -Inf\n");
    assert_int_equal(metric_text_number(&out, "n", NULL, 0, NAN), 0);
    assert_text("moonwire_n NaN\n");
}

static void buckets_are_cumulative_and_end_with_all(void **state)
{
    (void)state;
    const double bounds[] = {0.001, 0.01};
    const uint64_t counts[] = {3, 0, 2};
    const struct metric_histogram h = {bounds, counts, 2, 1.5};
    const struct metric_label app = {"app", "a"};
    assert_int_equal(metric_text_histogram(&out, "wait_s", &app, 1, &h), 0);
    assert_text("moonwire_wait_s_bucket{app=\"a\",le=\"0.001\"} 3\n"
                "moonwire_wait_s_bucket{app=\"a\",le=\"0.01\"} 3\n"
                "moonwire_wait_s_bucket{app=\"a\",le=\"+Inf\"} 5\n"
                "moonwire_wait_s_count{app=\"a\"} 5\n"
                "moonwire_wait_s_sum{app=\"a\"} 1.5\n");
    assert_int_equal(metric_text_histogram(&out, "w", NULL, 0, &h), 0);
    assert_non_null(strstr((const char *)out.p, "moonwire_w_bucket{le=\"+Inf"));
    out.len = 0;
}

static void tables_are_put_together(void **state)
{
    (void)state;
    static struct metrics tables[3];
    const struct metrics *at[] = {&tables[0], &tables[1], &tables[2]};
    metric_add(&tables[0], METRIC_CLIENTS, 5);
    metric_add(&tables[1], METRIC_CLIENTS, 7);
    /* A gauge of one loop may run below zero, the sum of all does not. */
    metric_sub(&tables[2], METRIC_CLIENTS, 2);
    metric_raise(&tables[0], METRIC_HOLD_NS, 3);
    metric_raise(&tables[1], METRIC_HOLD_NS, 4);
    assert_int_equal(metric_text_tables(&out, at, 3), 0);
    assert_int_equal(buf_add(&out, "", 1), 0);
    const char *text = (const char *)out.p;
    assert_non_null(strstr(text, "\nmoonwire_clients 10\n"));
    assert_non_null(strstr(text, "# TYPE moonwire_clients gauge\n"));
    assert_non_null(strstr(text, "\nmoonwire_longest_hold_nanoseconds 4\n"));
    size_t lines = 0;
    for (const char *s = text; *s != '\0'; s++) {
        lines += *s == '\n';
    }
    assert_int_equal(lines, 3 * METRIC_COUNT);
}

static void what_does_not_fit_leaves_whole_lines(void **state)
{
    (void)state;
    const struct metric_label app = {"app", "abcdefgh"};
    for (size_t max = 0; max < 200; max++) {
        struct buf small;
        buf_init(&small, max);
        int rc = 0;
        while (rc == 0) {
            rc = metric_text_value(&small, "n", &app, 1, 12345);
        }
        assert_int_equal(rc, ERR_TOO_BIG);
        assert_true(small.len <= max);
        assert_true(small.len == 0 || small.p[small.len - 1] == '\n');
        buf_fini(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_is_two_lines_and_a_value_one),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(numbers_are_written_as_the_format_wants_them),
        cmocka_unit_test(buckets_are_cumulative_and_end_with_all),
        cmocka_unit_test(tables_are_put_together),
        cmocka_unit_test(what_does_not_fit_leaves_whole_lines),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
