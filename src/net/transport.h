/* transport.h -- how bytes get through a socket: plain TCP, and TLS as a
 * second table of the same calls. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include "base/base.h"
#include <sys/types.h>
#include <sys/uio.h>

/* Results below 0 are negated errno; TRANSPORT_AGAIN: nothing now. */
#define TRANSPORT_AGAIN (-11)

struct transport {
    const char *name;
    /* Bytes read, 0 at the end of the stream, or an error. */
    ssize_t (*read)(void *state, int fd, void *p, size_t n);
    ssize_t (*write)(void *state, int fd, const struct iovec *iov, int n);
    /* Ends our half after everything written has left. */
    int (*shutdown)(void *state, int fd);
    void (*close)(void *state, int fd, bool reset);
    /* Plaintext waits inside the transport: read again without a poll. */
    bool (*has_buffered)(void *state);
    /* Sends on what write() has taken, or read() has had to answer, and the
     * socket has not: 0 when nothing is left of it, TRANSPORT_AGAIN, or an
     * error. NULL: what is taken has left. */
    int (*flush)(void *state, int fd);
    bool (*wants_write)(void *state); /* flush() has something to do */
};

extern const struct transport transport_tcp;

/* One send() of plain TCP, without the table: the flush's fast path. Bytes
 * sent, or a negated errno (TRANSPORT_AGAIN: the socket is full). */
ssize_t tcp_send(int fd, const void *p, size_t n);

#endif
