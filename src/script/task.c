/* task.c -- the only file that enters Lua (I7).
 *
 * Called by app/, from the loop's stack, to run a job; and by the C functions
 * that a script calls, from a fiber, to wait.
 *
 * A task is a Lua thread T, anchored in the registry, and while it has
 * something to do a fiber. On the fiber one protected call stays open around
 * all jobs, and each job has a protected call of its own inside:
 *
 *   live()  lua_pcall(T, serve)        catches what push() and done() raise
 *     serve()  for each job: push()
 *                            lua_pcall(T, the handler)
 *                            done(), leave, wait for the next job
 *
 * So a job costs a switch and one lua_pcall. If something outside the inner
 * call raises (push() at the memory cap, say), the outer one ends; live()
 * opens it again with the error, and serve() begins with reporting it.
 *
 * Waiting parks the whole fiber, whatever lies on it: coroutines of the
 * script, sort(), a metamethod. Lua does not notice; T stays an ordinary
 * thread that is in the middle of a call. Nothing here unwinds a parked
 * fiber: vm_free() drops its stack and the arena as they are.
 *
 * Between two jobs a task rests, with its fiber, in the pool (task_pool.c). To
 * take the fiber from it, it is entered once more and returns from serve(), so
 * that T is left clean. */
#include "script/task.h"
#include "base/err.h"
#include "base/log.h"
#include "script/task_priv.h"
#include "script/traceback.h"
#include <lauxlib.h>

/* So many results fit on the stack beside what done() may use; for more it
 * is made longer. */
#define FEW_RESULTS 4

/* The message handler of both protected calls. Always a string, and never
 * from __tostring or __name: that would be the script's code or words. */
static int describe_error(lua_State *T)
{
    bool is_traced = false;
    bool is_kill = kill_describe(T, &is_traced);
    int type = lua_type(T, 1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER) {
        lua_pushfstring(
            T, "(error object is a %s value)", lua_typename(T, type));
        lua_replace(T, 1);
    }
    if (!is_traced) {
        traceback_push(T, T, lua_tostring(T, 1), 2);
    }
    if (is_kill) {
        vm_from(T)->current->told = lua_topointer(T, -1);
    }
    return 1;
}

/* Near the cap there may be memory for the error, but not for the trace; then
 * the error alone has to do. */
static int on_error(lua_State *T)
{
    lua_settop(T, 1);
    lua_pushcfunction(T, describe_error);
    lua_pushvalue(T, 1);
    if (lua_pcall(T, 1, 1, 0) == LUA_OK || lua_type(T, 1) != LUA_TSTRING) {
        return 1;
    }
    lua_settop(T, 1);
    return 1;
}

/* How long a job may be stopped in: from push() on, until it is reported. */
static void allow_stops(const struct task *t)
{
    preempt_set_hold(t->cpu_ms != 0 ? 0 : 1);
}

static void report(struct task *t, lua_State *T, int status, int n)
{
    preempt_set_hold(1);
    t->step = STEP_DONE;
    if (UNLIKELY(t->killing != LUA_OK || t->running != NULL)) {
        if (t->has_looked && status != LUA_OK) {
            /* Who failed before he heard has just failed, and who came to a
             * good end all the same is fine. */
            status = t->killing;
        }
        kill_end(t);
    }
    if (UNLIKELY(status == LUA_ERRMEM || status == TASK_ERRFULL)) {
        kill_if_full(t);
    }
    const struct job *j = t->job;
    if ((status != LUA_OK || j->results != 0) && j->done != NULL) {
        j->done(t->job, T, status, n);
    }
    where_forget(t);
}

