/* peers.h -- a loop, a hub and real connections over socket pairs. What a
 * peer has been sent is read back as words: the payloads of its frames.
 *
 * More loops can stand beside it: worlds without a hub, whose peers are members
 * of the hub at home. One thread turns them all. */
#ifndef TESTS_HUB_PEERS_H
#define TESTS_HUB_PEERS_H

#include "base/limits.h"
#include "base/mem.h"
#include "hub/hub_priv.h"
#include "loop/mailbox.h"
#include "net/conn.h"
#include "support/walks.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    struct member m;
    struct world *world;
    struct conn *conn; /* NULL: not open (any more) */
    int fd;            /* the far end; -1: none */
    uint16_t code;     /* of its close */
    bool has_head;     /* the 101 has been read */
    size_t got_len;    /* bytes read that make no whole frame yet */
    uint8_t got[1 << 16];
    char words[1 << 16];
};

struct world {
    struct world *home; /* itself, or the one with the hub */
    struct loop *loop;
    struct net *net;
    struct meter *meter;
    struct hub *hub;
    struct conn_settings settings;
    struct conn_router router;
    struct peer *arriving;
    uint64_t next_id;
};

static const char peer_request[] =
    "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
static const char peer_response[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static bool peer_can_take(void *user)
{
    (void)user;
    return true;
}

static void peer_on_message(
    void *user, const uint8_t *data, size_t len, bool is_binary)
{
    (void)user;
    (void)data;
    (void)len;
    (void)is_binary;
}

static void peer_on_closed(
    void *user, uint16_t code, const char *reason, size_t reason_len)
{
    struct peer *p = user;
    (void)reason;
    (void)reason_len;
    p->code = code;
    p->conn = NULL;
    hub_leave(&p->m);
}

static void peer_on_level(void *user)
{
    (void)user;
}

static const struct conn_handler peer_handler = {
    .can_take = peer_can_take,
    .on_message = peer_on_message,
    .on_closed = peer_on_closed,
    .on_slow = peer_on_level,
    .on_drain = peer_on_level,
};

static void world_on_request(
    void *user, struct conn *c, const struct http_request *r)
{
    struct world *w = user;
    (void)r;
    w->arriving->conn = c;
    conn_upgrade(c, peer_response, sizeof(peer_response) - 1, &peer_handler,
        w->arriving, &w->settings);
}

/* A loop of its own for members of the hub at `home`. */
static void world_open_at(
    struct world *w, struct world *home, uint32_t index, uint32_t outbox_bytes)
{
    memset(w, 0, sizeof(*w));
    w->home = home;
    w->loop = loop_new(index);
    w->net = net_new(w->loop);
    w->settings = (struct conn_settings){
        .message_bytes = 1 << 16,
        .fragments = LIMIT_DEFAULT_FRAGMENTS,
        .ping_ms = 100000,
        .pong_ms = 100000,
        .close_ms = 100000,
        .outbox = {outbox_bytes, 100000, 100000},
        .policy = OUTBOX_CLOSE,
    };
    w->router = (struct conn_router){.on_request = world_on_request, .user = w};
}

/* `meter_cap`: of all outboxes together; `outbox_bytes`: of each. */
static void world_open(struct world *w, size_t meter_cap, uint32_t outbox_bytes)
{
    world_open_at(w, w, 0, outbox_bytes);
    w->meter = meter_new(meter_cap);
    struct hub_config config = {
        .net = w->net,
        .meter = w->meter,
        .policy = OUTBOX_CLOSE,
        .rooms_max = 1000,
        .rooms_per_client = 100,
    };
    w->hub = hub_new(&config);
}

/* From now on the socket to this peer takes as little as the system allows. */
static void peer_narrow(struct peer *p, int near)
{
    int least = 1;
    assert_int_equal(
        setsockopt(near, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
    assert_int_equal(
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
}

/* A client connects and enters the hub; its id is its turn, from 1 on. */
static void peer_open(struct world *w, struct peer *p, const char *user)
{
    int fds[2];
    memset(p, 0, sizeof(*p));
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    p->world = w;
    p->fd = fds[1];
    w->arriving = p;
    peer_narrow(p, fds[0]);
    ssize_t n = write(p->fd, peer_request, sizeof(peer_request) - 1);
    assert_int_equal(n, sizeof(peer_request) - 1);
    struct conn *c = conn_new(w->net, fds[0], &w->router, &w->settings);
    assert_non_null(c);
    for (int i = 0; i < 1000 && p->conn == NULL; i++) {
        loop_turn(w->loop, 0);
    }
    assert_ptr_equal(p->conn, c);
    size_t user_len = user == NULL ? 0 : strlen(user);
    struct world *home = w->home;
    assert_int_equal(hub_enter(home->hub, &p->m, ++home->next_id,
                         conn_get_id(c), user, user_len),
        0);
}

static void peer_shut(struct peer *p)
{
    if (p->conn != NULL) {
        conn_kill(p->conn, true);
    }
    if (p->fd >= 0) {
        close(p->fd);
    }
    p->fd = -1;
}

static void world_close(struct world *w, struct peer *peers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (peers[i].world == w) {
            peer_shut(&peers[i]);
        }
    }
    for (int i = 0; i < 100 && w->net->conn_count > 0; i++) {
        loop_turn(w->loop, 0);
    }
    assert_int_equal(w->net->conn_count, 0);
    if (w->home == w) {
        hub_free(w->hub);
    }
    net_free(w->net);
    loop_free(w->loop);
    if (w->home == w) {
        assert_int_equal(meter_used(w->meter), 0);
        meter_unref(w->meter);
    }
}

static void peer_drop(struct peer *p, size_t n)
{
    memmove(p->got, p->got + n, p->got_len - n);
    p->got_len -= n;
}

/* Eats whole frames from the front of p->got. */
static void peer_eat(struct peer *p)
{
    size_t at = 0;
    size_t used = strlen(p->words);
    while (p->got_len - at >= 2) {
        const uint8_t *f = p->got + at;
        size_t len = f[1] & 0x7f;
        size_t head = 2;
        if (len == 126) {
            if (p->got_len - at < 4) {
                break;
            }
            len = (size_t)f[2] << 8 | f[3];
            head = 4;
        }
        assert_true(len < 127 || head == 4);
        if (p->got_len - at < head + len) {
            break;
        }
        if ((f[0] & 0x0f) <= FRAME_BINARY) {
            assert_true(used + len + 2 < sizeof(p->words));
            if (used > 0) {
                p->words[used++] = ' ';
            }
            memcpy(p->words + used, f + head, len);
            used += len;
            p->words[used] = '\0';
        }
        at += head + len;
    }
    peer_drop(p, at);
}

static bool peer_read(struct peer *p)
{
    ssize_t n =
        read(p->fd, p->got + p->got_len, sizeof(p->got) - 1 - p->got_len);
    if (n <= 0) {
        return false;
    }
    p->got_len += (size_t)n;
    p->got[p->got_len] = '\0';
    if (!p->has_head) {
        char *end = strstr((char *)p->got, "\r\n\r\n");
        if (end == NULL) {
            return true;
        }
        p->has_head = true;
        peer_drop(p, (size_t)(end + 4 - (char *)p->got));
    }
    peer_eat(p);
    return true;
}

/* Does anything wait to be sent to this peer? */
static bool peer_is_owed(const struct peer *p)
{
    const struct lane *l = &p->world->net->lanes[p->m.conn.slot];
    return l->blob != NULL || (l->flags & LANE_SLOW) != 0 ||
           !mailbox_is_quiet(p->world->loop);
}

/* One turn of the loop, and all that it brought. */
static void peer_turn(struct peer *p)
{
    loop_turn(p->world->loop, 0);
    while (peer_read(p)) {
    }
}

/* The words that have come since the last call; all that is due comes first. */
static const char *peer_take(struct peer *p)
{
    p->words[0] = '\0';
    if (p->world->home != p->world) {
        loop_turn(p->world->home->loop, 0); /* its letters leave */
    }
    peer_turn(p);
    for (int i = 0; i < 10000 && peer_is_owed(p); i++) {
        peer_turn(p);
    }
    return p->words;
}

#endif
