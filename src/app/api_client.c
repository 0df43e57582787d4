/* api_client.c -- `client`: a userdata of {slot, generation, id} that finds
 * its client or nobody.
 *
 * The same client is the same userdata while anybody holds it (a cache with
 * weak values), so clients work as table keys. No __gc, nothing to free: an
 * idle client that no script holds costs Lua nothing. client.data lies in a
 * table of the state, made when it is first looked at. */
#include "app/api_priv.h"
#include "app/branch_priv.h"
#include "proto/utf8.h"
#include "script/json.h"
#include <string.h>

static void make_meta(lua_State *L);

void api_push_client(lua_State *L, struct state *s, struct client *cl)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_cache);
    if (lua_rawgeti(L, -1, (lua_Integer)client_id(cl)) == LUA_TUSERDATA) {
        lua_replace(L, -2);
        return;
    }
    lua_pop(L, 1);
    struct client_ref *ref = lua_newuserdatauv(L, sizeof(*ref), 0);
    ref->id = client_id(cl);
    ref->slot = cl->slot;
    ref->generation = cl->generation;
    api_push_meta(L, &s->client_meta, make_meta);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)ref->id);
    lua_replace(L, -2);
}

static const struct client_ref *to_ref(lua_State *L, int idx)
{
    return api_userdata(L, idx, &state_from(L)->client_meta);
}

bool api_is_client(lua_State *L, int idx, uint64_t *id)
{
    const struct client_ref *ref = to_ref(L, idx);

    if (ref == NULL) {
        return false;
    }
    *id = ref->id;
    return true;
}

const struct client_ref *api_check_client(lua_State *L, int idx)
{
    const struct client_ref *ref = to_ref(L, idx);

    if (ref == NULL) {
        (void)api_bad_self(L, idx, "client");
    }
    return ref;
}

struct client *api_find_client(lua_State *L, const struct client_ref *ref)
{
    return slots_get(&state_from(L)->app->clients, ref->slot, ref->generation);
}

struct client *api_client_of_id(struct app *a, uint64_t id)
{
    preempt_hold();
    struct member *m = hub_find(a->hub, id);
    preempt_release();
    return m == NULL ? NULL : container_of(m, struct client, member);
}

/* The same for who can still be sent to, or NULL. In a section. */
static struct client *find_open(lua_State *L, const struct client_ref *ref)
{
    struct client *cl = api_find_client(L, ref);

    return cl == NULL || cl->is_closed ? NULL : cl;
}

