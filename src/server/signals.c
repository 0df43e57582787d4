/* signals.c -- what the world outside asks of a running server.
 *
 * TERM, INT   stop gracefully; the second one ends the process at once
 * HUP         reload the apps from the files as they are
 * USR1        log every counter that is not zero, in one line
 * PIPE        nothing: a send to a closed socket returns EPIPE
 *
 * libuv catches them and calls from the loop, so all of this is ordinary
 * code. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/server_priv.h"
#include "server/tenancy.h"
#include <signal.h>
#include <stdio.h>

static void log_counters(struct server *s)
{
    char line[LOG_LINE_BYTES / 2] = "";
    size_t len = 0;
    for (enum metric i = 0; i < METRIC_COUNT; i++) {
        uint64_t v = 0;
        for (uint32_t k = 0; k < s->worker_count; k++) {
            v += metric_get(loop_metrics(s->workers[k].loop), i);
        }
        if (v == 0 || len >= sizeof(line)) {
            continue;
        }
        int n = snprintf(line + len, sizeof(line) - len, " %s=%llu",
            metric_name(i), (unsigned long long)v);
        len += n > 0 ? (size_t)n : 0;
    }
    log_event(LOG_INFO, NULL, "counters:%s", len > 0 ? line : " all zero");
}

struct reload_letter {
    struct letter letter;
    struct worker *worker;
};

static void on_reload(struct letter *l, struct loop *here)
{
    struct reload_letter *r = container_of(l, struct reload_letter, letter);
    (void)here;
    if (r->worker->stage == SERVER_SERVING) {
        tenancy_reload(r->worker);
    }
    mem_free(r);
}

/* Each loop its own apps. */
static void reload(struct server *s)
{
    for (uint32_t i = 0; i < s->worker_count && s->stage == SERVER_SERVING;
         i++) {
        struct reload_letter *r = mem_alloc(sizeof(*r));
        r->worker = &s->workers[i];
        mailbox_post(
            s->workers[0].loop, r->worker->loop, &r->letter, on_reload);
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
        int rc = uv_signal_init(loop_uv(s->workers[0].loop), &s->signals[i]);
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
