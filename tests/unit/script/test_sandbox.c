/* test_sandbox.c -- what of the sandbox cannot be seen from inside it: the
 * specs in tests/lua try the rest. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "script/sandbox.h"
#include "support/lua_state.h"
#include <stdio.h>
#include <string.h>

static int load(lua_State *L, const char *source)
{
    return sandbox_load(L, source, strlen(source), "main.lua");
}

/* Runs code and returns its first result, or its error, as a string. */
static const char *run(lua_State *L, const char *source)
{
    if (load(L, source) == LUA_OK) {
        lua_pcall(L, 0, 1, 0);
    }
    return lua_tostring(L, -1);
}

static void opening_leaves_the_stack_alone(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_bare(&heap);
    lua_pushliteral(L, "below");
    lua_pushcfunction(L, sandbox_open);
    assert_int_equal(lua_pcall(L, 0, LUA_MULTRET, 0), LUA_OK);
    assert_int_equal(lua_gettop(L), 1);
    lua_close(L);
    assert_int_equal(heap.live, 0);
}

static void errors_name_the_file_and_the_line(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    assert_string_equal(
        run(L, "local x = 1\nerror('oops')"), "main.lua:2: oops");
    assert_string_equal(
        run(L, "\n\nx = = 1"), "main.lua:3: unexpected symbol near '='");
    assert_string_equal(run(L, "return nil + 1"),
        "main.lua:1: attempt to perform arithmetic on a nil value");
    lua_close(L);
}

static void loading_pushes_one_value_and_says_how_it_went(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    assert_int_equal(load(L, "return 1"), LUA_OK);
    assert_int_equal(lua_gettop(L), 1);
    assert_true(lua_isfunction(L, 1));
    assert_int_equal(load(L, "return +"), LUA_ERRSYNTAX);
    assert_int_equal(lua_gettop(L), 2);
    assert_true(lua_isstring(L, 2));
    lua_close(L);
}

static void marks_and_script_lines_at_the_start_are_skipped(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    assert_string_equal(run(L, "\xef\xbb\xbfreturn 'x'"), "x");
    assert_string_equal(run(L, "#!/usr/bin/lua\nerror('x')"), "main.lua:2: x");
    assert_string_equal(run(L, "\xef\xbb\xbf#x\nerror('x')"), "main.lua:2: x");
    assert_int_equal(load(L, "#only this"), LUA_OK);
    assert_int_equal(load(L, ""), LUA_OK);
    assert_int_equal(load(L, "\xef\xbb"), LUA_ERRSYNTAX);
    lua_close(L);
}

static int collect_bytes(lua_State *L, const void *p, size_t n, void *ud)
{
    (void)L;
    luaL_addlstring(ud, p, n);
    return 0;
}

static void binary_chunks_are_refused(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    assert_int_equal(load(L, "return 1"), LUA_OK);
    luaL_Buffer b;
    lua_State *other = luaL_newstate();
    luaL_loadstring(other, "return 1");
    luaL_buffinit(L, &b);
    lua_dump(other, collect_bytes, &b, 0);
    lua_close(other);
    luaL_pushresult(&b);
    size_t len;
    const char *bytes = lua_tolstring(L, -1, &len);
    assert_int_equal(bytes[0], '\x1b');
    assert_int_equal(sandbox_load(L, bytes, len, "main.lua"), LUA_ERRSYNTAX);
    assert_non_null(strstr(lua_tostring(L, -1), "binary chunk"));
    /* And through what a script can call. */
    lua_pushlstring(L, bytes, len);
    lua_setglobal(L, "bytes");
    assert_string_equal(run(L, "return tostring(load(bytes))"), "nil");
    assert_string_equal(
        run(L, "return tostring(load(bytes, 'x', 'b'))"), "nil");
    lua_close(L);
}

static void states_share_nothing(void **state)
{
    (void)state;
    struct heap heaps[2];
    lua_State *a = lua_sandboxed(&heaps[0]);
    lua_State *b = lua_sandboxed(&heaps[1]);
    run(a, "string.upper = nil math.pi = 3 x = 1 json.null = 5"
           " os.time = nil debug.traceback = nil");
    assert_string_equal(
        run(b, "return ('x'):upper() .. tostring(math.pi == 3)"
               " .. tostring(x) .. tostring(json.null) .. type(os.time)"),
        "Xfalsenilnullfunction");
    lua_close(a);
    lua_close(b);
}

static void states_roll_different_dice(void **state)
{
    (void)state;
    struct heap heaps[2];
    lua_State *a = lua_sandboxed(&heaps[0]);
    lua_State *b = lua_sandboxed(&heaps[1]);
    const char *roll = "return math.random(0) .. ' ' .. math.random(0)";
    assert_string_not_equal(run(a, roll), run(b, roll));
    lua_close(a);
    lua_close(b);
}

