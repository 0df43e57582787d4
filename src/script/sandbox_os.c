/* sandbox_os.c -- os.time, os.clock and os.date, in UTC.
 *
 * The C library's date functions take locks, allocate and read files to find
 * the time zone; none of that may happen where a script can be stopped at any
 * instruction. A server's time zone is no business of an app's anyway. So
 * the calendar is arithmetic of our own (base/civil), and this file formats.
 *
 * os.date takes what strftime() takes in the C locale. A leading "!" (UTC)
 * is allowed and changes nothing. */
#include "base/civil.h"
#include "script/sandbox_priv.h"
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_SECONDS 86400
/* Years that a date may have: ISO 8601 dates and fields of 32 bits. */
#define YEAR_MAX 2147483647LL
#define YEAR_MIN (-2147483647LL - 1)
/* Seconds of more than those years, so that no arithmetic can overflow. */
#define TIME_MAX (YEAR_MAX * 366 * DAY_SECONDS)

struct date {
    int64_t year;
    int month; /* 1..12 */
    int day;   /* 1..31 */
    int hour, minute, second;
    int week_day; /* 0: Sunday */
    int year_day; /* 0: the 1st of January */
};

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static void date_from_seconds(int64_t t, struct date *d)
{
    int64_t days = civil_floor_div(t, DAY_SECONDS);
    int seconds = (int)(t - days * DAY_SECONDS);
    struct civil c = civil_from_days(days);
    *d = (struct date){
        .year = c.year,
        .month = c.month,
        .day = c.day,
        .hour = seconds / 3600,
        .minute = seconds / 60 % 60,
        .second = seconds % 60,
        .week_day = (int)(days + 4 - civil_floor_div(days + 4, 7) * 7),
        .year_day = (int)(days - civil_to_days(c.year, 1, 1)),
    };
}

