/* task.h -- where Lua is entered, and where it waits.
 *
 * A job says what to call; a task is a job on its way: a fiber with a Lua
 * thread of its own, so that it can wait anywhere (inside a sort comparator,
 * a metamethod, a coroutine) while other tasks of the app run. Fibers and
 * threads are pooled per vm and keep one protected call open around all
 * their jobs: starting a job costs a switch and a lua_pcall. */
#ifndef SCRIPT_TASK_H
#define SCRIPT_TASK_H

#include "script/vm.h"

struct task;

struct job {
    /* On the fiber: pushes a function and its arguments, returns how many
     * arguments; -1: nothing to call after all, which counts as a call that
     * ended well. May raise Lua errors; must not wait. */
    int (*push)(struct job *j, lua_State *T);
    /* On the fiber: the call ended; its `n` results (as many as `results`
     * says), or the error's text with a traceback (always a string), are on
     * top of T. Not told of a call that ended well if no results are wanted.
     * Raw reads only: must not raise. May be NULL. */
    void (*done)(struct job *j, lua_State *T, int status, int n);
    /* On the loop's stack, last: the job may be freed. May be NULL. */
    void (*finished)(struct job *j);
    uint32_t cpu_ms; /* may be used; 0: what the vm's config says */
    int results;     /* wanted of the call; LUA_MULTRET: all */
};

/* Besides Lua's, what done() may be told: the job was ended, because it used
 * too much CPU time or caught too many memory errors. */
enum task_status { TASK_ERRCPU = 100, TASK_ERRFULL };
/* For done(): what is said of a job that failed. The text agrees with the
 * status, whatever Lua said last; `where` goes behind it: the rest of a
 * traceback, or "". Takes no memory of the vm's; lasts as long as done(). */
#define TASK_WORDS_BYTES 64
struct task_words {
    const char *text;
    const char *where;
    char buf[TASK_WORDS_BYTES];
};
void task_describe(lua_State *T, int status, struct task_words *w);
/* The same as one of our errors: TIMEOUT for CPU time, NOMEM, SYNTAX for what
 * the script did wrong; 0 for LUA_OK. */
int task_err(int status);

enum task_result {
    TASK_DONE,    /* the job ended, finished() has been called */
    TASK_PARKED,  /* it waits */
    TASK_IDLE,    /* task_resume(): nobody was ready */
    TASK_STOPPED, /* its slice is over: task_resume() goes on with it */
    TASK_DEAD     /* so is the vm, see vm_end(); the job's finished() comes from
                 vm_free() */
};

/* Runs a job until it ends, waits or is stopped. ERR_QUOTA: max_tasks are
 * under way or no stack is to be had (task_has_stack()); ERR_NOMEM: what is
 * under way, and the app's data, leave it no memory to begin (the job was not
 * touched). From the loop's stack; the vm is alive, and not stopped. */
int task_run(struct vm *vm, struct job *j) NODISCARD;
/* Goes on with the task that was stopped, else with the one that has been
 * ready longest. ERR_NOMEM: the job that was stopped had not come to its
 * push() yet, and there is no memory for it: it is as before task_run(). */
int task_resume(struct vm *vm) NODISCARD;
/* task_resume() until nobody is stopped any more: what the server itself wants
 * to know from a script at once. `rc` is what task_run() has said, and so is
 * the result. Bounded by the job's cpu_ms. */
int task_settle(struct vm *vm, int rc) NODISCARD;
bool task_has_ready(const struct vm *vm);
/* Is what the job that is stopped calls still on its way into Lua? */
bool task_is_pushing(const struct vm *vm);
/* The job that is stopped, or with which the vm died; NULL: none. */
struct job *task_stopped_job(const struct vm *vm);
/* The vm has died with this job, and whoever gave it is about to leave the
 * place where it lies: it is not looked at again, nor finished. */
void task_forget_job(struct vm *vm);
/* May it have a task more under way, as far as the stacks of the whole process
 * go? What the server itself runs is not asked for that. `is_awaited`: others
 * that are under way may wait for this one, for which the last quarter of the
 * vm's share is kept: else they could have all of it, and never end. */
bool task_has_stack(const struct vm *vm, bool is_awaited);
uint32_t task_count(const struct vm *vm); /* under way: running or parked */

/* What a task waits for; usually a local of the awaiting C function. */
struct wait {
    struct task *task; /* set by task_park() */
    /* The vm is dropped while the task waits: unlink yourself from timers and
     * queues; do not wake, do not touch Lua. */
    void (*cancel)(struct wait *w);
};

/* For the functions of the sandbox that run Lua in protection or on another
 * thread; from a C function called by Lua. Before `thread` runs: */
void task_set_running(lua_State *L, lua_State *thread);
/* After it, and after every protected call that came back to L with `status`:
 * raises if the job has to end, which nothing may catch for good. */
void task_caught(lua_State *L, int status);
bool task_is_killing(lua_State *L);

/* The task that runs in this vm now; NULL outside of one. */
struct task *task_current(struct vm *vm);
/* From a C function called by Lua: waits until task_wake(). Raises a Lua
 * error where waiting is refused (see task_forbid), unless it is called in a
 * section (preempt_hold()): then task_check_park() came before that. */
void task_park(lua_State *L, struct wait *w);
/* Raises what task_park() would raise; for callers that must set something
 * up before they park. */
void task_check_park(lua_State *L);
/* Any time later, from the loop's stack or from another fiber of the vm:
 * makes a parked task ready. Once per park. */
void task_wake(struct task *t);
/* Between forbid and allow (they nest) task_park() raises "cannot wait
 * inside `what`". The count belongs to the running task. */
void task_forbid(lua_State *L, const char *what);
void task_allow(lua_State *L);

#endif
