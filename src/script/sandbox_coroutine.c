/* sandbox_coroutine.c -- coroutines, and xpcall, for scripts.
 *
 * The behaviour is the stock library's. What is added guards the server:
 *
 * Only coroutines that the script made can be resumed or closed. It can get
 * hold of others, since every task of the app runs on a thread of the
 * server's (coroutine.running() shows it), and those belong to task.c.
 *
 * Lua 5.4.4 forgets to count the C stack when it closes a coroutine: a
 * `__close` that closes the next coroutine, and so on, runs off the end of
 * the stack. So each coroutine carries how deep it is nested, and where on
 * the C stack the outermost close began (fixed in Lua 5.4.5).
 *
 * Lua 5.4.4 also keeps a message handler that is gone when a coroutine that
 * waits inside xpcall is closed, and calls it if a `__close` fails. So each
 * coroutine counts the xpcalls it is inside of, and is not closed while there
 * are any (fixed in Lua 5.4.8).
 *
 * What is kept about a coroutine sits in a userdata next to it, found through
 * a table with weak keys. A thread that is not in there is not the script's. */
#include "base/base.h"
#include "script/sandbox_priv.h"
#include "script/task.h"
#include "script/traceback.h"
#include <lauxlib.h>
#include <string.h>

/* Coroutines inside of each other. */
#define NESTED_MAX 100
/* C stack between the outermost close and the innermost. Before and after, a
 * script can use as much as 200 C calls do (about 400 KiB each time), and all
 * of it has to fit into FIBER_STACK_BYTES. */
#define CLOSE_STACK_BYTES ((size_t)96 * 1024)

struct co {
    lua_State *thread;
    uint32_t nested;  /* coroutines around it, as of its last resume */
    uint32_t xpcalls; /* on its stack */
    /* Where on the C stack the outermost close around it began; 0: it was
     * entered from no close. */
    uintptr_t close_base;
};

/* In the registry, from the first coroutine on: thread -> struct co. */
static const char coroutines_key;

/* Pops a thread and returns what is kept about it; NULL: not the script's.
 * The userdata lives as long as the thread, which the caller keeps alive. */
static struct co *pop_co(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &coroutines_key) != LUA_TTABLE) {
        lua_pop(L, 2);
        return NULL;
    }
    lua_insert(L, -2);
    lua_rawget(L, -2);
    struct co *co = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return co;
}

/* The coroutine that runs; NULL: the task itself. */
static struct co *current_co(lua_State *L)
{
    lua_pushthread(L);
    return pop_co(L);
}

static struct co *co_at(lua_State *L, int idx)
{
    lua_pushvalue(L, idx);
    return pop_co(L);
}

static lua_State *check_thread(lua_State *L, int idx)
{
    lua_State *thread = lua_tothread(L, idx);
    luaL_argexpected(L, thread != NULL, idx, "coroutine");
    return thread;
}

static void push_coroutines(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &coroutines_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    sandbox_push_weak_table(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &coroutines_key);
}

/* Pushes a new coroutine for the function at index 1. */
static struct co *push_co(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    push_coroutines(L);
    lua_State *thread = lua_newthread(L);
    lua_pushvalue(L, -1);
    struct co *co = lua_newuserdatauv(L, sizeof(*co), 0);
    *co = (struct co){.thread = thread};
    lua_rawset(L, -4);
    lua_remove(L, -2);
    lua_pushvalue(L, 1);
    lua_xmove(L, thread, 1);
    return co;
}

int sandbox_coroutine_create(lua_State *L)
{
    push_co(L);
    return 1;
}

enum status { RUNNING, DEAD, SUSPENDED, NORMAL };

static enum status status_of(
    lua_State *L, lua_State *thread, const struct co *co)
{
    if (L == thread) {
        return RUNNING;
    }
    if (co == NULL) {
        return NORMAL; /* one of the server's: somewhere else, and busy */
    }
    switch (lua_status(thread)) {
    case LUA_YIELD: return SUSPENDED;
    case LUA_OK: {
        lua_Debug ar;
        if (lua_getstack(thread, 0, &ar)) {
            return NORMAL; /* it runs, so it waits for what it resumed */
        }
        return lua_gettop(thread) == 0 ? DEAD : SUSPENDED;
    }
    default: return DEAD; /* ended by an error */
    }
}

static const char *const status_words[] = {
    [RUNNING] = "running",
    [DEAD] = "dead",
    [SUSPENDED] = "suspended",
    [NORMAL] = "normal",
};

int sandbox_coroutine_status(lua_State *L)
{
    lua_State *thread = check_thread(L, 1);
    lua_pushstring(L, status_words[status_of(L, thread, co_at(L, 1))]);
    return 1;
}

/* Puts `co` inside the coroutine that runs. False: it would be one too many. */
static bool nest(lua_State *L, struct co *co)
{
    const struct co *outer = current_co(L);
    uint32_t nested = outer != NULL ? outer->nested + 1 : 1;
    if (nested > NESTED_MAX) {
        return false;
    }
    co->nested = nested;
    co->close_base = outer != NULL ? outer->close_base : 0;
    return true;
}

/* Resumes with the `n` values on top of L. Leaves the results there and
 * returns their number; -1: an error value. */
static int resume(lua_State *L, struct co *co, int n)
{
    lua_State *thread = co->thread;
    if (!nest(L, co)) {
        lua_pushliteral(L, "too many nested coroutines");
        return -1;
    }
    if (!lua_checkstack(thread, n)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, thread, n);
    int results;
    task_set_running(L, thread);
    int status = lua_resume(thread, L, n, &results);
    task_caught(L, status);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(thread, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, results + 1)) {
        lua_pop(thread, results);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(thread, L, results);
    return results;
}

