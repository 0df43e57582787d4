/* connect.c -- from a well-formed WebSocket request to a client, or a refusal.
 *
 * Origin and limits are judged first, then on_connect(request) is asked; it
 * may await. The request is flattened to one block, since the parser's copy
 * dies with the call. The verdict comes back by conn_id: if the connection has
 * died meanwhile, neither on_open nor on_close runs.
 *
 * What on_connect may return: nil, status, reason -- or a table with user,
 * data, rooms, protocol, headers (true stands for an empty one). */
#include "app/app_priv.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/units.h"
#include "net/reply.h"
#include "proto/handshake.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define REASON_BYTES 256

struct connect {
    struct conn_id conn;
    uint64_t id; /* the client's, if it becomes one */
    char accept[HANDSHAKE_ACCEPT_BYTES + 1];
    char *path;      /* own copy */
    char *protocols; /* what the client offers, one list; NULL: nothing */
    /* The verdict. */
    bool is_accepted;
    bool has_data;
    int status;
    char reason[REASON_BYTES];
    char *user; /* NULL: none */
    size_t user_len;
    char protocol[LIMIT_PROTOCOL_BYTES + 1];
    struct buf headers; /* lines, each ending in CRLF */
    struct buf rooms;   /* {uint32 length, name}... */
};

/* ---- the request as one block: method, path, query, ip, then names and
 * values of the headers, each NUL-ended. ---- */

static int add_string(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s) + 1);
}

static int flatten(struct buf *b, const struct http_request *r, const char *ip)
{
    int rc = add_string(b, r->method);

    rc = rc != 0 ? rc : add_string(b, r->path);
    rc = rc != 0 ? rc : add_string(b, r->query);
    rc = rc != 0 ? rc : add_string(b, ip);
    for (size_t i = 0; rc == 0 && i < r->header_count; i++) {
        rc = add_string(b, r->headers[i].name);
        rc = rc != 0 ? rc : add_string(b, r->headers[i].value);
    }
    return rc;
}

/* ---- refusals ---- */

static void refuse(struct conn *c, int status, const char *text)
{
    reply_text(c, status, text, status == 503 ? "Retry-After: 5\r\n" : NULL,
        false, false);
}

static void log_refusal(
    struct app *a, struct conn *c, int status, const char *text)
{
    struct log_fields f;
    char ip[CONN_IP_BYTES];

    conn_ip(c, ip);
    app_log_fields(a, a->live, &f);
    f.event = "connect";
    log_event(LOG_WARN, &f, "refused %s with %d: %s", ip, status, text);
}

/* Names the origin, what is allowed, and the setting. */
static bool check_origin(
    struct app *a, struct conn *c, const struct http_request *r)
{
    const char *const *allowed =
        (const char *const *)(void *)a->live->settings.origins;
    char text[1024];

    if (handshake_origin_is_allowed(r, allowed)) {
        return true;
    }
    const char *origin = http_header_find(r, "origin");
    int n = snprintf(text, sizeof(text),
        "origin \"%.200s\" is not allowed; allowed: the host itself",
        origin != NULL ? origin : "");
    for (size_t i = 0; allowed != NULL && allowed[i] != NULL; i++) {
        if (n > 0 && (size_t)n < sizeof(text)) {
            n += snprintf(
                text + n, sizeof(text) - (size_t)n, ", %.100s", allowed[i]);
        }
    }
    if (n > 0 && (size_t)n < sizeof(text)) {
        (void)snprintf(text + n, sizeof(text) - (size_t)n,
            " (setting \"origins\" in app.conf.lua)");
    }
    log_refusal(a, c, 403, text);
    refuse(c, 403, text);
    return false;
}

static bool check_limits(struct app *a, struct conn *c)
{
    char text[128];

    if (a->is_stopping) {
        refuse(c, 503, "the server is stopping");
        return false;
    }
    if (a->client_count + a->connecting < a->live->settings.clients) {
        return true;
    }
    (void)snprintf(text, sizeof(text),
        "the app is full: %u clients are there, "
        "limits.clients is %u",
        a->client_count + a->connecting, a->live->settings.clients);
    log_refusal(a, c, 503, text);
    refuse(c, 503, "the app is full");
    return false;
}

/* ---- acceptance, on the loop's stack ---- */

static void free_connect(struct connect *cn)
{
    quota_free(cn->path);
    quota_free(cn->protocols);
    quota_free(cn->user);
    buf_fini(&cn->headers);
    buf_fini(&cn->rooms);
    mem_free(cn);
}

/* The data that on_connect set has nobody to belong to. */
static void forget_data(struct state *s, const struct connect *cn)
{
    if (cn->has_data) {
        lua_State *L = vm_state(s->vm);
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
        lua_pushnil(L);
        lua_rawseti(L, -2, (lua_Integer)cn->id);
        lua_pop(L, 1);
    }
}

