/* fiber_priv.h -- the inside of a fiber, and the switch.
 *
 * The switch is inline, and so are entering and leaving as task.c uses them,
 * for one reason: the processor predicts where a `ret` goes from the calls it
 * saw. A switch that is itself called, and leaves by a jump, puts those two
 * out of step for every return up to the loop. Inline there is neither call
 * nor return in it, and the prediction stays right on both sides. Measured
 * for a job started eight calls deep: it adds 12 ns to its lua_pcall, with a
 * switch that is a function 65 ns.
 *
 * Saved: the stack pointer, where to go on, rbx and rbp (x29); in a struct, so
 * that the stack that is left is not touched. All other registers the compiler
 * is told are lost, so it saves those that it needs, no more. Not saved: MXCSR,
 * the x87 control word, FPCR. Nobody in this process changes them (no
 * fesetround(), no flush-to-zero), so all stacks agree on them, and loading
 * them costs more than all the rest. A fiber stopped inside a signal handler
 * has everything in the signal's frame.
 *
 * Not supported: CET shadow stacks, which want one for each fiber. The build
 * does not switch -fcf-protection on, so the program does not take part. */
#ifndef SCRIPT_FIBER_PRIV_H
#define SCRIPT_FIBER_PRIV_H

#include "base/list.h"
#include "script/fiber.h"
#include "script/sanitize_priv.h"

#ifndef FIBER_UCONTEXT
#    if (defined(__x86_64__) && defined(__LP64__)) || defined(__aarch64__)
#        define FIBER_UCONTEXT 0
#    else
#        define FIBER_UCONTEXT 1
#    endif
#endif

#define FIBER_MAGIC 0x6669626572u

#if FIBER_UCONTEXT
#    include <ucontext.h>
struct fiber_context {
    ucontext_t uc;
};
#else
/* The switch knows these places by number. */
struct fiber_context {
    void *sp;
    void *pc;
    void *fp; /* rbp, x29 */
    void *bx; /* x86-64 */
};
#endif

enum fiber_state {
    FIBER_NEW,  /* never entered */
    FIBER_USED, /* entered, once at least */
    FIBER_LOST  /* ran off its stack: never entered again */
};

struct fiber {
    uint64_t magic;
    struct fiber_context inside;
    struct fiber_context outside;
    void (*entry)(void *arg);
    void *arg;
    const void *home; /* its thread's pool */
    struct list node; /* in the pool */
    enum fiber_state state;
#if SANITIZE_ASAN
    void *fake_inside; /* ASan's shadow of the locals, while not running */
    void *fake_outside;
    const void *inside_low;
    size_t inside_bytes;
    const void *outside_low; /* the loop's stack */
    size_t outside_bytes;
    bool is_dying;
#endif
#if SANITIZE_TSAN
    void *tsan_inside;
    void *tsan_outside;
#endif
};

/* Behind a switch any code may have run, which no "memory" clobber says: with
 * link-time optimisation gcc reasons that assembly cannot touch a static
 * variable whose address nobody took, and carries its value over the switch.
 * A call that might happen is understood. */
static inline __attribute__((always_inline)) void fiber_admit_any_code(void)
{
    void (*any)(void) = NULL;
    __asm__ volatile("" : "+r"(any));
    if (UNLIKELY(any != NULL)) {
        any();
    }
}

/* Prepares `c` so that the first switch to it calls start(arg), which must
 * never return, on the stack [low, low + bytes). */
void fiber_context_make(struct fiber_context *c, void *low, size_t bytes,
    void (*start)(void *arg), void *arg);

/* Stops here, saved in `from`, and goes on where `to` was stopped. */
#if FIBER_UCONTEXT
void fiber_context_switch(
    struct fiber_context *from, const struct fiber_context *to);
#elif defined(__x86_64__)
static inline __attribute__((always_inline)) void fiber_context_switch(
    struct fiber_context *from, const struct fiber_context *to)
{
    __asm__ volatile(
        "leaq 1f(%%rip), %%rdx\n\t"
        "movq %%rsp, (%0)\n\t"
        "movq %%rdx, 8(%0)\n\t"
        "movq %%rbp, 16(%0)\n\t"
        "movq %%rbx, 24(%0)\n\t"
        "movq (%1), %%rsp\n\t"
        "movq 16(%1), %%rbp\n\t"
        "movq 24(%1), %%rbx\n\t"
        "jmpq *8(%1)\n"
        "1:"
        : "+D"(from), "+S"(to)
        :
        : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
        "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
        "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#    ifdef __AVX512F__
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
        "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
        "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#    endif
        "cc", "memory");
    fiber_admit_any_code();
}
#else
/* hint #36 is `bti j`, the landing pad of an indirect jump. Linux leaves x18
 * to the compiler, so it is lost like the others. */
