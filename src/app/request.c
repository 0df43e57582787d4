/* request.c -- plain HTTP requests to an app: on_request(request).
 *
 * A request comes whole, with its body, on the loop of its connection
 * (app_request). If that is not the app's home loop it goes there as a letter,
 * and its answer comes back as one, by id: a connection that has gone
 * meanwhile finds nobody. Each connection has one request under way at a time,
 * so answers cannot change places.
 *
 * Bounds: requests and the bytes of their bodies that wait for one app (503).
 * Laws: I1, I2, I6. */
#include "app/request_priv.h"
#include "base/err.h"
#include "base/late.h"
#include "base/mem.h"
#include "net/reply.h"
#include <stdio.h>
#include <string.h>

/* Content up to this size is copied behind its head, and sent as one piece. A
 * longer one stays where it is: to copy 16 MB took 8 ms. */
#define PIECE_BYTES ((size_t)64 * 1024)
#define HEAD_BYTES  ((size_t)LIMIT_RESPONSE_HEADER_BYTES + 512)
/* What every exchange has memory for from the beginning, so that there always
 * is an answer. */
#define SPARE_CONTENT_BYTES ((size_t)4096)

/* ---- the request as one block ---- */

static int add_string(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s) + 1);
}

int request_flatten(struct buf *b, const struct http_request *r, const char *ip)
{
    int rc = add_string(b, r->method);

    rc = rc != 0 ? rc : add_string(b, r->path);
    rc = rc != 0 ? rc : add_string(b, r->query);
    rc = rc != 0 ? rc : add_string(b, ip);
    rc = rc != 0 ? rc : add_string(b, r->host != NULL ? r->host : "");
    for (size_t i = 0; rc == 0 && i < r->header_count; i++) {
        rc = add_string(b, r->headers[i].name);
        rc = rc != 0 ? rc : add_string(b, r->headers[i].value);
    }
    return rc;
}

/* ---- answers, on the connection's loop ---- */

static void free_answer(struct answer *w)
{
    late_free(w->content, w->content_len, NULL);
    if (w->is_large) {
        quota_free(w);
    } else {
        mem_free(w);
    }
}

/* What is too large for one piece is a body made as the socket drains. */
struct answer_body {
    struct conn_body base;
    struct answer *answer;
};

static ssize_t read_part(struct conn_body *body, uint8_t *p, size_t n)
{
    struct answer_body *b = container_of(body, struct answer_body, base);
    struct answer *w = b->answer;
    size_t left = w->content_len - w->sent;
    size_t k = left < n ? left : n;

    memcpy(p, w->content + w->sent, k);
    w->sent += k;
    return (ssize_t)k;
}

static void close_body(struct conn_body *body)
{
    struct answer_body *b = container_of(body, struct answer_body, base);

    free_answer(b->answer);
    mem_free(b);
}

/* Takes the answer. */
static void send_answer(struct answer *w)
{
    struct conn *c = net_find(w->net, w->conn);

    if (c == NULL) {
        free_answer(w);
        return;
    }
    metric_add(w->net->metrics, METRIC_HTTP_ANSWERED, 1);
    if (w->content == NULL) {
        conn_reply(c, w->bytes, w->len, w->keep_alive);
        free_answer(w);
        return;
    }
    struct answer_body *b = mem_zalloc(sizeof(*b));
    b->base.read = read_part;
    b->base.close = close_body;
    b->answer = w;
    conn_reply_body(c, w->bytes, w->len, &b->base, w->keep_alive);
}

static void on_answer(struct letter *l, struct loop *here)
{
    (void)here;
    send_answer(container_of(l, struct answer, letter));
}

/* ---- answers, on the home loop ---- */

static const char *default_type(const struct exchange *x)
{
    if (x->has_type || x->content_len == 0 || x->status == 204 ||
        x->status == 304) {
        return NULL;
    }
    return x->is_json ? "application/json"
                      : "text/plain; charset=utf-8\r\n"
                        "X-Content-Type-Options: nosniff";
}

/* Behind the head. */
static void put_content(struct answer *w, const uint8_t *p, size_t n)
{
    memcpy(w->bytes + w->len, p, n);
    w->len += n;
}

/* Room for a head and that much; what is small has its place already. NULL:
 * no memory. */
static struct answer *take_answer(struct exchange *x, size_t content)
{
    struct answer *w = x->spare;

    if (content > SPARE_CONTENT_BYTES) {
        w = quota_alloc(sizeof(*w) + HEAD_BYTES + content);
        if (w == NULL) {
            return NULL;
        }
        *w = (struct answer){.is_large = true};
        return w;
    }
    x->spare = NULL;
    return w;
}

