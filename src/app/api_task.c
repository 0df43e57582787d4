/* api_task.c -- task.spawn, task.all, lock: many things under way in one app.
 *
 * Nothing here runs Lua by itself: a spawned function is a call in the inbox
 * and starts when the present handler ends or waits. */
#include "app/api_priv.h"
#include "base/mem.h"
#include <string.h>

/* (fn, args...) */
static int task_spawn(lua_State *L)
{
    struct state *s = state_from(L);

    api_refuse_loading(L, "task.spawn");
    if (!lua_isfunction(L, 1)) {
        return api_bad_argument(L, 1, "fn", "function");
    }
    if (s->calls >= s->settings.tasks) {
        return api_fail_limit(L, s, APP_TASKS);
    }
    int ref = call_pack(L, 1);
    preempt_hold();
    (void)call_queue(s, ref, false, NULL, NULL);
    preempt_release();
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- task.all ---- */

/* In a userdata that each of the calls refers to, so that one that ends late
 * finds it even if nobody waits any more. User value 1: the results, 2: the
 * first error. */
struct group {
    struct wait wait;
    uint32_t left;     /* calls that are not over */
    uint32_t begun;    /* functions that have been called ... */
    uint32_t returned; /* ... and did, or raised: have a result */
    bool is_waiting;
    bool has_error;
};

static void cancel_group(struct wait *w)
{
    container_of(w, struct group, wait)->is_waiting = false;
}

/* Told by the call and not by what runs in it: that may not even begin, for
 * want of memory, and then somebody would wait for ever. */
static void on_one_finished(void *owner)
{
    struct group *g = owner;

    g->left--;
    if (g->left == 0 && g->is_waiting) {
        g->is_waiting = false;
        task_wake(g->wait.task);
    }
}

/* (fn, group, index) */
static int run_one(lua_State *L)
{
    struct group *g = lua_touserdata(L, 2);

    g->begun++;
    lua_pushvalue(L, 1);
    int status = lua_pcall(L, 0, 1, 0);
    if (status == LUA_OK) {
        lua_getiuservalue(L, 2, 1);
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, lua_tointeger(L, 3));
    } else {
        task_caught(L, status);
    }
    if (status != LUA_OK && !g->has_error) {
        g->has_error = true;
        lua_setiuservalue(L, 2, 2);
    }
    g->returned++;
    return 0;
}

static void start_group(lua_State *L, struct group *g, int table, lua_Integer n)
{
    struct state *s = state_from(L);
    int group = lua_gettop(L);

    for (lua_Integer i = 1; i <= n; i++) {
        lua_pushcfunction(L, run_one);
        lua_rawgeti(L, table, i);
        lua_pushvalue(L, group);
        lua_pushinteger(L, i);
        int ref = call_pack(L, group + 1);
        lua_settop(L, group);
        preempt_hold();
        (void)call_queue(s, ref, false, on_one_finished, g);
        g->left++;
        preempt_release();
    }
}

/* { fn, … } -> { result, … } */
static int task_all(lua_State *L)
{
    struct state *s = state_from(L);

    api_refuse_loading(L, "task.all");
    task_check_park(L);
    if (!lua_istable(L, 1)) {
        return api_bad_argument(L, 1, "functions", "table");
    }
    lua_settop(L, 1);
    lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, 1, i) != LUA_TFUNCTION) {
            return luaL_error(
                L, "task.all: entry %d is not a function", (int)i);
        }
        lua_pop(L, 1);
    }
    if ((uint64_t)n + s->calls > s->settings.tasks) {
        return api_fail_limit(L, s, APP_TASKS);
    }
    struct group *g = lua_newuserdatauv(L, sizeof(*g), 2);
    memset(g, 0, sizeof(*g));
    g->wait.cancel = cancel_group;
    lua_createtable(L, (int)n, 0);
    lua_setiuservalue(L, 2, 1);
    start_group(L, g, 1, n);
    preempt_hold();
    if (g->left > 0) {
        g->is_waiting = true;
        task_park(L, &g->wait);
    }
    preempt_release();
    if (g->has_error) {
        lua_getiuservalue(L, 2, 2);
        return lua_error(L);
    }
    if (g->returned < g->begun) {
        return luaL_error(L, "task.all: one of them was ended (the log says "
                             "why)");
    }
    if (g->begun < (uint32_t)n) {
        return luaL_error(L, "task.all: no memory to begin one of them");
    }
    lua_getiuservalue(L, 2, 1);
    return 1;
}

