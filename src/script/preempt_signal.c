/* preempt_signal.c -- the timer, its tick, and the fault that only one app
 * pays for. The essay is in preempt.c.
 *
 * The timer is this thread's own (SIGEV_THREAD_ID), so that the interrupt
 * comes to the very processor that runs the script. It is started when a
 * fiber is entered and it is not running, one load otherwise, and stops itself
 * after IDLE_TICKS without work: an idle server has no timer. There is no race
 * in that: a tick stops the timer only while no fiber is entered, and who
 * enters one says so before he looks whether the timer runs. (That no tick had
 * counted as idle since then would not be enough: on a machine that takes its
 * time many can come between that look and the moment in which the script may
 * be stopped, and it would run on for ever.)
 *
 * A stack that runs into its guard raises SIGSEGV, taken on a stack of its own.
 * If the fiber could be stopped there, everything it left half done is the
 * app's own: the handler returns to the loop instead of to the fiber, whose
 * vm is never entered again. Where a fault is anything else, or happened in a
 * section, it is our own bug, and the process ends as it would have. */
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "script/preempt_priv.h"

#if !PREEMPT_HOOK

#    include <errno.h>
#    include <pthread.h>
#    include <string.h>
#    include <sys/mman.h>
#    include <time.h>
#    include <unistd.h>

#    define IDLE_TICKS     10
#    define NS_PER_US      1000
#    define ALTSTACK_BYTES (64 * 1024)

/* ASan's own frames alone are larger than all that the handler needs. */
#    if SANITIZE_ASAN
#        define HANDLER_BYTES (16 * 1024)
#    else
#        define HANDLER_BYTES 2048
#    endif

/* What a thread needs besides struct preempt. */
static _Thread_local struct {
    timer_t timer;
    bool has_timer;
    bool has_failed; /* no timer to be had: said so once */
    void *altstack;
    stack_t old_altstack;
} own;

/* Of the process: how SIGSEGV and SIGBUS were handled before us. */
static struct {
    pthread_once_t once;
    struct sigaction segv;
    struct sigaction bus;
} installed = {.once = PTHREAD_ONCE_INIT};

/* The first tick after `first_us`, then one each slice; 0: none. */
static void set_timer(uint32_t first_us)
{
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (first_us != 0) {
        when.it_value.tv_nsec = (long)first_us * NS_PER_US;
        when.it_interval.tv_nsec = (long)LIMIT_SLICE_US * NS_PER_US;
    }
    (void)timer_settime(own.timer, 0, &when, NULL);
}

/* On the loop's stack, or in a section. */
static void note_tick(struct preempt *p)
{
    if (!preempt_pending) {
        preempt_pending = 1;
        p->pending_ns = preempt_cpu_ns();
        p->idle_ticks = 0;
        return;
    }
    if (p->fiber != NULL) {
        return; /* a long section */
    }
    p->idle_ticks = p->idle_ticks + 1;
    if (p->idle_ticks >= IDLE_TICKS) {
        p->idle_ticks = 0;
        p->is_armed = 0;
        set_timer(0);
    }
}

/* What lies below the handler has to fit as well; if it does not, the fault
 * shall be here, where it is still the script's. */
static SANITIZE_EXEMPT void probe_stack(void)
{
    /* No local array: a compiler may leave out what is not used of it. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    (void)*(const volatile char *)(here - HANDLER_BYTES);
}

static void on_tick(int sig)
{
    struct preempt *p = &preempt_self;
    int saved = errno;
    (void)sig;
    if (p->hold != 0) {
        note_tick(p);
    } else {
        probe_stack();
        p->hold = 1;
        p->stop = PREEMPT_SIGNAL;
        preempt_stop_here();
        if (UNLIKELY(p->on_return != NULL)) {
            preempt_unblock();
            preempt_returned();
            preempt_block();
        }
        /* The tick is blocked until the kernel has taken us back. */
        preempt_start_test_slice();
        preempt_set_hold(0);
    }
    errno = saved;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    struct preempt *p = &preempt_self;
    if (p->hold == 0 && fiber_is_overrun(p->fiber, info, context)) {
        p->hold = 1;
        p->stop = PREEMPT_FAULT;
        fiber_lose(p->fiber, context);
        return;
    }
    /* It happens again, and this time as if we were not there. */
    (void)sigaction(
        sig, sig == SIGBUS ? &installed.bus : &installed.segv, NULL);
}

