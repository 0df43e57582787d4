/* api_module.c -- require, env, app: the app's own files and settings, and
 * nothing of the process or the disk. */
#include "app/api_priv.h"
#include "script/sandbox.h"
#include <stdio.h>
#include <string.h>

/* "lib.words" -> lib/words.lua, or lib/words/init.lua. */
static const struct snapshot_file *find_module(
    const struct snapshot *snap, const char *name)
{
    static const char *const endings[] = {".lua", "/init.lua"};
    char path[512];

    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        int n = snprintf(path, sizeof(path), "%s%s", name, endings[i]);
        if (n < 0 || (size_t)n >= sizeof(path)) {
            return NULL;
        }
        for (char *p = path; *p != '\0' && p < path + strlen(name); p++) {
            *p = *p == '.' ? '/' : *p;
        }
        const struct snapshot_file *file = snapshot_find(snap, path);
        if (file != NULL) {
            return file;
        }
    }
    return NULL;
}

/* upvalue 1: the results; false while a module is being loaded */
static int require(lua_State *L)
{
    struct state *s = state_from(L);
    size_t len;
    const char *name = api_check_string(L, 1, "module", 256, &len);

    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
            return luaL_error(L, "module '%s' requires itself", name);
        }
        return 1;
    }
    const struct snapshot_file *file = find_module(s->snapshot, name);
    if (file == NULL || strlen(name) != len) {
        return luaL_error(L, "module '%s' is not among the app's files", name);
    }
    if (sandbox_load(L, file->data, file->len, file->name) != LUA_OK) {
        return lua_error(L);
    }
    lua_pushvalue(L, 1);
    lua_pushboolean(L, 0);
    lua_rawset(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    /* One that waited would be found half loaded by the next who asks. */
    task_forbid(L, "a module that is being loaded");
    int status = lua_pcall(L, 1, 1, 0);
    task_allow(L);
    if (status != LUA_OK || lua_isnil(L, -1)) {
        /* A failed module may be required again; one that returns nothing is
         * known as true, as everywhere in Lua. */
        lua_pushvalue(L, 1);
        if (status == LUA_OK) {
            lua_pushboolean(L, 1);
            lua_replace(L, -3);
            lua_pushvalue(L, -2);
        } else {
            lua_pushnil(L);
        }
        lua_rawset(L, lua_upvalueindex(1));
        return status == LUA_OK ? 1 : lua_error(L);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return 1;
}

static int env_newindex(lua_State *L)
{
    return luaL_error(L, "env is what app.conf.lua says; it cannot be changed");
}

static int env_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_next(L, 1) == 0) {
        lua_pushnil(L);
        return 1;
    }
    return 2;
}

/* upvalue: what it says. A copy, for `next` lends its table. */
static int env_pairs(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushcfunction(L, env_next);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, lua_upvalueindex(1)) != 0) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 2);
    }
    lua_pushnil(L);
    return 3;
}

static int app_index(lua_State *L)
{
    const struct state *s = state_from(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";

    if (strcmp(key, "name") == 0) {
        lua_pushstring(L, s->app->name);
    } else if (strcmp(key, "generation") == 0) {
        lua_pushinteger(L, (lua_Integer)s->generation);
    } else if (strcmp(key, "version") == 0) {
        char text[17];
        for (int i = 0; i < 8; i++) {
            (void)snprintf(
                text + 2 * i, 3, "%02x", (unsigned)s->snapshot->hash[i]);
        }
        lua_pushstring(L, text);
    } else if (strcmp(key, "node") == 0) {
        lua_pushliteral(L, "local"); /* one node, until there is a cluster */
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int app_newindex(lua_State *L)
{
    return luaL_error(L, "app cannot be changed");
}

/* Takes the metatable on top and makes a global of it: an empty table, so
 * that what __index finds cannot be changed. */
static void set_proxy(
    lua_State *L, int globals, const char *name, lua_CFunction newindex)
{
    lua_pushcfunction(L, newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
    lua_setfield(L, globals, name);
}

static void make_env(lua_State *L, const struct state *s, int globals)
{
    lua_createtable(L, 0, 4);
    lua_createtable(L, 0, (int)s->settings.env_count);
    for (size_t i = 0; i < s->settings.env_count; i++) {
        lua_pushstring(L, s->settings.env[i].value);
        lua_setfield(L, -2, s->settings.env[i].name);
    }
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, env_pairs, 1);
    lua_setfield(L, -3, "__pairs");
    lua_setfield(L, -2, "__index");
    set_proxy(L, globals, "env", env_newindex);
}

void api_module(lua_State *L, const struct words *w)
{
    int globals = lua_gettop(L);

    if (words_has(w, "require")) {
        lua_newtable(L);
        lua_pushcclosure(L, require, 1);
        lua_setfield(L, globals, "require");
    }
    if (words_has(w, "env")) {
        make_env(L, state_from(L), globals);
    }
    if (words_has(w, "app")) {
        lua_createtable(L, 0, 3);
        lua_pushcfunction(L, app_index);
        lua_setfield(L, -2, "__index");
        set_proxy(L, globals, "app", app_newindex);
    }
}
