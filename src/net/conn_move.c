/* conn_move.c -- a connection goes to another loop, once in its life.
 *
 * The one moment for it is when a request is complete and routed and nobody has
 * been asked yet: then there is no client, no handler, nothing on the way out,
 * and no timer that means anything. The router says conn_move(); the parser
 * with the request and the bytes behind it stay with the connection until the
 * flush of this turn, so that whatever happens to it meanwhile happens as to
 * any other. Then it is taken apart: descriptor, transport, request and bytes
 * travel in a letter, and what is left here dies without a word. Over there a
 * fresh connection is made of them, and the router asked again.
 *
 * A conn_id is never carried over: whoever gets one gets the new one. Between
 * the two loops the connection is the letter's alone; mailboxes are emptied
 * before loops go, so it always arrives, if only to be closed.
 *
 * Bounds (I2): a connection moves once, and its descriptor was bounded before.
 * Laws: I1. */
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "net/conn_priv.h"
#include "net/tls.h"

struct move {
    struct letter letter;
    struct net *to;
    const struct transport *transport;
    void *transport_state;
    struct http_parser *parser;
    struct conn_rest *rest;   /* NULL: nothing was read behind the request */
    struct conn_extra *extra; /* NULL: nothing */
    int fd;
    uint16_t flags;
};

bool conn_has_moved(const struct conn *c)
{
    return (c->flags & CONN_MOVED) != 0;
}

void conn_move(struct conn *c, uint32_t loop)
{
    CHECK(c, CONN_MAGIC);
    ASSERT((c->flags & CONN_IN_CALL) && (c->flags & CONN_THINKING) &&
               c->state == CONN_HTTP && !conn_has_moved(c),
        "I1: a connection moves once, before anybody knows it");
    ASSERT(loop < c->net->peer_count, "I1: the loop is there");
    c->p.http.next_loop = loop;
    conn_doom(c, CONN_DOOM_MOVE);
}

/* Made as any other, but for what came along. */
static void arrive(struct letter *l, struct loop *here)
{
    struct move *m = container_of(l, struct move, letter);
    struct net *n = m->to;
    ASSERT(n->loop == here, "I1");
    if (m->transport == &transport_tls) {
        tls_enter(m->transport_state, n->tls);
    }
    struct conn *c = conn_make(
        n, m->fd, n->router, n->defaults, m->transport, m->transport_state);
    if (c == NULL) { /* it has closed the descriptor */
        tally_leave(
            n->guard->tally, m->extra != NULL ? m->extra->counted : NULL);
        if (m->extra != NULL) {
            m->extra->counted = NULL;
        }
        conn_extra_free(m->extra);
        http_parser_free(m->parser);
        quota_free(m->rest);
        quota_free(m);
        return;
    }
    conn_peer_leave(c);
    conn_extra_free(c->extra);
    c->extra = m->extra;
    c->flags = m->flags | CONN_MOVED;
    c->u.live.rest = m->rest;
    c->p.http.parser = m->parser;
    quota_free(m);
    conn_http_answer(c);
    if (c->state != CONN_DEAD) {
        /* What lies in the rest, or inside the transport, is no news to the
         * poll. */
        c->flags |= CONN_RESUMING;
        conn_add_todo(c);
    }
}

void conn_depart(struct conn *c)
{
    struct net *n = c->net;
    struct net *to = n->peers[c->p.http.next_loop];
    ASSERT(c->outbox == NULL && conn_lane(c)->blob == NULL,
        "I1: nothing is on its way out");
    struct move *m = quota_alloc(sizeof(*m));
    if (m == NULL) {
        conn_kill(c, false);
        return;
    }
    *m = (struct move){
        .to = to,
        .transport = c->transport,
        .transport_state = c->transport_state,
        .parser = c->p.http.parser,
        .rest = c->u.live.rest,
        .extra = c->extra,
        .fd = conn_lane(c)->fd,
        .flags = c->flags & (CONN_AGAIN | CONN_HEAD_BEGUN),
    };
    c->p.http.parser = NULL;
    c->u.live.rest = NULL;
    c->extra = NULL;
    if (c->transport == &transport_tls) {
        tls_leave(c->transport_state);
    }
    conn_unlink(c);
    metric_add(n->metrics, METRIC_MOVED, 1);
    mailbox_post(n->loop, to->loop, &m->letter, arrive);
}
