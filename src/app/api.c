/* api.c -- installs what an app sees beside the standard library, and holds
 * the few things all api_NOUN.c files share.
 *
 * The rules of every binding: check all arguments first (that may raise), do
 * the work in C without touching Lua, push the results last. Expected
 * failures are nil, word, detail; wrong types raise and name the argument.
 * Tables that the app gets are fresh for each state, so tampering with them
 * hurts nobody else, and the server never reads them back. */
#include "app/api_priv.h"
#include "base/units.h"
#include "script/json.h"
#include <string.h>

int api_fail(lua_State *L, int err, const char *detail)
{
    lua_pushnil(L);
    lua_pushstring(L, err_word(err));
    if (detail == NULL) {
        return 2;
    }
    lua_pushstring(L, detail);
    return 3;
}

int api_fail_limit(lua_State *L, struct state *s, enum app_limit which)
{
    char text[APP_LIMIT_TEXT_BYTES];

    preempt_hold();
    app_note_limit(s, which, text);
    preempt_release();
    return api_fail(L, ERR_QUOTA, text);
}

int api_bad_argument(lua_State *L, int idx, const char *name, const char *want)
{
    return luaL_error(L, "bad argument '%s' (%s expected, got %s)", name, want,
        lua_isnone(L, idx) ? "nothing" : luaL_typename(L, idx));
}

int api_bad_self(lua_State *L, int idx, const char *what)
{
    return luaL_error(L,
        "bad argument '%s' (%s expected, got %s; call it with ':', not '.')",
        what, what, lua_isnone(L, idx) ? "nothing" : luaL_typename(L, idx));
}

const char *api_check_string(
    lua_State *L, int idx, const char *name, size_t max, size_t *len)
{
    if (lua_type(L, idx) != LUA_TSTRING) {
        (void)api_bad_argument(L, idx, name, "string");
    }
    const char *s = lua_tolstring(L, idx, len);
    if (*len == 0 || *len > max) {
        luaL_error(L, "bad argument '%s' (1 to %d bytes expected, got %d)",
            name, (int)max, (int)*len);
    }
    return s;
}

uint64_t api_check_ms(lua_State *L, int idx, const char *name)
{
    if (lua_type(L, idx) == LUA_TNUMBER) {
        lua_Number seconds = lua_tonumber(L, idx);
        if (!(seconds >= 0 && seconds <= 1e9)) {
            luaL_error(
                L, "bad argument '%s' (0 to 1e9 seconds expected)", name);
        }
        return (uint64_t)(seconds * 1000 + 0.5);
    }
    uint64_t ms = 0;
    if (lua_type(L, idx) != LUA_TSTRING) {
        (void)api_bad_argument(L, idx, name, "seconds or a text like \"5m\"");
    }
    if (units_parse_ms(lua_tostring(L, idx), &ms) != 0 || ms > 1000000000000u) {
        luaL_error(L,
            "bad argument '%s' (\"%s\" is no duration; \"100ms\", "
            "\"30s\", \"5m\", \"1h\", \"1d\" are)",
            name, lua_tostring(L, idx));
    }
    return ms;
}

void api_refuse_loading(lua_State *L, const char *function)
{
    if (state_from(L)->is_loading) {
        luaL_error(L,
            "%s cannot be called while the app loads: call it from "
            "on_start or another handler",
            function);
    }
}

/* The key on top but one is none of the known. */
static int refuse_key(lua_State *L, const char *function, const char *what,
    const char *const *known, size_t n)
{
    const char *key =
        lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    const char *near = key == NULL ? NULL : units_suggest(key, known, n);

    return luaL_error(L, "%s: unknown %s '%s'%s%s%s", function, what,
        key != NULL ? key : luaL_typename(L, -2),
        near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
        near != NULL ? "'?" : "");
}

