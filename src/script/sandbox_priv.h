/* sandbox_priv.h -- the functions that stand in the allowlist of sandbox.c
 * instead of stock ones. All are Lua C functions. Those marked "wraps" have
 * the stock function as their first upvalue. */
#ifndef SCRIPT_SANDBOX_PRIV_H
#define SCRIPT_SANDBOX_PRIV_H

#include <lua.h>

/* sandbox_lua.c */
/* The end of what sandbox_open() does; no weak table can be made after it. */
void sandbox_guard_lua(lua_State *L);
/* Raises what Lua is not safe with; may replace the metatable at idx. */
void sandbox_judge_metatable(lua_State *L, int idx);

/* sandbox_mend.c */
/* The function on top was just compiled: makes it safe to be called. */
void sandbox_mend(lua_State *L);

/* sandbox.c */
/* Pushes a new table that keeps none of its keys alive. */
void sandbox_push_weak_table(lua_State *L);

/* sandbox_base.c */
int sandbox_base_setmetatable(lua_State *L);
int sandbox_base_load(lua_State *L);
int sandbox_base_collectgarbage(lua_State *L);
int sandbox_base_pcall(lua_State *L);

/* sandbox_text.c */
/* Makes the table of identities. */
void sandbox_text_open(lua_State *L);
int sandbox_text_tostring(lua_State *L);
int sandbox_text_format(lua_State *L); /* wraps */
int sandbox_text_rep(lua_State *L);    /* wraps */

/* sandbox_table.c; each wraps */
int sandbox_table_insert(lua_State *L);
int sandbox_table_remove(lua_State *L);
int sandbox_table_move(lua_State *L);
int sandbox_table_concat(lua_State *L);
int sandbox_table_sort(lua_State *L);
int sandbox_math_randomseed(lua_State *L);

/* sandbox_coroutine.c */
/* Makes the table of the script's own coroutines. */
void sandbox_coroutine_open(lua_State *L);
int sandbox_coroutine_create(lua_State *L);
int sandbox_coroutine_wrap(lua_State *L);
int sandbox_coroutine_resume(lua_State *L);
int sandbox_coroutine_yield(lua_State *L);
int sandbox_coroutine_close(lua_State *L);
int sandbox_coroutine_status(lua_State *L);
int sandbox_coroutine_running(lua_State *L);
int sandbox_coroutine_isyieldable(lua_State *L);
/* Here because a coroutine must know how many of them it is inside of. */
int sandbox_coroutine_xpcall(lua_State *L);

/* sandbox_os.c */
int sandbox_os_time(lua_State *L);
int sandbox_os_clock(lua_State *L);
int sandbox_os_date(lua_State *L);

#endif
