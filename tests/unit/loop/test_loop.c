/* test_loop.c -- the turn: phases, hooks that come and go, deferring, waiting,
 * stopping, and what must be gone at the end. */
#include "base/mem.h"
#include "loop/io.h"
#include "loop/loop.h"
#include "loop/timers.h"
#include "unit/base/death.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/time.h>
#include <uv.h>

#include <cmocka.h>

static struct loop *loop;
static char trace[256];

struct named_hook {
    struct loop_hook hook;
    char name;
    struct named_hook *to_remove;
    struct named_hook *to_add;
};

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new(3);
    trace[0] = '\0';
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

static void note(char ch)
{
    size_t n = strlen(trace);
    assert_true(n + 1 < sizeof(trace));
    trace[n] = ch;
    trace[n + 1] = '\0';
}

static void on_hook(struct loop_hook *h)
{
    struct named_hook *n = container_of(h, struct named_hook, hook);
    note(n->name);
    if (n->to_remove != NULL) {
        loop_hook_remove(&n->to_remove->hook);
        n->to_remove = NULL;
    }
    if (n->to_add != NULL) {
        loop_hook_add(loop, LOOP_RUN, &n->to_add->hook, on_hook);
        n->to_add = NULL;
    }
}

static void turns(int n)
{
    for (int i = 0; i < n; i++) {
        loop_turn(loop, 0);
        note('.');
    }
}

static void the_loop_knows_its_number_and_counts_for_itself(void **state)
{
    (void)state;
    assert_int_equal(loop_index(loop), 3);
    metric_add(loop_metrics(loop), METRIC_ACCEPTED, 2);
    assert_int_equal(metric_get(loop_metrics(loop), METRIC_ACCEPTED), 2);
    assert_int_equal(metric_get(loop_metrics(loop), METRIC_SHED), 0);
    assert_non_null(loop_uv(loop));
}

static void hooks_run_by_phase_and_then_in_the_order_of_adding(void **state)
{
    (void)state;
    struct named_hook h[] = {{.name = 'e'}, {.name = 'a'}, {.name = 'c'},
        {.name = 'b'}, {.name = 'd'}};
    static const enum loop_phase phases[] = {
        LOOP_END, LOOP_RUN, LOOP_FLUSH, LOOP_RUN, LOOP_FLUSH};
    for (int i = 0; i < 5; i++) {
        loop_hook_add(loop, phases[i], &h[i].hook, on_hook);
    }
    turns(2);
    assert_string_equal(trace, "abcde.abcde.");
    for (int i = 0; i < 5; i++) {
        loop_hook_remove(&h[i].hook);
    }
}

static void a_hook_may_remove_itself_and_others(void **state)
{
    (void)state;
    struct named_hook h[4] = {
        {.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}};
    for (int i = 0; i < 4; i++) {
        loop_hook_add(loop, LOOP_RUN, &h[i].hook, on_hook);
    }
    h[0].to_remove = &h[1]; /* not run yet in this turn */
    h[2].to_remove = &h[2];
    h[3].to_remove = &h[0]; /* has run already */
    turns(2);
    assert_string_equal(trace, "acd.d.");
    loop_hook_remove(&h[3].hook);
    loop_hook_remove(&h[3].hook);
}

static void a_hook_added_by_a_hook_keeps_its_place_behind_the_others(
    void **state)
{
    (void)state;
    struct named_hook h[3] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}};
    loop_hook_add(loop, LOOP_RUN, &h[0].hook, on_hook);
    loop_hook_add(loop, LOOP_RUN, &h[1].hook, on_hook);
    h[0].to_add = &h[2];
    turns(2);
    assert_string_equal(trace, "ab.abc.");
    for (int i = 0; i < 3; i++) {
        loop_hook_remove(&h[i].hook);
    }
}

static void a_hook_that_adds_itself_anew_does_not_hang_the_turn(void **state)
{
    (void)state;
    struct named_hook h = {.name = 'a'};
    loop_hook_add(loop, LOOP_RUN, &h.hook, on_hook);
    for (int i = 0; i < 3; i++) {
        h.to_remove = &h;
        h.to_add = &h;
        turns(1);
    }
    assert_string_equal(trace, "a.a.a.");
    loop_hook_remove(&h.hook);
}

/* ---- deferring ---- */

struct named_deferred {
    struct loop_deferred deferred;
    char name;
    int again;
};

static void on_deferred(struct loop_deferred *d)
{
    struct named_deferred *n = container_of(d, struct named_deferred, deferred);
    note(n->name);
    if (n->again > 0) {
        n->again--;
        loop_defer(loop, d, on_deferred);
    }
}

