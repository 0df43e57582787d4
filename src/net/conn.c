/* conn.c -- a connection's life: birth, states, close handshake, death.
 *
 * States only move forward, through one setter. There is one way out,
 * conn_kill(): it takes the connection out of every table at once, so nobody
 * can find it, and leaves the memory to the end of the turn, because a batch
 * of events, a parser or a handler's caller may still hold on to it.
 *
 * The order within an end is the point. First the lane is shut and the state
 * moves on: from then on net_find() finds nobody and net_send() takes
 * nothing. Then the Close is queued, and only then is on_closed() called: it
 * may broadcast the departure, and no data of ours may follow our own Close
 * (RFC 6455 5.5.1).
 *
 * Laws: I1, I3 (on_closed exactly once). */
#include "net/conn.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn_priv.h"
#include "net/tls.h"
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define CODE_NONE      1005 /* a Close without a body */
#define CODE_ABNORMAL  1006 /* no Close at all */
#define CODE_TRY_LATER 1013

void conn_set_state(struct conn *c, enum conn_state next)
{
    ASSERT(next > c->state, "states only move forward");
    c->state = (uint8_t)next;
}

void conn_watch(struct conn *c, unsigned events)
{
    struct loop *l = c->net->loop;
    if (events == c->watch.events || c->state == CONN_DEAD) {
        return;
    }
    if (events == 0) {
        io_remove(l, &c->watch);
        c->watch.events = 0;
    } else if (c->watch.events != 0) {
        io_modify(l, &c->watch, events);
    } else if (io_add(l, &c->watch, conn_lane(c)->fd, events, conn_on_ready) !=
               0) {
        c->watch.events = 0;
        conn_doom(c, CONN_DOOM_ERROR);
    }
}

struct conn *conn_new(struct net *n, int fd, const struct conn_router *router,
    const struct conn_settings *defaults)
{
    if (n->tls == NULL) {
        return conn_make(n, fd, router, defaults, &transport_tcp, NULL);
    }
    void *state = tls_open(n->tls);
    if (state == NULL) {
        transport_tcp.close(NULL, fd, false);
        return NULL;
    }
    return conn_make(n, fd, router, defaults, &transport_tls, state);
}

/* NOLINTNEXTLINE(readability-function-size): what a connection is made of. */
struct conn *conn_make(struct net *n, int fd, const struct conn_router *router,
    const struct conn_settings *defaults, const struct transport *transport,
    void *state)
{
    struct conn *c = quota_alloc(sizeof(*c));
    if (c == NULL) {
        transport->close(state, fd, false);
        return NULL;
    }
    *c = (struct conn){
        .magic = CONN_MAGIC,
        .state = CONN_HTTP,
        .net = n,
        .transport = transport,
        .transport_state = state,
        .settings = defaults,
        .watch = {.fd = -1},
        .p.http.router = router,
    };
    list_init(&c->u.live.todo);
    timer_init(&c->timer, conn_on_timer);
    int rc = conn_peer_init(c, fd);
    if (rc == 0) {
        rc = io_add(n->loop, &c->watch, fd, IO_READ, conn_on_ready);
    }
    if (rc != 0) {
        conn_peer_leave(c);
        conn_extra_free(c->extra);
        log_event(LOG_WARN, &(struct log_fields){.err = err_text(rc)},
            "a new connection cannot be watched");
        transport->close(state, fd, false);
        quota_free(c);
        return NULL;
    }
    net_add_conn(n, c, fd);
    c->heard_ms = conn_now_ms(c);
    conn_start_timer(c, n->guard->handshake_ms);
    return c;
}

