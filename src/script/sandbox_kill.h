/* sandbox_kill.h -- the error that no script can catch.
 *
 * A script that is over its budget is ended by an error like any other, only
 * that whatever catches errors on behalf of a script passes this one on. The
 * contract has three parts:
 *
 *   who kills       arms sandbox_kill_hook on the Lua thread that runs
 *                   (lua_sethook(L, sandbox_kill_hook, LUA_MASKCOUNT, 1)), or
 *                   raises what sandbox_push_kill() pushes;
 *   who catches     calls sandbox_pass_kill() first thing after an error;
 *   who began it    (the outermost protected call, the server's own) asks
 *                   sandbox_is_kill() and disarms the hook.
 *
 * The armed hook is part of the mark. What a script runs while it is being
 * ended (`__close`, message handlers) dies at its first instruction, and the
 * error that comes out of that may be another one: "C stack overflow", or
 * whatever a C function says of an argument that is the mark. Where the hook
 * is armed, every error is the kill. Passing it on arms the hook of the thread
 * that gets it, so a chain of coroutines comes down with the innermost. */
#ifndef SCRIPT_SANDBOX_KILL_H
#define SCRIPT_SANDBOX_KILL_H

#include "base/base.h"
#include <lua.h>

/* Needs one slot of the stack and no memory. */
void sandbox_push_kill(lua_State *L);
/* Is the error at idx, just caught on L, the kill? */
bool sandbox_is_kill(lua_State *L, int idx);
/* A lua_Hook; raises the kill. */
void sandbox_kill_hook(lua_State *L, lua_Debug *ar);
/* Raises the kill from a C function, and arms the hook of L. */
void sandbox_raise_kill(lua_State *L);
/* An error was caught, its value is on top: does not return if it is the
 * kill, else does nothing. */
void sandbox_pass_kill(lua_State *L);

/* `L` is the Lua thread that runs from here on: a coroutine that is resumed
 * or closed, and then whoever did that, again. Called by the sandbox's
 * coroutine functions, for who must know where the hook is to be armed. */
static inline void sandbox_runs(lua_State *L)
{
    (void)L;
}

#endif
