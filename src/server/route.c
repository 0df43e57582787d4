/* route.c -- a request head -> an app, a file, another loop, or a refusal.
 *
 * Called by net/conn with every whole request head; each leads to exactly one
 * answer. The path says whose site it is. A WebSocket request goes to the app
 * on any path of its site, GET and HEAD to the files in its public/. What is
 * refused gets a status with one sentence, and a malformed WebSocket request
 * one line in the log as well: its author sees only a failed connection in the
 * browser.
 *
 * A WebSocket request is also the moment to say on which loop the connection
 * shall live (placement.c). If that is another one it goes there as it is, and
 * is routed there anew. Files are served wherever they are asked for.
 *
 * An app with on_request is asked about whatever is no file. Else a request
 * that brings a body is answered and its connection ended, because nobody reads
 * it and the bytes must not be taken for the next request. */
#include "server/route.h"
#include "base/limits.h"
#include "base/log.h"
#include "loop/mailbox.h"
#include "net/files.h"
#include "net/guard.h"
#include "net/reply.h"
#include "proto/handshake.h"
#include "server/placement.h"
#include "server/sites.h"
#include <string.h>

static void refuse(struct conn *c, const struct http_request *r, int status,
    const char *text, const char *extra, bool keep_alive)
{
    reply_text(c, status, text, extra, strcmp(r->method, "HEAD") == 0,
        keep_alive && r->keep_alive && !r->has_body);
}

static void refuse_handshake(const struct site *site, struct conn *c,
    const struct http_request *r, int status, const char *detail)
{
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    struct log_fields fields = {
        .app = site->name, .event = "handshake", .err = detail};
    log_event(LOG_INFO, &fields,
        "WebSocket request refused with %d: %s (%s %s)", status, ip, r->method,
        r->target);
    const char *extra = NULL;
    if (status == 426) { /* RFC 9110 15.5.22, and 7.8 */
        extra = "Sec-WebSocket-Version: 13\r\n"
                "Upgrade: websocket\r\n"
                "Connection: Upgrade\r\n";
    } else if (status == 405) {
        extra = "Allow: GET\r\n";
    }
    refuse(c, r, status, detail, extra, false);
}

/* The loop on which a new WebSocket of this app is to live. */
static uint32_t choose_loop(const struct route *route, const struct app *a)
{
    struct placement_loop loops[LIMIT_LOOPS];
    const struct net *n = route->net;
    uint32_t here = loop_index(n->loop);
    enum placement how = app_placement(a);
    if (n->peer_count <= 1) {
        return here;
    }
    for (uint32_t i = 0; i < n->peer_count; i++) {
        struct loop *l = n->peers[i]->loop;
        loops[i] = (struct placement_loop){
            loop_load(l), metric_get(loop_metrics(l), METRIC_CONNS)};
    }
    return placement_choose(how == PLACEMENT_UNSET ? route->placement : how,
        loops, n->peer_count, app_home(a), here);
}

static void connect_client(const struct route *route, struct site *site,
    struct conn *c, const struct http_request *r)
{
    const char *detail = "";
    int status = handshake_check(r, &detail);
    if (status != 0) {
        refuse_handshake(site, c, r, status, detail);
        return;
    }
    struct net *n = route->net;
    uint32_t here = loop_index(n->loop);
    uint32_t there = here;
    if (!conn_has_moved(c)) {
        there = choose_loop(route, site->app);
    }
    /* Whoever is to take it, or to decide about it, must be able to. */
    uint32_t asked = there != here ? there : app_home(site->app);
    if (asked != here && mailbox_is_full(n->peers[asked]->loop)) {
        refuse(c, r, 503, "The server is busy.", "Retry-After: 5\r\n", false);
    } else if (there != here) {
        conn_move(c, there);
    } else {
        app_connect(site->app, c, r);
    }
}

/* Files first: they cost the app nothing. What is no file goes to on_request,
 * with its body once that has come. */
static void ask_app(const struct route *route, struct site *site,
    struct conn *c, const struct http_request *r)
{
    const struct net *n = route->net;
    uint32_t home = app_home(site->app);
    const char *path = r->path[0] != '\0' ? r->path : "/";
    if (!r->has_body && files_serve_if(app_files(site->app), c, r, path)) {
        return;
    }
    if (home != loop_index(n->loop) && mailbox_is_full(n->peers[home]->loop)) {
        refuse(c, r, 503, "The server is busy.", "Retry-After: 5\r\n", false);
    } else if (r->has_body) {
        conn_take_body(c, r, n->guard->body_bytes);
    } else {
        app_request(site->app, c, r, NULL, 0);
    }
}

static void serve_file(
    struct site *site, struct conn *c, const struct http_request *r)
{
    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
        refuse(c, r, 405, "Only GET and HEAD are answered here.",
            "Allow: GET, HEAD\r\n", true);
    } else if (r->has_body) {
        refuse(c, r, 400, "A GET request with a body is not answered.", NULL,
            false);
    } else {
        /* "/NAME" alone is its directory, too. */
        files_serve(
            app_files(site->app), c, r, r->path[0] != '\0' ? r->path : "/");
    }
}

/* Nobody answers for it: why? True: somebody does. */
static bool check_site(
    const struct site *site, struct conn *c, const struct http_request *r)
{
    if (site == NULL) {
        refuse(c, r, 404, "There is no app at this path.", NULL, true);
        return false;
    }
    switch (site_get_state(site)) {
    case SITE_LIVE: return true;
    case SITE_LOADING:
        refuse(c, r, 503, "This app is being loaded.", "Retry-After: 1\r\n",
            false);
        return false;
    default:
        refuse(c, r, 503, "This app does not load; the server's log says why.",
            "Retry-After: 30\r\n", false);
        return false;
    }
}

static void on_request(void *user, struct conn *c, const struct http_request *r)
{
    struct route *route = user;
    if (route->is_stopping) {
        refuse(
            c, r, 503, "The server is stopping.", "Retry-After: 2\r\n", false);
        return;
    }
    struct http_request inner = *r;
    struct site *site = sites_find(route->sites, r->path, &inner.path);
    if (!check_site(site, c, r)) {
        return;
    }
    if (handshake_is_wanted(r)) {
        connect_client(route, site, c, &inner);
    } else if (app_takes_requests(site->app)) {
        ask_app(route, site, c, &inner);
    } else {
        serve_file(site, c, &inner);
    }
}

/* Much may have happened while the body came. */
static void on_body(void *user, struct conn *c, const struct http_request *r,
    const uint8_t *data, size_t len)
{
    struct route *route = user;
    struct http_request inner = *r;
    struct site *site = sites_find(route->sites, r->path, &inner.path);
    inner.has_body = false; /* it has been read: the next request may follow */
    if (route->is_stopping) {
        refuse(
            c, r, 503, "The server is stopping.", "Retry-After: 2\r\n", false);
    } else if (check_site(site, c, &inner)) {
        app_request(site->app, c, &inner, data, len);
    }
}

struct conn_router route_router(struct route *route)
{
    return (struct conn_router){
        .on_request = on_request, .on_body = on_body, .user = route};
}