static int join_rooms(struct client *cl, const struct buf *rooms)
{
    for (size_t at = 0; at < rooms->len;) {
        uint32_t len;
        memcpy(&len, rooms->p + at, sizeof(len));
        at += sizeof(len);
        int rc = hub_join(&cl->member, (const char *)rooms->p + at, len);
        if (rc != 0) {
            return rc;
        }
        at += len;
    }
    return 0;
}

static int make_client(struct app *a, struct conn *c, struct connect *cn,
    struct state *s, struct client **out)
{
    struct client *cl = client_new(
        a, c, cn->id, cn->path, cn->protocol, cn->user, cn->user_len);

    if (cl == NULL) {
        return ERR_NOMEM;
    }
    cl->state = s;
    cl->has_data = cn->has_data;
    int rc = hub_enter(
        a->hub, &cl->member, cn->id, conn_get_id(c), cn->user, cn->user_len);
    if (rc == 0) {
        rc = join_rooms(cl, &cn->rooms);
    }
    if (rc != 0) {
        client_free(cl);
        return rc;
    }
    *out = cl;
    return 0;
}

static void accept_client(
    struct app *a, struct conn *c, struct connect *cn, struct state *s)
{
    char head[LIMIT_RESPONSE_HEADER_BYTES + 512];
    struct client *cl = NULL;
    int rc = make_client(a, c, cn, s, &cl);

    if (rc != 0) {
        log_refusal(a, c, 503, err_word(rc));
        refuse(c, 503,
            rc == ERR_FULL ? "the room is full" : "no room for another client");
        return;
    }
    size_t len = handshake_response(head, sizeof(head), cn->accept,
        cn->protocol[0] != '\0' ? cn->protocol : NULL,
        cn->headers.len != 0 ? (const char *)cn->headers.p : NULL);
    ASSERT(len != 0, "I6");
    conn_upgrade(c, head, len, &client_handler, cl, &a->conn_settings);
    if (cl->state != a->live) {
        reload_migrate(cl);
    }
    if (a->live->handlers[HANDLER_ON_OPEN] != LUA_NOREF) {
        struct event *ev = inbox_event(a, EVENT_OPEN);
        ev->client = cl;
        /* Queued, not taken: this may be the end of another event. */
        inbox_queue(a, ev);
    }
}

void connect_finished(struct event *ev)
{
    struct app *a = ev->app;
    struct connect *cn = ev->extra;
    struct conn *c = net_find(a->net, cn->conn);
    bool is_taken = false;

    a->connecting--;
    if (c != NULL && conn_has_left(c)) {
        conn_kill(c, false);
        c = NULL;
    }
    if (c == NULL) {
        /* It died while we thought. */
    } else if (ev->has_failed) {
        refuse(c, 500, "the app failed to decide");
    } else if (!cn->is_accepted) {
        refuse(c, cn->status, cn->reason);
    } else if (a->is_stopping) {
        refuse(c, 503, "the server is stopping");
    } else {
        uint32_t before = a->client_count;
        accept_client(a, c, cn, ev->state);
        is_taken = a->client_count > before;
    }
    if (!is_taken) {
        forget_data(ev->state, cn);
    }
    free_connect(cn);
}

/* ---- the verdict, on the fiber ---- */

static const char *const verdict_keys[] = {
    "user", "data", "rooms", "protocol", "headers"};

static void check_keys(lua_State *L, int idx)
{
    lua_pushnil(L);
    while (lua_next(L, idx) != 0) {
        bool is_known = false;
        const char *key =
            lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        for (size_t i = 0; key != NULL && i < ARRAY_LEN(verdict_keys); i++) {
            is_known = is_known || strcmp(key, verdict_keys[i]) == 0;
        }
        if (!is_known) {
            const char *near = key == NULL ? NULL
                                           : units_suggest(key, verdict_keys,
                                                 ARRAY_LEN(verdict_keys));
            luaL_error(L, "on_connect: unknown field '%s'%s%s%s",
                key != NULL ? key : luaL_typename(L, -2),
                near != NULL ? "; did you mean '" : "",
                near != NULL ? near : "", near != NULL ? "'?" : "");
        }
        lua_pop(L, 1);
    }
}

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
    if (n > LIMIT_ROOMS_PER_CLIENT - 1) {
        luaL_error(
            L, "on_connect: more than %d rooms", LIMIT_ROOMS_PER_CLIENT - 1);
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
        if (buf_add(&cn->rooms, &len32, sizeof(len32)) != 0 ||
            buf_add(&cn->rooms, name, len) != 0) {
            luaL_error(L, "not enough memory");
        }
        lua_pop(L, 1);
    }
}

/* A header must not be able to become another one, or part of the
 * handshake. */
