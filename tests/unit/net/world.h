/* world.h -- a loop, a net, and rude peers at the other ends of sockets, for
 * the unit tests of net. Nothing here waits longer than it must. */
#ifndef TESTS_NET_WORLD_H
#define TESTS_NET_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "net/conn_priv.h"
#include "net/tape.h"
#include "proto/handshake.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

struct client {
    struct world *world;
    int fd;            /* the peer's end; -1: closed */
    struct conn *conn; /* NULL: ended (if its end was seen) */
    struct conn_id id;
    /* What the peer has received. */
    uint8_t *in;
    size_t in_len;
    size_t in_cap;
    size_t in_at; /* parsed up to here */
    bool eof;
    int error;
    /* What the handler was told. */
    int opened;
    int closed;
    uint16_t close_code;
    char close_reason[128];
    int messages;
    uint8_t *got; /* payloads of all messages, one behind the other */
    size_t got_len;
    bool is_binary;
    int slow;
    int drain;
    bool refuse; /* can_take() says no */
    int take;    /* < 0: no bound; else so many more messages are taken */
    bool echo;
    void (*on_message)(struct client *c, const uint8_t *p, size_t n);
    void (*on_closed)(struct client *c);
    void (*on_slow)(struct client *c);
};

enum route {
    ROUTE_UPGRADE,
    ROUTE_LATER,
    ROUTE_REPLY,
    ROUTE_BODY,
    ROUTE_MOVE /* to the loop `move_to` */
};

struct world {
    struct loop *loop;
    struct net *net;
    struct tape tape; /* as an app's: scratch */
    struct meter *meter;
    struct conn_settings settings;
    struct conn_router router;
    struct conn_handler handler;
    enum route route;
    uint32_t move_to;
    struct client *arriving; /* whose request is being answered */
    int requests;
    char paths[4096]; /* of all requests, each with a blank behind */
    bool keep_alive;
    struct conn_body *body;
    /* Called with each request before it is answered. */
    void (*on_request)(
        struct world *w, struct conn *c, const struct http_request *r);
};

static inline struct range world_frame(
    struct world *w, enum frame_opcode op, const void *p, size_t n)
{
    struct range r;
    assert_int_equal(
        tape_frame(&w->tape, w->net, w->meter, op, false, p, n, &r), 0);
    return r;
}

static inline int client_send(struct client *c, const void *p, size_t n)
{
    struct range r = world_frame(c->world, FRAME_BINARY, p, n);
    return net_send(
        c->world->net, c->id.slot, &r, c->world->settings.policy, NULL, 0);
}

static bool on_can_take(void *user)
{
    struct client *c = user;
    if (c->refuse || c->take == 0) {
        return false;
    }
    return true;
}

static void on_a_message(void *user, const uint8_t *p, size_t n, bool is_binary)
{
    struct client *c = user;
    assert_int_equal(c->closed, 0);
    c->messages++;
    c->is_binary = is_binary;
    c->got = realloc(c->got, c->got_len + n + 1);
    memcpy(c->got + c->got_len, p, n);
    c->got_len += n;
    c->got[c->got_len] = '\0';
    if (c->take > 0) {
        c->take--;
    }
    if (c->echo) {
        (void)client_send(c, p, n);
    }
    if (c->on_message != NULL) {
        c->on_message(c, p, n);
    }
}

static void on_its_end(
    void *user, uint16_t code, const char *reason, size_t len)
{
    struct client *c = user;
    c->closed++;
    c->close_code = code;
    assert_true(len < sizeof(c->close_reason));
    memcpy(c->close_reason, reason != NULL ? reason : "", len);
    c->close_reason[len] = '\0';
    assert_null(net_find(c->world->net, c->id));
    if (c->on_closed != NULL) {
        c->on_closed(c);
    }
}

static void on_its_slowness(void *user)
{
    struct client *c = user;
    c->slow++;
    if (c->on_slow != NULL) {
        c->on_slow(c);
    }
}