void conn_upgrade(struct conn *c, const char *response, size_t len,
    const struct conn_handler *handler, void *user,
    const struct conn_settings *settings)
{
    CHECK(c, CONN_MAGIC);
    ASSERT((c->flags & CONN_THINKING) && c->state < CONN_OPEN,
        "one answer for each request");
    conn_http_fini(c);
    conn_set_state(c, CONN_OPEN);
    c->flags &= CONN_IN_CALL;
    c->flags |= CONN_IS_WS;
    c->settings = settings;
    c->p.ws.handler = handler;
    c->p.ws.user = user;
    message_reader_init(&c->p.ws.reader, settings->message_bytes);
    c->p.ws.reader.fragments = settings->fragments;
    metric_add(c->net->metrics, METRIC_CLIENTS, 1);
    struct lane *l = conn_lane(c);
    l->flags |= LANE_OPEN;
    if (c->transport == &transport_tcp) {
        l->flags |= LANE_PLAIN;
    }
    l->hard_bytes = settings->outbox.hard_bytes;
    c->heard_ms = conn_now_ms(c);
    conn_flood_init(c);
    timer_stop(&c->timer);
    if (settings->ping_ms != 0) {
        conn_start_timer(c, settings->ping_ms);
    }
    if (conn_push_bytes(c, response, len) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
    if (!(c->flags & CONN_IN_CALL)) {
        c->flags |= CONN_RESUMING;
        conn_add_todo(c);
    }
}

void conn_settings_changed(struct conn *c)
{
    CHECK(c, CONN_MAGIC);
    if (c->state != CONN_OPEN) {
        return;
    }
    const struct conn_settings *s = c->settings;
    c->p.ws.reader.max = s->message_bytes;
    c->p.ws.reader.fragments = s->fragments;
    conn_lane(c)->hard_bytes = s->outbox.hard_bytes;
    conn_flood_init(c);
    /* The clock finds out by itself what is due later than it was. */
    if (s->ping_ms != 0 &&
        (!timer_is_started(&c->timer) ||
            c->timer.due_ms > loop_now_ms(c->net->loop) + s->ping_ms)) {
        conn_start_timer(c, s->ping_ms);
    }
}

void conn_set_handler(
    struct conn *c, const struct conn_handler *handler, void *user)
{
    CHECK(c, CONN_MAGIC);
    if (c->state == CONN_OPEN) {
        c->p.ws.handler = handler;
        c->p.ws.user = user;
    }
}

void *conn_user(const struct conn *c)
{
    ASSERT(c->state == CONN_OPEN, "an open WebSocket has a user");
    return c->p.ws.user;
}

struct conn_id conn_get_id(const struct conn *c)
{
    return (struct conn_id){
        .loop = loop_index(c->net->loop),
        .slot = c->slot,
        .generation = c->generation,
    };
}

struct net *conn_net(const struct conn *c)
{
    return c->net;
}

enum conn_state conn_get_state(const struct conn *c)
{
    return (enum conn_state)c->state;
}

bool conn_has_left(struct conn *c)
{
    struct pollfd p = {.events = 0};
#ifdef POLLRDHUP /* sees a FIN behind bytes not read yet */
    p.events |= POLLRDHUP;
#endif
    if (c->state == CONN_DEAD) {
        return true;
    }
    p.fd = conn_lane(c)->fd;
    if (poll(&p, 1, 0) != 1 || p.revents == 0) {
        return false;
    }
    if (p.revents & (POLLERR | POLLHUP | POLLNVAL)) {
        return true;
    }
    return !conn_read_ahead(c);
}

void conn_add_todo(struct conn *c)
{
    if (list_is_empty(&c->u.live.todo)) {
        list_push_tail(&c->net->todo, &c->u.live.todo);
        loop_keep_polling(c->net->loop);
    }
}

void conn_doom(struct conn *c, enum conn_doom why)
{
    if (c->state != CONN_DEAD) {
        conn_lane(c)->flags &= ~(uint32_t)LANE_OPEN;
        c->doom = (uint8_t)why;
        conn_add_todo(c);
    }
}

void conn_do_todo(struct conn *c)
{
    CHECK(c, CONN_MAGIC);
    if (c->doom == CONN_DOOM_ERROR) {
        conn_kill(c, false);
    } else if (c->doom == CONN_DOOM_MOVE) {
        conn_depart(c);
    } else if (c->doom != CONN_DOOM_NONE) {
        conn_end_slow(c);
    }
    if (c->state != CONN_DEAD && (c->flags & CONN_RESUMING)) {
        conn_read_on(c);
    }
}

void conn_resume(struct conn *c)
{
    CHECK(c, CONN_MAGIC);
    if ((c->flags & CONN_PAUSED) && c->state != CONN_DEAD) {
        c->flags |= CONN_RESUMING;
        conn_add_todo(c);
    }
}

void conn_end_slow(struct conn *c)
{
    if (c->state != CONN_OPEN) {
        return;
    }
    struct conn_queue q;
    conn_queue(c, &q);
    const struct outbox_limits *m = &c->settings->outbox;
    const char *reason = "slow";
    if (c->doom == CONN_DOOM_APP) {
        reason = "outbox limit of the app";
    }
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    log_event(LOG_WARN, NULL,
        "client %s closed: %s; its outbox holds %u messages (soft limit %u "
        "for %u ms), %llu bytes (hard limit %u)",
        ip, reason, q.messages, m->soft_messages, m->soft_ms,
        (unsigned long long)q.bytes, m->hard_bytes);
    metric_add(c->net->metrics, METRIC_SLOW_CLOSED, 1);
    conn_fail(c, CODE_TRY_LATER, reason, true);
}

/* The handler hears of the end, once. */
static void tell_closed(
    struct conn *c, uint16_t code, const char *reason, size_t len)
{
    if (!(c->flags & CONN_IS_WS) || c->p.ws.handler == NULL) {
        return;
    }
    const struct conn_handler *h = c->p.ws.handler;
    c->p.ws.handler = NULL;
    metric_sub(c->net->metrics, METRIC_CLIENTS, 1);
    h->on_closed(c->p.ws.user, code, reason, len);
}

/* No data any more, and the flush has to ask us when all has left. */
static void shut_lane(struct conn *c)
{
    conn_lane(c)->flags &= ~(uint32_t)(LANE_OPEN | LANE_PLAIN);
    net_mark_dirty(c->net, c->slot);
}

void conn_close(struct conn *c, uint16_t code, const char *reason, size_t len)
{
    CHECK(c, CONN_MAGIC);
    if (c->state != CONN_OPEN) {
        return;
    }
    ASSERT(code == CODE_NONE || frame_close_code_is_valid(code), "7.4.1");
    ASSERT(len <= LIMIT_CLOSE_REASON, "RFC 6455 5.5");
    conn_set_state(c, CONN_CLOSING);
    shut_lane(c);
    message_reader_skip(&c->p.ws.reader);
    conn_start_timer(c, c->settings->close_ms);
    if (conn_push_close(c, code, reason, len) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
    /* The peer's Close may be behind what we did not want to read. */
    conn_resume(c);
    tell_closed(c, code, reason, len);
}

/* The clock of a close that has begun runs on: the peer has that much time for
 * all of its side. */
void conn_begin_flushing(struct conn *c)
{
    bool is_first = c->state != CONN_CLOSING;
    conn_set_state(c, CONN_FLUSHING);
    shut_lane(c);
    if (c->flags & CONN_IS_WS) {
        message_reader_skip(&c->p.ws.reader);
    }
    quota_free(c->u.live.rest);
    c->u.live.rest = NULL;
    c->flags &= CONN_IS_WS | CONN_IN_CALL | CONN_FIN_SEEN;
    if (is_first) {
        conn_start_timer(c, c->settings->close_ms);
    }
    if (!(c->flags & CONN_FIN_SEEN)) {
        conn_watch(c, c->watch.events | IO_READ);
    }
}

void conn_fail(
    struct conn *c, uint16_t code, const char *reason, bool drop_queue)
{
    CHECK(c, CONN_MAGIC);
    if (c->state < CONN_OPEN) {
        conn_kill(c, false);
        return;
    }
    if (c->state > CONN_CLOSING) {
        return;
    }
    size_t len = strnlen(reason, LIMIT_CLOSE_REASON);
    bool is_first = c->state == CONN_OPEN;
    conn_begin_flushing(c);
    if (drop_queue) {
        conn_drop_queue(c);
    }
    if (is_first && conn_push_close(c, code, reason, len) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
    tell_closed(c, code, reason, len);
}

void conn_on_peer_close(struct conn *c, const struct message *m)
{
    bool is_first = c->state == CONN_OPEN;
    conn_begin_flushing(c);
    if (!is_first) {
        return;
    }
    /* 5.5.1: the answer carries the peer's code. */
    if (conn_push_close(c, m->close_code, NULL, 0) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
    tell_closed(c, m->close_code, (const char *)m->data, m->len);
}

/* 7.1.5: without a Close the code is 1006. The peer has said all it will, but
 * may be listening yet: what we have said to it leaves, our Close included. */
void conn_on_peer_fin(struct conn *c)
{
    if (c->state < CONN_FLUSHING) {
        conn_begin_flushing(c);
    }
    tell_closed(c, CODE_ABNORMAL, "", 0);
}

void conn_finish(struct conn *c)
{
    if (c->flags & CONN_FIN_SENT) {
        return;
    }
    c->flags |= CONN_FIN_SENT;
    if ((c->flags & CONN_FIN_SEEN) ||
        c->transport->shutdown(c->transport_state, conn_lane(c)->fd) != 0) {
        conn_kill(c, false);
    }
}

static void free_at_end_of_turn(struct loop_deferred *d)
{
    struct conn *c = container_of(d, struct conn, u.dead);
    if (c->flags & CONN_IS_WS) {
        message_reader_fini(&c->p.ws.reader);
    }
    conn_extra_free(c->extra);
    c->magic = 0;
    quota_free(c);
}

void conn_unlink(struct conn *c)
{
    struct net *n = c->net;
    conn_set_state(c, CONN_DEAD);
    io_remove(n->loop, &c->watch);
    timer_stop(&c->timer);
    outbox_free(c->outbox, n);
    c->outbox = NULL;
    net_remove_conn(n, c);
    if (c->flags & CONN_IS_WS) {
        conn_unpack(c);
    } else {
        conn_http_fini(c);
    }
    conn_peer_leave(c);
    list_remove(&c->u.live.todo);
    quota_free(c->u.live.rest);
    /* Nothing of the connection is needed to free it: it may outlive its
     * net by a turn. */
    loop_defer(n->loop, &c->u.dead, free_at_end_of_turn);
}

void conn_kill(struct conn *c, bool reset)
{
    CHECK(c, CONN_MAGIC);
    if (c->state == CONN_DEAD) {
        return;
    }
    int fd = conn_lane(c)->fd;
    struct conn_queue q;
    conn_queue(c, &q);
    metric_add(c->net->metrics, METRIC_DROPPED_CLOSE, q.messages);
    conn_unlink(c);
    c->transport->close(c->transport_state, fd, reset);
    tell_closed(c, CODE_ABNORMAL, "", 0);
}