static void what_is_deferred_runs_once_after_all_hooks(void **state)
{
    (void)state;
    struct named_hook h = {.name = 'h'};
    struct named_deferred d[2] = {{.name = '1'}, {.name = '2'}};
    loop_hook_add(loop, LOOP_END, &h.hook, on_hook);
    loop_defer(loop, &d[0].deferred, on_deferred);
    loop_defer(loop, &d[1].deferred, on_deferred);
    turns(2);
    assert_string_equal(trace, "h12.h.");
    loop_hook_remove(&h.hook);
}

static void deferred_again_waits_for_the_next_turn_but_not_for_long(
    void **state)
{
    (void)state;
    struct named_deferred d = {.name = 'd', .again = 1};
    loop_defer(loop, &d.deferred, on_deferred);
    turns(1);
    assert_string_equal(trace, "d.");
    /* Would wait for ever if what is deferred did not count as work. */
    loop_turn(loop, -1);
    assert_string_equal(trace, "d.d");
}

static void freeing_the_loop_runs_what_is_still_deferred(void **state)
{
    (void)state;
    struct loop *keep = loop;
    struct named_deferred d = {.name = 'd', .again = 2};
    loop_defer(loop, &d.deferred, on_deferred);
    loop_free(keep);
    assert_string_equal(trace, "ddd");
    loop = loop_new(0);
}

/* ---- waiting ---- */

/* How long an idle turn takes that nothing disturbs. Turns may be cut short
 * for no reason of ours: where libuv has an io_uring, the rings of earlier
 * loops interrupt us a few times while the kernel takes them down. A loop
 * that spins would be through with all of these turns in no time. */
static uint64_t idle_ns(int wait_ms)
{
    uint64_t took_ns = 0;
    for (int i = 0; i < 100 && took_ns < (uint64_t)wait_ms * 800000; i++) {
        uint64_t start_ns = loop_clock_ns();
        loop_turn(loop, wait_ms);
        took_ns = loop_clock_ns() - start_ns;
    }
    return took_ns;
}

static void keep_polling_twice(struct loop_hook *h)
{
    struct named_hook *n = container_of(h, struct named_hook, hook);
    note(n->name);
    if (strlen(trace) < 3) {
        loop_keep_polling(loop);
    }
}

static void a_hook_that_has_more_to_do_keeps_the_poll_from_waiting(void **state)
{
    (void)state;
    struct named_hook h = {.name = 'h'};
    loop_hook_add(loop, LOOP_FLUSH, &h.hook, keep_polling_twice);
    loop_turn(loop, 0);
    uint64_t start_ns = loop_clock_ns();
    loop_turn(loop, -1);
    loop_turn(loop, -1);
    assert_true(loop_clock_ns() - start_ns < 3000000000ull);
    assert_string_equal(trace, "hhh");
    assert_true(idle_ns(30) >= 25 * 1000000);
    loop_hook_remove(&h.hook);
}

static void an_idle_turn_waits_as_long_as_it_may(void **state)
{
    (void)state;
    uint64_t start_ms = loop_now_ms(loop);
    uint64_t took_ns = idle_ns(40);
    assert_true(took_ns >= 35 * 1000000);
    assert_true(took_ns < 5000000000ull);
    assert_true(loop_now_ms(loop) - start_ms >= 35);
}

static void *ring_soon(void *arg)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    uv_async_send(arg);
    return NULL;
}

static void on_ring(uv_async_t *a)
{
    (void)a;
    note('r');
}

static void a_ring_from_another_thread_ends_an_endless_wait(void **state)
{
    (void)state;
    uv_async_t bell;
    pthread_t thread;
    assert_int_equal(uv_async_init(loop_uv(loop), &bell, on_ring), 0);
    assert_int_equal(pthread_create(&thread, NULL, ring_soon, &bell), 0);
    while (trace[0] == '\0') {
        loop_turn(loop, -1);
    }
    assert_string_equal(trace, "r");
    pthread_join(thread, NULL);
    uv_close((uv_handle_t *)&bell, NULL);
    loop_turn(loop, 0);
}

static volatile sig_atomic_t signals_seen;

static void on_signal(int sig)
{
    (void)sig;
    signals_seen++;
}

static void a_signal_during_the_wait_ends_it_and_does_no_harm(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval soon = {.it_value.tv_usec = 10 * 1000};
    setitimer(ITIMER_REAL, &soon, NULL);
    uint64_t start_ns = loop_clock_ns();
    while (signals_seen == 0) {
        loop_turn(loop, 10000);
        assert_true(loop_clock_ns() - start_ns < 5000000000ull);
    }
    assert_int_equal(signals_seen, 1);
    sigaction(SIGALRM, &before, NULL);
}

static void on_uv_timer(uv_timer_t *t)
{
    (void)t;
    note('r');
}

