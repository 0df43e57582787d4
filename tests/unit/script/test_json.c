/* test_json.c -- the codec's corners. Texts are decoded from memory of
 * exactly their size, without a NUL, so that ASan sees a read past the end. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/err.h"
#include "base/limits.h"
#include "script/json.h"
#include "support/lua_state.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

struct bench {
    struct heap heap;
    lua_State *L;
};

static int set_up(void **state)
{
    struct bench *b = malloc(sizeof(*b));
    b->L = lua_sandboxed(&b->heap);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    lua_close(b->L);
    assert_int_equal(b->heap.live, 0);
    free(b);
    return 0;
}

static int decode(lua_State *L, const char *text, size_t len)
{
    char *exact = malloc(len > 0 ? len : 1);
    memcpy(exact, text, len);
    int top = lua_gettop(L);
    int err = json_decode(L, exact, len);
    free(exact);
    assert_int_equal(lua_gettop(L), top + 1);
    return err;
}

static void assert_refused(lua_State *L, const char *text, const char *error)
{
    if (decode(L, text, strlen(text)) != ERR_SYNTAX) {
        fail_msg("accepted: %s", text);
    }
    assert_string_equal(lua_tostring(L, -1), error);
    lua_pop(L, 1);
}

/* Decodes, encodes, and compares with `wanted`; NULL: with the text. */
static void assert_returns(lua_State *L, const char *text, const char *wanted)
{
    if (decode(L, text, strlen(text)) != 0) {
        fail_msg("refused: %s: %s", text, lua_tostring(L, -1));
    }
    int err = json_encode(L, -1);
    assert_string_equal(lua_tostring(L, -1), wanted != NULL ? wanted : text);
    assert_int_equal(err, 0);
    lua_pop(L, 2);
}

static void valid_texts_survive_a_round_trip(void **state)
{
    static const char *const same[] = {"null", "true", "false", "0", "-1",
        "9223372036854775807", "-9223372036854775808", "1.5", "-0.0", "1e+100",
        "\"\"", "\"a b\"", "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\"",
        "\"\x7f\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"", "[]", "[1,2,3]", "{}",
        "{\"a\":[{\"b\":[]}]}", "[[],{},[[]],null]", "[[[[[[1]]]]]]"};
    lua_State *L = ((struct bench *)*state)->L;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        assert_returns(L, same[i], NULL);
    }
}