static void address(
    struct app *a, const struct exchange *x, struct answer *w, bool keep_alive)
{
    bool is_here = x->conn.loop == loop_index(a->loop);

    w->conn = x->conn;
    w->keep_alive = keep_alive;
    w->net = is_here ? a->net : a->net->peers[x->conn.loop];
}

static void post_answer(struct app *a, struct answer *w)
{
    if (w->net == a->net) {
        send_answer(w);
    } else {
        mailbox_post(a->loop, w->net->loop, &w->letter, on_answer);
    }
}

static void answer(struct app *a, struct exchange *x)
{
    if (x->status == 205) {
        x->content_len = 0; /* RFC 9110 15.3.6: it never has content */
    }
    bool has_content = !x->is_head && x->status != 204 && x->status != 304;
    size_t content = has_content ? x->content_len : 0;
    bool is_piece = content <= PIECE_BYTES;
    struct answer *w = take_answer(x, is_piece ? content : SPARE_CONTENT_BYTES);
    char extra[LIMIT_RESPONSE_HEADER_BYTES + 1] = "";

    if (w == NULL) {
        x->status = 503;
        x->content_len = content = 0;
        x->headers.len = 0;
        w = take_answer(x, 0);
        is_piece = true;
    }
    if (x->headers.len > 0) {
        memcpy(extra, x->headers.p, x->headers.len);
    }
    address(a, x, w, x->keep_alive);
    w->len = reply_head(w->bytes, HEAD_BYTES, x->status, default_type(x),
        x->content_len, extra, x->keep_alive);
    ASSERT(w->len > 0, "I6: a head fits");
    if (!is_piece) {
        put_content(w, x->content, SPARE_CONTENT_BYTES);
        w->sent = SPARE_CONTENT_BYTES;
        w->content = x->content;
        w->content_len = content;
        x->content = NULL;
        x->content_len = 0;
    } else if (content > 0) {
        put_content(w, x->content, content);
    }
    post_answer(a, w);
}

/* The handler has had its time. It may be in the midst of writing into `x`
 * (I10), so nothing is touched there that it knows of. */
static void on_answer_due(struct timer *t)
{
    static const char text[] = APP_LATE_TEXT "\n";
    struct exchange *x = container_of(t, struct exchange, answer_timer);
    struct answer *w = x->spare;
    struct app *a = x->app;

    x->is_late = true;
    x->spare = NULL;
    app_note_late(a, x->ip, "on_request");
    address(a, x, w, false);
    w->len = reply_head(w->bytes, HEAD_BYTES, 504, "text/plain; charset=utf-8",
        sizeof(text) - 1, NULL, false);
    if (!x->is_head) {
        memcpy(w->bytes + w->len, text, sizeof(text) - 1);
        w->len += sizeof(text) - 1;
    }
    post_answer(a, w);
}

/* Instead of what the app may have said. */
static void refuse(
    struct app *a, struct exchange *x, int status, const char *text)
{
    x->status = status;
    x->headers.len = 0;
    x->has_type = false;
    x->is_json = false;
    x->content_len = strlen(text);
    quota_free(x->content);
    x->content = quota_alloc(x->content_len);
    if (x->content == NULL) {
        x->content_len = 0;
    } else {
        memcpy(x->content, text, x->content_len);
    }
    metric_add(loop_metrics(a->loop), METRIC_HANDSHAKE_REFUSED, 1);
    answer(a, x);
}

/* ---- an exchange, on the home loop ---- */

static struct exchange *new_exchange(struct app *a, struct conn_id conn,
    const char *ip, const struct http_request *r)
{
    struct exchange *x = mem_zalloc(sizeof(*x));

    timer_init(&x->answer_timer, on_answer_due);
    x->app = a;
    (void)snprintf(x->ip, sizeof(x->ip), "%s", ip);
    x->conn = conn;
    x->is_head = strcmp(r->method, "HEAD") == 0;
    x->keep_alive = r->keep_alive;
    x->spare = mem_zalloc(sizeof(*x->spare) + HEAD_BYTES + SPARE_CONTENT_BYTES);
    buf_init(&x->headers, LIMIT_RESPONSE_HEADER_BYTES);
    return x;
}

static void free_exchange(struct exchange *x)
{
    timer_stop(&x->answer_timer);
    buf_fini(&x->headers);
    late_free(x->body, x->body_len, NULL);
    late_free(x->content, x->content_len, NULL);
    mem_free(x->spare);
    mem_free(x);
}