static void set_field(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* Fills the table on top. */
static void set_date(lua_State *L, const struct date *d)
{
    set_field(L, "year", d->year);
    set_field(L, "month", d->month);
    set_field(L, "day", d->day);
    set_field(L, "hour", d->hour);
    set_field(L, "min", d->minute);
    set_field(L, "sec", d->second);
    set_field(L, "yday", d->year_day + 1);
    set_field(L, "wday", d->week_day + 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "isdst");
}

/* Field `name` of the table at index 1; `missing` is its default, or negative
 * where it has none. */
static int64_t get_field(lua_State *L, const char *name, int missing)
{
    int type = lua_getfield(L, 1, name);
    int is_integer;
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    if (!is_integer) {
        if (type != LUA_TNIL) {
            return luaL_error(L, "field '%s' is not an integer", name);
        }
        if (missing < 0) {
            return luaL_error(L, "field '%s' missing in date table", name);
        }
        return missing;
    }
    if (value < YEAR_MIN || value > YEAR_MAX) {
        return luaL_error(L, "field '%s' is out-of-bound", name);
    }
    return value;
}

static void check_year(lua_State *L, const struct date *d)
{
    if (d->year < YEAR_MIN || d->year > YEAR_MAX) {
        luaL_error(L, "time is out of bounds");
    }
}

int sandbox_os_time(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_pushinteger(L, (lua_Integer)time(NULL));
        return 1;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    int64_t year = get_field(L, "year", -1);
    int64_t month = get_field(L, "month", -1);
    int64_t day = get_field(L, "day", -1);
    int64_t hour = get_field(L, "hour", 12);
    int64_t minute = get_field(L, "min", 0);
    int64_t second = get_field(L, "sec", 0);

    year += civil_floor_div(month - 1, 12);
    month = month - 1 - civil_floor_div(month - 1, 12) * 12 + 1;
    int64_t days = civil_to_days(year, (int)month, 1) + day - 1;
    int64_t t = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    struct date d;
    date_from_seconds(t, &d);
    check_year(L, &d);
    set_date(L, &d);
    lua_pushinteger(L, t);
    return 1;
}

int sandbox_os_clock(lua_State *L)
{
    /* This thread's time, not the process's: other apps' work is none of
     * this one's business. In whole milliseconds, so that it is of no use
     * for listening to caches. */
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    lua_pushnumber(L, (lua_Number)ms / 1000);
    return 1;
}

static const char *const day_names[] = {"Sunday", "Monday", "Tuesday",
    "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January", "February", "March",
    "April", "May", "June", "July", "August", "September", "October",
    "November", "December"};

/* ISO 8601: weeks begin on Monday, and week 1 is the one with the year's
 * first Thursday. */
static int iso_week(const struct date *d, int64_t *year)
{
    int monday_based = (d->week_day + 6) % 7;
    int thursday = d->year_day - monday_based + 3;
    *year = d->year;
    if (thursday < 0) {
        (*year)--;
        thursday += is_leap(*year) ? 366 : 365;
    } else if (thursday >= (is_leap(*year) ? 366 : 365)) {
        thursday -= is_leap(*year) ? 366 : 365;
        (*year)++;
    }
    return thursday / 7 + 1;
}

/* What a conversion stands for where it is other conversions in a row. */
static const char *expansion_of(char c)
{
    switch (c) {
    case 'c': return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x': return "%m/%d/%y";
    case 'F': return "%Y-%m-%d";
    case 'R': return "%H:%M";
    case 'r': return "%I:%M:%S %p";
    case 'T':
    case 'X': return "%H:%M:%S";
    default: return NULL;
    }
}

/* A conversion that is a word, or NULL. */
static const char *word_of(const struct date *d, char c)
{
    switch (c) {
    case 'A': return day_names[d->week_day];
    case 'B': return month_names[d->month - 1];
    case 'p': return d->hour < 12 ? "AM" : "PM";
    case 'n': return "\n";
    case 't': return "\t";
    case 'Z': return "UTC";
    case 'z': return "+0000";
    case '%': return "%";
    default: return NULL;
    }
}

struct number {
    int64_t value;
    int width;
    char pad;
};

static int64_t century_rest(int64_t year)
{
    return year - civil_floor_div(year, 100) * 100;
}

/* The week of the year, where weeks begin on `first_day` (0: Sunday) and the
 * days before the first such day are week 0. */
static int week_of(const struct date *d, int first_day)
{
    int since_first = (d->week_day + 7 - first_day) % 7;
    return (d->year_day + 7 - since_first) / 7;
}

/* A conversion that is a number; false: it is none. */
static bool number_of(const struct date *d, char c, struct number *n)
{
    int64_t iso_year;
    int iso = iso_week(d, &iso_year);
    *n = (struct number){.width = 2, .pad = '0'};
    switch (c) {
    case 'C': n->value = civil_floor_div(d->year, 100); break;
    case 'd': n->value = d->day; break;
    case 'e': *n = (struct number){d->day, 2, ' '}; break;
    case 'G': *n = (struct number){iso_year, 1, '0'}; break;
    case 'g': n->value = century_rest(iso_year); break;
    case 'H': n->value = d->hour; break;
    case 'I': n->value = (d->hour + 11) % 12 + 1; break;
    case 'j': *n = (struct number){d->year_day + 1, 3, '0'}; break;
    case 'M': n->value = d->minute; break;
    case 'm': n->value = d->month; break;
    case 'S': n->value = d->second; break;
    case 'U': n->value = week_of(d, 0); break;
    case 'u': *n = (struct number){(d->week_day + 6) % 7 + 1, 1, '0'}; break;
    case 'V': n->value = iso; break;
    case 'W': n->value = week_of(d, 1); break;
    case 'w': *n = (struct number){d->week_day, 1, '0'}; break;
    case 'Y': *n = (struct number){d->year, 1, '0'}; break;
    case 'y': n->value = century_rest(d->year); break;
    default: return false;
    }
    return true;
}

/* Adds one conversion that stands for itself. False: there is no such one. */
static bool add_simple(luaL_Buffer *b, const struct date *d, char c)
{
    if (c == 'a') {
        luaL_addlstring(b, day_names[d->week_day], 3);
        return true;
    }
    if (c == 'b' || c == 'h') {
        luaL_addlstring(b, month_names[d->month - 1], 3);
        return true;
    }
    const char *word = word_of(d, c);
    if (word != NULL) {
        luaL_addstring(b, word);
        return true;
    }
    struct number n;
    if (!number_of(d, c, &n)) {
        return false;
    }
    char text[24];
    int len = n.pad == '0'
                  ? snprintf(text, sizeof(text), "%0*" PRId64, n.width, n.value)
                  : snprintf(text, sizeof(text), "%*" PRId64, n.width, n.value);
    luaL_addlstring(b, text, (size_t)len);
    return true;
}

static bool add_conversion(luaL_Buffer *b, const struct date *d, char c)
{
    const char *s = expansion_of(c);
    if (s == NULL) {
        return add_simple(b, d, c);
    }
    for (; *s != '\0'; s++) {
        if (*s == '%') {
            add_simple(b, d, *++s);
        } else {
            luaL_addchar(b, *s);
        }
    }
    return true;
}

/* "%Ex" and "%Ox" ask for a locale's other digits, which the C locale has
 * none of: the conversion behind the letter, where the two go together. */
static bool is_modified(const char *s, size_t left)
{
    return left >= 2 &&
           ((s[0] == 'E' && memchr("cCxXyY", s[1], 6) != NULL) ||
               (s[0] == 'O' && memchr("deHImMSuUVwWy", s[1], 13) != NULL));
}

static int push_formatted(
    lua_State *L, const struct date *d, const char *s, const char *end)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    while (s < end) {
        if (*s != '%') {
            luaL_addchar(&b, *s++);
            continue;
        }
        s++;
        if (is_modified(s, (size_t)(end - s))) {
            s++;
        }
        if (s == end || !add_conversion(&b, d, *s)) {
            char c[2] = {s < end ? *s : '\0', '\0'};
            return luaL_argerror(L, 1,
                lua_pushfstring(L, "invalid conversion specifier '%%%s'", c));
        }
        s++;
    }
    luaL_pushresult(&b);
    return 1;
}

int sandbox_os_date(lua_State *L)
{
    size_t len;
    const char *s = luaL_optlstring(L, 1, "%c", &len);
    const char *end = s + len;
    lua_Integer t = lua_isnoneornil(L, 2) ? (lua_Integer)time(NULL)
                                          : luaL_checkinteger(L, 2);
    struct date d;
    luaL_argcheck(
        L, t >= -TIME_MAX && t <= TIME_MAX, 2, "time is out of bounds");
    date_from_seconds(t, &d);
    check_year(L, &d);
    if (s < end && *s == '!') {
        s++;
    }
    if (end - s == 2 && memcmp(s, "*t", 2) == 0) {
        lua_createtable(L, 0, 9);
        set_date(L, &d);
        return 1;
    }
    return push_formatted(L, &d, s, end);
}
