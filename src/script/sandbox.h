/* sandbox.h -- what a script may see: an allowlist, in one table.
 *
 * base without dofile, loadfile and binary chunks; string without dump;
 * table, math, utf8, coroutine; os.time, os.clock, os.date (UTC, own code);
 * debug.traceback. No io, no package, no `__gc`, no addresses in tostring or
 * %p. Names that Lua programs expect and that are not here raise an error
 * that says so when called ("os.execute is not available to apps"). */
#ifndef SCRIPT_SANDBOX_H
#define SCRIPT_SANDBOX_H

#include <lua.h>

/* Fills the state's globals, with those that are named in the words of all
 * that will run there (words.h): its one argument is a light userdata of them,
 * without it all are there. A Lua C function body: call it inside a job
 * (raises on memory); returns nothing. */
int sandbox_open(lua_State *L);
/* Compiles Lua source (text only) under the given chunk name ("main.lua",
 * without "@"); pushes the function or the error text. LUA_OK or a status. */
int sandbox_load(
    lua_State *L, const char *source, size_t len, const char *name);
/* Pushes the value at idx as tostring() shows it, for print and the like: as
 * luaL_tolstring(), but with a number of its own for each object where that
 * shows the address. May run `__tostring` and raise; `len` may be NULL. */
const char *sandbox_tostring(lua_State *L, int idx, size_t *len);

#endif
