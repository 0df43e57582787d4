/* restart.c -- an app whose vm has died begins anew, with its clients.
 *
 * A vm dies when a job could not be stopped within its budget, when its C
 * stack was full, or when Lua found itself broken (script/kill.c). Nothing of
 * it can be saved; but the clients' connections, users, rooms and outboxes are
 * the server's, and stay. So:
 *
 *   down    the live state has no vm any more. It is there for its settings
 *           and its snapshot; events queue up, and back-pressure does the rest
 *   fresh   the same snapshot is loaded again: at once the first time, later
 *           with a delay that doubles. on_start, then on_open for each client,
 *           with client.restored and empty data; on_close of the dead state
 *           is not made up for (I3 speaks of a client and a state)
 *   parked  an app that keeps dying is left alone for a while: its clients
 *           are closed with 1013, new ones get 503. It comes back by itself,
 *           or by a reload
 *
 * Whatever is found out about a death is found out deep inside of the
 * inbox, so all of this happens from a timer, with nothing on the stack. */
#include "app/api_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include "base/units.h"
#include <stdio.h>
#include <string.h>

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

/* Who has gone is forgotten: no state knows him any more. */
static void forget_closed(struct app *a)
{
    list_each_safe (node, &a->client_list) {
        struct client *cl = container_of(node, struct client, node);
        if (cl->is_closed) {
            inbox_drop_client(cl, false);
            client_free(cl);
        }
    }
}

/* What only the dead state could have told from: nothing is left of it, but
 * what the client has said and nobody has heard. */
static void keep_clients(struct app *a)
{
    list_each (node, &a->client_list) {
        struct client *cl = container_of(node, struct client, node);
        cl->has_data = false;
        cl->is_restored = inbox_drop_client(cl, true) || cl->is_restored;
    }
    forget_closed(a);
}

static void sweep(struct timer *t)
{
    struct app *a = container_of(t, struct app, restart.sweep_timer);

    if (a->restart.is_down && a->live->vm == NULL) {
        forget_closed(a);
    }
}

void restart_client_closed(struct app *a)
{
    timer_start(a->loop, &a->restart.sweep_timer, 0);
}

/* ---- down, and up again ---- */

static void bury(struct app *a)
{
    if (a->live->vm != NULL) {
        inbox_drop(a, a->live);
        state_bury(a->live);
        keep_clients(a);
    }
}

void restart_with(struct app *a, struct state *fresh)
{
    struct state *old = a->live;

    ASSERT(a->restart.is_down, "a state is replaced here because it died");
    timer_stop(&a->restart.timer);
    bury(a);
    forget_closed(a);
    a->live = fresh;
    list_init(&a->movers); /* there is nothing to carry over */
    state_start(fresh);
    far_settings_changed(a);
    a->restart.is_down = false;
    a->restart.is_parked = false;
    list_each (node, &a->client_list) {
        struct client *cl = container_of(node, struct client, node);
        struct conn *c = net_find(a->net, cl->member.conn);
        cl->state = fresh;
        if (cl->is_moving) {
            cl->is_moving = false;
            list_init(&cl->ready_node);
        }
        if (c != NULL) {
            conn_settings_changed(c);
        }
        if (cl->far == NULL || !cl->far->is_opening) {
            inbox_welcome(cl); /* else it is not known whether it is open */
        }
    }
    inbox_start_over(a);
    state_free(old);
    inbox_post(a);
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

    if (rc != 0) {
        (void)snprintf(text, sizeof(text), "%s", why);
        text[strcspn(text, "\n")] = '\0';
        log_line(a, LOG_ERROR, "error", text);
        count_death(a);
        timer_start(a->loop, &a->restart.timer, 0);
        reload_note_end(a, rc);
        return;
    }
    restart_with(a, fresh);
    metric_add(loop_metrics(a->loop), METRIC_RESTARTS, 1);
    (void)snprintf(text, sizeof(text),
        "restarted: generation %u, %u clients stay", fresh->generation,
        a->client_count);
    log_line(a, LOG_WARN, NULL, text);
    reload_note_end(a, 0);
}

/* Not while somebody else's load is under way: that will do. */
static void begin_anew(struct app *a)
{
    if (!reload_has_work(a)) {
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

static void go_on(struct timer *t)
{
    struct app *a = container_of(t, struct app, restart.timer);
    struct restart *r = &a->restart;
    uint32_t delay_ms = r->delay_ms;

    bury(a);
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
}

void restart_fini(struct app *a)
{
    timer_stop(&a->restart.timer);
    timer_stop(&a->restart.sweep_timer);
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
    failure_report(
        s, ev, vm_end(s->vm) == VM_END_CPU ? "cpu" : "crash", vm_why(s->vm));
}
