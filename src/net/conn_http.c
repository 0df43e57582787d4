/* conn_http.c -- a connection before it is a WebSocket: request heads in,
 * responses out, round and round while both sides keep it alive.
 *
 * One request at a time: the next head is not even parsed before the answer
 * to the last has left, so answers cannot change places. A parser is only
 * held while a head is incomplete; between requests, and while somebody
 * thinks about one, there is none.
 *
 * What is wrong with a request is answered here with a status and a line of
 * text; what it asks for is the router's matter.
 *
 * Laws: I2 (a body is made in parts, when the last one has left), I6. */
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/conn_priv.h"
#include "net/reply.h"
#include <stdio.h>

#define BODY_PART_BYTES   (64 * 1024)
#define LIMITS_TEXT_BYTES 64

static struct http_parser *take_parser(struct net *n)
{
    struct http_parser *p = n->spare_parser;
    if (p != NULL) {
        n->spare_parser = NULL;
        return p;
    }
    return http_parser_new(n->guard->head_bytes, n->guard->headers);
}

static void give_back(struct net *n, struct http_parser *p)
{
    if (p != NULL && n->spare_parser == NULL) {
        http_parser_reset(p);
        n->spare_parser = p;
        return;
    }
    http_parser_free(p);
}

void conn_http_fini(struct conn *c)
{
    give_back(c->net, c->p.http.parser);
    c->p.http.parser = NULL;
    conn_body_free(c);
    struct conn_body *body = c->p.http.body;
    c->p.http.body = NULL;
    if (body != NULL) {
        body->close(body);
    }
}

/* The limits that a request has met, by the names of their settings. */
static void write_limits(
    const struct conn *c, int status, char out[LIMITS_TEXT_BYTES])
{
    const struct guard *g = c->net->guard;
    out[0] = '\0';
    if (status == 431) {
        (void)snprintf(out, LIMITS_TEXT_BYTES,
            " (max-head is %u, max-headers is %u)", g->head_bytes, g->headers);
    } else if (status == 408 && conn_has_incoming(c)) {
        (void)snprintf(out, LIMITS_TEXT_BYTES,
            " (slow-bytes is %u, slow-time is %u ms)", g->slow_bytes,
            g->slow_ms);
    } else if (status == 408) {
        (void)snprintf(
            out, LIMITS_TEXT_BYTES, " (head-time is %u ms)", g->handshake_ms);
    } else if (status == 413) {
        (void)snprintf(
            out, LIMITS_TEXT_BYTES, " (max-body is %u)", g->body_bytes);
    }
}

/* RFC 9110 9.3.2: what answers a HEAD has no content, refusals neither. */
static bool is_head(const struct conn *c)
{
    const struct http_parser *p =
        c->flags & CONN_IN_CALL ? c->net->answering : c->p.http.parser;
    return p != NULL && http_parser_is_head(p);
}

void conn_http_refuse(struct conn *c, int status, const char *detail)
{
    bool no_content = is_head(c);
    char ip[CONN_IP_BYTES];
    char limits[LIMITS_TEXT_BYTES];
    conn_ip(c, ip);
    write_limits(c, status, limits);
    log_event(LOG_INFO, NULL, "request of %s answered with %d: %s%s", ip,
        status, detail, limits);
    give_back(c->net, c->p.http.parser);
    c->p.http.parser = NULL;
    c->flags |= CONN_THINKING;
    reply_text(c, status, detail, NULL, no_content, false);
}

/* Asks the router: about the head, or (at_body) about head and body. */
static void ask(struct conn *c, bool at_body, const uint8_t *data, size_t len)
{
    struct http_parser *parser = c->p.http.parser;
    const struct http_request *r = http_parser_request(parser);
    bool is_upgrade = r->upgrade;
    c->flags |= CONN_THINKING | CONN_IN_CALL;
    if (r->has_body && !at_body) {
        c->flags |= CONN_HAS_BODY;
    }
    timer_stop(&c->timer);
    /* The request is lent for the call, and the call may end what holds the
     * parser. */
    c->p.http.parser = NULL;
    c->net->answering = parser;
    const struct conn_router *router = c->p.http.router;
    if (at_body) {
        router->on_body(router->user, c, r, data, len);
    } else if (conn_peer_learn(c, parser)) {
        router->on_request(router->user, c, r);
    }
    c->flags &= (uint16_t)~CONN_IN_CALL;
    if (conn_has_incoming(c)) {
        c->p.http.parser = parser; /* its body comes first */
        if (c->net->guard->slow_ms != 0) {
            conn_start_timer(c, c->net->guard->slow_ms);
        }
        return;
    }
    if (c->doom == CONN_DOOM_MOVE && c->state != CONN_DEAD) {
        c->p.http.parser = parser; /* it travels with its request */
        return;
    }
    give_back(c->net, c->net->answering);
    if ((c->flags & CONN_THINKING) && c->state == CONN_HTTP && is_upgrade) {
        conn_set_state(c, CONN_UPGRADING);
    }
}

