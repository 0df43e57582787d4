/* fiber.h -- C stacks and the switch between them.
 *
 * x86-64 and aarch64 have a switch of their own (about 5 ns), other
 * processors use ucontext. A fiber is entered from the loop's stack and goes
 * back to it; it never moves to another thread. Stacks are reserved, not
 * taken (touched pages cost, about 8 KiB for a parked handler), with a
 * guard below, and pooled per thread; there is a bound on them for the whole
 * process, and a share of it for each owner. Annotated for ASan and TSan. */
#ifndef SCRIPT_FIBER_H
#define SCRIPT_FIBER_H

#include "base/base.h"

/* The deepest honest script takes about 400 KiB (nested gsub, at Lua's limit
 * of 200 C levels). Under ASan our own frames are several times as large. */
#if defined(__SANITIZE_ADDRESS__)
#    define FIBER_STACK_BYTES (4 * 1024 * 1024)
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define FIBER_STACK_BYTES (4 * 1024 * 1024)
#    endif
#endif
#ifndef FIBER_STACK_BYTES
#    define FIBER_STACK_BYTES (1024 * 1024)
#endif
struct fiber;

/* How many stacks an owner may have who wants one more; 0: there is none for
 * anybody. `spare`: so many could be freed on this thread, beside the pool. */
uint32_t fiber_share(size_t spare);
/* `entry(arg)` starts at the first fiber_enter() and must never return. NULL
 * when no stack can be had. */
struct fiber *fiber_new(void (*entry)(void *arg), void *arg) NODISCARD;
/* Gives the stack back as it stands: nothing on it is unwound. Makes no system
 * call: fiber_reap() is for that, from time to time. */
void fiber_free(struct fiber *f);
/* Some of those that were freed on this thread go to its pool, or back to the
 * system. False: that was all. */
bool fiber_reap(void);
bool fiber_has_freed(void);
/* From the loop's stack, while the fiber has been left from below the frame at
 * `frame`: gives back the pages that it touched further down, if they are
 * more than a few. */
void fiber_trim(struct fiber *f, uintptr_t frame);
/* From the loop's stack: runs the fiber until it leaves. */
void fiber_enter(struct fiber *f);
/* From the fiber: back to where fiber_enter() was called. */
void fiber_leave(struct fiber *f);
/* Frees the pooled stacks of this thread. */
void fiber_pool_fini(void);

#endif