static inline __attribute__((always_inline)) void fiber_context_switch(
    struct fiber_context *from, const struct fiber_context *to)
{
    register struct fiber_context *left __asm__("x0") = from;
    register const struct fiber_context *entered __asm__("x1") = to;
    __asm__ volatile(
        "adr x9, 1f\n\t"
        "mov x10, sp\n\t"
        "stp x10, x9, [%0]\n\t"
        "str x29, [%0, #16]\n\t"
        "ldp x10, x9, [%1]\n\t"
        "ldr x29, [%1, #16]\n\t"
        "mov sp, x10\n\t"
        "br x9\n"
        "1:\n\t"
        "hint #36"
        : "+r"(left), "+r"(entered)
        :
        : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
        "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22",
        "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3",
        "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
        "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
        "v25", "v26", "v27", "v28", "v29", "v30", "v31",
#    ifdef __ARM_FEATURE_SVE
        "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10",
        "p11", "p12", "p13", "p14", "p15", "ffr",
#    endif
        "cc", "memory");
    fiber_admit_any_code();
}
#endif

/* In a handler of SIGSEGV or SIGBUS, on a stack of its own. Has the fiber,
 * which runs, reached the end of its stack? */
bool fiber_is_overrun(const struct fiber *f, const void *info, void *context);
/* Changes the signal's context so that the handler returns to where the fiber
 * was entered. All that remains to be done with it is fiber_free(). */
void fiber_lose(struct fiber *f, void *context);

/* What the sanitizers are told. On the loop's stack, right before the switch
 * in. */
static inline __attribute__((always_inline)) void fiber_before_entering(
    struct fiber *f)
{
#if SANITIZE_ASAN
    __sanitizer_start_switch_fiber(
        &f->fake_outside, f->inside_low, f->inside_bytes);
#elif SANITIZE_TSAN
    f->tsan_outside = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan_inside, 0);
#else
    (void)f;
#endif
}

/* On the fiber, right after it. */
static inline __attribute__((always_inline)) void fiber_after_entering(
    struct fiber *f)
{
#if SANITIZE_ASAN
    __sanitizer_finish_switch_fiber(
        f->fake_inside, &f->outside_low, &f->outside_bytes);
#else
    (void)f;
#endif
}

/* On the fiber, right before the switch out. */
static inline __attribute__((always_inline)) void fiber_before_leaving(
    struct fiber *f)
{
#if SANITIZE_ASAN
    __sanitizer_start_switch_fiber(
        f->is_dying ? NULL : &f->fake_inside, f->outside_low, f->outside_bytes);
#elif SANITIZE_TSAN
    __tsan_switch_to_fiber(f->tsan_outside, 0);
#else
    (void)f;
#endif
}

/* On the loop's stack, right after it. */
static inline __attribute__((always_inline)) void fiber_after_leaving(
    struct fiber *f)
{
#if SANITIZE_ASAN
    __sanitizer_finish_switch_fiber(f->fake_outside, NULL, NULL);
#else
    (void)f;
#endif
}

/* fiber_enter() and fiber_leave() themselves, for the callers that count
 * nanoseconds, and know that who enters is outside, and who leaves inside. */
static inline __attribute__((always_inline)) void fiber_enter_inline(
    struct fiber *f)
{
    fiber_before_entering(f);
    fiber_context_switch(&f->outside, &f->inside);
    fiber_after_leaving(f);
}

static inline __attribute__((always_inline)) void fiber_leave_inline(
    struct fiber *f)
{
    fiber_before_leaving(f);
    fiber_context_switch(&f->inside, &f->outside);
    fiber_after_entering(f);
#if SANITIZE_ASAN
    /* fiber_free() came for what only we can give up: see fiber.c. */
    if (f->is_dying) {
        fiber_before_leaving(f);
        fiber_context_switch(&f->inside, &f->outside);
    }
#endif
}

#endif
