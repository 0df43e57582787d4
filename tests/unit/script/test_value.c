/* test_value.c -- plain data from one state to another, and bytes that are
 * none. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "script/value.h"
#include "support/lua_state.h"
#include <stdio.h>
#include <string.h>

/* Two states: what is written in `from` is read in `to`. */
struct bench {
    struct heap from_heap;
    struct heap to_heap;
    lua_State *from;
    lua_State *to;
    struct buf buf;
};

static int set_up(void **state)
{
    struct bench *b = malloc(sizeof(*b));
    b->from = lua_sandboxed(&b->from_heap);
    b->to = lua_sandboxed(&b->to_heap);
    buf_init(&b->buf, (size_t)64 * 1024 * 1024);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    lua_close(b->from);
    lua_close(b->to);
    buf_fini(&b->buf);
    free(b);
    return 0;
}

/* Leaves the results of Lua code on the stack. */
static void run(lua_State *L, const char *code)
{
    if (sandbox_load(L, code, strlen(code), "test") != LUA_OK ||
        lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK) {
        fail_msg("%s", lua_tostring(L, -1));
    }
}

static int decode(lua_State *L, const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);
    memcpy(exact, p, n);
    int top = lua_gettop(L);
    int err = value_decode(L, exact, n);
    free(exact);
    assert_int_equal(lua_gettop(L), top + 1);
    return err;
}

/* Moves the value of an expression to the other state, as global `v`, and
 * wants `check`, code that returns a boolean, to be true there. */
static void assert_arrives(struct bench *b, const char *make, const char *check)
{
    b->buf.len = 0;
    run(b->from, make);
    int top = lua_gettop(b->from);
    if (value_encode(b->from, -1, "v", &b->buf) != 0) {
        fail_msg("%s: %s", make, lua_tostring(b->from, -1));
    }
    assert_int_equal(lua_gettop(b->from), top);
    lua_settop(b->from, 0);
    assert_int_equal(decode(b->to, b->buf.p, b->buf.len), 0);
    lua_setglobal(b->to, "v");
    run(b->to, check);
    if (!lua_toboolean(b->to, -1)) {
        fail_msg("%s arrived wrong", make);
    }
    lua_settop(b->to, 0);
}

static void scalars_arrive(void **state)
{
    struct bench *b = *state;
    assert_arrives(b, "return nil", "return v == nil");
    assert_arrives(b, "return true", "return v == true");
    assert_arrives(b, "return false", "return v == false");
    assert_arrives(b, "return json.null", "return v == json.null");
    assert_arrives(b, "return ''", "return v == ''");
    assert_arrives(b, "return 'a\\0b\\xff'", "return v == 'a\\0b\\xff'");
    static const char *const numbers[] = {"0", "1", "63", "64", "-1", "-64",
        "127", "128", "-129", "1 << 62", "math.maxinteger", "math.mininteger",
        "0.0", "1.5", "-1e300", "5e-324", "1/0", "-1/0"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char make[64];
        char check[128];
        sprintf(make, "return %s", numbers[i]);
        sprintf(check, "return v == %s and math.type(v) == math.type(%s)",
            numbers[i], numbers[i]);
        assert_arrives(b, make, check);
    }
    assert_arrives(b, "return -0.0", "return 1/v == -1/0");
    assert_arrives(b, "return 0/0", "return v ~= v");
}

static void strings_of_all_lengths_arrive(void **state)
{
    struct bench *b = *state;
    static const int lengths[] = {1, 62, 63, 64, 65, 127, 128, 16383, 16384};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char make[64];
        char check[64];
        sprintf(make, "return ('x'):rep(%d)", lengths[i]);
        sprintf(check, "return v == ('x'):rep(%d)", lengths[i]);
        assert_arrives(b, make, check);
    }
}

