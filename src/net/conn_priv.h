/* conn_priv.h -- struct conn, and what the files of a connection's life ask
 * of each other:
 *
 *   conn.c        birth, states, close handshake, death
 *   conn_read.c   bytes in: an open WebSocket's messages; pausing
 *   conn_http.c   bytes in and out before that: requests and their answers
 *   conn_push.c   bytes out, first half: lane, outbox, policies
 *   conn_pack.c   compression
 *   conn_write.c  bytes out, second half: the socket
 *   conn_clock.c  the one timer
 *   conn_move.c   from one loop to another, once
 *   conn_peer.c   who is at the other end, behind proxies too; its count
 *   conn_flood.c  rates: pausing, and the end of who keeps exceeding them
 *   conn_body.c   bytes in: the body of a request
 *
 * A server has as many of these as it has clients, most of them idle, so
 * every field has to earn its place: 184 bytes and the lane. */
#ifndef NET_CONN_PRIV_H
#define NET_CONN_PRIV_H

#include "loop/io.h"
#include "loop/timers.h"
#include "net/conn.h"
#include "net/guard.h"
#include "net/transport.h"
#include "proto/message.h"
#include "proto/proxy.h"

#define CONN_MAGIC 0x434f4e4eu

enum conn_flags {
    CONN_IS_WS = 1,          /* upgraded: the union holds `ws` */
    CONN_PAUSED = 2,         /* can_take() said no, or is_behind() yes */
    CONN_THINKING = 4,       /* a request waits for its answer */
    CONN_REPLYING = 8,       /* the answer is on its way out */
    CONN_KEEP_ALIVE = 16,    /* another request may follow it */
    CONN_HEAD_BEGUN = 32,    /* bytes of a request have come */
    CONN_HAS_BODY = 64,      /* of the request: what follows is no head */
    CONN_IN_CALL = 128,      /* on_request() runs: control comes back */
    CONN_RESUMING = 256,     /* in net->todo, to read on */
    CONN_PINGED = 512,       /* at heard_ms, and nothing heard since */
    CONN_TOLD_SLOW = 1024,   /* on_slow() was called, on_drain() is due */
    CONN_OVER_CLOSES = 2048, /* policy of the push that went over the soft
                                bound */
    CONN_FIN_SENT = 4096,
    CONN_FIN_SEEN = 8192,
    CONN_AGAIN = 16384, /* not the first request */
    CONN_MOVED = 32768  /* came from another loop, and stays here */
};

/* Why the connection ends here at the next flush: net_send() is not the place
 * to call anybody back. */
enum conn_doom {
    CONN_DOOM_NONE,
    CONN_DOOM_MOVE, /* another loop will have it */
    CONN_DOOM_SLOW,
    CONN_DOOM_APP,  /* the app's outboxes have no room for us */
    CONN_DOOM_ERROR /* the socket is dead, or memory is out */
};

/* What was read and has to wait: bytes that could not be parsed yet, or the
 * end of the conversation, behind which nothing is of interest. */
struct conn_rest {
    uint32_t off;
    uint32_t len;
    bool is_end;         /* `bytes` is the reason of the peer's Close */
    bool is_fin;         /* there was no Close before the end */
    uint16_t close_code; /* of the peer's Close */
    int rc;              /* != 0: a rule was broken instead */
    const char *detail;  /* static */
    uint8_t bytes[];
};

/* What few connections need: those that come through a proxy, are counted or
 * held to a rate, bring a body, or have lost a frame. */
struct conn_extra {
    uint64_t dropped;  /* frames of ours */
    struct ip ip;      /* who is behind the proxy; none: who is at the socket */
    struct ip said_ip; /* who that says is behind it, in the last request */
    bool is_trusted;   /* `ip` is a proxy of ours */
    struct tally_entry *counted;    /* NULL: not counted */
    struct proxy_reader *proxy;     /* its header is not complete; else NULL */
    struct conn_incoming *incoming; /* a body under way; else NULL */
    /* Rates: buckets of messages and bytes, the time reading goes on, and
     * since when they have been exceeded without a break. 0: not so. */
    uint64_t messages_ns;
    uint64_t bytes_ns;
    uint64_t resume_at_ms;
    uint64_t over_since_ms;
};

