/* sandbox_text.c -- values as text, without their addresses.
 *
 * Stock Lua shows where an object lives ("table: 0x55..."), which tells a
 * hostile script how the server's memory is laid out. Here every object that
 * is shown gets a number of its own instead, for as long as it lives
 * ("table: 12"). The numbers are kept in a table with weak keys, so being
 * shown keeps nothing alive.
 *
 * tostring and string.format are the only stock functions that print
 * addresses; both end here. */
#include "base/base.h"
#include "script/sandbox.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

/* In the registry, once it is needed: object -> number; [COUNT] is the last
 * number given. */
static const char identities_key;
#define COUNT 1

static void push_identities(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &identities_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    sandbox_push_weak_table(L);
    lua_pushinteger(L, 0);
    lua_rawseti(L, -2, COUNT);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &identities_key);
}

static lua_Integer identity_of(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, NULL);
    push_identities(L);
    lua_pushvalue(L, idx);
    lua_Integer id;
    if (lua_rawget(L, -2) == LUA_TNUMBER) {
        id = lua_tointeger(L, -1);
    } else {
        lua_rawgeti(L, -2, COUNT);
        id = lua_tointeger(L, -1) + 1;
        lua_pushvalue(L, idx);
        lua_pushinteger(L, id);
        lua_rawset(L, -5);
        lua_pushinteger(L, id);
        lua_rawseti(L, -4, COUNT);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return id;
}

const char *sandbox_tostring(lua_State *L, int idx, size_t *len)
{
    idx = lua_absindex(L, idx);
    int type = lua_type(L, idx);
    if (type == LUA_TSTRING) {
        lua_pushvalue(L, idx);
    } else if (luaL_callmeta(L, idx, "__tostring")) {
        if (!lua_isstring(L, -1)) {
            luaL_error(L, "'__tostring' must return a string");
        }
    } else if (type == LUA_TNIL || type == LUA_TBOOLEAN ||
               type == LUA_TNUMBER) {
        return luaL_tolstring(L, idx, len);
    } else {
        int named = luaL_getmetafield(L, idx, "__name");
        const char *kind =
            named == LUA_TSTRING ? lua_tostring(L, -1) : lua_typename(L, type);
        lua_pushfstring(L, "%s: %I", kind, (LUAI_UACINT)identity_of(L, idx));
        if (named != LUA_TNIL) {
            lua_remove(L, -2);
        }
    }
    return lua_tolstring(L, -1, len);
}

int sandbox_text_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    sandbox_tostring(L, 1, NULL);
    return 1;
}

/* The conversion character of the specification that starts behind a '%';
 * NULL: the format ends before one. */
static const char *conversion_of(const char *s, const char *end)
{
    while (s < end && strchr("-+ #0123456789.", *s) != NULL && *s != '\0') {
        s++;
    }
    return s < end ? s : NULL;
}

static bool has_identity(int type)
{
    return type == LUA_TTABLE || type == LUA_TFUNCTION ||
           type == LUA_TUSERDATA || type == LUA_TLIGHTUSERDATA ||
           type == LUA_TTHREAD;
}

/* Replaces argument `arg` of a %p by its identity, or by what the stock
 * format says of values without one. (A string has an address but no
 * identity: two equal strings may share theirs or not.) */
static void hide_pointer(lua_State *L, int arg)
{
    if (!has_identity(lua_type(L, arg))) {
        lua_pushliteral(L, "(null)");
    } else {
        char text[32];
        lua_Integer id = identity_of(L, arg);
        (void)snprintf(text, sizeof(text), "0x%08llx", (unsigned long long)id);
        lua_pushstring(L, text);
    }
    lua_replace(L, arg);
}

/* Looks through the format at index 1: turns each argument that would show an
 * address into text. Returns whether the format has a %p, which has to become
 * a %s. */
static bool hide_addresses(lua_State *L, const char *s, const char *end)
{
    int top = lua_gettop(L);
    bool has_pointer = false;
    int arg = 1;
    while ((s = memchr(s, '%', (size_t)(end - s))) != NULL) {
        s++;
        if (s < end && *s == '%') {
            s++;
            continue;
        }
        s = conversion_of(s, end);
        if (s == NULL || ++arg > top) {
            break; /* the stock function has an error for this */
        }
        int type = lua_type(L, arg);
        if (*s == 'p') {
            has_pointer = true;
            hide_pointer(L, arg);
        } else if (*s == 's' && type != LUA_TSTRING && type != LUA_TNUMBER) {
            sandbox_tostring(L, arg, NULL);
            lua_replace(L, arg);
        }
    }
    return has_pointer;
}

/* Replaces the format at index 1 by one with %s for %p. */
static void rewrite_pointers(lua_State *L)
{
    size_t len;
    const char *s = lua_tolstring(L, 1, &len);
    const char *end = s + len;
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, len);
    memcpy(out, s, len);
    for (const char *p = s; (p = memchr(p, '%', (size_t)(end - p))) != NULL;) {
        p++;
        if (p < end && *p == '%') {
            p++;
            continue;
        }
        p = conversion_of(p, end);
        if (p == NULL) {
            break;
        }
        if (*p == 'p') {
            out[p - s] = 's';
        }
    }
    luaL_pushresultsize(&b, len);
    lua_replace(L, 1);
}

int sandbox_text_format(lua_State *L)
{
    size_t len;
    const char *format = luaL_checklstring(L, 1, &len);
    if (hide_addresses(L, format, format + len)) {
        rewrite_pointers(L);
    }
    /* On our own frame: errors name the caller's line and "format". */
    return sandbox_stock.format(L);
}

int sandbox_text_rep(lua_State *L)
{
    size_t len;
    size_t separator_len;
    luaL_checklstring(L, 1, &len);
    luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_len);
    if (len == 0 && separator_len == 0) {
        /* The stock one counts to n, be it 2^60. */
        lua_pushliteral(L, "");
        return 1;
    }
    return sandbox_stock.rep(L);
}
