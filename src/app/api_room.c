/* api_room.c -- room(name) and rooms: an object that holds nothing but a
 * name, so it may be kept, compared and used before and after the room has
 * members. */
#include "app/api_priv.h"
#include "base/mem.h"
#include <string.h>

struct room_ref {
    size_t len;
    char name[];
};

static const struct room_ref *check_room(lua_State *L)
{
    const struct room_ref *own = api_userdata(L, 1, &state_from(L)->room_meta);

    if (own == NULL) {
        (void)api_bad_self(L, 1, "room");
    }
    return own;
}

/* In a section. */
static struct room *find_room(lua_State *L, const struct room_ref *ref)
{
    return hub_room(state_from(L)->app->hub, ref->name, ref->len);
}

static void make_meta(lua_State *L);

static int room_new(lua_State *L)
{
    struct state *s = state_from(L);
    size_t len;
    const char *name =
        api_check_string(L, 1, "name", LIMIT_ROOM_NAME_BYTES, &len);
    struct room_ref *ref = lua_newuserdatauv(L, sizeof(*ref) + len, 0);

    ref->len = len;
    memcpy(ref->name, name, len);
    api_push_meta(L, &s->room_meta, make_meta);
    lua_setmetatable(L, -2);
    return 1;
}

static int room_broadcast(lua_State *L)
{
    static const char *const options[] = {
        "except", "where", "binary", "key", "compress"};
    const struct room_ref *ref = check_room(L);

    api_refuse_loading(L, "room:broadcast");
    lua_settop(L, 3);
    struct hub_message msg;
    api_message_options(
        L, 3, "room:broadcast", options, ARRAY_LEN(options), &msg);
    struct hub_name name = {ref->name, ref->len};
    struct hub_target to = {.rooms = &name, .room_count = 1};
    return api_broadcast(L, 2, 3, &msg, &to);
}

static int room_clients(lua_State *L)
{
    const struct room_ref *ref = check_room(L);

    api_refuse_loading(L, "room:clients");
    return api_push_iterator(L, &(struct hub_name){ref->name, ref->len});
}

static int room_count_of(lua_State *L)
{
    const struct room_ref *ref = check_room(L);

    api_refuse_loading(L, "room:count");
    preempt_hold();
    const struct room *r = find_room(L, ref);
    lua_Integer n = r == NULL ? 0 : (lua_Integer)room_count(r);
    preempt_release();
    lua_pushinteger(L, n);
    return 1;
}

/* Closes its clients; how many. */
static int room_close(lua_State *L)
{
    const struct room_ref *ref = check_room(L);
    struct app *a = state_from(L)->app;
    const char *reason;
    size_t reason_len;
    size_t n = 0;
    uint16_t code;
    lua_Integer closed = 0;

    api_refuse_loading(L, "room:close");
    api_check_close(L, 2, &code, &reason, &reason_len);
    const struct hub_name name = {ref->name, ref->len};
    const uint64_t *ids = api_snapshot(L, &name, &n);
    for (size_t i = 0; i < n; i++) {
        preempt_hold();
        struct member *m = hub_find(a->hub, ids[i]);
        if (m != NULL && client_dismiss(container_of(m, struct client, member),
                             code, reason, reason_len)) {
            closed++;
        }
        preempt_release();
    }
    lua_pushinteger(L, closed);
    return 1;
}

