/* server.c -- boot order, and the same backwards.
 *
 * Called by `moonwire run` and `moonwire serve`. What the process does not need
 * is given up before there are loops, since each takes from the kernel what it
 * finds there (libuv an io_uring, say) and has to be let go on using it; and
 * before the first app's code runs. A single app is loaded before its port is
 * opened, so a broken one never takes connections it cannot serve;
 * of many, each may be broken or slow to load, and the port does not wait for
 * them. Ports are opened before any loop turns, so on_start runs in a server
 * that really serves. Whatever keeps it from starting becomes one line in the
 * log and exit code 1. When the loops have stopped, everything is taken down in
 * reverse, to the last byte: a leak shows under a sanitizer. */
#include "server/server.h"
#include "app/ceilings.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listener.h"
#include "net/tls.h"
#include "script/fiber.h"
#include "script/mapping.h"
#include "server/cli.h"
#include "server/config.h"
#include "server/harden.h"
#include "server/observe.h"
#include "server/server_priv.h"
#include "server/tenancy.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
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

/* One descriptor a client: the soft limit of 1,024 is not meant for us. False:
 * there are not even those that the loops need. */
static bool raise_descriptor_limit(uint32_t workers)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0) {
        return true;
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
    if (lim.rlim_cur / LIMIT_LOOP_FILES < workers) {
        log_event(LOG_ERROR, NULL,
            "cannot start %u loops with %llu descriptors (ulimit -n): each "
            "takes %d; --workers sets how many there are",
            workers, (unsigned long long)lim.rlim_cur, LIMIT_LOOP_FILES);
        return false;
    }
    return true;
}

const char *server_listen_error(int rc)
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

static int open_ports(struct server *s)
{
    int rc = workers_listen(s);
    if (rc != 0) {
        log_event(LOG_ERROR, NULL, "cannot listen on %s: %s", s->config->listen,
            server_listen_error(rc));
    }
    return rc;
}

static int find_sites(struct server *s)
{
    char why[APP_ERROR_BYTES] = "";
    if (!s->config->is_many) {
        sites_init_one(&s->sites, s->config->operand);
        return 0;
    }
    int rc = sites_init_below(&s->sites, s->config->operand, why, sizeof(why));
    if (rc != 0) {
        log_event(
            LOG_ERROR, NULL, "cannot serve %s: %s", s->config->operand, why);
    }
    return rc;
}

static void log_start(const struct server *s)
{
    char what[SERVER_NAME_BYTES + 32];
    char loops[32] = "";
    if (s->config->is_many) {
        (void)snprintf(what, sizeof(what), "%zu app%s", s->sites.count,
            s->sites.count == 1 ? "" : "s");
    } else {
        (void)snprintf(what, sizeof(what), "%s", s->sites.list[0].name);
    }
    if (s->worker_count > 1) {
        (void)snprintf(loops, sizeof(loops), ", %u loops,", s->worker_count);
    }
    log_event(LOG_INFO, NULL,
        "moonwire " MOONWIRE_VERSION " \u00b7 %s%s on %s://%s", what, loops,
        s->config->tls_cert_count > 0 ? "https" : "http",
        listener_address(s->workers[0].listener));
}

static int read_ceilings(struct server *s)
{
    char why[APP_ERROR_BYTES];
    int rc = ceilings_read(&s->ceilings, s->config->ceilings, why, sizeof(why));
    if (rc != 0) {
        log_event(LOG_ERROR, NULL, "cannot read the ceilings: %s", why);
    }
    return rc;
}

/* All that is done without a loop. */
static int prepare(struct server *s, struct harden *harden)
{
    /* The keys of TLS first: who we become may not be let read them. */
    int rc = secure_read(s);
    if (rc == 0) {
        rc = read_ceilings(s);
    }
    if (rc == 0) {
        rc = harden_begin(harden, s->config, s->config->operand);
    }
    return rc;
}

static int start(struct server *s, struct harden *harden)
{
    int rc = 0;
    if (!s->config->is_many) {
        rc = tenancy_load_first(&s->workers[0], &s->sites.list[0]);
    }
    if (rc == 0) {
        rc = open_ports(s);
    }
    if (rc == 0) {
        rc = observe_open(s);
    }
    if (rc == 0) {
        harden_end(harden);
    }
    if (rc == 0) {
        rc = signals_start(s);
        if (rc != 0) {
            log_event(
                LOG_ERROR, NULL, "cannot catch signals: %s", err_text(rc));
        }
    }
    if (rc == 0) {
        rc = workers_start(s);
        if (rc != 0) {
            log_event(LOG_ERROR, NULL,
                "cannot start %u threads: %s; --workers sets how many loops "
                "there are",
                s->worker_count - 1, err_text(rc));
        }
    }
    if (rc == 0) {
        log_start(s);
        workers_go(s);
    }
    return rc;
}

/* Whatever of it was started; the loops stand still. */
static void take_down(struct server *s)
{
    struct worker *first = &s->workers[0];
    timer_stop(&s->stop_timer);
    signals_stop(s);
    /* Where it never came to a stop in order: the one app of `run`. */
    tenancy_close(first);
    observe_close(s);
    workers_close(s);
    observe_free(s);
    tls_tickets_unref(s->tickets);
    ceilings_free(s->ceilings);
    fiber_pool_fini();
}

/* What connections are held to before an app claims them. */
static const struct conn_settings unclaimed = {
    .message_bytes = LIMIT_DEFAULT_MESSAGE_BYTES,
    .ping_ms = LIMIT_DEFAULT_PING_MS,
    .pong_ms = LIMIT_PONG_MS,
    .close_ms = LIMIT_CLOSE_MS,
    .outbox = {.hard_bytes = LIMIT_DEFAULT_OUTBOX_HARD_BYTES,
        .soft_messages = LIMIT_DEFAULT_OUTBOX_SOFT_MESSAGES,
        .soft_ms = LIMIT_DEFAULT_OUTBOX_SOFT_MS},
    .policy = OUTBOX_CLOSE,
};

static int run_server(struct server *s)
{
    struct harden harden;
    int rc = prepare(s, &harden);
    /* Also after a failure: there is one way to take everything down. */
    workers_open(s);
    secure_give(s);
    timer_init(&s->stop_timer, NULL);
    if (rc == 0) {
        rc = start(s, &harden);
    }
    if (rc == 0) {
        loop_run(s->workers[0].loop);
        workers_join(s);
        log_event(LOG_INFO, NULL, "stopped");
    }
    take_down(s);
    return rc;
}

int server_run(const struct config *config)
{
    struct server s = {
        .config = config,
        .worker_count = config->workers,
        .stage = SERVER_SERVING,
        .settings = &unclaimed,
    };
    if (!raise_descriptor_limit(config->workers)) {
        return EXIT_FAILED;
    }
    (void)mem_keep_heap();
    log_event(LOG_DEBUG, NULL, "stacks of handlers and tasks: %zu at most",
        mapping_stacks_most());
    int rc = find_sites(&s);
    if (rc == 0) {
        rc = run_server(&s);
    }
    sites_fini(&s.sites);
    return rc == 0 ? EXIT_OK : EXIT_FAILED;
}
