#include "base/err.h"
#include "base/units.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct example {
    const char *text;
    uint64_t value;
};

static void sizes_are_read_as_people_write_them(void **state)
{
    (void)state;
    static const struct example good[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"1k", 1024},
        {"1KB", 1024},
        {"64 KiB", 64 * 1024},
        {"64\tkib", 64 * 1024},
        {"  7 MB  ", 7 * 1024 * 1024},
        {"1m", 1024 * 1024},
        {"1MiB", 1024 * 1024},
        {"1.5K", 1536},
        {"0.5MB", 512 * 1024},
        {"1.3MB", 1363148},
        {"2G", UINT64_C(2) << 30},
        {"2gIb", UINT64_C(2) << 30},
        {"18446744073709551615", UINT64_MAX},
        {"17179869183GB", UINT64_C(17179869183) << 30},
        {"000001", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t v = 12345;
        assert_int_equal(units_parse_bytes(good[i].text, &v), 0);
        assert_int_equal(v, good[i].value);
    }
}

static void times_are_read_as_people_write_them(void **state)
{
    (void)state;
    static const struct example good[] = {
        {"30s", 30000},
        {"100ms", 100},
        {"5m", 300000},
        {"1.5h", 5400000},
        {"1d", 86400000},
        {"30", 30000},
        {"0", 0},
        {"0s", 0},
        {"0.25", 250},
        {" 2 h ", 7200000},
        {"0.1s", 100},
        {"0.0019s", 1},
        {"18446744073709551615ms", UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t v = 12345;
        assert_int_equal(units_parse_ms(good[i].text, &v), 0);
        assert_int_equal(v, good[i].value);
    }
}

static void what_is_neither_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"", " ", "x", "k", "s", "-1", "+1", "1 2",
        "1kk", "1.", ".5", "1.5.5", "1e3", "0x10", "1,5", "1 k b", "1k!",
        "1kilobyte", "1\n", "1KIBIBYTES", "\xff", "1\xc2\xa0k", "1/2",
        "18446744073709551616", "99999999999999999999999", "1.1234567891k"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t v = 12345;
        assert_int_equal(units_parse_bytes(bad[i], &v), ERR_SYNTAX);
        assert_int_equal(units_parse_ms(bad[i], &v), ERR_SYNTAX);
        assert_int_equal(v, 12345);
    }
    uint64_t v = 12345;
    assert_int_equal(units_parse_bytes("1s", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_bytes("1T", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_ms("1k", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_ms("1H", &v), ERR_SYNTAX);
    assert_int_equal(v, 12345);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    uint64_t v = 1;
    assert_int_equal(units_parse_bytes("17179869184GB", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_ms("213503982335d", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_ms("213503982334d", &v), 0);
    assert_int_equal(units_parse_ms("18446744073709551.616", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_ms("18446744073709551.615", &v), 0);
    assert_int_equal(v, UINT64_MAX);
}

static void something_is_never_rounded_to_nothing(void **state)
{
    (void)state;
    uint64_t v = 1;
    assert_int_equal(units_parse_ms("0.9ms", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_ms("0.0001s", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_bytes("0.5", &v), ERR_SYNTAX);
    assert_int_equal(units_parse_bytes("0.0", &v), 0);
    assert_int_equal(v, 0);
}

static const char *const settings[] = {
    "memory", "message", "clients", "cpu", "ping", "origins", "on"};

static void expect(const char *word, const char *wanted)
{
    const char *got = units_suggest(word, settings, ARRAY_LEN(settings));
    if (wanted == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, wanted);
    }
}

static void what_is_written_is_short_and_reads_back(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        const char *bytes;
        const char *ms;
    } cases[] = {
        {0, "0", "0ms"},
        {1, "1", "1ms"},
        {1000, "1000", "1s"},
        {1023, "1023", "1023ms"},
        {1024, "1KB", "1024ms"},
        {60000, "60000", "1m"},
        {90000, "90000", "90s"},
        {86400000, "84375KB", "1d"},
        {67108864, "64MB", "67108864ms"},
        {1073741824, "1GB", "1073741824ms"},
        {UINT64_MAX, "18446744073709551615", "18446744073709551615ms"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[UNITS_TEXT_BYTES];
        uint64_t back = 1;
        units_write_bytes(cases[i].value, text);
        assert_string_equal(text, cases[i].bytes);
        assert_int_equal(units_parse_bytes(text, &back), 0);
        assert_true(back == cases[i].value);
        units_write_ms(cases[i].value, text);
        assert_string_equal(text, cases[i].ms);
        assert_int_equal(units_parse_ms(text, &back), 0);
        assert_true(back == cases[i].value);
    }
}

static void a_slip_of_the_keys_finds_the_word_that_was_meant(void **state)
{
    (void)state;
    expect("memory", "memory");
    expect("Memory", "memory");
    expect("memroy", "memory");
    expect("memor", "memory");
    expect("mesage", "message");
    expect("messsage", "message");
    expect("clinets", "clients");
    expect("cleints", "clients");
    expect("pnig", "ping");
    expect("orgins", "origins");
    expect("cpus", "cpu");
}

static void a_word_that_is_far_from_all_finds_none(void **state)
{
    (void)state;
    expect("", NULL);
    expect("x", NULL);
    expect("timeout", NULL);
    expect("pong_wait", NULL);
    expect("xyz", NULL);
    assert_null(units_suggest("memory", settings, 0));
}

static void overlong_words_are_nobody(void **state)
{
    (void)state;
    char word[65];
    memset(word, 'a', sizeof(word));
    word[64] = '\0';
    const char *const words[] = {word, word + 1};
    assert_null(units_suggest(word, words, 2));
    assert_ptr_equal(units_suggest(word + 1, words, 2), word + 1);
    assert_ptr_equal(units_suggest(word + 2, words, 2), word + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_as_people_write_them),
        cmocka_unit_test(times_are_read_as_people_write_them),
        cmocka_unit_test(what_is_neither_is_refused_and_changes_nothing),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(something_is_never_rounded_to_nothing),
        cmocka_unit_test(what_is_written_is_short_and_reads_back),
        cmocka_unit_test(a_slip_of_the_keys_finds_the_word_that_was_meant),
        cmocka_unit_test(a_word_that_is_far_from_all_finds_none),
        cmocka_unit_test(overlong_words_are_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