struct conn {
    uint32_t magic;
    uint32_t slot;
    uint32_t generation;
    uint32_t heard_ms; /* last input; last output of an HTTP reply; last ping */
    uint32_t over_ms;  /* over the soft bound since; 0: it is not */
    uint16_t flags;    /* enum conn_flags */
    uint8_t state;     /* enum conn_state */
    uint8_t doom;      /* enum conn_doom */
    struct conn_extra *extra; /* NULL for most */
    struct net *net;
    const struct transport *transport;
    void *transport_state;
    const struct conn_settings *settings;
    struct outbox *outbox; /* NULL unless LANE_SLOW */
    struct io_watch watch;
    struct timer timer;
    union {
        struct {
            struct list todo; /* in net->todo, or in none */
            struct conn_rest *rest;
        } live;
        struct loop_deferred dead;
    } u;
    union {
        struct {
            const struct conn_router *router;
            struct http_parser *parser; /* NULL: no head has begun */
            struct conn_body *body;     /* NULL: none, or all of it made */
            uint32_t next_loop;         /* CONN_DOOM_MOVE: where to */
        } http;
        struct {
            const struct conn_handler *handler; /* NULL: on_closed was called */
            void *user;
            struct message_reader reader;
        } ws;
    } p;
};

static inline struct lane *conn_lane(const struct conn *c)
{
    return &c->net->lanes[c->slot];
}

/* Milliseconds that are only ever subtracted: wrapping is fine. */
static inline uint32_t conn_now_ms(const struct conn *c)
{
    return (uint32_t)loop_now_ms(c->net->loop);
}

/* Do we want to read? Not while somebody thinks about what came before. */
static inline bool conn_is_reading(const struct conn *c)
{
    return !(c->flags &
               (CONN_PAUSED | CONN_THINKING | CONN_REPLYING | CONN_FIN_SEEN)) &&
           c->u.live.rest == NULL;
}

static inline bool conn_awaits_write(const struct conn *c)
{
    return (c->watch.events & IO_WRITE) != 0;
}

/* conn.c */
/* conn_new() over a transport that there is already; takes `state`. */
struct conn *conn_make(struct net *n, int fd, const struct conn_router *router,
    const struct conn_settings *defaults, const struct transport *transport,
    void *state) NODISCARD;
void conn_watch(struct conn *c, unsigned events);
void conn_set_state(struct conn *c, enum conn_state next);
/* Puts the conn on the list that the next flush begins with. */
void conn_add_todo(struct conn *c);
void conn_do_todo(struct conn *c);
void conn_doom(struct conn *c, enum conn_doom why);
/* Leaves all other states behind: nothing is parsed any more. */
void conn_begin_flushing(struct conn *c);
/* The peer's Close came. */
void conn_on_peer_close(struct conn *c, const struct message *m);
/* The stream has ended; no Close of the peer's will come. */
void conn_on_peer_fin(struct conn *c);
/* Ends a client that lags: one line, one count, 1013. */
void conn_end_slow(struct conn *c);
/* Everything has left and we are FLUSHING. */
void conn_finish(struct conn *c);

/* conn_read.c */
/* The stream has an end: is there anything before it? That is kept for its
 * turn. */
bool conn_read_ahead(struct conn *c);
void conn_on_ready(struct io_watch *w, unsigned events);
/* Parses what rests, then reads on. */
void conn_read_on(struct conn *c);

/* conn_http.c */
/* Eats request bytes; true: go on in the state we are in now. */
bool conn_http_feed(struct conn *c, uint8_t **p, size_t *n);
/* Answers a request that never reaches the router. */
void conn_http_refuse(struct conn *c, int status, const char *detail);
/* p.http.parser holds a whole head: the router is asked. */
void conn_http_answer(struct conn *c);
/* The same, when the body has come, too. */
void conn_http_answer_body(struct conn *c, const uint8_t *data, size_t len);
/* The reply made so far has left. */
void conn_http_left(struct conn *c);
void conn_http_fini(struct conn *c);

/* conn_push.c */
/* From now on output goes to the outbox; what the lane holds moves there.
 * 0 or ERR_NOMEM (nothing changed). */
int conn_spill(struct conn *c) NODISCARD;
/* Keeps the books of the soft bound after the queue has changed. */
void conn_note_soft_bound(struct conn *c);
/* Over it for longer than allowed. */
bool conn_is_over_soft(const struct conn *c);
/* Queues bytes that are no data frames (frames == 0). 0 or ERR_NOMEM. */
int conn_push_raw(struct conn *c, const struct range *r) NODISCARD;
int conn_push_bytes(struct conn *c, const void *p, size_t n) NODISCARD;
void conn_push_control(
    struct conn *c, enum frame_opcode op, const uint8_t *p, size_t n);
