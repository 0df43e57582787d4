/* civil.h -- days since 1970 <-> dates of the Gregorian calendar, in UTC. By
 * hand, because the C library's functions look up time zones: locks, files,
 * malloc. No allocation; any thread. */
#ifndef BASE_CIVIL_H
#define BASE_CIVIL_H

#include "base/base.h"

/* "2026-11-21T21:49:51.123Z" and a NUL. */
#define CIVIL_ISO_BYTES   25
#define CIVIL_MAX_SECONDS 253402300800 /* the year 10000 */

struct civil {
    int64_t year;
    int month; /* 1 to 12 */
    int day;   /* 1 to 31 */
};

/* a / b rounded down; b is positive. */
int64_t civil_floor_div(int64_t a, int64_t b);
struct civil civil_from_days(int64_t days);
int64_t civil_to_days(int64_t year, int month, int day);
/* Milliseconds since 1970, from 0 to before the year 10000 -> RFC 3339. */
void civil_iso(int64_t ms, char out[CIVIL_ISO_BYTES]);

#endif
