/* sandbox_table.c -- the table library's loops, with their lengths looked at.
 *
 * The stock functions believe a table's length, and a script can make one
 * that is 2^50 long (`__len`, or a few keys at powers of two). The hard kill
 * ends such a loop, and the app's state with it; asking first turns a slip
 * into an ordinary error. What is honest is known: an array of n items takes
 * 16 n bytes, so a state that holds less than that has no such table. A
 * `__len` that lies differently the second time gets past this: that is what
 * the hard kill is for.
 *
 * The stock functions run on our own frames, so that their errors name the
 * script's line. */
#include "base/base.h"
#include "base/digest.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>

#define ITEM_BYTES 16
/* So many are walked in a few milliseconds, and nobody asks: a table may make
 * up its items as it is read (`__index`). */
#define FEW_ITEMS (1024 * 1024)

/* More items than a table of this state can have. */
static bool is_fake(lua_State *L, lua_Unsigned items)
{
    if (items <= FEW_ITEMS) {
        return false;
    }
    lua_Unsigned kib = (lua_Unsigned)lua_gc(L, LUA_GCCOUNT) + 1;
    return items > kib * (1024 / ITEM_BYTES);
}

/* Raises where the table at index 1 claims to be endless. What is not a
 * table is left to the stock function's own complaint. */
static void check_length(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TTABLE) {
        return;
    }
    lua_Integer n = luaL_len(L, 1);
    if (n > 0 && is_fake(L, (lua_Unsigned)n)) {
        luaL_error(L, "table is too long");
    }
}

/* Raises where first..last are too many. The difference may overflow. */
static void check_range(lua_State *L, lua_Integer first, lua_Integer last)
{
    if (last >= first && is_fake(L, (lua_Unsigned)last - (lua_Unsigned)first)) {
        luaL_error(L, "range is too long");
    }
}

int sandbox_table_insert(lua_State *L)
{
    check_length(L);
    return sandbox_stock.insert(L);
}

int sandbox_table_remove(lua_State *L)
{
    check_length(L);
    return sandbox_stock.remove(L);
}

int sandbox_table_sort(lua_State *L)
{
    check_length(L);
    return sandbox_stock.sort(L);
}

int sandbox_table_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2);
    lua_Integer last = luaL_checkinteger(L, 3);
    check_range(L, first, last);
    return sandbox_stock.move(L);
}

int sandbox_table_concat(lua_State *L)
{
    lua_Integer first = luaL_optinteger(L, 3, 1);
    if (!lua_isnoneornil(L, 4)) {
        check_range(L, first, luaL_checkinteger(L, 4));
    } else if (lua_type(L, 1) == LUA_TTABLE) {
        check_range(L, first, luaL_len(L, 1));
    }
    return sandbox_stock.concat(L);
}

/* Not of the table library, but of the same kind: one look at the arguments.
 * The stock one takes the generator from its first upvalue, which is ours. */
int sandbox_math_randomseed(lua_State *L)
{
    if (lua_isnone(L, 1)) {
        lua_Integer seed[2];
        digest_random(seed, sizeof(seed));
        lua_pushinteger(L, seed[0]);
        lua_pushinteger(L, seed[1]);
    }
    (void)sandbox_stock.randomseed(L);
    return 0;
}
