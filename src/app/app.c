/* app.c -- an app's life: opened with its first generation, reloaded when its
 * files change, stopped in order. */
#include "app/app.h"
#include "app/app_priv.h"
#include "app/branch_priv.h"
#include "base/mem.h"
#include "loop/watch.h"
#include <stdio.h>
#include <string.h>

/* Whoever wants to know how the first generation fares. */
struct opening {
    struct app *app;
    struct timer timer;
    void (*on_opened)(void *arg, int rc, const char *why);
    void *arg;
    int rc;
    char why[APP_ERROR_BYTES];
};

#define CLOSE_STEP_MS 10
#ifdef MOONWIRE_TINY
#    define CLOSE_STEP_SLOTS 2
#else
#    define CLOSE_STEP_SLOTS 256 /* clients that are looked at in a turn */
#endif

void app_log_fields(
    const struct app *a, const struct state *s, struct log_fields *f)
{
    memset(f, 0, sizeof(*f));
    f->app = a->name;
    f->gen = s != NULL ? s->generation : 0;
}

void app_note_late(const struct app *a, const char *ip, const char *handler)
{
    struct log_fields f;

    metric_add(loop_metrics(a->loop), METRIC_ANSWER_TIMEOUTS, 1);
    app_log_fields(a, a->live, &f);
    f.event = handler;
    log_event(LOG_WARN, &f,
        "%s answered with 504: %s took longer than answer (%u ms)", ip, handler,
        a->live->settings.answer_ms);
}

void app_note_limit(const struct state *s, enum app_limit which,
    char text[APP_LIMIT_TEXT_BYTES])
{
    static const struct {
        const char *what;
        const char *setting;
        const char *event;
    } words[] = {
        [APP_TASKS] = {"handler or task can begin", "tasks", "task"},
        [APP_TIMERS] = {"timer can be set", "timers", "timer"},
        [APP_REQUESTS] = {"request is taken", "requests", "request"},
    };
    const uint32_t most[] = {
        [APP_TASKS] = s->settings.tasks,
        [APP_TIMERS] = s->settings.timers,
        [APP_REQUESTS] = s->settings.requests,
    };
    struct app *a = s->app;
    struct log_fields f;

    (void)snprintf(text, APP_LIMIT_TEXT_BYTES, "limits.%s is %u",
        words[which].setting, most[which]);
    if (app_is_due(loop_now_ms(a->loop), &a->limit_logged_ms[which])) {
        app_log_fields(a, s, &f);
        f.event = words[which].event;
        log_event(LOG_WARN, &f, "no other %s: %s", words[which].what, text);
    }
}

const char *app_name(const struct app *a)
{
    return a->name;
}

uint32_t app_generation(const struct app *a)
{
    return a->live->generation;
}

enum placement app_placement(const struct app *a)
{
    return (enum placement)word_get(&a->placement);
}

uint32_t app_home(const struct app *a)
{
    return loop_index(a->loop);
}

struct files *app_files(const struct app *a)
{
    return a->files;
}

uint32_t app_client_count(const struct app *a)
{
    return a->client_count + a->connecting;
}

/* ---- open and close ---- */

static void on_files_changed(void *arg)
{
    (void)app_reload(arg);
}

static void load_first(struct app *a);
static void on_stop_timer(struct timer *t);
static void on_close_timer(struct timer *t);

static void on_reload_timer(struct timer *t)
{
    struct app *a = container_of(t, struct app, reload_timer);

    if (a->live == NULL) {
        load_first(a);
    } else {
        (void)app_reload(a);
    }
}

static void on_rest(struct sched_unit *u, uint32_t ms)
{
    struct app *a = container_of(u, struct app, unit);
    struct log_fields f;

    if (!app_is_due(loop_now_ms(a->loop), &a->rest_logged_ms)) {
        return;
    }
    app_log_fields(a, a->live, &f);
    f.event = "schedule";
    f.kind = "cpu";
    log_event(LOG_WARN, &f,
        "rests for %u ms: it used more than its share of %u %% of CPU time", ms,
        u->share);
}

static struct app *new_app(const struct app_config *config)
{
    struct app *a = mem_zalloc(sizeof(*a));

    a->name = mem_strndup(config->name, strlen(config->name));
    a->dir = mem_strndup(config->dir, strlen(config->dir));
    a->loop = config->loop;
    a->net = config->net;
    a->sched = config->sched;
    a->ceilings = config->ceilings;
    a->next_id = 1;
    a->drain_old_ms = LIMIT_DRAIN_OLD_MS;
    sched_unit_init(&a->unit, inbox_run);
    far_init_app(a);
    list_init(&a->draining);
    list_init(&a->movers);
    list_init(&a->client_list);
    slots_init(&a->clients);
    inbox_init(&a->inbox);
    lines_init(&a->own_lines, a, LIMIT_APP_LOG_LINES_PER_S, "of its own");
    lines_init(&a->failure_lines, a, LIMIT_FAILURE_LINES_PER_S, "of failures");
    restart_init(a);
    obstacle_init(a);
    timer_init(&a->reload_timer, on_reload_timer);
    a->unit.on_rest = on_rest;
    timer_init(&a->stop_timer, on_stop_timer);
    timer_init(&a->close_timer, on_close_timer);
    a->meter = meter_new(LIMIT_DEFAULT_APP_OUTBOX_BYTES);
    struct hub_config hub = {
        .net = a->net,
        .meter = a->meter,
        .policy = OUTBOX_CLOSE,
        .rooms_max = LIMIT_DEFAULT_ROOMS,
        .rooms_per_client = LIMIT_DEFAULT_ROOMS_PER_CLIENT,
    };
    a->hub = hub_new(&hub);
    return a;
}

