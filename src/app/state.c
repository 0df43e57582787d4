/* state.c -- one generation of an app: a fresh vm with the app's code run in
 * it, its handlers looked up, its settings read.
 *
 * Loading touches nothing of the app that is live (I8): what the new code
 * asks for meanwhile (room rules, timers) is noted in the state and happens at
 * state_start(); hub calls raise. */
#include "app/api_priv.h"
#include "base/mem.h"
#include "base/units.h"
#include "script/sandbox.h"
#include <stdio.h>
#include <string.h>

#ifdef MOONWIRE_TINY
#    define DROP_STEP 2
#else
#    define DROP_STEP 128 /* calls or timers that are dropped at once */
#endif

const char *handler_name(enum handler h)
{
    static const char *const names[] = {
#define X(name, text) text,
        HANDLER_LIST(X)
#undef X
    };
    return names[h];
}

struct state *state_from(lua_State *L)
{
    return vm_owner(vm_from(L));
}

static void on_ready(void *owner)
{
    struct state *s = owner;

    inbox_post(s->app);
}

/* ---- loading, on the fiber ---- */

static void new_table(lua_State *L, int *ref, const char *mode)
{
    lua_newtable(L);
    if (mode != NULL) {
        lua_createtable(L, 0, 1);
        lua_pushstring(L, mode);
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A function that is meant to be a handler and that nobody will ever call. */
static void warn_of_handler(const struct state *s, const char *name)
{
    static const char *const now[] = {
#define X(name, text) text,
        HANDLER_LIST(X)
#undef X
    };
    static const char *const later[] = {"on_unload", "on_reload"};
    struct log_fields f;

    if (is_one_of(name, now, ARRAY_LEN(now))) {
        return;
    }
    const char *near = units_suggest(name, now, ARRAY_LEN(now));
    preempt_hold();
    app_log_fields(s->app, s, &f);
    f.event = "load";
    if (is_one_of(name, later, ARRAY_LEN(later))) {
        log_event(LOG_WARN, &f, "%s is not called by this version", name);
    } else if (near != NULL) {
        log_event(
            LOG_WARN, &f, "%s is no handler (did you mean %s?)", name, near);
    }
    preempt_release();
}

static void warn_of_handlers(lua_State *L, const struct state *s, int table)
{
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        const char *name =
            lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (lua_isfunction(L, -1) && !lua_iscfunction(L, -1)) {
            warn_of_handler(s, name);
        }
        lua_pop(L, 1);
    }
}

/* The handlers are raw fields: no metamethod of the app decides. */
static void find_handlers(lua_State *L, struct state *s, int table)
{
    for (enum handler h = 0; h < HANDLER_COUNT; h++) {
        lua_pushstring(L, handler_name(h));
        lua_rawget(L, table);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            continue;
        }
        if (!lua_isfunction(L, -1)) {
            luaL_error(L, "main.lua: '%s' must be a function, got %s",
                handler_name(h), luaL_typename(L, -1));
        }
        s->handlers[h] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}

int state_prepare(lua_State *L)
{
    struct state *s = state_from(L);

    /* First: the sandbox may leave Lua unable to make weak tables. */
    new_table(L, &s->client_cache, "v");
    new_table(L, &s->client_data, NULL);
    struct words words = {0};
    for (size_t i = 0; i < s->snapshot->count; i++) {
        const struct snapshot_file *file = &s->snapshot->files[i];
        words_add(&words, file->data, file->len);
    }
    lua_pushcfunction(L, sandbox_open);
    lua_pushlightuserdata(L, &words);
    lua_call(L, 1, 0);
    lua_pushcfunction(L, api_open);
    lua_pushlightuserdata(L, &words);
    lua_call(L, 1, 0);
    return 0;
}

int state_run_main(lua_State *L)
{
    struct state *s = state_from(L);
    const struct snapshot_file *file = snapshot_find(s->snapshot, "main.lua");

    task_forbid(L, "the main chunk: use on_start");
    if (sandbox_load(L, file->data, file->len, file->name) != LUA_OK) {
        return lua_error(L);
    }
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1)) {
        lua_pushglobaltable(L);
    } else if (!lua_istable(L, -1)) {
        luaL_error(L,
            "main.lua returns a %s; it may return a table of handlers",
            luaL_typename(L, -1));
    }
    find_handlers(L, s, lua_gettop(L));
    warn_of_handlers(L, s, lua_gettop(L));
    task_allow(L);
    return 0;
}

struct state *state_new(
    struct app *a, struct snapshot *snap, uint32_t generation)
{
    struct state *s = mem_zalloc(sizeof(*s));

