/* inbox.c -- events that wait for Lua: bounded, fair between clients, and in
 * order for each of them (I2, I3).
 *
 * A client's events wait in a list of its own. The client stands in `ready`
 * while it has events and none of its handlers is under way; one event of the
 * first client runs, then the client goes to the tail. So a client that
 * floods delays the others by one event, and a handler that awaits holds up
 * its own client only. What runs when is inbox_run.c's.
 *
 * When a bound is reached the client stops reading (inbox_has_room) and TCP
 * does the rest. The end of a client and its beginning are always taken. */
#include "app/app_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include <string.h>

#ifdef MOONWIRE_TINY
#    define RESUME_STEP 2
#else
#    define RESUME_STEP 256 /* readers that are resumed at once */
#endif

static void resume_more(struct timer *t);

void inbox_init(struct inbox *in)
{
    memset(in, 0, sizeof(*in));
    list_init(&in->ready);
    list_init(&in->calls);
    list_init(&in->paused);
    list_init(&in->spare);
    timer_init(&in->retry_timer, stuck_try_again);
    timer_init(&in->resume_timer, resume_more);
}

void inbox_fini(struct inbox *in)
{
    struct list *node;

    ASSERT(in->events == 0 && list_is_empty(&in->calls), "I3");
    timer_stop(&in->retry_timer);
    timer_stop(&in->resume_timer);
    while ((node = list_pop_head(&in->spare)) != NULL) {
        mem_free(container_of(node, struct event, node));
    }
}

/* ---- queueing ---- */

/* on_open comes first and on_close last, alone (I3). Between them an app may
 * allow handlers of one client to overlap where they await. */
static bool may_overlap(const struct client *cl, const struct event *ev)
{
    return cl->state == cl->app->live && cl->state->settings.concurrent &&
           !cl->is_exclusive && cl->handlers < LIMIT_CLIENT_HANDLERS &&
           (ev->kind == EVENT_MESSAGE || ev->kind == EVENT_SLOW ||
               ev->kind == EVENT_DRAIN);
}

bool inbox_may_start(const struct client *cl, const struct event *ev)
{
    return !cl->is_moving && (!cl->is_busy || may_overlap(cl, ev));
}

void inbox_make_ready(struct client *cl)
{
    if (!list_is_empty(&cl->events) && list_is_empty(&cl->ready_node) &&
        inbox_may_start(
            cl, container_of(cl->events.next, struct event, node))) {
        list_push_tail(&cl->app->inbox.ready, &cl->ready_node);
    }
}

/* A message that cannot be kept must not be lost in silence: the client is
 * told, and its on_close follows. */
static void lose_message(struct app *a, struct event *ev)
{
    struct conn *c = net_find(a->net, ev->client->member.conn);
    struct log_fields f;

    if (lines_take(&a->failure_lines)) {
        app_log_fields(a, a->live, &f);
        f.client = client_id(ev->client);
        f.kind = "memory";
        log_event(LOG_ERROR, &f, "no memory to queue a message");
    }
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
        inbox_make_ready(cl);
    }
    inbox_post(a);
}

void inbox_unqueue(struct app *a, struct event *ev)
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

void inbox_put_back(struct event *ev)
{
    struct client *cl = ev->client;

    list_push_head(&cl->events, &ev->node);
    count_event(cl->app, ev);
    list_remove(&cl->ready_node);
    list_push_head(&cl->app->inbox.ready, &cl->ready_node);
}

/* Its client's loop may send another message for it, once. */
void inbox_receipt(struct event *ev)
{
    const struct client *cl = ev->client;

    if (cl != NULL && cl->far != NULL && ev->kind == EVENT_MESSAGE &&
        !ev->is_receipted) {
        ev->is_receipted = true;
        far_taken(ev->client, ev->len);
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

/* A handler that awaits may take its time: nobody waits for that. One that was
 * stopped has its turn soon, and has not said all it has to say. */
bool inbox_is_behind(struct app *a, struct client *cl)
{
    bool is_stopped =
        a->stopped != NULL && inbox_stopped_event(a)->client == cl;

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

/* Some of those who wait for nothing but room, the others soon. */
static void resume_idle(struct app *a)
{
    struct inbox *in = &a->inbox;

    for (int i = 0; !list_is_empty(&in->paused) && is_below(a, 7); i++) {
        if (i == RESUME_STEP) {
            timer_start(a->loop, &in->resume_timer, 0);
            return;
        }
        read_again(container_of(in->paused.next, struct client, pause_node));
    }
}

static void resume_more(struct timer *t)
{
    struct inbox *in = container_of(t, struct inbox, resume_timer);

    resume_idle(container_of(in, struct app, inbox));
}

/* An event of `cl` has ended, or waits: who was paused may read again once
 * there is some room, not at the first gap. */
void inbox_resume_readers(struct app *a, struct client *cl)
{
    if (cl != NULL && cl->is_paused) {
        if (is_idle(cl)) {
            pause_reader(a, cl);
        } else if (cl->event_count <=
                       a->live->settings.inbox.client_events / 2 &&
                   is_below(a, 3)) {
            read_again(cl);
        }
    }
    resume_idle(a);
}

static void drop_event(struct app *a, struct event *ev)
{
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

bool inbox_drop_some(struct app *a, uint32_t most)
{
    struct list *node;

    while (most > 0 && (node = list_pop_head(&a->inbox.calls)) != NULL) {
        drop_event(a, container_of(node, struct event, node));
        most--;
    }
    return !list_is_empty(&a->inbox.calls);
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
        inbox_unqueue(cl->app, ev);
        inbox_receipt(ev);
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
    inbox_make_ready(cl);
    /* What was under way has gone without an end that others could look at:
     * who was paused for it, or awaited, is looked at here. */
    if (cl->far != NULL) {
        far_awaits(cl, false);
    }
    inbox_resume_readers(a, cl);
}
