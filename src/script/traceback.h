/* traceback.h -- where a script is, as text. */
#ifndef SCRIPT_TRACEBACK_H
#define SCRIPT_TRACEBACK_H

#include <lua.h>

/* Pushes onto L `text` (NULL: nothing) and what luaL_traceback() tells of L1
 * from `level` on; of a long stack the innermost levels only. Needs no more of
 * either stack than any C function has. May raise for want of memory. */
void traceback_push(lua_State *L, lua_State *L1, const char *text, int level);

/* debug.traceback */
int traceback_for_script(lua_State *L);

#endif
