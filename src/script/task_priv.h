/* task_priv.h -- a task from the inside: task.c runs it, task_pool.c keeps it,
 * kill.c ends it. */
#ifndef SCRIPT_TASK_PRIV_H
#define SCRIPT_TASK_PRIV_H

#include "script/preempt_priv.h"
#include "script/task.h"
#include "script/vm_priv.h"

#define TASK_MAGIC 0x7461736bu

enum task_state {
    STATE_BARE,    /* no fiber; in vm->bare, or being made or unmade */
    STATE_IDLE,    /* in vm->idle and in the thread's list */
    STATE_RUNNING, /* vm->current; what was idle stays in those lists */
    STATE_STOPPED, /* vm->stopped: in the middle of anything */
    STATE_WAITING, /* parked */
    STATE_READY    /* parked and woken: in vm->ready */
};

/* How far a job has come. Only while it is called may it wait, and once
 * done() has begun it is not reported again. */
enum task_step { STEP_PUSH, STEP_CALL, STEP_DONE };

struct task {
    uint64_t magic;
    struct vm *vm; /* holds us, in its arena */
    lua_State *T;  /* NULL: not made yet, or given up */
    struct fiber *fiber;
    struct job *job;   /* borrowed; NULL: none */
    struct wait *wait; /* borrowed, while WAITING */
    uintptr_t left_at; /* the frame it waits in */
    enum task_state state;
    enum task_step step;
    enum preempt_stop stop; /* STOPPED: how */
    int failed;             /* status that the outer call ended with */
    bool is_leaving;        /* serve() is to return */
    bool is_used;           /* IDLE: since longest_resting() looked */
    uint32_t forbids;       /* task_forbid() less task_allow() */
    const char *forbider;   /* who was first */
    struct list in_vm;
    struct list node;    /* ready, idle or bare */
    struct list resting; /* IDLE: in its thread's list */

    /* Of the job, and as here while there is none: LUA_OK, 0, NULL. `killing`
     * is a status of task.h once it has to end. */
    volatile int killing;
    bool is_arming;         /* its fiber is about to hear of that */
    uint32_t arming_slices; /* that has taken, so far or the last time */
    uint32_t armed_slices;  /* to go before it may take that again */
    bool has_looked;        /* it has, and where it was when it did */
    bool has_place;         /* and that is in the registry */
    uint32_t memory_errors; /* caught */
    uint32_t cpu_ms;        /* may be used; 0: any */
    uint64_t cpu_ns;        /* used, as far as it was ever stopped */
    uint64_t marked_ns;     /* thread's CPU time when it was entered again; 0:
                               not stopped since it began or waited */
    lua_State *running;     /* the coroutine that runs; NULL: T */
    char *place;            /* PLACE_BYTES on its fiber's stack: where memory
                               was refused last; "": nowhere */
    const void *told;       /* what the job is told to be ended with;
                               NULL: not told yet */
};

#define PLACE_BYTES 512

/* ---- task.c ---- */

/* A fiber's life. It ends as BARE, and is then freed. */
void task_live(void *arg);
/* Of one that is IDLE, in no list: BARE then. */
void task_take_fiber(struct task *t);

/* ---- task_pool.c ---- */

/* A new one. 0, ERR_NOMEM (the arena), or ERR_QUOTA (no stack is to be had). */
int pool_make(struct vm *vm, struct task **out) NODISCARD;
/* One for a job. What is idle stays in its lists, for it will nearly always be
 * idle again in a moment. */
static inline int pool_take(struct vm *vm, struct task **out)
{
    if (LIKELY(!list_is_empty(&vm->idle))) {
        *out = container_of(vm->idle.next, struct task, node);
        return 0;
    }
    return pool_make(vm, out);
}
/* It rests, and maybe another one loses its fiber for that. */
void pool_rest(struct task *t);
/* For a task that parks, or is to lose its fiber. */
void pool_unlink(struct task *t);
/* It goes, or becomes the vm's spare one. */
void pool_free(struct task *t);
/* Is one without a fiber worth keeping? */
bool pool_wants_bare(const struct vm *vm);

/* ---- where.c ---- */

/* While Lua moves a thread's stack, 5.4.5 and later have offsets where pointers
 * are else, and nothing says so: nobody can look at the calls then. */
#define WHERE_IS_NOTED (LUA_VERSION_RELEASE_NUM < 50405)

/* The arena of `arg`, a vm, has refused to give memory. */
void where_note(void *arg);
/* The job's end has been told. */
void where_forget(struct task *t);

/* ---- kill.c ---- */

/* On the loop's stack. A job begins. */
static inline void kill_begin(struct task *t)
{
    t->cpu_ms = t->job->cpu_ms != 0 ? t->job->cpu_ms : t->vm->config.cpu_ms;
}

/* A job ends that was stopped, or has waited. */
static inline void kill_forget(struct task *t)
{
    t->is_arming = false;
    t->armed_slices = 0;
    t->cpu_ns = 0;
    t->marked_ns = 0;
}

/* The fiber has been stopped: counts what it used, and says when that is too
 * much. False: the vm is dead. */
bool kill_judge(struct task *t);
/* The fiber is about to be entered, and its job has to end: makes sure that
 * it hears of it. */
void kill_arm(struct task *t);
/* On the fiber: the job's call is over. */
void kill_end(struct task *t);
/* On the fiber: a thread is about to run Lua for the first time. */
void kill_prepare(lua_State *T);
/* On the fiber, in a message handler: replaces the value at index 1 by what
 * people should read, if it is the one that ends jobs; false if it is not.
 * `is_traced`: with where the job was. */
bool kill_describe(lua_State *T, bool *is_traced);
/* What people should read of a job that was ended. */
void kill_words(const struct task *t, int status, char buf[TASK_WORDS_BYTES]);
/* On the fiber: a job has failed for want of memory. Does not return if that
 * was the last of LIMIT_FULL_EVENTS in a row, and the state is to blame. */
void kill_if_full(struct task *t);
/* On the fiber: for good. */
NORETURN void kill_leave_for_good(struct vm *vm, const char *why);
/* The vm is dead: nobody enters it any more. */
void kill_vm(struct vm *vm, enum vm_end end, const char *why);

#endif
