/* preempt_priv.h -- the inside of preempt.c, for those who enter and leave
 * fibers (task.c) and for the two ways to stop one: preempt_signal.c, which
 * has the timer and the signals, and the count hook of kill.c. */
#ifndef SCRIPT_PREEMPT_PRIV_H
#define SCRIPT_PREEMPT_PRIV_H

#include "script/fiber_priv.h"
#include "script/preempt.h"

/* Where signals cannot be used, Lua's count hook stands in: it stops Lua code,
 * but no C function. TSan delivers signals late, at points of its own. */
#ifndef PREEMPT_HOOK
#    if FIBER_UCONTEXT || SANITIZE_TSAN || !defined(__linux__)
#        define PREEMPT_HOOK 1
#    else
#        define PREEMPT_HOOK 0
#    endif
#endif

/* Why a fiber came back to the loop. */
enum preempt_stop {
    PREEMPT_NOT,     /* of its own accord */
    PREEMPT_SIGNAL,  /* stopped inside the signal's handler */
    PREEMPT_RELEASE, /* stopped in preempt_release(), or in the hook */
    PREEMPT_FAULT    /* it hit the guard below its stack and is lost */
};

struct preempt {
    /* 0: what runs now may be stopped anywhere. At least 1 on the loop's
     * stack. Written by its thread alone, read by the handler. */
    volatile sig_atomic_t hold;
    volatile sig_atomic_t is_armed;
    volatile sig_atomic_t idle_ticks;
    volatile sig_atomic_t stop;   /* enum preempt_stop, of a fiber on its way
                                     back */
    struct fiber *volatile fiber; /* that is entered; NULL: none */
    /* What the fiber has to do before it goes on, and can be stopped in; NULL:
     * nothing. For one that was stopped and no other: it takes it out again. */
    void (*on_return)(void *arg);
    void *on_return_arg;
    uint64_t pending_ns;   /* when that tick came, in CPU time */
    uint64_t slice_end_ns; /* PREEMPT_HOOK */
    uint64_t longest_ns;
    uint64_t count;
    uint32_t test_slice_us; /* 0: none */
};

/* It leaves its file as well: entering a fiber counts nanoseconds, and so does
 * a section. */
extern _Thread_local struct preempt preempt_self;

/* preempt_signal.c; PREEMPT_HOOK: nothing. */
void preempt_arm(void);   /* starts the timer */
void preempt_block(void); /* the tick, on this thread */
void preempt_unblock(void);
void preempt_start_test_slice(void);
/* A tick had to wait until now. */
void preempt_measure(void);
/* Stops the fiber that runs, which is us, for now. */
void preempt_stop_here(void);
/* Behind it: does what on_return says, with hold at 0 on the way. */
void preempt_returned(void);

static inline __attribute__((always_inline)) void preempt_fence(void)
{
    /* What is done inside a section must not be moved out of it. The handler
     * runs on this very thread, so the compiler is all that has to know. */
    __asm__ volatile("" ::: "memory");
}

/* On the fiber: it may be stopped from now on, or not any more; whatever was
 * held. */
static inline __attribute__((always_inline)) void preempt_set_hold(int hold)
{
    preempt_fence();
    preempt_self.hold = hold;
    preempt_fence();
}

/* On the loop's stack: runs the fiber until it leaves or is stopped. `was` is
 * how it came back the last time. */
static inline __attribute__((always_inline)) enum preempt_stop preempt_enter(
    struct fiber *f, enum preempt_stop was)
{
    struct preempt *p = &preempt_self;
    p->fiber = f;
    preempt_pending = 0;
    preempt_fence();
    if (UNLIKELY(!p->is_armed)) {
        preempt_arm();
    }
    if (UNLIKELY(was == PREEMPT_SIGNAL)) {
        /* Its handler is left by a return from the signal, which lets the
         * next tick in. Before that none shall come, or frames would pile
         * up on its stack. */
        preempt_block();
    }
    fiber_enter_inline(f);
    p->fiber = NULL;
    if (UNLIKELY(preempt_pending != 0)) {
        preempt_measure(); /* it came back by itself, from within a section */
    }
    int stop = p->stop;
    if (LIKELY(stop == PREEMPT_NOT)) {
        return PREEMPT_NOT;
    }
    p->stop = PREEMPT_NOT;
    if (stop == PREEMPT_SIGNAL || stop == PREEMPT_FAULT) {
        preempt_unblock();
    }
    return (enum preempt_stop)stop;
}

#endif