    list_init(&s->node);
    list_init(&s->timers);
    list_init(&s->noted_timers);
    list_init(&s->queued);
    timer_init(&s->starter, NULL);
    slots_init(&s->timer_slots);
    map_init(&s->locks);
    list_init(&s->rules);
    list_init(&s->chores);
    timer_init(&s->drain_timer, NULL);
    s->app = a;
    s->generation = generation;
    s->snapshot = snapshot_ref(snap);
    s->is_loading = true;
    for (enum handler h = 0; h < HANDLER_COUNT; h++) {
        s->handlers[h] = LUA_NOREF;
    }
    settings_init(&s->settings);
    return s;
}

int state_make_vm(struct state *s)
{
    struct vm_config config = {
        .memory_bytes = s->settings.memory_bytes,
        .max_tasks = s->settings.tasks + 1, /* a service finds one */
        .cpu_ms = s->settings.cpu_ms,
        .owner = s,
        .on_ready = on_ready,
    };

    s->vm = vm_new(&config);
    return s->vm != NULL ? 0 : ERR_NOMEM;
}

void state_start(struct state *s)
{
    s->is_loading = false;
    s->app->conn_settings = s->settings.conn;
    word_set(&s->app->placement, s->settings.placement);
    word_set(
        &s->app->takes_requests, s->handlers[HANDLER_ON_REQUEST] != LUA_NOREF);
    s->app->unit.share = s->settings.share;
    hub_set_policy(s->app->hub, s->settings.conn.policy);
    hub_set_limits(
        s->app->hub, s->settings.rooms, s->settings.rooms_per_client);
    if (s->app->meter != NULL) {
        meter_set_cap(s->app->meter, s->settings.outbox_bytes);
    }
    const struct compress_settings *c = &s->settings.compress;
    const struct pack_settings how = {
        .level = c->policy.is_on ? c->level : 0, .bits = c->policy.server_bits};
    hub_set_compress(s->app->hub, c->threshold_bytes, &how);
    api_room_apply_rules(s);
    api_time_start(s);
}

/* ---- from outside of any job ---- */

struct chore {
    struct list node;
    uint64_t id; /* of client.data; 0: */
    int ref;
};

/* Sets existing fields to nil or to what was there before: no allocation, no
 * metamethods, and so no protection is needed. */
static void do_chore(struct state *s, uint64_t id, int ref)
{
    lua_State *L = vm_state(s->vm);

    if (id == 0) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->client_data);
    lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)id);
    lua_pop(L, 1);
}

static void do_or_put_off(struct state *s, uint64_t id, int ref)
{
    if (s->vm == NULL || vm_end(s->vm) != VM_ALIVE) {
        return; /* it is all gone anyway */
    }
    if (!vm_is_stopped(s->vm)) {
        do_chore(s, id, ref);
        return;
    }
    struct chore *c = mem_alloc(sizeof(*c));
    c->id = id;
    c->ref = ref;
    list_push_tail(&s->chores, &c->node);
}

void state_forget_data(struct state *s, uint64_t id)
{
    do_or_put_off(s, id, LUA_NOREF);
}

void state_unref(struct state *s, int ref)
{
    do_or_put_off(s, 0, ref);
}

void state_do_chores(struct state *s)
{
    struct list *node;

    while ((node = list_pop_head(&s->chores)) != NULL) {
        struct chore *c = container_of(node, struct chore, node);
        do_chore(s, c->id, c->ref);
        mem_free(c);
    }
}

static void drop_chores(struct state *s)
{
    struct list *node;

    while ((node = list_pop_head(&s->chores)) != NULL) {
        mem_free(container_of(node, struct chore, node));
    }
}

/* The order is the point: timers may wake tasks, and dropping the vm tells
 * every parked job that it is over, so both need the state whole. */
static void drop_vm(struct state *s)
{
    struct vm *vm = s->vm;

    s->is_draining = false;
    timer_stop(&s->drain_timer);
    api_time_stop(s);
    (void)call_drop_some(s, UINT32_MAX);
    (void)api_time_drop_some(s, UINT32_MAX);
    if (s->app->stopped == s) {
        s->app->stopped = NULL;
        hub_walk_drop(s->app->hub);
    }
    if (vm != NULL) {
        vm_free(vm);
        s->vm = NULL;
    }
    ASSERT(s->calls == 0 && s->timer_count == 0, "I3");
    drop_chores(s);
    api_task_drop(s);
}

bool state_drop_some(struct state *s)
{
    api_time_stop(s);
    return call_drop_some(s, DROP_STEP) || api_time_drop_some(s, DROP_STEP) ||
           (s->vm != NULL && vm_drop_some(s->vm));
}

void state_bury(struct state *s)
{
    ASSERT(vm_end(s->vm) != VM_ALIVE, "only the dead are buried");
    drop_vm(s);
}

void state_free(struct state *s)
{
    list_remove(&s->node);
    drop_vm(s);
    slots_fini(&s->timer_slots);
    api_room_drop_rules(s);
    settings_fini(&s->settings);
    snapshot_unref(s->snapshot);
    mem_free(s);
}
