/* json.c -- the `json` table of scripts: null, array, and the two functions
 * whose work is done in json_encode.c and json_decode.c.
 *
 * json.encode raises: what it is given is the script's own. json.decode
 * returns nil and a reason: what it is given came from somebody else. */
#include "script/json.h"
#include "script/json_priv.h"
#include <lauxlib.h>

static char null_tag;
static const char mark_key; /* in the registry: the mark */

static int null_tostring(lua_State *L)
{
    lua_pushliteral(L, "null");
    return 1;
}

void json_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, &null_tag);
    if (LIKELY(lua_getmetatable(L, -1))) {
        lua_pop(L, 1);
        return;
    }
    /* The one metatable of all light userdata: null is the only one that a
     * script ever sees. */
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

bool json_is_null(lua_State *L, int idx)
{
    return lua_islightuserdata(L, idx) && lua_touserdata(L, idx) == &null_tag;
}

void json_push_array_mark(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &mark_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &mark_key);
}

bool json_is_array(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_getmetatable(L, idx)) {
        return false;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &mark_key);
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

size_t json_utf8_bytes(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    /* RFC 3629, 4: only the second byte has bounds of its own. */
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t bytes;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        bytes = 2;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        bytes = 3;
        low = s[0] == 0xe0 ? 0xa0 : 0x80;
        high = s[0] == 0xed ? 0x9f : 0xbf; /* no surrogates */
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        bytes = 4;
        low = s[0] == 0xf0 ? 0x90 : 0x80;
        high = s[0] == 0xf4 ? 0x8f : 0xbf; /* up to U+10FFFF */
    } else {
        return 0;
    }
    if (left < bytes || s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < bytes; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

static int encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (json_encode(L, 1) != 0) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
        return lua_error(L);
    }
    return 1;
}

static int decode(lua_State *L)
{
    /* No numbers: lua_tolstring() would turn the argument into a string. */
    luaL_checktype(L, 1, LUA_TSTRING);
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    if (json_decode(L, text, len) != 0) {
        luaL_pushfail(L);
        lua_insert(L, -2);
        return 2;
    }
    return 1;
}

static int array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (lua_getmetatable(L, 1)) {
        lua_pop(L, 1);
        luaL_argcheck(L, json_is_array(L, 1), 1, "table has a metatable");
        return 1;
    }
    json_push_array_mark(L);
    lua_setmetatable(L, 1);
    return 1;
}

int json_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"array", array},
        {"decode", decode},
        {"encode", encode},
        {"null", NULL},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    json_push_null(L);
    lua_setfield(L, -2, "null");
    return 1;
}
