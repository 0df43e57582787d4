/* io_uv.c -- readiness where there is no epoll: one uv_poll_t per watch.
 *
 * Build with -DMOONWIRE_IO_UV=ON to have it on Linux, too; the tests of
 * loop/io hold for both backends.
 *
 * The handle has memory of its own, since libuv lets go of it only in the
 * close callback, while a watch may be gone or in use again by then. Stale
 * events need no care: libuv calls nobody for a handle that was stopped.
 *
 * libuv stops a handle on POLLERR and cannot watch for errors alone. So an
 * error is reported together with what was asked for (the owner reads what
 * remains, then closes), and a watch without interest asks for urgent data,
 * which nobody sends, because errors and hang-ups come along. */
#include "loop/loop_priv.h"

#if !LOOP_IO_EPOLL

#    include "base/mem.h"
#    include <poll.h>

struct uv_watch {
    uv_poll_t poll;
    struct io_watch *owner; /* not called once it has gone */
};

static void on_poll(uv_poll_t *handle, int status, int events);

int io_init(struct loop *l)
{
    (void)l;
    return 0;
}

void io_fini(struct loop *l)
{
    (void)l;
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(container_of((uv_poll_t *)handle, struct uv_watch, poll));
}

static int ask(struct uv_watch *u, unsigned events)
{
    int wanted = (events & IO_READ ? UV_READABLE : 0) |
                 (events & IO_WRITE ? UV_WRITABLE : 0);
    return uv_poll_start(
        &u->poll, wanted != 0 ? wanted : UV_PRIORITIZED, on_poll);
}

/* Nothing was asked for: is it an error, or did somebody send urgent data? */
static bool has_failed(int fd)
{
    struct pollfd p = {.fd = fd, .events = 0};
    return poll(&p, 1, 0) == 1 &&
           (p.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct uv_watch *u = container_of(handle, struct uv_watch, poll);
    struct io_watch *w = u->owner;
    unsigned ready = (events & UV_READABLE ? IO_READ : 0) |
                     (events & UV_WRITABLE ? IO_WRITE : 0);
    ready &= w->events;
    if (status < 0) {
        ready = IO_ERROR | w->events;
    } else if (w->events == 0) {
        if (!has_failed(w->fd)) {
            /* Urgent data would be reported in every turn; the next
             * io_modify() listens again. */
            uv_poll_stop(handle);
            return;
        }
        ready = IO_ERROR;
    }
    if (ready != 0) {
        w->on_ready(w, ready);
    }
}

int io_add(struct loop *l, struct io_watch *w, int fd, unsigned events,
    void (*on_ready)(struct io_watch *w, unsigned events))
{
    w->fd = -1;
    struct uv_watch *u = mem_zalloc(sizeof(*u));
    int rc = uv_poll_init(&l->uv, &u->poll, fd);
    if (rc != 0) {
        mem_free(u);
        return rc;
    }
    rc = ask(u, events);
    if (rc != 0) {
        uv_close((uv_handle_t *)&u->poll, on_closed);
        return rc;
    }
    u->owner = w;
    w->on_ready = on_ready;
    w->fd = fd;
    w->events = events;
    w->priv = u;
    l->watch_count++;
    return 0;
}

void io_modify(struct loop *l, struct io_watch *w, unsigned events)
{
    (void)l;
    ASSERT(w->fd >= 0, "only what is watched is modified");
    struct uv_watch *u = w->priv;
    /* libuv may have stopped the handle by itself. */
    if (w->events == events && uv_is_active((uv_handle_t *)&u->poll)) {
        return;
    }
    w->events = events;
    int rc = ask(u, events);
    ASSERT(rc == 0, "a watched descriptor is open");
}

void io_remove(struct loop *l, struct io_watch *w)
{
    if (w->fd < 0) {
        return;
    }
    struct uv_watch *u = w->priv;
    uv_poll_stop(&u->poll);
    uv_close((uv_handle_t *)&u->poll, on_closed);
    w->priv = NULL;
    w->fd = -1;
    w->events = 0;
    l->watch_count--;
}

/* Not UV_RUN_ONCE: it runs due timers first and then waits all the same, so
 * our alarm could ring and the turn would not come. */
void io_poll(struct loop *l, int wait_ms)
{
    struct pollfd backend = {.fd = uv_backend_fd(&l->uv), .events = POLLIN};
    int n = poll(&backend, 1, loop_bound_wait(l, wait_ms));
    ASSERT(n >= 0 || errno == EINTR, "libuv's descriptor is sound");
    load_wake(l);
    uv_run(&l->uv, UV_RUN_NOWAIT);
}

#endif
