/* preempt.c -- stopping a script wherever it is, so that it is somebody
 * else's turn (I9).
 *
 * Called by task.c around everything that runs Lua, and by the C functions
 * that Lua can call around what they share with the loop. Here is the count
 * of sections that must not be stopped; the timer and the signals are in
 * preempt_signal.c. The whole idea in one place:
 *
 * Each loop thread has a timer that sends it SIGURG every millisecond while
 * there is Lua to run. The handler runs on the stack of the fiber that was
 * interrupted, and if that fiber may be stopped it simply leaves it, as
 * task_park() does: the loop goes on as if the script had waited. All of the
 * script's registers lie in the signal's frame on its own stack. Later the
 * fiber is entered again, the handler returns, and the kernel puts the script
 * back to the very instruction. So it makes no difference whether it is in
 * the interpreter, the pattern matcher, a sort, the collector, or copying a
 * string: there is nothing that cannot be stopped, and nothing in Lua's code
 * that has to be asked. Code that is not stopped pays nothing.
 *
 * Why this is safe. Three kinds of things could be found half done:
 *   - the app's own: lua_State, arena, stack. Nobody looks at them while the
 *     app is stopped: at most one fiber of a vm is stopped this way, no other
 *     one of that vm is entered meanwhile, and the loop leaves the Lua state
 *     alone (task.c holds everybody to that).
 *   - the server's: C functions touch it in sections that are not stopped
 *     (preempt.h).
 *   - the C library's. In a section everything is allowed. Outside of one
 *     only what keeps no state: memcpy, strtod, snprintf of numbers and
 *     strings, strcoll in the C locale, vDSO clocks. errno is saved by the
 *     handler. Lua itself calls nothing else, since its allocator is ours
 *     and io, os and package are not there. A build that catches the others
 *     in the act: MOONWIRE_CHECKED, see tests/support/unsafe_calls.h.
 * In the handler: a few words of this thread, timer_settime() and
 * pthread_sigmask(), which POSIX lets a handler call, clock_gettime() of the
 * vDSO, and the switch.
 *
 * The tick is blocked while its handler runs, as usual; and since we leave a
 * handler without returning from it, the loop has to unblock it, and to block
 * it again before it goes back to such a fiber, until the kernel's own return
 * from the signal opens it. Without that (SA_NODEFER) a slow machine could
 * take the next tick before the last handler has returned, and frames would
 * pile up on the fiber's stack. It costs two cheap system calls for a stop.
 *
 * A section that is hit by a tick notes it and stops at its end.
 *
 * Before a fiber goes back to its script it may have something to do that
 * takes long (kill.c has to look at every frame of a deep recursion). That is
 * done inside the handler, with the tick let in, and so it can be stopped
 * itself, once: a second handler's frame is all that comes to lie on the
 * first's. */
#include "base/limits.h"
#include "loop/loop.h"
#include "script/preempt_priv.h"
#include <stdio.h>
#include <time.h>

_Thread_local volatile sig_atomic_t preempt_pending;
_Thread_local struct preempt preempt_self = {.hold = 1};

#ifdef MOONWIRE_HOLDS
/* How long each section can be: all of them are measured, and where a section
 * could end it does, as if ticks waited all the time. By where it began; the
 * addresses are for addr2line. */
#    define SITES   256
#    define LONG_NS 50000

static struct site {
    const char *at;
    uint64_t longest_ns;
    uint64_t count;
    uint64_t long_count; /* longer than they should be; by accident, a few */
} sites[SITES];
extern const char __executable_start[];

static _Thread_local const char *held_at;
static _Thread_local uint64_t held_since_ns;

static void begin_measuring(const char *at)
{
    held_at = at;
    held_since_ns = preempt_cpu_ns();
}

static void end_measuring(void)
{
    uint64_t ns = preempt_cpu_ns() - held_since_ns;
    struct site *s = sites;
    while (s->at != NULL && s->at != held_at) {
        s++;
        ASSERT(s < sites + SITES, "so many sections");
    }
    s->at = held_at;
    s->count++;
    s->long_count += ns > LONG_NS;
    s->longest_ns = ns > s->longest_ns ? ns : s->longest_ns;
}

__attribute__((destructor)) static void write_sites(void)
{
    for (const struct site *s = sites; s < sites + SITES && s->at; s++) {
        (void)fprintf(stderr, "held %8.1f us, %9llu times, %llu over: 0x%llx\n",
            (double)s->longest_ns / 1e3, (unsigned long long)s->count,
            (unsigned long long)s->long_count,
            (unsigned long long)(s->at - __executable_start));
    }
}

/* Inside of its caller it would take the caller's caller for where it is. */
__attribute__((noinline))
#endif
void preempt_hold(void)
{
    preempt_self.hold = preempt_self.hold + 1;
    preempt_fence();
#ifdef MOONWIRE_HOLDS
    if (preempt_self.hold == 1) {
        begin_measuring(__builtin_return_address(0));
    }
#endif
}

void preempt_measure(void)
{
    struct preempt *p = &preempt_self;
    /* In this order: another tick may come right now, and note itself. */
    uint64_t since = p->pending_ns;
    preempt_fence();
    uint64_t ns = preempt_cpu_ns() - since;
    p->longest_ns = ns > p->longest_ns ? ns : p->longest_ns;
}

void preempt_release(void)
{
    struct preempt *p = &preempt_self;
    preempt_fence();
#ifdef MOONWIRE_HOLDS
    if (p->hold == 1 && held_at != NULL) {
        end_measuring();
        held_at = NULL;
    }
#endif
    if (p->hold == 1 && UNLIKELY(preempt_pending)) {
        preempt_measure(); /* first: the next tick would note its own time */
        preempt_pending = 0;
        p->stop = PREEMPT_RELEASE;
        preempt_stop_here();
        preempt_returned();
    }
    p->hold = p->hold - 1;
}

bool preempt_is_possible(void)
{
    return preempt_self.hold == 0;
}

void preempt_stop_here(void)
{
    /* Not by fiber_leave(): this is not the way task.c goes. */
    struct preempt *p = &preempt_self;
    struct fiber *f = p->fiber;
    p->count++;
    fiber_leave_inline(f);
}

void preempt_returned(void)
{
    struct preempt *p = &preempt_self;
    void (*fn)(void *arg) = p->on_return;
    if (UNLIKELY(fn != NULL)) {
        p->on_return = NULL;
        preempt_set_hold(0);
        fn(p->on_return_arg);
        preempt_set_hold(1);
    }
}

uint64_t preempt_cpu_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t preempt_slice_ns(void)
{
    uint32_t us = preempt_self.test_slice_us;
    return (us != 0 ? us : LIMIT_SLICE_US) * UINT64_C(1000);
}

uint64_t preempt_count(void)
{
    return preempt_self.count;
}

uint64_t preempt_longest_hold_ns(void)
{
    return preempt_self.longest_ns;
}

bool preempt_is_ticking(void)
{
    return preempt_self.is_armed != 0;
}
