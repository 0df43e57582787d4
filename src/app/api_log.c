/* api_log.c -- log.debug, info, warn, error and print: lines of the app in the
 * server's log, at most LIMIT_APP_LOG_LINES_PER_S of them a second. */
#include "app/api_priv.h"
#include "script/json.h"
#include "script/sandbox.h"
#include <string.h>

static bool may_log(struct state *s)
{
    preempt_hold();
    bool may = lines_take(&s->app->own_lines);
    preempt_release();
    return may;
}

static void write_line(lua_State *L, enum log_level level, const char *text,
    size_t len, const char *fields)
{
    struct state *s = state_from(L);
    struct log_fields f;

    preempt_hold();
    app_log_fields(s->app, s, &f);
    f.event = "log";
    f.fields = fields;
    log_event(level, &f, "%.*s", (int)(len < 4096 ? len : 4096), text);
    preempt_release();
}

/* What each line of an app has already, and the server's word for how an event
 * ended. A second time it would be read as the server's: another app's name,
 * say. */
static const char *const taken[] = {
    "app", "event", "gen", "kind", "level", "msg", "ts"};

static bool is_taken(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        if (strcmp(name, taken[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_taken(lua_State *L, int fields)
{
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        lua_pushstring(L, taken[i]);
        int type = lua_rawget(L, fields);
        lua_pop(L, 1);
        if (type != LUA_TNIL) {
            return true;
        }
    }
    return false;
}

/* Puts a copy in place of the fields, in which such names end in "_". */
static void rename_taken(lua_State *L, int fields)
{
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, fields) != 0) {
        lua_pushvalue(L, -2);
        if (lua_type(L, -1) == LUA_TSTRING && is_taken(lua_tostring(L, -1))) {
            lua_pushliteral(L, "_");
            lua_concat(L, 2);
        }
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_replace(L, fields);
}

/* (text, fields?) */
static int log_at(lua_State *L, enum log_level level)
{
    const char *fields = NULL;
    size_t len;

    if (lua_type(L, 1) != LUA_TSTRING) {
        return api_bad_argument(L, 1, "text", "string");
    }
    if (!lua_isnoneornil(L, 2) && !lua_istable(L, 2)) {
        return api_bad_argument(L, 2, "fields", "table");
    }
    if (!log_is_on(level) || !may_log(state_from(L))) {
        return 0;
    }
    const char *text = lua_tolstring(L, 1, &len);
    if (lua_istable(L, 2)) {
        if (has_taken(L, 2)) {
            rename_taken(L, 2);
        }
        if (json_encode(L, 2) != 0) {
            return luaL_error(
                L, "bad argument 'fields' (%s)", lua_tostring(L, -1));
        }
        /* What stands between the braces. */
        size_t n;
        const char *json = lua_tolstring(L, -1, &n);
        if (n > 2 && json[0] == '{') {
            lua_pushlstring(L, json + 1, n - 2);
            fields = lua_tostring(L, -1);
        }
    }
    write_line(L, level, text, len, fields);
    return 0;
}

static int log_debug(lua_State *L)
{
    return log_at(L, LOG_DEBUG);
}

static int log_info(lua_State *L)
{
    return log_at(L, LOG_INFO);
}

static int log_warn(lua_State *L)
{
    return log_at(L, LOG_WARN);
}

static int log_error(lua_State *L)
{
    return log_at(L, LOG_ERROR);
}

/* print(...): as in Lua, with tabs between. */
static int print(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_Buffer b;

    if (!log_is_on(LOG_INFO) || !may_log(state_from(L))) {
        return 0;
    }
    for (int i = 1; i <= n; i++) {
        (void)sandbox_tostring(L, i, NULL);
        lua_replace(L, i);
    }
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1) {
            luaL_addchar(&b, '\t');
        }
        lua_pushvalue(L, i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    write_line(L, LOG_INFO, text, len, NULL);
    return 0;
}

void api_log(lua_State *L, const struct words *w)
{
    static const luaL_Reg functions[] = {
        {"debug", log_debug},
        {"info", log_info},
        {"warn", log_warn},
        {"error", log_error},
        {NULL, NULL},
    };

    api_set_library(L, w, "log", functions);
    api_set_function(L, w, "print", print);
}
