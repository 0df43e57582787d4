/* fuzz_value.c -- any bytes as a value: decoding never harms, and what it
 * accepts is written and read again. */
#include "base/err.h"
#include "script/value.h"
#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct buf buf;

static int try_input(lua_State *L)
{
    const uint8_t *data = lua_touserdata(L, 1);
    size_t size = (size_t)lua_tointeger(L, 2);
    lua_settop(L, 0);
    if (value_decode(L, data, size) != 0) {
        if (lua_gettop(L) != 1 || !lua_isstring(L, 1)) {
            abort();
        }
        return 0;
    }
    /* Equal keys make the written form shorter, never longer than this. */
    buf.len = 0;
    if (lua_gettop(L) != 1 || value_encode(L, 1, "v", &buf) != 0 ||
        lua_gettop(L) != 1) {
        abort();
    }
    if (value_decode(L, buf.p, buf.len) != 0 ||
        lua_type(L, 1) != lua_type(L, 2)) {
        abort();
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (L == NULL) {
        L = luaL_newstate();
        buf_init(&buf, (size_t)32 * 1024 * 1024);
    }
    lua_pushcfunction(L, try_input);
    lua_pushlightuserdata(L, (void *)(uintptr_t)data);
    lua_pushinteger(L, (lua_Integer)size);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        abort();
    }
    return 0;
}
