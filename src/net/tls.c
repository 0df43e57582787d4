/* tls.c -- the calls of net/transport.h over mbedtls.
 *
 * The library does no I/O of its own: a read takes what the socket has, once,
 * into a buffer of the loop, and the library eats all of it, so no ciphertext
 * is ever left with us; a write lets it make records into another buffer of
 * the loop, which leave in one send. What the socket does not take of them is
 * kept with the connection and is on its way as far as anybody above is
 * concerned; flush() sends it on.
 *
 * Handshakes are what a client can make us do that costs milliseconds. They
 * run inside read(), and only while the turn has time for them; the bytes stay
 * in the socket, and the next turn goes on.
 *
 * A peer's close_notify is the end of what it says. In TLS 1.3 that is all it
 * is (RFC 8446 6.1), as with a FIN. Before, it is the end of the connection:
 * ours goes out at once, and what would have followed is discarded (RFC 5246
 * 7.2.1).
 *
 * Laws: I1, I2 (a peer that does not read cannot pile up answers), I6, I9. */
#include "net/tls.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/tls_priv.h"
#include <errno.h>
#include <mbedtls/error.h>
#include <string.h>

#define NS_PER_MS 1000000u

/* An end that is told at the next read. */
enum { END_NONE = 1 };

struct tls_conn {
    mbedtls_ssl_context ssl;
    struct tls_stowed stowed;
    uint32_t asked;   /* which name; see tls_tickets.c */
    struct tls *tls;  /* ref */
    uint8_t *pending; /* ciphertext that the socket did not take */
    uint32_t pending_at;
    uint32_t pending_len;
    int end;          /* END_NONE, 0: the stream is over, or an error */
    bool is_open;     /* the handshake is done */
    bool is_notified; /* our half is closed */
    bool is_over;     /* by the peer, for both */
};

/* ---- what the library calls ---- */

static int on_recv(void *arg, unsigned char *p, size_t n)
{
    struct tls *t = ((struct tls_conn *)arg)->tls;
    if (t->in_len == 0) {
        return t->in_is_end ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
    }
    size_t k = n < t->in_len ? n : t->in_len;
    memcpy(p, t->in, k);
    t->in += k;
    t->in_len -= k;
    return (int)k;
}

static int on_send(void *arg, const unsigned char *p, size_t n)
{
    struct tls *t = ((struct tls_conn *)arg)->tls;
    size_t room = sizeof(t->out) - t->out_len;
    if (room == 0) {
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR; /* no flight is that long */
    }
    size_t k = n < room ? n : room;
    memcpy(t->out + t->out_len, p, k);
    t->out_len += k;
    return (int)k;
}

/* Before the library is called: it has its buffers, and what it calls knows
 * whose names are meant. 0 or ERR_NOMEM. */
static int enter(struct tls_conn *c)
{
    c->tls->ssl = &c->ssl;
    c->tls->asked = &c->asked;
    return tls_unstow(c->tls, &c->ssl, &c->stowed);
}

/* ---- ciphertext out ---- */

static int keep(struct tls_conn *c, const uint8_t *p, size_t n)
{
    size_t had = c->pending_len;
    if (had + n > TLS_PENDING_BYTES) {
        return -ENOBUFS;
    }
    uint8_t *all = quota_alloc(had + n);
    if (all == NULL) {
        return -ENOMEM;
    }
    if (had > 0) {
        memcpy(all, c->pending + c->pending_at, had);
    }
    memcpy(all + had, p, n);
    quota_free(c->pending);
    c->pending = all;
    c->pending_at = 0;
    c->pending_len = (uint32_t)(had + n);
    return 0;
}

/* Sends what a call has made. 0, also if a part has to wait, or an error. */
static int send_out(struct tls_conn *c, int fd)
{
    struct tls *t = c->tls;
    size_t n = t->out_len;
    size_t sent = 0;
    t->out_len = 0;
    if (n == 0) {
        return 0;
    }
    if (c->pending_len == 0) {
        ssize_t k = tcp_send(fd, t->out, n);
        if (k < 0 && k != TRANSPORT_AGAIN) {
            return (int)k;
        }
        sent = k > 0 ? (size_t)k : 0;
    }
    return sent < n ? keep(c, t->out + sent, n - sent) : 0;
}

/* 0 when nothing waits any more, TRANSPORT_AGAIN, or an error. */
static int tls_flush(void *state, int fd)
{
    struct tls_conn *c = state;
    if (c->pending_len == 0) {
        return 0;
    }
    ssize_t k = tcp_send(fd, c->pending + c->pending_at, c->pending_len);
    if (k < 0) {
        return (int)k;
    }
    c->pending_at += (uint32_t)k;
    c->pending_len -= (uint32_t)k;
    if (c->pending_len > 0) {
        return TRANSPORT_AGAIN;
    }
    quota_free(c->pending);
    c->pending = NULL;
    c->pending_at = 0;
    return 0;
}

static bool tls_wants_write(void *state)
{
    return ((struct tls_conn *)state)->pending_len > 0;
}

