/* reload.c -- a new generation takes over, wholly or not at all (I8).
 *
 *   snapshot   the files as they are now; the same as before: nothing to do
 *   load       aside, in a vm and an arena of its own (load.c); the app goes
 *              on meanwhile
 *   carry      client.data of every client that is at rest, out of the old
 *              state and into the new one (carry.c). From here on the app is
 *              held: its events queue up
 *   switch     cannot fail. The new state is live, then one client after the
 *              other is told
 *   drain      handlers that await end in the old state (LIMIT_DRAIN_OLD_MS);
 *              a client with such a handler moves when it has ended
 *
 * Each is done in steps, when it is the app's turn (inbox_run.c), so that it
 * costs nobody else a turn (I9). Anything that fails before the switch is
 * logged with file and line, and the old generation goes on as if nothing had
 * been. If a client's data cannot be carried, obstacle.c says what then. */
#include "app/api_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include "base/units.h"
#include <stdio.h>
#include <string.h>

#ifdef MOONWIRE_TINY
#    define STEP_SLOTS 2
#else
#    define STEP_SLOTS 256 /* clients that are looked at in one step */
#endif

/* "What happened: why", the traceback as the detail. */
static void log_failure(const struct app *a, const struct client *cl, int rc,
    const char *what, const char *why)
{
    struct log_fields f;
    size_t first = strcspn(why, "\n");

    app_log_fields(a, a->live, &f);
    f.client = cl != NULL ? client_id(cl) : 0;
    f.event = "reload";
    f.kind = app_load_kind(rc);
    f.err = why[first] != '\0' ? why + first + 1 : NULL;
    log_event(LOG_ERROR, &f, "%s: %.*s", what, (int)first, why);
}

/* ---- clients move ---- */

static void moved(struct client *cl, struct state *to)
{
    struct state *from = cl->state;

    cl->state = to;
    cl->is_moving = false;
    state_forget_data(from, client_id(cl));
    if (cl->is_closed && cl->app->restart.is_down) {
        restart_client_closed(cl);
    } else {
        inbox_client_moved(cl);
    }
}

static void on_moved(
    struct app *a, struct client *cl, struct state *to, int rc, const char *why)
{
    a->is_held = false;
    if (rc != 0) {
        if (lines_take(&a->failure_lines)) {
            log_failure(a, cl, rc, "client.data is lost", why);
        }
        cl->has_data = false;
    }
    moved(cl, to);
}

void reload_move(struct client *cl)
{
    struct app *a = cl->app;

    if (!cl->has_data) {
        cl->state = a->live;
    } else if (!cl->is_moving) {
        cl->is_moving = true;
        list_remove(&cl->ready_node);
        list_push_tail(&a->movers, &cl->ready_node);
        inbox_post(a);
    }
}

static void move_next(struct app *a)
{
    struct client *cl =
        container_of(list_pop_head(&a->movers), struct client, ready_node);

    a->is_held = true;
    carry_begin(a, cl, cl->state, a->live, on_moved);
}

/* ---- the old generation ---- */

/* From here on nothing of it goes on: what it did to client.data would be lost,
 * for that is on its way to the live state. */
static void begin_ending(struct state *s, uint32_t left)
{
    struct app *a = s->app;
    struct log_fields f;
    char limit[UNITS_TEXT_BYTES];

    units_write_ms(a->drain_old_ms, limit);
    app_log_fields(a, s, &f);
    f.event = "reload";
    log_event(LOG_WARN, &f,
        "%u handlers and tasks of the old generation are not done after %s: "
        "ended",
        left, limit);
    s->is_ending = true;
}

/* Its clients move: a step of them in a turn, and no new ones come to it. True:
 * all have been looked at. */
static bool move_clients(struct state *s)
{
    struct app *a = s->app;
    uint32_t end = slots_end(&a->clients);

    for (int i = 0; i < STEP_SLOTS && s->ending_slot < end; i++) {
        struct client *cl = slots_at(&a->clients, s->ending_slot++);
        if (cl != NULL && cl->state == s) {
            reload_move(cl);
        }
    }
    return s->ending_slot >= end;
}

