/* inbox.c -- events on their way into Lua: bounded, fair between clients, and
 * in order for each of them (I2, I3).
 *
 * A client's events wait in a list of its own. The client stands in `ready`
 * while it has events and none of its handlers is under way; one event of the
 * first client runs, then the client goes to the tail. So a client that
 * floods delays the others by one event, and a handler that awaits holds up
 * its own client only.
 *
 * Three sources take turns: tasks that wake from an await, calls (timers,
 * spawned tasks, on_connect), clients. Most events see none of this: if
 * nothing waits they run at once, with the message lent from the read buffer.
 *
 * When a bound is reached the client stops reading (inbox_has_room) and TCP
 * does the rest. The end of a client and its beginning are always taken. */
#include "app/app_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include <string.h>

/* No memory for a task: try again so often, and for so long. */
#define RETRY_MS     10
#define RETRY_FOR_MS 1000

enum { SOURCE_TASKS, SOURCE_CALLS, SOURCE_CLIENTS, SOURCES };

static void resume_readers(struct app *a, struct client *cl);
static void try_again(struct timer *t);

void inbox_init(struct inbox *in)
{
    memset(in, 0, sizeof(*in));
    list_init(&in->ready);
    list_init(&in->calls);
    list_init(&in->paused);
    list_init(&in->spare);
    timer_init(&in->retry_timer, try_again);
}

void inbox_fini(struct inbox *in)
{
    struct list *node;

    ASSERT(in->events == 0 && list_is_empty(&in->calls), "I3");
    timer_stop(&in->retry_timer);
    while ((node = list_pop_head(&in->spare)) != NULL) {
        mem_free(container_of(node, struct event, node));
    }
}

/* ---- queueing ---- */

static bool has_ready_tasks(const struct app *a)
{
    if (!a->restart.is_down && task_has_ready(a->live->vm)) {
        return true;
    }
    list_each (node, &a->draining) {
        if (task_has_ready(container_of(node, struct state, node)->vm)) {
            return true;
        }
    }
    return false;
}

static bool has_work(const struct app *a)
{
    if (a->restart.is_down) {
        return false;
    }
    if (a->stopped != NULL) {
        return true;
    }
    return !list_is_empty(&a->inbox.ready) || !list_is_empty(&a->inbox.calls) ||
           has_ready_tasks(a);
}

void inbox_post(struct app *a)
{
    if (!a->is_closing && has_work(a)) {
        sched_post(a->sched, &a->unit);
    }
}

/* on_open comes first and on_close last, alone (I3). Between them an app may
 * allow handlers of one client to overlap where they await. */
static bool may_overlap(const struct client *cl, const struct event *ev)
{
    return cl->state == cl->app->live && cl->state->settings.concurrent &&
           !cl->is_exclusive && cl->handlers < LIMIT_CLIENT_HANDLERS &&
           (ev->kind == EVENT_MESSAGE || ev->kind == EVENT_SLOW ||
               ev->kind == EVENT_DRAIN);
}

static bool may_start(const struct client *cl, const struct event *ev)
{
    return !cl->is_busy || may_overlap(cl, ev);
}

static void make_ready(struct client *cl)
{
    if (!list_is_empty(&cl->events) && list_is_empty(&cl->ready_node) &&
        may_start(cl, container_of(cl->events.next, struct event, node))) {
        list_push_tail(&cl->app->inbox.ready, &cl->ready_node);
    }
}

/* A message that cannot be kept must not be lost in silence: the client is
 * told, and its on_close follows. */
static void lose_message(struct app *a, struct event *ev)
{
    struct conn *c = net_find(a->net, ev->client->member.conn);
    struct log_fields f;

    app_log_fields(a, a->live, &f);
    f.client = client_id(ev->client);
    f.kind = "memory";
    log_event(LOG_ERROR, &f, "no memory to queue a message");
    if (c != NULL) {
        conn_fail(c, 1013, "overloaded", false);
    }
    event_free(ev);
}

