/* verdict.c -- what on_connect returns, read into C on the fiber, so that an
 * error in it is an error of the handler with its traceback.
 *
 * It may return nil, status, reason -- or a table with user, data, rooms,
 * protocol, headers (true stands for an empty one). Nothing of the app is
 * touched but client.data of the new id, and that last; whatever else it says
 * lies in struct connect and has been judged by its limit (I6). */
#include "app/api_priv.h"
#include "app/connect_priv.h"
#include "app/request_priv.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

static const char *const verdict_keys[] = {
    "user", "data", "rooms", "protocol", "headers"};

static const char *get_string(
    lua_State *L, int idx, const char *field, size_t max, size_t *len)
{
    lua_pushstring(L, field);
    lua_rawget(L, idx);
    if (lua_isnil(L, -1)) {
        return NULL;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "on_connect: '%s' must be a string, got %s", field,
            luaL_typename(L, -1));
    }
    const char *s = lua_tolstring(L, -1, len);
    if (*len == 0 || *len > max) {
        luaL_error(
            L, "on_connect: '%s' must be 1 to %d bytes long", field, (int)max);
    }
    return s;
}

static bool is_offered(const char *offers, const char *protocol)
{
    struct http_header h = {"sec-websocket-protocol", offers, 0};
    struct http_request r = {.header_count = 1, .headers = &h};

    if (offers == NULL) {
        return false;
    }
    h.value_len = strlen(offers);
    return handshake_offers(&r, protocol);
}

static void read_rooms(lua_State *L, int idx, struct connect *cn)
{
    lua_pushliteral(L, "rooms");
    lua_rawget(L, idx);
    if (lua_isnil(L, -1)) {
        return;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "on_connect: 'rooms' must be a table of names");
    }
    lua_Unsigned n = lua_rawlen(L, -1);
    uint32_t most = state_from(L)->settings.rooms_per_client;
    if (n > most) {
        luaL_error(L,
            "on_connect: more rooms than limits.rooms_per_client (%d) allows",
            (int)most);
    }
    for (lua_Unsigned i = 1; i <= n; i++) {
        size_t len;
        if (lua_rawgeti(L, -1, (lua_Integer)i) != LUA_TSTRING) {
            luaL_error(L, "on_connect: rooms[%d] is not a string", (int)i);
        }
        const char *name = lua_tolstring(L, -1, &len);
        if (len == 0 || len > LIMIT_ROOM_NAME_BYTES) {
            luaL_error(L, "on_connect: rooms[%d] must be 1 to %d bytes long",
                (int)i, LIMIT_ROOM_NAME_BYTES);
        }
        uint32_t len32 = (uint32_t)len;
        preempt_hold();
        bool is_added = buf_add(&cn->rooms, &len32, sizeof(len32)) == 0 &&
                        buf_add(&cn->rooms, name, len) == 0;
        preempt_release();
        if (!is_added) {
            luaL_error(L, "not enough memory");
        }
        lua_pop(L, 1);
    }
}

static void read_data(lua_State *L, int idx, struct connect *cn)
{
    struct state *s = state_from(L);

    lua_pushliteral(L, "data");
    lua_rawget(L, idx);
    if (lua_isnil(L, -1)) {
        return;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "on_connect: 'data' must be a table");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)cn->id);
    cn->has_data = true;
}

static void read_refusal(lua_State *L, struct connect *cn)
{
    const char *reason = lua_tostring(L, 4);

    cn->status = 403;
    if (!lua_isnoneornil(L, 3)) {
        lua_Integer status = lua_tointeger(L, 3);
        if (status < 400 || status > 599) {
            luaL_error(L, "on_connect: a refusal's status is 400 to 599");
        }
        cn->status = (int)status;
    }
    (void)snprintf(cn->reason, sizeof(cn->reason), "%s",
        reason != NULL ? reason : http_reason(cn->status));
}

static void read_verdict(lua_State *L, int idx, struct connect *cn)
{
    size_t len;

    api_check_keys(
        L, idx, "on_connect", "field", verdict_keys, ARRAY_LEN(verdict_keys));
    const char *user = get_string(L, idx, "user", LIMIT_USER_BYTES, &len);
    if (user != NULL) {
        preempt_hold();
        cn->user = quota_alloc(len);
        preempt_release();
        if (cn->user == NULL) {
            (void)luaL_error(L, "not enough memory");
            return;
        }
        memcpy(cn->user, user, len);
        cn->user_len = len;
    }
    const char *protocol =
        get_string(L, idx, "protocol", LIMIT_PROTOCOL_BYTES, &len);
    if (protocol != NULL) {
        if (!is_offered(cn->protocols, protocol)) {
            luaL_error(L,
                "on_connect: the client did not offer the protocol "
                "'%s' (request.protocols lists what it offers)",
                protocol);
        }
        memcpy(cn->protocol, protocol, len + 1);
    }
    read_rooms(L, idx, cn);
    headers_read(L, idx, "on_connect", &cn->headers, NULL);
    read_data(L, idx, cn); /* last: nothing after it can fail */
    cn->is_accepted = true;
}

/* (light userdata event, handler, request) */
static int ask(lua_State *L)
{
    struct event *ev = lua_touserdata(L, 1);
    struct connect *cn = ev->extra;

    lua_call(L, 1, 3); /* -> 2: conn, 3: status, 4: reason */
    if (lua_istable(L, 2)) {
        read_verdict(L, 2, cn);
    } else if (lua_isboolean(L, 2) && lua_toboolean(L, 2)) {
        cn->is_accepted = true;
    } else if (lua_isnil(L, 2) || lua_isboolean(L, 2)) {
        read_refusal(L, cn);
    } else {
        luaL_error(L,
            "on_connect must return a table, true, or nil, status, "
            "reason; got %s",
            luaL_typename(L, 2));
    }
    return 0;
}

int verdict_push(struct event *ev, lua_State *T)
{
    const struct connect *cn = ev->extra;

    if (cn->is_late) {
        return -1;
    }
    lua_pushcfunction(T, ask);
    lua_pushlightuserdata(T, ev);
    lua_rawgeti(T, LUA_REGISTRYINDEX, ev->state->handlers[HANDLER_ON_CONNECT]);
    api_push_request(T, ev->state, ev->data, ev->len);
    return 3;
}
