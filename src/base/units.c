/* units.c -- reads and writes sizes and times as people do.
 *
 * Called while configuration and apps load. Arithmetic is in integers, so
 * what is read is exact: no floating point, no locale. A fraction is rounded
 * down to a whole byte or millisecond, but never to nothing: for a limit,
 * "0" is a special word that nobody should get by rounding. */
#include "base/units.h"
#include "base/err.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FRACTION_DIGITS 9 /* so that fraction * unit fits 64 bits */
#define SUGGEST_BYTES   63
#define KIB             UINT64_C(1024)
#define SECOND_MS       UINT64_C(1000)
#define HOUR_MS         (3600 * SECOND_MS)

/* 12.5 is {12, 5, 10}. */
struct number {
    uint64_t whole;
    uint64_t fraction;
    uint64_t per;
};

struct unit {
    const char *name;
    uint64_t factor;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t");
}

/* Digits, or digits "." digits. What follows them; NULL: no number. */
static const char *read_number(const char *s, struct number *n)
{
    *n = (struct number){.per = 1};
    if (!is_digit(*s)) {
        return NULL;
    }
    for (; is_digit(*s); s++) {
        uint64_t digit = (uint64_t)(*s - '0');
        if (__builtin_mul_overflow(n->whole, 10, &n->whole) ||
            __builtin_add_overflow(n->whole, digit, &n->whole)) {
            return NULL;
        }
    }
    if (*s != '.') {
        return s;
    }
    s++;
    if (!is_digit(*s)) {
        return NULL;
    }
    for (int i = 0; is_digit(*s); s++, i++) {
        if (i == FRACTION_DIGITS) {
            return NULL;
        }
        n->fraction = n->fraction * 10 + (uint64_t)(*s - '0');
        n->per *= 10;
    }
    return s;
}

static int multiply(const struct number *n, uint64_t factor, uint64_t *out)
{
    uint64_t v;
    if (__builtin_mul_overflow(n->whole, factor, &v) ||
        __builtin_add_overflow(v, n->fraction * factor / n->per, &v)) {
        return ERR_SYNTAX;
    }
    if (v == 0 && n->fraction != 0) {
        return ERR_SYNTAX;
    }
    *out = v;
    return 0;
}

/* Number, blanks, a unit of the list, blanks. */
static int parse(const char *s, const struct unit *units, size_t n,
    int (*compare)(const char *, const char *), uint64_t *out)
{
    struct number number;
    char name[8];
    s = read_number(skip_blanks(s), &number);
    if (s == NULL) {
        return ERR_SYNTAX;
    }
    s = skip_blanks(s);
    size_t len = strcspn(s, " \t");
    if (len >= sizeof(name) || *skip_blanks(s + len) != '\0') {
        return ERR_SYNTAX;
    }
    memcpy(name, s, len);
    name[len] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (compare(name, units[i].name) == 0) {
            return multiply(&number, units[i].factor, out);
        }
    }
    return ERR_SYNTAX;
}

int units_parse_bytes(const char *s, uint64_t *bytes)
{
    static const struct unit units[] = {
        {"", 1},
        {"b", 1},
        {"k", KIB},
        {"kb", KIB},
        {"kib", KIB},
        {"m", KIB * KIB},
        {"mb", KIB * KIB},
        {"mib", KIB * KIB},
        {"g", KIB * KIB * KIB},
        {"gb", KIB * KIB * KIB},
        {"gib", KIB * KIB * KIB},
    };
    return parse(s, units, ARRAY_LEN(units), strcasecmp, bytes);
}

int units_parse_ms(const char *s, uint64_t *ms)
{
    static const struct unit units[] = {
        {"", SECOND_MS},
        {"ms", 1},
        {"s", SECOND_MS},
        {"m", 60 * SECOND_MS},
        {"h", HOUR_MS},
        {"d", 24 * HOUR_MS},
    };
    return parse(s, units, ARRAY_LEN(units), strcmp, ms);
}

/* The first unit of the list that divides v; the last one always does. */
static void write(
    uint64_t v, const struct unit *units, char out[UNITS_TEXT_BYTES])
{
    while (v == 0 ? units->factor != 1 : v % units->factor != 0) {
        units++;
    }
    (void)snprintf(
        out, UNITS_TEXT_BYTES, "%" PRIu64 "%s", v / units->factor, units->name);
}

void units_write_bytes(uint64_t bytes, char out[UNITS_TEXT_BYTES])
{
    static const struct unit units[] = {
        {"GB", KIB * KIB * KIB}, {"MB", KIB * KIB}, {"KB", KIB}, {"", 1}};
    write(bytes, units, out);
}

void units_write_ms(uint64_t ms, char out[UNITS_TEXT_BYTES])
{
    static const struct unit units[] = {{"d", 24 * HOUR_MS}, {"h", HOUR_MS},
        {"m", 60 * SECOND_MS}, {"s", SECOND_MS}, {"ms", 1}};
    write(ms, units, out);
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* How many letters are wrong, missing, too many or swapped with a neighbour
 * (optimal string alignment); case does not count. Both words fit
 * SUGGEST_BYTES. */
static size_t distance(const char *a, const char *b)
{
    /* Rows of the table of distances between prefixes: the one before the
     * last, the last and the present one. */
    size_t rows[3][SUGGEST_BYTES + 1];
    size_t b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++) {
        rows[0][j] = j;
    }
    size_t i = 0;
    for (; a[i] != '\0'; i++) {
        size_t *now = rows[(i + 1) % 3];
        const size_t *last = rows[i % 3];
        now[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t wrong = lower(a[i]) != lower(b[j]);
            now[j + 1] = min3(last[j + 1] + 1, now[j] + 1, last[j] + wrong);
            if (i > 0 && j > 0 && lower(a[i]) == lower(b[j - 1]) &&
                lower(a[i - 1]) == lower(b[j])) {
                size_t swapped = rows[(i + 2) % 3][j - 1] + 1;
                now[j + 1] = swapped < now[j + 1] ? swapped : now[j + 1];
            }
        }
    }
    return rows[i % 3][b_len];
}

const char *units_suggest(const char *word, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t len = strlen(word);
    /* One slip in three letters, three at most: beyond that a suggestion
     * is a guess. */
    size_t limit = (len + 1) / 3;
    size_t least = (limit < 3 ? limit : 3) + 1;
    if (len > SUGGEST_BYTES) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (strlen(words[i]) > SUGGEST_BYTES) {
            continue;
        }
        size_t d = distance(word, words[i]);
        if (d < least) {
            least = d;
            best = words[i];
        }
    }
    return best;
}
