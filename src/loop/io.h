/* io.h -- readiness of sockets, three calls wide.
 *
 * On Linux an epoll set of our own that also holds libuv's backend
 * descriptor; elsewhere uv_poll_t. Level-triggered. A watch is embedded in
 * its owner; after io_remove() its memory must live until the end of the turn
 * (loop_defer), since the batch being dispatched may still point to it; it
 * is not called again, though. */
#ifndef LOOP_IO_H
#define LOOP_IO_H

#include "base/base.h"

#define IO_READ  1u
#define IO_WRITE 2u
#define IO_ERROR 4u /* reported, never asked for: error or hang-up */

struct loop;

struct io_watch {
    void (*on_ready)(struct io_watch *w, unsigned events);
    int fd;          /* -1: not watched */
    unsigned events; /* asked for */
    void *priv;      /* the backend's */
};

/* Starts watching a non-blocking descriptor. 0 or a system error. */
int io_add(struct loop *l, struct io_watch *w, int fd, unsigned events,
    void (*on_ready)(struct io_watch *w, unsigned events)) NODISCARD;
/* Changes what is asked for; 0 leaves nothing but errors reported. */
void io_modify(struct loop *l, struct io_watch *w, unsigned events);
/* Stops watching; the descriptor stays open. Harmless if not watched. */
void io_remove(struct loop *l, struct io_watch *w);

#endif