static void install(void)
{
    struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct sigaction fault = {
        .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    (void)sigemptyset(&tick.sa_mask);
    (void)sigemptyset(&fault.sa_mask);
    int err = sigaction(SIGURG, &tick, NULL);
    err = err != 0 ? err : sigaction(SIGSEGV, &fault, &installed.segv);
    err = err != 0 ? err : sigaction(SIGBUS, &fault, &installed.bus);
    ASSERT(err == 0, "sigaction");
}

static void mask_tick(int how)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGURG);
    (void)pthread_sigmask(how, &set, NULL);
}

/* Without one a fault ends the process, as it would anyway. */
static void take_altstack(void)
{
    void *p = mmap(NULL, ALTSTACK_BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return;
    }
    stack_t mine = {.ss_sp = p, .ss_size = ALTSTACK_BYTES};
    if (sigaltstack(&mine, &own.old_altstack) != 0) {
        (void)munmap(p, ALTSTACK_BYTES);
        return;
    }
    own.altstack = p;
}

static bool make_timer(void)
{
    (void)pthread_once(&installed.once, install);
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGURG};
    event._sigev_un._tid = gettid();
    if (timer_create(CLOCK_MONOTONIC, &event, &own.timer) != 0) {
        if (!own.has_failed) {
            own.has_failed = true;
            log_event(LOG_ERROR, NULL,
                "no timer: scripts of this thread cannot be stopped (%s)",
                err_word(-errno));
        }
        return false;
    }
    own.has_timer = true;
    if (own.altstack == NULL) {
        take_altstack();
    }
    mask_tick(SIG_UNBLOCK);
    return true;
}

void preempt_arm(void)
{
    struct preempt *p = &preempt_self;
    if (!own.has_timer && !make_timer()) {
        return;
    }
    if (p->test_slice_us != 0) {
        /* Anew for each: is_armed stays down. */
        set_timer(p->test_slice_us);
        return;
    }
    p->idle_ticks = 0;
    p->is_armed = 1;
    set_timer(LIMIT_SLICE_US);
}

void preempt_start_test_slice(void)
{
    if (UNLIKELY(preempt_self.test_slice_us != 0)) {
        set_timer(preempt_self.test_slice_us);
    }
}

void preempt_set_slice_us(uint32_t us)
{
    preempt_self.test_slice_us = us;
    preempt_self.is_armed = 0;
    if (own.has_timer) {
        set_timer(0);
    }
}

void preempt_block(void)
{
    mask_tick(SIG_BLOCK);
}

void preempt_unblock(void)
{
    mask_tick(SIG_UNBLOCK);
}

void preempt_fini(void)
{
    if (own.has_timer) {
        (void)timer_delete(own.timer);
        own.has_timer = false;
        preempt_self.is_armed = 0;
    }
    if (own.altstack != NULL) {
        (void)sigaltstack(&own.old_altstack, NULL);
        (void)munmap(own.altstack, ALTSTACK_BYTES);
        own.altstack = NULL;
    }
}

#else

#    include "loop/loop.h"

/* For each fiber anew: is_armed stays down. */
void preempt_arm(void)
{
    struct preempt *p = &preempt_self;
    uint64_t us = p->test_slice_us != 0 ? p->test_slice_us : LIMIT_SLICE_US;
    p->slice_end_ns = loop_clock_ns() + us * 1000;
}

void preempt_set_slice_us(uint32_t us)
{
    preempt_self.test_slice_us = us;
}

void preempt_start_test_slice(void)
{
}

void preempt_block(void)
{
}

void preempt_unblock(void)
{
}

void preempt_fini(void)
{
}

#endif
