/* api_hub.c -- broadcast and clients: everybody an app can address.
 *
 * A broadcast is put together here (who, except whom) and done by the hub in
 * steps, between which the script can be stopped, as of one moment. `where`
 * runs over a snapshot of ids, before anything is queued, and may not wait: so
 * a broadcast is one moment, whatever the function does.
 *
 * It may do much: also to the options, whose names the hub is lent. So what
 * is used after it has run is read after it, or held by the stack (I10). */
#include "app/api_priv.h"
#include "base/late.h"
#include <string.h>

/* Room for what Lua tables name; garbage of the call. */
static void *scratch(lua_State *L, size_t n, size_t size)
{
    return lua_newuserdatauv(L, n * size + 1, 0);
}

/* A string, or a list of strings, of options[a] or options[b]. */
static const struct hub_name *read_names(lua_State *L, int opts,
    const char *one, const char *many, size_t max, size_t *count)
{
    *count = 0;
    lua_pushstring(L, one);
    lua_rawget(L, opts);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushstring(L, many);
        lua_rawget(L, opts);
    }
    int value = lua_gettop(L);
    if (lua_isnil(L, value)) {
        return NULL;
    }
    bool is_list = lua_istable(L, value);
    lua_Unsigned n = is_list ? lua_rawlen(L, value) : 1;
    if (n > 65536) {
        luaL_error(L, "option '%s': more than 65536 names", many);
    }
    struct hub_name *names = scratch(L, (size_t)n, sizeof(*names));
    for (lua_Unsigned i = 0; i < n; i++) {
        if (is_list) {
            lua_rawgeti(L, value, (lua_Integer)i + 1);
        } else {
            lua_pushvalue(L, value);
        }
        /* The text stays alive in the options table, unless a `where`
         * changes that; but then there are ids instead of names. */
        names[i].p =
            api_check_string(L, lua_gettop(L), one, max, &names[i].len);
        lua_pop(L, 1);
    }
    *count = (size_t)n;
    return names;
}

struct except {
    uint64_t *ids;
    struct hub_name *users;
    size_t id_count;
    size_t user_count;
};

static void add_except(lua_State *L, int idx, struct except *ex)
{
    uint64_t id;

    if (lua_type(L, idx) == LUA_TSTRING) {
        struct hub_name *name = &ex->users[ex->user_count++];
        name->p = lua_tolstring(L, idx, &name->len);
    } else if (api_is_client(L, idx, &id)) {
        ex->ids[ex->id_count++] = id;
    } else {
        (void)api_bad_argument(
            L, idx, "except", "client, user, or a table of them");
    }
}

/* except = client | user | {…} */
static void read_except(lua_State *L, int opts, struct hub_target *to)
{
    lua_pushliteral(L, "except");
    lua_rawget(L, opts);
    int value = lua_gettop(L);
    if (lua_isnil(L, value)) {
        return;
    }
    lua_Unsigned n = lua_istable(L, value) ? lua_rawlen(L, value) : 1;
    if (n > 65536) {
        luaL_error(L, "option 'except': more than 65536 entries");
    }
    struct except ex = {0};
    ex.ids = scratch(L, (size_t)n, sizeof(*ex.ids));
    ex.users = scratch(L, (size_t)n, sizeof(*ex.users));
    if (lua_istable(L, value)) {
        for (lua_Unsigned i = 1; i <= n; i++) {
            lua_rawgeti(L, value, (lua_Integer)i);
            add_except(L, lua_gettop(L), &ex);
            lua_pop(L, 1);
        }
    } else {
        add_except(L, value, &ex);
    }
    to->except_ids = ex.ids;
    to->except_count = ex.id_count;
    to->except_users = ex.users;
    to->except_user_count = ex.user_count;
}

/* ---- snapshots of ids ---- */

/* In a section. Ids of the walk that has begun, behind the `at` that are
 * there; returns how many there are then. */
static size_t list_ids(struct hub *h, uint64_t *ids, size_t cap, size_t at)
{
    while (!hub_list_step(h, ids, cap, &at)) {
        preempt_breathe();
    }
    hub_list_end(h);
    return at;
}

static size_t list_room(struct hub *h, const struct hub_name *room,
    uint64_t *ids, size_t cap, size_t at)
{
    preempt_hold();
    hub_list_room(h, room);
    at = list_ids(h, ids, cap, at);
    preempt_release();
    return at;
}

static size_t list_user(struct hub *h, const struct hub_name *user,
    uint64_t *ids, size_t cap, size_t at)
{
    preempt_hold();
    hub_list_user(h, user);
    at = list_ids(h, ids, cap, at);
    preempt_release();
    return at;
}

