/* civil.c -- the calendar by arithmetic. Years are counted from March, which
 * puts the leap day at a year's end. */
#include "base/civil.h"
#include <stdio.h>

#define DAYS_TO_1970 719468 /* from 0000-03-01 */

int64_t civil_floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;

    return q * b > a ? q - 1 : q;
}

static int64_t days_before_march(int64_t year)
{
    return year * 365 + civil_floor_div(year, 4) - civil_floor_div(year, 100) +
           civil_floor_div(year, 400);
}

struct civil civil_from_days(int64_t days)
{
    int64_t n = days + DAYS_TO_1970;
    int64_t year = civil_floor_div(n * 400 + 399, 146097);

    while (days_before_march(year) > n) {
        year--;
    }
    while (days_before_march(year + 1) <= n) {
        year++;
    }
    int of_year = (int)(n - days_before_march(year));
    int month = (of_year * 5 + 2) / 153; /* 0: March */
    struct civil c = {
        .year = month < 10 ? year : year + 1,
        .month = month < 10 ? month + 3 : month - 9,
        .day = of_year - (month * 153 + 2) / 5 + 1,
    };
    return c;
}

int64_t civil_to_days(int64_t year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int m = month > 2 ? month - 3 : month + 9;

    return days_before_march(y) + (m * 153 + 2) / 5 + day - 1 - DAYS_TO_1970;
}

void civil_iso(int64_t ms, char out[CIVIL_ISO_BYTES])
{
    int64_t seconds = ms / 1000;
    int64_t of_day = seconds % 86400;
    struct civil c = civil_from_days(seconds / 86400);

    (void)snprintf(out, CIVIL_ISO_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
        (unsigned)c.year % 10000, (unsigned)c.month % 100,
        (unsigned)c.day % 100, (unsigned)(of_day / 3600) % 100,
        (unsigned)(of_day / 60 % 60), (unsigned)(of_day % 60),
        (unsigned)(ms % 1000));
}