static inline __attribute__((always_inline)) void run_job(
    struct task *t, lua_State *T)
{
    struct job *j = t->job;
    t->forbids = 0;
    allow_stops(t);
    int n = j->push(j, T);
    if (n < 0) {
        lua_settop(T, 1);
        report(t, T, LUA_OK, 0);
        return;
    }
    t->step = STEP_CALL;
    int status = lua_pcall(T, n, j->results, 1);
    if (LIKELY(status == LUA_OK && j->results == 0)) {
        /* What report() would do, if nothing was the matter. */
        preempt_set_hold(1);
        if (LIKELY(t->killing == LUA_OK && t->running == NULL)) {
            t->step = STEP_DONE;
            return;
        }
        report(t, T, LUA_OK, 0);
        return;
    }
    n = lua_gettop(T) - 1;
    if (n > FEW_RESULTS) {
        luaL_checkstack(T, LUA_MINSTACK, "too many results");
    }
    report(t, T, status, n);
    lua_settop(T, 1);
}

/* The outer call came back with an error, and is open again. */
static void report_failure(struct task *t, lua_State *T)
{
    int status = t->failed;
    t->failed = LUA_OK;
    if (t->step != STEP_DONE) {
        report(t, T, status, 1);
        return;
    }
    where_forget(t);
    const char *text = lua_tostring(T, -1);
    struct log_fields f = {.kind = "error", .err = text};
    log_event(LOG_ERROR, &f, "the end of a job raised an error");
}

/* Everything that T ever does happens in here. One argument or none: the
 * error that ended the call before this one. */
static int serve(lua_State *T)
{
    struct task *t = vm_from(T)->current;
    lua_pushcfunction(T, on_error);
    lua_insert(T, 1);
    if (t->failed != LUA_OK) {
        report_failure(t, T);
        lua_settop(T, 1);
    } else {
        luaL_checkstack(T, LUA_MINSTACK + FEW_RESULTS, NULL);
        run_job(t, T);
    }
    for (;;) {
        t->state = STATE_IDLE;
        fiber_leave_inline(t->fiber);
        if (t->is_leaving) {
            break;
        }
        run_job(t, T);
    }
    if (!pool_wants_bare(t->vm)) {
        /* The key is there, so this cannot fail. T is alive until the next
         * collection, and all it still does is return. */
        lua_pushnil(T);
        lua_rawsetp(T, LUA_REGISTRYINDEX, t);
        t->T = NULL;
    }
    return 0;
}

/* On the main thread, which does nothing but this. */
static int make_thread(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    lua_State *T = lua_newthread(L);
    kill_prepare(T);
    lua_rawsetp(L, LUA_REGISTRYINDEX, t);
    t->T = T;
    return 0;
}

static bool has_thread(struct task *t)
{
    if (t->T == NULL) {
        lua_State *L = t->vm->L;
        lua_pushcfunction(L, make_thread);
        lua_pushlightuserdata(L, t);
        (void)lua_pcall(L, 1, 0, 0);
        lua_settop(L, 0);
    }
    return t->T != NULL;
}

/* If anything was collected for the thread, there is memory now. */
static void keep_spare(struct vm *vm)
{
    if (vm->spare == NULL) {
        vm->spare = arena_realloc(vm->arena, NULL, 0, sizeof(*vm->spare));
    }
}

void task_live(void *arg)
{
    struct task *t = arg;
    char place[PLACE_BYTES];
    place[0] = '\0';
    t->place = place;
    allow_stops(t);
    bool has_one = has_thread(t);
    preempt_set_hold(1);
    if (has_one) {
        lua_State *T = t->T;
        keep_spare(t->vm);
        do {
            /* From an earlier round the error may be on the stack. */
            lua_pushcfunction(T, on_error);
            lua_insert(T, 1);
            lua_pushcfunction(T, serve);
            lua_insert(T, 2);
            t->failed = lua_pcall(T, lua_gettop(T) - 2, 0, 1);
            preempt_set_hold(1);
            lua_remove(T, 1);
        } while (t->failed != LUA_OK);
    }
    t->place = NULL;
    t->state = STATE_BARE;
    fiber_leave_inline(t->fiber);
}

/* From the loop's stack: until the task waits, is idle, has ended, or was
 * stopped. `was` is how it came back the last time. Inline, like all that a
 * job passes through when nothing is the matter: each few instructions are a
 * percent of it. */
