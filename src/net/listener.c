/* listener.c -- from a listening port to connections of this loop.
 *
 * The server opens one at start and closes it when it drains. A turn accepts
 * a bounded number of connections, so that a storm of new clients does not
 * starve those that are there; the socket stays ready, and the next turn takes
 * more.
 *
 * When descriptors run out, a connection left in the backlog would keep the
 * socket ready and the loop spinning, and its client waiting. So a spare
 * descriptor is given up to accept the client and close on it: it learns at
 * once that it must try again. Then accepting rests for a while.
 *
 * Not here: how the port is bound (bind.c), and by which limits an address is
 * welcome (guard.c). */
#include "net/listener.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/io.h"
#include "loop/timers.h"
#include "net/guard.h"
#include "net/listener_priv.h"
#include "net/transport.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENER_MAGIC 0x4c53544eu /* "LSTN" */
#define ACCEPTS_A_TURN 64
#define PAUSE_MS       100
#define TURNED_LOG_MS  1000 /* between lines about who is turned away */
#define CALM_MS        5000 /* without shedding: the shortage is over */

struct listener {
    uint32_t magic;
    int spare_fd; /* -1: given up, and not got back yet */
    struct net *net;
    const struct conn_router *router;     /* borrowed */
    const struct conn_settings *defaults; /* borrowed */
    struct io_watch watch;
    struct timer pause;      /* the rest after shedding, then the calm */
    bool is_short;           /* of descriptors, and the log says so */
    uint64_t shed;           /* in this shortage */
    uint64_t short_since_ms; /* of the loop's clock */
    struct loop_deferred burial;
    uint32_t turned_away; /* since the log said so */
    uint64_t turned_log_ms;
    char address[INET6_ADDRSTRLEN + 16];
};

/* ---- accepting ---- */

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Accepts and closes one connection with the spare descriptor's help. False:
 * there is none to shed, or no spare to do it with. */
static bool shed_one(struct listener *ln)
{
    if (ln->spare_fd < 0) {
        return false;
    }
    close(ln->spare_fd);
    int fd = accept4(ln->watch.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        metric_add(loop_metrics(ln->net->loop), METRIC_SHED, 1);
    }
    ln->spare_fd = open_spare();
    return fd >= 0;
}

static void shed_and_pause(struct listener *ln, int err)
{
    unsigned shed = 0;
    if (err == EMFILE || err == ENFILE) {
        while (shed < ACCEPTS_A_TURN && shed_one(ln)) {
            shed++;
        }
        if (shed == 0 && ln->spare_fd >= 0) {
            /* Nobody is at the door: accept4() wants a descriptor before it
             * looks. */
            return;
        }
    }
    if (!ln->is_short) {
        ln->is_short = true;
        ln->shed = 0;
        ln->short_since_ms = loop_now_ms(ln->net->loop);
        struct log_fields f = {.err = err_text(-err)};
        log_event(LOG_WARN, &f,
            "%s: cannot accept; connections are shed until there is room",
            ln->address);
    }
    ln->shed += shed;
    io_modify(ln->net->loop, &ln->watch, 0);
    timer_start(ln->net->loop, &ln->pause, PAUSE_MS);
}

static void accept_again(struct listener *ln)
{
    if (ln->spare_fd < 0) {
        ln->spare_fd = open_spare();
    }
    io_modify(ln->net->loop, &ln->watch, IO_READ);
    timer_start(ln->net->loop, &ln->pause, CALM_MS);
}

/* A shortage comes and goes by the descriptor, many times a second; the log
 * has one line when it begins and one when it has been over for a while. */
static void end_shortage(struct listener *ln)
{
    ln->is_short = false;
    log_event(LOG_INFO, NULL,
        "%s: accepts again; %" PRIu64 " connections were shed in %" PRIu64 " s",
        ln->address, ln->shed,
        (loop_now_ms(ln->net->loop) - ln->short_since_ms - CALM_MS) / 1000);
}

static void on_pause_over(struct timer *t)
{
    struct listener *ln = container_of(t, struct listener, pause);
    if (ln->watch.events == 0) {
        accept_again(ln);
    } else {
        end_shortage(ln);
    }
}

/* Errors that speak of the one connection, or of nothing: Linux passes on
 * what the network reported before accept(). */
static bool is_passing(int err)
{
    switch (err) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ETIMEDOUT:
#ifdef EHOSTDOWN
    case EHOSTDOWN:
#endif
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default: return false;
    }
}

