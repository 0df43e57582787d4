/* worker.c -- the loops of this server: made, let run, joined, freed.
 *
 * Loop 0 runs on the main thread, the others on threads of their own. Making
 * and freeing is the main thread's while those do not run, so everything that
 * all loops read (who the others are, the table of sites, settings) is frozen
 * before the first of them starts.
 *
 * Signals are loop 0's alone: the others are born with all of them blocked but
 * those that speak of the thread itself.
 *
 * No thread begins before all are there: if the system has not as many, nothing
 * has happened yet that would have to be ended in order.
 *
 * The fibers of a thread are pooled by that thread, and its timer stops its
 * scripts; so its apps are closed on it, and pool and timer go there. What is
 * left is memory. */
#include "base/late.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listener.h"
#include "script/fiber.h"
#include "script/sched.h"
#include "server/config.h"
#include "server/server_priv.h"
#include "server/tenancy.h"
#include <signal.h>
#include <stdio.h>

static void open_worker(struct server *s, uint32_t index)
{
    struct worker *w = &s->workers[index];
    w->server = s;
    w->index = index;
    w->loop = loop_new(index);
    w->net = net_new(w->loop);
    net_guard(w->net, &s->guard);
    w->sched = sched_new(w->loop);
    w->route = (struct route){
        .sites = &s->sites, .net = w->net, .placement = s->config->placement};
    w->router = route_router(&w->route);
    timer_init(&w->round_timer, NULL);
    timer_init(&w->look_timer, NULL);
    s->nets[index] = w->net;
}

void workers_open(struct server *s)
{
    s->guard = s->config->guard;
    guard_start(&s->guard);
    s->workers = mem_zalloc(s->worker_count * sizeof(*s->workers));
    s->nets = mem_zalloc(s->worker_count * sizeof(struct net *));
    for (uint32_t i = 0; i < s->worker_count; i++) {
        open_worker(s, i);
    }
    for (uint32_t i = 0; i < s->worker_count; i++) {
        net_meet(s->nets[i], s->nets, s->worker_count, &s->workers[i].router,
            s->settings);
    }
    /* In turn: nothing is known of their load yet. */
    uint32_t next = 0;
    for (size_t i = 0; i < s->sites.count; i++) {
        struct site *site = &s->sites.list[i];
        site->home_index = next;
        site->home = &s->workers[next];
        next = next + 1 < s->worker_count ? next + 1 : 0;
    }
}

int workers_listen(struct server *s)
{
    struct worker *first = &s->workers[0];
    int rc = listener_open(&first->listener, first->net, s->config->listen,
        &first->router, s->settings);
    for (uint32_t i = 1; rc == 0 && i < s->worker_count; i++) {
        struct worker *w = &s->workers[i];
        rc = listener_share(
            &w->listener, w->net, first->listener, &w->router, s->settings);
    }
    return rc;
}

static void run(void *arg)
{
    struct worker *w = arg;
    uv_sem_wait(&w->server->gate);
    if (!w->server->has_no_threads) {
        tenancy_begin(w);
        loop_run(w->loop);
        sched_free(w->sched); /* its timer is this thread's */
        w->sched = NULL;
        fiber_pool_fini();
        late_finish();
        mem_stop_giving();
    }
    word_set(&w->has_ended, 1);
}

/* Those that a fault of the thread itself raises; blocked, they would end the
 * process without a word. */
static void block_signals(sigset_t *before)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    (void)sigdelset(&all, SIGABRT);
    (void)sigdelset(&all, SIGTRAP);
    (void)sigdelset(&all, SIGURG); /* the tick that stops scripts */
    (void)pthread_sigmask(SIG_SETMASK, &all, before);
}

static void open_gate(struct server *s)
{
    for (uint32_t i = 1; i < s->worker_count; i++) {
        uv_sem_post(&s->gate);
    }
}

int workers_start(struct server *s)
{
    sigset_t before;
    int rc = uv_sem_init(&s->gate, 0);
    ASSERT(rc == 0, "a semaphore costs no memory");
    block_signals(&before);
    for (uint32_t i = 1; rc == 0 && i < s->worker_count; i++) {
        struct worker *w = &s->workers[i];
        rc = uv_thread_create(&w->thread, run, w);
        w->has_thread = rc == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        s->has_no_threads = true;
        open_gate(s);
        workers_join(s);
    }
    return rc;
}

void workers_go(struct server *s)
{
    open_gate(s);
    tenancy_begin(&s->workers[0]);
}

/* A handler may have begun that never ends, after its loop was seen to have
 * nothing left. */
static void wait_for(const struct worker *w, uint64_t end_ns)
{
    while (word_get(&w->has_ended) == 0) {
        if (loop_clock_ns() > end_ns) {
            stop_abandon(w);
        }
        uv_sleep(1);
    }
}

static void join(struct worker *w, uint64_t end_ns)
{
    wait_for(w, end_ns);
    int rc = uv_thread_join(&w->thread);
    ASSERT(rc == 0, "a thread is joined once");
    w->has_thread = false;
}

/* They all have had their orders, and one time for all of them. */
void workers_join(struct server *s)
{
    uint64_t end_ns = loop_clock_ns() + LIMIT_JOIN_MS * UINT64_C(1000000);
    for (uint32_t i = 1; i < s->worker_count; i++) {
        if (s->workers[i].has_thread) {
            join(&s->workers[i], end_ns);
        }
    }
    uv_sem_destroy(&s->gate);
}

static void close_worker(struct worker *w)
{
    if (w->listener != NULL) {
        listener_close(w->listener);
    }
    timer_stop(&w->look_timer);
    /* Close callbacks and deferred frees. */
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
    sched_free(w->sched);
    net_free(w->net);
    loop_free(w->loop);
}

void workers_close(struct server *s)
{
    for (uint32_t i = 0; i < s->worker_count; i++) {
        close_worker(&s->workers[i]);
    }
    guard_fini(&s->guard);
    mem_free(s->workers);
    mem_free(s->nets);
}
