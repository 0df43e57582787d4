/* headers.c -- the headers that an app gives a response: of a handshake
 * (verdict.c) or of a request (response.c).
 *
 * A header must not be able to become another one, or part of the framing: so
 * names are tokens, values have no control characters, and those that say how
 * a response ends are not the app's to give. On the fiber; raw reads only.
 * Laws: I10 (the lines are not the app's memory). */
#include "app/request_priv.h"
#include "script/preempt.h"
#include <string.h>
#include <strings.h>

static bool is_ours(const char *name)
{
    static const char *const ours[] = {"connection", "upgrade",
        "content-length", "transfer-encoding", "trailer", "keep-alive", "date"};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        if (strcasecmp(name, ours[i]) == 0) {
            return true;
        }
    }
    return strncasecmp(name, "sec-websocket-", 14) == 0;
}

static bool is_header_ok(const char *name, const char *value, size_t value_len)
{
    if (name[0] == '\0' || is_ours(name)) {
        return false;
    }
    for (const char *p = name; *p != '\0'; p++) {
        if (*p <= ' ' || *p >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", *p)) {
            return false;
        }
    }
    for (size_t i = 0; i < value_len; i++) {
        unsigned char ch = (unsigned char)value[i];
        if ((ch < ' ' && ch != '\t') || ch == 0x7f) {
            return false;
        }
    }
    return true;
}

static void add_header(lua_State *L, const char *who, struct buf *lines,
    const char *name, int value_idx)
{
    size_t len;

    if (lua_type(L, value_idx) != LUA_TSTRING) {
        luaL_error(L, "%s: header '%s' is not a string", who, name);
    }
    const char *value = lua_tolstring(L, value_idx, &len);
    if (!is_header_ok(name, value, len)) {
        luaL_error(L, "%s: header '%s' cannot be set", who, name);
    }
    preempt_hold();
    int rc = buf_printf(lines, "%s: %s\r\n", name, value);
    preempt_release();
    if (rc != 0) {
        luaL_error(L, "%s: headers are over %d bytes", who, (int)lines->max);
    }
}

/* One value, or a list of them: Set-Cookie. */
static void add_values(
    lua_State *L, const char *who, struct buf *lines, const char *name)
{
    int value = lua_gettop(L);

    if (!lua_istable(L, value)) {
        add_header(L, who, lines, name, value);
        return;
    }
    for (lua_Integer i = 1; lua_rawgeti(L, value, i) != LUA_TNIL; i++) {
        add_header(L, who, lines, name, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void headers_read(
    lua_State *L, int idx, const char *who, struct buf *lines, bool *has_type)
{
    lua_pushliteral(L, "headers");
    lua_rawget(L, idx);
    if (lua_isnil(L, -1)) {
        return;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "%s: 'headers' must be a table", who);
    }
    int table = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "%s: header names are strings", who);
        }
        const char *name = lua_tostring(L, -2);
        add_values(L, who, lines, name);
        if (has_type != NULL && strcasecmp(name, "content-type") == 0) {
            *has_type = true;
        }
        lua_pop(L, 1);
    }
}