static int room_index(lua_State *L)
{
    const struct room_ref *ref = check_room(L);

    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        return 1;
    }
    if (lua_type(L, 2) == LUA_TSTRING &&
        strcmp(lua_tostring(L, 2), "name") == 0) {
        lua_pushlstring(L, ref->name, ref->len);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int room_equal(lua_State *L)
{
    const struct room_ref *a = lua_touserdata(L, 1);
    const struct room_ref *b = lua_touserdata(L, 2);

    if (lua_rawlen(L, 1) != lua_rawlen(L, 2) || !lua_getmetatable(L, 1) ||
        !lua_getmetatable(L, 2) || !lua_rawequal(L, -1, -2)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_pushboolean(
        L, a->len == b->len && memcmp(a->name, b->name, a->len) == 0);
    return 1;
}

static int room_tostring(lua_State *L)
{
    const struct room_ref *ref = check_room(L);

    lua_pushliteral(L, "room ");
    lua_pushlstring(L, ref->name, ref->len);
    lua_concat(L, 2);
    return 1;
}

/* ---- rooms ---- */

/* While we are stopped rooms may go (nobody joins one without the app), so the
 * table they are in may change; then one is listed twice, or left out. */
static bool next_name(struct hub *h, uint32_t *at, char *out, size_t *len)
{
    bool is_end = false;
    const struct room *r = NULL;

    while (r == NULL && !is_end) {
        preempt_hold();
        r = hub_next_room(h, at, &is_end);
        if (r != NULL) {
            const char *name = room_name(r, len);
            memcpy(out, name, *len);
        }
        preempt_release();
    }
    return r != NULL;
}

static int rooms_list(lua_State *L)
{
    struct hub *h = state_from(L)->app->hub;
    char name[LIMIT_ROOM_NAME_BYTES];
    size_t len;
    uint32_t at = 0;
    lua_Integer n = 0;
    size_t prefix_len = 0;
    const char *prefix = "";

    api_refuse_loading(L, "rooms.list");
    if (!lua_isnoneornil(L, 1)) {
        if (lua_type(L, 1) != LUA_TSTRING) {
            return api_bad_argument(L, 1, "prefix", "string");
        }
        prefix = lua_tolstring(L, 1, &prefix_len);
    }
    lua_newtable(L);
    while (next_name(h, &at, name, &len)) {
        if (len >= prefix_len && memcmp(name, prefix, prefix_len) == 0) {
            lua_pushlstring(L, name, len);
            lua_rawseti(L, -2, ++n);
        }
    }
    return 1;
}

/* What rooms.define() says while the app loads waits for the switch (I8). */
struct pending_rule {
    struct list node;
    struct room_rule rule;
    size_t len;
    char pattern[];
};

static void read_rule(lua_State *L, int idx, struct room_rule *rule)
{
    static const char *const options[] = {"slow", "max_clients"};
    static const char *const policies[] = {
        [OUTBOX_CLOSE] = "close",
        [OUTBOX_DROP_OLDEST] = "drop_oldest",
        [OUTBOX_DROP_NEWEST] = "drop_newest",
    };

    memset(rule, 0, sizeof(*rule));
    if (!lua_istable(L, idx)) {
        (void)api_bad_argument(L, idx, "rule", "table");
    }
    api_check_options(L, idx, "rooms.define", options, ARRAY_LEN(options));
    lua_pushliteral(L, "slow");
    if (lua_rawget(L, idx) != LUA_TNIL) {
        const char *word = lua_tostring(L, -1);
        for (size_t i = 0; word != NULL && i < ARRAY_LEN(policies); i++) {
            if (strcmp(word, policies[i]) == 0) {
                rule->has_policy = true;
                rule->policy = (enum outbox_policy)i;
            }
        }
        if (!rule->has_policy) {
            luaL_error(L, "rooms.define: slow must be \"close\", "
                          "\"drop_oldest\" or \"drop_newest\"");
        }
    }
    lua_pushliteral(L, "max_clients");
    if (lua_rawget(L, idx) != LUA_TNIL) {
        lua_Integer max = lua_tointeger(L, -1);
        if (max < 1 || max > LIMIT_MAX_CLIENTS) {
            luaL_error(L, "rooms.define: max_clients must be 1 to %d",
                LIMIT_MAX_CLIENTS);
        }
        rule->max_clients = (uint32_t)max;
    }
    lua_pop(L, 2);
}

/* The same pattern again replaces its rule in its place, as in the hub. */
static int note_rule(struct state *s, const char *pattern, size_t len,
    const struct room_rule *rule)
{
    list_each (node, &s->rules) {
        struct pending_rule *p = container_of(node, struct pending_rule, node);
        if (p->len == len && memcmp(p->pattern, pattern, len) == 0) {
            p->rule = *rule;
            return 0;
        }
    }
    if (s->rule_count >= LIMIT_ROOM_RULES) {
        return ERR_QUOTA;
    }
    struct pending_rule *p = quota_alloc(sizeof(*p) + len);
    if (p == NULL) {
        return ERR_NOMEM;
    }
    s->rule_count++;
    p->rule = *rule;
    p->len = len;
    memcpy(p->pattern, pattern, len);
    list_push_tail(&s->rules, &p->node);
    return 0;
}

static int rooms_define(lua_State *L)
{
    struct state *s = state_from(L);
    struct room_rule rule;
    size_t len;
    const char *pattern =
        api_check_string(L, 1, "pattern", LIMIT_ROOM_NAME_BYTES, &len);
    const char *star = memchr(pattern, '*', len);

    if (star != NULL && star != pattern + len - 1) {
        return luaL_error(L, "rooms.define: '*' may only stand at the end");
    }
    read_rule(L, 2, &rule);
    if (s->is_draining) {
        return api_fail(L, ERR_CLOSED, "a newer generation has taken over");
    }
    preempt_hold();
    int rc = note_rule(s, pattern, len, &rule);
    if (rc == 0 && !s->is_loading) {
        rc = hub_define(s->app->hub, pattern, len, &rule);
    }
    preempt_release();
    if (rc != 0) {
        return api_fail(L, rc, rc == ERR_QUOTA ? "too many rules" : NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

void api_room_apply_rules(struct state *s)
{
    struct log_fields f;

    hub_clear_rules(s->app->hub);
    list_each (node, &s->rules) {
        struct pending_rule *p = container_of(node, struct pending_rule, node);
        int rc = hub_define(s->app->hub, p->pattern, p->len, &p->rule);
        if (rc != 0) {
            app_log_fields(s->app, s, &f);
            log_event(LOG_ERROR, &f, "rooms.define(\"%.*s\"): %s", (int)p->len,
                p->pattern, err_word(rc));
        }
    }
}

void api_room_drop_rules(struct state *s)
{
    struct list *node;

    while ((node = list_pop_head(&s->rules)) != NULL) {
        quota_free(container_of(node, struct pending_rule, node));
    }
}

static void make_meta(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"broadcast", room_broadcast},
        {"clients", room_clients},
        {"count", room_count_of},
        {"close", room_close},
        {NULL, NULL},
    };

    lua_createtable(L, 0, 5);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, room_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, room_equal);
    lua_setfield(L, -2, "__eq");
    lua_pushcfunction(L, room_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "room");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void api_room(lua_State *L, const struct words *w)
{
    static const luaL_Reg functions[] = {
        {"list", rooms_list},
        {"define", rooms_define},
        {NULL, NULL},
    };

    api_set_function(L, w, "room", room_new);
    api_set_library(L, w, "rooms", functions);
}
