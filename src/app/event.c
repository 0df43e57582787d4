/* event.c -- one event: what it calls in Lua, and what becomes of it.
 *
 * The inbox decides when an event runs and hands it to script/task as a job.
 * Here are the job's three ends: push and done on the fiber, finished on the
 * loop's stack. A handler that fails is reported (failure.c) and ends its
 * event, nothing else; whatever an event holds is given back once, in
 * finished, however it ended (I3). */
#include "app/api_priv.h"
#include "base/late.h"
#include "base/mem.h"
#include <string.h>

#define SPARE_EVENTS 256

static int push_event(struct job *j, lua_State *T);
static void report_end(struct job *j, lua_State *T, int status, int n);
static void end_event(struct job *j);

struct event *event_new(struct app *a, enum event_kind kind)
{
    struct list *node = list_pop_head(&a->inbox.spare);
    struct event *ev;

    if (node != NULL) {
        a->inbox.spare_count--;
        ev = container_of(node, struct event, node);
    } else {
        ev = mem_alloc(sizeof(*ev));
    }
    memset(ev, 0, sizeof(*ev));
    list_init(&ev->node);
    ev->job.push = push_event;
    ev->job.done = report_end;
    ev->job.finished = end_event;
    /* Who asked wants to know; of the others only failures are reported. */
    ev->job.results = kind == EVENT_CONNECT || kind == EVENT_REQUEST ? 1 : 0;
    ev->app = a;
    ev->kind = kind;
    ev->has_failed = true;
    return ev;
}

static void return_loan(struct event *ev)
{
    if (UNLIKELY(ev->lender != NULL)) {
        blob_unref(ev->lender);
        ev->lender = NULL;
    }
}

void event_drop_data(struct event *ev)
{
    if (ev->owns_data) {
        void *block =
            ev->block != NULL ? ev->block : (void *)(uintptr_t)ev->data;
        late_free(block, ev->len, NULL);
    }
    return_loan(ev);
    ev->block = NULL;
    ev->data = NULL;
    ev->owns_data = false;
}

void event_free(struct event *ev)
{
    struct inbox *in = &ev->app->inbox;

    event_drop_data(ev);
    if (in->spare_count < SPARE_EVENTS) {
        in->spare_count++;
        list_push_tail(&in->spare, &ev->node);
    } else {
        mem_free(ev);
    }
}

bool event_own_data(struct event *ev)
{
    if (ev->owns_data || ev->data == NULL) {
        return true;
    }
    uint8_t *copy = net_take_lent(ev->app->net, ev->data, ev->len);
    if (copy == NULL) {
        copy = quota_alloc(ev->len != 0 ? ev->len : 1);
        if (copy == NULL) {
            ev->data = NULL;
            ev->len = 0;
            return false;
        }
        memcpy(copy, ev->data, ev->len);
    }
    return_loan(ev);
    ev->data = copy;
    ev->owns_data = true;
    return true;
}

/* ---- on the fiber ---- */

static int handler_ref(const struct event *ev)
{
    static const enum handler of[] = {
        [EVENT_OPEN] = HANDLER_ON_OPEN,
        [EVENT_MESSAGE] = HANDLER_ON_MESSAGE,
        [EVENT_SLOW] = HANDLER_ON_SLOW,
        [EVENT_DRAIN] = HANDLER_ON_DRAIN,
        [EVENT_CLOSE] = HANDLER_ON_CLOSE,
        [EVENT_START] = HANDLER_ON_START,
        [EVENT_STOP] = HANDLER_ON_STOP,
        [EVENT_CONNECT] = HANDLER_ON_CONNECT,
        [EVENT_REQUEST] = HANDLER_ON_REQUEST,
        [EVENT_ERROR] = HANDLER_ON_ERROR,
    };
    return ev->state->handlers[of[ev->kind]];
}

static int push_event(struct job *j, lua_State *T)
{
    struct event *ev = container_of(j, struct event, job);

    if (ev->kind == EVENT_CALL) {
        return call_push(ev, T);
    }
    if (ev->kind == EVENT_CONNECT) {
        return verdict_push(ev, T);
    }
    if (ev->kind == EVENT_REQUEST) {
        return response_push(ev, T);
    }
    if (ev->kind == EVENT_ERROR) {
        return failure_push(ev, T);
    }
    int ref = handler_ref(ev);
    if (ref == LUA_NOREF || ev->is_unheard ||
        (ev->kind == EVENT_MESSAGE && ev->client->is_dismissed)) {
        return -1;
    }
    lua_rawgeti(T, LUA_REGISTRYINDEX, ref);
    if (ev->kind == EVENT_START) {
        return 0;
    }
    if (ev->kind == EVENT_STOP) {
        lua_pushstring(T, ev->app->stop_reason);
        return 1;
    }
    api_push_client(T, ev->state, ev->client);
    switch (ev->kind) {
    case EVENT_MESSAGE:
        lua_pushlstring(T, (const char *)ev->data, ev->len);
        lua_pushboolean(T, ev->is_binary);
        return 3;
    case EVENT_CLOSE:
        lua_pushinteger(T, ev->code);
        lua_pushlstring(T, (const char *)ev->data, ev->len);
        return 3;
    case EVENT_SLOW:
    case EVENT_DRAIN: api_push_queue(T, ev->client); return 2;
    default: return 1;
    }
}

const char *event_name(const struct event *ev)
{
    static const char *const names[] = {
        [EVENT_OPEN] = "on_open",
        [EVENT_MESSAGE] = "on_message",
        [EVENT_SLOW] = "on_slow",
        [EVENT_DRAIN] = "on_drain",
        [EVENT_CLOSE] = "on_close",
        [EVENT_START] = "on_start",
        [EVENT_STOP] = "on_stop",
        [EVENT_CONNECT] = "on_connect",
        [EVENT_REQUEST] = "on_request",
        [EVENT_CALL] = "task",
        [EVENT_ERROR] = "on_error",
    };
    return names[ev->kind];
}

static void report_end(struct job *j, lua_State *T, int status, int n)
{
    struct event *ev = container_of(j, struct event, job);

    (void)n;
    if (status == LUA_OK) {
        ev->has_failed = false;
        return;
    }
    struct task_words w;
    const char *kind = "error";
    if (status == LUA_ERRMEM || status == TASK_ERRFULL) {
        kind = "memory";
    } else if (status == TASK_ERRCPU) {
        kind = "cpu";
    }
    task_describe(T, status, &w);
    failure_report(ev->state, ev, kind, w.text, w.where);
}

/* ---- on the loop's stack, after the fiber ---- */

static void end_event(struct job *j)
{
    struct event *ev = container_of(j, struct event, job);
    struct app *a = ev->app;
    struct state *s = ev->state;

    if (ev->kind == EVENT_CONNECT) {
        connect_finished(ev);
    } else if (ev->kind == EVENT_REQUEST) {
        request_finished(ev);
    } else if (ev->kind == EVENT_CALL) {
        call_finished(ev);
    } else if (ev->kind == EVENT_ERROR) {
        failure_finished(ev);
    } else if (ev->kind == EVENT_STOP) {
        app_stop_finished(a);
    }
    if (ev->client != NULL) {
        inbox_event_ended(ev);
    }
    event_free(ev);
    if (s->is_draining) {
        reload_check_drained(s);
    }
    inbox_post(a);
}

void event_abandon(struct event *ev)
{
    failure_report(ev->state, ev, "memory", "no memory to begin", "");
    end_event(&ev->job);
}