/* What comes from other loops is bounded by what those may have under way
 * (branch.c). */
static void count_event(struct app *a, struct event *ev)
{
    ev->client->event_count++;
    if (ev->client->far == NULL) {
        a->inbox.events++;
        a->inbox.bytes += ev->len;
    }
}

void inbox_queue(struct app *a, struct event *ev)
{
    struct client *cl = ev->client;

    if (!event_own_data(ev) && ev->kind == EVENT_MESSAGE) {
        lose_message(a, ev);
        return;
    }
    if (cl == NULL) {
        list_push_tail(&a->inbox.calls, &ev->node);
    } else {
        list_push_tail(&cl->events, &ev->node);
        count_event(a, ev);
        make_ready(cl);
    }
    inbox_post(a);
}

static void unqueue(struct app *a, struct event *ev)
{
    struct client *cl = ev->client;

    list_remove(&ev->node);
    if (cl != NULL) {
        cl->event_count--;
    }
    if (cl != NULL && cl->far == NULL) {
        a->inbox.events--;
        a->inbox.bytes -= ev->len;
    }
}

static void begin_handler(struct client *cl, const struct event *ev)
{
    ASSERT(may_start(cl, ev), "I3");
    cl->handlers++;
    cl->is_busy = true;
    cl->is_exclusive = ev->kind == EVENT_OPEN || ev->kind == EVENT_CLOSE;
}

static void end_handler(struct client *cl)
{
    cl->handlers--;
    cl->is_busy = cl->handlers > 0;
    cl->is_exclusive = false;
}

/* What is lent may change as soon as the loop has its stack back, and the
 * handler can be stopped before Lua has taken it. At most one event of an app
 * is that far at a time. False: no memory. */
static bool keep_lent(struct app *a, struct event *ev)
{
    if (ev->owns_data || ev->data == NULL || ev->data == a->lent) {
        return true;
    }
    if (ev->len > sizeof(a->lent)) {
        return event_own_data(ev);
    }
    memcpy(a->lent, ev->data, ev->len);
    ev->data = a->lent;
    return true;
}

/* Its client's loop may send another message for it, once. */
static void receipt(struct event *ev)
{
    const struct client *cl = ev->client;

    if (cl != NULL && cl->far != NULL && ev->kind == EVENT_MESSAGE &&
        !ev->is_receipted) {
        ev->is_receipted = true;
        far_taken(ev->client, ev->len);
    }
}

/* Its handler waits, and nobody waits for that. */
static void note_await(struct app *a, struct event *ev)
{
    receipt(ev);
    /* `data` was copied into Lua before the handler began. What was lent must
     * not be looked at again; what is ours counts no more, so it must not wait
     * with the handler (I2). */
    event_drop_data(ev);
    if (ev->client != NULL && ev->client->far != NULL) {
        far_awaits(ev->client, true);
    }
    resume_readers(a, ev->client);
}

/* What task_run() and task_resume() say. */
static void note_result(struct app *a, struct state *s, int rc)
{
    if (rc == TASK_STOPPED) {
        a->stopped = s;
        sched_stopped_now(a->sched, &a->unit);
    } else if (rc == TASK_DEAD) {
        struct job *j = task_stopped_job(s->vm);
        restart_after_death(s, container_of(j, struct event, job));
    } else {
        state_do_chores(s);
        if (a->wants_reload) {
            timer_start(a->loop, &a->reload_timer, 0);
        }
    }
}

/* Gives the event to a fiber. ERR_QUOTA: none is free, the event is as it
 * was, but for its state. On success it may be gone. */