static void drop_old(struct timer *t)
{
    struct state *s = container_of(t, struct state, drain_timer);
    struct app *a = s->app;
    /* A call that has begun is a task as well, and not two. */
    uint32_t tasks = task_count(s->vm);
    uint32_t left = tasks > s->calls ? tasks : s->calls;

    if (a->is_held || (a->stopped != NULL && vm_end(s->vm) == VM_ALIVE)) {
        /* By its own job or the new generation's: soon over, one way or the
         * other. */
        timer_start(a->loop, &s->drain_timer, 1);
        return;
    }
    if (left > 0 && !s->is_ending) {
        begin_ending(s, left);
    }
    if (s->is_ending && !move_clients(s)) {
        timer_start(a->loop, &s->drain_timer, 0);
        return;
    }
    if (!list_is_empty(&a->movers)) {
        timer_start(a->loop, &s->drain_timer, 1);
        return;
    }
    if (state_drop_some(s)) {
        timer_start(a->loop, &s->drain_timer, 0);
        return;
    }
    state_free(s);
    inbox_post(a);
}

void reload_check_drained(struct state *s)
{
    if (task_count(s->vm) == 0 && s->calls == 0) {
        /* Not here: this is the end of a task of that very vm. */
        timer_start(s->app->loop, &s->drain_timer, 0);
    }
}

static void retire(struct state *s)
{
    s->is_draining = true;
    list_push_tail(&s->app->draining, &s->node);
    timer_init(&s->drain_timer, drop_old);
    timer_start(s->app->loop, &s->drain_timer,
        task_count(s->vm) + s->calls == 0 ? 0 : s->app->drain_old_ms);
}

/* One that never was live, and that nobody knows. */
static void discard(struct state *s)
{
    struct app *a = s->app;

    s->is_draining = true;
    s->is_ending = true;
    s->ending_slot = UINT32_MAX;
    list_push_tail(&a->draining, &s->node);
    timer_init(&s->drain_timer, drop_old);
    timer_start(a->loop, &s->drain_timer, 0);
}

/* ---- the switch ---- */

static void report_success(struct app *a)
{
    struct log_fields f;

    app_log_fields(a, a->live, &f);
    f.event = "reload";
    log_event(LOG_INFO, &f, "reloaded: generation %u, %u clients stay",
        a->live->generation, a->client_count);
    metric_add(loop_metrics(a->loop), METRIC_RELOADS, 1);
    obstacle_forget(a);
    reload_note_end(a, 0);
}

/* `cl`: whose data it was; NULL: it was something else. */
static void report_failure(
    struct app *a, const struct client *cl, int rc, const char *why)
{
    char what[64];

    (void)snprintf(what, sizeof(what), "reload failed, generation %u goes on",
        a->live->generation);
    log_failure(a, cl, rc, what, why);
    if (cl != NULL) {
        obstacle_note(a, cl);
    } else {
        obstacle_forget(a);
    }
    metric_add(loop_metrics(a->loop), METRIC_RELOADS_FAILED, 1);
    reload_note_end(a, rc);
    if (a->restart.is_down) {
        restart_go_on(a);
    }
}

static void begin_switch(struct app *a, struct state *fresh)
{
    a->retiring = a->live;
    a->retiring_slot = 0;
    a->live = fresh;
    a->fresh = NULL;
    api_time_stop(a->retiring);
    state_start(fresh);
    far_settings_changed(a);
}

static void tell_client(struct app *a, struct client *cl)
{
    struct conn *c = net_find(a->net, cl->member.conn);

    if (c != NULL) {
        conn_settings_changed(c);
    }
    if (!cl->is_busy) {
        cl->state = a->live;
    } else {
        /* What the old settings let overlap waits now. */
        list_remove(&cl->ready_node);
    }
}