static inline __attribute__((always_inline)) enum preempt_stop enter(
    struct task *t, enum preempt_stop was)
{
    struct vm *vm = t->vm;
    ASSERT(vm->current == NULL && vm->stopped == NULL, "I7");
    vm->current = t;
    t->state = STATE_RUNNING;
    enum preempt_stop stop = preempt_enter(t->fiber, was);
    vm->current = NULL;
    return stop;
}

void task_take_fiber(struct task *t)
{
    t->is_leaving = true;
    (void)enter(t, PREEMPT_NOT);
    t->is_leaving = false;
    ASSERT(t->state == STATE_BARE, "an idle task ends when it is told");
    fiber_free(t->fiber);
    t->fiber = NULL;
}

/* In the middle of it. */
static int stop(struct task *t, enum preempt_stop how)
{
    struct vm *vm = t->vm;
    pool_unlink(t);
    t->state = STATE_STOPPED;
    t->stop = how;
    vm->stopped = t;
    return kill_judge(t) ? TASK_STOPPED : TASK_DEAD;
}

static int park(struct task *t)
{
    pool_unlink(t);
    t->marked_ns = 0;
    fiber_trim(t->fiber, t->left_at);
    return TASK_PARKED;
}

/* It could not even make its thread. */
static int give_up(struct task *t)
{
    t->vm->busy_count--;
    fiber_free(t->fiber);
    pool_free(t);
    return ERR_NOMEM;
}

/* The vm may be gone when this returns: finished() may drop it. `begins`: it
 * has just got its job. */
static inline __attribute__((always_inline)) int go_on(
    struct task *t, enum preempt_stop was, bool begins)
{
    /* One that has waited has the hook already, from the stop before that. */
    if (UNLIKELY(was != PREEMPT_NOT) && t->killing != LUA_OK) {
        kill_arm(t);
    }
    enum preempt_stop how = enter(t, was);
    if (UNLIKELY(how != PREEMPT_NOT)) {
        return stop(t, how);
    }
    if (UNLIKELY(t->state != STATE_IDLE)) {
        return t->state == STATE_WAITING ? park(t) : give_up(t);
    }
    struct job *j = t->job;
    t->job = NULL;
    t->vm->busy_count--;
    if (!begins) {
        kill_forget(t);
    }
    if (LIKELY(!list_is_empty(&t->node))) {
        t->is_used = true; /* and never was out of the lists */
    } else {
        pool_rest(t);
    }
    if (j->finished != NULL) {
        j->finished(j);
    }
    return TASK_DONE;
}

int task_run(struct vm *vm, struct job *j)
{
    CHECK(vm, VM_MAGIC);
    if (UNLIKELY(vm->busy_count >= vm->config.max_tasks)) {
        /* Of one that is dead it is 0. */
        ASSERT(vm->end == VM_ALIVE, "a dead vm is not entered");
        return ERR_QUOTA;
    }
    struct task *t = NULL;
    int rc = pool_take(vm, &t);
    if (UNLIKELY(rc != 0)) {
        return rc;
    }
    t->job = j;
    t->step = STEP_PUSH; /* before the first stop, which may be on the way */
    vm->busy_count++;
    kill_begin(t);
    return go_on(t, PREEMPT_NOT, true);
}

int task_resume(struct vm *vm)
{
    CHECK(vm, VM_MAGIC);
    ASSERT(vm->current == NULL, "I7");
    ASSERT(vm->end == VM_ALIVE, "a dead vm is not entered");
    if (vm->stopped != NULL) {
        struct task *t = vm->stopped;
        vm->stopped = NULL;
        t->marked_ns = preempt_cpu_ns();
        return go_on(t, t->stop, false);
    }
    struct list *node = list_pop_head(&vm->ready);
    if (node == NULL) {
        return TASK_IDLE;
    }
    struct task *t = container_of(node, struct task, node);
    return go_on(t, PREEMPT_NOT, false);
}

int task_settle(struct vm *vm, int rc)
{
    while (rc == TASK_STOPPED) {
        rc = task_resume(vm);
    }
    return rc;
}

bool task_has_ready(const struct vm *vm)
{
    return vm->end == VM_ALIVE &&
           (vm->stopped != NULL || !list_is_empty(&vm->ready));
}