/* ---- lock ---- */

struct lock {
    struct state *state; /* has us in its map */
    struct list waiters; /* struct lock_wait, first come first served */
    size_t len;
    char name[];
};

struct lock_wait {
    struct wait wait;
    struct list node;
};

static void cancel_lock(struct wait *w)
{
    list_remove(&container_of(w, struct lock_wait, wait)->node);
}

/* Passes the lock to whoever waits longest, or away. */
static void release(struct lock *k)
{
    struct list *node = list_pop_head(&k->waiters);

    if (node != NULL) {
        task_wake(container_of(node, struct lock_wait, node)->wait.task);
    } else {
        map_remove(&k->state->locks, k->name, k->len);
        quota_free(k);
    }
}

static int new_lock(
    struct state *s, const char *name, size_t len, struct lock **out)
{
    struct lock *k;

    if (s->locks.count >= LIMIT_LOCKS) {
        return ERR_QUOTA;
    }
    k = quota_alloc(sizeof(*k) + len);
    if (k == NULL) {
        return ERR_NOMEM;
    }
    k->state = s;
    list_init(&k->waiters);
    k->len = len;
    memcpy(k->name, name, len);
    int rc = map_put(&s->locks, name, len, k);
    if (rc != 0) {
        quota_free(k);
        return rc;
    }
    *out = k;
    return 0;
}

/* Takes the lock, waiting for it if need be. In a section. */
static int take_lock(lua_State *L, struct state *s, const char *name,
    size_t len, struct lock **out)
{
    struct lock *k = map_get(&s->locks, name, len);

    if (k == NULL) {
        return new_lock(s, name, len, out);
    }
    struct lock_wait w = {.wait.cancel = cancel_lock};
    list_push_tail(&k->waiters, &w.node);
    task_park(L, &w.wait);
    *out = k; /* release() handed it over */
    return 0;
}

/* (name, fn, args...) -> fn's results. Not re-entrant: taking a lock that
 * one's own handler holds waits for ever. */
static int lock(lua_State *L)
{
    struct state *s = state_from(L);
    size_t len;
    const char *name =
        api_check_string(L, 1, "name", LIMIT_ROOM_NAME_BYTES, &len);

    if (!lua_isfunction(L, 2)) {
        return api_bad_argument(L, 2, "fn", "function");
    }
    task_check_park(L);
    struct lock *k = NULL;
    preempt_hold();
    int rc = take_lock(L, s, name, len, &k);
    preempt_release();
    if (rc != 0) {
        return api_fail(L, rc, rc == ERR_QUOTA ? "too many locks" : NULL);
    }
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    preempt_hold();
    release(k);
    preempt_release();
    if (status != LUA_OK) {
        return lua_error(L);
    }
    return lua_gettop(L) - 1;
}

void api_task_drop(struct state *s)
{
    const struct map_entry *e;
    uint32_t at = 0;

    while ((e = map_next(&s->locks, &at)) != NULL) {
        quota_free(e->value);
    }
    map_fini(&s->locks);
    map_init(&s->locks);
}

void api_task(lua_State *L, const struct words *w)
{
    static const luaL_Reg functions[] = {
        {"spawn", task_spawn},
        {"all", task_all},
        {NULL, NULL},
    };

    api_set_library(L, w, "task", functions);
    api_set_function(L, w, "lock", lock);
}
