/* What a job costs: an empty Lua handler called by a bare lua_pcall on the
 * main thread, by task_run(), by task_run() in one of many vms in turn; a
 * switch there and back; a job that waits, and what of it is the look at the
 * stack that it waits on; and what it costs a script to be stopped again and
 * again.
 *
 *   bench_task [calls] */
#include "base/limits.h"
#include "loop/loop.h"
#include "script/fiber_priv.h"
#include "script/preempt.h"
#include "script/task.h"
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 200, MANY_VMS = 2000, DEEP_BYTES = 300 * 1024 };

static long calls = 10000; /* short, so that some rounds are undisturbed */

static int load_handler(struct job *j, lua_State *T)
{
    (void)j;
    if (luaL_loadstring(T, "function on_message(client, text) end") != LUA_OK) {
        lua_error(T);
    }
    return 0;
}

/* What app/ pushes for a message, more or less: a handler by raw look-up,
 * a client and 32 bytes. */
static int push_handler(struct job *j, lua_State *T)
{
    lua_rawgeti(T, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushliteral(T, "on_message");
    lua_rawget(T, -2);
    lua_replace(T, -2);
    lua_pushlightuserdata(T, j);
    lua_pushlstring(T, "0123456789abcdef0123456789abcdef", 32);
    return 2;
}

static void check_done(struct job *j, lua_State *T, int status, int n)
{
    (void)j;
    (void)n;
    if (status != LUA_OK) {
        printf("error: %s\n", lua_tostring(T, -1));
        exit(1);
    }
}

static double ns_per_call(uint64_t start)
{
    return (double)(loop_clock_ns() - start) / (double)calls;
}

static double bare_pcall(struct vm *vm)
{
    lua_State *L = vm_state(vm);
    uint64_t start = loop_clock_ns();
    for (long i = 0; i < calls; i++) {
        int n = push_handler(NULL, L);
        check_done(NULL, L, lua_pcall(L, n, 0, 0), 0);
        lua_settop(L, 0);
    }
    return ns_per_call(start);
}

static double jobs(struct vm *vm)
{
    struct job j = {.push = push_handler, .done = check_done};
    uint64_t start = loop_clock_ns();
    for (long i = 0; i < calls; i++) {
        int rc = task_run(vm, &j);
        if (rc != TASK_DONE && task_settle(vm, rc) != TASK_DONE) {
            exit(1);
        }
    }
    return ns_per_call(start);
}

struct echo {
    struct fiber *f;
};

static void leave_for_ever(void *arg)
{
    struct echo *e = arg;
    for (;;) {
        fiber_leave_inline(e->f);
    }
}

static double switches(void)
{
    struct echo e;
    e.f = fiber_new(leave_for_ever, &e);
    uint64_t start = loop_clock_ns();
    for (long i = 0; i < calls; i++) {
        fiber_enter_inline(e.f);
    }
    double ns = ns_per_call(start);
    fiber_free(e.f);
    return ns;
}

static void keep_best(double *so_far, double ns)
{
    *so_far = *so_far == 0 || ns < *so_far ? ns : *so_far;
}

/* What fiber_trim() costs where there is nothing to give back. */
static double looks(void)
{
    struct echo e;
    e.f = fiber_new(leave_for_ever, &e);
    fiber_enter_inline(e.f);
    uint64_t start = loop_clock_ns();
    for (long i = 0; i < calls; i++) {
        fiber_trim(e.f, (uintptr_t)e.f);
    }
    double ns = ns_per_call(start);
    fiber_free(e.f);
    return ns;
}

static __attribute__((noinline)) void go_deep(void)
{
    volatile char stack[DEEP_BYTES];
    for (size_t i = 0; i < sizeof(stack); i += 4096) {
        stack[i] = 1;
    }
}

static struct wait *parked;

/* (is_deep, waits) */
static int sleeper(lua_State *T)
{
    struct wait w = {0};
    if (lua_toboolean(T, 1)) {
        go_deep();
    }
    if (lua_toboolean(T, 2)) {
        parked = &w;
        task_park(T, &w);
    }
    return 0;
}

struct sleep_job {
    struct job job;
    bool is_deep;
    bool waits;
};

static int push_sleeper(struct job *j, lua_State *T)
{
    const struct sleep_job *s = container_of(j, struct sleep_job, job);
    lua_pushcfunction(T, sleeper);
    lua_pushboolean(T, s->is_deep);
    lua_pushboolean(T, s->waits);
    return 2;
}

static double sleeps(struct vm *vm, bool is_deep, bool waits)
{
    struct sleep_job s = {.job = {.push = push_sleeper, .done = check_done},
        .is_deep = is_deep,
        .waits = waits};
    uint64_t start = loop_clock_ns();
    for (long i = 0; i < calls; i++) {
        int rc = task_settle(vm, task_run(vm, &s.job));
        if (rc == TASK_PARKED) {
            task_wake(parked->task);
            rc = task_settle(vm, task_resume(vm));
        }
        if (rc != TASK_DONE) {
            exit(1);
        }
    }
    return ns_per_call(start);
}

static void print_waits(struct vm *vm)
{
    double best[2][2] = {{0}};
    double look = 0;
    for (int i = 0; i < 10; i++) {
        keep_best(&look, looks());
        for (int k = 0; k < 4; k++) {
            keep_best(&best[k / 2][k % 2], sleeps(vm, k / 2, k % 2));
        }
    }
    printf("a job that waits      %6.1f ns, and %.1f if it does not\n",
        best[0][1], best[0][0]);
    printf("  look at its stack   %6.1f ns of that\n", look);
    printf("  back from %d KiB   %6.1f ns, and %.1f if it does not wait\n",
        DEEP_BYTES / 1024, best[1][1], best[1][0]);
}

/* The jobs of many apps in turn: no app finds its fiber where it left it. */
static double scattered(struct vm **vms)
{
    struct job j = {.push = push_handler, .done = check_done};
    uint64_t start = loop_clock_ns();
    for (long i = 0; i < calls; i++) {
        struct vm *vm = vms[i % MANY_VMS];
        if (task_settle(vm, task_run(vm, &j)) != TASK_DONE) {
            exit(1);
        }
    }
    return ns_per_call(start);
}

static int push_loop(struct job *j, lua_State *T)
{
    (void)j;
    if (luaL_loadstring(T, "local t = {} for i = 1, 5000000 do\n"
                           "  t[i % 100] = i % 7 end") != LUA_OK) {
        lua_error(T);
    }
    return 0;
}

/* CPU time of a loop in Lua, in milliseconds; slices of `us`, 0: none. */
static double busy_ms(uint32_t us, uint64_t *stops)
{
    struct vm_config config = {.memory_bytes = 64 << 20,
        .max_tasks = 2,
        .cpu_ms = us != 0 ? 1000000 : 0};
    struct vm *vm = vm_new(&config);
    struct job j = {.push = push_loop, .done = check_done};
    preempt_set_slice_us(us == LIMIT_SLICE_US ? 0 : us);
    uint64_t before = preempt_count();
    uint64_t start = preempt_cpu_ns();
    if (vm == NULL || task_settle(vm, task_run(vm, &j)) != TASK_DONE) {
        exit(1);
    }
    double ms = (double)(preempt_cpu_ns() - start) / 1e6;
    *stops = preempt_count() - before;
    preempt_set_slice_us(0);
    vm_free(vm);
    return ms;
}

static void print_stops(void)
{
    static const uint32_t slices[] = {0, LIMIT_SLICE_US, 100, 20};
    double best[ARRAY_LEN(slices)] = {0};
    uint64_t stops[ARRAY_LEN(slices)];
    for (int i = 0; i < 10; i++) {
        for (size_t k = 0; k < ARRAY_LEN(slices); k++) {
            keep_best(&best[k], busy_ms(slices[k], &stops[k]));
        }
    }
    for (size_t k = 0; k < ARRAY_LEN(slices); k++) {
        printf("slices of %4u us     %6.1f ms  (%.3f), stopped %llu times\n",
            slices[k], best[k], best[k] / best[0],
            (unsigned long long)stops[k]);
    }
}

static struct vm *make_vm(void)
{
    struct vm_config config = {
        .memory_bytes = 64 << 20, .max_tasks = 16, .cpu_ms = 1000};
    struct vm *vm = vm_new(&config);
    struct job load = {.push = load_handler, .done = check_done};
    if (vm == NULL || task_settle(vm, task_run(vm, &load)) != TASK_DONE) {
        exit(1);
    }
    return vm;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        calls = atol(argv[1]);
    }
    struct vm *vm = make_vm();
    static struct vm *vms[MANY_VMS];
    for (int i = 0; i < MANY_VMS; i++) {
        vms[i] = make_vm();
    }
    double bare = 0;
    double job = 0;
    double twice = 0;
    double far = 0;
    for (int i = 0; i < ROUNDS; i++) {
        keep_best(&bare, bare_pcall(vm));
        keep_best(&job, jobs(vm));
        keep_best(&twice, switches());
        keep_best(&far, scattered(vms));
    }
    printf("bare lua_pcall        %6.1f ns\n", bare);
    printf("task_run              %6.1f ns  (%.2f)\n", job, job / bare);
    printf("task_run, %d vms    %6.1f ns\n", MANY_VMS, far);
    printf("enter and leave       %6.1f ns\n", twice);
    for (int i = 0; i < MANY_VMS; i++) {
        vm_free(vms[i]);
    }
    print_waits(vm);
    vm_free(vm);
    print_stops();
    preempt_fini();
    fiber_pool_fini();
    return 0;
}