static void libuv_gets_its_turn_while_nothing_of_it_is_ready(void **state)
{
    (void)state;
    uv_timer_t t;
    uv_timer_init(loop_uv(loop), &t);
    uv_timer_start(&t, on_uv_timer, 10, 0);
    uint64_t start_ns = loop_clock_ns();
    while (trace[0] == '\0' && loop_clock_ns() - start_ns < 5000000000ull) {
        loop_turn(loop, -1);
    }
    assert_string_equal(trace, "r");
    uv_close((uv_handle_t *)&t, NULL);
    loop_turn(loop, 0);
}

/* ---- stopping ---- */

static void stop_at_three(struct loop_hook *h)
{
    (void)h;
    note('t');
    loop_keep_polling(loop);
    if (strlen(trace) == 3) {
        loop_stop(loop);
    }
}

static void run_ends_with_the_turn_that_stops_it_and_can_go_on(void **state)
{
    (void)state;
    struct loop_hook h;
    loop_hook_add(loop, LOOP_RUN, &h, stop_at_three);
    loop_keep_polling(loop);
    loop_run(loop);
    assert_string_equal(trace, "ttt");
    trace[0] = '\0';
    loop_keep_polling(loop);
    loop_run(loop);
    assert_string_equal(trace, "ttt");
    loop_hook_remove(&h);
}

static void a_stop_that_comes_before_run_is_not_lost(void **state)
{
    (void)state;
    loop_stop(loop);
    loop_run(loop);
}

/* ---- what must be gone ---- */

static void free_with_a_timer(void)
{
    struct timer t;
    struct loop *l = loop_new(0);
    timer_init(&t, NULL);
    timer_start(l, &t, 1000);
    loop_free(l);
}

static void free_with_a_hook(void)
{
    struct loop_hook h;
    struct loop *l = loop_new(0);
    loop_hook_add(l, LOOP_END, &h, on_hook);
    loop_free(l);
}

static void free_with_a_watch(void)
{
    struct io_watch w;
    int fds[2];
    struct loop *l = loop_new(0);
    if (pipe(fds) != 0 || io_add(l, &w, fds[0], IO_READ, NULL) != 0) {
        return;
    }
    loop_free(l);
}

static void free_with_a_handle(void)
{
    uv_timer_t t;
    struct loop *l = loop_new(0);
    uv_timer_init(loop_uv(l), &t);
    loop_free(l);
}

static void a_loop_does_not_go_before_what_hangs_on_it(void **state)
{
    (void)state;
    assert_true(dies_saying(free_with_a_timer, "timers die before"));
    assert_true(dies_saying(free_with_a_hook, "hooks die before"));
    assert_true(dies_saying(free_with_a_watch, "watches die before"));
    assert_true(dies_saying(free_with_a_handle, "handles die before"));
}

/* Not while the loop is busy with whatever freed it, but soon after, and then
 * the loop sleeps again. */
static void what_was_freed_is_given_back_in_later_turns(void **state)
{
    (void)state;
    if (!mem_keep_heap()) {
        skip();
    }
    for (int i = 0; i < 40; i++) {
        mem_free(mem_alloc(512 * 1024));
    }
    assert_true(mem_may_have_spare());
    loop_turn(loop, 0);
    assert_true(mem_may_have_spare());
    for (int turns_left = 10000; mem_may_have_spare(); turns_left--) {
        assert_true(turns_left > 0);
        loop_turn(loop, 100);
    }
    uint64_t before = loop_clock_ns();
    loop_turn(loop, 50);
    assert_true(loop_clock_ns() - before >= UINT64_C(40000000));
}

#define ON_LOOP(test)                                                          \
    cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LOOP(the_loop_knows_its_number_and_counts_for_itself),
        ON_LOOP(hooks_run_by_phase_and_then_in_the_order_of_adding),
        ON_LOOP(a_hook_may_remove_itself_and_others),
        ON_LOOP(a_hook_added_by_a_hook_keeps_its_place_behind_the_others),
        ON_LOOP(a_hook_that_adds_itself_anew_does_not_hang_the_turn),
        ON_LOOP(what_is_deferred_runs_once_after_all_hooks),
        ON_LOOP(deferred_again_waits_for_the_next_turn_but_not_for_long),
        ON_LOOP(freeing_the_loop_runs_what_is_still_deferred),
        ON_LOOP(a_hook_that_has_more_to_do_keeps_the_poll_from_waiting),
        ON_LOOP(an_idle_turn_waits_as_long_as_it_may),
        ON_LOOP(a_ring_from_another_thread_ends_an_endless_wait),
        ON_LOOP(a_signal_during_the_wait_ends_it_and_does_no_harm),
        ON_LOOP(libuv_gets_its_turn_while_nothing_of_it_is_ready),
        ON_LOOP(run_ends_with_the_turn_that_stops_it_and_can_go_on),
        ON_LOOP(a_stop_that_comes_before_run_is_not_lost),
        ON_LOOP(what_was_freed_is_given_back_in_later_turns),
        cmocka_unit_test(a_loop_does_not_go_before_what_hangs_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