static int start(struct app *a, struct event *ev)
{
    struct client *cl = ev->client;

    if (ev->state == NULL) {
        ev->state = a->live;
    }
    struct state *s = ev->state;
    if (cl != NULL) {
        begin_handler(cl, ev);
    }
    /* The vm takes one task more: for what the server itself does in it. */
    int rc = ERR_QUOTA;
    if (task_count(s->vm) < LIMIT_TASKS && keep_lent(a, ev)) {
        rc = task_run(s->vm, &ev->job);
    }
    if (rc < 0) {
        if (cl != NULL) {
            end_handler(cl);
        }
        return rc;
    }
    a->inbox.failing_since_ms = 0;
    metric_add(loop_metrics(a->loop), METRIC_EVENTS, 1);
    if (rc != TASK_DONE && cl != NULL) {
        make_ready(cl);
    }
    if (rc == TASK_PARKED) {
        note_await(a, ev);
    }
    note_result(a, s, rc);
    return 0;
}

/* It could not start. If all tasks are taken, the end of one gives it another
 * chance. If there was no memory it has to try again by itself: nobody tells
 * when there is some, and those who are under way may be waiting for this very
 * call. True: that has lasted too long, the event is over. */
static bool give_up(struct app *a, struct event *ev)
{
    struct inbox *in = &a->inbox;
    uint64_t now = loop_now_ms(a->loop);

    if (task_count(ev->state->vm) < LIMIT_TASKS) {
        if (in->failing_since_ms == 0) {
            in->failing_since_ms = now;
        }
        if (now - in->failing_since_ms >= RETRY_FOR_MS) {
            if (ev->client != NULL) {
                begin_handler(ev->client, ev);
            }
            event_abandon(ev);
            return true;
        }
        timer_start(a->loop, &in->retry_timer, RETRY_MS);
    }
    ev->state = ev->kind == EVENT_CALL ? ev->state : NULL;
    return false;
}

static void try_again(struct timer *t)
{
    struct inbox *in = container_of(t, struct inbox, retry_timer);

    inbox_post(container_of(in, struct app, inbox));
}

void inbox_take(struct app *a, struct event *ev)
{
    struct client *cl = ev->client;
    bool is_first =
        list_is_empty(&a->inbox.ready) && list_is_empty(&a->inbox.calls) &&
        !has_ready_tasks(a) && a->stopped == NULL && !a->restart.is_down &&
        (cl == NULL || (may_start(cl, ev) && list_is_empty(&cl->events)));

    if (!is_first || task_current(a->live->vm) != NULL ||
        !sched_may_run_now(a->sched, &a->unit) || start(a, ev) != 0) {
        ev->state = NULL;
        inbox_queue(a, ev);
    }
}

/* ---- back-pressure ---- */

static bool is_below(const struct app *a, unsigned quarters)
{
    const struct inbox_limits *most = &a->live->settings.inbox;

    return a->inbox.events < most->events / 4 * quarters &&
           a->inbox.bytes < most->bytes / 4 * quarters;
}

/* Back-pressure is no error, and may come and go all the time: it is said now
 * and then. */
static void note_full(struct app *a, const struct client *cl)
{
    const struct inbox_limits *most = &a->live->settings.inbox;
    struct log_fields f;

    if (!app_is_due(loop_now_ms(a->loop), &a->full_logged_ms)) {
        return;
    }
    app_log_fields(a, a->live, &f);
    f.event = "inbox";
    f.client = client_id(cl);
    log_event(LOG_INFO, &f,
        "reading rests until the app has caught up: %u of its events wait "
        "(inbox.client is %u), %u with those of others (inbox.events is %u), "
        "%zu bytes (inbox.bytes is %zu)",
        cl->event_count, most->client_events, a->inbox.events, most->events,
        a->inbox.bytes, most->bytes);
}

/* Nothing of it but its turn keeps its next message from being run. */
static bool is_idle(const struct client *cl)
{
    return !cl->is_busy && cl->event_count == 0;
}

/* Who is paused with events of its own is looked at when they have been run;
 * who is idle stands in the list. */
