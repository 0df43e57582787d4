/* test_io.c -- readiness over socketpairs. Every test holds for each backend:
 * build once as it is and once with MOONWIRE_IO_UV. */
#include "base/mem.h"
#include "loop/io.h"
#include "loop/loop.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;

struct peer {
    struct io_watch watch;
    int ours;
    int theirs;
    unsigned calls;
    unsigned events; /* of the last call */
    struct peer *to_remove;
    struct peer *to_pause;
    struct peer *to_replace;
    bool drains;
};

static void on_ready(struct io_watch *w, unsigned events);

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new(0);
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void open_pair(struct peer *p)
{
    int fds[2];
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    p->ours = fds[0];
    p->theirs = fds[1];
}

static void open_peer(struct peer *p, unsigned events)
{
    memset(p, 0, sizeof(*p));
    open_pair(p);
    assert_int_equal(io_add(loop, &p->watch, p->ours, events, on_ready), 0);
    assert_int_equal(p->watch.fd, p->ours);
}

static void close_peer(struct peer *p)
{
    io_remove(loop, &p->watch);
    close(p->ours);
    if (p->theirs >= 0) {
        close(p->theirs);
    }
}

static void say(struct peer *p)
{
    assert_int_equal(write(p->theirs, "x", 1), 1);
}

static void on_ready(struct io_watch *w, unsigned events)
{
    struct peer *p = container_of(w, struct peer, watch);
    p->calls++;
    p->events = events;
    if (p->drains) {
        char c[16];
        while (read(p->ours, c, sizeof(c)) > 0) {
        }
    }
    if (p->to_remove != NULL) {
        io_remove(loop, &p->to_remove->watch);
    }
    if (p->to_pause != NULL) {
        io_modify(loop, &p->to_pause->watch, 0);
    }
    if (p->to_replace != NULL) {
        /* The same watch, the same number perhaps, another socket. */
        struct peer *other = p->to_replace;
        p->to_replace = NULL;
        close_peer(other);
        open_pair(other);
        assert_int_equal(
            io_add(loop, &other->watch, other->ours, IO_READ, on_ready), 0);
    }
}

static void turns(int n)
{
    while (n-- > 0) {
        loop_turn(loop, 0);
    }
}

static void readable_is_reported_until_it_is_read(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, IO_READ);
    turns(2);
    assert_int_equal(p.calls, 0);
    say(&p);
    turns(3);
    assert_true(p.calls >= 2);
    assert_int_equal(p.events, IO_READ);
    p.drains = true;
    turns(2);
    unsigned calls = p.calls;
    turns(3);
    assert_int_equal(p.calls, calls);
    close_peer(&p);
}

static void data_ends_an_endless_wait(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, IO_READ);
    say(&p);
    while (p.calls == 0) {
        loop_turn(loop, -1);
    }
    close_peer(&p);
}

static void interest_can_be_changed_to_and_fro(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, 0);
    say(&p);
    turns(3);
    assert_int_equal(p.calls, 0);
    io_modify(loop, &p.watch, IO_WRITE);
    turns(2);
    assert_true(p.calls >= 1);
    assert_int_equal(p.events, IO_WRITE);
    io_modify(loop, &p.watch, IO_READ | IO_WRITE);
    turns(2);
    assert_int_equal(p.events, IO_READ | IO_WRITE);
    io_modify(loop, &p.watch, IO_READ);
    turns(2);
    assert_int_equal(p.events, IO_READ);
    unsigned calls = p.calls;
    io_modify(loop, &p.watch, 0);
    turns(3);
    assert_int_equal(p.calls, calls);
    close_peer(&p);
}

static void a_hang_up_is_reported_even_if_nothing_is_asked_for(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, 0);
    turns(1);
    close(p.theirs);
    p.theirs = -1;
    loop_turn(loop, 1000);
    turns(1);
    assert_true(p.calls >= 1);
    assert_true(p.events & IO_ERROR);
    close_peer(&p);
}

static void the_end_of_the_stream_is_readable(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, IO_READ);
    assert_int_equal(shutdown(p.theirs, SHUT_WR), 0);
    loop_turn(loop, 1000);
    turns(1);
    assert_true(p.events & IO_READ);
    close_peer(&p);
}

static void open_tcp_pair(struct peer *p)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int ln = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(ln, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(ln, 1), 0);
    assert_int_equal(getsockname(ln, (struct sockaddr *)&a, &len), 0);
    p->theirs = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(p->theirs, (struct sockaddr *)&a, len), 0);
    p->ours = accept4(ln, NULL, NULL, SOCK_NONBLOCK);
    assert_true(p->ours >= 0);
    close(ln);
}

static void urgent_data_neither_wakes_nor_deafens_a_paused_watch(void **state)
{
    (void)state;
    struct peer p = {0};
    open_tcp_pair(&p);
    assert_int_equal(io_add(loop, &p.watch, p.ours, 0, on_ready), 0);
    assert_int_equal(send(p.theirs, "!", 1, MSG_OOB), 1);
    loop_turn(loop, 20);
    /* No spinning; but turns may be cut short: where libuv has an io_uring,
     * those of earlier loops interrupt while the kernel takes them down. */
    uint64_t start_ns = loop_clock_ns();
    int count = 0;
    while (loop_clock_ns() - start_ns < 40 * 1000000) {
        loop_turn(loop, 20);
        count++;
    }
    assert_in_range(count, 1, 100);
    assert_int_equal(p.calls, 0);
    say(&p);
    p.drains = true;
    io_modify(loop, &p.watch, IO_READ);
    loop_turn(loop, 1000);
    turns(1);
    assert_true(p.calls >= 1);
    close_peer(&p);
}

