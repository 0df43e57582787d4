/* listener.c -- from a listening port to connections of this loop.
 *
 * The server opens one at start and closes it when it drains. A turn accepts
 * a bounded number of connections, so that a storm of new clients does not
 * starve those that are there; the socket stays ready, and the next turn takes
 * more. Options that connections inherit are set once, here, instead of by
 * three system calls for each of them.
 *
 * When descriptors run out, a connection left in the backlog would keep the
 * socket ready and the loop spinning, and its client waiting. So a spare
 * descriptor is given up to accept the client and close on it: it learns at
 * once that it must try again. Then accepting rests for a while.
 *
 * Which connections are welcome is not decided here. */
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
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
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

/* ---- addresses ---- */

static bool is_host_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
           (ch >= '0' && ch <= '9') || ch == '.' || ch == '-' || ch == '_';
}

static bool is_port(const char *s)
{
    size_t n = strspn(s, "0123456789");
    unsigned port = 0;
    if (n == 0 || n >= ADDRESS_PORT_BYTES || s[n] != '\0') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        port = port * 10 + (unsigned)(s[i] - '0');
    }
    return port <= UINT16_MAX;
}

int address_parse(struct address *out, const char *text)
{
    out->is_literal = text[0] == '[';
    const char *host = out->is_literal ? text + 1 : text;
    const char *host_end = strchr(host, out->is_literal ? ']' : ':');
    if (host_end == NULL || host_end - host >= ADDRESS_HOST_BYTES) {
        return ERR_SYNTAX;
    }
    size_t len = (size_t)(host_end - host);
    memcpy(out->host, host, len);
    out->host[len] = '\0';
    const char *colon = out->is_literal ? host_end + 1 : host_end;
    if (*colon != ':' || !is_port(colon + 1)) {
        return ERR_SYNTAX;
    }
    memcpy(out->port, colon + 1, strlen(colon + 1) + 1);

    if (out->is_literal) {
        struct in6_addr unused;
        return inet_pton(AF_INET6, out->host, &unused) == 1 ? 0 : ERR_SYNTAX;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_host_char(out->host[i])) {
            return ERR_SYNTAX;
        }
    }
    return 0;
}

/* An empty host becomes :: and 0.0.0.0, in the system's order. */
static int look_up(const struct address *a, struct addrinfo **out)
{
    struct addrinfo hints = {
        .ai_family = a->is_literal ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags =
            AI_PASSIVE | AI_NUMERICSERV | (a->is_literal ? AI_NUMERICHOST : 0),
    };
    int rc =
        getaddrinfo(a->host[0] != '\0' ? a->host : NULL, a->port, &hints, out);
    switch (rc) {
    case 0: return 0;
    case EAI_SYSTEM: return -errno;
    case EAI_MEMORY: return -ENOMEM;
    default: return ERR_NOT_FOUND;
    }
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* The first socket on a port is bound without SO_REUSEPORT: with it, a second
 * server would take half of the clients without a word, where this one is told
 * EADDRINUSE. Once it is bound the option is set, which lets the sockets of the
 * other loops come after it, and nobody else who does not say so first.
 * SO_REUSEADDR only passes over connections of a former run in TIME_WAIT. */
static int bind_and_listen(
    int fd, const struct sockaddr *address, socklen_t len, bool is_first)
{
    int rc = 0;
    if (!is_first) {
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (rc == 0 && bind(fd, address, len) != 0) {
        rc = -errno;
    }
    if (rc == 0 && is_first) {
        rc = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (rc == 0 && listen(fd, SOMAXCONN) != 0) {
        rc = -errno;
    }
    return rc;
}

static int prepare_socket(int fd, int family, bool is_dual)
{
    int rc = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0) {
        rc = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    }
#ifdef TCP_NOTSENT_LOWAT
    if (rc == 0) {
        rc =
            set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, LIMIT_NOTSENT_BYTES);
    }
#endif
    if (rc == 0 && family == AF_INET6) {
        rc = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_dual ? 0 : 1);
    }
    return rc;
}

/* A listening socket, or an error. */
static int listen_on(const struct addrinfo *ai, bool is_dual)
{
    int fd = socket(ai->ai_family,
        ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (fd < 0) {
        return -errno;
    }
    int rc = prepare_socket(fd, ai->ai_family, is_dual);
    if (rc == 0) {
        rc = bind_and_listen(fd, ai->ai_addr, ai->ai_addrlen, true);
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

static bool is_no_such_address(int rc)
{
    return rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT;
}

/* Tries the addresses of a name in the system's order, but goes on only if
 * the machine does not have that address: a port in use is an answer. */
static int listen_on_first(
    const struct addrinfo *found, int family, bool is_dual)
{
    int fd = -EADDRNOTAVAIL;
    for (; found != NULL && is_no_such_address(fd); found = found->ai_next) {
        if (family == AF_UNSPEC || family == found->ai_family) {
            fd = listen_on(found, is_dual);
        }
    }
    return fd;
}

static int listen_on_address(const struct address *a)
{
    struct addrinfo *found;
    int fd = look_up(a, &found);
    if (fd != 0) {
        return fd;
    }
    if (a->host[0] != '\0') {
        fd = listen_on_first(found, AF_UNSPEC, false);
    } else {
        /* [::] serves both families, wherever there is IPv6 at all. */
        fd = listen_on_first(found, AF_INET6, true);
        if (is_no_such_address(fd)) {
            fd = listen_on_first(found, AF_INET, false);
        }
    }
    freeaddrinfo(found);
    return fd;
}

static int write_address(int fd, char *out, size_t cap)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t len = sizeof(a);
    char ip[INET6_ADDRSTRLEN];
    if (getsockname(fd, &a.any, &len) != 0) {
        return -errno;
    }
    if (a.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a.v6.sin6_addr, ip, sizeof(ip));
        (void)snprintf(
            out, cap, "[%s]:%u", ip, (unsigned)ntohs(a.v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &a.v4.sin_addr, ip, sizeof(ip));
        (void)snprintf(out, cap, "%s:%u", ip, (unsigned)ntohs(a.v4.sin_port));
    }
    return 0;
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
        rc = write_address(fd, ln->address, sizeof(ln->address));
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
    int fd = listen_on_address(&a);
    return fd < 0 ? fd : open_on(out, n, fd, router, defaults);
}

/* A socket bound to where `fd` is bound, and as that one is. */
static int listen_beside(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    memset(&ss, 0, sizeof(ss));
    int only = 1;
    socklen_t only_len = sizeof(only);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0 ||
        (ss.ss_family == AF_INET6 &&
            getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &only_len) != 0)) {
        return -errno;
    }
    int beside =
        socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (beside < 0) {
        return -errno;
    }
    int rc = prepare_socket(beside, ss.ss_family, only == 0);
    if (rc == 0) {
        rc = bind_and_listen(beside, (const struct sockaddr *)&ss, len, false);
    }
    if (rc != 0) {
        close(beside);
        return rc;
    }
    return beside;
}

int listener_share(struct listener **out, struct net *n,
    const struct listener *first, const struct conn_router *router,
    const struct conn_settings *defaults)
{
    int fd = listen_beside(first->watch.fd);
    return fd < 0 ? fd : open_on(out, n, fd, router, defaults);
}

const char *listener_address(const struct listener *ln)
{
    return ln->address;
}

int listener_set_send_buffer(struct listener *ln, int bytes)
{
    return set_option(ln->watch.fd, SOL_SOCKET, SO_SNDBUF, bytes);
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