int conn_push_close(
    struct conn *c, uint16_t code, const char *reason, size_t len) NODISCARD;
/* Drops the data that has not begun to leave. */
void conn_drop_queue(struct conn *c);
/* net_send_slow(), once the connection is known. */
int conn_send_data(struct conn *c, const struct range *r,
    enum outbox_policy policy, const char *key, size_t key_len) NODISCARD;

/* conn_pack.c */
struct parcel;
/* Sends to a connection that has a context of its own; as parcel_send(). */
int conn_send_packed(struct conn *c, struct parcel *p,
    enum outbox_policy policy, const char *key, size_t key_len) NODISCARD;
/* Where the connection's inflaters come from; NULL: nothing was agreed on. */
struct inflate_source *conn_inflate(const struct conn *c);
/* A frame of ours was dropped: the next message begins a context anew. */
void conn_pack_cut(struct conn *c);
/* The next message refers to none before it. */
void conn_pack_forget(struct conn *c);
/* Gives back what compression holds. */
void conn_unpack(struct conn *c);

/* conn_write.c */
enum conn_progress {
    CONN_WRITE_ALL,    /* nothing is left */
    CONN_WRITE_MORE,   /* the socket took all that was offered: go on later */
    CONN_WRITE_BLOCKED /* the socket is full */
};
/* Writes as much as the socket takes, within reason; calls nobody back. An
 * enum conn_progress, or an error: the connection is at its end. */
int conn_write_now(struct conn *c) NODISCARD;
/* The same with one system call, and of an outbox about `most` bytes. */
int conn_write_some(struct conn *c, size_t most) NODISCARD;
/* The flush has come to us, and the fast path was not for us. */
void conn_flush(struct conn *c);
/* The fast path sent `sent` bytes of the lane (or failed with an error). */
void conn_flush_partial(struct conn *c, ssize_t sent);
void conn_on_writable(struct conn *c);

/* conn_clock.c */
void conn_on_timer(struct timer *t);
void conn_start_timer(struct conn *c, uint32_t ms);
/* Fires in `ms` at the latest. */
void conn_hurry_timer(struct conn *c, uint32_t ms);
/* Is a part of something that has come too little in this time? `bytes` have
 * come of it; `mark` is kept for it alone. Fires the timer again if not. */
bool conn_is_too_slow(
    struct conn *c, struct message_mark *mark, uint64_t bytes);

/* A message or frame has begun and is not complete. */
void conn_note_partial(struct conn *c);

/* conn_peer.c */
/* The one there is, or a new one; NULL: no memory. */
struct conn_extra *conn_extra_get(struct conn *c);
/* At birth, by its descriptor. ERR_NOMEM: it cannot be kept. */
int conn_peer_init(struct conn *c, int fd) NODISCARD;
/* It is not counted any more. */
void conn_peer_leave(struct conn *c);
/* Memory of all that is extra. */
void conn_extra_free(struct conn_extra *e);
/* Reads a PROXY header, if there has to be one. True: go on behind it. */
bool conn_peer_feed(struct conn *c, uint8_t **p, size_t *n);
/* A request has come: who is it from, and for which host? False: it has been
 * refused. */
bool conn_peer_learn(struct conn *c, struct http_parser *parser);

/* conn_flood.c */
/* The connection is open, or its settings have changed. */
void conn_flood_init(struct conn *c);
/* May another message be parsed? False: paused, or ended. */
bool conn_flood_admits(struct conn *c);
/* So much was parsed. */
void conn_flood_count(struct conn *c, uint32_t frames, uint64_t bytes);
/* From the timer: resumes what is due; ms to what is not, or UINT32_MAX. */
uint32_t conn_flood_tick(struct conn *c);

/* conn_body.c */
static inline bool conn_has_incoming(const struct conn *c)
{
    return c->extra != NULL && c->extra->incoming != NULL;
}
/* Eats bytes of a body; true: go on behind it. */
bool conn_body_feed(struct conn *c, uint8_t **p, size_t *n);
void conn_body_free(struct conn *c);
/* False: it was too slow, and has been refused. */
bool conn_body_tick(struct conn *c);

/* conn_move.c */
/* The turn's end of conn_move(). */
void conn_depart(struct conn *c);

/* conn.c */
/* Takes it out of everything but memory, which goes at the end of the turn.
 * The descriptor stays open. */
void conn_unlink(struct conn *c);

/* net.c */
void net_add_conn(struct net *n, struct conn *c, int fd);
void net_remove_conn(struct net *n, struct conn *c);

#endif
