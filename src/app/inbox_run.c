/* inbox_run.c -- an app has the turn: one event of its inbox, or more of one
 * that has begun, goes to a fiber.
 *
 * Four sources take turns: tasks that wake from an await, calls (timers,
 * spawned tasks, on_connect), clients, and the next generation of the app if
 * there is to be one (reload.c). That one is stopped after each slice like
 * everybody, but the others' jobs then go on to their end; so it may run as
 * many slices as they have since, or an app whose handlers take long would
 * hardly ever get the code that mends it. Most events see none of this: if
 * nothing waits they run at once (inbox_take), with the message lent from the
 * read buffer.
 *
 * While a job of the app is stopped nothing else of the app runs, in any of
 * its states (I10). Where events wait, and who may send more of them, is
 * inbox.c's. */
#include "app/app_priv.h"
#include "app/branch_priv.h"
#include <string.h>

enum { SOURCE_TASKS, SOURCE_CALLS, SOURCE_CLIENTS, SOURCE_RELOAD, SOURCES };

/* ---- is there anything to run? ---- */

/* Nothing may begin or go on but the next generation. */
static bool is_closed_to_events(const struct app *a)
{
    return a->is_held || a->live == NULL || a->restart.is_down;
}

static bool has_ready_task(const struct state *s)
{
    return !s->is_ending && task_has_ready(s->vm);
}

static bool has_ready_tasks(const struct app *a)
{
    if (has_ready_task(a->live)) {
        return true;
    }
    list_each (node, &a->draining) {
        if (has_ready_task(container_of(node, struct state, node))) {
            return true;
        }
    }
    return false;
}

static bool has_work(const struct app *a)
{
    if (a->stopped != NULL || reload_has_work(a)) {
        return true;
    }
    return !is_closed_to_events(a) &&
           (!list_is_empty(&a->inbox.ready) ||
               !list_is_empty(&a->inbox.calls) || has_ready_tasks(a));
}

void inbox_post(struct app *a)
{
    if (!a->is_closing && has_work(a)) {
        sched_post(a->sched, &a->unit);
    }
}

/* ---- a handler begins, waits, ends ---- */

static void begin_handler(struct client *cl, const struct event *ev)
{
    ASSERT(inbox_may_start(cl, ev), "I3");
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

struct event *inbox_stopped_event(const struct app *a)
{
    return container_of(task_stopped_job(a->stopped->vm), struct event, job);
}

/* What is lent may go as soon as the loop has its stack back, and the handler
 * can be stopped before Lua has taken it. Nearly always it lies in the buffer
 * that was just read into, which can be kept (keep_lender). False: no
 * memory. */
static bool keep_lent(const struct app *a, struct event *ev)
{
    return ev->data == NULL || net_has_read(a->net, ev->data) ||
           event_own_data(ev);
}

/* The loop has its stack back, and reads on. Few are stopped before Lua has
 * their message; at most one event of an app is that far at a time. */
static void keep_lender(const struct app *a)
{
    struct event *ev = inbox_stopped_event(a);

    if (!task_is_pushing(a->stopped->vm)) {
        event_drop_data(ev);
    } else if (ev->data != NULL && !ev->owns_data && ev->lender == NULL) {
        ev->lender = net_keep_read(a->net);
    }
}

/* Its handler waits, and nobody waits for that. */
static void note_await(struct app *a, struct event *ev)
{
    inbox_receipt(ev);
    /* `data` was copied into Lua before the handler began. What was lent must
     * not be looked at again; what is ours counts no more, so it must not wait
     * with the handler (I2). */
    event_drop_data(ev);
    if (ev->client != NULL && ev->client->far != NULL) {
        far_awaits(ev->client, true);
    }
    inbox_resume_readers(a, ev->client);
}

/* The tick has its own beat, and hits who has only just begun as well. If it
 * were his turn again anyway, he goes on: else what has been read for this app
 * meanwhile would have to be kept, and answers to several clients would lie
 * mixed up on the tape. */
static int go_on(struct app *a, struct state *s, int rc)
{
    while (rc == TASK_STOPPED && !reload_has_work(a) &&
           sched_goes_on(a->sched, &a->unit)) {
        rc = task_resume(s->vm);
    }
    return rc;
}

/* What task_run() and task_resume() say. */
static void note_result(struct app *a, struct state *s, int rc)
{
    if (rc == TASK_STOPPED) {
        a->stopped = s;
        keep_lender(a);
        sched_stopped_now(a->sched, &a->unit);
        a->inbox.owed += reload_has_work(a) ? 1 : 0;
    } else if (rc == TASK_DEAD) {
        struct job *j = task_stopped_job(s->vm);
        hub_walk_drop(a->hub); /* nobody goes on with it */
        restart_after_death(s, container_of(j, struct event, job));
    } else {
        state_do_chores(s);
    }
}

/* Gives the event to a fiber. ERR_QUOTA: none is free; ERR_NOMEM: the state has
 * no memory for it; the event is as it was, but for its state. On success it
 * may be gone. */
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
    if (task_count(s->vm) < s->settings.tasks &&
        task_has_stack(s->vm, event_is_awaited(ev)) && keep_lent(a, ev)) {
        rc = go_on(a, s, task_run(s->vm, &ev->job));
    }
    if (rc < 0) {
        if (cl != NULL) {
            end_handler(cl);
        }
        return rc;
    }
    if (rc != TASK_STOPPED) {
        stuck_no_more(a, s); /* else that is not known yet */
    }
    metric_add(loop_metrics(a->loop), METRIC_EVENTS, 1);
    if (rc != TASK_DONE && cl != NULL) {
        inbox_make_ready(cl);
    }
    if (rc == TASK_PARKED) {
        note_await(a, ev);
    }
    note_result(a, s, rc);
    return 0;
}

