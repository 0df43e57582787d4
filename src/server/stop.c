/* stop.c -- the graceful end, in stages that only move forward.
 *
 * Begun by a signal. The port closes first, so that a supervisor's new server
 * can have it and nobody comes in behind us. Then the app's on_stop may say
 * goodbye while everybody still hears it; then clients get 1001, spread over
 * the drain time, because a herd that is sent away in one instant comes back
 * in one instant; then the last are cut. Each stage has a deadline of its
 * own: no peer and no app can keep the process alive.
 *
 * A timer looks every few milliseconds instead of everybody reporting here:
 * the end of a server is no hot path. */
#include "app/app.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/listener.h"
#include "server/cli.h"
#include "server/config.h"
#include "server/observe.h"
#include "server/server_priv.h"
#include <string.h>
#include <unistd.h>

#define LOOK_MS 10
/* Beyond the close wait of the connections themselves. */
#define PATIENCE_MS 1000

static void move_on(struct server *s, enum server_stage next)
{
    ASSERT(next > s->stage, "stages of the stop only move forward");
    s->stage = next;
}

static bool is_empty(const struct server *s)
{
    return app_client_count(s->app) == 0 && s->net->conn_count == 0;
}

static void cut_all(struct server *s)
{
    if (!is_empty(s)) {
        log_event(LOG_WARN, NULL,
            "cutting what is left: %u connections, %u clients",
            s->net->conn_count, app_client_count(s->app));
    }
    app_kill_clients(s->app);
    net_kill_all(s->net, true);
}

static void look(struct timer *t)
{
    struct server *s = container_of(t, struct server, stop_timer);
    uint64_t now = loop_now_ms(s->loop);
    if (s->stage == SERVER_CLOSING && now >= s->idle_ends_ms) {
        /* Idle between two requests, or a long download. */
        net_kill_idle(s->net);
    }
    if (s->stage == SERVER_CLOSING && !is_empty(s) && now >= s->stage_ends_ms) {
        move_on(s, SERVER_CUTTING);
        cut_all(s);
        s->stage_ends_ms = now + PATIENCE_MS;
    }
    if (s->stage >= SERVER_CLOSING &&
        (is_empty(s) ||
            (s->stage == SERVER_CUTTING && now >= s->stage_ends_ms))) {
        move_on(s, SERVER_STOPPED);
        loop_stop(s->loop);
        return;
    }
    timer_start(s->loop, &s->stop_timer, LOOK_MS);
}

static void on_app_stopped(void *arg)
{
    struct server *s = arg;
    move_on(s, SERVER_CLOSING);
    uint32_t drain_ms = s->config->drain_ms;
    app_close_clients(s->app, 1001, "server stops", drain_ms);
    uint64_t now = loop_now_ms(s->loop);
    s->idle_ends_ms = now + drain_ms;
    s->stage_ends_ms = now + drain_ms + LIMIT_CLOSE_MS + PATIENCE_MS;
    timer_start(s->loop, &s->stop_timer, LOOK_MS);
}

void stop_begin(struct server *s, const char *reason)
{
    if (s->stage != SERVER_SERVING) {
        log_event(LOG_WARN, NULL, "%s again: ending at once", reason);
        _exit(EXIT_FAILED);
    }
    move_on(s, SERVER_ASKING);
    s->route.is_stopping = true;
    listener_close(s->listener);
    s->listener = NULL;
    observe_close(s);
    log_event(LOG_INFO, NULL, "%s: stopping, %u clients to close in %u ms",
        reason, app_client_count(s->app), s->config->drain_ms);
    timer_init(&s->stop_timer, look);
    app_stop(s->app, "shutdown", on_app_stopped, s);
}
