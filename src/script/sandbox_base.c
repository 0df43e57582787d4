/* sandbox_base.c -- the base functions that are not the stock ones.
 *
 * setmetatable knows no finalizers: a script's `__gc` would run at a time of
 * its own, in another event's budget. What else it refuses, Lua is not safe
 * with (sandbox_lua.c). load takes text only, because Lua runs
 * binary chunks without checking them. collectgarbage measures and collects
 * but does not tune: the collector's pace is part of the app's memory cap.
 *
 * pcall does what the stock one does. It is here because a job that is over
 * its budget is ended by an error that pcall must let pass (task_caught). */
#include "base/base.h"
#include "script/json_priv.h"
#include "script/sandbox_priv.h"
#include "script/task.h"
#include <lauxlib.h>
#include <string.h>

/* A generous program; parsing time grows with it. */
#define LOAD_BYTES ((size_t)1024 * 1024)

/* Does the table at `idx` forbid that it gets another metatable? json.array's
 * mark is locked as well, but that is about the mark, not about the table. */
static bool is_protected(lua_State *L, int idx)
{
    if (json_is_array(L, idx)) {
        return false;
    }
    if (luaL_getmetafield(L, idx, "__metatable") == LUA_TNIL) {
        return false;
    }
    lua_pop(L, 1);
    return true;
}

int sandbox_base_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(
        L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (is_protected(L, 1)) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    if (type == LUA_TTABLE) {
        /* Lua looks for `__gc` at this moment only: put in later, it has no
         * effect. */
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "__gc is not available to apps");
        }
        sandbox_judge_metatable(L, 2);
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

struct pieces {
    int function; /* stack index */
    int anchor;   /* keeps the piece that the parser reads */
    size_t bytes; /* so far */
};

static const char *read_piece(lua_State *L, void *ud, size_t *len)
{
    struct pieces *s = ud;
    luaL_checkstack(L, 2, "too many nested functions");
    lua_pushvalue(L, s->function);
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        *len = 0;
        return NULL;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "reader function must return a string");
    }
    const char *p = lua_tolstring(L, -1, len);
    if (*len > LOAD_BYTES - s->bytes) {
        luaL_error(L, "source is too long (over 1 MiB)");
    }
    s->bytes += *len;
    lua_replace(L, s->anchor);
    return p;
}

/* Leaves the function, or an error text, on top. */
static int load_source(lua_State *L)
{
    if (lua_isstring(L, 1)) {
        size_t len;
        const char *s = lua_tolstring(L, 1, &len);
        const char *name = luaL_optstring(L, 2, s);
        if (len > LOAD_BYTES) {
            lua_pushliteral(L, "source is too long (over 1 MiB)");
            return LUA_ERRSYNTAX;
        }
        return luaL_loadbufferx(L, s, len, name, "t");
    }
    const char *name = luaL_optstring(L, 2, "=(load)");
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 4);
    lua_pushnil(L);
    struct pieces pieces = {.function = 1, .anchor = 5};
    return lua_load(L, read_piece, &pieces, name, "t");
}

int sandbox_base_load(lua_State *L)
{
    bool has_env = !lua_isnone(L, 4);
    if (strchr(luaL_optstring(L, 3, "bt"), 't') == NULL) {
        luaL_pushfail(L);
        lua_pushliteral(L, "binary chunks are not available to apps");
        return 2;
    }
    int status = load_source(L);
    if (status != LUA_OK) {
        task_caught(L, status);
        luaL_pushfail(L);
        lua_insert(L, -2);
        return 2;
    }
    sandbox_mend(L);
    if (has_env) {
        lua_pushvalue(L, 4);
        if (lua_setupvalue(L, -2, 1) == NULL) {
            lua_pop(L, 1);
        }
    }
    return 1;
}

int sandbox_base_collectgarbage(lua_State *L)
{
    static const char *const options[] = {"count", "step", "collect", NULL};
    const char *option = luaL_optstring(L, 1, "collect");
    int i = 0;
    while (options[i] != NULL && strcmp(options[i], option) != 0) {
        i++;
    }
    switch (i) {
    case 0: {
        int kib = lua_gc(L, LUA_GCCOUNT);
        int bytes = lua_gc(L, LUA_GCCOUNTB);
        lua_pushnumber(L, (lua_Number)kib + (lua_Number)bytes / 1024);
        return 1;
    }
    case 1: {
        lua_Integer kib = luaL_optinteger(L, 2, 0);
        if (kib < 0 || kib > 1024 * 1024) {
            kib = 0;
        }
        lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, (int)kib));
        return 1;
    }
    case 2: lua_pushinteger(L, lua_gc(L, LUA_GCCOLLECT)); return 1;
    default:
        return luaL_error(
            L, "collectgarbage(\"%s\") is not available to apps", option);
    }
}

static int finish_pcall(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status != LUA_OK && status != LUA_YIELD) {
        task_caught(L, status);
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    return lua_gettop(L); /* `true`, put there before the call, is first */
}

int sandbox_base_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status =
        lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall);
    return finish_pcall(L, status, 0);
}
