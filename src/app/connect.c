/* connect.c -- from a well-formed WebSocket request to a client, or a refusal.
 *
 * Origin and limits are judged first, then on_connect(request) is asked; it
 * may await. The request is flattened to one block, since the parser's copy
 * dies with the call. The verdict (verdict.c) comes back by conn_id: if the
 * peer has gone meanwhile, neither on_open nor on_close runs.
 *
 * All of this happens on the app's home loop. A request that came elsewhere
 * has been sent here (branch.c), and its answer goes back there (far.c). */
#include "app/app_priv.h"
#include "app/branch_priv.h"
#include "app/connect_priv.h"
#include "app/request_priv.h"
#include "base/mem.h"
#include "net/reply.h"
#include <stdio.h>
#include <string.h>

/* ---- refusals ---- */

static void refuse(
    struct app *a, struct conn_id conn, int status, const char *text)
{
    if (conn.loop != loop_index(a->loop)) {
        if (!a->is_closing) { /* else nobody is there, nor may be written to */
            far_refuse(a, conn, status, text);
        }
        return;
    }
    struct conn *c = net_find(a->net, conn);
    if (c != NULL) {
        reply_text(c, status, text, status == 503 ? "Retry-After: 5\r\n" : NULL,
            false, false);
    }
}

static void log_refusal(
    struct app *a, const char *ip, int status, const char *text)
{
    struct log_fields f;

    if (!lines_take(&a->failure_lines)) {
        return;
    }
    app_log_fields(a, a->live, &f);
    f.event = "connect";
    log_event(LOG_WARN, &f, "refused %s with %d: %s", ip, status, text);
}

/* Names the origin, what is allowed, and the setting. */
static bool check_origin(struct app *a, struct conn_id conn, const char *ip,
    const struct http_request *r)
{
    const char *const *allowed =
        (const char *const *)(void *)a->live->settings.origins;
    char text[1024];

    if (handshake_origin_is_allowed(r, allowed)) {
        return true;
    }
    const char *origin = http_header_find(r, "origin");
    int n = snprintf(text, sizeof(text),
        "origin \"%.200s\" is not allowed; allowed: the host itself",
        origin != NULL ? origin : "");
    for (size_t i = 0; allowed != NULL && allowed[i] != NULL; i++) {
        if (n > 0 && (size_t)n < sizeof(text)) {
            n += snprintf(
                text + n, sizeof(text) - (size_t)n, ", %.100s", allowed[i]);
        }
    }
    if (n > 0 && (size_t)n < sizeof(text)) {
        (void)snprintf(text + n, sizeof(text) - (size_t)n,
            " (setting \"origins\" in app.conf.lua)");
    }
    log_refusal(a, ip, 403, text);
    refuse(a, conn, 403, text);
    return false;
}

static bool check_limits(struct app *a, struct conn_id conn, const char *ip)
{
    char text[128];

    if (a->is_stopping) {
        refuse(a, conn, 503, "the server is stopping");
        return false;
    }
    if (a->restart.is_parked) {
        refuse(a, conn, 503, "the app keeps failing");
        return false;
    }
    if (a->client_count + a->connecting < a->live->settings.clients) {
        return true;
    }
    (void)snprintf(text, sizeof(text),
        "the app is full: %u clients are there, "
        "limits.clients is %u",
        a->client_count + a->connecting, a->live->settings.clients);
    log_refusal(a, ip, 503, text);
    refuse(a, conn, 503, "the app is full");
    return false;
}

/* ---- acceptance, on the loop's stack ---- */

static void free_connect(struct connect *cn)
{
    timer_stop(&cn->answer_timer);
    quota_free(cn->path);
    quota_free(cn->protocols);
    quota_free(cn->user);
    buf_fini(&cn->headers);
    buf_fini(&cn->rooms);
    mem_free(cn);
}

static int join_rooms(struct client *cl, const struct buf *rooms)
{
    for (size_t at = 0; at < rooms->len;) {
        uint32_t len;
        memcpy(&len, rooms->p + at, sizeof(len));
        at += sizeof(len);
        int rc = hub_join(&cl->member, (const char *)rooms->p + at, len);
        if (rc != 0) {
            return rc;
        }
        at += len;
    }
    return 0;
}

