/* server.c -- boot order, and the same backwards.
 *
 * Called by `moonwire run`. The app is loaded before the port is opened, so
 * a broken app never takes connections it cannot serve; the port is opened
 * before the first turn, so on_start runs in a server that really serves.
 * Whatever keeps it from starting becomes one line in the log and exit code
 * 1. When the loop has stopped, everything is taken down in reverse, to the
 * last byte: a leak shows under a sanitizer. */
#include "server/server.h"
#include "app/app.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listener.h"
#include "script/fiber.h"
#include "script/sched.h"
#include "server/cli.h"
#include "server/config.h"
#include "server/server_priv.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NAME_CHARS                                                             \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

void server_app_name(const char *dir, char out[SERVER_NAME_BYTES])
{
    /* "." and ".." have a name only once they are resolved. */
    char full[PATH_MAX];
    const char *path = realpath(dir, full) != NULL ? full : dir;
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    size_t n = end - start;
    if (n > SERVER_NAME_BYTES - 1) {
        n = SERVER_NAME_BYTES - 1;
    }
    for (size_t i = 0; i < n; i++) {
        char ch = path[start + i];
        out[i] = strchr(NAME_CHARS, ch) != NULL ? ch : '-';
    }
    out[n] = '\0';
    if (n == 0) {
        (void)memcpy(out, "app", sizeof("app"));
    }
}

/* One descriptor a client: the soft limit of 1,024 is not meant for us. */
static void raise_descriptor_limit(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0) {
        return;
    }
    if (lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &lim) != 0) {
            log_event(LOG_WARN, NULL, "cannot raise the descriptor limit: %s",
                err_text(-errno));
        }
    }
    log_event(LOG_DEBUG, NULL, "descriptor limit: %llu",
        (unsigned long long)lim.rlim_cur);
}

/* The first line is for everybody, the traceback for who looks closer. */
static void log_no_start(const char *dir, const char *why)
{
    size_t first = strcspn(why, "\n");
    struct log_fields fields = {.event = "load",
        .kind = "error",
        .err = why[first] != '\0' ? why : NULL};
    log_event(
        LOG_ERROR, &fields, "cannot start %s: %.*s", dir, (int)first, why);
}

static int load_app(struct server *s)
{
    char name[SERVER_NAME_BYTES];
    char why[APP_ERROR_BYTES] = "";
    server_app_name(s->config->operand, name);
    struct app_config app_config = {.loop = s->loop,
        .net = s->net,
        .sched = s->sched,
        .name = name,
        .dir = s->config->operand,
        .watch = s->config->reload};
    int rc = app_open(&s->app, &app_config, why, sizeof(why));
    if (rc != 0) {
        log_no_start(s->config->operand, why[0] != '\0' ? why : err_text(rc));
    }
    s->route.app = s->app;
    return rc;
}

static const char *listen_error(int rc)
{
    switch (rc) {
    case -EADDRINUSE: return "address already in use";
    case -EADDRNOTAVAIL: return "this machine does not have that address";
    case -EACCES: return "no permission to use that port";
    case ERR_SYNTAX: return "that is no address";
    case ERR_NOT_FOUND: return "no such host";
    default: return err_text(rc);
    }
}

static int open_port(struct server *s)
{
    s->settings =
        (struct conn_settings){.message_bytes = LIMIT_DEFAULT_MESSAGE_BYTES,
            .ping_ms = LIMIT_DEFAULT_PING_MS,
            .pong_ms = LIMIT_PONG_MS,
            .close_ms = LIMIT_CLOSE_MS,
            .outbox = {.hard_bytes = LIMIT_DEFAULT_OUTBOX_HARD_BYTES,
                .soft_messages = LIMIT_DEFAULT_OUTBOX_SOFT_MESSAGES,
                .soft_ms = LIMIT_DEFAULT_OUTBOX_SOFT_MS},
            .policy = OUTBOX_CLOSE};
    s->router = route_router(&s->route);
    int rc = listener_open(
        &s->listener, s->net, s->config->listen, &s->router, &s->settings);
    if (rc != 0) {
        log_event(LOG_ERROR, NULL, "cannot listen on %s: %s", s->config->listen,
            listen_error(rc));
    }
    return rc;
}

static int start(struct server *s)
{
    int rc = secure_load(s);
    if (rc == 0) {
        rc = load_app(s);
    }
    if (rc == 0) {
        rc = open_port(s);
    }
    if (rc == 0) {
        rc = signals_start(s);
        if (rc != 0) {
            log_event(
                LOG_ERROR, NULL, "cannot catch signals: %s", err_text(rc));
        }
    }
    return rc;
}

/* Whatever of it was started. */
static void take_down(struct server *s)
{
    if (s->listener != NULL) {
        listener_close(s->listener);
    }
    timer_stop(&s->stop_timer);
    signals_stop(s);
    /* Close callbacks and deferred frees. */
    loop_turn(s->loop, 0);
    loop_turn(s->loop, 0);
    if (s->app != NULL) {
        app_close(s->app);
        loop_turn(s->loop, 0);
    }
    sched_free(s->sched);
    net_free(s->net);
    loop_free(s->loop);
    fiber_pool_fini();
}

int server_run(const struct config *config)
{
    struct server s = {.config = config, .stage = SERVER_SERVING};
    raise_descriptor_limit();
    mem_keep_heap();
    s.loop = loop_new(0);
    s.net = net_new(s.loop);
    s.sched = sched_new(s.loop);
    timer_init(&s.stop_timer, NULL);
    int rc = start(&s);
    if (rc == 0) {
        log_event(LOG_INFO, NULL,
            "moonwire " MOONWIRE_VERSION " \u00b7 %s on %s://%s",
            app_name(s.app), config->tls_cert_count > 0 ? "https" : "http",
            listener_address(s.listener));
        loop_run(s.loop);
        log_event(LOG_INFO, NULL, "stopped");
    }
    take_down(&s);
    return rc == 0 ? EXIT_OK : EXIT_FAILED;
}