static void freedoms_of_the_text_are_understood(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    assert_returns(L, " \t\r\n[ 1 , 2 ] \n", "[1,2]");
    assert_returns(L, "{ \"a\" : 1 }", "{\"a\":1}");
    assert_returns(L, "\"\\/\"", "\"/\"");
    assert_returns(L, "\"\\u00e9\\u20AC\\ud83d\\ude00\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    assert_returns(L, "\"\\uD800\\uDC00\\udbff\\udfff\"",
        "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
    assert_returns(L, "1E2", "100.0");
    assert_returns(L, "1e-2", "0.01");
    assert_returns(L, "-0", "0");
    assert_returns(L, "9223372036854775808", "9.223372036854776e+18");
    assert_returns(L, "-9223372036854775809", "-9.223372036854776e+18");
    assert_returns(L, "100000000000000000000000000000", "1e+29");
    assert_returns(L, "1e-999", "0.0");
}

static void wrong_texts_are_refused_with_the_place(void **state)
{
    static const char *const cases[][2] = {
        {"", "1:1: expected a value, but the text ends"},
        {"  ", "1:3: expected a value, but the text ends"},
        {"nul", "1:1: expected a value"},
        {"nulls", "1:5: expected the end of the text"},
        {"True", "1:1: expected a value"},
        {"'a'", "1:1: expected a value"},
        {"NaN", "1:1: expected a value"},
        {"Infinity", "1:1: expected a value"},
        {"-Infinity", "1:2: expected a digit"},
        {"+1", "1:1: expected a value"},
        {".5", "1:1: expected a value"},
        {"1.", "1:3: expected a digit, but the text ends"},
        {"1.e3", "1:3: expected a digit"},
        {"1e", "1:3: expected a digit, but the text ends"},
        {"1e+", "1:4: expected a digit, but the text ends"},
        {"-", "1:2: expected a digit, but the text ends"},
        {"01", "1:1: a number must not begin with a zero"},
        {"-01", "1:2: a number must not begin with a zero"},
        {"0x10", "1:2: expected the end of the text"},
        {"1 2", "1:3: expected the end of the text"},
        {"1e999", "1:1: number is out of range"},
        {"-1e999", "1:1: number is out of range"},
        {"[", "1:2: expected a value, but the text ends"},
        {"[1", "1:3: expected ',' or ']', but the text ends"},
        {"[1 2]", "1:4: expected ',' or ']'"},
        {"[1,]", "1:4: expected a value"},
        {"[,1]", "1:2: expected a value"},
        {"]", "1:1: expected a value"},
        {"{", "1:2: expected a string as key, but the text ends"},
        {"{a:1}", "1:2: expected a string as key"},
        {"{1:1}", "1:2: expected a string as key"},
        {"{\"a\"}", "1:5: expected ':'"},
        {"{\"a\" 1}", "1:6: expected ':'"},
        {"{\"a\":}", "1:6: expected a value"},
        {"{\"a\":1,}", "1:8: expected a string as key"},
        {"{\"a\":1 \"b\":2}", "1:8: expected ',' or '}'"},
        {"{\"a\":1]", "1:7: expected ',' or '}'"},
        {"[1}", "1:3: expected ',' or ']'"},
        {"{\n\"a\": 1,\n  \"b\": tru }", "3:8: expected a value"},
        {"[\n\n\xc3\xa9", "3:1: expected a value"},
        {"[\"\xc3\xa9\", x]", "1:7: expected a value"},
        {"\"abc", "1:5: expected '\"', but the text ends"},
        {"\"abc\\", "1:6: invalid escape, but the text ends"},
        {"\"abc\\\"", "1:7: expected '\"', but the text ends"},
        {"\"a\nb\"", "1:3: control character in a string"},
        {"\"a\x01\"", "1:3: control character in a string"},
        {"\"\\x41\"", "1:3: invalid escape"},
        {"\"\\'\"", "1:3: invalid escape"},
        {"\"\\u12\"", "1:6: expected four hex digits"},
        {"\"\\u12g4\"", "1:6: expected four hex digits"},
        {"\"\\ud800\"", "1:4: half a surrogate pair"},
        {"\"\\ud800x\"", "1:4: half a surrogate pair"},
        {"\"\\ud800\\n\"", "1:4: half a surrogate pair"},
        {"\"\\ud800\\u0041\"", "1:4: half a surrogate pair"},
        {"\"\\udc00\"", "1:4: half a surrogate pair"},
        {"\"\\udc00\\ud800\"", "1:4: half a surrogate pair"},
        {"\xef\xbb\xbf[]", "1:1: expected a value"},
        {"// x\n1", "1:1: expected a value"},
    };
    lua_State *L = ((struct bench *)*state)->L;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_refused(L, cases[i][0], cases[i][1]);
    }
    assert_int_equal(decode(L, "[]\0", 3), ERR_SYNTAX);
    assert_int_equal(decode(L, "\0", 1), ERR_SYNTAX);
    assert_int_equal(decode(L, "\"a\0b\"", 5), ERR_SYNTAX);
}

static void strings_must_be_utf8(void **state)
{
    static const char *const wrong[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf",
        "\xc3", "\xc3(", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82",
        "\xe2\x28\xa1", "\xe2\x82\x28", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf0\x9f\x98\x28",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff"};
    lua_State *L = ((struct bench *)*state)->L;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[16];
        snprintf(text, sizeof(text), "\"%s\"", wrong[i]);
        assert_refused(L, text, "1:2: invalid UTF-8");
        /* Behind an escape another function reads. */
        snprintf(text, sizeof(text), "\"\\n%s\"", wrong[i]);
        assert_refused(L, text, "1:4: invalid UTF-8");
        /* Cut off at the very end. */
        snprintf(text, sizeof(text), "\"%s", wrong[i]);
        assert_refused(L, text, "1:2: invalid UTF-8");
        lua_pushstring(L, wrong[i]);
        assert_int_equal(json_encode(L, -1), ERR_SYNTAX);
        assert_string_equal(
            lua_tostring(L, -1), "cannot encode a string is not UTF-8");
        lua_pop(L, 2);
    }
}

/* depth times "[" and "]". */
static void nest(char *text, int depth, const char *open, char close)
{
    char *p = text;
    for (int i = 0; i < depth; i++) {
        p += sprintf(p, "%s", open);
    }
    *p++ = '1';
    memset(p, close, (size_t)depth);
    p[depth] = '\0';
}