static void on_its_drain(void *user)
{
    ((struct client *)user)->drain++;
}

static inline void client_accept(struct client *c, const char *accept)
{
    char response[512];
    size_t n =
        handshake_response(response, sizeof(response), accept, NULL, NULL);
    c->opened++;
    conn_upgrade(
        c->conn, response, n, &c->world->handler, c, &c->world->settings);
}

#define CLIENT_KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define CLIENT_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static void on_a_request(
    void *user, struct conn *conn, const struct http_request *r)
{
    struct world *w = user;
    struct client *c = w->arriving;
    assert_non_null(c);
    c->world = w; /* it may have come from another one */
    c->conn = conn;
    c->id = conn_get_id(conn);
    w->requests++;
    strncat(w->paths, r->path, sizeof(w->paths) - strlen(w->paths) - 1);
    strncat(w->paths, " ", sizeof(w->paths) - strlen(w->paths) - 1);
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    char accept[HANDSHAKE_ACCEPT_BYTES + 1];
    if (w->on_request != NULL) {
        w->on_request(w, conn, r);
    }
    switch (w->route) {
    case ROUTE_UPGRADE:
        handshake_accept(r, accept);
        client_accept(c, accept);
        break;
    case ROUTE_LATER: break;
    case ROUTE_REPLY:
        conn_reply(conn, text, sizeof(text) - 1, w->keep_alive);
        break;
    case ROUTE_BODY:
        conn_reply_body(
            conn, "HTTP/1.1 200 OK\r\n\r\n", 19, w->body, w->keep_alive);
        break;
    case ROUTE_MOVE: conn_move(conn, w->move_to); break;
    }
}

static inline void world_init_at(struct world *w, uint32_t index)
{
    log_init(-1, LOG_ERROR, LOG_JSON);
    *w = (struct world){0};
    w->loop = loop_new(index);
    w->net = net_new(w->loop);
    w->meter = meter_new(64 * 1024 * 1024);
    tape_init(&w->tape, true);
    w->settings = (struct conn_settings){
        .message_bytes = 1024 * 1024,
        .fragments = LIMIT_DEFAULT_FRAGMENTS,
        .ping_ms = 30000,
        .pong_ms = 10000,
        .close_ms = 5000,
        .outbox = {.hard_bytes = 1024 * 1024,
            .soft_messages = 256,
            .soft_ms = 2000},
        .policy = OUTBOX_CLOSE,
    };
    w->router = (struct conn_router){.on_request = on_a_request, .user = w};
    w->handler = (struct conn_handler){
        .can_take = on_can_take,
        .on_message = on_a_message,
        .on_closed = on_its_end,
        .on_slow = on_its_slowness,
        .on_drain = on_its_drain,
    };
    w->keep_alive = true;
}

static inline void world_init(struct world *w)
{
    world_init_at(w, 0);
}

/* Ends everything, and finds every byte and every slot given back. */
static inline void world_fini(struct world *w)
{
    net_kill_all(w->net, false);
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
    struct metrics *m = loop_metrics(w->loop);
    assert_int_equal(metric_get(m, METRIC_CONNS), 0);
    assert_int_equal(metric_get(m, METRIC_CLIENTS), 0);
    tape_fini(&w->tape);
    net_free(w->net);
    loop_free(w->loop);
    assert_int_equal(meter_used(w->meter), 0);
    meter_unref(w->meter);
}

static inline uint64_t world_metric(struct world *w, enum metric m)
{
    return metric_get(loop_metrics(w->loop), m);
}