static void removed_is_silent_and_removing_twice_is_harmless(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, IO_READ);
    say(&p);
    io_remove(loop, &p.watch);
    assert_int_equal(p.watch.fd, -1);
    io_remove(loop, &p.watch);
    turns(3);
    assert_int_equal(p.calls, 0);
    assert_int_equal(io_add(loop, &p.watch, p.ours, IO_READ, on_ready), 0);
    turns(2);
    assert_true(p.calls >= 1);
    close_peer(&p);
}

/* Both are ready in the same batch; whichever is called first silences the
 * other. */
static void a_watch_removed_during_dispatch_is_not_called(void **state)
{
    (void)state;
    struct peer p[2];
    open_peer(&p[0], IO_READ);
    open_peer(&p[1], IO_READ);
    p[0].to_remove = &p[1];
    p[1].to_remove = &p[0];
    say(&p[0]);
    say(&p[1]);
    turns(2);
    assert_true((p[0].calls == 0) != (p[1].calls == 0));
    close_peer(&p[0]);
    close_peer(&p[1]);
}

static void a_watch_may_remove_itself(void **state)
{
    (void)state;
    struct peer p;
    open_peer(&p, IO_READ);
    p.to_remove = &p;
    say(&p);
    turns(3);
    assert_int_equal(p.calls, 1);
    close_peer(&p);
}

static void a_pause_during_dispatch_takes_effect_at_once(void **state)
{
    (void)state;
    struct peer p[2];
    open_peer(&p[0], IO_READ);
    open_peer(&p[1], IO_READ);
    p[0].to_pause = &p[1];
    p[1].to_pause = &p[0];
    say(&p[0]);
    say(&p[1]);
    turns(2);
    assert_true((p[0].calls == 0) != (p[1].calls == 0));
    close_peer(&p[0]);
    close_peer(&p[1]);
}

static void a_stale_event_does_not_reach_a_watch_used_anew(void **state)
{
    (void)state;
    struct peer p[2];
    open_peer(&p[0], IO_READ);
    open_peer(&p[1], IO_READ);
    p[0].to_replace = &p[1];
    p[1].to_replace = &p[0];
    say(&p[0]);
    say(&p[1]);
    loop_turn(loop, 0);
    /* The one that was replaced has a new socket nobody wrote to. */
    assert_int_equal(p[0].calls + p[1].calls, 1);
    int replaced = p[0].calls == 0 ? 0 : 1;
    p[1 - replaced].drains = true;
    turns(2);
    assert_int_equal(p[replaced].calls, 0);
    say(&p[replaced]);
    turns(2);
    assert_true(p[replaced].calls >= 1);
    close_peer(&p[0]);
    close_peer(&p[1]);
}

struct mortal {
    struct peer peer;
    struct loop_deferred deferred;
};

static struct mortal *mortals[8];

static void free_mortal(struct loop_deferred *d)
{
    mem_free(container_of(d, struct mortal, deferred));
}

static void kill_all(struct io_watch *w, unsigned events)
{
    (void)w;
    (void)events;
    for (int i = 0; i < 8; i++) {
        assert_non_null(mortals[i]);
        close_peer(&mortals[i]->peer);
        loop_defer(loop, &mortals[i]->deferred, free_mortal);
        mortals[i] = NULL;
    }
}

static void memory_freed_at_the_end_of_the_turn_is_not_touched_later(
    void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        mortals[i] = mem_zalloc(sizeof(struct mortal));
        open_peer(&mortals[i]->peer, IO_READ);
        mortals[i]->peer.watch.on_ready = kill_all;
        say(&mortals[i]->peer);
    }
    turns(4);
    assert_null(mortals[0]);
}

#define MANY 300

static void many_ready_sockets_are_all_served(void **state)
{
    (void)state;
    static struct peer many[MANY];
    for (int i = 0; i < MANY; i++) {
        open_peer(&many[i], IO_READ);
        many[i].drains = true;
        say(&many[i]);
    }
    /* A small batch (the tiny build) takes many turns. */
    turns(MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(many[i].calls, 1);
        close_peer(&many[i]);
    }
}

static void what_cannot_be_watched_is_an_error(void **state)
{
    (void)state;
    struct io_watch w = {.fd = -1};
    assert_int_equal(io_add(loop, &w, 987654, IO_READ, on_ready), -EBADF);
    assert_int_equal(w.fd, -1);
    io_remove(loop, &w);
    struct peer p;
    open_peer(&p, IO_READ);
    assert_int_equal(io_add(loop, &w, p.ours, IO_READ, on_ready), -EEXIST);
    close_peer(&p);
}

#define ON_LOOP(test)                                                          \
    cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LOOP(readable_is_reported_until_it_is_read),
        ON_LOOP(data_ends_an_endless_wait),
        ON_LOOP(interest_can_be_changed_to_and_fro),
        ON_LOOP(a_hang_up_is_reported_even_if_nothing_is_asked_for),
        ON_LOOP(the_end_of_the_stream_is_readable),
        ON_LOOP(urgent_data_neither_wakes_nor_deafens_a_paused_watch),
        ON_LOOP(removed_is_silent_and_removing_twice_is_harmless),
        ON_LOOP(a_watch_removed_during_dispatch_is_not_called),
        ON_LOOP(a_watch_may_remove_itself),
        ON_LOOP(a_pause_during_dispatch_takes_effect_at_once),
        ON_LOOP(a_stale_event_does_not_reach_a_watch_used_anew),
        ON_LOOP(memory_freed_at_the_end_of_the_turn_is_not_touched_later),
        ON_LOOP(many_ready_sockets_are_all_served),
        ON_LOOP(what_cannot_be_watched_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
