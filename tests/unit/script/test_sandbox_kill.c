/* test_sandbox_kill.c -- the error that no script can catch: whatever catches
 * errors for a script lets it pass, armed hook or not. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */
#include "script/sandbox_kill.h"
#include "support/lua_state.h"
#include <stdio.h>
#include <string.h>

/* kill() as a budget does it: from here on the thread that runs dies at every
 * instruction. */
static int arm(lua_State *L)
{
    lua_sethook(L, sandbox_kill_hook, LUA_MASKCOUNT, 1);
    return 0;
}

/* kill() as a C function does it that cannot go on. */
static int raise_kill(lua_State *L)
{
    sandbox_push_kill(L);
    return lua_error(L);
}

static lua_State *new_state(struct heap *heap, lua_CFunction kill)
{
    lua_State *L = lua_sandboxed(heap);
    lua_pushcfunction(L, kill);
    lua_setglobal(L, "kill");
    lua_pushinteger(L, 0);
    lua_setglobal(L, "swallowed");
    return L;
}

static lua_Integer swallowed(lua_State *L)
{
    lua_getglobal(L, "swallowed");
    lua_Integer n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

/* Runs it; it has to end by the kill, and not one instruction may have run
 * after that. Then the state is as good as before. */
static void assert_killed(lua_State *L, const char *source)
{
    assert_int_equal(
        sandbox_load(L, source, strlen(source), "main.lua"), LUA_OK);
    int status = lua_pcall(L, 0, 0, 0);
    if (status == LUA_OK || !sandbox_is_kill(L, -1) || swallowed(L) != 0) {
        fail_msg("not killed (%s, swallowed %d): %s",
            status == LUA_OK ? "ok" : lua_tostring(L, -1), (int)swallowed(L),
            source);
    }
    lua_sethook(L, NULL, 0, 0);
    lua_settop(L, 0);
}

static void assert_fine(lua_State *L, const char *source)
{
    int status = sandbox_load(L, source, strlen(source), "main.lua");
    if (status == LUA_OK) {
        status = lua_pcall(L, 0, 0, 0);
    }
    if (status != LUA_OK) {
        fail_msg("%s: %s", lua_tostring(L, -1), source);
    }
    lua_settop(L, 0);
}

/* Each tries to do something after kill(). */
static const char *const swallowers[] = {
    "kill() swallowed = 1",
    "pcall(kill) swallowed = 1",
    "pcall(pcall, kill) swallowed = 1",
    "pcall(pcall, pcall, function() kill() end) swallowed = 1",
    "for i = 1, 3 do pcall(kill) swallowed = swallowed + 1 end",
    "while true do pcall(function() kill() while true do end end) end",
    "xpcall(kill, type) swallowed = 1",
    "xpcall(function() kill() end, debug.traceback) swallowed = 1",
    "xpcall(function() kill() end, function(e) swallowed = 1 return 1 end)"
    " swallowed = 1",
    "coroutine.resume(coroutine.create(kill)) swallowed = 1",
    "coroutine.resume(coroutine.create(function() kill() end)) swallowed = 1",
    "coroutine.wrap(function() kill() end)() swallowed = 1",
    "pcall(coroutine.wrap(function() pcall(kill) swallowed = 1 end))"
    " swallowed = 1",
    "local co = coroutine.wrap(function() coroutine.yield() kill() end)"
    " co() pcall(co) swallowed = 1",
    "local function f(n) if n == 0 then kill() end"
    " pcall(coroutine.wrap(f), n - 1) swallowed = 1 end f(60)",
    "local co = coroutine.create(function()"
    " local x <close> = setmetatable({}, {__close = function() kill() end})"
    " coroutine.yield() end)"
    " coroutine.resume(co) coroutine.close(co) swallowed = 1",
    "local f = coroutine.wrap(function()"
    " local x <close> = setmetatable({}, {__close = function() kill() end})"
    " error('x') end)"
    " pcall(f) swallowed = 1",
    "load(function() kill() return 'x = 1' end) swallowed = 1",
    "pcall(load, function() kill() end) swallowed = 1",
    "pcall(string.gsub, 'xyz', '.', function() pcall(kill) end) swallowed = 1",
    "pcall(table.sort, {1, 2, 3}, function() pcall(kill) return true end)"
    " swallowed = 1",
    "setmetatable(_G, {__index = function() pcall(kill) swallowed = 1 end})"
    " local x = nothing swallowed = 1",
    "tostring(setmetatable({}, {__tostring = function()"
    " pcall(kill) return 'x' end})) swallowed = 1",
    "for _ in function() pcall(kill) end do end swallowed = 1",
};

static void nothing_catches_an_armed_kill(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = new_state(&heap, arm);
    for (size_t i = 0; i < ARRAY_LEN(swallowers); i++) {
        assert_killed(L, swallowers[i]);
    }
    /* With the hook, what runs on the way out dies as well. */
    assert_killed(L, "local x <close> = setmetatable({}, {__close = function()"
                     " swallowed = 1 end}) kill() swallowed = 1");
    assert_killed(L, "local x <close> = setmetatable({}, {__close = error})"
                     " pcall(function() kill() end) swallowed = 1");
    assert_killed(L,
        "local function f(n) local y <close> = setmetatable({},"
        " {__close = function() swallowed = 1 end})"
        " if n == 0 then kill() else f(n - 1) end swallowed = 1 end"
        " f(150)");
    assert_killed(L, "xpcall(kill, pcall) swallowed = 1");
    assert_killed(L, "xpcall(function() kill() end, tostring) swallowed = 1");
    assert_killed(L, "('x'):rep(100000):gsub('.', function()"
                     " kill() pcall(kill) swallowed = 1 end) swallowed = 1");
    lua_close(L);
}

static void nothing_catches_a_kill_that_is_only_raised(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = new_state(&heap, raise_kill);
    assert_killed(L, "kill() swallowed = 1");
    assert_killed(L, "pcall(kill) swallowed = 1");
    assert_killed(L, "pcall(pcall, pcall, kill) swallowed = 1");
    assert_killed(L, "xpcall(kill, debug.traceback) swallowed = 1");
    assert_killed(L, "coroutine.wrap(function() pcall(kill) end)()"
                     " swallowed = 1");
    assert_killed(L, "coroutine.resume(coroutine.create(kill)) swallowed = 1");
    assert_killed(L, "load(function() kill() end) swallowed = 1");
    assert_killed(L, "pcall(function() coroutine.wrap(function()"
                     " coroutine.wrap(kill)() end)() end) swallowed = 1");
    lua_close(L);
}

static void a_state_lives_on_after_a_kill(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = new_state(&heap, arm);
    assert_killed(L, "kept = {}"
                     " kept.dead = coroutine.create(function()"
                     "   local x <close> = setmetatable({}, {__close ="
                     "     function() kept.closed = true end})"
                     "   kill() swallowed = 1 end)"
                     " kept.idle = coroutine.create(function()"
                     "   coroutine.yield(1) return 2 end)"
                     " coroutine.resume(kept.idle)"
                     " kept[1] = coroutine.resume(kept.dead)");
    assert_fine(L,
        "assert(kept[1] == nil and kept.closed == nil)"
        " assert(coroutine.status(kept.dead) == 'dead')"
        " assert(select(2, coroutine.resume(kept.dead)) =="
        "   'cannot resume dead coroutine')"
        /* What the kill left open is closed, and its error is no kill. */
        " local ok, err = coroutine.close(kept.dead)"
        " assert(ok == false and err == nil and kept.closed)"
        " assert(coroutine.close(kept.dead))"
        " assert(select(2, coroutine.resume(kept.idle)) == 2)"
        " assert(pcall(error) == false)");
    lua_close(L);
}

static void a_coroutine_made_while_one_is_killed_is_none_the_worse(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = new_state(&heap, arm);
    assert_fine(L, "make = coroutine.create body = function() n = 1 end");
    /* A C loop gets to make coroutines while no instruction can run. */
    lua_getglobal(L, "make");
    lua_getglobal(L, "body");
    arm(L);
    lua_call(L, 1, 1);
    lua_sethook(L, NULL, 0, 0);
    lua_setglobal(L, "co");
    assert_fine(L, "assert(coroutine.resume(co)) assert(n == 1)");
    lua_close(L);
}

static void other_light_userdata_is_no_kill(void **state)
{
    (void)state;
    struct heap heap;
    lua_State *L = new_state(&heap, arm);
    assert_fine(L, "local ok, err = pcall(error, json.null)"
                   " assert(not ok and err == json.null)");
    sandbox_push_kill(L);
    assert_true(sandbox_is_kill(L, -1));
    lua_pushnil(L);
    assert_false(sandbox_is_kill(L, -1));
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_catches_an_armed_kill),
        cmocka_unit_test(nothing_catches_a_kill_that_is_only_raised),
        cmocka_unit_test(a_state_lives_on_after_a_kill),
        cmocka_unit_test(
            a_coroutine_made_while_one_is_killed_is_none_the_worse),
        cmocka_unit_test(other_light_userdata_is_no_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