static void tables_arrive(void **state)
{
    struct bench *b = *state;
    assert_arrives(b, "return {}", "return next(v) == nil");
    assert_arrives(b, "return {1, 'two', false, {4}}",
        "return #v == 4 and v[2] == 'two' and v[3] == false and v[4][1] == 4");
    assert_arrives(b,
        "return {10, 20, n = 2, [true] = 'yes', [1.5] = 'x', [-1] = 'y'}",
        "return v[1] == 10 and v[2] == 20 and v.n == 2 and v[true] == 'yes'"
        " and v[1.5] == 'x' and v[-1] == 'y'");
    assert_arrives(b, "return {1, nil, 3, [1000] = 4}",
        "return v[1] == 1 and v[2] == nil and v[3] == 3 and v[1000] == 4");
    assert_arrives(b, "local t = {} for i = 1, 5000 do t[i] = i end return t",
        "for i = 1, 5000 do assert(v[i] == i) end return #v == 5000");
    assert_arrives(b,
        "local t = {} for i = 1, 500 do t['k' .. i] = {i} end return t",
        "for i = 1, 500 do assert(v['k' .. i][1] == i) end return true");
    assert_arrives(b,
        "local t = {} for i = 0, 62 do t[1 << i] = i end return t",
        "for i = 0, 62 do assert(v[1 << i] == i) end return true");
}

static void shared_and_cyclic_tables_keep_their_shape(void **state)
{
    struct bench *b = *state;
    assert_arrives(b, "local t = {} t.t = t return t", "return v.t == v");
    assert_arrives(b, "local s = {1} return {s, s, {s}}",
        "return v[1] == v[2] and v[3][1] == v[1] and v[1][1] == 1");
    assert_arrives(b, "local a, b = {}, {} a.b, b.a = b, a return {a, b, a}",
        "return v[1].b == v[2] and v[2].a == v[1] and v[3] == v[1]");
    /* The header is the last thing to know. */
    assert_arrives(b,
        "local t, last = {}, {} for i = 1, 100 do t[i] = {} end"
        " t.x = last t.y = last return t",
        "return v.x == v.y and v[1] ~= v[2]");
}

static void the_mark_of_arrays_arrives(void **state)
{
    struct bench *b = *state;
    assert_arrives(b, "return json.decode('[[],{},[1]]')",
        "return json.encode(v) == '[[],{},[1]]'");
    assert_arrives(b, "local a = json.array{} return {a, a}",
        "return v[1] == v[2] and json.encode(v) == '[[],[]]'");
}

static void keys_of_a_table_are_not_changed_by_writing(void **state)
{
    struct bench *b = *state;
    assert_arrives(b, "return {[10] = 1, [2^53] = 2}",
        "return v[10] == 1 and v[2^53] == 2 and v['10'] == nil");
}

static void what_is_not_plain_is_refused_with_its_path(void **state)
{
    static const char *const cases[][2] = {
        {"return print or tostring", "data is a function"},
        {"return {players = {{}, {}, {update = tostring}}}",
            "data.players[3].update is a function"},
        {"return {a = coroutine.create(tostring)}", "data.a is a thread"},
        {"return {setmetatable({}, {})}", "data[1] has a metatable"},
        {"return {x = {[{}] = 1}}",
            "data.x has a key that is not a string, number or boolean"},
        {"return {[json.null] = 1}",
            "data has a key that is not a string, number or boolean"},
        {"return {[true] = {[2.5] = tostring}}",
            "data[true][2.5] is a function"},
        {"return {setmetatable({}, {__index = error, __pairs = error,"
         " __len = error, __metatable = 1})}",
            "data[1] has a metatable"},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        run(b->from, cases[i][0]);
        b->buf.len = 0;
        assert_int_equal(buf_add(&b->buf, "kept", 4), 0);
        int top = lua_gettop(b->from);
        assert_int_equal(
            value_encode(b->from, -1, "data", &b->buf), ERR_SYNTAX);
        assert_int_equal(lua_gettop(b->from), top + 1);
        assert_string_equal(lua_tostring(b->from, -1), cases[i][1]);
        assert_int_equal(b->buf.len, 4);
        lua_settop(b->from, 0);
    }
}