static void pause_reader(struct app *a, struct client *cl)
{
    cl->is_paused = true;
    if (is_idle(cl) && list_is_empty(&cl->pause_node)) {
        list_push_tail(&a->inbox.paused, &cl->pause_node);
    }
}

/* What queues behind a handler that waits can fill the inbox for as long as
 * it waits. So there is as much room again, for the messages of those who are
 * idle: these have their turn soon, whatever the others do. */
bool inbox_has_room(struct app *a, struct client *cl)
{
    uint32_t most = a->live->settings.inbox.client_events;
    bool has_room =
        is_idle(cl) ? is_below(a, 8) : is_below(a, 4) && cl->event_count < most;

    if (!has_room) {
        note_full(a, cl);
        pause_reader(a, cl);
    }
    return has_room;
}

static struct event *stopped_event(const struct app *a)
{
    return container_of(task_stopped_job(a->stopped->vm), struct event, job);
}

/* A handler that awaits may take its time: nobody waits for that. One that was
 * stopped has its turn soon, and has not said all it has to say. */
bool inbox_is_behind(struct app *a, struct client *cl)
{
    bool is_stopped = a->stopped != NULL && stopped_event(a)->client == cl;

    if (!is_stopped && (cl->is_busy || list_is_empty(&cl->events))) {
        return false;
    }
    pause_reader(a, cl);
    return true;
}

static void read_again(struct client *cl)
{
    struct conn *c = net_find(cl->app->net, cl->member.conn);

    cl->is_paused = false;
    list_remove(&cl->pause_node);
    if (c != NULL) {
        conn_resume(c);
    }
}

/* An event of `cl` has ended, or waits: who was paused may read again once
 * there is some room, not at the first gap. */
static void resume_readers(struct app *a, struct client *cl)
{
    struct inbox *in = &a->inbox;

    if (cl != NULL && cl->is_paused) {
        if (is_idle(cl)) {
            pause_reader(a, cl);
        } else if (cl->event_count <=
                       a->live->settings.inbox.client_events / 2 &&
                   is_below(a, 3)) {
            read_again(cl);
        }
    }
    while (!list_is_empty(&in->paused) && is_below(a, 7)) {
        read_again(container_of(in->paused.next, struct client, pause_node));
    }
}

void inbox_event_ended(struct event *ev)
{
    struct client *cl = ev->client;

    end_handler(cl);
    receipt(ev);
    if (ev->kind == EVENT_CLOSE) {
        resume_readers(ev->app, NULL);
        client_free(cl);
        return;
    }
    if (ev->app->is_closing || ev->app->restart.is_down) {
        return;
    }
    if (cl->far != NULL) {
        far_awaits(cl, cl->is_busy);
    }
    if (cl->state != ev->app->live && !cl->is_busy) {
        reload_migrate(cl);
    }
    make_ready(cl);
    resume_readers(ev->app, cl);
}

void inbox_drop(struct app *a, struct state *s)
{
    list_each_safe (node, &a->inbox.calls) {
        struct event *ev = container_of(node, struct event, node);
        if (s != NULL && ev->state != s) {
            continue;
        }
        list_remove(&ev->node);
        if (ev->kind == EVENT_CALL) {
            call_finished(ev);
        } else if (ev->kind == EVENT_ERROR) {
            failure_finished(ev);
        } else if (ev->kind == EVENT_CONNECT) {
            ev->state = a->live;
            connect_finished(ev);
        } else if (ev->kind == EVENT_REQUEST) {
            request_finished(ev);
        }
        event_free(ev);
    }
    if (s != NULL) {
        return;
    }
    list_each (client_node, &a->client_list) {
        (void)inbox_drop_client(
            container_of(client_node, struct client, node), false);
    }
}

