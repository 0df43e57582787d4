/* api_request.c -- `request`: what on_connect is asked with.
 *
 * The request is one block of strings in a userdata (connect.c makes it);
 * tables of headers, query and cookies are built when they are looked at and
 * kept (user values), so that an app that only wants the path pays for that
 * alone. Header names are lower case; of several headers with one name the
 * values are joined with ", ", as RFC 9110 5.3 has it. */
#include "app/api_priv.h"
#include "script/json.h"
#include <string.h>
#include <strings.h>

enum { KEPT_HEADERS = 1, KEPT_QUERY, KEPT_COOKIES, KEPT_PROTOCOLS, KEPT_BODY };
#define KEPT_COUNT 5

struct request {
    size_t len; /* of the block: method, path, query, ip, host, headers... */
    char block[];
};

static void make_meta(lua_State *L);

void api_push_request(lua_State *L, struct state *s, const uint8_t *p, size_t n)
{
    struct request *r = lua_newuserdatauv(L, sizeof(*r) + n, KEPT_COUNT);

    r->len = n;
    memcpy(r->block, p, n);
    api_push_meta(L, &s->request_meta, make_meta);
    lua_setmetatable(L, -2);
}

void api_set_request_body(lua_State *L, const char *body, size_t len)
{
    lua_pushlstring(L, body != NULL ? body : "", len);
    lua_setiuservalue(L, -2, KEPT_BODY);
}

static const struct request *check_request(lua_State *L)
{
    const struct request *own =
        api_userdata(L, 1, &state_from(L)->request_meta);

    if (own == NULL) {
        (void)api_bad_self(L, 1, "request");
    }
    return own;
}

static const char *string_at(const struct request *r, int n)
{
    ASSERT(r != NULL, "api_bad_self() raises");
    const char *p = r->block;

    while (n-- > 0) {
        p += strlen(p) + 1;
    }
    return p;
}

static const char *first_header(const struct request *r)
{
    return string_at(r, 5);
}

/* First value of that header; NULL: none. */
static const char *find_header(const struct request *r, const char *name)
{
    const char *end = r->block + r->len;

    for (const char *p = first_header(r); p < end;) {
        const char *value = p + strlen(p) + 1;
        if (strcmp(p, name) == 0) {
            return value;
        }
        p = value + strlen(value) + 1;
    }
    return NULL;
}

/* ---- tables ---- */