static void drop_opening(struct app *a)
{
    if (a->opening != NULL) {
        timer_stop(&a->opening->timer);
        mem_free(a->opening);
        a->opening = NULL;
    }
}

static void free_app(struct app *a)
{
    /* Nothing may start any more; what is queued goes before the states it
     * refers to, and the clients after them: a dropped vm still reports its
     * parked jobs as finished. */
    a->is_closing = true;
    restart_fini(a);
    obstacle_fini(a);
    lines_fini(&a->own_lines);
    lines_fini(&a->failure_lines);
    timer_stop(&a->reload_timer);
    drop_opening(a);
    (void)inbox_drop_some(a, UINT32_MAX);
    list_each (client_node, &a->client_list) {
        (void)inbox_drop_client(
            container_of(client_node, struct client, node), false);
    }
    while (!list_is_empty(&a->draining)) {
        state_free(container_of(a->draining.next, struct state, node));
    }
    if (a->retiring != NULL) {
        state_free(a->retiring);
    }
    if (a->live != NULL) {
        state_free(a->live); /* the last whose settings others ask for */
    }
    if (a->fresh != NULL) {
        state_free(a->fresh);
    }
    load_drop(a);
    carry_drop(a);
    list_each_safe (node, &a->client_list) {
        struct client *cl = container_of(node, struct client, node);
        cl->has_data = false; /* its state is gone */
        client_free(cl);
    }
    far_fini_app(a);
    sched_remove(&a->unit);
    inbox_fini(&a->inbox);
    hub_free(a->hub);
    meter_unref(a->meter);
    slots_fini(&a->clients);
    files_free(a->files);
    timer_stop(&a->stop_timer);
    timer_stop(&a->close_timer);
    mem_free(a->stop_reason);
    mem_free(a->name);
    mem_free(a->dir);
    mem_free(a);
}

static struct files *public_files(const char *dir)
{
    size_t cap = strlen(dir) + sizeof("/public");
    char *path = mem_alloc(cap);

    (void)snprintf(path, cap, "%s/public", dir);
    struct files *f = files_new(path);
    mem_free(path);
    return f;
}

static void on_opening_timer(struct timer *t)
{
    struct opening *o = container_of(t, struct opening, timer);
    struct app *a = o->app;

    if (o->rc != 0 && a->wants_reload && !a->is_stopping) {
        load_first(a); /* nobody has been told yet */
        return;
    }
    a->opening = NULL;
    if (o->rc == 0 && a->live->handlers[HANDLER_ON_START] != LUA_NOREF) {
        inbox_queue(a, event_new(a, EVENT_START));
    }
    o->on_opened(o->arg, o->rc, o->why); /* may end the app */
    mem_free(o);
}

static void open_ended(struct app *a, int rc, const char *why)
{
    struct opening *o = a->opening;

    o->rc = rc;
    (void)snprintf(o->why, sizeof(o->why), "%s", why);
    timer_start(a->loop, &o->timer, 0);
}

/* Files that have changed since may be the better ones. */
static void on_first_loaded(
    struct app *a, struct state *fresh, int rc, const char *why)
{
    if (rc != 0 && a->wants_reload) {
        timer_start(a->loop, &a->reload_timer, 0);
        return;
    }
    if (rc == 0) {
        a->live = fresh;
        a->files = public_files(a->dir);
        state_start(fresh);
        reload_note_end(a, 0);
    }
    open_ended(a, rc, why);
}

static void load_first(struct app *a)
{
    char why[APP_ERROR_BYTES];
    struct snapshot *snap = NULL;
    int rc = snapshot_read(a->dir, &snap, why, sizeof(why));

    a->wants_reload = false;
    if (rc != 0) {
        open_ended(a, rc, why);
        return;
    }
    load_begin(a, snap, 1, on_first_loaded);
    snapshot_unref(snap);
    reload_go_on_now(a);
}

struct app *app_open(const struct app_config *config,
    void (*on_opened)(void *arg, int rc, const char *why), void *arg)
{
    struct app *a = new_app(config);
    struct opening *o = mem_zalloc(sizeof(*o));

    o->app = a;
    o->on_opened = on_opened;
    o->arg = arg;
    timer_init(&o->timer, on_opening_timer);
    a->opening = o;
    if (config->watch) {
        a->watch = watch_new(a->loop, a->dir, on_files_changed, a);
    }
    load_first(a);
    return a;
}

struct watch *app_take_watch(struct app *a)
{
    struct watch *w = a->watch;

