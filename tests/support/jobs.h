/* jobs.h -- jobs for tests of script/: run a chunk or a global function, keep
 * what came of it; and wait(), which parks until the test wakes it. */
#ifndef SUPPORT_JOBS_H
#define SUPPORT_JOBS_H

#include "script/preempt.h"
#include "script/task.h"
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

struct test_job {
    struct job job;
    const char *source;   /* chunk; or NULL: */
    const char *function; /* a global function */
    lua_Integer arg;      /* its argument */
    int done;             /* times done() was called */
    int finished;
    int status;
    int n;
    char text[4096]; /* first result, or what is said of the error */
};

static inline int test_job_push(struct job *j, lua_State *T)
{
    struct test_job *t = container_of(j, struct test_job, job);
    if (t->source != NULL) {
        if (luaL_loadstring(T, t->source) != LUA_OK) {
            lua_error(T);
        }
        return 0;
    }
    lua_getglobal(T, t->function);
    lua_pushinteger(T, t->arg);
    return 1;
}

static inline void test_job_done(struct job *j, lua_State *T, int status, int n)
{
    struct test_job *t = container_of(j, struct test_job, job);
    t->done++;
    t->status = status;
    t->n = n;
    t->text[0] = '\0';
    if (status != LUA_OK) {
        struct task_words w;
        task_describe(T, status, &w);
        snprintf(t->text, sizeof(t->text), "%s%s", w.text, w.where);
    } else if (n > 0) {
        int at = lua_gettop(T) - n + 1;
        if (lua_type(T, at) == LUA_TSTRING) {
            snprintf(t->text, sizeof(t->text), "%s", lua_tostring(T, at));
        } else if (lua_isinteger(T, at)) {
            snprintf(t->text, sizeof(t->text), "%lld",
                (long long)lua_tointeger(T, at));
        } else {
            snprintf(t->text, sizeof(t->text), "a %s", luaL_typename(T, at));
        }
    }
}

static inline void test_job_finished(struct job *j)
{
    container_of(j, struct test_job, job)->finished++;
}

static inline struct test_job test_job_of(const char *source)
{
    return (struct test_job){.job = {.push = test_job_push,
                                 .done = test_job_done,
                                 .finished = test_job_finished,
                                 .results = LUA_MULTRET},
        .source = source,
        .status = -1};
}

/* The waits that nobody has woken yet, in the order of parking. */
#define TEST_WAITS_MAX 5000
struct test_waits {
    struct wait *at[TEST_WAITS_MAX];
    size_t n;
    size_t cancelled;
    size_t parked;    /* ever */
    bool is_refusing; /* parking is expected to be refused */
};

static struct test_waits test_waits;

static inline void test_wait_take(size_t i)
{
    test_waits.n--;
    memmove(&test_waits.at[i], &test_waits.at[i + 1],
        (test_waits.n - i) * sizeof(test_waits.at[0]));
}

static inline void test_wait_cancel(struct wait *w)
{
    for (size_t i = 0; i < test_waits.n; i++) {
        if (test_waits.at[i] == w) {
            test_wait_take(i);
            test_waits.cancelled++;
            return;
        }
    }
    ASSERT(false, "a wait that is cancelled is a wait that was parked");
}

static inline void test_wait_wake(size_t i)
{
    struct task *t = test_waits.at[i]->task;
    test_wait_take(i);
    task_wake(t);
}

/* Lua: wait(...) parks, then returns its arguments. */
static inline int test_wait(lua_State *L)
{
    struct wait w = {.cancel = test_wait_cancel};
    ASSERT(test_waits.n < TEST_WAITS_MAX, "room for one more");
    task_check_park(L); /* when refusing, this raises */
    preempt_hold();
    test_waits.at[test_waits.n++] = &w;
    test_waits.parked++;
    task_park(L, &w);
    preempt_release();
    return lua_gettop(L);
}

static inline int test_open_libs(lua_State *T)
{
    luaL_openlibs(T);
    lua_register(T, "wait", test_wait);
    return 0;
}

static inline int test_push_open_libs(struct job *j, lua_State *T)
{
    (void)j;
    lua_pushcfunction(T, test_open_libs);
    return 0;
}

static inline void test_count_ready(void *owner)
{
    if (owner != NULL) {
        (*(int *)owner)++;
    }
}

/* A vm with Lua's own libraries and wait(). `ready`: counts on_ready(). */
static inline struct vm *test_vm_new(
    size_t memory, uint32_t max_tasks, int *ready)
{
    struct vm_config config = {.memory_bytes = memory,
        .max_tasks = max_tasks,
        .owner = ready,
        .on_ready = test_count_ready};
    struct vm *vm = vm_new(&config);
    struct test_job open = test_job_of(NULL);
    open.job.push = test_push_open_libs;
    if (vm != NULL && task_run(vm, &open.job) != TASK_DONE) {
        vm_free(vm);
        return NULL;
    }
    return vm;
}

#endif