static size_t count_room(const struct hub *h, const struct hub_name *room)
{
    preempt_hold();
    size_t n = hub_count_room(h, room);
    preempt_release();
    return n;
}

static size_t count_user(const struct hub *h, const struct hub_name *user)
{
    preempt_hold();
    size_t n = hub_count_user(h, user);
    preempt_release();
    return n;
}

uint64_t *api_snapshot(lua_State *L, const struct hub_name *room, size_t *n)
{
    struct hub *h = state_from(L)->app->hub;
    size_t cap = count_room(h, room);
    uint64_t *ids = scratch(L, cap, sizeof(*ids));

    *n = list_room(h, room, ids, cap, 0);
    return ids;
}

/* Everybody that rooms and users address, doubles and all: the hub counts a
 * member once. Leaves the userdata on the stack. */
static uint64_t *collect(
    lua_State *L, struct app *a, const struct hub_target *to, size_t *n)
{
    size_t cap = 0;
    size_t at = 0;

    if (to->room_count == 0 && to->user_count == 0) {
        return api_snapshot(L, NULL, n);
    }
    ASSERT(to->room_count == 0 || to->rooms != NULL, "names are there");
    ASSERT(to->user_count == 0 || to->users != NULL, "names are there");
    for (size_t i = 0; i < to->room_count; i++) {
        cap += count_room(a->hub, &to->rooms[i]);
    }
    for (size_t i = 0; i < to->user_count; i++) {
        cap += count_user(a->hub, &to->users[i]);
    }
    uint64_t *ids = scratch(L, cap, sizeof(*ids));
    for (size_t i = 0; i < to->room_count; i++) {
        at = list_room(a->hub, &to->rooms[i], ids, cap, at);
    }
    for (size_t i = 0; i < to->user_count; i++) {
        at = list_user(a->hub, &to->users[i], ids, cap, at);
    }
    *n = at;
    return ids;
}

static void apply_where(
    lua_State *L, int opts, struct app *a, struct hub_target *to)
{
    struct state *s = state_from(L);
    size_t n;
    size_t kept = 0;

    lua_pushliteral(L, "where");
    lua_rawget(L, opts);
    int where = lua_gettop(L);
    if (lua_isnil(L, where)) {
        return;
    }
    if (!lua_isfunction(L, where)) {
        (void)api_bad_argument(L, where, "where", "function");
    }
    uint64_t *ids = collect(L, a, to, &n);
    for (size_t i = 0; i < n; i++) {
        struct client *cl = api_client_of_id(a, ids[i]);
        if (cl == NULL) {
            continue;
        }
        lua_pushvalue(L, where);
        api_push_client(L, s, cl);
        /* Around the call alone: what raises besides, for want of memory,
         * must not leave it forbidden. */
        task_forbid(L, "the 'where' function of broadcast");
        int status = lua_pcall(L, 1, 1, 0);
        task_allow(L);
        if (status != LUA_OK) {
            (void)lua_error(L);
        }
        if (lua_toboolean(L, -1)) {
            ids[kept++] = ids[i];
        }
        lua_pop(L, 1);
    }
    to->ids = ids;
    to->id_count = kept;
}

/* ---- broadcast ---- */

void api_note_refusal(struct app *a)
{
    struct log_fields f;

    if (LIKELY(hub_refused(a->hub) == a->refused_seen)) {
        return;
    }
    a->refused_seen = hub_refused(a->hub);
    if (a->meter != NULL &&
        app_is_due(loop_now_ms(a->loop), &a->outbox_logged_ms)) {
        app_log_fields(a, a->live, &f);
        f.event = "send";
        log_event(LOG_WARN, &f,
            "messages are dropped: all outboxes together hold %zu bytes, "
            "outbox.total is %zu",
            meter_used(a->meter), meter_cap(a->meter));
    }
}

void api_cast(struct app *a, const struct hub_target *to,
    const struct hub_message *msg, uint32_t *queued, uint32_t *dropped)
{
    preempt_hold();
    hub_cast_begin(a->hub, to, msg);
    while (!hub_cast_step(a->hub)) {
        preempt_breathe();
    }
    hub_cast_end(a->hub, queued, dropped);
    api_note_refusal(a);
    /* Long messages that made way for this one: who sent it pays for that, not
     * the loop. */
    while (a->meter != NULL && late_work(a->meter, LIMIT_LATE_PIECE_BYTES)) {
        preempt_breathe();
    }
    preempt_release();
}

