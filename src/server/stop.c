/* stop.c -- the graceful end, in stages that only move forward.
 *
 * Begun by a signal. The ports close first, so that a supervisor's new server
 * can have them and nobody comes in behind us. Then the apps' on_stop may say
 * goodbye while everybody still hears it; then clients get 1001, spread over
 * the drain time, because a herd that is sent away in one instant comes back
 * in one instant; then the last are cut. Each stage has a deadline of its
 * own: no peer and no app can keep the process alive.
 *
 * Loop 0 decides, and tells each loop by a letter (its order, which lies ready
 * in the worker: the stop needs no memory). Every loop does for its own
 * connections and apps what the stage wants, and shows in a word how far it is.
 * A timer looks every few milliseconds instead of everybody reporting: the end
 * of a server is no hot path. It is over when no loop has anybody left and
 * every mailbox has been quiet at two looks in a row: then nothing is under
 * way between the loops either, and nobody is left who could write. */
#include "base/limits.h"
#include "base/log.h"
#include "net/listener.h"
#include "server/cli.h"
#include "server/config.h"
#include "server/server_priv.h"
#include "server/tenancy.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 10
/* Beyond the close wait of the connections themselves. */
#define PATIENCE_MS 1000

/* ---- what each loop does ---- */

static void look_here(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, look_timer);
    if (w->stage == SERVER_CLOSING && loop_now_ms(w->loop) >= w->idle_ends_ms) {
        /* Idle between two requests, or a long download. */
        net_kill_idle(w->net);
    }
    word_set(&w->is_cut, w->net->conn_count == 0);
    word_set(
        &w->is_empty, w->net->conn_count == 0 && tenancy_client_count(w) == 0);
    timer_start(w->loop, &w->look_timer, LOOK_MS);
}

static void on_apps_stopped(struct worker *w)
{
    word_set(&w->is_asked, 1);
}

static void ask(struct worker *w)
{
    w->route.is_stopping = true;
    listener_close(w->listener);
    w->listener = NULL;
    tenancy_stop(w, "shutdown", on_apps_stopped);
}

static void close_clients(struct worker *w)
{
    uint32_t drain_ms = w->server->config->drain_ms;
    tenancy_close_clients(w, 1001, "server stops", drain_ms);
    w->idle_ends_ms = loop_now_ms(w->loop) + drain_ms;
    timer_init(&w->look_timer, look_here);
    timer_start(w->loop, &w->look_timer, 0);
}

static void cut(struct worker *w)
{
    if (word_get(&w->is_empty) == 0) {
        log_event(LOG_WARN, NULL,
            "cutting what is left on loop %u: %u connections, %" PRIu64
            " clients of its apps",
            w->index, w->net->conn_count, tenancy_client_count(w));
    }
    tenancy_kill_clients(w);
    net_kill_all(w->net, true);
}

static void finish(struct worker *w)
{
    timer_stop(&w->look_timer);
    tenancy_close(w);
    loop_stop(w->loop);
}

void stop_enter(struct worker *w, enum server_stage stage)
{
    static void (*const enter[SERVER_STAGES])(struct worker * w) = {
        [SERVER_ASKING] = ask,
        [SERVER_CLOSING] = close_clients,
        [SERVER_CUTTING] = cut,
        [SERVER_STOPPED] = finish,
    };
    ASSERT(stage > w->stage, "stages of the stop only move forward");
    w->stage = stage;
    enter[stage](w);
}

static void on_order(struct letter *l, struct loop *here)
{
    struct order *o = container_of(l, struct order, letter);
    (void)here;
    stop_enter(o->worker, o->stage);
}

/* ---- what loop 0 decides ---- */

static void move_on(struct server *s, enum server_stage next)
{
    ASSERT(next > s->stage, "stages of the stop only move forward");
    s->stage = next;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        struct worker *w = &s->workers[i];
        struct order *o = &w->orders[next];
        o->worker = w;
        o->stage = next;
        mailbox_post(s->workers[0].loop, w->loop, &o->letter, on_order);
    }
}

static bool are_all_asked(const struct server *s)
{
    for (uint32_t i = 0; i < s->worker_count; i++) {
        if (word_get(&s->workers[i].is_asked) == 0) {
            return false;
        }
    }
    return true;
}

/* When patience is over nobody waits for handlers any more. */
static bool is_done(const struct worker *w, bool is_late)
{
    return word_get(is_late ? &w->is_cut : &w->is_empty) != 0 &&
           mailbox_is_quiet(w->loop);
}

static bool is_over(struct server *s, bool is_late)
{
    bool is_quiet = true;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        is_quiet = is_quiet && is_done(&s->workers[i], is_late);
    }
    bool is_over = is_quiet && s->was_quiet;
    s->was_quiet = is_quiet;
    return is_over;
}

/* A loop that does not take its orders: there is no way to end it from here,
 * and what it holds cannot be taken down under it. */
static void give_up(const struct server *s)
{
    for (uint32_t i = 0; i < s->worker_count; i++) {
        const struct worker *w = &s->workers[i];
        if (!is_done(w, true)) {
            log_event(LOG_ERROR, NULL,
                "loop %u does not come to its end: ending at once", w->index);
        }
    }
    _exit(EXIT_FAILED);
}

static void look(struct timer *t)
{
    struct server *s = container_of(t, struct server, stop_timer);
    uint64_t now = loop_now_ms(s->workers[0].loop);
    bool is_late = now >= s->stage_ends_ms;
    if (s->stage == SERVER_ASKING && (are_all_asked(s) || is_late)) {
        move_on(s, SERVER_CLOSING);
        s->stage_ends_ms =
            now + s->config->drain_ms + LIMIT_CLOSE_MS + PATIENCE_MS;
    } else if (s->stage >= SERVER_CLOSING &&
               is_over(s, s->stage == SERVER_CUTTING && is_late)) {
        move_on(s, SERVER_STOPPED);
        return;
    } else if (s->stage == SERVER_CLOSING && is_late) {
        move_on(s, SERVER_CUTTING);
        s->stage_ends_ms = now + PATIENCE_MS;
    } else if (s->stage == SERVER_CUTTING &&
               now >= s->stage_ends_ms + PATIENCE_MS) {
        give_up(s);
    }
    timer_start(s->workers[0].loop, &s->stop_timer, LOOK_MS);
}

void stop_begin(struct server *s, const char *reason)
{
    struct loop *l = s->workers[0].loop;
    if (s->stage != SERVER_SERVING) {
        log_event(LOG_WARN, NULL, "%s again: ending at once", reason);
        _exit(EXIT_FAILED);
    }
    uint64_t clients = 0;
    for (uint32_t i = 0; i < s->worker_count; i++) {
        clients += metric_get(loop_metrics(s->workers[i].loop), METRIC_CLIENTS);
    }
    log_event(LOG_INFO, NULL,
        "%s: stopping, %" PRIu64 " clients to close in %u ms", reason, clients,
        s->config->drain_ms);
    move_on(s, SERVER_ASKING);
    s->stage_ends_ms = loop_now_ms(l) + LIMIT_STOP_HANDLER_MS + PATIENCE_MS;
    timer_init(&s->stop_timer, look);
    timer_start(l, &s->stop_timer, LOOK_MS);
}
