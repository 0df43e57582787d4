/* service.c -- what the server itself has to do in an app's Lua: a C function
 * in the vm's protection, stopped and bounded like a handler (I9).
 *
 * Called by load.c and carry.c. A service that is stopped goes on when it is
 * the app's turn again; its owner keeps the struct until it has ended, or
 * until the vm has gone. */
#include "app/app_priv.h"
#include "base/units.h"
#include <stdio.h>
#include <string.h>

void state_trim_traceback(char *text)
{
    static const char ours[] = "\n\t[C]: in ?";
    static const char title[] = "\nstack traceback:";
    size_t n = strlen(text);

    while (n >= sizeof(ours) - 1 &&
           strcmp(text + n - (sizeof(ours) - 1), ours) == 0) {
        n -= sizeof(ours) - 1;
        text[n] = '\0';
    }
    if (n >= sizeof(title) - 1 &&
        strcmp(text + n - (sizeof(title) - 1), title) == 0) {
        text[n - (sizeof(title) - 1)] = '\0';
    }
}

static int push(struct job *j, lua_State *T)
{
    struct service *v = container_of(j, struct service, job);

    lua_pushcfunction(T, v->fn);
    lua_pushlightuserdata(T, v->arg);
    return 1;
}

static void done(struct job *j, lua_State *T, int status, int n)
{
    struct service *v = container_of(j, struct service, job);
    struct task_words w;

    (void)n;
    v->status = status;
    if (status == LUA_OK) {
        return;
    }
    task_describe(T, status, &w);
    (void)snprintf(v->why, v->why_bytes, "%s%s", w.text, w.where);
    if (status == LUA_ERRMEM) {
        char most[UNITS_TEXT_BYTES];
        units_write_bytes(v->state->settings.memory_bytes, most);
        (void)snprintf(v->why, v->why_bytes,
            "not enough memory: limits.memory is %s%s", most, w.where);
    }
    state_trim_traceback(v->why);
}

/* Of a script that is wrong the load tells; this one was ended. */
static void count_kill(struct service *v)
{
    if (v->status != LUA_OK && task_err(v->status) != ERR_SYNTAX) {
        failure_count_kill(v->state->app);
    }
}

/* What task_run() and task_resume() have said. */
static int judge(struct service *v, int rc)
{
    struct state *s = v->state;
    bool is_cpu = vm_end(s->vm) == VM_END_CPU;

    switch (rc) {
    case TASK_STOPPED: return SERVICE_STOPPED;
    case TASK_DONE: break;
    case TASK_DEAD:
        (void)snprintf(v->why, v->why_bytes, "%s", vm_why(s->vm));
        task_forget_job(s->vm);
        if (s->is_loading) {
            failure_count_kill(s->app);
        } else {
            restart_after_death(s, NULL);
        }
        return is_cpu ? ERR_TIMEOUT : ERR_CLOSED;
    case ERR_QUOTA:
    case ERR_NOMEM:
        (void)snprintf(v->why, v->why_bytes,
            rc == ERR_QUOTA ? "no fiber is free" : "no memory to begin");
        return rc;
    default:
        /* It would come back to a frame that nobody waits for. */
        ASSERT(false, "I7");
    }
    state_do_chores(s);
    count_kill(v);
    return task_err(v->status);
}

int service_begin(struct service *v, struct state *s, lua_CFunction fn,
    void *arg, char *why, size_t why_bytes)
{
    *v = (struct service){
        .job = {.push = push, .done = done, .cpu_ms = s->settings.load_cpu_ms},
        .state = s,
        .fn = fn,
        .arg = arg,
        .why = why,
        .why_bytes = why_bytes,
        .status = LUA_OK,
    };
    if (s->vm == NULL || vm_end(s->vm) != VM_ALIVE) {
        (void)snprintf(why, why_bytes, "the state has died");
        return ERR_CLOSED;
    }
    return judge(v, task_run(s->vm, &v->job));
}

int service_go_on(struct service *v)
{
    return judge(v, task_resume(v->state->vm));
}
