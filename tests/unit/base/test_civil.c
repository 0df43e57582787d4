#include "base/civil.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void dates_are_those_of_the_c_library(void **state)
{
    (void)state;
    /* 400 years repeat; these are more than that on both sides of 1970. */
    for (int64_t days = -200000; days < 200000; days++) {
        time_t seconds = (time_t)(days * 86400);
        struct tm t;
        gmtime_r(&seconds, &t);
        struct civil c = civil_from_days(days);
        assert_int_equal(c.year, t.tm_year + 1900);
        assert_int_equal(c.month, t.tm_mon + 1);
        assert_int_equal(c.day, t.tm_mday);
        assert_int_equal(civil_to_days(c.year, c.month, c.day), days);
    }
}

static void expect_iso(int64_t ms, const char *want)
{
    char text[CIVIL_ISO_BYTES];
    civil_iso(ms, text);
    assert_string_equal(text, want);
}

static void moments_are_written_by_rfc_3339(void **state)
{
    (void)state;
    expect_iso(0, "1970-01-01T00:00:00.000Z");
    expect_iso(1, "1970-01-01T00:00:00.001Z");
    expect_iso(951782399999, "2000-02-28T23:59:59.999Z");
    expect_iso(951782400000, "2000-02-29T00:00:00.000Z");
    expect_iso(1709210096789, "2024-02-29T12:34:56.789Z");
    expect_iso(CIVIL_MAX_SECONDS * 1000 - 1, "9999-12-31T23:59:59.999Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_those_of_the_c_library),
        cmocka_unit_test(moments_are_written_by_rfc_3339),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
