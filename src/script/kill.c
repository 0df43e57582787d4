/* kill.c -- how a script that goes on and on is ended.
 *
 * Called by task.c around its jobs, and by the sandbox's own pcall, xpcall
 * and coroutines. There are two ways.
 *
 * The soft way costs an app one event. When a job has used its CPU time, or
 * has caught too many memory errors, it is marked (`killing`), and a count
 * hook on every instruction is set on the coroutine that runs at that moment.
 * The hook raises an error: a light userdata that no script gets to see,
 * since pcall and whatever else catches errors raises it again while the
 * mark is there. `__close` handlers run on the way out, each until its first
 * instruction. What the event was doing is lost; the app's state is whole.
 *
 * The hook is set by the fiber itself, on its way back to wherever the tick
 * had stopped it: inside a signal handler, which Lua allows for. To set it Lua
 * walks over all frames, 200,000 of them where a recursion has no end; that
 * takes milliseconds and is therefore not done on the loop's stack, where it
 * could not be stopped. The hook may get lost: the interpreter may just have
 * decided not to look. So it is set again after each slice, until the job has
 * ended; where that takes slices itself, not before the job has had twice as
 * many, or it would get no further on its way out.
 *
 * The hard way costs the app its state. Half as much again as the budget is
 * what the soft way gets; a job that is still there then (in a C function
 * that loops, the collector, a rehash) is never entered again. vm_free()
 * drops the fiber and the arena as they are.
 *
 * CPU time is the thread's, asked for only after a slice that was stopped:
 * jobs that end by themselves in time pay nothing. The slice that began with
 * the job, or after a wait, counts in full although a tick may have come
 * early in it; it comes late as often. */
#include "base/limits.h"
#include "loop/loop.h"
#include "script/task_priv.h"
#include "script/traceback.h"
#include <lauxlib.h>
#include <stdio.h>

#define NS_PER_MS UINT64_C(1000000)
/* Hook mode: so many instructions between two looks at the clock. */
#define LOOK_INSTRUCTIONS 1000
/* What is live in parts of the cap, from which on a memory error is the end. */
#define FULL_PERCENT 95
/* The same, of what outlives an event, from which on it is the state that is
 * full. Blocks are rounded up, and what is live does not count that. */
#define KEPT_PERCENT 85

/* Its address is the error that ends jobs, and in the registry the key of where
 * the present one was when it was told. */
static const char kill_key;

/* ---- on the loop's stack ---- */

void kill_vm(struct vm *vm, enum vm_end end, const char *why)
{
    vm->end = end;
    vm->config.max_tasks = 0;
    (void)snprintf(vm->why, sizeof(vm->why), "%s", why);
}

bool kill_judge(struct task *t)
{
    uint64_t now = preempt_cpu_ns();
    uint64_t soft = t->cpu_ms * NS_PER_MS;

    if (t->stop == PREEMPT_FAULT) {
        if (t->vm->end == VM_ALIVE) { /* else it has left for good */
            kill_vm(t->vm, VM_END_CRASH, "the C stack is full");
        }
        return false;
    }
    t->cpu_ns += t->marked_ns != 0 ? now - t->marked_ns : preempt_slice_ns();
    t->marked_ns = now;
    if (t->cpu_ms != 0 && t->cpu_ns >= soft + soft / 2) {
        char why[VM_WHY_BYTES];
        (void)snprintf(why, sizeof(why),
            "used %u ms of CPU and could not be stopped (limits.cpu is %u ms)",
            (unsigned)(t->cpu_ns / NS_PER_MS), (unsigned)t->cpu_ms);
        kill_vm(t->vm, VM_END_CPU, why);
        return false;
    }
    if (t->cpu_ms != 0 && t->cpu_ns >= soft && t->killing == LUA_OK) {
        t->killing = TASK_ERRCPU;
    }
    return true;
}

static void on_count(lua_State *L, lua_Debug *ar);

#if !PREEMPT_HOOK
static void set_hook(void *arg)
{
    struct task *t = arg;
    lua_State *L = t->running != NULL ? t->running : t->T;
    t->is_arming = true;
    t->arming_slices = 0;
    if (L != NULL) {
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    }
    t->armed_slices = 2 * t->arming_slices;
    t->is_arming = false;
}
#endif

void kill_arm(struct task *t)
{
#if !PREEMPT_HOOK
    if (t->is_arming) { /* and goes on with that */
        t->arming_slices++;
    } else if (t->armed_slices > 0) {
        t->armed_slices--;
    } else {
        preempt_self.on_return = set_hook;
        preempt_self.on_return_arg = t;
    }
#else
    (void)t; /* it has the hook that has stopped it */
#endif
}

/* ---- on the fiber ---- */

#if PREEMPT_HOOK
static void look_at_clock(lua_State *L)
{
    struct preempt *p = &preempt_self;
    const struct task *t = vm_from(L)->current;
    if (t != NULL && t->cpu_ms != 0 && p->hold == 0 &&
        loop_clock_ns() >= p->slice_end_ns) {
        p->hold = 1;
        p->stop = PREEMPT_RELEASE;
        preempt_stop_here();
        p->hold = 0;
    }
}
#endif

/* (task) */
static int keep_place(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    traceback_push(L, L, "", 1);
    if (L != t->T) {
        traceback_push(L, t->T, lua_tostring(L, -1), 0);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &kill_key);
    t->has_place = true;
    return 0;
}