static void nesting_is_bounded_both_ways(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    char text[LIMIT_JSON_DEPTH * 8 + 64];
    nest(text, LIMIT_JSON_DEPTH, "[", ']');
    assert_returns(L, text, NULL);
    nest(text, LIMIT_JSON_DEPTH + 1, "[", ']');
    assert_refused(L, text, "1:101: nested too deep");
    nest(text, LIMIT_JSON_DEPTH, "{\"a\":", '}');
    assert_returns(L, text, NULL);
    nest(text, LIMIT_JSON_DEPTH + 1, "{\"a\":", '}');
    assert_int_equal(decode(L, text, strlen(text)), ERR_SYNTAX);

    lua_newtable(L);
    for (int i = 0; i < LIMIT_JSON_DEPTH; i++) {
        assert_int_equal(i < LIMIT_JSON_DEPTH ? json_encode(L, -1) : 0, 0);
        lua_pop(L, 1);
        lua_newtable(L);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    assert_int_equal(json_encode(L, -1), ERR_SYNTAX);
    assert_non_null(
        strstr(lua_tostring(L, -1), "tables nested too deep at ...[1][1]"));
}

static void depth_counts_levels_not_tables(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    char text[4096] = "[";
    for (int i = 0; i < 300; i++) {
        strcat(text, "[{}],");
    }
    strcat(text, "[]]");
    assert_returns(L, text, NULL);
}

static void long_tables_and_strings_arrive_whole(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    /* Around the size of a batch, and far beyond it. */
    static const int sizes[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000};
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        char *text = malloc(64 * 1024);
        char *p = text;
        for (int i = 1; i <= sizes[s]; i++) {
            p += sprintf(p, "%s%d", i > 1 ? "," : "[", i);
        }
        strcpy(p, "]");
        assert_returns(L, text, NULL);

        p = text;
        for (int i = 1; i <= sizes[s]; i++) {
            p += sprintf(p, "%s\"k%d\":%d", i > 1 ? "," : "{", i, i);
        }
        strcpy(p, "}");
        assert_int_equal(decode(L, text, strlen(text)), 0);
        for (int i = 1; i <= sizes[s]; i++) {
            char key[16];
            sprintf(key, "k%d", i);
            lua_getfield(L, -1, key);
            assert_int_equal(lua_tointeger(L, -1), i);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);

        p = text;
        p += sprintf(p, "\"");
        for (int i = 0; i < sizes[s]; i++) {
            p += sprintf(p, "abc\\n\\\"\xc3\xa9");
        }
        strcpy(p, "\"");
        assert_returns(L, text, NULL);
        free(text);
    }
}

static void the_last_of_equal_keys_wins(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    char text[4096] = "{";
    for (int i = 0; i < 100; i++) {
        sprintf(text + strlen(text), "\"a\":%d,\"k%d\":0,", i, i % 7);
    }
    strcat(text, "\"a\":\"last\"}");
    assert_int_equal(decode(L, text, strlen(text)), 0);
    lua_getfield(L, -1, "a");
    assert_string_equal(lua_tostring(L, -1), "last");
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void assert_number_survives(lua_State *L, double value)
{
    lua_pushnumber(L, value);
    assert_int_equal(json_encode(L, -1), 0);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    assert_int_equal(decode(L, text, len), 0);
    double back = lua_tonumber(L, -1);
    if (memcmp(&back, &value, sizeof(value)) != 0 || lua_isinteger(L, -1)) {
        fail_msg("%a became %s became %a", value, text, back);
    }
    lua_pop(L, 3);
}

static void every_finite_float_reads_back_the_same(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    uint64_t x = 88172645463325252ull;
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = next_random(&x);
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value)) {
            assert_number_survives(L, value);
        }
        /* What messages have: few decimal places. */
        double places[] = {1, 10, 100, 1000, 1e4, 1e5, 1e6};
        value = (double)(int64_t)(bits % 20000000000ull) / places[i % 7];
        assert_number_survives(L, i % 2 == 0 ? value : -value);
    }
}

