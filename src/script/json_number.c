/* json_number.c -- numbers as JSON text and back, so that what is written
 * reads back the same.
 *
 * Most floats in messages have few digits (prices, coordinates). Both ways
 * have a quick path for those, which is exact because everything in it fits
 * into a double's 53 bits; the others take the C library's strtod() and
 * snprintf(), whose decimal point is a point: the server never calls
 * setlocale(). */
#include "script/json_priv.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From here on an exponent is only large: no text is long enough for its
 * fraction to make up for it. */
#define EXPONENT_MAX 1000000000000

/* Exact powers of ten. */
static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8,
    1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22};

/* Reading */

struct number {
    uint64_t mantissa; /* of all digits, while they fit */
    int64_t digits;    /* that it has; leading zeros do not count */
    int64_t scale;     /* digits behind the point */
    int64_t exponent;
    bool is_float;
    bool is_negative;
};

struct scanner {
    const char *p;
    const char *end;
    const char *error;
};

static bool fail(struct scanner *s, const char *error)
{
    s->error = error;
    return false;
}

static char peek(const struct scanner *s)
{
    return s->p < s->end ? *s->p : '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One digit or more. */
static bool take_digits(struct scanner *s, struct number *n)
{
    if (!is_digit(peek(s))) {
        return fail(s, "expected a digit");
    }
    for (; is_digit(peek(s)); s->p++) {
        unsigned digit = (unsigned)(*s->p - '0');
        if (n->digits > 0 || digit != 0) {
            n->digits++;
        }
        if (n->digits <= 19) {
            n->mantissa = n->mantissa * 10 + digit;
        }
    }
    return true;
}

static bool take_exponent(struct scanner *s, struct number *n)
{
    bool is_negative = peek(s) == '-';
    if (is_negative || peek(s) == '+') {
        s->p++;
    }
    if (!is_digit(peek(s))) {
        return fail(s, "expected a digit");
    }
    for (; is_digit(peek(s)); s->p++) {
        if (n->exponent < EXPONENT_MAX) {
            n->exponent = n->exponent * 10 + (*s->p - '0');
        }
    }
    n->exponent = is_negative ? -n->exponent : n->exponent;
    return true;
}

/* RFC 8259, 6. */
static bool scan(struct scanner *s, struct number *n)
{
    *n = (struct number){.is_negative = peek(s) == '-'};
    if (n->is_negative) {
        s->p++;
    }
    const char *first = s->p;
    if (!take_digits(s, n)) {
        return false;
    }
    if (*first == '0' && s->p - first > 1) {
        s->p = first;
        return fail(s, "a number must not begin with a zero");
    }
    if (peek(s) == '.') {
        n->is_float = true;
        const char *fraction = ++s->p;
        if (!take_digits(s, n)) {
            return false;
        }
        n->scale = s->p - fraction;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        n->is_float = true;
        s->p++;
        return take_exponent(s, n);
    }
    return true;
}

/* Both the digits and the power of ten are exact as doubles, so the one
 * multiplication or division rounds once: the result is the nearest. */
static bool is_quick_float(const struct number *n, double *value)
{
    int64_t power = n->exponent - n->scale;
    if (n->digits > 15 || power < -22 || power > 22) {
        return false;
    }
    double m = (double)n->mantissa;
    m = power < 0 ? m / powers[-power] : m * powers[power];
    *value = n->is_negative ? -m : m;
    return true;
}

/* strtod() of what scan() found to be a number, so it can only stop where we
 * want it to; at the end of the text it needs a NUL to stop at. */
static double slow_float(
    lua_State *L, const char *text, const char *number_end, const char *end)
{
    if (number_end < end) {
        return strtod(text, NULL);
    }
    lua_pushlstring(L, text, (size_t)(number_end - text));
    double value = strtod(lua_tostring(L, -1), NULL);
    lua_pop(L, 1);
    return value;
}

bool json_read_number(
    lua_State *L, const char **p, const char *end, const char **error)
{
    struct scanner s = {.p = *p, .end = end};
    struct number n;
    if (!scan(&s, &n)) {
        *p = s.p;
        *error = s.error;
        return false;
    }
    uint64_t most = (uint64_t)INT64_MAX + (n.is_negative ? 1 : 0);
    if (!n.is_float && n.digits <= 19 && n.mantissa <= most) {
        uint64_t bits = n.is_negative ? 0 - n.mantissa : n.mantissa;
        lua_pushinteger(L, (lua_Integer)bits);
        *p = s.p;
        return true;
    }
    double value;
    if (!is_quick_float(&n, &value)) {
        value = slow_float(L, *p, s.p, end);
        if (isinf(value)) {
            *error = "number is out of range";
            return false;
        }
    }
    lua_pushnumber(L, value);
    *p = s.p;
    return true;
}

/* Writing */

/* Writes the digits so that they end at `end`; returns where they begin. */
static char *put_digits(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

size_t json_put_integer(char *out, lua_Integer value)
{
    char text[24];
    char *end = text + sizeof(text);
    uint64_t bits = (uint64_t)value;
    char *p = put_digits(end, value < 0 ? 0 - bits : bits);
    if (value < 0) {
        *--p = '-';
    }
    memcpy(out, p, (size_t)(end - p));
    return (size_t)(end - p);
}

/* Writes digits / 10^places. */
static size_t put_scaled(
    char *out, uint64_t digits, int places, bool is_negative)
{
    char text[32];
    char *end = text + sizeof(text);
    char *p = end;
    for (int i = 0; i < places; i++) {
        *--p = (char)('0' + digits % 10);
        digits /= 10;
    }
    *--p = '.';
    p = put_digits(p, digits);
    if (is_negative) {
        *--p = '-';
    }
    memcpy(out, p, (size_t)(end - p));
    return (size_t)(end - p);
}

/* Writes a number that has a decimal form of at most 15 digits. 0: it has
 * none, or is too large or small for this.
 *
 * With `places` decimal places the number is an integer m below 2^53, and
 * 10^places is exact too, so m / 10^places is rounded once, as reading it is:
 * if that is the number, those are decimals that read back as it. Of 15
 * digits only the nearest m can be right: what such decimals may differ from
 * the number, and what the multiplication adds, is less than a half. The few
 * places that most numbers have are tried first, for speed only. */
static size_t put_decimal(char *out, double value)
{
    static const double limits[] = {
        1e9, 1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3};
    double size = fabs(value);
    if (size >= 1e10 || (size != 0 && size < 1e-3)) {
        return 0;
    }
    for (int places = 1; places <= 4; places++) {
        double m = floor(size * powers[places] + 0.5);
        if (m / powers[places] == size) {
            return put_scaled(out, (uint64_t)m, places, signbit(value) != 0);
        }
    }
    int places = 5;
    for (const double *limit = limits; size < *limit; limit++) {
        places++;
    }
    double m = floor(size * powers[places] + 0.5);
    if (m / powers[places] != size) {
        return 0;
    }
    uint64_t digits = (uint64_t)m;
    while (digits % 10 == 0) {
        digits /= 10;
        places--;
    }
    return put_scaled(out, digits, places, value < 0);
}

size_t json_put_float(char *out, double value)
{
    size_t quick = put_decimal(out, value);
    if (quick > 0) {
        return quick;
    }
    int n = 0;
    /* put_decimal() has tried up to 15 of most. */
    double size = fabs(value);
    int least = size >= 1e-3 && size < 1e10 ? 16 : 14;
    for (int digits = least; digits <= 17; digits++) {
        n = snprintf(out, JSON_NUMBER_BYTES, "%.*g", digits, value);
        if (strtod(out, NULL) == value) {
            break;
        }
    }
    if (strpbrk(out, ".e") == NULL) {
        memcpy(out + n, ".0", 2);
        n += 2;
    }
    return (size_t)n;
}
