/* signals.c -- what the world outside asks of a running server.
 *
 * TERM, INT   stop gracefully; the second one ends the process at once
 * HUP         reload the app from the files as they are
 * USR1        log every counter that is not zero, in one line, and one line
 *             of the app
 * PIPE        nothing: a send to a closed socket returns EPIPE
 *
 * libuv catches them and calls from the loop, so all of this is ordinary
 * code. */
#include "app/app.h"
#include "base/err.h"
#include "base/log.h"
#include "server/server_priv.h"
#include <signal.h>
#include <stdio.h>

static void log_counters(struct server *s)
{
    const struct metrics *m = loop_metrics(s->loop);
    char line[LOG_LINE_BYTES / 2] = "";
    size_t len = 0;
    for (enum metric i = 0; i < METRIC_COUNT; i++) {
        uint64_t v = metric_get(m, i);
        if (v == 0 || len >= sizeof(line)) {
            continue;
        }
        int n = snprintf(line + len, sizeof(line) - len, " %s=%llu",
            metric_name(i), (unsigned long long)v);
        len += n > 0 ? (size_t)n : 0;
    }
    log_event(LOG_INFO, NULL, "counters:%s", len > 0 ? line : " all zero");
    app_log_stats(s->app);
}

static void reload(struct server *s)
{
    if (s->stage != SERVER_SERVING) {
        return;
    }
    /* A failed load has been logged, with its reason, by the app. */
    if (app_reload(s->app) == ERR_CHANGED) {
        struct log_fields fields = {.app = app_name(s->app),
            .gen = app_generation(s->app),
            .event = "reload"};
        log_event(LOG_INFO, &fields, "nothing to reload: no file has changed");
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    switch (number) {
    case SIGTERM: stop_begin(s, "SIGTERM"); break;
    case SIGINT: stop_begin(s, "SIGINT"); break;
    case SIGHUP: reload(s); break;
    case SIGUSR1: log_counters(s); break;
    default: break;
    }
}

int signals_start(struct server *s)
{
    static const int numbers[SERVER_SIGNALS] = {
        [SERVER_TERM] = SIGTERM,
        [SERVER_INT] = SIGINT,
        [SERVER_HUP] = SIGHUP,
        [SERVER_USR1] = SIGUSR1,
    };
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        return UV_EINVAL;
    }
    for (unsigned i = 0; i < SERVER_SIGNALS; i++) {
        int rc = uv_signal_init(loop_uv(s->loop), &s->signals[i]);
        if (rc != 0) {
            return rc;
        }
        s->signals[i].data = s;
        s->open_signals = i + 1;
        rc = uv_signal_start(&s->signals[i], on_signal, numbers[i]);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

void signals_stop(struct server *s)
{
    for (unsigned i = 0; i < s->open_signals; i++) {
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
    s->open_signals = 0;
}