/* It could not start, and waits for another chance (stuck.c). True: that has
 * lasted too long, the event is over. */
static bool give_up(struct app *a, struct event *ev, int rc)
{
    struct state *s = ev->state;

    if (!stuck_is_over(a, ev, rc)) {
        ev->state = ev->kind == EVENT_CALL ? s : NULL;
        return false;
    }
    if (ev->client != NULL) {
        begin_handler(ev->client, ev);
    }
    event_abandon(ev);
    return true;
}

void inbox_take(struct app *a, struct event *ev)
{
    struct client *cl = ev->client;
    bool is_first =
        !is_closed_to_events(a) && a->stopped == NULL &&
        list_is_empty(&a->inbox.ready) && list_is_empty(&a->inbox.calls) &&
        !has_ready_tasks(a) &&
        (cl == NULL || (inbox_may_start(cl, ev) && list_is_empty(&cl->events)));

    if (!is_first || task_current(a->live->vm) != NULL ||
        !sched_may_run_now(a->sched, &a->unit) || start(a, ev) != 0) {
        ev->state = NULL;
        inbox_queue(a, ev);
    }
}

void inbox_event_ended(struct event *ev)
{
    struct client *cl = ev->client;

    end_handler(cl);
    inbox_receipt(ev);
    if (ev->kind == EVENT_CLOSE) {
        inbox_resume_readers(ev->app, NULL);
        client_free(cl);
        return;
    }
    if (ev->app->is_closing) {
        return;
    }
    if (ev->app->restart.is_down) {
        if (cl->is_closed) {
            restart_client_closed(cl);
        }
        return;
    }
    if (cl->far != NULL) {
        far_awaits(cl, cl->is_busy);
    }
    if (cl->state != ev->app->live && !cl->is_busy) {
        reload_move(cl);
    }
    inbox_make_ready(cl);
    inbox_resume_readers(ev->app, cl);
}

void inbox_start_over(struct app *a)
{
    if (a->live->handlers[HANDLER_ON_START] != LUA_NOREF) {
        struct event *ev = event_new(a, EVENT_START);
        list_push_head(&a->inbox.calls, &ev->node);
    }
    a->inbox.turn = SOURCE_CALLS;
}

void inbox_client_moved(struct client *cl)
{
    inbox_make_ready(cl);
    inbox_resume_readers(cl->app, cl);
    inbox_post(cl->app);
}

/* ---- the scheduler's side ---- */

