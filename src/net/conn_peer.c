/* conn_peer.c -- who is at the other end.
 *
 * Most often it is the socket's peer, and nothing is kept. A peer that the
 * operator trusts (guard.proxies) may speak for somebody else, in two ways: by
 * a PROXY header in front of everything, for the whole connection; and by
 * X-Forwarded-For, for a request (and so for the WebSocket that comes of it).
 * Nobody else is believed: their headers are just headers, and a PROXY header
 * of theirs is no HTTP.
 *
 * Who is known is counted, where there is a limit for addresses: the listener
 * looks at the limit before there is a connection, here those are looked at
 * who come through a proxy. They are answered with 429.
 *
 * Laws: I2, I6. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn_priv.h"
#include "net/reply.h"
#include "proto/forwarded.h"
#include <sys/socket.h>

struct conn_extra *conn_extra_get(struct conn *c)
{
    if (c->extra == NULL) {
        c->extra = quota_alloc(sizeof(*c->extra));
        if (c->extra != NULL) {
            *c->extra = (struct conn_extra){.dropped = 0};
        }
    }
    return c->extra;
}

void conn_extra_free(struct conn_extra *e)
{
    if (e != NULL) {
        ASSERT(e->counted == NULL && e->incoming == NULL, "I2: given back");
        quota_free(e->proxy);
        quota_free(e);
    }
}

static void socket_ip(int fd, struct ip *out)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof(ss);
    *out = (struct ip){{0}};
    if (getpeername(fd, (struct sockaddr *)&ss, &n) == 0) {
        ip_from_socket(out, &ss);
    }
}

static const struct ip *peer_ip(const struct conn *c, struct ip *room)
{
    const struct conn_extra *e = c->extra;
    if (e != NULL && !ip_is_none(&e->said_ip)) {
        return &e->said_ip;
    }
    if (e != NULL && !ip_is_none(&e->ip)) {
        return &e->ip;
    }
    *room = (struct ip){{0}};
    if (c->state != CONN_DEAD) {
        socket_ip(conn_lane(c)->fd, room);
    }
    return room;
}

void conn_ip(const struct conn *c, char out[CONN_IP_BYTES])
{
    struct ip room;
    ip_write(peer_ip(c, &room), out);
}

/* Not more often than once: a connection is one, whatever it asks for. */
static int count_peer(struct conn *c, const struct ip *ip)
{
    struct tally *t = c->net->guard->tally;
    if (t == NULL || ip_is_none(ip)) {
        return 0;
    }
    if (conn_extra_get(c) == NULL) {
        return ERR_NOMEM;
    }
    if (c->extra->counted == NULL) {
        struct ip owner = ip_owner(ip);
        c->extra->counted = tally_enter(t, owner.b);
    }
    return 0;
}

int conn_peer_init(struct conn *c, int fd)
{
    const struct guard *g = c->net->guard;
    if (g->tally == NULL && g->proxy_count == 0) {
        return 0;
    }
    struct ip ip;
    socket_ip(fd, &ip);
    if (!guard_trusts(g, &ip)) {
        return count_peer(c, &ip);
    }
    struct conn_extra *e = conn_extra_get(c);
    if (e == NULL) {
        return ERR_NOMEM;
    }
    e->is_trusted = true;
    if (g->proxy_protocol) {
        e->proxy = quota_alloc(sizeof(*e->proxy));
        if (e->proxy == NULL) {
            return ERR_NOMEM;
        }
        *e->proxy = (struct proxy_reader){.len = 0};
    }
    return 0;
}

void conn_peer_leave(struct conn *c)
{
    if (c->extra != NULL) {
        tally_leave(c->net->guard->tally, c->extra->counted);
        c->extra->counted = NULL;
    }
}

/* Somebody behind a proxy: may there be another connection of theirs? `how`
 * they hear of it if not. */
static bool admit(struct conn *c, const struct ip *ip, const char *how)
{
    char why[GUARD_WHY_BYTES];
    if (c->extra->counted != NULL ||
        guard_admits(c->net->guard, ip, loop_now_ms(c->net->loop), why)) {
        return true;
    }
    metric_add(c->net->metrics, METRIC_TURNED_AWAY, 1);
    char text[CONN_IP_BYTES];
    ip_write(ip, text);
    log_event(LOG_INFO, NULL, "connection of %s %s: %s", text, how, why);
    return false;
}

/* What stands in front of TLS is not answered: nobody there speaks HTTP yet. */
static bool is_in_front_of_tls(const struct conn *c)
{
    return c->transport != &transport_tcp;
}

static void refuse_header(struct conn *c, const char *detail)
{
    if (!is_in_front_of_tls(c)) {
        conn_http_refuse(c, 400, detail);
        return;
    }
    char ip[CONN_IP_BYTES];
    conn_ip(c, ip);
    log_event(LOG_INFO, NULL, "connection of %s cut off: %s", ip, detail);
    conn_kill(c, false);
}

/* False: it is refused. */
static bool welcome(struct conn *c, const struct ip *ip)
{
    bool is_mute = is_in_front_of_tls(c);
    if (!admit(c, ip, is_mute ? "turned away" : "answered with 429")) {
        if (is_mute) {
            conn_kill(c, false);
            return false;
        }
        c->flags |= CONN_THINKING;
        reply_text(c, 429, "too many connections of your address",
            "Retry-After: 10\r\n", false, false);
        return false;
    }
    if (count_peer(c, ip) != 0) {
        conn_doom(c, CONN_DOOM_ERROR);
    }
    return true;
}

bool conn_peer_feed(struct conn *c, uint8_t **p, size_t *n)
{
    struct conn_extra *e = c->extra;
    struct ip ip;
    size_t used = 0;
    const char *detail = NULL;
    enum proxy_result rc = proxy_read(e->proxy, *p, *n, &used, &ip, &detail);
    *p += used;
    *n -= used;
    if (rc == PROXY_BAD) {
        refuse_header(c, detail);
    }
    if (rc != PROXY_DONE) {
        return false;
    }
    quota_free(e->proxy);
    e->proxy = NULL;
    if (ip_is_none(&ip)) {
        return true;
    }
    e->ip = ip;
    e->is_trusted = guard_trusts(c->net->guard, &ip);
    return e->is_trusted || welcome(c, &ip);
}

bool conn_peer_learn(struct conn *c, struct http_parser *parser)
{
    const struct http_request *r = http_parser_request(parser);
    struct conn_extra *e = c->extra;
    if (e == NULL || !e->is_trusted) {
        return true;
    }
    const struct guard *g = c->net->guard;
    struct ip ip = {{0}};
    e->said_ip = ip;
    const char *host = forwarded_host(r);
    if (host != NULL) {
        http_parser_set_host(parser, host);
    }
    if (!forwarded_for(r, g->proxies, g->proxy_count, &ip)) {
        return true;
    }
    e->said_ip = ip;
    /* The proxy may use a connection for many people's requests; one that
     * becomes a WebSocket is somebody's own. */
    if (!r->upgrade || guard_trusts(g, &ip)) {
        return true;
    }
    bool is_head = http_parser_is_head(parser);
    if (!admit(c, &ip, "answered with 429")) {
        reply_text(c, 429, "too many connections of your address",
            "Retry-After: 10\r\n", is_head, false);
        return false;
    }
    if (count_peer(c, &ip) != 0) {
        reply_text(
            c, 503, "no memory for another client", NULL, is_head, false);
        return false;
    }
    return true;
}