static int make_client(
    struct app *a, struct connect *cn, struct state *s, struct client **out)
{
    const struct client_identity who = {
        .id = cn->id,
        .conn = cn->conn,
        .ip = cn->ip,
        .path = cn->path,
        .protocol = cn->protocol,
        .user = cn->user,
        .user_len = cn->user_len,
    };
    struct client *cl = client_new(a, &who);

    if (cl == NULL) {
        return ERR_NOMEM;
    }
    cl->state = s;
    cl->has_data = cn->has_data;
    int rc = hub_enter(
        a->hub, &cl->member, cn->id, cn->conn, cn->user, cn->user_len);
    if (rc == 0) {
        rc = join_rooms(cl, &cn->rooms);
    }
    if (rc != 0) {
        client_free(cl);
        return rc;
    }
    *out = cl;
    return 0;
}

/* Behind the app's header lines. */
static int add_extensions(struct connect *cn)
{
    char line[DEFLATE_ANSWER_BYTES];

    if (!cn->has_deflate) {
        return 0;
    }
    deflate_answer(&cn->deflate, line);
    cn->headers.max += DEFLATE_ANSWER_BYTES;
    return buf_printf(&cn->headers, "%s", line);
}

/* The 101 goes out, here or on the loop where the connection is. */
static int open_conn(struct app *a, struct connect *cn, struct client *cl)
{
    char head[LIMIT_RESPONSE_HEADER_BYTES + DEFLATE_ANSWER_BYTES + 512];
    const struct deflate_params *deflate =
        cn->has_deflate ? &cn->deflate : NULL;
    int rc = add_extensions(cn);

    if (rc != 0) {
        return rc;
    }
    size_t len = handshake_response(head, sizeof(head), cn->accept,
        cn->protocol[0] != '\0' ? cn->protocol : NULL,
        cn->headers.len != 0 ? (const char *)cn->headers.p : NULL);
    ASSERT(len != 0, "I6");
    if (deflate != NULL) {
        hub_set_packed(
            &cl->member, deflate->server_bits, deflate->server_keeps);
    }
    if (cl->far != NULL) {
        return far_invite(a, cl, deflate, head, len);
    }
    struct conn *c = net_find(a->net, cn->conn);
    conn_upgrade(c, head, len, &client_handler, cl, &a->conn_settings);
    conn_set_deflate(c, deflate);
    return 0;
}

/* False: refused after all. The connection, if it is here, is there. */
static bool accept_client(struct app *a, struct connect *cn, struct state *s)
{
    struct client *cl = NULL;
    int rc = make_client(a, cn, s, &cl);

    if (rc == 0) {
        rc = open_conn(a, cn, cl);
        if (rc != 0) {
            cl->has_data = false; /* the caller's to forget */
            client_free(cl);
        }
    }
    if (rc != 0) {
        log_refusal(a, cn->ip, 503, err_word(rc));
        refuse(a, cn->conn, 503,
            rc == ERR_FULL ? "the room is full" : "no room for another client");
        return false;
    }
    if (cl->state != a->live) {
        reload_move(cl);
    }
    if (cl->far == NULL) {
        client_opened(cl);
    }
    return true;
}

/* While we thought it may have gone; of one on another loop that is found out
 * over there. */
static bool has_gone(struct app *a, struct conn_id conn)
{
    if (conn.loop != loop_index(a->loop)) {
        return false;
    }
    struct conn *c = net_find(a->net, conn);
    if (c != NULL && conn_has_left(c)) {
        conn_kill(c, false);
        c = NULL;
    }
    return c == NULL;
}

/* The handler has had its time. It may be in the midst of writing into `cn`
 * (I10), so nothing is touched there that it knows of. */
static void on_answer_due(struct timer *t)
{
    struct connect *cn = container_of(t, struct connect, answer_timer);
    struct app *a = cn->app;

    cn->is_late = true;
    a->connecting--;
    app_note_late(a, cn->ip, "on_connect");
    refuse(a, cn->conn, 504, APP_LATE_TEXT);
}