static inline void make_tcp_pair(int fds[2])
{
    int ln = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    assert_int_equal(bind(ln, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(ln, 1), 0);
    assert_int_equal(getsockname(ln, (struct sockaddr *)&a, &n), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&a, n), 0);
    fds[0] = accept(ln, NULL, NULL);
    assert_true(fds[0] >= 0);
    close(ln);
    int one = 1;
    setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

enum pair { PAIR_UNIX, PAIR_TCP };

/* A connection that has said nothing yet. */
static inline void client_connect(
    struct client *c, struct world *w, enum pair kind)
{
    int fds[2];
    *c = (struct client){.world = w, .take = -1};
    if (kind == PAIR_TCP) {
        make_tcp_pair(fds);
    } else {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    }
    c->fd = fds[1];
    c->conn = conn_new(w->net, fds[0], &w->router, &w->settings);
    assert_non_null(c->conn);
    c->id = conn_get_id(c->conn);
}

/* The kernel keeps little for this client, in both directions. */
static inline void client_narrow(struct client *c)
{
    int send_bytes = 4096;
    int receive_bytes = 32768; /* less, and windows close for long */
    int fd = conn_lane(c->conn)->fd;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes));
    setsockopt(
        c->fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
}

static inline void client_fini(struct client *c)
{
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    free(c->in);
    free(c->got);
    c->in = NULL;
    c->got = NULL;
}

static inline void client_write(struct client *c, const void *p, size_t n)
{
    ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    assert_int_equal(k, (ssize_t)n);
}

/* Reads what there is, at most `max` bytes. */
static inline void client_read(struct client *c, size_t max)
{
    while (!c->eof && c->error == 0 && max > 0) {
        if (c->in_cap - c->in_len < 4096) {
            c->in_cap = (c->in_cap + 4096) * 2;
            c->in = realloc(c->in, c->in_cap);
        }
        size_t room = c->in_cap - c->in_len;
        ssize_t k = recv(
            c->fd, c->in + c->in_len, room < max ? room : max, MSG_DONTWAIT);
        if (k < 0) {
            if (errno != EAGAIN) {
                c->error = errno;
            }
            return;
        }
        c->eof = k == 0;
        c->in_len += (size_t)k;
        max -= (size_t)k;
    }
}

/* So many turns, each followed by the peer's reading. */
static inline void client_turns(struct client *c, int turns)
{
    for (int i = 0; i < turns; i++) {
        loop_turn(c->world->loop, 0);
        if (c->fd >= 0) {
            client_read(c, SIZE_MAX);
        }
    }
}

/* Turns, without the peer's reading, until so many requests were routed. */
static inline void client_until_routed(struct client *c, int requests)
{
    for (int i = 0; i < 10000 && c->world->requests < requests; i++) {
        loop_turn(c->world->loop, 0);
    }
    assert_int_equal(c->world->requests, requests);
}

/* Turns until the peer has received so much, or its stream has ended. For
 * narrow sockets, whose kernels take naps. */
static inline void client_until_received(struct client *c, size_t n)
{
    uint64_t until = loop_clock_ns() + 20ull * 1000 * 1000 * 1000;
    while (
        c->in_len < n && !c->eof && c->error == 0 && loop_clock_ns() < until) {
        loop_turn(c->world->loop, 1);
        client_read(c, SIZE_MAX);
    }
}

/* Turns until there is nothing new any more. */
static inline void client_settle(struct client *c)
{
    int quiet = 0;
    for (int i = 0; i < 400000 && quiet < 8; i++) {
        size_t in = c->in_len;
        size_t got = c->got_len;
        int requests = c->world->requests;
        bool eof = c->eof;
        uint64_t bytes = world_metric(c->world, METRIC_BYTES_IN) +
                         world_metric(c->world, METRIC_BYTES_OUT);
        client_turns(c, 1);
        bool is_quiet = in == c->in_len && got == c->got_len && eof == c->eof &&
                        requests == c->world->requests &&
                        bytes == world_metric(c->world, METRIC_BYTES_IN) +
                                     world_metric(c->world, METRIC_BYTES_OUT);
        quiet = is_quiet ? quiet + 1 : 0;
    }
}

static inline void client_ask(struct client *c, const char *request)
{
    c->world->arriving = c;
    client_write(c, request, strlen(request));
}