/* What ends a job is raised again by all who catch it, further and further from
 * where the time went. So that is noted the first time. If there is no memory
 * for it, the way out is told as far as it is left. */
NORETURN static void end_job(lua_State *L, struct task *t)
{
    if (!t->has_looked) {
        t->has_looked = true;
        luaL_checkstack(L, LUA_MINSTACK, NULL);
        lua_pushcfunction(L, keep_place);
        lua_pushlightuserdata(L, t);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
            lua_pop(L, 1);
        }
    }
    lua_pushlightuserdata(L, (void *)(uintptr_t)&kill_key);
    (void)lua_error(L);
    ASSERT(false, "lua_error() does not return");
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    struct task *t = vm_from(L)->current;
    (void)ar;
    if (t != NULL && t->killing != LUA_OK) {
        end_job(L, t);
    }
    /* Left over from a job that is over; new coroutines inherit it, too. */
    kill_prepare(L);
#if PREEMPT_HOOK
    look_at_clock(L);
    t = vm_from(L)->current;
    if (t != NULL && t->killing != LUA_OK) {
        on_count(L, ar);
    }
#endif
}

void kill_prepare(lua_State *T)
{
#if PREEMPT_HOOK
    lua_sethook(T, on_count, LUA_MASKCOUNT, LOOK_INSTRUCTIONS);
#else
    lua_sethook(T, NULL, 0, 0);
#endif
}

void kill_end(struct task *t)
{
    t->killing = LUA_OK;
    t->running = NULL;
    t->memory_errors = 0; /* task_caught() sets both */
    t->has_looked = false;
    if (t->has_place) {
        t->has_place = false;
        lua_pushnil(t->T); /* the key is there, so this cannot fail */
        lua_rawsetp(t->T, LUA_REGISTRYINDEX, &kill_key);
    }
    kill_prepare(t->T);
}

void kill_words(const struct task *t, int status, char buf[TASK_WORDS_BYTES])
{
    if (status == TASK_ERRCPU) {
        (void)snprintf(buf, TASK_WORDS_BYTES,
            "used more than %u ms of CPU (limits.cpu)", (unsigned)t->cpu_ms);
    } else {
        (void)snprintf(
            buf, TASK_WORDS_BYTES, "too many memory errors (limits.memory)");
    }
}

bool kill_describe(lua_State *T, bool *is_traced)
{
    const struct task *t = vm_from(T)->current;
    if (t == NULL || lua_touserdata(T, 1) != (const void *)&kill_key) {
        return false;
    }
    char words[TASK_WORDS_BYTES];
    kill_words(t, t->killing, words);
    lua_pushstring(T, words);
    if (t->has_place) {
        lua_rawgetp(T, LUA_REGISTRYINDEX, &kill_key);
        lua_concat(T, 2);
    }
    lua_replace(T, 1);
    lua_settop(T, 1);
    *is_traced = t->has_place;
    return true;
}

bool task_is_killing(lua_State *L)
{
    const struct vm *vm = vm_from(L);
    return vm != NULL && vm->current != NULL && vm->current->killing != LUA_OK;
}

void task_set_running(lua_State *L, lua_State *thread)
{
    struct vm *vm = vm_from(L);
    if (vm != NULL && vm->current != NULL) {
        vm->current->running = thread;
    }
}

/* A script that catches memory errors may live on without end at the cap,
 * each of them after a full collection. */
static void note_memory_error(struct task *t)
{
    const struct arena *a = t->vm->arena;
    t->memory_errors++;
    if (t->killing == LUA_OK && t->cpu_ms != 0 &&
        (t->memory_errors > LIMIT_MEMORY_ERRORS ||
            arena_live(a) / FULL_PERCENT > arena_cap(a) / 100)) {
        t->killing = TASK_ERRFULL;
    }
}

void task_caught(lua_State *L, int status)
{
    struct vm *vm = vm_from(L);
    if (vm == NULL || vm->current == NULL) {
        return;
    }
    struct task *t = vm->current;
    t->running = L;
    if (status == LUA_ERRMEM) {
        note_memory_error(t);
    }
    if (UNLIKELY(t->killing != LUA_OK)) {
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
        end_job(L, t);
    }
}

NORETURN static void leave_for_good(
    struct vm *vm, enum vm_end end, const char *why)
{
    struct preempt *p = &preempt_self;
    struct task *t = vm->current;
    preempt_set_hold(1);
    kill_vm(vm, end, why);
    p->stop = PREEMPT_FAULT;
    fiber_leave_inline(t->fiber);
    ASSERT(false, "a dead vm is not entered");
}

/* A state that keeps nearly all of its memory to itself fails at each event,
 * and nothing would ever change that: it begins anew. What a job has held when
 * it failed is not counted, since the collection at its first refusal finds
 * little but what was there before. */
void kill_if_full(struct task *t)
{
    struct vm *vm = t->vm;
    size_t least = arena_take_least(vm->arena);
    if (least / KEPT_PERCENT <= arena_cap(vm->arena) / 100) {
        vm->full_count = 0;
        return;
    }
    vm->full_count++;
    if (vm->full_count >= LIMIT_FULL_EVENTS && t->cpu_ms != 0) {
        leave_for_good(vm, VM_END_FULL,
            "what the app keeps leaves its events no memory (limits.memory)");
    }
}

void kill_leave_for_good(struct vm *vm, const char *why)
{
    leave_for_good(vm, VM_END_CRASH, why);
}
