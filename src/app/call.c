/* call.c -- a Lua function to be called later, with its arguments.
 *
 * Timers and spawned tasks are calls. The function and the arguments lie in a
 * table in the registry of the state they belong to; the call holds a
 * reference to it, or borrows the one of a repeating timer. */
#include "app/app_priv.h"
#include "base/mem.h"

struct call *call_queue(struct state *s, int ref, bool keep,
    void (*on_finished)(void *owner), void *owner)
{
    struct call *call = mem_alloc(sizeof(*call));
    struct event *ev = event_new(s->app, EVENT_CALL);

    *call = (struct call){.event = ev,
        .ref = ref,
        .keep = keep,
        .on_finished = on_finished,
        .owner = owner};
    list_push_tail(&s->queued, &call->node);
    ev->state = s;
    ev->extra = call;
    s->calls++;
    inbox_queue(s->app, ev);
    return call;
}

int call_pack(lua_State *L, int idx)
{
    int n = lua_gettop(L) - idx; /* arguments */

    lua_createtable(L, n + 2, 0);
    lua_pushinteger(L, n);
    lua_rawseti(L, -2, 1);
    for (int i = 0; i <= n; i++) {
        lua_pushvalue(L, idx + i);
        lua_rawseti(L, -2, i + 2);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

int call_push(struct event *ev, lua_State *T)
{
    struct call *call = ev->extra;

    if (call->is_cancelled || (call->keep && ev->state->timers_are_over)) {
        return -1;
    }
    call->has_begun = true;
    lua_rawgeti(T, LUA_REGISTRYINDEX, call->ref);
    int table = lua_gettop(T);
    lua_rawgeti(T, table, 1);
    int n = lua_tointeger(T, -1) > 0 ? (int)lua_tointeger(T, -1) : 0;
    lua_pop(T, 1);
    if (!lua_checkstack(T, n + 2)) {
        lua_pushliteral(T, "too many arguments");
        (void)lua_error(T);
    }
    for (int i = 0; i <= n; i++) {
        lua_rawgeti(T, table, i + 2);
    }
    lua_remove(T, table);
    return n;
}

void call_finished(struct event *ev)
{
    struct call *call = ev->extra;

    ev->state->calls--;
    list_remove(&call->node);
    if (call->on_finished != NULL) {
        call->on_finished(call->owner);
    }
    if (!call->keep) {
        state_unref(ev->state, call->ref);
    }
    mem_free(call);
}

bool call_drop_some(struct state *s, uint32_t most)
{
    struct list *node;

    while (most > 0 && (node = list_pop_head(&s->queued)) != NULL) {
        struct event *ev = container_of(node, struct call, node)->event;
        if (!list_is_empty(&ev->node)) {
            list_remove(&ev->node);
            call_finished(ev);
            event_free(ev);
        } /* else it has begun, and ends with its task */
        most--;
    }
    return !list_is_empty(&s->queued);
}