#define UPGRADE_REQUEST                                                        \
    "GET /chat HTTP/1.1\r\nHost: example.test\r\nUpgrade: websocket\r\n"       \
    "Connection: Upgrade\r\nSec-WebSocket-Key: " CLIENT_KEY "\r\n"             \
    "Sec-WebSocket-Version: 13\r\n\r\n"

/* The peer drops the response head from what it has received. */
static inline void client_expect_101(struct client *c)
{
    assert_true(c->in_len >= 12);
    assert_memory_equal(c->in, "HTTP/1.1 101", 12);
    uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    assert_non_null(end);
    c->in_at = (size_t)(end - c->in) + 4;
}

static inline void client_open(
    struct client *c, struct world *w, enum pair kind)
{
    client_connect(c, w, kind);
    client_ask(c, UPGRADE_REQUEST);
    for (int i = 0; i < 10000; i++) {
        client_turns(c, 1);
        if (c->in_len >= 4 &&
            memcmp(c->in + c->in_len - 4, "\r\n\r\n", 4) == 0) {
            break;
        }
    }
    client_expect_101(c);
    assert_int_equal(conn_get_state(c->conn), CONN_OPEN);
    assert_ptr_equal(net_find(w->net, c->id), c->conn);
}

/* A client's frame; returns its length. */
static inline size_t make_frame(
    uint8_t *out, enum frame_opcode op, bool fin, const void *p, size_t n)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = frame_encode(out, op, fin, false, n);
    out[1] |= 0x80;
    memcpy(out + at, mask, 4);
    at += 4;
    if (n > 0) {
        memcpy(out + at, p, n);
        frame_mask(out + at, n, mask, 0);
    }
    return at + n;
}

static inline void client_frame(
    struct client *c, enum frame_opcode op, const void *p, size_t n)
{
    uint8_t *frame = malloc(n + FRAME_HEADER_MAX);
    client_write(c, frame, make_frame(frame, op, true, p, n));
    free(frame);
}

static inline void client_text(struct client *c, const char *s)
{
    client_frame(c, FRAME_TEXT, s, strlen(s));
}

static inline void client_close_frame(
    struct client *c, unsigned code, const char *reason)
{
    uint8_t p[125] = {(uint8_t)(code >> 8), (uint8_t)code};
    memcpy(p + 2, reason, strlen(reason));
    client_frame(c, FRAME_CLOSE, p, 2 + strlen(reason));
}

struct seen {
    enum frame_opcode op;
    const uint8_t *p;
    size_t n;
};

/* The next whole frame that the peer has received. */
static inline bool client_next(struct client *c, struct seen *f)
{
    uint8_t *p = c->in + c->in_at;
    size_t n = c->in_len - c->in_at;
    if (n < 2) {
        return false;
    }
    size_t len = p[1] & 0x7f;
    assert_int_equal(p[1] & 0x80, 0);
    size_t header = len < 126 ? 2 : len == 126 ? 4 : 10;
    if (n < header || n < frame_bytes(p)) {
        return false;
    }
    assert_int_equal(p[0] & 0xf0, 0x80);
    *f = (struct seen){p[0] & 0x0f, p + header, frame_bytes(p) - header};
    c->in_at += frame_bytes(p);
    return true;
}

static inline void client_expect(
    struct client *c, enum frame_opcode op, const void *p, size_t n)
{
    struct seen f = {0};
    assert_true(client_next(c, &f));
    assert_int_equal(f.op, op);
    assert_int_equal(f.n, n);
    assert_memory_equal(f.p, p, n);
}

static inline void client_expect_close(
    struct client *c, unsigned code, const char *reason)
{
    uint8_t p[125] = {(uint8_t)(code >> 8), (uint8_t)code};
    memcpy(p + 2, reason, strlen(reason));
    client_expect(c, FRAME_CLOSE, p, 2 + strlen(reason));
}

static inline void client_expect_nothing(struct client *c)
{
    assert_int_equal(c->in_len, c->in_at);
}

#endif
