/* sandbox_stock.c -- what the stock libraries hold, looked up once for the
 * process.
 *
 * Their functions have no name that a linker knows: one gets at them by
 * opening the libraries in a state. Doing so in the state of every app would
 * leave each with some KB of tables to be collected, in pages that stay, and
 * take a good part of the time that ten thousand apps need to load. But what
 * the tables hold are addresses of functions, numbers and two texts, the same
 * in all states. So it is read out of a state of its own, which is closed
 * again (I4: written once, before anybody reads it).
 *
 * Two functions of math share a generator: they are closures over one
 * userdata, of which only the size is noted. Whoever makes another one has to
 * seed it before it is used. Any other closure would be news, and is a bug of
 * ours. */
#include "base/mem.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

static void *allocate(void *ud, void *p, size_t old_size, size_t new_size)
{
    (void)ud;
    (void)old_size;
    if (new_size == 0) {
        mem_free(p);
        return NULL;
    }
    return mem_realloc(p, new_size);
}

/* The libraries as globals, and the strings' metatable as `strings`. */
static int open_all(lua_State *S)
{
    static const luaL_Reg stock[] = {
        {LUA_GNAME, luaopen_base},
        {LUA_DBLIBNAME, luaopen_debug},
        {LUA_MATHLIBNAME, luaopen_math},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_UTF8LIBNAME, luaopen_utf8},
    };
    for (size_t i = 0; i < ARRAY_LEN(stock); i++) {
        luaL_requiref(S, stock[i].name, stock[i].func, 1);
    }
    lua_pushliteral(S, "");
    (void)lua_getmetatable(S, -1);
    lua_setglobal(S, "strings");
    lua_settop(S, 0);
    return 0;
}

lua_State *sandbox_stock_open(void)
{
    lua_State *S = lua_newstate(allocate, NULL);
    ASSERT(S != NULL, "mem_realloc() does not fail");
    lua_pushcfunction(S, open_all);
    int status = lua_pcall(S, 0, 0, 0);
    ASSERT(status == LUA_OK, "the stock libraries open");
    return S;
}

/* Pushes what stands under "lib.name", or "name". */
static void push_named(lua_State *S, const char *name)
{
    const char *dot = strchr(name, '.');
    lua_pushglobaltable(S);
    if (dot != NULL) {
        lua_pushlstring(S, name, (size_t)(dot - name));
        lua_rawget(S, -2);
        ASSERT(lua_istable(S, -1), "a stock library");
        name = dot + 1;
    }
    lua_pushstring(S, name);
    lua_rawget(S, -2);
}

static void read_text(lua_State *S, struct sandbox_value *v)
{
    size_t len;
    const char *s = lua_tolstring(S, -1, &len);
    ASSERT(len <= sizeof(v->text), "stock texts are short");
    memcpy(v->text, s, len);
    v->len = len;
}

static void read_function(lua_State *S, struct sandbox_value *v)
{
    v->function = lua_tocfunction(S, -1);
    ASSERT(v->function != NULL, "stock functions are in C");
    if (lua_getupvalue(S, -1, 1) == NULL) {
        return;
    }
    ASSERT(lua_type(S, -1) == LUA_TUSERDATA, "only math has closures");
    v->len = lua_rawlen(S, -1);
}

void sandbox_stock_read(lua_State *S, const char *name, struct sandbox_value *v)
{
    *v = (struct sandbox_value){0};
    push_named(S, name);
    v->type = lua_type(S, -1);
    switch (v->type) {
    case LUA_TNIL: break; /* a name that this Lua does not have */
    case LUA_TFUNCTION: read_function(S, v); break;
    case LUA_TSTRING: read_text(S, v); break;
    default:
        ASSERT(v->type == LUA_TNUMBER, "a function, a text or a number");
        v->is_integer = lua_isinteger(S, -1);
        v->integer = lua_tointeger(S, -1);
        v->number = lua_tonumber(S, -1);
    }
    lua_settop(S, 0);
}

void sandbox_stock_push(lua_State *L, const struct sandbox_value *v)
{
    switch (v->type) {
    case LUA_TNIL: lua_pushnil(L); break;
    case LUA_TFUNCTION: lua_pushcfunction(L, v->function); break;
    case LUA_TSTRING: lua_pushlstring(L, v->text, v->len); break;
    default:
        if (v->is_integer) {
            lua_pushinteger(L, v->integer);
        } else {
            lua_pushnumber(L, v->number);
        }
    }
}