static void text_for_the_log_has_no_addresses(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    lua_newtable(L);
    size_t len;
    const char *text = sandbox_tostring(L, -1, &len);
    assert_int_equal(lua_gettop(L), 2);
    assert_string_equal(text, "table: 1");
    assert_int_equal(len, 8);
    assert_string_equal(sandbox_tostring(L, 1, NULL), "table: 1");
    lua_pushinteger(L, 5);
    assert_string_equal(sandbox_tostring(L, -1, NULL), "5");
    assert_true(lua_isinteger(L, -2)); /* not changed in place */
    lua_newuserdatauv(L, 1, 0);
    assert_string_equal(sandbox_tostring(L, -1, NULL), "userdata: 2");
    lua_pushlightuserdata(L, &len);
    /* Light userdata is json.null's type, and called so. */
    assert_string_equal(sandbox_tostring(L, -1, NULL), "null");
    lua_close(L);
}

static void tracebacks_name_the_functions_of_scripts(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    const char *trace = run(L, "function on_message()\n"
                               "  return debug.traceback('here')\n"
                               "end\n"
                               "local s = on_message()\n"
                               "return s");
    assert_non_null(strstr(trace, "main.lua:2: in function 'on_message'"));
    lua_close(L);
}

static int open_and_use(lua_State *L)
{
    lua_pushcfunction(L, sandbox_open);
    lua_call(L, 0, 0);
    return 0;
}

static void any_allocation_may_fail_while_opening(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 10000; n++) {
        struct heap heap;
        lua_State *L = lua_bare(&heap);
        heap.calls = 0;
        heap.fail_at = n;
        lua_pushcfunction(L, open_and_use);
        int status = lua_pcall(L, 0, 0, 0);
        lua_close(L);
        assert_int_equal(heap.live, 0);
        if (status == LUA_OK) {
            assert_true(n > 100);
            return;
        }
    }
    fail_msg("no end");
}

static const char work[] =
    "local text = {} "
    "for i = 1, 20 do "
    "  local co = coroutine.wrap(function(a) "
    "    local b = coroutine.yield(a .. i) "
    "    return xpcall(error, debug.traceback, tostring({}) .. b) "
    "  end) "
    "  text[#text + 1] = co('x') "
    "  co('y') "
    "  table.insert(text, string.format('%s %p %5d', text, text, i)) "
    "end "
    "assert(load('return 1')()) "
    "local co = coroutine.create(function() "
    "  local x <close> = setmetatable({}, {__close = function() end}) "
    "  coroutine.yield() "
    "end) "
    "coroutine.resume(co) coroutine.close(co) "
    "text[#text + 1] = os.date('!%c') .. os.time{year=2024, month=1, day=1} "
    "return #table.concat(text, ','):rep(100)";

static void any_allocation_may_fail_later(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_sandboxed(&heap);
    lua_gc(L, LUA_GCSTOP);
    for (uint64_t n = 1; n < 20000; n++) {
        assert_int_equal(load(L, work), LUA_OK);
        heap.calls = 0;
        heap.fail_at = n;
        int status = lua_pcall(L, 0, 1, 0);
        heap.fail_at = 0;
        lua_settop(L, 0);
        lua_gc(L, LUA_GCCOLLECT);
        if (status == LUA_OK) {
            assert_true(n > 100);
            break;
        }
    }
    assert_int_equal(load(L, work), LUA_OK);
    assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_OK);
    lua_close(L);
    assert_int_equal(heap.live, 0);
}

static void a_state_takes_little_memory(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = lua_bare(&heap);
    size_t before = heap.live;
    lua_pushcfunction(L, sandbox_open);
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    lua_gc(L, LUA_GCCOLLECT);
    print_message("sandbox: %zu bytes\n", heap.live - before);
    /* Thousands of apps share a machine. */
    assert_true(heap.live - before < 16 * 1024);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_leaves_the_stack_alone),
        cmocka_unit_test(errors_name_the_file_and_the_line),
        cmocka_unit_test(loading_pushes_one_value_and_says_how_it_went),
        cmocka_unit_test(marks_and_script_lines_at_the_start_are_skipped),
        cmocka_unit_test(binary_chunks_are_refused),
        cmocka_unit_test(states_share_nothing),
        cmocka_unit_test(states_roll_different_dice),
        cmocka_unit_test(text_for_the_log_has_no_addresses),
        cmocka_unit_test(tracebacks_name_the_functions_of_scripts),
        cmocka_unit_test(any_allocation_may_fail_while_opening),
        cmocka_unit_test(any_allocation_may_fail_later),
        cmocka_unit_test(a_state_takes_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
