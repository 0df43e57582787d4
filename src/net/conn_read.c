/* conn_read.c -- bytes in: from a readable socket to the handler's calls.
 *
 * A ready socket is read once a turn, into the buffer that all connections of
 * the loop share, and parsed where it lies; a handler is lent its message
 * from there. Only what cannot be parsed now, because somebody said "wait",
 * is copied to a place of the connection's own, and then nothing is read
 * before that has been parsed: so the order holds, and the end of the stream
 * is seen where it stands.
 *
 * A paused connection stops being watched only when it turns out to have
 * more to read: a pause of less than a turn costs no system call.
 *
 * Laws: I2 (a full inbox stops the reading, TCP does the rest), I3, I6, I10
 * (a borrowed buffer is replaced). */
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn_priv.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* A parser's error ends the conversation, not what came before it. */
static void fail_peer(struct conn *c, int rc, const char *detail)
{
    const char *why = detail != NULL ? detail : err_word(rc);
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    metric_add(c->net->metrics, METRIC_PROTOCOL_ERRORS, 1);
    uint16_t code = err_close_code(rc);
    log_event(LOG_INFO, NULL,
        "client %s closed with %u: %s (message.max is %u, message.fragments "
        "%u)",
        ip, code, why, c->settings->message_bytes, c->settings->fragments);
    conn_fail(c, code != 0 ? code : 1002, why, false);
}

static void take_message(struct conn *c, const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_TEXT:
    case MESSAGE_BINARY:
        metric_add(c->net->metrics, METRIC_MESSAGES_IN, 1);
        c->net->lent = m->holder;
        c->p.ws.handler->on_message(
            c->p.ws.user, m->data, m->len, m->kind == MESSAGE_BINARY);
        c->net->lent = NULL;
        break;
    case MESSAGE_PING: conn_push_control(c, FRAME_PONG, m->data, m->len); break;
    case MESSAGE_CLOSE: /* see end_open() */
    case MESSAGE_PONG:  /* any input has counted as a sign of life */
    case MESSAGE_MORE: break;
    }
}

static void end_now(struct conn *c, int rc, const struct message *m)
{
    if (rc != 0) {
        fail_peer(c, rc, m->detail);
    } else if (m->kind == MESSAGE_CLOSE) {
        conn_on_peer_close(c, m);
    } else {
        conn_on_peer_fin(c);
    }
}

/* True: the end has to wait until the handler has caught up. */
static bool is_behind(struct conn *c)
{
    const struct conn_handler *h = c->p.ws.handler;
    return c->state == CONN_OPEN && h->is_behind != NULL &&
           h->is_behind(c->p.ws.user);
}

/* The peer has closed, broken a rule (rc != 0), or ended without a word (m is
 * no Close). What it said before that shall be answered, and an answer cannot
 * follow our Close; so while the handler lags the end itself is what rests. */
static void end_open(struct conn *c, int rc, const struct message *m)
{
    struct conn_rest *rest = NULL;
    if (is_behind(c)) {
        rest = quota_alloc(sizeof(*rest) + m->len);
    }
    if (rest == NULL) {
        end_now(c, rc, m);
        return;
    }
    *rest = (struct conn_rest){
        .len = (uint32_t)m->len,
        .is_end = true,
        .is_fin = rc == 0 && m->kind != MESSAGE_CLOSE,
        .close_code = m->close_code,
        .rc = rc,
        .detail = m->detail,
    };
    memcpy(rest->bytes, m->data, m->len);
    c->u.live.rest = rest;
    c->flags |= CONN_PAUSED;
    metric_add(c->net->metrics, METRIC_PAUSES, 1);
}

static void end_put_off(struct conn *c)
{
    struct conn_rest *rest = c->u.live.rest;
    if (is_behind(c)) {
        c->flags |= CONN_PAUSED;
        return;
    }
    c->u.live.rest = NULL;
    struct message m = {
        .kind = rest->is_fin ? MESSAGE_MORE : MESSAGE_CLOSE,
        .data = rest->bytes,
        .len = rest->len,
        .close_code = rest->close_code,
        .detail = rest->detail,
    };
    end_now(c, rest->rc, &m);
    quota_free(rest);
}

/* Few bytes can stand for many, which cost the loop more than reading them did.
 * When enough has been inflated in a turn, the next who would waits for the
 * next one, behind those who waited before. */
static bool is_next_turn(struct conn *c)
{
    struct net *n = c->net;
    if (n->inflated < LIMIT_TURN_INFLATE_BYTES || conn_inflate(c) == NULL) {
        return false;
    }
    c->flags |= CONN_PAUSED;
    conn_resume(c);
    return true;
}

