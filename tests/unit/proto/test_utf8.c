/* test_utf8.c -- exhaustive where that is cheap: every sequence of up to
 * three bytes, and every pair of first bytes of four, against a decoder that
 * is slow and plain. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "proto/utf8.h"
#include <stdlib.h>
#include <string.h>

/* RFC 3629 by the book: decode a number, then ask whether it may be. Returns
 * the bytes of the character, 0 if it is cut off, -1 if it is wrong. */
static int slow_char(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int bytes = p[0] < 0x80           ? 1
                : (p[0] >> 5) == 0x06 ? 2
                : (p[0] >> 4) == 0x0e ? 3
                : (p[0] >> 3) == 0x1e ? 4
                                      : -1;
    if (bytes <= 1) {
        return bytes;
    }
    uint32_t v = p[0] & (0xffu >> (bytes + 1));
    for (int i = 1; i < bytes; i++) {
        if ((size_t)i == n) {
            return 0;
        }
        if ((p[i] & 0xc0) != 0x80) {
            return -1;
        }
        v = v << 6 | (p[i] & 0x3f);
    }
    if (v < least[bytes] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) {
        return -1;
    }
    return bytes;
}

static bool slow_is_valid(const uint8_t *p, size_t n)
{
    while (n > 0) {
        int bytes = slow_char(p, n);
        if (bytes <= 0) {
            return false;
        }
        p += bytes;
        n -= (size_t)bytes;
    }
    return true;
}

/* Can some continuation make these bytes valid? Tried out, not reasoned. */
static bool slow_has_hope(const uint8_t *p, size_t n)
{
    while (n > 0) {
        int bytes = slow_char(p, n);
        if (bytes < 0) {
            return false;
        }
        if (bytes == 0) {
            break;
        }
        p += bytes;
        n -= (size_t)bytes;
    }
    if (n == 0) {
        return true;
    }
    static const uint8_t ends[] = {0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf};
    for (size_t more = 1; more <= 3; more++) {
        for (size_t i = 0; i < sizeof(ends); i++) {
            uint8_t t[8] = {0};
            memcpy(t, p, n);
            memset(t + n, 0x80, more);
            t[n] = ends[i];
            if (slow_is_valid(t, n + more)) {
                return true;
            }
        }
    }
    return false;
}

/* At every way to cut p[0..n) in two: the same answer, and failure exactly
 * when hope is lost. */
static void check(const uint8_t *p, size_t n)
{
    bool valid = slow_is_valid(p, n);
    bool hope = slow_has_hope(p, n);
    assert_int_equal(utf8_is_valid(p, n), valid);
    for (size_t cut = 0; cut <= n; cut++) {
        uint32_t state = UTF8_START;
        bool ok = utf8_feed(&state, p, cut);
        ok = ok && utf8_feed(&state, p + cut, n - cut);
        assert_int_equal(ok, hope);
        if (ok) {
            assert_int_equal(state == UTF8_START, valid);
        }
    }
}

static void every_sequence_of_up_to_three_bytes_is_judged_as_rfc3629_says(
    void **s)
{
    (void)s;
    uint8_t b[3];
    for (unsigned v = 0; v < 1u << 24; v++) {
        b[0] = (uint8_t)(v >> 16);
        b[1] = (uint8_t)(v >> 8);
        b[2] = (uint8_t)v;
        uint32_t state = UTF8_START;
        bool fast = utf8_feed(&state, b, 3) && state == UTF8_START;
        if (fast != slow_is_valid(b, 3)) {
            print_message("%02x %02x %02x\n", b[0], b[1], b[2]);
            fail();
        }
        if (b[2] == 0x80 || b[2] == 0xbf || b[2] == 'a') {
            check(b, 1);
            check(b, 2);
            check(b, 3);
        }
    }
}

static void every_first_pair_of_four_bytes_fails_where_hope_ends(void **s)
{
    (void)s;
    static const uint8_t tails[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    uint8_t b[4];
    for (unsigned v = 0; v < 1u << 16; v++) {
        b[0] = (uint8_t)(v >> 8);
        b[1] = (uint8_t)v;
        for (size_t i = 0; i < sizeof(tails); i++) {
            for (size_t j = 0; j < sizeof(tails); j++) {
                b[2] = tails[i];
                b[3] = tails[j];
                check(b, 4);
            }
        }
    }
}

static void surrogates_and_overlong_forms_fail_at_their_second_byte(void **s)
{
    (void)s;
    static const uint8_t wrong[][2] = {
        {0xed, 0xa0}, {0xe0, 0x9f}, {0xf0, 0x8f}, {0xf4, 0x90}, {0xc3, 0x28}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint32_t state = UTF8_START;
        assert_true(utf8_feed(&state, wrong[i], 1));
        assert_false(utf8_feed(&state, wrong[i] + 1, 1));
    }
    static const uint8_t never[] = {0x80, 0xbf, 0xc0, 0xc1, 0xf5, 0xff};
    for (size_t i = 0; i < sizeof(never); i++) {
        uint32_t state = UTF8_START;
        assert_false(utf8_feed(&state, never + i, 1));
    }
}

/* One wrong or wide character at every place of a long ASCII text: the word
 * loop must neither miss it nor start it in the wrong place. */
static void a_wide_character_is_seen_at_every_offset_of_a_long_text(void **s)
{
    (void)s;
    static const char *const wide[] = {
        "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x8c\x99", "\xff", "\xed\xa0\x80"};
    for (size_t k = 0; k < sizeof(wide) / sizeof(wide[0]); k++) {
        size_t len = strlen(wide[k]);
        for (size_t n = len; n <= 70; n++) {
            for (size_t at = 0; at + len <= n; at++) {
                /* Of its exact size, so that a read past it is caught. */
                uint8_t *t = malloc(n);
                assert_non_null(t);
                memset(t, 'x', n);
                memcpy(t + at, wide[k], len);
                check(t, n);
                free(t);
            }
        }
    }
}

static void a_character_may_be_fed_byte_by_byte(void **s)
{
    (void)s;
    const uint8_t text[] = "z\xc3\x9f\xe6\xb0\xb4\xf0\x9d\x84\x8b";
    uint32_t state = UTF8_START;
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        assert_true(utf8_feed(&state, text + i, 1));
    }
    assert_int_equal(state, UTF8_START);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            every_sequence_of_up_to_three_bytes_is_judged_as_rfc3629_says),
        cmocka_unit_test(every_first_pair_of_four_bytes_fails_where_hope_ends),
        cmocka_unit_test(
            surrogates_and_overlong_forms_fail_at_their_second_byte),
        cmocka_unit_test(
            a_wide_character_is_seen_at_every_offset_of_a_long_text),
        cmocka_unit_test(a_character_may_be_fed_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
