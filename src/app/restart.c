/* restart.c -- an app whose vm has died begins anew, with its clients.
 *
 * A vm dies when a job could not be stopped within its budget, when its C
 * stack was full, when what it keeps leaves its events no memory, or when Lua
 * found itself broken (script/kill.c); or when what waits in it leaves them
 * none to begin (stuck.c). Nothing of it can be saved; but the clients'
 * connections, users, rooms and outboxes are the server's, and stay. So:
 *
 *   down    the live state has no vm any more. It is there for its settings
 *           and its snapshot; events queue up, and back-pressure does the rest
 *   fresh   the same snapshot is loaded again: at once the first time, later
 *           with a delay that doubles. It takes over as after a reload, one
 *           client after the other (reload.c): on_start, then on_open for
 *           each, with client.restored and empty data. on_close of the dead
 *           state is not made up for (I3 speaks of a client and a state)
 *   parked  an app that keeps dying is left alone for a while: its clients
 *           are closed with 1013, new ones get 503. It comes back by itself,
 *           or by a reload
 *
 * An app that is down when the server stops does not come back: whose end was
 * queued, and who waits to come in, is let go.
 *
 * Whatever is found out about a death is found out deep inside of the
 * inbox, so all of this happens from a timer, with nothing on the stack. */
#include "app/api_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include "base/units.h"
#include <stdio.h>
#include <string.h>

#ifdef MOONWIRE_TINY
#    define STEP_SLOTS 2
#else
#    define STEP_SLOTS 256 /* clients, or events, let go in one step */
#endif

static void log_line(
    struct app *a, enum log_level level, const char *kind, const char *text)
{
    struct log_fields f;

    app_log_fields(a, a->live, &f);
    f.event = "restart";
    f.kind = kind;
    log_event(level, &f, "%s", text);
}

/* ---- clients ---- */

/* Is it known that it is there? */
static bool is_open(const struct client *cl)
{
    return cl->far == NULL || !cl->far->is_opening;
}

/* No state knows of him; unless an old generation has a handler of his that
 * waits: then the new one will hear of his coming and going. */
static bool may_be_forgotten(const struct client *cl)
{
    return cl->is_closed && is_open(cl) && !cl->is_busy;
}

static void forget(struct client *cl)
{
    (void)inbox_drop_client(cl, false);
    client_free(cl);
}

/* A step of it. True: there are more. */
static bool forget_some(struct app *a)
{
    struct list *gone = &a->restart.gone;

    for (int i = 0; i < STEP_SLOTS && !list_is_empty(gone); i++) {
        struct client *cl =
            container_of(list_pop_head(gone), struct client, ready_node);
        if (may_be_forgotten(cl)) {
            forget(cl);
        }
    }
    return !list_is_empty(gone);
}

/* No state will ever hear of anybody. */
static bool is_over(const struct app *a)
{
    return a->is_stopping && a->restart.is_down && a->fresh == NULL;
}

/* A step of it. Then the old generations: nothing of them goes on either. */
static void let_go(struct app *a)
{
    uint32_t *slot = &a->restart.slot;
    uint32_t end = slots_end(&a->clients);

    if (inbox_drop_some(a, STEP_SLOTS)) {
        timer_start(a->loop, &a->restart.sweep_timer, 0);
        return;
    }
    for (int i = 0; i < STEP_SLOTS && *slot < end; i++) {
        struct client *cl = slots_at(&a->clients, (*slot)++);
        if (cl == NULL || cl->is_moving) {
            continue;
        }
        cl->has_data = false;
        if (may_be_forgotten(cl)) {
            forget(cl);
        }
    }
    if (*slot < end) {
        timer_start(a->loop, &a->restart.sweep_timer, 0);
        return;
    }
    list_each (node, &a->draining) {
        struct state *s = container_of(node, struct state, node);
        timer_start(a->loop, &s->drain_timer, 0);
    }
}

static void sweep(struct timer *t)
{
    struct app *a = container_of(t, struct app, restart.sweep_timer);

    if (forget_some(a)) {
        timer_start(a->loop, t, 0);
    } else if (is_over(a)) {
        let_go(a);
    }
}

static void begin_letting_go(struct app *a)
{
    a->restart.slot = 0;
    timer_start(a->loop, &a->restart.sweep_timer, 0);
}

void restart_client_closed(struct client *cl)
{
    struct app *a = cl->app;

    if (cl->is_moving) {
        return; /* when its data has been */
    }
    list_remove(&cl->ready_node);
    list_push_tail(&a->restart.gone, &cl->ready_node);
    /* Not here: this may be the midst of a flush. */
    timer_start(a->loop, &a->restart.sweep_timer, 0);
}

/* What only the dead state could have told from is over; of what it has said,
 * nothing is lost. */
void restart_tell_client(struct app *a, struct client *cl)
{
    struct conn *c = net_find(a->net, cl->member.conn);

    if (may_be_forgotten(cl)) {
        forget(cl);
        return;
    }
    cl->has_data = false;
    cl->state = a->live;
    if (c != NULL) {
        conn_settings_changed(c);
    }
    if (is_open(cl)) {
        cl->is_restored = inbox_drop_client(cl, true) || cl->is_restored;
        inbox_welcome(cl);
    }
}

/* ---- down, and up again ---- */