/* True: the state has changed, go on there. */
static bool feed_open(struct conn *c, uint8_t **p, size_t *n)
{
    while (*n > 0 && c->state == CONN_OPEN) {
        const struct conn_handler *h = c->p.ws.handler;
        if (!h->can_take(c->p.ws.user)) {
            c->flags |= CONN_PAUSED;
            metric_add(c->net->metrics, METRIC_PAUSES, 1);
            return false;
        }
        if (c->extra != NULL && !conn_flood_admits(c)) {
            return c->state != CONN_OPEN;
        }
        if (is_next_turn(c)) {
            return false;
        }
        struct message m = {0};
        size_t before = *n;
        int rc =
            message_read_packed(&c->p.ws.reader, conn_inflate(c), p, n, &m);
        c->net->inflated += m.inflated;
        if (c->extra != NULL) {
            conn_flood_count(c, m.frames, before - *n);
        }
        if (rc != 0 || m.kind == MESSAGE_CLOSE) {
            end_open(c, rc, &m);
            *n = 0; /* read over */
        } else {
            take_message(c, &m);
        }
    }
    if (c->state == CONN_OPEN && message_is_partial(&c->p.ws.reader) &&
        c->net->guard->slow_ms != 0) {
        conn_note_partial(c);
    }
    return c->state != CONN_OPEN;
}

/* Our Close is on its way: messages are read over, and what is of interest is
 * the peer's Close. But a Ping is owed a Pong until that has come (5.5.2), and
 * a Pong is no data, so it may stand behind our Close (5.5.1). */
static bool feed_closing(struct conn *c, uint8_t **p, size_t *n)
{
    while (*n > 0 && c->state == CONN_CLOSING) {
        struct message m = {0};
        int rc =
            message_read_packed(&c->p.ws.reader, conn_inflate(c), p, n, &m);
        if (rc != 0) {
            fail_peer(c, rc, m.detail);
        } else if (m.kind == MESSAGE_CLOSE) {
            conn_on_peer_close(c, &m);
        } else if (m.kind == MESSAGE_PING) {
            conn_push_control(c, FRAME_PONG, m.data, m.len);
        }
    }
    return false;
}

static void parse(struct conn *c, uint8_t **p, size_t *n)
{
    bool goes_on = *n > 0;
    while (goes_on) {
        switch (c->state) {
        case CONN_HTTP:
        case CONN_UPGRADING: goes_on = conn_http_feed(c, p, n); break;
        case CONN_OPEN: goes_on = feed_open(c, p, n); break;
        case CONN_CLOSING: goes_on = feed_closing(c, p, n); break;
        default: goes_on = false; break;
        }
    }
    if (c->state > CONN_CLOSING) {
        *n = 0; /* read over */
    } else if (c->flags & CONN_IS_WS) {
        message_reader_rest(&c->p.ws.reader); /* it may be long idle now */
    }
}

/* Parses a fresh read; keeps a copy of what has to wait. */
static void parse_buffer(struct conn *c, uint8_t *p, size_t n)
{
    parse(c, &p, &n);
    if (n == 0) {
        return;
    }
    struct conn_rest *rest = quota_alloc(sizeof(*rest) + n);
    if (rest == NULL) {
        fail_peer(c, ERR_NOMEM, NULL);
        return;
    }
    *rest = (struct conn_rest){.len = (uint32_t)n};
    memcpy(rest->bytes, p, n);
    c->u.live.rest = rest;
}

static void parse_rest(struct conn *c)
{
    struct conn_rest *rest = c->u.live.rest;
    if (rest == NULL) {
        return;
    }
    if (rest->is_end) {
        end_put_off(c);
        return;
    }
    c->u.live.rest = NULL;
    uint8_t *p = rest->bytes + rest->off;
    size_t n = rest->len;
    parse(c, &p, &n);
    if (n == 0) {
        quota_free(rest);
        return;
    }
    rest->off = (uint32_t)(p - rest->bytes);
    rest->len = (uint32_t)n;
    c->u.live.rest = rest;
}

/* The shared buffer; a new one if somebody still borrows from the last. NULL:
 * no memory. */
static struct blob *take_buffer(struct net *n)
{
    struct blob *b = n->read_buf;
    if (b != NULL &&
        atomic_load_explicit(&b->refs, memory_order_acquire) == 1) {
        return b;
    }
    blob_unref(b);
    n->read_buf = blob_new(NULL, LIMIT_READ_BUFFER_BYTES);
    return n->read_buf;
}

static void on_eof(struct conn *c)
{
    static const uint8_t nothing[1];
    if (c->state < CONN_OPEN || (c->flags & CONN_FIN_SENT)) {
        conn_kill(c, false);
        return;
    }
    c->flags |= CONN_FIN_SEEN;
    conn_watch(c, c->watch.events & ~IO_READ);
    if (c->state == CONN_OPEN) {
        struct message m = {.kind = MESSAGE_MORE, .data = nothing};
        end_open(c, 0, &m);
    } else {
        conn_on_peer_fin(c);
    }
}