static bool is_header_ok(const char *name, const char *value, size_t value_len)
{
    static const char *const ours[] = {
        "connection", "upgrade", "content-length", "transfer-encoding"};

    if (name[0] == '\0' || strncasecmp(name, "sec-websocket-", 14) == 0) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        if (strcasecmp(name, ours[i]) == 0) {
            return false;
        }
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

static void add_header(
    lua_State *L, struct connect *cn, const char *name, int value_idx)
{
    size_t len;

    if (lua_type(L, value_idx) != LUA_TSTRING) {
        luaL_error(L, "on_connect: header '%s' is not a string", name);
    }
    const char *value = lua_tolstring(L, value_idx, &len);
    if (!is_header_ok(name, value, len)) {
        luaL_error(L, "on_connect: header '%s' cannot be set", name);
    }
    if (buf_printf(&cn->headers, "%s: %s\r\n", name, value) != 0) {
        luaL_error(L, "on_connect: headers are over %d bytes",
            LIMIT_RESPONSE_HEADER_BYTES);
    }
}

static void read_headers(lua_State *L, int idx, struct connect *cn)
{
    lua_pushliteral(L, "headers");
    lua_rawget(L, idx);
    if (lua_isnil(L, -1)) {
        return;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "on_connect: 'headers' must be a table");
    }
    int table = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            luaL_error(L, "on_connect: header names are strings");
        }
        const char *name = lua_tostring(L, -2);
        if (lua_istable(L, -1)) { /* several of one name: Set-Cookie */
            int values = lua_gettop(L);
            for (lua_Integer i = 1; lua_rawgeti(L, values, i) != LUA_TNIL;
                 i++) {
                add_header(L, cn, name, lua_gettop(L));
                lua_pop(L, 1);
            }
            lua_pop(L, 1);
        } else {
            add_header(L, cn, name, lua_gettop(L));
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

    check_keys(L, idx);
    const char *user = get_string(L, idx, "user", LIMIT_USER_BYTES, &len);
    if (user != NULL) {
        cn->user = quota_alloc(len);
        if (cn->user == NULL) {
            luaL_error(L, "not enough memory");
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
    read_headers(L, idx, cn);
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

int connect_push(struct event *ev, lua_State *T)
{
    lua_pushcfunction(T, ask);
    lua_pushlightuserdata(T, ev);
    lua_rawgeti(T, LUA_REGISTRYINDEX, ev->state->handlers[HANDLER_ON_CONNECT]);
    api_push_request(T, ev->state, ev->data, ev->len);
    return 3;
}

/* ---- the beginning ---- */

static char *copy_text(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = quota_alloc(n);

    if (copy != NULL) {
        memcpy(copy, s, n);
    }
    return copy;
}

/* The list may be spread over several headers (RFC 6455 11.3.4). */
static int join_offers(struct buf *b, const struct http_request *r)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        if (strcmp(h->name, "sec-websocket-protocol") == 0) {
            rc = buf_printf(b, "%s,", h->value);
        }
    }
    return rc;
}

static struct connect *new_connect(
    struct app *a, struct conn *c, const struct http_request *r)
{
    struct connect *cn = mem_zalloc(sizeof(*cn));
    struct buf offers;

    buf_init(&offers, LIMIT_HEAD_BYTES);
    cn->conn = conn_get_id(c);
    cn->id = a->next_id++;
    handshake_accept(r, cn->accept);
    buf_init(&cn->headers, LIMIT_RESPONSE_HEADER_BYTES);
    buf_init(&cn->rooms,
        (size_t)LIMIT_ROOMS_PER_CLIENT * (LIMIT_ROOM_NAME_BYTES + 4));
    cn->path = copy_text(r->path);
    int rc = join_offers(&offers, r);
    cn->protocols = (char *)offers.p;
    if (cn->path == NULL || rc != 0) {
        free_connect(cn);
        return NULL;
    }
    return cn;
}

void app_connect(struct app *a, struct conn *c, const struct http_request *r)
{
    char ip[CONN_IP_BYTES];
    struct buf flat;

    if (!check_origin(a, c, r) || !check_limits(a, c)) {
        return;
    }
    struct connect *cn = new_connect(a, c, r);
    if (cn == NULL) {
        refuse(c, 503, "no memory for another client");
        return;
    }
    if (a->live->handlers[HANDLER_ON_CONNECT] == LUA_NOREF) {
        accept_client(a, c, cn, a->live);
        free_connect(cn);
        return;
    }
    conn_ip(c, ip);
    buf_init(&flat, 4 * (size_t)LIMIT_HEAD_BYTES);
    if (flatten(&flat, r, ip) != 0) {
        buf_fini(&flat);
        free_connect(cn);
        refuse(c, 503, "no memory for another client");
        return;
    }
    struct event *ev = inbox_event(a, EVENT_CONNECT);
    ev->extra = cn;
    ev->data = flat.p; /* the event owns it now */
    ev->len = flat.len;
    ev->owns_data = true;
    a->connecting++;
    inbox_take(a, ev);
}