int sandbox_coroutine_resume(lua_State *L)
{
    lua_State *thread = check_thread(L, 1);
    struct co *co = co_at(L, 1);
    enum status status = status_of(L, thread, co);
    int n = -1;
    if (status == SUSPENDED) {
        n = resume(L, co, lua_gettop(L) - 1);
    } else {
        lua_pushfstring(L, "cannot resume %s coroutine",
            status == DEAD ? "dead" : "non-suspended");
    }
    lua_pushboolean(L, n >= 0);
    int count = n >= 0 ? n : 1;
    lua_insert(L, -(count + 1));
    return count + 1;
}

/* Where in the script the wrapped coroutine was called, in front of an error
 * text. */
static void add_position(lua_State *L)
{
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
}

static int call_wrapped(lua_State *L)
{
    lua_State *thread = lua_tothread(L, lua_upvalueindex(1));
    struct co *co = lua_touserdata(L, lua_upvalueindex(2));
    enum status status = status_of(L, thread, co);
    if (status != SUSPENDED) {
        lua_pushfstring(L, "cannot resume %s coroutine",
            status == DEAD ? "dead" : "non-suspended");
        add_position(L);
        return lua_error(L);
    }
    int n = resume(L, co, lua_gettop(L));
    if (n >= 0) {
        return n;
    }
    int ended = lua_status(thread);
    if (ended != LUA_OK && ended != LUA_YIELD) {
        /* Closes what the coroutine left open; the error may change. Lua
         * does count the C stack of a coroutine that has just failed. */
        task_set_running(L, thread);
        ended = lua_resetthread(thread);
        task_caught(L, ended);
        lua_xmove(thread, L, 1);
    }
    if (ended != LUA_ERRMEM) {
        add_position(L);
    }
    return lua_error(L);
}

int sandbox_coroutine_wrap(lua_State *L)
{
    push_co(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &coroutines_key);
    lua_pushvalue(L, -2);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    lua_pushcclosure(L, call_wrapped, 2);
    return 1;
}

int sandbox_coroutine_yield(lua_State *L)
{
    /* Lua refuses this too where a task is entered by lua_pcall(), but a yield
     * that got through would end in the server. */
    if (current_co(L) == NULL) {
        return luaL_error(L, "attempt to yield from outside a coroutine");
    }
    return lua_yield(L, lua_gettop(L));
}

int sandbox_coroutine_running(lua_State *L)
{
    bool is_main = current_co(L) == NULL;
    lua_pushthread(L);
    lua_pushboolean(L, is_main);
    return 2;
}

int sandbox_coroutine_isyieldable(lua_State *L)
{
    if (lua_isnone(L, 1)) {
        lua_pushboolean(L, lua_isyieldable(L));
        return 1;
    }
    lua_State *thread = check_thread(L, 1);
    bool known = thread == L || co_at(L, 1) != NULL;
    lua_pushboolean(L, known && lua_isyieldable(thread));
    return 1;
}

/* Is there C stack left for a close inside the closes around it? */
static bool has_stack_left(struct co *co)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (co->close_base == 0) {
        co->close_base = here;
        return true;
    }
    /* On every machine we run on the stack grows down; the other way round
     * the difference is huge and closes do not nest. */
    return co->close_base - here <= CLOSE_STACK_BYTES;
}

int sandbox_coroutine_close(lua_State *L)
{
    lua_State *thread = check_thread(L, 1);
    struct co *co = co_at(L, 1);
    enum status status = status_of(L, thread, co);
    if (status != DEAD && status != SUSPENDED) {
        return luaL_error(
            L, "cannot close a %s coroutine", status_words[status]);
    }
    if (status == SUSPENDED && co->xpcalls > 0) {
        return luaL_error(L, "cannot close a coroutine that is inside xpcall");
    }
    if (!nest(L, co) || !has_stack_left(co)) {
        return luaL_error(L, "too many nested coroutines");
    }
    task_set_running(L, thread);
    int ended = lua_resetthread(thread);
    task_caught(L, ended);
    if (ended == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(thread, L, 1);
    return 2;
}

static int finish_xpcall(lua_State *L, int status, lua_KContext context)
{
    struct co *co = (struct co *)context;
    if (co != NULL) {
        co->xpcalls--;
    }
    if (status != LUA_OK && status != LUA_YIELD) {
        task_caught(L, status);
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    return lua_gettop(L) - 2; /* less the function and its handler */
}

/* Lua calls it where the error happened, with hooks off: so the script's own
 * handler (upvalue 1) must not get to hear that its job has to end. */
static int handle_error(lua_State *L)
{
    if (task_is_killing(L)) {
        return 1;
    }
    if (lua_tocfunction(L, lua_upvalueindex(1)) == traceback_for_script) {
        return traceback_for_script(L); /* which then does not show us */
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

int sandbox_coroutine_xpcall(lua_State *L)
{
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle_error, 1);
    lua_replace(L, 2);
    struct co *co = current_co(L);
    /* f handler args... -> f handler true f args... */
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    if (co != NULL) {
        co->xpcalls++;
    }
    lua_KContext context = (lua_KContext)co;
    int status = lua_pcallk(L, n - 2, LUA_MULTRET, 2, context, finish_xpcall);
    return finish_xpcall(L, status, context);
}
