/* response.c -- what on_request returns, read into C on the fiber, so that an
 * error in it is an error of the handler with its traceback.
 *
 * It may return nil or false (404), a string (200, text), or a table with
 * status, headers and body, whose body may itself be a table: then it is sent
 * as JSON. Nothing of the app is touched; whatever it says lies in struct
 * exchange and has been judged by its limit (I6). Laws: I10. */
#include "app/api_priv.h"
#include "app/request_priv.h"
#include "base/mem.h"
#include "script/json.h"
#include "script/preempt.h"
#include <string.h>

static const char *const response_keys[] = {"status", "headers", "body"};

static void read_status(lua_State *L, int idx, struct exchange *x)
{
    lua_pushliteral(L, "status");
    lua_rawget(L, idx);
    x->status = 200;
    if (lua_isnil(L, -1)) {
        return;
    }
    int is_integer = 0;
    lua_Integer status = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || lua_type(L, -1) != LUA_TNUMBER || status < 200 ||
        status > 599) {
        luaL_error(L, "on_request: 'status' must be 200 to 599");
    }
    x->status = (int)status;
}

/* The string or table on top. */
static void read_content(lua_State *L, struct exchange *x)
{
    size_t len;

    if (lua_istable(L, -1)) {
        if (json_encode(L, lua_gettop(L)) != 0) {
            luaL_error(L, "on_request: 'body': %s", lua_tostring(L, -1));
        }
        x->is_json = true;
    } else if (lua_type(L, -1) != LUA_TSTRING) {
        luaL_error(L, "on_request: 'body' must be a string or a table, got %s",
            luaL_typename(L, -1));
    }
    const char *text = lua_tolstring(L, -1, &len);
    size_t most = state_from(L)->settings.response_bytes;
    if (len > most) {
        luaL_error(L,
            "on_request: the body has %I bytes, and limits.response is %I",
            (lua_Integer)len, (lua_Integer)most);
    }
    preempt_hold();
    x->content = quota_alloc(len != 0 ? len : 1);
    preempt_release();
    if (x->content == NULL) {
        (void)luaL_error(L, "not enough memory");
        return;
    }
    memcpy(x->content, text, len);
    x->content_len = len;
}

static void read_response(lua_State *L, int idx, struct exchange *x)
{
    api_check_keys(
        L, idx, "on_request", "field", response_keys, ARRAY_LEN(response_keys));
    read_status(L, idx, x);
    headers_read(L, idx, "on_request", &x->headers, &x->has_type);
    lua_pushliteral(L, "body");
    lua_rawget(L, idx);
    if (!lua_isnil(L, -1)) {
        read_content(L, x);
    }
}

/* (light userdata event, handler, request) */
static int ask(lua_State *L)
{
    struct event *ev = lua_touserdata(L, 1);
    struct exchange *x = ev->extra;

    lua_call(L, 1, 1);
    if (lua_istable(L, 2)) {
        read_response(L, 2, x);
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        x->status = 200;
        read_content(L, x);
    } else if (lua_toboolean(L, 2)) {
        luaL_error(L, "on_request must return a table, a string or nil; got %s",
            luaL_typename(L, 2));
    }
    return 0;
}

int response_push(struct event *ev, lua_State *T)
{
    struct exchange *x = ev->extra;
    int ref = ev->state->handlers[HANDLER_ON_REQUEST];

    if (ref == LUA_NOREF || x->is_late) {
        return -1; /* a reload has taken it away; nobody waits any more */
    }
    lua_pushcfunction(T, ask);
    lua_pushlightuserdata(T, ev);
    lua_rawgeti(T, LUA_REGISTRYINDEX, ref);
    api_push_request(T, ev->state, ev->data, ev->len);
    api_set_request_body(
        T, (const char *)x->body, x->body != NULL ? x->body_len : 0);
    return 3;
}