/* What it had under way may be thousands of tasks. True: that was all. */
static bool bury_some(struct app *a)
{
    if (a->live->vm != NULL) {
        if (state_drop_some(a->live)) {
            return false;
        }
        state_bury(a->live);
    }
    return true;
}

bool restart_is_ready(struct app *a)
{
    return bury_some(a) && !forget_some(a);
}

void restart_begin(struct app *a)
{
    ASSERT(a->live->vm == NULL && list_is_empty(&a->restart.gone),
        "nothing is left of what has died");
    timer_stop(&a->restart.timer);
    a->restart.is_down = false;
    a->restart.is_parked = false;
}

void restart_report(struct app *a)
{
    char text[96];

    metric_add(loop_metrics(a->loop), METRIC_RESTARTS, 1);
    (void)snprintf(text, sizeof(text),
        "restarted: generation %u, %u clients stay", a->live->generation,
        a->client_count);
    log_line(a, LOG_WARN, NULL, text);
}

static uint32_t delay_after(uint32_t deaths)
{
    uint32_t ms = deaths < 2 ? 0 : LIMIT_RESTART_MS;

    for (uint32_t i = 2; i < deaths && ms < LIMIT_MAX_RESTART_MS; i++) {
        ms *= 2;
    }
    return ms < LIMIT_MAX_RESTART_MS ? ms : LIMIT_MAX_RESTART_MS;
}

static void park(struct app *a)
{
    char text[128];
    char passed[UNITS_TEXT_BYTES];
    char wait[UNITS_TEXT_BYTES];

    units_write_ms(LIMIT_DEATHS_MS, passed);
    units_write_ms(LIMIT_PARK_MS, wait);
    (void)snprintf(text, sizeof(text),
        "parked: died %u times within %s; the next try is in %s, or by a "
        "reload",
        a->restart.deaths, passed, wait);
    log_line(a, LOG_ERROR, "crash", text);
    a->restart.is_parked = true;
    a->restart.deaths = 0;
    app_close_clients(a, 1013, "the app keeps failing", 1000);
    timer_start(a->loop, &a->restart.timer, LIMIT_PARK_MS);
}

static void count_death(struct app *a)
{
    struct restart *r = &a->restart;
    uint64_t now = loop_now_ms(a->loop);

    if (r->deaths == 0 || now - r->first_ms > LIMIT_DEATHS_MS) {
        r->deaths = 0;
        r->first_ms = now;
    }
    r->deaths++;
    r->delay_ms = delay_after(r->deaths);
}

static void on_loaded(
    struct app *a, struct state *fresh, int rc, const char *why)
{
    char text[APP_ERROR_BYTES];

    if (rc == 0) {
        a->fresh = fresh;
        return;
    }
    (void)snprintf(text, sizeof(text), "%s", why);
    text[strcspn(text, "\n")] = '\0';
    log_line(a, LOG_ERROR, app_load_kind(rc), text);
    count_death(a);
    timer_start(a->loop, &a->restart.timer, 0);
    reload_note_end(a, rc);
}

/* Not while somebody else's load is under way: that will do. */
static void begin_anew(struct app *a)
{
    if (!reload_is_under_way(a)) {
        load_begin(a, a->live->snapshot, a->live->generation + 1, on_loaded);
    }
    inbox_post(a);
}

void restart_go_on(struct app *a)
{
    if (!a->restart.is_parked && !timer_is_started(&a->restart.timer)) {
        timer_start(a->loop, &a->restart.timer, 0);
    }
}

void restart_stop(struct app *a)
{
    if (is_over(a)) {
        timer_start(a->loop, &a->restart.timer, 0);
    }
}

static void go_on(struct timer *t)
{
    struct app *a = container_of(t, struct app, restart.timer);
    struct restart *r = &a->restart;
    uint32_t delay_ms = r->delay_ms;

    if (!bury_some(a)) {
        timer_start(a->loop, &r->timer, 0);
        return;
    }
    if (is_over(a)) {
        begin_letting_go(a);
    }
    if (a->is_stopping) {
        app_stop_finished(a);
        return;
    }
    if (!r->is_parked && r->deaths >= LIMIT_DEATHS) {
        park(a);
        return;
    }
    r->delay_ms = 0;
    if (delay_ms > 0) {
        timer_start(a->loop, &r->timer, delay_ms);
    } else {
        begin_anew(a);
    }
}

void restart_init(struct app *a)
{
    timer_init(&a->restart.timer, go_on);
    timer_init(&a->restart.sweep_timer, sweep);
    list_init(&a->restart.gone);
}

void restart_fini(struct app *a)
{
    timer_stop(&a->restart.timer);
    timer_stop(&a->restart.sweep_timer);
}

static const char *kind_of(enum vm_end end)
{
    return end == VM_END_CPU ? "cpu" : end == VM_END_FULL ? "memory" : "crash";
}

void restart_after_death(struct state *s, const struct event *ev)
{
    struct app *a = s->app;

    metric_add(loop_metrics(a->loop), METRIC_DEATHS, 1);
    if (s == a->live) {
        a->restart.is_down = true;
        count_death(a);
        timer_start(a->loop, &a->restart.timer, 0);
    } else {
        timer_start(a->loop, &s->drain_timer, 0);
    }
    failure_report(s, ev, kind_of(vm_end(s->vm)), vm_why(s->vm), "");
}
