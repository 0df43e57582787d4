/* tcp.c -- plain TCP behind the five calls of net/transport.h.
 *
 * The only recv(), send() and writev() of the server on a client's socket.
 * A call that a signal interrupts is repeated here, so nobody above ever sees
 * EINTR. Keeps no state: `state` is NULL.
 *
 * Not here: options that connections inherit (net/listener), and what an
 * error means (net/conn: the end). */
#include "net/transport.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* With MOONWIRE_TINY every frame is cut at every place sooner or later. */
#ifdef MOONWIRE_TINY
#    define READ_MAX  7u
#    define WRITE_MAX 3u
#else
#    define READ_MAX  SIZE_MAX
#    define WRITE_MAX SIZE_MAX
#endif

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static ssize_t negated_errno(void)
{
    /* The two are one number on Linux, but need not be. */
    return errno == EAGAIN || errno == EWOULDBLOCK ? TRANSPORT_AGAIN : -errno;
}

static ssize_t tcp_read(void *state, int fd, void *p, size_t n)
{
    (void)state;
    ssize_t k;
    do {
        k = recv(fd, p, least(n, READ_MAX), MSG_DONTWAIT);
    } while (k < 0 && errno == EINTR);
    return k < 0 ? negated_errno() : k;
}

ssize_t tcp_send(int fd, const void *p, size_t n)
{
    ssize_t k;
    do {
        k = send(fd, p, least(n, WRITE_MAX), MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (k < 0 && errno == EINTR);
    return k < 0 ? negated_errno() : k;
}

static ssize_t tcp_write(void *state, int fd, const struct iovec *iov, int n)
{
    (void)state;
    if (n == 1 || WRITE_MAX != SIZE_MAX) {
        return tcp_send(fd, iov->iov_base, iov->iov_len);
    }
    /* sendmsg() is writev() that can do without SIGPIPE; it does not write to
     * what it is given. */
    struct msghdr m = {
        .msg_iov = (struct iovec *)(uintptr_t)iov,
        .msg_iovlen = (size_t)n,
    };
    ssize_t k;
    do {
        k = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (k < 0 && errno == EINTR);
    return k < 0 ? negated_errno() : k;
}

static int tcp_shutdown(void *state, int fd)
{
    (void)state;
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

static void tcp_close(void *state, int fd, bool reset)
{
    (void)state;
    if (reset) {
        /* A plain close would leave what a dead reader has not fetched in the
         * kernel for minutes. */
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    (void)close(fd);
}

static bool tcp_has_buffered(void *state)
{
    (void)state;
    return false;
}

const struct transport transport_tcp = {
    .name = "tcp",
    .read = tcp_read,
    .write = tcp_write,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
    .has_buffered = tcp_has_buffered,
};