/* For as long as the socket takes some: a record cut short is no end. */
static void push_pending(struct tls_conn *c, int fd)
{
    uint32_t before;
    do {
        before = c->pending_len;
    } while (before > 0 && tls_flush(c, fd) == TRANSPORT_AGAIN &&
             c->pending_len < before);
}

/* RFC 5246 7.2.1: also in answer to the peer's, which may have come with the
 * last of its data. */
static void notify(struct tls_conn *c, int fd)
{
    if (c->is_open && !c->is_notified && c->end >= 0 && c->pending_len == 0 &&
        enter(c) == 0) {
        (void)mbedtls_ssl_close_notify(&c->ssl);
        if (send_out(c, fd) == 0) {
            push_pending(c, fd);
        }
    }
}

/* ---- in ---- */

static int library_error(struct tls_conn *c, int rc, const char *where)
{
    char text[160] = "";
    metric_add(loop_metrics(c->tls->loop), METRIC_TLS_FAILED, 1);
    mbedtls_strerror(rc, text, sizeof(text));
    log_event(LOG_DEBUG, NULL, "TLS %s: %s", where, text);
    return -EPROTO;
}

/* 0: done; TRANSPORT_AGAIN; or the end. */
static int shake_hands(struct tls_conn *c)
{
    struct tls *t = c->tls;
    uint64_t since = loop_clock_ns();
    int rc = mbedtls_ssl_handshake(&c->ssl);
    t->spent_ns += loop_clock_ns() - since;
    switch (rc) {
    case 0:
        c->is_open = true;
        metric_add(loop_metrics(t->loop), METRIC_TLS_HANDSHAKES, 1);
        return 0;
    case MBEDTLS_ERR_SSL_WANT_READ: return TRANSPORT_AGAIN;
    case MBEDTLS_ERR_SSL_CONN_EOF: return -ECONNRESET;
    default: return library_error(c, rc, "handshake");
    }
}

static bool has_halves(const struct tls_conn *c)
{
#if TLS_IS_3
    return mbedtls_ssl_get_version_number(&c->ssl) ==
           MBEDTLS_SSL_VERSION_TLS1_3;
#else
    (void)c;
    return false;
#endif
}

/* All plaintext that the ciphertext at hand holds, or an end. */
static ssize_t decrypt(struct tls_conn *c, uint8_t *p, size_t n)
{
    size_t got = 0;
    int rc = 0;
    while (got < n) {
        rc = mbedtls_ssl_read(&c->ssl, p + got, n - got);
        if (rc <= 0) {
            break;
        }
        got += (size_t)rc;
    }
    if (rc > 0 || rc == MBEDTLS_ERR_SSL_WANT_READ) {
        return got > 0 ? (ssize_t)got : TRANSPORT_AGAIN;
    }
    int end = 0;
    c->is_over = rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY && !has_halves(c);
    if (rc != 0 && rc != MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY &&
        rc != MBEDTLS_ERR_SSL_CONN_EOF) {
        end = library_error(c, rc, "record");
    }
    if (got > 0) {
        c->end = end; /* in its turn */
        return (ssize_t)got;
    }
    return end;
}

/* A record that is cut short has to be whole before another one: if there is no
 * room even for that, the FIN alone has to say it. */
static void end_both(struct tls_conn *c, int fd)
{
    (void)tls_flush(c, fd);
    notify(c, fd);
    c->is_notified = true;
    quota_free(c->pending);
    c->pending = NULL;
    c->pending_at = 0;
    c->pending_len = 0;
}

static ssize_t take_in(struct tls_conn *c, uint8_t *p, size_t n)
{
    if (!c->is_open) {
        int rc = shake_hands(c);
        if (rc != 0) {
            return rc;
        }
    }
    return decrypt(c, p, n);
}

static ssize_t tls_read(void *state, int fd, void *p, size_t n)
{
    struct tls_conn *c = state;
    struct tls *t = c->tls;
    ASSERT(n > TLS_RECORD_BYTES + 1, "room for what a record holds");
    if (c->end != END_NONE) {
        return c->end;
    }
    if (!c->is_open && t->spent_ns >= (uint64_t)LIMIT_TURN_TLS_MS * NS_PER_MS) {
        return TRANSPORT_AGAIN; /* the socket stays ready */
    }
    size_t most = n - TLS_RECORD_BYTES;
    if (most > sizeof(t->in_bytes)) {
        most = sizeof(t->in_bytes);
    }
    ssize_t k = transport_tcp.read(NULL, fd, t->in_bytes, most);
    if (k < 0) {
        return k;
    }
    if (enter(c) != 0) {
        return -ENOMEM;
    }
    t->in = t->in_bytes;
    t->in_len = (size_t)k;
    t->in_is_end = k == 0;
    ssize_t got = take_in(c, p, n);
    t->in_len = 0;
    int rc = send_out(c, fd); /* of a handshake, or an alert */
    if (c->is_over) {
        end_both(c, fd);
    }
    tls_stow(t, &c->ssl, &c->stowed);
    return rc < 0 ? rc : got;
}

static bool tls_has_buffered(void *state)
{
    struct tls_conn *c = state;
    return c->end != END_NONE ||
           (c->is_open && mbedtls_ssl_check_pending(&c->ssl) != 0);
}