static void push_nested(lua_State *L, int depth)
{
    lua_newtable(L);
    for (int i = 1; i < depth; i++) {
        lua_newtable(L);
        lua_insert(L, -2);
        /* Alternately as item and as field: both must count. */
        if (i % 2 == 0) {
            lua_rawseti(L, -2, 1);
        } else {
            lua_setfield(L, -2, "x");
        }
    }
}

static void nesting_is_bounded(void **state)
{
    struct bench *b = *state;
    push_nested(b->from, LIMIT_VALUE_DEPTH);
    assert_int_equal(value_encode(b->from, -1, "data", &b->buf), 0);
    assert_int_equal(decode(b->to, b->buf.p, b->buf.len), 0);
    b->buf.len = 0;
    push_nested(b->from, LIMIT_VALUE_DEPTH + 1);
    assert_int_equal(value_encode(b->from, -1, "data", &b->buf), ERR_SYNTAX);
    assert_non_null(strstr(lua_tostring(b->from, -1), "is nested too deep"));
}

static void reading_is_bounded_in_depth_as_well(void **state)
{
    struct bench *b = *state;
    /* As items, and as values of pairs with the key 0. */
    static const uint8_t item[] = {7, 1};
    static const uint8_t pair[] = {7, 0, 0xc0};
    uint8_t bytes[3 * 100000 + 1];
    bytes[0] = 1;
    for (size_t i = 0; i < 100000; i++) {
        memcpy(bytes + 1 + 2 * i, item, 2);
    }
    assert_int_equal(decode(b->to, bytes, sizeof(bytes)), ERR_SYNTAX);
    for (size_t i = 0; i < 100000; i++) {
        memcpy(bytes + 1 + 3 * i, pair, 3);
    }
    assert_int_equal(decode(b->to, bytes, sizeof(bytes)), ERR_SYNTAX);
}

static void sizes_are_bounded(void **state)
{
    struct bench *b = *state;
    struct buf small;
    buf_init(&small, 100);
    run(b->from, "return {('x'):rep(200)}");
    assert_int_equal(value_encode(b->from, -1, "data", &small), ERR_TOO_BIG);
    assert_string_equal(lua_tostring(b->from, -1), "data is too big");
    assert_int_equal(small.len, 0);
    buf_fini(&small);

    lua_settop(b->from, 0);
    run(b->from, "return ('x'):rep(16 * 1024 * 1024)");
    assert_int_equal(value_encode(b->from, -1, "data", &b->buf), ERR_TOO_BIG);
    lua_settop(b->from, 0);
    run(b->from, "return ('x'):rep(16 * 1024 * 1024 - 100)");
    assert_int_equal(value_encode(b->from, -1, "data", &b->buf), 0);
}

/* Its growing is not stopped, and copies what is there. */
static void a_buffer_that_is_not_small_grows_once_for_a_value(void **state)
{
    struct bench *b = *state;
    struct buf out;
    size_t cap = 0;
    buf_init(&out, (size_t)1 << 30);
    run(b->from, "local t = {} for i = 1, 800 do t[i] = ('x'):rep(100) end "
                 "return t");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(value_encode(b->from, -1, "data", &out), 0);
        assert_true(out.cap == cap || out.len - cap < 100000);
        cap = out.cap;
        assert_true(cap >= LIMIT_VALUE_BYTES);
    }
    buf_fini(&out);

    /* It takes no more than it may. */
    buf_init(&out, 150000);
    assert_int_equal(value_encode(b->from, -1, "data", &out), 0);
    assert_int_equal(out.cap, 150000);
    assert_int_equal(value_encode(b->from, -1, "data", &out), ERR_TOO_BIG);
    buf_fini(&out);
}