/* By the limits for an address (net/guard). */
static bool is_welcome(struct listener *ln, int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    struct ip ip;
    char why[GUARD_WHY_BYTES];
    char text[IP_TEXT_BYTES];
    if (ln->net->guard->tally == NULL ||
        getpeername(fd, (struct sockaddr *)&ss, &len) != 0) {
        return true;
    }
    ip_from_socket(&ip, &ss);
    uint64_t now = loop_now_ms(ln->net->loop);
    if (guard_admits(ln->net->guard, &ip, now, why)) {
        return true;
    }
    ln->turned_away++;
    if (ln->turned_log_ms == 0 || now - ln->turned_log_ms >= TURNED_LOG_MS) {
        ip_write(&ip, text);
        log_event(LOG_WARN, NULL,
            "%s: %s turned away: %s (%u turned away since the last line)",
            ln->address, text, why, ln->turned_away);
        ln->turned_log_ms = now;
        ln->turned_away = 0;
    }
    return false;
}

/* With a word, where the socket takes it at once; nobody waits for it. */
static void turn_away(struct listener *ln, int fd)
{
    static const char word[] =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n";
    metric_add(loop_metrics(ln->net->loop), METRIC_TURNED_AWAY, 1);
    size_t sent = 0;
    ssize_t k = 1;
    while (k > 0 && sent < sizeof(word) - 1) {
        k = tcp_send(fd, word + sent, sizeof(word) - 1 - sent);
        sent += k > 0 ? (size_t)k : 0;
    }
    (void)shutdown(fd, SHUT_WR);
    close(fd);
}

static void on_acceptable(struct io_watch *w, unsigned events)
{
    (void)events;
    struct listener *ln = container_of(w, struct listener, watch);

    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && !is_welcome(ln, fd)) {
            turn_away(ln, fd);
        } else if (fd >= 0) {
            metric_add(loop_metrics(ln->net->loop), METRIC_ACCEPTED, 1);
            if (conn_new(ln->net, fd, ln->router, ln->defaults) == NULL) {
                /* The system has no room for another watch. */
                shed_and_pause(ln, ENOMEM);
                return;
            }
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_passing(errno)) {
            shed_and_pause(ln, errno);
            return;
        }
    }
}

/* ---- life ---- */

/* Takes the listening socket. */
static int open_on(struct listener **out, struct net *n, int fd,
    const struct conn_router *router, const struct conn_settings *defaults)
{
    struct listener *ln = mem_zalloc(sizeof(*ln));
    ln->magic = LISTENER_MAGIC;
    ln->net = n;
    ln->router = router;
    ln->defaults = defaults;
    timer_init(&ln->pause, on_pause_over);
    ln->spare_fd = open_spare();
    int rc = ln->spare_fd < 0 ? -errno : 0;
    if (rc == 0) {
        rc = bind_write(fd, ln->address, sizeof(ln->address));
    }
    if (rc == 0) {
        rc = io_add(n->loop, &ln->watch, fd, IO_READ, on_acceptable);
    }
    if (rc != 0) {
        if (ln->spare_fd >= 0) {
            close(ln->spare_fd);
        }
        close(fd);
        mem_free(ln);
        return rc;
    }
    *out = ln;
    return 0;
}

int listener_open(struct listener **out, struct net *n, const char *address,
    const struct conn_router *router, const struct conn_settings *defaults)
{
    struct address a;
    int rc = address_parse(&a, address);
    if (rc != 0) {
        return rc;
    }
    int fd = bind_address(&a);
    return fd < 0 ? fd : open_on(out, n, fd, router, defaults);
}

int listener_share(struct listener **out, struct net *n,
    const struct listener *first, const struct conn_router *router,
    const struct conn_settings *defaults)
{
    int fd = bind_beside(first->watch.fd);
    return fd < 0 ? fd : open_on(out, n, fd, router, defaults);
}

const char *listener_address(const struct listener *ln)
{
    return ln->address;
}

int listener_set_send_buffer(struct listener *ln, int bytes)
{
    int rc =
        setsockopt(ln->watch.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    return rc == 0 ? 0 : -errno;
}

static void bury(struct loop_deferred *d)
{
    mem_free(container_of(d, struct listener, burial));
}

void listener_close(struct listener *ln)
{
    CHECK(ln, LISTENER_MAGIC);
    int fd = ln->watch.fd;
    io_remove(ln->net->loop, &ln->watch);
    close(fd);
    if (ln->spare_fd >= 0) {
        close(ln->spare_fd);
    }
    timer_stop(&ln->pause);
    ln->magic = 0;
    /* The batch being dispatched may still point to our watch. */
    loop_defer(ln->net->loop, &ln->burial, bury);
}
