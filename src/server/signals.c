/* signals.c -- what the world outside asks of a running server.
 *
 * TERM, INT   stop gracefully; the second one ends the process at once
 * HUP         reload the apps, and the certificates, from the files as they are
 * USR1        log every counter that is not zero, in one line, and one line
 *             for each app that ran
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
    const struct metrics *tables[LIMIT_LOOPS];
    for (uint32_t k = 0; k < s->worker_count; k++) {
        tables[k] = loop_metrics(s->workers[k].loop);
    }
    for (enum metric i = 0; i < METRIC_COUNT; i++) {
        uint64_t v = metric_total(tables, s->worker_count, i);
        if (v == 0 || len >= sizeof(line)) {
            continue;
        }
        int n = snprintf(line + len, sizeof(line) - len, " %s=%llu",
            metric_name(i), (unsigned long long)v);
        len += n > 0 ? (size_t)n : 0;
    }
    log_event(LOG_INFO, NULL, "counters:%s", len > 0 ? line : " all zero");
}

struct notice {
    struct letter letter;
    struct worker *worker;
    void (*fn)(struct worker *w);
};

static void on_notice(struct letter *l, struct loop *here)
{
    struct notice *n = container_of(l, struct notice, letter);
    (void)here;
    if (n->worker->stage == SERVER_SERVING) {
        n->fn(n->worker);
    }
    mem_free(n);
}

/* On each loop, for its own apps. */
static void tell_all(struct server *s, void (*fn)(struct worker *w))
{
    for (uint32_t i = 0; i < s->worker_count && s->stage == SERVER_SERVING;
         i++) {
        struct notice *n = mem_alloc(sizeof(*n));
        n->worker = &s->workers[i];
        n->fn = fn;
        mailbox_post(
            s->workers[0].loop, n->worker->loop, &n->letter, on_notice);
    }
}

static void reload(struct server *s)
{
    if (s->stage == SERVER_SERVING) {
        secure_reload(s);
    }
    tell_all(s, tenancy_reload);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *s = handle->data;
    switch (number) {
    case SIGTERM: stop_begin(s, "SIGTERM"); break;
    case SIGINT: stop_begin(s, "SIGINT"); break;
    case SIGHUP: reload(s); break;
    case SIGUSR1:
        log_counters(s);
        tell_all(s, tenancy_log_stats);
        break;
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