void request_finished(struct event *ev)
{
    struct app *a = ev->app;
    struct exchange *x = ev->extra;

    a->requests--;
    a->request_bytes -= x->body_len;
    if (a->is_closing || x->is_late) {
        /* Its connections have gone, or it has been answered with 504. */
    } else if (ev->has_failed && a->is_stopping) {
        refuse(a, x, 503, "the server is stopping");
    } else if (ev->has_failed) {
        refuse(a, x, 500, "the app failed to answer");
    } else if (x->status == 0) {
        refuse(a, x, 404, "there is nothing here");
    } else {
        answer(a, x);
    }
    free_exchange(x);
}

/* Copies what the request brings. 0 or an error. */
static int keep_request(struct event *ev, struct exchange *x,
    const struct http_request *r, const char *ip, const uint8_t *body,
    size_t len)
{
    struct buf flat;

    buf_init(&flat, 4 * (size_t)LIMIT_MAX_HEAD_BYTES);
    int rc = request_flatten(&flat, r, ip);
    if (rc == 0 && len > 0) {
        x->body = quota_alloc(len);
        rc = x->body != NULL ? 0 : ERR_NOMEM;
    }
    if (rc != 0) {
        buf_fini(&flat);
        return rc;
    }
    if (len > 0) {
        memcpy(x->body, body, len);
        x->body_len = len;
    }
    ev->data = flat.p; /* the event owns it now */
    ev->len = flat.len;
    ev->owns_data = true;
    return 0;
}

static void begin(struct app *a, struct conn_id conn, const char *ip,
    const struct http_request *request, const uint8_t *body, size_t len)
{
    struct http_request r = *request;
    struct exchange *x = new_exchange(a, conn, ip, request);

    if (r.path[0] == '\0') {
        r.path = "/"; /* "/NAME" of an app that is served below a name */
    }
    if (a->restart.is_parked) {
        refuse(a, x, 503, "the app keeps failing");
        free_exchange(x);
        return;
    }
    if (a->requests >= a->live->settings.requests) {
        char text[APP_LIMIT_TEXT_BYTES];
        app_note_limit(a->live, APP_REQUESTS, text);
        refuse(a, x, 503, "the app is busy");
        free_exchange(x);
        return;
    }
    if (a->is_stopping || a->request_bytes + len > LIMIT_REQUEST_BYTES) {
        refuse(a, x, 503, "the app is busy");
        free_exchange(x);
        return;
    }
    struct event *ev = event_new(a, EVENT_REQUEST);
    if (keep_request(ev, x, &r, ip, body, len) != 0) {
        event_free(ev);
        refuse(a, x, 503, "no memory for a request");
        free_exchange(x);
        return;
    }
    ev->extra = x;
    a->requests++;
    a->request_bytes += len;
    timer_start(a->loop, &x->answer_timer, a->live->settings.answer_ms);
    inbox_take(a, ev);
}

/* ---- on the connection's loop ---- */

static void on_visit(struct letter *l, struct loop *here)
{
    struct visit *v = container_of(l, struct visit, letter);
    struct http_request r = *http_parser_request(v->parser);

    (void)here;
    r.path += v->path_off;
    begin(v->app, v->conn, v->ip, &r, v->body, v->body_len);
    http_parser_free(v->parser);
    quota_free(v);
}

static void visit(struct app *a, struct conn *c, const struct http_request *r,
    const uint8_t *body, size_t len)
{
    struct visit *v = quota_alloc(sizeof(*v) + len);

    if (v == NULL) {
        reply_text(c, 503, "the app is busy", "Retry-After: 5\r\n",
            strcmp(r->method, "HEAD") == 0, false);
        return;
    }
    v->app = a;
    v->conn = conn_get_id(c);
    conn_ip(c, v->ip);
    v->body_len = len;
    if (len > 0) {
        memcpy(v->body, body, len);
    }
    v->parser = conn_take_request(c);
    v->path_off = (size_t)(r->path - http_parser_request(v->parser)->path);
    mailbox_post(conn_net(c)->loop, a->net->loop, &v->letter, on_visit);
}

bool app_takes_requests(const struct app *a)
{
    return word_get(&a->takes_requests) != 0;
}

void app_request(struct app *a, struct conn *c, const struct http_request *r,
    const uint8_t *body, size_t len)
{
    char ip[CONN_IP_BYTES];

    if (conn_net(c) != a->net) {
        visit(a, c, r, body, len);
        return;
    }
    conn_ip(c, ip);
    begin(a, conn_get_id(c), ip, r, body, len);
}