void connect_finished(struct event *ev)
{
    struct app *a = ev->app;
    struct connect *cn = ev->extra;
    bool is_taken = false;

    a->connecting -= !cn->is_late;
    if (cn->is_late || has_gone(a, cn->conn)) {
        /* Refused long since, or gone: neither on_open nor on_close. */
    } else if (a->is_stopping || a->is_closing) {
        refuse(a, cn->conn, 503, "the server is stopping");
    } else if (ev->has_failed) {
        refuse(a, cn->conn, 500, "the app failed to decide");
    } else if (!cn->is_accepted) {
        refuse(a, cn->conn, cn->status, cn->reason);
    } else {
        is_taken = accept_client(a, cn, ev->state);
    }
    if (!is_taken && cn->has_data) {
        state_forget_data(ev->state, cn->id);
    }
    free_connect(cn);
}

/* ---- the beginning ---- */

static char *copy_text(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = quota_alloc(n);

    if (copy != NULL) {
        memcpy(copy, s, n);
    }
    return copy;
}

/* The list may be spread over several headers (RFC 6455 11.3.4). */
static int join_offers(struct buf *b, const struct http_request *r)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->header_count; i++) {
        const struct http_header *h = &r->headers[i];
        if (strcmp(h->name, "sec-websocket-protocol") == 0) {
            rc = buf_printf(b, "%s,", h->value);
        }
    }
    return rc;
}

static struct connect *new_connect(struct app *a, struct conn_id conn,
    const char *ip, const struct http_request *r)
{
    struct connect *cn = mem_zalloc(sizeof(*cn));
    struct buf offers;

    buf_init(&offers, LIMIT_MAX_HEAD_BYTES);
    timer_init(&cn->answer_timer, on_answer_due);
    cn->app = a;
    cn->conn = conn;
    (void)snprintf(cn->ip, sizeof(cn->ip), "%s", ip);
    cn->id = a->next_id++;
    handshake_accept(r, cn->accept);
    cn->has_deflate =
        deflate_choose(r, &a->live->settings.compress.policy, &cn->deflate);
    buf_init(&cn->headers, LIMIT_RESPONSE_HEADER_BYTES);
    buf_init(&cn->rooms, (size_t)a->live->settings.rooms_per_client *
                             (LIMIT_ROOM_NAME_BYTES + 4));
    cn->path = copy_text(r->path);
    int rc = join_offers(&offers, r);
    cn->protocols = (char *)offers.p;
    if (cn->path == NULL || rc != 0) {
        free_connect(cn);
        return NULL;
    }
    return cn;
}

void app_connect(struct app *a, struct conn *c, const struct http_request *r)
{
    char ip[CONN_IP_BYTES];

    if (conn_net(c) != a->net) {
        branch_knock(a, c, r);
        return;
    }
    conn_ip(c, ip);
    connect_begin(a, conn_get_id(c), ip, r);
}

void connect_begin(struct app *a, struct conn_id conn, const char *ip,
    const struct http_request *request)
{
    struct http_request copy = *request;
    const struct http_request *r = &copy;
    struct buf flat;

    if (copy.path[0] == '\0') {
        copy.path = "/"; /* "/NAME" of an app that is served below a name */
    }

    if (!check_origin(a, conn, ip, r) || !check_limits(a, conn, ip)) {
        return;
    }
    struct connect *cn = new_connect(a, conn, ip, r);
    if (cn == NULL) {
        refuse(a, conn, 503, "no memory for another client");
        return;
    }
    if (a->live->handlers[HANDLER_ON_CONNECT] == LUA_NOREF) {
        (void)accept_client(a, cn, a->live);
        free_connect(cn);
        return;
    }
    buf_init(&flat, 4 * (size_t)LIMIT_MAX_HEAD_BYTES);
    if (request_flatten(&flat, r, ip) != 0) {
        buf_fini(&flat);
        free_connect(cn);
        refuse(a, conn, 503, "no memory for another client");
        return;
    }
    struct event *ev = event_new(a, EVENT_CONNECT);
    ev->extra = cn;
    ev->data = flat.p; /* the event owns it now */
    ev->len = flat.len;
    ev->owns_data = true;
    a->connecting++;
    timer_start(a->loop, &cn->answer_timer, a->live->settings.answer_ms);
    inbox_take(a, ev);
}