bool conn_read_ahead(struct conn *c)
{
    struct conn_rest *rest = c->u.live.rest;
    if (rest != NULL || (c->flags & CONN_IN_CALL)) {
        return true; /* or it may be in the caller's hands */
    }
    rest = quota_alloc(sizeof(*rest) + LIMIT_READ_BUFFER_BYTES);
    if (rest == NULL) {
        return false;
    }
    *rest = (struct conn_rest){.off = 0};
    ssize_t k;
    do { /* a record may take several reads; the stream has an end */
        k = c->transport->read(c->transport_state, conn_lane(c)->fd,
            rest->bytes, LIMIT_READ_BUFFER_BYTES);
    } while (k == TRANSPORT_AGAIN);
    if (k <= 0) {
        quota_free(rest);
        return false;
    }
    metric_add(c->net->metrics, METRIC_BYTES_IN, (uint64_t)k);
    rest->len = (uint32_t)k;
    c->u.live.rest = rest;
    return true;
}

/* What a proxy says about who is behind it stands in front of TLS, so it must
 * not get into the transport, and nothing behind it may be taken out. */
static void read_proxy_header(struct conn *c, struct blob *b)
{
    int fd = conn_lane(c)->fd;
    ssize_t k = recv(fd, b->data, b->size, MSG_PEEK);
    if (k < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (k <= 0) {
        conn_kill(c, false);
        return;
    }
    uint8_t *p = b->data;
    size_t left = (size_t)k;
    (void)conn_peer_feed(c, &p, &left);
    if (c->state == CONN_DEAD) {
        return;
    }
    for (size_t used = (size_t)k - left; used > 0; used -= (size_t)k) {
        k = transport_tcp.read(NULL, fd, b->data, used);
        if (k <= 0) {
            conn_kill(c, false);
            return;
        }
    }
}

static void read_once(struct conn *c)
{
    struct blob *b = take_buffer(c->net);
    if (b == NULL) {
        return; /* the socket stays ready: next turn */
    }
    if (c->transport != &transport_tcp && c->extra != NULL &&
        c->extra->proxy != NULL) {
        read_proxy_header(c, b);
        return;
    }
    ssize_t k = c->transport->read(
        c->transport_state, conn_lane(c)->fd, b->data, b->size);
    if (c->transport->wants_write != NULL &&
        c->transport->wants_write(c->transport_state)) {
        conn_watch(c, c->watch.events | IO_WRITE);
    }
    if (k == TRANSPORT_AGAIN) {
        return;
    }
    if (k < 0) {
        conn_kill(c, false);
        return;
    }
    if (k == 0) {
        on_eof(c);
        return;
    }
    c->heard_ms = conn_now_ms(c);
    c->flags &= (uint16_t)~CONN_PINGED;
    metric_add(c->net->metrics, METRIC_BYTES_IN, (uint64_t)k);
    if (c->state != CONN_FLUSHING) {
        parse_buffer(c, b->data, (size_t)k);
    }
}

static void read_ready(struct conn *c)
{
    read_once(c);
    /* An end that came with the last bytes has its turn when these have had
     * theirs, as it would without TLS. */
    if (c->state != CONN_DEAD && conn_is_reading(c) &&
        c->transport->has_buffered(c->transport_state)) {
        c->flags |= CONN_RESUMING;
        conn_add_todo(c);
    }
}

void conn_read_on(struct conn *c)
{
    c->flags &= (uint16_t) ~(CONN_RESUMING | CONN_PAUSED);
    c->heard_ms = conn_now_ms(c);
    parse_rest(c);
    if (c->state == CONN_DEAD || !conn_is_reading(c)) {
        return;
    }
    conn_watch(c, c->watch.events | IO_READ);
    if (c->transport->has_buffered(c->transport_state)) {
        read_ready(c);
    }
}

void conn_on_ready(struct io_watch *w, unsigned events)
{
    struct conn *c = container_of(w, struct conn, watch);
    CHECK(c, CONN_MAGIC);
    if (conn_awaits_write(c) && (events & (IO_WRITE | IO_ERROR))) {
        conn_on_writable(c);
    }
    if (c->state == CONN_DEAD || !(events & (IO_READ | IO_ERROR))) {
        return;
    }
    if (conn_is_reading(c)) {
        read_ready(c);
    } else {
        /* More than we want now, or an end that we will see in its turn. */
        conn_watch(c, c->watch.events & ~IO_READ);
    }
}
