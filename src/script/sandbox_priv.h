/* sandbox_priv.h -- the functions that stand in the allowlist of sandbox.c
 * instead of stock ones, and where the stock ones come from. All are Lua C
 * functions. Those marked "wraps" call the stock one. */
#ifndef SCRIPT_SANDBOX_PRIV_H
#define SCRIPT_SANDBOX_PRIV_H

#include "script/words.h"
#include <lua.h>

/* The stock functions that ours call. Written once. */
extern struct sandbox_stock {
    lua_CFunction format;
    lua_CFunction rep;
    lua_CFunction insert;
    lua_CFunction remove;
    lua_CFunction move;
    lua_CFunction concat;
    lua_CFunction sort;
    lua_CFunction traceback;
    lua_CFunction randomseed; /* a closure over the generator, see there */
} sandbox_stock;

/* sandbox_stock.c */
struct sandbox_value {
    int type; /* LUA_T*: nil, function, number or string */
    bool is_integer;
    lua_CFunction function;
    lua_Integer integer;
    lua_Number number;
    size_t len; /* of the text; of what a function's closure keeps, or 0 */
    char text[16];
};

/* A state with the stock libraries, to read from; then lua_close() it. */
lua_State *sandbox_stock_open(void);
/* What stands there under "lib.name" or "name"; nil if nothing does. `strings`
 * is the strings' metatable. */
void sandbox_stock_read(
    lua_State *S, const char *name, struct sandbox_value *v);
/* Pushes it in another state; a closure's function without what it keeps. */
void sandbox_stock_push(lua_State *L, const struct sandbox_value *v);

/* sandbox_absent.c */
/* With the globals on top, and the libraries in the registry. */
void sandbox_absent_open(lua_State *L, const struct words *w);

/* sandbox_lua.c */
/* The end of what sandbox_open() does. From then on the only weak tables are
 * those of sandbox_push_weak_table(). */
void sandbox_guard_lua(lua_State *L);
/* Pushes a new table that keeps none of its keys alive. */
void sandbox_push_weak_table(lua_State *L);
/* Raises what Lua is not safe with; may replace the metatable at idx. */
void sandbox_judge_metatable(lua_State *L, int idx);

/* sandbox_mend.c */
/* The function on top was just compiled: makes it safe to be called. */
void sandbox_mend(lua_State *L);

/* sandbox_base.c */
int sandbox_base_setmetatable(lua_State *L);
int sandbox_base_load(lua_State *L);
int sandbox_base_collectgarbage(lua_State *L);
int sandbox_base_pcall(lua_State *L);

/* sandbox_text.c */
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