    a->watch = NULL;
    return w;
}

/* ---- a load and nothing else ---- */

static void on_checked(
    struct app *a, struct state *fresh, int rc, const char *why)
{
    a->live = fresh;
    if (rc != 0) {
        (void)snprintf(a->opening->why, sizeof(a->opening->why), "%s", why);
    }
}

static void name_handlers(const struct state *s, char *text, size_t cap)
{
    size_t at = 0;

    for (enum handler h = 0; h < HANDLER_COUNT; h++) {
        if (s->handlers[h] != LUA_NOREF && at < cap) {
            int n = snprintf(text + at, cap - at, "%s%s", at != 0 ? " " : "",
                handler_name(h));
            at += n > 0 ? (size_t)n : 0;
        }
    }
}

int app_check(const struct app_config *config, char *why, size_t why_bytes,
    char *handlers, size_t handlers_bytes)
{
    struct app *a = new_app(config);
    struct snapshot *snap = NULL;
    int rc = snapshot_read(a->dir, &snap, why, why_bytes);

    handlers[0] = '\0';
    a->opening = mem_zalloc(sizeof(*a->opening));
    timer_init(&a->opening->timer, on_opening_timer);
    if (rc == 0) {
        load_begin(a, snap, 1, on_checked);
        snapshot_unref(snap);
        rc = load_settle(a);
        (void)snprintf(why, why_bytes, "%s", a->opening->why);
    }
    if (rc == 0) {
        name_handlers(a->live, handlers, handlers_bytes);
    }
    free_app(a);
    return rc;
}

void app_close(struct app *a)
{
    list_each (node, &a->client_list) {
        ASSERT(container_of(node, struct client, node)->is_closed, "I3");
    }
    if (a->watch != NULL) {
        watch_free(a->watch);
    }
    free_app(a);
}

/* ---- the end ---- */

void app_stop_finished(struct app *a)
{
    if (a->on_stopped != NULL) {
        timer_start(a->loop, &a->stop_timer, 0);
    }
}

static void on_stop_timer(struct timer *t)
{
    struct app *a = container_of(t, struct app, stop_timer);
    void (*fn)(void *) = a->on_stopped;

    a->on_stopped = NULL;
    fn(a->stop_arg); /* may end the app */
}

void app_stop(
    struct app *a, const char *reason, void (*on_stopped)(void *arg), void *arg)
{
    if (a->is_stopping) {
        return;
    }
    bool has_handler = a->live != NULL && !a->restart.is_down &&
                       a->live->handlers[HANDLER_ON_STOP] != LUA_NOREF;

    a->is_stopping = true;
    a->on_stopped = on_stopped;
    a->stop_arg = arg;
    a->stop_reason = mem_strndup(reason, strlen(reason));
    load_drop(a);
    restart_stop(a);
    if (a->watch != NULL) {
        watch_free(a->watch);
        a->watch = NULL;
    }
    timer_start(
        a->loop, &a->stop_timer, has_handler ? LIMIT_STOP_HANDLER_MS : 0);
    if (has_handler) {
        inbox_queue(a, event_new(a, EVENT_STOP));
    }
}

/* Closes as many as the clock says should be closed by now, or as many as a
 * turn can do. */
static void on_close_timer(struct timer *t)
{
    struct app *a = container_of(t, struct app, close_timer);
    uint64_t passed = loop_now_ms(a->loop) - a->close_started_ms;
    uint64_t due = a->close_total;

    if (passed < a->close_spread_ms) {
        due = a->close_total * (passed + CLOSE_STEP_MS) / a->close_spread_ms;
    }
    for (int i = 0; i < CLOSE_STEP_SLOTS && a->close_done < due &&
                    a->close_slot < slots_end(&a->clients);
         i++) {
        struct client *cl = slots_at(&a->clients, a->close_slot++);
        if (cl != NULL && !cl->is_closed) {
            a->close_done++;
            client_shut(
                cl, a->close_code, a->close_reason, strlen(a->close_reason));
        }
    }
    if (a->close_done < a->close_total &&
        a->close_slot < slots_end(&a->clients)) {
        timer_start(
            a->loop, &a->close_timer, a->close_done < due ? 0 : CLOSE_STEP_MS);
    }
}

void app_close_clients(
    struct app *a, uint16_t code, const char *reason, uint32_t spread_ms)
{
    a->close_code = code;
    a->close_started_ms = loop_now_ms(a->loop);
    a->close_spread_ms = spread_ms;
    a->close_total = a->client_count;
    a->close_done = 0;
    a->close_slot = 0;
    (void)snprintf(a->close_reason, sizeof(a->close_reason), "%s", reason);
    timer_stop(&a->close_timer); /* it may be closing them already */
    on_close_timer(&a->close_timer);
}

void app_kill_clients(struct app *a)
{
    list_each_safe (node, &a->client_list) {
        struct client *cl = container_of(node, struct client, node);
        struct conn *c = net_find(a->net, cl->member.conn);
        if (c != NULL) {
            conn_kill(c, true);
        }
    }
}