static void push_headers(lua_State *L, const struct request *r)
{
    const char *end = r->block + r->len;

    lua_newtable(L);
    for (const char *p = first_header(r); p < end;) {
        const char *value = p + strlen(p) + 1;
        lua_pushstring(L, p);
        if (lua_rawget(L, -2) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_pushstring(L, value);
        } else {
            lua_pushfstring(L, ", %s", value);
            lua_concat(L, 2);
        }
        lua_setfield(L, -2, p);
        p = value + strlen(value) + 1;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* As HTML forms encode: %XX and + for a space; a lone % stays. */
static void push_decoded(lua_State *L, const char *s, size_t n)
{
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n; i++) {
        int high = s[i] == '%' && i + 2 < n ? hex_digit(s[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(s[i + 2]) : -1;
        if (low >= 0) {
            luaL_addchar(&b, (char)(high * 16 + low));
            i += 2;
        } else {
            luaL_addchar(&b, s[i] == '+' ? ' ' : s[i]);
        }
    }
    luaL_pushresult(&b);
}

static void push_query(lua_State *L, const char *query)
{
    lua_newtable(L);
    while (*query != '\0') {
        size_t n = strcspn(query, "&");
        size_t name = strcspn(query, "&=");
        if (n > 0) {
            push_decoded(L, query, name);
            if (name < n) {
                push_decoded(L, query + name + 1, n - name - 1);
            } else {
                lua_pushliteral(L, "");
            }
            lua_rawset(L, -3);
        }
        query += n + (query[n] == '&');
    }
}

/* RFC 6265 4.2.1: name=value; name=value. The first of a name wins. */
static void push_cookies(lua_State *L, const struct request *r)
{
    const char *p = find_header(r, "cookie");

    lua_newtable(L);
    while (p != NULL && *p != '\0') {
        p += strspn(p, " ;");
        size_t n = strcspn(p, ";");
        size_t name = strcspn(p, ";=");
        if (name < n && name > 0) {
            lua_pushlstring(L, p, name);
            lua_pushvalue(L, -1);
            if (lua_rawget(L, -3) == LUA_TNIL) {
                lua_pop(L, 1);
                lua_pushlstring(L, p + name + 1, n - name - 1);
                lua_rawset(L, -3);
            } else {
                lua_pop(L, 2);
            }
        }
        p += n;
    }
}

/* Cut as handshake_offers() cuts it: whatever stands in this list can be
 * chosen, however odd it is. */
static void push_protocols(lua_State *L, const struct request *r)
{
    const char *end = r->block + r->len;
    lua_Integer count = 0;

    lua_newtable(L);
    for (const char *name = first_header(r); name < end;) {
        const char *p = name + strlen(name) + 1;
        /* RFC 6455 11.3.4: the list may be spread over several headers. */
        bool is_offer = strcmp(name, "sec-websocket-protocol") == 0;
        while (is_offer && *p != '\0') {
            p += strspn(p, " \t,");
            size_t n = strcspn(p, ",");
            const char *next = p + n;
            while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
                n--;
            }
            if (n > 0) {
                lua_pushlstring(L, p, n);
                lua_rawseti(L, -2, ++count);
            }
            p = next;
        }
        name = p + strlen(p) + 1;
    }
}

/* Pushes a kept table, building it at the first look. */
static int push_kept(lua_State *L, const struct request *r, int which)
{
    if (lua_getiuservalue(L, 1, which) == LUA_TTABLE) {
        return 1;
    }
    lua_pop(L, 1);
    switch (which) {
    case KEPT_HEADERS: push_headers(L, r); break;
    case KEPT_QUERY: push_query(L, string_at(r, 2)); break;
    case KEPT_COOKIES: push_cookies(L, r); break;
    default: push_protocols(L, r); break;
    }
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, which);
    return 1;
}

/* ---- methods and fields ---- */

/* The token of "Authorization: Bearer …"; else the query's token. */
static int request_token(lua_State *L)
{
    const struct request *r = check_request(L);
    const char *value = find_header(r, "authorization");

    if (value != NULL && strncasecmp(value, "bearer ", 7) == 0) {
        value += 7;
        lua_pushstring(L, value + strspn(value, " "));
        return 1;
    }
    (void)push_kept(L, r, KEPT_QUERY);
    lua_pushliteral(L, "token");
    lua_rawget(L, -2);
    return 1;
}

/* It has come whole before the handler was called. */
static int request_body(lua_State *L)
{
    (void)check_request(L);
    if (lua_getiuservalue(L, 1, KEPT_BODY) != LUA_TSTRING) {
        lua_pushliteral(L, ""); /* on_connect: a handshake has none */
    }
    return 1;
}

static int request_json(lua_State *L)
{
    size_t len;

    (void)request_body(L);
    const char *text = lua_tolstring(L, -1, &len);
    if (json_decode(L, text, len) == 0) {
        return 1;
    }
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

static int request_index(lua_State *L)
{
    static const char *const strings[] = {"method", "path", NULL, "ip"};
    enum { HOST_AT = ARRAY_LEN(strings) };
    const struct request *r = check_request(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";

    for (int i = 0; i < (int)ARRAY_LEN(strings); i++) {
        if (strings[i] != NULL && strcmp(key, strings[i]) == 0) {
            lua_pushstring(L, string_at(r, i));
            return 1;
        }
    }
    if (strcmp(key, "headers") == 0) {
        return push_kept(L, r, KEPT_HEADERS);
    }
    if (strcmp(key, "query") == 0) {
        return push_kept(L, r, KEPT_QUERY);
    }
    if (strcmp(key, "cookies") == 0) {
        return push_kept(L, r, KEPT_COOKIES);
    }
    if (strcmp(key, "protocols") == 0) {
        return push_kept(L, r, KEPT_PROTOCOLS);
    }
    if (strcmp(key, "host") == 0) {
        const char *host = string_at(r, HOST_AT);
        lua_pushstring(L, host[0] != '\0' ? host : NULL);
        return 1;
    }
    if (strcmp(key, "origin") == 0) {
        lua_pushstring(L, find_header(r, key)); /* NULL pushes nil */
        return 1;
    }
    if (strcmp(key, "token") == 0) {
        lua_pushcfunction(L, request_token);
        return 1;
    }
    if (strcmp(key, "body") == 0) {
        lua_pushcfunction(L, request_body);
        return 1;
    }
    if (strcmp(key, "json") == 0) {
        lua_pushcfunction(L, request_json);
        return 1;
    }
    lua_pushnil(L);
    return 1;
}

static void make_meta(lua_State *L)
{
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, request_index);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "request");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}