static bool resume_in(struct app *a, struct state *s)
{
    int rc = go_on(a, s, task_resume(s->vm));

    note_result(a, s, rc);
    return rc != TASK_IDLE;
}

/* It was stopped on its way to its beginning, and did not get there. */
static void begin_again(struct app *a, struct event *ev, int rc)
{
    if (!event_own_data(ev)) {
        event_abandon(ev);
        return;
    }
    if (ev->client != NULL) {
        end_handler(ev->client);
    }
    if (give_up(a, ev, rc)) {
        return;
    }
    if (ev->client != NULL) {
        inbox_put_back(ev);
    } else {
        list_push_head(&a->inbox.calls, &ev->node);
    }
}

/* False: it could not begin after all. */
static bool resume_stopped(struct app *a)
{
    struct state *s = a->stopped;
    struct event *ev = inbox_stopped_event(a);

    a->stopped = NULL;
    int rc = go_on(a, s, task_resume(s->vm));
    if (rc < 0) {
        state_do_chores(s);
        begin_again(a, ev, rc);
        return false;
    }
    if (rc != TASK_STOPPED) {
        stuck_no_more(a, s);
    }
    if (rc == TASK_PARKED) {
        note_await(a, ev);
    }
    note_result(a, s, rc);
    return true;
}

/* The old generations first: they are to end. */
static bool resume_task(struct app *a)
{
    list_each (node, &a->draining) {
        struct state *s = container_of(node, struct state, node);
        if (has_ready_task(s)) {
            return resume_in(a, s);
        }
    }
    return resume_in(a, a->live);
}

/* The first that can start: those of a state whose tasks are all taken do not
 * hold up the others, nor do those whom nobody awaits hold up one that is.
 * Those of one that has died, or is being ended, go with it. */
static bool run_call(struct app *a)
{
    const struct state *full[2] = {NULL, NULL};

    list_each (node, &a->inbox.calls) {
        struct event *ev = container_of(node, struct event, node);
        const struct state *s = ev->state != NULL ? ev->state : a->live;
        ASSERT(s != NULL, "where nothing is live nothing begins");
        bool is_awaited = event_is_awaited(ev);
        if (s == full[is_awaited] || s->is_ending ||
            vm_end(s->vm) != VM_ALIVE) {
            continue;
        }
        struct list *before = node->prev;
        list_remove(node);
        int rc = start(a, ev);
        if (rc == 0 || give_up(a, ev, rc)) {
            return true;
        }
        list_push_head(before, node);
        if (is_awaited && list_is_empty(&a->draining)) {
            return false; /* they are all of this one */
        }
        full[is_awaited] = s;
    }
    return false;
}

static bool run_reload(struct app *a)
{
    bool has_any = reload_has_work(a);

    if (has_any) {
        (void)reload_go_on(a);
    }
    return has_any;
}

/* What the others' jobs have had beyond their first slices. */
static bool run_owed(struct app *a)
{
    a->inbox.owed = reload_has_work(a) ? a->inbox.owed - 1 : 0;
    return run_reload(a);
}

static bool run_client(struct app *a)
{
    struct list *node = list_pop_head(&a->inbox.ready);

    if (node == NULL) {
        return false;
    }
    struct client *cl = container_of(node, struct client, ready_node);
    struct event *ev = container_of(cl->events.next, struct event, node);
    inbox_unqueue(a, ev);
    int rc = start(a, ev);
    if (rc != 0 && !give_up(a, ev, rc)) {
        inbox_put_back(ev);
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
        [SOURCE_RELOAD] = run_reload,
    };
    struct app *a = container_of(u, struct app, unit);

    if (!has_work(a)) {
        return false;
    }
    if (a->stopped != NULL) {
        return resume_stopped(a) && has_work(a);
    }
    if (is_closed_to_events(a)) {
        (void)run_reload(a);
        return has_work(a);
    }
    if (a->inbox.owed > 0 && run_owed(a)) {
        return has_work(a);
    }
    for (unsigned i = 0; i < SOURCES; i++) {
        if (sources[a->inbox.turn++ % SOURCES](a) || is_closed_to_events(a)) {
            return has_work(a);
        }
    }
    /* Nothing could start: who posts us next is said in stuck.c. */
    return false;
}
