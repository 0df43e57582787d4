/* fiber_priv.h -- the processor's part of a fiber: a stopped stretch of C.
 *
 * Two implementations of the same two functions: fiber_switch.c for
 * processors we know, fiber_ucontext.c for the others (or for all, with
 * FIBER_UCONTEXT defined to 1). */
#ifndef SCRIPT_FIBER_PRIV_H
#define SCRIPT_FIBER_PRIV_H

#include "base/base.h"

#ifndef FIBER_UCONTEXT
#    if (defined(__x86_64__) && defined(__LP64__)) || defined(__aarch64__)
#        define FIBER_UCONTEXT 0
#    else
#        define FIBER_UCONTEXT 1
#    endif
#endif

#if FIBER_UCONTEXT
#    include <ucontext.h>
struct fiber_context {
    ucontext_t uc;
};
#else
/* All that is saved lies on the stack itself. */
struct fiber_context {
    void *sp;
};
#endif

/* Prepares `c` so that the first switch to it calls start(arg), which must
 * never return, on the stack [low, low + bytes). */
void fiber_context_make(struct fiber_context *c, void *low, size_t bytes,
    void (*start)(void *arg), void *arg);
/* Stops here, saved in `from`, and goes on where `to` was stopped. */
void fiber_context_switch(
    struct fiber_context *from, const struct fiber_context *to);

#endif