/* ---- out ---- */

/* The next record's plaintext: where it lies if it lies together, else
 * gathered. Advances *i and *at. */
static const uint8_t *next_plain(struct tls *t, const struct iovec *iov, int n,
    int *i, size_t *at, size_t *len)
{
    size_t most = TLS_PLAIN_BYTES;
    size_t here = iov[*i].iov_len - *at;
    const uint8_t *p = (const uint8_t *)iov[*i].iov_base + *at;
    if (here >= most || *i + 1 == n) {
        *len = here < most ? here : most;
        *at += *len;
    } else {
        size_t got = 0;
        while (*i < n && got < most) {
            here = iov[*i].iov_len - *at;
            size_t k = here < most - got ? here : most - got;
            memcpy(t->gather + got, (uint8_t *)iov[*i].iov_base + *at, k);
            got += k;
            *at += k;
            if (*at < iov[*i].iov_len) {
                break;
            }
            (*i)++;
            *at = 0;
        }
        *len = got;
        return t->gather;
    }
    if (*at == iov[*i].iov_len) {
        (*i)++;
        *at = 0;
    }
    return p;
}

static int encrypt(struct tls_conn *c, const uint8_t *p, size_t n)
{
    while (n > 0) { /* twice and more if the peer asked for small records */
        int rc = mbedtls_ssl_write(&c->ssl, p, n);
        if (rc <= 0) {
            return library_error(c, rc, "record");
        }
        p += rc;
        n -= (size_t)rc;
    }
    return 0;
}

/* Makes records and sends them, some at a time, while the socket takes them.
 * What has become a record is taken. */
static ssize_t write_records(
    struct tls_conn *c, int fd, const struct iovec *iov, int n)
{
    size_t taken = 0;
    size_t made = 0;
    size_t at = 0;
    int i = 0;
    int rc = 0;
    while (rc == 0 && i < n && c->pending_len == 0) {
        size_t len;
        const uint8_t *p = next_plain(c->tls, iov, n, &i, &at, &len);
        rc = encrypt(c, p, len);
        taken += len;
        made += len;
        if (rc == 0 && (made >= TLS_WRITE_BYTES || i == n)) {
            rc = send_out(c, fd);
            made = 0;
        }
    }
    return rc != 0 ? rc : (ssize_t)taken;
}

/* As if it had been sent. */
static ssize_t discard(const struct iovec *iov, int n)
{
    size_t all = 0;
    for (int i = 0; i < n; i++) {
        all += iov[i].iov_len;
    }
    return (ssize_t)all;
}

static ssize_t tls_write(void *state, int fd, const struct iovec *iov, int n)
{
    struct tls_conn *c = state;
    if (!c->is_open) {
        return -ENOTCONN;
    }
    if (c->is_over) {
        return discard(iov, n);
    }
    int rc = tls_flush(c, fd);
    if (rc != 0) {
        return rc;
    }
    if (enter(c) != 0) {
        return -ENOMEM;
    }
    ssize_t taken = write_records(c, fd, iov, n);
    tls_stow(c->tls, &c->ssl, &c->stowed);
    return taken;
}

/* ---- the end ---- */

/* If the socket is so full that a record of 31 bytes has no room, the FIN
 * alone has to say it. */
static int tls_shutdown(void *state, int fd)
{
    struct tls_conn *c = state;
    notify(c, fd);
    tls_stow(c->tls, &c->ssl, &c->stowed);
    c->is_notified = true;
    return transport_tcp.shutdown(NULL, fd);
}

static void tls_close(void *state, int fd, bool reset)
{
    struct tls_conn *c = state;
    if (!reset) {
        notify(c, fd);
    }
    transport_tcp.close(NULL, fd, reset);
    mbedtls_ssl_free(&c->ssl);
    tls_unref(c->tls);
    quota_free(c->pending);
    quota_free(c);
}

void *tls_open(struct tls *t)
{
    struct tls_conn *c = quota_alloc(sizeof(*c));
    if (c == NULL) {
        return NULL;
    }
    memset(c, 0, sizeof(*c));
    c->end = END_NONE;
    mbedtls_ssl_init(&c->ssl);
    if (mbedtls_ssl_setup(&c->ssl, &t->conf) != 0) {
        mbedtls_ssl_free(&c->ssl);
        quota_free(c);
        return NULL;
    }
    c->tls = tls_ref(t);
    mbedtls_ssl_set_bio(&c->ssl, c, on_send, on_recv, NULL);
    return c;
}

void tls_leave(void *state)
{
    struct tls_conn *c = state;
    ASSERT(c->is_open, "a handshake stays where it began");
    tls_unref(c->tls);
    c->tls = NULL;
}

/* What was still in its buffers comes along in them. */
void tls_enter(void *state, struct tls *t)
{
    struct tls_conn *c = state;
    c->tls = tls_ref(t);
    c->ssl.conf = &t->conf;
}

const struct transport transport_tls = {
    .name = "tls",
    .read = tls_read,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .has_buffered = tls_has_buffered,
    .flush = tls_flush,
    .wants_write = tls_wants_write,
};
