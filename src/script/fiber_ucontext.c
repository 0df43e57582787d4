/* fiber_ucontext.c -- the switch for processors that fiber_switch.c does not
 * know: correct, but each switch asks the kernel for the signal mask, which
 * costs about a hundred times as much. */
#include "script/fiber_priv.h"

#if FIBER_UCONTEXT

/* makecontext() passes ints; a pointer travels in two. */
static void start_here(
    unsigned fn_low, unsigned fn_high, unsigned arg_low, unsigned arg_high)
{
    uint64_t fn = (uint64_t)fn_high << 32 | fn_low;
    uint64_t arg = (uint64_t)arg_high << 32 | arg_low;
    void (*start)(void *) = (void (*)(void *))(uintptr_t)fn;
    start((void *)(uintptr_t)arg);
    ASSERT(false, "a fiber's entry never returns");
}

void fiber_context_make(struct fiber_context *c, void *low, size_t bytes,
    void (*start)(void *arg), void *arg)
{
    int err = getcontext(&c->uc);
    ASSERT(err == 0, "getcontext");
    c->uc.uc_stack.ss_sp = low;
    c->uc.uc_stack.ss_size = bytes;
    c->uc.uc_link = NULL;
    uint64_t fn = (uint64_t)(uintptr_t)start;
    uint64_t a = (uint64_t)(uintptr_t)arg;
    makecontext(&c->uc, (void (*)(void))(uintptr_t)start_here, 4, (unsigned)fn,
        (unsigned)(fn >> 32), (unsigned)a, (unsigned)(a >> 32));
}

void fiber_context_switch(
    struct fiber_context *from, const struct fiber_context *to)
{
    int err = swapcontext(&from->uc, &to->uc);
    ASSERT(err == 0, "swapcontext");
}

#else

/* ISO C wants something in every file. */
enum { FIBER_UCONTEXT_IS_NOT_USED };

#endif
