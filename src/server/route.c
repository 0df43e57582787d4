/* route.c -- a request head -> the app, a file, or a refusal.
 *
 * Called by net/conn with every whole request head; each leads to exactly one
 * answer. A WebSocket request goes to the app on any path, GET and HEAD to
 * the files in its public/. What is refused gets a status with one sentence,
 * and a malformed WebSocket request one line in the log as well: its author
 * sees only a failed connection in the browser.
 *
 * A request that brings a body is answered and its connection ended, because
 * nobody reads bodies yet and the bytes must not be taken for the next
 * request. */
#include "server/route.h"
#include "app/app.h"
#include "base/log.h"
#include "net/files.h"
#include "net/reply.h"
#include "proto/handshake.h"
#include <string.h>

static void refuse(struct conn *c, const struct http_request *r, int status,
    const char *text, const char *extra, bool keep_alive)
{
    reply_text(c, status, text, extra, strcmp(r->method, "HEAD") == 0,
        keep_alive && r->keep_alive && !r->has_body);
}

static void refuse_handshake(struct route *route, struct conn *c,
    const struct http_request *r, int status, const char *detail)
{
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    struct log_fields fields = {
        .app = app_name(route->app), .event = "handshake", .err = detail};
    log_event(LOG_INFO, &fields,
        "WebSocket request refused with %d: %s (%s %s)", status, ip, r->method,
        r->target);
    const char *extra = NULL;
    if (status == 426) {
        extra = "Sec-WebSocket-Version: 13\r\n";
    } else if (status == 405) {
        extra = "Allow: GET\r\n";
    }
    refuse(c, r, status, detail, extra, false);
}

static void on_request(void *user, struct conn *c, const struct http_request *r)
{
    struct route *route = user;
    if (route->is_stopping) {
        refuse(
            c, r, 503, "The server is stopping.", "Retry-After: 2\r\n", false);
        return;
    }
    if (handshake_is_wanted(r)) {
        const char *detail = "";
        int status = handshake_check(r, &detail);
        if (status != 0) {
            refuse_handshake(route, c, r, status, detail);
        } else {
            app_connect(route->app, c, r);
        }
        return;
    }
    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
        refuse(c, r, 405, "Only GET and HEAD are answered here.",
            "Allow: GET, HEAD\r\n", true);
        return;
    }
    if (r->has_body) {
        refuse(c, r, 400, "A GET request with a body is not answered.", NULL,
            false);
        return;
    }
    files_serve(app_files(route->app), c, r, r->path);
}

struct conn_router route_router(struct route *route)
{
    return (struct conn_router){.on_request = on_request, .user = route};
}