static bool is_one_of(const char *key, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(key, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

void api_check_keys(lua_State *L, int idx, const char *function,
    const char *what, const char *const *known, size_t n)
{
    lua_pushnil(L);
    while (lua_next(L, idx) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING ||
            !is_one_of(lua_tostring(L, -2), known, n)) {
            (void)refuse_key(L, function, what, known, n);
        }
        lua_pop(L, 1);
    }
}

void api_check_options(lua_State *L, int idx, const char *function,
    const char *const *known, size_t n)
{
    if (lua_isnoneornil(L, idx)) {
        return;
    }
    if (!lua_istable(L, idx)) {
        (void)api_bad_argument(L, idx, "options", "table");
    }
    api_check_keys(L, idx, function, "option", known, n);
}

void api_message_options(lua_State *L, int idx, const char *function,
    const char *const *known, size_t n, struct hub_message *msg)
{
    msg->op = FRAME_TEXT;
    msg->key = NULL;
    msg->key_len = 0;
    msg->compress = HUB_COMPRESS_AUTO;
    if (lua_isnoneornil(L, idx)) {
        return;
    }
    lua_pushnil(L);
    int anchor = lua_gettop(L);
    if (!lua_istable(L, idx)) {
        (void)api_bad_argument(L, idx, "options", "table");
    }
    lua_pushnil(L);
    while (lua_next(L, idx) != 0) {
        const char *key =
            lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(key, "binary") == 0) {
            msg->op = lua_toboolean(L, -1) ? FRAME_BINARY : FRAME_TEXT;
        } else if (strcmp(key, "compress") == 0) {
            if (!lua_isboolean(L, -1)) {
                (void)api_bad_argument(L, lua_gettop(L), "compress", "boolean");
            }
            msg->compress =
                lua_toboolean(L, -1) ? HUB_COMPRESS_YES : HUB_COMPRESS_NO;
        } else if (strcmp(key, "key") == 0) {
            msg->key = api_check_string(
                L, lua_gettop(L), "key", LIMIT_KEY_BYTES, &msg->key_len);
            lua_pushvalue(L, -1);
            lua_replace(L, anchor);
        } else if (!is_one_of(key, known, n)) {
            (void)refuse_key(L, function, "option", known, n);
        }
        lua_pop(L, 1);
    }
}

void api_push_meta(lua_State *L, struct api_meta *m, void (*make)(lua_State *L))
{
    if (LIKELY(m->ref != 0)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, m->ref);
        return;
    }
    make(L);
    lua_pushvalue(L, -1);
    m->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    m->table = lua_topointer(L, -1);
}

/* Each method of each client begins with this. Scripts make no userdata and get
 * to see no metatable of ours, so an address says enough; and it is one look-up
 * in the registry less. */
void *api_userdata(lua_State *L, int idx, const struct api_meta *m)
{
    void *p = lua_touserdata(L, idx);

    if (p == NULL || !lua_getmetatable(L, idx)) {
        return NULL;
    }
    bool is_it = lua_topointer(L, -1) == m->table;
    lua_pop(L, 1);
    return is_it ? p : NULL;
}

void api_set_function(
    lua_State *L, const struct words *w, const char *name, lua_CFunction f)
{
    if (words_has(w, name)) {
        lua_pushcfunction(L, f);
        lua_setfield(L, -2, name);
    }
}

void api_set_library(lua_State *L, const struct words *w, const char *name,
    const luaL_Reg *functions)
{
    int n = 0;

    if (!words_has(w, name)) {
        return;
    }
    while (functions[n].name != NULL) {
        n++;
    }
    lua_createtable(L, 0, n);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, name);
}

int api_open(lua_State *L)
{
    const struct words *w = lua_touserdata(L, 1);

    lua_pushglobaltable(L);
    if (words_has(w, "json")) {
        json_open(L);
        lua_setfield(L, -2, "json");
    }
    api_hub(L, w);
    api_room(L, w);
    api_time(L, w);
    api_task(L, w);
    api_module(L, w);
    api_log(L, w);
    api_limit(L, w);
    api_crypto(L, w);
    lua_pop(L, 1);
    return 0;
}
