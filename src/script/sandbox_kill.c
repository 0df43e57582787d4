/* sandbox_kill.c -- the error that no script can catch; see the header.
 *
 * Used by everything of the sandbox that catches errors for a script (pcall,
 * xpcall, the coroutine functions, load with a reader), and by whoever ends
 * scripts. Decides nothing: who is to be ended, and when, is not known here. */
#include "script/sandbox_kill.h"

/* Its address is the error. Light userdata costs no memory, so it can be
 * raised by a state that has none left. */
static const char mark;

void sandbox_push_kill(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&mark);
}

bool sandbox_is_kill(lua_State *L, int idx)
{
    return (lua_islightuserdata(L, idx) && lua_touserdata(L, idx) == &mark) ||
           lua_gethook(L) == sandbox_kill_hook;
}

void sandbox_kill_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    sandbox_push_kill(L);
    (void)lua_error(L);
}

void sandbox_raise_kill(lua_State *L)
{
    lua_sethook(L, sandbox_kill_hook, LUA_MASKCOUNT, 1);
    lua_settop(L, 0); /* for the one slot */
    sandbox_push_kill(L);
    (void)lua_error(L);
}

void sandbox_pass_kill(lua_State *L)
{
    if (UNLIKELY(sandbox_is_kill(L, -1))) {
        sandbox_raise_kill(L);
    }
}