bool inbox_drop_client(struct client *cl, bool keep_words)
{
    bool was_open = true;

    list_each_safe (node, &cl->events) {
        struct event *ev = container_of(node, struct event, node);
        if (keep_words && ev->kind != EVENT_OPEN && ev->kind != EVENT_SLOW &&
            ev->kind != EVENT_DRAIN) {
            continue;
        }
        was_open = was_open && ev->kind != EVENT_OPEN;
        unqueue(cl->app, ev);
        receipt(ev);
        event_free(ev);
    }
    if (list_is_empty(&cl->events)) {
        list_remove(&cl->ready_node);
    }
    return was_open;
}

void inbox_welcome(struct client *cl)
{
    struct app *a = cl->app;

    if (a->live->handlers[HANDLER_ON_OPEN] != LUA_NOREF) {
        struct event *ev = event_new(a, EVENT_OPEN);
        ev->client = cl;
        list_push_head(&cl->events, &ev->node);
        count_event(a, ev);
    }
    make_ready(cl);
}

void inbox_start_over(struct app *a)
{
    if (a->live->handlers[HANDLER_ON_START] != LUA_NOREF) {
        struct event *ev = event_new(a, EVENT_START);
        list_push_head(&a->inbox.calls, &ev->node);
    }
    a->inbox.turn = SOURCE_CALLS;
}

/* ---- the scheduler's side ---- */

static bool resume_in(struct app *a, struct state *s)
{
    int rc = task_resume(s->vm);

    note_result(a, s, rc);
    return rc != TASK_IDLE;
}

static void resume_stopped(struct app *a)
{
    struct state *s = a->stopped;
    struct event *ev = stopped_event(a);

    a->stopped = NULL;
    int rc = task_resume(s->vm);
    if (rc < 0) {
        event_abandon(ev);
    } else if (rc == TASK_PARKED) {
        note_await(a, ev);
    }
    note_result(a, s, rc);
}

/* The old generations first: they are to end. */
static bool resume_task(struct app *a)
{
    list_each (node, &a->draining) {
        struct state *s = container_of(node, struct state, node);
        if (task_has_ready(s->vm)) {
            return resume_in(a, s);
        }
    }
    return resume_in(a, a->live);
}

/* The first that can start: those of a state whose tasks are all taken do not
 * hold up the others. */
static bool run_call(struct app *a)
{
    const struct state *full = NULL;

    list_each (node, &a->inbox.calls) {
        struct event *ev = container_of(node, struct event, node);
        const struct state *s = ev->state != NULL ? ev->state : a->live;
        if (s == full) {
            continue;
        }
        struct list *before = node->prev;
        list_remove(node);
        if (start(a, ev) == 0 || give_up(a, ev)) {
            return true;
        }
        list_push_head(before, node);
        full = s;
    }
    return false;
}

static bool run_client(struct app *a)
{
    struct list *node = list_pop_head(&a->inbox.ready);

    if (node == NULL) {
        return false;
    }
    struct client *cl = container_of(node, struct client, ready_node);
    struct event *ev = container_of(cl->events.next, struct event, node);
    unqueue(a, ev);
    if (start(a, ev) != 0 && !give_up(a, ev)) {
        list_push_head(&cl->events, &ev->node);
        count_event(a, ev);
        list_push_head(&a->inbox.ready, &cl->ready_node);
        return false;
    }
    return true;
}

bool inbox_run(struct sched_unit *u)
{
    static bool (*const sources[SOURCES])(struct app *) = {
        [SOURCE_TASKS] = resume_task,
        [SOURCE_CALLS] = run_call,
        [SOURCE_CLIENTS] = run_client,
    };
    struct app *a = container_of(u, struct app, unit);

    if (!has_work(a)) {
        return false;
    }
    if (a->stopped != NULL) {
        resume_stopped(a);
        return has_work(a);
    }
    for (unsigned i = 0; i < SOURCES; i++) {
        if (sources[a->inbox.turn++ % SOURCES](a)) {
            return has_work(a);
        }
    }
    /* Nothing could start: who posts us next is said in give_up(). */
    return false;
}