static void go_on_switching(struct app *a)
{
    uint32_t end = slots_end(&a->clients);

    for (int i = 0; i < STEP_SLOTS && a->retiring_slot < end; i++) {
        struct client *cl = slots_at(&a->clients, a->retiring_slot++);
        if (cl != NULL && a->retiring->vm == NULL) {
            restart_tell_client(a, cl);
        } else if (cl != NULL) {
            tell_client(a, cl);
        }
    }
    if (a->retiring_slot < end) {
        return;
    }
    struct state *old = a->retiring;
    a->retiring = NULL;
    a->is_held = false;
    if (old->vm != NULL) {
        retire(old);
        report_success(a);
        return;
    }
    inbox_start_over(a);
    if (old->snapshot == a->live->snapshot) {
        restart_report(a);
        reload_note_end(a, 0);
    } else {
        report_success(a);
    }
    state_free(old);
}

static void on_carried(
    struct app *a, struct client *cl, struct state *to, int rc, const char *why)
{
    if (rc == 0) {
        begin_switch(a, to);
        return;
    }
    a->is_held = false;
    if (obstacle_may_wait(a, cl)) {
        return;
    }
    a->fresh = NULL;
    report_failure(a, cl, rc, why);
    discard(to);
}

static void take_over(struct app *a)
{
    struct state *fresh = a->fresh;

    if (a->restart.is_down && !restart_is_ready(a)) {
        return;
    }
    a->is_held = true;
    if (a->restart.is_down) {
        restart_begin(a);
        begin_switch(a, fresh);
    } else {
        carry_begin(a, NULL, a->live, fresh, on_carried);
    }
}

static void on_loaded(
    struct app *a, struct state *fresh, int rc, const char *why)
{
    if (rc == 0) {
        a->fresh = fresh; /* when those who move have done so */
    } else {
        report_failure(a, NULL, rc, why);
    }
}

/* ---- when it is the app's turn ---- */

bool reload_is_under_way(const struct app *a)
{
    return a->load != NULL || a->fresh != NULL || a->retiring != NULL;
}

static bool can_take_over(const struct app *a)
{
    return a->fresh != NULL && !obstacle_is_awaited(a);
}

bool reload_has_work(const struct app *a)
{
    return a->is_held || !list_is_empty(&a->movers) || a->load != NULL ||
           a->retiring != NULL || a->obstacle.is_due || can_take_over(a);
}

bool reload_go_on(struct app *a)
{
    if (a->carry != NULL) {
        return carry_go_on(a) != SERVICE_STOPPED;
    }
    if (a->retiring != NULL) {
        go_on_switching(a);
    } else if (!list_is_empty(&a->movers)) {
        move_next(a);
    } else if (can_take_over(a)) {
        take_over(a);
    } else if (a->load != NULL) {
        return load_go_on(a) != SERVICE_STOPPED;
    } else if (a->obstacle.is_due) {
        obstacle_look(a);
    }
    return true;
}

void reload_go_on_now(struct app *a)
{
    uint64_t end_ns = loop_clock_ns() + LIMIT_SLICE_US * UINT64_C(1000);

    while (a->stopped == NULL && reload_has_work(a)) {
        if (!reload_go_on(a)) {
            sched_stopped_now(a->sched, &a->unit);
            break;
        }
        if (loop_clock_ns() >= end_ns) {
            break;
        }
    }
    inbox_post(a);
}

void reload_note_end(struct app *a, int rc)
{
    a->load_rc = rc;
    if (a->wants_reload) {
        timer_start(a->loop, &a->reload_timer, 0);
    }
}

int app_reload(struct app *a)
{
    char why[APP_ERROR_BYTES];
    struct snapshot *snap = NULL;

    if (a->is_stopping) {
        return ERR_CLOSED;
    }
    a->wants_reload = a->live == NULL || reload_is_under_way(a);
    if (a->wants_reload) {
        return 0; /* as soon as that is over; if the first load has failed for
                     good, there is nothing to reload any more */
    }
    int rc = snapshot_read(a->dir, &snap, why, sizeof(why));

    if (rc != 0) {
        report_failure(a, NULL, rc, why);
        return rc;
    }
    if (!a->restart.is_down &&
        memcmp(snap->hash, a->live->snapshot->hash, sizeof(snap->hash)) == 0) {
        snapshot_unref(snap);
        obstacle_forget(a);
        return ERR_CHANGED;
    }
    a->load_rc = 0;
    load_begin(a, snap, a->live->generation + 1, on_loaded);
    snapshot_unref(snap);
    reload_go_on_now(a);
    return a->load_rc;
}