static void bytes_that_were_not_written_are_refused(void **state)
{
    static const struct {
        const char *p;
        size_t n;
    } cases[] = {
        {"", 0}, {"\x01", 1},    /* nothing */
        {"\x00\x00", 2},         /* no header */
        {"\x03\x00", 2},         /* another header */
        {"\x01\x00\x00", 3},     /* more than one value */
        {"\x01\x0a", 2},         /* an end alone */
        {"\x01\x0b", 2},         /* no tag */
        {"\x01\x7f", 2},         /* no tag */
        {"\x01\x04", 2},         /* no number */
        {"\x01\x04\x80\x80", 4}, /* half a number */
        {"\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12}, /* 65 bits */
        {"\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13},
        {"\x01\x05\x00\x00\x00\x00\x00\x00\x00", 9}, /* half a float */
        {"\x01\x06\x05hell", 7},                     /* a string cut off */
        {"\x01\x06\xff\xff\xff\xff\x0f", 7},         /* a length of 4 GiB */
        {"\x01\x82h", 3},                        /* a short string cut off */
        {"\x01\x07\x00", 3},                     /* no end */
        {"\x01\x07\x02\xc1", 4},                 /* items missing */
        {"\x01\x07\xff\xff\xff\x7f\xc1\x0a", 8}, /* 268 million items */
        {"\x01\x07\x00\x00\xc1\x0a", 6},         /* nil as key */
        {"\x01\x07\x00\x07\x00\x0a\xc1\x0a", 8}, /* a table as key */
        {"\x01\x07\x00\x03\xc1\x0a", 6},         /* null as key */
        {"\x01\x07\x00\x05\x00\x00\x00\x00\x00\x00\xf8\x7f\xc1\x0a", 14},
        {"\x01\x07\x01\x09\x00\x0a", 6}, /* no references promised */
        {"\x02\x09\x00", 3},             /* to no table */
        {"\x02\x07\x01\x09\x01\x0a", 6}, /* to a later table */
        {"\x02\x07\x01\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a", 15},
        {"\x02\x07\x00\x09\x00\xc1\x0a", 7}, /* a reference as key */
    };
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const uint8_t *p = (const uint8_t *)cases[i].p;
        if (decode(b->to, p, cases[i].n) != ERR_SYNTAX) {
            fail_msg("case %zu was accepted", i);
        }
        assert_string_equal(lua_tostring(b->to, -1), "not a value's bytes");
        lua_settop(b->to, 0);
    }
}

static const char rich[] =
    "local s = {x = 1} return {1, -500, 2.5, 'short', ('long'):rep(50), true,"
    " json.null, {a = {b = {c = {}}}}, s, s, json.array{1, {}}, n = false}";

static void a_truncated_or_changed_value_never_harms(void **state)
{
    struct bench *b = *state;
    run(b->from, rich);
    assert_int_equal(value_encode(b->from, -1, "v", &b->buf), 0);
    for (size_t n = 0; n < b->buf.len; n++) {
        assert_int_equal(decode(b->to, b->buf.p, n), ERR_SYNTAX);
        lua_settop(b->to, 0);
    }
    for (size_t i = 0; i < b->buf.len; i++) {
        uint8_t was = b->buf.p[i];
        for (unsigned byte = 0; byte < 256; byte++) {
            b->buf.p[i] = (uint8_t)byte;
            (void)decode(b->to, b->buf.p, b->buf.len);
            lua_settop(b->to, 0);
        }
        b->buf.p[i] = was;
    }
    assert_int_equal(decode(b->to, b->buf.p, b->buf.len), 0);
}

static void claims_of_length_cost_no_memory(void **state)
{
    struct bench *b = *state;
    /* Many tables inside each other, each of which says that all bytes that
     * follow are its items. */
    size_t n = (size_t)1024 * 1024;
    uint8_t *bytes = malloc(n);
    memset(bytes, 0, n);
    bytes[0] = 1;
    for (size_t i = 0; i < 90; i++) {
        memcpy(bytes + 1 + 4 * i, "\x07\x80\x80\x3c", 4);
    }
    b->to_heap.cap = (size_t)4 * 1024 * 1024;
    assert_int_equal(decode(b->to, bytes, 1000), ERR_SYNTAX);
    assert_int_equal(decode(b->to, bytes, n - 300000), ERR_SYNTAX);
    free(bytes);
}

static int encode_in_pcall(lua_State *L)
{
    struct buf *buf = lua_touserdata(L, 2);
    lua_pushinteger(L, value_encode(L, 1, "v", buf));
    return 1;
}

static int decode_in_pcall(lua_State *L)
{
    struct buf *buf = lua_touserdata(L, 1);
    lua_pushinteger(L, value_decode(L, buf->p, buf->len));
    return 1;
}

static void any_allocation_of_the_state_may_fail(void **state)
{
    struct bench *b = *state;
    lua_State *L = b->from;
    uint64_t n = 1;
    for (int status = LUA_ERRMEM; status != LUA_OK; n++) {
        run(L, rich);
        lua_gc(L, LUA_GCSTOP);
        b->buf.len = 0;
        lua_pushcfunction(L, encode_in_pcall);
        lua_insert(L, 1);
        lua_pushlightuserdata(L, &b->buf);
        b->from_heap.calls = 0;
        b->from_heap.fail_at = n;
        status = lua_pcall(L, 2, 1, 0);
        b->from_heap.fail_at = 0;
        assert_true(status == LUA_OK || status == LUA_ERRMEM);
        lua_gc(L, LUA_GCRESTART);
        lua_settop(L, 0);
    }
    assert_true(n > 5);
    L = b->to;
    n = 1;
    for (int status = LUA_ERRMEM; status != LUA_OK; n++) {
        lua_gc(L, LUA_GCSTOP);
        lua_pushcfunction(L, decode_in_pcall);
        lua_pushlightuserdata(L, &b->buf);
        b->to_heap.calls = 0;
        b->to_heap.fail_at = n;
        status = lua_pcall(L, 1, 1, 0);
        b->to_heap.fail_at = 0;
        assert_true(status == LUA_OK || status == LUA_ERRMEM);
        lua_gc(L, LUA_GCRESTART);
        lua_settop(L, 0);
    }
    assert_true(n > 10);
    assert_arrives(b, rich, "return v[9] == v[10] and v[9].x == 1");
}

static void any_allocation_of_the_buffer_may_fail(void **state)
{
    struct bench *b = *state;
    run(b->from, rich);
    for (uint64_t n = 1;; n++) {
        struct buf buf;
        buf_init(&buf, 1 << 20);
        mem_fail_at(n);
        int err = value_encode(b->from, 1, "v", &buf);
        mem_fail_at(0);
        assert_int_equal(buf.len > 0, err == 0);
        buf_fini(&buf);
        if (err == 0) {
            assert_true(n > 2);
            return;
        }
        assert_int_equal(err, ERR_NOMEM);
        assert_string_equal(
            lua_tostring(b->from, -1), "v does not fit into memory");
        lua_settop(b->from, 1);
    }
}

static void a_value_stands_behind_what_the_buffer_held(void **state)
{
    struct bench *b = *state;
    run(b->from, "local t = {} t.t = t return t");
    assert_int_equal(buf_add(&b->buf, "\x01\x02\x03", 3), 0);
    assert_int_equal(value_encode(b->from, -1, "v", &b->buf), 0);
    assert_memory_equal(b->buf.p, "\x01\x02\x03", 3);
    assert_int_equal(decode(b->to, b->buf.p + 3, b->buf.len - 3), 0);
    lua_getfield(b->to, -1, "t");
    assert_true(lua_rawequal(b->to, -1, -2));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(scalars_arrive),
        T(strings_of_all_lengths_arrive),
        T(tables_arrive),
        T(shared_and_cyclic_tables_keep_their_shape),
        T(the_mark_of_arrays_arrives),
        T(keys_of_a_table_are_not_changed_by_writing),
        T(what_is_not_plain_is_refused_with_its_path),
        T(nesting_is_bounded),
        T(reading_is_bounded_in_depth_as_well),
        T(sizes_are_bounded),
        T(a_buffer_that_is_not_small_grows_once_for_a_value),
        T(bytes_that_were_not_written_are_refused),
        T(a_truncated_or_changed_value_never_harms),
        T(claims_of_length_cost_no_memory),
        T(any_allocation_of_the_state_may_fail),
        T(any_allocation_of_the_buffer_may_fail),
        T(a_value_stands_behind_what_the_buffer_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
