/* conn.h -- one connection's life.
 *
 * A conn never leaves its loop (I1) and its state only moves forward:
 *
 *   HTTP      reads request heads; answers; may go round (keep-alive)
 *   UPGRADING a WebSocket was asked for; the handler thinks; reading rests
 *   OPEN      messages both ways
 *   CLOSING   our Close is queued or sent, the peer's has not come; its
 *             messages are read over
 *   FLUSHING  both have closed, or the peer broke the rules: the rest of the
 *             outbox leaves, then FIN, then we read on until the peer's FIN
 *   DEAD      unlinked, memory goes at the end of the turn
 *
 * on_closed is called exactly once for each conn_upgrade(), when the conn
 * leaves OPEN: from then on its id finds nobody, while the conn itself
 * sees the close handshake through. There is one way out, conn_kill(); every
 * error of every system call ends there. */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "base/rate.h"
#include "net/net.h"
#include "net/outbox.h"
#include "proto/deflate.h"
#include "proto/http.h"

enum conn_state {
    CONN_HTTP,
    CONN_UPGRADING,
    CONN_OPEN,
    CONN_CLOSING,
    CONN_FLUSHING,
    CONN_DEAD
};

/* Per app (or per listener before routing); must outlive its conns. They are
 * told of a change by conn_settings_changed(). */
struct conn_settings {
    uint32_t message_bytes;
    uint16_t fragments; /* of a message; see proto/message.h */
    uint32_t ping_ms;
    uint32_t pong_ms;
    uint32_t close_ms;
    struct outbox_limits outbox;
    enum outbox_policy policy;
    /* What a client may send; per_s 0: anything. */
    struct rate rate_messages; /* frames of all kinds */
    struct rate rate_bytes;
};

/* Callbacks of an open WebSocket. None may free or kill the conn directly;
 * conn_close() and conn_fail() are fine from all but on_closed. */
struct conn_handler {
    /* Asked before each message is parsed: false pauses reading (I2), until
     * conn_resume(). */
    bool (*can_take)(void *user);
    /* Messages that were handed over have not had their turn: the peer's
     * Close, or its breach of a rule, then waits for conn_resume(), so that
     * what came before it is answered. NULL: never. */
    bool (*is_behind)(void *user);
    /* `data` is lent for the call. Text is valid UTF-8. */
    void (*on_message)(
        void *user, const uint8_t *data, size_t len, bool is_binary);
    /* The end, exactly once. `code` as a browser would see it: the peer's, or
     * ours if we began, 1005 if a Close had none, 1006 without any. */
    void (*on_closed)(
        void *user, uint16_t code, const char *reason, size_t reason_len);
    /* The outbox crossed its high mark (half a bound), or fell below its low
     * mark (an eighth) again. */
    void (*on_slow)(void *user);
    void (*on_drain)(void *user);
};

/* What answers requests: given to the listener (server/route). */
struct conn_router {
    /* A whole request head came. Must lead to exactly one of conn_upgrade(),
     * conn_reply() or conn_reply_body() -- now, or later by id: until then
     * reading rests -- or to conn_take_body(). `r` is lent for the call. */
    void (*on_request)(
        void *user, struct conn *c, const struct http_request *r);
    void *user;
    /* After conn_take_body(): the same request, and its body (lent, too). Must
     * lead to exactly one answer. NULL where nobody takes bodies. */
    void (*on_body)(void *user, struct conn *c, const struct http_request *r,
        const uint8_t *data, size_t len);
};

/* Takes over a connected non-blocking socket (the listener's inherited options
 * are set). NULL, fd closed, if it cannot be watched. */
struct conn *conn_new(struct net *n, int fd, const struct conn_router *router,
    const struct conn_settings *defaults) NODISCARD;

/* From on_request(), instead of an answer: the connection leaves this loop at
 * the coming flush, with its request and what was read behind it, and the
 * router of that loop is asked as if the request had come there. Once in a
 * connection's life (conn_has_moved()), and only where the net knows its peers
 * (net_meet()). If it dies before it arrives, nobody hears of it. */