void conn_http_answer(struct conn *c)
{
    ask(c, false, NULL, 0);
}

void conn_http_answer_body(struct conn *c, const uint8_t *data, size_t len)
{
    ask(c, true, data, len);
}

struct http_parser *conn_take_request(struct conn *c)
{
    ASSERT(c->flags & CONN_IN_CALL, "a request is lent for the call");
    struct http_parser *parser = c->net->answering;
    c->net->answering = NULL;
    return parser;
}

bool conn_http_feed(struct conn *c, uint8_t **p, size_t *n)
{
    if (*n == 0 || (c->flags & (CONN_THINKING | CONN_REPLYING))) {
        return false;
    }
    if (conn_has_incoming(c)) {
        return conn_body_feed(c, p, n);
    }
    if (c->extra != NULL && c->extra->proxy != NULL &&
        (!conn_peer_feed(c, p, n) || *n == 0)) {
        return false;
    }
    if (c->p.http.parser == NULL) {
        c->p.http.parser = take_parser(c->net);
        if (c->flags & CONN_AGAIN) {
            conn_start_timer(c, c->net->guard->handshake_ms);
        }
        c->flags |= CONN_HEAD_BEGUN;
        if (c->extra != NULL) {
            c->extra->said_ip = (struct ip){{0}}; /* that was another's */
        }
    }
    size_t used = 0;
    enum http_result rc = http_parser_feed(c->p.http.parser, *p, *n, &used);
    *p += used;
    *n -= used;
    if (rc == HTTP_BAD) {
        const char *detail = "bad request";
        int status = http_parser_status(c->p.http.parser, &detail);
        conn_http_refuse(c, status, detail);
        return false;
    }
    if (rc == HTTP_REQUEST) {
        conn_http_answer(c);
        return true;
    }
    return false;
}

/* The answer is on its way; input rests until it has left. */
static void begin_reply(struct conn *c, bool keep_alive)
{
    CHECK(c, CONN_MAGIC);
    ASSERT((c->flags & CONN_THINKING) && c->state < CONN_OPEN,
        "one answer for each request");
    c->flags &= (uint16_t)~CONN_THINKING;
    c->flags |= CONN_REPLYING;
    /* A body that nobody reads would be taken for the next head; and a
     * request that asked for a WebSocket and had to wait was the last. */
    if (keep_alive && !(c->flags & CONN_HAS_BODY) && c->state == CONN_HTTP) {
        c->flags |= CONN_KEEP_ALIVE;
    }
    c->heard_ms = conn_now_ms(c);
    conn_start_timer(c, c->net->guard->keep_alive_ms);
}

void conn_reply(
    struct conn *c, const void *response, size_t len, bool keep_alive)
{
    begin_reply(c, keep_alive);
    if (conn_push_bytes(c, response, len) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
}

void conn_reply_body(struct conn *c, const void *head, size_t len,
    struct conn_body *body, bool keep_alive)
{
    begin_reply(c, keep_alive);
    c->p.http.body = body;
    if (conn_push_bytes(c, head, len) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
}

/* The whole answer has left. */
static void end_reply(struct conn *c)
{
    if (!(c->flags & CONN_KEEP_ALIVE)) {
        conn_http_fini(c);
        conn_begin_flushing(c);
        conn_finish(c);
        return;
    }
    c->flags &= (uint16_t) ~(CONN_REPLYING | CONN_KEEP_ALIVE | CONN_HEAD_BEGUN);
    c->flags |= CONN_AGAIN;
    conn_start_timer(c, c->net->guard->keep_alive_ms);
    if (c->u.live.rest != NULL || !(c->watch.events & IO_READ)) {
        c->flags |= CONN_RESUMING;
        conn_add_todo(c);
    }
}

/* Makes the next part of the body; false: there was none. */
static bool make_part(struct conn *c)
{
    struct conn_body *body = c->p.http.body;
    struct blob *b = blob_new(NULL, BODY_PART_BYTES);
    if (b == NULL) {
        conn_kill(c, false);
        return true;
    }
    ssize_t k = body->read(body, b->data, b->size);
    if (k > 0) {
        ASSERT((size_t)k <= b->size, "a body fills what it is given");
        struct range r = {b, 0, (uint32_t)k, 0};
        if (conn_push_raw(c, &r) != 0) {
            conn_doom(c, CONN_DOOM_ERROR);
        }
        conn_watch(c, c->watch.events | IO_WRITE);
    } else if (k < 0) {
        conn_kill(c, false);
    } else {
        c->p.http.body = NULL;
        body->close(body);
    }
    blob_unref(b);
    return k != 0;
}

void conn_http_left(struct conn *c)
{
    if (c->p.http.body != NULL && make_part(c)) {
        return;
    }
    conn_watch(c, c->watch.events & ~IO_WRITE);
    end_reply(c);
}
