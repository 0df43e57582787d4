/* fuzz_json.c -- any bytes as JSON: decoding never harms, and what it accepts
 * is encoded and decoded again to the same text. */
#include "base/err.h"
#include "script/json.h"
#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decodes at the top and encodes what came out. False: refused. */
static int round_trip(lua_State *L, const char *text, size_t len)
{
    if (json_decode(L, text, len) != 0) {
        return 0;
    }
    /* Whatever JSON says, JSON can say again. */
    if (json_encode(L, -1) != 0) {
        abort();
    }
    return 1;
}

static int try_input(lua_State *L)
{
    const char *data = lua_touserdata(L, 1);
    size_t size = (size_t)lua_tointeger(L, 2);
    lua_settop(L, 0);
    if (!round_trip(L, data, size)) {
        if (lua_gettop(L) != 1 || !lua_isstring(L, 1)) {
            abort();
        }
        return 0;
    }
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (lua_gettop(L) != 2 || !round_trip(L, text, len)) {
        abort();
    }
    /* The order of an object's keys is not promised, its length is. */
    if (lua_rawlen(L, -1) != len) {
        abort();
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (L == NULL) {
        L = luaL_newstate();
    }
    lua_pushcfunction(L, try_input);
    lua_pushlightuserdata(L, (void *)(uintptr_t)data);
    lua_pushinteger(L, (lua_Integer)size);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        abort();
    }
    return 0;
}