/* The text that the contract names, made the slow way. */
static void shortest(char *text, double value)
{
    for (int digits = 14; digits <= 17; digits++) {
        sprintf(text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    if (strpbrk(text, ".e") == NULL) {
        strcat(text, ".0");
    }
}

static void assert_shortest(lua_State *L, double value)
{
    char wanted[64];
    shortest(wanted, value);
    lua_pushnumber(L, value);
    assert_int_equal(json_encode(L, -1), 0);
    assert_string_equal(lua_tostring(L, -1), wanted);
    lua_pop(L, 2);
}

static void floats_are_written_with_the_fewest_digits(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    static const double special[] = {0.0, 0.1, 0.001, 0.01, 1e10, 9999999999.9,
        1e9, 999999999.999999, 0.1 + 0.2, 1.0 / 3, 9.999999999999999,
        0.00099999999999999, 123456.789, 1e-3, 1e15, 1e17, 5e-324,
        1.7976931348623157e308, 0.30000000000000004, 4.35, 2.675, 1e22, 1e23};
    for (size_t i = 0; i < ARRAY_LEN(special); i++) {
        assert_shortest(L, special[i]);
        assert_shortest(L, -special[i]);
    }
    uint64_t x = 1234567891234567ull;
    for (int i = 0; i < 60000; i++) {
        /* Decimals of up to 16 digits, with the point anywhere. */
        char text[64];
        uint64_t r = next_random(&x);
        uint64_t limit = 1;
        for (uint64_t d = 0; d < r % 16 + 1; d++) {
            limit *= 10;
        }
        snprintf(text, sizeof(text), "%llue%d",
            (unsigned long long)(next_random(&x) % limit),
            (int)(r / 16 % 24) - 18);
        assert_shortest(L, strtod(text, NULL));
    }
}

static void numbers_read_as_strtod_reads_them(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    uint64_t x = 2463534242;
    for (int i = 0; i < 50000; i++) {
        char text[64];
        uint64_t r = next_random(&x);
        int digits = (int)(r % 19) + 1;
        uint64_t limit = 1;
        for (int d = 0; d < digits; d++) {
            limit *= 10;
        }
        snprintf(text, sizeof(text), "%s%llu.%0*llue%d", r & 1 ? "-" : "",
            (unsigned long long)(next_random(&x) % limit), (int)(r % 12) + 1,
            (unsigned long long)(next_random(&x) % 10), (int)(r % 60) - 30);
        assert_int_equal(decode(L, text, strlen(text)), 0);
        double wanted = strtod(text, NULL);
        double got = lua_tonumber(L, -1);
        assert_memory_equal(&got, &wanted, sizeof(got));
        lua_pop(L, 1);
    }
}

static void huge_exponents_and_scales_do_not_meet(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    size_t zeros = 20000;
    char *text = malloc(zeros + 64);
    strcpy(text, "0.");
    memset(text + 2, '0', zeros);
    strcpy(text + 2 + zeros, "1e20001");
    assert_int_equal(decode(L, text, strlen(text)), 0);
    assert_true(lua_tonumber(L, -1) == 1.0);
    strcpy(text + 2 + zeros, "1e20000000000000000000000");
    assert_int_equal(decode(L, text, strlen(text)), ERR_SYNTAX);
    memset(text, '9', zeros);
    strcpy(text + zeros, "e-20000");
    assert_int_equal(decode(L, text, strlen(text)), 0);
    assert_true(lua_tonumber(L, -1) == 1.0);
    free(text);
}

static void encoding_grows_past_its_first_buffer(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    lua_newtable(L);
    size_t wanted = 2;
    for (int i = 1; i <= 3000; i++) {
        lua_pushfstring(L, "item %d \"\n\x01", i);
        wanted += lua_rawlen(L, -1) + 2 + 1 + 1 + 5 + (i > 1 ? 1 : 0);
        lua_rawseti(L, -2, i);
    }
    assert_int_equal(json_encode(L, -1), 0);
    assert_int_equal(lua_rawlen(L, -1), wanted);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    assert_int_equal(decode(L, text, len), 0);
    assert_int_equal(lua_rawlen(L, -1), 3000);
    lua_rawgeti(L, -1, 3000);
    assert_string_equal(lua_tostring(L, -1), "item 3000 \"\n\x01");
}

static void long_keys_and_deep_paths_are_cut_in_errors(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    char key[1000];
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    lua_newtable(L);
    lua_pushcfunction(L, json_open);
    lua_setfield(L, -2, key);
    for (int i = 0; i < 50; i++) {
        lua_newtable(L);
        lua_insert(L, -2);
        lua_setfield(L, -2, "down");
    }
    assert_int_equal(json_encode(L, -1), ERR_SYNTAX);
    const char *error = lua_tostring(L, -1);
    assert_true(strlen(error) < 300);
    assert_non_null(strstr(error, " at ....down.down"));
    assert_non_null(strstr(error, "kkk...\"]"));
}

/* One protected use of both directions, with whatever memory there is. */
static int use_all(lua_State *L)
{
    static const char text[] =
        "{\"list\":[1,2.5,\"a\\u00e9\\n\",[],{}],\"deep\":[[[[[{\"x\":1}]]]]],"
        "\"long\":\"0123456789012345678901234567890123456789\\n\"}";
    luaL_Buffer b;
    char *p = luaL_buffinitsize(L, &b, 8192);
    size_t n = (size_t)sprintf(p, "[");
    for (int i = 0; i < 60; i++) {
        n += (size_t)sprintf(p + n, "%s%s", i > 0 ? "," : "", text);
        if (n > 8000) {
            break;
        }
    }
    p[n++] = ']';
    luaL_pushresultsize(&b, n);
    size_t len;
    const char *all = lua_tolstring(L, -1, &len);
    if (json_decode(L, all, len) != 0 || json_encode(L, -1) != 0) {
        return luaL_error(L, "wrong answer");
    }
    lua_pushliteral(L, "\"\\n"); /* an error with a buffer on the stack */
    lua_pushliteral(L, "[\"");
    lua_pushvalue(L, 1);
    lua_concat(L, 2);
    all = lua_tolstring(L, -1, &len);
    if (json_decode(L, all, len) == 0) {
        return luaL_error(L, "wrong answer");
    }
    return 0;
}

static void any_allocation_may_fail(void **state)
{
    struct bench *b = *state;
    lua_gc(b->L, LUA_GCSTOP);
    for (uint64_t n = 1; n < 5000; n++) {
        b->heap.calls = 0;
        b->heap.fail_at = n;
        lua_pushcfunction(b->L, use_all);
        int status = lua_pcall(b->L, 0, 0, 0);
        b->heap.fail_at = 0;
        if (status == LUA_OK) {
            assert_true(n > 50);
            lua_gc(b->L, LUA_GCRESTART);
            return;
        }
        /* Some of Lua's own helpers report it as an ordinary error. */
        const char *error = lua_tostring(b->L, -1);
        assert_true(strcmp(error, "not enough memory") == 0 ||
                    strstr(error, "stack overflow") != NULL);
        lua_settop(b->L, 0);
        /* The state is as good as before. */
        assert_returns(b->L, "[1,{\"a\":\"b\\n\"}]", NULL);
        lua_gc(b->L, LUA_GCCOLLECT);
    }
    fail_msg("no end");
}

static void decoding_works_before_the_library_is_open(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_bare(&heap);
    assert_returns(L, "[[],{},null]", NULL);
    lua_close(L);
}

static void the_stack_is_as_it_was_below_the_result(void **state)
{
    lua_State *L = ((struct bench *)*state)->L;
    lua_pushliteral(L, "below");
    assert_int_equal(decode(L, "[1,[2,{\"a\":3}]", 14), ERR_SYNTAX);
    assert_int_equal(lua_gettop(L), 2);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, json_open);
    lua_setfield(L, -2, "f");
    assert_int_equal(json_encode(L, -1), ERR_SYNTAX);
    assert_int_equal(lua_gettop(L), 3);
    assert_string_equal(lua_tostring(L, -1), "cannot encode a function at .f");
    assert_string_equal(lua_tostring(L, 1), "below");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(valid_texts_survive_a_round_trip),
        T(freedoms_of_the_text_are_understood),
        T(wrong_texts_are_refused_with_the_place),
        T(strings_must_be_utf8),
        T(nesting_is_bounded_both_ways),
        T(depth_counts_levels_not_tables),
        T(long_tables_and_strings_arrive_whole),
        T(the_last_of_equal_keys_wins),
        T(every_finite_float_reads_back_the_same),
        T(floats_are_written_with_the_fewest_digits),
        T(numbers_read_as_strtod_reads_them),
        T(huge_exponents_and_scales_do_not_meet),
        T(encoding_grows_past_its_first_buffer),
        T(long_keys_and_deep_paths_are_cut_in_errors),
        T(any_allocation_may_fail),
        T(decoding_works_before_the_library_is_open),
        T(the_stack_is_as_it_was_below_the_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