int api_broadcast(lua_State *L, int message, int opts,
    const struct hub_message *parsed, struct hub_target *to)
{
    struct app *a = state_from(L)->app;
    struct hub_message msg = *parsed;
    const char *detail;
    uint32_t queued = 0;
    uint32_t dropped = 0;
    int err;

    msg.data = api_check_message(
        L, message, msg.op == FRAME_BINARY, &msg.len, &err, &detail);
    if (err != 0) {
        return api_fail(L, err, detail);
    }
    if (!lua_isnil(L, opts)) {
        apply_where(L, opts, a, to);
        read_except(L, opts, to);
    }
    api_cast(a, to, &msg, &queued, &dropped);
    lua_pushinteger(L, queued);
    lua_pushinteger(L, dropped);
    return 2;
}

static int broadcast(lua_State *L)
{
    static const char *const options[] = {"room", "rooms", "user", "users",
        "except", "where", "binary", "key", "compress"};
    struct hub_target to = {0};
    struct hub_message msg;

    api_refuse_loading(L, "broadcast");
    lua_settop(L, 2);
    api_message_options(L, 2, "broadcast", options, ARRAY_LEN(options), &msg);
    if (!lua_isnil(L, 2)) {
        to.rooms = read_names(
            L, 2, "room", "rooms", LIMIT_ROOM_NAME_BYTES, &to.room_count);
        to.users =
            read_names(L, 2, "user", "users", LIMIT_USER_BYTES, &to.user_count);
        if ((to.rooms != NULL || to.users != NULL) &&
            to.room_count + to.user_count == 0) {
            lua_pushinteger(L, 0); /* an empty list addresses nobody */
            lua_pushinteger(L, 0);
            return 2;
        }
    }
    return api_broadcast(L, 1, 2, &msg, &to);
}

/* ---- clients ---- */

/* upvalues: ids, how many, the next */
static int next_client(lua_State *L)
{
    struct state *s = state_from(L);
    const uint64_t *ids = lua_touserdata(L, lua_upvalueindex(1));
    lua_Integer n = lua_tointeger(L, lua_upvalueindex(2));
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(3));

    while (at < n) {
        struct client *cl = api_client_of_id(s->app, ids[at++]);
        if (cl != NULL) {
            lua_pushinteger(L, at);
            lua_replace(L, lua_upvalueindex(3));
            api_push_client(L, s, cl);
            return 1;
        }
    }
    lua_pushinteger(L, n);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushnil(L);
    return 1;
}

int api_push_iterator(lua_State *L, const struct hub_name *room)
{
    size_t n;

    (void)api_snapshot(L, room, &n);
    lua_pushinteger(L, (lua_Integer)n);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_client, 3);
    return 1;
}

static int clients_call(lua_State *L)
{
    api_refuse_loading(L, "clients");
    return api_push_iterator(L, NULL);
}

static int clients_get(lua_State *L)
{
    struct state *s = state_from(L);

    api_refuse_loading(L, "clients.get");
    if (!lua_isinteger(L, 1)) {
        return api_bad_argument(L, 1, "id", "integer");
    }
    struct client *cl = api_client_of_id(s->app, (uint64_t)lua_tointeger(L, 1));
    if (cl == NULL) {
        lua_pushnil(L);
    } else {
        api_push_client(L, s, cl);
    }
    return 1;
}

static int clients_of(lua_State *L)
{
    struct state *s = state_from(L);
    size_t len;
    lua_Integer k = 0;

    api_refuse_loading(L, "clients.of");
    const char *user = api_check_string(L, 1, "user", LIMIT_USER_BYTES, &len);
    const struct hub_name name = {user, len};
    size_t cap = count_user(s->app->hub, &name);
    uint64_t *ids = scratch(L, cap, sizeof(*ids));
    size_t n = list_user(s->app->hub, &name, ids, cap, 0);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        struct client *cl = api_client_of_id(s->app, ids[i]);
        if (cl != NULL) {
            api_push_client(L, s, cl);
            lua_rawseti(L, -2, ++k);
        }
    }
    return 1;
}

static int clients_count(lua_State *L)
{
    api_refuse_loading(L, "clients.count");
    preempt_hold();
    lua_Integer n = (lua_Integer)hub_count(state_from(L)->app->hub);
    preempt_release();
    lua_pushinteger(L, n);
    return 1;
}

void api_hub(lua_State *L, const struct words *w)
{
    static const luaL_Reg functions[] = {
        {"get", clients_get},
        {"of", clients_of},
        {"count", clients_count},
        {NULL, NULL},
    };

    api_set_function(L, w, "broadcast", broadcast);
    if (!words_has(w, "clients")) {
        return;
    }
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, clients_call);
    lua_setfield(L, -2, "__call");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "clients");
}
