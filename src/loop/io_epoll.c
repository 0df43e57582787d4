/* io_epoll.c -- readiness on Linux: an epoll set of our own, with libuv's
 * backend descriptor as one member of it.
 *
 * Half the memory of uv_poll_t per connection, and a change of interest is
 * one system call. libuv runs in every turn, not only when its descriptor is
 * ready: its timers, closing handles and new watchers show in no descriptor,
 * and would starve under load.
 *
 * While a batch is dispatched each watch in it knows its entry (`priv`), so a
 * watch that is removed, or removed and added anew for another descriptor,
 * takes its stale event out of the batch in O(1). What is no longer asked for
 * is masked at the call, so a pause takes effect at once, too. */
#include "loop/loop_priv.h"

#if LOOP_IO_EPOLL

#    include <errno.h>
#    include <unistd.h>

static uint32_t to_epoll(unsigned events)
{
    return (events & IO_READ ? (uint32_t)EPOLLIN : 0) |
           (events & IO_WRITE ? (uint32_t)EPOLLOUT : 0);
}

static unsigned from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? IO_READ : 0) |
           (events & EPOLLOUT ? IO_WRITE : 0) |
           (events & (EPOLLERR | EPOLLHUP) ? IO_ERROR : 0);
}

int io_init(struct loop *l)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        return -errno;
    }
    /* No pointer: there is nobody to call, uv_run() comes in any case. */
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, uv_backend_fd(&l->uv), &ev) !=
        0) {
        int err = -errno;
        close(l->epoll_fd);
        return err;
    }
    return 0;
}

void io_fini(struct loop *l)
{
    close(l->epoll_fd);
}

int io_add(struct loop *l, struct io_watch *w, int fd, unsigned events,
    void (*on_ready)(struct io_watch *w, unsigned events))
{
    struct epoll_event ev = {.events = to_epoll(events), .data.ptr = w};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        w->fd = -1;
        return -errno;
    }
    w->on_ready = on_ready;
    w->fd = fd;
    w->events = events;
    w->priv = NULL;
    l->watch_count++;
    return 0;
}

void io_modify(struct loop *l, struct io_watch *w, unsigned events)
{
    ASSERT(w->fd >= 0, "only what is watched is modified");
    if (w->events == events) {
        return;
    }
    w->events = events;
    struct epoll_event ev = {.events = to_epoll(events), .data.ptr = w};
    int rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev);
    ASSERT(rc == 0, "a watched descriptor is open");
}

void io_remove(struct loop *l, struct io_watch *w)
{
    if (w->fd < 0) {
        return;
    }
    struct epoll_event unused = {0};
    int rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, &unused);
    ASSERT(rc == 0, "a watched descriptor is open");
    struct epoll_event *stale = w->priv;
    if (stale != NULL) {
        stale->data.ptr = NULL;
    }
    w->priv = NULL;
    w->fd = -1;
    w->events = 0;
    l->watch_count--;
}

static int wait_for_events(struct loop *l, int wait_ms)
{
    int n = epoll_wait(
        l->epoll_fd, l->batch, IO_BATCH, loop_bound_wait(l, wait_ms));
    /* A signal makes an empty turn: what it announced is looked at, and the
     * next wait is reckoned afresh. */
    ASSERT(n >= 0 || errno == EINTR, "the epoll set is sound");
    load_wake(l);
    uv_update_time(&l->uv);
    return n < 0 ? 0 : n;
}

void io_poll(struct loop *l, int wait_ms)
{
    int n = wait_for_events(l, wait_ms);
    for (int i = 0; i < n; i++) {
        struct io_watch *w = l->batch[i].data.ptr;
        if (w != NULL) {
            w->priv = &l->batch[i];
        }
    }
    for (int i = 0; i < n; i++) {
        struct io_watch *w = l->batch[i].data.ptr;
        if (w == NULL) {
            continue;
        }
        w->priv = NULL;
        unsigned events =
            from_epoll(l->batch[i].events) & (w->events | IO_ERROR);
        if (events != 0) {
            w->on_ready(w, events);
        }
    }
    uv_run(&l->uv, UV_RUN_NOWAIT);
}

#endif