/* Ends a section. true, or nil and a word. */
static int push_outcome(lua_State *L, int rc)
{
    preempt_release();
    if (rc != 0) {
        return api_fail(L, rc, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- messages ---- */

const void *api_check_message(lua_State *L, int idx, bool is_binary,
    size_t *len, int *err, const char **detail)
{
    struct app *a = state_from(L)->app;

    *err = 0;
    *detail = NULL;
    int type = lua_type(L, idx);
    if (type == LUA_TTABLE) {
        if (json_encode(L, idx) != 0) {
            luaL_error(L, "bad argument 'message' (%s)", lua_tostring(L, -1));
        }
        lua_replace(L, idx);
    } else if (type != LUA_TSTRING) {
        (void)api_bad_argument(
            L, idx, "message", "string, or table to be sent as JSON");
    }
    const char *p = lua_tolstring(L, idx, len);
    /* An empty outbox takes one message of any size that could have come in,
     * so that an echo works with whatever message.max is. */
    const struct conn_settings *m = &a->conn_settings;
    size_t most = m->outbox.hard_bytes > m->message_bytes ? m->outbox.hard_bytes
                                                          : m->message_bytes;
    if (*len > most) {
        *err = ERR_TOO_BIG;
        *detail = "the message is over both outbox.hard and message.max";
    } else if (!is_binary && !utf8_is_valid((const uint8_t *)p, *len)) {
        *err = ERR_UTF8;
        *detail = "text must be UTF-8; pass { binary = true } for bytes";
    }
    return p;
}

/* A long message, to one: as a broadcast, which can be stopped. */
static int send_long(
    lua_State *L, const struct client_ref *ref, const struct hub_message *msg)
{
    const struct hub_target to = {.ids = &ref->id, .id_count = 1};
    uint32_t queued;
    uint32_t dropped;

    api_cast(state_from(L)->app, &to, msg, &queued, &dropped);
    if (queued == 0) {
        return api_fail(L, dropped != 0 ? ERR_FULL : ERR_CLOSED, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int client_send(lua_State *L)
{
    static const char *const options[] = {"binary", "key", "compress"};
    const struct client_ref *ref = api_check_client(L, 1);
    struct hub_message msg;
    const char *detail;
    int err;

    lua_settop(L, 3);
    api_message_options(L, 3, "client:send", options, ARRAY_LEN(options), &msg);
    msg.data = api_check_message(
        L, 2, msg.op == FRAME_BINARY, &msg.len, &err, &detail);
    if (err != 0) {
        return api_fail(L, err, detail);
    }
    preempt_hold();
    struct client *cl = find_open(L, ref);
    if (cl != NULL && hub_is_long(&cl->member, &msg)) {
        preempt_release();
        return send_long(L, ref, &msg);
    }
    int rc = ERR_CLOSED;
    if (cl != NULL) {
        rc = hub_send(&cl->member, &msg);
        api_note_refusal(cl->app);
    }
    return push_outcome(L, rc);
}

/* ---- the end ---- */

void api_check_close(lua_State *L, int idx, uint16_t *code, const char **reason,
    size_t *reason_len)
{
    lua_Integer n = 1000;

    if (!lua_isnoneornil(L, idx)) {
        if (!lua_isinteger(L, idx)) {
            (void)api_bad_argument(L, idx, "code", "integer");
        }
        n = lua_tointeger(L, idx);
    }
    if (n < 0 || n > 4999 || !frame_close_code_is_valid((unsigned)n)) {
        luaL_error(L,
            "bad argument 'code' (%I cannot be sent; 4000 to 4999 "
            "are the app's own)",
            (LUAI_UACINT)n);
    }
    *code = (uint16_t)n;
    *reason = "";
    *reason_len = 0;
    if (lua_isnoneornil(L, idx + 1)) {
        return;
    }
    if (lua_type(L, idx + 1) != LUA_TSTRING) {
        (void)api_bad_argument(L, idx + 1, "reason", "string");
    }
    *reason = lua_tolstring(L, idx + 1, reason_len);
    if (*reason_len > LIMIT_CLOSE_REASON ||
        !utf8_is_valid((const uint8_t *)*reason, *reason_len)) {
        luaL_error(L, "bad argument 'reason' (at most %d bytes of UTF-8)",
            LIMIT_CLOSE_REASON);
    }
}

static int client_close(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    const char *reason;
    size_t reason_len;
    uint16_t code;

    api_check_close(L, 2, &code, &reason, &reason_len);
    preempt_hold();
    struct client *cl = find_open(L, ref);
    if (cl != NULL) {
        (void)client_dismiss(cl, code, reason, reason_len);
    }
    return push_outcome(L, cl == NULL ? ERR_CLOSED : 0);
}

/* ---- rooms ---- */

/* A join was refused: says by which limit, in the log and to Lua. */
static int refuse_join(lua_State *L, struct app *a, const struct client *cl)
{
    const struct settings *s = &a->live->settings;
    bool is_client = cl->member.room_count > s->rooms_per_client;
    char text[64];
    struct log_fields f;

    (void)snprintf(text, sizeof(text), "%s is %u",
        is_client ? "limits.rooms_per_client" : "limits.rooms",
        is_client ? s->rooms_per_client : s->rooms);
    if (app_is_due(loop_now_ms(a->loop), &a->rooms_logged_ms)) {
        app_log_fields(a, a->live, &f);
        f.client = client_id(cl);
        f.event = "join";
        log_event(LOG_WARN, &f, "a client cannot join another room: %s", text);
    }
    preempt_release();
    return api_fail(L, ERR_QUOTA, text);
}

static int client_join(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    size_t len;
    const char *name =
        api_check_string(L, 2, "room", LIMIT_ROOM_NAME_BYTES, &len);

    preempt_hold();
    struct client *cl = find_open(L, ref);
    int rc = cl == NULL ? ERR_CLOSED : hub_join(&cl->member, name, len);
    if (rc == ERR_QUOTA) {
        return refuse_join(L, cl->app, cl);
    }
    return push_outcome(L, rc);
}

static int client_leave(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    size_t len;
    const char *name =
        api_check_string(L, 2, "room", LIMIT_ROOM_NAME_BYTES, &len);

    preempt_hold();
    struct client *cl = find_open(L, ref);
    bool was_in = cl != NULL && hub_part(&cl->member, name, len);
    preempt_release();
    lua_pushboolean(L, was_in);
    return 1;
}

static int client_is_in(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    size_t len;
    const char *name =
        api_check_string(L, 2, "room", LIMIT_ROOM_NAME_BYTES, &len);

    preempt_hold();
    struct client *cl = find_open(L, ref);
    bool is_in = cl != NULL && hub_is_in(&cl->member, name, len);
    preempt_release();
    lua_pushboolean(L, is_in);
    return 1;
}

/* The rooms it is in, or in on_close those it was in, as {uint32 length,
 * name}...: as many as fit. Returns how many bytes that takes; without `out`,
 * how many all of them take. In a section. */
static size_t copy_rooms(const struct client *cl, char *out, size_t cap)
{
    size_t at = 0;

    if (cl == NULL) {
        return 0;
    }
    if (cl->is_closed) {
        const struct left_rooms *left = cl->left_rooms;
        if (left == NULL || (out != NULL && left->len > cap)) {
            return 0;
        }
        if (out != NULL) {
            memcpy(out, left->names, left->len);
        }
        return left->len;
    }
    for (uint32_t i = 1; i < cl->member.room_count; i++) {
        size_t len;
        const char *name = room_name(cl->member.rooms[i], &len);
        uint32_t len32 = (uint32_t)len;
        if (out != NULL && at + sizeof(len32) + len > cap) {
            break;
        }
        if (out != NULL) {
            memcpy(out + at, &len32, sizeof(len32));
            memcpy(out + at + sizeof(len32), name, len);
        }
        at += sizeof(len32) + len;
    }
    return at;
}

static int client_rooms(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    lua_Integer n = 0;

    preempt_hold();
    size_t cap = copy_rooms(api_find_client(L, ref), NULL, 0);
    preempt_release();
    char *names = lua_newuserdatauv(L, cap + 1, 0);
    preempt_hold();
    size_t end = copy_rooms(api_find_client(L, ref), names, cap);
    preempt_release();
    lua_newtable(L);
    for (size_t at = 0; at < end;) {
        uint32_t len;
        memcpy(&len, names + at, sizeof(len));
        lua_pushlstring(L, names + at + sizeof(len), len);
        lua_rawseti(L, -2, ++n);
        at += sizeof(len) + len;
    }
    return 1;
}

/* In a section. */
static void look_at_queue(const struct client *cl, struct conn_queue *q)
{
    struct conn *c =
        cl == NULL ? NULL : net_find(cl->app->net, cl->member.conn);

    if (c != NULL) {
        conn_queue(c, q);
    } else if (cl != NULL && cl->far != NULL && !cl->is_closed) {
        *q = cl->far->queue;
    }
}

static void push_queue_table(lua_State *L, const struct conn_queue *q)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)q->messages);
    lua_setfield(L, -2, "messages");
    lua_pushinteger(L, (lua_Integer)q->bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, (lua_Integer)q->dropped);
    lua_setfield(L, -2, "dropped");
}

void api_push_queue(lua_State *L, const struct client *cl)
{
    struct conn_queue q = {0, 0, 0};

    preempt_hold();
    look_at_queue(cl, &q);
    preempt_release();
    push_queue_table(L, &q);
}

static int client_queue(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    struct conn_queue q = {0, 0, 0};

    preempt_hold();
    look_at_queue(api_find_client(L, ref), &q);
    preempt_release();
    push_queue_table(L, &q);
    return 1;
}

/* ---- fields ---- */

static int push_data(lua_State *L, struct client *cl)
{
    struct state *s = state_from(L);

    if (cl == NULL || cl->state != s) {
        /* Gone, or its data already lives in a newer generation. */
        lua_newtable(L);
        return 1;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
    if (lua_rawgeti(L, -1, (lua_Integer)client_id(cl)) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)client_id(cl));
        cl->has_data = true;
    }
    return 1;
}

static int push_text(lua_State *L, const char *s)
{
    if (s == NULL || s[0] == '\0') {
        lua_pushnil(L);
    } else {
        lua_pushstring(L, s);
    }
    return 1;
}

/* A field that only a client that is there has. */
static int push_living_field(
    lua_State *L, const char *key, const struct client *cl)
{
    if (strcmp(key, "user") == 0 && cl->user_len != 0) {
        lua_pushlstring(L, cl->strings + cl->user_at, cl->user_len);
    } else if (strcmp(key, "ip") == 0) {
        return push_text(L, cl->strings + cl->ip_at);
    } else if (strcmp(key, "path") == 0) {
        return push_text(L, cl->strings);
    } else if (strcmp(key, "protocol") == 0) {
        return push_text(L, cl->strings + cl->protocol_at);
    } else if (strcmp(key, "connected_at") == 0) {
        lua_pushnumber(L, (lua_Number)cl->connected_at_ms / 1000);
    } else if (strcmp(key, "generation") == 0) {
        lua_pushinteger(L, (lua_Integer)cl->state->generation);
    } else if (strcmp(key, "restored") == 0) {
        lua_pushboolean(L, cl->is_restored);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int push_field(
    lua_State *L, const char *key, struct client *cl, uint64_t id)
{
    if (strcmp(key, "id") == 0) {
        lua_pushinteger(L, (lua_Integer)id);
    } else if (strcmp(key, "data") == 0) {
        return push_data(L, cl);
    } else if (strcmp(key, "closed") == 0) {
        lua_pushboolean(L, cl == NULL || cl->is_closed);
    } else if (cl != NULL) {
        return push_living_field(L, key, cl);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* upvalue 1: the methods */
static int client_index(lua_State *L)
{
    /* A method is the same for all of them, and looks at its object itself. */
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    const struct client_ref *ref = api_check_client(L, 1);
    if (lua_type(L, 2) != LUA_TSTRING) {
        lua_pushnil(L);
        return 1;
    }
    preempt_hold();
    struct client *cl = api_find_client(L, ref);
    preempt_release();
    return push_field(L, lua_tostring(L, 2), cl, ref->id);
}

static int client_newindex(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";

    if (strcmp(key, "data") != 0) {
        return luaL_error(L,
            "client.%s cannot be set; keep what is yours in "
            "client.data",
            key);
    }
    if (!lua_istable(L, 3)) {
        return api_bad_argument(L, 3, "client.data", "table");
    }
    struct state *s = state_from(L);
    preempt_hold();
    struct client *cl = api_find_client(L, ref);
    preempt_release();
    if (cl == NULL || cl->state != s) {
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, (lua_Integer)client_id(cl));
    cl->has_data = true;
    return 0;
}

static int client_tostring(lua_State *L)
{
    const struct client_ref *ref = api_check_client(L, 1);

    lua_pushfstring(L, "client %I", (LUAI_UACINT)ref->id);
    return 1;
}

static void make_meta(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"send", client_send},
        {"close", client_close},
        {"join", client_join},
        {"leave", client_leave},
        {"is_in", client_is_in},
        {"rooms", client_rooms},
        {"queue", client_queue},
        {NULL, NULL},
    };

    lua_createtable(L, 0, 5);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, client_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, client_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, client_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "client");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}
