/* conn_body.c -- the body of a request: kept whole, then handed out.
 *
 * The router asks for it (conn_take_body()) when it has seen the head; the
 * request stays with the connection, its body is read, and the router is
 * called a second time, with both. A handler never sees half a body, and never
 * has to wait for the rest.
 *
 * Its size is judged before it is read: from Content-Length at once (413), of
 * chunks by each chunk's size. Memory grows with the bytes that have come, and
 * all bodies under way on a loop share a bound (503). One that comes too
 * slowly is answered with 408.
 *
 * Laws: I2, I6. */
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/conn_priv.h"
#include "proto/body.h"
#include <strings.h>

struct conn_incoming {
    struct body_reader reader;
    struct buf data;
    struct message_mark mark;
    size_t counted; /* in net->bodies_bytes */
};

/* RFC 9110 10.1.1: whoever waits for it is told that we do want the body. */
static bool answer_expectation(struct conn *c, const struct http_request *r)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *expect = http_header_find(r, "expect");
    if (expect == NULL) {
        return true;
    }
    if (strcasecmp(expect, "100-continue") != 0 ||
        http_header_count(r, "expect") != 1) {
        conn_http_refuse(c, 417, "the only expectation known is 100-continue");
        return false;
    }
    if (r->minor == 0) {
        return true;
    }
    if (conn_push_bytes(c, go_on, sizeof(go_on) - 1) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
    return true;
}

static struct conn_incoming *new_incoming(struct conn *c, uint32_t max)
{
    struct conn_extra *e = conn_extra_get(c);
    if (e == NULL) {
        return NULL;
    }
    ASSERT(e->incoming == NULL, "one body at a time");
    struct conn_incoming *in = quota_alloc(sizeof(*in));
    if (in != NULL) {
        *in = (struct conn_incoming){.counted = 0};
        buf_init(&in->data, max);
    }
    return in;
}

void conn_take_body(
    struct conn *c, const struct http_request *r, uint32_t max_bytes)
{
    ASSERT((c->flags & CONN_THINKING) && (c->flags & CONN_IN_CALL) &&
               c->state == CONN_HTTP && r->has_body,
        "asked from on_request(), instead of an answer");
    struct conn_incoming *in = new_incoming(c, max_bytes);
    if (in == NULL) {
        conn_http_refuse(c, 503, "no memory for a body");
        return;
    }
    body_reader_init(&in->reader, r, max_bytes);
    if (in->reader.total > max_bytes) {
        quota_free(in);
        conn_http_refuse(c, 413, "the body is too big");
        return;
    }
    if (!answer_expectation(c, r)) {
        quota_free(in);
        return;
    }
    in->mark = (struct message_mark){0, conn_now_ms(c), true};
    c->extra->incoming = in;
    c->flags &= (uint16_t)~CONN_THINKING;
}

static void free_incoming(struct net *n, struct conn_incoming *in)
{
    n->bodies_bytes -= in->counted;
    buf_fini(&in->data);
    quota_free(in);
}

void conn_body_free(struct conn *c)
{
    if (conn_has_incoming(c)) {
        struct conn_incoming *in = c->extra->incoming;
        c->extra->incoming = NULL;
        free_incoming(c->net, in);
    }
}

/* The body is lent for the call, and the call may end the connection. */
static void hand_out(struct conn *c)
{
    struct conn_incoming *in = c->extra->incoming;
    struct net *net = c->net;
    c->extra->incoming = NULL;
    c->flags &= (uint16_t)~CONN_HAS_BODY;
    conn_http_answer_body(c, in->data.p, in->data.len);
    free_incoming(net, in);
}

/* An answer before the body has come whole: the connection ends with it. */
static bool refuse_body(struct conn *c, int status, const char *text)
{
    conn_http_refuse(c, status, text);
    conn_body_free(c);
    return false;
}

static bool keep(struct conn *c, const uint8_t *piece, size_t len)
{
    struct conn_incoming *in = c->extra->incoming;
    int rc = buf_add(&in->data, piece, len);
    c->net->bodies_bytes += in->data.cap - in->counted;
    in->counted = in->data.cap;
    if (rc != 0 || c->net->bodies_bytes > LIMIT_BODIES_BYTES) {
        return refuse_body(c, 503, "no memory for a body");
    }
    return true;
}

bool conn_body_feed(struct conn *c, uint8_t **p, size_t *n)
{
    struct conn_incoming *in = c->extra->incoming;
    for (;;) {
        struct body_piece piece = {.detail = "a malformed body"};
        size_t used = 0;
        enum body_result rc = body_read(&in->reader, *p, *n, &used, &piece);
        *p += used;
        *n -= used;
        switch (rc) {
        case BODY_MORE: return false;
        case BODY_BAD: return refuse_body(c, 400, piece.detail);
        case BODY_TOO_BIG: return refuse_body(c, 413, "the body is too big");
        case BODY_DATA:
            if (!keep(c, piece.p, piece.len)) {
                return false;
            }
            break;
        case BODY_END: hand_out(c); return true;
        }
    }
}

bool conn_body_tick(struct conn *c)
{
    struct conn_incoming *in = c->extra->incoming;
    if (!conn_is_too_slow(c, &in->mark, in->data.len)) {
        return true;
    }
    metric_add(c->net->metrics, METRIC_SLOW_INPUT, 1);
    return refuse_body(c, 408, "the body took too long");
}