int task_err(int status)
{
    switch (status) {
    case LUA_OK: return 0;
    case LUA_ERRMEM:
    case TASK_ERRFULL: return ERR_NOMEM;
    case TASK_ERRCPU: return ERR_TIMEOUT;
    default: return ERR_SYNTAX;
    }
}

bool task_is_pushing(const struct vm *vm)
{
    return vm->stopped->step == STEP_PUSH;
}

struct job *task_stopped_job(const struct vm *vm)
{
    return vm->stopped != NULL ? vm->stopped->job : NULL;
}

void task_forget_job(struct vm *vm)
{
    ASSERT(vm->end != VM_ALIVE && vm->stopped != NULL, "a vm that died of it");
    vm->stopped->job = NULL;
    vm->busy_count--;
}

uint32_t task_count(const struct vm *vm)
{
    return vm->busy_count;
}

struct task *task_current(struct vm *vm)
{
    return vm->current;
}

void task_check_park(lua_State *L)
{
    const struct task *t = vm_from(L)->current;
    ASSERT(t != NULL, "I7");
    task_caught(L, LUA_OK); /* a job that has to end waits for nothing */
    if (t->step != STEP_CALL) {
        luaL_error(L, "cannot wait here");
    }
    if (t->forbids != 0) {
        luaL_error(L, "cannot wait inside %s", t->forbider);
    }
}

void task_park(lua_State *L, struct wait *w)
{
    struct task *t = vm_from(L)->current;
    int held = preempt_self.hold;
    if (held == 0 || t->cpu_ms == 0) {
        task_check_park(L); /* else the caller has done that before */
    }
    preempt_set_hold(1);
    w->task = t;
    t->wait = w;
    t->left_at = (uintptr_t)__builtin_frame_address(0);
    t->state = STATE_WAITING;
    fiber_leave_inline(t->fiber);
    t->wait = NULL;
    preempt_set_hold(held);
}

void task_wake(struct task *t)
{
    CHECK(t, TASK_MAGIC);
    ASSERT(t->state == STATE_WAITING, "one wake per park");
    struct vm *vm = t->vm;
    bool is_first = list_is_empty(&vm->ready);
    t->state = STATE_READY;
    list_push_tail(&vm->ready, &t->node);
    if (is_first && vm->config.on_ready != NULL) {
        vm->config.on_ready(vm->config.owner);
    }
}

void task_forbid(lua_State *L, const char *what)
{
    struct task *t = vm_from(L)->current;
    ASSERT(t != NULL, "I7");
    if (t->forbids++ == 0) {
        t->forbider = what;
    }
}

void task_allow(lua_State *L)
{
    struct task *t = vm_from(L)->current;
    ASSERT(t != NULL && t->forbids > 0, "every allow has its forbid");
    t->forbids--;
}

static void cancel_wait(struct task *t)
{
    if (t->state == STATE_WAITING && t->wait->cancel != NULL) {
        t->wait->cancel(t->wait);
    }
}

static void drop(struct task *t)
{
    struct vm *vm = t->vm;
    if (t->state == STATE_IDLE) {
        pool_unlink(t);
    }
    if (t->fiber != NULL) {
        fiber_free(t->fiber);
        t->fiber = NULL;
    }
    if (t->job != NULL) {
        struct job *j = t->job;
        t->job = NULL;
        vm->busy_count--;
        if (j->finished != NULL) {
            j->finished(j);
        }
    }
}

bool task_drop_some(struct vm *vm, uint32_t most)
{
    struct list *node;
    /* finished() may want to start the next job here: no more of them. */
    vm->config.max_tasks = 0;
    /* First all waits, while every stack that holds one is still there. */
    while (most > 0 && (node = list_pop_head(&vm->tasks)) != NULL) {
        cancel_wait(container_of(node, struct task, in_vm));
        list_push_tail(&vm->dropped, node);
        most--;
    }
    while (most > 0 && (node = list_pop_head(&vm->dropped)) != NULL) {
        drop(container_of(node, struct task, in_vm));
        most--;
    }
    return !list_is_empty(&vm->tasks) || !list_is_empty(&vm->dropped);
}
