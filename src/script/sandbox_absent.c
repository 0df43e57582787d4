/* sandbox_absent.c -- names that Lua programs expect and that apps do not
 * have: calling them raises an error that says so.
 *
 * Three of them are globals. The others are fields of the libraries, and are
 * found there through a metatable: they would make tables larger that each of
 * ten thousand states has. `io` and `package` are nothing but such fields, and
 * since people look into them before they call, looking is enough. */
#include "base/base.h"
#include "script/sandbox_priv.h"
#include <lauxlib.h>
#include <string.h>

/* X(C identifier, name as a script writes it) */
#define GLOBAL_LIST(X)                                                         \
    X(dofile, "dofile")                                                        \
    X(loadfile, "loadfile")                                                    \
    X(require, "require")                                                      \
    X(warn, "warn")

#define FIELD_LIST(X)                                                          \
    X(string_dump, "string.dump")                                              \
    X(os_difftime, "os.difftime")                                              \
    X(os_execute, "os.execute")                                                \
    X(os_exit, "os.exit")                                                      \
    X(os_getenv, "os.getenv")                                                  \
    X(os_remove, "os.remove")                                                  \
    X(os_rename, "os.rename")                                                  \
    X(os_setlocale, "os.setlocale")                                            \
    X(os_tmpname, "os.tmpname")                                                \
    X(debug_debug, "debug.debug")                                              \
    X(debug_gethook, "debug.gethook")                                          \
    X(debug_getinfo, "debug.getinfo")                                          \
    X(debug_getlocal, "debug.getlocal")                                        \
    X(debug_getmetatable, "debug.getmetatable")                                \
    X(debug_getregistry, "debug.getregistry")                                  \
    X(debug_getupvalue, "debug.getupvalue")                                    \
    X(debug_getuservalue, "debug.getuservalue")                                \
    X(debug_sethook, "debug.sethook")                                          \
    X(debug_setlocal, "debug.setlocal")                                        \
    X(debug_setmetatable, "debug.setmetatable")                                \
    X(debug_setupvalue, "debug.setupvalue")                                    \
    X(debug_setuservalue, "debug.setuservalue")                                \
    X(debug_upvalueid, "debug.upvalueid")                                      \
    X(debug_upvaluejoin, "debug.upvaluejoin")

/* A function each, not a closure over the name: a function costs a state
 * nothing, and there are many states. */
#define X(id, name)                                                            \
    static int no_##id(lua_State *L)                                           \
    {                                                                          \
        return luaL_error(L, name " is not available to apps");                \
    }
GLOBAL_LIST(X)
FIELD_LIST(X)
#undef X

static const luaL_Reg globals[] = {
#define X(id, name) {name, no_##id},
    GLOBAL_LIST(X)
#undef X
};

static const luaL_Reg fields[] = {
#define X(id, name) {name, no_##id},
    FIELD_LIST(X)
#undef X
};

/* The libraries that lack some of their fields. */
static const char *const libraries[] = {"debug", "os", "string"};

/* Is the table at index 1 the library that `name` begins with? */
static bool is_library_of(lua_State *L, const char *name)
{
    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushlstring(L, name, strcspn(name, "."));
    lua_rawget(L, -2);
    bool is_it = lua_rawequal(L, 1, -1);
    lua_pop(L, 2);
    return is_it;
}

/* __index of a library. */
static int find_field(lua_State *L)
{
    lua_settop(L, 2);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *name = fields[i].name;
        if (strcmp(strchr(name, '.') + 1, key) == 0 && is_library_of(L, name)) {
            lua_pushcfunction(L, fields[i].func);
            return 1;
        }
    }
    return 0;
}

/* __index of `io` and `package`; upvalue 1 is the former. */
static int refuse_field(lua_State *L)
{
    const char *module =
        lua_rawequal(L, 1, lua_upvalueindex(1)) ? "io" : "package";
    if (lua_type(L, 2) != LUA_TSTRING) {
        return luaL_error(L, "%s is not available to apps", module);
    }
    return luaL_error(
        L, "%s.%s is not available to apps", module, lua_tostring(L, 2));
}

/* Leaves `io` and `package` on the stack. */
static void push_modules(lua_State *L)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, refuse_field, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_setmetatable(L, -4);
    lua_setmetatable(L, -2);
}

static void open_modules(lua_State *L, int table, const struct words *w)
{
    bool has_io = words_has(w, "io");
    bool has_package = words_has(w, "package");
    if (!has_io && !has_package) {
        return;
    }
    push_modules(L);
    if (has_package) {
        lua_pushvalue(L, -1);
        lua_setfield(L, table, "package");
    }
    if (has_io) {
        lua_pushvalue(L, -2);
        lua_setfield(L, table, "io");
    }
    lua_settop(L, table);
}

static void open_fields(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, find_field);
    lua_setfield(L, -2, "__index");
    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        if (lua_getfield(L, -1, libraries[i]) == LUA_TTABLE) {
            lua_pushvalue(L, -3);
            lua_setmetatable(L, -2);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

void sandbox_absent_open(lua_State *L, const struct words *w)
{
    int table = lua_gettop(L);
    for (size_t i = 0; i < ARRAY_LEN(globals); i++) {
        if (words_has(w, globals[i].name)) {
            lua_pushcfunction(L, globals[i].func);
            lua_setfield(L, table, globals[i].name);
        }
    }
    open_fields(L);
    open_modules(L, table, w);
}