void conn_move(struct conn *c, uint32_t loop);
bool conn_has_moved(const struct conn *c);

/* From on_request(): the parser that holds the request is the caller's now, to
 * be given to http_parser_free(), on whatever loop. */
struct http_parser *conn_take_request(struct conn *c) NODISCARD;

struct conn_id conn_get_id(const struct conn *c);
struct net *conn_net(const struct conn *c);
enum conn_state conn_get_state(const struct conn *c);
/* For who has kept a request waiting: has the peer gone meanwhile? One that has
 * ended its side only, and said something behind its request before that, has
 * not: it may be listening. One system call for all others. */
bool conn_has_left(struct conn *c);
/* Numeric address of the client, NUL-terminated: who a trusted proxy says is
 * behind it, else the peer. */
#define CONN_IP_BYTES 46
void conn_ip(const struct conn *c, char out[CONN_IP_BYTES]);

/* The `user` of an open WebSocket, as given to conn_upgrade(). */
void *conn_user(const struct conn *c);
/* Queues the 101 response (as handshake_response() wrote it) and opens the
 * WebSocket. Bytes that came with the handshake are read once control is
 * back in the conn, after this call. `settings` must outlive the conn. */
void conn_upgrade(struct conn *c, const char *response, size_t len,
    const struct conn_handler *handler, void *user,
    const struct conn_settings *settings);
/* permessage-deflate was agreed on with these (NULL: it was not); right after
 * conn_upgrade(). Without memory for it the connection ends at the flush. */
void conn_set_deflate(struct conn *c, const struct deflate_params *p);
/* What `settings` points to holds other values now: they count from the next
 * event on. */
void conn_settings_changed(struct conn *c);
/* Another handler and user from the next event on (a reload). */
void conn_set_handler(
    struct conn *c, const struct conn_handler *handler, void *user);

/* From on_request(), instead of an answer: reads the body, then calls
 * on_body(); or refuses it (413, 417, 503), which is the answer. */
void conn_take_body(
    struct conn *c, const struct http_request *r, uint32_t max_bytes);

/* A queued part of an HTTP body that is made as the socket drains. */
struct conn_body {
    /* Fills p[0..n); bytes made, 0 at the end, or an error: the connection
     * is then cut. */
    ssize_t (*read)(struct conn_body *b, uint8_t *p, size_t n);
    void (*close)(struct conn_body *b); /* exactly once */
};
/* Queues a complete response (head and small body). `keep_alive` as the
 * response's Connection header says; else FIN follows. */
void conn_reply(
    struct conn *c, const void *response, size_t len, bool keep_alive);
/* The same with a body to follow; takes `body`. */
void conn_reply_body(struct conn *c, const void *head, size_t len,
    struct conn_body *body, bool keep_alive);

/* Begins the close handshake: on_closed(code, reason) is called now, a Close
 * frame goes out behind what is queued. `code` must be valid on the wire or
 * 1005 (a Close without a body); reason <= LIMIT_CLOSE_REASON bytes of UTF-8.
 * Does nothing unless OPEN. */
void conn_close(struct conn *c, uint16_t code, const char *reason, size_t len);
/* Ends a peer that broke a rule or lags: as conn_close(), but input is read
 * over from now on. `drop_queue`: data not begun is dropped first, so that
 * the Close reaches a reader that lags. */
void conn_fail(
    struct conn *c, uint16_t code, const char *reason, bool drop_queue);
/* The end without ceremony (errors, shutdown): on_closed(1006) if it is still
 * due, FIN or RST, memory at the end of the turn. */
void conn_kill(struct conn *c, bool reset);

/* Reading goes on after can_take() said no, or is_behind() yes. */
void conn_resume(struct conn *c);

struct conn_queue {
    uint32_t messages;
    uint64_t bytes;
    uint64_t dropped; /* since the conn opened */
};
void conn_queue(const struct conn *c, struct conn_queue *out);

#endif
