/* bind.c -- from the text of an address to a listening socket.
 *
 * Options that connections inherit are set once, here, instead of by three
 * system calls for each of them. What is done with the socket is listener.c's
 * matter. */
#include "base/err.h"
#include "base/limits.h"
#include "net/listener_priv.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

int bind_address(const struct address *a)
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

int bind_write(int fd, char *out, size_t cap)
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

int bind_beside(int fd)
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
